/* Events: bodies, references, header, memory that comes back, blocks freed on other threads. */
#include "route_util.h"
#include <errno.h>

static struct event_pool *pool;

static void setup(void)
{
    pool = event_pool_new(0);
    ck_assert_ptr_nonnull(pool);
}

static void teardown(void)
{
    event_pool_free(pool);
}

START_TEST(body_is_a_terminated_copy)
{
    for (size_t n = 0; n < 70000; n = n * 3 / 2 + 1) {
        char *text = malloc(n + 1);
        memset(text, 'x', n);
        odto_event *e = event_make(pool, odto_slice_of(text, n), 0);
        ck_assert_ptr_nonnull(e);
        memset(text, 'y', n);
        ck_assert_uint_eq(e->body.n, n);
        ck_assert_int_eq(e->body.p[n], 0);
        for (size_t i = 0; i < n; i++)
            ck_assert_int_eq(e->body.p[i], 'x');
        ck_assert_uint_ge(event_cost(e), n + sizeof *e);
        event_unref(e);
        free(text);
    }
}
END_TEST

START_TEST(header_is_parsed_on_request)
{
    odto_buf b = {0};
    odto_producer by = {"gateway", "g-1", "0.1.0"};
    odto_uuid id, correlation, job;
    odto_uuid_v7(&id);
    odto_uuid_v7(&correlation);
    odto_uuid_v7(&job);
    char jobid[37], text[300];
    odto_uuid_format(&job, jobid);
    snprintf(text, sizeof text,
             "{\"id\":\"%s\",\"type\":\"t\",\"status\":\"PENDING\",\"createdAt\":\"2024-01-02T03:04:05Z\"}",
             jobid);
    ck_assert(odto_envelope_created(&b, &by, &id, &correlation, &job, 1700000000000, odto_slice_str(NULL),
                                    odto_slice_str(text)));
    odto_event *e = event_make(pool, odto_slice_of(b.p, b.n), ODTO_EVENT_VALID);
    odto_buf_free(&b);
    ck_assert_ptr_nonnull(e);
    ck_assert(e->flags & ODTO_EVENT_VALID);
    ck_assert(odto_uuid_eq(&e->hdr.event_id, &id));
    ck_assert(odto_uuid_eq(&e->hdr.job_id, &job));
    ck_assert(e->hdr.job_json.p > e->body.p && e->hdr.job_json.p < e->body.p + e->body.n);
    event_unref(e);
    errno = 0;
    ck_assert_ptr_null(event_make(pool, odto_slice_str("{\"no\":1}"), ODTO_EVENT_VALID));
    ck_assert_int_eq(errno, EINVAL);
}
END_TEST

START_TEST(last_reference_frees)
{
    struct event_pool_stats before, after;
    char *big = calloc(1, 100000);
    event_pool_stats(pool, &before);
    odto_event *e = event_make(pool, odto_slice_of(big, 100000), 0);
    event_ref(e);
    event_ref_n(e, 2);
    for (int i = 0; i < 3; i++) {
        event_unref(e);
        event_pool_stats(pool, &after);
        ck_assert_uint_eq(after.larges, 1);
    }
    event_unref(e);
    event_pool_stats(pool, &after);
    ck_assert_uint_eq(after.larges, 0);
    ck_assert_uint_eq(after.bytes, before.bytes);
    free(big);
}
END_TEST

START_TEST(memory_comes_back)
{
    enum { N = 60000 };
    odto_event **es = calloc(N, sizeof *es);
    struct event_pool_stats full, empty;
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < N; i++)
            es[i] = numbered(pool, i, 64 + i % 2000);
        event_pool_stats(pool, &full);
        size_t wrong = 0;
        for (size_t i = 0; i < N; i++) {
            wrong += number_of(es[i]) != i;
            event_unref(es[i]);
        }
        ck_assert_uint_eq(wrong, 0);
        event_pool_stats(pool, &empty);
        ck_assert_uint_lt(empty.bytes, full.bytes / 4);
    }
    free(es);
}
END_TEST

START_TEST(limit_refuses_and_recovers)
{
    struct event_pool *small = event_pool_new(1 << 20);
    odto_event *es[10000];
    size_t n = 0;
    while (n < 10000) {
        char *body;
        odto_event *e = event_make_space(small, 900, &body);
        if (!e)
            break;
        es[n++] = e;
    }
    ck_assert_uint_gt(n, 500);
    ck_assert_uint_lt(n, 2000);
    ck_assert_int_eq(errno, ENOMEM);
    while (n)
        event_unref(es[--n]);
    odto_event *e = numbered(small, 1, 900);
    event_unref(e);
    event_pool_free(small);
}
END_TEST

/* A producer's events are dropped by another thread, for longer than any cache. */
struct handover {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    odto_event *slot[64];
    size_t n;
    bool end;
};

static void *dropper(void *arg)
{
    struct handover *h = arg;
    pthread_mutex_lock(&h->lock);
    for (;;) {
        while (!h->n && !h->end)
            pthread_cond_wait(&h->changed, &h->lock);
        if (!h->n)
            break;
        odto_event *e = h->slot[--h->n];
        pthread_cond_signal(&h->changed);
        pthread_mutex_unlock(&h->lock);
        number_of(e);
        event_unref(e);
        pthread_mutex_lock(&h->lock);
    }
    pthread_mutex_unlock(&h->lock);
    return NULL;
}

START_TEST(blocks_travel_between_threads)
{
    struct handover h = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    pthread_t t;
    ck_assert_int_eq(pthread_create(&t, NULL, dropper, &h), 0);
    struct event_pool_stats s;
    for (uint64_t i = 0; i < 50000; i++) {
        odto_event *e = numbered(pool, i, 256);
        pthread_mutex_lock(&h.lock);
        while (h.n == 64)
            pthread_cond_wait(&h.changed, &h.lock);
        h.slot[h.n++] = e;
        pthread_cond_signal(&h.changed);
        pthread_mutex_unlock(&h.lock);
    }
    pthread_mutex_lock(&h.lock);
    h.end = true;
    pthread_cond_signal(&h.changed);
    pthread_mutex_unlock(&h.lock);
    pthread_join(t, NULL);
    event_pool_stats(pool, &s);
    ck_assert_uint_le(s.bytes, 4u << 18);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("event");
    TCase *t = tcase_create("pool");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, body_is_a_terminated_copy);
    tcase_add_test(t, header_is_parsed_on_request);
    tcase_add_test(t, last_reference_frees);
    tcase_add_test(t, memory_comes_back);
    tcase_add_test(t, limit_refuses_and_recovers);
    tcase_add_test(t, blocks_travel_between_threads);
    suite_add_tcase(s, t);
    return run_suite(s);
}
