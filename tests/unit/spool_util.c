/* spool_util.c — see spool_util.h. */
#include "spool_util.h"
#include "spool_internal.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR 512

/* ---- files --------------------------------------------------------------------------------- */

void temp_dir(char *out, size_t size)
{
    snprintf(out, size, "%s/odto-spool-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(out))
        abort();
}

static void each_file(const char *dir, const char *part, void (*fn)(void *arg, const char *path), void *arg)
{
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        char path[600];
        if (e->d_name[0] == '.' || !strstr(e->d_name, part))
            continue;
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        fn(arg, path);
    }
    if (d)
        closedir(d);
}

static void remove_one(void *arg, const char *path)
{
    (void)arg;
    if (unlink(path) != 0 && errno == EISDIR)
        remove_dir(path);
}

void remove_dir(const char *dir)
{
    each_file(dir, "", remove_one, NULL);
    rmdir(dir);
}

static void count_one(void *arg, const char *path)
{
    (void)path;
    ++*(size_t *)arg;
}

size_t count_files(const char *dir, const char *part)
{
    size_t n = 0;
    each_file(dir, part, count_one, &n);
    return n;
}

static void add_bytes(void *arg, const char *path)
{
    struct stat st;
    if (stat(path, &st) == 0)
        *(uint64_t *)arg += (uint64_t)st.st_blocks * 512;
}

uint64_t dir_bytes(const char *dir, const char *part)
{
    uint64_t n = 0;
    each_file(dir, part, add_bytes, &n);
    return n;
}

static void keep_first(void *arg, const char *path)
{
    char *best = arg;
    if (!*best || strcmp(path, best) < 0)
        strcpy(best, path);
}

bool first_file(const char *dir, const char *part, char *path, size_t size)
{
    char best[600] = "";
    each_file(dir, part, keep_first, best);
    snprintf(path, size, "%s", best);
    return *best != 0;
}

void flip(const char *path, off_t at)
{
    unsigned char c;
    int fd = open(path, O_RDWR);
    if (fd < 0 || pread(fd, &c, 1, at) != 1)
        abort();
    c = (unsigned char)~c;
    if (pwrite(fd, &c, 1, at) != 1)
        abort();
    close(fd);
}

/* ---- faults -------------------------------------------------------------------------------- */

struct undo {
    struct undo *next;
    ino_t ino;             /* of a write */
    char from[64], to[64]; /* of a rename */
    off_t at;              /* a whole sector */
    unsigned char old[SECTOR];
    size_t old_n; /* bytes that were there: less than a sector at the file's end */
};

static bool fails(struct faults *f, enum fault_op op, int *error)
{
    if (f->countdown[op] < 0)
        return false;
    if (f->countdown[op] > 0) {
        f->countdown[op]--;
        return false;
    }
    if (!f->sticky[op])
        f->countdown[op] = -1;
    f->hits++;
    *error = f->error[op];
    return true;
}

static ino_t inode_of(int fd)
{
    struct stat st;
    return fstat(fd, &st) ? 0 : st.st_ino;
}

static void remember_write(struct faults *f, int fd, size_t n, off_t at)
{
    for (off_t sector = at / SECTOR * SECTOR; sector < at + (off_t)n; sector += SECTOR) {
        struct undo *u = calloc(1, sizeof *u);
        ssize_t got = pread(fd, u->old, SECTOR, sector);
        u->ino = inode_of(fd);
        u->at = sector;
        u->old_n = got > 0 ? (size_t)got : 0;
        u->next = f->undo;
        f->undo = u;
    }
}

static void forget(struct faults *f, bool renames, ino_t ino)
{
    for (struct undo **at = &f->undo, *u; (u = *at);) {
        if (renames ? *u->from != 0 : u->ino == ino) {
            *at = u->next;
            free(u);
        } else {
            at = &u->next;
        }
    }
}

static int faulty_open(void *arg, int dir, const char *name, int flags, mode_t mode)
{
    int error;
    if (fails(arg, FAULT_OPEN, &error))
        return error;
    return spool_io_system()->open(NULL, dir, name, flags, mode);
}

static ssize_t faulty_pread(void *arg, int fd, void *p, size_t n, off_t at)
{
    struct faults *f = arg;
    if (f->short_writes && n > 1000)
        n = 1000;
    return spool_io_system()->pread(NULL, fd, p, n, at);
}

static ssize_t faulty_pwrite(void *arg, int fd, const void *p, size_t n, off_t at)
{
    struct faults *f = arg;
    int error;
    if (fails(f, FAULT_PWRITE, &error)) {
        ssize_t part = n > 8 ? (ssize_t)n / 2 : 0; /* some of it arrives all the same */
        if (part && spool_io_system()->pwrite(NULL, fd, p, (size_t)part, at) != part)
            abort();
        return error;
    }
    if (f->short_writes && n > 100)
        n = n / 2 + 1;
    if (f->power)
        remember_write(f, fd, n, at);
    return spool_io_system()->pwrite(NULL, fd, p, n, at);
}

static int faulty_sync(void *arg, int fd)
{
    struct faults *f = arg;
    int error;
    f->synced_fd = (int)inode_of(fd);
    if (fails(f, FAULT_SYNC, &error))
        return error;
    forget(f, false, inode_of(fd));
    return f->power ? 0 : spool_io_system()->sync(NULL, fd);
}

static int faulty_sync_dir(void *arg, int fd)
{
    struct faults *f = arg;
    int error;
    if (fails(f, FAULT_SYNC_DIR, &error))
        return error;
    forget(f, true, 0);
    return f->power ? 0 : spool_io_system()->sync_dir(NULL, fd);
}

static int faulty_allocate(void *arg, int fd, off_t at, off_t n)
{
    struct faults *f = arg;
    int error;
    if (fails(f, FAULT_ALLOCATE, &error))
        return error;
    if (n > f->space)
        return -ENOSPC;
    if (f->space != INT64_MAX)
        f->space -= n;
    return spool_io_system()->allocate(NULL, fd, at, n);
}

static int faulty_rename(void *arg, int dir, const char *from, const char *to)
{
    struct faults *f = arg;
    int error;
    if (fails(f, FAULT_RENAME, &error))
        return error;
    if (f->power) {
        struct undo *u = calloc(1, sizeof *u);
        snprintf(u->from, sizeof u->from, "%s", from);
        snprintf(u->to, sizeof u->to, "%s", to);
        u->next = f->undo;
        f->undo = u;
    }
    return spool_io_system()->rename(NULL, dir, from, to);
}

static int faulty_unlink(void *arg, int dir, const char *name)
{
    int error;
    struct stat st;
    if (fails(arg, FAULT_UNLINK, &error))
        return error;
    if (fstatat(dir, name, &st, 0) == 0)
        forget(arg, false, st.st_ino); /* another file may get the number */
    return spool_io_system()->unlink(NULL, dir, name);
}

void faults_init(struct faults *f)
{
    *f = (struct faults){.io = {f, faulty_open, faulty_pread, faulty_pwrite, faulty_sync, faulty_sync_dir,
                                faulty_allocate, faulty_rename, faulty_unlink}};
    faults_reset(f);
}

void faults_reset(struct faults *f)
{
    faults_free(f);
    for (int i = 0; i < FAULT_OPS; i++)
        f->countdown[i] = -1;
    f->hits = 0;
    f->short_writes = f->power = false;
    f->space = INT64_MAX;
}

void faults_free(struct faults *f)
{
    for (struct undo *u; (u = f->undo);) {
        f->undo = u->next;
        free(u);
    }
}

void fault_set(struct faults *f, enum fault_op op, int countdown, int error, bool sticky)
{
    f->countdown[op] = countdown;
    f->error[op] = error;
    f->sticky[op] = sticky;
}

/* ---- power --------------------------------------------------------------------------------- */

struct by_inode {
    ino_t ino;
    char path[600];
};

static void find_inode(void *arg, const char *path)
{
    struct by_inode *b = arg;
    struct stat st;
    if (stat(path, &st) == 0 && st.st_ino == b->ino)
        snprintf(b->path, sizeof b->path, "%s", path);
}

/* A sector that kept a newer write keeps the older ones. */
static bool sector_kept(const struct undo *kept, const struct undo *u)
{
    for (; kept; kept = kept->next)
        if (kept->ino == u->ino && kept->at == u->at)
            return true;
    return false;
}

static void undo_write(const struct undo *u, const char *dir)
{
    struct by_inode b = {.ino = u->ino};
    unsigned char sector[SECTOR] = {0};
    each_file(dir, "", find_inode, &b);
    int fd = *b.path ? open(b.path, O_RDWR) : -1;
    if (fd < 0)
        return; /* it is gone */
    memcpy(sector, u->old, u->old_n);
    if (pwrite(fd, sector, SECTOR, u->at) != SECTOR)
        abort();
    close(fd);
}

void faults_power_off(struct faults *f, const char *dir, unsigned *seed)
{
    struct undo *kept = NULL;
    bool rename_kept = false; /* a directory's changes are in order */
    for (struct undo *u; (u = f->undo);) {
        f->undo = u->next;
        bool keep = rand_r(seed) % 2;
        if (*u->from) {
            rename_kept = rename_kept || keep;
            char from[600], to[600];
            snprintf(from, sizeof from, "%s/%s", dir, u->from);
            snprintf(to, sizeof to, "%s/%s", dir, u->to);
            if (!rename_kept)
                rename(to, from);
        } else if (keep || sector_kept(kept, u)) {
            u->next = kept;
            kept = u;
            continue;
        } else {
            undo_write(u, dir);
        }
        free(u);
    }
    for (struct undo *u; (u = kept);) {
        kept = u->next;
        free(u);
    }
}

void spool_abandon(struct spool *s)
{
    journal_close(s);
    for (size_t i = 0; i < s->n_segs; i++)
        segment_free(s->segs[i]);
    for (uint32_t i = 0; i < SPOOL_GROUPS_MAX; i++)
        free(s->groups[i].attempts.at);
    free(s->segs);
    free(s->buf);
    free(s->zeros);
    close(s->lock_fd);
    close(s->dir);
    free(s);
}
