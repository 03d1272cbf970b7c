/* launch — starts a system on this machine and tells every step as a line of JSON.
 *
 * `odto-dashboard launch local|cluster` is a program of its own, run by the launcher screen as a child and
 * by scripts directly. What it started is written to local.json or cluster.json in the state folder, so that
 * a later `stop` (or the dashboard's shutdown) ends exactly that. */
#ifndef DASH_LAUNCH_H
#define DASH_LAUNCH_H

#include <odto/base.h>

/* argv[0] "launch"; 0 running, 1 a step failed, 2 wrong usage. */
int launch_main(int argc, char **argv);
/* argv[0] "stop"; 0 stopped or nothing to stop, 1 failed, 2 wrong usage. */
int stop_main(int argc, char **argv);

/* ---- between launch.c, launch_local.c and launch_cluster.c ---- */

typedef struct launch {
    bool json;
    char gateway[160], read[160];
    char state[512]; /* state folder */
    char log[600];   /* output of what is run */
    int64_t pid;
    int timeout_s;
} launch;

void launch_step_line(const launch *l, const char *step, const char *status, const char *fmt, ...)
    ODTO_PRINTF(4, 5);
/* An error line with what to do about it; returns -1. */
int launch_fail(const launch *l, const char *step, const char *remedy, const char *fmt, ...)
    ODTO_PRINTF(4, 5);
/* Starts argv in its own session with its output appended to the log. Process id or -errno. */
int64_t launch_spawn(const launch *l, char *const argv[]);
/* The same and waits; each line of output becomes a log line. Exit status, or -1. */
int launch_run(const launch *l, char *const argv[]);
/* The last lines of the log as log lines. */
void launch_log_tail(const launch *l, int lines);
/* Remembers what was started in place of what was remembered of this kind (local, cluster): pids of the host
 * or the forwards; made: the cluster itself too. 0 or -EIO. */
int launch_remember(const launch *l, const char *kind, const int64_t *pids, int n, bool made);
/* Ends the processes that are remembered of a kind; *made as above. False when one does not end. */
bool launch_end(const launch *l, const char *kind, bool *made);
int launch_port_of(const char *url); /* 0: none */
int launch_web_port(void);           /* of the page: WEB_PORT, or 8081 */
/* Waits until url answers 200 or pid (if not 0) ends; 0, -ETIMEDOUT or -ESRCH. */
int launch_wait_http(const launch *l, const char *url, int64_t pid, char *why, size_t size);
void launch_ready(const launch *l);
int launch_local(launch *l);
int launch_cluster(launch *l);

#endif
