/* intake.c — from the bytes of one job to a job.created event: strict JSON, the job schema, the envelope.
 *
 * Pure apart from the submission counter; runs on whatever thread serves the request, with a scratch that
 * thread owns. The tree is built once; the envelope is made around the text as it was sent. */
#include "gateway.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static odto_slice trim(odto_slice s)
{
    while (s.n > 0 && is_space(s.p[0]))
        s.p++, s.n--;
    while (s.n > 0 && is_space(s.p[s.n - 1]))
        s.n--;
    return s;
}

static odto_slice string_member(struct json_object *job, const char *key)
{
    struct json_object *v = NULL;
    if (!json_object_object_get_ex(job, key, &v) || !json_object_is_type(v, json_type_string))
        return odto_slice_of(NULL, 0);
    return odto_slice_of(json_object_get_string(v), (size_t)json_object_get_string_len(v));
}

static void count(gateway *g, struct json_object *tree, bool valid)
{
    odto_slice type = odto_slice_of(NULL, 0);
    if (json_object_is_type(tree, json_type_object))
        type = string_member(tree, "type");
    odto_metric_add(types_counter(&g->types, type, valid), 1);
}

/* One missing member: into the tree (for validation) and into the text (which travels). */
static bool assign_member(struct json_object *job, odto_buf *text, const char *key, const char *value)
{
    if (json_object_object_get_ex(job, key, NULL))
        return true;
    struct json_object *v = json_object_new_string(value);
    if (!v || json_object_object_add(job, key, v) != 0) {
        json_object_put(v);
        return false;
    }
    odto_buf_put(text, text->n == 0 ? "{" : ",", 1);
    odto_buf_jsonz(text, key);
    odto_buf_put(text, ":", 1);
    return odto_buf_jsonz(text, value);
}

/* Fill in id, status, createdAt where absent; *text becomes the job's new text. False without memory. */
static bool assign_members(gateway *g, scratch *s, struct json_object *job, odto_slice *text, bool *assigned)
{
    char id[ODTO_UUID_LEN + 1], now[25];
    odto_uuid u;
    odto_uuid_v7(&u);
    odto_uuid_format(&u, id);
    odto_time_format(g->host->api->unix_ms(g->host), now);
    bool had_members = json_object_object_length(job) > 0;
    odto_buf_clear(&s->job);
    s->job.failed = false;
    if (!assign_member(job, &s->job, "id", id) || !assign_member(job, &s->job, "status", "PENDING") ||
        !assign_member(job, &s->job, "createdAt", now))
        return false;
    if (s->job.n == 0)
        return true;
    odto_buf_put(&s->job, had_members ? "," : "}", 1);
    if (had_members) /* the rest of the object, without its opening brace */
        odto_buf_put(&s->job, text->p + 1, text->n - 1);
    *assigned = true;
    *text = odto_slice_of(s->job.p, s->job.n);
    return !s->job.failed;
}

static intake_result make_event(gateway *g, scratch *s, odto_slice text, struct json_object *tree,
                                const intake_origin *from, intake_job *out)
{
    if (odto_uuid_parse(string_member(tree, "id"), &out->id) != 0)
        return INTAKE_NO_MEMORY; /* the schema has checked the format: only an allocation can fail */
    odto_uuid_derive(&out->id, &out->event_id);
    odto_buf_clear(&s->envelope);
    s->envelope.failed = false;
    if (!odto_envelope_created(&s->envelope, &g->producer, &out->event_id, from->correlation, &out->id,
                               g->host->api->unix_ms(g->host), from->traceparent, text))
        return INTAKE_NO_MEMORY;
    out->event =
        g->host->api->event_new(g->host, odto_slice_of(s->envelope.p, s->envelope.n), ODTO_EVENT_VALID);
    return out->event ? INTAKE_OK : INTAKE_NO_MEMORY;
}

intake_result intake_parse(gateway *g, scratch *s, odto_slice text, bool assign, const intake_origin *from,
                           intake_job *out)
{
    struct json_object *tree = NULL;
    odto_error err = {0};
    out->event = NULL;
    out->assigned = false;
    text = trim(text);
    int rc = odto_json_parse(text, g->max_depth, &tree, &err);
    if (rc == -ENOMEM)
        return INTAKE_NO_MEMORY;
    if (rc != 0) {
        snprintf(s->refusal, sizeof s->refusal, "%s", err.detail[0] ? err.detail : err.message);
        return INTAKE_MALFORMED;
    }
    intake_result result = INTAKE_NO_MEMORY;
    bool object = json_object_is_type(tree, json_type_object);
    if (!assign || !object || assign_members(g, s, tree, &text, &out->assigned)) {
        s->n_violations = odto_schema_validate(g->job_schema, tree, s->violations, GATEWAY_MAX_VIOLATIONS);
        count(g, tree, s->n_violations == 0);
        result = s->n_violations > 0 ? INTAKE_INVALID : make_event(g, s, text, tree, from, out);
    }
    json_object_put(tree);
    return result;
}

/* ---- headers ----------------------------------------------------------------------------------- */

static bool lower_hex(odto_slice s, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        if (!(s.p[i] >= '0' && s.p[i] <= '9') && !(s.p[i] >= 'a' && s.p[i] <= 'f'))
            return false;
    return true;
}

static bool all_zero(odto_slice s, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        if (s.p[i] != '0')
            return false;
    return true;
}

/* W3C Trace Context, level 1, version 00: "00-<32 hex>-<16 hex>-<2 hex>", lower case; an id of zeros or
 * version ff is invalid, and an invalid one is ignored. */
static bool traceparent_valid(odto_slice s)
{
    return s.n == 55 && s.p[2] == '-' && s.p[35] == '-' && s.p[52] == '-' && lower_hex(s, 0, 2) &&
           lower_hex(s, 3, 35) && lower_hex(s, 36, 52) && lower_hex(s, 53, 55) && memcmp(s.p, "ff", 2) != 0 &&
           !all_zero(s, 3, 35) && !all_zero(s, 36, 52);
}

intake_origin intake_origin_of(gateway *g, const odto_http_request *rq)
{
    const odto_http_api *http = g->host->api->http;
    intake_origin o = {.correlation = http->correlation(rq), .traceparent = http->header(rq, "traceparent")};
    if (!traceparent_valid(o.traceparent))
        o.traceparent = odto_slice_of(NULL, 0);
    return o;
}

/* The next element of a list separated by sep, trimmed; *rest moves on. */
static bool next_part(odto_slice *rest, char sep, odto_slice *part)
{
    if (rest->n == 0)
        return false;
    const char *end = memchr(rest->p, sep, rest->n);
    size_t n = end ? (size_t)(end - rest->p) : rest->n;
    *part = trim(odto_slice_of(rest->p, n));
    size_t skip = end ? n + 1 : n;
    *rest = odto_slice_of(rest->p + skip, rest->n - skip);
    return true;
}

static bool equal_nocase(odto_slice s, const char *word)
{
    return s.n == strlen(word) && strncasecmp(s.p, word, s.n) == 0;
}

bool intake_content_type(odto_slice header, const char *other, bool *is_other)
{
    odto_slice part;
    if (!next_part(&header, ';', &part))
        return false;
    *is_other = other && equal_nocase(part, other);
    if (!*is_other && !equal_nocase(part, "application/json"))
        return false;
    while (next_part(&header, ';', &part)) {
        if (part.n < 8 || strncasecmp(part.p, "charset=", 8) != 0)
            continue;
        odto_slice charset = odto_slice_of(part.p + 8, part.n - 8);
        if (charset.n >= 2 && charset.p[0] == '"' && charset.p[charset.n - 1] == '"')
            charset = odto_slice_of(charset.p + 1, charset.n - 2);
        if (!equal_nocase(charset, "utf-8") && !equal_nocase(charset, "us-ascii"))
            return false;
    }
    return true;
}

bool intake_prefers(odto_slice header, const char *token)
{
    odto_slice item, name;
    while (next_part(&header, ',', &item))
        if (next_part(&item, ';', &name) && equal_nocase(name, token))
            return true;
    return false;
}
