/* executor.c — threads for handlers that work inside start().
 *
 * A pool's threads are asked from the host one by one, when a run waits and none is idle, up to its
 * concurrency. Lock: executor.lock (queue and counts); start() is called without it. */
#include "processor.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct executor {
    pthread_mutex_t lock;
    pthread_cond_t work;
    item *first, *last; /* linked by mail.next, which nobody else uses until the run ended */
    uint32_t threads, idle, waiting;
    bool stop;
} executor;

static item *next_item(const item *it)
{
    return it->mail.next ? (item *)(void *)((char *)it->mail.next - offsetof(item, mail)) : NULL;
}

int executor_new(pool *pl, odto_error *err)
{
    executor *e = calloc(1, sizeof *e);
    if (!e)
        return odto_fail(err, -ENOMEM, "no memory");
    pthread_mutex_init(&e->lock, NULL);
    pthread_cond_init(&e->work, NULL);
    pl->executor = e;
    return 0;
}

void executor_free(pool *pl)
{
    executor *e = pl->executor;
    if (!e)
        return;
    pthread_cond_destroy(&e->work);
    pthread_mutex_destroy(&e->lock);
    free(e);
    pl->executor = NULL;
}

static item *wait_for_item(executor *e)
{
    pthread_mutex_lock(&e->lock);
    e->idle++;
    while (!e->first && !e->stop)
        pthread_cond_wait(&e->work, &e->lock);
    e->idle--;
    item *it = e->first;
    if (it) {
        e->first = next_item(it);
        e->waiting--;
    } else {
        e->threads--;
    }
    pthread_mutex_unlock(&e->lock);
    return it;
}

static void executor_main(void *arg)
{
    pool *pl = arg;
    item *it;
    while ((it = wait_for_item(pl->executor))) {
        odto_run *run = &it->run;
        pl->iface->start(pl->self, &run, 1);
    }
}

void executor_give(pool *pl, item *it)
{
    executor *e = pl->executor;
    odto_host *h = pl->p->host;
    odto_thread *t;
    char name[24];
    it->mail.next = NULL;
    pthread_mutex_lock(&e->lock);
    if (e->first)
        e->last->mail.next = &it->mail;
    else
        e->first = it;
    e->last = it;
    e->waiting++;
    bool more = e->waiting > e->idle && e->threads < pl->concurrency;
    if (more)
        snprintf(name, sizeof name, "%.8s-%u", pl->name, ++e->threads);
    pthread_cond_signal(&e->work);
    pthread_mutex_unlock(&e->lock);
    if (!more || h->api->thread_start(h, name, executor_main, pl, &t) == 0)
        return;
    pthread_mutex_lock(&e->lock);
    bool none = --e->threads == 0;
    pthread_mutex_unlock(&e->lock);
    odto_log(h, ODTO_ERROR, "handler %s: no thread%s", pl->name, none ? ", its jobs wait" : "");
}

void executor_stop(pool *pl)
{
    executor *e = pl->executor;
    if (!e)
        return;
    pthread_mutex_lock(&e->lock);
    e->stop = true;
    pthread_cond_broadcast(&e->work);
    pthread_mutex_unlock(&e->lock);
}
