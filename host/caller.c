/* caller.c — see caller.h. */
#include "host/caller.h"

#include <odto/base.h>

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct caller {
    pthread_t id;
    pthread_mutex_t lock; /* all below */
    pthread_cond_t changed;
    void (*fn)(void *arg); /* to run, or running; NULL: idle */
    void *arg;
    char name[16];
    bool quit, left;
};

int thread_spawn(pthread_t *id, void *(*fn)(void *), void *arg, const char *name)
{
    sigset_t all, old;
    sigfillset(&all);
    sigdelset(&all, SIGSEGV);
    sigdelset(&all, SIGBUS);
    sigdelset(&all, SIGILL);
    sigdelset(&all, SIGFPE);
    sigdelset(&all, SIGABRT);
    sigdelset(&all, SIGURG); /* the watchdog asks for the stack */
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 512 * 1024);
    pthread_sigmask(SIG_BLOCK, &all, &old);
    int r = pthread_create(id, &attr, fn, arg);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    if (r == 0)
        pthread_setname_np(*id, name);
    return -r;
}

int thread_timed_join(pthread_t id, int64_t timeout_ns)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts); /* what pthread_timedjoin_np takes */
    int64_t ns = ts.tv_nsec + (timeout_ns > 0 ? timeout_ns : 0);
    ts.tv_sec += ns / ODTO_SEC;
    ts.tv_nsec = ns % ODTO_SEC;
    return -pthread_timedjoin_np(id, NULL, &ts);
}

static void caller_free(struct caller *c)
{
    pthread_cond_destroy(&c->changed);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

static void *caller_main(void *arg)
{
    struct caller *c = arg;
    pthread_mutex_lock(&c->lock);
    for (;;) {
        while (!c->fn && !c->quit)
            pthread_cond_wait(&c->changed, &c->lock);
        if (!c->fn)
            break;
        pthread_setname_np(c->id, c->name);
        void (*fn)(void *) = c->fn;
        void *given = c->arg;
        pthread_mutex_unlock(&c->lock);
        fn(given);
        pthread_mutex_lock(&c->lock);
        c->fn = NULL;
        pthread_cond_broadcast(&c->changed);
    }
    bool left = c->left;
    pthread_mutex_unlock(&c->lock);
    if (left)
        caller_free(c);
    return NULL;
}

struct caller *caller_new(void)
{
    struct caller *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    pthread_mutex_init(&c->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&c->changed, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_lock(&c->lock); /* the thread reads its id */
    int r = thread_spawn(&c->id, caller_main, c, "caller");
    pthread_mutex_unlock(&c->lock);
    if (r == 0)
        return c;
    caller_free(c);
    return NULL;
}

int caller_run(struct caller *c, const char *name, void (*fn)(void *arg), void *arg, int64_t timeout_ns)
{
    int64_t deadline = odto_now_ns() + (timeout_ns > 0 ? timeout_ns : 0);
    struct timespec until = {deadline / ODTO_SEC, deadline % ODTO_SEC};
    pthread_mutex_lock(&c->lock);
    snprintf(c->name, sizeof c->name, "%s", name);
    c->arg = arg;
    c->fn = fn;
    pthread_cond_broadcast(&c->changed);
    int r = 0;
    while (c->fn && r == 0)
        r = pthread_cond_timedwait(&c->changed, &c->lock, &until);
    r = c->fn ? -ETIMEDOUT : 0;
    pthread_mutex_unlock(&c->lock);
    return r;
}

static void tell(struct caller *c, bool left)
{
    pthread_mutex_lock(&c->lock);
    c->quit = true;
    c->left |= left;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
}

int caller_end(struct caller *c, int64_t timeout_ns)
{
    pthread_t id = c->id;
    tell(c, false);
    if (thread_timed_join(id, timeout_ns) <
        0) { /* in a destructor of a thread key: it is not freed any more */
        pthread_detach(id);
        return -ETIMEDOUT;
    }
    caller_free(c);
    return 0;
}

void caller_leave(struct caller *c)
{
    pthread_detach(c->id);
    tell(c, true);
}
