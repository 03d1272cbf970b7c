/* store_mongo_cases.c — the events role on a server of MongoDB's protocol (TEST_MONGO; one with faults in
 * front in TEST_MONGO_CUT). Each test has a database of its own. */
#include "../../plugins/stores/mongo/document.h"
#include "../../plugins/stores/mongo/store_mongo.h"
#include "store_util.h"

#include <odto/json.h>
#include <check.h>
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define T0 INT64_C(1700000000000)

static fixture f;
static char database[64];
static const char *settings[4];

static void setup(void)
{
    char id[ODTO_UUID_LEN + 1];
    odto_uuid u;
    odto_uuid_v7(&u);
    odto_uuid_format(&u, id);
    snprintf(database, sizeof(database), "database=t%.8s%.4s", id, id + 24);
    settings[0] = url_setting("TEST_MONGO");
    settings[1] = database;
    store_start(&f, settings);
}

static void teardown(void)
{
    if (f.host != NULL)
        store_stop(&f);
}

/* ---- a client behind the store's back ---- */

static mongoc_collection_t *raw_events(mongoc_client_t **client)
{
    mongoc_init();
    *client = mongoc_client_new(env_of("TEST_MONGO"));
    return mongoc_client_get_collection(*client, strchr(database, '=') + 1, "job_events");
}

static void raw_insert(const bson_t *doc)
{
    mongoc_client_t *client = NULL;
    bson_error_t e;
    mongoc_collection_t *c = raw_events(&client);
    if (!mongoc_collection_insert_one(c, doc, NULL, NULL, &e))
        ck_abort_msg("%s", e.message);
    mongoc_collection_destroy(c);
    mongoc_client_destroy(client);
}

/* The first document with this eventid, and how many there are. */
static bson_t *raw_find(const char *id, int *n)
{
    mongoc_client_t *client = NULL;
    mongoc_collection_t *c = raw_events(&client);
    bson_t *filter = BCON_NEW("eventid", BCON_UTF8(id)), *found = NULL;
    const bson_t *doc = NULL;
    mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(c, filter, NULL, NULL);
    for (*n = 0; mongoc_cursor_next(cursor, &doc); (*n)++)
        if (found == NULL)
            found = bson_copy(doc);
    mongoc_cursor_destroy(cursor);
    bson_destroy(filter);
    mongoc_collection_destroy(c);
    mongoc_client_destroy(client);
    return found;
}

/* ---- events ---- */

typedef struct event {
    odto_header header;
    char id[ODTO_UUID_LEN + 1], body[1024];
} event;

static event event_with(odto_event_type type, const odto_uuid *job, int64_t at, const char *payload)
{
    event e;
    odto_uuid id, job_id;
    char job_text[ODTO_UUID_LEN + 1], time[25];
    odto_uuid_v7(&id);
    odto_uuid_v7(&job_id);
    odto_uuid_format(&id, e.id);
    odto_uuid_format(job != NULL ? job : &job_id, job_text);
    odto_time_format(at, time);
    snprintf(e.body, sizeof(e.body),
             "{\"contractVersion\":\"1.0.0\",\"eventType\":\"%s\",\"eventId\":\"%s\",\"occurredAt\":\"%s\","
             "\"producer\":{"
             "\"service\":\"processor\",\"instanceId\":\"a\",\"version\":\"1\"},\"correlationId\":\"%s\","
             "\"idempotencyKey\":\"k\",\"extra\":[1,2.50],\"payload\":{\"id\":\"%s\",\"type\":\"echo\","
             "\"status\":\"COMPLETED\",\"createdAt\":\"%s\",\"payload\":%s}}",
             odto_event_type_name(type), e.id, time, e.id, job_text, time, payload);
    ck_assert_int_eq(odto_header_parse(odto_slice_str(e.body), &e.header), 0);
    return e;
}

static event event_of(odto_event_type type, const odto_uuid *job, int64_t at)
{
    return event_with(type, job, at, "{}");
}

static int append(const event *e, size_t n)
{
    odto_slice bodies[16];
    odto_header headers[16];
    for (size_t i = 0; i < n; i++) {
        bodies[i] = odto_slice_str(e[i].body);
        headers[i] = e[i].header;
    }
    odto_write w = {.bodies = bodies, .headers = headers, .n = n};
    return store_write(&f, IFACE->events->append, &w);
}

typedef struct rows {
    uint64_t seq[32];
    char body[32][1024];
    int n, stop_at;
} rows;

static bool keep(void *arg, const odto_event_row *row)
{
    rows *r = arg;
    r->seq[r->n] = row->seq;
    snprintf(r->body[r->n], 1024, "%.*s", (int)row->body.n, row->body.p);
    r->n++;
    return r->n != r->stop_at;
}

static rows list(const odto_uuid *job, uint32_t limit)
{
    rows r = {0};
    odto_error err = {0};
    if (IFACE->events->list(f.store, job, limit, keep, &r, &err) != 0)
        ck_abort_msg("%s: %s", err.message, err.detail);
    return r;
}

START_TEST(events_once_each_newest_first)
{
    odto_uuid job;
    odto_uuid_v7(&job);
    event e[4] = {event_of(ODTO_JOB_COMPLETED, &job, T0), event_of(ODTO_JOB_FAILED, NULL, T0 + 1),
                  event_of(ODTO_JOB_VALIDATED, &job, T0 + 2), event_of(ODTO_JOB_CREATED, NULL, T0 + 3)};
    ck_assert_int_eq(append(e, 3), 0);
    ck_assert_int_eq(append(e + 2, 2), 0); /* one of them again */
    rows r = list(NULL, 10);
    ck_assert_int_eq(r.n, 4);
    ck_assert_str_eq(r.body[0], e[3].body); /* byte for byte */
    ck_assert_str_eq(r.body[3], e[0].body);
    r = list(&job, 10);
    ck_assert_int_eq(r.n, 2);
    ck_assert_str_eq(r.body[0], e[2].body);
    ck_assert_int_eq(list(NULL, 2).n, 2);
    ck_assert_int_eq(list(NULL, 0).n, 0);
    r = (rows){.stop_at = 1};
    ck_assert_int_eq(IFACE->events->list(f.store, NULL, 10, keep, &r, NULL), 0);
    ck_assert_int_eq(r.n, 1);
}
END_TEST

START_TEST(events_after_a_position)
{
    event e[5];
    uint64_t last = 99;
    rows r = {0};
    for (int i = 0; i < 5; i++)
        e[i] = event_of(ODTO_JOB_COMPLETED, NULL, T0);
    ck_assert_int_eq(IFACE->events->after(f.store, UINT64_MAX, 10, keep, &r, &last, NULL), 0);
    ck_assert_uint_eq(last, 0);
    ck_assert_int_eq(append(e, 5), 0);
    ck_assert_int_eq(append(e, 5), 0); /* duplicates */
    ck_assert_int_eq(IFACE->events->after(f.store, UINT64_MAX, 10, keep, &r, &last, NULL), 0);
    ck_assert_int_eq(r.n, 0);
    ck_assert_uint_eq(last, 5);
    ck_assert_int_eq(IFACE->events->after(f.store, 0, 3, keep, &r, &last, NULL), 0);
    ck_assert_int_eq(r.n, 3);
    ck_assert_uint_eq(last, r.seq[2]);
    ck_assert_str_eq(r.body[0], e[0].body);
    r = (rows){0};
    ck_assert_int_eq(IFACE->events->after(f.store, last, 10, keep, &r, &last, NULL), 0);
    ck_assert_int_eq(r.n, 2);
    ck_assert_str_eq(r.body[1], e[4].body);
    ck_assert_int_eq(IFACE->events->after(f.store, last, 10, keep, &r, &last, NULL), 0);
    ck_assert_int_eq(r.n, 2);
    ck_assert_uint_eq(last, 5);
}
END_TEST

/* Positions that are not there yet may be under way: what follows them waits a while, then comes. */
START_TEST(positions_that_are_missing)
{
    event e[2] = {event_of(ODTO_JOB_COMPLETED, NULL, T0), event_of(ODTO_JOB_FAILED, NULL, T0)};
    uint64_t last = 0;
    rows r = {0};
    ck_assert_int_eq(append(e, 1), 0);
    ck_assert_int_eq(append(e, 1), 0); /* takes position 2 for nothing */
    ck_assert_int_eq(append(e + 1, 1), 0);
    ck_assert_int_eq(IFACE->events->after(f.store, 0, 10, keep, &r, &last, NULL), 0);
    ck_assert_int_eq(r.n, 1);
    ck_assert_uint_eq(last, 1);
    minihost_advance(f.host, 4000);
    ck_assert_int_eq(IFACE->events->after(f.store, last, 10, keep, &r, &last, NULL), 0);
    ck_assert_int_eq(r.n, 2);
    ck_assert_uint_eq(r.seq[1], 3);
}
END_TEST

static bool count_scanned(void *arg, const odto_counted *e)
{
    odto_counters *c = arg;
    c->total++;
    c->completed += e->completed;
    c->failed += e->failed;
    return true;
}

START_TEST(counting)
{
    event e[4] = {event_of(ODTO_JOB_COMPLETED, NULL, T0 + 5), event_of(ODTO_JOB_FAILED, NULL, T0 + 9),
                  event_of(ODTO_JOB_CREATED, NULL, T0), event_of(ODTO_JOB_COMPLETED, NULL, T0)};
    odto_counters c = {0}, scanned = {0};
    ck_assert_int_eq(IFACE->events->count(f.store, &c, NULL), 0);
    ck_assert_int_eq(c.total, 0);
    ck_assert_str_eq(c.last_event_time, "");
    ck_assert_int_eq(append(e, 4), 0);
    ck_assert_int_eq(append(e, 2), 0);
    ck_assert_int_eq(IFACE->events->count(f.store, &c, NULL), 0);
    ck_assert_int_eq(c.total, 4);
    ck_assert_int_eq(c.completed, 2);
    ck_assert_int_eq(c.failed, 1);
    ck_assert_str_eq(c.last_event_time, "2023-11-14T22:13:20.009Z");
    ck_assert_int_eq(IFACE->events->scan(f.store, count_scanned, &scanned, NULL), 0);
    ck_assert_int_eq(scanned.total, 4);
    ck_assert_int_eq(scanned.completed, 2);
    ck_assert_int_eq(scanned.failed, 1);
}
END_TEST

/* What a service that knows only the lower-cased keys finds. */
START_TEST(a_document_for_others)
{
    event e = event_with(ODTO_JOB_COMPLETED, NULL, T0,
                         "{\"$x.y\":1,\"n\":9007199254740993,\"big\":18446744073709551615,"
                         "\"a\":[true,null,1.5],\"s\":\"a\\u0000b\"}");
    int n = 0;
    ck_assert_int_eq(append(&e, 1), 0);
    bson_t *doc = raw_find(e.id, &n);
    ck_assert_int_eq(n, 1);
    bson_iter_t it, at;
    ck_assert(bson_iter_init_find(&it, doc, "eventtype"));
    ck_assert_str_eq(bson_iter_utf8(&it, NULL), "job.completed");
    ck_assert(bson_iter_init_find(&it, doc, "contractversion"));
    ck_assert(bson_iter_init_find(&it, doc, "correlationid"));
    ck_assert(bson_iter_init_find(&it, doc, "occurredat"));
    ck_assert_str_eq(bson_iter_utf8(&it, NULL), "2023-11-14T22:13:20.000Z");
    ck_assert(bson_iter_init_find(&it, doc, "occurredAt") && BSON_ITER_HOLDS_DATE_TIME(&it));
    ck_assert(bson_iter_date_time(&it) == T0);
    ck_assert(bson_iter_init(&it, doc) && bson_iter_find_descendant(&it, "payload.createdAt", &at));
    ck_assert(bson_iter_init(&it, doc) && bson_iter_find_descendant(&it, "payload.payload.n", &at));
    ck_assert(bson_iter_as_int64(&at) == INT64_C(9007199254740993));
    ck_assert(bson_iter_init(&it, doc) && bson_iter_find_descendant(&it, "producer.service", &at));
    bson_destroy(doc);
    ck_assert_str_eq(list(NULL, 1).body[0], e.body);
}
END_TEST

/* Documents of another service: lower-cased keys, no producer, dates in either form. */
START_TEST(documents_of_others)
{
    odto_uuid job;
    odto_uuid_v7(&job);
    char job_id[ODTO_UUID_LEN + 1];
    odto_uuid_format(&job, job_id);
    event mine = event_of(ODTO_JOB_COMPLETED, &job, T0 + 1000);
    bson_t *doc = BCON_NEW("contractversion", "1.0.0", "eventtype", "job.failed", "eventid",
                           "018bcfe5-6800-7000-8000-000000000001", "occurredat", "2023-11-14T22:13:20Z",
                           "correlationid", "018bcfe5-6800-7000-8000-000000000002", "payload", "{", "id",
                           BCON_UTF8(job_id), "n", BCON_INT64(7), "at", BCON_DATE_TIME(T0), "list", "[",
                           BCON_DOUBLE(1.5), BCON_BOOL(true), "]", "}");
    raw_insert(doc);
    bson_destroy(doc);
    ck_assert_int_eq(append(&mine, 1), 0);
    rows r = list(&job, 10);
    ck_assert_int_eq(r.n, 2);
    ck_assert_str_eq(r.body[0], mine.body);
    ck_assert_uint_eq(r.seq[1], 0);
    char want[1024];
    snprintf(want, sizeof(want),
             "{\"contractVersion\":\"1.0.0\",\"eventType\":\"job.failed\",\"eventId\":\"018bcfe5-6800-7000-"
             "8000-000000000001\","
             "\"occurredAt\":\"2023-11-14T22:13:20Z\",\"correlationId\":\"018bcfe5-6800-7000-8000-"
             "000000000002\",\"payload\":{"
             "\"id\":\"%s\",\"n\":7,\"at\":\"2023-11-14T22:13:20.000Z\",\"list\":[1.5,true]}}",
             job_id);
    ck_assert_str_eq(r.body[1], want);
    odto_counters c = {0}, scanned = {0};
    ck_assert_int_eq(IFACE->events->count(f.store, &c, NULL), 0);
    ck_assert_int_eq(IFACE->events->scan(f.store, count_scanned, &scanned, NULL), 0);
    ck_assert_int_eq(c.total, 2);
    ck_assert_int_eq(c.failed, 1);
    ck_assert_int_eq(scanned.failed, 1);
}
END_TEST

/* An event that another service has written is there already; one that it has written twice does not keep the
 * store from working. */
START_TEST(events_that_others_wrote)
{
    event e[2] = {event_of(ODTO_JOB_COMPLETED, NULL, T0), event_of(ODTO_JOB_COMPLETED, NULL, T0)};
    bson_t *doc = BCON_NEW("eventid", BCON_UTF8(e[0].id), "eventtype", "job.completed");
    int n = 0;
    raw_insert(doc);
    ck_assert_int_eq(append(e, 2), 0);
    bson_destroy(raw_find(e[0].id, &n));
    ck_assert_int_eq(n, 1);
    store_stop(&f);
    snprintf(database + strlen(database), 4, "x");
    raw_insert(doc);
    raw_insert(doc); /* no unique index is possible now */
    bson_destroy(doc);
    f.host = minihost_new(&odto_plugin_, "/nonexistent", settings);
    f.store = minihost_self(f.host);
    minihost_quiet(f.host, true);
    ck_assert_int_eq(minihost_start(f.host, NULL), 0);
    ck_assert(store_ready_within(&f, 10000));
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(append(e, 2), 0);
    bson_destroy(raw_find(e[0].id, &n));
    ck_assert_int_eq(n, 2);
    bson_destroy(raw_find(e[1].id, &n));
    ck_assert_int_eq(n, 1);
}
END_TEST

START_TEST(an_event_that_is_too_large)
{
    event small = event_of(ODTO_JOB_COMPLETED, NULL, T0);
    odto_buf big = {0};
    odto_buf_str(&big, small.body);
    big.n -= 3; /* "{}}" } */
    odto_buf_str(&big, "{\"s\":\"");
    size_t at = big.n, n = 17 << 20;
    ck_assert(odto_buf_reserve(&big, n + 8));
    memset(big.p + at, 'x', n);
    big.n += n;
    odto_buf_str(&big, "\"}}}");
    odto_slice bodies[2] = {odto_slice_str(small.body), odto_slice_of(big.p, big.n)};
    odto_header headers[2] = {small.header, small.header};
    odto_write w = {.bodies = bodies, .headers = headers, .n = 2};
    ck_assert_int_eq(store_write(&f, IFACE->events->append, &w), -E2BIG);
    ck_assert(minihost_health(f.host).ready);
    ck_assert_int_eq(append(&small, 1), 0);
    odto_buf_free(&big);
}
END_TEST

START_TEST(old_events_go)
{
    store_stop(&f);
    bson_t *text = BCON_NEW("eventtype", "job.completed", "eventid", "018bcfe5-6800-7000-8000-000000000001",
                            "occurredat", "2023-11-14T22:13:20Z");
    bson_t *date = BCON_NEW("eventtype", "job.completed", "eventid", "018bcfe5-6800-7000-8000-000000000002",
                            "occurredat", BCON_DATE_TIME(T0));
    raw_insert(text);
    raw_insert(date);
    bson_destroy(text);
    bson_destroy(date);
    settings[2] = "keep_events=1h";
    store_start(&f, settings);
    event e[2] = {event_of(ODTO_JOB_COMPLETED, NULL, odto_unix_ms() - 7200000),
                  event_of(ODTO_JOB_COMPLETED, NULL, odto_unix_ms())};
    ck_assert_int_eq(append(e, 2), 0);
    for (int i = 0; i < 2000 && list(NULL, 10).n != 1; i++)
        usleep(10000);
    ck_assert_int_eq(list(NULL, 10).n, 1);
    ck_assert_str_eq(list(NULL, 10).body[0], e[1].body);
}
END_TEST

/* The proxy cuts the first reply to a write: what was in doubt is written again, once. */
START_TEST(a_reply_that_is_cut)
{
    store_stop(&f);
    settings[0] = url_setting("TEST_MONGO_CUT");
    store_start(&f, settings);
    minihost_quiet(f.host, true);
    event e[3] = {event_of(ODTO_JOB_COMPLETED, NULL, T0), event_of(ODTO_JOB_COMPLETED, NULL, T0),
                  event_of(ODTO_JOB_COMPLETED, NULL, T0)};
    ck_assert_int_eq(append(e, 3), -EAGAIN);
    ck_assert(!minihost_health(f.host).ready);
    ck_assert(store_ready_within(&f, 10000));
    ck_assert_int_eq(append(e, 3), 0);
    ck_assert_int_eq(list(NULL, 10).n, 3);
}
END_TEST

START_TEST(nobody_there)
{
    store_stop(&f);
    settings[0] = "url=mongodb://me:s3cret@127.0.0.1:1";
    store_start_only(&f, settings);
    minihost_quiet(f.host, true);
    event e = event_of(ODTO_JOB_COMPLETED, NULL, T0);
    rows r = {0};
    odto_error err = {0};
    ck_assert_int_eq(append(&e, 1), -EAGAIN);
    ck_assert(!minihost_health(f.host).ready);
    ck_assert_ptr_nonnull(strstr(minihost_health(f.host).reason, "mongo at 127.0.0.1:1"));
    ck_assert_int_eq(IFACE->events->list(f.store, NULL, 10, keep, &r, &err), -EAGAIN);
    ck_assert_ptr_null(strstr(err.detail, "s3cret"));
    ck_assert_int_eq(odto_plugin_.ops->quiesce(f.store, odto_now_ns() + ODTO_SEC), 0);
}
END_TEST

START_TEST(address_wrong)
{
    static const char *const wrong[] = {"", "mongodb://", "http://h", "mongodb://me:s3cret@h:x",
                                        "mongodb://me:s3cret%zz@h/"};
    odto_error err = {0};
    char text[1400];
    ck_assert_ptr_null(mg_uri_new(wrong[_i], 1000, &err));
    odto_error_text(&err, text, sizeof(text));
    ck_assert_int_eq(err.code, -EINVAL);
    ck_assert_ptr_null(strstr(text, "s3cret"));
    ck_assert_ptr_nonnull(strstr(err.hint, "MONGO_URL"));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("mongo store");
    TCase *role = tcase_create("role"), *parse = tcase_create("address");
    tcase_add_checked_fixture(role, setup, teardown);
    tcase_set_timeout(role, 60);
    tcase_add_test(role, events_once_each_newest_first);
    tcase_add_test(role, events_after_a_position);
    tcase_add_test(role, positions_that_are_missing);
    tcase_add_test(role, counting);
    tcase_add_test(role, a_document_for_others);
    tcase_add_test(role, documents_of_others);
    tcase_add_test(role, events_that_others_wrote);
    tcase_add_test(role, an_event_that_is_too_large);
    tcase_add_test(role, old_events_go);
    tcase_add_test(role, a_reply_that_is_cut);
    tcase_add_test(role, nobody_there);
    tcase_add_loop_test(parse, address_wrong, 0, 5);
    suite_add_tcase(s, role);
    suite_add_tcase(s, parse);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
