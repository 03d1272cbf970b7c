/* timer.c — a binary heap by due time under one mutex. Callbacks run without the lock; `running` names the
 * timer whose callback is on, so that timer_destroy can wait for it (and does not when called from that
 * callback itself). */
#include "host/timer.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#define NOT_ARMED SIZE_MAX

struct odto_timer {
    timer_service *service;
    void *owner;
    void (*fn)(void *arg);
    void *arg;
    int64_t due;
    size_t at;               /* index in the heap, or NOT_ARMED */
    odto_timer *prev, *next; /* list of all timers */
};

struct timer_service {
    pthread_mutex_t lock; /* everything below */
    pthread_cond_t wake, idle;
    odto_timer **heap;
    size_t n, cap;
    odto_timer *all, *running;
    pthread_t thread;
    bool started, stop;
};

timer_service *timer_service_new(void)
{
    timer_service *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->wake, &attr);
    pthread_cond_init(&s->idle, NULL);
    pthread_condattr_destroy(&attr);
    return s;
}

static void place(timer_service *s, size_t at, odto_timer *t)
{
    s->heap[at] = t;
    t->at = at;
}

static void sift(timer_service *s, size_t at)
{
    odto_timer *t = s->heap[at];
    while (at > 0 && s->heap[(at - 1) / 2]->due > t->due) {
        place(s, at, s->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    for (size_t child; (child = 2 * at + 1) < s->n;) {
        if (child + 1 < s->n && s->heap[child + 1]->due < s->heap[child]->due)
            child++;
        if (s->heap[child]->due >= t->due)
            break;
        place(s, at, s->heap[child]);
        at = child;
    }
    place(s, at, t);
}

static void heap_remove(timer_service *s, odto_timer *t)
{
    if (t->at == NOT_ARMED)
        return;
    size_t at = t->at;
    t->at = NOT_ARMED;
    odto_timer *last = s->heap[--s->n];
    if (last != t) {
        place(s, at, last);
        sift(s, at);
    }
}

static void run_first(timer_service *s)
{
    odto_timer *t = s->heap[0];
    heap_remove(s, t);
    s->running = t;
    pthread_mutex_unlock(&s->lock);
    t->fn(t->arg);
    pthread_mutex_lock(&s->lock);
    s->running = NULL;
    pthread_cond_broadcast(&s->idle);
}

static void *timer_loop(void *arg)
{
    timer_service *s = arg;
    pthread_mutex_lock(&s->lock);
    while (!s->stop) {
        if (!s->n) {
            pthread_cond_wait(&s->wake, &s->lock);
            continue;
        }
        int64_t due = s->heap[0]->due;
        if (due <= odto_now_ns()) {
            run_first(s);
            continue;
        }
        struct timespec ts = {due / ODTO_SEC, due % ODTO_SEC};
        pthread_cond_timedwait(&s->wake, &s->lock, &ts);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static void start_thread(timer_service *s)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &old);
    s->started = pthread_create(&s->thread, NULL, timer_loop, s) == 0;
    if (s->started)
        pthread_setname_np(s->thread, "odto-timer");
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

void timer_service_free(timer_service *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->stop = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
    if (s->started)
        pthread_join(s->thread, NULL);
    pthread_cond_destroy(&s->wake);
    pthread_cond_destroy(&s->idle);
    pthread_mutex_destroy(&s->lock);
    free(s->heap);
    free(s);
}

odto_timer *timer_create_for(timer_service *s, void *owner, void (*fn)(void *arg), void *arg)
{
    odto_timer *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    *t = (odto_timer){.service = s, .owner = owner, .fn = fn, .arg = arg, .at = NOT_ARMED};
    pthread_mutex_lock(&s->lock);
    t->next = s->all;
    if (s->all)
        s->all->prev = t;
    s->all = t;
    pthread_mutex_unlock(&s->lock);
    return t;
}

void timer_arm(odto_timer *t, int64_t delay_ns)
{
    timer_service *s = t->service;
    pthread_mutex_lock(&s->lock);
    heap_remove(s, t);
    if (delay_ns >= 0) {
        if (s->n == s->cap) {
            size_t cap = s->cap ? 2 * s->cap : 32;
            odto_timer **heap = realloc(s->heap, cap * sizeof *heap);
            if (!heap)
                abort(); /* some bytes of a heap of pointers: nothing sensible can go on */
            s->heap = heap;
            s->cap = cap;
        }
        t->due = odto_now_ns() + delay_ns;
        place(s, s->n++, t);
        sift(s, t->at);
        if (!s->started)
            start_thread(s);
        if (t->at == 0)
            pthread_cond_signal(&s->wake);
    }
    pthread_mutex_unlock(&s->lock);
}

/* Called with the lock held; t is neither armed nor running afterwards. */
static void unlink_timer(timer_service *s, odto_timer *t)
{
    heap_remove(s, t);
    while (s->running == t && !pthread_equal(pthread_self(), s->thread)) {
        pthread_cond_wait(&s->idle, &s->lock);
        heap_remove(s, t); /* its callback may have armed it again */
    }
    if (t->prev)
        t->prev->next = t->next;
    else
        s->all = t->next;
    if (t->next)
        t->next->prev = t->prev;
}

void timer_destroy(odto_timer *t)
{
    if (!t)
        return;
    timer_service *s = t->service;
    pthread_mutex_lock(&s->lock);
    unlink_timer(s, t);
    pthread_mutex_unlock(&s->lock);
    free(t);
}

size_t timer_count(timer_service *s, void *owner)
{
    size_t n = 0;
    pthread_mutex_lock(&s->lock);
    for (odto_timer *t = s->all; t; t = t->next)
        n += t->owner == owner;
    pthread_mutex_unlock(&s->lock);
    return n;
}

size_t timer_reap(timer_service *s, void *owner)
{
    size_t n = 0;
    pthread_mutex_lock(&s->lock);
    for (odto_timer *t = s->all; t;) {
        odto_timer *next = t->next;
        if (t->owner == owner) {
            unlink_timer(s, t);
            next = s->all; /* the list may have changed while we waited */
            free(t);
            n++;
        }
        t = next;
    }
    pthread_mutex_unlock(&s->lock);
    return n;
}
