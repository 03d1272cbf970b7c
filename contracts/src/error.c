/* error.c — odto_error and odto_slice: plain data, pure functions, any thread. */
#include <odto/base.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int odto_fail(odto_error *err, int code, const char *fmt, ...)
{
    if (!err)
        return code;
    err->code = code;
    err->detail[0] = err->hint[0] = err->where[0] = '\0';
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err->message, sizeof err->message, fmt, ap);
    va_end(ap);
    return code;
}

void odto_error_detail(odto_error *err, const char *fmt, ...)
{
    if (!err)
        return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err->detail, sizeof err->detail, fmt, ap);
    va_end(ap);
}

void odto_error_hint(odto_error *err, const char *fmt, ...)
{
    if (!err)
        return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err->hint, sizeof err->hint, fmt, ap);
    va_end(ap);
}

void odto_error_where(odto_error *err, const char *file, int line, int column)
{
    if (!err)
        return;
    if (line <= 0)
        snprintf(err->where, sizeof err->where, "%s", file);
    else if (column <= 0)
        snprintf(err->where, sizeof err->where, "%s:%d", file, line);
    else
        snprintf(err->where, sizeof err->where, "%s:%d:%d", file, line, column);
}

const char *odto_error_text(const odto_error *err, char *buf, size_t size)
{
    const char *where = err->where, *detail = err->detail, *hint = err->hint;
    snprintf(buf, size, "%s%s%s%s%s%s%s", where, *where ? ": " : "", err->message, *detail ? ": " : "",
             detail, *hint ? ". " : "", hint);
    return buf;
}

odto_slice odto_slice_str(const char *s)
{
    return odto_slice_of(s, s ? strlen(s) : 0);
}

bool odto_slice_eq(odto_slice a, const char *s)
{
    size_t n = strlen(s);
    return a.n == n && (n == 0 || memcmp(a.p, s, n) == 0);
}

char *odto_slice_dup(odto_slice s)
{
    char *copy = malloc(s.n + 1);
    if (!copy)
        return NULL;
    if (s.n)
        memcpy(copy, s.p, s.n);
    copy[s.n] = '\0';
    return copy;
}
