/* test_metrics_plugin.c — plugins/metrics against a fake host and scripted stores: what is acknowledged when,
 * what a store that is away changes, what is rejected. */
#include <odto/test.h>

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern const odto_plugin metrics_plugin __asm__("odto_plugin");

static odto_test f;

/* ---- a store that does as it is told ----------------------------------------------------------- */

typedef struct fake_store {
    int submit_rc, result; /* of the next writes */
    int poison_type;       /* writes with an event of this type fail with -EINVAL; 0 none */
    bool hold;
    odto_write *held[64];
    size_t n_held, writes, events, counted;
    odto_counters counters, in_log;
    size_t sets;
    int read_rc;
} fake_store;

static bool poisoned(const fake_store *s, const odto_write *w)
{
    for (size_t i = 0; s->poison_type && i < w->n; i++)
        if (w->headers && (int)w->headers[i].type == s->poison_type)
            return true;
    return false;
}

static int submit(fake_store *s, odto_write *w)
{
    if (s->submit_rc)
        return s->submit_rc;
    s->writes++;
    if (s->hold) {
        s->held[s->n_held++] = w;
        return 0;
    }
    int result = poisoned(s, w) ? -EINVAL : s->result;
    if (result == 0 && w->bodies)
        s->events += w->n;
    if (result == 0 && w->counted)
        for (size_t i = 0; i < w->n; i++) {
            s->counted++;
            s->counters.completed += w->counted[i].completed;
            s->counters.failed += w->counted[i].failed;
        }
    w->done(w, result);
    return 0;
}

static void release(fake_store *s, int result)
{
    size_t n = s->n_held;
    s->n_held = 0;
    for (size_t i = 0; i < n; i++)
        s->held[i]->done(s->held[i], result);
}

static int add(void *self, odto_write *w)
{
    return submit(self, w);
}

static int read_counters(void *self, odto_counters *out, odto_error *err)
{
    fake_store *s = self;
    *out = s->counters;
    return s->read_rc ? odto_fail(err, s->read_rc, "away") : 0;
}

static int set_counters(void *self, const odto_counters *c, odto_error *err)
{
    (void)err;
    fake_store *s = self;
    s->counters = *c;
    __atomic_fetch_add(&s->sets, 1, __ATOMIC_RELEASE);
    return 0;
}

static int count(void *self, odto_counters *out, odto_error *err)
{
    (void)err;
    *out = ((fake_store *)self)->in_log;
    return 0;
}

static bool scan_add(fake_store *s, odto_counted_fn *fn, void *arg, int64_t n, bool completed, bool failed)
{
    (void)s;
    for (int64_t i = 0; i < n; i++) {
        odto_counted e = {.completed = completed, .failed = failed};
        odto_uuid_v7(&e.event_id);
        if (!fn(arg, &e))
            return false;
    }
    return true;
}

static int scan(void *self, odto_counted_fn *fn, void *arg, odto_error *err)
{
    fake_store *s = self;
    (void)err;
    if (scan_add(s, fn, arg, s->in_log.completed, true, false))
        scan_add(s, fn, arg, s->in_log.failed, false, true);
    return 0;
}

static const odto_counters_ops counters_ops = {
    .size = sizeof counters_ops, .add = add, .read = read_counters, .set = set_counters};
static const odto_events_ops events_ops = {
    .size = sizeof events_ops, .append = add, .count = count, .scan = scan};
static const odto_events_ops both_ops = {
    .size = sizeof both_ops, .append = add, .append_counted = add, .count = count};
static const odto_store_iface one = {.size = sizeof one, .counters = &counters_ops, .events = &both_ops};
static const odto_store_iface only_counters = {.size = sizeof only_counters, .counters = &counters_ops};
static const odto_store_iface only_events = {.size = sizeof only_events, .events = &events_ops};

static fake_store main_store, counters_store;

/* ---- events ------------------------------------------------------------------------------------ */

static unsigned serial;

static const char *envelope(const char *type)
{
    static char text[1024];
    snprintf(
        text, sizeof text,
        "{\"contractVersion\":\"1.0.0\",\"eventType\":\"%s\",\"eventId\":\"01890a5d-ac96-774b-bcce-%012x\","
        "\"occurredAt\":\"2025-01-01T00:00:00.000Z\",\"producer\":{\"service\":\"processor\",\"instanceId\":"
        "\"a\","
        "\"version\":\"1\"},\"correlationId\":\"01890a5d-ac96-774b-bcce-b302099a8057\",\"idempotencyKey\":"
        "\"k\","
        "\"payload\":{\"id\":\"01890a5d-ac96-774b-bcce-b302099a8057\",\"type\":\"echo\",\"status\":"
        "\"COMPLETED\","
        "\"createdAt\":\"2025-01-01T00:00:00Z\"}}",
        type, ++serial);
    return text;
}

static void give(const char *type, bool valid)
{
    odto_lease l = odto_test_lease(&f, envelope(type), valid);
    metrics_plugin.ops->handle(f.self, &l, 1);
}

static size_t settled(odto_verdict v)
{
    size_t n = 0;
    for (size_t i = 0; i < __atomic_load_n(&f.n_settled, __ATOMIC_ACQUIRE); i++)
        n += f.settled[i].verdict == v;
    return n;
}

static void begin_with(bool together, const char *const *options)
{
    odto_error err = {0};
    odto_test_setup(&f, &metrics_plugin);
    f.options = options;
    odto_test_store(&f, "events", together ? &one : &only_events, &main_store);
    odto_test_store(&f, "counters", together ? &one : &only_counters,
                    together ? &main_store : &counters_store);
    ck_assert_int_eq(odto_test_init(&f, &err), 0);
    ck_assert_msg(odto_test_start(&f, &err) == 0, "%s", err.message);
}

static void begin(bool together)
{
    begin_with(together, NULL);
}

static bool ready(void)
{
    odto_health h = {0};
    metrics_plugin.ops->health(f.self, &h);
    return h.ready;
}

/* ---- tests ------------------------------------------------------------------------------------- */

START_TEST(acknowledged_after_the_commit)
{
    begin(true);
    main_store.hold = true;
    give("job.completed", true);
    give("job.failed", true);
    ck_assert_uint_eq(main_store.n_held, 2); /* several writes in flight */
    ck_assert_uint_eq(f.n_settled, 0);
    release(&main_store, 0);
    ck_assert_uint_eq(settled(ODTO_ACK), 2);
    ck_assert_int_eq(odto_test_metric_value(&f, "odto_metrics_events_stored_total"), 2);
    odto_test_stop(&f);
}
END_TEST

START_TEST(one_store_counts_while_it_appends)
{
    begin(true);
    give("job.completed", true);
    give("job.failed", true);
    give("job.validated", true);
    ck_assert_uint_eq(main_store.writes, 3);
    ck_assert_uint_eq(main_store.events, 3);
    ck_assert_uint_eq(main_store.counted, 3);
    ck_assert_int_eq(main_store.counters.completed, 1);
    ck_assert_int_eq(main_store.counters.failed, 1);
    odto_test_stop(&f);
}
END_TEST

START_TEST(two_stores_both_must_commit)
{
    begin(false);
    ck_assert(odto_test_wait_count((size_t *)&f.health_changes, 1)); /* the counters were looked at */
    main_store.hold = counters_store.hold = true;
    give("job.completed", true);
    ck_assert_uint_eq(counters_store.n_held, 0); /* what is counted is in the log */
    release(&main_store, 0);
    ck_assert_uint_eq(f.n_settled, 0);
    release(&counters_store, 0);
    ck_assert_uint_eq(settled(ODTO_ACK), 1);
    /* one fails: only that one is written again */
    main_store.hold = counters_store.hold = false;
    counters_store.result = -EAGAIN;
    give("job.completed", true);
    ck_assert_uint_eq(settled(ODTO_ACK), 1);
    ck_assert(!ready());
    counters_store.result = 0;
    size_t writes = main_store.writes;
    odto_test_fire(&f);
    ck_assert_uint_eq(settled(ODTO_ACK), 2);
    ck_assert_uint_eq(main_store.writes, writes);
    ck_assert(ready());
    odto_test_stop(&f);
}
END_TEST

START_TEST(a_batch_is_one_write)
{
    begin(true);
    static odto_lease leases[600];
    for (size_t i = 0; i < 600; i++)
        leases[i] = odto_test_lease(&f, envelope("job.completed"), true);
    metrics_plugin.ops->handle(f.self, leases, 600);
    ck_assert_uint_eq(main_store.writes, 3); /* of at most 256 */
    ck_assert_uint_eq(settled(ODTO_ACK), 600);
    odto_test_stop(&f);
}
END_TEST

START_TEST(a_store_that_is_away)
{
    begin(true);
    ck_assert_uint_eq(f.prefetch, 1024);
    ck_assert(ready());
    main_store.result = -EIO;
    give("job.completed", true);
    ck_assert_uint_eq(f.n_settled, 0); /* nothing acknowledged, nothing given up */
    ck_assert_uint_eq(f.prefetch, 0);  /* consumption pauses */
    ck_assert(!ready());
    for (int i = 0; i < 5; i++)
        odto_test_fire(&f);
    ck_assert_uint_eq(f.n_settled, 0);
    main_store.result = 0;
    odto_test_fire(&f);
    ck_assert_uint_eq(settled(ODTO_ACK), 1);
    ck_assert_uint_eq(f.prefetch, 1024);
    ck_assert(ready());
    ck_assert_int_eq(odto_test_metric_value(&f, "odto_metrics_write_failures_total"), 6);
    odto_test_stop(&f);
}
END_TEST

START_TEST(a_store_that_takes_no_submission)
{
    begin(true);
    main_store.submit_rc = -EAGAIN;
    give("job.completed", true);
    ck_assert(!ready());
    main_store.submit_rc = 0;
    odto_test_fire(&f);
    ck_assert_uint_eq(settled(ODTO_ACK), 1);
    odto_test_stop(&f);
}
END_TEST

START_TEST(invalid_envelopes_are_rejected)
{
    begin(true);
    odto_lease bad = odto_test_lease(&f, "{\"eventType\":\"job.completed\"}", false);
    metrics_plugin.ops->handle(f.self, &bad, 1);
    ck_assert_uint_eq(settled(ODTO_REJECT), 1);
    ck_assert_msg(strstr(f.settled[0].why, "event-envelope") != NULL, "%s", f.settled[0].why);
    odto_lease no_json = odto_test_lease(&f, "not json", false);
    metrics_plugin.ops->handle(f.self, &no_json, 1);
    ck_assert_uint_eq(settled(ODTO_REJECT), 2);
    give("job.completed", false); /* one from elsewhere, that is valid */
    ck_assert_uint_eq(settled(ODTO_ACK), 1);
    ck_assert_int_eq(odto_test_metric_value(&f, "odto_metrics_events_rejected_total"), 2);
    odto_test_stop(&f);
}
END_TEST

START_TEST(one_event_the_store_refuses)
{
    begin(true);
    static odto_lease leases[100];
    main_store.poison_type = ODTO_JOB_VALIDATED;
    for (size_t i = 0; i < 100; i++)
        leases[i] = odto_test_lease(&f, envelope(i == 37 ? "job.validated" : "job.completed"), true);
    metrics_plugin.ops->handle(f.self, leases, 100);
    ck_assert_uint_eq(settled(ODTO_ACK), 99);
    ck_assert_uint_eq(settled(ODTO_REJECT), 1);
    ck_assert_uint_eq(main_store.events, 99);
    ck_assert(ready());
    odto_test_stop(&f);
}
END_TEST

START_TEST(a_store_that_is_back_and_refuses_what_waited)
{
    begin(true);
    main_store.result = -EIO;
    give("job.validated", true);
    ck_assert_uint_eq(f.prefetch, 0);
    main_store.result = 0;
    main_store.poison_type = ODTO_JOB_VALIDATED;
    odto_test_fire(&f);
    ck_assert_uint_eq(settled(ODTO_REJECT), 1);
    ck_assert_uint_eq(f.prefetch, 1024); /* nothing else would ever say that the store is there */
    ck_assert(ready());
    odto_test_stop(&f);
}
END_TEST

START_TEST(a_store_that_is_stopped_gets_it_again)
{
    begin(true);
    main_store.submit_rc = -ECANCELED;
    give("job.completed", true);
    ck_assert_uint_eq(f.n_settled, 0); /* given back it would come again at once, until it is a dead letter */
    main_store.submit_rc = 0;
    odto_test_fire(&f);
    ck_assert_uint_eq(settled(ODTO_ACK), 1);
    odto_test_stop(&f);
}
END_TEST

START_TEST(a_busy_store_gets_larger_batches)
{
    begin(true);
    main_store.hold = true;
    for (int i = 0; i < 100; i++)
        give("job.completed", true);
    ck_assert_uint_eq(main_store.n_held, 8); /* the others wait, handle() does not */
    main_store.hold = false;
    release(&main_store, 0);
    ck_assert_uint_eq(settled(ODTO_ACK), 100);
    ck_assert_uint_eq(main_store.writes, 9); /* and go together */
    odto_test_stop(&f);
}
END_TEST

START_TEST(no_more_than_the_prefetch_is_held)
{
    static const char *const options[] = {"prefetch", "10", NULL};
    begin_with(true, options);
    main_store.result = -EIO;
    for (int i = 0; i < 20; i++)
        give("job.completed", true);
    ck_assert_uint_eq(settled(ODTO_RETURN), 9); /* one is in a write, ten are queued */
    main_store.result = 0;
    odto_test_fire(&f);
    ck_assert_uint_eq(settled(ODTO_ACK), 11);
    odto_test_stop(&f);
}
END_TEST

START_TEST(quiesce_writes_what_is_queued)
{
    begin(true);
    main_store.hold = true;
    for (int i = 0; i < 20; i++)
        give("job.completed", true);
    ck_assert_int_eq(metrics_plugin.ops->quiesce(f.self, odto_now_ns() + 10 * ODTO_MS), -ETIMEDOUT);
    main_store.hold = false;
    release(&main_store, 0);
    ck_assert_int_eq(metrics_plugin.ops->quiesce(f.self, odto_now_ns() + ODTO_SEC), 0);
    ck_assert_uint_eq(settled(ODTO_ACK), 20);
    odto_test_stop(&f);
}
END_TEST

START_TEST(a_store_that_goes_away_while_draining)
{
    begin(true);
    main_store.hold = true;
    for (int i = 0; i < 20; i++)
        give("job.completed", true);
    ck_assert_int_eq(metrics_plugin.ops->quiesce(f.self, odto_now_ns()), -ETIMEDOUT);
    release(&main_store, -EIO);
    ck_assert_int_eq(metrics_plugin.ops->quiesce(f.self, odto_now_ns() + ODTO_SEC), 0);
    ck_assert_uint_eq(settled(ODTO_RETURN), 20);
    odto_test_stop(&f);
}
END_TEST

START_TEST(quiesce_returns_what_no_store_took)
{
    begin(true);
    main_store.result = -EIO;
    give("job.completed", true);
    ck_assert_int_eq(metrics_plugin.ops->quiesce(f.self, odto_now_ns() + ODTO_SEC), 0);
    ck_assert_uint_eq(settled(ODTO_RETURN), 1);
    odto_test_stop(&f);
}
END_TEST

START_TEST(lost_counters_are_rebuilt)
{
    main_store.in_log = (odto_counters){7, 5, 2, "2025-01-01T00:00:00Z"};
    begin(false);
    ck_assert(odto_test_wait_count(&counters_store.sets, 1));
    ck_assert(odto_test_wait_count((size_t *)&f.health_changes, 1));
    ck_assert_int_eq(counters_store.counters.completed, 5);
    ck_assert_int_eq(counters_store.counters.failed, 2);
    ck_assert_uint_eq(f.prefetch, 1024);
    ck_assert(ready());
    odto_test_stop(&f);
}
END_TEST

START_TEST(nothing_is_consumed_before_the_counters_are_known)
{
    counters_store.read_rc = -EAGAIN;
    begin(false);
    ck_assert(!ready());
    ck_assert_uint_eq(f.prefetch, 0);
    odto_test_stop(&f); /* the thread ends though the store never answered */
}
END_TEST

START_TEST(counters_that_are_there_stay)
{
    counters_store.counters = (odto_counters){1, 1, 0, ""};
    main_store.in_log = (odto_counters){7, 5, 2, ""};
    begin(false);
    ck_assert(odto_test_wait_count((size_t *)&f.health_changes, 1));
    ck_assert_uint_eq(counters_store.sets, 0);
    odto_test_stop(&f);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("metrics plugin");
    TCase *t = tcase_create("metrics plugin");
    tcase_set_timeout(t, 30);
    tcase_add_test(t, acknowledged_after_the_commit);
    tcase_add_test(t, one_store_counts_while_it_appends);
    tcase_add_test(t, two_stores_both_must_commit);
    tcase_add_test(t, a_batch_is_one_write);
    tcase_add_test(t, a_store_that_is_away);
    tcase_add_test(t, a_store_that_takes_no_submission);
    tcase_add_test(t, invalid_envelopes_are_rejected);
    tcase_add_test(t, one_event_the_store_refuses);
    tcase_add_test(t, a_store_that_is_back_and_refuses_what_waited);
    tcase_add_test(t, a_store_that_is_stopped_gets_it_again);
    tcase_add_test(t, a_busy_store_gets_larger_batches);
    tcase_add_test(t, no_more_than_the_prefetch_is_held);
    tcase_add_test(t, quiesce_writes_what_is_queued);
    tcase_add_test(t, a_store_that_goes_away_while_draining);
    tcase_add_test(t, quiesce_returns_what_no_store_took);
    tcase_add_test(t, lost_counters_are_rebuilt);
    tcase_add_test(t, nothing_is_consumed_before_the_counters_are_known);
    tcase_add_test(t, counters_that_are_there_stay);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
