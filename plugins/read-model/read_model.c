/* read_model.c — descriptor, options and life of the read model; see read_model.h. */
#include "read_model.h"
#include "../common/docs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const odto_option options[] = {
    {.name = "listen",
     .type = ODTO_OPT_ADDRESS,
     .default_value = "127.0.0.1:8080",
     .help = "Address of the HTTP listener."},
    {.name = "jobs",
     .type = ODTO_OPT_STORE,
     .default_value = "main",
     .min = ODTO_ROLE_JOBS,
     .help = "The store of the jobs."},
    {.name = "counters",
     .type = ODTO_OPT_STORE,
     .default_value = "main",
     .min = ODTO_ROLE_COUNTERS,
     .help = "The store of the counters."},
    {.name = "events",
     .type = ODTO_OPT_STORE,
     .default_value = "main",
     .min = ODTO_ROLE_EVENTS,
     .help = "The store of the event log."},
    {.name = "cors",
     .type = ODTO_OPT_STRING,
     .default_value = "*",
     .help = "Access-Control-Allow-Origin of every answer; empty: none."},
    {.name = "max_streams",
     .type = ODTO_OPT_INT,
     .default_value = "64",
     .min = 0,
     .max = 4096,
     .help = "Event streams (GET /events/stream) that may be open at once."},
    {.name = "stream_poll",
     .type = ODTO_OPT_DURATION,
     .default_value = "50ms",
     .min = ODTO_MS,
     .max = 60 * ODTO_SEC,
     .help = "How often the event log is asked for new events while streams are open."},
    {.name = "webhook_user",
     .type = ODTO_OPT_STRING,
     .default_value = "alertmanager",
     .help = "User of POST /webhook/alerts."},
    {.name = "webhook_password",
     .type = ODTO_OPT_STRING,
     .flags = ODTO_OPTION_SECRET,
     .help = "Password of POST /webhook/alerts; without one the webhook is closed."},
    {.name = "webhook_body",
     .type = ODTO_OPT_SIZE,
     .default_value = "1m",
     .min = 1024,
     .max = 64 << 20,
     .help = "Longest body of POST /webhook/alerts."},
    {.name = "alerts_kept",
     .type = ODTO_OPT_INT,
     .default_value = "200",
     .min = 1,
     .max = 10000,
     .help = "Alerts kept for GET /alerts."},
};

static void openapi(void *self, odto_http_request *rq)
{
    docs_openapi(((read_model *)self)->host->api->http, rq, "read-model");
}

static void docs(void *self, odto_http_request *rq)
{
    docs_page(((read_model *)self)->host->api->http, rq);
}

static void docs_file(void *self, odto_http_request *rq)
{
    docs_asset(((read_model *)self)->host->api->http, rq);
}

/* QUICK: on the event loop where the stores answer at once, else on a blocking worker. */
#define QUICK 0x80000000u
static const odto_http_route get_routes[] = {
    {"GET", "/health", 0, health_get, NULL},
    {"GET", "/stats", QUICK, stats_get, NULL},
    {"GET", "/jobs/recent", ODTO_HTTP_BLOCKING, jobs_recent, NULL},
    {"GET", "/jobs", ODTO_HTTP_BLOCKING, jobs_list, NULL},
    {"GET", "/jobs/{id}", ODTO_HTTP_BLOCKING, job_get, NULL},
    {"GET", "/events", ODTO_HTTP_BLOCKING, events_list, NULL},
    {"GET", "/events/stream", ODTO_HTTP_BLOCKING, events_stream, NULL},
    {"GET", "/alerts", ODTO_HTTP_BLOCKING, alerts_get, NULL},
    {"GET", "/openapi.json", 0, openapi, NULL},
    {"GET", "/docs", 0, docs, NULL},
    {"GET", "/docs/{file}", 0, docs_file, NULL},
};
static const odto_http_route post_routes[] = {
    {"POST", "/webhook/alerts", ODTO_HTTP_BLOCKING, alerts_post, NULL},
};
static const odto_http_route rebuild_routes[] = {
    {"POST", "/stats/rebuild", ODTO_HTTP_BLOCKING, stats_rebuild, NULL},
};
#define N_GET (sizeof get_routes / sizeof *get_routes)

static void fini(void *self)
{
    read_model *rm = self;
    watch_free(rm->watch);
    alerts_free(rm->alerts);
    free(rm);
}

static int init(odto_host *h, const odto_config *c, void **self, odto_error *err)
{
    read_model *rm = calloc(1, sizeof *rm);
    if (!rm)
        return odto_fail(err, -ENOMEM, "no memory for the read model");
    rm->host = h;
    rm->config = c;
    int rc = watch_new(rm, &rm->watch, err);
    if (rc == 0)
        rc = alerts_new(rm, &rm->alerts, err);
    if (rc != 0) {
        fini(rm);
        return rc;
    }
    *self = rm;
    return 0;
}

static int find_stores(read_model *rm, odto_error *err)
{
    const odto_host_api *api = rm->host->api;
    int rc = api->store(rm->host, "jobs", &rm->jobs, err);
    if (rc == 0)
        rc = api->store(rm->host, "counters", &rm->counters, err);
    if (rc == 0)
        rc = api->store(rm->host, "events", &rm->events, err);
    if (rc == 0)
        rm->quick = (rm->jobs.iface->flags & rm->counters.iface->flags & ODTO_STORE_FAST_STATS) != 0;
    return rc;
}

static int serve(read_model *rm, odto_error *err)
{
    const odto_http_api *http = rm->host->api->http;
    const char *listen = odto_config_str(rm->config, "listen"), *cors = odto_config_str(rm->config, "cors");
    if (cors && !*cors)
        cors = NULL;
    for (size_t i = 0; i < N_GET; i++) {
        rm->routes[i] = get_routes[i];
        rm->routes[i].flags &= ~QUICK;
        if ((get_routes[i].flags & QUICK) && !rm->quick)
            rm->routes[i].flags |= ODTO_HTTP_BLOCKING;
    }
    /* without cors: for no page of another origin */
    int rc = http->serve(rm->host, listen, "read-model", rebuild_routes, 1, NULL, 1024, err);
    if (rc == 0)
        rc = http->serve(rm->host, listen, "read-model", rm->routes, N_GET, cors, 16 * 1024, err);
    if (rc == 0)
        rc =
            http->serve(rm->host, listen, "read-model", post_routes, sizeof post_routes / sizeof *post_routes,
                        cors, (size_t)odto_config_int(rm->config, "webhook_body"), err);
    return rc;
}

static int start(void *self, odto_error *err)
{
    read_model *rm = self;
    int rc = find_stores(rm, err);
    if (rc == 0)
        rc = watch_start(rm->watch, err);
    return rc == 0 ? serve(rm, err) : rc;
}

static void health(void *self, odto_health *out)
{
    watch_health(((read_model *)self)->watch, out);
}

static int save(void *self, uint32_t *version, odto_buf *blob, odto_error *err)
{
    read_model *rm = self;
    *version = 1;
    alerts_write(rm->alerts, blob);
    return blob->failed ? odto_fail(err, -ENOMEM, "no memory to save the alerts") : 0;
}

static int restore(void *self, uint32_t version, odto_slice blob, odto_error *err)
{
    read_model *rm = self;
    if (version != 1) /* another version's alerts are not worth a failed reload: Alertmanager repeats them */
        return 0;
    return alerts_restore(rm->alerts, blob, err);
}

/* Event streams end here: their clients come back to the next generation with Last-Event-ID. */
static int quiesce(void *self, int64_t deadline_ns)
{
    return watch_quiesce(((read_model *)self)->watch, deadline_ns);
}

static void stop(void *self)
{
    watch_stop(((read_model *)self)->watch);
}

static const odto_plugin_ops ops = {
    .size = sizeof ops,
    .init = init,
    .restore = restore,
    .start = start,
    .health = health,
    .quiesce = quiesce,
    .save = save,
    .stop = stop,
    .fini = fini,
};

ODTO_PLUGIN_DEFINE("read-model", PACKAGE_VERSION, ODTO_KIND_SERVICE,
                   .summary = "Answers questions about jobs over HTTP: statistics, lists, events, alerts.",
                   .options = options, .n_options = sizeof options / sizeof *options, .ops = &ops);
