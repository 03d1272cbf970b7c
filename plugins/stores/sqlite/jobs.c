/* jobs.c — the operations of the jobs role, applied by the writer inside a transaction.
 *
 * A job's facts are one row of `job`, written at accept. Its state is which table has a row of the same seq:
 * `pending` (waiting), `lease` (executing) or `done` (finished, with the last attempt folded in). A
 * transition moves that row, so what a job costs does not depend on how many there are. Tables pending and
 * lease stay as small as what waits and what runs.
 *
 * Functions return SQLite result codes; what an operation answers goes to op->result. */
#include "store_sqlite.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void sq_jobs_reset(odto_jobs_batch *b)
{
    arena_free(&b->mem);
    for (size_t i = 0; i < b->n; i++) {
        odto_jobs_op *op = &b->ops[i];
        op->result = 0;
        op->token_out = 0;
        op->claimed = NULL;
        op->taken = NULL;
        op->outbox_seqs = NULL;
        op->n_claimed = op->n_taken = 0;
        op->next_due = 0;
    }
}

/* ---- rows of the state tables ---- */

int sq_lease_insert(sq_store *s, const sq_lease *l, odto_slice owner)
{
    sqlite3_stmt *st = sq_stmt(&s->w, SQ_LEASE_INSERT);
    sqlite3_bind_int64(st, 1, l->seq);
    sq_bind_uuid(st, 2, &l->id);
    sqlite3_bind_int64(st, 3, l->lease);
    sqlite3_bind_int64(st, 4, l->until);
    sq_bind_text(st, 5, owner);
    sqlite3_bind_int64(st, 6, l->attempt);
    sqlite3_bind_int64(st, 7, l->lost);
    sqlite3_bind_int64(st, 8, l->mark);
    sqlite3_bind_int64(st, 9, l->started_at);
    s->cur.executing++;
    return sq_run(st);
}

int sq_lease_delete(sq_store *s, int64_t seq)
{
    sqlite3_stmt *st = sq_stmt(&s->w, SQ_LEASE_DELETE);
    sqlite3_bind_int64(st, 1, seq);
    s->cur.executing--;
    return sq_run(st);
}

int sq_pending_insert(sq_store *s, const sq_lease *l, int64_t run_at, int64_t now)
{
    sqlite3_stmt *st = sq_stmt(&s->w, SQ_PENDING_INSERT);
    sqlite3_bind_int64(st, 1, l->seq);
    sqlite3_bind_int64(st, 2, run_at);
    sqlite3_bind_int64(st, 3, run_at <= now);
    sqlite3_bind_int64(st, 4, l->attempt);
    sqlite3_bind_int64(st, 5, l->lost);
    sqlite3_bind_int64(st, 6, l->lease);
    sqlite3_bind_int64(st, 7, l->mark);
    sqlite3_bind_int64(st, 8, now);
    s->cur.pending++;
    s->pending_changed = true;
    return sq_run(st);
}

int sq_attempt_insert(sq_store *s, int64_t seq, const odto_attempt *a)
{
    sqlite3_stmt *st = sq_stmt(&s->w, SQ_ATTEMPT_INSERT);
    sqlite3_bind_int64(st, 1, seq);
    sqlite3_bind_int64(st, 2, a->number);
    sqlite3_bind_int64(st, 3, a->outcome);
    sqlite3_bind_int64(st, 4, a->started_at);
    sqlite3_bind_int64(st, 5, a->finished_at);
    int rc = sq_bind_text(st, 6, a->host) | sq_bind_text(st, 7, a->error) | sq_bind_text(st, 8, a->log);
    return rc == SQLITE_OK ? sq_run(st) : SQLITE_TOOBIG;
}

static int find_job(sq_store *s, const odto_uuid *id, int64_t *seq, odto_uuid *event_id)
{
    sqlite3_stmt *st = sq_stmt(&s->w, SQ_JOB_FIND);
    sq_bind_uuid(st, 1, id);
    int rc = sqlite3_step(st);
    *seq = 0;
    if (rc == SQLITE_ROW) {
        *seq = sqlite3_column_int64(st, 0);
        if (event_id != NULL)
            *event_id = sq_uuid(st, 1);
    }
    int rc2 = sqlite3_reset(st);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : (rc2 != SQLITE_OK ? rc2 : rc);
}

/* ---- accept ---- */

/* Where the payload stands in the job text; -1 when it is not a part of it. */
static int64_t payload_at(const odto_job *j)
{
    uintptr_t whole = (uintptr_t)j->job_json.p, part = (uintptr_t)j->payload.p;
    if (j->payload.n == 0 || part < whole || part + j->payload.n > whole + j->job_json.n)
        return -1;
    return (int64_t)(part - whole);
}

/* The idempotency key is nearly always the job's id: then nothing is stored. */
static bool key_is_id(const odto_job *j)
{
    char id[ODTO_UUID_LEN + 1];
    if (j->idempotency_key.n != ODTO_UUID_LEN)
        return false;
    odto_uuid_format(&j->id, id);
    return memcmp(id, j->idempotency_key.p, ODTO_UUID_LEN) == 0;
}

/* Bind a job to SQ_JOB_INSERT or SQ_JOB_REDRIVE (same parameters). */
static int bind_job(sqlite3_stmt *st, const odto_job *j, int64_t accepted_at)
{
    int64_t at = payload_at(j);
    int rc = sq_bind_word(st, 2, j->type);
    sq_bind_uuid(st, 1, &j->id);
    sqlite3_bind_int64(st, 3, j->created_at);
    sqlite3_bind_int64(st, 4, j->priority);
    sqlite3_bind_int64(st, 5, j->run_at);
    sqlite3_bind_int64(st, 6, accepted_at);
    sqlite3_bind_int64(st, 7, j->expires_at);
    sqlite3_bind_int64(st, 8, j->max_attempts);
    sq_bind_uuid(st, 9, &j->event_id);
    sq_bind_uuid(st, 10, &j->correlation_id);
    sqlite3_bind_int64(st, 11, at);
    sqlite3_bind_int64(st, 12, at < 0 ? 0 : (int64_t)j->payload.n);
    rc |= sq_bind_text(st, 13, j->traceparent);
    rc |= key_is_id(j) ? sqlite3_bind_null(st, 14) : sq_bind_word(st, 14, j->idempotency_key);
    rc |= sq_bind_text(st, 15, j->job_json);
    rc |= sq_bind_text(st, 16, at < 0 ? j->payload : odto_slice_of(NULL, 0));
    return rc != SQLITE_OK ? SQLITE_TOOBIG : SQLITE_OK;
}

/* Make the job wait, or run at once where the operation leases it and it is due. */
static int accept_state(sq_store *s, odto_jobs_op *op, sq_lease *l)
{
    const odto_job *j = op->job;
    if (op->lease_owner.n == 0 || j->run_at > op->now)
        return sq_pending_insert(s, l, j->run_at, op->now);
    l->lease++;
    l->attempt = 1;
    l->until = op->lease_until;
    l->started_at = op->now;
    op->token_out = sq_token(l->seq, l->lease);
    return sq_lease_insert(s, l, op->lease_owner);
}

/* The outcome of a finished job as an attempt row, before a redrive forgets the done row. */
static int unfold_done(sq_store *s, int64_t seq, int64_t *status, int64_t *lease, const odto_job *redrive)
{
    sqlite3_stmt *st = sq_stmt(&s->w, SQ_DONE_GET);
    sqlite3_bind_int64(st, 1, seq);
    int rc = sqlite3_step(st);
    *status = -1;
    if (rc == SQLITE_ROW) {
        *status = sqlite3_column_int64(st, 0);
        *lease = sqlite3_column_int64(st, 4);
        rc = SQLITE_DONE;
        if (redrive != NULL && *status == ODTO_FAILED && sqlite3_column_int(st, 5) != 0) {
            odto_attempt a = {.number = (uint32_t)sqlite3_column_int64(st, 2),
                              .outcome = (odto_outcome)sqlite3_column_int(st, 1),
                              .started_at = sqlite3_column_int64(st, 6),
                              .finished_at = sqlite3_column_int64(st, 7),
                              .host = sq_text(st, 8),
                              .error = sq_text(st, 9),
                              .log = sq_text(st, 10)};
            rc = sq_attempt_insert(s, seq, &a);
            if (rc == SQLITE_OK)
                rc = SQLITE_DONE;
        }
    }
    int rc2 = sqlite3_reset(st);
    return rc == SQLITE_DONE ? rc2 : (rc2 != SQLITE_OK ? rc2 : rc);
}

/* An id that is already there: unchanged, unless it is a FAILED job and the caller wants it again. */
static int accept_again(sq_store *s, odto_jobs_op *op)
{
    const odto_job *j = op->job;
    sq_lease l = {.id = j->id};
    odto_uuid event_id;
    int64_t status = -1;
    op->result = -EEXIST;
    if (!j->redrive)
        return SQLITE_OK;
    int rc = find_job(s, &j->id, &l.seq, &event_id);
    if (rc != SQLITE_OK || odto_uuid_eq(&event_id, &j->event_id))
        return rc;
    rc = unfold_done(s, l.seq, &status, &l.lease, j);
    if (rc != SQLITE_OK || status != ODTO_FAILED)
        return rc;
    op->result = 0;
    sqlite3_stmt *st = sq_stmt(&s->w, SQ_DONE_DELETE);
    sqlite3_bind_int64(st, 1, l.seq);
    rc = sq_run(st);
    if (rc == SQLITE_OK) {
        st = sq_stmt(&s->w, SQ_JOB_REDRIVE);
        rc = bind_job(st, j, j->accepted_at != 0 ? j->accepted_at : op->now);
    }
    if (rc == SQLITE_OK)
        rc = sq_run(st);
    s->cur.failed--;
    return rc == SQLITE_OK ? accept_state(s, op, &l) : rc;
}

static int op_accept(sq_store *s, odto_jobs_batch *b, odto_jobs_op *op)
{
    (void)b;
    const odto_job *j = op->job;
    sqlite3_stmt *st = sq_stmt(&s->w, SQ_JOB_INSERT);
    int rc = bind_job(st, j, j->accepted_at != 0 ? j->accepted_at : op->now);
    if (rc == SQLITE_OK)
        rc = sq_run(st);
    if (rc != SQLITE_OK)
        return rc;
    if (sqlite3_changes(s->w.db) == 0)
        return accept_again(s, op);
    sq_lease l = {.seq = sqlite3_last_insert_rowid(s->w.db), .id = j->id};
    return accept_state(s, op, &l);
}

/* ---- operations on a lease ---- */

/* The lease that op->token names, if it is still the job's lease; otherwise op->result says why not and
 * l->seq is 0. */
static int own_lease(sq_store *s, odto_jobs_op *op, sq_lease *l)
{
    *l = (sq_lease){.seq = sq_token_seq(op->token)};
    sqlite3_stmt *st = sq_stmt(&s->w, SQ_LEASE_GET);
    sqlite3_bind_int64(st, 1, l->seq);
    int rc = sqlite3_step(st);
    bool own = false;
    if (rc == SQLITE_ROW) {
        l->id = sq_uuid(st, 0);
        l->lease = sqlite3_column_int64(st, 1);
        l->until = sqlite3_column_int64(st, 2);
        l->attempt = sqlite3_column_int64(st, 3);
        l->lost = sqlite3_column_int64(st, 4);
        l->mark = sqlite3_column_int64(st, 5);
        l->started_at = sqlite3_column_int64(st, 6);
        own = op->token == sq_token(l->seq, l->lease) && odto_uuid_eq(&l->id, &op->id);
        rc = SQLITE_DONE;
    }
    int rc2 = sqlite3_reset(st);
    if (rc != SQLITE_DONE)
        return rc2 != SQLITE_OK ? rc2 : rc;
    if (own)
        return SQLITE_OK;
    int64_t seq = 0;
    rc = find_job(s, &op->id, &seq, NULL);
    op->result = seq != 0 ? -ESTALE : -ENOENT;
    l->seq = 0;
    return rc;
}

static int write_outgoing(sq_store *s, odto_jobs_batch *b, odto_jobs_op *op)
{
    if (op->n_outgoing == 0)
        return SQLITE_OK;
    op->outbox_seqs = arena_alloc(&b->mem, op->n_outgoing * sizeof(uint64_t));
    if (op->outbox_seqs == NULL)
        return SQLITE_NOMEM;
    int rc = SQLITE_OK;
    for (size_t i = 0; i < op->n_outgoing && rc == SQLITE_OK; i++) {
        const odto_outgoing *e = &op->outgoing[i];
        sqlite3_stmt *st = sq_stmt(&s->w, SQ_OUTBOX_INSERT);
        int64_t seq = s->cur.next_outbox++;
        sqlite3_bind_int64(st, 1, seq);
        sq_bind_uuid(st, 2, &e->event_id);
        rc = sq_bind_text(st, 3, e->topic) | sq_bind_text(st, 4, e->body);
        op->outbox_seqs[i] = (uint64_t)seq;
        s->cur.outbox++;
        rc = rc == SQLITE_OK ? sq_run(st) : SQLITE_TOOBIG;
    }
    return rc;
}

/* created_at, for the index of failed jobs */
static int created_at(sq_store *s, int64_t seq, int64_t *out)
{
    sqlite3_stmt *st = sq_stmt(&s->w, SQ_JOB_CREATED_AT);
    sqlite3_bind_int64(st, 1, seq);
    int rc = sqlite3_step(st);
    if (rc == SQLITE_ROW)
        *out = sqlite3_column_int64(st, 0);
    int rc2 = sqlite3_reset(st);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? rc2 : rc;
}

/* The final row. folded: it carries the last attempt, which has no row of its own. */
static int insert_done(sq_store *s, odto_jobs_op *op, const sq_lease *l, odto_status status,
                       odto_outcome outcome, bool folded)
{
    int64_t created = 0;
    int rc = status == ODTO_FAILED ? created_at(s, l->seq, &created) : SQLITE_OK;
    if (rc != SQLITE_OK)
        return rc;
    const odto_attempt *a = &op->attempt;
    sqlite3_stmt *st = sq_stmt(&s->w, SQ_DONE_INSERT);
    sqlite3_bind_int64(st, 1, l->seq);
    sqlite3_bind_int64(st, 2, status);
    sqlite3_bind_int64(st, 3, outcome);
    sqlite3_bind_int64(st, 4, l->attempt);
    sqlite3_bind_int64(st, 5, l->lost);
    sqlite3_bind_int64(st, 6, l->lease);
    sqlite3_bind_int64(st, 7, folded);
    sqlite3_bind_int64(st, 8, a->started_at != 0 ? a->started_at : l->started_at);
    sqlite3_bind_int64(st, 9, a->finished_at != 0 ? a->finished_at : op->now);
    if (status == ODTO_FAILED)
        sqlite3_bind_int64(st, 10, created);
    else
        sqlite3_bind_null(st, 10);
    rc = sq_bind_text(st, 11, a->host) | sq_bind_text(st, 12, op->output);
    rc |= sq_bind_text(st, 13, a->error) | sq_bind_text(st, 14, a->log);
    if (status == ODTO_FAILED)
        s->cur.failed++;
    else
        s->cur.completed++;
    return rc == SQLITE_OK ? sq_run(st) : SQLITE_TOOBIG;
}

static int op_finish(sq_store *s, odto_jobs_batch *b, odto_jobs_op *op)
{
    sq_lease l;
    if (op->status != ODTO_COMPLETED && op->status != ODTO_FAILED) {
        op->result = -EINVAL;
        return SQLITE_OK;
    }
    int rc = own_lease(s, op, &l);
    if (rc != SQLITE_OK || l.seq == 0)
        return rc;
    rc = sq_lease_delete(s, l.seq);
    if (rc == SQLITE_OK) /* the last attempt of a poison job was recorded as lost when it was reaped */
        rc = insert_done(s, op, &l, op->status, op->outcome, l.mark != ODTO_OUT_POISON);
    return rc == SQLITE_OK ? write_outgoing(s, b, op) : rc;
}

static int op_retry(sq_store *s, odto_jobs_batch *b, odto_jobs_op *op)
{
    (void)b;
    sq_lease l;
    int rc = own_lease(s, op, &l);
    if (rc != SQLITE_OK || l.seq == 0)
        return rc;
    odto_attempt a = op->attempt;
    a.number = (uint32_t)l.attempt;
    a.outcome = op->outcome;
    if (a.started_at == 0)
        a.started_at = l.started_at;
    if (a.finished_at == 0)
        a.finished_at = op->now;
    rc = sq_attempt_insert(s, l.seq, &a);
    if (rc == SQLITE_OK)
        rc = sq_lease_delete(s, l.seq);
    if (op->outcome == ODTO_OUT_LOST)
        l.lost++;
    return rc == SQLITE_OK ? sq_pending_insert(s, &l, op->run_at, op->now) : rc;
}

static int op_release(sq_store *s, odto_jobs_batch *b, odto_jobs_op *op)
{
    (void)b;
    sq_lease l;
    int rc = own_lease(s, op, &l);
    if (rc != SQLITE_OK || l.seq == 0)
        return rc;
    rc = sq_lease_delete(s, l.seq);
    l.attempt -= l.attempt > 0;
    return rc == SQLITE_OK ? sq_pending_insert(s, &l, op->run_at > op->now ? op->run_at : op->now, op->now)
                           : rc;
}

static int update_lease(sq_store *s, sq_sql which, int64_t seq, int64_t value)
{
    sqlite3_stmt *st = sq_stmt(&s->w, which);
    sqlite3_bind_int64(st, 1, seq);
    sqlite3_bind_int64(st, 2, value);
    return sq_run(st);
}

static int op_extend(sq_store *s, odto_jobs_batch *b, odto_jobs_op *op)
{
    (void)b;
    sq_lease l;
    int rc = own_lease(s, op, &l);
    if (rc != SQLITE_OK || l.seq == 0)
        return rc;
    return update_lease(s, SQ_LEASE_EXTEND, l.seq, op->lease_until);
}

/* ---- cancel ---- */

/* The pending row of a job into l; l->id stays. found: there is one. */
static int get_pending(sq_store *s, sq_lease *l, bool *found)
{
    sqlite3_stmt *st = sq_stmt(&s->w, SQ_PENDING_GET);
    sqlite3_bind_int64(st, 1, l->seq);
    int rc = sqlite3_step(st);
    *found = rc == SQLITE_ROW;
    if (*found) {
        l->attempt = sqlite3_column_int64(st, 2);
        l->lost = sqlite3_column_int64(st, 3);
        l->lease = sqlite3_column_int64(st, 4);
        l->mark = sqlite3_column_int64(st, 5);
    }
    int rc2 = sqlite3_reset(st);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? rc2 : rc;
}

/* Waiting: failed now. Running: marked, so that a retry of it comes back from CLAIM with outcome CANCELLED.
 */
static int op_cancel(sq_store *s, odto_jobs_batch *b, odto_jobs_op *op)
{
    sq_lease l = {.id = op->id};
    bool pending = false;
    int rc = find_job(s, &op->id, &l.seq, NULL);
    if (rc == SQLITE_OK && l.seq == 0)
        op->result = -ENOENT;
    if (rc != SQLITE_OK || l.seq == 0)
        return rc;
    rc = get_pending(s, &l, &pending);
    if (rc != SQLITE_OK)
        return rc;
    if (!pending) {
        rc = update_lease(s, SQ_LEASE_MARK, l.seq, ODTO_OUT_CANCELLED);
        op->result = sqlite3_changes(s->w.db) > 0 ? -EBUSY : -ESTALE;
        return rc;
    }
    sqlite3_stmt *st = sq_stmt(&s->w, SQ_PENDING_DELETE);
    sqlite3_bind_int64(st, 1, l.seq);
    s->cur.pending--;
    s->pending_changed = true;
    rc = sq_run(st);
    if (rc == SQLITE_OK)
        rc = insert_done(s, op, &l, ODTO_FAILED, ODTO_OUT_CANCELLED, false);
    return rc == SQLITE_OK ? write_outgoing(s, b, op) : rc;
}

/* ---- outbox ---- */

static int op_outbox_take(sq_store *s, odto_jobs_batch *b, odto_jobs_op *op)
{
    uint32_t limit = op->limit > 0 ? op->limit : 1;
    if (s->cur.outbox == 0 || op->lease_owner.n > 0) /* no other host writes here */
        return SQLITE_OK;
    if ((int64_t)limit > s->cur.outbox)
        limit = (uint32_t)s->cur.outbox;
    op->taken = arena_alloc(&b->mem, limit * sizeof(*op->taken));
    if (op->taken == NULL)
        return SQLITE_NOMEM;
    sqlite3_stmt *st = sq_stmt(&s->w, SQ_OUTBOX_TAKE);
    sqlite3_bind_int64(st, 1, limit);
    bool failed = false;
    int rc = SQLITE_OK;
    while (op->n_taken < limit && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        odto_outbox_row *row = &op->taken[op->n_taken++];
        row->seq = (uint64_t)sqlite3_column_int64(st, 0);
        row->event.event_id = sq_uuid(st, 1);
        row->event.topic = arena_copy(&b->mem, sq_text(st, 2), &failed);
        row->event.body = arena_copy(&b->mem, sq_text(st, 3), &failed);
    }
    int rc2 = sqlite3_reset(st);
    if (failed)
        return SQLITE_NOMEM;
    return rc == SQLITE_OK || rc == SQLITE_ROW || rc == SQLITE_DONE ? rc2 : rc;
}

/* Sequence numbers mostly come in runs: one range delete each. */
static int op_outbox_done(sq_store *s, odto_jobs_batch *b, odto_jobs_op *op)
{
    (void)b;
    int rc = SQLITE_OK;
    for (size_t i = 0; i < op->n_seqs && rc == SQLITE_OK;) {
        size_t last = i;
        while (last + 1 < op->n_seqs && op->seqs[last + 1] == op->seqs[last] + 1)
            last++;
        sqlite3_stmt *st = sq_stmt(&s->w, SQ_OUTBOX_DELETE);
        sqlite3_bind_int64(st, 1, (int64_t)op->seqs[i]);
        sqlite3_bind_int64(st, 2, (int64_t)op->seqs[last]);
        rc = sq_run(st);
        if (rc == SQLITE_OK)
            s->cur.outbox -= sqlite3_changes(s->w.db);
        i = last + 1;
    }
    return rc;
}

/* ---- all ---- */

typedef int op_fn(sq_store *s, odto_jobs_batch *b, odto_jobs_op *op);

int sq_jobs_apply(sq_store *s, odto_jobs_batch *b)
{
    static op_fn *const table[] = {
        [ODTO_JOBS_ACCEPT] = op_accept,
        [ODTO_JOBS_CLAIM] = sq_op_claim,
        [ODTO_JOBS_FINISH] = op_finish,
        [ODTO_JOBS_RETRY] = op_retry,
        [ODTO_JOBS_RELEASE] = op_release,
        [ODTO_JOBS_EXTEND] = op_extend,
        [ODTO_JOBS_REAP] = sq_op_reap,
        [ODTO_JOBS_CANCEL] = op_cancel,
        [ODTO_JOBS_OUTBOX_TAKE] = op_outbox_take,
        [ODTO_JOBS_OUTBOX_DONE] = op_outbox_done,
    };
    sq_jobs_reset(b);
    int rc = SQLITE_OK;
    for (size_t i = 0; i < b->n && rc == SQLITE_OK; i++) {
        odto_jobs_op *op = &b->ops[i];
        if ((size_t)op->kind >= sizeof(table) / sizeof(table[0]))
            op->result = -EINVAL;
        else
            rc = table[op->kind](s, b, op);
    }
    return rc;
}
