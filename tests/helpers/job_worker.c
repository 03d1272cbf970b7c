/* job_worker.c — a program for tests of the handlers exec and pipe: does what its first argument says.
 *
 * echo            stdin to stdout
 * exit N          a line on stderr, then exit status N
 * env             its environment, working directory, limits and open descriptors, as lines
 * args A…         its arguments, a line each
 * hang            ignores SIGTERM, for ever
 * flood           writes to stdout and stderr for ever
 * daemon          leaves a child in its group that keeps stdout open, and ends
 * escape          the same in a session of its own
 * segv            dies by a signal
 * pipe [MODE]     newline-JSON worker; the payload's "do" says what to do with a job: echo (default), fail,
 *                 discard, delay, crash, hang, stray, progress, huge, quit, noid, grow, pid
 * fast            newline-JSON worker for measuring the handler: the least that answers */
#include <json-c/json.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

extern char **environ;

static int do_echo(void)
{
    char buf[65536];
    ssize_t n;
    while ((n = read(0, buf, sizeof buf)) > 0)
        if (write(1, buf, (size_t)n) != n)
            return 1;
    return 0;
}

static int do_env(void)
{
    char cwd[4096];
    struct rlimit r;
    int signal = 0;
    for (char **e = environ; *e; e++)
        printf("%s\n", *e);
    printf("cwd %s\n", getcwd(cwd, sizeof cwd));
    getrlimit(RLIMIT_NOFILE, &r);
    printf("nofile %lu\n", (unsigned long)r.rlim_cur);
    getrlimit(RLIMIT_AS, &r);
    printf("as %lu\n", (unsigned long)r.rlim_cur);
    getrlimit(RLIMIT_CORE, &r);
    printf("core %lu\n", (unsigned long)r.rlim_cur);
    prctl(PR_GET_PDEATHSIG, &signal);
    printf("pdeathsig %d\nnonewprivs %d\n", signal, prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    printf("leader %d\n", getsid(0) == getpid() && getpgrp() == getpid());
    for (int fd = 0; fd < 1024; fd++)
        if (fcntl(fd, F_GETFD) >= 0)
            printf("fd %d\n", fd);
    sigset_t mask;
    sigprocmask(SIG_SETMASK, NULL, &mask);
    for (int s = 1; s < 32; s++)
        if (sigismember(&mask, s) == 1)
            printf("blocked %d\n", s);
    return 0;
}

_Noreturn static void do_hang(void)
{
    signal(SIGTERM, SIG_IGN);
    fprintf(stderr, "hanging\n");
    for (;;)
        pause();
}

static int do_flood(void)
{
    static char line[4096];
    memset(line, 'x', sizeof line - 1);
    line[sizeof line - 1] = '\n';
    for (;;)
        if (write(1, line, sizeof line) < 0 || write(2, line, sizeof line) < 0)
            return 1;
}

static int do_daemon(bool escape)
{
    pid_t pid = fork();
    if (pid == 0) {
        if (escape)
            setsid();
        for (;;)
            pause();
    }
    printf("%d\n", (int)pid);
    return 0;
}

/* ---- pipe ---- */

static const char *text(json_object *o, const char *key)
{
    json_object *v = NULL;
    return o && json_object_object_get_ex(o, key, &v) ? json_object_get_string(v) : "";
}

static void answer(const char *id, const char *rest)
{
    printf("{\"id\":\"%s\",%s}\n", id, rest);
}

static void huge(const char *id)
{
    printf("{\"id\":\"%s\",\"ok\":true,\"result\":\"", id);
    for (int i = 0; i < 4000000; i++)
        putchar('x');
    printf("\"}\n");
}

static void obey(const char *what, const char *id, json_object *payload)
{
    static void *kept;
    if (!strcmp(what, "fail")) {
        fprintf(stderr, "about to fail\n");
        answer(id, "\"ok\":false,\"error\":\"no \\\"luck\\\"\"");
    } else if (!strcmp(what, "discard")) {
        answer(id, "\"ok\":false,\"error\":\"bad\",\"retry\":false");
    } else if (!strcmp(what, "delay")) {
        answer(id, "\"ok\":false,\"error\":\"later\",\"delay\":1.5");
    } else if (!strcmp(what, "crash")) {
        fprintf(stderr, "going down\n");
        raise(SIGKILL);
    } else if (!strcmp(what, "hang")) {
        do_hang();
    } else if (!strcmp(what, "stray")) {
        printf("debug: this is no reply\n");
        answer(id, "\"ok\":true,\"result\":1");
    } else if (!strcmp(what, "progress")) {
        answer(id, "\"progress\":0.5,\"note\":\"half\"");
        answer(id, "\"ok\":true,\"result\":null");
    } else if (!strcmp(what, "huge")) {
        huge(id);
    } else if (!strcmp(what, "quit")) {
        answer(id, "\"ok\":true,\"result\":\"bye\"");
        fflush(stdout);
        exit(0);
    } else if (!strcmp(what, "noid")) {
        printf("{\"ok\":true,\"result\":\"anonymous\"}\n");
    } else if (!strcmp(what, "grow")) {
        size_t n = 64u << 20;
        kept = malloc(n);
        memset(kept, 1, n);
        answer(id, "\"ok\":true,\"result\":0");
    } else if (!strcmp(what, "pid")) {
        printf("{\"id\":\"%s\",\"ok\":true,\"result\":%d}\n", id, (int)getpid());
    } else {
        printf("{\"id\":\"%s\",\"ok\":true,\"result\":%s}\n", id, json_object_to_json_string_ext(payload, 0));
    }
}

static int do_pipe(void)
{
    static char line[1 << 20];
    while (fgets(line, sizeof line, stdin)) {
        json_object *o = json_tokener_parse(line), *payload = NULL;
        if (!o)
            return 3;
        json_object_object_get_ex(o, "payload", &payload);
        obey(text(payload, "do"), text(o, "id"), payload);
        fflush(stdout);
        json_object_put(o);
    }
    return 0;
}

/* The least that answers: for measuring the handler, not the worker. */
static int do_fast(void)
{
    static char line[1 << 16];
    while (fgets(line, sizeof line, stdin)) {
        char out[128];
        int n = snprintf(out, sizeof out, "{\"id\":\"%.36s\",\"ok\":true,\"result\":1}\n", line + 7);
        if (write(1, out, (size_t)n) != n)
            return 1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "echo";
    if (!strcmp(what, "exit")) {
        fprintf(stderr, "first line\nreason: %s\n", argv[2]);
        return atoi(argv[2]);
    }
    if (!strcmp(what, "args")) {
        for (int i = 2; i < argc; i++)
            printf("%s\n", argv[i]);
        return 0;
    }
    if (!strcmp(what, "segv")) {
        signal(SIGSEGV, SIG_DFL); /* a sanitizer would make an exit status of it */
        return raise(SIGSEGV);
    }
    if (!strcmp(what, "env"))
        return do_env();
    if (!strcmp(what, "hang"))
        do_hang();
    if (!strcmp(what, "flood"))
        return do_flood();
    if (!strcmp(what, "daemon") || !strcmp(what, "escape"))
        return do_daemon(what[0] == 'e');
    if (!strcmp(what, "pipe"))
        return do_pipe();
    if (!strcmp(what, "fast"))
        return do_fast();
    return do_echo();
}
