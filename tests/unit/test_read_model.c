/* test_read_model.c — plugins/read-model against a fake host and a small store in memory. */
#include <odto/test.h>

#include <check.h>
#include <errno.h>
#include <json-c/json.h>
#include <odto/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern const odto_plugin read_model_plugin __asm__("odto_plugin");

static odto_test f;

/* ---- a store in memory ------------------------------------------------------------------------- */

static struct {
    int rc; /* of every read */
    odto_jobs_stats stats;
    odto_counters counters;
    odto_job jobs[20];
    size_t n_jobs;
    odto_attempt attempts[4];
    size_t n_attempts;
    odto_event_row events[64];
    size_t n_events;
    odto_jobs_query query; /* the last one */
    char query_type[64], query_cursor[64];
    uint32_t events_limit;
    bool events_job;
} db;

static int away(odto_error *err)
{
    return db.rc ? odto_fail(err, db.rc, "the server is gone") : 0;
}

static int get(void *store, const odto_uuid *id, odto_job_row_fn *fn, void *arg, odto_error *err)
{
    (void)store;
    if (away(err))
        return db.rc;
    for (size_t i = 0; i < db.n_jobs; i++)
        if (odto_uuid_eq(id, &db.jobs[i].id)) {
            fn(arg, &db.jobs[i]);
            return 0;
        }
    return odto_fail(err, -ENOENT, "no such job");
}

static int attempts(void *store, const odto_uuid *id, odto_attempt_row_fn *fn, void *arg, odto_error *err)
{
    (void)store, (void)id;
    for (size_t i = 0; i < db.n_attempts; i++)
        fn(arg, &db.attempts[i]);
    return away(err);
}

static int list(void *store, const odto_jobs_query *q, odto_job_row_fn *fn, void *arg, char *next,
                odto_error *err)
{
    (void)store;
    db.query = *q;
    snprintf(db.query_type, sizeof db.query_type, "%.*s", (int)q->type.n, q->type.p ? q->type.p : "");
    snprintf(db.query_cursor, sizeof db.query_cursor, "%.*s", (int)q->cursor.n,
             q->cursor.p ? q->cursor.p : "");
    if (odto_slice_eq(q->cursor, "bad"))
        return odto_fail(err, -EINVAL, "bad cursor");
    for (size_t i = 0; i < db.n_jobs && i < q->limit; i++)
        if (!fn(arg, &db.jobs[i]))
            break;
    if (next)
        strcpy(next, db.n_jobs > q->limit ? "c\"1" : "");
    return away(err);
}

static int stats(void *store, odto_jobs_stats *out, odto_error *err)
{
    (void)store;
    *out = db.stats;
    return away(err);
}

static int read_counters(void *store, odto_counters *out, odto_error *err)
{
    (void)store;
    *out = db.counters;
    return away(err);
}

static int events_list(void *store, const odto_uuid *job, uint32_t limit, odto_event_row_fn *fn, void *arg,
                       odto_error *err)
{
    (void)store;
    db.events_limit = limit;
    db.events_job = job != NULL;
    for (size_t i = db.n_events; i > 0 && limit-- > 0; i--)
        if (!fn(arg, &db.events[i - 1]))
            break;
    return away(err);
}

static int events_after(void *store, uint64_t after, uint32_t limit, odto_event_row_fn *fn, void *arg,
                        uint64_t *last, odto_error *err)
{
    (void)store;
    size_t n = __atomic_load_n(&db.n_events, __ATOMIC_ACQUIRE);
    *last = n ? db.events[n - 1].seq : 0;
    for (size_t i = 0; i < n && limit > 0; i++)
        if (after != UINT64_MAX && db.events[i].seq > after && limit--)
            if (!fn(arg, &db.events[i]))
                break;
    return away(err);
}

static const odto_jobs_ops jobs_ops = {
    .size = sizeof jobs_ops, .get = get, .attempts = attempts, .list = list, .stats = stats};
static const odto_counters_ops counters_ops = {.size = sizeof counters_ops, .read = read_counters};
static const odto_events_ops events_ops = {
    .size = sizeof events_ops, .list = events_list, .after = events_after};
static const odto_store_iface fast = {sizeof fast, ODTO_STORE_FAST_STATS, &jobs_ops, &counters_ops,
                                      &events_ops};
static const odto_store_iface slow = {sizeof slow, 0, &jobs_ops, &counters_ops, &events_ops};

static void add_event(const char *body)
{
    db.events[db.n_events] = (odto_event_row){db.n_events + 1, odto_slice_str(body)};
    __atomic_fetch_add(&db.n_events, 1, __ATOMIC_RELEASE);
}

/* ---- helpers ----------------------------------------------------------------------------------- */

static void begin_with(const odto_store_iface *iface, const char *const *options)
{
    odto_error err = {0};
    odto_test_setup(&f, &read_model_plugin);
    f.options = options;
    odto_test_store(&f, "jobs", iface, &db);
    odto_test_store(&f, "counters", iface, &db);
    odto_test_store(&f, "events", iface, &db);
    ck_assert_int_eq(odto_test_init(&f, &err), 0);
    ck_assert_msg(odto_test_start(&f, &err) == 0, "%s", err.message);
}

static void begin(void)
{
    begin_with(&fast, NULL);
}

static void end(void)
{
    odto_test_stop(&f);
}

static struct json_object *json_of(odto_http_request *rq)
{
    struct json_object *o = NULL;
    odto_error err = {0};
    const char *text = odto_test_body(rq);
    ck_assert_msg(odto_json_parse(odto_slice_str(text), 32, &o, &err) == 0, "%s: %s", err.detail, text);
    return o;
}

static struct json_object *get_json(const char *target)
{
    odto_http_request *rq = odto_test_get(&f, target);
    ck_assert_msg(odto_test_reply_of(rq)->status == 200, "%s: %d %s", target, odto_test_reply_of(rq)->status,
                  odto_test_body(rq));
    return json_of(rq);
}

static struct json_object *at(struct json_object *o, const char *key)
{
    struct json_object *v = NULL;
    ck_assert_msg(json_object_object_get_ex(o, key, &v), "no member %s in %s", key,
                  json_object_to_json_string(o));
    return v;
}

static const char *text_at(struct json_object *o, const char *key)
{
    return json_object_get_string(at(o, key));
}

static void expect_error(const char *target, int status, const char *path, const char *word)
{
    odto_http_request *rq = odto_test_get(&f, target);
    ck_assert_msg(odto_test_reply_of(rq)->status == status, "%s: %d", target, odto_test_reply_of(rq)->status);
    struct json_object *o = json_of(rq), *d = json_object_array_get_idx(at(o, "details"), 0);
    ck_assert_str_eq(text_at(d, "path"), path);
    ck_assert_msg(strstr(text_at(d, "message"), word) != NULL, "%s: %s", target, text_at(d, "message"));
    json_object_put(o);
}

static void add_job(const char *id, odto_status status)
{
    odto_job *j = &db.jobs[db.n_jobs++];
    odto_uuid_parse(odto_slice_str(id), &j->id);
    j->type = odto_slice_str("ec\"ho");
    j->status = status;
    j->created_at = 1735689600123;
    j->accepted_at = 1735689600200;
}

#define ID1 "01890a5d-ac96-774b-bcce-b302099a8057"
#define ID2 "01890a5d-ac96-774b-bcce-b302099a8058"

/* ---- statistics and health --------------------------------------------------------------------- */

START_TEST(statistics)
{
    begin();
    db.counters = (odto_counters){99, 40, 2, "2025-01-01T00:00:00.000Z"};
    db.stats = (odto_jobs_stats){.pending = 3, .executing = 4};
    struct json_object *o = get_json("/stats");
    static const struct {
        const char *key;
        int64_t value;
    } want[] = {{"totalJobs", 42},   {"completedJobs", 40},  {"failedJobs", 2},
                {"pendingJobs", 3},  {"executingJobs", 4},   {"total_jobs", 42},
                {"pending_jobs", 3}, {"completed_jobs", 40}, {"failed_jobs", 2}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++)
        ck_assert_int_eq(json_object_get_int64(at(o, want[i].key)), want[i].value);
    ck_assert_str_eq(text_at(o, "lastEventTime"), "2025-01-01T00:00:00.000Z");
    json_object_put(o);
    db.counters = (odto_counters){0, INT64_MAX / 2, 0,
                                  "\"\\\x01"
                                  "2025"};
    o = get_json("/stats");
    ck_assert_str_eq(text_at(o, "lastEventTime"), "2025");
    ck_assert_int_eq(json_object_get_int64(at(o, "completedJobs")), INT64_MAX / 2);
    json_object_put(o);
    end();
}
END_TEST

START_TEST(an_outage_is_503)
{
    begin();
    db.rc = -EAGAIN;
    static const char *const targets[] = {"/stats",     "/jobs/recent", "/jobs",
                                          "/jobs/" ID1, "/events",      "/events/stream"};
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++)
        expect_error(targets[i], 503, "/", "store main: the server is gone");
    odto_http_request *rq = odto_test_get(&f, "/health");
    ck_assert_int_eq(odto_test_reply_of(rq)->status, 503);
    struct json_object *o = json_of(rq);
    ck_assert_str_eq(text_at(o, "status"), "not_ready");
    json_object_put(o);
    db.rc = 0;
    o = get_json("/health");
    ck_assert_str_eq(text_at(o, "status"), "ok");
    ck_assert_str_eq(text_at(o, "version"), PACKAGE_VERSION);
    json_object_put(o);
    end();
}
END_TEST

START_TEST(slow_stores_are_checked_in_the_background)
{
    db.rc = -EAGAIN;
    begin_with(&slow, NULL);
    odto_health h = {.ready = true};
    for (int i = 0; i < 3000 && h.ready; i++) {
        read_model_plugin.ops->health(f.self, &h);
        usleep(1000);
    }
    ck_assert(!h.ready && strstr(h.reason, "the server is gone"));
    for (size_t i = 0; i < f.n_routes; i++)
        if (strcmp(f.routes[i].path, "/stats") == 0)
            ck_assert(f.routes[i].flags & ODTO_HTTP_BLOCKING);
    db.rc = 0;
    end();
}
END_TEST

START_TEST(quick_routes_only_where_the_store_is)
{
    begin();
    for (size_t i = 0; i < f.n_routes; i++) {
        const char *path = f.routes[i].path;
        bool quick = !(f.routes[i].flags & ODTO_HTTP_BLOCKING);
        bool reads = strncmp(path, "/jobs", 5) == 0 || strncmp(path, "/events", 7) == 0;
        ck_assert_msg(!(quick && reads), "%s", path);
        if (strcmp(path, "/stats") == 0)
            ck_assert(quick);
    }
    ck_assert_str_eq(f.cors, "*");
    end();
}
END_TEST

/* ---- jobs -------------------------------------------------------------------------------------- */

START_TEST(recent)
{
    begin();
    odto_http_request *rq = odto_test_get(&f, "/jobs/recent");
    ck_assert_str_eq(odto_test_body(rq), "[]");
    ck_assert_uint_eq(db.query.limit, 10);
    ck_assert_int_eq(db.query.status, -1);
    add_job(ID1, ODTO_COMPLETED);
    add_job(ID2, ODTO_PENDING);
    rq = odto_test_get(&f, "/jobs/recent?limit=500");
    ck_assert_uint_eq(db.query.limit, 500);
    ck_assert_str_eq(odto_test_body(rq),
                     "[{\"id\":\"" ID1 "\",\"type\":\"ec\\\"ho\",\"status\":\"COMPLETED\",\"createdAt\":"
                     "\"2025-01-01T00:00:00.123Z\"},{\"id\":\"" ID2
                     "\",\"type\":\"ec\\\"ho\",\"status\":\"PENDING\",\"createdAt\":"
                     "\"2025-01-01T00:00:00.123Z\"}]");
    end();
}
END_TEST

START_TEST(limits)
{
    static const char *const bad[] = {"0", "501", "-1", "x", "1.5", "", "1e2", "9999999999", "%31 "};
    static const char *const routes[] = {"/jobs/recent", "/jobs", "/events"};
    begin();
    for (size_t r = 0; r < 3; r++) {
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
            char target[100];
            snprintf(target, sizeof target, "%s?limit=%s", routes[r], bad[i]);
            expect_error(target, 400, "/limit", "integer from 1 to 500");
        }
    }
    end();
}
END_TEST

START_TEST(listing)
{
    begin();
    add_job(ID1, ODTO_FAILED);
    add_job(ID2, ODTO_PENDING);
    struct json_object *o = get_json("/jobs?status=FAILED&type=a%20b&cursor=xyz&limit=1");
    ck_assert_int_eq(db.query.status, ODTO_FAILED);
    ck_assert_str_eq(db.query_type, "a b");
    ck_assert_str_eq(db.query_cursor, "xyz");
    ck_assert_uint_eq(db.query.limit, 1);
    ck_assert_uint_eq(json_object_array_length(at(o, "jobs")), 1);
    ck_assert_str_eq(text_at(o, "nextCursor"), "c\"1");
    json_object_put(o);
    o = get_json("/jobs?status=");
    ck_assert_int_eq(db.query.status, -1);
    ck_assert(json_object_is_type(at(o, "nextCursor"), json_type_null));
    json_object_put(o);
    expect_error("/jobs?status=DONE", 400, "/status", "PENDING, VALIDATED");
    expect_error("/jobs?status=completed", 400, "/status", "COMPLETED");
    expect_error("/jobs?cursor=bad", 400, "/cursor", "nextCursor");
    char target[300];
    snprintf(target, sizeof target, "/jobs?cursor=%0200d", 1);
    expect_error(target, 400, "/cursor", "nextCursor");
    end();
}
END_TEST

START_TEST(one_job)
{
    begin();
    add_job(ID1, ODTO_FAILED);
    odto_job *j = &db.jobs[0];
    j->outcome = ODTO_OUT_ERROR;
    j->attempt = 2;
    j->max_attempts = 2;
    j->started_at = 1735689601000;
    j->finished_at = 1735689601500;
    j->payload = odto_slice_str("{\"a\":1}");
    j->job_json = odto_slice_str("{\"id\":\"" ID1 "\",\"metadata\":{\"m\":2},\"options\":{\"priority\":1}}");
    j->result = odto_slice_str("plain \"text\"");
    j->error = odto_slice_str("it broke");
    db.attempts[0] = (odto_attempt){.number = 1,
                                    .outcome = ODTO_OUT_TIMEOUT,
                                    .started_at = 1735689600300,
                                    .finished_at = 1735689600400,
                                    .error = odto_slice_str("late"),
                                    .log = odto_slice_str("line\n"),
                                    .host = odto_slice_str("h")};
    db.attempts[1] = (odto_attempt){
        .number = 2, .outcome = ODTO_OUT_ERROR, .started_at = 1735689601000, .finished_at = 1735689601500};
    db.n_attempts = 2;
    struct json_object *o = get_json("/jobs/" ID1);
    ck_assert_str_eq(text_at(o, "status"), "FAILED");
    ck_assert_str_eq(text_at(o, "error"), "it broke");
    ck_assert_str_eq(text_at(o, "result"), "plain \"text\"");
    ck_assert_int_eq(json_object_get_int(at(at(o, "payload"), "a")), 1);
    ck_assert_int_eq(json_object_get_int(at(at(o, "metadata"), "m")), 2);
    ck_assert_int_eq(json_object_get_int(at(at(o, "timings"), "waitMs")), 100);
    ck_assert_int_eq(json_object_get_int(at(at(o, "timings"), "runMs")), 500);
    ck_assert_int_eq(json_object_get_int(at(at(o, "timings"), "totalMs")), 1300);
    struct json_object *first = json_object_array_get_idx(at(o, "attempts"), 0);
    ck_assert_str_eq(text_at(first, "error"), "late");
    ck_assert_str_eq(text_at(first, "log"), "line\n");
    ck_assert_int_eq(json_object_get_int(at(first, "durationMs")), 100);
    struct json_object *line = at(o, "timeline");
    ck_assert_uint_eq(json_object_array_length(line), 7);
    ck_assert_str_eq(text_at(json_object_array_get_idx(line, 6), "what"), "finished");
    json_object_put(o);
    end();
}
END_TEST

START_TEST(one_job_json_result)
{
    begin();
    add_job(ID1, ODTO_COMPLETED);
    db.jobs[0].result = odto_slice_str("{\"n\":[1]}");
    struct json_object *o = get_json("/jobs/" ID1);
    ck_assert_str_eq(json_object_to_json_string_ext(at(o, "result"), JSON_C_TO_STRING_PLAIN), "{\"n\":[1]}");
    ck_assert_str_eq(json_object_to_json_string_ext(at(o, "payload"), JSON_C_TO_STRING_PLAIN), "{}");
    ck_assert_uint_eq(json_object_array_length(at(o, "attempts")), 0);
    json_object_put(o);
    end();
}
END_TEST

START_TEST(unknown_job)
{
    begin();
    expect_error("/jobs/" ID2, 404, "/id", "no job");
    expect_error("/jobs/nonsense", 404, "/id", "uuid");
    end();
}
END_TEST

/* ---- events ------------------------------------------------------------------------------------ */

START_TEST(events)
{
    begin();
    ck_assert_str_eq(odto_test_body(odto_test_get(&f, "/events")), "[]");
    ck_assert_uint_eq(db.events_limit, 50);
    add_event("{\"eventId\":1}");
    add_event("{\"eventId\":2, \"x\":\"y\"}");
    ck_assert_str_eq(odto_test_body(odto_test_get(&f, "/events?jobId=" ID1 "&limit=2")),
                     "[{\"eventId\":2, \"x\":\"y\"},{\"eventId\":1}]");
    ck_assert(db.events_job);
    odto_test_reply_of(odto_test_get(&f, "/events?jobId="));
    ck_assert(!db.events_job);
    expect_error("/events?jobId=1234", 400, "/jobId", "must match format \"uuid\"");
    end();
}
END_TEST

/* Waits until the stream holds this text. */
static bool streams(odto_http_request *rq, const char *text)
{
    for (int i = 0; i < 3000; i++) {
        pthread_mutex_lock(&f.lock);
        bool found = strstr(odto_test_body(rq), text) != NULL;
        pthread_mutex_unlock(&f.lock);
        if (found)
            return true;
        usleep(1000);
    }
    return false;
}

static const char *const quick_poll[] = {"stream_poll", "1ms", "max_streams", "2", NULL};

START_TEST(stream)
{
    begin_with(&fast, quick_poll);
    add_event("{\"old\":1}");
    odto_http_request *rq = odto_test_get(&f, "/events/stream");
    ck_assert_int_eq(odto_test_reply_of(rq)->status, 200);
    ck_assert_str_eq(odto_test_header(rq, "Content-Type"), "text/event-stream");
    add_event("{\"new\":\n2}");
    ck_assert(streams(rq, "id: 2\ndata: {\"new\": 2}\n\n"));
    ck_assert(strstr(odto_test_body(rq), "old") == NULL);
    const char *headers[] = {"Last-Event-ID", "0", NULL};
    odto_http_request *again = odto_test_send(&f, "GET", "/events/stream", headers, odto_slice_of(NULL, 0));
    ck_assert(streams(again, "id: 1\ndata: {\"old\":1}\n\nid: 2\n"));
    end();
    ck_assert(odto_test_reply_of(rq)->stream_ended);
    ck_assert(odto_test_reply_of(again)->stream_ended);
}
END_TEST

START_TEST(streams_are_bounded)
{
    begin_with(&fast, quick_poll);
    odto_http_request *a = odto_test_get(&f, "/events/stream"), *b = odto_test_get(&f, "/events/stream");
    ck_assert_int_eq(odto_test_reply_of(a)->status, 200);
    ck_assert_int_eq(odto_test_reply_of(b)->status, 200);
    expect_error("/events/stream", 503, "/", "max_streams");
    ck_assert_int_eq(odto_test_metric_value(&f, "odto_read_model_streams"), 2);
    odto_test_client_gone(a);
    for (int i = 0; i < 3000 && odto_test_metric_value(&f, "odto_read_model_streams") != 1; i++)
        usleep(1000);
    ck_assert_int_eq(odto_test_reply_of(odto_test_get(&f, "/events/stream"))->status, 200);
    end();
}
END_TEST

START_TEST(a_slow_client_loses_nothing)
{
    begin_with(&fast, quick_poll);
    odto_http_request *slow_one = odto_test_get(&f, "/events/stream"),
                      *quick = odto_test_get(&f, "/events/stream");
    odto_test_stream_blocked(slow_one, -EAGAIN);
    for (int i = 0; i < 50; i++)
        add_event("{\"n\":1}");
    ck_assert(streams(quick, "id: 50\n"));
    ck_assert(strstr(odto_test_body(slow_one), "id: ") == NULL);
    odto_test_stream_blocked(slow_one, 0);
    ck_assert(streams(slow_one, "id: 1\ndata: {\"n\":1}\n\nid: 2\n"));
    ck_assert(streams(slow_one, "id: 50\n"));
    odto_test_stream_blocked(quick, -EPIPE);
    add_event("{}");
    for (int i = 0; i < 3000 && odto_test_metric_value(&f, "odto_read_model_streams") != 1; i++)
        usleep(1000);
    ck_assert_int_eq(odto_test_metric_value(&f, "odto_read_model_streams"), 1);
    end();
}
END_TEST

START_TEST(stream_in_chunks)
{
    begin_with(&fast, quick_poll);
    static char big[40000];
    memset(big, 'x', sizeof big - 1);
    memcpy(big, "{\"a\":\"", 6);
    memcpy(big + sizeof big - 3, "\"}", 2);
    for (int i = 0; i < 60; i++)
        add_event(big);
    const char *headers[] = {"Last-Event-ID", "3", NULL};
    odto_http_request *rq = odto_test_send(&f, "GET", "/events/stream", headers, odto_slice_of(NULL, 0));
    ck_assert(streams(rq, "id: 60\n"));
    ck_assert(strstr(odto_test_body(rq), "id: 3\n") == NULL);
    const char *p = odto_test_body(rq);
    for (int i = 4; i <= 60; i++) { /* each once, in order */
        char id[20];
        snprintf(id, sizeof id, "id: %d\n", i);
        p = strstr(p, id);
        ck_assert_ptr_nonnull(p);
    }
    end();
}
END_TEST

START_TEST(bad_last_event_id)
{
    begin();
    expect_error("/events/stream?lastEventId=abc", 400, "/lastEventId", "id of an event");
    expect_error("/events/stream?lastEventId=99999999999999999999", 400, "/lastEventId", "id of an event");
    end();
}
END_TEST

/* ---- alerts ------------------------------------------------------------------------------------ */

#define ALERT(NAME, STATUS)                                        \
    "{\"status\":\"" STATUS "\",\"labels\":{\"alertname\":\"" NAME \
    "\"},\"annotations\":{},\"fingerprint\":\"" NAME "\"}"

static odto_http_request *webhook(const char *authorization, const char *body)
{
    const char *headers[] = {"Content-Type", "application/json", "Authorization", authorization, NULL};
    return odto_test_send(&f, "POST", "/webhook/alerts", headers, odto_slice_str(body));
}

#define GOOD_AUTH "Basic YWxlcnRtYW5hZ2VyOnMzY3JldA==" /* alertmanager:s3cret */
static const char *const with_password[] = {"webhook_password", "s3cret", "alerts_kept", "3", NULL};

START_TEST(webhook_keeps_the_last_alerts)
{
    begin_with(&fast, with_password);
    ck_assert_str_eq(odto_test_body(odto_test_get(&f, "/alerts")), "[]");
    odto_http_request *rq = webhook(
        GOOD_AUTH, "{\"version\":\"4\",\"alerts\":[" ALERT("A", "firing") "," ALERT("B", "firing") "]}");
    ck_assert_int_eq(odto_test_reply_of(rq)->status, 200);
    odto_test_reply_of(webhook(GOOD_AUTH, "{\"alerts\":[" ALERT("B", "resolved") "]}"));
    struct json_object *o = get_json("/alerts");
    ck_assert_uint_eq(json_object_array_length(o), 2); /* one per fingerprint */
    ck_assert_str_eq(text_at(json_object_array_get_idx(o, 0), "status"), "resolved");
    ck_assert_str_eq(text_at(json_object_array_get_idx(o, 1), "fingerprint"), "A");
    ck_assert_uint_gt(strlen(text_at(json_object_array_get_idx(o, 0), "receivedAt")), 20);
    json_object_put(o);
    odto_test_reply_of(
        webhook(GOOD_AUTH, "{\"alerts\":[" ALERT("C", "firing") "," ALERT("D", "firing") "]}"));
    o = get_json("/alerts");
    ck_assert_uint_eq(json_object_array_length(o), 3); /* A, the oldest, went */
    for (size_t i = 0; i < 3; i++)
        ck_assert_str_ne(text_at(json_object_array_get_idx(o, i), "fingerprint"), "A");
    json_object_put(o);
    end();
}
END_TEST

START_TEST(webhook_authorization)
{
    begin_with(&fast, with_password);
    static const char *const bad[] = {"", "Basic", "Basic YWxlcnRtYW5hZ2VyOnMzY3JldQ==", "Bearer s3cret"};
    for (size_t i = 0; i < 4; i++) {
        odto_http_request *rq = webhook(bad[i], "{\"alerts\":[]}");
        ck_assert_int_eq(odto_test_reply_of(rq)->status, 401);
        ck_assert(strncmp(odto_test_header(rq, "WWW-Authenticate"), "Basic realm=", 12) == 0);
    }
    end();
    odto_test_free(&f);
    begin();
    ck_assert_int_eq(odto_test_reply_of(webhook(GOOD_AUTH, "{\"alerts\":[]}"))->status, 403);
    end();
}
END_TEST

START_TEST(webhook_bad_bodies)
{
    begin_with(&fast, with_password);
    static const char *const bad[] = {
        "", "{", "[]", "{}", "{\"alerts\":{}}", "{\"alerts\":[],\"alerts\":[]}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_msg(odto_test_reply_of(webhook(GOOD_AUTH, bad[i]))->status == 400, "%s", bad[i]);
    static char body[40000];
    snprintf(body, sizeof body, "{\"alerts\":[5,{\"x\":\"%030000d\"}," ALERT("A", "firing") "]}", 1);
    odto_http_request *rq = webhook(GOOD_AUTH, body);
    ck_assert_str_eq(odto_test_body(rq), "{\"status\":\"ok\",\"received\":1}");
    ck_assert_int_eq(odto_test_metric_value(&f, "odto_read_model_alerts_refused_total"), 2);
    end();
}
END_TEST

START_TEST(alerts_survive_a_reload)
{
    begin_with(&fast, with_password);
    odto_test_reply_of(
        webhook(GOOD_AUTH, "{\"alerts\":[" ALERT("A", "firing") "," ALERT("B", "firing") "]}"));
    char *before = strdup(odto_test_body(odto_test_get(&f, "/alerts")));
    odto_buf blob = {0};
    uint32_t version;
    odto_error err = {0};
    ck_assert_int_eq(read_model_plugin.ops->save(f.self, &version, &blob, &err), 0);
    end();
    odto_test_free(&f);
    odto_test_setup(&f, &read_model_plugin);
    f.options = with_password;
    ck_assert_int_eq(odto_test_init(&f, &err), 0);
    ck_assert_int_eq(read_model_plugin.ops->restore(f.self, version, odto_slice_of(blob.p, blob.n), &err), 0);
    odto_test_store(&f, "jobs", &fast, &db);
    odto_test_store(&f, "counters", &fast, &db);
    odto_test_store(&f, "events", &fast, &db);
    ck_assert_int_eq(odto_test_start(&f, &err), 0);
    ck_assert_str_eq(odto_test_body(odto_test_get(&f, "/alerts")), before);
    free(before);
    odto_buf_free(&blob);
    end();
}
END_TEST

START_TEST(documentation)
{
    begin();
    const char *page = odto_test_body(odto_test_get(&f, "/docs"));
    static const char *const words[] = {"<!DOCTYPE html>", "swagger-ui", "SwaggerUIBundle", "/openapi.json",
                                        "dom_id"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        ck_assert_msg(strstr(page, words[i]) != NULL, "%s", words[i]);
    struct json_object *o = get_json("/openapi.json");
    ck_assert_str_eq(text_at(at(o, "info"), "title"), "Read Model API");
    json_object_put(o);
    end();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("read model");
    TCase *t = tcase_create("read model");
    tcase_set_timeout(t, 30);
    tcase_add_test(t, statistics);
    tcase_add_test(t, an_outage_is_503);
    tcase_add_test(t, slow_stores_are_checked_in_the_background);
    tcase_add_test(t, quick_routes_only_where_the_store_is);
    tcase_add_test(t, recent);
    tcase_add_test(t, limits);
    tcase_add_test(t, listing);
    tcase_add_test(t, one_job);
    tcase_add_test(t, one_job_json_result);
    tcase_add_test(t, unknown_job);
    tcase_add_test(t, events);
    tcase_add_test(t, stream);
    tcase_add_test(t, streams_are_bounded);
    tcase_add_test(t, a_slow_client_loses_nothing);
    tcase_add_test(t, stream_in_chunks);
    tcase_add_test(t, bad_last_event_id);
    tcase_add_test(t, webhook_keeps_the_last_alerts);
    tcase_add_test(t, webhook_authorization);
    tcase_add_test(t, webhook_bad_bodies);
    tcase_add_test(t, alerts_survive_a_reload);
    tcase_add_test(t, documentation);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
