/* arena.h — memory that is freed all at once: the strings and tables of one manifest snapshot.
 * One owner at a time; no locks. Zero-initialised is empty. */
#ifndef ODTO_HOST_ARENA_H
#define ODTO_HOST_ARENA_H

#include <stddef.h>

typedef struct arena {
    struct arena_chunk *chunks;
    size_t used, size; /* of the newest chunk */
} arena;

/* Zeroed memory for any object, or NULL. */
void *arena_alloc(arena *a, size_t n);
/* A NUL-terminated copy of n bytes, or NULL. */
char *arena_strndup(arena *a, const char *p, size_t n);
char *arena_strdup(arena *a, const char *s);
void arena_free(arena *a);

#endif
