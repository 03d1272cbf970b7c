/* isolate_runs.c — seats: see isolate.h. A slot holds an attempt from start() to finish(); the number a
 * worker knows it by has the slot and a serial, so that what a worker says late or twice is ignored. Attempts
 * wait in the order they came.
 *
 * seat->lock guards everything; finish() is called without it, should_stop() with it (it only reads). */
#include "host/isolate_priv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOK  (50 * ODTO_MS) /* how often attempts are asked whether they should stop */
#define BATCH 256u           /* attempts in one frame */

enum slot_state { SLOT_FREE, SLOT_WAITING, SLOT_GIVEN };

struct slot {
    odto_run *run;
    struct proxy *p; /* GIVEN: who has it */
    uint32_t serial;
    enum slot_state state;
    bool stop_said, late; /* late: its worker was killed because of it */
    uint32_t next;        /* in the waiting or free list; 0 ends, else index + 1 */
};

struct seat {
    struct seat *next; /* core->seats */
    struct core *core;
    char name[NAME_SIZE];
    pthread_mutex_t lock;
    pthread_cond_t drained;
    struct proxy *bound; /* takes attempts */
    struct slot *slots;
    uint32_t n_slots, free, first, last; /* lists */
    uint32_t active;                     /* slots in use */
    int64_t grace;
    odto_timer *timer;
    bool armed;
};

/* ---- slots ---- */

static void slot_append(struct seat *s, uint32_t at)
{
    s->slots[at].state = SLOT_WAITING;
    s->slots[at].next = 0;
    if (s->last)
        s->slots[s->last - 1].next = at + 1;
    else
        s->first = at + 1;
    s->last = at + 1;
}

static bool grow(struct seat *s)
{
    uint32_t n = s->n_slots ? s->n_slots * 2 : 64;
    struct slot *more = realloc(s->slots, n * sizeof *more);
    if (!more)
        return false;
    memset(more + s->n_slots, 0, (n - s->n_slots) * sizeof *more);
    for (uint32_t i = s->n_slots; i < n; i++) {
        more[i].next = s->free;
        s->free = i + 1;
    }
    s->slots = more;
    s->n_slots = n;
    return true;
}

static bool slot_take(struct seat *s, odto_run *run)
{
    if (!s->free && !grow(s))
        return false;
    uint32_t at = s->free - 1;
    s->free = s->slots[at].next;
    s->slots[at] = (struct slot){.run = run, .serial = s->slots[at].serial + 1};
    run->handler_data = (void *)(uintptr_t)(at + 1);
    s->active++;
    slot_append(s, at);
    return true;
}

/* The attempt of a slot, which is free then. It must not be in the waiting list. */
static odto_run *slot_release(struct seat *s, uint32_t at)
{
    odto_run *run = s->slots[at].run;
    s->slots[at] = (struct slot){.serial = s->slots[at].serial, .next = s->free};
    s->free = at + 1;
    s->active--;
    pthread_cond_broadcast(&s->drained);
    return run;
}

static void unlink_waiting(struct seat *s, uint32_t at)
{
    uint32_t before = 0;
    for (uint32_t i = s->first; i && i != at + 1; i = s->slots[i - 1].next)
        before = i;
    uint32_t after = s->slots[at].next;
    if (before)
        s->slots[before - 1].next = after;
    else
        s->first = after;
    if (s->last == at + 1)
        s->last = before;
}

/* ---- giving ---- */

static void put_job(odto_buf *b, const odto_job *j)
{
    odto_buf_put(b, &j->id, sizeof j->id);
    odto_buf_put(b, &j->event_id, sizeof j->event_id);
    odto_buf_put(b, &j->correlation_id, sizeof j->correlation_id);
    wire_bytes(b, j->type);
    wire_bytes(b, j->job_json);
    wire_bytes(b, j->payload);
    wire_bytes(b, j->traceparent);
    wire_bytes(b, j->idempotency_key);
    wire_u32(b, (uint32_t)j->status);
    wire_u32(b, (uint32_t)j->outcome);
    wire_u32(b, (uint32_t)j->priority);
    wire_u32(b, j->attempt);
    wire_u32(b, j->max_attempts);
    wire_u32(b, j->lost);
    wire_u64(b, j->token);
    wire_i64(b, j->created_at);
    wire_i64(b, j->accepted_at);
    wire_i64(b, j->run_at);
    wire_i64(b, j->started_at);
    wire_i64(b, j->updated_at);
    wire_i64(b, j->expires_at);
}

/* An attempt as bytes within its frame. */
static void put_run(odto_buf *b, uint64_t id, const odto_run *run)
{
    wire_u64(b, id);
    size_t at = b->n;
    wire_u32(b, 0);
    wire_i64(b, run->deadline_ns);
    wire_str(b, run->type);
    put_job(b, run->job);
    uint32_t n = (uint32_t)(b->n - at - sizeof n);
    if (!b->failed)
        memcpy(b->p + at, &n, sizeof n);
    odto_buf_put(b, "", 1);
}

/* One frame of what waits: few enough that it stays small. */
static uint32_t put_batch(struct seat *s, uint32_t *taken)
{
    odto_buf *b = wire_begin(&s->bound->link, WIRE_RUNS, 0);
    size_t head = b->n;
    uint32_t n = 0;
    wire_u32(b, 0);
    while (s->first && n < BATCH && b->n - head < ISOLATE_BATCH && !b->failed) {
        uint32_t at = s->first - 1;
        struct slot *slot = &s->slots[at];
        put_run(b, (uint64_t)slot->serial << 32 | at, slot->run);
        s->first = slot->next;
        if (!s->first)
            s->last = 0;
        slot->state = SLOT_GIVEN;
        slot->p = s->bound;
        taken[n++] = at;
    }
    if (!b->failed)
        memcpy(b->p + head, &n, sizeof n);
    return n;
}

/* With the lock. A worker that has died keeps what it was given: seat_unbind ends it. */
static void give(struct seat *s)
{
    uint32_t taken[BATCH];
    while (s->first && s->bound && wire_room(&s->bound->link, false)) {
        uint32_t n = put_batch(s, taken);
        int r = wire_end(&s->bound->link, -1);
        if (r == 0 || r == -EPIPE)
            continue;
        for (uint32_t i = 0; i < n; i++)
            slot_append(s, taken[i]); /* no memory: again at the next look */
        return;
    }
}

static void arm(struct seat *s)
{
    if (s->armed || !s->active)
        return;
    s->armed = true;
    timer_arm(s->timer, LOOK);
}

static void end_run(odto_run *run, odto_run_end end, const char *why)
{
    odto_run_result r = {.end = end, .error = odto_slice_str(why)};
    run->finish(run, &r);
}

static void seat_start(void *self, odto_run **runs, size_t n)
{
    struct seat *s = self;
    size_t took = 0;
    pthread_mutex_lock(&s->lock);
    while (took < n && slot_take(s, runs[took]))
        took++;
    give(s);
    arm(s);
    pthread_mutex_unlock(&s->lock);
    for (; took < n; took++)
        end_run(runs[took], ODTO_RUN_RETRY, "no memory");
}

static void say_stop(struct slot *slot, uint32_t at)
{
    wire_begin(&slot->p->link, WIRE_RUN_STOP, (uint64_t)slot->serial << 32 | at);
    wire_end(&slot->p->link, -1);
    slot->stop_said = true;
}

static void seat_cancel(void *self, odto_run *run)
{
    struct seat *s = self;
    odto_run *waited = NULL;
    uint32_t at = (uint32_t)(uintptr_t)run->handler_data - 1;
    pthread_mutex_lock(&s->lock);
    struct slot *slot = at < s->n_slots && s->slots[at].run == run ? &s->slots[at] : NULL;
    if (slot && slot->state == SLOT_GIVEN && !slot->stop_said) {
        say_stop(slot, at);
    } else if (slot && slot->state == SLOT_WAITING) {
        unlink_waiting(s, at);
        waited = slot_release(s, at);
    }
    pthread_mutex_unlock(&s->lock);
    if (waited)
        end_run(waited, ODTO_RUN_RETRY, "stopped before its worker process was up");
}

const odto_handler_iface seat_iface = {.size = sizeof seat_iface, .start = seat_start, .cancel = seat_cancel};

/* ---- looking after attempts ---- */

/* With the lock: one slot. Returns an attempt to end, if it waited too long. */
static odto_run *look(struct seat *s, uint32_t at, int64_t now, struct proxy **stuck)
{
    struct slot *slot = &s->slots[at];
    if (slot->state == SLOT_FREE || (slot->state == SLOT_GIVEN && slot->late))
        return NULL;
    bool should = slot->run->should_stop(slot->run);
    if (slot->state == SLOT_WAITING && should) {
        unlink_waiting(s, at);
        return slot_release(s, at);
    }
    if (slot->state != SLOT_GIVEN)
        return NULL;
    if (should && !slot->stop_said)
        say_stop(slot, at);
    if (slot->run->deadline_ns && now > slot->run->deadline_ns + s->grace) {
        slot->late = true;
        *stuck = slot->p;
        atomic_fetch_add(&slot->p->refs, 1);
    }
    return NULL;
}

static void on_look(void *arg)
{
    struct seat *s = arg;
    int64_t now = odto_now_ns();
    pthread_mutex_lock(&s->lock);
    for (uint32_t at = 0; at < s->n_slots; at++) {
        struct proxy *stuck = NULL;
        odto_run *run = look(s, at, now, &stuck);
        if (!run && !stuck)
            continue;
        pthread_mutex_unlock(&s->lock);
        if (run)
            end_run(run, run->deadline_ns && now > run->deadline_ns ? ODTO_RUN_TIMEOUT : ODTO_RUN_RETRY,
                    "its time was over before its worker process was up");
        if (stuck) {
            proxy_kill(stuck, "an attempt outlasted its deadline by isolate_grace");
            proxy_unref(stuck);
        }
        pthread_mutex_lock(&s->lock);
    }
    give(s);
    s->armed = false;
    arm(s);
    pthread_mutex_unlock(&s->lock);
}

/* ---- workers come and go ---- */

void seat_bind(struct seat *s, struct proxy *p)
{
    pthread_mutex_lock(&s->lock);
    s->bound = p;
    s->grace = unit_int(p->in->unit, "isolate_grace");
    give(s);
    pthread_mutex_unlock(&s->lock);
}

static bool has_any(const struct seat *s, const struct proxy *p)
{
    for (uint32_t at = 0; s->active && at < s->n_slots; at++)
        if (s->slots[at].state == SLOT_GIVEN && s->slots[at].p == p)
            return true;
    return false;
}

int seat_pause(struct seat *s, struct proxy *p, int64_t deadline_ns)
{
    struct timespec ts = {deadline_ns / ODTO_SEC, deadline_ns % ODTO_SEC};
    int r = 0;
    pthread_mutex_lock(&s->lock);
    if (s->bound == p)
        s->bound = NULL;
    while (r == 0 && has_any(s, p))
        r = -pthread_cond_timedwait(&s->drained, &s->lock, &ts);
    if (!has_any(s, p))
        r = 0;
    pthread_mutex_unlock(&s->lock);
    return r;
}

size_t seat_unbind(struct seat *s, struct proxy *p, const char *why)
{
    size_t had = 0;
    pthread_mutex_lock(&s->lock);
    if (s->bound == p)
        s->bound = NULL;
    for (uint32_t at = 0; at < s->n_slots; at++) {
        if (s->slots[at].state != SLOT_GIVEN || s->slots[at].p != p)
            continue;
        bool late = s->slots[at].late;
        odto_run *run = slot_release(s, at);
        pthread_mutex_unlock(&s->lock);
        end_run(run, late ? ODTO_RUN_TIMEOUT : ODTO_RUN_LOST, why);
        had++;
        pthread_mutex_lock(&s->lock);
    }
    pthread_mutex_unlock(&s->lock);
    return had;
}

/* With the lock: the slot a worker means, if it has it. */
static struct slot *slot_of(struct seat *s, const struct proxy *p, uint64_t id)
{
    uint32_t at = (uint32_t)id;
    if (at >= s->n_slots || s->slots[at].serial != (uint32_t)(id >> 32) || s->slots[at].state != SLOT_GIVEN ||
        s->slots[at].p != p)
        return NULL;
    return &s->slots[at];
}

void seat_finish(struct seat *s, struct proxy *p, uint64_t id, struct wire_in *in)
{
    uint32_t end = wire_get_u32(in);
    odto_run_result r = {.end = end <= ODTO_RUN_LOST ? (odto_run_end)end : ODTO_RUN_RETRY};
    r.delay_ns = wire_get_i64(in);
    r.result = wire_get_bytes(in);
    r.error = wire_get_bytes(in);
    r.log = wire_get_bytes(in);
    if (in->bad)
        return;
    pthread_mutex_lock(&s->lock);
    odto_run *run = slot_of(s, p, id) ? slot_release(s, (uint32_t)id) : NULL;
    if (s->first)
        give(s);
    pthread_mutex_unlock(&s->lock);
    if (!run)
        return;
    atomic_fetch_add_explicit(&p->in->settled_good, 1, memory_order_relaxed); /* a statistic */
    run->finish(run, &r);
}

void seat_progress(struct seat *s, struct proxy *p, uint64_t id, struct wire_in *in)
{
    double fraction;
    wire_get(in, &fraction, sizeof fraction);
    odto_slice note = wire_get_bytes(in);
    pthread_mutex_lock(&s->lock);
    struct slot *slot = slot_of(s, p, id);
    odto_run *run = slot ? slot->run : NULL;
    pthread_mutex_unlock(&s->lock);
    if (run && !in->bad) /* it ends on this thread only: it is still there */
        run->progress(run, fraction, note);
}

/* ---- making and freeing ---- */

struct seat *isolate_seat(struct unit *u)
{
    if (u->seat)
        return u->seat;
    struct seat *s = calloc(1, sizeof *s);
    odto_timer *timer = s ? timer_create_for(u->core->timers, s, on_look, s) : NULL;
    if (!timer) {
        free(s);
        return NULL;
    }
    s->core = u->core;
    s->timer = timer;
    snprintf(s->name, sizeof s->name, "%s", u->name);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->drained, &attr);
    pthread_condattr_destroy(&attr);
    s->next = u->core->seats;
    u->core->seats = s;
    u->seat = s;
    return s;
}

void isolate_free(struct core *core)
{
    while (core->seats) {
        struct seat *s = core->seats;
        core->seats = s->next;
        timer_destroy(s->timer);
        free(s->slots);
        pthread_mutex_destroy(&s->lock);
        pthread_cond_destroy(&s->drained);
        free(s);
    }
}
