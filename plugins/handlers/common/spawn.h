/* spawn.h — start a child process for a job, contained: own session and group, no inherited descriptor, no
 * new privileges, limits, an environment of its own, and death with the thread that started it.
 *
 * posix_spawn(3) can set none of PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS and rlimits, and a helper program that
 * does costs a second exec (measured: 0.35 ms of 0.75 ms a job). So this is clone(2) with CLONE_VM and
 * CLONE_VFORK as posix_spawn itself does it: the caller stands still until the exec, no page table is copied.
 *
 * PR_SET_PDEATHSIG follows the *thread*: call from the thread that lives as long as the children may. */
#ifndef HANDLERS_SPAWN_H
#define HANDLERS_SPAWN_H

#include <odto/base.h>
#include <sys/resource.h>
#include <sys/types.h>

#define SPAWN_LIMITS 6

typedef struct spawn_limit {
    int resource;
    rlim_t value;
} spawn_limit;

/* Everything borrowed, until spawn_start returns. */
typedef struct spawn_spec {
    const char *path; /* absolute */
    char *const *argv, *const *env;
    const char *cwd;
    int in, out, err; /* become 0, 1, 2 */
    spawn_limit limits[SPAWN_LIMITS];
    size_t n_limits;
} spawn_spec;

typedef struct spawn_stack spawn_stack; /* memory for the moment before the exec; one a thread */
spawn_stack *spawn_stack_new(void);     /* NULL without memory */
void spawn_stack_free(spawn_stack *s);

/* Start it: *pid, and *pidfd (readable when the child has ended; the caller closes it). 0, or -errno with err
 * saying which step failed (-ENOENT, -EACCES … of the exec itself among them): then there is no child. */
int spawn_start(spawn_stack *stack, const spawn_spec *spec, pid_t *pid, int *pidfd, odto_error *err);

/* Send a signal to the child's whole group. Only before spawn_reap: until then the number can't be reused. */
void spawn_kill(pid_t pid, int sig);

/* How a child ended. */
typedef struct spawn_end {
    int code;   /* exit status, or -1 */
    int signal; /* that ended it, or 0 */
} spawn_end;

/* Kill what is left of the group, then collect the child, which has ended. Closes pidfd. */
spawn_end spawn_reap(pid_t pid, int pidfd);

/* Where a command is: absolute as it is, with a slash relative to dir, else searched in path
 * (colon-separated). malloc'd, or NULL with err: -ENOENT, -EACCES. */
char *spawn_find(const char *command, const char *dir, const char *path, odto_error *err);

#endif
