/* The transition table: every pair is either one of these moves or illegal. */
#include "host/lifecycle.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

/* state, event, next: written out apart from the table it checks */
static const struct {
    enum life_state state;
    enum life_event event;
    enum life_state next;
} legal[] = {
    {LIFE_STAGED, LIFE_LOAD, LIFE_LOADED},          {LIFE_STAGED, LIFE_ERROR, LIFE_BACKOFF},
    {LIFE_STAGED, LIFE_GIVE_UP, LIFE_FAILED},       {LIFE_STAGED, LIFE_DRAIN, LIFE_DRAINING},
    {LIFE_STAGED, LIFE_DEADLINE, LIFE_ABANDONED},   {LIFE_LOADED, LIFE_START, LIFE_STARTING},
    {LIFE_LOADED, LIFE_ERROR, LIFE_BACKOFF},        {LIFE_LOADED, LIFE_GIVE_UP, LIFE_FAILED},
    {LIFE_LOADED, LIFE_DRAIN, LIFE_DRAINING},       {LIFE_LOADED, LIFE_DEADLINE, LIFE_ABANDONED},
    {LIFE_STARTING, LIFE_UP, LIFE_READY},           {LIFE_STARTING, LIFE_ERROR, LIFE_BACKOFF},
    {LIFE_STARTING, LIFE_GIVE_UP, LIFE_FAILED},     {LIFE_STARTING, LIFE_DRAIN, LIFE_DRAINING},
    {LIFE_STARTING, LIFE_DEADLINE, LIFE_ABANDONED}, {LIFE_READY, LIFE_ERROR, LIFE_BACKOFF},
    {LIFE_READY, LIFE_GIVE_UP, LIFE_FAILED},        {LIFE_READY, LIFE_DRAIN, LIFE_DRAINING},
    {LIFE_READY, LIFE_DEADLINE, LIFE_ABANDONED},    {LIFE_DRAINING, LIFE_ERROR, LIFE_BACKOFF},
    {LIFE_DRAINING, LIFE_GIVE_UP, LIFE_FAILED},     {LIFE_DRAINING, LIFE_DOWN, LIFE_STOPPED},
    {LIFE_DRAINING, LIFE_DEADLINE, LIFE_ABANDONED}, {LIFE_STOPPED, LIFE_LOAD, LIFE_LOADED},
    {LIFE_STOPPED, LIFE_ERROR, LIFE_BACKOFF},       {LIFE_STOPPED, LIFE_GIVE_UP, LIFE_FAILED},
    {LIFE_BACKOFF, LIFE_LOAD, LIFE_LOADED},         {LIFE_BACKOFF, LIFE_ERROR, LIFE_BACKOFF},
    {LIFE_BACKOFF, LIFE_GIVE_UP, LIFE_FAILED},      {LIFE_BACKOFF, LIFE_DRAIN, LIFE_DRAINING},
    {LIFE_BACKOFF, LIFE_DOWN, LIFE_STOPPED},        {LIFE_BACKOFF, LIFE_DEADLINE, LIFE_ABANDONED},
    {LIFE_FAILED, LIFE_LOAD, LIFE_LOADED},          {LIFE_FAILED, LIFE_GIVE_UP, LIFE_FAILED},
    {LIFE_FAILED, LIFE_DRAIN, LIFE_DRAINING},       {LIFE_FAILED, LIFE_DOWN, LIFE_STOPPED},
    {LIFE_ABANDONED, LIFE_LOAD, LIFE_LOADED},       {LIFE_ABANDONED, LIFE_ERROR, LIFE_BACKOFF},
    {LIFE_ABANDONED, LIFE_GIVE_UP, LIFE_FAILED},
};

static int expected(int s, int e)
{
    for (size_t i = 0; i < sizeof legal / sizeof legal[0]; i++)
        if ((int)legal[i].state == s && (int)legal[i].event == e)
            return (int)legal[i].next;
    return -1;
}

START_TEST(every_pair)
{
    for (int s = 0; s < LIFE_STATES; s++)
        for (int e = 0; e < LIFE_EVENTS; e++)
            ck_assert_msg(life_next((enum life_state)s, (enum life_event)e) == expected(s, e), "%s + %s",
                          life_state_name((enum life_state)s), life_event_name((enum life_event)e));
}
END_TEST

START_TEST(outside_the_table)
{
    ck_assert_int_eq(life_next(LIFE_STATES, LIFE_LOAD), -1);
    ck_assert_int_eq(life_next(LIFE_READY, LIFE_EVENTS), -1);
    ck_assert_str_eq(life_state_name(LIFE_STATES), "?");
    ck_assert_str_eq(life_event_name(LIFE_EVENTS), "?");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("lifecycle");
    TCase *t = tcase_create("table");
    tcase_add_test(t, every_pair);
    tcase_add_test(t, outside_the_table);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
