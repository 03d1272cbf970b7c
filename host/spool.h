/* spool.h — the disk part of a durable route: an append-only log of events in segments, and who has read
 * what.
 *
 * Files in DIR (one spool, one host: `lock` is held while it is open):
 *   seg-FIRST-GEN   segment: header block, then records in order of sequence, FIRST the first of them
 *   spare-GEN       segment to be used again: allocated and once written, so that a commit into it changes no
 *                   metadata and costs one flush of the device
 *   acks-a, acks-b  journal of what groups have taken and acknowledged (spool_acks.c)
 *   *.corrupt       bytes that were damaged, kept for people; never read
 *
 * Guarantees. spool_write returned 0 and sync is set: these events survive SIGKILL and power loss. It failed:
 * none of them is delivered, now or after a restart (as far as the disk still takes a write of 32 bytes). An
 * acknowledgement may be lost by a crash (then the event is delivered again, its attempt counted), an event
 * never. A failed fdatasync is never repeated on the same file: what it did not write may be gone from the
 * page cache (fsyncgate); the segment is closed and a new one begun.
 *
 * Threads: one writer thread calls spool_write and spool_maintain; everything else from any thread. Locks:
 * one for the index (segments, bitmaps, groups, journal buffer), held without system calls, taken after a
 * route's lock; one for writing the journal, taken before the index lock, never with a route's lock. */
#ifndef ODTO_HOST_SPOOL_H
#define ODTO_HOST_SPOOL_H

#include "event.h"
#include <odto/host.h>
#include <sys/types.h>

#define SPOOL_GROUPS_MAX 32u
#define SPOOL_NAME_MAX   64u
#define SPOOL_BODY_MAX   ((size_t)64 << 20)

/* The system calls of a spool, so that tests can make each fail. All return >= 0 or -errno. */
struct spool_io {
    void *arg;
    int (*open)(void *arg, int dir, const char *name, int flags, mode_t mode);
    ssize_t (*pread)(void *arg, int fd, void *p, size_t n, off_t at);
    ssize_t (*pwrite)(void *arg, int fd, const void *p, size_t n, off_t at);
    int (*sync)(void *arg, int fd);     /* fdatasync */
    int (*sync_dir)(void *arg, int fd); /* fsync */
    int (*allocate)(void *arg, int fd, off_t at, off_t n);
    int (*rename)(void *arg, int dir, const char *from, const char *to);
    int (*unlink)(void *arg, int dir, const char *name);
};
const struct spool_io *spool_io_system(void);

struct spool_config {
    const char *dir;        /* made with its parents, mode 0700 */
    const char *topic;      /* for messages */
    uint64_t segment_bytes; /* a segment ends at this size; 0: 16 MiB */
    bool sync;
    const struct spool_io *io;                                     /* NULL: the system's */
    void (*report)(void *arg, odto_level level, const char *text); /* may be NULL; any thread */
    void *report_arg;
};

struct spool;

/* -EBUSY: in use (the error names the process). -EPROTO: written by a newer version. */
int spool_open(const struct spool_config *config, struct spool **out, odto_error *err);
/* Writes what is known of acknowledgements; no other thread may use s. */
void spool_close(struct spool *s);

/* ---- writing ------------------------------------------------------------------------------- */

/* Append n events as one commit. 0: they are durable and have sequences *first to *first + n - 1. */
int spool_write(struct spool *s, odto_event *const *events, size_t n, int64_t unix_ms, uint64_t *first);
/* Take segments out of use that every group is through with; write the acknowledgement journal. Returns true
 * when there may be more to do soon (call again in 100 ms). */
bool spool_maintain(struct spool *s);
/* The bytes a body takes in the log. */
uint64_t spool_record_bytes(size_t body);

/* ---- groups -------------------------------------------------------------------------------- */

/* A new group starts at the oldest event kept. *id < SPOOL_GROUPS_MAX. 0, -E2BIG, -ENOMEM. */
int spool_group_add(struct spool *s, const char *name, uint32_t *id);
void spool_group_rename(struct spool *s, uint32_t id, const char *name);
void spool_group_drop(struct spool *s, uint32_t id);
/* The name of group id as recovered or added, NULL when there is none. */
const char *spool_group_name(struct spool *s, uint32_t id);
/* How many below that sequence the group has not acknowledged; nothing from `below` on was acknowledged by
 * any. */
uint64_t spool_depth(struct spool *s, uint32_t id, uint64_t below);

/* Leases of the group go out, in this many attempts each: written to the journal before this returns, so that
 * a crash counts them. */
void spool_delivered(struct spool *s, uint32_t id, const odto_lease *leases, size_t n);
/* Remember attempts without delivering (a lease that went back). */
void spool_attempts_set(struct spool *s, uint32_t id, uint64_t seq, uint32_t attempts);
uint32_t spool_attempts(struct spool *s, uint32_t id, uint64_t seq);
/* Acknowledge, in memory; the journal follows with the next spool_delivered or spool_maintain. Already
 * acknowledged ones are skipped. How many were new. */
size_t spool_ack(struct spool *s, uint32_t id, const uint64_t *seqs, size_t n);
/* Acknowledge everything below `below` but these (sorted). How many were new. */
uint64_t spool_ack_all(struct spool *s, uint32_t id, uint64_t below, const uint64_t *keep, size_t n_keep);

/* ---- reading ------------------------------------------------------------------------------- */

struct spool_item {
    odto_event *event; /* one reference */
    uint64_t seq;
    int64_t unix_ms;
    uint32_t attempts;
};
/* A position kept from one read to the next, for one thread at a time. */
struct spool_reader;
struct spool_reader *spool_reader_new(void);
void spool_reader_free(struct spool *s, struct spool_reader *rd);
/* Read up to max unacknowledged events of the group with from <= seq < below, in order, about max_bytes of
 * them. *next: where to go on. Damaged records are reported, acknowledged for the group and counted in *lost.
 * How many, or -errno. */
ssize_t spool_read(struct spool *s, struct spool_reader *rd, uint32_t id, uint64_t from, uint64_t below,
                   struct event_pool *pool, struct spool_item *out, size_t max, size_t max_bytes,
                   uint64_t *next, uint64_t *lost);

/* ---- figures ------------------------------------------------------------------------------- */

struct spool_stats {
    uint64_t next_seq;   /* what the next event will get */
    uint64_t data_bytes; /* of segments in use with the unused ends of full ones: counts against a limit */
    uint64_t disk_bytes; /* with spares and preallocated space */
    uint64_t segments, commits, recovered, corrupt;
};
/* data_bytes alone, cheap; with the next_seq they go with. */
uint64_t spool_data_bytes(struct spool *s, uint64_t *next_seq);
void spool_get_stats(struct spool *s, struct spool_stats *out);
/* Unix ms of the group's oldest unacknowledged event, or a little before; 0 when there is none. */
int64_t spool_oldest_ms(struct spool *s, uint32_t id);
/* The lowest unacknowledged sequence of the group >= from; UINT64_MAX when there is none. */
uint64_t spool_first_unacked(struct spool *s, uint32_t id, uint64_t from);

#endif
