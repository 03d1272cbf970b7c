/* test_sqlite.c — the jobs role of the sqlite store: what every store promises, and its plans. */
#include "sqlite_fixture.h"
#include "store_suite.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

/* ---- plans ---- */

static void check_plan(sq_sql which, const char *index, const char *never)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *st = NULL;
    char sql[2048], plan[2048] = "";
    ck_assert_int_eq(sqlite3_open(f.path, &db), SQLITE_OK);
    snprintf(sql, sizeof(sql), "EXPLAIN QUERY PLAN %s", sq_sql_text[which]);
    ck_assert_int_eq(sqlite3_prepare_v2(db, sql, -1, &st, NULL), SQLITE_OK);
    while (sqlite3_step(st) == SQLITE_ROW) {
        strncat(plan, (const char *)sqlite3_column_text(st, 3), sizeof(plan) - strlen(plan) - 2);
        strcat(plan, "\n");
    }
    sqlite3_finalize(st);
    sqlite3_close(db);
    if (strstr(plan, index) == NULL || (never != NULL && strstr(plan, never) != NULL))
        ck_abort_msg("plan of %s:\n%s", sq_sql_text[which], plan);
}

START_TEST(statements_read_only_what_they_give)
{
    check_plan(SQ_READY_HEAD, "USING COVERING INDEX pending_ready", "TEMP B-TREE");
    check_plan(SQ_READY_OLDEST, "USING COVERING INDEX pending_ready", "TEMP B-TREE");
    check_plan(SQ_DELAYED_DUE, "USING COVERING INDEX pending_delayed", "TEMP B-TREE");
    check_plan(SQ_DELAYED_NEXT, "USING COVERING INDEX pending_delayed", "TEMP B-TREE");
    check_plan(SQ_PENDING_TYPE_AFTER, "USING COVERING INDEX pending_ready", "TEMP B-TREE");
    check_plan(SQ_LIST_ANY, "USING INDEX job_created", "TEMP B-TREE");
    check_plan(SQ_LIST_FAILED, "USING INDEX done_failed", "TEMP B-TREE");
    /* only what is given is sorted: nothing comes between the search and the reading of what it found */
    check_plan(SQ_EVENTS_OF_JOB, "USING INDEX event_job_id (job_id=?)\nSCAN (subquery-1)\n", NULL);
    check_plan(SQ_EVENTS_ALL, "SCAN event\nSCAN (subquery-1)\n", NULL);
    check_plan(SQ_OUTBOX_TAKE, "SCAN outbox", "TEMP B-TREE"); /* in the order of its key */
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("sqlite");
    TCase *c = tcase_create("plans");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, statements_read_only_what_they_give);
    suite_add_tcase(s, store_suite_case());
    suite_add_tcase(s, c);
    return s;
}

int main(void)
{
    SRunner *r = srunner_create(suite());
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
