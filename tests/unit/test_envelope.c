/* test_envelope.c — libodto: envelopes and dead letters (odto/envelope.h). */
#include <odto/envelope.h>
#include <odto/json.h>
#include <odto/schema.h>
#include <check.h>
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JOB_ID "01890a5d-ac96-774b-bcce-b302099a8057"
#define EVENT  "01890a5d-ac96-774b-bcce-b302099a8058"
#define CORR   "f47ac10b-58cc-4372-a567-0e02b2c3d479"
#define TRACE  "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
#define JOB                                                                                     \
    "{\"id\":\"" JOB_ID                                                                         \
    "\",\"type\":\"report\",\"status\":\"PENDING\",\"createdAt\":\"2025-01-01T00:00:00.250Z\"," \
    "\"payload\":{\"n\":[1,\"}\"]},\"x\":null,\"options\":{\"priority\":3}}"
#define HEAD                                                                                          \
    "\"contractVersion\":\"1.0.0\",\"eventType\":\"job.created\",\"eventId\":\"" EVENT                \
    "\",\"occurredAt\":\"2025-01-01T00:00:01.000Z\",\"producer\":{\"service\":\"gw\",\"instanceId\":" \
    "\"a\\\"b\","                                                                                     \
    "\"version\":\"0.1.0\"},\"correlationId\":\"" CORR "\",\"idempotencyKey\":\"" JOB_ID "\""

static const odto_producer by = {"gw", "a\"b", "0.1.0"};

static odto_slice S(const char *s)
{
    return odto_slice_str(s);
}

static odto_uuid U(const char *s)
{
    odto_uuid u;
    ck_assert_int_eq(odto_uuid_parse(S(s), &u), 0);
    return u;
}

static void ck_slice(odto_slice got, const char *wanted)
{
    ck_assert_msg(odto_slice_eq(got, wanted), "%.*s not %s", (int)got.n, got.p, wanted);
}

static void valid(const char *schema, const char *text)
{
    odto_schema *s;
    odto_error err = {0};
    struct json_object *v;
    odto_violation found = {"", ""};
    ck_assert_int_eq(odto_schema_compile_builtin(schema, &s, &err), 0);
    ck_assert_msg(odto_json_parse(S(text), 32, &v, &err) == 0, "%s: %s", text, err.detail);
    ck_assert_msg(odto_schema_validate(s, v, &found, 1) == 0, "%s %s: %s", found.path, found.message, text);
    json_object_put(v);
    odto_schema_free(s);
}

START_TEST(created_envelope)
{
    odto_uuid event = U(EVENT), corr = U(CORR), job = U(JOB_ID);
    odto_buf b = {0};
    ck_assert(odto_envelope_created(&b, &by, &event, &corr, &job, INT64_C(1735689601000),
                                    odto_slice_of(NULL, 0), S(JOB)));
    ck_assert_str_eq(b.p, "{" HEAD ",\"payload\":" JOB "}");
    valid("event-envelope", b.p);
    valid("job", JOB);
    odto_buf_clear(&b);
    ck_assert(odto_envelope_created(&b, &by, &event, &corr, &job, INT64_C(1735689601000), S(TRACE), S(JOB)));
    ck_assert_str_eq(b.p, "{" HEAD ",\"traceparent\":\"" TRACE "\",\"payload\":" JOB "}");
    valid("event-envelope", b.p);
    odto_buf_free(&b);
}
END_TEST

START_TEST(writers_leave_a_full_buffer_alone)
{
    odto_uuid event = U(EVENT), corr = U(CORR), job = U(JOB_ID);
    odto_header h;
    const char *envelope = "{" HEAD ",\"payload\":" JOB "}";
    ck_assert_int_eq(odto_header_parse(S(envelope), &h), 0);
    for (size_t max = 3; max < 900; max += 7) {
        odto_buf b = {.max = max};
        odto_buf_str(&b, "old");
        for (int kind = 0; kind < 4; kind++) {
            bool ok = kind == 0   ? odto_envelope_created(&b, &by, &event, &corr, &job, 0, S(TRACE), S(JOB))
                      : kind == 1 ? odto_envelope_finished(&b, &by, ODTO_JOB_FAILED, &event, 0, &h)
                      : kind == 2 ? odto_job_with_status(&b, S(JOB), "FAILED", 0)
                                  : odto_dead_letter(&b, S("\xff\xfe"), "why", 0, &corr, "gw", "1");
            ck_assert(ok == !b.failed);
            if (!ok)
                ck_assert_str_eq(b.p, "old");
            b.n = 3;
            b.failed = false;
            b.p[3] = '\0';
        }
        odto_buf_free(&b);
    }
}
END_TEST

/* ---- header -------------------------------------------------------------------------------- */

START_TEST(header_of_our_envelope)
{
    const char *text = "{" HEAD ",\"traceparent\":\"" TRACE "\",\"payload\":" JOB "}";
    odto_header h;
    odto_uuid event = U(EVENT), corr = U(CORR), job = U(JOB_ID);
    ck_assert_int_eq(odto_header_parse(S(text), &h), 0);
    ck_assert_int_eq(h.type, ODTO_JOB_CREATED);
    ck_assert(odto_uuid_eq(&h.event_id, &event) && odto_uuid_eq(&h.correlation_id, &corr) &&
              odto_uuid_eq(&h.job_id, &job));
    ck_assert_int_eq(h.occurred_at_ms, INT64_C(1735689601000));
    ck_assert_int_eq(h.created_at_ms, INT64_C(1735689600250));
    ck_slice(h.job_json, JOB);
    ck_slice(h.job_type_json, "\"report\"");
    ck_slice(h.payload_json, "{\"n\":[1,\"}\"]}");
    ck_slice(h.options_json, "{\"priority\":3}");
    ck_slice(h.idempotency_key_json, "\"" JOB_ID "\"");
    ck_slice(h.traceparent, TRACE);
    ck_slice(h.status_json, "\"PENDING\"");
}
END_TEST

START_TEST(header_in_any_order_and_spelling)
{
    /* foreign: payload first, white space, unknown fields on both levels, upper-case ids, escapes in names
     * and values */
    const char *text =
        " {\n \"payload\" : { \"createdAt\":\"2025-01-01t01:00:00+01:00\",\"\\u0069d\" : "
        "\"01890A5D-AC96-774B-BCCE-B302099A8057\","
        "\"more\":{\"id\":\"no\",\"status\":[\"no\"]}, \"st\\u0061tus\":\"COMPLETED\" , "
        "\"type\":\"a\\u0062\" } ,\n"
        " \"extra\":[{\"eventId\":1}],\"eventTyp\\u0065\":\"job.\\u0063ompleted\", \"eventId\":\"" EVENT "\","
        "\"correlationId\" "
        ":\"F47AC10B-58cc-4372-a567-0e02b2c3d47\\u0039\",\"idempotencyKey\":\"k\\n\",\"occurredAt\":\"2025-"
        "01-01T00:00:00\\u005a\"} ";
    odto_header h;
    odto_uuid corr = U(CORR), job = U(JOB_ID);
    ck_assert_int_eq(odto_header_parse(S(text), &h), 0);
    ck_assert_int_eq(h.type, ODTO_JOB_COMPLETED);
    ck_assert(odto_uuid_eq(&h.correlation_id, &corr) && odto_uuid_eq(&h.job_id, &job));
    ck_assert_int_eq(h.created_at_ms, INT64_C(1735689600000));
    ck_assert_int_eq(h.occurred_at_ms, INT64_C(1735689600000));
    ck_slice(h.job_type_json, "\"a\\u0062\"");
    ck_slice(h.status_json, "\"COMPLETED\"");
    ck_slice(h.idempotency_key_json, "\"k\\n\"");
    ck_assert_uint_eq(h.payload_json.n, 0);
    ck_assert_uint_eq(h.options_json.n, 0);
    ck_assert_uint_eq(h.traceparent.n, 0);
}
END_TEST

#define FORM                                                                                   \
    "{\"eventType\":\"%s\",\"eventId\":\"" EVENT "\",\"occurredAt\":\"2025-01-01T00:00:01Z\"," \
    "\"correlationId\":\"" CORR "\",\"idempotencyKey\":\"k\",\"payload\":%s}"

START_TEST(header_types)
{
    static const char *const names[] = {"job.created", "job.validated", "job.executed", "job.failed",
                                        "job.completed"};
    static const odto_event_type types[] = {ODTO_JOB_CREATED, ODTO_JOB_VALIDATED, ODTO_JOB_EXECUTED,
                                            ODTO_JOB_FAILED, ODTO_JOB_COMPLETED};
    char text[1024];
    odto_header h;
    for (size_t i = 0; i < 5; i++) {
        snprintf(text, sizeof text, FORM, names[i], JOB);
        ck_assert_int_eq(odto_header_parse(S(text), &h), 0);
        ck_assert_int_eq(h.type, types[i]);
        ck_assert_str_eq(odto_event_type_name(types[i]), names[i]);
        snprintf(text, sizeof text, FORM, names[i], "{}");
        ck_assert_int_eq(odto_header_parse(S(text), &h), -EINVAL);
    }
    /* of another type nothing is asked of the payload but to be an object */
    snprintf(text, sizeof text, FORM, "host.started", "{}");
    ck_assert_int_eq(odto_header_parse(S(text), &h), 0);
    ck_assert_int_eq(h.type, ODTO_JOB_OTHER);
    snprintf(text, sizeof text, FORM, "host.started", "[]");
    ck_assert_int_eq(odto_header_parse(S(text), &h), -EINVAL);
    ck_assert_str_eq(odto_event_type_name((odto_event_type)99), "other");
}
END_TEST

START_TEST(header_refuses_what_is_missing)
{
    static const char *const parts[] = {"\"eventType\":\"job.created\"",
                                        "\"eventId\":\"" EVENT "\"",
                                        "\"occurredAt\":\"2025-01-01T00:00:01Z\"",
                                        "\"correlationId\":\"" CORR "\"",
                                        "\"idempotencyKey\":\"k\"",
                                        "\"payload\":" JOB};
    static const char *const wrong[] = {"\"eventType\":5",         "\"eventId\":\"x\"",
                                        "\"occurredAt\":\"2025\"", "\"correlationId\":null",
                                        "\"idempotencyKey\":7",    "\"payload\":\"x\""};
    odto_header h;
    memset(&h, 42, sizeof h);
    odto_header untouched = h;
    for (int bad = 0; bad < 12; bad++) {
        odto_buf b = {0};
        odto_buf_str(&b, "{\"x\":0");
        for (int i = 0; i < 6; i++)
            if (bad != i)
                odto_buf_printf(&b, ",%s", bad == i + 6 ? wrong[i] : parts[i]);
        odto_buf_str(&b, "}");
        ck_assert_msg(odto_header_parse(odto_slice_of(b.p, b.n), &h) == -EINVAL, "%s", b.p);
        ck_assert_int_eq(memcmp(&h, &untouched, sizeof h), 0);
        odto_buf_free(&b);
    }
}
END_TEST

/* Cut at every byte: refused, and nothing is read behind the cut. */
START_TEST(header_of_cut_text)
{
    const char *text = "{" HEAD ",\"payload\":" JOB ",\"z\":\"\\u0061\"}";
    size_t n = strlen(text);
    odto_header h;
    for (size_t i = 0; i <= n; i++) {
        char *copy = malloc(i ? i : 1);
        memcpy(copy, text, i);
        ck_assert_int_eq(odto_header_parse(odto_slice_of(copy, i), &h), i < n ? -EINVAL : 0);
        free(copy);
    }
    ck_assert_int_eq(odto_header_parse(odto_slice_of(NULL, 0), &h), -EINVAL);
    ck_assert_int_eq(odto_header_parse(S("[]"), &h), -EINVAL);
}
END_TEST

START_TEST(job_alone)
{
    odto_header h, untouched;
    odto_uuid job = U(JOB_ID);
    ck_assert_int_eq(odto_job_parse(S(" " JOB " "), &h), 0);
    ck_assert(odto_uuid_eq(&h.job_id, &job));
    ck_assert_int_eq(h.created_at_ms, INT64_C(1735689600250));
    ck_slice(h.job_json, JOB);
    ck_slice(h.job_type_json, "\"report\"");
    ck_slice(h.options_json, "{\"priority\":3}");
    memset(&h, 42, sizeof h);
    untouched = h;
    static const char *const bad[] = {"", "[]", "{}", "{\"id\":\"" JOB_ID "\"}", "{\"id\":", "null"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_int_eq(odto_job_parse(S(bad[i]), &h), -EINVAL);
    ck_assert_int_eq(memcmp(&h, &untouched, sizeof h), 0);
}
END_TEST

/* ---- finished ------------------------------------------------------------------------------ */

START_TEST(finished_envelope)
{
    const char *text = "{" HEAD ",\"traceparent\":\"" TRACE "\",\"payload\":" JOB "}";
    odto_header h, back;
    odto_uuid event = U("01890a5d-ac96-774b-bcce-b302099a8059");
    odto_buf b = {0};
    ck_assert_int_eq(odto_header_parse(S(text), &h), 0);
    for (int i = 0; i < 2; i++) {
        odto_event_type type = i ? ODTO_JOB_FAILED : ODTO_JOB_COMPLETED;
        odto_buf_clear(&b);
        ck_assert(odto_envelope_finished(&b, &by, type, &event, INT64_C(1735689602500), &h));
        valid("event-envelope", b.p);
        ck_assert_int_eq(odto_header_parse(odto_slice_of(b.p, b.n), &back), 0);
        ck_assert_int_eq(back.type, type);
        ck_assert(odto_uuid_eq(&back.event_id, &event) &&
                  odto_uuid_eq(&back.correlation_id, &h.correlation_id));
        ck_slice(back.idempotency_key_json, "\"" JOB_ID "\"");
        ck_slice(back.traceparent, TRACE);
        ck_assert_int_eq(back.occurred_at_ms, INT64_C(1735689602500));
        ck_slice(back.status_json, i ? "\"FAILED\"" : "\"COMPLETED\"");
        ck_assert_int_eq(back.created_at_ms, h.created_at_ms);
        ck_slice(back.payload_json, "{\"n\":[1,\"}\"]}");
        ck_assert_ptr_nonnull(strstr(
            b.p, "\"x\":null,\"options\":{\"priority\":3},\"updatedAt\":\"2025-01-01T00:00:02.500Z\"}}"));
    }
    odto_buf_free(&b);
}
END_TEST

START_TEST(job_status)
{
#define AT "\"2025-01-01T00:00:00.000Z\""
    static const struct {
        const char *job, *out;
    } cases[] = {
        {"{\"status\":\"PENDING\",\"a\":1}", "{\"status\":\"FAILED\",\"a\":1,\"updatedAt\":" AT "}"},
        {"{\"a\":1,\"updatedAt\":\"x\",\"status\":\"PENDING\"}",
         "{\"a\":1,\"updatedAt\":" AT ",\"status\":\"FAILED\"}"},
        {"{ \"a\" : {\"status\":\"in\"} }",
         "{ \"a\" : {\"status\":\"in\"} ,\"status\":\"FAILED\",\"updatedAt\":" AT "}"},
        {"{}", "{\"status\":\"FAILED\",\"updatedAt\":" AT "}"},
        {" { } ", "{ \"status\":\"FAILED\",\"updatedAt\":" AT "}"},
        {"{\"st\\u0061tus\":[1],\"updat\\u0065dAt\":{}}",
         "{\"st\\u0061tus\":\"FAILED\",\"updat\\u0065dAt\":" AT "}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        odto_buf b = {0};
        ck_assert(odto_job_with_status(&b, S(cases[i].job), "FAILED", INT64_C(1735689600000)));
        const char *got = b.p + (b.p[0] == ' ');
        ck_assert_str_eq(got, cases[i].out);
        ck_assert_int_eq(odto_json_check(odto_slice_of(b.p, b.n), 32, NULL), 0);
        odto_buf_free(&b);
    }
    odto_buf b = {0};
    odto_buf_str(&b, "kept");
    ck_assert(!odto_job_with_status(&b, S("{\"a\":"), "FAILED", 0));
    ck_assert_str_eq(b.p, "kept");
    odto_buf_free(&b);
    b = (odto_buf){0};
    ck_assert(!odto_job_with_status(&b, S("[]"), "FAILED", 0));
    odto_buf_free(&b);
}
END_TEST

/* ---- dead letters -------------------------------------------------------------------------- */

START_TEST(a_dead_letter_has_the_correlation_id_of_what_was_no_envelope)
{
    static const struct {
        const char *original, *id;
    } cases[] = {
        {" {\"a\":{\"correlationId\":\"no\"},\"correlationId\":\"11111111-2222-4333-8444-55555555555A\"} ",
         "11111111-2222-4333-8444-55555555555a"},
        {"{\"correlationId\":\"no uuid\"}", "unknown"},
        {"{\"correlationId\":7}", "unknown"},
        {"[\"correlationId\"]", "unknown"},
        {"{}", "unknown"},
        {"", "unknown"},
        {"{\"correlationId\":\"11111111-2222-4333-8444-555555555555\"", "unknown"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        odto_buf b = {0};
        char want[80];
        ck_assert(odto_dead_letter(&b, odto_slice_str(cases[i].original), "why", 0, NULL, "processor", "1"));
        snprintf(want, sizeof want, "\"correlation_id\":\"%s\"", cases[i].id);
        ck_assert_ptr_nonnull(strstr(b.p, want));
        odto_buf_free(&b);
    }
}
END_TEST

START_TEST(dead_letters)
{
#define TAIL(id)                                                                      \
    ",\"validation_error\":\"it was "                                                 \
    "\\\"bad\\\"\",\"rejected_at\":\"2025-01-01T00:00:00Z\",\"correlation_id\":\"" id \
    "\",\"service\":\"processor\",\"service_version\":\"0.1.0\"}"
    static const struct {
        const char *original;
        size_t n;
        const char *out;
    } cases[] = {
        {"{\"a\":[1,2.50]}", 14, "{\"original_event\":{\"a\":[1,2.50]}" TAIL("unknown")},
        {"null", 4, "{\"original_event\":null" TAIL("unknown")},
        {"{\"a\":", 5, "{\"original_event\":\"{\\\"a\\\":\"" TAIL("unknown")},
        {"{\"a\":1,\"a\":2}", 13, "{\"original_event\":\"{\\\"a\\\":1,\\\"a\\\":2}\"" TAIL("unknown")},
        {"h\xc3\xa9", 3, "{\"original_event\":\"h\xc3\xa9\"" TAIL("unknown")},
        {"", 0, "{\"original_event\":\"\"" TAIL("unknown")},
        {"\xff\x00\xfe", 3, "{\"original_event_base64\":\"/wD+\"" TAIL("unknown")},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        odto_buf b = {0};
        ck_assert(odto_dead_letter(&b, odto_slice_of(cases[i].original, cases[i].n), "it was \"bad\"",
                                   INT64_C(1735689600999), NULL, "processor", "0.1.0"));
        ck_assert_str_eq(b.p, cases[i].out);
        valid("dead-letter", b.p);
        odto_buf_free(&b);
    }
    odto_buf b = {0};
    odto_uuid corr = U(CORR);
    ck_assert(
        odto_dead_letter(&b, S("{}"), "it was \"bad\"", INT64_C(1735689600999), &corr, "processor", "0.1.0"));
    ck_assert_str_eq(b.p, "{\"original_event\":{}" TAIL(CORR));
    odto_buf_free(&b);
}
END_TEST

/* ---- full check ---------------------------------------------------------------------------- */

static odto_schema *envelope_schema, *job_schema;

static void load_schemas(void)
{
    ck_assert_int_eq(odto_schema_compile_builtin("event-envelope", &envelope_schema, NULL), 0);
    ck_assert_int_eq(odto_schema_compile_builtin("job", &job_schema, NULL), 0);
}

static void free_schemas(void)
{
    odto_schema_free(envelope_schema);
    odto_schema_free(job_schema);
}

START_TEST(check_says_why)
{
    static const struct {
        const char *text, *why;
    } cases[] = {
        {"{" HEAD ",\"payload\":" JOB "}", NULL},
        {"{" HEAD ",\"payload\":{}}",
         "job: / must have required property 'id'; job: / must have required property 'type'; "
         "job: / must have required property 'status'"},
        {"{" HEAD ",\"payload\":{\"id\":\"" JOB_ID
         "\",\"type\":\"t\",\"status\":\"X\",\"createdAt\":\"2025-01-01T00:00:00Z\"}}",
         "job: /status must be equal to one of the allowed values"},
        {"{" HEAD ",\"payload\":[]}", "event-envelope: /payload must be object"},
        {"{}", "event-envelope: / must have required property 'contractVersion'; event-envelope: / must have "
               "required "
               "property 'eventType'; event-envelope: / must have required property 'eventId'"},
        {"[]", "event-envelope: / must be object"},
        {"nope", "event-envelope: invalid JSON: expected a value at byte 0 (line 1, column 1), in /"},
        {"{\"a\":1,\"a\":1}",
         "event-envelope: invalid JSON: duplicate member name at byte 7 (line 1, column 8), in /a"},
        {"[[[[[[[[[1]]]]]]]]]", "event-envelope: JSON nested too deeply: nested too deeply at byte 8 (line "
                                "1, column 9), in /0/0/0/0/0/0/0/0"},
    };
    load_schemas();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        odto_header h;
        char why[1024] = "";
        int rc = odto_envelope_check(S(cases[i].text), envelope_schema, job_schema, 8, &h, why, sizeof why);
        ck_assert_int_eq(rc, cases[i].why ? -EINVAL : 0);
        ck_assert_str_eq(why, cases[i].why ? cases[i].why : "");
        char small[20];
        if (cases[i].why) {
            odto_envelope_check(S(cases[i].text), envelope_schema, job_schema, 8, &h, small, sizeof small);
            ck_assert_uint_eq(strlen(small), sizeof small - 1);
        } else {
            ck_slice(h.job_type_json, "\"report\"");
        }
    }
    free_schemas();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("envelope");
    TCase *t = tcase_create("envelope");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, created_envelope);
    tcase_add_test(t, writers_leave_a_full_buffer_alone);
    tcase_add_test(t, header_of_our_envelope);
    tcase_add_test(t, header_in_any_order_and_spelling);
    tcase_add_test(t, header_types);
    tcase_add_test(t, header_refuses_what_is_missing);
    tcase_add_test(t, header_of_cut_text);
    tcase_add_test(t, job_alone);
    tcase_add_test(t, finished_envelope);
    tcase_add_test(t, job_status);
    tcase_add_test(t, dead_letters);
    tcase_add_test(t, a_dead_letter_has_the_correlation_id_of_what_was_no_envelope);
    tcase_add_test(t, check_says_why);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
