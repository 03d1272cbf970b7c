/* minihost.c — see minihost.h. Locks: one mutex for threads and metrics; counters are atomic. */
#include "minihost.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_THREADS 32
#define MAX_METRICS 64

struct odto_thread {
    pthread_t id;
    void (*fn)(void *arg);
    void *arg;
    bool used, joined;
};

typedef struct cell {
    char name[96];
    odto_metric metric;
} cell;

struct minihost {
    odto_host host;
    const odto_plugin *plugin;
    void *self;
    odto_config config;
    odto_value *values;
    char *data_dir;
    pthread_mutex_t lock;
    struct odto_thread threads[MAX_THREADS];
    cell metrics[MAX_METRICS];
    size_t n_metrics;
    int64_t advanced_ns; /* atomic */
    unsigned health_changes;
    bool quiet, stopping;
};

static minihost *of(odto_host *h)
{
    return h->priv;
}

/* ---- the table ---- */

static bool log_enabled(odto_host *h, odto_level level)
{
    return level >= ODTO_WARN && !__atomic_load_n(&of(h)->quiet, __ATOMIC_RELAXED);
}

static void log_line(odto_host *h, odto_level level, const odto_uuid *correlation, const char *fmt, ...)
{
    (void)h;
    (void)correlation;
    char line[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    fprintf(stderr, "# log %d: %s\n", level, line);
}

static void failed(odto_host *h, bool permanent, const odto_error *err)
{
    char text[1200];
    (void)h;
    fprintf(stderr, "# fail (%s): %s\n", permanent ? "permanent" : "restart",
            odto_error_text(err, text, sizeof(text)));
}

static void beat(odto_host *h)
{
    (void)h;
}

static bool stopping(odto_host *h)
{
    return __atomic_load_n(&of(h)->stopping, __ATOMIC_RELAXED);
}

static void health_changed(odto_host *h)
{
    __atomic_fetch_add(&of(h)->health_changes, 1, __ATOMIC_RELAXED);
}

static odto_metric *metric(odto_host *h, odto_metric_type type, const char *name, const char *help,
                           const char *labels, const char *const *values, const double *bounds,
                           size_t n_bounds)
{
    (void)type;
    (void)help;
    (void)labels;
    (void)values;
    minihost *m = of(h);
    pthread_mutex_lock(&m->lock);
    size_t i = 0;
    while (i < m->n_metrics && strcmp(m->metrics[i].name, name) != 0)
        i++;
    if (i == m->n_metrics && i < MAX_METRICS) {
        cell *c = &m->metrics[m->n_metrics++];
        snprintf(c->name, sizeof(c->name), "%s", name);
        c->metric.bounds = bounds;
        c->metric.n_bounds = n_bounds;
        c->metric.buckets = calloc(n_bounds + 1, sizeof(uint64_t));
    }
    pthread_mutex_unlock(&m->lock);
    if (i == MAX_METRICS)
        abort();
    return &m->metrics[i].metric;
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

static void *thread_main(void *arg)
{
    odto_thread *t = arg;
    t->fn(t->arg);
    return NULL;
}

static int thread_start(odto_host *h, const char *name, void (*fn)(void *arg), void *arg, odto_thread **out)
{
    minihost *m = of(h);
    odto_thread *t = NULL;
    pthread_mutex_lock(&m->lock);
    for (int i = 0; i < MAX_THREADS && t == NULL; i++)
        if (!m->threads[i].used || m->threads[i].joined)
            t = &m->threads[i];
    if (t != NULL)
        *t = (odto_thread){.fn = fn, .arg = arg, .used = true};
    pthread_mutex_unlock(&m->lock);
    if (t == NULL)
        return -EAGAIN;
    int rc = pthread_create(&t->id, NULL, thread_main, t);
    if (rc != 0)
        t->used = false;
    else
        pthread_setname_np(t->id, name);
    *out = t;
    return -rc;
}

static void thread_join(odto_host *h, odto_thread *t)
{
    (void)h;
    if (!t->joined)
        pthread_join(t->id, NULL);
    t->joined = true;
}

static int64_t now(odto_host *h)
{
    return odto_now_ns() + __atomic_load_n(&of(h)->advanced_ns, __ATOMIC_RELAXED);
}

static int64_t unix_ms(odto_host *h)
{
    return odto_unix_ms() + __atomic_load_n(&of(h)->advanced_ns, __ATOMIC_RELAXED) / ODTO_MS;
}

static const odto_host_api api = {
    .size = sizeof(api),
    .abi_major = ODTO_ABI_MAJOR,
    .abi_minor = ODTO_ABI_MINOR,
    .log_enabled = log_enabled,
    .log = log_line,
    .fail = failed,
    .beat = beat,
    .stopping = stopping,
    .health_changed = health_changed,
    .metric = metric,
    .metric_fn = metric_fn,
    .thread_start = thread_start,
    .thread_join = thread_join,
    .now = now,
    .unix_ms = unix_ms,
};

/* ---- options ---- */

static int enum_index(const char *choices, const char *text, int64_t *out)
{
    size_t n = strlen(text);
    *out = 0;
    for (const char *c = choices; c != NULL; c = strchr(c, '|'), c += c != NULL, ++*out)
        if (strncmp(c, text, n) == 0 && (c[n] == '|' || c[n] == '\0'))
            return 0;
    return -EINVAL;
}

static int parse_option(const odto_option *o, const char *text, odto_value *v)
{
    v->s = text;
    if (text == NULL)
        return 0;
    switch (o->type) {
    case ODTO_OPT_INT:
        v->i = strtoll(text, NULL, 10);
        return 0;
    case ODTO_OPT_BOOL:
        v->i = strcmp(text, "yes") == 0 || strcmp(text, "true") == 0 || strcmp(text, "on") == 0 ||
               strcmp(text, "1") == 0;
        return 0;
    case ODTO_OPT_DURATION:
        return odto_duration_parse(odto_slice_str(text), &v->i);
    case ODTO_OPT_SIZE:
        return odto_size_parse(odto_slice_str(text), &v->i);
    case ODTO_OPT_ENUM:
        return enum_index(o->choices, text, &v->i);
    case ODTO_OPT_FLOAT:
        v->f = strtod(text, NULL);
        return 0;
    default:
        return 0;
    }
}

static void die(const char *what, const char *which)
{
    fprintf(stderr, "minihost: %s %s\n", what, which);
    abort();
}

static void read_settings(minihost *m, const char *const *settings)
{
    const odto_plugin *p = m->plugin;
    m->values = calloc(p->n_options + 1, sizeof(*m->values));
    for (size_t i = 0; i < p->n_options; i++)
        if (parse_option(&p->options[i], p->options[i].default_value, &m->values[i]) != 0)
            die("bad default of option", p->options[i].name);
    for (; settings != NULL && *settings != NULL; settings++) {
        const char *eq = strchr(*settings, '=');
        size_t n = eq != NULL ? (size_t)(eq - *settings) : 0, i = 0;
        while (i < p->n_options &&
               (strlen(p->options[i].name) != n || strncmp(p->options[i].name, *settings, n)))
            i++;
        if (eq == NULL || i == p->n_options || parse_option(&p->options[i], eq + 1, &m->values[i]) != 0)
            die("bad setting", *settings);
    }
}

/* ---- for the test ---- */

minihost *minihost_new(const odto_plugin *plugin, const char *data_dir, const char *const *settings)
{
    minihost *m = calloc(1, sizeof(*m));
    m->plugin = plugin;
    m->data_dir = strdup(data_dir);
    pthread_mutex_init(&m->lock, NULL);
    m->host = (odto_host){.api = &api, .priv = m};
    read_settings(m, settings);
    m->config = (odto_config){.instance = plugin->head.name,
                              .file = "test.ini",
                              .options = plugin->options,
                              .values = m->values,
                              .n = plugin->n_options,
                              .data_dir = m->data_dir,
                              .host_name = "test"};
    odto_error err = {0};
    char text[1200];
    if (plugin->ops->check_config != NULL && plugin->ops->check_config(&m->config, &err) != 0)
        die("check_config:", odto_error_text(&err, text, sizeof(text)));
    if (plugin->ops->init(&m->host, &m->config, &m->self, &err) != 0)
        die("init:", odto_error_text(&err, text, sizeof(text)));
    return m;
}

void *minihost_self(minihost *m)
{
    return m->self;
}

odto_host *minihost_host(minihost *m)
{
    return &m->host;
}

int minihost_start(minihost *m, odto_error *err)
{
    __atomic_store_n(&m->stopping, false, __ATOMIC_RELAXED);
    return m->plugin->ops->start(m->self, err);
}

void minihost_stop(minihost *m)
{
    __atomic_store_n(&m->stopping, true, __ATOMIC_RELAXED);
    if (m->plugin->ops->interrupt != NULL)
        m->plugin->ops->interrupt(m->self);
    m->plugin->ops->stop(m->self);
    for (int i = 0; i < MAX_THREADS; i++)
        if (m->threads[i].used)
            thread_join(&m->host, &m->threads[i]);
}

void minihost_free(minihost *m)
{
    m->plugin->ops->fini(m->self);
    for (size_t i = 0; i < m->n_metrics; i++)
        free(m->metrics[i].metric.buckets);
    pthread_mutex_destroy(&m->lock);
    free(m->values);
    free(m->data_dir);
    free(m);
}

odto_health minihost_health(minihost *m)
{
    odto_health h = {.ready = true};
    if (m->plugin->ops->health != NULL)
        m->plugin->ops->health(m->self, &h);
    return h;
}

void minihost_advance(minihost *m, int64_t ms)
{
    __atomic_fetch_add(&m->advanced_ns, ms * ODTO_MS, __ATOMIC_RELAXED);
}

unsigned minihost_health_changes(const minihost *m)
{
    return __atomic_load_n(&m->health_changes, __ATOMIC_RELAXED);
}

const odto_metric *minihost_metric(minihost *m, const char *name)
{
    for (size_t i = 0; i < m->n_metrics; i++)
        if (strcmp(m->metrics[i].name, name) == 0)
            return &m->metrics[i].metric;
    return NULL;
}

void minihost_quiet(minihost *m, bool quiet)
{
    __atomic_store_n(&m->quiet, quiet, __ATOMIC_RELAXED);
}
