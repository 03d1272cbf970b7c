/* The parts of the bridge rabbitmq that need no broker: the window of confirms, the acknowledgements. */
#include "acks.h"
#include "window.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- window ---- */

static char items[4096]; /* item k is &items[k] */
static int times[4096], returns[4096];
static size_t order[4096], n_order;

static void seen(void *arg, void *item, bool returned)
{
    (void)arg;
    size_t k = (size_t)((char *)item - items);
    times[k]++;
    returns[k] += returned;
    order[n_order++ % 4096] = k;
}

static void window_setup(void)
{
    memset(times, 0, sizeof times);
    memset(returns, 0, sizeof returns);
    n_order = 0;
}

START_TEST(confirms_single_multiple_and_out_of_order)
{
    struct window w;
    ck_assert_int_eq(window_init(&w, 16), 0);
    for (size_t k = 0; k < 10; k++)
        ck_assert_uint_eq(window_push(&w, &items[k]), k + 1);
    ck_assert_uint_eq(window_confirm(&w, 5, false, seen, NULL), 1);
    ck_assert_uint_eq(window_confirm(&w, 5, false, seen, NULL), 0); /* twice is once */
    ck_assert_uint_eq(window_confirm(&w, 7, true, seen, NULL), 6);  /* 1-4, 6, 7 */
    ck_assert_uint_eq(window_confirm(&w, 3, true, seen, NULL), 0);
    ck_assert_uint_eq(window_confirm(&w, 99, false, seen, NULL), 0);
    ck_assert_uint_eq(w.open, 3);
    ck_assert_uint_eq(window_confirm(&w, 0, true, seen, NULL), 3); /* 0: all */
    for (size_t k = 0; k < 10; k++)
        ck_assert_int_eq(times[k], 1);
    ck_assert_uint_eq(w.open, 0);
    window_free(&w);
}
END_TEST

START_TEST(full_by_span_not_by_count)
{
    struct window w;
    ck_assert_int_eq(window_init(&w, 16), 0);
    for (size_t k = 0; k < 16; k++)
        window_push(&w, &items[k]);
    ck_assert(window_full(&w));
    for (uint64_t t = 2; t <= 16; t++)
        window_confirm(&w, t, false, seen, NULL);
    ck_assert(window_full(&w)); /* tag 1 holds the ring */
    ck_assert_ptr_eq(window_oldest(&w), &items[0]);
    window_confirm(&w, 1, false, seen, NULL);
    ck_assert(!window_full(&w));
    ck_assert_ptr_null(window_oldest(&w));
    window_free(&w);
}
END_TEST

static bool is_item(void *arg, const void *item)
{
    return item == arg;
}

START_TEST(a_return_comes_before_its_ack)
{
    struct window w;
    ck_assert_int_eq(window_init(&w, 16), 0);
    for (size_t k = 0; k < 4; k++)
        window_push(&w, &items[k]);
    ck_assert(window_returned(&w, is_item, &items[2]));
    ck_assert(!window_returned(&w, is_item, &items[2])); /* it is marked already */
    window_confirm(&w, 4, true, seen, NULL);
    ck_assert_int_eq(returns[2], 1);
    ck_assert_int_eq(returns[0] + returns[1] + returns[3], 0);
    ck_assert(!window_returned(&w, is_item, &items[1])); /* confirmed: not open */
    window_free(&w);
}
END_TEST

START_TEST(what_is_not_confirmed_is_taken_in_order)
{
    struct window w;
    void *item;
    ck_assert_int_eq(window_init(&w, 16), 0);
    for (size_t k = 0; k < 6; k++)
        window_push(&w, &items[k]);
    window_confirm(&w, 1, false, seen, NULL);
    window_confirm(&w, 4, false, seen, NULL);
    static const size_t left[] = {1, 2, 4, 5};
    for (size_t i = 0; i < 4; i++) {
        ck_assert(window_take(&w, &item));
        ck_assert_ptr_eq(item, &items[left[i]]);
    }
    ck_assert(!window_take(&w, &item));
    window_reset(&w);
    ck_assert_uint_eq(window_push(&w, &items[0]), 1);
    window_free(&w);
}
END_TEST

static void given_up(void *arg, void *item)
{
    (void)arg;
    seen(NULL, item, false);
}

START_TEST(given_up_items_are_not_seen_again)
{
    struct window w;
    void *item;
    ck_assert_int_eq(window_init(&w, 16), 0);
    for (size_t k = 0; k < 3; k++)
        window_push(&w, &items[k]);
    window_give_up(&w, given_up, NULL);
    ck_assert_ptr_null(window_oldest(&w));
    ck_assert_uint_eq(w.open, 3); /* the broker will still confirm the tags */
    ck_assert_uint_eq(window_confirm(&w, 2, true, seen, NULL), 2);
    ck_assert(window_take(&w, &item));
    ck_assert_ptr_null(item);
    for (size_t k = 0; k < 3; k++)
        ck_assert_int_eq(times[k], 1);
    window_free(&w);
}
END_TEST

/* Random confirms against a plain list: every item exactly once, nothing before it was confirmed. */
START_TEST(random_confirms_against_a_model)
{
    struct window w;
    static bool open[2001];
    unsigned seed = 7;
    ck_assert_int_eq(window_init(&w, 64), 0);
    uint64_t pushed = 0, wrong = 0;
    memset(open, 0, sizeof open);
    while (pushed < 2000 || w.open) {
        if (pushed < 2000 && !window_full(&w)) {
            open[window_push(&w, &items[pushed % 4096])] = true;
            pushed++;
        }
        uint64_t tag = 1 + (uint64_t)rand_r(&seed) % pushed;
        bool multiple = rand_r(&seed) % 16 == 0;
        uint32_t expect = 0;
        for (uint64_t t = multiple ? 1 : tag; t <= tag; t++) {
            expect += open[t];
            open[t] = false;
        }
        wrong += window_confirm(&w, tag, multiple, seen, NULL) != expect;
        if (window_full(&w)) { /* the broker gets to the oldest in the end */
            wrong += window_confirm(&w, w.base, false, seen, NULL) != 1;
            for (uint64_t t = 1; t < w.base; t++)
                open[t] = false;
        }
        if (pushed == 2000)
            window_confirm(&w, 0, true, seen, NULL);
    }
    ck_assert_uint_eq(wrong, 0);
    for (size_t k = 0; k < 2000; k++)
        wrong += times[k] != 1;
    ck_assert_uint_eq(wrong, 0);
    window_free(&w);
}
END_TEST

/* ---- acks ---- */

struct sent {
    char text[256];
    int fail_at, n;
};

static bool send(void *arg, uint64_t tag, bool multiple)
{
    struct sent *s = arg;
    if (s->fail_at && ++s->n == s->fail_at)
        return false;
    size_t n = strlen(s->text);
    snprintf(s->text + n, sizeof s->text - n, "%s%llu", multiple ? " ..." : " ", (unsigned long long)tag);
    return true;
}

static void deliver(struct acks *a, uint64_t from, uint64_t to)
{
    for (uint64_t t = from; t <= to; t++)
        ck_assert(acks_delivered(a, t));
}

static void expect_flush(struct acks *a, const char *want)
{
    struct sent s = {.text = ""};
    ck_assert(acks_flush(a, send, &s));
    ck_assert_str_eq(s.text, want);
}

START_TEST(one_multiple_and_the_rest_one_by_one)
{
    struct acks a;
    ck_assert_int_eq(acks_init(&a), 0);
    deliver(&a, 1, 8);
    expect_flush(&a, "");
    acks_settled(&a, 2);
    acks_settled(&a, 1);
    acks_settled(&a, 3);
    acks_settled(&a, 6);
    acks_settled(&a, 6);  /* twice */
    acks_settled(&a, 99); /* never delivered */
    ck_assert_uint_eq(a.unsent, 4);
    expect_flush(&a, " ...3 6");
    ck_assert_uint_eq(a.unsent, 0);
    acks_settled(&a, 4);
    acks_settled(&a, 5);
    expect_flush(&a, " ...5"); /* 6 was sent: the last that is not, a broker would not find 6 */
    acks_settled(&a, 7);
    acks_settled(&a, 8);
    expect_flush(&a, " ...8");
    ck_assert_uint_eq(a.held, 0);
    acks_free(&a);
}
END_TEST

START_TEST(what_went_back_is_not_acknowledged)
{
    struct acks a;
    ck_assert_int_eq(acks_init(&a), 0);
    deliver(&a, 1, 4);
    acks_gone(&a, 2);
    acks_settled(&a, 2);
    acks_settled(&a, 1);
    expect_flush(&a, " ...1");
    acks_gone(&a, 3);
    expect_flush(&a, "");
    acks_settled(&a, 4);
    expect_flush(&a, " ...4");
    acks_free(&a);
}
END_TEST

START_TEST(a_lost_connection_stops_the_flush)
{
    struct acks a;
    struct sent s = {.fail_at = 2};
    ck_assert_int_eq(acks_init(&a), 0);
    deliver(&a, 1, 6);
    acks_settled(&a, 1);
    acks_settled(&a, 3);
    acks_settled(&a, 5);
    ck_assert(!acks_flush(&a, send, &s));
    ck_assert_str_eq(s.text, " ...1");
    acks_reset(&a);
    deliver(&a, 1, 1);
    expect_flush(&a, "");
    acks_free(&a);
}
END_TEST

START_TEST(many_held_deliveries_grow_the_ring)
{
    struct acks a;
    ck_assert_int_eq(acks_init(&a), 0);
    deliver(&a, 1, 500);
    for (uint64_t t = 1; t <= 500; t++)
        acks_settled(&a, t);
    expect_flush(&a, " ...500");
    deliver(&a, 501, 5000); /* wraps and grows */
    for (uint64_t t = 501; t <= 5000; t++)
        if (t != 2000)
            acks_settled(&a, t);
    acks_gone(&a, 2000);
    expect_flush(&a, " ...5000");
    ck_assert(!acks_delivered(&a, 7777)); /* a gap can't be */
    acks_free(&a);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("rabbitmq parts");
    TCase *t = tcase_create("window");
    tcase_add_checked_fixture(t, window_setup, NULL);
    tcase_add_test(t, confirms_single_multiple_and_out_of_order);
    tcase_add_test(t, full_by_span_not_by_count);
    tcase_add_test(t, a_return_comes_before_its_ack);
    tcase_add_test(t, what_is_not_confirmed_is_taken_in_order);
    tcase_add_test(t, given_up_items_are_not_seen_again);
    tcase_add_test(t, random_confirms_against_a_model);
    suite_add_tcase(s, t);
    t = tcase_create("acks");
    tcase_add_test(t, one_multiple_and_the_rest_one_by_one);
    tcase_add_test(t, what_went_back_is_not_acknowledged);
    tcase_add_test(t, a_lost_connection_stops_the_flush);
    tcase_add_test(t, many_held_deliveries_grow_the_ring);
    suite_add_tcase(s, t);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, getenv("CK_TAP_LOG_FILE_NAME") ? CK_SILENT : CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
