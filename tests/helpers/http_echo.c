/* http_echo.c — the HTTP server of the host alone, with made-up owners: for its tests and its benchmark.
 *
 *     http_echo ADDRESS [key=value …]
 *
 * prints "port N", then obeys lines on stdin and answers each with "NUMBER TEXT":
 *     gate on|off   hold on|off (late replies)   stage   serve   clash   handover   drained MS
 *     unserve old|new MS   inflight   feeds (open streams)   talks (open WebSockets)   code (of the last
 * close) ready yes|no   prune   quit MS Keys: threads workers workq maxconn streams maxws gateq; headermax
 * wsqueue body (bytes); header bodytime idle gate ping dead (ms); cors token cert key; ws=0 (without the
 * WebSocket route); access=1 (log requests to stderr); commit (us between two batches of late replies, as a
 * group commit takes). */
#include "http.h"

#include <odto/host.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { GENERATIONS = 64, QUEUE = 65536, SERIES = 64 };

typedef struct owner {
    odto_host host;
    int generation;
} owner;

typedef struct series {
    char text[160];
    odto_metric metric;
    uint64_t buckets[8];
} series;

static http_server *server;
static owner owners[GENERATIONS];
static int current, latest;
static const char *address;
static const char *cors;
static size_t max_body;
static unsigned websocket = 1; /* the last route is the WebSocket one */
static _Atomic bool ready = true;

/* ---- replies from another thread ---- */
static pthread_mutex_t queue_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t queue_filled = PTHREAD_COND_INITIALIZER;
static odto_http_request *queue[QUEUE];
static odto_ws *later; /* wants a message from the other thread */
static unsigned queue_n;
static bool queue_quit, queue_held;
static unsigned commit_us; /* between two batches, as a group commit would take */

static void *answer_main(void *arg)
{
    static odto_http_request *batch[QUEUE];
    static const char body[] = "{\"jobId\":\"7d444840-9dc0-11d1-b245-5ffdce74fad2\",\"eventId\":"
                               "\"7d444840-9dc0-11d1-b245-5ffdce74fad2\"}";
    (void)arg;
    pthread_mutex_lock(&queue_lock);
    while (!queue_quit) {
        if (!commit_us && !later && (!queue_n || queue_held)) {
            pthread_cond_wait(&queue_filled, &queue_lock);
            continue;
        }
        odto_ws *ws = later;
        later = NULL;
        if (ws)
            http_api.ws_send(ws, odto_slice_of("later", 5), false);
        unsigned n = queue_n;
        memcpy(batch, queue, n * sizeof(batch[0]));
        queue_n = 0;
        pthread_mutex_unlock(&queue_lock);
        for (unsigned i = 0; i < n; i++)
            http_api.reply(batch[i], 202, NULL, 0, odto_slice_of(body, sizeof(body) - 1), NULL, NULL);
        if (commit_us)
            usleep(commit_us);
        pthread_mutex_lock(&queue_lock);
    }
    pthread_mutex_unlock(&queue_lock);
    return NULL;
}

static void serve_async(void *self, odto_http_request *rq)
{
    (void)self;
    pthread_mutex_lock(&queue_lock);
    queue[queue_n++] = rq;
    if (queue_n == 1 && !commit_us)
        pthread_cond_signal(&queue_filled);
    pthread_mutex_unlock(&queue_lock);
}

/* ---- quick and blocking ones ---- */
static void serve_hello(void *self, odto_http_request *rq)
{
    static const char body[] =
        "{\"totalJobs\":12345,\"completedJobs\":12000,\"failedJobs\":345,\"lastEventTime\":"
        "\"2025-01-01T00:00:00.000Z\"}";
    (void)self;
    http_api.reply(rq, 200, NULL, 0, odto_slice_of(body, sizeof(body) - 1), NULL, NULL);
}

static void serve_generation(void *self, odto_http_request *rq)
{
    char body[64];
    int n = snprintf(body, sizeof(body), "{\"generation\":%d}", ((owner *)self)->generation);
    http_api.reply(rq, 200, NULL, 0, odto_slice_of(body, (size_t)n), NULL, NULL);
}

/* A number from the query. */
static size_t number(odto_http_request *rq, const char *name, size_t otherwise)
{
    odto_slice v = http_api.query(rq, name);
    size_t n = 0;
    for (size_t i = 0; i < v.n; i++)
        n = n * 10 + (size_t)(v.p[i] - '0');
    return v.n ? n : otherwise;
}

static void serve_echo(void *self, odto_http_request *rq)
{
    odto_http_header type = {"Content-Type", "application/octet-stream"};
    (void)self;
    http_api.reply(rq, 200, &type, 1, http_api.body(rq), NULL, NULL);
}

static void serve_large(void *self, odto_http_request *rq)
{
    size_t n = number(rq, "n", 1000);
    char *p = malloc(n);
    (void)self;
    memset(p, 'x', n);
    http_api.reply(rq, 200, NULL, 0, odto_slice_of(p, n), free, p);
}

static void serve_item(void *self, odto_http_request *rq)
{
    odto_buf b = {0};
    (void)self;
    odto_buf_str(&b, "{\"id\":");
    odto_buf_json(&b, http_api.param(rq, "id"));
    odto_buf_str(&b, ",\"path\":");
    odto_buf_json(&b, http_api.path(rq));
    odto_buf_str(&b, ",\"q\":");
    odto_buf_json(&b, http_api.query(rq, "q"));
    odto_buf_str(&b, ",\"query\":");
    odto_buf_json(&b, http_api.query_string(rq));
    odto_buf_str(&b, ",\"peer\":");
    odto_buf_json(&b, http_api.peer(rq));
    odto_buf_str(&b, ",\"agent\":");
    odto_buf_json(&b, http_api.header(rq, "user-agent"));
    odto_buf_str(&b, "}");
    http_api.reply(rq, 200, NULL, 0, odto_slice_of(b.p, b.n), NULL, NULL);
    odto_buf_free(&b);
}

static void serve_slow(void *self, odto_http_request *rq)
{
    (void)self;
    usleep((unsigned)number(rq, "ms", 100) * 1000);
    http_api.reply(rq, 200, NULL, 0, odto_slice_of("{}", 2), NULL, NULL);
}

/* ---- streams ---- */
typedef struct feed {
    odto_http_stream *stream;
    _Atomic bool closed;
    int count;
} feed;
static _Atomic int feeds_open, feeders;
static _Atomic bool feeds_end;

static void feed_closed(void *arg)
{
    ((feed *)arg)->closed = true;
    feeds_open--;
}

static void *feed_main(void *arg)
{
    feed *f = arg;
    char text[64];
    for (int i = 0; (f->count < 0 || i < f->count) && !f->closed && !feeds_end; i++) {
        int n = snprintf(text, sizeof(text), "id: %d\ndata: {\"n\":%d}\n\n", i, i);
        while (http_api.stream_write(f->stream, odto_slice_of(text, (size_t)n)) == -EAGAIN && !f->closed)
            usleep(1000);
        usleep(1000);
    }
    http_api.stream_end(f->stream);
    while (!f->closed)
        usleep(1000);
    free(f);
    feeders--;
    return NULL;
}

static void serve_stream(void *self, odto_http_request *rq)
{
    odto_http_header type = {"Content-Type", "text/event-stream"};
    size_t n = number(rq, "n", 0);
    pthread_t t;
    feed *f = calloc(1, sizeof(*f));
    (void)self;
    f->count = n ? (int)n : -1;
    feeds_open++;
    f->stream = http_api.reply_stream(rq, 200, &type, 1, 4096, feed_closed, f);
    if (!f->stream) {
        feeds_open--;
        free(f);
        return;
    }
    feeders++;
    if (!pthread_create(&t, NULL, feed_main, f))
        pthread_detach(t);
}

/* ---- WebSocket echo ---- */
typedef struct talk {
    odto_ws *ws;
} talk;
static _Atomic int talks_open, talks_code;

static int talk_accept(void *self, odto_http_request *rq)
{
    (void)self;
    return odto_slice_eq(http_api.query(rq, "refuse"), "yes") ? 403 : 0;
}

static void *talk_open(void *self, odto_ws *ws, odto_http_request *rq)
{
    talk *t = calloc(1, sizeof(*t));
    odto_buf b = {0};
    t->ws = ws;
    talks_open++;
    odto_buf_printf(&b, "{\"generation\":%d,\"q\":", ((owner *)self)->generation);
    odto_buf_json(&b, http_api.query(rq, "q"));
    odto_buf_str(&b, ",\"peer\":");
    odto_buf_json(&b, http_api.peer(rq));
    odto_buf_str(&b, ",\"custom\":");
    odto_buf_json(&b, http_api.header(rq, "X-Custom"));
    odto_buf_str(&b, ",\"origin\":");
    odto_buf_json(&b, http_api.header(rq, "Origin"));
    odto_buf_str(&b, ",\"subprotocol\":");
    odto_buf_json(&b, http_api.ws_subprotocol(ws));
    odto_buf_str(&b, "}");
    http_api.ws_send(ws, odto_slice_of(b.p, b.n), false);
    odto_buf_free(&b);
    return t;
}

static void talk_message(void *self, void *conn, odto_slice data, bool binary)
{
    talk *t = conn;
    static char block[65536];
    (void)self;
    if (odto_slice_eq(data, "close")) {
        http_api.ws_close(t->ws, 4001, "as asked");
    } else if (odto_slice_eq(data, "flood")) {
        int r, sent = 0;
        while (!(r = http_api.ws_send(t->ws, odto_slice_of(block, sizeof(block)), true)))
            sent++;
        printf("flood %d %d %zu\n", sent, r, http_api.ws_queued(t->ws));
        fflush(stdout);
    } else if (odto_slice_eq(data, "later")) {
        pthread_mutex_lock(&queue_lock);
        later = t->ws;
        pthread_cond_signal(&queue_filled);
        pthread_mutex_unlock(&queue_lock);
    } else if (odto_slice_eq(data, "pause")) {
        http_api.ws_pause(t->ws, true);
    } else {
        http_api.ws_send(t->ws, data, binary);
    }
}

static void talk_closed(void *self, void *conn, int code)
{
    (void)self;
    talks_open--;
    talks_code = code;
    free(conn);
}

static const odto_ws_ops talk_ops = {.accept = talk_accept,
                                     .open = talk_open,
                                     .message = talk_message,
                                     .closed = talk_closed,
                                     .max_message = 256 * 1024,
                                     .subprotocols = "odto.pty.v1, other.v2"};

static const odto_http_route routes[] = {
    {"GET", "/hello", 0, serve_hello, NULL},
    {"GET", "/generation", ODTO_HTTP_NO_GATE, serve_generation, NULL},
    {"GET", "/items/{id}", 0, serve_item, NULL},
    {"GET", "/items/first", 0, serve_hello, NULL},
    {"GET", "/files/", ODTO_HTTP_PREFIX, serve_item, NULL},
    {"GET", "/large", 0, serve_large, NULL},
    {"GET", "/slow", ODTO_HTTP_BLOCKING, serve_slow, NULL},
    {"GET", "/stream", 0, serve_stream, NULL},
    {"POST", "/echo", 0, serve_echo, NULL},
    {"POST", "/async", 0, serve_async, NULL},
    {NULL, "/ws", 0, NULL, &talk_ops},
};

/* ---- what the core would supply ---- */
http_server *host_http(const odto_host *h)
{
    (void)h;
    return server;
}

static void *hook_self(void *arg, const odto_host *h)
{
    (void)arg;
    for (int i = 0; i <= latest; i++) {
        if (&owners[i].host == h)
            return &owners[i];
    }
    return NULL;
}

static bool hook_ready(void *arg, const odto_host *h, char *reason, size_t size)
{
    (void)arg;
    (void)h;
    if (!ready)
        snprintf(reason, size, "told so");
    return ready;
}

static pthread_mutex_t series_lock = PTHREAD_MUTEX_INITIALIZER;
static series all_series[SERIES];
static int n_series;
static const double bounds[] = {0.001, 0.01, 0.1, 1, 10};

static odto_metric *hook_histogram(void *arg, const char *service, const char *route, const char *method,
                                   int code)
{
    (void)arg;
    pthread_mutex_lock(&series_lock);
    series *s = n_series < SERIES ? &all_series[n_series++] : NULL;
    pthread_mutex_unlock(&series_lock);
    if (!s)
        return NULL;
    snprintf(s->text, sizeof(s->text), "service=\"%s\",route=\"%s\",method=\"%s\",code=\"%d\"", service,
             route, method, code);
    s->metric.bounds = bounds;
    s->metric.n_bounds = 5;
    s->metric.buckets = s->buckets;
    return &s->metric;
}

static int hook_metrics(void *arg, odto_buf *out)
{
    (void)arg;
    pthread_mutex_lock(&series_lock);
    for (int i = 0; i < n_series; i++) {
        uint64_t n = 0;
        for (int k = 0; k < 6; k++)
            n += __atomic_load_n(&all_series[i].buckets[k], __ATOMIC_RELAXED);
        odto_buf_printf(out, "http_request_duration_seconds_count{%s} %lu\n", all_series[i].text,
                        (unsigned long)n);
    }
    pthread_mutex_unlock(&series_lock);
    return 0;
}

static void hook_log(void *arg, odto_level level, const odto_uuid *correlation, const char *text)
{
    (void)arg;
    (void)correlation;
    if (level > ODTO_DEBUG || getenv("HTTP_ECHO_DEBUG"))
        fprintf(stderr, "log %d %s\n", level, text);
}

static void hook_access(void *arg, const http_access *a)
{
    (void)arg;
    fprintf(stderr, "access %.*s %.*s %.*s %s %d %zu %zu\n", (int)a->peer.n, a->peer.p, (int)a->method.n,
            a->method.p, (int)a->path.n, a->path.p, a->route, a->status, a->body_in, a->body_out);
}

/* ---- commands ---- */
static int64_t deadline(const char *ms)
{
    return odto_now_ns() + (ms ? atol(ms) : 1000) * ODTO_MS;
}

static int serve(odto_error *err)
{
    size_t n = sizeof(routes) / sizeof(routes[0]) - !websocket;
    return http_api.serve(&owners[latest].host, address, "echo", routes, n, cors, max_body, err);
}

static void stop(const char *ms)
{
    feeds_end = true; /* as the core does: threads of owners end before the server */
    while (feeders)
        usleep(1000);
    http_stop(server, deadline(ms));
    printf("stopped\n");
    fflush(stdout);
}

static int command(char *line)
{
    odto_error err = {0};
    char *verb = strtok(line, " \n"), *a = strtok(NULL, " \n"), *b = strtok(NULL, " \n");
    const odto_host *old = &owners[current].host, *next = &owners[latest].host;
    int r = 0;
    if (!strcmp(verb, "gate")) {
        http_gate(server, old, !strcmp(a, "on"));
    } else if (!strcmp(verb, "hold")) {
        pthread_mutex_lock(&queue_lock);
        queue_held = !strcmp(a, "on");
        pthread_cond_signal(&queue_filled);
        pthread_mutex_unlock(&queue_lock);
    } else if (!strcmp(verb, "stage")) {
        latest++;
        owners[latest].generation = latest;
        r = http_stage(server, &owners[latest].host, old);
    } else if (!strcmp(verb, "serve")) {
        r = serve(&err);
    } else if (!strcmp(verb, "clash")) {
        latest++;
        r = serve(&err);
    } else if (!strcmp(verb, "handover")) {
        r = http_handover(server, old, next);
        if (!r)
            current = latest;
    } else if (!strcmp(verb, "drained")) {
        r = http_drained(server, old, deadline(a));
    } else if (!strcmp(verb, "unserve")) {
        r = http_unserve(server, !strcmp(a, "old") ? &owners[current - 1].host : next, deadline(b));
    } else if (!strcmp(verb, "inflight")) {
        r = (int)http_inflight(server, old);
    } else if (!strcmp(verb, "ready")) {
        ready = !strcmp(a, "yes");
    } else if (!strcmp(verb, "prune")) {
        r = http_prune(server);
    } else if (!strcmp(verb, "feeds")) {
        r = feeds_open;
    } else if (!strcmp(verb, "talks")) {
        r = talks_open;
    } else if (!strcmp(verb, "code")) {
        r = talks_code;
    } else {
        r = -ENOSYS;
    }
    char text[1024];
    printf("%d %s\n", r, err.code ? odto_error_text(&err, text, sizeof(text)) : "");
    fflush(stdout);
    return r;
}

static void option(http_config *c, http_listener_options *o, char *arg)
{
    char *v = strchr(arg, '=');
    if (!v)
        return;
    *v++ = 0;
    long n = atol(v);
    const struct {
        const char *name;
        unsigned *u;
        size_t *z;
        int64_t *ms;
        const char **s;
    } all[] = {{"threads", &c->threads, 0, 0, 0},
               {"workers", &c->workers, 0, 0, 0},
               {"workq", &c->worker_queue, 0, 0, 0},
               {"maxconn", &c->max_connections, 0, 0, 0},
               {"streams", &c->max_streams, 0, 0, 0},
               {"maxws", &c->max_websockets, 0, 0, 0},
               {"gateq", &c->gate_queue, 0, 0, 0},
               {"headermax", 0, &c->max_header, 0, 0},
               {"wsqueue", 0, &c->ws_queue, 0, 0},
               {"body", 0, &max_body, 0, 0},
               {"header", 0, 0, &c->header_timeout_ns, 0},
               {"bodytime", 0, 0, &c->body_timeout_ns, 0},
               {"idle", 0, 0, &c->idle_timeout_ns, 0},
               {"gate", 0, 0, &c->gate_timeout_ns, 0},
               {"ping", 0, 0, &c->ws_ping_ns, 0},
               {"dead", 0, 0, &c->ws_dead_ns, 0},
               {"ws", &websocket, 0, 0, 0},
               {"commit", &commit_us, 0, 0, 0},
               {"cors", 0, 0, 0, &cors},
               {"token", 0, 0, 0, &o->auth_token},
               {"cert", 0, 0, 0, &o->tls_cert},
               {"key", 0, 0, 0, &o->tls_key}};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (strcmp(all[i].name, arg))
            continue;
        if (all[i].u)
            *all[i].u = (unsigned)n;
        if (all[i].z)
            *all[i].z = (size_t)n;
        if (all[i].ms)
            *all[i].ms = n * ODTO_MS;
        if (all[i].s)
            *all[i].s = v;
    }
    if (!strcmp(arg, "access"))
        c->hooks.access = hook_access;
}

int main(int argc, char **argv)
{
    http_config c;
    http_listener_options o = {0};
    odto_error err = {0};
    char text[1024], line[256];
    pthread_t answerer;
    signal(SIGPIPE, SIG_IGN);
    http_config_default(&c);
    c.version = "1.2.3";
    c.hooks = (http_hooks){.self = hook_self,
                           .ready = hook_ready,
                           .metrics = hook_metrics,
                           .histogram = hook_histogram,
                           .log = hook_log};
    address = argc > 1 ? argv[1] : "127.0.0.1:0";
    for (int i = 2; i < argc; i++)
        option(&c, &o, argv[i]);
    server = http_new(&c, &err);
    if (!server || http_start(server, &err) || http_listen(server, address, &o, &err) || serve(&err)) {
        fprintf(stderr, "%s\n", odto_error_text(&err, text, sizeof(text)));
        return 1;
    }
    pthread_create(&answerer, NULL, answer_main, NULL);
    printf("port %d\n", http_port(server, address));
    fflush(stdout);
    while (fgets(line, sizeof(line), stdin) && strncmp(line, "quit", 4))
        command(line);
    stop(strlen(line) > 5 ? line + 5 : NULL);
    pthread_mutex_lock(&queue_lock);
    queue_quit = true;
    pthread_cond_signal(&queue_filled);
    pthread_mutex_unlock(&queue_lock);
    pthread_join(answerer, NULL);
    return 0;
}
