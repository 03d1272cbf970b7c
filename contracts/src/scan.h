/* scan.h — inline scanners over JSON text, shared inside libodto.
 *
 * Two families. The checking one (scan_plain, utf8_step) is for text nobody has looked at yet. The walking
 * one (walk_*) is for text that odto_json_check has accepted: it never reads past `end` whatever the bytes
 * are, but it reports malformed text only as NULL. No allocation, no state, any thread. */
#ifndef ODTO_SRC_SCAN_H
#define ODTO_SRC_SCAN_H

#include <odto/base.h>
#include <string.h>

/* ODTO_PORTABLE: as on processors without SSE2, for tests. */
#if defined(__SSE2__) && !defined(ODTO_PORTABLE)
#define SCAN_SSE2 1
#include <emmintrin.h>
#else
#define SCAN_SSE2 0
#endif

/* Nesting that any function of this library can be asked for; larger limits are cut to it. */
#define ODTO_JSON_DEPTH_MAX 512

/* Long enough for a short member name or a scalar of the envelope, escapes resolved. */
#define SCAN_SMALL 64

static inline bool scan_is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static inline const char *scan_space(const char *p, const char *end)
{
    while (p < end && scan_is_space(*p))
        p++;
    return p;
}

/* Stops at '"', '\\', a control character or a byte over 0x7f; `end` if there is none. */
static inline const char *scan_plain(const char *p, const char *end)
{
#if SCAN_SSE2
    const __m128i space = _mm_set1_epi8(0x20), quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\');
    while (end - p >= 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
        /* signed compare: bytes over 0x7f are negative, so less than a space too */
        __m128i stop = _mm_or_si128(_mm_cmplt_epi8(v, space),
                                    _mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, slash)));
        unsigned mask = (unsigned)_mm_movemask_epi8(stop);
        if (mask)
            return p + __builtin_ctz(mask);
        p += 16;
    }
#endif
    while (p < end && *p != '"' && *p != '\\' && (unsigned char)(*p - 0x20) < 0x60)
        p++;
    return p;
}

/* Stops at '"' or '\\' only. */
static inline const char *scan_quote(const char *p, const char *end)
{
#if SCAN_SSE2
    const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\');
    while (end - p >= 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
        unsigned mask =
            (unsigned)_mm_movemask_epi8(_mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, slash)));
        if (mask)
            return p + __builtin_ctz(mask);
        p += 16;
    }
#endif
    while (p < end && *p != '"' && *p != '\\')
        p++;
    return p;
}

/* Length (1..4) of the well-formed UTF-8 sequence at p (Unicode 15, table 3-7), 0 if there is none. */
static inline size_t utf8_step(const char *text, const char *end)
{
    const unsigned char *p = (const unsigned char *)text;
    size_t left = (size_t)(end - text);
    if (left == 0)
        return 0;
    if (p[0] < 0x80)
        return 1;
    if (p[0] < 0xC2 || p[0] > 0xF4)
        return 0;
    size_t n = p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : 4;
    if (left < n)
        return 0;
    unsigned char low = 0x80, high = 0xBF;
    switch (p[0]) {
    case 0xE0:
        low = 0xA0; /* no overlong form */
        break;
    case 0xED:
        high = 0x9F; /* no surrogate */
        break;
    case 0xF0:
        low = 0x90;
        break;
    case 0xF4:
        high = 0x8F; /* not over U+10FFFF */
        break;
    default:
        break;
    }
    if (p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < n; i++)
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    return n;
}

/* Past the closing quote of the string literal at p, or NULL. */
static inline const char *walk_string(const char *p, const char *end)
{
    for (p++; (p = scan_quote(p, end)) < end; p += 2) {
        if (*p == '"')
            return p + 1;
        if (end - p < 2)
            return NULL;
    }
    return NULL;
}

/* Where a walk through an array or object stands. */
typedef struct walk_nesting {
    size_t depth;
    bool in_string;
} walk_nesting;

/* Byte by byte up to stop (or one further, behind a backslash). True at the outermost end, *p behind it. */
static inline bool walk_bytes(walk_nesting *s, const char **p, const char *stop)
{
    for (; *p < stop; (*p)++) {
        char c = **p;
        if (c == '"') {
            s->in_string = !s->in_string;
        } else if (s->in_string) {
            *p += c == '\\';
        } else if ((c | 0x20) == '{') {
            s->depth++;
        } else if ((c | 0x20) == '}' && --s->depth == 0) {
            (*p)++;
            return true;
        }
    }
    return false;
}

#if SCAN_SSE2
/* The same for 16 bytes without a backslash; returns the length of what belongs to the value when it ends
 * here, else 0. */
static inline unsigned walk_block(walk_nesting *s, __m128i v, unsigned quotes)
{
    __m128i folded = _mm_or_si128(v, _mm_set1_epi8(0x20)); /* '[' and ']' become '{' and '}' */
    unsigned open = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(folded, _mm_set1_epi8('{')));
    unsigned brackets = open | (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(folded, _mm_set1_epi8('}')));
    unsigned inside = quotes; /* each bit: the parity of the quotes up to it */
    inside ^= inside << 1;
    inside ^= inside << 2;
    inside ^= inside << 4;
    inside ^= inside << 8;
    inside ^= s->in_string ? 0xFFFFu : 0;
    s->in_string = inside >> 15 & 1;
    for (brackets &= ~inside; brackets; brackets &= brackets - 1) {
        if (open & brackets & (0 - brackets))
            s->depth++;
        else if (--s->depth == 0)
            return (unsigned)__builtin_ctz(brackets) + 1;
    }
    return 0;
}
#endif

/* Past the array or object at p, or NULL. */
static inline const char *walk_nested(const char *p, const char *end)
{
    walk_nesting s = {0, false};
#if SCAN_SSE2
    const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\');
    while (end - p >= 17) { /* one more, for a character behind a backslash */
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
        if (_mm_movemask_epi8(_mm_cmpeq_epi8(v, slash))) {
            if (walk_bytes(&s, &p, p + 16))
                return p;
            continue;
        }
        unsigned length = walk_block(&s, v, (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(v, quote)));
        if (length)
            return p + length;
        p += 16;
    }
#endif
    return walk_bytes(&s, &p, end) ? p : NULL;
}

/* Past the value at p (which is no white space), or NULL. */
static inline const char *walk_value(const char *p, const char *end)
{
    if (p >= end)
        return NULL;
    if (*p == '"')
        return walk_string(p, end);
    if (*p == '{' || *p == '[')
        return walk_nested(p, end);
    const char *from = p;
    while (p < end && *p != ',' && *p != '}' && *p != ']' && !scan_is_space(*p))
        p++;
    return p > from ? p : NULL;
}

/* The members of one object of checked text, in order. */
typedef struct walk_members {
    const char *p, *end; /* p: at the next thing to read; NULL after malformed text */
    bool first;
    bool escaped; /* the last name has a backslash */
} walk_members;

/* `end` may lie behind the object's end: the walk finds that itself. */
static inline bool walk_object(walk_members *w, odto_slice object)
{
    const char *end = object.n ? object.p + object.n : object.p;
    const char *p = scan_space(object.p, end);
    if (p >= end || *p != '{')
        return false;
    *w = (walk_members){p + 1, end, true, false};
    return true;
}

/* The next name (without its quotes, escapes unresolved); leaves w->p at its value, which the caller must
 * walk over. False at the end (w->p at the '}') or when malformed. */
static inline bool walk_key(walk_members *w, odto_slice *key)
{
    const char *p = w->p, *end = w->end;
    if (!p)
        return false;
    p = scan_space(p, end);
    if (!w->first && p < end && *p == ',')
        p = scan_space(p + 1, end);
    w->first = false;
    w->p = p < end && *p == '}' ? p : NULL;
    if (p >= end || *p != '"')
        return false;
    const char *name = p + 1;
    p = scan_quote(name, end);
    w->escaped = p < end && *p == '\\';
    if (w->escaped)
        p = walk_string(name - 1, end);
    else
        p = p < end ? p + 1 : NULL;
    if (!p)
        return false;
    *key = odto_slice_of(name, (size_t)(p - name) - 1);
    p = scan_space(p, end);
    if (p >= end || *p != ':')
        return false;
    w->p = scan_space(p + 1, end);
    return true;
}

/* The value at w->p, trimmed. */
static inline bool walk_skip(walk_members *w, odto_slice *value)
{
    const char *from = w->p;
    w->p = walk_value(from, w->end);
    if (!w->p)
        return false;
    *value = odto_slice_of(from, (size_t)(w->p - from));
    return true;
}

static inline bool walk_next(walk_members *w, odto_slice *key, odto_slice *value)
{
    return walk_key(w, key) && walk_skip(w, value);
}

/* The characters of a short string's inside with escapes resolved into buf; p == NULL when they do not fit or
 * are malformed. */
odto_slice scan_resolve(odto_slice inside, char buf[SCAN_SMALL]);

/* The last name of a walk with its escapes resolved. */
static inline odto_slice walk_name(const walk_members *w, odto_slice key, char buf[SCAN_SMALL])
{
    return w->escaped ? scan_resolve(key, buf) : key;
}

/* Appends the resolved characters of a string literal's inside to out; false if malformed or out of room. */
bool scan_unescape(odto_slice inside, odto_buf *out);

/* A hash of n bytes that depends on a seed the sender of the bytes cannot know. */
uint64_t scan_hash(const void *p, size_t n, uint64_t seed);

#endif
