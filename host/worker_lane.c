/* worker_lane.c — queues of work and the threads that take from them. A lane's lock is held for its queue
 * only, never while a task runs. */
#include "host/thread.h"
#include "host/worker.h"

#include <errno.h>
#include <execinfo.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

void lane_init(struct lane *l, const char *name, unsigned max, bool watched)
{
    *l = (struct lane){.name = name, .max = max, .watched = watched};
    l->end = &l->queue;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->more, NULL);
    pthread_cond_init(&l->rest, NULL);
}

struct task *task_new(enum wire_type type, uint64_t id, const struct wire_in *in)
{
    struct task *t = malloc(sizeof *t + in->n);
    if (!t)
        return NULL;
    *t = (struct task){.type = type, .id = id};
    memcpy(t->data, in->p, in->n);
    t->in = (struct wire_in){t->data, in->n, false};
    return t;
}

/* ---- marks: the host sees since when a call into the plugin runs ---- */

static __thread struct shared_mark *mine;

void mark_begin(struct worker *w)
{
    if (!mine) {
        int32_t tid = (int32_t)syscall(SYS_gettid);
        for (size_t i = 0; !mine && i < SHARED_MARKS; i++) {
            int32_t none = 0;
            if (atomic_compare_exchange_strong(&w->shared->marks[i].tid, &none, tid))
                mine = &w->shared->marks[i];
        }
    }
    if (mine)
        atomic_store(&mine->since, odto_now_ns());
}

void mark_end(struct worker *w)
{
    (void)w;
    if (mine)
        atomic_store(&mine->since, 0);
}

/* The thread's return addresses for the host, which asked for them by the signal. */
static struct shared *shared;

static void on_ask(int sig)
{
    (void)sig;
    int saved = errno;
    void *frames[SHARED_FRAMES];
    int n = backtrace(frames, SHARED_FRAMES);
    for (int i = 0; i < n; i++)
        atomic_store_explicit(&shared->stack[i], (uintptr_t)frames[i], memory_order_relaxed);
    atomic_store(&shared->stack_n, n);
    errno = saved;
}

void stack_handler(struct worker *w)
{
    void *frames[2];
    shared = w->shared;
    backtrace(frames, 2); /* loads the unwinder now, not in the handler */
    struct sigaction sa = {.sa_handler = on_ask, .sa_flags = SA_RESTART};
    sigemptyset(&sa.sa_mask);
    sigaction(SIGURG, &sa, NULL);
}

/* ---- lanes ---- */

static struct task *take(struct lane *l)
{
    pthread_mutex_lock(&l->lock);
    if (++l->idle == l->threads && !l->queue)
        pthread_cond_broadcast(&l->rest);
    while (!l->queue)
        pthread_cond_wait(&l->more, &l->lock);
    l->idle--;
    struct task *t = l->queue;
    if (!(l->queue = t->next))
        l->end = &l->queue;
    l->waiting--;
    pthread_mutex_unlock(&l->lock);
    return t;
}

void lane_rest(struct lane *l)
{
    pthread_mutex_lock(&l->lock);
    while (l->queue || l->idle != l->threads)
        pthread_cond_wait(&l->rest, &l->lock);
    pthread_mutex_unlock(&l->lock);
}

void lane_run(struct worker *w, struct lane *l)
{
    for (;;) {
        struct task *t = take(l);
        if (l->watched)
            mark_begin(w);
        t->run(t);
        if (l->watched)
            mark_end(w);
    }
}

struct lane_thread {
    struct worker *w;
    struct lane *l;
};

static void *lane_main(void *arg)
{
    struct lane_thread t = *(struct lane_thread *)arg;
    free(arg);
    lane_run(t.w, t.l);
    return NULL;
}

static bool add_thread(struct worker *w, struct lane *l)
{
    char name[16];
    pthread_t id;
    struct lane_thread *arg = malloc(sizeof *arg);
    if (!arg)
        return false;
    *arg = (struct lane_thread){w, l};
    snprintf(name, sizeof name, "%.8s/%.6s", w->name, l->name);
    if (thread_spawn(&id, lane_main, arg, name) < 0) {
        free(arg);
        return false;
    }
    pthread_detach(id);
    return true;
}

void lane_push(struct worker *w, struct lane *l, struct task *t)
{
    t->next = NULL;
    pthread_mutex_lock(&l->lock);
    *l->end = t;
    l->end = &t->next;
    bool more = ++l->waiting > l->idle && l->threads < l->max;
    if (more)
        l->threads++;
    pthread_cond_signal(&l->more);
    pthread_mutex_unlock(&l->lock);
    if (more && !add_thread(w, l)) {
        pthread_mutex_lock(&l->lock);
        bool none = --l->threads == 0;
        pthread_mutex_unlock(&l->lock);
        if (none)
            abort(); /* nobody would ever take it: the host starts a new worker */
    }
}
