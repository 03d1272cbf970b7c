/* fuzz_manifest.c — any bytes as a manifest: load, configure, print, compare; nothing may crash or leak. */
#include "manifest.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const odto_option table[] = {
    {.name = "listen", .type = ODTO_OPT_ADDRESS, .default_value = "127.0.0.1:3000"},
    {.name = "jobs", .type = ODTO_OPT_STORE, .min = ODTO_ROLE_JOBS},
    {.name = "url", .type = ODTO_OPT_URL},
    {.name = "password", .type = ODTO_OPT_STRING, .flags = ODTO_OPTION_SECRET},
    {.name = "limit", .type = ODTO_OPT_INT, .default_value = "10", .min = 1, .max = 64},
    {.name = "wait", .type = ODTO_OPT_DURATION, .default_value = "5s"},
    {.name = "command", .type = ODTO_OPT_ARGV},
    {.name = "script", .type = ODTO_OPT_PATH},
    {.name = "ratio", .type = ODTO_OPT_FLOAT, .default_value = "0.5"},
    {.name = "size", .type = ODTO_OPT_SIZE},
    {.name = "words", .type = ODTO_OPT_LIST},
    {.name = "mode", .type = ODTO_OPT_ENUM, .choices = "a|b|c", .flags = ODTO_OPTION_REQUIRED},
};

static void use(manifest *m, manifest_errors *errs)
{
    char *text = NULL;
    size_t n = 0;
    for (size_t i = 0; manifest_section_at(m, i); i++) {
        const manifest_section *s = manifest_section_at(m, i);
        if (option_table_of(s->kind)->instance)
            manifest_config(m, s, table, sizeof(table) / sizeof(table[0]), NULL, errs);
    }
    manifest_finish(m, errs);
    for (size_t i = 0; manifest_section_at(m, i); i++) {
        const manifest_section *s = manifest_section_at(m, i);
        if (manifest_compare(s, s) != MANIFEST_SAME || manifest_section_hash(s) != manifest_section_hash(s))
            abort();
    }
    FILE *out = open_memstream(&text, &n);
    if (out) {
        manifest_print(m, out);
        manifest_errors_print(errs, out);
        fclose(out);
    }
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    manifest *m = NULL;
    manifest_errors errs = {0};
    if (n > 65536)
        return 0;
    manifest_parse(odto_slice_of((const char *)data, n), "/tmp/fuzz.ini", &m, &errs);
    if (m)
        use(m, &errs);
    manifest_unref(m);
    manifest_errors_free(&errs);
    return 0;
}
