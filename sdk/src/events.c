/* events.c — routes, leases and jobs of the fake host. Everything is recorded under the host's lock. */
#include "internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static odto_route *topic(odto_test *t, const char *name)
{
    odto_route *found = NULL;
    pthread_mutex_lock(&t->lock);
    for (size_t i = 0; i < t->n_topics && !found; i++)
        if (strcmp(t->topic_table[i].topic, name) == 0)
            found = &t->topic_table[i];
    if (!found && t->n_topics < sizeof t->topic_table / sizeof t->topic_table[0]) {
        found = &t->topic_table[t->n_topics++];
        snprintf(found->topic, sizeof found->topic, "%s", name);
    }
    pthread_mutex_unlock(&t->lock);
    return found;
}

static odto_route *route(odto_host *h, const char *name)
{
    odto_test *t = odto_test_of(h);
    return t->has_route && !odto_test_refused(t, "route") ? topic(t, name) : NULL;
}

static const char *route_name(const odto_route *r)
{
    return r->topic;
}

static odto_event *make_event(odto_slice body, uint32_t flags)
{
    odto_event *e = calloc(1, sizeof *e + body.n + 1);
    if (!e)
        return NULL;
    char *text = (char *)(e + 1);
    if (body.n)
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

static odto_event *event_new(odto_host *h, odto_slice body, uint32_t flags)
{
    HOST_SIDE;
    return odto_test_refused(odto_test_of(h), "event_new") ? NULL : make_event(body, flags);
}

static void event_ref(odto_event *e)
{
    __atomic_fetch_add(&e->refs, 1, __ATOMIC_RELAXED); /* the caller has one: pairs with nothing */
}

static void event_unref(odto_event *e)
{
    if (__atomic_fetch_sub(&e->refs, 1, __ATOMIC_ACQ_REL) ==
        1) /* the last one sees all writes of the others */
        free(e);
}

static int publish(odto_host *h, odto_route *r, odto_event *const *events, size_t n, uint32_t flags,
                   odto_publish_done *done, void *arg)
{
    HOST_SIDE;
    (void)flags;
    odto_test *t = odto_test_of(h);
    if (n && odto_test_refused(t, "publish"))
        return -EAGAIN;
    pthread_mutex_lock(&t->lock);
    int rc = t->publish_rc, result = t->publish_result;
    bool hold = t->hold && n;
    if (rc == 0) {
        if (t->n_events + n > ODTO_TEST_MAX)
            odto_test_broken("more than %d events published", ODTO_TEST_MAX);
        odto_test_publish p = {done, arg, t->n_events, n};
        for (size_t i = 0; i < n; i++) {
            event_ref(events[i]);
            t->topics[t->n_events] = r->topic;
            t->events[t->n_events] = events[i];
            __atomic_fetch_add(&t->n_events, 1, __ATOMIC_RELEASE); /* pairs with odto_test_wait_count */
        }
        if (hold)
            t->held[t->n_held++] = p;
    }
    pthread_mutex_unlock(&t->lock);
    if (rc == 0 && !hold && done) {
        PLUGIN_SIDE;
        done(arg, result);
    }
    return rc;
}

void odto_test_release(odto_test *t, int result)
{
    for (;;) {
        pthread_mutex_lock(&t->lock);
        odto_test_publish p = {0};
        bool any = t->n_held > 0;
        if (any) {
            p = t->held[0];
            memmove(t->held, t->held + 1, --t->n_held * sizeof t->held[0]);
        }
        pthread_mutex_unlock(&t->lock);
        if (!any)
            return;
        PLUGIN_SIDE;
        if (p.done)
            p.done(p.arg, result);
    }
}

static void settle(odto_host *h, const odto_lease *leases, size_t n, odto_verdict v, const char *why)
{
    HOST_SIDE;
    odto_test *t = odto_test_of(h);
    pthread_mutex_lock(&t->lock);
    for (size_t i = 0; i < n; i++) {
        if (t->n_settled == ODTO_TEST_MAX)
            odto_test_broken("more than %d leases settled", ODTO_TEST_MAX);
        for (size_t k = 0; k < t->n_settled; k++)
            if (t->settled[k].lease.seq == leases[i].seq)
                odto_test_broken("lease %llu was settled twice", (unsigned long long)leases[i].seq);
        odto_test_settled *s = &t->settled[t->n_settled];
        s->lease = leases[i];
        s->verdict = v;
        snprintf(s->why, sizeof s->why, "%s", why ? why : "");
        __atomic_fetch_add(&t->n_settled, 1, __ATOMIC_RELEASE); /* pairs with odto_test_wait_count */
    }
    pthread_mutex_unlock(&t->lock);
}

/* A route knows no host: its stats are those of the host that was set up last in this process. */
static odto_test *latest;

static void route_stats(const odto_route *r, odto_route_stats *out)
{
    (void)r;
    *out = latest->route_stats;
}

static void prefetch(odto_host *h, odto_route *r, uint32_t n)
{
    (void)r;
    __atomic_store_n(&odto_test_of(h)->prefetch, n, __ATOMIC_RELEASE); /* for tests that wait for it */
}

odto_event *odto_test_event(odto_test *t, const char *body, bool valid)
{
    (void)t;
    odto_event *e = make_event(odto_slice_str(body), valid ? ODTO_EVENT_VALID : 0);
    if (!e)
        odto_test_broken("not an envelope: %s", body);
    return e;
}

odto_lease odto_test_lease(odto_test *t, const char *body, bool valid)
{
    odto_event *e = odto_test_event(t, body, valid);
    const char *const *consumes = t->plugin->consumes;
    odto_route *r = consumes && consumes[0] ? topic(t, consumes[0]) : NULL;
    pthread_mutex_lock(&t->lock);
    if (t->n_leased == ODTO_TEST_MAX)
        odto_test_broken("more than %d leases", ODTO_TEST_MAX);
    t->leased[t->n_leased++] = e;
    odto_lease lease = {.event = e, .route = r, .seq = ++t->seq, .attempt = 1};
    pthread_mutex_unlock(&t->lock);
    return lease;
}

void odto_test_deliver(odto_test *t, const char *body, bool valid)
{
    odto_lease lease = odto_test_lease(t, body, valid);
    PLUGIN_SIDE;
    t->plugin->ops->handle(t->self, &lease, 1);
}

size_t odto_test_unsettled(odto_test *t)
{
    pthread_mutex_lock(&t->lock);
    size_t n = t->n_leased - t->n_settled;
    pthread_mutex_unlock(&t->lock);
    return n;
}

bool odto_test_wait_count(const size_t *n, size_t want)
{
    for (int i = 0; i < 5000 && __atomic_load_n(n, __ATOMIC_ACQUIRE) < want;
         i++) /* pairs with the counter's */
        usleep(1000);
    return __atomic_load_n(n, __ATOMIC_ACQUIRE) >= want;
}

void odto_test_events_setup(odto_test *t)
{
    latest = t;
    t->has_route = true;
    t->route_stats.capacity = 1024;
    t->api.route = route;
    t->api.route_name = route_name;
    t->api.event_new = event_new;
    t->api.event_ref = event_ref;
    t->api.event_unref = event_unref;
    t->api.publish = publish;
    t->api.settle = settle;
    t->api.route_stats = route_stats;
    t->api.prefetch = prefetch;
}

void odto_test_events_free(odto_test *t)
{
    for (size_t i = 0; i < t->n_events; i++)
        event_unref(t->events[i]);
    for (size_t i = 0; i < t->n_leased; i++)
        event_unref(t->leased[i]);
    t->n_events = t->n_leased = 0;
}

/* ---- jobs -------------------------------------------------------------------------------------- */

static char *text_of(odto_slice s)
{
    char *p = malloc(s.n + 1);
    if (!p)
        odto_test_broken("no memory");
    if (s.n)
        memcpy(p, s.p, s.n);
    p[s.n] = 0;
    return p;
}

static void run_finish(odto_run *run, const odto_run_result *r)
{
    HOST_SIDE;
    odto_test_job *j = run->owner;
    if (__atomic_load_n(&j->ended, __ATOMIC_ACQUIRE)) /* pairs with the store below */
        odto_test_broken("a run of type %s was finished twice", j->type);
    j->end = r->end;
    j->delay_ns = r->delay_ns;
    j->result = text_of(r->result);
    j->error = text_of(r->error);
    __atomic_store_n(&j->ended, 1, __ATOMIC_RELEASE); /* pairs with odto_test_ended */
}

static void run_progress(odto_run *run, double fraction, odto_slice note)
{
    (void)note;
    odto_test_job *j = run->owner;
    pthread_mutex_lock(&j->host->lock);
    j->progress = fraction;
    pthread_mutex_unlock(&j->host->lock);
}

static bool run_should_stop(const odto_run *run)
{
    const odto_test_job *j = run->owner;
    return __atomic_load_n(&j->should_stop, __ATOMIC_ACQUIRE) || /* pairs with odto_test_cancel */
           __atomic_load_n(&j->host->stopping, __ATOMIC_ACQUIRE);
}

static void *run_thread(void *arg)
{
    odto_test_job *j = arg;
    odto_run *run = &j->run;
    PLUGIN_SIDE;
    j->host->plugin->handler->start(j->host->self, &run, 1);
    return NULL;
}

odto_test_job *odto_test_run(odto_test *t, const char *type, const char *payload)
{
    if (!t->plugin->handler)
        odto_test_broken("%s is not a handler", t->plugin->head.name);
    odto_test_job *j = calloc(1, sizeof *j);
    if (!j)
        odto_test_broken("no memory");
    j->host = t;
    j->type = text_of(odto_slice_str(type));
    j->payload = text_of(odto_slice_str(payload));
    j->progress = -1;
    odto_uuid_v4(&j->job.id);
    odto_uuid_v4(&j->job.correlation_id);
    j->job.type = odto_slice_str(j->type);
    j->job.payload = odto_slice_str(j->payload);
    j->job.status = ODTO_EXECUTING;
    j->job.attempt = 1;
    j->job.max_attempts = 3;
    j->run = (odto_run){.job = &j->job,
                        .type = j->type,
                        .owner = j,
                        .finish = run_finish,
                        .progress = run_progress,
                        .should_stop = run_should_stop};
    j->next = t->jobs;
    t->jobs = j;
    if (!(t->plugin->handler->flags & ODTO_HANDLER_BLOCKING)) {
        run_thread(j);
    } else {
        j->has_thread = true;
        if (pthread_create(&j->thread, NULL, run_thread, j) != 0)
            odto_test_broken("no thread");
    }
    return j;
}

const odto_test_job *odto_test_ended(odto_test_job *j)
{
    if (!odto_test_wait_count(&j->ended, 1))
        odto_test_broken("a run of type %s did not end within 5 s", j->type);
    return j;
}

void odto_test_cancel(odto_test_job *j)
{
    odto_test *t = j->host;
    __atomic_store_n(&j->should_stop, true, __ATOMIC_RELEASE); /* pairs with run_should_stop */
    PLUGIN_SIDE;
    if (t->plugin->handler->cancel)
        t->plugin->handler->cancel(t->self, &j->run);
}

void odto_test_jobs_free(odto_test *t)
{
    while (t->jobs) {
        odto_test_job *j = t->jobs;
        t->jobs = j->next;
        if (j->has_thread)
            pthread_join(j->thread, NULL);
        free(j->type);
        free(j->payload);
        free(j->result);
        free(j->error);
        free(j);
    }
}
