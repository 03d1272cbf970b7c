/* loop.h — the one thread of a handler that has many children or connections in hand: an epoll loop with a
 * wake-up and a timer, asked from the host. */
#ifndef HANDLERS_LOOP_H
#define HANDLERS_LOOP_H

#include <odto/plugin.h>
#include <pthread.h>
#include <stdatomic.h>

/* A descriptor that is waited for. Lives inside its owner's struct; memory must stay until the end of the
 * turn in which the descriptor was closed. */
typedef struct watch {
    void (*ready)(struct watch *w, uint32_t events); /* on the loop's thread */
    int fd;                                          /* -1: none; ready is not called any more */
} watch;

typedef struct loop {
    odto_host *host;
    int epoll, event;
    _Atomic bool woken, stop;
    odto_thread *thread;
    /* On the loop's thread after each round of events: returns when the next one is due at the latest
     * (monotonic ns, 0: only events), or -1 to end the thread. */
    int64_t (*turn)(void *arg);
    void *arg;
    int64_t now_ns; /* of this turn */
} loop;

int loop_init(loop *l, odto_host *h, int64_t (*turn)(void *arg), void *arg, odto_error *err);
int loop_start(loop *l, const char *name, odto_error *err);
void loop_wake(loop *l); /* any thread */
void loop_stop(loop *l); /* any thread: turn() sees l->stop */
void loop_free(loop *l);

/* Loop thread. 0 or -errno. events as of epoll_ctl(2). */
int loop_watch(loop *l, watch *w, int fd, uint32_t events, void (*ready)(watch *w, uint32_t events));
int loop_change(loop *l, watch *w, uint32_t events);
void loop_close(watch *w); /* closes the descriptor */

#endif
