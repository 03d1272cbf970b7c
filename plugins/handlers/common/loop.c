/* loop.c — see loop.h. */
#include "loop.h"
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define EVENTS 128

int loop_init(loop *l, odto_host *h, int64_t (*turn)(void *arg), void *arg, odto_error *err)
{
    *l = (loop){.host = h, .turn = turn, .arg = arg};
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    l->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL};
    if (l->epoll >= 0 && l->event >= 0 && epoll_ctl(l->epoll, EPOLL_CTL_ADD, l->event, &ev) == 0)
        return 0;
    int e = errno;
    loop_free(l);
    return odto_fail(err, -e, "no event loop: %s", strerror(e));
}

void loop_free(loop *l)
{
    if (l->epoll > 0)
        close(l->epoll);
    if (l->event > 0)
        close(l->event);
    l->epoll = l->event = -1;
}

void loop_wake(loop *l)
{
    uint64_t one = 1;
    /* seq_cst: whoever finds it true knows that the loop will look after clearing it */
    if (!atomic_exchange(&l->woken, true) && write(l->event, &one, sizeof one) < 0)
        atomic_store(&l->woken, false);
}

void loop_stop(loop *l)
{
    atomic_store(&l->stop, true);
    loop_wake(l);
}

static void drain_event(loop *l)
{
    uint64_t n;
    if (read(l->event, &n, sizeof n) > 0)
        atomic_store(&l->woken, false); /* before turn() looks at what the waker left */
}

static void loop_main(void *arg)
{
    loop *l = arg;
    struct epoll_event ev[EVENTS];
    int64_t due = 0;
    for (;;) {
        int64_t left = due ? due - l->host->api->now(l->host) : 0;
        struct timespec ts = {left / ODTO_SEC, left % ODTO_SEC};
        if (left < 0)
            ts = (struct timespec){0};
        int n = epoll_pwait2(l->epoll, ev, EVENTS, due ? &ts : NULL, NULL);
        l->now_ns = l->host->api->now(l->host);
        for (int i = 0; i < n; i++) {
            watch *w = ev[i].data.ptr;
            if (!w)
                drain_event(l);
            else if (w->fd >= 0)
                w->ready(w, ev[i].events);
        }
        due = l->turn(l->arg);
        if (due < 0)
            return;
    }
}

int loop_start(loop *l, const char *name, odto_error *err)
{
    int r = l->host->api->thread_start(l->host, name, loop_main, l, &l->thread);
    return r < 0 ? odto_fail(err, r, "no thread for the handler's loop") : 0;
}

int loop_watch(loop *l, watch *w, int fd, uint32_t events, void (*ready)(watch *w, uint32_t events))
{
    struct epoll_event ev = {.events = events, .data.ptr = w};
    if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &ev) < 0)
        return -errno;
    w->fd = fd;
    w->ready = ready;
    return 0;
}

int loop_change(loop *l, watch *w, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = w};
    return epoll_ctl(l->epoll, EPOLL_CTL_MOD, w->fd, &ev) < 0 ? -errno : 0;
}

void loop_close(watch *w)
{
    if (w->fd >= 0)
        close(w->fd);
    w->fd = -1;
}
