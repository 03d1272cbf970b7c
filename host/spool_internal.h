/* spool_internal.h — what the files of the spool module share; nobody else includes it.
 *
 * spool.c          open, close, write, maintain, figures
 * spool_segment.c  segment files: begin, extend, close, retire, use again
 * spool_recover.c  what a start finds in the directory
 * spool_acks.c     groups, bitmaps of what they acknowledged, attempts
 * spool_journal.c  the same on disk
 * spool_read.c     readers
 * spool_format.c   the bytes
 *
 * Under s->lock: everything but what is marked [writer] (the writer thread's own) and [const]. */
#ifndef ODTO_HOST_SPOOL_INTERNAL_H
#define ODTO_HOST_SPOOL_INTERNAL_H

#include "spool.h"
#include "spool_format.h"
#include <pthread.h>

#define SPOOL_SEGMENT_BYTES ((uint64_t)16 << 20)
#define SPOOL_SPARES        2u
#define SPOOL_WRITE_BYTES   ((size_t)1 << 20) /* of one write call */
#define INDEX_STEP          64u
#define FILE_NAME_MAX       64

struct bits {
    uint64_t *w;
    uint64_t n_set;
};

struct index_point {
    uint64_t seq;
    int64_t ms;
    size_t off;
};

struct segment {
    uint64_t first, next;                /* sequences first..next-1 */
    uint64_t generation;                 /* [const] */
    uint32_t seed;                       /* [const] */
    int fd;                              /* [const] */
    uint64_t end;                        /* behind the last confirmed record */
    uint64_t allocated;                  /* [writer] size of the file, all written once */
    struct bits acked[SPOOL_GROUPS_MAX]; /* also what was lost */
    struct bits lost;
    uint64_t words; /* of each bitmap in use */
    struct index_point *index;
    size_t n_index, cap_index;
    uint32_t pins; /* readers in it */
    uint64_t data; /* its part of data_bytes; 0: nobody wants anything of it */
};

/* Attempts of events not acknowledged, by sequence: open addressing, 0 is free. */
struct attempts {
    struct attempt {
        uint64_t seq;
        uint32_t n;
    } * at;
    size_t n, cap;
};
void attempts_set(struct attempts *a, uint64_t seq, uint32_t n); /* without memory: forgotten */
uint32_t attempts_get(const struct attempts *a, uint64_t seq);
void attempts_clear(struct attempts *a, uint64_t seq);

struct spool_group {
    bool used;
    char name[SPOOL_NAME_MAX];
    uint64_t unacked;
    struct attempts attempts;
};

/* One entry of the acknowledgement journal. */
struct jentry {
    uint32_t crc;
    uint8_t type, group;
    uint16_t attempt;
    uint64_t seq;
    uint32_t n, reserved;
};

struct journal {
    pthread_mutex_t writing; /* fd, cur, epoch, at, retry_ns; before s->lock */
    int fd[2];
    int cur;
    uint64_t epoch, at;
    int64_t retry_ns; /* after an error: not before; 0: fine */
    bool said;
    char *loaded; /* between load and apply: the newer file's entries */
    size_t n_loaded;
    /* under s->lock */
    struct jentry *buf, *other;
    size_t n, cap;
    bool overflow; /* entries were dropped: write a snapshot */
};

struct spool {
    const struct spool_io *io;      /* [const] */
    char topic[SPOOL_NAME_MAX * 2]; /* [const] */
    void (*report)(void *arg, odto_level level, const char *text);
    void *report_arg;
    uint64_t segment_bytes;                   /* [const] */
    bool sync;                                /* [const] */
    int dir, lock_fd;                         /* [const] */
    char *buf;                                /* [writer] */
    size_t buf_cap;                           /* [writer] */
    char *zeros;                              /* [const] */
    uint32_t last_generation;                 /* [writer] the counter in the high half of generations */
    char spares[SPOOL_SPARES][FILE_NAME_MAX]; /* [writer] */
    uint32_t n_spares;                        /* [writer] */

    pthread_mutex_t lock;
    struct segment **segs; /* by first */
    size_t n_segs, cap_segs;
    struct segment *active; /* the last of them, or NULL */
    uint64_t next_seq;
    struct spool_group groups[SPOOL_GROUPS_MAX];
    bool retire;         /* a segment may be done with */
    uint64_t data_bytes; /* of the active one up to its end, of others the whole file */
    uint64_t spare_bytes;
    uint64_t commits, recovered, corrupt;
    struct journal journal;
};

void spool_say(struct spool *s, odto_level level, const char *fmt, ...) ODTO_PRINTF(3, 4);

/* spool_segment.c */
struct segment *segment_new(uint64_t first, uint64_t generation, int fd);
void segment_free(struct segment *g); /* closes */
void segment_name(char out[FILE_NAME_MAX], uint64_t first, uint64_t generation);
bool segment_name_parse(const char *name, uint64_t *first, uint64_t *generation);
/* Bitmaps and index fit sequences below next. Lock held (or before the segment is shared). */
bool segment_reserve(struct spool *s, struct segment *g, uint64_t next);
void segment_index(struct segment *g, uint64_t seq, int64_t ms, size_t off); /* after reserve */
bool segments_add(struct spool *s, struct segment *g);                       /* at the end; lock held */
void segment_count_whole(struct spool *s, struct segment *g); /* g is not active: its file in data_bytes */
int segment_begin(struct spool *s, uint64_t need);            /* writer: a new active one */
int segment_extend(struct spool *s, struct segment *g, uint64_t end);
void segment_seal(struct spool *s);  /* writer: the active one is full */
void segment_taint(struct spool *s); /* writer: a write to the active one failed */
bool segments_retire(struct spool *s);
void spare_keep(struct spool *s, const char *name, uint64_t bytes); /* or unlink it */

/* spool_recover.c */
int spool_recover(struct spool *s, odto_error *err);
/* Keep damaged bytes of segment g aside. */
void spool_keep_corrupt(struct spool *s, uint64_t first, uint64_t generation, size_t off, const char *p,
                        size_t n);

/* spool_acks.c */
struct segment *segment_of(struct spool *s, uint64_t seq); /* lock held */
bool acks_mark(struct spool *s, uint32_t id,
               uint64_t seq); /* lock held; false: was already, or is not here */
void segment_lose(struct spool *s, struct segment *g, uint64_t from, uint64_t to);
uint64_t bits_next_clear(const struct bits *b, uint64_t i,
                         uint64_t n); /* the first clear one in i..n-1, or n */
/* If every group is through with g and it is not the active one: to be retired. Lock held. */
void segment_check_done(struct spool *s, struct segment *g);
bool segment_done(const struct spool *s, const struct segment *g);
int acks_group_open(struct spool *s, uint32_t id, const char *name); /* lock held; bitmaps as lost */
static inline bool bit_get(const struct bits *b, uint64_t i)
{
    return b->w && (b->w[i / 64] >> (i % 64) & 1);
}

/* spool_journal.c */
enum { J_GROUP = 1, J_DROP, J_ACK, J_DELIVERED, J_FLOOR, J_END };
/* At the start, before and after the segments are known; no lock needed. load raises s->next_seq above
 * everything the journal names. */
int journal_load(struct spool *s);
int journal_apply(struct spool *s);
void journal_close(struct spool *s);
void journal_add(struct spool *s, uint8_t type, uint32_t group, uint64_t seq, uint32_t n, uint32_t attempt);
void journal_add_name(struct spool *s, uint32_t group, const char *name);
bool journal_dirty(struct spool *s); /* lock held */
void journal_flush(struct spool *s); /* lock not held */

#endif
