/* plugin.c — the mongo store as a plugin: options, start and stop, health. init() only keeps the
 * configuration; the server is asked from start() on, and need not be there then. */
#include "store_mongo.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const odto_option options[] = {
    {.name = "url",
     .type = ODTO_OPT_STRING,
     .default_value = "mongodb://127.0.0.1:27017",
     .flags = ODTO_OPTION_SECRET,
     .env = "MONGO_URL",
     .help =
         "The server or servers: mongodb://user:password@host:port/?authSource=admin, with the options of "
         "the MongoDB connection string (tls, replicaSet …)."},
    {.name = "database",
     .type = ODTO_OPT_STRING,
     .default_value = "observatory",
     .help = "The database of the event log."},
    {.name = "collection",
     .type = ODTO_OPT_STRING,
     .default_value = "job_events",
     .help = "The collection of the event log."},
    {.name = "keep_events",
     .type = ODTO_OPT_DURATION,
     .default_value = "0",
     .max = INT64_MAX,
     .help = "Delete events so long after they occurred; 0 keeps them for ever."},
    {.name = "timeout",
     .type = ODTO_OPT_DURATION,
     .default_value = "5s",
     .min = 100 * ODTO_MS,
     .max = 300 * ODTO_SEC,
     .help = "How long a connection or a reply may take before the server counts as away."},
    {.name = "max_batch",
     .type = ODTO_OPT_INT,
     .default_value = "1000",
     .min = 1,
     .max = 10000,
     .help = "At most so many events in one bulk."},
    {.name = "max_queue",
     .type = ODTO_OPT_INT,
     .default_value = "65536",
     .min = 1,
     .max = 16777216,
     .help = "At most so many events waiting; more are refused for the moment."},
};

static const write_queue_ops queue_ops = {
    .connect = mg_queue_connect,
    .apply = mg_queue_apply,
    .disconnect = mg_queue_disconnect,
    .upkeep = mg_queue_upkeep,
};

static mongoc_uri_t *uri_of(const odto_config *c, odto_error *err)
{
    mongoc_uri_t *uri =
        mg_uri_new(odto_config_str(c, "url"), (int)(odto_config_int(c, "timeout") / ODTO_MS), err);
    if (uri == NULL && err != NULL)
        odto_error_where(err, c->file, odto_config_get(c, "url")->line, odto_config_get(c, "url")->column);
    return uri;
}

static int check_config(const odto_config *c, odto_error *err)
{
    mongoc_uri_t *uri = uri_of(c, err);
    if (uri == NULL)
        return -EINVAL;
    mongoc_uri_destroy(uri);
    return 0;
}

static void fini(void *self)
{
    mg_store *s = self;
    write_queue_fini(&s->queue);
    pthread_cond_destroy(&s->pool_free);
    pthread_mutex_destroy(&s->pool_lock);
    if (s->uri != NULL)
        mongoc_uri_destroy(s->uri);
    s->magic = 0;
    free(s);
}

static int init(odto_host *h, const odto_config *c, void **self, odto_error *err)
{
    mg_store *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return odto_fail(err, -ENOMEM, "no memory for the store");
    s->magic = MG_MAGIC;
    s->host = h;
    s->config = c;
    s->database = odto_config_str(c, "database");
    s->collection = odto_config_str(c, "collection");
    s->keep_ms = odto_config_int(c, "keep_events") / ODTO_MS;
    s->queue = (write_queue){.host = h,
                             .what = s->what,
                             .ops = &queue_ops,
                             .store = s,
                             .max_queue = (size_t)odto_config_int(c, "max_queue"),
                             .max_batch = (size_t)odto_config_int(c, "max_batch")};
    if (write_queue_init(&s->queue) != 0 || pthread_mutex_init(&s->pool_lock, NULL) != 0 ||
        pthread_cond_init(&s->pool_free, NULL) != 0) {
        free(s);
        return odto_fail(err, -ENOMEM, "no memory for the locks of the store");
    }
    s->uri = uri_of(c, err);
    if (s->uri == NULL) {
        fini(s);
        return -EINVAL;
    }
    mg_uri_what(s->uri, s->what, sizeof(s->what));
    *self = s;
    return 0;
}

static int start(void *self, odto_error *err)
{
    mg_store *s = self;
    mongoc_init(); /* once a process, it sees to that itself */
    s->pool_closed = false;
    s->retain_at_ns = 0;
    return write_queue_start(&s->queue, s->config->instance, err);
}

static void health(void *self, odto_health *out)
{
    mg_store *s = self;
    write_queue_health(&s->queue, out);
}

static int quiesce(void *self, int64_t deadline_ns)
{
    mg_store *s = self;
    return write_queue_drain(&s->queue, deadline_ns);
}

static void stop(void *self)
{
    mg_store *s = self;
    write_queue_stop(&s->queue);
    mg_readers_close(s);
}

static const odto_plugin_ops ops = {
    .size = sizeof(ops),
    .check_config = check_config,
    .init = init,
    .start = start,
    .health = health,
    .quiesce = quiesce,
    .stop = stop,
    .fini = fini,
};

static const odto_events_ops events = {
    .size = sizeof(events),
    .append = mg_append,
    .list = mg_list,
    .after = mg_after,
    .count = mg_count,
    .scan = mg_scan,
};

static const odto_store_iface iface = {
    .size = sizeof(iface),
    .flags = ODTO_STORE_SHARED,
    .events = &events,
};

ODTO_PLUGIN_DEFINE("mongo", PACKAGE_VERSION, ODTO_KIND_STORE,
                   .summary = "The event log on a MongoDB server, one document an event.", .options = options,
                   .n_options = sizeof(options) / sizeof(options[0]), .ops = &ops, .store = &iface);
