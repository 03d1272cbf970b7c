/* worker_events.c — routes, events and leases in the worker. An event made here lives here; publishing copies
 * its body into the frame. A lease names a slot of the host, which remembers what it handed out; the table
 * here holds the event of each slot, so that a lease settled twice is ignored as in the host.
 *
 * The lock guards tables and the publish window, never held while plugin code runs. */
#include "host/event.h"
#include "host/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PUBLISHES     256                /* under way at once */
#define PUBLISH_BYTES ((size_t)16 << 20) /* of their bodies; one larger batch goes alone */

struct odto_route {
    struct odto_route *next;
    struct worker *w;
    uint32_t index; /* the host's */
    char topic[];
};

struct held { /* by slot of the host */
    odto_event *event;
    uint64_t seq;
};

struct publish {
    struct publish *next;
    uint64_t id;
    size_t bytes;
    odto_publish_done *done;
    void *arg;
    int *result; /* of one that waits instead of done */
};

struct worker_events {
    pthread_mutex_t lock;
    pthread_cond_t room; /* a publish has ended */
    odto_route *routes;
    struct held *held;
    size_t n_held;
    struct publish *publishes;
    size_t n_publishes, bytes;
};

int events_init(struct worker *w)
{
    w->events = calloc(1, sizeof *w->events);
    w->pool = event_pool_new(0);
    if (!w->events || !w->pool)
        return -ENOMEM;
    pthread_mutex_init(&w->events->lock, NULL);
    pthread_cond_init(&w->events->room, NULL);
    return 0;
}

/* ---- routes ---- */

odto_route *events_route(odto_host *h, const char *topic)
{
    struct worker *w = worker_of(h);
    struct worker_events *ev = w->events;
    pthread_mutex_lock(&ev->lock);
    odto_route *r = ev->routes;
    while (r && strcmp(r->topic, topic) != 0)
        r = r->next;
    pthread_mutex_unlock(&ev->lock);
    if (r)
        return r;
    struct pending p;
    wire_str(call_begin(w, WIRE_ROUTE, &p), topic);
    int index = call_end(w, &p, NULL);
    odto_buf_free(&p.more);
    r = index < 0 ? NULL : malloc(sizeof *r + strlen(topic) + 1);
    if (!r)
        return NULL;
    r->w = w;
    r->index = (uint32_t)index;
    strcpy(r->topic, topic);
    pthread_mutex_lock(&ev->lock);
    r->next = ev->routes;
    ev->routes = r;
    pthread_mutex_unlock(&ev->lock);
    return r;
}

const char *events_route_name(const odto_route *r)
{
    return r->topic;
}

void events_route_stats(const odto_route *r, odto_route_stats *out)
{
    struct pending p;
    memset(out, 0, sizeof *out);
    wire_u32(call_begin(r->w, WIRE_ROUTE_STATS, &p), r->index);
    if (call_end(r->w, &p, NULL) == 0 && p.more.n == sizeof *out)
        memcpy(out, p.more.p, sizeof *out);
    odto_buf_free(&p.more);
}

void events_prefetch(odto_host *h, odto_route *r, uint32_t n)
{
    struct worker *w = worker_of(h);
    odto_buf *b = wire_begin(&w->link, WIRE_PREFETCH, 0);
    wire_u32(b, r->index);
    wire_u32(b, n);
    wire_end(&w->link, -1);
}

odto_event *events_new(odto_host *h, odto_slice body, uint32_t flags)
{
    return event_make(worker_of(h)->pool, body, flags);
}

/* ---- consuming ---- */

static bool hold(struct worker_events *ev, uint32_t slot, uint64_t seq, odto_event *e)
{
    bool ok = true;
    pthread_mutex_lock(&ev->lock);
    if (slot >= ev->n_held) {
        size_t n = (size_t)slot * 2 + 64;
        struct held *more = realloc(ev->held, n * sizeof *more);
        if (more) {
            memset(more + ev->n_held, 0, (n - ev->n_held) * sizeof *more);
            ev->held = more;
            ev->n_held = n;
        }
        ok = more != NULL;
    }
    if (ok)
        ev->held[slot] = (struct held){e, seq};
    pthread_mutex_unlock(&ev->lock);
    return ok;
}

static bool get_lease(struct worker *w, struct wire_in *in, odto_lease *out)
{
    out->fence = wire_get_u32(in);
    out->seq = wire_get_u64(in);
    out->attempt = wire_get_u32(in);
    uint32_t flags = wire_get_u32(in);
    out->event = event_make(w->pool, wire_get_bytes(in), flags & ODTO_EVENT_VALID);
    return out->event && hold(w->events, out->fence, out->seq, out->event);
}

static void handle(struct task *t)
{
    struct worker *w = t->arg;
    uint32_t topic = wire_get_u32(&t->in), n = wire_get_u32(&t->in);
    odto_lease *leases = calloc((size_t)n + 1, sizeof *leases);
    odto_route *route = events_route(&w->host, w->d->consumes[topic]);
    for (uint32_t i = 0; leases && i < n; i++) {
        if (!get_lease(w, &t->in, &leases[i]))
            abort(); /* no memory: the host returns the leases and starts a new worker */
        leases[i].route = route;
    }
    if (!leases || !route)
        abort();
    uint64_t id = t->id;
    free(t);
    wire_cork(&w->link);
    w->d->ops->handle(w->self, leases, n);
    free(leases);
    odto_buf *b = wire_begin(&w->link, WIRE_REPLY, id);
    wire_i64(b, 0);
    wire_error(b, &(odto_error){0});
    wire_end(&w->link, -1);
    wire_uncork(&w->link);
}

void events_handle(struct worker *w, struct task *t)
{
    struct wire_in in = t->in;
    uint32_t topic = wire_get_u32(&in);
    t->arg = w;
    t->run = handle;
    lane_push(w, &w->topics[topic % WORKER_TOPICS], t);
}

/* The event of a lease that is still held. */
static odto_event *release(struct worker_events *ev, const odto_lease *l)
{
    odto_event *e = NULL;
    pthread_mutex_lock(&ev->lock);
    if (l->fence < ev->n_held && ev->held[l->fence].event && ev->held[l->fence].seq == l->seq) {
        e = ev->held[l->fence].event;
        ev->held[l->fence].event = NULL;
    }
    pthread_mutex_unlock(&ev->lock);
    return e;
}

void events_settle(odto_host *h, const odto_lease *leases, size_t n, odto_verdict v, const char *why)
{
    struct worker *w = worker_of(h);
    odto_event **events = malloc((n + 1) * sizeof(odto_event *));
    if (!events)
        abort(); /* the host returns the leases */
    for (size_t i = 0; i < n; i++)
        events[i] = release(w->events, &leases[i]);
    odto_buf *b = wire_begin(&w->link, WIRE_SETTLE, 0);
    wire_u32(b, (uint32_t)v);
    wire_str(b, why);
    for (size_t i = 0; i < n; i++)
        if (events[i]) {
            wire_u32(b, leases[i].fence);
            wire_u64(b, leases[i].seq);
        }
    wire_end(&w->link, -1);
    for (size_t i = 0; i < n; i++)
        if (events[i])
            event_unref(events[i]);
    free(events);
}

/* ---- publishing ---- */

static size_t bytes_of(odto_event *const *events, size_t n)
{
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++)
        bytes += events[i]->body.n;
    return bytes;
}

/* A place in the window: what the host has not answered yet is bounded here, so that it need not refuse. */
static int enter(struct worker *w, struct publish *p, bool wait)
{
    struct worker_events *ev = w->events;
    int r = 0;
    pthread_mutex_lock(&ev->lock);
    while (r == 0 && (ev->n_publishes >= PUBLISHES || (ev->bytes && ev->bytes + p->bytes > PUBLISH_BYTES))) {
        if (atomic_load(&w->stopping))
            r = -ECANCELED;
        else if (!wait)
            r = -EAGAIN;
        else
            pthread_cond_wait(&ev->room, &ev->lock);
    }
    if (r == 0) {
        ev->n_publishes++;
        ev->bytes += p->bytes;
        p->next = ev->publishes;
        ev->publishes = p;
    }
    pthread_mutex_unlock(&ev->lock);
    return r;
}

static struct publish *leave(struct worker_events *ev, uint64_t id)
{
    struct publish *found = NULL;
    pthread_mutex_lock(&ev->lock);
    for (struct publish **at = &ev->publishes; *at; at = &(*at)->next)
        if ((*at)->id == id) {
            found = *at;
            *at = found->next;
            ev->n_publishes--;
            ev->bytes -= found->bytes;
            break;
        }
    pthread_mutex_unlock(&ev->lock);
    return found;
}

static int send_publish(struct worker *w, const struct publish *p, const odto_route *r,
                        odto_event *const *events, size_t n, uint32_t flags)
{
    odto_buf *b = wire_begin(&w->link, WIRE_PUBLISH, p->id);
    wire_u32(b, r->index);
    wire_u32(b, flags & ODTO_PUBLISH_WAIT);
    wire_u32(b, (uint32_t)n);
    for (size_t i = 0; i < n; i++) {
        wire_u32(b, events[i]->flags & ODTO_EVENT_VALID);
        wire_bytes(b, events[i]->body);
    }
    return wire_end(&w->link, -1);
}

/* Without done there is nobody to tell later that it was refused: wait for the answer. */
static int wait_published(struct worker_events *ev, const int *result)
{
    pthread_mutex_lock(&ev->lock);
    while (*result == 1)
        pthread_cond_wait(&ev->room, &ev->lock);
    int r = *result;
    pthread_mutex_unlock(&ev->lock);
    return r;
}

int events_publish(odto_host *h, odto_route *r, odto_event *const *events, size_t n, uint32_t flags,
                   odto_publish_done *done, void *arg)
{
    struct worker *w = worker_of(h);
    int result = 1;
    struct publish *p = malloc(sizeof *p);
    if (!p)
        return -ENOMEM;
    *p = (struct publish){.id = atomic_fetch_add(&w->next_id, 1),
                          .bytes = bytes_of(events, n),
                          .done = done,
                          .arg = arg,
                          .result = done ? NULL : &result};
    int e = enter(w, p, flags & ODTO_PUBLISH_WAIT);
    if (e < 0) {
        free(p);
        return e;
    }
    e = send_publish(w, p, r, events, n, flags);
    if (e < 0) {
        free(leave(w->events, p->id));
        return e;
    }
    return done ? 0 : wait_published(w->events, &result);
}

static void done(struct task *t)
{
    struct worker *w = t->arg;
    struct publish *p = leave(w->events, t->id);
    int result = (int)wire_get_i64(&t->in);
    free(t);
    pthread_mutex_lock(&w->events->lock);
    if (p && p->result)
        *p->result = result;
    pthread_cond_broadcast(&w->events->room);
    pthread_mutex_unlock(&w->events->lock);
    if (p && p->done)
        p->done(p->arg, result);
    free(p);
}

void events_published(struct worker *w, struct task *t)
{
    struct worker_events *ev = w->events;
    pthread_mutex_lock(&ev->lock);
    const struct publish *p = ev->publishes;
    while (p && p->id != t->id)
        p = p->next;
    bool waits = p && p->result; /* perhaps on the lane of the others */
    pthread_mutex_unlock(&ev->lock);
    t->arg = w;
    t->run = done;
    if (waits)
        done(t);
    else
        lane_push(w, &w->done, t);
}

void events_wake(struct worker *w)
{
    if (!w->events)
        return;
    pthread_mutex_lock(&w->events->lock);
    pthread_cond_broadcast(&w->events->room);
    pthread_mutex_unlock(&w->events->lock);
}
