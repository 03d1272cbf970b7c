/* claim.c — leasing pending jobs, and taking back leases that ran out. On the writer, inside a transaction.
 *
 * A claim reads the heads of the ready rows of each type, O(limit) rows whatever waits behind them: ready
 * rows stand in index pending_ready in the order of the claim, jobs of a later time in an index of their own
 * (pending_delayed) from which they are moved when their time has come. */
#include "store_sqlite.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PROMOTE_MAX 1000 /* delayed jobs of a type made ready by one claim */
#define ALL_TYPES   1024 /* types looked at by a claim of all types */
#define AGES_MAX    32

typedef struct candidate {
    int64_t seq, priority, run_at;
} candidate;

static int code_of(int step, int reset)
{
    return step == SQLITE_ROW || step == SQLITE_DONE || step == SQLITE_OK ? reset : step;
}

/* The next type after `after` that has rows in the index of which, copied into mem; n = 0 and p NULL at the
 * end.
 */
static int next_type(sq_store *s, sq_sql which, odto_slice after, void **mem, odto_slice *out)
{
    sqlite3_stmt *st = sq_stmt(&s->w, which);
    sq_bind_word(st, 1, after);
    int rc = sqlite3_step(st);
    bool failed = false;
    *out = odto_slice_of(NULL, 0);
    if (rc == SQLITE_ROW)
        *out = arena_copy(mem, sq_text(st, 0), &failed);
    rc = code_of(rc, sqlite3_reset(st));
    return failed ? SQLITE_NOMEM : rc;
}

/* Every type that has pending jobs, in mem. */
static int all_types(sq_store *s, void **mem, odto_slice **types, size_t *n)
{
    static const sq_sql which[] = {SQ_PENDING_TYPE_AFTER, SQ_DELAYED_TYPE_AFTER};
    *types = arena_alloc(mem, ALL_TYPES * sizeof(**types));
    if (*types == NULL)
        return SQLITE_NOMEM;
    *n = 0;
    (*types)[(*n)++] = odto_slice_of("", 0); /* the empty type sorts before all that is looked for */
    size_t ready = 1;
    for (int k = 0; k < 2; k++) {
        odto_slice t = odto_slice_of("", 0);
        while (*n < ALL_TYPES) {
            int rc = next_type(s, which[k], t, mem, &t);
            if (rc != SQLITE_OK)
                return rc;
            if (t.p == NULL)
                break;
            bool known = false;
            for (size_t i = 1; i < ready && !known; i++)
                known = (*types)[i].n == t.n && memcmp((*types)[i].p, t.p, t.n) == 0;
            if (!known)
                (*types)[(*n)++] = t;
        }
        if (k == 0)
            ready = *n;
    }
    return SQLITE_OK;
}

/* Delayed jobs of the type whose time has come become ready. */
static int promote(sq_store *s, odto_slice type, int64_t now)
{
    int64_t seqs[PROMOTE_MAX];
    int n = 0;
    sqlite3_stmt *st = sq_stmt(&s->w, SQ_DELAYED_DUE);
    sq_bind_word(st, 1, type);
    sqlite3_bind_int64(st, 2, now);
    sqlite3_bind_int64(st, 3, PROMOTE_MAX);
    int rc = SQLITE_OK;
    while (n < PROMOTE_MAX && (rc = sqlite3_step(st)) == SQLITE_ROW)
        seqs[n++] = sqlite3_column_int64(st, 0);
    rc = code_of(rc, sqlite3_reset(st));
    for (int i = 0; i < n && rc == SQLITE_OK; i++) {
        st = sq_stmt(&s->w, SQ_DELAYED_PROMOTE);
        sqlite3_bind_int64(st, 1, seqs[i]);
        s->pending_changed = true;
        rc = sq_run(st);
    }
    return rc;
}

/* The first limit + 1 ready rows of the type: one more than wanted tells what stays behind. */
static int read_heads(sq_store *s, odto_slice type, int64_t now, uint32_t limit, candidate *out, size_t *n)
{
    sqlite3_stmt *st = sq_stmt(&s->w, SQ_READY_HEAD);
    sq_bind_word(st, 1, type);
    sqlite3_bind_int64(st, 2, (int64_t)limit + 1);
    int rc = SQLITE_OK;
    *n = 0;
    while (*n <= limit && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        candidate c = {sqlite3_column_int64(st, 0), sqlite3_column_int64(st, 1), sqlite3_column_int64(st, 2)};
        if (c.run_at <= now) /* a clock that went back may find rows made ready too early */
            out[(*n)++] = c;
    }
    return code_of(rc, sqlite3_reset(st));
}

static int by_claim_order(const void *pa, const void *pb)
{
    const candidate *a = pa, *b = pb;
    if (a->priority != b->priority)
        return a->priority > b->priority ? -1 : 1;
    if (a->run_at != b->run_at)
        return a->run_at < b->run_at ? -1 : 1;
    return (a->seq > b->seq) - (a->seq < b->seq);
}

static void earliest(int64_t *due, int64_t run_at)
{
    if (*due == 0 || run_at < *due)
        *due = run_at != 0 ? run_at : 1; /* 0 means none */
}

static int delayed_next(sq_store *s, odto_slice type, int64_t *due)
{
    sqlite3_stmt *st = sq_stmt(&s->w, SQ_DELAYED_NEXT);
    sq_bind_word(st, 1, type);
    int rc = sqlite3_step(st);
    if (rc == SQLITE_ROW)
        earliest(due, sqlite3_column_int64(st, 0));
    return code_of(rc, sqlite3_reset(st));
}

/* Copy the job row of seq into *out, memory of the batch. */
static int load_job(sq_store *s, void **mem, int64_t seq, odto_job *out)
{
    char key[ODTO_UUID_LEN + 1];
    sqlite3_stmt *st = sq_stmt(&s->w, SQ_JOB_BY_SEQ);
    sqlite3_bind_int64(st, 1, seq);
    int rc = sqlite3_step(st);
    bool failed = false;
    if (rc == SQLITE_ROW) {
        sq_job_from_row(st, out, key);
        odto_slice whole = out->job_json;
        uintptr_t part = (uintptr_t)out->payload.p;
        bool inside = out->payload.n > 0 && part >= (uintptr_t)whole.p && part < (uintptr_t)whole.p + whole.n;
        out->type = arena_copy(mem, out->type, &failed);
        out->job_json = arena_copy(mem, whole, &failed);
        if (inside && !failed)
            out->payload.p = out->job_json.p + (part - (uintptr_t)whole.p);
        else
            out->payload = arena_copy(mem, out->payload, &failed);
        out->traceparent = arena_copy(mem, out->traceparent, &failed);
        out->idempotency_key = arena_copy(mem, out->idempotency_key, &failed);
        out->result = out->error = odto_slice_of("", 0);
    }
    int rc2 = sqlite3_reset(st);
    if (failed)
        return SQLITE_NOMEM;
    return rc == SQLITE_ROW ? rc2 : (rc == SQLITE_DONE ? SQLITE_CORRUPT : rc);
}

/* Move the row of a candidate from pending to lease and describe it in *out. */
static int claim_one(sq_store *s, odto_jobs_batch *b, odto_jobs_op *op, const candidate *c, odto_job *out)
{
    int rc = load_job(s, &b->mem, c->seq, out);
    if (rc != SQLITE_OK)
        return rc;
    sqlite3_stmt *st = sq_stmt(&s->w, SQ_PENDING_GET);
    sqlite3_bind_int64(st, 1, c->seq);
    rc = sqlite3_step(st);
    sq_lease l = {.seq = c->seq, .id = out->id, .until = op->lease_until, .started_at = op->now};
    if (rc == SQLITE_ROW) {
        l.attempt = sqlite3_column_int64(st, 2) + 1;
        l.lost = sqlite3_column_int64(st, 3);
        l.lease = sqlite3_column_int64(st, 4) + 1;
        l.mark = sqlite3_column_int64(st, 5);
    }
    rc = code_of(rc, sqlite3_reset(st));
    if (rc != SQLITE_OK)
        return rc;
    st = sq_stmt(&s->w, SQ_PENDING_DELETE);
    sqlite3_bind_int64(st, 1, c->seq);
    s->cur.pending--;
    s->pending_changed = true;
    rc = sq_run(st);
    out->status = ODTO_EXECUTING;
    out->outcome = (odto_outcome)l.mark;
    out->attempt = (uint32_t)l.attempt;
    out->token = sq_token(l.seq, l.lease);
    out->started_at = out->updated_at = op->now;
    return rc == SQLITE_OK ? sq_lease_insert(s, &l, op->lease_owner) : rc;
}

static int claim_types(sq_store *s, odto_jobs_batch *b, odto_jobs_op *op, const odto_slice *types,
                       size_t n_types, uint32_t limit, candidate *heads)
{
    size_t n = 0;
    int rc = SQLITE_OK;
    for (size_t i = 0; i < n_types && rc == SQLITE_OK; i++) {
        size_t got = 0;
        rc = promote(s, types[i], op->now);
        if (rc == SQLITE_OK)
            rc = read_heads(s, types[i], op->now, limit, heads + n, &got);
        if (rc == SQLITE_OK)
            rc = delayed_next(s, types[i], &op->next_due);
        n += got;
        if (n > limit) { /* keep the best of what was seen */
            qsort(heads, n, sizeof(*heads), by_claim_order);
            for (size_t k = limit; k < n; k++)
                earliest(&op->next_due, heads[k].run_at);
            n = limit;
        }
    }
    if (rc != SQLITE_OK || n == 0)
        return rc;
    qsort(heads, n, sizeof(*heads), by_claim_order);
    op->claimed = arena_alloc(&b->mem, n * sizeof(*op->claimed));
    if (op->claimed == NULL)
        return SQLITE_NOMEM;
    for (size_t i = 0; i < n && rc == SQLITE_OK; i++)
        rc = claim_one(s, b, op, &heads[i], &op->claimed[op->n_claimed++]);
    return rc;
}

int sq_op_claim(sq_store *s, odto_jobs_batch *b, odto_jobs_op *op)
{
    if (s->cur.pending == 0)
        return SQLITE_OK;
    odto_slice *all = NULL;
    size_t n_types = op->n_types;
    int rc = SQLITE_OK;
    if (op->n_types == 0)
        rc = all_types(s, &b->mem, &all, &n_types);
    if (rc != SQLITE_OK)
        return rc;
    uint32_t limit = (int64_t)op->limit > s->cur.pending ? (uint32_t)s->cur.pending : op->limit;
    candidate *heads = malloc((2 * (size_t)limit + 1) * sizeof(*heads));
    if (heads == NULL)
        return SQLITE_NOMEM;
    rc = claim_types(s, b, op, all != NULL ? all : op->types, n_types, limit, heads);
    free(heads);
    return rc;
}

/* ---- reap ---- */

/* The lease row of seq. */
static int get_lease(sq_store *s, int64_t seq, sq_lease *l, void **mem, odto_slice *owner)
{
    sqlite3_stmt *st = sq_stmt(&s->w, SQ_LEASE_GET);
    sqlite3_bind_int64(st, 1, seq);
    int rc = sqlite3_step(st);
    bool failed = false;
    if (rc == SQLITE_ROW) {
        *l = (sq_lease){.seq = seq,
                        .id = sq_uuid(st, 0),
                        .lease = sqlite3_column_int64(st, 1),
                        .until = sqlite3_column_int64(st, 2),
                        .attempt = sqlite3_column_int64(st, 3),
                        .lost = sqlite3_column_int64(st, 4),
                        .mark = sqlite3_column_int64(st, 5),
                        .started_at = sqlite3_column_int64(st, 6)};
        *owner = arena_copy(mem, sq_text(st, 7), &failed);
    }
    int rc2 = sqlite3_reset(st);
    if (failed)
        return SQLITE_NOMEM;
    return rc == SQLITE_ROW ? rc2 : (rc == SQLITE_DONE ? SQLITE_CORRUPT : rc);
}

/* Lease a job that was lost too often to the caller, who finishes it. */
static int give_poison(sq_store *s, odto_jobs_batch *b, odto_jobs_op *op, sq_lease *l)
{
    odto_job *out = &op->claimed[op->n_claimed];
    int rc = load_job(s, &b->mem, l->seq, out);
    if (rc != SQLITE_OK)
        return rc;
    op->n_claimed++;
    l->lease++;
    l->mark = ODTO_OUT_POISON;
    l->until = op->lease_until > op->now ? op->lease_until : op->now + 30000;
    out->status = ODTO_EXECUTING;
    out->outcome = ODTO_OUT_POISON;
    out->lost = (uint32_t)l->lost;
    out->token = sq_token(l->seq, l->lease);
    return sq_lease_insert(s, l, op->lease_owner);
}

static int reap_one(sq_store *s, odto_jobs_batch *b, odto_jobs_op *op, int64_t seq)
{
    sq_lease l;
    odto_slice owner;
    int rc = get_lease(s, seq, &l, &b->mem, &owner);
    if (rc != SQLITE_OK)
        return rc;
    rc = sq_lease_delete(s, seq);
    bool counted = l.mark == ODTO_OUT_POISON; /* its loss is recorded; who was to finish it was lost too */
    if (rc == SQLITE_OK && !counted) {
        odto_attempt a = {.number = (uint32_t)l.attempt,
                          .outcome = ODTO_OUT_LOST,
                          .started_at = l.started_at,
                          .finished_at = op->now,
                          .error = odto_slice_str("the lease ran out or its host ended"),
                          .host = owner};
        rc = sq_attempt_insert(s, seq, &a);
        l.lost++;
    }
    if (rc != SQLITE_OK)
        return rc;
    if (counted || l.lost > op->max_lost)
        return give_poison(s, b, op, &l);
    return sq_pending_insert(s, &l, op->run_at > op->now ? op->run_at : op->now, op->now);
}

int sq_op_reap(sq_store *s, odto_jobs_batch *b, odto_jobs_op *op)
{
    if (s->cur.executing == 0)
        return SQLITE_OK;
    size_t limit = op->limit > 0 ? op->limit : (size_t)s->cur.executing, n = 0;
    if ((int64_t)limit > s->cur.executing)
        limit = (size_t)s->cur.executing;
    int64_t *seqs = malloc(limit * sizeof(*seqs));
    if (seqs == NULL)
        return SQLITE_NOMEM;
    sqlite3_stmt *st = sq_stmt(&s->w, SQ_LEASES_LOST);
    sqlite3_bind_int64(st, 1, op->now);
    sq_bind_text(st, 2, op->lease_owner); /* NULL equals nothing */
    sqlite3_bind_int64(st, 3, (int64_t)limit);
    int rc = SQLITE_OK;
    while (n < limit && (rc = sqlite3_step(st)) == SQLITE_ROW)
        seqs[n++] = sqlite3_column_int64(st, 0);
    rc = code_of(rc, sqlite3_reset(st));
    if (rc == SQLITE_OK && n > 0 && (op->claimed = arena_alloc(&b->mem, n * sizeof(*op->claimed))) == NULL)
        rc = SQLITE_NOMEM;
    for (size_t i = 0; i < n && rc == SQLITE_OK; i++)
        rc = reap_one(s, b, op, seqs[i]);
    op->token_out = n;
    free(seqs);
    return rc;
}

/* ---- ages ---- */

/* The smallest run_at of the ready rows of a type: the head of each priority. */
static void oldest_of_type(sq_store *s, odto_slice type, int64_t *ready, int *budget)
{
    int64_t below = INT64_MAX;
    while ((*budget)-- > 0) {
        sqlite3_stmt *st = sq_stmt(&s->w, SQ_READY_OLDEST);
        sq_bind_word(st, 1, type);
        sqlite3_bind_int64(st, 2, below);
        bool row = sqlite3_step(st) == SQLITE_ROW;
        if (row) {
            below = sqlite3_column_int64(st, 0);
            earliest(ready, sqlite3_column_int64(st, 1));
        }
        sqlite3_reset(st);
        if (!row)
            return;
    }
}

void sq_ages(sq_store *s, int64_t *ready, int64_t *delayed)
{
    void *mem = NULL;
    *ready = *delayed = 0;
    int budget = AGES_MAX;
    odto_slice t = odto_slice_of("", 0);
    while (s->cur.pending > 0 && t.p != NULL && budget > 0) {
        oldest_of_type(s, t, ready, &budget);
        if (next_type(s, SQ_PENDING_TYPE_AFTER, t, &mem, &t) != SQLITE_OK)
            break;
    }
    t = odto_slice_of("", 0);
    for (budget = AGES_MAX; s->cur.pending > 0 && t.p != NULL && budget > 0; budget--) {
        delayed_next(s, t, delayed);
        if (next_type(s, SQ_DELAYED_TYPE_AFTER, t, &mem, &t) != SQLITE_OK)
            break;
    }
    arena_free(&mem);
}
