/* test_contracts_nomem.c — libodto when memory runs out: every allocation fails in turn, once alone and once
 * with all later ones. Nothing crashes or leaks (sanitizer builds see that), outputs are untouched, the error
 * says so.
 *
 * Linked with --wrap, so only libodto's own allocations are counted. */
#include <odto/envelope.h>
#include <odto/json.h>
#include <odto/schema.h>
#include <check.h>
#include <errno.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

static struct {
    long left;     /* allocations until the first that fails; negative: none fails */
    bool for_good; /* all later ones fail too */
    bool failed;
} memory = {.left = -1};

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
char *__real_strdup(const char *s);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
char *__wrap_strdup(const char *s);

static bool refuse(void)
{
    if (memory.left < 0)
        return false;
    if (memory.left > 0) {
        memory.left--;
        return false;
    }
    memory.left = memory.for_good ? 0 : -1;
    return memory.failed = true;
}

void *__wrap_malloc(size_t n)
{
    return refuse() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return refuse() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
    return refuse() ? NULL : __real_realloc(p, n);
}

char *__wrap_strdup(const char *s)
{
    return refuse() ? NULL : __real_strdup(s);
}

/* Before an assertion: check's library is linked statically, so its allocations are counted too. */
static void calm(void)
{
    memory.left = -1;
}

/* Runs step with the first, second … allocation failing, until none of them is reached any more. */
static void each_allocation(bool (*step)(void))
{
    for (int for_good = 0; for_good < 2; for_good++) {
        long n = 0;
        do {
            memory.left = n;
            memory.for_good = for_good;
            memory.failed = false;
            bool ok = step();
            calm();
            /* a single failure may be survived, as with a scratch table; lasting ones may not be hidden */
            ck_assert(ok || memory.failed);
            ck_assert_int_lt(++n, 5000);
        } while (memory.failed);
        ck_assert_int_gt(n, 1);
    }
}

static char *wide; /* an object of 600 members, some with escapes */

static void make_wide(void)
{
    odto_buf b = {0};
    for (int i = 0; i < 600; i++)
        odto_buf_printf(&b, "%c\"%s%d\":[\"\\u0041\",1.5,%d]", i ? ',' : '{', i % 7 ? "n" : "\\u006e", i, i);
    odto_buf_str(&b, "}");
    wide = b.p;
}

static bool parse_wide(void)
{
    struct json_object *v = (struct json_object *)&wide;
    odto_error err = {0};
    int rc = odto_json_parse(odto_slice_str(wide), 8, &v, &err);
    calm();
    if (rc) {
        ck_assert_int_eq(rc, -ENOMEM);
        ck_assert_ptr_eq(v, &wide);
        ck_assert_int_eq(err.code, -ENOMEM);
        return false;
    }
    json_object_put(v);
    return true;
}

START_TEST(json)
{
    make_wide();
    ck_assert(parse_wide());
    each_allocation(parse_wide);
    free(wide);
}
END_TEST

static const char schema_text[] =
    "{\"$id\":\"http://x.test/"
    "a\",\"definitions\":{\"n\":{\"$id\":\"#n\",\"type\":\"integer\"},\"m\":{\"$id\":\"m/"
    "\",\"items\":[true,{}],"
    "\"additionalItems\":false}},\"type\":[\"object\",\"array\"],\"required\":[\"a\"],\"properties\":{\"a\":{"
    "\"$ref\":\"#n\"},\"b\":"
    "{\"$ref\":\"#/definitions/"
    "m\"},\"c\":{\"pattern\":\"^[\\\\s\\\\d]+$\",\"enum\":[\"x\"],\"format\":\"uuid\"}},"
    "\"patternProperties\":"
    "{\"^x\":{\"minimum\":1.5}},\"dependencies\":{\"a\":[\"b\"],\"b\":{\"maxProperties\":3}},\"anyOf\":[{"
    "\"const\":1},{\"if\":true,"
    "\"then\":{\"uniqueItems\":true}}],\"additionalProperties\":{\"multipleOf\":0.5}}";
static struct json_object *schema_doc, *instance;

static bool compile_and_validate(void)
{
    odto_schema *s = (odto_schema *)&schema_doc;
    odto_error err = {0};
    odto_violation v[8];
    int rc = odto_schema_compile(schema_doc, "a.json", &s, &err);
    size_t n = rc ? 0 : odto_schema_validate(s, instance, v, 8);
    calm();
    if (rc) {
        ck_assert_msg(rc == -ENOMEM, "%s %s", err.message, err.detail);
        ck_assert_ptr_eq(s, &schema_doc);
        return false;
    }
    ck_assert_uint_ge(n, 1);
    odto_schema_free(s);
    return true;
}

START_TEST(schema)
{
    ck_assert_int_eq(odto_json_parse(odto_slice_str(schema_text), 16, &schema_doc, NULL), 0);
    ck_assert_int_eq(
        odto_json_parse(odto_slice_str("{\"a\":\"x\",\"b\":[1,2,3],\"c\":\"\",\"x\":1,\"y\":0.3}"), 16,
                        &instance, NULL),
        0);
    ck_assert(compile_and_validate());
    each_allocation(compile_and_validate);
    json_object_put(schema_doc);
    json_object_put(instance);
}
END_TEST

static odto_schema *envelope, *job;
static const char *message;

static bool check_message(void)
{
    odto_header h;
    char why[600] = "";
    int rc = odto_envelope_check(odto_slice_str(message), envelope, job, 16, &h, why, sizeof why);
    calm();
    ck_assert(rc == 0 || why[0]);
    return rc != -ENOMEM;
}

START_TEST(envelopes)
{
    ck_assert_int_eq(odto_schema_compile_builtin("event-envelope", &envelope, NULL), 0);
    ck_assert_int_eq(odto_schema_compile_builtin("job", &job, NULL), 0);
    /* refused, with an escape: the tree is needed */
    message =
        "{\"contractVersion\":\"1.0.\\u0030\",\"eventType\":\"job.created\",\"payload\":{\"a\":[1,\"\\n\"]}}";
    ck_assert(check_message());
    each_allocation(check_message);
    odto_schema_free(envelope);
    odto_schema_free(job);
}
END_TEST

static bool write_letter(void)
{
    odto_buf b = {0};
    bool ok = odto_dead_letter(&b, odto_slice_str("{\"a\\u0062\":\xff 1}"), "why", 0, NULL, "p", "1");
    calm();
    ck_assert(ok == !b.failed && b.n == (ok ? strlen(b.p) : 0));
    odto_buf_free(&b);
    return ok;
}

START_TEST(letters)
{
    each_allocation(write_letter);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("contracts without memory");
    TCase *t = tcase_create("nomem");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, json);
    tcase_add_test(t, schema);
    tcase_add_test(t, envelopes);
    tcase_add_test(t, letters);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
