/* caller.c — see caller.h. */
#include "host/caller.h"
#include "host/thread.h"

#include <odto/base.h>

#include <errno.h>
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
    if (thread_join_until(id, odto_now_ns() + timeout_ns) < 0) {
        /* in a destructor of a thread key: it is not freed any more */
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
