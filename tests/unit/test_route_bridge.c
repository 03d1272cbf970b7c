/* Routes carried by a bridge: a scripted bridge that keeps what it is given and delivers what it is told. */
#include "route_util.h"
#include <errno.h>
#include <odto/plugin.h>
#include <stdatomic.h>
#include <unistd.h>

#define MOST 4096

struct fake { /* everything under lock */
    pthread_mutex_t lock;
    int refuse; /* publish returns this */
    int answer; /* done says this */
    bool hold;  /* done waits for release() */
    bool subscribed;
    uint32_t credit;
    odto_bridge_sink sink;
    uint64_t published[MOST], acked[MOST], returned[MOST];
    size_t n_published, n_acked, n_returned, n_subscribed;
    odto_publish_done *held[MOST];
    void *held_arg[MOST];
    size_t n_held;
};

static struct fake fake;
static struct event_pool *pool;
static struct route_config conf;
static odto_route *route;
static char dir[64];
static atomic_int done_calls, done_result;

static int fake_publish(void *self, const char *topic, odto_event *const *events, size_t n,
                        odto_publish_done *done, void *arg)
{
    struct fake *f = self;
    (void)topic;
    pthread_mutex_lock(&f->lock);
    int rc = f->refuse, answer = f->answer;
    bool hold = f->hold && !rc && n;
    for (size_t i = 0; !rc && !answer && i < n; i++)
        f->published[f->n_published++ % MOST] = number_of(events[i]);
    if (hold) {
        f->held[f->n_held] = done;
        f->held_arg[f->n_held++] = arg;
    }
    pthread_mutex_unlock(&f->lock);
    if (!rc && !hold && n)
        done(arg, answer);
    return rc;
}

static void release(int answer)
{
    odto_publish_done *done[MOST];
    void *arg[MOST];
    pthread_mutex_lock(&fake.lock);
    size_t n = fake.n_held;
    memcpy(done, fake.held, sizeof done);
    memcpy(arg, fake.held_arg, sizeof arg);
    fake.n_held = 0;
    fake.hold = false;
    pthread_mutex_unlock(&fake.lock);
    for (size_t i = 0; i < n; i++)
        done[i](arg[i], answer);
}

static int fake_subscribe(void *self, const char *topic, const odto_bridge_sink *sink, uint32_t prefetch,
                          odto_error *err)
{
    struct fake *f = self;
    (void)topic, (void)err;
    pthread_mutex_lock(&f->lock);
    f->subscribed = true;
    f->n_subscribed++;
    f->sink = *sink;
    f->credit = prefetch;
    pthread_mutex_unlock(&f->lock);
    return 0;
}

static void fake_unsubscribe(void *self, const char *topic)
{
    struct fake *f = self;
    (void)topic;
    pthread_mutex_lock(&f->lock);
    f->subscribed = false;
    pthread_mutex_unlock(&f->lock);
}

static void fake_credit(void *self, const char *topic, uint32_t prefetch)
{
    struct fake *f = self;
    (void)topic;
    pthread_mutex_lock(&f->lock);
    f->credit = prefetch;
    pthread_mutex_unlock(&f->lock);
}

static void fake_settle(void *self, const char *topic, const uint64_t *tags, size_t n, odto_verdict v)
{
    struct fake *f = self;
    (void)topic;
    pthread_mutex_lock(&f->lock);
    for (size_t i = 0; i < n; i++)
        if (v == ODTO_ACK)
            f->acked[f->n_acked++ % MOST] = tags[i];
        else
            f->returned[f->n_returned++ % MOST] = tags[i];
    pthread_mutex_unlock(&f->lock);
}

static int fake_stats(void *self, const char *topic, odto_route_stats *out)
{
    (void)self, (void)topic;
    out->depth = 42;
    return 0;
}

static const odto_bridge_iface iface = {.size = sizeof iface,
                                        .publish = fake_publish,
                                        .subscribe = fake_subscribe,
                                        .unsubscribe = fake_unsubscribe,
                                        .credit = fake_credit,
                                        .settle = fake_settle,
                                        .stats = fake_stats};

/* Wait until *value (under the fake's lock) is want. */
static void await(const size_t *value, size_t want)
{
    size_t got = 0;
    for (int i = 0; i < 5000; i++) {
        pthread_mutex_lock(&fake.lock);
        got = *value;
        pthread_mutex_unlock(&fake.lock);
        if (got == want)
            return;
        usleep(2000);
    }
    ck_abort_msg("%zu instead of %zu", got, want);
}

static void open_route(void)
{
    odto_error err = {0};
    ck_assert_msg(route_open(&conf, &route, &err) == 0, "%s", err.message);
}

static void setup(void)
{
    memset(&fake, 0, sizeof fake);
    atomic_store(&done_calls, 0);
    pthread_mutex_init(&fake.lock, NULL);
    pool = event_pool_new(0);
    snprintf(dir, sizeof dir, "/tmp/odto-bridge.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    conf = (struct route_config){.topic = "t",
                                 .transport = ROUTE_BRIDGE,
                                 .pool = pool,
                                 .version = "0.1.0",
                                 .dir = dir,
                                 .bridge = &iface,
                                 .bridge_self = &fake};
}

static void teardown(void)
{
    char command[128];
    route_close(route);
    event_pool_free(pool);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    ck_assert_int_eq(system(command), 0);
}

static void on_done(void *arg, int result)
{
    (void)arg;
    atomic_store(&done_result, result);
    atomic_fetch_add(&done_calls, 1);
}

static void deliver(uint64_t from, size_t n, bool again)
{
    for (uint64_t k = from; k < from + n; k++) {
        odto_event *e = numbered(pool, k, 64);
        uint64_t tag = 1000 + k;
        fake.sink.deliver(fake.sink.sink, &e, &tag, &again, 1);
        event_unref(e);
    }
}

static route_consumer *attach(const char *name, size_t subscriptions)
{
    route_consumer *c = route_attach(route, name, 8, NULL);
    ck_assert_ptr_nonnull(c);
    await(&fake.n_subscribed, subscriptions);
    return c;
}

START_TEST(publishing_is_done_when_the_bridge_says_so)
{
    open_route();
    fake.hold = true;
    ck_assert_int_eq(publish_number(pool, route, 7, 0, on_done, NULL), 0);
    ck_assert_int_eq(atomic_load(&done_calls), 0);
    odto_route_stats s;
    route_get_stats(route, &s);
    ck_assert_uint_eq(s.depth, 1);
    ck_assert_uint_eq(s.published, 0);
    release(0);
    ck_assert_int_eq(atomic_load(&done_calls), 1);
    route_get_stats(route, &s);
    ck_assert_uint_eq(s.depth, 0);
    ck_assert_uint_eq(s.published, 1);
    ck_assert_int_eq(route_publish(route, NULL, 0, 0, NULL, NULL, NULL), 0);
    fake.refuse = -ENOTCONN;
    ck_assert_int_eq(publish_number(pool, route, 8, 0, on_done, NULL), -ENOTCONN);
    ck_assert_int_eq(route_publish(route, NULL, 0, 0, on_done, NULL, NULL), -ENOTCONN);
    fake.refuse = -EAGAIN;
    ck_assert_int_eq(route_publish(route, NULL, 0, 0, NULL, NULL, NULL), 0);
    ck_assert_int_eq(atomic_load(&done_calls), 1);
    ck_assert_int_eq(route_remote_depth(route), 42);
}
END_TEST

START_TEST(capacity_bounds_what_is_under_way)
{
    conf.capacity = 3;
    open_route();
    fake.hold = true;
    for (uint64_t k = 0; k < 3; k++)
        ck_assert_int_eq(publish_number(pool, route, k, 0, on_done, NULL), 0);
    ck_assert_int_eq(publish_number(pool, route, 3, 0, on_done, NULL), -EAGAIN);
    release(0);
    ck_assert_int_eq(publish_number(pool, route, 3, 0, on_done, NULL), 0);
}
END_TEST

static void *publish_waiting(void *arg)
{
    (void)arg;
    return (void *)(intptr_t)publish_number(pool, route, 5, ODTO_PUBLISH_WAIT, on_done, NULL);
}

START_TEST(a_publisher_may_wait_for_a_bridge_that_is_away)
{
    open_route();
    fake.refuse = -ENOTCONN;
    pthread_t t;
    void *rc;
    ck_assert_int_eq(pthread_create(&t, NULL, publish_waiting, NULL), 0);
    usleep(20000); /* it waits, most likely */
    pthread_mutex_lock(&fake.lock);
    fake.refuse = 0;
    pthread_mutex_unlock(&fake.lock);
    pthread_join(t, &rc);
    ck_assert_int_eq((int)(intptr_t)rc, 0);
    await(&fake.n_published, 1);
}
END_TEST

START_TEST(with_a_spool_it_is_done_on_the_disk_and_sent_until_confirmed)
{
    conf.spooled = true;
    open_route();
    fake.refuse = -ENOTCONN;
    for (uint64_t k = 0; k < 100; k++)
        ck_assert_int_eq(publish_number(pool, route, k, ODTO_PUBLISH_WAIT, on_done, NULL), 0);
    for (int i = 0; i < 5000 && atomic_load(&done_calls) < 100; i++)
        usleep(2000);
    ck_assert_int_eq(atomic_load(&done_calls), 100);
    ck_assert_int_eq(atomic_load(&done_result), 0);
    odto_route_stats s;
    route_get_stats(route, &s);
    ck_assert_uint_eq(s.depth, 100);
    route_close(route); /* the other side never came */
    open_route();
    route_get_stats(route, &s);
    ck_assert_uint_eq(s.depth, 100);
    pthread_mutex_lock(&fake.lock);
    fake.refuse = 0;
    fake.answer = -EIO; /* accepted and then not confirmed */
    pthread_mutex_unlock(&fake.lock);
    usleep(100000);
    route_get_stats(route, &s);
    ck_assert_uint_eq(s.depth, 100);
    pthread_mutex_lock(&fake.lock);
    fake.answer = 0;
    pthread_mutex_unlock(&fake.lock);
    await(&fake.n_published, 100);
    for (int i = 0; i < 5000 && s.depth; i++) {
        usleep(2000);
        route_get_stats(route, &s);
    }
    ck_assert_uint_eq(s.depth, 0);
    bool seen[100] = {false};
    for (size_t i = 0; i < 100; i++)
        seen[fake.published[i]] = true;
    for (size_t i = 0; i < 100; i++)
        ck_assert(seen[i]);
}
END_TEST

START_TEST(a_full_spool_refuses)
{
    conf.spooled = true;
    conf.capacity = 10;
    conf.overflow = ROUTE_REJECT;
    open_route();
    fake.refuse = -ENOTCONN;
    int rc = 0;
    size_t n = 0;
    for (; n < 100 && !rc; n += !rc)
        rc = publish_number(pool, route, n, ODTO_PUBLISH_WAIT, NULL, NULL);
    ck_assert_int_eq(rc, -EAGAIN);
    ck_assert_uint_eq(n, 10);
}
END_TEST

START_TEST(deliveries_are_leased_and_settled_with_the_bridge)
{
    open_route();
    route_consumer *c = attach("a", 1);
    ck_assert_uint_eq(fake.credit, 8);
    odto_lease l[8];
    deliver(1, 3, false);
    ck_assert_uint_eq(consumer_take(c, l, 8, 0), 3);
    ck_assert_uint_eq(number_of(l[2].event), 3);
    route_settle(&l[1], 1, ODTO_ACK, NULL);
    await(&fake.n_acked, 1);
    ck_assert_uint_eq(fake.acked[0], 1002);
    route_settle(&l[0], 1, ODTO_RETURN, NULL); /* comes again from here, counted */
    ck_assert_uint_eq(consumer_take(c, l, 1, 0), 1);
    ck_assert_uint_eq(number_of(l[0].event), 1);
    ck_assert_uint_eq(l[0].attempt, 2);
    ck_assert_uint_eq(fake.n_returned, 0);
    route_settle(l, 1, ODTO_ACK, NULL);
    route_settle(&l[2], 1, ODTO_ACK, NULL);
    await(&fake.n_acked, 3);
    deliver(9, 1, true);
    ck_assert_uint_eq(consumer_take(c, l, 1, 0), 1);
    ck_assert_uint_eq(l[0].attempt, 2); /* it was delivered before, somewhere */
    route_settle(l, 1, ODTO_ACK, NULL);
    consumer_detach(c, ROUTE_DETACH_STOPPED);
}
END_TEST

START_TEST(two_groups_get_it_and_the_last_one_acknowledges)
{
    open_route();
    const char *names[] = {"a", "b"};
    ck_assert_int_eq(route_groups(route, names, 2), 0);
    route_consumer *a = route_attach(route, "a", 8, NULL), *b = attach("b", 1);
    odto_lease la[4], lb[4];
    deliver(1, 2, false);
    ck_assert_uint_eq(consumer_take(a, la, 4, 0), 2);
    ck_assert_uint_eq(consumer_take(b, lb, 4, 0), 2);
    route_settle(la, 2, ODTO_ACK, NULL);
    ck_assert_uint_eq(fake.n_acked, 0);
    route_settle(lb, 2, ODTO_ACK, NULL);
    await(&fake.n_acked, 2);
    consumer_detach(a, ROUTE_DETACH_STOPPED);
    consumer_detach(b, ROUTE_DETACH_STOPPED);
}
END_TEST

START_TEST(a_pause_gives_back_what_is_not_leased)
{
    open_route();
    route_consumer *c = attach("a", 1);
    odto_lease l[2];
    deliver(1, 5, false);
    ck_assert_uint_eq(consumer_take(c, l, 1, 0), 1);
    consumer_prefetch(c, 0);
    bool subscribed = true;
    for (int i = 0; i < 10000 && subscribed; i++) { /* 5 s, and the bridge is told */
        usleep(2000);
        pthread_mutex_lock(&fake.lock);
        subscribed = fake.subscribed;
        pthread_mutex_unlock(&fake.lock);
    }
    ck_assert(!subscribed);
    odto_route_stats s = {.depth = 9};
    for (int i = 0; i < 5000 && s.depth != 1; i++) {
        usleep(2000);
        route_get_stats(route, &s);
    }
    ck_assert_uint_eq(s.depth, 1); /* the leased one; the bridge ignores its tag */
    route_settle(l, 1, ODTO_ACK, NULL);
    consumer_prefetch(c, 4);
    await(&fake.n_subscribed, 2);
    ck_assert_uint_eq(fake.credit, 4);
    consumer_detach(c, ROUTE_DETACH_STOPPED);
}
END_TEST

START_TEST(a_bridge_that_is_not_up_is_an_error)
{
    odto_error err = {0};
    odto_route *r = NULL;
    conf.bridge = NULL;
    ck_assert_int_eq(route_open(&conf, &r, &err), -EINVAL);
    ck_assert_ptr_nonnull(strstr(err.message, "not up"));
    conf.bridge = &iface;
    open_route();
    ck_assert_int_eq(route_peek(route, 0, 1, NULL, NULL), -EOPNOTSUPP);
    ck_assert_int_eq((int)route_purge(route), -EOPNOTSUPP);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("route bridge");
    TCase *t = tcase_create("bridge");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, publishing_is_done_when_the_bridge_says_so);
    tcase_add_test(t, capacity_bounds_what_is_under_way);
    tcase_add_test(t, a_publisher_may_wait_for_a_bridge_that_is_away);
    tcase_add_test(t, with_a_spool_it_is_done_on_the_disk_and_sent_until_confirmed);
    tcase_add_test(t, a_full_spool_refuses);
    tcase_add_test(t, deliveries_are_leased_and_settled_with_the_bridge);
    tcase_add_test(t, two_groups_get_it_and_the_last_one_acknowledges);
    tcase_add_test(t, a_pause_gives_back_what_is_not_leased);
    tcase_add_test(t, a_bridge_that_is_not_up_is_an_error);
    suite_add_tcase(s, t);
    return run_suite(s);
}
