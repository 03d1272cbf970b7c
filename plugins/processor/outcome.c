/* outcome.c — what becomes of a job when an attempt has ended: FINISH or RETRY, and the events that tell of
 * it. The events are written into the item and go to the store in one transaction with the status (outbox).
 * Scheduler thread only. */
#include "processor.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

int64_t backoff_ns(int64_t base, int64_t cap, uint32_t attempt, uint64_t random)
{
    int64_t d = base;
    for (uint32_t i = 1; i < attempt && d < cap; i++)
        d = d > cap / 2 ? cap : d * 2;
    if (d > cap)
        d = cap;
    return d > 0 ? (int64_t)(random % (uint64_t)(d + 1)) : 0;
}

static odto_outcome outcome_of(odto_run_end end)
{
    switch (end) {
    case ODTO_RUN_OK:
        return ODTO_OUT_OK;
    case ODTO_RUN_DISCARD:
        return ODTO_OUT_DISCARDED;
    case ODTO_RUN_TIMEOUT:
        return ODTO_OUT_TIMEOUT;
    case ODTO_RUN_LOST:
        return ODTO_OUT_LOST;
    case ODTO_RUN_RETRY:
        break;
    }
    return ODTO_OUT_ERROR;
}

static void decide_retry(item *it)
{
    pool *pl = it->pool;
    int64_t base = it->options.backoff_ns >= 0 ? it->options.backoff_ns : pl->backoff_ns;
    int64_t cap = it->options.backoff_max_ns >= 0 ? it->options.backoff_max_ns : pl->backoff_max_ns;
    int64_t delay = it->delay_ns > 0 ? it->delay_ns : backoff_ns(base, cap, it->job.attempt, odto_random64());
    it->verdict = ODTO_JOBS_RETRY;
    it->retry_at = it->p->now_ms + (delay + ODTO_MS - 1) / ODTO_MS;
}

/* FAILED for good: why, in the words of the dead letter. */
static const char *reason_of(const item *it)
{
    switch (it->outcome) {
    case ODTO_OUT_DISCARDED:
        return "discarded by its handler";
    case ODTO_OUT_POISON:
        return "poison: its attempts were lost too often";
    case ODTO_OUT_EXPIRED:
        return "expired before it could run";
    case ODTO_OUT_CANCELLED:
        return "cancelled";
    default:
        return "out of attempts";
    }
}

static bool is_dead(const item *it)
{
    return it->status == ODTO_FAILED && it->outcome != ODTO_OUT_EXPIRED && it->outcome != ODTO_OUT_CANCELLED;
}

/* {"number":…,"outcome":…,"startedAt":…,"finishedAt":…,"error":…} of this attempt, after the earlier ones. */
static void add_attempt(odto_buf *b, const item *it)
{
    char from[25], to[25];
    odto_time_format(it->began_ms ? it->began_ms : it->ended_ms, from);
    odto_time_format(it->ended_ms, to);
    odto_buf_printf(b,
                    "{\"number\":%u,\"outcome\":\"%s\",\"startedAt\":\"%s\",\"finishedAt\":\"%s\",\"error\":",
                    it->job.attempt, odto_outcome_name(it->outcome), from, to);
    odto_buf_json(b, item_error(it));
    odto_buf_str(b, "}");
}

/* The message as it arrived; of a row that came back from the store, the same event written again. */
static odto_slice original(item *it, odto_buf *scratch)
{
    if (it->event)
        return it->event->body;
    odto_envelope_created(scratch, &it->p->by, &it->job.event_id, &it->job.correlation_id, &it->job.id,
                          it->job.accepted_at, it->job.traceparent, it->job.job_json);
    return odto_slice_of(scratch->p, scratch->n);
}

/* The dead letter of the contract, with the job's id, the reason and the attempts besides. */
static void add_dead_letter(item *it)
{
    processor *p = it->p;
    odto_buf *b = &it->body;
    odto_buf scratch = {0};
    char why[MAX_ERROR + 256], id[ODTO_UUID_LEN + 1];
    odto_slice error = item_error(it);
    snprintf(why, sizeof why, "job %s (attempt %u of %u): %.*s", reason_of(it), it->job.attempt,
             it->job.max_attempts, (int)error.n, error.p ? error.p : "");
    size_t at = b->n;
    odto_dead_letter(b, original(it, &scratch), why, it->ended_ms, &it->job.correlation_id, SERVICE,
                     p->by.version);
    odto_buf_free(&scratch);
    if (b->n > at)
        b->n--; /* further members before the closing brace */
    odto_uuid_format(&it->job.id, id);
    odto_buf_printf(b, ",\"job_id\":\"%s\",\"outcome\":\"%s\",\"attempts\":[", id,
                    odto_outcome_name(it->outcome));
    odto_buf_put(b, it->history.p, it->history.n);
    if (it->history.n)
        odto_buf_str(b, ",");
    add_attempt(b, it);
    odto_buf_str(b, "]}");
    it->outgoing[it->n_outgoing].topic = odto_slice_str(TOPIC_DEAD);
    odto_uuid_v7(&it->outgoing[it->n_outgoing].event_id);
    it->outgoing[it->n_outgoing++].body = odto_slice_of(NULL, b->n - at); /* p below: b may move */
}

/* The bodies lie one after the other in it->body. */
static void write_events(item *it)
{
    odto_buf *b = &it->body;
    odto_buf_clear(b);
    it->n_outgoing = 1;
    odto_outgoing *o = &it->outgoing[0];
    odto_uuid_v7(&o->event_id);
    o->topic = odto_slice_str(TOPIC_COMPLETED);
    odto_envelope_finished(b, &it->p->by, it->status == ODTO_COMPLETED ? ODTO_JOB_COMPLETED : ODTO_JOB_FAILED,
                           &o->event_id, it->ended_ms, &it->hdr);
    o->body.n = b->n;
    if (is_dead(it))
        add_dead_letter(it);
    char *at = b->p;
    for (uint32_t i = 0; i < it->n_outgoing; i++) {
        it->outgoing[i].body.p = at;
        at += it->outgoing[i].body.n;
    }
}

static bool finish(item *it, odto_status status)
{
    it->verdict = ODTO_JOBS_FINISH;
    it->status = status;
    if (is_dead(it) && it->job.attempt > 1 && !it->history_known) {
        it->history_known = true;
        return false;
    }
    write_events(it);
    if (!it->body.failed)
        return true;
    /* Without memory for the events nothing is settled: the row is given back and the job runs again. */
    odto_log_for(it->p->host, ODTO_ERROR, &it->job.correlation_id, "no memory for the events of a job");
    it->body.failed = false;
    it->verdict = ODTO_JOBS_RELEASE;
    it->n_outgoing = 0;
    return true;
}

bool outcome_decide(item *it)
{
    processor *p = it->p;
    if (it->history_known) /* the second call */
        return finish(it, it->status);
    it->outcome = outcome_of(it->end);
    if (it->outcome == ODTO_OUT_OK)
        return finish(it, ODTO_COMPLETED);
    if (it->outcome == ODTO_OUT_LOST && it->job.lost + 1 > p->max_lost) {
        it->outcome = ODTO_OUT_POISON;
        return finish(it, ODTO_FAILED);
    }
    if (it->outcome != ODTO_OUT_DISCARDED && it->job.attempt < it->job.max_attempts) {
        decide_retry(it);
        return true;
    }
    return finish(it, ODTO_FAILED);
}

bool outcome_force(item *it, odto_outcome outcome, const char *error)
{
    item_say(it, ODTO_RUN_DISCARD, error);
    it->ended_ms = it->p->now_ms;
    it->ended_ns = it->p->now_ns;
    it->outcome = outcome;
    return finish(it, ODTO_FAILED);
}
