/* bench_sqlite.c — what the sqlite store costs a job, beside plain SQLite doing no more than writing the
 * rows.
 *
 *   bench_sqlite [--jobs N] [--batch N] [--window N] [--backlog N] [--dir DIR] [--sync full|off]
 *
 * The store runs in this process with the host of tests/unit/minihost.c. Every stage of a job is measured for
 * itself, then the whole path, where the end of one stage submits the next. "CPU" is that of the writer
 * thread. Figures of one run belong together: on shared machines only their ratios mean something. */
#include "../unit/minihost.h"

#include <getopt.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

extern const odto_plugin odto_plugin_ __asm__("odto_plugin");

#define PAYLOAD 256
#define TEXT    600

typedef struct sizes {
    long jobs, batch, window, backlog;
    const char *dir;
    bool full, off;
} sizes;

typedef struct bench {
    const sizes *z;
    minihost *host;
    void *store;
    const odto_store_iface *iface;
    pthread_mutex_t lock;
    pthread_cond_t done;
    long in_flight, failed;
    int64_t cpu_ns; /* of the writer thread, as last seen */
    struct flight *flights;
    long n_flights;
} bench;

/* One batch of jobs on its way through the stages. */
typedef struct flight {
    bench *b;
    odto_jobs_batch batch;
    odto_jobs_op *ops;
    odto_job *jobs;
    odto_outgoing *out;
    uint64_t *seqs;
    odto_write write;
    odto_slice *bodies;
    odto_header *headers;
    char (*text)[TEXT], (*envelope)[TEXT];
    int left; /* of outbox_done and append_counted */
} flight;

static void check(int code, const char *what)
{
    if (code == 0)
        return;
    fprintf(stderr, "bench_sqlite: %s: %s\n", what, strerror(-code));
    exit(1);
}

static double seconds_since(int64_t t)
{
    return (double)(odto_now_ns() - t) / 1e9;
}

/* Called on the writer thread. */
static void landed(bench *b, int result)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    pthread_mutex_lock(&b->lock);
    b->cpu_ns = t.tv_sec * ODTO_SEC + t.tv_nsec;
    b->failed += result != 0;
    b->in_flight--;
    pthread_cond_signal(&b->done);
    pthread_mutex_unlock(&b->lock);
}

/* Wait until fewer than n batches are on their way, and count one more. */
static void take_off(bench *b, long n)
{
    pthread_mutex_lock(&b->lock);
    while (b->in_flight >= n)
        pthread_cond_wait(&b->done, &b->lock);
    b->in_flight++;
    pthread_mutex_unlock(&b->lock);
}

static void wait_all(bench *b)
{
    pthread_mutex_lock(&b->lock);
    while (b->in_flight > 0)
        pthread_cond_wait(&b->done, &b->lock);
    pthread_mutex_unlock(&b->lock);
}

/* ---- jobs ---- */

static void make_job(flight *f, long i, bool random_ids)
{
    static const char fill[] = "................................................................"
                               "................................................................"
                               "................................................................"
                               "................................................................";
    odto_job *j = &f->jobs[i];
    char id[ODTO_UUID_LEN + 1], event[ODTO_UUID_LEN + 1];
    memset(j, 0, sizeof(*j));
    if (random_ids)
        odto_uuid_v4(&j->id);
    else
        odto_uuid_v7(&j->id);
    odto_uuid_derive(&j->id, &j->event_id);
    odto_uuid_v7(&j->correlation_id);
    odto_uuid_format(&j->id, id);
    char *t = f->text[i];
    int n = snprintf(t, TEXT,
                     "{\"id\":\"%s\",\"type\":\"echo\",\"status\":\"PENDING\",\"createdAt\":"
                     "\"2025-01-01T00:00:00.000Z\",\"payload\":{\"data\":\"%.*s\"}}",
                     id, PAYLOAD - 11, fill);
    j->job_json = odto_slice_of(t, (size_t)n);
    j->payload = odto_slice_of(strstr(t, "{\"data"), PAYLOAD);
    j->type = odto_slice_str("echo");
    j->idempotency_key = odto_slice_of(t + 7, ODTO_UUID_LEN);
    j->max_attempts = 10;
    j->created_at = j->accepted_at = j->run_at = odto_unix_ms();
    odto_outgoing *o = &f->out[i];
    odto_uuid_v7(&o->event_id);
    odto_uuid_format(&o->event_id, event);
    o->topic = odto_slice_str("jobs.completed");
    n = snprintf(f->envelope[i], TEXT,
                 "{\"contractVersion\":\"1.0.0\",\"eventId\":\"%s\",\"eventType\":\"job.completed\","
                 "\"producer\":{\"service\":\"processor\"},\"payload\":%s}",
                 event, t);
    o->body = odto_slice_of(f->envelope[i], (size_t)n);
}

static void set_op(flight *f, long i, odto_jobs_op_kind kind, bool claim)
{
    odto_jobs_op *op = &f->ops[i];
    uint64_t token = op->token_out;
    int64_t now = odto_unix_ms();
    *op = (odto_jobs_op){.kind = kind, .now = now, .lease_until = now + 30000};
    if (kind == ODTO_JOBS_ACCEPT) {
        op->job = &f->jobs[i];
        if (claim)
            op->lease_owner = odto_slice_str("host-1");
        return;
    }
    op->id = f->jobs[i].id;
    op->token = token;
    op->status = ODTO_COMPLETED;
    op->outcome = ODTO_OUT_OK;
    op->output = f->jobs[i].payload;
    op->attempt = (odto_attempt){.number = 1,
                                 .outcome = ODTO_OUT_OK,
                                 .started_at = now,
                                 .finished_at = now,
                                 .host = odto_slice_str("host-1")};
    op->outgoing = &f->out[i];
    op->n_outgoing = 1;
}

static void submit_jobs(flight *f, odto_jobs_op_kind kind, bool claim, void (*done)(odto_jobs_batch *, int))
{
    bench *b = f->b;
    if (kind == ODTO_JOBS_OUTBOX_DONE) {
        f->ops[0] = (odto_jobs_op){.kind = kind, .seqs = f->seqs, .n_seqs = (size_t)b->z->batch};
        f->batch.n = 1;
    } else {
        for (long i = 0; i < b->z->batch; i++)
            set_op(f, i, kind, claim);
        f->batch.n = (size_t)b->z->batch;
    }
    f->batch.ops = f->ops;
    f->batch.done = done;
    f->batch.arg = f;
    check(b->iface->jobs->submit(b->store, &f->batch), "submit");
}

static void submit_events(flight *f, void (*done)(odto_write *, int))
{
    bench *b = f->b;
    for (long i = 0; i < b->z->batch; i++) {
        f->bodies[i] = f->out[i].body;
        f->headers[i] = (odto_header){.type = ODTO_JOB_COMPLETED,
                                      .event_id = f->out[i].event_id,
                                      .job_id = f->jobs[i].id,
                                      .occurred_at_ms = odto_unix_ms()};
    }
    f->write = (odto_write){
        .bodies = f->bodies, .headers = f->headers, .n = (size_t)b->z->batch, .done = done, .arg = f};
    check(b->iface->events->append_counted(b->store, &f->write), "append");
}

static void report(bench *b, const char *what, long rows, double seconds, int64_t cpu_ns)
{
    printf("  %-46s %9.0f /s  %6.2f us CPU each\n", what, (double)rows / seconds,
           (double)cpu_ns / 1e3 / (double)rows);
    fflush(stdout);
    if (b->failed) {
        fprintf(stderr, "bench_sqlite: %ld batches failed\n", b->failed);
        exit(1);
    }
}

static void make_all(bench *b, bool random_ids)
{
    for (long i = 0; i < b->n_flights; i++)
        for (long k = 0; k < b->z->batch; k++)
            make_job(&b->flights[i], k, random_ids);
}

/* ---- one stage at a time ---- */

static void stage_landed(odto_jobs_batch *batch, int result)
{
    flight *f = batch->arg;
    for (size_t i = 0; i < batch->n && result == 0; i++) {
        result = batch->ops[i].result;
        if (batch->ops[i].kind == ODTO_JOBS_FINISH)
            f->seqs[i] = batch->ops[i].outbox_seqs[0];
    }
    f->b->iface->jobs->release(f->b->store, batch);
    landed(f->b, result);
}

static void append_landed(odto_write *w, int result)
{
    flight *f = w->arg;
    landed(f->b, result);
}

static void stages(bench *b, bool random_ids)
{
    static const struct {
        odto_jobs_op_kind kind;
        const char *name;
    } table[] = {{ODTO_JOBS_ACCEPT, "accept and claim"},
                 {ODTO_JOBS_FINISH, "finish with result and outgoing event"},
                 {ODTO_JOBS_OUTBOX_DONE, "outbox done"},
                 {ODTO_JOBS_CLAIM, "append event and count"}};
    long rows = b->n_flights * b->z->batch;
    make_all(b, random_ids);
    for (int s = 0; s < 4; s++) {
        int64_t t = odto_now_ns(), cpu = b->cpu_ns;
        for (long i = 0; i < b->n_flights; i++) {
            take_off(b, b->z->window);
            if (s < 3)
                submit_jobs(&b->flights[i], table[s].kind, true, stage_landed);
            else
                submit_events(&b->flights[i], append_landed);
        }
        wait_all(b);
        report(b, table[s].name, rows, seconds_since(t), b->cpu_ns - cpu);
    }
}

/* ---- the whole path ---- */

static void path_end(flight *f, int result)
{
    if (--f->left == 0) /* both on the writer thread */
        landed(f->b, result);
}

static void path_event(odto_write *w, int result)
{
    path_end(w->arg, result);
}

static void path_jobs(odto_jobs_batch *batch, int result)
{
    flight *f = batch->arg;
    odto_jobs_op_kind kind = batch->ops[0].kind;
    for (size_t i = 0; i < batch->n && result == 0; i++) {
        result = batch->ops[i].result;
        if (kind == ODTO_JOBS_FINISH)
            f->seqs[i] = batch->ops[i].outbox_seqs[0];
    }
    f->b->iface->jobs->release(f->b->store, batch);
    if (result != 0) {
        landed(f->b, result);
    } else if (kind == ODTO_JOBS_ACCEPT) {
        submit_jobs(f, ODTO_JOBS_FINISH, true, path_jobs);
    } else if (kind == ODTO_JOBS_FINISH) {
        f->left = 2;
        submit_events(f, path_event);
        submit_jobs(f, ODTO_JOBS_OUTBOX_DONE, true, path_jobs);
    } else {
        path_end(f, 0);
    }
}

static double whole_path(bench *b)
{
    long rows = b->n_flights * b->z->batch;
    make_all(b, false);
    int64_t t = odto_now_ns(), cpu = b->cpu_ns;
    for (long i = 0; i < b->n_flights; i++) {
        take_off(b, b->z->window);
        submit_jobs(&b->flights[i], ODTO_JOBS_ACCEPT, true, path_jobs);
    }
    wait_all(b);
    double seconds = seconds_since(t);
    report(b, "whole path", rows, seconds, b->cpu_ns - cpu);
    const odto_metric *m = minihost_metric(b->host, "odto_store_batch_jobs");
    uint64_t commits = 0;
    for (size_t i = 0; i <= m->n_bounds; i++)
        commits += m->buckets[i];
    printf("  %-46s %9.0f\n", "(mean operations in a transaction, all above)",
           (double)m->sum_nano / 1e9 / (double)(commits ? commits : 1));
    return (double)rows / seconds;
}

/* ---- a claim before a backlog ---- */

#define CLAIM  64
#define ROUNDS 100

static void claim_landed(odto_jobs_batch *batch, int result)
{
    flight *f = batch->arg;
    size_t n = batch->ops[0].n_claimed;
    if (result == 0 && n != CLAIM)
        result = -1;
    for (size_t i = 0; i < n; i++) {
        f->jobs[i].id = batch->ops[0].claimed[i].id;
        f->seqs[i] = batch->ops[0].claimed[i].token;
    }
    f->b->iface->jobs->release(f->b->store, batch);
    landed(f->b, result);
}

static void plain_landed(odto_jobs_batch *batch, int result)
{
    flight *f = batch->arg;
    f->b->iface->jobs->release(f->b->store, batch);
    landed(f->b, result);
}

/* CPU ns of one claim of 64, after each of which they are finished. */
static double claim_cost(bench *b)
{
    flight *f = &b->flights[0];
    int64_t spent = 0;
    for (int r = 0; r < ROUNDS; r++) {
        for (long k = 0; k < b->z->batch; k++)
            make_job(f, k, false);
        take_off(b, 1);
        submit_jobs(f, ODTO_JOBS_ACCEPT, false, stage_landed);
        wait_all(b);
        odto_slice type = odto_slice_str("echo");
        f->ops[0] = (odto_jobs_op){.kind = ODTO_JOBS_CLAIM,
                                   .now = odto_unix_ms() + 1000,
                                   .lease_until = odto_unix_ms() + 30000,
                                   .lease_owner = odto_slice_str("host-1"),
                                   .types = &type,
                                   .n_types = 1,
                                   .limit = CLAIM};
        f->batch = (odto_jobs_batch){.ops = f->ops, .n = 1, .done = claim_landed, .arg = f};
        int64_t cpu = b->cpu_ns;
        take_off(b, 1);
        check(b->iface->jobs->submit(b->store, &f->batch), "submit");
        wait_all(b);
        spent += b->cpu_ns - cpu;
        for (long i = 0; i < CLAIM; i++) {
            f->ops[i].token_out = f->seqs[i];
            set_op(f, i, ODTO_JOBS_FINISH, false);
        }
        f->batch = (odto_jobs_batch){.ops = f->ops, .n = CLAIM, .done = plain_landed, .arg = f};
        take_off(b, 1);
        check(b->iface->jobs->submit(b->store, &f->batch), "submit");
        wait_all(b);
    }
    if (b->failed) {
        fprintf(stderr, "bench_sqlite: claims failed\n");
        exit(1);
    }
    return (double)spent / ROUNDS;
}

static long resident_kb(void)
{
    FILE *f = fopen("/proc/self/statm", "re");
    long pages = 0, resident = 0;
    if (f == NULL || fscanf(f, "%ld %ld", &pages, &resident) != 2)
        resident = 0;
    if (f != NULL)
        fclose(f);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static void backlog(bench *b)
{
    if (b->z->backlog <= 0 || b->z->batch < CLAIM)
        return;
    double without = claim_cost(b);
    long before = resident_kb();
    int64_t t = odto_now_ns(), cpu = b->cpu_ns;
    long rows = 0;
    for (long i = 0; rows < b->z->backlog; i = (i + 1) % b->n_flights, rows += b->z->batch) {
        if (i == 0)
            wait_all(b);
        take_off(b, b->z->window);
        for (long k = 0; k < b->z->batch; k++)
            make_job(&b->flights[i], k, false);
        submit_jobs(&b->flights[i], ODTO_JOBS_ACCEPT, false, stage_landed);
    }
    wait_all(b);
    report(b, "accept, waiting", rows, seconds_since(t), b->cpu_ns - cpu);
    long after = resident_kb();
    double with = claim_cost(b);
    printf("  claim of %d: %.0f us CPU without backlog, %.0f us with %ld jobs waiting (%.2f times)\n", CLAIM,
           without / 1e3, with / 1e3, rows, with / without);
    printf("  resident memory: %ld KB before, %ld KB with the backlog\n", before, after);
}

/* ---- plain SQLite ---- */

static void run_sql(sqlite3 *db, const char *sql)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK) {
        fprintf(stderr, "bench_sqlite: %s: %s\n", sql, sqlite3_errmsg(db));
        exit(1);
    }
}

static void bind_slice(sqlite3_stmt *st, int i, odto_slice v)
{
    sqlite3_bind_text(st, i, v.p, (int)v.n, SQLITE_STATIC);
}

/* The same bytes a job leaves behind, as plain inserts: job, result, event, with the two unique ids. `rows`
 * per transaction as the store's mean batch. Jobs/s. */
static double plain(bench *b, const char *dir, bool sync)
{
    char name[4096];
    sqlite3 *db = NULL;
    sqlite3_stmt *st[3];
    static const char *const sql[] = {"INSERT INTO job VALUES(NULL, ?1, ?2)",
                                      "INSERT INTO done VALUES(?1, ?2)",
                                      "INSERT INTO event VALUES(NULL, ?1, ?2)"};
    long rows = 0, per_tx = b->z->batch * b->z->window / 2;
    snprintf(name, sizeof(name), "%s/plain.db", dir);
    if (sqlite3_open(name, &db) != SQLITE_OK)
        exit(1);
    run_sql(db, "PRAGMA journal_mode = WAL");
    run_sql(db, sync ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = OFF");
    run_sql(db,
            "PRAGMA secure_delete = OFF; PRAGMA wal_autocheckpoint = 8000;"
            "CREATE TABLE job(seq INTEGER PRIMARY KEY, id BLOB, body TEXT); CREATE UNIQUE INDEX j ON job(id);"
            "CREATE TABLE done(seq INTEGER PRIMARY KEY, body TEXT);"
            "CREATE TABLE event(seq INTEGER PRIMARY KEY, id BLOB, body TEXT);"
            "CREATE UNIQUE INDEX e ON event(id)");
    for (int i = 0; i < 3; i++)
        sqlite3_prepare_v2(db, sql[i], -1, &st[i], NULL);
    int64_t t = odto_now_ns();
    for (long i = 0; i < b->n_flights; i++) {
        flight *f = &b->flights[i];
        for (long k = 0; k < b->z->batch; k++, rows++) {
            if (rows % per_tx == 0)
                run_sql(db, rows == 0 ? "BEGIN IMMEDIATE" : "COMMIT; BEGIN IMMEDIATE");
            sqlite3_bind_blob(st[0], 1, f->jobs[k].id.b, 16, SQLITE_STATIC);
            bind_slice(st[0], 2, f->jobs[k].job_json);
            sqlite3_bind_int64(st[1], 1, rows);
            bind_slice(st[1], 2, f->jobs[k].payload);
            sqlite3_bind_blob(st[2], 1, f->out[k].event_id.b, 16, SQLITE_STATIC);
            bind_slice(st[2], 2, f->out[k].body);
            for (int s = 0; s < 3; s++)
                if (sqlite3_step(st[s]) != SQLITE_DONE || sqlite3_reset(st[s]) != SQLITE_OK)
                    exit(1);
        }
    }
    run_sql(db, "COMMIT");
    double seconds = seconds_since(t);
    for (int i = 0; i < 3; i++)
        sqlite3_finalize(st[i]);
    sqlite3_close(db);
    unlink(name);
    printf("  %-46s %9.0f /s\n", "plain SQLite, job + result + event inserted", (double)rows / seconds);
    return (double)rows / seconds;
}

/* ---- runs ---- */

static void *need(size_t n, size_t size)
{
    void *p = calloc(n, size);
    if (p == NULL)
        exit(1);
    return p;
}

static void make_flights(bench *b)
{
    size_t n = (size_t)b->z->batch;
    b->n_flights = b->z->jobs / b->z->batch;
    b->flights = need((size_t)b->n_flights, sizeof(*b->flights));
    for (long i = 0; i < b->n_flights; i++) {
        flight *f = &b->flights[i];
        f->b = b;
        f->ops = need(n, sizeof(*f->ops));
        f->jobs = need(n, sizeof(*f->jobs));
        f->out = need(n, sizeof(*f->out));
        f->seqs = need(n, sizeof(*f->seqs));
        f->bodies = need(n, sizeof(*f->bodies));
        f->headers = need(n, sizeof(*f->headers));
        f->text = need(n, sizeof(*f->text));
        f->envelope = need(n, sizeof(*f->envelope));
    }
}

static void free_flights(bench *b)
{
    for (long i = 0; i < b->n_flights; i++) {
        flight *f = &b->flights[i];
        free(f->ops);
        free(f->jobs);
        free(f->out);
        free(f->seqs);
        free(f->bodies);
        free(f->headers);
        free(f->text);
        free(f->envelope);
    }
    free(b->flights);
}

static void remove_db(const char *dir)
{
    static const char *const ends[] = {"", "-wal", "-shm", ".lock"};
    char name[4096];
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        snprintf(name, sizeof(name), "%s/odto.db%s", dir, ends[i]);
        unlink(name);
    }
}

static void run(const sizes *z, const char *dir, bool sync)
{
    const char *settings[] = {sync ? "sync=full" : "sync=off", "max_queue=1000000", NULL};
    bench b = {.z = z};
    odto_error err = {0};
    char text[1400];
    pthread_mutex_init(&b.lock, NULL);
    pthread_cond_init(&b.done, NULL);
    make_flights(&b);
    remove_db(dir);
    b.host = minihost_new(&odto_plugin_, dir, settings);
    b.store = minihost_self(b.host);
    b.iface = odto_plugin_.store;
    int64_t t = odto_now_ns();
    if (minihost_start(b.host, &err) != 0) {
        fprintf(stderr, "bench_sqlite: %s\n", odto_error_text(&err, text, sizeof(text)));
        exit(1);
    }
    printf("sync = %s, %ld jobs, batches of %ld, %ld under way; started in %.1f ms\n", sync ? "full" : "off",
           b.n_flights * z->batch, z->batch, z->window, seconds_since(t) * 1e3);
    stages(&b, false);
    double path = whole_path(&b);
    double raw = plain(&b, dir, sync);
    printf("  %-46s %9.2f\n", "(share of plain SQLite)", path / raw);
    printf("  with random ids (UUID version 4):\n");
    stages(&b, true);
    backlog(&b);
    t = odto_now_ns();
    minihost_stop(b.host);
    printf("  stopped in %.1f ms\n", seconds_since(t) * 1e3);
    minihost_free(b.host);
    remove_db(dir);
    free_flights(&b);
    pthread_cond_destroy(&b.done);
    pthread_mutex_destroy(&b.lock);
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {
        {"jobs", 1, NULL, 'j'}, {"batch", 1, NULL, 'b'}, {"window", 1, NULL, 'w'}, {"backlog", 1, NULL, 'l'},
        {"dir", 1, NULL, 'd'},  {"sync", 1, NULL, 's'},  {NULL, 0, NULL, 0}};
    sizes z = {
        .jobs = 50000, .batch = 64, .window = 16, .backlog = 0, .dir = "/tmp", .full = true, .off = true};
    for (int c = 0; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        if (c == 'j')
            z.jobs = atol(optarg);
        else if (c == 'b')
            z.batch = atol(optarg);
        else if (c == 'w')
            z.window = atol(optarg);
        else if (c == 'l')
            z.backlog = atol(optarg);
        else if (c == 'd')
            z.dir = optarg;
        else if (c == 's') {
            z.full = strcmp(optarg, "full") == 0;
            z.off = strcmp(optarg, "off") == 0;
        } else
            return 2;
    }
    if (z.jobs < z.batch || z.batch < 1 || z.window < 1)
        return 2;
    char dir[4096];
    snprintf(dir, sizeof(dir), "%s/bench-sqlite-XXXXXX", z.dir);
    if (mkdtemp(dir) == NULL) {
        perror(dir);
        return 1;
    }
    if (z.full)
        run(&z, dir, true);
    if (z.off)
        run(&z, dir, false);
    rmdir(dir);
    return 0;
}
