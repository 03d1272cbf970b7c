/* route_admin.c — what people do with the events of a route: look, remove, purge (dead letters above all). */
#include "route_internal.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct seen { /* an event found under the lock, shown after it */
    struct entry e;
    bool leased;
};

static int seen_by_seq(const void *a, const void *b)
{
    const struct seen *x = a, *y = b;
    return x->e.seq < y->e.seq ? -1 : x->e.seq > y->e.seq;
}

/* The first max events of g from seq `from` on, with a reference each, in order. Lock held. NULL: no memory.
 */
static struct seen *collect(odto_route *r, struct route_group *g, uint64_t from, size_t max, size_t *n_out)
{
    size_t n = 0, ready = 0;
    size_t room = g->returned.n + g->leased + (max < g->ready.n ? max : g->ready.n);
    struct seen *all = calloc(room + 1, sizeof *all);
    if (!all)
        return NULL;
    for (size_t i = 0; i < g->returned.n; i++)
        if (g->returned.at[i].seq >= from)
            all[n++] = (struct seen){g->returned.at[i], false};
    for (uint32_t i = 0; i < r->leases.n; i++) {
        const struct lease_slot *s = &r->leases.at[i];
        if (s->event && s->group == g && s->seq >= from)
            all[n++] = (struct seen){{s->event, s->seq, s->ms, s->attempts, 0}, true};
    }
    struct deque_iter it = {0};
    for (const struct entry *e; ready < max && (e = deque_next(&g->ready, &it));)
        if (e->seq >= from) {
            all[n++] = (struct seen){*e, false};
            ready++;
        }
    qsort(all, n, sizeof *all, seen_by_seq);
    n = n < max ? n : max;
    for (size_t i = 0; i < n; i++)
        event_ref(all[i].e.event);
    *n_out = n;
    return all;
}

int route_admin_peek(odto_route *r, uint64_t from, size_t max, bool (*fn)(void *, const struct route_item *),
                     void *arg)
{
    size_t n = 0;
    pthread_mutex_lock(&r->lock);
    struct seen *all = collect(r, route_deepest(r), from, max, &n);
    pthread_mutex_unlock(&r->lock);
    if (!all)
        return -ENOMEM;
    uint32_t now = route_now_ms();
    int64_t unix_now = odto_unix_ms();
    bool more = true;
    for (size_t i = 0; i < n; i++) {
        const struct entry *e = &all[i].e;
        struct route_item item = {.seq = e->seq,
                                  .unix_ms = unix_now - (int32_t)(now - e->ms),
                                  .body = e->event->body,
                                  .attempts = e->attempts,
                                  .leased = all[i].leased};
        if (more)
            more = fn(arg, &item);
        event_unref(e->event);
    }
    free(all);
    return 0;
}

int route_peek(odto_route *r, uint64_t from_seq, size_t max,
               bool (*fn)(void *arg, const struct route_item *item), void *arg)
{
    return r->ops->peek ? r->ops->peek(r, from_seq, max, fn, arg) : -EOPNOTSUPP;
}

/* ---- remove -------------------------------------------------------------------------------- */

struct removing {
    const uint64_t *seqs; /* sorted; NULL: all */
    size_t n;
    struct route_group *group;
    size_t removed;
};

static int u64_cmp(const void *a, const void *b)
{
    uint64_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return x < y ? -1 : x > y;
}

static bool keep_entry(void *arg, void *elem)
{
    struct removing *rm = arg;
    const struct entry *e = elem;
    if (rm->seqs && !bsearch(&e->seq, rm->seqs, rm->n, sizeof e->seq, u64_cmp))
        return true;
    if (rm->group->mem_bytes)
        rm->group->mem_bytes -= event_cost(e->event);
    event_unref(e->event);
    rm->removed++;
    return false;
}

size_t group_remove(struct route_group *g, const uint64_t *sorted, size_t n)
{
    struct removing rm = {sorted, n, g, 0};
    deque_filter(&g->ready, keep_entry, &rm);
    size_t kept = 0;
    for (size_t i = 0; i < g->returned.n; i++) {
        struct entry e = g->returned.at[i];
        if (sorted && !bsearch(&e.seq, sorted, n, sizeof e.seq, u64_cmp)) {
            g->returned.at[kept++] = e;
            continue;
        }
        event_unref(e.event);
        rm.removed++;
    }
    g->returned.n = kept;
    heap_fix(&g->returned);
    return rm.removed;
}

int64_t route_admin_remove(odto_route *r, const uint64_t *seqs, size_t n)
{
    size_t most = 0;
    pthread_mutex_lock(&r->lock);
    for (uint32_t i = 0; i < r->n_groups; i++) {
        size_t removed = group_remove(r->groups[i], seqs, n);
        r->groups[i]->depth -= removed;
        group_hint(r->groups[i]);
        most = removed > most ? removed : most;
    }
    route_made_room(r);
    pthread_mutex_unlock(&r->lock);
    return (int64_t)most;
}

int64_t route_remove(odto_route *r, const uint64_t *seqs, size_t n)
{
    if (!r->ops->remove)
        return -EOPNOTSUPP;
    uint64_t *sorted = calloc(n + 1, sizeof *sorted);
    if (!sorted)
        return -ENOMEM;
    if (n)
        memcpy(sorted, seqs, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, u64_cmp);
    int64_t rc = r->ops->remove(r, sorted, n);
    free(sorted);
    return rc;
}

int64_t route_purge(odto_route *r)
{
    return r->ops->remove ? r->ops->remove(r, NULL, 0) : -EOPNOTSUPP;
}
