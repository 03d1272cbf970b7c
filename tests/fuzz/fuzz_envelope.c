/* fuzz_envelope.c — any bytes as a message from a queue. Reading stays inside; what is accepted gives a
 * completion that is accepted too; what is not gives a dead letter that is valid and has lost nothing. */
#include <odto/envelope.h>
#include <odto/json.h>
#include <odto/schema.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH 24

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static odto_schema *envelope, *job, *letter;

static void must(bool ok)
{
    if (!ok)
        abort();
}

static void free_schemas(void)
{
    odto_schema_free(envelope);
    odto_schema_free(job);
    odto_schema_free(letter);
}

static void load_schemas(void)
{
    must(odto_schema_compile_builtin("event-envelope", &envelope, NULL) == 0);
    must(odto_schema_compile_builtin("job", &job, NULL) == 0);
    must(odto_schema_compile_builtin("dead-letter", &letter, NULL) == 0);
    atexit(free_schemas);
}

static const odto_producer by = {"processor", "p-1", "0.1.0"};

static void accepted(odto_slice text, const odto_header *h)
{
    odto_header back;
    odto_uuid id;
    odto_buf b = {0};
    char why[512];
    must(odto_header_parse(text, &back) == 0);
    must(odto_uuid_eq(&back.job_id, &h->job_id));
    odto_uuid_v7(&id);
    must(odto_envelope_finished(&b, &by, ODTO_JOB_FAILED, &id, 1735689600000, h));
    must(odto_envelope_check(odto_slice_of(b.p, b.n), envelope, job, DEPTH, &back, why, sizeof why) == 0);
    must(back.type == ODTO_JOB_FAILED && odto_uuid_eq(&back.job_id, &h->job_id));
    must(odto_uuid_eq(&back.correlation_id, &h->correlation_id) && back.created_at_ms == h->created_at_ms);
    must(odto_slice_eq(back.status_json, "\"FAILED\"") && back.payload_json.n == h->payload_json.n);
    must(back.traceparent.n == h->traceparent.n);
    odto_buf_clear(&b);
    must(odto_envelope_created(&b, &by, &id, &h->correlation_id, &h->job_id, 0, h->traceparent, h->job_json));
    must(odto_envelope_check(odto_slice_of(b.p, b.n), envelope, job, DEPTH, &back, why, sizeof why) == 0);
    must(odto_job_parse(h->job_json, &back) == 0 && odto_uuid_eq(&back.job_id, &h->job_id));
    odto_buf_free(&b);
}

static void refused(odto_slice text, const char *why)
{
    odto_buf b = {0};
    odto_slice event;
    size_t n;
    must(why[0]);
    must(odto_dead_letter(&b, text, why, 1735689600000, NULL, "processor", "0.1.0"));
    odto_slice whole = odto_slice_of(b.p, b.n);
    must(odto_json_check(whole, 200, NULL) == 0);
    must(odto_schema_validate_text(letter, whole, NULL, 0, &n) == 0);
    if (odto_json_member(whole, "original_event", &event)) {
        odto_buf back = {0};
        if (odto_json_check(text, 128, NULL) == 0)
            must(event.n <= text.n && memmem(text.p, text.n, event.p, event.n) != NULL);
        else
            must(odto_json_unquote(event, &back) == 0 && back.n == text.n &&
                 (text.n == 0 || !memcmp(back.p, text.p, text.n)));
        odto_buf_free(&back);
    } else {
        must(!odto_utf8_valid(text));
    }
    odto_buf_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    odto_slice text = odto_slice_of((const char *)data, n);
    odto_header h;
    odto_buf b = {0};
    char why[512] = "";
    if (!envelope)
        load_schemas();
    int rc = odto_envelope_check(text, envelope, job, DEPTH, &h, why, sizeof why);
    must(rc == 0 || rc == -22);
    if (rc == 0)
        accepted(text, &h);
    else
        refused(text, why);
    odto_header_parse(text, &h);
    odto_job_parse(text, &h);
    if (odto_job_with_status(&b, text, "FAILED", 0) && odto_json_check(text, DEPTH, NULL) == 0)
        must(odto_json_check(odto_slice_of(b.p, b.n), DEPTH, NULL) == 0);
    odto_buf_free(&b);
    return 0;
}
