/* test_sdk.c — the test library against a small plugin of its own: clock and timers, events, jobs, HTTP,
 * descriptors, a reload, every allocation and every host call failing in turn. */
#include <odto/test.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- the plugin: counts what it handles, publishes one event for each, ticks every minute ---------- */

struct counter {
    odto_host *host;
    odto_timer *timer;
    odto_route *out;
    odto_thread *thread;
    int64_t period;
    uint64_t handled, ticks;
    odto_metric *m_handled;
    char *note;
};

static const odto_option options[] = {
    {.name = "period",
     .type = ODTO_OPT_DURATION,
     .default_value = "60s",
     .min = ODTO_SEC,
     .max = 3600 * ODTO_SEC,
     .help = "x"},
    {.name = "words", .type = ODTO_OPT_LIST, .default_value = "a, b", .help = "x"},
    {.name = "mode", .type = ODTO_OPT_ENUM, .default_value = "two", .choices = "one|two|three", .help = "x"},
    {.name = "must", .type = ODTO_OPT_STRING, .flags = ODTO_OPTION_REQUIRED, .help = "x"},
};

static int counter_init(odto_host *h, const odto_config *c, void **self, odto_error *err)
{
    struct counter *p = calloc(1, sizeof *p);
    if (p)
        p->note = strdup("a note");
    if (!p || !p->note) {
        free(p);
        return odto_fail(err, -ENOMEM, "no memory");
    }
    p->host = h;
    p->period = odto_config_int(c, "period");
    *self = p;
    return 0;
}

static void tick(void *arg)
{
    struct counter *p = arg;
    p->ticks++;
    p->host->api->timer_set(p->timer, p->period);
}

static void wait_for_stop(void *arg)
{
    struct counter *p = arg;
    while (!p->host->api->stopping(p->host))
        usleep(500);
}

static void show(void *self, odto_http_request *rq)
{
    struct counter *p = self;
    const odto_http_api *http = p->host->api->http;
    odto_slice name = http->param(rq, "name");
    odto_buf b = {0};
    odto_buf_printf(&b, "%.*s=%llu", (int)name.n, name.p, (unsigned long long)p->handled);
    if (b.failed)
        http->reply_error(rq, 503, "no memory", NULL, NULL, 1);
    else
        http->reply(rq, 200, NULL, 0, odto_slice_of(b.p, b.n), NULL, NULL);
    odto_buf_free(&b);
}

static const odto_http_route routes[] = {{.method = "GET", .path = "/show/{name}", .fn = show}};

static int counter_start(void *self, odto_error *err)
{
    struct counter *p = self;
    const odto_host_api *api = p->host->api;
    p->m_handled = api->metric(p->host, ODTO_COUNTER, "handled_total", "x", NULL, NULL, NULL, 0);
    p->out = api->route(p->host, "out");
    p->timer = api->timer_new(p->host, tick, p);
    if (!p->out || !p->timer)
        return odto_fail(err, -ENOENT, "no route or timer");
    int r = api->thread_start(p->host, "w", wait_for_stop, p, &p->thread);
    if (r < 0)
        return odto_fail(err, r, "no thread");
    api->timer_set(p->timer, p->period);
    return api->http->serve(p->host, "127.0.0.1:1", "counter", routes, 1, NULL, 0, err);
}

static void counter_handle(void *self, const odto_lease *leases, size_t n)
{
    struct counter *p = self;
    const odto_host_api *api = p->host->api;
    for (size_t i = 0; i < n; i++) {
        odto_event *e = api->event_new(p->host, leases[i].event->body, 0);
        int r = e ? api->publish(p->host, p->out, &e, 1, 0, NULL, NULL) : -ENOMEM;
        if (e)
            api->event_unref(e);
        p->handled += r == 0;
        odto_metric_add(p->m_handled, r == 0);
        api->settle(p->host, &leases[i], 1, r == 0 ? ODTO_ACK : ODTO_RETURN, r == 0 ? NULL : "full");
    }
}

static int counter_save(void *self, uint32_t *version, odto_buf *blob, odto_error *err)
{
    struct counter *p = self;
    *version = 1;
    odto_buf_put(blob, &p->handled, sizeof p->handled);
    return blob->failed ? odto_fail(err, -ENOMEM, "no memory") : 0;
}

static int counter_restore(void *self, uint32_t version, odto_slice blob, odto_error *err)
{
    struct counter *p = self;
    if (version != 1 || blob.n != sizeof p->handled)
        return odto_fail(err, -EINVAL, "another version");
    memcpy(&p->handled, blob.p, blob.n);
    return 0;
}

static void counter_fini(void *self)
{
    struct counter *p = self;
    if (p->timer)
        p->host->api->timer_free(p->timer);
    free(p->note);
    free(p);
}

static void run(void *self, odto_run **runs, size_t n)
{
    (void)self;
    for (size_t i = 0; i < n; i++) {
        runs[i]->progress(runs[i], 0.5, odto_slice_str("half"));
        while (strcmp(runs[i]->type, "wait") == 0 && !runs[i]->should_stop(runs[i]))
            usleep(500);
        odto_run_result r = {.end = ODTO_RUN_OK, .result = runs[i]->job->payload};
        runs[i]->finish(runs[i], &r);
    }
}

static const odto_plugin_ops ops = {.size = sizeof ops,
                                    .init = counter_init,
                                    .restore = counter_restore,
                                    .start = counter_start,
                                    .handle = counter_handle,
                                    .save = counter_save,
                                    .fini = counter_fini};
static const odto_handler_iface handler = {
    .size = sizeof handler, .flags = ODTO_HANDLER_BLOCKING, .start = run};
static const char *const consumes[] = {"in", NULL};
ODTO_PLUGIN_DEFINE("counter", "1", ODTO_KIND_HANDLER, .options = options, .n_options = 4, .ops = &ops,
                   .consumes = consumes, .handler = &handler);
ODTO_TEST_PLUGIN(plugin);

/* ---- tests ------------------------------------------------------------------------------------------ */

static odto_test t;
static const char *const good[] = {"must", "x", "period", "10s", NULL};

static struct counter *up(void)
{
    odto_error err = {0};
    odto_test_setup(&t, &plugin);
    t.options = good;
    ck_assert_int_eq(odto_test_init(&t, &err), 0);
    ck_assert_msg(odto_test_start(&t, &err) == 0, "%s", err.message);
    return t.self;
}

static void down(void)
{
    odto_test_stop(&t);
    ck_assert_uint_eq(t.n_threads, 0);
    ck_assert_uint_eq(t.n_timers, 0);
    odto_test_free(&t);
}

START_TEST(the_clock_stands_until_it_is_moved)
{
    struct counter *p = up();
    int64_t before = t.api.now(&t.host), unix_before = t.api.unix_ms(&t.host);
    usleep(2000);
    ck_assert_int_eq(t.api.now(&t.host), before);
    odto_test_advance(&t, 35 * ODTO_SEC);
    ck_assert_uint_eq(p->ticks, 3); /* at 10, 20 and 30 s */
    ck_assert_int_eq(t.api.now(&t.host) - before, 35 * ODTO_SEC);
    ck_assert_int_eq(t.api.unix_ms(&t.host) - unix_before, 35000);
    ck_assert(odto_test_fire(&t)); /* at 40 s */
    ck_assert_int_eq(t.api.now(&t.host) - before, 40 * ODTO_SEC);
    odto_test_clock_runs(&t);
    int64_t running = t.api.now(&t.host);
    while (t.api.now(&t.host) == running)
        ;
    down();
}
END_TEST

START_TEST(events_are_recorded_and_scripted)
{
    struct counter *p = up();
    odto_test_deliver(&t, "one", false);
    ck_assert_uint_eq(t.n_events, 1);
    ck_assert_str_eq(t.topics[0], "out");
    ck_assert(odto_slice_eq(t.events[0]->body, "one"));
    ck_assert_int_eq(t.settled[0].verdict, ODTO_ACK);
    t.publish_rc = -EAGAIN;
    odto_test_deliver(&t, "two", false);
    ck_assert_int_eq(t.settled[1].verdict, ODTO_RETURN);
    ck_assert_str_eq(t.settled[1].why, "full");
    ck_assert_uint_eq(odto_test_unsettled(&t), 0);
    ck_assert_uint_eq(p->handled, 1);
    ck_assert_int_eq(odto_test_metric_value(&t, "handled_total"), 1);
    ck_assert_int_eq(odto_test_metric_value(&t, "nothing"), -1);
    ck_assert_str_eq(odto_test_body(odto_test_get(&t, "/show/a%20b")), "a b=1");
    down();
}
END_TEST

START_TEST(state_goes_over_to_the_next_instance)
{
    odto_error err = {0};
    up();
    odto_test_deliver(&t, "one", false);
    ck_assert_int_eq(odto_test_reload(&t, &err), 0);
    ck_assert_uint_eq(((struct counter *)t.self)->handled, 1);
    down();
}
END_TEST

START_TEST(jobs_run_and_are_cancelled)
{
    up();
    const odto_test_job *j = odto_test_ended(odto_test_run(&t, "echo", "{\"n\":1}"));
    ck_assert_int_eq(j->end, ODTO_RUN_OK);
    ck_assert_str_eq(j->result, "{\"n\":1}");
    ck_assert(j->progress == 0.5);
    odto_test_job *w = odto_test_run(&t, "wait", "2");
    odto_test_cancel(w);
    ck_assert_str_eq(odto_test_ended(w)->result, "2");
    down();
}
END_TEST

static int init_with(const char *name, const char *value, odto_error *err)
{
    const char *const set[] = {"must", "x", name, value, NULL};
    odto_test_setup(&t, &plugin);
    t.options = set;
    int r = odto_test_init(&t, err);
    if (r == 0)
        plugin.ops->fini(t.self);
    odto_test_free(&t);
    return r;
}

START_TEST(options_are_checked_as_a_manifest_s)
{
    odto_error err = {0};
    ck_assert_int_eq(init_with("mode", "three", &err), 0);
    ck_assert_int_lt(init_with("mode", "four", &err), 0);
    ck_assert_int_lt(init_with("period", "soon", &err), 0);
    ck_assert_int_lt(init_with("period", "2h", &err), 0);
    ck_assert(strstr(err.message, "out of range") != NULL);
    ck_assert_int_lt(init_with("perid", "2s", &err), 0);
    odto_test_setup(&t, &plugin); /* `must` is missing */
    ck_assert_int_lt(odto_test_init(&t, &err), 0);
    odto_test_free(&t);
}
END_TEST

/* One life with a fault; true when the fault was met. */
static bool life(size_t call, size_t allocation)
{
    odto_error err = {0};
    odto_test_setup(&t, &plugin);
    t.options = good;
    odto_test_fail_call(&t, call);
    odto_test_fail_malloc(allocation, false);
    int r = odto_test_init(&t, &err);
    if (r == 0) {
        r = odto_test_start(&t, &err);
        if (r == 0) {
            odto_test_deliver(&t, "one", false);
            int status = odto_test_reply_of(odto_test_get(&t, "/show/x"))->status;
            ck_assert(status == 200 || status == 503);
        }
        odto_test_stop(&t);
    }
    bool met = t.refused || odto_test_malloc_failed();
    ck_assert(r == 0 || err.code != 0);
    ck_assert_uint_eq(odto_test_unsettled(&t), 0);
    ck_assert(allocation || met || t.calls > 0);
    odto_test_free(&t);
    odto_test_fail_malloc(0, false);
    return met;
}

START_TEST(host_calls_fail_in_turn)
{
    size_t n = 1;
    while (life(n, 0))
        n++;
    ck_assert_uint_eq(n, 7); /* route, timer_new, thread_start, serve, event_new, publish */
}
END_TEST

START_TEST(allocations_fail_in_turn)
{
    size_t n = 1;
    while (life(0, n))
        n++;
    /* instance, note, the text of the reply; a sanitizer's own strdup() asks no malloc() that could fail */
    ck_assert_uint_ge(n, ODTO_SANITIZER_ID ? 3 : 4);
    ck_assert_uint_le(n, 12);
}
END_TEST

START_TEST(descriptors_are_kept)
{
    up();
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    odto_buf note = {0};
    ck_assert_int_eq(t.api.fd_put(&t.host, "null", fd, odto_slice_str("why")), 0);
    ck_assert_uint_eq(odto_test_fds(&t), 1);
    ck_assert_int_eq(t.api.fd_take(&t.host, "null", &note), fd);
    ck_assert_str_eq(note.p, "why");
    ck_assert_int_eq(t.api.fd_take(&t.host, "null", NULL), -ENOENT);
    odto_buf_free(&note);
    close(fd);
    down();
}
END_TEST

START_TEST(settling_twice_ends_the_test)
{
    up();
    odto_lease l = odto_test_lease(&t, "one", false);
    t.api.settle(&t.host, &l, 1, ODTO_ACK, NULL);
    t.api.settle(&t.host, &l, 1, ODTO_ACK, NULL);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("test library");
    TCase *c = tcase_create("all");
    tcase_add_test(c, the_clock_stands_until_it_is_moved);
    tcase_add_test(c, events_are_recorded_and_scripted);
    tcase_add_test(c, state_goes_over_to_the_next_instance);
    tcase_add_test(c, jobs_run_and_are_cancelled);
    tcase_add_test(c, options_are_checked_as_a_manifest_s);
    tcase_add_test(c, host_calls_fail_in_turn);
    tcase_add_test(c, allocations_fail_in_turn);
    tcase_add_test(c, descriptors_are_kept);
    tcase_add_test_raise_signal(c, settling_twice_ends_the_test, 6);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
