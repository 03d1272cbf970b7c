/* jobs_read.c — reading jobs: by id, lists with a cursor, attempts, statistics.
 *
 * On the caller's thread with a connection of the pool, opened when it is first needed. A connection that
 * turns out to be lost is opened once more: reading twice harms nobody. Callbacks run while the connection is
 * taken and no lock is held. */
#include "store_postgres.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- the pool ---- */

int pg_pool_init(pg_pool *p, uint32_t n)
{
    memset(p, 0, sizeof(*p));
    p->n = n;
    if (pthread_mutex_init(&p->lock, NULL) != 0 || pthread_cond_init(&p->freed, NULL) != 0)
        return -ENOMEM;
    return 0;
}

void pg_pool_close(pg_pool *p)
{
    for (uint32_t i = 0; i < p->n; i++)
        pg_close(&p->conn[i]);
}

void pg_pool_destroy(pg_pool *p)
{
    pg_pool_close(p);
    pthread_cond_destroy(&p->freed);
    pthread_mutex_destroy(&p->lock);
}

/* A connection for this thread, waiting for one when all are in use; one that is open, if there is. */
static pg_conn *take(pg_pool *p)
{
    pg_conn *best = NULL;
    pthread_mutex_lock(&p->lock);
    while (best == NULL) {
        for (uint32_t i = 0; i < p->n; i++)
            if (!p->busy[i] && (best == NULL || (best->c == NULL && p->conn[i].c != NULL)))
                best = &p->conn[i];
        if (best == NULL)
            pthread_cond_wait(&p->freed, &p->lock);
    }
    p->busy[best - p->conn] = true;
    pthread_mutex_unlock(&p->lock);
    return best;
}

static void give(pg_pool *p, pg_conn *c)
{
    pthread_mutex_lock(&p->lock);
    p->busy[c - p->conn] = false;
    pthread_cond_signal(&p->freed);
    pthread_mutex_unlock(&p->lock);
}

static bool is_away(pg_store *s, char *why, size_t size)
{
    pthread_mutex_lock(&s->lock);
    bool away = s->away[0] != '\0' || !s->running;
    snprintf(why, size, "%s", s->away[0] != '\0' ? s->away : "the store is stopped");
    pthread_mutex_unlock(&s->lock);
    return away;
}

static int fail(const pg_store *s, const pg_conn *c, int code, odto_error *err, const char *doing)
{
    odto_fail(err, code, "store %s: %s", s->name, doing);
    odto_error_detail(err, "PostgreSQL at %s: %s", s->where, c->error);
    return code;
}

/* Run a query on a connection of the pool, connecting when need be. While the store is away nobody waits for
 * a connection that will not come. The caller gives *c back, also when there is no result. */
static PGresult *ask(pg_store *s, pg_sql which, bool planned, pg_args *a, pg_conn **out, odto_error *err,
                     const char *doing)
{
    PGresult *r = NULL;
    int code = 0;
    pg_conn *c = *out = take(&s->pool);
    for (int i = 0; i < 2 && r == NULL; i++) {
        if (!pg_alive(c)) {
            pg_close(c);
            if (is_away(s, c->error, sizeof(c->error)) ||
                pg_connect(s, c, "odto reader", &s->stopping) != 0) {
                fail(s, c, -EAGAIN, err, doing);
                return NULL;
            }
            /* lists are planned with their values: a status picks its index */
            pg_simple(s, c,
                      "SET enable_bitmapscan = on; SET enable_material = on; SET plan_cache_mode = auto");
        }
        r = planned ? pg_one(s, c, which, a, &code) : pg_query(s, c, pg_sql_text[which], a, &code);
        if (r == NULL && code != -EAGAIN)
            break;
    }
    if (r == NULL)
        fail(s, c, code, err, doing);
    return r;
}

/* ---- rows ---- */

static const struct {
    const char *name;
    odto_status status;
} statuses[] = {{"PENDING", ODTO_PENDING},
                {"VALIDATED", ODTO_VALIDATED},
                {"EXECUTING", ODTO_EXECUTING},
                {"COMPLETED", ODTO_COMPLETED},
                {"FAILED", ODTO_FAILED}};

static odto_status status_of(odto_slice v)
{
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
        if (odto_slice_eq(v, statuses[i].name))
            return statuses[i].status;
    return ODTO_PENDING;
}

static int64_t time_ms(const PGresult *r, int row, int column)
{
    int64_t us = pg_get_time_us(r, row, column);
    return us >= 0 ? us / 1000 : -((999 - us) / 1000);
}

/* What depends on the state. */
static void state_from_row(const PGresult *r, int row, odto_job *j)
{
    int64_t updated = time_ms(r, row, PG_C_UPDATED_AT);
    j->status = status_of(pg_get_text(r, row, PG_C_STATUS));
    j->updated_at = updated;
    j->error = pg_get_text(r, row, PG_C_ERROR);
    if (j->status == ODTO_COMPLETED || j->status == ODTO_FAILED) {
        j->outcome = (odto_outcome)pg_get_int(r, row, PG_C_OUTCOME);
        j->started_at = pg_get_int(r, row, PG_C_STARTED_AT);
        j->finished_at =
            PQgetisnull(r, row, PG_C_FINISHED_AT) ? updated : pg_get_int(r, row, PG_C_FINISHED_AT);
        j->result = pg_get_text(r, row, PG_C_RESULT);
        return;
    }
    j->outcome = (odto_outcome)pg_get_int(r, row, PG_C_MARK);
    if (j->status != ODTO_EXECUTING)
        return;
    j->token = (uint64_t)pg_get_int(r, row, PG_C_TOKEN);
    j->started_at = pg_get_int(r, row, PG_C_STARTED_AT);
}

void pg_job_from_row(const PGresult *r, int row, odto_job *j, char key[ODTO_UUID_LEN + 1])
{
    memset(j, 0, sizeof(*j));
    j->id = pg_get_uuid(r, row, PG_C_ID);
    if (PQgetisnull(r, row, PG_C_EVENT_ID)) { /* of another service */
        odto_uuid_derive(&j->id, &j->event_id);
        j->correlation_id = j->id;
    } else {
        j->event_id = pg_get_uuid(r, row, PG_C_EVENT_ID);
        j->correlation_id = pg_get_uuid(r, row, PG_C_CORRELATION_ID);
    }
    j->type = pg_get_text(r, row, PG_C_TYPE);
    int64_t priority = -pg_get_int(r, row, PG_C_RANK);
    j->priority = (int32_t)priority;
    j->attempt = (uint32_t)pg_get_int(r, row, PG_C_ATTEMPT);
    j->max_attempts = (uint32_t)pg_get_int(r, row, PG_C_MAX_ATTEMPTS);
    j->lost = (uint32_t)pg_get_int(r, row, PG_C_LOST);
    j->created_at = time_ms(r, row, PG_C_CREATED_AT);
    j->accepted_at = pg_get_int(r, row, PG_C_ACCEPTED_AT);
    j->run_at = pg_get_int(r, row, PG_C_RUN_AT);
    j->expires_at = pg_get_int(r, row, PG_C_EXPIRES_AT);
    j->traceparent = pg_get_text(r, row, PG_C_TRACEPARENT);
    j->job_json = pg_get_text(r, row, PG_C_JOB_JSON);
    size_t at = (size_t)pg_get_int(r, row, PG_C_PAYLOAD_AT), n = (size_t)pg_get_int(r, row, PG_C_PAYLOAD_N);
    if (!PQgetisnull(r, row, PG_C_PAYLOAD))
        j->payload = pg_get_text(r, row, PG_C_PAYLOAD);
    else if (n > 0 && at + n <= j->job_json.n)
        j->payload = odto_slice_of(j->job_json.p + at, n);
    if (PQgetisnull(r, row, PG_C_IDEMPOTENCY_KEY)) {
        odto_uuid_format(&j->id, key);
        j->idempotency_key = odto_slice_of(key, ODTO_UUID_LEN);
    } else {
        j->idempotency_key = pg_get_text(r, row, PG_C_IDEMPOTENCY_KEY);
    }
    state_from_row(r, row, j);
}

/* ---- one job ---- */

static int no_such_job(odto_error *err, const odto_uuid *id)
{
    char text[ODTO_UUID_LEN + 1];
    odto_uuid_format(id, text);
    return odto_fail(err, -ENOENT, "no job %s", text);
}

static int code_of(const odto_error *err)
{
    return err->code != 0 ? err->code : -EIO;
}

int pg_jobs_get(void *store, const odto_uuid *id, odto_job_row_fn *fn, void *arg, odto_error *err)
{
    pg_store *s = store;
    odto_error own = {0};
    pg_conn *c = NULL;
    pg_args a = {0};
    int code = 0;
    pg_uuid(&a, id);
    PGresult *r = ask(s, PG_GET, true, &a, &c, &own, "a job can't be read");
    if (r == NULL) {
        code = code_of(&own);
        if (err != NULL)
            *err = own;
    } else if (PQntuples(r) == 0) {
        code = no_such_job(err, id);
    } else {
        odto_job job;
        char key[ODTO_UUID_LEN + 1];
        pg_job_from_row(r, 0, &job, key);
        fn(arg, &job);
    }
    PQclear(r);
    give(&s->pool, c);
    pg_args_free(&a);
    return code;
}

static void give_attempts(const PGresult *r, odto_attempt_row_fn *fn, void *arg)
{
    bool more = true;
    for (int row = 0; row < PQntuples(r) && more; row++) {
        odto_attempt a = {.number = (uint32_t)pg_get_int(r, row, 0),
                          .outcome = (odto_outcome)pg_get_int(r, row, 1),
                          .started_at = pg_get_int(r, row, 2),
                          .finished_at = pg_get_int(r, row, 3),
                          .error = pg_get_text(r, row, 4),
                          .log = pg_get_text(r, row, 5),
                          .host = pg_get_text(r, row, 6)};
        more = fn(arg, &a);
    }
}

static bool nothing(void *arg, const odto_job *job)
{
    (void)arg, (void)job;
    return true;
}

int pg_jobs_attempts(void *store, const odto_uuid *id, odto_attempt_row_fn *fn, void *arg, odto_error *err)
{
    pg_store *s = store;
    odto_error own = {0};
    pg_conn *c = NULL;
    pg_args a = {0};
    int code = 0, rows = 0;
    pg_uuid(&a, id);
    PGresult *r = ask(s, PG_ATTEMPTS, true, &a, &c, &own, "the attempts of a job can't be read");
    if (r != NULL) {
        rows = PQntuples(r);
        give_attempts(r, fn, arg);
    } else {
        code = code_of(&own);
        if (err != NULL)
            *err = own;
    }
    PQclear(r);
    give(&s->pool, c);
    pg_args_free(&a);
    return code == 0 && rows == 0 ? pg_jobs_get(store, id, nothing, NULL, err) : code;
}

/* ---- lists ---- */

typedef struct position { /* of the last row of a page */
    int64_t created_us;
    odto_uuid id;
} position;

static int parse_cursor(odto_slice text, position *p, odto_error *err)
{
    char buf[64];
    uint64_t created = 0;
    int end = 0;
    p->created_us = INT64_MAX;
    memset(&p->id, 0xff, sizeof(p->id));
    if (text.n == 0)
        return 0;
    if (text.n < sizeof(buf)) {
        memcpy(buf, text.p, text.n);
        buf[text.n] = '\0';
        if (sscanf(buf, "%16" SCNx64 "-%n", &created, &end) == 1 && end > 0 &&
            odto_uuid_parse(odto_slice_of(buf + end, text.n - (size_t)end), &p->id) == 0) {
            p->created_us = (int64_t)created;
            return 0;
        }
    }
    odto_fail(err, -EINVAL, "invalid cursor");
    odto_error_hint(err, "use the cursor of the page before, or none");
    return -EINVAL;
}

/* Up to limit rows to fn; next gets the cursor when there are more. */
static void give_page(const PGresult *r, uint32_t limit, odto_job_row_fn *fn, void *arg, char *next)
{
    int n = PQntuples(r);
    bool more = n > 0 && (uint32_t)n > limit;
    if (more && next != NULL && limit > 0) {
        char id[ODTO_UUID_LEN + 1];
        odto_uuid last = pg_get_uuid(r, (int)limit - 1, PG_C_ID);
        odto_uuid_format(&last, id);
        snprintf(next, 128, "%" PRIx64 "-%s", (uint64_t)pg_get_time_us(r, (int)limit - 1, PG_C_CREATED_AT),
                 id);
    }
    for (int row = 0; row < n && (uint32_t)row < limit; row++) {
        odto_job job;
        char key[ODTO_UUID_LEN + 1];
        pg_job_from_row(r, row, &job, key);
        if (!fn(arg, &job)) {
            if (next != NULL)
                next[0] = '\0';
            return;
        }
    }
}

int pg_jobs_list(void *store, const odto_jobs_query *q, odto_job_row_fn *fn, void *arg, char *next,
                 odto_error *err)
{
    pg_store *s = store;
    odto_error own = {0};
    position from;
    if (next != NULL)
        next[0] = '\0';
    int code = parse_cursor(q->cursor, &from, err);
    if (code != 0)
        return code;
    pg_conn *c = NULL;
    pg_args a = {0};
    pg_time_us(&a, from.created_us);
    pg_uuid(&a, &from.id);
    pg_text(&a, q->type);
    pg_int(&a, (int64_t)q->limit + 1);
    pg_sql which = q->with_body ? PG_LIST_ANY_BODY : PG_LIST_ANY;
    if (q->status >= 0) {
        pg_text(&a, odto_slice_str(odto_status_name((odto_status)q->status)));
        which = q->with_body ? PG_LIST_STATUS_BODY : PG_LIST_STATUS;
    }
    PGresult *r = ask(s, which, false, &a, &c, &own, "jobs can't be listed");
    if (r != NULL) {
        give_page(r, q->limit, fn, arg, next);
    } else {
        code = code_of(&own);
        if (err != NULL)
            *err = own;
    }
    PQclear(r);
    give(&s->pool, c);
    pg_args_free(&a);
    return code;
}

/* ---- statistics ---- */

int pg_jobs_stats(void *store, odto_jobs_stats *out, odto_error *err)
{
    pg_store *s = store;
    odto_error own = {0};
    pg_conn *c = NULL;
    pg_args a = {0};
    PGresult *r = ask(s, PG_STATS, true, &a, &c, &own, "the counts of jobs can't be read");
    if (r != NULL) {
        *out = (odto_jobs_stats){.pending = pg_get_int(r, 0, 0),
                                 .executing = pg_get_int(r, 0, 1),
                                 .completed = pg_get_int(r, 0, 2),
                                 .failed = pg_get_int(r, 0, 3),
                                 .outbox = pg_get_int(r, 0, 4),
                                 .oldest_ready = pg_get_int(r, 0, 5)};
        int64_t due = pg_get_int(r, 0, 6); /* delayed, and not made ready since its time came */
        if (due != 0 && due <= s->host->api->unix_ms(s->host) &&
            (out->oldest_ready == 0 || due < out->oldest_ready))
            out->oldest_ready = due;
    } else if (err != NULL) {
        *err = own;
    }
    PQclear(r);
    give(&s->pool, c);
    pg_args_free(&a);
    return r != NULL ? 0 : code_of(&own);
}
