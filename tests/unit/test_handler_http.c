/* test_handler_http.c — the handler `http` against a scripted server on a real socket; and its parts: the
 * guard of addresses, signatures, the circuit breaker, Retry-After. */
#include "../../plugins/handlers/http/http.h"
#include "multihost.h"
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- parts ---- */

static bool allows(const char *text, const char *const *list)
{
    range r[8];
    size_t n = 0;
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    for (; list && list[n]; n++)
        ck_assert_int_eq(range_parse(list[n], &r[n]), 0);
    if (inet_pton(AF_INET, text, &v4.sin_addr) == 1)
        return guard_allows(r, n, (struct sockaddr *)&v4);
    ck_assert_int_eq(inet_pton(AF_INET6, text, &v6.sin6_addr), 1);
    return guard_allows(r, n, (struct sockaddr *)&v6);
}

START_TEST(guard)
{
    static const char *const no[] = {"127.0.0.1",
                                     "127.255.255.254",
                                     "10.1.2.3",
                                     "172.16.0.1",
                                     "172.31.9.9",
                                     "192.168.1.1",
                                     "169.254.169.254",
                                     "100.64.0.1",
                                     "0.0.0.0",
                                     "224.0.0.1",
                                     "255.255.255.255",
                                     "198.18.0.1",
                                     "::1",
                                     "::",
                                     "fe80::1",
                                     "fc00::1",
                                     "fdff::1",
                                     "ff02::1",
                                     "::ffff:127.0.0.1",
                                     "::ffff:10.0.0.1",
                                     "64:ff9b::7f00:1",
                                     "2002:7f00:1::",
                                     "2001:db8::1"};
    static const char *const yes[] = {
        "1.1.1.1",     "172.15.0.1",      "172.32.0.1",     "192.169.0.1",      "100.63.0.1",
        "100.128.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2001:4860:4860::8888"};
    for (size_t i = 0; i < sizeof no / sizeof no[0]; i++)
        ck_assert_msg(!allows(no[i], NULL), "%s", no[i]);
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++)
        ck_assert_msg(allows(yes[i], NULL), "%s", yes[i]);
    static const char *const listed[] = {"10.0.0.0/8", "::1", "192.168.1.0/25", NULL};
    ck_assert(allows("10.200.0.1", listed));
    ck_assert(allows("::1", listed));
    ck_assert(allows("192.168.1.127", listed));
    ck_assert(!allows("192.168.1.128", listed));
    ck_assert(!allows("127.0.0.1", listed));
    ck_assert(allows("64:ff9b::a01:203", listed)); /* 10.1.2.3 behind NAT64 */
    range r;
    static const char *const bad[] = {"",          "10.0.0.0/33", "10.0.0/8", "::/129",
                                      "10.0.0.0/", "10.0.0.0/8x", "host"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_int_eq(range_parse(bad[i], &r), -EINVAL);
}
END_TEST

/* The example of the Standard Webhooks libraries. */
START_TEST(signature)
{
    uint8_t *key;
    size_t n;
    char out[48];
    ck_assert_int_eq(sign_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", &key, &n), 0);
    ck_assert_uint_eq(n, 24);
    sign_body(key, n, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, odto_slice_str("{\"test\": 2432232314}"),
              out);
    ck_assert_str_eq(out, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    free(key);
    ck_assert_int_eq(sign_key("plain text", &key, &n), 0);
    ck_assert_uint_eq(n, 10);
    free(key);
    ck_assert_int_eq(sign_key("whsec_***", &key, &n), -EINVAL);
}
END_TEST

START_TEST(breaking)
{
    breakers b = {.limit = 3, .pause_ns = 100};
    breaker *a = breaker_of(&b, "a:80", 0);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(breaker_enter(&b, a, 0), 0);
        breaker_leave(&b, a, BREAKER_FAILED, 0);
    }
    ck_assert_int_eq(breaker_enter(&b, a, 40), 60);
    ck_assert_int_eq(breaker_enter(&b, breaker_of(&b, "b:80", 0), 40), 0); /* another host */
    ck_assert_int_eq(breaker_enter(&b, a, 100), 0);                        /* the trial call */
    ck_assert_int_gt(breaker_enter(&b, a, 100), 0);
    breaker_leave(&b, a, BREAKER_FAILED, 110);
    ck_assert_int_eq(breaker_enter(&b, a, 110), 200); /* twice as long */
    ck_assert_int_eq(breaker_enter(&b, a, 310), 0);
    breaker_leave(&b, a, BREAKER_WELL, 311);
    ck_assert_int_eq(breaker_enter(&b, a, 311), 0);
    ck_assert_int_eq(breaker_enter(&b, a, 311), 0);
    free(b.at);
}
END_TEST

START_TEST(breaker_table_is_bounded)
{
    breakers b = {.limit = 1, .pause_ns = 100};
    char host[32];
    breaker *first = breaker_of(&b, "first", 0);
    ck_assert_int_eq(breaker_enter(&b, first, 0), 0);
    for (int i = 0; i < 1000; i++) {
        snprintf(host, sizeof host, "h%d", i);
        ck_assert_ptr_nonnull(breaker_of(&b, host, i + 1));
    }
    ck_assert_ptr_eq(breaker_of(&b, "first", 5000), first); /* a call is under way: it stays */
    free(b.at);
}
END_TEST

START_TEST(retry_after_forms)
{
    ck_assert_int_eq(retry_after(odto_slice_str(" 7"), 0), 7 * ODTO_SEC);
    ck_assert_int_eq(retry_after(odto_slice_str("-7"), 0), 0);
    ck_assert_int_eq(retry_after(odto_slice_str("soon"), 0), 0);
    ck_assert_int_eq(retry_after(odto_slice_str(""), 0), 0);
    ck_assert_int_eq(retry_after(odto_slice_str("99999999999999999999"), 0), 86400 * ODTO_SEC);
    ck_assert_int_eq(retry_after(odto_slice_str("Sun, 06 Nov 1994 08:49:37 GMT"), 784111777 - 30),
                     30 * ODTO_SEC);
    ck_assert_int_eq(retry_after(odto_slice_str("Sun, 06 Nov 1994 08:49:37 GMT"), 784111777 + 30), 0);
}
END_TEST

/* ---- the server: one thread a connection, answers by path ---- */

static struct {
    int fd, port;
    pthread_t thread;
    pthread_mutex_t lock;
    char last[65536]; /* the last request */
    _Atomic int requests;
} server = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Reads one request; false at the end of the connection. */
static bool read_request(int fd, char *buf, size_t size)
{
    size_t n = 0;
    for (;;) {
        ssize_t got = read(fd, buf + n, size - 1 - n);
        if (got <= 0)
            return false;
        n += (size_t)got;
        buf[n] = '\0';
        const char *end = strstr(buf, "\r\n\r\n"), *length = strcasestr(buf, "content-length:");
        if (end && length && n >= (size_t)(end + 4 - buf) + strtoul(length + 15, NULL, 10))
            return true;
    }
}

static void answer(int fd, const char *status, const char *headers, const char *body)
{
    char out[70000];
    int n = snprintf(out, sizeof out, "HTTP/1.1 %s\r\nContent-Length: %zu\r\n%s\r\n%s", status, strlen(body),
                     headers, body);
    ck_assert_int_eq(write(fd, out, (size_t)n), n);
}

static void *serve_connection(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char *buf = malloc(65536), big[40001];
    while (read_request(fd, buf, 65536)) {
        pthread_mutex_lock(&server.lock);
        strcpy(server.last, buf);
        pthread_mutex_unlock(&server.lock);
        atomic_fetch_add(&server.requests, 1);
        const char *path = buf + 5;
        if (!strncmp(path, "/ok", 3)) {
            answer(fd, "200 OK", "", "{\"fine\":true}");
        } else if (!strncmp(path, "/503", 4)) {
            answer(fd, "503 Busy", "Retry-After: 2\r\n", "later");
        } else if (!strncmp(path, "/429", 4)) {
            answer(fd, "429 Too Many", "retry-after: 3\r\n", "");
        } else if (!strncmp(path, "/500", 4)) {
            answer(fd, "500 Oops", "Retry-After: 9\r\n", "stack trace");
        } else if (!strncmp(path, "/404", 4)) {
            answer(fd, "404 Not Found", "", "no such thing");
        } else if (!strncmp(path, "/302", 4)) {
            answer(fd, "302 Found", "Location: /ok\r\n", "");
        } else if (!strncmp(path, "/big", 4)) {
            memset(big, 'b', sizeof big - 1);
            big[sizeof big - 1] = '\0';
            answer(fd, "200 OK", "", big);
        } else if (!strncmp(path, "/slow", 5)) {
            struct pollfd p = {.fd = fd, .events = POLLIN};
            poll(&p, 1, 20000); /* until the client has gone */
        } else {
            break; /* /close: no answer */
        }
    }
    close(fd);
    free(buf);
    return NULL;
}

static void *serve(void *arg)
{
    (void)arg;
    int fd;
    while ((fd = accept4(server.fd, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        pthread_t t;
        pthread_create(&t, NULL, serve_connection, (void *)(intptr_t)fd);
        pthread_detach(t);
    }
    return NULL;
}

static void start_server(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    server.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(server.fd, (struct sockaddr *)&a, sizeof a), 0);
    ck_assert_int_eq(listen(server.fd, 64), 0);
    getsockname(server.fd, (struct sockaddr *)&a, &n);
    server.port = ntohs(a.sin_port);
    atomic_store(&server.requests, 0);
    pthread_create(&server.thread, NULL, serve, NULL);
}

/* ---- runs ---- */

typedef struct testrun {
    odto_run run;
    odto_job job;
    odto_run_end end;
    char *result, *error, *log;
    int64_t delay_ns;
    _Atomic int ends;
} testrun;

static multihost *mh;
static multiinstance *handler;

static void on_finish(odto_run *run, const odto_run_result *r)
{
    testrun *t = (testrun *)run;
    t->end = r->end;
    t->result = odto_slice_dup(r->result);
    t->error = odto_slice_dup(r->error);
    t->log = odto_slice_dup(r->log);
    t->delay_ns = r->delay_ns;
    atomic_fetch_add(&t->ends, 1);
}

static testrun *start_run(const char *payload, int64_t timeout_ms)
{
    testrun *t = calloc(1, sizeof *t);
    odto_run *run = &t->run;
    odto_uuid_v7(&t->job.id);
    t->job.type = odto_slice_str("hook");
    t->job.payload = odto_slice_str(payload);
    t->job.traceparent = odto_slice_str("00-0123456789abcdef0123456789abcdef-0123456789abcdef-01");
    t->job.idempotency_key = odto_slice_str("k\r\nX-Evil: 1");
    t->job.attempt = 2;
    t->run = (odto_run){.job = &t->job,
                        .type = "hook",
                        .deadline_ns = timeout_ms ? odto_now_ns() + timeout_ms * ODTO_MS : 0,
                        .finish = on_finish};
    multihost_plugin(handler)->handler->start(multihost_self(handler), &run, 1);
    return t;
}

static bool has_ended(void *arg)
{
    return atomic_load(&((testrun *)arg)->ends) > 0;
}

static testrun *wait_run(testrun *t)
{
    ck_assert(multihost_wait(has_ended, t, "the end of a call"));
    ck_assert_int_eq(atomic_load(&t->ends), 1);
    return t;
}

static void free_run(testrun *t)
{
    free(t->result);
    free(t->error);
    free(t->log);
    free(t);
}

static void begin(const char *path, const char *const *more)
{
    static char url[128]; /* settings must live as long as the instance */
    const char *settings[16] = {url, "allow_private=127.0.0.1"};
    snprintf(url, sizeof url, "url=http://127.0.0.1:%d%s", server.port, path);
    for (size_t i = 0; more && more[i]; i++)
        settings[i + 2] = more[i];
    handler = multihost_load(mh, "http", "hook", settings, NULL);
    multihost_start(handler, NULL);
}

static void setup(void)
{
    start_server();
    mh = multihost_new();
}

static void teardown(void)
{
    multihost_free(mh);
    shutdown(server.fd, SHUT_RDWR);
    pthread_join(server.thread, NULL);
    close(server.fd);
}

/* ---- calls ---- */

START_TEST(answers)
{
    static const struct {
        const char *path;
        odto_run_end end;
        const char *error;
        int64_t delay_s;
    } rows[] = {
        {"/ok", ODTO_RUN_OK, "", 0},
        {"/503", ODTO_RUN_RETRY, "HTTP 503: later", 2},
        {"/429", ODTO_RUN_RETRY, "HTTP 429", 3},
        {"/500", ODTO_RUN_RETRY, "HTTP 500: stack trace", 0},
        {"/404", ODTO_RUN_DISCARD, "HTTP 404: no such thing", 0},
        {"/302", ODTO_RUN_DISCARD, "HTTP 302", 0},
        {"/close", ODTO_RUN_RETRY, "Empty reply from server", 0},
    };
    begin(rows[_i].path, NULL);
    testrun *t = wait_run(start_run("{}", 10000));
    ck_assert_int_eq(t->end, rows[_i].end);
    ck_assert_str_eq(t->error, rows[_i].error);
    ck_assert_int_eq(t->delay_ns, rows[_i].delay_s * ODTO_SEC);
    if (t->end == ODTO_RUN_OK)
        ck_assert_str_eq(t->result, "{\"fine\":true}");
    free_run(t);
}
END_TEST

START_TEST(request)
{
    static const char *const more[] = {"secret=whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
                                       "headers=X-One: 1,X-Two: 2", NULL};
    char id[ODTO_UUID_LEN + 1], text[128];
    begin("/ok/path?q=1", more);
    testrun *t = wait_run(start_run("{\n\"a\":1}", 10000));
    odto_uuid_format(&t->job.id, id);
    ck_assert_ptr_eq(strstr(server.last, "POST /ok/path?q=1 HTTP/1.1\r\n"), server.last);
    static const char *const there[] = {
        "Content-Type: application/json\r\n",
        "traceparent: 00-0123456789abcdef0123456789abcdef-0123456789abcdef-01\r\n",
        "X-One: 1\r\n",
        "X-Two: 2\r\n",
        "ODTO-Attempt: 2\r\n",
        "webhook-signature: v1,",
        "\"payload\":{ \"a\":1}}"};
    for (size_t i = 0; i < sizeof there / sizeof there[0]; i++)
        ck_assert_msg(strstr(server.last, there[i]) != NULL, "%s\n%s", there[i], server.last);
    snprintf(text, sizeof text, "Idempotency-Key: %s\r\n", id);
    ck_assert_ptr_nonnull(strstr(server.last, text));
    ck_assert_ptr_null(strstr(server.last, "\r\nX-Evil"));
    ck_assert_ptr_null(strstr(server.last, "Expect:"));
    free_run(t);
    /* the receiver's view of the signature */
    uint8_t *key;
    size_t n;
    char expected[48], *at = strstr(server.last, "webhook-timestamp: ");
    sign_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", &key, &n);
    sign_body(key, n, id, atoll(at + 19), odto_slice_str(strstr(server.last, "\r\n\r\n") + 4), expected);
    ck_assert_ptr_nonnull(strstr(server.last, expected));
    free(key);
}
END_TEST

START_TEST(payload_alone)
{
    static const char *const more[] = {"body=payload", NULL};
    begin("/ok", more);
    free_run(wait_run(start_run("{\"a\":1}", 0)));
    ck_assert_str_eq(strstr(server.last, "\r\n\r\n") + 4, "{\"a\":1}");
}
END_TEST

START_TEST(private_is_refused)
{
    static char url[64];
    snprintf(url, sizeof url, "url=http://127.0.0.1:%d/ok", server.port);
    const char *settings[] = {url, NULL};
    handler = multihost_load(mh, "http", "hook", settings, NULL);
    multihost_start(handler, NULL);
    testrun *t = wait_run(start_run("{}", 10000));
    ck_assert_int_eq(t->end, ODTO_RUN_DISCARD);
    ck_assert_ptr_nonnull(strstr(t->error, "127.0.0.1 is a private or reserved address"));
    ck_assert_int_eq(atomic_load(&server.requests), 0);
    free_run(t);
}
END_TEST

START_TEST(address_of_the_job)
{
    char payload[128];
    static const char *const settings[] = {"url_field=to", "allow_private=127.0.0.1", NULL};
    handler = multihost_load(mh, "http", "hook", settings, NULL);
    multihost_start(handler, NULL);
    snprintf(payload, sizeof payload, "{\"to\":\"http:\\/\\/localhost:%d/ok\"}", server.port);
    testrun *t = wait_run(start_run(payload, 10000));
    ck_assert_int_eq(t->end, ODTO_RUN_OK);
    free_run(t);
    static const char *const bad[] = {"{}",
                                      "{\"to\":1}",
                                      "{\"to\":\"file:///etc/passwd\"}",
                                      "{\"to\":\"nonsense\"}",
                                      "{\"to\":\"gopher://127.0.0.1/\"}",
                                      "{\"to\":\"http://10.255.255.1/\"}"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        t = wait_run(start_run(bad[i], 10000));
        ck_assert_msg(t->end == ODTO_RUN_DISCARD, "%s: %s", bad[i], t->error);
        free_run(t);
    }
}
END_TEST

START_TEST(times_out)
{
    begin("/slow", NULL);
    testrun *t = wait_run(start_run("{}", 200));
    ck_assert_int_eq(t->end, ODTO_RUN_TIMEOUT);
    free_run(t);
    t = start_run("{}", 0);
    usleep(20000);
    multihost_plugin(handler)->handler->cancel(multihost_self(handler), &t->run);
    ck_assert_int_eq(wait_run(t)->end, ODTO_RUN_RETRY);
    free_run(t);
    t = start_run("{}", 0);
    ck_assert_int_eq(multihost_quiesce(handler, 20), -ETIMEDOUT);
    multihost_stop(handler);
    ck_assert_int_eq(wait_run(t)->end, ODTO_RUN_RETRY);
    free_run(t);
}
END_TEST

START_TEST(result_is_cut)
{
    static const char *const more[] = {"max_output=1k", NULL};
    begin("/big", more);
    testrun *t = wait_run(start_run("{}", 10000));
    ck_assert_int_eq(t->end, ODTO_RUN_OK);
    ck_assert_uint_eq(strlen(t->result), 1024);
    ck_assert_ptr_nonnull(strstr(t->log, "40000 bytes"));
    ck_assert_ptr_nonnull(strstr(t->log, "cut"));
    free_run(t);
}
END_TEST

START_TEST(breaker_opens)
{
    static const char *const more[] = {"breaker_failures=3", "breaker_pause=200ms", NULL};
    begin("/500", more);
    for (int i = 0; i < 3; i++)
        free_run(wait_run(start_run("{}", 10000)));
    testrun *t = wait_run(start_run("{}", 10000));
    ck_assert_int_eq(t->end, ODTO_RUN_RETRY);
    ck_assert_ptr_nonnull(strstr(t->error, "failed 3 times in a row"));
    ck_assert_int_gt(t->delay_ns, 0);
    ck_assert_int_eq(atomic_load(&server.requests), 3);
    free_run(t);
    usleep(250000);
    free_run(wait_run(start_run("{}", 10000))); /* the trial call */
    ck_assert_int_eq(atomic_load(&server.requests), 4);
}
END_TEST

START_TEST(many_calls)
{
    enum { N = 300 };
    testrun *t[N];
    begin("/ok", NULL);
    for (int i = 0; i < N; i++) {
        t[i] = start_run("{\"x\":1}", 30000);
        if (i >= 16)
            wait_run(t[i - 16]);
    }
    for (int i = 0; i < N; i++) {
        ck_assert_int_eq(wait_run(t[i])->end, ODTO_RUN_OK);
        free_run(t[i]);
    }
    ck_assert_int_eq(atomic_load(&server.requests), N);
    ck_assert_int_eq(multihost_metric(mh, "odto_webhooks_total", "ok"), N);
}
END_TEST

START_TEST(bad_manifests)
{
    static const struct {
        const char *settings[3], *message;
    } rows[] = {
        {{NULL}, "either `url` or `url_field`"},
        {{"url=http://a/", "url_field=b"}, "either `url` or `url_field`"},
        {{"url=ftp://a/"}, "no http or https address"},
        {{"url=http://a/", "allow_private=ten"}, "wants addresses or ranges"},
        {{"url=http://a/", "headers=none"}, "wants NAME: value"},
        {{"url=http://a/", "secret=whsec_%"}, "not base64"},
    };
    odto_error err = {0};
    ck_assert_ptr_null(multihost_load(mh, "http", "hook", rows[_i].settings, &err));
    ck_assert_msg(strstr(err.message, rows[_i].message) != NULL, "%s", err.message);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("handler http");
    TCase *t = tcase_create("parts");
    tcase_add_test(t, guard);
    tcase_add_test(t, signature);
    tcase_add_test(t, breaking);
    tcase_add_test(t, breaker_table_is_bounded);
    tcase_add_test(t, retry_after_forms);
    suite_add_tcase(s, t);
    t = tcase_create("calls");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, answers, 0, 7);
    tcase_add_test(t, request);
    tcase_add_test(t, payload_alone);
    tcase_add_test(t, private_is_refused);
    tcase_add_test(t, address_of_the_job);
    tcase_add_test(t, times_out);
    tcase_add_test(t, result_is_cut);
    tcase_add_test(t, breaker_opens);
    tcase_add_test(t, many_calls);
    tcase_add_loop_test(t, bad_manifests, 0, 6);
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
