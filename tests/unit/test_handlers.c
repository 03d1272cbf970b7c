/* test_handlers.c — the handlers builtin, exec and pipe, each driven directly as the processor would: good
 * ends, and every way a child can misbehave. The children are tests/helpers/job_worker. */
#include "multihost.h"
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static multihost *mh;
static multiinstance *handler;
static char worker[512];

/* ---- runs ---- */

typedef struct testrun {
    odto_run run; /* first */
    odto_job job;
    odto_run_end end;
    char *result, *error, *log;
    int64_t delay_ns;
    _Atomic int ends, progress;
    _Atomic bool stop;
} testrun;

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

static void on_progress(odto_run *run, double fraction, odto_slice note)
{
    (void)note;
    atomic_store(&((testrun *)run)->progress, (int)(fraction * 100));
}

static bool on_should_stop(const odto_run *run)
{
    return atomic_load(&((const testrun *)run)->stop);
}

static testrun *new_run(const char *type, const char *payload, int64_t timeout_ms)
{
    testrun *t = calloc(1, sizeof *t);
    odto_uuid_v7(&t->job.id);
    odto_uuid_v4(&t->job.correlation_id);
    t->job.type = odto_slice_str(type);
    t->job.payload = odto_slice_str(payload);
    t->job.idempotency_key = odto_slice_str("key-1");
    t->job.traceparent = odto_slice_str("00-0123456789abcdef0123456789abcdef-0123456789abcdef-01");
    t->job.attempt = 1;
    t->job.max_attempts = 3;
    t->run = (odto_run){.job = &t->job,
                        .type = type,
                        .deadline_ns = timeout_ms ? odto_now_ns() + timeout_ms * ODTO_MS : 0,
                        .finish = on_finish,
                        .progress = on_progress,
                        .should_stop = on_should_stop};
    return t;
}

static void free_run(testrun *t)
{
    free(t->result);
    free(t->error);
    free(t->log);
    free(t);
}

static const odto_handler_iface *iface(void)
{
    return multihost_plugin(handler)->handler;
}

static testrun *start_run(const char *type, const char *payload, int64_t timeout_ms)
{
    testrun *t = new_run(type, payload, timeout_ms);
    odto_run *run = &t->run;
    iface()->start(multihost_self(handler), &run, 1);
    return t;
}

static bool has_ended(void *arg)
{
    return atomic_load(&((testrun *)arg)->ends) > 0;
}

static testrun *wait_run(testrun *t)
{
    ck_assert(multihost_wait(has_ended, t, "the end of a run"));
    ck_assert_int_eq(atomic_load(&t->ends), 1);
    return t;
}

static testrun *run_job(const char *payload)
{
    return wait_run(start_run("job", payload, 20000));
}

/* ---- fixtures ---- */

static void setup(void)
{
    const char *dir = getenv("ODTO_BUILDDIR");
    snprintf(worker, sizeof worker, "%s/tests/helpers/job_worker", dir ? dir : ".");
    mh = multihost_new();
}

static void teardown(void)
{
    multihost_free(mh);
}

/* The handler with `command = job_worker ARGS` and further settings. */
static void begin(const char *module, const char *args, const char *const *more)
{
    char command[1024];
    const char *settings[16] = {command};
    snprintf(command, sizeof command, "command=%s %s", worker, args);
    for (size_t i = 0; more && more[i]; i++)
        settings[i + 1] = more[i];
    handler = multihost_load(mh, module, "job", settings, NULL);
    multihost_start(handler, NULL);
}

static bool is_gone(void *arg)
{
    return kill(*(pid_t *)arg, 0) < 0 && errno == ESRCH;
}

/* Descriptors of this process. */
static size_t open_files(void)
{
    size_t n = 0;
    DIR *d = opendir("/proc/self/fd");
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

/* ---- builtin ---- */

START_TEST(builtin_echo_sleep_fail)
{
    handler = multihost_load(mh, "builtin", "builtin", NULL, NULL);
    multihost_start(handler, NULL);
    testrun *t = wait_run(start_run("echo", "[1,2]", 0));
    ck_assert_str_eq(t->result, "[1,2]");
    free_run(t);
    int64_t from = odto_now_ns();
    testrun *a = start_run("sleep", "{\"ms\":120}", 0), *b = start_run("sleep", "{\"ms\":60}", 0),
            *c = start_run("sleep", "{\"ms\":60000}", 80), *d = start_run("sleep", "{\"ms\":60000}", 0);
    wait_run(b);
    ck_assert_int_ge(odto_now_ns() - from, 60 * ODTO_MS);
    ck_assert_int_eq(wait_run(c)->end, ODTO_RUN_TIMEOUT);
    wait_run(a);
    ck_assert_int_eq(a->end, ODTO_RUN_OK);
    ck_assert_str_eq(a->result, "{\"slept_ms\":120}");
    ck_assert_int_eq(atomic_load(&d->ends), 0);
    iface()->cancel(multihost_self(handler), &d->run);
    ck_assert_int_eq(wait_run(d)->end, ODTO_RUN_RETRY);
    free_run(a), free_run(b), free_run(c), free_run(d);
    t = wait_run(start_run("fail", "{\"delay\":2,\"error\":\"x\"}", 0));
    ck_assert_int_eq(t->end, ODTO_RUN_RETRY);
    ck_assert_int_eq(t->delay_ns, 2 * ODTO_SEC);
    ck_assert_str_eq(t->error, "x");
    free_run(t);
    t = wait_run(start_run("fail", "{\"times\":0}", 0));
    ck_assert_int_eq(t->end, ODTO_RUN_OK);
    free_run(t);
    t = start_run("sleep", "{\"ms\":60000}", 0);
    multihost_stop(handler);
    ck_assert_int_eq(wait_run(t)->end, ODTO_RUN_RETRY);
    free_run(t);
}
END_TEST

/* ---- exec: good ---- */

START_TEST(exec_echo)
{
    begin("exec", "echo", NULL);
    testrun *t = run_job("{\"a\":[1,2,3]}");
    ck_assert_int_eq(t->end, ODTO_RUN_OK);
    ck_assert_str_eq(t->result, "{\"a\":[1,2,3]}");
    ck_assert_str_eq(t->log, "");
    free_run(t);
}
END_TEST

START_TEST(exec_large_payload)
{
    size_t n = 3000000;
    char *big = malloc(n + 1);
    memset(big, 'y', n);
    big[n] = '\0';
    static const char *const more[] = {"max_output=4m", NULL};
    begin("exec", "echo", more);
    testrun *t = run_job(big);
    ck_assert_uint_eq(strlen(t->result), n);
    free_run(t);
    free(big);
}
END_TEST

START_TEST(exec_statuses)
{
    static const struct {
        const char *args, *on_error, *error;
        odto_run_end end;
    } rows[] = {
        {"exit 0", "on_error=retry", "", ODTO_RUN_OK},
        {"exit 75", "on_error=discard", "exit status 75: reason: 75", ODTO_RUN_RETRY},
        {"exit 65", "on_error=retry", "exit status 65: reason: 65", ODTO_RUN_DISCARD},
        {"exit 3", "on_error=retry", "exit status 3: reason: 3", ODTO_RUN_RETRY},
        {"exit 3", "on_error=discard", "exit status 3: reason: 3", ODTO_RUN_DISCARD},
        {"segv", "on_error=retry", "ended by signal 11 (SIGSEGV)", ODTO_RUN_RETRY},
    };
    const char *more[] = {rows[_i].on_error, NULL};
    begin("exec", rows[_i].args, more);
    testrun *t = run_job("{}");
    ck_assert_int_eq(t->end, rows[_i].end);
    ck_assert_str_eq(t->error, rows[_i].error);
    if (rows[_i].args[0] == 'e')
        ck_assert_ptr_nonnull(strstr(t->log, "first line"));
    free_run(t);
}
END_TEST

#ifndef ODTO_SANITIZER /* its own address space would not fit the limit of the test */
START_TEST(exec_contained)
{
    setenv("ODTO_TEST_PASSED", "yes", 1);
    setenv("ODTO_TEST_SECRET", "hidden", 1);
    int leak = open("/dev/null", O_RDONLY); /* no O_CLOEXEC: it must not get through all the same */
    static const char *const more[] = {"env=A=1,B=two",   "env_pass=ODTO_TEST_PASSED", "cwd=/usr",
                                       "rlimit_files=77", "rlimit_memory=1g",          NULL};
    begin("exec", "env", more);
    testrun *t = run_job("{}");
    ck_assert_int_eq(t->end, ODTO_RUN_OK);
    static const char *const there[] = {
        "A=1\n",
        "B=two\n",
        "ODTO_TEST_PASSED=yes\n",
        "PATH=/usr",
        "ODTO_JOB_TYPE=job\n",
        "ODTO_ATTEMPT=1\n",
        "ODTO_MAX_ATTEMPTS=3\n",
        "ODTO_IDEMPOTENCY_KEY=key-1\n",
        "TRACEPARENT=00-0123456789abcdef0123456789abcdef-0123456789abcdef-01\n",
        "cwd /usr\n",
        "nofile 77\n",
        "as 1073741824\n",
        "core 0\n",
        "pdeathsig 9\n",
        "nonewprivs 1\n",
        "leader 1\n",
        "fd 0\nfd 1\nfd 2"};
    for (size_t i = 0; i < sizeof there / sizeof there[0]; i++)
        ck_assert_msg(strstr(t->result, there[i]) != NULL, "%s is missing in\n%s", there[i], t->result);
    ck_assert_ptr_null(strstr(t->result, "hidden"));
    ck_assert_ptr_null(strstr(t->result, "HOME="));
    ck_assert_ptr_null(strstr(t->result, "fd 3"));
    ck_assert_ptr_null(strstr(t->result, "blocked"));
    close(leak);
    free_run(t);
}
END_TEST
#endif

START_TEST(exec_arguments)
{
    begin("exec", "args {id} {type} {attempt} {payload.name} {payload.deep.n} literal {payload}", NULL);
    testrun *t = run_job("{\"name\":\"a b; rm -rf \\\"$HOME\\\"\\n\",\"deep\":{\"n\":-1}}");
    ck_assert_int_eq(t->end, ODTO_RUN_DISCARD); /* -1 would be an option */
    ck_assert_ptr_nonnull(strstr(t->error, "{payload.deep.n} begins with '-'"));
    free_run(t);
    t = run_job("{\"name\":\"a b; rm -rf \\\"$HOME\\\"\\n\",\"deep\":{\"n\":1}}");
    ck_assert_int_eq(t->end, ODTO_RUN_OK);
    char want[512], id[ODTO_UUID_LEN + 1];
    odto_uuid_format(&t->job.id, id);
    snprintf(want, sizeof want, "%s\njob\n1\na b; rm -rf \"$HOME\"\n\n1\nliteral\n{\"name\":", id);
    ck_assert_ptr_eq(strstr(t->result, want), t->result);
    free_run(t);
    t = run_job("{}");
    ck_assert_int_eq(t->end, ODTO_RUN_DISCARD);
    ck_assert_str_eq(t->error, "argument {payload.name} is not in the job");
    free_run(t);
    t = run_job("{\"name\":\"a\\u0000b\",\"deep\":{\"n\":1}}");
    ck_assert_int_eq(t->end, ODTO_RUN_DISCARD);
    free_run(t);
}
END_TEST

START_TEST(exec_options_end)
{
    begin("exec", "args -- {payload.name}", NULL);
    testrun *t = run_job("{\"name\":\"--help\"}");
    ck_assert_str_eq(t->result, "--\n--help");
    free_run(t);
}
END_TEST

START_TEST(exec_bad_manifests)
{
    static const struct {
        const char *command, *message;
    } rows[] = {
        {"command=/no/such/program", "is not found"},
        {"command=no-such-program-anywhere", "is not found"},
        {"command=/etc/passwd", "is not executable"},
        {"command=echo {payloads}", "unknown placeholder"},
        {"command=echo --id={id}", "placeholder inside"},
        {"command={id}", "the program itself"},
    };
    odto_error err = {0};
    const char *settings[] = {rows[_i].command, NULL};
    ck_assert_ptr_null(multihost_load(mh, "exec", "x", settings, &err));
    ck_assert_msg(strstr(err.message, rows[_i].message) != NULL, "%s", err.message);
}
END_TEST

/* ---- exec: bad children ---- */

START_TEST(exec_hangs)
{
    static const char *const more[] = {"grace=100ms", NULL};
    begin("exec", "hang", more);
    int64_t from = odto_now_ns();
    testrun *t = wait_run(start_run("job", "{}", 150));
    ck_assert_int_eq(t->end, ODTO_RUN_TIMEOUT);
    ck_assert_str_eq(t->error, "timed out and ignored SIGTERM: killed");
    ck_assert_str_eq(t->log, "hanging\n");
    ck_assert_int_ge(odto_now_ns() - from, 250 * ODTO_MS);
    free_run(t);
}
END_TEST

START_TEST(exec_floods)
{
    static const char *const more[] = {"max_output=10k", "max_log=1k", NULL};
    begin("exec", "flood", more);
    testrun *t = wait_run(start_run("job", "{}", 300));
    ck_assert_int_eq(t->end, ODTO_RUN_TIMEOUT);
    ck_assert_uint_le(strlen(t->log), 1024);
    ck_assert_ptr_nonnull(strstr(t->log, "stdout cut to 10240"));
    free_run(t);
}
END_TEST

START_TEST(exec_leaves_a_daemon)
{
    begin("exec", _i ? "escape" : "daemon", NULL);
    int64_t from = odto_now_ns();
    testrun *t = run_job("{}");
    ck_assert_int_eq(t->end, ODTO_RUN_OK);
    ck_assert_int_le(odto_now_ns() - from, 5 * ODTO_SEC); /* the open stdout is not waited for */
    pid_t pid = atoi(t->result);
    ck_assert_int_gt(pid, 1);
    if (_i)
        kill(pid, SIGKILL); /* a session of its own is out of our reach */
    else
        ck_assert(multihost_wait(is_gone, &pid, "the end of the daemon"));
    free_run(t);
}
END_TEST

START_TEST(exec_vanishes)
{
    char copy[64], command[128];
    snprintf(copy, sizeof copy, "/tmp/odto-job-worker-%d", (int)getpid());
    snprintf(command, sizeof command, "command=%s echo", copy);
    const char *settings[] = {command, NULL};
    ck_assert_int_eq(symlink("/bin/cat", copy), 0);
    handler = multihost_load(mh, "exec", "job", settings, NULL);
    multihost_start(handler, NULL);
    unlink(copy);
    testrun *t = run_job("{}");
    ck_assert_int_eq(t->end, ODTO_RUN_RETRY); /* it may be back after the next deployment */
    ck_assert_ptr_nonnull(strstr(t->error, "No such file or directory"));
    free_run(t);
}
END_TEST

START_TEST(exec_cancel_and_stop)
{
    static const char *const more[] = {"grace=50ms", NULL};
    begin("exec", "hang", more);
    testrun *a = start_run("job", "{}", 0), *b = start_run("job", "{}", 0);
    usleep(50000);
    iface()->cancel(multihost_self(handler), &a->run);
    ck_assert_int_eq(wait_run(a)->end, ODTO_RUN_RETRY);
    ck_assert_int_eq(atomic_load(&b->ends), 0);
    ck_assert_int_eq(multihost_quiesce(handler, 20), -ETIMEDOUT);
    multihost_stop(handler);
    ck_assert_int_eq(wait_run(b)->end, ODTO_RUN_RETRY);
    free_run(a), free_run(b);
}
END_TEST

START_TEST(exec_many)
{
    enum { N = 300 };
    testrun *t[N];
    begin("exec", "echo", NULL);
    free_run(run_job("{}"));
    size_t files = open_files();
    for (int i = 0; i < N; i++) {
        char *payload = malloc(32);
        snprintf(payload, 32, "{\"n\":%d}", i);
        t[i] = start_run("job", payload, 30000);
        if (i >= 32)
            wait_run(t[i - 32]);
    }
    for (int i = 0; i < N; i++) {
        wait_run(t[i]);
        ck_assert_int_eq(t[i]->end, ODTO_RUN_OK);
        ck_assert_str_eq(t[i]->result, t[i]->job.payload.p);
        free((char *)(uintptr_t)t[i]->job.payload.p);
        free_run(t[i]);
    }
    ck_assert_uint_eq(open_files(), files);
}
END_TEST

/* ---- pipe ---- */

START_TEST(pipe_replies)
{
    static const struct {
        const char *what, *result, *error;
        odto_run_end end;
    } rows[] = {
        {"echo", "{\"do\":\"echo\"}", "", ODTO_RUN_OK},
        {"fail", "", "no \"luck\"", ODTO_RUN_RETRY},
        {"discard", "", "bad", ODTO_RUN_DISCARD},
        {"delay", "", "later", ODTO_RUN_RETRY},
        {"stray", "1", "", ODTO_RUN_OK},
        {"progress", "null", "", ODTO_RUN_OK},
        {"noid", "\"anonymous\"", "", ODTO_RUN_OK},
        {"quit", "\"bye\"", "", ODTO_RUN_OK},
        {"crash", "", "the worker was ended by signal 9 (SIGKILL) while it had this job", ODTO_RUN_LOST},
    };
    char payload[64];
    multihost_quiet(mh, true);
    begin("pipe", "pipe", NULL);
    for (int i = 0; i < 2; i++) { /* twice: what one job did must not matter to the next */
        snprintf(payload, sizeof payload, "{\"do\":\"%s\"}", rows[_i].what);
        testrun *t = run_job(payload);
        ck_assert_int_eq(t->end, rows[_i].end);
        ck_assert_str_eq(t->result, rows[_i].result);
        ck_assert_str_eq(t->error, rows[_i].error);
        if (!strcmp(rows[_i].what, "delay"))
            ck_assert_int_eq(t->delay_ns, 3 * ODTO_SEC / 2);
        if (!strcmp(rows[_i].what, "progress"))
            ck_assert_int_eq(atomic_load(&t->progress), 50);
        if (!strcmp(rows[_i].what, "fail"))
            ck_assert_str_eq(t->log, "about to fail\n");
        if (!strcmp(rows[_i].what, "crash"))
            ck_assert_str_eq(t->log, "going down\n");
        if (!strcmp(rows[_i].what, "stray"))
            ck_assert_str_eq(t->log, "debug: this is no reply\n");
        free_run(t);
    }
}
END_TEST

START_TEST(pipe_line_breaks)
{
    begin("pipe", "pipe", NULL);
    testrun *t = run_job("{\n\t\"do\":\r\n\"echo\"\n}");
    ck_assert_int_eq(t->end, ODTO_RUN_OK);
    ck_assert_str_eq(t->result, "{\"do\":\"echo\"}");
    free_run(t);
}
END_TEST

START_TEST(pipe_workers_are_kept)
{
    begin("pipe", "pipe", NULL);
    testrun *a = run_job("{\"do\":\"pid\"}"), *b = run_job("{\"do\":\"pid\"}");
    ck_assert_str_eq(a->result, b->result);
    pid_t pid = atoi(a->result);
    multihost_stop(handler);
    ck_assert(is_gone(&pid));
    free_run(a), free_run(b);
}
END_TEST

START_TEST(pipe_recycles)
{
    static const char *const rows[] = {"recycle_jobs=2", "recycle_age=100ms", "recycle_rss=32m"};
    const char *more[] = {rows[_i], "workers=1", NULL};
    begin("pipe", "pipe", more);
    testrun *first = run_job("{\"do\":\"pid\"}"), *t;
    pid_t pid = atoi(first->result);
    if (_i == 0) {
        free_run(run_job("{\"do\":\"pid\"}"));
    } else if (_i == 1) {
        usleep(150000);
    } else {
        free_run(run_job("{\"do\":\"grow\"}"));
        for (int i = 0; i < 70; i++)
            free_run(run_job("{\"do\":\"echo\"}"));
    }
    ck_assert(multihost_wait(is_gone, &pid, "the end of a recycled worker"));
    t = run_job("{\"do\":\"pid\"}");
    ck_assert_str_ne(t->result, first->result);
    free_run(first), free_run(t);
}
END_TEST

START_TEST(pipe_timeout_ends_the_worker)
{
    static const char *const more[] = {"grace=100ms", "workers=1", NULL};
    begin("pipe", "pipe", more);
    testrun *t = wait_run(start_run("job", "{\"do\":\"hang\"}", 150));
    ck_assert_int_eq(t->end, ODTO_RUN_TIMEOUT);
    ck_assert_str_eq(t->log, "hanging\n");
    free_run(t);
    testrun *next = run_job("{}");
    ck_assert_int_eq(next->end, ODTO_RUN_OK);
    free_run(next);
}
END_TEST

START_TEST(pipe_times_out_waiting)
{
    static const char *const more[] = {"grace=50ms", "workers=1", NULL};
    begin("pipe", "pipe", more);
    testrun *a = start_run("job", "{\"do\":\"hang\"}", 0), *b = start_run("job", "{}", 100);
    ck_assert_int_eq(wait_run(b)->end, ODTO_RUN_TIMEOUT);
    ck_assert_str_eq(b->error, "timed out before a worker was free");
    testrun *c = start_run("job", "{}", 0);
    iface()->cancel(multihost_self(handler), &c->run);
    ck_assert_int_eq(wait_run(c)->end, ODTO_RUN_RETRY);
    iface()->cancel(multihost_self(handler), &a->run);
    ck_assert_int_eq(wait_run(a)->end, ODTO_RUN_RETRY);
    free_run(a), free_run(b), free_run(c);
}
END_TEST

START_TEST(pipe_reply_too_long)
{
    static const char *const more[] = {"max_output=64k", "grace=200ms", NULL};
    begin("pipe", "pipe", more);
    testrun *t = run_job("{\"do\":\"huge\"}");
    ck_assert_int_eq(t->end, ODTO_RUN_LOST);
    ck_assert_ptr_nonnull(strstr(t->log, "longer than max_output"));
    free_run(t);
    t = run_job("{}");
    ck_assert_int_eq(t->end, ODTO_RUN_OK);
    free_run(t);
}
END_TEST

START_TEST(pipe_not_a_worker)
{
    multihost_quiet(mh, true);
    begin("pipe", "exit 4", NULL); /* ends at once */
    testrun *t = wait_run(start_run("job", "{}", 2000));
    ck_assert_int_ne(t->end, ODTO_RUN_OK);
    free_run(t);
    multihost_stop(handler);
    begin("pipe", "flood", NULL);
    t = wait_run(start_run("job", "{}", 500));
    ck_assert_int_eq(t->end, ODTO_RUN_TIMEOUT);
    free_run(t);
}
END_TEST

START_TEST(pipe_window)
{
    enum { N = 500 };
    static const char *const more[] = {"window=16", "workers=2", NULL};
    testrun *t[N];
    begin("pipe", "pipe", more);
    for (int i = 0; i < N; i++) {
        char *payload = malloc(32);
        snprintf(payload, 32, "{\"n\":%d}", i);
        t[i] = start_run("job", payload, 30000);
    }
    for (int i = 0; i < N; i++) {
        wait_run(t[i]);
        ck_assert_int_eq(t[i]->end, ODTO_RUN_OK);
        ck_assert_str_eq(t[i]->result, t[i]->job.payload.p);
        free((char *)(uintptr_t)t[i]->job.payload.p);
        free_run(t[i]);
    }
}
END_TEST

START_TEST(pipe_large_jobs)
{
    enum { N = 20, SIZE = 300000 };
    static const char *const more[] = {"window=8", "workers=1", "max_output=1m", NULL};
    testrun *t[N];
    char *big = malloc(SIZE + 32);
    int at = sprintf(big, "{\"x\":\"");
    memset(big + at, 'z', SIZE);
    strcpy(big + at + SIZE, "\"}");
    begin("pipe", "pipe", more);
    for (int i = 0; i < N; i++)
        t[i] = start_run("job", big, 30000);
    for (int i = 0; i < N; i++) {
        wait_run(t[i]);
        ck_assert_int_eq(t[i]->end, ODTO_RUN_OK);
        ck_assert_str_eq(t[i]->result, big);
        free_run(t[i]);
    }
    free(big);
}
END_TEST

START_TEST(pipe_stop_with_work)
{
    static const char *const more[] = {"grace=50ms", "workers=1", NULL};
    begin("pipe", "pipe", more);
    testrun *a = start_run("job", "{\"do\":\"hang\"}", 0), *b = start_run("job", "{}", 0);
    usleep(50000);
    multihost_stop(handler);
    ck_assert_int_eq(wait_run(a)->end, ODTO_RUN_RETRY);
    ck_assert_int_eq(wait_run(b)->end, ODTO_RUN_RETRY);
    free_run(a), free_run(b);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("handlers");
    TCase *t = tcase_create("handlers");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 120);
    tcase_add_test(t, builtin_echo_sleep_fail);
    tcase_add_test(t, exec_echo);
    tcase_add_test(t, exec_large_payload);
    tcase_add_loop_test(t, exec_statuses, 0, 6);
#ifndef ODTO_SANITIZER
    tcase_add_test(t, exec_contained);
#endif
    tcase_add_test(t, exec_arguments);
    tcase_add_test(t, exec_options_end);
    tcase_add_loop_test(t, exec_bad_manifests, 0, 6);
    tcase_add_test(t, exec_hangs);
    tcase_add_test(t, exec_floods);
    tcase_add_loop_test(t, exec_leaves_a_daemon, 0, 2);
    tcase_add_test(t, exec_vanishes);
    tcase_add_test(t, exec_cancel_and_stop);
    tcase_add_test(t, exec_many);
    tcase_add_loop_test(t, pipe_replies, 0, 9);
    tcase_add_test(t, pipe_line_breaks);
    tcase_add_test(t, pipe_workers_are_kept);
    tcase_add_loop_test(t, pipe_recycles, 0, 3);
    tcase_add_test(t, pipe_timeout_ends_the_worker);
    tcase_add_test(t, pipe_times_out_waiting);
    tcase_add_test(t, pipe_reply_too_long);
    tcase_add_test(t, pipe_not_a_worker);
    tcase_add_test(t, pipe_window);
    tcase_add_test(t, pipe_large_jobs);
    tcase_add_test(t, pipe_stop_with_work);
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
