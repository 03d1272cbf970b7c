/* commit.c — the one way to the store: what waits becomes batches of operations, a few of them under way.
 *
 * While a batch is being committed the next one gathers, so the size of batches follows the load and a lone
 * job still goes at once. A batch that failed puts everything it held back to the front of its queue; then
 * the store counts as away and is tried with one batch at a time, after a backoff. Scheduler thread only,
 * except the store's done(), which only sends mail. */
#include "processor.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_CAP 16

static item *of_link(node *l)
{
    return (item *)(void *)((char *)l - offsetof(item, link));
}
static item *of_extending(node *l)
{
    return (item *)(void *)((char *)l - offsetof(item, extending));
}

/* ---- memory ---- */

static bool commit_grow(commit *c, size_t cap)
{
    odto_jobs_op *ops = realloc(c->batch.ops, cap * sizeof *ops);
    if (!ops)
        return false;
    c->batch.ops = ops;
    void **owner = realloc(c->owner, cap * sizeof *owner);
    if (!owner)
        return false;
    c->owner = owner;
    c->cap = cap;
    return true;
}

static void commit_free(commit *c)
{
    free(c->batch.ops);
    free(c->owner);
    free(c);
}

static commit *commit_take(processor *p)
{
    commit *c = p->free_commits;
    if (c)
        p->free_commits = c->next_free;
    else if (!(c = calloc(1, sizeof *c)) || !commit_grow(c, FIRST_CAP)) {
        if (c)
            commit_free(c);
        return NULL;
    }
    c->p = p;
    c->mail.kind = MAIL_COMMITTED;
    c->batch.n = 0;
    c->batch.mem = NULL;
    return c;
}

static void commit_give(processor *p, commit *c)
{
    c->next_free = p->free_commits;
    p->free_commits = c;
}

void commit_free_all(processor *p)
{
    while (p->free_commits) {
        commit *c = p->free_commits;
        p->free_commits = c->next_free;
        commit_free(c);
    }
}

/* The next operation of c, zeroed; NULL when the batch is full. */
static odto_jobs_op *add(commit *c, odto_jobs_op_kind kind, void *owner)
{
    if (c->batch.n == c->cap) {
        size_t cap = c->cap * 2 < c->p->batch ? c->cap * 2 : c->p->batch;
        if (cap <= c->cap || !commit_grow(c, cap))
            return NULL;
    }
    odto_jobs_op *op = &c->batch.ops[c->batch.n];
    *op = (odto_jobs_op){.kind = kind, .now = c->p->now_ms};
    c->owner[c->batch.n++] = owner;
    return op;
}

/* ---- building ---- */

static bool put_settling(commit *c)
{
    processor *p = c->p;
    while (!list_empty(&p->settling)) {
        item *it = of_link(p->settling.next);
        odto_jobs_op *op = add(c, it->verdict, it);
        if (!op)
            return false;
        list_remove(&it->link);
        op->id = it->job.id;
        op->token = it->job.token;
        op->run_at = it->retry_at;
        op->status = it->status;
        op->outcome = it->outcome;
        op->max_lost = p->max_lost;
        if (it->verdict == ODTO_JOBS_RELEASE)
            continue;
        op->attempt = (odto_attempt){
            .number = it->job.attempt,
            .outcome = it->outcome,
            .started_at = it->began_ms ? it->began_ms : it->ended_ms,
            .finished_at = it->ended_ms,
            .error = item_error(it),
            .log = item_log(it),
            .host = odto_slice_str(p->instance_id),
        };
        op->output = item_result(it);
        op->outgoing = it->outgoing;
        op->n_outgoing = it->n_outgoing;
    }
    return true;
}

static bool put_extensions(commit *c)
{
    processor *p = c->p;
    while (!list_empty(&p->extend)) {
        item *it = of_extending(p->extend.next);
        odto_jobs_op *op = add(c, ODTO_JOBS_EXTEND, it);
        if (!op)
            return false;
        list_remove(&it->extending);
        it->extend_pending = true;
        op->id = it->job.id;
        op->token = it->job.token;
        op->lease_owner = odto_slice_str(p->owner);
        op->lease_until = it->lease_until = p->now_ms + p->lease_ms;
    }
    return true;
}

static bool put_forgotten(commit *c)
{
    outbox *o = &c->p->out;
    while (o->forget) {
        publication *pub = o->forget;
        odto_jobs_op *op = add(c, ODTO_JOBS_OUTBOX_DONE, pub);
        if (!op)
            return false;
        o->forget = pub->next;
        o->forgetting++;
        op->seqs = pub->seqs;
        op->n_seqs = pub->n;
    }
    return true;
}

static bool put_accepts(commit *c)
{
    processor *p = c->p;
    while (!list_empty(&p->accepting)) {
        item *it = of_link(p->accepting.next);
        odto_jobs_op *op = add(c, ODTO_JOBS_ACCEPT, it);
        if (!op)
            return false;
        list_remove(&it->link);
        op->job = &it->job;
        op->run_at = it->job.run_at;
        if (it->claimed) {
            op->lease_owner = odto_slice_str(p->owner);
            op->lease_until = it->lease_until = p->now_ms + p->lease_ms;
        } else if (it->pool) {
            lifecycle_backlog(it->pool, it->job.run_at); /* any CLAIM after this one finds it */
        }
    }
    return true;
}

static bool put_claims(commit *c)
{
    processor *p = c->p;
    for (size_t i = 0; i < p->n_pools; i++) {
        pool *pl = &p->pools[i];
        uint32_t limit = lifecycle_claim_limit(pl);
        if (!limit)
            continue;
        odto_jobs_op *op = add(c, ODTO_JOBS_CLAIM, pl);
        if (!op)
            return false;
        pl->claiming = limit;
        pl->in_hand += limit;
        p->n_in_hand += limit;
        pl->backlog_again = false;
        op->types = pl->types;
        op->n_types = pl->n_types;
        op->limit = limit;
        op->lease_owner = odto_slice_str(p->owner);
        op->lease_until = p->now_ms + p->lease_ms;
    }
    return true;
}

/* Operations that stand alone: reaping and taking from the outbox. */
static bool put_singles(commit *c)
{
    processor *p = c->p;
    if (p->reap_wanted && !p->reaping) {
        odto_jobs_op *op = add(c, ODTO_JOBS_REAP, NULL);
        if (!op)
            return false;
        p->reap_wanted = false;
        p->reaping = true;
        op->limit = p->batch;
        op->max_lost = p->max_lost;
        op->lease_until = p->now_ms + p->lease_ms; /* of poison rows, until they are finished */
        if (!p->reaped_own)
            op->lease_owner = odto_slice_str(p->owner);
    }
    if (p->out.look_wanted) {
        odto_jobs_op *op = add(c, ODTO_JOBS_OUTBOX_TAKE, &p->out);
        if (!op)
            return false;
        p->out.look_wanted = false;
        p->out.looking = true;
        op->lease_owner = odto_slice_str(p->owner);
        op->limit = 1;
    }
    if (p->out.take_wanted && !p->out.taking) {
        odto_jobs_op *op = add(c, ODTO_JOBS_OUTBOX_TAKE, NULL);
        if (!op)
            return false;
        p->out.take_wanted = false;
        p->out.taking = true;
        p->out.missed = false;
        op->limit = PUBLISH_BATCH;
    }
    return true;
}

/* Ends of jobs first: they free slots and tell people; then what is new. */
static void fill(commit *c)
{
    (void)(put_settling(c) && put_extensions(c) && put_forgotten(c) && put_accepts(c) && put_singles(c) &&
           put_claims(c));
}

/* ---- undoing ---- */

/* Back into its queue, in front: called from the last operation of a failed batch to the first. */
static void put_back(commit *c, size_t i)
{
    processor *p = c->p;
    odto_jobs_op *op = &c->batch.ops[i];
    item *it = c->owner[i];
    publication *pub = c->owner[i];
    pool *pl = c->owner[i];
    switch (op->kind) {
    case ODTO_JOBS_ACCEPT:
        list_append(p->accepting.next, &it->link); /* before the first */
        break;
    case ODTO_JOBS_FINISH:
    case ODTO_JOBS_RETRY:
    case ODTO_JOBS_RELEASE:
        list_append(p->settling.next, &it->link);
        break;
    case ODTO_JOBS_EXTEND:
        lifecycle_extended(it, -EAGAIN);
        break;
    case ODTO_JOBS_CLAIM:
        pl->in_hand -= pl->claiming;
        p->n_in_hand -= pl->claiming;
        pl->claiming = 0;
        pl->backlog = true;
        break;
    case ODTO_JOBS_REAP:
        p->reaping = false;
        p->reap_wanted = true;
        break;
    case ODTO_JOBS_OUTBOX_TAKE: /* a look may have taken its row all the same: scheduler_away has it recover
                                 */
        p->out.looking = p->out.looking && !c->owner[i];
        p->out.taking = p->out.taking && c->owner[i];
        outbox_recover(p);
        break;
    case ODTO_JOBS_OUTBOX_DONE:
        p->out.forgetting--;
        pub->next = p->out.forget;
        p->out.forget = pub;
        break;
    case ODTO_JOBS_CANCEL:
        break;
    }
}

static void undo(commit *c, int code)
{
    processor *p = c->p;
    for (size_t i = c->batch.n; i > 0; i--)
        put_back(c, i - 1);
    commit_give(p, c);
    scheduler_away(p, code);
}

/* ---- submitting and coming back ---- */

static void commit_mail(odto_jobs_batch *b, int result)
{
    commit *c = b->arg;
    c->result = result;
    mailbox_push(&c->p->box, &c->mail, &c->mail);
}

void commit_submit(processor *p)
{
    uint32_t limit = p->away ? 1 : COMMITS_AT_ONCE;
    while (p->commits_under_way < limit && !(p->away && p->now_ns < p->away_until_ns)) {
        commit *c = commit_take(p);
        if (!c)
            return;
        fill(c);
        if (!c->batch.n) {
            commit_give(p, c);
            return;
        }
        c->batch.done = commit_mail;
        c->batch.arg = c;
        p->commits_under_way++;
        int r = p->jobs->submit(p->store.self, &c->batch);
        if (r < 0) {
            p->commits_under_way--;
            undo(c, r);
            return;
        }
    }
}

static void deliver(commit *c, size_t i)
{
    processor *p = c->p;
    odto_jobs_op *op = &c->batch.ops[i];
    void *owner = c->owner[i];
    switch (op->kind) {
    case ODTO_JOBS_ACCEPT:
        lifecycle_accepted(owner, op->result, op->token_out);
        break;
    case ODTO_JOBS_FINISH:
    case ODTO_JOBS_RETRY:
    case ODTO_JOBS_RELEASE:
        lifecycle_settled(owner, op->result, op->outbox_seqs);
        break;
    case ODTO_JOBS_EXTEND:
        lifecycle_extended(owner, op->result);
        break;
    case ODTO_JOBS_CLAIM:
        lifecycle_claimed(owner, op);
        break;
    case ODTO_JOBS_REAP:
        lifecycle_reaped(p, op);
        break;
    case ODTO_JOBS_OUTBOX_TAKE:
        if (owner)
            outbox_looked(p, op->n_taken);
        else
            outbox_taken(p, op->taken, op->n_taken);
        break;
    case ODTO_JOBS_OUTBOX_DONE:
        outbox_forgotten(p, owner);
        break;
    case ODTO_JOBS_CANCEL:
        break;
    }
}

void commit_done(commit *c)
{
    processor *p = c->p;
    p->commits_under_way--;
    if (c->result < 0) {
        p->jobs->release(p->store.self, &c->batch);
        undo(c, c->result);
        return;
    }
    scheduler_back(p);
    for (size_t i = 0; i < c->batch.n; i++)
        deliver(c, i);
    p->jobs->release(p->store.self, &c->batch);
    commit_give(p, c);
}

bool commit_waiting(const processor *p)
{
    return p->commits_under_way || !list_empty(&p->settling) || !list_empty(&p->accepting) || p->out.forget ||
           p->out.taking || p->out.looking;
}
