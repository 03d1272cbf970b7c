/* registry — see registry.h. */
#include "registry.h"

#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <odto/json.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define FILE_MAX 65536

static void get_text(json_object *o, const char *key, char *out, size_t size)
{
    json_object *v = NULL;
    bool there = json_object_object_get_ex(o, key, &v) && json_object_is_type(v, json_type_string);
    text_clean(out, size, there ? json_object_get_string(v) : "");
}

static int read_entry(json_object *o, registry *r, odto_error *err)
{
    registry_entry *e = &r->entries[r->n];
    json_object *port = NULL;
    if (!json_object_is_type(o, json_type_object)) {
        return odto_fail(err, -EINVAL, "entry %d is not an object", r->n);
    }
    memset(e, 0, sizeof *e);
    get_text(o, "id", e->id, sizeof e->id);
    get_text(o, "name", e->name, sizeof e->name);
    get_text(o, "path", e->path, sizeof e->path);
    get_text(o, "emoji", e->emoji, sizeof e->emoji);
    get_text(o, "description", e->description, sizeof e->description);
    int64_t p = json_object_object_get_ex(o, "port", &port) && json_object_is_type(port, json_type_int)
                    ? json_object_get_int64(port)
                    : 0;
    if (!e->id[0] || !e->name[0]) {
        return odto_fail(err, -EINVAL, "entry %d has no id or no name", r->n);
    }
    if (p < 1 || p > 65535) {
        return odto_fail(err, -ERANGE, "entry %s: the port is not in 1..65535", e->id);
    }
    for (int i = 0; i < r->n; i++) {
        if (!strcmp(r->entries[i].id, e->id) || !strcmp(r->entries[i].name, e->name)) {
            return odto_fail(err, -EEXIST, "entry %s: id or name is there twice", e->id);
        }
    }
    e->port = (int)p;
    r->n++;
    return 0;
}

static int read_root(json_object *root, registry *r, odto_error *err)
{
    json_object *list = NULL;
    get_text(root, "registryVersion", r->version, sizeof r->version);
    get_text(root, "baseUrl", r->base_url, sizeof r->base_url);
    if (strncmp(r->base_url, "http", 4) != 0) {
        return odto_fail(err, -EINVAL, "baseUrl does not begin with http");
    }
    if (!json_object_object_get_ex(root, "entries", &list) || !json_object_is_type(list, json_type_array) ||
        !json_object_array_length(list)) {
        return odto_fail(err, -EINVAL, "no entries");
    }
    size_t n = json_object_array_length(list);
    for (size_t i = 0; i < n && i < REGISTRY_MAX; i++) {
        int rc = read_entry(json_object_array_get_idx(list, i), r, err);
        if (rc) {
            return rc;
        }
    }
    return 0;
}

int registry_parse(odto_slice text, registry *out, odto_error *err)
{
    json_object *root = NULL;
    int rc = odto_json_parse(text, 16, &root, err);
    if (rc) {
        return rc;
    }
    registry r = {0};
    rc = json_object_is_type(root, json_type_object) ? read_root(root, &r, err)
                                                     : odto_fail(err, -EINVAL, "not an object");
    json_object_put(root);
    if (!rc) {
        *out = r;
    }
    return rc;
}

static ssize_t read_file(const char *path, char *buf, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    size_t n = 0;
    ssize_t got;
    while (n < size && (got = read(fd, buf + n, size - n)) > 0) {
        n += (size_t)got;
    }
    close(fd);
    return n == size ? -EFBIG : (ssize_t)n;
}

void registry_load(const char *const *paths, registry *out)
{
    static const char missing[] = "no ui-registry.json found: built-in list";
    char buf[FILE_MAX], notice[256];
    snprintf(notice, sizeof notice, "%s", missing);
    for (; *paths; paths++) {
        odto_error err = {0};
        ssize_t n = read_file(*paths, buf, sizeof buf);
        if (n == -ENOENT || n == -ENOTDIR) {
            continue;
        }
        if (n < 0) {
            snprintf(notice, sizeof notice, "%.120s: %s: built-in list", *paths, strerror((int)-n));
        } else if (!registry_parse(odto_slice_of(buf, (size_t)n), out, &err)) {
            return;
        } else {
            snprintf(notice, sizeof notice, "%.80s is broken (%.120s): built-in list", *paths, err.message);
        }
        break;
    }
    registry_builtin(out);
    text_clean(out->notice, sizeof out->notice, notice);
}

void registry_builtin(registry *out)
{
    static const registry_entry entries[] = {
        {"dashboard", "Web Dashboard", "/", "📡", "This dashboard in a browser", 8081},
        {"gateway-docs", "Gateway API Docs", "/docs", "🚪", "Submit jobs over HTTP", 3000},
        {"read-model-docs", "Read Model API Docs", "/docs", "📖", "Query jobs, events and statistics", 8080},
        {"rabbitmq", "RabbitMQ", "/", "🐇", "Queues and exchanges", 15672},
        {"grafana", "Grafana", "/", "📈", "Dashboards of metrics", 3002},
        {"prometheus", "Prometheus", "/", "🔥", "Metrics, targets and alert rules", 9090},
        {"pgadmin", "pgAdmin", "/", "🐘", "PostgreSQL", 5050},
        {"mongo-express", "Mongo Express", "/", "🍃", "MongoDB", 8082},
        {"redisinsight", "RedisInsight", "/", "🧰", "Redis", 8001},
    };
    memset(out, 0, sizeof *out);
    snprintf(out->version, sizeof out->version, "1.0.0");
    snprintf(out->base_url, sizeof out->base_url, "http://localhost");
    memcpy(out->entries, entries, sizeof entries);
    out->n = (int)(sizeof entries / sizeof entries[0]);
}

void registry_url(const registry *r, int index, char *out, size_t size)
{
    const registry_entry *e = &r->entries[index];
    snprintf(out, size, "%s:%d%s%s", r->base_url, e->port, e->path[0] == '/' ? "" : "/", e->path);
}
