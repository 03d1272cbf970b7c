/* http_route.c — patterns of routes: check, match, order. Pure functions, any thread.
 *
 * A pattern is a path whose segments are literal or "{name}". Paths are matched after RFC 3986 normalisation
 * (request_target), so literals compare byte by byte. */
#include "http_priv.h"

#include <string.h>

static const char *const method_names[M_COUNT] = {"GET",   "HEAD",   "POST",    "PUT",
                                                  "PATCH", "DELETE", "OPTIONS", "OTHER"};

enum method method_of(odto_slice name)
{
    for (int m = 0; m < M_OTHER; m++) {
        if (odto_slice_eq(name, method_names[m]))
            return (enum method)m;
    }
    return M_OTHER;
}

const char *method_name(enum method m)
{
    return method_names[m];
}

int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 32);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool list_has(odto_slice list, const char *word, size_t n)
{
    for (size_t i = 0; i + n <= list.n; i++) {
        bool starts = !i || strchr(", \t", list.p[i - 1]);
        bool ends = i + n == list.n || strchr(", \t", list.p[i + n]);
        if (starts && ends && !strncasecmp(list.p + i, word, n))
            return true;
    }
    return false;
}

const char *pattern_check(const char *pattern, unsigned *params)
{
    *params = 0;
    if (pattern[0] != '/')
        return "a path begins with /";
    for (const char *p = pattern; *p; p++) {
        if (*p == '?' || *p == '#' || *p == '%' || (unsigned char)*p <= ' ')
            return "a path has no blank, %, ? or #";
        if (*p == '}')
            return "} without {";
        if (*p != '{')
            continue;
        const char *end = strchr(p, '}');
        if (p[-1] != '/' || !end || end == p + 1 || memchr(p, '/', (size_t)(end - p)) ||
            (end[1] && end[1] != '/'))
            return "a parameter is a whole segment: /{name}";
        if (++*params > MAX_PARAMS)
            return "too many parameters";
        p = end;
    }
    return "";
}

bool pattern_match(const char *pattern, bool prefix, odto_slice path, odto_slice *params, unsigned *n)
{
    size_t i = 0;
    *n = 0;
    for (const char *p = pattern; *p;) {
        if (*p == '{') {
            size_t start = i;
            while (i < path.n && path.p[i] != '/')
                i++;
            if (i == start)
                return false;
            params[(*n)++] = odto_slice_of(path.p + start, i - start);
            p = strchr(p, '}') + 1;
            continue;
        }
        if (i >= path.n || path.p[i] != *p)
            return false;
        i++, p++;
    }
    return i == path.n || (prefix && (path.p[i] == '/' || path.p[i - 1] == '/'));
}

bool pattern_same(const char *a, const char *b)
{
    while (*a && *b) {
        if (*a == '{' && *b == '{') {
            a = strchr(a, '}') + 1;
            b = strchr(b, '}') + 1;
        } else if (*a++ != *b++) {
            return false;
        }
    }
    return *a == *b;
}

odto_slice pattern_param(const char *pattern, unsigned k)
{
    const char *p = strchr(pattern, '{');
    while (p && k--)
        p = strchr(p + 1, '{');
    return p ? odto_slice_of(p + 1, (size_t)(strchr(p, '}') - p - 1)) : odto_slice_of(NULL, 0);
}

/* Segment by segment a literal comes before a parameter, then the longer pattern before the shorter. */
static int specificity(const char *a, const char *b)
{
    while (a && b) {
        bool pa = a[1] == '{', pb = b[1] == '{';
        if (pa != pb)
            return pa ? 1 : -1;
        a = strchr(a + 1, '/');
        b = strchr(b + 1, '/');
    }
    return a ? -1 : b ? 1 : 0;
}

int route_compare(const http_route *a, const http_route *b)
{
    bool pa = a->flags & ODTO_HTTP_PREFIX, pb = b->flags & ODTO_HTTP_PREFIX;
    if (pa != pb)
        return pa ? 1 : -1;
    int d = specificity(a->pattern, b->pattern);
    if (d)
        return d;
    size_t na = strlen(a->pattern), nb = strlen(b->pattern);
    if (na != nb && pa)
        return na > nb ? -1 : 1;
    d = strcmp(a->pattern, b->pattern);
    if (d)
        return d;
    return a->builtin != b->builtin ? (a->builtin ? 1 : -1) : (int)a->method - (int)b->method;
}
