/* sender.c — batches to the hosts that are dialled.
 *
 * Each peer has a socket of its own with CALLS contexts, so that we choose who gets a batch: in turn, those
 * that are connected, have a free call, and did not just say that they do not take the topic. A callback of
 * nng carries a call from sent to answered, and calls done. */
#include "mesh.h"

#include <errno.h>
#include <nng/protocol/reqrep0/req.h>
#include <nng/transport/ipc/ipc.h>
#include <string.h>

#define REFUSED_NS (200 * ODTO_MS)

bool mesh_stopping(const mesh *m)
{
    return __atomic_load_n(&m->stopping, __ATOMIC_ACQUIRE); /* pairs with stop() */
}

/* The call is over; the peer is left alone with that topic for a while when it refused it. */
static void call_end(struct call *c, int result, bool refused)
{
    mesh *m = c->peer->mesh;
    odto_publish_done *done = c->done;
    void *arg = c->arg;
    pthread_mutex_lock(&m->lock);
    struct refusal *oldest = &c->peer->refusals[0];
    for (size_t i = 0; refused && i < SUBS_MAX; i++) {
        struct refusal *r = &c->peer->refusals[i];
        if (strcmp(r->topic, c->topic) == 0) {
            oldest = r;
            break;
        }
        oldest = r->until_ns < oldest->until_ns ? r : oldest;
    }
    if (refused) {
        memcpy(oldest->topic, c->topic, sizeof c->topic);
        oldest->until_ns = odto_now_ns() + REFUSED_NS;
    }
    c->state = CALL_FREE;
    pthread_mutex_unlock(&m->lock);
    odto_metric_add(result ? m->again : m->sent, 1);
    if (done)
        done(arg, result);
}

static void answered(struct call *c)
{
    nng_msg *msg = nng_aio_get_msg(c->aio);
    uint8_t answer = nng_msg_len(msg) == 1 ? *(const uint8_t *)nng_msg_body(msg) : MESH_AGAIN;
    nng_msg_free(msg);
    call_end(c, answer == MESH_DONE ? 0 : -EAGAIN, answer == MESH_BUSY || answer == MESH_NONE);
}

/* nng's thread: the batch went out, or its answer came, or neither. */
static void on_call(void *arg)
{
    struct call *c = arg;
    mesh *m = c->peer->mesh;
    int rc = nng_aio_result(c->aio);
    pthread_mutex_lock(&m->lock);
    bool sent = c->state == CALL_SENDING;
    if (sent && rc == 0)
        c->state = CALL_WAITING;
    pthread_mutex_unlock(&m->lock);
    if (sent && rc == 0) {
        nng_ctx_recv(c->ctx, c->aio);
        return;
    }
    if (rc == 0) {
        answered(c);
        return;
    }
    if (sent) { /* the message stays with who could not send it */
        nng_msg_free(nng_aio_get_msg(c->aio));
        nng_aio_set_msg(c->aio, NULL);
    }
    call_end(c, mesh_stopping(m) ? -ECANCELED : -ENOTCONN, false);
}

static bool refused_lately(const struct peer *p, const char *topic, int64_t now)
{
    for (size_t i = 0; i < SUBS_MAX; i++)
        if (p->refusals[i].until_ns > now && strcmp(p->refusals[i].topic, topic) == 0)
            return true;
    return false;
}

/* A call of the next peer that takes the topic. NULL with *rc: -ENOTCONN nobody is there, -EAGAIN. Lock held.
 */
static struct call *choose(mesh *m, const char *topic, int *rc)
{
    int64_t now = odto_now_ns();
    *rc = -ENOTCONN;
    for (size_t k = 0; k < m->n_peers; k++) {
        struct peer *p = &m->peers[(m->next_peer + k) % m->n_peers];
        if (__atomic_load_n(&p->pipes, __ATOMIC_RELAXED) <= 0) /* a hint: a lost one is found by its call */
            continue;
        *rc = -EAGAIN;
        if (refused_lately(p, topic, now))
            continue;
        for (size_t i = 0; i < CALLS; i++)
            if (p->calls[i].state == CALL_FREE) {
                m->next_peer = (m->next_peer + k + 1) % m->n_peers;
                *rc = 0;
                return &p->calls[i];
            }
    }
    return NULL;
}

int sender_publish(mesh *m, const char *topic, odto_event *const *events, size_t n, odto_publish_done *done,
                   void *arg)
{
    if (mesh_stopping(m))
        return -ECANCELED;
    if (strlen(topic) >= TOPIC_SIZE)
        return -ENAMETOOLONG;
    int rc;
    pthread_mutex_lock(&m->lock);
    struct call *c = choose(m, topic, &rc);
    if (c && n)
        c->state = CALL_SENDING;
    pthread_mutex_unlock(&m->lock);
    if (!c || !n)
        return rc;
    nng_msg *msg = NULL;
    rc = wire_pack(topic, events, n, &msg);
    if (rc) {
        pthread_mutex_lock(&m->lock);
        c->state = CALL_FREE;
        pthread_mutex_unlock(&m->lock);
        return rc;
    }
    c->done = done;
    c->arg = arg;
    strcpy(c->topic, topic);
    nng_aio_set_msg(c->aio, msg);
    nng_aio_set_timeout(c->aio, (nng_duration)(m->answer_ns / ODTO_MS));
    nng_ctx_send(c->ctx, c->aio);
    return 0;
}

/* ---- life ---------------------------------------------------------------------------------- */

static void on_pipe(nng_pipe pipe, nng_pipe_ev ev, void *arg)
{
    struct peer *p = arg;
    (void)pipe;
    int n = __atomic_add_fetch(&p->pipes, ev == NNG_PIPE_EV_ADD_POST ? 1 : -1, __ATOMIC_RELAXED); /* a hint */
    if (mesh_stopping(p->mesh))
        return;
    for (size_t i = 0; n <= 0 && i < CALLS; i++)
        nng_aio_cancel(p->calls[i].aio); /* those under way are given back, for another host */
    odto_log(p->mesh->host, n > 0 ? ODTO_INFO : ODTO_WARN, n > 0 ? "connected to %s" : "%s is away", p->url);
    p->mesh->host->api->health_changed(p->mesh->host);
}

static int open_peer(struct peer *p)
{
    mesh *m = p->mesh;
    int rc = nng_req0_open(&p->socket);
    if (rc)
        return rc;
    p->open = true;
    /* what was sent over a lost connection is refused to its source, which sends it again */
    nng_socket_set_ms(p->socket, NNG_OPT_REQ_RESENDTIME, NNG_DURATION_INFINITE);
    nng_socket_set_ms(p->socket, NNG_OPT_RECONNMINT, (nng_duration)(m->redial_ns / ODTO_MS));
    nng_socket_set_ms(p->socket, NNG_OPT_RECONNMAXT, (nng_duration)(m->redial_max_ns / ODTO_MS));
    for (size_t i = 0; rc == 0 && i < CALLS; i++) {
        struct call *c = &p->calls[i];
        c->peer = p;
        rc = nng_ctx_open(&c->ctx, p->socket);
        if (rc == 0)
            rc = nng_aio_alloc(&c->aio, on_call, c);
    }
    nng_pipe_notify(p->socket, NNG_PIPE_EV_ADD_POST, on_pipe, p);
    nng_pipe_notify(p->socket, NNG_PIPE_EV_REM_POST, on_pipe, p);
    nng_dialer d;
    if (rc == 0)
        rc = nng_dialer_create(&d, p->socket, p->url);
    if (rc == 0) {
        nng_dialer_set_bool(d, NNG_OPT_TCP_KEEPALIVE, true);
        nng_dialer_set_bool(d, NNG_OPT_TCP_NODELAY, true);
        rc = nng_dialer_start(d, NNG_FLAG_NONBLOCK);
    }
    return rc;
}

int sender_start(mesh *m, odto_error *err)
{
    for (size_t i = 0; i < m->n_peers; i++) {
        int rc = open_peer(&m->peers[i]);
        if (rc)
            return odto_fail(err, -EINVAL, "can't dial %s: %s", m->peers[i].url, nng_strerror(rc));
    }
    return 0;
}

void sender_stop(mesh *m)
{
    for (size_t i = 0; i < m->n_peers; i++) {
        struct peer *p = &m->peers[i];
        if (!p->open)
            continue;
        nng_close(p->socket); /* every call ends */
        for (size_t k = 0; k < CALLS; k++)
            if (p->calls[k].aio) {
                nng_aio_stop(p->calls[k].aio); /* its callback has returned */
                nng_aio_free(p->calls[k].aio);
            }
        p->open = false;
    }
}
