/* route_consumer.c — attach, take, settle, detach: the life of a lease.
 *
 * A lease is a slot of the route's table. Its fence names slot and generation; together with the sequence it
 * tells a current lease from one that was returned meanwhile, so a late settle finds nothing and is ignored.
 * A return can't fail: before leases are handed out the group's heap has room for all of them. */
#include "route_internal.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CONSUMER_MAGIC 0x6f636f6eu /* "ocon" */
#define OVER_MAX       16u         /* entries over max_attempts handled by one take */

/* ---- heap of returned entries -------------------------------------------------------------- */

bool heap_reserve(struct entry_heap *h, size_t n)
{
    if (n <= h->cap)
        return true;
    size_t cap = h->cap ? h->cap : 64;
    while (cap < n)
        cap *= 2;
    struct entry *at = realloc(h->at, cap * sizeof *at);
    if (!at)
        return false;
    h->at = at;
    h->cap = cap;
    return true;
}

static void heap_swap(struct entry *a, struct entry *b)
{
    struct entry t = *a;
    *a = *b;
    *b = t;
}

static void heap_up(struct entry_heap *h, size_t i)
{
    for (; i && h->at[i].seq < h->at[(i - 1) / 2].seq; i = (i - 1) / 2)
        heap_swap(&h->at[i], &h->at[(i - 1) / 2]);
}

static void heap_down(struct entry_heap *h, size_t i)
{
    for (;;) {
        size_t least = i;
        for (size_t k = 2 * i + 1; k <= 2 * i + 2 && k < h->n; k++)
            if (h->at[k].seq < h->at[least].seq)
                least = k;
        if (least == i)
            return;
        heap_swap(&h->at[i], &h->at[least]);
        i = least;
    }
}

void heap_push(struct entry_heap *h, const struct entry *e)
{
    h->at[h->n] = *e;
    heap_up(h, h->n++);
}

struct entry heap_pop(struct entry_heap *h)
{
    struct entry e = h->at[0];
    h->at[0] = h->at[--h->n];
    heap_down(h, 0);
    return e;
}

void heap_fix(struct entry_heap *h)
{
    for (size_t i = h->n / 2; i-- > 0;)
        heap_down(h, i);
}

/* ---- lease table --------------------------------------------------------------------------- */

/* Room for `more` leases; returns how many there is room for after trying. */
static size_t lease_reserve(odto_route *r, size_t more)
{
    struct lease_table *t = &r->leases;
    uint64_t used = 0; /* leased in all groups: slots released are reused first */
    for (uint32_t i = 0; i < r->n_groups; i++)
        used += r->groups[i]->leased;
    if (used + more > t->cap) {
        uint32_t cap = t->cap ? t->cap : 64;
        while (cap < used + more && cap < ROUTE_LEASES_MAX)
            cap *= 2;
        struct lease_slot *at = cap > t->cap ? realloc(t->at, cap * sizeof *at) : NULL;
        if (at) {
            t->at = at;
            t->cap = cap;
        }
    }
    return t->cap - used < more ? (size_t)(t->cap - used) : more;
}

static uint32_t lease_alloc(odto_route *r)
{
    struct lease_table *t = &r->leases;
    if (t->free == UINT32_MAX) {
        t->at[t->n] = (struct lease_slot){.event = NULL};
        return t->n++;
    }
    uint32_t i = t->free;
    t->free = t->at[i].next_free;
    return i;
}

void lease_release(odto_route *r, struct lease_slot *s)
{
    s->group->leased--;
    if (s->consumer)
        /* atomic only for consumer_leased, which reads it without the lock */
        __atomic_store_n(&s->consumer->leased, s->consumer->leased - 1, __ATOMIC_RELAXED);
    s->event = NULL;
    s->consumer = NULL;
    s->rejecting = false;
    s->gen++;
    s->next_free = r->leases.free;
    r->leases.free = (uint32_t)(s - r->leases.at);
}

struct lease_slot *lease_find(odto_route *r, const odto_lease *l)
{
    uint32_t i = l->fence & ((1u << FENCE_INDEX_BITS) - 1);
    if (i >= r->leases.n)
        return NULL;
    struct lease_slot *s = &r->leases.at[i];
    if (!s->event || s->seq != l->seq || s->rejecting ||
        (s->gen & FENCE_GEN_MASK) != l->fence >> FENCE_INDEX_BITS)
        return NULL;
    return s;
}

/* Lease entry e to c. */
static uint32_t lease_make(route_consumer *c, const struct entry *e)
{
    uint32_t i = lease_alloc(c->route);
    struct lease_slot *s = &c->route->leases.at[i];
    uint16_t gen = s->gen;
    *s = (struct lease_slot){.event = e->event,
                             .seq = e->seq,
                             .group = c->group,
                             .consumer = c,
                             .ms = e->ms,
                             .attempts = e->attempts,
                             .aux = e->aux,
                             .gen = gen};
    c->group->leased++;
    __atomic_store_n(&c->leased, c->leased + 1, __ATOMIC_RELAXED); /* see lease_release */
    return i;
}

/* Give the slot's event back to its group. Lock held; the heap has room. */
void lease_return(odto_route *r, struct lease_slot *s, bool count)
{
    struct entry e = {s->event, s->seq, s->ms, s->attempts, s->aux};
    if (count && e.attempts < UINT16_MAX)
        e.attempts++;
    heap_push(&s->group->returned, &e);
    lease_release(r, s);
    r->stats.returned++;
}

/* ---- attach, detach ------------------------------------------------------------------------ */

route_consumer *route_attach(odto_route *r, const char *instance, uint32_t prefetch,
                             struct route_waiter *waiter)
{
    route_consumer *c = calloc(1, sizeof *c);
    struct route_waiter *own = waiter ? NULL : route_waiter_new();
    if (!c || (!waiter && !own)) {
        free(c);
        route_waiter_free(own);
        errno = ENOMEM;
        return NULL;
    }
    int rc;
    pthread_mutex_lock(&r->lock);
    struct route_group *g = group_open(r, instance, &rc);
    bool first = g && !g->consumers;
    if (g) {
        *c = (route_consumer){.magic = CONSUMER_MAGIC,
                              .route = r,
                              .group = g,
                              .next = g->consumers,
                              .waiter = waiter ? waiter : own,
                              .own_waiter = !waiter,
                              .prefetch = prefetch ? prefetch : r->prefetch};
        g->consumers = c;
    }
    pthread_mutex_unlock(&r->lock);
    if (!g) {
        free(c);
        route_waiter_free(own);
        errno = -rc;
        return NULL;
    }
    if (first && r->ops->attached)
        r->ops->attached(r, g);
    return c;
}

size_t consumer_detach(route_consumer *c, enum route_detach how)
{
    size_t unsettled = 0;
    odto_route *r = c->route;
    struct route_group *g = c->group;
    struct wakes wakes = {.n = 0};
    pthread_mutex_lock(&r->lock);
    consumer_unpark(c);
    for (uint32_t i = 0; c->leased && i < r->leases.n; i++) {
        struct lease_slot *s = &r->leases.at[i];
        if (!s->event || s->consumer != c)
            continue;
        if (s->rejecting) { /* goes on without us */
            s->consumer = NULL;
            c->leased--;
            continue;
        }
        if (how == ROUTE_DETACH_ABANDONED)
            event_ref(s->event);
        lease_return(r, s, how != ROUTE_DETACH_STOPPED);
        unsettled++;
    }
    route_consumer **at = &g->consumers;
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    bool last = !g->consumers;
    group_wake(g, &wakes);
    pthread_mutex_unlock(&r->lock);
    wakes_fire(&wakes);
    if (last && r->ops->detached)
        r->ops->detached(r, g);
    if (c->own_waiter)
        route_waiter_free(c->waiter);
    c->magic = 0;
    free(c);
    return unsettled;
}

uint64_t consumer_leased(const route_consumer *c)
{
    return __atomic_load_n(&c->leased, __ATOMIC_RELAXED); /* a snapshot: pairs with nothing */
}

static void prefetch_set(route_consumer *c, uint32_t n, struct wakes *wakes)
{
    c->prefetch = n;
    group_wake(c->group, wakes);
}

void consumer_prefetch(route_consumer *c, uint32_t n)
{
    struct wakes wakes = {.n = 0};
    pthread_mutex_lock(&c->route->lock);
    prefetch_set(c, n, &wakes);
    pthread_mutex_unlock(&c->route->lock);
    wakes_fire(&wakes);
    if (c->route->ops->prefetched)
        c->route->ops->prefetched(c->route);
}

void route_set_prefetch(odto_route *r, const char *instance, uint32_t n)
{
    struct wakes wakes = {.n = 0};
    pthread_mutex_lock(&r->lock);
    struct route_group *g = group_find(r, instance);
    for (route_consumer *c = g ? g->consumers : NULL; c; c = c->next)
        prefetch_set(c, n, &wakes);
    pthread_mutex_unlock(&r->lock);
    wakes_fire(&wakes);
    if (r->ops->prefetched)
        r->ops->prefetched(r);
}

/* ---- take ---------------------------------------------------------------------------------- */

struct over { /* entries delivered too often, to be rejected after the lock */
    uint32_t slot[OVER_MAX];
    uint32_t n;
};

/* Entries out of the queues of c's group into leases. Lock held; how many is bounded by what was reserved. */
static size_t take_queued(route_consumer *c, odto_lease *out, size_t max, struct over *over)
{
    odto_route *r = c->route;
    struct route_group *g = c->group;
    size_t n = 0;
    while (n + over->n < max && group_queued(g) && over->n < OVER_MAX) {
        struct entry e;
        bool again = g->returned.n > 0;
        if (again) {
            e = heap_pop(&g->returned);
        } else {
            e = *(struct entry *)deque_front(&g->ready);
            deque_pop(&g->ready);
            if (g->mem_bytes) /* a spool counts them; else the event, cold here, is not touched */
                g->mem_bytes -= event_cost(e.event);
        }
        __builtin_prefetch(e.event); /* cold, and its consumer's next step */
        __builtin_prefetch(e.event + 1);
        uint32_t i = lease_make(c, &e);
        if (r->max_attempts && e.attempts >= r->max_attempts) {
            r->leases.at[i].rejecting = true;
            over->slot[over->n++] = i;
            continue;
        }
        r->stats.redelivered += again || e.attempts;
        uint32_t fence = i | (uint32_t)(r->leases.at[i].gen & FENCE_GEN_MASK) << FENCE_INDEX_BITS;
        out[n++] = (odto_lease){e.event, r, e.seq, (uint32_t)e.attempts + 1, fence};
    }
    return n;
}

/* One attempt to take without waiting. park: enter the parked list if there is nothing. */
static size_t try_take(route_consumer *c, odto_lease *out, size_t max, bool park)
{
    odto_route *r = c->route;
    struct route_group *g = c->group;
    struct over over = {.n = 0};
    struct wakes wakes = {.n = 0};
    size_t n = 0;
    pthread_mutex_lock(&r->lock);
    if (!r->paused && c->leased < c->prefetch) {
        if (!group_queued(g) && group_fillable(g))
            r->ops->fill(r, g);
        size_t want = c->prefetch - c->leased;
        want = want < max ? want : max;
        want = want < group_queued(g) ? want : group_queued(g);
        if (want)
            want = lease_reserve(r, want);
        if (want && heap_reserve(&g->returned, g->returned.n + g->leased + want))
            n = take_queued(c, out, want, &over);
    }
    if (n || over.n) {
        consumer_unpark(c);
        group_wake(g, &wakes); /* more for another consumer */
    } else if (park) {
        consumer_park(c);
    }
    pthread_mutex_unlock(&r->lock);
    wakes_fire(&wakes);
    for (uint32_t i = 0; i < over.n; i++)
        reject_start(r, over.slot[i], g->name, NULL);
    if (n && r->ops->leased)
        r->ops->leased(r, g, out, n);
    return n;
}

/* After a wait: leave the parked list; a wake that c got and does not use goes to another. */
static void unpark(route_consumer *c)
{
    struct wakes wakes = {.n = 0};
    pthread_mutex_lock(&c->route->lock);
    if (c->parked)
        consumer_unpark(c);
    else
        group_wake(c->group, &wakes);
    pthread_mutex_unlock(&c->route->lock);
    wakes_fire(&wakes);
}

static inline void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Spin until one of the groups has something or the waiter is woken. */
static bool spin(route_consumer *const *cs, size_t n, struct route_waiter *w, uint32_t seen)
{
    for (uint32_t i = 0; i < w->spin; i++) {
        for (size_t k = 0; k < n; k++)
            if (__atomic_load_n(&cs[k]->group->avail, __ATOMIC_RELAXED)) /* a hint, taken under the lock */
                return true;
        if (__atomic_load_n(&w->word, __ATOMIC_RELAXED) != seen) /* a hint */
            return true;
        cpu_relax();
    }
    return false;
}

/* When the first of these routes wants something that failed tried again. */
static int64_t retry_next(route_consumer *const *cs, size_t n)
{
    int64_t next = INT64_MAX;
    for (size_t k = 0; k < n; k++) {
        int64_t at =
            __atomic_load_n(&cs[k]->route->retry_at, __ATOMIC_RELAXED); /* checked again under the lock */
        next = at < next ? at : next;
    }
    return next;
}

static void retry_due(route_consumer *const *cs, size_t n)
{
    if (retry_next(cs, n) == INT64_MAX)
        return;
    int64_t now = odto_now_ns();
    for (size_t k = 0; k < n; k++)
        if (__atomic_load_n(&cs[k]->route->retry_at, __ATOMIC_RELAXED) <=
            now) /* checked again under the lock */
            route_retry(cs[k]->route);
}

static bool waiter_stopped(struct route_waiter *w)
{
    /* Acquire pairs with route_waiter_wake: what was written before the wake is seen after the take. */
    return __atomic_load_n(&w->stop, __ATOMIC_RELAXED) && __atomic_exchange_n(&w->stop, 0, __ATOMIC_ACQUIRE);
}

size_t consumers_take(route_consumer *const *cs, size_t n, size_t *which, odto_lease *out, size_t max,
                      int64_t deadline_ns)
{
    struct route_waiter *w = cs[0]->waiter;
    size_t got = 0;
    bool parked = false;
    for (bool spun = false;;) {
        /* Acquire pairs with the release in group_wake: a word seen changed means its events are seen too. */
        uint32_t seen = __atomic_load_n(&w->word, __ATOMIC_ACQUIRE);
        if (waiter_stopped(w))
            break;
        retry_due(cs, n);
        bool park = deadline_ns != 0 && (spun || !w->spin);
        for (size_t k = 0; k < n && !got; k++) {
            size_t i = (*which + 1 + k) % n;
            got = try_take(cs[i], out, max, park);
            if (got)
                *which = i;
        }
        parked = parked || park;
        if (got || !deadline_ns || odto_now_ns() >= deadline_ns)
            break;
        if (!park) {
            spin(cs, n, w, seen);
            spun = true;
            continue;
        }
        int64_t retry = retry_next(cs, n);
        waiter_park(w, seen, retry < deadline_ns ? retry : deadline_ns);
    }
    for (size_t k = 0; parked && k < n; k++)
        if (!got || k != *which) /* that one left the list when it took */
            unpark(cs[k]);
    return got;
}

size_t consumer_take(route_consumer *c, odto_lease *out, size_t max, int64_t deadline_ns)
{
    if (c->magic != CONSUMER_MAGIC)
        abort();
    size_t which = 0;
    return consumers_take(&c, 1, &which, out, max, deadline_ns);
}

/* ---- settle -------------------------------------------------------------------------------- */

void route_settled(odto_route *r, const struct settled *s, size_t n)
{
    if (n && r->ops->acked)
        r->ops->acked(r, s, n);
    for (size_t i = 0; i < n; i++)
        event_unref(s[i].event);
}

struct settling {
    struct settled acked[SETTLE_BATCH];
    uint32_t reject[SETTLE_BATCH];
    struct route_group *reject_group[SETTLE_BATCH];
    size_t n_acked, n_reject;
    struct wakes wakes;
};

/* One lease, lock held. */
static void settle_one(odto_route *r, const odto_lease *l, odto_verdict v, struct settling *out)
{
    struct lease_slot *s = lease_find(r, l);
    if (!s)
        return;
    struct route_group *g = s->group;
    if (v == ODTO_ACK) {
        out->acked[out->n_acked++] = (struct settled){s->event, g, s->seq, s->aux};
        lease_release(r, s);
        g->depth--;
        r->stats.acked++;
    } else if (v == ODTO_RETURN && (!r->max_attempts || s->attempts + 1u < r->max_attempts)) {
        lease_return(r, s, true);
    } else {
        if (v == ODTO_RETURN)
            s->attempts++;
        s->rejecting = true;
        out->reject_group[out->n_reject] = g;
        out->reject[out->n_reject++] = (uint32_t)(s - r->leases.at);
    }
    if (g->parked || v == ODTO_RETURN)
        group_wake(g, &out->wakes);
}

/* At most SETTLE_BATCH leases of one route. */
static void settle_batch(odto_route *r, const odto_lease *leases, size_t n, odto_verdict v, const char *why)
{
    struct settling s;
    s.n_acked = s.n_reject = 0;
    s.wakes.n = 0;
    pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < n; i++)
        settle_one(r, &leases[i], v, &s);
    if (s.n_acked)
        route_made_room(r);
    pthread_mutex_unlock(&r->lock);
    wakes_fire(&s.wakes);
    route_settled(r, s.acked, s.n_acked);
    for (size_t i = 0; i < s.n_reject; i++)
        reject_start(r, s.reject[i], s.reject_group[i]->name, why ? why : "rejected without a reason");
}

void route_settle(const odto_lease *leases, size_t n, odto_verdict v, const char *why)
{
    for (size_t i = 0, k; i < n; i += k) {
        odto_route *r = leases[i].route;
        for (k = 1; i + k < n && k < SETTLE_BATCH && leases[i + k].route == r; k++)
            ;
        if (r->magic != ROUTE_MAGIC)
            abort();
        settle_batch(r, leases + i, k, v, why);
    }
}
