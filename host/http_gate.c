/* http_gate.c — replacing an owner under load: requests wait, routes change hands in one step, waiting
 * requests go to whoever serves their path then.
 *
 * On threads of the core; parked_push on a loop. A waiting request is suspended in MHD and stands in
 * server->parked, in order of arrival; taking it off that list gives the right to resume it. */
#include "http_priv.h"

#include <errno.h>

odto_http_request *parked_take(http_server *s, const http_owner *o, const http_loop *l)
{
    odto_http_request *taken = NULL, **tail = &taken;
    if (!atomic_load(&s->n_parked))
        return NULL;
    pthread_mutex_lock(&s->lock);
    odto_http_request **at = &s->parked;
    while (*at) {
        odto_http_request *rq = *at;
        if ((o && rq->mount->owner != o) || (l && (rq->loop != l || l->now < rq->park_until))) {
            at = &rq->park_next;
            continue;
        }
        *at = rq->park_next;
        rq->park_next = NULL;
        *tail = rq;
        tail = &rq->park_next;
        s->n_parked--;
    }
    s->parked_tail = at;
    pthread_mutex_unlock(&s->lock);
    return taken;
}

bool parked_push(http_server *s, odto_http_request *rq)
{
    if (s->n_parked >= s->config.gate_queue)
        return false;
    rq->park_until = rq->loop->now + s->config.gate_timeout_ns;
    rq->was_parked = true;
    rq->park_next = NULL;
    *s->parked_tail = rq;
    s->parked_tail = &rq->park_next;
    s->n_parked++;
    return true;
}

void parked_resume(http_server *s, odto_http_request *list)
{
    while (list) {
        odto_http_request *rq = list;
        list = rq->park_next;
        rq->park_next = NULL;
        rq->post.run = request_redispatch;
        loop_post(rq->loop, &rq->post);
    }
    if (s->ws)
        loop_call_all(s, peek_again, NULL, odto_now_ns() + ODTO_SEC);
}

void streams_call(http_loop *l, void *arg)
{
    streams_abort(l, arg);
}

/* End what has no end of its own; clients connect again and wait at the gate. */
static void owner_disconnect(http_server *s, http_owner *o)
{
    if (s->ws)
        ws_owner_evict(s->ws, o);
    o->refs++;
    if (!loop_call_all(s, streams_call, o, odto_now_ns() + ODTO_SEC))
        owner_unref(o); /* else a loop hangs, and still has it */
}

void http_gate(http_server *s, const odto_host *host, bool closed)
{
    pthread_mutex_lock(&s->lock);
    http_owner *o = closed ? owner_get(s, host) : owner_find(s, host);
    if (o)
        o->gated = closed;
    if (o)
        o->refs++;
    pthread_mutex_unlock(&s->lock);
    if (o && closed)
        owner_disconnect(s, o);
    if (o && !closed)
        parked_resume(s, parked_take(s, o, NULL));
    if (o)
        owner_unref(o);
}

int http_stage(http_server *s, const odto_host *next, const odto_host *old)
{
    pthread_mutex_lock(&s->lock);
    http_owner *o = owner_find(s, old), *n = o ? owner_get(s, next) : NULL;
    if (n && n->stages != o) {
        if (n->stages)
            owner_unref(n->stages);
        o->refs++;
        n->stages = o;
    }
    pthread_mutex_unlock(&s->lock);
    return o && !n ? -ENOMEM : 0;
}

/* With lock: next's staged mounts become live, old's (unless NULL) leave the tables (into *gone). */
static void mounts_swap(http_server *s, http_owner *old, http_owner *next, http_mount **gone)
{
    for (http_listener *ln = s->listeners; ln; ln = ln->next) {
        for (http_mount *m = ln->mounts; m; m = m->next) {
            if (m->owner == next)
                m->staged = false;
        }
        if (!listener_unmount(ln, old, gone))
            listener_rebuild(ln);
    }
}

int http_handover(http_server *s, const odto_host *old_host, const odto_host *next_host)
{
    http_mount *gone = NULL;
    pthread_mutex_lock(&s->lock);
    http_owner *old = owner_find(s, old_host), *next = owner_get(s, next_host);
    if (next) {
        mounts_swap(s, old, next, &gone);
        if (next->stages)
            owner_unref(next->stages);
        next->stages = NULL;
        next->gated = false;
        while (gone) { /* live WebSocket connections keep their routes until unserve */
            http_mount *m = gone;
            gone = m->next;
            m->next = s->replaced;
            s->replaced = m;
        }
    }
    if (old)
        old->refs++;
    pthread_mutex_unlock(&s->lock);
    if (old) {
        parked_resume(s, parked_take(s, old, NULL));
        owner_unref(old);
    }
    return next ? 0 : -ENOMEM;
}

size_t http_inflight(http_server *s, const odto_host *host)
{
    pthread_mutex_lock(&s->lock);
    http_owner *o = owner_find(s, host);
    long n = o ? atomic_load(&o->inflight) : 0;
    pthread_mutex_unlock(&s->lock);
    return n > 0 ? (size_t)n : 0;
}

int http_drained(http_server *s, const odto_host *host, int64_t deadline_ns)
{
    pthread_mutex_lock(&s->lock);
    http_owner *o = owner_find(s, host);
    if (o)
        o->refs++;
    pthread_mutex_unlock(&s->lock);
    if (!o)
        return 0;
    int r = owner_wait(o, &o->inflight, deadline_ns);
    if (!r && owner_gated(o))
        r = owner_wait(o, &o->open, deadline_ns);
    owner_unref(o);
    return r;
}
