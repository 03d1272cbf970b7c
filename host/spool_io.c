/* spool_io.c — the system calls of a spool. Interrupted calls are repeated, short ones returned as they are.
 */
#include "spool.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static int io_open(void *arg, int dir, const char *name, int flags, mode_t mode)
{
    (void)arg;
    int fd = openat(dir, name, flags | O_CLOEXEC | O_NOFOLLOW, mode);
    return fd < 0 ? -errno : fd;
}

static ssize_t io_pread(void *arg, int fd, void *p, size_t n, off_t at)
{
    (void)arg;
    ssize_t got;
    do
        got = pread(fd, p, n, at);
    while (got < 0 && errno == EINTR);
    return got < 0 ? -errno : got;
}

static ssize_t io_pwrite(void *arg, int fd, const void *p, size_t n, off_t at)
{
    (void)arg;
    ssize_t put;
    do
        put = pwrite(fd, p, n, at);
    while (put < 0 && errno == EINTR);
    return put < 0 ? -errno : put;
}

static int io_sync(void *arg, int fd)
{
    (void)arg;
    return fdatasync(fd) ? -errno : 0;
}

static int io_sync_dir(void *arg, int fd)
{
    (void)arg;
    return fsync(fd) ? -errno : 0;
}

/* A file system that can't reserve space is no error: the zeros written next take it. */
static int io_allocate(void *arg, int fd, off_t at, off_t n)
{
    (void)arg;
    int rc;
    do
        rc = fallocate(fd, 0, at, n);
    while (rc < 0 && errno == EINTR);
    return rc == 0 || errno == EOPNOTSUPP || errno == ENOSYS ? 0 : -errno;
}

static int io_rename(void *arg, int dir, const char *from, const char *to)
{
    (void)arg;
    return renameat(dir, from, dir, to) ? -errno : 0;
}

static int io_unlink(void *arg, int dir, const char *name)
{
    (void)arg;
    return unlinkat(dir, name, 0) ? -errno : 0;
}

const struct spool_io *spool_io_system(void)
{
    static const struct spool_io io = {.open = io_open,
                                       .pread = io_pread,
                                       .pwrite = io_pwrite,
                                       .sync = io_sync,
                                       .sync_dir = io_sync_dir,
                                       .allocate = io_allocate,
                                       .rename = io_rename,
                                       .unlink = io_unlink};
    return &io;
}
