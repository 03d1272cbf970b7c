/* processor.c — the plugin: options, and the callbacks of its life. Runs on the host's threads; everything
 * between start() and stop() happens elsewhere (processor.h). */
#include "processor.h"
#include <errno.h>
#include <odto/schema.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VERSION_TEXT PACKAGE_VERSION
#define SCAN_FIRST   10 /* polls */

static const odto_option options[] = {
    {.name = "jobs",
     .type = ODTO_OPT_STORE,
     .min = ODTO_ROLE_JOBS,
     .flags = ODTO_OPTION_REQUIRED,
     .help = "Store that keeps the job rows."},
    {.name = "listen",
     .type = ODTO_OPT_ADDRESS,
     .default_value = "127.0.0.1:8000",
     .help = "Where /metrics and /healthz are served."},
    {.name = "owner",
     .type = ODTO_OPT_STRING,
     .help = "Name under which rows are leased; must differ between hosts that share a store (default: host "
             "name, "
             "instance and data directory)."},
    {.name = "lease",
     .type = ODTO_OPT_DURATION,
     .default_value = "30s",
     .min = ODTO_SEC,
     .max = 3600 * ODTO_SEC,
     .help =
         "Lease on a row; extended while its job runs. After a crash other hosts take over when it ran out."},
    {.name = "poll",
     .type = ODTO_OPT_DURATION,
     .default_value = "1s",
     .min = ODTO_SEC,
     .max = 3600 * ODTO_SEC,
     .help = "How often a store shared with other hosts is looked at for rows nobody told us of."},
    {.name = "max_lost",
     .type = ODTO_OPT_INT,
     .default_value = "3",
     .max = 1000,
     .help = "Attempts of a job that may be lost (host or worker died) before it is poison and fails."},
    {.name = "batch",
     .type = ODTO_OPT_INT,
     .default_value = "256",
     .min = 1,
     .max = 4096,
     .help = "Operations in one store batch, and rows claimed at once."},
    {.name = "prefetch",
     .type = ODTO_OPT_INT,
     .default_value = "1024",
     .min = 1,
     .max = 65536,
     .help = "Events of jobs.created held until their row is durable."},
    {.name = "max_in_hand",
     .type = ODTO_OPT_INT,
     .default_value = "4096",
     .min = 1,
     .max = 1000000,
     .help = "Jobs leased from the store at once (running, about to run, or being settled)."},
    {.name = "max_memory",
     .type = ODTO_OPT_SIZE,
     .default_value = "64m",
     .min = 1048576,
     .max = 1073741824 * INT64_C(64),
     .help = "Bytes of job texts held for those."},
    {.name = "max_result",
     .type = ODTO_OPT_SIZE,
     .default_value = "256k",
     .min = 0,
     .max = 16777216,
     .help = "Bytes of a job's result that are kept."},
    {.name = "unknown_type",
     .type = ODTO_OPT_ENUM,
     .default_value = "dead-letter",
     .choices = "dead-letter|echo|wait",
     .help =
         "Jobs of a type no handler has: fail with a dead letter, complete with their payload as result, or "
         "wait as PENDING until a handler is configured."},
    {.name = "concurrency",
     .type = ODTO_OPT_INT,
     .default_value = "16",
     .min = 1,
     .max = 65536,
     .help = "Attempts at once, for handlers that do not say."},
    {.name = "timeout",
     .type = ODTO_OPT_DURATION,
     .default_value = "60s",
     .help = "Time limit of an attempt, for handlers that do not say; 0: none."},
    {.name = "max_attempts",
     .type = ODTO_OPT_INT,
     .default_value = "10",
     .min = 1,
     .max = 1000,
     .help = "Attempts of a job, for handlers that do not say."},
    {.name = "backoff",
     .type = ODTO_OPT_DURATION,
     .default_value = "2s",
     .help = "Before the second attempt at most this long, doubling, with full jitter."},
    {.name = "backoff_max", .type = ODTO_OPT_DURATION, .default_value = "1h", .help = "Longest backoff."},
};

/* ---- init ---- */

/* Stable over restarts, different for two hosts on one machine: so own leases can be taken back at start. */
static void make_owner(processor *p)
{
    const odto_config *c = p->config;
    const char *own = odto_config_str(c, "owner");
    const char *host = c->host_name ? c->host_name : "localhost";
    const char *dir = c->data_dir ? c->data_dir : "";
    if (own && *own)
        snprintf(p->owner, sizeof p->owner, "%s", own);
    else
        snprintf(p->owner, sizeof p->owner, "%.100s/%.40s/%08x", host, c->instance,
                 odto_crc32c(0, dir, strlen(dir)));
    snprintf(p->instance_id, sizeof p->instance_id, "%.80s/%.40s", host, c->instance);
    p->by = (odto_producer){.service = SERVICE, .instance_id = p->instance_id, .version = VERSION_TEXT};
}

static void read_options(processor *p)
{
    const odto_config *c = p->config;
    p->lease_ms = odto_config_int(c, "lease") / ODTO_MS;
    p->max_lost = (uint32_t)odto_config_int(c, "max_lost");
    p->batch = (uint32_t)odto_config_int(c, "batch");
    p->prefetch = (uint32_t)odto_config_int(c, "prefetch");
    p->max_in_hand = (uint32_t)odto_config_int(c, "max_in_hand");
    p->max_bytes = (size_t)odto_config_int(c, "max_memory");
    p->max_result = (size_t)odto_config_int(c, "max_result");
    p->unknown = (int)odto_config_int(c, "unknown_type");
}

static void init_state(processor *p)
{
    pthread_condattr_t attr;
    pthread_mutex_init(&p->slab.lock, NULL);
    pthread_mutex_init(&p->health_lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&p->idle_changed, &attr);
    pthread_condattr_destroy(&attr);
    node *lists[] = {&p->slab.free, &p->accepting, &p->settling, &p->extend,
                     &p->leased,    &p->running,   &p->loading};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        list_init(lists[i]);
    p->ended_tail = &p->ended;
    p->health = (odto_health){.ready = false, .reason = "starting"};
}

static void processor_free(processor *p)
{
    outbox_free_all(p);
    commit_free_all(p);
    history_free(p);
    pools_free(p);
    slab_free(&p->slab);
    odto_schema_free(p->schema_envelope);
    odto_schema_free(p->schema_job);
    pthread_cond_destroy(&p->idle_changed);
    pthread_mutex_destroy(&p->health_lock);
    pthread_mutex_destroy(&p->slab.lock);
    free(p);
}

static int processor_init(odto_host *h, const odto_config *c, void **self, odto_error *err)
{
    processor *p = calloc(1, sizeof *p);
    if (!p)
        return odto_fail(err, -ENOMEM, "no memory");
    p->host = h;
    p->config = c;
    init_state(p);
    make_owner(p);
    read_options(p);
    int r = history_new(p);
    if (r < 0)
        odto_fail(err, r, "no memory for the history of job types");
    if (r == 0)
        r = odto_schema_compile_builtin("event-envelope", &p->schema_envelope, err);
    if (r == 0)
        r = odto_schema_compile_builtin("job", &p->schema_job, err);
    if (r < 0) {
        processor_free(p);
        return r;
    }
    *self = p;
    return 0;
}

/* ---- start ---- */

static int need_route(processor *p, const char *topic, odto_route **out, odto_error *err)
{
    *out = p->host->api->route(p->host, topic);
    if (*out)
        return 0;
    odto_fail(err, -ENOENT, "the processor needs a route for the topic %s", topic);
    odto_error_hint(err, "add a section [route %s] to the manifest", topic);
    return -ENOENT;
}

static int connect_parts(processor *p, odto_error *err)
{
    int r = p->host->api->store(p->host, "jobs", &p->store, err);
    if (r < 0)
        return r;
    if (!p->store.iface->jobs)
        return odto_fail(err, -EINVAL, "store %s keeps no jobs", p->store.name);
    p->jobs = p->store.iface->jobs;
    if ((r = need_route(p, TOPIC_CREATED, &p->route_created, err)) < 0 ||
        (r = need_route(p, TOPIC_COMPLETED, &p->out.completed, err)) < 0 ||
        (r = need_route(p, TOPIC_DEAD, &p->out.dead, err)) < 0 || (r = pools_init(p, err)) < 0)
        return r;
    return metrics_init(p, err);
}

static int begin(processor *p, odto_error *err)
{
    odto_host *h = p->host;
    int r = connect_parts(p, err);
    if (r < 0)
        return r;
    int64_t now = h->api->now(h);
    bool shared = p->store.iface->flags & ODTO_STORE_SHARED;
    p->poll_ns = shared ? odto_config_int(p->config, "poll") : 0;
    p->next_poll_ns = now + p->poll_ns;
    p->next_reap_ns = now + p->lease_ms * ODTO_MS / 3;
    p->reap_wanted = true;
    p->out.recovering = p->out.missed = true; /* what an earlier life left in the outbox */
    history_refresh(p);
    p->polls_left = SCAN_FIRST;
    if (p->unknown != UNKNOWN_WAIT)
        history_scan(p);
    r = h->api->http->serve(h, odto_config_str(p->config, "listen"), SERVICE, NULL, 0, NULL, 0, err);
    if (r < 0)
        return r;
    p->health = (odto_health){.ready = true};
    h->api->prefetch(h, p->route_created, p->prefetch);
    r = h->api->thread_start(h, "scheduler", scheduler_main, p, &p->thread);
    return r < 0 ? odto_fail(err, r, "no thread for the scheduler") : 0;
}

static int processor_start(void *self, odto_error *err)
{
    processor *p = self;
    int r = begin(p, err);
    if (r < 0)
        history_stop(p); /* the scheduler would have, as its last deed; its thread never ran */
    return r;
}

/* ---- end ---- */

static void processor_health(void *self, odto_health *out)
{
    processor *p = self;
    pthread_mutex_lock(&p->health_lock);
    *out = p->health;
    pthread_mutex_unlock(&p->health_lock);
}

static void processor_interrupt(void *self)
{
    processor *p = self;
    mailbox_wake(&p->box);
}

/* Part of the time to the deadline is kept for what still runs then: first it is asked to end, at last its
 * rows are given back without it. */
static void set_recall(processor *p, int64_t deadline_ns)
{
    int64_t left = deadline_ns - p->host->api->now(p->host);
    int64_t margin = left > 0 ? left * 3 / 10 : 0;
    if (margin > 3 * ODTO_SEC)
        margin = 3 * ODTO_SEC;
    atomic_store(&p->recall_at, deadline_ns - margin);
    atomic_store(&p->abandon_at, deadline_ns - margin / 3);
}

static int processor_quiesce(void *self, int64_t deadline_ns)
{
    processor *p = self;
    struct timespec until = {deadline_ns / ODTO_SEC, deadline_ns % ODTO_SEC};
    int r = 0;
    set_recall(p, deadline_ns);
    atomic_store(&p->phase, PHASE_DRAINING);
    mailbox_wake(&p->box);
    pthread_mutex_lock(&p->health_lock);
    while (!atomic_load(&p->idle) && r == 0)
        r = pthread_cond_timedwait(&p->idle_changed, &p->health_lock, &until);
    bool idle = atomic_load(&p->idle);
    pthread_mutex_unlock(&p->health_lock);
    return idle ? 0 : -ETIMEDOUT;
}

static void processor_stop(void *self)
{
    processor *p = self;
    atomic_store(&p->phase, PHASE_STOPPING);
    mailbox_wake(&p->box);
}

static void processor_fini(void *self)
{
    processor_free(self);
}

static const char *const consumes[] = {TOPIC_CREATED, NULL};
static const char *const produces[] = {TOPIC_COMPLETED, TOPIC_DEAD, NULL};

static const odto_plugin_ops ops = {
    .size = sizeof ops,
    .init = processor_init,
    .start = processor_start,
    .handle = intake_handle,
    .health = processor_health,
    .interrupt = processor_interrupt,
    .quiesce = processor_quiesce,
    .stop = processor_stop,
    .fini = processor_fini,
};

ODTO_PLUGIN_DEFINE("processor", VERSION_TEXT, ODTO_KIND_SERVICE,
                   .summary = "Executes jobs: durable rows, handlers, retries, completion events.",
                   .options = options, .n_options = sizeof options / sizeof options[0], .consumes = consumes,
                   .produces = produces, .ops = &ops);
