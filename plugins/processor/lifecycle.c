/* lifecycle.c — the way of an item: intake → row → ready → running → outcome → settled.
 *
 * Scheduler thread only. A pool may hold a little more than its slots (window()): so many that its slots stay
 * busy while the next claim is committed, measured by how long its runs take. Long jobs get no window, so
 * priorities count until the moment a slot is free. */
#include "processor.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define WINDOW_NS        (5 * ODTO_MS)
#define ARRIVED_NS       ODTO_SEC /* the longest that a job waits for room before it gets a row that waits */
#define DEFAULT_ATTEMPTS 5

static item *of_link(node *l)
{
    return (item *)(void *)((char *)l - offsetof(item, link));
}

/* ---- leases ---- */

/* Tell the route later, with others. */
static void acknowledge(item *it)
{
    processor *p = it->p;
    if (!it->leased)
        return;
    it->leased = false;
    p->n_intake--;
    p->acks[p->n_acks++] = it->lease;
    if (p->n_acks == ACKS)
        lifecycle_flush(p);
}

void lifecycle_flush(processor *p)
{
    if (p->n_acks)
        p->host->api->settle(p->host, p->acks, p->n_acks, ODTO_ACK, NULL);
    p->n_acks = 0;
    if (p->n_done)
        slab_give(p, p->done, p->n_done);
    p->n_done = 0;
}

/* Room for one more item with a row lease, in the pool and at all. */
static uint32_t window(const pool *pl)
{
    if (!pl->mean_run_ns)
        return 0;
    int64_t w = (int64_t)pl->concurrency * (WINDOW_NS / (pl->mean_run_ns > 10000 ? pl->mean_run_ns : 10000));
    return w < pl->p->batch ? (uint32_t)w : pl->p->batch;
}

static uint32_t room(const pool *pl)
{
    const processor *p = pl->p;
    if (outbox_crowded(p))
        return 0;
    uint32_t most = pl->concurrency + window(pl);
    uint32_t n = most > pl->in_hand ? most - pl->in_hand : 0;
    uint32_t all = p->max_in_hand > p->n_in_hand ? p->max_in_hand - p->n_in_hand : 0;
    if (n > all)
        n = all;
    size_t bytes = p->max_bytes > p->bytes_in_hand ? p->max_bytes - p->bytes_in_hand : 0;
    size_t fit = bytes / (p->mean_bytes + 1);
    if (n > fit && p->n_in_hand) /* a job larger than all memory still runs, alone */
        n = (uint32_t)fit;
    return n;
}

/* ---- rows waiting in the store ---- */

void lifecycle_backlog(pool *pl, int64_t run_at)
{
    if (pl->claiming)
        pl->backlog_again = true;
    if (run_at <= pl->p->now_ms)
        pl->backlog = true;
    else if (!pl->next_due || run_at < pl->next_due)
        pl->next_due = run_at;
}

static bool due(const pool *pl)
{
    return pl->backlog || (pl->next_due && pl->next_due <= pl->p->now_ms);
}

uint32_t lifecycle_claim_limit(const pool *pl)
{
    const processor *p = pl->p;
    if (p->phase_now != PHASE_RUNNING || p->away || pl->claiming || !pl->n_types || !due(pl))
        return 0;
    uint32_t n = room(pl), quarter = (pl->concurrency + window(pl)) / 4;
    bool hungry = pl->running < pl->concurrency && list_empty(&pl->ready);
    if (n > p->batch)
        n = p->batch;
    return hungry || n > quarter ? n : 0;
}

/* ---- intake ---- */

static void hold(item *it)
{
    processor *p = it->p;
    it->claimed = true;
    it->pool->in_hand++;
    p->n_in_hand++;
    it->bytes = it->job.job_json.n + it->job.payload.n + it->job.traceparent.n;
    p->bytes_in_hand += it->bytes;
    p->mean_bytes += (it->bytes >> 3) - (p->mean_bytes >> 3);
}

static void let_go(item *it)
{
    processor *p = it->p;
    if (!it->claimed)
        return;
    it->claimed = false;
    p->n_in_hand--;
    p->bytes_in_hand -= it->bytes;
    list_remove(&it->extending);
}

/* May it start right after its ACCEPT, without a CLAIM? Only when nobody waits before it. */
static bool can_claim_now(const item *it)
{
    const pool *pl = it->pool;
    const processor *p = it->p;
    return pl && p->phase_now == PHASE_RUNNING && !p->away && !it->job.redrive &&
           it->job.run_at <= p->now_ms && !pl->claiming && !due(pl) && room(pl);
}

/* A row that is written as running costs half of one that is written as waiting and then claimed, so a job
 * whose slot will be free in a moment waits for it without a row. Not where that may last: long jobs, a
 * backlog in the store; nor where others would be passed over or passed. */
static bool may_wait(const item *it)
{
    const pool *pl = it->pool;
    const processor *p = it->p;
    return p->phase_now == PHASE_RUNNING && !p->away && !it->job.redrive && !it->job.priority &&
           it->job.run_at <= p->now_ms && !pl->deep && window(pl) && p->now_ns - it->arrived_ns < ARRIVED_NS;
}

/* The pool of types nobody handles learns their names, so that it can claim their rows later. */
void lifecycle_learn(processor *p, odto_slice type)
{
    pool *pl = p->unknown_pool;
    if (!pl || pl->n_types == UNKNOWN_NAMES)
        return;
    for (size_t i = 0; i < pl->n_types; i++)
        if (pl->types[i].n == type.n && !memcmp(pl->types[i].p, type.p, type.n))
            return;
    char *name = odto_slice_dup(type);
    if (name)
        pl->types[pl->n_types++] = odto_slice_of(name, type.n);
}

void lifecycle_intake(item *it)
{
    processor *p = it->p;
    odto_job *j = &it->job;
    it->pool = it->type->pool;
    it->state = ITEM_ACCEPTING;
    p->n_intake++;
    if (it->type == &p->other && it->pool)
        lifecycle_learn(p, j->type);
    j->accepted_at = j->updated_at = p->now_ms;
    j->run_at = p->now_ms + it->options.delay_ms;
    if (it->options.run_at > j->run_at)
        j->run_at = it->options.run_at;
    uint32_t attempts = it->pool ? it->pool->max_attempts : DEFAULT_ATTEMPTS;
    j->max_attempts = it->options.max_attempts ? it->options.max_attempts : attempts;
    it->arrived_ns = p->now_ns;
    bool first = !it->pool || list_empty(&it->pool->arrived);
    if (first && can_claim_now(it))
        hold(it);
    list_append(it->claimed || !it->pool || !may_wait(it) ? &p->accepting : &it->pool->arrived, &it->link);
}

static void admit(pool *pl)
{
    while (!list_empty(&pl->arrived)) {
        item *it = of_link(pl->arrived.next);
        if (can_claim_now(it))
            hold(it);
        else if (may_wait(it))
            return;
        list_remove(&it->link);
        list_append(&pl->p->accepting, &it->link);
    }
}

int64_t lifecycle_admit_at(const pool *pl)
{
    return of_link(pl->arrived.next)->arrived_ns + ARRIVED_NS;
}

void lifecycle_admit(processor *p)
{
    for (size_t i = 0; i < p->n_pools; i++)
        admit(&p->pools[i]);
}

/* ---- with the row ---- */

static void leased(item *it, int64_t until)
{
    it->lease_until = until;
    list_append(&it->p->leased, &it->extending);
}

void item_done(item *it)
{
    processor *p = it->p;
    let_go(it);
    if (it->extend_pending || it->abandoned)
        return; /* what is still out brings it here again */
    acknowledge(it);
    if (it->event)
        p->host->api->event_unref(it->event);
    it->event = NULL;
    p->done[p->n_done++] = it;
    if (p->n_done == ACKS)
        lifecycle_flush(p);
}

/* Its pool's part of a row lease: a slot, or a place in the queue before it. */
static void leave_pool(item *it)
{
    pool *pl = it->pool;
    pl->in_hand--;
    if (it->state == ITEM_RUNNING) {
        pl->running--;
        odto_metric_set(pl->busy, pl->running);
    }
}

static void settle(item *it)
{
    it->state = ITEM_SETTLING;
    list_remove(&it->extending);
    list_remove(&it->link);
    list_append(&it->p->settling, &it->link);
}

static void release_row(item *it)
{
    leave_pool(it);
    it->verdict = ODTO_JOBS_RELEASE;
    it->n_outgoing = 0;
    settle(it);
}

static void ready(item *it)
{
    if (it->p->phase_now >= PHASE_DRAINING) {
        release_row(it);
        return;
    }
    it->state = ITEM_READY;
    list_append(&it->pool->ready, &it->link);
}

static void refused(item *it, int result)
{
    processor *p = it->p;
    char why[128];
    snprintf(why, sizeof why, "the store refuses the job: %s", strerror(-result));
    odto_metric_add(p->m.rejected_store, 1);
    odto_metric_add(p->m.invalid, 1);
    odto_metric_add(p->m.dead_letters, 1);
    p->host->api->settle(p->host, &it->lease, 1, ODTO_REJECT, why);
    it->leased = false;
    p->n_intake--;
}

void lifecycle_accepted(item *it, int result, uint64_t token)
{
    if (result < 0 || !it->claimed) {
        if (result < 0 && result != -EEXIST)
            refused(it, result);
        else if (result == 0)
            odto_metric_add(it->type->enqueued, 1);
        if (it->claimed)
            it->pool->in_hand--;
        item_done(it);
        return;
    }
    odto_metric_add(it->type->enqueued, 1);
    acknowledge(it);
    it->job.token = token;
    it->job.attempt = 1;
    it->job.status = ODTO_EXECUTING;
    leased(it, it->lease_until);
    ready(it);
}

static item *take_item(processor *p)
{
    if (!p->n_spare)
        p->n_spare = slab_take(p, p->spare, SPARE_ITEMS);
    return p->n_spare ? p->spare[--p->n_spare] : NULL;
}

/* An item for a row that the store leased to us; NULL without memory: the lease then runs out. */
static item *load(processor *p, const odto_job *row, pool *pl, int64_t lease_until)
{
    item *it = take_item(p);
    if (!it)
        return NULL;
    it->type = type_of(p, row->type);
    if (!it->type)
        it->type = &p->other;
    it->pool = pl ? pl : it->type->pool;
    if (item_load(it, row) < 0) {
        slab_give(p, &it, 1);
        return NULL;
    }
    it->claimed = true;
    p->n_in_hand++;
    it->bytes = it->text.n;
    p->bytes_in_hand += it->bytes;
    p->mean_bytes += (it->bytes >> 3) - (p->mean_bytes >> 3);
    leased(it, lease_until);
    return it;
}

static void finish_unrun(item *it, odto_outcome outcome, const char *why);

void lifecycle_claimed(pool *pl, const odto_jobs_op *op)
{
    processor *p = pl->p;
    pl->in_hand -= pl->claiming;
    p->n_in_hand -= pl->claiming;
    bool more = op->n_claimed >= pl->claiming;
    pl->deep = more;
    pl->claiming = 0;
    pl->backlog = more || pl->backlog_again;
    pl->next_due = op->next_due;
    if (op->result < 0) {
        odto_log(p->host, ODTO_ERROR, "claiming jobs of %s: %s", pl->name, strerror(-op->result));
        return;
    }
    for (size_t i = 0; i < op->n_claimed; i++) {
        item *it = load(p, &op->claimed[i], pl, op->lease_until);
        if (!it)
            break;
        pl->in_hand++;
        ready(it);
    }
}

void lifecycle_reaped(processor *p, const odto_jobs_op *op)
{
    p->reaping = false;
    odto_metric_add(p->m.expired_leases, (int64_t)op->token_out);
    for (size_t i = 0; i < op->n_claimed; i++) {
        item *it = load(p, &op->claimed[i], NULL, op->lease_until);
        if (it)
            finish_unrun(it, ODTO_OUT_POISON,
                         "its attempts were lost: the host or its lease ended before them");
    }
    if (op->token_out >= op->limit) { /* a host may have had thousands */
        p->reap_wanted = true;
        return;
    }
    p->reaped_own = true;
    for (size_t i = 0; i < p->n_pools; i++)
        lifecycle_backlog(&p->pools[i], 0);
}

/* ---- running ---- */

/* What is not to be run any more, though it was claimed. */
static const char *too_late(const item *it, odto_outcome *outcome)
{
    const odto_job *j = &it->job;
    if (j->outcome == ODTO_OUT_CANCELLED) { /* while an earlier attempt ran */
        *outcome = ODTO_OUT_CANCELLED;
        return "cancelled";
    }
    if (j->expires_at && j->expires_at <= it->p->now_ms) {
        *outcome = ODTO_OUT_EXPIRED;
        return "expired before it could run (options.expiresAt)";
    }
    if (j->attempt > j->max_attempts) {
        *outcome = ODTO_OUT_LOST;
        return "its last attempt was lost, and no further one is allowed";
    }
    return NULL;
}

static void observe_wait(const item *it)
{
    int64_t since = it->job.run_at > it->job.accepted_at ? it->job.run_at : it->job.accepted_at;
    int64_t ms = it->p->now_ms - since;
    odto_metric_observe(it->type->wait, ms > 0 ? (double)ms / 1e3 : 0);
}

/* Takes a slot; false when it was finished instead. */
static bool begin(item *it)
{
    processor *p = it->p;
    odto_outcome outcome;
    const char *why = too_late(it, &outcome);
    list_remove(&it->link);
    if (why || it->fenced)
        it->pool->in_hand--;
    if (it->fenced)
        item_done(it);
    else if (why)
        finish_unrun(it, outcome, why);
    if (why || it->fenced)
        return false;
    it->state = ITEM_RUNNING;
    list_append(&p->running, &it->link);
    item_prepare_run(it);
    if (it->run.deadline_ns && (!p->next_deadline_ns || it->run.deadline_ns < p->next_deadline_ns))
        p->next_deadline_ns = it->run.deadline_ns;
    it->pool->running++;
    observe_wait(it);
    return true;
}

static void hand_over(pool *pl, item **items, size_t n)
{
    odto_run *runs[START_BATCH];
    if (pl->iface->flags & ODTO_HANDLER_BLOCKING) {
        for (size_t i = 0; i < n; i++)
            executor_give(pl, items[i]);
        return;
    }
    for (size_t i = 0; i < n; i++)
        runs[i] = &items[i]->run;
    pl->iface->start(pl->self, runs, n);
}

bool lifecycle_start(pool *pl)
{
    item *items[START_BATCH];
    size_t n = 0;
    while (n < START_BATCH && pl->running < pl->concurrency && !list_empty(&pl->ready)) {
        item *it = of_link(pl->ready.next);
        if (begin(it))
            items[n++] = it;
    }
    if (!n)
        return false;
    odto_metric_set(pl->busy, pl->running);
    hand_over(pl, items, n);
    return true;
}

/* ---- ended ---- */

static void observe_end(const item *it)
{
    double seconds = (double)(it->ended_ns - it->began_ns) / 1e9;
    int64_t run = it->ended_ns - it->began_ns;
    pool *pl = it->pool;
    pl->mean_run_ns = pl->mean_run_ns ? pl->mean_run_ns + (run - pl->mean_run_ns) / 8 : run + 1;
    odto_metric_observe(it->p->m.seconds, seconds);
    odto_metric_observe(it->type->run, seconds);
}

static void decided(item *it, bool complete)
{
    if (complete) {
        settle(it);
        return;
    }
    it->state = ITEM_LOADING;
    list_remove(&it->link);
    list_append(&it->p->loading, &it->link);
    history_read(it->p, it);
}

static void finish_unrun(item *it, odto_outcome outcome, const char *why)
{
    decided(it, outcome_force(it, outcome, why));
}

void lifecycle_history(item *it)
{
    decided(it, outcome_decide(it));
}

/* The handler gave back a run that was settled without it. */
static void came_late(item *it)
{
    processor *p = it->p;
    p->abandoned--;
    odto_metric_add(it->type->fenced, 1);
    it->pool->running--;
    odto_metric_set(it->pool->busy, it->pool->running);
    it->abandoned = false;
    if (it->settled)
        item_done(it);
}

void lifecycle_ended(item *it)
{
    if (atomic_load(&it->ended) == RUN_CAME_LATE) {
        came_late(it);
        return;
    }
    observe_end(it);
    if (it->recalled && (it->end == ODTO_RUN_RETRY || it->end == ODTO_RUN_LOST)) {
        release_row(it); /* it ended because we asked for it: that attempt does not count */
        return;
    }
    leave_pool(it);
    if (it->fenced) { /* its lease went to someone else: nothing may be written */
        odto_metric_add(it->type->fenced, 1);
        list_remove(&it->link);
        it->state = ITEM_SETTLING;
        item_done(it);
        return;
    }
    decided(it, outcome_decide(it));
}

/* Settle an attempt whose handler does not come back. The run stays with the handler, and so does its slot.
 */
static bool give_up(item *it)
{
    uint32_t was = RUN_WITH_HANDLER;
    if (!atomic_compare_exchange_strong(&it->ended, &was, RUN_GIVEN_UP))
        return false; /* its end is in the mail */
    it->abandoned = true;
    it->p->abandoned++;
    it->pool->in_hand--;
    it->ended_ns = it->p->now_ns;
    it->ended_ms = it->p->now_ms;
    return true;
}

static void cancel(item *it)
{
    atomic_store_explicit(&it->stop, true, memory_order_relaxed); /* a hint */
    if (it->cancelled)
        return;
    it->cancelled = true;
    if (it->pool->iface->cancel)
        it->pool->iface->cancel(it->pool->self, &it->run);
}

void lifecycle_deadlines(processor *p)
{
    int64_t next = 0;
    for (node *l = p->running.next, *after; l != &p->running; l = after) {
        item *it = of_link(l);
        after = l->next;
        int64_t at = it->run.deadline_ns;
        if (!at)
            continue;
        if (p->now_ns >= at + GIVE_UP_NS && give_up(it)) {
            odto_log_for(
                p->host, ODTO_ERROR, &it->job.correlation_id,
                "handler %s does not end a %s job %d s after its deadline: given up, its slot stays taken",
                it->pool->name, it->type_name, (int)(GIVE_UP_NS / ODTO_SEC));
            item_say(it, ODTO_RUN_TIMEOUT, "no end from its handler long after its deadline");
            decided(it, outcome_decide(it));
            continue;
        }
        if (p->now_ns >= at + CANCEL_NS)
            cancel(it);
        int64_t then = p->now_ns < at + CANCEL_NS ? at + CANCEL_NS : at + GIVE_UP_NS;
        if (!next || then < next)
            next = then;
    }
    p->next_deadline_ns = next;
}

/* ---- settled ---- */

void lifecycle_settled(item *it, int result, const uint64_t *seqs)
{
    processor *p = it->p;
    if (result < 0) { /* another lease came in between: it tells what became of the job */
        odto_metric_add(it->type->fenced, 1);
        odto_log_for(p->host, ODTO_WARN, &it->job.correlation_id, "late result of a %s job dropped: %s",
                     it->type_name, strerror(-result));
    } else if (it->verdict == ODTO_JOBS_FINISH) {
        metrics_attempt(it);
        metrics_finished(it);
        outbox_committed(p, it, seqs);
    } else if (it->verdict == ODTO_JOBS_RETRY) {
        metrics_attempt(it);
        lifecycle_backlog(it->pool, it->retry_at);
    } else if (it->pool) {
        lifecycle_backlog(it->pool, 0);
    }
    it->settled = true;
    item_done(it);
}

void lifecycle_extended(item *it, int result)
{
    it->extend_pending = false;
    if (it->settled) {
        item_done(it);
        return;
    }
    if (it->state == ITEM_SETTLING || it->fenced)
        return;
    if (result == 0) {
        list_append(&it->p->leased, &it->extending);
    } else if (result == -EAGAIN) {
        list_append(&it->p->extend, &it->extending);
    } else { /* -ESTALE, -ENOENT: the row is no longer ours */
        it->fenced = true;
        if (it->state == ITEM_RUNNING && !it->abandoned)
            cancel(it);
    }
}

/* Leases of which a third is gone are extended. */
void lifecycle_extend(processor *p)
{
    while (!list_empty(&p->leased)) {
        item *it = (item *)(void *)((char *)p->leased.next - offsetof(item, extending));
        if (it->lease_until - p->now_ms > p->lease_ms * 2 / 3)
            break;
        list_remove(&it->extending);
        list_append(&p->extend, &it->extending);
    }
}

/* ---- drain ---- */

void lifecycle_release_ready(processor *p)
{
    for (size_t i = 0; i < p->n_pools; i++)
        while (!list_empty(&p->pools[i].ready))
            release_row(of_link(p->pools[i].ready.next));
    for (node *l = p->accepting.next; l != &p->accepting; l = l->next) {
        item *it = of_link(l);
        if (it->claimed) {
            it->pool->in_hand--;
            let_go(it);
        }
    }
}

void lifecycle_recall(processor *p)
{
    for (node *l = p->running.next; l != &p->running; l = l->next) {
        of_link(l)->recalled = true;
        cancel(of_link(l));
    }
}

void lifecycle_abandon(processor *p)
{
    for (node *l = p->running.next, *after; l != &p->running; l = after) {
        item *it = of_link(l);
        after = l->next;
        if (!give_up(it))
            continue;
        it->verdict = ODTO_JOBS_RELEASE;
        it->n_outgoing = 0;
        settle(it);
    }
}
