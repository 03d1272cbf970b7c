/* write_queue.c — see write_queue.h. */
#include "write_queue.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define BACKOFF_FIRST (100 * ODTO_MS)
#define BACKOFF_MAX   (5 * ODTO_SEC)
#define WARN_EVERY    (60 * ODTO_SEC)

int write_queue_init(write_queue *q)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    bool ok = pthread_mutex_init(&q->lock, NULL) == 0 && pthread_cond_init(&q->wake, &attr) == 0 &&
              pthread_cond_init(&q->drained, &attr) == 0;
    pthread_condattr_destroy(&attr);
    return ok ? 0 : -ENOMEM;
}

void write_queue_fini(write_queue *q)
{
    pthread_cond_destroy(&q->drained);
    pthread_cond_destroy(&q->wake);
    pthread_mutex_destroy(&q->lock);
}

int write_queue_submit(write_queue *q, odto_write *w)
{
    int code = 0;
    w->next = NULL;
    pthread_mutex_lock(&q->lock);
    if (!q->running || q->stopping) {
        code = -ECANCELED;
    } else if (q->queued > 0 && q->queued + w->n > q->max_queue) {
        code = -EAGAIN;
    } else {
        if (q->head == NULL)
            q->head = w;
        else
            q->tail->next = w;
        q->tail = w;
        q->queued += w->n;
        pthread_cond_signal(&q->wake);
    }
    pthread_mutex_unlock(&q->lock);
    return code;
}

/* ---- connected or away ---- */

static void set_connected(write_queue *q)
{
    pthread_mutex_lock(&q->lock);
    q->connected = true;
    q->reason[0] = '\0';
    pthread_mutex_unlock(&q->lock);
    if (q->warned_ns != 0)
        odto_log(q->host, ODTO_INFO, "%s answers again", q->what);
    q->backoff_ns = q->warned_ns = 0;
    q->upkeep_ns = odto_now_ns() + ODTO_SEC;
    q->host->api->health_changed(q->host);
}

static void set_away(write_queue *q, const odto_error *err)
{
    char text[WRITE_QUEUE_MAX_REASON];
    if (err->detail[0] != '\0')
        snprintf(text, sizeof(text), "%.60s: %.56s", err->message, err->detail);
    else
        snprintf(text, sizeof(text), "%.110s", err->message);
    pthread_mutex_lock(&q->lock);
    bool was = q->connected;
    q->connected = false;
    memcpy(q->reason, text, sizeof(text));
    pthread_mutex_unlock(&q->lock);
    int64_t now = odto_now_ns();
    q->backoff_ns = q->backoff_ns == 0 ? BACKOFF_FIRST : q->backoff_ns * 2;
    if (q->backoff_ns > BACKOFF_MAX)
        q->backoff_ns = BACKOFF_MAX;
    /* half of it fixed, half at random: several hosts do not come back in step */
    q->again_ns = now + q->backoff_ns / 2 + (int64_t)(odto_random64() % (uint64_t)(q->backoff_ns / 2));
    if (q->warned_ns == 0 || now - q->warned_ns >= WARN_EVERY) {
        char full[1400];
        q->warned_ns = now;
        odto_log(q->host, ODTO_ERROR, "%s: %s", q->what, odto_error_text(err, full, sizeof(full)));
    }
    if (was)
        q->host->api->health_changed(q->host);
}

static void connect_now(write_queue *q)
{
    odto_error err = {0};
    if (q->ops->connect(q->store, &err) == 0)
        set_connected(q);
    else
        set_away(q, &err);
}

/* ---- groups ---- */

static void finish(odto_write *list, int code)
{
    odto_write *next = NULL;
    for (odto_write *w = list; w != NULL; w = next) {
        next = w->next;
        w->done(w, code);
    }
}

static int apply_timed(write_queue *q, odto_write *list, size_t n)
{
    odto_error err = {0};
    int64_t begun = odto_now_ns();
    int code = q->ops->apply(q->store, list, n, &err);
    odto_metric_observe(q->commit_seconds, (double)(odto_now_ns() - begun) / 1e9);
    odto_metric_observe(q->batch_events, (double)n);
    if (code == 0)
        return 0;
    if (code == -EINVAL || code == -E2BIG) /* of an event, not of the store */
        return code;
    odto_metric_add(q->failures, 1);
    q->ops->disconnect(q->store);
    set_away(q, &err);
    return -EAGAIN;
}

static void write_group(write_queue *q, odto_write *list, size_t n)
{
    int code = q->connected ? apply_timed(q, list, n) : -EAGAIN;
    if (code != -EINVAL && code != -E2BIG) {
        finish(list, code);
        return;
    }
    odto_write *next = NULL; /* who is to blame? each alone */
    for (odto_write *w = list; w != NULL; w = next) {
        next = w->next;
        w->next = NULL;
        w->done(w, q->connected ? apply_timed(q, w, w->n) : -EAGAIN);
    }
}

/* Up to max_batch events (at least one write). Caller holds the lock. */
static odto_write *take_group(write_queue *q, size_t *n)
{
    odto_write *first = q->head, *last = NULL;
    *n = 0;
    while (q->head != NULL && (last == NULL || *n + q->head->n <= q->max_batch)) {
        last = q->head;
        q->head = last->next;
        *n += last->n;
    }
    if (last != NULL)
        last->next = NULL;
    q->queued -= *n;
    return first;
}

/* Until when may the writer sleep. */
static int64_t sleep_until(const write_queue *q)
{
    return q->connected ? q->upkeep_ns : q->again_ns;
}

/* A group, or NULL when it is time to connect or for upkeep; false: end. */
static bool wait_for_work(write_queue *q, odto_write **group, size_t *n)
{
    pthread_mutex_lock(&q->lock);
    q->busy = false;
    if (q->head == NULL)
        pthread_cond_broadcast(&q->drained);
    int64_t until = sleep_until(q);
    while (q->head == NULL && !q->stopping && odto_now_ns() < until) {
        struct timespec at = {.tv_sec = until / ODTO_SEC, .tv_nsec = until % ODTO_SEC};
        pthread_cond_timedwait(&q->wake, &q->lock, &at);
    }
    bool go_on = !q->stopping || q->head != NULL;
    *group = take_group(q, n);
    q->busy = *group != NULL;
    pthread_mutex_unlock(&q->lock);
    return go_on;
}

static void keep_up(write_queue *q)
{
    odto_error err = {0};
    int64_t in = ODTO_SEC;
    if (q->ops->upkeep(q->store, &in, &err) != 0) {
        q->ops->disconnect(q->store);
        set_away(q, &err);
    }
    q->upkeep_ns = odto_now_ns() + in;
}

static void writer_main(void *arg)
{
    write_queue *q = arg;
    odto_write *group = NULL;
    size_t n = 0;
    q->again_ns = 0;
    while (wait_for_work(q, &group, &n)) {
        if (!q->connected && odto_now_ns() >= q->again_ns)
            connect_now(q);
        if (group != NULL)
            write_group(q, group, n);
        if (q->connected && odto_now_ns() >= q->upkeep_ns)
            keep_up(q);
    }
    q->ops->disconnect(q->store);
    pthread_mutex_lock(&q->lock);
    q->connected = false;
    pthread_cond_broadcast(&q->drained);
    pthread_mutex_unlock(&q->lock);
}

/* ---- life ---- */

static double depth(void *arg)
{
    write_queue *q = arg;
    pthread_mutex_lock(&q->lock);
    size_t n = q->queued;
    pthread_mutex_unlock(&q->lock);
    return (double)n;
}

static void make_metrics(write_queue *q, const char *store_name)
{
    /* those of every store: a family has one set of bounds in a host */
    static const double seconds[] = {.0001, .00025, .0005, .001, .0025, .005, .01, .025,
                                     .05,   .1,     .25,   .5,   1,     2.5,  5,   10};
    static const double events[] = {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000};
    const odto_host_api *api = q->host->api;
    const char *store[] = {store_name};
    q->commit_seconds = api->metric(q->host, ODTO_HISTOGRAM, "odto_store_commit_seconds",
                                    "Time of a transaction from begin to durable.", "store", store, seconds,
                                    sizeof(seconds) / sizeof(seconds[0]));
    q->batch_events =
        api->metric(q->host, ODTO_HISTOGRAM, "odto_store_batch_jobs", "Operations in one transaction.",
                    "store", store, events, sizeof(events) / sizeof(events[0]));
    q->failures = api->metric(q->host, ODTO_COUNTER, "odto_store_failures_total", "Transactions that failed.",
                              "store", store, NULL, 0);
    api->metric_fn(q->host, ODTO_GAUGE, "odto_store_queue_ops", "Operations waiting for a transaction.",
                   "store", store, depth, q);
}

int write_queue_start(write_queue *q, const char *store_name, odto_error *err)
{
    make_metrics(q, store_name);
    if (q->commit_seconds == NULL || q->batch_events == NULL || q->failures == NULL)
        return odto_fail(err, -ENOMEM, "no memory for metrics");
    pthread_mutex_lock(&q->lock);
    q->running = true;
    q->stopping = q->busy = q->connected = false;
    snprintf(q->reason, sizeof(q->reason), "not connected yet to %.90s", q->what);
    pthread_mutex_unlock(&q->lock);
    q->backoff_ns = q->warned_ns = 0;
    int code = q->host->api->thread_start(q->host, "writer", writer_main, q, &q->thread);
    if (code == 0)
        return 0;
    q->running = false;
    return odto_fail(err, code, "no thread for the store: %s", strerror(-code));
}

void write_queue_stop(write_queue *q)
{
    pthread_mutex_lock(&q->lock);
    bool running = q->running;
    q->stopping = true;
    pthread_cond_signal(&q->wake);
    pthread_mutex_unlock(&q->lock);
    if (!running)
        return;
    q->host->api->thread_join(q->host, q->thread);
    pthread_mutex_lock(&q->lock);
    q->running = false;
    pthread_mutex_unlock(&q->lock);
}

int write_queue_drain(write_queue *q, int64_t deadline_ns)
{
    struct timespec at = {.tv_sec = deadline_ns / ODTO_SEC, .tv_nsec = deadline_ns % ODTO_SEC};
    int rc = 0;
    pthread_mutex_lock(&q->lock);
    while (rc == 0 && (q->busy || q->head != NULL))
        rc = pthread_cond_timedwait(&q->drained, &q->lock, &at);
    bool left = q->busy || q->head != NULL;
    pthread_mutex_unlock(&q->lock);
    return left ? -ETIMEDOUT : 0;
}

void write_queue_health(write_queue *q, odto_health *out)
{
    pthread_mutex_lock(&q->lock);
    out->ready = q->running && !q->stopping && q->connected;
    if (!out->ready)
        snprintf(out->reason, sizeof(out->reason), "%s", q->running ? q->reason : "the store is stopped");
    pthread_mutex_unlock(&q->lock);
}
