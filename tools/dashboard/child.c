/* child — see child.h. */
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

void child_init(child *c)
{
    memset(c, 0, sizeof *c);
    c->out_fd = -1;
}

static int spawn_session(pid_t *pid, char *const argv[], int in_fd, int out_fd)
{
    posix_spawn_file_actions_t fa;
    posix_spawnattr_t at;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&fa);
    posix_spawnattr_init(&at);
    posix_spawnattr_setflags(&at, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigmask(&at, &none);
    posix_spawnattr_setsigdefault(&at, &all);
    if (in_fd >= 0) {
        posix_spawn_file_actions_adddup2(&fa, in_fd, 0);
    } else {
        posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
    }
    if (out_fd >= 0) {
        posix_spawn_file_actions_adddup2(&fa, out_fd, 1);
        posix_spawn_file_actions_adddup2(&fa, out_fd, 2);
    } else {
        posix_spawn_file_actions_addopen(&fa, 1, "/dev/null", O_WRONLY, 0);
        posix_spawn_file_actions_addopen(&fa, 2, "/dev/null", O_WRONLY, 0);
    }
    posix_spawn_file_actions_addclosefrom_np(&fa, 3);
    int rc = posix_spawnp(pid, argv[0], &fa, &at, argv, environ);
    posix_spawn_file_actions_destroy(&fa);
    posix_spawnattr_destroy(&at);
    return -rc;
}

int child_start(child *c, char *const argv[], odto_error *err)
{
    int p[2];
    if (pipe2(p, O_CLOEXEC) < 0) {
        return odto_fail(err, -errno, "no pipe: %s", strerror(errno));
    }
    pid_t pid;
    int rc = spawn_session(&pid, argv, -1, p[1]);
    close(p[1]);
    if (rc) {
        close(p[0]);
        return odto_fail(err, rc, "%s cannot be started: %s", argv[0], strerror(-rc));
    }
    fcntl(p[0], F_SETFL, O_NONBLOCK);
    c->pid = pid;
    c->out_fd = p[0];
    c->n = 0;
    return 0;
}

static void take_byte(child *c, char b, child_line_fn *fn, void *arg)
{
    if (b == '\n') {
        c->line[c->n] = '\0';
        c->n = 0;
        fn(arg, c->line);
    } else if (c->n < sizeof c->line - 1) {
        c->line[c->n++] = b;
    }
}

bool child_read(child *c, child_line_fn *fn, void *arg)
{
    char buf[4096];
    for (;;) {
        ssize_t n = read(c->out_fd, buf, sizeof buf);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && errno == EAGAIN) {
            return true;
        }
        if (n <= 0) {
            break;
        }
        for (ssize_t i = 0; i < n; i++) {
            take_byte(c, buf[i], fn, arg);
        }
    }
    if (c->n) {
        take_byte(c, '\n', fn, arg);
    }
    close(c->out_fd);
    c->out_fd = -1;
    return false;
}

static int status_of(int status)
{
    return WIFEXITED(status) ? WEXITSTATUS(status) : WIFSIGNALED(status) ? -WTERMSIG(status) : -1;
}

int child_reap(child *c)
{
    int status = 0;
    while (c->pid > 0 && waitpid(c->pid, &status, 0) < 0 && errno == EINTR) {
    }
    c->pid = 0;
    return status_of(status);
}

void child_stop(child *c, int grace_ms)
{
    if (c->pid > 0) {
        kill(-c->pid, SIGTERM);
        int status;
        bool gone = false;
        for (int waited = 0; !gone && waited < grace_ms; waited += 10) {
            gone = waitpid(c->pid, &status, WNOHANG) == c->pid;
            if (!gone) {
                nanosleep(&(struct timespec){0, 10 * 1000000}, NULL);
            }
        }
        if (!gone) {
            kill(-c->pid, SIGKILL);
            waitpid(c->pid, &status, 0);
        }
    }
    if (c->out_fd >= 0) {
        close(c->out_fd);
    }
    child_init(c);
}

int child_detached(char *const argv[], const char *text)
{
    int p[2] = {-1, -1};
    if (text && pipe2(p, O_CLOEXEC) < 0) {
        return -errno;
    }
    if (text) {
        /* a pipe holds 64 kB, so this cannot block */
        size_t n = strlen(text);
        ssize_t w = write(p[1], text, n > 60000 ? 60000 : n);
        (void)w;
        close(p[1]);
    }
    pid_t pid;
    int rc = spawn_session(&pid, argv, p[0], -1);
    if (p[0] >= 0) {
        close(p[0]);
    }
    return rc ? rc : (int)pid;
}

bool child_has_program(const char *name)
{
    const char *path = getenv("PATH");
    char full[512];
    if (strchr(name, '/')) {
        return access(name, X_OK) == 0;
    }
    while (path && *path) {
        size_t n = strcspn(path, ":");
        snprintf(full, sizeof full, "%.*s/%s", (int)n, n ? path : ".", name);
        if (access(full, X_OK) == 0) {
            return true;
        }
        path += n + (path[n] == ':');
    }
    return false;
}
