/* write_queue.h — the queue in front of the one writer thread of a store on a server: the roles counters and
 * events.
 *
 * Any thread submits; the writer takes what waits as one group, gives it to apply() and calls done() of each,
 * holding no lock. While the server is away groups end with -EAGAIN at once, and the writer asks connect()
 * again with backoff; health says why, the log once a minute.
 *
 * write_queue.lock protects queue, flags and `reason`. Writes are the caller's, on loan until done(). */
#ifndef STORES_WRITE_QUEUE_H
#define STORES_WRITE_QUEUE_H

#include <odto/plugin.h>
#include <pthread.h>

#define WRITE_QUEUE_MAX_REASON 120

typedef struct write_queue_ops {
    /* All called on the writer thread only. */
    int (*connect)(void *store, odto_error *err); /* 0, or -errno: away. Called while not connected */
    /* Write the whole group (a list by next, n_events in all) or nothing that a repetition would double. 0;
     * -EINVAL or -E2BIG: one of the group is to blame; else away, and connect() comes next. */
    int (*apply)(void *store, odto_write *group, size_t n_events, odto_error *err);
    void (*disconnect)(void *store);
    /* Connected, between groups, when *next_ns of the last call have passed: look whether the server is
     * there. 0, or -errno: away. */
    int (*upkeep)(void *store, int64_t *next_ns, odto_error *err);
} write_queue_ops;

typedef struct write_queue {
    odto_host *host;
    const char *what; /* "redis at 127.0.0.1:6379", for reasons and the log; never a password */
    const write_queue_ops *ops;
    void *store;
    size_t max_queue, max_batch; /* events */
    odto_metric *commit_seconds, *batch_events, *failures;

    pthread_mutex_t lock;
    pthread_cond_t wake, drained;
    odto_write *head, *tail;
    size_t queued;                /* events */
    bool running, stopping, busy; /* busy: a group is in the writer's hands */
    bool connected;
    char reason[WRITE_QUEUE_MAX_REASON]; /* while not connected: why */

    /* the writer's */
    int64_t backoff_ns, again_ns, warned_ns, upkeep_ns;
    odto_thread *thread;
} write_queue;

int write_queue_init(write_queue *q); /* host, what, ops, store and the limits are set; 0 or -ENOMEM */
void write_queue_fini(write_queue *q);
/* Metrics and the thread; the first connection is tried at once, on that thread. */
int write_queue_start(write_queue *q, const char *store_name, odto_error *err);
void write_queue_stop(write_queue *q); /* what was submitted is tried once more, the thread joined */
int write_queue_submit(write_queue *q, odto_write *w);
int write_queue_drain(write_queue *q, int64_t deadline_ns);
void write_queue_health(write_queue *q, odto_health *out);

#endif
