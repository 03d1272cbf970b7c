/* proxy.c — GET /proxy/alerts and /proxy/targets: what Alertmanager and Prometheus say, for the dashboard.
 *
 * Blocking routes: run on the host's HTTP workers. libcurl is loaded at the first use and then stays mapped
 * for the life of the process (a resolver thread of it may outlive a request): loading it at start would cost
 * every idle host 8 MB of resident memory and 6 ms (45 ms cold), measured with libcurl 7.88 and its 25
 * dependencies. proxy.lock protects the loading, the stash of idle handles and the number under way. */
#define CURL_DISABLE_TYPECHECK
#include "gateway.h"

#include <curl/curl.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_UNDER_WAY 4 /* a server that hangs must not take all the HTTP workers */

typedef struct curl_api {
    void *so;
    __typeof__(&curl_global_init) global_init;
    __typeof__(&curl_easy_init) easy_init;
    __typeof__(&curl_easy_cleanup) easy_cleanup;
    __typeof__(&curl_easy_reset) easy_reset;
    __typeof__(&curl_easy_setopt) easy_setopt;
    __typeof__(&curl_easy_perform) easy_perform;
    __typeof__(&curl_easy_getinfo) easy_getinfo;
    __typeof__(&curl_easy_strerror) easy_strerror;
} curl_api;

struct proxy {
    odto_host *host;
    const odto_config *config;
    int64_t timeout_ms;
    size_t max_body;
    pthread_mutex_t lock;
    curl_api curl;
    CURL *idle[MAX_UNDER_WAY];
    size_t n_idle, under_way;
};

typedef struct target {
    const char *name, *option, *path;
} target;

/* ---- libcurl at the first use ------------------------------------------------------------------ */

static bool curl_load(curl_api *c)
{
    if (c->so)
        return true;
    void *so = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!so)
        return false;
#define SYMBOL(field)                                                \
    do {                                                             \
        void *symbol = dlsym(so, "curl_" #field);                    \
        memcpy(&c->field, &symbol, sizeof symbol); /* POSIX dlsym */ \
        if (!symbol)                                                 \
            goto missing;                                            \
    } while (0)
    SYMBOL(global_init);
    SYMBOL(easy_init);
    SYMBOL(easy_cleanup);
    SYMBOL(easy_reset);
    SYMBOL(easy_setopt);
    SYMBOL(easy_perform);
    SYMBOL(easy_getinfo);
    SYMBOL(easy_strerror);
#undef SYMBOL
    if (c->global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        goto missing;
    c->so = so;
    return true;
missing:
    dlclose(so);
    return false;
}

/* A handle to work with; NULL with *why. */
static CURL *handle_take(proxy *p, const char **why)
{
    CURL *h = NULL;
    pthread_mutex_lock(&p->lock);
    if (p->under_way >= MAX_UNDER_WAY)
        *why = "too many requests wait for it already";
    else if (!curl_load(&p->curl))
        *why = "libcurl.so.4 can't be loaded (Debian package libcurl4)";
    else if (p->n_idle > 0)
        h = p->idle[--p->n_idle];
    else if (!(h = p->curl.easy_init()))
        *why = "no memory";
    p->under_way += h != NULL;
    pthread_mutex_unlock(&p->lock);
    return h;
}

static void handle_give(proxy *p, CURL *h)
{
    p->curl.easy_reset(h); /* keeps the connection */
    pthread_mutex_lock(&p->lock);
    p->under_way--;
    p->idle[p->n_idle++] = h; /* never more handles than MAX_UNDER_WAY */
    pthread_mutex_unlock(&p->lock);
}

/* ---- one request ------------------------------------------------------------------------------- */

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
    odto_buf *b = arg;
    return odto_buf_put(b, data, size * n) ? size * n : 0;
}

static int on_progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    (void)a, (void)b, (void)c, (void)d;
    const proxy *p = arg;
    return p->host->api->stopping(p->host);
}

static CURLcode fetch(proxy *p, CURL *h, const char *url, odto_buf *body, char *error, long *status,
                      char type[128])
{
    const curl_api *c = &p->curl;
    c->easy_setopt(h, CURLOPT_URL, url);
    c->easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
    c->easy_setopt(h, CURLOPT_TIMEOUT_MS, (long)p->timeout_ms);
    c->easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
    c->easy_setopt(h, CURLOPT_PROXY, ""); /* these servers are neighbours: no proxy from the environment */
    c->easy_setopt(h, CURLOPT_ERRORBUFFER, error);
    c->easy_setopt(h, CURLOPT_WRITEFUNCTION, on_body);
    c->easy_setopt(h, CURLOPT_WRITEDATA, body);
    c->easy_setopt(h, CURLOPT_NOPROGRESS, 0L);
    c->easy_setopt(h, CURLOPT_XFERINFOFUNCTION, on_progress);
    c->easy_setopt(h, CURLOPT_XFERINFODATA, p);
    CURLcode rc = c->easy_perform(h);
    const char *ct = NULL;
    c->easy_getinfo(h, CURLINFO_RESPONSE_CODE, status);
    c->easy_getinfo(h, CURLINFO_CONTENT_TYPE, &ct);
    snprintf(type, 128, "%s", ct ? ct : "application/json");
    if (rc != CURLE_OK && !error[0])
        snprintf(error, CURL_ERROR_SIZE, "%s", c->easy_strerror(rc));
    return rc;
}

/* {"error":"Alertmanager unavailable","details":"…"}: details is a string here (contract). */
static void unavailable(proxy *p, odto_http_request *rq, const target *t, const char *why)
{
    odto_buf b = {0};
    odto_buf_printf(&b, "{\"error\":\"%s unavailable\",\"details\":", t->name);
    odto_buf_jsonz(&b, why);
    odto_buf_put(&b, "}", 1);
    p->host->api->http->reply(rq, 502, NULL, 0, odto_slice_of(b.p, b.n), NULL, NULL);
    odto_buf_free(&b);
}

static void answer(proxy *p, odto_http_request *rq, const target *t, CURLcode rc, const char *error,
                   long status, const char *type, odto_buf *body)
{
    char text[CURL_ERROR_SIZE + 128];
    if (rc == CURLE_OPERATION_TIMEDOUT) {
        int n = snprintf(text, sizeof text, "{\"error\":\"%s timeout\"}", t->name);
        p->host->api->http->reply(rq, 504, NULL, 0, odto_slice_of(text, (size_t)n), NULL, NULL);
    } else if (rc == CURLE_WRITE_ERROR && body->failed) {
        snprintf(text, sizeof text, "its answer is longer than %zu bytes (option proxy_body)", p->max_body);
        unavailable(p, rq, t, text);
    } else if (rc != CURLE_OK) {
        snprintf(text, sizeof text, "%s (option %s)", error, t->option);
        unavailable(p, rq, t, text);
    } else if (status < 200 || status > 299) {
        snprintf(text, sizeof text, "%s answered HTTP %ld to %s", t->name, status, t->path);
        unavailable(p, rq, t, text);
    } else {
        odto_http_header header = {"Content-Type", type};
        p->host->api->http->reply(rq, 200, &header, 1, odto_slice_of(body->p, body->n), free, body->p);
        *body = (odto_buf){0};
    }
}

static void proxy_get(proxy *p, odto_http_request *rq, const target *t)
{
    const char *why = "", *base = odto_config_str(p->config, t->option);
    size_t n = strlen(base);
    while (n > 0 && base[n - 1] == '/')
        n--;
    char url[2048], error[CURL_ERROR_SIZE] = "", type[128];
    if ((size_t)snprintf(url, sizeof url, "%.*s%s", (int)n, base, t->path) >= sizeof url) {
        unavailable(p, rq, t, "its URL is too long");
        return;
    }
    CURL *h = handle_take(p, &why);
    if (!h) {
        unavailable(p, rq, t, why);
        return;
    }
    odto_buf body = {.max = p->max_body};
    long status = 0;
    CURLcode rc = fetch(p, h, url, &body, error, &status, type);
    handle_give(p, h);
    answer(p, rq, t, rc, error, status, type, &body);
    odto_buf_free(&body);
}

void proxy_alerts(void *self, odto_http_request *rq)
{
    static const target t = {"Alertmanager", "alertmanager_url", "/api/v2/alerts"};
    proxy_get(((gateway *)self)->proxy, rq, &t);
}

void proxy_targets(void *self, odto_http_request *rq)
{
    static const target t = {"Prometheus", "prometheus_url", "/api/v1/targets"};
    proxy_get(((gateway *)self)->proxy, rq, &t);
}

/* ---- life -------------------------------------------------------------------------------------- */

int proxy_new(const odto_config *c, odto_host *h, proxy **out, odto_error *err)
{
    proxy *p = calloc(1, sizeof *p);
    if (!p)
        return odto_fail(err, -ENOMEM, "no memory for the proxy");
    p->host = h;
    p->config = c;
    p->timeout_ms = odto_config_int(c, "proxy_timeout") / ODTO_MS;
    p->max_body = (size_t)odto_config_int(c, "proxy_body");
    pthread_mutex_init(&p->lock, NULL);
    *out = p;
    return 0;
}

void proxy_free(proxy *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->n_idle; i++)
        p->curl.easy_cleanup(p->idle[i]);
    pthread_mutex_destroy(&p->lock);
    free(p);
}
