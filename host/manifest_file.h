/* manifest_file.h — what stands in a manifest file: entries with line and column, before any meaning.
 * inih splits the lines; a reader function that counts them tells where each key came from. */
#ifndef ODTO_HOST_MANIFEST_FILE_H
#define ODTO_HOST_MANIFEST_FILE_H

#include "arena.h"
#include "manifest.h"

typedef struct manifest_entry {
    struct manifest_entry *next;
    const char *key, *raw; /* as it stands in the file */
    int line, column, value_column;
    bool known; /* someone reads this key */
} manifest_entry;

typedef struct manifest_block { /* one [section] as written */
    struct manifest_block *next;
    const char *title; /* "plugin gateway", blanks made single */
    int line, column;
    manifest_entry *entries, **tail;
} manifest_block;

/* Splits text; everything is allocated in a. Errors go to errs with `path`. 0 or -ENOMEM. */
int manifest_file_read(odto_slice text, const char *path, arena *a, manifest_block **out,
                       manifest_errors *errs);

#endif
