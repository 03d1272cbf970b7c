/* edit — a one-line text field: UTF-8 bytes and a cursor. Pure, one owner. */
#ifndef DASH_EDIT_H
#define DASH_EDIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EDIT_MAX 8192

typedef struct edit {
    char text[EDIT_MAX];
    size_t len, pos; /* bytes */
    size_t max;      /* most bytes accepted, below EDIT_MAX; 0: EDIT_MAX - 1 */
} edit;

void edit_set(edit *e, const char *text);
/* Applies a key of keys.h; true when it was one that a text field takes. */
bool edit_key(edit *e, uint32_t key);

#endif
