/* deque.c — see deque.h. */
#include "deque.h"
#include <stdlib.h>
#include <string.h>

void deque_init(struct deque *d, size_t elem)
{
    *d = (struct deque){.elem = elem, .per = (DEQUE_CHUNK - sizeof(struct deque_chunk)) / elem};
}

void deque_free(struct deque *d)
{
    for (struct deque_chunk *c = d->head, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    for (struct deque_chunk *c = d->spare, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    deque_init(d, d->elem);
}

bool deque_reserve(struct deque *d, size_t n)
{
    size_t room = (d->tail ? d->per - d->last : 0) + d->n_spare * d->per;
    while (room < n) {
        struct deque_chunk *c = malloc(DEQUE_CHUNK);
        if (!c)
            return false;
        c->next = d->spare;
        d->spare = c;
        d->n_spare++;
        room += d->per;
    }
    return true;
}

void deque_trim(struct deque *d)
{
    while (d->n_spare > DEQUE_SPARE) {
        struct deque_chunk *c = d->spare;
        d->spare = c->next;
        d->n_spare--;
        free(c);
    }
}

void deque_grow_(struct deque *d)
{
    struct deque_chunk *c = d->spare;
    d->spare = c->next;
    d->n_spare--;
    c->next = NULL;
    if (d->tail)
        d->tail->next = c;
    else
        d->head = c;
    d->tail = c;
    d->last = 0;
    if (d->head == c)
        d->first = 0;
}

void deque_shrink_(struct deque *d)
{
    if (!d->n && d->head == d->tail) { /* empty: start over in the same chunk */
        d->first = d->last = 0;
        return;
    }
    if (d->first < d->per)
        return;
    struct deque_chunk *c = d->head;
    d->head = c->next;
    d->first = 0;
    c->next = d->spare;
    d->spare = c;
    d->n_spare++;
    deque_trim(d);
}

void *deque_next(const struct deque *d, struct deque_iter *it)
{
    if (it->seen == d->n)
        return NULL;
    if (!it->seen) {
        it->chunk = d->head;
        it->i = d->first;
    } else if (it->i == d->per) {
        it->chunk = it->chunk->next;
        it->i = 0;
    }
    it->seen++;
    return it->chunk->data + it->i++ * d->elem;
}

void deque_filter(struct deque *d, bool (*keep)(void *arg, void *elem), void *arg)
{
    struct deque_iter from = {0}, to = {0};
    size_t kept = 0;
    for (void *e; (e = deque_next(d, &from));) {
        if (!keep(arg, e))
            continue;
        void *at = deque_next(d, &to);
        if (at != e)
            memcpy(at, e, d->elem);
        kept++;
    }
    d->n = kept;
    if (!kept) {
        to.chunk = d->head;
        to.i = d->first = 0;
    }
    if (!d->head)
        return;
    while (to.chunk->next) { /* chunks behind the last one kept */
        struct deque_chunk *c = to.chunk->next;
        to.chunk->next = c->next;
        c->next = d->spare;
        d->spare = c;
        d->n_spare++;
    }
    d->tail = to.chunk;
    d->last = to.i;
    deque_trim(d);
}
