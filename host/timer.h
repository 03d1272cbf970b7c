/* host/timer.h — one-shot timers of all instances, on one thread that sleeps until the next is due. */
#ifndef HOST_TIMER_H
#define HOST_TIMER_H

#include <odto/plugin.h>

typedef struct timer_service timer_service;

/* Starts no thread until the first timer is set. NULL without memory. */
timer_service *timer_service_new(void);
void timer_service_free(timer_service *s); /* joins the thread; every timer must have been freed */

/* Semantics of timer_new/set/free in odto/host.h. owner is for the ledger only. */
odto_timer *timer_create_for(timer_service *s, void *owner, void (*fn)(void *arg), void *arg);
void timer_arm(odto_timer *t, int64_t delay_ns);
void timer_destroy(odto_timer *t);
/* Timers of owner that were not freed: disarmed, freed and counted (after its threads have ended). */
size_t timer_reap(timer_service *s, void *owner);
size_t timer_count(timer_service *s, void *owner);
#endif
