/* spool_format.h — the bytes of a segment: pure functions, no I/O, safe on any input.
 *
 * A segment is a header block of SEGMENT_HEAD bytes and records, each a head of 32 bytes and a body, padded
 * to 8. Numbers are little-endian (as the machines odto runs on; the magic shows another order). The
 * checksums of a record are CRC-32C seeded with the segment's generation, so what an earlier use of the file
 * left behind is not taken for a record.
 *
 * Every record says its place in its commit. That tells a torn commit (power failed before it was confirmed:
 * cut off, nobody was promised it) from damage in the middle (a later commit exists, so this one had been
 * confirmed: skipped, reported, kept aside). */
#ifndef ODTO_HOST_SPOOL_FORMAT_H
#define ODTO_HOST_SPOOL_FORMAT_H

#include <odto/base.h>

#define SEGMENT_HEAD    ((size_t)4096)
#define SEGMENT_VERSION 1u
#define RECORD_HEAD     ((size_t)32)

struct segment_head {
    char magic[8]; /* "odtospl\n" */
    uint32_t crc;  /* of what follows */
    uint32_t version;
    uint64_t first, generation;
    int64_t created_ms;
};

#define RECORD_VALID_HEADER 1u /* the event had ODTO_EVENT_VALID */
#define RECORD_SEAL         2u /* no record follows in this segment; seq is the next one's */

struct record_head {
    uint32_t crc; /* of the head from len on, and the body */
    uint32_t len; /* of the body */
    uint64_t seq;
    int64_t unix_ms;
    uint32_t index; /* in its commit */
    uint8_t flags, magic;
    uint16_t check; /* of the head alone: lets a search skip quickly */
};
_Static_assert(sizeof(struct record_head) == RECORD_HEAD, "the format");

uint32_t segment_seed(uint64_t generation);
void segment_head_make(struct segment_head *h, uint64_t first, uint64_t generation, int64_t created_ms);
/* 0, -EINVAL damaged, -EPROTO of a later version. */
int segment_head_check(const struct segment_head *h);

static inline size_t record_size(size_t body)
{
    return (RECORD_HEAD + body + 7) & ~(size_t)7;
}
/* Write a record at `to`, record_size(body.n) bytes with its padding. */
void record_put(char *to, uint32_t seed, uint64_t seq, int64_t unix_ms, uint32_t index, uint8_t flags,
                odto_slice body);
/* The head at p is a good one of this segment, whatever became of the body. */
bool record_head_get(const char *p, size_t n, uint32_t seed, struct record_head *out);
/* The record at p, of which n bytes can be read. True if it is whole and undamaged. */
bool record_get(const char *p, size_t n, uint32_t seed, struct record_head *out);

struct scan_events {
    /* A record in order; off is its place in the segment. */
    void (*record)(void *arg, size_t off, const struct record_head *h);
    /* Damage: bytes off..end hold what should have been sequences from..to-1. */
    void (*damage)(void *arg, size_t off, size_t end, uint64_t from, uint64_t to);
    void *arg;
};
struct scan_result {
    size_t end;     /* behind the last good record */
    uint64_t next;  /* sequence after it */
    bool sealed;    /* ended by a seal */
    bool torn;      /* something not whole follows, of a commit that was not confirmed */
    bool leftovers; /* records of this generation follow that do not count: do not append here */
};
/* Walk the segment p[0..n), whose first record has sequence `first`; records from `limit` on do not count
 * (the next segment begins there; UINT64_MAX: there is none). Those below `confirmed` are known to have been
 * confirmed. */
void segment_scan(const char *p, size_t n, uint32_t seed, uint64_t first, uint64_t limit, uint64_t confirmed,
                  const struct scan_events *ev, struct scan_result *out);

#endif
