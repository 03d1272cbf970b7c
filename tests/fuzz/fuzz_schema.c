/* fuzz_schema.c — any JSON as a schema, and any as an instance: `SCHEMA newline INSTANCE`. Compiling or
 * refusing, then the verdict is the same however it is asked for, and the violations are whole. */
#include <odto/schema.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH 32
#define MAX   16

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void must(bool ok)
{
    if (!ok)
        abort();
}

static void validate(const odto_schema *s, odto_slice text)
{
    odto_violation v[MAX], w[MAX];
    struct json_object *value = NULL;
    size_t m = 0;
    if (odto_json_parse(text, DEPTH, &value, NULL) != 0)
        return;
    size_t n = odto_schema_validate(s, value, v, MAX);
    must(n <= MAX);
    must(odto_schema_validate(s, value, NULL, 0) == (n > 0));
    must(odto_schema_validate(s, value, w, 1) == (n > 0));
    must(n == 0 || memcmp(v[0].path, w[0].path, strlen(v[0].path) + 1) == 0);
    must((odto_schema_validate_text(s, text, w, MAX, &m) == 0) == (n == 0) && m == n);
    for (size_t i = 0; i < n; i++) {
        must(v[i].path[0] == '/' && v[i].message[0]);
        must(odto_utf8_valid(odto_slice_str(v[i].path)) && odto_utf8_valid(odto_slice_str(v[i].message)));
        must(strcmp(v[i].path, w[i].path) == 0 && strcmp(v[i].message, w[i].message) == 0);
    }
    json_object_put(value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const char *text = (const char *)data, *line = n ? memchr(text, '\n', n) : NULL;
    odto_slice schema = odto_slice_of(text, line ? (size_t)(line - text) : n);
    odto_slice instance = line ? odto_slice_of(line + 1, n - schema.n - 1) : odto_slice_of(text, 0);
    struct json_object *doc = NULL;
    odto_schema *s = NULL;
    odto_error err = {0};
    if (odto_json_parse(schema, DEPTH, &doc, NULL) != 0)
        return 0;
    if (odto_schema_compile(doc, "fuzz", &s, &err) == 0) {
        json_object_put(doc);
        validate(s, instance);
        validate(s, schema);
        odto_schema_free(s);
        return 0;
    }
    must(err.message[0]);
    json_object_put(doc);
    return 0;
}
