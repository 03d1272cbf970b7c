/* http_metrics.c — http_request_duration_seconds{service,route,method,code}.
 *
 * Labels are bounded: the route is the pattern ("-" without one), the method a known one or OTHER, at most
 * MAX_CODES codes each (further ones are not counted). A cell is found once through the hook and kept in the
 * route. */
#include "http_priv.h"

static histogram_cell *cell_find(http_route *r, enum method m, int code)
{
    for (int i = 0; i < MAX_CODES; i++) {
        /* acquire: pairs with the release in cell_add, the metric is there when the code is */
        int found = atomic_load_explicit(&r->cells[m][i].code, memory_order_acquire);
        if (found == code)
            return &r->cells[m][i];
        if (!found)
            break;
    }
    return NULL;
}

static histogram_cell *cell_add(http_server *s, const http_mount *mount, http_route *r, enum method m,
                                int code)
{
    const http_hooks *h = &s->config.hooks;
    odto_metric *metric =
        h->histogram(h->arg, mount->service, r->pattern ? r->pattern : "-", method_name(m), code);
    histogram_cell *c = NULL;
    pthread_mutex_lock(&s->lock);
    for (int i = 0; !c && i < MAX_CODES; i++) {
        int found =
            atomic_load_explicit(&r->cells[m][i].code, memory_order_relaxed); /* writers hold the lock */
        if (found && found != code)
            continue;
        c = &r->cells[m][i];
        if (!found)
            c->metric = metric;
        atomic_store_explicit(&c->code, code, memory_order_release);
    }
    pthread_mutex_unlock(&s->lock);
    return c;
}

void request_count(odto_http_request *rq, int status)
{
    http_server *s = rq->loop->server;
    http_mount *mount = rq->mount;
    if (!s->config.hooks.histogram || !mount)
        return;
    http_route *r = rq->route ? rq->route : &mount->none;
    histogram_cell *c = cell_find(r, rq->method_id, status);
    if (!c)
        c = cell_add(s, mount, r, rq->method_id, status);
    if (c && c->metric)
        odto_metric_observe(c->metric, (double)(odto_now_ns() - rq->t0) / 1e9);
}
