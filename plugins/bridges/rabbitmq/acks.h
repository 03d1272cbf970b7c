/* acks.h — what a consumer was given and what of it is settled: which acknowledgements to send.
 *
 * Settled deliveries are acknowledged with one `multiple` up to the first that is not settled, and one by one
 * beyond it, so a slow one does not hold up the rest. Delivery tags of a channel begin at 1 and have no gap.
 * Not thread-safe: the consumer thread's. */
#ifndef RABBITMQ_ACKS_H
#define RABBITMQ_ACKS_H

#include <stdbool.h>
#include <stdint.h>

struct acks {
    uint8_t *state;
    uint32_t size;       /* a power of two */
    uint32_t unsent;     /* settled, not acknowledged yet */
    uint32_t held;       /* delivered, not settled */
    uint64_t base, next; /* the oldest not acknowledged, the next delivery */
};

int acks_init(struct acks *a); /* 0 or -ENOMEM */
void acks_free(struct acks *a);
void acks_reset(struct acks *a); /* a new channel */
/* A delivery came. False: no memory to remember it. */
bool acks_delivered(struct acks *a, uint64_t tag);
/* It is settled; what is not held is ignored. */
void acks_settled(struct acks *a, uint64_t tag);
/* It went back to the queue (basic.nack was sent): nothing more to send. */
void acks_gone(struct acks *a, uint64_t tag);
/* send(arg, tag, multiple) for what is to be acknowledged; it returns false to stop (the connection is lost).
 * True when all was sent. */
bool acks_flush(struct acks *a, bool (*send)(void *arg, uint64_t tag, bool multiple), void *arg);

#endif
