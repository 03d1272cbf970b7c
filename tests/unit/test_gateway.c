/* test_gateway.c — plugins/gateway against a fake host: every row of POST /jobs, batches, the proxy, limits.
 */
#include <odto/test.h>

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <json-c/json.h>
#include <netinet/in.h>
#include <odto/json.h>
#include <odto/schema.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

extern const odto_plugin gateway_plugin __asm__("odto_plugin");

static odto_test f;

#define ID "01890a5d-ac96-774b-bcce-b302099a8057"
#define JOB \
    "{\"id\":\"" ID "\",\"type\":\"echo\",\"status\":\"PENDING\",\"createdAt\":\"2025-01-01T00:00:00Z\"}"

static void begin_with(const char *const *options)
{
    odto_error err = {0};
    odto_test_setup(&f, &gateway_plugin);
    static const char *const types[] = {"echo", "sleep", NULL};
    f.handlers[0] = (odto_handler_ref){.name = "builtin", .types = types};
    f.n_handlers = 1;
    f.options = options;
    ck_assert_int_eq(odto_test_init(&f, &err), 0);
    ck_assert_msg(odto_test_start(&f, &err) == 0, "%s", err.message);
}

static void begin(void)
{
    begin_with(NULL);
}

static void end(void)
{
    odto_test_stop(&f);
}

static odto_http_request *post_as(const char *target, const char *type, const char *body)
{
    const char *headers[] = {"Content-Type", type, NULL};
    return odto_test_send(&f, "POST", target, type ? headers : NULL, odto_slice_str(body));
}

static struct json_object *json_of(odto_http_request *rq)
{
    struct json_object *o = NULL;
    odto_error err = {0};
    const char *text = odto_test_body(rq);
    ck_assert_msg(odto_json_parse(odto_slice_str(text), 32, &o, &err) == 0, "%s: %s", err.detail, text);
    return o;
}

static const char *member(struct json_object *o, const char *key)
{
    struct json_object *v = NULL;
    ck_assert_msg(json_object_object_get_ex(o, key, &v), "no member %s", key);
    return json_object_get_string(v);
}

static struct json_object *detail(struct json_object *o, size_t i)
{
    struct json_object *list = NULL;
    ck_assert(json_object_object_get_ex(o, "details", &list));
    ck_assert_uint_gt(json_object_array_length(list), i);
    return json_object_array_get_idx(list, i);
}

/* The reply is 400 "Invalid job data" and its first detail is this. */
static void expect_invalid(const char *body, const char *path, const char *message)
{
    odto_http_request *rq = odto_test_post(&f, "/jobs", body);
    ck_assert_msg(odto_test_reply_of(rq)->status == 400, "%s: %d", body, odto_test_reply_of(rq)->status);
    struct json_object *o = json_of(rq);
    ck_assert_str_eq(member(o, "error"), "Invalid job data");
    ck_assert_str_eq(member(detail(o, 0), "path"), path);
    ck_assert_str_eq(member(detail(o, 0), "message"), message);
    json_object_put(o);
    ck_assert_uint_eq(f.n_events, 0);
}

/* ---- POST /jobs -------------------------------------------------------------------------------- */

START_TEST(accepted)
{
    begin();
    odto_http_request *rq = odto_test_post(&f, "/jobs", JOB);
    ck_assert_int_eq(odto_test_reply_of(rq)->status, 202);
    struct json_object *o = json_of(rq);
    ck_assert_int_eq(json_object_object_length(o), 2);
    ck_assert_str_eq(member(o, "jobId"), ID);
    ck_assert_uint_eq(f.n_events, 1);
    const odto_event *e = f.events[0];
    char text[ODTO_UUID_LEN + 1];
    odto_uuid_format(&e->hdr.event_id, text);
    ck_assert_str_eq(member(o, "eventId"), text);
    ck_assert_int_eq(e->hdr.type, ODTO_JOB_CREATED);
    ck_assert_uint_eq(e->hdr.job_json.n, strlen(JOB));
    ck_assert_mem_eq(e->hdr.job_json.p, JOB, strlen(JOB)); /* travels unchanged */
    ck_assert_int_eq(odto_test_metric_value(&f, "gateway_jobs_accepted_total"), 1);
    ck_assert_int_eq(odto_test_metric_value(&f, "gateway_jobs_submitted_total{echo}"), 1);
    ck_assert_ptr_null(odto_test_header(rq, "Preference-Applied"));
    json_object_put(o);
    end();
}
END_TEST

START_TEST(the_envelope_is_valid)
{
    begin();
    odto_test_post(&f, "/jobs", " \n" JOB "\t ");
    odto_schema *envelope, *job;
    odto_error err;
    odto_header h;
    char why[1000] = "";
    ck_assert_int_eq(odto_schema_compile_builtin("event-envelope", &envelope, &err), 0);
    ck_assert_int_eq(odto_schema_compile_builtin("job", &job, &err), 0);
    ck_assert_msg(odto_envelope_check(f.events[0]->body, envelope, job, 64, &h, why, sizeof why) == 0, "%s",
                  why);
    odto_slice key;
    ck_assert(odto_json_member(f.events[0]->body, "idempotencyKey", &key));
    ck_assert(odto_slice_eq(key, "\"" ID "\""));
    odto_schema_free(envelope);
    odto_schema_free(job);
    end();
}
END_TEST

START_TEST(same_job_same_event)
{
    begin();
    static const char upper[] =
        "{\"id\":\"01890A5D-AC96-774B-BCCE-B302099A8057\",\"type\":\"echo\",\"status\":"
        "\"PENDING\",\"createdAt\":\"2025-01-01T00:00:00Z\"}";
    odto_test_post(&f, "/jobs", JOB);
    odto_test_post(&f, "/jobs", JOB);
    odto_http_request *rq = odto_test_post(&f, "/jobs", upper);
    ck_assert_uint_eq(f.n_events, 3);
    ck_assert(odto_uuid_eq(&f.events[0]->hdr.event_id, &f.events[1]->hdr.event_id));
    ck_assert(odto_uuid_eq(&f.events[0]->hdr.event_id, &f.events[2]->hdr.event_id));
    struct json_object *o = json_of(rq);
    ck_assert_str_eq(member(o, "jobId"), ID); /* stored and compared lower-case */
    json_object_put(o);
    end();
}
END_TEST

START_TEST(contract_messages)
{
    begin();
    expect_invalid("{}", "/", "must have required property 'id'");
    expect_invalid("{\"id\":\"" ID "\"}", "/", "must have required property 'type'");
    expect_invalid("{\"id\":\"" ID "\",\"type\":\"t\"}", "/", "must have required property 'status'");
    expect_invalid("{\"id\":\"" ID "\",\"type\":\"t\",\"status\":\"PENDING\"}", "/",
                   "must have required property 'createdAt'");
    expect_invalid("[]", "/", "must be object");
    expect_invalid("\"x\"", "/", "must be object");
    expect_invalid("null", "/", "must be object");
#define WITH(ID_, STATUS, CREATED, MORE) \
    "{\"id\":" ID_ ",\"type\":\"t\",\"status\":" STATUS ",\"createdAt\":" CREATED MORE "}"
#define GOOD_ID "\"" ID "\""
#define GOOD_AT "\"2025-01-01T00:00:00Z\""
    expect_invalid(WITH("\"nope\"", "\"PENDING\"", GOOD_AT, ""), "/id", "must match format \"uuid\"");
    expect_invalid(WITH("\"urn:uuid:" ID "\"", "\"PENDING\"", GOOD_AT, ""), "/id",
                   "must match format \"uuid\"");
    expect_invalid(WITH(GOOD_ID, "\"DONE\"", GOOD_AT, ""), "/status",
                   "must be equal to one of the allowed values");
    expect_invalid(WITH(GOOD_ID, "5", GOOD_AT, ""), "/status", "must be string");
    expect_invalid(WITH(GOOD_ID, "\"PENDING\"", "\"2025-01-01\"", ""), "/createdAt",
                   "must match format \"date-time\"");
    expect_invalid(WITH(GOOD_ID, "\"PENDING\"", "\"2025-02-30T00:00:00Z\"", ""), "/createdAt",
                   "must match format \"date-time\"");
    expect_invalid(WITH(GOOD_ID, "\"PENDING\"", GOOD_AT, ",\"payload\":[]"), "/payload", "must be object");
    expect_invalid(WITH(GOOD_ID, "\"PENDING\"", GOOD_AT, ",\"metadata\":\"x\""), "/metadata",
                   "must be object");
    /* counted though invalid: the body was parsed */
    ck_assert_int_eq(odto_test_metric_value(&f, "gateway_jobs_submitted_total{other}"), 15);
    ck_assert_int_eq(odto_test_metric_value(&f, "gateway_jobs_accepted_total"), 0);
    end();
}
END_TEST

START_TEST(every_violation_is_listed)
{
    begin();
    odto_http_request *rq = odto_test_post(&f, "/jobs", WITH("\"x\"", "1", "2", ",\"payload\":3"));
    struct json_object *o = json_of(rq), *list;
    json_object_object_get_ex(o, "details", &list);
    ck_assert_uint_ge(json_object_array_length(list), 4);
    json_object_put(o);
    end();
}
END_TEST

START_TEST(malformed)
{
    static const char *const bodies[] = {
        "",
        "   ",
        "{",
        "{\"id\":}",
        "{'id':1}",
        "{\"a\":1,\"a\":2}",
        "{\"a\":NaN}",
        "\"\xff\"",
        "{} x",
        "[1,]",
        "{\"a\":\"\\ud800\"}",
        "{\"a\":\"\n\"}",
        "01",
        "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]",
    };
    begin();
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        odto_http_request *rq = odto_test_post(&f, "/jobs", bodies[i]);
        ck_assert_msg(odto_test_reply_of(rq)->status == 400, "%s: %d", bodies[i],
                      odto_test_reply_of(rq)->status);
        struct json_object *o = json_of(rq);
        ck_assert_str_eq(member(o, "error"), "Invalid JSON");
        ck_assert_uint_gt(strlen(member(detail(o, 0), "message")), 5); /* says what and where */
        json_object_put(o);
    }
    ck_assert_uint_eq(f.n_events, 0);
    ck_assert_int_eq(odto_test_metric_value(&f, "gateway_jobs_submitted_total{other}"),
                     0); /* no body was parsed */
    end();
}
END_TEST

START_TEST(content_types)
{
    static const char *const good[] = {"application/json", "Application/JSON",
                                       "application/json; charset=utf-8",
                                       "application/json;charset=\"UTF-8\"", "application/json ; q=1"};
    static const char *const bad[] = {NULL,
                                      "",
                                      "text/plain",
                                      "application/jsonp",
                                      "application/x-ndjson",
                                      "application/json; charset=latin1",
                                      "multipart/form-data; boundary=x"};
    begin();
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        ck_assert_msg(odto_test_reply_of(post_as("/jobs", good[i], JOB))->status == 202, "%s", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_msg(odto_test_reply_of(post_as("/jobs", bad[i], JOB))->status == 415, "%s", bad[i]);
    ck_assert_int_eq(odto_test_reply_of(post_as("/v1/jobs", "text/plain", "{}"))->status, 415);
    end();
}
END_TEST

START_TEST(answers_wait_for_durability)
{
    begin();
    f.hold = true;
    odto_http_request *a = odto_test_post(&f, "/jobs", JOB), *b = odto_test_post(&f, "/jobs", JOB);
    ck_assert(!odto_test_replied(a) && !odto_test_replied(b));
    ck_assert_int_eq(odto_test_metric_value(&f, "gateway_jobs_accepted_total"), 0);
    odto_test_release(&f, 0);
    ck_assert_int_eq(odto_test_reply_of(a)->status, 202);
    ck_assert_int_eq(odto_test_reply_of(b)->status, 202);
    end();
}
END_TEST

static void expect_503(odto_http_request *rq, const char *word)
{
    ck_assert_int_eq(odto_test_reply_of(rq)->status, 503);
    ck_assert_int_eq(odto_test_reply_of(rq)->retry_after, 1);
    struct json_object *o = json_of(rq);
    ck_assert_msg(strstr(member(detail(o, 0), "message"), word) != NULL, "%s",
                  member(detail(o, 0), "message"));
    json_object_put(o);
}

START_TEST(refused_by_the_route)
{
    begin();
    f.publish_rc = -EAGAIN;
    expect_503(odto_test_post(&f, "/jobs", JOB), "full");
    f.publish_rc = -ENOSPC;
    expect_503(odto_test_post(&f, "/jobs", JOB), "disk");
    f.publish_rc = -ECANCELED;
    expect_503(odto_test_post(&f, "/jobs", JOB), "stopping");
    f.publish_rc = 0;
    f.publish_result = -EIO;
    expect_503(odto_test_post(&f, "/jobs", JOB), "durable");
    f.publish_result = 0;
    ck_assert_int_eq(odto_test_reply_of(odto_test_post(&f, "/jobs", JOB))->status, 202);
    ck_assert_int_eq(odto_test_metric_value(&f, "gateway_jobs_accepted_total"), 1);
    end();
}
END_TEST

START_TEST(pending_requests_are_bounded)
{
    static const char *const options[] = {"max_pending", "3", NULL};
    begin_with(options);
    f.hold = true;
    for (int i = 0; i < 3; i++)
        odto_test_post(&f, "/jobs", JOB);
    expect_503(odto_test_post(&f, "/jobs", JOB), "too many");
    const char *headers[] = {"Content-Type", "application/json", NULL};
    expect_503(odto_test_send(&f, "POST", "/v1/jobs/batch", headers, odto_slice_str("[{\"type\":\"echo\"}]")),
               "too many");
    odto_test_release(&f, 0);
    f.hold = false;
    ck_assert_int_eq(odto_test_reply_of(odto_test_post(&f, "/jobs", JOB))->status, 202);
    end();
}
END_TEST

START_TEST(quiesce_waits_for_answers)
{
    begin();
    f.hold = true;
    odto_http_request *rq = odto_test_post(&f, "/jobs", JOB);
    ck_assert_int_eq(gateway_plugin.ops->quiesce(f.self, odto_now_ns() + 10 * ODTO_MS), -ETIMEDOUT);
    odto_test_release(&f, 0);
    ck_assert_int_eq(gateway_plugin.ops->quiesce(f.self, odto_now_ns() + ODTO_SEC), 0);
    ck_assert_int_eq(odto_test_reply_of(rq)->status, 202);
    end();
}
END_TEST

START_TEST(trace_context)
{
    static const char good[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    static const char *const bad[] = {"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
                                      "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
                                      "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                                      "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
                                      "nonsense",
                                      "\"},{\"x\":\""};
    begin();
    const char *headers[] = {"Content-Type", "application/json", "traceparent", good, NULL};
    odto_test_send(&f, "POST", "/jobs", headers, odto_slice_str(JOB));
    ck_assert(odto_slice_eq(f.events[0]->hdr.traceparent, good));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        headers[3] = bad[i];
        odto_test_send(&f, "POST", "/jobs", headers, odto_slice_str(JOB));
        ck_assert_uint_eq(f.events[f.n_events - 1]->hdr.traceparent.n, 0);
    }
    end();
}
END_TEST

START_TEST(names_and_types_with_escapes)
{
    begin();
    odto_http_request *rq =
        odto_test_post(&f, "/jobs",
                       "{\"\\u0069d\":\"" ID "\",\"type\":\"ec\\u0068o\",\"status\":\"PEND\\u0049NG\","
                       "\"created\\u0041t\":\"2025-01-01T00:00:00Z\"}");
    ck_assert_msg(odto_test_reply_of(rq)->status == 202, "%s", odto_test_body(rq));
    ck_assert(strstr(odto_test_body(rq), ID) != NULL);
    ck_assert_int_eq(odto_test_metric_value(&f, "gateway_jobs_submitted_total{echo}"), 1);
    /* "id" and its escaped form are one name */
    rq = odto_test_post(&f, "/v1/jobs", "{\"\\u0069d\":\"" ID "\",\"type\":\"echo\"}");
    int status = odto_test_reply_of(rq)->status;
    ck_assert(status == 400 || strstr(odto_test_body(rq), ID) != NULL);
    end();
}
END_TEST

/* ---- assigning --------------------------------------------------------------------------------- */

static void expect_assigned(const odto_event *e, const char *more)
{
    struct json_object *o = NULL;
    ck_assert_int_eq(odto_json_parse(e->hdr.job_json, 32, &o, NULL), 0);
    ck_assert_str_eq(member(o, "status"), "PENDING");
    odto_uuid id;
    int64_t at;
    ck_assert_int_eq(odto_uuid_parse(odto_slice_str(member(o, "id")), &id), 0);
    ck_assert_int_eq(id.b[6] >> 4, 7);
    ck_assert_int_eq(odto_time_parse(odto_slice_str(member(o, "createdAt")), &at), 0);
    ck_assert_int_lt(llabs(at - odto_unix_ms()), 10000);
    ck_assert(odto_uuid_eq(&id, &e->hdr.job_id));
    if (more)
        ck_assert_str_eq(member(o, "type"), more);
    json_object_put(o);
}

START_TEST(prefer_assign_id)
{
    begin();
    const char *headers[] = {"Content-Type", "application/json", "Prefer", "respond-async, Assign-Id; x=1",
                             NULL};
    odto_http_request *rq =
        odto_test_send(&f, "POST", "/jobs", headers, odto_slice_str("{ \"type\" : \"echo\" }"));
    ck_assert_int_eq(odto_test_reply_of(rq)->status, 202);
    ck_assert_str_eq(odto_test_header(rq, "Preference-Applied"), "assign-id");
    expect_assigned(f.events[0], "echo");
    headers[3] = "return=minimal, no-assign-id";
    rq = odto_test_send(&f, "POST", "/jobs", headers, odto_slice_str("{\"type\":\"echo\"}"));
    ck_assert_int_eq(odto_test_reply_of(rq)->status, 400); /* plain POST /jobs is strict */
    end();
}
END_TEST

START_TEST(v1_assigns_only_what_is_missing)
{
    begin();
    odto_http_request *rq = odto_test_post(&f, "/v1/jobs", "{\"id\":\"" ID "\",\"type\":\"echo\"}");
    ck_assert_int_eq(odto_test_reply_of(rq)->status, 202);
    ck_assert_ptr_null(odto_test_header(rq, "Preference-Applied"));
    ck_assert(strstr(odto_test_body(rq), ID) != NULL);
    ck_assert_int_eq(odto_test_reply_of(odto_test_post(&f, "/v1/jobs", JOB))->status, 202);
    ck_assert(odto_slice_eq(f.events[1]->hdr.job_json, JOB));
    /* what is there must be right; an empty object lacks its type */
    static const char *const bad[] = {"{\"type\":\"t\",\"id\":null}", "{\"type\":\"t\",\"status\":\"X\"}",
                                      "{}", "[]"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_msg(odto_test_reply_of(odto_test_post(&f, "/v1/jobs", bad[i]))->status == 400, "%s",
                      bad[i]);
    ck_assert_uint_eq(f.n_events, 2);
    end();
}
END_TEST

/* ---- labels ------------------------------------------------------------------------------------ */

START_TEST(type_labels_are_bounded)
{
    static const char *const options[] = {"max_types", "2", NULL};
    begin_with(options);
    static const char *const types[] = {"a", "b", "c", "a", "sleep"};
    for (size_t i = 0; i < 5; i++) {
        char body[100];
        snprintf(body, sizeof body, "{\"type\":\"%s\"}", types[i]);
        ck_assert_int_eq(odto_test_reply_of(odto_test_post(&f, "/v1/jobs", body))->status, 202);
    }
    ck_assert_int_eq(odto_test_metric_value(&f, "gateway_jobs_submitted_total{a}"), 2);
    ck_assert_int_eq(odto_test_metric_value(&f, "gateway_jobs_submitted_total{b}"), 1);
    ck_assert_int_eq(odto_test_metric_value(&f, "gateway_jobs_submitted_total{c}"), -1);
    ck_assert_int_eq(odto_test_metric_value(&f, "gateway_jobs_submitted_total{other}"), 1);
    ck_assert_int_eq(odto_test_metric_value(&f, "gateway_jobs_submitted_total{sleep}"), 1);
    ck_assert_int_eq(odto_test_metric_value(&f, "gateway_jobs_submitted_total{echo}"),
                     0); /* known from the start */
    end();
}
END_TEST

START_TEST(invalid_jobs_take_no_label)
{
    begin();
    char body[200];
    for (int i = 0; i < 100; i++) {
        snprintf(body, sizeof body, "{\"type\":\"bad%d\"}", i);
        odto_test_post(&f, "/jobs", body);
    }
    memset(body, 0, sizeof body);
    snprintf(body, sizeof body, "{\"type\":\"%0100d\"}", 7); /* valid, but too long for a label */
    ck_assert_int_eq(odto_test_reply_of(odto_test_post(&f, "/v1/jobs", body))->status, 202);
    ck_assert_int_eq(odto_test_metric_value(&f, "gateway_jobs_submitted_total{other}"), 101);
    ck_assert_int_eq(odto_test_metric_value(&f, "gateway_jobs_submitted_total{bad0}"), -1);
    end();
}
END_TEST

/* ---- batches ----------------------------------------------------------------------------------- */

START_TEST(batch_of_an_array)
{
    begin();
    odto_http_request *rq = odto_test_post(
        &f, "/v1/jobs/batch",
        " [ " JOB " , {\"type\":\"sleep\",\"payload\":{\"a\":[1,\"],{\\\"\"]}} ,{\"type\":\"x\"}]\n");
    ck_assert_int_eq(odto_test_reply_of(rq)->status, 202);
    struct json_object *o = json_of(rq), *jobs;
    ck_assert_str_eq(member(o, "accepted"), "3");
    json_object_object_get_ex(o, "jobs", &jobs);
    ck_assert_uint_eq(json_object_array_length(jobs), 3);
    ck_assert_uint_eq(f.n_events, 3);
    for (size_t i = 0; i < 3; i++) {
        char text[ODTO_UUID_LEN + 1];
        odto_uuid_format(&f.events[i]->hdr.job_id, text);
        ck_assert_str_eq(member(json_object_array_get_idx(jobs, i), "jobId"), text);
        odto_uuid_format(&f.events[i]->hdr.event_id, text);
        ck_assert_str_eq(member(json_object_array_get_idx(jobs, i), "eventId"), text);
    }
    ck_assert_int_eq(odto_test_metric_value(&f, "gateway_jobs_accepted_total"), 3);
    json_object_put(o);
    end();
}
END_TEST

START_TEST(batch_of_lines)
{
    begin();
    odto_http_request *rq = post_as("/v1/jobs/batch", "application/x-ndjson; charset=utf-8",
                                    "\n{\"type\":\"a\"}\r\n\n" JOB "\n{\"type\":\"b\"}");
    ck_assert_int_eq(odto_test_reply_of(rq)->status, 202);
    ck_assert_uint_eq(f.n_events, 3);
    end();
}
END_TEST

START_TEST(batch_is_all_or_nothing)
{
    begin();
    odto_http_request *rq = odto_test_post(&f, "/v1/jobs/batch",
                                           "[" JOB ",{\"type\":5},{\"id\":}," JOB
                                           ",7,{\"type\":\"t\",\"id\":\"x\",\"status\":\"Y\"}]");
    ck_assert_int_eq(odto_test_reply_of(rq)->status, 400);
    ck_assert_uint_eq(f.n_events, 0);
    struct json_object *o = json_of(rq);
    static const char *const paths[] = {"/1/type", "/2", "/4", "/5/id", "/5/status"};
    for (size_t i = 0; i < 5; i++)
        ck_assert_str_eq(member(detail(o, i), "path"), paths[i]);
    json_object_put(o);
    ck_assert_int_eq(odto_test_metric_value(&f, "gateway_jobs_accepted_total"), 0);
    end();
}
END_TEST

START_TEST(batch_frame)
{
    static const char *const bad[] = {"",      "{}",    "[",  "[{}",         "[{} {}]", "[{}}", "[{}] x",
                                      "[{},]", "[,{}]", "[]", "[{\"a\":\"]", "null",    "[{}]]"};
    begin();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_msg(odto_test_reply_of(odto_test_post(&f, "/v1/jobs/batch", bad[i]))->status == 400, "%s",
                      bad[i]);
    ck_assert_int_eq(odto_test_reply_of(post_as("/v1/jobs/batch", "application/x-ndjson", " \n\n"))->status,
                     400);
    ck_assert_int_eq(odto_test_reply_of(post_as("/v1/jobs/batch", "text/csv", "[]"))->status, 415);
    end();
}
END_TEST

/* The body is split before it is parsed: whatever is done to it, the verdict must be that of a strict parser
 * on the whole body. */
START_TEST(batch_frame_like_a_strict_parser)
{
    static const char parts[] = "[]{},:\"\\ \n0a";
    static const char whole[] =
        "[{\"type\":\"a]\",\"payload\":{\"x\":[1,{}]}},{\"type\":\"\\\"}\"} , {\"type\":\"c\"}]";
    begin();
    size_t strict = 0;
    srand(7);
    for (int round = 0; round < 4000; round++) {
        char body[sizeof whole + 4];
        size_t n = sizeof whole - 1;
        memcpy(body, whole, n);
        for (int k = rand() % 3; k >= 0; k--) {
            size_t at = (size_t)rand() % n;
            if (rand() % 2) { /* replace, or remove */
                body[at] = parts[(size_t)rand() % (sizeof parts - 1)];
            } else {
                memmove(body + at, body + at + 1, n - at - 1);
                n--;
            }
        }
        body[n] = 0;
        struct json_object *tree = NULL;
        bool valid = odto_json_parse(odto_slice_of(body, n), 32, &tree, NULL) == 0;
        bool array = valid && json_object_is_type(tree, json_type_array);
        json_object_put(tree);
        odto_http_request *rq = odto_test_post(&f, "/v1/jobs/batch", body);
        int status = odto_test_reply_of(rq)->status;
        if (!array)
            ck_assert_msg(status == 400, "%s: %d", body, status);
        else /* whatever else is wrong, it is not the JSON */
            ck_assert_msg(strstr(odto_test_body(rq), "Invalid JSON") == NULL, "%s: %s", body,
                          odto_test_body(rq));
        strict += array;
        for (; f.n_events > 0; f.n_events--)
            f.api.event_unref(f.events[f.n_events - 1]);
    }
    ck_assert_uint_gt(strict, 50);
    end();
}
END_TEST

START_TEST(batch_bounds)
{
    static const char *const options[] = {"batch_max", "2", NULL};
    begin_with(options);
#define ONE "{\"type\":\"t\"}"
    ck_assert_int_eq(odto_test_reply_of(odto_test_post(&f, "/v1/jobs/batch", "[" ONE "," ONE "]"))->status,
                     202);
    ck_assert_int_eq(
        odto_test_reply_of(odto_test_post(&f, "/v1/jobs/batch", "[" ONE "," ONE "," ONE "]"))->status, 413);
    f.publish_rc = -EAGAIN;
    expect_503(odto_test_post(&f, "/v1/jobs/batch", "[" ONE "]"), "full");
    f.publish_rc = 0;
    f.publish_result = -ENOSPC;
    expect_503(odto_test_post(&f, "/v1/jobs/batch", "[" ONE "]"), "disk");
    f.n_events = 0;
    end();
}
END_TEST

/* ---- readiness and start ----------------------------------------------------------------------- */

START_TEST(readiness)
{
    begin();
    odto_health h = {0};
    gateway_plugin.ops->health(f.self, &h);
    ck_assert(h.ready);
    f.route_stats.depth = f.route_stats.capacity;
    gateway_plugin.ops->health(f.self, &h);
    ck_assert(!h.ready && strstr(h.reason, "full"));
    f.route_stats.depth = 0;
    f.publish_rc = -ENOTCONN;
    gateway_plugin.ops->health(f.self, &h);
    ck_assert(!h.ready && strstr(h.reason, "broker"));
    f.publish_rc = 0;
    f.publish_result = -ENOSPC;
    odto_test_post(&f, "/jobs", JOB);
    ck_assert_uint_eq(f.health_changes, 1);
    gateway_plugin.ops->health(f.self, &h);
    ck_assert(!h.ready && strstr(h.reason, "disk"));
    f.publish_result = 0;
    odto_test_post(&f, "/jobs", JOB);
    gateway_plugin.ops->health(f.self, &h);
    ck_assert(h.ready);
    ck_assert_uint_eq(f.health_changes, 2);
    end();
}
END_TEST

START_TEST(no_route)
{
    odto_error err = {0};
    odto_test_setup(&f, &gateway_plugin);
    f.has_route = false;
    ck_assert_int_eq(odto_test_init(&f, &err), 0);
    ck_assert_int_eq(odto_test_start(&f, &err), -ENOENT);
    ck_assert(strstr(err.hint, "[route jobs.created]") != NULL);
    end();
}
END_TEST

/* ---- documentation ----------------------------------------------------------------------------- */

START_TEST(documentation)
{
    begin();
    odto_http_request *rq = odto_test_get(&f, "/openapi.json");
    struct json_object *o = json_of(rq), *info, *servers;
    ck_assert_msg(strncmp(member(o, "openapi"), "3.", 2) == 0, "%s", member(o, "openapi"));
    json_object_object_get_ex(o, "info", &info);
    ck_assert_str_eq(member(info, "title"), "Gateway API");
    json_object_object_get_ex(o, "servers", &servers);
    ck_assert_uint_eq(json_object_array_length(servers), 1);
    json_object_put(o);
    ck_assert(strstr(odto_test_body(odto_test_get(&f, "/docs")), "swagger") != NULL);
    rq = odto_test_get(&f, "/docs");
    ck_assert(strstr(odto_test_header(rq, "Content-Type"), "text/html") != NULL);
    ck_assert(strstr(odto_test_header(rq, "Content-Security-Policy"), "default-src 'none'") != NULL);
    ck_assert_ptr_null(strstr(odto_test_body(rq), "http://"));
    ck_assert_ptr_null(strstr(odto_test_body(rq), "https://"));
    ck_assert(strstr(odto_test_body(odto_test_get(&f, "/docs/app.js")), "SwaggerUIBundle") != NULL);
    ck_assert_int_eq(odto_test_reply_of(odto_test_get(&f, "/docs/style.css"))->status, 200);
    ck_assert_int_eq(odto_test_reply_of(odto_test_get(&f, "/docs/passwd"))->status, 404);
    end();
}
END_TEST

/* ---- proxy ------------------------------------------------------------------------------------- */

/* A server that answers one connection with this text (NULL: never), and its URL. */
typedef struct peer {
    int fd;
    char url[64];
    const char *answer;
    char request[4096];
    pthread_t thread;
} peer;

static void *peer_main(void *arg)
{
    peer *p = arg;
    int c = accept(p->fd, NULL, NULL);
    if (c < 0) /* nobody came before peer_stop */
        return NULL;
    ssize_t n = recv(c, p->request, sizeof p->request - 1, 0);
    p->request[n > 0 ? n : 0] = 0;
    if (p->answer)
        ck_assert_int_ge(send(c, p->answer, strlen(p->answer), MSG_NOSIGNAL), 0);
    else
        recv(c, p->request, 1, 0); /* until the client gives up */
    close(c);
    return NULL;
}

static void peer_start(peer *p, const char *answer)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    p->answer = answer;
    p->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(p->fd, (struct sockaddr *)&a, n), 0);
    ck_assert_int_eq(listen(p->fd, 4), 0);
    getsockname(p->fd, (struct sockaddr *)&a, &n);
    snprintf(p->url, sizeof p->url, "http://127.0.0.1:%u/", ntohs(a.sin_port));
    pthread_create(&p->thread, NULL, peer_main, p);
}

static void peer_stop(peer *p)
{
    shutdown(p->fd, SHUT_RDWR);
    pthread_join(p->thread, NULL);
    close(p->fd);
}

START_TEST(proxy_passes_through)
{
    static peer p;
    peer_start(
        &p,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n[{\"labels\":{}}");
    const char *options[] = {"alertmanager_url", p.url, NULL};
    begin_with(options);
    odto_http_request *rq = odto_test_get(&f, "/proxy/alerts");
    ck_assert_int_eq(odto_test_reply_of(rq)->status, 200);
    ck_assert_str_eq(odto_test_body(rq), "[{\"labels\":{}}");
    ck_assert_str_eq(odto_test_header(rq, "Content-Type"), "application/json");
    ck_assert_msg(strncmp(p.request, "GET /api/v2/alerts HTTP/1.1\r\n", 29) == 0, "%s", p.request);
    peer_stop(&p);
    end();
}
END_TEST

START_TEST(proxy_failures)
{
    static peer p, long_answer;
    peer_start(&p, "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n");
    const char *options[] = {"prometheus_url", p.url, NULL};
    begin_with(options);
    odto_http_request *rq = odto_test_get(&f, "/proxy/targets");
    ck_assert_int_eq(odto_test_reply_of(rq)->status, 502);
    struct json_object *o = json_of(rq);
    ck_assert_str_eq(member(o, "error"), "Prometheus unavailable");
    ck_assert(strstr(member(o, "details"), "500") != NULL);
    json_object_put(o);
    ck_assert(strncmp(p.request, "GET /api/v1/targets ", 20) == 0);
    peer_stop(&p);
    rq = odto_test_get(&f, "/proxy/targets"); /* nobody listens there any more */
    ck_assert_int_eq(odto_test_reply_of(rq)->status, 502);
    end();
    odto_test_free(&f);
    static char big[3000] = "HTTP/1.1 200 OK\r\nContent-Length: 2500\r\n\r\n";
    memset(big + strlen(big), 'x', 2500);
    peer_start(&long_answer, big);
    const char *small[] = {"prometheus_url", long_answer.url, "proxy_body", "1k", NULL};
    begin_with(small);
    rq = odto_test_get(&f, "/proxy/targets");
    ck_assert_int_eq(odto_test_reply_of(rq)->status, 502);
    ck_assert(strstr(odto_test_body(rq), "proxy_body") != NULL);
    peer_stop(&long_answer);
    end();
}
END_TEST

START_TEST(proxy_timeout)
{
    static peer slow;
    peer_start(&slow, NULL);
    const char *options[] = {"alertmanager_url", slow.url, "proxy_timeout", "50ms", NULL};
    begin_with(options);
    odto_http_request *rq = odto_test_get(&f, "/proxy/alerts");
    ck_assert_int_eq(odto_test_reply_of(rq)->status, 504);
    ck_assert_str_eq(odto_test_body(rq), "{\"error\":\"Alertmanager timeout\"}");
    peer_stop(&slow);
    end();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("gateway");
    TCase *t = tcase_create("gateway");
    tcase_set_timeout(t, 30);
    tcase_add_test(t, accepted);
    tcase_add_test(t, the_envelope_is_valid);
    tcase_add_test(t, same_job_same_event);
    tcase_add_test(t, contract_messages);
    tcase_add_test(t, every_violation_is_listed);
    tcase_add_test(t, malformed);
    tcase_add_test(t, content_types);
    tcase_add_test(t, answers_wait_for_durability);
    tcase_add_test(t, refused_by_the_route);
    tcase_add_test(t, pending_requests_are_bounded);
    tcase_add_test(t, quiesce_waits_for_answers);
    tcase_add_test(t, trace_context);
    tcase_add_test(t, names_and_types_with_escapes);
    tcase_add_test(t, prefer_assign_id);
    tcase_add_test(t, v1_assigns_only_what_is_missing);
    tcase_add_test(t, type_labels_are_bounded);
    tcase_add_test(t, invalid_jobs_take_no_label);
    tcase_add_test(t, batch_of_an_array);
    tcase_add_test(t, batch_of_lines);
    tcase_add_test(t, batch_is_all_or_nothing);
    tcase_add_test(t, batch_frame);
    tcase_add_test(t, batch_frame_like_a_strict_parser);
    tcase_add_test(t, batch_bounds);
    tcase_add_test(t, readiness);
    tcase_add_test(t, no_route);
    tcase_add_test(t, documentation);
    tcase_add_test(t, proxy_passes_through);
    tcase_add_test(t, proxy_failures);
    tcase_add_test(t, proxy_timeout);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
