/* json_check.c — strict RFC 8259 scan of a text, in one pass.
 *
 * Called on the hot path of the gateway and of every consumer, on any thread, without shared state. An
 * explicit stack (no recursion) bounds depth. Member names of the open objects live in one scratch array of
 * hashes on the C stack; an object with more than BIG members, or one that finds the scratch full, moves to a
 * hash table on the heap whose hash is seeded, so that chosen names cannot make it quadratic. */
#include "scan.h"
#include <odto/json.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define SCRATCH 512
#define BIG     256
#define ESCAPED UINT32_C(0x80000000)

typedef struct name {
    uint32_t off, len; /* of the text between the quotes; ESCAPED in len when it holds a backslash */
} name;

typedef struct frame {
    name key;       /* object: the member being read, off 0 before its name is known */
    uint32_t count; /* array: the element being read */
    uint32_t first; /* object: its first name in the scratch */
    bool array;
} frame;

typedef struct big_set {
    struct big_set *outer;
    int depth; /* of the object it belongs to */
    uint32_t cap, count;
    uint64_t seed;
    struct {
        uint32_t hash;
        name n; /* off 0: free (a name never starts at byte 0) */
    } slots[];
} big_set;

typedef struct check {
    const char *text, *p, *end;
    int depth, max_depth;
    uint32_t names;  /* used part of the scratch */
    big_set *big;    /* innermost first */
    const char *why; /* what is wrong at p; NULL while nothing is */
    int code;
    uint32_t hashes[SCRATCH];
    name scratch[SCRATCH];
    frame stack[ODTO_JSON_DEPTH_MAX + 1];
} check;

static bool fail(check *c, int code, const char *at, const char *why)
{
    c->code = code;
    c->why = why;
    c->p = at;
    return false;
}

/* ---- names --------------------------------------------------------------------------------- */

static odto_slice name_raw(const check *c, name n)
{
    return odto_slice_of(c->text + n.off, n.len & ~ESCAPED);
}

/* Names are equal when their characters are, however these are written. */
static bool name_equal(check *c, name a, name b)
{
    odto_slice x = name_raw(c, a), y = name_raw(c, b);
    if (!((a.len | b.len) & ESCAPED))
        return x.n == y.n && memcmp(x.p, y.p, x.n) == 0;
    odto_buf left = {0}, right = {0};
    bool equal = false;
    if (scan_unescape(x, &left) && scan_unescape(y, &right))
        equal = left.n == right.n && (left.n == 0 || memcmp(left.p, right.p, left.n) == 0);
    else
        fail(c, -ENOMEM, c->p, "no memory");
    odto_buf_free(&left);
    odto_buf_free(&right);
    return equal;
}

static uint32_t name_hash(check *c, name n, uint64_t seed)
{
    odto_slice raw = name_raw(c, n);
    if (!(n.len & ESCAPED))
        return (uint32_t)scan_hash(raw.p, raw.n, seed);
    odto_buf plain = {0};
    if (!scan_unescape(raw, &plain))
        fail(c, -ENOMEM, c->p, "no memory");
    uint32_t hash = (uint32_t)scan_hash(plain.p, plain.n, seed);
    odto_buf_free(&plain);
    return hash;
}

/* Adds a name; false if it is there already. The table is at most half full. */
static bool big_add(check *c, big_set *set, name n)
{
    uint32_t hash = name_hash(c, n, set->seed), i = hash & (set->cap - 1);
    for (; set->slots[i].n.off != 0; i = (i + 1) & (set->cap - 1))
        if (set->slots[i].hash == hash && name_equal(c, set->slots[i].n, n))
            return false;
    set->slots[i].hash = hash;
    set->slots[i].n = n;
    set->count++;
    return true;
}

static big_set *big_new(uint32_t cap, int depth, big_set *outer)
{
    big_set *set = calloc(1, sizeof *set + (size_t)cap * sizeof set->slots[0]);
    if (!set)
        return NULL;
    set->outer = outer;
    set->depth = depth;
    set->cap = cap;
    set->seed = odto_random64();
    return set;
}

/* Moves the names of the innermost object from the scratch to a table of its own. */
static bool big_begin(check *c, frame *f)
{
    big_set *set = big_new(4 * BIG, c->depth, c->big);
    if (!set)
        return fail(c, -ENOMEM, c->p, "no memory");
    c->big = set;
    for (uint32_t i = f->first; i < c->names; i++)
        big_add(c, set, c->scratch[i]);
    c->names = f->first;
    return true;
}

static bool big_grow(check *c)
{
    big_set *old = c->big, *set = big_new(old->cap * 2, old->depth, old->outer);
    if (!set)
        return fail(c, -ENOMEM, c->p, "no memory");
    for (uint32_t i = 0; i < old->cap; i++)
        if (old->slots[i].n.off != 0)
            big_add(c, set, old->slots[i].n);
    c->big = set;
    free(old);
    return true;
}

static bool is_big(const check *c)
{
    return c->big && c->big->depth == c->depth;
}

static bool name_add(check *c, frame *f, name n, const char *at)
{
    if (!is_big(c) && (c->names - f->first >= BIG || c->names == SCRATCH) && !big_begin(c, f))
        return false;
    if (is_big(c)) {
        if (c->big->count * 2 >= c->big->cap && !big_grow(c))
            return false;
        return (big_add(c, c->big, n) && !c->why) ||
               fail(c, c->why ? c->code : -EINVAL, at, "duplicate member name");
    }
    uint32_t hash = name_hash(c, n, 0);
    for (uint32_t i = f->first; i < c->names; i++)
        if (c->hashes[i] == hash && name_equal(c, c->scratch[i], n))
            return fail(c, -EINVAL, at, "duplicate member name");
    c->hashes[c->names] = hash;
    c->scratch[c->names++] = n;
    return !c->why;
}

/* ---- scalars ------------------------------------------------------------------------------- */

/* Four hexadecimal digits at p, or -1. */
static int hex4(const char *p, const char *end)
{
    int v = 0;
    if (end - p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        unsigned d = (unsigned)(unsigned char)p[i] - '0', l = ((unsigned)(unsigned char)p[i] | 0x20) - 'a';
        if (d > 9 && l > 5)
            return -1;
        v = v << 4 | (int)(d <= 9 ? d : l + 10);
    }
    return v;
}

/* The escape at the backslash p: past it, or NULL with the failure set. */
static const char *check_escape(check *c, const char *p, bool is_name)
{
    if (c->end - p < 2)
        return fail(c, -EINVAL, c->end, "unexpected end inside a string"), NULL;
    if (p[1] != 'u') {
        if (p[1] == '\0' || !strchr("\"\\/bfnrt", p[1]))
            return fail(c, -EINVAL, p, "unknown escape"), NULL;
        return p + 2;
    }
    int unit = hex4(p + 2, c->end);
    if (unit < 0)
        return fail(c, -EINVAL, p, "\\u needs four hexadecimal digits"), NULL;
    if (unit == 0 && is_name) /* json-c and C programs would cut the name here */
        return fail(c, -EINVAL, p, "NUL in a member name"), NULL;
    if (unit < 0xD800 || unit > 0xDFFF)
        return p + 6;
    int low = c->end - p >= 12 && p[6] == '\\' && p[7] == 'u' ? hex4(p + 8, c->end) : -1;
    if (unit > 0xDBFF || low < 0xDC00 || low > 0xDFFF)
        return fail(c, -EINVAL, p, "lone surrogate"), NULL;
    return p + 12;
}

/* The rest of a string from p, where something not plain stands. Sets *escaped. */
static bool check_string_slow(check *c, const char *p, bool is_name, uint32_t *escaped)
{
    while (p < c->end && *p != '"') {
        if (*p == '\\') {
            *escaped = ESCAPED;
            p = check_escape(c, p, is_name);
            if (!p)
                return false;
        } else if ((unsigned char)*p < 0x20) {
            return fail(c, -EINVAL, p, "control character in a string");
        } else {
            size_t n = utf8_step(p, c->end);
            if (n == 0)
                return fail(c, -EINVAL, p, "invalid UTF-8");
            p += n;
        }
        p = scan_plain(p, c->end);
    }
    if (p >= c->end)
        return fail(c, -EINVAL, c->end, "unexpected end inside a string");
    c->p = p + 1;
    return true;
}

/* The string at c->p; the text between its quotes as a name. */
static inline bool check_string(check *c, bool is_name, name *out)
{
    const char *from = c->p + 1, *p = scan_plain(from, c->end);
    uint32_t escaped = 0;
    if (p < c->end && *p == '"')
        c->p = p + 1;
    else if (!check_string_slow(c, p, is_name, &escaped))
        return false;
    out->off = (uint32_t)(from - c->text);
    out->len = (uint32_t)(c->p - 1 - from) | escaped;
    return true;
}

/* json-c clamps integers outside -2^63 .. 2^64-1, so they are refused. */
static bool integer_fits(const char *p, size_t n, bool negative)
{
    const char *limit = negative ? "9223372036854775808" : "18446744073709551615";
    size_t width = negative ? 19 : 20;
    return n < width || (n == width && memcmp(p, limit, width) <= 0);
}

static const char *skip_digits(const char *p, const char *end)
{
    while (p < end && (unsigned char)(*p - '0') <= 9)
        p++;
    return p;
}

static bool check_number(check *c)
{
    const char *start = c->p, *end = c->end;
    const char *whole = start + (*start == '-'), *p = skip_digits(whole, end);
    if (p == whole)
        return fail(c, -EINVAL, p, "a number needs a digit here");
    if (*whole == '0' && p > whole + 1)
        return fail(c, -EINVAL, whole, "a number may not start with 0");
    const char *whole_end = p;
    if (p < end && *p == '.') {
        const char *fraction = ++p;
        p = skip_digits(p, end);
        if (p == fraction)
            return fail(c, -EINVAL, p, "a number needs a digit here");
    }
    if (p < end && (*p | 0x20) == 'e') {
        p++;
        if (p < end && (*p == '+' || *p == '-'))
            p++;
        const char *exponent = p;
        p = skip_digits(p, end);
        if (p == exponent)
            return fail(c, -EINVAL, p, "a number needs a digit here");
    }
    if (p == whole_end && !integer_fits(whole, (size_t)(p - whole), whole > start))
        return fail(c, -EINVAL, start, "integer outside 64 bits");
    c->p = p;
    return true;
}

static bool check_word(check *c, const char *word, size_t n)
{
    if ((size_t)(c->end - c->p) < n || memcmp(c->p, word, n) != 0)
        return fail(c, -EINVAL, c->p, "expected a value");
    c->p += n;
    return true;
}

/* ---- structure ----------------------------------------------------------------------------- */

static inline void space(check *c)
{
    if (c->p < c->end && (unsigned char)*c->p <= ' ')
        c->p = scan_space(c->p, c->end);
}

static bool open_container(check *c, bool array)
{
    if (c->depth >= c->max_depth)
        return fail(c, -E2BIG, c->p, "nested too deeply");
    frame *f = &c->stack[++c->depth];
    f->key = (name){0, 0};
    f->count = 0;
    f->first = c->names;
    f->array = array;
    c->p++;
    space(c);
    return true;
}

static void close_container(check *c)
{
    if (is_big(c)) {
        big_set *set = c->big;
        c->big = set->outer;
        free(set);
    }
    c->names = c->stack[c->depth].first;
    c->depth--;
    c->p++;
}

/* `"name":` before a value. */
static bool check_key(check *c, frame *f)
{
    f->key.off = 0;
    space(c);
    const char *at = c->p;
    if (at >= c->end)
        return fail(c, -EINVAL, at, "unexpected end inside an object");
    if (*at != '"')
        return fail(c, -EINVAL, at, "expected a member name in double quotes");
    name n;
    if (!check_string(c, true, &n))
        return false;
    f->key = n;
    if (!name_add(c, f, n, at))
        return false;
    space(c);
    if (c->p >= c->end || *c->p != ':')
        return fail(c, -EINVAL, c->p, c->p < c->end ? "expected ':'" : "unexpected end inside an object");
    c->p++;
    return true;
}

enum value_kind { VALUE_BAD, VALUE_DONE, VALUE_OPENED };

/* A value at c->p: a scalar or an empty container is done, another container is entered. */
static enum value_kind check_value(check *c)
{
    name ignored;
    bool ok;
    space(c);
    if (c->p >= c->end)
        return fail(c, -EINVAL, c->p, c->depth ? "unexpected end" : "empty text"), VALUE_BAD;
    switch (*c->p) {
    case '"':
        ok = check_string(c, false, &ignored);
        break;
    case '{':
    case '[': {
        bool array = *c->p == '[';
        if (!open_container(c, array))
            return VALUE_BAD;
        if (c->p >= c->end || *c->p != (array ? ']' : '}'))
            return VALUE_OPENED;
        close_container(c);
        return VALUE_DONE;
    }
    case 't':
        ok = check_word(c, "true", 4);
        break;
    case 'f':
        ok = check_word(c, "false", 5);
        break;
    case 'n':
        ok = check_word(c, "null", 4);
        break;
    default:
        if (*c->p == '-' || (unsigned char)(*c->p - '0') <= 9)
            ok = check_number(c);
        else
            ok = fail(c, -EINVAL, c->p, "expected a value");
    }
    return ok ? VALUE_DONE : VALUE_BAD;
}

/* After a complete value: closes what ends here; true when another value must follow. */
static bool check_after(check *c)
{
    while (c->depth > 0) {
        frame *f = &c->stack[c->depth];
        space(c);
        if (c->p >= c->end)
            return fail(c, -EINVAL, c->p,
                        f->array ? "unexpected end inside an array" : "unexpected end inside an object");
        if (*c->p == ',') {
            c->p++;
            f->count += f->array;
            return true;
        }
        if (*c->p != (f->array ? ']' : '}'))
            return fail(c, -EINVAL, c->p, f->array ? "expected ',' or ']'" : "expected ',' or '}'");
        close_container(c);
    }
    space(c);
    if (c->p < c->end)
        fail(c, -EINVAL, c->p, "text after the end of the value");
    return false;
}

static void check_run(check *c)
{
    for (;;) {
        frame *f = &c->stack[c->depth];
        if (c->depth > 0 && !f->array && !check_key(c, f))
            return;
        enum value_kind kind = check_value(c);
        if (kind == VALUE_BAD || (kind == VALUE_DONE && !check_after(c)))
            return;
    }
}

/* ---- report -------------------------------------------------------------------------------- */

/* JSON pointer (RFC 6901) of the value that was being read; "/" for the root. A long one is cut. */
static void pointer_of(const check *c, char *out, size_t size)
{
    size_t n = 0;
    for (int d = 1; d <= c->depth && n + 1 < size; d++) {
        const frame *f = &c->stack[d];
        if (f->array) {
            n += (size_t)snprintf(out + n, size - n, "/%u", f->count);
            continue;
        }
        if (f->key.off == 0)
            break; /* between members: the object itself */
        odto_slice raw = odto_slice_of(c->text + f->key.off, f->key.len & ~ESCAPED);
        out[n++] = '/';
        for (size_t i = 0; i < raw.n && n + 3 < size; i++) {
            bool special = raw.p[i] == '~' || raw.p[i] == '/';
            if (special)
                out[n++] = '~';
            out[n++] = special ? (raw.p[i] == '~' ? '0' : '1') : raw.p[i];
        }
    }
    if (n >= size)
        n = size - 1;
    if (n == 0)
        out[n++] = '/';
    out[n] = '\0';
}

static int report(const check *c, odto_error *err)
{
    if (!err)
        return c->code;
    size_t line = 1, column = 1;
    for (const char *p = c->text; p < c->p; p++) {
        if (*p == '\n') {
            line++;
            column = 1;
        } else if ((*p & 0xC0) != 0x80) {
            column++;
        }
    }
    if (c->code == -E2BIG)
        odto_fail(err, c->code, "JSON nested too deeply");
    else
        odto_fail(err, c->code, c->code == -ENOMEM ? "no memory" : "invalid JSON");
    pointer_of(c, err->where, sizeof err->where);
    odto_error_detail(err, "%s at byte %zu (line %zu, column %zu), in %s", c->why, (size_t)(c->p - c->text),
                      line, column, err->where);
    if (c->code == -E2BIG)
        odto_error_hint(err, "at most %d arrays and objects may be open at once", c->max_depth);
    return c->code;
}

int odto_json_check(odto_slice text, int max_depth, odto_error *err)
{
    check c; /* not cleared: 16 KiB of it are used only by what needs them */
    if (text.n >= INT32_MAX)
        return odto_fail(err, -EFBIG, "JSON text of %zu bytes is too long", text.n);
    c.text = c.p = text.n ? text.p : "";
    c.end = c.text + text.n;
    c.depth = 0;
    c.max_depth = max_depth < ODTO_JSON_DEPTH_MAX ? max_depth : ODTO_JSON_DEPTH_MAX;
    c.names = 0;
    c.big = NULL;
    c.why = NULL;
    c.code = 0;
    check_run(&c);
    while (c.big) {
        big_set *outer = c.big->outer;
        free(c.big);
        c.big = outer;
    }
    return c.why ? report(&c, err) : 0;
}
