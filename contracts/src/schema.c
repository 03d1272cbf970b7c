/* schema.c — where schemas come from: files, and the copies inside the library. Any thread; a loaded schema
 * belongs to the caller. */
#include "embedded.h"
#include "scan.h"
#include "schema_node.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define SCHEMA_BYTES_MAX (16 << 20)

int odto_schema_compile(struct json_object *doc, const char *name, odto_schema **out, odto_error *err)
{
    return odto_schema_compile_with(doc, name, NULL, 0, out, err);
}

const char *odto_schema_id(const odto_schema *s)
{
    return s->id;
}

const char *odto_schema_version(const odto_schema *s)
{
    return s->version;
}

static int compile_text(odto_slice text, const char *name, odto_schema **out, odto_error *err)
{
    struct json_object *doc;
    int rc = odto_json_parse(text, ODTO_JSON_DEPTH_MAX, &doc, err);
    if (rc)
        return rc;
    rc = odto_schema_compile(doc, name, out, err);
    json_object_put(doc);
    return rc;
}

static int read_all(int fd, odto_buf *out)
{
    ssize_t n = 1;
    while (n != 0) {
        if (!odto_buf_reserve(out, 1 << 16))
            return out->n + (1 << 16) > out->max ? -EFBIG : -ENOMEM;
        n = read(fd, out->p + out->n, 1 << 16);
        if (n < 0 && errno != EINTR)
            return -errno;
        out->n += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

int odto_schema_load(const char *path, odto_schema **out, odto_error *err)
{
    odto_buf text = {.max = SCHEMA_BYTES_MAX};
    const char *slash = strrchr(path, '/');
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return odto_fail(err, -errno, "cannot open schema %s: %s", path, strerror(errno));
    int rc = read_all(fd, &text);
    close(fd);
    if (rc)
        odto_fail(err, rc, "cannot read schema %s: %s", path, strerror(-rc));
    else
        rc = compile_text(odto_slice_of(text.p, text.n), slash ? slash + 1 : path, out, err);
    odto_buf_free(&text);
    return rc;
}

odto_slice embedded_find(const embedded_file *table, const char *name)
{
    for (; table->name; table++)
        if (strcmp(table->name, name) == 0)
            return odto_slice_of(table->text, table->n);
    return odto_slice_of(NULL, 0);
}

odto_slice odto_schema_builtin(const char *name)
{
    return embedded_find(embedded_schemas, name);
}

odto_slice odto_openapi_builtin(const char *name)
{
    return embedded_find(embedded_openapi, name);
}

odto_slice odto_ui_registry_builtin(void)
{
    return embedded_find(embedded_registry, "ui-registry");
}

int odto_schema_compile_builtin(const char *name, odto_schema **out, odto_error *err)
{
    odto_slice text = odto_schema_builtin(name);
    char file[64];
    if (!text.p)
        return odto_fail(err, -ENOENT, "there is no schema named \"%s\" in the library", name);
    snprintf(file, sizeof file, "%s.json", name);
    return compile_text(text, file, out, err);
}
