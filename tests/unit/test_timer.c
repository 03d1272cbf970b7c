/* Timers: order, moving, disarming, freeing while the callback runs, reaping by owner. */
#include "host/timer.h"

#include <check.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>

static timer_service *service;
static sem_t fired;
static atomic_int order[8], n_order;

struct one {
    int id;
    odto_timer *timer;
};

static void note(void *arg)
{
    struct one *o = arg;
    atomic_store(&order[atomic_fetch_add(&n_order, 1)], o->id);
    sem_post(&fired);
}

static void setup(void)
{
    service = timer_service_new();
    ck_assert_ptr_nonnull(service);
    sem_init(&fired, 0, 0);
    atomic_store(&n_order, 0);
}

static void teardown(void)
{
    timer_service_free(service);
}

/* A callback that holds the timers' thread until let_go: what is armed meanwhile fires afterwards, however
 * slow this thread is. */
static sem_t held, release;

static void hold(void *arg)
{
    (void)arg;
    sem_post(&held);
    sem_wait(&release);
}

static odto_timer *hold_thread(void)
{
    odto_timer *t = timer_create_for(service, NULL, hold, NULL);
    sem_init(&held, 0, 0);
    sem_init(&release, 0, 0);
    timer_arm(t, 0);
    sem_wait(&held);
    return t;
}

static void let_go(odto_timer *t)
{
    sem_post(&release);
    timer_destroy(t);
}

START_TEST(fires_in_order_of_due_time)
{
    struct one a = {1, NULL}, b = {2, NULL}, c = {3, NULL};
    struct one *all[] = {&a, &b, &c};
    for (int i = 0; i < 3; i++)
        all[i]->timer = timer_create_for(service, NULL, note, all[i]);
    odto_timer *holder = hold_thread();
    int64_t began;
    do { /* a delay counts from its call, so the calls must follow each other quickly */
        began = odto_now_ns();
        timer_arm(a.timer, 60 * ODTO_MS);
        timer_arm(b.timer, 20 * ODTO_MS);
        timer_arm(c.timer, 40 * ODTO_MS);
    } while (odto_now_ns() - began > 15 * ODTO_MS);
    let_go(holder);
    for (int i = 0; i < 3; i++)
        sem_wait(&fired);
    ck_assert_int_eq(order[0], 2);
    ck_assert_int_eq(order[1], 3);
    ck_assert_int_eq(order[2], 1);
    for (int i = 0; i < 3; i++)
        timer_destroy(all[i]->timer);
}
END_TEST

START_TEST(moved_and_disarmed)
{
    struct one a = {1, NULL}, b = {2, NULL};
    a.timer = timer_create_for(service, NULL, note, &a);
    b.timer = timer_create_for(service, NULL, note, &b);
    timer_arm(a.timer, 3600 * ODTO_SEC);
    timer_arm(b.timer, 0);
    sem_wait(&fired);
    timer_arm(a.timer, 0); /* moved from an hour to now */
    sem_wait(&fired);
    ck_assert_int_eq(order[1], 1);
    odto_timer *holder = hold_thread();
    timer_arm(a.timer, 10 * ODTO_MS);
    timer_arm(a.timer, -1);
    timer_arm(b.timer, 30 * ODTO_MS);
    let_go(holder);
    sem_wait(&fired);
    ck_assert_int_eq(order[2], 2); /* a would have been first */
    timer_destroy(a.timer);
    timer_destroy(b.timer);
}
END_TEST

static sem_t entered, leave;
static atomic_bool left;

static void slow(void *arg)
{
    (void)arg;
    sem_post(&entered);
    sem_wait(&leave);
    atomic_store(&left, true);
}

static void *destroy(void *arg)
{
    timer_destroy(arg);
    return (void *)(uintptr_t)atomic_load(&left);
}

START_TEST(destroy_waits_for_a_running_callback)
{
    sem_init(&entered, 0, 0);
    sem_init(&leave, 0, 0);
    odto_timer *t = timer_create_for(service, NULL, slow, NULL);
    timer_arm(t, 0);
    sem_wait(&entered);
    pthread_t id;
    pthread_create(&id, NULL, destroy, t);
    sem_post(&leave);
    void *had_left;
    pthread_join(id, &had_left);
    ck_assert_ptr_nonnull(had_left);
}
END_TEST

START_TEST(reaped_by_owner)
{
    int mine, other;
    for (int i = 0; i < 5; i++)
        timer_arm(timer_create_for(service, &mine, note, NULL), 3600 * ODTO_SEC);
    odto_timer *keep = timer_create_for(service, &other, note, NULL);
    ck_assert_uint_eq(timer_count(service, &mine), 5);
    ck_assert_uint_eq(timer_reap(service, &mine), 5);
    ck_assert_uint_eq(timer_count(service, &mine), 0);
    ck_assert_uint_eq(timer_count(service, &other), 1);
    timer_destroy(keep);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("timer");
    TCase *t = tcase_create("timer");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, fires_in_order_of_due_time);
    tcase_add_test(t, moved_and_disarmed);
    tcase_add_test(t, destroy_waits_for_a_running_callback);
    tcase_add_test(t, reaped_by_owner);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
