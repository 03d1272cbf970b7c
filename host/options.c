/* options.c — see options.h. */
#include "options.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- numbers as text ---- */

typedef struct unit {
    const char *name;
    int64_t factor;
} unit;

static const char *in_units(int64_t v, const unit *units, size_t n, char *buf, size_t size)
{
    for (size_t i = 0; i < n; i++) {
        if (v != 0 && v % units[i].factor == 0) {
            snprintf(buf, size, "%lld%s", (long long)(v / units[i].factor), units[i].name);
            return buf;
        }
    }
    snprintf(buf, size, "%lld", (long long)v);
    return buf;
}

const char *option_duration_text(int64_t ns, char *buf, size_t size)
{
    static const unit units[] = {{"d", 86400 * ODTO_SEC},
                                 {"h", 3600 * ODTO_SEC},
                                 {"m", 60 * ODTO_SEC},
                                 {"s", ODTO_SEC},
                                 {"ms", ODTO_MS},
                                 {"us", 1000},
                                 {"ns", 1}};
    return in_units(ns, units, sizeof(units) / sizeof(units[0]), buf, size);
}

const char *option_size_text(int64_t bytes, char *buf, size_t size)
{
    static const unit units[] = {{"g", INT64_C(1) << 30}, {"m", INT64_C(1) << 20}, {"k", INT64_C(1) << 10}};
    return in_units(bytes, units, sizeof(units) / sizeof(units[0]), buf, size);
}

static const char *number_text(const odto_option *o, int64_t v, char *buf, size_t size)
{
    if (o->type == ODTO_OPT_DURATION)
        return option_duration_text(v, buf, size);
    if (o->type == ODTO_OPT_SIZE)
        return option_size_text(v, buf, size);
    snprintf(buf, size, "%lld", (long long)v);
    return buf;
}

static const char *type_word(const odto_option *o)
{
    static const char *const words[] = {
        [ODTO_OPT_STRING] = "text",       [ODTO_OPT_INT] = "integer",
        [ODTO_OPT_BOOL] = "yes or no",    [ODTO_OPT_DURATION] = "duration",
        [ODTO_OPT_SIZE] = "size",         [ODTO_OPT_LIST] = "comma-separated words",
        [ODTO_OPT_ARGV] = "command line", [ODTO_OPT_PATH] = "path",
        [ODTO_OPT_ADDRESS] = "host:port", [ODTO_OPT_URL] = "URL",
        [ODTO_OPT_FLOAT] = "number",
    };
    size_t i = (size_t)o->type;
    return i < sizeof(words) / sizeof(words[0]) && words[i] ? words[i] : "text";
}

static const char *store_text(const odto_option *o, char *buf, size_t size)
{
    static const char *const roles[] = {"jobs", "counters", "events"};
    size_t n = (size_t)snprintf(buf, size, "name of a [store]");
    for (int i = 0, first = 1; i < 3; i++) {
        if (o->min & (1 << i) && n < size) {
            n += (size_t)snprintf(buf + n, size - n, "%s%s", first ? " for " : " and ", roles[i]);
            first = 0;
        }
    }
    return buf;
}

const char *option_type_text(const odto_option *o, char *buf, size_t size)
{
    char lo[32], hi[32];
    if (o->type == ODTO_OPT_STORE)
        return store_text(o, buf, size);
    if (o->type == ODTO_OPT_ENUM) {
        size_t n = (size_t)snprintf(buf, size, "one of ");
        for (const char *p = o->choices ? o->choices : ""; *p && n + 3 < size; p++) {
            n += (size_t)snprintf(buf + n, size - n, "%s%c", *p == '|' ? "," : "", *p == '|' ? ' ' : *p);
        }
        return buf;
    }
    if (o->max > o->min)
        snprintf(buf, size, "%s, %s to %s", type_word(o), number_text(o, o->min, lo, sizeof(lo)),
                 number_text(o, o->max, hi, sizeof(hi)));
    else
        snprintf(buf, size, "%s", type_word(o));
    return buf;
}

/* ---- showing ---- */

const char *option_show(const odto_option *o, const char *text, char *buf, size_t size)
{
    if (o && o->flags & ODTO_OPTION_SECRET) {
        snprintf(buf, size, "********");
        return buf;
    }
    const char *scheme = strstr(text, "://");
    const char *rest = scheme ? scheme + 3 : NULL;
    size_t authority = rest ? strcspn(rest, "/?# ") : 0;
    const char *at = rest ? memrchr(rest, '@', authority) : NULL;
    const char *colon = at ? memchr(rest, ':', (size_t)(at - rest)) : NULL;
    if (colon)
        snprintf(buf, size, "%.*s:***%s", (int)(colon - text), text, at);
    else
        snprintf(buf, size, "%s", text);
    return buf;
}

/* ---- reading ---- */

static int refuse(const odto_option *o, const char *text, const char *what, odto_error *err)
{
    char type[256], shown[200];
    odto_fail(err, -EINVAL, "%s: %s", o->name, what);
    odto_error_detail(err, "\"%s\"", option_show(o, text, shown, sizeof(shown)));
    odto_error_hint(err, "allowed is: %s", option_type_text(o, type, sizeof(type)));
    return -EINVAL;
}

static int in_range(const odto_option *o, const char *text, int64_t v, odto_value *out, odto_error *err)
{
    if (o->max > o->min && (v < o->min || v > o->max))
        return refuse(o, text, "value out of range", err);
    out->i = v;
    return 0;
}

static int read_int(const odto_option *o, const char *text, odto_value *out, odto_error *err)
{
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (end == text || *end || isspace((unsigned char)*text))
        return refuse(o, text, "not an integer", err);
    if (errno == ERANGE)
        return refuse(o, text, "value out of range", err);
    return in_range(o, text, v, out, err);
}

static int read_float(const odto_option *o, const char *text, odto_value *out, odto_error *err)
{
    char *end;
    double v = strtod(text, &end);
    if (end == text || *end || !isfinite(v))
        return refuse(o, text, "not a number", err);
    if (o->max > o->min && (v < (double)o->min || v > (double)o->max))
        return refuse(o, text, "value out of range", err);
    out->f = v;
    return 0;
}

static int read_bool(const odto_option *o, const char *text, odto_value *out, odto_error *err)
{
    static const char *const words[] = {"no", "yes", "false", "true", "off", "on", "0", "1"};
    for (int i = 0; i < 8; i++) {
        if (strcasecmp(text, words[i]) == 0) {
            out->i = i % 2;
            return 0;
        }
    }
    return refuse(o, text, "neither yes nor no", err);
}

static int read_enum(const odto_option *o, const char *text, odto_value *out, odto_error *err)
{
    int64_t index = 0;
    size_t length = strlen(text);
    for (const char *p = o->choices; p && *p; index++) {
        size_t n = strcspn(p, "|");
        if (n == length && strncmp(p, text, n) == 0) {
            out->i = index;
            return 0;
        }
        p += n + (p[n] == '|');
    }
    return refuse(o, text, "no such choice", err);
}

static int read_measure(const odto_option *o, const char *text, odto_value *out, odto_error *err)
{
    int64_t v = 0;
    bool size = o->type == ODTO_OPT_SIZE;
    int code =
        size ? odto_size_parse(odto_slice_str(text), &v) : odto_duration_parse(odto_slice_str(text), &v);
    if (code == -ERANGE)
        return refuse(o, text, "value out of range", err);
    if (code < 0)
        return refuse(o, text, size ? "not a size (64k, 1m, 2g)" : "not a duration (250ms, 5s, 2m, 1h)", err);
    return in_range(o, text, v, out, err);
}

static char *trimmed(arena *a, const char *p, size_t n)
{
    while (n && isspace((unsigned char)*p)) {
        p++;
        n--;
    }
    while (n && isspace((unsigned char)p[n - 1]))
        n--;
    return arena_strndup(a, p, n);
}

static int read_list(const odto_option *o, const char *text, arena *a, odto_value *out, odto_error *err)
{
    size_t n = *text != 0;
    for (const char *p = text; *p; p++)
        n += *p == ',';
    const char **list = arena_alloc(a, (n + 1) * sizeof(*list));
    if (!list)
        return -ENOMEM;
    const char *p = text;
    for (size_t i = 0; i < n; i++) {
        size_t length = strcspn(p, ",");
        list[i] = trimmed(a, p, length);
        if (!list[i])
            return -ENOMEM;
        if (!*list[i])
            return refuse(o, text, "an empty word in the list", err);
        p += length + 1;
    }
    out->list = list;
    out->n = n;
    return 0;
}

/* Reads one word of a command line at *p into out (room for the rest of the text), by the quoting rules of
 * sh(1) without any expansion. False: a quote is not closed. */
static bool read_word(const char **p, char *out)
{
    char quote = 0;
    for (; **p && (quote || !isspace((unsigned char)**p)); (*p)++) {
        char c = **p;
        if (quote ? c == quote : c == '"' || c == '\'') {
            quote = quote ? 0 : c;
        } else if (c == '\\' && quote != '\'' && (*p)[1] && (!quote || (*p)[1] == '"' || (*p)[1] == '\\')) {
            (*p)++;
            *out++ = **p;
        } else {
            *out++ = c;
        }
    }
    *out = 0;
    return !quote;
}

static int read_argv(const odto_option *o, const char *text, arena *a, odto_value *out, odto_error *err)
{
    size_t size = strlen(text) + 1;
    const char **list = arena_alloc(a, (size / 2 + 2) * sizeof(*list));
    char *words = arena_alloc(a, size);
    if (!list || !words)
        return -ENOMEM;
    const char *p = text;
    for (;;) {
        while (isspace(
            (unsigned char)*p)) /* all of what ends a word, or there would be empty ones without end */
            p++;
        if (!*p)
            break;
        if (!read_word(&p, words))
            return refuse(o, text, "a quote is not closed", err);
        list[out->n++] = words;
        words += strlen(words) + 1;
    }
    out->list = list;
    return 0;
}

static int read_path(const char *text, const char *base, arena *a, odto_value *out)
{
    if (*text == '/' || !base || !*text)
        return 0;
    while (text[0] == '.' && text[1] == '/')
        text += 2;
    size_t n = strlen(base), size = n + strlen(text) + 2;
    char *path = arena_alloc(a, size);
    if (!path)
        return -ENOMEM;
    snprintf(path, size, "%s%s%s", base, n && base[n - 1] == '/' ? "" : "/", text);
    out->s = path;
    return 0;
}

/* host:port, [v6]:port; port 0 means any free one. */
static int read_address(const odto_option *o, const char *text, odto_error *err)
{
    const char *colon = strrchr(text, ':');
    if (!colon || colon == text)
        return refuse(o, text, "not host:port", err);
    size_t host = (size_t)(colon - text);
    bool bracketed = text[0] == '[';
    if (bracketed ? text[host - 1] != ']' || host < 3 : memchr(text, ':', host) != NULL)
        return refuse(o, text, "not host:port (an IPv6 address needs brackets, [::1]:3000)", err);
    size_t digits = strspn(colon + 1, "0123456789");
    if (digits == 0 || digits > 5 || colon[1 + digits] || atoi(colon + 1) > 65535)
        return refuse(o, text, "the port is not a number from 0 to 65535", err);
    if (strpbrk(text, " \t/@"))
        return refuse(o, text, "not host:port", err);
    return 0;
}

static int read_url(const odto_option *o, const char *text, odto_error *err)
{
    size_t n = 0;
    while (isalnum((unsigned char)text[n]) || (n && strchr("+.-", text[n]) && text[n]))
        n++;
    if (n == 0 || !isalpha((unsigned char)*text) || strncmp(text + n, "://", 3) != 0 || !text[n + 3])
        return refuse(o, text, "not a URL (scheme://host…)", err);
    for (const char *p = text; *p; p++) {
        if ((unsigned char)*p <= ' ' || *p == 0x7f)
            return refuse(o, text, "a URL holds no blanks", err);
    }
    return 0;
}

static int read_typed(const odto_option *o, const char *text, const char *base, arena *a, odto_value *out,
                      odto_error *err)
{
    switch (o->type) {
    case ODTO_OPT_INT:
        return read_int(o, text, out, err);
    case ODTO_OPT_BOOL:
        return read_bool(o, text, out, err);
    case ODTO_OPT_DURATION:
    case ODTO_OPT_SIZE:
        return read_measure(o, text, out, err);
    case ODTO_OPT_ENUM:
        return read_enum(o, text, out, err);
    case ODTO_OPT_LIST:
        return read_list(o, text, a, out, err);
    case ODTO_OPT_ARGV:
        return read_argv(o, text, a, out, err);
    case ODTO_OPT_PATH:
        return read_path(text, base, a, out);
    case ODTO_OPT_ADDRESS:
        return read_address(o, text, err);
    case ODTO_OPT_URL:
        return read_url(o, text, err);
    case ODTO_OPT_FLOAT:
        return read_float(o, text, out, err);
    case ODTO_OPT_STRING:
    case ODTO_OPT_STORE:
        break;
    }
    return 0;
}

static bool may_be_empty(odto_option_type t)
{
    return t == ODTO_OPT_STRING || t == ODTO_OPT_LIST || t == ODTO_OPT_ARGV || t == ODTO_OPT_PATH ||
           t == ODTO_OPT_URL || t == ODTO_OPT_STORE || t == ODTO_OPT_ADDRESS;
}

int option_parse(const odto_option *o, const char *text, const char *base, arena *a, odto_value *out,
                 odto_error *err)
{
    odto_value v = {.s = text};
    int code = 0;
    if (*text)
        code = read_typed(o, text, base, a, &v, err);
    else if (!may_be_empty(o->type) || o->flags & ODTO_OPTION_REQUIRED)
        code = refuse(o, text, "a value is missing", err);
    else if (o->type == ODTO_OPT_LIST || o->type == ODTO_OPT_ARGV)
        code = read_list(o, text, a, &v, err);
    else if (o->type != ODTO_OPT_STRING)
        v.s = NULL; /* `path =` takes a default back */
    if (code == -ENOMEM)
        odto_fail(err, code, "no memory for the option %s", o->name);
    if (code == 0 && v.s == text) {
        v.s = arena_strdup(a, text);
        if (!v.s)
            code = odto_fail(err, -ENOMEM, "no memory for the option %s", o->name);
    }
    if (code == 0)
        *out = v;
    return code;
}

const char *options_clash(const odto_option *a, size_t na, const odto_option *b, size_t nb)
{
    for (size_t i = 0; i < na; i++) {
        for (size_t k = 0; k < nb; k++) {
            if (strcmp(a[i].name, b[k].name) == 0)
                return a[i].name;
        }
    }
    return NULL;
}
