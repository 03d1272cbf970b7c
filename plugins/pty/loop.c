/* loop.c — one epoll set for all terminals and children, and one timer for everything that is due. The host
 * watches the epoll descriptor on its WebSocket thread and calls loop_ready. */
#include "pty.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define EVENTS 64
/* What an event belongs to stands in its data: a session, with this bit for its child; NULL: the timer. */
#define CHILD UINT64_C(1)

int loop_open(pty *p, odto_error *err)
{
    p->epfd = epoll_create1(EPOLL_CLOEXEC);
    p->timerfd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    struct epoll_event e = {.events = EPOLLIN, .data.u64 = 0};
    if (p->epfd < 0 || p->timerfd < 0 || epoll_ctl(p->epfd, EPOLL_CTL_ADD, p->timerfd, &e))
        return odto_fail(err, -errno, "can't make an epoll set and a timer");
    return 0;
}

void loop_close(pty *p)
{
    if (p->epfd >= 0)
        close(p->epfd);
    if (p->timerfd >= 0)
        close(p->timerfd);
    p->epfd = p->timerfd = -1;
}

void loop_due(pty *p, int64_t at)
{
    if (p->armed && p->armed <= at)
        return;
    p->armed = at;
    int64_t delay = at - pty_now(p);
    if (delay < 1)
        delay = 1;
    struct itimerspec t = {.it_value = {delay / ODTO_SEC, delay % ODTO_SEC}};
    timerfd_settime(p->timerfd, 0, &t, NULL);
}

int loop_add(session *s)
{
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = s};
    if (epoll_ctl(s->pty->epfd, EPOLL_CTL_ADD, s->master, &e))
        return -errno;
    s->watching = EPOLLIN;
    e.data.u64 = (uint64_t)(uintptr_t)s | CHILD;
    return epoll_ctl(s->pty->epfd, EPOLL_CTL_ADD, s->pidfd, &e) ? -errno : 0;
}

/* A terminal that hung up reports EPOLLHUP whatever is asked for: one that is not asked for anything has to
 * leave the set. */
void loop_master(session *s, uint32_t events)
{
    if (s->master < 0 || events == s->watching)
        return;
    struct epoll_event e = {.events = events, .data.ptr = s};
    int op = !events ? EPOLL_CTL_DEL : s->watching ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (!epoll_ctl(s->pty->epfd, op, s->master, &e))
        s->watching = events;
}

void loop_remove_child(session *s)
{
    if (s->pidfd >= 0)
        epoll_ctl(s->pty->epfd, EPOLL_CTL_DEL, s->pidfd, NULL);
}

static void tick(pty *p)
{
    uint64_t count;
    if (read(p->timerfd, &count, sizeof count) < 0 && errno != EAGAIN)
        return;
    p->armed = 0;
    int64_t now = pty_now(p);
    for (session *s = p->sessions, *next; s; s = next) {
        next = s->next;
        stream_tick(s, now);
        session_tick(s, now);
    }
    for (viewer *v = p->viewers; v; v = v->next)
        viewer_tick(v, now);
}

static void dispatch(pty *p, const struct epoll_event *e)
{
    if (!e->data.u64) {
        tick(p);
        return;
    }
    session *s = (session *)(uintptr_t)(e->data.u64 & ~CHILD);
    if (e->data.u64 & CHILD) {
        if (!s->exited)
            session_exited(s);
        return;
    }
    if (e->events & EPOLLOUT)
        stream_writable(s);
    if (e->events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        stream_readable(s);
}

void loop_ready(void *arg)
{
    pty *p = arg;
    struct epoll_event events[EVENTS];
    pthread_mutex_lock(&p->lock);
    int n = p->epfd >= 0 ? epoll_wait(p->epfd, events, EVENTS, 0) : 0;
    for (int i = 0; i < n; i++)
        dispatch(p, &events[i]);
    session_bury(p);
    pthread_mutex_unlock(&p->lock);
}
