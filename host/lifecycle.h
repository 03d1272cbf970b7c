/* host/lifecycle.h — the states of a supervised unit and the only legal moves between them. Pure. */
#ifndef HOST_LIFECYCLE_H
#define HOST_LIFECYCLE_H

#include <stdbool.h>

enum life_state {
    LIFE_STAGED,   /* known from the manifest; nothing mapped */
    LIFE_LOADED,   /* image mapped, descriptor checked, init done */
    LIFE_STARTING, /* start() called */
    LIFE_READY,
    LIFE_DRAINING, /* quiesce/save/stop */
    LIFE_STOPPED,
    LIFE_BACKOFF,   /* waits to be started again */
    LIFE_FAILED,    /* given up, or permanent */
    LIFE_ABANDONED, /* could not be stopped: image and threads left alone */
    LIFE_STATES,
};

enum life_event {
    LIFE_LOAD, /* image mapped and initialised */
    LIFE_START,
    LIFE_UP,      /* start() returned 0 */
    LIFE_ERROR,   /* any callback failed, or the plugin said so; will be tried again */
    LIFE_GIVE_UP, /* permanent failure, or too many restarts */
    LIFE_DRAIN,
    LIFE_DOWN,     /* stop() returned and every thread has ended */
    LIFE_DEADLINE, /* did not stop in time */
    LIFE_EVENTS,
};

/* The next state, or -1 where the pair is illegal (a bug of the host). */
int life_next(enum life_state state, enum life_event event);
const char *life_state_name(enum life_state s);
const char *life_event_name(enum life_event e);
#endif
