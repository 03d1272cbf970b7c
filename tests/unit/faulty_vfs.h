/* faulty_vfs.h — a SQLite VFS named "faulty" over the default one whose writes and syncs fail on request. */
#ifndef FAULTY_VFS_H
#define FAULTY_VFS_H

typedef enum faulty_what {
    FAULTY_NONE,
    FAULTY_WRITE_FULL, /* write: SQLITE_FULL, as for ENOSPC */
    FAULTY_WRITE_EIO,  /* write: half of it, then SQLITE_IOERR_WRITE */
    FAULTY_SYNC_EIO,   /* sync: SQLITE_IOERR_FSYNC */
    FAULTY_ANY,        /* write or sync, with EIO */
    FAULTY_READ_EIO,
} faulty_what;

void faulty_register(void); /* once a process */
/* From the n-th operation of the kind on (0: the next), `times` of them fail (< 0: until told otherwise). Any
 * thread. */
void faulty_set(faulty_what what, long n, long times);
long faulty_count(void); /* writes and syncs so far */

#endif
