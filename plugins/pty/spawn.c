/* spawn.c — see spawn.h.
 *
 * posix_spawn and never fork: between fork and exec of a process with threads only async-signal-safe calls
 * are legal, and forkpty with what is usually done after it is not (it can wait for ever for malloc's lock).
 * It is also the faster one: it copies no page tables. The session leader opens the terminal by its name,
 * which makes it the controlling one; the parent never holds a descriptor of that side. */
#include "spawn.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int master_open(char *name, size_t size)
{
    int fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int r = grantpt(fd) || unlockpt(fd) ? -errno : -ptsname_r(fd, name, size);
    if (!r && fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        r = -errno;
    if (r) {
        close(fd);
        return r;
    }
    return fd;
}

int spawn_resize(int master, int cols, int rows)
{
    struct winsize w = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)cols};
    return ioctl(master, TIOCSWINSZ, &w) ? -errno : 0;
}

static int attributes(posix_spawnattr_t *attr)
{
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    int r = posix_spawnattr_init(attr);
    if (r)
        return r;
    r = posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    if (!r)
        r = posix_spawnattr_setsigmask(attr, &none);
    if (!r)
        r = posix_spawnattr_setsigdefault(attr, &all);
    if (r)
        posix_spawnattr_destroy(attr);
    return r;
}

static int actions(posix_spawn_file_actions_t *fa, const char *name, const char *dir)
{
    int r = posix_spawn_file_actions_init(fa);
    if (r)
        return r;
    r = posix_spawn_file_actions_addopen(fa, 0, name, O_RDWR, 0);
    if (!r)
        r = posix_spawn_file_actions_adddup2(fa, 0, 1);
    if (!r)
        r = posix_spawn_file_actions_adddup2(fa, 0, 2);
    if (!r)
        r = posix_spawn_file_actions_addclosefrom_np(fa, 3);
    if (!r && dir)
        r = posix_spawn_file_actions_addchdir_np(fa, dir);
    if (r)
        posix_spawn_file_actions_destroy(fa);
    return r;
}

static int run(const spawn_request *q, const char *name, pid_t *pid)
{
    posix_spawnattr_t attr;
    posix_spawn_file_actions_t fa;
    int r = attributes(&attr);
    if (r)
        return -r;
    r = actions(&fa, name, q->dir);
    if (!r) {
        r = posix_spawn(pid, q->argv[0], &fa, &attr, q->argv, q->envp);
        posix_spawn_file_actions_destroy(&fa);
    }
    posix_spawnattr_destroy(&attr);
    return -r;
}

int spawn_pidfd(pid_t pid)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    return fd < 0 ? -errno : fd;
}

int spawn_terminal(const spawn_request *q, int *master, int *pidfd, pid_t *pid, odto_error *err)
{
    char name[64];
    int fd = master_open(name, sizeof name);
    if (fd < 0) {
        odto_fail(err, fd, "can't open a pseudo-terminal");
        odto_error_hint(err, "see kernel.pty.max and the number of open files");
        return fd;
    }
    spawn_resize(fd, q->cols, q->rows);
    int r = run(q, name, pid);
    int watch = r ? -1 : spawn_pidfd(*pid);
    if (!r && watch < 0) { /* no descriptor left: it can't be watched, so it must not run */
        r = watch;
        spawn_kill(*pid, SIGKILL, false);
        waitpid(*pid, NULL, 0);
    }
    if (r) {
        close(fd);
        return odto_fail(err, r, "can't start %s", q->argv[0]);
    }
    *master = fd;
    *pidfd = watch;
    return 0;
}

/* The session a process belongs to, from /proc/PID/stat; -1 when it is gone, if only to be waited for. */
static pid_t session_of(int proc, const char *pid)
{
    char path[64], text[512];
    snprintf(path, sizeof path, "%.32s/stat", pid);
    int fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0)
        return -1;
    text[n] = 0;
    const char *p = strrchr(text, ')'); /* the name may hold anything */
    char state = 0;
    int session = -1;
    return p && sscanf(p + 1, " %c %*d %*d %d", &state, &session) == 2 && state != 'Z' ? (pid_t)session : -1;
}

size_t spawn_kill(pid_t leader, int signal, bool everywhere)
{
    size_t others = 0;
    kill(-leader, signal);
    DIR *d = everywhere ? opendir("/proc") : NULL;
    if (!d)
        return 0;
    for (struct dirent *e; (e = readdir(d));) {
        pid_t pid = e->d_name[0] >= '1' && e->d_name[0] <= '9' ? (pid_t)strtol(e->d_name, NULL, 10) : leader;
        if (pid == leader || session_of(dirfd(d), e->d_name) != leader)
            continue;
        kill(pid, signal);
        others++;
    }
    closedir(d);
    return others;
}

bool spawn_ended(int pidfd, bool reap, int *exit_status, int *signal)
{
    siginfo_t info = {0};
    if (waitid((idtype_t)P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOHANG | (reap ? 0 : WNOWAIT)))
        return errno == ECHILD; /* somebody else reaped it: its status is lost, it has ended */
    if (!info.si_pid)
        return false;
    *exit_status = info.si_code == CLD_EXITED ? info.si_status : -1;
    *signal = info.si_code == CLD_EXITED ? 0 : info.si_status;
    return true;
}
