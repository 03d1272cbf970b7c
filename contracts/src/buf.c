/* buf.c — odto_buf: a growing byte buffer with a sticky failure mark.
 *
 * Owned by one thread at a time. Growth doubles, so n appends cost O(n) copies; a NUL always follows the
 * last byte so that p can be handed to C functions. */
#include "scan.h"
#include <stdio.h>
#include <stdlib.h>

bool odto_buf_reserve(odto_buf *b, size_t more)
{
    if (b->failed)
        return false;
    size_t limit = b->max ? b->max : SIZE_MAX / 2;
    if (b->n > limit || more > limit - b->n) {
        b->failed = true;
        return false;
    }
    size_t need = b->n + more + 1;
    if (need <= b->cap)
        return true;
    size_t cap = b->cap ? b->cap : 64;
    while (cap < need)
        cap *= 2;
    char *p = realloc(b->p, cap);
    if (!p) {
        b->failed = true;
        return false;
    }
    b->p = p;
    b->cap = cap;
    b->p[b->n] = '\0';
    return true;
}

bool odto_buf_put(odto_buf *b, const void *p, size_t n)
{
    if (!odto_buf_reserve(b, n))
        return false;
    if (n)
        memcpy(b->p + b->n, p, n);
    b->n += n;
    b->p[b->n] = '\0';
    return true;
}

bool odto_buf_str(odto_buf *b, const char *s)
{
    return odto_buf_put(b, s, strlen(s));
}

bool odto_buf_printf(odto_buf *b, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    size_t room = b->failed || !b->p ? 0 : b->cap - b->n;
    int len = vsnprintf(room ? b->p + b->n : NULL, room, fmt, ap);
    va_end(ap);
    bool ok = len >= 0 && odto_buf_reserve(b, (size_t)len);
    if (ok && (size_t)len >= room)
        vsnprintf(b->p + b->n, (size_t)len + 1, fmt, again);
    va_end(again);
    if (ok)
        b->n += (size_t)len;
    else {
        b->failed = true;
        if (b->p)
            b->p[b->n] = '\0';
    }
    return ok;
}

/* One byte that may not stand in a string literal as it is. */
static bool put_escaped(odto_buf *b, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    static const char letters[32] = {['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
    char e[6] = {'\\', (char)c};
    size_t n = 2;
    if (c < 0x20) {
        e[1] = letters[c];
        if (!e[1]) {
            memcpy(e, "\\u00", 4);
            e[4] = hex[c >> 4];
            e[5] = hex[c & 15];
            n = 6;
        }
    }
    return odto_buf_put(b, e, n);
}

bool odto_buf_json(odto_buf *b, odto_slice s)
{
    size_t before = b->n;
    const char *p = s.p, *end = s.n ? s.p + s.n : s.p;
    odto_buf_reserve(b, s.n + 2);
    odto_buf_put(b, "\"", 1);
    while (p < end && !b->failed) {
        const char *stop = scan_plain(p, end);
        odto_buf_put(b, p, (size_t)(stop - p));
        p = stop;
        if (p >= end)
            break;
        size_t n = 1;
        if ((unsigned char)*p < 0x80)
            put_escaped(b, (unsigned char)*p);
        else if ((n = utf8_step(p, end)) != 0)
            odto_buf_put(b, p, n);
        else {
            odto_buf_put(b, "\xEF\xBF\xBD", 3);
            n = 1;
        }
        p += n;
    }
    if (odto_buf_put(b, "\"", 1))
        return true;
    b->n = before;
    if (b->p)
        b->p[before] = '\0';
    return false;
}

bool odto_buf_jsonz(odto_buf *b, const char *s)
{
    return odto_buf_json(b, odto_slice_str(s));
}

bool odto_buf_int(odto_buf *b, int64_t v)
{
    char digits[20];
    size_t i = sizeof digits;
    uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    do {
        digits[--i] = (char)('0' + u % 10);
        u /= 10;
    } while (u);
    if (v < 0)
        digits[--i] = '-';
    return odto_buf_put(b, digits + i, sizeof digits - i);
}

void odto_buf_clear(odto_buf *b)
{
    b->n = 0;
    b->failed = false;
    if (b->p)
        b->p[0] = '\0';
}

void odto_buf_free(odto_buf *b)
{
    free(b->p);
    b->p = NULL;
    b->n = b->cap = 0;
    b->failed = false;
}
