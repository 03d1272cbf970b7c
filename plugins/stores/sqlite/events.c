/* events.c — the events role (a log of envelopes, each once by its event id) and the counters role.
 *
 * Writing happens on the writer inside a transaction and returns SQLite result codes; reading on the caller's
 * thread with a connection of the pool. The counters live in the `state` row, so they change in the same
 * transaction as the event that they count. */
#include "store_sqlite.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void count_one(sq_state *c, bool completed, bool failed, int64_t occurred_at)
{
    c->total++;
    c->counted_completed += completed;
    c->counted_failed += failed;
    if (occurred_at > c->last_event)
        c->last_event = occurred_at;
}

int sq_events_apply(sq_store *s, const odto_write *w, bool count)
{
    for (size_t i = 0; i < w->n; i++) {
        const odto_header *h = &w->headers[i];
        sqlite3_stmt *st = sq_stmt(&s->w, SQ_EVENT_INSERT);
        sqlite3_bind_int64(st, 1, s->cur.next_event);
        sq_bind_uuid(st, 2, &h->event_id);
        sq_bind_uuid(st, 3, &h->job_id);
        sqlite3_bind_int64(st, 4, h->type);
        sqlite3_bind_int64(st, 5, h->occurred_at_ms);
        int rc = sq_bind_text(st, 6, w->bodies[i]);
        if (rc == SQLITE_OK)
            rc = sq_run(st);
        if (rc != SQLITE_OK)
            return rc;
        if (sqlite3_changes(s->w.db) == 0)
            continue; /* seen before */
        s->cur.next_event++;
        if (count)
            count_one(&s->cur, h->type == ODTO_JOB_COMPLETED, h->type == ODTO_JOB_FAILED, h->occurred_at_ms);
    }
    return SQLITE_OK;
}

int sq_counters_apply(sq_store *s, const odto_write *w)
{
    int64_t now = s->host->api->unix_ms(s->host);
    for (size_t i = 0; i < w->n; i++) {
        const odto_counted *e = &w->counted[i];
        sqlite3_stmt *st = sq_stmt(&s->w, SQ_COUNTED_INSERT);
        sq_bind_uuid(st, 1, &e->event_id);
        sqlite3_bind_int64(st, 2, now);
        int rc = sq_run(st);
        if (rc != SQLITE_OK)
            return rc;
        if (sqlite3_changes(s->w.db) > 0)
            count_one(&s->cur, e->completed, e->failed, e->occurred_at);
    }
    return SQLITE_OK;
}

static void last_event_text(int64_t ms, char *out)
{
    char text[25] = "";
    if (ms != 0)
        odto_time_format(ms, text);
    snprintf(out, sizeof(((odto_counters *)NULL)->last_event_time), "%s", text);
}

int sq_counters_read(void *store, odto_counters *out, odto_error *err)
{
    sq_store *s = store;
    (void)err;
    pthread_mutex_lock(&s->stats_lock);
    sq_state c = s->shown.state;
    pthread_mutex_unlock(&s->stats_lock);
    memset(out, 0, sizeof(*out));
    out->total = c.total;
    out->completed = c.counted_completed;
    out->failed = c.counted_failed;
    last_event_text(c.last_event, out->last_event_time);
    return 0;
}

static int set_body(void *store, const void *arg)
{
    sq_store *s = store;
    const sq_state *c = arg;
    s->cur.total = c->total;
    s->cur.counted_completed = c->counted_completed;
    s->cur.counted_failed = c->counted_failed;
    s->cur.last_event = c->last_event;
    return sq_run(sq_stmt(&s->w, SQ_COUNTED_CLEAR));
}

int sq_counters_set(void *store, const odto_counters *c, odto_error *err)
{
    sq_store *s = store;
    sq_state want = {.total = c->total, .counted_completed = c->completed, .counted_failed = c->failed};
    if (c->last_event_time[0] != '\0' &&
        odto_time_parse(odto_slice_str(c->last_event_time), &want.last_event) != 0)
        return odto_fail(err, -EINVAL, "\"%s\" is not an RFC 3339 date-time", c->last_event_time);
    sq_task t = {.fn = set_body, .arg = &want};
    int code = sq_task_run(s, &t);
    if (code != 0)
        odto_fail(err, code, "%s: the counters could not be replaced", s->opt.path);
    return code;
}

/* ---- reading the log ---- */

/* Rows (seq, body) to fn; an SQLite result code. */
static int give_events(sqlite3_stmt *st, odto_event_row_fn *fn, void *arg, uint64_t *last)
{
    int rc = SQLITE_OK;
    while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
        odto_event_row row = {.seq = (uint64_t)sqlite3_column_int64(st, 0), .body = sq_text(st, 1)};
        *last = row.seq;
        if (!fn(arg, &row))
            return SQLITE_OK;
    }
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

int sq_events_list(void *store, const odto_uuid *job, uint32_t limit, odto_event_row_fn *fn, void *arg,
                   odto_error *err)
{
    sq_store *s = store;
    sq_conn *c = sq_reader_take(s, err);
    if (c == NULL)
        return err != NULL ? err->code : -EIO;
    sqlite3_stmt *st = sq_stmt(c, job != NULL ? SQ_EVENTS_OF_JOB : SQ_EVENTS_ALL);
    if (job != NULL)
        sq_bind_uuid(st, 1, job);
    sqlite3_bind_int64(st, job != NULL ? 2 : 1, limit);
    uint64_t last = 0;
    int rc = st != NULL ? give_events(st, fn, arg, &last) : sqlite3_errcode(c->db);
    int code = rc != SQLITE_OK ? sq_fail(s, c->db, rc, err, "events can't be listed") : 0;
    sqlite3_reset(st);
    sq_reader_give(s, c);
    return code;
}

/* *last: the seq of the last row given; the newest of the log when none was. */
int sq_events_after(void *store, uint64_t after, uint32_t limit, odto_event_row_fn *fn, void *arg,
                    uint64_t *last, odto_error *err)
{
    sq_store *s = store;
    pthread_mutex_lock(&s->stats_lock);
    uint64_t newest = (uint64_t)(s->shown.state.next_event - 1);
    pthread_mutex_unlock(&s->stats_lock);
    if (last != NULL)
        *last = newest;
    if (after >= newest)
        return 0;
    sq_conn *c = sq_reader_take(s, err);
    if (c == NULL)
        return err != NULL ? err->code : -EIO;
    sqlite3_stmt *st = sq_stmt(c, SQ_EVENTS_AFTER);
    sqlite3_bind_int64(st, 1, (int64_t)after);
    sqlite3_bind_int64(st, 2, limit);
    uint64_t given = newest;
    int rc = st != NULL ? give_events(st, fn, arg, &given) : sqlite3_errcode(c->db);
    int code = rc != SQLITE_OK ? sq_fail(s, c->db, rc, err, "events can't be read") : 0;
    if (last != NULL)
        *last = given;
    sqlite3_reset(st);
    sq_reader_give(s, c);
    return code;
}

int sq_events_count(void *store, odto_counters *out, odto_error *err)
{
    sq_store *s = store;
    sq_conn *c = sq_reader_take(s, err);
    if (c == NULL)
        return err != NULL ? err->code : -EIO;
    sqlite3_stmt *st = sq_stmt(c, SQ_EVENTS_COUNT);
    sqlite3_bind_int64(st, 1, ODTO_JOB_COMPLETED);
    sqlite3_bind_int64(st, 2, ODTO_JOB_FAILED);
    int rc = st != NULL ? sqlite3_step(st) : sqlite3_errcode(c->db), code = 0;
    if (rc == SQLITE_ROW) {
        memset(out, 0, sizeof(*out));
        out->total = sqlite3_column_int64(st, 0);
        out->completed = sqlite3_column_int64(st, 1);
        out->failed = sqlite3_column_int64(st, 2);
        last_event_text(sqlite3_column_int64(st, 3), out->last_event_time);
    } else {
        code = sq_fail(s, c->db, rc, err, "events can't be counted");
    }
    sqlite3_reset(st);
    sq_reader_give(s, c);
    return code;
}

/* ---- rebuild ---- */

int sq_events_scan(void *store, odto_counted_fn *fn, void *arg, odto_error *err)
{
    sq_store *s = store;
    sq_conn *c = sq_reader_take(s, err);
    if (c == NULL)
        return err != NULL ? err->code : -EIO;
    sqlite3_stmt *st = sq_stmt(c, SQ_EVENTS_SCAN);
    int rc = st != NULL ? SQLITE_ROW : sqlite3_errcode(c->db);
    bool more = true;
    while (st != NULL && more && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        int kind = sqlite3_column_int(st, 1);
        odto_counted e = {.event_id = sq_uuid(st, 0),
                          .completed = kind == ODTO_JOB_COMPLETED,
                          .failed = kind == ODTO_JOB_FAILED,
                          .occurred_at = sqlite3_column_int64(st, 2)};
        more = fn(arg, &e);
    }
    bool good = rc == SQLITE_DONE || (rc == SQLITE_ROW && st != NULL);
    int code = good ? 0 : sq_fail(s, c->db, rc, err, "events can't be read");
    sqlite3_reset(st);
    sq_reader_give(s, c);
    return code;
}

static int recount_body(void *store, const void *arg)
{
    sq_store *s = store;
    (void)arg;
    sqlite3_stmt *st = sq_stmt(&s->w, SQ_EVENTS_COUNT);
    if (st == NULL)
        return sqlite3_errcode(s->w.db);
    sqlite3_bind_int64(st, 1, ODTO_JOB_COMPLETED);
    sqlite3_bind_int64(st, 2, ODTO_JOB_FAILED);
    int rc = sqlite3_step(st);
    if (rc == SQLITE_ROW) {
        s->cur.total = sqlite3_column_int64(st, 0);
        s->cur.counted_completed = sqlite3_column_int64(st, 1);
        s->cur.counted_failed = sqlite3_column_int64(st, 2);
        s->cur.last_event = sqlite3_column_int64(st, 3);
        rc = SQLITE_OK;
    }
    sqlite3_reset(st);
    return rc;
}

int sq_events_recount(void *store, odto_counters *out, odto_error *err)
{
    sq_store *s = store;
    sq_task t = {.fn = recount_body};
    int code = sq_task_run(s, &t);
    if (code != 0)
        return odto_fail(err, code, "%s: the events could not be counted anew", s->opt.path);
    return sq_counters_read(store, out, err);
}
