/* plugin.c — the bridge nng as a plugin: options, life, the bridge interface. */
#include "mesh.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const odto_option options[] = {
    {.name = "listen",
     .type = ODTO_OPT_LIST,
     .help = "Addresses at which other hosts deliver what this one consumes: tcp://0.0.0.0:9300, "
             "ipc:///run/odto/mesh."},
    {.name = "dial",
     .type = ODTO_OPT_LIST,
     .help = "Addresses of the hosts that consume what this one publishes; batches go to them in turn."},
    {.name = "answer_timeout",
     .type = ODTO_OPT_DURATION,
     .default_value = "30s",
     .min = 100 * ODTO_MS,
     .max = 3600 * ODTO_SEC,
     .help = "A batch that was not answered for so long is sent again, to the next host."},
    {.name = "redial",
     .type = ODTO_OPT_DURATION,
     .default_value = "100ms",
     .min = 10 * ODTO_MS,
     .max = 60 * ODTO_SEC,
     .help = "Shortest pause before a lost connection is dialled again; doubles."},
    {.name = "redial_max",
     .type = ODTO_OPT_DURATION,
     .default_value = "5s",
     .min = 10 * ODTO_MS,
     .max = 600 * ODTO_SEC,
     .help = "Longest such pause."},
};

static int check_list(const odto_config *c, const char *option, size_t most, odto_error *err)
{
    const odto_value *v = odto_config_get(c, option);
    if (v->n > most)
        return odto_fail(err, -E2BIG, "%s: more than %zu addresses", option, most);
    for (size_t i = 0; i < v->n; i++)
        if (strncmp(v->list[i], "tcp://", 6) != 0 && strncmp(v->list[i], "ipc://", 6) != 0) {
            odto_fail(err, -EINVAL, "%s: '%s' is no address of a host", option, v->list[i]);
            odto_error_hint(err, "as in tcp://10.0.0.7:9300 or ipc:///run/odto/mesh");
            return -EINVAL;
        }
    return 0;
}

static int check_config(const odto_config *c, odto_error *err)
{
    int rc = check_list(c, "listen", LISTEN_MAX, err);
    if (rc == 0)
        rc = check_list(c, "dial", PEERS_MAX, err);
    if (rc == 0 && !odto_config_get(c, "listen")->n && !odto_config_get(c, "dial")->n)
        rc = odto_fail(err, -EINVAL, "the bridge %s has neither listen nor dial", c->instance);
    return rc;
}

static int init(odto_host *h, const odto_config *c, void **self, odto_error *err)
{
    mesh *m = calloc(1, sizeof *m);
    if (!m)
        return odto_fail(err, -ENOMEM, "no memory");
    m->host = h;
    m->config = c;
    pthread_mutex_init(&m->lock, NULL);
    pthread_mutex_init(&m->deliver_lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&m->stopped, &monotonic);
    pthread_condattr_destroy(&monotonic);
    const odto_value *dial = odto_config_get(c, "dial"), *listen = odto_config_get(c, "listen");
    for (; m->n_peers < dial->n && m->n_peers < PEERS_MAX; m->n_peers++) {
        m->peers[m->n_peers].mesh = m;
        m->peers[m->n_peers].url = dial->list[m->n_peers];
    }
    for (; m->n_addresses < listen->n && m->n_addresses < LISTEN_MAX; m->n_addresses++)
        m->addresses[m->n_addresses].url = listen->list[m->n_addresses];
    m->answer_ns = odto_config_int(c, "answer_timeout");
    m->redial_ns = odto_config_int(c, "redial");
    m->redial_max_ns = odto_config_int(c, "redial_max");
    *self = m;
    return 0;
}

static int start(void *self, odto_error *err)
{
    mesh *m = self;
    const odto_host_api *api = m->host->api;
    const char *bridge[] = {m->config->instance};
    m->sent = api->metric(m->host, ODTO_COUNTER, "odto_bridge_batches_total",
                          "Batches another host answered.", "bridge", bridge, NULL, 0);
    m->again =
        api->metric(m->host, ODTO_COUNTER, "odto_bridge_batches_again_total",
                    "Batches that are sent again: refused, lost or not answered.", "bridge", bridge, NULL, 0);
    m->received = api->metric(m->host, ODTO_COUNTER, "odto_bridge_received_total",
                              "Events that came from other hosts.", "bridge", bridge, NULL, 0);
    m->reopened = api->metric(m->host, ODTO_COUNTER, "odto_bridge_reopened_total",
                              "Listeners that accepted nothing any more and were opened anew.", "bridge",
                              bridge, NULL, 0);
    int rc = receiver_start(m, err);
    if (rc == 0)
        rc = sender_start(m, err);
    if (rc == 0 && m->n_addresses) {
        rc = api->thread_start(m->host, "guard", guard_run, m, NULL);
        if (rc)
            odto_fail(err, rc, "can't start a thread: %s", strerror(-rc));
    }
    return rc;
}

static void health(void *self, odto_health *out)
{
    mesh *m = self;
    out->ready = true;
    for (size_t i = 0; i < m->n_peers; i++)
        if (__atomic_load_n(&m->peers[i].pipes, __ATOMIC_RELAXED) <= 0) { /* a statistic */
            out->ready = false;
            snprintf(out->reason, sizeof out->reason, "%.120s is away", m->peers[i].url);
        }
}

static void stop(void *self)
{
    mesh *m = self;
    pthread_mutex_lock(&m->lock);
    __atomic_store_n(&m->stopping, true, __ATOMIC_RELEASE); /* pairs with mesh_stopping */
    pthread_cond_broadcast(&m->stopped);
    pthread_mutex_unlock(&m->lock);
    sender_stop(m);
}

static void fini(void *self)
{
    mesh *m = self;
    m->stopping = true;
    sender_stop(m);
    receiver_stop(m); /* after the guard has ended: it opens listeners */
    pthread_cond_destroy(&m->stopped);
    pthread_mutex_destroy(&m->lock);
    pthread_mutex_destroy(&m->deliver_lock);
    free(m);
}

/* ---- the bridge interface ------------------------------------------------------------------ */

static int bridge_publish(void *self, const char *topic, odto_event *const *events, size_t n,
                          odto_publish_done *done, void *arg)
{
    return sender_publish(self, topic, events, n, done, arg);
}

static int bridge_subscribe(void *self, const char *topic, const odto_bridge_sink *sink, uint32_t prefetch,
                            odto_error *err)
{
    return receiver_subscribe(self, topic, sink, prefetch, err);
}

static void bridge_unsubscribe(void *self, const char *topic)
{
    receiver_unsubscribe(self, topic);
}

static void bridge_credit(void *self, const char *topic, uint32_t prefetch)
{
    receiver_credit(self, topic, prefetch);
}

static void bridge_settle(void *self, const char *topic, const uint64_t *tags, size_t n, odto_verdict v)
{
    (void)topic;
    receiver_settle(self, tags, n, v);
}

static int bridge_stats(void *self, const char *topic, odto_route_stats *out)
{
    (void)self, (void)topic, (void)out;
    return -ENOTCONN; /* nothing waits between two hosts: it is in the sender's spool */
}

static const odto_bridge_iface iface = {
    .size = sizeof(odto_bridge_iface),
    .publish = bridge_publish,
    .subscribe = bridge_subscribe,
    .unsubscribe = bridge_unsubscribe,
    .credit = bridge_credit,
    .settle = bridge_settle,
    .stats = bridge_stats,
};

static const odto_plugin_ops ops = {
    .size = sizeof(odto_plugin_ops),
    .check_config = check_config,
    .init = init,
    .start = start,
    .health = health,
    .stop = stop,
    .fini = fini,
};

ODTO_PLUGIN_DEFINE("nng", "0.1.0", ODTO_KIND_BRIDGE,
                   .summary = "Carries topics from host to host without a broker, in acknowledged batches.",
                   .options = options, .n_options = sizeof options / sizeof options[0], .ops = &ops,
                   .bridge = &iface);
