/* host/watchdog.h — notices plugin code that does not return: every call into a plugin on a consumer or HTTP
 * thread is bracketed by watch_enter/watch_leave. Past the soft limit the thread's stack is logged, with
 * whether it spins or blocks; past the hard limit the instance has failed: it is fenced, left behind, and a
 * new generation starts. */
#ifndef HOST_WATCHDOG_H
#define HOST_WATCHDOG_H

#include <stdint.h>

struct core;
struct instance;

/* On the thread that calls the plugin. Nestable no; the cost is two atomic stores and a clock read. */
void watch_enter(struct instance *in);
void watch_leave(void);
void watch_thread_end(void); /* before a thread that used them ends */

/* Main thread, once: the signal that asks a thread for its stack. */
void watch_install(void);
/* Main thread: look at every bracket; returns ns until it wants to look again. */
int64_t watch_tick(struct core *core);
#endif
