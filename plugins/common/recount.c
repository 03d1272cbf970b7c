/* recount.c — see recount.h. replay.lock protects `waiting` and `result`; everything else belongs to
 * the calling thread. */
#include "recount.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define BATCH 1000

typedef struct replay {
    const odto_store_ref *counters;
    bool (*should_stop)(void *arg);
    void *arg;
    odto_counted *batch;
    size_t n;
    int code;

    pthread_mutex_t lock;
    pthread_cond_t answered;
    bool waiting;
    int result;
} replay;

static void added(odto_write *w, int result)
{
    replay *r = w->arg;
    pthread_mutex_lock(&r->lock);
    r->waiting = false;
    r->result = result;
    pthread_cond_signal(&r->answered);
    pthread_mutex_unlock(&r->lock);
}

/* Give the batch to the counters and wait. */
static void flush(replay *r)
{
    odto_write w = {.counted = r->batch, .n = r->n, .done = added, .arg = r, .replay = true};
    if (r->n == 0 || r->code != 0)
        return;
    r->waiting = true;
    r->code = r->counters->iface->counters->add(r->counters->self, &w);
    if (r->code != 0)
        return;
    pthread_mutex_lock(&r->lock);
    while (r->waiting)
        pthread_cond_wait(&r->answered, &r->lock);
    r->code = r->result;
    pthread_mutex_unlock(&r->lock);
    r->n = 0;
}

static bool on_event(void *arg, const odto_counted *e)
{
    replay *r = arg;
    r->batch[r->n++] = *e;
    if (r->n == BATCH)
        flush(r);
    if (r->code == 0 && r->should_stop != NULL && r->should_stop(r->arg))
        r->code = -ECANCELED;
    return r->code == 0;
}

static int replay_log(const odto_store_ref *events, replay *r, odto_error *err)
{
    static const odto_counters zero;
    int code = r->counters->iface->counters->set(r->counters->self, &zero, err);
    if (code == 0)
        code = events->iface->events->scan(events->self, on_event, r, err);
    if (code != 0)
        return code;
    flush(r);
    if (r->code != 0)
        odto_fail(err, r->code, "store %s does not count (%s)", r->counters->name, strerror(-r->code));
    return r->code;
}

int recount(const odto_store_ref *events, const odto_store_ref *counters, bool (*should_stop)(void *arg),
            void *arg, odto_counters *out, odto_error *err)
{
    const odto_events_ops *log = events->iface->events;
    const odto_counters_ops *sums = counters->iface->counters;
    if (events->self == counters->self && log->append_counted != NULL && log->recount != NULL)
        return log->recount(events->self, out, err);
    if (log->scan == NULL || sums->set == NULL ||
        (events->self == counters->self && log->append_counted != NULL))
        return odto_fail(err, -ENOTSUP, "the stores %s and %s can't count anew", events->name,
                         counters->name);
    replay r = {.counters = counters, .should_stop = should_stop, .arg = arg};
    r.batch = calloc(BATCH, sizeof(*r.batch));
    if (r.batch == NULL)
        return odto_fail(err, -ENOMEM, "no memory to count events");
    pthread_mutex_init(&r.lock, NULL);
    pthread_cond_init(&r.answered, NULL);
    int code = replay_log(events, &r, err);
    if (code == 0)
        code = sums->read(counters->self, out, err);
    pthread_cond_destroy(&r.answered);
    pthread_mutex_destroy(&r.lock);
    free(r.batch);
    return code;
}
