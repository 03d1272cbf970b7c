/* test_sqlite_log.c — the sqlite store's events and counters, retention, the queue, and what start() refuses.
 */
#include "sqlite_fixture.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define T0 INT64_C(1700000000000)

static fixture f;

static void setup(void)
{
    fixture_make(&f);
    fixture_start(&f, NULL);
}

static void setup_stopped(void)
{
    fixture_make(&f);
}

static void teardown(void)
{
    if (f.host != NULL)
        fixture_stop(&f);
    fixture_remove(&f);
}

/* ---- events ---- */

typedef struct event {
    odto_header header;
    char body[64];
} event;

static event event_of(odto_event_type type, const odto_uuid *job, int64_t at)
{
    static int n;
    event e = {.header = {.type = type, .occurred_at_ms = at}};
    odto_uuid_v7(&e.header.event_id);
    if (job != NULL)
        e.header.job_id = *job;
    else
        odto_uuid_v7(&e.header.job_id);
    snprintf(e.body, sizeof(e.body), "{\"n\":%d}", n++);
    return e;
}

static int append(int (*submit)(void *store, odto_write *w), const event *e, size_t n)
{
    odto_slice bodies[16];
    odto_header headers[16];
    for (size_t i = 0; i < n; i++) {
        bodies[i] = odto_slice_str(e[i].body);
        headers[i] = e[i].header;
    }
    odto_write w = {.bodies = bodies, .headers = headers, .n = n};
    return run_write(&f, submit, &w);
}

typedef struct rows {
    uint64_t seq[32];
    char body[32][64];
    int n, stop_at;
} rows;

static bool keep(void *arg, const odto_event_row *row)
{
    rows *r = arg;
    r->seq[r->n] = row->seq;
    snprintf(r->body[r->n], 64, "%.*s", (int)row->body.n, row->body.p);
    r->n++;
    return r->n != r->stop_at;
}

START_TEST(events_once_each_newest_first)
{
    odto_uuid job;
    odto_uuid_v7(&job);
    event e[4] = {event_of(ODTO_JOB_COMPLETED, &job, T0), event_of(ODTO_JOB_FAILED, NULL, T0),
                  event_of(ODTO_JOB_OTHER, &job, T0), event_of(ODTO_JOB_CREATED, NULL, T0)};
    ck_assert_int_eq(append(IFACE->events->append, e, 3), 0);
    ck_assert_int_eq(append(IFACE->events->append, e + 2, 2), 0); /* one of them again */
    rows r = {0};
    ck_assert_int_eq(IFACE->events->list(f.store, NULL, 10, keep, &r, NULL), 0);
    ck_assert_int_eq(r.n, 4);
    ck_assert_str_eq(r.body[0], e[3].body);
    ck_assert_str_eq(r.body[3], e[0].body);
    r = (rows){0};
    ck_assert_int_eq(IFACE->events->list(f.store, &job, 10, keep, &r, NULL), 0);
    ck_assert_int_eq(r.n, 2);
    ck_assert_str_eq(r.body[0], e[2].body);
    r = (rows){.stop_at = 1};
    ck_assert_int_eq(IFACE->events->list(f.store, NULL, 10, keep, &r, NULL), 0);
    ck_assert_int_eq(r.n, 1);
    r = (rows){0};
    ck_assert_int_eq(IFACE->events->list(f.store, NULL, 2, keep, &r, NULL), 0);
    ck_assert_int_eq(r.n, 2);
    odto_counters c;
    ck_assert_int_eq(IFACE->counters->read(f.store, &c, NULL), 0);
    ck_assert_int_eq(c.total, 0); /* append alone counts nothing */
}
END_TEST

START_TEST(events_in_the_order_they_occurred)
{
    event e[3] = {event_of(ODTO_JOB_COMPLETED, NULL, T0), event_of(ODTO_JOB_COMPLETED, NULL, T0 + 7),
                  event_of(ODTO_JOB_COMPLETED, NULL, T0 + 4)}; /* a slower producer's came last */
    ck_assert_int_eq(append(IFACE->events->append, e, 3), 0);
    rows r = {0};
    ck_assert_int_eq(IFACE->events->list(f.store, NULL, 10, keep, &r, NULL), 0);
    ck_assert_int_eq(r.n, 3);
    ck_assert_str_eq(r.body[0], e[1].body);
    ck_assert_str_eq(r.body[1], e[2].body);
    ck_assert_str_eq(r.body[2], e[0].body);
}
END_TEST

START_TEST(events_after_a_position)
{
    event e[5];
    for (int i = 0; i < 5; i++)
        e[i] = event_of(ODTO_JOB_COMPLETED, NULL, T0);
    uint64_t last = 99;
    rows r = {0};
    ck_assert_int_eq(IFACE->events->after(f.store, UINT64_MAX, 10, keep, &r, &last, NULL), 0);
    ck_assert_uint_eq(last, 0);
    ck_assert_int_eq(append(IFACE->events->append, e, 5), 0);
    ck_assert_int_eq(append(IFACE->events->append, e, 5), 0); /* duplicates take no numbers */
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

START_TEST(counted_once_however_often_delivered)
{
    event e[3] = {event_of(ODTO_JOB_COMPLETED, NULL, T0 + 5), event_of(ODTO_JOB_FAILED, NULL, T0 + 9),
                  event_of(ODTO_JOB_OTHER, NULL, T0)};
    odto_counters c, counted;
    ck_assert_int_eq(IFACE->counters->read(f.store, &c, NULL), 0);
    ck_assert_str_eq(c.last_event_time, "");
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(append(IFACE->events->append_counted, e, 3), 0);
    for (int round = 0; round < 2; round++) {
        ck_assert_int_eq(IFACE->counters->read(f.store, &c, NULL), 0);
        ck_assert_int_eq(c.total, 3);
        ck_assert_int_eq(c.completed, 1);
        ck_assert_int_eq(c.failed, 1);
        ck_assert_str_eq(c.last_event_time, "2023-11-14T22:13:20.009Z");
        ck_assert_int_eq(IFACE->events->count(f.store, &counted, NULL), 0);
        ck_assert_int_eq(memcmp(&c, &counted, sizeof(c)), 0);
        fixture_stop(&f);
        fixture_start(&f, NULL);
    }
}
END_TEST

START_TEST(add_counts_by_event_id_and_set_forgets)
{
    odto_counted in[3] = {
        {.completed = true, .occurred_at = T0}, {.failed = true, .occurred_at = T0 + 1}, {.occurred_at = 0}};
    for (int i = 0; i < 3; i++)
        odto_uuid_v7(&in[i].event_id);
    odto_write w = {.counted = in, .n = 3};
    odto_counters c = {0};
    ck_assert_int_eq(run_write(&f, IFACE->counters->add, &w), 0);
    w = (odto_write){.counted = in, .n = 2};
    ck_assert_int_eq(run_write(&f, IFACE->counters->add, &w), 0);
    ck_assert_int_eq(IFACE->counters->read(f.store, &c, NULL), 0);
    ck_assert_int_eq(c.total, 3);
    ck_assert_int_eq(c.completed, 1);
    ck_assert_int_eq(c.failed, 1);
    odto_counters want = {
        .total = 70, .completed = 60, .failed = 5, .last_event_time = "2024-01-02T03:04:05.678Z"};
    ck_assert_int_eq(IFACE->counters->set(f.store, &want, NULL), 0);
    ck_assert_int_eq(IFACE->counters->read(f.store, &c, NULL), 0);
    ck_assert_int_eq(memcmp(&c, &want, sizeof(c)), 0);
    w = (odto_write){.counted = in, .n = 1};
    ck_assert_int_eq(run_write(&f, IFACE->counters->add, &w), 0);
    ck_assert_int_eq(IFACE->counters->read(f.store, &c, NULL), 0);
    ck_assert_int_eq(c.total, 71);
    snprintf(want.last_event_time, sizeof(want.last_event_time), "yesterday");
    odto_error err = {0};
    ck_assert_int_eq(IFACE->counters->set(f.store, &want, &err), -EINVAL);
}
END_TEST

/* ---- retention ---- */

static void wait_for(const char *sql, int64_t want)
{
    for (int i = 0; i < 1000 && fixture_sql(&f, sql) != want; i++)
        usleep(10000);
    ck_assert_int_eq(fixture_sql(&f, sql), want);
}

START_TEST(old_jobs_and_events_go)
{
    const char *settings[] = {"keep_jobs=1h", "keep_events=2h", NULL};
    int64_t now = odto_unix_ms();
    fixture_start(&f, settings);
    odto_job waiting = job_of("echo", now);
    waiting.run_at = now + 1000000000;
    accept_job(&f, &waiting, now);
    for (int i = 0; i < 700; i++) {
        odto_job j = job_of("echo", now);
        uint64_t token = accept_leased(&f, &j, now, now + 1000);
        finish_job(&f, &j.id, token, i % 7 == 0 ? ODTO_FAILED : ODTO_COMPLETED, now);
        event e = event_of(ODTO_JOB_COMPLETED, NULL, now);
        append(IFACE->events->append_counted, &e, 1);
    }
    odto_counted counted = {.occurred_at = now};
    odto_write w = {.counted = &counted, .n = 1};
    run_write(&f, IFACE->counters->add, &w);
    minihost_advance(f.host, 3600000 + 61000); /* jobs are old, events not yet */
    accept_job(&f, &waiting, now);             /* wakes the writer: its timer runs by the real clock */
    wait_for("SELECT count(*) FROM done", 0);
    ck_assert_int_eq(fixture_sql(&f, "SELECT count(*) FROM job"), 1);
    ck_assert_int_eq(fixture_sql(&f, "SELECT count(*) FROM event"), 700);
    minihost_advance(f.host, 3600000);
    accept_job(&f, &waiting, now);
    wait_for("SELECT count(*) FROM event", 0);
    wait_for("SELECT count(*) FROM counted", 0);
    fixture_stop(&f); /* whatever was under way has ended */
    fixture_start(&f, settings);
    odto_jobs_stats s = stats_of(&f);
    ck_assert_int_eq(s.completed, 0);
    ck_assert_int_eq(s.failed, 0);
    ck_assert_int_eq(s.pending, 1);
    odto_counters c;
    IFACE->counters->read(f.store, &c, NULL);
    ck_assert_int_eq(c.total, 701); /* what was counted stays counted */
    uint64_t last = 0;
    rows r = {0};
    event e = event_of(ODTO_JOB_COMPLETED, NULL, odto_unix_ms());
    append(IFACE->events->append_counted, &e, 1);
    IFACE->events->after(f.store, UINT64_MAX, 1, keep, &r, &last, NULL);
    ck_assert_uint_eq(last, 701); /* positions go on where they were */
}
END_TEST

/* ---- the queue ---- */

typedef struct gate {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    int landed, order[8];
    bool open;
    odto_jobs_batch batch[8];
} gate;

/* Holds the writer in the callback of the first batch until the gate opens. */
static void at_gate(odto_jobs_batch *b, int result)
{
    gate *g = b->arg;
    ck_assert_int_eq(result, 0);
    pthread_mutex_lock(&g->lock);
    g->order[g->landed++] = (int)(b - g->batch);
    pthread_cond_broadcast(&g->cond);
    while (!g->open)
        pthread_cond_wait(&g->cond, &g->lock);
    pthread_mutex_unlock(&g->lock);
}

START_TEST(full_queue_refuses_and_order_is_kept)
{
    const char *settings[] = {"max_queue=3", NULL};
    fixture_start(&f, settings);
    gate g = {.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
    odto_jobs_op ops[8] = {0};
    for (int i = 0; i < 8; i++) {
        ops[i] = (odto_jobs_op){.kind = ODTO_JOBS_OUTBOX_TAKE, .limit = 1};
        g.batch[i] = (odto_jobs_batch){.ops = &ops[i], .n = 1, .done = at_gate, .arg = &g};
    }
    ck_assert_int_eq(IFACE->jobs->submit(f.store, &g.batch[0]), 0);
    pthread_mutex_lock(&g.lock);
    while (g.landed == 0)
        pthread_cond_wait(&g.cond, &g.lock);
    pthread_mutex_unlock(&g.lock);
    for (int i = 1; i < 4; i++)
        ck_assert_int_eq(IFACE->jobs->submit(f.store, &g.batch[i]), 0);
    ck_assert_int_eq(IFACE->jobs->submit(f.store, &g.batch[4]), -EAGAIN);
    pthread_mutex_lock(&g.lock);
    g.open = true;
    pthread_cond_broadcast(&g.cond);
    while (g.landed < 4)
        pthread_cond_wait(&g.cond, &g.lock);
    pthread_mutex_unlock(&g.lock);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(g.order[i], i);
    ck_assert_int_eq(odto_plugin_.ops->quiesce(f.store, odto_now_ns() + 5 * ODTO_SEC), 0);
}
END_TEST

START_TEST(stop_finishes_what_was_submitted)
{
    gate g = {.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER, .open = true};
    odto_job jobs[8];
    odto_jobs_op ops[8];
    for (int i = 0; i < 8; i++) {
        jobs[i] = job_of("echo", T0);
        ops[i] = (odto_jobs_op){.kind = ODTO_JOBS_ACCEPT, .job = &jobs[i], .now = T0};
        g.batch[i] = (odto_jobs_batch){.ops = &ops[i], .n = 1, .done = at_gate, .arg = &g};
        ck_assert_int_eq(IFACE->jobs->submit(f.store, &g.batch[i]), 0);
    }
    minihost_stop(f.host);
    ck_assert_int_eq(g.landed, 8);
    ck_assert_int_eq(IFACE->jobs->submit(f.store, &g.batch[0]), -ECANCELED);
    odto_health h = minihost_health(f.host);
    ck_assert(!h.ready);
    ck_assert_int_eq(access(f.path, F_OK), 0);
    char wal[160];
    snprintf(wal, sizeof(wal), "%s-wal", f.path);
    ck_assert_int_ne(access(wal, F_OK), 0); /* one file is left */
    odto_error err = {0};
    ck_assert_int_eq(minihost_start(f.host, &err), 0); /* and it can start again */
    ck_assert_int_eq(stats_of(&f).pending, 8);
}
END_TEST

START_TEST(commit_window_gathers)
{
    const char *settings[] = {"commit_window=100ms", NULL};
    fixture_start(&f, settings);
    gate g = {.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER, .open = true};
    odto_jobs_op ops[8] = {0};
    for (int i = 0; i < 8; i++) {
        ops[i] = (odto_jobs_op){.kind = ODTO_JOBS_OUTBOX_TAKE, .limit = 1};
        g.batch[i] = (odto_jobs_batch){.ops = &ops[i], .n = 1, .done = at_gate, .arg = &g};
        ck_assert_int_eq(IFACE->jobs->submit(f.store, &g.batch[i]), 0);
    }
    pthread_mutex_lock(&g.lock);
    while (g.landed < 8)
        pthread_cond_wait(&g.cond, &g.lock);
    pthread_mutex_unlock(&g.lock);
    const odto_metric *m = minihost_metric(f.host, "odto_store_batch_jobs");
    uint64_t commits = 0;
    for (size_t i = 0; i <= m->n_bounds; i++)
        commits += m->buckets[i];
    ck_assert_uint_eq(commits, 1);
}
END_TEST

/* ---- what start() refuses ---- */

static void refused(int code, const char *message, const char *hint)
{
    odto_error err = {0};
    minihost *m = minihost_new(&odto_plugin_, f.dir, NULL);
    int got = minihost_start(m, &err);
    minihost_free(m);
    ck_assert_int_eq(got, code);
    ck_assert_int_eq(err.code, code);
    if (strstr(err.message, message) == NULL || strstr(err.hint, hint) == NULL || err.detail[0] == '\0')
        ck_abort_msg("message \"%s\" detail \"%s\" hint \"%s\"", err.message, err.detail, err.hint);
    if (strstr(err.message, f.dir) == NULL)
        ck_abort_msg("does not name the file: %s", err.message);
}

static void write_file(const char *text, size_t n)
{
    FILE *out = fopen(f.path, "we");
    ck_assert_ptr_nonnull(out);
    ck_assert_uint_eq(fwrite(text, 1, n, out), n);
    fclose(out);
}

START_TEST(newer_schema_is_refused)
{
    fixture_start(&f, NULL);
    fixture_stop(&f);
    fixture_sql(&f, "PRAGMA user_version = 99");
    refused(-EPROTO, "newer odto", "install");
}
END_TEST

START_TEST(database_of_another_program_is_refused)
{
    fixture_sql(&f, "CREATE TABLE theirs(x)");
    refused(-EINVAL, "another program", "path");
    ck_assert_int_eq(fixture_sql(&f, "SELECT count(*) FROM sqlite_schema"), 1); /* untouched */
}
END_TEST

START_TEST(file_that_is_no_database_is_refused)
{
    char text[8192];
    memset(text, 'x', sizeof(text));
    write_file(text, sizeof(text));
    refused(-EIO, "can't be", "damaged");
}
END_TEST

START_TEST(damaged_database_is_refused)
{
    fixture_start(&f, NULL);
    fixture_stop(&f);
    int fd = open(f.path, O_RDWR | O_CLOEXEC);
    char junk[4096];
    memset(junk, 0x5a, sizeof(junk));
    ck_assert_int_eq(pwrite(fd, junk, 3900, 100), 3900); /* the page of the schema */
    close(fd);
    refused(-EIO, "can't be", "damaged");
}
END_TEST

START_TEST(second_store_on_the_same_file_is_refused)
{
    fixture_start(&f, NULL);
    refused(-EBUSY, "in use by another process", "stop that process");
    odto_job j = job_of("echo", T0);
    ck_assert_int_eq(accept_job(&f, &j, T0), 0); /* the first is unharmed */
}
END_TEST

START_TEST(foreign_write_lock_is_refused)
{
    fixture_start(&f, NULL);
    fixture_stop(&f);
    sqlite3 *db = NULL;
    ck_assert_int_eq(sqlite3_open(f.path, &db), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    refused(-EAGAIN, f.path, "another process");
    sqlite3_close(db);
    fixture_start(&f, NULL);
}
END_TEST

/* In a child that is not root. */
static void refused_as_nobody(int code, const char *message, const char *hint)
{
    if (geteuid() == 0)
        ck_assert_int_eq(seteuid(65534), 0);
    refused(code, message, hint);
    if (getuid() == 0)
        ck_assert_int_eq(seteuid(0), 0);
}

START_TEST(folder_without_rights_is_refused)
{
    ck_assert_int_eq(chmod(f.dir, 0555), 0);
    refused_as_nobody(-EACCES, "no right to write in the folder", "user");
    ck_assert_int_eq(chmod(f.dir, 0700), 0);
}
END_TEST

START_TEST(read_only_file_is_refused)
{
    fixture_start(&f, NULL);
    fixture_stop(&f);
    char lock[160];
    snprintf(lock, sizeof(lock), "%s.lock", f.path);
    unlink(lock);
    ck_assert_int_eq(chmod(f.dir, 0777), 0);
    ck_assert_int_eq(chmod(f.path, 0444), 0);
    refused_as_nobody(-EACCES, "no right to write the database", "user");
}
END_TEST

START_TEST(missing_folder_is_refused)
{
    char dir[128];
    snprintf(dir, sizeof(dir), "%s/no/such", f.dir);
    minihost *m = minihost_new(&odto_plugin_, dir, NULL);
    odto_error err = {0};
    ck_assert_int_eq(minihost_start(m, &err), -ENOENT);
    ck_assert_ptr_nonnull(strstr(err.hint, "path"));
    minihost_free(m);
}
END_TEST

START_TEST(network_file_systems_are_known)
{
    ck_assert_str_eq(sq_network_fs(0x6969), "NFS");
    ck_assert_str_eq(sq_network_fs((long)0xff534d42), "CIFS");
    ck_assert_str_eq(sq_network_fs((long)(int)0xff534d42), "CIFS"); /* as a signed 32-bit f_type */
    ck_assert_ptr_null(sq_network_fs(0xef53));                      /* ext4 */
    ck_assert_ptr_null(sq_network_fs(0x01021994));                  /* tmpfs */
    ck_assert_ptr_null(sq_network_fs(0x58465342));                  /* XFS */
}
END_TEST

START_TEST(database_is_private_and_marked)
{
    struct stat st;
    fixture_start(&f, NULL);
    ck_assert_int_eq(stat(f.path, &st), 0);
    ck_assert_int_eq(st.st_mode & 0777, 0600);
    ck_assert_int_eq(fixture_sql(&f, "PRAGMA application_id"), SQ_APPLICATION_ID);
    ck_assert_int_eq(fixture_sql(&f, "PRAGMA user_version"), SQ_SCHEMA_VERSION);
    odto_job j = job_of("echo", T0);
    accept_job(&f, &j, T0);
    ck_assert_int_eq(fixture_sql(&f, "SELECT count(*) FROM jobs WHERE status = 'PENDING'"), 1);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("sqlite_log");
    TCase *c = tcase_create("log");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_set_timeout(c, 60);
    tcase_add_test(c, events_once_each_newest_first);
    tcase_add_test(c, events_in_the_order_they_occurred);
    tcase_add_test(c, events_after_a_position);
    tcase_add_test(c, counted_once_however_often_delivered);
    tcase_add_test(c, add_counts_by_event_id_and_set_forgets);
    tcase_add_test(c, stop_finishes_what_was_submitted);
    suite_add_tcase(s, c);
    c = tcase_create("start");
    tcase_add_checked_fixture(c, setup_stopped, teardown);
    tcase_set_timeout(c, 60);
    tcase_add_test(c, old_jobs_and_events_go);
    tcase_add_test(c, full_queue_refuses_and_order_is_kept);
    tcase_add_test(c, commit_window_gathers);
    tcase_add_test(c, newer_schema_is_refused);
    tcase_add_test(c, database_of_another_program_is_refused);
    tcase_add_test(c, file_that_is_no_database_is_refused);
    tcase_add_test(c, damaged_database_is_refused);
    tcase_add_test(c, second_store_on_the_same_file_is_refused);
    tcase_add_test(c, foreign_write_lock_is_refused);
    tcase_add_test(c, folder_without_rights_is_refused);
    tcase_add_test(c, read_only_file_is_refused);
    tcase_add_test(c, missing_folder_is_refused);
    tcase_add_test(c, network_file_systems_are_known);
    tcase_add_test(c, database_is_private_and_marked);
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
