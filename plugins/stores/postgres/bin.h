/* bin.h — parameters and results in PostgreSQL's binary formats (documentation, "Binary send/recv functions"
 * of each type; arrays: dimensions, element type, then each element with its length).
 *
 * A pg_args is one statement's parameters: scalars, and columns that are sent as arrays, one element an
 * operation. It is reused from statement to statement and keeps its memory. One thread at a time. */
#ifndef STORE_POSTGRES_BIN_H
#define STORE_POSTGRES_BIN_H

#include <libpq-fe.h>
#include <odto/base.h>

#define PG_MAX_ARGS 28

typedef enum pg_type { /* element types, by their fixed object ids */
                       PG_BOOL = 16,
                       PG_INT8 = 20,
                       PG_TEXT = 25,
                       PG_TIMESTAMP = 1114,
                       PG_UUID = 2950,
                       PG_JSONB = 3802,
} pg_type;

typedef struct pg_args {
    int n;
    bool failed; /* no memory for one of them */
    odto_buf buf[PG_MAX_ARGS];
    int32_t elements[PG_MAX_ARGS]; /* of an array, -1: a scalar */
    bool null[PG_MAX_ARGS];
    pg_type type[PG_MAX_ARGS];
} pg_args;

void pg_args_begin(pg_args *a);
void pg_args_free(pg_args *a);
/* One more parameter that is an array; its number, for pg_add_*. */
int pg_column(pg_args *a, pg_type element);
/* Append to the array. Text is made acceptable to PostgreSQL: bytes that are no UTF-8 and NUL become U+FFFD;
 * in JSON also the escapes that stand for what its text type can't hold (\u0000, half a surrogate pair). */
void pg_add_int(pg_args *a, int column, int64_t v);
void pg_add_bool(pg_args *a, int column, bool v);
void pg_add_uuid(pg_args *a, int column, const odto_uuid *v);
void pg_add_text(pg_args *a, int column, odto_slice v);
void pg_add_text_or_null(pg_args *a, int column, odto_slice v); /* NULL when empty */
void pg_add_json(pg_args *a, int column, odto_slice v);
void pg_add_time(pg_args *a, int column, int64_t unix_ms); /* timestamp, UTC */
void pg_add_null(pg_args *a, int column);
/* Scalar parameters. */
void pg_int(pg_args *a, int64_t v);
void pg_text(pg_args *a, odto_slice v);
void pg_text_or_null(pg_args *a, odto_slice v);
void pg_uuid(pg_args *a, const odto_uuid *v);
void pg_json(pg_args *a, odto_slice v);
void pg_time_us(pg_args *a, int64_t unix_us);
/* Fill the head of each array; then values, lengths and formats as libpq wants them. */
void pg_args_end(pg_args *a, const char **values, int *lengths, int *formats, Oid *types);

/* A field of a binary result: integers of 2, 4 or 8 bytes; NULL gives 0 or the empty slice. */
int64_t pg_get_int(const PGresult *r, int row, int column);
bool pg_get_bool(const PGresult *r, int row, int column);
odto_uuid pg_get_uuid(const PGresult *r, int row, int column);
odto_slice pg_get_text(const PGresult *r, int row, int column);
int64_t pg_get_time_us(const PGresult *r, int row, int column); /* Unix microseconds */

#endif
