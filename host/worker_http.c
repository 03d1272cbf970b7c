/* worker_http.c — HTTP routes in the worker: a request comes whole, with everything that may be asked about
 * it decoded, and its one reply goes back. Not here: replies written piece by piece and WebSocket routes; a
 * plugin that registers one is told so when it starts. */
#include "host/worker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define ROUTES 64
#define PAIRS  256

struct served {
    odto_http_fn *fn;
    bool blocking;
};

struct pair {
    odto_slice name, value;
};

struct odto_http_request {
    struct worker *w;
    struct task *frame;
    uint64_t id;
    const struct served *route;
    odto_slice method, path, body, peer, query_string;
    odto_uuid correlation;
    struct pair *params, *query, *headers;
    size_t n_params, n_query, n_headers;
    struct pair pairs[PAIRS];
};

struct worker_http {
    pthread_mutex_t lock; /* n */
    struct served routes[ROUTES];
    size_t n;
};

int http_init(struct worker *w)
{
    w->http = calloc(1, sizeof *w->http);
    if (!w->http)
        return -ENOMEM;
    pthread_mutex_init(&w->http->lock, NULL);
    return 0;
}

/* ---- requests ---- */

static void get_pairs(struct wire_in *in, struct pair **at, struct pair **out, size_t *n,
                      const struct pair *end)
{
    size_t count = wire_get_u32(in);
    *out = *at;
    *n = 0;
    for (size_t i = 0; i < count && !in->bad; i++) {
        struct pair p = {.name = wire_get_bytes(in)};
        p.value = wire_get_bytes(in);
        if (*at < end) {
            *(*at)++ = p;
            ++*n;
        }
    }
}

static void run_request(struct task *t)
{
    odto_http_request *rq = t->arg;
    rq->route->fn(rq->w->self, rq);
}

void http_request(struct worker *w, struct task *t)
{
    odto_http_request *rq = calloc(1, sizeof *rq);
    if (!rq)
        abort();
    rq->w = w;
    rq->id = t->id;
    rq->frame = t;
    uint32_t route = wire_get_u32(&t->in);
    rq->route = &w->http->routes[route % ROUTES];
    rq->method = wire_get_bytes(&t->in);
    rq->path = wire_get_bytes(&t->in);
    rq->body = wire_get_bytes(&t->in);
    rq->peer = wire_get_bytes(&t->in);
    rq->query_string = wire_get_bytes(&t->in);
    wire_get(&t->in, &rq->correlation, sizeof rq->correlation);
    struct pair *at = rq->pairs, *end = rq->pairs + PAIRS;
    get_pairs(&t->in, &at, &rq->params, &rq->n_params, end);
    get_pairs(&t->in, &at, &rq->query, &rq->n_query, end);
    get_pairs(&t->in, &at, &rq->headers, &rq->n_headers, end);
    t->arg = rq;
    t->run = run_request;
    lane_push(w, rq->route->blocking ? &w->blocking : &w->work, t);
}

static odto_slice http_method(const odto_http_request *rq)
{
    return rq->method;
}

static odto_slice http_path(const odto_http_request *rq)
{
    return rq->path;
}

static odto_slice find(const struct pair *p, size_t n, const char *name, bool exact)
{
    for (size_t i = 0; i < n; i++)
        if (exact ? odto_slice_eq(p[i].name, name) : strcasecmp(p[i].name.p, name) == 0)
            return p[i].value;
    return odto_slice_of(NULL, 0);
}

static odto_slice http_param(const odto_http_request *rq, const char *name)
{
    return find(rq->params, rq->n_params, name, true);
}

static odto_slice http_query(const odto_http_request *rq, const char *name)
{
    return find(rq->query, rq->n_query, name, true);
}

static odto_slice http_header(const odto_http_request *rq, const char *name)
{
    return find(rq->headers, rq->n_headers, name, false);
}

static odto_slice http_body(const odto_http_request *rq)
{
    return rq->body;
}

static odto_slice http_peer(const odto_http_request *rq)
{
    return rq->peer;
}

static odto_slice http_query_string(const odto_http_request *rq)
{
    return rq->query_string;
}

static const odto_uuid *http_correlation(const odto_http_request *rq)
{
    return &rq->correlation;
}

/* ---- replies ---- */

static void request_free(odto_http_request *rq)
{
    free(rq->frame);
    free(rq);
}

static void http_reply(odto_http_request *rq, int status, const odto_http_header *headers, size_t n_headers,
                       odto_slice body, void (*body_free)(void *), void *body_arg)
{
    struct wire_link *l = &rq->w->link;
    odto_buf *b = wire_begin(l, WIRE_RESPONSE, rq->id);
    wire_u32(b, (uint32_t)status);
    wire_u32(b, (uint32_t)n_headers);
    for (size_t i = 0; i < n_headers; i++) {
        wire_str(b, headers[i].name);
        wire_str(b, headers[i].value);
    }
    wire_bytes(b, body);
    if (wire_end(l, -1) == -EMSGSIZE) {
        b = wire_begin(l, WIRE_RESPONSE, rq->id);
        wire_u32(b, 500);
        wire_u32(b, 0);
        wire_str(b, "{\"error\":\"the reply is too large to leave the worker process\"}");
        wire_end(l, -1);
    }
    if (body_free)
        body_free(body_arg);
    request_free(rq);
}

static void http_reply_error(odto_http_request *rq, int status, const char *error, const char *path,
                             const char *message, int retry_after_s)
{
    struct wire_link *l = &rq->w->link;
    odto_buf *b = wire_begin(l, WIRE_RESPONSE, rq->id);
    wire_u32(b, (uint32_t)status);
    wire_u32(b, UINT32_MAX); /* an error in the host's own form */
    wire_str(b, error);
    wire_str(b, path);
    wire_str(b, message);
    wire_u32(b, (uint32_t)retry_after_s);
    wire_end(l, -1);
    request_free(rq);
}

/* ---- serving ---- */

static int check_routes(const odto_http_route *routes, size_t n, size_t have, odto_error *err)
{
    for (size_t i = 0; i < n; i++)
        if (routes[i].ws) {
            odto_fail(err, -ENOTSUP, "the WebSocket route %s can't be served with isolate = process",
                      routes[i].path);
            odto_error_hint(err, "run this plugin with isolate = thread");
            return -ENOTSUP;
        }
    return have + n <= ROUTES ? 0
                              : odto_fail(err, -E2BIG, "an isolated plugin serves at most %d routes", ROUTES);
}

static int http_serve(struct odto_host *h, const char *address, const char *service,
                      const odto_http_route *routes, size_t n, const char *cors, size_t max_body,
                      odto_error *err)
{
    struct worker *w = worker_of(h);
    struct worker_http *s = w->http;
    struct pending p;
    pthread_mutex_lock(&s->lock);
    size_t first = s->n;
    int r = check_routes(routes, n, first, err);
    for (size_t i = 0; r == 0 && i < n; i++)
        s->routes[s->n++] = (struct served){routes[i].fn, routes[i].flags & ODTO_HTTP_BLOCKING};
    pthread_mutex_unlock(&s->lock);
    if (r < 0)
        return r;
    odto_buf *b = call_begin(w, WIRE_SERVE, &p);
    wire_str(b, address);
    wire_str(b, service);
    wire_str(b, cors);
    wire_u64(b, max_body);
    wire_u32(b, (uint32_t)first);
    wire_u32(b, (uint32_t)n);
    for (size_t i = 0; i < n; i++) {
        wire_str(b, routes[i].method);
        wire_str(b, routes[i].path);
        wire_u32(b, routes[i].flags);
    }
    r = call_end(w, &p, err);
    odto_buf_free(&p.more);
    return r;
}

/* ---- not in a worker ---- */

static odto_http_stream *http_reply_stream(odto_http_request *rq, int status, const odto_http_header *headers,
                                           size_t n_headers, size_t max_queued, void (*closed)(void *arg),
                                           void *arg)
{
    (void)status, (void)headers, (void)n_headers, (void)max_queued, (void)closed, (void)arg;
    odto_error err = {0};
    odto_fail(&err, -ENOTSUP, "replies written piece by piece can't be given with isolate = process");
    odto_error_hint(&err, "run this plugin with isolate = thread");
    rq->w->host.api->fail(&rq->w->host, true, &err);
    http_reply_error(rq, 503, err.message, NULL, NULL, 0);
    return NULL;
}

static int http_stream_write(odto_http_stream *s, odto_slice data)
{
    (void)s, (void)data;
    return -EPIPE;
}

static void http_stream_end(odto_http_stream *s)
{
    (void)s;
}

static int ws_send(odto_ws *ws, odto_slice data, bool binary)
{
    (void)ws, (void)data, (void)binary;
    return -EPIPE;
}

static void ws_want_write(odto_ws *ws)
{
    (void)ws;
}

static size_t ws_queued(const odto_ws *ws)
{
    (void)ws;
    return 0;
}

static void ws_pause(odto_ws *ws, bool paused)
{
    (void)ws, (void)paused;
}

static void ws_close(odto_ws *ws, int code, const char *reason)
{
    (void)ws, (void)code, (void)reason;
}

static odto_slice ws_subprotocol(const odto_ws *ws)
{
    (void)ws;
    return odto_slice_of(NULL, 0);
}

const odto_http_api worker_http_api = {
    .size = sizeof worker_http_api,
    .serve = http_serve,
    .method = http_method,
    .path = http_path,
    .param = http_param,
    .query = http_query,
    .header = http_header,
    .body = http_body,
    .peer = http_peer,
    .correlation = http_correlation,
    .query_string = http_query_string,
    .reply = http_reply,
    .reply_error = http_reply_error,
    .reply_stream = http_reply_stream,
    .stream_write = http_stream_write,
    .stream_end = http_stream_end,
    .ws_send = ws_send,
    .ws_want_write = ws_want_write,
    .ws_queued = ws_queued,
    .ws_pause = ws_pause,
    .ws_close = ws_close,
    .ws_subprotocol = ws_subprotocol,
};
