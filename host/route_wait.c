/* route_wait.c — how consumers wait: spin a little while the route is hot, else park on a futex.
 *
 * A consumer that found nothing enters its group's parked list under the lock; the publisher that makes the
 * group non-empty takes one out of it, changes the waiter's word under the lock and wakes after it. So there
 * is one system call per empty → non-empty, none while consumers are busy. Waking an idle virtual CPU costs
 * 20–120 us, so a consumer that was woken soon after it parked spins the next time; one that slept long
 * halves its spinning, down to none: an idle host uses no CPU. */
#include "route_internal.h"
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SPIN_MAX   1000u /* about 10 us */
#define SOON_NS    (100 * INT64_C(1000))
#define WAITER_MAX (INT64_C(3600) * ODTO_SEC)

struct route_waiter *route_waiter_new(void)
{
    struct route_waiter *w = calloc(1, sizeof *w);
    if (w)
        w->spin_max = sysconf(_SC_NPROCESSORS_ONLN) > 1 ? SPIN_MAX : 0;
    return w;
}

void route_waiter_free(struct route_waiter *w)
{
    free(w);
}

static void futex_wake(uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

void route_waiter_wake(struct route_waiter *w)
{
    __atomic_store_n(&w->stop, 1, __ATOMIC_RELEASE);   /* pairs with the exchange in consumers_take */
    __atomic_add_fetch(&w->word, 1, __ATOMIC_RELEASE); /* after stop: who sees the word sees stop */
    futex_wake(&w->word);
}

void consumer_wake(route_consumer *c)
{
    route_waiter_wake(c->waiter);
}

void waiter_park(struct route_waiter *w, uint32_t seen, int64_t deadline_ns)
{
    int64_t t0 = odto_now_ns();
    if (deadline_ns <= t0)
        return;
    int64_t left = deadline_ns - t0;
    if (left > WAITER_MAX)
        left = WAITER_MAX;
    struct timespec ts = {.tv_sec = (time_t)(left / ODTO_SEC), .tv_nsec = (long)(left % ODTO_SEC)};
    syscall(SYS_futex, &w->word, FUTEX_WAIT_PRIVATE, seen, &ts, NULL, 0);
    if (odto_now_ns() - t0 < SOON_NS)
        w->spin = w->spin_max;
    else
        w->spin /= 2;
}

void waiter_rest(struct route_waiter *w, int64_t deadline_ns)
{
    uint32_t seen = __atomic_load_n(&w->word, __ATOMIC_ACQUIRE); /* pairs with route_waiter_wake */
    if (!__atomic_exchange_n(&w->stop, 0, __ATOMIC_ACQUIRE))     /* the same */
        waiter_park(w, seen, deadline_ns);
}

void consumer_park(route_consumer *c)
{
    if (c->parked)
        return;
    c->parked = true;
    c->next_parked = c->group->parked;
    c->group->parked = c;
}

void consumer_unpark(route_consumer *c)
{
    if (!c->parked)
        return;
    c->parked = false;
    route_consumer **at = &c->group->parked;
    while (*at != c)
        at = &(*at)->next_parked;
    *at = c->next_parked;
}

void group_wake(struct route_group *g, struct wakes *out)
{
    group_hint(g);
    if (!g->parked || g->route->paused || out->n == ROUTE_GROUPS_MAX)
        return;
    if (!group_queued(g) && !group_fillable(g))
        return;
    for (route_consumer *c = g->parked; c; c = c->next_parked) {
        if (c->leased >= c->prefetch)
            continue;
        consumer_unpark(c);
        __atomic_add_fetch(&c->waiter->word, 1, __ATOMIC_RELEASE); /* pairs with the load in consumers_take */
        out->word[out->n++] = &c->waiter->word;
        return;
    }
}

void wakes_fire(const struct wakes *w)
{
    for (uint32_t i = 0; i < w->n; i++)
        futex_wake(w->word[i]);
}
