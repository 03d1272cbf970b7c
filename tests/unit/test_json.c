/* test_json.c — libodto: strict JSON, trees, members (odto/json.h). */
#include <odto/json.h>
#include <check.h>
#include <errno.h>
#include <json-c/json.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

static odto_slice S(const char *s)
{
    return odto_slice_str(s);
}

/* The text in memory of its exact size, so that a read behind it is seen by a sanitizer. */
static int check_exact(const char *text, size_t n, int depth, odto_error *err)
{
    char *copy = malloc(n ? n : 1);
    memcpy(copy, text, n);
    int rc = odto_json_check(odto_slice_of(copy, n), depth, err);
    free(copy);
    return rc;
}

static const char *const accepted[] = {
    "null",
    "true",
    "false",
    "0",
    "-0",
    "-0.0",
    "12",
    "1e5",
    "1E+5",
    "1.5e-7",
    "1e400",
    "0e0",
    "\"\"",
    "\"a\"",
    "[]",
    "{}",
    " [ ] ",
    "\t\r\n{ }\n",
    "[1,2]",
    "[[],[[]],{}]",
    "{\"a\":1}",
    "{\"a\":{\"a\":{\"a\":1}},\"b\":[{\"a\":1},{\"a\":2}]}",
    "{\"\":0}",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551615",
    "99999999999999999999.0",
    "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
    "\"\\u0000\\u00e9\\uD83D\\uDC32\"",
    "\"\\ud7ff\\uE000\"",
    "\"h\xc3\xa9llo \xf0\x9f\x90\xb2\"",
    "\"\x7f\"",
    "{\"a\":1,\"A\":2}",
    "{\"a\":1,\"a\\u0020\":2}",
    "{\"long name that fills more than sixteen bytes 1\":1,\"long name that fills more than sixteen bytes "
    "2\":1}",
};

static const char *const refused[] = {
    "",
    " ",
    "nul",
    "nulll",
    "TRUE",
    "NaN",
    "Infinity",
    "-Infinity",
    "+1",
    "01",
    "-01",
    "00",
    "1.",
    ".5",
    "-",
    "1e",
    "1e+",
    "0x10",
    "1_000",
    "'a'",
    "\"a",
    "\"a\n\"",
    "\"\t\"",
    "\"\x01\"",
    "\"\\x41\"",
    "\"\\u12\"",
    "\"\\u12G4\"",
    "\"\\\"",
    "\"\\",
    "\"\\ud83d\"",
    "\"\\ud83d\\u0041\"",
    "\"\\ud83dx\"",
    "\"\\udc32\"",
    "\"\\udc32\\ud83d\"",
    "\"\xff\"",
    "\"\xc3\"",
    "\"\xed\xa0\x80\"",
    "\"\xc0\xaf\"",
    "[",
    "]",
    "[1",
    "[1,",
    "[1,]",
    "[,1]",
    "[1 2]",
    "[1,,2]",
    "[1}",
    "{",
    "}",
    "{\"a\"",
    "{\"a\":",
    "{\"a\":1",
    "{\"a\":1,",
    "{\"a\":1,}",
    "{,}",
    "{\"a\" 1}",
    "{\"a\":1 \"b\":2}",
    "{a:1}",
    "{'a':1}",
    "{1:1}",
    "{\"a\":1]",
    "{\"a\":1,\"a\":2}",
    "{\"a\":1,\"\\u0061\":2}",
    "{\"\\u0061\":1,\"a\":2}",
    "{\"\\/\":1,\"/\":2}",
    "{\"x\":{\"b\":1,\"b\":1}}",
    "[{\"a\":1},{\"c\":1,\"c\":1}]",
    "{\"a\\u0000b\":1}",
    "1 2",
    "{} {}",
    "[] x",
    "/* c */ 1",
    "1 // c",
    "\xef\xbb\xbf{}",
    "18446744073709551616",
    "-9223372036854775809",
    "123456789012345678901234567890",
    "\xc2\xa0"
    "1",
    "[\"\",",
};

START_TEST(strict_accepts)
{
    for (size_t i = 0; i < sizeof accepted / sizeof accepted[0]; i++) {
        odto_error err = {0};
        ck_assert_msg(check_exact(accepted[i], strlen(accepted[i]), 32, &err) == 0, "%s: %s", accepted[i],
                      err.detail);
    }
}
END_TEST

START_TEST(strict_refuses)
{
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        odto_error err = {0};
        ck_assert_msg(check_exact(refused[i], strlen(refused[i]), 32, &err) == -EINVAL, "%s", refused[i]);
        ck_assert_str_eq(err.message, "invalid JSON");
        ck_assert_msg(err.detail[0] && err.where[0] == '/', "%s", refused[i]);
        ck_assert_int_eq(odto_json_check(S(refused[i]), 32, NULL), -EINVAL);
    }
    ck_assert_int_eq(check_exact("\"\0\"", 3, 32, NULL), -EINVAL);
    ck_assert_int_eq(check_exact("[1]\0", 4, 32, NULL), -EINVAL);
    ck_assert_int_eq(odto_json_check(odto_slice_of(NULL, 0), 32, NULL), -EINVAL);
}
END_TEST

/* Every prefix of a valid text is refused (it is an object), and never read past. */
START_TEST(strict_refuses_every_prefix)
{
    const char *text = "{\"id\":\"\xc3\xa9\\u00e9\\ud83d\\udc32\",\"list\":[1,-2.5e3,true,null,{\"deep\":[]}]"
                       ",\"s\":\"012345678901234\"}";
    size_t n = strlen(text);
    ck_assert_int_eq(check_exact(text, n, 32, NULL), 0);
    for (size_t i = 0; i < n; i++)
        ck_assert_int_eq(check_exact(text, i, 32, NULL), -EINVAL);
}
END_TEST

START_TEST(depth_is_bounded)
{
    odto_error err;
    ck_assert_int_eq(odto_json_check(S("[[[1]]]"), 3, &err), 0);
    ck_assert_int_eq(odto_json_check(S("[[[[1]]]]"), 3, &err), -E2BIG);
    ck_assert_str_eq(err.where, "/0/0/0");
    ck_assert_int_eq(odto_json_check(S("[[{\"a\":{}}]]"), 3, &err), -E2BIG);
    ck_assert_int_eq(odto_json_check(S("[]"), 0, &err), -E2BIG);
    ck_assert_int_eq(odto_json_check(S("1"), 0, &err), 0);
    odto_buf b = {0};
    for (int i = 0; i < 100000; i++)
        odto_buf_str(&b, "[");
    ck_assert_int_eq(odto_json_check(odto_slice_of(b.p, b.n), 1000000, &err), -E2BIG);
    ck_assert_int_eq(odto_json_check(odto_slice_of(b.p, 512), 512, &err), -EINVAL);
    odto_buf_free(&b);
}
END_TEST

START_TEST(errors_say_where)
{
    static const struct {
        const char *text, *where, *detail;
    } cases[] = {
        {"{\"a\": {\"b\": [1, 2, x]}}", "/a/b/2",
         "expected a value at byte 19 (line 1, column 20), in /a/b/2"},
        {"{\n  \"a\": 1,\n  \"a\": 2\n}", "/a", "duplicate member name at byte 14 (line 3, column 3), in /a"},
        {"[1", "/0", "unexpected end inside an array at byte 2 (line 1, column 3), in /0"},
        {"{\"a/b~c\": tru}", "/a~1b~0c", "expected a value at byte 10 (line 1, column 11), in /a~1b~0c"},
        {"{} x", "/", "text after the end of the value at byte 3 (line 1, column 4), in /"},
        {"", "/", "empty text at byte 0 (line 1, column 1), in /"},
        {"{\"\xc3\xa9\": 'x'}", "/\xc3\xa9", "expected a value at byte 7 (line 1, column 7), in /\xc3\xa9"},
        {"{\"a\":1,}", "/", "expected a member name in double quotes at byte 7 (line 1, column 8), in /"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        odto_error err;
        ck_assert_int_eq(odto_json_check(S(cases[i].text), 32, &err), -EINVAL);
        ck_assert_str_eq(err.where, cases[i].where);
        ck_assert_str_eq(err.detail, cases[i].detail);
    }
}
END_TEST

/* An object of n members, the name with number `twice` repeated at the end (none if it is n or more). */
static void object_of(odto_buf *b, int n, int twice, bool escaped)
{
    odto_buf_str(b, "{");
    for (int i = 0; i < n; i++)
        odto_buf_printf(b, "%s\"name%d\":{\"x\":%d}", i ? "," : "", i, i);
    if (twice < n)
        odto_buf_printf(b, ",\"%sname%d\":0", "", twice);
    odto_buf_str(b, "}");
    char *at = escaped && twice < n ? strrchr(b->p, 'n') : NULL; /* the last "name": written with an escape */
    if (at) {
        odto_buf c = {0};
        odto_buf_put(&c, b->p, (size_t)(at - b->p));
        odto_buf_str(&c, "\\u006e");
        odto_buf_str(&c, at + 1);
        odto_buf_free(b);
        *b = c;
    }
}

START_TEST(duplicates_in_objects_of_any_size)
{
    static const int sizes[] = {1, 2, 17, 255, 256, 257, 300, 511, 512, 513, 5000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (int k = 0; k < 4; k++) {
            int twice = k == 0 ? sizes[i] : k == 1 ? 0 : k == 2 ? sizes[i] - 1 : sizes[i] / 2;
            odto_buf b = {0};
            object_of(&b, sizes[i], twice, k == 3);
            int rc = check_exact(b.p, b.n, 32, NULL);
            ck_assert_msg(rc == (k == 0 ? 0 : -EINVAL), "%d members, %d twice", sizes[i], twice);
            odto_buf_free(&b);
        }
    }
}
END_TEST

/* Open objects share the scratch for names: many members on several levels. */
START_TEST(duplicates_on_every_level)
{
    for (int bad = -1; bad < 6; bad++) {
        odto_buf b = {0};
        for (int level = 0; level < 6; level++) {
            odto_buf_str(&b, "{");
            for (int i = 0; i < 200; i++)
                odto_buf_printf(&b, "\"m%d\":%d,", i, i);
            odto_buf_str(&b, "\"below\":");
        }
        odto_buf_str(&b, "0");
        for (int level = 5; level >= 0; level--)
            odto_buf_str(&b, level == bad ? ",\"m7\":0}" : ",\"after\":0}");
        ck_assert_int_eq(check_exact(b.p, b.n, 32, NULL), bad < 0 ? 0 : -EINVAL);
        odto_buf_free(&b);
    }
}
END_TEST

/* ---- trees --------------------------------------------------------------------------------- */

static struct json_object *parse(const char *text)
{
    odto_error err;
    struct json_object *v = NULL;
    int rc = odto_json_parse(S(text), 32, &v, &err);
    ck_assert_msg(rc == 0, "%s: %s", text, err.detail);
    return v;
}

START_TEST(trees_print_as_they_were)
{
    static const char *const texts[] = {
        "null",
        "true",
        "[]",
        "{}",
        "[1,-2,3.50,1e400,1E-7]",
        "{\"a\":[{\"b\":null},\"x\"],\"c\":{}}",
        "[9223372036854775807,-9223372036854775808,18446744073709551615]",
        "\"\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\"",
        "\"h\xc3\xa9\xf0\x9f\x90\xb2\"",
        "{\"a name that is longer than any buffer on the stack, because names may be long, you never "
        "know\":1}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct json_object *v = parse(texts[i]);
        ck_assert_str_eq(
            json_object_to_json_string_ext(v, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE),
            texts[i]);
        json_object_put(v);
    }
}
END_TEST

START_TEST(trees_have_the_right_values)
{
    struct json_object *
        v =
           parse(" { \"\\u0061\\ud83d\\udc32\" : \"x\\u0000y\" , \"n\" : [ 1.25 , 18446744073709551615 ] } "),
       *m;
    ck_assert(json_object_object_get_ex(v, "a\xf0\x9f\x90\xb2", &m));
    ck_assert_int_eq(json_object_get_string_len(m), 3);
    ck_assert_int_eq(memcmp(json_object_get_string(m), "x\0y", 3), 0);
    ck_assert(json_object_object_get_ex(v, "n", &m));
    ck_assert(json_object_get_double(json_object_array_get_idx(m, 0)) == 1.25);
    ck_assert_uint_eq(json_object_get_uint64(json_object_array_get_idx(m, 1)), UINT64_MAX);
    json_object_put(v);
}
END_TEST

START_TEST(trees_do_not_follow_the_locale)
{
    if (!setlocale(LC_ALL, "de_DE.UTF-8"))
        setlocale(LC_ALL, ""); /* without that locale the test still checks the value */
    struct json_object *v = parse("2.5");
    ck_assert(json_object_get_double(v) == 2.5);
    json_object_put(v);
}
END_TEST

/* The same tree as json-c's own parser makes of texts that both accept. */
START_TEST(trees_agree_with_json_c)
{
    for (size_t i = 0; i < sizeof accepted / sizeof accepted[0]; i++) {
        struct json_object *ours = parse(accepted[i]), *theirs = json_tokener_parse(accepted[i]);
        if (strcmp(accepted[i], "1e400") != 0 && strcmp(accepted[i], "-0") != 0)
            ck_assert_msg(json_object_equal(ours, theirs), "%s", accepted[i]);
        json_object_put(ours);
        json_object_put(theirs);
    }
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        struct json_object *v = (struct json_object *)&i;
        odto_error err;
        ck_assert_int_eq(odto_json_parse(S(refused[i]), 32, &v, &err), -EINVAL);
        ck_assert_ptr_eq(v, &i); /* untouched */
    }
}
END_TEST

/* ---- members ------------------------------------------------------------------------------- */

START_TEST(members_without_a_tree)
{
    odto_slice v,
        doc = S(" { \"a\" : 1 , \"b\":{\"a\":[\"}\\\"\",{}]},\"\\u0063\" : \"x\" ,\"d\":[ 1 , 2 ]} ");
    ck_assert(odto_json_member(doc, "a", &v) && odto_slice_eq(v, "1"));
    ck_assert(odto_json_member(doc, "b", &v) && odto_slice_eq(v, "{\"a\":[\"}\\\"\",{}]}"));
    ck_assert(odto_json_member(doc, "c", &v) && odto_slice_eq(v, "\"x\""));
    ck_assert(odto_json_member(doc, "d", &v) && odto_slice_eq(v, "[ 1 , 2 ]"));
    ck_assert(!odto_json_member(doc, "e", &v));
    ck_assert(!odto_json_member(S("[1]"), "a", &v));
    ck_assert(!odto_json_member(S("{}"), "a", &v));
    ck_assert(!odto_json_member(S(""), "a", &v));
}
END_TEST

/* Brackets, quotes and escapes in strings, at every place of a vector. */
START_TEST(members_at_every_alignment)
{
    static const char *const values[] = {
        "{\"k\":\"}]\\\"{\",\"l\":[{},\"\\\\\"]}",
        "[[],[\"]\",\"[\"],{\"a\":{\"b\":\"}\"}}]",
        "\"{\\\\\"",
        "{\"0123456789abcde\":[\"0123456789abcdef0123456789abcdef\"],\"x\":{}}",
        "{\"a\":\"\\\"\\\"\\\"\\\"\\\"\\\"\\\"\\\"}\"}",
        "[]",
        "-1.5e3",
        "{\"x\":[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]}",
    };
    for (size_t k = 0; k < sizeof values / sizeof values[0]; k++) {
        for (int pad = 0; pad < 40; pad++) {
            odto_buf b = {0};
            odto_slice v;
            odto_buf_printf(&b, "{\"p\":\"%*s\",\"o\":%s,\"z\":7}", pad, "", values[k]);
            ck_assert_int_eq(check_exact(b.p, b.n, 32, NULL), 0);
            char *copy = malloc(b.n);
            memcpy(copy, b.p, b.n);
            ck_assert(odto_json_member(odto_slice_of(copy, b.n), "o", &v) && odto_slice_eq(v, values[k]));
            ck_assert(odto_json_member(odto_slice_of(copy, b.n), "z", &v) && odto_slice_eq(v, "7"));
            free(copy);
            odto_buf_free(&b);
        }
    }
}
END_TEST

static bool collect(void *arg, odto_slice key, odto_slice value)
{
    odto_buf *b = arg;
    return odto_buf_printf(b, "%.*s=%.*s;", (int)key.n, key.p, (int)value.n, value.p) &&
           !odto_slice_eq(key, "stop");
}

START_TEST(members_in_order)
{
    odto_buf b = {0};
    odto_json_members(S("{\"x\":1,\"y\":[2],\"stop\":{},\"z\":3}"), collect, &b);
    ck_assert_str_eq(b.p, "x=1;y=[2];stop={};");
    odto_buf_free(&b);
}
END_TEST

/* Walking malformed text ends, inside its bounds. */
START_TEST(members_of_malformed_text)
{
    const char *text = "{\"a\":{\"b\":[1,\"x\\\"y\"]},\"c\":\"d\",\"e\":tru";
    for (size_t i = 0; i <= strlen(text); i++) {
        char *copy = malloc(i ? i : 1);
        odto_slice v;
        memcpy(copy, text, i);
        odto_json_member(odto_slice_of(copy, i), "e", &v);
        free(copy);
    }
}
END_TEST

START_TEST(unquote)
{
    odto_buf b = {0};
    ck_assert_int_eq(odto_json_unquote(S("\"a\\n\\u00e9\\ud83d\\udc32\""), &b), 0);
    ck_assert_str_eq(b.p, "a\n\xc3\xa9\xf0\x9f\x90\xb2");
    ck_assert_int_eq(odto_json_unquote(S("\"+\""), &b), 0); /* appends */
    ck_assert_str_eq(b.p, "a\n\xc3\xa9\xf0\x9f\x90\xb2+");
    size_t n = b.n;
    static const char *const bad[] = {"",          "\"",          "x",        "\"a",   "\"\\q\"",
                                      "\"\\u12\"", "\"\\ud83d\"", "\"a\"b\"", "\"\\\""};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ck_assert_msg(odto_json_unquote(S(bad[i]), &b) == -EINVAL, "%s", bad[i]);
        ck_assert_uint_eq(b.n, n);
    }
    odto_buf_free(&b);
    odto_buf small = {.max = 3};
    ck_assert_int_eq(odto_json_unquote(S("\"abcd\""), &small), -ENOMEM);
    odto_buf_free(&small);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("json");
    TCase *t = tcase_create("json");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, strict_accepts);
    tcase_add_test(t, strict_refuses);
    tcase_add_test(t, strict_refuses_every_prefix);
    tcase_add_test(t, depth_is_bounded);
    tcase_add_test(t, errors_say_where);
    tcase_add_test(t, duplicates_in_objects_of_any_size);
    tcase_add_test(t, duplicates_on_every_level);
    tcase_add_test(t, trees_print_as_they_were);
    tcase_add_test(t, trees_have_the_right_values);
    tcase_add_test(t, trees_do_not_follow_the_locale);
    tcase_add_test(t, trees_agree_with_json_c);
    tcase_add_test(t, members_without_a_tree);
    tcase_add_test(t, members_at_every_alignment);
    tcase_add_test(t, members_in_order);
    tcase_add_test(t, members_of_malformed_text);
    tcase_add_test(t, unquote);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
