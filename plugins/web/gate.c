/* gate.c — where a request comes from, and the token that goes with it to the broker.
 *
 * A browser's WebSocket can't carry an Authorization header, and a secret in a URL ends in logs. So the page
 * gives the token once, to /login, which puts it into a cookie that no script can read and that only
 * requests of this site's own pages to /ws bring along; the relay turns it into the header the broker asks
 * for. */
#include "web.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#define TOKEN_MAX 512

static bool in_list(const odto_value *list, const char *p, size_t n)
{
    for (size_t i = 0; i < list->n; i++) {
        const char *word = list->list[i];
        if (strcmp(word, "*") == 0 || (strlen(word) == n && strncasecmp(word, p, n) == 0))
            return true;
    }
    return false;
}

/* Can a stranger's name server have answered for this name? Not for an address, nor for a name without a dot.
 */
static bool host_is_local(odto_slice host)
{
    char name[256];
    unsigned char address[16];
    const char *p = host.p, *end = p + host.n;
    if (host.n == 0 || host.n >= sizeof name)
        return false;
    if (*p == '[')
        return true;
    const char *colon = memchr(p, ':', host.n);
    size_t n = (size_t)((colon ? colon : end) - p);
    memcpy(name, p, n);
    name[n] = 0;
    return !strchr(name, '.') || inet_pton(AF_INET, name, address) == 1 ||
           (n > 10 && strcasecmp(name + n - 10, ".localhost") == 0);
}

bool gate_origin(const web *w, const odto_http_request *rq)
{
    const odto_http_api *http = w->host->api->http;
    odto_slice origin = http->header(rq, "Origin"), host = http->header(rq, "Host");
    const odto_value *origins = odto_config_get(w->config, "origins");
    if (origin.n == 0 || in_list(origins, origin.p, origin.n))
        return true;
    const char *slashes = memmem(origin.p, origin.n, "://", 3);
    if (!slashes)
        return false; /* "null" */
    odto_slice from = odto_slice_of(slashes + 3, origin.n - (size_t)(slashes + 3 - origin.p));
    return from.n == host.n && strncasecmp(from.p, host.p, host.n) == 0 && host_is_local(host);
}

static bool plain_text(odto_slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < ' ' || s.p[i] == 127)
            return false;
    return true;
}

bool gate_forwarded(const web *w, const odto_http_request *rq, char *out, size_t size)
{
    const odto_http_api *http = w->host->api->http;
    odto_slice peer = http->peer(rq), before = http->header(rq, "X-Forwarded-For");
    if (!in_list(odto_config_get(w->config, "trusted_proxies"), peer.p, peer.n) || !plain_text(before))
        before.n = 0;
    int n = snprintf(out, size, "%.*s%s%.*s", (int)before.n, before.n ? before.p : "", before.n ? ", " : "",
                     (int)peer.n, peer.n ? peer.p : "");
    return n >= 0 && (size_t)n < size;
}

/* The value of our cookie in a Cookie header. */
static odto_slice cookie_value(odto_slice header)
{
    size_t name = strlen(WEB_COOKIE);
    for (const char *p = header.p, *end = p + header.n; p && p < end;) {
        const char *stop = memchr(p, ';', (size_t)(end - p));
        stop = stop ? stop : end;
        while (p < stop && *p == ' ')
            p++;
        if ((size_t)(stop - p) > name && memcmp(p, WEB_COOKIE "=", name + 1) == 0)
            return odto_slice_of(p + name + 1, (size_t)(stop - p) - name - 1);
        p = stop + 1;
    }
    return odto_slice_of(NULL, 0);
}

bool gate_authorization(const web *w, const odto_http_request *rq, char *out, size_t size)
{
    const odto_http_api *http = w->host->api->http;
    odto_slice given = http->header(rq, "Authorization"), kept = cookie_value(http->header(rq, "Cookie"));
    int n;
    if (given.n && plain_text(given))
        n = snprintf(out, size, "%.*s", (int)given.n, given.p);
    else if (kept.n && plain_text(kept))
        n = snprintf(out, size, "Bearer %.*s", (int)kept.n, kept.p);
    else
        n = snprintf(out, size, "%s", "");
    return n >= 0 && (size_t)n < size;
}

static bool token_fits(odto_slice token)
{
    for (size_t i = 0; i < token.n; i++) /* what a cookie's value may hold: RFC 6265, 4.1.1 */
        if (token.p[i] <= ' ' || token.p[i] >= 127 || strchr("\",;\\", token.p[i]))
            return false;
    return token.n > 0 && token.n <= TOKEN_MAX;
}

static void set_cookie(const odto_http_api *http, odto_http_request *rq, odto_slice token, const char *more)
{
    char cookie[TOKEN_MAX + 128];
    bool tls = odto_slice_eq(http->header(rq, "X-Forwarded-Proto"), "https");
    snprintf(cookie, sizeof cookie, WEB_COOKIE "=%.*s; Path=/ws; HttpOnly; SameSite=Strict%s%s", (int)token.n,
             token.n ? token.p : "", tls ? "; Secure" : "", more);
    const odto_http_header headers[] = {{"Set-Cookie", cookie}, {"Cache-Control", "no-store"}};
    http->reply(rq, 204, headers, 2, odto_slice_of(NULL, 0), NULL, NULL);
}

void gate_login(void *self, odto_http_request *rq)
{
    const web *w = self;
    const odto_http_api *http = w->host->api->http;
    odto_slice given = http->header(rq, "Authorization");
    if (!gate_origin(w, rq)) {
        http->reply_error(rq, 403, "Forbidden", "/", "this page may not log in here (option origins)", 0);
        return;
    }
    if (given.n <= 7 || strncasecmp(given.p, "Bearer ", 7) != 0 ||
        !token_fits(odto_slice_of(given.p + 7, given.n - 7))) {
        http->reply_error(rq, 400, "Bad Request", "/",
                          "needs Authorization: Bearer TOKEN, of printable ASCII without space , ; \" \\", 0);
        return;
    }
    set_cookie(http, rq, odto_slice_of(given.p + 7, given.n - 7), "");
}

void gate_logout(void *self, odto_http_request *rq)
{
    const web *w = self;
    if (gate_origin(w, rq))
        set_cookie(w->host->api->http, rq, odto_slice_of(NULL, 0), "; Max-Age=0");
    else
        w->host->api->http->reply_error(rq, 403, "Forbidden", NULL, NULL, 0);
}
