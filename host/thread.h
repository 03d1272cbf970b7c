/* host/thread.h — threads of the host and of its workers. */
#ifndef HOST_THREAD_H
#define HOST_THREAD_H

#include <pthread.h>
#include <stdint.h>

/* A thread with every signal blocked but those of crashes and of the watchdog, with a stack of 512 KiB. 0 or
 * -errno. */
int thread_spawn(pthread_t *id, void *(*fn)(void *), void *arg, const char *name);
/* Monotonic deadline. 0, or -ETIMEDOUT: it still runs. */
int thread_join_until(pthread_t id, int64_t deadline_ns);
#endif
