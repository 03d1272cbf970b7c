/* plugin.c — the bridge rabbitmq as a plugin: options, life, the bridge interface.
 *
 * init() only keeps the configuration (a probe calls it too); start() asks the host for the two threads and
 * is ready at once: the broker may come later. stop() lets what was published be confirmed for a second,
 * gives the rest back and joins. */
#include "rabbitmq.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const odto_option options[] = {
    {.name = "urls",
     .type = ODTO_OPT_LIST,
     .default_value = "amqp://guest:guest@127.0.0.1:5672/%2f",
     .flags = ODTO_OPTION_SECRET,
     .env = "RABBITMQ_URL",
     .help = "The broker's URL, or several, comma-separated, which are tried in turn: "
             "amqp://user:password@host:port/vhost, amqps:// for TLS."},
    {.name = "ca_file",
     .type = ODTO_OPT_PATH,
     .help = "TLS: certificates of the authorities to trust; by default the system's."},
    {.name = "cert_file", .type = ODTO_OPT_PATH, .help = "TLS: this client's certificate."},
    {.name = "key_file", .type = ODTO_OPT_PATH, .help = "TLS: the key of that certificate."},
    {.name = "verify",
     .type = ODTO_OPT_BOOL,
     .default_value = "yes",
     .help = "TLS: check the broker's certificate and name."},
    {.name = "heartbeat",
     .type = ODTO_OPT_DURATION,
     .default_value = "30s",
     .min = ODTO_SEC,
     .max = 600 * ODTO_SEC,
     .help = "A connection that is silent for twice as long is taken for lost."},
    {.name = "window",
     .type = ODTO_OPT_INT,
     .default_value = "512",
     .min = 16,
     .max = 8192,
     .help = "Messages published and not yet confirmed at once."},
    {.name = "queue_bytes",
     .type = ODTO_OPT_SIZE,
     .default_value = "64m",
     .min = 1 << 20,
     .max = INT64_C(4) << 30,
     .help = "Bytes that may wait to be published and confirmed; more is refused for the moment."},
    {.name = "confirm_timeout",
     .type = ODTO_OPT_DURATION,
     .default_value = "30s",
     .min = ODTO_SEC,
     .max = 3600 * ODTO_SEC,
     .help = "Without a confirm for so long the connection is begun anew and the message published again."},
    {.name = "give_up",
     .type = ODTO_OPT_DURATION,
     .default_value = "5s",
     .min = 100 * ODTO_MS,
     .max = 3600 * ODTO_SEC,
     .help = "When the broker is away or blocked for so long, what waits is refused, and so is what comes, "
             "until it is back."},
    {.name = "backoff",
     .type = ODTO_OPT_DURATION,
     .default_value = "200ms",
     .min = ODTO_MS,
     .max = 60 * ODTO_SEC,
     .help = "Longest pause before the first attempt to connect again; doubles, with full jitter."},
    {.name = "backoff_max",
     .type = ODTO_OPT_DURATION,
     .default_value = "15s",
     .min = ODTO_MS,
     .max = 600 * ODTO_SEC,
     .help = "Longest such pause."},
    {.name = "quorum_bytes",
     .type = ODTO_OPT_SIZE,
     .default_value = "1g",
     .min = 1 << 20,
     .max = INT64_C(1) << 40,
     .help = "x-max-length-bytes of queues for topics that are not the contract's; those are quorum queues."},
};

static int read_urls(const odto_config *c, rmq_options *o, odto_error *err)
{
    const odto_value *v = odto_config_get(c, "urls");
    if (v->n == 0 || v->n > URLS_MAX)
        return odto_fail(err, -EINVAL, "urls: 1 to %u URLs, not %zu", URLS_MAX, v->n);
    for (size_t i = 0; i < v->n; i++) {
        int rc = url_parse(v->list[i], &o->urls[i], err);
        if (rc) {
            url_free(&o->urls[i]);
            return rc;
        }
        o->n_urls++;
    }
    return 0;
}

static void free_urls(rmq_options *o)
{
    while (o->n_urls)
        url_free(&o->urls[--o->n_urls]);
}

static int check_config(const odto_config *c, odto_error *err)
{
    rmq_options o = {.n_urls = 0};
    int rc = read_urls(c, &o, err);
    free_urls(&o);
    const char *cert = odto_config_str(c, "cert_file"), *key = odto_config_str(c, "key_file");
    if (rc == 0 && !(cert && *cert) != !(key && *key))
        rc = odto_fail(err, -EINVAL, "cert_file and key_file are given together");
    return rc;
}

static void make_metrics(rmq *r)
{
    static const double seconds[] = {.0005, .001, .0025, .005, .01, .025, .05, .1,
                                     .25,   .5,   1,     2.5,  5,   10,   30};
    const odto_host_api *api = r->host->api;
    static const char *const results[] = {"ack", "nack", "returned", "timeout"};
    odto_metric **cells[] = {&r->m.ack, &r->m.nack, &r->m.returned, &r->m.timeout};
    for (size_t i = 0; i < 4; i++)
        *cells[i] = api->metric(r->host, ODTO_COUNTER, "odto_bridge_confirms_total",
                                "Messages published to the broker, by what became of them.", "result",
                                &results[i], NULL, 0);
    r->m.confirm_seconds = api->metric(r->host, ODTO_HISTOGRAM, "odto_bridge_confirm_seconds",
                                       "Time from publishing to the broker's confirm.", NULL, NULL, seconds,
                                       sizeof seconds / sizeof seconds[0]);
    const char *bridge[] = {r->config->instance};
    r->m.connects = api->metric(r->host, ODTO_COUNTER, "odto_bridge_connects_total",
                                "Connections made to the broker.", "bridge", bridge, NULL, 0);
    r->m.blocked =
        api->metric(r->host, ODTO_GAUGE, "odto_bridge_blocked",
                    "1 while the broker takes nothing (connection.blocked).", "bridge", bridge, NULL, 0);
    r->m.delivered = api->metric(r->host, ODTO_COUNTER, "odto_bridge_delivered_total",
                                 "Messages that the broker delivered.", "bridge", bridge, NULL, 0);
}

static int init(odto_host *h, const odto_config *c, void **self, odto_error *err)
{
    rmq *r = calloc(1, sizeof *r);
    if (!r)
        return odto_fail(err, -ENOMEM, "no memory");
    r->host = h;
    r->config = c;
    pthread_mutex_init(&r->health_lock, NULL);
    rmq_options *o = &r->opt;
    int rc = read_urls(c, o, err);
    o->ca_file = odto_config_str(c, "ca_file");
    o->cert_file = odto_config_str(c, "cert_file");
    o->key_file = odto_config_str(c, "key_file");
    o->verify = odto_config_bool(c, "verify");
    o->heartbeat_s = (int)(odto_config_int(c, "heartbeat") / ODTO_SEC);
    o->window = (uint32_t)odto_config_int(c, "window");
    o->max_queue_bytes = odto_config_int(c, "queue_bytes");
    o->confirm_ns = odto_config_int(c, "confirm_timeout");
    o->give_up_ns = odto_config_int(c, "give_up");
    o->backoff_ns = odto_config_int(c, "backoff");
    o->backoff_max_ns = odto_config_int(c, "backoff_max");
    o->quorum_bytes = odto_config_int(c, "quorum_bytes");
    int made = publisher_init(&r->pub, r), also = consumer_init(&r->con, r);
    if (rc == 0 && (made || also))
        rc = odto_fail(err, made ? made : also, "no memory or descriptors for the connections");
    if (rc) {
        publisher_fini(&r->pub);
        consumer_fini(&r->con);
        free_urls(o);
        pthread_mutex_destroy(&r->health_lock);
        free(r);
        return rc;
    }
    *self = r;
    return 0;
}

static int start(void *self, odto_error *err)
{
    rmq *r = self;
    make_metrics(r);
    int rc = r->host->api->thread_start(r->host, "publish", publisher_run, r, NULL);
    if (rc == 0)
        rc = r->host->api->thread_start(r->host, "consume", consumer_run, r, NULL);
    return rc ? odto_fail(err, rc, "can't start a thread: %s", strerror(-rc)) : 0;
}

static void health(void *self, odto_health *out)
{
    rmq *r = self;
    pthread_mutex_lock(&r->health_lock);
    const char *problem = r->problem[0][0] ? r->problem[0] : r->problem[1];
    out->ready = !problem[0];
    snprintf(out->reason, sizeof out->reason, "%s", problem);
    pthread_mutex_unlock(&r->health_lock);
}

static void interrupt(void *self)
{
    rmq *r = self;
    session_wake(&r->pub.s);
    session_wake(&r->con.s);
}

static void stop(void *self)
{
    rmq *r = self;
    __atomic_store_n(&r->stopping, true, __ATOMIC_RELEASE); /* pairs with rmq_stopping */
    interrupt(r);
}

static void fini(void *self)
{
    rmq *r = self;
    publisher_fini(&r->pub);
    consumer_fini(&r->con);
    free_urls(&r->opt);
    pthread_mutex_destroy(&r->health_lock);
    free(r);
}

/* ---- the bridge interface ------------------------------------------------------------------ */

static int bridge_publish(void *self, const char *topic, odto_event *const *events, size_t n,
                          odto_publish_done *done, void *arg)
{
    return publisher_publish(&((rmq *)self)->pub, topic, events, n, done, arg);
}

static int bridge_subscribe(void *self, const char *topic, const odto_bridge_sink *sink, uint32_t prefetch,
                            odto_error *err)
{
    return consumer_subscribe(&((rmq *)self)->con, topic, sink, prefetch, err);
}

static void bridge_unsubscribe(void *self, const char *topic)
{
    consumer_unsubscribe(&((rmq *)self)->con, topic);
}

static void bridge_credit(void *self, const char *topic, uint32_t prefetch)
{
    consumer_credit(&((rmq *)self)->con, topic, prefetch);
}

static void bridge_settle(void *self, const char *topic, const uint64_t *tags, size_t n, odto_verdict v)
{
    consumer_settle(&((rmq *)self)->con, topic, tags, n, v);
}

static int bridge_stats(void *self, const char *topic, odto_route_stats *out)
{
    int64_t depth = consumer_depth(&((rmq *)self)->con, topic);
    if (depth < 0)
        return -ENOTCONN;
    out->depth = (uint64_t)depth;
    return 0;
}

static int bridge_peek(void *self, const char *topic, uint64_t from, size_t max,
                       bool (*fn)(void *arg, const odto_bridge_item *item), void *arg, odto_error *err)
{
    return admin_peek(self, topic, from, max, fn, arg, err);
}

static int64_t bridge_remove(void *self, const char *topic, const uint64_t *ids, size_t n, odto_error *err)
{
    return admin_remove(self, topic, ids, n, err);
}

static const odto_bridge_iface iface = {
    .size = sizeof(odto_bridge_iface),
    .publish = bridge_publish,
    .subscribe = bridge_subscribe,
    .unsubscribe = bridge_unsubscribe,
    .credit = bridge_credit,
    .settle = bridge_settle,
    .stats = bridge_stats,
    .peek = bridge_peek,
    .remove = bridge_remove,
};

static const odto_plugin_ops ops = {
    .size = sizeof(odto_plugin_ops),
    .check_config = check_config,
    .init = init,
    .start = start,
    .health = health,
    .interrupt = interrupt,
    .stop = stop,
    .fini = fini,
};

ODTO_PLUGIN_DEFINE("rabbitmq", "0.1.0", ODTO_KIND_BRIDGE,
                   .summary = "Carries topics over RabbitMQ: confirmed publishing, acknowledged consuming.",
                   .options = options, .n_options = sizeof options / sizeof options[0], .ops = &ops,
                   .bridge = &iface);
