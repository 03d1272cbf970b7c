/* http_peek.c — connections of listeners with WebSocket routes, until it is known who shall have them.
 *
 * libmicrohttpd can't give an upgrade with its request to libwebsockets, so the head is looked at with
 * MSG_PEEK and stays in the socket: a GET that asks for "Upgrade: websocket" on a path with a WebSocket route
 * goes to libwebsockets, everything else to MHD, and each parses it itself. Nothing is decided here about
 * validity. Bounded by PEEK_MAX bytes, the header timeout and the listener's connection limit. Loop thread
 * only. */
#include "http_priv.h"

#include <ctype.h>
#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct http_peek {
    http_watch watch;
    struct http_peek *next, **at;
    http_listener *listener;
    int fd;
    bool gated; /* a whole upgrade that waits for its owner */
    int64_t until;
    struct sockaddr_storage addr;
    socklen_t len;
} http_peek;

/* Take the socket out of here. */
static int peek_release(http_loop *l, http_peek *k)
{
    int fd = k->fd;
    loop_unwatch(l, fd);
    *k->at = k->next;
    if (k->next)
        k->next->at = k->at;
    l->n_peeks--;
    free(k);
    return fd;
}

static void peek_drop(http_loop *l, http_peek *k, int status, const char *error, const char *message)
{
    http_listener *ln = k->listener;
    int fd = peek_release(l, k);
    if (status)
        socket_raw_error(fd, status, error, message);
    atomic_fetch_sub(&ln->connections, 1);
    atomic_fetch_sub(&l->server->connections, 1);
    linger_start(l, fd);
}

static void peek_to_mhd(http_loop *l, http_peek *k)
{
    struct sockaddr_storage addr = k->addr;
    socklen_t len = k->len;
    http_listener *ln = k->listener;
    int fd = peek_release(l, k);
    loop_add_connection(l, ln, fd, (struct sockaddr *)&addr, len);
}

/* The trimmed value of the first line "NAME: …" in a complete head; name has its colon. */
static odto_slice head_value(odto_slice head, const char *name)
{
    const char *end = head.p + head.n;
    size_t len = strlen(name);
    for (const char *p = head.p; p && p < end;) {
        const char *eol = memchr(p, '\n', (size_t)(end - p));
        odto_slice line = odto_slice_of(p, (size_t)((eol ? eol : end) - p));
        p = eol ? eol + 1 : NULL;
        if (line.n < len || strncasecmp(line.p, name, len))
            continue;
        line = odto_slice_of(line.p + len, line.n - len);
        while (line.n && (*line.p == ' ' || *line.p == '\t'))
            line = odto_slice_of(line.p + 1, line.n - 1);
        while (line.n && isspace((unsigned char)line.p[line.n - 1]))
            line.n--;
        return line;
    }
    return odto_slice_of(NULL, 0);
}

/* A handshake as RFC 6455 4.1 has it; anything less is left to MHD, which answers 426. */
static bool head_upgrades(odto_slice head)
{
    odto_slice up = head_value(head, "Upgrade:");
    return up.n == 9 && !strncasecmp(up.p, "websocket", 9) &&
           list_has(head_value(head, "Connection:"), "upgrade", 7) &&
           head_value(head, "Sec-WebSocket-Key:").n &&
           odto_slice_eq(head_value(head, "Sec-WebSocket-Version:"), "13");
}

/* Is one of the offered subprotocols spoken, or none offered? lws would hang up without a word. */
static bool subprotocol_fits(odto_slice head, const char *spoken)
{
    odto_slice offered = head_value(head, "Sec-WebSocket-Protocol:");
    if (!offered.n)
        return true;
    for (const char *p = spoken; p && *p;) {
        p += strspn(p, ", ");
        size_t n = strcspn(p, ", ");
        if (n && list_has(offered, p, n))
            return true;
        p += n;
    }
    return false;
}

/* The request target of a GET, or nothing. */
static odto_slice head_target(odto_slice head)
{
    const char *p = head.p + 4, *sp = memchr(p, ' ', head.n - 4);
    const char *eol = memchr(head.p, '\n', head.n);
    return sp && eol && sp < eol ? odto_slice_of(p, (size_t)(sp - p)) : odto_slice_of(NULL, 0);
}

enum verdict { TO_MHD, TO_WS, WAIT, NO_SUBPROTOCOL, FULL };

/* Who shall have an upgrade with this head. For TO_WS a reference on the route's mount is in *m. */
static enum verdict upgrade_route(http_loop *l, http_listener *ln, odto_slice head, route_match *m)
{
    http_server *s = l->server;
    odto_http_request *rq = request_new(l);
    enum verdict v = TO_MHD;
    if (!rq)
        return FULL;
    if (!request_target(rq, head_target(head))) {
        listener_match(ln, M_GET, rq->path, true, m);
        if (m->route && m->route->ws) {
            pthread_mutex_lock(&s->lock);
            bool gated = m->mount->owner->gated;
            pthread_mutex_unlock(&s->lock);
            v = gated ? WAIT : subprotocol_fits(head, m->route->ws->subprotocols) ? TO_WS : NO_SUBPROTOCOL;
        }
        if (v != TO_WS && m->mount)
            mount_unref(m->mount);
    }
    request_destroy(rq, l);
    return v;
}

static void peek_upgrade(http_loop *l, http_peek *k, odto_slice head)
{
    route_match m;
    http_server *s = l->server;
    switch (upgrade_route(l, k->listener, head, &m)) {
    case TO_MHD:
        peek_to_mhd(l, k);
        return;
    case WAIT:
        if (!k->gated)
            k->until = l->now + s->config.gate_timeout_ns;
        k->gated = true;
        return;
    case NO_SUBPROTOCOL:
        peek_drop(l, k, 400, "Bad Request", "none of the offered subprotocols is spoken here");
        return;
    case FULL:
        peek_drop(l, k, 503, "Service Unavailable", "no memory");
        return;
    case TO_WS:
        break;
    }
    char peer[46] = "";
    http_listener *ln = k->listener;
    getnameinfo((struct sockaddr *)&k->addr, k->len, peer, sizeof(peer), NULL, 0, NI_NUMERICHOST);
    int fd = peek_release(l, k);
    atomic_fetch_sub(&ln->connections, 1); /* from here it counts as a WebSocket */
    atomic_fetch_sub(&l->server->connections, 1);
    ws_adopt(s->ws, m.route->ws_route, fd, head_target(head), peer);
}

static void peek_look(http_loop *l, http_peek *k)
{
    char head[PEEK_MAX];
    ssize_t n = recv(k->fd, head, sizeof(head), MSG_PEEK | MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        peek_drop(l, k, 0, NULL, NULL);
        return;
    }
    odto_slice h = odto_slice_of(head, (size_t)n);
    bool get = n < 4 ? !strncmp(head, "GET ", (size_t)n) : !strncmp(head, "GET ", 4);
    const char *end = n >= 4 ? memmem(head, (size_t)n, "\r\n\r\n", 4) : NULL;
    if (!get || (!end && n == PEEK_MAX)) {
        peek_to_mhd(l, k);
    } else if (end) {
        h.n = (size_t)(end - head) + 2;
        if (head_upgrades(h) && head_target(h).n)
            peek_upgrade(l, k, h);
        else
            peek_to_mhd(l, k);
    }
}

static void peek_ready(http_loop *l, http_watch *w, uint32_t events)
{
    http_peek *k = (http_peek *)w;
    if (k->gated && (events & (EPOLLHUP | EPOLLERR)))
        peek_drop(l, k, 0, NULL, NULL);
    else if (!k->gated && (events & EPOLLRDHUP))
        peek_to_mhd(l, k); /* a half-closed client still gets its answer */
    else
        peek_look(l, k);
}

void peek_start(http_loop *l, http_listener *ln, int fd, const struct sockaddr_storage *addr, socklen_t len)
{
    http_peek *k = calloc(1, sizeof(*k));
    if (!k) {
        loop_add_connection(l, ln, fd, (const struct sockaddr *)addr, len);
        return;
    }
    k->watch.ready = peek_ready;
    k->listener = ln;
    k->fd = fd;
    k->until = l->now + l->server->config.header_timeout_ns;
    k->addr = *addr;
    k->len = len;
    k->next = l->peeks;
    k->at = &l->peeks;
    if (k->next)
        k->next->at = &k->next;
    l->peeks = k;
    l->n_peeks++;
    if (loop_watch(l, fd, EPOLLIN | EPOLLRDHUP | EPOLLET, &k->watch))
        peek_to_mhd(l, k);
}

void peek_sweep(http_loop *l, bool all)
{
    for (http_peek *k = l->peeks, *next; k; k = next) {
        next = k->next;
        if (all)
            peek_drop(l, k, 503, "Service Unavailable", "stopping");
        else if (k->gated && l->now >= k->until)
            peek_drop(l, k, 503, "Service Unavailable", "the service did not come back in time");
        else if (l->now >= k->until)
            peek_drop(l, k, 408, "Request Timeout", "the headers did not come in time");
    }
}

void peek_again(http_loop *l, void *arg)
{
    (void)arg;
    for (http_peek *k = l->peeks, *next; k; k = next) {
        next = k->next;
        if (k->gated)
            peek_look(l, k);
    }
}
