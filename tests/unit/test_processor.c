/* test_processor.c — the processor in a fake host with a fake store, real handlers and scripted ones: every
 * way a job can go, and every part that can fail under it. */
#include "multihost.h"
#include "fakestore.h"
#include <check.h>
#include <errno.h>
#include <json-c/json.h>
#include <odto/json.h>
#include <odto/schema.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static multihost *fh;
static fakestore *fs;
static multiinstance *builtin, *proc;
static const char *const builtin_types[] = {"echo", "sleep", "fail", NULL};

/* ---- making jobs ---- */

typedef struct sample {
    char id[ODTO_UUID_LEN + 1], event_id[ODTO_UUID_LEN + 1], correlation[ODTO_UUID_LEN + 1];
    char *body;
} sample;

/* An envelope with a job of this type; more: further members of the job, with their comma in front, or "". */
static sample make_for(const odto_uuid *id, const char *type, const char *payload, const char *more)
{
    static const odto_producer by = {"gateway", "test", "1.0.0"};
    sample s;
    odto_uuid event, correlation;
    odto_buf job = {0}, out = {0};
    odto_uuid_v7(&event);
    odto_uuid_v4(&correlation);
    odto_uuid_format(id, s.id);
    odto_uuid_format(&event, s.event_id);
    odto_uuid_format(&correlation, s.correlation);
    odto_buf_printf(
        &job,
        "{\"id\":\"%s\",\"type\":\"%s\",\"status\":\"PENDING\",\"createdAt\":\"2026-01-02T03:04:05Z\","
        "\"payload\":%s%s}",
        s.id, type, payload, more);
    odto_envelope_created(&out, &by, &event, &correlation, id, odto_unix_ms(), odto_slice_of(NULL, 0),
                          odto_slice_of(job.p, job.n));
    odto_buf_free(&job);
    s.body = out.p;
    return s;
}

static sample make(const char *type, const char *payload, const char *more)
{
    odto_uuid id;
    odto_uuid_v7(&id);
    return make_for(&id, type, payload, more);
}

/* Made and delivered; the body is kept until the end of the test. */
static sample send_job(const char *type, const char *payload, const char *more)
{
    sample s = make(type, payload, more);
    multihost_deliver(proc, s.body, true);
    free(s.body);
    s.body = NULL;
    return s;
}

/* ---- waiting ---- */

typedef struct state {
    const char *id;
    odto_status status;
} state;

static bool has_state(void *arg)
{
    state *w = arg;
    odto_job j;
    return fakestore_row(fs, w->id, &j) && j.status == w->status;
}

static odto_job wait_status(const char *id, odto_status status)
{
    state w = {id, status};
    odto_job j = {0};
    bool ok = multihost_wait(has_state, &w, odto_status_name(status));
    fakestore_row(fs, id, &j);
    ck_assert_msg(ok, "job is %s (attempt %u): %.*s", odto_status_name(j.status), j.attempt, (int)j.error.n,
                  j.error.p ? j.error.p : "");
    return j;
}

static bool outbox_empty(void *arg)
{
    (void)arg;
    return fakestore_outbox(fs) == 0;
}

typedef struct published {
    const char *topic;
    size_t n;
} published;

static bool has_published(void *arg)
{
    published *w = arg;
    return multihost_published(fh, w->topic) >= w->n;
}

static void wait_published(const char *topic, size_t n)
{
    published w = {topic, n};
    ck_assert(multihost_wait(has_published, &w, topic));
    ck_assert(multihost_wait(outbox_empty, NULL, "an empty outbox"));
    ck_assert_uint_eq(multihost_published(fh, topic), n);
}

static bool has_acked(void *arg)
{
    return multihost_settled(fh).acked >= *(size_t *)arg;
}

static void wait_acked(size_t n)
{
    ck_assert(multihost_wait(has_acked, &n, "acknowledgements"));
}

static const char *member(json_object *o, const char *key)
{
    json_object *v = NULL;
    return json_object_object_get_ex(o, key, &v) ? json_object_get_string(v) : "";
}

static json_object *published_json(const char *topic, size_t k)
{
    json_object *o = NULL;
    const char *body = multihost_body(fh, topic, k);
    ck_assert_ptr_nonnull(body);
    ck_assert_int_eq(odto_json_parse(odto_slice_str(body), 64, &o, NULL), 0);
    return o;
}

/* ---- fixture ---- */

static void begin_on(const odto_store_iface *store, const char *const *settings)
{
    fh = multihost_new();
    fs = fakestore_new();
    multihost_store(fh, store, fs);
    builtin = multihost_load(fh, "builtin", "builtin", NULL, NULL);
    multihost_start(builtin, NULL);
    multihost_handler(fh, builtin, builtin_types, 8);
    proc = multihost_load(fh, "processor", "processor", settings, NULL);
}

static void begin(const char *const *settings)
{
    begin_on(fakestore_iface(), settings);
}

static void setup(void)
{
    begin(NULL);
}

static void setup_started(void)
{
    begin(NULL);
    multihost_start(proc, NULL);
}

static void teardown(void)
{
    multihost_free(fh);
    fakestore_free(fs);
}

/* ---- a job's way ---- */

START_TEST(echo_completes)
{
    sample s = send_job("echo", "{\"a\":1}", "");
    odto_job j = wait_status(s.id, ODTO_COMPLETED);
    ck_assert_uint_eq(j.attempt, 1);
    ck_assert(odto_slice_eq(j.result, "{\"a\":1}"));
    ck_assert_int_eq(j.outcome, ODTO_OUT_OK);
    wait_published("jobs.completed", 1);
    json_object *e = published_json("jobs.completed", 0), *job, *by;
    ck_assert_str_eq(member(e, "eventType"), "job.completed");
    ck_assert_str_eq(member(e, "correlationId"), s.correlation);
    ck_assert_str_eq(member(e, "idempotencyKey"), s.id);
    ck_assert_str_ne(member(e, "eventId"), s.event_id);
    ck_assert(json_object_object_get_ex(e, "producer", &by));
    ck_assert_str_eq(member(by, "service"), "processor");
    ck_assert(json_object_object_get_ex(e, "payload", &job));
    ck_assert_str_eq(member(job, "status"), "COMPLETED");
    ck_assert_str_eq(member(job, "id"), s.id);
    json_object_put(e);
    wait_acked(1);
    ck_assert_int_eq(multihost_metric(fh, "processor_jobs_processed_total", NULL), 1);
    ck_assert_int_eq(multihost_metric(fh, "processor_jobs_completed_total", NULL), 1);
    ck_assert_int_eq(multihost_metric(fh, "processor_job_processing_seconds", NULL), 1);
    ck_assert_int_eq(multihost_metric(fh, "odto_jobs_finished_total", "default/echo/completed"), 1);
    ck_assert_int_eq(multihost_metric(fh, "odto_job_attempts_total", "default/echo/ok"), 1);
}
END_TEST

START_TEST(events_are_valid)
{
    odto_schema *envelope, *job, *letter;
    odto_header h;
    char why[512];
    odto_schema_compile_builtin("event-envelope", &envelope, NULL);
    odto_schema_compile_builtin("job", &job, NULL);
    odto_schema_compile_builtin("dead-letter", &letter, NULL);
    send_job("echo", "{}", "");
    send_job("fail", "{\"retry\":false}", ",\"metadata\":{\"x\":\"é\\n\"}");
    wait_published("jobs.completed", 2);
    wait_published("jobs.failed.validation", 1);
    for (size_t i = 0; i < 2; i++) {
        odto_slice body = odto_slice_str(multihost_body(fh, "jobs.completed", i));
        ck_assert_msg(!odto_envelope_check(body, envelope, job, 64, &h, why, sizeof why), "%s", why);
    }
    json_object *o = published_json("jobs.failed.validation", 0);
    ck_assert_uint_eq(odto_schema_validate(letter, o, NULL, 0), 0);
    json_object_put(o);
    odto_schema_free(envelope);
    odto_schema_free(job);
    odto_schema_free(letter);
}
END_TEST

START_TEST(twice_is_once)
{
    sample s = make("echo", "{}", "");
    for (int i = 0; i < 3; i++)
        multihost_deliver(proc, s.body, true);
    wait_status(s.id, ODTO_COMPLETED);
    wait_acked(3);
    multihost_deliver(proc, s.body, true);
    wait_acked(4);
    wait_published("jobs.completed", 1);
    ck_assert_uint_eq(fakestore_attempts(fs, s.id), 1);
    free(s.body);
}
END_TEST

START_TEST(escaped_strings)
{
    sample s = send_job("ec\\u0068o", "{\"q\":\"\\\"\"}", "");
    odto_job j = wait_status(s.id, ODTO_COMPLETED);
    ck_assert(odto_slice_eq(j.type, "echo"));
    ck_assert(odto_slice_eq(j.result, "{\"q\":\"\\\"\"}"));
}
END_TEST

START_TEST(fails_then_completes)
{
    sample s = send_job("fail", "{\"times\":2,\"error\":\"not \\\"yet\\\"\"}", "");
    odto_job j = wait_status(s.id, ODTO_COMPLETED);
    ck_assert_uint_eq(j.attempt, 3);
    ck_assert_uint_eq(fakestore_attempts(fs, s.id), 3);
    odto_attempt a = fakestore_attempt(fs, s.id, 0);
    ck_assert_int_eq(a.outcome, ODTO_OUT_ERROR);
    ck_assert(odto_slice_eq(a.error, "not \"yet\""));
    wait_published("jobs.completed", 1);
    ck_assert_uint_eq(multihost_published(fh, "jobs.failed.validation"), 0);
}
END_TEST

START_TEST(exhausted)
{
    sample s = send_job("fail", "{}", ",\"options\":{\"maxAttempts\":4}");
    odto_job j = wait_status(s.id, ODTO_FAILED);
    ck_assert_uint_eq(j.attempt, 4);
    wait_published("jobs.completed", 1);
    wait_published("jobs.failed.validation", 1);
    json_object *e = published_json("jobs.completed", 0), *job;
    ck_assert_str_eq(member(e, "eventType"), "job.failed");
    json_object_object_get_ex(e, "payload", &job);
    ck_assert_str_eq(member(job, "status"), "FAILED");
    json_object_put(e);
    json_object *d = published_json("jobs.failed.validation", 0), *original, *attempts;
    ck_assert_str_eq(member(d, "correlation_id"), s.correlation);
    ck_assert_str_eq(member(d, "service"), "processor");
    ck_assert_ptr_nonnull(strstr(member(d, "validation_error"), "out of attempts (attempt 4 of 4)"));
    json_object_object_get_ex(d, "original_event", &original);
    ck_assert_str_eq(member(original, "eventId"), s.event_id);
    json_object_object_get_ex(d, "attempts", &attempts);
    ck_assert_uint_eq(json_object_array_length(attempts), 4);
    for (size_t i = 0; i < 4; i++)
        ck_assert_int_eq(atoi(member(json_object_array_get_idx(attempts, i), "number")), (int)i + 1);
    json_object_put(d);
    ck_assert_int_eq(multihost_metric(fh, "processor_jobs_failed_total", NULL), 1);
    ck_assert_int_eq(multihost_metric(fh, "odto_dead_letters_total", "default"), 1);
}
END_TEST

START_TEST(discarded)
{
    sample s = send_job("fail", "{\"retry\":false}", "");
    odto_job j = wait_status(s.id, ODTO_FAILED);
    ck_assert_uint_eq(j.attempt, 1);
    ck_assert_int_eq(j.outcome, ODTO_OUT_DISCARDED);
    wait_published("jobs.failed.validation", 1);
}
END_TEST

START_TEST(handler_delay_wins)
{
    int64_t from = odto_unix_ms();
    sample s = send_job("fail", "{\"times\":1,\"delay\":0.3}", "");
    wait_status(s.id, ODTO_COMPLETED);
    ck_assert_int_ge(odto_unix_ms() - from, 300);
}
END_TEST

START_TEST(timeout_of_the_job)
{
    sample s =
        send_job("sleep", "{\"ms\":60000}", ",\"options\":{\"timeoutSeconds\":0.05,\"maxAttempts\":2}");
    odto_job j = wait_status(s.id, ODTO_FAILED);
    ck_assert_int_eq(j.outcome, ODTO_OUT_TIMEOUT);
    ck_assert_uint_eq(fakestore_attempts(fs, s.id), 2);
    wait_published("jobs.completed", 1); /* counted before it is published */
    ck_assert_int_eq(multihost_metric(fh, "odto_job_attempts_total", "default/sleep/timeout"), 2);
}
END_TEST

START_TEST(delayed)
{
    sample s = send_job("echo", "{}", ",\"options\":{\"delaySeconds\":0.4}");
    odto_job j = wait_status(s.id, ODTO_PENDING);
    wait_acked(1);
    j = wait_status(s.id, ODTO_COMPLETED);
    ck_assert_int_ge(fakestore_attempt(fs, s.id, 0).started_at - j.accepted_at, 400);
    ck_assert_int_le(fakestore_attempt(fs, s.id, 0).started_at - j.accepted_at, 3000);
}
END_TEST

START_TEST(run_at_in_the_past_and_expired)
{
    sample a = send_job("echo", "{}", ",\"options\":{\"runAt\":\"2020-01-01T00:00:00Z\"}");
    sample b = send_job("echo", "{}", ",\"options\":{\"expiresAt\":\"2020-01-01T00:00:00Z\"}");
    wait_status(a.id, ODTO_COMPLETED);
    odto_job j = wait_status(b.id, ODTO_FAILED);
    ck_assert_int_eq(j.outcome, ODTO_OUT_EXPIRED);
    wait_published("jobs.completed", 2);
    ck_assert_uint_eq(multihost_published(fh, "jobs.failed.validation"), 0); /* it is nobody's error */
    ck_assert_int_eq(multihost_metric(fh, "odto_jobs_finished_total", "default/echo/expired"), 1);
}
END_TEST

START_TEST(redriven)
{
    odto_uuid id;
    odto_uuid_v7(&id);
    sample s = make_for(&id, "fail", "{\"retry\":false}", "");
    multihost_deliver(proc, s.body, true);
    wait_status(s.id, ODTO_FAILED);
    wait_published("jobs.completed", 1);
    sample again = make_for(&id, "echo", "{}", "");
    multihost_deliver(proc, again.body, true); /* only a repetition */
    wait_acked(2);
    wait_status(s.id, ODTO_FAILED);
    char *body = malloc(strlen(again.body) + 32);
    sprintf(body, "{\"redrive\":true,%s", again.body + 1);
    multihost_deliver(proc, body, true);
    wait_status(s.id, ODTO_COMPLETED);
    wait_published("jobs.completed", 2);
    free(body);
    free(s.body);
    free(again.body);
}
END_TEST

/* ---- what is not valid ---- */

START_TEST(invalid_is_rejected)
{
    multihost_quiet(fh, true);
    multihost_deliver(proc, "{\"eventType\":\"job.created\"}", false);
    multihost_deliver(proc, "not json", false);
    multisettled s = multihost_settled(fh);
    ck_assert_uint_eq(s.rejected, 2);
    ck_assert_ptr_nonnull(strstr(s.why, "JSON"));
    ck_assert_int_eq(multihost_metric(fh, "processor_jobs_validation_failed_total", NULL), 2);
    sample ok = make("echo", "{}", "");
    multihost_deliver(proc, ok.body, false); /* valid, though nobody said so */
    wait_status(ok.id, ODTO_COMPLETED);
    char *other = strdup(ok.body), *at = strstr(other, "job.created");
    memcpy(at, "job.failed\"", 11);
    memmove(at + 10, at + 11, strlen(at + 11) + 1);
    multihost_deliver(proc, other, false);
    ck_assert_uint_eq(multihost_settled(fh).rejected, 3);
    ck_assert_int_eq(multihost_metric(fh, "odto_jobs_rejected_total", "event_type"), 1);
    free(other);
    free(ok.body);
}
END_TEST

START_TEST(unknown_dead_letter)
{
    sample s = send_job("report", "{}", "");
    odto_job j = wait_status(s.id, ODTO_FAILED);
    ck_assert_ptr_nonnull(memmem(j.error.p, j.error.n, "[handler report]", 16));
    wait_published("jobs.failed.validation", 1);
    ck_assert_int_eq(multihost_metric(fh, "odto_jobs_finished_total", "default/other/failed"), 1);
}
END_TEST

START_TEST(unknown_echo)
{
    const char *const settings[] = {"unknown_type=echo", NULL};
    multihost_free(fh);
    fakestore_free(fs);
    begin(settings);
    multihost_start(proc, NULL);
    sample s = send_job("report", "{\"x\":2}", "");
    odto_job j = wait_status(s.id, ODTO_COMPLETED);
    ck_assert(odto_slice_eq(j.result, "{\"x\":2}"));
    sample d = send_job("later", "{}", ",\"options\":{\"delaySeconds\":0.2}");
    wait_status(d.id, ODTO_PENDING);
    wait_status(d.id, ODTO_COMPLETED);
}
END_TEST

START_TEST(unknown_waits)
{
    const char *const settings[] = {"unknown_type=wait", NULL};
    multihost_free(fh);
    fakestore_free(fs);
    begin(settings);
    multihost_start(proc, NULL);
    sample s = send_job("report", "{}", ""), e = send_job("echo", "{}", "");
    wait_status(e.id, ODTO_COMPLETED);
    wait_status(s.id, ODTO_PENDING);
    wait_acked(2);
}
END_TEST

/* ---- slots ---- */

/* A handler of the test: runs are held until they are let go. */
typedef struct gate {
    pthread_mutex_t lock;
    odto_run *held[512];
    size_t n, most, total;
    _Atomic size_t cancelled;
    char order[512][8]; /* payload of each started run */
} gate;

static void gate_start(void *self, odto_run **runs, size_t n)
{
    gate *g = self;
    pthread_mutex_lock(&g->lock);
    for (size_t i = 0; i < n; i++) {
        odto_slice p = runs[i]->job->payload;
        snprintf(g->order[g->total++], sizeof g->order[0], "%.*s", (int)(p.n > 7 ? 7 : p.n), p.p);
        g->held[g->n++] = runs[i];
    }
    if (g->n > g->most)
        g->most = g->n;
    pthread_mutex_unlock(&g->lock);
}

static void gate_cancel(void *self, odto_run *run)
{
    gate *g = self;
    (void)run;
    atomic_fetch_add(&g->cancelled, 1);
}

static size_t gate_open(gate *g, odto_run_end end)
{
    odto_run *held[512];
    pthread_mutex_lock(&g->lock);
    size_t n = g->n;
    memcpy(held, g->held, n * sizeof held[0]);
    g->n = 0;
    pthread_mutex_unlock(&g->lock);
    odto_run_result r = {.end = end, .error = odto_slice_str("gate")};
    for (size_t i = 0; i < n; i++)
        held[i]->finish(held[i], &r);
    return n;
}

static bool gate_holds(void *arg)
{
    gate *g = ((void **)arg)[0];
    size_t want = *(size_t *)((void **)arg)[1];
    pthread_mutex_lock(&g->lock);
    bool ok = g->n >= want;
    pthread_mutex_unlock(&g->lock);
    return ok;
}

static void wait_held(gate *g, size_t n)
{
    void *args[] = {g, &n};
    ck_assert(multihost_wait(gate_holds, args, "held runs"));
}

static const odto_handler_iface gate_iface = {
    .size = sizeof gate_iface, .start = gate_start, .cancel = gate_cancel};
static const char *const gate_types[] = {"gate", NULL};
static gate the_gate;

static odto_handler_ref *add_gate(uint32_t slots)
{
    memset(&the_gate, 0, sizeof the_gate);
    pthread_mutex_init(&the_gate.lock, NULL);
    return multihost_handler_code(fh, "gate", &gate_iface, &the_gate, gate_types, slots);
}

START_TEST(slots_are_kept)
{
    sample jobs[20];
    add_gate(3);
    multihost_start(proc, NULL);
    for (int i = 0; i < 20; i++)
        jobs[i] = send_job("gate", "{}", "");
    wait_held(&the_gate, 3);
    wait_acked(20); /* the others are rows that wait */
    ck_assert_int_eq(fakestore_stats(fs).pending, 17);
    ck_assert_int_eq(multihost_metric(fh, "odto_pool_slots_busy", "gate"), 3);
    sample e = send_job("echo", "{}", ""); /* another handler is not held up */
    wait_status(e.id, ODTO_COMPLETED);
    for (int i = 0; i < 20; i++) {
        state w = {jobs[i].id, ODTO_COMPLETED};
        while (!has_state(&w)) /* under the time limit of the test */
            gate_open(&the_gate, ODTO_RUN_OK);
    }
    ck_assert_uint_le(the_gate.most, 3);
    ck_assert_uint_eq(the_gate.total, 20);
}
END_TEST

START_TEST(priority_first)
{
    add_gate(1);
    multihost_start(proc, NULL);
    send_job("gate", "{\"a\":0}", "");
    wait_held(&the_gate, 1);
    send_job("gate", "{\"a\":1}", "");
    send_job("gate", "{\"a\":2}", ",\"options\":{\"priority\":-5}");
    send_job("gate", "{\"a\":3}", ",\"options\":{\"priority\":5}");
    wait_acked(4);
    for (size_t i = 1; i <= 4; i++) {
        wait_held(&the_gate, 1);
        gate_open(&the_gate, ODTO_RUN_OK);
    }
    ck_assert_str_eq(the_gate.order[1], "{\"a\":3}");
    ck_assert_str_eq(the_gate.order[2], "{\"a\":1}");
    ck_assert_str_eq(the_gate.order[3], "{\"a\":2}");
}
END_TEST

/* A handler whose start() works until the job is done. */
static _Atomic int blocking_now, blocking_most;

static void blocking_start(void *self, odto_run **runs, size_t n)
{
    (void)self;
    ck_assert_uint_eq(n, 1);
    int now = atomic_fetch_add(&blocking_now, 1) + 1, most = atomic_load(&blocking_most);
    while (now > most && !atomic_compare_exchange_weak(&blocking_most, &most, now))
        ;
    usleep(20000);
    atomic_fetch_sub(&blocking_now, 1);
    odto_run_result r = {.end = ODTO_RUN_OK, .result = odto_slice_str("done")};
    runs[0]->finish(runs[0], &r);
}

START_TEST(blocking_handlers)
{
    static const odto_handler_iface iface = {
        .size = sizeof iface, .flags = ODTO_HANDLER_BLOCKING, .start = blocking_start};
    static const char *const types[] = {"block", NULL};
    char ids[24][ODTO_UUID_LEN + 1];
    multihost_handler_code(fh, "block", &iface, NULL, types, 4);
    multihost_start(proc, NULL);
    for (int i = 0; i < 24; i++)
        memcpy(ids[i], send_job("block", "{}", "").id, sizeof ids[i]);
    for (int i = 0; i < 24; i++)
        wait_status(ids[i], ODTO_COMPLETED);
    ck_assert_int_le(atomic_load(&blocking_most), 4);
    ck_assert_int_ge(atomic_load(&blocking_most), 2);
}
END_TEST

START_TEST(lost_attempts_are_poison)
{
    const char *const settings[] = {"max_lost=2", NULL};
    multihost_free(fh);
    fakestore_free(fs);
    begin(settings);
    add_gate(1)->max_attempts = 20;
    multihost_start(proc, NULL);
    sample s = send_job("gate", "{}", "");
    for (int i = 0; i < 3; i++) {
        wait_held(&the_gate, 1);
        gate_open(&the_gate, ODTO_RUN_LOST);
    }
    odto_job j = wait_status(s.id, ODTO_FAILED);
    ck_assert_int_eq(j.outcome, ODTO_OUT_POISON);
    wait_published("jobs.failed.validation", 1);
}
END_TEST

static void twice_start(void *self, odto_run **runs, size_t n)
{
    const odto_run_result ok = {.end = ODTO_RUN_OK}, bad = {.end = ODTO_RUN_DISCARD};
    (void)self;
    for (size_t i = 0; i < n; i++) {
        runs[i]->finish(runs[i], &ok);
        runs[i]->finish(runs[i], &bad);
    }
}

START_TEST(finished_twice)
{
    static const odto_handler_iface iface = {.size = sizeof iface, .start = twice_start};
    static const char *const types[] = {"twice", NULL};
    multihost_handler_code(fh, "twice", &iface, NULL, types, 2);
    multihost_start(proc, NULL);
    sample s = send_job("twice", "{}", "");
    wait_status(s.id, ODTO_COMPLETED);
    wait_published("jobs.completed", 1);
}
END_TEST

/* ---- leases ---- */

START_TEST(own_leases_are_taken_back)
{
    char owner[64];
    snprintf(owner, sizeof owner, "test/processor/%08x", odto_crc32c(0, "/tmp", 4));
    const char *mine = "00000000-0000-7000-8000-000000000001",
               *theirs = "00000000-0000-7000-8000-000000000002",
               *poison = "00000000-0000-7000-8000-000000000003",
               *late = "00000000-0000-7000-8000-000000000004";
    int64_t later = odto_unix_ms() + 60000;
    fakestore_put_leased(fs, mine, "echo", owner, later, 0);
    fakestore_put_leased(fs, theirs, "echo", "other", later, 0);
    fakestore_put_leased(fs, poison, "echo", owner, later, 3);
    fakestore_put_leased(fs, late, "echo", "other", 1, 0);
    multihost_start(proc, NULL);
    odto_job j = wait_status(mine, ODTO_COMPLETED);
    ck_assert_uint_eq(j.attempt, 2);
    ck_assert_uint_eq(j.lost, 1);
    wait_status(late, ODTO_COMPLETED);
    j = wait_status(poison, ODTO_FAILED);
    ck_assert_int_eq(j.outcome, ODTO_OUT_POISON);
    wait_status(theirs, ODTO_EXECUTING);
    wait_published("jobs.completed", 3);
    wait_published("jobs.failed.validation", 1);
}
END_TEST

START_TEST(long_jobs_keep_their_lease)
{
    const char *const settings[] = {"lease=1s", NULL};
    multihost_free(fh);
    fakestore_free(fs);
    begin(settings);
    multihost_start(proc, NULL);
    sample s = send_job("sleep", "{\"ms\":2500}", "");
    odto_job j = wait_status(s.id, ODTO_COMPLETED);
    ck_assert_uint_eq(j.attempt, 1);
    ck_assert_uint_eq(j.lost, 0);
}
END_TEST

START_TEST(late_results_are_dropped)
{
    add_gate(1);
    multihost_start(proc, NULL);
    sample s = send_job("gate", "{}", "");
    wait_held(&the_gate, 1);
    fakestore_steal(fs, s.id);
    gate_open(&the_gate, ODTO_RUN_OK);
    sample t = send_job("gate", "{}", ""); /* the slot is free again */
    wait_held(&the_gate, 1);
    gate_open(&the_gate, ODTO_RUN_OK);
    wait_status(t.id, ODTO_COMPLETED);
    wait_status(s.id, ODTO_EXECUTING);
    wait_published("jobs.completed", 1); /* counted before */
    ck_assert_int_eq(multihost_metric(fh, "odto_job_attempts_total", "default/gate/fenced"), 1);
}
END_TEST

START_TEST(stolen_lease_cancels)
{
    const char *const settings[] = {"lease=1s", NULL};
    multihost_free(fh);
    fakestore_free(fs);
    begin(settings);
    add_gate(1);
    multihost_start(proc, NULL);
    sample s = send_job("gate", "{}", "");
    wait_held(&the_gate, 1);
    fakestore_steal(fs, s.id);
    for (int i = 0; i < 3000 && !the_gate.cancelled; i++)
        usleep(1000);
    ck_assert_uint_eq(the_gate.cancelled, 1);
    gate_open(&the_gate, ODTO_RUN_OK);
    sample t = send_job("gate", "{}", "");
    wait_held(&the_gate, 1);
    gate_open(&the_gate, ODTO_RUN_OK);
    wait_status(t.id, ODTO_COMPLETED);
}
END_TEST

/* ---- the store away ---- */

static bool is_ready(void *arg)
{
    return multihost_health(proc).ready == *(bool *)arg;
}

static void wait_ready(bool ready)
{
    ck_assert(multihost_wait(is_ready, &ready, ready ? "ready" : "not ready"));
}

START_TEST(store_away)
{
    char ids[50][ODTO_UUID_LEN + 1];
    fakestore_fail(fs, -ENOSPC, false);
    for (int i = 0; i < 50; i++)
        memcpy(ids[i], send_job(i % 5 ? "echo" : "fail", "{\"times\":1}", "").id, sizeof ids[i]);
    wait_ready(false);
    ck_assert_uint_eq(multihost_prefetch(fh), 0);
    ck_assert_ptr_nonnull(strstr(multihost_health(proc).reason, "No space left"));
    ck_assert_uint_eq(multihost_settled(fh).acked, 0);
    fakestore_fail(fs, 0, false);
    for (int i = 0; i < 50; i++)
        wait_status(ids[i], ODTO_COMPLETED);
    wait_ready(true);
    ck_assert_uint_gt(multihost_prefetch(fh), 0);
    wait_acked(50);
    wait_published("jobs.completed", 50);
}
END_TEST

START_TEST(store_away_at_the_end_of_a_job)
{
    add_gate(8);
    multihost_start(proc, NULL);
    char ids[8][ODTO_UUID_LEN + 1];
    for (int i = 0; i < 8; i++)
        memcpy(ids[i], send_job("gate", "{}", "").id, sizeof ids[i]);
    wait_held(&the_gate, 8);
    fakestore_fail(fs, -EIO, false);
    gate_open(&the_gate, ODTO_RUN_OK);
    wait_ready(false);
    fakestore_fail(fs, 0, false);
    for (int i = 0; i < 8; i++)
        wait_status(ids[i], ODTO_COMPLETED);
    wait_published("jobs.completed", 8);
    ck_assert_uint_eq(the_gate.total, 8);
}
END_TEST

START_TEST(store_away_at_start)
{
    fakestore_fail(fs, -EAGAIN, false);
    multihost_start(proc, NULL);
    wait_ready(false);
    fakestore_fail(fs, 0, false);
    wait_ready(true);
    sample s = send_job("echo", "{}", "");
    wait_status(s.id, ODTO_COMPLETED);
}
END_TEST

/* The commit happened, but we are told that it failed: nothing may be lost, events may come twice. */
START_TEST(commit_in_doubt)
{
    add_gate(4);
    multihost_start(proc, NULL);
    sample s = send_job("gate", "{}", "");
    wait_held(&the_gate, 1);
    fakestore_fail(fs, -EIO, true);
    gate_open(&the_gate, ODTO_RUN_OK);
    wait_ready(false);
    fakestore_fail(fs, 0, false);
    wait_ready(true);
    wait_status(s.id, ODTO_COMPLETED);
    wait_published("jobs.completed", 1);
}
END_TEST

START_TEST(store_full_for_a_moment)
{
    fakestore_reject(fs, -EAGAIN);
    sample s = send_job("echo", "{}", "");
    usleep(30000);
    ck_assert(multihost_health(proc).ready); /* not worth a word */
    fakestore_reject(fs, 0);
    wait_status(s.id, ODTO_COMPLETED);
    wait_published("jobs.completed", 1);
}
END_TEST

/* ---- the routes away ---- */

START_TEST(route_refuses)
{
    bool later = _i == 1;
    char ids[20][ODTO_UUID_LEN + 1];
    multihost_refuse(fh, "jobs.completed", -EAGAIN, later);
    for (int i = 0; i < 20; i++)
        memcpy(ids[i], send_job("echo", "{}", "").id, sizeof ids[i]);
    for (int i = 0; i < 20; i++)
        wait_status(ids[i], ODTO_COMPLETED);
    ck_assert_uint_eq(fakestore_outbox(fs), 20);
    ck_assert_uint_eq(multihost_published(fh, "jobs.completed"), 0);
    multihost_refuse(fh, "jobs.completed", 0, false);
    wait_published("jobs.completed", 20);
    send_job("echo", "{}", ""); /* and the fast way is open again */
    wait_published("jobs.completed", 21);
}
END_TEST

START_TEST(outbox_of_an_earlier_life)
{
    multihost_start(proc, NULL);
    multihost_refuse(fh, "jobs.completed", -ECANCELED, true);
    sample s = send_job("fail", "{\"retry\":false}", "");
    wait_status(s.id, ODTO_FAILED);
    multihost_stop(proc);
    ck_assert_uint_ge(fakestore_outbox(fs), 1);
    multihost_refuse(fh, "jobs.completed", 0, false);
    proc = multihost_load(fh, "processor", "processor", NULL, NULL);
    multihost_start(proc, NULL);
    wait_published("jobs.completed", 1);
}
END_TEST

START_TEST(outbox_of_a_host_that_does_not_come_back)
{
    const char *const settings[] = {"lease=1s", NULL};
    multihost_free(fh);
    fakestore_free(fs);
    begin_on(fakestore_shared_iface(), settings);
    multihost_start(proc, NULL);
    send_job("echo", "{}", ""); /* what it took over at its start is done with */
    wait_published("jobs.completed", 1);
    for (int i = 0; i < 3; i++)
        fakestore_leave(fs, "jobs.completed", "{}");
    fakestore_leave(fs, "jobs.failed.validation", "{}");
    wait_published("jobs.completed", 4);
    wait_published("jobs.failed.validation", 1);
    send_job("echo", "{}", "");
    wait_published("jobs.completed", 5);
}
END_TEST

/* ---- the end ---- */

START_TEST(quiesce_gives_back)
{
    add_gate(2);
    multihost_start(proc, NULL);
    char ids[6][ODTO_UUID_LEN + 1];
    for (int i = 0; i < 6; i++)
        memcpy(ids[i], send_job("gate", "{}", "").id, sizeof ids[i]);
    wait_held(&the_gate, 2);
    wait_acked(6);
    ck_assert_int_eq(multihost_quiesce(proc, 300), -ETIMEDOUT); /* the handler does not let go */
    ck_assert_uint_eq(the_gate.cancelled, 2);
    for (int i = 0; i < 6; i++) {
        odto_job j = wait_status(ids[i], ODTO_PENDING);
        ck_assert_uint_eq(j.attempt, 0);
    }
    ck_assert_uint_eq(multihost_prefetch(fh), 0);
    gate_open(&the_gate, ODTO_RUN_OK); /* too late: dropped */
    ck_assert_int_eq(multihost_quiesce(proc, 1000), 0);
    multihost_stop(proc);
    ck_assert_int_eq(fakestore_stats(fs).pending, 6);
}
END_TEST

/* A run that goes on for a while after the processor was told to drain. */
static void *gate_open_later(void *arg)
{
    (void)arg;
    usleep(200000);
    gate_open(&the_gate, ODTO_RUN_OK);
    return NULL;
}

START_TEST(quiesce_waits_for_the_running)
{
    add_gate(1);
    multihost_start(proc, NULL);
    sample s = send_job("gate", "{}", "");
    wait_held(&the_gate, 1); /* not only claimed: what is claimed and not yet begun would go back */
    pthread_t t;
    ck_assert_int_eq(pthread_create(&t, NULL, gate_open_later, NULL), 0);
    ck_assert_int_eq(multihost_quiesce(proc, 50000), 0);
    ck_assert_int_eq(pthread_join(t, NULL), 0);
    wait_status(s.id, ODTO_COMPLETED);
    sample late = send_job("echo", "{}", ""); /* one that was on its way: a row, not run */
    wait_status(late.id, ODTO_PENDING);
    multihost_stop(proc);
    wait_status(late.id, ODTO_PENDING);
}
END_TEST

START_TEST(stop_at_once)
{
    multihost_start(proc, NULL);
    sample s = send_job("sleep", "{\"ms\":60000}", "");
    wait_status(s.id, ODTO_EXECUTING);
    multihost_stop(proc);
    odto_job j = wait_status(s.id, ODTO_PENDING);
    ck_assert_uint_eq(j.attempt, 0);
}
END_TEST

START_TEST(stop_while_the_store_is_away)
{
    multihost_start(proc, NULL);
    sample s = send_job("sleep", "{\"ms\":60000}", "");
    wait_status(s.id, ODTO_EXECUTING);
    fakestore_fail(fs, -EIO, false);
    send_job("echo", "{}", "");
    wait_ready(false);
    int64_t from = odto_now_ns();
    multihost_stop(proc);
    ck_assert_int_le(odto_now_ns() - from, 5 * ODTO_SEC);
    ck_assert_uint_eq(multihost_settled(fh).returned, 1); /* the event whose row is not durable */
    wait_status(s.id, ODTO_EXECUTING);                    /* taken back at the next start */
}
END_TEST

/* ---- many ---- */

#define MANY 20000

static bool all_done(void *arg)
{
    (void)arg;
    return fakestore_stats(fs).completed == MANY;
}

START_TEST(many_jobs)
{
    static char *bodies[MANY];
    fakestore_delay(fs, ODTO_MS);
    for (int i = 0; i < MANY; i++)
        bodies[i] = make("echo", "{\"some\":\"payload of a usual size, more or less\"}", "").body;
    int64_t from = odto_now_ns();
    for (int i = 0; i < MANY; i += 200)
        multihost_deliver_many(proc, bodies + i, 200, true);
    ck_assert(multihost_wait(all_done, NULL, "all jobs"));
    fprintf(stderr, "# %d jobs in %.2f s, %zu batches\n", MANY, (double)(odto_now_ns() - from) / 1e9,
            fakestore_batches(fs));
    wait_published("jobs.completed", MANY);
    wait_acked(MANY);
    for (int i = 0; i < MANY; i++)
        free(bodies[i]);
}
END_TEST

typedef struct completed {
    int64_t n;
} completed;

static bool has_completed(void *arg)
{
    return fakestore_stats(fs).completed >= ((completed *)arg)->n;
}

static void send_many(int n)
{
    static char *bodies[MANY];
    for (int i = 0; i < n; i++)
        bodies[i] = make("echo", "{}", "").body;
    multihost_deliver_many(proc, bodies, (size_t)n, true);
    for (int i = 0; i < n; i++)
        free(bodies[i]);
}

/* So many jobs that it is known how little they take. */
static int become_known(void)
{
    enum { N = 40 };
    for (int i = 0; i < N; i++)
        wait_status(send_job("echo", "{}", "").id, ODTO_COMPLETED);
    return N;
}

/* … whose slot is free in a moment: written once as running, not as waiting, claimed and running. Where the
 * machine takes the processor away from a job, it is not known as short for a while: again, then. */
START_TEST(short_jobs_wait_without_a_row)
{
    enum { N = 2000, TRIES = 20 };
    size_t all = 0, before, claimed;
    for (int i = 0; i < TRIES && (!i || claimed > before); i++) {
        all += (size_t)become_known() + N;
        before = fakestore_claimed(fs);
        fakestore_delay(fs, 10 * ODTO_MS);
        send_many(N);
        ck_assert(multihost_wait(has_completed, &(completed){(int64_t)all}, "all jobs"));
        claimed = fakestore_claimed(fs);
        fakestore_delay(fs, 0);
    }
    ck_assert_uint_eq(claimed, before);
    wait_published("jobs.completed", all);
    wait_acked(all);
}
END_TEST

/* … but not longer than a second, and not when the instance goes. */
START_TEST(waiting_without_a_row_ends)
{
    size_t all = (size_t)become_known() + 3000;
    fakestore_delay(fs, 300 * ODTO_MS);
    send_many(3000);
    if (_i == 0) {
        multihost_quiesce(proc, 20000);
        multihost_stop(proc);
        multisettled n = multihost_settled(fh);
        ck_assert_uint_eq(n.acked + n.returned, all);
        odto_jobs_stats rows = fakestore_stats(fs);
        ck_assert_int_eq(rows.pending + rows.completed, (int64_t)n.acked);
    } else {
        wait_acked(all);
        ck_assert_uint_gt(fakestore_claimed(fs) + (size_t)fakestore_stats(fs).pending, 0);
        ck_assert(multihost_wait(has_completed, &(completed){(int64_t)all}, "all jobs"));
    }
}
END_TEST

/* Few and large publications while they are not confirmed. */
START_TEST(events_gather_while_the_route_is_slow)
{
    multihost_hold(fh, "jobs.completed", true);
    for (int64_t i = 0; i < 100; i++) {
        send_job("echo", "{}", "");
        ck_assert(multihost_wait(has_completed, &(completed){i + 1}, "the job"));
    }
    ck_assert_uint_le(multihost_held(fh, "jobs.completed"), 4);
    multihost_hold(fh, "jobs.completed", false);
    wait_published("jobs.completed", 100);
}
END_TEST

/* Jobs go on when it does not confirm at all, and their events wait in the store. */
START_TEST(route_without_an_answer)
{
    multihost_hold(fh, "jobs.completed", true);
    send_many(MANY);
    ck_assert(multihost_wait(has_completed, &(completed){MANY}, "all jobs"));
    ck_assert_uint_le(multihost_held(fh, "jobs.completed"), 32);
    ck_assert_uint_eq(fakestore_outbox(fs), MANY);
    multihost_hold(fh, "jobs.completed", false);
    wait_published("jobs.completed", MANY);
}
END_TEST

/* Jobs of every kind while the store and the route fail again and again. */
START_TEST(trouble)
{
    enum { N = 600 };
    char ids[N][ODTO_UUID_LEN + 1];
    static const char *const payloads[] = {"{}", "{\"times\":1}", "{\"retry\":false}", "{\"ms\":3}"};
    static const char *const types[] = {"echo", "fail", "fail", "sleep"};
    multihost_quiet(fh, true);
    fakestore_delay(fs, ODTO_MS / 2);
    for (int i = 0; i < N; i++) {
        memcpy(ids[i], send_job(types[i % 4], payloads[i % 4], "").id, sizeof ids[i]);
        if (i % 60 == 20)
            fakestore_fail(fs, -EIO, false);
        if (i % 60 == 30)
            multihost_refuse(fh, "jobs.completed", -EAGAIN, i % 120 > 60);
        if (i % 60 == 50) {
            fakestore_fail(fs, 0, false);
            multihost_refuse(fh, "jobs.completed", 0, false);
        }
        usleep(500);
    }
    fakestore_fail(fs, 0, false);
    multihost_refuse(fh, "jobs.completed", 0, false);
    for (int i = 0; i < N; i++)
        wait_status(ids[i], i % 4 == 2 ? ODTO_FAILED : ODTO_COMPLETED);
    wait_published("jobs.completed", N);
    wait_published("jobs.failed.validation", N / 4);
    wait_acked(N);
}
END_TEST

START_TEST(idle_costs_nothing)
{
    sample s = send_job("echo", "{}", "");
    wait_status(s.id, ODTO_COMPLETED);
    wait_published("jobs.completed", 1);
    size_t before = 0, after = 0;
    for (int i = 0; i < 10 && (!i || after > before); i++) { /* what the job left to do may come late */
        before = fakestore_batches(fs);
        usleep(300000);
        after = fakestore_batches(fs);
    }
    ck_assert_uint_eq(after, before);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("processor");
    TCase *t = tcase_create("started");
    tcase_add_checked_fixture(t, setup_started, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, echo_completes);
    tcase_add_test(t, events_are_valid);
    tcase_add_test(t, twice_is_once);
    tcase_add_test(t, escaped_strings);
    tcase_add_test(t, fails_then_completes);
    tcase_add_test(t, exhausted);
    tcase_add_test(t, discarded);
    tcase_add_test(t, handler_delay_wins);
    tcase_add_test(t, timeout_of_the_job);
    tcase_add_test(t, delayed);
    tcase_add_test(t, run_at_in_the_past_and_expired);
    tcase_add_test(t, redriven);
    tcase_add_test(t, invalid_is_rejected);
    tcase_add_test(t, unknown_dead_letter);
    tcase_add_test(t, store_away);
    tcase_add_test(t, store_full_for_a_moment);
    tcase_add_loop_test(t, route_refuses, 0, 2);
    tcase_add_test(t, many_jobs);
    tcase_add_test(t, short_jobs_wait_without_a_row);
    tcase_add_loop_test(t, waiting_without_a_row_ends, 0, 2);
    tcase_add_test(t, events_gather_while_the_route_is_slow);
    tcase_add_test(t, route_without_an_answer);
    tcase_add_test(t, trouble);
    tcase_add_test(t, idle_costs_nothing);
    suite_add_tcase(s, t);
    t = tcase_create("not started");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, unknown_echo);
    tcase_add_test(t, unknown_waits);
    tcase_add_test(t, slots_are_kept);
    tcase_add_test(t, priority_first);
    tcase_add_test(t, blocking_handlers);
    tcase_add_test(t, lost_attempts_are_poison);
    tcase_add_test(t, finished_twice);
    tcase_add_test(t, own_leases_are_taken_back);
    tcase_add_test(t, long_jobs_keep_their_lease);
    tcase_add_test(t, late_results_are_dropped);
    tcase_add_test(t, stolen_lease_cancels);
    tcase_add_test(t, store_away_at_the_end_of_a_job);
    tcase_add_test(t, store_away_at_start);
    tcase_add_test(t, commit_in_doubt);
    tcase_add_test(t, outbox_of_an_earlier_life);
    tcase_add_test(t, outbox_of_a_host_that_does_not_come_back);
    tcase_add_test(t, quiesce_gives_back);
    tcase_add_test(t, quiesce_waits_for_the_running);
    tcase_add_test(t, stop_at_once);
    tcase_add_test(t, stop_while_the_store_is_away);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    SRunner *r = srunner_create(suite());
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
