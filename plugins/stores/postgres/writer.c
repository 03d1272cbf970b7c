/* writer.c — the queue in front of the one writer thread, its group commit, and its connection.
 *
 * Any thread submits; the writer takes everything that waits, applies it as one transaction (apply.c), and
 * then calls done() of each batch, holding no lock. While one commit is under way the next group gathers, so
 * throughput grows with load and a lone batch waits for nothing (commit_window 0).
 *
 * Without a connection everything is refused with -EAGAIN, so that callers keep what they have and know;
 * the writer connects again with backoff and jitter, whether or not there is work. When the connection broke
 * while a commit was under way, nobody knows whether it happened: callers are told -EAGAIN and repeat, which
 * changes nothing twice (ids, fencing tokens), and leases that such a commit has taken are given back first.
 *
 * Locks: pg_store.lock for queue and flags. Ownership: batches are the caller's, on loan until done(). */
#include "store_postgres.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define BACKOFF_MIN  (50 * ODTO_MS)
#define BACKOFF_MAX  (5 * ODTO_SEC)
#define WARN_EVERY   (60 * ODTO_SEC)
#define IDLE_CHECK   ODTO_SEC /* so soon an idle store notices that its server is gone */
#define CONFLICTS    10       /* times a transaction is repeated that lost against another */
#define SKEW_IGNORED 1000     /* ms: as much as asking for the time may cost */

/* ---- submitting ---- */

int pg_submit_jobs(void *store, odto_jobs_batch *b)
{
    pg_store *s = store;
    int code = 0;
    b->next = NULL;
    b->mem = NULL;
    pthread_mutex_lock(&s->lock);
    if (!s->running || s->stopping)
        code = -ECANCELED;
    else if (s->away[0] != '\0' || (s->queue.ops > 0 && s->queue.ops + b->n > s->opt.max_queue))
        code = -EAGAIN;
    if (code == 0) {
        if (s->queue.head == NULL)
            s->queue.head = b;
        else
            s->queue.tail->next = b;
        s->queue.tail = b;
        s->queue.ops += b->n;
        if (s->sleeping)
            pthread_cond_signal(&s->wake);
    }
    pthread_mutex_unlock(&s->lock);
    return code;
}

double pg_queue_depth(void *store)
{
    pg_store *s = store;
    pthread_mutex_lock(&s->lock);
    size_t ops = s->queue.ops;
    pthread_mutex_unlock(&s->lock);
    return (double)ops;
}

/* ---- away and back ---- */

/* Say why the store can't be used: health goes not ready, and one line a minute in the log. */
static void set_away(pg_store *s, const char *why)
{
    char reason[sizeof(s->away)];
    snprintf(reason, sizeof(reason), "%.80s: %s", s->where, why);
    pthread_mutex_lock(&s->lock);
    bool first = s->away[0] == '\0';
    memcpy(s->away, reason, sizeof(reason));
    pthread_mutex_unlock(&s->lock);
    int64_t now = s->host->api->now(s->host);
    if (s->warned_ns == 0 || now - s->warned_ns >= WARN_EVERY) {
        s->warned_ns = now;
        odto_log(s->host, ODTO_ERROR, "store %s: PostgreSQL at %s: %s", s->name, s->where, why);
    }
    if (first)
        s->host->api->health_changed(s->host);
}

static void set_back(pg_store *s)
{
    pthread_mutex_lock(&s->lock);
    bool was = s->away[0] != '\0';
    s->away[0] = '\0';
    pthread_mutex_unlock(&s->lock);
    s->warned_ns = 0;
    s->backoff_ns = 0;
    if (was) {
        odto_log(s->host, ODTO_INFO, "store %s: PostgreSQL at %s: connected", s->name, s->where);
        s->host->api->health_changed(s->host);
    }
}

/* Equal jitter: half of it is fixed, so that a server that just came is not met by all at once nor flooded.
 */
static void back_off(pg_store *s)
{
    s->backoff_ns = s->backoff_ns == 0 ? BACKOFF_MIN : s->backoff_ns * 2;
    if (s->backoff_ns > BACKOFF_MAX)
        s->backoff_ns = BACKOFF_MAX;
    int64_t half = s->backoff_ns / 2;
    s->retry_ns = odto_now_ns() + half + (int64_t)(odto_random64() % (uint64_t)half);
}

/* ---- connecting ---- */

/* End what an earlier connection of ours may still be doing: it must not commit after we have looked. */
static int end_earlier(pg_store *s)
{
    char sql[256];
    snprintf(sql, sizeof(sql),
             "SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity WHERE application_name = '%s' AND "
             "pid <> pg_backend_pid()",
             s->session);
    return pg_simple(s, &s->w, sql);
}

/* A row of odto_stat for this session alone, as long as it lasts. */
static int take_slot(pg_store *s)
{
    char sql[512];
    int code = 0;
    pg_args none = {0};
    snprintf(sql, sizeof(sql),
             "WITH RECURSIVE t AS (SELECT 1 AS slot, pg_try_advisory_lock(%d, 1) AS ok UNION ALL "
             "SELECT slot + 1, pg_try_advisory_lock(%d, slot + 1) FROM t WHERE NOT ok AND slot < %d), "
             "i AS (INSERT INTO odto_stat(slot) SELECT slot FROM t WHERE ok ON CONFLICT DO NOTHING) "
             "SELECT slot::int8, ok FROM t ORDER BY slot DESC LIMIT 1",
             PG_SLOT_CLASS, PG_SLOT_CLASS, PG_SLOTS - 1);
    PGresult *r = pg_query(s, &s->w, sql, &none, &code);
    if (r != NULL) /* without a free one, the last is shared: right, only slower */
        s->slot = pg_get_int(r, 0, 0);
    PQclear(r);
    return code;
}

static int measure_skew(pg_store *s)
{
    int code = 0;
    pg_args none = {0};
    int64_t before = odto_unix_ms();
    PGresult *r =
        pg_query(s, &s->w, "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::int8", &none, &code);
    int64_t after = odto_unix_ms();
    if (r != NULL) {
        int64_t skew = pg_get_int(r, 0, 0) - (before + after) / 2;
        s->skew_ms = skew > SKEW_IGNORED || skew < -SKEW_IGNORED ? skew : 0;
        if (s->skew_ms != 0)
            odto_log(s->host, ODTO_WARN,
                     "store %s: the clock of %s differs from ours by %lld ms; leases go by its", s->name,
                     s->where, (long long)skew);
    }
    PQclear(r);
    return code;
}

static int after_connect(pg_store *s, odto_error *err)
{
    int code = pg_migrate(s, &s->w, err);
    if (code == 0)
        code = end_earlier(s);
    if (code == 0)
        code = take_slot(s);
    if (code == 0)
        code = measure_skew(s);
    if (code == 0 && s->in_doubt)
        code = pg_disown(s);
    if (code == 0)
        code = pg_outbox_numbers(s, 1);
    return code;
}

/* One attempt: 0, or the store is away and the next attempt has its time. */
static int connect_now(pg_store *s)
{
    odto_error err = {0};
    char why[600];
    int code = pg_connect(s, &s->w, s->session, &s->stopping);
    if (code == 0) {
        code = after_connect(s, &err);
        if (code != 0)
            pg_close(&s->w);
    }
    odto_metric_add(s->connects, 1);
    if (code == 0) {
        s->in_doubt = false;
        set_back(s);
    } else {
        if (err.message[0] != '\0')
            odto_error_text(&err, why, sizeof(why));
        else
            snprintf(why, sizeof(why), "%s", s->w.error);
        set_away(s, why);
        back_off(s);
    }
    pthread_mutex_lock(&s->lock);
    if (!s->tried) {
        s->tried = true;
        s->first_result = code;
        s->first_error = err;
        pthread_cond_broadcast(&s->drained);
    }
    pthread_mutex_unlock(&s->lock);
    return code;
}

/* ---- groups ---- */

/* Tell everyone of the group. Nothing of it may be touched afterwards. */
static void finish_group(pg_group *g, int code)
{
    odto_jobs_batch *next = NULL;
    for (odto_jobs_batch *b = g->head; b != NULL; b = next) {
        next = b->next;
        if (code != 0)
            pg_reset(b);
        b->done(b, code);
    }
}

/* Apply, again when it lost against another transaction. */
static int apply(pg_store *s, const pg_group *g)
{
    int code = 0;
    for (int i = 0; i < CONFLICTS; i++) {
        for (odto_jobs_batch *b = g->head; b != NULL; b = b->next)
            pg_reset(b);
        code = pg_apply(s, g);
        if (code != -EDEADLK)
            break;
    }
    return code == -EDEADLK ? -EAGAIN : code;
}

/* A batch that can't be stored as it is: without the operations that are to blame. */
static int apply_alone(pg_store *s, odto_jobs_batch *b)
{
    pg_group one = {.head = b, .tail = b, .ops = b->n};
    int code = apply(s, &one);
    if (code != -EINVAL)
        return code;
    pg_reset(b);
    code = pg_find_guilty(s, b);
    if (code <= 0)
        return code < 0 ? code : -EINVAL;
    for (int i = 0; i < CONFLICTS && (code = pg_apply(s, &one)) == -EDEADLK; i++)
        ;
    return code == -EDEADLK ? -EAGAIN : code;
}

static void each_alone(pg_store *s, pg_group *g)
{
    odto_jobs_batch *next = NULL;
    for (odto_jobs_batch *b = g->head; b != NULL; b = next) {
        next = b->next;
        b->next = NULL;
        pg_group one = {.head = b, .tail = b, .ops = b->n};
        finish_group(&one, s->w.c != NULL ? apply_alone(s, b) : -EAGAIN);
    }
}

/* The connection or the server is to blame, not the work. */
static void failed(pg_store *s)
{
    odto_metric_add(s->failures, 1);
    set_away(s, s->w.error);
    if (s->w.c != NULL && !s->in_doubt)
        s->retry_ns = odto_now_ns() + BACKOFF_MIN; /* it said no, and may say yes the next time */
    else
        back_off(s);
    if (s->in_doubt)
        pg_close(&s->w);
}

static void commit_group(pg_store *s, pg_group *g)
{
    if (!pg_alive(&s->w)) {
        pg_close(&s->w);
        if (connect_now(s) != 0) {
            finish_group(g, -EAGAIN);
            return;
        }
    }
    int64_t begun = odto_now_ns();
    int code = apply(s, g);
    odto_metric_observe(s->commit_seconds, (double)(odto_now_ns() - begun) / 1e9);
    odto_metric_observe(s->batch_jobs, (double)g->ops);
    if (code == -EINVAL || code == -E2BIG)
        each_alone(s, g);
    else {
        if (code != 0)
            failed(s);
        finish_group(g, code);
    }
}

/* ---- the thread ---- */

/* Move batches into out, up to limit operations (at least one batch). Caller holds the lock. */
static void take_group(pg_group *q, pg_group *out, size_t limit)
{
    memset(out, 0, sizeof(*out));
    while (q->head != NULL && (out->head == NULL || out->ops + q->head->n <= limit)) {
        odto_jobs_batch *b = q->head;
        q->head = b->next;
        b->next = NULL;
        if (out->head == NULL)
            out->head = b;
        else
            out->tail->next = b;
        out->tail = b;
        out->ops += b->n;
    }
    q->ops -= out->ops;
}

/* Sleep until woken or for ns; false when the time has passed. Caller holds the lock. */
static bool sleep_ns(pg_store *s, int64_t ns)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    ns += at.tv_nsec;
    at.tv_sec += ns / ODTO_SEC;
    at.tv_nsec = ns % ODTO_SEC;
    s->sleeping = true;
    int rc = pthread_cond_timedwait(&s->wake, &s->lock, &at);
    s->sleeping = false;
    return rc == 0;
}

/* How long the writer may sleep without work. */
static int64_t until_next(const pg_store *s)
{
    int64_t now = odto_now_ns();
    if (s->away[0] != '\0')
        return s->retry_ns > now ? s->retry_ns - now : 0;
    int64_t upkeep = pg_upkeep_wait_ns(s);
    return upkeep < IDLE_CHECK ? upkeep : IDLE_CHECK;
}

/* Wait for work into g (empty when it is time for something else); false: end. */
static bool wait_for_work(pg_store *s, pg_group *g)
{
    pthread_mutex_lock(&s->lock);
    s->busy = false;
    int64_t until = odto_now_ns() + until_next(s);
    if (s->queue.head == NULL)
        pthread_cond_broadcast(&s->drained);
    while (s->queue.head == NULL && !s->stopping) {
        int64_t left = until - odto_now_ns();
        if (left <= 0 || !sleep_ns(s, left))
            break;
    }
    until = odto_now_ns() + s->opt.commit_window_ns;
    while (s->opt.commit_window_ns > 0 && !s->stopping && s->queue.ops < s->opt.max_batch) {
        int64_t left = until - odto_now_ns();
        if (left <= 0 || s->queue.head == NULL)
            break;
        sleep_ns(s, left);
    }
    bool go_on = !s->stopping || s->queue.head != NULL;
    take_group(&s->queue, g, s->opt.max_batch);
    s->busy = g->head != NULL;
    pthread_mutex_unlock(&s->lock);
    return go_on;
}

/* Nothing to write: look after the connection and the table. */
static void idle(pg_store *s)
{
    if (s->away[0] != '\0') {
        if (odto_now_ns() < s->retry_ns)
            return;
        if (pg_alive(&s->w))
            set_back(s); /* it only refused a transaction */
        else
            connect_now(s);
    } else if (!pg_alive(&s->w)) {
        pg_close(&s->w);
        connect_now(s);
    } else if (pg_upkeep_wait_ns(s) == 0 && pg_upkeep(s) != 0) {
        failed(s);
    }
}

/* What was queued while the store went away is refused, as submit() does from now on. */
static void refuse_queued(pg_store *s)
{
    pg_group g;
    pthread_mutex_lock(&s->lock);
    take_group(&s->queue, &g, SIZE_MAX);
    pthread_mutex_unlock(&s->lock);
    finish_group(&g, -EAGAIN);
}

void pg_writer_main(void *store)
{
    pg_store *s = store;
    pg_group g;
    connect_now(s);
    while (wait_for_work(s, &g)) {
        if (g.head != NULL)
            commit_group(s, &g);
        else
            idle(s);
        if (s->away[0] != '\0')
            refuse_queued(s);
    }
    pg_close(&s->w);
    pthread_mutex_lock(&s->lock);
    pthread_cond_broadcast(&s->drained);
    pthread_mutex_unlock(&s->lock);
}

int pg_writer_drain(pg_store *s, int64_t deadline_ns)
{
    struct timespec at = {.tv_sec = deadline_ns / ODTO_SEC, .tv_nsec = deadline_ns % ODTO_SEC};
    int rc = 0;
    pthread_mutex_lock(&s->lock);
    while (rc == 0 && (s->busy || s->queue.head != NULL))
        rc = pthread_cond_timedwait(&s->drained, &s->lock, &at);
    bool left = s->busy || s->queue.head != NULL;
    pthread_mutex_unlock(&s->lock);
    return left ? -ETIMEDOUT : 0;
}

void pg_writer_stop(pg_store *s)
{
    pthread_mutex_lock(&s->lock);
    __atomic_store_n(&s->stopping, true, __ATOMIC_RELAXED); /* also read by pg_connect, without the lock */
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
}
