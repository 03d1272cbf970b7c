/* retain.c — finished jobs older than keep_jobs and events older than keep_events go, a little at a time.
 *
 * On the writer. A pass walks the tables from their oldest rows and ends at the first stretch without
 * anything to delete; the next pass begins a minute later. Rows go in small bites, alone when the store is
 * idle and beside a group when it is not, so no caller waits for a long deletion. */
#include "store_sqlite.h"

#include <string.h>

#define PASS_EVERY_MS 60000
#define BITE_MAX      512

int64_t sq_retain_wait_ms(const sq_store *s)
{
    if (s->opt.keep_jobs_ms == 0 && s->opt.keep_events_ms == 0)
        return -1;
    if (s->retaining)
        return 0;
    int64_t left = s->retain_next_ms - s->host->api->now(s->host) / ODTO_MS;
    return left > 0 ? left : 0;
}

static int run_seq(sq_store *s, sq_sql which, int64_t seq)
{
    sqlite3_stmt *st = sq_stmt(&s->w, which);
    sqlite3_bind_int64(st, 1, seq);
    return sq_run(st);
}

typedef struct old_row {
    int64_t seq, status, at;
} old_row;

/* Up to n rows (seq, [status,] time) of the statement behind seq `from`. */
static int read_oldest(sq_store *s, sq_sql which, int64_t from, uint32_t n, old_row *out, uint32_t *got)
{
    sqlite3_stmt *st = sq_stmt(&s->w, which);
    sqlite3_bind_int64(st, 1, from);
    sqlite3_bind_int64(st, 2, n);
    int rc = SQLITE_OK;
    for (*got = 0; *got < n && (rc = sqlite3_step(st)) == SQLITE_ROW; (*got)++) {
        bool job = which == SQ_DONE_OLDEST;
        out[*got] = (old_row){sqlite3_column_int64(st, 0), job ? sqlite3_column_int64(st, 1) : 0,
                              sqlite3_column_int64(st, job ? 2 : 1)};
    }
    int rc2 = sqlite3_reset(st);
    return rc == SQLITE_OK || rc == SQLITE_ROW || rc == SQLITE_DONE ? rc2 : rc;
}

static int delete_job(sq_store *s, const old_row *r)
{
    int rc = run_seq(s, SQ_DONE_DELETE, r->seq);
    if (rc == SQLITE_OK)
        rc = run_seq(s, SQ_ATTEMPTS_DELETE, r->seq);
    if (rc == SQLITE_OK)
        rc = run_seq(s, SQ_JOB_DELETE, r->seq);
    if (r->status == ODTO_FAILED)
        s->cur.failed--;
    else
        s->cur.completed--;
    return rc;
}

static int delete_event(sq_store *s, const old_row *r)
{
    return run_seq(s, SQ_EVENT_DELETE, r->seq);
}

/* One bite of a table; *from moves on, *more: something was deleted, so there may be more behind it. */
static int bite(sq_store *s, sq_sql oldest, int (*del)(sq_store *, const old_row *), int64_t *from,
                int64_t before, uint32_t limit, bool *more)
{
    old_row rows[BITE_MAX];
    uint32_t n = 0, deleted = 0;
    int rc = read_oldest(s, oldest, *from, limit < BITE_MAX ? limit : BITE_MAX, rows, &n);
    for (uint32_t i = 0; i < n && rc == SQLITE_OK; i++) {
        if (rows[i].at < before) {
            rc = del(s, &rows[i]);
            deleted++;
        }
        *from = rows[i].seq;
    }
    *more |= deleted > 0;
    return rc;
}

int sq_retain_step(sq_store *s, uint32_t limit)
{
    int64_t now = s->host->api->unix_ms(s->host);
    bool more = false;
    int rc = SQLITE_OK;
    if (!s->retaining)
        s->retain_job = s->retain_event = 0;
    if (s->opt.keep_jobs_ms > 0)
        rc = bite(s, SQ_DONE_OLDEST, delete_job, &s->retain_job, now - s->opt.keep_jobs_ms, limit, &more);
    if (rc == SQLITE_OK && s->opt.keep_events_ms > 0) {
        int64_t before = now - s->opt.keep_events_ms;
        rc = bite(s, SQ_EVENTS_OLDEST, delete_event, &s->retain_event, before, limit, &more);
        if (rc == SQLITE_OK) {
            sqlite3_stmt *st = sq_stmt(&s->w, SQ_COUNTED_EXPIRE);
            sqlite3_bind_int64(st, 1, before);
            sqlite3_bind_int64(st, 2, limit);
            rc = sq_run(st);
            more |= rc == SQLITE_OK && sqlite3_changes(s->w.db) > 0;
        }
    }
    s->retaining = more && rc == SQLITE_OK;
    if (!s->retaining)
        s->retain_next_ms = s->host->api->now(s->host) / ODTO_MS + PASS_EVERY_MS;
    return rc;
}
