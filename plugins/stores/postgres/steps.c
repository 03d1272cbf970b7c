/* steps.c — one kind of operation for a set of them: the parameters of its statement, and what its rows mean.
 * On the writer. The order of parameters is said at each statement in sql.c. */
#include "store_postgres.h"

#include <errno.h>
#include <string.h>

_Static_assert(ODTO_OUT_LOST == 4 && ODTO_OUT_POISON == 5 && ODTO_OUT_CANCELLED == 6, "numbers in sql.c");

/* A moment by the server's clock: hosts may differ in theirs. */
static int64_t server_ms(const pg_store *s, int64_t unix_ms)
{
    return unix_ms + s->skew_ms;
}

static int64_t first_of(int64_t a, int64_t b)
{
    return a != 0 ? a : b;
}

/* ---- parameters ---- */

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

static void accept_facts(pg_args *a, const odto_jobs_op *op)
{
    const odto_job *j = op->job;
    int64_t at = payload_at(j);
    pg_add_uuid(a, 0, &j->id);
    pg_add_text(a, 1, j->type);
    pg_add_json(a, 2, j->payload);
    pg_add_time(a, 3, j->created_at);
    pg_add_time(a, 4, op->now);
    pg_add_uuid(a, 5, &j->event_id);
    pg_add_uuid(a, 6, &j->correlation_id);
    pg_add_text(a, 7, j->job_json);
    pg_add_int(a, 8, at);
    pg_add_int(a, 9, at < 0 ? 0 : (int64_t)j->payload.n);
    pg_add_text_or_null(a, 10, j->traceparent);
    if (key_is_id(j))
        pg_add_null(a, 11);
    else
        pg_add_text(a, 11, j->idempotency_key);
    pg_add_int(a, 12, -(int64_t)j->priority);
    pg_add_int(a, 13, j->run_at);
    pg_add_int(a, 14, first_of(j->accepted_at, op->now));
    pg_add_int(a, 15, j->expires_at);
    pg_add_int(a, 16, j->max_attempts);
}

static void accept_args(pg_store *s, const pg_step *st)
{
    static const pg_type types[] = {PG_UUID, PG_TEXT, PG_JSONB, PG_TIMESTAMP, PG_TIMESTAMP, PG_UUID, PG_UUID,
                                    PG_TEXT, PG_INT8, PG_INT8,  PG_TEXT,      PG_TEXT,      PG_INT8, PG_INT8,
                                    PG_INT8, PG_INT8, PG_INT8,  PG_INT8,      PG_TEXT,      PG_INT8};
    pg_args *a = &s->args;
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        pg_column(a, types[i]);
    pg_int(a, s->slot);
    int redrive = st->sql == PG_ACCEPT_AGAIN ? pg_column(a, PG_BOOL) : -1;
    for (size_t i = 0; i < st->n; i++) {
        const odto_jobs_op *op = st->ops[i];
        bool lease = op->lease_owner.n > 0 && op->job->run_at <= op->now;
        accept_facts(a, op);
        pg_add_int(a, 17, lease ? server_ms(s, op->lease_until) : 0);
        if (lease)
            pg_add_text(a, 18, op->lease_owner);
        else
            pg_add_null(a, 18);
        pg_add_int(a, 19, op->now);
        if (redrive >= 0)
            pg_add_bool(a, redrive, op->job->redrive);
    }
}

static void lease_columns(pg_args *a, const pg_step *st, size_t columns)
{
    pg_column(a, PG_UUID);
    for (size_t i = 1; i < columns; i++)
        pg_column(a, PG_INT8);
    for (size_t i = 0; i < st->n; i++) {
        pg_add_uuid(a, 0, &st->ops[i]->id);
        pg_add_int(a, 1, (int64_t)st->ops[i]->token);
    }
}

static void extend_args(pg_store *s, const pg_step *st)
{
    lease_columns(&s->args, st, 3);
    for (size_t i = 0; i < st->n; i++)
        pg_add_int(&s->args, 2, server_ms(s, st->ops[i]->lease_until));
}

/* Outgoing events: five columns, then holder and hold. Their numbers are taken from the block at hand. */
static void outgoing_args(pg_store *s, const pg_step *st)
{
    pg_args *a = &s->args;
    int ord = pg_column(a, PG_INT8), seq = pg_column(a, PG_INT8), event = pg_column(a, PG_UUID);
    int topic = pg_column(a, PG_TEXT), body = pg_column(a, PG_TEXT);
    for (size_t i = 0; i < st->n; i++) {
        odto_jobs_op *op = st->ops[i];
        for (size_t k = 0; k < op->n_outgoing; k++) {
            pg_add_int(a, ord, (int64_t)i + 1);
            pg_add_int(a, seq, s->outbox_next);
            pg_add_uuid(a, event, &op->outgoing[k].event_id);
            pg_add_text(a, topic, op->outgoing[k].topic);
            pg_add_text(a, body, op->outgoing[k].body);
            if (op->outbox_seqs != NULL)
                op->outbox_seqs[k] = (uint64_t)s->outbox_next;
            s->outbox_next++;
        }
    }
    pg_int(a, s->holder);
    pg_int(a, PG_HOLD_MS);
}

static void finish_args(pg_store *s, const pg_step *st)
{
    static const pg_type types[] = {PG_UUID, PG_INT8, PG_TEXT, PG_INT8, PG_INT8,     PG_INT8,
                                    PG_TEXT, PG_TEXT, PG_TEXT, PG_TEXT, PG_TIMESTAMP};
    pg_args *a = &s->args;
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        pg_column(a, types[i]);
    for (size_t i = 0; i < st->n; i++) {
        const odto_jobs_op *op = st->ops[i];
        int64_t finished = first_of(op->attempt.finished_at, op->now);
        pg_add_uuid(a, 0, &op->id);
        pg_add_int(a, 1, (int64_t)op->token);
        pg_add_text(a, 2, odto_slice_str(op->status == ODTO_COMPLETED ? "COMPLETED" : "FAILED"));
        pg_add_int(a, 3, op->outcome);
        pg_add_int(a, 4, op->attempt.started_at);
        pg_add_int(a, 5, finished);
        pg_add_text_or_null(a, 6, op->attempt.host);
        pg_add_text_or_null(a, 7, op->output);
        pg_add_text_or_null(a, 8, op->attempt.error);
        pg_add_text_or_null(a, 9, op->attempt.log);
        pg_add_time(a, 10, finished);
    }
    outgoing_args(s, st);
    pg_int(a, s->slot);
}

static void retry_args(pg_store *s, const pg_step *st)
{
    pg_args *a = &s->args;
    lease_columns(a, st, 7);
    for (int i = 7; i < 10; i++)
        pg_column(a, PG_TEXT);
    pg_column(a, PG_TIMESTAMP);
    for (size_t i = 0; i < st->n; i++) {
        const odto_jobs_op *op = st->ops[i];
        pg_add_int(a, 2, op->outcome);
        pg_add_int(a, 3, op->run_at);
        pg_add_int(a, 4, op->now);
        pg_add_int(a, 5, op->attempt.started_at);
        pg_add_int(a, 6, first_of(op->attempt.finished_at, op->now));
        pg_add_text_or_null(a, 7, op->attempt.host);
        pg_add_text_or_null(a, 8, op->attempt.error);
        pg_add_text_or_null(a, 9, op->attempt.log);
        pg_add_time(a, 10, op->now);
    }
    pg_int(a, s->slot);
}

static void release_args(pg_store *s, const pg_step *st)
{
    pg_args *a = &s->args;
    lease_columns(a, st, 4);
    pg_column(a, PG_TIMESTAMP);
    for (size_t i = 0; i < st->n; i++) {
        const odto_jobs_op *op = st->ops[i];
        pg_add_int(a, 2, op->run_at > op->now ? op->run_at : op->now);
        pg_add_int(a, 3, op->now);
        pg_add_time(a, 4, op->now);
    }
    pg_int(a, s->slot);
}

static void cancel_args(pg_store *s, const pg_step *st)
{
    pg_args *a = &s->args;
    int id = pg_column(a, PG_UUID), now = pg_column(a, PG_INT8);
    int error = pg_column(a, PG_TEXT), updated = pg_column(a, PG_TIMESTAMP);
    for (size_t i = 0; i < st->n; i++) {
        const odto_jobs_op *op = st->ops[i];
        pg_add_uuid(a, id, &op->id);
        pg_add_int(a, now, op->now);
        pg_add_text_or_null(a, error, op->attempt.error);
        pg_add_time(a, updated, op->now);
    }
    outgoing_args(s, st);
    pg_int(a, s->slot);
}

static void outbox_done_args(pg_store *s, const pg_step *st)
{
    int seq = pg_column(&s->args, PG_INT8);
    for (size_t i = 0; i < st->n; i++)
        for (size_t k = 0; k < st->ops[i]->n_seqs; k++)
            pg_add_int(&s->args, seq, (int64_t)st->ops[i]->seqs[k]);
    pg_int(&s->args, s->holder);
    pg_int(&s->args, s->slot);
}

static void reap_args(pg_store *s, const odto_jobs_op *op)
{
    pg_args *a = &s->args;
    int64_t until = op->lease_until > op->now ? op->lease_until : op->now + 30000;
    pg_int(a, server_ms(s, op->now));
    pg_int(a, op->limit > 0 ? op->limit : UINT32_MAX);
    pg_int(a, op->max_lost);
    pg_int(a, server_ms(s, until));
    pg_text_or_null(a, op->lease_owner);
    pg_int(a, op->now);
    pg_time_us(a, op->now * 1000);
    pg_int(a, op->run_at);
    pg_int(a, s->slot);
}

static void types_arg(pg_args *a, const odto_jobs_op *op)
{
    int types = pg_column(a, PG_TEXT);
    for (size_t i = 0; i < op->n_types; i++)
        pg_add_text(a, types, op->types[i]);
}

static void claim_args(pg_store *s, const odto_jobs_op *op)
{
    pg_args *a = &s->args;
    types_arg(a, op);
    pg_int(a, op->limit);
    pg_int(a, op->now);
    pg_int(a, server_ms(s, op->lease_until));
    pg_text(a, op->lease_owner);
    pg_time_us(a, op->now * 1000);
    pg_int(a, s->slot);
}

static void single_args(pg_store *s, const pg_step *st)
{
    const odto_jobs_op *op = st->ops[0];
    switch (st->sql) {
    case PG_REAP:
    case PG_REAP_OWN:
        reap_args(s, op);
        break;
    case PG_OUTBOX_TAKE:
        pg_int(&s->args, s->holder);
        pg_int(&s->args, op->limit > 0 ? op->limit : 1);
        pg_int(&s->args, PG_HOLD_MS);
        pg_int(&s->args, op->lease_owner.n == 0);
        break;
    case PG_PROMOTE:
        types_arg(&s->args, op);
        pg_int(&s->args, op->now);
        break;
    case PG_CLAIM:
        claim_args(s, op);
        break;
    default: /* PG_NEXT_DUE */
        types_arg(&s->args, op);
        break;
    }
}

void pg_step_args(pg_store *s, const pg_step *st)
{
    static void (*const table[PG_SQL_COUNT])(pg_store *, const pg_step *) = {
        [PG_ACCEPT] = accept_args, [PG_ACCEPT_AGAIN] = accept_args,
        [PG_EXTEND] = extend_args, [PG_FINISH] = finish_args,
        [PG_RETRY] = retry_args,   [PG_RELEASE] = release_args,
        [PG_CANCEL] = cancel_args, [PG_OUTBOX_DONE] = outbox_done_args,
    };
    pg_args_begin(&s->args);
    if (table[st->sql] != NULL)
        table[st->sql](s, st);
    else
        single_args(s, st);
}

/* ---- results ---- */

static void saw_token(pg_store *s, int64_t token)
{
    if (token > s->last_token)
        s->last_token = token;
}

/* (id, token) in the order of the operations, those that were there already left out. */
static void accepted(pg_store *s, const pg_step *st, const PGresult *r)
{
    size_t i = 0;
    for (size_t k = 0; k < st->n; k++)
        st->ops[k]->result = -EEXIST;
    for (int row = 0; row < PQntuples(r); row++) {
        odto_uuid id = pg_get_uuid(r, row, 0);
        while (i < st->n && !odto_uuid_eq(&st->ops[i]->job->id, &id))
            i++;
        if (i == st->n)
            return;
        st->ops[i]->result = 0;
        st->ops[i]->token_out = (uint64_t)pg_get_int(r, row, 1);
        saw_token(s, pg_get_int(r, row, 1));
    }
}

/* The operation that column 0 of a row names. */
static odto_jobs_op *op_of(const pg_step *st, const PGresult *r, int row)
{
    return st->ops[pg_get_int(r, row, 0) - 1];
}

/* Operations that a row names have happened. The others: why not is found out afterwards (-ENODATA). */
static void happened(const pg_step *st, const PGresult *r)
{
    for (size_t k = 0; k < st->n; k++)
        st->ops[k]->result = -ENODATA;
    for (int row = 0; row < PQntuples(r); row++) {
        bool running = st->sql == PG_CANCEL && pg_get_bool(r, row, 1);
        op_of(st, r, row)->result = running ? -EBUSY : 0;
    }
}

static int taken(const pg_step *st, const PGresult *r)
{
    odto_jobs_op *op = st->ops[0];
    void **mem = &st->batches[0]->mem;
    size_t n = (size_t)PQntuples(r);
    bool failed = false;
    if (n == 0)
        return 0;
    op->taken = arena_alloc(mem, n * sizeof(*op->taken));
    if (op->taken == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        odto_outbox_row *row = &op->taken[i];
        row->seq = (uint64_t)pg_get_int(r, (int)i, 0);
        row->event.event_id = pg_get_uuid(r, (int)i, 1);
        row->event.topic = arena_copy(mem, pg_get_text(r, (int)i, 2), &failed);
        row->event.body = arena_copy(mem, pg_get_text(r, (int)i, 3), &failed);
    }
    op->n_taken = n;
    return failed ? -ENOMEM : 0;
}

/* A job row in memory of the batch. */
static int keep_job(void **mem, const PGresult *r, int row, odto_job *out)
{
    char key[ODTO_UUID_LEN + 1];
    bool failed = false;
    pg_job_from_row(r, row, out, key);
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
    return failed ? -ENOMEM : 0;
}

static int claimed(pg_store *s, const pg_step *st, const PGresult *r, bool reap)
{
    odto_jobs_op *op = st->ops[0];
    void **mem = &st->batches[0]->mem;
    int n = PQntuples(r), code = 0;
    if (reap)
        op->token_out = (uint64_t)n; /* leases that ended */
    if (n == 0)
        return 0;
    op->claimed = arena_alloc(mem, (size_t)n * sizeof(*op->claimed));
    if (op->claimed == NULL)
        return -ENOMEM;
    for (int i = 0; i < n && code == 0; i++) {
        if (reap && !pg_get_bool(r, i, PG_C_MORE))
            continue;
        odto_job *j = &op->claimed[op->n_claimed++];
        code = keep_job(mem, r, i, j);
        saw_token(s, (int64_t)j->token);
    }
    return code;
}

int pg_step_result(pg_store *s, const pg_step *st, const PGresult *r)
{
    switch (st->sql) {
    case PG_ACCEPT:
        accepted(s, st, r);
        return 0;
    case PG_ACCEPT_AGAIN:
        for (int row = 0; row < PQntuples(r); row++) {
            odto_jobs_op *op = op_of(st, r, row);
            op->result = 0;
            op->token_out = (uint64_t)pg_get_int(r, row, 1);
            saw_token(s, pg_get_int(r, row, 1));
        }
        return 0;
    case PG_EXTEND:
    case PG_FINISH:
    case PG_RETRY:
    case PG_RELEASE:
    case PG_CANCEL:
        happened(st, r);
        return 0;
    case PG_OUTBOX_TAKE:
        return taken(st, r);
    case PG_REAP:
    case PG_REAP_OWN:
    case PG_CLAIM:
        return claimed(s, st, r, st->sql != PG_CLAIM);
    case PG_NEXT_DUE:
        if (!PQgetisnull(r, 0, 0)) {
            int64_t due = pg_get_int(r, 0, 0);
            st->ops[0]->next_due = due != 0 ? due : 1; /* 0 means none */
        }
        return 0;
    default:
        return 0;
    }
}
