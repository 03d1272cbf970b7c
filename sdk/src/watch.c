/* watch.c — watched descriptors of the fake host. They are looked at, and ready() is called, on the test's
 * thread when it moves the clock: there is no WebSocket loop. */
#include "internal.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>

static int watch(odto_host *h, int fd, void (*ready)(void *arg), void *arg, odto_watch **out, odto_error *err)
{
    HOST_SIDE;
    odto_test *t = odto_test_of(h);
    if (odto_test_refused(t, "watch"))
        return odto_fail(err, -ENOTSUP, "descriptors are watched only with WebSockets");
    odto_watch *w = calloc(1, sizeof *w);
    if (!w)
        return odto_fail(err, -ENOMEM, "no memory");
    *w = (odto_watch){.t = t, .fd = fd, .ready = ready, .arg = arg};
    pthread_mutex_lock(&t->lock);
    w->next = t->watches;
    t->watches = w;
    t->n_watches++;
    pthread_mutex_unlock(&t->lock);
    *out = w;
    return 0;
}

static void unwatch(odto_watch *w)
{
    HOST_SIDE;
    if (!w)
        return;
    odto_test *t = w->t;
    pthread_mutex_lock(&t->lock);
    for (odto_watch **at = &t->watches; *at; at = &(*at)->next)
        if (*at == w) {
            *at = w->next;
            t->n_watches--;
            break;
        }
    pthread_mutex_unlock(&t->lock);
    free(w);
}

static bool readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, 0) > 0;
}

void odto_test_watch_poll(odto_test *t)
{
    odto_watch *seen[64]; /* ready() may unwatch */
    size_t n = 0;
    pthread_mutex_lock(&t->lock);
    for (odto_watch *w = t->watches; w && n < sizeof seen / sizeof seen[0]; w = w->next)
        seen[n++] = w;
    pthread_mutex_unlock(&t->lock);
    while (n-- > 0) {
        pthread_mutex_lock(&t->lock);
        odto_watch *w = t->watches;
        while (w && w != seen[n])
            w = w->next;
        pthread_mutex_unlock(&t->lock);
        if (!w || !readable(w->fd))
            continue;
        PLUGIN_SIDE;
        w->ready(w->arg);
    }
}

static bool replaced(odto_host *h)
{
    return odto_test_of(h)->replaced;
}

void odto_test_watch_setup(odto_test *t)
{
    t->api.watch = watch;
    t->api.unwatch = unwatch;
    t->api.replaced = replaced;
}

void odto_test_watch_free(odto_test *t)
{
    while (t->watches)
        unwatch(t->watches);
}
