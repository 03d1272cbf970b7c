/* spool_recover.c — what a start finds: segments are read once and every record checked. One thread, nothing
 * shared.
 *
 * A torn end (a commit that was not confirmed) is cut off in memory and reported; bytes that should have been
 * confirmed records but are damaged are copied to a .corrupt file, reported, and their sequences given up. */
#include "spool_internal.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct found {
    uint64_t first, generation;
    char name[FILE_NAME_MAX];
};

struct list {
    struct found *at;
    size_t n, cap;
};

static int found_order(const void *a, const void *b)
{
    const struct found *x = a, *y = b;
    if (x->first != y->first)
        return x->first < y->first ? -1 : 1;
    return x->generation < y->generation ? -1 : x->generation > y->generation;
}

static bool list_add(struct list *l, const struct found *f)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 32;
        struct found *at = realloc(l->at, cap * sizeof *at);
        if (!at)
            return false;
        l->at = at;
        l->cap = cap;
    }
    l->at[l->n++] = *f;
    return true;
}

static void generation_seen(struct spool *s, uint64_t generation)
{
    if ((uint32_t)(generation >> 32) > s->last_generation)
        s->last_generation = (uint32_t)(generation >> 32);
}

static void spare_found(struct spool *s, const char *name)
{
    struct stat st;
    uint64_t generation = strtoull(name + 6, NULL, 16);
    generation_seen(s, generation);
    if (s->n_spares == SPOOL_SPARES || fstatat(s->dir, name, &st, AT_SYMLINK_NOFOLLOW) ||
        !S_ISREG(st.st_mode) || (uint64_t)st.st_size > 2 * s->segment_bytes) {
        s->io->unlink(s->io->arg, s->dir, name);
        return;
    }
    snprintf(s->spares[s->n_spares++], FILE_NAME_MAX, "%s", name);
    s->spare_bytes += (uint64_t)st.st_size;
}

static int list_dir(struct spool *s, struct list *l)
{
    int fd = openat(s->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        int rc = -errno;
        if (fd >= 0)
            close(fd);
        return rc;
    }
    int rc = 0;
    for (struct dirent *e; !rc && (e = readdir(d));) {
        struct found f = {0};
        if (segment_name_parse(e->d_name, &f.first, &f.generation)) {
            snprintf(f.name, sizeof f.name, "%.*s", FILE_NAME_MAX - 1, e->d_name);
            generation_seen(s, f.generation);
            rc = list_add(l, &f) ? 0 : -ENOMEM;
        } else if (!strncmp(e->d_name, "spare-", 6) && strlen(e->d_name) == 22) {
            spare_found(s, e->d_name);
        }
    }
    closedir(d);
    if (l->n)
        qsort(l->at, l->n, sizeof *l->at, found_order);
    return rc;
}

/* ---- one segment --------------------------------------------------------------------------- */

struct scanning {
    struct spool *s;
    struct segment *g;
    const char *p;
    bool no_memory;
};

static void on_record(void *arg, size_t off, const struct record_head *h)
{
    struct scanning *sc = arg;
    if (sc->no_memory || !segment_reserve(sc->s, sc->g, h->seq + 1)) {
        sc->no_memory = true;
        return;
    }
    segment_index(sc->g, h->seq, h->unix_ms, off);
    sc->g->next = h->seq + 1;
}

void spool_keep_corrupt(struct spool *s, uint64_t first, uint64_t generation, size_t off, const char *p,
                        size_t n)
{
    char seg[FILE_NAME_MAX], name[FILE_NAME_MAX + 40];
    segment_name(seg, first, generation);
    snprintf(name, sizeof name, "%s-%zu.corrupt", seg, off);
    int fd = s->io->open(s->io->arg, s->dir, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    for (size_t done = 0; fd >= 0 && done < n;) {
        ssize_t k = s->io->pwrite(s->io->arg, fd, p + done, n - done, (off_t)done);
        if (k <= 0)
            break;
        done += (size_t)k;
    }
    if (fd >= 0)
        close(fd);
}

static void on_damage(void *arg, size_t off, size_t end, uint64_t from, uint64_t to)
{
    struct scanning *sc = arg;
    if (sc->no_memory || !segment_reserve(sc->s, sc->g, to)) {
        sc->no_memory = true;
        return;
    }
    sc->g->next = to;
    segment_lose(sc->s, sc->g, from, to);
    sc->s->corrupt += to - from;
    spool_keep_corrupt(sc->s, sc->g->first, sc->g->generation, off, sc->p + off, end - off);
    spool_say(sc->s, ODTO_ERROR,
              "%" PRIu64 " events (%" PRIu64 "..%" PRIu64
              ") are damaged on disk and lost; their bytes are kept in a "
              ".corrupt file",
              to - from, from, to - 1);
}

/* The whole file, with zeros where it can't be read. */
static char *read_file(struct spool *s, int fd, size_t n)
{
    char *p = malloc(n ? n : 1);
    for (size_t at = 0; p && at < n;) {
        ssize_t k = s->io->pread(s->io->arg, fd, p + at, n - at, (off_t)at);
        if (k > 0) {
            at += (size_t)k;
            continue;
        }
        size_t block = 4096 - at % 4096;
        block = block < n - at ? block : n - at;
        spool_say(s, ODTO_ERROR, "can't read %zu bytes of a segment: %s", block, strerror(k ? (int)-k : EIO));
        memset(p + at, 0, block);
        at += block;
    }
    return p;
}

enum head { HEAD_GOOD, HEAD_OTHER, HEAD_DAMAGED, HEAD_NEWER };

/* What the header says about a file named f. OTHER: a spare whose renaming was lost. */
static enum head check_head(struct spool *s, const struct found *f, const char *p, size_t n)
{
    struct segment_head h;
    int rc = -EINVAL;
    if (n >= SEGMENT_HEAD) {
        memcpy(&h, p, sizeof h);
        rc = segment_head_check(&h);
    }
    if (rc == -EPROTO)
        return HEAD_NEWER;
    if (!rc)
        return h.first == f->first && h.generation == f->generation ? HEAD_GOOD : HEAD_OTHER;
    /* the name says the same, and the records check themselves */
    spool_say(s, ODTO_ERROR, "the header of %s is damaged; reading its records all the same", f->name);
    return HEAD_DAMAGED;
}

static void segment_aside(struct spool *s, const struct found *f)
{
    char to[FILE_NAME_MAX + 16];
    snprintf(to, sizeof to, "%s.corrupt", f->name);
    s->io->rename(s->io->arg, s->dir, f->name, to);
}

/* Scan g from its bytes; *usable: may be appended to. */
static int scan(struct spool *s, struct segment *g, const char *p, size_t n, uint64_t limit, bool *usable)
{
    struct scanning sc = {s, g, p, false};
    struct scan_events ev = {on_record, on_damage, &sc};
    struct scan_result r;
    segment_scan(p, n, g->seed, g->first, limit, s->next_seq, &ev, &r);
    if (sc.no_memory)
        return -ENOMEM;
    g->end = r.end;
    *usable = !r.sealed && !r.leftovers && limit == UINT64_MAX;
    if (r.torn && limit == UINT64_MAX)
        spool_say(s, ODTO_WARN,
                  "the last commit was torn by a crash; it was not confirmed and is cut off at byte %zu",
                  r.end);
    return 0;
}

static int recover_file(struct spool *s, const struct found *f, struct segment **out, size_t *size)
{
    int fd = s->io->open(s->io->arg, s->dir, f->name, O_RDWR, 0);
    if (fd < 0)
        return fd;
    struct stat st;
    int rc = fstat(fd, &st) ? -errno : 0;
    *out = rc ? NULL : segment_new(f->first, f->generation, fd);
    if (!*out) {
        close(fd);
        return rc ? rc : -ENOMEM;
    }
    *size = (size_t)st.st_size;
    return 0;
}

/* Add the segment found, or put its file away. */
static int recover_one(struct spool *s, const struct found *f, uint64_t limit, uint64_t *next)
{
    struct segment *g;
    size_t n;
    int rc = recover_file(s, f, &g, &n);
    if (rc)
        return rc;
    char *p = read_file(s, g->fd, n);
    enum head head = p ? check_head(s, f, p, n) : HEAD_NEWER;
    bool usable = false;
    rc = !p ? -ENOMEM : head == HEAD_NEWER ? -EPROTO : 0;
    if (!rc && head != HEAD_OTHER)
        rc = scan(s, g, p, n, limit, &usable);
    free(p);
    g->allocated = n;
    usable = usable && head == HEAD_GOOD;
    if (rc || (g->next == g->first && !usable)) { /* nothing in it */
        segment_free(g);
        if (!rc && head == HEAD_DAMAGED)
            segment_aside(s, f);
        else if (!rc)
            spare_keep(s, f->name, n);
        return rc;
    }
    if (!segments_add(s, g)) {
        segment_free(g);
        return -ENOMEM;
    }
    *next = g->next > *next ? g->next : *next;
    if (usable)
        s->active = g;
    return 0;
}

int spool_recover(struct spool *s, odto_error *err)
{
    struct list l = {0};
    int rc = journal_load(s); /* next_seq is now above everything it knows to have been confirmed */
    if (!rc)
        rc = list_dir(s, &l);
    uint64_t next = s->next_seq;
    for (size_t i = 0; i < l.n && !rc; i++) {
        rc = recover_one(s, &l.at[i], i + 1 < l.n ? l.at[i + 1].first : UINT64_MAX, &next);
        if (rc)
            odto_fail(err, rc, "%s: can't recover segment %s: %s", s->topic, l.at[i].name,
                      rc == -EPROTO ? "it was written by a newer version" : strerror(-rc));
    }
    if (rc && !l.n)
        odto_fail(err, rc, "%s: can't read the spool's directory: %s", s->topic, strerror(-rc));
    free(l.at);
    s->next_seq = next;
    if (s->active && s->active != s->segs[s->n_segs - 1])
        s->active = NULL;
    /* what a killed process wrote may be in the page cache only */
    if (!rc && s->active && s->sync && s->io->sync(s->io->arg, s->active->fd) != 0)
        s->active = NULL;
    if (!rc)
        rc = journal_apply(s);
    for (size_t i = 0; i < s->n_segs; i++)
        s->recovered += s->segs[i]->next - s->segs[i]->first - s->segs[i]->lost.n_set;
    if (s->active && s->active->next != s->next_seq) /* the journal knows of later ones: their file is gone */
        s->active = NULL;
    for (size_t i = 0; i < s->n_segs; i++)
        if (s->segs[i] != s->active)
            segment_count_whole(s, s->segs[i]);
    return rc;
}
