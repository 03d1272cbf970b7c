/* writer.c — the queue in front of the one writer thread, and its group commit.
 *
 * Any thread submits; the writer takes everything that waits, applies it in one transaction, commits, and
 * then calls done() of each batch, holding no lock. While one commit waits for the disk the next group
 * gathers, so throughput grows with load and a lone batch waits for nothing (commit_window 0).
 *
 * When the transaction fails for a reason of the machine (disk full, I/O error, locked), all batches of the
 * group get it; when a batch is to blame, each is applied again in a transaction of its own.
 *
 * Locks: sq_store.lock for queue and flags. Ownership: batches are the caller's, on loan until done(). */
#include "store_sqlite.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#define PROBE_MS        1000
#define WARN_MS         60000
#define RETAIN_IN_GROUP 64 /* rows that retention may delete inside a group of a busy store */
#define RETAIN_ALONE    512

static bool group_empty(const sq_group *g)
{
    if (g->jobs.head != NULL || g->tasks != NULL)
        return false;
    for (int k = 0; k < SQ_WRITE_KINDS; k++)
        if (g->writes[k].head != NULL)
            return false;
    return true;
}

/* ---- submitting ---- */

/* 0 when n more operations may be queued. Caller holds the lock. */
static int admit(const sq_store *s, size_t n)
{
    if (!s->running || s->stopping)
        return -ECANCELED;
    if (s->queue.ops > 0 && s->queue.ops + n > s->opt.max_queue)
        return -EAGAIN;
    return 0;
}

/* Caller holds the lock. */
static void wake_writer(sq_store *s)
{
    if (s->sleeping)
        pthread_cond_signal(&s->wake);
}

int sq_submit_jobs(void *store, odto_jobs_batch *b)
{
    sq_store *s = store;
    b->next = NULL;
    b->mem = NULL;
    pthread_mutex_lock(&s->lock);
    int code = admit(s, b->n);
    if (code == 0) {
        sq_batches *l = &s->queue.jobs;
        if (l->head == NULL)
            l->head = b;
        else
            l->tail->next = b;
        l->tail = b;
        s->queue.ops += b->n;
        wake_writer(s);
    }
    pthread_mutex_unlock(&s->lock);
    return code;
}

static int submit_write(sq_store *s, odto_write *w, sq_write_kind kind)
{
    w->next = NULL;
    pthread_mutex_lock(&s->lock);
    int code = admit(s, w->n);
    if (code == 0) {
        sq_writes *l = &s->queue.writes[kind];
        if (l->head == NULL)
            l->head = w;
        else
            l->tail->next = w;
        l->tail = w;
        s->queue.ops += w->n;
        wake_writer(s);
    }
    pthread_mutex_unlock(&s->lock);
    return code;
}

int sq_submit_count(void *store, odto_write *w)
{
    return submit_write(store, w, SQ_COUNT);
}

int sq_submit_append(void *store, odto_write *w)
{
    return submit_write(store, w, SQ_APPEND);
}

int sq_submit_append_counted(void *store, odto_write *w)
{
    return submit_write(store, w, SQ_APPEND_COUNTED);
}

int sq_task_run(sq_store *s, sq_task *t)
{
    t->finished = false;
    pthread_mutex_lock(&s->lock);
    if (!s->running || s->stopping) {
        pthread_mutex_unlock(&s->lock);
        return -ECANCELED;
    }
    t->next = s->queue.tasks;
    s->queue.tasks = t;
    wake_writer(s);
    while (!t->finished)
        pthread_cond_wait(&s->drained, &s->lock);
    pthread_mutex_unlock(&s->lock);
    return t->result;
}

double sq_queue_depth(void *store)
{
    sq_store *s = store;
    pthread_mutex_lock(&s->lock);
    size_t ops = s->queue.ops;
    pthread_mutex_unlock(&s->lock);
    return (double)ops;
}

/* ---- transactions ---- */

static int save_state(sq_store *s)
{
    const sq_state *c = &s->cur;
    if (memcmp(c, &s->committed, sizeof(*c)) == 0)
        return SQLITE_OK;
    const int64_t in[] = {
        c->pending,    c->executing, c->completed,         c->failed,         c->outbox,    c->next_outbox,
        c->next_event, c->total,     c->counted_completed, c->counted_failed, c->last_event};
    sqlite3_stmt *st = sq_stmt(&s->w, SQ_STATE_SAVE);
    for (size_t i = 0; i < sizeof(in) / sizeof(in[0]); i++)
        sqlite3_bind_int64(st, (int)i + 1, in[i]);
    return sq_run(st);
}

static void publish(sq_store *s, int64_t ready, int64_t delayed)
{
    pthread_mutex_lock(&s->stats_lock);
    s->shown.state = s->committed;
    if (s->pending_changed) {
        s->shown.ready_since = ready;
        s->shown.delayed_until = delayed;
    }
    pthread_mutex_unlock(&s->stats_lock);
}

/* Say why writing fails: health goes not ready, and one line a minute in the log. */
static void set_away(sq_store *s, int code, const char *text)
{
    char reason[sizeof(s->away)];
    snprintf(reason, sizeof(reason), "%s: %s", code == -ENOSPC ? "disk full" : "store can't write", text);
    int64_t now = s->host->api->now(s->host) / ODTO_MS;
    pthread_mutex_lock(&s->lock);
    bool first = s->away[0] == '\0';
    memcpy(s->away, reason, sizeof(reason));
    s->away_code = code;
    pthread_mutex_unlock(&s->lock);
    if (first || now - s->warned_ms >= WARN_MS) {
        s->warned_ms = now;
        odto_log(s->host, ODTO_ERROR, "store %s: %s", s->opt.path, reason);
    }
    if (first)
        s->host->api->health_changed(s->host);
}

static void set_back(sq_store *s)
{
    pthread_mutex_lock(&s->lock);
    bool was = s->away[0] != '\0';
    s->away[0] = '\0';
    pthread_mutex_unlock(&s->lock);
    if (was) {
        odto_log(s->host, ODTO_INFO, "store %s: writing again", s->opt.path);
        s->host->api->health_changed(s->host);
    }
}

/* Undo the open transaction, if SQLite has not already. */
static int roll_back(sq_store *s, int rc)
{
    int code = sq_errno(s->w.db, rc);
    char text[128];
    snprintf(text, sizeof(text), "%s", sqlite3_errmsg(s->w.db));
    if (!sqlite3_get_autocommit(s->w.db))
        sq_run(sq_stmt(&s->w, SQ_ROLLBACK));
    s->cur = s->committed;
    s->pending_changed = false;
    odto_metric_add(s->failures, 1);
    if (code != -EINVAL && code != -E2BIG)
        set_away(s, code, text);
    return code;
}

int sq_transaction(sq_store *s, sq_body *body, void *arg)
{
    int64_t ready = 0, delayed = 0;
    int before = sqlite3_total_changes(s->w.db);
    s->pending_changed = false;
    int rc = sq_run(sq_stmt(&s->w, SQ_BEGIN));
    if (rc == SQLITE_OK)
        rc = body(s, arg);
    if (rc == SQLITE_OK)
        rc = save_state(s);
    if (rc == SQLITE_OK && s->pending_changed)
        sq_ages(s, &ready, &delayed);
    if (rc == SQLITE_OK)
        rc = sq_run(sq_stmt(&s->w, SQ_COMMIT));
    if (rc != SQLITE_OK)
        return roll_back(s, rc);
    s->committed = s->cur;
    publish(s, ready, delayed);
    if (sqlite3_total_changes(s->w.db) != before)
        set_back(s); /* an empty transaction proves nothing */
    return 0;
}

/* ---- groups ---- */

static int apply_group(sq_store *s, void *arg)
{
    sq_group *g = arg;
    int rc = SQLITE_OK;
    for (odto_jobs_batch *b = g->jobs.head; b != NULL && rc == SQLITE_OK; b = b->next)
        rc = sq_jobs_apply(s, b);
    for (odto_write *w = g->writes[SQ_COUNT].head; w != NULL && rc == SQLITE_OK; w = w->next)
        rc = sq_counters_apply(s, w);
    for (odto_write *w = g->writes[SQ_APPEND].head; w != NULL && rc == SQLITE_OK; w = w->next)
        rc = sq_events_apply(s, w, false);
    for (odto_write *w = g->writes[SQ_APPEND_COUNTED].head; w != NULL && rc == SQLITE_OK; w = w->next)
        rc = sq_events_apply(s, w, true);
    for (sq_task *t = g->tasks; t != NULL && rc == SQLITE_OK; t = t->next)
        rc = t->fn(s, t->arg);
    if (rc == SQLITE_OK && s->retaining)
        rc = sq_retain_step(s, RETAIN_IN_GROUP);
    return rc;
}

/* Tell everyone of the group. Nothing of it may be touched afterwards. */
static void finish_group(sq_store *s, sq_group *g, int code)
{
    odto_jobs_batch *next_batch = NULL;
    for (odto_jobs_batch *b = g->jobs.head; b != NULL; b = next_batch) {
        next_batch = b->next;
        if (code != 0)
            sq_jobs_reset(b);
        b->done(b, code);
    }
    for (int k = 0; k < SQ_WRITE_KINDS; k++) {
        odto_write *next = NULL;
        for (odto_write *w = g->writes[k].head; w != NULL; w = next) {
            next = w->next;
            w->done(w, code);
        }
    }
    if (g->tasks == NULL)
        return;
    pthread_mutex_lock(&s->lock);
    for (sq_task *t = g->tasks; t != NULL; t = t->next) {
        t->result = code;
        t->finished = true;
    }
    pthread_cond_broadcast(&s->drained);
    pthread_mutex_unlock(&s->lock);
}

/* Take the first entry of from into one; false when none is left. */
static bool group_pop(sq_group *from, sq_group *one)
{
    memset(one, 0, sizeof(*one));
    if (from->jobs.head != NULL) {
        odto_jobs_batch *b = from->jobs.head;
        from->jobs.head = b->next;
        b->next = NULL;
        one->jobs.head = one->jobs.tail = b;
        return true;
    }
    for (int k = 0; k < SQ_WRITE_KINDS; k++) {
        odto_write *w = from->writes[k].head;
        if (w == NULL)
            continue;
        from->writes[k].head = w->next;
        w->next = NULL;
        one->writes[k].head = one->writes[k].tail = w;
        return true;
    }
    sq_task *t = from->tasks;
    if (t == NULL)
        return false;
    from->tasks = t->next;
    t->next = NULL;
    one->tasks = t;
    return true;
}

static void commit_group(sq_store *s, sq_group *g)
{
    int64_t begun = odto_now_ns();
    int code = sq_transaction(s, apply_group, g);
    odto_metric_observe(s->commit_seconds, (double)(odto_now_ns() - begun) / 1e9);
    if (g->ops > 0)
        odto_metric_observe(s->batch_jobs, (double)g->ops);
    if (code != -EINVAL && code != -E2BIG) {
        finish_group(s, g, code);
        return;
    }
    for (odto_jobs_batch *b = g->jobs.head; b != NULL; b = b->next)
        sq_jobs_reset(b);
    sq_group one;
    while (group_pop(g, &one))
        finish_group(s, &one, sq_transaction(s, apply_group, &one));
}

/* ---- the thread ---- */

/* Move batches into out, up to limit operations of each kind (at least one batch). Caller holds the lock. */
static void take_group(sq_group *q, sq_group *out, size_t limit)
{
    memset(out, 0, sizeof(*out));
    size_t n = 0;
    while (q->jobs.head != NULL && (n == 0 || n + q->jobs.head->n <= limit)) {
        odto_jobs_batch *b = q->jobs.head;
        q->jobs.head = b->next;
        b->next = NULL;
        if (out->jobs.head == NULL)
            out->jobs.head = b;
        else
            out->jobs.tail->next = b;
        out->jobs.tail = b;
        n += b->n > 0 ? b->n : 1;
        out->ops += b->n;
    }
    for (int k = 0; k < SQ_WRITE_KINDS; k++) {
        sq_writes *from = &q->writes[k], *to = &out->writes[k];
        n = 0;
        while (from->head != NULL && (n == 0 || n + from->head->n <= limit)) {
            odto_write *w = from->head;
            from->head = w->next;
            w->next = NULL;
            if (to->head == NULL)
                to->head = w;
            else
                to->tail->next = w;
            to->tail = w;
            n += w->n > 0 ? w->n : 1;
            out->ops += w->n;
        }
    }
    out->tasks = q->tasks;
    q->tasks = NULL;
    q->ops -= out->ops;
}

/* Sleep until woken or for ms (< 0: for ever); false when the time has passed. Caller holds the lock. */
static bool sleep_ms(sq_store *s, int64_t ms)
{
    s->sleeping = true;
    int rc = 0;
    if (ms < 0) {
        rc = pthread_cond_wait(&s->wake, &s->lock);
    } else {
        struct timespec at;
        clock_gettime(CLOCK_MONOTONIC, &at);
        int64_t ns = at.tv_nsec + ms % 1000 * ODTO_MS;
        at.tv_sec += ms / 1000 + ns / ODTO_SEC;
        at.tv_nsec = ns % ODTO_SEC;
        rc = pthread_cond_timedwait(&s->wake, &s->lock, &at);
    }
    s->sleeping = false;
    return rc == 0;
}

/* Wait for work into g (empty when it is time for upkeep); false: end. */
static bool wait_for_work(sq_store *s, sq_group *g)
{
    int64_t upkeep = sq_retain_wait_ms(s);
    pthread_mutex_lock(&s->lock);
    s->busy = false;
    if (s->away[0] != '\0')
        upkeep = PROBE_MS;
    if (group_empty(&s->queue)) {
        pthread_cond_broadcast(&s->drained);
        while (group_empty(&s->queue) && !s->stopping && upkeep != 0 && sleep_ms(s, upkeep))
            ;
    }
    int64_t until = odto_now_ns() + s->opt.commit_window_ns;
    while (s->opt.commit_window_ns > 0 && !s->stopping && s->queue.ops < s->opt.max_batch) {
        int64_t left = until - odto_now_ns();
        if (left <= 0 || group_empty(&s->queue))
            break;
        sleep_ms(s, (left + ODTO_MS - 1) / ODTO_MS);
    }
    bool go_on = !s->stopping || !group_empty(&s->queue);
    take_group(&s->queue, g, s->opt.max_batch);
    s->busy = !group_empty(g);
    pthread_mutex_unlock(&s->lock);
    return go_on;
}

static int probe_body(sq_store *s, void *arg)
{
    (void)arg;
    return sq_run(sq_stmt(&s->w, SQ_PROBE));
}

/* Is writing possible again? The log may have room of its own on a full disk, so ask the disk too. */
static void probe(sq_store *s)
{
    struct statvfs fs;
    if (s->away_code == -ENOSPC && statvfs(s->opt.path, &fs) == 0 &&
        (uint64_t)fs.f_bavail * fs.f_frsize < UINT64_C(1) << 20)
        return;
    sq_transaction(s, probe_body, NULL);
}

static int retain_body(sq_store *s, void *arg)
{
    (void)arg;
    return sq_retain_step(s, RETAIN_ALONE);
}

void sq_writer_main(void *store)
{
    sq_store *s = store;
    sq_group g;
    while (wait_for_work(s, &g)) {
        if (!group_empty(&g))
            commit_group(s, &g);
        else if (s->away[0] != '\0')
            probe(s);
        else if (sq_retain_wait_ms(s) == 0)
            sq_transaction(s, retain_body, NULL);
        sq_checkpoint_after_commit(s);
    }
    pthread_mutex_lock(&s->lock);
    pthread_cond_broadcast(&s->drained);
    pthread_mutex_unlock(&s->lock);
}

int sq_writer_drain(sq_store *s, int64_t deadline_ns)
{
    struct timespec at = {.tv_sec = deadline_ns / ODTO_SEC, .tv_nsec = deadline_ns % ODTO_SEC};
    int rc = 0;
    pthread_mutex_lock(&s->lock);
    while (rc == 0 && (s->busy || !group_empty(&s->queue)))
        rc = pthread_cond_timedwait(&s->drained, &s->lock, &at);
    bool left = s->busy || !group_empty(&s->queue);
    pthread_mutex_unlock(&s->lock);
    return left ? -ETIMEDOUT : 0;
}

void sq_writer_stop(sq_store *s)
{
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    pthread_cond_signal(&s->wake);
    pthread_cond_broadcast(&s->checkpoint_wake);
    pthread_mutex_unlock(&s->lock);
}
