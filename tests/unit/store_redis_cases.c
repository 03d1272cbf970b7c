/* store_redis_cases.c — the counters role on a real Redis server (TEST_REDIS, one with a password in
 * TEST_REDIS_AUTH; with TEST_REDIS_TLS and TEST_REDIS_CA the store goes to the first one's TLS port), and
 * what the store makes of addresses. */
#include "../../plugins/stores/redis/store_redis.h"
#include "store_util.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define T0 INT64_C(1700000000000)

static fixture f;

static redisContext *raw(void)
{
    rs_address a;
    ck_assert_int_eq(rs_address_parse(env_of("TEST_REDIS"), &a, NULL), 0);
    redisContext *c = redisConnect(a.host, a.port);
    ck_assert_int_eq(c->err, 0);
    rs_address_free(&a);
    return c;
}

/* A command behind the store's back; its integer, or that of its text. */
static long long redis(const char *format, ...)
{
    redisContext *c = raw();
    va_list ap;
    va_start(ap, format);
    redisReply *r = redisvCommand(c, format, ap);
    va_end(ap);
    ck_assert_ptr_nonnull(r);
    long long v = r->type == REDIS_REPLY_INTEGER ? r->integer : r->str != NULL ? atoll(r->str) : -1;
    freeReplyObject(r);
    redisFree(c);
    return v;
}

static void setup(void)
{
    redis("FLUSHALL");
    const char *ca = getenv("TEST_REDIS_CA");
    static char ca_file[300]; /* the store keeps it */
    snprintf(ca_file, sizeof(ca_file), "ca_file=%s", ca != NULL ? ca : "");
    const char *settings[] = {url_setting(ca != NULL ? "TEST_REDIS_TLS" : "TEST_REDIS"), ca_file,
                              "dedup_ids=1000", "dedup_window=1h", NULL};
    store_start(&f, settings);
}

static void teardown(void)
{
    if (f.host != NULL)
        store_stop(&f);
}

static odto_counted event(bool completed, bool failed, int64_t at)
{
    odto_counted e = {.completed = completed, .failed = failed, .occurred_at = at};
    odto_uuid_v7(&e.event_id);
    return e;
}

static int add(const odto_counted *e, size_t n)
{
    odto_write w = {.counted = e, .n = n};
    return store_write(&f, IFACE->counters->add, &w);
}

static odto_counters counters(void)
{
    odto_counters c;
    odto_error err = {0};
    if (IFACE->counters->read(f.store, &c, &err) != 0)
        ck_abort_msg("%s: %s", err.message, err.detail);
    return c;
}

START_TEST(the_contracts_keys)
{
    odto_counted e[3] = {event(true, false, T0), event(false, true, T0 + 1), event(false, false, T0 - 5)};
    ck_assert_str_eq(counters().last_event_time, "");
    ck_assert_int_eq(add(e, 3), 0);
    ck_assert_int_eq(redis("GET metrics:jobs:total"), 3);
    ck_assert_int_eq(redis("GET metrics:jobs:completed"), 1);
    ck_assert_int_eq(redis("GET metrics:jobs:failed"), 1);
    ck_assert_int_eq(redis("TTL metrics:jobs:total"), -1);
    ck_assert_int_eq(redis("TTL metrics:last_event_time"), -1);
    ck_assert_int_gt(redis("TTL odto:metrics:seen"), 0);
    ck_assert_str_eq(counters().last_event_time, "2023-11-14T22:13:20.001Z");
}
END_TEST

START_TEST(each_event_counts_once)
{
    odto_counted e[4];
    for (int i = 0; i < 4; i++)
        e[i] = event(i % 2 == 0, i % 2 == 1, T0 + i);
    e[3] = e[0]; /* in one batch, too */
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(add(e, 4), 0);
    store_stop(&f); /* and by another host */
    const char *settings[] = {url_setting("TEST_REDIS"), NULL};
    store_start(&f, settings);
    ck_assert_int_eq(add(e, 4), 0);
    odto_counters c = counters();
    ck_assert_int_eq(c.total, 3);
    ck_assert_int_eq(c.completed, 2);
    ck_assert_int_eq(c.failed, 1);
}
END_TEST

START_TEST(set_replaces_and_forgets)
{
    odto_counted e = event(true, false, T0);
    odto_counters want = {
        .total = 70, .completed = 60, .failed = 5, .last_event_time = "2024-01-02T03:04:05.678Z"};
    ck_assert_int_eq(add(&e, 1), 0);
    ck_assert_int_eq(IFACE->counters->set(f.store, &want, NULL), 0);
    odto_counters c = counters();
    ck_assert_int_eq(memcmp(&c, &want, sizeof(c)), 0);
    ck_assert_int_eq(add(&e, 1), 0);
    c = counters();
    ck_assert_int_eq(c.total, 71);
    ck_assert_str_eq(c.last_event_time, want.last_event_time); /* never back */
    odto_error err = {0};
    snprintf(want.last_event_time, sizeof(want.last_event_time), "yesterday");
    ck_assert_int_eq(IFACE->counters->set(f.store, &want, &err), -EINVAL);
}
END_TEST

START_TEST(ids_are_bounded)
{
    odto_counted live = event(true, false, T0);
    ck_assert_int_eq(add(&live, 1), 0);
    for (int round = 0; round < 3; round++) { /* read back from a log: older than what is delivered now */
        odto_counted old[600];
        for (int i = 0; i < 600; i++)
            old[i] = event(false, false, odto_unix_ms() - 60000);
        odto_write w = {.counted = old, .n = 600, .replay = true};
        ck_assert_int_eq(store_write(&f, IFACE->counters->add, &w), 0);
    }
    ck_assert_int_eq(redis("ZCARD odto:metrics:seen"), 1000);
    ck_assert_int_eq(add(&live, 1), 0);
    ck_assert_int_eq(counters().total, 1801);
    minihost_advance(f.host, 2 * 3600 * 1000); /* all of them are too old now */
    odto_counted later = event(false, false, T0);
    ck_assert_int_eq(add(&later, 1), 0);
    ck_assert_int_eq(redis("ZCARD odto:metrics:seen"), 1);
}
END_TEST

START_TEST(scripts_lost)
{
    odto_counted a = event(true, false, T0), b = event(true, false, T0);
    ck_assert_int_eq(add(&a, 1), 0);
    redis("SCRIPT FLUSH");
    ck_assert_int_eq(add(&b, 1), 0);
    ck_assert_int_eq(counters().total, 2);
}
END_TEST

START_TEST(a_key_of_another_type)
{
    odto_counted e = event(true, false, T0);
    minihost_quiet(f.host, true);
    redis("HSET metrics:jobs:completed a 1");
    ck_assert_int_eq(add(&e, 1), -EAGAIN);
    ck_assert_int_eq(redis("EXISTS odto:metrics:seen"), 0); /* nothing was half done */
    ck_assert_ptr_nonnull(strstr(minihost_health(f.host).reason, "WRONGTYPE"));
    redis("DEL metrics:jobs:completed");
    ck_assert(store_ready_within(&f, 10000));
    ck_assert_int_eq(add(&e, 1), 0);
    ck_assert_int_eq(counters().completed, 1);
}
END_TEST

START_TEST(connections_cut)
{
    odto_counted e = event(true, false, T0);
    ck_assert_int_eq(add(&e, 1), 0);
    ck_assert_int_eq(counters().total, 1);
    minihost_quiet(f.host, true);
    redis("CLIENT KILL TYPE normal");
    ck_assert_int_eq(counters().total, 1); /* the reader connects anew at once */
    int code = add(&e, 1);
    ck_assert(code == 0 || code == -EAGAIN);
    ck_assert(store_ready_within(&f, 10000));
    ck_assert_int_eq(add(&e, 1), 0);
    ck_assert_int_eq(counters().total, 1);
}
END_TEST

START_TEST(login)
{
    store_stop(&f);
    const char *good[] = {url_setting("TEST_REDIS_AUTH"), NULL};
    store_start(&f, good);
    odto_counted e = event(true, false, T0);
    ck_assert_int_eq(add(&e, 1), 0);
    store_stop(&f);
    rs_address a;
    char url[320], user[320];
    ck_assert_int_eq(rs_address_parse(env_of("TEST_REDIS_AUTH"), &a, NULL), 0);
    snprintf(url, sizeof(url), "url=redis://:not-the-secret@%s:%d", a.host, a.port);
    snprintf(user, sizeof(user), "url=%s:%d", a.host, a.port);
    rs_address_free(&a);
    const char *bad[] = {url, NULL}, *none[] = {user, NULL};
    store_start_only(&f, bad);
    minihost_quiet(f.host, true);
    ck_assert_int_eq(add(&e, 1), -EAGAIN);
    odto_health h = minihost_health(f.host);
    ck_assert(!h.ready);
    ck_assert_msg(strstr(h.reason, "WRONGPASS") != NULL, "%s", h.reason);
    ck_assert_ptr_null(strstr(h.reason, "secret"));
    odto_counters c;
    odto_error err = {0};
    ck_assert_int_eq(IFACE->counters->read(f.store, &c, &err), -EIO);
    ck_assert_ptr_nonnull(strstr(err.hint, "REDIS_URL"));
    store_stop(&f);
    store_start_only(&f, none);
    minihost_quiet(f.host, true);
    ck_assert_int_eq(add(&e, 1), -EAGAIN);
    ck_assert_ptr_nonnull(strstr(minihost_health(f.host).reason, "NOAUTH"));
}
END_TEST

START_TEST(nobody_there)
{
    store_stop(&f);
    const char *settings[] = {"url=127.0.0.1:1", NULL};
    store_start_only(&f, settings); /* the server need not be there */
    minihost_quiet(f.host, true);
    odto_counted e = event(true, false, T0);
    ck_assert_int_eq(add(&e, 1), -EAGAIN);
    ck_assert(!minihost_health(f.host).ready);
    ck_assert_ptr_nonnull(strstr(minihost_health(f.host).reason, "redis at 127.0.0.1:1"));
    odto_counters c;
    odto_error err = {0};
    ck_assert_int_eq(IFACE->counters->read(f.store, &c, &err), -EAGAIN);
    ck_assert_ptr_nonnull(strstr(err.detail, "refused"));
    ck_assert_int_eq(odto_plugin_.ops->quiesce(f.store, odto_now_ns() + ODTO_SEC), 0);
}
END_TEST

/* ---- addresses ---- */

static const struct {
    const char *url, *host, *user, *password;
    int port, db;
    bool tls;
} addresses[] = {
    {"redis", "redis", NULL, NULL, 6379, 0, false},
    {"redis:7000", "redis", NULL, NULL, 7000, 0, false},
    {"redis://h", "h", NULL, NULL, 6379, 0, false},
    {"redis://h:1/2", "h", NULL, NULL, 1, 2, false},
    {"redis://:p%40%2Fx@h:1/", "h", NULL, "p@/x", 1, 0, false},
    {"redis://me:p@[::1]:99", "::1", "me", "p", 99, 0, false},
    {"redis://me:a@b@h", "h", "me", "a@b", 6379, 0, false},
    {"rediss://me:p@h:1/2", "h", "me", "p", 1, 2, true},
};

START_TEST(address_good)
{
    rs_address a;
    ck_assert_int_eq(rs_address_parse(addresses[_i].url, &a, NULL), 0);
    ck_assert_str_eq(a.host, addresses[_i].host);
    ck_assert_int_eq(a.port, addresses[_i].port);
    ck_assert_int_eq(a.db, addresses[_i].db);
    ck_assert_int_eq(a.tls, addresses[_i].tls);
    ck_assert_pstr_eq(a.user, addresses[_i].user);
    ck_assert_pstr_eq(a.password, addresses[_i].password);
    rs_address_free(&a);
}
END_TEST

static const char *const wrong[] = {"",
                                    ":6379",
                                    "redis://",
                                    "http://h",
                                    "h:0",
                                    "h:65536",
                                    "h:6x",
                                    "redis://h/x",
                                    "redis://:secret%zz@h",
                                    "redis://:secret%2@h",
                                    "redis://:secret@h?db=1",
                                    "[::1",
                                    "rediss://:secret@h/x"};

START_TEST(address_wrong)
{
    rs_address a;
    odto_error err = {0};
    char text[1400];
    ck_assert_int_eq(rs_address_parse(wrong[_i], &a, &err), -EINVAL);
    odto_error_text(&err, text, sizeof(text));
    ck_assert_ptr_null(strstr(text, "secret"));
    ck_assert_int_gt((int)strlen(err.hint), 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("redis store");
    TCase *role = tcase_create("role"), *parse = tcase_create("address");
    tcase_add_checked_fixture(role, setup, teardown);
    tcase_set_timeout(role, 60);
    tcase_add_test(role, the_contracts_keys);
    tcase_add_test(role, each_event_counts_once);
    tcase_add_test(role, set_replaces_and_forgets);
    tcase_add_test(role, ids_are_bounded);
    tcase_add_test(role, scripts_lost);
    tcase_add_test(role, a_key_of_another_type);
    tcase_add_test(role, connections_cut);
    tcase_add_test(role, login);
    tcase_add_test(role, nobody_there);
    tcase_add_loop_test(parse, address_good, 0, sizeof(addresses) / sizeof(addresses[0]));
    tcase_add_loop_test(parse, address_wrong, 0, sizeof(wrong) / sizeof(wrong[0]));
    suite_add_tcase(s, role);
    suite_add_tcase(s, parse);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
