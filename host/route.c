/* route.c — routes: opening, groups, bounds, publishing to memory, statistics. See route.h, route_internal.h.
 */
#include "route_internal.h"
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROOM_POLL_NS (10 * ODTO_MS)

uint32_t route_now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return (uint32_t)((uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000);
}

void route_say(const odto_route *r, odto_level level, const char *fmt, ...)
{
    if (!r->report)
        return;
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    r->report(r->report_arg, level, r->topic, text);
}

const char *route_topic(const odto_route *r)
{
    return r->topic;
}

enum route_transport route_transport_of(const odto_route *r)
{
    return r->transport;
}

/* ---- bounds -------------------------------------------------------------------------------- */

void route_wait_changed(odto_route *r, int64_t ns)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    int64_t at = (int64_t)t.tv_sec * ODTO_SEC + t.tv_nsec + ns;
    t = (struct timespec){.tv_sec = (time_t)(at / ODTO_SEC), .tv_nsec = (long)(at % ODTO_SEC)};
    r->waiters++;
    pthread_cond_timedwait(&r->changed, &r->lock, &t);
    r->waiters--;
}

struct route_group *route_deepest(const odto_route *r)
{
    struct route_group *g = r->groups[0];
    for (uint32_t i = 1; i < r->n_groups; i++)
        if (r->groups[i]->depth > g->depth)
            g = r->groups[i];
    return g;
}

uint64_t route_depth(const odto_route *r)
{
    return route_deepest(r)->depth;
}

/* Publishers are woken when an eighth is free, not for each event that leaves: a wake per event would cost
 * more than the event. In between they look every ROOM_POLL_NS. */
void route_made_room(odto_route *r)
{
    if (!r->waiters)
        return;
    uint64_t depth = route_depth(r) + r->pending;
    if (depth <= r->capacity - r->capacity / 8 - (r->capacity < 8))
        pthread_cond_broadcast(&r->changed);
}

uint64_t group_drop_oldest(struct route_group *g)
{
    struct entry e;
    if (g->returned.n) {
        e = heap_pop(&g->returned);
    } else if (g->ready.n) {
        e = *(struct entry *)deque_front(&g->ready);
        deque_pop(&g->ready);
        if (g->mem_bytes)
            g->mem_bytes -= event_cost(e.event);
    } else {
        return 0;
    }
    g->depth--;
    g->route->stats.dropped++;
    event_unref(e.event);
    return e.seq;
}

/* Drop what is over in each group so that n more fit. */
static bool room_by_dropping(odto_route *r, size_t n)
{
    for (uint32_t i = 0; i < r->n_groups; i++)
        while (r->groups[i]->depth + r->pending + n > r->capacity)
            if (!group_drop_oldest(r->groups[i]))
                return false;
    return true;
}

static bool room_now(odto_route *r, size_t n, uint64_t bytes)
{
    bool drop = r->overflow == ROUTE_DROP_OLDEST;
    if (r->ops->fits)
        return r->ops->fits(r, n, bytes, drop);
    return route_depth(r) + r->pending + n <= r->capacity || (drop && room_by_dropping(r, n));
}

int route_room(odto_route *r, size_t n, uint64_t bytes, uint32_t flags, const bool *cancel)
{
    for (;;) {
        if (r->closing || (cancel && __atomic_load_n(cancel, __ATOMIC_ACQUIRE))) /* pairs with who stops us */
            return -ECANCELED;
        if (n > r->capacity)
            return -EMSGSIZE;
        if (room_now(r, n, bytes))
            return 0;
        /* drop-oldest waits too: what is leased or on its way to the disk can't be dropped */
        if (!(flags & ODTO_PUBLISH_WAIT) || r->overflow == ROUTE_REJECT)
            return -EAGAIN;
        route_wait_changed(r, ROOM_POLL_NS);
    }
}

void route_kick(odto_route *r)
{
    pthread_mutex_lock(&r->lock);
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

/* ---- groups -------------------------------------------------------------------------------- */

struct route_group *group_find(const odto_route *r, const char *name)
{
    for (uint32_t i = 0; i < r->n_groups; i++)
        if (!strcmp(r->groups[i]->name, name))
            return r->groups[i];
    return NULL;
}

static int by_seq(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    return x->seq < y->seq ? -1 : x->seq > y->seq;
}

/* A new group of a memory route gets what the group with most still keeps. */
static int memory_group_added(odto_route *r, struct route_group *g)
{
    const struct route_group *from = route_deepest(r);
    if (!from->depth)
        return 0;
    struct entry *all = calloc(from->depth, sizeof *all);
    if (!all || !deque_reserve(&g->ready, from->depth)) {
        free(all);
        return -ENOMEM;
    }
    size_t n = 0;
    for (size_t i = 0; i < from->returned.n; i++)
        all[n++] = from->returned.at[i];
    struct deque_iter it = {0};
    for (const struct entry *e; (e = deque_next(&from->ready, &it));)
        all[n++] = *e;
    for (uint32_t i = 0; i < r->leases.n; i++) {
        const struct lease_slot *s = &r->leases.at[i];
        if (s->event && s->group == from)
            all[n++] = (struct entry){s->event, s->seq, s->ms, 0, 0};
    }
    qsort(all, n, sizeof *all, by_seq);
    for (size_t i = 0; i < n; i++) {
        event_ref(all[i].event);
        group_push(g, all[i].event, all[i].seq, all[i].ms, 0, 0);
    }
    g->depth = n;
    free(all);
    return 0;
}

struct route_group *group_new(odto_route *r, const char *name)
{
    struct route_group *g = calloc(1, sizeof *g);
    if (!g)
        return NULL;
    g->route = r;
    snprintf(g->name, sizeof g->name, "%s", name);
    deque_init(&g->ready, sizeof(struct entry));
    return g;
}

static void group_free(struct route_group *g)
{
    struct deque_iter it = {0};
    for (struct entry *e; (e = deque_next(&g->ready, &it));)
        event_unref(e->event);
    for (size_t i = 0; i < g->returned.n; i++)
        event_unref(g->returned.at[i].event);
    deque_free(&g->ready);
    free(g->returned.at);
    free(g);
}

struct route_group *group_open(odto_route *r, const char *name, int *rc)
{
    *rc = 0;
    if (!*name || strlen(name) >= ROUTE_NAME_MAX) {
        *rc = -EINVAL;
        return NULL;
    }
    struct route_group *g = group_find(r, name);
    if (g)
        return g;
    g = group_find(r, "");
    if (g) { /* what was kept for the first to come */
        snprintf(g->name, sizeof g->name, "%s", name);
        if (r->ops->group_renamed)
            r->ops->group_renamed(r, g);
        return g;
    }
    if (r->n_groups == ROUTE_GROUPS_MAX) {
        *rc = -E2BIG;
        return NULL;
    }
    g = group_new(r, name);
    *rc = !g ? -ENOMEM : r->ops->group_added ? r->ops->group_added(r, g) : 0;
    if (*rc) {
        if (g)
            group_free(g);
        return NULL;
    }
    r->groups[r->n_groups++] = g;
    group_hint(g);
    return g;
}

/* Forget a group that nobody uses; the last one is kept, nameless, with what it has. */
static void group_forget(odto_route *r, uint32_t i)
{
    struct route_group *g = r->groups[i];
    if (r->n_groups == 1) {
        g->name[0] = 0;
        if (r->ops->group_renamed)
            r->ops->group_renamed(r, g);
        return;
    }
    if (r->ops->group_dropped)
        r->ops->group_dropped(r, g);
    r->groups[i] = r->groups[--r->n_groups];
    group_free(g);
    route_made_room(r);
}

static bool name_in(const char *name, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(name, names[i]))
            return true;
    return false;
}

int route_groups(odto_route *r, const char *const *names, size_t n)
{
    int rc = 0;
    pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < n && !rc; i++)
        group_open(r, names[i], &rc);
    for (uint32_t i = r->n_groups; !rc && i-- > 0;) {
        struct route_group *g = r->groups[i];
        if (*g->name && !g->consumers && !g->leased && !g->filling && !name_in(g->name, names, n))
            group_forget(r, i);
    }
    pthread_mutex_unlock(&r->lock);
    return rc;
}

/* ---- memory -------------------------------------------------------------------------------- */

static int memory_publish(odto_route *r, odto_event *const *events, size_t n, uint32_t flags,
                          odto_publish_done *done, void *arg, const bool *cancel)
{
    struct wakes wakes = {.n = 0};
    pthread_mutex_lock(&r->lock);
    int rc = route_room(r, n, 0, flags, cancel);
    for (uint32_t i = 0; !rc && i < r->n_groups; i++)
        if (!deque_reserve(&r->groups[i]->ready, n))
            rc = -ENOMEM;
    if (rc) {
        pthread_mutex_unlock(&r->lock);
        return rc;
    }
    uint32_t ms = route_now_ms();
    uint32_t refs = r->n_groups - !!(flags & ROUTE_PUBLISH_MOVE);
    for (size_t i = 0; refs && i < n; i++)
        event_ref_n(events[i], refs);
    for (uint32_t k = 0; k < r->n_groups; k++) {
        struct route_group *g = r->groups[k];
        for (size_t i = 0; i < n; i++)
            group_push(g, events[i], r->next_seq + i, ms, 0, 0);
        g->depth += n;
        group_wake(g, &wakes);
    }
    r->next_seq += n;
    r->stats.published += n;
    pthread_mutex_unlock(&r->lock);
    wakes_fire(&wakes);
    if (done)
        done(arg, 0);
    return 0;
}

static void memory_close(odto_route *r)
{
    uint64_t depth = route_depth(r);
    if (depth)
        route_say(r, ODTO_WARN, "closed with %llu events in memory: they are gone",
                  (unsigned long long)depth);
}

const struct route_ops *route_memory_ops(void)
{
    static const struct route_ops ops = {
        .publish = memory_publish,
        .group_added = memory_group_added,
        .peek = route_admin_peek,
        .remove = route_admin_remove,
        .close = memory_close,
    };
    return &ops;
}

/* ---- open, close --------------------------------------------------------------------------- */

static void configure(odto_route *r, const struct route_config *c)
{
    r->overflow = c->overflow;
    r->capacity = c->capacity                   ? c->capacity
                  : c->transport == ROUTE_SPOOL ? ROUTE_SPOOL_CAPACITY
                                                : ROUTE_CAPACITY;
    r->max_bytes = c->max_bytes ? c->max_bytes : ROUTE_MAX_BYTES;
    r->prefetch = c->prefetch ? c->prefetch : ROUTE_PREFETCH;
    r->max_attempts = c->max_attempts < UINT16_MAX ? c->max_attempts : UINT16_MAX - 1;
    r->dead_letter = c->dead_letter != r ? c->dead_letter : NULL;
    if (r->ops && r->ops->configured)
        r->ops->configured(r, c);
}

void route_configure(odto_route *r, const struct route_config *config)
{
    pthread_mutex_lock(&r->lock);
    configure(r, config);
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

static void route_init_locks(odto_route *r)
{
    pthread_mutexattr_t ma;
    pthread_mutexattr_init(&ma);
    pthread_mutexattr_settype(&ma, PTHREAD_MUTEX_ADAPTIVE_NP); /* held for less than a wake-up costs */
    pthread_mutex_init(&r->lock, &ma);
    pthread_mutexattr_destroy(&ma);
    pthread_condattr_t ca;
    pthread_condattr_init(&ca);
    pthread_condattr_setclock(&ca, CLOCK_MONOTONIC);
    pthread_cond_init(&r->changed, &ca);
    pthread_condattr_destroy(&ca);
}

static void route_destroy(odto_route *r)
{
    while (r->n_groups)
        group_free(r->groups[--r->n_groups]);
    for (uint32_t i = 0; i < r->leases.n; i++)
        event_unref(r->leases.at[i].event);
    free(r->leases.at);
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->lock);
    r->magic = 0;
    free(r);
}

static int transport_open(odto_route *r, const struct route_config *c, odto_error *err)
{
    switch (c->transport) {
    case ROUTE_MEMORY:
        r->ops = route_memory_ops();
        r->groups[0] = group_new(r, "");
        r->n_groups = r->groups[0] != NULL;
        return r->n_groups ? 0 : odto_fail(err, -ENOMEM, "route %s: no memory", r->topic);
    case ROUTE_SPOOL:
        return route_spool_open(r, c, err);
    case ROUTE_BRIDGE:
        return route_bridge_open(r, c, err);
    }
    return odto_fail(err, -EINVAL, "route %s: unknown transport %d", c->topic, (int)c->transport);
}

int route_open(const struct route_config *config, odto_route **out, odto_error *err)
{
    if (!config->topic || !*config->topic || strlen(config->topic) >= sizeof((odto_route *)0)->topic)
        return odto_fail(err, -EINVAL, "a route needs a topic of 1 to %zu characters",
                         sizeof((odto_route *)0)->topic - 1);
    odto_route *r = calloc(1, sizeof *r);
    if (!r)
        return odto_fail(err, -ENOMEM, "route %s: no memory", config->topic);
    r->magic = ROUTE_MAGIC;
    r->transport = config->transport;
    snprintf(r->topic, sizeof r->topic, "%s", config->topic);
    snprintf(r->version, sizeof r->version, "%s", config->version ? config->version : "");
    r->pool = config->pool;
    r->report = config->report;
    r->report_arg = config->report_arg;
    r->next_seq = 1;
    r->retry_at = INT64_MAX;
    r->leases.free = UINT32_MAX;
    route_init_locks(r);
    configure(r, config);
    int rc = transport_open(r, config, err);
    if (rc) {
        route_destroy(r);
        return rc;
    }
    *out = r;
    return 0;
}

void route_close(odto_route *r)
{
    if (!r)
        return;
    pthread_mutex_lock(&r->lock);
    r->closing = true;
    pthread_cond_broadcast(&r->changed);
    while (r->waiters) { /* publishers that wait for room leave */
        pthread_mutex_unlock(&r->lock);
        sched_yield();
        pthread_mutex_lock(&r->lock);
    }
    pthread_mutex_unlock(&r->lock);
    reject_close(r);
    r->ops->close(r);
    route_destroy(r);
}

/* ---- operating ----------------------------------------------------------------------------- */

int route_publish(odto_route *r, odto_event *const *events, size_t n, uint32_t flags, odto_publish_done *done,
                  void *arg, const bool *cancel)
{
    if (r->magic != ROUTE_MAGIC)
        abort();
    if (n)
        return r->ops->publish(r, events, n, flags, done, arg, cancel);
    int rc = r->ops->refuses ? r->ops->refuses(r) : 0;
    if (!rc && done)
        done(arg, 0);
    return rc;
}

void route_pause(odto_route *r, bool paused)
{
    struct wakes wakes = {.n = 0};
    pthread_mutex_lock(&r->lock);
    r->paused = paused;
    for (uint32_t i = 0; i < r->n_groups; i++)
        group_wake(r->groups[i], &wakes);
    pthread_mutex_unlock(&r->lock);
    wakes_fire(&wakes);
}

static int64_t oldest_age(const odto_route *r)
{
    uint32_t now = route_now_ms(), age = 0;
    for (uint32_t i = 0; i < r->n_groups; i++) {
        const struct route_group *g = r->groups[i];
        const struct entry *e = g->returned.n ? &g->returned.at[0] : deque_front(&g->ready);
        if (e && now - e->ms > age && now - e->ms < UINT32_MAX / 2)
            age = now - e->ms;
    }
    return (int64_t)age * ODTO_MS;
}

void route_get_stats(const odto_route *r, odto_route_stats *out)
{
    odto_route *w = (odto_route *)r; /* its lock is all that changes */
    pthread_mutex_lock(&w->lock);
    *out = r->stats;
    out->depth = route_depth(r) + r->pending;
    out->capacity = r->capacity;
    for (uint32_t i = 0; i < r->n_groups; i++)
        out->leased += r->groups[i]->leased;
    out->oldest_age_ns = oldest_age(r);
    if (r->ops->stats)
        r->ops->stats(r, out);
    pthread_mutex_unlock(&w->lock);
}

int route_wait_idle(odto_route *r, int64_t deadline_ns)
{
    pthread_mutex_lock(&r->lock);
    int rc = 0;
    while (!rc && route_depth(r) + r->pending) {
        int64_t left = deadline_ns - odto_now_ns();
        rc = r->closing ? -ECANCELED : left <= 0 ? -ETIMEDOUT : 0;
        if (!rc)
            route_wait_changed(r, left < ROOM_POLL_NS ? left : ROOM_POLL_NS);
    }
    pthread_mutex_unlock(&r->lock);
    return rc;
}
