/* spool_journal.c — acknowledgements on disk: two files used in turn.
 *
 * A file is a header with an epoch, a snapshot of everything known, an END entry, then entries as they come,
 * each with a CRC seeded by the epoch. When it is full a snapshot goes to the other file, which is synced
 * before it counts; so the newest complete one is always whole. Entries are written (not synced) when leases
 * go out and every 100 ms: a crash of the process loses at most the last acknowledgements, power loss some
 * more; both mean another delivery. An acknowledgement never names a sequence that may be given again:
 * recovery begins above everything the journal mentions.
 *
 * Any error here costs repeated deliveries after a crash, no more: it is reported, and a fresh snapshot tried
 * every second. */
#include "spool_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define JOURNAL_BYTES  ((uint64_t)1 << 20)
#define JOURNAL_MAX    ((uint64_t)256 << 20)
#define BUFFER_ENTRIES 2048u
#define NAME_ENTRIES   3u /* that follow a J_GROUP and hold the name */
#define MERGE_BACK     4u
#define RETRY_NS       ODTO_SEC
_Static_assert(NAME_ENTRIES * sizeof(struct jentry) >= SPOOL_NAME_MAX, "a name fits");
static const char *const file_name[2] = {"acks-a", "acks-b"};

struct jhead {
    char magic[8]; /* "odtoack\n" */
    uint32_t crc;  /* of what follows */
    uint32_t version;
    uint64_t epoch;
};
#define JOURNAL_HEAD ((uint64_t)64)

static uint32_t jhead_crc(const struct jhead *h)
{
    return odto_crc32c(0, &h->version, sizeof *h - offsetof(struct jhead, version));
}

static uint32_t epoch_seed(uint64_t epoch)
{
    return odto_crc32c(0x61636b73u, &epoch, sizeof epoch);
}

static uint32_t entry_crc(const struct jentry *e, size_t entries, uint32_t seed)
{
    return odto_crc32c(seed, &e->type, entries * sizeof *e - offsetof(struct jentry, type));
}

/* A J_GROUP is followed by its name. */
static size_t entry_length(const struct jentry *e)
{
    return e->type == J_GROUP ? 1 + NAME_ENTRIES : 1;
}

/* ---- adding -------------------------------------------------------------------------------- */

/* Does (type, group, seq, attempt) go on where e ends? */
static bool entry_merge(struct jentry *e, uint8_t type, uint32_t group, uint64_t seq, uint32_t n,
                        uint32_t attempt)
{
    if (e->type != type || e->group != group || e->attempt != attempt || e->seq + e->n != seq ||
        e->n > UINT32_MAX - n)
        return false;
    e->n += n;
    return true;
}

static bool journal_room(struct spool *s, size_t n)
{
    struct journal *j = &s->journal;
    if (j->n + n <= j->cap)
        return true;
    j->overflow = true; /* the next flush writes a snapshot instead */
    return false;
}

void journal_add(struct spool *s, uint8_t type, uint32_t group, uint64_t seq, uint32_t n, uint32_t attempt)
{
    struct journal *j = &s->journal;
    attempt = attempt < UINT16_MAX ? attempt : UINT16_MAX;
    /* only within acknowledgements: what lies between is of other groups or the same acknowledged range */
    for (size_t back = 1; back <= MERGE_BACK && back <= j->n; back++) {
        struct jentry *e = &j->buf[j->n - back];
        if (entry_merge(e, type, group, seq, n, attempt))
            return;
        if (e->type != J_ACK || type != J_ACK)
            break;
    }
    if (journal_room(s, 1))
        j->buf[j->n++] = (struct jentry){
            .type = type, .group = (uint8_t)group, .attempt = (uint16_t)attempt, .seq = seq, .n = n};
}

void journal_add_name(struct spool *s, uint32_t group, const char *name)
{
    struct journal *j = &s->journal;
    if (!journal_room(s, 1 + NAME_ENTRIES))
        return;
    struct jentry *e = &j->buf[j->n];
    memset(e, 0, (1 + NAME_ENTRIES) * sizeof *e);
    e->type = J_GROUP;
    e->group = (uint8_t)group;
    memcpy(e + 1, name, strnlen(name, SPOOL_NAME_MAX - 1));
    j->n += 1 + NAME_ENTRIES;
}

bool journal_dirty(struct spool *s)
{
    return s->journal.n > 0 || s->journal.overflow;
}

/* ---- writing ------------------------------------------------------------------------------- */

static void checksum(struct jentry *e, size_t n, uint32_t seed)
{
    for (size_t i = 0; i < n;) {
        size_t k = entry_length(&e[i]);
        e[i].crc = entry_crc(&e[i], k, seed);
        i += k;
    }
}

static void snapshot_put(odto_buf *b, uint8_t type, uint32_t group, uint64_t seq, uint32_t n,
                         uint32_t attempt)
{
    struct jentry e = {
        .type = type, .group = (uint8_t)group, .attempt = (uint16_t)attempt, .seq = seq, .n = n};
    odto_buf_put(b, &e, sizeof e);
}

/* The runs of acknowledged sequences of one group. */
static void snapshot_group(struct spool *s, uint32_t id, odto_buf *b)
{
    struct jentry name[1 + NAME_ENTRIES];
    memset(name, 0, sizeof name);
    name[0].type = J_GROUP;
    name[0].group = (uint8_t)id;
    memcpy(name + 1, s->groups[id].name, SPOOL_NAME_MAX - 1);
    odto_buf_put(b, name, sizeof name);
    for (size_t i = 0; i < s->n_segs; i++) {
        const struct segment *g = s->segs[i];
        uint64_t n = g->next - g->first;
        for (uint64_t at = 0; at < n; at++) {
            uint64_t clear = bits_next_clear(&g->acked[id], at, n);
            if (clear > at)
                snapshot_put(b, J_ACK, id, g->first + at, (uint32_t)(clear - at), 0);
            at = clear;
        }
    }
    const struct attempts *a = &s->groups[id].attempts;
    for (size_t i = 0; i < a->cap; i++)
        if (a->at[i].seq)
            snapshot_put(b, J_DELIVERED, id, a->at[i].seq, 1,
                         a->at[i].n < UINT16_MAX ? a->at[i].n : UINT16_MAX);
}

/* Everything known, as one file's content behind the head; the buffer of new entries is part of it. */
static bool snapshot_make(struct spool *s, odto_buf *b)
{
    pthread_mutex_lock(&s->lock);
    for (uint32_t id = 0; id < SPOOL_GROUPS_MAX; id++)
        if (s->groups[id].used)
            snapshot_group(s, id, b);
    snapshot_put(b, J_FLOOR, 0, s->next_seq, 0, 0);
    snapshot_put(b, J_END, 0, 0, 0, 0);
    s->journal.n = 0;
    s->journal.overflow = b->failed;
    pthread_mutex_unlock(&s->lock);
    return !b->failed;
}

static int write_all(struct spool *s, int fd, const void *p, size_t n, uint64_t at)
{
    for (size_t done = 0; done < n;) {
        ssize_t k = s->io->pwrite(s->io->arg, fd, (const char *)p + done, n - done, (off_t)(at + done));
        if (k <= 0)
            return k ? (int)k : -EIO;
        done += (size_t)k;
    }
    return 0;
}

/* Begin the other file. j->writing held. */
static int journal_switch(struct spool *s)
{
    struct journal *j = &s->journal;
    int to = !j->cur;
    if (j->fd[to] < 0) {
        int fd = s->io->open(s->io->arg, s->dir, file_name[to], O_RDWR | O_CREAT, 0600);
        if (fd < 0)
            return fd;
        j->fd[to] = fd;
        int rc = s->io->allocate(s->io->arg, fd, 0, (off_t)JOURNAL_BYTES);
        if (rc)
            return rc;
    }
    odto_buf b = {.max = JOURNAL_MAX};
    struct jhead h = {.magic = "odtoack\n", .version = 1, .epoch = j->epoch + 1};
    h.crc = jhead_crc(&h);
    static const char pad[JOURNAL_HEAD - sizeof h];
    odto_buf_put(&b, &h, sizeof h);
    odto_buf_put(&b, pad, sizeof pad);
    int rc = snapshot_make(s, &b) ? 0 : -ENOMEM;
    if (!rc) {
        checksum((struct jentry *)(void *)(b.p + JOURNAL_HEAD), (b.n - JOURNAL_HEAD) / sizeof(struct jentry),
                 epoch_seed(h.epoch));
        rc = write_all(s, j->fd[to], b.p, b.n, 0);
    }
    if (!rc && s->sync)
        rc = s->io->sync(s->io->arg, j->fd[to]);
    if (!rc) {
        j->cur = to;
        j->epoch = h.epoch;
        j->at = b.n;
    }
    odto_buf_free(&b);
    return rc;
}

/* Append what was buffered. j->writing held. */
static int journal_append(struct spool *s)
{
    struct journal *j = &s->journal;
    pthread_mutex_lock(&s->lock);
    struct jentry *mine = j->buf;
    size_t n = j->n;
    j->buf = j->other;
    j->other = mine;
    j->n = 0;
    pthread_mutex_unlock(&s->lock);
    checksum(mine, n, epoch_seed(j->epoch));
    int rc = n ? write_all(s, j->fd[j->cur], mine, n * sizeof *mine, j->at) : 0;
    if (!rc)
        j->at += n * sizeof *mine;
    return rc;
}

void journal_flush(struct spool *s)
{
    struct journal *j = &s->journal;
    pthread_mutex_lock(&j->writing);
    pthread_mutex_lock(&s->lock);
    bool fresh = j->retry_ns || j->overflow || j->epoch == 0;
    uint64_t bytes = j->n * sizeof(struct jentry);
    pthread_mutex_unlock(&s->lock);
    if (j->retry_ns && odto_now_ns() < j->retry_ns) {
        pthread_mutex_unlock(&j->writing);
        return;
    }
    uint64_t size = JOURNAL_BYTES; /* a large snapshot leaves as much room again */
    while (j->at > size / 2)
        size *= 2;
    int rc = fresh || j->at + bytes > size ? journal_switch(s) : journal_append(s);
    j->retry_ns = rc ? odto_now_ns() + RETRY_NS : 0;
    bool say = rc && !j->said;
    j->said = rc != 0;
    if (rc) { /* what was taken out of the buffer is in the next snapshot */
        pthread_mutex_lock(&s->lock);
        j->overflow = true;
        pthread_mutex_unlock(&s->lock);
    }
    pthread_mutex_unlock(&j->writing);
    if (say)
        spool_say(s, ODTO_WARN, "acknowledgements can't be written (%s): a crash would deliver events again",
                  strerror(-rc));
}

/* ---- reading ------------------------------------------------------------------------------- */

struct jfile {
    char *p;
    size_t n;
    uint64_t epoch;
    size_t entries; /* good ones; 0: not usable */
};

static const struct jentry *jfile_entries(const struct jfile *f)
{
    return (const struct jentry *)(const void *)(f->p + JOURNAL_HEAD);
}

/* How many good entries the file holds, 0 when its snapshot is not complete. */
static void jfile_check(struct jfile *f)
{
    struct jhead h;
    f->entries = 0;
    if (f->n < JOURNAL_HEAD)
        return;
    memcpy(&h, f->p, sizeof h);
    if (memcmp(h.magic, "odtoack\n", 8) != 0 || h.crc != jhead_crc(&h) || h.version != 1)
        return;
    f->epoch = h.epoch;
    const struct jentry *e = jfile_entries(f);
    size_t max = (f->n - JOURNAL_HEAD) / sizeof *e, i = 0;
    uint32_t seed = epoch_seed(h.epoch);
    bool complete = false;
    while (i < max) {
        size_t k = entry_length(&e[i]);
        if (!e[i].type || i + k > max || e[i].crc != entry_crc(&e[i], k, seed))
            break;
        complete = complete || e[i].type == J_END;
        i += k;
    }
    f->entries = complete ? i : 0;
}

static void jfile_read(struct spool *s, int which, struct jfile *f)
{
    *f = (struct jfile){0};
    int fd = s->io->open(s->io->arg, s->dir, file_name[which], O_RDWR, 0);
    if (fd < 0)
        return;
    s->journal.fd[which] = fd;
    off_t size = lseek(fd, 0, SEEK_END);
    f->p = size > 0 && (uint64_t)size <= 2 * JOURNAL_MAX ? malloc((size_t)size) : NULL;
    while (f->p && f->n < (size_t)size) {
        ssize_t k = s->io->pread(s->io->arg, fd, f->p + f->n, (size_t)size - f->n, (off_t)f->n);
        if (k <= 0)
            break;
        f->n += (size_t)k;
    }
    jfile_check(f);
}

static void apply_ack(struct spool *s, const struct jentry *e)
{
    uint64_t to = e->seq + e->n;
    for (uint64_t seq = e->seq; seq < to;) {
        struct segment *g = segment_of(s, seq);
        if (g) {
            acks_mark(s, e->group, seq++);
            continue;
        }
        uint64_t next = to; /* skip what is no longer kept */
        for (size_t i = 0; i < s->n_segs; i++)
            if (s->segs[i]->first > seq && s->segs[i]->first < next)
                next = s->segs[i]->first;
        seq = next;
    }
}

static int apply(struct spool *s, const struct jentry *e)
{
    if (e->group >= SPOOL_GROUPS_MAX || (e->type != J_GROUP && !s->groups[e->group].used))
        return 0;
    switch (e->type) {
    case J_GROUP: {
        char name[SPOOL_NAME_MAX];
        memcpy(name, e + 1, sizeof name - 1);
        name[sizeof name - 1] = 0;
        if (!s->groups[e->group].used)
            return acks_group_open(s, e->group, name);
        memcpy(s->groups[e->group].name, name, sizeof name);
        return 0;
    }
    case J_DROP:
        free(s->groups[e->group].attempts.at);
        s->groups[e->group] = (struct spool_group){.used = false};
        return 0;
    case J_ACK:
        apply_ack(s, e);
        return 0;
    case J_DELIVERED:
        for (uint32_t i = 0; i < e->n; i++) {
            struct segment *g = segment_of(s, e->seq + i);
            if (g && !bit_get(&g->acked[e->group], e->seq + i - g->first))
                attempts_set(&s->groups[e->group].attempts, e->seq + i, e->attempt);
        }
        return 0;
    default:
        return 0;
    }
}

int journal_load(struct spool *s)
{
    struct journal *j = &s->journal;
    j->cap = BUFFER_ENTRIES;
    j->buf = malloc(j->cap * sizeof *j->buf);
    j->other = malloc(j->cap * sizeof *j->other);
    j->overflow = true; /* the first flush writes a snapshot */
    if (!j->buf || !j->other)
        return -ENOMEM;
    struct jfile f[2];
    jfile_read(s, 0, &f[0]);
    jfile_read(s, 1, &f[1]);
    int best = f[1].entries && (!f[0].entries || f[1].epoch > f[0].epoch);
    free(f[!best].p);
    j->loaded = f[best].p;
    j->n_loaded = f[best].entries;
    j->epoch = f[best].epoch > f[!best].epoch ? f[best].epoch : f[!best].epoch;
    j->cur = best;
    const struct jentry *e = j->n_loaded ? jfile_entries(&f[best]) : NULL;
    for (size_t i = 0; i < j->n_loaded; i += entry_length(&e[i]))
        if (e[i].type >= J_ACK && e[i].seq + e[i].n > s->next_seq)
            s->next_seq = e[i].seq + e[i].n;
    return 0;
}

int journal_apply(struct spool *s)
{
    struct journal *j = &s->journal;
    struct jfile f = {.p = j->loaded};
    const struct jentry *e = j->n_loaded ? jfile_entries(&f) : NULL;
    int rc = 0;
    for (size_t i = 0; i < j->n_loaded && !rc; i += entry_length(&e[i]))
        rc = apply(s, &e[i]);
    free(j->loaded);
    j->loaded = NULL;
    j->n_loaded = 0;
    return rc;
}

void journal_close(struct spool *s)
{
    struct journal *j = &s->journal;
    for (int i = 0; i < 2; i++)
        if (j->fd[i] >= 0)
            close(j->fd[i]);
    free(j->loaded);
    free(j->buf);
    free(j->other);
}
