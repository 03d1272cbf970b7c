/* Memory routes: order, groups, leases and fences, overflow, waiting, dead letters, people's verbs. */
#include "route_util.h"
#include <errno.h>
#include <unistd.h>

static struct event_pool *pool;
static struct route_config conf;
#define NEVER INT64_MAX

static void setup(void)
{
    pool = event_pool_new(0);
    conf = (struct route_config){.topic = "t", .transport = ROUTE_MEMORY, .pool = pool, .version = "0.1.0"};
}

static void teardown(void)
{
    event_pool_free(pool);
}

static odto_route *open_route(void)
{
    odto_route *r = NULL;
    odto_error err;
    ck_assert_int_eq(route_open(&conf, &r, &err), 0);
    return r;
}

static void publish_range(odto_route *r, uint64_t from, uint64_t to)
{
    for (uint64_t i = from; i < to; i++)
        ck_assert_int_eq(publish_number(pool, r, i, 0, NULL, NULL), 0);
}

static void expect_take(route_consumer *c, odto_lease *l, uint64_t number, uint32_t attempt)
{
    ck_assert_uint_eq(consumer_take(c, l, 1, 0), 1);
    ck_assert_uint_eq(number_of(l->event), number);
    ck_assert_uint_eq(l->attempt, attempt);
}

static odto_route_stats stats_of(odto_route *r)
{
    odto_route_stats s;
    route_get_stats(r, &s);
    return s;
}

START_TEST(order_and_batches)
{
    odto_route *r = open_route();
    route_consumer *c = route_attach(r, "a", 0, NULL);
    publish_range(r, 0, 5000);
    odto_lease l[64];
    uint64_t next = 0;
    while (next < 5000) {
        size_t n = consumer_take(c, l, 64, 0);
        ck_assert_uint_gt(n, 0);
        for (size_t i = 0; i < n; i++)
            ck_assert_uint_eq(number_of(l[i].event), next++);
        route_settle(l, n, ODTO_ACK, NULL);
    }
    odto_route_stats s = stats_of(r);
    ck_assert_uint_eq(s.published, 5000);
    ck_assert_uint_eq(s.acked, 5000);
    ck_assert_uint_eq(s.depth, 0);
    ck_assert_uint_eq(s.leased, 0);
    ck_assert_uint_eq(consumer_take(c, l, 64, 0), 0);
    consumer_detach(c, ROUTE_DETACH_STOPPED);
    route_close(r);
}
END_TEST

START_TEST(kept_until_the_first_group_comes)
{
    odto_route *r = open_route();
    publish_range(r, 0, 10);
    route_consumer *c = route_attach(r, "first", 0, NULL);
    odto_lease l[16];
    ck_assert_uint_eq(consumer_take(c, l, 16, 0), 10);
    route_settle(l, 10, ODTO_ACK, NULL);
    consumer_detach(c, ROUTE_DETACH_STOPPED);
    publish_range(r, 10, 12); /* nobody there: kept */
    c = route_attach(r, "first", 0, NULL);
    expect_take(c, l, 10, 1);
    consumer_detach(c, ROUTE_DETACH_STOPPED);
    route_close(r);
}
END_TEST

START_TEST(groups_each_get_everything)
{
    odto_route *r = open_route();
    const char *names[] = {"a", "b"};
    ck_assert_int_eq(route_groups(r, names, 2), 0);
    route_consumer *a = route_attach(r, "a", 0, NULL), *b = route_attach(r, "b", 0, NULL);
    publish_range(r, 0, 3);
    odto_lease la[4], lb[4];
    ck_assert_uint_eq(consumer_take(a, la, 4, 0), 3);
    route_settle(la, 3, ODTO_ACK, NULL);
    ck_assert_uint_eq(stats_of(r).depth, 3); /* b still wants them */
    ck_assert_uint_eq(consumer_take(b, lb, 4, 0), 3);
    route_settle(lb, 3, ODTO_ACK, NULL);
    ck_assert_uint_eq(stats_of(r).depth, 0);
    publish_range(r, 3, 5);
    expect_take(a, la, 3, 1);
    route_consumer *late = route_attach(r, "c", 0, NULL); /* gets what is still kept */
    for (uint64_t i = 3; i < 5; i++)
        expect_take(late, &lb[i - 3], i, 1);
    consumer_detach(a, ROUTE_DETACH_STOPPED);
    consumer_detach(b, ROUTE_DETACH_STOPPED);
    consumer_detach(late, ROUTE_DETACH_STOPPED);
    ck_assert_int_eq(route_groups(r, names, 0), 0); /* all forgotten, the last one keeps its events */
    ck_assert_uint_eq(stats_of(r).depth, 2);
    route_close(r);
}
END_TEST

START_TEST(consumers_of_a_group_compete)
{
    odto_route *r = open_route();
    route_consumer *a = route_attach(r, "g", 2, NULL), *b = route_attach(r, "g", 100, NULL);
    publish_range(r, 0, 10);
    odto_lease l[10];
    ck_assert_uint_eq(consumer_take(a, l, 10, 0), 2); /* its prefetch */
    ck_assert_uint_eq(consumer_take(a, l + 2, 8, 0), 0);
    ck_assert_uint_eq(consumer_leased(a), 2);
    ck_assert_uint_eq(consumer_take(b, l + 2, 10, 0), 8);
    for (uint64_t i = 0; i < 10; i++)
        ck_assert_uint_eq(number_of(l[i].event), i);
    route_settle(l, 10, ODTO_ACK, NULL);
    ck_assert_uint_eq(consumer_leased(a), 0);
    publish_range(r, 10, 12);
    consumer_prefetch(a, 0);
    ck_assert_uint_eq(consumer_take(a, l, 1, 0), 0);
    route_set_prefetch(r, "g", 1);
    expect_take(a, l, 10, 1);
    consumer_detach(a, ROUTE_DETACH_STOPPED);
    consumer_detach(b, ROUTE_DETACH_STOPPED);
    route_close(r);
}
END_TEST

START_TEST(returned_come_first_and_count)
{
    odto_route *r = open_route();
    route_consumer *c = route_attach(r, "g", 0, NULL);
    publish_range(r, 0, 4);
    odto_lease l[4], again;
    ck_assert_uint_eq(consumer_take(c, l, 3, 0), 3);
    route_settle(&l[2], 1, ODTO_RETURN, "later");
    route_settle(&l[0], 1, ODTO_RETURN, "later");
    route_settle(&l[0], 1, ODTO_ACK, NULL); /* late: ignored */
    expect_take(c, &again, 0, 2);
    route_settle(&l[0], 1, ODTO_ACK, NULL); /* the old lease of an event leased again: ignored */
    ck_assert_uint_eq(stats_of(r).acked, 0);
    route_settle(&again, 1, ODTO_ACK, NULL);
    route_settle(&again, 1, ODTO_ACK, NULL);
    ck_assert_uint_eq(stats_of(r).acked, 1);
    expect_take(c, &again, 2, 2);
    expect_take(c, &again, 3, 1);
    odto_route_stats s = stats_of(r);
    ck_assert_uint_eq(s.returned, 2);
    ck_assert_uint_eq(s.redelivered, 2);
    consumer_detach(c, ROUTE_DETACH_STOPPED);
    route_close(r);
}
END_TEST

START_TEST(detach_returns_leases)
{
    odto_route *r = open_route();
    route_consumer *c = route_attach(r, "g", 0, NULL);
    publish_range(r, 0, 3);
    odto_lease old[3], l;
    ck_assert_uint_eq(consumer_take(c, old, 3, 0), 3);
    consumer_detach(c, ROUTE_DETACH_STOPPED);
    route_settle(old, 3, ODTO_ACK, NULL); /* fenced */
    c = route_attach(r, "g", 0, NULL);
    expect_take(c, &l, 0, 1);
    consumer_detach(c, ROUTE_DETACH_FAILED);
    c = route_attach(r, "g", 0, NULL);
    expect_take(c, &l, 0, 2);
    expect_take(c, &l, 1, 1);
    odto_event *held = l.event;
    consumer_detach(c, ROUTE_DETACH_ABANDONED);
    c = route_attach(r, "g", 0, NULL);
    odto_lease now[3];
    ck_assert_uint_eq(consumer_take(c, now, 3, 0), 3);
    ck_assert_uint_eq(now[0].attempt, 3);
    route_settle(now, 3, ODTO_ACK, NULL);
    ck_assert_uint_eq(number_of(held), 1); /* readable by the abandoned thread */
    event_unref(held);
    event_unref(now[0].event);
    consumer_detach(c, ROUTE_DETACH_STOPPED);
    route_close(r);
}
END_TEST

START_TEST(full_rejects)
{
    conf.capacity = 10;
    conf.overflow = ROUTE_REJECT;
    odto_route *r = open_route();
    route_consumer *c = route_attach(r, "g", 0, NULL);
    publish_range(r, 0, 9);
    odto_event *two[2] = {numbered(pool, 9, 64), numbered(pool, 10, 64)};
    ck_assert_int_eq(route_publish(r, two, 2, ODTO_PUBLISH_WAIT, NULL, NULL, NULL), -EAGAIN);
    ck_assert_uint_eq(stats_of(r).depth, 9); /* all or nothing */
    ck_assert_int_eq(route_publish(r, two, 1, 0, NULL, NULL, NULL), 0);
    ck_assert_int_eq(route_publish(r, two + 1, 1, 0, NULL, NULL, NULL), -EAGAIN);
    odto_lease l[10];
    ck_assert_uint_eq(consumer_take(c, l, 10, 0), 10);
    ck_assert_int_eq(route_publish(r, two + 1, 1, 0, NULL, NULL, NULL), -EAGAIN); /* leased counts */
    route_settle(l, 1, ODTO_ACK, NULL);
    ck_assert_int_eq(route_publish(r, two + 1, 1, 0, NULL, NULL, NULL), 0);
    odto_event *many[11];
    for (size_t i = 0; i < 11; i++)
        many[i] = two[0];
    ck_assert_int_eq(route_publish(r, many, 11, 0, NULL, NULL, NULL), -EMSGSIZE);
    event_unref(two[0]);
    event_unref(two[1]);
    consumer_detach(c, ROUTE_DETACH_STOPPED);
    route_close(r);
}
END_TEST

START_TEST(full_drops_oldest)
{
    conf.capacity = 4;
    conf.overflow = ROUTE_DROP_OLDEST;
    odto_route *r = open_route();
    route_consumer *c = route_attach(r, "g", 0, NULL);
    odto_lease l[4], again;
    publish_range(r, 0, 4);
    expect_take(c, &l[0], 0, 1);
    publish_range(r, 4, 8); /* 1..4 go, the leased 0 stays */
    ck_assert_uint_eq(stats_of(r).dropped, 4);
    ck_assert_uint_eq(consumer_take(c, l + 1, 3, 0), 3);
    ck_assert_uint_eq(number_of(l[1].event), 5);
    ck_assert_int_eq(publish_number(pool, r, 8, 0, NULL, NULL), -EAGAIN); /* everything is leased */
    route_settle(l, 1, ODTO_RETURN, NULL);
    publish_range(r, 9, 10); /* the returned 0 is the oldest */
    expect_take(c, &again, 9, 1);
    consumer_detach(c, ROUTE_DETACH_STOPPED);
    route_close(r);
}
END_TEST

struct blocked {
    odto_route *r;
    bool cancel;
    int rc;
    bool finished;
};

static void *blocked_publish(void *arg)
{
    struct blocked *b = arg;
    odto_event *e = numbered(pool, 77, 64);
    b->rc = route_publish(b->r, &e, 1, ODTO_PUBLISH_WAIT, NULL, NULL, &b->cancel);
    event_unref(e);
    __atomic_store_n(&b->finished, true, __ATOMIC_RELEASE);
    return NULL;
}

START_TEST(full_blocks_until_room_or_cancel)
{
    conf.capacity = 2;
    odto_route *r = open_route();
    route_consumer *c = route_attach(r, "g", 0, NULL);
    publish_range(r, 0, 2);
    ck_assert_int_eq(publish_number(pool, r, 2, 0, NULL, NULL), -EAGAIN); /* without WAIT */
    struct blocked b = {.r = r};
    pthread_t t;
    pthread_create(&t, NULL, blocked_publish, &b);
    usleep(20000);
    ck_assert(!__atomic_load_n(&b.finished, __ATOMIC_ACQUIRE));
    odto_lease l;
    expect_take(c, &l, 0, 1);
    route_settle(&l, 1, ODTO_ACK, NULL);
    pthread_join(t, NULL);
    ck_assert_int_eq(b.rc, 0);
    struct blocked b2 = {.r = r};
    pthread_create(&t, NULL, blocked_publish, &b2);
    usleep(20000);
    ck_assert(!__atomic_load_n(&b2.finished, __ATOMIC_ACQUIRE));
    __atomic_store_n(&b2.cancel, true, __ATOMIC_RELEASE);
    route_kick(r);
    pthread_join(t, NULL);
    ck_assert_int_eq(b2.rc, -ECANCELED);
    consumer_detach(c, ROUTE_DETACH_STOPPED);
    route_close(r);
}
END_TEST

struct waiting {
    route_consumer *c;
    size_t got;
    uint64_t number;
    int64_t deadline;
};

static void *waiting_take(void *arg)
{
    struct waiting *w = arg;
    odto_lease l;
    w->got = consumer_take(w->c, &l, 1, w->deadline);
    if (w->got) {
        w->number = number_of(l.event);
        route_settle(&l, 1, ODTO_ACK, NULL);
    }
    return NULL;
}

START_TEST(take_waits)
{
    odto_route *r = open_route();
    route_consumer *c = route_attach(r, "g", 0, NULL);
    struct waiting w = {.c = c, .deadline = NEVER};
    pthread_t t;
    pthread_create(&t, NULL, waiting_take, &w);
    usleep(20000);
    publish_range(r, 5, 6);
    pthread_join(t, NULL);
    ck_assert_uint_eq(w.got, 1);
    ck_assert_uint_eq(w.number, 5);
    w.got = 9;
    pthread_create(&t, NULL, waiting_take, &w);
    usleep(20000);
    consumer_wake(c);
    pthread_join(t, NULL);
    ck_assert_uint_eq(w.got, 0);
    int64_t t0 = odto_now_ns();
    odto_lease l;
    ck_assert_uint_eq(consumer_take(c, &l, 1, t0 + 30 * ODTO_MS), 0);
    ck_assert_int_ge(odto_now_ns() - t0, 30 * ODTO_MS);
    consumer_wake(c); /* nobody waits: the next take sees it */
    ck_assert_uint_eq(consumer_take(c, &l, 1, NEVER), 0);
    consumer_detach(c, ROUTE_DETACH_STOPPED);
    route_close(r);
}
END_TEST

START_TEST(settling_wakes_a_consumer_at_its_prefetch)
{
    odto_route *r = open_route();
    route_consumer *c = route_attach(r, "g", 1, NULL);
    publish_range(r, 0, 2);
    odto_lease l;
    expect_take(c, &l, 0, 1);
    struct waiting w = {.c = c, .deadline = NEVER};
    pthread_t t;
    pthread_create(&t, NULL, waiting_take, &w);
    usleep(20000);
    ck_assert_uint_eq(consumer_leased(c), 1);
    route_settle(&l, 1, ODTO_ACK, NULL);
    pthread_join(t, NULL);
    ck_assert_uint_eq(w.number, 1);
    consumer_detach(c, ROUTE_DETACH_STOPPED);
    route_close(r);
}
END_TEST

START_TEST(one_thread_waits_for_several_routes)
{
    odto_route *r1 = open_route();
    conf.topic = "u";
    odto_route *r2 = open_route();
    struct route_waiter *w = route_waiter_new();
    route_consumer *cs[2] = {route_attach(r1, "g", 0, w), route_attach(r2, "g", 0, w)};
    odto_lease l[4];
    size_t which = 0;
    publish_range(r1, 0, 2);
    publish_range(r2, 10, 12);
    ck_assert_uint_eq(consumers_take(cs, 2, &which, l, 1, 0), 1);
    ck_assert_uint_eq(which, 1);
    ck_assert_uint_eq(number_of(l[0].event), 10);
    ck_assert_uint_eq(consumers_take(cs, 2, &which, l, 4, 0), 2);
    ck_assert_uint_eq(which, 0);
    ck_assert_uint_eq(consumers_take(cs, 2, &which, l, 4, 0), 1);
    ck_assert_uint_eq(which, 1);
    struct route_waiter *same = w;
    route_waiter_wake(same);
    ck_assert_uint_eq(consumers_take(cs, 2, &which, l, 4, NEVER), 0);
    consumer_detach(cs[0], ROUTE_DETACH_STOPPED);
    consumer_detach(cs[1], ROUTE_DETACH_STOPPED);
    route_waiter_free(w);
    route_close(r1);
    route_close(r2);
}
END_TEST

START_TEST(paused_keeps_and_delivers_nothing)
{
    odto_route *r = open_route();
    route_consumer *c = route_attach(r, "g", 0, NULL);
    route_pause(r, true);
    publish_range(r, 0, 2);
    odto_lease l;
    ck_assert_uint_eq(consumer_take(c, &l, 1, 0), 0);
    struct waiting w = {.c = c, .deadline = NEVER};
    pthread_t t;
    pthread_create(&t, NULL, waiting_take, &w);
    usleep(20000);
    route_pause(r, false);
    pthread_join(t, NULL);
    ck_assert_uint_eq(w.got, 1);
    ck_assert_int_eq(route_wait_idle(r, odto_now_ns() + 20 * ODTO_MS), -ETIMEDOUT);
    expect_take(c, &l, 1, 1);
    route_settle(&l, 1, ODTO_ACK, NULL);
    ck_assert_int_eq(route_wait_idle(r, odto_now_ns() + ODTO_SEC), 0);
    consumer_detach(c, ROUTE_DETACH_STOPPED);
    route_close(r);
}
END_TEST

/* ---- dead letters -------------------------------------------------------------------------- */

static bool collect_text(void *arg, const struct route_item *item)
{
    odto_buf *b = arg;
    odto_buf_put(b, item->body.p, item->body.n);
    odto_buf_str(b, "\n");
    return true;
}

START_TEST(rejected_becomes_a_dead_letter)
{
    odto_route *dlq = open_route();
    conf.topic = "u";
    conf.dead_letter = dlq;
    conf.max_attempts = 2;
    odto_route *r = open_route();
    route_consumer *c = route_attach(r, "svc", 0, NULL);
    odto_event *e = event_make(pool, odto_slice_str("not json"), 0);
    ck_assert_int_eq(route_publish(r, &e, 1, ROUTE_PUBLISH_MOVE, NULL, NULL, NULL), 0);
    odto_lease l;
    ck_assert_uint_eq(consumer_take(c, &l, 1, 0), 1);
    route_settle(&l, 1, ODTO_REJECT, "no good");
    route_settle(&l, 1, ODTO_ACK, NULL); /* too late */
    ck_assert_uint_eq(stats_of(r).rejected, 1);
    ck_assert_uint_eq(stats_of(r).depth, 0);
    e = event_make(pool, odto_slice_str("{\"poison\":1}"), 0);
    ck_assert_int_eq(route_publish(r, &e, 1, ROUTE_PUBLISH_MOVE, NULL, NULL, NULL), 0);
    for (int i = 0; i < 2; i++) {
        ck_assert_uint_eq(consumer_take(c, &l, 1, 0), 1);
        route_settle(&l, 1, ODTO_RETURN, "boom");
    }
    ck_assert_uint_eq(consumer_take(c, &l, 1, 0), 0);
    /* an event that crashed its consumer too often is not delivered again */
    publish_range(r, 3, 4);
    for (int i = 0; i < 2; i++) {
        ck_assert_uint_eq(consumer_take(c, &l, 1, 0), 1);
        consumer_detach(c, ROUTE_DETACH_FAILED);
        c = route_attach(r, "svc", 0, NULL);
    }
    ck_assert_uint_eq(consumer_take(c, &l, 1, 0), 0);
    ck_assert_uint_eq(stats_of(r).rejected, 3);
    ck_assert_uint_eq(stats_of(dlq).depth, 3);
    odto_buf b = {0};
    ck_assert_int_eq(route_peek(dlq, 0, 10, collect_text, &b), 0);
    ck_assert_ptr_nonnull(strstr(b.p, "no good"));
    ck_assert_ptr_nonnull(strstr(b.p, "not json"));
    ck_assert_ptr_nonnull(strstr(b.p, "delivered 2 times"));
    ck_assert_ptr_nonnull(strstr(b.p, "boom"));
    ck_assert_ptr_nonnull(strstr(b.p, "svc"));
    odto_buf_free(&b);
    consumer_detach(c, ROUTE_DETACH_STOPPED);
    route_close(r);
    route_close(dlq);
}
END_TEST

START_TEST(dead_letter_waits_for_its_route)
{
    conf.capacity = 1;
    odto_route *dlq = open_route();
    publish_range(dlq, 0, 1); /* full */
    conf.topic = "u";
    conf.capacity = 100;
    conf.dead_letter = dlq;
    conf.prefetch = 2;
    odto_route *r = open_route();
    route_consumer *c = route_attach(r, "svc", 0, NULL);
    publish_range(r, 0, 3);
    odto_lease l[3];
    ck_assert_uint_eq(consumer_take(c, l, 3, 0), 2);
    route_settle(l, 2, ODTO_REJECT, "bad");
    odto_route_stats s = stats_of(r);
    ck_assert_uint_eq(s.rejected, 0);
    ck_assert_uint_eq(s.leased, 2);
    ck_assert_uint_eq(consumer_take(c, l, 3, 0), 0); /* its prefetch is used up */
    ck_assert_int_eq(route_purge(dlq), 1);
    int64_t end = odto_now_ns() + 5 * ODTO_SEC;
    while (stats_of(r).rejected < 1 && odto_now_ns() < end)
        consumer_take(c, l, 0, odto_now_ns() + 50 * ODTO_MS);
    ck_assert_uint_ge(stats_of(r).rejected, 1);
    ck_assert_uint_eq(stats_of(dlq).depth, 1);
    consumer_detach(c, ROUTE_DETACH_STOPPED); /* one rejection still waits; close gives it up */
    route_close(r);
    route_close(dlq);
}
END_TEST

/* ---- people's verbs ------------------------------------------------------------------------ */

struct listed {
    uint64_t seq[32];
    bool leased[32];
    size_t n, stop;
};

static bool list_item(void *arg, const struct route_item *item)
{
    struct listed *l = arg;
    l->seq[l->n] = item->seq;
    l->leased[l->n++] = item->leased;
    ck_assert_int_lt(llabs(item->unix_ms - odto_unix_ms()), 5000);
    return l->n != l->stop;
}

START_TEST(peek_remove_purge)
{
    odto_route *r = open_route();
    route_consumer *c = route_attach(r, "g", 0, NULL);
    publish_range(r, 0, 10);
    odto_lease l[3];
    ck_assert_uint_eq(consumer_take(c, l, 3, 0), 3);
    route_settle(&l[1], 1, ODTO_RETURN, NULL);
    struct listed seen = {.n = 0};
    ck_assert_int_eq(route_peek(r, 0, 32, list_item, &seen), 0);
    ck_assert_uint_eq(seen.n, 10);
    for (size_t i = 0; i < 10; i++) {
        ck_assert_uint_eq(seen.seq[i], seen.seq[0] + i);
        ck_assert_int_eq(seen.leased[i], i == 0 || i == 2);
    }
    struct listed some = {.stop = 2};
    ck_assert_int_eq(route_peek(r, seen.seq[4], 32, list_item, &some), 0);
    ck_assert_uint_eq(some.n, 2);
    ck_assert_uint_eq(some.seq[0], seen.seq[4]);
    uint64_t gone[] = {seen.seq[7], seen.seq[0], seen.seq[1], 9999, seen.seq[3]};
    ck_assert_int_eq(route_remove(r, gone, 5), 3); /* the first is leased, one does not exist */
    odto_lease next;
    expect_take(c, &next, 4, 1);
    ck_assert_int_eq(route_purge(r), 4);
    ck_assert_uint_eq(stats_of(r).depth, 3);
    ck_assert_uint_eq(consumer_take(c, l, 3, 0), 0);
    consumer_detach(c, ROUTE_DETACH_STOPPED);
    route_close(r);
}
END_TEST

/* ---- many threads -------------------------------------------------------------------------- */

enum { PRODUCERS = 2, CONSUMERS = 3, EACH = 20000 };

struct storm {
    odto_route *r;
    uint8_t *seen; /* by number: times acknowledged */
    uint64_t acked;
    bool end;
    unsigned seed;
};

static void *storm_producer(void *arg)
{
    struct storm *s = arg;
    static uint64_t next;
    odto_event *batch[7];
    for (int i = 0; i < EACH;) {
        size_t n = 0;
        while (n < 7 && i < EACH) {
            batch[n++] = numbered(pool, __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED), 64);
            i++;
        }
        ck_assert_int_eq(
            route_publish(s->r, batch, n, ODTO_PUBLISH_WAIT | ROUTE_PUBLISH_MOVE, NULL, NULL, NULL), 0);
    }
    return NULL;
}

static void *storm_consumer(void *arg)
{
    struct storm *s = arg;
    unsigned seed = __atomic_add_fetch(&s->seed, 1, __ATOMIC_RELAXED);
    route_consumer *c = route_attach(s->r, "g", 50, NULL);
    odto_lease l[20];
    while (!__atomic_load_n(&s->end, __ATOMIC_ACQUIRE)) {
        size_t n = consumer_take(c, l, 20, odto_now_ns() + 5 * ODTO_MS);
        for (size_t i = 0; i < n; i++) {
            int dice = rand_r(&seed) % 20;
            uint64_t number = number_of(l[i].event);
            if (dice == 0 || (dice == 1 && rand_r(&seed) % 10)) {
                route_settle(&l[i], 1, ODTO_RETURN, "dice");
            } else if (dice > 1) {
                __atomic_fetch_add(&s->seen[number], 1, __ATOMIC_RELAXED);
                __atomic_fetch_add(&s->acked, 1, __ATOMIC_RELAXED);
                route_settle(&l[i], 1, ODTO_ACK, NULL);
            } else { /* give up: this and the following leases go back */
                consumer_detach(c, ROUTE_DETACH_FAILED);
                c = route_attach(s->r, "g", 50, NULL);
                break;
            }
        }
    }
    consumer_detach(c, ROUTE_DETACH_STOPPED);
    return NULL;
}

START_TEST(storm)
{
    conf.capacity = 500;
    struct storm s = {.r = open_route(), .seen = calloc(PRODUCERS * EACH, 1)};
    pthread_t t[PRODUCERS + CONSUMERS];
    for (int i = 0; i < PRODUCERS; i++)
        pthread_create(&t[i], NULL, storm_producer, &s);
    for (int i = 0; i < CONSUMERS; i++)
        pthread_create(&t[PRODUCERS + i], NULL, storm_consumer, &s);
    for (int i = 0; i < PRODUCERS; i++)
        pthread_join(t[i], NULL);
    ck_assert_int_eq(route_wait_idle(s.r, odto_now_ns() + 60 * ODTO_SEC), 0);
    __atomic_store_n(&s.end, true, __ATOMIC_RELEASE);
    for (int i = 0; i < CONSUMERS; i++)
        pthread_join(t[PRODUCERS + i], NULL);
    for (int i = 0; i < PRODUCERS * EACH; i++)
        ck_assert_int_eq(s.seen[i], 1);
    ck_assert_uint_eq(stats_of(s.r).acked, PRODUCERS * EACH);
    free(s.seen);
    route_close(s.r);
    struct event_pool_stats p;
    event_pool_stats(pool, &p);
    ck_assert_uint_eq(p.larges, 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("route");
    TCase *t = tcase_create("memory");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 120);
    tcase_add_test(t, order_and_batches);
    tcase_add_test(t, kept_until_the_first_group_comes);
    tcase_add_test(t, groups_each_get_everything);
    tcase_add_test(t, consumers_of_a_group_compete);
    tcase_add_test(t, returned_come_first_and_count);
    tcase_add_test(t, detach_returns_leases);
    tcase_add_test(t, full_rejects);
    tcase_add_test(t, full_drops_oldest);
    tcase_add_test(t, full_blocks_until_room_or_cancel);
    tcase_add_test(t, take_waits);
    tcase_add_test(t, settling_wakes_a_consumer_at_its_prefetch);
    tcase_add_test(t, one_thread_waits_for_several_routes);
    tcase_add_test(t, paused_keeps_and_delivers_nothing);
    tcase_add_test(t, rejected_becomes_a_dead_letter);
    tcase_add_test(t, dead_letter_waits_for_its_route);
    tcase_add_test(t, peek_remove_purge);
    tcase_add_test(t, storm);
    suite_add_tcase(s, t);
    return run_suite(s);
}
