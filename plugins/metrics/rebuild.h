/* rebuild.h — empty counters are counted anew from the event log, before anything is consumed.
 *
 * Where counters and events are in different stores, the counters may be lost alone (an in-memory server that
 * restarted empty). One thread asks both stores until they answer, then ends. */
#ifndef METRICS_REBUILD_H
#define METRICS_REBUILD_H

#include <odto/plugin.h>

typedef struct rebuild rebuild;

/* Starts the thread; done(arg) is called on it once, when the counters are right. */
int rebuild_start(odto_host *h, const odto_store_ref *events, const odto_store_ref *counters,
                  void (*done)(void *arg), void *arg, rebuild **out, odto_error *err);
bool rebuild_done(const rebuild *r); /* any thread */
void rebuild_interrupt(rebuild *r);  /* any thread: end soon, also when not done */
void rebuild_free(rebuild *r);       /* the thread has been joined; NULL is fine */

#endif
