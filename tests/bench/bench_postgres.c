/* bench_postgres.c — what the postgres store costs a job, beside plain PostgreSQL that writes the same rows
 * in groups and does no more: no leases, no fences, no attempts, one payload for all.
 *
 *   bench_postgres --url URL [--jobs N] [--batch N] [--window N] [--backlog N]
 *
 * The store runs in this process with the host of tests/unit/minihost.c; URL names an empty database
 * (tests/bench/run.py brings the server). Figures of one run belong together: on shared machines only their
 * ratios mean something. */
#include "../unit/minihost.h"

#include <getopt.h>
#include <libpq-fe.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const odto_plugin odto_plugin_ __asm__("odto_plugin");

#define PAYLOAD 256
#define TEXT    600

typedef struct bench {
    const char *url;
    long jobs, batch, window, backlog, in_flight, failed, claimed;
    minihost *host;
    void *store;
    const odto_jobs_ops *ops;
    pthread_mutex_t lock;
    pthread_cond_t done;
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
    char (*text)[TEXT];
    bool path; /* goes on to the next stage by itself */
} flight;

static void die(const char *what, const char *why)
{
    fprintf(stderr, "bench_postgres: %s: %s\n", what, why);
    exit(1);
}

static void check(int code, const char *what)
{
    if (code != 0)
        die(what, strerror(-code));
}

static double seconds_since(int64_t t)
{
    return (double)(odto_now_ns() - t) / 1e9;
}

static void report(const char *what, double rate)
{
    printf("  %-46s %9.0f /s\n", what, rate);
    fflush(stdout);
}

/* ---- plain PostgreSQL ---- */

static void run(PGconn *c, const char *sql)
{
    PGresult *r = PQexec(c, sql);
    if (PQresultStatus(r) != PGRES_COMMAND_OK && PQresultStatus(r) != PGRES_TUPLES_OK)
        die(sql, PQerrorMessage(c));
    PQclear(r);
}

/* Groups of `batch` rows by one statement on an array of ids each, a commit a group: rows a second. */
static double raw(PGconn *c, const bench *b, const char *sql)
{
    long groups = b->jobs / b->batch;
    char payload[PAYLOAD + 1], *ids = malloc((size_t)b->batch * 40 + 3);
    memset(payload, '.', PAYLOAD);
    payload[PAYLOAD] = '\0';
    memcpy(payload, "{\"data\":\"", 9);
    memcpy(payload + PAYLOAD - 2, "\"}", 2);
    PQclear(PQprepare(c, "", sql, 0, NULL));
    int64_t t = odto_now_ns();
    for (long g = 0; g < groups; g++) {
        size_t n = 0;
        for (long i = 0; i < b->batch; i++) { /* the same ids for the insert and the update */
            odto_uuid u = {{0}};
            uint64_t k = (uint64_t)(g * b->batch + i);
            for (int x = 0; x < 8; x++)
                u.b[x] = (uint8_t)(k >> (56 - 8 * x));
            ids[n++] = i ? ',' : '{';
            odto_uuid_format(&u, ids + n);
            n += ODTO_UUID_LEN;
        }
        ids[n++] = '}';
        ids[n] = '\0';
        PGresult *r = PQexecPrepared(c, "", 2, (const char *[]){ids, payload}, NULL, NULL, 0);
        if (PQresultStatus(r) != PGRES_COMMAND_OK)
            die(sql, PQerrorMessage(c));
        PQclear(r);
    }
    free(ids);
    return (double)(groups * b->batch) / seconds_since(t);
}

/* Of a job's three writes: its row; its end, with the result and the row of the event that goes out; that
 * row's end. */
static void raw_rates(const bench *b, double *insert, double *finish, double *sent)
{
    PGconn *c = PQconnectdb(b->url);
    if (PQstatus(c) != CONNECTION_OK)
        die("connect", PQerrorMessage(c));
    run(c, "CREATE TABLE raw(id uuid PRIMARY KEY, type text, status text, payload jsonb, result jsonb, "
           "created_at timestamp, job_json text)");
    run(c, "CREATE TABLE raw_out(id uuid PRIMARY KEY, topic text, body text)");
    run(c, "CREATE INDEX ON raw(created_at, id)");
    *insert =
        raw(c, b,
            "INSERT INTO raw SELECT u, 'echo', 'PENDING', $2::jsonb, NULL, now(), $2::text || $2::text FROM "
            "unnest($1::uuid[]) u");
    *finish = raw(c, b,
                  "WITH o AS (INSERT INTO raw_out SELECT u, 'jobs.completed', "
                  "$2::text || $2::text FROM unnest($1::uuid[]) u) UPDATE raw SET status = 'COMPLETED', "
                  "result = $2::jsonb FROM unnest($1::uuid[]) u WHERE id = u");
    *sent = raw(c, b, "DELETE FROM raw_out WHERE id = ANY($1::uuid[]) AND $2 <> ''");
    run(c, "DROP TABLE raw, raw_out");
    PQfinish(c);
}

/* ---- batches ---- */

static void landed(bench *b, int result)
{
    pthread_mutex_lock(&b->lock);
    b->failed += result != 0;
    b->in_flight--;
    pthread_cond_signal(&b->done);
    pthread_mutex_unlock(&b->lock);
}

static void wait_below(bench *b, long n, long more)
{
    pthread_mutex_lock(&b->lock);
    while (b->in_flight >= n)
        pthread_cond_wait(&b->done, &b->lock);
    b->in_flight += more;
    pthread_mutex_unlock(&b->lock);
}

static void make_job(flight *f, long i)
{
    static char fill[PAYLOAD];
    odto_job *j = &f->jobs[i];
    char id[ODTO_UUID_LEN + 1];
    memset(fill, '.', sizeof(fill) - 1);
    memset(j, 0, sizeof(*j));
    odto_uuid_v7(&j->id);
    odto_uuid_derive(&j->id, &j->event_id);
    odto_uuid_v7(&j->correlation_id);
    odto_uuid_format(&j->id, id);
    int n = snprintf(f->text[i], TEXT,
                     "{\"id\":\"%s\",\"type\":\"echo\",\"status\":\"PENDING\",\"createdAt\":"
                     "\"2025-01-01T00:00:00.000Z\",\"payload\":{\"data\":\"%.*s\"}}",
                     id, PAYLOAD - 11, fill);
    j->job_json = odto_slice_of(f->text[i], (size_t)n);
    j->payload = odto_slice_of(strstr(f->text[i], "{\"data"), PAYLOAD);
    j->type = odto_slice_str("echo");
    j->idempotency_key = odto_slice_of(f->text[i] + 7, ODTO_UUID_LEN);
    j->max_attempts = 10;
    j->created_at = j->accepted_at = j->run_at = odto_unix_ms();
    odto_uuid_v7(&f->out[i].event_id);
    f->out[i].topic = odto_slice_str("jobs.completed");
    f->out[i].body = j->job_json;
}

static void set_op(flight *f, long i, odto_jobs_op_kind kind)
{
    odto_jobs_op *op = &f->ops[i];
    uint64_t token = op->token_out;
    int64_t now = odto_unix_ms();
    *op = (odto_jobs_op){.kind = kind, .now = now, .lease_until = now + 30000};
    if (kind == ODTO_JOBS_ACCEPT) {
        op->job = &f->jobs[i];
        op->lease_owner = odto_slice_str("host-1");
        return;
    }
    op->id = f->jobs[i].id;
    op->token = token;
    op->status = ODTO_COMPLETED;
    op->outcome = ODTO_OUT_OK;
    op->output = f->jobs[i].payload;
    op->attempt =
        (odto_attempt){.number = 1, .started_at = now, .finished_at = now, .host = odto_slice_str("host-1")};
    op->outgoing = &f->out[i];
    op->n_outgoing = 1;
}

static void stage_done(odto_jobs_batch *batch, int result);

static void submit(flight *f, odto_jobs_op_kind kind)
{
    f->batch.n = (size_t)f->b->batch;
    if (kind == ODTO_JOBS_OUTBOX_DONE) {
        f->ops[0] = (odto_jobs_op){.kind = kind, .seqs = f->seqs, .n_seqs = f->batch.n};
        f->batch.n = 1;
    } else {
        for (long i = 0; i < f->b->batch; i++)
            set_op(f, i, kind);
    }
    f->batch.ops = f->ops;
    f->batch.done = stage_done;
    f->batch.arg = f;
    check(f->b->ops->submit(f->b->store, &f->batch), "submit");
}

static void stage_done(odto_jobs_batch *batch, int result)
{
    flight *f = batch->arg;
    odto_jobs_op_kind kind = batch->ops[0].kind;
    for (size_t i = 0; i < batch->n && result == 0; i++) {
        result = batch->ops[i].result;
        if (kind == ODTO_JOBS_FINISH)
            f->seqs[i] = batch->ops[i].outbox_seqs[0];
    }
    f->b->ops->release(f->b->store, batch);
    if (result == 0 && f->path && kind == ODTO_JOBS_ACCEPT)
        submit(f, ODTO_JOBS_FINISH);
    else if (result == 0 && f->path && kind == ODTO_JOBS_FINISH)
        submit(f, ODTO_JOBS_OUTBOX_DONE);
    else
        landed(f->b, result);
}

/* All jobs through one stage, or (path) through all of them: jobs a second. */
static double stage(bench *b, odto_jobs_op_kind kind, bool path)
{
    if (kind == ODTO_JOBS_ACCEPT)
        for (long i = 0; i < b->n_flights; i++)
            for (long k = 0; k < b->batch; k++)
                make_job(&b->flights[i], k);
    int64_t t = odto_now_ns();
    for (long i = 0; i < b->n_flights; i++) {
        wait_below(b, b->window, 1);
        b->flights[i].path = path;
        submit(&b->flights[i], kind);
    }
    wait_below(b, 1, 0);
    if (b->failed)
        die("a stage", "batches failed");
    return (double)(b->n_flights * b->batch) / seconds_since(t);
}

/* ---- a claim before a backlog ---- */

static void claim_done(odto_jobs_batch *batch, int result)
{
    bench *b = batch->arg;
    b->claimed = result == 0 ? (long)batch->ops[0].n_claimed : -1;
    b->ops->release(b->store, batch);
    landed(b, result);
}

static double claims(bench *b, long rounds)
{
    static const odto_slice echo = {"echo", 4};
    int64_t t = odto_now_ns();
    for (long i = 0; i < rounds; i++) {
        int64_t now = odto_unix_ms();
        odto_jobs_op op = {.kind = ODTO_JOBS_CLAIM,
                           .now = now,
                           .lease_until = now + 30000,
                           .types = &echo,
                           .n_types = 1,
                           .lease_owner = odto_slice_str("host-1"),
                           .limit = (uint32_t)b->batch};
        odto_jobs_batch batch = {.ops = &op, .n = 1, .done = claim_done, .arg = b};
        wait_below(b, 1, 1);
        check(b->ops->submit(b->store, &batch), "submit");
        wait_below(b, 1, 0);
        if (b->claimed != b->batch)
            die("claim", "fewer rows than wanted");
    }
    return (double)(rounds * b->batch) / seconds_since(t);
}

static void backlog(bench *b)
{
    char sql[512];
    PGconn *c = PQconnectdb(b->url);
    snprintf(sql, sizeof(sql),
             "INSERT INTO jobs(id, type, status, payload, created_at, rank, run_at, seq, ready, job_json, "
             "payload_at) SELECT "
             "gen_random_uuid(), 'echo', 'PENDING', '{}', now(), 0, 0, i, true, '{}', -1 FROM "
             "generate_series(1, %ld) i",
             b->backlog);
    run(c, sql);
    PQfinish(c);
}

static void options(bench *b, int argc, char **argv)
{
    static const struct option names[] = {{"url", 1, NULL, 'u'},     {"jobs", 1, NULL, 'n'},
                                          {"batch", 1, NULL, 'b'},   {"window", 1, NULL, 'w'},
                                          {"backlog", 1, NULL, 'l'}, {NULL, 0, NULL, 0}};
    int c;
    while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
        long v = c != 'u' && c != '?' ? strtol(optarg, NULL, 10) : 0;
        if (c == 'u')
            b->url = optarg;
        else if (c == '?' || v <= 0)
            exit(2);
        *(c == 'n'   ? &b->jobs
          : c == 'b' ? &b->batch
          : c == 'w' ? &b->window
                     : &b->backlog) = c == 'u' ? b->backlog : v;
    }
    if (b->url == NULL)
        die("--url", "is missing");
}

static void make_flights(bench *b)
{
    b->n_flights = b->jobs / b->batch;
    b->flights = calloc((size_t)b->n_flights, sizeof(*b->flights));
    for (long i = 0; i < b->n_flights; i++) {
        flight *f = &b->flights[i];
        size_t n = (size_t)b->batch;
        *f = (flight){.b = b,
                      .ops = calloc(n, sizeof(*f->ops)),
                      .jobs = calloc(n, sizeof(*f->jobs)),
                      .out = calloc(n, sizeof(*f->out)),
                      .seqs = calloc(n, sizeof(*f->seqs)),
                      .text = calloc(n, TEXT)};
    }
}

int main(int argc, char **argv)
{
    bench b = {.jobs = 40000, .batch = 200, .window = 4, .backlog = 200000, .ops = odto_plugin_.store->jobs};
    double insert = 0, update = 0, sent = 0;
    odto_error err = {0};
    options(&b, argc, argv);
    pthread_mutex_init(&b.lock, NULL);
    pthread_cond_init(&b.done, NULL);
    printf("batches of %ld, %ld at once; payload %d bytes\n", b.batch, b.window, PAYLOAD);
    raw_rates(&b, &insert, &update, &sent);
    report("plain group insert", insert);
    report("plain group update, with result and event", update);
    report("plain group delete of events", sent);
    double plain = 1 / (1 / insert + 1 / update + 1 / sent);
    report("plain, all three", plain);
    char setting[512];
    snprintf(setting, sizeof(setting), "url=%s", b.url);
    b.host = minihost_new(&odto_plugin_, "/tmp", (const char *[]){setting, NULL});
    b.store = minihost_self(b.host);
    check(minihost_start(b.host, &err), "start");
    make_flights(&b);
    double accept = stage(&b, ODTO_JOBS_ACCEPT, false), finish = stage(&b, ODTO_JOBS_FINISH, false);
    report("accept and claim", accept);
    report("finish with result and outgoing event", finish);
    report("outbox done", stage(&b, ODTO_JOBS_OUTBOX_DONE, false));
    double path = stage(&b, ODTO_JOBS_ACCEPT, true);
    report("whole path", path);
    printf("share of plain: accept %.2f, finish %.2f, path %.2f\n", accept / insert, finish / update,
           path / plain);
    backlog(&b);
    double before = claims(&b, 10);
    char name[64];
    snprintf(name, sizeof(name), "claims before a backlog of %ld", b.backlog);
    report(name, before);
    minihost_stop(b.host);
    minihost_free(b.host);
    return 0;
}
