/* plugin.c — the sqlite store as a plugin: options, start and stop, health.
 *
 * init() only keeps the configuration (a probe calls it too); start() opens the database and asks the host
 * for the writer and the checkpointer thread; stop() lets the writer finish what was submitted, joins,
 * closes. */
#include "store_sqlite.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const odto_option options[] = {
    {.name = "path",
     .type = ODTO_OPT_PATH,
     .help = "The database file; by default odto.db in the data directory. On a local disk."},
    {.name = "sync",
     .type = ODTO_OPT_ENUM,
     .choices = "full|off",
     .default_value = "full",
     .help = "full: a commit is on the disk before it is confirmed; off: power loss may cost the last "
             "seconds, a crash of the host costs nothing."},
    {.name = "commit_window",
     .type = ODTO_OPT_DURATION,
     .default_value = "0",
     .max = ODTO_SEC,
     .help = "Wait so long for more work before a commit; 0 commits as soon as the commit before has ended."},
    {.name = "max_batch",
     .type = ODTO_OPT_INT,
     .default_value = "1024",
     .min = 1,
     .max = 65536,
     .help = "At most so many operations of a kind in one transaction."},
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
     .help = "Delete jobs so long after they finished; 0 keeps them for ever."},
    {.name = "keep_events",
     .type = ODTO_OPT_DURATION,
     .default_value = "0",
     .max = INT64_MAX,
     .help =
         "Delete events so long after they occurred; 0 keeps them for ever. An event delivered again after "
         "that time counts again."},
    {.name = "cache",
     .type = ODTO_OPT_SIZE,
     .default_value = "4m",
     .min = 65536,
     .max = INT64_C(4) << 30,
     .help = "Memory for pages of the writer; each reader has 512k."},
    {.name = "wal_limit",
     .type = ODTO_OPT_SIZE,
     .default_value = "32m",
     .min = 1 << 20,
     .max = INT64_C(4) << 30,
     .help = "Size of the write-ahead log at which it is moved into the database."},
    {.name = "readers",
     .type = ODTO_OPT_INT,
     .default_value = "4",
     .min = 1,
     .max = SQ_MAX_READERS,
     .help = "Connections for reading, opened when needed."},
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

static int read_options(sq_store *s, const odto_config *c)
{
    sq_options *o = &s->opt;
    const char *path = odto_config_str(c, "path");
    int n = path != NULL && path[0] != '\0' ? asprintf(&o->path, "%s", path)
                                            : asprintf(&o->path, "%s/odto.db", c->data_dir);
    if (n < 0) {
        o->path = NULL;
        return -ENOMEM;
    }
    o->sync = odto_config_int(c, "sync") == 0;
    o->commit_window_ns = odto_config_int(c, "commit_window");
    o->keep_jobs_ms = odto_config_int(c, "keep_jobs") / ODTO_MS;
    o->keep_events_ms = odto_config_int(c, "keep_events") / ODTO_MS;
    o->cache_bytes = odto_config_int(c, "cache");
    o->wal_bytes = odto_config_int(c, "wal_limit");
    o->max_batch = (uint32_t)odto_config_int(c, "max_batch");
    o->max_queue = (uint32_t)odto_config_int(c, "max_queue");
    o->readers = (uint32_t)odto_config_int(c, "readers");
    return 0;
}

static void make_metrics(sq_store *s)
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
    api->metric_fn(s->host, ODTO_GAUGE, "odto_store_queue_ops", "Operations waiting for a transaction.",
                   "store", store, sq_queue_depth, s);
}

static void fini(void *self)
{
    sq_store *s = self;
    sq_readers_destroy(&s->readers);
    pthread_mutex_destroy(&s->stats_lock);
    pthread_cond_destroy(&s->checkpoint_wake);
    pthread_cond_destroy(&s->drained);
    pthread_cond_destroy(&s->wake);
    pthread_mutex_destroy(&s->lock);
    free(s->opt.path);
    s->magic = 0;
    free(s);
}

static int init(odto_host *h, const odto_config *c, void **self, odto_error *err)
{
    sq_store *s = calloc(1, sizeof(*s));
    if (s == NULL || read_options(s, c) != 0) {
        free(s);
        return odto_fail(err, -ENOMEM, "no memory for the store");
    }
    s->magic = SQ_MAGIC;
    s->host = h;
    s->config = c;
    s->lock_fd = -1;
    if (pthread_mutex_init(&s->lock, NULL) != 0 || pthread_mutex_init(&s->stats_lock, NULL) != 0 ||
        monotonic_cond(&s->wake) != 0 || monotonic_cond(&s->drained) != 0 ||
        monotonic_cond(&s->checkpoint_wake) != 0 || sq_readers_init(&s->readers, s->opt.readers) != 0) {
        free(s->opt.path);
        free(s);
        return odto_fail(err, -ENOMEM, "no memory for the locks of the store");
    }
    *self = s;
    return 0;
}

static int first_body(sq_store *s, void *arg)
{
    (void)arg;
    s->pending_changed = true; /* so that the ages are read */
    return SQLITE_OK;
}

static int start(void *self, odto_error *err)
{
    sq_store *s = self;
    make_metrics(s);
    int code = sq_schema_open(s, err);
    if (code != 0)
        return code;
    s->stopping = s->busy = s->retaining = false;
    s->retain_next_ms = 0;
    s->away[0] = '\0';
    sq_checkpoint_watch(s);
    code = sq_transaction(s, first_body, NULL);
    if (code != 0)
        odto_fail(err, code, "%s: the first transaction failed: %s", s->opt.path, s->away);
    if (code == 0)
        code = sq_conn_open(s, &s->c, 256 * 1024, false, err);
    if (code != 0) {
        sq_schema_close(s);
        return code;
    }
    pthread_mutex_lock(&s->lock);
    s->running = true;
    pthread_mutex_unlock(&s->lock);
    code = s->host->api->thread_start(s->host, "writer", sq_writer_main, s, &s->writer_thread);
    if (code == 0) {
        code =
            s->host->api->thread_start(s->host, "checkpoint", sq_checkpoint_main, s, &s->checkpoint_thread);
        if (code == 0)
            return 0;
        sq_writer_stop(s);
        s->host->api->thread_join(s->host, s->writer_thread);
    }
    s->running = false;
    sq_schema_close(s);
    return odto_fail(err, code, "no thread for the store: %s", strerror(-code));
}

static void health(void *self, odto_health *out)
{
    sq_store *s = self;
    pthread_mutex_lock(&s->lock);
    out->ready = s->running && !s->stopping && s->away[0] == '\0';
    if (!out->ready)
        snprintf(out->reason, sizeof(out->reason), "%s",
                 s->away[0] != '\0' ? s->away : "the store is stopped");
    pthread_mutex_unlock(&s->lock);
}

static void interrupt(void *self)
{
    sq_store *s = self;
    pthread_mutex_lock(&s->lock);
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
}

static int quiesce(void *self, int64_t deadline_ns)
{
    return sq_writer_drain(self, deadline_ns);
}

static void stop(void *self)
{
    sq_store *s = self;
    pthread_mutex_lock(&s->lock);
    bool running = s->running;
    pthread_mutex_unlock(&s->lock);
    if (!running)
        return;
    sq_writer_stop(s);
    s->host->api->thread_join(s->host, s->writer_thread);
    s->host->api->thread_join(s->host, s->checkpoint_thread);
    pthread_mutex_lock(&s->lock);
    s->running = false;
    pthread_mutex_unlock(&s->lock);
    sq_readers_close(&s->readers);
    sq_schema_close(s);
}

static void release(void *store, odto_jobs_batch *b)
{
    (void)store;
    arena_free(&b->mem);
}

static const odto_plugin_ops ops = {
    .size = sizeof(ops),
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
    .submit = sq_submit_jobs,
    .release = release,
    .get = sq_jobs_get,
    .attempts = sq_jobs_attempts,
    .list = sq_jobs_list,
    .stats = sq_jobs_stats,
};

static const odto_counters_ops counters = {
    .size = sizeof(counters),
    .add = sq_submit_count,
    .read = sq_counters_read,
    .set = sq_counters_set,
};

static const odto_events_ops events = {
    .size = sizeof(events),
    .append = sq_submit_append,
    .append_counted = sq_submit_append_counted,
    .list = sq_events_list,
    .after = sq_events_after,
    .count = sq_events_count,
    .scan = sq_events_scan,
    .recount = sq_events_recount,
};

static const odto_store_iface iface = {
    .size = sizeof(iface),
    .flags = ODTO_STORE_FAST_STATS,
    .jobs = &jobs,
    .counters = &counters,
    .events = &events,
};

ODTO_PLUGIN_DEFINE("sqlite", "0.1.0", ODTO_KIND_STORE, .flags = ODTO_PLUGIN_EXCLUSIVE,
                   .summary = "Jobs, counters and events in one SQLite file with group commit.",
                   .options = options, .n_options = sizeof(options) / sizeof(options[0]), .ops = &ops,
                   .store = &iface);
