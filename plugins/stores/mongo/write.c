/* write.c — the writer's side of the event log.
 *
 * A group is one unordered bulk of inserts with the event id as _id, and as eventid under a unique index:
 * E11000 means that the event is there already, whoever wrote it, and it stays as it is. Where the unique
 * index can't be (a collection in which another service left events twice), upserts with $setOnInsert look
 * for eventid instead. (Upserts throughout would look for each event first: on FerretDB 37 events/s of
 * 2,000.)
 *
 * Positions (seq) come from one document that all hosts count up, a range for each group. A range is visible
 * when its group is written, so positions may appear out of order for a moment, and a range may stay empty
 * (a group that failed, events that were there): mg_after() knows. */
#include "store_mongo.h"

#include "document.h"

#include <errno.h>
#include <string.h>

#define CODE_DUPLICATE     11000
#define CODE_TOO_LARGE     10334
#define CODE_TOO_LARGE_TOO 17419
#define CODE_INVALID       121
#define CODE_BAD_VALUE     2
#define CODE_BAD_BSON      22
#define VALUE_REFUSED      1
#define UPKEEP_EVERY       (2 * ODTO_SEC)
#define RETAIN_EVERY       (60 * ODTO_SEC)

/* n positions; the first in *first. */
static bool reserve(mg_store *s, size_t n, int64_t *first, bson_error_t *e)
{
    bson_t query = BSON_INITIALIZER, update = BSON_INITIALIZER, inc, reply;
    bson_append_utf8(&query, "_id", -1, s->collection, -1);
    bson_append_document_begin(&update, "$inc", -1, &inc);
    bson_append_int64(&inc, "n", -1, (int64_t)n);
    bson_append_document_end(&update, &inc);
    mongoc_find_and_modify_opts_t *opts = mongoc_find_and_modify_opts_new();
    mongoc_find_and_modify_opts_set_update(opts, &update);
    mongoc_find_and_modify_opts_set_flags(opts,
                                          MONGOC_FIND_AND_MODIFY_UPSERT | MONGOC_FIND_AND_MODIFY_RETURN_NEW);
    bool ok = mongoc_collection_find_and_modify_with_opts(s->positions, &query, opts, &reply, e);
    bson_iter_t it, value;
    *first = 0;
    if (ok && bson_iter_init(&it, &reply) && bson_iter_find_descendant(&it, "value.n", &value))
        *first = bson_iter_as_int64(&value) - (int64_t)n + 1;
    bson_destroy(&reply);
    mongoc_find_and_modify_opts_destroy(opts);
    bson_destroy(&update);
    bson_destroy(&query);
    return ok;
}

static int bulk_insert(mongoc_bulk_operation_t *bulk, const char *id, odto_slice body, const odto_header *h,
                       int64_t seq, int64_t now, bool plain)
{
    bson_t doc = BSON_INITIALIZER;
    bson_error_t e;
    bson_append_utf8(&doc, "_id", -1, id, ODTO_UUID_LEN);
    int code = document_put(&doc, body, h, seq, now, plain);
    if (code == 0 && !mongoc_bulk_operation_insert_with_opts(bulk, &doc, NULL, &e))
        code = VALUE_REFUSED; /* by the driver: an empty name */
    bson_destroy(&doc);
    return code;
}

static int bulk_upsert(mongoc_bulk_operation_t *bulk, const char *id, odto_slice body, const odto_header *h,
                       int64_t seq, int64_t now, bool plain)
{
    bson_t selector = BSON_INITIALIZER, update = BSON_INITIALIZER, doc, opts = BSON_INITIALIZER;
    bson_error_t e;
    bson_append_utf8(&selector, "eventid", -1, id, ODTO_UUID_LEN);
    bson_append_document_begin(&update, "$setOnInsert", -1, &doc);
    bson_append_utf8(&doc, "_id", -1, id, ODTO_UUID_LEN);
    int code = document_put(&doc, body, h, seq, now, plain);
    bson_append_document_end(&update, &doc);
    bson_append_bool(&opts, "upsert", -1, true);
    if (code == 0 && !mongoc_bulk_operation_update_one_with_opts(bulk, &selector, &update, &opts, &e))
        code = VALUE_REFUSED;
    bson_destroy(&opts);
    bson_destroy(&update);
    bson_destroy(&selector);
    return code;
}

static int bulk_add(const mg_store *s, mongoc_bulk_operation_t *bulk, odto_slice body, const odto_header *h,
                    int64_t seq, int64_t now, bool plain)
{
    char id[ODTO_UUID_LEN + 1];
    odto_uuid_format(&h->event_id, id);
    return s->unique ? bulk_insert(bulk, id, body, h, seq, now, plain)
                     : bulk_upsert(bulk, id, body, h, seq, now, plain);
}

/* A value that this server can't keep (FerretDB: an array in an array). MongoDB says so of the one document,
 * FerretDB of the whole command; and either says it of commands that it does not like for other reasons. */
static bool value_refused(int64_t code)
{
    return code == CODE_BAD_VALUE || code == CODE_BAD_BSON;
}

/* The outcome of a bulk: 0 when every event is there now; VALUE_REFUSED. */
static int outcome(mg_store *s, const bson_t *reply, const bson_error_t *e, odto_error *err)
{
    bson_iter_t it, list, member;
    bool only_duplicates = false;
    if (e->domain == MONGOC_ERROR_SERVER && value_refused(e->code))
        return VALUE_REFUSED;
    if (bson_iter_init_find(&it, reply, "writeErrors") && bson_iter_recurse(&it, &list))
        while (bson_iter_next(&list)) {
            if (!bson_iter_recurse(&list, &member) || !bson_iter_find(&member, "code"))
                return mg_fail(s, e, err);
            int64_t code = bson_iter_as_int64(&member);
            if (code == CODE_TOO_LARGE || code == CODE_TOO_LARGE_TOO)
                return odto_fail(err, -E2BIG, "%s: an event is too large", s->what);
            if (value_refused(code))
                return VALUE_REFUSED;
            if (code == CODE_INVALID)
                return odto_fail(err, -EINVAL, "%s: its validator refuses an event", s->what);
            if (code != CODE_DUPLICATE)
                return mg_fail(s, e, err);
            only_duplicates = true;
        }
    bool concern = bson_iter_init_find(&it, reply, "writeConcernErrors") && bson_iter_recurse(&it, &list) &&
                   bson_iter_next(&list);
    return only_duplicates && !concern ? 0 : mg_fail(s, e, err);
}

static int write_all(mg_store *s, odto_write *group, int64_t seq, bool plain, bson_error_t *e,
                     odto_error *err)
{
    int64_t now = s->host->api->unix_ms(s->host);
    bson_t unordered = BSON_INITIALIZER, reply = BSON_INITIALIZER;
    bson_append_bool(&unordered, "ordered", -1, false);
    mongoc_bulk_operation_t *bulk = mongoc_collection_create_bulk_operation_with_opts(s->events, &unordered);
    bson_destroy(&unordered);
    int code = 0;
    for (const odto_write *w = group; w != NULL && code == 0; w = w->next)
        for (size_t i = 0; i < w->n && code == 0; i++)
            code = bulk_add(s, bulk, w->bodies[i], &w->headers[i], seq++, now, plain);
    if (code < 0) {
        odto_fail(err, code, "%s: an event can't be a document", s->what);
    } else if (code == 0) {
        bson_destroy(&reply);
        if (mongoc_bulk_operation_execute(bulk, &reply, e) == 0)
            code = outcome(s, &reply, e, err);
    }
    bson_destroy(&reply);
    mongoc_bulk_operation_destroy(bulk);
    return code;
}

/* An event with a value that the server can't keep is found by the callers, who halve what is refused; alone
 * it is written plainly. A server that does not take even that has another reason. */
int mg_queue_apply(void *store, odto_write *group, size_t n, odto_error *err)
{
    mg_store *s = store;
    bson_error_t e = {0};
    int64_t seq = 0;
    if (n == 0)
        return 0;
    if (!reserve(s, n, &seq, &e))
        return mg_fail(s, &e, err);
    int code = write_all(s, group, seq, false, &e, err);
    if (code == VALUE_REFUSED && n > 1)
        return odto_fail(err, -EINVAL, "%s refuses an event", s->what);
    if (code == VALUE_REFUSED)
        code = write_all(s, group, seq, true, &e, err);
    return code == VALUE_REFUSED ? mg_fail(s, &e, err) : code;
}

int mg_append(void *store, odto_write *w)
{
    mg_store *s = store;
    return write_queue_submit(&s->queue, w);
}

/* ---- upkeep ---- */

/* Documents whose `key` is before a time: as text, or as a date. Others': those without our occurredAt. */
static bool delete_before(mg_store *s, const char *key, int64_t before, bool text, bool others,
                          bson_error_t *e)
{
    char stamp[25];
    bson_t selector = BSON_INITIALIZER, range;
    odto_time_format(before, stamp);
    if (others)
        bson_append_null(&selector, "occurredAt", -1);
    bson_append_document_begin(&selector, key, -1, &range);
    if (text)
        bson_append_utf8(&range, "$lt", -1, stamp, -1);
    else
        bson_append_date_time(&range, "$lt", -1, before);
    bson_append_document_end(&selector, &range);
    bool ok = mongoc_collection_delete_many(s->events, &selector, NULL, NULL, e);
    bson_destroy(&selector);
    return ok;
}

/* Delete what is older than keep_events, whoever wrote it. */
static bool retain(mg_store *s, bson_error_t *e)
{
    int64_t before = s->host->api->unix_ms(s->host) - s->keep_ms;
    return delete_before(s, "occurredAt", before, false, false, e) &&
           delete_before(s, "occurredat", before, true, true, e) &&
           delete_before(s, "occurredat", before, false, true, e);
}

int mg_queue_upkeep(void *store, int64_t *next_ns, odto_error *err)
{
    mg_store *s = store;
    bson_error_t e = {0};
    bson_t ping = BSON_INITIALIZER;
    bson_append_int32(&ping, "ping", -1, 1);
    bool ok = mongoc_client_command_simple(s->writer, s->database, &ping, NULL, NULL, &e);
    bson_destroy(&ping);
    int64_t now = s->host->api->now(s->host);
    if (ok && s->keep_ms > 0 && now >= s->retain_at_ns) {
        ok = retain(s, &e);
        s->retain_at_ns = now + RETAIN_EVERY;
    }
    *next_ns = UPKEEP_EVERY;
    return ok ? 0 : mg_fail(s, &e, err);
}
