/* ws_conn.c — one WebSocket connection: handshake, messages in, messages out, close.
 *
 * On the ws thread, but for the api_ws_ functions: those change what engine->lock protects, mark the
 * connection and wake the thread. */
#include "ws_priv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool on_thread(const struct ws_engine *e)
{
    return pthread_equal(e->thread, pthread_self());
}

static http_owner *ws_owner(const odto_ws *ws)
{
    return ws->route->mount->owner;
}

/* ---- connections ---------------------------------------------------------------------------- */

static void frames_free(odto_ws *ws)
{
    while (ws->out) {
        ws_frame *f = ws->out;
        ws->out = f->next;
        free(f);
    }
}

/* The end of the owner's part: closed() once, then the owner does not hold the connection any more. */
void ws_conn_leave(odto_ws *ws, int code)
{
    http_server *s = ws->engine->server;
    http_owner *o = ws_owner(ws);
    if (!ws->opened)
        return;
    ws->opened = false;
    pthread_mutex_lock(&ws->engine->lock);
    ws->closing = true;
    pthread_mutex_unlock(&ws->engine->lock);
    hook_enter(s, o);
    ws->route->route->ws->closed(o->self, ws->ctx, code);
    hook_leave(s, o);
    owner_close(o);
}

static void conn_unlink(odto_ws *ws)
{
    *ws->at = ws->next;
    if (ws->next)
        ws->next->at = ws->at;
}

static void conn_link(odto_ws *ws, odto_ws **list)
{
    ws->next = *list;
    ws->at = list;
    if (ws->next)
        ws->next->at = &ws->next;
    *list = ws;
}

void ws_conn_destroy(odto_ws *ws)
{
    struct ws_engine *e = ws->engine;
    struct ws_route *r = ws->route;
    ws_conn_leave(ws, ws->peer_code ? ws->peer_code : 1006);
    pthread_mutex_lock(&e->lock);
    for (odto_ws **at = &e->dirty; *at; at = &(*at)->dirty_next) {
        if (*at == ws) {
            *at = ws->dirty_next;
            break;
        }
    }
    pthread_mutex_unlock(&e->lock);
    conn_unlink(ws);
    if (ws->rq)
        request_destroy(ws->rq, NULL);
    frames_free(ws);
    odto_buf_free(&ws->in);
    free(ws->subprotocol);
    free(ws);
    atomic_fetch_sub(&e->n_conns, 1);
    if (e->quit) /* one that a timeout ends does not bring the thread out of lws by itself */
        ws_wake(e);
    mount_unref(r->mount); /* may free r */
}

/* A request's shape around the handshake, for accept() and open(). */
static odto_http_request *upgrade_request(struct ws_route *r, odto_slice target, const char *peer)
{
    odto_http_request *rq = calloc(1, sizeof(*rq));
    if (!rq)
        return NULL;
    rq->magic = REQUEST_MAGIC;
    rq->loop = &r->engine->server->loops[0]; /* for the way to the server only */
    rq->t0 = odto_now_ns();
    rq->method = odto_slice_str("GET");
    rq->seen_head = true;
    rq->mount = r->mount;
    r->mount->refs++;
    rq->route = r->route;
    rq->peer = odto_slice_str(arena_copy(rq, odto_slice_str(peer)));
    if (request_target(rq, target) || !pattern_match(r->route->pattern, r->route->flags & ODTO_HTTP_PREFIX,
                                                     rq->path, rq->params, &rq->n_params)) {
        request_destroy(rq, NULL);
        return NULL;
    }
    return rq;
}

odto_ws *ws_conn_new(struct ws_route *r, odto_slice target, const char *peer)
{
    odto_ws *ws = calloc(1, sizeof(*ws));
    if (!ws || !(ws->rq = upgrade_request(r, target, peer))) {
        free(ws);
        return NULL;
    }
    ws->engine = r->engine;
    ws->route = r;
    ws->out_tail = &ws->out;
    ws->in.max = r->route->ws->max_message ? r->route->ws->max_message : MESSAGE_MAX;
    conn_link(ws, &r->conns);
    atomic_fetch_add(&r->engine->n_conns, 1);
    return ws;
}

/* ---- handshake ------------------------------------------------------------------------------ */

static odto_slice token_value(odto_http_request *rq, enum lws_token_indexes t)
{
    int n = lws_hdr_total_length(rq->wsi, t);
    char *p = n > 0 ? request_alloc(rq, (size_t)n + 1) : NULL;
    if (!p || lws_hdr_copy(rq->wsi, p, n + 1, t) < 0)
        return odto_slice_of(NULL, 0);
    return odto_slice_of(p, (size_t)n);
}

odto_slice ws_header(odto_http_request *rq, const char *name)
{
    char lower[128];
    size_t n = strlen(name);
    if (!n || n + 2 > sizeof(lower))
        return odto_slice_of(NULL, 0);
    for (size_t i = 0; i < n; i++)
        lower[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] + 32 : name[i]);
    memcpy(lower + n, ":", 2);
    for (int t = 0; t < WSI_TOKEN_COUNT; t++) {
        const unsigned char *known = lws_token_to_string((enum lws_token_indexes)t);
        if (known && !strcmp((const char *)known, lower))
            return token_value(rq, (enum lws_token_indexes)t);
    }
    int len = lws_hdr_custom_length(rq->wsi, lower, (int)n + 1);
    char *p = len >= 0 ? request_alloc(rq, (size_t)len + 1) : NULL;
    if (!p || lws_hdr_custom_copy(rq->wsi, p, len + 1, lower, (int)n + 1) < 0)
        return odto_slice_of(NULL, 0);
    return odto_slice_of(p, (size_t)len);
}

/* An answer other than 101, by hand: lws takes the connection for a WebSocket already. */
int ws_handshake_refuse(odto_ws *ws, int status, const char *error)
{
    int fd = lws_get_socket_fd(ws->wsi);
    if (ws->rq)
        request_finish(ws->rq, status);
    socket_raw_error(fd, status, error, NULL);
    shutdown(fd, SHUT_WR);
    return -1;
}

static const char *status_text(int status)
{
    switch (status) {
    case 401:
        return "Unauthorized";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 429:
        return "Too Many Requests";
    case 503:
        return "Service Unavailable";
    default:
        return "Refused";
    }
}

static const char *subprotocol_chosen(const odto_ws *ws)
{
    const struct lws_protocols *p = lws_get_protocol(ws->wsi);
    return p == ws->engine->protocols || !strcmp(p->name, ws->engine->protocols[0].name) ? NULL : p->name;
}

/* The headers are there, nothing is answered yet. */
int ws_handshake_check(odto_ws *ws)
{
    const odto_ws_ops *ops = ws->route->route->ws;
    http_server *s = ws->engine->server;
    odto_http_request *rq = ws->rq;
    rq->wsi = ws->wsi;
    odto_slice id = ws_header(rq, "X-Correlation-Id");
    if (id.n && odto_uuid_parse(id, &rq->correlation))
        return ws_handshake_refuse(ws, 400, "Bad Request");
    if (!id.n)
        odto_uuid_v7(&rq->correlation);
    odto_uuid_format(&rq->correlation, rq->correlation_text);
    if (ws->closing || owner_gated(ws_owner(ws))) /* removed or gated meanwhile */
        return ws_handshake_refuse(ws, 503, status_text(503));
    const char *token = ws->route->mount->listener->auth_token;
    odto_slice given = ws_header(rq, "Authorization");
    if (token && (given.n < 7 || strncasecmp(given.p, "Bearer ", 7) ||
                  !odto_equal_secret(odto_slice_of(given.p + 7, given.n - 7), odto_slice_str(token))))
        return ws_handshake_refuse(ws, 401, status_text(401));
    const char *chosen = subprotocol_chosen(ws);
    if (chosen && !list_has(odto_slice_str(ops->subprotocols), chosen, strlen(chosen)))
        return ws_handshake_refuse(ws, 400, "Bad Request"); /* another route's, offered before one of ours */
    int status = 0;
    if (ops->accept) {
        hook_enter(s, ws_owner(ws));
        status = ops->accept(ws_owner(ws)->self, rq);
        hook_leave(s, ws_owner(ws));
    }
    return status ? ws_handshake_refuse(ws, status, status_text(status)) : 0;
}

int ws_handshake_headers(odto_ws *ws, struct lws_process_html_args *args)
{
    int n = snprintf(args->p, (size_t)args->max_len, "X-Correlation-Id: %s\r\n", ws->rq->correlation_text);
    if (n >= args->max_len)
        return -1;
    args->p += n;
    return 0;
}

int ws_conn_established(odto_ws *ws)
{
    http_server *s = ws->engine->server;
    http_owner *o = ws_owner(ws);
    const char *chosen = subprotocol_chosen(ws);
    if (ws->closing)
        return -1;
    lws_set_timeout(ws->wsi, NO_PENDING_TIMEOUT, 0);
    if (chosen && !(ws->subprotocol = strdup(chosen)))
        return -1;
    if (!owner_open(o)) /* gated since the handshake began */
        return -1;
    ws->opened = true;
    hook_enter(s, o);
    ws->ctx = ws->route->route->ws->open(o->self, ws, ws->rq);
    hook_leave(s, o);
    ws->rq->wsi = NULL;
    request_finish(ws->rq, 101);
    request_destroy(ws->rq, NULL);
    ws->rq = NULL;
    return 0;
}

/* ---- receiving ------------------------------------------------------------------------------ */

static int conn_deliver(odto_ws *ws, odto_slice data, bool binary)
{
    http_server *s = ws->engine->server;
    http_owner *o = ws_owner(ws);
    if (!ws->opened)
        return 0;
    hook_enter(s, o);
    ws->route->route->ws->message(o->self, ws->ctx, data, binary);
    hook_leave(s, o);
    return 0;
}

int ws_conn_receive(odto_ws *ws, const char *p, size_t n)
{
    if (ws->close_sent)
        return 0;
    bool last = lws_is_final_fragment(ws->wsi) && !lws_remaining_packet_payload(ws->wsi);
    bool binary = lws_frame_is_binary(ws->wsi) != 0;
    if (n > ws->in.max || ws->in.n > ws->in.max - n) {
        lws_close_reason(ws->wsi, LWS_CLOSE_STATUS_MESSAGE_TOO_LARGE, (unsigned char *)"message too large",
                         17);
        ws->peer_code = 1009;
        return -1;
    }
    if (last && !ws->in.n)
        return conn_deliver(ws, odto_slice_of(p, n), binary);
    size_t max = ws->in.max;
    if (!odto_buf_put(&ws->in, p, n)) {
        ws->peer_code = 1011;
        return -1;
    }
    if (!last)
        return 0;
    odto_buf whole = ws->in;
    ws->in = (odto_buf){.max = max};
    conn_deliver(ws, odto_slice_of(whole.p, whole.n), binary);
    odto_buf_free(&whole);
    return 0;
}

/* ---- sending -------------------------------------------------------------------------------- */

/* Write a piece of the first frame. 1: a frame is finished, 0: go on when writable, -1: the connection is
 * lost. */
static int frame_write(odto_ws *ws, ws_frame *f)
{
    size_t n = f->n - f->sent < CHUNK ? f->n - f->sent : CHUNK;
    int flags =
        lws_write_ws_flags(f->binary ? LWS_WRITE_BINARY : LWS_WRITE_TEXT, f->sent == 0, f->sent + n == f->n);
    /* lws writes its frame header in front of the piece, over bytes that were sent before */
    if (lws_write(ws->wsi, f->bytes + LWS_PRE + f->sent, n, (enum lws_write_protocol)flags) < (int)n)
        return -1;
    f->sent += n;
    if (f->sent < f->n)
        return 0;
    pthread_mutex_lock(&ws->engine->lock);
    ws->out = f->next;
    if (!ws->out)
        ws->out_tail = &ws->out;
    pthread_mutex_unlock(&ws->engine->lock);
    atomic_fetch_sub(&ws->queued, f->n);
    free(f);
    return 1;
}

/* lws keeps the name to itself; it takes the opcode as it takes ping's and pong's. */
static const enum lws_write_protocol write_close = (enum lws_write_protocol)4;

/* The close frame goes out as the last one and the connection stays until the peer's comes: it has read all
 * then. Left to lws 4.1, the socket is closed at the first thing that the peer sends; with something of it
 * unread the kernel resets the connection, and what was on its way to the peer is lost. */
static int conn_send_close(odto_ws *ws)
{
    unsigned char frame[LWS_PRE + 2 + sizeof(ws->reason)], *p = frame + LWS_PRE;
    size_t n = strlen(ws->reason);
    p[0] = (unsigned char)(ws->code >> 8);
    p[1] = (unsigned char)ws->code;
    memcpy(p + 2, ws->reason, n);
    ws->close_sent = true;
    conn_unlink(ws); /* its route may go before the peer answers */
    conn_link(ws, &ws->engine->closing);
    if (!ws->peer_code)
        ws->peer_code = ws->code;
    ws_conn_leave(ws, ws->peer_code); /* the owner need not wait for the peer */
    if (lws_write(ws->wsi, p, n + 2, write_close) < (int)(n + 2) || ws->engine->quit)
        return -1; /* nor does the end of the host */
    lws_set_timeout(ws->wsi, PENDING_TIMEOUT_CLOSE_ACK, CLOSE_ACK_SECS);
    return 0;
}

static void conn_writable_again(odto_ws *ws)
{
    http_server *s = ws->engine->server;
    pthread_mutex_lock(&ws->engine->lock);
    bool wanted = ws->want_write;
    ws->want_write = false;
    pthread_mutex_unlock(&ws->engine->lock);
    if (!wanted || !ws->opened || !ws->route->route->ws->writable)
        return;
    hook_enter(s, ws_owner(ws));
    ws->route->route->ws->writable(ws_owner(ws)->self, ws->ctx);
    hook_leave(s, ws_owner(ws));
}

int ws_conn_writable(odto_ws *ws)
{
    if (ws->close_sent)
        return 0;
    for (int i = 0; i < BURST; i++) {
        pthread_mutex_lock(&ws->engine->lock);
        ws_frame *f = ws->out;
        bool close = ws->closing && ws->code;
        pthread_mutex_unlock(&ws->engine->lock);
        if (!f)
            return close ? conn_send_close(ws) : (conn_writable_again(ws), 0);
        int r = frame_write(ws, f);
        if (r < 0)
            return -1;
        if (close) /* it takes what is left: slowly, but it does */
            lws_set_timeout(ws->wsi, PENDING_TIMEOUT_USER_OK, CLOSE_SECS);
        if (!r || lws_send_pipe_choked(ws->wsi))
            break;
    }
    lws_callback_on_writable(ws->wsi);
    return 0;
}

/* Asking costs a system call, a few bytes more than UNSENT nothing. */
static bool kernel_has_room(odto_ws *ws)
{
    if (lws_partial_buffered(ws->wsi))
        return false;
    if (ws->unasked < UNASKED)
        return true;
    ws->unasked = 0;
    return !lws_send_pipe_choked(ws->wsi);
}

/* A lone small frame need not wait for the next turn of lws: a key's echo has 10 us less to go. True: it is
 * gone, and nothing else is left to do. What answers a message waits: a pong may be due before it. */
static bool conn_write_now(odto_ws *ws)
{
    pthread_mutex_lock(&ws->engine->lock);
    ws_frame *f = ws->out;
    bool lone = f && !f->next && !f->sent && f->n <= SMALL && !ws->want_write;
    pthread_mutex_unlock(&ws->engine->lock);
    if (!lone || !ws->opened || ws->engine->reading || !kernel_has_room(ws))
        return false;
    ws->unasked += f->n;
    int r = frame_write(ws, f);
    if (r < 0) { /* not ours to say here: the next turn ends it */
        lws_set_timeout(ws->wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_ASYNC);
        ws_wake(ws->engine);
    }
    return r != 0;
}

/* Bring what other threads asked for to lws. */
static void conn_apply(odto_ws *ws, bool paused, bool closing)
{
    if (ws->close_sent)
        return;
    bool stop = paused && !closing; /* a close needs the peer's answer */
    if (stop != ws->rx_stopped)
        lws_rx_flow_control(ws->wsi, !stop);
    if (ws->rx_stopped && !stop)
        ws_wake(ws->engine); /* lws may have something of it, and looks only after events of its own */
    ws->rx_stopped = stop;
    if (closing) /* a peer that takes nothing is cut */
        lws_set_timeout(ws->wsi, PENDING_TIMEOUT_USER_OK, CLOSE_SECS);
    if (closing || !conn_write_now(ws))
        lws_callback_on_writable(ws->wsi);
}

void ws_dirty_apply(struct ws_engine *e)
{
    for (;;) {
        pthread_mutex_lock(&e->lock);
        odto_ws *ws = e->dirty;
        if (!ws) {
            pthread_mutex_unlock(&e->lock);
            return;
        }
        e->dirty = ws->dirty_next;
        ws->dirty = false;
        bool paused = ws->paused, closing = ws->closing;
        pthread_mutex_unlock(&e->lock);
        conn_apply(ws, paused, closing);
    }
}

/* With lock: have the thread look at ws. True: wake it (after unlocking). */
static bool conn_mark(odto_ws *ws)
{
    struct ws_engine *e = ws->engine;
    if (ws->dirty)
        return false;
    ws->dirty = true;
    ws->dirty_next = e->dirty;
    e->dirty = ws;
    return true;
}

/* After conn_mark, unlocked: on the thread itself nothing needs waking, it is done at once. */
static void conn_marked(odto_ws *ws, bool wake)
{
    struct ws_engine *e = ws->engine;
    if (on_thread(e))
        ws_dirty_apply(e);
    else if (wake)
        ws_wake(e);
}

void ws_conn_evict(odto_ws *ws, int code, const char *reason)
{
    ws_conn_leave(ws, code);
    pthread_mutex_lock(&ws->engine->lock);
    ws->closing = true;
    if (!ws->code) {
        ws->code = code;
        snprintf(ws->reason, sizeof(ws->reason), "%s", reason);
    }
    conn_mark(ws);
    pthread_mutex_unlock(&ws->engine->lock);
}

int api_ws_send(odto_ws *ws, odto_slice data, bool binary)
{
    struct ws_engine *e = ws->engine;
    size_t limit = e->server->config.ws_queue, queued = atomic_load(&ws->queued);
    if (queued && queued + data.n > limit)
        return -EAGAIN;
    ws_frame *f = malloc(sizeof(*f) + LWS_PRE + data.n);
    if (!f)
        return -EAGAIN;
    *f = (ws_frame){.n = data.n, .binary = binary};
    if (data.n)
        memcpy(f->bytes + LWS_PRE, data.p, data.n);
    pthread_mutex_lock(&e->lock);
    if (ws->closing) {
        pthread_mutex_unlock(&e->lock);
        free(f);
        return -EPIPE;
    }
    *ws->out_tail = f;
    ws->out_tail = &f->next;
    atomic_fetch_add(&ws->queued, data.n);
    bool wake = conn_mark(ws);
    pthread_mutex_unlock(&e->lock);
    conn_marked(ws, wake);
    return 0;
}

static void conn_ask(odto_ws *ws, bool want_write, const bool *paused)
{
    pthread_mutex_lock(&ws->engine->lock);
    ws->want_write |= want_write;
    if (paused)
        ws->paused = *paused;
    bool wake = conn_mark(ws);
    pthread_mutex_unlock(&ws->engine->lock);
    conn_marked(ws, wake);
}

void api_ws_want_write(odto_ws *ws)
{
    conn_ask(ws, true, NULL);
}

void api_ws_pause(odto_ws *ws, bool paused)
{
    conn_ask(ws, false, &paused);
}

size_t api_ws_queued(const odto_ws *ws)
{
    return atomic_load(&ws->queued);
}

void api_ws_close(odto_ws *ws, int code, const char *reason)
{
    struct ws_engine *e = ws->engine;
    pthread_mutex_lock(&e->lock);
    bool wake = false;
    if (!ws->closing) {
        ws->closing = true;
        ws->code = code;
        snprintf(ws->reason, sizeof(ws->reason), "%s", reason ? reason : "");
        wake = conn_mark(ws);
    }
    pthread_mutex_unlock(&e->lock);
    conn_marked(ws, wake);
}

odto_slice api_ws_subprotocol(const odto_ws *ws)
{
    return odto_slice_str(ws->subprotocol);
}
