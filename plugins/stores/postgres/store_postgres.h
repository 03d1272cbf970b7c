/* store_postgres.h — shapes the files of the postgres store share.
 *
 * Table `jobs` of the contract with columns of our own is the truth; several hosts may share it, and other
 * services may read and write the contract's columns. Threads: one writer with one connection (all
 * transactions, upkeep, reconnecting), any number of callers that submit, and callers that read through a
 * pool of connections.
 *
 * Locks: pg_store.lock guards the queue, the writer's flags and the text of health(); pg_pool.lock guards the
 * pool. None is held while another is taken, nor while a callback of the caller or a call of libpq runs.
 * Everything else of pg_store belongs to the writer thread between start and stop. */
#ifndef STORE_POSTGRES_H
#define STORE_POSTGRES_H

#include <odto/plugin.h>
#include <pthread.h>

#include "../common/arena.h"
#include "bin.h"
#include "sql.h"

#define PG_SCHEMA_VERSION 1
#define PG_MAX_READERS    16
#define PG_LOCK_CLASS     1868854383 /* "odto" — advisory locks: (class, 1) migration, (class, 2) retention */
#define PG_SLOT_CLASS     1868854384 /* (class, slot) held by the session that counts in that row */
#define PG_SLOTS          256
#define PG_HOLD_MS        30000 /* an outgoing event is left to who wrote it for so long */
#define PG_BLOCK          65536 /* outbox numbers taken at once */
#define PG_MAX_TYPE       1024  /* bytes of a job's type: it stands in an index */

/* A connection; c is NULL while there is none. */
typedef struct pg_conn {
    PGconn *c;
    bool prepared[PG_SQL_COUNT];
    char state[6];   /* SQLSTATE of the last failure, "" when it was the connection */
    char error[256]; /* its text, one line, without secrets */
} pg_conn;

typedef struct pg_pool {
    pthread_mutex_t lock;
    pthread_cond_t freed;
    pg_conn conn[PG_MAX_READERS];
    bool busy[PG_MAX_READERS];
    uint32_t n;
} pg_pool;

typedef struct pg_group { /* work waiting for, or being in, one transaction: batches in order */
    odto_jobs_batch *head, *tail;
    size_t ops;
} pg_group;

typedef struct pg_options {
    const char *url;
    int64_t commit_window_ns, keep_jobs_ms, connect_timeout_ns, statement_timeout_ns;
    uint32_t max_batch, max_queue, readers;
} pg_options;

typedef struct pg_store {
    uint32_t magic;
    odto_host *host;
    const odto_config *config;
    pg_options opt;
    char name[64];   /* of the store, for messages */
    char where[256]; /* host, port, database: for messages */
    char password[128];
    int64_t holder;   /* who we are in the outbox, the same after a restart */
    char session[64]; /* application_name of the writer: ends what an earlier connection of ours left */

    /* the writer's */
    pg_conn w;
    pg_args args;
    int64_t slot;
    int64_t skew_ms;                 /* the server's clock minus ours */
    int64_t last_token;              /* the newest that an answer brought */
    char owner[256];                 /* who leased last */
    bool in_doubt;                   /* a transaction may have been committed without an answer */
    int64_t outbox_next, outbox_end; /* numbers at hand */
    int64_t retry_ns, backoff_ns;    /* when to connect again */
    int64_t warned_ns;
    char warned[256]; /* the reason that was last logged */
    int64_t upkeep_ns, retain_ns;
    int64_t retain_at_us;
    odto_uuid retain_id;
    bool retaining;

    pthread_mutex_t lock;
    pthread_cond_t wake;    /* writer: work, stop */
    pthread_cond_t drained; /* quiesce: a group has ended; start: the first attempt has */
    pg_group queue;
    bool running, stopping, sleeping, busy, tried;
    int first_result; /* of the first attempt to connect, for start() */
    odto_error first_error;
    char away[160]; /* why the store can't be used at present, "" when it can */

    pg_pool pool;
    odto_thread *writer_thread;
    odto_metric *commit_seconds, *batch_jobs, *failures, *connects;
} pg_store;

#define PG_MAGIC UINT32_C(0x50677374)

/* ---- conn.c: connections, statements, pipelines. 0/-errno: -EAGAIN the connection is lost or the server
 * asks to try again, -EDEADLK the transaction lost against another, -EINVAL the data is to blame, -ENOMEM
 * ---- */

/* Host, port and database of the URL, and the password that may never be shown; 0/-EINVAL. */
int pg_parse_url(pg_store *s, const char *url, odto_error *err);
/* Connect and set up the session; stop: gives up early when it becomes true (may be NULL). */
int pg_connect(const pg_store *s, pg_conn *c, const char *application, const bool *stop);
void pg_close(pg_conn *c);
/* True while the connection seems usable: asks the socket, not the server. */
bool pg_alive(pg_conn *c);
/* Text of an error for people: the first line, never with the password. */
void pg_error_text(const pg_store *s, const char *text, char *out, size_t size);
/* Prepare a statement on a connection that has not yet; not within a pipeline. The values don't matter. */
int pg_prepare(const pg_store *s, pg_conn *c, pg_sql which, pg_args *args);
/* Within PQenterPipelineMode: send a statement that is prepared … */
int pg_send(pg_conn *c, pg_sql which, pg_args *args);
/* … and end the transaction that all since the last sync make up. */
int pg_sync(const pg_store *s, pg_conn *c);
/* The next answer of a pipeline (also its PGRES_PIPELINE_SYNC), or NULL: the connection is lost. */
PGresult *pg_answer(const pg_store *s, pg_conn *c);
/* One statement in a transaction of its own: its result, or NULL with *code. */
PGresult *pg_one(const pg_store *s, pg_conn *c, pg_sql which, pg_args *args, int *code);
/* Likewise a text that is planned anew each time, with these values. */
PGresult *pg_query(const pg_store *s, pg_conn *c, const char *sql, pg_args *args, int *code);
/* What a failed statement means, from its SQLSTATE; keeps it in c. */
int pg_note_failure(const pg_store *s, pg_conn *c, const PGresult *r);
/* Statements without parameters in one simple query: settings; migrations, which may take long. */
int pg_simple(const pg_store *s, pg_conn *c, const char *sql);
int pg_schema(const pg_store *s, pg_conn *c, const char *sql);

/* ---- schema.c ---- */
/* Bring the schema up to date, once whichever host comes first; -EPROTO: a newer odto was here. */
int pg_migrate(const pg_store *s, pg_conn *c, odto_error *err);

/* ---- writer.c: queue, group commit, health ---- */
int pg_submit_jobs(void *store, odto_jobs_batch *b);
void pg_writer_main(void *store);
int pg_writer_drain(pg_store *s, int64_t deadline_ns);
void pg_writer_stop(pg_store *s);
double pg_queue_depth(void *store);

/* ---- apply.c: a group as one transaction; on the writer ---- */
/* 0: committed, results are set. Otherwise nothing of it is, or, after -EAGAIN with in_doubt, perhaps all. */
int pg_apply(pg_store *s, const pg_group *g);
void pg_reset(odto_jobs_batch *b); /* forget all out fields */
/* Mark the operations of a batch whose values PostgreSQL can't hold (result -EINVAL): how many, or -errno. */
int pg_find_guilty(pg_store *s, odto_jobs_batch *b);
/* Leases that were committed without an answer are given back. */
int pg_disown(pg_store *s);
int pg_outbox_numbers(pg_store *s, size_t n); /* have at least n numbers at hand */

/* ---- steps.c: one kind of operation for a set of them ---- */
typedef struct pg_step {
    pg_sql sql;
    odto_jobs_op **ops; /* ord - 1 */
    odto_jobs_batch **batches;
    size_t n;
} pg_step;
/* Parameters of the step into s->args. */
void pg_step_args(pg_store *s, const pg_step *st);
/* Results of the step into its operations; 0/-ENOMEM. */
int pg_step_result(pg_store *s, const pg_step *st, const PGresult *r);

/* ---- upkeep.c: retention, and counts of what other services did; on the writer ---- */
int64_t pg_upkeep_wait_ns(const pg_store *s); /* until there is something to do */
int pg_upkeep(pg_store *s);                   /* 0/-errno */

/* ---- jobs_read.c ---- */
int pg_pool_init(pg_pool *p, uint32_t n);
void pg_pool_close(pg_pool *p);
void pg_pool_destroy(pg_pool *p);
/* A job from a row; slices are valid as long as the result. key: room for a key that is the job's id. */
void pg_job_from_row(const PGresult *r, int row, odto_job *job, char key[ODTO_UUID_LEN + 1]);
int pg_jobs_get(void *store, const odto_uuid *id, odto_job_row_fn *fn, void *arg, odto_error *err);
int pg_jobs_attempts(void *store, const odto_uuid *id, odto_attempt_row_fn *fn, void *arg, odto_error *err);
int pg_jobs_list(void *store, const odto_jobs_query *q, odto_job_row_fn *fn, void *arg, char *next,
                 odto_error *err);
int pg_jobs_stats(void *store, odto_jobs_stats *out, odto_error *err);

#endif
