/* manifest_value.c — from a key's raw text to its checked value: environment, ${…}, file:, type.
 * Runs while a snapshot is built, on the building thread. */
#include "manifest_internal.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECRET_MAX 65536

typedef struct reading { /* one option of one section */
    manifest *m;
    manifest_section *s;
    const odto_option *o;
    const manifest_entry *e; /* NULL: not in the file */
    bool from_env;
    manifest_errors *errs;
} reading;

static void report(const reading *r, odto_error *err, bool warning)
{
    int line = r->e ? r->e->line : r->s->line, column = r->e ? r->e->value_column : r->s->column;
    if (r->from_env) {
        snprintf(err->where, sizeof(err->where), "environment variable %s", r->o->env);
        line = column = 0;
    }
    manifest_errors_add(r->errs, r->m->path, line, column, warning, err);
}

/* ---- ${…} ---- */

/* Appends what NAME or NAME:-default stands for. */
static int expand_one(const reading *r, const char *p, size_t n, odto_buf *out, odto_error *err)
{
    char name[128];
    size_t length = 0;
    while (length < n && (isalnum((unsigned char)p[length]) || p[length] == '_'))
        length++;
    bool has_default = n >= length + 2 && p[length] == ':' && p[length + 1] == '-';
    if (length == 0 || length >= sizeof(name) || (length < n && !has_default)) {
        odto_fail(err, -EINVAL, "%s: ${%.*s} is not understood", r->o->name, (int)(n > 60 ? 60 : n), p);
        odto_error_hint(err, "write ${NAME}, ${NAME:-default}, ${data}, or $${ for a plain ${");
        return -EINVAL;
    }
    memcpy(name, p, length);
    name[length] = 0;
    const char *value = NULL;
    if (strcmp(name, "data") == 0)
        value = r->m->data_dir;
    else
        value = getenv(name);
    if (value && *value)
        return odto_buf_str(out, value) ? 0 : -ENOMEM;
    if (has_default)
        return odto_buf_put(out, p + length + 2, n - length - 2) ? 0 : -ENOMEM;
    if (strcmp(name, "data") == 0)
        return odto_fail(err, -EINVAL, "%s: ${data} can't stand in data_dir itself", r->o->name);
    odto_fail(err, -EINVAL, "%s: the environment variable %s is not set", r->o->name, name);
    odto_error_hint(err, "export %s, or give a default: ${%s:-value}", name, name);
    return -EINVAL;
}

static int expand(const reading *r, const char *raw, odto_buf *out, odto_error *err)
{
    int code = odto_buf_str(out, "") ? 0 : -ENOMEM;
    while (*raw && code == 0) {
        size_t n = strcspn(raw, "$");
        code = odto_buf_put(out, raw, n) ? 0 : -ENOMEM;
        raw += n;
        if (code < 0 || !*raw)
            break;
        if (raw[1] == '$') {
            code = odto_buf_str(out, "$") ? 0 : -ENOMEM;
            raw += 2;
        } else if (raw[1] == '{') {
            const char *close = strchr(raw, '}');
            if (!close) {
                odto_fail(err, -EINVAL, "%s: ${ is not closed", r->o->name);
                odto_error_hint(err, "close it with }, or write $${ for a plain ${");
                return -EINVAL;
            }
            code = expand_one(r, raw + 2, (size_t)(close - raw) - 2, out, err);
            raw = close + 1;
        } else {
            code = odto_buf_str(out, "$") ? 0 : -ENOMEM;
            raw++;
        }
    }
    return code;
}

/* ---- file: ---- */

static int read_all(int fd, odto_buf *out)
{
    char part[4096];
    ssize_t n;
    while ((n = read(fd, part, sizeof(part))) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (out->n + (size_t)n > SECRET_MAX)
            return -EFBIG;
        if (!odto_buf_put(out, part, (size_t)n))
            return -ENOMEM;
    }
    while (out->n && (out->p[out->n - 1] == '\n' || out->p[out->n - 1] == '\r'))
        out->p[--out->n] = 0;
    return out->n && memchr(out->p, 0, out->n) ? -EILSEQ : 0;
}

static void check_mode(const reading *r, int fd, const char *path)
{
    struct stat st;
    odto_error e = {0};
    if (fstat(fd, &st) < 0 || !(st.st_mode & S_IROTH))
        return;
    odto_fail(&e, -EPERM, "%s: everybody may read this secret", r->o->name);
    odto_error_detail(&e, "%s", path);
    odto_error_hint(&e, "chmod o-r %s", path);
    report(r, &e, true);
}

/* Replaces *text (file:PATH) by the file's content. */
static int read_secret(const reading *r, odto_buf *text, odto_error *err)
{
    const char *name = text->p + strlen("file:");
    char path[4096];
    snprintf(path, sizeof(path), "%s%s%s", *name == '/' ? "" : r->m->folder, *name == '/' ? "" : "/", name);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    odto_buf content = {0};
    int code = fd < 0 ? -errno : read_all(fd, &content);
    if (code == 0)
        check_mode(r, fd, path);
    if (fd >= 0)
        close(fd);
    if (code < 0) {
        odto_buf_free(&content);
        odto_fail(err, -EINVAL, "%s: the secret's file can't be read", r->o->name);
        odto_error_detail(err, "%s: %s", path,
                          code == -EFBIG    ? "it is larger than 64 KiB"
                          : code == -EILSEQ ? "it holds NUL bytes"
                                            : strerror(-code));
        return -EINVAL;
    }
    odto_buf_free(text);
    *text = content;
    return odto_buf_str(text, "") ? 0 : -ENOMEM; /* an empty file is an empty text */
}

/* ---- one option ---- */

static int make_value(const reading *r, const char *raw, odto_value *out, odto_error *err)
{
    odto_buf text = {0};
    char cwd[4096];
    int code = r->from_env ? (odto_buf_str(&text, raw) ? 0 : -ENOMEM) : expand(r, raw, &text, err);
    if (code == 0 && r->o->flags & ODTO_OPTION_SECRET && strncmp(text.p, "file:", 5) == 0)
        code = read_secret(r, &text, err);
    const char *base = r->from_env ? getcwd(cwd, sizeof(cwd)) : r->m->folder;
    if (code == 0)
        code = option_parse(r->o, text.p, base, &r->m->a, out, err);
    if (code == 0 && r->o->type == ODTO_OPT_STORE && out->s && r->s->enabled)
        code = manifest_check_store(r->m, out->s, r->o->min, err);
    odto_buf_free(&text);
    if (code == -ENOMEM)
        r->m->no_memory = true;
    return code;
}

static void use_default(reading *r, odto_value *out)
{
    odto_error err = {0};
    r->e = NULL;
    r->from_env = false;
    if (r->o->default_value && make_value(r, r->o->default_value, out, &err) < 0)
        report(r, &err, false);
}

/* line is 0 unless the value stands in the file; column -1 tells the environment from a default. */
static void read_option(reading *r, odto_value *out)
{
    const char *env = r->o->env ? getenv(r->o->env) : NULL;
    r->from_env = env && *env;
    const char *raw = r->from_env ? env : r->e ? r->e->raw : NULL;
    odto_error err = {0};
    int code = raw ? make_value(r, raw, out, &err) : 0;
    if (code < 0) {
        report(r, &err, false);
    } else if (out->s) {
        out->line = r->from_env ? 0 : r->e->line;
        out->column = r->from_env ? -1 : r->e->value_column;
        return;
    }
    use_default(r, out);
    if (code == 0 && !out->s && r->o->flags & ODTO_OPTION_REQUIRED && r->s->enabled) {
        odto_fail(&err, -EINVAL, "%s is missing", r->o->name);
        odto_error_hint(&err, "%s", r->o->help ? r->o->help : "set it");
        report(r, &err, false);
    }
}

odto_config *manifest_read_config(manifest *m, manifest_section *s, const odto_option *table, size_t n,
                                  manifest_errors *errs)
{
    odto_config *c = arena_alloc(&m->a, sizeof(*c));
    odto_value *values = arena_alloc(&m->a, (n + 1) * sizeof(*values));
    if (!c || !values) {
        m->no_memory = true;
        return NULL;
    }
    for (size_t i = 0; i < n; i++) {
        manifest_entry *e = manifest_entry_of(s, table[i].name);
        if (e)
            e->known = true;
        reading r = {m, s, &table[i], e, false, errs};
        read_option(&r, &values[i]);
    }
    *c = (odto_config){s->name, m->path, s->line, table, values, n, m->data_dir, m->host_name};
    return m->no_memory ? NULL : c;
}
