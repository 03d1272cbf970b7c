/* odto/store.h — the three store roles (jobs, counters, events) that a store plugin may provide.
 *
 * Writes are asynchronous batches: submit() returns at once, done() is called exactly once on a thread of the
 * store when the whole batch is committed (result 0) or none of it is (-errno: -ENOSPC, -EIO, -EAGAIN away,
 * -ECANCELED stopping). The store merges waiting batches into one transaction (group commit). Batches of one
 * caller are applied in the order they were submitted. Reads block; call them from a thread that may (not an
 * event loop) unless said otherwise. All pointers in a batch stay valid and unchanged until done(). Times are
 * Unix ms. */
#ifndef ODTO_STORE_H
#define ODTO_STORE_H

#include <odto/base.h>
#include <odto/envelope.h>

typedef enum odto_status { /* the contract's five states */
                           ODTO_PENDING = 0,
                           ODTO_VALIDATED = 1,
                           ODTO_EXECUTING = 2,
                           ODTO_COMPLETED = 3,
                           ODTO_FAILED = 4,
} odto_status;

typedef enum odto_outcome { /* beside the status: how an attempt or a job ended */
                            ODTO_OUT_NONE = 0,
                            ODTO_OUT_OK,
                            ODTO_OUT_ERROR, /* handler said so; retryable until attempts run out */
                            ODTO_OUT_TIMEOUT,
                            ODTO_OUT_LOST,   /* its host died or its lease ran out */
                            ODTO_OUT_POISON, /* lost too often */
                            ODTO_OUT_CANCELLED,
                            ODTO_OUT_EXPIRED,
                            ODTO_OUT_DISCARDED, /* handler said: do not retry */
} odto_outcome;
const char *odto_status_name(odto_status s);   /* "PENDING" … */
const char *odto_outcome_name(odto_outcome o); /* "ok" … */

/* A job as it is accepted, claimed and read. Slices: owned by whoever fills the struct, see each use. */
typedef struct odto_job {
    odto_uuid id, event_id, correlation_id;
    odto_slice type;     /* plain text */
    odto_slice job_json; /* the whole job object as received */
    odto_slice payload;  /* the inner payload, "{}" when absent */
    odto_slice traceparent;
    odto_slice idempotency_key; /* plain text */
    odto_status status;
    odto_outcome outcome;
    int32_t priority; /* higher first; 0 default */
    uint32_t attempt; /* attempts begun */
    uint32_t max_attempts;
    uint32_t lost;  /* attempts that ended LOST */
    uint64_t token; /* fencing token of the current lease, 0 when none */
    int64_t created_at, accepted_at, run_at, started_at, finished_at, updated_at, expires_at; /* 0 = none */
    odto_slice result; /* JSON text or plain text of the handler */
    odto_slice error;  /* last error, plain text */
    bool redrive;      /* ACCEPT only: reset a FAILED job whose stored event_id differs */
} odto_job;

typedef struct odto_attempt { /* one ended attempt */
    uint32_t number;
    odto_outcome outcome;
    int64_t started_at, finished_at;
    odto_slice error, log; /* log: tail of the handler's log output */
    odto_slice host;
} odto_attempt;

/* An outgoing event kept in the same transaction as the status it tells of. */
typedef struct odto_outgoing {
    odto_uuid event_id;
    odto_slice topic; /* "jobs.completed" or the dead-letter topic */
    odto_slice body;
} odto_outgoing;

typedef enum odto_jobs_op_kind {
    ODTO_JOBS_ACCEPT, /* insert PENDING (or, with lease_owner set and run_at due, already EXECUTING: accept
                         and claim in one) */
    ODTO_JOBS_CLAIM,  /* lease up to limit due PENDING jobs of the types, best priority first, then run_at,
                         then age */
    ODTO_JOBS_FINISH, /* EXECUTING → COMPLETED|FAILED + attempt + outgoing events */
    ODTO_JOBS_RETRY, /* EXECUTING → PENDING at run_at, attempt kept with its error; outcome LOST adds to lost
                      */
    ODTO_JOBS_RELEASE, /* EXECUTING → PENDING now, the attempt does not count (orderly shutdown) */
    ODTO_JOBS_EXTEND,  /* lease_until of (id, token) moved on */
    ODTO_JOBS_REAP,   /* leases that ran out (all owners), and with lease_owner set: every lease of that owner
                         (own leases at start) →   PENDING with lost+1; over max_lost → reported in claimed[] as
                         still leased with status EXECUTING and outcome   POISON for the caller to FINISH */
    ODTO_JOBS_CANCEL, /* PENDING → FAILED outcome CANCELLED + outgoing; EXECUTING: marks it (result -EBUSY) */
    ODTO_JOBS_OUTBOX_TAKE, /* up to limit outgoing events not yet published, oldest first (several hosts: skip
                              locked), into taken[]; with lease_owner set only those that another host was to
                              publish and did not in time */
    ODTO_JOBS_OUTBOX_DONE, /* forget outbox rows by seq */
} odto_jobs_op_kind;

typedef struct odto_outbox_row {
    uint64_t seq;
    odto_outgoing event;
} odto_outbox_row;

typedef struct odto_jobs_op {
    odto_jobs_op_kind kind;
    /* in */
    const odto_job *job; /* ACCEPT */
    odto_uuid id;        /* FINISH RETRY RELEASE EXTEND CANCEL */
    uint64_t token;      /* fencing token of the lease that acts; a stale one gives result -ESTALE and changes
                            nothing */
    odto_slice lease_owner; /* ACCEPT (claim at once), CLAIM, REAP, OUTBOX_TAKE */
    int64_t lease_until, now, run_at;
    odto_status status;            /* FINISH */
    odto_outcome outcome;          /* FINISH RETRY */
    odto_attempt attempt;          /* FINISH RETRY: what to record of the attempt that ended */
    odto_slice output;             /* FINISH: what the handler returned */
    const odto_outgoing *outgoing; /* FINISH CANCEL: events for the outbox */
    size_t n_outgoing;
    const odto_slice *types; /* CLAIM: n_types = 0: all types */
    size_t n_types;
    uint32_t limit, max_lost;
    const uint64_t *seqs; /* OUTBOX_DONE */
    size_t n_seqs;
    /* out, set before done() */
    int result;         /* 0; ACCEPT: -EEXIST (already there, unchanged); -ESTALE, -ENOENT, -EBUSY */
    uint64_t token_out; /* ACCEPT with lease_owner: the token of the new lease; REAP: how many leases ended
                           (as many as limit: there may be more) */
    odto_job *claimed;  /* CLAIM, REAP: rows, memory of the batch until release() */
    size_t n_claimed;
    int64_t next_due;       /* CLAIM: run_at of the earliest job of the types not taken, 0 none */
    odto_outbox_row *taken; /* OUTBOX_TAKE: likewise */
    size_t n_taken;
    uint64_t *outbox_seqs; /* FINISH: seq of each outgoing event written (n_outgoing of them), memory of the
                              batch */
} odto_jobs_op;

typedef struct odto_jobs_batch odto_jobs_batch;
struct odto_jobs_batch {
    odto_jobs_op *ops;
    size_t n;
    void (*done)(odto_jobs_batch *b, int result);
    void *arg;
    void *mem;             /* store's memory for out fields */
    odto_jobs_batch *next; /* the store's while submitted */
};

typedef struct odto_jobs_stats {
    int64_t pending, executing, completed, failed; /* exact, O(1) to read */
    int64_t outbox;
    int64_t oldest_ready; /* run_at of the oldest due job, 0 none */
} odto_jobs_stats;

typedef struct odto_jobs_query {
    int status;        /* -1: any */
    odto_slice type;   /* n = 0: any */
    odto_slice cursor; /* of the previous page, n = 0: from the newest */
    uint32_t limit;
    bool with_body; /* fill job_json, payload, result, error */
} odto_jobs_query;

/* Return false to stop. The job's slices are valid during the call only. */
typedef bool odto_job_row_fn(void *arg, const odto_job *job);
typedef bool odto_attempt_row_fn(void *arg, const odto_attempt *a);

typedef struct odto_jobs_ops {
    uint32_t size;
    int (*submit)(void *store,
                  odto_jobs_batch *b); /* 0 (done will come), -EAGAIN (queue of the store full), -ECANCELED */
    void (*release)(void *store, odto_jobs_batch *b); /* frees b->mem; after done() */
    int (*get)(void *store, const odto_uuid *id, odto_job_row_fn *fn, void *arg,
               odto_error *err); /* -ENOENT */
    int (*attempts)(void *store, const odto_uuid *id, odto_attempt_row_fn *fn, void *arg, odto_error *err);
    /* newest created_at first; next (>= 128 bytes, may be NULL) receives the cursor of the following page, ""
     * at the end */
    int (*list)(void *store, const odto_jobs_query *q, odto_job_row_fn *fn, void *arg, char *next,
                odto_error *err);
    int (*stats)(void *store, odto_jobs_stats *out,
                 odto_error *err); /* cheap: may be called on an event loop when the store says so by flags */
} odto_jobs_ops;

/* ---- counters ---- */
typedef struct odto_counted { /* one event to count, once however often it is given */
    odto_uuid event_id;
    bool completed, failed; /* job.completed / job.failed; others count in total only */
    int64_t occurred_at;
} odto_counted;

typedef struct odto_counters { /* the contract's metrics:jobs:* */
    int64_t total, completed, failed;
    char last_event_time[40]; /* RFC 3339, "" when none */
} odto_counters;

typedef struct odto_write odto_write; /* one asynchronous write of the counters and events roles */
struct odto_write {
    const odto_counted *counted; /* counters role: n of them */
    const odto_slice *bodies;    /* events role: n envelopes, with headers beside them */
    const odto_header *headers;
    size_t n;
    void (*done)(odto_write *w, int result);
    void *arg;
    odto_write *next;
    bool replay; /* counters role: read back from the log; a store that remembers a bounded number of event
                    ids forgets these by their age, before those that are delivered now */
};

typedef struct odto_counters_ops {
    uint32_t size;
    int (*add)(void *store, odto_write *w); /* uses counted[] */
    int (*read)(void *store, odto_counters *out, odto_error *err);
    /* Replace the counters by what is given (rebuild from events), and remember nothing else. */
    int (*set)(void *store, const odto_counters *c, odto_error *err);
} odto_counters_ops;

/* ---- events ---- */
typedef struct odto_event_row {
    uint64_t seq;    /* position in the log: rising, for Last-Event-ID; 0 where the store has none */
    odto_slice body; /* the envelope */
} odto_event_row;
typedef bool odto_event_row_fn(void *arg, const odto_event_row *row);
typedef bool odto_counted_fn(void *arg, const odto_counted *e);

typedef struct odto_events_ops {
    uint32_t size;
    int (*append)(void *store, odto_write *w); /* idempotent by event id; uses bodies[] and headers[] */
    /* append and count in one transaction: only events not seen before are counted. NULL where the store is
     * not also the counters store */
    int (*append_counted)(void *store, odto_write *w);
    /* newest first by the time they occurred; job NULL: all */
    int (*list)(void *store, const odto_uuid *job, uint32_t limit, odto_event_row_fn *fn, void *arg,
                odto_error *err);
    /* oldest first, seq > after; after = UINT64_MAX gives none but *last, the newest seq */
    int (*after)(void *store, uint64_t after, uint32_t limit, odto_event_row_fn *fn, void *arg,
                 uint64_t *last, odto_error *err);
    int (*count)(void *store, odto_counters *out, odto_error *err); /* by reading all events */
    /* Every event of the log that was there when the call began, once, in any order: for the rebuild of
     * counters in another store. NULL where the store can't. */
    int (*scan)(void *store, odto_counted_fn *fn, void *arg, odto_error *err);
    /* The rebuild where append_counted is: the counters become what the log holds, in one transaction, so
     * that events may be appended meanwhile. *out: the new counters. NULL where append_counted is. */
    int (*recount)(void *store, odto_counters *out, odto_error *err);
} odto_events_ops;

/* What a store plugin's descriptor points to: roles it does not provide are NULL. */
typedef struct odto_store_iface {
    uint32_t size;
    uint32_t flags;
    const odto_jobs_ops *jobs;
    const odto_counters_ops *counters;
    const odto_events_ops *events;
} odto_store_iface;
#define ODTO_STORE_FAST_STATS 1u /* stats/read never block longer than microseconds */
#define ODTO_STORE_SHARED     2u /* other hosts may write the same rows: look again now and then */

#endif
