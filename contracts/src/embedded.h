/* embedded.h — documents of contracts/ inside the library; the tables are made by embed.awk at build time. */
#ifndef ODTO_SRC_EMBEDDED_H
#define ODTO_SRC_EMBEDDED_H

#include <odto/base.h>

typedef struct embedded_file {
    const char *name; /* without folder and suffix; NULL ends the table */
    const char *text;
    size_t n;
} embedded_file;

extern const embedded_file embedded_schemas[];
extern const embedded_file embedded_openapi[];
extern const embedded_file embedded_registry[];

/* The named document of a table, p == NULL if there is none. */
odto_slice embedded_find(const embedded_file *table, const char *name);

#endif
