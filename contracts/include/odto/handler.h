/* odto/handler.h — what executes jobs. One contract for C plugins, commands, pipes and HTTP:
 * start(run) → progress* → finish(result) exactly once. */
#ifndef ODTO_HANDLER_H
#define ODTO_HANDLER_H

#include <odto/base.h>
#include <odto/store.h>

typedef struct odto_run odto_run;

typedef enum odto_run_end {
    ODTO_RUN_OK,      /* result is kept */
    ODTO_RUN_RETRY,   /* error; again after delay_ns (0: the job's backoff) until attempts run out */
    ODTO_RUN_DISCARD, /* error; no more attempts: FAILED and dead letter */
    ODTO_RUN_TIMEOUT, /* the handler ended it at its deadline; counts as a retryable error */
    ODTO_RUN_LOST, /* what executed it died under it (a worker crashed); again, until max_lost is reached */
} odto_run_end;

typedef struct odto_run_result {
    odto_run_end end;
    odto_slice result; /* OK: JSON or text, copied */
    odto_slice error;  /* else: one line, copied */
    odto_slice log;    /* tail of the job's log output, copied; may be empty */
    int64_t delay_ns;
} odto_run_result;

/* One attempt. Owned by the caller of start(); valid for the handler until it calls finish. */
struct odto_run {
    const odto_job *job; /* id, type, payload, attempt, correlation_id, traceparent, idempotency_key … */
    int64_t deadline_ns; /* monotonic; 0 none */
    const char *type;    /* NUL-terminated job type */
    void *handler_data;  /* free for the handler */
    void *owner;         /* the processor's */
    /* exactly once, any thread, also from within start(); run is invalid afterwards */
    void (*finish)(odto_run *run, const odto_run_result *r);
    void (*progress)(odto_run *run, double fraction, odto_slice note); /* fraction 0..1, <0 unknown */
    bool (*should_stop)(const odto_run *run); /* cancelled, past its deadline, or the host is stopping */
};

#define ODTO_HANDLER_BLOCKING \
    1u /* start() works until the job is done: called on executor threads, up to `concurrency` at once */

typedef struct odto_handler_iface {
    uint32_t size;
    uint32_t flags;
    /* Begin n attempts. Without BLOCKING it must return quickly, and finish each later or at once. */
    void (*start)(void *self, odto_run **runs, size_t n);
    /* The processor asks to end this attempt early (cancelled; shutdown). Finish must still be called. May be
     * NULL. */
    void (*cancel)(void *self, odto_run *run);
} odto_handler_iface;

#endif
