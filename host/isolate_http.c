/* isolate_http.c — HTTP requests of a worker's routes: each is copied into a frame and waits for its reply; a
 * worker that dies leaves 503s. proxy->lock guards the list; http functions are called without it. */
#include "host/http_export.h"
#include "host/isolate_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ROUTES_MAX  64
#define HEADERS_MAX 64

struct forwarded {
    struct forwarded *next;
    uint64_t id;
    odto_http_request *rq;
};

/* The worker's number of the route a request came by; -1 none. */
static int route_of(const struct proxy *p, const odto_http_request *rq)
{
    for (size_t k = 0; k < p->n_serves; k++)
        for (size_t i = 0; i < p->n_routes[k]; i++)
            if (http_is_route(rq, p->routes[k][i].method, p->routes[k][i].path))
                return (int)(p->first_route[k] + i);
    return -1;
}

struct pairs {
    odto_buf *b;
    uint32_t n;
};

static void put_pair(void *arg, odto_slice name, odto_slice value)
{
    struct pairs *p = arg;
    wire_bytes(p->b, name);
    wire_bytes(p->b, value);
    p->n++;
}

static void put_pairs(odto_buf *b, odto_http_request *rq,
                      void (*each)(odto_http_request *, http_pair *, void *))
{
    struct pairs p = {.b = b};
    size_t at = b->n;
    wire_u32(b, 0);
    each(rq, put_pair, &p);
    if (!b->failed)
        memcpy(b->p + at, &p.n, sizeof p.n);
}

static int send_request(struct proxy *p, uint64_t id, int route, odto_http_request *rq)
{
    const odto_http_api *http = &http_api;
    odto_buf *b = wire_begin(&p->link, WIRE_REQUEST, id);
    wire_u32(b, (uint32_t)route);
    wire_bytes(b, http->method(rq));
    wire_bytes(b, http->path(rq));
    wire_bytes(b, http->body(rq));
    wire_bytes(b, http->peer(rq));
    wire_bytes(b, http->query_string(rq));
    odto_buf_put(b, http->correlation(rq), sizeof(odto_uuid));
    put_pairs(b, rq, http_each_param);
    put_pairs(b, rq, http_each_query);
    put_pairs(b, rq, http_each_header);
    return wire_end(&p->link, -1);
}

static struct forwarded *take_request(struct proxy *p, uint64_t id)
{
    struct forwarded *found = NULL;
    pthread_mutex_lock(&p->lock);
    for (struct forwarded **at = &p->requests; *at; at = &(*at)->next)
        if ((*at)->id == id) {
            found = *at;
            *at = found->next;
            p->n_requests--;
            break;
        }
    pthread_mutex_unlock(&p->lock);
    return found;
}

static void refuse(odto_http_request *rq, const char *why)
{
    http_api.reply_error(rq, 503, "the service is restarting", NULL, why, 1);
}

/* The routes' function in the host: on an event loop. */
static void forward(void *self, odto_http_request *rq)
{
    struct proxy *p = self;
    struct forwarded *f = malloc(sizeof *f);
    pthread_mutex_lock(&p->lock);
    int route = route_of(p, rq);
    bool ok = f && route >= 0 && !p->dead && !p->ending && p->n_requests < ISOLATE_REQUESTS;
    uint64_t id = p->next_id++;
    if (ok) {
        *f = (struct forwarded){p->requests, id, rq};
        p->requests = f;
        p->n_requests++;
    }
    pthread_mutex_unlock(&p->lock);
    if (!ok) {
        free(f);
        refuse(rq, "its worker process is not up, or has too many requests");
        return;
    }
    if (wire_room(&p->link, false) && send_request(p, id, route, rq) == 0)
        return;
    f = take_request(p, id); /* unless it was refused meanwhile */
    if (f)
        refuse(rq, "its worker process does not keep up");
    free(f);
}

/* ---- serving ---- */

static odto_http_route *get_routes(struct wire_in *in, uint32_t n)
{
    odto_http_route *routes = calloc(n + 1, sizeof *routes);
    for (uint32_t i = 0; routes && i < n; i++) {
        const char *method = wire_get_str(in), *path = wire_get_str(in);
        uint32_t flags = wire_get_u32(in);
        routes[i] = (odto_http_route){.method = method ? strdup(method) : NULL,
                                      .path = path ? strdup(path) : NULL,
                                      .flags = flags & (ODTO_HTTP_NO_GATE | ODTO_HTTP_PREFIX),
                                      .fn = forward};
        in->bad |= !routes[i].method || !routes[i].path;
    }
    return routes;
}

static void free_routes(odto_http_route *routes, size_t n)
{
    for (size_t i = 0; routes && i < n; i++) {
        free((char *)(uintptr_t)routes[i].method);
        free((char *)(uintptr_t)routes[i].path);
    }
    free(routes);
}

int proxy_serve(struct proxy *p, struct wire_in *in, odto_error *err)
{
    const char *address = wire_get_str(in), *service = wire_get_str(in), *cors = wire_get_str(in);
    uint64_t max_body = wire_get_u64(in);
    uint32_t first = wire_get_u32(in), n = wire_get_u32(in);
    size_t most = sizeof p->routes / sizeof p->routes[0];
    if (in->bad || !address || !service || n > ROUTES_MAX || first > ROUTES_MAX || p->n_serves == most)
        return odto_fail(err, -E2BIG, "an isolated plugin calls serve at most %zu times", most);
    odto_http_route *routes = get_routes(in, n);
    if (!routes || in->bad) {
        free_routes(routes, n);
        return odto_fail(err, -EINVAL, "a route lacks its method or path");
    }
    pthread_mutex_lock(&p->lock);
    size_t k = p->n_serves++;
    p->routes[k] = routes;
    p->n_routes[k] = n;
    p->first_route[k] = first;
    pthread_mutex_unlock(&p->lock);
    return http_api.serve(&p->in->handle, address, service, routes, n, cors, max_body, err);
}

void proxy_free_routes(struct proxy *p)
{
    for (size_t k = 0; k < p->n_serves; k++)
        free_routes(p->routes[k], p->n_routes[k]);
}

/* ---- replies ---- */

static void reply(odto_http_request *rq, int status, uint32_t n, struct wire_in *in)
{
    odto_http_header headers[HEADERS_MAX];
    for (uint32_t i = 0; i < n; i++) {
        headers[i].name = wire_get_str(in);
        headers[i].value = wire_get_str(in);
        in->bad |= !headers[i].name || !headers[i].value;
    }
    odto_slice body = wire_get_bytes(in);
    if (in->bad)
        refuse(rq, "its worker process gave a reply that makes no sense");
    else
        http_api.reply(rq, status, headers, n, body, NULL, NULL);
}

static void reply_error(odto_http_request *rq, int status, struct wire_in *in)
{
    const char *error = wire_get_str(in), *path = wire_get_str(in), *message = wire_get_str(in);
    int retry = (int)wire_get_u32(in);
    http_api.reply_error(rq, status, error ? error : "error", path, message, retry);
}

bool proxy_response(struct proxy *p, uint64_t id, struct wire_in *in)
{
    uint32_t status = wire_get_u32(in), n = wire_get_u32(in);
    if (in->bad || status < 100 || status > 599 || (n > HEADERS_MAX && n != UINT32_MAX))
        return false;
    struct forwarded *f = take_request(p, id);
    if (!f)
        return true; /* late: it was refused already */
    if (n == UINT32_MAX)
        reply_error(f->rq, (int)status, in);
    else
        reply(f->rq, (int)status, n, in);
    free(f);
    return !in->bad;
}

void proxy_refuse_requests(struct proxy *p, const char *why)
{
    for (;;) {
        pthread_mutex_lock(&p->lock);
        struct forwarded *f = p->requests;
        if (f) {
            p->requests = f->next;
            p->n_requests--;
        }
        pthread_mutex_unlock(&p->lock);
        if (!f)
            return;
        refuse(f->rq, why);
        free(f);
    }
}
