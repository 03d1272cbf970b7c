/* schema_refs.c — which schema a $ref names: URI resolution, $id, JSON pointers. Pure functions over
 * documents that are only read; used while a schema is compiled, on the compiling thread. */
#include "schema_node.h"
#include "scan.h"
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

/* ---- RFC 3986 ------------------------------------------------------------------------------ */

typedef struct uri_parts {
    odto_slice scheme, authority, path, query, fragment; /* p == NULL: not there */
} uri_parts;

static uri_parts uri_split(const char *text)
{
    uri_parts u = {0};
    const char *p = text;
    size_t n = strcspn(p, ":/?#");
    if (p[n] == ':' && n > 0) {
        u.scheme = odto_slice_of(p, n);
        p += n + 1;
    }
    if (p[0] == '/' && p[1] == '/') {
        n = strcspn(p + 2, "/?#");
        u.authority = odto_slice_of(p + 2, n);
        p += 2 + n;
    }
    n = strcspn(p, "?#");
    u.path = odto_slice_of(p, n);
    p += n;
    if (*p == '?') {
        n = strcspn(p + 1, "#");
        u.query = odto_slice_of(p + 1, n);
        p += 1 + n;
    }
    if (*p == '#')
        u.fragment = odto_slice_of(p + 1, strlen(p + 1));
    return u;
}

/* 5.2.4: in place on a path; returns the new length. */
static size_t remove_dots(char *path, size_t n)
{
    size_t out = 0, i = 0;
    while (i < n) {
        size_t end = i + 1;
        while (end < n && path[end] != '/')
            end++;
        odto_slice segment = odto_slice_of(path + i, end - i);
        bool slash = segment.p[0] == '/';
        odto_slice name = odto_slice_of(segment.p + slash, segment.n - slash);
        bool last = end == n;
        if (odto_slice_eq(name, "..")) {
            while (out > 0 && path[--out] != '/')
                ;
            if (last)
                path[out++] = '/';
        } else if (odto_slice_eq(name, ".")) {
            if (last)
                path[out++] = '/';
        } else {
            memmove(path + out, segment.p, segment.n);
            out += segment.n;
        }
        i = end;
    }
    return out;
}

/* 5.2.3 and the removal of dots, into out. */
static void put_path(odto_buf *out, const uri_parts *base, const uri_parts *r)
{
    size_t from = out->n;
    if (r->path.n && r->path.p[0] == '/') {
        odto_buf_put(out, r->path.p, r->path.n);
    } else {
        size_t keep = base->path.n;
        while (keep > 0 && base->path.p[keep - 1] != '/')
            keep--;
        if (base->authority.p && base->path.n == 0)
            odto_buf_put(out, "/", 1);
        odto_buf_put(out, base->path.p, keep);
        odto_buf_put(out, r->path.p, r->path.n);
    }
    if (!out->failed)
        out->n = from + remove_dots(out->p + from, out->n - from);
}

static void put_part(odto_buf *out, const char *mark, odto_slice part, const char *after)
{
    if (!part.p)
        return;
    odto_buf_str(out, mark);
    odto_buf_put(out, part.p, part.n);
    odto_buf_str(out, after);
}

char *uri_resolve(const char *base_text, const char *reference)
{
    uri_parts base = uri_split(base_text), r = uri_split(reference);
    bool absolute = r.scheme.p != NULL;
    const uri_parts *authority = absolute || r.authority.p ? &r : &base;
    odto_buf out = {0};
    odto_buf_reserve(&out, strlen(base_text) + strlen(reference) + 8);
    put_part(&out, "", absolute ? r.scheme : base.scheme, ":");
    put_part(&out, "//", authority->authority, "");
    if (absolute || r.authority.p) {
        odto_buf_put(&out, r.path.p, r.path.n);
        put_part(&out, "?", r.query, "");
    } else if (r.path.n == 0) {
        odto_buf_put(&out, base.path.p, base.path.n);
        put_part(&out, "?", r.query.p ? r.query : base.query, "");
    } else {
        put_path(&out, &base, &r);
        put_part(&out, "?", r.query, "");
    }
    put_part(&out, "#", r.fragment, "");
    if (out.failed) {
        odto_buf_free(&out);
        return NULL;
    }
    out.p[out.n] = '\0';
    return out.p;
}

/* ---- $id ----------------------------------------------------------------------------------- */

/* The string of a schema's "$id"; NULL where it has none, or a $ref beside it, which hides it
 * (draft-07, 8.3). */
static const char *own_id(struct json_object *schema)
{
    struct json_object *id;
    if (json_object_get_type(schema) != json_type_object || json_object_object_get_ex(schema, "$ref", NULL))
        return NULL;
    if (!json_object_object_get_ex(schema, "$id", &id) || json_object_get_type(id) != json_type_string)
        return NULL;
    return json_object_get_string(id);
}

/* Takes uri. */
static int resources_put(resources *r, char *text, struct json_object *schema, const char *base,
                         odto_error *err)
{
    char *own_base = strdup(base);
    if (text && own_base && r->n == r->cap) {
        size_t cap = r->cap ? r->cap * 2 : 8;
        resource *items = realloc(r->items, cap * sizeof *items);
        if (items) {
            r->items = items;
            r->cap = cap;
        }
    }
    bool clash = false;
    for (size_t i = 0; text && i < r->n; i++)
        clash |= strcmp(r->items[i].uri, text) == 0 && r->items[i].schema != schema;
    if (!text || !own_base || r->n == r->cap || clash) {
        int rc = clash ? odto_fail(err, -EINVAL, "two schemas have the $id \"%s\"", text)
                       : odto_fail(err, -ENOMEM, "no memory for a schema");
        free(text);
        free(own_base);
        return rc;
    }
    r->items[r->n++] = (resource){text, schema, own_base};
    return 0;
}

static int walk(resources *r, struct json_object *schema, const char *base, odto_error *err);

static int walk_each(resources *r, struct json_object *v, const char *base, odto_error *err)
{
    int rc = 0;
    if (json_object_get_type(v) == json_type_array) {
        for (size_t i = 0, n = json_object_array_length(v); i < n && rc == 0; i++)
            rc = walk(r, json_object_array_get_idx(v, i), base, err);
    } else if (json_object_get_type(v) == json_type_object) {
        json_object_object_foreach(v, key, member)
        {
            (void)key;
            if (rc == 0)
                rc = walk(r, member, base, err);
        }
    }
    return rc;
}

/* Only places where a schema stands: an "$id" inside an enum or an unknown keyword is data. */
static int walk_children(resources *r, struct json_object *schema, const char *base, odto_error *err)
{
    static const char *const one[] = {
        "additionalItems", "additionalProperties", "contains", "else", "if", "not", "propertyNames", "then"};
    static const char *const many[] = {
        "allOf", "anyOf", "definitions", "dependencies", "oneOf", "patternProperties", "properties"};
    struct json_object *v;
    int rc = 0;
    for (size_t i = 0; i < sizeof one / sizeof one[0] && rc == 0; i++)
        if (json_object_object_get_ex(schema, one[i], &v))
            rc = walk(r, v, base, err);
    for (size_t i = 0; i < sizeof many / sizeof many[0] && rc == 0; i++)
        if (json_object_object_get_ex(schema, many[i], &v))
            rc = walk_each(r, v, base, err);
    if (rc == 0 && json_object_object_get_ex(schema, "items", &v))
        rc = json_object_get_type(v) == json_type_array ? walk_each(r, v, base, err) : walk(r, v, base, err);
    return rc;
}

static int walk(resources *r, struct json_object *schema, const char *base, odto_error *err)
{
    if (json_object_get_type(schema) != json_type_object)
        return 0;
    const char *id = own_id(schema);
    if (!id)
        return walk_children(r, schema, base, err);
    char *uri = uri_resolve(base, id);
    if (!uri)
        return odto_fail(err, -ENOMEM, "no memory for a schema");
    char *hash = strchr(uri, '#');
    if (hash && hash[1] != '\0') { /* "$id": "#anchor" names the schema, but changes no base */
        int rc = resources_put(r, uri, schema, base, err);
        return rc ? rc : walk_children(r, schema, base, err);
    }
    if (hash)
        *hash = '\0';
    char *own_base = strdup(uri);
    int rc = resources_put(r, uri, schema, base, err);
    if (rc == 0)
        rc = own_base ? walk_children(r, schema, own_base, err)
                      : odto_fail(err, -ENOMEM, "no memory for a schema");
    free(own_base);
    return rc;
}

int resources_add(resources *r, struct json_object *doc, const char *base, odto_error *err)
{
    const char *id = own_id(doc);
    if (!id || id[0] == '#') {
        int rc = resources_put(r, strdup(base), doc, base, err);
        if (rc)
            return rc;
    }
    return walk(r, doc, base, err);
}

void resources_free(resources *r)
{
    for (size_t i = 0; i < r->n; i++) {
        free(r->items[i].uri);
        free(r->items[i].base);
    }
    free(r->items);
    *r = (resources){0};
}

/* ---- JSON pointers ------------------------------------------------------------------------- */

/* A token of a pointer in a URI fragment: percent-decoded, then ~1 and ~0. In place. */
static void decode_token(char *s)
{
    char *to = s;
    for (char *p = s; *p; p++, to++) {
        *to = *p;
        if (*p == '%' && isxdigit((unsigned char)p[1]) && isxdigit((unsigned char)p[2])) {
            char hex[3] = {p[1], p[2], '\0'};
            *to = (char)strtol(hex, NULL, 16);
            p += 2;
        }
    }
    *to = '\0';
    to = s;
    for (char *p = s; *p; p++, to++) {
        *to = *p;
        if (*p == '~' && (p[1] == '0' || p[1] == '1'))
            *to = *++p == '0' ? '~' : '/';
    }
    *to = '\0';
}

static struct json_object *step(struct json_object *v, const char *token, bool *found)
{
    struct json_object *next = NULL;
    *found = false;
    if (json_object_get_type(v) == json_type_object) {
        *found = json_object_object_get_ex(v, token, &next);
    } else if (json_object_get_type(v) == json_type_array && isdigit((unsigned char)token[0])) {
        char *end;
        unsigned long i = strtoul(token, &end, 10);
        *found = *end == '\0' && i < json_object_array_length(v);
        next = *found ? json_object_array_get_idx(v, i) : NULL;
    }
    return next;
}

/* Moves *base by the schema's own $id, where it has one; *owned keeps it. */
static bool enter(struct json_object *schema, const char **base, char **owned)
{
    const char *id = own_id(schema);
    if (!id || id[0] == '#')
        return true;
    char *moved = uri_resolve(*base, id);
    free(*owned);
    *owned = moved;
    *base = moved;
    if (moved)
        moved[strcspn(moved, "#")] = '\0';
    return moved != NULL;
}

/* Follows pointer ("/a/b", changed in place) from *schema. *base becomes that around the target, whose own
 * $id is left to the caller. 0, -ENOENT, -ENOMEM. */
static int follow(struct json_object **schema, char *pointer, const char **base, char **owned)
{
    bool found = true;
    for (char *token = pointer; token && found;) {
        char *next = strchr(++token, '/');
        if (next)
            *next = '\0';
        decode_token(token);
        if (!enter(*schema, base, owned))
            return -ENOMEM;
        *schema = step(*schema, token, &found);
        token = next;
    }
    return found ? 0 : -ENOENT;
}

static const resource *lookup(const resources *r, const char *uri)
{
    for (size_t i = 0; i < r->n; i++)
        if (strcmp(r->items[i].uri, uri) == 0)
            return &r->items[i];
    return NULL;
}

/* The part behind the '#' of a URI whose document is known. */
static int find_fragment(const resources *r, char *uri, struct json_object **schema, const char **base,
                         char **owned)
{
    char *hash = strchr(uri, '#');
    if (!hash || (hash[1] != '\0' && hash[1] != '/'))
        return -ENOENT;
    *hash = '\0';
    const resource *whole = lookup(r, uri);
    if (!whole)
        return -ENOENT;
    *base = whole->base;
    *schema = whole->schema;
    return hash[1] == '\0' ? 0 : follow(schema, hash + 1, base, owned);
}

int resources_find(const resources *r, const char *uri, struct json_object **schema, const char **base,
                   char **owned)
{
    *owned = NULL;
    const resource *whole = lookup(r, uri);
    if (whole) {
        *base = whole->base;
        *schema = whole->schema;
        return 0;
    }
    char *text = strdup(uri);
    int rc = text ? find_fragment(r, text, schema, base, owned) : -ENOMEM;
    free(text);
    return rc;
}
