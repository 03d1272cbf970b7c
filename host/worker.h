/* host/worker.h — the worker process of an isolated plugin, odto-worker: the same shared object and the same
 * ABI, with a host table whose functions send frames to the real host.
 *
 * Threads: the main thread makes the lifecycle calls, in the order they come; the reader takes frames from
 * the link and never runs plugin code but interrupt(); the work lane runs what must be quick (start() of
 * handlers that do not block, cancel(), HTTP routes, done of publishes); each consumed topic has a lane for
 * handle(); blocking calls have a pool; timers their thread; the ticker asks for health and readings. */
#ifndef HOST_WORKER_H
#define HOST_WORKER_H

#include "host/arena.h"
#include "host/isolate_shared.h"
#include "host/loader.h"
#include "host/timer.h"
#include "host/wire.h"

#define WORKER_TOPICS 16

/* Work for a lane, with the payload of the frame it came in. */
struct task {
    struct task *next;
    void (*run)(struct task *t); /* frees t, or passes it on */
    uint64_t id;
    enum wire_type type;
    struct wire_in in; /* into data */
    void *arg;
    char data[];
};

struct lane {
    pthread_mutex_t lock; /* queue … threads */
    pthread_cond_t more, rest;
    struct task *queue, **end;
    unsigned waiting, idle, threads, max; /* threads start when more wait than are idle, up to max */
    bool watched;                         /*  each task is marked as a call that should return soon */
    const char *name;
};

/* A call to the host that waits for its reply. */
struct pending {
    struct pending *next;
    uint64_t id;
    bool done;
    int result;
    odto_error err;
    odto_buf more; /* what follows */
    int fd;        /* that came with it, -1 none */
};

struct worker_metric { /* by index of its cell */
    char *key;         /* name and label values */
    double (*fn)(void *arg);
    void *arg;
};

struct worker {
    odto_host host;
    struct wire_link link;
    struct shared *shared;
    struct image image;
    const odto_plugin *d;
    arena memory; /* configurations, routes: as long as the process */
    const odto_config *config;
    void *self;
    /* Calls answered. The host sends work only after start() was answered; the order goes through its
     * process, and this makes it one of ours: what the plugin wrote before is seen by the threads that are
     * given work. */
    _Atomic unsigned answered;
    char name[64];
    struct event_pool *pool;
    timer_service *timers;
    struct lane main, work, done, blocking, topics[WORKER_TOPICS];
    _Atomic bool stopping, started, replaced;
    _Atomic uint64_t next_id;
    pthread_mutex_t lock; /* calls, threads, n_cells, n_readings, health */
    pthread_cond_t replied;
    struct pending *calls;
    struct odto_thread *threads;
    struct worker_metric *metrics;
    unsigned n_cells;
    odto_health health;
    bool health_said;
    struct worker_runs *runs;
    struct worker_events *events;
    struct worker_http *http;
};

extern const odto_host_api worker_api; /* worker_api.c */
extern const odto_http_api worker_http_api;

static inline struct worker *worker_of(odto_host *h)
{
    return h->priv;
}

/* worker_lane.c */
void lane_init(struct lane *l, const char *name, unsigned max, bool watched);
struct task *task_new(enum wire_type type, uint64_t id, const struct wire_in *in);
void lane_push(struct worker *w, struct lane *l, struct task *t);
void lane_rest(struct lane *l);                  /* waits until its tasks have been run */
void lane_run(struct worker *w, struct lane *l); /* on the calling thread, for ever */
void mark_begin(struct worker *w);
void mark_end(struct worker *w);
void stack_handler(struct worker *w); /* a thread that gets SIGURG tells the host where it is */

/* worker_api.c */
void worker_tick(struct worker *w); /* health and readings */
/* One call to the host: build its payload into what call_begin gives, then wait. */
odto_buf *call_begin(struct worker *w, enum wire_type type, struct pending *p);
int call_end(struct worker *w, struct pending *p, odto_error *err);
void call_replied(struct worker *w, const struct wire_head *h, struct wire_in *in);
void worker_join_threads(struct worker *w);

/* worker_runs.c */
int runs_init(struct worker *w, uint32_t concurrency);
void runs_take(struct worker *w, struct task *t); /* WIRE_RUNS, on the reader */
void runs_stop(struct worker *w, uint64_t id);    /* WIRE_RUN_STOP, on the reader */

/* worker_events.c */
int events_init(struct worker *w);
void events_handle(struct worker *w, struct task *t); /* WIRE_HANDLE, on the reader */
void events_published(struct worker *w, struct task *t);
odto_route *events_route(odto_host *h, const char *topic);
const char *events_route_name(const odto_route *r);
odto_event *events_new(odto_host *h, odto_slice body, uint32_t flags);
int events_publish(odto_host *h, odto_route *r, odto_event *const *events, size_t n, uint32_t flags,
                   odto_publish_done *done, void *arg);
void events_settle(odto_host *h, const odto_lease *leases, size_t n, odto_verdict v, const char *why);
void events_route_stats(const odto_route *r, odto_route_stats *out);
void events_prefetch(odto_host *h, odto_route *r, uint32_t n);
void events_wake(struct worker *w); /* stopping: publishers that wait give up */

/* worker_http.c */
int http_init(struct worker *w);
void http_request(struct worker *w, struct task *t); /* WIRE_REQUEST, on the reader */

#endif
