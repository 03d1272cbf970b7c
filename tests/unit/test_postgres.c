/* test_postgres.c — the postgres store against a real server: what every jobs store promises, and what only
 * one that is shared does. The server comes from tests/integration/postgres_store.py. */
#include "postgres_fixture.h"
#include "store_suite.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define T0 INT64_C(1700000000000)

static fixture f;

static void setup(void)
{
    fixture_make(&f);
    fixture_start(&f, NULL);
}

static void teardown(void)
{
    fixture_stop(&f);
    fixture_remove(&f);
}

static char *column_text(const char *sql)
{
    static char out[512];
    PGconn *c = fixture_connect(&f);
    PGresult *r = PQexec(c, sql);
    if (PQresultStatus(r) != PGRES_TUPLES_OK || PQntuples(r) == 0)
        ck_abort_msg("%s: %s", sql, PQerrorMessage(c));
    snprintf(out, sizeof(out), "%s", PQgetvalue(r, 0, 0));
    PQclear(r);
    PQfinish(c);
    return out;
}

/* ---- the contract's columns ---- */

START_TEST(others_read_what_the_contract_says)
{
    odto_job j = job_of("echo", INT64_C(1700000000123));
    uint64_t token = accept_leased(&f, &j, T0 + 200, T0 + 1000);
    ck_assert_str_eq(column_text("SELECT status FROM jobs"), "EXECUTING");
    ck_assert_str_eq(column_text("SELECT payload::text FROM jobs"), "{\"n\": 1}");
    ck_assert_str_eq(column_text("SELECT created_at::text FROM jobs"), "2023-11-14 22:13:20.123");
    ck_assert_int_eq(finish_job(&f, &j.id, token, ODTO_COMPLETED, T0 + 1500), 0);
    ck_assert_str_eq(column_text("SELECT status FROM jobs"), "COMPLETED");
    ck_assert_str_eq(column_text("SELECT updated_at::text FROM jobs"), "2023-11-14 22:13:21.5");
}
END_TEST

START_TEST(payload_that_jsonb_refuses)
{
    static const char text[] = "{\"a\":\"\\u0000\\ud800x\\ud83d\\ude00\\\\u0000\"}";
    odto_job j = job_of("echo", T0);
    j.job_json = j.payload = odto_slice_str(text);
    ck_assert_int_eq(accept_job(&f, &j, T0), 0); /* the job text keeps it as it is, others see a stand-in */
    ck_assert_str_eq(column_text("SELECT job_json FROM jobs"), text);
    ck_assert_str_eq(column_text("SELECT payload->>'a' FROM jobs"),
                     "\xef\xbf\xbd\xef\xbf\xbdx\xf0\x9f\x98\x80\\u0000");
    odto_job huge = job_of("echo", T0), good = job_of("echo", T0);
    huge.job_json = huge.payload = odto_slice_str("{\"n\":1e999999}");
    odto_jobs_op ops[2] = {{.kind = ODTO_JOBS_ACCEPT, .job = &huge, .now = T0},
                           {.kind = ODTO_JOBS_ACCEPT, .job = &good, .now = T0}};
    odto_jobs_batch b = {.ops = ops, .n = 2};
    ck_assert_int_eq(run_batch(&f, &b), 0); /* its neighbours are not harmed */
    IFACE->jobs->release(f.store, &b);
    ck_assert_int_eq(ops[0].result, -EINVAL);
    ck_assert_int_eq(ops[1].result, 0);
    ck_assert_int_eq(fixture_rows(&f, ODTO_PENDING), 2);
    ck_assert_int_eq(stats_of(&f).pending, 2);
}
END_TEST

START_TEST(bytes_that_are_no_text_are_kept_as_stand_ins)
{
    odto_job j = job_of("echo", T0);
    uint64_t token = accept_leased(&f, &j, T0, T0 + 1000);
    odto_jobs_op op = {.kind = ODTO_JOBS_FINISH,
                       .id = j.id,
                       .token = token,
                       .status = ODTO_COMPLETED,
                       .now = T0,
                       .output = odto_slice_of("a\0b\xff"
                                               "c",
                                               5)};
    ck_assert_int_eq(run_op(&f, &op), 0);
    ck_assert_str_eq(column_text("SELECT result FROM jobs"), "a\xef\xbf\xbd"
                                                             "b\xef\xbf\xbd"
                                                             "c");
}
END_TEST

START_TEST(a_type_too_long_for_an_index_is_refused)
{
    static char type[4000];
    memset(type, 'x', sizeof(type));
    odto_job j = job_of("echo", T0);
    j.type = odto_slice_of(type, sizeof(type));
    ck_assert_int_eq(accept_job(&f, &j, T0), -EINVAL);
}
END_TEST

/* ---- other services at the same table ---- */

START_TEST(rows_of_others_are_counted)
{
    fixture_sql(
        &f, "INSERT INTO jobs(id, type, status, payload, created_at) SELECT gen_random_uuid(), 'x', s, '{}', "
            "now() FROM unnest(ARRAY['PENDING', 'EXECUTING', 'COMPLETED', 'FAILED', 'FAILED']) s");
    odto_jobs_stats s = stats_of(&f);
    ck_assert_int_eq(s.pending, 1);
    ck_assert_int_eq(s.executing, 1);
    ck_assert_int_eq(s.completed, 1);
    ck_assert_int_eq(s.failed, 2);
    fixture_sql(&f, "UPDATE jobs SET status = 'COMPLETED' WHERE status = 'EXECUTING'");
    fixture_sql(&f, "DELETE FROM jobs WHERE status = 'FAILED'");
    s = stats_of(&f);
    ck_assert_int_eq(s.executing, 0);
    ck_assert_int_eq(s.completed, 2);
    ck_assert_int_eq(s.failed, 0);
    fixture_stop(&f);
    fixture_start(&f, NULL); /* folds */
    ck_assert_int_eq(stats_of(&f).completed, 2);
}
END_TEST

static bool keep_job(void *arg, const odto_job *j)
{
    *(odto_job *)arg = *j;
    return true;
}

START_TEST(a_message_takes_over_what_another_service_left)
{
    static const char *const left[] = {"PENDING", "VALIDATED", "EXECUTING", "COMPLETED", "FAILED"};
    for (int i = 0; i < 5; i++) {
        odto_job j = job_of("echo", T0), read = {0};
        char id[ODTO_UUID_LEN + 1], sql[256];
        odto_uuid_format(&j.id, id);
        snprintf(sql, sizeof(sql),
                 "INSERT INTO jobs(id, type, status, payload, created_at) VALUES('%s', 'echo', '%s', "
                 "'{\"old\":1}', "
                 "'2020-01-01')",
                 id, left[i]);
        fixture_sql(&f, sql);
        ck_assert_int_eq(IFACE->jobs->get(f.store, &j.id, keep_job, &read, NULL), 0);
        ck_assert_str_eq(odto_status_name(read.status), left[i]);
        if (i >= 3) { /* finished is finished */
            ck_assert_int_eq(accept_job(&f, &j, T0), -EEXIST);
            continue;
        }
        uint64_t token = accept_leased(&f, &j, T0, T0 + 1000);
        ck_assert_int_eq(accept_job(&f, &j, T0), -EEXIST);
        ck_assert_int_eq(finish_job(&f, &j.id, token, ODTO_COMPLETED, T0), 0);
    }
    odto_jobs_stats s = stats_of(&f);
    ck_assert_int_eq(s.pending, 0);
    ck_assert_int_eq(s.executing, 0);
    ck_assert_int_eq(s.completed, 4);
    ck_assert_int_eq(s.failed, 1);
}
END_TEST

/* ---- several hosts ---- */

static odto_jobs_batch claim(fixture *x, odto_jobs_op *op, const char *owner, uint32_t limit)
{
    static const odto_slice echo = {"echo", 4};
    *op = (odto_jobs_op){.kind = ODTO_JOBS_CLAIM,
                         .now = T0 + 10,
                         .lease_until = T0 + 1000,
                         .lease_owner = odto_slice_str(owner),
                         .types = &echo,
                         .n_types = 1,
                         .limit = limit};
    odto_jobs_batch b = {.ops = op, .n = 1};
    ck_assert_int_eq(run_batch(x, &b), 0);
    return b;
}

typedef struct contender {
    fixture x;
    char owner[16];
    int claimed, wrong;
    pthread_t id;
} contender;

static void *contend(void *arg)
{
    contender *c = arg;
    for (;;) {
        odto_jobs_op op;
        odto_jobs_batch b = claim(&c->x, &op, c->owner, 7);
        size_t n = op.n_claimed;
        for (size_t i = 0; i < n; i++)
            c->wrong +=
                finish_job(&c->x, &op.claimed[i].id, op.claimed[i].token, ODTO_COMPLETED, T0 + 20) != 0;
        c->claimed += (int)n;
        bool more = n > 0 || op.next_due != 0;
        IFACE->jobs->release(c->x.store, &b);
        if (!more)
            return NULL;
    }
}

START_TEST(hosts_that_compete_get_each_job_once)
{
    static contender c[3];
    enum { JOBS = 300 };
    for (int i = 0; i < JOBS; i++) {
        odto_job j = job_of("echo", T0);
        ck_assert_int_eq(accept_job(&f, &j, T0), 0);
    }
    for (int i = 0; i < 3; i++) {
        c[i].x = f;
        snprintf(c[i].owner, sizeof(c[i].owner), "host-%d", i);
        fixture_start(&c[i].x, NULL);
    }
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(pthread_create(&c[i].id, NULL, contend, &c[i]), 0);
    int all = 0;
    for (int i = 0; i < 3; i++) {
        pthread_join(c[i].id, NULL);
        ck_assert_int_eq(c[i].wrong, 0);
        all += c[i].claimed;
    }
    ck_assert_int_eq(all, JOBS);
    odto_jobs_stats s = stats_of(&f);
    ck_assert_int_eq(s.pending + s.executing, 0);
    ck_assert_int_eq(s.completed, JOBS);
    for (int i = 0; i < 3; i++)
        fixture_stop(&c[i].x);
}
END_TEST

START_TEST(outbox_of_a_host_is_left_to_it_for_a_while)
{
    odto_job j = job_of("echo", T0);
    uint64_t token = accept_leased(&f, &j, T0, T0 + 1000);
    odto_outgoing out = {.topic = odto_slice_str("t"), .body = odto_slice_str("{}")};
    odto_jobs_op op = {.kind = ODTO_JOBS_FINISH,
                       .id = j.id,
                       .token = token,
                       .status = ODTO_COMPLETED,
                       .now = T0,
                       .outgoing = &out,
                       .n_outgoing = 1};
    ck_assert_int_eq(run_op(&f, &op), 0);
    fixture other = f;
    snprintf(other.dir, sizeof(other.dir), "/tmp/other"); /* another data directory: another host */
    fixture_start(&other, NULL);
    odto_jobs_op take = {.kind = ODTO_JOBS_OUTBOX_TAKE, .limit = 10};
    odto_jobs_batch b = {.ops = &take, .n = 1};
    ck_assert_int_eq(run_batch(&other, &b), 0);
    ck_assert_uint_eq(take.n_taken, 0);
    IFACE->jobs->release(other.store, &b);
    fixture_sql(&f, "UPDATE odto_outbox SET held_until = 0"); /* its host has not come back */
    odto_jobs_op look = {.kind = ODTO_JOBS_OUTBOX_TAKE, .limit = 10, .lease_owner = odto_slice_str("me")};
    odto_jobs_batch own = {.ops = &look, .n = 1};
    ck_assert_int_eq(run_batch(&f, &own), 0);
    ck_assert_uint_eq(look.n_taken, 0); /* asked for those of others only */
    IFACE->jobs->release(f.store, &own);
    take = (odto_jobs_op){.kind = ODTO_JOBS_OUTBOX_TAKE, .limit = 10};
    b = (odto_jobs_batch){.ops = &take, .n = 1};
    ck_assert_int_eq(run_batch(&other, &b), 0);
    ck_assert_uint_eq(take.n_taken, 1);
    odto_jobs_op done = {.kind = ODTO_JOBS_OUTBOX_DONE, .seqs = &take.taken[0].seq, .n_seqs = 1};
    ck_assert_int_eq(run_op(&f, &done), 0); /* the first one comes late: it is no longer its */
    ck_assert_int_eq(stats_of(&f).outbox, 1);
    ck_assert_int_eq(run_op(&other, &done), 0);
    ck_assert_int_eq(stats_of(&f).outbox, 0);
    IFACE->jobs->release(other.store, &b);
    fixture_stop(&other);
}
END_TEST

START_TEST(finished_jobs_go_when_they_are_old)
{
    static const char *const settings[] = {"keep_jobs=1h", NULL};
    int64_t now = odto_unix_ms();
    for (int i = 0; i < 6; i++) {
        odto_job j = job_of("echo", now - 7200000);
        uint64_t token = accept_leased(&f, &j, now, now + 100000);
        if (i < 4)
            ck_assert_int_eq(finish_job(&f, &j.id, token, i % 2 ? ODTO_FAILED : ODTO_COMPLETED,
                                        i < 2 ? now - 3700000 : now),
                             0);
    }
    fixture_stop(&f);
    fixture_start(&f, settings);
    for (int i = 0; i < 1000 && fixture_sql(&f, "SELECT count(*) FROM jobs") > 4; i++) {
        odto_jobs_op none = {.kind = ODTO_JOBS_OUTBOX_DONE}; /* wakes the writer */
        run_op(&f, &none);
    }
    ck_assert_int_eq(fixture_sql(&f, "SELECT count(*) FROM jobs"), 4);
    odto_jobs_stats s = stats_of(&f);
    ck_assert_int_eq(s.completed, 1);
    ck_assert_int_eq(s.failed, 1);
    ck_assert_int_eq(s.executing, 2);
}
END_TEST

/* ---- plans ---- */

/* The plan that a session of the store makes for the statement before it sees values. */
static void check_plan(pg_sql which, const char *types, const char *values, const char *index,
                       const char *never)
{
    char *sql = NULL, plan[16384] = "";
    PGconn *c = fixture_connect(&f);
    PQclear(PQexec(
        c,
        "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; "
        "SET enable_bitmapscan = off; SET enable_material = off; SET plan_cache_mode = force_generic_plan"));
    ck_assert_int_ge(asprintf(&sql, "PREPARE q(%s) AS %s", types, pg_sql_text[which]), 0);
    PGresult *r = PQexec(c, sql);
    if (PQresultStatus(r) != PGRES_COMMAND_OK)
        ck_abort_msg("%s", PQerrorMessage(c));
    PQclear(r);
    free(sql);
    ck_assert_int_ge(asprintf(&sql, "EXPLAIN EXECUTE q(%s)", values), 0);
    r = PQexec(c, sql);
    if (PQresultStatus(r) != PGRES_TUPLES_OK)
        ck_abort_msg("%s", PQerrorMessage(c));
    for (int i = 0; i < PQntuples(r); i++) {
        strncat(plan, PQgetvalue(r, i, 0), sizeof(plan) - strlen(plan) - 2);
        strcat(plan, "\n");
    }
    PQclear(r);
    free(sql);
    PQfinish(c);
    if (strstr(plan, index) == NULL || (never != NULL && strstr(plan, never) != NULL))
        ck_abort_msg("plan of %s:\n%s", pg_sql_text[which], plan);
}

static void check_plans(void)
{
    check_plan(PG_CLAIM, "text[], int8, int8, int8, text, timestamp, int8",
               "ARRAY['echo'], 10, 0, 0, 'me', now()::timestamp, 1", "Index Scan using odto_jobs_ready",
               "Seq Scan on jobs");
    check_plan(PG_PROMOTE, "text[], int8", "ARRAY['echo'], 0", "odto_jobs_delayed", "Seq Scan on jobs");
    check_plan(PG_NEXT_DUE, "text[]", "ARRAY['echo']", "odto_jobs_delayed", "Seq Scan on jobs");
    check_plan(PG_EXTEND, "uuid[], int8[], int8[]", "'{}', '{}', '{}'", "jobs_pkey", "Seq Scan on jobs");
    check_plan(PG_RELEASE, "uuid[], int8[], int8[], int8[], timestamp[], int8",
               "'{}', '{}', '{}', '{}', '{}', 1", "jobs_pkey", "Seq Scan on jobs");
    check_plan(PG_REAP, "int8, int8, int8, int8, text, int8, timestamp, int8, int8",
               "1, 1, 1, 1, 'me', 1, now()::timestamp, 1, 1", "odto_jobs_lease", "Seq Scan on jobs");
}

START_TEST(statements_read_only_what_they_give)
{
    check_plans(); /* as they are planned while the table is empty and nothing is known of it */
    fixture_sql(
        &f,
        "INSERT INTO jobs(id, type, status, rank, run_at, seq, ready, created_at) SELECT gen_random_uuid(), "
        "'echo', 'PENDING', 0, 0, i, true, now() FROM generate_series(1, 30000) i");
    fixture_sql(&f, "ANALYZE jobs");
    check_plans();
}
END_TEST

START_TEST(a_claim_before_a_backlog_reads_as_much_as_before_none)
{
    fixture_sql(
        &f, "INSERT INTO jobs(id, type, status, rank, run_at, seq, ready, created_at, job_json, payload_at) "
            "SELECT gen_random_uuid(), 'echo', 'PENDING', i % 3, 0, i, true, now(), '{}', -1 "
            "FROM generate_series(1, 60000) i");
    fixture_sql(&f, "SELECT pg_stat_reset()");
    odto_jobs_op op;
    odto_jobs_batch b = claim(&f, &op, "host", 50);
    ck_assert_uint_eq(op.n_claimed, 50);
    IFACE->jobs->release(f.store, &b);
    fixture_stop(&f); /* the writer's session reports what it read */
    int64_t read = fixture_sql(&f, "SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = "
                                   "'odto_jobs_ready' AND schemaname = current_schema()");
    ck_assert_int_ge(read, 50);
    ck_assert_int_lt(read, 500);
    fixture_start(&f, NULL);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("postgres");
    TCase *c = tcase_create("shared");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_set_timeout(c, 60);
    tcase_add_test(c, others_read_what_the_contract_says);
    tcase_add_test(c, payload_that_jsonb_refuses);
    tcase_add_test(c, bytes_that_are_no_text_are_kept_as_stand_ins);
    tcase_add_test(c, a_type_too_long_for_an_index_is_refused);
    tcase_add_test(c, rows_of_others_are_counted);
    tcase_add_test(c, a_message_takes_over_what_another_service_left);
    tcase_add_test(c, hosts_that_compete_get_each_job_once);
    tcase_add_test(c, outbox_of_a_host_is_left_to_it_for_a_while);
    tcase_add_test(c, finished_jobs_go_when_they_are_old);
    tcase_add_test(c, statements_read_only_what_they_give);
    tcase_add_test(c, a_claim_before_a_backlog_reads_as_much_as_before_none);
    suite_add_tcase(s, store_suite_case());
    suite_add_tcase(s, c);
    return s;
}

int main(void)
{
    if (getenv("ODTO_TEST_POSTGRES") == NULL) {
        puts("ODTO_TEST_POSTGRES is not set: run tests/integration/postgres_store.py, which brings a server");
        return 77;
    }
    SRunner *r = srunner_create(suite());
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
