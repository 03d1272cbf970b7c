/* metrics.c — see metrics.h.
 *
 * Locks: m->lock guards families, children and holders. m->rendering is held over a whole scrape and is taken
 * first; metrics_drop takes it after having removed the owner, and thereby waits for a scrape that may still
 * be inside one of the owner's functions. Memory of families and children is only freed by metrics_free, so a
 * scrape may use what it collected under the lock after having left it. */
#include "metrics.h"
#include "process_stats.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct holder { /* one owner of a child */
    struct holder *next;
    const void *owner;
    metrics_read *fn; /* NULL: holds the cell */
    void *arg;
} holder;

typedef struct child {
    struct child *next;
    char *labels;    /* rendered: type="echo",code="2\"0" */
    holder *holders; /* newest first; empty: not shown */
    odto_metric cell;
} child;

typedef struct family {
    odto_metric_type type;
    char *name, *help, *label_names;
    double *bounds;
    size_t n_bounds, n_children;
    child *children, **tail;
    child *other;
} family;

struct metrics {
    pthread_mutex_t rendering, lock;
    family **families; /* sorted by name */
    size_t n_families;
};

metrics *metrics_new(void)
{
    metrics *m = calloc(1, sizeof(*m));
    if (!m)
        return NULL;
    pthread_mutex_init(&m->rendering, NULL);
    pthread_mutex_init(&m->lock, NULL);
    return m;
}

static void child_free(child *c)
{
    while (c->holders) {
        holder *h = c->holders;
        c->holders = h->next;
        free(h);
    }
    free(c->cell.buckets);
    free(c->labels);
    free(c);
}

static void family_free(family *f)
{
    while (f->children) {
        child *c = f->children;
        f->children = c->next;
        child_free(c);
    }
    free(f->name);
    free(f->help);
    free(f->label_names);
    free(f->bounds);
    free(f);
}

void metrics_free(metrics *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->n_families; i++)
        family_free(m->families[i]);
    free(m->families);
    pthread_mutex_destroy(&m->lock);
    pthread_mutex_destroy(&m->rendering);
    free(m);
}

/* ---- names and labels ---- */

static bool name_ok(const char *p, size_t n, bool colon)
{
    if (n == 0 || (p[0] >= '0' && p[0] <= '9'))
        return false;
    for (size_t i = 0; i < n; i++) {
        char c = p[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!letter && !(c >= '0' && c <= '9') && !(colon && c == ':'))
            return false;
    }
    return true;
}

static void put_escaped(odto_buf *b, const char *s, bool quote)
{
    for (; *s; s++) {
        if (*s == '\\')
            odto_buf_str(b, "\\\\");
        else if (*s == '\n')
            odto_buf_str(b, "\\n");
        else if (*s == '"' && quote)
            odto_buf_str(b, "\\\"");
        else
            odto_buf_put(b, s, 1);
    }
}

/* Invalid UTF-8 in a label value would make the whole page unreadable to Prometheus. */
static void put_label_value(odto_buf *b, const char *value)
{
    if (odto_utf8_valid(odto_slice_str(value)))
        put_escaped(b, value, true);
    else
        odto_buf_str(b, "invalid");
}

/* a="x",b="y"; values NULL: all "other". False: bad label names. */
static bool put_labels(odto_buf *b, const char *names, const char *const *values)
{
    size_t k = 0;
    for (const char *p = names; p && *p; k++) {
        size_t n = strcspn(p, ",");
        if (k == METRICS_LABELS || !name_ok(p, n, false))
            return false;
        odto_buf_printf(b, "%s%.*s=\"", k ? "," : "", (int)n, p);
        put_label_value(b, values ? (values[k] ? values[k] : "") : "other");
        odto_buf_str(b, "\"");
        p += n + (p[n] == ',');
    }
    return true;
}

/* ---- families ---- */

static family *find_family(metrics *m, const char *name, size_t *at)
{
    size_t lo = 0, hi = m->n_families;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int d = strcmp(m->families[mid]->name, name);
        if (d == 0)
            return m->families[mid];
        if (d < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    *at = lo;
    return NULL;
}

static bool bounds_rise(const metrics_spec *s)
{
    for (size_t i = 0; i < s->n_bounds; i++) {
        if (!isfinite(s->bounds[i]) || (i && s->bounds[i] <= s->bounds[i - 1]))
            return false;
    }
    return true;
}

static family *make_family(const metrics_spec *s)
{
    family *f = calloc(1, sizeof(*f));
    if (!f)
        return NULL;
    f->type = s->type;
    f->tail = &f->children;
    f->name = strdup(s->name);
    f->help = strdup(s->help ? s->help : "");
    f->label_names = strdup(s->labels ? s->labels : "");
    f->n_bounds = s->type == ODTO_HISTOGRAM ? s->n_bounds : 0;
    f->bounds = f->n_bounds ? malloc(f->n_bounds * sizeof(double)) : NULL;
    if (!f->name || !f->help || !f->label_names || (f->n_bounds && !f->bounds)) {
        family_free(f);
        return NULL;
    }
    if (f->n_bounds)
        memcpy(f->bounds, s->bounds, f->n_bounds * sizeof(double));
    return f;
}

static int add_family(metrics *m, const metrics_spec *s, size_t at, family **out, odto_error *err)
{
    if (!name_ok(s->name, strlen(s->name), true))
        return odto_fail(err, -EINVAL, "metric name %s is not valid", s->name);
    if (s->type == ODTO_HISTOGRAM && (s->n_bounds == 0 || !bounds_rise(s)))
        return odto_fail(err, -EINVAL, "metric %s: the bounds of a histogram must rise", s->name);
    if (m->n_families == METRICS_FAMILIES)
        return odto_fail(err, -ENOSPC, "more than %d metric families", METRICS_FAMILIES);
    family **grown = realloc(m->families, (m->n_families + 1) * sizeof(*grown));
    if (!grown)
        return odto_fail(err, -ENOMEM, "no memory for metric %s", s->name);
    m->families = grown;
    family *f = make_family(s);
    if (!f)
        return odto_fail(err, -ENOMEM, "no memory for metric %s", s->name);
    memmove(grown + at + 1, grown + at, (m->n_families - at) * sizeof(*grown));
    grown[at] = *out = f;
    m->n_families++;
    return 0;
}

static int get_family(metrics *m, const metrics_spec *s, family **out, odto_error *err)
{
    size_t at = 0;
    family *f = find_family(m, s->name, &at);
    if (!f)
        return add_family(m, s, at, out, err);
    const char *labels = s->labels ? s->labels : "";
    if (f->type != s->type || strcmp(f->label_names, labels) != 0) {
        odto_fail(err, -EINVAL, "metric %s exists already in another shape", s->name);
        odto_error_detail(err, "type %d and labels \"%s\" there, type %d and labels \"%s\" here",
                          (int)f->type, f->label_names, (int)s->type, labels);
        return -EINVAL;
    }
    if (f->type == ODTO_HISTOGRAM &&
        (f->n_bounds != s->n_bounds || memcmp(f->bounds, s->bounds, f->n_bounds * sizeof(double)) != 0))
        return odto_fail(err, -EINVAL, "metric %s exists already with other bounds", s->name);
    *out = f;
    return 0;
}

/* ---- children ---- */

static child *make_child(family *f, const char *labels)
{
    child *c = calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    c->labels = strdup(labels);
    c->cell.bounds = f->bounds;
    c->cell.n_bounds = f->n_bounds;
    if (f->type == ODTO_HISTOGRAM)
        c->cell.buckets = calloc(f->n_bounds + 1, sizeof(uint64_t));
    if (!c->labels || (f->type == ODTO_HISTOGRAM && !c->cell.buckets)) {
        child_free(c);
        return NULL;
    }
    *f->tail = c;
    f->tail = &c->next;
    f->n_children++;
    return c;
}

static child *find_child(family *f, const char *labels)
{
    for (child *c = f->children; c; c = c->next) {
        if (strcmp(c->labels, labels) == 0)
            return c;
    }
    return NULL;
}

static child *get_child(family *f, const char *labels, const char *other)
{
    child *c = find_child(f, labels);
    if (c || f->n_children < METRICS_CHILDREN)
        return c ? c : make_child(f, labels);
    if (!f->other)
        f->other = make_child(f, other);
    return f->other;
}

static int hold(child *c, const family *f, const void *owner, metrics_read *fn, void *arg)
{
    for (holder *h = c->holders; h; h = h->next) {
        if (h->owner == owner && !h->fn == !fn) {
            h->fn = fn;
            h->arg = arg;
            return 0;
        }
    }
    holder *h = malloc(sizeof(*h));
    if (!h)
        return -ENOMEM;
    if (!c->holders && f->type == ODTO_GAUGE)
        odto_metric_set(&c->cell, 0); /* a gauge of a former owner says nothing about the new one */
    *h = (holder){c->holders, owner, fn, arg};
    c->holders = h;
    return 0;
}

static int acquire(metrics *m, const void *owner, const metrics_spec *s, metrics_read *fn, void *arg,
                   child **out, odto_error *err)
{
    odto_buf labels = {0}, other = {0};
    int code = 0;
    if (!put_labels(&labels, s->labels, s->values) || !put_labels(&other, s->labels, NULL))
        code = odto_fail(err, -EINVAL, "metric %s: label names \"%s\" are not valid", s->name, s->labels);
    else if (labels.failed || other.failed)
        code = -ENOMEM;
    family *f = NULL;
    child *c = NULL;
    pthread_mutex_lock(&m->lock);
    if (code == 0)
        code = get_family(m, s, &f, err);
    if (code == 0) {
        c = get_child(f, labels.p ? labels.p : "", other.p ? other.p : "");
        code = c ? hold(c, f, owner, fn, arg) : -ENOMEM;
    }
    pthread_mutex_unlock(&m->lock);
    odto_buf_free(&labels);
    odto_buf_free(&other);
    if (code == -ENOMEM)
        odto_fail(err, code, "no memory for metric %s", s->name);
    *out = c;
    return code;
}

int metrics_cell(metrics *m, const void *owner, const metrics_spec *s, odto_metric **out, odto_error *err)
{
    child *c;
    int code = acquire(m, owner, s, NULL, NULL, &c, err);
    if (code == 0)
        *out = &c->cell;
    return code;
}

int metrics_fn(metrics *m, const void *owner, const metrics_spec *s, metrics_read *fn, void *arg,
               odto_error *err)
{
    child *c;
    if (s->type == ODTO_HISTOGRAM)
        return odto_fail(err, -EINVAL, "metric %s: a histogram can't be a function", s->name);
    return acquire(m, owner, s, fn, arg, &c, err);
}

static void drop_holders(child *c, const void *owner)
{
    holder **at = &c->holders;
    while (*at) {
        holder *h = *at;
        if (h->owner == owner) {
            *at = h->next;
            free(h);
        } else {
            at = &h->next;
        }
    }
}

void metrics_drop(metrics *m, const void *owner)
{
    pthread_mutex_lock(&m->lock);
    for (size_t i = 0; i < m->n_families; i++) {
        for (child *c = m->families[i]->children; c; c = c->next)
            drop_holders(c, owner);
    }
    pthread_mutex_unlock(&m->lock);
    pthread_mutex_lock(&m->rendering); /* wait for a scrape that began before */
    pthread_mutex_unlock(&m->rendering);
}

/* ---- rendering ---- */

typedef struct shown { /* a child as collected for one scrape */
    const family *f;
    const child *c;
    metrics_read *fn;
    void *arg;
} shown;

static const char *type_name(odto_metric_type t)
{
    return t == ODTO_COUNTER ? "counter" : t == ODTO_GAUGE ? "gauge" : "histogram";
}

/* Collects what is owned, so that functions can be called without the lock. */
static int collect(metrics *m, shown **out, size_t *n)
{
    size_t max = 0, k = 0;
    pthread_mutex_lock(&m->lock);
    for (size_t i = 0; i < m->n_families; i++)
        max += m->families[i]->n_children;
    shown *list = malloc((max + 1) * sizeof(*list));
    for (size_t i = 0; list && i < m->n_families; i++) {
        for (child *c = m->families[i]->children; c; c = c->next) {
            if (c->holders)
                list[k++] = (shown){m->families[i], c, c->holders->fn, c->holders->arg};
        }
    }
    pthread_mutex_unlock(&m->lock);
    *out = list;
    *n = k;
    return list ? 0 : -ENOMEM;
}

static void put_number(odto_buf *b, double v)
{
    if (isnan(v))
        odto_buf_str(b, "NaN");
    else if (isinf(v))
        odto_buf_str(b, v > 0 ? "+Inf" : "-Inf");
    else
        odto_buf_printf(b, "%.15g", v);
}

static void put_histogram(odto_buf *b, const family *f, const child *c)
{
    const odto_metric *cell = &c->cell;
    const char *comma = *c->labels ? "," : "";
    uint64_t count = 0;
    for (size_t i = 0; i <= f->n_bounds; i++) {
        count += __atomic_load_n(&cell->buckets[i], __ATOMIC_RELAXED); /* a statistic: pairs with nothing */
        odto_buf_printf(b, "%s_bucket{%s%sle=\"", f->name, c->labels, comma);
        put_number(b, i < f->n_bounds ? f->bounds[i] : INFINITY);
        odto_buf_printf(b, "\"} %llu\n", (unsigned long long)count);
    }
    const char *open = *c->labels ? "{" : "", *close = *c->labels ? "}" : "";
    odto_buf_printf(b, "%s_sum%s%s%s ", f->name, open, c->labels, close);
    put_number(b, (double)__atomic_load_n(&cell->sum_nano, __ATOMIC_RELAXED) / 1e9); /* likewise */
    odto_buf_printf(b, "\n%s_count%s%s%s %llu\n", f->name, open, c->labels, close, (unsigned long long)count);
}

static void put_child(odto_buf *b, const shown *s)
{
    if (s->f->type == ODTO_HISTOGRAM) {
        put_histogram(b, s->f, s->c);
        return;
    }
    if (*s->c->labels)
        odto_buf_printf(b, "%s{%s} ", s->f->name, s->c->labels);
    else
        odto_buf_printf(b, "%s ", s->f->name);
    if (s->fn)
        put_number(b, s->fn(s->arg));
    else
        odto_buf_int(b, __atomic_load_n(&s->c->cell.value, __ATOMIC_RELAXED)); /* a statistic: as above */
    odto_buf_str(b, "\n");
}

static void put_head(odto_buf *b, const char *name, const char *help, const char *type)
{
    odto_buf_printf(b, "# HELP %s ", name);
    put_escaped(b, help, false);
    odto_buf_printf(b, "\n# TYPE %s %s\n", name, type);
}

/* The standard process_* figures (Prometheus client library guidelines, "Process metrics"). */
static void put_process(odto_buf *b)
{
    process_stats p;
    process_stats_read(&p);
    const struct {
        const char *name, *help, *type;
        double value;
    } rows[] = {
        {"process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", "counter", p.cpu_s},
        {"process_max_fds", "Maximum number of open file descriptors.", "gauge", p.max_fds},
        {"process_open_fds", "Number of open file descriptors.", "gauge", p.open_fds},
        {"process_resident_memory_bytes", "Resident memory size in bytes.", "gauge", p.resident_bytes},
        {"process_start_time_seconds", "Start time of the process since unix epoch in seconds.", "gauge",
         p.start_time_s},
        {"process_threads", "Number of threads of the process.", "gauge", p.threads},
        {"process_virtual_memory_bytes", "Virtual memory size in bytes.", "gauge", p.virtual_bytes},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        put_head(b, rows[i].name, rows[i].help, rows[i].type);
        odto_buf_printf(b, "%s ", rows[i].name);
        put_number(b, rows[i].value);
        odto_buf_str(b, "\n");
    }
}

int metrics_render(metrics *m, odto_buf *out)
{
    shown *list;
    size_t n;
    pthread_mutex_lock(&m->rendering);
    int code = collect(m, &list, &n);
    for (size_t i = 0; code == 0 && i < n; i++) {
        if (i == 0 || list[i].f != list[i - 1].f)
            put_head(out, list[i].f->name, list[i].f->help, type_name(list[i].f->type));
        put_child(out, &list[i]);
    }
    pthread_mutex_unlock(&m->rendering);
    free(list);
    if (code == 0)
        put_process(out);
    return code == 0 && out->failed ? -ENOMEM : code;
}

int metrics_add_build_info(metrics *m, const void *owner, const char *version)
{
    char abi[16];
    snprintf(abi, sizeof(abi), "%d.%d", ODTO_ABI_MAJOR, ODTO_ABI_MINOR);
    const char *values[] = {version, __VERSION__, abi};
    metrics_spec s = {.type = ODTO_GAUGE,
                      .name = "odto_build_info",
                      .help = "Version of the host, its compiler and its plugin ABI; always 1.",
                      .labels = "version,compiler,abi",
                      .values = values};
    odto_metric *cell;
    int code = metrics_cell(m, owner, &s, &cell, NULL);
    if (code == 0)
        odto_metric_set(cell, 1);
    return code;
}
