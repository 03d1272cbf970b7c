/* check_faults.c — plugin-check: every allocation and every call of the host that can fail, failing in turn;
 * each in a child of the step's process, which has one thread and the plugin mapped. */
#include "host/plugin_check.h"
#include "host/foreign.h"

#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define FAULTS_MAX 3000
enum { MET = 0, NOT_MET = 40, SILENT = 41, LEFT = 42 };

struct fault {
    size_t allocation, call; /* the one to fail; 0 none */
    bool all_after;
};

static uintptr_t image_from, image_to;

/* In the child that crashes: where in the plugin. */
static void on_crash(int sig)
{
    void *frames[48];
    int n = backtrace(frames, 48);
    for (int i = 0; i < n; i++)
        if ((uintptr_t)frames[i] >= image_from && (uintptr_t)frames[i] < image_to) {
            dprintf(1, "\nin the plugin at 0x%zx\n", (size_t)((uintptr_t)frames[i] - image_from));
            break;
        }
    raise(sig); /* the default again */
}

static void watch_crashes(const struct check *c)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    struct sigaction sa = {.sa_handler = on_crash, .sa_flags = (int)(SA_RESETHAND | SA_NODEFER)};
    void *frames[2];
    backtrace(frames, 2); /* loads the unwinder now */
    if (c->image.foreign)
        foreign_range(c->image.foreign, &image_from, &image_to);
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        sigaction(signals[i], &sa, NULL);
}

/* In the child: one life with the fault; how it went as the exit status. */
static int live(struct check *c, const struct fault *f)
{
    odto_error err = {0};
    struct life *l = life_new(c, NULL, NULL);
    odto_test_fail_call(&l->test, f->call);
    odto_test_fail_malloc(f->allocation, f->all_after);
    bool up = life_init(l, &err) == 0, started = up && life_start(l, &err) == 0;
    if (started)
        life_use(l);
    bool met = f->call ? l->test.refused != NULL : odto_test_malloc_failed();
    if (met && f->call)
        printf("%s\n", l->test.refused);
    if (up)
        life_end(l, started);
    odto_test_fail_malloc(0, false);
    if (!started && met && !err.message[0])
        return SILENT;
    if (l->test.n_threads || l->test.n_timers)
        return LEFT;
    return met ? MET : NOT_MET;
}

/* Wait status of the child, -1 when it had to be killed; what it printed. */
static int run_fault(struct check *c, const struct fault *f, char *said, size_t size)
{
    int fds[2];
    if (pipe(fds) < 0)
        abort();
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(fds[1], 1);
        dup2(fds[1], 2);
        close(fds[0]);
        close(fds[1]);
        watch_crashes(c);
        int status = live(c, f);
        fflush(NULL);
        _exit(status);
    }
    close(fds[1]);
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0), status = 0;
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    bool late = pidfd >= 0 && poll(&p, 1, (int)(c->timeout_ns / 10 / ODTO_MS)) == 0;
    if (late)
        kill(pid, SIGKILL);
    fcntl(fds[0], F_SETFL, O_NONBLOCK); /* what it started and left behind has the other end too */
    ssize_t n = read(fds[0], said, size - 1);
    said[n > 0 ? n : 0] = '\0';
    for (char *s = said; *s; s++)
        *s = *s == '\n' ? ' ' : *s;
    waitpid(pid, &status, 0);
    close(pidfd);
    close(fds[0]);
    return late ? -1 : status;
}

/* Say what went wrong; false when the fault was not met: all have been tried. */
static bool judge(struct check *c, const char *what, int status, const char *said)
{
    if (status == -1)
        check_bad(c, "%s: it hangs", what);
    else if (WIFSIGNALED(status))
        check_bad(c, "%s: it crashes (signal %d, %s) %s", what, WTERMSIG(status), strsignal(WTERMSIG(status)),
                  said);
    else if (WEXITSTATUS(status) == SILENT)
        check_bad(c, "%s: init() or start() fails without a message", what);
    else if (WEXITSTATUS(status) == LEFT)
        check_bad(c, "%s: threads or timers are left after fini()", what);
    else if (WEXITSTATUS(status) != MET && WEXITSTATUS(status) != NOT_MET)
        check_bad(c, "%s: exit status %d %s", what, WEXITSTATUS(status), said);
    return WIFSIGNALED(status) || WEXITSTATUS(status) != NOT_MET;
}

/* Returns how many were tried; *whole: all there are, in the time. */
static size_t fail_in_turn(struct check *c, bool calls, bool all_after, bool *whole)
{
    size_t n = 1, found = 0;
    int64_t until = odto_now_ns() + c->timeout_ns * 2 / 5; /* of two passes */
    *whole = true;
    for (bool more = true; more && found < 5; n++) {
        if (n > FAULTS_MAX || odto_now_ns() > until) {
            *whole = false;
            return n - 1;
        }
        char said[300], what[120];
        struct fault f = {.allocation = calls ? 0 : n, .call = calls ? n : 0, .all_after = all_after};
        int status = run_fault(c, &f, said, sizeof said);
        snprintf(what, sizeof what, calls ? "call %zu of the host fails (%.60s)" : "allocation %zu fails%s",
                 n,
                 calls       ? said
                 : all_after ? " and all later ones"
                             : "");
        bool was = c->bad;
        c->bad = false;
        more = judge(c, what, status, calls ? "" : said);
        found += c->bad;
        c->bad |= was;
    }
    return n - 2;
}

/* Only what the plugin's own code allocates: its author can mend nothing else. */
static void count_own(struct check *c)
{
    uintptr_t from, to;
    if (!c->libraries && c->image.foreign) {
        foreign_range(c->image.foreign, &from, &to);
        odto_test_malloc_range(from, to);
    }
}

void check_memory(struct check *c)
{
#if ODTO_SANITIZER_ID
    check_good(c, "left out: a sanitizer has an allocator of its own; a build without one tries it");
    return;
#endif
    if (!check_load(c))
        return;
    count_own(c);
    bool whole, all_whole = true;
    size_t one = fail_in_turn(c, false, false, &whole),
           all = c->bad ? 0 : fail_in_turn(c, false, true, &all_whole);
    if (!c->bad)
        check_good(c, "%s %zu allocations fails alone, %s %zu with all later ones%s",
                   whole ? "each of" : "each of the first", one, all_whole ? "each of" : "each of the first",
                   all, whole && all_whole ? "" : "; a longer --timeout tries more");
}

void check_calls(struct check *c)
{
    if (!check_load(c))
        return;
    bool whole;
    size_t n = fail_in_turn(c, true, false, &whole);
    if (!c->bad)
        check_good(c, "each of %zu calls of the host fails", n);
}
