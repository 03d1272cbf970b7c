/* fuzz_json.c — any bytes as JSON text. What the strict check accepts, json-c must accept and mean the same
 * by; what is printed is accepted again; and walking text, accepted or not, stays inside it. */
#include <odto/json.h>
#include <json-c/json.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH 24

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void must(bool ok)
{
    if (!ok)
        abort();
}

static bool count(void *arg, odto_slice key, odto_slice value)
{
    (void)key;
    must(value.n > 0);
    return ++*(size_t *)arg < 10000;
}

/* json-c's own parser, strict, of the same text. */
static struct json_object *theirs_of(odto_slice text)
{
    json_tokener *t = json_tokener_new_ex(DEPTH + 8);
    json_tokener_set_flags(t, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    struct json_object *v = json_tokener_parse_ex(t, text.p, (int)text.n);
    if (json_tokener_get_error(t) == json_tokener_continue) /* a number may go on: say that it does not */
        v = json_tokener_parse_ex(t, "", 1);
    must(json_tokener_get_error(t) == json_tokener_success);
    json_tokener_free(t);
    return v;
}

static void members_agree(odto_slice text, struct json_object *tree)
{
    size_t seen = 0;
    odto_json_members(text, count, &seen);
    if (json_object_get_type(tree) != json_type_object) {
        must(seen == 0);
        return;
    }
    must(seen == (size_t)json_object_object_length(tree));
    json_object_object_foreach(tree, key, member)
    {
        odto_slice value;
        struct json_object *again = NULL;
        if (strlen(key) > 60) /* found only if written without escapes */
            continue;
        must(odto_json_member(text, key, &value));
        must(odto_json_parse(value, DEPTH, &again, NULL) == 0);
        must(json_object_equal(again, member));
        json_object_put(again);
    }
}

static void accepted(odto_slice text)
{
    struct json_object *ours = NULL, *again = NULL;
    must(odto_json_parse(text, DEPTH, &ours, NULL) == 0);
    struct json_object *theirs = theirs_of(text);
    must(json_object_equal(ours, theirs));
    members_agree(text, ours);
    const char *printed = json_object_to_json_string_ext(ours, JSON_C_TO_STRING_PLAIN);
    must(odto_json_parse(odto_slice_str(printed), DEPTH, &again, NULL) == 0);
    must(json_object_equal(ours, again));
    json_object_put(again);
    json_object_put(theirs);
    json_object_put(ours);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    odto_slice text = odto_slice_of((const char *)data, n), value;
    odto_error err;
    odto_buf b = {0};
    size_t seen = 0;
    int rc = odto_json_check(text, DEPTH, &err);
    must(rc == odto_json_check(text, DEPTH, NULL));
    if (rc == 0)
        accepted(text);
    else
        must(err.where[0] == '/' && err.detail[0]);
    odto_json_members(text, count, &seen);
    odto_json_member(text, "a", &value);
    odto_json_unquote(text, &b);
    odto_buf_clear(&b);
    /* any bytes can be written as a JSON string, and read back where they are UTF-8 */
    must(odto_buf_json(&b, text));
    must(odto_json_check(odto_slice_of(b.p, b.n), 1, NULL) == 0);
    odto_buf back = {0};
    must(odto_json_unquote(odto_slice_of(b.p, b.n), &back) == 0);
    if (odto_utf8_valid(text))
        must(back.n == n && (n == 0 || memcmp(back.p, data, n) == 0));
    odto_buf_free(&back);
    odto_buf_free(&b);
    return 0;
}
