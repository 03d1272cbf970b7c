/* faulty_vfs.c — see faulty_vfs.h. State is global and atomic, as a VFS is. */
#include "faulty_vfs.h"

#include <sqlite3.h>
#include <stdbool.h>
#include <string.h>

typedef struct faulty_file {
    sqlite3_file base;
    sqlite3_file *real; /* behind this struct */
} faulty_file;

static struct {
    sqlite3_vfs vfs, *real;
    sqlite3_io_methods methods;
    int what;
    long wait, times, count;
} g;

void faulty_set(faulty_what what, long n, long times)
{
    __atomic_store_n(&g.what, FAULTY_NONE, __ATOMIC_SEQ_CST);
    __atomic_store_n(&g.wait, n, __ATOMIC_SEQ_CST);
    __atomic_store_n(&g.times, times, __ATOMIC_SEQ_CST);
    __atomic_store_n(&g.what, (int)what, __ATOMIC_SEQ_CST);
}

long faulty_count(void)
{
    return __atomic_load_n(&g.count, __ATOMIC_SEQ_CST);
}

/* Does this operation, of one of these two kinds, fail? */
static bool fails(faulty_what kind, faulty_what other)
{
    int what = __atomic_load_n(&g.what, __ATOMIC_SEQ_CST);
    if (what == FAULTY_NONE || (what != (int)kind && what != (int)other))
        return false;
    if (__atomic_fetch_sub(&g.wait, 1, __ATOMIC_SEQ_CST) > 0)
        return false;
    long left = __atomic_load_n(&g.times, __ATOMIC_SEQ_CST);
    return left < 0 || __atomic_fetch_sub(&g.times, 1, __ATOMIC_SEQ_CST) > 0;
}

static sqlite3_file *real_of(sqlite3_file *f)
{
    return ((faulty_file *)f)->real;
}

static int f_close(sqlite3_file *f)
{
    return real_of(f)->pMethods->xClose(real_of(f));
}

static int f_read(sqlite3_file *f, void *p, int n, sqlite3_int64 at)
{
    if (fails(FAULTY_READ_EIO, FAULTY_READ_EIO))
        return SQLITE_IOERR_READ;
    return real_of(f)->pMethods->xRead(real_of(f), p, n, at);
}

static int f_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
    __atomic_fetch_add(&g.count, 1, __ATOMIC_SEQ_CST);
    if (fails(FAULTY_WRITE_FULL, FAULTY_WRITE_FULL))
        return SQLITE_FULL;
    if (fails(FAULTY_WRITE_EIO, FAULTY_ANY)) {
        real_of(f)->pMethods->xWrite(real_of(f), p, n / 2, at);
        return SQLITE_IOERR_WRITE;
    }
    return real_of(f)->pMethods->xWrite(real_of(f), p, n, at);
}

static int f_truncate(sqlite3_file *f, sqlite3_int64 n)
{
    return real_of(f)->pMethods->xTruncate(real_of(f), n);
}

static int f_sync(sqlite3_file *f, int flags)
{
    __atomic_fetch_add(&g.count, 1, __ATOMIC_SEQ_CST);
    if (fails(FAULTY_SYNC_EIO, FAULTY_ANY))
        return SQLITE_IOERR_FSYNC;
    return real_of(f)->pMethods->xSync(real_of(f), flags);
}

static int f_size(sqlite3_file *f, sqlite3_int64 *n)
{
    return real_of(f)->pMethods->xFileSize(real_of(f), n);
}

static int f_lock(sqlite3_file *f, int l)
{
    return real_of(f)->pMethods->xLock(real_of(f), l);
}

static int f_unlock(sqlite3_file *f, int l)
{
    return real_of(f)->pMethods->xUnlock(real_of(f), l);
}

static int f_reserved(sqlite3_file *f, int *out)
{
    return real_of(f)->pMethods->xCheckReservedLock(real_of(f), out);
}

static int f_control(sqlite3_file *f, int op, void *arg)
{
    return real_of(f)->pMethods->xFileControl(real_of(f), op, arg);
}

static int f_sector(sqlite3_file *f)
{
    return real_of(f)->pMethods->xSectorSize(real_of(f));
}

static int f_characteristics(sqlite3_file *f)
{
    return real_of(f)->pMethods->xDeviceCharacteristics(real_of(f));
}

static int f_shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **out)
{
    return real_of(f)->pMethods->xShmMap(real_of(f), page, size, extend, out);
}

static int f_shm_lock(sqlite3_file *f, int offset, int n, int flags)
{
    return real_of(f)->pMethods->xShmLock(real_of(f), offset, n, flags);
}

static void f_shm_barrier(sqlite3_file *f)
{
    real_of(f)->pMethods->xShmBarrier(real_of(f));
}

static int f_shm_unmap(sqlite3_file *f, int remove)
{
    return real_of(f)->pMethods->xShmUnmap(real_of(f), remove);
}

static int f_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *f, int flags, int *out)
{
    faulty_file *ff = (faulty_file *)f;
    (void)vfs;
    memset(ff, 0, sizeof(*ff));
    ff->real = (sqlite3_file *)(ff + 1);
    int rc = g.real->xOpen(g.real, name, ff->real, flags, out);
    if (rc == SQLITE_OK)
        f->pMethods = &g.methods;
    return rc;
}

void faulty_register(void)
{
    if (g.real != NULL)
        return;
    g.real = sqlite3_vfs_find(NULL);
    g.vfs = *g.real;
    g.vfs.zName = "faulty";
    g.vfs.pNext = NULL;
    g.vfs.szOsFile = (int)sizeof(faulty_file) + g.real->szOsFile;
    g.vfs.xOpen = f_open;
    g.methods = (sqlite3_io_methods){.iVersion = 2,
                                     .xClose = f_close,
                                     .xRead = f_read,
                                     .xWrite = f_write,
                                     .xTruncate = f_truncate,
                                     .xSync = f_sync,
                                     .xFileSize = f_size,
                                     .xLock = f_lock,
                                     .xUnlock = f_unlock,
                                     .xCheckReservedLock = f_reserved,
                                     .xFileControl = f_control,
                                     .xSectorSize = f_sector,
                                     .xDeviceCharacteristics = f_characteristics,
                                     .xShmMap = f_shm_map,
                                     .xShmLock = f_shm_lock,
                                     .xShmBarrier = f_shm_barrier,
                                     .xShmUnmap = f_shm_unmap};
    sqlite3_vfs_register(&g.vfs, 0);
}
