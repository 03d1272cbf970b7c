/* route_spool.c — durable routes: a committer thread in front of the log, a window of it in memory.
 *
 * Publishing puts events into a queue; the committer takes all there is (up to COMMIT_EVENTS, COMMIT_BYTES),
 * writes it as one commit, and while the disk works the next commit gathers: group commit without a delay. A
 * confirmed event goes to each group's queue if that group has consumers and room in its window, else the
 * group is `behind`: its events are read back from the log in order by the consumer that finds its queue
 * empty, until it has caught up. So a million waiting events take no memory.
 *
 * Threads: one committer per route, "spool/TOPIC", all signals blocked; it calls done. Under the route's
 * lock: all of struct route_spool but what is the committer's. */
#include "presence.h"
#include "route_internal.h"
#include "spool.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define COMMIT_EVENTS 4096u
#define COMMIT_BYTES  ((uint64_t)4 << 20) /* or an eighth of a segment: so much of its end may stay unused */
#define PENDING_BYTES \
    ((uint64_t)32 << 20)    /* accepted and not yet written: what a slow disk may hold in memory */
#define WINDOW_EVENTS 8192u /* of one group in memory */
#define WINDOW_BYTES  ((size_t)8 << 20) /* the same */
#define FILL_EVENTS   256u
#define FILL_BYTES    ((size_t)512 << 10)
#define TICK_NS       (100 * ODTO_MS) /* acknowledgements are written this often while there are some */
#define ERROR_NS      (50 * ODTO_MS)  /* after an error publishers are refused at once for this long */
#define STUCK_NS      (200 * ODTO_MS)

struct batch { /* one publish */
    odto_publish_done *done;
    void *arg;
    size_t n;
};

struct route_spool {
    struct spool *log;   /* [const] */
    pthread_t thread;    /* [const] */
    pthread_cond_t work; /* for the committer */
    bool sleeping, stop, ticking;
    struct deque events;    /* odto_event *, one reference each */
    struct deque batches;   /* struct batch */
    uint64_t pending_bytes; /* of events */
    uint64_t writing_bytes; /* of the commit under way */
    int64_t oldest_ns;      /* when the first of them came: for linger */
    int64_t linger_ns;
    uint64_t commit_bytes; /* [const] */
    uint64_t durable;      /* the sequence behind the last event given to the groups */
    int error;             /* of the last commit */
    int64_t error_until;
    /* the committer's */
    odto_event **events_now;
    struct batch *batches_now;
    size_t n_events, cap_events, n_batches, cap_batches;
};

/* ---- publish ------------------------------------------------------------------------------- */

static bool drop_one(odto_route *r, struct route_group *g)
{
    struct spool *log = r->spool->log;
    uint64_t seq = group_drop_oldest(g);
    if (!seq && g->behind) {
        seq = spool_first_unacked(log, g->id, g->cursor);
        if (seq >= r->spool->durable)
            return false;
        g->cursor = seq + 1;
        g->depth--;
        r->stats.dropped++;
    }
    return seq && spool_ack(log, g->id, &seq, 1) == 1;
}

/* What counts against max_bytes: the log, and what is on its way there, each once. */
static uint64_t bytes_held(struct route_spool *sp)
{
    uint64_t next;
    uint64_t log = spool_data_bytes(sp->log, &next);
    return log + sp->pending_bytes + (next == sp->durable ? sp->writing_bytes : 0);
}

static bool spool_fits(odto_route *r, size_t n, uint64_t bytes, bool drop)
{
    struct route_spool *sp = r->spool;
    for (;;) {
        bool events_fit = route_depth(r) + r->pending + n <= r->capacity;
        bool bytes_fit = bytes_held(sp) + bytes <= r->max_bytes;
        if (sp->pending_bytes && sp->pending_bytes + bytes > PENDING_BYTES)
            return false;
        if (events_fit && bytes_fit)
            return true;
        if (!drop)
            return false;
        bool dropped = false; /* bytes come free with whole segments, when every group is through */
        for (uint32_t i = 0; i < r->n_groups; i++)
            if (!bytes_fit || r->groups[i]->depth + r->pending + n > r->capacity)
                dropped = drop_one(r, r->groups[i]) || dropped;
        if (!dropped)
            return false;
    }
}

static int publish_bytes(const odto_route *r, odto_event *const *events, size_t n, uint64_t *bytes)
{
    *bytes = 0;
    for (size_t i = 0; i < n; i++) {
        if (events[i]->body.n > SPOOL_BODY_MAX)
            return -EMSGSIZE;
        *bytes += spool_record_bytes(events[i]->body.n);
    }
    return *bytes > r->max_bytes / 2 ? -EMSGSIZE : 0;
}

static int publish_queue(odto_route *r, odto_event *const *events, size_t n, uint64_t bytes, uint32_t flags,
                         const struct batch *b)
{
    struct route_spool *sp = r->spool;
    if (!deque_reserve(&sp->events, n) || !deque_reserve(&sp->batches, 1))
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        if (!(flags & ROUTE_PUBLISH_MOVE))
            event_ref(events[i]);
        *(odto_event **)deque_push(&sp->events) = events[i];
    }
    *(struct batch *)deque_push(&sp->batches) = *b;
    if (sp->linger_ns && !sp->pending_bytes)
        sp->oldest_ns = odto_now_ns();
    sp->pending_bytes += bytes;
    r->pending += n;
    return 0;
}

static int spool_publish(odto_route *r, odto_event *const *events, size_t n, uint32_t flags,
                         odto_publish_done *done, void *arg, const bool *cancel)
{
    struct route_spool *sp = r->spool;
    uint64_t bytes;
    pthread_mutex_lock(&r->lock);
    int rc = publish_bytes(r, events, n, &bytes);
    if (!rc && sp->error && odto_now_ns() < sp->error_until)
        rc = sp->error; /* the disk refused just now */
    if (!rc)
        rc = route_room(r, n, bytes, flags, cancel);
    if (!rc)
        rc = publish_queue(r, events, n, bytes, flags, &(struct batch){done, arg, n});
    bool wake = !rc && sp->sleeping;
    sp->sleeping = sp->sleeping && !wake;
    pthread_mutex_unlock(&r->lock);
    if (wake)
        pthread_cond_signal(&sp->work);
    return rc;
}

/* ---- committer ----------------------------------------------------------------------------- */

static bool array_fits(void **p, size_t *cap, size_t n, size_t elem)
{
    if (n <= *cap)
        return true;
    size_t to = *cap ? *cap : 256;
    while (to < n)
        to *= 2;
    void *at = realloc(*p, to * elem);
    if (!at)
        return false;
    *p = at;
    *cap = to;
    return true;
}

/* Take publishes for one commit: at least one. Lock held. False: no memory for even that. */
static bool collect(odto_route *r)
{
    struct route_spool *sp = r->spool;
    uint64_t bytes = 0;
    sp->n_events = sp->n_batches = 0;
    for (const struct batch *b; (b = deque_front(&sp->batches));) {
        if (sp->n_batches && (sp->n_events + b->n > COMMIT_EVENTS || bytes > sp->commit_bytes))
            break;
        if (!array_fits((void **)&sp->events_now, &sp->cap_events, sp->n_events + b->n,
                        sizeof *sp->events_now) ||
            !array_fits((void **)&sp->batches_now, &sp->cap_batches, sp->n_batches + 1,
                        sizeof *sp->batches_now))
            break;
        for (size_t i = 0; i < b->n; i++) {
            odto_event *e = *(odto_event **)deque_front(&sp->events);
            deque_pop(&sp->events);
            bytes += spool_record_bytes(e->body.n);
            sp->events_now[sp->n_events++] = e;
        }
        sp->batches_now[sp->n_batches++] = *b;
        deque_pop(&sp->batches);
    }
    sp->pending_bytes -= bytes;
    sp->writing_bytes = bytes;
    if (sp->linger_ns)
        sp->oldest_ns = odto_now_ns();
    return sp->n_batches > 0;
}

/* Confirmed events into the window of g, or g falls behind. Lock held. */
static void give(odto_route *r, struct route_group *g, uint64_t first, uint32_t ms)
{
    struct route_spool *sp = r->spool;
    g->depth += sp->n_events;
    if (g->behind)
        return;
    size_t i = 0;
    bool live = g->consumers && deque_reserve(&g->ready, sp->n_events);
    for (; live && i < sp->n_events && g->ready.n < WINDOW_EVENTS && g->mem_bytes < WINDOW_BYTES; i++) {
        odto_event *e = sp->events_now[i];
        event_ref(e);
        g->mem_bytes += event_cost(e);
        group_push(g, e, first + i, ms, 0, 0);
    }
    if (i < sp->n_events) {
        g->behind = true;
        g->cursor = first + i;
    }
}

static void committed(odto_route *r, uint64_t first, int rc)
{
    struct route_spool *sp = r->spool;
    struct wakes wakes = {.n = 0};
    pthread_mutex_lock(&r->lock);
    r->pending -= sp->n_events;
    sp->writing_bytes = 0;
    if (!rc) {
        uint32_t ms = route_now_ms();
        for (uint32_t i = 0; i < r->n_groups; i++) {
            give(r, r->groups[i], first, ms);
            group_wake(r->groups[i], &wakes);
        }
        sp->durable = first + sp->n_events; /* with writing_bytes: see bytes_held */
        r->stats.published += sp->n_events;
    }
    sp->error = rc;
    sp->error_until = rc ? odto_now_ns() + ERROR_NS : 0;
    route_made_room(r);
    pthread_mutex_unlock(&r->lock);
    wakes_fire(&wakes);
    for (size_t i = 0; i < sp->n_batches; i++)
        if (sp->batches_now[i].done)
            sp->batches_now[i].done(sp->batches_now[i].arg, rc);
    for (size_t i = 0; i < sp->n_events; i++)
        event_unref(sp->events_now[i]);
}

/* One commit; lock held at entry and return. */
static void commit(odto_route *r)
{
    struct route_spool *sp = r->spool;
    bool some = collect(r);
    int before = sp->error;
    pthread_mutex_unlock(&r->lock);
    if (!some) { /* no memory for the arrays: a moment later there may be */
        nanosleep(&(struct timespec){.tv_nsec = ODTO_MS}, NULL);
        pthread_mutex_lock(&r->lock);
        return;
    }
    uint64_t first = 0;
    int rc = spool_write(sp->log, sp->events_now, sp->n_events, odto_unix_ms(), &first);
    committed(r, first, rc);
    if (rc && rc != before)
        route_say(r, ODTO_ERROR, "nothing can be accepted: %s", strerror(-rc));
    else if (!rc && before)
        route_say(r, ODTO_INFO, "accepting again");
    pthread_mutex_lock(&r->lock);
}

/* Wait on the committer's condition; lock held. ns < 0: for ever. */
static void committer_wait(odto_route *r, int64_t ns)
{
    struct route_spool *sp = r->spool;
    sp->sleeping = true;
    if (ns < 0) {
        pthread_cond_wait(&sp->work, &r->lock);
    } else {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        int64_t at = (int64_t)t.tv_sec * ODTO_SEC + t.tv_nsec + ns;
        t = (struct timespec){.tv_sec = (time_t)(at / ODTO_SEC), .tv_nsec = (long)(at % ODTO_SEC)};
        pthread_cond_timedwait(&sp->work, &r->lock, &t);
    }
    sp->sleeping = false;
}

/* Write acknowledgements, retire segments; lock held at entry and return. */
static void maintain(odto_route *r, int64_t *next)
{
    struct route_spool *sp = r->spool;
    __atomic_store_n(&sp->ticking, false, __ATOMIC_RELAXED); /* read as a hint by tick() */
    pthread_mutex_unlock(&r->lock);
    bool again = spool_maintain(sp->log);
    pthread_mutex_lock(&r->lock);
    if (again)
        __atomic_store_n(&sp->ticking, true, __ATOMIC_RELAXED); /* as above */
    *next = odto_now_ns() + TICK_NS;
}

static void *committer(void *arg)
{
    odto_route *r = arg;
    struct route_spool *sp = r->spool;
    int64_t tick = odto_now_ns();
    presence_note(NULL); /* it calls publishers' done */
    pthread_mutex_lock(&r->lock);
    while (!sp->stop || sp->batches.n) {
        int64_t now = odto_now_ns();
        if (sp->ticking && now >= tick)
            maintain(r, &tick);
        else if (!sp->batches.n)
            committer_wait(r, sp->ticking ? tick - now : -1);
        else if (sp->linger_ns && !sp->stop && sp->events.n < COMMIT_EVENTS &&
                 now < sp->oldest_ns + sp->linger_ns)
            committer_wait(r, sp->oldest_ns + sp->linger_ns - now);
        else
            commit(r);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

/* Acknowledgements or attempts are to be written: the committer shall look in a while. No lock held. */
static void tick(odto_route *r)
{
    struct route_spool *sp = r->spool;
    if (__atomic_load_n(&sp->ticking, __ATOMIC_RELAXED)) /* a hint: one missed comes with the next */
        return;
    pthread_mutex_lock(&r->lock);
    __atomic_store_n(&sp->ticking, true, __ATOMIC_RELAXED);
    bool wake = sp->sleeping;
    sp->sleeping = false;
    pthread_mutex_unlock(&r->lock);
    if (wake)
        pthread_cond_signal(&sp->work);
}

/* ---- consuming ----------------------------------------------------------------------------- */

static void spool_leased(odto_route *r, struct route_group *g, const odto_lease *leases, size_t n)
{
    spool_delivered(r->spool->log, g->id, leases, n);
    tick(r);
}

static void spool_acked(odto_route *r, const struct settled *s, size_t n)
{
    uint64_t seqs[SETTLE_BATCH];
    for (size_t i = 0, k; i < n; i += k) {
        for (k = 0; i + k < n && k < SETTLE_BATCH && s[i + k].group == s[i].group; k++)
            seqs[k] = s[i + k].seq;
        spool_ack(r->spool->log, s[i].group->id, seqs, k);
    }
    tick(r);
}

/* What was read goes into g's queue, but for what was dropped meanwhile. Lock held. */
static void fill_push(struct route_group *g, struct spool_item *items, size_t n)
{
    uint32_t now = route_now_ms();
    int64_t unix_now = odto_unix_ms();
    bool room = deque_reserve(&g->ready, n);
    g->stuck = !room;
    for (size_t i = 0; i < n; i++) {
        struct spool_item *it = &items[i];
        if (!room || it->seq < g->cursor) {
            event_unref(it->event);
            continue;
        }
        uint32_t age = unix_now > it->unix_ms ? (uint32_t)(unix_now - it->unix_ms) : 0;
        g->mem_bytes += event_cost(it->event);
        uint16_t attempts = it->attempts < UINT16_MAX ? (uint16_t)it->attempts : UINT16_MAX;
        group_push(g, it->event, it->seq, now - age, attempts, 0);
    }
}

static void spool_fill(odto_route *r, struct route_group *g)
{
    struct route_spool *sp = r->spool;
    struct spool_item items[FILL_EVENTS];
    uint64_t next = g->cursor, lost = 0, below = sp->durable;
    g->filling = true;
    uint64_t from = g->cursor;
    pthread_mutex_unlock(&r->lock);
    ssize_t n = -ENOMEM;
    if (g->reader || (g->reader = spool_reader_new()))
        n = spool_read(sp->log, g->reader, g->id, from, below, r->pool, items, FILL_EVENTS, FILL_BYTES, &next,
                       &lost);
    if (n < 0)
        route_say(r, ODTO_ERROR, "can't read events back: %s", strerror((int)-n));
    pthread_mutex_lock(&r->lock);
    g->filling = false;
    g->depth -= lost;
    g->stuck = n < 0;
    if (n >= 0)
        fill_push(g, items, (size_t)n);
    if (g->stuck) {
        struct wakes wakes = {.n = 0};
        route_retry_at(r, g, odto_now_ns() + STUCK_NS, &wakes);
        wakes_fire(&wakes); /* under the lock, for once: somebody else may be the one to try again */
        return;
    }
    if (next > g->cursor)
        g->cursor = next;
    if (g->cursor >= sp->durable) { /* caught up */
        g->behind = false;
        spool_reader_free(sp->log, g->reader);
        g->reader = NULL;
    }
}

/* ---- groups -------------------------------------------------------------------------------- */

static void group_from_log(odto_route *r, struct route_group *g)
{
    g->depth = spool_depth(r->spool->log, g->id, r->spool->durable);
    g->behind = g->depth > 0;
    g->cursor = 0;
}

static int spool_group_added(odto_route *r, struct route_group *g)
{
    int rc = spool_group_add(r->spool->log, g->name, &g->id);
    if (!rc)
        group_from_log(r, g);
    return rc;
}

static void spool_group_renamed(odto_route *r, struct route_group *g)
{
    spool_group_rename(r->spool->log, g->id, g->name);
}

static void spool_group_dropped(odto_route *r, struct route_group *g)
{
    spool_reader_free(r->spool->log, g->reader);
    spool_group_drop(r->spool->log, g->id);
}

static int open_groups(odto_route *r)
{
    for (uint32_t id = 0; id < SPOOL_GROUPS_MAX && r->n_groups < ROUTE_GROUPS_MAX; id++) {
        const char *name = spool_group_name(r->spool->log, id);
        struct route_group *g = name ? group_new(r, name) : NULL;
        if (name && !g)
            return -ENOMEM;
        if (!g)
            continue;
        g->id = id;
        group_from_log(r, g);
        group_hint(g);
        r->groups[r->n_groups++] = g;
    }
    return 0;
}

/* ---- people -------------------------------------------------------------------------------- */

/* The leased sequences of g, sorted; *n of them. Lock held. NULL: no memory. */
static uint64_t *leased_seqs(odto_route *r, const struct route_group *g, size_t *n)
{
    uint64_t *seqs = calloc(g->leased + 1, sizeof *seqs);
    *n = 0;
    for (uint32_t i = 0; seqs && i < r->leases.n; i++)
        if (r->leases.at[i].event && r->leases.at[i].group == g)
            seqs[(*n)++] = r->leases.at[i].seq;
    for (size_t i = 1; seqs && i < *n; i++) /* few, and nearly in order */
        for (size_t k = i; k && seqs[k - 1] > seqs[k]; k--) {
            uint64_t t = seqs[k];
            seqs[k] = seqs[k - 1];
            seqs[k - 1] = t;
        }
    return seqs;
}

static bool has_seq(const uint64_t *sorted, size_t n, uint64_t seq)
{
    size_t lo = 0;
    while (n) {
        size_t half = n / 2;
        if (sorted[lo + half] < seq) {
            lo += half + 1;
            n -= half + 1;
        } else if (sorted[lo + half] == seq) {
            return true;
        } else {
            n = half;
        }
    }
    return false;
}

static int spool_peek(odto_route *r, uint64_t from, size_t max, bool (*fn)(void *, const struct route_item *),
                      void *arg)
{
    struct spool *log = r->spool->log;
    struct spool_item items[64];
    size_t n_leased;
    pthread_mutex_lock(&r->lock);
    struct route_group *g = route_deepest(r);
    uint32_t id = g->id;
    uint64_t durable = r->spool->durable, *leased = leased_seqs(r, g, &n_leased), lost;
    pthread_mutex_unlock(&r->lock);
    struct spool_reader *rd = spool_reader_new();
    ssize_t n = leased && rd ? 1 : -ENOMEM;
    for (bool more = true; n > 0 && more && max;) {
        n = spool_read(log, rd, id, from, durable, r->pool, items, max < 64 ? max : 64, FILL_BYTES, &from,
                       &lost);
        for (ssize_t i = 0; i < n; i++) {
            struct route_item item = {.seq = items[i].seq,
                                      .unix_ms = items[i].unix_ms,
                                      .body = items[i].event->body,
                                      .attempts = items[i].attempts,
                                      .leased = has_seq(leased, n_leased, items[i].seq)};
            more = more && fn(arg, &item);
            event_unref(items[i].event);
        }
        max -= n > 0 ? (size_t)n : 0;
        if (lost) {
            pthread_mutex_lock(&r->lock);
            g->depth -= lost;
            pthread_mutex_unlock(&r->lock);
        }
    }
    spool_reader_free(log, rd);
    free(leased);
    return n < 0 ? (int)n : 0;
}

/* From one group; how many. Lock held. */
static int64_t remove_from(odto_route *r, struct route_group *g, const uint64_t *seqs, size_t n)
{
    size_t n_leased;
    uint64_t fresh = 0, *leased = leased_seqs(r, g, &n_leased);
    if (!leased)
        return -ENOMEM;
    group_remove(g, seqs, n);
    if (!seqs) {
        fresh = spool_ack_all(r->spool->log, g->id, r->spool->durable, leased, n_leased);
        g->behind = false; /* but for what is leased there is nothing */
    }
    for (size_t i = 0; i < n; i++)
        if (seqs[i] < r->spool->durable && !has_seq(leased, n_leased, seqs[i]))
            fresh += spool_ack(r->spool->log, g->id, &seqs[i], 1);
    g->depth -= fresh;
    group_hint(g);
    free(leased);
    return (int64_t)fresh;
}

static bool filling(const odto_route *r)
{
    for (uint32_t i = 0; i < r->n_groups; i++)
        if (r->groups[i]->filling)
            return true;
    return false;
}

static int64_t spool_remove(odto_route *r, const uint64_t *seqs, size_t n)
{
    int64_t most = 0;
    pthread_mutex_lock(&r->lock);
    while (filling(r)) /* what is being read would come back */
        route_wait_changed(r, ODTO_MS);
    for (uint32_t i = 0; i < r->n_groups && most >= 0; i++) {
        int64_t k = remove_from(r, r->groups[i], seqs, n);
        most = k < 0 || k > most ? k : most;
    }
    route_made_room(r);
    pthread_mutex_unlock(&r->lock);
    tick(r);
    return most;
}

/* ---- the rest ------------------------------------------------------------------------------ */

static void spool_stats_of(const odto_route *r, odto_route_stats *out)
{
    struct spool_stats s;
    spool_get_stats(r->spool->log, &s);
    out->bytes_on_disk = s.disk_bytes;
    for (uint32_t i = 0; i < r->n_groups; i++) {
        if (!r->groups[i]->behind || group_queued(r->groups[i]))
            continue; /* the oldest is in memory */
        int64_t ms = spool_oldest_ms(r->spool->log, r->groups[i]->id);
        int64_t age = ms ? (odto_unix_ms() - ms) * ODTO_MS : 0;
        out->oldest_age_ns = age > out->oldest_age_ns ? age : out->oldest_age_ns;
    }
}

uint64_t route_commits(const odto_route *r)
{
    struct spool_stats s = {.commits = 0};
    if (r->spool)
        spool_get_stats(r->spool->log, &s);
    return s.commits;
}

static void spool_configured(odto_route *r, const struct route_config *c)
{
    r->spool->linger_ns = c->linger_ns;
}

static void route_spool_free(odto_route *r)
{
    struct route_spool *sp = r->spool;
    for (uint32_t i = 0; i < r->n_groups; i++)
        spool_reader_free(sp->log, r->groups[i]->reader);
    deque_free(&sp->events);
    deque_free(&sp->batches);
    free(sp->events_now);
    free(sp->batches_now);
    pthread_cond_destroy(&sp->work);
    if (sp->log)
        spool_close(sp->log);
    free(sp);
    r->spool = NULL;
}

/* Attempts that are in memory only: an orderly stop does not count the last one. */
static void keep_attempts(odto_route *r, struct route_group *g)
{
    for (size_t i = 0; i < g->returned.n; i++)
        spool_attempts_set(r->spool->log, g->id, g->returned.at[i].seq, g->returned.at[i].attempts);
}

static void spool_close_route(odto_route *r)
{
    struct route_spool *sp = r->spool;
    pthread_mutex_lock(&r->lock);
    sp->stop = true;
    pthread_mutex_unlock(&r->lock);
    pthread_cond_signal(&sp->work);
    pthread_join(sp->thread, NULL);
    for (uint32_t i = 0; i < r->n_groups; i++)
        keep_attempts(r, r->groups[i]);
    route_spool_free(r);
}

static void log_report(void *arg, odto_level level, const char *text)
{
    route_say(arg, level, "%s", text);
}

/* DIR/TOPIC, with what a file name can't hold as %XX. */
static int spool_dir(const odto_route *r, const char *dir, char *out, size_t size)
{
    int n = snprintf(out, size, "%s/", dir);
    for (const char *p = r->topic; *p && n > 0 && (size_t)n + 4 < size; p++) {
        bool plain = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') ||
                     *p == '_' || *p == '-' || (*p == '.' && p > r->topic);
        n += snprintf(out + n, size - (size_t)n, plain ? "%c" : "%%%02X", (unsigned char)*p);
    }
    return n > 0 && (size_t)n + 4 < size ? 0 : -ENAMETOOLONG;
}

static int start_committer(odto_route *r)
{
    sigset_t all, old;
    char name[16];
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = -pthread_create(&r->spool->thread, NULL, committer, r);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    snprintf(name, sizeof name, "spool/%.9s", r->topic);
    if (!rc)
        pthread_setname_np(r->spool->thread, name);
    return rc;
}

static const struct route_ops spool_ops = {
    .publish = spool_publish,
    .acked = spool_acked,
    .leased = spool_leased,
    .fits = spool_fits,
    .fill = spool_fill,
    .group_added = spool_group_added,
    .group_renamed = spool_group_renamed,
    .group_dropped = spool_group_dropped,
    .configured = spool_configured,
    .peek = spool_peek,
    .remove = spool_remove,
    .stats = spool_stats_of,
    .close = spool_close_route,
};

static uint64_t segment_bytes(const odto_route *r, const struct route_config *c)
{
    uint64_t n = c->segment_bytes ? c->segment_bytes : r->max_bytes / 8;
    uint64_t most = (uint64_t)16 << 20, least = (uint64_t)64 << 10;
    return c->segment_bytes ? n : n > most ? most : n < least ? least : n;
}

int route_spool_open(odto_route *r, const struct route_config *c, odto_error *err)
{
    char dir[4096];
    if (!c->dir || spool_dir(r, c->dir, dir, sizeof dir))
        return odto_fail(err, -EINVAL, "route %s: transport spool needs a directory with a shorter name",
                         r->topic);
    struct route_spool *sp = calloc(1, sizeof *sp);
    if (!sp)
        return odto_fail(err, -ENOMEM, "route %s: no memory", r->topic);
    r->spool = sp;
    sp->linger_ns = c->linger_ns;
    deque_init(&sp->events, sizeof(odto_event *));
    deque_init(&sp->batches, sizeof(struct batch));
    pthread_condattr_t ca;
    pthread_condattr_init(&ca);
    pthread_condattr_setclock(&ca, CLOCK_MONOTONIC);
    pthread_cond_init(&sp->work, &ca);
    pthread_condattr_destroy(&ca);
    struct spool_config sc = {.dir = dir,
                              .topic = r->topic,
                              .segment_bytes = segment_bytes(r, c),
                              .sync = c->sync,
                              .io = c->io,
                              .report = log_report,
                              .report_arg = r};
    sp->commit_bytes = sc.segment_bytes / 8 < COMMIT_BYTES ? sc.segment_bytes / 8 : COMMIT_BYTES;
    int rc = spool_open(&sc, &sp->log, err);
    if (!rc) {
        struct spool_stats s;
        spool_get_stats(sp->log, &s);
        sp->durable = s.next_seq;
        r->ops = &spool_ops;
        rc = open_groups(r);
        if (!rc)
            rc = start_committer(r);
        if (rc)
            odto_fail(err, rc, "route %s: %s", r->topic, strerror(-rc));
    }
    if (rc)
        route_spool_free(r);
    return rc;
}
