/* document.c — see document.h. */
#include "document.h"

#include <odto/json.h>
#include <errno.h>
#include <json-c/json.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_DEPTH    104 /* of an envelope, as gateway and metrics let through */
#define NESTED_MAX   90  /* a server refuses documents nested deeper than 100 */
#define DOCUMENT_MAX (16 * 1024 * 1024 - 64 * 1024)

/* ---- JSON to BSON ---- */

static bool put_value(bson_t *out, const char *key, int key_n, json_object *v, int depth);

/* Servers read a leading $ as an operator and a dot as a path: such names get the full-width form here; the
 * body has them as they were. */
static bool put_member(bson_t *out, const char *name, json_object *v, int depth)
{
    size_t n = strlen(name);
    if (name[0] != '$' && memchr(name, '.', n) == NULL)
        return put_value(out, name, (int)n, v, depth);
    odto_buf safe = {0};
    for (const char *p = name; *p != '\0'; p++) {
        if (*p == '.')
            odto_buf_str(&safe, "\xEF\xBC\x8E");
        else if (*p == '$' && p == name)
            odto_buf_str(&safe, "\xEF\xBC\x84");
        else
            odto_buf_put(&safe, p, 1);
    }
    bool ok = !safe.failed && put_value(out, safe.p, (int)safe.n, v, depth);
    odto_buf_free(&safe);
    return ok;
}

static bool put_object(bson_t *out, json_object *o, int depth)
{
    json_object_object_foreach(o, name, v) if (!put_member(out, name, v, depth)) return false;
    return true;
}

static bool put_array(bson_t *out, json_object *a, int depth)
{
    size_t n = json_object_array_length(a);
    for (size_t i = 0; i < n; i++) {
        char text[16];
        const char *key = NULL;
        size_t key_n = bson_uint32_to_string((uint32_t)i, &key, text, sizeof(text));
        if (!put_value(out, key, (int)key_n, json_object_array_get_idx(a, i), depth))
            return false;
    }
    return true;
}

static bool put_int(bson_t *out, const char *key, int key_n, json_object *v)
{
    int64_t i = json_object_get_int64(v);
    if (i == INT64_MAX && json_object_get_uint64(v) > (uint64_t)INT64_MAX)
        return bson_append_double(out, key, key_n, (double)json_object_get_uint64(v));
    return bson_append_int64(out, key, key_n, i);
}

static bool put_nested(bson_t *out, const char *key, int key_n, json_object *v, int depth)
{
    bson_t child;
    bool array = json_object_is_type(v, json_type_array);
    if (depth >= NESTED_MAX)
        return bson_append_null(out, key, key_n);
    bool ok = array ? bson_append_array_begin(out, key, key_n, &child)
                    : bson_append_document_begin(out, key, key_n, &child);
    if (!ok)
        return false;
    ok = array ? put_array(&child, v, depth + 1) : put_object(&child, v, depth + 1);
    return (array ? bson_append_array_end(out, &child) : bson_append_document_end(out, &child)) && ok;
}

static bool put_value(bson_t *out, const char *key, int key_n, json_object *v, int depth)
{
    switch (json_object_get_type(v)) {
    case json_type_boolean:
        return bson_append_bool(out, key, key_n, json_object_get_boolean(v));
    case json_type_int:
        return put_int(out, key, key_n, v);
    case json_type_double:
        return bson_append_double(out, key, key_n, json_object_get_double(v));
    case json_type_string:
        return bson_append_utf8(out, key, key_n, json_object_get_string(v), json_object_get_string_len(v));
    case json_type_object:
    case json_type_array:
        return put_nested(out, key, key_n, v, depth);
    case json_type_null:
        break;
    }
    return bson_append_null(out, key, key_n);
}

/* ---- an event ---- */

static bool put_uuid(bson_t *out, const char *key, const odto_uuid *id)
{
    char text[ODTO_UUID_LEN + 1];
    odto_uuid_format(id, text);
    return bson_append_utf8(out, key, -1, text, ODTO_UUID_LEN);
}

static bool one_of(const char *name, const char *const *names)
{
    while (*names != NULL && strcmp(*names, name) != 0)
        names++;
    return *names != NULL;
}

/* An object's members that are texts and named; what no server refuses. */
static bool put_texts(bson_t *out, const char *key, json_object *o, const char *const *names)
{
    bson_t child;
    bool ok = bson_append_document_begin(out, key, -1, &child);
    json_object_object_foreach(o, name,
                               v) if (ok && one_of(name, names) && json_object_is_type(v, json_type_string))
        ok = put_value(&child, name, -1, v, 1);
    return ok && bson_append_document_end(out, &child);
}

/* The job, its id in lower case so that it is found by it. */
static bool put_payload(bson_t *out, json_object *job, const odto_uuid *id)
{
    bson_t child;
    bool ok = bson_append_document_begin(out, "payload", -1, &child);
    json_object_object_foreach(job, name, v) if (ok) ok =
        strcmp(name, "id") == 0 ? put_uuid(&child, "id", id) : put_member(&child, name, v, 1);
    return ok && bson_append_document_end(out, &child);
}

static bool put_text(bson_t *out, const char *key, json_object *envelope, const char *name)
{
    json_object *v = NULL;
    if (!json_object_object_get_ex(envelope, name, &v) || !json_object_is_type(v, json_type_string))
        return true;
    return bson_append_utf8(out, key, -1, json_object_get_string(v), json_object_get_string_len(v));
}

static bool put_event(bson_t *out, json_object *envelope, const odto_header *h, bool plain)
{
    static const char *const of_producer[] = {"service", "instanceId", "version", NULL};
    static const char *const of_job[] = {"id", "type", "status", NULL};
    char at[25];
    json_object *producer = NULL, *job = NULL;
    odto_time_format(h->occurred_at_ms, at);
    bool ok = put_uuid(out, "eventid", &h->event_id) && put_text(out, "eventtype", envelope, "eventType") &&
              put_text(out, "contractversion", envelope, "contractVersion") &&
              bson_append_utf8(out, "occurredat", -1, at, 24) &&
              bson_append_date_time(out, "occurredAt", -1, h->occurred_at_ms) &&
              put_uuid(out, "correlationid", &h->correlation_id) &&
              put_text(out, "idempotencykey", envelope, "idempotencyKey") &&
              put_text(out, "traceparent", envelope, "traceparent");
    if (ok && json_object_object_get_ex(envelope, "producer", &producer))
        ok = plain && json_object_is_type(producer, json_type_object)
                 ? put_texts(out, "producer", producer, of_producer)
                 : put_value(out, "producer", -1, producer, 1);
    if (ok && json_object_object_get_ex(envelope, "payload", &job) &&
        json_object_is_type(job, json_type_object))
        ok = plain ? put_texts(out, "payload", job, of_job) : put_payload(out, job, &h->job_id);
    return ok;
}

/* Is it the same text but for the space between tokens? `tight` has none. */
static bool same_but_for_space(odto_slice text, odto_slice tight)
{
    size_t at = 0;
    bool quoted = false;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (!quoted && (c == ' ' || c == '\t' || c == '\n' || c == '\r'))
            continue;
        if (at == tight.n || tight.p[at++] != c)
            return false;
        if (c == '"')
            quoted = !quoted;
        else if (quoted && c == '\\' && ++i < text.n && (at == tight.n || tight.p[at++] != text.p[i]))
            return false;
    }
    return at == tight.n;
}

/* The text as it was produced, unless the members give it again. */
static bool put_body(bson_t *out, odto_slice body)
{
    odto_buf again = {0};
    bool ok = document_envelope(out, &again);
    bool same = ok && same_but_for_space(body, odto_slice_of(again.p, again.n));
    odto_buf_free(&again);
    return ok && (same || bson_append_utf8(out, "body", -1, body.p, (int)body.n));
}

int document_put(bson_t *out, odto_slice body, const odto_header *h, int64_t seq, int64_t stored_at_ms,
                 bool plain)
{
    json_object *envelope = NULL;
    if (body.n > DOCUMENT_MAX)
        return -E2BIG;
    int code = odto_json_parse(body, MAX_DEPTH, &envelope, NULL);
    if (code != 0)
        return code == -ENOMEM ? code : -EINVAL;
    /* a job too large to stand there twice is there as text alone */
    bool ok = put_event(out, envelope, h, plain || body.n >= DOCUMENT_MAX / 3) && put_body(out, body) &&
              bson_append_int64(out, "seq", -1, seq) &&
              bson_append_date_time(out, "storedAt", -1, stored_at_ms);
    json_object_put(envelope);
    if (ok && out->len > DOCUMENT_MAX)
        return -E2BIG;
    return ok ? 0 : -ENOMEM;
}

/* ---- BSON to JSON ---- */

static bool give_value(const bson_iter_t *it, odto_buf *out, int depth);

static bool give_nested(const bson_iter_t *it, odto_buf *out, int depth)
{
    bson_iter_t child;
    bool array = BSON_ITER_HOLDS_ARRAY(it);
    const char *between = "";
    odto_buf_str(out, array ? "[" : "{");
    if (depth < MAX_DEPTH && bson_iter_recurse(it, &child))
        while (bson_iter_next(&child)) {
            odto_buf_str(out, between);
            between = ",";
            if (!array) {
                odto_buf_jsonz(out, bson_iter_key(&child));
                odto_buf_str(out, ":");
            }
            give_value(&child, out, depth + 1);
        }
    return odto_buf_str(out, array ? "]" : "}");
}

/* With the fewest digits that give it again. */
static bool give_double(double d, odto_buf *out)
{
    char text[32];
    if (!isfinite(d))
        return odto_buf_str(out, "null");
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, d);
        if (strtod(text, NULL) == d)
            break;
    }
    return odto_buf_str(out, text);
}

static bool give_time(int64_t ms, odto_buf *out)
{
    char at[25];
    odto_time_format(ms, at);
    return odto_buf_jsonz(out, at);
}

static bool give_value(const bson_iter_t *it, odto_buf *out, int depth)
{
    char text[BSON_DECIMAL128_STRING];
    bson_decimal128_t decimal;
    uint32_t n = 0;
    switch (bson_iter_type(it)) {
    case BSON_TYPE_UTF8: {
        const char *s = bson_iter_utf8(it, &n);
        return odto_buf_json(out, odto_slice_of(s, n));
    }
    case BSON_TYPE_DOCUMENT:
    case BSON_TYPE_ARRAY:
        return give_nested(it, out, depth);
    case BSON_TYPE_BOOL:
        return odto_buf_str(out, bson_iter_bool(it) ? "true" : "false");
    case BSON_TYPE_INT32:
    case BSON_TYPE_INT64:
        return odto_buf_int(out, bson_iter_as_int64(it));
    case BSON_TYPE_DOUBLE:
        return give_double(bson_iter_double(it), out);
    case BSON_TYPE_DATE_TIME:
        return give_time(bson_iter_date_time(it), out);
    case BSON_TYPE_OID:
        bson_oid_to_string(bson_iter_oid(it), text);
        return odto_buf_jsonz(out, text);
    case BSON_TYPE_DECIMAL128:
        bson_iter_decimal128(it, &decimal);
        bson_decimal128_to_string(&decimal, text);
        return odto_buf_jsonz(out, text);
    default: /* nothing that a service of the contract writes */
        return odto_buf_str(out, "null");
    }
}

static bool find(const bson_t *doc, const char *key, bson_iter_t *it)
{
    return bson_iter_init_find_case(it, doc, key) && !BSON_ITER_HOLDS_NULL(it);
}

bool document_envelope(const bson_t *doc, odto_buf *out)
{
    static const char *const members[] = {"contractVersion", "eventType",   "eventId",
                                          "occurredAt",      "producer",    "correlationId",
                                          "idempotencyKey",  "traceparent", "payload"};
    bson_iter_t it;
    const char *between = "{";
    if (bson_iter_init_find(&it, doc, "body") && BSON_ITER_HOLDS_UTF8(&it)) {
        uint32_t n = 0;
        const char *body = bson_iter_utf8(&it, &n);
        return odto_buf_put(out, body, n);
    }
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
        if (!find(doc, members[i], &it))
            continue;
        odto_buf_printf(out, "%s\"%s\":", between, members[i]);
        between = ",";
        give_value(&it, out, 1);
    }
    return odto_buf_str(out, *between == '{' ? "{}" : "}");
}

int64_t document_time(const bson_t *doc)
{
    bson_iter_t it;
    int64_t ms = 0;
    if (!find(doc, "occurredat", &it))
        return 0;
    if (BSON_ITER_HOLDS_DATE_TIME(&it))
        return bson_iter_date_time(&it);
    if (BSON_ITER_HOLDS_UTF8(&it) && odto_time_parse(odto_slice_str(bson_iter_utf8(&it, NULL)), &ms) != 0)
        return 0;
    return ms;
}

int64_t document_int(const bson_t *doc, const char *key)
{
    bson_iter_t it;
    if (!bson_iter_init_find(&it, doc, key))
        return 0;
    return BSON_ITER_HOLDS_DATE_TIME(&it) ? bson_iter_date_time(&it) : bson_iter_as_int64(&it);
}

odto_counted document_counted(const bson_t *doc)
{
    odto_counted e = {.occurred_at = document_time(doc)};
    bson_iter_t it;
    if (!find(doc, "eventid", &it) || !BSON_ITER_HOLDS_UTF8(&it) ||
        odto_uuid_parse(odto_slice_str(bson_iter_utf8(&it, NULL)), &e.event_id) != 0)
        odto_uuid_v4(&e.event_id);
    if (find(doc, "eventtype", &it) && BSON_ITER_HOLDS_UTF8(&it)) {
        const char *type = bson_iter_utf8(&it, NULL);
        e.completed = strcmp(type, odto_event_type_name(ODTO_JOB_COMPLETED)) == 0;
        e.failed = strcmp(type, odto_event_type_name(ODTO_JOB_FAILED)) == 0;
    }
    return e;
}
