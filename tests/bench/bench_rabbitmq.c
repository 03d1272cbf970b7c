/* bench_rabbitmq.c — what the bridge rabbitmq makes of librabbitmq's speed: the plugin as it is, and
 * librabbitmq by hand, publish and consume the same messages on the same broker in the same run.
 *
 *   bench_rabbitmq PLUGIN.so URL [MESSAGES [ROUNDS]]
 *
 * By hand means: one connection, confirms with a window of 512, as the bridge; prefetch 300, acknowledged
 * with `multiple` by 64. Prints msg/s for each and the share, medians of the rounds. */
#include <odto/plugin.h>

#include <amqp.h>
#include <amqp_framing.h>
#include <amqp_tcp_socket.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BODY   300
#define WINDOW 512
#define BATCH  64
#define ROUNDS 9

/* ---- a host, as far as the bridge needs one ---- */

static bool log_enabled(odto_host *h, odto_level level)
{
    (void)h;
    return level >= ODTO_WARN;
}

static void log_line(odto_host *h, odto_level level, const odto_uuid *correlation, const char *fmt, ...)
{
    va_list ap;
    (void)h, (void)level, (void)correlation;
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
}

static odto_metric *metric(odto_host *h, odto_metric_type type, const char *name, const char *help,
                           const char *labels, const char *const *values, const double *bounds, size_t n)
{
    (void)h, (void)type, (void)name, (void)help, (void)labels, (void)values;
    odto_metric *m = calloc(1, sizeof *m);
    m->bounds = bounds;
    m->n_bounds = n;
    m->buckets = calloc(n + 1, sizeof m->buckets[0]);
    return m;
}

static odto_event *event_new(odto_host *h, odto_slice body, uint32_t flags)
{
    (void)h, (void)flags;
    odto_event *e = calloc(1, sizeof *e + body.n);
    char *copy = (char *)(e + 1);
    memcpy(copy, body.p, body.n);
    e->refs = 1;
    e->body = odto_slice_of(copy, body.n);
    return e;
}

static void event_ref(odto_event *e)
{
    __atomic_add_fetch(&e->refs, 1, __ATOMIC_RELAXED); /* whoever adds one holds one */
}

static void event_unref(odto_event *e)
{
    if (e && __atomic_sub_fetch(&e->refs, 1, __ATOMIC_ACQ_REL) == 0) /* the last one sees all writes */
        free(e);
}

struct start {
    void (*fn)(void *);
    void *arg;
};
static pthread_t threads[8];
static size_t n_threads;

static void *run(void *arg)
{
    struct start s = *(struct start *)arg;
    free(arg);
    s.fn(s.arg);
    return NULL;
}

static int thread_start(odto_host *h, const char *name, void (*fn)(void *arg), void *arg, odto_thread **out)
{
    (void)h, (void)name, (void)out;
    struct start *s = malloc(sizeof *s);
    *s = (struct start){fn, arg};
    return -pthread_create(&threads[n_threads++], NULL, run, s);
}

static void health_changed(odto_host *h)
{
    (void)h;
}

static const odto_host_api api = {.size = sizeof api,
                                  .log_enabled = log_enabled,
                                  .log = log_line,
                                  .health_changed = health_changed,
                                  .metric = metric,
                                  .event_new = event_new,
                                  .event_ref = event_ref,
                                  .event_unref = event_unref,
                                  .thread_start = thread_start};
static odto_host host = {.api = &api};

/* ---- the bridge ---- */

static const odto_plugin *plugin;
static void *bridge;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static size_t confirmed, failed, delivered;

static void on_done(void *arg, int result)
{
    pthread_mutex_lock(&lock);
    if (result)
        failed += (size_t)(uintptr_t)arg;
    else
        confirmed += (size_t)(uintptr_t)arg;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
}

static void on_deliver(void *sink, odto_event *const *events, const uint64_t *tags, const bool *redelivered,
                       size_t n)
{
    (void)sink, (void)events, (void)redelivered;
    plugin->bridge->settle(bridge, "jobs.created", tags, n, ODTO_ACK);
    pthread_mutex_lock(&lock);
    delivered += n;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
}

static void wait_for(const size_t *count, size_t want)
{
    pthread_mutex_lock(&lock);
    while (*count < want && !failed)
        pthread_cond_wait(&changed, &lock);
    if (failed) {
        fprintf(stderr, "%zu messages were not confirmed\n", failed);
        exit(1);
    }
    pthread_mutex_unlock(&lock);
}

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

static void bridge_open(const char *file, const char *url)
{
    void *so = dlopen(file, RTLD_NOW);
    plugin = so ? dlsym(so, "odto_plugin") : NULL;
    if (!plugin)
        fail(file, dlerror());
    static odto_value values[32];
    static const char *list[2];
    list[0] = url;
    for (size_t i = 0; i < plugin->n_options && i < 32; i++) {
        const odto_option *o = &plugin->options[i];
        values[i].s = o->default_value;
        if (o->type == ODTO_OPT_DURATION && o->default_value)
            odto_duration_parse(odto_slice_str(o->default_value), &values[i].i);
        else if (o->type == ODTO_OPT_SIZE && o->default_value)
            odto_size_parse(odto_slice_str(o->default_value), &values[i].i);
        else if (o->default_value)
            values[i].i = o->type == ODTO_OPT_BOOL ? o->default_value[0] == 'y' : atoll(o->default_value);
        if (o->type == ODTO_OPT_LIST)
            values[i] = (odto_value){.list = list, .n = 1};
    }
    static odto_config config;
    config = (odto_config){.instance = "bench",
                           .options = plugin->options,
                           .values = values,
                           .n = plugin->n_options,
                           .data_dir = "/tmp",
                           .host_name = "bench"};
    odto_error err = {0};
    if (plugin->ops->init(&host, &config, &bridge, &err) < 0 || plugin->ops->start(bridge, &err) < 0)
        fail(file, err.message);
}

static double bridge_publish(odto_event **events, size_t n)
{
    int64_t begin = odto_now_ns();
    confirmed = 0;
    for (size_t i = 0; i < n;) {
        size_t k = n - i < BATCH ? n - i : BATCH;
        int rc =
            plugin->bridge->publish(bridge, "jobs.created", events + i, k, on_done, (void *)(uintptr_t)k);
        if (rc == 0)
            i += k;
        else
            usleep(200); /* too much is under way, or not connected yet */
    }
    wait_for(&confirmed, n);
    return (double)n * 1e9 / (double)(odto_now_ns() - begin);
}

static double bridge_consume(size_t n)
{
    odto_bridge_sink sink = {.deliver = on_deliver};
    odto_error err = {0};
    delivered = 0;
    int64_t begin = odto_now_ns();
    if (plugin->bridge->subscribe(bridge, "jobs.created", &sink, 256, &err) < 0)
        fail("subscribe", err.message);
    wait_for(&delivered, n);
    double rate = (double)n * 1e9 / (double)(odto_now_ns() - begin);
    usleep(50000); /* the last acknowledgements */
    plugin->bridge->unsubscribe(bridge, "jobs.created");
    return rate;
}

/* ---- by hand ---- */

static amqp_connection_state_t raw_open(const char *url)
{
    char *copy = strdup(url);
    struct amqp_connection_info u;
    amqp_default_connection_info(&u);
    if (amqp_parse_url(copy, &u) != AMQP_STATUS_OK)
        fail("url", "can't be read");
    amqp_connection_state_t c = amqp_new_connection();
    amqp_socket_t *s = amqp_tcp_socket_new(c);
    if (amqp_socket_open(s, u.host, u.port) != AMQP_STATUS_OK ||
        amqp_login(c, u.vhost, 0, 131072, 30, AMQP_SASL_METHOD_PLAIN, u.user, u.password).reply_type !=
            AMQP_RESPONSE_NORMAL)
        fail("broker", "can't connect");
    amqp_channel_open(c, 1);
    amqp_queue_declare(c, 1, amqp_cstring_bytes("jobs.created"), 0, 1, 0, 0, amqp_empty_table);
    free(copy);
    return c;
}

static void raw_close(amqp_connection_state_t c)
{
    amqp_connection_close(c, AMQP_REPLY_SUCCESS);
    amqp_destroy_connection(c);
}

/* Acknowledgements until at most `most` messages are open. */
static void raw_acks(amqp_connection_state_t c, bool *open, uint64_t sent, uint64_t *base, uint64_t most)
{
    amqp_frame_t f;
    while (sent - *base > most) {
        if (amqp_simple_wait_frame(c, &f) != AMQP_STATUS_OK)
            fail("broker", "lost");
        if (f.payload.method.id != AMQP_BASIC_ACK_METHOD)
            continue;
        const amqp_basic_ack_t *a = f.payload.method.decoded;
        for (uint64_t t = a->multiple ? *base + 1 : a->delivery_tag; t <= a->delivery_tag; t++)
            open[t] = false;
        while (*base < sent && !open[*base + 1])
            ++*base;
        amqp_maybe_release_buffers(c);
    }
}

static double raw_publish(const char *url, odto_event **events, size_t n)
{
    amqp_connection_state_t c = raw_open(url);
    bool *open = calloc(n + 2, 1);
    amqp_confirm_select(c, 1);
    amqp_basic_properties_t p = {._flags = AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_DELIVERY_MODE_FLAG |
                                           AMQP_BASIC_MESSAGE_ID_FLAG,
                                 .content_type = amqp_cstring_bytes("application/json"),
                                 .delivery_mode = 2,
                                 .message_id = amqp_cstring_bytes("01234567-89ab-7def-8123-456789abcdef")};
    uint64_t base = 0;
    int64_t begin = odto_now_ns();
    for (uint64_t i = 0; i < n; i++) {
        amqp_bytes_t body = {events[i]->body.n, (void *)(uintptr_t)events[i]->body.p};
        open[i + 1] = true;
        amqp_basic_publish(c, 1, amqp_empty_bytes, amqp_cstring_bytes("jobs.created"), 1, 0, &p, body);
        raw_acks(c, open, i + 1, &base, WINDOW - 1);
    }
    raw_acks(c, open, n, &base, 0);
    double rate = (double)n * 1e9 / (double)(odto_now_ns() - begin);
    free(open);
    raw_close(c);
    return rate;
}

static double raw_consume(const char *url, size_t n)
{
    amqp_connection_state_t c = raw_open(url);
    int64_t begin = odto_now_ns();
    amqp_basic_qos(c, 1, 0, 300, 0);
    amqp_basic_consume(c, 1, amqp_cstring_bytes("jobs.created"), amqp_empty_bytes, 0, 0, 0, amqp_empty_table);
    for (size_t i = 1; i <= n; i++) {
        amqp_envelope_t e;
        amqp_maybe_release_buffers(c);
        if (amqp_consume_message(c, &e, NULL, 0).reply_type != AMQP_RESPONSE_NORMAL)
            fail("broker", "lost");
        if (i % BATCH == 0 || i == n)
            amqp_basic_ack(c, 1, e.delivery_tag, 1);
        amqp_destroy_envelope(&e);
    }
    double rate = (double)n * 1e9 / (double)(odto_now_ns() - begin);
    raw_close(c);
    return rate;
}

/* ---- rounds ---- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v, size_t n)
{
    qsort(v, n, sizeof *v, by_value);
    return v[n / 2];
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: bench_rabbitmq PLUGIN.so URL [MESSAGES [ROUNDS]]\n");
        return 64;
    }
    size_t n = argc > 3 ? strtoul(argv[3], NULL, 10) : 20000,
           rounds = argc > 4 ? strtoul(argv[4], NULL, 10) : 3;
    rounds = rounds < 1 ? 1 : rounds > ROUNDS ? ROUNDS : rounds;
    char body[BODY];
    memset(body, 'x', sizeof body);
    odto_event **events = calloc(n, sizeof(odto_event *));
    for (size_t i = 0; i < n; i++)
        events[i] = event_new(&host, odto_slice_of(body, sizeof body), 0);
    double v[4][ROUNDS];
    bridge_open(argv[1], argv[2]);
    for (size_t r = 0; r < rounds; r++) {
        v[0][r] = raw_publish(argv[2], events, n);
        v[1][r] = raw_consume(argv[2], n);
        v[2][r] = bridge_publish(events, n);
        v[3][r] = bridge_consume(n);
    }
    double rp = median(v[0], rounds), rc = median(v[1], rounds), bp = median(v[2], rounds),
           bc = median(v[3], rounds);
    printf("%zu messages of %d bytes, median of %zu\n", n, BODY, rounds);
    printf("publish, confirmed   librabbitmq %8.0f/s   bridge %8.0f/s   share %.2f\n", rp, bp, bp / rp);
    printf("consume, acknowledged librabbitmq %7.0f/s   bridge %8.0f/s   share %.2f\n", rc, bc, bc / rc);
    plugin->ops->stop(bridge);
    for (size_t i = 0; i < n_threads; i++)
        pthread_join(threads[i], NULL);
    plugin->ops->fini(bridge);
    return bp / rp >= 0.5 && bc / rc >= 0.5 ? 0 : 1;
}
