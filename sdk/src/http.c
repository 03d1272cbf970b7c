/* http.c — HTTP of the fake host: requests without sockets, replies that can be looked at. */
#include "internal.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define MAX_PARAMS 8

struct odto_http_stream {
    odto_http_request *rq;
};
struct odto_http_request {
    odto_http_request *next; /* of the host; they live until odto_test_free */
    odto_test *t;
    char method[16], target[2048], path[1024];
    char names[32][64], values[32][1024];
    size_t n_headers;
    char query_value[8][1024];
    size_t n_query;
    char param_name[MAX_PARAMS][64], param[MAX_PARAMS][256];
    size_t n_params;
    const odto_http_route *route;
    char *body;
    size_t body_n;
    odto_uuid correlation;
    odto_test_reply reply;
    odto_http_stream stream;
    void (*closed)(void *);
    void *closed_arg;
    int write_rc;
};

static int serve(odto_host *h, const char *address, const char *service, const odto_http_route *routes,
                 size_t n, const char *cors, size_t max_body, odto_error *err)
{
    HOST_SIDE;
    (void)service, (void)max_body;
    odto_test *t = odto_test_of(h);
    if (odto_test_refused(t, "serve"))
        return odto_fail(err, -EADDRINUSE, "can't listen on %s: %s", address, strerror(EADDRINUSE));
    if (t->n_served == sizeof t->served / sizeof t->served[0] ||
        t->n_routes + n > sizeof t->routes / sizeof t->routes[0])
        odto_test_broken("too many routes or addresses");
    snprintf(t->served[t->n_served++], sizeof t->served[0], "%s", address);
    t->cors = cors;
    for (size_t i = 0; i < n; i++)
        t->routes[t->n_routes++] = routes[i];
    return 0;
}

static odto_slice rq_method(const odto_http_request *rq)
{
    return odto_slice_str(rq->method);
}

static odto_slice rq_path(const odto_http_request *rq)
{
    return odto_slice_str(rq->path);
}

static odto_slice rq_param(const odto_http_request *rq, const char *name)
{
    for (size_t i = 0; i < rq->n_params; i++)
        if (strcmp(rq->param_name[i], name) == 0)
            return odto_slice_str(rq->param[i]);
    return odto_slice_of(NULL, 0);
}

static void decode(const char *from, size_t n, char *to)
{
    for (size_t i = 0; i < n; i++) {
        unsigned code;
        if (from[i] == '%' && i + 2 < n + 0 && sscanf(from + i + 1, "%2x", &code) == 1) {
            *to++ = (char)code;
            i += 2;
        } else {
            *to++ = from[i];
        }
    }
    *to = 0;
}

static odto_slice rq_query(const odto_http_request *rq, const char *name)
{
    odto_http_request *w = (odto_http_request *)(uintptr_t)rq;
    const char *p = strchr(rq->target, '?');
    size_t want = strlen(name);
    while (p) {
        const char *at = p + 1, *end = strchr(at, '&');
        size_t n = end ? (size_t)(end - at) : strlen(at);
        if (n >= want && memcmp(at, name, want) == 0 && (n == want || at[want] == '=')) {
            char *out = w->query_value[w->n_query++ % 8];
            decode(at + want + (n > want), n - want - (n > want), out);
            return odto_slice_str(out);
        }
        p = end;
    }
    return odto_slice_of(NULL, 0);
}

static odto_slice rq_query_string(const odto_http_request *rq)
{
    const char *p = strchr(rq->target, '?');
    return odto_slice_str(p ? p + 1 : NULL);
}

static odto_slice rq_header(const odto_http_request *rq, const char *name)
{
    for (size_t i = 0; i < rq->n_headers; i++)
        if (strcasecmp(rq->names[i], name) == 0)
            return odto_slice_str(rq->values[i]);
    return odto_slice_of(NULL, 0);
}

static odto_slice rq_body(const odto_http_request *rq)
{
    return odto_slice_of(rq->body, rq->body_n);
}

static odto_slice rq_peer(const odto_http_request *rq)
{
    (void)rq;
    return odto_slice_str("127.0.0.1");
}

static const odto_uuid *rq_correlation(const odto_http_request *rq)
{
    return &rq->correlation;
}

static void add_headers(odto_test_reply *r, const odto_http_header *headers, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t at = strlen(r->headers);
        snprintf(r->headers + at, sizeof r->headers - at, "%s: %s\n", headers[i].name, headers[i].value);
    }
}

static void reply(odto_http_request *rq, int status, const odto_http_header *headers, size_t n_headers,
                  odto_slice body, void (*body_free)(void *), void *body_arg)
{
    HOST_SIDE;
    pthread_mutex_lock(&rq->t->lock);
    if (rq->reply.status != 0)
        odto_test_broken("a second reply to %s %s", rq->method, rq->target);
    add_headers(&rq->reply, headers, n_headers);
    odto_buf_put(&rq->reply.body, body.p, body.n);
    __atomic_store_n(&rq->reply.status, status, __ATOMIC_RELEASE); /* pairs with odto_test_replied */
    pthread_mutex_unlock(&rq->t->lock);
    PLUGIN_SIDE;
    if (body_free)
        body_free(body_arg);
}

static void reply_error(odto_http_request *rq, int status, const char *error, const char *path,
                        const char *message, int retry_after_s)
{
    HOST_SIDE;
    odto_buf b = {0};
    odto_buf_str(&b, "{\"error\":");
    odto_buf_jsonz(&b, error);
    if (path) {
        odto_buf_str(&b, ",\"details\":[{\"path\":");
        odto_buf_jsonz(&b, path);
        odto_buf_str(&b, ",\"message\":");
        odto_buf_jsonz(&b, message);
        odto_buf_str(&b, "}]");
    }
    odto_buf_str(&b, "}");
    rq->reply.retry_after = retry_after_s;
    reply(rq, status, NULL, 0, odto_slice_of(b.p, b.n), NULL, NULL);
    odto_buf_free(&b);
}

static odto_http_stream *reply_stream(odto_http_request *rq, int status, const odto_http_header *headers,
                                      size_t n_headers, size_t max_queued, void (*closed)(void *arg),
                                      void *arg)
{
    HOST_SIDE;
    (void)max_queued;
    if (odto_test_refused(rq->t, "reply_stream")) {
        reply_error(rq, 503, "unavailable", NULL, NULL, 1);
        return NULL;
    }
    rq->closed = closed;
    rq->closed_arg = arg;
    rq->stream.rq = rq;
    rq->reply.stream = true;
    reply(rq, status, headers, n_headers, odto_slice_of(NULL, 0), NULL, NULL);
    return &rq->stream;
}

static int stream_write(odto_http_stream *s, odto_slice data)
{
    HOST_SIDE;
    pthread_mutex_lock(&s->rq->t->lock);
    int rc = s->rq->write_rc;
    if (rc == 0)
        odto_buf_put(&s->rq->reply.body, data.p, data.n);
    pthread_mutex_unlock(&s->rq->t->lock);
    return rc;
}

static void stream_end(odto_http_stream *s)
{
    HOST_SIDE;
    pthread_mutex_lock(&s->rq->t->lock);
    if (s->rq->reply.stream_ended)
        odto_test_broken("stream_end twice for %s", s->rq->target);
    s->rq->reply.stream_ended = true;
    pthread_mutex_unlock(&s->rq->t->lock);
    odto_test_client_gone(s->rq); /* all was sent: the last that is heard of the stream */
}

void odto_test_stream_blocked(odto_http_request *rq, int rc)
{
    pthread_mutex_lock(&rq->t->lock);
    rq->write_rc = rc;
    pthread_mutex_unlock(&rq->t->lock);
}

void odto_test_client_gone(odto_http_request *rq)
{
    pthread_mutex_lock(&rq->t->lock);
    void (*closed)(void *) = rq->closed;
    rq->closed = NULL;
    pthread_mutex_unlock(&rq->t->lock);
    PLUGIN_SIDE;
    if (closed)
        closed(rq->closed_arg);
}

/* Does the pattern fit the path? Its {name} segments become the request's parameters. */
static bool fits(const odto_http_route *r, odto_http_request *rq)
{
    const char *pattern = r->path, *path = rq->path;
    rq->n_params = 0;
    while (*pattern && *path) {
        if (*pattern == '{') {
            size_t name = strcspn(pattern + 1, "}"), n = strcspn(path, "/"), k = rq->n_params;
            if (n == 0 || n > 255 || name > 63 || k == MAX_PARAMS)
                return false;
            snprintf(rq->param_name[k], 64, "%.*s", (int)name, pattern + 1);
            decode(path, n, rq->param[k]);
            rq->n_params++;
            pattern += name + 2;
            path += n;
        } else if (*pattern++ != *path++) {
            return false;
        }
    }
    return !*pattern && (!*path || (r->flags & ODTO_HTTP_PREFIX));
}

/* A route without parameters goes before one with. */
static const odto_http_route *find_route(odto_test *t, odto_http_request *rq)
{
    const odto_http_route *found = NULL;
    for (int exact = 1; exact >= 0 && !found; exact--)
        for (size_t i = 0; i < t->n_routes && !found; i++) {
            const odto_http_route *r = &t->routes[i];
            if (r->method && strcmp(r->method, rq->method) == 0 && fits(r, rq) &&
                (rq->n_params == 0 || !exact))
                found = r;
        }
    return found;
}

odto_http_request *odto_test_send(odto_test *t, const char *method, const char *target,
                                  const char *const *headers, odto_slice body)
{
    odto_http_request *rq = calloc(1, sizeof *rq);
    if (!rq || !(rq->body = malloc(body.n + 1))) /* of this size, so that a sanitizer sees reads beyond */
        odto_test_broken("no memory");
    rq->next = t->requests;
    t->requests = rq;
    rq->t = t;
    snprintf(rq->method, sizeof rq->method, "%s", method);
    snprintf(rq->target, sizeof rq->target, "%s", target);
    snprintf(rq->path, sizeof rq->path, "%.*s", (int)strcspn(target, "?"), target);
    for (; headers && *headers && rq->n_headers < 32; headers += 2) {
        snprintf(rq->names[rq->n_headers], 64, "%s", headers[0]);
        snprintf(rq->values[rq->n_headers++], 1024, "%s", headers[1]);
    }
    memcpy(rq->body, body.p ? body.p : "", body.n);
    rq->body_n = body.n;
    odto_uuid_v4(&rq->correlation);
    rq->route = find_route(t, rq);
    if (!rq->route)
        odto_test_broken("no route %s %s", method, rq->path);
    PLUGIN_SIDE;
    rq->route->fn(t->self, rq);
    return rq;
}

odto_http_request *odto_test_get(odto_test *t, const char *target)
{
    return odto_test_send(t, "GET", target, NULL, odto_slice_of(NULL, 0));
}

odto_http_request *odto_test_post(odto_test *t, const char *target, const char *body)
{
    static const char *const json[] = {"Content-Type", "application/json", NULL};
    return odto_test_send(t, "POST", target, json, odto_slice_str(body));
}

bool odto_test_replied(const odto_http_request *rq)
{
    return __atomic_load_n(&rq->reply.status, __ATOMIC_ACQUIRE) != 0; /* pairs with reply() */
}

const odto_test_reply *odto_test_reply_of(odto_http_request *rq)
{
    for (int i = 0; i < 5000 && !odto_test_replied(rq); i++)
        usleep(1000);
    if (!odto_test_replied(rq))
        odto_test_broken("no reply to %s %s within 5 s", rq->method, rq->target);
    return &rq->reply;
}

const char *odto_test_body(odto_http_request *rq)
{
    odto_test_reply_of(rq);
    return rq->reply.body.p ? rq->reply.body.p : "";
}

const char *odto_test_header(odto_http_request *rq, const char *name)
{
    static char value[1024];
    size_t n = strlen(name);
    odto_test_reply_of(rq);
    for (const char *p = rq->reply.headers; p && *p; p = strchr(p, '\n') + 1)
        if (strncasecmp(p, name, n) == 0 && p[n] == ':') {
            snprintf(value, sizeof value, "%.*s", (int)strcspn(p + n + 2, "\n"), p + n + 2);
            return value;
        }
    return NULL;
}

void odto_test_http_setup(odto_test *t)
{
    t->http = (odto_http_api){.size = sizeof(odto_http_api),
                              .serve = serve,
                              .method = rq_method,
                              .path = rq_path,
                              .param = rq_param,
                              .query = rq_query,
                              .query_string = rq_query_string,
                              .header = rq_header,
                              .body = rq_body,
                              .peer = rq_peer,
                              .correlation = rq_correlation,
                              .reply = reply,
                              .reply_error = reply_error,
                              .reply_stream = reply_stream,
                              .stream_write = stream_write,
                              .stream_end = stream_end};
}

void odto_test_http_free(odto_test *t)
{
    while (t->requests) {
        odto_http_request *rq = t->requests;
        t->requests = rq->next;
        odto_buf_free(&rq->reply.body);
        free(rq->body);
        free(rq);
    }
}
