/* worker_api.c — the host table inside the worker: what needs the host becomes a frame, what does not
 * (threads, timers, clocks, metric cells) is done here. Any thread of the plugin. */
#include "host/event.h"
#include "host/thread.h"
#include "host/worker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- calls to the host ---- */

odto_buf *call_begin(struct worker *w, enum wire_type type, struct pending *p)
{
    *p = (struct pending){.id = atomic_fetch_add(&w->next_id, 1), .fd = -1};
    pthread_mutex_lock(&w->lock);
    p->next = w->calls;
    w->calls = p;
    pthread_mutex_unlock(&w->lock);
    return wire_begin(&w->link, type, p->id);
}

int call_end(struct worker *w, struct pending *p, odto_error *err)
{
    int r = wire_end(&w->link, -1);
    pthread_mutex_lock(&w->lock);
    while (r == 0 && !p->done)
        pthread_cond_wait(&w->replied, &w->lock); /* the host answers, or this process ends with it */
    for (struct pending **at = &w->calls; *at; at = &(*at)->next)
        if (*at == p) {
            *at = p->next;
            break;
        }
    pthread_mutex_unlock(&w->lock);
    if (r == 0)
        r = p->result;
    if (r < 0 && err && p->err.code)
        *err = p->err;
    else if (r < 0)
        odto_fail(err, r, "the host did not do it: %s", strerror(-r));
    return r;
}

void call_replied(struct worker *w, const struct wire_head *h, struct wire_in *in)
{
    int fd = wire_take_fd(&w->link);
    pthread_mutex_lock(&w->lock);
    for (struct pending *p = w->calls; p; p = p->next)
        if (p->id == h->id && !p->done) {
            p->result = (int)wire_get_i64(in);
            wire_get_error(in, &p->err);
            odto_buf_put(&p->more, in->p, in->n);
            p->fd = fd;
            fd = -1;
            p->done = true;
        }
    pthread_cond_broadcast(&w->replied);
    pthread_mutex_unlock(&w->lock);
    if (fd >= 0)
        close(fd);
}

/* ---- log, supervision ---- */

static bool api_log_enabled(odto_host *h, odto_level level)
{
    return (uint32_t)level >= atomic_load(&worker_of(h)->shared->log_level);
}

static void api_log(odto_host *h, odto_level level, const odto_uuid *correlation, const char *fmt, ...)
{
    struct worker *w = worker_of(h);
    char text[3072];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    odto_buf *b = wire_begin(&w->link, WIRE_LOG, 0);
    wire_u32(b, (uint32_t)level);
    wire_bytes(b, odto_slice_of((const char *)correlation, correlation ? sizeof *correlation : 0));
    wire_str(b, text);
    wire_end(&w->link, -1);
}

static void api_fail(odto_host *h, bool permanent, const odto_error *err)
{
    struct worker *w = worker_of(h);
    odto_buf *b = wire_begin(&w->link, WIRE_FAIL, 0);
    wire_u32(b, permanent);
    wire_error(b, err);
    wire_end(&w->link, -1);
}

static void api_beat(odto_host *h)
{
    atomic_store(&worker_of(h)->shared->beat, odto_now_ns());
}

static bool api_stopping(odto_host *h)
{
    return atomic_load(&worker_of(h)->stopping);
}

static void say_health(struct worker *w)
{
    odto_health now = {.ready = true};
    if (!atomic_load(&w->started))
        return;
    if (w->d->ops->health)
        w->d->ops->health(w->self, &now);
    pthread_mutex_lock(&w->lock);
    bool same = w->health_said && now.ready == w->health.ready && strcmp(now.reason, w->health.reason) == 0;
    w->health = now;
    w->health_said = true;
    if (!same) { /* under the lock: the last one said is the last one found */
        odto_buf *b = wire_begin(&w->link, WIRE_HEALTH, 0);
        wire_u32(b, now.ready);
        wire_str(b, now.reason);
        wire_end(&w->link, -1);
    }
    pthread_mutex_unlock(&w->lock);
}

static void api_health_changed(odto_host *h)
{
    say_health(worker_of(h));
}

/* ---- metrics: cells in the shared memory, so that the host has the last figures of a worker that died ----
 */

static char *metric_key(const char *name, const char *labels, const char *const *values)
{
    odto_buf b = {0};
    odto_buf_str(&b, name);
    for (size_t i = 0; labels && values; i++) {
        odto_buf_put(&b, "\xff", 1);
        odto_buf_str(&b, values[i]);
        labels = strchr(labels, ',');
        labels = labels ? labels + 1 : NULL;
    }
    return b.failed ? (odto_buf_free(&b), NULL) : b.p;
}

static void tell_metric(struct worker *w, unsigned at, bool fn, odto_metric_type type, const char *name,
                        const char *help, const char *labels, const char *const *values, const double *bounds,
                        size_t n_bounds)
{
    odto_buf *b = wire_begin(&w->link, WIRE_METRIC, at);
    wire_u32(b, fn);
    wire_u32(b, (uint32_t)type);
    wire_str(b, name);
    wire_str(b, help);
    wire_str(b, labels);
    for (const char *l = labels; l; l = strchr(l, ',') ? strchr(l, ',') + 1 : NULL)
        wire_str(b, *values++);
    wire_u32(b, (uint32_t)n_bounds);
    odto_buf_put(b, bounds, n_bounds * sizeof *bounds);
    wire_end(&w->link, -1);
}

/* The index of a metric's cell, made if need be; -1: no room. */
static int find_cell(struct worker *w, const char *key, bool *fresh)
{
    *fresh = false;
    for (unsigned i = 0; i < w->n_cells; i++)
        if (w->metrics[i].key && strcmp(w->metrics[i].key, key) == 0)
            return (int)i;
    if (w->n_cells == SHARED_CELLS)
        return -1;
    *fresh = true;
    w->metrics[w->n_cells].key = strdup(key);
    return (int)w->n_cells++;
}

static int cell_of(struct worker *w, const char *name, const char *labels, const char *const *values,
                   bool *fresh)
{
    char *key = metric_key(name, labels, values);
    if (!key)
        return -1;
    pthread_mutex_lock(&w->lock);
    int at = find_cell(w, key, fresh);
    pthread_mutex_unlock(&w->lock);
    free(key);
    return at;
}

static odto_metric *api_metric(odto_host *h, odto_metric_type type, const char *name, const char *help,
                               const char *labels, const char *const *values, const double *bounds,
                               size_t n_bounds)
{
    struct worker *w = worker_of(h);
    bool fresh = false;
    int at = n_bounds < SHARED_BUCKETS ? cell_of(w, name, labels, values, &fresh) : -1;
    if (at < 0) {
        static uint64_t bucket;
        static odto_metric spare = {.buckets = &bucket}; /* a sink: plugins need not check for NULL */
        api_log(h, ODTO_WARN, NULL,
                "metric %s is left out: an isolated plugin has at most %d cells, each of at most %d buckets",
                name, SHARED_CELLS, SHARED_BUCKETS);
        return &spare;
    }
    odto_metric *m = &w->shared->cells[at].metric;
    if (fresh) {
        double *copy = arena_alloc(&w->memory, (n_bounds + 1) * sizeof *copy);
        for (size_t i = 0; copy && i < n_bounds; i++)
            copy[i] = bounds[i];
        m->buckets = w->shared->cells[at].buckets;
        m->bounds = copy;
        m->n_bounds = copy ? n_bounds : 0;
        tell_metric(w, (unsigned)at, false, type, name, help, labels, values, bounds, n_bounds);
    }
    return m;
}

static int api_metric_fn(odto_host *h, odto_metric_type type, const char *name, const char *help,
                         const char *labels, const char *const *values, double (*fn)(void *arg), void *arg)
{
    struct worker *w = worker_of(h);
    bool fresh;
    int at = cell_of(w, name, labels, values, &fresh);
    if (at < 0)
        return -ENOSPC;
    w->shared->cells[at].reading = fn(arg);
    pthread_mutex_lock(&w->lock);
    w->metrics[at].arg = arg;
    w->metrics[at].fn = fn;
    pthread_mutex_unlock(&w->lock);
    if (fresh)
        tell_metric(w, (unsigned)at, true, type, name, help, labels, values, NULL, 0);
    return 0;
}

void worker_tick(struct worker *w)
{
    say_health(w);
    for (unsigned i = 0; i < SHARED_CELLS; i++) {
        pthread_mutex_lock(&w->lock);
        bool end = i >= w->n_cells || atomic_load(&w->stopping);
        struct worker_metric m = end ? (struct worker_metric){0} : w->metrics[i];
        pthread_mutex_unlock(&w->lock);
        if (end)
            return;
        if (m.fn)
            w->shared->cells[i].reading = m.fn(m.arg);
    }
}

/* ---- stores and handlers: not in a worker ---- */

static int api_store(odto_host *h, const char *option, odto_store_ref *out, odto_error *err)
{
    (void)h, (void)out;
    odto_fail(err, -ENOTSUP, "the store of option %s can't be used with isolate = process", option);
    odto_error_hint(err, "run this plugin with isolate = thread");
    return -ENOTSUP;
}

static size_t api_handlers(odto_host *h, odto_handler_ref *out, size_t max)
{
    (void)out, (void)max;
    odto_error err = {0};
    odto_fail(&err, -ENOTSUP, "a plugin that calls handlers can't run with isolate = process");
    odto_error_hint(&err, "run it with isolate = thread");
    api_fail(h, true, &err);
    return 0;
}

/* ---- descriptors on the WebSocket thread: that thread is the host's ---- */

static int api_watch(odto_host *h, int fd, void (*ready)(void *arg), void *arg, odto_watch **out,
                     odto_error *err)
{
    (void)h, (void)fd, (void)ready, (void)arg, (void)out;
    odto_fail(err, -ENOTSUP, "descriptors can't be watched with isolate = process");
    odto_error_hint(err, "run this plugin with isolate = thread");
    return -ENOTSUP;
}

static void api_unwatch(odto_watch *w)
{
    (void)w;
}

static bool api_replaced(odto_host *h)
{
    return atomic_load(&worker_of(h)->replaced);
}

/* ---- threads, timers, clocks ---- */

struct odto_thread {
    struct odto_thread *next;
    pthread_t id;
    void (*fn)(void *arg);
    void *arg;
    bool joined; /* under worker->lock */
};

static void *thread_main(void *arg)
{
    struct odto_thread *t = arg;
    t->fn(t->arg);
    return NULL;
}

static int api_thread_start(odto_host *h, const char *name, void (*fn)(void *arg), void *arg,
                            odto_thread **out)
{
    struct worker *w = worker_of(h);
    char full[16];
    struct odto_thread *t = malloc(sizeof *t);
    if (!t)
        return -ENOMEM;
    *t = (struct odto_thread){.fn = fn, .arg = arg};
    snprintf(full, sizeof full, "%.8s/%.6s", w->name, name);
    pthread_mutex_lock(&w->lock);
    int r = thread_spawn(&t->id, thread_main, t, full);
    if (r == 0) {
        t->next = w->threads;
        w->threads = t;
        if (out)
            *out = t;
    }
    pthread_mutex_unlock(&w->lock);
    if (r < 0)
        free(t);
    return r;
}

static void api_thread_join(odto_host *h, odto_thread *t)
{
    struct worker *w = worker_of(h);
    pthread_mutex_lock(&w->lock);
    bool join = !t->joined;
    t->joined = true;
    pthread_mutex_unlock(&w->lock);
    if (join)
        pthread_join(t->id, NULL);
}

/* No time limit: the host ends this process when it takes too long. */
void worker_join_threads(struct worker *w)
{
    for (;;) {
        pthread_mutex_lock(&w->lock);
        struct odto_thread *t = w->threads;
        if (t)
            w->threads = t->next;
        pthread_mutex_unlock(&w->lock);
        if (!t)
            return;
        api_thread_join(&w->host, t);
        free(t);
    }
}

static odto_timer *api_timer_new(odto_host *h, void (*fn)(void *arg), void *arg)
{
    struct worker *w = worker_of(h);
    return timer_create_for(w->timers, w, fn, arg);
}

static int64_t api_now(odto_host *h)
{
    (void)h;
    return odto_now_ns();
}

static int64_t api_unix_ms(odto_host *h)
{
    (void)h;
    return odto_unix_ms();
}

/* ---- descriptor store: kept by the host, over generations and crashes ---- */

static int api_fd_put(odto_host *h, const char *name, int fd, odto_slice note)
{
    struct worker *w = worker_of(h);
    odto_buf *b = wire_begin(&w->link, WIRE_FD_PUT, 0);
    wire_str(b, name);
    wire_bytes(b, note);
    return wire_end(&w->link, fd);
}

static int api_fd_take(odto_host *h, const char *name, odto_buf *note)
{
    struct worker *w = worker_of(h);
    struct pending p;
    wire_str(call_begin(w, WIRE_FD_TAKE, &p), name);
    int r = call_end(w, &p, NULL);
    struct wire_in in = {p.more.p, p.more.n, false};
    odto_slice text = wire_get_bytes(&in);
    if (r == 0 && note)
        odto_buf_put(note, text.p, text.n);
    odto_buf_free(&p.more);
    return r < 0 ? r : p.fd;
}

static size_t api_fd_names(odto_host *h, char (*names)[64], size_t max)
{
    struct worker *w = worker_of(h);
    struct pending p;
    call_begin(w, WIRE_FD_NAMES, &p);
    int r = call_end(w, &p, NULL);
    struct wire_in in = {p.more.p, p.more.n, false};
    size_t n = r == 0 ? wire_get_u32(&in) : 0;
    n = n < max ? n : max;
    for (size_t i = 0; i < n; i++)
        snprintf(names[i], sizeof names[i], "%s", wire_get_bytes(&in).p);
    odto_buf_free(&p.more);
    return n;
}

const odto_host_api worker_api = {
    .size = sizeof worker_api,
    .abi_major = ODTO_ABI_MAJOR,
    .abi_minor = ODTO_ABI_MINOR,
    .http = &worker_http_api,
    .log_enabled = api_log_enabled,
    .log = api_log,
    .fail = api_fail,
    .beat = api_beat,
    .stopping = api_stopping,
    .health_changed = api_health_changed,
    .metric = api_metric,
    .metric_fn = api_metric_fn,
    .route = events_route,
    .route_name = events_route_name,
    .event_new = events_new,
    .event_ref = event_ref,
    .event_unref = event_unref,
    .publish = events_publish,
    .settle = events_settle,
    .route_stats = events_route_stats,
    .prefetch = events_prefetch,
    .store = api_store,
    .handlers = api_handlers,
    .thread_start = api_thread_start,
    .thread_join = api_thread_join,
    .timer_new = api_timer_new,
    .timer_set = timer_arm,
    .timer_free = timer_destroy,
    .now = api_now,
    .unix_ms = api_unix_ms,
    .fd_put = api_fd_put,
    .fd_take = api_fd_take,
    .fd_names = api_fd_names,
    .watch = api_watch,
    .unwatch = api_unwatch,
    .replaced = api_replaced,
};
