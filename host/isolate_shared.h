/* host/isolate_shared.h — what the host and the worker process of an isolated plugin agree on beside frames:
 * the descriptors the worker starts with, and one page of memory both map. The worker writes there what must
 * outlive it (metrics) and what is read without asking (sign of life, since when a call runs); the host only
 * ever reads numbers from it, so a worker that scribbles over it gives wrong figures and nothing worse. */
#ifndef HOST_ISOLATE_SHARED_H
#define HOST_ISOLATE_SHARED_H

#include <odto/plugin.h>

#include <stdatomic.h>

#define ISOLATE_LINK_FD   3
#define ISOLATE_SHARED_FD 4

#define SHARED_CELLS   512
#define SHARED_BUCKETS 24 /* with the last one, +Inf */
#define SHARED_MARKS   64
#define SHARED_FRAMES  32

struct shared_cell {
    odto_metric metric; /* its pointers are the worker's */
    uint64_t buckets[SHARED_BUCKETS];
    double reading; /* of metric_fn */
};

/* A call into the plugin that should return soon. */
struct shared_mark {
    _Atomic int64_t since; /* monotonic ns, 0: none runs */
    _Atomic int32_t tid;
};

struct shared {
    _Atomic uint32_t log_level; /* written by the host: lowest level that is written */
    _Atomic int64_t beat;
    /* Where a thread that got SIGURG is: its return addresses; -1: none has come yet. */
    _Atomic int32_t stack_n;
    _Atomic uint64_t stack[SHARED_FRAMES];
    struct shared_mark marks[SHARED_MARKS];
    struct shared_cell cells[SHARED_CELLS];
};

/* What a descriptor has, in WIRE_DESCRIBE's reply. */
#define ISOLATE_HAS_CHECK       1u
#define ISOLATE_HAS_RESTORE     2u
#define ISOLATE_HAS_HANDLE      4u
#define ISOLATE_HAS_RECONFIGURE 8u
#define ISOLATE_HAS_SAVE        16u

struct wire_in;
struct arena;

/* An instance's options on the way to its worker. */
void isolate_put_config(odto_buf *b, const odto_config *c);
/* Into memory of a, against the plugin's own table. NULL: damaged, or no memory. */
odto_config *isolate_get_config(struct wire_in *in, struct arena *a, const odto_plugin *d);

#endif
