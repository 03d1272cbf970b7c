/* admin.c — people look into a queue: messages are fetched without acknowledgement over a connection of their
 * own, shown or removed, and the rest goes back when it closes. Control threads; one call at a time each.
 *
 * AMQP has no number for a message that waits, so the id is a hash of its body: the same as long as it waits,
 * in every host. */
#include "rabbitmq.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SCAN_MAX   20000u              /* messages held at once while scanning */
#define SCAN_BYTES ((size_t)256 << 20) /* and bytes fetched in one call */

static uint64_t id_of(amqp_bytes_t body)
{
    uint64_t h = odto_hash64(body.bytes, body.len) >> 1; /* fits a signed 64-bit number of JSON readers */
    return h ? h : 1;
}

static int open_admin(rmq *r, session *s, odto_error *err)
{
    int rc = session_init(s, r, "admin");
    if (rc)
        return odto_fail(err, rc, "no descriptor for a connection");
    for (size_t i = 0; i < r->opt.n_urls; i++)
        if (session_connect(s))
            return session_open_channel(s, CHANNEL, err) ? 0 : err->code;
    return odto_fail(err, -ENOTCONN, "%s", s->complaint);
}

/* The next message of the queue, held. 1; 0: no more, -errno. */
static int fetch(session *s, const char *topic, amqp_message_t *msg, uint64_t *tag, bool *again,
                 odto_error *err)
{
    amqp_rpc_reply_t reply = amqp_basic_get(s->c, CHANNEL, amqp_cstring_bytes(topic), 0);
    if (reply.reply_type == AMQP_RESPONSE_SERVER_EXCEPTION && reply.reply.id == AMQP_CHANNEL_CLOSE_METHOD &&
        ((const amqp_channel_close_t *)reply.reply.decoded)->reply_code == AMQP_NOT_FOUND)
        return 0; /* nobody has published to it yet */
    int rc = session_reply(s, reply, "basic.get", err);
    if (rc)
        return rc;
    if (reply.reply.id == AMQP_BASIC_GET_EMPTY_METHOD)
        return 0;
    const amqp_basic_get_ok_t *m = reply.reply.decoded;
    *tag = m->delivery_tag;
    *again = m->redelivered;
    rc = session_reply(s, amqp_read_message(s->c, CHANNEL, msg, 0), "reading a message", err);
    amqp_maybe_release_buffers_on_channel(s->c, CHANNEL); /* the body is a copy, the properties are not */
    return rc ? rc : 1;
}

int admin_peek(rmq *r, const char *topic, uint64_t from, size_t max,
               bool (*fn)(void *arg, const odto_bridge_item *item), void *arg, odto_error *err)
{
    session s;
    int rc = open_admin(r, &s, err);
    bool on = from == 0, more = true;
    size_t bytes = 0;
    for (uint32_t n = 0; rc == 0 && more && max && n < SCAN_MAX && bytes < SCAN_BYTES; n++) {
        amqp_message_t msg;
        uint64_t tag;
        bool again;
        int got = fetch(&s, topic, &msg, &tag, &again, err);
        if (got <= 0) {
            rc = got;
            break;
        }
        uint64_t id = id_of(msg.body);
        bool behind = !on && id + 1 == from;
        on = on || id == from;
        if (on) {
            odto_bridge_item item = {.id = id, .body = {msg.body.bytes, msg.body.len}, .redelivered = again};
            more = fn(arg, &item);
            max--;
        }
        on = on || behind;
        bytes += msg.body.len;
        amqp_destroy_message(&msg);
    }
    session_fini(&s); /* what was fetched goes back */
    return rc;
}

static bool listed(const uint64_t *ids, size_t n, uint64_t id)
{
    for (size_t i = 0; i < n; i++)
        if (ids[i] == id)
            return true;
    return false;
}

static int64_t purge(session *s, const char *topic, odto_error *err)
{
    const amqp_queue_purge_ok_t *ok = amqp_queue_purge(s->c, CHANNEL, amqp_cstring_bytes(topic));
    int rc = session_reply(s, amqp_get_rpc_reply(s->c), "queue.purge", err);
    return rc ? rc : ok ? (int64_t)ok->message_count : 0;
}

int64_t admin_remove(rmq *r, const char *topic, const uint64_t *ids, size_t n, odto_error *err)
{
    session s;
    int64_t rc = open_admin(r, &s, err), removed = 0;
    if (rc == 0 && !ids)
        removed = purge(&s, topic, err);
    size_t bytes = 0;
    for (uint32_t k = 0; rc == 0 && ids && removed < (int64_t)n && k < SCAN_MAX && bytes < SCAN_BYTES; k++) {
        amqp_message_t msg;
        uint64_t tag;
        bool again;
        rc = fetch(&s, topic, &msg, &tag, &again, err);
        if (rc <= 0)
            break;
        rc = 0;
        if (listed(ids, n, id_of(msg.body))) {
            if (amqp_basic_ack(s.c, CHANNEL, tag, 0) != AMQP_STATUS_OK)
                rc = odto_fail(err, -ECONNRESET, "the connection was lost while removing");
            removed++;
        }
        bytes += msg.body.len;
        amqp_destroy_message(&msg);
    }
    if (s.up) /* closing waits for the broker's answer, so the acknowledgements have arrived */
        session_close(&s, true);
    session_fini(&s);
    return rc < 0 ? rc : removed;
}
