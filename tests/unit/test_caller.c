/* host/caller: a thread for somebody who waits with a deadline. */
#include "host/caller.h"

#include <odto/base.h>

#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>

#define LONG  (30 * ODTO_SEC)
#define SHORT ODTO_MS

struct work {
    pthread_t thread;
    char name[16];
    int runs;
    sem_t begun, go, over;
};

static struct work *work_new(void)
{
    struct work *w = calloc(1, sizeof *w);
    ck_assert_ptr_nonnull(w);
    sem_init(&w->begun, 0, 0);
    sem_init(&w->go, 0, 0);
    sem_init(&w->over, 0, 0);
    return w;
}

static void work_free(struct work *w)
{
    sem_destroy(&w->begun);
    sem_destroy(&w->go);
    sem_destroy(&w->over);
    free(w);
}

static void note(void *arg)
{
    struct work *w = arg;
    w->thread = pthread_self();
    pthread_getname_np(w->thread, w->name, sizeof w->name);
    w->runs++;
}

static void wait_for_go(void *arg)
{
    struct work *w = arg;
    sem_post(&w->begun);
    while (sem_wait(&w->go))
        continue;
    w->runs++;
    sem_post(&w->over);
}

START_TEST(one_after_another_on_one_thread)
{
    struct caller *c = caller_new();
    struct work *w = work_new();
    ck_assert_ptr_nonnull(c);
    ck_assert_int_eq(caller_run(c, "first", note, w, LONG), 0);
    pthread_t first = w->thread;
    ck_assert_str_eq(w->name, "first");
    ck_assert(!pthread_equal(first, pthread_self()));
    ck_assert_int_eq(caller_run(c, "a name that is longer than a thread's", note, w, LONG), 0);
    ck_assert(pthread_equal(first, w->thread));
    ck_assert_str_eq(w->name, "a name that is ");
    ck_assert_int_eq(w->runs, 2);
    ck_assert_int_eq(caller_end(c, LONG), 0);
    work_free(w);
}
END_TEST

START_TEST(one_that_is_never_used_ends)
{
    struct caller *c = caller_new();
    ck_assert_ptr_nonnull(c);
    ck_assert_int_eq(caller_end(c, LONG), 0);
    c = caller_new();
    ck_assert_ptr_nonnull(c);
    caller_leave(c); /* frees itself: a leak checker says so if not */
}
END_TEST

/* What does not come back in time is left; it still ends, and frees itself, when it does. */
START_TEST(a_late_one_is_left)
{
    struct caller *c = caller_new();
    struct work *w = work_new();
    ck_assert_ptr_nonnull(c);
    ck_assert_int_eq(caller_run(c, "late", wait_for_go, w, SHORT), -ETIMEDOUT);
    caller_leave(c);
    sem_wait(&w->begun); /* it may not have had its first turn until now */
    sem_post(&w->go);
    sem_wait(&w->over);
    ck_assert_int_eq(w->runs, 1);
    work_free(w);
}
END_TEST

static sem_t in_destructor, leave_destructor;
static struct caller *volatile left; /* its memory is nobody's any more: not a leak of the test's */

static void destructor(void *arg)
{
    (void)arg;
    sem_post(&in_destructor);
    while (sem_wait(&leave_destructor))
        continue;
}

static void set_key(void *arg)
{
    pthread_setspecific(*(pthread_key_t *)arg, arg);
}

/* A thread key of the plugin's keeps the thread: that is noticed, and its memory left alone. */
START_TEST(a_thread_key_that_does_not_return)
{
    pthread_key_t key;
    sem_init(&in_destructor, 0, 0);
    sem_init(&leave_destructor, 0, 0);
    ck_assert_int_eq(pthread_key_create(&key, destructor), 0);
    struct caller *c = left = caller_new();
    ck_assert_ptr_nonnull(c);
    ck_assert_int_eq(caller_run(c, "key", set_key, &key, LONG), 0);
    ck_assert_int_eq(caller_end(c, SHORT), -ETIMEDOUT);
    sem_wait(&in_destructor);
    sem_post(&leave_destructor);

    c = caller_new(); /* one that returns in time is waited for */
    ck_assert_ptr_nonnull(c);
    ck_assert_int_eq(caller_run(c, "key", set_key, &key, LONG), 0);
    sem_post(&leave_destructor);
    ck_assert_int_eq(caller_end(c, LONG), 0);
    pthread_key_delete(key);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("caller");
    TCase *t = tcase_create("caller");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, one_after_another_on_one_thread);
    tcase_add_test(t, one_that_is_never_used_ends);
    tcase_add_test(t, a_late_one_is_left);
    tcase_add_test(t, a_thread_key_that_does_not_return);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
