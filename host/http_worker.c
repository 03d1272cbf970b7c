/* http_worker.c — threads for handlers that may block (ODTO_HTTP_BLOCKING) and for /metrics.
 *
 * A bounded ring under one mutex; loops submit, workers run. The ring holds requests, never owns them. While
 * a request is here its owner is held, so that unserve waits for the handler to return. */
#include "http_priv.h"
#include "thread.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct http_worker_pool {
    http_server *server;
    pthread_mutex_t lock; /* everything below */
    pthread_cond_t work;
    bool quit;
    unsigned head, n, cap, n_threads;
    pthread_t *threads;
    odto_http_request *ring[];
};

static void *worker_main(void *arg)
{
    http_worker_pool *w = arg;
    pthread_mutex_lock(&w->lock);
    for (;;) {
        while (!w->n && !w->quit)
            pthread_cond_wait(&w->work, &w->lock);
        if (!w->n)
            break;
        odto_http_request *rq = w->ring[w->head];
        w->head = (w->head + 1) % w->cap;
        w->n--;
        pthread_mutex_unlock(&w->lock);
        request_run_blocking(rq);
        pthread_mutex_lock(&w->lock);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

int worker_submit(http_server *s, odto_http_request *rq)
{
    http_worker_pool *w = s->workers;
    pthread_mutex_lock(&w->lock);
    bool full = w->n == w->cap || w->quit;
    if (!full)
        w->ring[(w->head + w->n++) % w->cap] = rq;
    pthread_cond_signal(&w->work);
    pthread_mutex_unlock(&w->lock);
    return full ? -EAGAIN : 0;
}

int workers_start(http_server *s, odto_error *err)
{
    unsigned cap = s->config.worker_queue, threads = s->config.workers;
    http_worker_pool *w = calloc(1, sizeof(*w) + cap * sizeof(w->ring[0]));
    if (!w)
        return odto_fail(err, -ENOMEM, "no memory for HTTP workers");
    w->threads = calloc(threads, sizeof(pthread_t));
    w->server = s;
    w->cap = cap;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->work, NULL);
    s->workers = w;
    for (; w->threads && w->n_threads < threads; w->n_threads++) {
        char name[16];
        int r = pthread_create(&w->threads[w->n_threads], NULL, worker_main, w);
        if (r)
            return odto_fail(err, -r, "can't start an HTTP worker thread");
        snprintf(name, sizeof(name), "http-work/%u", w->n_threads);
        pthread_setname_np(w->threads[w->n_threads], name);
    }
    return w->threads ? 0 : odto_fail(err, -ENOMEM, "no memory for HTTP workers");
}

int workers_stop(http_server *s, int64_t deadline_ns)
{
    http_worker_pool *w = s->workers;
    if (!w)
        return 0;
    pthread_mutex_lock(&w->lock);
    w->quit = true;
    pthread_cond_broadcast(&w->work);
    pthread_mutex_unlock(&w->lock);
    while (w->n_threads) {
        if (thread_join_until(w->threads[w->n_threads - 1], deadline_ns))
            return -ETIMEDOUT; /* inside a handler that does not return: its memory must stay */
        w->n_threads--;
    }
    pthread_cond_destroy(&w->work);
    pthread_mutex_destroy(&w->lock);
    free(w->threads);
    free(w);
    s->workers = NULL;
    return 0;
}
