/* checkpoint.c — keeps the write-ahead log bounded without stopping the writer.
 *
 * The log starts again at its beginning only when all of it has been moved into the database, which a passive
 * checkpoint beside a busy writer never reaches. So: when the log passes wal_limit the checkpointer thread
 * moves the bulk on its own connection, again while much is left, and then the writer, between two commits,
 * moves the little that came meanwhile. On a machine so busy that the checkpointer does not get there, the
 * writer waits for it at some times the limit.
 *
 * Lock: sq_store.lock for the state; wal_frames is atomic. */
#include "store_sqlite.h"

#define PASSES    4
#define BEHIND    4 /* times the limit: there the writer waits for the checkpointer, at most BEHIND_NS */
#define BEHIND_NS (2 * ODTO_SEC)

static int count_frames(void *arg, sqlite3 *db, const char *name, int frames)
{
    (void)db;
    (void)name;
    sq_store *s = arg;
    __atomic_store_n(&s->wal_frames, frames, __ATOMIC_RELAXED); /* a size to decide by: pairs with nothing */
    return SQLITE_OK;
}

static int frames_limit(const sq_store *s)
{
    return (int)(s->opt.wal_bytes / 4096);
}

void sq_checkpoint_watch(sq_store *s)
{
    s->wal_frames = 0;
    s->checkpoint_at = frames_limit(s);
    s->checkpoint = SQ_CKPT_IDLE;
    sqlite3_wal_hook(s->w.db, count_frames, s);
}

/* One passive checkpoint: the frames that are left to move, or -1 after a failure. */
static int pass(sq_store *s, sqlite3 *db)
{
    int in_log = 0, moved = 0;
    int rc = sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_PASSIVE, &in_log, &moved);
    if (rc != SQLITE_OK) {
        if (rc != SQLITE_BUSY)
            odto_log(s->host, ODTO_WARN, "store %s: moving the log into the database: %s", s->opt.path,
                     sqlite3_errmsg(db));
        return -1;
    }
    return __atomic_load_n(&s->wal_frames, __ATOMIC_RELAXED) - moved;
}

void sq_checkpoint_main(void *store)
{
    sq_store *s = store;
    pthread_mutex_lock(&s->lock);
    for (;;) {
        while (!s->stopping && s->checkpoint != SQ_CKPT_ASKED)
            pthread_cond_wait(&s->checkpoint_wake, &s->lock);
        if (s->stopping)
            break;
        pthread_mutex_unlock(&s->lock);
        int left = frames_limit(s);
        for (int i = 0; i < PASSES && left > frames_limit(s) / 16; i++)
            left = pass(s, s->c.db);
        pthread_mutex_lock(&s->lock);
        s->checkpoint = SQ_CKPT_MOVED;
        pthread_cond_signal(&s->checkpoint_wake); /* the writer, if it waits */
    }
    pthread_mutex_unlock(&s->lock);
}

/* Wait until the checkpointer has done what it was asked for. Lock held. */
static void wait_moved(sq_store *s)
{
    int64_t at = odto_now_ns() + BEHIND_NS;
    struct timespec until = {at / ODTO_SEC, at % ODTO_SEC};
    int rc = 0;
    while (s->checkpoint == SQ_CKPT_ASKED && !s->stopping && rc == 0)
        rc = pthread_cond_timedwait(&s->checkpoint_wake, &s->lock, &until);
}

void sq_checkpoint_after_commit(sq_store *s)
{
    int frames = __atomic_load_n(&s->wal_frames, __ATOMIC_RELAXED); /* written by this thread */
    if (frames < s->checkpoint_at)
        return;
    bool rest = false;
    pthread_mutex_lock(&s->lock);
    if (s->checkpoint == SQ_CKPT_IDLE) {
        s->checkpoint = SQ_CKPT_ASKED;
        pthread_cond_signal(&s->checkpoint_wake);
    } else if (s->checkpoint == SQ_CKPT_ASKED && frames / BEHIND >= s->checkpoint_at) {
        wait_moved(s);
    }
    if (s->checkpoint == SQ_CKPT_MOVED) {
        s->checkpoint = SQ_CKPT_IDLE;
        rest = true;
    }
    pthread_mutex_unlock(&s->lock);
    if (!rest)
        return;
    /* a reader of an old snapshot, or a failing disk: no new try before the log has grown by a quarter */
    s->checkpoint_at = pass(s, s->w.db) == 0 ? frames_limit(s) : frames + frames_limit(s) / 4;
}
