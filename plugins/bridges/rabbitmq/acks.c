/* acks.c — see acks.h. */
#include "acks.h"

#include <errno.h>
#include <stdlib.h>

#define FIRST_SIZE 1024u
#define MOST       (1u << 20)

enum { NONE, HELD, SETTLED, SENT };

int acks_init(struct acks *a)
{
    *a = (struct acks){.size = FIRST_SIZE, .base = 1, .next = 1};
    a->state = calloc(a->size, 1);
    return a->state ? 0 : -ENOMEM;
}

void acks_free(struct acks *a)
{
    free(a->state);
    a->state = NULL;
}

void acks_reset(struct acks *a)
{
    a->base = a->next = 1;
    a->unsent = a->held = 0;
}

static uint8_t *state(const struct acks *a, uint64_t tag)
{
    return &a->state[tag & (a->size - 1)];
}

static bool grow(struct acks *a)
{
    uint8_t *more = a->size < MOST ? calloc(a->size * 2, 1) : NULL;
    if (!more)
        return false;
    for (uint64_t t = a->base; t < a->next; t++)
        more[t & (a->size * 2 - 1)] = *state(a, t);
    free(a->state);
    a->state = more;
    a->size *= 2;
    return true;
}

bool acks_delivered(struct acks *a, uint64_t tag)
{
    if (tag != a->next || (a->next - a->base == a->size && !grow(a)))
        return false;
    *state(a, tag) = HELD;
    a->next++;
    a->held++;
    return true;
}

void acks_settled(struct acks *a, uint64_t tag)
{
    if (tag < a->base || tag >= a->next || *state(a, tag) != HELD)
        return;
    *state(a, tag) = SETTLED;
    a->held--;
    a->unsent++;
}

void acks_gone(struct acks *a, uint64_t tag)
{
    if (tag < a->base || tag >= a->next || *state(a, tag) != HELD)
        return;
    *state(a, tag) = SENT;
    a->held--;
}

bool acks_flush(struct acks *a, bool (*send)(void *arg, uint64_t tag, bool multiple), void *arg)
{
    uint64_t to = a->base, last = 0;
    uint32_t n = 0;
    for (; to < a->next && *state(a, to) != HELD; to++)
        if (*state(a, to) == SETTLED) {
            last = to;
            n++;
        }
    /* not one that is acknowledged already: a broker that does not find the tag takes all it has */
    if (n && !send(arg, last, true))
        return false;
    a->base = to;
    a->unsent -= n;
    for (uint64_t t = to; a->unsent && t < a->next; t++) {
        if (*state(a, t) != SETTLED)
            continue;
        if (!send(arg, t, false))
            return false;
        *state(a, t) = SENT;
        a->unsent--;
    }
    return true;
}
