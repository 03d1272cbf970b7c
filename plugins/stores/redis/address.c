/* address.c — the address of a Redis server as REDIS_URL gives it. */
#include "store_redis.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_PORT 6379

static int bad(odto_error *err, const char *detail)
{
    odto_fail(err, -EINVAL, "the address of the Redis server is not one");
    odto_error_detail(err, "%s", detail);
    odto_error_hint(
        err,
        "REDIS_URL, or the option url: host:port or redis://user:password@host:port/0, rediss:// for TLS");
    return -EINVAL;
}

static int hex(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* A copy without percent-escapes (RFC 3986, section 2.1); NULL: without memory or not valid. */
static char *unescaped(const char *p, size_t n)
{
    char *out = malloc(n + 1), *at = out;
    for (size_t i = 0; out != NULL && i < n; i++) {
        if (p[i] != '%') {
            *at++ = p[i];
            continue;
        }
        int high = i + 2 < n ? hex(p[i + 1]) : -1;
        int low = high >= 0 ? hex(p[i + 2]) : -1;
        if (low < 0 || high * 16 + low == 0) {
            free(out);
            return NULL;
        }
        *at++ = (char)(high * 16 + low);
        i += 2;
    }
    if (out != NULL)
        *at = '\0';
    return out;
}

static int parse_number(const char *p, size_t n, int max, int *out)
{
    int v = 0;
    if (n == 0 || n > 5)
        return -EINVAL;
    for (size_t i = 0; i < n; i++) {
        if (p[i] < '0' || p[i] > '9')
            return -EINVAL;
        v = v * 10 + (p[i] - '0');
    }
    if (v > max)
        return -EINVAL;
    *out = v;
    return 0;
}

/* "user:password", "user", ":password" before the @. */
static int parse_login(const char *p, size_t n, rs_address *a, odto_error *err)
{
    const char *colon = memchr(p, ':', n);
    size_t user = colon != NULL ? (size_t)(colon - p) : n;
    if (user > 0 && (a->user = unescaped(p, user)) == NULL)
        return bad(err, "the user name in it is not valid");
    if (colon != NULL && (a->password = unescaped(colon + 1, n - user - 1)) == NULL)
        return bad(err, "the password in it is not valid (a percent sign is written %25)");
    return 0;
}

/* host[:port], [v6][:port] */
static int parse_host(const char *p, size_t n, rs_address *a, odto_error *err)
{
    const char *end = p + n, *host = p, *port = NULL;
    size_t host_n = n;
    if (n > 0 && *p == '[') {
        const char *close = memchr(p, ']', n);
        if (close == NULL)
            return bad(err, "a [ without a ]");
        host = p + 1;
        host_n = (size_t)(close - host);
        port = close + 1 < end ? close + 1 : NULL;
        if (port != NULL && *port != ':')
            return bad(err, "something between the ] and the port");
    } else {
        port = memchr(p, ':', n);
        host_n = port != NULL ? (size_t)(port - p) : n;
    }
    if (host_n == 0 || host_n >= sizeof(a->host))
        return bad(err, "no host in it");
    memcpy(a->host, host, host_n);
    a->host[host_n] = '\0';
    if (port != NULL &&
        (parse_number(port + 1, (size_t)(end - port - 1), 65535, &a->port) != 0 || a->port == 0))
        return bad(err, "the port in it is no number from 1 to 65535");
    return 0;
}

static int parse_parts(const char *url, rs_address *a, odto_error *err)
{
    const char *p = url;
    a->tls = strncmp(url, "rediss://", 9) == 0;
    if (a->tls || strncmp(url, "redis://", 8) == 0)
        p += a->tls ? 9 : 8;
    else if (strstr(url, "://") != NULL)
        return bad(err, "the scheme is neither redis:// nor rediss://");
    size_t n = strcspn(p, "/?#");
    const char *rest = p + n;
    const char *login_end = memrchr(p, '@', n);
    if (login_end != NULL) {
        int code = parse_login(p, (size_t)(login_end - p), a, err);
        if (code != 0)
            return code;
        n -= (size_t)(login_end + 1 - p);
        p = login_end + 1;
    }
    if (*rest == '/' && rest[1] != '\0' && parse_number(rest + 1, strlen(rest + 1), 65535, &a->db) != 0)
        return bad(err, "after the host comes the number of a database, nothing else");
    if (*rest == '?' || *rest == '#')
        return bad(err, "parameters (?…) are not supported");
    return parse_host(p, n, a, err);
}

int rs_address_parse(const char *url, rs_address *out, odto_error *err)
{
    rs_address a = {.port = DEFAULT_PORT};
    int code = parse_parts(url, &a, err);
    if (code != 0) {
        rs_address_free(&a);
        return code;
    }
    *out = a;
    return 0;
}

void rs_address_free(rs_address *a)
{
    if (a->password != NULL)
        explicit_bzero(a->password, strlen(a->password));
    free(a->password);
    free(a->user);
    a->user = a->password = NULL;
}
