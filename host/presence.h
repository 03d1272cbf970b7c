/* host/presence.h — the proof that no thread is in a plugin's code any more.
 *
 * A plugin's callback (a store's done, a run's finish, a publisher's done) tells the plugin's own threads
 * that the last work has ended, and then still has instructions to execute and memory to touch: with a reload
 * under load one in some thousand callbacks returned into an image that was unmapped meanwhile. The plugin
 * can't prevent that, so the host asks: each thread that may call into another's plugin shows its stack, in a
 * signal handler, and the instance is finished only when none lies in the image.
 *
 * Sanitizer builds never unmap an image and ask nobody. */
#ifndef HOST_PRESENCE_H
#define HOST_PRESENCE_H

#include <stdbool.h>
#include <stdint.h>

/* This thread may call into plugins; owner is whose it is, NULL for the host's. Cheap when called again; ends
 * with the thread. */
void presence_note(const void *owner);
/* Is no noted thread in [from, to)? Asks those whose owner `may` accepts, again and again until the deadline
 * (monotonic ns). False also for a thread whose stack can't be read. One caller at a time, any thread. */
bool presence_clear(uintptr_t from, uintptr_t to, bool (*may)(const void *owner, void *arg), void *arg,
                    int64_t deadline_ns);
#endif
