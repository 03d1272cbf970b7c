/* http_conn.c — connections: accept, limits, timeouts, forced close, draining after an early answer.
 *
 * Loop thread only. libmicrohttpd owns a connection's descriptor from loop_add_connection to the CLOSED
 * notification; in between we only shut it down, never close it. */
#include "http_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ACCEPT_BATCH = 64, LINGER_BYTES = 4 << 20 };
#define LINGER_NS         (2 * ODTO_SEC)
#define ACCEPT_BACKOFF_NS (100 * ODTO_MS)

/* ---- raw errors ----------------------------------------------------------------------------- */

void socket_raw_error(int fd, int status, const char *error, const char *message)
{
    odto_uuid u;
    odto_uuid_v7(&u);
    socket_raw_refusal(fd, &u, status, error, message);
}

void socket_raw_refusal(int fd, const odto_uuid *correlation, int status, const char *error,
                        const char *message)
{
    char text[1024], body[512], id[ODTO_UUID_LEN + 1];
    odto_uuid_format(correlation, id);
    int n = message ? snprintf(body, sizeof(body),
                               "{\"error\":\"%s\",\"details\":[{\"path\":\"/\",\"message\":\"%s\"}]}", error,
                               message)
                    : snprintf(body, sizeof(body), "{\"error\":\"%s\"}", error);
    int len = snprintf(text, sizeof(text),
                       "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nX-Correlation-Id: %s\r\n%s"
                       "Content-Length: %d\r\nConnection: close\r\n\r\n%s",
                       status, error, id, status == 503 ? "Retry-After: 1\r\n" : "", n, body);
    /* nothing else was written for this request, so the socket buffer has room */
    if (send(fd, text, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        return;
}

void conn_cut(http_conn *c)
{
    if (!c->cut)
        shutdown(c->fd, SHUT_RDWR);
    c->cut = true;
}

void conn_raw_error(http_conn *c, int status, const char *error, const char *message)
{
    if (!c->cut && !c->listener->tls_cert)
        socket_raw_error(c->fd, status, error, message);
    conn_cut(c);
}

/* ---- lingering close ------------------------------------------------------------------------ */

/* A client that is still sending when we close gets a reset and may lose the answer. So the connection is
 * shut for writing, and what still comes is read and dropped for a while. */
typedef struct http_linger {
    http_watch watch;
    struct http_linger *next, **at;
    int fd;
    int64_t until;
    size_t bytes;
} http_linger;

static void linger_end(http_loop *l, http_linger *g)
{
    *g->at = g->next;
    if (g->next)
        g->next->at = g->at;
    close(g->fd);
    free(g);
    l->n_lingers--;
}

static void linger_ready(http_loop *l, http_watch *w, uint32_t events)
{
    http_linger *g = (http_linger *)w;
    char sink[16384];
    ssize_t n;
    (void)events;
    while ((n = recv(g->fd, sink, sizeof(sink), MSG_DONTWAIT)) > 0 && g->bytes < LINGER_BYTES)
        g->bytes += (size_t)n;
    if (n >= 0 || (errno != EAGAIN && errno != EINTR))
        linger_end(l, g);
}

void linger_start(http_loop *l, int fd)
{
    shutdown(fd, SHUT_WR);
    http_linger *g = l->n_lingers < MAX_LINGER ? calloc(1, sizeof(*g)) : NULL;
    if (!g ||
        (g->watch.ready = linger_ready, g->fd = fd, loop_watch(l, fd, EPOLLIN | EPOLLRDHUP, &g->watch))) {
        close(fd);
        free(g);
        return;
    }
    g->until = l->now + LINGER_NS;
    g->next = l->lingers;
    g->at = &l->lingers;
    if (g->next)
        g->next->at = &g->next;
    l->lingers = g;
    l->n_lingers++;
}

void linger_sweep(http_loop *l, bool all)
{
    for (http_linger *g = l->lingers, *next; g; g = next) {
        next = g->next;
        if (all || l->now >= g->until)
            linger_end(l, g);
    }
}

/* ---- accept --------------------------------------------------------------------------------- */

static void accept_pause(http_loop *l, const http_listener *ln)
{
    http_log(l->server, ODTO_WARN, NULL, "can't accept on %s: %s (waiting 100 ms)", ln->address,
             strerror(errno));
    loop_unwatch(l, ln->fd);
    l->accept_again = l->now + ACCEPT_BACKOFF_NS;
    if (l->next_sweep > l->accept_again)
        l->next_sweep = l->accept_again;
}

static void accept_resume(http_loop *l)
{
    l->accept_again = 0;
    pthread_mutex_lock(&l->server->lock);
    for (http_listener *ln = l->server->listeners; ln; ln = ln->next)
        loop_watch(l, ln->fd, LISTEN_EVENTS, &ln->watches[l->index].watch); /* -EEXIST is fine */
    pthread_mutex_unlock(&l->server->lock);
}

void accept_ready(http_loop *l, http_watch *w, uint32_t events)
{
    http_listener *ln = ((listener_watch *)w)->listener;
    (void)events;
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        struct sockaddr_storage addr;
        socklen_t len = sizeof(addr);
        int fd = accept4(ln->fd, (struct sockaddr *)&addr, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
                accept_pause(l, ln);
            if (errno != EINTR && errno != ECONNABORTED)
                return;
            continue;
        }
        if (atomic_fetch_add(&ln->connections, 1) >= ln->max_connections) {
            atomic_fetch_sub(&ln->connections, 1);
            if (!ln->tls_cert)
                socket_raw_error(fd, 503, "Service Unavailable", "too many connections");
            linger_start(l, fd);
            continue;
        }
        atomic_fetch_add(&l->server->connections, 1);
        if (atomic_load(&ln->ws_routes))
            peek_start(l, ln, fd, &addr, len);
        else
            loop_add_connection(l, ln, fd, (struct sockaddr *)&addr, len);
    }
}

/* ---- life of a connection ------------------------------------------------------------------- */

static void conn_open(http_loop *l, struct MHD_Connection *mhd, void **context)
{
    http_conn *c = calloc(1, sizeof(*c));
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    *context = c;
    if (!c)
        return; /* request_begin finds none and refuses */
    c->loop = l;
    c->listener = l->adding;
    c->engine = l->adding_engine;
    c->mhd = mhd;
    c->first = true;
    c->since = l->now;
    if (info && info->client_addr)
        getnameinfo(info->client_addr, l->adding->addr_len, c->peer, sizeof(c->peer), NULL, 0,
                    NI_NUMERICHOST);
    c->fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    c->next = l->conns;
    if (c->next)
        c->next->prev = c;
    l->conns = c;
    l->n_conns++;
    l->adding = NULL;
}

static void conn_close(http_loop *l, http_conn *c)
{
    http_server *s = l->server;
    if (c->rq)
        request_done(c->rq);
    if (c->linger && !c->cut) {
        int fd = fcntl(c->fd, F_DUPFD_CLOEXEC, 0);
        if (fd >= 0)
            linger_start(l, fd);
    }
    if (c->prev)
        c->prev->next = c->next;
    else
        l->conns = c->next;
    if (c->next)
        c->next->prev = c->prev;
    l->n_conns--;
    atomic_fetch_sub(&c->listener->connections, 1);
    free(c);
    if (atomic_fetch_sub(&s->connections, 1) == 1 && atomic_load(&s->stopping)) {
        pthread_mutex_lock(&s->lock);
        pthread_cond_broadcast(&s->changed);
        pthread_mutex_unlock(&s->lock);
    }
}

void conn_notify(void *cls, struct MHD_Connection *mhd, void **context,
                 enum MHD_ConnectionNotificationCode code)
{
    if (code == MHD_CONNECTION_NOTIFY_STARTED)
        conn_open(cls, mhd, context);
    else if (*context)
        conn_close(cls, *context);
}

/* The phase a connection is in has lasted too long. */
static void conn_check(http_loop *l, http_conn *c)
{
    const http_config *cf = &l->server->config;
    int64_t age = l->now - c->since;
    if (c->cut)
        return;
    if (!c->rq) {
        if (!c->first && age > cf->idle_timeout_ns)
            conn_cut(c);
        else if (c->first && age > cf->header_timeout_ns)
            conn_raw_error(c, 408, "Request Timeout", "no request came in time");
    } else if (!c->rq->seen_head) {
        if (age > cf->header_timeout_ns)
            conn_raw_error(c, 408, "Request Timeout", "the headers did not come in time");
    } else if (!c->rq->complete && age > cf->body_timeout_ns) {
        conn_raw_error(c, 408, "Request Timeout", "the body did not come in time");
    }
}

void conn_sweep(http_loop *l)
{
    for (http_conn *c = l->conns; c; c = c->next)
        conn_check(l, c);
    if (l->accept_again && l->now >= l->accept_again)
        accept_resume(l);
    odto_http_request *rq = parked_take(l->server, NULL, l);
    while (rq) {
        odto_http_request *next = rq->park_next;
        rq->park_next = NULL;
        request_unpark(rq, 503, "the service did not come back in time");
        rq = next;
    }
}
