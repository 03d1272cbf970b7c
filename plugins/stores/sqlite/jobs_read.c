/* jobs_read.c — reading jobs: by id, lists with a cursor, attempts, statistics.
 *
 * On the caller's thread with a reader connection of the pool; stats() only copies what the writer published
 * after its last commit. Callbacks run while the connection is taken and no lock is held. */
#include "store_sqlite.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define FEW_PENDING 5000 /* up to so many are sorted; beyond, the newest jobs are filtered */

static bool is_null(sqlite3_stmt *st, int column)
{
    return sqlite3_column_type(st, column) == SQLITE_NULL;
}

/* The columns that depend on which table holds the job. */
static void state_from_row(sqlite3_stmt *st, odto_job *job)
{
    int attempt = 0;
    if (!is_null(st, SQ_C_D_STATUS)) {
        job->status = (odto_status)sqlite3_column_int(st, SQ_C_D_STATUS);
        job->outcome = (odto_outcome)sqlite3_column_int(st, SQ_C_D_OUTCOME);
        job->finished_at = job->updated_at = sqlite3_column_int64(st, SQ_C_D_FINISHED_AT);
        job->started_at = sqlite3_column_int64(st, SQ_C_D_STARTED_AT);
        job->result = sq_text(st, SQ_C_D_RESULT);
        job->error = sq_text(st, SQ_C_D_ERROR);
        attempt = SQ_C_D_ATTEMPT;
    } else if (!is_null(st, SQ_C_L_LEASE)) {
        job->status = ODTO_EXECUTING;
        job->outcome = (odto_outcome)sqlite3_column_int(st, SQ_C_L_MARK);
        job->token = sq_token(sqlite3_column_int64(st, SQ_C_SEQ), sqlite3_column_int64(st, SQ_C_L_LEASE));
        job->started_at = job->updated_at = sqlite3_column_int64(st, SQ_C_L_STARTED_AT);
        attempt = SQ_C_L_ATTEMPT;
    } else {
        job->status = ODTO_PENDING;
        job->outcome = (odto_outcome)sqlite3_column_int(st, SQ_C_P_MARK);
        job->run_at = sqlite3_column_int64(st, SQ_C_P_RUN_AT);
        job->updated_at = sqlite3_column_int64(st, SQ_C_P_UPDATED_AT);
        attempt = SQ_C_P_ATTEMPT;
    }
    job->attempt = (uint32_t)sqlite3_column_int64(st, attempt);
    job->lost = (uint32_t)sqlite3_column_int64(st, attempt + 1);
}

void sq_job_from_row(sqlite3_stmt *st, odto_job *job, char key[ODTO_UUID_LEN + 1])
{
    memset(job, 0, sizeof(*job));
    job->id = sq_uuid(st, SQ_C_ID);
    job->event_id = sq_uuid(st, SQ_C_EVENT_ID);
    job->correlation_id = sq_uuid(st, SQ_C_CORRELATION_ID);
    job->type = sq_text(st, SQ_C_TYPE);
    job->priority = sqlite3_column_int(st, SQ_C_PRIORITY);
    job->created_at = sqlite3_column_int64(st, SQ_C_CREATED_AT);
    job->accepted_at = sqlite3_column_int64(st, SQ_C_ACCEPTED_AT);
    job->run_at = sqlite3_column_int64(st, SQ_C_RUN_AT);
    job->expires_at = sqlite3_column_int64(st, SQ_C_EXPIRES_AT);
    job->max_attempts = (uint32_t)sqlite3_column_int64(st, SQ_C_MAX_ATTEMPTS);
    job->traceparent = sq_text(st, SQ_C_TRACEPARENT);
    job->job_json = sq_text(st, SQ_C_JOB_JSON);
    int64_t at = sqlite3_column_int64(st, SQ_C_PAYLOAD_AT);
    size_t n = (size_t)sqlite3_column_int64(st, SQ_C_PAYLOAD_N);
    if (at < 0)
        job->payload = sq_text(st, SQ_C_PAYLOAD);
    else if ((size_t)at + n <= job->job_json.n)
        job->payload = odto_slice_of(job->job_json.p + at, n);
    if (is_null(st, SQ_C_IDEMPOTENCY_KEY)) {
        odto_uuid_format(&job->id, key);
        job->idempotency_key = odto_slice_of(key, ODTO_UUID_LEN);
    } else {
        job->idempotency_key = sq_text(st, SQ_C_IDEMPOTENCY_KEY);
    }
    state_from_row(st, job);
}

/* The error of the last attempt of a job that is not finished; st stays stepped while it is in use. */
static sqlite3_stmt *last_error(sq_conn *c, int64_t seq, odto_job *job)
{
    if (job->finished_at != 0 || job->attempt + job->lost == 0)
        return NULL;
    sqlite3_stmt *st = sq_stmt(c, SQ_LAST_ERROR);
    sqlite3_bind_int64(st, 1, seq);
    if (st != NULL && sqlite3_step(st) == SQLITE_ROW)
        job->error = sq_text(st, 0);
    return st;
}

static int no_such_job(odto_error *err, const odto_uuid *id)
{
    char text[ODTO_UUID_LEN + 1];
    odto_uuid_format(id, text);
    return odto_fail(err, -ENOENT, "no job %s", text);
}

int sq_jobs_get(void *store, const odto_uuid *id, odto_job_row_fn *fn, void *arg, odto_error *err)
{
    sq_store *s = store;
    sq_conn *c = sq_reader_take(s, err);
    if (c == NULL)
        return err != NULL ? err->code : -EIO;
    sqlite3_stmt *st = sq_stmt(c, SQ_JOB_BY_ID);
    sq_bind_uuid(st, 1, id);
    int rc = st != NULL ? sqlite3_step(st) : sqlite3_errcode(c->db), code = 0;
    if (rc == SQLITE_ROW) {
        odto_job job;
        char key[ODTO_UUID_LEN + 1];
        sq_job_from_row(st, &job, key);
        sqlite3_stmt *error = last_error(c, sqlite3_column_int64(st, SQ_C_SEQ), &job);
        fn(arg, &job);
        sqlite3_reset(error);
    } else if (rc == SQLITE_DONE) {
        code = no_such_job(err, id);
    } else {
        code = sq_fail(s, c->db, rc, err, "a job can't be read");
    }
    sqlite3_reset(st);
    sq_reader_give(s, c);
    return code;
}

/* Rows of SQ_ATTEMPTS; an SQLite result code. */
static int give_attempts(sqlite3_stmt *st, odto_attempt_row_fn *fn, void *arg)
{
    int rc = SQLITE_OK;
    while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
        odto_attempt a = {.number = (uint32_t)sqlite3_column_int64(st, 0),
                          .outcome = (odto_outcome)sqlite3_column_int(st, 1),
                          .started_at = sqlite3_column_int64(st, 2),
                          .finished_at = sqlite3_column_int64(st, 3),
                          .error = sq_text(st, 4),
                          .log = sq_text(st, 5),
                          .host = sq_text(st, 6)};
        if (!fn(arg, &a))
            return SQLITE_OK;
    }
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

int sq_jobs_attempts(void *store, const odto_uuid *id, odto_attempt_row_fn *fn, void *arg, odto_error *err)
{
    sq_store *s = store;
    sq_conn *c = sq_reader_take(s, err);
    if (c == NULL)
        return err != NULL ? err->code : -EIO;
    sqlite3_stmt *find = sq_stmt(c, SQ_JOB_FIND), *st = sq_stmt(c, SQ_ATTEMPTS);
    sq_bind_uuid(find, 1, id);
    int rc = find != NULL && st != NULL ? sqlite3_step(find) : sqlite3_errcode(c->db), code = 0;
    if (rc == SQLITE_DONE) {
        code = no_such_job(err, id);
    } else {
        if (rc == SQLITE_ROW) {
            sqlite3_bind_int64(st, 1, sqlite3_column_int64(find, 0));
            rc = give_attempts(st, fn, arg);
        }
        if (rc != SQLITE_OK)
            code = sq_fail(s, c->db, rc, err, "the attempts of a job can't be read");
    }
    sqlite3_reset(find);
    sqlite3_reset(st);
    sq_reader_give(s, c);
    return code;
}

/* ---- lists ---- */

typedef struct position { /* of the last row of a page */
    int64_t created_at, seq;
} position;

static int parse_cursor(odto_slice text, position *p, odto_error *err)
{
    char buf[64];
    uint64_t created = 0, seq = 0;
    int end = 0;
    *p = (position){INT64_MAX, INT64_MAX};
    if (text.n == 0)
        return 0;
    if (text.n < sizeof(buf)) {
        memcpy(buf, text.p, text.n);
        buf[text.n] = '\0';
        if (sscanf(buf, "%16" SCNx64 "-%16" SCNx64 "%n", &created, &seq, &end) == 2 &&
            (size_t)end == text.n) {
            *p = (position){(int64_t)created, (int64_t)seq};
            return 0;
        }
    }
    odto_fail(err, -EINVAL, "invalid cursor");
    odto_error_hint(err, "use the cursor of the page before, or none");
    return -EINVAL;
}

/* The statement that reads the fewest rows for this status. */
static sq_sql list_statement(sq_store *s, const odto_jobs_query *q)
{
    pthread_mutex_lock(&s->stats_lock);
    int64_t pending = s->shown.state.pending;
    pthread_mutex_unlock(&s->stats_lock);
    sq_sql which = SQ_LIST_ANY;
    if (q->status == ODTO_PENDING)
        which = pending <= FEW_PENDING ? SQ_LIST_PENDING_FEW : SQ_LIST_PENDING_MANY;
    else if (q->status == ODTO_EXECUTING)
        which = SQ_LIST_EXECUTING;
    else if (q->status == ODTO_COMPLETED)
        which = SQ_LIST_COMPLETED;
    else if (q->status == ODTO_FAILED)
        which = SQ_LIST_FAILED;
    return q->with_body ? (sq_sql)(which + SQ_LIST_ANY_BODY - SQ_LIST_ANY) : which;
}

/* Up to limit rows to fn; next gets the cursor when there are more. An SQLite result code. */
static int give_page(sqlite3_stmt *st, uint32_t limit, odto_job_row_fn *fn, void *arg, char *next)
{
    int rc = SQLITE_OK;
    position last = {0, 0};
    for (uint32_t n = 0; (rc = sqlite3_step(st)) == SQLITE_ROW; n++) {
        odto_job job;
        char key[ODTO_UUID_LEN + 1];
        if (n == limit) {
            if (next != NULL)
                snprintf(next, 128, "%" PRIx64 "-%" PRIx64, (uint64_t)last.created_at, (uint64_t)last.seq);
            return SQLITE_OK;
        }
        sq_job_from_row(st, &job, key);
        last = (position){job.created_at, sqlite3_column_int64(st, SQ_C_SEQ)};
        if (!fn(arg, &job))
            return SQLITE_OK;
    }
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

int sq_jobs_list(void *store, const odto_jobs_query *q, odto_job_row_fn *fn, void *arg, char *next,
                 odto_error *err)
{
    sq_store *s = store;
    position from;
    if (next != NULL)
        next[0] = '\0';
    int code = parse_cursor(q->cursor, &from, err);
    if (code != 0 || q->status == ODTO_VALIDATED) /* a state no stored job is in */
        return code;
    sq_conn *c = sq_reader_take(s, err);
    if (c == NULL)
        return err != NULL ? err->code : -EIO;
    sqlite3_stmt *st = sq_stmt(c, list_statement(s, q));
    sqlite3_bind_int64(st, 1, from.created_at);
    sqlite3_bind_int64(st, 2, from.seq);
    sq_bind_text(st, 3, q->type);
    sqlite3_bind_int64(st, 4, (int64_t)q->limit + 1);
    int rc = st != NULL ? give_page(st, q->limit, fn, arg, next) : sqlite3_errcode(c->db);
    if (rc != SQLITE_OK)
        code = sq_fail(s, c->db, rc, err, "jobs can't be listed");
    sqlite3_reset(st);
    sq_reader_give(s, c);
    return code;
}

int sq_jobs_stats(void *store, odto_jobs_stats *out, odto_error *err)
{
    sq_store *s = store;
    (void)err;
    pthread_mutex_lock(&s->stats_lock);
    sq_shown shown = s->shown;
    pthread_mutex_unlock(&s->stats_lock);
    *out = (odto_jobs_stats){.pending = shown.state.pending,
                             .executing = shown.state.executing,
                             .completed = shown.state.completed,
                             .failed = shown.state.failed,
                             .outbox = shown.state.outbox,
                             .oldest_ready = shown.ready_since};
    int64_t due = shown.delayed_until; /* may have become due since it was stored */
    if (due != 0 && due <= s->host->api->unix_ms(s->host) &&
        (out->oldest_ready == 0 || due < out->oldest_ready))
        out->oldest_ready = due;
    return 0;
}
