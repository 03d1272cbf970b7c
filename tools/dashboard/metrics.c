/* metrics — Prometheus text (exposition format 0.0.4) made into the host's state; see parse.h. */
#include "parse.h"

#include "text.h"

#include <stdlib.h>
#include <string.h>

static bool name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == ':';
}

/* The end of the label block that begins after '{', or NULL. Braces may stand inside quoted values. */
static const char *labels_end(const char *p, const char *end)
{
    bool quoted = false;
    for (; p < end; p++) {
        if (quoted && *p == '\\') {
            p++;
        } else if (*p == '"') {
            quoted = !quoted;
        } else if (*p == '}' && !quoted) {
            return p;
        }
    }
    return NULL;
}

static void parse_line(const char *p, const char *end, metric_fn *fn, void *arg)
{
    const char *name = p;
    while (p < end && name_char(*p)) {
        p++;
    }
    odto_slice id = odto_slice_of(name, (size_t)(p - name)), labels = {0};
    if (!id.n) {
        return;
    }
    if (p < end && *p == '{') {
        const char *close = labels_end(p + 1, end);
        if (!close) {
            return;
        }
        labels = odto_slice_of(p + 1, (size_t)(close - p - 1));
        p = close + 1;
    }
    while (p < end && (*p == ' ' || *p == '\t')) {
        p++;
    }
    char number[64];
    size_t n = (size_t)(end - p) < sizeof number - 1 ? (size_t)(end - p) : sizeof number - 1;
    memcpy(number, p, n);
    number[n] = '\0';
    char *stop;
    double v = strtod(number, &stop);
    if (stop != number) {
        fn(arg, id, labels, v);
    }
}

void parse_metrics(odto_slice body, metric_fn *fn, void *arg)
{
    const char *p = body.p, *end = body.p ? body.p + body.n : NULL;
    while (p < end) {
        const char *eol = memchr(p, '\n', (size_t)(end - p));
        eol = eol ? eol : end;
        if (*p != '#') {
            parse_line(p, eol, fn, arg);
        }
        p = eol + 1;
    }
}

static size_t unescape(const char *p, const char *end, char *out, size_t size)
{
    size_t n = 0;
    for (; p < end && n + 1 < size; p++) {
        if (*p == '\\' && p + 1 < end) {
            p++;
            out[n++] = *p == 'n' ? ' ' : *p;
        } else {
            out[n++] = *p;
        }
    }
    out[n] = '\0';
    return n;
}

bool metric_label(odto_slice labels, const char *name, char *out, size_t size)
{
    const char *p = labels.p, *end = p ? p + labels.n : NULL;
    size_t want = strlen(name);
    while (p < end) {
        while (p < end && (*p == ',' || *p == ' ')) {
            p++;
        }
        const char *key = p;
        while (p < end && name_char(*p)) {
            p++;
        }
        size_t n = (size_t)(p - key);
        if (end - p < 2 || p[0] != '=' || p[1] != '"') {
            return false;
        }
        const char *value = p += 2;
        while (p < end && *p != '"') {
            p += *p == '\\' && p + 1 < end ? 2 : 1;
        }
        if (n == want && !memcmp(key, name, n)) {
            char raw[256];
            unescape(value, p, raw, sizeof raw);
            text_clean(out, size, raw);
            return true;
        }
        p++;
    }
    return false;
}

static plugin_row *plugin_of(host_state *h, const char *name)
{
    for (int i = 0; i < h->n_plugins; i++) {
        if (!strcmp(h->plugins[i].name, name)) {
            return &h->plugins[i];
        }
    }
    if (h->n_plugins == PLUGINS_MAX) {
        return NULL;
    }
    plugin_row *p = &h->plugins[h->n_plugins++];
    text_clean(p->name, sizeof p->name, name);
    p->restarts = p->generation = -1;
    return p;
}

static route_row *route_of(host_state *h, const char *name)
{
    for (int i = 0; i < h->n_routes; i++) {
        if (!strcmp(h->routes[i].name, name)) {
            return &h->routes[i];
        }
    }
    if (h->n_routes == ROUTES_MAX) {
        return NULL;
    }
    route_row *r = &h->routes[h->n_routes++];
    text_clean(r->name, sizeof r->name, name);
    r->depth = r->capacity = r->published = r->acked = r->in_rate = r->out_rate = -1;
    return r;
}

static void take_plugin(host_state *h, odto_slice name, odto_slice labels, double value)
{
    char id[40];
    plugin_row *p = metric_label(labels, "plugin", id, sizeof id) ? plugin_of(h, id) : NULL;
    if (!p) {
        return;
    }
    if (odto_slice_eq(name, "odto_plugin_state")) {
        if (value != 0) {
            metric_label(labels, "state", p->state, sizeof p->state);
        }
    } else if (odto_slice_eq(name, "odto_plugin_restarts_total")) {
        p->restarts = (int64_t)value;
    } else if (odto_slice_eq(name, "odto_plugin_generation")) {
        p->generation = (int64_t)value;
    }
}

static void take_route(host_state *h, odto_slice name, odto_slice labels, double value)
{
    char id[48];
    route_row *r = metric_label(labels, "route", id, sizeof id) ? route_of(h, id) : NULL;
    if (!r) {
        return;
    }
    if (odto_slice_eq(name, "odto_route_depth")) {
        r->depth = value;
    } else if (odto_slice_eq(name, "odto_route_capacity")) {
        r->capacity = value;
    } else if (odto_slice_eq(name, "odto_route_published_total")) {
        r->published = value;
    } else if (odto_slice_eq(name, "odto_route_acked_total")) {
        r->acked = value;
    }
}

static bool begins(odto_slice s, const char *prefix)
{
    size_t n = strlen(prefix);
    return s.n >= n && !memcmp(s.p, prefix, n);
}

static void take(void *arg, odto_slice name, odto_slice labels, double value)
{
    host_state *h = arg;
    if (value != value) {
        return; /* NaN says nothing */
    }
    if (begins(name, "odto_plugin_")) {
        take_plugin(h, name, labels, value);
    } else if (begins(name, "odto_route_")) {
        take_route(h, name, labels, value);
    } else if (odto_slice_eq(name, "gateway_jobs_accepted_total")) {
        h->accepted = value;
    } else if (odto_slice_eq(name, "process_resident_memory_bytes")) {
        h->rss_bytes = value;
    } else if (odto_slice_eq(name, "process_start_time_seconds")) {
        h->start_ms = (int64_t)(value * 1e3);
    }
}

static double rate_of(double now, double before, double seconds)
{
    if (now < 0 || before < 0 || seconds <= 0) {
        return -1;
    }
    return now >= before ? (now - before) / seconds : now / seconds; /* a restart begins again at zero */
}

static void route_rates(route_row *r, const host_state *before, double seconds)
{
    for (int i = 0; before && i < before->n_routes; i++) {
        const route_row *b = &before->routes[i];
        if (!strcmp(b->name, r->name)) {
            r->in_rate = rate_of(r->published, b->published, seconds);
            r->out_rate = rate_of(r->acked, b->acked, seconds);
            memcpy(r->history, b->history, sizeof r->history);
            r->n_history = b->n_history;
        }
    }
    if (r->n_history == ROUTE_HISTORY) {
        memmove(r->history, r->history + 1, (ROUTE_HISTORY - 1) * sizeof r->history[0]);
        r->n_history--;
    }
    r->history[r->n_history++] = r->depth > 0 ? (float)r->depth : 0;
}

static int by_plugin(const void *a, const void *b)
{
    return strcmp(((const plugin_row *)a)->name, ((const plugin_row *)b)->name);
}

static int by_route(const void *a, const void *b)
{
    return strcmp(((const route_row *)a)->name, ((const route_row *)b)->name);
}

host_state *parse_host(odto_slice body, const host_state *before, double seconds)
{
    host_state *h = calloc(1, sizeof *h);
    if (!h) {
        return NULL;
    }
    atomic_init(&h->refs, 1);
    h->accepted = h->rss_bytes = -1;
    parse_metrics(body, take, h);
    for (int i = 0; i < h->n_routes; i++) {
        route_rates(&h->routes[i], before, seconds);
    }
    qsort(h->plugins, (size_t)h->n_plugins, sizeof h->plugins[0], by_plugin);
    qsort(h->routes, (size_t)h->n_routes, sizeof h->routes[0], by_route);
    return h;
}
