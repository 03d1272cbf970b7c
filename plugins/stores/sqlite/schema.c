/* schema.c — from a path to an open database of the current schema.
 *
 * Called by start() and stop() only, before the writer runs and after it has ended. Refuses what would lose
 * data later: a network file system, a folder without rights, a file of something else, a newer schema, a
 * database that another process uses. */
#include "store_sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

/* Each entry brings the schema from version i to i + 1, in one transaction with user_version. */
static const char *const migrations[SQ_SCHEMA_VERSION] = {
    /* 1: ids are 16-byte blobs, times Unix ms. A job's facts are written once, in `job`; its state is the one
     * of `pending`, `lease` and `done` that has a row with its seq. */
    "CREATE TABLE state(one INTEGER PRIMARY KEY, pending INTEGER, executing INTEGER, completed INTEGER,"
    " failed INTEGER, outbox INTEGER, next_outbox INTEGER, next_event INTEGER, total INTEGER,"
    " counted_completed INTEGER, counted_failed INTEGER, last_event INTEGER, probe INTEGER);"
    "INSERT INTO state VALUES(1, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0);"
    "CREATE TABLE job(seq INTEGER PRIMARY KEY, id BLOB, type TEXT, created_at INTEGER, priority INTEGER,"
    " run_at INTEGER, accepted_at INTEGER, expires_at INTEGER, max_attempts INTEGER, event_id BLOB,"
    " correlation_id BLOB, payload_at INTEGER, payload_n INTEGER, traceparent TEXT, idempotency_key TEXT,"
    " job_json TEXT, payload TEXT);"
    "CREATE UNIQUE INDEX job_id ON job(id);"
    "CREATE INDEX job_created ON job(created_at);"
    "CREATE TABLE pending(seq INTEGER PRIMARY KEY, type TEXT, priority INTEGER, run_at INTEGER,"
    " ready INTEGER, attempt INTEGER, lost INTEGER, lease INTEGER, mark INTEGER, updated_at INTEGER);"
    "CREATE INDEX pending_ready ON pending(ready, type, priority DESC, run_at) WHERE ready = 1;"
    "CREATE INDEX pending_delayed ON pending(ready, type, run_at) WHERE ready = 0;"
    "CREATE TABLE lease(seq INTEGER PRIMARY KEY, id BLOB, lease INTEGER, until INTEGER, owner TEXT,"
    " attempt INTEGER, lost INTEGER, mark INTEGER, started_at INTEGER);"
    "CREATE TABLE done(seq INTEGER PRIMARY KEY, status INTEGER, outcome INTEGER, attempt INTEGER,"
    " lost INTEGER, lease INTEGER, folded INTEGER, started_at INTEGER, finished_at INTEGER,"
    " failed_created INTEGER, host TEXT, result TEXT, error TEXT, log TEXT);"
    "CREATE INDEX done_failed ON done(failed_created) WHERE failed_created IS NOT NULL;"
    "CREATE TABLE attempt(n INTEGER PRIMARY KEY, job INTEGER, number INTEGER, outcome INTEGER,"
    " started_at INTEGER, finished_at INTEGER, host TEXT, error TEXT, log TEXT);"
    "CREATE INDEX attempt_job ON attempt(job);"
    "CREATE TABLE outbox(seq INTEGER PRIMARY KEY, event_id BLOB, topic TEXT, body TEXT);"
    "CREATE TABLE event(seq INTEGER PRIMARY KEY, event_id BLOB, job_id BLOB, kind INTEGER,"
    " occurred_at INTEGER, body TEXT);"
    "CREATE UNIQUE INDEX event_event_id ON event(event_id);"
    "CREATE INDEX event_job_id ON event(job_id);"
    "CREATE TABLE counted(n INTEGER PRIMARY KEY, event_id BLOB, at INTEGER);"
    "CREATE UNIQUE INDEX counted_event_id ON counted(event_id);"
    /* for people with the sqlite3 shell */
    "CREATE VIEW jobs AS SELECT j.seq, lower(hex(j.id)) AS id, j.type, CASE WHEN d.status = 3 THEN "
    "'COMPLETED'"
    " WHEN d.status = 4 THEN 'FAILED' WHEN l.seq IS NOT NULL THEN 'EXECUTING' ELSE 'PENDING' END AS status,"
    " datetime(j.created_at / 1000, 'unixepoch') AS created_at, j.job_json, d.result, d.error"
    " FROM job j LEFT JOIN done d USING(seq) LEFT JOIN lease l USING(seq);",
};

const char *sq_network_fs(long magic)
{
    static const struct {
        uint32_t magic;
        const char *name;
    } table[] = {
        {0x6969, "NFS"},        {0x517b, "SMB"},        {0xff534d42, "CIFS"},   {0xfe534d42, "SMB2"},
        {0x5346414f, "AFS"},    {0x6b414653, "kAFS"},   {0x73757245, "Coda"},   {0x564c, "NCP"},
        {0x01021997, "9p"},     {0x00c36400, "Ceph"},   {0x0bd00bd0, "Lustre"}, {0x01161970, "GFS2"},
        {0x7461636f, "OCFS2"},  {0x47504653, "GPFS"},   {0xaad7aaea, "PanFS"},  {0x013111a8, "IBRIX"},
        {0x786f4256, "vboxsf"}, {0xbacbacbc, "vmhgfs"},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (table[i].magic == (uint32_t)magic)
            return table[i].name;
    return NULL;
}

/* The folder of path, in dir (PATH_MAX bytes). */
static void folder_of(const char *path, char *dir)
{
    snprintf(dir, PATH_MAX, "%s", path);
    char *slash = strrchr(dir, '/');
    if (slash == NULL)
        snprintf(dir, PATH_MAX, ".");
    else if (slash == dir)
        dir[1] = '\0';
    else
        *slash = '\0';
}

static int check_folder(const sq_store *s, odto_error *err)
{
    char dir[PATH_MAX];
    folder_of(s->opt.path, dir);
    struct statfs fs;
    if (statfs(dir, &fs) != 0 && (errno != ENOENT || mkdir(dir, 0700) != 0 || statfs(dir, &fs) != 0)) {
        int code = odto_fail(err, -errno, "%s: the folder of the database can't be used", dir);
        odto_error_detail(err, "%s", strerror(-code));
        odto_error_hint(err, "create it, or set `path` of the store to another place");
        return code;
    }
    const char *network = sq_network_fs((long)fs.f_type);
    if (network != NULL) {
        int code = odto_fail(err, -EOPNOTSUPP, "%s is on a network file system (%s)", dir, network);
        odto_error_detail(err,
                          "SQLite's write-ahead log needs memory shared between processes, and locks and "
                          "fsync that hold; across a network it corrupts the database");
        odto_error_hint(err, "set `path` of the store to a local disk, or use the postgres store");
        return code;
    }
    if (eaccess(dir, W_OK | X_OK) != 0) {
        int code = odto_fail(err, -errno, "%s: no right to write in the folder of the database", dir);
        odto_error_detail(err, "%s; SQLite makes files beside the database", strerror(-code));
        odto_error_hint(err, "run the host as a user that may write there, or set `path`");
        return code;
    }
    if (eaccess(s->opt.path, F_OK) == 0 && eaccess(s->opt.path, R_OK | W_OK) != 0) {
        int code = odto_fail(err, -errno, "%s: no right to write the database", s->opt.path);
        odto_error_detail(err, "%s", strerror(-code));
        odto_error_hint(err, "run the host as the user that owns it");
        return code;
    }
    return 0;
}

/* One host per database: counts and leases are also kept in memory. The lock is a file of its own, because
 * closing any descriptor of the database itself would drop SQLite's locks on it (POSIX locks). */
static int take_lock(sq_store *s, odto_error *err)
{
    char name[PATH_MAX];
    snprintf(name, sizeof(name), "%s.lock", s->opt.path);
    int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        int code = odto_fail(err, -errno, "%s: the lock file can't be opened", name);
        odto_error_detail(err, "%s", strerror(-code));
        odto_error_hint(err, "check the rights of the folder and the file");
        return code;
    }
    char holder[32] = "";
    int rc = 0;
    for (int i = 0; i < 50 && (rc = flock(fd, LOCK_EX | LOCK_NB)) != 0 && errno == EWOULDBLOCK; i++)
        usleep(10000); /* the previous generation may just be closing */
    if (rc != 0) {
        ssize_t n = pread(fd, holder, sizeof(holder) - 1, 0);
        holder[n > 0 ? n : 0] = '\0';
        holder[strcspn(holder, "\n")] = '\0';
        close(fd);
        odto_fail(err, -EBUSY, "%s is in use by another process", s->opt.path);
        odto_error_detail(err, "the lock %s is held%s%s", name, holder[0] ? " by process " : "", holder);
        odto_error_hint(err, "stop that process, or give this host another data directory");
        return -EBUSY;
    }
    int n = snprintf(holder, sizeof(holder), "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, holder, (size_t)n, 0) != n) {
        /* the number only helps the message of the other one */
    }
    s->lock_fd = fd;
    return 0;
}

static int pragma_int(sqlite3 *db, const char *sql, int64_t *out)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(db, sql, -1, &st, NULL);
    if (rc == SQLITE_OK && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        *out = sqlite3_column_int64(st, 0);
        rc = SQLITE_OK;
    }
    sqlite3_finalize(st);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* Is this our database (or a new, empty one), of a version we know? */
static int check_identity(const sq_store *s, int64_t *version, odto_error *err)
{
    sqlite3 *db = s->w.db;
    int64_t application = 0, objects = 0;
    int rc = pragma_int(db, "PRAGMA application_id", &application);
    if (rc == SQLITE_OK)
        rc = pragma_int(db, "PRAGMA user_version", version);
    if (rc == SQLITE_OK)
        rc = pragma_int(db, "SELECT count(*) FROM sqlite_schema", &objects);
    if (rc != SQLITE_OK)
        return sq_fail(s, db, rc, err, "the database can't be read");
    if (application != SQ_APPLICATION_ID && (objects > 0 || application != 0)) {
        odto_fail(err, -EINVAL, "%s is a database of another program", s->opt.path);
        odto_error_detail(err, "application_id 0x%llx, wanted 0x%x", (long long)application,
                          SQ_APPLICATION_ID);
        odto_error_hint(err, "set `path` of the store to another file");
        return -EINVAL;
    }
    if (*version > SQ_SCHEMA_VERSION) {
        odto_fail(err, -EPROTO, "%s was written by a newer odto", s->opt.path);
        odto_error_detail(err, "its schema has version %lld, this build knows up to %d", (long long)*version,
                          SQ_SCHEMA_VERSION);
        odto_error_hint(err, "install that newer version again, or set `path` to a new file");
        return -EPROTO;
    }
    return 0;
}

static int migrate(const sq_store *s, int64_t version, odto_error *err)
{
    sqlite3 *db = s->w.db;
    int rc = SQLITE_OK;
    for (; rc == SQLITE_OK && version < SQ_SCHEMA_VERSION; version++) {
        char after[128];
        snprintf(after, sizeof(after), "PRAGMA application_id = %d; PRAGMA user_version = %lld;",
                 SQ_APPLICATION_ID, (long long)version + 1);
        rc = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
        if (rc == SQLITE_OK)
            rc = sqlite3_exec(db, migrations[version], NULL, NULL, NULL);
        if (rc == SQLITE_OK)
            rc = sqlite3_exec(db, after, NULL, NULL, NULL);
        if (rc == SQLITE_OK)
            rc = sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
    }
    if (rc == SQLITE_OK)
        return 0;
    int code = sq_fail(s, db, rc, err, "the schema can't be brought up to date");
    if (!sqlite3_get_autocommit(db))
        sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    return code;
}

static int load_state(sq_store *s, odto_error *err)
{
    sqlite3_stmt *st = sq_stmt(&s->w, SQ_STATE_LOAD);
    int rc = st != NULL ? sqlite3_step(st) : sqlite3_errcode(s->w.db);
    if (rc == SQLITE_ROW) {
        int64_t *out[] = {&s->cur.pending,        &s->cur.executing, &s->cur.completed,
                          &s->cur.failed,         &s->cur.outbox,    &s->cur.next_outbox,
                          &s->cur.next_event,     &s->cur.total,     &s->cur.counted_completed,
                          &s->cur.counted_failed, &s->cur.last_event};
        for (size_t i = 0; i < sizeof(out) / sizeof(out[0]); i++)
            *out[i] = sqlite3_column_int64(st, (int)i);
        s->committed = s->cur;
    }
    sqlite3_reset(st);
    if (rc == SQLITE_ROW)
        return 0;
    return sq_fail(s, s->w.db, rc == SQLITE_DONE ? SQLITE_CORRUPT : rc, err, "table `state` can't be read");
}

/* The first transaction takes the write lock: another writer shows now, not at the first job. */
static int open_writer(sq_store *s, odto_error *err)
{
    int64_t version = 0;
    int fd = open(s->opt.path, O_RDWR | O_CREAT | O_CLOEXEC, 0600); /* SQLite would let others read it */
    if (fd >= 0)
        close(fd); /* before SQLite has locks on the file, see take_lock() */
    int code = sq_conn_open(s, &s->w, s->opt.cache_bytes, false, err);
    if (code == 0)
        code = check_identity(s, &version, err);
    if (code != 0)
        return code;
    int rc = sqlite3_exec(s->w.db, "PRAGMA journal_mode = WAL", NULL, NULL, NULL);
    if (rc != SQLITE_OK)
        return sq_fail(s, s->w.db, rc, err, "the write-ahead log can't be switched on");
    code = migrate(s, version, err);
    if (code != 0)
        return code;
    rc = sqlite3_exec(s->w.db, "BEGIN IMMEDIATE; COMMIT", NULL, NULL, NULL);
    if (rc != SQLITE_OK)
        return sq_fail(s, s->w.db, rc, err, "no write lock on the database");
    return load_state(s, err);
}

int sq_schema_open(sq_store *s, odto_error *err)
{
    /* One process-wide lock less on each allocation; refused, harmlessly, when SQLite is already in use. */
    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    s->lock_fd = -1;
    int code = check_folder(s, err);
    if (code == 0)
        code = take_lock(s, err);
    if (code == 0)
        code = open_writer(s, err);
    if (code != 0)
        sq_schema_close(s);
    return code;
}

void sq_schema_close(sq_store *s)
{
    sq_conn_close(&s->c);
    sq_conn_close(&s->w); /* the last one: moves what is in the log into the database and removes the log */
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    s->lock_fd = -1;
}
