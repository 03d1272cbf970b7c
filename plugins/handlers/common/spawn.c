/* spawn.c — see spawn.h. Any thread, each with its own spawn_stack. */
#include "spawn.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define STACK_SIZE (64 * 1024)

struct spawn_stack {
    char *base;
};

/* Shared with the child: it runs in our memory until the exec. */
typedef struct birth {
    const spawn_spec *spec;
    pid_t parent;
    const char *step;
    int error;
} birth;

spawn_stack *spawn_stack_new(void)
{
    spawn_stack *s = malloc(sizeof *s);
    if (!s)
        return NULL;
    s->base = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (s->base == MAP_FAILED) {
        free(s);
        return NULL;
    }
    mprotect(s->base, 4096, PROT_NONE); /* guard */
    return s;
}

void spawn_stack_free(spawn_stack *s)
{
    if (!s)
        return;
    munmap(s->base, STACK_SIZE);
    free(s);
}

/* ---- in the child ----
 * Bare system calls: no lock, no allocation, nothing of ours is written but *b. Not even libc's wrappers,
 * which sanitizers replace by functions that keep notes about the process, that is, about the parent. */
#define IN_CHILD __attribute__((no_sanitize("address", "thread", "undefined"), noinline))

IN_CHILD static void default_signals(void)
{
    const uint64_t dfl[8] = {0}, none = 0; /* the kernel's struct sigaction with SIG_DFL; an empty mask */
    for (int s = 1; s < 32; s++)
        syscall(SYS_rt_sigaction, s, dfl, NULL, sizeof none); /* KILL and STOP refuse, which is well */
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, sizeof none);
}

IN_CHILD static bool contain(birth *b)
{
    const spawn_spec *s = b->spec;
    b->step = "setsid";
    if (syscall(SYS_setsid) < 0)
        return false;
    default_signals();
    b->step = "prctl";
    if (syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 ||
        syscall(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return false;
    b->step = "dup3";
    if (syscall(SYS_dup3, s->in, 0, 0) < 0 || syscall(SYS_dup3, s->out, 1, 0) < 0 ||
        syscall(SYS_dup3, s->err, 2, 0) < 0)
        return false;
    b->step = "close_range";
    if (syscall(SYS_close_range, 3u, ~0u, 0u) < 0)
        return false;
    b->step = "prlimit";
    for (size_t i = 0; i < s->n_limits; i++) {
        uint64_t r[2] = {s->limits[i].value, s->limits[i].value};
        if (syscall(SYS_prlimit64, 0, s->limits[i].resource, r, NULL) < 0)
            return false;
    }
    b->step = "chdir to the working directory";
    return !s->cwd || syscall(SYS_chdir, s->cwd) == 0;
}

IN_CHILD static int child_main(void *arg)
{
    birth *b = arg;
    bool contained = contain(b);
    if (contained && syscall(SYS_getppid) == b->parent) {
        b->step = "exec";
        syscall(SYS_execve, b->spec->path, b->spec->argv, b->spec->env);
    }
    b->error = errno ? errno : ESRCH;
    syscall(SYS_exit_group, 127);
    return 127;
}

/* ---- in the parent ---- */

/* clone(2) under the name that ThreadSanitizer does not replace: its clone() takes the child for a fork and,
 * the memory being shared, makes the parent blind to its own locks. */
extern int __clone(int (*fn)(void *arg), void *stack, int flags, void *arg, ...);

int spawn_start(spawn_stack *stack, const spawn_spec *spec, pid_t *pid, int *pidfd, odto_error *err)
{
    birth b = {.spec = spec, .parent = getpid(), .step = "clone"};
    int fd = -1;
    sigset_t all, before;
    sigfillset(&all); /* no handler of ours may run in the child */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t child = __clone(child_main, stack->base + STACK_SIZE,
                          CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, &b, &fd);
    int e = child < 0 ? errno : b.error;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (child > 0 && e)
        spawn_reap(child, fd);
    if (e) {
        odto_fail(err, -e, "cannot start %s: %s", spec->path, strerror(e));
        odto_error_detail(err, "%s failed", b.step);
        return -e;
    }
    *pid = child;
    *pidfd = fd;
    return 0;
}

void spawn_kill(pid_t pid, int sig)
{
    kill(-pid, sig);
}

spawn_end spawn_reap(pid_t pid, int pidfd)
{
    siginfo_t info = {0};
    spawn_end end = {.code = -1};
    kill(-pid, SIGKILL); /* before the wait: afterwards the number may belong to someone else */
    int r;
    do
        r = waitid((idtype_t)P_PIDFD, (id_t)pidfd, &info, WEXITED | __WALL);
    while (r < 0 && errno == EINTR);
    close(pidfd);
    if (r == 0 && info.si_code == CLD_EXITED)
        end.code = info.si_status;
    else if (r == 0)
        end.signal = info.si_status;
    return end;
}

/* ---- finding a command ---- */

static bool executable(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

static char *join(const char *dir, size_t n, const char *name)
{
    char *path = NULL;
    if (asprintf(&path, "%.*s/%s", (int)n, dir, name) < 0)
        return NULL;
    return path;
}

static char *search(const char *command, const char *path)
{
    for (const char *p = path, *end; *p; p = *end ? end + 1 : end) {
        end = strchrnul(p, ':');
        char *full = end > p ? join(p, (size_t)(end - p), command) : NULL;
        if (full && executable(full))
            return full;
        free(full);
    }
    return NULL;
}

char *spawn_find(const char *command, const char *dir, const char *path, odto_error *err)
{
    char *found;
    if (!strchr(command, '/'))
        found = search(command, path);
    else if (command[0] == '/')
        found = strdup(command);
    else
        found = join(dir, strlen(dir), command);
    if (found && executable(found))
        return found;
    bool there = found && access(found, F_OK) == 0;
    odto_fail(err, there ? -EACCES : -ENOENT, "command %s %s", command,
              there ? "is not executable" : "is not found");
    if (found)
        odto_error_detail(err, "looked at %s", found);
    else
        odto_error_detail(err, "looked in %s", path);
    odto_error_hint(err, "give an absolute path, or set PATH in `env` or `env_pass`");
    free(found);
    return NULL;
}
