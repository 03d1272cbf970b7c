/* route_bridge.c — routes that a bridge plugin carries to and from other hosts.
 *
 * In: what the bridge delivers goes into the groups' queues like events of a memory route; a delivery is a
 * slot (its tag, and how many groups still have it), settled with the bridge when the last group is through.
 * Returned events stay here and come again from here, so that their attempts are counted. The bridge is
 * subscribed while consumers want events: 5 s after the last one left or paused, all that is not leased goes
 * back for other hosts.
 *
 * Out: straight to the bridge, or, with `spool = yes`, into a route of transport spool whose one consumer is
 * the forwarder here: an event is acknowledged in the spool when the bridge confirmed it.
 *
 * Threads: "bridge/TOPIC" forwards, subscribes and unsubscribes. The sink and done come on the bridge's
 * threads. Lock order: a bridge route's lock, then its spool's; no lock is held while the bridge is called.
 */
#include "route_internal.h"
#include <errno.h>
#include <odto/plugin.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FORWARD_EVENTS 64u
#define FORWARD_LEASES 1024u          /* sent and not confirmed at once */
#define FORWARD_RETRY  (50 * ODTO_MS) /* after a refusal */
#define IDLE_NS        (5 * ODTO_SEC) /* no consumer wants anything: unsubscribe */
#define LOOK_NS        (1 * ODTO_SEC) /* the thread looks around at least so often */
#define SLOTS_MAX      60000u         /* entry.aux is 16 bits */
#define CLOSE_NS       ODTO_MS        /* between looks while closing */

struct delivery {
    uint64_t tag;
    uint32_t left; /* groups that still have it; 0: free */
    uint32_t next_free;
};

struct route_bridge {
    const odto_bridge_iface *iface; /* [const] */
    void *self;                     /* [const] */
    odto_route *spool;              /* [const] NULL: none */
    route_consumer *from;           /* [const] the forwarder in the spool */
    struct route_waiter *waiter;    /* [const] the thread waits here */
    pthread_t thread;               /* [const] */
    bool stop;                      /* [atomic] */
    bool refused;                   /* [atomic] a forwarded batch came back: pause before the next */
    /* under the route's lock */
    struct delivery *slots;
    uint32_t n_slots, cap, free;
    uint32_t calls; /* publishes whose done has not returned yet */
    /* the thread's */
    bool subscribed;
    uint32_t credit;
    int64_t idle_since; /* 0: somebody wants events */
    bool complained;
};

/* A publish or a forwarded batch that is under way. */
struct sending {
    odto_route *route;
    odto_publish_done *done;
    void *arg;
    size_t n;
    odto_lease leases[]; /* forwarded */
};

/* ---- in ------------------------------------------------------------------------------------ */

static uint32_t slot_new(struct route_bridge *b, uint64_t tag, uint32_t groups)
{
    uint32_t i = b->free;
    if (i != UINT32_MAX) {
        b->free = b->slots[i].next_free;
    } else {
        if (b->n_slots == b->cap) {
            uint32_t cap = b->cap ? b->cap * 2 : 256;
            struct delivery *at = cap <= SLOTS_MAX * 2 ? realloc(b->slots, cap * sizeof *at) : NULL;
            if (!at)
                return UINT32_MAX;
            b->slots = at;
            b->cap = cap;
        }
        if (b->n_slots == SLOTS_MAX)
            return UINT32_MAX;
        i = b->n_slots++;
    }
    b->slots[i] = (struct delivery){.tag = tag, .left = groups};
    return i;
}

/* One group is through with it; true: the last one. Lock held. */
static bool slot_done(struct route_bridge *b, uint32_t i, uint64_t *tag)
{
    struct delivery *d = &b->slots[i];
    if (!d->left || --d->left)
        return false;
    *tag = d->tag;
    d->next_free = b->free;
    b->free = i;
    return true;
}

/* One event to every group; false: no memory. Lock held. */
static bool give(odto_route *r, odto_event *e, uint64_t tag, bool redelivered, uint32_t ms)
{
    struct route_bridge *b = r->bridge;
    for (uint32_t k = 0; k < r->n_groups; k++)
        if (!deque_reserve(&r->groups[k]->ready, 1))
            return false;
    uint32_t slot = slot_new(b, tag, r->n_groups);
    if (slot == UINT32_MAX)
        return false;
    /* "delivered before" is one attempt, but never the last: the broker says so after any lost connection */
    uint16_t attempts = redelivered && r->max_attempts != 1;
    event_ref_n(e, r->n_groups);
    for (uint32_t k = 0; k < r->n_groups; k++) {
        group_push(r->groups[k], e, r->next_seq, ms, attempts, (uint16_t)slot);
        r->groups[k]->depth++;
    }
    r->next_seq++;
    return true;
}

static void on_deliver(void *sink, odto_event *const *events, const uint64_t *tags, const bool *redelivered,
                       size_t n)
{
    odto_route *r = sink;
    struct wakes wakes = {.n = 0};
    size_t given = 0;
    uint32_t ms = route_now_ms();
    pthread_mutex_lock(&r->lock);
    while (given < n && give(r, events[given], tags[given], redelivered[given], ms))
        given++;
    for (uint32_t k = 0; given && k < r->n_groups; k++)
        group_wake(r->groups[k], &wakes);
    pthread_mutex_unlock(&r->lock);
    wakes_fire(&wakes);
    if (given < n)
        r->bridge->iface->settle(r->bridge->self, r->topic, tags + given, n - given, ODTO_RETURN);
}

static void bridge_acked(odto_route *r, const struct settled *s, size_t n)
{
    uint64_t tags[SETTLE_BATCH];
    while (n) {
        size_t some = n < SETTLE_BATCH ? n : SETTLE_BATCH, k = 0;
        pthread_mutex_lock(&r->lock);
        for (size_t i = 0; i < some; i++)
            k += slot_done(r->bridge, s[i].aux, &tags[k]);
        pthread_mutex_unlock(&r->lock);
        if (k)
            r->bridge->iface->settle(r->bridge->self, r->topic, tags, k, ODTO_ACK);
        s += some;
        n -= some;
    }
}

/* What g holds and nobody leased; the bridge has forgotten it, or will be told. Lock held. */
static void drop_queued(struct route_group *g)
{
    uint64_t tag;
    for (;;) {
        struct entry e;
        if (g->returned.n) {
            e = heap_pop(&g->returned);
        } else if (g->ready.n) {
            e = *(struct entry *)deque_front(&g->ready);
            deque_pop(&g->ready);
        } else {
            break;
        }
        slot_done(g->route->bridge, e.aux, &tag);
        g->depth--;
        event_unref(e.event);
    }
    group_hint(g);
}

/* A group that the manifest no longer has: what only it held comes again after the next unsubscription. */
static void bridge_group_dropped(odto_route *r, struct route_group *g)
{
    (void)r;
    drop_queued(g);
}

/* ---- subscribing: the thread --------------------------------------------------------------- */

/* Events that all groups would take at once: the least of them, 0 when one has no consumer or pauses. */
static uint32_t wanted(odto_route *r)
{
    uint32_t least = UINT32_MAX;
    pthread_mutex_lock(&r->lock);
    for (uint32_t i = 0; i < r->n_groups; i++) {
        uint64_t sum = 0;
        for (const route_consumer *c = r->groups[i]->consumers; c; c = c->next)
            sum += c->prefetch;
        least = sum < least ? (uint32_t)sum : least;
    }
    pthread_mutex_unlock(&r->lock);
    return least;
}

static void subscribe(odto_route *r, uint32_t want)
{
    struct route_bridge *b = r->bridge;
    odto_bridge_sink sink = {.deliver = on_deliver, .sink = r};
    odto_error err = {0};
    char text[512];
    int rc = b->iface->subscribe(b->self, r->topic, &sink, want, &err);
    if (rc && !b->complained)
        route_say(r, ODTO_ERROR, "can't subscribe: %s", odto_error_text(&err, text, sizeof text));
    b->complained = rc != 0;
    b->subscribed = rc == 0;
    b->credit = want;
}

static void unsubscribe(odto_route *r)
{
    struct route_bridge *b = r->bridge;
    b->iface->unsubscribe(b->self, r->topic);
    b->subscribed = false;
    pthread_mutex_lock(&r->lock);
    for (uint32_t i = 0; i < r->n_groups; i++)
        drop_queued(r->groups[i]);
    pthread_mutex_unlock(&r->lock);
}

static void look_at_consumers(odto_route *r)
{
    struct route_bridge *b = r->bridge;
    uint32_t want = wanted(r);
    int64_t now = odto_now_ns();
    if (want)
        b->idle_since = 0;
    else if (!b->idle_since)
        b->idle_since = now;
    if (want && !b->subscribed)
        subscribe(r, want);
    else if (b->subscribed && b->idle_since && now - b->idle_since >= IDLE_NS)
        unsubscribe(r);
    else if (b->subscribed && want && want != b->credit)
        b->iface->credit(b->self, r->topic, b->credit = want);
}

static void wake(odto_route *r)
{
    route_waiter_wake(r->bridge->waiter);
}

static void wake_for_group(odto_route *r, struct route_group *g)
{
    (void)g;
    wake(r);
}

/* ---- out ----------------------------------------------------------------------------------- */

static void call_begin(odto_route *r, size_t pending)
{
    pthread_mutex_lock(&r->lock);
    r->bridge->calls++;
    r->pending += pending;
    pthread_mutex_unlock(&r->lock);
}

static void call_end(odto_route *r, size_t pending, size_t published)
{
    pthread_mutex_lock(&r->lock);
    r->bridge->calls--; /* the last thing done with r: route_close waits for it */
    r->pending -= pending;
    r->stats.published += published;
    route_made_room(r);
    pthread_mutex_unlock(&r->lock);
}

static void on_published(void *arg, int result)
{
    struct sending *s = arg;
    if (s->done)
        s->done(s->arg, result);
    call_end(s->route, s->n, result ? 0 : s->n);
    free(s);
}

static int room(odto_route *r, size_t n, uint32_t flags, const bool *cancel)
{
    pthread_mutex_lock(&r->lock);
    int rc = route_room(r, n, 0, flags, cancel);
    pthread_mutex_unlock(&r->lock);
    return rc;
}

static bool wait_a_while(odto_route *r, uint32_t flags, const bool *cancel)
{
    if (!(flags & ODTO_PUBLISH_WAIT))
        return false;
    pthread_mutex_lock(&r->lock);
    bool go = r->overflow != ROUTE_REJECT && !r->closing;
    if (go)
        route_wait_changed(r, 10 * ODTO_MS);
    pthread_mutex_unlock(&r->lock);
    return go && !(cancel && __atomic_load_n(cancel, __ATOMIC_ACQUIRE)); /* pairs with who stops us */
}

static int bridge_publish(odto_route *r, odto_event *const *events, size_t n, uint32_t flags,
                          odto_publish_done *done, void *arg, const bool *cancel)
{
    struct route_bridge *b = r->bridge;
    if (b->spool)
        return route_publish(b->spool, events, n, flags, done, arg, cancel);
    struct sending *s = malloc(sizeof *s);
    if (!s)
        return -ENOMEM;
    *s = (struct sending){.route = r, .done = done, .arg = arg, .n = n};
    int rc;
    do {
        rc = room(r, n, flags, cancel);
        if (rc)
            break;
        call_begin(r, n);
        rc = b->iface->publish(b->self, r->topic, events, n, on_published, s);
        if (rc)
            call_end(r, n, 0);
    } while ((rc == -EAGAIN || rc == -ENOTCONN) && wait_a_while(r, flags, cancel));
    if (rc)
        free(s);
    for (size_t i = 0; !rc && (flags & ROUTE_PUBLISH_MOVE) && i < n; i++)
        event_unref(events[i]);
    return rc;
}

static int refuses(odto_route *r)
{
    struct route_bridge *b = r->bridge;
    if (b->spool)
        return 0;
    call_begin(r, 0);
    int rc = b->iface->publish(b->self, r->topic, NULL, 0, NULL, NULL);
    call_end(r, 0, 0);
    return rc == -EAGAIN ? 0 : rc; /* many are under way: no reason that stays */
}

/* ---- the forwarder ------------------------------------------------------------------------- */

static void on_forwarded(void *arg, int result)
{
    struct sending *s = arg;
    odto_route *r = s->route;
    if (result)
        __atomic_store_n(&r->bridge->refused, true, __ATOMIC_RELAXED); /* a hint: pairs with nothing */
    route_settle(s->leases, s->n, result ? ODTO_RETURN : ODTO_ACK, NULL);
    call_end(r, 0, 0);
    free(s);
}

/* One batch out of the spool to the bridge; false: pause. */
static bool forward(odto_route *r, const odto_lease *leases, size_t n)
{
    struct route_bridge *b = r->bridge;
    odto_event *events[FORWARD_EVENTS];
    struct sending *s = malloc(sizeof *s + n * sizeof s->leases[0]);
    int rc = -ENOMEM;
    if (s) {
        *s = (struct sending){.route = r, .n = n};
        memcpy(s->leases, leases, n * sizeof *leases);
        for (size_t i = 0; i < n; i++)
            events[i] = leases[i].event;
        call_begin(r, 0);
        rc = b->iface->publish(b->self, r->topic, events, n, on_forwarded, s);
    }
    if (!rc)
        return true;
    if (s)
        call_end(r, 0, 0);
    free(s);
    if (rc == -EMSGSIZE && n > 1) { /* more than the bridge carries at once */
        route_settle(leases + n / 2, n - n / 2, ODTO_RETURN, NULL);
        return forward(r, leases, n / 2);
    }
    if (rc == -EMSGSIZE) {
        route_settle(leases, n, ODTO_REJECT, "it is larger than the bridge carries");
        return true;
    }
    route_settle(leases, n, ODTO_RETURN, NULL);
    return false;
}

static bool stopped(const struct route_bridge *b)
{
    return __atomic_load_n(&b->stop, __ATOMIC_ACQUIRE); /* pairs with stop_thread */
}

static void *bridge_thread(void *arg)
{
    odto_route *r = arg;
    struct route_bridge *b = r->bridge;
    odto_lease leases[FORWARD_EVENTS];
    int64_t pause_until = 0;
    while (!stopped(b)) {
        look_at_consumers(r);
        int64_t now = odto_now_ns(), until = now + LOOK_NS;
        if (__atomic_exchange_n(&b->refused, false, __ATOMIC_RELAXED)) /* a hint: pairs with nothing */
            pause_until = now + FORWARD_RETRY;
        if (!b->spool || now < pause_until) {
            waiter_rest(b->waiter, b->spool && pause_until < until ? pause_until : until);
            continue;
        }
        size_t which = 0;
        size_t n = consumers_take(&b->from, 1, &which, leases, FORWARD_EVENTS, until);
        if (n && !forward(r, leases, n))
            pause_until = odto_now_ns() + FORWARD_RETRY;
    }
    if (b->subscribed)
        unsubscribe(r);
    return NULL;
}

/* ---- people -------------------------------------------------------------------------------- */

#define HAS(iface, op) ((iface)->size >= offsetof(odto_bridge_iface, op) + sizeof(void *) && (iface)->op)

struct looking {
    bool (*fn)(void *arg, const struct route_item *item);
    void *arg;
};

static bool look(void *arg, const odto_bridge_item *item)
{
    struct looking *l = arg;
    return l->fn(l->arg, &(struct route_item){.seq = item->id,
                                              .unix_ms = item->unix_ms,
                                              .body = item->body,
                                              .attempts = item->redelivered});
}

static void say_error(const odto_route *r, const odto_error *err)
{
    char text[512];
    if (err->code)
        route_say(r, ODTO_WARN, "%s", odto_error_text(err, text, sizeof text));
}

static int bridge_peek(odto_route *r, uint64_t from, size_t max,
                       bool (*fn)(void *, const struct route_item *), void *arg)
{
    struct route_bridge *b = r->bridge;
    if (!HAS(b->iface, peek))
        return b->spool ? route_peek(b->spool, from, max, fn, arg) : -EOPNOTSUPP;
    odto_error err = {0};
    int rc = b->iface->peek(b->self, r->topic, from, max, look, &(struct looking){fn, arg}, &err);
    say_error(r, &err);
    return rc;
}

static int64_t bridge_remove(odto_route *r, const uint64_t *seqs, size_t n)
{
    struct route_bridge *b = r->bridge;
    if (!HAS(b->iface, remove))
        return b->spool ? b->spool->ops->remove(b->spool, seqs, n) : -EOPNOTSUPP;
    odto_error err = {0};
    int64_t rc = b->iface->remove(b->self, r->topic, seqs, n, &err);
    say_error(r, &err);
    return rc;
}

static void bridge_stats(const odto_route *r, odto_route_stats *out)
{
    if (!r->bridge->spool)
        return;
    odto_route_stats s;
    route_get_stats(r->bridge->spool, &s);
    out->published = s.published;
    out->depth += s.depth;
    out->capacity = s.capacity;
    out->bytes_on_disk = s.bytes_on_disk;
    out->dropped += s.dropped;
    out->oldest_age_ns = s.oldest_age_ns > out->oldest_age_ns ? s.oldest_age_ns : out->oldest_age_ns;
}

int64_t route_remote_depth(const odto_route *r)
{
    odto_route_stats s = {0};
    const struct route_bridge *b = r->bridge;
    if (!b || !HAS(b->iface, stats) || b->iface->stats(b->self, r->topic, &s) < 0)
        return -1;
    return (int64_t)s.depth;
}

/* ---- open, close --------------------------------------------------------------------------- */

static void bridge_free(odto_route *r)
{
    struct route_bridge *b = r->bridge;
    if (b->from)
        consumer_detach(b->from, ROUTE_DETACH_STOPPED);
    route_close(b->spool);
    route_waiter_free(b->waiter);
    free(b->slots);
    free(b);
    r->bridge = NULL;
}

static void stop_thread(struct route_bridge *b)
{
    __atomic_store_n(&b->stop, true, __ATOMIC_RELEASE); /* pairs with stopped */
    route_waiter_wake(b->waiter);
    pthread_join(b->thread, NULL);
}

static void bridge_close(odto_route *r)
{
    struct route_bridge *b = r->bridge;
    stop_thread(b);
    pthread_mutex_lock(&r->lock);
    while (b->calls) /* each ends: the bridge gives up what it can't confirm for long */
        route_wait_changed(r, CLOSE_NS);
    pthread_mutex_unlock(&r->lock);
    bridge_free(r);
}

static void bridge_configured(odto_route *r, const struct route_config *c)
{
    struct route_config inner = *c;
    inner.transport = ROUTE_SPOOL;
    inner.max_attempts = 0;
    inner.dead_letter = NULL;
    if (r->bridge && r->bridge->spool)
        route_configure(r->bridge->spool, &inner);
}

static const struct route_ops bridge_ops = {
    .publish = bridge_publish,
    .refuses = refuses,
    .acked = bridge_acked,
    .group_dropped = bridge_group_dropped,
    .attached = wake_for_group,
    .detached = wake_for_group,
    .prefetched = wake,
    .configured = bridge_configured,
    .peek = bridge_peek,
    .remove = bridge_remove,
    .stats = bridge_stats,
    .close = bridge_close,
};

static int open_spool(odto_route *r, const struct route_config *c, odto_error *err)
{
    struct route_bridge *b = r->bridge;
    struct route_config inner = *c;
    inner.transport = ROUTE_SPOOL;
    inner.max_attempts = 0; /* it is sent until it is confirmed */
    inner.dead_letter = NULL;
    inner.prefetch = FORWARD_LEASES;
    int rc = route_open(&inner, &b->spool, err);
    if (rc)
        return rc;
    b->from = route_attach(b->spool, "bridge", FORWARD_LEASES, b->waiter);
    return b->from ? 0 : odto_fail(err, -errno, "route %s: no memory", r->topic);
}

static int start_thread(odto_route *r)
{
    sigset_t all, old;
    char name[16];
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = -pthread_create(&r->bridge->thread, NULL, bridge_thread, r);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    snprintf(name, sizeof name, "bridge/%.8s", r->topic);
    if (!rc)
        pthread_setname_np(r->bridge->thread, name);
    return rc;
}

int route_bridge_open(odto_route *r, const struct route_config *c, odto_error *err)
{
    if (!c->bridge || !HAS(c->bridge, stats))
        return odto_fail(err, -EINVAL, "route %s: its bridge is not up", r->topic);
    struct route_bridge *b = calloc(1, sizeof *b);
    r->groups[0] = group_new(r, "");
    r->n_groups = r->groups[0] != NULL;
    if (!b || !r->n_groups) {
        free(b);
        return odto_fail(err, -ENOMEM, "route %s: no memory", r->topic);
    }
    r->bridge = b;
    b->iface = c->bridge;
    b->self = c->bridge_self;
    b->free = UINT32_MAX;
    r->ops = &bridge_ops;
    b->waiter = route_waiter_new();
    int rc = b->waiter ? 0 : odto_fail(err, -ENOMEM, "route %s: no memory", r->topic);
    if (!rc && c->spooled)
        rc = open_spool(r, c, err);
    if (!rc && (rc = start_thread(r)))
        odto_fail(err, rc, "route %s: %s", r->topic, strerror(-rc));
    if (rc)
        bridge_free(r);
    return rc;
}
