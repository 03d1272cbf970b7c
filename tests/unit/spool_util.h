/* spool_util.h — for tests of the spool: temporary directories, files looked at and damaged, system calls
 * that fail, power that fails (writes since the last sync are kept or undone sector by sector). */
#ifndef SPOOL_UTIL_H
#define SPOOL_UTIL_H

#include "spool.h"
#include "spool_format.h"
#include <stdbool.h>

/* A new directory, in memory where there is /dev/shm: the tests sync thousands of times. */
void temp_dir(char *out, size_t size);
void remove_dir(const char *dir);
size_t count_files(const char *dir, const char *part); /* whose name contains part */
uint64_t dir_bytes(const char *dir, const char *part); /* their blocks */
bool first_file(const char *dir, const char *part, char *path, size_t size);
void flip(const char *path, off_t at); /* the bits of one byte */

enum fault_op {
    FAULT_OPEN,
    FAULT_PWRITE,
    FAULT_SYNC,
    FAULT_SYNC_DIR,
    FAULT_ALLOCATE,
    FAULT_RENAME,
    FAULT_UNLINK,
    FAULT_OPS
};

struct undo; /* how to take a write or a rename back */

struct faults {
    struct spool_io io;       /* give this one */
    int countdown[FAULT_OPS]; /* calls before the failing one; -1 never */
    int error[FAULT_OPS];
    bool sticky[FAULT_OPS];
    int hits;
    bool short_writes;
    int64_t space; /* bytes allocate() may still take */
    int synced_fd; /* inode of the last file synced */
    bool power;    /* keep what is needed for faults_power_off */
    unsigned seed;
    struct undo *undo; /* newest first */
};
void faults_init(struct faults *f);
void faults_reset(struct faults *f);
void faults_free(struct faults *f);
void fault_set(struct faults *f, enum fault_op op, int countdown, int error, bool sticky);
/* As if power had failed now: what was not synced is in part undone. */
void faults_power_off(struct faults *f, const char *dir, unsigned *seed);
/* Free a spool without any system call that changes something, as a crash would. */
void spool_abandon(struct spool *s);

#endif
