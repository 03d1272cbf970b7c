/* fetch.c — GET /api/…: asked of the read model with the prefix taken off.
 *
 * An answer is collected whole (bounded) and then given; a stream of events is passed on as it comes. The
 * request is ours until it is answered. fetch.lock protects what the host's loop touches when a stream's
 * client leaves; all else is our thread's. Two references: the stream's end (closed) and our thread's side.
 */
#include "web.h"

#include <errno.h>
#include <libwebsockets.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STREAM_QUEUE ((size_t)1 << 20)

/* Headers that go along, each way. */
static const char *const asked[] = {"Accept", "Authorization", "If-None-Match", "Last-Event-ID"};
static const struct {
    const char *name;
    enum lws_token_indexes token;
} told[] = {
    {"Content-Type", WSI_TOKEN_HTTP_CONTENT_TYPE},   {"ETag", WSI_TOKEN_HTTP_ETAG},
    {"Cache-Control", WSI_TOKEN_HTTP_CACHE_CONTROL}, {"Retry-After", WSI_TOKEN_HTTP_RETRY_AFTER},
    {"Last-Modified", WSI_TOKEN_HTTP_LAST_MODIFIED}, {"WWW-Authenticate", WSI_TOKEN_HTTP_WWW_AUTHENTICATE},
};
#define N_ASKED (sizeof asked / sizeof *asked)
#define N_TOLD  (sizeof told / sizeof *told)

typedef struct fetch {
    client_conn conn;
    errand errand;
    web *web;
    lws_sorted_usec_list_t deadline;
    _Atomic int refs;
    odto_http_request *rq; /* NULL: answered */
    odto_uuid correlation;
    bool begun, attached, complete, late;
    struct lws *wsi;
    odto_buf head; /* request headers, ready to send */
    char path[4096];
    int status;
    bool framed; /* it said where it ends */
    odto_buf body;
    char values[N_TOLD][256];
    odto_http_stream *stream;
    pthread_mutex_t lock;
    bool gone; /* the stream's client has left, or it is over */
} fetch;

static void fetch_unref(fetch *f)
{
    if (atomic_fetch_sub(&f->refs, 1) != 1)
        return;
    atomic_fetch_sub(&f->web->n_fetches, 1);
    odto_buf_free(&f->head);
    odto_buf_free(&f->body);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

static bool fetch_post(fetch *f)
{
    atomic_fetch_add(&f->refs, 1);
    int rc = client_post(f->web->client, &f->errand);
    if (rc != 1)
        fetch_unref(f);
    return rc >= 0;
}

/* ---- answering ------------------------------------------------------------------------------------ */

static void answer_error(fetch *f, int status, const char *why)
{
    odto_http_request *rq = f->rq;
    char text[300];
    if (!rq)
        return;
    f->rq = NULL;
    upstream_failed(&f->web->upstreams);
    snprintf(text, sizeof text, "%s (option read_model_url)", why);
    odto_log_for(f->web->host, ODTO_WARN, &f->correlation, "read model at %s: %s",
                 f->web->upstreams.read_model.authority, text);
    f->web->host->api->http->reply_error(
        rq, status, status == 504 ? "Read model timeout" : "Read model unavailable", "/", text, 1);
}

static size_t answer_headers(fetch *f, odto_http_header *out)
{
    size_t n = 0;
    for (size_t i = 0; i < N_TOLD; i++)
        if (f->values[i][0])
            out[n++] = (odto_http_header){told[i].name, f->values[i]};
    out[n++] = (odto_http_header){"X-Content-Type-Options", "nosniff"};
    return n;
}

static void answer(fetch *f)
{
    odto_http_request *rq = f->rq;
    odto_http_header headers[N_TOLD + 1];
    size_t n = answer_headers(f, headers);
    if (!rq)
        return;
    f->rq = NULL;
    odto_slice body = odto_slice_of(f->body.p, f->body.n);
    f->body = (odto_buf){0};
    f->web->host->api->http->reply(rq, f->status, headers, n, body, body.p ? free : NULL,
                                   (void *)(uintptr_t)body.p);
}

static void stream_closed(void *arg)
{
    fetch *f = arg;
    pthread_mutex_lock(&f->lock);
    f->gone = true;
    pthread_mutex_unlock(&f->lock);
    fetch_post(f);
    fetch_unref(f);
}

static int stream_begin(fetch *f)
{
    odto_http_header headers[N_TOLD + 1];
    size_t n = answer_headers(f, headers);
    odto_http_request *rq = f->rq;
    f->rq = NULL;
    lws_sul_schedule(client_context(f->web->client), 0, &f->deadline, NULL, LWS_SET_TIMER_USEC_CANCEL);
    atomic_fetch_add(&f->refs, 1); /* until stream_closed */
    f->stream =
        f->web->host->api->http->reply_stream(rq, f->status, headers, n, STREAM_QUEUE, stream_closed, f);
    if (f->stream)
        return 0;
    fetch_unref(f);
    return -1;
}

/* ---- the read model's side (our thread) ------------------------------------------------------------- */

static int established(fetch *f, struct lws *wsi)
{
    f->status = (int)lws_http_client_http_response(wsi);
    for (size_t i = 0; i < N_TOLD; i++)
        if (lws_hdr_copy(wsi, f->values[i], sizeof f->values[i], told[i].token) < 0)
            f->values[i][0] = 0;
    f->framed = lws_hdr_total_length(wsi, WSI_TOKEN_HTTP_CONTENT_LENGTH) > 0 ||
                lws_hdr_total_length(wsi, WSI_TOKEN_HTTP_TRANSFER_ENCODING) > 0;
    if (f->status < 200 || f->status > 599) {
        answer_error(f, 502, "it answered with a status that is none");
        return -1;
    }
    return strncasecmp(f->values[0], "text/event-stream", 17) == 0 && f->status == 200 ? stream_begin(f) : 0;
}

static int body_piece(fetch *f, const char *p, size_t n)
{
    if (f->stream) /* a client too slow to take it loses the stream, and comes back with Last-Event-ID */
        return f->web->host->api->http->stream_write(f->stream, odto_slice_of(p, n)) == 0 ? 0 : -1;
    if (odto_buf_put(&f->body, p, n))
        return 0;
    answer_error(f, 502, "its answer is too long (option api_body)");
    return -1;
}

/* The connection is over, whatever way. */
static void finish(fetch *f)
{
    if (f->stream) {
        f->web->host->api->http->stream_end(f->stream);
        f->stream = NULL;
    }
    if (f->complete || (f->status && !f->framed))
        answer(f);
    else if (f->late)
        answer_error(f, 504, "no answer in time (option api_timeout)");
    else
        answer_error(f, 502,
                     f->status ? "its answer broke off" : "it closed the connection without an answer");
}

static void fetch_detach(fetch *f)
{
    if (!f->attached)
        return;
    f->attached = false;
    lws_sul_schedule(client_context(f->web->client), 0, &f->deadline, NULL, LWS_SET_TIMER_USEC_CANCEL);
    fetch_unref(f);
}

static int put_head(fetch *f, char **p, size_t room)
{
    if (f->head.n >= room)
        return -1;
    memcpy(*p, f->head.p, f->head.n);
    *p += f->head.n;
    return 0;
}

static int read_some(struct lws *wsi)
{
    char buffer[LWS_PRE + 16384], *p = buffer + LWS_PRE;
    int n = (int)(sizeof buffer - LWS_PRE);
    return lws_http_client_read(wsi, &p, &n) < 0 ? -1 : 0;
}

static int model_event(client_conn *conn, struct lws *wsi, int reason, void *in, size_t n)
{
    fetch *f = (fetch *)conn;
    switch (reason) {
    case LWS_CALLBACK_CLIENT_APPEND_HANDSHAKE_HEADER:
        return put_head(f, in, n);
    case LWS_CALLBACK_ESTABLISHED_CLIENT_HTTP:
        return established(f, wsi);
    case LWS_CALLBACK_RECEIVE_CLIENT_HTTP:
        return read_some(wsi);
    case LWS_CALLBACK_RECEIVE_CLIENT_HTTP_READ:
        return body_piece(f, in, n);
    case LWS_CALLBACK_COMPLETED_CLIENT_HTTP:
        f->complete = true;
        return 0;
    case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
        answer_error(f, f->late ? 504 : 502,
                     f->late ? "no answer in time (option api_timeout)"
                     : in    ? in
                             : "no connection");
        return 0;
    case LWS_CALLBACK_WSI_DESTROY:
        f->wsi = NULL;
        lws_set_opaque_user_data(wsi, NULL);
        finish(f);
        fetch_detach(f);
        return 0;
    default:
        return 0;
    }
}

static void too_late(lws_sorted_usec_list_t *sul)
{
    fetch *f = lws_container_of(sul, fetch, deadline);
    f->late = true;
    if (f->wsi)
        lws_set_timeout(f->wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_ASYNC);
}

static void fetch_begin(fetch *f)
{
    web *w = f->web;
    char address[64], why[160];
    const upstream *at = &w->upstreams.read_model;
    f->begun = true;
    if (!upstream_address(&w->upstreams, at, address, why)) {
        answer_error(f, 502, why);
        return;
    }
    atomic_fetch_add(&f->refs, 1); /* until WSI_DESTROY */
    f->attached = true;
    lws_sul_schedule(client_context(w->client), 0, &f->deadline, too_late, w->api_timeout_ns / 1000);
    struct lws *wsi = client_connect(w->client, at, address, f->path, "GET", at->authority, NULL, &f->conn);
    if (wsi) {
        f->wsi = wsi;
    } else {
        answer_error(f, 502, "no connection can be made");
        fetch_detach(f);
    }
}

static void fetch_run(errand *e)
{
    fetch *f = (fetch *)((char *)e - offsetof(fetch, errand));
    pthread_mutex_lock(&f->lock);
    bool gone = f->gone;
    pthread_mutex_unlock(&f->lock);
    if (!f->begun)
        fetch_begin(f);
    if (gone && f->wsi)
        lws_set_timeout(f->wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_ASYNC);
    fetch_unref(f);
}

/* ---- the request (the host's loop) ------------------------------------------------------------------ */

static bool write_head(fetch *f, odto_http_request *rq)
{
    const odto_http_api *http = f->web->host->api->http;
    char text[ODTO_UUID_LEN + 1], forwarded[512];
    f->head.max = 4096;
    for (size_t i = 0; i < N_ASKED; i++) {
        odto_slice v = http->header(rq, asked[i]);
        if (v.n && !memchr(v.p, '\n', v.n) && !memchr(v.p, '\r', v.n))
            odto_buf_printf(&f->head, "%s: %.*s\r\n", asked[i], (int)v.n, v.p);
    }
    odto_uuid_format(http->correlation(rq), text);
    odto_buf_printf(&f->head, "X-Correlation-Id: %s\r\n", text);
    if (!gate_forwarded(f->web, rq, forwarded, sizeof forwarded))
        return false;
    odto_buf_printf(&f->head, "X-Forwarded-For: %s\r\n", forwarded);
    return !f->head.failed;
}

static bool write_path(fetch *f, odto_http_request *rq)
{
    const odto_http_api *http = f->web->host->api->http;
    odto_slice path = http->path(rq), query = http->query_string(rq);
    size_t cut = strlen("/api");
    int n =
        snprintf(f->path, sizeof f->path, "%s%.*s%s%.*s", f->web->upstreams.read_model.path,
                 (int)(path.n - cut), path.p + cut, query.n ? "?" : "", (int)query.n, query.n ? query.p : "");
    return n > 0 && (size_t)n < sizeof f->path;
}

void fetch_get(void *self, odto_http_request *rq)
{
    web *w = self;
    const odto_http_api *http = w->host->api->http;
    if (atomic_fetch_add(&w->n_fetches, 1) >= w->max_requests) {
        atomic_fetch_sub(&w->n_fetches, 1);
        http->reply_error(rq, 503, "Too many requests at once", "/", "see option max_requests", 1);
        return;
    }
    fetch *f = calloc(1, sizeof *f);
    if (!f) {
        atomic_fetch_sub(&w->n_fetches, 1);
        http->reply_error(rq, 503, "No memory", NULL, NULL, 1);
        return;
    }
    f->conn.event = model_event;
    f->errand.run = fetch_run;
    f->web = w;
    f->rq = rq;
    f->correlation = *http->correlation(rq);
    f->body.max = w->max_body;
    atomic_store(&f->refs, 1);
    pthread_mutex_init(&f->lock, NULL);
    if (!write_head(f, rq) || !write_path(f, rq))
        http->reply_error(rq, 431, "Request too long", NULL, NULL, 0);
    else if (!fetch_post(f))
        http->reply_error(rq, 503, "The web plugin is stopping", NULL, NULL, 1);
    fetch_unref(f);
}
