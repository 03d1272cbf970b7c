/* route_internal.h — what the files of the route module share; nobody else includes it.
 *
 * route.c          open, close, groups, publish to memory, statistics
 * route_consumer.c attach, take, settle, detach
 * route_wait.c     waiters: spin, park, wake
 * route_dead.c     rejection and dead letters
 * route_spool.c    durable routes: committer thread, reading back
 * route_bridge.c   routes carried by a plugin
 * route_admin.c    peek, remove, purge
 *
 * Everything in struct odto_route, route_group, route_consumer and lease_slot is protected by the route's
 * lock, unless marked: [const] set before the route is shared, [atomic] read without the lock as a hint. */
#ifndef ODTO_HOST_ROUTE_INTERNAL_H
#define ODTO_HOST_ROUTE_INTERNAL_H

#include "deque.h"
#include "route.h"
#include <pthread.h>

#define ROUTE_MAGIC      0x6f727465u /* "orte" */
#define ROUTE_GROUPS_MAX 32u
#define ROUTE_NAME_MAX   64u
#define SETTLE_BATCH     64u

/* An event that waits in a group. */
struct entry {
    odto_event *event; /* one reference */
    uint64_t seq;
    uint32_t ms;       /* when it was published, monotonic, wraps */
    uint16_t attempts; /* deliveries counted so far */
    uint16_t aux;      /* bridge: slot of the delivery */
};

/* Returned entries, lowest sequence first. */
struct entry_heap {
    struct entry *at;
    size_t n, cap;
};
bool heap_reserve(struct entry_heap *h, size_t n); /* room for n in all */
void heap_push(struct entry_heap *h, const struct entry *e);
struct entry heap_pop(struct entry_heap *h);
void heap_fix(struct entry_heap *h); /* after elements were taken out by hand */

struct route_group {
    char name[ROUTE_NAME_MAX]; /* "" : nobody yet */
    odto_route *route;
    struct deque ready;         /* struct entry, in order */
    struct entry_heap returned; /* delivered before what is ready */
    size_t leased;              /* slots of the lease table */
    uint64_t depth;             /* events not acknowledged, in memory and on disk, leased ones too */
    uint32_t avail;             /* [atomic] something to deliver: hint for spinning consumers */
    struct route_consumer *consumers, *parked;
    uint32_t id; /* spool: the log's number of this group; else its index */
    /* spool: what is in memory is a window; while `behind`, events from `cursor` on are on disk only */
    bool behind, filling, stuck; /* stuck: reading failed, to be tried again at the route's retry_at */
    size_t mem_bytes;
    uint64_t cursor;             /* next sequence to read back */
    struct spool_reader *reader; /* of the one that fills */
};

struct route_consumer {
    uint32_t magic;
    odto_route *route;         /* [const] */
    struct route_group *group; /* [const] */
    route_consumer *next;      /* in group->consumers */
    route_consumer *next_parked;
    bool parked;
    struct route_waiter *waiter; /* [const] */
    bool own_waiter;             /* [const] */
    uint32_t prefetch, leased;
};

struct lease_slot {
    odto_event *event; /* NULL: free */
    uint64_t seq;
    struct route_group *group;
    route_consumer *consumer; /* NULL: left while its rejection is under way */
    uint32_t ms;
    uint16_t attempts, aux;
    uint16_t gen; /* + 1 at each release */
    bool rejecting;
    uint32_t next_free;
};

struct lease_table {
    struct lease_slot *at;
    uint32_t n, cap, free; /* free: head of the chain of released ones, UINT32_MAX none */
};

/* fence = index of the slot (20 bits) and the low bits of its generation. */
#define FENCE_INDEX_BITS 20
#define FENCE_GEN_MASK   0xfffu

/* What was settled, handed from under the lock to the transport and then dropped. */
struct settled {
    odto_event *event;
    struct route_group *group;
    uint64_t seq;
    uint16_t aux;
};

struct route_ops {
    int (*publish)(odto_route *r, odto_event *const *events, size_t n, uint32_t flags,
                   odto_publish_done *done, void *arg, const bool *cancel);
    /* What a publish would be refused with now, 0 for nothing; no lock held. NULL: nothing. */
    int (*refuses)(odto_route *r);
    /* Acknowledged; no lock held. NULL: nothing to do. */
    void (*acked)(odto_route *r, const struct settled *s, size_t n);
    /* Leases about to be handed out; no lock held. NULL: nothing to do. */
    void (*leased)(odto_route *r, struct route_group *g, const odto_lease *leases, size_t n);
    /* Do `bytes` more fit beside what is kept? drop: make room by dropping the oldest. Lock held. NULL: yes.
     */
    bool (*fits)(odto_route *r, size_t n, uint64_t bytes, bool drop);
    /* Bring more into g->ready; lock held at entry and return, released in between. */
    void (*fill)(odto_route *r, struct route_group *g);
    int (*group_added)(odto_route *r, struct route_group *g);
    void (*group_renamed)(odto_route *r, struct route_group *g);
    void (*group_dropped)(odto_route *r, struct route_group *g);
    void (*attached)(odto_route *r, struct route_group *g); /* first consumer came / last one left; no lock */
    void (*detached)(odto_route *r, struct route_group *g);
    void (*prefetched)(odto_route *r); /* a consumer's prefetch changed; no lock. NULL: nothing to do */
    void (*configured)(odto_route *r, const struct route_config *c); /* lock held */
    int (*peek)(odto_route *r, uint64_t from, size_t max, bool (*fn)(void *, const struct route_item *),
                void *arg);
    int64_t (*remove)(odto_route *r, const uint64_t *seqs, size_t n); /* seqs NULL: all */
    void (*stats)(const odto_route *r, odto_route_stats *out);        /* lock held */
    void (*close)(odto_route *r);
};

struct reject;

struct odto_route {
    uint32_t magic;
    const struct route_ops *ops;    /* [const] */
    enum route_transport transport; /* [const] */
    char topic[ROUTE_NAME_MAX * 2]; /* [const] */
    char version[32];               /* [const] */
    struct event_pool *pool;        /* [const] */
    route_report *report;           /* [const] */
    void *report_arg;               /* [const] */

    pthread_mutex_t lock;
    pthread_cond_t changed; /* room came, or nothing is left, or closing */
    uint32_t waiters;       /* on changed */
    bool closing, paused;
    enum route_overflow overflow;
    uint64_t capacity, max_bytes;
    uint32_t prefetch, max_attempts;
    odto_route *dead_letter;

    uint64_t next_seq;
    uint64_t pending; /* accepted, not yet in a group (spool: not yet durable) */
    struct route_group *groups[ROUTE_GROUPS_MAX];
    uint32_t n_groups; /* at least one, contiguous */
    struct lease_table leases;
    odto_route_stats stats; /* the counters of it */

    struct reject *rejects; /* waiting to be tried again */
    uint32_t n_rejects;     /* under way or waiting */
    int64_t retry_at; /* [atomic] when a rejection or a stuck group is to be tried again; INT64_MAX never */

    struct route_spool *spool;   /* [const] */
    struct route_bridge *bridge; /* [const] */
};

/* route.c */
uint32_t route_now_ms(void);
void route_say(const odto_route *r, odto_level level, const char *fmt, ...) ODTO_PRINTF(3, 4);
/* Wait on r->changed at most this long; lock held. */
void route_wait_changed(odto_route *r, int64_t ns);
/* 0: n more events of so many bytes fit; -EAGAIN, -EMSGSIZE, -ECANCELED. Waits if flags and policy say so.
 * Lock held, but released while it waits. */
int route_room(odto_route *r, size_t n, uint64_t bytes, uint32_t flags, const bool *cancel);
/* Append to a group; room was reserved. Takes the reference. Lock held. */
static inline void group_push(struct route_group *g, odto_event *event, uint64_t seq, uint32_t ms,
                              uint16_t attempts, uint16_t aux)
{
    struct entry *e = deque_push(&g->ready);
    *e = (struct entry){event, seq, ms, attempts, aux};
}
/* What waits in memory to be delivered. */
static inline size_t group_queued(const struct route_group *g)
{
    return g->ready.n + g->returned.n;
}
/* There is more on disk, and nobody reads it yet. */
static inline bool group_fillable(const struct route_group *g)
{
    return g->behind && !g->filling && !g->stuck;
}
/* Publish the hint for spinning consumers after the queues changed; lock held. */
static inline void group_hint(struct route_group *g)
{
    uint32_t avail = group_queued(g) > 0 || group_fillable(g);
    /* A hint only, the queues are read under the lock: pairs with nothing. */
    if (__atomic_load_n(&g->avail, __ATOMIC_RELAXED) != avail)
        __atomic_store_n(&g->avail, avail, __ATOMIC_RELAXED);
}
/* After events left: wake publishers that wait for room, and who waits for idle. Lock held. */
void route_made_room(odto_route *r);
uint64_t route_depth(const odto_route *r); /* of the slowest group, without pending */
struct route_group *group_find(const odto_route *r, const char *name);
/* Find or add; NULL with *rc -ENOMEM, -E2BIG, -EINVAL or the transport's. Lock held. */
struct route_group *group_open(odto_route *r, const char *name, int *rc);
/* Drop the oldest queued entry, counted; its sequence, 0 when nothing is queued. Lock held. */
uint64_t group_drop_oldest(struct route_group *g);
struct route_group *group_new(odto_route *r, const char *name);
struct route_group *route_deepest(const odto_route *r);
const struct route_ops *route_memory_ops(void);
int route_admin_peek(odto_route *r, uint64_t from, size_t max, bool (*fn)(void *, const struct route_item *),
                     void *arg);
int64_t route_admin_remove(odto_route *r, const uint64_t *seqs, size_t n);
/* Drop the queued entries with these (sorted) sequences, or all; how many. The depth is the caller's. Lock
 * held. */
size_t group_remove(struct route_group *g, const uint64_t *sorted, size_t n);

/* route_wait.c */
struct route_waiter {
    uint32_t word; /* [atomic] futex: changes at each wake */
    uint32_t stop; /* [atomic] the next take returns */
    uint32_t spin; /* the waiting thread's: iterations before it parks */
    uint32_t spin_max;
};
/* A consumer to wake, collected under the lock, woken after it. */
struct wakes {
    uint32_t *word[ROUTE_GROUPS_MAX]; /* addresses only: the waiter may be gone when they are used */
    uint32_t n;
};
/* If g has something and a consumer with room is parked: unpark it into *out. Lock held. */
void group_wake(struct route_group *g, struct wakes *out);
void wakes_fire(const struct wakes *w); /* no lock held */
void consumer_park(route_consumer *c);  /* lock held, both */
void consumer_unpark(route_consumer *c);
/* Wait for word to change from seen, at most until the deadline. Spins first when spin is set. */
void waiter_park(struct route_waiter *w, uint32_t seen, int64_t deadline_ns);
/* Wait for a route_waiter_wake (also one that came before), at most until the deadline. */
void waiter_rest(struct route_waiter *w, int64_t deadline_ns);

/* route_spool.c */
int route_spool_open(odto_route *r, const struct route_config *c, odto_error *err);

/* route_bridge.c */
int route_bridge_open(odto_route *r, const struct route_config *c, odto_error *err);

/* route_consumer.c */
void lease_release(odto_route *r, struct lease_slot *s); /* the slot is free; its event is not touched */
/* Give the slot's event back to its group; lock held. */
void lease_return(odto_route *r, struct lease_slot *s, bool count);
struct lease_slot *lease_find(odto_route *r, const odto_lease *l);
void route_settled(odto_route *r, const struct settled *s,
                   size_t n); /* transport, references; no lock held */

/* route_dead.c */
/* Reject what slot holds (marked rejecting already); no lock held. The slot keeps the event until it is over.
 */
void reject_start(odto_route *r, uint32_t slot, const char *service, const char *why);
/* Rejections that are due, and stuck groups; no lock held. */
void route_retry(odto_route *r);
/* Come back to this route at that time. Lock held; a parked consumer is woken to learn of it. */
void route_retry_at(odto_route *r, struct route_group *g, int64_t at, struct wakes *wakes);
void reject_close(odto_route *r); /* wait for those under way, forget those waiting */

#endif
