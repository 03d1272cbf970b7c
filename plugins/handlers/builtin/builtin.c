/* builtin.c — handler `builtin`: echo, sleep and fail, for trying out, for tests and for measuring.
 *
 * | type  | payload                                              | does
 * | echo  | any                                                  | completes with its payload as result
 * | sleep | {"ms": 1000}                                         | completes after so long
 * | fail  | {"times": n, "error": "…", "retry": true, "delay": s} | fails on the first n attempts (all
 * without |       |                                                      | `times`); retry false: discarded
 * at once Any other type given to it in `types` is an echo.
 *
 * echo and fail end inside start(). Sleepers stand in a heap behind one timer of the host. Lock: builtin.lock
 * (the heap); runs are finished without it. */
#include <errno.h>
#include <math.h>
#include <odto/json.h>
#include <odto/plugin.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_MS  3600000.0
#define AT_ONCE 64

typedef struct sleeper {
    int64_t at_ns;
    int64_t ms; /* asked for */
    odto_run *run;
    bool overdue; /* wakes at its deadline instead */
} sleeper;

typedef struct builtin {
    odto_host *host;
    odto_timer *timer;
    pthread_mutex_t lock;
    sleeper *heap; /* the earliest first */
    size_t n, cap;
    bool stopping;
} builtin;

/* ---- payload ---- */

static double number(odto_slice payload, const char *key, double otherwise)
{
    odto_slice v;
    char text[40];
    if (payload.n < 2 || payload.p[0] != '{' || !odto_json_member(payload, key, &v) || v.n >= sizeof text)
        return otherwise;
    memcpy(text, v.p, v.n);
    text[v.n] = '\0';
    char *end;
    double d = strtod(text, &end);
    return *end || end == text || !isfinite(d) || d < 0 ? otherwise : d;
}

static void end_run(odto_run *run, odto_run_end end, const char *text)
{
    odto_run_result r = {.end = end};
    if (end == ODTO_RUN_OK)
        r.result = odto_slice_str(text);
    else
        r.error = odto_slice_str(text);
    run->finish(run, &r);
}

/* ---- echo, fail ---- */

static void echo(odto_run *run)
{
    odto_run_result r = {.end = ODTO_RUN_OK, .result = run->job->payload};
    run->finish(run, &r);
}

static void fail(odto_run *run)
{
    odto_slice p = run->job->payload, v;
    double times = number(p, "times", 1e9), delay = number(p, "delay", 0);
    char text[64];
    odto_buf error = {.max = 4096};
    bool object = p.n >= 2 && p.p[0] == '{';
    if (run->job->attempt > times) {
        snprintf(text, sizeof text, "{\"failed\":%.0f}", times);
        end_run(run, ODTO_RUN_OK, text);
        return;
    }
    odto_run_result r = {.end = ODTO_RUN_RETRY, .delay_ns = (int64_t)((delay < 86400 ? delay : 86400) * 1e9)};
    if (object && odto_json_member(p, "retry", &v) && odto_slice_eq(v, "false"))
        r.end = ODTO_RUN_DISCARD;
    if (object && odto_json_member(p, "error", &v) && odto_json_unquote(v, &error) == 0)
        r.error = odto_slice_of(error.p, error.n);
    else
        r.error = odto_slice_str("failed, as it was asked to");
    run->finish(run, &r);
    odto_buf_free(&error);
}

/* ---- sleep: a binary heap ---- */

static void swap(sleeper *a, sleeper *b)
{
    sleeper t = *a;
    *a = *b;
    *b = t;
}

static void sift_up(builtin *b, size_t i)
{
    for (; i && b->heap[i].at_ns < b->heap[(i - 1) / 2].at_ns; i = (i - 1) / 2)
        swap(&b->heap[i], &b->heap[(i - 1) / 2]);
}

static void sift_down(builtin *b, size_t i)
{
    for (size_t k; (k = 2 * i + 1) < b->n; i = k) {
        if (k + 1 < b->n && b->heap[k + 1].at_ns < b->heap[k].at_ns)
            k++;
        if (b->heap[i].at_ns <= b->heap[k].at_ns)
            return;
        swap(&b->heap[i], &b->heap[k]);
    }
}

static sleeper heap_take(builtin *b, size_t i)
{
    sleeper s = b->heap[i];
    b->heap[i] = b->heap[--b->n];
    if (i < b->n) {
        sift_up(b, i);
        sift_down(b, i);
    }
    return s;
}

static bool heap_put(builtin *b, sleeper s)
{
    if (b->n == b->cap) {
        size_t cap = b->cap ? b->cap * 2 : 16;
        sleeper *heap = realloc(b->heap, cap * sizeof *heap);
        if (!heap)
            return false;
        b->heap = heap;
        b->cap = cap;
    }
    b->heap[b->n++] = s;
    sift_up(b, b->n - 1);
    return true;
}

static void wake(const sleeper *s)
{
    char text[48];
    snprintf(text, sizeof text, "{\"slept_ms\":%lld}", (long long)s->ms);
    end_run(s->run, s->overdue ? ODTO_RUN_TIMEOUT : ODTO_RUN_OK, s->overdue ? "timed out asleep" : text);
}

/* Timer thread of the host. */
static void on_timer(void *arg)
{
    builtin *b = arg;
    sleeper due[AT_ONCE];
    size_t n = 0;
    pthread_mutex_lock(&b->lock);
    int64_t now = b->host->api->now(b->host);
    while (b->n && n < AT_ONCE && b->heap[0].at_ns <= now)
        due[n++] = heap_take(b, 0);
    if (b->n)
        b->host->api->timer_set(b->timer, b->heap[0].at_ns > now ? b->heap[0].at_ns - now : 0);
    pthread_mutex_unlock(&b->lock);
    for (size_t i = 0; i < n; i++)
        wake(&due[i]);
}

static void fall_asleep(builtin *b, odto_run *run)
{
    double ms = number(run->job->payload, "ms", 1000);
    int64_t now = b->host->api->now(b->host);
    sleeper s = {.run = run, .ms = (int64_t)(ms < MAX_MS ? ms : MAX_MS)};
    s.at_ns = now + s.ms * ODTO_MS;
    if (run->deadline_ns && run->deadline_ns < s.at_ns) {
        s.at_ns = run->deadline_ns;
        s.overdue = true;
    }
    pthread_mutex_lock(&b->lock);
    bool kept = !b->stopping && heap_put(b, s);
    if (kept && b->heap[0].run == run)
        b->host->api->timer_set(b->timer, s.at_ns > now ? s.at_ns - now : 0);
    pthread_mutex_unlock(&b->lock);
    if (!kept)
        end_run(run, ODTO_RUN_RETRY, "no memory, or the host stops");
}

/* ---- callbacks ---- */

static void builtin_start_runs(void *self, odto_run **runs, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!strcmp(runs[i]->type, "sleep"))
            fall_asleep(self, runs[i]);
        else if (!strcmp(runs[i]->type, "fail"))
            fail(runs[i]);
        else
            echo(runs[i]);
    }
}

static void builtin_cancel(void *self, odto_run *run)
{
    builtin *b = self;
    bool found = false;
    pthread_mutex_lock(&b->lock);
    for (size_t i = 0; i < b->n && !found; i++)
        if ((found = b->heap[i].run == run))
            heap_take(b, i);
    pthread_mutex_unlock(&b->lock);
    if (found)
        end_run(run, ODTO_RUN_RETRY, "ended early: cancelled, or the host stops");
}

static int builtin_init(odto_host *h, const odto_config *c, void **self, odto_error *err)
{
    (void)c;
    builtin *b = calloc(1, sizeof *b);
    if (!b)
        return odto_fail(err, -ENOMEM, "no memory");
    b->host = h;
    pthread_mutex_init(&b->lock, NULL);
    *self = b;
    return 0;
}

static int builtin_start(void *self, odto_error *err)
{
    builtin *b = self;
    b->timer = b->host->api->timer_new(b->host, on_timer, b);
    return b->timer ? 0 : odto_fail(err, -ENOMEM, "no timer");
}

static int builtin_quiesce(void *self, int64_t deadline_ns)
{
    builtin *b = self;
    const struct timespec tick = {0, 5 * ODTO_MS};
    for (;;) { /* the processor has drained before: normally there is nothing to wait for */
        pthread_mutex_lock(&b->lock);
        bool asleep = b->n > 0;
        pthread_mutex_unlock(&b->lock);
        if (!asleep)
            return 0;
        if (b->host->api->now(b->host) >= deadline_ns)
            return -ETIMEDOUT;
        nanosleep(&tick, NULL);
    }
}

static void builtin_stop(void *self)
{
    builtin *b = self;
    if (b->timer)
        b->host->api->timer_free(b->timer);
    b->timer = NULL;
    pthread_mutex_lock(&b->lock);
    b->stopping = true;
    pthread_mutex_unlock(&b->lock);
    while (b->n) { /* nobody else is left to touch the heap */
        sleeper s = heap_take(b, 0);
        end_run(s.run, ODTO_RUN_RETRY, "the host stops");
    }
}

static void builtin_fini(void *self)
{
    builtin *b = self;
    pthread_mutex_destroy(&b->lock);
    free(b->heap);
    free(b);
}

static const odto_plugin_ops ops = {
    .size = sizeof ops,
    .init = builtin_init,
    .start = builtin_start,
    .quiesce = builtin_quiesce,
    .stop = builtin_stop,
    .fini = builtin_fini,
};

static const odto_handler_iface iface = {
    .size = sizeof iface, .start = builtin_start_runs, .cancel = builtin_cancel};

ODTO_PLUGIN_DEFINE("builtin", PACKAGE_VERSION, ODTO_KIND_HANDLER,
                   .summary = "Jobs for trying out: echo, sleep, fail.", .ops = &ops, .handler = &iface);
