/* host/crash.h — what remains of a crash: a fixed record written by the signal handler, read by the next
 * start, and a tally by shared object, so that one that keeps crashing is set aside (quarantine) and its last
 * known good copy is used. */
#ifndef HOST_CRASH_H
#define HOST_CRASH_H

#include "host/loader.h"

#include <stdint.h>

#define CRASH_FRAMES 32

/* On disk, in DATA/run/crash.record, mapped while the host runs. Host byte order: read on the machine that
 * wrote it. */
struct crash_record {
    char magic[8]; /* "odtocrsh" once complete */
    int32_t signal, code;
    uint64_t address, pc;
    uint64_t base; /* of the object pc lies in, 0 unknown */
    int64_t unix_ms;
    uint32_t generation, n_frames;
    uint64_t frames[CRASH_FRAMES];
    char plugin[64], thread[16], object[256];
    char hash[LOADER_HASH_LEN + 1]; /* of the plugin's copy */
};

/* Map the record file in run_dir; a complete record of the last run is copied to *last and true returned.
 * Main thread, once. */
bool crash_open(const char *run_dir, struct crash_record *last, odto_error *err);
/* Take SIGSEGV SIGBUS SIGILL SIGFPE SIGABRT: write the record, restore the default, raise again. */
void crash_install(void);
/* An alternate signal stack for the calling thread (stack overflows); freed by crash_thread_end. */
void *crash_thread_begin(void);
void crash_thread_end(void *stack);

/* Tally in data_dir/crashes: append one crash of hash; how many within window_ms; forget a hash. */
int crash_tally_add(const char *data_dir, const struct crash_record *r);
unsigned crash_tally(const char *data_dir, const char *hash, int64_t window_ms);
/* Keep a copy of an image that has proved itself: data_dir/good/NAME.so; path of it when there is one. */
int crash_keep_good(const char *data_dir, const char *name, const char *from);
bool crash_good_copy(const char *data_dir, const char *name, char *out, size_t size);
#endif
