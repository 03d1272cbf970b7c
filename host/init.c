/* init.c — a process that only reaps: the host itself must not wait for any child, since handlers wait for
 * theirs by pidfd. */
#include "host/init.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void stay(pid_t host, sigset_t *set)
{
    for (;;) {
        int sig = sigwaitinfo(set, NULL);
        if (sig > 0 && sig != SIGCHLD) {
            kill(host, sig);
            continue;
        }
        int status;
        for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
            if (pid == host)
                _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    }
}

void init_become(void)
{
    sigset_t set, old;
    sigfillset(&set);
    sigprocmask(SIG_BLOCK, &set, &old);
    pid_t host = fork();
    if (host > 0)
        stay(host, &set);
    sigprocmask(SIG_SETMASK, &old, NULL); /* the host, or no memory for a child: run as PID 1 ourselves */
}
