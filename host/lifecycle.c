/* lifecycle.c — the transition table; every pair that is not in it is illegal and tested to be. */
#include "host/lifecycle.h"

#define NO (-1)

static const signed char table[LIFE_STATES][LIFE_EVENTS] = {
    /*                 LOAD         START          UP          ERROR         GIVE_UP      DRAIN          DOWN
       DEADLINE */
    [LIFE_STAGED] = {LIFE_LOADED, NO, NO, LIFE_BACKOFF, LIFE_FAILED, LIFE_DRAINING, NO, LIFE_ABANDONED},
    [LIFE_LOADED] = {NO, LIFE_STARTING, NO, LIFE_BACKOFF, LIFE_FAILED, LIFE_DRAINING, NO, LIFE_ABANDONED},
    [LIFE_STARTING] = {NO, NO, LIFE_READY, LIFE_BACKOFF, LIFE_FAILED, LIFE_DRAINING, NO, LIFE_ABANDONED},
    [LIFE_READY] = {NO, NO, NO, LIFE_BACKOFF, LIFE_FAILED, LIFE_DRAINING, NO, LIFE_ABANDONED},
    [LIFE_DRAINING] = {NO, NO, NO, LIFE_BACKOFF, LIFE_FAILED, NO, LIFE_STOPPED, LIFE_ABANDONED},
    [LIFE_STOPPED] = {LIFE_LOADED, NO, NO, LIFE_BACKOFF, LIFE_FAILED, NO, NO, NO},
    [LIFE_BACKOFF] = {LIFE_LOADED, NO, NO, LIFE_BACKOFF, LIFE_FAILED, LIFE_DRAINING, LIFE_STOPPED,
                      LIFE_ABANDONED},
    [LIFE_FAILED] = {LIFE_LOADED, NO, NO, NO, LIFE_FAILED, LIFE_DRAINING, LIFE_STOPPED, NO},
    [LIFE_ABANDONED] = {LIFE_LOADED, NO, NO, LIFE_BACKOFF, LIFE_FAILED, NO, NO, NO},
};

int life_next(enum life_state state, enum life_event event)
{
    if ((unsigned)state >= LIFE_STATES || (unsigned)event >= LIFE_EVENTS)
        return NO;
    return table[state][event];
}

const char *life_state_name(enum life_state s)
{
    static const char *const names[] = {"STAGED",  "LOADED",  "STARTING", "READY",    "DRAINING",
                                        "STOPPED", "BACKOFF", "FAILED",   "ABANDONED"};
    return (unsigned)s < LIFE_STATES ? names[s] : "?";
}

const char *life_event_name(enum life_event e)
{
    static const char *const names[] = {"load",    "start", "up",   "error",
                                        "give-up", "drain", "down", "deadline"};
    return (unsigned)e < LIFE_EVENTS ? names[e] : "?";
}
