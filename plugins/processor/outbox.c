/* outbox.c — outgoing events, at least once: from the store's outbox to the routes.
 *
 * Every event of a job is committed beside its status. Then, as the fast way, it is published from memory and
 * its row forgotten after the route said it is durable. If a publish fails, or the host died in between, the
 * slow way takes over: rows are taken from the store, oldest first, published and forgotten, until nothing is
 * left; only then the fast way opens again. Consumers know events by their id, so twice is harmless. So
 * memory stays bounded while a route is full or away: the rows wait in the store. Scheduler thread only,
 * except the route's done(), which only sends mail. */
#include "processor.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SPARE     4
#define RETRY_MIN (20 * ODTO_MS)
#define RETRY_MAX (5 * ODTO_SEC)

/* ---- publications ---- */

static publication *publication_take(processor *p, odto_route *route, bool taken)
{
    outbox *o = &p->out;
    publication *pub = o->spare;
    if (pub) {
        o->spare = pub->next;
        o->n_spare--;
    } else if (!(pub = malloc(sizeof *pub))) {
        return NULL;
    }
    pub->p = p;
    pub->mail.kind = MAIL_PUBLISHED;
    pub->route = route;
    pub->taken = taken;
    pub->n = 0;
    pub->next = NULL;
    return pub;
}

static void publication_give(processor *p, publication *pub)
{
    outbox *o = &p->out;
    if (o->n_spare >= SPARE) {
        free(pub);
        return;
    }
    pub->next = o->spare;
    o->spare = pub;
    o->n_spare++;
}

static void published_mail(void *arg, int result)
{
    publication *pub = arg;
    pub->result = result;
    mailbox_push(&pub->p->box, &pub->mail, &pub->mail);
}

static void drop_events(processor *p, publication *pub)
{
    for (size_t i = 0; i < pub->n; i++)
        p->host->api->event_unref(pub->events[i]);
}

static void publication_send(processor *p, publication *pub)
{
    pub->sent_ns = p->now_ns;
    p->out.under_way++;
    int r = p->host->api->publish(p->host, pub->route, pub->events, pub->n, 0, published_mail, pub);
    drop_events(p, pub); /* the route has its own references */
    if (r < 0) {
        pub->result = r;
        outbox_published(pub);
    }
}

/* Rows without a publication of their own whose event can't even be made are left to the slow way. */
static bool publication_add(processor *p, publication *pub, const odto_outgoing *out, uint64_t seq)
{
    bool envelope = pub->route == p->out.completed;
    odto_event *ev = p->host->api->event_new(p->host, out->body, envelope ? ODTO_EVENT_VALID : 0);
    if (!ev && envelope)
        ev = p->host->api->event_new(p->host, out->body, 0);
    if (!ev)
        return false;
    pub->events[pub->n] = ev;
    pub->seqs[pub->n++] = seq;
    return true;
}

/* ---- the fast way ---- */

static bool is_dead_letter(const odto_outgoing *out)
{
    return odto_slice_eq(out->topic, TOPIC_DEAD);
}

static bool send_now(processor *p, const odto_outgoing *out, uint64_t seq)
{
    outbox *o = &p->out;
    bool dead = is_dead_letter(out);
    publication **open = dead ? &o->open_dead : &o->open_completed;
    if (!*open && o->under_way >= PUBLISHES)
        return false;
    if (!*open && !(*open = publication_take(p, dead ? o->dead : o->completed, false)))
        return false;
    if (!publication_add(p, *open, out, seq))
        return false;
    if ((*open)->n == PUBLISH_BATCH) {
        publication *full = *open;
        *open = NULL;
        publication_send(p, full);
    }
    return true;
}

void outbox_committed(processor *p, item *it, const uint64_t *seqs)
{
    outbox *o = &p->out;
    for (uint32_t i = 0; i < it->n_outgoing; i++) {
        if (is_dead_letter(&it->outgoing[i]))
            odto_metric_add(p->m.dead_letters, 1);
        if (o->recovering)
            o->missed = true;
        else if (!seqs || !send_now(p, &it->outgoing[i], seqs[i]))
            outbox_recover(p);
    }
}

void outbox_flush(processor *p)
{
    outbox *o = &p->out;
    if (o->under_way >= PUBLISHES_SMALL && p->phase_now == PHASE_RUNNING)
        return; /* the return of one brings the next turn */
    publication *open[] = {o->open_completed, o->open_dead};
    o->open_completed = o->open_dead = NULL;
    for (size_t i = 0; i < 2; i++) {
        if (open[i] && open[i]->n)
            publication_send(p, open[i]);
        else if (open[i])
            publication_give(p, open[i]);
    }
}

/* Jobs that end while the route is behind would have their events taken from the store again, at twice the
 * cost; so slots stay free for a moment. A route that does not answer at all doesn't stop jobs. */
bool outbox_crowded(const processor *p)
{
    const outbox *o = &p->out;
    return !o->recovering && o->under_way >= CROWDED && p->now_ns - o->returned_ns < CROWDED_NS;
}

/* ---- the slow way ---- */

void outbox_recover(processor *p)
{
    outbox *o = &p->out;
    if (!o->recovering)
        atomic_store_explicit(&o->behind_since_ms, p->now_ms, memory_order_relaxed); /* a statistic */
    o->recovering = o->missed = true;
    o->backoff_ns = o->backoff_ns ? o->backoff_ns * 2 : RETRY_MIN;
    if (o->backoff_ns > RETRY_MAX)
        o->backoff_ns = RETRY_MAX;
    o->retry_ns = p->now_ns + o->backoff_ns;
}

static void recovered(processor *p)
{
    outbox *o = &p->out;
    o->recovering = false;
    o->backoff_ns = 0;
    atomic_store_explicit(&o->behind_since_ms, 0, memory_order_relaxed); /* a statistic */
}

/* The rows of one topic among those taken; returns how many could not be sent. */
static size_t send_taken(processor *p, odto_route *route, bool dead, const odto_outbox_row *rows, size_t n)
{
    publication *pub = publication_take(p, route, true);
    size_t bad = 0;
    for (size_t i = 0; i < n && pub; i++)
        if (is_dead_letter(&rows[i].event) == dead && pub->n < PUBLISH_BATCH &&
            !publication_add(p, pub, &rows[i].event, rows[i].seq))
            bad++;
    if (!pub)
        return n;
    if (pub->n)
        publication_send(p, pub);
    else
        publication_give(p, pub);
    return bad;
}

void outbox_taken(processor *p, const odto_outbox_row *rows, size_t n)
{
    outbox *o = &p->out;
    o->taking = false;
    if (!n) {
        if (!o->missed)
            recovered(p);
        return;
    }
    o->missed = true; /* there may be more, and what was taken must be seen to be gone */
    size_t bad = send_taken(p, o->completed, false, rows, n) + send_taken(p, o->dead, true, rows, n);
    if (bad)
        outbox_recover(p);
}

/* Now and then, where hosts share a store: what a host that does not come back had committed and not
 * published. One row is taken to see whether there are any; it and the rest go the slow way. */
void outbox_look(processor *p)
{
    outbox *o = &p->out;
    if (!o->recovering && !o->looking && !p->away)
        o->look_wanted = true;
}

void outbox_looked(processor *p, size_t n)
{
    p->out.looking = false;
    if (n == 0)
        return;
    odto_log(p->host, ODTO_INFO, "events that another host left behind are published");
    outbox_recover(p);
}

/* Everything under way is known: published and forgotten. */
bool outbox_may_take(const processor *p)
{
    const outbox *o = &p->out;
    return o->recovering && !o->taking && !o->looking && !o->take_wanted && !o->under_way && !o->forget &&
           !o->forgetting;
}

/* While the store is away this is also the question whether it is back. */
void outbox_tick(processor *p)
{
    outbox *o = &p->out;
    if (outbox_may_take(p) && p->now_ns >= (p->away ? p->away_until_ns : o->retry_ns))
        o->take_wanted = true;
}

/* ---- coming back ---- */

void outbox_published(publication *pub)
{
    processor *p = pub->p;
    outbox *o = &p->out;
    o->under_way--;
    o->returned_ns = p->now_ns;
    odto_metric_add(pub->result ? p->m.refused : p->m.published, (int64_t)pub->n);
    if (pub->result < 0) {
        publication_give(p, pub); /* the rows stay in the store */
        outbox_recover(p);
        return;
    }
    odto_metric_observe(p->m.publish_seconds, (double)(p->now_ns - pub->sent_ns) / 1e9);
    if (pub->taken)
        o->backoff_ns = 0;
    pub->next = o->forget;
    o->forget = pub;
}

void outbox_forgotten(processor *p, publication *pub)
{
    p->out.forgetting--;
    publication_give(p, pub);
}

void outbox_free_all(processor *p)
{
    outbox *o = &p->out;
    publication *lists[] = {o->forget, o->spare};
    for (size_t i = 0; i < 2; i++) {
        while (lists[i]) {
            publication *next = lists[i]->next;
            free(lists[i]);
            lists[i] = next;
        }
    }
    o->forget = o->spare = NULL;
}
