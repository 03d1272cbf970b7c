/* ws_loop.c — how the WebSocket thread waits: with libev, where lws has it, so that a wake-up costs the same
 * with a thousand connections as with one; else with lws' own poll(), which looks at every descriptor each
 * time (800 terminals: 0.4 ms a key more). */
#include "ws_priv.h"

#include <stdlib.h>

#if defined(HAVE_LIBEV) && defined(LWS_WITH_LIBEV)
#include <ev.h>

struct ws_loop {
    struct ev_loop *ev;
    ev_timer tick;
};

/* lws 4.1 forgets to bring libev's timer forward when something is due earlier than what it waits for
 * already; it looks at what is due after each event. All that we have it wait for is in whole seconds. */
static void on_tick(struct ev_loop *ev, ev_timer *t, int revents)
{
    (void)ev;
    (void)revents;
    lws_cancel_service(t->data);
}

static struct ws_loop *loop_new(void)
{
    struct ws_loop *l = calloc(1, sizeof(*l));
    if (l && !(l->ev = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV))) {
        free(l);
        l = NULL;
    }
    return l;
}

static struct lws_context *context_with_loop(struct ws_engine *e, struct lws_context_creation_info info)
{
    struct ws_loop *l = e->loop = loop_new();
    if (!l)
        return NULL;
    void *loops[] = {l->ev};
    info.options |= LWS_SERVER_OPTION_LIBEV;
    info.foreign_loops = loops;
    struct lws_context *c = lws_create_context(&info);
    ev_timer_init(&l->tick, on_tick, 1, 1);
    l->tick.data = c;
    if (!c)
        ws_loop_close(e);
    return c;
}

static bool loop_turn(struct ws_loop *l, bool connections)
{
    if (connections && !ev_is_active(&l->tick))
        ev_timer_again(l->ev, &l->tick);
    else if (!connections)
        ev_timer_stop(l->ev, &l->tick);
    ev_run(l->ev, EVRUN_ONCE);
    return true;
}

struct ws_io {
    ev_io io;
    struct ws_loop *loop;
    void (*ready)(void *arg);
    void *arg;
};

static void on_ready(struct ev_loop *ev, ev_io *io, int revents)
{
    const struct ws_io *w = io->data;
    (void)ev;
    (void)revents;
    w->ready(w->arg);
}

struct ws_io *ws_loop_watch(struct ws_engine *e, int fd, void (*ready)(void *arg), void *arg)
{
    struct ws_io *w = e->loop ? calloc(1, sizeof(*w)) : NULL;
    if (!w)
        return NULL;
    w->loop = e->loop;
    w->ready = ready;
    w->arg = arg;
    ev_io_init(&w->io, on_ready, fd, EV_READ);
    w->io.data = w;
    ev_io_start(w->loop->ev, &w->io);
    return w;
}

void ws_loop_unwatch(struct ws_io *w)
{
    ev_io_stop(w->loop->ev, &w->io);
    ev_loop_fork(
        w->loop->ev); /* libev leaves what it had in its epoll set: a new set, before w's is closed */
    free(w);
}

void ws_loop_close(struct ws_engine *e)
{
    if (e->loop)
        ev_loop_destroy(e->loop->ev);
    free(e->loop);
    e->loop = NULL;
}
#else
static struct lws_context *context_with_loop(struct ws_engine *e, struct lws_context_creation_info info)
{
    (void)e;
    (void)info;
    return NULL;
}

static bool loop_turn(struct ws_loop *l, bool connections)
{
    (void)l;
    (void)connections;
    return false;
}

struct ws_io *ws_loop_watch(struct ws_engine *e, int fd, void (*ready)(void *arg), void *arg)
{
    (void)e;
    (void)fd;
    (void)ready;
    (void)arg;
    return NULL;
}

void ws_loop_unwatch(struct ws_io *w)
{
    (void)w;
}

void ws_loop_close(struct ws_engine *e)
{
    (void)e;
}
#endif

struct lws_context *ws_loop_context(struct ws_engine *e, const struct lws_context_creation_info *info)
{
    struct lws_context *c = context_with_loop(e, *info);
    if (c)
        return c;
    http_log(e->server, ODTO_WARN, NULL,
             "WebSockets: libwebsockets has no libev here (Debian: libwebsockets-evlib-ev), so each message "
             "costs more the more connections there are");
    return lws_create_context(info);
}

bool ws_loop_turn(struct ws_engine *e)
{
    return e->loop ? loop_turn(e->loop, atomic_load(&e->n_conns) > 0) : lws_service(e->context, 0) >= 0;
}
