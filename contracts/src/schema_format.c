/* schema_format.c — the formats that are asserted. uuid and date-time are exactly those of base.h, so that
 * every service gives the same verdict; the others follow the RFC named at each. Pure functions, any thread.
 */
#include "schema_node.h"
#include <string.h>

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_hex(char c)
{
    return is_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}

static bool is_letter(char c)
{
    return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
}

static bool one_of(char c, const char *set)
{
    return c != '\0' && strchr(set, c) != NULL;
}

static odto_slice part(const char *from, const char *to)
{
    return odto_slice_of(from, (size_t)(to - from));
}

/* ---- times --------------------------------------------------------------------------------- */

static bool is_uuid(odto_slice s)
{
    odto_uuid u;
    return odto_uuid_parse(s, &u) == 0;
}

static bool is_date_time(odto_slice s)
{
    int64_t ms;
    return odto_time_parse(s, &ms) == 0;
}

/* RFC 3339 full-date: a date-time with a fixed time behind it. */
static bool is_date(odto_slice s)
{
    char text[] = "YYYY-MM-DDT00:00:00Z";
    if (s.n != 10)
        return false;
    memcpy(text, s.p, 10);
    return is_date_time(odto_slice_str(text));
}

/* RFC 3339 full-time: the same with a fixed date. */
static bool is_time(odto_slice s)
{
    char text[64] = "2016-12-31T";
    if (s.n > sizeof text - 12)
        return false;
    memcpy(text + 11, s.p, s.n);
    return is_date_time(odto_slice_of(text, 11 + s.n));
}

/* ---- addresses ----------------------------------------------------------------------------- */

/* RFC 2673, 3.2 dotted-quad; no leading zeros, which some would read as octal. */
static bool is_ipv4(odto_slice s)
{
    const char *p = s.p, *end = p + s.n;
    for (int i = 0; i < 4; i++) {
        const char *from = p;
        int v = 0;
        while (p < end && is_digit(*p) && p - from < 3)
            v = v * 10 + (*p++ - '0');
        if (p == from || v > 255 || (p - from > 1 && *from == '0'))
            return false;
        if (i < 3 && (p >= end || *p++ != '.'))
            return false;
    }
    return p == end;
}

/* RFC 4291, 2.2; no zone. */
static bool is_ipv6(odto_slice s)
{
    const char *p = s.p, *end = p + s.n;
    int groups = 0;
    bool gap = false;
    if (s.n >= 2 && p[0] == ':' && p[1] == ':') {
        gap = true;
        p += 2;
    }
    while (p < end) {
        const char *from = p;
        while (p < end && is_hex(*p) && p - from < 4)
            p++;
        if (p < end && *p == '.') {
            groups += 2;
            if (!is_ipv4(part(from, end)))
                return false;
            p = end;
            break;
        }
        if (p == from)
            return false;
        groups++;
        if (p == end)
            break;
        if (*p++ != ':' || p == end)
            return false;
        if (*p == ':') {
            if (gap)
                return false;
            gap = true;
            p++;
        }
    }
    return gap ? groups < 8 : groups == 8;
}

/* RFC 1123, 2.1: labels of 1..63 letters, digits and inner hyphens; at most 253 characters in all. */
static bool is_hostname(odto_slice s)
{
    const char *p = s.p, *end = p + s.n;
    if (s.n == 0 || s.n > 253)
        return false;
    for (;;) {
        const char *from = p;
        while (p < end && (is_letter(*p) || is_digit(*p) || *p == '-'))
            p++;
        if (p == from || p - from > 63 || *from == '-' || p[-1] == '-')
            return false;
        if (p == end)
            return true;
        if (*p++ != '.')
            return false;
    }
}

#define ATEXT "!#$%&'*+-/=?^_`{|}~"

static bool is_dot_atom(odto_slice s)
{
    bool dot = true; /* none at the start, none doubled */
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '.') {
            if (dot)
                return false;
            dot = true;
        } else if (is_letter(s.p[i]) || is_digit(s.p[i]) || one_of(s.p[i], ATEXT)) {
            dot = false;
        } else {
            return false;
        }
    }
    return !dot;
}

/* RFC 5321, 4.1.2 Quoted-string */
static bool is_quoted(odto_slice s)
{
    if (s.n < 2 || s.p[0] != '"' || s.p[s.n - 1] != '"')
        return false;
    for (size_t i = 1; i + 1 < s.n; i++) {
        if (s.p[i] == '\\' && ++i + 1 >= s.n)
            return false;
        if (s.p[i] < 0x20 || s.p[i] > 0x7E || (s.p[i] == '"' && s.p[i - 1] != '\\'))
            return false;
    }
    return true;
}

/* RFC 5321, 4.1.2 Mailbox */
static bool is_email(odto_slice s)
{
    const char *at = s.n ? memrchr(s.p, '@', s.n) : NULL;
    if (!at || at == s.p || at - s.p > 64)
        return false;
    odto_slice local = part(s.p, at), domain = part(at + 1, s.p + s.n);
    if (!is_dot_atom(local) && !is_quoted(local))
        return false;
    if (domain.n < 3 || domain.p[0] != '[' || domain.p[domain.n - 1] != ']')
        return is_hostname(domain);
    odto_slice literal = part(domain.p + 1, domain.p + domain.n - 1);
    if (literal.n > 5 && strncasecmp(literal.p, "IPv6:", 5) == 0)
        return is_ipv6(part(literal.p + 5, literal.p + literal.n));
    return is_ipv4(literal);
}

/* ---- URI (RFC 3986, appendix A) ------------------------------------------------------------ */

#define SUB_DELIMS "!$&'()*+,;="

/* Only unreserved, percent-encoded, sub-delims and `more`. */
static bool is_encoded(odto_slice s, const char *more)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '%') {
            if (s.n - i < 3 || !is_hex(s.p[i + 1]) || !is_hex(s.p[i + 2]))
                return false;
            i += 2;
        } else if (!is_letter(c) && !is_digit(c) && !one_of(c, "-._~" SUB_DELIMS) && !one_of(c, more)) {
            return false;
        }
    }
    return true;
}

/* The inside of "[...]": IPv6address or IPvFuture. */
static bool is_ip_literal(odto_slice s)
{
    if (is_ipv6(s))
        return true;
    if (s.n < 4 || (s.p[0] | 0x20) != 'v')
        return false;
    const char *dot = memchr(s.p, '.', s.n), *end = s.p + s.n;
    if (!dot || dot == s.p + 1 || dot + 1 == end)
        return false;
    for (const char *p = s.p + 1; p < dot; p++)
        if (!is_hex(*p))
            return false;
    return !memchr(dot, '%', (size_t)(end - dot)) && is_encoded(part(dot + 1, end), ":");
}

static bool is_authority(odto_slice s)
{
    const char *p = s.p, *end = p + s.n;
    const char *at = memchr(p, '@', s.n);
    if (at) {
        if (!is_encoded(part(p, at), ":"))
            return false;
        p = at + 1;
    }
    const char *port = end;
    if (p < end && *p == '[') {
        const char *close = memchr(p, ']', (size_t)(end - p));
        if (!close || !is_ip_literal(part(p + 1, close)))
            return false;
        port = close + 1;
        if (port < end && *port != ':')
            return false;
    } else {
        const char *colon = memchr(p, ':', (size_t)(end - p));
        port = colon ? colon : end;
        if (!is_encoded(part(p, port), ""))
            return false;
    }
    for (p = port + 1; p < end; p++)
        if (!is_digit(*p))
            return false;
    return true;
}

/* The end of "scheme" when s starts with "scheme:", else NULL. */
static const char *scheme_end(odto_slice s)
{
    const char *p = s.p, *end = p + s.n;
    if (s.n == 0 || !is_letter(*p))
        return NULL;
    while (p < end && (is_letter(*p) || is_digit(*p) || one_of(*p, "+-.")))
        p++;
    return p < end && *p == ':' ? p : NULL;
}

/* What follows the scheme: [//authority] path [?query] [#fragment]. */
static bool is_hier_part(const char *p, const char *end)
{
    const char *hash = memchr(p, '#', (size_t)(end - p));
    if (hash) {
        if (!is_encoded(part(hash + 1, end), ":@/?"))
            return false;
        end = hash;
    }
    const char *mark = memchr(p, '?', (size_t)(end - p));
    if (mark) {
        if (!is_encoded(part(mark + 1, end), ":@/?"))
            return false;
        end = mark;
    }
    if (end - p >= 2 && p[0] == '/' && p[1] == '/') {
        const char *path = memchr(p + 2, '/', (size_t)(end - p - 2));
        path = path ? path : end;
        return is_authority(part(p + 2, path)) && is_encoded(part(path, end), ":@/");
    }
    return is_encoded(part(p, end), ":@/");
}

static bool is_uri(odto_slice s)
{
    const char *colon = scheme_end(s);
    return colon && is_hier_part(colon + 1, s.p + s.n);
}

static bool is_uri_reference(odto_slice s)
{
    if (s.n == 0 || is_uri(s))
        return true;
    /* a relative path's first segment may hold no colon, or it would be a scheme */
    const char *stop = s.p, *end = s.p + s.n;
    while (stop < end && !one_of(*stop, "/?#"))
        stop++;
    return !memchr(s.p, ':', (size_t)(stop - s.p)) && is_hier_part(s.p, end);
}

/* ---- others -------------------------------------------------------------------------------- */

/* RFC 6901 */
static bool is_json_pointer(odto_slice s)
{
    if (s.n == 0)
        return true;
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] == '~' && (i + 1 == s.n || (s.p[i + 1] != '0' && s.p[i + 1] != '1')))
            return false;
    return s.p[0] == '/';
}

static bool is_regex(odto_slice s)
{
    regex *r;
    char why[8];
    if (regex_compile(s, &r, why, sizeof why) != 0)
        return false;
    regex_free(r);
    return true;
}

format_fn *format_find(const char *name)
{
    static const struct {
        const char *name;
        format_fn *fn;
    } formats[] = {
        {"uuid", is_uuid},
        {"date-time", is_date_time},
        {"date", is_date},
        {"time", is_time},
        {"email", is_email},
        {"hostname", is_hostname},
        {"ipv4", is_ipv4},
        {"ipv6", is_ipv6},
        {"uri", is_uri},
        {"uri-reference", is_uri_reference},
        {"json-pointer", is_json_pointer},
        {"regex", is_regex},
    };
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++)
        if (strcmp(name, formats[i].name) == 0)
            return formats[i].fn;
    return NULL;
}
