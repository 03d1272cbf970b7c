/* schema_regex.c — ECMA-262 patterns (with the u flag, as ajv uses them) on PCRE2.
 *
 * The two dialects differ in a few places, so a pattern is translated first: what only Perl knows is refused,
 * what means something else is written so that PCRE2 means the same. Not supported: look-behind of variable
 * length. A compiled pattern is immutable, any thread may match with it. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "schema_node.h"
#include <errno.h>
#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Steps after which a match is given up: a pattern with nested repetition must not stall a thread. */
#define MATCH_LIMIT 1000000

struct regex {
    pcre2_code *code;
    pcre2_match_context *limits;
};

/* ---- translation --------------------------------------------------------------------------- */

typedef struct translation {
    const char *p, *end;
    odto_buf out;
    bool in_class;
    bool repeatable; /* an atom stands before: a quantifier may follow */
    const char *why;
} translation;

/* White space of ECMA-262 (WhiteSpace, LineTerminator), for the inside of a class. */
#define ECMA_SPACE \
    "\\t-\\r \\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}\\x{feff}"

static bool refuse(translation *t, const char *why)
{
    t->why = why;
    return false;
}

static int hex_digits(const char *p, const char *end, int n)
{
    int v = 0;
    if (end - p < n)
        return -1;
    for (int i = 0; i < n; i++) {
        int d = p[i] >= '0' && p[i] <= '9' ? p[i] - '0' : (p[i] | 0x20) - 'a' + 10;
        if (d < 0 || d > 15 || (p[i] > '9' && (p[i] | 0x20) < 'a'))
            return -1;
        v = v * 16 + d;
    }
    return v;
}

/* \uXXXX, \uXXXX\uXXXX (a surrogate pair) or \u{X…}; t->p at the 'u'. */
static bool translate_unicode(translation *t)
{
    int c;
    if (t->end - t->p > 1 && t->p[1] == '{') {
        const char *close = memchr(t->p, '}', (size_t)(t->end - t->p));
        int n = close ? (int)(close - t->p - 2) : 0;
        c = n > 0 && n <= 6 ? hex_digits(t->p + 2, t->end, n) : -1;
        t->p = close ? close + 1 : t->end;
    } else {
        c = hex_digits(t->p + 1, t->end, 4);
        t->p += 5;
        if (c >= 0xD800 && c < 0xDC00 && t->end - t->p >= 6 && t->p[0] == '\\' && t->p[1] == 'u') {
            int low = hex_digits(t->p + 2, t->end, 4);
            if (low >= 0xDC00 && low <= 0xDFFF) {
                c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
                t->p += 6;
            }
        }
    }
    if (c < 0 || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF))
        return refuse(t, "\\u needs the number of a character");
    return odto_buf_printf(&t->out, "\\x{%x}", (unsigned)c);
}

/* \p{…}: long names of general categories have to be shortened for PCRE2, scripts lose their key. */
static bool translate_property(translation *t)
{
    static const char *const names[][2] = {
        {"Letter", "L"},
        {"Cased_Letter", "L&"},
        {"Lowercase_Letter", "Ll"},
        {"Uppercase_Letter", "Lu"},
        {"Titlecase_Letter", "Lt"},
        {"Modifier_Letter", "Lm"},
        {"Other_Letter", "Lo"},
        {"Mark", "M"},
        {"Nonspacing_Mark", "Mn"},
        {"Spacing_Mark", "Mc"},
        {"Enclosing_Mark", "Me"},
        {"Number", "N"},
        {"Decimal_Number", "Nd"},
        {"digit", "Nd"},
        {"Letter_Number", "Nl"},
        {"Other_Number", "No"},
        {"Punctuation", "P"},
        {"punct", "P"},
        {"Dash_Punctuation", "Pd"},
        {"Open_Punctuation", "Ps"},
        {"Close_Punctuation", "Pe"},
        {"Initial_Punctuation", "Pi"},
        {"Final_Punctuation", "Pf"},
        {"Connector_Punctuation", "Pc"},
        {"Other_Punctuation", "Po"},
        {"Symbol", "S"},
        {"Math_Symbol", "Sm"},
        {"Currency_Symbol", "Sc"},
        {"Modifier_Symbol", "Sk"},
        {"Other_Symbol", "So"},
        {"Separator", "Z"},
        {"Space_Separator", "Zs"},
        {"Line_Separator", "Zl"},
        {"Paragraph_Separator", "Zp"},
        {"Other", "C"},
        {"Control", "Cc"},
        {"cntrl", "Cc"},
        {"Format", "Cf"},
        {"Surrogate", "Cs"},
        {"Private_Use", "Co"},
        {"Unassigned", "Cn"},
    };
    char kind = *t->p;
    const char *close = memchr(t->p, '}', (size_t)(t->end - t->p));
    if (t->end - t->p < 4 || t->p[1] != '{' || !close)
        return refuse(t, "\\p needs a {property}");
    const char *name = t->p + 2, *equals = memchr(name, '=', (size_t)(close - name));
    odto_slice s = odto_slice_of(equals ? equals + 1 : name, (size_t)(close - (equals ? equals + 1 : name)));
    t->p = close + 1;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (odto_slice_eq(s, names[i][0]))
            s = odto_slice_str(names[i][1]);
    return odto_buf_printf(&t->out, "\\%c{%.*s}", kind, (int)s.n, s.p);
}

static bool translate_space(translation *t)
{
    bool negated = *t->p == 'S';
    t->p++;
    if (t->in_class)
        return odto_buf_str(&t->out, negated ? "\\S" : ECMA_SPACE);
    return odto_buf_str(&t->out, negated ? "[^" ECMA_SPACE "]" : "[" ECMA_SPACE "]");
}

/* \1 … \9, \0 */
static bool translate_decimal(translation *t)
{
    const char *from = t->p;
    while (t->p < t->end && *t->p >= '0' && *t->p <= '9')
        t->p++;
    if (*from == '0')
        return t->p - from == 1 ? odto_buf_str(&t->out, "\\x00") : refuse(t, "octal escape");
    if (t->in_class)
        return refuse(t, "reference inside a class");
    return odto_buf_printf(&t->out, "(?:\\%.*s)", (int)(t->p - from), from);
}

/* t->p behind the backslash. */
static bool translate_escape(translation *t)
{
    if (t->p >= t->end)
        return refuse(t, "\\ at the end");
    char c = *t->p;
    t->repeatable = c != 'b' && c != 'B';
    switch (c) {
    case 'u':
        return translate_unicode(t);
    case 'p':
    case 'P':
        return translate_property(t);
    case 's':
    case 'S':
        return translate_space(t);
    case 'k':
        if (t->end - t->p < 2 || t->p[1] != '<')
            return refuse(t, "\\k needs a <name>");
        break;
    case 'x':
        if (hex_digits(t->p + 1, t->end, 2) < 0)
            return refuse(t, "\\x needs two hexadecimal digits");
        break;
    case 'c':
        if (t->end - t->p < 2 || (t->p[1] | 0x20) < 'a' || (t->p[1] | 0x20) > 'z')
            return refuse(t, "\\c needs a letter");
        break;
    default:
        if (c >= '0' && c <= '9')
            return translate_decimal(t);
        /* any other letter would be an escape of Perl's; punctuation stands for itself */
        if (((c | 0x20) >= 'a' && (c | 0x20) <= 'z' && !strchr("dDwWbBfnrtv", c)) || (unsigned char)c >= 0x80)
            return refuse(t, "unknown escape");
        if (c == 'B' && t->in_class)
            return refuse(t, "\\B inside a class");
        if (c == 'v') {
            t->p++;
            return odto_buf_str(&t->out, "\\x0b");
        }
    }
    t->p++;
    return odto_buf_put(&t->out, (const char[]){'\\', c}, 2);
}

/* "(", "(?:", "(?=", "(?!", "(?<=", "(?<!", "(?<name>"; everything else behind "(?" or "(*" is Perl's. */
static bool translate_group(translation *t)
{
    const char *p = t->p + 1;
    t->repeatable = false;
    if (p < t->end && *p == '*')
        return refuse(t, "nothing to repeat");
    if (p < t->end && *p == '?') {
        size_t left = (size_t)(t->end - p);
        bool known = left >= 2 && (p[1] == ':' || p[1] == '=' || p[1] == '!');
        bool behind = left >= 3 && p[1] == '<'; /* look-behind or a name, which PCRE2 checks */
        if (!known && !behind)
            return refuse(t, "unknown group");
        odto_buf_put(&t->out, t->p, 2);
        t->p += 2;
        return true;
    }
    t->p++;
    return odto_buf_put(&t->out, "(", 1);
}

/* A quantifier; a second '+' behind it would make it possessive in Perl. */
static bool translate_quantifier(translation *t)
{
    const char *from = t->p++;
    if (!t->repeatable)
        return refuse(t, "nothing to repeat");
    if (*from == '{') {
        while (t->p < t->end && *t->p != '}')
            t->p++;
        t->p += t->p < t->end;
    }
    if (t->p < t->end && *t->p == '?')
        t->p++;
    t->repeatable = false;
    return odto_buf_put(&t->out, from, (size_t)(t->p - from));
}

/* Whether the brace at p begins {n}, {n,} or {n,m}. */
static bool is_bounds(const char *p, const char *end)
{
    const char *q = p + 1, *digits = q;
    while (q < end && *q >= '0' && *q <= '9')
        q++;
    if (q == digits)
        return false;
    if (q < end && *q == ',')
        q++;
    while (q < end && *q >= '0' && *q <= '9')
        q++;
    return q < end && *q == '}';
}

static bool translate_one(translation *t)
{
    char c = *t->p;
    if (c == '\\') {
        t->p++;
        return translate_escape(t);
    }
    if (t->in_class) {
        t->in_class = c != ']';
        t->p++;
        return odto_buf_str(&t->out, c == '[' ? "\\" : "") && odto_buf_put(&t->out, &c, 1);
    }
    if (c == '(')
        return translate_group(t);
    if (c == '*' || c == '+' || c == '?' || (c == '{' && is_bounds(t->p, t->end)))
        return translate_quantifier(t);
    t->repeatable = c != '^' && c != '|';
    t->p++;
    if (c == '{' || c == '}' || c == ']') /* lenient: they stand for themselves */
        odto_buf_str(&t->out, "\\");
    if (c == '[') {
        t->in_class = true;
        if (t->p < t->end && *t->p == '^') {
            t->p++;
            return odto_buf_str(&t->out, "[^");
        }
    }
    return odto_buf_put(&t->out, &c, 1);
}

/* ---- compiling and matching ---------------------------------------------------------------- */

static int compile_pcre(odto_slice pattern, regex *r, char *why, size_t why_size)
{
    int code;
    PCRE2_SIZE at;
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    r->limits = pcre2_match_context_create(NULL);
    if (!context || !r->limits) {
        pcre2_compile_context_free(context);
        return -ENOMEM;
    }
    pcre2_set_newline(context, PCRE2_NEWLINE_ANYCRLF);
    pcre2_set_match_limit(r->limits, MATCH_LIMIT);
    r->code = pcre2_compile((PCRE2_SPTR)pattern.p, pattern.n,
                            PCRE2_UTF | PCRE2_NO_UTF_CHECK | PCRE2_DOLLAR_ENDONLY |
                                PCRE2_MATCH_UNSET_BACKREF | PCRE2_ALLOW_EMPTY_CLASS | PCRE2_NEVER_BACKSLASH_C,
                            &code, &at, context);
    pcre2_compile_context_free(context);
    if (!r->code) {
        pcre2_get_error_message(code, (PCRE2_UCHAR *)why, why_size);
        return code == PCRE2_ERROR_HEAP_FAILED ? -ENOMEM : -EINVAL;
    }
    /* without the right to map executable memory the interpreter does the same work */
    pcre2_jit_compile(r->code, PCRE2_JIT_COMPLETE);
    return 0;
}

int regex_compile(odto_slice pattern, regex **out, char *why, size_t why_size)
{
    translation t = {.p = pattern.p, .end = pattern.p + pattern.n};
    why[0] = '\0';
    if (!odto_utf8_valid(pattern)) {
        snprintf(why, why_size, "not UTF-8");
        return -EINVAL;
    }
    odto_buf_reserve(&t.out, pattern.n);
    while (t.p < t.end && !t.why && !t.out.failed)
        translate_one(&t);
    if (!t.why && !t.out.failed && t.in_class)
        t.why = "missing ]";
    regex *r = t.why || t.out.failed ? NULL : calloc(1, sizeof *r);
    int rc = t.why ? -EINVAL : -ENOMEM;
    if (r)
        rc = compile_pcre(odto_slice_of(t.out.p, t.out.n), r, why, why_size);
    else if (t.why)
        snprintf(why, why_size, "%s", t.why);
    odto_buf_free(&t.out);
    if (rc)
        regex_free(r);
    else
        *out = r;
    return rc;
}

int regex_match(const regex *r, odto_slice text)
{
    pcre2_match_data *data = pcre2_match_data_create(1, NULL);
    if (!data)
        return -E2BIG;
    int rc = pcre2_match(r->code, (PCRE2_SPTR)text.p, text.n, 0, PCRE2_NO_UTF_CHECK, data, r->limits);
    pcre2_match_data_free(data);
    return rc >= 0 ? 1 : rc == PCRE2_ERROR_NOMATCH ? 0 : -E2BIG;
}

void regex_free(regex *r)
{
    if (!r)
        return;
    pcre2_code_free(r->code);
    pcre2_match_context_free(r->limits);
    free(r);
}
