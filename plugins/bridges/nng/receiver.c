/* receiver.c — batches from other hosts.
 *
 * SERVES contexts receive; each holds one batch until all its events are settled, then answers and receives
 * the next. So at most SERVES batches are worked on, and of one topic about twice what its consumers take at
 * once: more is answered "busy". A batch whose host has gone is worked on all the same; its answer goes
 * nowhere and the batch comes again. */
#include "mesh.h"

#include <errno.h>
#include <nng/protocol/reqrep0/rep.h>
#include <stdlib.h>
#include <string.h>

static struct sub *find(mesh *m, const char *topic)
{
    for (size_t i = 0; i < SUBS_MAX; i++)
        if (strcmp(m->subs[i].topic, topic) == 0)
            return &m->subs[i];
    return NULL;
}

/* No lock held; the serve is the caller's alone. */
static void answer(struct serve *s, uint8_t code)
{
    nng_msg *msg;
    if (nng_msg_alloc(&msg, 0) != 0 || nng_msg_append(msg, &code, 1) != 0) {
        nng_ctx_recv(s->ctx, s->aio); /* no memory to answer: the sender asks again */
        return;
    }
    nng_aio_set_msg(s->aio, msg);
    nng_ctx_send(s->ctx, s->aio);
}

static uint64_t tag_of(const struct serve *s)
{
    return (uint64_t)s->generation << 16 | (uint64_t)(s - s->mesh->serves);
}

/* Take a batch for its topic: 0, or what to answer at once. */
static uint8_t admit(struct serve *s, const struct wire_batch *b, odto_bridge_sink *sink)
{
    mesh *m = s->mesh;
    uint8_t refusal = 0;
    pthread_mutex_lock(&m->lock);
    struct sub *sub = find(m, b->topic);
    if (!sub)
        refusal = MESH_NONE;
    else if (sub->held && sub->held + b->n > 2 * sub->credit)
        refusal = MESH_BUSY;
    if (refusal) {
        s->state = SERVE_ANSWERING;
    } else {
        sub->held += b->n;
        *sink = sub->sink;
        s->sub = sub;
        s->left = b->n;
        s->answer = MESH_DONE;
        s->generation++;
        s->state = SERVE_HELD;
    }
    pthread_mutex_unlock(&m->lock);
    return refusal;
}

/* n events of the batch in s are settled; true: it can be answered. Lock held. */
static bool settled(struct serve *s, uint32_t n, uint8_t verdict)
{
    if (verdict != MESH_DONE)
        s->answer = verdict;
    s->left -= n;
    s->sub->held -= n;
    if (s->left)
        return false;
    s->sub = NULL;
    s->state = SERVE_ANSWERING;
    s->generation++;
    return true;
}

static void deliver(struct serve *s, struct wire_batch *b)
{
    enum { AT_ONCE = 64 };
    mesh *m = s->mesh;
    odto_event *events[AT_ONCE];
    uint64_t tags[AT_ONCE];
    bool redelivered[AT_ONCE] = {false};
    odto_bridge_sink sink = {0};
    pthread_mutex_lock(&m->deliver_lock);
    uint8_t refusal = admit(s, b, &sink);
    uint64_t tag = tag_of(s);
    for (uint32_t i = 0; !refusal && i < b->n;) {
        size_t n = 0;
        uint32_t failed = 0;
        for (; i < b->n && n < AT_ONCE; i++) {
            odto_event *e = m->host->api->event_new(m->host, wire_next(b), 0);
            failed += !e;
            tags[n] = tag;
            if (e)
                events[n++] = e;
        }
        if (n)
            sink.deliver(sink.sink, events, tags, redelivered, n);
        for (size_t k = 0; k < n; k++)
            m->host->api->event_unref(events[k]);
        for (; failed; failed--) /* no memory: the batch comes again */
            receiver_settle(m, &tag, 1, ODTO_RETURN);
    }
    pthread_mutex_unlock(&m->deliver_lock);
    if (refusal)
        answer(s, refusal);
}

static void received(struct serve *s)
{
    nng_msg *msg = nng_aio_get_msg(s->aio);
    struct wire_batch b;
    if (!wire_open(msg, &b)) {
        odto_log(s->mesh->host, ODTO_WARN,
                 "a request of %zu bytes is not a batch of events; it is answered so", nng_msg_len(msg));
        pthread_mutex_lock(&s->mesh->lock);
        s->state = SERVE_ANSWERING;
        pthread_mutex_unlock(&s->mesh->lock);
        answer(s, MESH_NONE);
    } else {
        odto_metric_add(s->mesh->received, b.n);
        deliver(s, &b);
    }
    nng_msg_free(msg);
}

/* nng's thread: a batch came, or an answer went out. */
static void on_serve(void *arg)
{
    struct serve *s = arg;
    mesh *m = s->mesh;
    int rc = nng_aio_result(s->aio);
    pthread_mutex_lock(&m->lock);
    bool receiving = s->state == SERVE_RECEIVING;
    if (!receiving)
        s->state = SERVE_RECEIVING;
    pthread_mutex_unlock(&m->lock);
    if (rc && !receiving) { /* could not be sent: it is ours again */
        nng_msg_free(nng_aio_get_msg(s->aio));
        nng_aio_set_msg(s->aio, NULL);
    }
    if (rc == NNG_ECLOSED || rc == NNG_ECANCELED)
        return;
    if (rc == 0 && receiving)
        received(s);
    else
        nng_ctx_recv(s->ctx, s->aio);
}

/* ---- any thread ---------------------------------------------------------------------------- */

int receiver_subscribe(mesh *m, const char *topic, const odto_bridge_sink *sink, uint32_t credit,
                       odto_error *err)
{
    if (strlen(topic) >= TOPIC_SIZE)
        return odto_fail(err, -ENAMETOOLONG, "the topic %s has too long a name", topic);
    if (!m->n_addresses)
        return odto_fail(err, -EINVAL, "the bridge %s listens nowhere (option listen), so nothing can arrive",
                         m->config->instance);
    pthread_mutex_lock(&m->lock);
    struct sub *sub = find(m, topic);
    if (!sub)
        sub = find(m, "");
    if (sub) {
        strcpy(sub->topic, topic);
        sub->sink = *sink;
        sub->credit = credit;
    }
    pthread_mutex_unlock(&m->lock);
    return sub ? 0 : odto_fail(err, -E2BIG, "more than %u subscriptions", SUBS_MAX);
}

void receiver_unsubscribe(mesh *m, const char *topic)
{
    struct serve *done[SERVES];
    size_t n = 0;
    pthread_mutex_lock(&m->deliver_lock); /* the sink is not being called */
    pthread_mutex_lock(&m->lock);
    struct sub *sub = find(m, topic);
    for (size_t i = 0; sub && i < SERVES; i++)
        if (m->serves[i].state == SERVE_HELD && m->serves[i].sub == sub &&
            settled(&m->serves[i], m->serves[i].left, MESH_AGAIN))
            done[n++] = &m->serves[i];
    if (sub)
        memset(sub, 0, sizeof *sub);
    pthread_mutex_unlock(&m->lock);
    pthread_mutex_unlock(&m->deliver_lock);
    while (n)
        answer(done[--n], MESH_AGAIN);
}

void receiver_credit(mesh *m, const char *topic, uint32_t credit)
{
    pthread_mutex_lock(&m->lock);
    struct sub *sub = find(m, topic);
    if (sub)
        sub->credit = credit;
    pthread_mutex_unlock(&m->lock);
}

void receiver_settle(mesh *m, const uint64_t *tags, size_t n, odto_verdict v)
{
    for (size_t i = 0; i < n; i++) {
        size_t k = tags[i] & 0xffff;
        if (k >= SERVES)
            continue;
        struct serve *s = &m->serves[k];
        pthread_mutex_lock(&m->lock);
        bool over = s->state == SERVE_HELD && tag_of(s) == tags[i] &&
                    settled(s, 1, v == ODTO_ACK ? MESH_DONE : MESH_AGAIN);
        uint8_t code = s->answer;
        pthread_mutex_unlock(&m->lock);
        if (over)
            answer(s, code);
    }
}

/* ---- life ---------------------------------------------------------------------------------- */

int receiver_listen(mesh *m, struct address *a)
{
    int rc = nng_listener_create(&a->listener, m->listening, a->url);
    if (rc)
        return rc;
    nng_listener_set_bool(a->listener, NNG_OPT_TCP_KEEPALIVE, true);
    nng_listener_set_bool(a->listener, NNG_OPT_TCP_NODELAY, true);
    rc = nng_listener_start(a->listener, 0);
    a->open = rc == 0;
    if (rc)
        nng_listener_close(a->listener);
    return rc;
}

int receiver_start(mesh *m, odto_error *err)
{
    if (!m->n_addresses)
        return 0;
    int rc = nng_rep0_open(&m->listening);
    m->serving = rc == 0;
    if (rc == 0)
        nng_socket_set_size(m->listening, NNG_OPT_RECVMAXSZ, BATCH_BYTES + 4096);
    for (size_t i = 0; rc == 0 && i < SERVES; i++) {
        struct serve *s = &m->serves[i];
        s->mesh = m;
        rc = nng_ctx_open(&s->ctx, m->listening);
        if (rc == 0)
            rc = nng_aio_alloc(&s->aio, on_serve, s);
        if (rc == 0) {
            nng_aio_set_timeout(s->aio, NNG_DURATION_INFINITE);
            nng_ctx_recv(s->ctx, s->aio);
        }
    }
    if (rc)
        return odto_fail(err, -ENOMEM, "can't receive: %s", nng_strerror(rc));
    for (size_t i = 0; i < m->n_addresses; i++) {
        rc = receiver_listen(m, &m->addresses[i]);
        if (rc) {
            odto_fail(err, -EADDRINUSE, "can't listen on %s: %s", m->addresses[i].url, nng_strerror(rc));
            odto_error_hint(err, "give the bridge another address (option listen)");
            return err->code;
        }
    }
    return 0;
}

void receiver_stop(mesh *m)
{
    if (!m->serving)
        return;
    nng_close(m->listening);
    for (size_t i = 0; i < SERVES; i++)
        if (m->serves[i].aio) {
            nng_aio_stop(m->serves[i].aio);
            nng_aio_free(m->serves[i].aio);
        }
    m->serving = false;
}
