/* read.c — the readers' side of the event log, on the caller's thread. */
#include "store_mongo.h"

#include "document.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define GAP_MS 3000 /* so long a missing position may still be under way */

typedef bool each_fn(void *arg, const bson_t *doc);

/* Documents to fn until it returns false. Takes filter and opts. A client whose connection broke while it was
 * idle is replaced once, as long as no document came. */
static int find_each(mg_store *s, const char *collection, bson_t *filter, bson_t *opts, each_fn *fn,
                     void *arg, odto_error *err)
{
    int code = 0;
    for (int attempt = 0; attempt < 2; attempt++) {
        mongoc_client_t *client = mg_reader_take(s, err);
        if (client == NULL) {
            code = err != NULL ? err->code : -EIO;
            break;
        }
        mongoc_collection_t *c = mongoc_client_get_collection(client, s->database, collection);
        mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(c, filter, opts, NULL);
        const bson_t *doc = NULL;
        bson_error_t e = {0};
        bool any = false;
        while (mongoc_cursor_next(cursor, &doc)) {
            any = true;
            if (!fn(arg, doc))
                break;
        }
        bool failed = mongoc_cursor_error(cursor, &e);
        mongoc_cursor_destroy(cursor);
        mongoc_collection_destroy(c);
        mg_reader_give(s, client, !failed);
        code = failed ? mg_fail(s, &e, err) : 0;
        if (!failed || any)
            break;
    }
    if (code == 0 && err != NULL)
        memset(err, 0, sizeof(*err));
    bson_destroy(filter);
    bson_destroy(opts);
    return code;
}

/* In place: a bson_t that has grown points into itself, so it can't be returned by value. */
static void sorted_by(bson_t *opts, const char *key, int direction, uint32_t limit)
{
    bson_t sort;
    bson_init(opts);
    bson_append_document_begin(opts, "sort", -1, &sort);
    bson_append_int32(&sort, key, -1, direction);
    bson_append_document_end(opts, &sort);
    bson_append_int64(opts, "limit", -1, limit);
}

/* ---- list, after ---- */

typedef struct rows {
    odto_event_row_fn *fn;
    void *arg;
    odto_buf text;
    uint64_t last;  /* seq of the last row given */
    bool positions; /* rows follow each other by seq */
    int64_t now_ms;
    bool no_memory;
} rows;

/* The row that follows seems to have been overtaken: give what is missing time to appear. */
static bool must_wait(const rows *r, const bson_t *doc, uint64_t seq)
{
    int64_t age = r->now_ms - document_int(doc, "storedAt");
    return seq > r->last + 1 && age > -GAP_MS && age < GAP_MS;
}

static bool give_row(void *arg, const bson_t *doc)
{
    rows *r = arg;
    odto_event_row row = {.seq = (uint64_t)document_int(doc, "seq")};
    if (r->positions && must_wait(r, doc, row.seq))
        return false;
    odto_buf_clear(&r->text);
    if (!document_envelope(doc, &r->text)) {
        r->no_memory = true;
        return false;
    }
    row.body = odto_slice_of(r->text.p, r->text.n);
    bool more = r->fn(r->arg, &row);
    /* a row that was not wanted after all is read again next time, by who asks */
    r->last = row.seq;
    return more;
}

static int rows_end(rows *r, int code, odto_error *err)
{
    odto_buf_free(&r->text);
    return code == 0 && r->no_memory ? odto_fail(err, -ENOMEM, "no memory for an event") : code;
}

int mg_list(void *store, const odto_uuid *job, uint32_t limit, odto_event_row_fn *fn, void *arg,
            odto_error *err)
{
    mg_store *s = store;
    rows r = {.fn = fn, .arg = arg};
    bson_t filter = BSON_INITIALIZER, opts;
    if (limit == 0)
        return 0;
    sorted_by(&opts, "occurredat", -1, limit);
    if (job != NULL) {
        char id[ODTO_UUID_LEN + 1];
        odto_uuid_format(job, id);
        bson_append_utf8(&filter, "payload.id", -1, id, ODTO_UUID_LEN);
    }
    return rows_end(&r, find_each(s, s->collection, &filter, &opts, give_row, &r, err), err);
}

static bool keep_seq(void *arg, const bson_t *doc)
{
    *(uint64_t *)arg = (uint64_t)document_int(doc, "seq");
    return false;
}

int mg_after(void *store, uint64_t after, uint32_t limit, odto_event_row_fn *fn, void *arg, uint64_t *last,
             odto_error *err)
{
    mg_store *s = store;
    bson_t filter = BSON_INITIALIZER, range;
    uint64_t newest = 0;
    bool position = after == UINT64_MAX;
    bson_append_document_begin(&filter, "seq", -1, &range);
    bson_append_int64(&range, "$gt", -1, position || after > INT64_MAX ? 0 : (int64_t)after);
    bson_append_document_end(&filter, &range);
    bson_t opts;
    sorted_by(&opts, "seq", position ? -1 : 1, position ? 1 : limit);
    if (position) {
        int code = find_each(s, s->collection, &filter, &opts, keep_seq, &newest, err);
        if (code == 0 && last != NULL)
            *last = newest;
        return code;
    }
    rows r = {
        .fn = fn, .arg = arg, .last = after, .positions = true, .now_ms = s->host->api->unix_ms(s->host)};
    int code = rows_end(&r, find_each(s, s->collection, &filter, &opts, give_row, &r, err), err);
    if (code == 0 && last != NULL)
        *last = r.last;
    return code;
}

/* ---- counting ---- */

static bool keep_time(void *arg, const bson_t *doc)
{
    int64_t ms = document_time(doc);
    if (ms != 0)
        odto_time_format(ms, ((odto_counters *)arg)->last_event_time);
    return false;
}

/* One group of the aggregation: {_id: type, n: count}. */
static void add_group(const bson_t *doc, odto_counters *out)
{
    int64_t n = document_int(doc, "n");
    bson_iter_t it;
    out->total += n;
    if (!bson_iter_init_find(&it, doc, "_id") || !BSON_ITER_HOLDS_UTF8(&it))
        return;
    const char *type = bson_iter_utf8(&it, NULL);
    if (strcmp(type, odto_event_type_name(ODTO_JOB_COMPLETED)) == 0)
        out->completed += n;
    else if (strcmp(type, odto_event_type_name(ODTO_JOB_FAILED)) == 0)
        out->failed += n;
}

static int count_groups(mg_store *s, odto_counters *out, odto_error *err)
{
    bson_t *pipeline = BCON_NEW("pipeline", "[", "{", "$group", "{", "_id", BCON_UTF8("$eventtype"), "n", "{",
                                "$sum", BCON_INT32(1), "}", "}", "}", "]");
    mongoc_client_t *client = mg_reader_take(s, err);
    if (client == NULL) {
        bson_destroy(pipeline);
        return err != NULL ? err->code : -EIO;
    }
    mongoc_collection_t *c = mongoc_client_get_collection(client, s->database, s->collection);
    mongoc_cursor_t *cursor = mongoc_collection_aggregate(c, MONGOC_QUERY_NONE, pipeline, NULL, NULL);
    const bson_t *doc = NULL;
    bson_error_t e = {0};
    while (mongoc_cursor_next(cursor, &doc))
        add_group(doc, out);
    bool failed = mongoc_cursor_error(cursor, &e);
    mongoc_cursor_destroy(cursor);
    mongoc_collection_destroy(c);
    mg_reader_give(s, client, !failed);
    bson_destroy(pipeline);
    return failed ? mg_fail(s, &e, err) : 0;
}

int mg_count(void *store, odto_counters *out, odto_error *err)
{
    mg_store *s = store;
    odto_counters c = {0};
    bson_t all = BSON_INITIALIZER, newest;
    sorted_by(&newest, "occurredat", -1, 1);
    int code = find_each(s, s->collection, &all, &newest, keep_time, &c, err); /* and a fresh connection */
    if (code == 0)
        code = count_groups(s, &c, err);
    if (code == 0)
        *out = c;
    return code;
}

typedef struct counting {
    odto_counted_fn *fn;
    void *arg;
} counting;

static bool give_counted(void *arg, const bson_t *doc)
{
    const counting *c = arg;
    odto_counted e = document_counted(doc);
    return c->fn(c->arg, &e);
}

int mg_scan(void *store, odto_counted_fn *fn, void *arg, odto_error *err)
{
    mg_store *s = store;
    counting c = {.fn = fn, .arg = arg};
    bson_t all = BSON_INITIALIZER, opts = BSON_INITIALIZER, fields;
    static const char *const wanted[] = {"eventid",   "eventId",    "eventtype",
                                         "eventType", "occurredat", "occurredAt"};
    bson_append_document_begin(&opts, "projection", -1, &fields);
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
        bson_append_int32(&fields, wanted[i], -1, 1);
    bson_append_document_end(&opts, &fields);
    return find_each(s, s->collection, &all, &opts, give_counted, &c, err);
}
