/* arena.c — see arena.h. */
#include "arena.h"

#include <stdlib.h>
#include <string.h>

typedef struct chunk {
    struct chunk *next;
    size_t used, size;
    max_align_t data[];
} chunk;

void *arena_alloc(void **mem, size_t n)
{
    chunk *c = *mem;
    n = (n + 15) & ~(size_t)15;
    if (c == NULL || c->size - c->used < n) {
        size_t size = n > 4000 ? n : 4000;
        c = calloc(1, sizeof(*c) + size);
        if (c == NULL)
            return NULL;
        c->size = size;
        c->next = *mem;
        *mem = c;
    }
    void *p = (char *)c->data + c->used;
    c->used += n;
    return p;
}

odto_slice arena_copy(void **mem, odto_slice v, bool *failed)
{
    char *p = v.n > 0 ? arena_alloc(mem, v.n) : NULL;
    if (v.n == 0)
        return odto_slice_of("", 0);
    if (p == NULL) {
        *failed = true;
        return odto_slice_of("", 0);
    }
    memcpy(p, v.p, v.n);
    return odto_slice_of(p, v.n);
}

void arena_free(void **mem)
{
    chunk *next = NULL;
    for (chunk *c = *mem; c != NULL; c = next) {
        next = c->next;
        free(c);
    }
    *mem = NULL;
}
