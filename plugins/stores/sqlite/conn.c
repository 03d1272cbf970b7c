/* conn.c — connections of the sqlite store: opening, statements prepared on first use, the mapping of SQLite
 * errors, and the pool of readers.
 *
 * A connection is used by one thread at a time (SQLITE_OPEN_NOMUTEX): the writer's and the checkpointer's by
 * their threads, a reader's by whoever has taken it. sq_readers.lock guards only who has which. */
#include "store_sqlite.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

sqlite3_stmt *sq_stmt(sq_conn *c, sq_sql which)
{
    sqlite3_stmt *st = c->st[which];
    if (st == NULL &&
        sqlite3_prepare_v3(c->db, sq_sql_text[which], -1, SQLITE_PREPARE_PERSISTENT, &st, NULL) == SQLITE_OK)
        c->st[which] = st;
    return st;
}

int sq_run(sqlite3_stmt *st)
{
    if (st == NULL)
        return SQLITE_IOERR; /* could not be prepared: the schema was not readable or memory is out */
    int rc = sqlite3_step(st);
    int rc2 = sqlite3_reset(st);
    return rc == SQLITE_DONE || rc == SQLITE_ROW ? rc2 : (rc2 != SQLITE_OK ? rc2 : rc);
}

int sq_errno(sqlite3 *db, int rc)
{
    int os = sqlite3_system_errno(db);
    switch (rc & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return 0;
    case SQLITE_FULL:
        return -ENOSPC;
    case SQLITE_IOERR:
        if (rc == SQLITE_IOERR_NOMEM)
            return -ENOMEM;
        return os == ENOSPC || os == EDQUOT ? -ENOSPC : -EIO;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return -EAGAIN;
    case SQLITE_NOMEM:
        return -ENOMEM;
    case SQLITE_READONLY:
    case SQLITE_PERM:
        return -EROFS;
    case SQLITE_TOOBIG:
        return -E2BIG;
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
        return -EINVAL;
    case SQLITE_CANTOPEN:
        return os != 0 ? -os : -EIO;
    default:
        return -EIO;
    }
}

int sq_fail(const sq_store *s, sqlite3 *db, int rc, odto_error *err, const char *doing)
{
    int code = sq_errno(db, rc);
    odto_fail(err, code, "%s: %s", s->opt.path, doing);
    odto_error_detail(err, "SQLite: %s (code %d)", db != NULL ? sqlite3_errmsg(db) : sqlite3_errstr(rc), rc);
    if ((rc & 0xff) == SQLITE_CORRUPT || (rc & 0xff) == SQLITE_NOTADB)
        odto_error_hint(err,
                        "the file is damaged: stop the host, keep a copy, save what can be read with "
                        "`sqlite3 %s .recover | sqlite3 new.db`, or put back a backup",
                        s->opt.path);
    else if (code == -EAGAIN)
        odto_error_hint(err, "another process holds a lock on it (see `fuser %s`): end that one",
                        s->opt.path);
    else if (code == -ENOSPC)
        odto_error_hint(err, "make room on the disk or set `path` to another one");
    else if (code == -EROFS || code == -EACCES)
        odto_error_hint(err, "give the host's user the right to write the file and its folder");
    return code;
}

int sq_bind_text(sqlite3_stmt *st, int i, odto_slice v)
{
    if (v.n == 0)
        return sqlite3_bind_null(st, i);
    return sqlite3_bind_text64(st, i, v.p, v.n, SQLITE_STATIC, SQLITE_UTF8);
}

int sq_bind_word(sqlite3_stmt *st, int i, odto_slice v)
{
    return sqlite3_bind_text64(st, i, v.n > 0 ? v.p : "", v.n, SQLITE_STATIC, SQLITE_UTF8);
}

void sq_bind_uuid(sqlite3_stmt *st, int i, const odto_uuid *u)
{
    sqlite3_bind_blob(st, i, u->b, (int)sizeof(u->b), SQLITE_STATIC);
}

odto_slice sq_text(sqlite3_stmt *st, int column)
{
    const void *p = sqlite3_column_blob(st, column); /* as stored: no conversion, no copy */
    return odto_slice_of(p, (size_t)sqlite3_column_bytes(st, column));
}

odto_uuid sq_uuid(sqlite3_stmt *st, int column)
{
    odto_uuid u = {{0}};
    const void *p = sqlite3_column_blob(st, column);
    if (p != NULL && sqlite3_column_bytes(st, column) == (int)sizeof(u.b))
        memcpy(u.b, p, sizeof(u.b));
    return u;
}

/* Settings that hold for the connection, not the file. secure_delete is on in Debian's build and would write
 * every page that a delete empties. */
static int configure(const sq_store *s, sq_conn *c, int64_t cache_bytes, bool query_only)
{
    char sql[320];
    snprintf(sql, sizeof(sql),
             "PRAGMA synchronous = %s; PRAGMA cache_size = -%lld; PRAGMA secure_delete = OFF; "
             "PRAGMA temp_store = MEMORY; PRAGMA foreign_keys = OFF; PRAGMA wal_autocheckpoint = 0; "
             "PRAGMA trusted_schema = OFF; PRAGMA query_only = %d;",
             s->opt.sync ? "FULL" : "OFF", (long long)(cache_bytes / 1024), query_only ? 1 : 0);
    return sqlite3_exec(c->db, sql, NULL, NULL, NULL);
}

int sq_conn_open(const sq_store *s, sq_conn *c, int64_t cache_bytes, bool query_only, odto_error *err)
{
    int flags =
        SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE | SQLITE_OPEN_EXRESCODE;
    if (!query_only)
        flags |= SQLITE_OPEN_CREATE;
    int rc = sqlite3_open_v2(s->opt.path, &c->db, flags, s->opt.vfs);
    if (rc == SQLITE_OK) {
        sqlite3_busy_timeout(c->db, 2000);
        rc = configure(s, c, cache_bytes, query_only);
    }
    if (rc == SQLITE_OK)
        return 0;
    int code = sq_fail(s, c->db, rc, err, "the database can't be opened");
    sq_conn_close(c);
    return code;
}

void sq_conn_close(sq_conn *c)
{
    for (int i = 0; i < SQ_SQL_COUNT; i++)
        sqlite3_finalize(c->st[i]);
    sqlite3_close(c->db);
    memset(c, 0, sizeof(*c));
}

int sq_readers_init(sq_readers *r, uint32_t n)
{
    memset(r, 0, sizeof(*r));
    r->n = n;
    int rc = pthread_mutex_init(&r->lock, NULL);
    if (rc == 0 && (rc = pthread_cond_init(&r->freed, NULL)) != 0)
        pthread_mutex_destroy(&r->lock);
    return -rc;
}

/* Waits for readers in use. */
void sq_readers_close(sq_readers *r)
{
    pthread_mutex_lock(&r->lock);
    for (uint32_t i = 0; i < r->n; i++) {
        while (r->busy[i])
            pthread_cond_wait(&r->freed, &r->lock);
        sq_conn_close(&r->conn[i]);
    }
    pthread_mutex_unlock(&r->lock);
}

void sq_readers_destroy(sq_readers *r)
{
    pthread_cond_destroy(&r->freed);
    pthread_mutex_destroy(&r->lock);
}

/* An idle connection, one already open if there is. Caller holds the lock. */
static sq_conn *find_idle(sq_readers *r)
{
    int fresh = -1;
    for (uint32_t i = 0; i < r->n; i++) {
        if (r->busy[i])
            continue;
        if (r->conn[i].db != NULL) {
            r->busy[i] = true;
            return &r->conn[i];
        }
        fresh = (int)i;
    }
    if (fresh < 0)
        return NULL;
    r->busy[fresh] = true;
    return &r->conn[fresh];
}

sq_conn *sq_reader_take(sq_store *s, odto_error *err)
{
    pthread_mutex_lock(&s->lock);
    bool running = s->running;
    pthread_mutex_unlock(&s->lock);
    if (!running) {
        odto_fail(err, -ECANCELED, "%s: the store is not running", s->opt.path);
        return NULL;
    }
    sq_readers *r = &s->readers;
    sq_conn *c = NULL;
    pthread_mutex_lock(&r->lock);
    while ((c = find_idle(r)) == NULL)
        pthread_cond_wait(&r->freed, &r->lock);
    pthread_mutex_unlock(&r->lock);
    if (c->db == NULL && sq_conn_open(s, c, 512 * 1024, true, err) != 0) {
        sq_reader_give(s, c);
        return NULL;
    }
    return c;
}

void sq_reader_give(sq_store *s, sq_conn *c)
{
    sq_readers *r = &s->readers;
    pthread_mutex_lock(&r->lock);
    r->busy[c - r->conn] = false;
    pthread_cond_broadcast(&r->freed); /* a taker, or close waiting for this one */
    pthread_mutex_unlock(&r->lock);
}
