/* worker_runs.c — attempts in the worker: one object each, made from its frame, gone when it has ended. The
 * lock guards the table and reference counts; never held while plugin code runs. */
#include "host/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS 1024

struct run {
    odto_run run; /* first: what the plugin holds */
    odto_job job;
    struct worker *w;
    uint64_t id;
    _Atomic bool stop, ended;
    unsigned refs; /* the plugin until it ends; a cancel() under way */
    struct run *next;
    struct task task; /* for the pool, and for cancel */
    char data[];
};

struct worker_runs {
    pthread_mutex_t lock;
    struct run *table[BUCKETS];
};

int runs_init(struct worker *w, uint32_t concurrency)
{
    w->runs = calloc(1, sizeof *w->runs);
    if (!w->runs)
        return -ENOMEM;
    pthread_mutex_init(&w->runs->lock, NULL);
    lane_init(&w->blocking, "job", concurrency, false);
    return 0;
}

static void run_unref(struct run *r)
{
    struct worker_runs *rs = r->w->runs;
    pthread_mutex_lock(&rs->lock);
    bool last = --r->refs == 0;
    pthread_mutex_unlock(&rs->lock);
    if (last)
        free(r);
}

static void run_finish(odto_run *run, const odto_run_result *result)
{
    struct run *r = (struct run *)run;
    struct worker *w = r->w;
    if (atomic_exchange(&r->ended, true))
        return; /* given twice: the first counts */
    odto_buf *b = wire_begin(&w->link, WIRE_FINISH, r->id);
    wire_u32(b, (uint32_t)result->end);
    wire_i64(b, result->delay_ns);
    wire_bytes(b, result->result);
    wire_bytes(b, result->error);
    wire_bytes(b, result->log);
    if (wire_end(&w->link, -1) == -EMSGSIZE) {
        b = wire_begin(&w->link, WIRE_FINISH, r->id);
        wire_u32(b, ODTO_RUN_DISCARD);
        wire_i64(b, 0);
        wire_bytes(b, odto_slice_of(NULL, 0));
        wire_str(b, "its result is too large to leave the worker process");
        wire_bytes(b, odto_slice_of(NULL, 0));
        wire_end(&w->link, -1);
    }
    pthread_mutex_lock(&w->runs->lock);
    for (struct run **at = &w->runs->table[r->id % BUCKETS]; *at; at = &(*at)->next)
        if (*at == r) {
            *at = r->next;
            break;
        }
    pthread_mutex_unlock(&w->runs->lock);
    run_unref(r);
}

static void run_progress(odto_run *run, double fraction, odto_slice note)
{
    struct run *r = (struct run *)run;
    odto_buf *b = wire_begin(&r->w->link, WIRE_PROGRESS, r->id);
    odto_buf_put(b, &fraction, sizeof fraction);
    wire_bytes(b, note);
    wire_end(&r->w->link, -1);
}

static bool run_should_stop(const odto_run *run)
{
    const struct run *r = (const struct run *)run;
    return atomic_load_explicit(&r->stop, memory_order_relaxed) || /* a hint that carries no data */
           atomic_load_explicit(&r->w->stopping, memory_order_relaxed) ||
           (run->deadline_ns && odto_now_ns() >= run->deadline_ns);
}

static void get_uuid(struct wire_in *in, odto_uuid *out)
{
    wire_get(in, out, sizeof *out);
}

static void get_job(struct wire_in *in, odto_job *j)
{
    get_uuid(in, &j->id);
    get_uuid(in, &j->event_id);
    get_uuid(in, &j->correlation_id);
    j->type = wire_get_bytes(in);
    j->job_json = wire_get_bytes(in);
    j->payload = wire_get_bytes(in);
    j->traceparent = wire_get_bytes(in);
    j->idempotency_key = wire_get_bytes(in);
    j->status = (odto_status)wire_get_u32(in);
    j->outcome = (odto_outcome)wire_get_u32(in);
    j->priority = (int32_t)wire_get_u32(in);
    j->attempt = wire_get_u32(in);
    j->max_attempts = wire_get_u32(in);
    j->lost = wire_get_u32(in);
    j->token = wire_get_u64(in);
    j->created_at = wire_get_i64(in);
    j->accepted_at = wire_get_i64(in);
    j->run_at = wire_get_i64(in);
    j->started_at = wire_get_i64(in);
    j->updated_at = wire_get_i64(in);
    j->expires_at = wire_get_i64(in);
}

static struct run *run_new(struct worker *w, uint64_t id, odto_slice blob)
{
    struct run *r = malloc(sizeof *r + blob.n);
    if (!r)
        return NULL;
    *r = (struct run){.w = w, .id = id, .refs = 1};
    memcpy(r->data, blob.p, blob.n);
    struct wire_in in = {r->data, blob.n, false};
    r->run = (odto_run){.job = &r->job,
                        .deadline_ns = wire_get_i64(&in),
                        .finish = run_finish,
                        .progress = run_progress,
                        .should_stop = run_should_stop};
    r->run.type = wire_get_bytes(&in).p;
    get_job(&in, &r->job);
    pthread_mutex_lock(&w->runs->lock);
    r->next = w->runs->table[id % BUCKETS];
    w->runs->table[id % BUCKETS] = r;
    pthread_mutex_unlock(&w->runs->lock);
    return r;
}

static void start_blocking(struct task *t)
{
    struct run *r = t->arg;
    struct worker *w = r->w;
    odto_run *run = &r->run;
    w->d->handler->start(w->self, &run, 1);
}

/* On the work lane: all that came together, begun together; their ends leave together. */
static void start_batch(struct task *t)
{
    struct worker *w = t->arg;
    size_t n = wire_get_u32(&t->in), made = 0;
    odto_run **runs = malloc((n + 1) * sizeof(odto_run *));
    for (size_t i = 0; runs && i < n; i++) {
        uint64_t id = wire_get_u64(&t->in);
        struct run *r = run_new(w, id, wire_get_bytes(&t->in));
        if (!r)
            abort(); /* no memory: the host counts it as lost and starts a new worker */
        runs[made++] = &r->run;
    }
    free(t);
    if (!runs)
        abort();
    wire_cork(&w->link);
    w->d->handler->start(w->self, runs, made);
    wire_uncork(&w->link);
    free(runs);
}

void runs_take(struct worker *w, struct task *t)
{
    t->arg = w;
    if (!(w->d->handler->flags & ODTO_HANDLER_BLOCKING)) {
        t->run = start_batch;
        lane_push(w, &w->work, t);
        return;
    }
    for (size_t n = wire_get_u32(&t->in); n-- > 0;) {
        uint64_t id = wire_get_u64(&t->in);
        struct run *r = run_new(w, id, wire_get_bytes(&t->in));
        if (!r)
            abort();
        r->task = (struct task){.run = start_blocking, .arg = r};
        lane_push(w, &w->blocking, &r->task);
    }
    free(t);
}

static void cancel(struct task *t)
{
    struct run *r = t->arg;
    struct worker *w = r->w;
    free(t);
    if (!atomic_load(&r->ended))
        w->d->handler->cancel(w->self, &r->run);
    run_unref(r);
}

void runs_stop(struct worker *w, uint64_t id)
{
    struct task *t = NULL;
    pthread_mutex_lock(&w->runs->lock);
    struct run *r = w->runs->table[id % BUCKETS];
    while (r && r->id != id)
        r = r->next;
    if (r) {
        atomic_store_explicit(&r->stop, true, memory_order_relaxed); /* a hint */
        if (w->d->handler->cancel && (t = calloc(1, sizeof *t)))
            r->refs++;
    }
    pthread_mutex_unlock(&w->runs->lock);
    if (!t)
        return;
    *t = (struct task){.run = cancel, .arg = r};
    lane_push(w, &w->work, t);
}
