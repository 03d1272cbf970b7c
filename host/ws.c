/* ws.c — WebSocket connections: one libwebsockets context on one thread ("ws").
 *
 * lws 4.1 is used as its maintainers ask for: only lws_cancel_service() crosses threads. Other threads put
 * what they want into queues under engine->lock and wake the thread once; it drains them in
 * LWS_CALLBACK_EVENT_WAIT_CANCELLED.
 *
 * Ownership: a connection (odto_ws) belongs to the thread, and to its owner between open() and closed(). It
 * keeps a reference on its mount, which owns the route, and holds its owner while open. extensions = NULL:
 * permessage-deflate of 4.1 has known faults. */
#include "thread.h"
#include "ws_priv.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* At most one wake-up is under way. Pairs with the store in engine_drain: what was queued before is seen. */
void ws_wake(struct ws_engine *e)
{
    if (!atomic_exchange(&e->notified, true))
        lws_cancel_service(e->context);
}

/* ---- lws ------------------------------------------------------------------------------------ */

static void engine_drain(struct ws_engine *e);

/* -1: it answers ours, which ends the connection; else lws answers it. */
static int conn_peer_close(odto_ws *ws, const unsigned char *p, size_t n)
{
    if (ws->close_sent)
        return -1;
    ws->peer_code = n >= 2 ? p[0] << 8 | p[1] : 1005;
    return 0;
}

static int conn_receive(odto_ws *ws, const char *p, size_t n)
{
    ws->engine->reading = true;
    int r = ws_conn_receive(ws, p, n);
    ws->engine->reading = false;
    return r;
}

static int ws_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
    odto_ws *ws = wsi ? lws_get_opaque_user_data(wsi) : NULL;
    (void)user;
    if (reason == LWS_CALLBACK_EVENT_WAIT_CANCELLED) {
        engine_drain(lws_context_user(lws_get_context(wsi)));
        return 0;
    }
    if (!ws)
        return 0;
    switch (reason) {
    case LWS_CALLBACK_FILTER_PROTOCOL_CONNECTION:
        return ws_handshake_check(ws);
    case LWS_CALLBACK_ADD_HEADERS:
        return ws_handshake_headers(ws, in);
    case LWS_CALLBACK_ESTABLISHED:
        return ws_conn_established(ws);
    case LWS_CALLBACK_RECEIVE:
        return conn_receive(ws, in, len);
    case LWS_CALLBACK_SERVER_WRITEABLE:
        return ws_conn_writable(ws);
    case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
        return conn_peer_close(ws, in, len);
    case LWS_CALLBACK_CLOSED:
        ws_conn_leave(ws, ws->peer_code ? ws->peer_code : 1006);
        return 0;
    case LWS_CALLBACK_HTTP: /* an upgrade lws does not take for one */
        return ws_handshake_refuse(ws, 400, "Bad Request");
    case LWS_CALLBACK_WSI_DESTROY:
        lws_set_opaque_user_data(wsi, NULL);
        ws_conn_destroy(ws);
        return 0;
    default:
        return 0;
    }
}

/* lws finds a subprotocol by name in its vhost's table, which can't grow. So the table has a fixed number of
 * places whose names are filled in as routes come; one with a blank can't be asked for. */
static bool vhost_create(struct ws_engine *e)
{
    struct lws_context_creation_info info = {
        .port = CONTEXT_PORT_NO_LISTEN_SERVER,
        .protocols = e->protocols,
        .vhost_name = "odto",
        .extensions = NULL,
        .retry_and_idle_policy = &e->policy,
        .options = LWS_SERVER_OPTION_VALIDATE_UTF8,
        .timeout_secs = HANDSHAKE_SECS,
    };
    for (size_t i = 0; i <= SUBPROTOCOLS; i++)
        e->protocols[i] =
            (struct lws_protocols){.name = i ? e->names[i - 1] : "any one", .callback = ws_callback};
    for (size_t i = 0; i < SUBPROTOCOLS; i++)
        snprintf(e->names[i], SUBPROTOCOL_SIZE, "free %zu", i);
    e->protocols[SUBPROTOCOLS + 1] =
        (struct lws_protocols){.name = WS_WATCH_PROTOCOL, .callback = ws_watch_callback};
    e->vhost = lws_create_vhost(e->context, &info);
    return e->vhost != NULL;
}

static bool slot_known(struct ws_engine *e, const char *name)
{
    for (size_t i = 0; i < SUBPROTOCOLS; i++) {
        if (!strcmp(e->names[i], name))
            return true;
    }
    return false;
}

/* Give each subprotocol of a route a place in the vhost's table. */
static int subprotocols_learn(struct ws_engine *e, const char *list)
{
    char name[SUBPROTOCOL_SIZE];
    for (const char *p = list; p && *p;) {
        p += strspn(p, ", ");
        size_t n = strcspn(p, ", ");
        if (n >= sizeof(name))
            return -ENAMETOOLONG;
        memcpy(name, p, n);
        name[n] = 0;
        p += n;
        if (!n || slot_known(e, name))
            continue;
        if (e->n_names == SUBPROTOCOLS)
            return -ENOSPC;
        memcpy(e->names[e->n_names++], name, n + 1);
    }
    return 0;
}

/* ---- commands ------------------------------------------------------------------------------- */

static void command_push(struct ws_engine *e, ws_command *c)
{
    pthread_mutex_lock(&e->lock);
    *e->commands_tail = c;
    e->commands_tail = &c->next;
    pthread_mutex_unlock(&e->lock);
    ws_wake(e);
}

int ws_call(struct ws_engine *e, void (*run)(struct ws_engine *, ws_command *), struct ws_route *r, void *arg,
            int64_t deadline_ns)
{
    if (pthread_equal(e->thread, pthread_self())) {
        ws_command here = {.route = r, .arg = arg};
        run(e, &here);
        return here.result;
    }
    ws_command *c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    c->run = run;
    c->route = r;
    c->arg = arg;
    c->waited = true;
    command_push(e, c);
    struct timespec t = {deadline_ns / ODTO_SEC, deadline_ns % ODTO_SEC};
    int wait = 0;
    pthread_mutex_lock(&e->lock);
    while (!c->done && !wait)
        wait = pthread_cond_timedwait(&e->done, &e->lock, &t);
    int result = c->done ? c->result : -ETIMEDOUT;
    bool done = c->done;
    c->abandoned = !done; /* then the thread frees it */
    pthread_mutex_unlock(&e->lock);
    if (done)
        free(c);
    return result;
}

static void command_finish(struct ws_engine *e, ws_command *c)
{
    pthread_mutex_lock(&e->lock);
    c->done = true;
    bool mine = !c->waited || c->abandoned;
    pthread_cond_broadcast(&e->done);
    pthread_mutex_unlock(&e->lock);
    if (mine) {
        free(c->target);
        free(c);
    }
}

static void engine_drain(struct ws_engine *e)
{
    if (!atomic_exchange(&e->notified, false))
        return; /* lws tells every protocol of every vhost; once is enough */
    pthread_mutex_lock(&e->lock);
    ws_command *c = e->commands;
    e->commands = NULL;
    e->commands_tail = &e->commands;
    pthread_mutex_unlock(&e->lock);
    while (c) {
        ws_command *next = c->next;
        c->run(e, c);
        command_finish(e, c);
        c = next;
    }
    ws_dirty_apply(e);
}

static void run_add(struct ws_engine *e, ws_command *c)
{
    struct ws_route *r = c->route;
    c->result = subprotocols_learn(e, r->route->ws->subprotocols);
    if (c->result)
        return;
    r->next = e->routes;
    e->routes = r;
}

static void run_remove(struct ws_engine *e, ws_command *c)
{
    struct ws_route *r = c->route;
    for (struct ws_route **at = &e->routes; *at; at = &(*at)->next) {
        if (*at == r) {
            *at = r->next;
            break;
        }
    }
    r->removed = true;
    for (odto_ws *ws = r->conns; ws; ws = ws->next)
        ws_conn_evict(ws, 1012, "service restart");
}

static void run_evict(struct ws_engine *e, ws_command *c)
{
    for (struct ws_route *r = e->routes; r; r = r->next) {
        for (odto_ws *ws = r->conns; ws && r->mount->owner == c->owner; ws = ws->next)
            ws_conn_evict(ws, 1012, "service restart");
    }
}

void ws_owner_evict(struct ws_engine *e, const http_owner *o)
{
    ws_command *c = calloc(1, sizeof(*c));
    if (!c)
        return; /* unserve closes them as well */
    c->run = run_evict;
    c->owner = o;
    command_push(e, c);
}

/* The kernel takes megabytes for a peer that does not read; what lies there can't be held back any more, nor
 * overtaken by a close. So it takes the next message only when little of the last is left. */
static void socket_prepare(int fd)
{
    int one = 1, unsent = UNSENT;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof(unsent));
}

static void run_adopt(struct ws_engine *e, ws_command *c)
{
    struct ws_route *r = c->route;
    odto_ws *ws = NULL;
    const char *why = "too many WebSocket connections";
    if (r->removed) {
        why = "the service is being replaced";
    } else if (atomic_load(&e->n_conns) < e->server->config.max_websockets) {
        ws = ws_conn_new(r, odto_slice_str(c->target), c->peer);
        why = "no memory";
    }
    socket_prepare(c->fd);
    if (!ws) {
        socket_raw_error(c->fd, 503, "Service Unavailable", why);
        shutdown(c->fd, SHUT_WR);
        close(c->fd);
        mount_unref(r->mount);
    } else if (!(ws->wsi = lws_adopt_socket_vhost(e->vhost, c->fd))) { /* closed the socket */
        ws_conn_destroy(ws);
    } else {
        lws_set_opaque_user_data(ws->wsi, ws);
    }
}

int ws_route_add(struct ws_engine *e, http_mount *m, http_route *route, odto_error *err)
{
    struct ws_route *r = calloc(1, sizeof(*r));
    if (!r)
        return odto_fail(err, -ENOMEM, "no memory for a WebSocket route");
    if (!route->ws->open || !route->ws->message || !route->ws->closed) {
        free(r);
        return odto_fail(err, -EINVAL, "WebSocket route %s needs open, message and closed", route->pattern);
    }
    r->engine = e;
    r->mount = m;
    r->route = route;
    int rc = ws_call(e, run_add, r, NULL, odto_now_ns() + 5 * ODTO_SEC);
    if (rc) {
        if (rc != -ETIMEDOUT) /* else the command still names it */
            free(r);
        return odto_fail(err, rc, "can't add WebSocket route %s", route->pattern);
    }
    route->ws_route = r;
    return 0;
}

void ws_route_free(struct ws_route *r)
{
    free(r);
}

int ws_route_remove(struct ws_engine *e, struct ws_route *r, int64_t deadline_ns)
{
    return ws_call(e, run_remove, r, NULL, deadline_ns);
}

void ws_adopt(struct ws_engine *e, struct ws_route *r, int fd, odto_slice target, const char *peer)
{
    ws_command *c = calloc(1, sizeof(*c));
    char *copy = odto_slice_dup(target);
    if (!c || !copy) {
        free(c);
        free(copy);
        close(fd);
        mount_unref(r->mount);
        return;
    }
    c->run = run_adopt;
    c->route = r;
    c->fd = fd;
    c->target = copy;
    snprintf(c->peer, sizeof(c->peer), "%s", peer);
    command_push(e, c);
}

/* ---- life ----------------------------------------------------------------------------------- */

static void run_stop(struct ws_engine *e, ws_command *c)
{
    (void)c;
    e->quit = true;
    for (struct ws_route *r = e->routes; r; r = r->next) {
        for (odto_ws *ws = r->conns; ws; ws = ws->next)
            ws_conn_evict(ws, 1001, "going away");
    }
    for (odto_ws *ws = e->closing; ws; ws = ws->next) /* nobody waits for those that have not answered yet */
        lws_set_timeout(ws->wsi, PENDING_TIMEOUT_CLOSE_ACK, LWS_TO_KILL_ASYNC);
}

static bool context_create(struct ws_engine *e)
{
    const http_config *c = &e->server->config;
    struct lws_context_creation_info info = {
        .port = CONTEXT_PORT_NO_LISTEN_SERVER,
        .options = LWS_SERVER_OPTION_EXPLICIT_VHOSTS | LWS_SERVER_OPTION_VALIDATE_UTF8,
        .user = e,
        .max_http_header_data = PEEK_MAX,
        .max_http_header_pool = HEADER_POOL,
        .fd_limit_per_thread = c->max_websockets + 16, /* also sizes its tables */
        .pt_serv_buf_size = 16384,
        .timeout_secs = HANDSHAKE_SECS,
        .gid = -1,
        .uid = -1,
    };
    lws_set_log_level(0, NULL);
    e->context = ws_loop_context(e, &info);
    return e->context && vhost_create(e);
}

static void *ws_main(void *arg)
{
    struct ws_engine *e = arg;
    bool ok = context_create(e);
    pthread_mutex_lock(&e->lock);
    e->ready = ok;
    e->failed = !ok;
    pthread_cond_broadcast(&e->done);
    pthread_mutex_unlock(&e->lock);
    while (ok && (!e->quit || atomic_load(&e->n_conns)) && ws_loop_turn(e))
        continue;
    if (e->context)
        lws_context_destroy(e->context);
    ws_loop_close(e);
    return NULL;
}

static void engine_free(struct ws_engine *e)
{
    pthread_cond_destroy(&e->done);
    pthread_mutex_destroy(&e->lock);
    free(e);
}

static uint16_t whole_seconds(int64_t ns)
{
    int64_t s = (ns + ODTO_SEC - 1) / ODTO_SEC;
    return (uint16_t)(s < 1 ? 1 : s > 65535 ? 65535 : s);
}

int ws_start(http_server *s, struct ws_engine **out, odto_error *err)
{
    struct ws_engine *e = calloc(1, sizeof(*e));
    pthread_condattr_t attr;
    if (!e)
        return odto_fail(err, -ENOMEM, "no memory for WebSockets");
    e->server = s;
    e->commands_tail = &e->commands;
    e->policy.secs_since_valid_ping = whole_seconds(s->config.ws_ping_ns);
    e->policy.secs_since_valid_hangup = whole_seconds(s->config.ws_dead_ns);
    pthread_mutex_init(&e->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&e->done, &attr);
    pthread_condattr_destroy(&attr);
    int r = pthread_create(&e->thread, NULL, ws_main, e);
    if (r) {
        engine_free(e);
        return odto_fail(err, -r, "can't start the WebSocket thread");
    }
    pthread_setname_np(e->thread, "ws");
    pthread_mutex_lock(&e->lock);
    while (!e->ready && !e->failed)
        pthread_cond_wait(&e->done, &e->lock);
    bool failed = e->failed;
    pthread_mutex_unlock(&e->lock);
    if (failed) {
        pthread_join(e->thread, NULL);
        engine_free(e);
        return odto_fail(err, -EIO, "libwebsockets does not start");
    }
    *out = e;
    return 0;
}

int ws_stop(struct ws_engine *e, int64_t deadline_ns)
{
    ws_call(e, run_stop, NULL, NULL, deadline_ns);
    /* a timeout may be a second late: ws_loop.c */
    if (thread_join_until(e->thread, deadline_ns + (CLOSE_SECS + 2) * ODTO_SEC))
        return -ETIMEDOUT;
    engine_free(e);
    return 0;
}
