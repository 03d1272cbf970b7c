/* gateway.c — descriptor, options and life of the gateway; see gateway.h. */
#include "gateway.h"
#include "../common/docs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const odto_option options[] = {
    {.name = "listen",
     .type = ODTO_OPT_ADDRESS,
     .default_value = "127.0.0.1:3000",
     .help = "Address of the HTTP listener."},
    {.name = "max_body",
     .type = ODTO_OPT_SIZE,
     .default_value = "100k",
     .min = 256,
     .max = 64 << 20,
     .help = "Longest body of one job; longer ones are answered 413."},
    {.name = "max_depth",
     .type = ODTO_OPT_INT,
     .default_value = "32",
     .min = 2,
     .max = ODTO_JOB_DEPTH_MAX,
     .help = "Deepest nesting of arrays and objects in a job."},
    {.name = "max_types",
     .type = ODTO_OPT_INT,
     .default_value = "64",
     .min = 0,
     .max = 900,
     .help =
         "Job types that get a label of their own in metrics besides those with a handler; the others are "
         "counted as \"other\"."},
    {.name = "max_pending",
     .type = ODTO_OPT_INT,
     .default_value = "16384",
     .min = 1,
     .max = 1 << 20,
     .help = "Requests that may wait for their event to become durable; more are answered 503."},
    {.name = "batch_max",
     .type = ODTO_OPT_INT,
     .default_value = "1000",
     .min = 1,
     .max = GATEWAY_BATCH_LIMIT,
     .help = "Most jobs in one POST /v1/jobs/batch."},
    {.name = "batch_body",
     .type = ODTO_OPT_SIZE,
     .default_value = "4m",
     .min = 256,
     .max = 256 << 20,
     .help = "Longest body of a batch."},
    {.name = "retry_after",
     .type = ODTO_OPT_DURATION,
     .default_value = "1s",
     .min = ODTO_SEC,
     .max = 3600 * ODTO_SEC,
     .help = "What Retry-After says when a job can't be taken now."},
    {.name = "alertmanager_url",
     .type = ODTO_OPT_URL,
     .default_value = "http://127.0.0.1:9093",
     .env = "ALERTMANAGER_URL",
     .help = "Where GET /proxy/alerts asks."},
    {.name = "prometheus_url",
     .type = ODTO_OPT_URL,
     .default_value = "http://127.0.0.1:9090",
     .env = "PROMETHEUS_URL",
     .help = "Where GET /proxy/targets asks."},
    {.name = "proxy_timeout",
     .type = ODTO_OPT_DURATION,
     .default_value = "5s",
     .min = 10 * ODTO_MS,
     .max = 60 * ODTO_SEC,
     .help = "Longest wait for Alertmanager or Prometheus."},
    {.name = "proxy_body",
     .type = ODTO_OPT_SIZE,
     .default_value = "4m",
     .min = 1024,
     .max = 64 << 20,
     .help = "Longest answer taken from Alertmanager or Prometheus."},
};

/* ---- pools ------------------------------------------------------------------------------------- */

scratch *gateway_scratch(gateway *g)
{
    pthread_mutex_lock(&g->lock);
    scratch *s = g->free_scratch;
    if (s)
        g->free_scratch = s->next;
    pthread_mutex_unlock(&g->lock);
    return s ? s : calloc(1, sizeof *s);
}

void gateway_scratch_done(gateway *g, scratch *s)
{
    enum { KEEP = 256 * 1024 };
    if (s->job.cap > KEEP)
        odto_buf_free(&s->job);
    if (s->envelope.cap > KEEP)
        odto_buf_free(&s->envelope);
    pthread_mutex_lock(&g->lock);
    s->next = g->free_scratch;
    g->free_scratch = s;
    pthread_mutex_unlock(&g->lock);
}

/* Holding the lock. */
static bool pending_grow(gateway *g)
{
    pending_slab *slab = malloc(sizeof *slab);
    if (!slab)
        return false;
    slab->next = g->slabs;
    g->slabs = slab;
    for (size_t i = 0; i < PENDING_SLAB; i++) {
        slab->items[i].next = g->free_pending;
        g->free_pending = &slab->items[i];
    }
    return true;
}

pending *gateway_pending(gateway *g)
{
    pending *p = NULL;
    pthread_mutex_lock(&g->lock);
    if (g->n_pending < g->max_pending && (g->free_pending || pending_grow(g))) {
        p = g->free_pending;
        g->free_pending = p->next;
        g->n_pending++;
        p->g = g;
    }
    pthread_mutex_unlock(&g->lock);
    return p;
}

void gateway_pending_done(gateway *g, pending *p)
{
    pthread_mutex_lock(&g->lock);
    p->next = g->free_pending;
    g->free_pending = p;
    if (--g->n_pending == 0)
        pthread_cond_broadcast(&g->idle);
    pthread_mutex_unlock(&g->lock);
}

bool gateway_flight(gateway *g, int change)
{
    pthread_mutex_lock(&g->lock);
    bool ok = change < 0 || g->n_pending < g->max_pending;
    if (ok)
        g->n_pending += (uint32_t)change;
    if (g->n_pending == 0)
        pthread_cond_broadcast(&g->idle);
    pthread_mutex_unlock(&g->lock);
    return ok;
}

/* ---- readiness --------------------------------------------------------------------------------- */

/* After the disk refused an event, not ready for this long; then requests may try again. */
#define DISK_HOLD (2 * ODTO_SEC)

void gateway_publish_ended(gateway *g, int rc)
{
    /* A hint for health(): relaxed, it orders nothing. */
    if (rc == 0 && __atomic_load_n(&g->disk_failed_ns, __ATOMIC_RELAXED) == 0)
        return;
    bool disk = rc == -ENOSPC || rc == -EIO;
    if (rc != 0 && !disk)
        return;
    if (disk)
        __atomic_store_n(&g->disk_error, -rc, __ATOMIC_RELAXED);
    __atomic_store_n(&g->disk_failed_ns, disk ? g->host->api->now(g->host) : 0, __ATOMIC_RELAXED);
    g->host->api->health_changed(g->host);
}

static void health(void *self, odto_health *out)
{
    gateway *g = self;
    odto_route_stats stats = {0};
    out->ready = false;
    if (!g->created) {
        snprintf(out->reason, sizeof out->reason, "no route carries jobs.created");
        return;
    }
    int64_t failed = __atomic_load_n(&g->disk_failed_ns, __ATOMIC_RELAXED); /* a hint */
    if (failed && g->host->api->now(g->host) - failed < DISK_HOLD) {
        snprintf(out->reason, sizeof out->reason, "the disk under the route jobs.created refuses writes: %s",
                 strerror(__atomic_load_n(&g->disk_error, __ATOMIC_RELAXED))); /* a hint as well */
        return;
    }
    if (g->host->api->publish(g->host, g->created, NULL, 0, 0, NULL, NULL) == -ENOTCONN) {
        snprintf(out->reason, sizeof out->reason,
                 "the broker of the route jobs.created is away or refuses it, and the route has no spool");
        return;
    }
    g->host->api->route_stats(g->created, &stats);
    if (stats.capacity > 0 && stats.depth >= stats.capacity) {
        snprintf(out->reason, sizeof out->reason, "the route jobs.created is full (%llu events wait)",
                 (unsigned long long)stats.depth);
        return;
    }
    out->ready = true;
}

/* ---- life -------------------------------------------------------------------------------------- */

static void fini(void *self)
{
    gateway *g = self;
    proxy_free(g->proxy);
    types_free(&g->types);
    odto_schema_free(g->job_schema);
    for (scratch *s = g->free_scratch, *next; s; s = next) {
        next = s->next;
        odto_buf_free(&s->job);
        odto_buf_free(&s->envelope);
        free(s);
    }
    for (pending_slab *s = g->slabs, *next; s; s = next) {
        next = s->next;
        free(s);
    }
    pthread_cond_destroy(&g->idle);
    pthread_mutex_destroy(&g->lock);
    g->magic = 0;
    free(g);
}

static void read_options(gateway *g, const odto_config *c)
{
    g->max_depth = (int)odto_config_int(c, "max_depth");
    g->batch_max = (size_t)odto_config_int(c, "batch_max");
    g->max_pending = (uint32_t)odto_config_int(c, "max_pending");
    g->retry_after_s = (int)(odto_config_int(c, "retry_after") / ODTO_SEC);
    snprintf(g->instance_id, sizeof g->instance_id, "%s/%s", c->host_name, c->instance);
    g->producer = (odto_producer){"gateway", g->instance_id, PACKAGE_VERSION};
}

static int init(odto_host *h, const odto_config *c, void **self, odto_error *err)
{
    gateway *g = calloc(1, sizeof *g);
    if (!g)
        return odto_fail(err, -ENOMEM, "no memory for the gateway");
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&g->idle, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&g->lock, NULL);
    g->magic = GATEWAY_MAGIC;
    g->host = h;
    g->config = c;
    read_options(g, c);
    int rc = odto_schema_compile_builtin("job", &g->job_schema, err);
    if (rc == 0)
        rc = proxy_new(c, h, &g->proxy, err);
    if (rc != 0) {
        fini(g);
        return rc;
    }
    *self = g;
    return 0;
}

static void openapi(void *self, odto_http_request *rq)
{
    gateway *g = self;
    docs_openapi(g->host->api->http, rq, "gateway");
}

static void docs(void *self, odto_http_request *rq)
{
    docs_page(((gateway *)self)->host->api->http, rq);
}

static void docs_file(void *self, odto_http_request *rq)
{
    docs_asset(((gateway *)self)->host->api->http, rq);
}

static const odto_http_route job_routes[] = {
    {"POST", "/jobs", 0, jobs_post, NULL},
    {"POST", "/v1/jobs", 0, jobs_post_v1, NULL},
    {"GET", "/proxy/alerts", ODTO_HTTP_BLOCKING, proxy_alerts, NULL},
    {"GET", "/proxy/targets", ODTO_HTTP_BLOCKING, proxy_targets, NULL},
    {"GET", "/openapi.json", 0, openapi, NULL},
    {"GET", "/docs", 0, docs, NULL},
    {"GET", "/docs/{file}", 0, docs_file, NULL},
};
static const odto_http_route batch_routes[] = {
    {"POST", "/v1/jobs/batch", ODTO_HTTP_BLOCKING, batch_post, NULL},
};

static int start(void *self, odto_error *err)
{
    gateway *g = self;
    const odto_host_api *api = g->host->api;
    g->created = api->route(g->host, "jobs.created");
    if (!g->created) {
        odto_fail(err, -ENOENT, "no route carries the topic jobs.created");
        odto_error_hint(err, "add a section [route jobs.created] to the manifest");
        return -ENOENT;
    }
    g->accepted = api->metric(g->host, ODTO_COUNTER, "gateway_jobs_accepted_total",
                              "Jobs answered 202: their event is durable.", NULL, NULL, NULL, 0);
    if (!g->accepted)
        return odto_fail(err, -ENOMEM, "no memory for the gateway's metrics");
    types_free(&g->types); /* a generation whose successor failed is started again */
    int rc = types_init(&g->types, g->host, (size_t)odto_config_int(g->config, "max_types"), err);
    if (rc != 0)
        return rc;
    const char *listen = odto_config_str(g->config, "listen");
    rc = api->http->serve(g->host, listen, "gateway", job_routes, sizeof job_routes / sizeof *job_routes,
                          NULL, (size_t)odto_config_int(g->config, "max_body"), err);
    if (rc != 0)
        return rc;
    return api->http->serve(g->host, listen, "gateway", batch_routes,
                            sizeof batch_routes / sizeof *batch_routes, NULL,
                            (size_t)odto_config_int(g->config, "batch_body"), err);
}

/* The host sends no more requests; those whose publish is under way are waited for. */
static int quiesce(void *self, int64_t deadline_ns)
{
    gateway *g = self;
    struct timespec until = {deadline_ns / ODTO_SEC, deadline_ns % ODTO_SEC};
    int rc = 0;
    pthread_mutex_lock(&g->lock);
    while (g->n_pending > 0 && rc == 0)
        rc = pthread_cond_timedwait(&g->idle, &g->lock, &until);
    rc = g->n_pending > 0 ? -ETIMEDOUT : 0;
    pthread_mutex_unlock(&g->lock);
    return rc;
}

static const char *const produces[] = {"jobs.created", NULL};
static const odto_plugin_ops ops = {
    .size = sizeof ops,
    .init = init,
    .start = start,
    .health = health,
    .quiesce = quiesce,
    .fini = fini,
};

ODTO_PLUGIN_DEFINE("gateway", PACKAGE_VERSION, ODTO_KIND_SERVICE,
                   .summary = "Accepts jobs over HTTP and answers when they are durable.", .options = options,
                   .n_options = sizeof options / sizeof *options, .produces = produces, .ops = &ops);
