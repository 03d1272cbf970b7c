/* wire.c — batches as bytes; see mesh.h. */
#include "mesh.h"

#include <errno.h>
#include <string.h>

static const char magic[4] = "odn1";

int wire_pack(const char *topic, odto_event *const *events, size_t n, nng_msg **out)
{
    size_t bytes = sizeof magic + 4 + strlen(topic) + 4;
    for (size_t i = 0; i < n; i++)
        bytes += 4 + events[i]->body.n;
    if (bytes > BATCH_BYTES || n > BATCH_MAX)
        return -EMSGSIZE;
    nng_msg *m;
    if (nng_msg_alloc(&m, 0) != 0)
        return -ENOMEM;
    int bad = nng_msg_reserve(m, bytes);
    bad |= nng_msg_append(m, magic, sizeof magic);
    bad |= nng_msg_append_u32(m, (uint32_t)strlen(topic)) | nng_msg_append(m, topic, strlen(topic));
    bad |= nng_msg_append_u32(m, (uint32_t)n);
    for (size_t i = 0; i < n && !bad; i++) {
        bad |= nng_msg_append_u32(m, (uint32_t)events[i]->body.n);
        bad |= nng_msg_append(m, events[i]->body.p, events[i]->body.n);
    }
    if (bad) {
        nng_msg_free(m);
        return -ENOMEM;
    }
    *out = m;
    return 0;
}

static uint32_t number(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

odto_slice wire_next(struct wire_batch *b)
{
    if (b->left < 4 || number(b->at) > b->left - 4)
        return (odto_slice){NULL, 0};
    odto_slice s = {(const char *)b->at + 4, number(b->at)};
    b->at += 4 + s.n;
    b->left -= 4 + s.n;
    return s;
}

bool wire_open(nng_msg *msg, struct wire_batch *out)
{
    *out = (struct wire_batch){.at = nng_msg_body(msg), .left = nng_msg_len(msg)};
    if (out->left < sizeof magic || memcmp(out->at, magic, sizeof magic) != 0)
        return false;
    out->at += sizeof magic;
    out->left -= sizeof magic;
    odto_slice topic = wire_next(out);
    if (!topic.p || topic.n == 0 || topic.n >= TOPIC_SIZE || out->left < 4)
        return false;
    memcpy(out->topic, topic.p, topic.n);
    out->n = number(out->at);
    out->at += 4;
    out->left -= 4;
    struct wire_batch walk = *out;
    for (uint32_t i = 0; i < out->n; i++)
        if (!wire_next(&walk).p)
            return false;
    return out->n > 0 && out->n <= BATCH_MAX && walk.left == 0;
}
