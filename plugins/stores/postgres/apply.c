/* apply.c — a group of batches as one transaction.
 *
 * Operations of one kind become one statement on arrays (a step); all steps and the commit go out in one
 * pipeline, so a transaction costs one round trip and is never open while we think. Steps run in a fixed
 * order of kinds: ends of leases, then new jobs, then what looks at all of them. That may move an operation
 * before one of another job that was submitted earlier, which nobody can tell; operations on the same job
 * keep their order, because a job comes once in a segment, and segments follow each other. On the writer. */
#include "store_postgres.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef struct plan {
    odto_jobs_op **ops; /* all operations of the group, in order */
    odto_jobs_batch **batches;
    size_t n;
    odto_jobs_op **step_ops; /* the same, by steps */
    odto_jobs_batch **step_batches;
    size_t placed;
    pg_step *steps;
    size_t n_steps, cap_steps;
    uint32_t *seen; /* hash table of positions in ops + 1 */
    size_t mask;
} plan;

void pg_reset(odto_jobs_batch *b)
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

/* ---- planning ---- */

static void plan_free(plan *p)
{
    free(p->ops);
    free(p->batches);
    free(p->step_ops);
    free(p->step_batches);
    free(p->steps);
    free(p->seen);
}

static int plan_alloc(plan *p, size_t n)
{
    size_t size = 16;
    while (size < n * 2)
        size *= 2;
    p->mask = size - 1;
    p->cap_steps = 4 * n + 8;
    p->ops = malloc((n + 1) * sizeof(*p->ops));
    p->batches = malloc((n + 1) * sizeof(*p->batches));
    p->step_ops = malloc((3 * n + 1) * sizeof(*p->step_ops));
    p->step_batches = malloc((3 * n + 1) * sizeof(*p->step_batches));
    p->steps = malloc(p->cap_steps * sizeof(*p->steps));
    p->seen = calloc(size, sizeof(*p->seen));
    bool ok = p->ops && p->batches && p->step_ops && p->step_batches && p->steps && p->seen;
    return ok ? 0 : -ENOMEM;
}

/* Is there anything to do for the operation? Otherwise its result says why not. */
static bool valid(odto_jobs_op *op)
{
    if (op->result == -EINVAL) /* found guilty */
        return false;
    bool ok = (unsigned)op->kind <= ODTO_JOBS_OUTBOX_DONE;
    if (op->kind == ODTO_JOBS_FINISH)
        ok = op->status == ODTO_COMPLETED || op->status == ODTO_FAILED;
    if (op->kind == ODTO_JOBS_ACCEPT)
        ok = op->job->type.n <= PG_MAX_TYPE;
    if (!ok)
        op->result = -EINVAL;
    return ok && (op->kind != ODTO_JOBS_OUTBOX_DONE || op->n_seqs > 0);
}

static const odto_uuid *id_of(const odto_jobs_op *op)
{
    switch (op->kind) {
    case ODTO_JOBS_ACCEPT:
        return &op->job->id;
    case ODTO_JOBS_FINISH:
    case ODTO_JOBS_RETRY:
    case ODTO_JOBS_RELEASE:
    case ODTO_JOBS_EXTEND:
    case ODTO_JOBS_CANCEL:
        return &op->id;
    default:
        return NULL;
    }
}

/* Does the job of operation i come since operation `from` already? Remembers it. */
static bool repeated(plan *p, size_t i, size_t from)
{
    const odto_uuid *id = id_of(p->ops[i]);
    if (id == NULL)
        return false;
    size_t at = (size_t)odto_hash64(id->b, 16) & p->mask;
    while (p->seen[at] != 0) {
        size_t k = p->seen[at] - 1;
        if (odto_uuid_eq(id_of(p->ops[k]), id)) {
            p->seen[at] = (uint32_t)i + 1;
            return k >= from;
        }
        at = (at + 1) & p->mask;
    }
    p->seen[at] = (uint32_t)i + 1;
    return false;
}

static pg_step *new_step(plan *p, pg_sql sql)
{
    pg_step *st = &p->steps[p->n_steps++];
    *st = (pg_step){.sql = sql, .ops = p->step_ops + p->placed, .batches = p->step_batches + p->placed};
    return st;
}

static void place(plan *p, pg_step *st, size_t i)
{
    p->step_ops[p->placed] = p->ops[i];
    p->step_batches[p->placed++] = p->batches[i];
    st->n++;
}

static const struct order {
    odto_jobs_op_kind kind;
    pg_sql sql;
    bool alone; /* a step for each operation */
} order[] = {
    {ODTO_JOBS_EXTEND, PG_EXTEND, false},
    {ODTO_JOBS_FINISH, PG_FINISH, false},
    {ODTO_JOBS_RETRY, PG_RETRY, false},
    {ODTO_JOBS_RELEASE, PG_RELEASE, false},
    {ODTO_JOBS_ACCEPT, PG_ACCEPT, false},
    {ODTO_JOBS_CANCEL, PG_CANCEL, false},
    {ODTO_JOBS_OUTBOX_DONE, PG_OUTBOX_DONE, false},
    {ODTO_JOBS_REAP, PG_REAP, true},
    {ODTO_JOBS_OUTBOX_TAKE, PG_OUTBOX_TAKE, true},
    {ODTO_JOBS_CLAIM, PG_CLAIM, true},
};

static void place_alone(plan *p, const struct order *o, size_t i)
{
    if (o->kind == ODTO_JOBS_CLAIM)
        place(p, new_step(p, PG_PROMOTE), i);
    pg_sql sql = o->kind == ODTO_JOBS_REAP && p->ops[i]->lease_owner.n > 0 ? PG_REAP_OWN : o->sql;
    place(p, new_step(p, sql), i);
    if (o->kind == ODTO_JOBS_CLAIM)
        place(p, new_step(p, PG_NEXT_DUE), i);
}

/* Steps of the operations from..end-1. */
static void plan_segment(plan *p, size_t from, size_t end)
{
    for (size_t k = 0; k < sizeof(order) / sizeof(order[0]); k++) {
        pg_step *st = NULL;
        for (size_t i = from; i < end; i++) {
            if (p->ops[i]->kind != order[k].kind)
                continue;
            if (order[k].alone) {
                place_alone(p, &order[k], i);
                continue;
            }
            if (st == NULL)
                st = new_step(p, order[k].sql);
            place(p, st, i);
        }
    }
}

static int make_plan(const pg_group *g, plan *p)
{
    size_t n = 0, from = 0;
    for (odto_jobs_batch *b = g->head; b != NULL; b = b->next)
        n += b->n;
    if (plan_alloc(p, n) != 0)
        return -ENOMEM;
    for (odto_jobs_batch *b = g->head; b != NULL; b = b->next)
        for (size_t i = 0; i < b->n; i++)
            if (valid(&b->ops[i])) {
                p->ops[p->n] = &b->ops[i];
                p->batches[p->n++] = b;
            }
    for (size_t i = 0; i < p->n; i++)
        if (repeated(p, i, from)) {
            plan_segment(p, from, i);
            from = i;
        }
    plan_segment(p, from, p->n);
    return 0;
}

/* Room for the numbers of outgoing events, and the numbers. */
static int number_outgoing(pg_store *s, plan *p)
{
    size_t n = 0;
    for (size_t i = 0; i < p->n; i++) {
        odto_jobs_op *op = p->ops[i];
        if ((op->kind != ODTO_JOBS_FINISH && op->kind != ODTO_JOBS_CANCEL) || op->n_outgoing == 0)
            continue;
        n += op->n_outgoing;
        op->outbox_seqs = arena_alloc(&p->batches[i]->mem, op->n_outgoing * sizeof(uint64_t));
        if (op->outbox_seqs == NULL)
            return -ENOMEM;
    }
    return pg_outbox_numbers(s, n);
}

int pg_outbox_numbers(pg_store *s, size_t n)
{
    int code = 0;
    if (s->outbox_end - s->outbox_next >= (int64_t)n)
        return 0;
    pg_args_begin(&s->args);
    PGresult *r = pg_one(s, &s->w, PG_OUTBOX_BLOCK, &s->args, &code);
    if (r == NULL)
        return code;
    s->outbox_next = pg_get_int(r, 0, 0) * PG_BLOCK;
    s->outbox_end = s->outbox_next + PG_BLOCK;
    PQclear(r);
    return (int64_t)n <= PG_BLOCK ? 0 : -E2BIG;
}

/* ---- a pipeline of steps ---- */

static int prepare_steps(pg_store *s, const pg_step *steps, size_t n)
{
    int code = 0;
    for (size_t i = 0; i < n && code == 0; i++) {
        if (s->w.prepared[steps[i].sql])
            continue;
        int64_t next = s->outbox_next; /* numbers that these parameters use up are given again */
        pg_step_args(s, &steps[i]);
        s->outbox_next = next;
        code = pg_prepare(s, &s->w, steps[i].sql, &s->args);
    }
    return code;
}

static int send_steps(pg_store *s, const pg_step *steps, size_t n)
{
    int code = 0;
    for (size_t i = 0; i < n && code == 0; i++) {
        pg_step_args(s, &steps[i]);
        code = pg_send(&s->w, steps[i].sql, &s->args);
    }
    return code == 0 ? pg_sync(s, &s->w) : code;
}

/* Answers up to the end of the transaction: 0 it is committed; else the first failure. */
static int read_steps(pg_store *s, const pg_step *steps, size_t n)
{
    size_t i = 0;
    int code = 0;
    for (;;) {
        PGresult *r = pg_answer(s, &s->w);
        if (r == NULL) {
            s->in_doubt = true;
            pg_close(&s->w);
            return -EAGAIN;
        }
        ExecStatusType st = PQresultStatus(r);
        if (st == PGRES_PIPELINE_SYNC) {
            PQclear(r);
            return code;
        }
        if (st == PGRES_TUPLES_OK || st == PGRES_COMMAND_OK) {
            if (code == 0 && i < n)
                code = pg_step_result(s, &steps[i], r);
        } else if (st == PGRES_FATAL_ERROR && code == 0) {
            code = pg_note_failure(s, &s->w, r);
        }
        i++;
        PQclear(r);
    }
}

static int run_steps(pg_store *s, const pg_step *steps, size_t n)
{
    if (n == 0)
        return 0;
    int code = prepare_steps(s, steps, n);
    if (code != 0)
        return code;
    if (!PQenterPipelineMode(s->w.c))
        return -EAGAIN;
    code = send_steps(s, steps, n);
    if (code != 0) { /* nothing of it is committed: its sync was not sent */
        pg_close(&s->w);
        return code;
    }
    code = read_steps(s, steps, n);
    if (s->w.c != NULL)
        PQexitPipelineMode(s->w.c);
    if (s->w.c != NULL && PQstatus(s->w.c) != CONNECTION_OK)
        pg_close(&s->w);
    return code;
}

/* ---- what a group leaves open ---- */

static bool listed(odto_jobs_op *const *ops, size_t n, const odto_uuid *id)
{
    for (size_t i = 0; i < n; i++)
        if (odto_uuid_eq(id_of(ops[i]), id))
            return true;
    return false;
}

/* Accepts whose id was there: may be wanted again, or taken over from another service. */
static int accept_again(pg_store *s, plan *p)
{
    pg_step st = {.sql = PG_ACCEPT_AGAIN, .ops = p->step_ops, .batches = p->step_batches};
    for (size_t i = 0; i < p->n; i++) {
        odto_jobs_op *op = p->ops[i];
        if (op->kind == ODTO_JOBS_ACCEPT && op->result == -EEXIST && !listed(st.ops, st.n, &op->job->id)) {
            st.ops[st.n] = op;
            st.batches[st.n++] = p->batches[i];
        }
    }
    return st.n > 0 ? run_steps(s, &st, 1) : 0;
}

static int by_id(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(odto_uuid));
}

/* Operations that found no lease of theirs: -ESTALE when there is such a job, else -ENOENT. */
static int explain(pg_store *s, plan *p)
{
    int code = 0, ids = 0;
    pg_args_begin(&s->args);
    ids = pg_column(&s->args, PG_UUID);
    for (size_t i = 0; i < p->n; i++)
        if (p->ops[i]->result == -ENODATA)
            pg_add_uuid(&s->args, ids, &p->ops[i]->id);
    if (s->args.elements[ids] == 0)
        return 0;
    PGresult *r = pg_one(s, &s->w, PG_WHICH_EXIST, &s->args, &code);
    if (r == NULL)
        return code;
    int n = PQntuples(r);
    odto_uuid *there = malloc(((size_t)n + 1) * sizeof(*there));
    for (int i = 0; i < n && there != NULL; i++)
        there[i] = pg_get_uuid(r, i, 0);
    PQclear(r);
    if (there == NULL)
        return -ENOMEM;
    qsort(there, (size_t)n, sizeof(*there), by_id);
    for (size_t i = 0; i < p->n; i++)
        if (p->ops[i]->result == -ENODATA)
            p->ops[i]->result =
                bsearch(&p->ops[i]->id, there, (size_t)n, sizeof(*there), by_id) != NULL ? -ESTALE : -ENOENT;
    free(there);
    return 0;
}

static void remember_owner(pg_store *s, const plan *p)
{
    for (size_t i = 0; i < p->n; i++) {
        odto_slice owner = p->ops[i]->lease_owner;
        if (owner.n > 0 && owner.n < sizeof(s->owner)) {
            memcpy(s->owner, owner.p, owner.n);
            s->owner[owner.n] = '\0';
            return;
        }
    }
}

int pg_apply(pg_store *s, const pg_group *g)
{
    plan p = {0};
    int64_t newest = s->last_token;
    int code = make_plan(g, &p);
    if (code == 0)
        code = number_outgoing(s, &p);
    if (code == 0) {
        remember_owner(s, &p);
        code = run_steps(s, p.steps, p.n_steps);
    }
    if (code == 0) { /* committed; if what follows fails, the caller's repetition changes nothing more */
        code = accept_again(s, &p);
        if (code == 0)
            code = explain(s, &p);
        if (code != 0)
            s->in_doubt = true;
    }
    if (code != 0)
        s->last_token = newest; /* nobody will hear of the tokens of this one */
    plan_free(&p);
    return code;
}

/* ---- recovery ---- */

int pg_disown(pg_store *s)
{
    int code = 0;
    if (s->owner[0] == '\0')
        return 0;
    pg_args_begin(&s->args);
    pg_text(&s->args, odto_slice_str(s->owner));
    pg_int(&s->args, s->last_token);
    pg_int(&s->args, s->slot);
    PQclear(pg_one(s, &s->w, PG_DISOWN, &s->args, &code));
    return code;
}

int pg_find_guilty(pg_store *s, odto_jobs_batch *b)
{
    int found = 0;
    for (size_t i = 0; i < b->n; i++) {
        odto_jobs_op *op = &b->ops[i];
        int code = 0;
        if (op->kind != ODTO_JOBS_ACCEPT)
            continue;
        pg_args_begin(&s->args);
        pg_json(&s->args, op->job->payload.n > 0 ? op->job->payload : odto_slice_str("{}"));
        PQclear(pg_one(s, &s->w, PG_PROBE_JSON, &s->args, &code));
        if (code == -EINVAL) {
            op->result = -EINVAL;
            found++;
        } else if (code != 0) {
            return code;
        }
    }
    return found;
}
