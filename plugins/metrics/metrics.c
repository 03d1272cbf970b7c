/* metrics.c — the metrics engine: events of jobs.completed become rows of the event log and counters.
 *
 * handle() runs on the instance's consumer thread and never waits: it puts the leases in a queue as long as
 * the prefetch, so there is always room. pump() moves batches from there into free `writes`, checks what the
 * route did not check, and submits them; the leases are acknowledged when the store has committed. It is
 * called whenever leases came or a write became free; a fixed number of writes is in flight, and batches grow
 * while the store is busy. Store callbacks run on store threads, the retry on the host's timer thread.
 *
 * Where events and counters are in two stores, a write goes to the event log first and is counted when it is
 * there: what is counted is in the log, so the log can be counted anew at any time.
 *
 * When a store is away its writes are kept, tried again with backoff, and no further leases are asked for:
 * nothing is acknowledged, nothing lost. Both stores ignore an event id they have seen, so a write may be
 * repeated.
 *
 * metrics.lock protects the queue, the list of free writes, the list of writes that wait for a retry, `away`,
 * `told`, `telling` and `pumping`. No function of the host or a store is called under it. */
#include "rebuild.h"

#include <odto/plugin.h>
#include <odto/schema.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH       256 /* events in one write */
#define BACKOFF     (200 * ODTO_MS)
#define BACKOFF_MAX (5 * ODTO_SEC)

static const odto_option options[] = {
    {.name = "counters",
     .type = ODTO_OPT_STORE,
     .default_value = "main",
     .min = ODTO_ROLE_COUNTERS,
     .help = "The store of the counters that /stats shows."},
    {.name = "events",
     .type = ODTO_OPT_STORE,
     .default_value = "main",
     .min = ODTO_ROLE_EVENTS,
     .help = "The store of the event log."},
    {.name = "writes",
     .type = ODTO_OPT_INT,
     .default_value = "8",
     .min = 2,
     .max = 64,
     .help = "Batches of up to 256 events that may wait for their commit at once."},
    {.name = "prefetch",
     .type = ODTO_OPT_INT,
     .default_value = "1024",
     .min = 1,
     .max = 65535,
     .help = "Events of jobs.completed that may be leased at once."},
    {.name = "rebuild",
     .type = ODTO_OPT_ENUM,
     .default_value = "auto",
     .choices = "auto|never",
     .help = "Whether empty counters are rebuilt from the event log at start (where they are in different "
             "stores)."},
    {.name = "listen",
     .type = ODTO_OPT_ADDRESS,
     .help = "Address of a listener for health and metrics of this service; none by default."},
};

typedef struct metrics metrics;

/* A write goes to one store (together: append_counted) or to two, one after the other. */
enum { TO_EVENTS = 1, TO_COUNTERS = 2 };

typedef struct write_slot {
    struct write_slot *next; /* in free or retry */
    metrics *m;
    size_t n;
    unsigned missing; /* TO_* not committed yet; whoever holds the write in hand reads and changes it */
    odto_write to_events, to_counters;
    odto_lease leases[BATCH];
    odto_slice bodies[BATCH];
    odto_header headers[BATCH];
    odto_counted counted[BATCH];
} write_slot;

struct metrics {
    odto_host *host;
    const odto_config *config;
    odto_store_ref events, counters;
    bool together; /* one store that counts while it appends */
    odto_route *completed;
    odto_schema *envelope_schema, *job_schema;
    odto_timer *timer;
    odto_metric *stored, *rejected, *failed_writes;
    rebuild *rebuild; /* NULL: none needed */

    pthread_mutex_t lock;
    pthread_cond_t idle; /* nothing is queued or in flight */
    odto_lease *queue;   /* ring of `prefetch` leases */
    size_t queue_size, queue_first, n_queued;
    write_slot *free, *retry;
    size_t n_writes, n_free;
    size_t inside; /* callbacks of stores under way: the last thing they touch is this */
    int64_t backoff;
    bool away;     /* atomic, written under the lock */
    bool told;     /* the value of away that the host was told last */
    bool telling;  /* a thread is in tell_host() and will look again */
    bool draining; /* nothing is tried again */
    bool pumping;  /* a thread is in pump() and will look again */
    char away_reason[120];
};

/* ---- state ------------------------------------------------------------------------------------- */

static void pump(metrics *m);
static void give_back(metrics *m, bool queued);

/* Holding the lock. */
static void slot_put(metrics *m, write_slot *w)
{
    w->next = m->free;
    m->free = w;
    m->n_free++;
    if (m->n_free == m->n_writes && m->n_queued == 0)
        pthread_cond_broadcast(&m->idle);
}

/* Holding the lock; NULL when all are in flight. */
static write_slot *slot_get(metrics *m)
{
    write_slot *w = m->free;
    if (w) {
        m->free = w->next;
        m->n_free--;
    }
    return w;
}

static uint32_t prefetch_option(const metrics *m)
{
    return (uint32_t)odto_config_int(m->config, "prefetch");
}

/* Consumption follows `away`. Two stores answer on two threads: one tells the host, in the order of the
 * changes, or the older word could be the last one and nothing would be consumed any more. */
static void tell_host(metrics *m)
{
    pthread_mutex_lock(&m->lock);
    bool mine = !m->telling;
    m->telling = true;
    while (mine && m->told != m->away) {
        bool away = m->told = m->away;
        pthread_mutex_unlock(&m->lock);
        m->host->api->prefetch(m->host, m->completed, away ? 0 : prefetch_option(m));
        m->host->api->health_changed(m->host);
        pthread_mutex_lock(&m->lock);
    }
    m->telling = m->telling && !mine;
    pthread_mutex_unlock(&m->lock);
}

/* The stores answer (again), or do not. */
static void set_away(metrics *m, bool away, const char *reason)
{
    pthread_mutex_lock(&m->lock);
    bool changed = m->away != away;
    __atomic_store_n(&m->away, away,
                     __ATOMIC_RELAXED); /* the lock orders it; read without in store_answers */
    snprintf(m->away_reason, sizeof m->away_reason, "%s", reason);
    if (!away)
        m->backoff = 0;
    pthread_mutex_unlock(&m->lock);
    if (!changed)
        return;
    if (away)
        odto_log(m->host, ODTO_WARN, "%s; consumption pauses until the store answers", reason);
    else
        odto_log(m->host, ODTO_INFO, "the stores answer again; consumption goes on");
    tell_host(m);
    if (!away) {
        m->host->api->timer_set(m->timer, 0); /* what still waits goes out now */
        pump(m);
    }
}

static void store_answers(metrics *m)
{
    if (__atomic_load_n(&m->away, __ATOMIC_RELAXED)) /* a hint: set_away looks again under the lock */
        set_away(m, false, "");
}

/* ---- writing ----------------------------------------------------------------------------------- */

static void submit(write_slot *w);

static void settle(write_slot *w, odto_verdict verdict, const char *why)
{
    metrics *m = w->m;
    m->host->api->settle(m->host, w->leases, w->n, verdict, why);
    odto_metric_add(verdict == ODTO_ACK ? m->stored : m->rejected,
                    verdict == ODTO_RETURN ? 0 : (int64_t)w->n);
    pthread_mutex_lock(&m->lock);
    slot_put(m, w);
    pthread_mutex_unlock(&m->lock);
    pump(m);
}

/* Keep it and try again later; while draining give the leases back. */
static void retry_later(write_slot *w, int rc)
{
    metrics *m = w->m;
    char reason[120];
    odto_metric_add(m->failed_writes, 1);
    snprintf(reason, sizeof reason, "store %s does not take events (%s)",
             (w->missing & TO_EVENTS) ? m->events.name : m->counters.name, strerror(-rc));
    set_away(m, true, reason);
    pthread_mutex_lock(&m->lock);
    bool draining = m->draining, first = m->retry == NULL;
    if (!draining) {
        w->next = m->retry;
        m->retry = w;
    }
    if (!draining && first) { /* the others of this round wait with it */
        m->backoff = m->backoff ? m->backoff * 2 : BACKOFF;
        if (m->backoff > BACKOFF_MAX)
            m->backoff = BACKOFF_MAX;
    }
    /* half of it fixed, half at random: several hosts do not come back in step */
    int64_t delay = m->backoff / 2 + (int64_t)(odto_random64() % (uint64_t)(m->backoff / 2 + 1));
    pthread_mutex_unlock(&m->lock);
    if (draining) {
        settle(w, ODTO_RETURN, NULL);
        give_back(m, true);
    } else if (first) {
        m->host->api->timer_set(m->timer, delay);
    }
}

/* Move the second half of w into another write, or NULL if none is free. */
static write_slot *split(write_slot *w)
{
    metrics *m = w->m;
    pthread_mutex_lock(&m->lock);
    write_slot *half = slot_get(m);
    pthread_mutex_unlock(&m->lock);
    if (!half)
        return NULL;
    size_t keep = w->n / 2;
    half->n = w->n - keep;
    half->missing = w->missing;
    memcpy(half->leases, w->leases + keep, half->n * sizeof *w->leases);
    memcpy(half->bodies, w->bodies + keep, half->n * sizeof *w->bodies);
    memcpy(half->headers, w->headers + keep, half->n * sizeof *w->headers);
    memcpy(half->counted, w->counted + keep, half->n * sizeof *w->counted);
    w->n = keep;
    return half;
}

/* The store refuses something in this write for good: find it by halving, and reject it alone. */
static void refused(write_slot *w, int rc)
{
    if (w->n == 1) {
        char why[96];
        snprintf(why, sizeof why, "the store refuses this event: %s", strerror(-rc));
        store_answers(w->m); /* it may be the only one that was waited with */
        settle(w, ODTO_REJECT, why);
        return;
    }
    write_slot *half = split(w);
    if (!half) {
        retry_later(w, rc);
        return;
    }
    submit(w);
    submit(half);
}

static bool permanent(int rc)
{
    return rc == -EINVAL || rc == -E2BIG || rc == -EMSGSIZE || rc == -EILSEQ;
}

/* One store has answered. */
static void answered(write_slot *w, unsigned part, int result)
{
    metrics *m = w->m;
    if (result == 0)
        w->missing &= ~part;
    if (result == 0 && w->missing != 0) {
        submit(w);
    } else if (result == 0) {
        store_answers(m);
        settle(w, ODTO_ACK, NULL);
    } else if (permanent(result)) {
        refused(w, result);
    } else {
        retry_later(w, result);
    }
}

static void part_ended(write_slot *w, unsigned part, int result)
{
    metrics *m = w->m;
    pthread_mutex_lock(&m->lock);
    m->inside++; /* answered() gives w away and goes on with m: quiesce must not return before that ended */
    pthread_mutex_unlock(&m->lock);
    answered(w, part, result);
    pthread_mutex_lock(&m->lock);
    if (--m->inside == 0)
        pthread_cond_broadcast(&m->idle);
    pthread_mutex_unlock(&m->lock);
}

static void events_done(odto_write *ow, int result)
{
    part_ended(ow->arg, TO_EVENTS, result);
}

static void counters_done(odto_write *ow, int result)
{
    part_ended(ow->arg, TO_COUNTERS, result);
}

/* Give w to the first store that misses it. w may be settled when this returns. */
static void submit(write_slot *w)
{
    metrics *m = w->m;
    unsigned part = w->missing & TO_EVENTS ? TO_EVENTS : TO_COUNTERS;
    int rc = 0;
    if (part == TO_EVENTS) {
        const odto_events_ops *events = m->events.iface->events;
        w->to_events = (odto_write){.counted = m->together ? w->counted : NULL,
                                    .bodies = w->bodies,
                                    .headers = w->headers,
                                    .n = w->n,
                                    .done = events_done,
                                    .arg = w};
        rc = (m->together ? events->append_counted : events->append)(m->events.self, &w->to_events);
    } else {
        w->to_counters = (odto_write){.counted = w->counted, .n = w->n, .done = counters_done, .arg = w};
        rc = m->counters.iface->counters->add(m->counters.self, &w->to_counters);
    }
    if (rc != 0)
        part_ended(w, part, rc);
}

/* Timer: the writes that failed go out again. */
static void on_timer(void *arg)
{
    metrics *m = arg;
    pthread_mutex_lock(&m->lock);
    write_slot *list = m->retry;
    m->retry = NULL;
    pthread_mutex_unlock(&m->lock);
    while (list) {
        write_slot *w = list;
        list = w->next;
        submit(w);
    }
}

/* ---- consuming --------------------------------------------------------------------------------- */

/* The header of a leased event; false when it is no valid envelope and was rejected. */
static bool header_of(metrics *m, const odto_lease *lease, odto_header *out)
{
    if (lease->event->flags & ODTO_EVENT_VALID) {
        *out = lease->event->hdr;
        return true;
    }
    char why[1024] = "";
    int rc = odto_envelope_check(lease->event->body, m->envelope_schema, m->job_schema, ODTO_EVENT_DEPTH_MAX,
                                 out, why, sizeof why);
    if (rc == 0)
        return true;
    if (rc == -ENOMEM) {
        m->host->api->settle(m->host, lease, 1, ODTO_RETURN, NULL);
        return false;
    }
    odto_metric_add(m->rejected, 1);
    m->host->api->settle(m->host, lease, 1, ODTO_REJECT, why);
    return false;
}

/* A free write with the next leases of the queue in it, unchecked. NULL when there is nothing to do now. */
static write_slot *next_batch(metrics *m)
{
    if (m->n_queued == 0 || m->away)
        return NULL;
    write_slot *w = slot_get(m);
    if (!w)
        return NULL;
    for (w->n = 0; w->n < BATCH && m->n_queued > 0; m->n_queued--) {
        w->leases[w->n++] = m->queue[m->queue_first];
        m->queue_first = (m->queue_first + 1) % m->queue_size;
    }
    return w;
}

/* Check the leases of w and make a write of the good ones. */
static void write_batch(write_slot *w)
{
    metrics *m = w->m;
    size_t n = 0;
    for (size_t i = 0; i < w->n; i++) {
        odto_header *h = &w->headers[n];
        if (!header_of(m, &w->leases[i], h))
            continue;
        w->leases[n] = w->leases[i];
        w->bodies[n] = w->leases[i].event->body;
        w->counted[n++] = (odto_counted){.event_id = h->event_id,
                                         .completed = h->type == ODTO_JOB_COMPLETED,
                                         .failed = h->type == ODTO_JOB_FAILED,
                                         .occurred_at = h->occurred_at_ms};
    }
    w->n = n;
    w->missing = m->together ? TO_EVENTS : TO_EVENTS | TO_COUNTERS;
    if (n > 0) {
        submit(w);
        return;
    }
    pthread_mutex_lock(&m->lock);
    slot_put(m, w);
    pthread_mutex_unlock(&m->lock);
}

/* Any thread. A thread that finds another one here leaves: that one looks again before it goes. */
static void pump(metrics *m)
{
    write_slot *w;
    pthread_mutex_lock(&m->lock);
    if (m->pumping) {
        pthread_mutex_unlock(&m->lock);
        return;
    }
    m->pumping = true;
    while ((w = next_batch(m))) {
        pthread_mutex_unlock(&m->lock);
        write_batch(w);
        pthread_mutex_lock(&m->lock);
    }
    m->pumping = false;
    pthread_mutex_unlock(&m->lock);
}

static void handle(void *self, const odto_lease *leases, size_t n)
{
    metrics *m = self;
    size_t taken = 0;
    pthread_mutex_lock(&m->lock);
    for (; taken < n && m->n_queued < m->queue_size; taken++)
        m->queue[(m->queue_first + m->n_queued++) % m->queue_size] = leases[taken];
    pthread_mutex_unlock(&m->lock);
    if (taken < n) /* more than was asked for */
        m->host->api->settle(m->host, leases + taken, n - taken, ODTO_RETURN, NULL);
    pump(m);
}

/* ---- life -------------------------------------------------------------------------------------- */

static void health(void *self, odto_health *out)
{
    metrics *m = self;
    if (m->rebuild && !rebuild_done(m->rebuild)) {
        out->ready = false;
        snprintf(out->reason, sizeof out->reason, "the counters are compared with the event log");
        return;
    }
    pthread_mutex_lock(&m->lock);
    out->ready = !m->away;
    if (m->away)
        snprintf(out->reason, sizeof out->reason, "%s", m->away_reason);
    pthread_mutex_unlock(&m->lock);
}

static void fini(void *self)
{
    metrics *m = self;
    rebuild_free(m->rebuild);
    while (m->free) {
        write_slot *w = m->free;
        m->free = w->next;
        free(w);
    }
    odto_schema_free(m->envelope_schema);
    odto_schema_free(m->job_schema);
    free(m->queue);
    pthread_cond_destroy(&m->idle);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

static int init_slots(metrics *m, size_t n, odto_error *err)
{
    for (size_t i = 0; i < n; i++) {
        write_slot *w = calloc(1, sizeof *w);
        if (!w)
            return odto_fail(err, -ENOMEM, "no memory for %zu writes (option writes)", n);
        w->m = m;
        w->next = m->free;
        m->free = w;
        m->n_free++;
    }
    m->n_writes = n;
    m->queue_size = prefetch_option(m);
    m->queue = calloc(m->queue_size, sizeof *m->queue);
    return m->queue ? 0
                    : odto_fail(err, -ENOMEM, "no memory for %zu leases (option prefetch)", m->queue_size);
}

static int init(odto_host *h, const odto_config *c, void **self, odto_error *err)
{
    metrics *m = calloc(1, sizeof *m);
    if (!m)
        return odto_fail(err, -ENOMEM, "no memory for the metrics engine");
    m->host = h;
    m->config = c;
    pthread_mutex_init(&m->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&m->idle, &attr);
    pthread_condattr_destroy(&attr);
    int rc = odto_schema_compile_builtin("event-envelope", &m->envelope_schema, err);
    if (rc == 0)
        rc = odto_schema_compile_builtin("job", &m->job_schema, err);
    if (rc == 0)
        rc = init_slots(m, (size_t)odto_config_int(c, "writes"), err);
    if (rc != 0) {
        fini(m);
        return rc;
    }
    *self = m;
    return 0;
}

static void rebuilt(void *arg)
{
    metrics *m = arg;
    m->host->api->prefetch(m->host, m->completed, prefetch_option(m));
    m->host->api->health_changed(m->host);
}

static int start_stores(metrics *m, odto_error *err)
{
    int rc = m->host->api->store(m->host, "events", &m->events, err);
    if (rc == 0)
        rc = m->host->api->store(m->host, "counters", &m->counters, err);
    if (rc != 0)
        return rc;
    m->together = m->events.self == m->counters.self && m->events.iface == m->counters.iface &&
                  m->events.iface->events->append_counted != NULL;
    if (m->together || odto_config_int(m->config, "rebuild") != 0)
        return 0;
    m->host->api->prefetch(m->host, m->completed, 0);
    return rebuild_start(m->host, &m->events, &m->counters, rebuilt, m, &m->rebuild, err);
}

static int start_metrics(metrics *m, odto_error *err)
{
    const odto_host_api *api = m->host->api;
    m->stored = api->metric(m->host, ODTO_COUNTER, "odto_metrics_events_stored_total",
                            "Events written to the event log and counted.", NULL, NULL, NULL, 0);
    m->rejected = api->metric(m->host, ODTO_COUNTER, "odto_metrics_events_rejected_total",
                              "Events refused by the metrics engine (dead letters).", NULL, NULL, NULL, 0);
    m->failed_writes =
        api->metric(m->host, ODTO_COUNTER, "odto_metrics_write_failures_total",
                    "Writes that a store did not take and that are tried again.", NULL, NULL, NULL, 0);
    if (!m->stored || !m->rejected || !m->failed_writes)
        return odto_fail(err, -ENOMEM, "no memory for metrics");
    return 0;
}

static int start(void *self, odto_error *err)
{
    metrics *m = self;
    const odto_host_api *api = m->host->api;
    m->completed = api->route(m->host, "jobs.completed");
    if (!m->completed) {
        odto_fail(err, -ENOENT, "no route carries the topic jobs.completed");
        odto_error_hint(err, "add a section [route jobs.completed] to the manifest");
        return -ENOENT;
    }
    int rc = start_metrics(m, err);
    if (rc != 0)
        return rc;
    m->timer = api->timer_new(m->host, on_timer, m);
    if (!m->timer)
        return odto_fail(err, -ENOMEM, "no memory for a timer");
    api->prefetch(m->host, m->completed, prefetch_option(m));
    rc = start_stores(m, err);
    const char *listen = odto_config_str(m->config, "listen");
    if (rc == 0 && listen)
        rc = api->http->serve(m->host, listen, "metrics", NULL, 0, NULL, 4096, err);
    return rc;
}

/* Give back what no store has in its hands. */
static void give_back(metrics *m, bool queued)
{
    pthread_mutex_lock(&m->lock);
    m->draining = true;
    write_slot *list = m->retry;
    m->retry = NULL;
    queued |= m->away;
    size_t n = 0;
    odto_lease first[BATCH];
    do {
        for (n = 0; queued && n < BATCH && m->n_queued > 0; m->n_queued--) {
            first[n++] = m->queue[m->queue_first];
            m->queue_first = (m->queue_first + 1) % m->queue_size;
        }
        pthread_mutex_unlock(&m->lock);
        if (n > 0)
            m->host->api->settle(m->host, first, n, ODTO_RETURN, NULL);
        pthread_mutex_lock(&m->lock);
    } while (n == BATCH);
    pthread_cond_broadcast(&m->idle);
    pthread_mutex_unlock(&m->lock);
    while (list) {
        write_slot *w = list;
        list = w->next;
        settle(w, ODTO_RETURN, NULL);
    }
}

/* Holding the lock. */
static bool busy(const metrics *m)
{
    return m->n_free < m->n_writes || m->n_queued > 0 || m->inside > 0;
}

/* What the stores take is waited for; what waits for a store that is away is given back. */
static int quiesce(void *self, int64_t deadline_ns)
{
    metrics *m = self;
    give_back(m, false);
    struct timespec until = {deadline_ns / ODTO_SEC, deadline_ns % ODTO_SEC};
    int rc = 0;
    pthread_mutex_lock(&m->lock);
    while (busy(m) && rc == 0)
        rc = pthread_cond_timedwait(&m->idle, &m->lock, &until);
    rc = busy(m) ? -ETIMEDOUT : 0;
    pthread_mutex_unlock(&m->lock);
    return rc;
}

static void stop(void *self)
{
    metrics *m = self;
    give_back(m, true);
    if (m->timer)
        m->host->api->timer_free(m->timer);
    m->timer = NULL;
    if (m->rebuild)
        rebuild_interrupt(m->rebuild);
}

static const char *const consumes[] = {"jobs.completed", NULL};
static const odto_plugin_ops ops = {
    .size = sizeof ops,
    .init = init,
    .start = start,
    .handle = handle,
    .health = health,
    .quiesce = quiesce,
    .stop = stop,
    .fini = fini,
};

ODTO_PLUGIN_DEFINE(
    "metrics", PACKAGE_VERSION, ODTO_KIND_SERVICE,
    .summary = "Writes the events of jobs to the event log and counts them, each exactly once.",
    .options = options, .n_options = sizeof options / sizeof *options, .consumes = consumes, .ops = &ops);
