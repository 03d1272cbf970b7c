/* route_dead.c — rejection: the dead letter is published first, the event acknowledged when that is durable.
 *
 * One struct reject per rejected event lives from reject_start until its slot is released. If the dead-letter
 * route refuses (full, disk), the letter waits in r->rejects and is tried again, with backoff, by the
 * consumers' takes; the slot stays leased, so a consumer that rejects everything runs into its prefetch
 * instead of filling memory. */
#include "route_internal.h"
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_FIRST_NS (100 * ODTO_MS)
#define RETRY_MAX_NS   (5 * ODTO_SEC)

struct reject {
    odto_route *route;
    struct reject *next;
    odto_event *letter;
    uint32_t slot;
    int64_t retry_at, backoff;
};

/* The rejection is over: the event leaves its group. */
static void reject_finish(struct reject *op)
{
    odto_route *r = op->route;
    struct settled settled;
    struct wakes wakes = {.n = 0};
    pthread_mutex_lock(&r->lock);
    struct lease_slot *s = &r->leases.at[op->slot];
    settled = (struct settled){s->event, s->group, s->seq, s->aux};
    s->group->depth--;
    r->stats.rejected++;
    struct route_group *g = s->group;
    lease_release(r, s);
    group_wake(g, &wakes);
    route_made_room(r);
    pthread_mutex_unlock(&r->lock);
    wakes_fire(&wakes);
    event_unref(op->letter);
    free(op);
    route_settled(r, &settled, 1);
    pthread_mutex_lock(&r->lock);
    r->n_rejects--; /* last: route_close waits for it */
    pthread_mutex_unlock(&r->lock);
}

void route_retry_at(odto_route *r, struct route_group *g, int64_t at, struct wakes *wakes)
{
    if (at >= r->retry_at)
        return;
    __atomic_store_n(&r->retry_at, at,
                     __ATOMIC_RELAXED); /* a hint for takes, looked at again under the lock */
    route_consumer *c = g->parked;
    if (!c || wakes->n == ROUTE_GROUPS_MAX)
        return;
    __atomic_add_fetch(&c->waiter->word, 1, __ATOMIC_RELEASE); /* pairs as in group_wake */
    wakes->word[wakes->n++] = &c->waiter->word;
}

static void reject_later(struct reject *op, int result)
{
    odto_route *r = op->route;
    if (!op->backoff)
        route_say(r, ODTO_WARN, "a dead letter was refused (%s); trying again", strerror(-result));
    op->backoff = op->backoff ? op->backoff * 2 : RETRY_FIRST_NS;
    op->backoff = op->backoff < RETRY_MAX_NS ? op->backoff : RETRY_MAX_NS;
    op->retry_at = odto_now_ns() + op->backoff;
    struct wakes wakes = {.n = 0};
    pthread_mutex_lock(&r->lock);
    op->next = r->rejects;
    r->rejects = op;
    route_retry_at(r, r->leases.at[op->slot].group, op->retry_at, &wakes);
    pthread_mutex_unlock(&r->lock);
    wakes_fire(&wakes);
}

static void reject_done(void *arg, int result)
{
    struct reject *op = arg;
    if (result)
        reject_later(op, result);
    else
        reject_finish(op);
}

static void reject_publish(struct reject *op)
{
    odto_route *r = op->route;
    pthread_mutex_lock(&r->lock);
    odto_route *to = r->dead_letter;
    pthread_mutex_unlock(&r->lock);
    if (!to) {
        route_say(r, ODTO_ERROR, "rejected, and no dead-letter route: %.*s",
                  (int)(op->letter->body.n < 400 ? op->letter->body.n : 400), op->letter->body.p);
        reject_finish(op);
        return;
    }
    int rc = route_publish(to, &op->letter, 1, 0, reject_done, op, NULL);
    if (rc)
        reject_later(op, rc);
}

static odto_event *letter_make(odto_route *r, const odto_event *e, const char *service, const char *why)
{
    odto_buf b = {0};
    const odto_uuid *correlation = (e->flags & ODTO_EVENT_VALID) ? &e->hdr.correlation_id : NULL;
    odto_event *letter = NULL;
    if (odto_dead_letter(&b, e->body, why, odto_unix_ms(), correlation, service, r->version))
        letter = event_make(r->pool, odto_slice_of(b.p, b.n), 0);
    odto_buf_free(&b);
    return letter;
}

void reject_start(odto_route *r, uint32_t slot, const char *service, const char *why)
{
    char text[640];
    pthread_mutex_lock(&r->lock);
    struct lease_slot *s = &r->leases.at[slot];
    odto_event *e = s->event; /* held by the slot, which only this rejection releases */
    if (r->max_attempts && s->attempts >= r->max_attempts)
        snprintf(text, sizeof text, "delivered %u times without an acknowledgement%s%s", s->attempts,
                 why ? "; the last reason: " : "", why ? why : "");
    else
        snprintf(text, sizeof text, "%s", why ? why : "");
    r->n_rejects++;
    pthread_mutex_unlock(&r->lock);
    struct reject *op = calloc(1, sizeof *op);
    odto_event *letter = op ? letter_make(r, e, service, text) : NULL;
    if (!letter) { /* no memory: back to the queue, to be rejected again */
        free(op);
        pthread_mutex_lock(&r->lock);
        r->n_rejects--;
        lease_return(r, &r->leases.at[slot], false);
        pthread_mutex_unlock(&r->lock);
        return;
    }
    *op = (struct reject){.route = r, .letter = letter, .slot = slot};
    reject_publish(op);
}

void route_retry(odto_route *r)
{
    int64_t now = odto_now_ns(), next = INT64_MAX;
    struct reject *due = NULL;
    pthread_mutex_lock(&r->lock);
    for (struct reject **at = &r->rejects, *op; (op = *at);) {
        if (op->retry_at <= now) {
            *at = op->next;
            op->next = due;
            due = op;
            continue;
        }
        next = op->retry_at < next ? op->retry_at : next;
        at = &op->next;
    }
    for (uint32_t i = 0; i < r->n_groups; i++) {
        r->groups[i]->stuck = false;
        group_hint(r->groups[i]);
    }
    __atomic_store_n(&r->retry_at, next, __ATOMIC_RELAXED); /* a hint for takes */
    pthread_mutex_unlock(&r->lock);
    for (struct reject *op; (op = due);) {
        due = op->next;
        reject_publish(op);
    }
}

void reject_close(odto_route *r)
{
    uint32_t lost = 0;
    pthread_mutex_lock(&r->lock);
    for (;;) {
        for (struct reject *op; (op = r->rejects);) {
            r->rejects = op->next;
            event_unref(op->letter);
            free(op);
            r->n_rejects--;
            lost++;
        }
        if (!r->n_rejects)
            break;
        pthread_mutex_unlock(&r->lock); /* the dead-letter route's committer will call */
        sched_yield();
        pthread_mutex_lock(&r->lock);
    }
    pthread_mutex_unlock(&r->lock);
    if (lost)
        route_say(r, ODTO_WARN, "closed with %u rejected events whose dead letter could not be written",
                  lost);
}
