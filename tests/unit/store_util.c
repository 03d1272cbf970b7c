/* store_util.c — see store_util.h. */
#include "store_util.h"

#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

typedef struct waiter {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool done;
    int result;
} waiter;

static void write_done(odto_write *w, int result)
{
    waiter *at = w->arg;
    pthread_mutex_lock(&at->lock);
    at->done = true;
    at->result = result;
    pthread_cond_signal(&at->cond);
    pthread_mutex_unlock(&at->lock);
}

int store_write(fixture *f, int (*submit)(void *store, odto_write *w), odto_write *w)
{
    waiter at = {.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
    w->done = write_done;
    w->arg = &at;
    int code = submit(f->store, w);
    if (code != 0)
        return code;
    pthread_mutex_lock(&at.lock);
    while (!at.done)
        pthread_cond_wait(&at.cond, &at.lock);
    pthread_mutex_unlock(&at.lock);
    return at.result;
}

const char *env_of(const char *name)
{
    const char *v = getenv(name);
    if (v == NULL)
        ck_abort_msg("%s is not set: run the tests by tests/integration/store_redis.py and store_mongo.py",
                     name);
    return v;
}

const char *url_setting(const char *name)
{
    static char text[512];
    snprintf(text, sizeof(text), "url=%s", env_of(name));
    return text;
}

bool store_ready_within(fixture *f, int ms)
{
    for (int waited = 0; waited < ms; waited += 5) {
        if (minihost_health(f->host).ready)
            return true;
        usleep(5000);
    }
    return minihost_health(f->host).ready;
}

void store_start_only(fixture *f, const char *const *settings)
{
    odto_error err = {0};
    char text[1400];
    f->host = minihost_new(&odto_plugin_, "/nonexistent", settings);
    f->store = minihost_self(f->host);
    if (minihost_start(f->host, &err) != 0)
        ck_abort_msg("%s", odto_error_text(&err, text, sizeof(text)));
}

void store_start(fixture *f, const char *const *settings)
{
    store_start_only(f, settings);
    if (!store_ready_within(f, 10000))
        ck_abort_msg("%s", minihost_health(f->host).reason);
}

void store_stop(fixture *f)
{
    minihost_stop(f->host);
    minihost_free(f->host);
    f->host = NULL;
}
