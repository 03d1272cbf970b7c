/* intake.c — from the bytes of one job to a job.created event: strict JSON, the job schema, the envelope.
 *
 * Pure apart from the submission counter; runs on whatever thread serves the request, with a scratch that
 * thread owns. No tree is built for a valid job; the envelope is made around the text as it was sent. */
#include "gateway.h"

#include <errno.h>
#include <odto/json.h>
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

/* The counter of the job's type: job_type is its JSON literal, empty when there is none. */
static void count(gateway *g, scratch *s, odto_slice job_type, bool valid)
{
    odto_slice type = odto_slice_of(NULL, 0);
    if (job_type.n >= 2 && job_type.p[0] == '"' && !memchr(job_type.p, '\\', job_type.n)) {
        type = odto_slice_of(job_type.p + 1, job_type.n - 2);
    } else if (job_type.n >= 2 && job_type.p[0] == '"') {
        odto_buf_clear(&s->envelope); /* not in use yet */
        if (odto_json_unquote(job_type, &s->envelope) == 0)
            type = odto_slice_of(s->envelope.p, s->envelope.n);
    }
    odto_metric_add(types_counter(&g->types, type, valid), 1);
}

static odto_slice type_of_invalid(odto_slice text)
{
    odto_slice type = odto_slice_of(NULL, 0);
    if (text.n > 0 && text.p[0] == '{')
        odto_json_member(text, "type", &type);
    return type;
}

static void assign_member(odto_slice job, odto_buf *text, const char *key, const char *value)
{
    odto_slice present;
    if (odto_json_member(job, key, &present))
        return;
    odto_buf_put(text, text->n == 0 ? "{" : ",", 1);
    odto_buf_jsonz(text, key);
    odto_buf_put(text, ":", 1);
    odto_buf_jsonz(text, value);
}

/* Fill in id, status, createdAt where absent from the object *text, which becomes the job's new text. False
 * without memory. */
static bool assign_members(gateway *g, scratch *s, odto_slice *text, bool *assigned)
{
    char id[ODTO_UUID_LEN + 1], now[25];
    odto_uuid u;
    odto_uuid_v7(&u);
    odto_uuid_format(&u, id);
    odto_time_format(g->host->api->unix_ms(g->host), now);
    odto_buf *b = &s->job;
    odto_buf_clear(b);
    b->failed = false;
    assign_member(*text, b, "id", id);
    assign_member(*text, b, "status", "PENDING");
    assign_member(*text, b, "createdAt", now);
    if (b->n == 0 && !b->failed)
        return true;
    odto_slice rest = trim(odto_slice_of(text->p + 1, text->n - 1)); /* without its opening brace */
    odto_buf_put(b, ",", rest.n > 1 ? 1 : 0);
    odto_buf_put(b, rest.p, rest.n);
    *assigned = true;
    *text = odto_slice_of(b->p, b->n);
    return !b->failed;
}

static intake_result make_event(gateway *g, scratch *s, odto_slice text, const intake_origin *from,
                                intake_job *out)
{
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

static intake_result malformed(scratch *s, const odto_error *err)
{
    snprintf(s->refusal, sizeof s->refusal, "%s", err->detail[0] ? err->detail : err->message);
    return INTAKE_MALFORMED;
}

intake_result intake_parse(gateway *g, scratch *s, odto_slice text, bool assign, const intake_origin *from,
                           intake_job *out)
{
    odto_error err;
    odto_header job;
    err.message[0] = err.detail[0] = 0; /* the other 770 bytes need no clearing */
    out->event = NULL;
    out->assigned = false;
    text = trim(text);
    if (odto_json_check(text, g->max_depth, &err) != 0)
        return malformed(s, &err);
    if (assign && text.p[0] == '{' && !assign_members(g, s, &text, &out->assigned))
        return INTAKE_NO_MEMORY;
    /* a name written with escapes was not seen to be there: now it is there twice */
    if (out->assigned && odto_json_check(text, g->max_depth, &err) != 0)
        return malformed(s, &err);
    int rc = odto_schema_validate_text(g->job_schema, text, s->violations, GATEWAY_MAX_VIOLATIONS,
                                       &s->n_violations);
    if (rc == -ENOMEM)
        return INTAKE_NO_MEMORY;
    if (rc != 0) {
        count(g, s, type_of_invalid(text), false);
        return INTAKE_INVALID;
    }
    if (odto_job_parse(text, &job) != 0) {
        snprintf(s->refusal, sizeof s->refusal, "the names of the job's members can't be read");
        return INTAKE_MALFORMED;
    }
    out->id = job.job_id;
    count(g, s, job.job_type_json, true);
    return make_event(g, s, text, from, out);
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
