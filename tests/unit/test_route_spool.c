/* Durable routes: confirmed means kept, through restarts, kill -9, full disks and consumers that lag. */
#include "route_util.h"
#include "spool_util.h"
#include <errno.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static struct event_pool *pool;
static struct route_config conf;
static struct faults faults;
static char dir[64], topic_dir[80];
static odto_error error;
#define SOON (odto_now_ns() + 20 * ODTO_SEC)

static void setup(void)
{
    pool = event_pool_new(0);
    temp_dir(dir, sizeof dir);
    snprintf(topic_dir, sizeof topic_dir, "%s/t", dir);
    faults_init(&faults);
    conf = (struct route_config){.topic = "t",
                                 .transport = ROUTE_SPOOL,
                                 .pool = pool,
                                 .version = "0.1.0",
                                 .dir = dir,
                                 .sync = true,
                                 .io = &faults.io};
}

static void teardown(void)
{
    remove_dir(dir);
    faults_free(&faults);
    event_pool_free(pool);
}

static odto_route *open_route(void)
{
    odto_route *r = NULL;
    int rc = route_open(&conf, &r, &error);
    ck_assert_msg(rc == 0, "%s", error.message);
    return r;
}

static odto_route_stats stats_of(odto_route *r)
{
    odto_route_stats s;
    route_get_stats(r, &s);
    return s;
}

/* The outcome of publishes. */
struct outcome {
    int64_t done, failed; /* atomic */
    int last;
};

static void on_done(void *arg, int result)
{
    struct outcome *o = arg;
    __atomic_store_n(&o->last, result, __ATOMIC_RELAXED);
    if (result)
        __atomic_fetch_add(&o->failed, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&o->done, 1, __ATOMIC_RELEASE);
}

static void wait_done(struct outcome *o, int64_t n)
{
    int64_t end = SOON;
    while (__atomic_load_n(&o->done, __ATOMIC_ACQUIRE) < n && odto_now_ns() < end)
        usleep(200);
    ck_assert_int_ge(__atomic_load_n(&o->done, __ATOMIC_ACQUIRE), n);
}

/* Publish from..to-1 and wait until they are durable. */
static void publish_durable(odto_route *r, uint64_t from, uint64_t to)
{
    struct outcome o = {0};
    for (uint64_t i = from; i < to; i++)
        ck_assert_int_eq(publish_number(pool, r, i, ODTO_PUBLISH_WAIT, on_done, &o), 0);
    wait_done(&o, (int64_t)(to - from));
    ck_assert_int_eq(o.failed, 0);
}

/* Take and acknowledge everything there is, in order from..to-1. */
static void expect_all(route_consumer *c, uint64_t from, uint64_t to)
{
    odto_lease l[100];
    while (from < to) {
        size_t n = consumer_take(c, l, 100, SOON);
        ck_assert_uint_gt(n, 0);
        for (size_t i = 0; i < n; i++)
            ck_assert_uint_eq(number_of(l[i].event), from++);
        route_settle(l, n, ODTO_ACK, NULL);
    }
    ck_assert_uint_eq(from, to);
    ck_assert_uint_eq(consumer_take(c, l, 1, 0), 0);
}

START_TEST(confirmed_survives_a_restart)
{
    odto_route *r = open_route();
    publish_durable(r, 0, 500);
    ck_assert_uint_eq(stats_of(r).published, 500);
    route_close(r);
    r = open_route();
    ck_assert_uint_eq(stats_of(r).depth, 500);
    route_consumer *c = route_attach(r, "g", 0, NULL);
    odto_lease l[64];
    ck_assert_uint_eq(consumer_take(c, l, 64, 0), 64);
    route_settle(l, 60, ODTO_ACK, NULL);
    route_settle(l + 60, 2, ODTO_RETURN, "later");
    consumer_detach(c, ROUTE_DETACH_STOPPED);
    route_close(r);
    r = open_route();
    ck_assert_uint_eq(stats_of(r).depth, 440);
    c = route_attach(r, "g", 0, NULL);
    ck_assert_uint_eq(consumer_take(c, l, 5, 0), 5);
    for (size_t i = 0; i < 5; i++) {
        ck_assert_uint_eq(number_of(l[i].event), 60 + i);
        ck_assert_uint_eq(l[i].attempt, i < 2 ? 2 : 1); /* returned; given back in order; never taken */
    }
    consumer_detach(c, ROUTE_DETACH_STOPPED);
    c = route_attach(r, "g", 0, NULL);
    expect_all(c, 60, 500);
    ck_assert_uint_eq(stats_of(r).depth, 0);
    consumer_detach(c, ROUTE_DETACH_STOPPED);
    route_close(r);
}
END_TEST

START_TEST(a_backlog_takes_no_memory)
{
    enum { N = 60000 };
    conf.sync = false;
    odto_route *r = open_route();
    route_consumer *c = route_attach(r, "g", 0, NULL);
    publish_durable(r, 0, N);
    struct event_pool_stats p;
    event_pool_stats(pool, &p);
    ck_assert_uint_le(p.bytes, 12 << 20);
    ck_assert_uint_eq(stats_of(r).depth, N);
    ck_assert_uint_gt(stats_of(r).bytes_on_disk, N * 64);
    expect_all(c, 0, N);
    publish_durable(r, N, N + 10); /* caught up: live again */
    expect_all(c, N, N + 10);
    event_pool_stats(pool, &p);
    ck_assert_uint_le(p.bytes, 12 << 20);
    consumer_detach(c, ROUTE_DETACH_STOPPED);
    route_close(r);
}
END_TEST

struct mover {
    odto_route *r;
    uint64_t from, to, seen;
    const char *group;
    bool failed;
};

static void *mover_publish(void *arg)
{
    struct mover *m = arg;
    for (uint64_t i = m->from; i < m->to; i++)
        if (publish_number(pool, m->r, i, ODTO_PUBLISH_WAIT, NULL, NULL) != 0)
            m->failed = true;
    return NULL;
}

static void *mover_consume(void *arg)
{
    struct mover *m = arg;
    route_consumer *c = route_attach(m->r, m->group, 64, NULL);
    odto_lease l[64];
    unsigned seed = 1;
    while (m->seen < m->to) {
        size_t n = consumer_take(c, l, 64, SOON);
        for (size_t i = 0; i < n; i++)
            m->failed = m->failed || number_of(l[i].event) != m->seen++;
        route_settle(l, n, ODTO_ACK, NULL);
        if (rand_r(&seed) % 50 == 0)
            usleep(3000); /* fall behind now and then */
        if (!n)
            break;
    }
    consumer_detach(c, ROUTE_DETACH_STOPPED);
    return NULL;
}

/* Producer and two groups at once, falling behind and catching up: everything once, in order, for each. */
START_TEST(groups_follow_a_live_producer)
{
    conf.sync = false;
    odto_route *r = open_route();
    const char *names[] = {"a", "b"};
    ck_assert_int_eq(route_groups(r, names, 2), 0);
    struct mover m[3] = {
        {.r = r, .to = 60000}, {.r = r, .to = 60000, .group = "a"}, {.r = r, .to = 60000, .group = "b"}};
    pthread_t t[3];
    pthread_create(&t[0], NULL, mover_publish, &m[0]);
    pthread_create(&t[1], NULL, mover_consume, &m[1]);
    pthread_create(&t[2], NULL, mover_consume, &m[2]);
    for (int i = 0; i < 3; i++) {
        pthread_join(t[i], NULL);
        ck_assert(!m[i].failed);
    }
    ck_assert_uint_eq(m[1].seen, 60000);
    ck_assert_uint_eq(m[2].seen, 60000);
    ck_assert_int_eq(route_wait_idle(r, SOON), 0);
    route_close(r);
    r = open_route();
    ck_assert_uint_eq(stats_of(r).depth, 0);
    route_close(r);
}
END_TEST

START_TEST(forgotten_group_frees_its_events)
{
    odto_route *r = open_route();
    const char *names[] = {"a", "b"};
    ck_assert_int_eq(route_groups(r, names, 2), 0);
    publish_durable(r, 0, 50);
    route_consumer *a = route_attach(r, "a", 0, NULL);
    expect_all(a, 0, 50);
    ck_assert_uint_eq(stats_of(r).depth, 50);
    ck_assert_int_eq(route_groups(r, names, 1), 0);
    ck_assert_uint_eq(stats_of(r).depth, 0);
    consumer_detach(a, ROUTE_DETACH_STOPPED);
    route_close(r);
    r = open_route();
    ck_assert_uint_eq(stats_of(r).depth, 0);
    publish_durable(r, 50, 60);
    a = route_attach(r, "a", 0, NULL);
    expect_all(a, 50, 60);
    consumer_detach(a, ROUTE_DETACH_STOPPED);
    route_close(r);
}
END_TEST

START_TEST(disk_error_refuses_and_recovers)
{
    odto_route *r = open_route();
    route_consumer *c = route_attach(r, "g", 0, NULL);
    publish_durable(r, 0, 5);
    fault_set(&faults, FAULT_SYNC, 0, -ENOSPC, true);
    struct outcome o = {0};
    ck_assert_int_eq(publish_number(pool, r, 100, 0, on_done, &o), 0);
    wait_done(&o, 1);
    ck_assert_int_eq(o.last, -ENOSPC);
    ck_assert_int_eq(publish_number(pool, r, 101, 0, on_done, &o), -ENOSPC); /* at once, for a while */
    ck_assert_uint_eq(stats_of(r).depth, 5);
    fault_set(&faults, FAULT_SYNC, -1, 0, false);
    int64_t end = SOON;
    int rc;
    while ((rc = publish_number(pool, r, 5, 0, on_done, &o)) == -ENOSPC && odto_now_ns() < end)
        usleep(5000);
    ck_assert_int_eq(rc, 0);
    wait_done(&o, 2);
    ck_assert_int_eq(o.last, 0);
    expect_all(c, 0, 6);
    consumer_detach(c, ROUTE_DETACH_STOPPED);
    route_close(r);
}
END_TEST

START_TEST(bounded_by_bytes)
{
    conf.max_bytes = 1 << 20;
    conf.sync = false;
    odto_route *r = open_route();
    struct outcome o = {0};
    uint64_t n = 0;
    int rc;
    while (!(rc = publish_number(pool, r, n, 0, on_done, &o)) && n < 100000)
        n++;
    ck_assert_int_eq(rc, -EAGAIN);
    wait_done(&o, (int64_t)n);
    ck_assert_int_eq(o.failed, 0);
    ck_assert_uint_ge(n, 8000); /* of 10,082: an eighth of each segment may stay unused */
    ck_assert_uint_le(dir_bytes(topic_dir, "seg-"), (1 << 20) + (512 << 10));
    odto_event *big = numbered(pool, 0, 600 << 10);
    ck_assert_int_eq(route_publish(r, &big, 1, ODTO_PUBLISH_WAIT, NULL, NULL, NULL), -EMSGSIZE);
    event_unref(big);
    route_consumer *c = route_attach(r, "g", 0, NULL);
    expect_all(c, 0, n);
    publish_durable(r, n, n + 100);
    expect_all(c, n, n + 100);
    consumer_detach(c, ROUTE_DETACH_STOPPED);
    route_close(r);
}
END_TEST

/* A disk whose next write waits. */
struct slow_disk {
    struct spool_io io;
    bool armed; /* atomic */
    sem_t there, go;
};

static ssize_t slow_pwrite(void *arg, int fd, const void *p, size_t n, off_t at)
{
    struct slow_disk *d = arg;
    if (__atomic_exchange_n(&d->armed, false, __ATOMIC_ACQ_REL)) {
        sem_post(&d->there);
        sem_wait(&d->go);
    }
    return pwrite(fd, p, n, at);
}

/* The bytes of a commit under way count: however long the disk takes, no more than max_bytes is accepted. */
START_TEST(a_slow_commit_counts)
{
    struct slow_disk d = {.io = *spool_io_system()};
    d.io.arg = &d;
    d.io.pwrite = slow_pwrite;
    sem_init(&d.there, 0, 0);
    sem_init(&d.go, 0, 0);
    conf.max_bytes = 1 << 20;
    conf.io = &d.io;
    odto_route *r = open_route();
    publish_durable(r, 0, 1);
    __atomic_store_n(&d.armed, true, __ATOMIC_RELEASE);
    odto_event *big = numbered(pool, 1, 500 << 10);
    struct outcome o = {0};
    ck_assert_int_eq(route_publish(r, &big, 1, 0, on_done, &o, NULL), 0);
    sem_wait(&d.there);
    uint64_t n = 2;
    int rc;
    while (!(rc = publish_number(pool, r, n, 0, on_done, &o)) && n < 100000)
        n++;
    ck_assert_int_eq(rc, -EAGAIN);
    sem_post(&d.go);
    wait_done(&o, (int64_t)n - 1);
    ck_assert_int_eq(o.failed, 0);
    uint64_t bytes = spool_record_bytes(big->body.n) + (n - 1) * spool_record_bytes(64);
    ck_assert_uint_le(bytes, conf.max_bytes);
    ck_assert_uint_ge(bytes + (64 << 10), conf.max_bytes);
    event_unref(big);
    route_close(r);
    sem_destroy(&d.there);
    sem_destroy(&d.go);
}
END_TEST

START_TEST(drops_oldest_on_disk)
{
    conf.overflow = ROUTE_DROP_OLDEST;
    conf.sync = false;
    for (int by_bytes = 0; by_bytes < 2; by_bytes++) {
        conf.capacity = by_bytes ? 0 : 1000;
        conf.max_bytes = by_bytes ? 1 << 20 : 0;
        conf.topic = by_bytes ? "t" : "u";
        odto_route *r = open_route();
        publish_durable(r, 0, 30000);
        odto_route_stats s = stats_of(r);
        ck_assert_uint_gt(s.depth, by_bytes ? 5000 : 900);
        ck_assert_uint_le(s.depth, by_bytes ? 11000 : 1000);
        ck_assert_uint_eq(s.dropped + s.depth, 30000);
        route_close(r);
        r = open_route();
        ck_assert_uint_eq(stats_of(r).depth, s.depth);
        route_consumer *c = route_attach(r, "g", 0, NULL);
        expect_all(c, 30000 - s.depth, 30000);
        publish_durable(r, 30000, 40000); /* attached, not taking */
        odto_lease l;
        ck_assert_uint_eq(consumer_take(c, &l, 1, SOON), 1);
        ck_assert_uint_ge(number_of(l.event), by_bytes ? 30000 : 39000);
        consumer_detach(c, ROUTE_DETACH_STOPPED);
        route_close(r);
    }
}
END_TEST

START_TEST(linger_gathers_a_commit)
{
    conf.linger_ns = 30 * ODTO_MS;
    odto_route *r = open_route();
    struct outcome o = {0};
    int64_t t0 = odto_now_ns();
    for (uint64_t i = 0; i < 10; i++) {
        ck_assert_int_eq(publish_number(pool, r, i, 0, on_done, &o), 0);
        usleep(1000);
    }
    wait_done(&o, 10);
    ck_assert_int_ge(odto_now_ns() - t0, 30 * ODTO_MS);
    route_close(r); /* and a close does not wait for it */
}
END_TEST

START_TEST(topic_names_are_made_safe)
{
    conf.topic = "../a b/ü";
    odto_route *r = open_route();
    ck_assert_uint_eq(count_files(dir, "%2E.%2Fa%20b%2F%C3%BC"), 1);
    route_close(r);
}
END_TEST

START_TEST(one_host_per_directory)
{
    odto_route *r = open_route(), *other = NULL;
    ck_assert_int_eq(route_open(&conf, &other, &error), -EBUSY);
    ck_assert_ptr_nonnull(strstr(error.message, "in use"));
    route_close(r);
}
END_TEST

/* ---- dead letters -------------------------------------------------------------------------- */

static bool list_item(void *arg, const struct route_item *item)
{
    odto_buf_printf(arg, "%llu:%.*s\n", (unsigned long long)item->seq, (int)item->body.n, item->body.p);
    return true;
}

START_TEST(dead_letters_are_kept_for_people)
{
    conf.topic = "dead";
    odto_route *dlq = open_route();
    conf.topic = "t";
    conf.dead_letter = dlq;
    odto_route *r = open_route();
    route_consumer *c = route_attach(r, "svc", 0, NULL);
    publish_durable(r, 0, 10);
    odto_lease l[10];
    size_t n = 0;
    while (n < 10)
        n += consumer_take(c, l + n, 10 - n, SOON);
    route_settle(l, 9, ODTO_REJECT, "bad one");
    route_settle(l + 9, 1, ODTO_ACK, NULL);
    ck_assert_int_eq(route_wait_idle(r, SOON), 0);
    ck_assert_uint_eq(stats_of(r).rejected, 9);
    consumer_detach(c, ROUTE_DETACH_STOPPED);
    route_close(r);
    route_close(dlq);
    conf.topic = "dead";
    conf.dead_letter = NULL;
    dlq = open_route();
    ck_assert_uint_eq(stats_of(dlq).depth, 9);
    ck_assert_int_gt(stats_of(dlq).oldest_age_ns, 0);
    odto_buf b = {0};
    ck_assert_int_eq(route_peek(dlq, 0, 3, list_item, &b), 0);
    ck_assert_ptr_nonnull(strstr(b.p, "bad one"));
    ck_assert_ptr_nonnull(strstr(b.p, "3:{"));
    ck_assert_ptr_null(strstr(b.p, "4:{"));
    odto_buf_clear(&b);
    uint64_t some[] = {9, 2, 3, 77};
    ck_assert_int_eq(route_remove(dlq, some, 4), 3);
    ck_assert_int_eq(route_remove(dlq, some, 4), 0);
    route_close(dlq);
    dlq = open_route();
    ck_assert_uint_eq(stats_of(dlq).depth, 6);
    ck_assert_int_eq(route_peek(dlq, 2, 2, list_item, &b), 0);
    ck_assert_ptr_nonnull(strstr(b.p, "4:{"));
    ck_assert_ptr_nonnull(strstr(b.p, "5:{"));
    ck_assert_ptr_null(strstr(b.p, "6:{"));
    odto_buf_free(&b);
    ck_assert_int_eq(route_purge(dlq), 6);
    ck_assert_uint_eq(stats_of(dlq).depth, 0);
    route_close(dlq);
    dlq = open_route();
    ck_assert_uint_eq(stats_of(dlq).depth, 0);
    route_close(dlq);
}
END_TEST

START_TEST(remove_spares_what_is_leased)
{
    odto_route *r = open_route();
    route_consumer *c = route_attach(r, "g", 0, NULL);
    publish_durable(r, 0, 10);
    odto_lease l[3];
    size_t n = 0;
    while (n < 3)
        n += consumer_take(c, l + n, 3 - n, SOON);
    uint64_t seqs[] = {l[1].seq, l[1].seq + 5};
    ck_assert_int_eq(route_remove(r, seqs, 2), 1);
    ck_assert_int_eq(route_purge(r), 6);
    ck_assert_uint_eq(stats_of(r).depth, 3);
    route_settle(l, 3, ODTO_RETURN, NULL);
    expect_all(c, 0, 3);
    publish_durable(r, 10, 12);
    expect_all(c, 10, 12);
    consumer_detach(c, ROUTE_DETACH_STOPPED);
    route_close(r);
}
END_TEST

/* An event that is in somebody's hands when the process dies has had an attempt. */
START_TEST(crashes_count_as_attempts)
{
    conf.sync = false;
    conf.topic = "dead";
    odto_route *dlq = open_route();
    route_close(dlq);
    conf.topic = "t";
    odto_route *r = open_route();
    publish_durable(r, 0, 3);
    route_close(r);
    for (uint32_t crash = 1; crash <= 3; crash++) {
        pid_t pid = fork();
        if (!pid) {
            r = open_route();
            route_consumer *c = route_attach(r, "g", 0, NULL);
            odto_lease l;
            if (consumer_take(c, &l, 1, SOON) != 1 || number_of(l.event) != 0 || l.attempt != crash)
                _exit(1);
            kill(getpid(), SIGKILL);
        }
        int status;
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert(WIFSIGNALED(status));
    }
    conf.topic = "dead";
    dlq = open_route();
    conf.topic = "t";
    conf.max_attempts = 3;
    conf.dead_letter = dlq;
    r = open_route();
    route_consumer *c = route_attach(r, "g", 0, NULL);
    odto_lease l[3];
    size_t n = 0;
    while (n < 2)
        n += consumer_take(c, l + n, 3 - n, SOON);
    ck_assert_uint_eq(number_of(l[0].event), 1); /* 0 is poison */
    ck_assert_uint_eq(l[0].attempt, 1);
    route_settle(l, 2, ODTO_ACK, NULL);
    ck_assert_int_eq(route_wait_idle(r, SOON), 0);
    ck_assert_uint_eq(stats_of(dlq).depth, 1);
    consumer_detach(c, ROUTE_DETACH_STOPPED);
    route_close(r);
    route_close(dlq);
}
END_TEST

/* ---- kill -9 ------------------------------------------------------------------------------- */

/* ODTO_KILL_ROUNDS asks for more rounds than fit an ordinary run. */
enum { KILL_MAX = 4000000, KILL_ROUNDS = 60 };

struct ledger { /* shared with the child: what it was told, what it did */
    uint64_t next;
    uint8_t confirmed[KILL_MAX];
    uint8_t acked[KILL_MAX];
};
static struct ledger *ledger;

static void confirm(void *arg, int result)
{
    uint64_t number = (uint64_t)(uintptr_t)arg;
    if (!result)
        ledger->confirmed[number] = 1;
}

static void *child_consume(void *arg)
{
    odto_route *r = arg;
    route_consumer *c = route_attach(r, "g", 300, NULL);
    odto_lease l[64];
    unsigned seed = (unsigned)getpid();
    for (;;) {
        size_t n = consumer_take(c, l, 64, INT64_MAX);
        for (size_t i = 0; i < n; i++) {
            if (rand_r(&seed) % 8 == 0) {
                route_settle(&l[i], 1, ODTO_RETURN, NULL);
                continue;
            }
            ledger->acked[number_of(l[i].event)] = 1;
            route_settle(&l[i], 1, ODTO_ACK, NULL);
        }
    }
    return NULL;
}

static void child(void)
{
    odto_route *r = open_route();
    pthread_t t;
    pthread_create(&t, NULL, child_consume, r);
    while (ledger->next + 8 < KILL_MAX) {
        uint64_t number = ledger->next++;
        odto_event *e = numbered(pool, number, number % 900);
        if (route_publish(r, &e, 1, ODTO_PUBLISH_WAIT | ROUTE_PUBLISH_MOVE, confirm,
                          (void *)(uintptr_t)number, NULL))
            _exit(1);
    }
    _exit(2);
}

/* What was confirmed and never acknowledged is there after any kill. */
START_TEST(kill_9)
{
    conf.segment_bytes = 256 << 10;
    conf.capacity = 20000;
    ledger = mmap(NULL, sizeof *ledger, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(ledger, MAP_FAILED);
    unsigned seed = 7;
    uint8_t *there = malloc(KILL_MAX);
    int rounds = getenv("ODTO_KILL_ROUNDS") ? atoi(getenv("ODTO_KILL_ROUNDS")) : KILL_ROUNDS;
    for (int round = 0; round < rounds; round++) {
        pid_t pid = fork();
        if (!pid)
            child();
        /* A random moment, three times in four not before it has published some: a slow build gets there too.
         */
        uint64_t some = round % 4 ? ledger->next + 1 + (uint64_t)rand_r(&seed) % 50 : 0;
        while (__atomic_load_n(&ledger->next, __ATOMIC_RELAXED) <
               some) /* a hint of the child's: pairs with nothing */
            usleep(100);
        usleep((useconds_t)(rand_r(&seed) % 15000));
        kill(pid, SIGKILL);
        int status;
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        if (round % 10 && round != rounds - 1)
            continue;
        memset(there, 0, KILL_MAX);
        odto_route *r = open_route();
        route_consumer *c = route_attach(r, "g", 65000, NULL);
        odto_lease l[64];
        for (size_t n; stats_of(r).leased < stats_of(r).depth;) {
            n = consumer_take(c, l, 64, SOON);
            ck_assert_uint_gt(n, 0);
            for (size_t i = 0; i < n; i++)
                there[number_of(l[i].event)]++;
        }
        consumer_detach(c, ROUTE_DETACH_STOPPED);
        route_close(r);
        for (uint64_t i = 0; i <= ledger->next; i++) {
            ck_assert_msg(there[i] || !ledger->confirmed[i] || ledger->acked[i],
                          "round %d: event %lu is lost", round, (unsigned long)i);
            ck_assert_msg(there[i] <= 1, "round %d: event %lu comes twice", round, (unsigned long)i);
        }
    }
    ck_assert_uint_gt(ledger->next, (uint64_t)rounds / 2);
    free(there);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("route_spool");
    TCase *t = tcase_create("durable");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 300);
    tcase_add_test(t, confirmed_survives_a_restart);
    tcase_add_test(t, a_backlog_takes_no_memory);
    tcase_add_test(t, groups_follow_a_live_producer);
    tcase_add_test(t, forgotten_group_frees_its_events);
    tcase_add_test(t, disk_error_refuses_and_recovers);
    tcase_add_test(t, bounded_by_bytes);
    tcase_add_test(t, a_slow_commit_counts);
    tcase_add_test(t, drops_oldest_on_disk);
    tcase_add_test(t, linger_gathers_a_commit);
    tcase_add_test(t, topic_names_are_made_safe);
    tcase_add_test(t, one_host_per_directory);
    tcase_add_test(t, dead_letters_are_kept_for_people);
    tcase_add_test(t, remove_spares_what_is_leased);
    tcase_add_test(t, crashes_count_as_attempts);
    tcase_add_test(t, kill_9);
    suite_add_tcase(s, t);
    return run_suite(s);
}
