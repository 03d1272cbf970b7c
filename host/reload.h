/* host/reload.h — replace plugins while everything runs: the whole manifest is checked first, then only what
 * changed is exchanged, each change ending in one verdict. Main thread only. */
#ifndef HOST_RELOAD_H
#define HOST_RELOAD_H

#include "host/core.h"

enum reload_step {
    STEP_CHECK,
    STEP_INIT,
    STEP_QUIESCE,
    STEP_SAVE,
    STEP_STOP,
    STEP_RESTORE,
    STEP_START,
    STEP_CANARY,
    STEP_COMMIT,
    STEP_RECONFIGURE,
    STEP_ROLL_BACK, /* only its duration: the step of a verdict is the one that failed */
    RELOAD_STEPS
};

/* What became of one unit, or (unit empty) of the manifest as a whole. */
struct verdict {
    char unit[NAME_SIZE];
    enum reload_result result;
    bool added;            /* RELOAD_DONE: it was not there before */
    enum reload_step step; /* last step taken */
    odto_error error;
    unsigned generation;
    int64_t total_ns, pause_ns; /* pause: nothing was delivered to the plugin, its requests waited */
    int64_t step_ns[RELOAD_STEPS], step_at; /* time in each step; when the present one began, 0: not yet */
};

struct verdicts {
    struct verdict items[MAX_UNITS + 1];
    size_t n;
};

/* name NULL: whatever changed; else that unit, changed or not. Logs and counts each verdict, and appends it
 * to out (may be NULL). */
void reload_manifest(struct core *core, const char *name, struct verdicts *out);
const char *reload_result_name(enum reload_result r);
const char *reload_step_name(enum reload_step s);
/* The next step begins; the time since the last one began is its own. */
void verdict_step(struct verdict *v, enum reload_step next);
/* The worst result of all. */
enum reload_result verdicts_worst(const struct verdicts *v);
#endif
