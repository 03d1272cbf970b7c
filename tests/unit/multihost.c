/* multihost.c — see multihost.h. One lock for everything that is recorded; callbacks are made without it. */
#include "multihost.h"
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_INSTANCES 16
#define MAX_THREADS   128
#define MAX_ROUTES    8
#define MAX_METRICS   512

struct odto_thread {
    pthread_t id;
    void (*fn)(void *arg);
    void *arg;
    bool used;
};

struct odto_timer {
    multihost *f;
    void (*fn)(void *arg);
    void *arg;
    int64_t at; /* 0: not set */
    bool running, freed;
    odto_timer *next;
};

struct odto_route {
    char name[64];
    char **bodies;
    size_t n, cap;
    int refuse;
    bool later, hold;
    struct {
        odto_publish_done *done;
        void *arg;
    } held[64];
    size_t n_held;
};

typedef struct cell {
    char name[96], value[96];
    odto_metric m;
} cell;

struct multiinstance {
    multihost *f;
    char name[32];
    odto_host host;
    const odto_plugin *plugin;
    void *dl, *self;
    odto_config config;
    odto_value *values;
    struct odto_thread threads[MAX_THREADS];
    bool started;
};

struct multihost {
    pthread_mutex_t lock;
    pthread_cond_t timer_changed;
    pthread_t timer_thread;
    odto_timer *timers;
    bool end, quiet;
    multiinstance *instances[MAX_INSTANCES];
    size_t n_instances;
    odto_handler_ref handlers[MAX_INSTANCES];
    size_t n_handlers;
    odto_store_ref store;
    odto_route routes[MAX_ROUTES];
    size_t n_routes;
    cell cells[MAX_METRICS];
    size_t n_cells;
    multisettled settled;
    uint32_t prefetch;
    odto_lease *held; /* events of leases that are not settled */
};

static multiinstance *of(odto_host *h)
{
    return h->priv;
}

/* ---- log, supervision ---- */

static bool log_enabled(odto_host *h, odto_level level)
{
    return getenv("MULTIHOST_DEBUG") || (level >= ODTO_ERROR && !of(h)->f->quiet);
}

static void log_line(odto_host *h, odto_level level, const odto_uuid *correlation, const char *fmt, ...)
{
    char line[1024];
    va_list ap;
    (void)correlation;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    fprintf(stderr, "# %s %d: %s\n", of(h)->name, level, line);
}

static void failed(odto_host *h, bool permanent, const odto_error *err)
{
    fprintf(stderr, "# %s failed (%d): %s\n", of(h)->name, permanent, err->message);
}

static void nothing(odto_host *h)
{
    (void)h;
}

static bool stopping(odto_host *h)
{
    (void)h;
    return false;
}

/* ---- metrics ---- */

static cell *find_cell(multihost *f, const char *name, const char *value)
{
    for (size_t i = 0; i < f->n_cells; i++)
        if (!strcmp(f->cells[i].name, name) && !strcmp(f->cells[i].value, value))
            return &f->cells[i];
    return NULL;
}

/* Label values joined by '/'. */
static odto_metric *metric(odto_host *h, odto_metric_type type, const char *name, const char *help,
                           const char *labels, const char *const *values, const double *bounds,
                           size_t n_bounds)
{
    multihost *f = of(h)->f;
    char joined[96] = "";
    (void)type;
    (void)help;
    for (const char *l = labels; l && *l; l = strchr(l, ',') ? strchr(l, ',') + 1 : NULL) {
        if (*joined)
            strncat(joined, "/", sizeof joined - strlen(joined) - 1);
        strncat(joined, *values++, sizeof joined - strlen(joined) - 1);
    }
    pthread_mutex_lock(&f->lock);
    cell *c = find_cell(f, name, joined);
    if (!c && f->n_cells == MAX_METRICS)
        abort();
    if (!c) {
        c = &f->cells[f->n_cells++];
        snprintf(c->name, sizeof c->name, "%s", name);
        snprintf(c->value, sizeof c->value, "%s", joined);
        c->m.bounds = bounds;
        c->m.n_bounds = n_bounds;
        c->m.buckets = calloc(n_bounds + 1, sizeof *c->m.buckets);
    }
    pthread_mutex_unlock(&f->lock);
    return &c->m;
}

static int metric_fn(odto_host *h, odto_metric_type type, const char *name, const char *help,
                     const char *labels, const char *const *values, double (*fn)(void *arg), void *arg)
{
    (void)h;
    (void)type;
    (void)name;
    (void)help;
    (void)labels;
    (void)values;
    fn(arg);
    return 0;
}

int64_t multihost_metric(multihost *f, const char *name, const char *value)
{
    int64_t v = -1;
    pthread_mutex_lock(&f->lock);
    cell *c = find_cell(f, name, value ? value : "");
    if (c) {
        v = __atomic_load_n(&c->m.value, __ATOMIC_RELAXED);
        for (size_t i = 0; c->m.bounds && i <= c->m.n_bounds; i++)
            v += (int64_t)__atomic_load_n(&c->m.buckets[i], __ATOMIC_RELAXED);
    }
    pthread_mutex_unlock(&f->lock);
    return v;
}

/* ---- events and routes ---- */

static odto_route *route(odto_host *h, const char *topic)
{
    multihost *f = of(h)->f;
    odto_route *r = NULL;
    pthread_mutex_lock(&f->lock);
    for (size_t i = 0; i < f->n_routes && !r; i++)
        if (!strcmp(f->routes[i].name, topic))
            r = &f->routes[i];
    if (!r) {
        r = &f->routes[f->n_routes++];
        snprintf(r->name, sizeof r->name, "%s", topic);
    }
    pthread_mutex_unlock(&f->lock);
    return r;
}

static const char *route_name(const odto_route *r)
{
    return r->name;
}

static odto_event *event_new(odto_host *h, odto_slice body, uint32_t flags)
{
    (void)h;
    odto_event *e = calloc(1, sizeof *e + body.n + 1);
    char *copy = (char *)(e + 1);
    memcpy(copy, body.p, body.n);
    e->refs = 1;
    e->flags = flags;
    e->body = odto_slice_of(copy, body.n);
    if ((flags & ODTO_EVENT_VALID) && odto_header_parse(e->body, &e->hdr) < 0) {
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
    if (__atomic_sub_fetch(&e->refs, 1, __ATOMIC_ACQ_REL) == 0)
        free(e);
}

static int publish(odto_host *h, odto_route *r, odto_event *const *events, size_t n, uint32_t flags,
                   odto_publish_done *done, void *arg)
{
    multihost *f = of(h)->f;
    (void)flags;
    pthread_mutex_lock(&f->lock);
    int refuse = r->refuse;
    bool later = r->later;
    for (size_t i = 0; i < n && !refuse; i++) {
        if (r->n == r->cap) {
            r->cap = r->cap ? r->cap * 2 : 64;
            r->bodies = realloc(r->bodies, r->cap * sizeof *r->bodies);
        }
        r->bodies[r->n++] = odto_slice_dup(events[i]->body);
    }
    bool held = r->hold && done && !refuse && r->n_held < sizeof r->held / sizeof r->held[0];
    if (held) {
        r->held[r->n_held].done = done;
        r->held[r->n_held++].arg = arg;
    }
    pthread_mutex_unlock(&f->lock);
    if (refuse && !later)
        return refuse;
    if (done && !held)
        done(arg, refuse);
    return 0;
}

static void settle(odto_host *h, const odto_lease *leases, size_t n, odto_verdict v, const char *why)
{
    multihost *f = of(h)->f;
    pthread_mutex_lock(&f->lock);
    size_t *count = v == ODTO_ACK      ? &f->settled.acked
                    : v == ODTO_RETURN ? &f->settled.returned
                                       : &f->settled.rejected;
    *count += n;
    if (v == ODTO_REJECT)
        snprintf(f->settled.why, sizeof f->settled.why, "%s", why);
    pthread_mutex_unlock(&f->lock);
    for (size_t i = 0; i < n; i++)
        event_unref(leases[i].event);
}

static void prefetch(odto_host *h, odto_route *r, uint32_t n)
{
    (void)r;
    __atomic_store_n(&of(h)->f->prefetch, n, __ATOMIC_RELAXED);
}

uint32_t multihost_prefetch(multihost *f)
{
    return __atomic_load_n(&f->prefetch, __ATOMIC_RELAXED);
}

multisettled multihost_settled(multihost *f)
{
    pthread_mutex_lock(&f->lock);
    multisettled s = f->settled;
    pthread_mutex_unlock(&f->lock);
    return s;
}

static odto_route *by_topic(multihost *f, const char *topic)
{
    return route(&f->instances[0]->host, topic);
}

size_t multihost_published(multihost *f, const char *topic)
{
    odto_route *r = by_topic(f, topic);
    pthread_mutex_lock(&f->lock);
    size_t n = r->n;
    pthread_mutex_unlock(&f->lock);
    return n;
}

const char *multihost_body(multihost *f, const char *topic, size_t k)
{
    odto_route *r = by_topic(f, topic);
    pthread_mutex_lock(&f->lock);
    const char *body = k < r->n ? r->bodies[k] : NULL;
    pthread_mutex_unlock(&f->lock);
    return body;
}

void multihost_refuse(multihost *f, const char *topic, int code, bool later)
{
    odto_route *r = by_topic(f, topic);
    pthread_mutex_lock(&f->lock);
    r->refuse = code;
    r->later = later;
    pthread_mutex_unlock(&f->lock);
}

void multihost_hold(multihost *f, const char *topic, bool hold)
{
    odto_route *r = by_topic(f, topic);
    pthread_mutex_lock(&f->lock);
    r->hold = hold;
    while (!hold && r->n_held > 0) {
        r->n_held--;
        odto_publish_done *done = r->held[r->n_held].done;
        void *arg = r->held[r->n_held].arg;
        pthread_mutex_unlock(&f->lock);
        done(arg, 0);
        pthread_mutex_lock(&f->lock);
    }
    pthread_mutex_unlock(&f->lock);
}

size_t multihost_held(multihost *f, const char *topic)
{
    odto_route *r = by_topic(f, topic);
    pthread_mutex_lock(&f->lock);
    size_t n = r->n_held;
    pthread_mutex_unlock(&f->lock);
    return n;
}

void multihost_deliver_many(multiinstance *i, char *const *bodies, size_t n, bool valid)
{
    odto_lease leases[256];
    static _Atomic uint64_t seq = 1;
    for (size_t k = 0; k < n;) {
        size_t m = 0;
        for (; m < 256 && k < n; m++, k++) {
            odto_event *e = event_new(&i->host, odto_slice_str(bodies[k]), valid ? ODTO_EVENT_VALID : 0);
            if (!e)
                abort();
            leases[m] = (odto_lease){.event = e, .seq = seq++, .attempt = 1};
        }
        i->plugin->ops->handle(i->self, leases, m);
    }
}

void multihost_deliver(multiinstance *i, const char *body, bool valid)
{
    char *one[] = {(char *)(uintptr_t)body};
    multihost_deliver_many(i, one, 1, valid);
}

/* ---- stores and handlers ---- */

static int store(odto_host *h, const char *option, odto_store_ref *out, odto_error *err)
{
    (void)option;
    *out = of(h)->f->store;
    return out->iface ? 0 : odto_fail(err, -ENOENT, "no store");
}

static size_t handlers(odto_host *h, odto_handler_ref *out, size_t max)
{
    multihost *f = of(h)->f;
    for (size_t i = 0; i < f->n_handlers && i < max; i++)
        out[i] = f->handlers[i];
    return f->n_handlers;
}

void multihost_store(multihost *f, const odto_store_iface *iface, void *self)
{
    f->store = (odto_store_ref){.iface = iface, .self = self, .name = "fake"};
}

odto_handler_ref *multihost_handler_code(multihost *f, const char *name, const odto_handler_iface *iface,
                                         void *self, const char *const *types, uint32_t concurrency)
{
    odto_handler_ref *r = &f->handlers[f->n_handlers++];
    *r = (odto_handler_ref){.name = name,
                            .types = types,
                            .iface = iface,
                            .self = self,
                            .concurrency = concurrency,
                            .max_attempts = 3,
                            .timeout_ns = 30 * ODTO_SEC,
                            .backoff_ns = ODTO_MS,
                            .backoff_max_ns = 5 * ODTO_MS};
    return r;
}

odto_handler_ref *multihost_handler(multihost *f, multiinstance *i, const char *const *types,
                                    uint32_t concurrency)
{
    return multihost_handler_code(f, i->name, i->plugin->handler, i->self, types, concurrency);
}

/* ---- threads ---- */

static void *thread_main(void *arg)
{
    odto_thread *t = arg;
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    t->fn(t->arg);
    return NULL;
}

static int thread_start(odto_host *h, const char *name, void (*fn)(void *arg), void *arg, odto_thread **out)
{
    multiinstance *i = of(h);
    odto_thread *t = NULL;
    (void)name;
    pthread_mutex_lock(&i->f->lock);
    for (size_t k = 0; k < MAX_THREADS && !t; k++)
        if (!i->threads[k].used)
            t = &i->threads[k];
    if (t)
        *t = (odto_thread){.fn = fn, .arg = arg, .used = true};
    pthread_mutex_unlock(&i->f->lock);
    if (!t)
        return -EAGAIN;
    *out = t;
    return -pthread_create(&t->id, NULL, thread_main, t);
}

static void thread_join(odto_host *h, odto_thread *t)
{
    (void)h;
    if (t->used)
        pthread_join(t->id, NULL);
    t->used = false;
}

size_t multihost_threads(multiinstance *i)
{
    size_t n = 0;
    pthread_mutex_lock(&i->f->lock);
    for (size_t k = 0; k < MAX_THREADS; k++)
        n += i->threads[k].used;
    pthread_mutex_unlock(&i->f->lock);
    return n;
}

/* ---- timers: one thread, a list ---- */

static odto_timer *due_timer(multihost *f, int64_t now, int64_t *next)
{
    *next = now + ODTO_SEC;
    for (odto_timer *t = f->timers; t; t = t->next) {
        if (t->at && t->at <= now)
            return t;
        if (t->at && t->at < *next)
            *next = t->at;
    }
    return NULL;
}

static void *timer_main(void *arg)
{
    multihost *f = arg;
    pthread_mutex_lock(&f->lock);
    while (!f->end) {
        int64_t next;
        odto_timer *t = due_timer(f, odto_now_ns(), &next);
        if (!t) {
            struct timespec ts = {next / ODTO_SEC, next % ODTO_SEC};
            pthread_cond_timedwait(&f->timer_changed, &f->lock, &ts);
            continue;
        }
        t->at = 0;
        t->running = true;
        pthread_mutex_unlock(&f->lock);
        t->fn(t->arg);
        pthread_mutex_lock(&f->lock);
        t->running = false;
        pthread_cond_broadcast(&f->timer_changed);
    }
    pthread_mutex_unlock(&f->lock);
    return NULL;
}

static odto_timer *timer_new(odto_host *h, void (*fn)(void *arg), void *arg)
{
    multihost *f = of(h)->f;
    odto_timer *t = calloc(1, sizeof *t);
    *t = (odto_timer){.f = f, .fn = fn, .arg = arg};
    pthread_mutex_lock(&f->lock);
    t->next = f->timers;
    f->timers = t;
    pthread_mutex_unlock(&f->lock);
    return t;
}

static void timer_set(odto_timer *t, int64_t delay_ns)
{
    pthread_mutex_lock(&t->f->lock);
    t->at = delay_ns < 0 ? 0 : odto_now_ns() + delay_ns;
    pthread_cond_broadcast(&t->f->timer_changed);
    pthread_mutex_unlock(&t->f->lock);
}

static void timer_free(odto_timer *t)
{
    multihost *f = t->f;
    pthread_mutex_lock(&f->lock);
    t->at = 0;
    while (t->running)
        pthread_cond_wait(&f->timer_changed, &f->lock);
    odto_timer **at = &f->timers;
    while (*at != t)
        at = &(*at)->next;
    *at = t->next;
    pthread_mutex_unlock(&f->lock);
    free(t);
}

static int64_t now(odto_host *h)
{
    (void)h;
    return odto_now_ns();
}

static int64_t unix_ms(odto_host *h)
{
    (void)h;
    return odto_unix_ms();
}

static int serve(odto_host *h, const char *address, const char *service, const odto_http_route *routes,
                 size_t n, const char *cors, size_t max_body, odto_error *err)
{
    (void)h;
    (void)address;
    (void)service;
    (void)routes;
    (void)n;
    (void)cors;
    (void)max_body;
    (void)err;
    return 0;
}

static const odto_http_api http = {.size = sizeof http, .serve = serve};

static const odto_host_api api = {
    .size = sizeof api,
    .abi_major = ODTO_ABI_MAJOR,
    .abi_minor = ODTO_ABI_MINOR,
    .http = &http,
    .log_enabled = log_enabled,
    .log = log_line,
    .fail = failed,
    .beat = nothing,
    .stopping = stopping,
    .health_changed = nothing,
    .metric = metric,
    .metric_fn = metric_fn,
    .route = route,
    .route_name = route_name,
    .event_new = event_new,
    .event_ref = event_ref,
    .event_unref = event_unref,
    .publish = publish,
    .settle = settle,
    .prefetch = prefetch,
    .store = store,
    .handlers = handlers,
    .thread_start = thread_start,
    .thread_join = thread_join,
    .timer_new = timer_new,
    .timer_set = timer_set,
    .timer_free = timer_free,
    .now = now,
    .unix_ms = unix_ms,
};

/* ---- options ---- */

static void die(const char *what, const char *which)
{
    fprintf(stderr, "multihost: %s %s\n", what, which);
    abort();
}

static const char *const *cut(const char *text, const char *at, size_t *n)
{
    char **list = calloc(strlen(text) / 2 + 2, sizeof *list), *save = NULL;
    char *copy = strdup(text);
    *n = 0;
    for (char *w = strtok_r(copy, at, &save); w; w = strtok_r(NULL, at, &save))
        list[(*n)++] = strdup(w);
    free(copy);
    return (const char *const *)list;
}

static int enum_index(const char *choices, const char *text, int64_t *out)
{
    size_t n = strlen(text);
    *out = 0;
    for (const char *c = choices; c; c = strchr(c, '|') ? strchr(c, '|') + 1 : NULL, ++*out)
        if (!strncmp(c, text, n) && (c[n] == '|' || !c[n]))
            return 0;
    return -EINVAL;
}

static int parse(const odto_option *o, const char *text, odto_value *v)
{
    v->s = text;
    if (!text)
        return 0;
    switch (o->type) {
    case ODTO_OPT_INT:
        v->i = strtoll(text, NULL, 10);
        return 0;
    case ODTO_OPT_BOOL:
        v->i = !strcmp(text, "yes");
        return 0;
    case ODTO_OPT_DURATION:
        return odto_duration_parse(odto_slice_str(text), &v->i);
    case ODTO_OPT_SIZE:
        return odto_size_parse(odto_slice_str(text), &v->i);
    case ODTO_OPT_ENUM:
        return enum_index(o->choices, text, &v->i);
    case ODTO_OPT_LIST:
        v->list = cut(text, ",", &v->n);
        return 0;
    case ODTO_OPT_ARGV:
        v->list = cut(text, " ", &v->n);
        return 0;
    default:
        return 0;
    }
}

static void read_settings(multiinstance *i, const char *const *settings)
{
    const odto_plugin *p = i->plugin;
    i->values = calloc(p->n_options + 1, sizeof *i->values);
    for (size_t k = 0; k < p->n_options; k++)
        if (parse(&p->options[k], p->options[k].default_value, &i->values[k]) < 0)
            die("bad default of", p->options[k].name);
    for (; settings && *settings; settings++) {
        const char *eq = strchr(*settings, '=');
        size_t n = eq ? (size_t)(eq - *settings) : 0, k = 0;
        while (k < p->n_options &&
               (strlen(p->options[k].name) != n || strncmp(p->options[k].name, *settings, n)))
            k++;
        if (!eq || k == p->n_options || parse(&p->options[k], eq + 1, &i->values[k]) < 0)
            die("bad setting", *settings);
    }
}

static void free_settings(multiinstance *i)
{
    for (size_t k = 0; k < i->plugin->n_options; k++) {
        for (size_t w = 0; i->values[k].list && w < i->values[k].n; w++)
            free((char *)(uintptr_t)i->values[k].list[w]);
        free((void *)(uintptr_t)i->values[k].list);
    }
    free(i->values);
}

/* ---- instances ---- */

multihost *multihost_new(void)
{
    multihost *f = calloc(1, sizeof *f);
    pthread_condattr_t attr;
    pthread_mutex_init(&f->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&f->timer_changed, &attr);
    pthread_condattr_destroy(&attr);
    pthread_create(&f->timer_thread, NULL, timer_main, f);
    return f;
}

static const odto_plugin *open_module(multiinstance *i, const char *module)
{
    char path[512];
    const char *dir = getenv("ODTO_BUILDDIR");
    snprintf(path, sizeof path, "%s/.libs/%s.so", dir ? dir : ".", module);
    i->dl = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!i->dl)
        die("cannot load", dlerror());
    return dlsym(i->dl, "odto_plugin");
}

multiinstance *multihost_load(multihost *f, const char *module, const char *name, const char *const *settings,
                              odto_error *err)
{
    odto_error own = {0}, *e = err ? err : &own;
    char text[1400];
    multiinstance *i = calloc(1, sizeof *i);
    i->f = f;
    i->host = (odto_host){.api = &api, .priv = i};
    snprintf(i->name, sizeof i->name, "%s", name);
    i->plugin = open_module(i, module);
    read_settings(i, settings);
    i->config = (odto_config){.instance = i->name,
                              .file = "/tmp/test.ini",
                              .options = i->plugin->options,
                              .values = i->values,
                              .n = i->plugin->n_options,
                              .data_dir = "/tmp",
                              .host_name = "test"};
    const odto_plugin_ops *ops = i->plugin->ops;
    int r = ops->check_config ? ops->check_config(&i->config, e) : 0;
    if (r == 0)
        r = ops->init(&i->host, &i->config, &i->self, e);
    if (r < 0 && !err)
        die("init:", odto_error_text(e, text, sizeof text));
    if (r < 0) {
        free_settings(i);
        free(i);
        return NULL;
    }
    f->instances[f->n_instances++] = i;
    return i;
}

int multihost_start(multiinstance *i, odto_error *err)
{
    odto_error own = {0};
    char text[1400];
    int r = i->plugin->ops->start(i->self, err ? err : &own);
    if (r < 0 && !err)
        die("start:", odto_error_text(&own, text, sizeof text));
    i->started = true;
    return r;
}

int multihost_quiesce(multiinstance *i, int64_t ms)
{
    return i->plugin->ops->quiesce(i->self, odto_now_ns() + ms * ODTO_MS);
}

void multihost_stop(multiinstance *i)
{
    if (!i->self)
        return;
    if (i->started)
        i->plugin->ops->stop(i->self);
    for (size_t k = 0; k < MAX_THREADS; k++)
        if (i->threads[k].used)
            thread_join(&i->host, &i->threads[k]);
    i->plugin->ops->fini(i->self);
    i->self = NULL;
}

void *multihost_self(multiinstance *i)
{
    return i->self;
}
const odto_plugin *multihost_plugin(multiinstance *i)
{
    return i->plugin;
}
odto_host *multihost_of(multiinstance *i)
{
    return &i->host;
}

odto_health multihost_health(multiinstance *i)
{
    odto_health h = {.ready = true};
    if (i->plugin->ops->health)
        i->plugin->ops->health(i->self, &h);
    return h;
}

void multihost_quiet(multihost *f, bool quiet)
{
    f->quiet = quiet;
}

void multihost_free(multihost *f)
{
    for (size_t i = f->n_instances; i > 0; i--)
        multihost_stop(f->instances[i - 1]);
    pthread_mutex_lock(&f->lock);
    f->end = true;
    pthread_cond_broadcast(&f->timer_changed);
    pthread_mutex_unlock(&f->lock);
    pthread_join(f->timer_thread, NULL);
    for (size_t i = 0; i < f->n_instances; i++) {
        free_settings(f->instances[i]);
        free(f->instances[i]);
    }
    for (size_t i = 0; i < f->n_routes; i++) {
        for (size_t k = 0; k < f->routes[i].n; k++)
            free(f->routes[i].bodies[k]);
        free(f->routes[i].bodies);
    }
    for (size_t i = 0; i < f->n_cells; i++)
        free(f->cells[i].m.buckets);
    pthread_cond_destroy(&f->timer_changed);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

bool multihost_wait(bool (*fn)(void *arg), void *arg, const char *what)
{
    const struct timespec tick = {0, ODTO_MS};
    int64_t until = odto_now_ns() + 50 * ODTO_SEC;
    while (!fn(arg)) {
        if (odto_now_ns() > until) {
            fprintf(stderr, "# waited in vain for: %s\n", what);
            return false;
        }
        nanosleep(&tick, NULL);
    }
    return true;
}
