/* bench_contracts.c — what reading, checking and writing one message costs, beside json-c's own parser in the
 * same run.
 *
 * Each row is the best of many short rounds, so that other work on the machine shows as little as possible.
 * With
 * --json one object a line: name, ns, limit_ns (null: none). Exit 1 when a row is over its limit. */
#include <odto/envelope.h>
#include <odto/schema.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS 200
#define CALLS  2000

static struct {
    odto_uuid event, correlation, job;
    odto_producer by;
    odto_slice job_text, text;
    odto_schema *job_schema, *envelope_schema;
    struct json_object *job_tree;
    odto_header header;
    odto_buf out;
    json_tokener *tokener;
} b = {.by = {"gateway", "gateway-host-1", "0.1.0"}};

static void must(bool ok)
{
    if (!ok)
        abort();
}

static void check_envelope(void)
{
    must(odto_json_check(b.text, 32, NULL) == 0);
}

static void parse_header(void)
{
    must(odto_header_parse(b.text, &b.header) == 0);
}

static void check_and_parse(void)
{
    check_envelope();
    parse_header();
}

static void write_created(void)
{
    odto_buf_clear(&b.out);
    must(odto_envelope_created(&b.out, &b.by, &b.event, &b.correlation, &b.job, 1735689600000,
                               odto_slice_of(NULL, 0), b.job_text));
}

static void write_finished(void)
{
    odto_buf_clear(&b.out);
    must(odto_envelope_finished(&b.out, &b.by, ODTO_JOB_COMPLETED, &b.event, 1735689600000, &b.header));
}

static void validate_tree(void)
{
    odto_violation v[4];
    must(odto_schema_validate(b.job_schema, b.job_tree, v, 4) == 0);
}

static void validate_text(void)
{
    odto_violation v[4];
    size_t n;
    must(odto_schema_validate_text(b.job_schema, b.job_text, v, 4, &n) == 0);
}

static void full_check(void)
{
    char why[512];
    must(odto_envelope_check(b.text, b.envelope_schema, b.job_schema, 32, &b.header, why, sizeof why) == 0);
}

static void parse_tree(void)
{
    struct json_object *v;
    must(odto_json_parse(b.text, 32, &v, NULL) == 0);
    json_object_put(v);
}

static void parse_json_c(void)
{
    json_tokener_reset(b.tokener);
    struct json_object *v = json_tokener_parse_ex(b.tokener, b.text.p, (int)b.text.n);
    must(v != NULL);
    json_object_put(v);
}

static void make_uuid(void)
{
    odto_uuid u;
    odto_uuid_v7(&u);
}

static void set_up(odto_buf *job, odto_buf *text)
{
    char id[ODTO_UUID_LEN + 1];
    odto_uuid_v7(&b.event);
    odto_uuid_v7(&b.correlation);
    odto_uuid_v7(&b.job);
    odto_uuid_format(&b.job, id);
    odto_buf_printf(
        job,
        "{\"id\":\"%s\",\"type\":\"report\",\"status\":\"PENDING\",\"createdAt\":\"2025-01-01T00:00:00."
        "000Z\","
        "\"payload\":{\"file\":\"/data/in/report-17.csv\",\"rows\":17,\"columns\":[\"a\",\"b\",\"c\"]},"
        "\"metadata\":{\"team\":\"billing\",\"note\":\"a somewhat longer text for the job\"}}",
        id);
    b.job_text = odto_slice_of(job->p, job->n);
    must(odto_envelope_created(text, &b.by, &b.event, &b.correlation, &b.job, 1735689600000,
                               odto_slice_of(NULL, 0), b.job_text));
    b.text = odto_slice_of(text->p, text->n);
    must(odto_schema_compile_builtin("job", &b.job_schema, NULL) == 0);
    must(odto_schema_compile_builtin("event-envelope", &b.envelope_schema, NULL) == 0);
    must(odto_json_parse(b.job_text, 32, &b.job_tree, NULL) == 0);
    parse_header();
    b.tokener = json_tokener_new();
}

static double best(void (*call)(void))
{
    int64_t least = INT64_MAX;
    for (int r = 0; r < ROUNDS; r++) {
        int64_t start = odto_now_ns();
        for (int i = 0; i < CALLS; i++)
            call();
        int64_t took = odto_now_ns() - start;
        least = took < least ? took : least;
    }
    return (double)least / CALLS;
}

static const struct {
    const char *name;
    void (*call)(void);
    int limit; /* ns; 0: none */
} rows[] = {
    {"strict check of an envelope", check_envelope, 0},
    {"header of an envelope", parse_header, 0},
    {"strict check and header", check_and_parse, 1000},
    {"write a job.created envelope", write_created, 500},
    {"write a completion", write_finished, 0},
    {"validate a job, text", validate_text, 1000},
    {"validate a job, tree there", validate_tree, 1000},
    {"full check of an envelope", full_check, 0},
    {"envelope to a tree, strict", parse_tree, 0},
    {"envelope to a tree, json-c", parse_json_c, 0},
    {"uuid v7", make_uuid, 0},
};

int main(int argc, char **argv)
{
    bool json = argc > 1 && strcmp(argv[1], "--json") == 0, over = false;
    odto_buf job = {0}, text = {0};
    set_up(&job, &text);
    if (!json)
        printf("job of %zu bytes, envelope of %zu bytes\n%-32s %8s %8s\n", job.n, text.n, "", "ns", "limit");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        double ns = best(rows[i].call);
        char limit[16] = "null";
        if (rows[i].limit)
            snprintf(limit, sizeof limit, "%d", rows[i].limit);
        over |= rows[i].limit && ns > rows[i].limit;
        if (json)
            printf("{\"name\":\"%s\",\"ns\":%.1f,\"limit_ns\":%s}\n", rows[i].name, ns, limit);
        else
            printf("%-32s %8.0f %8s\n", rows[i].name, ns, rows[i].limit ? limit : "");
    }
    odto_schema_free(b.job_schema);
    odto_schema_free(b.envelope_schema);
    json_object_put(b.job_tree);
    json_tokener_free(b.tokener);
    odto_buf_free(&b.out);
    odto_buf_free(&job);
    odto_buf_free(&text);
    return over;
}
