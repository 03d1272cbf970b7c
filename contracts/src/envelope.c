/* envelope.c — event envelopes and dead letters as text (contract: messages).
 *
 * Hot path: every job passes odto_envelope_created once and odto_header_parse several times. Both work on the
 * text in one pass, without a tree and without memory of their own. Pure functions, any thread. */
#include "scan.h"
#include <odto/envelope.h>
#include <odto/json.h>
#include <errno.h>

#define CONTRACT_VERSION "1.0.0"
/* Nesting up to which a rejected message is kept as JSON; beyond that as a string. */
#define LETTER_DEPTH 128

static const char *const type_names[] = {
    [ODTO_JOB_OTHER] = "other",
    [ODTO_JOB_CREATED] = "job.created",
    [ODTO_JOB_VALIDATED] = "job.validated",
    [ODTO_JOB_EXECUTED] = "job.executed",
    [ODTO_JOB_FAILED] = "job.failed",
    [ODTO_JOB_COMPLETED] = "job.completed",
};

const char *odto_event_type_name(odto_event_type t)
{
    return (unsigned)t < sizeof type_names / sizeof type_names[0] ? type_names[t]
                                                                  : type_names[ODTO_JOB_OTHER];
}

/* ---- reading ------------------------------------------------------------------------------- */

static bool is(odto_slice s, const char *name, size_t n)
{
    return s.n == n && memcmp(s.p, name, n) == 0;
}
#define IS(s, literal) is(s, literal, sizeof(literal) - 1)

/* The characters of a string value, escapes resolved into buf where there are any; p NULL if it is no string.
 */
static odto_slice string_value(odto_slice json, char buf[SCAN_SMALL])
{
    if (json.n < 2 || json.p[0] != '"')
        return odto_slice_of(NULL, 0);
    odto_slice inside = odto_slice_of(json.p + 1, json.n - 2);
    return memchr(inside.p, '\\', inside.n) ? scan_resolve(inside, buf) : inside;
}

static odto_event_type type_of(odto_slice name)
{
    if (!name.p || name.n < 10 || memcmp(name.p, "job.", 4) != 0)
        return ODTO_JOB_OTHER;
    for (size_t i = ODTO_JOB_CREATED; i < sizeof type_names / sizeof type_names[0]; i++)
        if (name.p[5] == type_names[i][5] && odto_slice_eq(name, type_names[i]))
            return (odto_event_type)i;
    return ODTO_JOB_OTHER;
}

/* What has been found so far; `seen` makes a missing or malformed field visible. */
enum seen {
    SEEN_TYPE = 1,
    SEEN_EVENT_ID = 2,
    SEEN_TIME = 4,
    SEEN_CORRELATION = 8,
    SEEN_KEY = 16,
    SEEN_JOB = 32,
    SEEN_ENVELOPE = 63,
    SEEN_JOB_ID = 64,
    SEEN_JOB_TYPE = 128,
    SEEN_JOB_TIME = 256,
    SEEN_STATUS = 512,
    SEEN_ALL = 1023,
};

static unsigned read_uuid(odto_slice json, odto_uuid *out, unsigned seen)
{
    char buf[SCAN_SMALL];
    if (json.n == ODTO_UUID_LEN + 2 && odto_uuid_parse(odto_slice_of(json.p + 1, ODTO_UUID_LEN), out) == 0)
        return seen;
    return odto_uuid_parse(string_value(json, buf), out) == 0 ? seen : 0;
}

static unsigned read_time(odto_slice json, int64_t *out, unsigned seen)
{
    char buf[SCAN_SMALL];
    odto_slice text = string_value(json, buf);
    return text.p && odto_time_parse(text, out) == 0 ? seen : 0;
}

static unsigned read_string(odto_slice json, odto_slice *out, unsigned seen)
{
    *out = json;
    return json.n >= 2 && json.p[0] == '"' ? seen : 0;
}

static unsigned job_member(odto_header *h, odto_slice key, odto_slice value)
{
    switch (key.n) {
    case 2:
        return IS(key, "id") ? read_uuid(value, &h->job_id, SEEN_JOB_ID) : 0;
    case 4:
        return IS(key, "type") ? read_string(value, &h->job_type_json, SEEN_JOB_TYPE) : 0;
    case 6:
        return IS(key, "status") ? read_string(value, &h->status_json, SEEN_STATUS) : 0;
    case 7:
        if (IS(key, "payload"))
            h->payload_json = value;
        else if (IS(key, "options"))
            h->options_json = value;
        return 0;
    case 9:
        return IS(key, "createdAt") ? read_time(value, &h->created_at_ms, SEEN_JOB_TIME) : 0;
    default:
        return 0;
    }
}

/* The members of the job at w->p; leaves w->p behind it, so that the job's text is walked only once. */
static unsigned read_job(odto_header *h, walk_members *envelope)
{
    walk_members w;
    odto_slice key, value, rest = odto_slice_of(envelope->p, (size_t)(envelope->end - envelope->p));
    char buf[SCAN_SMALL];
    unsigned seen = SEEN_JOB;
    if (!walk_object(&w, rest)) {
        walk_skip(envelope, &value);
        return 0;
    }
    while (walk_next(&w, &key, &value)) {
        odto_slice name = walk_name(&w, key, buf);
        if (name.p)
            seen |= job_member(h, name, value);
    }
    envelope->p = w.p ? w.p + 1 : NULL;
    h->job_json = odto_slice_of(rest.p, w.p ? (size_t)(w.p + 1 - rest.p) : 0);
    return seen;
}

int odto_job_parse(odto_slice job_json, odto_header *out)
{
    const unsigned needed = SEEN_JOB | SEEN_JOB_ID | SEEN_JOB_TYPE | SEEN_JOB_TIME | SEEN_STATUS;
    const char *end = job_json.n ? job_json.p + job_json.n : job_json.p;
    odto_header h = {0};
    walk_members w = {.p = scan_space(job_json.p, end), .end = end};
    if ((read_job(&h, &w) & needed) != needed || !w.p)
        return -EINVAL;
    *out = h;
    return 0;
}

static unsigned envelope_member(odto_header *h, odto_slice key, odto_slice value)
{
    char buf[SCAN_SMALL];
    odto_slice text;
    switch (key.n) {
    case 7:
        return IS(key, "eventId") ? read_uuid(value, &h->event_id, SEEN_EVENT_ID) : 0;
    case 9:
        if (!IS(key, "eventType"))
            return 0;
        text = string_value(value, buf);
        h->type = type_of(text);
        return text.p ? SEEN_TYPE : 0;
    case 10:
        return IS(key, "occurredAt") ? read_time(value, &h->occurred_at_ms, SEEN_TIME) : 0;
    case 11: /* written with escapes it is no W3C trace context, so there is no need to resolve any */
        if (IS(key, "traceparent") && value.n >= 2 && value.p[0] == '"' && !memchr(value.p, '\\', value.n))
            h->traceparent = odto_slice_of(value.p + 1, value.n - 2);
        return 0;
    case 13:
        return IS(key, "correlationId") ? read_uuid(value, &h->correlation_id, SEEN_CORRELATION) : 0;
    case 14:
        return IS(key, "idempotencyKey") ? read_string(value, &h->idempotency_key_json, SEEN_KEY) : 0;
    default:
        return 0;
    }
}

int odto_header_parse(odto_slice envelope, odto_header *out)
{
    odto_header h = {0};
    walk_members w;
    odto_slice key, value;
    char buf[SCAN_SMALL];
    unsigned seen = 0;
    if (!walk_object(&w, envelope))
        return -EINVAL;
    while (walk_key(&w, &key)) {
        odto_slice name = walk_name(&w, key, buf);
        if (name.p && IS(name, "payload"))
            seen |= read_job(&h, &w);
        else if (walk_skip(&w, &value) && name.p)
            seen |= envelope_member(&h, name, value);
    }
    unsigned needed = h.type == ODTO_JOB_OTHER ? SEEN_ENVELOPE : SEEN_ALL;
    if (!w.p || (seen & needed) != needed)
        return -EINVAL;
    *out = h;
    return 0;
}

/* ---- writing ------------------------------------------------------------------------------- */

/* Appends into room that has been reserved. */
static inline char *put(char *to, const char *p, size_t n)
{
    memcpy(to, p, n);
    return to + n;
}
#define PUT(to, literal) put(to, literal, sizeof(literal) - 1)

static char *put_uuid(char *to, const odto_uuid *u)
{
    char text[ODTO_UUID_LEN + 1];
    odto_uuid_format(u, text);
    return put(to, text, ODTO_UUID_LEN);
}

static char *put_time(char *to, int64_t unix_ms)
{
    char text[25];
    odto_time_format(unix_ms, text);
    return put(to, text, 24);
}

/* Undoes a failed chain of appends: the buffer is as before, with the failure marked. */
static bool settle(odto_buf *out, size_t before)
{
    if (!out->failed)
        return true;
    out->n = before;
    if (out->p)
        out->p[before] = '\0';
    return false;
}

/* Everything of an envelope up to the producer. */
static void put_head(odto_buf *out, const odto_producer *by, odto_event_type type, const odto_uuid *event_id,
                     int64_t occurred_at_ms)
{
    if (!odto_buf_reserve(out, 256))
        return;
    char *to = out->p + out->n;
    const char *name = odto_event_type_name(type);
    to = PUT(to, "{\"contractVersion\":\"" CONTRACT_VERSION "\",\"eventType\":\"");
    to = put(to, name, strlen(name));
    to = PUT(to, "\",\"eventId\":\"");
    to = put_uuid(to, event_id);
    to = PUT(to, "\",\"occurredAt\":\"");
    to = put_time(to, occurred_at_ms);
    to = PUT(to, "\",\"producer\":{\"service\":");
    out->n = (size_t)(to - out->p);
    odto_buf_jsonz(out, by->service);
    odto_buf_put(out, ",\"instanceId\":", 14);
    odto_buf_jsonz(out, by->instance_id);
    odto_buf_put(out, ",\"version\":", 11);
    odto_buf_jsonz(out, by->version);
}

/* From the end of the producer to the beginning of the payload. */
static void put_links(odto_buf *out, const odto_uuid *correlation_id, odto_slice key_json,
                      odto_slice traceparent)
{
    if (!odto_buf_reserve(out, 160 + key_json.n))
        return;
    char *to = out->p + out->n;
    to = PUT(to, "},\"correlationId\":\"");
    to = put_uuid(to, correlation_id);
    to = PUT(to, "\",\"idempotencyKey\":");
    to = put(to, key_json.p, key_json.n);
    out->n = (size_t)(to - out->p);
    if (traceparent.n) {
        odto_buf_put(out, ",\"traceparent\":", 15);
        odto_buf_json(out, traceparent);
    }
    odto_buf_put(out, ",\"payload\":", 11);
}

bool odto_envelope_created(odto_buf *out, const odto_producer *by, const odto_uuid *event_id,
                           const odto_uuid *correlation_id, const odto_uuid *job_id, int64_t occurred_at_ms,
                           odto_slice traceparent, odto_slice job_json)
{
    size_t before = out->n;
    char key[ODTO_UUID_LEN + 3] = "\"";
    odto_uuid_format(job_id, key + 1);
    key[ODTO_UUID_LEN + 1] = '"';
    odto_buf_reserve(out, 512 + job_json.n);
    put_head(out, by, ODTO_JOB_CREATED, event_id, occurred_at_ms);
    put_links(out, correlation_id, odto_slice_of(key, ODTO_UUID_LEN + 2), traceparent);
    odto_buf_put(out, job_json.p, job_json.n);
    odto_buf_put(out, "}", 1);
    return settle(out, before);
}

bool odto_envelope_finished(odto_buf *out, const odto_producer *by, odto_event_type type,
                            const odto_uuid *event_id, int64_t occurred_at_ms, const odto_header *created)
{
    size_t before = out->n;
    const char *status = type == ODTO_JOB_COMPLETED ? "COMPLETED" : "FAILED";
    odto_buf_reserve(out, 640 + created->job_json.n);
    put_head(out, by, type, event_id, occurred_at_ms);
    put_links(out, &created->correlation_id, created->idempotency_key_json, created->traceparent);
    odto_job_with_status(out, created->job_json, status, occurred_at_ms);
    odto_buf_put(out, "}", 1);
    return settle(out, before);
}

static void put_status(odto_buf *out, const char *status)
{
    odto_buf_jsonz(out, status);
}

static void put_updated(odto_buf *out, int64_t updated_at_ms)
{
    char text[27] = "\"";
    odto_time_format(updated_at_ms, text + 1);
    text[25] = '"';
    odto_buf_put(out, text, 26);
}

bool odto_job_with_status(odto_buf *out, odto_slice job_json, const char *status, int64_t updated_at_ms)
{
    size_t before = out->n;
    walk_members w;
    odto_slice key, value;
    char buf[SCAN_SMALL];
    bool has_status = false, has_updated = false, empty = true;
    if (!walk_object(&w, job_json))
        return false;
    odto_buf_reserve(out, job_json.n + 96);
    const char *copied = job_json.p;
    for (; walk_next(&w, &key, &value); empty = false) {
        odto_slice name = walk_name(&w, key, buf);
        bool is_status = name.p && IS(name, "status"), is_updated = name.p && IS(name, "updatedAt");
        if (!is_status && !is_updated)
            continue;
        odto_buf_put(out, copied, (size_t)(value.p - copied));
        if (is_status)
            put_status(out, status);
        else
            put_updated(out, updated_at_ms);
        copied = value.p + value.n;
        has_status |= is_status;
        has_updated |= is_updated;
    }
    if (!w.p)
        out->failed = true; /* not an object after all */
    const char *end = job_json.p + job_json.n;
    while (end > copied && end[-1] != '}')
        end--;
    odto_buf_put(out, copied, (size_t)(end > copied ? end - copied - 1 : 0));
    if (!has_status) {
        odto_buf_str(out, empty ? "\"status\":" : ",\"status\":");
        put_status(out, status);
    }
    if (!has_updated) {
        odto_buf_str(out, ",\"updatedAt\":");
        put_updated(out, updated_at_ms);
    }
    odto_buf_put(out, "}", 1);
    return settle(out, before);
}

/* ---- dead letters -------------------------------------------------------------------------- */

/* Bytes that are not even text, in base64. */
static void put_base64(odto_buf *out, odto_slice bytes)
{
    odto_buf_put(out, "\"", 1);
    if (odto_buf_reserve(out, 4 * ((bytes.n + 2) / 3) + 1)) {
        odto_base64(bytes.p, bytes.n, out->p + out->n);
        out->n += 4 * ((bytes.n + 2) / 3);
    }
    odto_buf_put(out, "\"", 1);
}

/* The correlationId of an event that is JSON, but not a valid envelope. */
static bool correlation_of(odto_slice event, odto_uuid *out)
{
    walk_members w;
    odto_slice key, value;
    char buf[SCAN_SMALL];
    if (!walk_object(&w, event))
        return false;
    while (walk_next(&w, &key, &value)) {
        odto_slice name = walk_name(&w, key, buf);
        if (odto_slice_eq(name, "correlationId"))
            return read_uuid(value, out, 1) != 0;
    }
    return false;
}

bool odto_dead_letter(odto_buf *out, odto_slice original, const char *validation_error,
                      int64_t rejected_at_ms, const odto_uuid *correlation, const char *service,
                      const char *service_version)
{
    size_t before = out->n;
    char at[21], id[ODTO_UUID_LEN + 1];
    odto_uuid found;
    if (odto_json_check(original, LETTER_DEPTH, NULL) == 0) {
        if (!correlation && correlation_of(original, &found))
            correlation = &found;
        odto_buf_str(out, "{\"original_event\":");
        odto_buf_put(out, original.p, original.n);
    } else if (odto_utf8_valid(original)) {
        odto_buf_str(out, "{\"original_event\":");
        odto_buf_json(out, original);
    } else {
        odto_buf_str(out, "{\"original_event_base64\":");
        put_base64(out, original);
    }
    odto_time_format_sec(rejected_at_ms, at);
    if (correlation)
        odto_uuid_format(correlation, id);
    odto_buf_str(out, ",\"validation_error\":");
    odto_buf_jsonz(out, validation_error);
    odto_buf_printf(out, ",\"rejected_at\":\"%s\",\"correlation_id\":\"%s\",\"service\":", at,
                    correlation ? id : "unknown");
    odto_buf_jsonz(out, service);
    odto_buf_str(out, ",\"service_version\":");
    odto_buf_jsonz(out, service_version);
    odto_buf_put(out, "}", 1);
    return settle(out, before);
}
