/* spool_format.c — see spool_format.h. */
#include "spool_format.h"
#include <errno.h>
#include <stddef.h>
#include <string.h>

#define RECORD_MAGIC 0xd0u
static const char segment_magic[8] = {'o', 'd', 't', 'o', 's', 'p', 'l', '\n'};

uint32_t segment_seed(uint64_t generation)
{
    return odto_crc32c(0x6f64746fu, &generation, sizeof generation);
}

static uint32_t head_crc(const struct segment_head *h)
{
    return odto_crc32c(0, &h->version, sizeof *h - offsetof(struct segment_head, version));
}

void segment_head_make(struct segment_head *h, uint64_t first, uint64_t generation, int64_t created_ms)
{
    memset(h, 0, sizeof *h);
    memcpy(h->magic, segment_magic, sizeof h->magic);
    h->version = SEGMENT_VERSION;
    h->first = first;
    h->generation = generation;
    h->created_ms = created_ms;
    h->crc = head_crc(h);
}

int segment_head_check(const struct segment_head *h)
{
    if (memcmp(h->magic, segment_magic, sizeof h->magic) != 0 || h->crc != head_crc(h))
        return -EINVAL;
    return h->version == SEGMENT_VERSION ? 0 : -EPROTO;
}

static uint16_t record_check(const struct record_head *h, uint32_t seed)
{
    size_t from = offsetof(struct record_head, len), to = offsetof(struct record_head, check);
    return (uint16_t)(odto_crc32c(seed, (const char *)h + from, to - from) & 0xffff);
}

void record_put(char *to, uint32_t seed, uint64_t seq, int64_t unix_ms, uint32_t index, uint8_t flags,
                odto_slice body)
{
    struct record_head h = {.len = (uint32_t)body.n,
                            .seq = seq,
                            .unix_ms = unix_ms,
                            .index = index,
                            .flags = flags,
                            .magic = RECORD_MAGIC};
    h.check = record_check(&h, seed);
    h.crc = odto_crc32c(seed, &h.len, sizeof h - offsetof(struct record_head, len));
    h.crc = odto_crc32c(h.crc, body.p, body.n);
    memcpy(to, &h, sizeof h);
    if (body.n)
        memcpy(to + sizeof h, body.p, body.n);
    memset(to + sizeof h + body.n, 0, record_size(body.n) - sizeof h - body.n);
}

bool record_head_get(const char *p, size_t n, uint32_t seed, struct record_head *out)
{
    if (n < sizeof *out || (uint8_t)p[offsetof(struct record_head, magic)] != RECORD_MAGIC)
        return false;
    memcpy(out, p, sizeof *out);
    return out->index <= out->seq && out->check == record_check(out, seed);
}

bool record_get(const char *p, size_t n, uint32_t seed, struct record_head *out)
{
    struct record_head h;
    if (!record_head_get(p, n, seed, &h) || h.len > n - sizeof h)
        return false;
    uint32_t crc = odto_crc32c(seed, &h.len, sizeof h - offsetof(struct record_head, len));
    if (odto_crc32c(crc, p + sizeof h, h.len) != h.crc)
        return false;
    *out = h;
    return true;
}

/* The next good record at or behind off with seq >= expect and < limit; n when there is none. A segment of n
 * bytes has fewer than n / RECORD_HEAD records, so a sequence beyond that is none of its. */
static size_t search(const char *p, size_t off, size_t n, uint32_t seed, uint64_t expect, uint64_t limit,
                     struct record_head *h)
{
    if (limit - expect > n / RECORD_HEAD)
        limit = expect + n / RECORD_HEAD;
    for (; off + RECORD_HEAD <= n; off += 8) {
        if (record_get(p + off, n - off, seed, h) && h->seq >= expect &&
            h->seq - !!(h->flags & RECORD_SEAL) < limit)
            return off;
    }
    return n;
}

/* Does anything at or behind off show that sequence `missing` had been confirmed: a record of a later commit,
 * or the segment's seal? */
static bool was_confirmed(const char *p, size_t off, size_t n, uint32_t seed, uint64_t missing,
                          uint64_t limit)
{
    struct record_head h;
    while ((off = search(p, off, n, seed, missing, limit, &h)) < n) {
        if (h.seq - h.index > missing)
            return true;
        off += record_size(h.len);
    }
    return false;
}

/* No good record follows at off. Is what stands there torn, or was it confirmed once? */
static void scan_tail(const char *p, size_t n, size_t off, uint32_t seed, uint64_t confirmed,
                      const struct scan_events *ev, struct scan_result *out)
{
    struct record_head h;
    if (!record_head_get(p + off, n - off, seed, &h))
        return;
    out->torn = out->next >= confirmed;
    if (out->torn)
        return;
    size_t size = record_size(h.len);
    ev->damage(ev->arg, off, size < n - off ? off + size : n, out->next, confirmed);
    out->next = confirmed;
    out->leftovers = true;
}

void segment_scan(const char *p, size_t n, uint32_t seed, uint64_t first, uint64_t limit, uint64_t confirmed,
                  const struct scan_events *ev, struct scan_result *out)
{
    struct record_head h;
    *out = (struct scan_result){.end = SEGMENT_HEAD, .next = first};
    size_t off = SEGMENT_HEAD;
    confirmed = confirmed < limit ? confirmed : limit;
    while (out->next < limit && off + RECORD_HEAD <= n) {
        if (record_get(p + off, n - off, seed, &h) && h.seq == out->next) {
            if (h.flags & RECORD_SEAL) {
                out->sealed = true;
                return;
            }
            ev->record(ev->arg, off, &h);
            out->next++;
            off = out->end = off + record_size(h.len);
            continue;
        }
        size_t at = search(p, off, n, seed, out->next, limit, &h);
        if (at == n) {
            scan_tail(p, n, off, seed, confirmed, ev, out);
            return;
        }
        if (limit == UINT64_MAX && out->next >= confirmed &&
            !was_confirmed(p, at, n, seed, out->next, limit)) {
            out->torn = out->leftovers = true;
            return;
        }
        ev->damage(ev->arg, off, at, out->next, h.seq);
        out->next = h.seq;
        off = at;
    }
}
