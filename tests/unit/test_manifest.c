/* test_manifest.c — host/manifest: every error of a run with its place, values, environment, files, changes.
 */
#include "manifest.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct loaded {
    manifest *m;
    manifest_errors errs;
    int code;
} loaded;

static loaded parse(const char *text)
{
    loaded l = {0};
    setenv("ODTO_DATA_DIR", "/var/tmp/odto-test", 1);
    l.code = manifest_parse(odto_slice_str(text), "/etc/odto/odto.ini", &l.m, &l.errs);
    return l;
}

static void done(loaded *l)
{
    manifest_unref(l->m);
    manifest_errors_free(&l->errs);
}

/* The printed list holds the line. */
static bool says(const loaded *l, const char *line)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    manifest_errors_print(&l->errs, f);
    fclose(f);
    bool found = strstr(text, line) != NULL;
    if (!found)
        fprintf(stderr, "missing: %s\nin:\n%s", line, text);
    free(text);
    return found;
}

static const odto_option table[] = {
    {.name = "listen", .type = ODTO_OPT_ADDRESS, .default_value = "127.0.0.1:3000"},
    {.name = "jobs", .type = ODTO_OPT_STORE, .min = ODTO_ROLE_JOBS},
    {.name = "url", .type = ODTO_OPT_URL, .env = "TEST_MANIFEST_URL"},
    {.name = "password", .type = ODTO_OPT_STRING, .flags = ODTO_OPTION_SECRET},
    {.name = "limit",
     .type = ODTO_OPT_INT,
     .default_value = "10",
     .min = 1,
     .max = 64,
     .flags = ODTO_OPTION_LIVE},
    {.name = "wait", .type = ODTO_OPT_DURATION, .default_value = "5s", .min = 0, .max = 60 * ODTO_SEC},
    {.name = "command", .type = ODTO_OPT_ARGV},
    {.name = "script", .type = ODTO_OPT_PATH},
    {.name = "ratio", .type = ODTO_OPT_FLOAT, .default_value = "0.5", .min = 0, .max = 1},
    {.name = "size", .type = ODTO_OPT_SIZE, .default_value = "64k"},
    {.name = "words", .type = ODTO_OPT_LIST},
};
#define TABLE table, sizeof(table) / sizeof(table[0])

static const odto_config *configure(loaded *l, const char *name)
{
    const odto_config *c = NULL;
    manifest_config(l->m, manifest_instance(l->m, name), TABLE, &c, &l->errs);
    return c;
}

START_TEST(defaults_without_a_file)
{
    loaded l = parse("");
    ck_assert_int_eq(l.code, 0);
    ck_assert_str_eq(odto_config_str(manifest_log(l.m), "level"), "info");
    ck_assert_int_eq(odto_config_int(manifest_http(l.m), "max_header"), 16384);
    ck_assert_str_eq(manifest_data_dir(l.m), "/var/tmp/odto-test");
    ck_assert_str_eq(odto_config_str(manifest_host(l.m), "control"), "/var/tmp/odto-test/control.sock");
    ck_assert_int_eq(manifest_finish(l.m, &l.errs), 0);
    done(&l);
}
END_TEST

START_TEST(five_mistakes_are_five_errors)
{
    loaded l = parse("[host]\n"
                     "  shutdown_timout = 5s\n"
                     "[log]\n"
                     "level = loud\n"
                     "[rote jobs.created]\n"
                     "[plugin gateway]\n"
                     "required = perhaps\n"
                     "[route jobs.created]\n"
                     "capacity = 0\n");
    ck_assert_uint_eq(l.errs.n_errors, 5);
    ck_assert(
        says(&l, "odto.ini:2:3: error: unknown key shutdown_timout in [host]\n    did you mean \"shutdown_"));
    ck_assert(
        says(&l, "odto.ini:4:9: error: level: no such choice: \"loud\"\n    allowed is: one of debug, info, "
                 "warn, error"));
    ck_assert(
        says(&l, "odto.ini:5:1: error: unknown section [rote jobs.created]\n    did you mean [route …]?"));
    ck_assert(says(&l, "odto.ini:7:12: error: required: neither yes nor no: \"perhaps\""));
    ck_assert(says(
        &l, "odto.ini:9:12: error: capacity: value out of range: \"0\"\n    allowed is: integer, 1 to "));
    done(&l);
}
END_TEST

START_TEST(lines_that_are_nothing)
{
    loaded l = parse("key = before\n[host\nname = skipped\n[log] level\nnonsense\n= x\n\xff = 1\n[http]\n");
    ck_assert(says(&l, ":1:1: error: a key before the first section"));
    ck_assert(says(&l, ":2:1: error: the section's name is not closed by ]"));
    ck_assert(says(&l, ":4:7: error: text behind the section's name"));
    ck_assert(says(&l, ":5:1: error: neither a section, a key nor a comment"));
    ck_assert(says(&l, ":6:1: error: a key is missing before the ="));
    ck_assert(says(&l, ":7:1: error: the line is not UTF-8 text"));
    ck_assert_uint_eq(l.errs.n_errors, 6);
    done(&l);
}
END_TEST

START_TEST(duplicates)
{
    loaded l =
        parse("[log]\nlevel = info\nlevel = warn\n[log]\n[plugin a]\n[store a]\n[route t]\n[route t]\n");
    ck_assert(says(&l, ":3:1: error: level is set twice in [log]: first on line 2"));
    ck_assert(says(&l, ":4:1: error: the name is taken by [log] on line 1"));
    ck_assert(says(&l, ":6:1: error: the name is taken by [plugin a] on line 5"));
    ck_assert(says(&l, ":8:1: error: the name is taken by [route t] on line 7"));
    ck_assert_uint_eq(l.errs.n_errors, 4);
    done(&l);
}
END_TEST

START_TEST(section_names)
{
    loaded l = parse("[plugin]\n[host x]\n[plugin a/b]\n[  plugin \t ok ]  # fine\n");
    ck_assert(says(&l, ":1:1: error: [plugin] needs a name"));
    ck_assert(says(&l, ":2:1: error: [host] takes no name"));
    ck_assert(says(&l, ":3:1: error: \"a/b\" is no name for a [plugin]"));
    ck_assert_uint_eq(l.errs.n_errors, 3);
    ck_assert_ptr_nonnull(manifest_find(l.m, MANIFEST_PLUGIN, "ok"));
    done(&l);
}
END_TEST

START_TEST(values_of_a_plugin)
{
    loaded l =
        parse("\xef\xbb\xbf[plugin p]\nmodule = gateway\nlisten = [::1]:0\nwait=250ms ; a comment\n"
              "command = sh\v -c 'echo \"$1\"' a\\ b \"c \\\"d\"\nscript: ./x/y.sh\nratio = 0.25\nsize = 2m\n"
              "words = a, b ,c\nurl = amqp://u:p@h/\n");
    const odto_config *c = configure(&l, "p");
    ck_assert_int_eq(manifest_finish(l.m, &l.errs), 0);
    ck_assert_str_eq(manifest_instance(l.m, "p")->module, "gateway");
    ck_assert_str_eq(odto_config_str(c, "listen"), "[::1]:0");
    ck_assert_int_eq(odto_config_int(c, "wait"), 250 * ODTO_MS);
    const odto_value *v = odto_config_get(c, "command");
    const char *const want[] = {"sh", "-c", "echo \"$1\"", "a b", "c \"d"};
    ck_assert_uint_eq(v->n, 5);
    for (size_t i = 0; i < 5; i++)
        ck_assert_str_eq(v->list[i], want[i]);
    ck_assert_ptr_null(v->list[5]);
    ck_assert_str_eq(odto_config_str(c, "script"), "/etc/odto/x/y.sh");
    ck_assert_double_eq(odto_config_get(c, "ratio")->f, 0.25);
    ck_assert_int_eq(odto_config_int(c, "size"), 2 << 20);
    v = odto_config_get(c, "words");
    ck_assert_uint_eq(v->n, 3);
    ck_assert_str_eq(v->list[1], "b");
    ck_assert_int_eq(v->line, 9);
    ck_assert_int_eq(v->column, 9);
    ck_assert_int_eq(odto_config_int(c, "limit"), 10);
    ck_assert_int_eq(odto_config_get(c, "limit")->line, 0);
    done(&l);
}
END_TEST

START_TEST(comments_behind_values)
{
    static const char *const cases[][2] = {
        {"a ; b", "a"},
        {"a;b", "a;b"},
        {"it's ; here", "it's"},
        {"'a ; b'", "'a ; b'"},
        {"\"a ; b\" ;c ; d", "\"a ; b\""},
        {"a # b", "a # b"},
        {"; nothing", ""},
        {"'a ; b' 'c", "'a ; b' 'c"},
    };
    char text[128];
    snprintf(text, sizeof(text), "[plugin p]\npassword = %s\n", cases[_i][0]);
    loaded l = parse(text);
    ck_assert_str_eq(odto_config_str(configure(&l, "p"), "password"), cases[_i][1]);
    done(&l);
}
END_TEST

START_TEST(wrong_values)
{
    static const char *const cases[][2] = {
        {"listen = 3000", "listen: not host:port"},
        {"listen = ::1:80", "an IPv6 address needs brackets"},
        {"listen = a:70000", "the port is not a number from 0 to 65535"},
        {"url = nothing", "url: not a URL"},
        {"limit = 65", "limit: value out of range: \"65\"\n    allowed is: integer, 1 to 64"},
        {"limit = 99999999999999999999", "limit: value out of range"},
        {"limit = 1x", "limit: not an integer"},
        {"limit =", "limit: a value is missing"},
        {"wait = 2m", "wait: value out of range: \"2m\"\n    allowed is: duration, 0 to 1m"},
        {"wait = soon", "wait: not a duration"},
        {"command = sh 'x", "command: a quote is not closed"},
        {"ratio = 1.5", "ratio: value out of range"},
        {"ratio = nan", "ratio: not a number"},
        {"size = -1", "size: "},
        {"words = a,,b", "words: an empty word in the list"},
        {"jobs = nope", "store: there is no [store nope]"},
        {"url = ${TEST_MANIFEST_UNSET}",
         "url: the environment variable TEST_MANIFEST_UNSET is not set\n    export TEST_MANIFEST_UNSET, or"},
        {"url = ${A", "url: ${ is not closed"},
        {"url = ${A-b}", "url: ${A-b} is not understood\n    write ${NAME}"},
        {"limitt = 3", "unknown key limitt in [plugin p]\n    did you mean \"limit\"?"},
        {"frobnicate = 3", "unknown key frobnicate in [plugin p]\n    docs/manifest.md"},
    };
    char text[256];
    snprintf(text, sizeof(text), "[plugin p]\n%s\n", cases[_i][0]);
    loaded l = parse(text);
    configure(&l, "p");
    ck_assert_int_eq(manifest_finish(l.m, &l.errs), -EINVAL);
    ck_assert_uint_eq(l.errs.n_errors, 1);
    ck_assert_int_eq(l.errs.items[0].line, 2);
    ck_assert(says(&l, cases[_i][1]));
    done(&l);
}
END_TEST

START_TEST(environment_and_data)
{
    setenv("TEST_MANIFEST_URL", "redis://elsewhere/", 1);
    setenv("TEST_MANIFEST_WORD", "w", 1);
    loaded l = parse(
        "[plugin p]\nurl = redis://here/\nscript = ${data}/x-${TEST_MANIFEST_WORD}-${NOT_THERE:-d}$${y}\n");
    const odto_config *c = configure(&l, "p");
    ck_assert_int_eq(manifest_finish(l.m, &l.errs), 0);
    ck_assert_str_eq(odto_config_str(c, "url"), "redis://elsewhere/");
    ck_assert_str_eq(odto_config_str(c, "script"), "/var/tmp/odto-test/x-w-d${y}");
    done(&l);
    setenv("TEST_MANIFEST_URL", "junk", 1);
    l = parse("[plugin p]\n");
    configure(&l, "p");
    ck_assert(says(&l, "environment variable TEST_MANIFEST_URL: error: url: not a URL"));
    done(&l);
}
END_TEST

static char secret_path[] = "/tmp/test_manifest_XXXXXX";

START_TEST(secrets)
{
    int fd = mkstemp(secret_path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, "s3cret-word\n", 12), 12);
    ck_assert_int_eq(fchmod(fd, 0644), 0);
    close(fd);
    char text[300];
    snprintf(text, sizeof(text),
             "[plugin p]\npassword = file:%s\n[plugin q]\npassword = open-word\nurl = a://u:pw-word@h/\n",
             secret_path);
    loaded l = parse(text);
    const odto_config *c = configure(&l, "p");
    configure(&l, "q");
    ck_assert_str_eq(odto_config_str(c, "password"), "s3cret-word");
    ck_assert_uint_eq(l.errs.n_warnings, 1);
    ck_assert_uint_eq(l.errs.n_errors, 0);
    ck_assert(says(&l, ":2:12: warning: password: everybody may read this secret"));
    char *out = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&out, &n);
    manifest_print(l.m, f);
    fclose(f);
    ck_assert_ptr_null(strstr(out, "word\n"));
    ck_assert_ptr_null(strstr(out, "pw-word"));
    ck_assert_ptr_nonnull(strstr(out, "password = file:/tmp/test_manifest_"));
    ck_assert_ptr_nonnull(strstr(out, "password = ********\n"));
    ck_assert_ptr_nonnull(strstr(out, "url = a://u:***@h/\n"));
    ck_assert_ptr_nonnull(strstr(out, "# limit = 10\n"));
    free(out);
    done(&l);
    unlink(secret_path);
    l = parse(text);
    configure(&l, "p");
    ck_assert(says(&l, ":2:12: error: password: the secret's file can't be read: /tmp/"));
    done(&l);
}
END_TEST

START_TEST(print_can_be_read_again)
{
    setenv("TEST_MANIFEST_URL", "redis://elsewhere/", 1);
    loaded l = parse("[plugin p]\nscript = /a/$${x}\nlimit = 3\n[route jobs.created]\noverflow = reject\n");
    configure(&l, "p");
    char *out = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&out, &n);
    manifest_print(l.m, f);
    fclose(f);
    loaded again = parse(out);
    configure(&again, "p");
    ck_assert_int_eq(manifest_finish(again.m, &again.errs), 0);
    for (size_t i = 0; manifest_section_at(l.m, i); i++) {
        const manifest_section *s = manifest_section_at(l.m, i);
        const manifest_section *t = *s->name ? manifest_find(again.m, s->kind, s->name) : NULL;
        if (t)
            ck_assert_int_eq(manifest_compare(s, t), MANIFEST_SAME);
        if (t)
            ck_assert_uint_eq(manifest_section_hash(s), manifest_section_hash(t));
    }
    free(out);
    done(&l);
    done(&again);
}
END_TEST

static int roles(void *arg, const char *store, int64_t role, odto_error *err)
{
    ck_assert_str_eq(store, "main");
    return role == *(int64_t *)arg ? 0 : odto_fail(err, -EINVAL, "wrong role");
}

START_TEST(stores_are_checked)
{
    int64_t role = ODTO_ROLE_JOBS;
    loaded l = parse("[plugin p]\njobs = main\n[plugin q]\njobs = mian\n[plugin r]\njobs = off\n"
                     "[store main]\n[store off]\nenabled = no\n");
    manifest_set_store_check(l.m, roles, &role);
    configure(&l, "p");
    ck_assert_uint_eq(l.errs.n_errors, 0);
    configure(&l, "q");
    ck_assert(says(&l, ":4:8: error: store: there is no [store mian]\n    did you mean \"main\"?"));
    configure(&l, "r");
    ck_assert(says(&l, ":6:8: error: store: [store off] is not enabled"));
    done(&l);
    role = ODTO_ROLE_EVENTS;
    l = parse("[plugin p]\njobs = main\n[store main]\n");
    manifest_set_store_check(l.m, roles, &role);
    configure(&l, "p");
    ck_assert(says(&l, ":2:8: error: wrong role"));
    done(&l);
}
END_TEST

START_TEST(references_between_sections)
{
    loaded l = parse("[route a]\ntransport = rabit\n[bridge rabbit]\n[route b]\ndead_letter = c\n[route d]\n"
                     "dead_letter = d\n[plugin p]\nrequires = p, gone\n[handler h]\ntypes = x\n[handler i]\n"
                     "types = y, x\nbackoff = 10m\n[listener web]\n[listener 127.0.0.1:1]\ntls_key = k\n"
                     "[handler j]\n");
    ck_assert(says(
        &l, ":2:13: error: transport: there is no [bridge rabit]: allowed are memory, spool and the name of "
            "a [bridge]\n    did you mean \"rabbit\"?"));
    ck_assert(says(&l, ":5:15: error: dead_letter: there is no [route c]"));
    ck_assert(says(&l, ":7:15: error: dead_letter: a route can't be its own"));
    ck_assert(says(&l, ":9:12: error: requires: p requires itself"));
    ck_assert(says(&l, ":9:12: error: requires: there is no instance gone"));
    ck_assert(says(&l, ":13:9: error: types: x is executed by [handler h] already: line 10"));
    ck_assert(says(&l, ":14:11: error: backoff is longer than backoff_max"));
    ck_assert(says(&l, ":15:1: error: address is missing"));
    ck_assert(says(&l, ":17:11: error: tls_certificate and tls_key belong together"));
    ck_assert(says(&l, ":18:1: error: types is missing"));
    ck_assert_uint_eq(l.errs.n_errors, 10);
    done(&l);
}
END_TEST

START_TEST(switched_off_may_be_incomplete)
{
    loaded l = parse("[handler h]\nenabled = no\n[plugin p]\nenabled = no\njobs = none\nwhatever = 1\n");
    ck_assert_int_eq(l.code, 0);
    ck_assert_int_eq(manifest_finish(l.m, &l.errs), 0);
    ck_assert(!manifest_instance(l.m, "p")->enabled);
    done(&l);
}
END_TEST

START_TEST(changes)
{
    static const struct {
        const char *text;
        manifest_change change;
    } cases[] = {
        {"[plugin p]\nlimit = 3\nwait = 5s\n", MANIFEST_SAME},
        {"# moved\n\n[plugin p]\nwait = 5s\nlimit= 3\n", MANIFEST_SAME},
        {"[plugin p]\nlimit = 4\n", MANIFEST_LIVE},
        {"[plugin p]\nlimit = 3\nlog_level = debug\n", MANIFEST_LIVE},
        {"[plugin p]\nlimit = 3\nwait = 6s\n", MANIFEST_RELOAD},
        {"[plugin p]\nlimit = 4\nwait = 6s\n", MANIFEST_RELOAD},
        {"[plugin p]\nlimit = 3\nmodule = other\n", MANIFEST_RELOAD},
    };
    loaded a = parse("[plugin p]\nlimit = 3\n"), b = parse(cases[_i].text);
    configure(&a, "p");
    configure(&b, "p");
    const manifest_section *s = manifest_instance(a.m, "p"), *t = manifest_instance(b.m, "p");
    ck_assert_int_eq(manifest_compare(s, t), cases[_i].change);
    ck_assert_int_eq(manifest_section_hash(s) == manifest_section_hash(t), cases[_i].change == MANIFEST_SAME);
    done(&a);
    done(&b);
}
END_TEST

START_TEST(options_that_clash)
{
    static const odto_option bad[] = {{.name = "required", .type = ODTO_OPT_BOOL}};
    loaded l = parse("[plugin p]\n");
    ck_assert_int_eq(manifest_config(l.m, manifest_instance(l.m, "p"), bad, 1, NULL, &l.errs), -EINVAL);
    ck_assert(says(&l, "p declares the option required, which is the host's"));
    done(&l);
}
END_TEST

START_TEST(errors_are_bounded)
{
    odto_buf text = {0};
    for (int i = 0; i < 1000; i++)
        odto_buf_str(&text, "[x]\n");
    loaded l = parse(text.p);
    ck_assert_uint_eq(l.errs.n_errors, 1000);
    ck_assert_uint_eq(l.errs.n, MANIFEST_MAX_ERRORS);
    ck_assert(says(&l, "and 936 more"));
    odto_buf_free(&text);
    done(&l);
}
END_TEST

START_TEST(long_lines)
{
    odto_buf text = {0};
    odto_buf_str(&text, "[plugin p]\nscript = /");
    for (int i = 0; i < 5000; i++)
        odto_buf_str(&text, "x");
    odto_buf_str(&text, "\nlimit = 7\nwords = ");
    for (int i = 0; i < 20000; i++)
        odto_buf_str(&text, "y");
    loaded l = parse(text.p);
    const odto_config *c = configure(&l, "p");
    ck_assert_uint_eq(strlen(odto_config_str(c, "script")), 5001);
    ck_assert_int_eq(odto_config_int(c, "limit"), 7);
    ck_assert_uint_eq(l.errs.n_errors, 1);
    ck_assert(says(&l, ":4:1: error: the line is too long"));
    odto_buf_free(&text);
    done(&l);
}
END_TEST

START_TEST(file_that_is_not_there)
{
    loaded l = {0};
    l.code = manifest_load("/nonexistent/odto.ini", &l.m, &l.errs);
    ck_assert_int_eq(l.code, -ENOENT);
    ck_assert(
        says(&l, "/nonexistent/odto.ini: error: the manifest can't be read: No such file or directory"));
    ck_assert_ptr_null(l.m);
    done(&l);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("manifest");
    TCase *t = tcase_create("manifest");
    tcase_add_test(t, defaults_without_a_file);
    tcase_add_test(t, five_mistakes_are_five_errors);
    tcase_add_test(t, lines_that_are_nothing);
    tcase_add_test(t, duplicates);
    tcase_add_test(t, section_names);
    tcase_add_test(t, values_of_a_plugin);
    tcase_add_loop_test(t, comments_behind_values, 0, 8);
    tcase_add_loop_test(t, wrong_values, 0, 21);
    tcase_add_test(t, environment_and_data);
    tcase_add_test(t, secrets);
    tcase_add_test(t, print_can_be_read_again);
    tcase_add_test(t, stores_are_checked);
    tcase_add_test(t, references_between_sections);
    tcase_add_test(t, switched_off_may_be_incomplete);
    tcase_add_loop_test(t, changes, 0, 7);
    tcase_add_test(t, options_that_clash);
    tcase_add_test(t, errors_are_bounded);
    tcase_add_test(t, long_lines);
    tcase_add_test(t, file_that_is_not_there);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
