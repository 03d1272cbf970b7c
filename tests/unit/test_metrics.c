/* test_metrics.c — host/metrics: text, escaping, owners, bounds, scrapes beside changes, promtool. */
#include "metrics.h"

#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const int owner_a, owner_b; /* two addresses */

static metrics_spec spec(odto_metric_type type, const char *name, const char *labels,
                         const char *const *values)
{
    return (metrics_spec){
        .type = type, .name = name, .help = "What it says.", .labels = labels, .values = values};
}

static odto_metric *cell(metrics *m, const void *owner, const metrics_spec *s)
{
    odto_metric *c = NULL;
    odto_error err = {0};
    int code = metrics_cell(m, owner, s, &c, &err);
    ck_assert_msg(code == 0, "%s", err.message);
    return c;
}

static char *render(metrics *m)
{
    odto_buf b = {0};
    ck_assert_int_eq(metrics_render(m, &b), 0);
    return b.p;
}

static bool shows(metrics *m, const char *line)
{
    char *text = render(m);
    bool found = strstr(text, line) != NULL;
    free(text);
    return found;
}

START_TEST(text_format)
{
    metrics *m = metrics_new();
    const char *values[] = {"ec\"ho\\\n", ""};
    metrics_spec s = spec(ODTO_COUNTER, "jobs_total", "type,host", values);
    s.help = "Jobs with \\ and\nnewline.";
    odto_metric_add(cell(m, &owner_a, &s), 41);
    odto_metric_add(cell(m, &owner_a, &s), 1);
    metrics_spec g = spec(ODTO_GAUGE, "depth", NULL, NULL);
    odto_metric_set(cell(m, &owner_a, &g), -7);
    ck_assert(shows(m, "# HELP depth What it says.\n# TYPE depth gauge\ndepth -7\n"
                       "# HELP jobs_total Jobs with \\\\ and\\nnewline.\n# TYPE jobs_total counter\n"
                       "jobs_total{type=\"ec\\\"ho\\\\\\n\",host=\"\"} 42\n"));
    const char *bad[] = {"\xff", "x"};
    s.values = bad;
    cell(m, &owner_a, &s);
    ck_assert(shows(m, "jobs_total{type=\"invalid\",host=\"x\"} 0\n"));
    metrics_free(m);
}
END_TEST

START_TEST(histogram)
{
    static const double bounds[] = {.005, .1, 2.5};
    metrics *m = metrics_new();
    const char *values[] = {"/jobs"};
    metrics_spec s = spec(ODTO_HISTOGRAM, "seconds", "route", values);
    s.bounds = bounds;
    s.n_bounds = 3;
    odto_metric *c = cell(m, &owner_a, &s);
    odto_metric_observe(c, 0.005);
    odto_metric_observe(c, 0.05);
    odto_metric_observe(c, 1);
    odto_metric_observe(c, 100);
    ck_assert(shows(
        m, "seconds_bucket{route=\"/jobs\",le=\"0.005\"} 1\nseconds_bucket{route=\"/jobs\",le=\"0.1\"} 2\n"
           "seconds_bucket{route=\"/jobs\",le=\"2.5\"} 3\nseconds_bucket{route=\"/jobs\",le=\"+Inf\"} 4\n"
           "seconds_sum{route=\"/jobs\"} 101.055\nseconds_count{route=\"/jobs\"} 4\n"));
    metrics_spec other = s;
    other.n_bounds = 2;
    odto_error err = {0};
    ck_assert_int_eq(metrics_cell(m, &owner_a, &other, &c, &err), -EINVAL);
    metrics_free(m);
}
END_TEST

START_TEST(shapes_must_agree)
{
    metrics *m = metrics_new();
    const char *values[] = {"x"};
    metrics_spec s = spec(ODTO_COUNTER, "a_total", "type", values), t = s;
    odto_metric *c;
    odto_error err = {0};
    cell(m, &owner_a, &s);
    t.type = ODTO_GAUGE;
    ck_assert_int_eq(metrics_cell(m, &owner_a, &t, &c, &err), -EINVAL);
    t = s;
    t.labels = "kind";
    ck_assert_int_eq(metrics_cell(m, &owner_a, &t, &c, &err), -EINVAL);
    t.name = "1a";
    ck_assert_int_eq(metrics_cell(m, &owner_a, &t, &c, &err), -EINVAL);
    t.name = "b_total";
    t.labels = "ki-nd";
    ck_assert_int_eq(metrics_cell(m, &owner_a, &t, &c, &err), -EINVAL);
    ck_assert(!shows(m, "b_total"));
    metrics_free(m);
}
END_TEST

START_TEST(children_are_bounded)
{
    metrics *m = metrics_new();
    char name[16];
    const char *values[] = {name};
    metrics_spec s = spec(ODTO_COUNTER, "a_total", "type", values);
    for (int i = 0; i < METRICS_CHILDREN + 50; i++) {
        snprintf(name, sizeof(name), "t%d", i);
        odto_metric_add(cell(m, &owner_a, &s), 1);
    }
    ck_assert(shows(m, "a_total{type=\"t199\"} 1\n"));
    ck_assert(!shows(m, "a_total{type=\"t200\"}"));
    ck_assert(shows(m, "a_total{type=\"other\"} 50\n"));
    metrics_free(m);
}
END_TEST

START_TEST(owners)
{
    metrics *m = metrics_new();
    metrics_spec c = spec(ODTO_COUNTER, "a_total", NULL, NULL), g = spec(ODTO_GAUGE, "b", NULL, NULL);
    odto_metric_add(cell(m, &owner_a, &c), 5);
    odto_metric_set(cell(m, &owner_a, &g), 5);
    odto_metric *second = cell(m, &owner_b, &c); /* the new generation, before the old one is dropped */
    metrics_drop(m, &owner_a);
    ck_assert(shows(m, "a_total 5\n"));
    ck_assert(!shows(m, "\nb "));
    odto_metric_add(second, 1);
    ck_assert(shows(m, "a_total 6\n"));
    metrics_drop(m, &owner_b);
    ck_assert(!shows(m, "a_total"));
    odto_metric_add(second, 1); /* a late thread: memory is still there */
    cell(m, &owner_a, &c);
    cell(m, &owner_a, &g);
    ck_assert(shows(m, "a_total 7\n"));
    ck_assert(shows(m, "\nb 0\n"));
    metrics_free(m);
}
END_TEST

static double forty_two(void *arg)
{
    return 42 + *(double *)arg;
}

START_TEST(functions)
{
    metrics *m = metrics_new();
    double old = 0, new = 1;
    metrics_spec s = spec(ODTO_GAUGE, "depth", NULL, NULL);
    ck_assert_int_eq(metrics_fn(m, &owner_a, &s, forty_two, &old, NULL), 0);
    ck_assert(shows(m, "depth 42\n"));
    ck_assert_int_eq(metrics_fn(m, &owner_b, &s, forty_two, &new, NULL), 0);
    ck_assert(shows(m, "depth 43\n"));
    metrics_drop(m, &owner_b); /* rolled back: the former one is shown again */
    ck_assert(shows(m, "depth 42\n"));
    metrics_drop(m, &owner_a);
    ck_assert(!shows(m, "depth"));
    metrics_free(m);
}
END_TEST

static int running, dropped, scraping;

static double slow(void *arg)
{
    (void)arg;
    __atomic_store_n(&running, 1, __ATOMIC_SEQ_CST);
    for (int i = 0; i < 200; i++)
        usleep(500);
    ck_assert_int_eq(__atomic_load_n(&dropped, __ATOMIC_SEQ_CST), 0);
    __atomic_store_n(&running, 0, __ATOMIC_SEQ_CST);
    return 1;
}

static void *scraper(void *arg)
{
    free(render(arg));
    return NULL;
}

START_TEST(drop_waits_for_a_running_function)
{
    metrics *m = metrics_new();
    metrics_spec s = spec(ODTO_GAUGE, "depth", NULL, NULL);
    pthread_t t;
    ck_assert_int_eq(metrics_fn(m, &owner_a, &s, slow, NULL, NULL), 0);
    pthread_create(&t, NULL, scraper, m);
    while (!__atomic_load_n(&running, __ATOMIC_SEQ_CST))
        usleep(100);
    metrics_drop(m, &owner_a);
    __atomic_store_n(&dropped, 1, __ATOMIC_SEQ_CST);
    ck_assert_int_eq(__atomic_load_n(&running, __ATOMIC_SEQ_CST), 0);
    pthread_join(t, NULL);
    metrics_free(m);
}
END_TEST

static void *scrape_on(void *arg)
{
    while (__atomic_load_n(&scraping, __ATOMIC_SEQ_CST))
        free(render(arg));
    return NULL;
}

START_TEST(scrapes_beside_changes)
{
    metrics *m = metrics_new();
    pthread_t t;
    char name[16];
    const char *values[] = {name};
    double zero = 0;
    metrics_spec s = spec(ODTO_COUNTER, "a_total", "type", values), f = spec(ODTO_GAUGE, "g", "type", values);
    scraping = 1;
    pthread_create(&t, NULL, scrape_on, m);
    for (int i = 0; i < 300; i++) {
        const void *owner = i % 2 ? (const void *)&owner_a : &owner_b;
        snprintf(name, sizeof(name), "t%d", i % 37);
        odto_metric_add(cell(m, owner, &s), 1);
        ck_assert_int_eq(metrics_fn(m, owner, &f, forty_two, &zero, NULL), 0);
        if (i % 10 == 9)
            metrics_drop(m, owner);
    }
    __atomic_store_n(&scraping, 0, __ATOMIC_SEQ_CST);
    pthread_join(t, NULL);
    metrics_free(m);
}
END_TEST

START_TEST(process_and_build)
{
    metrics *m = metrics_new();
    ck_assert_int_eq(metrics_add_build_info(m, &owner_a, "1.2.3"), 0);
    char *text = render(m);
    ck_assert_ptr_nonnull(strstr(text, "odto_build_info{version=\"1.2.3\",compiler=\""));
    const char *p = strstr(text, "\nprocess_resident_memory_bytes ");
    ck_assert_ptr_nonnull(p);
    ck_assert_double_gt(strtod(strchr(p + 1, ' '), NULL), 1e5);
    p = strstr(text, "\nprocess_start_time_seconds ");
    ck_assert_double_lt(strtod(strchr(p + 1, ' '), NULL) - (double)odto_unix_ms() / 1e3, 60);
    ck_assert_double_gt(strtod(strchr(p + 1, ' '), NULL) - (double)odto_unix_ms() / 1e3, -60);
    p = strstr(text, "\nprocess_open_fds ");
    ck_assert_double_ge(strtod(strchr(p + 1, ' '), NULL), 3);
    free(text);
    metrics_free(m);
}
END_TEST

/* promtool(1) of Debian's package prometheus; without it the test says nothing. */
START_TEST(promtool_is_content)
{
    static const double bounds[] = {.005, .1, 2.5};
    metrics *m = metrics_new();
    const char *values[] = {"a\"\\\nb"};
    metrics_spec s = spec(ODTO_COUNTER, "x_total", "type", values),
                 h = spec(ODTO_HISTOGRAM, "y_seconds", "type", values);
    h.bounds = bounds;
    h.n_bounds = 3;
    odto_metric_add(cell(m, &owner_a, &s), 3);
    odto_metric_observe(cell(m, &owner_a, &h), 1);
    metrics_add_build_info(m, &owner_a, "1");
    char *text = render(m);
    FILE *f = popen("command -v promtool >/dev/null || exit 77; promtool check metrics", "w");
    fputs(text, f);
    int status = pclose(f);
    free(text);
    ck_assert(WIFEXITED(status));
    ck_assert_msg(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 77, "promtool: exit %d",
                  WEXITSTATUS(status));
    metrics_free(m);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("metrics");
    TCase *t = tcase_create("metrics");
    tcase_set_timeout(t, 30);
    tcase_add_test(t, text_format);
    tcase_add_test(t, histogram);
    tcase_add_test(t, shapes_must_agree);
    tcase_add_test(t, children_are_bounded);
    tcase_add_test(t, owners);
    tcase_add_test(t, functions);
    tcase_add_test(t, drop_waits_for_a_running_function);
    tcase_add_test(t, scrapes_beside_changes);
    tcase_add_test(t, process_and_build);
    tcase_add_test(t, promtool_is_content);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
