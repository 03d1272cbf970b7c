/* recount.h — the counters counted anew from the event log, while events go on being appended and counted.
 *
 * One store that counts while it appends does it in a transaction. With two stores the counters start from
 * zero and every event of the log is given to them again, with its id: an event is in the log before it is
 * counted, and counts once however often it is given, so whatever is counted meanwhile comes out right. */
#ifndef PLUGINS_RECOUNT_H
#define PLUGINS_RECOUNT_H

#include <odto/plugin.h>

/* Blocks until it is done; *out: the counters afterwards. -ENOTSUP: these stores can't; else -errno of the
 * store that did not take part, and the counters may be too low until it is done again. should_stop may be
 * NULL. */
int recount(const odto_store_ref *events, const odto_store_ref *counters, bool (*should_stop)(void *arg),
            void *arg, odto_counters *out, odto_error *err);

#endif
