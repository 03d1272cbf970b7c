/* http_mount.c — what an owner serves on a listener, and finding the route of a request.
 *
 * A mount is made by one serve() and immutable but for its flags (server->lock). The listener's table holds
 * the routes of all its live mounts, more specific first; it always has room for the staged ones too, so that
 * a handover can't fail. */
#include "http_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int route_init(http_route *r, const odto_http_route *from, bool builtin, odto_error *err)
{
    const char *wrong = from->path ? pattern_check(from->path, &r->params) : "it is NULL";
    if (*wrong)
        return odto_fail(err, -EINVAL, "route path '%s': %s", from->path ? from->path : "", wrong);
    if (!from->ws && (!from->method || !from->fn))
        return odto_fail(err, -EINVAL, "route '%s' has no method or no handler", from->path);
    r->method = from->ws ? M_GET : method_of(odto_slice_str(from->method));
    if (r->method == M_OTHER)
        return odto_fail(err, -EINVAL, "route '%s': method %s is not served", from->path, from->method);
    if (!(r->pattern = strdup(from->path)))
        return odto_fail(err, -ENOMEM, "no memory for a route");
    r->flags = from->flags;
    r->builtin = builtin;
    r->fn = from->fn;
    r->ws = from->ws;
    return 0;
}

static void mount_free(http_mount *m)
{
    for (size_t i = 0; i < m->n; i++) {
        free(m->routes[i].pattern);
        if (m->routes[i].ws_route)
            ws_route_free(m->routes[i].ws_route);
    }
    if (m->owner)
        owner_unref(m->owner);
    free(m->service);
    free(m->cors);
    free(m);
}

http_mount *mount_new(http_listener *ln, http_owner *o, const char *service, const odto_http_route *routes,
                      size_t n, const char *cors, size_t max_body, odto_error *err)
{
    http_mount *m = calloc(1, sizeof(*m) + n * sizeof(m->routes[0]));
    if (!m || !(m->service = strdup(service)) || (cors && !(m->cors = strdup(cors)))) {
        if (m)
            free(m->service);
        free(m);
        odto_fail(err, -ENOMEM, "no memory for routes");
        return NULL;
    }
    m->listener = ln;
    m->refs = 1;
    m->max_body = max_body ? max_body : 100 * 1024;
    for (; m->n < n; m->n++) {
        if (route_init(&m->routes[m->n], &routes[m->n], !o, err)) {
            mount_free(m);
            return NULL;
        }
    }
    if (o) {
        o->refs++;
        m->owner = o;
    }
    return m;
}

void mount_unref(http_mount *m)
{
    if (atomic_fetch_sub(&m->refs, 1) == 1)
        mount_free(m);
}

static int ref_compare(const void *a, const void *b)
{
    return route_compare(((const route_ref *)a)->route, ((const route_ref *)b)->route);
}

void listener_rebuild(http_listener *ln)
{
    size_t n = 0;
    for (http_mount *m = ln->mounts; m; m = m->next) {
        for (size_t i = 0; !m->staged && i < m->n; i++)
            ln->table[n++] = (route_ref){m, &m->routes[i]};
    }
    ln->n_table = n;
    qsort(ln->table, n, sizeof(ln->table[0]), ref_compare);
}

/* Does m's route clash with one of other's? Staged ones clash with staged ones only, and both with those that
 * stay. */
static const http_route *mounts_clash(const http_mount *m, const http_mount *other)
{
    for (size_t i = 0; i < m->n; i++) {
        for (size_t k = 0; k < other->n; k++) {
            const http_route *a = &m->routes[i], *b = &other->routes[k];
            if (a->method == b->method && !a->ws == !b->ws && !b->builtin &&
                (a->flags & ODTO_HTTP_PREFIX) == (b->flags & ODTO_HTTP_PREFIX) &&
                pattern_same(a->pattern, b->pattern))
                return a;
        }
    }
    return NULL;
}

int listener_mount(http_listener *ln, http_mount *m, odto_error *err)
{
    size_t total = m->n;
    const http_owner *replaced = m->owner ? m->owner->stages : NULL;
    for (http_mount *other = ln->mounts; other; other = other->next) {
        total += other->n;
        if (other->owner && other->owner == replaced)
            continue;
        const http_route *r = mounts_clash(m, other);
        if (!r)
            continue;
        odto_fail(err, -EADDRINUSE, "route %s %s on %s is already served", method_name(r->method), r->pattern,
                  ln->address);
        odto_error_detail(err, "%s has it", other->service);
        odto_error_hint(err, "Give one of the two another address");
        return -EADDRINUSE;
    }
    route_ref *table = realloc(ln->table, total * sizeof(table[0]));
    if (!table)
        return odto_fail(err, -ENOMEM, "no memory for routes");
    ln->table = table;
    m->staged = replaced != NULL;
    m->next = ln->mounts;
    ln->mounts = m;
    listener_rebuild(ln);
    return 0;
}

size_t listener_unmount(http_listener *ln, const http_owner *o, http_mount **out)
{
    size_t n = 0;
    for (http_mount **at = &ln->mounts; *at;) {
        http_mount *m = *at;
        if (m->owner != o || !o) {
            at = &m->next;
            continue;
        }
        *at = m->next;
        m->removed = true;
        m->next = *out;
        *out = m;
        n++;
    }
    if (n)
        listener_rebuild(ln);
    return n;
}

/* Something of the listener that stands for it: its name in metrics, its CORS policy. */
static http_mount *listener_face(http_listener *ln)
{
    http_mount *face = NULL;
    for (http_mount *m = ln->mounts; m; m = m->next) {
        if (m->owner && !m->staged && (!face || (m->cors && !face->cors)))
            face = m;
        else if (!face)
            face = m;
    }
    return face;
}

static bool method_fits(const http_route *r, enum method m)
{
    return r->method == m || (m == M_HEAD && r->method == M_GET);
}

void listener_match(http_listener *ln, enum method m, odto_slice path, bool websocket, route_match *out)
{
    memset(out, 0, sizeof(*out));
    pthread_mutex_lock(&ln->server->lock);
    for (size_t i = 0; i < ln->n_table; i++) {
        http_route *r = ln->table[i].route;
        if (!pattern_match(r->pattern, r->flags & ODTO_HTTP_PREFIX, path, out->params, &out->n_params))
            continue;
        if (!r->ws != !websocket) {
            out->other_protocol = true;
            continue;
        }
        out->allow |= 1u << r->method;
        if (!method_fits(r, m))
            continue;
        out->mount = ln->table[i].mount;
        out->route = r;
        break;
    }
    if (!out->mount)
        out->mount = listener_face(ln);
    if (out->mount)
        out->mount->refs++;
    if (out->route && !websocket && !out->mount->owner && (out->face = listener_face(ln)))
        out->face->refs++;
    pthread_mutex_unlock(&ln->server->lock);
}
