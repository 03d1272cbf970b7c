/* route.h — what carries a topic from producers to consumers.
 *
 * A route keeps events in order of publication for each of its groups. A group is named after the plugin
 * instance that consumes: several consumers (threads, generations) of one group share its events, different
 * groups each get every event. As long as a route never had a group, events are kept for the first one that
 * comes, or for people (dead letters). An event leaves the route when every group has acknowledged it.
 *
 *   memory  bounded queue in host memory
 *   spool   the same queue in front of a disk log with group commit (spool.h): `done` means on disk
 *   bridge  a plugin carries the topic (RabbitMQ, nng); the queue holds what it delivered; with `spooled` a
 * local spool stands in front of publishing, so a broker that is away costs nothing but disk
 *
 * Threads: every function from any thread; consumer functions (take, wake excepted) from the consumer's
 * thread. Locks: one mutex per route protects its queues, groups, leases and counters; it is held for a batch
 * at a time, never across a system call, a callback, another route's lock or (but for the spool's index) any
 * other lock. Ownership: an event in a route holds one reference per group. */
#ifndef ODTO_HOST_ROUTE_H
#define ODTO_HOST_ROUTE_H

#include <odto/host.h>
#include "event.h"

enum route_transport { ROUTE_MEMORY, ROUTE_SPOOL, ROUTE_BRIDGE };

/* What a full route does. BLOCK: publishers that pass ODTO_PUBLISH_WAIT wait, the others get -EAGAIN. REJECT:
 * -EAGAIN to everybody. DROP_OLDEST: the oldest event that is not leased makes room, and is counted; when all
 * that is kept is leased, as BLOCK. */
enum route_overflow { ROUTE_BLOCK, ROUTE_REJECT, ROUTE_DROP_OLDEST };

#define ROUTE_CAPACITY       65536u   /* default, memory and bridge */
#define ROUTE_SPOOL_CAPACITY 10000000 /* default, spool */
#define ROUTE_MAX_BYTES      ((uint64_t)1 << 30)
#define ROUTE_PREFETCH       256u
#define ROUTE_LEASES_MAX     (1u << 20) /* of one route, all consumers */

struct spool_io;

/* A line for the log about this route; any thread, no lock held. */
typedef void route_report(void *arg, odto_level level, const char *topic, const char *text);

struct route_config {
    const char *topic; /* copied, as all strings */
    enum route_transport transport;
    enum route_overflow overflow;
    uint64_t capacity;     /* events queued or leased, by the slowest group; 0: the default */
    uint64_t max_bytes;    /* spool: on disk; 0: the default */
    uint32_t prefetch;     /* leases at once, per consumer; 0: the default */
    uint32_t max_attempts; /* deliveries before the dead letter; 0: no limit */
    odto_route
        *dead_letter; /* borrowed, outlives this route; NULL: rejected events are reported and dropped */
    struct event_pool *pool; /* borrowed */
    const char *version;     /* of the service, in dead letters */
    /* spool */
    const char *dir;           /* data directory: segments go to DIR/TOPIC/ */
    int64_t linger_ns;         /* wait this long for more before a commit; 0: commit at once */
    bool sync;                 /* fdatasync before done (survives power loss, not only SIGKILL) */
    uint64_t segment_bytes;    /* 0: chosen from max_bytes */
    const struct spool_io *io; /* NULL: the system's */
    /* bridge */
    const odto_bridge_iface *bridge; /* borrowed with self; the instance outlives the route */
    void *bridge_self;
    bool spooled; /* a local spool (the fields above) in front of publishing */
    /* log */
    route_report *report; /* may be NULL */
    void *report_arg;
};

/* Open the route; a spool recovers what its directory holds. 0 or -errno: -EBUSY another host has the
 * directory, -EINVAL configuration, I/O errors. */
int route_open(const struct route_config *config, odto_route **out, odto_error *err);
/* Change what can change in place: overflow, capacity, max_bytes, prefetch default, max_attempts,
 * dead_letter, linger. The rest of *config is ignored. */
void route_configure(odto_route *r, const struct route_config *config);
/* Ends publishing (-ECANCELED), finishes what was accepted (every done is called), detaches nothing: all
 * consumers must be detached, and no other thread may use r any more. Memory routes drop what is queued and
 * report how many. */
void route_close(odto_route *r);
const char *route_topic(const odto_route *r);
enum route_transport route_transport_of(const odto_route *r);

/* ---- publishing ---------------------------------------------------------------------------- */

#define ROUTE_PUBLISH_MOVE 0x100u /* host only: on 0 the caller's references pass to the route */

/* As odto_host_api.publish. On 0 the route holds references of its own (the caller keeps his) and done comes
 * exactly once, else nothing happened: -EAGAIN full, -EMSGSIZE never fits, -ENOMEM, -ENOSPC/-EIO/-EROFS disk,
 * -ECANCELED closing, or *cancel (may be NULL) became true while it waited. */
int route_publish(odto_route *r, odto_event *const *events, size_t n, uint32_t flags, odto_publish_done *done,
                  void *arg, const bool *cancel);
/* Wake publishers that wait for room so that they look at their cancel flag (read with __atomic). */
void route_kick(odto_route *r);

/* ---- consuming ----------------------------------------------------------------------------- */

/* Declare which groups exist: new ones start at the oldest event still kept, those not listed are forgotten
 * with what waits for them (attached ones are kept). Called with the manifest's consumers before they attach,
 * so that none misses an event and none of a former manifest holds events for ever. 0 or -ENOMEM, -E2BIG. */
int route_groups(odto_route *r, const char *const *names, size_t n);

/* A place where one thread waits for several consumers. */
struct route_waiter;
struct route_waiter *route_waiter_new(void); /* NULL without memory */
void route_waiter_free(struct route_waiter *w);
/* Make the current or else the next take on this waiter return 0 at once. Any thread. */
void route_waiter_wake(struct route_waiter *w);

typedef struct route_consumer route_consumer;
/* Join the group `instance` (declared by this if it was not). prefetch 0: the route's. waiter NULL: its own.
 * NULL with errno. */
route_consumer *route_attach(odto_route *r, const char *instance, uint32_t prefetch,
                             struct route_waiter *waiter);
/* Take up to max leases. Blocks until there is one, the deadline (monotonic ns; 0: do not block; INT64_MAX:
 * none) or a wake. Returns how many. */
size_t consumer_take(route_consumer *c, odto_lease *out, size_t max, int64_t deadline_ns);
/* The same over several consumers with one waiter, in turn; all leases returned are of cs[*which]. */
size_t consumers_take(route_consumer *const *cs, size_t n, size_t *which, odto_lease *out, size_t max,
                      int64_t deadline_ns);
void consumer_wake(route_consumer *c); /* any thread */
/* How a consumer leaves; in each case its outstanding leases go back and a settle that comes later is
 * ignored. */
enum route_detach {
    ROUTE_DETACH_STOPPED,   /* orderly: the attempt is not counted */
    ROUTE_DETACH_FAILED,    /* crash, failed start: the attempt counts */
    ROUTE_DETACH_ABANDONED, /* the same, and a thread may still read the leased events: each keeps one
                               reference for ever, at most the prefetch of them */
};
/* Leave the group, free c. Any thread, when no take runs. The group stays and keeps what comes. How many
 * leases were not settled. */
size_t consumer_detach(route_consumer *c, enum route_detach how);
uint64_t consumer_leased(const route_consumer *c);
/* At most n leases at once; 0 pauses. Any thread. */
void consumer_prefetch(route_consumer *c, uint32_t n);
void route_set_prefetch(odto_route *r, const char *instance, uint32_t n); /* every consumer of the group */

/* Settle leases of any routes, from any thread; those not (any more) held are ignored. why: for RETURN and
 * REJECT, copied; may be NULL. ODTO_RETURN counts the attempt; over max_attempts it becomes a REJECT. A
 * rejected event is acknowledged when its dead letter is durable; until that it counts as leased, and the
 * dead letter is tried again while a consumer of the group takes. */
void route_settle(const odto_lease *leases, size_t n, odto_verdict v, const char *why);

/* ---- operating ----------------------------------------------------------------------------- */

/* While paused the route accepts and keeps, but delivers nothing. */
void route_pause(odto_route *r, bool paused);
void route_get_stats(const odto_route *r, odto_route_stats *out);
uint64_t route_commits(const odto_route *r); /* of a spool, since it was opened; else 0 */
/* What waits at the other side of a bridge, as last heard; -1: not a bridge, or not known. */
int64_t route_remote_depth(const odto_route *r);
/* Wait until nothing is queued or leased. 0 or -ETIMEDOUT at the deadline (monotonic ns). */
int route_wait_idle(odto_route *r, int64_t deadline_ns);

/* One event of a route as people see it. */
struct route_item {
    uint64_t seq;
    int64_t unix_ms; /* when it was published */
    odto_slice body; /* valid during the call */
    uint32_t attempts;
    bool leased;
};
/* Call fn for up to max unacknowledged events from from_seq on, in order; it returns false to stop. 0, -errno
 * of the disk or the bridge, -EOPNOTSUPP for a bridge that can't look. fn runs without a lock. */
int route_peek(odto_route *r, uint64_t from_seq, size_t max,
               bool (*fn)(void *arg, const struct route_item *item), void *arg);
/* Remove these events for every group; leased ones stay. How many were removed, or -EOPNOTSUPP. */
int64_t route_remove(odto_route *r, const uint64_t *seqs, size_t n);
/* Remove all that are not leased. How many, or -EOPNOTSUPP. */
int64_t route_purge(odto_route *r);

#endif
