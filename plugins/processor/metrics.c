/* metrics.c — the contract's processor_* and the odto_job* family. Labels are bounded: types of the manifest,
 * at most MAX_TYPES, everything else is "other". */
#include "processor.h"
#include <errno.h>
#include <stddef.h>

#define QUEUE "default"
#define N(a)  (sizeof(a) / sizeof((a)[0]))

/* the contract's */
static const double processing_bounds[] = {.005, .01, .025, .05, .075, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10};
static const double seconds_bounds[] = {.001, .0025, .005, .01, .025, .05, .1,  .25, .5,
                                        1,    2.5,   5,    10,  30,   60,  300, 1800};

static odto_metric *counter(processor *p, const char *name, const char *help, const char *labels,
                            const char *const *values)
{
    return p->host->api->metric(p->host, ODTO_COUNTER, name, help, labels, values, NULL, 0);
}

static odto_metric *seconds(processor *p, const char *name, const char *help, const char *labels,
                            const char *const *values)
{
    return p->host->api->metric(p->host, ODTO_HISTOGRAM, name, help, labels, values, seconds_bounds,
                                N(seconds_bounds));
}

/* ---- by type ---- */

static odto_metric *by_outcome(processor *p, const char *name, const char *help, const char *type,
                               const char *outcome)
{
    const char *values[] = {QUEUE, type, outcome};
    return counter(p, name, help, "queue,type,outcome", values);
}

static void type_metrics(processor *p, job_type *t, const char *name)
{
    static const char finished[] = "Jobs that reached a final state.";
    static const char attempts[] = "Attempts that ended, by how they ended.";
    const char *values[] = {QUEUE, name};
    t->enqueued = counter(p, "odto_jobs_enqueued_total", "Jobs accepted as rows.", "queue,type", values);
    t->completed = by_outcome(p, "odto_jobs_finished_total", finished, name, "completed");
    t->failed = by_outcome(p, "odto_jobs_finished_total", finished, name, "failed");
    t->cancelled = by_outcome(p, "odto_jobs_finished_total", finished, name, "cancelled");
    t->expired = by_outcome(p, "odto_jobs_finished_total", finished, name, "expired");
    for (int o = ODTO_OUT_OK; o <= ODTO_OUT_DISCARDED; o++)
        t->attempts[o] =
            by_outcome(p, "odto_job_attempts_total", attempts, name, odto_outcome_name((odto_outcome)o));
    t->fenced = by_outcome(p, "odto_job_attempts_total", attempts, name, "fenced");
    t->wait = seconds(p, "odto_job_wait_seconds", "From due to start.", "queue,type", values);
    t->run = seconds(p, "odto_job_run_seconds", "How long attempts ran.", "queue,type", values);
    t->total = seconds(p, "odto_job_total_seconds", "From accepted to final state.", "queue,type", values);
}

void metrics_attempt(const item *it)
{
    odto_metric_add(it->type->attempts[it->outcome], 1);
}

void metrics_finished(const item *it)
{
    const processor *p = it->p;
    job_type *t = it->type;
    bool ok = it->status == ODTO_COMPLETED;
    odto_metric_add(ok ? p->m.completed : p->m.failed, 1);
    odto_metric *how = it->outcome == ODTO_OUT_EXPIRED     ? t->expired
                       : it->outcome == ODTO_OUT_CANCELLED ? t->cancelled
                                                           : t->failed;
    odto_metric_add(ok ? t->completed : how, 1);
    int64_t ms = it->ended_ms - it->job.accepted_at;
    odto_metric_observe(t->total, ms > 0 ? (double)ms / 1e3 : 0);
}

/* ---- gauges asked for at scrape time ---- */

enum { G_READY, G_RUNNING, G_COMPLETED, G_FAILED, G_OLDEST, G_OUTBOX, G_OUTBOX_AGE };

typedef struct gauge {
    processor *p;
    int what;
} gauge;

static double age(processor *p, int64_t since_ms)
{
    int64_t ms = since_ms ? p->host->api->unix_ms(p->host) - since_ms : 0;
    return ms > 0 ? (double)ms / 1e3 : 0;
}

static double gauge_value(processor *p, int what)
{
    odto_jobs_stats s;
    if (what == G_OUTBOX_AGE) /* relaxed: a statistic */
        return age(p, atomic_load_explicit(&p->out.behind_since_ms, memory_order_relaxed));
    if (!stats_now(p, &s))
        return 0;
    switch (what) {
    case G_READY:
        return (double)s.pending;
    case G_RUNNING:
        return (double)s.executing;
    case G_COMPLETED:
        return (double)s.completed;
    case G_FAILED:
        return (double)s.failed;
    case G_OLDEST:
        return age(p, s.oldest_ready);
    default:
        return (double)s.outbox;
    }
}

#define GAUGE(fn, what)                  \
    static double fn(void *arg)          \
    {                                    \
        return gauge_value((arg), what); \
    }
GAUGE(ready, G_READY)
GAUGE(running, G_RUNNING)
GAUGE(completed, G_COMPLETED)
GAUGE(failed, G_FAILED)
GAUGE(oldest, G_OLDEST)
GAUGE(outbox_rows, G_OUTBOX)
GAUGE(outbox_age, G_OUTBOX_AGE)

static int store_gauges(processor *p)
{
    static const struct {
        const char *state;
        double (*fn)(void *arg);
    } states[] = {{"ready", ready}, {"running", running}, {"completed", completed}, {"failed", failed}};
    const odto_host_api *api = p->host->api;
    const char *queue[] = {QUEUE};
    int r = 0;
    for (size_t i = 0; i < N(states); i++) {
        const char *values[] = {QUEUE, states[i].state};
        r |= api->metric_fn(p->host, ODTO_GAUGE, "odto_queue_jobs", "Rows of the jobs store by state.",
                            "queue,state", values, states[i].fn, p);
    }
    r |= api->metric_fn(p->host, ODTO_GAUGE, "odto_queue_oldest_ready_age_seconds",
                        "How long the oldest due job has been waiting.", "queue", queue, oldest, p);
    r |= api->metric_fn(p->host, ODTO_GAUGE, "odto_outbox_pending", "Outgoing events not yet published.",
                        NULL, NULL, outbox_rows, p);
    r |= api->metric_fn(p->host, ODTO_GAUGE, "odto_outbox_oldest_age_seconds",
                        "Since when outgoing events could not be published.", NULL, NULL, outbox_age, p);
    return r;
}

static void pool_metrics(processor *p, pool *pl)
{
    const char *values[] = {pl->name};
    const odto_host_api *api = p->host->api;
    odto_metric *slots = api->metric(p->host, ODTO_GAUGE, "odto_pool_slots",
                                     "Attempts a handler may run at once.", "pool", values, NULL, 0);
    odto_metric_set(slots, pl->concurrency);
    pl->busy = api->metric(p->host, ODTO_GAUGE, "odto_pool_slots_busy", "Attempts running.", "pool", values,
                           NULL, 0);
    odto_metric_set(pl->busy, 0);
}

/* ---- the rest ---- */

static odto_metric *labelled(processor *p, const char *name, const char *help, const char *label,
                             const char *value)
{
    const char *values[] = {value};
    return counter(p, name, help, label, values);
}

static void service_metrics(processor *p)
{
    static const char confirms[] = "Outgoing events by what the route said.";
    static const char rejected[] = "Messages that became dead letters without a row, by reason.";
    metrics *m = &p->m;
    const odto_host_api *api = p->host->api;
    m->processed =
        counter(p, "processor_jobs_processed_total", "Deliveries taken from jobs.created.", NULL, NULL);
    m->completed = counter(p, "processor_jobs_completed_total", "Jobs completed.", NULL, NULL);
    m->failed = counter(p, "processor_jobs_failed_total", "Jobs failed for good.", NULL, NULL);
    m->invalid =
        counter(p, "processor_jobs_validation_failed_total", "Messages that are not valid.", NULL, NULL);
    m->seconds = api->metric(p->host, ODTO_HISTOGRAM, "processor_job_processing_seconds",
                             "How long the execution of a job took.", NULL, NULL, processing_bounds,
                             N(processing_bounds));
    m->rejected_validation = labelled(p, "odto_jobs_rejected_total", rejected, "reason", "validation");
    m->rejected_event = labelled(p, "odto_jobs_rejected_total", rejected, "reason", "event_type");
    m->rejected_store = labelled(p, "odto_jobs_rejected_total", rejected, "reason", "store");
    m->dead_letters = labelled(p, "odto_dead_letters_total", "Dead letters written.", "queue", QUEUE);
    m->expired_leases =
        counter(p, "odto_leases_expired_total", "Row leases that ran out or were taken back.", NULL, NULL);
    m->published = labelled(p, "odto_publish_confirms_total", confirms, "result", "ack");
    m->refused = labelled(p, "odto_publish_confirms_total", confirms, "result", "nack");
    m->publish_seconds = seconds(p, "odto_publish_confirm_seconds", "From publish to confirmed.", NULL, NULL);
}

int metrics_init(processor *p, odto_error *err)
{
    service_metrics(p);
    type_metrics(p, &p->other, "other");
    for (size_t i = 0; i < p->n_types; i++) {
        job_type other = p->other, *t = &p->types[i];
        if (i < MAX_TYPES) {
            type_metrics(p, t, t->name);
            continue;
        }
        other.name = t->name;
        other.pool = t->pool;
        *t = other;
    }
    for (size_t i = 0; i < p->n_pools; i++)
        pool_metrics(p, &p->pools[i]);
    return store_gauges(p) ? odto_fail(err, -ENOMEM, "no memory for metrics") : 0;
}
