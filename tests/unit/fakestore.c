/* fakestore.c — see fakestore.h. Lock: one for the rows and the queue; done() is called without it. */
#include "fakestore.h"
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_ROWS 65536
#define SLOTS    (2 * MAX_ROWS)

typedef struct row {
    odto_job job;
    char owner[192];
    int64_t lease_until;
    uint64_t leases;
    bool cancelled;
    odto_attempt attempts[24];
    size_t n_attempts;
} row;

typedef struct outrow {
    uint64_t seq;
    odto_outgoing event;
    bool gone, late; /* late: another host's, that anybody may take */
} outrow;

struct fakestore {
    pthread_mutex_t lock;
    pthread_cond_t work;
    pthread_t thread;
    bool stop;
    odto_jobs_batch *first, *last;
    int64_t delay_ns;
    int fail, reject;
    bool in_doubt;
    row *rows;
    size_t n_rows;
    uint32_t slots[SLOTS]; /* index + 1 */
    outrow *out;
    size_t n_out, cap_out, first_out, live_out;
    size_t batches, claimed;
};

static odto_slice keep(odto_slice s)
{
    char *p = odto_slice_dup(s);
    return odto_slice_of(p, s.n);
}

static void drop(odto_slice *s)
{
    free((char *)(uintptr_t)s->p);
    *s = odto_slice_of(NULL, 0);
}

static row *find(fakestore *s, const odto_uuid *id, bool create)
{
    size_t i = odto_hash64(id, sizeof *id) % SLOTS;
    for (; s->slots[i]; i = (i + 1) % SLOTS)
        if (odto_uuid_eq(&s->rows[s->slots[i] - 1].job.id, id))
            return &s->rows[s->slots[i] - 1];
    if (!create || s->n_rows == MAX_ROWS)
        return NULL;
    row *r = &s->rows[s->n_rows++];
    s->slots[i] = (uint32_t)s->n_rows;
    *r = (row){.job.id = *id};
    return r;
}

static void lease(row *r, odto_jobs_op *op)
{
    r->job.status = ODTO_EXECUTING;
    r->job.token = ++r->leases;
    r->lease_until = op->lease_until;
    snprintf(r->owner, sizeof r->owner, "%.*s", (int)op->lease_owner.n, op->lease_owner.p);
}

static void put_job(row *r, const odto_job *j)
{
    drop(&r->job.type);
    drop(&r->job.job_json);
    drop(&r->job.payload);
    drop(&r->job.traceparent);
    drop(&r->job.idempotency_key);
    drop(&r->job.result);
    drop(&r->job.error);
    r->job = *j;
    r->job.type = keep(j->type);
    r->job.job_json = keep(j->job_json);
    r->job.payload = keep(j->payload);
    r->job.traceparent = keep(j->traceparent);
    r->job.idempotency_key = keep(j->idempotency_key);
    r->job.result = r->job.error = odto_slice_of(NULL, 0);
    r->job.status = ODTO_PENDING;
    r->job.attempt = r->job.lost = 0;
}

static void op_accept(fakestore *s, odto_jobs_op *op)
{
    row *old = find(s, &op->job->id, false);
    if (old && !(op->job->redrive && old->job.status == ODTO_FAILED &&
                 !odto_uuid_eq(&old->job.event_id, &op->job->event_id))) {
        op->result = -EEXIST;
        return;
    }
    row *r = old ? old : find(s, &op->job->id, true);
    if (!r) {
        op->result = -ENOSPC;
        return;
    }
    put_job(r, op->job);
    if (!op->lease_owner.n || op->job->run_at > op->now)
        return;
    lease(r, op);
    r->job.attempt = 1;
    op->token_out = r->job.token;
}

static bool wanted(const row *r, const odto_jobs_op *op)
{
    if (r->job.status != ODTO_PENDING)
        return false;
    for (size_t i = 0; i < op->n_types; i++)
        if (op->types[i].n == r->job.type.n && !memcmp(op->types[i].p, r->job.type.p, r->job.type.n))
            return true;
    return op->n_types == 0;
}

static int before(const void *pa, const void *pb)
{
    const row *a = *(row *const *)pa, *b = *(row *const *)pb;
    if (a->job.priority != b->job.priority)
        return a->job.priority > b->job.priority ? -1 : 1;
    if (a->job.run_at != b->job.run_at)
        return a->job.run_at < b->job.run_at ? -1 : 1;
    return (a > b) - (a < b);
}

static void *batch_memory(odto_jobs_batch *b, size_t n, size_t size)
{
    void *p = calloc(n + 1, size);
    void **mem = calloc(2, sizeof *mem);
    mem[0] = b->mem;
    mem[1] = p;
    b->mem = mem;
    return p;
}

static void op_claim(fakestore *s, odto_jobs_batch *b, odto_jobs_op *op)
{
    row **due = calloc(s->n_rows + 1, sizeof(row *));
    size_t n = 0;
    for (size_t i = 0; i < s->n_rows; i++) {
        row *r = &s->rows[i];
        if (wanted(r, op) && r->job.run_at <= op->now)
            due[n++] = r;
        else if (wanted(r, op) && (!op->next_due || r->job.run_at < op->next_due))
            op->next_due = r->job.run_at;
    }
    qsort(due, n, sizeof(row *), before);
    op->claimed = batch_memory(b, op->limit, sizeof *op->claimed);
    for (size_t i = 0; i < n && i < op->limit; i++) {
        lease(due[i], op);
        due[i]->job.attempt++;
        due[i]->job.outcome = due[i]->cancelled ? ODTO_OUT_CANCELLED : ODTO_OUT_NONE;
        op->claimed[op->n_claimed++] = due[i]->job;
    }
    s->claimed += op->n_claimed;
    if (n > op->limit)
        op->next_due = due[op->limit]->job.run_at;
    free(due);
}

static void record(row *r, const odto_attempt *a)
{
    if (r->n_attempts == sizeof r->attempts / sizeof r->attempts[0])
        abort();
    odto_attempt *to = &r->attempts[r->n_attempts++];
    *to = *a;
    to->error = keep(a->error);
    to->log = keep(a->log);
    to->host = keep(a->host);
}

static uint64_t add_out(fakestore *s, const odto_outgoing *o, bool late)
{
    if (s->n_out == s->cap_out) {
        s->cap_out = s->cap_out ? 2 * s->cap_out : 256;
        s->out = realloc(s->out, s->cap_out * sizeof *s->out);
    }
    s->out[s->n_out] = (outrow){.seq = s->n_out, .event = *o, .late = late};
    s->out[s->n_out].event.topic = keep(o->topic);
    s->out[s->n_out].event.body = keep(o->body);
    s->live_out++;
    return s->n_out++;
}

static void put_out(fakestore *s, odto_jobs_batch *b, odto_jobs_op *op)
{
    uint64_t *seqs = op->outbox_seqs = batch_memory(b, op->n_outgoing, sizeof *seqs);
    for (size_t i = 0; i < op->n_outgoing; i++)
        seqs[i] = add_out(s, &op->outgoing[i], false);
}

static row *own(fakestore *s, odto_jobs_op *op)
{
    row *r = find(s, &op->id, false);
    op->result = !r ? -ENOENT : r->job.status != ODTO_EXECUTING || r->job.token != op->token ? -ESTALE : 0;
    return op->result ? NULL : r;
}

static void op_end(fakestore *s, odto_jobs_batch *b, odto_jobs_op *op)
{
    row *r = own(s, op);
    if (!r)
        return;
    if (op->kind != ODTO_JOBS_RELEASE) {
        record(r, &op->attempt);
        drop(&r->job.error);
        r->job.error = keep(op->attempt.error);
    }
    if (op->kind == ODTO_JOBS_FINISH) {
        r->job.status = op->status;
        r->job.outcome = op->outcome;
        drop(&r->job.result);
        r->job.result = keep(op->output);
        put_out(s, b, op);
        return;
    }
    if (op->kind == ODTO_JOBS_RELEASE)
        r->job.attempt--;
    else if (op->outcome == ODTO_OUT_LOST)
        r->job.lost++;
    r->job.status = ODTO_PENDING;
    r->job.run_at = op->kind == ODTO_JOBS_RETRY ? op->run_at : op->now;
}

static void op_reap(fakestore *s, odto_jobs_batch *b, odto_jobs_op *op)
{
    odto_job *jobs = op->claimed = batch_memory(b, op->limit, sizeof *jobs);
    for (size_t i = 0; i < s->n_rows && op->n_claimed < op->limit; i++) {
        row *r = &s->rows[i];
        bool mine = op->lease_owner.n && odto_slice_eq(op->lease_owner, r->owner);
        if (r->job.status != ODTO_EXECUTING || (!mine && r->lease_until > op->now))
            continue;
        r->job.lost++;
        odto_attempt a = {.number = r->job.attempt, .outcome = ODTO_OUT_LOST};
        record(r, &a);
        r->job.status = ODTO_PENDING;
        r->job.run_at = op->now;
        if (r->job.lost <= op->max_lost)
            continue;
        lease(r, op);
        r->job.outcome = ODTO_OUT_POISON;
        jobs[op->n_claimed++] = r->job;
    }
}

static void op_take(fakestore *s, odto_jobs_batch *b, odto_jobs_op *op)
{
    odto_outbox_row *rows = op->taken = batch_memory(b, op->limit, sizeof *rows);
    while (s->first_out < s->n_out && s->out[s->first_out].gone)
        s->first_out++;
    for (size_t i = s->first_out; i < s->n_out && op->n_taken < op->limit; i++)
        if (!s->out[i].gone && (s->out[i].late || op->lease_owner.n == 0)) {
            s->out[i].late = false;
            rows[op->n_taken++] = (odto_outbox_row){.seq = i, .event = s->out[i].event};
        }
}

static void op_done(fakestore *s, odto_jobs_op *op)
{
    for (size_t i = 0; i < op->n_seqs; i++) {
        s->live_out -= !s->out[op->seqs[i]].gone;
        s->out[op->seqs[i]].gone = true;
    }
}

static void apply(fakestore *s, odto_jobs_batch *b)
{
    for (size_t i = 0; i < b->n; i++) {
        odto_jobs_op *op = &b->ops[i];
        row *r;
        switch (op->kind) {
        case ODTO_JOBS_ACCEPT:
            op_accept(s, op);
            break;
        case ODTO_JOBS_CLAIM:
            op_claim(s, b, op);
            break;
        case ODTO_JOBS_FINISH:
        case ODTO_JOBS_RETRY:
        case ODTO_JOBS_RELEASE:
            op_end(s, b, op);
            break;
        case ODTO_JOBS_EXTEND:
            if ((r = own(s, op)))
                r->lease_until = op->lease_until;
            break;
        case ODTO_JOBS_REAP:
            op_reap(s, b, op);
            break;
        case ODTO_JOBS_OUTBOX_TAKE:
            op_take(s, b, op);
            break;
        case ODTO_JOBS_OUTBOX_DONE:
            op_done(s, op);
            break;
        case ODTO_JOBS_CANCEL:
            op->result = -ENOSYS;
            break;
        }
    }
}

/* ---- the writer ---- */

static void *writer(void *arg)
{
    fakestore *s = arg;
    pthread_mutex_lock(&s->lock);
    for (;;) {
        while (!s->first && !s->stop)
            pthread_cond_wait(&s->work, &s->lock);
        odto_jobs_batch *list = s->first;
        if (!list)
            break;
        s->first = s->last = NULL;
        int64_t delay = s->delay_ns;
        struct timespec ts = {delay / ODTO_SEC, delay % ODTO_SEC};
        pthread_mutex_unlock(&s->lock);
        if (delay)
            nanosleep(&ts, NULL);
        pthread_mutex_lock(&s->lock);
        while (list) {
            odto_jobs_batch *b = list;
            list = b->next;
            int code = s->fail;
            if (!code || s->in_doubt)
                apply(s, b);
            s->batches += !code;
            pthread_mutex_unlock(&s->lock);
            b->done(b, code);
            pthread_mutex_lock(&s->lock);
        }
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static int submit(void *self, odto_jobs_batch *b)
{
    fakestore *s = self;
    pthread_mutex_lock(&s->lock);
    int r = s->reject;
    if (!r) {
        b->next = NULL;
        if (s->last)
            s->last->next = b;
        else
            s->first = b;
        s->last = b;
        pthread_cond_signal(&s->work);
    }
    pthread_mutex_unlock(&s->lock);
    return r;
}

static void release(void *self, odto_jobs_batch *b)
{
    (void)self;
    while (b->mem) {
        void **mem = b->mem;
        b->mem = mem[0];
        free(mem[1]);
        free(mem);
    }
}

static int attempts(void *self, const odto_uuid *id, odto_attempt_row_fn *fn, void *arg, odto_error *err)
{
    fakestore *s = self;
    pthread_mutex_lock(&s->lock);
    row *r = find(s, id, false);
    for (size_t i = 0; r && i < r->n_attempts && fn(arg, &r->attempts[i]); i++)
        ;
    pthread_mutex_unlock(&s->lock);
    return r ? 0 : odto_fail(err, -ENOENT, "no such job");
}

static int list(void *self, const odto_jobs_query *q, odto_job_row_fn *fn, void *arg, char *next,
                odto_error *err)
{
    fakestore *s = self;
    (void)next;
    (void)err;
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0, n = 0; i < s->n_rows && n < q->limit; i++)
        if (q->status < 0 || (int)s->rows[i].job.status == q->status) {
            n++;
            if (!fn(arg, &s->rows[i].job))
                break;
        }
    pthread_mutex_unlock(&s->lock);
    return 0;
}

static int stats(void *self, odto_jobs_stats *out, odto_error *err)
{
    (void)err;
    *out = fakestore_stats(self);
    return 0;
}

static const odto_jobs_ops jobs_ops = {.size = sizeof jobs_ops,
                                       .submit = submit,
                                       .release = release,
                                       .attempts = attempts,
                                       .list = list,
                                       .stats = stats};
static const odto_store_iface iface = {
    .size = sizeof iface, .flags = ODTO_STORE_FAST_STATS, .jobs = &jobs_ops};

static const odto_store_iface shared_iface = {
    .size = sizeof iface, .flags = ODTO_STORE_FAST_STATS | ODTO_STORE_SHARED, .jobs = &jobs_ops};

const odto_store_iface *fakestore_iface(void)
{
    return &iface;
}

const odto_store_iface *fakestore_shared_iface(void)
{
    return &shared_iface;
}

/* ---- for the test ---- */

fakestore *fakestore_new(void)
{
    fakestore *s = calloc(1, sizeof *s);
    s->rows = calloc(MAX_ROWS, sizeof *s->rows);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->work, NULL);
    pthread_create(&s->thread, NULL, writer, s);
    return s;
}

void fakestore_free(fakestore *s)
{
    pthread_mutex_lock(&s->lock);
    s->stop = true;
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    for (size_t i = 0; i < s->n_rows; i++) {
        row *r = &s->rows[i];
        odto_slice *texts[] = {&r->job.type,   &r->job.job_json, &r->job.payload,        &r->job.traceparent,
                               &r->job.result, &r->job.error,    &r->job.idempotency_key};
        for (size_t k = 0; k < sizeof texts / sizeof texts[0]; k++)
            drop(texts[k]);
        for (size_t k = 0; k < r->n_attempts; k++) {
            drop(&r->attempts[k].error);
            drop(&r->attempts[k].log);
            drop(&r->attempts[k].host);
        }
    }
    for (size_t i = 0; i < s->n_out; i++) {
        drop(&s->out[i].event.topic);
        drop(&s->out[i].event.body);
    }
    free(s->out);
    free(s->rows);
    pthread_cond_destroy(&s->work);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

#define SET(field, value)               \
    do {                                \
        pthread_mutex_lock(&s->lock);   \
        s->field = (value);             \
        pthread_mutex_unlock(&s->lock); \
    } while (0)

void fakestore_delay(fakestore *s, int64_t ns)
{
    SET(delay_ns, ns);
}

void fakestore_fail(fakestore *s, int code, bool in_doubt)
{
    SET(in_doubt, in_doubt);
    SET(fail, code);
}

void fakestore_reject(fakestore *s, int code)
{
    SET(reject, code);
}

static row *by_text(fakestore *s, const char *id, bool create)
{
    odto_uuid u;
    if (odto_uuid_parse(odto_slice_str(id), &u) < 0)
        abort();
    return find(s, &u, create);
}

bool fakestore_row(fakestore *s, const char *id, odto_job *out)
{
    pthread_mutex_lock(&s->lock);
    row *r = by_text(s, id, false);
    if (r)
        *out = r->job;
    pthread_mutex_unlock(&s->lock);
    return r != NULL;
}

size_t fakestore_attempts(fakestore *s, const char *id)
{
    pthread_mutex_lock(&s->lock);
    row *r = by_text(s, id, false);
    size_t n = r ? r->n_attempts : 0;
    pthread_mutex_unlock(&s->lock);
    return n;
}

odto_attempt fakestore_attempt(fakestore *s, const char *id, size_t k)
{
    pthread_mutex_lock(&s->lock);
    odto_attempt a = by_text(s, id, false)->attempts[k];
    pthread_mutex_unlock(&s->lock);
    return a;
}

odto_jobs_stats fakestore_stats(fakestore *s)
{
    odto_jobs_stats st = {0};
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->n_rows; i++) {
        st.pending += s->rows[i].job.status == ODTO_PENDING;
        st.executing += s->rows[i].job.status == ODTO_EXECUTING;
        st.completed += s->rows[i].job.status == ODTO_COMPLETED;
        st.failed += s->rows[i].job.status == ODTO_FAILED;
    }
    st.outbox = (int64_t)s->live_out;
    pthread_mutex_unlock(&s->lock);
    return st;
}

size_t fakestore_outbox(fakestore *s)
{
    return (size_t)fakestore_stats(s).outbox;
}

size_t fakestore_batches(fakestore *s)
{
    pthread_mutex_lock(&s->lock);
    size_t n = s->batches;
    pthread_mutex_unlock(&s->lock);
    return n;
}

size_t fakestore_claimed(fakestore *s)
{
    pthread_mutex_lock(&s->lock);
    size_t n = s->claimed;
    pthread_mutex_unlock(&s->lock);
    return n;
}

void fakestore_leave(fakestore *s, const char *topic, const char *body)
{
    odto_outgoing out = {.topic = odto_slice_str(topic), .body = odto_slice_str(body)};
    odto_uuid_v7(&out.event_id);
    pthread_mutex_lock(&s->lock);
    add_out(s, &out, true);
    pthread_mutex_unlock(&s->lock);
}

void fakestore_put_leased(fakestore *s, const char *id, const char *type, const char *owner, int64_t until,
                          uint32_t lost)
{
    char json[256];
    snprintf(json, sizeof json,
             "{\"id\":\"%s\",\"type\":\"%s\",\"status\":\"PENDING\",\"createdAt\":\"2026-01-01T00:00:00Z\"}",
             id, type);
    pthread_mutex_lock(&s->lock);
    row *r = by_text(s, id, true);
    odto_job j = {.id = r->job.id,
                  .event_id = r->job.id,
                  .correlation_id = r->job.id,
                  .type = odto_slice_str(type),
                  .job_json = odto_slice_str(json),
                  .payload = odto_slice_str("{}"),
                  .idempotency_key = odto_slice_str(id),
                  .max_attempts = 10};
    put_job(r, &j);
    r->job.status = ODTO_EXECUTING;
    r->job.attempt = 1;
    r->job.lost = lost;
    r->job.token = ++r->leases;
    r->lease_until = until;
    snprintf(r->owner, sizeof r->owner, "%s", owner);
    pthread_mutex_unlock(&s->lock);
}

void fakestore_steal(fakestore *s, const char *id)
{
    pthread_mutex_lock(&s->lock);
    by_text(s, id, false)->job.token = 1000000;
    pthread_mutex_unlock(&s->lock);
}
