/* relay.c — /ws: one WebSocket of a browser, joined to one of the broker.
 *
 * Two threads meet here: the host's WebSocket thread (accept, open, message, writable, closed) and ours (the
 * side of the broker). relay.lock protects what both touch; ws is the host's until closed() and used under
 * the lock, so that it can't go away meanwhile (ws_send never calls back). Two references: the browser's side
 * and the broker's.
 *
 * Nothing is dropped and nothing grows: beyond HIGH bytes under way in one direction the sender of that
 * direction is not read any more, until LOW. */
#include "web.h"

#include <errno.h>
#include <libwebsockets.h>
#include <stdlib.h>
#include <string.h>

enum {
    HIGH = 256 * 1024,
    LOW = 64 * 1024,
    BURST = 16,                    /* messages written before others get a turn */
    FROM_BROWSER_MAX = 256 * 1024, /* larger: closed with 1009 */
    FROM_BROKER_MAX = 16 << 20,    /* a replay of a long session; larger: closed with 1009 */
    BAD_GATEWAY = 1014,            /* IANA: the upstream gave no valid answer */
    NO_SUBPROTOCOL = 4406,         /* ours: the broker does not speak odto.pty.v1, come without */
    CLOSE_S = 3,
};

typedef struct frame {
    struct frame *next;
    size_t n;
    bool binary;
    unsigned char bytes[]; /* LWS_PRE, then n */
} frame;

/* What is said to the broker at the handshake. */
typedef struct greeting {
    char path[2048], host[280], origin[300], forwarded[512], authorization[600],
        correlation[ODTO_UUID_LEN + 1];
    bool subprotocol;
} greeting;

typedef struct relay {
    client_conn conn;
    errand errand;
    web *web;
    _Atomic int refs;

    pthread_mutex_t lock; /* down to `code` */
    odto_ws *ws;          /* NULL: the browser has gone */
    frame *out, **out_tail;
    size_t out_bytes;
    bool paused;  /* the browser is not read */
    bool drained; /* the browser takes more again */
    int code;     /* how the browser left */

    /* our thread's */
    greeting *greeting;
    struct lws *wsi;
    bool begun, attached, open, held, over;
    odto_buf in; /* message being put together, or kept until the browser takes more */
    bool in_binary;
    int peer_code;
    char peer_reason[124];
} relay;

static void relay_unref(relay *r)
{
    if (atomic_fetch_sub(&r->refs, 1) != 1)
        return;
    odto_metric_set(r->web->terminals, atomic_fetch_sub(&r->web->n_relays, 1) - 1);
    while (r->out) {
        frame *f = r->out;
        r->out = f->next;
        free(f);
    }
    odto_buf_free(&r->in);
    free(r->greeting);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

/* Have our thread look at r. */
static void relay_post(relay *r)
{
    atomic_fetch_add(&r->refs, 1);
    if (client_post(r->web->client, &r->errand) != 1)
        relay_unref(r);
}

static void browser_close(relay *r, int code, const char *reason)
{
    pthread_mutex_lock(&r->lock);
    if (r->ws)
        r->web->host->api->http->ws_close(r->ws, code, reason);
    pthread_mutex_unlock(&r->lock);
}

/* ---- the broker's side (our thread) -------------------------------------------------------------- */

/* The broker's side is over, once; the browser is told. */
static void relay_over(relay *r, int code, const char *reason)
{
    if (r->over)
        return;
    r->over = true;
    browser_close(r, code, reason);
}

static void unreachable(relay *r, const char *why)
{
    char reason[124];
    odto_metric_add(r->web->unreachable, 1);
    upstream_failed(&r->web->upstreams);
    snprintf(reason, sizeof reason, "terminal broker: %.100s", why);
    if (!r->over)
        odto_log(r->web->host, ODTO_WARN, "the terminal broker at %s can't be used: %s (option broker_url)",
                 r->web->upstreams.broker.authority, why);
    relay_over(r, BAD_GATEWAY, reason);
}

/* lws says of an answer only that it is not 101. */
static void not_connected(relay *r, struct lws *wsi, const char *why)
{
    char text[128];
    unsigned status = lws_http_client_http_response(wsi);
    snprintf(text, sizeof text,
             "it refuses with status %u: see its allowed_hosts, allowed_origins and auth_token", status);
    unreachable(r, status >= 400 ? text : why ? why : "no connection");
}

static bool put_header(char **p, const char *end, const char *name, const char *value)
{
    if (!value[0])
        return true;
    int n = snprintf(*p, (size_t)(end - *p), "%s: %s\r\n", name, value);
    if (n < 0 || n >= end - *p)
        return false;
    *p += n;
    return true;
}

static int put_headers(const relay *r, char **p, size_t room)
{
    const char *end = *p + room;
    const greeting *g = r->greeting;
    /* lws would write http:// before an origin */
    return put_header(p, end, "Origin", g->origin) && put_header(p, end, "X-Forwarded-For", g->forwarded) &&
                   put_header(p, end, "Authorization", g->authorization) &&
                   put_header(p, end, "X-Correlation-Id", g->correlation)
               ? 0
               : -1;
}

/* The handshake's answer is there: has the broker taken the subprotocol? */
static int check_subprotocol(relay *r, struct lws *wsi)
{
    if (!r->greeting->subprotocol || lws_hdr_total_length(wsi, WSI_TOKEN_PROTOCOL) > 0)
        return 0;
    relay_over(r, NO_SUBPROTOCOL, "the terminal broker does not speak " WEB_SUBPROTOCOL);
    return -1;
}

/* A whole message from the broker is in r->in. */
static void to_browser(relay *r)
{
    const odto_http_api *http = r->web->host->api->http;
    pthread_mutex_lock(&r->lock);
    int rc = r->ws ? http->ws_send(r->ws, odto_slice_of(r->in.p, r->in.n), r->in_binary) : -EPIPE;
    if (rc == -EAGAIN || (rc == 0 && http->ws_queued(r->ws) > HIGH)) {
        r->held = true;
        r->drained = false;
        http->ws_want_write(r->ws);
    }
    pthread_mutex_unlock(&r->lock);
    if (r->held)
        lws_rx_flow_control(r->wsi, 0);
    if (rc != -EAGAIN) /* else it is kept for writable() */
        odto_buf_clear(&r->in);
}

static int receive(relay *r, struct lws *wsi, const char *p, size_t n)
{
    if (!odto_buf_put(&r->in, p, n)) {
        relay_over(r, 1009, "message of the terminal broker too large");
        return -1;
    }
    if (lws_is_final_fragment(wsi) && !lws_remaining_packet_payload(wsi)) {
        r->in_binary = lws_frame_is_binary(wsi) != 0;
        to_browser(r);
    }
    return 0;
}

static frame *next_frame(relay *r, int *left)
{
    pthread_mutex_lock(&r->lock);
    frame *f = r->out;
    if (f) {
        r->out = f->next;
        if (!r->out)
            r->out_tail = &r->out;
        r->out_bytes -= f->n;
        if (r->paused && r->out_bytes <= LOW && r->ws) {
            r->paused = false;
            r->web->host->api->http->ws_pause(r->ws, false);
        }
    }
    *left = r->ws ? 0 : r->code;
    pthread_mutex_unlock(&r->lock);
    return f;
}

/* May an endpoint send this close code? RFC 6455, 7.4. */
static bool code_sendable(int code)
{
    return (code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006) ||
           (code >= 3000 && code < 5000);
}

static int to_broker(relay *r, struct lws *wsi)
{
    int code = 0;
    for (int i = 0; i < BURST; i++) {
        frame *f = next_frame(r, &code);
        if (!f)
            break;
        int n = (int)f->n,
            rc = lws_write(wsi, f->bytes + LWS_PRE, f->n, f->binary ? LWS_WRITE_BINARY : LWS_WRITE_TEXT);
        free(f);
        if (rc < n)
            return -1;
        if (lws_send_pipe_choked(wsi))
            break;
    }
    pthread_mutex_lock(&r->lock);
    bool more = r->out != NULL;
    pthread_mutex_unlock(&r->lock);
    if (more) {
        lws_callback_on_writable(wsi);
    } else if (code) { /* all is said and the browser has gone */
        if (code_sendable(code))
            lws_close_reason(wsi, (enum lws_close_status)code, NULL, 0);
        r->over = true;
        return -1;
    }
    return 0;
}

static void keep_close(relay *r, const unsigned char *p, size_t n)
{
    r->peer_code = n >= 2 ? p[0] << 8 | p[1] : 1005;
    if (n > 2)
        snprintf(r->peer_reason, sizeof r->peer_reason, "%.*s", (int)(n - 2), (const char *)p + 2);
}

static void relay_detach(relay *r)
{
    if (r->attached) {
        r->attached = false;
        relay_unref(r);
    }
}

static int broker_event(client_conn *conn, struct lws *wsi, int reason, void *in, size_t n)
{
    relay *r = (relay *)conn;
    switch (reason) {
    case LWS_CALLBACK_CLIENT_APPEND_HANDSHAKE_HEADER:
        return put_headers(r, in, n);
    case LWS_CALLBACK_CLIENT_FILTER_PRE_ESTABLISH:
        return check_subprotocol(r, wsi);
    case LWS_CALLBACK_CLIENT_ESTABLISHED:
        r->wsi = wsi;
        r->open = true;
        lws_callback_on_writable(wsi);
        return 0;
    case LWS_CALLBACK_CLIENT_RECEIVE:
        return receive(r, wsi, in, n);
    case LWS_CALLBACK_CLIENT_WRITEABLE:
        return to_broker(r, wsi);
    case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
        keep_close(r, in, n);
        return 0;
    case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
        not_connected(r, wsi, in);
        return 0;
    case LWS_CALLBACK_CLIENT_CLOSED:
        r->open = false;
        relay_over(r,
                   code_sendable(r->peer_code) ? r->peer_code
                   : r->peer_code == 1005      ? 1000
                                               : BAD_GATEWAY,
                   r->peer_code ? r->peer_reason : "the connection to the terminal broker broke");
        return 0;
    case LWS_CALLBACK_WSI_DESTROY:
        r->open = false;
        r->wsi = NULL;
        lws_set_opaque_user_data(wsi, NULL);
        relay_over(r, BAD_GATEWAY, "the connection to the terminal broker ended");
        relay_detach(r);
        return 0;
    default:
        return 0;
    }
}

static void relay_begin(relay *r)
{
    web *w = r->web;
    const greeting *g = r->greeting;
    char address[64], why[160];
    r->begun = true;
    if (!upstream_address(&w->upstreams, &w->upstreams.broker, address, why)) {
        unreachable(r, why);
        return;
    }
    atomic_fetch_add(&r->refs, 1); /* until WSI_DESTROY */
    r->attached = true;
    struct lws *wsi = client_connect(w->client, &w->upstreams.broker, address, g->path, NULL, g->host,
                                     g->subprotocol ? WEB_SUBPROTOCOL : NULL, &r->conn);
    if (wsi) {
        r->wsi = wsi;
    } else {
        unreachable(r, "no connection can be made");
        relay_detach(r); /* where no event has done it */
    }
}

static void relay_run(errand *e)
{
    relay *r = (relay *)((char *)e - offsetof(relay, errand));
    pthread_mutex_lock(&r->lock);
    bool gone = !r->ws, drained = r->drained;
    pthread_mutex_unlock(&r->lock);
    if (!r->begun && !gone)
        relay_begin(r);
    if (r->wsi && gone)
        lws_set_timeout(r->wsi, PENDING_TIMEOUT_USER_OK, CLOSE_S);
    if (r->wsi && r->held && drained) {
        r->held = false;
        lws_rx_flow_control(r->wsi, 1);
        if (r->in.n)
            to_browser(r);
    }
    if (r->open)
        lws_callback_on_writable(r->wsi);
    relay_unref(r);
}

/* ---- the browser's side (the host's WebSocket thread) -------------------------------------------- */

static int relay_accept(void *self, odto_http_request *rq)
{
    web *w = self;
    int status = !gate_origin(w, rq) ? 403 : atomic_load(&w->n_relays) >= w->max_terminals ? 503 : 0;
    if (status)
        odto_metric_add(w->refused, 1);
    return status;
}

static bool put_text(char *to, size_t size, odto_slice s)
{
    return snprintf(to, size, "%.*s", (int)s.n, s.n ? s.p : "") < (int)size;
}

static greeting *greeting_new(const web *w, odto_ws *ws, odto_http_request *rq)
{
    const odto_http_api *http = w->host->api->http;
    const upstream *broker = &w->upstreams.broker;
    odto_slice query = http->query_string(rq), host = http->header(rq, "Host");
    greeting *g = calloc(1, sizeof *g);
    if (!g)
        return NULL;
    int n = snprintf(g->path, sizeof g->path, "%s%s%.*s", broker->path[0] ? broker->path : "/",
                     query.n ? "?" : "", (int)query.n, query.n ? query.p : "");
    g->subprotocol = http->ws_subprotocol(ws).n > 0;
    odto_uuid_format(http->correlation(rq), g->correlation);
    if (n < 0 || (size_t)n >= sizeof g->path ||
        !put_text(g->host, sizeof g->host, host.n ? host : odto_slice_str(broker->authority)) ||
        !put_text(g->origin, sizeof g->origin, http->header(rq, "Origin")) ||
        !gate_forwarded(w, rq, g->forwarded, sizeof g->forwarded) ||
        !gate_authorization(w, rq, g->authorization, sizeof g->authorization)) {
        free(g);
        return NULL;
    }
    return g;
}

static void *relay_open(void *self, odto_ws *ws, odto_http_request *rq)
{
    web *w = self;
    relay *r = calloc(1, sizeof *r);
    greeting *g = greeting_new(w, ws, rq);
    if (!r || !g) {
        free(r);
        free(g);
        w->host->api->http->ws_close(ws, 1008, "query or header too long");
        return NULL;
    }
    r->conn.event = broker_event;
    r->errand.run = relay_run;
    r->web = w;
    r->ws = ws;
    r->greeting = g;
    r->out_tail = &r->out;
    r->in.max = FROM_BROKER_MAX;
    atomic_store(&r->refs, 1);
    pthread_mutex_init(&r->lock, NULL);
    odto_metric_set(w->terminals, atomic_fetch_add(&w->n_relays, 1) + 1);
    relay_post(r);
    return r;
}

static void relay_message(void *self, void *conn, odto_slice data, bool binary)
{
    relay *r = conn;
    frame *f = r ? malloc(sizeof *f + LWS_PRE + data.n) : NULL;
    (void)self;
    if (!r)
        return;
    if (!f) {
        browser_close(r, 1011, "no memory");
        return;
    }
    *f = (frame){.n = data.n, .binary = binary};
    if (data.n)
        memcpy(f->bytes + LWS_PRE, data.p, data.n);
    pthread_mutex_lock(&r->lock);
    *r->out_tail = f;
    r->out_tail = &f->next;
    r->out_bytes += f->n;
    if (!r->paused && r->out_bytes > HIGH) {
        r->paused = true;
        r->web->host->api->http->ws_pause(r->ws, true);
    }
    pthread_mutex_unlock(&r->lock);
    relay_post(r);
}

static void relay_writable(void *self, void *conn)
{
    relay *r = conn;
    (void)self;
    if (!r)
        return;
    pthread_mutex_lock(&r->lock);
    r->drained = true;
    pthread_mutex_unlock(&r->lock);
    relay_post(r);
}

static void relay_closed(void *self, void *conn, int code)
{
    relay *r = conn;
    (void)self;
    if (!r)
        return;
    pthread_mutex_lock(&r->lock);
    r->ws = NULL;
    r->code = code ? code : 1006;
    pthread_mutex_unlock(&r->lock);
    relay_post(r);
    relay_unref(r);
}

const odto_ws_ops relay_ops = {
    .accept = relay_accept,
    .open = relay_open,
    .message = relay_message,
    .writable = relay_writable,
    .closed = relay_closed,
    .max_message = FROM_BROWSER_MAX,
    .subprotocols = WEB_SUBPROTOCOL,
};
