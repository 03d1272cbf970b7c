/* spool_read.c — reading events back in order, for groups that are behind and for people.
 *
 * A reader keeps its position (segment, offset) and a buffer; the segment is pinned while it is read, so it
 * is not taken out of use. Records are checked again: what was good at the start can have been damaged since.
 */
#include "spool_internal.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define READ_BYTES ((size_t)256 << 10)

struct spool_reader {
    char *buf;
    size_t cap, n;              /* bytes in the buffer */
    uint64_t buf_gen, at;       /* the segment they are of, by generation, and their offset in it */
    uint64_t pos_gen, off, seq; /* where in a segment the record `seq` begins */
};

struct spool_reader *spool_reader_new(void)
{
    return calloc(1, sizeof(struct spool_reader));
}

void spool_reader_free(struct spool *s, struct spool_reader *rd)
{
    (void)s;
    if (rd)
        free(rd->buf);
    free(rd);
}

/* A stretch of one segment that is to be read: consistent, taken under the lock. */
struct stretch {
    struct segment *g; /* pinned: its file stays */
    uint64_t seq, below, off, end;
    uint64_t skip[64]; /* acknowledged among seq..seq+64*64-1, as bits */
};
#define STRETCH_RECORDS (64u * 64u)

/* The next stretch with something for group id at or above seq; false: nothing below `below`. Pins its
 * segment. */
static bool stretch_next(struct spool *s, const struct spool_reader *rd, uint32_t id, uint64_t seq,
                         uint64_t below, struct stretch *st)
{
    bool found = false;
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->n_segs && !found; i++) {
        struct segment *g = s->segs[i];
        if (g->next <= seq || g->first >= below)
            continue;
        uint64_t from = seq > g->first ? seq - g->first : 0, n = g->next - g->first;
        uint64_t at = bits_next_clear(&g->acked[id], from, n);
        if (at == n || g->first + at >= below)
            continue;
        found = true;
        g->pins++;
        *st = (struct stretch){.g = g, .seq = g->first + at, .below = g->next, .end = g->end};
        if (st->below > st->seq + STRETCH_RECORDS)
            st->below = st->seq + STRETCH_RECORDS;
        if (st->below > below)
            st->below = below;
        for (uint64_t k = 0; st->seq + k < st->below; k++)
            if (bit_get(&g->acked[id], at + k))
                st->skip[k / 64] |= (uint64_t)1 << (k % 64);
        if (rd->pos_gen == g->generation && rd->seq <= st->seq) {
            st->off = rd->off;
            continue;
        }
        st->off = SEGMENT_HEAD;
        for (size_t k = 0; k < g->n_index && g->index[k].seq <= st->seq; k++)
            st->off = g->index[k].off;
    }
    pthread_mutex_unlock(&s->lock);
    return found;
}

static void stretch_end(struct spool *s, struct stretch *st)
{
    pthread_mutex_lock(&s->lock);
    st->g->pins--;
    pthread_mutex_unlock(&s->lock);
}

/* The bytes of the segment from off on, at least `want` of them if there are; NULL with *rc on an error. */
static const char *reader_bytes(struct spool *s, struct spool_reader *rd, const struct stretch *st,
                                uint64_t off, size_t want, size_t *n, int *rc)
{
    if (rd->buf_gen != st->g->generation || off < rd->at || off + want > rd->at + rd->n) {
        size_t size = want > READ_BYTES ? want : READ_BYTES;
        if (size > rd->cap) {
            free(rd->buf);
            rd->buf = malloc(size);
            rd->cap = rd->buf ? size : 0;
        }
        rd->n = 0;
        if (!rd->buf) {
            *rc = -ENOMEM;
            return NULL;
        }
        rd->buf_gen = st->g->generation;
        rd->at = off;
        uint64_t left = st->end > off ? st->end - off : 0;
        size = left < rd->cap ? (size_t)left : rd->cap;
        while (rd->n < size) {
            ssize_t k =
                s->io->pread(s->io->arg, st->g->fd, rd->buf + rd->n, size - rd->n, (off_t)(off + rd->n));
            if (k < 0) {
                *rc = (int)k;
                return NULL;
            }
            if (!k)
                break;
            rd->n += (size_t)k;
        }
    }
    *n = (size_t)(rd->at + rd->n - off);
    return rd->buf + (off - rd->at);
}

/* The record at off, whole in the buffer: 1; 0 not a good one; -errno. */
static int reader_record(struct spool *s, struct spool_reader *rd, const struct stretch *st, uint64_t off,
                         struct record_head *h, const char **p)
{
    int rc = 0;
    size_t n = 0;
    *p = reader_bytes(s, rd, st, off, RECORD_HEAD, &n, &rc);
    if (!*p)
        return rc;
    if (!record_head_get(*p, n, st->g->seed, h) || off + record_size(h->len) > st->end)
        return 0;
    if (record_size(h->len) > n) /* cut by the buffer's end */
        *p = reader_bytes(s, rd, st, off, record_size(h->len), &n, &rc);
    if (!*p)
        return rc;
    return record_get(*p, n, st->g->seed, h);
}

/* No good record at off: go to the next good one, and give up for this group what was between. *off and *seq:
 * where to go on. */
static void skip_damage(struct spool *s, struct spool_reader *rd, const struct stretch *st, uint32_t id,
                        uint64_t *off, uint64_t *seq, uint64_t *lost)
{
    struct record_head h;
    const char *p;
    uint64_t to = st->g->next, gone = 0;
    for (*off += 8; *off + RECORD_HEAD <= st->end; *off += 8)
        if (reader_record(s, rd, st, *off, &h, &p) == 1) {
            to = h.seq;
            break;
        }
    pthread_mutex_lock(&s->lock);
    for (; *seq < to; ++*seq)
        if (acks_mark(s, id, *seq)) {
            journal_add(s, J_ACK, id, *seq, 1, 0);
            gone++;
        }
    s->corrupt += gone;
    pthread_mutex_unlock(&s->lock);
    *lost += gone;
    if (gone)
        spool_say(s, ODTO_ERROR,
                  "%" PRIu64 " events before %" PRIu64 " became unreadable on disk and are lost", gone, to);
}

static odto_event *event_of(struct event_pool *pool, const struct record_head *h, const char *p)
{
    odto_slice body = odto_slice_of(p + RECORD_HEAD, h->len);
    odto_event *e = event_make(pool, body, h->flags & RECORD_VALID_HEADER ? ODTO_EVENT_VALID : 0);
    return e || errno != EINVAL ? e : event_make(pool, body, 0);
}

struct reading {
    struct spool_item *out;
    size_t n, max, bytes, max_bytes;
    uint64_t *lost;
};

static bool reading_full(const struct reading *r)
{
    return r->n == r->max || r->bytes >= r->max_bytes;
}

/* Read one stretch; *next: behind what was read. 0 or -errno. */
static int read_stretch(struct spool *s, struct spool_reader *rd, const struct stretch *st, uint32_t id,
                        struct event_pool *pool, struct reading *r, uint64_t *next)
{
    uint64_t off = st->off, seq = st->seq; /* the record at off is `seq` or one before it */
    while (seq < st->below && !reading_full(r)) {
        struct record_head h;
        const char *p;
        int rc = reader_record(s, rd, st, off, &h, &p);
        if (rc < 0)
            return rc;
        if (rc == 0) {
            skip_damage(s, rd, st, id, &off, &seq, r->lost);
            *next = seq;
            continue;
        }
        if (h.seq > seq) { /* over a hole that recovery gave up */
            *next = seq = h.seq;
            continue;
        }
        uint64_t k = seq - st->seq;
        if (h.seq == seq && !(st->skip[k / 64] >> (k % 64) & 1)) {
            odto_event *e = event_of(pool, &h, p);
            if (!e)
                return -ENOMEM;
            r->out[r->n++] = (struct spool_item){e, h.seq, h.unix_ms, 0};
            r->bytes += event_cost(e);
        }
        off += record_size(h.len);
        if (h.seq == seq)
            *next = ++seq;
        rd->pos_gen = st->g->generation;
        rd->off = off;
        rd->seq = h.seq + 1;
    }
    return 0;
}

ssize_t spool_read(struct spool *s, struct spool_reader *rd, uint32_t id, uint64_t from, uint64_t below,
                   struct event_pool *pool, struct spool_item *out, size_t max, size_t max_bytes,
                   uint64_t *next, uint64_t *lost)
{
    struct reading r = {.out = out, .max = max, .max_bytes = max_bytes, .lost = lost};
    struct stretch st;
    int rc = 0;
    *lost = 0;
    *next = from;
    while (!rc && !reading_full(&r)) {
        if (!stretch_next(s, rd, id, *next, below, &st)) {
            *next = below;
            break;
        }
        rc = read_stretch(s, rd, &st, id, pool, &r, next);
        stretch_end(s, &st);
    }
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < r.n; i++)
        out[i].attempts = attempts_get(&s->groups[id].attempts, out[i].seq);
    pthread_mutex_unlock(&s->lock);
    return rc && !r.n ? rc : (ssize_t)r.n;
}
