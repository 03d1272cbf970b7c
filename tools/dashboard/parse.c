/* parse — JSON answers; see parse.h. Metrics text is in metrics.c. */
#include "parse.h"

#include "text.h"

#include <errno.h>
#include <json-c/json.h>
#include <odto/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_DEPTH 64

static json_object *get(json_object *o, const char *key)
{
    json_object *v = NULL;
    return json_object_is_type(o, json_type_object) && json_object_object_get_ex(o, key, &v) ? v : NULL;
}

/* The first of the given members that exists. */
static json_object *get_any(json_object *o, const char *const *keys)
{
    for (; *keys; keys++) {
        json_object *v = get(o, *keys);
        if (v) {
            return v;
        }
    }
    return NULL;
}

static void get_text(json_object *v, char *out, size_t size)
{
    text_clean(out, size, v && !json_object_is_type(v, json_type_null) ? json_object_get_string(v) : "");
}

static int64_t get_int(json_object *v)
{
    return json_object_is_type(v, json_type_int) || json_object_is_type(v, json_type_double)
               ? json_object_get_int64(v)
               : -1;
}

static int64_t get_time(json_object *v)
{
    int64_t ms = 0;
    if (!json_object_is_type(v, json_type_string) ||
        odto_time_parse(odto_slice_str(json_object_get_string(v)), &ms)) {
        return 0;
    }
    return ms;
}

static int parse_body(odto_slice body, json_object **out, odto_error *err)
{
    return odto_json_parse(body, MAX_DEPTH, out, err);
}

int parse_stats(odto_slice body, stats *out, odto_error *err)
{
    json_object *root = NULL;
    int rc = parse_body(body, &root, err);
    if (rc) {
        return rc;
    }
    static const char *const total[] = {"totalJobs", "total_jobs", NULL};
    static const char *const done[] = {"completedJobs", "completed_jobs", NULL};
    static const char *const failed[] = {"failedJobs", "failed_jobs", NULL};
    static const char *const pending[] = {"pendingJobs", "pending_jobs", NULL};
    static const char *const executing[] = {"executingJobs", "executing_jobs", NULL};
    *out = (stats){get_int(get_any(root, total)),     get_int(get_any(root, done)),
                   get_int(get_any(root, failed)),    get_int(get_any(root, pending)),
                   get_int(get_any(root, executing)), get_time(get(root, "lastEventTime"))};
    json_object_put(root);
    if (out->total < 0) {
        return odto_fail(err, -EBADMSG, "statistics without totalJobs");
    }
    return 0;
}

static void read_job(json_object *o, job *j)
{
    static const char *const started[] = {"startedAt", "executedAt", NULL};
    static const char *const finished[] = {"finishedAt", "completedAt", NULL};
    static const char *const attempts[] = {"attempt", "attemptCount", "attempts", NULL};
    memset(j, 0, sizeof *j);
    get_text(get(o, "id"), j->id, sizeof j->id);
    get_text(get(o, "type"), j->type, sizeof j->type);
    get_text(get(o, "status"), j->status_text, sizeof j->status_text);
    j->status = job_status_parse(j->status_text);
    j->created_ms = get_time(get(o, "createdAt"));
    j->started_ms = get_time(get_any(o, started));
    j->finished_ms = get_time(get_any(o, finished));
    bool ended = j->status == JOB_COMPLETED || j->status == JOB_FAILED;
    if (!j->finished_ms && ended) {
        j->finished_ms = get_time(get(o, "updatedAt"));
    }
    json_object *a = get_any(o, attempts);
    j->attempts = json_object_is_type(a, json_type_array) ? (int)json_object_array_length(a)
                  : a                                     ? json_object_get_int(a)
                                                          : 0;
    j->duration_ms = get_int(get(o, "durationMs"));
    if (j->duration_ms < 0 && j->finished_ms) {
        int64_t from = j->started_ms ? j->started_ms : j->created_ms;
        j->duration_ms = from && j->finished_ms >= from ? j->finished_ms - from : -1;
    }
}

/* The array itself, or the array inside an object under one of the usual names. */
static json_object *as_array(json_object *root, const char *const *keys)
{
    json_object *a = json_object_is_type(root, json_type_array) ? root : get_any(root, keys);
    return json_object_is_type(a, json_type_array) ? a : NULL;
}

int parse_jobs(odto_slice body, job_list **out, odto_error *err)
{
    json_object *root = NULL;
    int rc = parse_body(body, &root, err);
    if (rc) {
        return rc;
    }
    static const char *const keys[] = {"jobs", "items", NULL};
    json_object *a = as_array(root, keys);
    if (!a) {
        json_object_put(root);
        return odto_fail(err, -EBADMSG, "the list of jobs is not an array");
    }
    size_t n = json_object_array_length(a);
    n = n > JOBS_MAX ? JOBS_MAX : n;
    job_list *l = job_list_new((int)n);
    if (!l) {
        json_object_put(root);
        return odto_fail(err, -ENOMEM, "no memory");
    }
    for (size_t i = 0; i < n; i++) {
        read_job(json_object_array_get_idx(a, i), &l->items[l->n]);
        l->n += l->items[l->n].id[0] ? 1 : 0;
    }
    json_object_put(root);
    *out = l;
    return 0;
}

static void read_alert(json_object *o, alert *a)
{
    json_object *labels = get(o, "labels"), *notes = get(o, "annotations"), *status = get(o, "status");
    memset(a, 0, sizeof *a);
    get_text(get(labels, "alertname"), a->name, sizeof a->name);
    get_text(get(labels, "service"), a->service, sizeof a->service);
    if (!a->service[0]) {
        get_text(get(labels, "job"), a->service, sizeof a->service);
    }
    get_text(get(labels, "severity"), a->severity, sizeof a->severity);
    get_text(get(notes, "summary"), a->summary, sizeof a->summary);
    get_text(get(notes, "description"), a->description, sizeof a->description);
    get_text(get(notes, "runbook"), a->runbook, sizeof a->runbook);
    json_object *state = json_object_is_type(status, json_type_object) ? get(status, "state") : status;
    get_text(state ? state : get(o, "state"), a->state, sizeof a->state);
    static const char *const since[] = {"startsAt", "activeAt", NULL};
    a->since_ms = get_time(get_any(o, since));
    a->critical = !strcmp(a->severity, "critical");
    a->pending = !strcmp(a->state, "pending") || !strcmp(a->state, "unprocessed");
    a->silenced = !strcmp(a->state, "suppressed");
}

static int alert_rank(const alert *a)
{
    return (a->silenced ? 4 : 0) + (a->pending ? 2 : 0) + (a->critical ? 0 : 1);
}

static int by_rank(const void *x, const void *y)
{
    const alert *a = x, *b = y;
    int d = alert_rank(a) - alert_rank(b);
    return d ? d : strcmp(a->name, b->name);
}

int parse_alerts(odto_slice body, alert_list **out, odto_error *err)
{
    json_object *root = NULL;
    int rc = parse_body(body, &root, err);
    if (rc) {
        return rc;
    }
    static const char *const keys[] = {"alerts", NULL};
    json_object *data = get(root, "data");
    json_object *a = as_array(data ? data : root, keys);
    if (!a) {
        json_object_put(root);
        return odto_fail(err, -EBADMSG, "the list of alerts is not an array");
    }
    size_t n = json_object_array_length(a);
    n = n > ALERTS_MAX ? ALERTS_MAX : n;
    alert_list *l = alert_list_new((int)n);
    if (l) {
        for (size_t i = 0; i < n; i++) {
            read_alert(json_object_array_get_idx(a, i), &l->items[l->n]);
            l->n += l->items[l->n].name[0] ? 1 : 0;
        }
        qsort(l->items, (size_t)l->n, sizeof l->items[0], by_rank);
    }
    json_object_put(root);
    *out = l;
    return l ? 0 : odto_fail(err, -ENOMEM, "no memory");
}

static void read_attempt(json_object *o, int index, attempt_row *a)
{
    static const char *const number[] = {"attempt", "number", NULL};
    static const char *const outcome[] = {"outcome", "status", "result", NULL};
    static const char *const worker[] = {"worker", "host", "instanceId", "handler", NULL};
    static const char *const finished[] = {"finishedAt", "completedAt", "endedAt", NULL};
    memset(a, 0, sizeof *a);
    int64_t n = get_int(get_any(o, number));
    a->number = n > 0 ? (int)n : index + 1;
    get_text(get_any(o, outcome), a->outcome, sizeof a->outcome);
    json_object *e = get(o, "error");
    get_text(json_object_is_type(e, json_type_object) && get(e, "message") ? get(e, "message") : e, a->error,
             sizeof a->error);
    get_text(get_any(o, worker), a->worker, sizeof a->worker);
    a->started_ms = get_time(get(o, "startedAt"));
    a->finished_ms = get_time(get_any(o, finished));
}

/* Within a millisecond: the first step, the event "created", further steps, further events. */
enum { EVENT_CREATED = 1, EVENT_BEHIND = 2 * DETAIL_EVENTS };

static int by_time(const void *x, const void *y)
{
    const event_row *a = x, *b = y;
    if (a->at_ms != b->at_ms) {
        return a->at_ms < b->at_ms ? -1 : 1;
    }
    return a->order < b->order ? -1 : a->order > b->order;
}

static void sort_events(job_detail *d)
{
    qsort(d->events, (size_t)d->n_events, sizeof d->events[0], by_time);
}

/* The read model's own account: {"at","what","attempt","outcome"}. */
static void read_timeline(json_object *list, job_detail *d)
{
    size_t n = json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
    for (size_t i = 0; i < n && d->n_events < DETAIL_EVENTS / 2; i++) {
        json_object *o = json_object_array_get_idx(list, i);
        event_row *e = &d->events[d->n_events++];
        char outcome[24];
        memset(e, 0, sizeof *e);
        get_text(get(o, "what"), e->type, sizeof e->type);
        get_text(get(o, "outcome"), outcome, sizeof outcome);
        int64_t attempt = get_int(get(o, "attempt"));
        if (attempt > 0) {
            snprintf(e->service, sizeof e->service, "#%d %s", (int)attempt, outcome);
        } else {
            snprintf(e->service, sizeof e->service, "%s", outcome);
        }
        e->at_ms = get_time(get(o, "at"));
        e->order = 2 * (int)i; /* as the read model tells them */
    }
    sort_events(d);
}

int parse_job_detail(odto_slice body, job_detail *d, odto_error *err)
{
    json_object *root = NULL;
    int rc = parse_body(body, &root, err);
    if (rc) {
        return rc;
    }
    json_object *o = get(root, "job");
    o = json_object_is_type(o, json_type_object) ? o : root;
    read_job(o, &d->job);
    static const char *const keys[] = {"attempts", "attemptHistory", "history", NULL};
    json_object *list = NULL;
    for (const char *const *k = keys; *k && !list; k++) {
        json_object *v = get(o, *k) ? get(o, *k) : get(root, *k);
        list = json_object_is_type(v, json_type_array) ? v : NULL;
    }
    size_t n = list ? json_object_array_length(list) : 0;
    d->n_attempts = (int)(n > ATTEMPTS_MAX ? ATTEMPTS_MAX : n);
    for (int i = 0; i < d->n_attempts; i++) {
        read_attempt(json_object_array_get_idx(list, (size_t)i), i, &d->attempts[i]);
    }
    json_object *e = get(o, "error");
    get_text(json_object_is_type(e, json_type_object) && get(e, "message") ? get(e, "message") : e,
             d->job_error, sizeof d->job_error);
    read_timeline(get(o, "timeline"), d);
    /* told above it, as lists */
    static const char *const told[] = {"attempts", "timeline", "timings", NULL};
    for (const char *const *k = told; *k; k++) {
        json_object_object_del(o, *k);
    }
    text_clean_lines(d->body, sizeof d->body,
                     json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
                                                           JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(root);
    return d->job.id[0] ? 0 : odto_fail(err, -EBADMSG, "a job without id");
}

int parse_job_events(odto_slice body, job_detail *d, odto_error *err)
{
    json_object *root = NULL;
    int rc = parse_body(body, &root, err);
    if (rc) {
        return rc;
    }
    static const char *const keys[] = {"events", "items", NULL};
    json_object *a = as_array(root, keys);
    size_t n = a ? json_object_array_length(a) : 0;
    for (size_t i = 0; i < n && d->n_events < DETAIL_EVENTS; i++) {
        json_object *o = json_object_array_get_idx(a, i);
        event_row *e = &d->events[d->n_events++];
        memset(e, 0, sizeof *e);
        get_text(get(o, "eventType"), e->type, sizeof e->type);
        get_text(get(o, "eventId"), e->id, sizeof e->id);
        get_text(get(get(o, "producer"), "service"), e->service, sizeof e->service);
        e->at_ms = get_time(get(o, "occurredAt"));
        /* the newest comes first; all but the first event tell how a step ended */
        e->order = strcmp(e->type, "job.created") ? EVENT_BEHIND + (int)(n - i) : EVENT_CREATED;
    }
    sort_events(d);
    json_object_put(root);
    return a ? 0 : odto_fail(err, -EBADMSG, "the list of events is not an array");
}

int parse_accepted(odto_slice body, char job_id[40], odto_error *err)
{
    json_object *root = NULL;
    int rc = parse_body(body, &root, err);
    if (rc) {
        return rc;
    }
    get_text(get(root, "jobId"), job_id, 40);
    json_object_put(root);
    return job_id[0] ? 0 : odto_fail(err, -EBADMSG, "the answer has no jobId");
}

void parse_error_body(odto_slice body, char *out, size_t size)
{
    json_object *root = NULL;
    out[0] = '\0';
    if (parse_body(body, &root, NULL)) {
        char raw[256];
        size_t n = body.n < sizeof raw - 1 ? body.n : sizeof raw - 1;
        if (n) {
            memcpy(raw, body.p, n);
        }
        raw[n] = '\0';
        text_clean(out, size, raw);
        return;
    }
    static const char *const keys[] = {"error", "reason", "status", NULL};
    get_text(get_any(root, keys), out, size);
    json_object *details = get(root, "details");
    json_object *first = json_object_is_type(details, json_type_array) && json_object_array_length(details)
                             ? json_object_array_get_idx(details, 0)
                             : NULL;
    size_t n = strlen(out);
    char path[80], message[160];
    get_text(get(first, "path"), path, sizeof path);
    get_text(first                                            ? get(first, "message")
             : json_object_is_type(details, json_type_string) ? details
                                                              : NULL,
             message, sizeof message);
    if (message[0] && n < size) {
        snprintf(out + n, size - n, ": %s%s%s", path, path[0] ? " " : "", message);
    }
    json_object_put(root);
}

void parse_version(odto_slice body, char *out, size_t size)
{
    json_object *root = NULL;
    out[0] = '\0';
    if (!parse_body(body, &root, NULL)) {
        get_text(get(root, "version"), out, size);
        json_object_put(root);
    }
}
