/* test_log.c — host/log: form, bounds, levels, rate, a reader that does not read. */
#include "log.h"
#include <odto/json.h>

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static char folder[] = "/tmp/test_log_XXXXXX";
static char file[64];

static void setup(void)
{
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(file, sizeof(file), "%s/log", folder);
}

static void teardown(void)
{
    unlink(file);
    rmdir(folder);
}

static log_sink *sink(log_format format, uint32_t rate)
{
    log_settings s = {ODTO_INFO, format, file, rate};
    log_sink *l = NULL;
    ck_assert_int_eq(log_open(&s, &l, NULL), 0);
    return l;
}

/* The whole file; static memory. */
static char *content(void)
{
    static char text[1 << 20];
    int fd = open(file, O_RDONLY);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
    close(fd);
    text[n > 0 ? n : 0] = 0;
    return text;
}

static size_t lines(const char *text)
{
    size_t n = 0;
    for (; *text; text++)
        n += *text == '\n';
    return n;
}

static const char *get(struct json_object *o, const char *key)
{
    struct json_object *v = NULL;
    return json_object_object_get_ex(o, key, &v) ? json_object_get_string(v) : NULL;
}

START_TEST(json_line)
{
    log_sink *l = sink(LOG_JSON, 0);
    log_source *s = log_source_new(l, "gateway", 3);
    odto_uuid id;
    ck_assert_int_eq(odto_uuid_parse(odto_slice_str("01890000-0000-7000-8000-000000000001"), &id), 0);
    pthread_setname_np(pthread_self(), "gateway/http");
    log_write(s, ODTO_WARN, &id, "a \"quoted\" \\ line\nwith \x01 %s \xff\x1b[31m\xc2\x9b", "\xc3\xa4");
    struct json_object *o = json_tokener_parse(content());
    ck_assert_ptr_nonnull(o);
    ck_assert_str_eq(get(o, "level"), "warn");
    ck_assert_str_eq(get(o, "plugin"), "gateway");
    ck_assert_str_eq(get(o, "generation"), "3");
    ck_assert_str_eq(get(o, "correlationId"), "01890000-0000-7000-8000-000000000001");
    ck_assert_str_eq(get(o, "thread"), "gateway/http");
    ck_assert_str_eq(get(o, "msg"), "a \"quoted\" \\ line\nwith \x01 \xc3\xa4 \xef\xbf\xbd\x1b[31m\xc2\x9b");
    int64_t ms;
    ck_assert_int_eq(odto_time_parse(odto_slice_str(get(o, "time")), &ms), 0);
    ck_assert_int_lt(llabs(odto_unix_ms() - ms), 5000);
    ck_assert_ptr_null(strchr(content(), '\x1b'));
    ck_assert_uint_eq(lines(content()), 1);
    json_object_put(o);
    log_source_free(s);
    log_close(l);
}
END_TEST

START_TEST(logfmt_line)
{
    log_sink *l = sink(LOG_LOGFMT, 0);
    log_source *s = log_source_new(l, "my plugin", 0);
    log_write(s, ODTO_INFO, NULL, "it=%d", 1);
    ck_assert_ptr_nonnull(strstr(content(), " level=info plugin=\"my plugin\" thread="));
    ck_assert_ptr_nonnull(strstr(content(), " msg=\"it=1\"\n"));
    log_source_free(s);
    log_close(l);
}
END_TEST

START_TEST(lines_are_bounded)
{
    log_sink *l = sink(LOG_JSON, 0);
    log_source *s = log_source_new(l, "p", 1);
    char *big = malloc(100001);
    for (int kind = 0; kind < 3; kind++) { /* plain, all escaped, two-byte characters at any offset */
        memset(big, kind == 1 ? 1 : 'x', 100000);
        for (int i = 0; kind == 2 && i + 1 < 100000; i += 2)
            memcpy(big + i, "\xc3\xa4", 2);
        big[100000] = 0;
        for (int i = 0; i < 4; i++)
            log_write(s, ODTO_INFO, NULL, "%s", big + i);
    }
    char *text = content(), *save = NULL;
    ck_assert_uint_eq(lines(text), 12);
    ck_assert(odto_utf8_valid(odto_slice_str(text)));
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        ck_assert_uint_lt(strlen(line), LOG_LINE_MAX);
        ck_assert_uint_gt(strlen(line), LOG_LINE_MAX - 200);
        struct json_object *o = json_tokener_parse(line);
        ck_assert_ptr_nonnull(o);
        const char *msg = get(o, "msg");
        ck_assert_str_eq(msg + strlen(msg) - 3, "\xe2\x80\xa6");
        json_object_put(o);
    }
    free(big);
    log_source_free(s);
    log_close(l);
}
END_TEST

START_TEST(levels)
{
    log_sink *l = sink(LOG_LOGFMT, 0);
    log_source *a = log_source_new(l, "a", 1), *b = log_source_new(l, "b", 1);
    ck_assert(!log_enabled(a, ODTO_DEBUG));
    log_write(a, ODTO_DEBUG, NULL, "no");
    ck_assert_uint_eq(lines(content()), 0);
    ck_assert_int_eq(log_set_plugin_level(l, "a", ODTO_DEBUG), 0);
    ck_assert(log_enabled(a, ODTO_DEBUG));
    ck_assert(!log_enabled(b, ODTO_DEBUG));
    log_source *next = log_source_new(l, "a", 2);
    ck_assert(log_enabled(next, ODTO_DEBUG));
    log_set_level(l, ODTO_ERROR);
    ck_assert(!log_enabled(b, ODTO_WARN));
    ck_assert(log_enabled(next, ODTO_DEBUG));
    ck_assert_int_eq(log_set_plugin_level(l, "a", -1), 0);
    ck_assert(!log_enabled(a, ODTO_WARN));
    ck_assert_int_eq(log_level_parse(odto_slice_str("warn")), ODTO_WARN);
    ck_assert_int_eq(log_level_parse(odto_slice_str("loud")), -EINVAL);
    ck_assert(!log_enabled(NULL, ODTO_ERROR));
    log_write(NULL, ODTO_ERROR, NULL, "nowhere");
    log_source_free(a);
    log_source_free(b);
    log_source_free(next);
    log_close(l);
}
END_TEST

/* Waits for the beginning of a second, so that a burst falls into one: which it is. */
static int64_t second_begins(void)
{
    int64_t ns = odto_now_ns();
    struct timespec t = {0, (long)(ODTO_SEC - ns % ODTO_SEC) % (long)ODTO_SEC};
    nanosleep(&t, NULL);
    return odto_now_ns() / ODTO_SEC;
}

typedef struct bursts {
    log_sink *l;
    log_source *s, *other;
    size_t one, two, all; /* lines after each */
} bursts;

static void bursts_end(bursts *b)
{
    log_source_free(b->s);
    if (b->other)
        log_source_free(b->other);
    log_close(b->l);
    unlink(file);
}

/* What is written, within one second; anew where the machine stood still meanwhile. */
static bursts within_a_second(uint32_t rate, void (*write)(bursts *b))
{
    for (;;) {
        bursts b = {.l = sink(LOG_LOGFMT, rate)};
        b.s = log_source_new(b.l, "noisy", 1);
        int64_t second = second_begins();
        write(&b);
        if (odto_now_ns() / ODTO_SEC == second)
            return b;
        bursts_end(&b);
    }
}

static void write_noise(bursts *b)
{
    b->other = log_source_new(b->l, "quiet", 1);
    for (int i = 0; i < 1000; i++)
        log_write(b->s, ODTO_INFO, NULL, "one template %d", i);
    b->one = lines(content());
    for (int i = 0; i < 200; i++)
        log_write(b->s, ODTO_INFO, NULL, "another template %d", i);
    b->two = lines(content());
    log_write(b->other, ODTO_INFO, NULL, "still here");
    log_write(b->s, ODTO_ERROR, NULL, "an error is not lost among them");
    b->all = lines(content());
}

START_TEST(rate_is_limited_and_summed_up)
{
    bursts b = within_a_second(100, write_noise);
    log_sink *l = b.l;
    ck_assert_uint_eq(b.one, 50); /* half of the rate for one template */
    ck_assert_uint_eq(b.two, 100);
    ck_assert_uint_eq(b.all, 102);
    second_begins();
    log_tick(l);
    ck_assert_ptr_nonnull(
        strstr(content(), "1100 lines were suppressed by the rate limit of 100 lines a second"));
    log_write(b.s, ODTO_INFO, NULL, "one template %d", 0);
    ck_assert_uint_eq(lines(content()), 104);
    log_counts c;
    log_get_counts(l, &c);
    ck_assert_uint_eq(c.suppressed, 1100);
    ck_assert_uint_eq(c.written, 104);
    bursts_end(&b);
}
END_TEST

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* templates at many addresses */
enum { TEMPLATES = 60, LINES = 4 };
static char templates[TEMPLATES][16];

static void write_templates(bursts *b)
{
    for (int k = 0; k < 2 * LINES * TEMPLATES; k++) /* half of them get through */
        log_write(b->s, ODTO_INFO, NULL, "the chatty one %d", k);
    for (int i = 0; i < TEMPLATES; i++) {
        log_write(b->s, ODTO_ERROR, NULL, templates[i], i);
        for (int k = 0; k < LINES; k++)
            log_write(b->s, ODTO_INFO, NULL, templates[i], k);
    }
}

/* A template that is over its half of the rate takes nothing from the others, wherever their strings lie in
 * memory. */
START_TEST(templates_do_not_share_a_limit)
{
    for (int i = 0; i < TEMPLATES; i++)
        snprintf(templates[i], sizeof(templates[i]), "m%d %%d", i);
    bursts b = within_a_second(2 * LINES * TEMPLATES, write_templates);
    log_counts c;
    log_get_counts(b.l, &c);
    ck_assert_uint_eq(c.suppressed, LINES * TEMPLATES);
    ck_assert_uint_eq(lines(content()), LINES * TEMPLATES * 2 + TEMPLATES);
    bursts_end(&b);
}
END_TEST
#pragma GCC diagnostic pop

START_TEST(reopen_after_rotation)
{
    log_sink *l = sink(LOG_LOGFMT, 0);
    log_source *s = log_source_new(l, "p", 1);
    char old[80];
    snprintf(old, sizeof(old), "%s.1", file);
    log_write(s, ODTO_INFO, NULL, "first");
    ck_assert_int_eq(rename(file, old), 0);
    ck_assert_int_eq(log_reopen(l, NULL), 0);
    log_write(s, ODTO_INFO, NULL, "second");
    ck_assert_ptr_nonnull(strstr(content(), "second"));
    ck_assert_ptr_null(strstr(content(), "first"));
    odto_error err = {0};
    log_settings bad = {ODTO_DEBUG, LOG_JSON, "/nonexistent/log", 0};
    ck_assert_int_eq(log_configure(l, &bad, &err), -ENOENT);
    ck_assert_int_eq(log_get_level(l), ODTO_INFO);
    log_write(s, ODTO_INFO, NULL, "third");
    ck_assert_ptr_nonnull(strstr(content(), "third"));
    unlink(old);
    log_source_free(s);
    log_close(l);
}
END_TEST

/* stderr becomes a pipe or a socket nobody reads; the writer must come back, and say later what was lost. */
static void full_stderr(int reader, int writer)
{
    ck_assert_int_eq(dup2(writer, STDERR_FILENO), STDERR_FILENO);
    close(writer);
    log_settings s = {ODTO_INFO, LOG_LOGFMT, NULL, 0};
    log_sink *l = NULL;
    ck_assert_int_eq(log_open(&s, &l, NULL), 0);
    ck_assert_int_eq(fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK, 0); /* shared with others: not touched */
    log_source *p = log_source_new(l, "p", 1);
    int64_t begin = odto_now_ns();
    for (int i = 0; i < 20000; i++)
        log_write(p, i % 100 ? ODTO_INFO : ODTO_ERROR, NULL, "line %d %050d", i, 0);
    ck_assert_int_lt(odto_now_ns() - begin, 5 * ODTO_SEC);
    log_counts c;
    log_get_counts(l, &c);
    ck_assert_uint_gt(c.dropped, 1000);
    char text[65536];
    while (recv(reader, text, sizeof(text), MSG_DONTWAIT) > 0 ||
           (errno == ENOTSOCK && read(reader, text, sizeof(text)) > 0))
        ;
    log_write(p, ODTO_INFO, NULL, "again");
    ssize_t n = read(reader, text, sizeof(text) - 1);
    ck_assert_int_gt(n, 0);
    text[n] = 0;
    ck_assert_ptr_nonnull(strstr(text, "msg=\"again\""));
    ck_assert_ptr_nonnull(strstr(text, " log lines were dropped: their reader was too slow"));
    log_source_free(p);
    log_close(l);
}

START_TEST(full_pipe)
{
    int p[2];
    ck_assert_int_eq(pipe(p), 0);
    fcntl(p[0], F_SETFL, O_NONBLOCK);
    full_stderr(p[0], p[1]);
}
END_TEST

START_TEST(full_socket)
{
    int p[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, p), 0);
    full_stderr(p[0], p[1]);
}
END_TEST

static void *writer(void *arg)
{
    for (int i = 0; i < 2000; i++)
        log_write(arg, ODTO_INFO, NULL, "%d %0300d", i, 0);
    return NULL;
}

START_TEST(lines_stay_whole_between_threads)
{
    log_sink *l = sink(LOG_JSON, 0);
    log_source *s = log_source_new(l, "p", 1);
    pthread_t t[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&t[i], NULL, writer, s);
    for (int i = 0; i < 200; i++) {
        log_settings set = {ODTO_INFO, LOG_JSON, file, 0};
        ck_assert_int_eq(log_configure(l, &set, NULL), 0);
        ck_assert_int_eq(log_reopen(l, NULL), 0);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    FILE *f = fopen(file, "r");
    char line[LOG_LINE_MAX + 1];
    size_t n = 0;
    while (fgets(line, sizeof(line), f)) {
        ck_assert_int_eq(odto_json_check(odto_slice_of(line, strlen(line)), 4, NULL), 0);
        n++;
    }
    fclose(f);
    ck_assert_uint_eq(n, 8000);
    log_source_free(s);
    log_close(l);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("log");
    TCase *t = tcase_create("log");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 30);
    tcase_add_test(t, json_line);
    tcase_add_test(t, logfmt_line);
    tcase_add_test(t, lines_are_bounded);
    tcase_add_test(t, levels);
    tcase_add_test(t, rate_is_limited_and_summed_up);
    tcase_add_test(t, templates_do_not_share_a_limit);
    tcase_add_test(t, reopen_after_rotation);
    tcase_add_test(t, full_pipe);
    tcase_add_test(t, full_socket);
    tcase_add_test(t, lines_stay_whole_between_threads);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
