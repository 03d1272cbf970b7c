/* The parts of the dashboard without a screen: text, editing, answers, metrics, registry, progress, URLs. */
#include "child.h"
#include "edit.h"
#include "keys.h"
#include "layout.h"
#include "locate.h"
#include "parse.h"
#include "probe.h"
#include "progress.h"
#include "registry.h"
#include "text.h"

#include <check.h>
#include <errno.h>
#include <locale.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static odto_slice S(const char *s)
{
    return odto_slice_str(s);
}

/* ---- text ---------------------------------------------------------------------------------- */

static void cleans(const char *in, const char *want)
{
    char out[256];
    text_clean(out, sizeof out, in);
    ck_assert_str_eq(out, want);
}

START_TEST(clean_strips_what_steers_a_terminal)
{
    cleans("plain", "plain");
    cleans("\033[31mred\033[0m", "[31mred[0m");
    cleans("a\tb\nc\rd", "a b cd");
    cleans("\xc2\x9b"
           "2J",
           "2J"); /* C1 CSI as UTF-8 */
    cleans("\x9b"
           "2J",
           "\xef\xbf\xbd"
           "2J"); /* C1 CSI as a raw byte: invalid UTF-8 */
    cleans("abc\xe2\x80\xae"
           "fed",
           "abcfed");                         /* right-to-left override */
    cleans("\xe2\x81\xa6x\xe2\x81\xa9", "x"); /* isolates */
    cleans("zero\xe2\x80\x8bwidth\xef\xbb\xbf", "zerowidth");
    cleans("\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd"); /* overlong */
    cleans("\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
    cleans("gr\xc3\xbc\xc3\x9f \xe6\x97\xa5\xe6\x9c\xac", "gr\xc3\xbc\xc3\x9f \xe6\x97\xa5\xe6\x9c\xac");
    cleans("cut \xe6\x97", "cut \xef\xbf\xbd\xef\xbf\xbd");
}
END_TEST

START_TEST(clean_cuts_at_whole_characters)
{
    char out[6];
    text_clean(out, sizeof out, "abc\xe6\x97\xa5");
    ck_assert_str_eq(out, "abc");
    text_clean(out, 1, "abc");
    ck_assert_str_eq(out, "");
}
END_TEST

START_TEST(figures)
{
    static const struct {
        int64_t v;
        const char *want;
    } numbers[] = {{0, "0"},        {999, "999"},
                   {1000, "1 000"}, {1234567, "1 234 567"},
                   {-123, "-123"},  {INT64_MIN, "-9 223 372 036 854 775 808"}},
      durations[] = {{-1, "-"},        {0, "<1ms"},       {8, "8ms"},         {1240, "1.24s"},
                     {59900, "59.9s"}, {245000, "4m05s"}, {7620000, "2h07m"}, {273600000, "3d04h"}};
    static const struct {
        double v;
        const char *want;
    } rates[] = {{0.01, "0"}, {3.14, "3.1"}, {420, "420"}, {12345, "12.3k"}, {4e6, "4.0M"}};
    char t[32];
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        text_number(t, sizeof t, numbers[i].v);
        ck_assert_str_eq(t, numbers[i].want);
    }
    for (size_t i = 0; i < sizeof durations / sizeof durations[0]; i++) {
        text_duration(t, sizeof t, durations[i].v);
        ck_assert_str_eq(t, durations[i].want);
    }
    for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
        text_rate(t, sizeof t, rates[i].v);
        ck_assert_str_eq(t, rates[i].want);
    }
    text_count(t, sizeof t, 9999);
    ck_assert_str_eq(t, "9999");
    text_count(t, sizeof t, 12600);
    ck_assert_str_eq(t, "12.6k");
    setenv("TZ", "UTC", 1);
    text_clock(t, sizeof t, INT64_C(1785506400000));
    ck_assert_str_eq(t, "14:00:00");
    text_clock(t, sizeof t, 0);
    ck_assert_str_eq(t, "-");
    text_datetime(t, sizeof t, INT64_C(1785506400123));
    ck_assert_str_eq(t, "2026-07-31 14:00:00.123");
}
END_TEST

START_TEST(columns)
{
    ck_assert_int_eq(text_columns("abc"), 3);
    ck_assert_int_eq(text_columns("\xe6\x97\xa5"), 2);
    ck_assert_int_eq(text_columns("e\xcc\x81"), 1); /* a combining accent adds none */
    ck_assert_int_eq(text_columns("\xf0\x9f\x9a\xa8"), 2);
}
END_TEST

START_TEST(contains)
{
    ck_assert(text_contains("Report.Nightly", "nIGHT"));
    ck_assert(text_contains("x", ""));
    ck_assert(!text_contains("", "x"));
    ck_assert(!text_contains("abc", "abcd"));
}
END_TEST

/* ---- edit ---------------------------------------------------------------------------------- */

START_TEST(editing)
{
    edit e = {.max = 10};
    edit_set(&e, "ab");
    ck_assert(edit_key(&e, 0xE9));
    ck_assert_str_eq(e.text, "ab\xc3\xa9");
    edit_key(&e, DKEY_LEFT);
    edit_key(&e, DKEY_LEFT);
    edit_key(&e, 'X');
    ck_assert_str_eq(e.text, "aXb\xc3\xa9");
    edit_key(&e, DKEY_END);
    edit_key(&e, DKEY_BACKSPACE);
    ck_assert_str_eq(e.text, "aXb");
    edit_key(&e, DKEY_HOME);
    edit_key(&e, DKEY_DELETE);
    ck_assert_str_eq(e.text, "Xb");
    edit_key(&e, DKEY_BACKSPACE); /* nothing before the cursor */
    ck_assert_str_eq(e.text, "Xb");
    edit_set(&e, "one two");
    edit_key(&e, DKEY_CTRL('w'));
    ck_assert_str_eq(e.text, "one ");
    edit_key(&e, DKEY_CTRL('u'));
    ck_assert_str_eq(e.text, "");
    for (int i = 0; i < 50; i++) {
        edit_key(&e, 0x65E5);
    }
    ck_assert_uint_eq(e.len, 9); /* three whole characters of three bytes */
    ck_assert(!edit_key(&e, DKEY_ENTER));
    ck_assert(!edit_key(&e, DKEY_ESC));
    ck_assert(edit_key(&e, 0x202E)); /* taken, but nothing of it goes in */
    ck_assert_uint_eq(e.len, 9);
}
END_TEST

/* ---- answers ------------------------------------------------------------------------------- */

START_TEST(stats_of_both_spellings)
{
    stats s;
    ck_assert_int_eq(parse_stats(S("{\"totalJobs\":3,\"completedJobs\":2,\"failedJobs\":1,"
                                   "\"lastEventTime\":\"2026-07-31T14:00:00Z\",\"pendingJobs\":7}"),
                                 &s, NULL),
                     0);
    ck_assert_int_eq(s.total, 3);
    ck_assert_int_eq(s.pending, 7);
    ck_assert_int_eq(s.executing, -1);
    ck_assert_int_eq(s.last_event_ms, INT64_C(1785506400000));
    ck_assert_int_eq(parse_stats(S("{\"total_jobs\":9,\"completed_jobs\":9,\"failed_jobs\":0}"), &s, NULL),
                     0);
    ck_assert_int_eq(s.total, 9);
    odto_error err = {0};
    ck_assert_int_lt(parse_stats(S("{\"error\":\"x\"}"), &s, &err), 0);
    ck_assert_str_ne(err.message, "");
    ck_assert_int_lt(parse_stats(S("[[["), &s, NULL), 0);
    ck_assert_int_lt(parse_stats(S(""), &s, NULL), 0);
    ck_assert_int_lt(parse_stats(S("{\"totalJobs\":\"many\"}"), &s, NULL), 0);
}
END_TEST

static void free_jobs(job_list *l)
{
    free(l);
}

START_TEST(jobs_of_a_list)
{
    job_list *l = NULL;
    ck_assert_int_eq(
        parse_jobs(
            S("[{\"id\":\"a\",\"type\":\"t\",\"status\":\"COMPLETED\",\"createdAt\":\"2026-07-31T14:00:00Z\","
              "\"updatedAt\":\"2026-07-31T14:00:01.500Z\"},{\"id\":\"b\",\"status\":\"odd\\u001b[2J\"},"
              "{\"type\":\"no id\"},7,null]"),
            &l, NULL),
        0);
    ck_assert_int_eq(l->n, 2);
    ck_assert_int_eq(l->items[0].status, JOB_COMPLETED);
    ck_assert_int_eq(l->items[0].duration_ms, 1500);
    ck_assert_int_eq(l->items[1].status, JOB_OTHER);
    ck_assert_str_eq(l->items[1].status_text, "odd[2J");
    ck_assert_int_eq(l->items[1].duration_ms, -1);
    free_jobs(l);
    l = NULL;
    ck_assert_int_eq(parse_jobs(S("{\"jobs\":[{\"id\":\"a\",\"durationMs\":12}]}"), &l, NULL), 0);
    ck_assert_int_eq(l->items[0].duration_ms, 12);
    free_jobs(l);
    ck_assert_int_lt(parse_jobs(S("{\"error\":\"x\"}"), &l, NULL), 0);
}
END_TEST

START_TEST(alerts_in_order)
{
    alert_list *l = NULL;
    const char *text =
        "[{\"labels\":{\"alertname\":\"W\",\"severity\":\"warning\",\"service\":\"s\"},"
        "\"status\":{\"state\":\"active\"}},"
        "{\"labels\":{\"alertname\":\"P\",\"severity\":\"critical\"},\"state\":\"pending\"},"
        "{\"labels\":{\"alertname\":\"C\",\"severity\":\"critical\"},\"status\":{\"state\":\"active\"}},"
        "{\"labels\":{}}, 3]";
    ck_assert_int_eq(parse_alerts(S(text), &l, NULL), 0);
    ck_assert_int_eq(l->n, 3);
    ck_assert_str_eq(l->items[0].name, "C");
    ck_assert_str_eq(l->items[1].name, "W");
    ck_assert_str_eq(l->items[2].name, "P");
    ck_assert(l->items[2].pending);
    free(l);
    ck_assert_int_eq(parse_alerts(S("{\"status\":\"success\",\"data\":{\"alerts\":[]}}"), &l, NULL), 0);
    ck_assert_int_eq(l->n, 0);
    free(l);
    ck_assert_int_lt(parse_alerts(S("{}"), &l, NULL), 0);
}
END_TEST

START_TEST(detail_of_a_job)
{
    job_detail *d = calloc(1, sizeof *d);
    const char *text =
        "{\"id\":\"a\",\"type\":\"t\",\"status\":\"FAILED\",\"createdAt\":\"2026-07-31T14:00:00Z\","
        "\"error\":{\"message\":\"it broke\"},\"payload\":{\"x\":\"\\u001b[31m\"},"
        "\"attempts\":[{\"attempt\":1,\"status\":\"FAILED\",\"error\":\"e1\"},{\"outcome\":\"FAILED\"}]}";
    ck_assert_int_eq(parse_job_detail(S(text), d, NULL), 0);
    ck_assert_str_eq(d->job_error, "it broke");
    ck_assert_int_eq(d->n_attempts, 2);
    ck_assert_str_eq(d->attempts[0].error, "e1");
    ck_assert_int_eq(d->attempts[1].number, 2);
    ck_assert_ptr_nonnull(strstr(d->body, "\n"));
    ck_assert_ptr_null(strchr(d->body, '\033'));
    const char *events = "[{\"eventType\":\"job.completed\",\"occurredAt\":\"2026-07-31T14:00:02Z\"},"
                         "{\"eventType\":\"job.created\",\"occurredAt\":\"2026-07-31T14:00:01Z\","
                         "\"producer\":{\"service\":\"gateway\"}}]";
    ck_assert_int_eq(parse_job_events(S(events), d, NULL), 0);
    ck_assert_str_eq(d->events[0].type, "job.created");
    ck_assert_str_eq(d->events[0].service, "gateway");
    free(d);
}
END_TEST

/* All in one millisecond, the events asked for first: steps as they were told, an event behind its step. */
START_TEST(timeline_of_a_quick_job)
{
#define AT "\":\"2026-07-31T14:00:01.000Z\""
    job_detail *d = calloc(1, sizeof *d);
    const char *events = "[{\"eventType\":\"job.failed\",\"occurredAt" AT "},"
                         "{\"eventType\":\"job.validated\",\"occurredAt" AT "},"
                         "{\"eventType\":\"job.created\",\"occurredAt" AT "}]";
    const char *text = "{\"id\":\"a\",\"timeline\":[{\"what\":\"created\",\"at" AT "},"
                       "{\"what\":\"accepted\",\"at" AT "},"
                       "{\"what\":\"attempt started\",\"attempt\":1,\"at" AT "},"
                       "{\"what\":\"finished\",\"at" AT "}]}";
#undef AT
    static const char *const want[] = {"created",  "job.created",   "accepted",  "attempt started",
                                       "finished", "job.validated", "job.failed"};
    ck_assert_int_eq(parse_job_events(S(events), d, NULL), 0);
    ck_assert_int_eq(parse_job_detail(S(text), d, NULL), 0);
    ck_assert_int_eq(d->n_events, 7);
    for (int i = 0; i < 7; i++) {
        ck_assert_str_eq(d->events[i].type, want[i]);
    }
    free(d);
}
END_TEST

START_TEST(error_bodies)
{
    char t[200];
    parse_error_body(
        S("{\"error\":\"Invalid job data\",\"details\":[{\"path\":\"/id\",\"message\":\"must match\"}]}"), t,
        sizeof t);
    ck_assert_str_eq(t, "Invalid job data: /id must match");
    parse_error_body(S("{\"error\":\"Alertmanager unavailable\",\"details\":\"refused\"}"), t, sizeof t);
    ck_assert_str_eq(t, "Alertmanager unavailable: refused");
    parse_error_body(S("<html>\033[2J"), t, sizeof t);
    ck_assert_str_eq(t, "<html>[2J");
    parse_error_body(S(""), t, sizeof t);
    ck_assert_str_eq(t, "");
}
END_TEST

START_TEST(host_of_metrics)
{
    const char *first =
        "# HELP x y\n# TYPE odto_plugin_state gauge\n"
        "odto_plugin_state{plugin=\"web\",state=\"READY\"} 1\n"
        "odto_plugin_state{state=\"FAILED\",plugin=\"gateway\"} 1 1700000000\n"
        "odto_plugin_state{plugin=\"gateway\",state=\"READY\"} 0\n"
        "odto_plugin_restarts_total{plugin=\"gateway\"} 4\n"
        "odto_route_depth{route=\"a}b,\\\"c\"} 12\nodto_route_acked_total{route=\"a}b,\\\"c\"} 100\n"
        "gateway_jobs_accepted_total 7\nbroken{ 3\nodto_route_depth 1\n garbage\n{} 2\nx NaN\n";
    host_state *a = parse_host(S(first), NULL, 0);
    ck_assert_int_eq(a->n_plugins, 2);
    ck_assert_str_eq(a->plugins[0].name, "gateway");
    ck_assert_str_eq(a->plugins[0].state, "FAILED");
    ck_assert_int_eq(a->plugins[0].restarts, 4);
    ck_assert_int_eq(a->plugins[1].restarts, -1);
    ck_assert_int_eq(a->n_routes, 1);
    ck_assert_str_eq(a->routes[0].name, "a}b,\"c");
    ck_assert_double_eq(a->routes[0].out_rate, -1);
    ck_assert_double_eq(a->accepted, 7);
    host_state *b = parse_host(S("odto_route_acked_total{route=\"a}b,\\\"c\"} 150\n"), a, 2);
    ck_assert_double_eq(b->routes[0].out_rate, 25);
    host_state *c = parse_host(S("odto_route_acked_total{route=\"a}b,\\\"c\"} 30\n"), b, 2);
    ck_assert_double_eq(c->routes[0].out_rate, 15); /* the counter began again */
    ck_assert_int_eq(c->routes[0].n_history, 3);
    free(a);
    free(b);
    free(c);
}
END_TEST

START_TEST(metrics_are_bounded)
{
    odto_buf t = {0};
    for (int i = 0; i < 500; i++) {
        odto_buf_printf(
            &t, "odto_plugin_state{plugin=\"p%d\",state=\"READY\"} 1\nodto_route_depth{route=\"r%d\"} 1\n", i,
            i);
    }
    host_state *h = parse_host(odto_slice_of(t.p, t.n), NULL, 0);
    ck_assert_int_eq(h->n_plugins, PLUGINS_MAX);
    ck_assert_int_eq(h->n_routes, ROUTES_MAX);
    free(h);
    odto_buf_free(&t);
}
END_TEST

/* ---- registry ------------------------------------------------------------------------------ */

static void refused(const char *text, const char *why)
{
    registry r;
    odto_error err = {0};
    ck_assert_int_lt(registry_parse(S(text), &r, &err), 0);
    ck_assert_msg(strstr(err.message, why) != NULL, "%s: %s", text, err.message);
}

#define HEAD "{\"registryVersion\":\"1.0.0\",\"baseUrl\":\"http://h\",\"entries\":["

START_TEST(registry_rules)
{
    registry r;
    char url[256];
    ck_assert_int_eq(
        registry_parse(S(HEAD "{\"id\":\"a\",\"name\":\"A\",\"port\":80,\"path\":\"/x\"}]}"), &r, NULL), 0);
    registry_url(&r, 0, url, sizeof url);
    ck_assert_str_eq(url, "http://h:80/x");
    refused("{", "");
    refused("[]", "object");
    refused(HEAD "]}", "no entries");
    refused(HEAD "{\"id\":\"a\",\"name\":\"A\",\"port\":0}]}", "1..65535");
    refused(HEAD "{\"id\":\"a\",\"name\":\"A\",\"port\":65536}]}", "1..65535");
    refused(HEAD "{\"id\":\"a\",\"name\":\"A\",\"port\":\"80\"}]}", "1..65535");
    refused(HEAD "{\"id\":\"\",\"name\":\"A\",\"port\":80}]}", "no id");
    refused(HEAD "{\"id\":\"a\",\"name\":\"A\",\"port\":80},{\"id\":\"a\",\"name\":\"B\",\"port\":81}]}",
            "twice");
    refused("{\"baseUrl\":\"ftp://h\",\"entries\":[{\"id\":\"a\",\"name\":\"A\",\"port\":80}]}", "http");
}
END_TEST

START_TEST(registry_falls_back)
{
    registry r;
    const char *const none[] = {"/nonexistent/ui-registry.json", NULL};
    registry_load(none, &r);
    ck_assert_int_eq(r.n, 9);
    ck_assert_str_eq(r.entries[3].id, "rabbitmq");
    ck_assert_ptr_nonnull(strstr(r.notice, "built-in"));
    char path[] = "/tmp/odto-registry-XXXXXX";
    int fd = mkstemp(path);
    ck_assert_int_eq(write(fd, "{}", 2), 2);
    close(fd);
    const char *const broken[] = {path, NULL};
    registry_load(broken, &r);
    unlink(path);
    ck_assert_int_eq(r.n, 9);
    ck_assert_ptr_nonnull(strstr(r.notice, "broken"));
}
END_TEST

/* ---- progress ------------------------------------------------------------------------------ */

START_TEST(launch_lines)
{
    launch_state l;
    launch_begin(&l, LAUNCH_LOCAL, 1000);
    launch_line(&l, "{\"step\":\"prereqs\",\"status\":\"starting\",\"message\":\"a\"}", 1000);
    ck_assert_int_eq(l.steps[STEP_PREREQS].status, STEP_STARTING);
    launch_line(&l, "{\"step\":\"prereqs\",\"status\":\"complete\",\"message\":\"b\"}", 3000);
    ck_assert_int_eq(l.steps[STEP_PREREQS].ended_ms - l.steps[STEP_PREREQS].begun_ms, 2000);
    launch_line(&l, "{\"step\":\"deploy\",\"status\":\"complete\",\"message\":\"c\",\"pid\":42}", 3000);
    ck_assert_int_eq(l.pid, 42);
    launch_line(&l, "free text \033[1m", 3000);
    launch_line(&l, "{\"step\":\"nonsense\",\"status\":\"complete\"}", 3000);
    launch_line(&l, "{\"step\":\"pods\",\"status\":\"nonsense\"}", 3000);
    ck_assert_int_eq(l.steps[STEP_PODS].status, STEP_WAITING);
    launch_line(
        &l,
        "{\"step\":\"ready\",\"status\":\"complete\",\"message\":\"d\",\"urls\":{\"gateway\":\"http://x\"}}",
        4000);
    ck_assert_int_eq(l.n_urls, 1);
    launch_ended(&l, 0, 4000);
    ck_assert(l.done && !l.failed && !l.running);
    for (int i = 0; i < 500; i++) {
        launch_line(&l, "more", 1);
    }
}
END_TEST

START_TEST(launch_that_dies)
{
    launch_state l;
    launch_begin(&l, LAUNCH_LOCAL, 1000);
    launch_line(&l, "{\"step\":\"pods\",\"status\":\"starting\",\"message\":\"a\"}", 1000);
    launch_ended(&l, -9, 2000);
    ck_assert(l.failed);
    ck_assert_int_eq(l.steps[STEP_PODS].status, STEP_ERROR);
    ck_assert_str_ne(l.remedy, "");
}
END_TEST

/* ---- keys and layout ----------------------------------------------------------------------- */

START_TEST(bindings_are_sound)
{
    for (size_t i = 0; i < key_bindings_n; i++) {
        const binding *a = &key_bindings[i];
        ck_assert(a->label[0] && a->help[0] && a->contexts && a->keys[0]);
        for (size_t k = 0; k < i; k++) {
            const binding *b = &key_bindings[k];
            for (int x = 0; x < 3 && a->keys[x]; x++) {
                for (int y = 0; y < 3 && b->keys[y]; y++) {
                    ck_assert_msg(!(a->contexts & b->contexts) || a->keys[x] != b->keys[y],
                                  "key %u is bound twice: %s and %s", a->keys[x], a->help, b->help);
                }
            }
            ck_assert_msg(!a->name[0] || strcmp(a->name, b->name) != 0 || !(a->contexts & b->contexts),
                          "command %s is there twice", a->name);
        }
    }
    static const uint32_t screens[] = {CTX_LAUNCHER, CTX_PREREQ, CTX_DASH, CTX_DETAIL, CTX_LIST, CTX_HELP};
    for (size_t i = 0; i < 6; i++) {
        ck_assert_int_eq(key_lookup(screens[i], 'q')->action, ACT_QUIT);
        ck_assert_int_eq(key_lookup(screens[i], 'Q')->action, ACT_QUIT);
    }
}
END_TEST

START_TEST(layouts_tile_the_screen)
{
    for (int w = 60; w <= 250; w++) {
        for (int h = 16; h <= 70; h++) {
            layout l;
            layout_make(&l, w, h, PANEL_JOBS, false);
            for (int i = 0; i < PANEL_COUNT; i++) {
                rect r = l.panels[i];
                ck_assert_msg(r.x >= 0 && r.y >= 1 && r.w > 0 && r.h > 0 && r.x + r.w <= w &&
                                  r.y + r.h <= h - 1,
                              "%dx%d panel %d: %d,%d %dx%d", w, h, i, r.x, r.y, r.w, r.h);
            }
            ck_assert_int_ge(l.panels[PANEL_JOBS].h, 4);
        }
    }
}
END_TEST

/* ---- probe, child -------------------------------------------------------------------------- */

START_TEST(urls)
{
    char scheme[16], host[64];
    int port = 5672;
    ck_assert(probe_url("amqp://u:p@rabbit/vhost", scheme, sizeof scheme, host, sizeof host, &port));
    ck_assert_str_eq(host, "rabbit");
    ck_assert_int_eq(port, 5672);
    ck_assert(probe_url("redis:6380", scheme, sizeof scheme, host, sizeof host, &port));
    ck_assert_str_eq(host, "redis");
    ck_assert_int_eq(port, 6380);
    ck_assert(probe_url("http://[::1]:99/x", scheme, sizeof scheme, host, sizeof host, &port));
    ck_assert_str_eq(host, "::1");
    ck_assert_int_eq(port, 99);
    ck_assert(!probe_url("http://:99", scheme, sizeof scheme, host, sizeof host, &port));
    ck_assert(!probe_url("http://h:99999", scheme, sizeof scheme, host, sizeof host, &port));
}
END_TEST

static void on_line(void *arg, const char *line)
{
    odto_buf_printf(arg, "<%s>", line);
}

START_TEST(child_lines_and_status)
{
    child c;
    odto_buf got = {0};
    child_init(&c);
    char *argv[] = {"sh", "-c", "echo one; printf two; exit 3", NULL};
    ck_assert_int_eq(child_start(&c, argv, NULL), 0);
    do {
        struct pollfd p = {c.out_fd, POLLIN, 0};
        poll(&p, 1, 5000);
    } while (child_read(&c, on_line, &got));
    ck_assert_int_eq(child_reap(&c), 3);
    ck_assert_str_eq(got.p, "<one><two>");
    odto_buf_free(&got);
    char *none[] = {"/nonexistent/program", NULL};
    odto_error err = {0};
    ck_assert_int_eq(child_start(&c, none, &err), -ENOENT);
    char *stubborn[] = {"sh", "-c", "trap '' TERM; sleep 60 & wait", NULL};
    ck_assert_int_eq(child_start(&c, stubborn, NULL), 0);
    child_stop(&c, 50);
    ck_assert_int_eq(c.pid, 0);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, clean_strips_what_steers_a_terminal);
    tcase_add_test(t, clean_cuts_at_whole_characters);
    tcase_add_test(t, figures);
    tcase_add_test(t, columns);
    tcase_add_test(t, contains);
    tcase_add_test(t, editing);
    tcase_add_test(t, stats_of_both_spellings);
    tcase_add_test(t, jobs_of_a_list);
    tcase_add_test(t, alerts_in_order);
    tcase_add_test(t, detail_of_a_job);
    tcase_add_test(t, timeline_of_a_quick_job);
    tcase_add_test(t, error_bodies);
    tcase_add_test(t, host_of_metrics);
    tcase_add_test(t, metrics_are_bounded);
    tcase_add_test(t, registry_rules);
    tcase_add_test(t, registry_falls_back);
    tcase_add_test(t, launch_lines);
    tcase_add_test(t, launch_that_dies);
    tcase_add_test(t, bindings_are_sound);
    tcase_add_test(t, layouts_tile_the_screen);
    tcase_add_test(t, urls);
    tcase_add_test(t, child_lines_and_status);
}

int main(void)
{
    setlocale(LC_ALL, "C.UTF-8");
    Suite *s = suite_create("dashboard parts");
    TCase *t = tcase_create("parts");
    add(t);
    tcase_set_timeout(t, 60);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
