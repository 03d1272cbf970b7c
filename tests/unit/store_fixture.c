/* store_fixture.c — see store_fixture.h. */
#include "store_fixture.h"

#include <check.h>
#include <pthread.h>
#include <string.h>

int fixture_try_start(fixture *f, const char *const *settings, odto_error *err)
{
    const char *all[16] = {NULL};
    size_t n = 0;
    for (size_t i = 0; i < 4 && f->settings[i] != NULL; i++)
        all[n++] = f->settings[i];
    for (size_t i = 0; settings != NULL && settings[i] != NULL && n < 15; i++)
        all[n++] = settings[i];
    f->host = minihost_new(&odto_plugin_, f->dir, all);
    f->store = minihost_self(f->host);
    return minihost_start(f->host, err);
}

void fixture_start(fixture *f, const char *const *settings)
{
    odto_error err = {0};
    char text[1400];
    if (fixture_try_start(f, settings, &err) != 0)
        ck_abort_msg("%s", odto_error_text(&err, text, sizeof(text)));
}

void fixture_stop(fixture *f)
{
    minihost_stop(f->host);
    minihost_free(f->host);
    f->host = NULL;
    f->store = NULL;
}

/* ---- waiting ---- */

typedef struct waiter {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool done;
    int result;
} waiter;

static void waiter_end(waiter *w, int result)
{
    pthread_mutex_lock(&w->lock);
    w->done = true;
    w->result = result;
    pthread_cond_signal(&w->cond);
    pthread_mutex_unlock(&w->lock);
}

static int waiter_wait(waiter *w)
{
    pthread_mutex_lock(&w->lock);
    while (!w->done)
        pthread_cond_wait(&w->cond, &w->lock);
    pthread_mutex_unlock(&w->lock);
    return w->result;
}

static void batch_done(odto_jobs_batch *b, int result)
{
    waiter_end(b->arg, result);
}

static void write_done(odto_write *w, int result)
{
    waiter_end(w->arg, result);
}

int run_batch(fixture *f, odto_jobs_batch *b)
{
    waiter w = {.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
    b->done = batch_done;
    b->arg = &w;
    int code = IFACE->jobs->submit(f->store, b);
    return code == 0 ? waiter_wait(&w) : code;
}

int run_op(fixture *f, odto_jobs_op *op)
{
    odto_jobs_batch b = {.ops = op, .n = 1};
    int code = run_batch(f, &b);
    IFACE->jobs->release(f->store, &b);
    return code != 0 ? code : op->result;
}

int run_write(fixture *f, int (*submit)(void *store, odto_write *w), odto_write *write)
{
    waiter w = {.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
    write->done = write_done;
    write->arg = &w;
    int code = submit(f->store, write);
    return code == 0 ? waiter_wait(&w) : code;
}

/* ---- jobs ---- */

odto_job job_of(const char *type, int64_t created_at)
{
    static const char text[] = "{\"id\":\"x\",\"payload\":{\"n\":1}}";
    odto_job j = {.type = odto_slice_str(type),
                  .job_json = odto_slice_str(text),
                  .payload = odto_slice_of(text + 20, 7),
                  .max_attempts = 3,
                  .created_at = created_at,
                  .accepted_at = created_at,
                  .run_at = created_at};
    odto_uuid_v7(&j.id);
    odto_uuid_derive(&j.id, &j.event_id);
    odto_uuid_v7(&j.correlation_id);
    return j;
}

int accept_job(fixture *f, const odto_job *j, int64_t now)
{
    odto_jobs_op op = {.kind = ODTO_JOBS_ACCEPT, .job = j, .now = now};
    return run_op(f, &op);
}

uint64_t accept_leased(fixture *f, const odto_job *j, int64_t now, int64_t until)
{
    odto_jobs_op op = {.kind = ODTO_JOBS_ACCEPT,
                       .job = j,
                       .now = now,
                       .lease_until = until,
                       .lease_owner = odto_slice_str("host")};
    ck_assert_int_eq(run_op(f, &op), 0);
    ck_assert_uint_ne(op.token_out, 0);
    return op.token_out;
}

int finish_job(fixture *f, const odto_uuid *id, uint64_t token, odto_status status, int64_t now)
{
    odto_jobs_op op = {.kind = ODTO_JOBS_FINISH,
                       .id = *id,
                       .token = token,
                       .status = status,
                       .outcome = status == ODTO_COMPLETED ? ODTO_OUT_OK : ODTO_OUT_ERROR,
                       .now = now,
                       .output = odto_slice_str("{\"r\":1}"),
                       .attempt = {.error = odto_slice_str(status == ODTO_FAILED ? "broken" : ""),
                                   .host = odto_slice_str("host"),
                                   .log = odto_slice_str("tail")}};
    return run_op(f, &op);
}

static bool keep_status(void *arg, const odto_job *job)
{
    *(odto_status *)arg = job->status;
    return true;
}

odto_status status_of(fixture *f, const odto_uuid *id)
{
    odto_status s = (odto_status)-1;
    IFACE->jobs->get(f->store, id, keep_status, &s, NULL);
    return s;
}

odto_jobs_stats stats_of(fixture *f)
{
    odto_jobs_stats s;
    ck_assert_int_eq(IFACE->jobs->stats(f->store, &s, NULL), 0);
    return s;
}
