/* bin.c — see bin.h. */
#include "bin.h"

#include <string.h>

#define ARRAY_HEAD     20                 /* dimensions, has nulls, element type, elements, lower bound */
#define EPOCH_2000_SEC INT64_C(946684800) /* PostgreSQL counts from there */
#define TIME_MIN_MS    (INT64_C(-62167219200000)) /* year 0 … */
#define TIME_MAX_MS    INT64_C(253402300799999)   /* … to 9999: what RFC 3339 can say */

/* ---- bytes ---- */

static void put32(char *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (char)(v >> (24 - 8 * i));
}

static void add(pg_args *a, int column, const void *p, size_t n)
{
    if (!odto_buf_put(&a->buf[column], p, n))
        a->failed = true;
}

static void add32(pg_args *a, int column, uint32_t v)
{
    char b[4];
    put32(b, v);
    add(a, column, b, sizeof(b));
}

static void add64(pg_args *a, int column, int64_t v)
{
    add32(a, column, (uint32_t)((uint64_t)v >> 32));
    add32(a, column, (uint32_t)v);
}

/* ---- parameters ---- */

void pg_args_begin(pg_args *a)
{
    a->n = 0;
    a->failed = false;
}

void pg_args_free(pg_args *a)
{
    for (int i = 0; i < PG_MAX_ARGS; i++)
        odto_buf_free(&a->buf[i]);
    memset(a, 0, sizeof(*a));
}

static int next(pg_args *a, pg_type type, int32_t elements)
{
    int i = a->n++;
    odto_buf_clear(&a->buf[i]);
    a->buf[i].failed = false;
    a->elements[i] = elements;
    a->null[i] = false;
    a->type[i] = type;
    return i;
}

int pg_column(pg_args *a, pg_type element)
{
    static const char head[ARRAY_HEAD];
    int i = next(a, element, 0);
    add(a, i, head, sizeof(head));
    return i;
}

static Oid array_type(pg_type t)
{
    switch (t) {
    case PG_BOOL:
        return 1000;
    case PG_INT8:
        return 1016;
    case PG_TEXT:
        return 1009;
    case PG_TIMESTAMP:
        return 1115;
    case PG_UUID:
        return 2951;
    case PG_JSONB:
        return 3807;
    }
    return 0;
}

void pg_args_end(pg_args *a, const char **values, int *lengths, int *formats, Oid *types)
{
    for (int i = 0; i < a->n; i++) {
        bool array = a->elements[i] >= 0;
        if (array && a->buf[i].p != NULL) {
            put32(a->buf[i].p, 1);
            put32(a->buf[i].p + 4, a->null[i]);
            put32(a->buf[i].p + 8, (uint32_t)a->type[i]);
            put32(a->buf[i].p + 12, (uint32_t)a->elements[i]);
            put32(a->buf[i].p + 16, 1);
        }
        values[i] = !array && a->null[i] ? NULL : (a->buf[i].p != NULL ? a->buf[i].p : "");
        lengths[i] = (int)a->buf[i].n;
        formats[i] = 1;
        types[i] = array ? array_type(a->type[i]) : (Oid)a->type[i];
    }
}

/* ---- texts ---- */

/* Well-formed UTF-8 at p, at most n bytes: its length, 0 when it is not. */
static size_t utf8_length(const unsigned char *p, size_t n)
{
    if (p[0] < 0x80)
        return 1;
    size_t len = p[0] >= 0xf0 ? 4 : (p[0] >= 0xe0 ? 3 : 2);
    return len <= n && odto_utf8_valid(odto_slice_of((const char *)p, len)) ? len : 0;
}

/* Append v without NUL and without anything that is no UTF-8. */
static void add_clean(pg_args *a, int column, odto_slice v)
{
    if (memchr(v.p, '\0', v.n) == NULL && odto_utf8_valid(v)) {
        add(a, column, v.p, v.n);
        return;
    }
    for (size_t i = 0; i < v.n;) {
        size_t n = v.p[i] != '\0' ? utf8_length((const unsigned char *)v.p + i, v.n - i) : 0;
        add(a, column, n > 0 ? v.p + i : "\xef\xbf\xbd", n > 0 ? n : 3);
        i += n > 0 ? n : 1;
    }
}

static int hex4(const char *p)
{
    int v = 0;
    for (int i = 0; i < 4; i++) {
        int c = p[i], d = c >= '0' && c <= '9'                 ? c - '0'
                          : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                               : -1;
        if (d < 0)
            return -1;
        v = v * 16 + d;
    }
    return v;
}

/* The code of a \uXXXX at p (n bytes are there), -1: none. */
static int escape_at(const char *p, size_t n)
{
    return n >= 6 && p[0] == '\\' && p[1] == 'u' ? hex4(p + 2) : -1;
}

/* JSON as PostgreSQL's jsonb takes it. */
static void add_clean_json(pg_args *a, int column, odto_slice v)
{
    size_t from = 0;
    for (size_t i = 0; i < v.n;) {
        const char *p = memchr(v.p + i, '\\', v.n - i);
        if (p == NULL)
            break;
        i = (size_t)(p - v.p);
        int code = escape_at(p, v.n - i);
        int low = code >= 0xd800 && code < 0xdc00 ? escape_at(p + 6, v.n - i - 6) : -1;
        bool pair = low >= 0xdc00 && low < 0xe000;
        if (code == 0 || (code >= 0xd800 && code < 0xe000 && !pair)) {
            add_clean(a, column, odto_slice_of(v.p + from, i - from));
            add(a, column, "\\ufffd", 6);
            from = i + 6;
        }
        i += code < 0 ? 2 : (pair ? 12 : 6);
    }
    add_clean(a, column, odto_slice_of(v.p + from, v.n - from));
}

/* ---- elements ---- */

void pg_add_int(pg_args *a, int column, int64_t v)
{
    a->elements[column]++;
    add32(a, column, 8);
    add64(a, column, v);
}

void pg_add_bool(pg_args *a, int column, bool v)
{
    a->elements[column]++;
    add32(a, column, 1);
    add(a, column, v ? "\1" : "\0", 1);
}

void pg_add_uuid(pg_args *a, int column, const odto_uuid *v)
{
    a->elements[column]++;
    add32(a, column, 16);
    add(a, column, v->b, 16);
}

/* Set the length that stands before what was added since `at`. */
static void set_length(pg_args *a, int column, size_t at)
{
    if (a->buf[column].p != NULL && !a->failed)
        put32(a->buf[column].p + at, (uint32_t)(a->buf[column].n - at - 4));
}

void pg_add_text(pg_args *a, int column, odto_slice v)
{
    size_t at = a->buf[column].n;
    a->elements[column]++;
    add32(a, column, 0);
    if (v.n > 0)
        add_clean(a, column, v);
    set_length(a, column, at);
}

void pg_add_text_or_null(pg_args *a, int column, odto_slice v)
{
    if (v.n == 0)
        pg_add_null(a, column);
    else
        pg_add_text(a, column, v);
}

void pg_add_json(pg_args *a, int column, odto_slice v)
{
    size_t at = a->buf[column].n;
    a->elements[column]++;
    add32(a, column, 0);
    add(a, column, "\1", 1); /* version of the format */
    if (v.n > 0)
        add_clean_json(a, column, v);
    else
        add(a, column, "{}", 2);
    set_length(a, column, at);
}

void pg_add_time(pg_args *a, int column, int64_t unix_ms)
{
    int64_t ms = unix_ms < TIME_MIN_MS ? TIME_MIN_MS : (unix_ms > TIME_MAX_MS ? TIME_MAX_MS : unix_ms);
    pg_add_int(a, column, (ms - EPOCH_2000_SEC * 1000) * 1000);
}

void pg_add_null(pg_args *a, int column)
{
    a->elements[column]++;
    a->null[column] = true;
    add32(a, column, UINT32_MAX);
}

/* ---- scalars ---- */

void pg_int(pg_args *a, int64_t v)
{
    add64(a, next(a, PG_INT8, -1), v);
}

void pg_text(pg_args *a, odto_slice v)
{
    int i = next(a, PG_TEXT, -1);
    if (v.n > 0)
        add_clean(a, i, v);
}

void pg_text_or_null(pg_args *a, odto_slice v)
{
    pg_text(a, v);
    a->null[a->n - 1] = v.n == 0;
}

void pg_uuid(pg_args *a, const odto_uuid *v)
{
    add(a, next(a, PG_UUID, -1), v->b, 16);
}

void pg_json(pg_args *a, odto_slice v)
{
    int i = next(a, PG_JSONB, -1);
    add(a, i, "\1", 1);
    if (v.n > 0)
        add_clean_json(a, i, v);
}

void pg_time_us(pg_args *a, int64_t unix_us)
{
    int64_t v =
        unix_us == INT64_MAX ? INT64_MAX : unix_us - EPOCH_2000_SEC * 1000000; /* the largest: infinity */
    add64(a, next(a, PG_TIMESTAMP, -1), v);
}

/* ---- results ---- */

int64_t pg_get_int(const PGresult *r, int row, int column)
{
    const unsigned char *p = (const unsigned char *)PQgetvalue(r, row, column);
    int n = PQgetlength(r, row, column);
    if (n == 0 || PQgetisnull(r, row, column))
        return 0;
    uint64_t v = p[0] & 0x80 ? UINT64_MAX : 0;
    for (int i = 0; i < n && i < 8; i++)
        v = v << 8 | p[i];
    return (int64_t)v;
}

bool pg_get_bool(const PGresult *r, int row, int column)
{
    return PQgetlength(r, row, column) == 1 && PQgetvalue(r, row, column)[0] != 0;
}

odto_uuid pg_get_uuid(const PGresult *r, int row, int column)
{
    odto_uuid u = {{0}};
    if (PQgetlength(r, row, column) == 16)
        memcpy(u.b, PQgetvalue(r, row, column), 16);
    return u;
}

odto_slice pg_get_text(const PGresult *r, int row, int column)
{
    return odto_slice_of(PQgetvalue(r, row, column), (size_t)PQgetlength(r, row, column));
}

int64_t pg_get_time_us(const PGresult *r, int row, int column)
{
    if (PQgetisnull(r, row, column))
        return 0;
    int64_t v = pg_get_int(r, row, column);
    if (v == INT64_MAX || v == INT64_MIN) /* infinity */
        return v;
    return v + EPOCH_2000_SEC * 1000000;
}
