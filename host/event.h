/* event.h — the pool every event of the host comes from.
 *
 * Purpose: an event is one block (struct odto_event, then its body, then a NUL) out of a size class, so
 * making and dropping one costs no malloc in steady state. Blocks are freed on other threads than they were
 * made on (producer makes, consumer drops); each thread keeps a small cache per class and exchanges whole
 * batches with the class's slabs.
 *
 * Threads: every function from any thread. Locks: one per size class, held for a batch of up to 64 blocks;
 * never together with another lock. A thread's cache is touched by that thread only, and flushed when it
 * ends.
 *
 * Memory: a slab (256 KiB) whose blocks are all free is unmapped, but for one per class and 4 MiB in all, and
 * a class keeps up to 256 loose blocks; a pool with a limit keeps one slab per class only. max_bytes
 * bounds the sum of slabs and of the bodies too large for a class. */
#ifndef ODTO_HOST_EVENT_H
#define ODTO_HOST_EVENT_H

#include <odto/event.h>

struct event_pool;

struct event_pool_stats {
    uint64_t bytes;  /* mapped for slabs, plus large events */
    uint64_t slabs;  /* mapped now */
    uint64_t larges; /* events too large for a size class */
};

/* max_bytes 0: no limit. NULL without memory or thread keys. */
struct event_pool *event_pool_new(uint64_t max_bytes);
/* Every event must be dropped and every thread that used the pool joined (the caller's own excepted). */
void event_pool_free(struct event_pool *p);
void event_pool_stats(struct event_pool *p, struct event_pool_stats *out);

/* An event around a copy of body, with one reference. With ODTO_EVENT_VALID the header is parsed from the
 * copy. NULL with errno ENOMEM (no memory, or over the pool's limit) or EINVAL (header). */
odto_event *event_make(struct event_pool *p, odto_slice body, uint32_t flags);
/* An event with room for n body bytes, which the caller writes at *body before sharing it. NULL: ENOMEM. */
odto_event *event_make_space(struct event_pool *p, size_t n, char **body);
/* Parse the header of an event made by event_make_space and mark it valid; before it is shared. 0 or -EINVAL.
 */
int event_validate(odto_event *e);

void event_ref(odto_event *e);
void event_ref_n(odto_event *e, uint32_t n); /* n of them at once */
/* Drops one reference; the last one gives the block back. NULL is allowed. */
void event_unref(odto_event *e);

/* What an event costs in memory, about: for bounds by bytes. */
size_t event_cost(const odto_event *e);

#endif
