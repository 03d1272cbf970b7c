/* http_request.c — a request from its first line to its handler, and its end.
 *
 * libmicrohttpd calls request_begin with the request line, request_handle when the headers are there, with
 * each piece of the body and at its end, and request_completed when the answer is out or the client gone. All
 * on the loop thread. In between the request belongs to its owner (see http_reply.c for the way back). */
#include "http_priv.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { SWALLOW_MAX = 64 * 1024, OVERRUN_MAX = 1 << 20 };

/* ---- memory --------------------------------------------------------------------------------- */

odto_http_request *request_new(http_loop *l)
{
    odto_http_request *rq = l->spare;
    if (rq) {
        l->spare = rq->next;
        l->n_spare--;
    } else if (!(rq = malloc(sizeof(*rq)))) {
        return NULL;
    }
    memset(rq, 0, offsetof(odto_http_request, reply.headers));
    memset((char *)rq + offsetof(odto_http_request, reply.body), 0,
           offsetof(odto_http_request, arena) - offsetof(odto_http_request, reply.body));
    rq->magic = REQUEST_MAGIC;
    rq->loop = l;
    return rq;
}

void *request_alloc(odto_http_request *rq, size_t n)
{
    n = (n + 7) & ~(size_t)7;
    if (n <= REQUEST_ARENA - rq->arena_used) {
        void *p = rq->arena + rq->arena_used;
        rq->arena_used += n;
        return p;
    }
    arena_chunk *c = malloc(sizeof(*c) + n);
    if (!c)
        return NULL;
    c->next = rq->chunks;
    rq->chunks = c;
    return c + 1;
}

char *arena_copy(odto_http_request *rq, odto_slice s)
{
    char *p = request_alloc(rq, s.n + 1);
    if (p) {
        if (s.n)
            memcpy(p, s.p, s.n);
        p[s.n] = 0;
    }
    return p;
}

/* l: the loop this runs on, which may keep the memory; NULL on another thread, perhaps after the server's
 * end. */
void request_destroy(odto_http_request *rq, http_loop *l)
{
    if (!rq->body_in_arena)
        odto_buf_free(&rq->body);
    while (rq->chunks) {
        arena_chunk *c = rq->chunks;
        rq->chunks = c->next;
        free(c);
    }
    if (rq->mount)
        mount_unref(rq->mount);
    if (rq->face)
        mount_unref(rq->face);
    rq->magic = 0;
    if (l && l->n_spare < MAX_SPARE) {
        rq->next = l->spare;
        l->spare = rq;
        l->n_spare++;
    } else {
        free(rq);
    }
}

/* ---- target --------------------------------------------------------------------------------- */

/* RFC 3986 6.2.2: %XX of an unreserved character is that character; others stay, with upper-case digits. */
static int path_normalise(char *p, size_t *n)
{
    size_t out = 0;
    for (size_t i = 0; i < *n; i++) {
        if (p[i] != '%') {
            p[out++] = p[i];
            continue;
        }
        int hi = i + 2 < *n ? hex_digit(p[i + 1]) : -1, lo = hi >= 0 ? hex_digit(p[i + 2]) : -1;
        char c = (char)(hi * 16 + lo);
        if (lo < 0 || !c)
            return -EINVAL;
        if (isalnum((unsigned char)c) || (c && strchr("-._~", c))) {
            p[out++] = c;
        } else {
            p[out++] = '%';
            p[out++] = (char)toupper((unsigned char)p[i + 1]);
            p[out++] = (char)toupper((unsigned char)p[i + 2]);
        }
        i += 2;
    }
    *n = out;
    return 0;
}

/* "." and ".." segments: clients resolve them; who sends them wants to get out of a folder. */
static bool path_has_dots(odto_slice p)
{
    for (size_t i = 0; i < p.n; i++) {
        if (p.p[i] != '/')
            continue;
        size_t k = i + 1;
        while (k < p.n && p.p[k] == '.')
            k++;
        if ((k == i + 2 || k == i + 3) && (k == p.n || p.p[k] == '/'))
            return true;
    }
    return false;
}

static bool path_has_blanks(odto_slice p)
{
    for (size_t i = 0; i < p.n; i++) {
        if ((unsigned char)p.p[i] <= ' ' || p.p[i] == 127)
            return true;
    }
    return false;
}

int request_target(odto_http_request *rq, odto_slice t)
{
    if (t.n >= 7 && !strncasecmp(t.p, "http", 4)) { /* absolute form: drop scheme and authority */
        const char *a = memmem(t.p, t.n, "://", 3);
        const char *slash = a ? memchr(a + 3, '/', t.n - (size_t)(a + 3 - t.p)) : NULL;
        t = slash ? odto_slice_of(slash, t.n - (size_t)(slash - t.p)) : odto_slice_of("/", 1);
    }
    char *copy = arena_copy(rq, t);
    if (!copy)
        return -ENOMEM;
    char *q = memchr(copy, '?', t.n);
    rq->path = odto_slice_of(copy, q ? (size_t)(q - copy) : t.n);
    if (q)
        rq->query = odto_slice_of(q + 1, t.n - rq->path.n - 1);
    if (!rq->path.n || copy[0] != '/')
        return -EINVAL;
    if (memchr(copy, '%', rq->path.n) && path_normalise(copy, &rq->path.n))
        return -EINVAL;
    return path_has_dots(rq->path) ? -EINVAL : 0;
}

/* ---- begin ---------------------------------------------------------------------------------- */

size_t request_no_unescape(void *cls, struct MHD_Connection *mhd, char *s)
{
    (void)cls; /* we decode parameters ourselves, after splitting */
    (void)mhd;
    return strlen(s);
}

void *request_begin(void *cls, const char *uri, struct MHD_Connection *mhd)
{
    http_loop *l = cls;
    http_conn *c = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
    odto_http_request *rq = c ? request_new(l) : NULL;
    if (!rq)
        return NULL;
    if (c->rq)
        request_done(c->rq);
    rq->t0 = odto_now_ns();
    rq->conn = c;
    rq->mhd = mhd;
    rq->peer = odto_slice_str(c->peer);
    rq->bad_target = request_target(rq, odto_slice_str(uri)) != 0;
    rq->next = l->active;
    if (rq->next)
        rq->next->prev = rq;
    l->active = rq;
    c->rq = rq;
    c->since = l->now;
    c->first = false;
    return rq;
}

/* ---- headers -------------------------------------------------------------------------------- */

static odto_slice mhd_header(odto_http_request *rq, const char *name, size_t n)
{
    odto_slice v = {NULL, 0};
    MHD_lookup_connection_value_n(rq->mhd, MHD_HEADER_KIND, name, n, &v.p, &v.n);
    return v;
}

#define HEADER(rq, literal) mhd_header((rq), (literal), sizeof(literal) - 1)

static void correlation_set(odto_http_request *rq)
{
    odto_slice given = HEADER(rq, "X-Correlation-Id");
    if (!given.p || odto_uuid_parse(given, &rq->correlation)) {
        odto_uuid_v7(&rq->correlation);
        rq->bad_correlation = given.p != NULL;
    }
    odto_uuid_format(&rq->correlation, rq->correlation_text);
}

/* Health answers without a token: kubelets have none. */
static bool authorized(odto_http_request *rq)
{
    const char *token = rq->conn->listener->auth_token;
    static const char *const open[] = {"/livez", "/readyz", "/healthz"};
    if (!token)
        return true;
    for (size_t i = 0; i < sizeof(open) / sizeof(open[0]); i++) {
        if (odto_slice_eq(rq->path, open[i]))
            return true;
    }
    odto_slice given = HEADER(rq, "Authorization");
    if (given.n < 7 || strncasecmp(given.p, "Bearer ", 7))
        return false;
    return odto_equal_secret(odto_slice_of(given.p + 7, given.n - 7), odto_slice_str(token));
}

/* Lines that decide where a request ends, counted: two of them may mean two things to two programs (RFC
 * 9112 6.3). */
static enum MHD_Result count_framing(void *cls, enum MHD_ValueKind kind, const char *name, size_t n,
                                     const char *value, size_t value_n)
{
    unsigned *count = cls;
    (void)kind;
    (void)value;
    (void)value_n;
    *count += (n == 14 && !strncasecmp(name, "Content-Length", n)) ||
              (n == 17 && !strncasecmp(name, "Transfer-Encoding", n));
    return MHD_YES;
}

/* The length the client announces; -1: chunked, 0: none. -2: contradictory or not a number. */
static int64_t body_length(odto_http_request *rq)
{
    odto_slice length = HEADER(rq, "Content-Length"), coding = HEADER(rq, "Transfer-Encoding");
    unsigned framing = 0;
    int64_t n = 0;
    if (!length.p && !coding.p)
        return 0;
    MHD_get_connection_values_n(rq->mhd, MHD_HEADER_KIND, count_framing, &framing);
    if (framing > 1)
        return -2;
    if (coding.p)
        return coding.n == 7 && !strncasecmp(coding.p, "chunked", 7) ? -1 : -2;
    if (!length.n || length.n > 18)
        return -2;
    for (size_t i = 0; i < length.n; i++) {
        if (!isdigit((unsigned char)length.p[i]))
            return -2;
        n = n * 10 + (length.p[i] - '0');
    }
    return n;
}

static const char *const allow_name[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"};

static char *allow_text(odto_http_request *rq, uint32_t allow)
{
    char text[64] = "";
    if (allow & (1u << M_GET))
        allow |= 1u << M_HEAD;
    allow |= 1u << M_OPTIONS;
    for (int m = 0; m < M_OTHER; m++) {
        if (!(allow & (1u << m)))
            continue;
        if (text[0])
            strcat(text, ", ");
        strcat(text, allow_name[m]);
    }
    return arena_copy(rq, odto_slice_str(text));
}

/* No route: OPTIONS, 405, 426, 404, or 503 while nobody serves here. */
static void answer_unmatched(odto_http_request *rq, const route_match *m)
{
    if (m->allow) {
        odto_http_header allow = {"Allow", allow_text(rq, m->allow)};
        if (rq->method_id == M_OPTIONS) {
            reply_set(rq, 200, &allow, 1, odto_slice_of(NULL, 0), NULL, NULL);
            return;
        }
        reply_set_error(rq, 405, "Method Not Allowed", NULL, NULL, 0);
        rq->reply.headers[rq->reply.n_headers++] = allow;
    } else if (m->other_protocol) {
        reply_set_error(rq, 426, "Upgrade Required", "/",
                        "this path speaks WebSocket, on a connection of its own", 0);
        rq->reply.headers[rq->reply.n_headers++] = (odto_http_header){"Upgrade", "websocket"};
        rq->reply.headers[rq->reply.n_headers++] = (odto_http_header){"Sec-WebSocket-Version", "13"};
        rq->reply.close = true;
    } else if (rq->was_parked || !m->mount || !m->mount->owner) {
        reply_set_error(rq, 503, "Service Unavailable", "/", "no service is running on this address", 1);
    } else {
        reply_set_error(rq, 404, "Not Found", NULL, NULL, 0);
    }
}

static void request_match(odto_http_request *rq)
{
    route_match m;
    http_mount *before = rq->mount, *face = rq->face;
    listener_match(rq->conn->listener, rq->method_id, rq->path, false, &m);
    rq->mount = m.mount;
    rq->face = m.face;
    rq->route = m.route;
    rq->n_params = m.n_params;
    memcpy(rq->params, m.params, m.n_params * sizeof(m.params[0]));
    if (before)
        mount_unref(before);
    if (face)
        mount_unref(face);
    if (!m.route)
        answer_unmatched(rq, &m);
}

/* What can be said with the headers alone: answers rq, or leaves it to be dispatched. */
static void head_check(odto_http_request *rq, const char *method, const char *version)
{
    rq->seen_head = true;
    rq->conn->since = rq->loop->now;
    rq->method = odto_slice_str(method);
    rq->method_id = method_of(rq->method);
    correlation_set(rq);
    rq->length = body_length(rq);
    size_t head = MHD_get_connection_info(rq->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE)->header_size;
    request_match(rq);
    if (rq->length == -2)
        reply_set_error(rq, 400, "Bad Request", "/",
                        "the length of the body is contradictory or not a number", 0);
    else if (rq->bad_target || path_has_blanks(rq->path))
        reply_set_error(rq, 400, "Bad Request", "/", "the path is not a valid URI path", 0);
    else if (!strcmp(version, "HTTP/1.1") && !HEADER(rq, "Host").p)
        reply_set_error(rq, 400, "Bad Request", "/", "a request of HTTP/1.1 has a Host header", 0);
    else if (head > rq->loop->server->config.max_header)
        reply_set_error(rq, 431, "Request Header Fields Too Large", NULL, NULL, 0);
    else if (rq->bad_correlation)
        reply_set_error(rq, 400, "Bad Request", "/", "X-Correlation-Id must match format \"uuid\"", 0);
    else if (!authorized(rq))
        reply_set_error(rq, 401, "Unauthorized", NULL, NULL, 0);
    else if (!rq->reply.status && rq->length > 0 && (uint64_t)rq->length > rq->mount->max_body)
        reply_set_error(rq, 413, "Payload Too Large", NULL, NULL, 0);
    else
        return;
    if (rq->length == -2)
        rq->reply.close = true;
    if (rq->reply.status == 401)
        rq->reply.headers[rq->reply.n_headers++] = (odto_http_header){"WWW-Authenticate", "Bearer"};
}

/* First call: the headers are there. An error for a request with a large body is answered before the body. */
static enum MHD_Result handle_head(odto_http_request *rq, const char *method, const char *version)
{
    head_check(rq, method, version);
    if (!rq->reply.status) {
        if (rq->length > 0 && (size_t)rq->length < REQUEST_ARENA - rq->arena_used) {
            rq->body.p = request_alloc(rq, (size_t)rq->length + 1);
            rq->body.cap = (size_t)rq->length + 1;
            rq->body_in_arena = true;
        } else if (rq->length > 0 && !odto_buf_reserve(&rq->body, (size_t)rq->length)) {
            reply_set_error(rq, 503, "Service Unavailable", "/", "no memory for the body", 1);
        }
    }
    if (!rq->reply.status || rq->length == 0 ||
        (rq->length > 0 && rq->length <= SWALLOW_MAX && rq->reply.status != 413))
        return MHD_YES;
    if (rq->length == -1)
        return MHD_YES;      /* chunked: swallowed up to a bound */
    rq->conn->linger = true; /* too much to swallow, or nobody knows how much comes */
    rq->reply.close = true;
    return reply_queue(rq) ? MHD_YES : MHD_NO;
}

static enum MHD_Result handle_body(odto_http_request *rq, const char *data, size_t n)
{
    size_t max = rq->mount ? rq->mount->max_body : 0;
    rq->body_seen += n;
    if (rq->reply.status || rq->too_large) {
        if (rq->body_seen <= max + OVERRUN_MAX)
            return MHD_YES;
        conn_raw_error(rq->conn, rq->reply.status == 413 || rq->too_large ? 413 : 400,
                       rq->too_large ? "Payload Too Large" : "Bad Request", NULL);
        return MHD_NO;
    }
    if (rq->body_seen > max) {
        rq->too_large = true;
        reply_set_error(rq, 413, "Payload Too Large", NULL, NULL, 0);
        return MHD_YES;
    }
    if (rq->body_in_arena) {
        memcpy(rq->body.p + rq->body.n, data,
               n); /* announced and reserved; MHD gives no more than announced */
        rq->body.n += n;
    } else if (!odto_buf_put(&rq->body, data, n)) {
        reply_set_error(rq, 503, "Service Unavailable", "/", "no memory for the body", 1);
    }
    return MHD_YES;
}

/* ---- dispatch ------------------------------------------------------------------------------- */

enum gate { GATE_OPEN, GATE_WAIT, GATE_FULL, GATE_MOVED };

/* Count the request as its owner's, or make it wait. */
static enum gate gate_pass(odto_http_request *rq)
{
    http_server *s = rq->loop->server;
    http_owner *o = rq->mount->owner;
    enum gate g = GATE_OPEN;
    pthread_mutex_lock(&s->lock);
    if (atomic_load(&s->stopping) && rq->was_parked) {
        g = GATE_FULL;
    } else if (rq->mount->removed) {
        g = GATE_MOVED;
    } else if (o && o->gated) { /* whatever the route's flags: the owner's code may be stopped */
        g = parked_push(s, rq) ? GATE_WAIT : GATE_FULL;
    } else if (o) {
        owner_hold(o);
        o->inflight++;
    }
    pthread_mutex_unlock(&s->lock);
    return g;
}

static void run_on_loop(odto_http_request *rq)
{
    http_loop *l = rq->loop;
    l->current = rq;
    hook_enter(l->server, rq->owner);
    rq->route->fn(rq->owner ? rq->owner->self : rq->mount->listener, rq);
    hook_leave(l->server, rq->owner);
    l->current = NULL;
}

static void dispatch_blocking(odto_http_request *rq)
{
    http_owner *o = rq->owner;
    if (o)
        owner_hold(o); /* until the handler has returned */
    if (!worker_submit(rq->loop->server, rq))
        return;
    if (o)
        owner_release(o);
    rq->loop->current = rq;
    api_reply_error(rq, 503, "Service Unavailable", "/", "too many requests are waiting", 1);
    rq->loop->current = NULL;
}

/* Give the request to its owner. Afterwards it is answered (inline_reply), waits, or will be answered. */
static void dispatch(odto_http_request *rq)
{
    for (;;) {
        if (rq->reply.status) {
            rq->inline_reply = true;
            return;
        }
        switch (gate_pass(rq)) {
        case GATE_MOVED:
            request_match(rq);
            continue;
        case GATE_WAIT:
            return;
        case GATE_FULL:
            reply_set_error(rq, 503, "Service Unavailable", "/", "the service is being replaced", 1);
            continue;
        case GATE_OPEN:
            break;
        }
        rq->owner = rq->mount->owner;
        rq->held = rq->owner != NULL;
        rq->dispatched = true;
        if (rq->route->flags & ODTO_HTTP_BLOCKING)
            dispatch_blocking(rq);
        else
            run_on_loop(rq);
        return;
    }
}

void request_run_blocking(odto_http_request *rq)
{
    http_server *s = rq->loop->server;
    http_owner *o = rq->owner;
    if (atomic_load(&rq->state) & RQ_ABANDONED) {
        reply_late(rq);
    } else {
        hook_enter(s, o);
        rq->route->fn(o ? o->self : rq->mount->listener, rq);
        hook_leave(s, o);
    }
    if (o)
        owner_release(o);
}

static enum MHD_Result handle_end(odto_http_request *rq)
{
    rq->complete = true;
    if (rq->body.p)
        rq->body.p[rq->body.n] = 0;
    dispatch(rq);
    if (rq->inline_reply)
        return reply_queue(rq) ? MHD_YES : MHD_NO;
    rq->suspended = true;
    MHD_suspend_connection(rq->mhd);
    return MHD_YES;
}

enum MHD_Result request_handle(void *cls, struct MHD_Connection *mhd, const char *url, const char *method,
                               const char *version, const char *data, size_t *n, void **req)
{
    odto_http_request *rq = *req;
    (void)cls;
    (void)mhd;
    (void)url;
    if (!rq)
        return MHD_NO; /* no memory at its beginning */
    if (!rq->seen_head)
        return handle_head(rq, method, version);
    if (rq->queued)
        return MHD_YES;
    if (*n) {
        enum MHD_Result r = handle_body(rq, data, *n);
        *n = 0;
        return r;
    }
    return handle_end(rq);
}

void request_redispatch(http_loop *l, http_post *p)
{
    odto_http_request *rq = (odto_http_request *)((char *)p - offsetof(odto_http_request, post));
    (void)l;
    dispatch(rq);
    if (rq->inline_reply)
        reply_send(rq);
}

void request_unpark(odto_http_request *rq, int status, const char *message)
{
    reply_set_error(rq, status, "Service Unavailable", "/", message, 1);
    reply_send(rq);
}

/* ---- end ------------------------------------------------------------------------------------ */

static void access_log(odto_http_request *rq, int status)
{
    http_server *s = rq->loop->server;
    if (!s->config.hooks.access || !rq->seen_head)
        return;
    http_access a = {rq->peer,
                     rq->method,
                     rq->path,
                     &rq->correlation,
                     rq->mount ? rq->mount->service : "",
                     rq->route ? rq->route->pattern : "-",
                     status,
                     rq->body_seen,
                     rq->reply.body.n,
                     odto_now_ns() - rq->t0};
    s->config.hooks.access(s->config.hooks.arg, &a);
}

void request_finish(odto_http_request *rq, int status)
{
    request_count(rq, status);
    access_log(rq, status);
}

/* Give back what the answer borrowed from the owner. */
static void reply_dispose(odto_http_request *rq)
{
    if (rq->reply.body_free) {
        hook_enter(rq->loop->server, rq->owner);
        rq->reply.body_free(rq->reply.body_arg);
        hook_leave(rq->loop->server, rq->owner);
        rq->reply.body_free = NULL;
    }
    if (rq->held)
        owner_release(rq->owner);
    rq->held = false;
}

void request_done(odto_http_request *rq)
{
    http_loop *l = rq->loop;
    if (rq->conn)
        rq->conn->rq = NULL;
    if (rq->prev)
        rq->prev->next = rq->next;
    else if (l->active == rq)
        l->active = rq->next;
    if (rq->next)
        rq->next->prev = rq->prev;
    rq->mhd = NULL;
    rq->conn = NULL;
    reply_dispose(rq);
    /* answered on the owner's behalf: the owner still has it, its late reply frees it; acq_rel with
     * reply_late */
    int state = atomic_fetch_or(&rq->state, RQ_DONE);
    if (!(state & RQ_ABANDONED) || (state & RQ_RELEASED))
        request_destroy(rq, l);
}

void request_completed(void *cls, struct MHD_Connection *mhd, void **req,
                       enum MHD_RequestTerminationCode code)
{
    odto_http_request *rq = *req;
    (void)cls;
    (void)mhd;
    if (!rq)
        return;
    *req = NULL;
    rq->conn->since = rq->loop->now;
    int status = code == MHD_REQUEST_TERMINATED_COMPLETED_OK ? rq->reply.status : 0;
    if (rq->seen_head) {
        request_count(rq, rq->queued ? rq->reply.status
                                     : 499); /* 499: left before the answer, as nginx counts it */
        access_log(rq, status);
    }
    request_done(rq);
}

void requests_abandon(http_loop *l, const http_owner *owner)
{
    for (odto_http_request *rq = l->active, *next; rq; rq = next) {
        next = rq->next;
        if (rq->dispatched && (!owner || rq->owner == owner))
            reply_abandon(rq);
    }
}
