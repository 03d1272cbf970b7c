/* viewer.c — connections: who comes in, what it asks for, what it sends. See pty.h for threads: callbacks of
 * the WebSocket loop, each under pty.lock. */
#include "pty.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- who comes in ------------------------------------------------------------------------------- */

void request_client(pty *p, const odto_http_request *rq, char out[46])
{
    client_address(p->set.proxies, p->set.n_proxies, p->http->peer(rq),
                   p->http->header(rq, "X-Forwarded-For"), out);
}

static odto_slice bearer(pty *p, const odto_http_request *rq)
{
    odto_slice h = p->http->header(rq, "Authorization");
    return h.n > 7 && !strncasecmp(h.p, "Bearer ", 7) ? odto_slice_of(h.p + 7, h.n - 7)
                                                      : odto_slice_of(NULL, 0);
}

bool request_bearer(pty *p, const odto_http_request *rq)
{
    odto_slice t = bearer(p, rq);
    return t.n && secret_is(&p->set.auth, t);
}

bool request_allowed(pty *p, const odto_http_request *rq, const char *client, bool authorized)
{
    const pty_settings *set = &p->set;
    odto_slice host = p->http->header(rq, "Host"), origin = p->http->header(rq, "Origin");
    if (netmask_has(set->proxies, set->n_proxies, p->http->peer(rq))) { /* the page's own proxy */
        odto_slice asked = p->http->header(rq, "X-Forwarded-Host");
        host = asked.n ? asked : host;
    }
    if (!host_allowed(host, set->hosts, set->n_hosts))
        return false;
    if (origin.n)
        return origin_allowed(origin, host, set->origins, set->n_origins);
    return authorized || (set->bare_origin && address_is_loopback(odto_slice_str(client)));
}

void viewer_authorize(pty *p, odto_slice text, join *j)
{
    ticket t;
    if (!text.n)
        return;
    j->auth_given = true;
    if (p->set.auth.set && secret_is(&p->set.auth, text)) {
        j->authorized = true;
    } else if (ticket_use(&p->tickets, text, pty_now(p), &t)) {
        j->authorized = true;
        j->viewer = t.viewer;
        if (t.session[0])
            memcpy(j->session, t.session, sizeof t.session);
    }
}

/* No room for one more that has not said who it is, least of all from where many already wait. */
static bool crowded(const pty *p, const char *client)
{
    size_t n = 0;
    for (const viewer *v = p->n_waiting >= MAX_WAITING_IP ? p->viewers : NULL; v; v = v->next)
        n += (v->phase == VIEWER_HELLO || v->phase == VIEWER_DELAY) && !strcmp(v->ip, client);
    return p->n_waiting >= MAX_WAITING || n >= MAX_WAITING_IP;
}

static int on_accept(void *self, odto_http_request *rq)
{
    pty *p = self;
    char client[46];
    int status = 0;
    pthread_mutex_lock(&p->lock);
    request_client(p, rq, client);
    odto_slice auth = p->http->query(rq, "auth");
    bool authorized = request_bearer(p, rq) || (auth.n && secret_is(&p->set.auth, auth));
    if (p->stopping || crowded(p, client))
        status = 503;
    else if (!request_allowed(p, rq, client, authorized))
        status = 403;
    if (status)
        odto_metric_add(p->m_refused, 1);
    pthread_mutex_unlock(&p->lock);
    return status;
}

static void copy_query(pty *p, odto_http_request *rq, const char *name, char *out, size_t size)
{
    odto_slice v = p->http->query(rq, name);
    if (v.n && v.n < size)
        memcpy(out, v.p, v.n);
}

static void phase_set(viewer *v, viewer_phase phase, int64_t deadline)
{
    bool waited = v->phase == VIEWER_HELLO || v->phase == VIEWER_DELAY;
    bool waits = phase == VIEWER_HELLO || phase == VIEWER_DELAY;
    v->pty->n_waiting += (size_t)waits - (size_t)waited;
    v->phase = phase;
    v->deadline = deadline;
    if (deadline)
        loop_due(v->pty, deadline);
}

void viewer_known(viewer *v)
{
    pty *p = v->pty;
    if (p->set.delay)
        phase_set(v, VIEWER_DELAY, pty_now(p) + p->set.delay);
    else
        viewer_join(v);
}

/* What a JSON client asks for stands in its request. */
static void read_request(viewer *v, odto_http_request *rq)
{
    pty *p = v->pty;
    join *j = &v->join;
    odto_slice header = bearer(p, rq), auth = header.n ? header : p->http->query(rq, "auth");
    copy_query(p, rq, "session", j->session, sizeof j->session);
    copy_query(p, rq, "token", j->token, sizeof j->token);
    j->resume = p->http->query(rq, "session").p != NULL;
    viewer_authorize(p, auth, j);
}

static void *on_open(void *self, odto_ws *ws, odto_http_request *rq)
{
    pty *p = self;
    viewer *v = calloc(1, sizeof *v);
    if (!v) {
        p->http->ws_close(ws, 1011, "no memory");
        return NULL;
    }
    pthread_mutex_lock(&p->lock);
    v->pty = p;
    v->ws = ws;
    v->binary = odto_slice_eq(p->http->ws_subprotocol(ws), PTY_SUBPROTOCOL);
    v->phase = VIEWER_CLOSING;
    v->next = p->viewers;
    v->at = &p->viewers;
    if (v->next)
        v->next->at = &v->next;
    p->viewers = v;
    request_client(p, rq, v->ip);
    v->join.cols = 80;
    v->join.rows = 24;
    read_request(v, rq);
    phase_set(v, VIEWER_LIVE, 0);
    bool asked = p->set.test_modes && odto_slice_eq(p->http->query(rq, "test_mode"), "fail");
    if (p->set.fail || asked)
        viewer_error(v, "INTERNAL_ERROR", "test mode: this connection fails");
    else if (v->binary)
        phase_set(v, VIEWER_HELLO, pty_now(p) + HELLO_NS);
    else
        viewer_known(v);
    pthread_mutex_unlock(&p->lock);
    return v;
}

/* ---- what it asks for ------------------------------------------------------------------------------ */

static void welcome(viewer *v, bool resumed)
{
    char token[SECRET_TEXT + 1] = "";
    if (v->owner && token_rotate(&v->session->token, token)) {
        viewer_error(v, "INTERNAL_ERROR", "no random numbers");
        return;
    }
    v->confirmed = false;
    if (v->binary)
        binary_welcome(v, resumed, token);
    else
        json_welcome(v, resumed, token);
    explicit_bzero(token, sizeof token);
}

static void create(viewer *v)
{
    pty *p = v->pty;
    odto_error err = {0};
    const char *cap = session_cap(p, v->ip);
    if (cap) {
        viewer_error(v, cap, cap[0] == 'G' ? "too many sessions" : "too many sessions from this address");
        return;
    }
    session *s = session_new(p, v->ip, v->join.cols, v->join.rows);
    if (!s) {
        viewer_error(v, "INTERNAL_ERROR", "no memory for a session");
        return;
    }
    session_attach(s, v, true);
    v->fresh = true;
    welcome(v, false);
    if (v->session != s)
        return;
    if (session_spawn(s, &err)) {
        char text[1400];
        odto_log(p->host, ODTO_ERROR, "session %s: %s", s->id, odto_error_text(&err, text, sizeof text));
        session_end(s, "its program did not start");
        viewer_error(v, "PTY_SPAWN_FAILED", "the program could not be started; the server's log says why");
        return;
    }
    odto_log(p->host, ODTO_INFO, "session %s of %s: process %d", s->id, s->ip, (int)s->pid);
    if (p->set.read_only && !v->binary)
        json_notice(v, "⚠ Read-only mode: this session can be looked at only");
}

static void watch(viewer *v, session *s)
{
    size_t n = 0;
    for (viewer *o = s->viewers; o; o = o->peer_next)
        n += !o->owner;
    if (n >= MAX_VIEWERS) {
        viewer_error(v, "PER_IP_CAP", "this session has too many viewers");
        return;
    }
    session_attach(s, v, false);
    welcome(v, false);
    stream_restore(v, v->join.has_offset, v->join.offset);
    stream_pump(v);
}

void viewer_lost(viewer *v, uint64_t frames)
{
    odto_metric_add(v->pty->m_drops, (int64_t)frames);
    if (!v->binary)
        json_truncated(v, frames);
}

/* The offset a client has seen everything up to; its frame number is enough if that frame is still known. */
static bool seen(viewer *v, uint64_t *offset)
{
    const join *j = &v->join;
    const ring *r = &v->session->ring;
    if (!j->has_seq) {
        *offset = j->offset;
        return j->has_offset;
    }
    if (j->seq > r->seq)
        return false;
    if (ring_frame_end(r, j->seq, offset))
        return true;
    viewer_lost(v, ring_frame_at(r, 0, r->tail) - j->seq);
    return false;
}

void viewer_resume(viewer *v)
{
    join *j = &v->join;
    session *s = session_find(v->pty, j->session), *left = v->session;
    uint64_t offset = 0;
    bool valid = s && session_token_valid(s, odto_slice_str(j->token));
    explicit_bzero(j->token, sizeof j->token);
    if (!valid) {
        if (left && v->fresh)
            session_end(left, "its client wanted another");
        if (s)
            viewer_error(v, "INVALID_TOKEN", "the reconnect token is wrong, used or too old");
        else
            viewer_error(v, "SESSION_NOT_FOUND", "there is no such session (any more)");
        return;
    }
    if (left)
        session_detach(v);
    if (left && left != s && v->fresh)
        session_end(left, "its client has another");
    v->fresh = false;
    session_attach(s, v, true);
    welcome(v, true);
    if (v->session != s)
        return;
    bool known = seen(v, &offset);
    stream_restore(v, known, offset);
    stream_pump(v);
    stream_throttle(s);
    odto_log(v->pty->host, ODTO_INFO, "session %s: %s is back", s->id, v->ip);
}

void viewer_join(viewer *v)
{
    join *j = &v->join;
    phase_set(v, VIEWER_LIVE, 0);
    if (v->pty->set.auth.set && !j->authorized) {
        viewer_error(v, j->auth_given ? "AUTH_FAILED" : "AUTH_REQUIRED",
                     j->auth_given ? "the token is wrong" : "a token is needed");
    } else if (j->viewer) {
        session *s = session_find(v->pty, j->session);
        if (s)
            watch(v, s);
        else
            viewer_error(v, "SESSION_NOT_FOUND", "there is no such session (any more)");
    } else if (j->resume) {
        viewer_resume(v);
    } else {
        create(v);
    }
}

/* ---- what it sends ----------------------------------------------------------------------------------- */

void viewer_ignored(viewer *v)
{
    odto_metric_add(v->pty->m_ignored, 1);
}

static void notice(viewer *v, const char *text)
{
    if (v->binary)
        binary_text(v, 'N', "READ_ONLY", text);
    else
        json_notice(v, text);
}

void viewer_typed(viewer *v, odto_slice data)
{
    session *s = v->session;
    int64_t now = pty_now(v->pty);
    if (!s || v->phase != VIEWER_LIVE)
        return;
    v->fresh = false;
    if (!v->owner) {
        if (!v->told || now - v->told >= 5 * ODTO_SEC)
            notice(v, "⚠ Read-only mode: this is a view of somebody else's session");
        v->told = v->told && now - v->told < 5 * ODTO_SEC ? v->told : now;
        return;
    }
    s->typed_at = v->pty->typed_at = now;
    if (!v->pty->set.read_only) {
        stream_input(s, data);
        return;
    }
    odto_buf passed = {0};
    filter_input(&v->filter, data, &passed);
    if (passed.n)
        stream_input(s, odto_slice_of(passed.p, passed.n));
    odto_buf_free(&passed);
    for (const char *text; v->filter.dropped && v->phase == VIEWER_LIVE;) {
        if ((text = filter_notice(&v->filter, now)))
            notice(v, text);
    }
}

void viewer_resize(viewer *v, int cols, int rows)
{
    if (v->session && v->owner && v->phase == VIEWER_LIVE)
        stream_resize(v->session, cols, rows, false);
}

static void on_message(void *self, void *conn, odto_slice data, bool binary)
{
    pty *p = self;
    viewer *v = conn;
    if (!v)
        return;
    pthread_mutex_lock(&p->lock);
    if (v->session && v->owner && !v->confirmed && v->phase == VIEWER_LIVE) { /* it has its token */
        token_confirmed(&v->session->token);
        v->confirmed = true;
    }
    if (v->phase == VIEWER_CLOSING || v->phase == VIEWER_DELAY || binary != v->binary)
        viewer_ignored(v);
    else if (v->binary)
        binary_message(v, data);
    else
        json_message(v, data);
    session_bury(p);
    pthread_mutex_unlock(&p->lock);
}

/* ---- sending and the end ------------------------------------------------------------------------------- */

bool viewer_send(viewer *v, odto_slice data, bool binary)
{
    if (v->pty->http->ws_send(v->ws, data, binary) != -EAGAIN)
        return true;
    viewer_close(v, 1013, "too slow");
    return false;
}

static void lag_clear(viewer *v)
{
    atomic_fetch_sub(&v->pty->queued, (int64_t)v->lag);
    v->lag = 0;
}

void viewer_close(viewer *v, int code, const char *reason)
{
    if (v->phase == VIEWER_CLOSING)
        return;
    phase_set(v, VIEWER_CLOSING, 0);
    lag_clear(v);
    session_detach(v);
    v->pty->http->ws_close(v->ws, code, reason);
}

static int close_code(const char *code)
{
    if (strstr(code, "_CAP"))
        return 1013;
    return !strcmp(code, "INTERNAL_ERROR") || !strcmp(code, "PTY_SPAWN_FAILED") ? 1011 : 1008;
}

void viewer_error(viewer *v, const char *code, const char *message)
{
    if (v->phase == VIEWER_CLOSING)
        return;
    if (v->binary)
        binary_text(v, 'E', code, message);
    else
        json_error(v, code, message);
    odto_log(v->pty->host, ODTO_INFO, "%s: %s (%s)", v->ip, message, code);
    viewer_close(v, close_code(code), code);
}

void viewer_exit(viewer *v)
{
    char text[96];
    const session *s = v->session;
    if (s->exit_signal)
        snprintf(text, sizeof text, "The program was ended by signal %d.", s->exit_signal);
    else
        snprintf(text, sizeof text, "The program ended with status %d.", s->exit_status);
    if (v->binary)
        binary_exit(v);
    else
        json_notice(v, text);
    viewer_close(v, 1000, "the session ended");
}

void viewer_tick(viewer *v, int64_t now)
{
    if (!v->deadline)
        return;
    if (now < v->deadline)
        loop_due(v->pty, v->deadline);
    else if (v->phase == VIEWER_HELLO)
        viewer_close(v, 1008, "no hello in time");
    else if (v->phase == VIEWER_DELAY)
        viewer_join(v);
}

static void on_writable(void *self, void *conn)
{
    pty *p = self;
    viewer *v = conn;
    if (!v)
        return;
    pthread_mutex_lock(&p->lock);
    session *s = v->session;
    stream_pump(v);
    if (s)
        stream_throttle(s);
    pthread_mutex_unlock(&p->lock);
}

static void on_closed(void *self, void *conn, int code)
{
    pty *p = self;
    viewer *v = conn;
    (void)code;
    if (!v)
        return;
    pthread_mutex_lock(&p->lock);
    phase_set(v, VIEWER_CLOSING, 0);
    lag_clear(v);
    session_detach(v);
    *v->at = v->next;
    if (v->next)
        v->next->at = v->at;
    explicit_bzero(&v->join, sizeof v->join);
    free(v);
    session_bury(p);
    pthread_mutex_unlock(&p->lock);
}

const odto_ws_ops viewer_ops = {
    .accept = on_accept,
    .open = on_open,
    .message = on_message,
    .writable = on_writable,
    .closed = on_closed,
    .max_message = 256 * 1024,
    .subprotocols = PTY_SUBPROTOCOL,
};
