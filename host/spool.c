/* spool.c — open, close, write. See spool.h for the guarantees, spool_internal.h for the parts. */
#include "spool_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUFFER_KEEP ((size_t)4 << 20)

void spool_say(struct spool *s, odto_level level, const char *fmt, ...)
{
    if (!s->report)
        return;
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    s->report(s->report_arg, level, text);
}

/* ---- open ---------------------------------------------------------------------------------- */

static int make_dirs(const char *path, odto_error *err)
{
    char part[4096];
    if (strlen(path) >= sizeof part)
        return odto_fail(err, -ENAMETOOLONG, "the spool's directory has too long a name: %s", path);
    for (size_t i = 1; i <= strlen(path); i++) {
        if (path[i] && path[i] != '/')
            continue;
        memcpy(part, path, i);
        part[i] = 0;
        if (mkdir(part, 0700) && errno != EEXIST) {
            int rc = odto_fail(err, -errno, "can't make directory %s: %s", part, strerror(errno));
            odto_error_hint(err, "give [host] data_dir a directory this user may write to");
            return rc;
        }
    }
    return 0;
}

static int take_lock(struct spool *s, const char *dir, odto_error *err)
{
    s->lock_fd = openat(s->dir, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (s->lock_fd < 0) {
        int rc = odto_fail(err, -errno, "can't write to the spool's directory %s: %s", dir, strerror(errno));
        odto_error_hint(err, "a spool needs a writable file system with free space");
        return rc;
    }
    char pid[24] = "";
    if (flock(s->lock_fd, LOCK_EX | LOCK_NB) == 0) {
        int n = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
        if (ftruncate(s->lock_fd, 0) == 0 && pwrite(s->lock_fd, pid, (size_t)n, 0) < 0)
            pid[0] = 0; /* only for people */
        return 0;
    }
    ssize_t n = pread(s->lock_fd, pid, sizeof pid - 1, 0);
    pid[n > 0 ? strcspn(pid, "\n") : 0] = 0;
    int rc = odto_fail(err, -EBUSY, "the spool %s is in use by another host (process %s)", dir,
                       *pid ? pid : "unknown");
    odto_error_hint(err, "stop that host, or give this one a data_dir of its own");
    return rc;
}

static void spool_destroy(struct spool *s)
{
    journal_close(s);
    for (size_t i = 0; i < s->n_segs; i++)
        segment_free(s->segs[i]);
    for (uint32_t i = 0; i < SPOOL_GROUPS_MAX; i++)
        free(s->groups[i].attempts.at);
    free(s->segs);
    free(s->buf);
    free(s->zeros);
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    if (s->dir >= 0)
        close(s->dir);
    pthread_mutex_destroy(&s->lock);
    pthread_mutex_destroy(&s->journal.writing);
    free(s);
}

/* There is always a group, so that what nobody consumes yet is kept; only then can a segment be done with. */
static int open_groups(struct spool *s)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < SPOOL_GROUPS_MAX; i++)
        n += s->groups[i].used;
    int rc = n ? 0 : spool_group_add(s, "", &n);
    for (size_t i = 0; !rc && i < s->n_segs; i++)
        segment_check_done(s, s->segs[i]);
    return rc;
}

static int open_dir(struct spool *s, const char *dir, odto_error *err)
{
    int rc = make_dirs(dir, err);
    if (rc)
        return rc;
    s->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->dir < 0)
        return odto_fail(err, -errno, "can't open directory %s: %s", dir, strerror(errno));
    return take_lock(s, dir, err);
}

int spool_open(const struct spool_config *config, struct spool **out, odto_error *err)
{
    struct spool *s = calloc(1, sizeof *s);
    if (!s)
        return odto_fail(err, -ENOMEM, "spool %s: no memory", config->topic);
    s->io = config->io ? config->io : spool_io_system();
    snprintf(s->topic, sizeof s->topic, "%s", config->topic);
    s->report = config->report;
    s->report_arg = config->report_arg;
    s->segment_bytes = config->segment_bytes ? config->segment_bytes : SPOOL_SEGMENT_BYTES;
    s->sync = config->sync;
    s->dir = s->lock_fd = s->journal.fd[0] = s->journal.fd[1] = -1;
    s->next_seq = 1;
    s->retire = true;
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->journal.writing, NULL);
    int rc = open_dir(s, config->dir, err);
    if (!rc)
        rc = spool_recover(s, err);
    if (!rc && (rc = open_groups(s)))
        odto_fail(err, rc, "spool %s: %s", s->topic, strerror(-rc));
    if (rc) {
        spool_destroy(s);
        return rc;
    }
    *out = s;
    return 0;
}

void spool_close(struct spool *s)
{
    spool_maintain(s);
    spool_destroy(s);
}

/* ---- write --------------------------------------------------------------------------------- */

uint64_t spool_record_bytes(size_t body)
{
    return record_size(body);
}

/* Room in the active segment for so many bytes; seals and begins as needed. */
static int room(struct spool *s, uint64_t bytes)
{
    if (s->active && s->active->end + bytes > s->segment_bytes && s->active->end > SEGMENT_HEAD)
        segment_seal(s);
    if (!s->active)
        return segment_begin(s, bytes);
    return segment_extend(s, s->active, s->active->end + bytes);
}

static bool buffer_fits(struct spool *s, size_t n)
{
    size_t cap = n < SPOOL_WRITE_BYTES ? SPOOL_WRITE_BYTES : n;
    if (s->buf_cap >= cap)
        return true;
    free(s->buf);
    s->buf = malloc(cap);
    s->buf_cap = s->buf ? cap : 0;
    return s->buf != NULL;
}

static int flush_buffer(struct spool *s, size_t n, uint64_t at)
{
    for (size_t done = 0; done < n;) {
        ssize_t k = s->io->pwrite(s->io->arg, s->active->fd, s->buf + done, n - done, (off_t)(at + done));
        if (k <= 0)
            return k ? (int)k : -EIO;
        done += (size_t)k;
    }
    return 0;
}

/* The records, from the active segment's end on. */
static int write_records(struct spool *s, odto_event *const *events, size_t n, int64_t unix_ms)
{
    const struct segment *g = s->active;
    uint64_t at = g->end;
    size_t fill = 0;
    for (size_t i = 0; i < n; i++) {
        size_t size = record_size(events[i]->body.n);
        if (fill + size > s->buf_cap) {
            int rc = flush_buffer(s, fill, at);
            if (rc)
                return rc;
            at += fill;
            fill = 0;
        }
        uint8_t flags = events[i]->flags & ODTO_EVENT_VALID ? RECORD_VALID_HEADER : 0;
        record_put(s->buf + fill, g->seed, s->next_seq + i, unix_ms, (uint32_t)i, flags, events[i]->body);
        fill += size;
    }
    return flush_buffer(s, fill, at);
}

/* The commit is durable: into the index. */
static void confirm(struct spool *s, odto_event *const *events, size_t n, int64_t unix_ms, uint64_t bytes)
{
    pthread_mutex_lock(&s->lock);
    struct segment *g = s->active;
    uint64_t off = g->end;
    for (size_t i = 0; i < n; i++) {
        segment_index(g, s->next_seq + i, unix_ms, (size_t)off);
        off += record_size(events[i]->body.n);
    }
    g->end += bytes;
    g->next += n;
    g->data += bytes;
    s->data_bytes += bytes;
    s->next_seq += n;
    s->commits++;
    for (uint32_t i = 0; i < SPOOL_GROUPS_MAX; i++)
        if (s->groups[i].used)
            s->groups[i].unacked += n;
    pthread_mutex_unlock(&s->lock);
}

static void buffer_trim(struct spool *s)
{
    if (s->buf_cap <= BUFFER_KEEP)
        return;
    free(s->buf);
    s->buf = NULL;
    s->buf_cap = 0;
}

int spool_write(struct spool *s, odto_event *const *events, size_t n, int64_t unix_ms, uint64_t *first)
{
    uint64_t bytes = 0;
    size_t largest = 0;
    for (size_t i = 0; i < n; i++) {
        size_t size = record_size(events[i]->body.n);
        bytes += size;
        largest = size > largest ? size : largest;
    }
    if (!buffer_fits(s, largest))
        return -ENOMEM;
    int rc = room(s, bytes);
    if (rc)
        return rc;
    pthread_mutex_lock(&s->lock);
    bool reserved = segment_reserve(s, s->active, s->active->next + n);
    pthread_mutex_unlock(&s->lock);
    if (!reserved)
        return -ENOMEM;
    rc = write_records(s, events, n, unix_ms);
    if (!rc && s->sync)
        rc = s->io->sync(s->io->arg, s->active->fd);
    buffer_trim(s);
    if (rc) {
        spool_say(s, ODTO_ERROR, "a commit of %zu events failed (%s); going on in a new segment", n,
                  strerror(-rc));
        segment_taint(s);
        return rc;
    }
    *first = s->next_seq;
    confirm(s, events, n, unix_ms, bytes);
    return 0;
}

bool spool_maintain(struct spool *s)
{
    bool again = segments_retire(s);
    pthread_mutex_lock(&s->lock);
    bool dirty = journal_dirty(s);
    pthread_mutex_unlock(&s->lock);
    if (dirty)
        journal_flush(s);
    return again || dirty;
}

uint64_t spool_data_bytes(struct spool *s, uint64_t *next_seq)
{
    pthread_mutex_lock(&s->lock);
    uint64_t n = s->data_bytes;
    *next_seq = s->next_seq;
    pthread_mutex_unlock(&s->lock);
    return n;
}

void spool_get_stats(struct spool *s, struct spool_stats *out)
{
    pthread_mutex_lock(&s->lock);
    *out = (struct spool_stats){.next_seq = s->next_seq,
                                .data_bytes = s->data_bytes,
                                .segments = s->n_segs,
                                .commits = s->commits,
                                .recovered = s->recovered,
                                .corrupt = s->corrupt};
    out->disk_bytes = s->spare_bytes;
    for (size_t i = 0; i < s->n_segs; i++) {
        /* atomic: the writer changes its own without the lock */
        uint64_t allocated = __atomic_load_n(&s->segs[i]->allocated, __ATOMIC_RELAXED);
        out->disk_bytes += allocated > s->segs[i]->end ? allocated : s->segs[i]->end;
    }
    pthread_mutex_unlock(&s->lock);
}
