/* store_sqlite.h — shapes the files of the sqlite store share.
 *
 * One database file serves three roles. Threads: one writer (all transactions), one checkpointer (moves the
 * write-ahead log into the database beside the writer), any number of callers that submit, and callers that
 * read through a pool of reader connections.
 *
 * Locks: sq_store.lock guards the queue, the flags of writer and checkpointer and the health text;
 * sq_store.stats_lock guards `shown`; sq_readers.lock guards the pool. None is held while another is taken,
 * nor while a callback of the caller runs. Everything else of sq_store belongs to the writer thread between
 * start and stop. */
#ifndef STORE_SQLITE_H
#define STORE_SQLITE_H

#include <odto/plugin.h>
#include <pthread.h>
#include <sqlite3.h>

#include "../common/arena.h"
#include "sql.h"

#define SQ_APPLICATION_ID 0x6f64746f /* "odto" */
#define SQ_SCHEMA_VERSION 1
#define SQ_MAX_READERS    16

/* A connection with the statements prepared on it so far. Used by one thread at a time. */
typedef struct sq_conn {
    sqlite3 *db;
    sqlite3_stmt *st[SQ_SQL_COUNT];
} sq_conn;

/* The one row of table `state`: what must be exact after a crash and cheap to read. Written in the same
 * transaction as the rows it counts. */
typedef struct sq_state {
    int64_t pending, executing, completed, failed, outbox; /* rows by state */
    int64_t next_outbox, next_event;                       /* sequence numbers, never given twice */
    int64_t total, counted_completed, counted_failed;      /* counters role */
    int64_t last_event;                                    /* Unix ms, 0 none */
} sq_state;

/* What stats() answers from: published after each commit. */
typedef struct sq_shown {
    sq_state state;
    int64_t ready_since;   /* smallest run_at of the ready jobs, 0 none */
    int64_t delayed_until; /* smallest run_at of the delayed jobs, 0 none */
} sq_shown;

typedef struct sq_readers {
    pthread_mutex_t lock;
    pthread_cond_t freed;
    sq_conn conn[SQ_MAX_READERS];
    bool busy[SQ_MAX_READERS];
    uint32_t n, waiting;
} sq_readers;

/* A function the writer runs inside a transaction for a thread that waits for it. */
typedef struct sq_task {
    int (*fn)(void *store, const void *arg); /* SQLite result code */
    const void *arg;
    int result; /* 0/-errno once finished */
    bool finished;
    struct sq_task *next;
} sq_task;

typedef struct sq_jobs_list { /* in order of submission */
    odto_jobs_batch *head, *tail;
} sq_batches;
typedef struct sq_writes {
    odto_write *head, *tail;
} sq_writes;
typedef enum sq_write_kind { SQ_COUNT, SQ_APPEND, SQ_APPEND_COUNTED, SQ_WRITE_KINDS } sq_write_kind;

/* Work waiting for, or being in, one transaction. */
typedef struct sq_group {
    sq_batches jobs;
    sq_writes writes[SQ_WRITE_KINDS];
    sq_task *tasks;
    size_t ops; /* operations and events in it */
} sq_group;

typedef enum sq_checkpoint { SQ_CKPT_IDLE, SQ_CKPT_ASKED, SQ_CKPT_RUNNING, SQ_CKPT_MOVED } sq_checkpoint;

typedef struct sq_options {
    char *path;
    bool sync;
    int64_t commit_window_ns, keep_jobs_ms, keep_events_ms, cache_bytes, wal_bytes;
    uint32_t max_batch, max_queue, readers;
    const char *vfs; /* NULL: the default one; tests put a faulty one here */
} sq_options;

typedef struct sq_store {
    uint32_t magic;
    odto_host *host;
    const odto_config *config;
    sq_options opt;
    int lock_fd;

    /* the writer's */
    sq_conn w;
    sq_state cur, committed; /* cur is what the open transaction has made of committed */
    bool pending_changed;    /* by the open transaction */
    int wal_frames;          /* after the last commit; atomic, the checkpointer reads it */
    int checkpoint_at;       /* frames in the log at which to act next */
    int64_t warned_ms;       /* when the reason of `away` was last logged */
    int64_t retain_next_ms, retain_job, retain_event; /* next pass, and how far this one has come */
    bool retaining;

    pthread_mutex_t lock;
    pthread_cond_t wake;    /* writer: work, stop */
    pthread_cond_t drained; /* quiesce: a group has ended; tasks: finished */
    sq_group queue;
    bool running, stopping, sleeping, busy;
    char away[160]; /* why writing fails at present, "" when it does not */
    int away_code;

    pthread_cond_t checkpoint_wake;
    sq_checkpoint checkpoint;
    sq_conn c; /* the checkpointer's */

    pthread_mutex_t stats_lock;
    sq_shown shown;

    sq_readers readers;
    odto_thread *writer_thread, *checkpoint_thread;
    odto_metric *commit_seconds, *batch_jobs, *failures;
} sq_store;

#define SQ_MAGIC UINT32_C(0x53516c74)

/* ---- conn.c: opening, statements, errors, the pool of readers ---- */

/* The statement, prepared on first use and reset; NULL with the reason in the connection (sqlite3_errcode).
 */
sqlite3_stmt *sq_stmt(sq_conn *c, sq_sql which);
/* Open and configure a connection (WAL, synchronous, cache). */
int sq_conn_open(const sq_store *s, sq_conn *c, int64_t cache_bytes, bool query_only, odto_error *err);
void sq_conn_close(sq_conn *c);
/* Run a statement that gives no row and reset it: an SQLite result code, SQLITE_OK when done. */
int sq_run(sqlite3_stmt *st);
/* -errno for a failed SQLite call: -ENOSPC, -EIO (also corrupt), -EAGAIN (locked), -ENOMEM, -EROFS, -E2BIG.
 */
int sq_errno(sqlite3 *db, int rc);
/* Fill err for a failed call on the database of s; returns sq_errno(). */
int sq_fail(const sq_store *s, sqlite3 *db, int rc, odto_error *err, const char *doing);
/* Bind bytes that stay where they are until the statement has run; empty ones as NULL (text) or as '' (word).
 * SQLITE_OK, or SQLITE_TOOBIG when it is beyond SQLite's limit (1 GB). */
int sq_bind_text(sqlite3_stmt *st, int i, odto_slice v);
int sq_bind_word(sqlite3_stmt *st, int i, odto_slice v);
void sq_bind_uuid(sqlite3_stmt *st, int i, const odto_uuid *u); /* not copied */
odto_slice sq_text(sqlite3_stmt *st, int column);               /* valid until the next step */
odto_uuid sq_uuid(sqlite3_stmt *st, int column);

int sq_readers_init(sq_readers *r, uint32_t n);
void sq_readers_close(sq_readers *r);
void sq_readers_destroy(sq_readers *r);
/* A reader connection for the calling thread, waiting for one when all are in use; NULL with *err. */
sq_conn *sq_reader_take(sq_store *s, odto_error *err);
void sq_reader_give(sq_store *s, sq_conn *c);

/* ---- schema.c: from a path to a database of the current schema ---- */

/* Network file systems by the magic number of statfs(2): WAL needs memory shared between processes of one
 * machine. Returns its name, or NULL for a local one. */
const char *sq_network_fs(long magic);
/* Check the directory, take the lock file, open the writer connection, migrate, load `state`. */
int sq_schema_open(sq_store *s, odto_error *err);
void sq_schema_close(sq_store *s); /* also gives the lock file back */

/* ---- writer.c: queue, group commit, health ---- */
int sq_submit_jobs(void *store, odto_jobs_batch *b);
int sq_submit_count(void *store, odto_write *w);
int sq_submit_append(void *store, odto_write *w);
int sq_submit_append_counted(void *store, odto_write *w);
int sq_task_run(sq_store *s, sq_task *t); /* waits; 0/-errno */
void sq_writer_main(void *store);
/* Wait until nothing submitted is left; 0 or -ETIMEDOUT at the deadline (monotonic ns). */
int sq_writer_drain(sq_store *s, int64_t deadline_ns);
void sq_writer_stop(sq_store *s); /* tell the writer to end when nothing is left */
double sq_queue_depth(void *store);
/* What a transaction does between BEGIN and COMMIT; SQLite result codes. */
typedef int sq_body(sq_store *s, void *arg);
/* Run body in a transaction of the writer and save `state` with it: 0, or -errno and nothing has changed. */
int sq_transaction(sq_store *s, sq_body *body, void *arg);

/* ---- checkpoint.c: keeps the write-ahead log bounded ---- */
void sq_checkpoint_watch(sq_store *s); /* count the frames of each commit of the writer */
void sq_checkpoint_main(void *store);
void sq_checkpoint_after_commit(sq_store *s); /* on the writer */

/* ---- jobs.c, claim.c: the operations, on the writer, inside a transaction; SQLite result codes ---- */
int sq_jobs_apply(sq_store *s, odto_jobs_batch *b);
void sq_jobs_reset(odto_jobs_batch *b); /* forget all out fields: the batch will be applied again or failed */
int sq_op_claim(sq_store *s, odto_jobs_batch *b, odto_jobs_op *op);
int sq_op_reap(sq_store *s, odto_jobs_batch *b, odto_jobs_op *op);
/* The smallest run_at of the ready and of the delayed jobs (of the first 32 types and priorities), 0 none. */
void sq_ages(sq_store *s, int64_t *ready, int64_t *delayed);

/* A lease row. */
typedef struct sq_lease {
    int64_t seq, until, started_at;
    odto_uuid id;
    int64_t lease; /* rising by one with each lease of the job */
    int64_t attempt, lost, mark;
} sq_lease;
/* The fencing token of a lease: where the row is and which lease it was. */
static inline uint64_t sq_token(int64_t seq, int64_t lease)
{
    return (uint64_t)seq << 20 | ((uint64_t)lease & 0xfffff);
}
static inline int64_t sq_token_seq(uint64_t token)
{
    return (int64_t)(token >> 20);
}
int sq_lease_insert(sq_store *s, const sq_lease *l, odto_slice owner);
int sq_lease_delete(sq_store *s, int64_t seq);
int sq_pending_insert(sq_store *s, const sq_lease *l, int64_t run_at, int64_t now);
int sq_attempt_insert(sq_store *s, int64_t seq, const odto_attempt *a);

/* ---- jobs_read.c ---- */
/* A job from a row of SQ_SELECT_JOB; slices are valid until the next step. key: room for an idempotency key
 * that is the job's id. */
void sq_job_from_row(sqlite3_stmt *st, odto_job *job, char key[ODTO_UUID_LEN + 1]);
int sq_jobs_get(void *store, const odto_uuid *id, odto_job_row_fn *fn, void *arg, odto_error *err);
int sq_jobs_attempts(void *store, const odto_uuid *id, odto_attempt_row_fn *fn, void *arg, odto_error *err);
int sq_jobs_list(void *store, const odto_jobs_query *q, odto_job_row_fn *fn, void *arg, char *next,
                 odto_error *err);
int sq_jobs_stats(void *store, odto_jobs_stats *out, odto_error *err);

/* ---- events.c (also the counters) ---- */
int sq_events_apply(sq_store *s, const odto_write *w, bool count); /* SQLite result codes */
int sq_counters_apply(sq_store *s, const odto_write *w);
int sq_counters_read(void *store, odto_counters *out, odto_error *err);
int sq_counters_set(void *store, const odto_counters *c, odto_error *err);
int sq_events_list(void *store, const odto_uuid *job, uint32_t limit, odto_event_row_fn *fn, void *arg,
                   odto_error *err);
int sq_events_after(void *store, uint64_t after, uint32_t limit, odto_event_row_fn *fn, void *arg,
                    uint64_t *last, odto_error *err);
int sq_events_scan(void *store, odto_counted_fn *fn, void *arg, odto_error *err);
int sq_events_recount(void *store, odto_counters *out, odto_error *err);
int sq_events_count(void *store, odto_counters *out, odto_error *err);

/* ---- retain.c: what is older than keep_jobs / keep_events goes, a little at a time ---- */
int64_t sq_retain_wait_ms(const sq_store *s);    /* until there is something to do; -1: never */
int sq_retain_step(sq_store *s, uint32_t limit); /* inside a transaction; SQLite result code */

#endif
