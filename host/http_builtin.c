/* http_builtin.c — /livez /readyz /healthz /metrics on every listener, unless an owner serves them.
 *
 * Health answers on the loop through hooks that don't block; /metrics is rendered on a worker thread. */
#include "http_priv.h"

#include <stdio.h>

enum { MAX_SERVICES = 32 };

/* The distinct owners of a listener, so that the hook is called without the lock. */
static size_t listener_owners(http_listener *ln, http_owner **out, bool *gated)
{
    size_t n = 0;
    *gated = false;
    pthread_mutex_lock(&ln->server->lock);
    for (http_mount *m = ln->mounts; m && n < MAX_SERVICES; m = m->next) {
        bool known = !m->owner || m->staged;
        for (size_t i = 0; i < n; i++)
            known |= out[i] == m->owner;
        if (known)
            continue;
        *gated |= m->owner->gated;
        m->owner->refs++;
        out[n++] = m->owner;
    }
    pthread_mutex_unlock(&ln->server->lock);
    return n;
}

int listener_ready(http_listener *ln, char *reason, size_t size)
{
    http_server *s = ln->server;
    const http_hooks *h = &s->config.hooks;
    http_owner *owners[MAX_SERVICES];
    bool gated, ready = true;
    size_t n = listener_owners(ln, owners, &gated);
    if (atomic_load(&s->stopping)) {
        snprintf(reason, size, "stopping");
        ready = false;
    } else if (!n) {
        snprintf(reason, size, "no service is running on this address");
        ready = false;
    } else if (h->ready && !h->ready(h->arg, NULL, reason, size)) {
        ready = false;
    }
    for (size_t i = 0; i < n; i++) {
        if (ready && h->ready)
            ready = h->ready(h->arg, owners[i]->host, reason, size);
        owner_unref(owners[i]);
    }
    return ready ? 0 : 503;
}

static void health_reply(http_server *s, odto_http_request *rq, bool ok, const char *state,
                         const char *reason)
{
    odto_buf b = {0};
    odto_http_header headers[] = {{"Cache-Control", "no-store"}, {"Retry-After", "1"}};
    odto_buf_str(&b, ok ? "{\"status\":\"ok\",\"version\":" : "{\"status\":");
    odto_buf_jsonz(&b, ok ? (s->config.version ? s->config.version : "") : state);
    if (!ok) {
        odto_buf_str(&b, ",\"reason\":");
        odto_buf_jsonz(&b, reason);
    }
    odto_buf_str(&b, "}");
    api_reply(rq, ok ? 200 : 503, headers, ok ? 1 : 2, odto_slice_of(b.p, b.n), NULL, NULL);
    odto_buf_free(&b);
}

static void serve_ready(void *self, odto_http_request *rq)
{
    http_listener *ln = self;
    char reason[256] = "";
    bool ok = !listener_ready(ln, reason, sizeof(reason));
    health_reply(ln->server, rq, ok, "not_ready", reason);
}

static void serve_live(void *self, odto_http_request *rq)
{
    http_server *s = ((http_listener *)self)->server;
    const http_hooks *h = &s->config.hooks;
    char reason[256] = "";
    bool ok = !h->live || h->live(h->arg, reason, sizeof(reason));
    health_reply(s, rq, ok, "stuck", reason);
}

static void serve_metrics(void *self, odto_http_request *rq)
{
    const http_hooks *h = &((http_listener *)self)->server->config.hooks;
    odto_http_header type = {"Content-Type", "text/plain; version=0.0.4"};
    odto_buf b = {0};
    int r = h->metrics ? h->metrics(h->arg, &b) : 0;
    if (r || b.failed)
        api_reply_error(rq, 500, "Internal Server Error", "/", "the metrics could not be rendered", 0);
    else
        api_reply(rq, 200, &type, 1, odto_slice_of(b.p, b.n), NULL, NULL);
    odto_buf_free(&b);
}

static const odto_http_route builtin_routes[] = {
    {"GET", "/livez", ODTO_HTTP_NO_GATE, serve_live, NULL},
    {"GET", "/readyz", ODTO_HTTP_NO_GATE, serve_ready, NULL},
    {"GET", "/healthz", ODTO_HTTP_NO_GATE, serve_ready, NULL},
    {"GET", "/metrics", ODTO_HTTP_NO_GATE | ODTO_HTTP_BLOCKING, serve_metrics, NULL},
};

http_mount *builtin_mount(http_listener *ln)
{
    odto_error unused;
    return mount_new(ln, NULL, "host", builtin_routes, sizeof(builtin_routes) / sizeof(builtin_routes[0]),
                     NULL, 0, &unused);
}
