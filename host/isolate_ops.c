/* isolate_ops.c — the callbacks of an isolated plugin's instance. Each asks the worker and waits less long
 * than the host waits for it: a worker that does not answer is killed, so an instance of an isolated plugin
 * is never left behind. */
#include "host/isolate_priv.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define FINI_TIME (3 * ODTO_SEC) /* the host's limit is longer */

/* Earlier than the caller gives up. */
static int64_t before(int64_t timeout_ns)
{
    int64_t margin = timeout_ns / 8 < ODTO_SEC ? timeout_ns / 8 : ODTO_SEC;
    return odto_now_ns() + timeout_ns - margin;
}

static int64_t option(const struct proxy *p, const char *name)
{
    return unit_int(p->in->unit, name);
}

static int finish_call(struct proxy *p, struct proxy_call *call, const char *what, int64_t deadline,
                       odto_error *err)
{
    int r = proxy_call_end(p, call, what, deadline, err);
    odto_buf_free(&call->more);
    return r;
}

static int proxy_init(odto_host *h, const odto_config *c, void **self, odto_error *err)
{
    struct instance *in = h->priv;
    int64_t deadline = before(unit_int(in->unit, "start_timeout"));
    struct proxy *p = proxy_new(in->core, in, in->image, in->name, err);
    if (!p)
        return err && err->code ? err->code : -ENOMEM;
    struct proxy_call call;
    p->ending = true; /* until start(): who asks for a callback hears of its end */
    int r = proxy_describe(p, deadline, &call, err);
    odto_buf_free(&call.more);
    if (r == 0) {
        odto_buf *b = proxy_call_begin(p, WIRE_INIT, &call);
        isolate_put_config(b, c);
        wire_u32(b, in->d->head.kind == ODTO_KIND_HANDLER ? (uint32_t)option(p, "concurrency") : 16);
        r = finish_call(p, &call, "init()", deadline, err);
    }
    if (r == 0)
        *self = p;
    else
        proxy_free(p);
    return r;
}

static int proxy_restore(void *self, uint32_t version, odto_slice blob, odto_error *err)
{
    struct proxy *p = self;
    struct proxy_call call;
    odto_buf *b = proxy_call_begin(p, WIRE_RESTORE, &call);
    wire_u32(b, version);
    wire_bytes(b, blob);
    return finish_call(p, &call, "restore()", before(option(p, "start_timeout")), err);
}

static int proxy_start(void *self, odto_error *err)
{
    struct proxy *p = self;
    struct proxy_call call;
    proxy_call_begin(p, WIRE_START, &call);
    int r = finish_call(p, &call, "start()", before(option(p, "start_timeout")), err);
    if (r < 0)
        return r;
    pthread_mutex_lock(&p->lock);
    p->ending = false;
    bool dead = p->dead;
    pthread_mutex_unlock(&p->lock);
    if (dead)
        return odto_fail(err, -ECONNRESET, "%s: after start() %s", p->name, p->end);
    struct seat *seat = p->in->unit->seat;
    if (seat && p->in->d->head.kind == ODTO_KIND_HANDLER)
        seat_bind(seat, p);
    return 0;
}

static int proxy_reconfigure(void *self, const odto_config *c, odto_error *err)
{
    struct proxy *p = self;
    struct proxy_call call;
    isolate_put_config(proxy_call_begin(p, WIRE_RECONFIGURE, &call), c);
    return finish_call(p, &call, "reconfigure()", before(option(p, "start_timeout")), err);
}

static void proxy_health(void *self, odto_health *out)
{
    struct proxy *p = self;
    pthread_mutex_lock(&p->lock);
    *out = p->health;
    pthread_mutex_unlock(&p->lock);
}

static void proxy_interrupt(void *self)
{
    struct proxy *p = self;
    wire_begin(&p->link, WIRE_INTERRUPT, 0);
    wire_end(&p->link, -1);
    pthread_mutex_lock(&p->lock);
    pthread_cond_broadcast(&p->changed); /* handle() looks at stopping */
    pthread_mutex_unlock(&p->lock);
}

static int proxy_quiesce(void *self, int64_t deadline_ns)
{
    struct proxy *p = self;
    struct proxy_call call;
    struct seat *seat = p->in->unit->seat;
    int left = seat ? seat_pause(seat, p, deadline_ns) : 0;
    wire_i64(proxy_call_begin(p, WIRE_QUIESCE, &call), deadline_ns);
    int r = finish_call(p, &call, "quiesce()", deadline_ns + ODTO_SEC, NULL);
    return r < 0 ? r : left;
}

static int proxy_save(void *self, uint32_t *version, odto_buf *blob, odto_error *err)
{
    struct proxy *p = self;
    struct proxy_call call;
    proxy_call_begin(p, WIRE_SAVE, &call);
    int r = proxy_call_end(p, &call, "save()", before(option(p, "stop_timeout")), err);
    struct wire_in in = {call.more.p, call.more.n, false};
    if (r == 0) {
        *version = wire_get_u32(&in);
        odto_slice s = wire_get_bytes(&in);
        if (in.bad || !odto_buf_put(blob, s.p, s.n))
            r = odto_fail(err, -EPROTO, "%s: its state did not come whole", p->name);
    }
    odto_buf_free(&call.more);
    return r;
}

/* A worker that has died needs no stop; one that does not answer is killed by the call. What it still has
 * goes back. */
static void proxy_stop(void *self)
{
    struct proxy *p = self;
    struct proxy_call call;
    pthread_mutex_lock(&p->lock);
    p->ending = true;
    bool dead = p->dead;
    pthread_mutex_unlock(&p->lock);
    odto_error err = {0};
    if (!dead) {
        wire_u32(proxy_call_begin(p, WIRE_STOP, &call), atomic_load(&p->in->replaced));
        if (finish_call(p, &call, "stop()", before(option(p, "stop_timeout")), &err) < 0)
            log_error(p->core->log, ODTO_WARN, "stop", &err);
    }
    if (p->in->unit->seat)
        seat_unbind(p->in->unit->seat, p, dead ? p->end : "its worker process was stopped");
    proxy_refuse_requests(p, "it was stopped");
    proxy_end_publisher(p);
}

static void proxy_fini(void *self)
{
    struct proxy *p = self;
    struct proxy_call call;
    pthread_mutex_lock(&p->lock);
    p->ending = true;
    bool dead = p->dead;
    pthread_mutex_unlock(&p->lock);
    if (!dead) {
        proxy_call_begin(p, WIRE_FINI, &call);
        finish_call(p, &call, "fini()", odto_now_ns() + FINI_TIME, NULL);
    }
    proxy_free(p);
}

const odto_plugin_ops proxy_ops = {
    .size = sizeof proxy_ops,
    .init = proxy_init,
    .restore = proxy_restore,
    .start = proxy_start,
    .handle = proxy_handle,
    .reconfigure = proxy_reconfigure,
    .health = proxy_health,
    .interrupt = proxy_interrupt,
    .quiesce = proxy_quiesce,
    .save = proxy_save,
    .stop = proxy_stop,
    .fini = proxy_fini,
};
