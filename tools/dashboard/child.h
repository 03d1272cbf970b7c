/* child — a program started beside the UI whose output is read line by line.
 *
 * posix_spawn in a session of its own, stdin from /dev/null, stdout and stderr into one pipe, no other
 * descriptor, default signals. Owned by the UI thread; out_fd is non-blocking and goes into its poll set. */
#ifndef DASH_CHILD_H
#define DASH_CHILD_H

#include <odto/base.h>
#include <sys/types.h>

typedef struct child {
    pid_t pid;  /* 0: none */
    int out_fd; /* -1: none */
    char line[2048];
    size_t n;
} child;

typedef void child_line_fn(void *arg, const char *line);

void child_init(child *c);
int child_start(child *c, char *const argv[], odto_error *err);
/* Reads what is there; calls fn for every whole line (and the last one at the end). False at the end. */
bool child_read(child *c, child_line_fn *fn, void *arg);
/* After the end: exit status, or minus the signal. Waits for the process, which has closed its output. */
int child_reap(child *c);
/* Ends the whole session: TERM now; KILL if it is not gone after grace_ms. Reaps. */
void child_stop(child *c, int grace_ms);
/* Starts a program with nothing attached and forgets it; text (may be NULL) is its standard input, at most
 * 60 kB. The process id, to be reaped by the caller, or -errno. */
int child_detached(char *const argv[], const char *text);
/* A program of this name on PATH. */
bool child_has_program(const char *name);

#endif
