/* odto/event.h — events, routes and leases as a plugin sees them. */
#ifndef ODTO_EVENT_H
#define ODTO_EVENT_H

#include <odto/base.h>
#include <odto/envelope.h>

typedef struct odto_route odto_route; /* opaque: a topic as carried in this host */

#define ODTO_EVENT_VALID 1u /* body is an envelope that passed the schemas; hdr is filled */

/* An immutable message, reference counted; made by host->event_new, shared freely between threads. Only the
 * host reads or writes magic, refs and owner. The body is never written after the event was made. */
typedef struct odto_event {
    uint32_t magic;
    uint32_t refs; /* atomic; use event_ref / event_unref */
    uint32_t flags;
    uint32_t reserved;
    void *owner; /* the pool it returns to */
    odto_slice body;
    odto_header hdr; /* valid only with ODTO_EVENT_VALID; slices point into body */
} odto_event;

/* Called exactly once for a publish that returned 0: result 0 when every event of the batch is durable in the
 * sense of its route (memory: queued; spool: on disk; rabbitmq: confirmed), or -errno when none of it is to
 * be relied on (-EAGAIN full, -ENOSPC/-EIO disk, -ECANCELED shutdown). Thread: any thread of the host (the
 * route's committer), or the caller's before publish returns. Must not block. */
typedef void odto_publish_done(void *arg, int result);

#define ODTO_PUBLISH_WAIT 1u /* when the route is full: wait for room (never from an event loop) */

/* A consumer's hold on an event until it is settled. Copy it freely; settle each exactly once, from any
 * thread. */
typedef struct odto_lease {
    odto_event *event; /* borrowed: valid until settled (take a reference to keep it longer) */
    odto_route *route;
    uint64_t seq;     /* position in the route, or the broker's delivery tag */
    uint32_t attempt; /* 1 for the first delivery of this lease */
    uint32_t fence;   /* generation of the lease: a late settle of a returned lease is ignored */
} odto_lease;

typedef enum odto_verdict {
    ODTO_ACK,    /* done: the event may be forgotten */
    ODTO_RETURN, /* deliver again, to anyone, attempt + 1 */
    ODTO_REJECT, /* dead letter with the reason; acknowledged when the dead letter is durable */
} odto_verdict;

typedef struct odto_route_stats {
    uint64_t published, acked, returned, rejected, redelivered, dropped;
    uint64_t depth, capacity, leased, bytes_on_disk;
    int64_t oldest_age_ns;
} odto_route_stats;

#endif
