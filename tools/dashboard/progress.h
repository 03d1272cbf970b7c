/* progress — lines of JSON that a started program writes, made into a state that can be drawn.
 *
 * Two kinds: the launcher's steps {"step","status","message"} (and "log", "urls", "pid"), and the doctor's
 * checks {"section","name","verdict","detail","install"}. Both programs are this executable itself, run as
 * a child, so the screen shows exactly what a script would see. One owner (the UI thread), no locks. */
#ifndef DASH_PROGRESS_H
#define DASH_PROGRESS_H

#include <odto/base.h>

typedef enum step_id {
    STEP_PREREQS,
    STEP_CLUSTER,
    STEP_IMAGES,
    STEP_LOAD,
    STEP_DEPLOY,
    STEP_PODS,
    STEP_PORTS,
    STEP_VERIFY,
    STEP_READY,
    STEP_COUNT
} step_id;

typedef enum step_status {
    STEP_WAITING, /* not begun */
    STEP_STARTING,
    STEP_COMPLETE,
    STEP_WARNING,
    STEP_SKIPPED,
    STEP_ERROR
} step_status;

extern const char *const step_names[STEP_COUNT];
extern const char *const step_status_names[]; /* by step_status */

typedef enum launch_kind { LAUNCH_LOCAL, LAUNCH_CLUSTER } launch_kind;

#define LAUNCH_LOG  64
#define LAUNCH_URLS 8

typedef struct launch_step {
    step_status status;
    char message[200];
    int64_t begun_ms, ended_ms; /* Unix ms */
} launch_step;

typedef struct launch_state {
    launch_kind kind;
    bool running, failed, done, cancelled;
    int64_t begun_ms, ended_ms;
    launch_step steps[STEP_COUNT];
    char remedy[256];
    char log[LAUNCH_LOG][160];
    int n_log; /* lines ever logged; the last LAUNCH_LOG are kept */
    char urls[LAUNCH_URLS][96];
    int n_urls;
    int64_t pid; /* of a local host that was started, 0 none */
} launch_state;

void launch_begin(launch_state *l, launch_kind kind, int64_t now_ms);
/* One line of the launcher's output; a line that is no JSON object is a log line. */
void launch_line(launch_state *l, const char *line, int64_t now_ms);
/* The program ended with this exit status (negative: killed by that signal). */
void launch_ended(launch_state *l, int status, int64_t now_ms);

typedef enum verdict { VERDICT_OK, VERDICT_WARN, VERDICT_FAIL } verdict;

#define CHECKS_MAX 64

typedef struct check_row {
    char section[24], name[40], detail[200], hint[200], install[200];
    verdict verdict;
} check_row;

typedef struct check_state {
    bool running, done;
    int exit_status;
    int n;
    check_row rows[CHECKS_MAX];
} check_state;

void checks_begin(check_state *c);
void checks_line(check_state *c, const char *line);
void checks_ended(check_state *c, int status);

#endif
