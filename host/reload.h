/* host/reload.h — replace plugins while everything runs: the whole manifest is checked first, then only what
 * changed is exchanged, each change ending in one verdict. Main thread only. */
#ifndef HOST_RELOAD_H
#define HOST_RELOAD_H

#include "host/core.h"

enum reload_result {
    RELOAD_UNCHANGED,
    RELOAD_DONE,        /* the new generation runs */
    RELOAD_ROLLED_BACK, /* the old one runs again, from its own state */
    RELOAD_REFUSED,     /* nothing was touched: the manifest or the new copy is bad */
    RELOAD_LOST,        /* neither runs: the unit is in BACKOFF and will be tried again */
};

/* What became of one unit, or (unit empty) of the manifest as a whole. */
struct verdict {
    char unit[NAME_SIZE];
    enum reload_result result;
    bool added;       /* RELOAD_DONE: it was not there before */
    const char *step; /* last step taken: check stage inspect probe load init quiesce save stop restore start
                         canary commit */
    odto_error error;
    unsigned generation;
    int64_t total_ns, pause_ns; /* pause: nothing was delivered to the plugin, its requests waited */
};

struct verdicts {
    struct verdict items[MAX_UNITS + 1];
    size_t n;
};

/* name NULL: whatever changed; else that unit, changed or not. Logs and counts each verdict, and appends it
 * to out (may be NULL). */
void reload_manifest(struct core *core, const char *name, struct verdicts *out);
const char *reload_result_name(enum reload_result r);
/* The worst result of all. */
enum reload_result verdicts_worst(const struct verdicts *v);
#endif
