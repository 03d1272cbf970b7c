/* route_util.h — shared by the tests of the event core: events with a number in them, a main(). */
#ifndef ROUTE_UTIL_H
#define ROUTE_UTIL_H

#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "route.h"

static inline odto_event *numbered(struct event_pool *pool, uint64_t number, size_t size)
{
    char *body;
    odto_event *e = event_make_space(pool, size < sizeof number ? sizeof number : size, &body);
    if (!e)
        ck_abort_msg("no event");
    memset(body, (int)('a' + number % 26), e->body.n);
    memcpy(body, &number, sizeof number);
    return e;
}

static inline uint64_t number_of(const odto_event *e)
{
    uint64_t number;
    memcpy(&number, e->body.p, sizeof number);
    size_t bad = 0; /* one assertion an event: each costs a write to the runner */
    for (size_t i = sizeof number; i < e->body.n; i++)
        bad += e->body.p[i] != (char)('a' + number % 26);
    if (bad)
        ck_abort_msg("%zu bytes of event %llu are not its own", bad, (unsigned long long)number);
    return number;
}

/* Publish one numbered event, dropping our reference; the route's result. */
static inline int publish_number(struct event_pool *pool, odto_route *r, uint64_t number, uint32_t flags,
                                 odto_publish_done *done, void *arg)
{
    odto_event *e = numbered(pool, number, 64);
    int rc = route_publish(r, &e, 1, flags, done, arg, NULL);
    event_unref(e);
    return rc;
}

static inline int run_suite(Suite *s)
{
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, getenv("CK_TAP_LOG_FILE_NAME") ? CK_SILENT : CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
