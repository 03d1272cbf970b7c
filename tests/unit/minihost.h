/* minihost.h — the smallest host that a plugin can run in, for unit tests and benchmarks that link a plugin's
 * code directly: options from text, real threads, a clock that can be put forward, metrics that are kept but
 * shown to nobody, log lines of warning and above on stderr. No routes, no HTTP, no timers: those entries of
 * the table are NULL.
 *
 * One minihost holds one instance. The functions below are for the test's thread; the table may be used from
 * any. */
#ifndef ODTO_MINIHOST_H
#define ODTO_MINIHOST_H

#include <odto/plugin.h>

typedef struct minihost minihost;

/* An instance of the plugin with these settings ("key=value", NULL-terminated; NULL: all defaults); init()
 * has run. data_dir is ${data}. On a failure the text is on stderr and the process is aborted: a test can't
 * go on.
 */
minihost *minihost_new(const odto_plugin *plugin, const char *data_dir, const char *const *settings);
void *minihost_self(minihost *m);
odto_host *minihost_host(minihost *m);
/* The plugin's callbacks. */
int minihost_start(minihost *m, odto_error *err);
void minihost_stop(minihost *m); /* stop(), and the join of threads left over */
void minihost_free(minihost *m); /* fini() */
odto_health minihost_health(minihost *m);
/* Put both clocks of the host forward. */
void minihost_advance(minihost *m, int64_t ms);
unsigned minihost_health_changes(const minihost *m); /* calls of health_changed() so far */
/* The metric of that name, NULL before the plugin asked for it. */
const odto_metric *minihost_metric(minihost *m, const char *name);
void minihost_quiet(minihost *m, bool quiet); /* warnings are expected: keep them off stderr */

#endif
