/* http.c — the server object: owners, serving, gates, handover, start and stop (see http.h).
 *
 * Everything here runs on threads of the core. server->lock is never held across a callback or a wait for a
 * loop. */
#include "http_priv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void http_config_default(http_config *c)
{
    *c = (http_config){
        .version = "",
        .threads = 1,
        .workers = 4,
        .worker_queue = 256,
        .max_connections = 4096,
        .max_streams = 256,
        .max_websockets = 1024,
        .gate_queue = 4096,
        .max_header = 6144,
        .ws_queue = 1 << 20,
        .header_timeout_ns = 10 * ODTO_SEC,
        .body_timeout_ns = 30 * ODTO_SEC,
        .idle_timeout_ns = 75 * ODTO_SEC,
        .gate_timeout_ns = 30 * ODTO_SEC,
        .ws_ping_ns = 30 * ODTO_SEC,
        .ws_dead_ns = 60 * ODTO_SEC,
    };
}

/* ---- hooks ---------------------------------------------------------------------------------- */

void hook_enter(http_server *s, const http_owner *o)
{
    if (s->config.hooks.enter && o)
        s->config.hooks.enter(s->config.hooks.arg, o->host);
}

void hook_leave(http_server *s, const http_owner *o)
{
    if (s->config.hooks.leave && o)
        s->config.hooks.leave(s->config.hooks.arg, o->host);
}

void http_log(http_server *s, odto_level level, const odto_uuid *correlation, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    if (!s->config.hooks.log)
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    s->config.hooks.log(s->config.hooks.arg, level, correlation, text);
}

/* ---- owners --------------------------------------------------------------------------------- */

http_owner *owner_find(http_server *s, const odto_host *host)
{
    for (http_owner *o = s->owners; o; o = o->next) {
        if (o->host == host)
            return o;
    }
    return NULL;
}

http_owner *owner_get(http_server *s, const odto_host *host)
{
    http_owner *o = owner_find(s, host);
    if (o)
        return o;
    if (!(o = calloc(1, sizeof(*o))))
        return NULL;
    o->refs = 1; /* the list's */
    o->server = s;
    o->host = host;
    o->next = s->owners;
    s->owners = o;
    return o;
}

void owner_unref(http_owner *o)
{
    if (atomic_fetch_sub(&o->refs, 1) == 1)
        free(o);
}

/* A counter fell to 0: whoever waits looks again. Sequentially consistent with owner_wait: either the waiter
 * sees the 0, or this sees the waiter. */
static void owner_notify(http_owner *o)
{
    if (!atomic_load(&o->waiters))
        return;
    pthread_mutex_lock(&o->server->lock);
    pthread_cond_broadcast(&o->server->changed);
    pthread_mutex_unlock(&o->server->lock);
}

void owner_answered(http_owner *o)
{
    if (atomic_fetch_sub(&o->inflight, 1) == 1)
        owner_notify(o);
}

void owner_hold(http_owner *o)
{
    o->refs++;
    o->held++;
}

bool owner_gated(http_owner *o)
{
    pthread_mutex_lock(&o->server->lock);
    bool gated = o->gated;
    pthread_mutex_unlock(&o->server->lock);
    return gated;
}

bool owner_open(http_owner *o)
{
    if (!o)
        return true;
    pthread_mutex_lock(&o->server->lock);
    bool ok = !o->gated;
    if (ok) {
        owner_hold(o);
        o->open++;
    }
    pthread_mutex_unlock(&o->server->lock);
    return ok;
}

void owner_close(http_owner *o)
{
    if (!o)
        return;
    if (atomic_fetch_sub(&o->open, 1) == 1)
        owner_notify(o);
    owner_release(o);
}

void owner_release(http_owner *o)
{
    if (atomic_fetch_sub(&o->held, 1) == 1)
        owner_notify(o);
    owner_unref(o);
}

int owner_wait(http_owner *o, _Atomic long *counter, int64_t deadline_ns)
{
    http_server *s = o->server;
    struct timespec t = {deadline_ns / ODTO_SEC, deadline_ns % ODTO_SEC};
    int r = 0;
    pthread_mutex_lock(&s->lock);
    o->waiters++;
    while (atomic_load(counter) > 0 && !r)
        r = pthread_cond_timedwait(&s->changed, &s->lock, &t);
    o->waiters--;
    bool done = atomic_load(counter) <= 0;
    pthread_mutex_unlock(&s->lock);
    return done ? 0 : -ETIMEDOUT;
}

/* ---- listeners ------------------------------------------------------------------------------ */

static http_listener *listener_find(http_server *s, const char *address)
{
    for (http_listener *ln = s->listeners; ln; ln = ln->next) {
        if (!strcmp(ln->address, address))
            return ln;
    }
    return NULL;
}

static void listener_join_loop(http_loop *l, void *arg)
{
    http_listener *ln = arg;
    listener_watch *w = &ln->watches[l->index];
    w->watch.ready = accept_ready;
    w->listener = ln;
    if (loop_engine(l, ln))
        loop_watch(l, ln->fd, LISTEN_EVENTS, &w->watch);
    else
        atomic_store(&ln->broken, true);
}

static void listener_leave_loop(http_loop *l, void *arg)
{
    http_listener *ln = arg;
    loop_unwatch(l, ln->fd);
    for (http_conn *c = l->conns; c; c = c->next) {
        if (c->listener == ln && !c->rq)
            conn_cut(c);
    }
}

/* With lock: the first listener without an owner. */
static http_listener *listener_unused(http_server *s)
{
    for (http_listener *ln = s->listeners; ln; ln = ln->next) {
        bool used = false;
        for (http_mount *m = ln->mounts; m; m = m->next)
            used |= m->owner != NULL;
        if (!used)
            return ln;
    }
    return NULL;
}

/* Close it. The object is kept until the end: connections still name it. */
static void listener_retire(http_server *s, http_listener *ln)
{
    pthread_mutex_lock(&s->lock);
    http_listener **at = &s->listeners;
    while (*at && *at != ln)
        at = &(*at)->next;
    if (*at) {
        *at = ln->next;
        ln->next = s->retired;
        s->retired = ln;
    }
    pthread_mutex_unlock(&s->lock);
    loop_call_all(s, listener_leave_loop, ln, INT64_MAX);
    close(ln->fd);
    ln->fd = -1;
}

int http_prune(http_server *s)
{
    for (int n = 0;; n++) {
        pthread_mutex_lock(&s->lock);
        http_listener *ln = listener_unused(s);
        pthread_mutex_unlock(&s->lock);
        if (!ln)
            return n;
        listener_retire(s, ln);
    }
}

/* The listener, opened when it is not there yet. Not under the lock: two threads opening the same address is
 * settled by bind. */
static int listener_get(http_server *s, const char *address, const http_listener_options *o,
                        http_listener **out, odto_error *err)
{
    pthread_mutex_lock(&s->lock);
    *out = listener_find(s, address);
    pthread_mutex_unlock(&s->lock);
    if (*out)
        return 0;
    http_listener *ln = NULL;
    int r = listener_open(s, address, o, &ln, err);
    if (r)
        return r;
    if (!(ln->mounts = builtin_mount(ln))) {
        listener_free(ln);
        return odto_fail(err, -ENOMEM, "no memory for a listener");
    }
    ln->table = calloc(ln->mounts->n, sizeof(ln->table[0]));
    if (!ln->table) {
        listener_free(ln);
        return odto_fail(err, -ENOMEM, "no memory for a listener");
    }
    listener_rebuild(ln);
    pthread_mutex_lock(&s->lock);
    ln->next = s->listeners;
    s->listeners = ln;
    pthread_mutex_unlock(&s->lock);
    loop_call_all(s, listener_join_loop, ln, INT64_MAX);
    *out = ln;
    if (!atomic_load(&ln->broken))
        return 0;
    listener_retire(s, ln);
    odto_fail(err, -EINVAL, "can't serve TLS on %s", address);
    odto_error_hint(err, "Check that certificate and key are PEM and belong together");
    return -EINVAL;
}

int http_listen(http_server *s, const char *address, const http_listener_options *o, odto_error *err)
{
    http_listener *ln;
    return listener_get(s, address, o, &ln, err);
}

int http_port(http_server *s, const char *address)
{
    pthread_mutex_lock(&s->lock);
    http_listener *ln = listener_find(s, address);
    int port = ln ? ln->port : -ENOENT;
    pthread_mutex_unlock(&s->lock);
    return port;
}

/* ---- serving -------------------------------------------------------------------------------- */

static size_t websocket_routes(const http_mount *m)
{
    size_t n = 0;
    for (size_t i = 0; i < m->n; i++)
        n += m->routes[i].ws != NULL;
    return n;
}

/* Undo of a serve() that failed half-way, and the end of a mount: WebSocket routes out of their engine. When
 * that hangs the mount stays. */
static int mount_retire(http_server *s, http_mount *m, int64_t deadline_ns)
{
    int r = 0;
    for (size_t i = 0; i < m->n; i++) {
        if (m->routes[i].ws_route && ws_route_remove(s->ws, m->routes[i].ws_route, deadline_ns))
            r = -ETIMEDOUT;
    }
    m->listener->ws_routes -= (unsigned)websocket_routes(m);
    if (!r)
        mount_unref(m);
    return r;
}

int ws_engine_get(http_server *s, struct ws_engine **out, odto_error *err)
{
    int r = 0;
    *out = atomic_load(&s->ws);
    if (!*out && !(r = ws_start(s, out, err)))
        atomic_store(&s->ws, *out);
    return r;
}

http_owner *owner_of_host(http_server *s, const odto_host *h)
{
    pthread_mutex_lock(&s->lock);
    http_owner *o = owner_get(s, h);
    if (o)
        o->refs++;
    pthread_mutex_unlock(&s->lock);
    return o;
}

static int websockets_prepare(http_server *s, http_mount *m, odto_error *err)
{
    int r = 0;
    if (!websocket_routes(m))
        return 0;
    if (m->listener->tls_cert)
        return odto_fail(err, -ENOTSUP, "WebSocket routes need a listener without TLS (%s)",
                         m->listener->address);
    struct ws_engine *e;
    if ((r = ws_engine_get(s, &e, err)))
        return r;
    for (size_t i = 0; i < m->n && !r; i++) {
        if (m->routes[i].ws)
            r = ws_route_add(e, m, &m->routes[i], err);
    }
    return r;
}

int api_serve(odto_host *h, const char *address, const char *service, const odto_http_route *routes, size_t n,
              const char *cors, size_t max_body, odto_error *err)
{
    http_server *s = host_http(h);
    http_listener *ln;
    odto_error unused;
    if (!err)
        err = &unused;
    if (atomic_load(&s->stopping))
        return odto_fail(err, -ECANCELED, "the host is stopping");
    int r = listener_get(s, address, NULL, &ln, err);
    if (r)
        return r;
    pthread_mutex_lock(&s->lock);
    http_owner *o = owner_get(s, h);
    if (o && s->config.hooks.self)
        o->refs++;
    pthread_mutex_unlock(&s->lock);
    if (!o)
        return odto_fail(err, -ENOMEM, "no memory for routes");
    if (s->config.hooks.self) {
        if (!o->self) /* before any of its routes is there */
            o->self = s->config.hooks.self(s->config.hooks.arg, h);
        owner_unref(o);
    }
    http_mount *m = mount_new(ln, o, service, routes, n, cors, max_body, err);
    if (!m)
        return err->code;
    ln->ws_routes += (unsigned)websocket_routes(m);
    r = websockets_prepare(s, m, err);
    if (!r) {
        pthread_mutex_lock(&s->lock);
        r = listener_mount(ln, m, err);
        pthread_mutex_unlock(&s->lock);
    }
    if (r)
        mount_retire(s, m, odto_now_ns() + ODTO_SEC);
    return r;
}

/* ---- unserve -------------------------------------------------------------------------------- */

/* With lock: take the owner out of the server: its mounts (returned), its place in the list. */
static http_mount *owner_detach(http_server *s, http_owner *o)
{
    http_mount *gone = NULL;
    for (http_listener *ln = s->listeners; ln; ln = ln->next)
        listener_unmount(ln, o, &gone);
    for (http_mount **at = &s->replaced; *at;) {
        http_mount *m = *at;
        if (m->owner == o) {
            *at = m->next;
            m->next = gone;
            gone = m;
        } else {
            at = &m->next;
        }
    }
    for (http_owner **at = &s->owners; *at; at = &(*at)->next) {
        if (*at == o) {
            *at = o->next;
            break;
        }
    }
    if (o->stages)
        owner_unref(o->stages);
    o->stages = NULL;
    return gone;
}

static void abandon_call(http_loop *l, void *arg)
{
    requests_abandon(l, arg);
}

static void barrier_call(http_loop *l, void *arg)
{
    (void)l;
    (void)arg;
}

int http_unserve(http_server *s, const odto_host *host, int64_t deadline_ns)
{
    int r = 0;
    pthread_mutex_lock(&s->lock);
    http_owner *o = owner_find(s, host);
    http_mount *gone = o ? owner_detach(s, o) : NULL;
    pthread_mutex_unlock(&s->lock);
    if (!o)
        return 0;
    parked_resume(s, parked_take(s, o, NULL)); /* they find no route any more, or another owner's */
    while (gone) {
        http_mount *m = gone;
        gone = m->next;
        if (mount_retire(s, m, deadline_ns))
            r = -ETIMEDOUT;
    }
    if (loop_call_all(s, streams_call, o, deadline_ns) || owner_wait(o, &o->held, deadline_ns)) {
        int64_t grace = odto_now_ns() + ODTO_SEC;
        loop_call_all(s, abandon_call, o, grace);
        if (owner_wait(o, &o->held, grace))
            r = -ETIMEDOUT;
    }
    if (loop_call_all(s, barrier_call, NULL, odto_now_ns() + ODTO_SEC))
        r = -ETIMEDOUT;
    if (!r)
        owner_unref(o);
    return r;
}

/* ---- life ----------------------------------------------------------------------------------- */

http_server *http_new(const http_config *c, odto_error *err)
{
    http_server *s = calloc(1, sizeof(*s));
    pthread_condattr_t attr;
    if (s)
        s->loops = calloc(c->threads ? c->threads : 1, sizeof(s->loops[0]));
    if (!s || !s->loops) {
        free(s);
        odto_fail(err, -ENOMEM, "no memory for the HTTP server");
        return NULL;
    }
    s->config = *c;
    if (!s->config.threads)
        s->config.threads = 1;
    if (!s->config.workers)
        s->config.workers = 1;
    s->parked_tail = &s->parked;
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&s->changed, &attr);
    pthread_condattr_destroy(&attr);
    for (unsigned i = 0; i < s->config.threads; i++) {
        if (loop_init(&s->loops[i], s, i, err)) {
            http_stop(s, 0);
            return NULL;
        }
    }
    return s;
}

int http_start(http_server *s, odto_error *err)
{
    char name[16];
    int r = workers_start(s, err);
    for (unsigned i = 0; !r && i < s->config.threads; i++) {
        snprintf(name, sizeof(name), "http/%u", i);
        if (s->config.hooks.turns)
            s->loops[i].turns = s->config.hooks.turns(s->config.hooks.arg, name);
        s->loops[i].running = true;
        r = pthread_create(&s->loops[i].thread, NULL, loop_main, &s->loops[i]);
        if (r) {
            s->loops[i].running = false;
            return odto_fail(err, -r, "can't start an HTTP thread");
        }
        pthread_setname_np(s->loops[i].thread, name);
    }
    return r;
}

static void quit_call(http_loop *l, void *arg)
{
    (void)arg;
    l->quit = true;
}

/* Until no HTTP connection is open (each one that closes while stopping signals), or the deadline. */
static void connections_wait(http_server *s, int64_t deadline_ns)
{
    struct timespec t = {deadline_ns / ODTO_SEC, deadline_ns % ODTO_SEC};
    pthread_mutex_lock(&s->lock);
    while (atomic_load(&s->connections) && !pthread_cond_timedwait(&s->changed, &s->lock, &t))
        continue;
    pthread_mutex_unlock(&s->lock);
}

static void server_free(http_server *s)
{
    for (unsigned i = 0; i < s->config.threads; i++)
        loop_destroy(&s->loops[i]);
    for (int k = 0; k < 2; k++) {
        http_listener **list = k ? &s->retired : &s->listeners;
        while (*list) {
            http_listener *ln = *list;
            *list = ln->next;
            listener_free(ln);
        }
    }
    while (s->replaced) {
        http_mount *m = s->replaced;
        s->replaced = m->next;
        mount_unref(m);
    }
    while (s->owners) {
        http_owner *o = s->owners;
        s->owners = o->next;
        if (o->stages)
            owner_unref(o->stages);
        owner_unref(o);
    }
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s->loops);
    free(s);
}

/* Close what is open: first politely until the deadline, then by force. */
static void server_drain(http_server *s, int64_t deadline_ns)
{
    loop_call_all(s, loop_stop_begin, NULL, deadline_ns + ODTO_SEC);
    loop_call_all(s, streams_call, NULL, deadline_ns + ODTO_SEC);
    parked_resume(s, parked_take(s, NULL, NULL)); /* answered 503 */
    connections_wait(s, deadline_ns);
    int64_t grace = odto_now_ns() + ODTO_SEC;
    loop_call_all(s, abandon_call, NULL, grace);
    loop_call_all(s, streams_call, NULL, grace);
    loop_call_all(s, loop_cut_all, NULL, grace);
    connections_wait(s, grace);
}

void http_stop(http_server *s, int64_t deadline_ns)
{
    atomic_store(&s->stopping, true);
    server_drain(s, deadline_ns);
    bool stuck = s->ws && ws_stop(s->ws, deadline_ns + ODTO_SEC);
    stuck |= workers_stop(s, deadline_ns + ODTO_SEC) != 0;
    stuck |= loop_call_all(s, quit_call, NULL, odto_now_ns() + ODTO_SEC) != 0;
    for (unsigned i = 0; !stuck && i < s->config.threads; i++) {
        if (s->loops[i].running)
            pthread_join(s->loops[i].thread, NULL);
    }
    if (stuck) {
        http_log(s, ODTO_ERROR, NULL, "an HTTP thread is stuck in a handler: its memory is left alone");
        return;
    }
    server_free(s);
}
