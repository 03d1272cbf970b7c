/* rebuild.c — see rebuild.h. rebuild.lock protects `interrupted`. */
#include "rebuild.h"

#include "../common/recount.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define WAIT_FIRST (200 * ODTO_MS)
#define WAIT_MAX   (5 * ODTO_SEC) /* nothing is consumed meanwhile */
#define SAY_AGAIN  (60 * ODTO_SEC)

struct rebuild {
    odto_host *host;
    odto_store_ref events, counters;
    void (*done)(void *arg);
    void *arg;
    bool finished; /* atomic */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool interrupted;
    bool begun; /* the thread's */
    odto_thread *thread;
};

static bool interrupted(void *arg)
{
    rebuild *r = arg;
    pthread_mutex_lock(&r->lock);
    bool yes = r->interrupted;
    pthread_mutex_unlock(&r->lock);
    return yes;
}

static bool empty(const odto_counters *c)
{
    return c->total == 0 && c->completed == 0 && c->failed == 0;
}

/* 0 when the counters are right (now), or -errno of the store that does not answer. */
static int check(rebuild *r, odto_error *err)
{
    odto_counters now = {0}, counted = {0};
    int rc = r->counters.iface->counters->read(r->counters.self, &now, err);
    /* once begun it is to be finished: counters that are half counted are not empty */
    if (rc != 0 || (!r->begun && !empty(&now)))
        return rc;
    if (r->events.iface->events->count && !r->begun)
        rc = r->events.iface->events->count(r->events.self, &counted, err);
    if (rc != 0 || (!r->begun && counted.total == 0))
        return rc;
    /* another host that came up with us may have begun while this one counted: two at once would count old
     * events twice */
    if (!r->begun &&
        ((rc = r->counters.iface->counters->read(r->counters.self, &now, err)) != 0 || !empty(&now)))
        return rc;
    r->begun = true;
    rc = recount(&r->events, &r->counters, interrupted, r, &counted, err);
    if (rc == 0)
        odto_log(r->host, ODTO_WARN,
                 "the counters of store %s were empty: rebuilt from %lld events of store %s",
                 r->counters.name, (long long)counted.total, r->events.name);
    return rc == -ENOTSUP ? 0 : rc;
}

/* False when interrupted. */
static bool wait_for(rebuild *r, int64_t ns)
{
    int64_t until_ns = odto_now_ns() + ns;
    struct timespec until = {until_ns / ODTO_SEC, until_ns % ODTO_SEC};
    int rc = 0;
    pthread_mutex_lock(&r->lock);
    while (!r->interrupted && rc == 0)
        rc = pthread_cond_timedwait(&r->wake, &r->lock, &until);
    bool go_on = !r->interrupted;
    pthread_mutex_unlock(&r->lock);
    return go_on;
}

static void run(void *arg)
{
    rebuild *r = arg;
    int64_t wait = WAIT_FIRST, said = 0;
    for (;;) {
        odto_error err = {0};
        char text[1024];
        if (check(r, &err) == 0)
            break;
        if (!said || odto_now_ns() - said >= SAY_AGAIN) {
            odto_log(r->host, ODTO_WARN, "the counters can't be compared with the event log yet: %s",
                     odto_error_text(&err, text, sizeof text));
            said = odto_now_ns();
        }
        if (!wait_for(r, wait))
            return;
        wait = wait * 2 < WAIT_MAX ? wait * 2 : WAIT_MAX;
    }
    __atomic_store_n(&r->finished, true, __ATOMIC_RELEASE); /* pairs with rebuild_done */
    r->done(r->arg);
}

int rebuild_start(odto_host *h, const odto_store_ref *events, const odto_store_ref *counters,
                  void (*done)(void *arg), void *arg, rebuild **out, odto_error *err)
{
    rebuild *r = calloc(1, sizeof *r);
    if (!r)
        return odto_fail(err, -ENOMEM, "no memory to compare counters and events");
    r->host = h;
    r->events = *events;
    r->counters = *counters;
    r->done = done;
    r->arg = arg;
    pthread_mutex_init(&r->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&r->wake, &attr);
    pthread_condattr_destroy(&attr);
    int rc = h->api->thread_start(h, "rebuild", run, r, &r->thread);
    if (rc != 0) {
        odto_fail(err, rc, "no thread to compare counters and events: %s", strerror(-rc));
        rebuild_free(r);
        return rc;
    }
    *out = r;
    return 0;
}

bool rebuild_done(const rebuild *r)
{
    return __atomic_load_n(&r->finished, __ATOMIC_ACQUIRE); /* pairs with run() */
}

void rebuild_interrupt(rebuild *r)
{
    pthread_mutex_lock(&r->lock);
    r->interrupted = true;
    pthread_cond_broadcast(&r->wake);
    pthread_mutex_unlock(&r->lock);
}

void rebuild_free(rebuild *r)
{
    if (!r)
        return;
    pthread_cond_destroy(&r->wake);
    pthread_mutex_destroy(&r->lock);
    free(r);
}
