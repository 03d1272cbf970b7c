/* deque.h — a FIFO of fixed-size elements in chunks: no element moves, memory is given back as it empties.
 *
 * Not thread-safe: the owner's lock protects it. deque_reserve makes the next pushes unable to fail, so that
 * a batch goes in whole or not at all. */
#ifndef ODTO_HOST_DEQUE_H
#define ODTO_HOST_DEQUE_H

#include <stdbool.h>
#include <stddef.h>

#define DEQUE_CHUNK ((size_t)16 << 10)
#define DEQUE_SPARE 2u /* chunks kept when empty */

struct deque_chunk {
    struct deque_chunk *next;
    _Alignas(16) char data[];
};

struct deque {
    struct deque_chunk *head, *tail, *spare;
    size_t elem, per;   /* bytes of an element, elements of a chunk */
    size_t first, last; /* index of the first element in head, one after the last in tail */
    size_t n, n_spare;
};

void deque_init(struct deque *d, size_t elem);
void deque_free(struct deque *d); /* elements are not looked at */
bool deque_reserve(struct deque *d, size_t n);
void deque_trim(struct deque *d); /* give back spare chunks beyond DEQUE_SPARE */

/* Slow paths of the inline functions below. */
void deque_grow_(struct deque *d);
void deque_shrink_(struct deque *d);

/* Room for one more at the end; only after deque_reserve. */
static inline void *deque_push(struct deque *d)
{
    if (!d->tail || d->last == d->per)
        deque_grow_(d);
    d->n++;
    return d->tail->data + d->last++ * d->elem;
}

static inline void *deque_front(const struct deque *d)
{
    return d->n ? d->head->data + d->first * d->elem : NULL;
}

/* Forget the first element; there must be one. */
static inline void deque_pop(struct deque *d)
{
    d->n--;
    if (++d->first == d->per || !d->n)
        deque_shrink_(d);
}

/* Keep the elements for which keep returns true, in order. */
void deque_filter(struct deque *d, bool (*keep)(void *arg, void *elem), void *arg);

/* Iterate: start with {0}; NULL at the end. Elements may be changed, not removed. */
struct deque_iter {
    struct deque_chunk *chunk;
    size_t i, seen;
};
void *deque_next(const struct deque *d, struct deque_iter *it);

#endif
