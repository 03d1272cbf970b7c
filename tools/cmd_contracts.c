/* cmd_contracts.c — `odto contracts validate|list|show`: see cmd_contracts.h.
 *
 * Runs without a host. A document that is not strict JSON is as invalid as one that breaks its schema: both
 * are reported with path and message, and the other files are still looked at. */
#include "cmd_contracts.h"
#include <odto/schema.h>
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OK = 0, INVALID = 1, USAGE = 2 };

#define DEPTH_MAX      512
#define BYTES_MAX      (64u << 20)
#define VIOLATIONS_MAX 1000

static const char *const builtin[] = {"dead-letter", "event-envelope", "job", "job-accepted"};
#define N_BUILTIN (sizeof builtin / sizeof builtin[0])

static const char usage[] =
    "usage: odto contracts validate --schema SCHEMA [--json] [--quiet] FILE...\n"
    "       odto contracts list [--json]\n"
    "       odto contracts show SCHEMA\n"
    "\n"
    "SCHEMA is a file (with a / or .json in its name) or one of: dead-letter, event-envelope, job, "
    "job-accepted.\n"
    "FILE - is standard input. Every error is printed as FILE: PATH MESSAGE.\n"
    "Exit status: 0 all valid, 1 something is not valid or can't be read, 2 wrong usage.\n";

static int complain(const char *what, const char *arg)
{
    fprintf(stderr, "odto contracts: %s%s%s\n%s", what, arg ? ": " : "", arg ? arg : "", usage);
    return USAGE;
}

/* Prints text that comes from outside: no control characters reach the terminal. */
static void put_clean(const char *text)
{
    for (; *text; text++)
        putchar((unsigned char)*text < 0x20 || *text == 0x7f ? '?' : *text);
}

/* ---- schemas ------------------------------------------------------------------------------- */

typedef struct checker {
    odto_schema *schema;
    odto_schema *payload; /* of "payload", where an envelope's eventType starts with "job." */
    bool json, quiet;
} checker;

static bool is_builtin(const char *name)
{
    for (size_t i = 0; i < N_BUILTIN; i++)
        if (strcmp(name, builtin[i]) == 0)
            return true;
    return false;
}

static int load_schema(checker *c, const char *name)
{
    odto_error err = {0};
    char line[1400];
    bool file = strchr(name, '/') || strstr(name, ".json");
    if (!file && !is_builtin(name)) {
        const char *near = odto_nearest(name, builtin, N_BUILTIN);
        fprintf(stderr, "odto contracts: there is no schema %s%s%s\n%s", name, near ? "; did you mean " : "",
                near ? near : "", usage);
        return USAGE;
    }
    int rc =
        file ? odto_schema_load(name, &c->schema, &err) : odto_schema_compile_builtin(name, &c->schema, &err);
    if (rc == 0 && !file && strcmp(name, "event-envelope") == 0)
        rc = odto_schema_compile_builtin("job", &c->payload, &err);
    if (rc == 0)
        return OK;
    fprintf(stderr, "odto contracts: %s\n", odto_error_text(&err, line, sizeof line));
    return INVALID;
}

/* ---- one document -------------------------------------------------------------------------- */

static int read_all(const char *path, odto_buf *out)
{
    int fd = strcmp(path, "-") == 0 ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
    int rc = fd < 0 ? -errno : 0;
    ssize_t n = 1;
    while (rc == 0 && n != 0) {
        if (!odto_buf_reserve(out, 1 << 16)) {
            rc = -EFBIG;
            break;
        }
        n = read(fd, out->p + out->n, 1 << 16);
        if (n > 0)
            out->n += (size_t)n;
        else if (n < 0 && errno != EINTR)
            rc = -errno;
    }
    if (fd >= 0)
        close(fd);
    return rc;
}

/* The job inside a valid envelope; its paths are given from the envelope's root. */
static size_t check_payload(const checker *c, struct json_object *doc, odto_violation *v, size_t max)
{
    struct json_object *type, *payload;
    if (!c->payload || !json_object_object_get_ex(doc, "eventType", &type) ||
        strncmp(json_object_get_string(type), "job.", 4) != 0 ||
        !json_object_object_get_ex(doc, "payload", &payload))
        return 0;
    size_t n = odto_schema_validate(c->payload, payload, v, max);
    for (size_t i = 0; i < n; i++) {
        char inner[sizeof v->path];
        snprintf(inner, sizeof inner, "%s", strcmp(v[i].path, "/") == 0 ? "" : v[i].path);
        snprintf(v[i].path, sizeof v[i].path, "/payload%.*s", (int)(sizeof inner - sizeof "/payload"), inner);
    }
    return n;
}

static size_t check_document(const checker *c, odto_slice text, odto_violation *v, size_t max)
{
    struct json_object *doc;
    odto_error err = {0};
    if (odto_json_parse(text, DEPTH_MAX, &doc, &err) != 0) {
        snprintf(v->path, sizeof v->path, "%s", err.where[0] ? err.where : "/");
        snprintf(v->message, sizeof v->message, "%.64s: %.180s", err.message, err.detail);
        return 1;
    }
    size_t n = odto_schema_validate(c->schema, doc, v, max);
    if (n == 0)
        n = check_payload(c, doc, v, max);
    json_object_put(doc);
    return n;
}

static void report_json(const char *file, const odto_violation *v, size_t n)
{
    odto_buf b = {0};
    odto_buf_str(&b, "{\"file\":");
    odto_buf_jsonz(&b, file);
    odto_buf_printf(&b, ",\"valid\":%s,\"errors\":[", n ? "false" : "true");
    for (size_t i = 0; i < n; i++) {
        odto_buf_str(&b, i ? ",{\"path\":" : "{\"path\":");
        odto_buf_jsonz(&b, v[i].path);
        odto_buf_str(&b, ",\"message\":");
        odto_buf_jsonz(&b, v[i].message);
        odto_buf_str(&b, "}");
    }
    odto_buf_str(&b, "]}");
    if (!b.failed)
        puts(b.p);
    odto_buf_free(&b);
}

static void report_text(const char *file, const odto_violation *v, size_t n, bool quiet)
{
    for (size_t i = 0; i < n; i++) {
        put_clean(file);
        fputs(": ", stdout);
        put_clean(v[i].path);
        putchar(' ');
        put_clean(v[i].message);
        putchar('\n');
    }
    if (n == 0 && !quiet) {
        put_clean(file);
        puts(": valid");
    }
}

static int check_file(const checker *c, const char *file, odto_violation *v)
{
    odto_buf text = {.max = BYTES_MAX};
    int rc = read_all(file, &text);
    size_t n = 1;
    if (rc) {
        snprintf(v->path, sizeof v->path, "/");
        snprintf(v->message, sizeof v->message, "cannot be read: %s", strerror(-rc));
    } else {
        n = check_document(c, odto_slice_of(text.p, text.n), v, VIOLATIONS_MAX);
    }
    odto_buf_free(&text);
    if (c->json)
        report_json(file, v, n);
    else
        report_text(file, v, n, c->quiet);
    return n ? INVALID : OK;
}

/* ---- verbs --------------------------------------------------------------------------------- */

/* Takes options out of argv; leaves the files. */
static int parse_options(int *argc, char **argv, checker *c, const char **schema)
{
    int files = 0;
    bool only_files = false;
    for (int i = 0; i < *argc; i++) {
        if (only_files || argv[i][0] != '-' || argv[i][1] == '\0')
            argv[files++] = argv[i];
        else if (strcmp(argv[i], "--") == 0)
            only_files = true;
        else if (strcmp(argv[i], "--json") == 0)
            c->json = true;
        else if (strcmp(argv[i], "--quiet") == 0 || strcmp(argv[i], "-q") == 0)
            c->quiet = true;
        else if (strncmp(argv[i], "--schema=", 9) == 0)
            *schema = argv[i] + 9;
        else if ((strcmp(argv[i], "--schema") == 0 || strcmp(argv[i], "-s") == 0) && i + 1 < *argc)
            *schema = argv[++i];
        else
            return complain("unknown option, or one without its value", argv[i]);
    }
    *argc = files;
    return OK;
}

static int validate(int argc, char **argv)
{
    checker c = {0};
    const char *schema = NULL;
    int rc = parse_options(&argc, argv, &c, &schema);
    if (rc != OK)
        return rc;
    if (!schema)
        return complain("--schema is missing", NULL);
    if (argc == 0)
        return complain("no FILE given", NULL);
    rc = load_schema(&c, schema);
    odto_violation *v = calloc(VIOLATIONS_MAX, sizeof *v);
    if (rc == OK && !v)
        rc = INVALID;
    for (int i = 0; i < argc && c.schema && v; i++)
        rc |= check_file(&c, argv[i], v);
    free(v);
    odto_schema_free(c.schema);
    odto_schema_free(c.payload);
    return rc;
}

static int list(int argc, char **argv)
{
    bool json = argc == 1 && strcmp(argv[0], "--json") == 0;
    if (argc > 0 && !json)
        return complain("list takes no arguments", argv[0]);
    for (size_t i = 0; i < N_BUILTIN; i++) {
        odto_schema *s;
        if (odto_schema_compile_builtin(builtin[i], &s, NULL) != 0)
            return INVALID;
        printf(json ? "{\"name\":\"%s\",\"version\":\"%s\",\"id\":\"%s\"}\n" : "%-16s %s  %s\n", builtin[i],
               odto_schema_version(s), odto_schema_id(s));
        odto_schema_free(s);
    }
    return OK;
}

static int show(int argc, char **argv)
{
    if (argc != 1 || !is_builtin(argv[0]))
        return complain("show takes the name of a schema", argc ? argv[0] : NULL);
    odto_slice text = odto_schema_builtin(argv[0]);
    return fwrite(text.p, 1, text.n, stdout) == text.n ? OK : INVALID;
}

int cmd_contracts(int argc, char **argv)
{
    if (argc > 0 && strcmp(argv[0], "contracts") == 0) {
        argc--;
        argv++;
    }
    if (argc == 0)
        return complain("what to do?", NULL);
    const char *verb = argv[0];
    int rc;
    if (strcmp(verb, "validate") == 0)
        rc = validate(argc - 1, argv + 1);
    else if (strcmp(verb, "list") == 0)
        rc = list(argc - 1, argv + 1);
    else if (strcmp(verb, "show") == 0)
        rc = show(argc - 1, argv + 1);
    else if (strcmp(verb, "--help") == 0 || strcmp(verb, "-h") == 0)
        rc = fputs(usage, stdout) < 0;
    else
        rc = complain("unknown command", verb);
    return fflush(stdout) != 0 ? INVALID : rc;
}
