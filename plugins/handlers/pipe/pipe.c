/* pipe.c — handler `pipe`: the pool, its jobs, its timers, and the plugin (pipe.h). */
#include "pipe.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPAWN_WAIT     (200 * ODTO_MS)
#define SPAWN_WAIT_MAX (30 * ODTO_SEC)

/* ---- tasks ---- */

static task *task_new(pipes *p)
{
    task *t = p->spare;
    if (t)
        p->spare = t->next;
    else if (!(t = malloc(sizeof *t)))
        return NULL;
    t->next = NULL;
    t->timed_out = t->again = false;
    atomic_store(&t->cancelled, false);
    return t;
}

/* The task is in no list any more. */
void task_finish(pipes *p, task *t, const odto_run_result *r)
{
    odto_run *run = t->run;
    pthread_mutex_lock(&p->lock);
    t->run = NULL; /* from here on cancel() does not find it */
    pthread_mutex_unlock(&p->lock);
    run->finish(run, r);
    pthread_mutex_lock(&p->lock);
    t->next = p->spare;
    p->spare = t;
    pthread_mutex_unlock(&p->lock);
    atomic_fetch_sub(&p->n_all, 1);
}

static void task_fail(pipes *p, task *t, odto_run_end end, const char *error, odto_slice log)
{
    odto_run_result r = {.end = end, .error = odto_slice_str(error), .log = log};
    task_finish(p, t, &r);
}

void pipes_due(pipes *p, int64_t at_ns)
{
    if (!p->next_ns || at_ns < p->next_ns)
        p->next_ns = at_ns;
}

/* ---- workers end ---- */

static void describe(const worker *w, spawn_end end, char *text, size_t size)
{
    if (end.signal)
        snprintf(text, size, "the worker was ended by signal %d (SIG%s) while it had this job", end.signal,
                 sigabbrev_np(end.signal) ? sigabbrev_np(end.signal) : "?");
    else
        snprintf(text, size, "the worker ended with exit status %d while it had this job", end.code);
    if (w->asked)
        snprintf(text, size, "the worker was ended while it had this job");
}

static void back_off(pipes *p)
{
    int64_t wait = SPAWN_WAIT << (p->failures < 8 ? p->failures : 8);
    p->failures++;
    p->spawn_after_ns = p->loop.now_ns + (wait < SPAWN_WAIT_MAX ? wait : SPAWN_WAIT_MAX);
    pipes_due(p, p->spawn_after_ns);
}

/* In front of the others, to be given to another worker. */
static void give_back(pipes *p, task *t)
{
    t->again = true;
    pthread_mutex_lock(&p->lock);
    t->next = p->waiting;
    t->self = &p->waiting;
    if (t->next)
        t->next->self = &t->next;
    else
        p->waiting_end = &t->next;
    p->waiting = t;
    if (t->deadline_ns && (!p->waiting_due_ns || t->deadline_ns < p->waiting_due_ns))
        p->waiting_due_ns = t->deadline_ns;
    pthread_mutex_unlock(&p->lock);
}

/* What becomes of a job whose worker ended without an answer. A worker that ended by itself and well (many do
 * after some number of jobs) has most likely not even read it: another one gets it, once. */
static void orphaned(worker *w, task *t, spawn_end end)
{
    pipes *p = w->p;
    char text[160];
    describe(w, end, text, sizeof text);
    if (t->timed_out)
        task_fail(p, t, ODTO_RUN_TIMEOUT, "timed out: its worker was ended", tail_text(&w->log));
    else if (atomic_load(&t->cancelled) || p->stopping)
        task_fail(p, t, ODTO_RUN_RETRY, "ended early: cancelled, or the host stops", tail_text(&w->log));
    else if (end.code == 0 && !w->asked && !t->again)
        give_back(p, t);
    else
        task_fail(p, t, ODTO_RUN_LOST, text, tail_text(&w->log));
}

void pipes_worker_ended(worker *w, spawn_end end)
{
    pipes *p = w->p;
    if (w->state == WORKER_LIVE)
        p->n_live--;
    if (!w->asked) {
        odto_metric_add(p->restarts, 1);
        odto_log(p->host, ODTO_WARN, "worker %d ended by itself after %llu jobs: %s %d", (int)w->pid,
                 (unsigned long long)w->done, end.signal ? "signal" : "exit status",
                 end.signal ? end.signal : end.code);
        if (!w->done)
            back_off(p);
    }
    while (w->tasks) {
        task *t = w->tasks;
        w->tasks = t->next;
        orphaned(w, t, end);
    }
    *w->self = w->next;
    if (w->next)
        w->next->self = w->self;
    p->n_workers--;
    w->next = p->ended;
    p->ended = w;
}

/* ---- giving out ---- */

/* An idle one; else a new one; else the one with the shortest queue that has room. */
static worker *pick(pipes *p, bool *may_spawn)
{
    worker *best = NULL;
    for (worker *w = p->workers; w; w = w->next) {
        if (w->state != WORKER_LIVE || w->n_tasks >= p->window)
            continue;
        if (!w->n_tasks && worker_is_old(w)) {
            worker_recycle(w);
            continue;
        }
        if (!best || w->n_tasks < best->n_tasks)
            best = w;
    }
    *may_spawn = (!best || best->n_tasks) && p->n_live < p->max_workers &&
                 p->loop.now_ns >= p->spawn_after_ns && !p->stopping;
    return best;
}

static task *next_waiting(pipes *p)
{
    pthread_mutex_lock(&p->lock);
    task *t = p->waiting;
    pthread_mutex_unlock(&p->lock);
    return t;
}

static void unqueue(pipes *p, task *t)
{
    pthread_mutex_lock(&p->lock);
    *t->self = t->next;
    if (t->next)
        t->next->self = t->self;
    else
        p->waiting_end = t->self;
    pthread_mutex_unlock(&p->lock);
}

static bool give_one(pipes *p, task *t)
{
    bool may_spawn;
    odto_error err = {0};
    char text[512];
    worker *w = pick(p, &may_spawn);
    if (may_spawn) {
        worker *fresh = worker_new(p, &err);
        if (fresh)
            w = fresh;
        else
            back_off(p);
    }
    if (!w && !err.code)
        return false;
    unqueue(p, t);
    if (w)
        worker_give(w, t);
    else
        task_fail(p, t, ODTO_RUN_RETRY, odto_error_text(&err, text, sizeof text), odto_slice_of(NULL, 0));
    return true;
}

/* Waiting ones that need no worker any more. */
static void expire_waiting(pipes *p)
{
    for (;;) {
        task *found = NULL;
        pthread_mutex_lock(&p->lock);
        p->waiting_due_ns = 0;
        for (task *t = p->waiting; t && !found; t = t->next) {
            if (p->stopping || atomic_load(&t->cancelled) ||
                (t->deadline_ns && p->loop.now_ns >= t->deadline_ns))
                found = t;
            else if (t->deadline_ns && (!p->waiting_due_ns || t->deadline_ns < p->waiting_due_ns))
                p->waiting_due_ns = t->deadline_ns;
        }
        pthread_mutex_unlock(&p->lock);
        if (!found)
            return;
        unqueue(p, found);
        bool stop = p->stopping || atomic_load(&found->cancelled);
        task_fail(p, found, stop ? ODTO_RUN_RETRY : ODTO_RUN_TIMEOUT,
                  stop ? "cancelled before it began" : "timed out before a worker was free",
                  odto_slice_of(NULL, 0));
    }
}

static void give_out(pipes *p)
{
    task *t;
    while ((t = next_waiting(p)) && give_one(p, t))
        ;
    pthread_mutex_lock(&p->lock);
    if (t && p->waiting_due_ns)
        pipes_due(p, p->waiting_due_ns);
    pthread_mutex_unlock(&p->lock);
    for (worker *w = p->workers; w; w = w->next)
        if ((w->sent < w->send.n || w->send.failed) && !w->in_full)
            worker_flush(w);
}

/* ---- the loop ---- */

static void run_timers(pipes *p)
{
    bool look = atomic_exchange(&p->cancel_seen, false) || p->stopping;
    if (!look && (!p->next_ns || p->loop.now_ns < p->next_ns))
        return;
    p->next_ns = 0;
    expire_waiting(p);
    for (worker *w = p->workers; w; w = w->next) {
        worker_timer(w, p->loop.now_ns);
        if (w->state == WORKER_LIVE && p->recycle_age_ns && !worker_is_old(w))
            pipes_due(p, w->born_ns + p->recycle_age_ns);
    }
    if (next_waiting(p) && p->spawn_after_ns > p->loop.now_ns)
        pipes_due(p, p->spawn_after_ns);
}

static int64_t pipes_turn(void *arg)
{
    pipes *p = arg;
    p->stopping = p->stopping || atomic_load(&p->loop.stop);
    run_timers(p);
    if (!p->stopping)
        give_out(p);
    while (p->ended) {
        worker *w = p->ended;
        p->ended = w->next;
        worker_free(w);
    }
    if (p->stopping && !p->n_workers && !next_waiting(p))
        return -1;
    return p->next_ns;
}

/* ---- callbacks ---- */

static void pipes_start_runs(void *self, odto_run **runs, size_t n)
{
    pipes *p = self;
    const odto_run_result no_memory = {.end = ODTO_RUN_RETRY, .error = {"no memory", 9}};
    size_t failed = 0;
    pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < n; i++) {
        task *t = task_new(p);
        if (!t) {
            runs[failed++] = runs[i];
            continue;
        }
        t->run = runs[i];
        t->run->handler_data = t;
        t->deadline_ns = runs[i]->deadline_ns;
        if (t->deadline_ns && (!p->waiting_due_ns || t->deadline_ns < p->waiting_due_ns))
            p->waiting_due_ns = t->deadline_ns;
        odto_uuid_format(&runs[i]->job->id, t->id);
        t->self = p->waiting_end;
        *p->waiting_end = t;
        p->waiting_end = &t->next;
        atomic_fetch_add(&p->n_all, 1);
    }
    pthread_mutex_unlock(&p->lock);
    for (size_t i = 0; i < failed; i++)
        runs[i]->finish(runs[i], &no_memory);
    loop_wake(&p->loop);
}

/* Tasks in hand of a worker hang in lists of the loop's thread: they are found by the run's own data. */
static void pipes_cancel(void *self, odto_run *run)
{
    pipes *p = self;
    pthread_mutex_lock(&p->lock);
    task *t = run->handler_data;
    if (t && t->run == run)
        atomic_store(&t->cancelled, true);
    pthread_mutex_unlock(&p->lock);
    atomic_store(&p->cancel_seen, true);
    loop_wake(&p->loop);
}

static void pipes_free(pipes *p)
{
    while (p->spare) {
        task *t = p->spare;
        p->spare = t->next;
        free(t);
    }
    loop_free(&p->loop);
    spawn_stack_free(p->stack);
    command_free(&p->cmd);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

static int pipes_check(const odto_config *c, odto_error *err)
{
    command cmd;
    int r = command_init(&cmd, c, err);
    if (r == 0)
        command_free(&cmd);
    return r;
}

static int pipes_init(odto_host *h, const odto_config *c, void **self, odto_error *err)
{
    pipes *p = calloc(1, sizeof *p);
    if (!p)
        return odto_fail(err, -ENOMEM, "no memory");
    p->host = h;
    p->config = c;
    p->waiting_end = &p->waiting;
    p->loop.epoll = p->loop.event = -1;
    p->max_workers = (uint32_t)odto_config_int(c, "workers");
    p->window = (uint32_t)odto_config_int(c, "window");
    p->recycle_jobs = (uint64_t)odto_config_int(c, "recycle_jobs");
    p->recycle_age_ns = odto_config_int(c, "recycle_age");
    p->recycle_rss = (size_t)odto_config_int(c, "recycle_rss");
    pthread_mutex_init(&p->lock, NULL);
    int r = command_init(&p->cmd, c, err);
    if (r == 0 && !(p->stack = spawn_stack_new()))
        r = odto_fail(err, -ENOMEM, "no memory");
    if (r < 0) {
        pipes_free(p);
        return r;
    }
    *self = p;
    return 0;
}

static int pipes_start(void *self, odto_error *err)
{
    pipes *p = self;
    const char *values[] = {p->config->instance};
    p->restarts = p->host->api->metric(p->host, ODTO_COUNTER, "odto_pipe_worker_restarts_total",
                                       "Workers of a pipe handler that ended by themselves.", "handler",
                                       values, NULL, 0);
    int r = loop_init(&p->loop, p->host, pipes_turn, p, err);
    return r < 0 ? r : loop_start(&p->loop, "workers", err);
}

static int pipes_quiesce(void *self, int64_t deadline_ns)
{
    pipes *p = self;
    const struct timespec tick = {0, 5 * ODTO_MS};
    while (atomic_load(&p->n_all) && p->host->api->now(p->host) < deadline_ns)
        nanosleep(&tick, NULL); /* the processor has drained before: normally there is nothing to wait for */
    return atomic_load(&p->n_all) ? -ETIMEDOUT : 0;
}

static void pipes_stop(void *self)
{
    pipes *p = self;
    loop_stop(&p->loop);
}

static void pipes_fini(void *self)
{
    pipes_free(self);
}

static const odto_option options[] = {
    COMMAND_OPTIONS,
    {.name = "workers",
     .type = ODTO_OPT_INT,
     .default_value = "2",
     .min = 1,
     .max = 1024,
     .help = "Children at most; they are started when there is work for them."},
    {.name = "window",
     .type = ODTO_OPT_INT,
     .default_value = "1",
     .min = 1,
     .max = 1024,
     .help =
         "Jobs in hand of one child at once. More than 1 saves round trips, but a crash costs all of them an "
         "attempt."},
    {.name = "recycle_jobs",
     .type = ODTO_OPT_INT,
     .default_value = "10000",
     .max = 1000000000,
     .help = "A child is replaced after so many jobs; 0: never."},
    {.name = "recycle_rss",
     .type = ODTO_OPT_SIZE,
     .default_value = "0",
     .help = "… when it has grown beyond this; 0: never."},
    {.name = "recycle_age",
     .type = ODTO_OPT_DURATION,
     .default_value = "0",
     .help = "… when it is older; 0: never."},
};

static const odto_plugin_ops ops = {
    .size = sizeof ops,
    .check_config = pipes_check,
    .init = pipes_init,
    .start = pipes_start,
    .quiesce = pipes_quiesce,
    .stop = pipes_stop,
    .fini = pipes_fini,
};

static const odto_handler_iface iface = {
    .size = sizeof iface, .start = pipes_start_runs, .cancel = pipes_cancel};

ODTO_PLUGIN_DEFINE("pipe", PACKAGE_VERSION, ODTO_KIND_HANDLER,
                   .summary = "Gives jobs to long-lived children as lines of JSON.", .options = options,
                   .n_options = sizeof options / sizeof options[0], .ops = &ops, .handler = &iface);
