/* test_sqlite_faults.c — the sqlite store when disks, memory and processes fail, and when many threads use
 * it.
 *
 * What was confirmed must be there, what was refused must not be there by half, statistics equal the rows. */
#include "faulty_vfs.h"
#include "sqlite_fixture.h"

#include <check.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#define T0 INT64_C(1700000000000)

static fixture f;

static void start_faulty(void)
{
    odto_error err = {0};
    char text[1400];
    faulty_register();
    f.host = minihost_new(&odto_plugin_, f.dir, NULL);
    f.store = minihost_self(f.host);
    ((sq_store *)f.store)->opt.vfs = "faulty";
    minihost_quiet(f.host, true);
    if (minihost_start(f.host, &err) != 0)
        ck_abort_msg("%s", odto_error_text(&err, text, sizeof(text)));
}

static void setup(void)
{
    fixture_make(&f);
}

static void teardown(void)
{
    faulty_set(FAULTY_NONE, 0, 0);
    if (f.host != NULL)
        fixture_stop(&f);
    fixture_remove(&f);
}

static void wait_ready(void)
{
    for (int i = 0; i < 1500 && !minihost_health(f.host).ready; i++)
        usleep(10000);
    ck_assert(minihost_health(f.host).ready);
}

/* stats() and the rows say the same, and the file is sound. */
static void check_sound(void)
{
    odto_jobs_stats s = stats_of(&f);
    ck_assert_int_eq(fixture_sql(&f, "SELECT count(*) FROM pending"), s.pending);
    ck_assert_int_eq(fixture_sql(&f, "SELECT count(*) FROM lease"), s.executing);
    ck_assert_int_eq(fixture_sql(&f, "SELECT count(*) FROM done WHERE status = 3"), s.completed);
    ck_assert_int_eq(fixture_sql(&f, "SELECT count(*) FROM done WHERE status = 4"), s.failed);
    ck_assert_int_eq(fixture_sql(&f, "SELECT count(*) FROM outbox"), s.outbox);
    ck_assert_int_eq(fixture_sql(&f, "SELECT count(*) FROM job"),
                     s.pending + s.executing + s.completed + s.failed);
    ck_assert_int_eq(
        fixture_sql(&f, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check = 'ok'"), 1);
    odto_counters c;
    IFACE->counters->read(f.store, &c, NULL);
    ck_assert_int_eq(fixture_sql(&f, "SELECT count(*) FROM event"), c.total);
}

/* ---- a disk that fails ---- */

static void fail_and_recover(faulty_what what, int code, const char *reason)
{
    start_faulty();
    odto_job a = job_of("echo", T0), b = job_of("echo", T0), c = job_of("echo", T0);
    ck_assert_int_eq(accept_job(&f, &a, T0), 0);
    unsigned changes = minihost_health_changes(f.host);
    faulty_set(what, 0, -1);
    ck_assert_int_eq(accept_job(&f, &b, T0), code);
    ck_assert_int_eq(accept_job(&f, &b, T0), code);
    odto_health h = minihost_health(f.host);
    ck_assert(!h.ready);
    if (strstr(h.reason, reason) == NULL)
        ck_abort_msg("reason: %s", h.reason);
    ck_assert_uint_eq(minihost_health_changes(f.host), changes + 1);
    ck_assert_int_eq(status_of(&f, &a.id), ODTO_PENDING); /* reading goes on */
    ck_assert_int_eq(status_of(&f, &b.id), (odto_status)-1);
    ck_assert_int_eq(stats_of(&f).pending, 1);
    faulty_set(FAULTY_NONE, 0, 0);
    wait_ready(); /* by itself */
    ck_assert_uint_eq(minihost_health_changes(f.host), changes + 2);
    ck_assert_int_eq(accept_job(&f, &c, T0), 0);
    ck_assert_int_eq(status_of(&f, &b.id), (odto_status)-1);
    check_sound();
    ck_assert_int_gt(minihost_metric(f.host, "odto_store_failures_total")->value, 0);
}

START_TEST(full_disk_is_said_and_got_over)
{
    fail_and_recover(FAULTY_WRITE_FULL, -ENOSPC, "disk full");
}
END_TEST

START_TEST(write_error_is_said_and_got_over)
{
    fail_and_recover(FAULTY_WRITE_EIO, -EIO, "can't write");
}
END_TEST

START_TEST(failed_fsync_is_said_and_got_over)
{
    fail_and_recover(FAULTY_SYNC_EIO, -EIO, "can't write");
}
END_TEST

/* A tmpfs of one megabyte really runs full. */
START_TEST(really_full_disk)
{
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tmpfs", f.dir, "tmpfs", 0, "size=3m") != 0)
        return; /* not allowed here; the shim has shown the same */
    fixture_start(&f, NULL);
    minihost_quiet(f.host, true);
    char ballast[160];
    snprintf(ballast, sizeof(ballast), "%s/ballast", f.dir);
    int code = 0, accepted = 0;
    while (code == 0 && accepted < 100000) {
        odto_job j = job_of("echo", T0);
        code = accept_job(&f, &j, T0);
        accepted += code == 0;
    }
    ck_assert_int_eq(code, -ENOSPC);
    ck_assert_int_eq(stats_of(&f).pending, accepted);
    ck_assert(!minihost_health(f.host).ready);
    ck_assert_int_eq(mount("tmpfs", f.dir, "tmpfs", MS_REMOUNT, "size=30m"), 0);
    wait_ready();
    odto_job j = job_of("echo", T0);
    ck_assert_int_eq(accept_job(&f, &j, T0), 0);
    check_sound();
    fixture_stop(&f);
    umount(f.dir);
}
END_TEST

/* ---- every operation failing in turn ---- */

#define STEPS 12

/* One job a step: accepted leased, finished with an event, event appended. How far each came. */
static void workload(odto_job *jobs, int *confirmed)
{
    for (int i = 0; i < STEPS; i++) {
        odto_jobs_op op = {.kind = ODTO_JOBS_ACCEPT,
                           .job = &jobs[i],
                           .now = T0,
                           .lease_until = T0 + 1000,
                           .lease_owner = odto_slice_str("host")};
        confirmed[i] = 0;
        if (run_op(&f, &op) != 0)
            continue;
        confirmed[i] = 1;
        if (finish_job(&f, &jobs[i].id, op.token_out, ODTO_COMPLETED, T0) != 0)
            continue;
        confirmed[i] = 2;
        odto_slice body = odto_slice_str("{}");
        odto_header header = {.type = ODTO_JOB_COMPLETED, .event_id = jobs[i].event_id, .job_id = jobs[i].id};
        odto_write w = {.bodies = &body, .headers = &header, .n = 1};
        if (run_write(&f, IFACE->events->append_counted, &w) == 0)
            confirmed[i] = 3;
    }
}

static bool count_event(void *arg, const odto_event_row *row)
{
    (void)row;
    ++*(int *)arg;
    return true;
}

static void check_workload(const odto_job *jobs, const int *confirmed)
{
    for (int i = 0; i < STEPS; i++) {
        odto_status s = status_of(&f, &jobs[i].id);
        int events = 0;
        IFACE->events->list(f.store, &jobs[i].id, 10, count_event, &events, NULL);
        if (confirmed[i] >= 1)
            ck_assert(s == ODTO_EXECUTING || s == ODTO_COMPLETED);
        if (confirmed[i] >= 2)
            ck_assert_int_eq(s, ODTO_COMPLETED);
        if (confirmed[i] == 3)
            ck_assert_int_eq(events, 1);
    }
}

static void sweep(faulty_what what, int first, int step, int last)
{
    odto_job jobs[STEPS];
    int confirmed[STEPS];
    for (int n = first; n <= last; n += step) {
        fixture_make(&f);
        start_faulty();
        for (int i = 0; i < STEPS; i++)
            jobs[i] = job_of("echo", T0);
        faulty_set(what, n, 1);
        workload(jobs, confirmed);
        faulty_set(FAULTY_NONE, 0, 0);
        check_workload(jobs, confirmed);
        fixture_stop(&f);
        fixture_start(&f, NULL);
        check_workload(jobs, confirmed);
        check_sound();
        fixture_stop(&f);
        fixture_remove(&f);
    }
    fixture_make(&f);
}

START_TEST(each_write_or_sync_failing_in_turn)
{
    fixture_remove(&f);
    sweep(FAULTY_ANY, 0, 5, 200);
}
END_TEST

START_TEST(each_read_failing_in_turn)
{
    fixture_remove(&f);
    sweep(FAULTY_READ_EIO, 0, 2, 20);
}
END_TEST

/* ---- memory that fails ---- */

static sqlite3_mem_methods real_mem;
static long fail_alloc_in; /* atomic; < 0: never */

static bool alloc_fails(void)
{
    return __atomic_load_n(&fail_alloc_in, __ATOMIC_SEQ_CST) >= 0 &&
           __atomic_fetch_sub(&fail_alloc_in, 1, __ATOMIC_SEQ_CST) == 0;
}

static void *mem_alloc(int n)
{
    return alloc_fails() ? NULL : real_mem.xMalloc(n);
}

static void *mem_realloc(void *p, int n)
{
    return alloc_fails() ? NULL : real_mem.xRealloc(p, n);
}

START_TEST(each_allocation_failing_in_turn)
{
    const char *settings[] = {"sync=off", NULL};
    odto_job jobs[STEPS];
    int confirmed[STEPS];
    __atomic_store_n(&fail_alloc_in, -1, __ATOMIC_SEQ_CST);
    ck_assert_int_eq(sqlite3_config(SQLITE_CONFIG_GETMALLOC, &real_mem), SQLITE_OK);
    sqlite3_mem_methods mem = real_mem;
    mem.xMalloc = mem_alloc;
    mem.xRealloc = mem_realloc;
    ck_assert_int_eq(sqlite3_config(SQLITE_CONFIG_MALLOC, &mem), SQLITE_OK);
    fixture_start(&f, settings);
    minihost_quiet(f.host, true);
    for (long n = 0; n < 300; n += 2) {
        for (int i = 0; i < STEPS; i++)
            jobs[i] = job_of("echo", T0);
        __atomic_store_n(&fail_alloc_in, n, __ATOMIC_SEQ_CST);
        workload(jobs, confirmed);
        __atomic_store_n(&fail_alloc_in, -1, __ATOMIC_SEQ_CST);
        check_workload(jobs, confirmed);
    }
    check_sound();
}
END_TEST

/* ---- a batch that is to blame ---- */

typedef struct gate {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    int landed, result[3];
    bool open;
    odto_jobs_batch batch[3];
} gate;

static void at_gate(odto_jobs_batch *b, int result)
{
    gate *g = b->arg;
    pthread_mutex_lock(&g->lock);
    g->result[b - g->batch] = result;
    g->landed++;
    pthread_cond_broadcast(&g->cond);
    while (!g->open)
        pthread_cond_wait(&g->cond, &g->lock);
    pthread_mutex_unlock(&g->lock);
}

START_TEST(one_bad_batch_does_not_take_the_others_along)
{
    fixture_start(&f, NULL);
    gate g = {.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
    odto_job jobs[3] = {job_of("echo", T0), job_of("echo", T0), job_of("echo", T0)};
    odto_jobs_op ops[3];
    char *big = calloc(1, 200000);
    memset(big, 'x', 200000);
    jobs[1].job_json = odto_slice_of(big, 200000);
    for (int i = 0; i < 3; i++) {
        ops[i] = (odto_jobs_op){.kind = ODTO_JOBS_ACCEPT, .job = &jobs[i], .now = T0};
        g.batch[i] = (odto_jobs_batch){.ops = &ops[i], .n = 1, .done = at_gate, .arg = &g};
    }
    odto_jobs_op none = {.kind = ODTO_JOBS_OUTBOX_TAKE};
    ck_assert_int_eq(run_op(&f, &none), 0);
    sqlite3_limit(((sq_store *)f.store)->w.db, SQLITE_LIMIT_LENGTH, 100000); /* the writer sleeps */
    ck_assert_int_eq(IFACE->jobs->submit(f.store, &g.batch[0]), 0);
    pthread_mutex_lock(&g.lock);
    while (g.landed < 1)
        pthread_cond_wait(&g.cond, &g.lock);
    pthread_mutex_unlock(&g.lock);
    ck_assert_int_eq(IFACE->jobs->submit(f.store, &g.batch[1]), 0); /* these two in one group */
    ck_assert_int_eq(IFACE->jobs->submit(f.store, &g.batch[2]), 0);
    pthread_mutex_lock(&g.lock);
    g.open = true;
    pthread_cond_broadcast(&g.cond);
    while (g.landed < 3)
        pthread_cond_wait(&g.cond, &g.lock);
    pthread_mutex_unlock(&g.lock);
    ck_assert_int_eq(g.result[0], 0);
    ck_assert_int_eq(g.result[1], -E2BIG);
    ck_assert_int_eq(g.result[2], 0);
    ck_assert(minihost_health(f.host).ready);
    ck_assert_int_eq(stats_of(&f).pending, 2);
    free(big);
}
END_TEST

/* ---- the log stays bounded ---- */

START_TEST(log_is_moved_into_the_database)
{
    const char *settings[] = {"wal_limit=1m", "sync=off", NULL};
    fixture_start(&f, settings);
    char body[4000];
    memset(body, 'x', sizeof(body));
    for (int i = 0; i < 4000; i++) {
        odto_job j = job_of("echo", T0);
        j.job_json = odto_slice_of(body, sizeof(body));
        ck_assert_int_eq(accept_job(&f, &j, T0), 0);
    }
    char name[160];
    snprintf(name, sizeof(name), "%s-wal", f.path);
    FILE *wal = fopen(name, "re");
    ck_assert_ptr_nonnull(wal);
    fseek(wal, 0, SEEK_END);
    ck_assert_int_lt(ftell(wal), 12 << 20); /* of the 50 MB that were written */
    fclose(wal);
    check_sound();
}
END_TEST

/* ---- kill -9 ---- */

#define SLOTS 6000

enum { ACCEPTED = 1, FINISHED = 2, DONE_SENT = 4, DONE = 8, APPENDED = 16 };

typedef struct slot { /* of a job; written by the child as its batches are confirmed */
    odto_uuid id, event_id;
    int state; /* atomic */
} slot;

typedef struct load {
    slot *slots;
    odto_job job;
    odto_jobs_op op;
    odto_outgoing out;
    odto_jobs_batch batch;
    odto_write write;
    odto_slice body;
    odto_header header;
    uint64_t seq;
    int i, left;
} load;

static int next_slot; /* atomic, the child's */

static void mark(load *l, int state)
{
    __atomic_fetch_or(&l->slots[l->i].state, state, __ATOMIC_SEQ_CST);
}

static void begin(load *l);

static void appended(odto_write *w, int result)
{
    load *l = w->arg;
    if (result == 0)
        mark(l, APPENDED);
    if (--l->left == 0)
        begin(l);
}

static void send(load *l, odto_jobs_op op)
{
    l->op = op;
    l->batch.n = 1;
    l->batch.ops = &l->op;
    l->batch.arg = l;
    IFACE->jobs->submit(f.store, &l->batch);
}

static void confirmed(odto_jobs_batch *b, int result)
{
    load *l = b->arg;
    odto_jobs_op_kind kind = l->op.kind;
    uint64_t token = l->op.token_out;
    if (result != 0 || l->op.result != 0)
        abort();
    if (kind == ODTO_JOBS_FINISH)
        l->seq = l->op.outbox_seqs[0];
    IFACE->jobs->release(f.store, b);
    if (kind == ODTO_JOBS_ACCEPT) {
        mark(l, ACCEPTED);
        send(l, (odto_jobs_op){.kind = ODTO_JOBS_FINISH,
                               .id = l->job.id,
                               .token = token,
                               .now = T0,
                               .status = ODTO_COMPLETED,
                               .outcome = ODTO_OUT_OK,
                               .outgoing = &l->out,
                               .n_outgoing = 1,
                               .output = odto_slice_str("{}")});
    } else if (kind == ODTO_JOBS_FINISH) {
        mark(l, FINISHED | DONE_SENT);
        l->left = 2;
        l->header =
            (odto_header){.type = ODTO_JOB_COMPLETED, .event_id = l->out.event_id, .job_id = l->job.id};
        l->body = l->out.body;
        l->write =
            (odto_write){.bodies = &l->body, .headers = &l->header, .n = 1, .done = appended, .arg = l};
        IFACE->events->append_counted(f.store, &l->write);
        send(l, (odto_jobs_op){.kind = ODTO_JOBS_OUTBOX_DONE, .seqs = &l->seq, .n_seqs = 1});
    } else {
        mark(l, DONE);
        if (--l->left == 0)
            begin(l);
    }
}

static void begin(load *l)
{
    l->i = __atomic_fetch_add(&next_slot, 1, __ATOMIC_SEQ_CST);
    if (l->i >= SLOTS)
        return;
    l->job = job_of("echo", T0);
    l->out = (odto_outgoing){.topic = odto_slice_str("jobs.completed"), .body = odto_slice_str("{\"e\":1}")};
    odto_uuid_v7(&l->out.event_id);
    l->slots[l->i].id = l->job.id;
    l->slots[l->i].event_id = l->out.event_id;
    l->batch.done = confirmed;
    send(l, (odto_jobs_op){.kind = ODTO_JOBS_ACCEPT,
                           .job = &l->job,
                           .now = T0,
                           .lease_until = T0 + 1000,
                           .lease_owner = odto_slice_str("host")});
}

/* The child: 32 jobs on their way until it is killed. */
static void run_load(slot *slots, const char *const *settings)
{
    static load loads[32];
    fixture_start(&f, settings);
    for (int i = 0; i < 32; i++) {
        loads[i].slots = slots;
        begin(&loads[i]);
    }
    for (;;)
        pause();
}

typedef struct found { /* what the database holds of a slot's job */
    odto_status status;
    bool outbox, event;
} found;

static bool has(sqlite3_stmt *st, const odto_uuid *id)
{
    sqlite3_bind_blob(st, 1, id->b, 16, SQLITE_STATIC);
    bool row = sqlite3_step(st) == SQLITE_ROW;
    sqlite3_reset(st);
    return row;
}

static int check_slots(const slot *slots)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *outbox = NULL, *event = NULL;
    int n = 0;
    ck_assert_int_eq(sqlite3_open(f.path, &db), SQLITE_OK);
    ck_assert_int_eq(sqlite3_prepare_v2(db, "SELECT 1 FROM outbox WHERE event_id = ?1", -1, &outbox, NULL),
                     0);
    ck_assert_int_eq(sqlite3_prepare_v2(db, "SELECT 1 FROM event WHERE event_id = ?1", -1, &event, NULL), 0);
    for (int i = 0; i < SLOTS; i++) {
        int s = slots[i].state;
        if (s == 0)
            continue;
        n++;
        odto_status status = status_of(&f, &slots[i].id);
        bool waits = has(outbox, &slots[i].event_id), logged = has(event, &slots[i].event_id);
        ck_assert(status == ODTO_EXECUTING || status == ODTO_COMPLETED);
        if (s & FINISHED)
            ck_assert_int_eq(status, ODTO_COMPLETED);
        if (status == ODTO_EXECUTING)
            ck_assert(!waits && !logged);
        if ((s & FINISHED) && !(s & DONE_SENT))
            ck_assert(waits);
        if (s & DONE)
            ck_assert(!waits);
        if (s & APPENDED)
            ck_assert(logged);
    }
    sqlite3_finalize(outbox);
    sqlite3_finalize(event);
    sqlite3_close(db);
    return n;
}

static int rounds_wanted(int otherwise)
{
    const char *text = getenv("ODTO_KILL_ROUNDS");
    return text != NULL ? atoi(text) : otherwise;
}

START_TEST(killed_at_any_moment)
{
    static const char *const full[] = {"wal_limit=1m", NULL}, *const off[] = {"wal_limit=1m", "sync=off",
                                                                              NULL};
    size_t size = SLOTS * sizeof(slot);
    slot *slots = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(slots, MAP_FAILED);
    int rounds = rounds_wanted(200), total = 0;
    for (int r = 0; r < rounds; r++) {
        memset(slots, 0, size);
        pid_t pid = fork();
        ck_assert_int_ge(pid, 0);
        if (pid == 0)
            run_load(slots, r % 2 ? full : off);
        usleep((useconds_t)(odto_random64() % 40000) + 2000);
        kill(pid, SIGKILL);
        int status = 0;
        waitpid(pid, &status, 0);
        ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        fixture_start(&f, NULL);
        total += check_slots(slots);
        odto_jobs_op reap = {
            .kind = ODTO_JOBS_REAP, .now = T0, .max_lost = 100, .lease_owner = odto_slice_str("host")};
        ck_assert_int_eq(run_op(&f, &reap), 0);
        ck_assert_int_eq(stats_of(&f).executing, 0);
        if (r % 20 == 19 || r == rounds - 1)
            check_sound();
        fixture_stop(&f);
    }
    ck_assert_int_gt(total, rounds);
    munmap(slots, size);
}
END_TEST

/* ---- many threads ---- */

typedef struct crowd {
    int kind;
    unsigned seed;
} crowd;

static bool drop_job(void *arg, const odto_job *job)
{
    *(size_t *)arg += job->type.n;
    return true;
}

static bool drop_event(void *arg, const odto_event_row *row)
{
    *(size_t *)arg += row->body.n;
    return true;
}

static void *write_crowd(void *arg)
{
    crowd *c = arg;
    for (int i = 0; i < 60; i++) {
        odto_job j = job_of(i % 2 ? "a" : "b", T0);
        odto_jobs_op op = {.kind = ODTO_JOBS_ACCEPT, .job = &j, .now = T0, .lease_until = T0 + 1000};
        if (i % 3 == 0)
            op.lease_owner = odto_slice_str("host");
        if (run_op(&f, &op) != 0)
            abort();
        if (op.token_out != 0 && finish_job(&f, &j.id, op.token_out, ODTO_COMPLETED, T0) != 0)
            abort();
        odto_slice body = odto_slice_str("{\"event\":true}");
        odto_header header = {
            .type = ODTO_JOB_COMPLETED, .event_id = j.event_id, .job_id = j.id, .occurred_at_ms = T0};
        odto_write w = {.bodies = &body, .headers = &header, .n = 1};
        if (run_write(&f, IFACE->events->append_counted, &w) != 0)
            abort();
        if (i % 5 == 0) {
            odto_jobs_op claim = {.kind = ODTO_JOBS_CLAIM,
                                  .now = T0,
                                  .lease_until = T0 + 1000,
                                  .limit = 4,
                                  .lease_owner = odto_slice_str("host")};
            odto_jobs_batch b = {.ops = &claim, .n = 1};
            if (run_batch(&f, &b) != 0)
                abort();
            IFACE->jobs->release(f.store, &b);
        }
        c->seed++;
    }
    return NULL;
}

static void *read_crowd(void *arg)
{
    crowd *c = arg;
    size_t n = 0;
    for (int i = 0; i < 60; i++) {
        odto_jobs_query q = {.status = i % 5 - 1, .limit = 10, .with_body = i % 2};
        char next[128];
        uint64_t last = 0;
        odto_jobs_stats s;
        odto_counters k;
        if (IFACE->jobs->list(f.store, &q, drop_job, &n, next, NULL) != 0 ||
            IFACE->events->list(f.store, NULL, 10, drop_event, &n, NULL) != 0 ||
            IFACE->events->after(f.store, (uint64_t)i, 10, drop_event, &n, &last, NULL) != 0 ||
            IFACE->jobs->stats(f.store, &s, NULL) != 0 || IFACE->counters->read(f.store, &k, NULL) != 0)
            abort();
        minihost_health(f.host);
        c->seed += (unsigned)n;
    }
    return NULL;
}

START_TEST(many_threads_at_once)
{
    const char *settings[] = {"sync=off", "wal_limit=1m", "readers=3", NULL};
    fixture_start(&f, settings);
    pthread_t t[14];
    crowd c[14] = {0};
    for (int i = 0; i < 14; i++)
        ck_assert_int_eq(pthread_create(&t[i], NULL, i < 8 ? write_crowd : read_crowd, &c[i]), 0);
    for (int i = 0; i < 14; i++)
        pthread_join(t[i], NULL);
    odto_jobs_stats s = stats_of(&f);
    ck_assert_int_eq(s.pending + s.executing + s.completed, 8 * 60);
    ck_assert_int_eq(s.completed, 8 * 20);
    check_sound();
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("sqlite_faults");
    TCase *c = tcase_create("faults");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_set_timeout(c, 600);
    tcase_add_test(c, full_disk_is_said_and_got_over);
    tcase_add_test(c, write_error_is_said_and_got_over);
    tcase_add_test(c, failed_fsync_is_said_and_got_over);
    tcase_add_test(c, really_full_disk);
    tcase_add_test(c, each_write_or_sync_failing_in_turn);
    tcase_add_test(c, each_read_failing_in_turn);
    tcase_add_test(c, each_allocation_failing_in_turn);
    tcase_add_test(c, one_bad_batch_does_not_take_the_others_along);
    tcase_add_test(c, log_is_moved_into_the_database);
    tcase_add_test(c, killed_at_any_moment);
    tcase_add_test(c, many_threads_at_once);
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
