/* web.c — descriptor, options and life of the web plugin; see web.h. */
#include "web.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const odto_option options[] = {
    {.name = "listen",
     .type = ODTO_OPT_ADDRESS,
     .default_value = "127.0.0.1:8081",
     .help = "Address of the HTTP listener."},
    {.name = "broker_url",
     .type = ODTO_OPT_STRING,
     .default_value = "ws://127.0.0.1:9000/ws",
     .env = "PTY_BROKER_URL",
     .help = "The terminal broker that /ws leads to, ws://HOST:PORT/PATH."},
    {.name = "read_model_url",
     .type = ODTO_OPT_URL,
     .default_value = "http://127.0.0.1:8080",
     .env = "READ_MODEL_URL",
     .help = "The read model that /api/ leads to, http://HOST:PORT."},
    {.name = "origins",
     .type = ODTO_OPT_LIST,
     .default_value = "",
     .help = "Origins that may open a terminal besides the page itself under an address, localhost or a name "
             "without a dot: https://odto.example.org, or * for all."},
    {.name = "trusted_proxies",
     .type = ODTO_OPT_LIST,
     .default_value = "",
     .help = "Addresses of proxies in front whose X-Forwarded-For is believed and prolonged, or * for all."},
    {.name = "max_terminals",
     .type = ODTO_OPT_INT,
     .default_value = "100",
     .min = 1,
     .max = 1000,
     .help = "Terminals that may be connected at once; beyond: 503."},
    {.name = "max_requests",
     .type = ODTO_OPT_INT,
     .default_value = "64",
     .min = 1,
     .max = 1000,
     .help = "Requests to the read model that may be under way at once, streams included; beyond: 503."},
    {.name = "api_timeout",
     .type = ODTO_OPT_DURATION,
     .default_value = "10s",
     .min = 100 * ODTO_MS,
     .max = 300 * ODTO_SEC,
     .help = "How long an answer of the read model may take; beyond: 504."},
    {.name = "api_body",
     .type = ODTO_OPT_SIZE,
     .default_value = "8m",
     .min = 1024,
     .max = 256 << 20,
     .help = "Longest answer of the read model that is passed on."},
};

static void health_get(void *self, odto_http_request *rq)
{
    static const odto_http_header headers[] = {{"Content-Type", "text/plain; charset=utf-8"},
                                               {"Cache-Control", "no-store"}};
    ((web *)self)->host->api->http->reply(rq, 200, headers, 2, odto_slice_str("ok"), NULL, NULL);
}

static const odto_http_route routes[] = {
    {"GET", "/health", 0, health_get, NULL}, {"GET", "/api/", ODTO_HTTP_PREFIX, fetch_get, NULL},
    {"POST", "/login", 0, gate_login, NULL}, {"POST", "/logout", 0, gate_logout, NULL},
    {NULL, "/ws", 0, NULL, &relay_ops},
};
#define N_ROUTES (sizeof routes / sizeof *routes)

static int parse_upstreams(const odto_config *c, upstreams *u, odto_error *err)
{
    u->broker.name = "terminal broker";
    u->broker.option = "broker_url";
    u->read_model.name = "read model";
    u->read_model.option = "read_model_url";
    int rc = upstream_parse(c, "broker_url", "ws", &u->broker, err);
    return rc == 0 ? upstream_parse(c, "read_model_url", "http", &u->read_model, err) : rc;
}

static int check_config(const odto_config *c, odto_error *err)
{
    upstreams u = {0};
    return parse_upstreams(c, &u, err);
}

static void fini(void *self)
{
    web *w = self;
    client_free(w->client);
    pthread_cond_destroy(&w->upstreams.wake);
    pthread_mutex_destroy(&w->upstreams.lock);
    free(w);
}

static void upstreams_init(web *w)
{
    pthread_condattr_t attr;
    w->upstreams.host = w->host;
    pthread_mutex_init(&w->upstreams.lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&w->upstreams.wake, &attr);
    pthread_condattr_destroy(&attr);
}

static int init(odto_host *h, const odto_config *c, void **self, odto_error *err)
{
    web *w = calloc(1, sizeof *w);
    if (!w)
        return odto_fail(err, -ENOMEM, "no memory for the web plugin");
    w->host = h;
    w->config = c;
    w->max_terminals = (unsigned)odto_config_int(c, "max_terminals");
    w->max_requests = (unsigned)odto_config_int(c, "max_requests");
    w->max_body = (size_t)odto_config_int(c, "api_body");
    w->api_timeout_ns = odto_config_int(c, "api_timeout");
    upstreams_init(w);
    int rc = parse_upstreams(c, &w->upstreams, err);
    if (rc == 0)
        rc = client_new(h, w->max_terminals + w->max_requests, (unsigned)(w->api_timeout_ns / ODTO_SEC) + 5,
                        &w->client, err);
    if (rc != 0) {
        fini(w);
        return rc;
    }
    *self = w;
    return 0;
}

static void make_metrics(web *w)
{
    const odto_host_api *api = w->host->api;
    w->terminals = api->metric(w->host, ODTO_GAUGE, "web_terminals_active",
                               "Terminals connected through the page's /ws.", NULL, NULL, NULL, 0);
    w->refused = api->metric(w->host, ODTO_COUNTER, "web_terminals_refused_total",
                             "WebSockets refused: origin, or too many.", NULL, NULL, NULL, 0);
    w->unreachable = api->metric(w->host, ODTO_COUNTER, "web_broker_failures_total",
                                 "Connections to the terminal broker that failed.", NULL, NULL, NULL, 0);
}

static int start(void *self, odto_error *err)
{
    web *w = self;
    make_metrics(w);
    memcpy(w->routes, routes, sizeof routes);
    w->n_routes =
        N_ROUTES + files_routes(w->routes + N_ROUTES, sizeof w->routes / sizeof *w->routes - N_ROUTES);
    int rc = upstreams_start(&w->upstreams, err);
    if (rc == 0)
        rc = client_start(w->client, err);
    if (rc == 0)
        rc = w->host->api->http->serve(w->host, odto_config_str(w->config, "listen"), "web", w->routes,
                                       w->n_routes, NULL, 1024, err);
    return rc;
}

static void stop(void *self)
{
    web *w = self;
    upstreams_stop(&w->upstreams);
    client_stop(w->client);
}

static const odto_plugin_ops ops = {
    .size = sizeof ops,
    .check_config = check_config,
    .init = init,
    .start = start,
    .stop = stop,
    .fini = fini,
};

ODTO_PLUGIN_DEFINE("web", PACKAGE_VERSION, ODTO_KIND_SERVICE,
                   .summary =
                       "The page with the terminal in the browser, and its ways to the terminal broker "
                       "and the read model.",
                   .options = options, .n_options = sizeof options / sizeof *options, .ops = &ops);
