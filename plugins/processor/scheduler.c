/* scheduler.c — the one thread that owns items, pools and batches: mail, timers, and when to sleep.
 *
 * A turn: take the mail, let pools fill their slots (runs may end inside start()), look at the timers,
 * publish, submit. It sleeps in mailbox_wait until mail comes or the next timer is due; an idle processor has
 * none but a check of its leases every third of their length. */
#include "processor.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define AWAY_MIN   (5 * ODTO_MS)
#define AWAY_MAX   (5 * ODTO_SEC)
#define AWAY_QUIET (200 * ODTO_MS) /* a store that is only full for a moment is not away */
#define MANY_TURNS 64
#define SCAN_EVERY 10 /* polls after which rows of types nobody here handles are looked for again */

/* ---- the store comes and goes ---- */

static void say_health(processor *p, bool ready, const char *reason)
{
    pthread_mutex_lock(&p->health_lock);
    p->health.ready = ready;
    snprintf(p->health.reason, sizeof p->health.reason, "%s", reason);
    pthread_mutex_unlock(&p->health_lock);
    p->host->api->health_changed(p->host);
}

static void announce_away(processor *p, int code)
{
    char reason[160];
    p->away_announced = true;
    p->away_logged_ns = p->now_ns;
    snprintf(reason, sizeof reason, "store %s is away: %s", p->store.name, strerror(-code));
    odto_log(p->host, ODTO_WARN, "%s; nothing is taken from %s until it is back", reason, TOPIC_CREATED);
    p->host->api->prefetch(p->host, p->route_created, 0);
    say_health(p, false, reason);
}

void scheduler_away(processor *p, int code)
{
    if (!p->away) {
        p->away = true;
        p->away_since_ns = p->now_ns;
        p->away_backoff_ns = AWAY_MIN;
    } else if (p->away_backoff_ns < AWAY_MAX) {
        p->away_backoff_ns *= 2;
    }
    p->away_until_ns = p->now_ns + AWAY_MIN / 2 + (int64_t)(odto_random64() % (uint64_t)p->away_backoff_ns);
    bool lasting = code != -EAGAIN || p->now_ns - p->away_since_ns >= AWAY_QUIET;
    if (lasting && (!p->away_announced || p->now_ns - p->away_logged_ns >= 60 * ODTO_SEC))
        announce_away(p, code);
    outbox_recover(p); /* a batch that failed may have been committed all the same */
}

void scheduler_back(processor *p)
{
    if (!p->away)
        return;
    p->away = false;
    for (size_t i = 0; i < p->n_pools; i++)
        lifecycle_backlog(&p->pools[i], 0);
    if (!p->away_announced)
        return;
    p->away_announced = false;
    odto_log(p->host, ODTO_INFO, "store %s is back after %.1f s", p->store.name,
             (double)(p->now_ns - p->away_since_ns) / 1e9);
    if (p->phase_now <= PHASE_RUNNING)
        p->host->api->prefetch(p->host, p->route_created, p->prefetch);
    say_health(p, true, "");
}

/* ---- mail ---- */

#define OF_MAIL(m, type, member) ((type *)(void *)((char *)(m)-offsetof(type, member)))

static void deliver(processor *p, mail *m)
{
    switch (m->kind) {
    case MAIL_INTAKE:
        lifecycle_intake(OF_MAIL(m, item, mail));
        break;
    case MAIL_ENDED:
        lifecycle_ended(OF_MAIL(m, item, mail));
        break;
    case MAIL_COMMITTED:
        commit_done(OF_MAIL(m, commit, mail));
        break;
    case MAIL_PUBLISHED:
        outbox_published(OF_MAIL(m, publication, mail));
        break;
    case MAIL_HISTORY:
        lifecycle_history(OF_MAIL(m, item, history_mail));
        break;
    case MAIL_TYPES:
        history_types(p);
        break;
    }
}

static void deliver_all(processor *p, mail *m)
{
    while (m) {
        mail *next = m->next; /* the mail may be gone afterwards */
        deliver(p, m);
        m = next;
    }
}

/* Runs that ended inside start(). */
static bool deliver_ended(processor *p)
{
    mail *m = p->ended;
    p->ended = NULL;
    p->ended_tail = &p->ended;
    deliver_all(p, m);
    return m != NULL;
}

/* ---- slots ---- */

static void fill_slots(processor *p)
{
    bool again = p->phase_now == PHASE_RUNNING;
    for (int turn = 0; again && turn < MANY_TURNS; turn++) {
        again = false;
        for (size_t i = 0; i < p->n_pools; i++)
            again |= lifecycle_start(&p->pools[i]);
        again |= deliver_ended(p);
    }
}

static bool slots_and_ready(const processor *p)
{
    if (p->ended)
        return true;
    for (size_t i = 0; p->phase_now == PHASE_RUNNING && i < p->n_pools; i++)
        if (!list_empty(&p->pools[i].ready) && p->pools[i].running < p->pools[i].concurrency)
            return true;
    return false;
}

/* ---- timers ---- */

static bool leases_astray(processor *p)
{
    odto_jobs_stats s;
    if (p->store.iface->flags & ODTO_STORE_SHARED)
        return true;
    return !stats_now(p, &s) || s.executing > (int64_t)p->n_in_hand;
}

static void run_timers(processor *p)
{
    lifecycle_extend(p);
    if (p->next_deadline_ns && p->now_ns >= p->next_deadline_ns)
        lifecycle_deadlines(p);
    if (p->now_ns >= p->next_reap_ns) {
        p->next_reap_ns = p->now_ns + p->lease_ms * ODTO_MS / 3;
        if (p->phase_now == PHASE_RUNNING && leases_astray(p) && list_empty(&p->extend))
            p->reap_wanted = true;
        if (p->phase_now == PHASE_RUNNING && p->store.iface->flags & ODTO_STORE_SHARED)
            outbox_look(p);
    }
    if (p->poll_ns && p->now_ns >= p->next_poll_ns) {
        p->next_poll_ns = p->now_ns + p->poll_ns;
        for (size_t i = 0; i < p->n_pools; i++)
            lifecycle_backlog(&p->pools[i], 0);
        history_refresh(p);
        if (p->unknown != UNKNOWN_WAIT && p->polls_left-- == 0) {
            p->polls_left = SCAN_EVERY;
            history_scan(p);
        }
    }
    outbox_tick(p);
}

/* Whether or not the last rows could be given back. */
static int64_t leave_at(const processor *p)
{
    return p->stop_by_ns + STOP_NS / 4;
}

static int64_t sooner(int64_t a, int64_t b)
{
    return b && b < a ? b : a;
}

/* When something is to be done without mail: monotonic ns. */
static int64_t next_timer(const processor *p)
{
    int64_t at = sooner(p->next_reap_ns, p->poll_ns ? p->next_poll_ns : 0);
    at = sooner(at, p->next_deadline_ns);
    if (p->away && !p->commits_under_way)
        at = sooner(at, p->away_until_ns);
    else if (!p->away && outbox_may_take(p))
        at = sooner(at, p->out.retry_ns);
    if (!list_empty(&p->leased)) {
        const item *it =
            (const item *)(const void *)((const char *)p->leased.next - offsetof(item, extending));
        at = sooner(at, p->now_ns + (it->lease_until - p->now_ms - p->lease_ms * 2 / 3 + 1) * ODTO_MS);
    }
    for (size_t i = 0; i < p->n_pools; i++) {
        const pool *pl = &p->pools[i];
        if (pl->next_due > p->now_ms) /* once it is due, a free slot is what wakes us */
            at = sooner(at, p->now_ns + (pl->next_due - p->now_ms) * ODTO_MS);
        if (!list_empty(&pl->arrived))
            at = sooner(at, lifecycle_admit_at(pl));
    }
    if (outbox_crowded(p))
        at = sooner(at, p->out.returned_ns + CROWDED_NS);
    if (p->phase_now == PHASE_DRAINING && !p->abandoned_all)
        at = sooner(at, atomic_load(p->recalled_all ? &p->abandon_at : &p->recall_at));
    if (p->phase_now == PHASE_STOPPING && p->now_ns < leave_at(p))
        at = sooner(at, p->now_ns < p->stop_by_ns ? p->stop_by_ns : leave_at(p));
    return at;
}

/* ---- phases ---- */

static bool all_settled(const processor *p)
{
    return !p->n_in_hand && !p->n_intake && !commit_waiting(p) && !p->out.under_way && !p->abandoned;
}

static void tell_idle(processor *p, bool idle)
{
    if (atomic_load(&p->idle) == idle)
        return;
    pthread_mutex_lock(&p->health_lock);
    atomic_store(&p->idle, idle);
    pthread_cond_broadcast(&p->idle_changed);
    pthread_mutex_unlock(&p->health_lock);
}

static void enter(processor *p, phase next)
{
    if (next == PHASE_STOPPING)
        p->stop_by_ns = p->now_ns + STOP_NS;
    p->phase_now = next;
    if (next >= PHASE_DRAINING) {
        p->host->api->prefetch(p->host, p->route_created, 0);
        lifecycle_release_ready(p);
    }
}

static void follow_phase(processor *p)
{
    phase wanted = (phase)atomic_load(&p->phase);
    if (p->phase_now == PHASE_STARTING && p->reaped_own && wanted <= PHASE_RUNNING)
        p->phase_now = PHASE_RUNNING;
    if (wanted > p->phase_now)
        enter(p, wanted);
    if (p->phase_now < PHASE_DRAINING)
        return;
    bool stop = p->phase_now == PHASE_STOPPING;
    if (!p->recalled_all && (stop || p->now_ns >= atomic_load(&p->recall_at))) {
        p->recalled_all = true;
        lifecycle_recall(p);
    }
    if (!p->abandoned_all && p->now_ns >= (stop ? p->stop_by_ns : atomic_load(&p->abandon_at))) {
        p->abandoned_all = true;
        lifecycle_abandon(p);
    }
    tell_idle(p, all_settled(p));
}

/* At the end nothing may be left that could call back: no batch, no publication, no run with its handler. */
static bool may_end(const processor *p)
{
    if (p->phase_now != PHASE_STOPPING || p->commits_under_way || p->out.under_way || p->abandoned ||
        !list_empty(&p->running) || !list_empty(&p->loading))
        return false;
    return all_settled(p) || p->now_ns >= leave_at(p);
}

/* Rows of a store that did not come back keep their leases and are reaped at the next start. */
static void leave(processor *p)
{
    node *lists[] = {&p->accepting, &p->settling};
    for (size_t i = 0; i < 2; i++) {
        while (!list_empty(lists[i])) {
            item *it = (item *)(void *)((char *)lists[i]->next - offsetof(item, link));
            list_remove(&it->link);
            if (it->leased)
                p->host->api->settle(p->host, &it->lease, 1, ODTO_RETURN, "the store is away");
            if (it->event)
                p->host->api->event_unref(it->event);
        }
    }
    for (size_t i = 0; i < p->n_pools; i++)
        executor_stop(&p->pools[i]);
    history_stop(p);
    tell_idle(p, true);
}

static void turn(processor *p)
{
    p->now_ns = p->host->api->now(p->host);
    p->now_ms = p->host->api->unix_ms(p->host);
    deliver_all(p, mailbox_take(&p->box));
    deliver_ended(p);
    follow_phase(p);
    fill_slots(p);
    lifecycle_admit(p);
    run_timers(p);
    outbox_flush(p);
    commit_submit(p);
    lifecycle_flush(p);
    if (p->phase_now >= PHASE_DRAINING)
        tell_idle(p, all_settled(p)); /* what this turn settled brings no mail */
}

void scheduler_main(void *arg)
{
    processor *p = arg;
    p->self = pthread_self();
    for (;;) {
        turn(p);
        if (may_end(p))
            break;
        if (slots_and_ready(p))
            continue;
        int64_t wait = next_timer(p) - p->now_ns;
        if (wait > 0)
            mailbox_wait(&p->box, wait);
    }
    leave(p);
}
