/* host/caller.h — a thread that runs one function after another for somebody who waits with a deadline.
 *
 * The supervisor makes one before it pauses a plugin: on a busy machine a new thread waits for its first
 * turn, one that was asleep is served at once. */
#ifndef HOST_CALLER_H
#define HOST_CALLER_H

#include <stdint.h>

struct caller;
struct caller *caller_new(void); /* NULL without memory or thread */
/* fn(arg) on the thread, which is called name meanwhile. -ETIMEDOUT: it has not come back; the caller must be
 * left. One thread at a time. */
int caller_run(struct caller *c, const char *name, void (*fn)(void *arg), void *arg, int64_t timeout_ns);
/* It ends, with what its thread keys have to say, and is freed; -ETIMEDOUT: it does not, and is left. */
int caller_end(struct caller *c, int64_t timeout_ns);
void caller_leave(struct caller *c); /* nobody waits for it any more; it frees itself if it comes back */
#endif
