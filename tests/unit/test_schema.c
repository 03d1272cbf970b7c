/* test_schema.c — libodto: the draft-07 validator (odto/schema.h). The rules themselves are covered by
 * schema_suite. */
#include <odto/schema.h>
#include <check.h>
#include <errno.h>
#include <json-c/json.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX 64

static struct json_object *parse(const char *text)
{
    odto_error err;
    struct json_object *v = NULL;
    int rc = odto_json_parse(odto_slice_str(text), 512, &v, &err);
    ck_assert_msg(rc == 0, "%s: %s", text, err.detail);
    return v;
}

static odto_schema *compile(const char *text)
{
    odto_error err = {0};
    odto_schema *s = NULL;
    struct json_object *doc = parse(text);
    int rc = odto_schema_compile(doc, "test.json", &s, &err);
    ck_assert_msg(rc == 0, "%s: %s", text, err.detail);
    json_object_put(doc);
    return s;
}

/* "path message; …" of all violations. */
static char *violations(const odto_schema *s, const char *instance)
{
    odto_violation v[MAX];
    struct json_object *value = parse(instance);
    size_t n = odto_schema_validate(s, value, v, MAX);
    odto_buf b = {0};
    odto_buf_str(&b, "");
    for (size_t i = 0; i < n; i++)
        odto_buf_printf(&b, "%s%s %s", i ? "; " : "", v[i].path, v[i].message);
    ck_assert_uint_eq(odto_schema_validate(s, value, NULL, 0), n ? 1 : 0);
    json_object_put(value);
    return b.p;
}

static void expect(const char *schema, const char *instance, const char *wanted)
{
    odto_schema *s = compile(schema);
    char *got = violations(s, instance);
    ck_assert_msg(strcmp(got, wanted) == 0, "%s against %s:\n  %s\nnot\n  %s", instance, schema, got, wanted);
    free(got);
    odto_schema_free(s);
}

/* ---- the contract's table (http.md) -------------------------------------------------------- */

#define ID   "\"id\":\"01890a5d-ac96-774b-bcce-b302099a8057\""
#define REST "\"type\":\"t\",\"status\":\"PENDING\",\"createdAt\":\"2025-01-01T00:00:00Z\""

START_TEST(contract_first_errors)
{
    static const struct {
        const char *job, *path, *message;
    } cases[] = {
        {"{}", "/", "must have required property 'id'"},
        {"{" ID "}", "/", "must have required property 'type'"},
        {"{" ID ",\"type\":\"t\"}", "/", "must have required property 'status'"},
        {"{" ID ",\"type\":\"t\",\"status\":\"PENDING\"}", "/", "must have required property 'createdAt'"},
        {"{\"type\":5}", "/", "must have required property 'id'"}, /* before property types */
        {"[]", "/", "must be object"},
        {"null", "/", "must be object"},
        {"\"x\"", "/", "must be object"},
        {"{\"id\":\"no\"," REST "}", "/id", "must match format \"uuid\""},
        {"{\"id\":\"urn:uuid:01890a5d-ac96-774b-bcce-b302099a8057\"," REST "}", "/id",
         "must match format \"uuid\""},
        {"{\"id\":5," REST "}", "/id", "must be string"},
        {"{" ID ",\"type\":\"t\",\"status\":\"DONE\",\"createdAt\":\"2025-01-01T00:00:00Z\"}", "/status",
         "must be equal to one of the allowed values"},
        {"{" ID ",\"type\":\"t\",\"status\":7,\"createdAt\":\"2025-01-01T00:00:00Z\"}", "/status",
         "must be string"},
        {"{" ID ",\"type\":\"t\",\"status\":\"PENDING\",\"createdAt\":\"2025-01-01\"}", "/createdAt",
         "must match format \"date-time\""},
        {"{" ID "," REST ",\"payload\":[]}", "/payload", "must be object"},
        {"{" ID "," REST ",\"metadata\":\"x\"}", "/metadata", "must be object"},
        {"{" ID "," REST ",\"payload\":null}", "/payload", "must be object"},
        {"{" ID "," REST ",\"options\":{\"maxAttempts\":0}}", "/options/maxAttempts", "must be >= 1"},
    };
    odto_schema *s;
    ck_assert_int_eq(odto_schema_compile_builtin("job", &s, NULL), 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        odto_violation v[MAX];
        struct json_object *job = parse(cases[i].job);
        ck_assert_msg(odto_schema_validate(s, job, v, MAX) >= 1, "%s", cases[i].job);
        ck_assert_str_eq(v[0].path, cases[i].path);
        ck_assert_str_eq(v[0].message, cases[i].message);
        json_object_put(job);
    }
    char *none = violations(s, "{" ID "," REST ",\"payload\":{},\"metadata\":{},\"anything\":[1]}");
    ck_assert_str_eq(none, "");
    free(none);
    odto_schema_free(s);
}
END_TEST

START_TEST(builtin_schemas)
{
    static const char *const names[] = {"job", "event-envelope", "job-accepted", "dead-letter"};
    for (size_t i = 0; i < 4; i++) {
        odto_schema *s;
        odto_error err = {0};
        ck_assert_msg(odto_schema_compile_builtin(names[i], &s, &err) == 0, "%s", err.detail);
        ck_assert_ptr_nonnull(strstr(odto_schema_id(s), names[i]));
        ck_assert_str_ne(odto_schema_version(s), "");
        odto_schema_free(s);
    }
    odto_schema *s;
    odto_error err;
    ck_assert_int_eq(odto_schema_compile_builtin("nothing", &s, &err), -ENOENT);
    ck_assert_ptr_null(odto_schema_builtin("nothing").p);
    ck_assert_int_eq(odto_schema_compile_builtin("job-accepted", &s, &err), 0);
    char *got = violations(s, "{\"jobId\":\"01890a5d-ac96-774b-bcce-b302099a8057\",\"x\":1}");
    ck_assert_str_eq(got, "/ must have required property 'eventId'; / must NOT have additional properties");
    free(got);
    odto_schema_free(s);
}
END_TEST

/* ---- wording and order --------------------------------------------------------------------- */

START_TEST(same_errors_as_ajv)
{
    char path[512], *line = NULL;
    size_t cap = 0, cases = 0;
    snprintf(path, sizeof path, "%s/tests/data/ajv/errors.jsonl",
             getenv("ODTO_SRCDIR") ? getenv("ODTO_SRCDIR") : ".");
    FILE *f = fopen(path, "re");
    ck_assert_msg(f != NULL, "%s", path);
    while (getline(&line, &cap, f) > 0) {
        struct json_object *test = parse(line), *schema, *data = NULL, *errors;
        odto_violation v[MAX];
        odto_schema *s;
        odto_error err = {0};
        json_object_object_get_ex(test, "schema", &schema);
        json_object_object_get_ex(test, "data", &data);
        json_object_object_get_ex(test, "errors", &errors);
        ck_assert_msg(odto_schema_compile(schema, "case", &s, &err) == 0, "%s: %s", err.detail, line);
        size_t n = odto_schema_validate(s, data, v, MAX);
        ck_assert_msg(n == json_object_array_length(errors), "%zu errors: %s", n, line);
        for (size_t i = 0; i < n; i++) {
            struct json_object *e = json_object_array_get_idx(errors, i);
            ck_assert_msg(strcmp(v[i].path, json_object_get_string(json_object_array_get_idx(e, 0))) == 0 &&
                              strcmp(v[i].message, json_object_get_string(json_object_array_get_idx(e, 1))) ==
                                  0,
                          "error %zu is %s %s: %s", i, v[i].path, v[i].message, line);
        }
        /* the same on the text */
        odto_violation w[MAX];
        size_t m;
        const char *text = json_object_to_json_string_ext(data, JSON_C_TO_STRING_PRETTY);
        ck_assert_int_eq(odto_schema_validate_text(s, odto_slice_str(text), w, MAX, &m), n ? -EINVAL : 0);
        ck_assert(m == n && (n == 0 || strcmp(w[n - 1].message, v[n - 1].message) == 0));
        /* with less room the same ones come first */
        odto_violation few[2];
        size_t some = odto_schema_validate(s, data, few, 2);
        ck_assert_uint_eq(some, n < 2 ? n : 2);
        odto_schema_free(s);
        json_object_put(test);
        cases++;
    }
    fclose(f);
    free(line);
    ck_assert_uint_ge(cases, 500);
}
END_TEST

START_TEST(paths_are_json_pointers)
{
    expect("{\"properties\":{\"a/b\":{\"items\":{\"properties\":{\"~\":{\"type\":\"null\"}}}}}}",
           "{\"a/b\":[{},{\"~\":1}]}", "/a~1b/1/~0 must be null");
    expect("false", "1", "/ boolean schema is false");
    expect("{\"properties\":{\"\":false}}", "{\"\":1}", "/ boolean schema is false");
}
END_TEST

START_TEST(long_paths_and_messages_are_cut_at_characters)
{
    char name[400], schema[600], instance[600];
    for (size_t i = 0; i < 398; i += 2)
        memcpy(name + i, "\xc3\xa9", 2);
    name[398] = '\0';
    snprintf(schema, sizeof schema, "{\"required\":[\"x%s\"],\"additionalProperties\":false}", name);
    snprintf(instance, sizeof instance, "{\"%s\":{}}", name);
    odto_schema *s = compile(schema);
    odto_violation v[4];
    struct json_object *value = parse(instance);
    ck_assert_uint_eq(odto_schema_validate(s, value, v, 4), 2);
    ck_assert(odto_utf8_valid(odto_slice_str(v[0].message)) && strlen(v[0].message) > 200);
    json_object_put(value);
    odto_schema_free(s);
    snprintf(schema, sizeof schema, "{\"additionalProperties\":{\"properties\":{\"b\":false}}}");
    snprintf(instance, sizeof instance, "{\"%s\":{\"b\":1}}", name);
    s = compile(schema);
    value = parse(instance);
    ck_assert_uint_eq(odto_schema_validate(s, value, v, 4), 1);
    ck_assert(odto_utf8_valid(odto_slice_str(v[0].path)) && strlen(v[0].path) > 250);
    json_object_put(value);
    odto_schema_free(s);
}
END_TEST

START_TEST(more_names_than_slots)
{
    odto_buf schema = {0}, instance = {0};
    odto_buf_str(&schema, "{\"required\":[\"m0\",\"m79\",\"gone\"],\"properties\":{");
    odto_buf_str(&instance, "{");
    for (int i = 0; i < 80; i++) {
        odto_buf_printf(&schema, "%s\"m%d\":{\"type\":\"integer\"}", i ? "," : "", i);
        odto_buf_printf(&instance, "%s\"m%d\":%s", i ? "," : "", i, i == 5 || i == 77 ? "\"x\"" : "1");
    }
    odto_buf_str(&schema, "},\"additionalProperties\":false}");
    odto_buf_str(&instance, ",\"more\":1}");
    expect(schema.p, instance.p,
           "/ must have required property 'gone'; / must NOT have additional properties; "
           "/m5 must be integer; /m77 must be integer");
    odto_buf_free(&schema);
    odto_buf_free(&instance);
}
END_TEST

START_TEST(numbers_are_exact)
{
    expect("{\"maximum\":9223372036854775807}", "9223372036854775808", "/ must be <= 9223372036854775807");
    expect("{\"enum\":[18446744073709551615]}", "18446744073709551614",
           "/ must be equal to one of the allowed values");
    expect("{\"multipleOf\":0.01}", "4.35", "");
    expect("{\"multipleOf\":0.01}", "4.355", "/ must be multiple of 0.01");
    expect("{\"multipleOf\":0.1}", "1e300", "");
    expect("{\"multipleOf\":1e-7}", "0.00000075", "/ must be multiple of 1e-7");
    expect("{\"const\":1}", "1.0", "");
    expect("{\"const\":0}", "-0.0", "");
    expect("{\"type\":\"integer\"}", "1e2", "");
    expect("{\"uniqueItems\":true}", "[1,true,\"1\",1.0]",
           "/ must NOT have duplicate items (items ## 0 and 3 are identical)");
}
END_TEST

START_TEST(unique_items_of_long_arrays)
{
    odto_buf b = {0};
    odto_buf_str(&b, "[");
    for (int i = 0; i < 20000; i++)
        odto_buf_printf(&b, "{\"n\":%d,\"s\":\"x\"},", i);
    size_t n = b.n;
    odto_buf_str(&b, "{\"s\":\"x\",\"n\":20000}]");
    expect("{\"uniqueItems\":true}", b.p, "");
    b.n = n;
    odto_buf_str(&b, "{\"s\":\"x\",\"n\":17.0}]");
    expect("{\"uniqueItems\":true}", b.p,
           "/ must NOT have duplicate items (items ## 17 and 20000 are identical)");
    odto_buf_free(&b);
}
END_TEST

/* ---- patterns ------------------------------------------------------------------------------ */

START_TEST(patterns_are_ecma_262)
{
    static const struct {
        const char *pattern, *text;
        bool match;
    } cases[] = {
        {"^a$", "a\\n", false}, /* $ is the very end */
        {"^\\\\d+$", "\\u0663", false},
        {"^\\\\w+$", "\\u00e9", false},
        {"^\\\\s$", "\\u2003", true},
        {"^\\\\S$", "\\u2003", false},
        {"^[\\\\s]$", "\\ufeff", true},
        {"^.$", "\\ud83d\\udc32", true}, /* a character is a code point */
        {"^\\\\ud83d\\\\udc32$", "\\ud83d\\udc32", true},
        {"^\\\\u{1f432}$", "\\ud83d\\udc32", true},
        {"^\\\\p{Letter}+$", "\\u00e9a", true},
        {"^\\\\p{Script=Greek}$", "\\u03b1", true},
        {"^\\\\P{Lu}$", "A", false},
        {"[]", "a", false},
        {"^[^]$", "\\n", true},
        {"^[[:alpha:]$", "[", true},
        {"^a{,2}$", "a{,2}", true},
        {"^\\\\cJ$", "\\n", true},
        {"^(?<y>a)\\\\k<y>$", "aa", true},
        {"^(?:(a)|b)\\\\1$", "b", true}, /* a group that took no part matches nothing */
        {"^\\\\/\\\\-$", "/-", true},
        {"(?<=a)b", "ab", true},
        {"b", "abc", true}, /* not anchored */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char schema[200], instance[64];
        snprintf(schema, sizeof schema, "{\"pattern\":\"%s\"}", cases[i].pattern);
        snprintf(instance, sizeof instance, "\"%s\"", cases[i].text);
        odto_schema *s = compile(schema);
        char *got = violations(s, instance);
        ck_assert_msg((*got == '\0') == cases[i].match, "%s on %s", cases[i].pattern, cases[i].text);
        free(got);
        odto_schema_free(s);
    }
}
END_TEST

START_TEST(patterns_of_other_dialects_are_refused)
{
    static const char *const bad[] = {
        "\\\\A",    "\\\\Z",         "\\\\z", "\\\\a", "\\\\e",  "\\\\Qx\\\\E",    "(?i)a",
        "(?P<n>a)", "(*UCP)a",       "a++",   "a*+",   "(?>a)",  "(?#c)",          "\\\\1x\\\\k",
        "*a",       "a**",           "(a",    "a)",    "[a",     "a{2}{3}",        "\\\\u12",
        "\\\\x1",   "\\\\u{110000}", "[b-a]", "\\\\",  "\\\\07", "(?<n>a)(?<n>b)", "\\\\p{Nonsense}"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char schema[64];
        odto_schema *s;
        odto_error err = {0};
        snprintf(schema, sizeof schema, "{\"pattern\":\"%s\"}", bad[i]);
        struct json_object *doc = parse(schema);
        ck_assert_msg(odto_schema_compile(doc, "p", &s, &err) == -EINVAL, "%s", bad[i]);
        ck_assert_ptr_nonnull(strstr(err.detail, "/pattern must be a regular expression"));
        json_object_put(doc);
    }
}
END_TEST

START_TEST(costly_patterns_end)
{
    char instance[200];
    memset(instance, 'a', sizeof instance);
    instance[0] = '"';
    memcpy(instance + 40, "!\"", 3);
    odto_schema *s = compile("{\"pattern\":\"^(a+)+$\"}");
    int64_t start = odto_now_ns();
    char *got = violations(s, instance);
    ck_assert_msg(strstr(got, "must match pattern"), "%s", got);
    ck_assert_int_lt(odto_now_ns() - start, 20 * ODTO_SEC);
    free(got);
    odto_schema_free(s);
}
END_TEST

/* ---- compiling ----------------------------------------------------------------------------- */

START_TEST(wrong_schemas_are_named)
{
    static const struct {
        const char *schema, *detail;
    } cases[] = {
        {"[]", "/ must be a schema: an object or a boolean"},
        {"{\"type\":\"text\"}", "/type must be null, boolean, integer, number, string, array or object"},
        {"{\"type\":[]}", "/type must be a type or an array of different types"},
        {"{\"type\":[\"null\",\"null\"]}", "/type must be a type or an array of different types"},
        {"{\"properties\":[]}", "/properties must be an object of schemas"},
        {"{\"properties\":{\"a\":{\"properties\":{\"b/c\":5}}}}",
         "/properties/a/properties/b~1c must be a schema: an object or a boolean"},
        {"{\"required\":\"a\"}", "/required must be an array of different strings"},
        {"{\"required\":[\"a\",\"a\"]}", "/required must be an array of different strings"},
        {"{\"required\":[1]}", "/required must be an array of different strings"},
        {"{\"minLength\":-1}", "/minLength must be an integer that is not negative"},
        {"{\"maxItems\":1.5}", "/maxItems must be an integer that is not negative"},
        {"{\"minimum\":\"1\"}", "/minimum must be a number"},
        {"{\"multipleOf\":0}", "/multipleOf must be greater than 0"},
        {"{\"enum\":{}}", "/enum must be an array"},
        {"{\"anyOf\":[]}", "/anyOf must be an array of at least one schema"},
        {"{\"allOf\":[true,7]}", "/allOf/1 must be a schema: an object or a boolean"},
        {"{\"uniqueItems\":1}", "/uniqueItems must be a boolean"},
        {"{\"format\":1}", "/format must be a string"},
        {"{\"dependencies\":{\"a\":[1]}}",
         "/dependencies/a must be a schema or an array of different strings"},
        {"{\"dependencies\":{\"a\":\"b\"}}", "/dependencies/a must be a schema: an object or a boolean"},
        {"{\"$ref\":5}", "/$ref must be a string"},
        {"{\"$id\":5}", "/$id must be a string"},
        {"{\"items\":{\"$ref\":\"#/definitions/x\"}}",
         "/items/$ref names \"#/definitions/x\", which is not there"},
        {"{\"$ref\":\"http://example.com/x.json\"}",
         "/$ref names \"http://example.com/x.json\", which is not there"},
        {"{\"$schema\":\"http://json-schema.org/draft-04/schema#\"}",
         "/$schema is \"http://json-schema.org/draft-04/schema#\""},
        {"{\"$ref\":\"#\"}", "a $ref leads back to itself without entering a property or an item"},
        {"{\"allOf\":[{\"anyOf\":[{\"$ref\":\"#\"}]}]}",
         "a $ref leads back to itself without entering a property or an item"},
        {"{\"definitions\":{\"a\":{\"$ref\":\"#/definitions/b\"},\"b\":{\"not\":{\"$ref\":\"#/definitions/"
         "a\"}}},"
         "\"$ref\":\"#/definitions/a\"}",
         "a $ref leads back to itself without entering a property or an item"},
        {"{\"definitions\":{\"a\":{\"$id\":\"urn:x\"},\"b\":{\"$id\":\"urn:x\"}}}", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        odto_error err = {0};
        odto_schema *s = (odto_schema *)&i;
        struct json_object *doc = parse(cases[i].schema);
        ck_assert_msg(odto_schema_compile(doc, "bad.json", &s, &err) == -EINVAL, "%s", cases[i].schema);
        ck_assert_ptr_eq(s, &i);
        ck_assert_str_eq(err.detail, cases[i].detail);
        json_object_put(doc);
    }
}
END_TEST

START_TEST(recursive_schemas_follow_the_instance)
{
    odto_schema *s =
        compile("{\"type\":\"object\",\"properties\":{\"next\":{\"$ref\":\"#\"}},\"required\":[\"v\"]}");
    char *got = violations(s, "{\"v\":1,\"next\":{\"v\":2,\"next\":{}}}");
    ck_assert_str_eq(got, "/next/next must have required property 'v'");
    free(got);
    odto_schema_free(s);
}
END_TEST

START_TEST(other_documents)
{
    struct json_object *doc = parse("{\"$id\":\"http://x.test/a.json\",\"$ref\":\"b.json#/definitions/n\"}");
    struct json_object *main_doc =
        parse("{\"$id\":\"http://x.test/a.json\",\"items\":{\"$ref\":\"b.json#/definitions/n\"}}");
    struct json_object *other =
        parse("{\"$id\":\"http://x.test/b.json\",\"definitions\":{\"n\":{\"type\":\"integer\"}}}");
    odto_schema *s;
    odto_error err = {0};
    ck_assert_int_eq(odto_schema_compile(main_doc, "a", &s, &err), -EINVAL);
    ck_assert_msg(odto_schema_compile_with(main_doc, "a", &other, 1, &s, &err) == 0, "%s", err.detail);
    json_object_put(main_doc);
    json_object_put(other); /* the schema keeps what it needs */
    ck_assert_str_eq(odto_schema_id(s), "http://x.test/a.json");
    ck_assert_str_eq(odto_schema_version(s), "");
    char *got = violations(s, "[1,\"x\"]");
    ck_assert_str_eq(got, "/1 must be integer");
    free(got);
    odto_schema_free(s);
    json_object_put(doc);
}
END_TEST

START_TEST(files)
{
    char path[] = "/tmp/odto-schema-XXXXXX";
    odto_schema *s;
    odto_error err = {0};
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    const char *text = "{\"$version\":\"2.0.0\",\"type\":\"null\"}";
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    ck_assert_int_eq(odto_schema_load(path, &s, &err), 0);
    ck_assert_str_eq(odto_schema_version(s), "2.0.0");
    odto_schema_free(s);
    ck_assert_int_eq(write(fd, "x", 1), 1);
    ck_assert_int_eq(odto_schema_load(path, &s, &err), -EINVAL);
    close(fd);
    unlink(path);
    ck_assert_int_eq(odto_schema_load(path, &s, &err), -ENOENT);
    ck_assert_ptr_nonnull(strstr(err.message, path));
    ck_assert_int_eq(odto_schema_load("/tmp", &s, &err), -EISDIR);
}
END_TEST

/* ---- threads ------------------------------------------------------------------------------- */

static void *validate_often(void *arg)
{
    odto_violation v[4];
    size_t total = 0;
    for (int i = 0; i < 2000; i++) {
        struct json_object *value =
            parse(i % 2 ? "{\"a\":1.25,\"b\":\"abc\"}" : "{\"a\":1.3,\"b\":\"xyz\",\"c\":[1,1]}");
        total += odto_schema_validate(arg, value, v, 4);
        json_object_put(value);
    }
    return (void *)total;
}

START_TEST(one_schema_many_threads)
{
    odto_schema *s =
        compile("{\"properties\":{\"a\":{\"multipleOf\":0.25},\"b\":{\"pattern\":\"^a\",\"enum\":[\"abc\"]},"
                "\"c\":{\"uniqueItems\":true}}}");
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, validate_often, s), 0);
    for (int i = 0; i < 4; i++) {
        void *total;
        pthread_join(threads[i], &total);
        ck_assert_uint_eq((size_t)total, 4000);
    }
    odto_schema_free(s);
    odto_schema_free(NULL);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("schema");
    TCase *t = tcase_create("schema");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, contract_first_errors);
    tcase_add_test(t, builtin_schemas);
    tcase_add_test(t, same_errors_as_ajv);
    tcase_add_test(t, paths_are_json_pointers);
    tcase_add_test(t, long_paths_and_messages_are_cut_at_characters);
    tcase_add_test(t, more_names_than_slots);
    tcase_add_test(t, numbers_are_exact);
    tcase_add_test(t, unique_items_of_long_arrays);
    tcase_add_test(t, patterns_are_ecma_262);
    tcase_add_test(t, patterns_of_other_dialects_are_refused);
    tcase_add_test(t, costly_patterns_end);
    tcase_add_test(t, wrong_schemas_are_named);
    tcase_add_test(t, recursive_schemas_follow_the_instance);
    tcase_add_test(t, other_documents);
    tcase_add_test(t, files);
    tcase_add_test(t, one_schema_many_threads);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
