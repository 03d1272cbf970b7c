/* fakehost.c — see fakehost.h. */
#include "fakehost.h"

#include <check.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

struct odto_route {
    char topic[64];
};
struct odto_timer {
    void (*fn)(void *arg);
    void *arg;
    int64_t delay; /* < 0: not armed */
};
struct odto_thread {
    odto_thread *next;
    pthread_t id;
    void (*fn)(void *arg);
    void *arg;
    bool joined;
};
struct odto_http_stream {
    odto_http_request *rq;
};
struct odto_http_request {
    odto_http_request *next; /* all_requests */
    fakehost *f;
    char method[16], target[2048], path[1024];
    char names[32][64], values[32][1024];
    size_t n_headers;
    char query_value[8][1024];
    size_t n_query;
    char param[256];
    const odto_http_route *route;
    char *body;
    size_t body_n;
    odto_uuid correlation;
    fake_reply reply;
    odto_http_stream stream;
    void (*closed)(void *);
    void *closed_arg;
    int write_rc;
};

/* Requests live until the test's process ends: tests look at replies when the plugin has been stopped. */
static odto_http_request *all_requests;

static fakehost *of(odto_host *h)
{
    return h->priv;
}

/* ---- log, metrics, time ------------------------------------------------------------------------ */

static bool log_enabled(odto_host *h, odto_level level)
{
    (void)h, (void)level;
    return getenv("FAKEHOST_LOG") != NULL;
}

static void log_line(odto_host *h, odto_level level, const odto_uuid *correlation, const char *fmt, ...)
{
    (void)h, (void)correlation;
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "log %d: ", (int)level);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
}

static void fail_instance(odto_host *h, bool permanent, const odto_error *err)
{
    (void)permanent, (void)err;
    of(h)->failures++;
}

static void beat(odto_host *h)
{
    (void)h;
}

static bool stopping(odto_host *h)
{
    return __atomic_load_n(&of(h)->stopping, __ATOMIC_ACQUIRE);
}

static void health_changed(odto_host *h)
{
    __atomic_fetch_add(&of(h)->health_changes, 1, __ATOMIC_RELEASE);
}

static odto_metric *metric(odto_host *h, odto_metric_type type, const char *name, const char *help,
                           const char *labels, const char *const *values, const double *bounds,
                           size_t n_bounds)
{
    (void)type, (void)help, (void)bounds, (void)n_bounds;
    fakehost *f = of(h);
    char key[256];
    if (labels)
        snprintf(key, sizeof key, "%s{%s}", name, values[0]);
    else
        snprintf(key, sizeof key, "%s", name);
    odto_metric *found = NULL;
    pthread_mutex_lock(&f->lock);
    for (size_t i = 0; i < f->n_metrics && !found; i++)
        if (strcmp(f->metrics[i].key, key) == 0)
            found = &f->metrics[i].cell;
    if (!found && f->n_metrics < sizeof f->metrics / sizeof *f->metrics) {
        strcpy(f->metrics[f->n_metrics].key, key);
        found = &f->metrics[f->n_metrics++].cell;
    }
    pthread_mutex_unlock(&f->lock);
    return found;
}

static int metric_fn(odto_host *h, odto_metric_type type, const char *name, const char *help,
                     const char *labels, const char *const *values, double (*fn)(void *arg), void *arg)
{
    (void)h, (void)type, (void)name, (void)help, (void)labels, (void)values, (void)fn, (void)arg;
    return 0;
}

int64_t fakehost_metric(fakehost *f, const char *key)
{
    for (size_t i = 0; i < f->n_metrics; i++)
        if (strcmp(f->metrics[i].key, key) == 0)
            return __atomic_load_n(&f->metrics[i].cell.value, __ATOMIC_RELAXED);
    return -1;
}

static int64_t host_now(odto_host *h)
{
    (void)h;
    return odto_now_ns();
}

static int64_t host_unix_ms(odto_host *h)
{
    (void)h;
    return odto_unix_ms();
}

/* ---- events ------------------------------------------------------------------------------------ */

static odto_route *route(odto_host *h, const char *topic)
{
    static odto_route r;
    snprintf(r.topic, sizeof r.topic, "%s", topic);
    return of(h)->has_route ? &r : NULL;
}

static const char *route_name(const odto_route *r)
{
    return r->topic;
}

static odto_event *event_new(odto_host *h, odto_slice body, uint32_t flags)
{
    (void)h;
    odto_event *e = calloc(1, sizeof *e + body.n + 1);
    char *text = (char *)(e + 1);
    memcpy(text, body.p, body.n);
    e->refs = 1;
    e->flags = flags;
    e->body = odto_slice_of(text, body.n);
    if ((flags & ODTO_EVENT_VALID) && odto_header_parse(e->body, &e->hdr) != 0) {
        free(e);
        return NULL;
    }
    return e;
}

static void event_ref(odto_event *e)
{
    __atomic_fetch_add(&e->refs, 1, __ATOMIC_RELAXED);
}

static void event_unref(odto_event *e)
{
    if (__atomic_fetch_sub(&e->refs, 1, __ATOMIC_ACQ_REL) == 1)
        free(e);
}

static int publish(odto_host *h, odto_route *r, odto_event *const *events, size_t n, uint32_t flags,
                   odto_publish_done *done, void *arg)
{
    (void)r, (void)flags;
    fakehost *f = of(h);
    if (f->publish_rc != 0)
        return f->publish_rc;
    pthread_mutex_lock(&f->lock);
    ck_assert(f->n_events + n <= FAKE_MAX);
    fake_publish p = {done, arg, f->n_events, n};
    for (size_t i = 0; i < n; i++) {
        event_ref(events[i]);
        f->events[f->n_events++] = events[i];
    }
    bool hold = f->hold;
    if (hold)
        f->held[f->n_held++] = p;
    pthread_mutex_unlock(&f->lock);
    if (!hold)
        done(arg, f->publish_result);
    return 0;
}

void fakehost_release(fakehost *f, int result)
{
    for (size_t i = 0; i < f->n_held; i++)
        f->held[i].done(f->held[i].arg, result);
    f->n_held = 0;
}

static void settle(odto_host *h, const odto_lease *leases, size_t n, odto_verdict v, const char *why)
{
    fakehost *f = of(h);
    pthread_mutex_lock(&f->lock);
    for (size_t i = 0; i < n; i++) {
        ck_assert(f->n_settled < FAKE_MAX);
        fake_settled *s = &f->settled[f->n_settled];
        s->lease = leases[i];
        s->verdict = v;
        snprintf(s->why, sizeof s->why, "%s", why ? why : "");
        __atomic_fetch_add(&f->n_settled, 1, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&f->lock);
}

static void route_stats(const odto_route *r, odto_route_stats *out);

static void prefetch(odto_host *h, odto_route *r, uint32_t n)
{
    (void)r;
    __atomic_store_n(&of(h)->prefetch, n, __ATOMIC_RELEASE);
}

odto_event *fakehost_event(fakehost *f, const char *body, bool valid)
{
    odto_event *e = event_new(&f->host, odto_slice_str(body), valid ? ODTO_EVENT_VALID : 0);
    ck_assert_ptr_nonnull(e);
    return e;
}

odto_lease fakehost_lease(fakehost *f, const char *body, bool valid)
{
    static uint64_t seq;
    return (odto_lease){.event = fakehost_event(f, body, valid), .seq = ++seq, .attempt = 1};
}

bool fake_wait_count(const size_t *n, size_t want)
{
    for (int i = 0; i < 5000 && __atomic_load_n(n, __ATOMIC_ACQUIRE) < want; i++)
        usleep(1000);
    return __atomic_load_n(n, __ATOMIC_ACQUIRE) >= want;
}

/* ---- stores, handlers, threads, timers --------------------------------------------------------- */

void fakehost_store(fakehost *f, const char *option, const odto_store_iface *iface, void *self)
{
    f->store_options[f->n_stores] = option;
    f->stores[f->n_stores++] = (odto_store_ref){iface, self, "main"};
}

static int store(odto_host *h, const char *option, odto_store_ref *out, odto_error *err)
{
    fakehost *f = of(h);
    for (size_t i = 0; i < f->n_stores; i++)
        if (strcmp(f->store_options[i], option) == 0) {
            *out = f->stores[i];
            return 0;
        }
    return odto_fail(err, -ENOENT, "no store for option %s", option);
}

static size_t handlers(odto_host *h, odto_handler_ref *out, size_t max)
{
    fakehost *f = of(h);
    for (size_t i = 0; i < f->n_handlers && i < max; i++)
        out[i] = f->handlers[i];
    return f->n_handlers;
}

static void *thread_main(void *arg)
{
    odto_thread *t = arg;
    t->fn(t->arg);
    return NULL;
}

static int thread_start(odto_host *h, const char *name, void (*fn)(void *arg), void *arg, odto_thread **out)
{
    (void)name;
    odto_thread *t = calloc(1, sizeof *t);
    t->fn = fn;
    t->arg = arg;
    t->next = of(h)->threads;
    of(h)->threads = t;
    *out = t;
    return -pthread_create(&t->id, NULL, thread_main, t);
}

static void thread_join(odto_host *h, odto_thread *t)
{
    (void)h;
    if (!t->joined)
        pthread_join(t->id, NULL);
    t->joined = true;
}

static odto_timer *timer_new(odto_host *h, void (*fn)(void *arg), void *arg)
{
    odto_timer *t = calloc(1, sizeof *t);
    *t = (odto_timer){fn, arg, -1};
    of(h)->timer = t;
    return t;
}

static void timer_arm(odto_timer *t, int64_t delay_ns)
{
    __atomic_store_n(&t->delay, delay_ns, __ATOMIC_RELEASE);
}

static void timer_free(odto_timer *t)
{
    free(t);
}

void fakehost_fire(fakehost *f)
{
    if (!f->timer || __atomic_load_n(&f->timer->delay, __ATOMIC_ACQUIRE) < 0)
        return;
    timer_arm(f->timer, -1);
    f->timer->fn(f->timer->arg);
}

/* ---- HTTP -------------------------------------------------------------------------------------- */

static int serve(odto_host *h, const char *address, const char *service, const odto_http_route *routes,
                 size_t n, const char *cors, size_t max_body, odto_error *err)
{
    (void)service, (void)max_body, (void)err;
    fakehost *f = of(h);
    snprintf(f->served[f->n_served++], sizeof f->served[0], "%s", address);
    f->cors = cors;
    for (size_t i = 0; i < n; i++)
        f->routes[f->n_routes++] = routes[i];
    return 0;
}

static odto_slice rq_method(const odto_http_request *rq)
{
    return odto_slice_str(rq->method);
}

static odto_slice rq_path(const odto_http_request *rq)
{
    return odto_slice_str(rq->path);
}

static odto_slice rq_param(const odto_http_request *rq, const char *name)
{
    (void)name; /* routes of the tested plugins have one at most */
    return odto_slice_str(rq->param);
}

static void decode(const char *from, size_t n, char *to)
{
    for (size_t i = 0; i < n; i++) {
        unsigned code;
        if (from[i] == '%' && i + 2 < n + 0 && sscanf(from + i + 1, "%2x", &code) == 1) {
            *to++ = (char)code;
            i += 2;
        } else {
            *to++ = from[i];
        }
    }
    *to = 0;
}

static odto_slice rq_query(const odto_http_request *rq, const char *name)
{
    odto_http_request *w = (odto_http_request *)(uintptr_t)rq;
    const char *p = strchr(rq->target, '?');
    size_t want = strlen(name);
    while (p) {
        const char *at = p + 1, *end = strchr(at, '&');
        size_t n = end ? (size_t)(end - at) : strlen(at);
        if (n >= want && memcmp(at, name, want) == 0 && (n == want || at[want] == '=')) {
            char *out = w->query_value[w->n_query++ % 8];
            decode(at + want + (n > want), n - want - (n > want), out);
            return odto_slice_str(out);
        }
        p = end;
    }
    return odto_slice_of(NULL, 0);
}

static odto_slice rq_query_string(const odto_http_request *rq)
{
    const char *p = strchr(rq->target, '?');
    return odto_slice_str(p ? p + 1 : NULL);
}

static odto_slice rq_header(const odto_http_request *rq, const char *name)
{
    for (size_t i = 0; i < rq->n_headers; i++)
        if (strcasecmp(rq->names[i], name) == 0)
            return odto_slice_str(rq->values[i]);
    return odto_slice_of(NULL, 0);
}

static odto_slice rq_body(const odto_http_request *rq)
{
    return odto_slice_of(rq->body, rq->body_n);
}

static odto_slice rq_peer(const odto_http_request *rq)
{
    (void)rq;
    return odto_slice_str("127.0.0.1");
}

static const odto_uuid *rq_correlation(const odto_http_request *rq)
{
    return &rq->correlation;
}

static void add_headers(fake_reply *r, const odto_http_header *headers, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t at = strlen(r->headers);
        snprintf(r->headers + at, sizeof r->headers - at, "%s: %s\n", headers[i].name, headers[i].value);
    }
}

static void reply(odto_http_request *rq, int status, const odto_http_header *headers, size_t n_headers,
                  odto_slice body, void (*body_free)(void *), void *body_arg)
{
    pthread_mutex_lock(&rq->f->lock);
    ck_assert_msg(rq->reply.status == 0, "a second reply to %s", rq->target);
    add_headers(&rq->reply, headers, n_headers);
    odto_buf_put(&rq->reply.body, body.p, body.n);
    __atomic_store_n(&rq->reply.status, status, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&rq->f->lock);
    if (body_free)
        body_free(body_arg);
}

static void reply_error(odto_http_request *rq, int status, const char *error, const char *path,
                        const char *message, int retry_after_s)
{
    odto_buf b = {0};
    odto_buf_str(&b, "{\"error\":");
    odto_buf_jsonz(&b, error);
    if (path) {
        odto_buf_str(&b, ",\"details\":[{\"path\":");
        odto_buf_jsonz(&b, path);
        odto_buf_str(&b, ",\"message\":");
        odto_buf_jsonz(&b, message);
        odto_buf_str(&b, "}]");
    }
    odto_buf_str(&b, "}");
    rq->reply.retry_after = retry_after_s;
    reply(rq, status, NULL, 0, odto_slice_of(b.p, b.n), NULL, NULL);
    odto_buf_free(&b);
}

static odto_http_stream *reply_stream(odto_http_request *rq, int status, const odto_http_header *headers,
                                      size_t n_headers, size_t max_queued, void (*closed)(void *arg),
                                      void *arg)
{
    (void)max_queued;
    rq->closed = closed;
    rq->closed_arg = arg;
    rq->stream.rq = rq;
    rq->reply.stream = true;
    reply(rq, status, headers, n_headers, odto_slice_of(NULL, 0), NULL, NULL);
    return &rq->stream;
}

static int stream_write(odto_http_stream *s, odto_slice data)
{
    pthread_mutex_lock(&s->rq->f->lock);
    int rc = s->rq->write_rc;
    if (rc == 0)
        odto_buf_put(&s->rq->reply.body, data.p, data.n);
    pthread_mutex_unlock(&s->rq->f->lock);
    return rc;
}

static void stream_end(odto_http_stream *s)
{
    pthread_mutex_lock(&s->rq->f->lock);
    ck_assert_msg(!s->rq->reply.stream_ended, "stream_end twice");
    s->rq->reply.stream_ended = true;
    pthread_mutex_unlock(&s->rq->f->lock);
    fake_stream_client_gone(s->rq); /* all was sent: the last that is heard of the stream */
}

void fake_stream_blocked(odto_http_request *rq, int rc)
{
    pthread_mutex_lock(&rq->f->lock);
    rq->write_rc = rc;
    pthread_mutex_unlock(&rq->f->lock);
}

void fake_stream_client_gone(odto_http_request *rq)
{
    pthread_mutex_lock(&rq->f->lock);
    void (*closed)(void *) = rq->closed;
    rq->closed = NULL;
    pthread_mutex_unlock(&rq->f->lock);
    if (closed)
        closed(rq->closed_arg);
}

/* Does the pattern fit the path? *param is what its one {name} segment stands for. */
static bool fits(const char *pattern, const char *path, char param[256])
{
    param[0] = 0;
    while (*pattern && *path) {
        if (*pattern == '{') {
            pattern = strchr(pattern, '}') + 1;
            size_t n = strcspn(path, "/");
            if (n == 0 || n > 255)
                return false;
            memcpy(param, path, n);
            param[n] = 0;
            path += n;
        } else if (*pattern++ != *path++) {
            return false;
        }
    }
    return !*pattern && !*path;
}

static const odto_http_route *find_route(fakehost *f, odto_http_request *rq)
{
    const odto_http_route *found = NULL;
    for (size_t i = 0; i < f->n_routes; i++) {
        char param[256];
        const odto_http_route *r = &f->routes[i];
        if (strcmp(r->method, rq->method) != 0 || !fits(r->path, rq->path, param) || (found && param[0]))
            continue;
        strcpy(rq->param, param);
        found = r;
    }
    return found;
}

odto_http_request *fakehost_send(fakehost *f, const char *method, const char *target,
                                 const char *const *headers, odto_slice body)
{
    odto_http_request *rq = calloc(1, sizeof *rq);
    rq->next = all_requests;
    all_requests = rq;
    rq->f = f;
    snprintf(rq->method, sizeof rq->method, "%s", method);
    snprintf(rq->target, sizeof rq->target, "%s", target);
    snprintf(rq->path, sizeof rq->path, "%.*s", (int)strcspn(target, "?"), target);
    for (; headers && *headers; headers += 2) {
        snprintf(rq->names[rq->n_headers], 64, "%s", headers[0]);
        snprintf(rq->values[rq->n_headers++], 1024, "%s", headers[1]);
    }
    rq->body = malloc(body.n + 1); /* of exactly this size, so that a sanitizer sees reads beyond */
    memcpy(rq->body, body.p ? body.p : "", body.n);
    rq->body_n = body.n;
    odto_uuid_v4(&rq->correlation);
    rq->route = find_route(f, rq);
    ck_assert_msg(rq->route != NULL, "no route %s %s", method, rq->path);
    rq->route->fn(f->self, rq);
    return rq;
}

odto_http_request *fakehost_get(fakehost *f, const char *target)
{
    return fakehost_send(f, "GET", target, NULL, odto_slice_of(NULL, 0));
}

odto_http_request *fakehost_post(fakehost *f, const char *target, const char *body)
{
    static const char *const json[] = {"Content-Type", "application/json", NULL};
    return fakehost_send(f, "POST", target, json, odto_slice_str(body));
}

bool fake_replied(const odto_http_request *rq)
{
    return __atomic_load_n(&rq->reply.status, __ATOMIC_ACQUIRE) != 0;
}

const fake_reply *fake_reply_of(odto_http_request *rq)
{
    for (int i = 0; i < 5000 && !fake_replied(rq); i++)
        usleep(1000);
    ck_assert_msg(fake_replied(rq), "no reply to %s %s", rq->method, rq->target);
    return &rq->reply;
}

const char *fake_body(odto_http_request *rq)
{
    fake_reply_of(rq);
    return rq->reply.body.p ? rq->reply.body.p : "";
}

const char *fake_header(odto_http_request *rq, const char *name)
{
    static char value[1024];
    size_t n = strlen(name);
    fake_reply_of(rq);
    for (const char *p = rq->reply.headers; p && *p; p = strchr(p, '\n') + 1)
        if (strncasecmp(p, name, n) == 0 && p[n] == ':') {
            snprintf(value, sizeof value, "%.*s", (int)strcspn(p + n + 2, "\n"), p + n + 2);
            return value;
        }
    return NULL;
}

/* ---- configuration and life -------------------------------------------------------------------- */

static void parse_enum(const odto_option *o, odto_value *v)
{
    int64_t index = 0;
    for (const char *p = o->choices; p; index++) {
        size_t n = strcspn(p, "|");
        if (v->s && strlen(v->s) == n && memcmp(p, v->s, n) == 0)
            v->i = index;
        p = p[n] ? p + n + 1 : NULL;
    }
}

static void parse_value(const odto_option *o, const char *text, odto_value *v)
{
    v->s = text;
    if (!text)
        return;
    if (o->type == ODTO_OPT_INT)
        v->i = strtoll(text, NULL, 10);
    else if (o->type == ODTO_OPT_BOOL)
        v->i = strcmp(text, "yes") == 0;
    else if (o->type == ODTO_OPT_DURATION)
        ck_assert_int_eq(odto_duration_parse(odto_slice_str(text), &v->i), 0);
    else if (o->type == ODTO_OPT_SIZE)
        ck_assert_int_eq(odto_size_parse(odto_slice_str(text), &v->i), 0);
    else if (o->type == ODTO_OPT_ENUM)
        parse_enum(o, v);
}

static void configure(fakehost *f)
{
    const odto_plugin *p = f->plugin;
    odto_value *values = calloc(p->n_options + 1, sizeof *values);
    for (size_t i = 0; i < p->n_options; i++) {
        const char *text = p->options[i].default_value;
        for (const char *const *o = f->options; o && *o; o += 2)
            if (strcmp(o[0], p->options[i].name) == 0)
                text = o[1];
        parse_value(&p->options[i], text, &values[i]);
    }
    f->config = (odto_config){.instance = "test",
                              .file = "test.ini",
                              .options = p->options,
                              .values = values,
                              .n = p->n_options,
                              .data_dir = "/nonexistent",
                              .host_name = "testhost"};
}

static const odto_host_api api_template = {
    .size = sizeof(odto_host_api),
    .abi_major = ODTO_ABI_MAJOR,
    .abi_minor = ODTO_ABI_MINOR,
    .log_enabled = log_enabled,
    .log = log_line,
    .fail = fail_instance,
    .beat = beat,
    .stopping = stopping,
    .health_changed = health_changed,
    .metric = metric,
    .metric_fn = metric_fn,
    .route = route,
    .route_name = route_name,
    .event_new = event_new,
    .event_ref = event_ref,
    .event_unref = event_unref,
    .publish = publish,
    .settle = settle,
    .route_stats = route_stats,
    .prefetch = prefetch,
    .store = store,
    .handlers = handlers,
    .thread_start = thread_start,
    .thread_join = thread_join,
    .timer_new = timer_new,
    .timer_set = timer_arm,
    .timer_free = timer_free,
    .now = host_now,
    .unix_ms = host_unix_ms,
};
static const odto_http_api http_template = {
    .size = sizeof(odto_http_api),
    .serve = serve,
    .method = rq_method,
    .path = rq_path,
    .param = rq_param,
    .query = rq_query,
    .query_string = rq_query_string,
    .header = rq_header,
    .body = rq_body,
    .peer = rq_peer,
    .correlation = rq_correlation,
    .reply = reply,
    .reply_error = reply_error,
    .reply_stream = reply_stream,
    .stream_write = stream_write,
    .stream_end = stream_end,
};
static fakehost *the_host; /* route_stats has no handle */

static void route_stats(const odto_route *r, odto_route_stats *out)
{
    (void)r;
    *out = the_host->route_stats;
}

void fakehost_setup(fakehost *f, const odto_plugin *p)
{
    memset(f, 0, sizeof *f);
    the_host = f;
    pthread_mutex_init(&f->lock, NULL);
    f->plugin = p;
    f->api = api_template;
    f->http = http_template;
    f->api.http = &f->http;
    f->host = (odto_host){&f->api, f};
    f->has_route = true;
    f->route_stats.capacity = 1024;
}

int fakehost_init(fakehost *f, odto_error *err)
{
    configure(f);
    return f->plugin->ops->init(&f->host, &f->config, &f->self, err);
}

int fakehost_start(fakehost *f, odto_error *err)
{
    return f->plugin->ops->start(f->self, err);
}

void fakehost_stop(fakehost *f)
{
    const odto_plugin_ops *ops = f->plugin->ops;
    if (ops->quiesce)
        ck_assert_int_eq(ops->quiesce(f->self, odto_now_ns() + 5 * ODTO_SEC), 0);
    __atomic_store_n(&f->stopping, true, __ATOMIC_RELEASE);
    if (ops->stop)
        ops->stop(f->self);
    while (f->threads) {
        odto_thread *t = f->threads;
        f->threads = t->next;
        thread_join(&f->host, t);
        free(t);
    }
    ops->fini(f->self);
    for (size_t i = 0; i < f->n_events; i++)
        event_unref(f->events[i]);
    free((void *)(uintptr_t)f->config.values);
}
