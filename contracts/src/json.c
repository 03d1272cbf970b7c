/* json.c — json-c trees from strict text, and reading single members without a tree.
 *
 * The tree is built here and not by json-c's tokener: the text has been checked before, so nothing has to be
 * decided twice (a third of the tokener's time), no state is kept between calls, and the process' locale
 * cannot change what "1.5" means. Pure functions, any thread; trees belong to the caller. */
#include "scan.h"
#include "schema_node.h"
#include <odto/json.h>
#include <errno.h>
#include <json-c/json.h>
#include <locale.h>
#include <stdlib.h>

/* ---- strings ------------------------------------------------------------------------------- */

static int unit_at(const char *p)
{
    int v = 0;
    for (int i = 0; i < 4; i++) {
        int digit = p[i] <= '9' ? p[i] - '0' : (p[i] | 0x20) - 'a' + 10;
        if (digit < 0 || digit > 15)
            return -1;
        v = v << 4 | digit;
    }
    return v;
}

static bool put_code_point(odto_buf *out, int c)
{
    char e[4];
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char lead[5] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = n - 1; i > 0; i--, c >>= 6)
        e[i] = (char)(0x80 | (c & 0x3F));
    e[0] = (char)(lead[n] | c);
    return odto_buf_put(out, e, n);
}

/* The escape at the backslash p: appends its character, returns past it or NULL. */
static const char *unescape_one(const char *p, const char *end, odto_buf *out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (end - p < 2)
        return NULL;
    if (p[1] != 'u') {
        const char *at = p[1] ? strchr(from, p[1]) : NULL;
        return at && odto_buf_put(out, to + (at - from), 1) ? p + 2 : NULL;
    }
    int c = end - p >= 6 ? unit_at(p + 2) : -1;
    size_t n = 6;
    if (c >= 0xD800 && c <= 0xDFFF) {
        int low = end - p >= 12 && p[6] == '\\' && p[7] == 'u' ? unit_at(p + 8) : -1;
        if (c > 0xDBFF || low < 0xDC00 || low > 0xDFFF)
            return NULL;
        c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
        n = 12;
    }
    return c >= 0 && put_code_point(out, c) ? p + n : NULL;
}

bool scan_unescape(odto_slice inside, odto_buf *out)
{
    const char *p = inside.p, *end = inside.n ? inside.p + inside.n : inside.p;
    while (p < end) {
        const char *stop = scan_quote(p, end);
        if (!odto_buf_put(out, p, (size_t)(stop - p)))
            return false;
        p = stop;
        if (p >= end)
            break;
        if (*p != '\\' || !(p = unescape_one(p, end, out)))
            return false;
    }
    return odto_buf_reserve(out, 0);
}

odto_slice scan_resolve(odto_slice inside, char buf[SCAN_SMALL])
{
    odto_slice none = {NULL, 0};
    odto_buf plain = {.max = SCAN_SMALL};
    bool ok = scan_unescape(inside, &plain);
    if (ok)
        memcpy(buf, plain.p, plain.n);
    odto_slice text = odto_slice_of(buf, plain.n);
    odto_buf_free(&plain);
    return ok ? text : none;
}

int odto_json_unquote(odto_slice literal, odto_buf *out)
{
    if (literal.n < 2 || literal.p[0] != '"' || literal.p[literal.n - 1] != '"')
        return -EINVAL;
    size_t before = out->n;
    if (scan_unescape(odto_slice_of(literal.p + 1, literal.n - 2), out))
        return 0;
    int rc = out->failed ? -ENOMEM : -EINVAL;
    out->n = before;
    if (out->p)
        out->p[before] = '\0';
    return rc;
}

/* ---- trees --------------------------------------------------------------------------------- */

typedef struct builder {
    const char *p, *end;
    odto_buf text; /* scratch for unescaped strings and for names */
    bool failed;   /* no memory */
} builder;

static struct json_object *build_value(builder *b);

/* The characters of the string at b->p, valid until the next call. Names get a NUL behind them. */
static odto_slice build_text(builder *b, bool is_name)
{
    const char *from = b->p + 1;
    b->p = walk_string(b->p, b->end);
    odto_slice raw = odto_slice_of(from, (size_t)(b->p - from) - 1);
    if (!is_name && !memchr(raw.p, '\\', raw.n))
        return raw;
    odto_buf_clear(&b->text);
    if (!scan_unescape(raw, &b->text))
        b->failed = true;
    return odto_slice_of(b->failed ? "" : b->text.p, b->text.n);
}

/* What the number means wherever the process runs: strtod(3) follows the locale, strtod_l does not. */
static struct json_object *build_double(const char *text)
{
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0); /* glibc returns a constant object here */
    if (!c)
        return NULL;
    double v = strtod_l(text, NULL, c);
    freelocale(c);
    return json_object_new_double_s(v, text); /* keeps the digits as they were written */
}

static struct json_object *build_number(builder *b)
{
    const char *from = b->p, *p = from + (*from == '-');
    uint64_t v = 0;
    for (; p < b->end && (unsigned char)(*p - '0') <= 9; p++)
        v = v * 10 + (uint64_t)(*p - '0');
    if (p >= b->end || (*p != '.' && (*p | 0x20) != 'e')) {
        b->p = p;
        if (*from == '-')
            return json_object_new_int64((int64_t)(0 - v));
        return v <= INT64_MAX ? json_object_new_int64((int64_t)v) : json_object_new_uint64(v);
    }
    b->p = walk_value(from, b->end);
    odto_buf_clear(&b->text);
    odto_buf_put(&b->text, from, (size_t)(b->p - from));
    return b->text.failed ? NULL : build_double(b->text.p);
}

static bool build_separator(builder *b)
{
    b->p = scan_space(b->p, b->end);
    bool more = *b->p == ',';
    b->p++;
    if (more)
        b->p = scan_space(b->p, b->end);
    return more;
}

static struct json_object *build_array(builder *b)
{
    struct json_object *array = json_object_new_array();
    b->failed = b->failed || !array;
    b->p = scan_space(b->p + 1, b->end);
    if (*b->p == ']') {
        b->p++;
        return array;
    }
    do {
        struct json_object *element = build_value(b);
        if (b->failed || json_object_array_add(array, element) != 0) {
            json_object_put(element);
            b->failed = true;
        }
    } while (!b->failed && build_separator(b));
    return array;
}

static struct json_object *build_object(builder *b)
{
    struct json_object *object = json_object_new_object();
    b->failed = b->failed || !object;
    b->p = scan_space(b->p + 1, b->end);
    if (*b->p == '}') {
        b->p++;
        return object;
    }
    do {
        char name[SCAN_SMALL], *heap = NULL;
        odto_slice text = build_text(b, true);
        if (text.n < sizeof name)
            memcpy(name, text.p, text.n + 1);
        else if (!(heap = odto_slice_dup(text)))
            b->failed = true;
        b->p = scan_space(scan_space(b->p, b->end) + 1, b->end);
        struct json_object *value = b->failed ? NULL : build_value(b);
        if (b->failed ||
            json_object_object_add_ex(object, heap ? heap : name, value, JSON_C_OBJECT_ADD_KEY_IS_NEW) != 0) {
            json_object_put(value);
            b->failed = true;
        }
        free(heap);
    } while (!b->failed && build_separator(b));
    return object;
}

/* Recursion is bounded by the depth that the check allowed. NULL is JSON null, or a failure. */
static struct json_object *build_value(builder *b)
{
    struct json_object *value;
    switch (*b->p) {
    case '{':
        value = build_object(b);
        break;
    case '[':
        value = build_array(b);
        break;
    case '"': {
        odto_slice text = build_text(b, false);
        value = b->failed ? NULL : json_object_new_string_len(text.p, (int)text.n);
        break;
    }
    case 't':
    case 'f':
        value = json_object_new_boolean(*b->p == 't');
        b->p += *b->p == 't' ? 4 : 5;
        break;
    case 'n':
        b->p += 4;
        return NULL;
    default:
        value = build_number(b);
    }
    b->failed = b->failed || !value;
    return value;
}

int json_tree(odto_slice checked, struct json_object **out)
{
    builder b = {.end = checked.p + checked.n};
    b.p = scan_space(checked.p, b.end);
    struct json_object *value = build_value(&b);
    odto_buf_free(&b.text);
    if (b.failed) {
        json_object_put(value);
        return -ENOMEM;
    }
    *out = value;
    return 0;
}

int odto_json_parse(odto_slice text, int max_depth, struct json_object **out, odto_error *err)
{
    int rc = odto_json_check(text, max_depth, err);
    if (rc == 0 && (rc = json_tree(text, out)) != 0)
        odto_fail(err, rc, "no memory for a JSON tree of %zu bytes of text", text.n);
    return rc;
}

/* ---- members ------------------------------------------------------------------------------- */

bool odto_json_member(odto_slice object, const char *key, odto_slice *value)
{
    walk_members w;
    odto_slice name, v;
    char small[SCAN_SMALL];
    if (!walk_object(&w, object))
        return false;
    while (walk_next(&w, &name, &v)) {
        odto_slice plain = walk_name(&w, name, small);
        if (plain.p && odto_slice_eq(plain, key)) {
            *value = v;
            return true;
        }
    }
    return false;
}

void odto_json_members(odto_slice object, odto_json_member_fn *fn, void *arg)
{
    walk_members w;
    odto_slice name, value;
    if (walk_object(&w, object))
        while (walk_next(&w, &name, &value) && fn(arg, name, value))
            ;
}
