/* host/isolate_priv.h — what the files of the isolate module share.
 *
 * isolate.c          descriptor of an isolated image, check, the default
 * isolate_process.c  one worker: spawn, link thread, limits, reaping
 * isolate_stack.c    where a stuck thread of a worker is
 * isolate_ops.c      the callbacks of an isolated plugin's instance
 * isolate_runs.c     seats: attempts of handlers
 * isolate_events.c   leases, publishing
 * isolate_serve.c    log, metrics, routes, descriptors: what a worker asks of the host
 * isolate_http.c     requests
 *
 * Threads of a proxy: its link thread starts the worker, takes its frames, looks after its limits and reaps
 * it; callbacks come on threads of the host. Lock order: seat, then proxy->lock, then the link's own. No lock
 * is held while code of another plugin runs (finish, done, settle). */
#ifndef HOST_ISOLATE_PRIV_H
#define HOST_ISOLATE_PRIV_H

#include "host/isolate.h"
#include "host/isolate_shared.h"
#include "host/wire.h"

#define ISOLATE_ROUTES   MAX_ROUTES
#define ISOLATE_REQUESTS 1024               /* HTTP requests a worker has at once; more are answered 503 */
#define ISOLATE_BATCH    ((size_t)4 << 20)  /* bytes of a frame with several attempts or leases */
#define ISOLATE_QUEUE    ((size_t)16 << 20) /* bytes that wait for a worker to read them */

struct isolated { /* of an image */
    arena memory;
    odto_plugin descriptor;
    odto_plugin_ops ops;
    uint32_t has; /* ISOLATE_HAS_… */
};

/* A call to the worker that waits for its reply. */
struct proxy_call {
    struct proxy_call *next;
    uint64_t id;
    bool done;
    int result;
    odto_error err;
    odto_buf more;
};

struct mirror { /* of a cell in the shared memory: what was taken over already */
    odto_metric *cell;
    odto_metric_type type;
    size_t n_buckets;
    int64_t value;
    uint64_t sum, buckets[SHARED_BUCKETS];
};

struct loan { /* a lease the worker has */
    odto_lease lease;
    bool used;
};

struct proxy {
    atomic_int refs; /* the instance; each publish under way */
    struct core *core;
    struct instance *in; /* NULL: only to describe or check */
    const struct image *image;
    char name[NAME_SIZE];
    int64_t memory; /* isolate_memory, 0 none */
    int64_t watch_soft, watch_hard;
    struct wire_link link;
    struct shared *shared;
    int wake_fd, pidfd, err_fd, child_link, shared_fd;
    pid_t pid;
    pthread_t thread;
    bool threaded;
    pthread_mutex_t lock; /* what follows */
    pthread_cond_t changed;
    bool spawned, reaping, dead, ending; /* ending: its end is what the host wants */
    int spawn_result;
    char killed_for[200]; /* why the host killed it */
    char end[400];        /* how it ended */
    char words[400];      /* what it wrote last */
    uint64_t next_id;
    struct proxy_call *calls;
    odto_health health;
    /* events */
    struct loan *loans;
    size_t n_loans, next_loan;
    atomic_uint publishes;                /* under way */
    struct publish_job *jobs, **jobs_end; /* those that may wait for room */
    bool publisher;
    pthread_t publisher_thread;
    /* http */
    struct forwarded *requests;
    size_t n_requests;
    odto_http_route *routes[8];
    size_t n_routes[8], first_route[8], n_serves;
    /* the link thread's alone */
    struct mirror *mirrors;
    int64_t ticked_at, asked_since, reported_since;
    unsigned fds_put;
    uint64_t cpu_before;
};

/* isolate_process.c */
struct proxy *proxy_new(struct core *core, struct instance *in, const struct image *image, const char *name,
                        odto_error *err); /* a running worker that has mapped nothing yet */
void proxy_kill(struct proxy *p, const char *why);
void proxy_free(struct proxy *p); /* ends the worker, at once, and waits for its thread */
void proxy_unref(struct proxy *p);
/* One call with a deadline (monotonic ns, INT64_MAX none): begin, put the payload, end. A worker that does
 * not answer in time is killed: -ETIMEDOUT. The caller frees call->more. */
odto_buf *proxy_call_begin(struct proxy *p, enum wire_type type, struct proxy_call *call);
int proxy_call_end(struct proxy *p, struct proxy_call *call, const char *what, int64_t deadline_ns,
                   odto_error *err);

/* isolate_stack.c, on the link thread. Ask for a thread's stack; a moment later it is there, as text. */
void proxy_stack_ask(struct proxy *p, int tid);
void proxy_stack_text(struct proxy *p, char *out, size_t size);

/* isolate.c */
int proxy_describe(struct proxy *p, int64_t deadline_ns, struct proxy_call *call, odto_error *err);

/* isolate_ops.c */
extern const odto_plugin_ops proxy_ops;

/* isolate_serve.c: a frame of the worker, on the link thread. False: it is not what a worker sends. */
bool proxy_take(struct proxy *p, const struct wire_head *head, struct wire_in *in);
void proxy_collect(struct proxy *p); /* its metrics, on the link thread */
odto_buf *proxy_reply_begin(struct proxy *p, uint64_t id, int r, const odto_error *err);

/* isolate_runs.c */
void seat_bind(struct seat *s, struct proxy *p);
int seat_pause(struct seat *s, struct proxy *p, int64_t deadline_ns); /* 0: it has no attempt any more */
size_t seat_unbind(struct seat *s, struct proxy *p, const char *why); /* those it has end as LOST; how many */
void seat_finish(struct seat *s, struct proxy *p, uint64_t id, struct wire_in *in);
void seat_progress(struct seat *s, struct proxy *p, uint64_t id, struct wire_in *in);

/* isolate_events.c */
void proxy_handle(void *self, const odto_lease *leases, size_t n);
bool proxy_settle(struct proxy *p, struct wire_in *in);
bool proxy_publish(struct proxy *p, uint64_t id, struct wire_in *in);
size_t proxy_return_leases(struct proxy *p, const char *why); /* how many it had */
void proxy_end_publisher(struct proxy *p);

/* isolate_http.c */
int proxy_serve(struct proxy *p, struct wire_in *in, odto_error *err);
bool proxy_response(struct proxy *p, uint64_t id, struct wire_in *in);
void proxy_refuse_requests(struct proxy *p, const char *why);
void proxy_free_routes(struct proxy *p);

#endif
