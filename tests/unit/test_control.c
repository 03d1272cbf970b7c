/* test_control.c — host/control and the client of libodto, with libnng as the independent peer of each. */
#include "control.h"

#include <check.h>
#include <errno.h>
#include <json-c/json.h>
#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[] = "/tmp/test_control_XXXXXX";
static char path[64];
static log_sink *sink;
static log_source *source;

static void setup(void)
{
    char log[80];
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/control.sock", folder);
    snprintf(log, sizeof(log), "%s/log", folder);
    log_settings s = {ODTO_INFO, LOG_JSON, log, 0};
    ck_assert_int_eq(log_open(&s, &sink, NULL), 0);
    source = log_source_new(sink, "host", 0);
}

static void teardown(void)
{
    char log[80];
    log_source_free(source);
    log_close(sink);
    snprintf(log, sizeof(log), "%s/log", folder);
    unlink(log);
    unlink(path);
    rmdir(folder);
}

typedef struct core {
    int entered, released; /* atomic */
} core;

static int on_echo(void *arg, const control_request *rq, odto_buf *out, odto_error *err)
{
    (void)arg;
    int64_t n = control_arg_int(rq, "n", 7, err);
    if (err->code)
        return err->code;
    odto_buf_printf(out, "{\"name\":");
    odto_buf_jsonz(out, control_arg_string(rq, "name", "nobody", err));
    odto_buf_printf(out, ",\"n\":%lld,\"yes\":%d,\"uid\":%llu,\"pid\":%lld}", (long long)n,
                    control_arg_bool(rq, "yes", false, err), (unsigned long long)rq->uid, (long long)rq->pid);
    return 0;
}

static int on_refuse(void *arg, const control_request *rq, odto_buf *out, odto_error *err)
{
    (void)arg, (void)rq;
    odto_buf_str(out, "{\"step\":\"probe\"}");
    odto_fail(err, -EBUSY, "it refused");
    odto_error_detail(err, "the \"detail\"");
    odto_error_hint(err, "do this");
    return -EBUSY;
}

static int on_wait(void *arg, const control_request *rq, odto_buf *out, odto_error *err)
{
    core *c = arg;
    (void)out;
    __atomic_fetch_add(&c->entered, 1, __ATOMIC_SEQ_CST);
    while (!__atomic_load_n(&c->released, __ATOMIC_SEQ_CST) && !rq->stopping(rq))
        usleep(1000);
    return rq->stopping(rq) ? odto_fail(err, -ECANCELED, "stopping") : 0;
}

static int on_big(void *arg, const control_request *rq, odto_buf *out, odto_error *err)
{
    (void)arg;
    int64_t n = control_arg_int(rq, "n", 0, err);
    odto_buf_str(out, "\"");
    for (int64_t i = 0; i < n; i++)
        odto_buf_str(out, "xxxxxxxxxxxxxxxx");
    odto_buf_str(out, "\"");
    return 0;
}

static const control_verb verbs[] = {
    {"echo", on_echo, "name? n? yes?", "Says it again.", false},
    {"refuse", on_refuse, "", "Refuses.", true},
    {"wait", on_wait, "", "Waits.", false},
    {"big", on_big, "n", "Answers a lot.", false},
};

static control *start(core *c)
{
    control *out = NULL;
    odto_error err = {0};
    int code = control_open(path, verbs, 4, c, source, &out, &err);
    ck_assert_msg(code == 0, "%s: %s", err.message, err.detail);
    return out;
}

static nng_socket client(void)
{
    nng_socket s;
    char url[80];
    snprintf(url, sizeof(url), "ipc://%s", path);
    ck_assert_int_eq(nng_req0_open(&s), 0);
    nng_socket_set_ms(s, NNG_OPT_RECVTIMEO, 10000);
    nng_socket_set_size(s, NNG_OPT_RECVMAXSZ, ODTO_CONTROL_MAX);
    ck_assert_int_eq(nng_dial(s, url, NULL, 0), 0);
    return s;
}

static char *ask(nng_socket s, const char *text)
{
    char *p = NULL;
    size_t n = 0;
    ck_assert_int_eq(nng_send(s, (void *)(uintptr_t)text, strlen(text), 0), 0);
    ck_assert_int_eq(nng_recv(s, &p, &n, NNG_FLAG_ALLOC), 0);
    char *out = strndup(p, n);
    nng_free(p, n);
    return out;
}

static void expect(nng_socket s, const char *request, const char *reply)
{
    char *got = ask(s, request);
    ck_assert_msg(strstr(got, reply) != NULL, "%s\n  gives %s\n  not %s", request, got, reply);
    struct json_object *o = json_tokener_parse(got);
    ck_assert_ptr_nonnull(o);
    json_object_put(o);
    free(got);
}

START_TEST(requests_and_replies)
{
    core c = {0};
    control *ctl = start(&c);
    nng_socket s = client();
    char want[128];
    snprintf(want, sizeof(want),
             "{\"ok\":true,\"data\":{\"name\":\"x\\\"y\",\"n\":3,\"yes\":1,\"uid\":%u,\"pid\":%d}}",
             geteuid(), getpid());
    expect(s, "{\"v\":1,\"verb\":\"echo\",\"args\":{\"name\":\"x\\\"y\",\"n\":3,\"yes\":true}}", want);
    expect(s, "{\"verb\":\"echo\"}", "\"name\":\"nobody\",\"n\":7");
    expect(s, "{\"verb\":\"echo\",\"args\":{\"n\":\"3\"}}",
           "\"message\":\"echo: the argument n must be of type int\"");
    expect(s, "{\"verb\":\"refuse\"}",
           "{\"ok\":false,\"error\":{\"code\":-16,\"message\":\"it refused\",\"detail\":\"the "
           "\\\"detail\\\"\",\"hint\":"
           "\"do this\"},\"data\":{\"step\":\"probe\"}}");
    expect(s, "{\"verb\":\"ehco\"}", "\"hint\":\"did you mean \\\"echo\\\"?\"");
    expect(s, "{\"verb\":\"verbs\"}", "{\"name\":\"wait\",\"args\":\"\",\"help\":\"Waits.\"}");
    nng_close(s);
    control_close(ctl);
}
END_TEST

START_TEST(what_is_no_request)
{
    static const char *const bad[] = {"",
                                      "x",
                                      "[]",
                                      "{}",
                                      "{\"verb\":1}",
                                      "{\"verb\":\"echo\",\"args\":[]}",
                                      "{\"v\":2,\"verb\":\"echo\"}",
                                      "{\"verb\":\"echo\",\"verb\":\"echo\"}"};
    core c = {0};
    control *ctl = start(&c);
    nng_socket s = client();
    expect(s, bad[_i], "{\"ok\":false,\"error\":{\"code\":-");
    expect(s, "{\"verb\":\"echo\"}", "\"ok\":true");
    nng_close(s);
    control_close(ctl);
}
END_TEST

START_TEST(socket_is_private)
{
    core c = {0};
    struct stat st;
    control *ctl = start(&c);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert(S_ISSOCK(st.st_mode));
    ck_assert_int_eq(st.st_mode & 0777, 0600);
    control_close(ctl);
    ck_assert_int_eq(stat(path, &st), -1);
}
END_TEST

/* As another user, with the socket opened to all as if by mistake. */
START_TEST(other_users_are_refused)
{
    if (geteuid() != 0)
        return;
    core c = {0};
    control *ctl = start(&c);
    chmod(path, 0666);
    chmod(folder, 0755);
    pid_t pid = fork();
    if (pid == 0) {
        struct sockaddr_un a = {.sun_family = AF_UNIX};
        char byte[8];
        strcpy(a.sun_path, path);
        if (setuid(65534) < 0)
            _exit(2);
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
            _exit(3);
        ssize_t n, sum = 0; /* the end, without even a greeting */
        while ((n = read(fd, byte, sizeof(byte))) > 0)
            sum += n;
        _exit(sum == 0 ? 0 : 4);
    }
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    control_close(ctl);
}
END_TEST

START_TEST(second_host_and_stale_socket)
{
    core c = {0};
    control *ctl = start(&c), *other = NULL;
    odto_error err = {0};
    ck_assert_int_eq(control_open(path, verbs, 4, &c, source, &other, &err), -EADDRINUSE);
    ck_assert_ptr_nonnull(strstr(err.message, "another host answers"));
    nng_socket s = client();
    expect(s, "{\"verb\":\"echo\"}", "\"ok\":true");
    nng_close(s);
    control_close(ctl);
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    strcpy(a.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    close(fd); /* a host that was killed */
    ctl = start(&c);
    control_close(ctl);
    char *longer = malloc(200);
    memset(longer, 'x', 199);
    longer[0] = '/';
    longer[199] = 0;
    ck_assert_int_eq(control_open(longer, verbs, 4, &c, source, &other, &err), -ENAMETOOLONG);
    free(longer);
    ck_assert_int_eq(control_open("/nonexistent/c.sock", verbs, 4, &c, source, &other, &err), -ENOENT);
}
END_TEST

static int ask_odto(const char *verb, odto_buf *reply, odto_error *err)
{
    odto_buf rq = {0};
    ck_assert(odto_control_request(&rq, verb, odto_slice_str("{\"n\":5}")));
    int code = odto_control_ask(path, odto_slice_of(rq.p, rq.n), 5 * ODTO_SEC, reply, err);
    odto_buf_free(&rq);
    return code;
}

static void *asker(void *arg)
{
    odto_buf reply = {0};
    ck_assert_int_eq(ask_odto(arg, &reply, NULL), 0);
    odto_buf_free(&reply);
    return NULL;
}

START_TEST(a_waiting_verb_holds_nobody_up)
{
    static char wait[] = "wait";
    core c = {0};
    control *ctl = start(&c);
    pthread_t t[CONTROL_CLIENTS - 1];
    for (int i = 0; i < CONTROL_CLIENTS - 1; i++)
        pthread_create(&t[i], NULL, asker, wait);
    while (__atomic_load_n(&c.entered, __ATOMIC_SEQ_CST) < CONTROL_CLIENTS - 1)
        usleep(1000);
    nng_socket s = client();
    expect(s, "{\"verb\":\"echo\"}", "\"ok\":true");
    nng_close(s);
    __atomic_store_n(&c.released, 1, __ATOMIC_SEQ_CST);
    for (int i = 0; i < CONTROL_CLIENTS - 1; i++)
        pthread_join(t[i], NULL);
    control_close(ctl);
}
END_TEST

START_TEST(own_client)
{
    core c = {0};
    odto_buf reply = {0};
    odto_error err = {0};
    ck_assert_int_eq(ask_odto("echo", &reply, &err), -ENOENT);
    ck_assert_ptr_nonnull(strstr(err.message, "no host answers on"));
    control *ctl = start(&c);
    ck_assert_int_eq(ask_odto("echo", &reply, &err), 0);
    ck_assert_ptr_nonnull(strstr(reply.p, "{\"ok\":true,\"data\":{\"name\":\"nobody\",\"n\":5,"));
    odto_buf_free(&reply);
    control_close(ctl);
}
END_TEST

static void *nng_echo(void *arg)
{
    char *p;
    size_t n;
    nng_socket s = *(nng_socket *)arg;
    if (nng_recv(s, &p, &n, NNG_FLAG_ALLOC) == 0)
        nng_send(s, p, n, NNG_FLAG_ALLOC);
    return NULL;
}

START_TEST(own_client_with_an_nng_host)
{
    odto_buf reply = {0};
    odto_error err = {0};
    nng_socket s;
    pthread_t t;
    char url[80];
    snprintf(url, sizeof(url), "ipc://%s", path);
    ck_assert_int_eq(nng_rep0_open(&s), 0);
    ck_assert_int_eq(nng_listen(s, url, NULL, 0), 0);
    pthread_create(&t, NULL, nng_echo, &s);
    ck_assert_int_eq(ask_odto("x", &reply, &err), 0);
    ck_assert_str_eq(reply.p, "{\"v\":1,\"verb\":\"x\",\"args\":{\"n\":5}}");
    pthread_join(t, NULL);
    nng_close(s);
    odto_buf_free(&reply);
}
END_TEST

static int raw(void)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    strcpy(a.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    return fd;
}

/* Clients that leave or talk nonsense at every point; the next one is served all the same. */
START_TEST(bad_clients)
{
    static const struct {
        const char *bytes;
        size_t n;
    } cases[] = {
        {"", 0},
        {"\0SP", 3},
        {"GET / HTTP/1.1\r\n\r\n", 18},
        {"\0SP\0\0\x31\0\0", 8},
        {"\0SP\0\0\x30\0\0", 8},
        {"\0SP\0\0\x30\0\0\x02\0\0\0\0\0\0\0\x04\x80\0\0\1", 21},
        {"\0SP\0\0\x30\0\0\x01\xff\xff\xff\xff\xff\xff\xff\xff", 17},
        {"\0SP\0\0\x30\0\0\x01\0\0\0\0\0\0\0\x02\x80\0", 19},
        {"\0SP\0\0\x30\0\0\x01\0\0\0\0\0\0\0\x24\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\1"
         "\0\0\0\1\0\0\0\1",
         53},
        {"\0SP\0\0\x30\0\0\x01\0\0\0\0\0\0\0\x06\x80\0\0\1{", 22},
        {"\0SP\0\0\x30\0\0\x01\0\0\0\0\0\0\0\x06\x80\0\0\1{}", 23},
    };
    core c = {0};
    control *ctl = start(&c);
    odto_buf reply = {0};
    odto_error err = {0};
    int fd = raw();
    ck_assert_int_eq(send(fd, cases[_i].bytes, cases[_i].n, MSG_NOSIGNAL), (ssize_t)cases[_i].n);
    close(fd);
    fd = raw();
    ck_assert_int_eq(send(fd, cases[_i].bytes, cases[_i].n, MSG_NOSIGNAL), (ssize_t)cases[_i].n);
    ck_assert_int_eq(ask_odto("echo", &reply, &err), 0);
    close(fd);
    odto_buf_free(&reply);
    control_close(ctl);
}
END_TEST

START_TEST(clients_are_bounded)
{
    core c = {0};
    control *ctl = start(&c);
    odto_buf reply = {0};
    odto_error err = {0};
    int fds[CONTROL_CLIENTS];
    char byte[8];
    for (int i = 0; i < CONTROL_CLIENTS; i++) {
        fds[i] = raw();
        ck_assert_int_eq(recv(fds[i], byte, sizeof(byte), MSG_WAITALL), 8);
    }
    ck_assert_int_eq(ask_odto("echo", &reply, &err), -EPIPE);
    close(fds[3]);
    while (ask_odto("echo", &reply, &err) < 0)
        usleep(1000);
    for (int i = 0; i < CONTROL_CLIENTS; i++)
        close(fds[i]);
    odto_buf_free(&reply);
    control_close(ctl);
}
END_TEST

START_TEST(close_wakes_a_waiting_verb)
{
    core c = {0};
    control *ctl = start(&c);
    nng_socket s = client();
    ck_assert_int_eq(nng_send(s, (void *)(uintptr_t) "{\"verb\":\"wait\"}", 15, 0), 0);
    while (!__atomic_load_n(&c.entered, __ATOMIC_SEQ_CST))
        usleep(1000);
    control_close(ctl);
    /* s stays open: nng 1.5.2 may wait for ever in nng_close while its dialer tries to come back */
}
END_TEST

START_TEST(sizes)
{
    core c = {0};
    control *ctl = start(&c);
    nng_socket s = client();
    char *got = ask(s, "{\"verb\":\"big\",\"args\":{\"n\":60000}}");
    ck_assert_uint_gt(strlen(got), 960000);
    free(got);
    expect(s, "{\"verb\":\"big\",\"args\":{\"n\":2000000}}",
           "\"message\":\"the answer does not fit into a reply\"");
    nng_close(s);
    control_close(ctl);
}
END_TEST

START_TEST(changes_are_logged)
{
    core c = {0};
    char log[80], text[4096];
    control *ctl = start(&c);
    nng_socket s = client();
    expect(s, "{\"verb\":\"refuse\",\"args\":{\"name\":\"p\"}}", "\"ok\":false");
    nng_close(s);
    control_close(ctl);
    snprintf(log, sizeof(log), "%s/log", folder);
    FILE *f = fopen(log, "r");
    size_t n = fread(text, 1, sizeof(text) - 1, f);
    fclose(f);
    text[n] = 0;
    ck_assert_ptr_nonnull(strstr(text, "control: refuse {\\\"name\\\":\\\"p\\\"} by uid "));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("control");
    TCase *t = tcase_create("control");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 30);
    tcase_add_test(t, requests_and_replies);
    tcase_add_loop_test(t, what_is_no_request, 0, 8);
    tcase_add_test(t, socket_is_private);
    tcase_add_test(t, other_users_are_refused);
    tcase_add_test(t, second_host_and_stale_socket);
    tcase_add_test(t, a_waiting_verb_holds_nobody_up);
    tcase_add_test(t, own_client);
    tcase_add_test(t, own_client_with_an_nng_host);
    tcase_add_loop_test(t, bad_clients, 0, 11);
    tcase_add_test(t, clients_are_bounded);
    tcase_add_test(t, close_wakes_a_waiting_verb);
    tcase_add_test(t, sizes);
    tcase_add_test(t, changes_are_logged);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
