/* test_http.c — patterns, targets, tables and the life of owners, within one process. Behaviour over the wire
 * is in tests/integration/http_*.py. */
#include "http_priv.h"
#include "metrics.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static http_server *server;
static odto_host hosts[4];
static _Atomic int entered, left, histograms;
static metrics *registry;

http_server *host_http(const odto_host *h)
{
    (void)h;
    return server;
}

/* ---- patterns ---- */

static const struct {
    const char *pattern, *path;
    bool prefix;
    int params; /* -1: no match */
    const char *first;
} matches[] = {
    {"/", "/", false, 0, ""},
    {"/", "/a", false, -1, ""},
    {"/", "/a/b", true, 0, ""},
    {"/a", "/a", false, 0, ""},
    {"/a", "/a/", false, -1, ""},
    {"/a", "/ab", true, -1, ""},
    {"/a", "/a/b", true, 0, ""},
    {"/a/", "/a/", true, 0, ""},
    {"/a/", "/a", true, -1, ""},
    {"/jobs/{id}", "/jobs/7", false, 1, "7"},
    {"/jobs/{id}", "/jobs/", false, -1, ""},
    {"/jobs/{id}", "/jobs/7/", false, -1, ""},
    {"/jobs/{id}/log", "/jobs/a%2Fb/log", false, 1, "a%2Fb"},
    {"/{a}/{b}", "/x/yy", false, 2, "x"},
    {"/{a}/{b}", "/x", false, -1, ""},
    {"/x/{a}", "/x/y/z", true, 1, "y"},
};

START_TEST(pattern_matches)
{
    odto_slice params[MAX_PARAMS];
    unsigned n = 0;
    odto_slice path = odto_slice_str(matches[_i].path);
    bool ok = pattern_match(matches[_i].pattern, matches[_i].prefix, path, params, &n);
    ck_assert_msg(ok == (matches[_i].params >= 0), "%s %s", matches[_i].pattern, matches[_i].path);
    if (!ok)
        return;
    ck_assert_int_eq((int)n, matches[_i].params);
    if (n)
        ck_assert(odto_slice_eq(params[0], matches[_i].first));
}
END_TEST

START_TEST(pattern_checks)
{
    static const char *const bad[] = {"",
                                      "a",
                                      "/a?b",
                                      "/a b",
                                      "/a#",
                                      "/%41",
                                      "/{",
                                      "/{}",
                                      "/a{b}",
                                      "/{a}b",
                                      "/{a/b}",
                                      "/a}",
                                      "/{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}/{i}"};
    unsigned n;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ck_assert_msg(*pattern_check(bad[i], &n), "%s was taken", bad[i]);
    ck_assert_str_eq(pattern_check("/jobs/{id}/{part}", &n), "");
    ck_assert_uint_eq(n, 2);
    ck_assert(odto_slice_eq(pattern_param("/jobs/{id}/{part}", 1), "part"));
    ck_assert_ptr_null(pattern_param("/jobs/{id}", 1).p);
}
END_TEST

START_TEST(pattern_sameness)
{
    ck_assert(pattern_same("/a/{x}/b", "/a/{yy}/b"));
    ck_assert(!pattern_same("/a/{x}", "/a/b"));
    ck_assert(!pattern_same("/a", "/a/"));
    ck_assert(pattern_same("/", "/"));
}
END_TEST

/* Every later one is less specific than every earlier one. */
START_TEST(route_order)
{
    static const http_route sorted[] = {
        {.pattern = (char *)"/a/b/c"},
        {.pattern = (char *)"/a/b"},
        {.pattern = (char *)"/a/{x}/c"},
        {.pattern = (char *)"/a/{x}"},
        {.pattern = (char *)"/livez"},
        {.pattern = (char *)"/livez", .builtin = true},
        {.pattern = (char *)"/{x}/b"},
        {.pattern = (char *)"/a/b/", .flags = ODTO_HTTP_PREFIX},
        {.pattern = (char *)"/a/", .flags = ODTO_HTTP_PREFIX},
        {.pattern = (char *)"/", .flags = ODTO_HTTP_PREFIX},
    };
    size_t n = sizeof(sorted) / sizeof(sorted[0]);
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < n; k++) {
            int d = route_compare(&sorted[i], &sorted[k]);
            ck_assert_msg((d > 0) - (d < 0) == (i > k) - (i < k), "%s %s: %d", sorted[i].pattern,
                          sorted[k].pattern, d);
        }
    }
}
END_TEST

START_TEST(lists)
{
    odto_slice l = odto_slice_str("keep-alive, Upgrade,x");
    ck_assert(list_has(l, "upgrade", 7));
    ck_assert(list_has(l, "x", 1));
    ck_assert(!list_has(l, "alive", 5));
    ck_assert(!list_has(l, "keep", 4));
    ck_assert(!list_has(odto_slice_str(""), "x", 1));
}
END_TEST

/* ---- targets ---- */

static const struct {
    const char *target;
    int result;
    const char *path, *query;
} targets[] = {
    {"/", 0, "/", NULL},
    {"/a?b=c?d", 0, "/a", "b=c?d"},
    {"/a?", 0, "/a", ""},
    {"/%61%2f%7E", 0, "/a%2F~", NULL},
    {"http://h/x?y", 0, "/x", "y"},
    {"HTTPS://h:1/x", 0, "/x", NULL},
    {"http://h", 0, "/", NULL},
    {"/..a/.b/c..", 0, "/..a/.b/c..", NULL},
    {"", -EINVAL, NULL, NULL},
    {"a", -EINVAL, NULL, NULL},
    {"*", -EINVAL, NULL, NULL},
    {"?x", -EINVAL, NULL, NULL},
    {"/%", -EINVAL, NULL, NULL},
    {"/%1", -EINVAL, NULL, NULL},
    {"/%gg", -EINVAL, NULL, NULL},
    {"/%00", -EINVAL, NULL, NULL},
    {"/a/../b", -EINVAL, NULL, NULL},
    {"/a/..", -EINVAL, NULL, NULL},
    {"/./b", -EINVAL, NULL, NULL},
    {"/%2e%2e/b", -EINVAL, NULL, NULL},
};

START_TEST(request_targets)
{
    http_loop loop = {0};
    odto_http_request *rq = request_new(&loop);
    ck_assert_ptr_nonnull(rq);
    ck_assert_int_eq(request_target(rq, odto_slice_str(targets[_i].target)), targets[_i].result);
    if (!targets[_i].result) {
        ck_assert_msg(odto_slice_eq(rq->path, targets[_i].path), "%.*s", (int)rq->path.n, rq->path.p);
        ck_assert_int_eq(rq->query.p != NULL, targets[_i].query != NULL);
        if (targets[_i].query)
            ck_assert(odto_slice_eq(rq->query, targets[_i].query));
    }
    request_destroy(rq, NULL);
}
END_TEST

/* Values that need decoding live in the request, however many and long they are. */
START_TEST(request_values)
{
    http_loop loop = {0};
    odto_http_request *rq = request_new(&loop);
    char target[8000], *p = target;
    p += sprintf(p, "/x?a=%%41+b&long=");
    for (int i = 0; i < 2000; i++)
        p += sprintf(p, "%%7a");
    strcpy(p, "&empty=&bare&z=%4&k%61y=v");
    ck_assert_int_eq(request_target(rq, odto_slice_str(target)), 0);
    for (int i = 0; i < 3; i++) {
        ck_assert(odto_slice_eq(http_api.query(rq, "a"), "A b"));
        odto_slice v = http_api.query(rq, "long");
        ck_assert_uint_eq(v.n, 2000);
        ck_assert_int_eq(v.p[1999], 'z');
        ck_assert(odto_slice_eq(http_api.query(rq, "empty"), ""));
        ck_assert_ptr_nonnull(http_api.query(rq, "empty").p);
        ck_assert_ptr_nonnull(http_api.query(rq, "bare").p);
        ck_assert(odto_slice_eq(http_api.query(rq, "z"), "%4"));
        ck_assert(odto_slice_eq(http_api.query(rq, "kay"), "v"));
        ck_assert_ptr_null(http_api.query(rq, "none").p);
    }
    request_destroy(rq, NULL);
}
END_TEST

/* ---- a server in this process ---- */

static void *hook_self(void *arg, const odto_host *h)
{
    (void)arg;
    return (void *)(uintptr_t)h;
}

static void hook_in(void *arg, const odto_host *h)
{
    (void)arg;
    (void)h;
    entered++;
}

static void hook_out(void *arg, const odto_host *h)
{
    (void)arg;
    (void)h;
    left++;
}

static odto_metric *hook_histogram(void *arg, const char *service, const char *route, const char *method,
                                   int code)
{
    (void)arg;
    (void)service;
    (void)route;
    (void)method;
    (void)code;
    histograms++;
    return NULL;
}

static odto_metric *hook_turns(void *arg, const char *loop)
{
    static const double bounds[] = {.05, 10};
    metrics_spec spec = {ODTO_HISTOGRAM, "turns", "Turns.", "loop", &loop, bounds, 2};
    odto_metric *m = NULL;
    (void)arg;
    ck_assert_int_eq(metrics_cell(registry, registry, &spec, &m, NULL), 0);
    return m;
}

/* Keeps its loop from everybody else. */
static void serve_slowly(void *self, odto_http_request *rq)
{
    (void)self;
    usleep(60000);
    http_api.reply(rq, 200, NULL, 0, odto_slice_str("slow"), NULL, NULL);
}

static void serve_which(void *self, odto_http_request *rq)
{
    char text[16];
    int n = snprintf(text, sizeof(text), "%d", (int)((odto_host *)self - hosts));
    http_api.reply(rq, 200, NULL, 0, odto_slice_of(text, (size_t)n), NULL, NULL);
}

static const odto_http_route routes[] = {
    {"GET", "/which", 0, serve_which, NULL},
    {"GET", "/blocking", ODTO_HTTP_BLOCKING, serve_which, NULL},
    {"GET", "/{any}", 0, serve_which, NULL},
    {"GET", "/slow/{any}", 0, serve_slowly, NULL},
};

static int serve(int host, odto_error *err)
{
    return http_api.serve(&hosts[host], "127.0.0.1:0", "test", routes, 4, NULL, 0, err);
}

static void setup(void)
{
    http_config c;
    odto_error err = {0};
    http_config_default(&c);
    c.hooks = (http_hooks){.self = hook_self,
                           .enter = hook_in,
                           .leave = hook_out,
                           .histogram = hook_histogram,
                           .turns = hook_turns};
    registry = metrics_new();
    server = http_new(&c, &err);
    ck_assert_ptr_nonnull(server);
    ck_assert_int_eq(serve(0, &err), 0); /* before the start as well as after it */
    ck_assert_int_eq(http_start(server, &err), 0);
}

static void teardown(void)
{
    http_stop(server, odto_now_ns() + ODTO_SEC);
    metrics_free(registry);
}

/* One request on a new connection: its status, its body in out. */
static int ask(const char *path, char *out, size_t size)
{
    char text[4096], *body;
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)http_port(server, "127.0.0.1:0")),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    size_t n = 0;
    ssize_t got;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    int len = snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n", path);
    ck_assert_int_eq(write(fd, text, (size_t)len), len);
    while ((got = read(fd, text + n, sizeof(text) - 1 - n)) > 0)
        n += (size_t)got;
    close(fd);
    text[n] = 0;
    body = strstr(text, "\r\n\r\n");
    ck_assert_ptr_nonnull(body);
    snprintf(out, size, "%s", body + 4);
    return atoi(text + 9);
}

static void expect(const char *path, int status, const char *body)
{
    char got[512];
    ck_assert_int_eq(ask(path, got, sizeof(got)), status);
    if (body)
        ck_assert_str_eq(got, body);
}

START_TEST(served_and_counted)
{
    for (int i = 0; i < 10; i++)
        expect("/which", 200, "0");
    expect("/blocking", 200, "0");
    expect("/livez", 200, NULL); /* built in, before the parameter */
    expect("/a/b", 404, NULL);
    while (left < entered ||
           http_inflight(server, &hosts[0])) /* the answer is out before the worker has left */
        sched_yield();
    ck_assert_int_eq(entered, 11);
    ck_assert_int_eq(left, 11);
    ck_assert_int_eq(histograms, 4); /* asked for once per route, method and code */
    ck_assert_uint_eq(http_inflight(server, &hosts[0]), 0);
}
END_TEST

/* Turns that took longer than 50 ms, of all loops. */
static long long_turns(void)
{
    odto_buf text = {0};
    long n = 0;
    ck_assert_int_eq(metrics_render(registry, &text), 0);
    odto_buf_put(&text, "", 1);
    for (const char *p = text.p; (p = strstr(p, "turns_bucket{")); p++) {
        const char *end = strchr(p, '}');
        long count = atol(end + 2);
        n += strstr(p, "le=\"0.05\"") && strstr(p, "le=\"0.05\"") < end ? -count : 0;
        n += strstr(p, "le=\"10\"") && strstr(p, "le=\"10\"") < end ? count : 0;
    }
    odto_buf_free(&text);
    return n;
}

START_TEST(long_turns_are_seen)
{
    long before = long_turns();
    expect("/slow/x", 200, "slow");
    while (long_turns() == before) /* under the time limit of the test */
        sched_yield();
}
END_TEST

START_TEST(handed_over)
{
    odto_error err = {0};
    char text[1024];
    ck_assert_int_eq(serve(1, &err), -EADDRINUSE);
    ck_assert_ptr_nonnull(
        strstr(odto_error_text(&err, text, sizeof(text)), "is already served: test has it"));
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(http_stage(server, &hosts[i + 1], &hosts[i]), 0);
        ck_assert_int_eq(serve(i + 1, &err), 0);
        char old[8] = {(char)('0' + i), 0}, next[8] = {(char)('1' + i), 0};
        expect("/which", 200, old);
        ck_assert_int_eq(http_handover(server, &hosts[i], &hosts[i + 1]), 0);
        expect("/which", 200, next);
        ck_assert_int_eq(http_unserve(server, &hosts[i], odto_now_ns() + ODTO_SEC), 0);
        ck_assert_int_eq(http_unserve(server, &hosts[i], odto_now_ns() + ODTO_SEC), 0); /* again is nothing */
    }
    ck_assert_int_eq(http_prune(server), 0);
    ck_assert_int_eq(http_unserve(server, &hosts[3], odto_now_ns() + ODTO_SEC), 0);
    expect("/which", 503, NULL);
    expect("/livez", 200, NULL);
    ck_assert_int_eq(http_prune(server), 1);
    ck_assert_int_eq(http_port(server, "127.0.0.1:0"), -ENOENT);
}
END_TEST

START_TEST(bad_routes)
{
    static const odto_http_route bad[] = {
        {"GET", "x", 0, serve_which, NULL},  {"GET", "/x", 0, NULL, NULL},
        {NULL, "/x", 0, serve_which, NULL},  {"BREW", "/x", 0, serve_which, NULL},
        {"GET", NULL, 0, serve_which, NULL},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        odto_error err = {0};
        ck_assert_int_eq(http_api.serve(&hosts[1], "127.0.0.1:0", "bad", &bad[i], 1, NULL, 0, &err), -EINVAL);
        ck_assert(err.message[0]);
        ck_assert_int_eq(http_api.serve(&hosts[1], "127.0.0.1:0", "bad", &bad[i], 1, NULL, 0, NULL), -EINVAL);
    }
    expect("/which", 200, "0");
}
END_TEST

START_TEST(bad_addresses)
{
    static const struct {
        const char *address;
        int code;
    } bad[] = {{"3000", -EINVAL},         {"127.0.0.1:", -EINVAL},   {"127.0.0.1:x", -EINVAL},
               {"127.0.0.1:-1", -EINVAL}, {"127.0.0.1:1x", -EINVAL}, {"1.2.3:80", -EINVAL},
               {"[::1:80", -EINVAL},      {"::1:80", -EINVAL},       {"192.0.2.1:0", -EADDRNOTAVAIL}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        odto_error err = {0};
        ck_assert_msg(http_listen(server, bad[i].address, NULL, &err) == bad[i].code, "%s: %d",
                      bad[i].address, err.code);
        ck_assert(err.message[0]);
    }
    odto_error err = {0};
    http_listener_options half = {.tls_cert = "/nowhere"};
    ck_assert_int_eq(http_listen(server, "localhost:0", &half, &err), -EINVAL);
    ck_assert_int_eq(http_listen(server, "localhost:0", NULL, &err), 0);
    ck_assert_int_gt(http_port(server, "localhost:0"), 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("http");
    TCase *pure = tcase_create("pure"), *live = tcase_create("live");
    tcase_add_loop_test(pure, pattern_matches, 0, (int)(sizeof(matches) / sizeof(matches[0])));
    tcase_add_test(pure, pattern_checks);
    tcase_add_test(pure, pattern_sameness);
    tcase_add_test(pure, route_order);
    tcase_add_test(pure, lists);
    tcase_add_loop_test(pure, request_targets, 0, (int)(sizeof(targets) / sizeof(targets[0])));
    tcase_add_test(pure, request_values);
    tcase_add_checked_fixture(live, setup, teardown);
    tcase_add_test(live, served_and_counted);
    tcase_add_test(live, long_turns_are_seen);
    tcase_add_test(live, handed_over);
    tcase_add_test(live, bad_routes);
    tcase_add_test(live, bad_addresses);
    tcase_set_timeout(live, 30);
    suite_add_tcase(s, pure);
    suite_add_tcase(s, live);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
