/* plugin.c — the postgres store as a plugin: options, start and stop, health.
 *
 * init() only keeps the configuration (a probe calls it too); start() asks the host for the writer thread and
 * waits for its first attempt to connect. A server that is not there yet is no reason to fail: the store is
 * not ready until it comes. stop() lets the writer finish what was submitted, joins, closes. */
#include "store_postgres.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define START_WAIT (5 * ODTO_SEC)

static const odto_option options[] = {
    {.name = "url",
     .type = ODTO_OPT_STRING,
     .flags = ODTO_OPTION_SECRET | ODTO_OPTION_REQUIRED,
     .env = "POSTGRES_URL",
     .help =
         "Where the database is: postgresql://USER:PASSWORD@HOST:5432/DATABASE, with the parameters of libpq "
         "(sslmode=verify-full, sslrootcert=FILE, several hosts with commas)."},
    {.name = "commit_window",
     .type = ODTO_OPT_DURATION,
     .default_value = "0",
     .max = ODTO_SEC,
     .help = "Wait so long for more work before a commit; 0 commits as soon as the commit before has ended."},
    {.name = "max_batch",
     .type = ODTO_OPT_INT,
     .default_value = "1024",
     .min = 1,
     .max = 16384,
     .help = "At most so many operations in one transaction."},
    {.name = "max_queue",
     .type = ODTO_OPT_INT,
     .default_value = "65536",
     .min = 1,
     .max = 16777216,
     .help = "At most so many operations waiting; more are refused for the moment."},
    {.name = "keep_jobs",
     .type = ODTO_OPT_DURATION,
     .default_value = "0",
     .max = INT64_MAX,
     .help = "Delete jobs so long after they finished, also those of other services; 0 keeps them for ever."},
    {.name = "readers",
     .type = ODTO_OPT_INT,
     .default_value = "4",
     .min = 1,
     .max = PG_MAX_READERS,
     .help = "Connections for reading, opened when needed; writing has one of its own."},
    {.name = "connect_timeout",
     .type = ODTO_OPT_DURATION,
     .default_value = "5s",
     .min = 100 * ODTO_MS,
     .max = 60 * ODTO_SEC,
     .help = "Longest wait for a new connection."},
    {.name = "statement_timeout",
     .type = ODTO_OPT_DURATION,
     .default_value = "10s",
     .min = 100 * ODTO_MS,
     .max = 600 * ODTO_SEC,
     .help = "The server ends a statement after this time; a connection without an answer is given up 5 s "
             "later."},
};

static int monotonic_cond(pthread_cond_t *c)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    int rc = pthread_cond_init(c, &attr);
    pthread_condattr_destroy(&attr);
    return rc;
}

static void read_options(pg_store *s, const odto_config *c)
{
    pg_options *o = &s->opt;
    o->url = odto_config_str(c, "url");
    o->commit_window_ns = odto_config_int(c, "commit_window");
    o->keep_jobs_ms = odto_config_int(c, "keep_jobs") / ODTO_MS;
    o->connect_timeout_ns = odto_config_int(c, "connect_timeout");
    o->statement_timeout_ns = odto_config_int(c, "statement_timeout");
    o->max_batch = (uint32_t)odto_config_int(c, "max_batch");
    o->max_queue = (uint32_t)odto_config_int(c, "max_queue");
    o->readers = (uint32_t)odto_config_int(c, "readers");
}

static int check_config(const odto_config *c, odto_error *err)
{
    pg_store s = {0};
    return pg_parse_url(&s, odto_config_str(c, "url"), err);
}

/* Stable over restarts, different for two hosts: then what an earlier life left in the outbox is taken at
 * once.
 */
static void make_names(pg_store *s)
{
    const odto_config *c = s->config;
    char who[512];
    int n = snprintf(who, sizeof(who), "%s/%s/%s", c->host_name != NULL ? c->host_name : "", c->instance,
                     c->data_dir != NULL ? c->data_dir : "");
    s->holder = (int64_t)(odto_hash64(who, n < (int)sizeof(who) ? (size_t)n : sizeof(who) - 1) >> 1);
    snprintf(s->name, sizeof(s->name), "%s", c->instance);
    snprintf(s->session, sizeof(s->session), "odto writer %016llx", (unsigned long long)odto_random64());
}

static void make_metrics(pg_store *s)
{
    static const double seconds[] = {.0001, .00025, .0005, .001, .0025, .005, .01, .025,
                                     .05,   .1,     .25,   .5,   1,     2.5,  5,   10};
    static const double jobs[] = {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000};
    const odto_host_api *api = s->host->api;
    const char *store[] = {s->config->instance};
    s->commit_seconds = api->metric(s->host, ODTO_HISTOGRAM, "odto_store_commit_seconds",
                                    "Time of a transaction from begin to durable.", "store", store, seconds,
                                    sizeof(seconds) / sizeof(seconds[0]));
    s->batch_jobs =
        api->metric(s->host, ODTO_HISTOGRAM, "odto_store_batch_jobs", "Operations in one transaction.",
                    "store", store, jobs, sizeof(jobs) / sizeof(jobs[0]));
    s->failures = api->metric(s->host, ODTO_COUNTER, "odto_store_failures_total", "Transactions that failed.",
                              "store", store, NULL, 0);
    s->connects = api->metric(s->host, ODTO_COUNTER, "odto_store_connects_total",
                              "Attempts to connect to the server.", "store", store, NULL, 0);
    api->metric_fn(s->host, ODTO_GAUGE, "odto_store_queue_ops", "Operations waiting for a transaction.",
                   "store", store, pg_queue_depth, s);
}

static void fini(void *self)
{
    pg_store *s = self;
    pg_pool_destroy(&s->pool);
    pg_close(&s->w);
    pg_args_free(&s->args);
    pthread_cond_destroy(&s->drained);
    pthread_cond_destroy(&s->wake);
    pthread_mutex_destroy(&s->lock);
    s->magic = 0;
    free(s);
}

static int init(odto_host *h, const odto_config *c, void **self, odto_error *err)
{
    pg_store *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return odto_fail(err, -ENOMEM, "no memory for the store");
    s->magic = PG_MAGIC;
    s->host = h;
    s->config = c;
    read_options(s, c);
    make_names(s);
    int code = pg_parse_url(s, s->opt.url, err);
    if (code == 0 && (pthread_mutex_init(&s->lock, NULL) != 0 || monotonic_cond(&s->wake) != 0 ||
                      monotonic_cond(&s->drained) != 0 || pg_pool_init(&s->pool, s->opt.readers) != 0))
        code = odto_fail(err, -ENOMEM, "no memory for the locks of the store");
    if (code != 0) {
        free(s);
        return code;
    }
    *self = s;
    return 0;
}

/* The result of the writer's first attempt to connect, 0 when it has none in time. */
static int first_attempt(pg_store *s, odto_error *err)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += START_WAIT / ODTO_SEC;
    int rc = 0, code = 0;
    pthread_mutex_lock(&s->lock);
    while (!s->tried && rc == 0)
        rc = pthread_cond_timedwait(&s->drained, &s->lock, &at);
    if (s->tried) {
        code = s->first_result;
        if (err != NULL)
            *err = s->first_error;
    }
    pthread_mutex_unlock(&s->lock);
    return code;
}

static void stop(void *self);

static int start(void *self, odto_error *err)
{
    pg_store *s = self;
    odto_error why = {0};
    make_metrics(s);
    s->stopping = s->busy = s->tried = s->in_doubt = s->retaining = false;
    snprintf(s->away, sizeof(s->away), "%.120s: connecting", s->where);
    s->upkeep_ns = s->retain_ns = 0;
    pthread_mutex_lock(&s->lock);
    s->running = true;
    pthread_mutex_unlock(&s->lock);
    int code = s->host->api->thread_start(s->host, "writer", pg_writer_main, s, &s->writer_thread);
    if (code != 0) {
        s->running = false;
        return odto_fail(err, code, "no thread for the store: %s", strerror(-code));
    }
    code = first_attempt(s, &why);
    if (code != -EPROTO) /* anything else may become good by itself */
        return 0;
    stop(s);
    if (err != NULL)
        *err = why;
    return code;
}

static void health(void *self, odto_health *out)
{
    pg_store *s = self;
    pthread_mutex_lock(&s->lock);
    out->ready = s->running && !s->stopping && s->away[0] == '\0';
    if (!out->ready)
        snprintf(out->reason, sizeof(out->reason), "%s",
                 s->away[0] != '\0' ? s->away : "the store is stopped");
    pthread_mutex_unlock(&s->lock);
}

static void interrupt(void *self)
{
    pg_store *s = self;
    pthread_mutex_lock(&s->lock);
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
}

static int quiesce(void *self, int64_t deadline_ns)
{
    return pg_writer_drain(self, deadline_ns);
}

static void stop(void *self)
{
    pg_store *s = self;
    pthread_mutex_lock(&s->lock);
    bool running = s->running;
    pthread_mutex_unlock(&s->lock);
    if (!running)
        return;
    pg_writer_stop(s);
    s->host->api->thread_join(s->host, s->writer_thread);
    pthread_mutex_lock(&s->lock);
    s->running = false;
    pthread_mutex_unlock(&s->lock);
    pg_pool_close(&s->pool);
}

static void release(void *store, odto_jobs_batch *b)
{
    (void)store;
    arena_free(&b->mem);
}

static const odto_plugin_ops ops = {
    .size = sizeof(ops),
    .check_config = check_config,
    .init = init,
    .start = start,
    .health = health,
    .interrupt = interrupt,
    .quiesce = quiesce,
    .stop = stop,
    .fini = fini,
};

static const odto_jobs_ops jobs = {
    .size = sizeof(jobs),
    .submit = pg_submit_jobs,
    .release = release,
    .get = pg_jobs_get,
    .attempts = pg_jobs_attempts,
    .list = pg_jobs_list,
    .stats = pg_jobs_stats,
};

static const odto_store_iface iface = {
    .size = sizeof(iface),
    .flags = ODTO_STORE_SHARED,
    .jobs = &jobs,
};

ODTO_PLUGIN_DEFINE("postgres", "0.1.0", ODTO_KIND_STORE,
                   .summary = "Jobs in PostgreSQL, shared by several hosts, with group commit.",
                   .options = options, .n_options = sizeof(options) / sizeof(options[0]), .ops = &ops,
                   .store = &iface);
