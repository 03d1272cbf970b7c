/* store_suite.c — what a jobs store promises in store.h, operation by operation; the same for every store. */
#include "store_suite.h"

#include <check.h>
#include <errno.h>
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

#define T0 INT64_C(1700000000000)

/* A job as last read, with its texts. */
typedef struct copy {
    odto_job job;
    char json[64], payload[64], key[64], result[64], error[64], type[32], trace[64];
    int n;
} copy;

static void text(char *out, size_t size, odto_slice v)
{
    snprintf(out, size, "%.*s", (int)v.n, v.p != NULL ? v.p : "");
}

static bool keep(void *arg, const odto_job *j)
{
    copy *c = arg;
    c->job = *j;
    c->n++;
    text(c->type, sizeof(c->type), j->type);
    text(c->json, sizeof(c->json), j->job_json);
    text(c->payload, sizeof(c->payload), j->payload);
    text(c->key, sizeof(c->key), j->idempotency_key);
    text(c->result, sizeof(c->result), j->result);
    text(c->error, sizeof(c->error), j->error);
    text(c->trace, sizeof(c->trace), j->traceparent);
    return true;
}

static copy read_job(const odto_uuid *id)
{
    copy c = {0};
    ck_assert_int_eq(IFACE->jobs->get(f.store, id, keep, &c, NULL), 0);
    return c;
}

typedef struct tries {
    odto_attempt a[8];
    char error[8][48], log[8][16], host[8][16];
    int n;
} tries;

static bool keep_attempt(void *arg, const odto_attempt *a)
{
    tries *t = arg;
    t->a[t->n] = *a;
    text(t->error[t->n], 48, a->error);
    text(t->log[t->n], 16, a->log);
    text(t->host[t->n], 16, a->host);
    return ++t->n < 8;
}

static tries read_attempts(const odto_uuid *id)
{
    tries t = {0};
    ck_assert_int_eq(IFACE->jobs->attempts(f.store, id, keep_attempt, &t, NULL), 0);
    return t;
}

/* Claim up to limit of the types (NULL-terminated names; NULL: all); the ids' types and tokens into op. */
static odto_jobs_batch claim(odto_jobs_op *op, const char *const *names, uint32_t limit, int64_t now)
{
    static odto_slice types[8];
    size_t n = 0;
    for (; names != NULL && names[n] != NULL; n++)
        types[n] = odto_slice_str(names[n]);
    *op = (odto_jobs_op){.kind = ODTO_JOBS_CLAIM,
                         .now = now,
                         .lease_until = now + 1000,
                         .lease_owner = odto_slice_str("host"),
                         .types = types,
                         .n_types = n,
                         .limit = limit};
    odto_jobs_batch b = {.ops = op, .n = 1};
    ck_assert_int_eq(run_batch(&f, &b), 0);
    ck_assert_int_eq(op->result, 0);
    return b;
}

static void release(odto_jobs_batch *b)
{
    IFACE->jobs->release(f.store, b);
}

START_TEST(accepted_job_reads_back_whole)
{
    odto_job j = job_of("echo", T0);
    char key[ODTO_UUID_LEN + 1];
    odto_uuid_format(&j.id, key);
    j.idempotency_key = odto_slice_str(key);
    j.traceparent = odto_slice_str("00-aa-bb-01");
    j.priority = -3;
    j.expires_at = T0 + 5;
    ck_assert_int_eq(accept_job(&f, &j, T0 + 1), 0);
    copy c = read_job(&j.id);
    ck_assert(odto_uuid_eq(&c.job.id, &j.id));
    ck_assert(odto_uuid_eq(&c.job.event_id, &j.event_id));
    ck_assert(odto_uuid_eq(&c.job.correlation_id, &j.correlation_id));
    ck_assert_str_eq(c.type, "echo");
    ck_assert_str_eq(c.json, "{\"id\":\"x\",\"payload\":{\"n\":1}}");
    ck_assert_str_eq(c.payload, "{\"n\":1}");
    ck_assert_str_eq(c.key, key);
    ck_assert_str_eq(c.trace, "00-aa-bb-01");
    ck_assert_int_eq(c.job.status, ODTO_PENDING);
    ck_assert_int_eq(c.job.priority, -3);
    ck_assert_int_eq(c.job.created_at, T0);
    ck_assert_int_eq(c.job.expires_at, T0 + 5);
    ck_assert_uint_eq(c.job.max_attempts, 3);
    ck_assert_uint_eq(c.job.attempt, 0);
    ck_assert_uint_eq(c.job.token, 0);
    ck_assert_int_eq(c.job.finished_at, 0);
}
END_TEST

START_TEST(payload_apart_from_the_job_text_and_other_key)
{
    odto_job j = job_of("", T0);
    j.payload = odto_slice_str("{}");
    j.idempotency_key = odto_slice_str("other");
    ck_assert_int_eq(accept_job(&f, &j, T0), 0);
    copy c = read_job(&j.id);
    ck_assert_str_eq(c.payload, "{}");
    ck_assert_str_eq(c.key, "other");
    ck_assert_str_eq(c.type, "");
    odto_jobs_op op;
    odto_jobs_batch b = claim(&op, NULL, 5, T0);
    ck_assert_uint_eq(op.n_claimed, 1);
    ck_assert(odto_slice_eq(op.claimed[0].payload, "{}"));
    ck_assert(odto_slice_eq(op.claimed[0].idempotency_key, "other"));
    release(&b);
}
END_TEST

START_TEST(second_accept_changes_nothing)
{
    odto_job j = job_of("echo", T0), again = j;
    ck_assert_int_eq(accept_job(&f, &j, T0), 0);
    again.type = odto_slice_str("other");
    odto_uuid_v7(&again.event_id);
    ck_assert_int_eq(accept_job(&f, &again, T0), -EEXIST);
    again.redrive = true; /* not FAILED: nothing to redrive */
    ck_assert_int_eq(accept_job(&f, &again, T0), -EEXIST);
    copy c = read_job(&j.id);
    ck_assert_str_eq(c.type, "echo");
    ck_assert(odto_uuid_eq(&c.job.event_id, &j.event_id));
    ck_assert_int_eq(stats_of(&f).pending, 1);
}
END_TEST

START_TEST(same_id_twice_in_one_batch)
{
    odto_job j = job_of("echo", T0);
    odto_jobs_op ops[2] = {{.kind = ODTO_JOBS_ACCEPT, .job = &j, .now = T0},
                           {.kind = ODTO_JOBS_ACCEPT, .job = &j, .now = T0}};
    odto_jobs_batch b = {.ops = ops, .n = 2};
    ck_assert_int_eq(run_batch(&f, &b), 0);
    release(&b);
    ck_assert_int_eq(ops[0].result, 0);
    ck_assert_int_eq(ops[1].result, -EEXIST);
}
END_TEST

START_TEST(accept_and_claim_in_one)
{
    odto_job j = job_of("echo", T0);
    uint64_t token = accept_leased(&f, &j, T0, T0 + 1000);
    copy c = read_job(&j.id);
    ck_assert_int_eq(c.job.status, ODTO_EXECUTING);
    ck_assert_uint_eq(c.job.attempt, 1);
    ck_assert_uint_eq(c.job.token, token);
    ck_assert_int_eq(c.job.started_at, T0);
    odto_job later = job_of("echo", T0);
    later.run_at = T0 + 10; /* not due: waits, although a lease was wanted */
    odto_jobs_op op = {.kind = ODTO_JOBS_ACCEPT,
                       .job = &later,
                       .now = T0,
                       .lease_until = T0 + 1000,
                       .lease_owner = odto_slice_str("host")};
    ck_assert_int_eq(run_op(&f, &op), 0);
    ck_assert_uint_eq(op.token_out, 0);
    ck_assert_int_eq(status_of(&f, &later.id), ODTO_PENDING);
    odto_jobs_stats s = stats_of(&f);
    ck_assert_int_eq(s.executing, 1);
    ck_assert_int_eq(s.pending, 1);
}
END_TEST

START_TEST(finish_is_final_and_fenced)
{
    odto_job j = job_of("echo", T0);
    uint64_t token = accept_leased(&f, &j, T0, T0 + 1000);
    ck_assert_int_eq(finish_job(&f, &j.id, token + 1, ODTO_COMPLETED, T0), -ESTALE);
    ck_assert_int_eq(finish_job(&f, &j.id, 0, ODTO_COMPLETED, T0), -ESTALE);
    ck_assert_int_eq(finish_job(&f, &j.id, token, ODTO_PENDING, T0), -EINVAL);
    ck_assert_int_eq(finish_job(&f, &j.id, token, ODTO_COMPLETED, T0 + 7), 0);
    ck_assert_int_eq(finish_job(&f, &j.id, token, ODTO_FAILED, T0 + 9), -ESTALE);
    odto_uuid unknown;
    odto_uuid_v7(&unknown);
    ck_assert_int_eq(finish_job(&f, &unknown, token, ODTO_COMPLETED, T0), -ENOENT);
    copy c = read_job(&j.id);
    ck_assert_int_eq(c.job.status, ODTO_COMPLETED);
    ck_assert_int_eq(c.job.outcome, ODTO_OUT_OK);
    ck_assert_str_eq(c.result, "{\"r\":1}");
    ck_assert_int_eq(c.job.finished_at, T0 + 7);
    ck_assert_int_eq(c.job.updated_at, T0 + 7);
    ck_assert_int_eq(c.job.started_at, T0);
    ck_assert_uint_eq(c.job.token, 0);
    tries t = read_attempts(&j.id);
    ck_assert_int_eq(t.n, 1);
    ck_assert_uint_eq(t.a[0].number, 1);
    ck_assert_int_eq(t.a[0].outcome, ODTO_OUT_OK);
    ck_assert_str_eq(t.log[0], "tail");
    ck_assert_str_eq(t.host[0], "host");
    odto_jobs_stats s = stats_of(&f);
    ck_assert_int_eq(s.executing, 0);
    ck_assert_int_eq(s.completed, 1);
}
END_TEST

START_TEST(token_of_another_job_does_not_fit)
{
    odto_job a = job_of("echo", T0), b = job_of("echo", T0);
    uint64_t ta = accept_leased(&f, &a, T0, T0 + 1000);
    accept_leased(&f, &b, T0, T0 + 1000);
    ck_assert_int_eq(finish_job(&f, &b.id, ta, ODTO_COMPLETED, T0), -ESTALE);
    ck_assert_int_eq(status_of(&f, &a.id), ODTO_EXECUTING);
    ck_assert_int_eq(status_of(&f, &b.id), ODTO_EXECUTING);
}
END_TEST

START_TEST(outbox_keeps_what_was_not_forgotten)
{
    odto_job j = job_of("echo", T0);
    uint64_t token = accept_leased(&f, &j, T0, T0 + 1000);
    odto_outgoing out[3];
    for (int i = 0; i < 3; i++) {
        odto_uuid_v7(&out[i].event_id);
        out[i].topic = odto_slice_str(i == 2 ? "jobs.failed.validation" : "jobs.completed");
        out[i].body = odto_slice_str(i == 0 ? "{\"e\":0}" : i == 1 ? "{\"e\":1}" : "{\"e\":2}");
    }
    odto_jobs_op op = {.kind = ODTO_JOBS_FINISH,
                       .id = j.id,
                       .token = token,
                       .status = ODTO_COMPLETED,
                       .outcome = ODTO_OUT_OK,
                       .now = T0,
                       .outgoing = out,
                       .n_outgoing = 3};
    odto_jobs_batch b = {.ops = &op, .n = 1};
    ck_assert_int_eq(run_batch(&f, &b), 0);
    uint64_t seqs[3] = {op.outbox_seqs[0], op.outbox_seqs[1], op.outbox_seqs[2]};
    release(&b);
    ck_assert_int_eq(stats_of(&f).outbox, 3);
    odto_jobs_op done = {.kind = ODTO_JOBS_OUTBOX_DONE, .seqs = (uint64_t[]){seqs[2], seqs[0]}, .n_seqs = 2};
    ck_assert_int_eq(run_op(&f, &done), 0);
    ck_assert_int_eq(run_op(&f, &done), 0); /* once more: nothing left to forget */
    ck_assert_int_eq(stats_of(&f).outbox, 1);
    odto_jobs_op take = {.kind = ODTO_JOBS_OUTBOX_TAKE, .limit = 10};
    b = (odto_jobs_batch){.ops = &take, .n = 1};
    ck_assert_int_eq(run_batch(&f, &b), 0);
    ck_assert_uint_eq(take.n_taken, 1);
    ck_assert_uint_eq(take.taken[0].seq, seqs[1]);
    ck_assert(odto_slice_eq(take.taken[0].event.body, "{\"e\":1}"));
    ck_assert(odto_slice_eq(take.taken[0].event.topic, "jobs.completed"));
    ck_assert(odto_uuid_eq(&take.taken[0].event.event_id, &out[1].event_id));
    release(&b);
}
END_TEST

START_TEST(outbox_numbers_are_never_given_twice)
{
    uint64_t last = 0;
    for (int round = 0; round < 3; round++) {
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
        odto_jobs_batch b = {.ops = &op, .n = 1};
        ck_assert_int_eq(run_batch(&f, &b), 0);
        uint64_t seq = op.outbox_seqs[0];
        release(&b);
        ck_assert_uint_gt(seq, last);
        last = seq;
        odto_jobs_op done = {.kind = ODTO_JOBS_OUTBOX_DONE, .seqs = &seq, .n_seqs = 1};
        ck_assert_int_eq(run_op(&f, &done), 0);
        fixture_stop(&f); /* with an empty outbox */
        fixture_start(&f, NULL);
    }
}
END_TEST

START_TEST(claim_takes_by_priority_then_run_at_then_age)
{
    /* priority, run_at offset; expected order by index */
    static const struct {
        int32_t priority;
        int run;
    } in[] = {{0, 0}, {5, 2}, {5, 1}, {5, 1}, {-1, 0}, {9, 50}};
    static const int want[] = {2, 3, 1, 0, 4};
    odto_job jobs[6];
    for (int i = 0; i < 6; i++) {
        jobs[i] = job_of("echo", T0 - i); /* created_at runs against age: it must not matter */
        jobs[i].priority = in[i].priority;
        jobs[i].run_at = T0 + in[i].run;
        ck_assert_int_eq(accept_job(&f, &jobs[i], T0), 0);
    }
    odto_jobs_op op;
    odto_jobs_batch b = claim(&op, (const char *[]){"echo", NULL}, 4, T0 + 10);
    ck_assert_uint_eq(op.n_claimed, 4);
    for (int i = 0; i < 4; i++) {
        ck_assert(odto_uuid_eq(&op.claimed[i].id, &jobs[want[i]].id));
        ck_assert_int_eq(op.claimed[i].status, ODTO_EXECUTING);
        ck_assert_uint_eq(op.claimed[i].attempt, 1);
        ck_assert_uint_ne(op.claimed[i].token, 0);
        ck_assert(odto_slice_eq(op.claimed[i].payload, "{\"n\":1}"));
    }
    ck_assert_int_le(op.next_due, T0); /* one is left that is due */
    ck_assert_int_gt(op.next_due, 0);
    release(&b);
    b = claim(&op, (const char *[]){"echo", NULL}, 4, T0 + 10);
    ck_assert_uint_eq(op.n_claimed, 1);
    ck_assert(odto_uuid_eq(&op.claimed[0].id, &jobs[want[4]].id));
    ck_assert_int_eq(op.next_due, T0 + 50);
    release(&b);
    b = claim(&op, NULL, 4, T0 + 50);
    ck_assert_uint_eq(op.n_claimed, 1);
    ck_assert(odto_uuid_eq(&op.claimed[0].id, &jobs[5].id));
    ck_assert_int_eq(op.next_due, 0);
    release(&b);
}
END_TEST

START_TEST(claim_of_some_types_leaves_the_others)
{
    odto_job a = job_of("a", T0), b = job_of("b", T0), c = job_of("c", T0);
    b.priority = 1;
    c.run_at = T0 + 100;
    accept_job(&f, &a, T0);
    accept_job(&f, &b, T0);
    accept_job(&f, &c, T0);
    odto_jobs_op op;
    odto_jobs_batch batch = claim(&op, (const char *[]){"x", "c", NULL}, 4, T0);
    ck_assert_uint_eq(op.n_claimed, 0);
    ck_assert_int_eq(op.next_due, T0 + 100);
    release(&batch);
    batch = claim(&op, (const char *[]){"a", "b", NULL}, 1, T0);
    ck_assert_uint_eq(op.n_claimed, 1);
    ck_assert(odto_uuid_eq(&op.claimed[0].id, &b.id));
    release(&batch);
    batch = claim(&op, (const char *[]){"b", "a", NULL}, 9, T0);
    ck_assert_uint_eq(op.n_claimed, 1);
    ck_assert(odto_uuid_eq(&op.claimed[0].id, &a.id));
    release(&batch);
    batch = claim(&op, NULL, 9, T0 + 100);
    ck_assert_uint_eq(op.n_claimed, 1);
    ck_assert(odto_uuid_eq(&op.claimed[0].id, &c.id));
    release(&batch);
}
END_TEST

START_TEST(claim_with_a_clock_gone_back_takes_nothing_early)
{
    odto_job j = job_of("echo", T0);
    j.run_at = T0 + 100;
    accept_job(&f, &j, T0);
    odto_job k = job_of("echo", T0);
    accept_job(&f, &k, T0 + 200);
    odto_jobs_op op;
    odto_jobs_batch b = claim(&op, NULL, 1, T0 + 200); /* makes j ready, takes k: its run_at is smaller */
    ck_assert(odto_uuid_eq(&op.claimed[0].id, &k.id));
    release(&b);
    b = claim(&op, NULL, 9, T0 + 50);
    ck_assert_uint_eq(op.n_claimed, 0);
    release(&b);
    b = claim(&op, NULL, 9, T0 + 100);
    ck_assert_uint_eq(op.n_claimed, 1);
    release(&b);
}
END_TEST

static int retry_job(const odto_uuid *id, uint64_t token, odto_outcome outcome, int64_t now, int64_t run_at)
{
    odto_jobs_op op = {.kind = ODTO_JOBS_RETRY,
                       .id = *id,
                       .token = token,
                       .outcome = outcome,
                       .now = now,
                       .run_at = run_at,
                       .attempt = {.error = odto_slice_str("first try"), .host = odto_slice_str("host")}};
    return run_op(&f, &op);
}

START_TEST(retry_waits_and_keeps_the_attempt)
{
    odto_job j = job_of("echo", T0);
    uint64_t token = accept_leased(&f, &j, T0, T0 + 1000);
    ck_assert_int_eq(retry_job(&j.id, token + 1, ODTO_OUT_ERROR, T0 + 5, T0 + 20), -ESTALE);
    ck_assert_int_eq(retry_job(&j.id, token, ODTO_OUT_ERROR, T0 + 5, T0 + 20), 0);
    ck_assert_int_eq(retry_job(&j.id, token, ODTO_OUT_ERROR, T0 + 5, T0 + 20), -ESTALE);
    copy c = read_job(&j.id);
    ck_assert_int_eq(c.job.status, ODTO_PENDING);
    ck_assert_int_eq(c.job.run_at, T0 + 20);
    ck_assert_uint_eq(c.job.attempt, 1);
    ck_assert_str_eq(c.error, "first try");
    odto_jobs_op op;
    odto_jobs_batch b = claim(&op, NULL, 1, T0 + 19);
    ck_assert_uint_eq(op.n_claimed, 0);
    ck_assert_int_eq(op.next_due, T0 + 20);
    release(&b);
    b = claim(&op, NULL, 1, T0 + 20);
    ck_assert_uint_eq(op.n_claimed, 1);
    uint64_t second = op.claimed[0].token;
    ck_assert_uint_eq(op.claimed[0].attempt, 2);
    ck_assert_uint_ne(second, token);
    release(&b);
    ck_assert_int_eq(finish_job(&f, &j.id, token, ODTO_COMPLETED, T0 + 30), -ESTALE);
    ck_assert_int_eq(finish_job(&f, &j.id, second, ODTO_FAILED, T0 + 30), 0);
    c = read_job(&j.id);
    ck_assert_int_eq(c.job.status, ODTO_FAILED);
    ck_assert_str_eq(c.error, "broken");
    tries t = read_attempts(&j.id);
    ck_assert_int_eq(t.n, 2);
    ck_assert_uint_eq(t.a[0].number, 1);
    ck_assert_int_eq(t.a[0].outcome, ODTO_OUT_ERROR);
    ck_assert_int_eq(t.a[0].started_at, T0);
    ck_assert_int_eq(t.a[0].finished_at, T0 + 5);
    ck_assert_str_eq(t.error[0], "first try");
    ck_assert_uint_eq(t.a[1].number, 2);
    ck_assert_str_eq(t.error[1], "broken");
}
END_TEST

START_TEST(lost_retry_counts_as_lost)
{
    odto_job j = job_of("echo", T0);
    uint64_t token = accept_leased(&f, &j, T0, T0 + 1000);
    ck_assert_int_eq(retry_job(&j.id, token, ODTO_OUT_LOST, T0, T0), 0);
    ck_assert_uint_eq(read_job(&j.id).job.lost, 1);
}
END_TEST

START_TEST(release_does_not_count)
{
    odto_job j = job_of("echo", T0);
    uint64_t token = accept_leased(&f, &j, T0, T0 + 1000);
    odto_jobs_op op = {.kind = ODTO_JOBS_RELEASE, .id = j.id, .token = token, .now = T0 + 3};
    ck_assert_int_eq(run_op(&f, &op), 0);
    ck_assert_int_eq(run_op(&f, &op), -ESTALE);
    copy c = read_job(&j.id);
    ck_assert_int_eq(c.job.status, ODTO_PENDING);
    ck_assert_uint_eq(c.job.attempt, 0);
    ck_assert_int_eq(read_attempts(&j.id).n, 0);
    odto_jobs_batch b = claim(&op, NULL, 1, T0 + 3);
    ck_assert_uint_eq(op.n_claimed, 1);
    ck_assert_uint_eq(op.claimed[0].attempt, 1);
    ck_assert_uint_ne(op.claimed[0].token, token);
    release(&b);
}
END_TEST

static odto_jobs_batch reap(odto_jobs_op *op, const char *owner, uint32_t max_lost, int64_t now)
{
    *op = (odto_jobs_op){.kind = ODTO_JOBS_REAP, .now = now, .max_lost = max_lost, .lease_until = now + 1000};
    if (owner != NULL)
        op->lease_owner = odto_slice_str(owner);
    odto_jobs_batch b = {.ops = op, .n = 1};
    ck_assert_int_eq(run_batch(&f, &b), 0);
    return b;
}

START_TEST(extend_keeps_a_lease_from_the_reaper)
{
    odto_job j = job_of("echo", T0), k = job_of("echo", T0);
    uint64_t tj = accept_leased(&f, &j, T0, T0 + 100), tk = accept_leased(&f, &k, T0, T0 + 100);
    odto_jobs_op op = {.kind = ODTO_JOBS_EXTEND, .id = j.id, .token = tj, .lease_until = T0 + 500, .now = T0};
    ck_assert_int_eq(run_op(&f, &op), 0);
    odto_jobs_batch b = reap(&op, NULL, 3, T0 + 99);
    ck_assert_int_eq(stats_of(&f).executing, 2);
    release(&b);
    b = reap(&op, NULL, 3, T0 + 100);
    release(&b);
    ck_assert_int_eq(status_of(&f, &j.id), ODTO_EXECUTING);
    ck_assert_int_eq(status_of(&f, &k.id), ODTO_PENDING);
    op = (odto_jobs_op){.kind = ODTO_JOBS_EXTEND, .id = k.id, .token = tk, .lease_until = T0 + 500};
    ck_assert_int_eq(run_op(&f, &op), -ESTALE);
    copy c = read_job(&k.id);
    ck_assert_uint_eq(c.job.lost, 1);
    ck_assert_uint_eq(c.job.attempt, 1);
    tries t = read_attempts(&k.id);
    ck_assert_int_eq(t.n, 1);
    ck_assert_int_eq(t.a[0].outcome, ODTO_OUT_LOST);
    ck_assert_str_eq(t.host[0], "host");
}
END_TEST

START_TEST(own_leases_come_back_at_start)
{
    odto_job j = job_of("echo", T0);
    accept_leased(&f, &j, T0, T0 + 100000);
    fixture_stop(&f);
    fixture_start(&f, NULL);
    ck_assert_int_eq(stats_of(&f).executing, 1);
    odto_jobs_op op;
    odto_jobs_batch b = reap(&op, "someone else", 3, T0);
    release(&b);
    ck_assert_int_eq(status_of(&f, &j.id), ODTO_EXECUTING);
    b = reap(&op, "host", 3, T0);
    ck_assert_uint_eq(op.n_claimed, 0);
    release(&b);
    ck_assert_int_eq(status_of(&f, &j.id), ODTO_PENDING);
}
END_TEST

START_TEST(lost_too_often_is_poison)
{
    odto_job j = job_of("echo", T0);
    odto_jobs_op op;
    accept_leased(&f, &j, T0, T0 + 1);
    odto_jobs_batch b = reap(&op, NULL, 1, T0 + 1);
    ck_assert_uint_eq(op.n_claimed, 0);
    release(&b);
    b = claim(&op, NULL, 1, T0 + 1);
    release(&b);
    b = reap(&op, "host", 1, T0 + 2);
    ck_assert_uint_eq(op.n_claimed, 1);
    ck_assert_int_eq(op.claimed[0].outcome, ODTO_OUT_POISON);
    ck_assert_int_eq(op.claimed[0].status, ODTO_EXECUTING);
    ck_assert_uint_eq(op.claimed[0].lost, 2);
    release(&b);
    b = reap(&op, "host", 1, T0 + 3); /* whoever was to finish it died as well */
    ck_assert_uint_eq(op.n_claimed, 1);
    ck_assert_uint_eq(op.claimed[0].lost, 2);
    uint64_t token = op.claimed[0].token;
    release(&b);
    ck_assert_int_eq(status_of(&f, &j.id), ODTO_EXECUTING);
    odto_jobs_op end = {.kind = ODTO_JOBS_FINISH,
                        .id = j.id,
                        .token = token,
                        .status = ODTO_FAILED,
                        .outcome = ODTO_OUT_POISON,
                        .now = T0 + 4};
    ck_assert_int_eq(run_op(&f, &end), 0);
    copy c = read_job(&j.id);
    ck_assert_int_eq(c.job.outcome, ODTO_OUT_POISON);
    tries t = read_attempts(&j.id);
    ck_assert_int_eq(t.n, 2); /* two lost ones; nothing is made up for the end */
    ck_assert_int_eq(t.a[1].outcome, ODTO_OUT_LOST);
}
END_TEST

static int cancel_job(const odto_uuid *id)
{
    odto_outgoing out = {.topic = odto_slice_str("jobs.completed"), .body = odto_slice_str("{}")};
    odto_jobs_op op = {.kind = ODTO_JOBS_CANCEL, .id = *id, .now = T0 + 9, .outgoing = &out, .n_outgoing = 1};
    return run_op(&f, &op);
}

START_TEST(cancel_of_waiting_running_and_finished)
{
    odto_job waiting = job_of("echo", T0), running = job_of("echo", T0), unknown = job_of("echo", T0);
    waiting.run_at = T0 + 100;
    accept_job(&f, &waiting, T0);
    uint64_t token = accept_leased(&f, &running, T0, T0 + 1000);
    ck_assert_int_eq(cancel_job(&waiting.id), 0);
    ck_assert_int_eq(cancel_job(&waiting.id), -ESTALE);
    ck_assert_int_eq(cancel_job(&unknown.id), -ENOENT);
    ck_assert_int_eq(cancel_job(&running.id), -EBUSY);
    copy c = read_job(&waiting.id);
    ck_assert_int_eq(c.job.status, ODTO_FAILED);
    ck_assert_int_eq(c.job.outcome, ODTO_OUT_CANCELLED);
    ck_assert_int_eq(stats_of(&f).outbox, 1);
    ck_assert_int_eq(read_attempts(&waiting.id).n, 0);
    c = read_job(&running.id);
    ck_assert_int_eq(c.job.status, ODTO_EXECUTING);
    ck_assert_int_eq(c.job.outcome, ODTO_OUT_CANCELLED);
    ck_assert_int_eq(retry_job(&running.id, token, ODTO_OUT_ERROR, T0 + 5, T0 + 5), 0);
    odto_jobs_op op;
    odto_jobs_batch b = claim(&op, NULL, 1, T0 + 5);
    ck_assert_uint_eq(op.n_claimed, 1);
    ck_assert_int_eq(op.claimed[0].outcome, ODTO_OUT_CANCELLED); /* for the claimer to finish so */
    release(&b);
}
END_TEST

START_TEST(redrive_resets_a_failed_job)
{
    odto_job j = job_of("echo", T0);
    uint64_t token = accept_leased(&f, &j, T0, T0 + 1000);
    ck_assert_int_eq(finish_job(&f, &j.id, token, ODTO_FAILED, T0 + 1), 0);
    odto_job again = j;
    again.redrive = true;
    again.job_json = odto_slice_str("{\"second\":true}");
    again.payload = odto_slice_of(again.job_json.p, again.job_json.n);
    ck_assert_int_eq(accept_job(&f, &again, T0 + 2), -EEXIST); /* the same event again */
    odto_uuid_v7(&again.event_id);
    ck_assert_int_eq(accept_job(&f, &again, T0 + 2), 0);
    copy c = read_job(&j.id);
    ck_assert_int_eq(c.job.status, ODTO_PENDING);
    ck_assert_uint_eq(c.job.attempt, 0);
    ck_assert_str_eq(c.json, "{\"second\":true}");
    ck_assert(odto_uuid_eq(&c.job.event_id, &again.event_id));
    ck_assert_int_eq(stats_of(&f).failed, 0);
    ck_assert_int_eq(read_attempts(&j.id).n, 1); /* history stays */
    odto_jobs_op op;
    odto_jobs_batch b = claim(&op, NULL, 1, T0 + 2);
    ck_assert_uint_eq(op.n_claimed, 1);
    uint64_t second = op.claimed[0].token;
    ck_assert_uint_ne(second, token);
    release(&b);
    ck_assert_int_eq(finish_job(&f, &j.id, token, ODTO_COMPLETED, T0 + 3), -ESTALE);
    ck_assert_int_eq(finish_job(&f, &j.id, second, ODTO_COMPLETED, T0 + 3), 0);
    ck_assert_int_eq(read_attempts(&j.id).n, 2);
    odto_uuid_v7(&again.event_id);
    ck_assert_int_eq(accept_job(&f, &again, T0 + 4), -EEXIST); /* COMPLETED is final */
}
END_TEST

START_TEST(attempts_of_nobody)
{
    odto_uuid id;
    odto_error err = {0};
    tries t = {0};
    copy c = {0};
    odto_uuid_v7(&id);
    ck_assert_int_eq(IFACE->jobs->attempts(f.store, &id, keep_attempt, &t, &err), -ENOENT);
    ck_assert_int_eq(IFACE->jobs->get(f.store, &id, keep, &c, &err), -ENOENT);
    ck_assert_int_eq(c.n, 0);
}
END_TEST

/* ---- lists ---- */

typedef struct page {
    int64_t created[64];
    odto_status status[64];
    char type[64][8];
    int n;
    size_t bodies;
} page;

static bool keep_row(void *arg, const odto_job *j)
{
    page *p = arg;
    p->created[p->n] = j->created_at;
    p->status[p->n] = j->status;
    text(p->type[p->n], 8, j->type);
    p->bodies += j->job_json.n;
    return ++p->n < 64;
}

/* 20 jobs: type a/b, created in the reverse of their age, of four statuses in turn. */
static void make_twenty(void)
{
    for (int i = 0; i < 20; i++) {
        odto_job j = job_of(i % 2 ? "a" : "b", T0 - i / 2); /* pairs with the same created_at */
        if (i % 4 == 0) {
            accept_job(&f, &j, T0);
            continue;
        }
        uint64_t token = accept_leased(&f, &j, T0, T0 + 1000);
        if (i % 4 != 1)
            finish_job(&f, &j.id, token, i % 4 == 2 ? ODTO_COMPLETED : ODTO_FAILED, T0);
    }
}

static int list_all(int status, const char *type, uint32_t limit, page *p)
{
    char next[128] = "";
    int pages = 0;
    memset(p, 0, sizeof(*p));
    do {
        odto_jobs_query q = {.status = status,
                             .type = odto_slice_str(type),
                             .cursor = odto_slice_str(next),
                             .limit = limit,
                             .with_body = limit == 3};
        char copy_of[128];
        snprintf(copy_of, sizeof(copy_of), "%s", next);
        q.cursor = odto_slice_str(copy_of);
        int before = p->n;
        ck_assert_int_eq(IFACE->jobs->list(f.store, &q, keep_row, p, next, NULL), 0);
        ck_assert_int_le(p->n - before, (int)limit);
        pages++;
    } while (next[0] != '\0');
    return pages;
}

START_TEST(lists_newest_first_in_pages)
{
    page p;
    make_twenty();
    ck_assert_int_eq(list_all(-1, "", 3, &p), 7);
    ck_assert_int_eq(p.n, 20);
    ck_assert_uint_gt(p.bodies, 0);
    for (int i = 1; i < p.n; i++)
        ck_assert_int_ge(p.created[i - 1], p.created[i]);
    ck_assert_int_eq(list_all(-1, "", 20, &p), 1);
    ck_assert_uint_eq(p.bodies, 0);
    static const int statuses[] = {ODTO_PENDING, ODTO_EXECUTING, ODTO_COMPLETED, ODTO_FAILED};
    for (int k = 0; k < 4; k++)
        for (uint32_t limit = 2; limit <= 5; limit++) {
            list_all(statuses[k], "", limit, &p);
            ck_assert_int_eq(p.n, 5);
            for (int i = 0; i < p.n; i++) {
                ck_assert_int_eq(p.status[i], (odto_status)statuses[k]);
                ck_assert(i == 0 || p.created[i - 1] >= p.created[i]);
            }
        }
    list_all(-1, "a", 4, &p);
    ck_assert_int_eq(p.n, 10);
    for (int i = 0; i < p.n; i++)
        ck_assert_str_eq(p.type[i], "a");
    list_all(ODTO_COMPLETED, "b", 4, &p);
    ck_assert_int_eq(p.n, 5);
    list_all(ODTO_VALIDATED, "", 4, &p);
    ck_assert_int_eq(p.n, 0);
}
END_TEST

START_TEST(pages_do_not_move_under_inserts)
{
    char next[128];
    page first = {0}, second = {0};
    make_twenty();
    odto_jobs_query q = {.status = -1, .limit = 10};
    ck_assert_int_eq(IFACE->jobs->list(f.store, &q, keep_row, &first, next, NULL), 0);
    odto_job j = job_of("new", T0 + 5);
    accept_job(&f, &j, T0);
    char cursor[128];
    snprintf(cursor, sizeof(cursor), "%s", next);
    q.cursor = odto_slice_str(cursor);
    ck_assert_int_eq(IFACE->jobs->list(f.store, &q, keep_row, &second, next, NULL), 0);
    ck_assert_int_eq(second.n, 10);
    ck_assert_str_eq(next, "");
    odto_error err = {0};
    q.cursor = odto_slice_str("nonsense");
    ck_assert_int_eq(IFACE->jobs->list(f.store, &q, keep_row, &second, next, &err), -EINVAL);
}
END_TEST

/* ---- statistics ---- */

START_TEST(stats_equal_the_rows_also_after_a_restart)
{
    make_twenty();
    for (int round = 0; round < 2; round++) {
        odto_jobs_stats s = stats_of(&f);
        ck_assert_int_eq(s.pending, 5);
        ck_assert_int_eq(s.executing, 5);
        ck_assert_int_eq(s.completed, 5);
        ck_assert_int_eq(s.failed, 5);
        ck_assert_int_eq(s.oldest_ready, T0 - 8); /* the last waiting job is number 16 */
        ck_assert_int_eq(fixture_rows(&f, ODTO_PENDING), 5);
        ck_assert_int_eq(fixture_rows(&f, ODTO_FAILED), 5);
        fixture_stop(&f);
        fixture_start(&f, NULL);
    }
}
END_TEST

START_TEST(oldest_ready_counts_delayed_jobs_whose_time_has_come)
{
    int64_t now = odto_unix_ms();
    odto_job j = job_of("echo", now);
    j.run_at = now + 100000;
    accept_job(&f, &j, now);
    ck_assert_int_eq(stats_of(&f).oldest_ready, 0);
    minihost_advance(f.host, 100001);
    ck_assert_int_eq(stats_of(&f).oldest_ready, now + 100000);
    odto_jobs_op op;
    odto_jobs_batch b = claim(&op, NULL, 1, now + 100001);
    release(&b);
    ck_assert_int_eq(stats_of(&f).oldest_ready, 0);
}
END_TEST

TCase *store_suite_case(void)
{
    TCase *c = tcase_create("jobs");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_set_timeout(c, 60);
    tcase_add_test(c, accepted_job_reads_back_whole);
    tcase_add_test(c, payload_apart_from_the_job_text_and_other_key);
    tcase_add_test(c, second_accept_changes_nothing);
    tcase_add_test(c, same_id_twice_in_one_batch);
    tcase_add_test(c, accept_and_claim_in_one);
    tcase_add_test(c, finish_is_final_and_fenced);
    tcase_add_test(c, token_of_another_job_does_not_fit);
    tcase_add_test(c, outbox_keeps_what_was_not_forgotten);
    tcase_add_test(c, outbox_numbers_are_never_given_twice);
    tcase_add_test(c, claim_takes_by_priority_then_run_at_then_age);
    tcase_add_test(c, claim_of_some_types_leaves_the_others);
    tcase_add_test(c, claim_with_a_clock_gone_back_takes_nothing_early);
    tcase_add_test(c, retry_waits_and_keeps_the_attempt);
    tcase_add_test(c, lost_retry_counts_as_lost);
    tcase_add_test(c, release_does_not_count);
    tcase_add_test(c, extend_keeps_a_lease_from_the_reaper);
    tcase_add_test(c, own_leases_come_back_at_start);
    tcase_add_test(c, lost_too_often_is_poison);
    tcase_add_test(c, cancel_of_waiting_running_and_finished);
    tcase_add_test(c, redrive_resets_a_failed_job);
    tcase_add_test(c, attempts_of_nobody);
    tcase_add_test(c, lists_newest_first_in_pages);
    tcase_add_test(c, pages_do_not_move_under_inserts);
    tcase_add_test(c, stats_equal_the_rows_also_after_a_restart);
    tcase_add_test(c, oldest_ready_counts_delayed_jobs_whose_time_has_come);
    return c;
}
