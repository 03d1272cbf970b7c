/* isolate_events.c — events between routes and a worker. The host remembers which leases a worker has: it can
 * settle those and no others, and they go back when it dies, with the attempt counted. */
#include "host/event.h"
#include "host/isolate_priv.h"
#include "host/watchdog.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LOANS_MAX 65536u
#define MANY      65536u /* events of one publish */
#define PUBLISHES 512u   /* under way; a worker keeps to half of it */

struct publish_job { /* one publish on its way, also its done argument */
    struct publish_job *next;
    struct proxy *p;
    uint64_t id;
    odto_route *route;
    atomic_int refs; /* who publishes, and done */
    uint32_t n;
    odto_event *events[];
};

/* ---- leases ---- */

/* With the lock: a slot for a lease; -1 when there is none. */
static int lend(struct proxy *p, const odto_lease *l)
{
    for (size_t k = 0; k < p->n_loans; k++) {
        size_t at = (p->next_loan + k) % p->n_loans;
        if (p->loans[at].used)
            continue;
        p->loans[at] = (struct loan){*l, true};
        p->next_loan = at + 1;
        return (int)at;
    }
    size_t n = p->n_loans ? p->n_loans * 2 : 512;
    struct loan *more = n <= LOANS_MAX ? realloc(p->loans, n * sizeof *more) : NULL;
    if (!more)
        return -1;
    memset(more + p->n_loans, 0, (n - p->n_loans) * sizeof *more);
    p->next_loan = p->n_loans;
    p->loans = more;
    p->n_loans = n;
    return lend(p, l);
}

static uint32_t topic_of(const struct proxy *p, const odto_lease *l)
{
    uint32_t i = 0;
    for (const char *const *t = p->in->d->consumes; t[i]; i++)
        if (strcmp(t[i], route_topic(l->route)) == 0)
            return i;
    return 0;
}

/* As many leases as make one frame; how many. */
static size_t put_leases(struct proxy *p, odto_buf *b, const odto_lease *leases, size_t n)
{
    size_t head = b->n, i = 0;
    wire_u32(b, topic_of(p, leases));
    size_t count = b->n;
    wire_u32(b, 0);
    pthread_mutex_lock(&p->lock);
    for (; i < n && b->n - head < ISOLATE_BATCH; i++) {
        int at = lend(p, &leases[i]);
        if (at < 0)
            break;
        wire_u32(b, (uint32_t)at);
        wire_u64(b, leases[i].seq);
        wire_u32(b, leases[i].attempt);
        wire_u32(b, leases[i].event->flags);
        wire_bytes(b, leases[i].event->body);
    }
    pthread_mutex_unlock(&p->lock);
    uint32_t some = (uint32_t)i;
    if (!b->failed)
        memcpy(b->p + count, &some, sizeof some);
    return i;
}

/* A dead worker's consumer takes nothing more until it is stopped, or rests because it is quiesced (which
 * nobody tells the proxy: it looks). */
static void wait_stopped(struct proxy *p)
{
    pthread_mutex_lock(&p->lock);
    while (!atomic_load(&p->in->stopping) && !atomic_load(&p->in->quiescing)) {
        int64_t until = odto_now_ns() + 20 * ODTO_MS;
        struct timespec ts = {until / ODTO_SEC, until % ODTO_SEC};
        pthread_cond_timedwait(&p->changed, &p->lock, &ts);
    }
    pthread_mutex_unlock(&p->lock);
}

/* On the consumer thread, which waits for the worker's handle(). How long that takes is watched by the marks
 * of the worker, not here. */
void proxy_handle(void *self, const odto_lease *leases, size_t n)
{
    struct proxy *p = self;
    watch_leave();
    while (n) {
        struct proxy_call call;
        odto_buf *b = proxy_call_begin(p, WIRE_HANDLE, &call);
        size_t some = put_leases(p, b, leases, n);
        int r = proxy_call_end(p, &call, "handle()", INT64_MAX, NULL);
        odto_buf_free(&call.more);
        if (!some || r < 0) {
            if (r == -ECONNRESET)
                proxy_return_leases(p, "its worker process died");
            else
                proxy_kill(p, "there is no memory for its events");
            route_settle(leases + some, n - some, ODTO_RETURN, "its worker process died");
            wait_stopped(p);
            return;
        }
        leases += some;
        n -= some;
    }
}

bool proxy_settle(struct proxy *p, struct wire_in *in)
{
    uint32_t verdict = wire_get_u32(in);
    const char *why = wire_get_str(in);
    odto_lease batch[256];
    if (verdict > ODTO_REJECT)
        return false;
    while (in->n && !in->bad) {
        size_t n = 0;
        pthread_mutex_lock(&p->lock);
        while (in->n && !in->bad && n < sizeof batch / sizeof batch[0]) {
            uint32_t at = wire_get_u32(in);
            uint64_t seq = wire_get_u64(in);
            if (at >= p->n_loans || !p->loans[at].used || p->loans[at].lease.seq != seq)
                continue;
            p->loans[at].used = false;
            batch[n++] = p->loans[at].lease;
        }
        pthread_mutex_unlock(&p->lock);
        if (n)
            p->in->handle.api->settle(&p->in->handle, batch, n, (odto_verdict)verdict, why);
    }
    return !in->bad;
}

size_t proxy_return_leases(struct proxy *p, const char *why)
{
    odto_lease batch[256];
    size_t n, at = 0, had = 0;
    do {
        n = 0;
        pthread_mutex_lock(&p->lock);
        for (; at < p->n_loans && n < sizeof batch / sizeof batch[0]; at++)
            if (p->loans[at].used) {
                p->loans[at].used = false;
                batch[n++] = p->loans[at].lease;
            }
        pthread_mutex_unlock(&p->lock);
        had += n;
        if (n)
            route_settle(batch, n, ODTO_RETURN, why);
    } while (n);
    return had;
}

/* ---- publishing ---- */

static void answer(struct proxy *p, uint64_t id, int result)
{
    odto_buf *b = wire_begin(&p->link, WIRE_PUBLISHED, id);
    wire_i64(b, result);
    wire_end(&p->link, -1);
}

static void job_unref(struct publish_job *j)
{
    if (atomic_fetch_sub(&j->refs, 1) > 1)
        return;
    for (uint32_t i = 0; i < j->n; i++)
        event_unref(j->events[i]);
    atomic_fetch_sub(&j->p->publishes, 1);
    proxy_unref(j->p);
    free(j);
}

static void published(void *arg, int result)
{
    struct publish_job *j = arg;
    answer(j->p, j->id, result);
    job_unref(j);
}

static void publish(struct publish_job *j, bool wait)
{
    atomic_fetch_add(&j->refs, 1); /* done may come before this returns */
    int r = route_publish(j->route, j->events, j->n, wait ? ODTO_PUBLISH_WAIT : 0, published, j,
                          (const bool *)&j->p->in->stopping);
    if (r < 0)
        published(j, r);
    job_unref(j);
}

/* Publishes that may wait for room have a thread, so that the link thread goes on: what it takes next may be
 * the acknowledgement that makes room. */
static void *publish_main(void *arg)
{
    struct proxy *p = arg;
    instance_set_current(p->in);
    for (;;) {
        pthread_mutex_lock(&p->lock);
        while (!p->jobs && p->publisher)
            pthread_cond_wait(&p->changed, &p->lock);
        struct publish_job *j = p->jobs;
        if (j && !(p->jobs = j->next))
            p->jobs_end = &p->jobs;
        bool on = p->publisher;
        pthread_mutex_unlock(&p->lock);
        if (!j)
            return NULL;
        if (on)
            publish(j, true);
        else
            published(j, -ECANCELED);
    }
}

static bool give_publisher(struct proxy *p, struct publish_job *j)
{
    pthread_mutex_lock(&p->lock);
    if (!p->publisher && !p->ending)
        p->publisher = pthread_create(&p->publisher_thread, NULL, publish_main, p) == 0;
    bool ok = p->publisher;
    if (ok) {
        j->next = NULL;
        *p->jobs_end = j;
        p->jobs_end = &j->next;
        pthread_cond_broadcast(&p->changed);
    }
    pthread_mutex_unlock(&p->lock);
    return ok;
}

void proxy_end_publisher(struct proxy *p)
{
    pthread_mutex_lock(&p->lock);
    bool had = p->publisher;
    p->publisher = false;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    if (had)
        pthread_join(p->publisher_thread, NULL);
}

bool proxy_publish(struct proxy *p, uint64_t id, struct wire_in *in)
{
    uint32_t route = wire_get_u32(in), flags = wire_get_u32(in), n = wire_get_u32(in);
    if (in->bad || route >= p->core->n_routes || n > MANY || atomic_load(&p->publishes) >= PUBLISHES)
        return false;
    struct publish_job *j = calloc(1, sizeof *j + n * sizeof j->events[0]);
    if (!j) {
        answer(p, id, -ENOMEM);
        return true;
    }
    *j = (struct publish_job){.p = p, .id = id, .route = p->core->routes[route]};
    atomic_init(&j->refs, 1);
    atomic_fetch_add(&p->refs, 1);
    atomic_fetch_add(&p->publishes, 1);
    int r = 0;
    while (r == 0 && j->n < n) {
        uint32_t valid = wire_get_u32(in) & ODTO_EVENT_VALID;
        odto_slice body = wire_get_bytes(in);
        j->events[j->n] = in->bad ? NULL : event_make(p->core->pool, body, valid);
        r = j->events[j->n] ? 0 : -errno;
        j->n += r == 0;
    }
    if (r < 0)
        published(j, r);
    else if (!(flags & ODTO_PUBLISH_WAIT))
        publish(j, false);
    else if (!give_publisher(p, j))
        published(j, -ECANCELED);
    return !in->bad;
}
