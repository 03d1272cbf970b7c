/* test.c — see odto/test.h: the fake host's life, log and metrics. */
#include "internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void odto_test_broken(const char *fmt, ...)
{
    char text[600];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    fprintf(stderr, "odto-test: %s\n", text);
    abort();
}

odto_test *odto_test_of(const odto_host *h)
{
    return h->priv;
}

void odto_test_fail_call(odto_test *t, size_t nth)
{
    pthread_mutex_lock(&t->lock);
    t->calls = 0;
    t->fail_call = nth;
    t->refused = NULL;
    pthread_mutex_unlock(&t->lock);
}

bool odto_test_refused(odto_test *t, const char *name)
{
    pthread_mutex_lock(&t->lock);
    bool refused = ++t->calls == t->fail_call;
    if (refused)
        t->refused = name;
    pthread_mutex_unlock(&t->lock);
    return refused;
}

/* ---- log, supervision ------------------------------------------------------------------------- */

static bool log_enabled(odto_host *h, odto_level level)
{
    (void)h, (void)level;
    return true;
}

static void log_line(odto_host *h, odto_level level, const odto_uuid *correlation, const char *fmt, ...)
{
    HOST_SIDE;
    (void)correlation;
    static const char *const names[] = {"debug", "info", "warn", "error"};
    odto_test *t = odto_test_of(h);
    char line[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    pthread_mutex_lock(&t->lock);
    if (t->log.n + sizeof line < 65536)
        odto_buf_printf(&t->log, "%s: %s\n", names[level], line);
    pthread_mutex_unlock(&t->lock);
    if (getenv("ODTO_TEST_LOG"))
        fprintf(stderr, "%s: %s\n", names[level], line);
}

bool odto_test_logged(odto_test *t, const char *text)
{
    pthread_mutex_lock(&t->lock);
    bool found = t->log.p && memmem(t->log.p, t->log.n, text, strlen(text));
    pthread_mutex_unlock(&t->lock);
    return found;
}

static void fail_instance(odto_host *h, bool permanent, const odto_error *err)
{
    (void)permanent;
    odto_test *t = odto_test_of(h);
    pthread_mutex_lock(&t->lock);
    t->failures++;
    if (err)
        t->failure = *err;
    pthread_mutex_unlock(&t->lock);
}

static void beat(odto_host *h)
{
    (void)h;
}

static bool stopping(odto_host *h)
{
    return __atomic_load_n(&odto_test_of(h)->stopping, __ATOMIC_ACQUIRE); /* pairs with down() */
}

static void health_changed(odto_host *h)
{
    __atomic_fetch_add(&odto_test_of(h)->health_changes, 1, __ATOMIC_RELEASE); /* pairs with wait_count */
}

/* ---- metrics, stores, handlers ---------------------------------------------------------------- */

static odto_test_metric *metric_slot(odto_test *t, const char *name, const char *labels,
                                     const char *const *values)
{
    char key[256];
    snprintf(key, sizeof key, labels ? "%s{%s}" : "%s", name, labels ? values[0] : "");
    odto_test_metric *found = NULL;
    for (size_t i = 0; i < t->n_metrics && !found; i++)
        if (strcmp(t->metrics[i].key, key) == 0)
            found = &t->metrics[i];
    if (!found) {
        if (t->n_metrics == sizeof t->metrics / sizeof *t->metrics)
            odto_test_broken("more than %zu metrics: a label without a bound?", t->n_metrics);
        found = &t->metrics[t->n_metrics++];
        memcpy(found->key, key, sizeof key);
    }
    return found;
}

static odto_metric *metric(odto_host *h, odto_metric_type type, const char *name, const char *help,
                           const char *labels, const char *const *values, const double *bounds,
                           size_t n_bounds)
{
    HOST_SIDE;
    (void)help;
    odto_test *t = odto_test_of(h);
    pthread_mutex_lock(&t->lock);
    odto_metric *m = &metric_slot(t, name, labels, values)->cell;
    if (type == ODTO_HISTOGRAM && !m->buckets) {
        m->buckets = calloc(n_bounds + 1, sizeof *m->buckets);
        m->bounds = bounds;
        m->n_bounds = m->buckets ? n_bounds : 0;
        if (!m->buckets)
            odto_test_broken("no memory");
    }
    pthread_mutex_unlock(&t->lock);
    return m;
}

static int metric_fn(odto_host *h, odto_metric_type type, const char *name, const char *help,
                     const char *labels, const char *const *values, double (*fn)(void *arg), void *arg)
{
    HOST_SIDE;
    (void)type, (void)help;
    odto_test *t = odto_test_of(h);
    if (odto_test_refused(t, "metric_fn"))
        return -ENOMEM;
    pthread_mutex_lock(&t->lock);
    odto_test_metric *m = metric_slot(t, name, labels, values);
    m->fn = fn;
    m->arg = arg;
    pthread_mutex_unlock(&t->lock);
    return 0;
}

int64_t odto_test_metric_value(odto_test *t, const char *key)
{
    for (size_t i = 0; i < t->n_metrics; i++) {
        const odto_test_metric *m = &t->metrics[i];
        if (strcmp(m->key, key) == 0)
            return m->fn ? (int64_t)m->fn(m->arg)
                         : __atomic_load_n(&m->cell.value, __ATOMIC_RELAXED); /* a statistic */
    }
    return -1;
}

void odto_test_store(odto_test *t, const char *option, const odto_store_iface *iface, void *self)
{
    if (t->n_stores == sizeof t->stores / sizeof t->stores[0])
        odto_test_broken("too many stores");
    t->store_options[t->n_stores] = option;
    t->stores[t->n_stores++] = (odto_store_ref){iface, self, "main"};
}

static int store(odto_host *h, const char *option, odto_store_ref *out, odto_error *err)
{
    HOST_SIDE;
    odto_test *t = odto_test_of(h);
    if (odto_test_refused(t, "store"))
        return odto_fail(err, -ENOENT, "the store of option %s is not up", option);
    for (size_t i = 0; i < t->n_stores; i++)
        if (strcmp(t->store_options[i], option) == 0) {
            *out = t->stores[i];
            return 0;
        }
    return odto_fail(err, -ENOENT, "no store for option %s", option);
}

static size_t handlers(odto_host *h, odto_handler_ref *out, size_t max)
{
    odto_test *t = odto_test_of(h);
    for (size_t i = 0; i < t->n_handlers && i < max; i++)
        out[i] = t->handlers[i];
    return t->n_handlers < max ? t->n_handlers : max;
}

/* ---- life -------------------------------------------------------------------------------------- */

void odto_test_setup(odto_test *t, const odto_plugin *p)
{
    memset(t, 0, sizeof *t);
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->fired, NULL);
    t->plugin = p;
    t->data_dir = "/nonexistent";
    t->api = (odto_host_api){.size = sizeof(odto_host_api),
                             .abi_major = ODTO_ABI_MAJOR,
                             .abi_minor = ODTO_ABI_MINOR,
                             .http = &t->http,
                             .log_enabled = log_enabled,
                             .log = log_line,
                             .fail = fail_instance,
                             .beat = beat,
                             .stopping = stopping,
                             .health_changed = health_changed,
                             .metric = metric,
                             .metric_fn = metric_fn,
                             .store = store,
                             .handlers = handlers};
    odto_test_events_setup(t);
    odto_test_threads_setup(t);
    odto_test_watch_setup(t);
    odto_test_http_setup(t);
    t->host = (odto_host){&t->api, t};
}

int odto_test_options(odto_test *t, odto_error *err)
{
    return odto_test_configure(t, err);
}

int odto_test_init(odto_test *t, odto_error *err)
{
    const odto_plugin_ops *ops = t->plugin->ops;
    int r = odto_test_configure(t, err);
    if (r == 0) {
        PLUGIN_SIDE;
        r = ops->check_config ? ops->check_config(&t->config, err) : 0;
        if (r == 0)
            r = ops->init(&t->host, &t->config, &t->self, err);
    }
    if (r < 0)
        odto_test_config_free(t);
    return r;
}

int odto_test_start(odto_test *t, odto_error *err)
{
    PLUGIN_SIDE;
    return t->plugin->ops->start(t->self, err);
}

odto_health odto_test_health(odto_test *t)
{
    odto_health h = {.ready = true};
    PLUGIN_SIDE;
    if (t->plugin->ops->health)
        t->plugin->ops->health(t->self, &h);
    return h;
}

static void quiesce(odto_test *t)
{
    const odto_plugin_ops *ops = t->plugin->ops;
    int64_t now = odto_now_ns(), clock = odto_test_now(t);
    PLUGIN_SIDE;
    int r = ops->quiesce ? ops->quiesce(t->self, (now > clock ? now : clock) + 5 * ODTO_SEC) : 0;
    if (r != 0)
        odto_test_broken("quiesce: %s", strerror(-r));
}

static void down(odto_test *t)
{
    const odto_plugin_ops *ops = t->plugin->ops;
    __atomic_store_n(&t->stopping, true, __ATOMIC_RELEASE); /* pairs with stopping() */
    PLUGIN_SIDE;
    if (ops->interrupt)
        ops->interrupt(t->self);
    if (ops->stop)
        ops->stop(t->self);
    odto_test_threads_join(t);
    ops->fini(t->self);
    t->self = NULL;
    t->n_routes = t->n_served = 0;
    for (size_t i = 0; i < t->n_metrics; i++)
        t->metrics[i].fn = NULL; /* points into the instance that is gone */
    odto_test_config_free(t);
}

void odto_test_give_up(odto_test *t)
{
    down(t);
}

void odto_test_stop(odto_test *t)
{
    quiesce(t);
    down(t);
}

int odto_test_reload(odto_test *t, odto_error *err)
{
    const odto_plugin_ops *ops = t->plugin->ops;
    odto_buf blob = {0};
    uint32_t version = 0;
    quiesce(t);
    int r;
    {
        PLUGIN_SIDE;
        r = ops->save ? ops->save(t->self, &version, &blob, err) : 0;
    }
    t->replaced = true;
    down(t);
    t->replaced = false;
    __atomic_store_n(&t->stopping, false, __ATOMIC_RELEASE); /* no thread of the plugin runs */
    if (r == 0)
        r = odto_test_init(t, err);
    if (r == 0 && blob.n && ops->restore) {
        PLUGIN_SIDE;
        r = ops->restore(t->self, version, odto_slice_of(blob.p, blob.n), err);
    }
    odto_buf_free(&blob);
    return r == 0 ? odto_test_start(t, err) : r;
}

void odto_test_free(odto_test *t)
{
    odto_test_jobs_free(t);
    odto_test_http_free(t);
    odto_test_events_free(t);
    odto_test_threads_free(t);
    odto_test_watch_free(t);
    odto_test_config_free(t);
    for (size_t i = 0; i < t->n_metrics; i++)
        free(t->metrics[i].cell.buckets);
    odto_buf_free(&t->log);
    pthread_mutex_destroy(&t->lock);
    pthread_cond_destroy(&t->fired);
}
