/* instance.c — see instance.h. */
#include "host/caller.h"
#include "host/core.h"
#include "host/crash.h"
#include "host/foreign.h"
#include "host/presence.h"
#include "host/route.h"
#include "host/thread.h"
#include "host/watchdog.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CONSUMER_BATCH 256

struct odto_thread {
    struct odto_thread *next;
    struct instance *instance;
    void (*fn)(void *);
    void *arg;
    pthread_t id;
    char name[16];
    bool joined, ended; /* under instance->lock */
};

static __thread struct instance *current; /* for attribution of a crash */

struct instance *instance_current(void)
{
    return current;
}

void instance_set_current(struct instance *in)
{
    current = in;
}

struct instance *instance_new(struct core *core, struct unit *unit, unsigned generation, struct image *image,
                              struct manifest *m, const odto_config *config)
{
    struct instance *in = calloc(1, sizeof *in);
    if (!in)
        return NULL;
    in->handle = (odto_host){.api = core->api, .priv = in};
    in->core = core;
    in->unit = unit;
    in->generation = generation;
    in->image = image;
    in->d = image->descriptor;
    in->manifest = manifest_ref(m);
    in->config = config;
    const odto_value *level = odto_config_get(unit->section->host, "log_level");
    if (level->s)
        log_set_plugin_level(core->sink, config->instance, (int)level->i);
    in->log = log_source_new(core->sink, config->instance, generation);
    snprintf(in->name, sizeof in->name, "%s", config->instance);
    pthread_mutex_init(&in->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&in->paused, &attr);
    pthread_condattr_destroy(&attr);
    image->refs++;
    return in;
}

/* ---- threads ---- */

static void *thread_main(void *arg)
{
    struct odto_thread *t = arg;
    struct instance *in = t->instance;
    void *stack = crash_thread_begin();
    current = in;
    presence_note(in);
    t->fn(t->arg);
    watch_thread_end();
    crash_thread_end(stack);
    pthread_mutex_lock(&in->lock);
    t->ended = true;
    in->n_threads--;
    if (in->abandoned && !t->joined) { /* nobody will join it any more */
        t->joined = true;
        pthread_detach(t->id);
    }
    pthread_mutex_unlock(&in->lock);
    return NULL;
}

int instance_thread_start(struct instance *in, const char *name, void (*fn)(void *), void *arg,
                          odto_thread **out)
{
    struct odto_thread *t = calloc(1, sizeof *t);
    if (!t)
        return -ENOMEM;
    *t = (struct odto_thread){.instance = in, .fn = fn, .arg = arg};
    snprintf(t->name, sizeof t->name, "%.8s/%.6s", in->name, name);
    pthread_mutex_lock(&in->lock);
    in->n_threads++;
    int r = thread_spawn(&t->id, thread_main, t, t->name);
    if (r == 0) {
        t->next = in->threads;
        in->threads = t;
        if (out)
            *out = t;
    } else {
        in->n_threads--;
        free(t);
    }
    pthread_mutex_unlock(&in->lock);
    return r;
}

void instance_thread_join(struct instance *in, odto_thread *t)
{
    pthread_mutex_lock(&in->lock);
    bool join = !t->joined;
    t->joined = true;
    pthread_mutex_unlock(&in->lock);
    if (join)
        pthread_join(t->id, NULL);
}

/* Join all threads the plugin did not join itself. */
static int join_all(struct instance *in, int64_t deadline)
{
    for (;;) {
        pthread_mutex_lock(&in->lock);
        struct odto_thread *t = in->threads;
        while (t && t->joined)
            t = t->next;
        pthread_mutex_unlock(&in->lock);
        if (!t)
            return 0;
        if (thread_join_until(t->id, deadline) < 0)
            return -ETIMEDOUT;
        pthread_mutex_lock(&in->lock);
        t->joined = true;
        pthread_mutex_unlock(&in->lock);
    }
}

void instance_abandon(struct instance *in)
{
    pthread_mutex_lock(&in->lock);
    in->abandoned = true;
    for (struct odto_thread *t = in->threads; t; t = t->next) {
        if (!t->ended || t->joined)
            continue;
        t->joined = true;
        pthread_detach(t->id);
    }
    pthread_mutex_unlock(&in->lock);
}

/* ---- callbacks with a deadline ---- */

struct call {
    struct instance *in;
    int (*fn)(struct call *c);
    odto_error err;
    uint32_t version;
    odto_slice in_blob;
    odto_buf *out_blob;
    const odto_config *config;
    int64_t deadline;
    int result;
    atomic_int refs; /* the caller and the thread; the last frees */
};

static void call_unref(struct call *c)
{
    if (atomic_fetch_sub(&c->refs, 1) == 1)
        free(c);
}

static void call_run(void *arg)
{
    struct call *c = arg;
    current = c->in;
    c->result = c->fn(c);
    call_unref(c);
}

static void *call_main(void *arg)
{
    call_run(arg);
    return NULL;
}

/* On the thread that stands by, else on one of its own. 0; -ETIMEDOUT: it hangs and was left. */
static int call_there(struct instance *in, const char *name, struct call *c, int64_t timeout_ns)
{
    int r;
    if (in->caller) {
        r = caller_run(in->caller, name, call_run, c, timeout_ns);
        if (r == 0)
            return 0;
        instance_abandon(in);
        caller_leave(in->caller);
        in->caller = NULL;
        return r;
    }
    pthread_t id;
    r = thread_spawn(&id, call_main, c, name);
    if (r < 0) {
        call_unref(c); /* the thread's */
        return r;
    }
    if (thread_join_until(id, odto_now_ns() + timeout_ns) == 0)
        return 0;
    instance_abandon(in);
    pthread_detach(id);
    return -ETIMEDOUT;
}

static int call(struct instance *in, const char *what, int (*fn)(struct call *c), struct call *proto,
                int64_t timeout_ns, odto_error *err)
{
    if (in->abandoned)
        return odto_fail(err, -EBUSY, "%s was abandoned: an earlier callback never returned", in->name);
    struct call *c = malloc(sizeof *c);
    if (!c)
        return odto_fail(err, -ENOMEM, "no memory");
    *c = proto ? *proto : (struct call){0};
    c->in = in;
    c->fn = fn;
    atomic_init(&c->refs, 2);
    char name[16];
    snprintf(name, sizeof name, "%.8s:%.6s", in->name, what);
    int r = call_there(in, name, c, timeout_ns);
    if (r < 0 && r != -ETIMEDOUT) {
        call_unref(c);
        return odto_fail(err, r, "%s: can't start a thread for %s(): %s", in->name, what, strerror(-r));
    }
    if (r < 0) {
        call_unref(c);
        odto_fail(err, -ETIMEDOUT, "%s: %s() did not return within %.1f s", in->name, what,
                  (double)timeout_ns / 1e9);
        odto_error_hint(
            err, "the plugin hangs; its thread and image are left behind, see odto_plugin_abandoned_total");
        return -ETIMEDOUT;
    }
    r = c->result;
    if (r < 0 && err) {
        *err = c->err;
        if (!err->code)
            odto_fail(err, r, "%s: %s() failed: %s", in->name, what, strerror(-r));
    }
    if (proto)
        *proto = *c;
    call_unref(c);
    return r;
}

static int do_check(struct call *c)
{
    return c->in->d->ops->check_config(c->in->config, &c->err);
}

static int do_init(struct call *c)
{
    return c->in->d->ops->init(&c->in->handle, c->in->config, &c->in->self, &c->err);
}

static int do_restore(struct call *c)
{
    return c->in->d->ops->restore(c->in->self, c->version, c->in_blob, &c->err);
}

static int do_start(struct call *c)
{
    return c->in->d->ops->start(c->in->self, &c->err);
}

static int do_quiesce(struct call *c)
{
    return c->in->d->ops->quiesce(c->in->self, c->deadline);
}

static int do_save(struct call *c)
{
    return c->in->d->ops->save(c->in->self, &c->version, c->out_blob, &c->err);
}

static int do_stop(struct call *c)
{
    if (c->in->d->ops->stop)
        c->in->d->ops->stop(c->in->self);
    return 0;
}

static int do_fini(struct call *c)
{
    c->in->d->ops->fini(c->in->self);
    c->in->self = NULL;
    return 0;
}

int instance_check(struct instance *in, int64_t timeout_ns, odto_error *err)
{
    return in->d->ops->check_config ? call(in, "check", do_check, NULL, timeout_ns, err) : 0;
}

int instance_init(struct instance *in, int64_t timeout_ns, odto_error *err)
{
    return call(in, "init", do_init, NULL, timeout_ns, err);
}

int instance_restore(struct instance *in, uint32_t version, odto_slice blob, int64_t timeout_ns,
                     odto_error *err)
{
    if (!in->d->ops->restore)
        return 0;
    struct call c = {.version = version, .in_blob = blob};
    return call(in, "restore", do_restore, &c, timeout_ns, err);
}

static int do_reconfigure(struct call *c)
{
    return c->in->d->ops->reconfigure(c->in->self, c->config, &c->err);
}

int instance_reconfigure(struct instance *in, struct manifest *m, const odto_config *config,
                         int64_t timeout_ns, odto_error *err)
{
    struct call c = {.config = config};
    int r = call(in, "config", do_reconfigure, &c, timeout_ns, err);
    if (r < 0)
        return r;
    manifest_ref(m); /* the former snapshot is kept too: the plugin may hold strings of it */
    in->config = config;
    return 0;
}

/* ---- consumers ---- */

/* Between rounds a consumer rests while the instance is quiesced. False: end. */
static bool next_round(struct consumer_thread *c)
{
    struct instance *in = c->instance;
    pthread_mutex_lock(&in->lock);
    c->busy = false;
    pthread_cond_broadcast(&in->paused);
    while (atomic_load(&in->quiescing) && !atomic_load(&in->stopping))
        pthread_cond_wait(&in->paused, &in->lock);
    c->busy = !atomic_load(&in->stopping);
    bool go = c->busy;
    pthread_mutex_unlock(&in->lock);
    return go;
}

static void consume(void *arg)
{
    struct consumer_thread *c = arg;
    struct instance *in = c->instance;
    odto_lease batch[CONSUMER_BATCH];
    while (next_round(c)) {
        size_t n = consumer_take(c->consumer, batch, CONSUMER_BATCH, INT64_MAX);
        if (!n)
            continue; /* woken: stopping, or paused */
        watch_enter(in);
        in->d->ops->handle(in->self, batch, n);
        watch_leave();
    }
}

/* One place a topic, before start() is called: a plugin may say how much it takes before there is a consumer.
 */
static int prepare_consumers(struct instance *in, odto_error *err)
{
    size_t n = 0;
    for (const char *const *t = in->d->consumes; t && *t; t++)
        n++;
    if (!n)
        return 0;
    in->consumers = calloc(n, sizeof *in->consumers);
    if (!in->consumers)
        return odto_fail(err, -ENOMEM, "no memory");
    in->n_topics = n;
    for (size_t i = 0; i < n; i++)
        in->consumers[i] =
            (struct consumer_thread){.instance = in, .topic = in->d->consumes[i], .asked = NOT_ASKED};
    return 0;
}

/* What the plugin asked for while there was no consumer yet holds from the first event on. */
static int attach_consumer(struct instance *in, struct consumer_thread *c, odto_route *route, odto_error *err)
{
    route_consumer *consumer = route_attach(route, in->name, 0, NULL);
    if (!consumer)
        return odto_fail(err, -ENOMEM, "%s: can't attach to %s", in->name, c->topic);
    pthread_mutex_lock(&in->lock);
    c->consumer = consumer;
    int64_t asked = c->asked;
    pthread_mutex_unlock(&in->lock);
    in->n_consumers++;
    if (asked != NOT_ASKED)
        consumer_prefetch(consumer, (uint32_t)asked);
    return 0;
}

static int open_consumers(struct instance *in, odto_error *err)
{
    for (size_t i = 0; i < in->n_topics; i++) {
        struct consumer_thread *c = &in->consumers[i];
        odto_route *route = core_route(in->core, c->topic);
        if (!route) {
            odto_fail(err, -ENOENT, "%s consumes the topic %s, which has no route", in->name, c->topic);
            odto_error_hint(err, "add a section [route %s]", c->topic);
            return -ENOENT;
        }
        int r = attach_consumer(in, c, route, err);
        if (r < 0)
            return r;
        r = instance_thread_start(in, c->topic, consume, c, &c->thread);
        if (r < 0)
            return odto_fail(err, r, "%s: can't start its consumer thread: %s", in->name, strerror(-r));
    }
    return 0;
}

void instance_prefetch(struct instance *in, const char *topic, uint32_t n)
{
    if (atomic_load(&in->quiescing))
        return; /* the host has paused it for good */
    for (size_t i = 0; i < in->n_topics; i++) {
        struct consumer_thread *c = &in->consumers[i];
        if (strcmp(c->topic, topic) != 0)
            continue;
        pthread_mutex_lock(&in->lock);
        c->asked = n;
        route_consumer *consumer = c->consumer;
        pthread_mutex_unlock(&in->lock);
        if (consumer) /* not under the lock: a bridge is told */
            consumer_prefetch(consumer, n);
    }
}

static void wake_consumers(struct instance *in)
{
    pthread_mutex_lock(&in->lock);
    pthread_cond_broadcast(&in->paused);
    pthread_mutex_unlock(&in->lock);
    for (size_t i = 0; i < in->n_consumers; i++)
        consumer_wake(in->consumers[i].consumer);
}

/* Until no consumer is on its way to handle() with events: what quiesce() then finds is all there is. */
static void rest_consumers(struct instance *in, int64_t deadline_ns)
{
    struct timespec until = {deadline_ns / ODTO_SEC, deadline_ns % ODTO_SEC};
    pthread_mutex_lock(&in->lock);
    int r = 0;
    for (size_t i = 0; i < in->n_consumers && r == 0; i++)
        while (in->consumers[i].busy && r == 0)
            r = pthread_cond_timedwait(&in->paused, &in->lock, &until);
    pthread_mutex_unlock(&in->lock);
}

static void close_consumers(struct instance *in)
{
    for (size_t i = 0; i < in->n_consumers; i++)
        in->left_leases += consumer_detach(in->consumers[i].consumer, ROUTE_DETACH_STOPPED);
    free(in->consumers);
    in->consumers = NULL;
    in->n_consumers = in->n_topics = 0;
}

int instance_start(struct instance *in, int64_t timeout_ns, odto_error *err)
{
    int r = prepare_consumers(in, err);
    if (r == 0)
        r = call(in, "start", do_start, NULL, timeout_ns, err);
    if (r < 0)
        return r;
    atomic_store(&in->started, true);
    return open_consumers(in, err);
}

int instance_quiesce(struct instance *in, int64_t deadline_ns)
{
    atomic_store(&in->quiescing, true);
    for (size_t i = 0; i < in->n_consumers; i++)
        consumer_prefetch(in->consumers[i].consumer, 0);
    wake_consumers(in);
    rest_consumers(in, deadline_ns);
    if (!in->d->ops->quiesce)
        return 0;
    struct call c = {.deadline = deadline_ns};
    int64_t grace = 2 * ODTO_SEC; /* the plugin keeps the deadline itself; this is for one that does not */
    return call(in, "quiesce", do_quiesce, &c, deadline_ns - odto_now_ns() + grace, NULL);
}

int instance_save(struct instance *in, uint32_t *version, odto_buf *blob, int64_t timeout_ns, odto_error *err)
{
    if (!in->d->ops->save)
        return 0;
    struct call c = {.out_blob = blob};
    int r = call(in, "save", do_save, &c, timeout_ns, err);
    *version = c.version;
    return r;
}

/* Threads of services call into what they use, which ends after them; all others may call back into `in`. */
static bool may_call_back(const void *owner, void *arg)
{
    const struct instance *other = owner;
    return !other || (other != arg && other->d->head.kind != ODTO_KIND_SERVICE);
}

int instance_callers_gone(struct instance *in, int64_t deadline_ns)
{
    uintptr_t from, to;
    if (!in->image->foreign)
        return 0;
    foreign_range(in->image->foreign, &from, &to);
    if (presence_clear(from, to, may_call_back, in, deadline_ns))
        return 0;
    instance_abandon(in);
    return -ETIMEDOUT;
}

void instance_stand_by(struct instance *in)
{
    if (!in->caller && !in->abandoned)
        in->caller = caller_new();
}

int instance_stand_down(struct instance *in, int64_t timeout_ns)
{
    struct caller *c = in->caller;
    in->caller = NULL;
    if (!c || caller_end(c, timeout_ns) == 0)
        return 0;
    instance_abandon(in);
    return -ETIMEDOUT;
}

/* Late settles are ignored, events go to the next; what is left behind reaches it no more. */
static void fence_consumer(struct instance *in, struct consumer_thread *c)
{
    pthread_mutex_lock(&in->lock);
    route_consumer *consumer = c->consumer;
    c->consumer = NULL;
    pthread_mutex_unlock(&in->lock);
    consumer_detach(consumer, ROUTE_DETACH_ABANDONED);
}

int instance_stop(struct instance *in, int64_t timeout_ns)
{
    int64_t deadline = odto_now_ns() + timeout_ns;
    atomic_store(&in->stopping, true);
    bool was_started = atomic_exchange(&in->started, false);
    wake_consumers(in);
    if (in->d->ops->interrupt)
        in->d->ops->interrupt(in->self);
    int r = was_started || in->self ? call(in, "stop", do_stop, NULL, timeout_ns, NULL) : 0;
    if (r == 0)
        r = join_all(in, deadline);
    if (r < 0) {
        instance_abandon(in);
        for (size_t i = 0; i < in->n_consumers; i++)
            fence_consumer(in, &in->consumers[i]);
        in->n_consumers = 0;
        return -ETIMEDOUT;
    }
    close_consumers(in);
    return 0;
}

int instance_fini(struct instance *in, int64_t timeout_ns)
{
    return in->self ? call(in, "fini", do_fini, NULL, timeout_ns, NULL) : 0;
}

bool instance_health(struct instance *in, odto_health *out)
{
    *out = (odto_health){.ready = true};
    if (!atomic_load(&in->started)) {
        out->ready = false;
        snprintf(out->reason, sizeof out->reason, "%s is not started", in->name);
    } else if (in->d->ops->health) {
        in->d->ops->health(in->self, out);
    }
    return out->ready;
}

void instance_uses(struct instance *in, struct instance *other)
{
    pthread_mutex_lock(&in->lock);
    bool known = false;
    for (size_t i = 0; i < in->n_uses; i++)
        known |= in->uses[i] == other;
    if (!known && in->n_uses < sizeof in->uses / sizeof in->uses[0])
        in->uses[in->n_uses++] = other;
    pthread_mutex_unlock(&in->lock);
}

void instance_holds(struct instance *in, struct manifest *m)
{
    pthread_mutex_lock(&in->lock);
    bool known = false, room = in->n_holds < sizeof in->holds / sizeof in->holds[0];
    for (size_t i = 0; i < in->n_holds; i++)
        known |= in->holds[i] == m;
    if (!known && room)
        in->holds[in->n_holds++] = m;
    pthread_mutex_unlock(&in->lock);
    if (known) /* without room it is kept for good: there are no more units than places */
        manifest_unref(m);
}

static void free_threads(struct instance *in)
{
    while (in->threads) {
        struct odto_thread *t = in->threads;
        in->threads = t->next;
        free(t);
    }
}

int instance_free(struct instance *in)
{
    if (!in)
        return 0;
    if (in->abandoned)
        return -EBUSY; /* leaked: its threads may still read it */
    free_threads(in);
    while (in->n_holds)
        manifest_unref(in->holds[--in->n_holds]);
    manifest_unref(in->manifest);
    log_source_free(in->log);
    in->image->refs--;
    pthread_cond_destroy(&in->paused);
    pthread_mutex_destroy(&in->lock);
    free(in);
    return 0;
}
