/* spawn.h — a program in a pseudo-terminal of its own: session leader with it as controlling terminal, its
 * descriptors 0..2 and nothing else of ours, the environment that is given, default signals. */
#ifndef PTY_SPAWN_H
#define PTY_SPAWN_H

#include <odto/base.h>
#include <sys/types.h>

typedef struct spawn_request {
    char *const *argv, *const *envp;
    const char *dir;
    int cols, rows;
} spawn_request;

/* 0, -errno. The caller owns master (non-blocking) and pidfd. */
int spawn_terminal(const spawn_request *q, int *master, int *pidfd, pid_t *pid, odto_error *err);
/* A new pidfd for a child that was not reaped yet. -errno. */
int spawn_pidfd(pid_t pid);
/* Signal the process group; with everywhere also each other process of its session, whose number it returns.
 * Only while the leader is not reaped: afterwards its number may be another's. */
size_t spawn_kill(pid_t leader, int signal, bool everywhere);
/* True once the child has ended, with its exit status (-1: by a signal); reap: and it is forgotten. */
bool spawn_ended(int pidfd, bool reap, int *exit_status, int *signal);
int spawn_resize(int master, int cols, int rows);
#endif
