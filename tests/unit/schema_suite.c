/* schema_suite.c — runs the draft-7 part of the JSON-Schema-Test-Suite against odto_schema, one TAP line a
 * file.
 *
 * All required tests, also those with remote documents: what they expect behind http://localhost:1234 is
 * given to the compiler from remotes/. Of the optional ones those about formats and patterns that the library
 * asserts; not bignum.json, since integers outside 64 bits are refused before a schema sees them. */
#include <odto/schema.h>
#include <dirent.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REMOTES_MAX 64

static struct {
    struct json_object *remotes[REMOTES_MAX];
    size_t n_remotes;
    unsigned passed, failed; /* of the current file */
    unsigned all_passed, all_failed, points;
} suite;

static struct json_object *read_json(const char *path)
{
    odto_error err;
    struct json_object *doc = NULL;
    odto_buf text = {0};
    char chunk[4096];
    size_t n;
    FILE *f = fopen(path, "re");
    if (!f) {
        printf("Bail out! cannot open %s\n", path);
        exit(1);
    }
    while ((n = fread(chunk, 1, sizeof chunk, f)) > 0)
        odto_buf_put(&text, chunk, n);
    fclose(f);
    if (odto_json_parse(odto_slice_of(text.p, text.n), 64, &doc, &err) != 0) {
        char line[1024];
        printf("Bail out! %s: %s\n", path, odto_error_text(&err, line, sizeof line));
        exit(1);
    }
    odto_buf_free(&text);
    return doc;
}

static void add_remote(const char *path, const char *url)
{
    struct json_object *doc = read_json(path), *id;
    if (suite.n_remotes == REMOTES_MAX || json_object_get_type(doc) != json_type_object) {
        printf("Bail out! remote %s\n", path);
        exit(1);
    }
    /* a document is known by where it was found; one that names itself also by that */
    if (json_object_object_get_ex(doc, "$id", &id))
        printf("# remote %s calls itself %s\n", url, json_object_get_string(id));
    else
        json_object_object_add(doc, "$id", json_object_new_string(url));
    suite.remotes[suite.n_remotes++] = doc;
}

static void add_remotes(const char *dir, const char *url)
{
    DIR *d = opendir(dir);
    if (!d) {
        printf("Bail out! cannot open %s\n", dir);
        exit(1);
    }
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        char path[512], below[512];
        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        snprintf(below, sizeof below, "%s/%s", url, e->d_name);
        if (strstr(e->d_name, ".json"))
            add_remote(path, below);
        else
            add_remotes(path, below);
    }
    closedir(d);
}

static const char *member_text(struct json_object *o, const char *key)
{
    struct json_object *v = NULL;
    json_object_object_get_ex(o, key, &v);
    return v ? json_object_get_string(v) : "";
}

static void run_test(const char *file, const char *group, const odto_schema *s, struct json_object *test)
{
    struct json_object *data = NULL, *expected;
    odto_violation v[4];
    json_object_object_get_ex(test, "data", &data);
    json_object_object_get_ex(test, "valid", &expected);
    bool want = json_object_get_boolean(expected), got = s && odto_schema_validate(s, data, v, 4) == 0;
    bool quick = s && odto_schema_validate(s, data, NULL, 0) == 0;
    size_t n;
    const char *text = json_object_to_json_string_ext(data, JSON_C_TO_STRING_PLAIN);
    bool on_text = s && odto_schema_validate_text(s, odto_slice_str(text), NULL, 0, &n) == 0;
    if (s && got == want && quick == want && on_text == want) {
        suite.passed++;
        return;
    }
    suite.failed++;
    printf("# %s: %s: %s: wanted %s; %s\n", file, group, member_text(test, "description"),
           want ? "valid" : "invalid",
           !s    ? "no schema"
           : got ? "it is valid"
                 : v[0].message);
}

static void run_group(const char *file, struct json_object *group)
{
    struct json_object *doc = NULL, *tests;
    const char *name = member_text(group, "description");
    odto_schema *s = NULL;
    odto_error err;
    char line[1024];
    json_object_object_get_ex(group, "schema", &doc);
    json_object_object_get_ex(group, "tests", &tests);
    if (odto_schema_compile_with(doc, name, suite.remotes, suite.n_remotes, &s, &err) != 0)
        printf("# %s: %s\n", file, odto_error_text(&err, line, sizeof line));
    for (size_t i = 0, n = json_object_array_length(tests); i < n; i++)
        run_test(file, name, s, json_object_array_get_idx(tests, i));
    odto_schema_free(s);
}

static void run_file(const char *dir, const char *file)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, file);
    struct json_object *groups = read_json(path);
    suite.passed = suite.failed = 0;
    for (size_t i = 0, n = json_object_array_length(groups); i < n; i++)
        run_group(file, json_object_array_get_idx(groups, i));
    json_object_put(groups);
    printf("%sok %u - %s: %u of %u tests\n", suite.failed ? "not " : "", ++suite.points, file, suite.passed,
           suite.passed + suite.failed);
    suite.all_passed += suite.passed;
    suite.all_failed += suite.failed;
}

static int is_json(const struct dirent *e)
{
    return strstr(e->d_name, ".json") != NULL;
}

/* Every file of a folder, or those named. */
static void run_folder(const char *dir, const char *const *only, size_t n_only)
{
    struct dirent **names;
    int n = scandir(dir, &names, is_json, alphasort);
    for (int i = 0; i < n; i++) {
        bool wanted = n_only == 0;
        for (size_t k = 0; k < n_only; k++)
            wanted |= strcmp(names[i]->d_name, only[k]) == 0;
        if (wanted)
            run_file(dir, names[i]->d_name);
        free(names[i]);
    }
    if (n >= 0)
        free(names);
    printf("# so far: %u passed, %u failed\n", suite.all_passed, suite.all_failed);
}

int main(void)
{
    static const char *const formats[] = {
        "date-time.json",    "date.json",  "email.json", "hostname.json",      "ipv4.json", "ipv6.json",
        "json-pointer.json", "regex.json", "time.json",  "uri-reference.json", "uri.json",  "unknown.json"};
    static const char *const optional[] = {"ecmascript-regex.json", "float-overflow.json", "id.json",
                                           "non-bmp-regex.json", "unknownKeyword.json"};
    const char *src = getenv("ODTO_SRCDIR");
    char root[512], dir[600];
    snprintf(root, sizeof root, "%s/tests/data/json-schema-test-suite", src ? src : ".");
    snprintf(dir, sizeof dir, "%s/remotes", root);
    add_remotes(dir, "http://localhost:1234");
    snprintf(dir, sizeof dir, "%s/draft-07-schema.json", root);
    add_remote(dir, "http://json-schema.org/draft-07/schema");
    snprintf(dir, sizeof dir, "%s/tests/draft7", root);
    run_folder(dir, NULL, 0);
    unsigned required = suite.all_passed + suite.all_failed;
    if (required < 900)
        printf("Bail out! only %u required tests found under %s\n", required, dir);
    snprintf(dir, sizeof dir, "%s/tests/draft7/optional", root);
    run_folder(dir, optional, sizeof optional / sizeof optional[0]);
    snprintf(dir, sizeof dir, "%s/tests/draft7/optional/format", root);
    run_folder(dir, formats, sizeof formats / sizeof formats[0]);
    printf("1..%u\n", suite.points);
    for (size_t i = 0; i < suite.n_remotes; i++)
        json_object_put(suite.remotes[i]);
    return suite.all_failed != 0;
}
