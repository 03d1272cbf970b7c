/* upstream.c — the addresses of the broker and the read model.
 *
 * getaddrinfo() may take seconds and must not be called where others wait, so a thread of its own keeps the
 * addresses of those that are given by name; none is started when there is no name to look up. */
#include "web.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define REFRESH_S 30

static int refuse(const odto_config *c, const char *option, const char *scheme, odto_error *err)
{
    const odto_value *v = odto_config_get(c, option);
    odto_fail(err, -EINVAL, "%s is not a URL this plugin can use", option);
    odto_error_detail(err, "it is %.300s", v->s ? v->s : "empty");
    odto_error_hint(err, "%s://HOST:PORT/PATH, without TLS, user or query", scheme);
    odto_error_where(err, c->file, v->line, v->column);
    return -EINVAL;
}

int upstream_parse(const odto_config *c, const char *option, const char *scheme, upstream *out,
                   odto_error *err)
{
    const char *url = odto_config_str(c, option);
    size_t n = strlen(scheme);
    if (!url || strncasecmp(url, scheme, n) != 0 || strncmp(url + n, "://", 3) != 0 || strpbrk(url, "?#@ "))
        return refuse(c, option, scheme, err);
    const char *host = url + n + 3, *slash = host + strcspn(host, "/"), *end = slash;
    bool bracket = *host == '[';
    const char *colon =
        bracket ? memchr(host, ']', (size_t)(end - host)) : memchr(host, ':', (size_t)(end - host));
    if (bracket && !colon)
        return refuse(c, option, scheme, err);
    const char *host_end = colon ? colon : end;
    if (bracket) {
        host++;
        colon = colon[1] == ':' ? colon + 1 : NULL;
    }
    char *rest = NULL;
    long port = colon ? strtol(colon + 1, &rest, 10) : 80;
    size_t length = strlen(slash);
    while (length > 0 && slash[length - 1] == '/')
        length--;
    if (host_end == host || (size_t)(host_end - host) >= sizeof out->host || length >= sizeof out->path ||
        (colon && (rest != end || port < 1 || port > 65535)))
        return refuse(c, option, scheme, err);
    snprintf(out->host, sizeof out->host, "%.*s", (int)(host_end - host), host);
    snprintf(out->authority, sizeof out->authority, bracket ? "[%s]:%ld" : "%s:%ld", out->host, port);
    snprintf(out->path, sizeof out->path, "%.*s", (int)length, slash);
    out->port = (int)port;
    unsigned char address[16];
    bool localhost = strcasecmp(out->host, "localhost") == 0;
    out->fixed = localhost || inet_pton(AF_INET, out->host, address) == 1 ||
                 inet_pton(AF_INET6, out->host, address) == 1;
    if (out->fixed)
        snprintf(out->address, sizeof out->address, "%.63s", localhost ? "127.0.0.1" : out->host);
    else
        snprintf(out->why, sizeof out->why, "its name is being looked up");
    return 0;
}

static void look_up(upstreams *u, upstream *at)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG}, *found = NULL;
    char address[64] = "", why[160] = "";
    int rc = getaddrinfo(at->host, NULL, &hints, &found);
    if (rc == 0)
        rc = getnameinfo(found->ai_addr, found->ai_addrlen, address, sizeof address, NULL, 0, NI_NUMERICHOST);
    if (rc != 0)
        snprintf(why, sizeof why, "can't look up %.80s: %s", at->host, gai_strerror(rc));
    if (found)
        freeaddrinfo(found);
    pthread_mutex_lock(&u->lock);
    bool news = strcmp(at->why, why) != 0;
    if (rc == 0 || !at->address[0]) /* an address that was good is kept while the name server is away */
        snprintf(at->address, sizeof at->address, "%s", address);
    snprintf(at->why, sizeof at->why, "%s", why);
    pthread_mutex_unlock(&u->lock);
    if (news && rc != 0)
        odto_log(u->host, ODTO_WARN, "%s (option %s)", why, at->option);
}

static void resolver(void *arg)
{
    upstreams *u = arg;
    pthread_mutex_lock(&u->lock);
    while (!u->stopping) {
        u->asked = false;
        pthread_mutex_unlock(&u->lock);
        if (!u->broker.fixed)
            look_up(u, &u->broker);
        if (!u->read_model.fixed)
            look_up(u, &u->read_model);
        pthread_mutex_lock(&u->lock);
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        struct timespec soonest = {until.tv_sec + 1, until.tv_nsec}; /* a name server is not to be flooded */
        until.tv_sec += REFRESH_S;
        int rc = 0;
        while (!u->stopping && rc == 0)
            rc = pthread_cond_timedwait(&u->wake, &u->lock, u->asked ? &soonest : &until);
    }
    pthread_mutex_unlock(&u->lock);
}

int upstreams_start(upstreams *u, odto_error *err)
{
    if (u->broker.fixed && u->read_model.fixed)
        return 0;
    int rc = u->host->api->thread_start(u->host, "resolve", resolver, u, &u->thread);
    return rc == 0 ? 0 : odto_fail(err, rc, "can't start the thread that looks up names");
}

void upstreams_stop(upstreams *u)
{
    pthread_mutex_lock(&u->lock);
    u->stopping = true;
    pthread_cond_signal(&u->wake);
    pthread_mutex_unlock(&u->lock);
}

bool upstream_address(upstreams *u, const upstream *at, char out[64], char why[160])
{
    pthread_mutex_lock(&u->lock);
    snprintf(out, 64, "%s", at->address);
    snprintf(why, 160, "%s", at->why);
    pthread_mutex_unlock(&u->lock);
    return out[0] != 0;
}

void upstream_failed(upstreams *u)
{
    pthread_mutex_lock(&u->lock);
    if (!u->asked) {
        u->asked = true;
        pthread_cond_signal(&u->wake);
    }
    pthread_mutex_unlock(&u->lock);
}
