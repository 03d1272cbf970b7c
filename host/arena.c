/* arena.c — see arena.h. */
#include "arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_CHUNK 16384

struct arena_chunk {
    struct arena_chunk *next;
    alignas(max_align_t) unsigned char bytes[];
};

void *arena_alloc(arena *a, size_t n)
{
    const size_t step = alignof(max_align_t);
    if (n > SIZE_MAX / 2)
        return NULL;
    n = (n + step - 1) / step * step;
    if (!a->chunks || n > a->size - a->used) {
        size_t size = n > ARENA_CHUNK ? n : ARENA_CHUNK;
        struct arena_chunk *c = calloc(1, sizeof(*c) + size);
        if (!c)
            return NULL;
        c->next = a->chunks;
        a->chunks = c;
        a->size = size;
        a->used = 0;
    }
    void *p = a->chunks->bytes + a->used;
    a->used += n;
    return p;
}

char *arena_strndup(arena *a, const char *p, size_t n)
{
    char *copy = arena_alloc(a, n + 1);
    if (copy && n)
        memcpy(copy, p, n);
    return copy;
}

char *arena_strdup(arena *a, const char *s)
{
    return arena_strndup(a, s, strlen(s));
}

void arena_free(arena *a)
{
    while (a->chunks) {
        struct arena_chunk *c = a->chunks;
        a->chunks = c->next;
        free(c);
    }
    a->used = a->size = 0;
}
