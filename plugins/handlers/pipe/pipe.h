/* pipe.h — inside of the handler `pipe`: a pool of long-lived children that speak newline-JSON.
 *
 * To a child: one line a job (common/request.h). From it, a line each:
 *   {"id":…,"ok":true,"result":…}
 *   {"id":…,"ok":false,"error":"…","retry":true,"delay":seconds}   retry and delay may be missing
 *   {"id":…,"progress":0.5,"note":"…"}
 * `id` may be missing while only one job is in hand. Any other line on stdout goes to the job's log, as does
 * stderr. A child ends when its stdin ends.
 *
 * Threads: one loop (common/loop.h) owns workers and jobs. Lock: pipes.lock (the waiting list, and the runs a
 * cancel looks at); no callback is made under it. */
#ifndef PIPE_PIPE_H
#define PIPE_PIPE_H

#include "../common/command.h"
#include "../common/loop.h"
#include "../common/request.h"

#define KEEP_BUFFER 65536

typedef struct pipes pipes;
typedef struct worker worker;

/* One attempt: in the waiting list, or in hand of a worker. */
typedef struct task {
    struct task *next, **self;
    odto_run *run;
    char id[ODTO_UUID_LEN + 1];
    int64_t deadline_ns; /* 0 none */
    bool timed_out;
    bool again; /* was given back by a worker that ended before it answered */
    _Atomic bool cancelled;
} task;

typedef enum worker_state {
    WORKER_LIVE,
    WORKER_CLOSING, /* its stdin is closed: it ends by itself */
    WORKER_TERMED,
    WORKER_KILLED,
} worker_state;

struct worker {
    pipes *p;
    worker *next, **self;
    worker_state state;
    watch in, out, err, end;
    bool in_full; /* waits for room in its stdin */
    bool asked;   /* it ends because we want it */
    pid_t pid;
    odto_buf send, line;
    size_t sent;
    tail log;
    task *tasks; /* in hand, oldest first */
    uint32_t n_tasks;
    uint64_t done;
    int64_t born_ns, act_ns; /* act_ns: when a closing or termed one is pressed further; 0 none */
    uint64_t checked;        /* `done` when its memory was looked at */
    bool noisy;              /* a warning about its stdout was given */
};

struct pipes {
    odto_host *host;
    const odto_config *config;
    command cmd;
    uint32_t max_workers, window;
    uint64_t recycle_jobs;
    int64_t recycle_age_ns;
    size_t recycle_rss;
    loop loop;
    spawn_stack *stack;
    pthread_mutex_t lock;
    task *waiting, **waiting_end;
    int64_t waiting_due_ns; /* no waiting one has an earlier deadline; 0 none */
    task *spare;
    worker *workers, *ended; /* ended: freed at the end of the turn */
    uint32_t n_live, n_workers;
    uint32_t failures; /* workers that ended without a single job done, in a row */
    int64_t spawn_after_ns;
    int64_t next_ns; /* no timer is due before */
    _Atomic size_t n_all;
    _Atomic bool cancel_seen;
    bool stopping;
    odto_metric *restarts;
};

/* worker.c; loop thread */
worker *worker_new(pipes *p, odto_error *err); /* started and live */
void worker_give(worker *w, task *t);          /* adds its line; worker_flush sends */
void worker_flush(worker *w);
void worker_close(worker *w);   /* no more jobs: end of stdin */
void worker_recycle(worker *w); /* the same, and it is what we want */
void worker_end(worker *w);     /* TERM, then KILL after the grace */
void worker_timer(worker *w, int64_t now_ns);
void worker_free(worker *w);
bool worker_is_old(worker *w); /* to be recycled */
void task_finish(pipes *p, task *t, const odto_run_result *r);
void pipes_due(pipes *p, int64_t at_ns); /* a timer: not later than that */
void pipes_worker_ended(worker *w, spawn_end end);

/* reply.c: one line of a worker; true when it was a reply (or progress) of a job in hand. */
typedef struct reply {
    odto_slice id, result, error, note;
    bool has_ok, ok, retry, has_progress;
    double delay, progress;
} reply;
bool reply_read(odto_slice line, reply *out);

#endif
