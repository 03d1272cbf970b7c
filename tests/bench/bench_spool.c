/* bench_spool — durable routes against the disk and SQLite, in the same run.
 *
 *   bench_spool [--dir DIR] [--seconds S] [--size BYTES]
 *
 * Group commit: a producer keeps a window of 4096 unconfirmed events, a consumer takes and acknowledges them.
 * Sequential: one event at a time, each waited for. Beside them what the disk gives to a bare loop of pwrite
 * and fdatasync on a preallocated file, with as many bytes a commit, and SQLite (WAL, synchronous=FULL)
 * inserting the same bodies, as many a transaction. */
#include "route.h"
#include "spool.h"
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int64_t run_ns = 2 * ODTO_SEC;
static size_t body_size = 256;
static char body[65536], dir[256] = "bench-spool.tmp";
#define WINDOW 4096u

struct bench {
    struct event_pool *pool;
    odto_route *route;
    sem_t window;
    uint64_t done, failed; /* atomic */
    bool stop;             /* atomic */
};

static void on_done(void *arg, int result)
{
    struct bench *b = arg;
    __atomic_fetch_add(&b->done, 1, __ATOMIC_RELAXED); /* counts: read after the close */
    __atomic_fetch_add(&b->failed, result != 0, __ATOMIC_RELAXED);
    sem_post(&b->window);
}

static void *consume(void *arg)
{
    struct bench *b = arg;
    route_consumer *c = route_attach(b->route, "bench", 1024, NULL);
    odto_lease l[64];
    while (!__atomic_load_n(&b->stop, __ATOMIC_ACQUIRE)) {
        size_t n = consumer_take(c, l, 64, odto_now_ns() + 50 * ODTO_MS);
        route_settle(l, n, ODTO_ACK, NULL);
    }
    consumer_detach(c, ROUTE_DETACH_STOPPED);
    return NULL;
}

struct result {
    double rate, per_commit, us;
};

static struct result spool_rate(unsigned window)
{
    struct bench b = {.pool = event_pool_new(0)};
    struct route_config conf = {
        .topic = "bench", .transport = ROUTE_SPOOL, .pool = b.pool, .dir = dir, .sync = true};
    odto_error err;
    if (route_open(&conf, &b.route, &err)) {
        fprintf(stderr, "%s\n", err.message);
        exit(1);
    }
    sem_init(&b.window, 0, window);
    pthread_t t;
    pthread_create(&t, NULL, consume, &b);
    uint64_t n = 0;
    int64_t t0 = odto_now_ns();
    for (; odto_now_ns() - t0 < run_ns; n++) {
        odto_event *e = event_make(b.pool, odto_slice_of(body, body_size), 0);
        sem_wait(&b.window);
        if (route_publish(b.route, &e, 1, ODTO_PUBLISH_WAIT | ROUTE_PUBLISH_MOVE, on_done, &b, NULL))
            exit(1);
    }
    for (unsigned i = 0; i < window; i++)
        sem_wait(&b.window);
    int64_t t1 = odto_now_ns();
    __atomic_store_n(&b.stop, true, __ATOMIC_RELEASE);
    pthread_join(t, NULL);
    uint64_t commits = route_commits(b.route);
    route_close(b.route);
    event_pool_free(b.pool);
    sem_destroy(&b.window);
    if (b.failed)
        printf("  %llu publishes failed\n", (unsigned long long)b.failed);
    double s = (double)(t1 - t0) / 1e9;
    return (struct result){(double)n / s, (double)n / (double)commits, s / (double)n * 1e6};
}

static double disk_rate(size_t events)
{
    char path[300];
    size_t bytes = spool_record_bytes(body_size) * events, file = 16 << 20;
    snprintf(path, sizeof path, "%s/raw", dir);
    char *p = malloc(file);
    memset(p, 'y', file);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || pwrite(fd, p, file, 0) != (ssize_t)file || fsync(fd))
        exit(1);
    uint64_t n = 0;
    size_t at = 0;
    int64_t t0 = odto_now_ns(), t1;
    do {
        if (at + bytes > file)
            at = 0;
        p[at]++;
        if (pwrite(fd, p + at, bytes, (off_t)at) != (ssize_t)bytes || fdatasync(fd))
            exit(1);
        at += bytes;
        n += events;
        t1 = odto_now_ns();
    } while (t1 - t0 < run_ns);
    close(fd);
    unlink(path);
    free(p);
    return (double)n / ((double)(t1 - t0) / 1e9);
}

static double sqlite_rate(size_t events)
{
    char path[300];
    snprintf(path, sizeof path, "%s/raw.db", dir);
    sqlite3 *db;
    sqlite3_stmt *put;
    if (sqlite3_open(path, &db) ||
        sqlite3_exec(db,
                     "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=4000;"
                     "DROP TABLE IF EXISTS e; CREATE TABLE e(seq INTEGER PRIMARY KEY, body BLOB)",
                     NULL, NULL, NULL) ||
        sqlite3_prepare_v2(db, "INSERT INTO e(body) VALUES(?)", -1, &put, NULL))
        exit(1);
    sqlite3_bind_blob(put, 1, body, (int)body_size, SQLITE_STATIC);
    uint64_t n = 0;
    int64_t t0 = odto_now_ns(), t1;
    do {
        sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
        for (size_t i = 0; i < events; i++) {
            if (sqlite3_step(put) != SQLITE_DONE)
                exit(1);
            sqlite3_reset(put);
        }
        if (sqlite3_exec(db, "COMMIT", NULL, NULL, NULL))
            exit(1);
        n += events;
        t1 = odto_now_ns();
    } while (t1 - t0 < run_ns);
    sqlite3_finalize(put);
    sqlite3_close(db);
    return (double)n / ((double)(t1 - t0) / 1e9);
}

static void clean(void)
{
    char command[400];
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    if (system(command) != 0)
        perror(dir);
}

int main(int argc, char **argv)
{
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--seconds"))
            run_ns = (int64_t)(atof(argv[i + 1]) * 1e9);
        else if (!strcmp(argv[i], "--size"))
            body_size = (size_t)atoi(argv[i + 1]) % sizeof body;
        else if (!strcmp(argv[i], "--dir"))
            snprintf(dir, sizeof dir, "%s/bench-spool.tmp", argv[i + 1]);
    }
    memset(body, 'x', sizeof body);
    clean();
    printf("spool route, %zu-byte events, fdatasync before each confirmation\n", body_size);
    struct result group = spool_rate(WINDOW);
    size_t per = group.per_commit < 1 ? 1 : (size_t)group.per_commit;
    double disk = disk_rate(per), sqlite = sqlite_rate(per);
    struct result one = spool_rate(1);
    double disk_one = disk_rate(1), sqlite_one = sqlite_rate(1);
    clean();
    printf("  group commit, window %u        %9.0f events/s, %zu a commit\n", WINDOW, group.rate, per);
    printf("  disk, as many bytes a commit     %9.0f events/s, share %.2f\n", disk, group.rate / disk);
    printf("  SQLite, as many a transaction    %9.0f events/s, share %.2f\n", sqlite, group.rate / sqlite);
    printf("  one at a time                    %9.0f events/s, %.0f us\n", one.rate, one.us);
    printf("  disk                             %9.0f events/s, %.0f us, share %.2f\n", disk_one,
           1e6 / disk_one, one.rate / disk_one);
    printf("  SQLite                           %9.0f events/s, %.0f us, share %.2f\n", sqlite_one,
           1e6 / sqlite_one, one.rate / sqlite_one);
    return 0;
}
