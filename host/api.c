/* api.c — the table the host gives to plugins (odto/host.h): each entry finds the instance behind the handle
 * and calls the module that does the work. No state of its own; any thread. */
#include "host/core.h"
#include "host/event.h"
#include "host/http.h"
#include "host/isolate.h"
#include "host/ws.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct instance *instance_of(odto_host *h)
{
    return h->priv;
}

/* ---- log ---- */

static bool api_log_enabled(odto_host *h, odto_level level)
{
    return log_enabled(instance_of(h)->log, level);
}

static void api_log(odto_host *h, odto_level level, const odto_uuid *correlation, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    log_vwrite(instance_of(h)->log, level, correlation, fmt, ap);
    va_end(ap);
}

/* ---- supervision ---- */

struct failure {
    struct unit *unit;
    unsigned generation;
    bool permanent;
    odto_error err;
};

static void run_failure(struct core *core, void *arg)
{
    struct failure *f = arg;
    struct unit *u = f->unit;
    (void)core;
    if (u->current && u->generation == f->generation && (u->state == LIFE_READY || u->state == LIFE_STARTING))
        unit_failed(u, &f->err, f->permanent);
    free(f);
}

static void api_fail(odto_host *h, bool permanent, const odto_error *err)
{
    struct instance *in = instance_of(h);
    struct failure *f = malloc(sizeof *f);
    if (!f)
        return;
    pthread_mutex_lock(&in->lock);
    if (!atomic_load(&in->failed)) {
        in->failure = *err;
        atomic_store(&in->failed, true);
    }
    pthread_mutex_unlock(&in->lock);
    *f =
        (struct failure){.unit = in->unit, .generation = in->generation, .permanent = permanent, .err = *err};
    core_command(in->core, run_failure, f, false);
}

static void api_beat(odto_host *h)
{
    atomic_store(&instance_of(h)->beat, odto_now_ns());
}

static bool api_stopping(odto_host *h)
{
    return atomic_load(&instance_of(h)->stopping);
}

static void api_health_changed(odto_host *h)
{
    (void)h; /* readiness is asked for at each request, never cached */
}

/* ---- metrics ---- */

static odto_metric *api_metric(odto_host *h, odto_metric_type type, const char *name, const char *help,
                               const char *labels, const char *const *values, const double *bounds,
                               size_t n_bounds)
{
    struct instance *in = instance_of(h);
    metrics_spec spec = {type, name, help, labels, values, bounds, n_bounds};
    odto_metric *cell = NULL;
    odto_error err = {0};
    if (metrics_cell(in->core->metrics, in, &spec, &cell, &err) < 0) {
        static uint64_t bucket;
        static odto_metric spare = {.buckets = &bucket}; /* a sink: plugins need not check for NULL */
        log_error(in->log, ODTO_WARN, name, &err);
        return &spare;
    }
    return cell;
}

static int api_metric_fn(odto_host *h, odto_metric_type type, const char *name, const char *help,
                         const char *labels, const char *const *values, double (*fn)(void *arg), void *arg)
{
    struct instance *in = instance_of(h);
    metrics_spec spec = {type, name, help, labels, values, NULL, 0};
    odto_error err = {0};
    int r = metrics_fn(in->core->metrics, in, &spec, fn, arg, &err);
    if (r < 0)
        log_error(in->log, ODTO_WARN, name, &err);
    return r;
}

/* ---- events ---- */

static odto_route *api_route(odto_host *h, const char *topic)
{
    return core_route(instance_of(h)->core, topic);
}

static const char *api_route_name(const odto_route *r)
{
    return route_topic(r);
}

static odto_event *api_event_new(odto_host *h, odto_slice body, uint32_t flags)
{
    return event_make(instance_of(h)->core->pool, body, flags);
}

static int api_publish(odto_host *h, odto_route *r, odto_event *const *events, size_t n, uint32_t flags,
                       odto_publish_done *done, void *arg)
{
    struct instance *in = instance_of(h);
    return route_publish(r, events, n, flags & ODTO_PUBLISH_WAIT, done, arg, (const bool *)&in->stopping);
}

static void api_settle(odto_host *h, const odto_lease *leases, size_t n, odto_verdict v, const char *why)
{
    struct instance *in = instance_of(h);
    atomic_fetch_add_explicit(v == ODTO_ACK ? &in->settled_good : &in->settled_bad, n,
                              memory_order_relaxed); /* statistics */
    route_settle(leases, n, v, why);
}

static void api_prefetch(odto_host *h, odto_route *r, uint32_t n)
{
    instance_prefetch(instance_of(h), route_topic(r), n);
}

/* ---- stores and handlers ---- */

static int api_store(odto_host *h, const char *option, odto_store_ref *out, odto_error *err)
{
    struct instance *in = instance_of(h);
    const char *name = odto_config_str(in->config, option);
    if (!name)
        return odto_fail(err, -ENOENT, "%s: the option %s names no store", in->name, option);
    struct core *core = in->core;
    int r = 0;
    pthread_rwlock_rdlock(&core->lock);
    struct unit *u = core_unit(core, name);
    struct instance *store = u && u->kind == ODTO_KIND_STORE && !u->leaving ? u->current : NULL;
    if (!store)
        r = odto_fail(err, -ENOENT, "%s: the store %s of option %s is not up", in->name, name, option);
    else
        *out = (odto_store_ref){.iface = store->d->store, .self = store->self, .name = u->name};
    pthread_rwlock_unlock(&core->lock);
    if (store)
        instance_uses(in, store);
    return r;
}

/* What others may hold of a handler: its instance, or the seat of one that runs in a worker. */
static bool handler_ref(struct unit *u, odto_handler_ref *out)
{
    struct instance *current = u->current;
    bool seated = u->seat && (!current || current->image->isolated);
    if (u->kind != ODTO_KIND_HANDLER || u->leaving || (!current && !seated))
        return false;
    *out = (odto_handler_ref){.name = u->name,
                              .types = odto_config_get(u->section->host, "types")->list,
                              .iface = seated ? &seat_iface : current->d->handler,
                              .self = seated ? (void *)u->seat : current->self,
                              .concurrency = (uint32_t)unit_int(u, "concurrency"),
                              .max_attempts = (uint32_t)unit_int(u, "max_attempts"),
                              .timeout_ns = unit_int(u, "timeout"),
                              .backoff_ns = unit_int(u, "backoff"),
                              .backoff_max_ns = unit_int(u, "backoff_max"),
                              .priv = seated ? NULL : current};
    return true;
}

static size_t api_handlers(odto_host *h, odto_handler_ref *out, size_t max)
{
    struct instance *in = instance_of(h);
    struct core *core = in->core;
    manifest *held[MAX_UNITS];
    size_t n = 0;
    atomic_store(&in->wants_handlers, true);
    pthread_rwlock_rdlock(&core->lock);
    for (size_t i = 0; i < core->n_units && n < max; i++)
        if (handler_ref(core->units[i], &out[n]))
            held[n++] = manifest_ref(core->units[i]->manifest);
    pthread_rwlock_unlock(&core->lock);
    for (size_t i = 0; i < n; i++) /* a handler may be of another manifest tomorrow, while this goes on */
        instance_holds(in, held[i]);
    for (size_t i = 0; i < n; i++)
        if (out[i].priv)
            instance_uses(in, out[i].priv);
    return n;
}

/* ---- threads, timers, clocks ---- */

static int api_thread_start(odto_host *h, const char *name, void (*fn)(void *arg), void *arg,
                            odto_thread **out)
{
    return instance_thread_start(instance_of(h), name, fn, arg, out);
}

static void api_thread_join(odto_host *h, odto_thread *t)
{
    instance_thread_join(instance_of(h), t);
}

static odto_timer *api_timer_new(odto_host *h, void (*fn)(void *arg), void *arg)
{
    struct instance *in = instance_of(h);
    return timer_create_for(in->core->timers, in, fn, arg);
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

/* ---- descriptor store ---- */

static int api_fd_put(odto_host *h, const char *name, int fd, odto_slice note)
{
    struct instance *in = instance_of(h);
    struct stored_fd *s = calloc(1, sizeof *s);
    if (!s)
        return -ENOMEM;
    snprintf(s->owner, sizeof s->owner, "%s", in->name);
    snprintf(s->name, sizeof s->name, "%s", name);
    s->fd = fd;
    odto_buf_put(&s->note, note.p, note.n);
    pthread_mutex_lock(&in->core->fd_lock);
    s->next = in->core->fds;
    in->core->fds = s;
    pthread_mutex_unlock(&in->core->fd_lock);
    return 0;
}

static int api_fd_take(odto_host *h, const char *name, odto_buf *note)
{
    struct instance *in = instance_of(h);
    int fd = -ENOENT;
    pthread_mutex_lock(&in->core->fd_lock);
    for (struct stored_fd **at = &in->core->fds; *at; at = &(*at)->next) {
        struct stored_fd *s = *at;
        if (strcmp(s->owner, in->name) != 0 || strcmp(s->name, name) != 0)
            continue;
        *at = s->next;
        fd = s->fd;
        if (note)
            odto_buf_put(note, s->note.p, s->note.n);
        odto_buf_free(&s->note);
        free(s);
        break;
    }
    pthread_mutex_unlock(&in->core->fd_lock);
    return fd;
}

static size_t api_fd_names(odto_host *h, char (*names)[64], size_t max)
{
    struct instance *in = instance_of(h);
    size_t n = 0;
    pthread_mutex_lock(&in->core->fd_lock);
    for (struct stored_fd *s = in->core->fds; s && n < max; s = s->next)
        if (strcmp(s->owner, in->name) == 0)
            snprintf(names[n++], 64, "%s", s->name);
    pthread_mutex_unlock(&in->core->fd_lock);
    return n;
}

static bool api_replaced(odto_host *h)
{
    return atomic_load(&instance_of(h)->replaced);
}

http_server *host_http(const odto_host *h)
{
    return ((struct instance *)h->priv)->core->http;
}

const odto_host_api host_api = {
    .size = sizeof host_api,
    .abi_major = ODTO_ABI_MAJOR,
    .abi_minor = ODTO_ABI_MINOR,
    .http = &http_api,
    .log_enabled = api_log_enabled,
    .log = api_log,
    .fail = api_fail,
    .beat = api_beat,
    .stopping = api_stopping,
    .health_changed = api_health_changed,
    .metric = api_metric,
    .metric_fn = api_metric_fn,
    .route = api_route,
    .route_name = api_route_name,
    .event_new = api_event_new,
    .event_ref = event_ref,
    .event_unref = event_unref,
    .publish = api_publish,
    .settle = api_settle,
    .route_stats = route_get_stats,
    .prefetch = api_prefetch,
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
