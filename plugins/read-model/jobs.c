/* jobs.c — GET /jobs/recent, GET /jobs, GET /jobs/{id}. Blocking routes: they read the jobs store. */
#include "read_model.h"

#include <odto/json.h>
#include <errno.h>
#include <string.h>

#define CURSOR_MAX 127

/* ---- members ----------------------------------------------------------------------------------- */

static void put_text(odto_buf *b, const char *key, odto_slice value)
{
    odto_buf_printf(b, ",\"%s\":", key);
    odto_buf_json(b, value);
}

static void put_time(odto_buf *b, const char *key, int64_t unix_ms)
{
    if (unix_ms == 0)
        return;
    char text[25];
    odto_time_format(unix_ms, text);
    odto_buf_printf(b, ",\"%s\":\"%s\"", key, text);
}

static void put_number(odto_buf *b, const char *key, int64_t value)
{
    odto_buf_printf(b, ",\"%s\":%lld", key, (long long)value);
}

static void put_uuid(odto_buf *b, const char *key, const odto_uuid *u)
{
    char text[ODTO_UUID_LEN + 1];
    if (odto_uuid_is_nil(u))
        return;
    odto_uuid_format(u, text);
    odto_buf_printf(b, ",\"%s\":\"%s\"", key, text);
}

/* JSON as it is, anything else as a string. */
static void put_json_or_text(odto_buf *b, const char *key, odto_slice value)
{
    odto_buf_printf(b, ",\"%s\":", key);
    if (value.n > 0 && odto_json_check(value, 256, NULL) == 0)
        odto_buf_put(b, value.p, value.n);
    else
        odto_buf_json(b, value);
}

/* {"id","type","status","createdAt" — without the closing brace. */
static void put_head(odto_buf *b, const odto_job *job)
{
    char id[ODTO_UUID_LEN + 1], created[25];
    odto_uuid_format(&job->id, id);
    odto_time_format(job->created_at, created);
    odto_buf_printf(b, "{\"id\":\"%s\",\"type\":", id);
    odto_buf_json(b, job->type);
    odto_buf_printf(b, ",\"status\":\"%s\",\"createdAt\":\"%s\"", odto_status_name(job->status), created);
}

static void put_progress(odto_buf *b, const odto_job *job)
{
    odto_buf_printf(b, ",\"outcome\":\"%s\"", odto_outcome_name(job->outcome));
    put_number(b, "attempt", job->attempt);
    put_number(b, "maxAttempts", job->max_attempts);
    put_number(b, "priority", job->priority);
    put_time(b, "acceptedAt", job->accepted_at);
    put_time(b, "runAt", job->run_at);
    put_time(b, "startedAt", job->started_at);
    put_time(b, "finishedAt", job->finished_at);
    put_time(b, "updatedAt", job->updated_at);
    put_time(b, "expiresAt", job->expires_at);
}

/* ---- lists ------------------------------------------------------------------------------------- */

typedef struct rows {
    odto_buf text;
    size_t n;
    bool brief, cut;
} rows;

static bool on_row(void *arg, const odto_job *job)
{
    rows *r = arg;
    if (r->text.n > MAX_RESPONSE) {
        r->cut = true;
        return false;
    }
    if (r->n++)
        odto_buf_put(&r->text, ",", 1);
    put_head(&r->text, job);
    if (!r->brief)
        put_progress(&r->text, job);
    return odto_buf_put(&r->text, "}", 1);
}

void jobs_recent(void *self, odto_http_request *rq)
{
    read_model *rm = self;
    odto_jobs_query q = {.status = -1};
    if (!param_limit(rm, rq, 10, &q.limit))
        return;
    rows r = {.brief = true};
    odto_error err = {0};
    odto_buf_put(&r.text, "[", 1);
    int rc = rm->jobs.iface->jobs->list(rm->jobs.self, &q, on_row, &r, NULL, &err);
    if (rc != 0) {
        odto_buf_free(&r.text);
        store_unavailable(rm, rq, &rm->jobs, rc, &err);
        return;
    }
    odto_buf_put(&r.text, "]", 1);
    reply_json(rm, rq, &r.text, r.cut);
}

static bool list_query(read_model *rm, odto_http_request *rq, odto_jobs_query *q)
{
    const odto_http_api *http = rm->host->api->http;
    if (!param_limit(rm, rq, 50, &q->limit) || !param_status(rm, rq, &q->status))
        return false;
    q->type = http->query(rq, "type");
    q->cursor = http->query(rq, "cursor");
    if (q->cursor.n <= CURSOR_MAX)
        return true;
    http->reply_error(rq, 400, "Invalid query", "/cursor", "must be the nextCursor of a page before", 0);
    return false;
}

void jobs_list(void *self, odto_http_request *rq)
{
    read_model *rm = self;
    odto_jobs_query q = {.status = -1};
    if (!list_query(rm, rq, &q))
        return;
    rows r = {0};
    char next[CURSOR_MAX + 1] = "";
    odto_error err = {0};
    odto_buf_str(&r.text, "{\"jobs\":[");
    int rc = rm->jobs.iface->jobs->list(rm->jobs.self, &q, on_row, &r, next, &err);
    if (rc == 0 && r.cut) { /* a part with a cursor behind the whole page would skip jobs */
        odto_buf_free(&r.text);
        rm->host->api->http->reply_error(rq, 400, "Invalid query", "/limit",
                                         "the answer would be too long: ask for fewer", 0);
        return;
    }
    if (rc == 0) {
        odto_buf_str(&r.text, "],\"nextCursor\":");
        if (next[0])
            odto_buf_jsonz(&r.text, next);
        else
            odto_buf_str(&r.text, "null");
        odto_buf_put(&r.text, "}", 1);
        reply_json(rm, rq, &r.text, r.cut);
        return;
    }
    odto_buf_free(&r.text);
    if (rc == -EINVAL && q.cursor.n > 0)
        rm->host->api->http->reply_error(rq, 400, "Invalid query", "/cursor",
                                         "must be the nextCursor of a page before", 0);
    else
        store_unavailable(rm, rq, &rm->jobs, rc, &err);
}

/* ---- one job ----------------------------------------------------------------------------------- */

typedef struct job_text {
    odto_buf text;     /* the job's members */
    odto_buf attempts; /* array elements */
    odto_buf timeline; /* array elements */
    odto_job times;    /* status and times; its slices are not to be used */
    int64_t first_start;
} job_text;

static void timeline(odto_buf *b, const char *what, int64_t at)
{
    char text[25];
    odto_time_format(at, text);
    odto_buf_printf(b, "%s{\"at\":\"%s\",\"what\":\"%s\"", b->n ? "," : "", text, what);
}

static bool on_job(void *arg, const odto_job *job)
{
    job_text *t = arg;
    odto_buf *b = &t->text;
    static const char *const kept[] = {"metadata", "options"};
    t->times = *job;
    put_head(b, job);
    put_progress(b, job);
    put_number(b, "lost", job->lost);
    put_uuid(b, "eventId", &job->event_id);
    put_uuid(b, "correlationId", &job->correlation_id);
    if (job->idempotency_key.n > 0)
        put_text(b, "idempotencyKey", job->idempotency_key);
    if (job->traceparent.n > 0)
        put_text(b, "traceparent", job->traceparent);
    put_json_or_text(b, "payload", job->payload.n > 0 ? job->payload : odto_slice_str("{}"));
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        odto_slice value;
        if (job->job_json.n > 0 && odto_json_member(job->job_json, kept[i], &value))
            put_json_or_text(b, kept[i], value);
    }
    if (job->result.n > 0)
        put_json_or_text(b, "result", job->result);
    if (job->error.n > 0)
        put_text(b, "error", job->error);
    timeline(&t->timeline, "created", job->created_at);
    odto_buf_put(&t->timeline, "}", 1);
    if (job->accepted_at) {
        timeline(&t->timeline, "accepted", job->accepted_at);
        odto_buf_put(&t->timeline, "}", 1);
    }
    return true;
}

static bool on_attempt(void *arg, const odto_attempt *a)
{
    job_text *t = arg;
    odto_buf *b = &t->attempts;
    if (!t->first_start)
        t->first_start = a->started_at;
    odto_buf_printf(b, "%s{\"number\":%u,\"outcome\":\"%s\"", b->n ? "," : "", a->number,
                    odto_outcome_name(a->outcome));
    put_time(b, "startedAt", a->started_at);
    put_time(b, "finishedAt", a->finished_at);
    put_number(b, "durationMs", a->finished_at - a->started_at);
    if (a->error.n > 0)
        put_text(b, "error", a->error);
    if (a->log.n > 0)
        put_text(b, "log", a->log);
    if (a->host.n > 0)
        put_text(b, "host", a->host);
    odto_buf_put(b, "}", 1);
    timeline(&t->timeline, "attempt started", a->started_at);
    odto_buf_printf(&t->timeline, ",\"attempt\":%u}", a->number);
    timeline(&t->timeline, "attempt ended", a->finished_at);
    odto_buf_printf(&t->timeline, ",\"attempt\":%u,\"outcome\":\"%s\"}", a->number,
                    odto_outcome_name(a->outcome));
    return true;
}

/* What is known beyond the attempts that have ended. */
static void timeline_end(job_text *t)
{
    const odto_job *job = &t->times;
    odto_buf *b = &t->timeline;
    if (job->status == ODTO_EXECUTING && job->started_at) {
        timeline(b, "attempt started", job->started_at);
        odto_buf_printf(b, ",\"attempt\":%u}", job->attempt);
    } else if (job->status == ODTO_PENDING && job->run_at && job->attempt > 0) {
        timeline(b, "retry scheduled", job->run_at);
        odto_buf_put(b, "}", 1);
    } else if (job->finished_at) {
        timeline(b, "finished", job->finished_at);
        odto_buf_printf(b, ",\"status\":\"%s\",\"outcome\":\"%s\"}", odto_status_name(job->status),
                        odto_outcome_name(job->outcome));
    }
}

static void put_duration(odto_buf *b, const char *key, int64_t from, int64_t to, bool *any)
{
    if (from == 0 || to == 0)
        return;
    odto_buf_printf(b, "%s\"%s\":%lld", *any ? "," : "", key, (long long)(to > from ? to - from : 0));
    *any = true;
}

static void finish_text(job_text *t)
{
    const odto_job *job = &t->times;
    odto_buf *b = &t->text;
    bool any = false;
    odto_buf_str(b, ",\"timings\":{");
    put_duration(b, "waitMs", job->accepted_at, t->first_start ? t->first_start : job->started_at, &any);
    put_duration(b, "runMs", job->started_at, job->finished_at, &any);
    put_duration(b, "totalMs", job->accepted_at, job->finished_at, &any);
    odto_buf_str(b, "},\"attempts\":[");
    odto_buf_put(b, t->attempts.p, t->attempts.n);
    odto_buf_str(b, "],\"timeline\":[");
    odto_buf_put(b, t->timeline.p, t->timeline.n);
    odto_buf_str(b, "]}");
    b->failed |= t->attempts.failed || t->timeline.failed;
}

void job_get(void *self, odto_http_request *rq)
{
    read_model *rm = self;
    const odto_http_api *http = rm->host->api->http;
    const odto_jobs_ops *jobs = rm->jobs.iface->jobs;
    odto_uuid id;
    if (odto_uuid_parse(http->param(rq, "id"), &id) != 0) {
        http->reply_error(rq, 404, "Not found", "/id", "no job has this id: ids are uuids", 0);
        return;
    }
    job_text t = {0};
    odto_error err = {0};
    int rc = jobs->get(rm->jobs.self, &id, on_job, &t, &err);
    if (rc == 0 && jobs->attempts)
        rc = jobs->attempts(rm->jobs.self, &id, on_attempt, &t, &err);
    if (rc == 0) {
        timeline_end(&t);
        finish_text(&t);
        reply_json(rm, rq, &t.text, false);
    } else if (rc == -ENOENT) {
        http->reply_error(rq, 404, "Not found", "/id", "no job has this id (yet)", 0);
    } else {
        store_unavailable(rm, rq, &rm->jobs, rc, &err);
    }
    odto_buf_free(&t.text);
    odto_buf_free(&t.attempts);
    odto_buf_free(&t.timeline);
}
