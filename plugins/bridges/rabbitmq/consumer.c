/* consumer.c — the thread "consume": each subscription is a channel with its own prefetch.
 *
 * Settles come from any thread into a list; the thread marks them and sends acknowledgements in batches: when
 * half a prefetch is settled, or FLUSH_NS after the first. What was delivered over a connection that is lost
 * comes again from the broker; settles for it carry an older epoch and are ignored.
 *
 * Locks: deliver_lock is held while a sink is called, so that unsubscribe can wait for it; lock guards the
 * subscriptions' wishes and the list of settles, and is held for moments. Order: deliver_lock, lock. */
#include "rabbitmq.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHANNEL_SUBS  16u
#define DELIVER_BATCH 64u
#define PREFETCH_MIN  16u
#define PREFETCH_MAX  300u /* more gains nothing */
#define FLUSH_NS      (5 * ODTO_MS)
#define TICK_NS       ODTO_SEC
#define LOOK_NS       (2 * ODTO_SEC)
#define RETRY_NS      (10 * ODTO_SEC) /* after a queue could not be declared or consumed */
#define TAG_BITS      40
#define TAG_MASK      ((UINT64_C(1) << TAG_BITS) - 1)
#define EPOCH_MASK    0xffffffu

int consumer_init(consumer *c, rmq *r)
{
    memset(c, 0, sizeof *c);
    pthread_mutex_init(&c->deliver_lock, NULL);
    pthread_mutex_init(&c->lock, NULL);
    return session_init(&c->s, r, "consume");
}

void consumer_fini(consumer *c)
{
    session_fini(&c->s);
    for (size_t i = 0; i < TOPICS_MAX; i++)
        acks_free(&c->subs[i].acks);
    free(c->settled);
    free(c->taken);
    pthread_mutex_destroy(&c->lock);
    pthread_mutex_destroy(&c->deliver_lock);
}

static amqp_channel_t channel_of(const consumer *c, const subscription *sub)
{
    return (amqp_channel_t)(CHANNEL_SUBS + (size_t)(sub - c->subs));
}

static uint32_t clamp(uint32_t credit)
{
    uint32_t n = credit > PREFETCH_MAX ? PREFETCH_MAX : credit * 2;
    return n < PREFETCH_MIN ? PREFETCH_MIN : n > PREFETCH_MAX ? PREFETCH_MAX : n;
}

/* ---- deliveries ---------------------------------------------------------------------------- */

struct gathered {
    subscription *sub;
    size_t n;
    odto_event *events[DELIVER_BATCH];
    uint64_t tags[DELIVER_BATCH];
    bool redelivered[DELIVER_BATCH];
};

static void hand_over(consumer *c, struct gathered *g)
{
    rmq *r = c->s.r;
    if (!g->n)
        return;
    pthread_mutex_lock(&c->deliver_lock);
    pthread_mutex_lock(&c->lock);
    odto_bridge_sink sink = g->sub->sink;
    bool wanted = g->sub->state == SUB_WANTED && !g->sub->fresh;
    pthread_mutex_unlock(&c->lock);
    if (wanted)
        sink.deliver(sink.sink, g->events, g->tags, g->redelivered, g->n);
    pthread_mutex_unlock(&c->deliver_lock);
    for (size_t i = 0; i < g->n; i++)
        r->host->api->event_unref(g->events[i]);
    odto_metric_add(r->m.delivered, (int64_t)g->n);
    g->n = 0;
}

/* A basic.deliver and its content. False: the connection is lost. */
static bool take_delivery(consumer *c, const amqp_frame_t *f, struct gathered *g)
{
    const amqp_basic_deliver_t *m = f->payload.method.decoded;
    uint64_t tag = m->delivery_tag;
    bool again = m->redelivered;
    size_t k = f->channel - (size_t)CHANNEL_SUBS;
    amqp_message_t msg;
    amqp_rpc_reply_t reply = amqp_read_message(c->s.c, f->channel, &msg, 0);
    if (reply.reply_type != AMQP_RESPONSE_NORMAL || k >= TOPICS_MAX) {
        session_lost(&c->s, "a message could not be read");
        return false;
    }
    subscription *sub = &c->subs[k];
    odto_slice body = {msg.body.bytes, msg.body.len};
    odto_event *e = c->s.r->host->api->event_new(c->s.r->host, body, 0);
    amqp_destroy_message(&msg);
    if (!e || !acks_delivered(&sub->acks, tag)) {
        c->s.r->host->api->event_unref(e);
        session_lost(&c->s, "no memory for a message");
        return false;
    }
    if (g->n && (g->sub != sub || g->n == DELIVER_BATCH))
        hand_over(c, g);
    g->sub = sub;
    g->events[g->n] = e;
    g->tags[g->n] = (uint64_t)(sub->epoch & EPOCH_MASK) << TAG_BITS | tag;
    g->redelivered[g->n++] = again;
    return true;
}

/* All frames that are there. False: the connection is lost. */
static bool receive(consumer *c)
{
    struct gathered g = {.n = 0};
    amqp_frame_t f;
    int rc;
    while ((rc = session_frame(&c->s, &f)) > 0) {
        bool method = f.frame_type == AMQP_FRAME_METHOD;
        if (method && f.payload.method.id == AMQP_BASIC_DELIVER_METHOD) {
            if (!take_delivery(c, &f, &g)) {
                rc = -1;
                break;
            }
        } else if (method && f.payload.method.id == AMQP_BASIC_CANCEL_METHOD) { /* the queue was deleted */
            session_lost(&c->s, "the broker cancelled a consumer: its queue is gone");
            rc = -1;
            break;
        } else if (!session_control(&c->s, &f)) {
            rc = -1;
            break;
        }
    }
    hand_over(c, &g);
    if (rc == 0)
        amqp_maybe_release_buffers(c->s.c);
    return rc == 0;
}

/* ---- acknowledgements ---------------------------------------------------------------------- */

struct sender {
    consumer *c;
    amqp_channel_t channel;
};

static bool send_ack(void *arg, uint64_t tag, bool multiple)
{
    const struct sender *s = arg;
    int rc = amqp_basic_ack(s->c->s.c, s->channel, tag, multiple);
    if (rc == AMQP_STATUS_OK)
        return true;
    session_lost(&s->c->s, amqp_error_string2(rc));
    return false;
}

/* The list of settles, as far as it goes now. */
static uint32_t take_settles(consumer *c)
{
    pthread_mutex_lock(&c->lock);
    struct settle *list = c->settled;
    uint32_t n = c->n_settled, cap = c->cap_settled;
    c->settled = c->taken;
    c->cap_settled = c->cap_taken;
    c->n_settled = 0;
    bool overflow = c->overflow;
    c->overflow = false;
    pthread_mutex_unlock(&c->lock);
    c->taken = list;
    c->cap_taken = cap;
    if (overflow && c->s.up)
        session_lost(&c->s, "no memory to remember what is settled");
    return n;
}

static bool settle_one(consumer *c, const struct settle *s)
{
    subscription *sub = &c->subs[s->sub];
    if (!sub->open || s->tag >> TAG_BITS != (sub->epoch & EPOCH_MASK))
        return true;
    if (s->ack) {
        acks_settled(&sub->acks, s->tag & TAG_MASK);
        return true;
    }
    acks_gone(&sub->acks, s->tag & TAG_MASK);
    int rc = amqp_basic_nack(c->s.c, channel_of(c, sub), s->tag & TAG_MASK, 0, 1);
    if (rc != AMQP_STATUS_OK)
        session_lost(&c->s, amqp_error_string2(rc));
    return rc == AMQP_STATUS_OK;
}

/* Mark what was settled; send what is due. False: the connection is lost. */
static bool acknowledge(consumer *c, bool now)
{
    uint32_t n = take_settles(c);
    bool due = now;
    for (uint32_t i = 0; i < n && c->s.up; i++)
        if (!settle_one(c, &c->taken[i]))
            return false;
    if (!c->s.up)
        return false;
    uint32_t unsent = 0;
    for (size_t i = 0; i < TOPICS_MAX; i++) {
        const subscription *sub = &c->subs[i];
        unsent += sub->open ? sub->acks.unsent : 0;
        due |= sub->open && sub->acks.unsent >= sub->prefetch / 2;
    }
    if (!unsent) {
        c->flush_at = 0;
        return true;
    }
    if (!c->flush_at)
        c->flush_at = odto_now_ns() + FLUSH_NS;
    if (!due && odto_now_ns() < c->flush_at)
        return true;
    for (size_t i = 0; i < TOPICS_MAX; i++)
        if (c->subs[i].open && c->subs[i].acks.unsent &&
            !acks_flush(&c->subs[i].acks, send_ack, &(struct sender){c, channel_of(c, &c->subs[i])}))
            return false;
    c->flush_at = 0;
    return true;
}

/* ---- subscriptions ------------------------------------------------------------------------- */

static void consumer_tag(const consumer *c, const subscription *sub, char out[48])
{
    snprintf(out, 48, "odto-%u-%u", (unsigned)(sub - c->subs), sub->serial);
}

static int start_consuming(consumer *c, subscription *sub, uint32_t prefetch, odto_error *err)
{
    amqp_channel_t ch = channel_of(c, sub);
    char tag[48], what[200];
    snprintf(what, sizeof what, "can't consume from queue %s", sub->topic);
    amqp_basic_qos(c->s.c, ch, 0, (uint16_t)prefetch, 0);
    int rc = session_reply(&c->s, amqp_get_rpc_reply(c->s.c), what, err);
    if (rc)
        return rc;
    sub->serial++;
    sub->prefetch = prefetch;
    consumer_tag(c, sub, tag);
    amqp_basic_consume(c->s.c, ch, amqp_cstring_bytes(sub->topic), amqp_cstring_bytes(tag), 0, 0, 0,
                       amqp_empty_table);
    return session_reply(&c->s, amqp_get_rpc_reply(c->s.c), what, err);
}

/* 0, or -errno of the broker (the subscription waits), or -ECONNRESET. */
static int open_subscription(consumer *c, subscription *sub, uint32_t prefetch, odto_error *err)
{
    int64_t messages = session_declare(&c->s, sub->topic, false, err);
    if (messages < 0)
        return (int)messages;
    if (!sub->acks.state && acks_init(&sub->acks) < 0)
        return odto_fail(err, -ENOMEM, "no memory");
    acks_reset(&sub->acks);
    sub->epoch++;
    if (!session_open_channel(&c->s, channel_of(c, sub), err))
        return -ECONNRESET;
    sub->open = true;
    /* a channel that the broker closed would have to be taken down by hand: begin anew with all */
    return start_consuming(c, sub, prefetch, err) ? -ECONNRESET : 0;
}

/* Its channel is closed: what was not acknowledged goes back to the queue. */
static bool close_subscription(consumer *c, subscription *sub)
{
    if (!sub->open)
        return true;
    sub->open = false;
    amqp_rpc_reply_t reply = amqp_channel_close(c->s.c, channel_of(c, sub), AMQP_REPLY_SUCCESS);
    odto_error err = {0};
    if (session_reply(&c->s, reply, "closing a channel", &err) == 0)
        return true;
    session_lost(&c->s, err.message);
    return false;
}

static bool change_prefetch(consumer *c, subscription *sub, uint32_t prefetch)
{
    char tag[48];
    odto_error err = {0};
    consumer_tag(c, sub, tag);
    amqp_basic_cancel(c->s.c, channel_of(c, sub), amqp_cstring_bytes(tag));
    int rc = session_reply(&c->s, amqp_get_rpc_reply(c->s.c), "basic.cancel", &err);
    if (rc == 0)
        rc = start_consuming(c, sub, prefetch, &err);
    if (rc == 0)
        return true;
    session_lost(&c->s, err.message);
    return false;
}

/* A subscription is open; when it was the last that was refused, health has nothing to say any more. */
static void mended(consumer *c, subscription *sub)
{
    bool last = sub->retry_at != 0;
    sub->retry_at = 0;
    for (size_t i = 0; i < TOPICS_MAX; i++)
        last = last && !c->subs[i].retry_at;
    if (last)
        set_problem(&c->s, NULL);
}

/* What one subscription needs now. False: the connection is lost. */
static bool tend(consumer *c, subscription *sub)
{
    pthread_mutex_lock(&c->lock);
    enum sub_state state = sub->state;
    uint32_t prefetch = clamp(sub->credit);
    bool fresh = sub->fresh;
    pthread_mutex_unlock(&c->lock);
    if (state == SUB_FREE)
        return true;
    if ((state == SUB_CLOSING || fresh) && !close_subscription(c, sub))
        return false;
    pthread_mutex_lock(&c->lock);
    if (sub->state == SUB_CLOSING)
        sub->state = SUB_FREE;
    else if (fresh)
        sub->fresh = false;
    state = sub->state;
    pthread_mutex_unlock(&c->lock);
    if (state != SUB_WANTED)
        return true;
    if (sub->open)
        return prefetch == sub->prefetch || change_prefetch(c, sub, prefetch);
    if (odto_now_ns() < sub->retry_at)
        return true;
    odto_error err = {0};
    int rc = open_subscription(c, sub, prefetch, &err);
    if (rc == 0) {
        mended(c, sub);
        return true;
    }
    session_complain(&c->s, &err);
    sub->retry_at = odto_now_ns() + RETRY_NS;
    if (rc != -ECONNRESET)
        return true;
    session_lost(&c->s, err.message);
    return false;
}

static bool tend_all(consumer *c)
{
    for (size_t i = 0; i < TOPICS_MAX; i++)
        if (!tend(c, &c->subs[i]))
            return false;
    return true;
}

/* How much waits in the queues that somebody asked about. */
static bool look(consumer *c)
{
    if (odto_now_ns() - c->looked_at < LOOK_NS)
        return true;
    c->looked_at = odto_now_ns();
    pthread_mutex_lock(&c->lock);
    uint32_t n = c->n_watched;
    pthread_mutex_unlock(&c->lock);
    for (uint32_t i = 0; i < n; i++) {
        odto_error err = {0};
        int64_t depth = session_declare(&c->s, c->watched[i].topic, true, &err);
        if (depth == -ECONNRESET) {
            session_lost(&c->s, err.message);
            return false;
        }
        depth = depth == -ENOENT ? 0 : depth < 0 ? -1 : depth; /* no such queue yet: nothing waits */
        __atomic_store_n(&c->watched[i].depth, depth, __ATOMIC_RELAXED); /* a statistic */
    }
    return true;
}

/* ---- the thread ---------------------------------------------------------------------------- */

static bool anything_to_do(consumer *c)
{
    pthread_mutex_lock(&c->lock);
    bool some = c->n_watched > 0;
    for (size_t i = 0; !some && i < TOPICS_MAX; i++)
        some = c->subs[i].state == SUB_WANTED;
    pthread_mutex_unlock(&c->lock);
    return some;
}

static void forget_all(consumer *c)
{
    for (size_t i = 0; i < TOPICS_MAX; i++)
        c->subs[i].open = false;
    for (uint32_t i = 0; i < TOPICS_MAX; i++)
        __atomic_store_n(&c->watched[i].depth, -1, __ATOMIC_RELAXED); /* a statistic */
    c->flush_at = 0;
}

static bool work(consumer *c)
{
    if (!tend_all(c) || !receive(c) || !acknowledge(c, false) || !look(c))
        return false;
    int64_t until = odto_now_ns() + TICK_NS;
    session_wait(&c->s, c->flush_at && c->flush_at < until ? c->flush_at : until);
    return true;
}

void consumer_run(void *arg)
{
    consumer *c = &((rmq *)arg)->con;
    while (!rmq_stopping(c->s.r)) {
        if (c->s.up) {
            if (!work(c))
                forget_all(c);
            continue;
        }
        take_settles(c);
        if (!anything_to_do(c))
            session_wait(&c->s, INT64_MAX / 2);
        else if (odto_now_ns() < c->s.retry_at || !session_connect(&c->s))
            session_wait(&c->s, c->s.retry_at);
        else
            c->s.streak = 0;
    }
    if (c->s.up)
        acknowledge(c, true);
    session_close(&c->s, true);
    forget_all(c);
}

/* ---- any thread ---------------------------------------------------------------------------- */

/* Lock held. */
static subscription *find(consumer *c, const char *topic)
{
    for (size_t i = 0; i < TOPICS_MAX; i++)
        if (c->subs[i].state != SUB_FREE && strcmp(c->subs[i].topic, topic) == 0)
            return &c->subs[i];
    return NULL;
}

static subscription *find_free(consumer *c)
{
    for (size_t i = 0; i < TOPICS_MAX; i++)
        if (c->subs[i].state == SUB_FREE)
            return &c->subs[i];
    return NULL;
}

int consumer_subscribe(consumer *c, const char *topic, const odto_bridge_sink *sink, uint32_t credit,
                       odto_error *err)
{
    if (strlen(topic) >= TOPIC_SIZE)
        return odto_fail(err, -ENAMETOOLONG, "the name of queue %s is too long", topic);
    pthread_mutex_lock(&c->lock);
    subscription *sub = find(c, topic);
    if (sub)
        sub->fresh = true;
    else if ((sub = find_free(c)))
        strcpy(sub->topic, topic);
    if (sub) {
        sub->state = SUB_WANTED;
        sub->sink = *sink;
        sub->credit = credit;
    }
    pthread_mutex_unlock(&c->lock);
    if (!sub)
        return odto_fail(err, -E2BIG, "more than %u subscriptions", TOPICS_MAX);
    session_wake(&c->s);
    return 0;
}

void consumer_unsubscribe(consumer *c, const char *topic)
{
    pthread_mutex_lock(&c->deliver_lock); /* the sink is not being called */
    pthread_mutex_lock(&c->lock);
    subscription *sub = find(c, topic);
    if (sub)
        sub->state = SUB_CLOSING;
    pthread_mutex_unlock(&c->lock);
    pthread_mutex_unlock(&c->deliver_lock);
    session_wake(&c->s);
}

void consumer_credit(consumer *c, const char *topic, uint32_t credit)
{
    pthread_mutex_lock(&c->lock);
    subscription *sub = find(c, topic);
    if (sub)
        sub->credit = credit;
    pthread_mutex_unlock(&c->lock);
    session_wake(&c->s);
}

void consumer_settle(consumer *c, const char *topic, const uint64_t *tags, size_t n, odto_verdict v)
{
    bool wake = false;
    pthread_mutex_lock(&c->lock);
    const subscription *sub = find(c, topic);
    for (size_t i = 0; sub && i < n; i++) {
        if (c->n_settled == c->cap_settled) {
            uint32_t cap = c->cap_settled ? c->cap_settled * 2 : 1024;
            struct settle *more = realloc(c->settled, cap * sizeof *more);
            if (!more) {
                c->overflow = wake = true;
                break;
            }
            c->settled = more;
            c->cap_settled = cap;
        }
        wake |= c->n_settled == 0 || c->n_settled == PREFETCH_MAX / 2;
        c->settled[c->n_settled++] =
            (struct settle){.sub = (uint32_t)(sub - c->subs), .ack = v == ODTO_ACK, .tag = tags[i]};
    }
    pthread_mutex_unlock(&c->lock);
    if (wake)
        session_wake(&c->s);
}

int64_t consumer_depth(consumer *c, const char *topic)
{
    watched *w = NULL;
    bool added = false;
    pthread_mutex_lock(&c->lock);
    for (uint32_t i = 0; i < c->n_watched && !w; i++)
        if (strcmp(c->watched[i].topic, topic) == 0)
            w = &c->watched[i];
    if (!w && c->n_watched < TOPICS_MAX && strlen(topic) < TOPIC_SIZE) {
        w = &c->watched[c->n_watched++];
        strcpy(w->topic, topic);
        w->depth = -1;
        added = true;
    }
    pthread_mutex_unlock(&c->lock);
    if (added)
        session_wake(&c->s);
    return w ? __atomic_load_n(&w->depth, __ATOMIC_RELAXED) : -1; /* a statistic */
}
