/* isolate_serve.c — what a worker says and asks. On its link thread, which never blocks: each frame becomes a
 * call of the host table on behalf of the instance, after its numbers were checked. */
#include "host/isolate_priv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FD_NAMES 256
#define FDS_PUT  256 /* descriptors one worker may hand over */

odto_buf *proxy_reply_begin(struct proxy *p, uint64_t id, int r, const odto_error *err)
{
    odto_buf *b = wire_begin(&p->link, WIRE_REPLY, id);
    wire_i64(b, r);
    wire_error(b, err ? err : &(odto_error){0});
    return b;
}

/* ---- log, failures, health ---- */

static void take_log(struct proxy *p, struct wire_in *in)
{
    uint32_t level = wire_get_u32(in);
    odto_slice id = wire_get_bytes(in);
    const char *text = wire_get_str(in);
    odto_uuid correlation;
    if (in->bad || !text || level > ODTO_ERROR)
        return;
    if (id.n == sizeof correlation)
        memcpy(&correlation, id.p, sizeof correlation);
    log_write(p->in->log, (odto_level)level, id.n == sizeof correlation ? &correlation : NULL, "%s", text);
}

static void take_fail(struct proxy *p, struct wire_in *in)
{
    odto_error err;
    bool permanent = wire_get_u32(in);
    wire_get_error(in, &err);
    if (!in->bad)
        p->in->handle.api->fail(&p->in->handle, permanent, &err);
}

static void take_health(struct proxy *p, struct wire_in *in)
{
    odto_health h = {.ready = wire_get_u32(in)};
    const char *reason = wire_get_str(in);
    if (in->bad || !reason)
        return;
    snprintf(h.reason, sizeof h.reason, "%s", reason);
    pthread_mutex_lock(&p->lock);
    p->health = h;
    pthread_mutex_unlock(&p->lock);
}

/* ---- metrics ---- */

static double read_cell(void *arg)
{
    const struct shared_cell *c = arg;
    return c->reading;
}

/* Label values as many as labels has names. */
static bool get_values(struct wire_in *in, const char *labels, const char **values)
{
    size_t n = 0;
    for (const char *l = labels; l; l = strchr(l, ',') ? strchr(l, ',') + 1 : NULL) {
        if (n == METRICS_LABELS)
            return false;
        values[n] = wire_get_str(in);
        if (!values[n++])
            return false;
    }
    return true;
}

static bool take_metric(struct proxy *p, uint64_t at, struct wire_in *in)
{
    const char *values[METRICS_LABELS];
    double bounds[SHARED_BUCKETS];
    bool fn = wire_get_u32(in);
    uint32_t type = wire_get_u32(in);
    const char *name = wire_get_str(in), *help = wire_get_str(in), *labels = wire_get_str(in);
    if (in->bad || at >= SHARED_CELLS || type > ODTO_HISTOGRAM || !name || !help ||
        !get_values(in, labels, values))
        return false;
    uint32_t n = wire_get_u32(in);
    if (n >= SHARED_BUCKETS)
        return false;
    wire_get(in, bounds, n * sizeof bounds[0]);
    const odto_host_api *api = p->in->handle.api;
    struct mirror *m = &p->mirrors[at];
    if (fn)
        return api->metric_fn(&p->in->handle, (odto_metric_type)type, name, help, labels, values, read_cell,
                              &p->shared->cells[at]) != -EINVAL;
    if (m->cell)
        return false;
    m->type = (odto_metric_type)type;
    m->n_buckets = n + 1;
    m->cell = api->metric(&p->in->handle, m->type, name, help, labels, values, bounds, n);
    if (m->type == ODTO_HISTOGRAM && m->cell->n_bounds != n)
        m->n_buckets = 0; /* refused: a cell that swallows */
    return true;
}

static void collect_histogram(struct mirror *m, const struct shared_cell *c)
{
    for (size_t k = 0; k < m->n_buckets; k++) {
        uint64_t now = __atomic_load_n(&c->buckets[k], __ATOMIC_RELAXED); /* statistics: pair with nothing */
        __atomic_fetch_add(&m->cell->buckets[k], now - m->buckets[k], __ATOMIC_RELAXED);
        m->buckets[k] = now;
    }
    uint64_t sum = __atomic_load_n(&c->metric.sum_nano, __ATOMIC_RELAXED);
    __atomic_fetch_add(&m->cell->sum_nano, sum - m->sum, __ATOMIC_RELAXED);
    m->sum = sum;
}

/* A counter goes on over workers: what was added is added, never the value taken over. */
void proxy_collect(struct proxy *p)
{
    for (size_t i = 0; i < SHARED_CELLS; i++) {
        struct mirror *m = &p->mirrors[i];
        const struct shared_cell *c = &p->shared->cells[i];
        if (!m->cell)
            continue;
        int64_t now = __atomic_load_n(&c->metric.value, __ATOMIC_RELAXED);
        if (m->type == ODTO_HISTOGRAM)
            collect_histogram(m, c);
        else if (m->type == ODTO_GAUGE && now != m->value)
            odto_metric_set(m->cell, now);
        else if (m->type == ODTO_COUNTER && now > m->value)
            odto_metric_add(m->cell, now - m->value);
        m->value = now;
    }
}

/* ---- routes ---- */

static void answer_route(struct proxy *p, uint64_t id, const char *topic)
{
    int at = -ENOENT;
    for (size_t i = 0; topic && i < p->core->n_routes; i++)
        if (strcmp(route_topic(p->core->routes[i]), topic) == 0)
            at = (int)i;
    proxy_reply_begin(p, id, at, NULL);
    wire_end(&p->link, -1);
}

static bool answer_stats(struct proxy *p, uint64_t id, uint32_t route)
{
    odto_route_stats s;
    if (route >= p->core->n_routes)
        return false;
    route_get_stats(p->core->routes[route], &s);
    odto_buf_put(proxy_reply_begin(p, id, 0, NULL), &s, sizeof s);
    wire_end(&p->link, -1);
    return true;
}

static bool take_prefetch(struct proxy *p, struct wire_in *in)
{
    uint32_t route = wire_get_u32(in), n = wire_get_u32(in);
    if (route >= p->core->n_routes)
        return false;
    p->in->handle.api->prefetch(&p->in->handle, p->core->routes[route], n);
    return true;
}

/* ---- descriptors ---- */

static bool take_fd(struct proxy *p, struct wire_in *in)
{
    int fd = wire_take_fd(&p->link);
    const char *name = wire_get_str(in);
    odto_slice note = wire_get_bytes(in);
    if (fd < 0)
        return false;
    if (!in->bad && name && p->fds_put++ < FDS_PUT &&
        p->in->handle.api->fd_put(&p->in->handle, name, fd, note) == 0)
        return true;
    close(fd);
    return false;
}

static void give_fd(struct proxy *p, uint64_t id, const char *name)
{
    odto_buf note = {0};
    int fd = name ? p->in->handle.api->fd_take(&p->in->handle, name, &note) : -EINVAL;
    p->fds_put -= fd >= 0 && p->fds_put > 0;
    odto_buf *b = proxy_reply_begin(p, id, fd < 0 ? fd : 0, NULL);
    wire_bytes(b, odto_slice_of(note.p, note.n));
    wire_end(&p->link, fd < 0 ? -1 : fd);
    odto_buf_free(&note);
}

static void give_fd_names(struct proxy *p, uint64_t id)
{
    char(*names)[64] = malloc(FD_NAMES * sizeof *names);
    size_t n = names ? p->in->handle.api->fd_names(&p->in->handle, names, FD_NAMES) : 0;
    odto_buf *b = proxy_reply_begin(p, id, names ? 0 : -ENOMEM, NULL);
    wire_u32(b, (uint32_t)n);
    for (size_t i = 0; i < n; i++)
        wire_str(b, names[i]);
    wire_end(&p->link, -1);
    free(names);
}

/* ---- all ---- */

static bool answer_serve(struct proxy *p, uint64_t id, struct wire_in *in)
{
    odto_error err = {0};
    int r = proxy_serve(p, in, &err);
    proxy_reply_begin(p, id, r, &err);
    wire_end(&p->link, -1);
    return !in->bad;
}

/* Only what may come from a handler's worker, and is of no use from another. */
static bool take_run(struct proxy *p, const struct wire_head *h, struct wire_in *in)
{
    struct seat *seat = p->in->unit->seat;
    if (!seat)
        return false;
    if (h->type == WIRE_FINISH)
        seat_finish(seat, p, h->id, in);
    else
        seat_progress(seat, p, h->id, in);
    return true;
}

static bool take_call(struct proxy *p, const struct wire_head *h, struct wire_in *in)
{
    switch (h->type) {
    case WIRE_ROUTE:
        answer_route(p, h->id, wire_get_str(in));
        return true;
    case WIRE_ROUTE_STATS:
        return answer_stats(p, h->id, wire_get_u32(in));
    case WIRE_SERVE:
        return answer_serve(p, h->id, in);
    case WIRE_FD_TAKE:
        give_fd(p, h->id, wire_get_str(in));
        return true;
    case WIRE_FD_NAMES:
        give_fd_names(p, h->id);
        return true;
    default:
        return false;
    }
}

bool proxy_take(struct proxy *p, const struct wire_head *h, struct wire_in *in)
{
    if (!wire_room(&p->link, false) && h->type >= WIRE_ROUTE)
        return false; /* it asks and does not read the answers */
    switch (h->type) {
    case WIRE_LOG:
        take_log(p, in);
        return true;
    case WIRE_FAIL:
        take_fail(p, in);
        return true;
    case WIRE_HEALTH:
        take_health(p, in);
        return true;
    case WIRE_METRIC:
        return take_metric(p, h->id, in);
    case WIRE_FINISH:
    case WIRE_PROGRESS:
        return take_run(p, h, in);
    case WIRE_PUBLISH:
        return proxy_publish(p, h->id, in);
    case WIRE_SETTLE:
        return proxy_settle(p, in);
    case WIRE_PREFETCH:
        return take_prefetch(p, in);
    case WIRE_RESPONSE:
        return proxy_response(p, h->id, in);
    case WIRE_FD_PUT:
        return take_fd(p, in);
    default:
        return take_call(p, h, in);
    }
}
