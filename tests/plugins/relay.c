/* relay.c — a service that uses most of what a host offers: it consumes relay.in and publishes each event to
 * relay.out, acknowledging when that is durable; POST /relay?n=N publishes N events to relay.in; GET
 * /relay/{name} tells what it knows. "crash" in an event's payload ends the process on the first
 * delivery, "spin" and "block" keep it. */
#include <odto/plugin.h>

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct relay {
    odto_host *host;
    const odto_config *config;
    odto_route *in, *out;
    odto_timer *timer;
    odto_metric *relayed, *took;
    _Atomic uint64_t ticks, beats, made;
    odto_http_route routes[4];
};

struct handed { /* one event between its routes */
    struct relay *r;
    odto_lease lease;
};

static const odto_option options[] = {
    {.name = "listen", .type = ODTO_OPT_ADDRESS, .flags = ODTO_OPTION_REQUIRED, .help = "Where it serves."},
};

static int relay_init(odto_host *h, const odto_config *c, void **self, odto_error *err)
{
    struct relay *r = calloc(1, sizeof *r);
    if (!r)
        return odto_fail(err, -ENOMEM, "no memory");
    r->host = h;
    r->config = c;
    *self = r;
    return 0;
}

static void on_tick(void *arg)
{
    struct relay *r = arg;
    atomic_fetch_add(&r->ticks, 1);
    r->host->api->timer_set(r->timer, 10 * ODTO_MS);
}

static void beat(void *arg)
{
    struct relay *r = arg;
    while (!r->host->api->stopping(r->host)) {
        r->host->api->beat(r->host);
        atomic_fetch_add(&r->beats, 1);
        usleep(5000);
    }
}

static double ticks_of(void *arg)
{
    struct relay *r = arg;
    return (double)atomic_load(&r->ticks) + 0.5;
}

/* ---- HTTP ---- */

static odto_event *make(struct relay *r, const char *text)
{
    return r->host->api->event_new(r->host, odto_slice_str(text), 0);
}

static void published(void *arg, int result)
{
    odto_http_request *rq = ((void **)arg)[0];
    struct relay *r = ((void **)arg)[1];
    free(arg);
    if (result < 0)
        r->host->api->http->reply_error(rq, 503, "refused", "n", strerror(-result), 7);
    else
        r->host->api->http->reply(rq, 202, NULL, 0, odto_slice_str("{}"), NULL, NULL);
}

static void post(void *self, odto_http_request *rq)
{
    struct relay *r = self;
    const odto_host_api *api = r->host->api;
    odto_slice n = api->http->query(rq, "n"), body = api->http->body(rq);
    odto_event *events[1000];
    size_t count = n.n ? (size_t)atoi(n.p) : 1, made = 0;
    char text[200];
    while (made < count && made < 1000) {
        snprintf(text, sizeof text, "{\"number\":%llu,\"body\":\"%.*s\"}",
                 (unsigned long long)atomic_fetch_add(&r->made, 1), (int)(body.n < 100 ? body.n : 100),
                 body.p);
        events[made++] = make(r, text);
    }
    void **arg = malloc(2 * sizeof *arg);
    arg[0] = rq;
    arg[1] = r;
    int e = api->publish(r->host, r->in, events, made, 0, published, arg);
    while (made)
        api->event_unref(events[--made]);
    if (e < 0)
        published(arg, e);
}

static void put_fd(struct relay *r)
{
    int fd = memfd_create("kept", 0);
    if (write(fd, "kept words", 10) == 10)
        r->host->api->fd_put(r->host, "kept", fd, odto_slice_str("a note"));
}

static void get(void *self, odto_http_request *rq)
{
    struct relay *r = self;
    const odto_host_api *api = r->host->api;
    const odto_http_header headers[] = {{"X-Relay", "yes"}};
    char names[4][64], kept[32] = "", text[600];
    odto_buf note = {0};
    odto_route_stats s = {0};
    size_t n = api->fd_names(r->host, names, 4);
    int fd = n ? api->fd_take(r->host, "kept", &note) : -1;
    if (fd >= 0) {
        ssize_t got = pread(fd, kept, sizeof kept - 1, 0);
        kept[got > 0 ? got : 0] = '\0';
        close(fd);
    } else {
        put_fd(r);
    }
    api->route_stats(r->out, &s);
    odto_slice name = api->http->param(rq, "name"), q = api->http->query(rq, "q"),
               h = api->http->header(rq, "x-word");
    int len = snprintf(text, sizeof text,
                       "{\"name\":\"%.*s\",\"q\":\"%.*s\",\"word\":\"%.*s\",\"method\":\"%.*s\",\"kept\":\"%"
                       "s\",\"note\":\"%s\","
                       "\"ticks\":%llu,\"beats\":%llu,\"out\":%llu,\"pid\":%d}",
                       (int)name.n, name.p, (int)q.n, q.p ? q.p : "", (int)h.n, h.p ? h.p : "",
                       (int)api->http->method(rq).n, api->http->method(rq).p, kept, note.p ? note.p : "",
                       (unsigned long long)atomic_load(&r->ticks), (unsigned long long)atomic_load(&r->beats),
                       (unsigned long long)s.published, (int)getpid());
    odto_buf_free(&note);
    api->http->reply(rq, 200, headers, 1, odto_slice_of(text, (size_t)len), NULL, NULL);
}

static void slow(void *self, odto_http_request *rq)
{
    struct relay *r = self;
    usleep(200000);
    r->host->api->http->reply(rq, 200, NULL, 0, odto_slice_str("{}"), NULL, NULL);
}

/* ---- events ---- */

static void relayed(void *arg, int result)
{
    struct handed *h = arg;
    struct relay *r = h->r;
    r->host->api->settle(r->host, &h->lease, 1, result < 0 ? ODTO_RETURN : ODTO_ACK,
                         result < 0 ? "not passed on" : NULL);
    odto_metric_add(r->relayed, result == 0);
    odto_metric_observe(r->took, 0.002);
    free(h);
}

static void get_stuck(odto_slice body)
{
    for (volatile int i = 0; memmem(body.p, body.n, "spin", 4); i++)
        continue;
    while (memmem(body.p, body.n, "block", 5))
        pause();
}

static void relay_handle(void *self, const odto_lease *leases, size_t n)
{
    struct relay *r = self;
    for (size_t i = 0; i < n; i++) {
        odto_event *e = leases[i].event;
        if (leases[i].attempt == 1 && memmem(e->body.p, e->body.n, "crash", 5))
            abort();
        if (leases[i].attempt == 1)
            get_stuck(e->body);
        if (memmem(e->body.p, e->body.n, "reject", 6)) {
            r->host->api->settle(r->host, &leases[i], 1, ODTO_REJECT, "as it asked");
            continue;
        }
        struct handed *h = malloc(sizeof *h);
        *h = (struct handed){r, leases[i]};
        int x = r->host->api->publish(r->host, r->out, &e, 1, ODTO_PUBLISH_WAIT, relayed, h);
        if (x < 0)
            relayed(h, x);
    }
}

/* ---- lifecycle ---- */

static int relay_start(void *self, odto_error *err)
{
    static const double bounds[] = {.001, .01};
    struct relay *r = self;
    const odto_host_api *api = r->host->api;
    r->in = api->route(r->host, "relay.in");
    r->out = api->route(r->host, "relay.out");
    if (!r->in || !r->out || api->route(r->host, "nowhere"))
        return odto_fail(err, -ENOENT, "a route is missing, or one too many");
    r->relayed = api->metric(r->host, ODTO_COUNTER, "relay_relayed_total", "Passed on.", NULL, NULL, NULL, 0);
    r->took = api->metric(r->host, ODTO_HISTOGRAM, "relay_seconds", "Time.", NULL, NULL, bounds, 2);
    api->metric_fn(r->host, ODTO_GAUGE, "relay_ticks", "Ticks.", NULL, NULL, ticks_of, r);
    r->timer = api->timer_new(r->host, on_tick, r);
    api->timer_set(r->timer, 0);
    int x = api->thread_start(r->host, "beat", beat, r, NULL);
    if (x < 0)
        return odto_fail(err, x, "no thread");
    r->routes[0] = (odto_http_route){.method = "POST", .path = "/relay", .fn = post};
    r->routes[1] = (odto_http_route){.method = "GET", .path = "/relay/{name}", .fn = get};
    r->routes[2] =
        (odto_http_route){.method = "GET", .path = "/slow", .fn = slow, .flags = ODTO_HTTP_BLOCKING};
    return api->http->serve(r->host, odto_config_str(r->config, "listen"), "relay", r->routes, 3, NULL, 0,
                            err);
}

static void relay_stop(void *self)
{
    struct relay *r = self;
    r->host->api->timer_free(r->timer);
    odto_log(r->host, ODTO_INFO, "relay stops, another comes: %s",
             r->host->api->replaced(r->host) ? "yes" : "no");
}

static void relay_fini(void *self)
{
    free(self);
}

static const char *const consumes[] = {"relay.in", NULL}, *const produces[] = {"relay.out", NULL};
static const odto_plugin_ops ops = {.size = sizeof ops,
                                    .init = relay_init,
                                    .start = relay_start,
                                    .handle = relay_handle,
                                    .stop = relay_stop,
                                    .fini = relay_fini};

ODTO_PLUGIN_DEFINE("relay", "1.0", ODTO_KIND_SERVICE, .summary = "Test fixture.", .options = options,
                   .n_options = sizeof options / sizeof options[0], .consumes = consumes,
                   .produces = produces, .ops = &ops);
