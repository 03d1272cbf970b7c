/* http_loop.c — an event loop: one thread, one epoll set with listeners, MHD's own epoll descriptors and a
 * wake-up eventfd; a lock-free list of posts from other threads.
 *
 * MHD runs in external mode: its epoll descriptor is nested in ours and MHD_run() is called when it is ready.
 * A reply from another thread is a post; MHD_resume_connection() is called here only, so MHD needs no
 * inter-thread channel of its own (MHD_ALLOW_SUSPEND_RESUME without MHD_USE_ITC: one write(2) less per
 * reply). The eventfd is written only while the loop sleeps: under load a batch of replies costs no system
 * call for waking. */
#include "http_priv.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    EVENTS = 64,
    /* MHD's memory per connection beyond the header limit: parsed headers, response head. MHD clears all of
     * it after each request, so at 1,000 connections the caches feel every KiB: 8 KiB instead of 16 saves 1.5
     * us a request. */
    POOL_EXTRA = 2048,
};

bool loop_is_self(const http_loop *l)
{
    return l->running && pthread_equal(l->thread, pthread_self());
}

void loop_post(http_loop *l, http_post *p)
{
    bool self = loop_is_self(l);
    if (!self)
        atomic_fetch_add(&l->posting, 1); /* before p can be seen: see loop_destroy */
    http_post *head = atomic_load_explicit(&l->posts, memory_order_relaxed);
    do {
        p->next = head;
        /* release: what p carries is seen by the loop's exchange */
    } while (!atomic_compare_exchange_weak_explicit(&l->posts, &head, p, memory_order_release,
                                                    memory_order_relaxed));
    /* seq_cst: pairs with loop_sleep, which clears notified and then looks at posts */
    if (!self && !atomic_exchange(&l->notified, true)) {
        uint64_t one = 1;
        while (write(l->wake.fd, &one, sizeof(one)) < 0 && errno == EINTR)
            continue;
    }
    if (!self)
        atomic_fetch_sub(&l->posting, 1); /* the last touch of l */
}

static bool posts_run(http_loop *l)
{
    /* seq_cst: see loop_post; acquire: what the posts carry */
    http_post *p = atomic_exchange(&l->posts, NULL), *fifo = NULL;
    if (!p)
        return false;
    while (p) {
        http_post *next = p->next;
        p->next = fifo;
        fifo = p;
        p = next;
    }
    while (fifo) {
        http_post *next = fifo->next;
        fifo->run(l, fifo);
        fifo = next;
    }
    return true;
}

/* ---- calls ---------------------------------------------------------------------------------- */

struct loop_call {
    http_post post;
    http_server *server;
    void (*fn)(http_loop *l, void *arg);
    void *arg;
    struct call_state *state;
};

struct call_state {
    _Atomic int refs;
    unsigned pending; /* server->lock */
    struct loop_call calls[];
};

static void call_state_unref(struct call_state *st)
{
    if (atomic_fetch_sub(&st->refs, 1) == 1)
        free(st);
}

static void call_run(http_loop *l, http_post *p)
{
    struct loop_call *c = (struct loop_call *)((char *)p - offsetof(struct loop_call, post));
    c->fn(l, c->arg);
    pthread_mutex_lock(&c->server->lock);
    c->state->pending--;
    pthread_cond_broadcast(&c->server->changed);
    pthread_mutex_unlock(&c->server->lock);
    call_state_unref(c->state);
}

int loop_call_all(http_server *s, void (*fn)(http_loop *l, void *arg), void *arg, int64_t deadline_ns)
{
    unsigned n = s->config.threads;
    struct call_state *st = calloc(1, sizeof(*st) + n * sizeof(st->calls[0]));
    if (!st)
        return -ENOMEM;
    st->refs = 1;
    for (unsigned i = 0; i < n; i++) {
        http_loop *l = &s->loops[i];
        if (!l->running || loop_is_self(l)) {
            fn(l, arg);
            continue;
        }
        st->calls[i] = (struct loop_call){{.run = call_run}, s, fn, arg, st};
        st->refs++;
        pthread_mutex_lock(&s->lock);
        st->pending++;
        pthread_mutex_unlock(&s->lock);
        loop_post(l, &st->calls[i].post);
    }
    if (deadline_ns > odto_now_ns() + 86400 * ODTO_SEC)
        deadline_ns = odto_now_ns() + 86400 * ODTO_SEC;
    struct timespec t = {deadline_ns / ODTO_SEC, deadline_ns % ODTO_SEC};
    int r = 0;
    pthread_mutex_lock(&s->lock);
    while (st->pending && !r)
        r = pthread_cond_timedwait(&s->changed, &s->lock, &t);
    bool done = !st->pending;
    pthread_mutex_unlock(&s->lock);
    call_state_unref(st);
    return done ? 0 : -ETIMEDOUT;
}

/* ---- descriptors ---------------------------------------------------------------------------- */

int loop_watch(http_loop *l, int fd, uint32_t events, http_watch *w)
{
    struct epoll_event e = {.events = events, .data.ptr = w};
    return epoll_ctl(l->epfd, EPOLL_CTL_ADD, fd, &e) ? -errno : 0;
}

void loop_unwatch(http_loop *l, int fd)
{
    epoll_ctl(l->epfd, EPOLL_CTL_DEL, fd, NULL);
}

static void wake_ready(http_loop *l, http_watch *w, uint32_t events)
{
    (void)l; /* edge-triggered and never read: being awake is all it says */
    (void)w;
    (void)events;
}

/* ---- MHD ------------------------------------------------------------------------------------ */

static void engine_ready(http_loop *l, http_watch *w, uint32_t events)
{
    (void)l;
    (void)events;
    ((http_engine *)w)->due = true;
}

static void engine_log(void *cls, const char *fmt, va_list ap)
{
    char text[256];
    vsnprintf(text, sizeof(text), fmt, ap);
    text[strcspn(text, "\n")] = 0;
    http_log(cls, ODTO_DEBUG, NULL, "libmicrohttpd: %s", text);
}

static http_engine *engine_new(http_loop *l, const http_listener *tls)
{
    const http_config *c = &l->server->config;
    http_engine *e = calloc(1, sizeof(*e));
    if (!e)
        return NULL;
    struct MHD_OptionItem secure[] = {{MHD_OPTION_HTTPS_MEM_CERT, 0, tls ? tls->tls_cert : NULL},
                                      {MHD_OPTION_HTTPS_MEM_KEY, 0, tls ? tls->tls_key : NULL},
                                      {MHD_OPTION_END, 0, NULL}};
    unsigned flags = MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_USE_TURBO | MHD_USE_ERROR_LOG |
                     (MHD_ALLOW_SUSPEND_RESUME & ~(unsigned)MHD_USE_ITC) | (tls ? MHD_USE_TLS : 0);
    e->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, request_handle, l, MHD_OPTION_EXTERNAL_LOGGER, engine_log, l->server,
        MHD_OPTION_NOTIFY_CONNECTION, conn_notify, l, MHD_OPTION_URI_LOG_CALLBACK, request_begin, l,
        MHD_OPTION_NOTIFY_COMPLETED, request_completed, l, MHD_OPTION_UNESCAPE_CALLBACK, request_no_unescape,
        NULL, MHD_OPTION_CONNECTION_MEMORY_LIMIT, c->max_header + POOL_EXTRA, MHD_OPTION_CONNECTION_LIMIT,
        UINT32_MAX / 4, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)(c->idle_timeout_ns / ODTO_SEC + 1),
        MHD_OPTION_STRICT_FOR_CLIENT, 0, MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_ARRAY,
        tls ? secure : secure + 2, MHD_OPTION_END);
    if (!e->daemon) {
        free(e);
        return NULL;
    }
    e->tls = tls;
    e->watch.ready = engine_ready;
    loop_watch(l, MHD_get_daemon_info(e->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd, EPOLLIN, &e->watch);
    http_engine **at = &l->engines;
    while (*at)
        at = &(*at)->next;
    *at = e;
    return e;
}

http_engine *loop_engine(http_loop *l, const http_listener *ln)
{
    if (!ln->tls_cert)
        return l->engines;
    for (http_engine *e = l->engines; e; e = e->next) {
        if (e->tls == ln)
            return e;
    }
    return engine_new(l, ln);
}

static void engines_run(http_loop *l)
{
    for (http_engine *e = l->engines; e; e = e->next) {
        MHD_UNSIGNED_LONG_LONG wait;
        if (!e->due)
            continue;
        MHD_run(e->daemon);
        /* its inactivity timeouts are seen to by the sweep; 0 means: call me again */
        e->due = MHD_get_timeout(e->daemon, &wait) == MHD_YES && wait == 0;
    }
}

void loop_add_connection(http_loop *l, http_listener *ln, int fd, const struct sockaddr *addr, socklen_t len)
{
    l->adding = ln;
    l->adding_engine = loop_engine(l, ln);
    MHD_add_connection(l->adding_engine->daemon, fd, addr, len); /* closes fd when it fails */
    if (l->adding) {                                             /* conn_notify was not called */
        atomic_fetch_sub(&ln->connections, 1);
        atomic_fetch_sub(&l->server->connections, 1);
        l->adding = NULL;
    }
    l->adding_engine->due = true;
}

/* ---- the loop ------------------------------------------------------------------------------- */

static int sleep_ms(const http_loop *l)
{
    for (const http_engine *e = l->engines; e; e = e->next) {
        if (e->due)
            return 0;
    }
    if (!l->n_conns && !l->n_peeks && !l->n_lingers && !l->accept_again)
        return -1;
    int64_t ns = l->next_sweep - l->now;
    return ns <= 0 ? 0 : (int)(ns / 1000000) + 1;
}

static int loop_sleep(http_loop *l, struct epoll_event *events)
{
    int ms = sleep_ms(l);
    atomic_store(&l->notified, false);
    if (atomic_load(&l->posts)) /* seq_cst after the store above: see loop_post */
        ms = 0;
    int n = epoll_wait(l->epfd, events, EVENTS, ms);
    atomic_store_explicit(&l->notified, true, memory_order_relaxed); /* only saves wake-ups */
    l->now = odto_now_ns();
    return n;
}

static void loop_sweep(http_loop *l)
{
    l->next_sweep = l->now + l->sweep_ns;
    conn_sweep(l);
    peek_sweep(l, false);
    linger_sweep(l, false);
    for (http_engine *e = l->engines; e; e = e->next)
        e->due = true;
}

void *loop_main(void *arg)
{
    http_loop *l = arg;
    struct epoll_event events[EVENTS];
    l->now = odto_now_ns();
    while (!l->quit) {
        int n = loop_sleep(l, events);
        for (int i = 0; i < n; i++) {
            http_watch *w = events[i].data.ptr;
            w->ready(l, w, events[i].events);
        }
        posts_run(l);
        engines_run(l);
        if (l->now >= l->next_sweep)
            loop_sweep(l);
        if (l->turns)
            odto_metric_observe(l->turns, (double)(odto_now_ns() - l->now) / 1e9);
    }
    return NULL;
}

void loop_cut_all(http_loop *l, void *arg)
{
    (void)arg;
    peek_sweep(l, true);
    for (http_conn *c = l->conns; c; c = c->next)
        conn_cut(c);
}

void loop_stop_begin(http_loop *l, void *arg)
{
    (void)arg;
    pthread_mutex_lock(&l->server->lock);
    for (http_listener *ln = l->server->listeners; ln; ln = ln->next)
        loop_unwatch(l, ln->fd);
    pthread_mutex_unlock(&l->server->lock);
    peek_sweep(l, true);
    for (http_conn *c = l->conns; c; c = c->next) {
        if (!c->rq)
            conn_cut(c);
    }
}

/* Timeouts are kept to about a quarter of the shortest. */
static int64_t sweep_interval(const http_config *c)
{
    int64_t least = c->header_timeout_ns;
    const int64_t others[] = {c->body_timeout_ns, c->idle_timeout_ns, c->gate_timeout_ns};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        least = others[i] < least ? others[i] : least;
    least /= 4;
    return least < 50 * ODTO_MS ? 50 * ODTO_MS : least > ODTO_SEC ? ODTO_SEC : least;
}

int loop_init(http_loop *l, http_server *s, unsigned index, odto_error *err)
{
    l->server = s;
    l->index = index;
    l->sweep_ns = sweep_interval(&s->config);
    l->wake.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    l->epfd = epoll_create1(EPOLL_CLOEXEC);
    l->wake.watch.ready = wake_ready;
    if (l->wake.fd < 0 || l->epfd < 0 || loop_watch(l, l->wake.fd, EPOLLIN | EPOLLET, &l->wake.watch))
        return odto_fail(err, -errno, "can't make an event loop: %s", strerror(errno));
    if (!engine_new(l, NULL))
        return odto_fail(err, -EINVAL, "libmicrohttpd does not start (epoll missing?)");
    return 0;
}

void loop_destroy(http_loop *l)
{
    loop_cut_all(l, NULL);
    linger_sweep(l, true);
    while (l->engines) {
        http_engine *e = l->engines;
        l->engines = e->next;
        MHD_stop_daemon(e->daemon);
        free(e);
    }
    while (l->spare) {
        odto_http_request *rq = l->spare;
        l->spare = rq->next;
        free(rq);
    }
    /* The loop may have run a post, and its connection may be gone, before the thread that posted it has
     * left loop_post: a moment, unless that thread is not scheduled. */
    while (atomic_load(&l->posting))
        sched_yield();
    if (l->wake.fd > 0)
        close(l->wake.fd);
    if (l->epfd > 0)
        close(l->epfd);
}
