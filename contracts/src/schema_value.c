/* schema_value.c — comparing JSON values the way JSON Schema does. Pure functions, any thread. */
#include "scan.h"
#include "schema_node.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

bool value_is_number(struct json_object *v)
{
    json_type t = json_object_get_type(v);
    return t == json_type_int || t == json_type_double;
}

bool value_is_integer(struct json_object *v)
{
    json_type t = json_object_get_type(v);
    if (t == json_type_int)
        return true;
    if (t != json_type_double)
        return false;
    double d = json_object_get_double(v);
    return isfinite(d) && d == floor(d);
}

/* An integer of json-c as sign and magnitude: it may be stored signed or unsigned. */
static bool integer_of(struct json_object *v, bool *negative, uint64_t *magnitude)
{
    if (json_object_get_type(v) != json_type_int)
        return false;
    int64_t i = json_object_get_int64(v);
    *negative = i < 0;
    *magnitude = i < 0 ? 0 - (uint64_t)i : json_object_get_uint64(v);
    return true;
}

int value_compare(struct json_object *a, struct json_object *b)
{
    bool an, bn;
    uint64_t am, bm;
    if (integer_of(a, &an, &am) && integer_of(b, &bn, &bm)) {
        if (an != bn)
            return an ? -1 : 1;
        int order = am < bm ? -1 : am > bm;
        return an ? -order : order;
    }
    double x = json_object_get_double(a), y = json_object_get_double(b);
    return x < y ? -1 : x > y;
}

static bool equal_objects(struct json_object *a, struct json_object *b)
{
    if (json_object_object_length(a) != json_object_object_length(b))
        return false;
    json_object_object_foreach(a, key, mine)
    {
        struct json_object *theirs;
        if (!json_object_object_get_ex(b, key, &theirs) || !value_equal(mine, theirs))
            return false;
    }
    return true;
}

bool value_equal(struct json_object *a, struct json_object *b)
{
    json_type t = json_object_get_type(a);
    if (value_is_number(a) && value_is_number(b))
        return value_compare(a, b) == 0;
    if (a == b)
        return true;
    if (t != json_object_get_type(b))
        return false;
    switch (t) {
    case json_type_boolean:
        return json_object_get_boolean(a) == json_object_get_boolean(b);
    case json_type_string: {
        int n = json_object_get_string_len(a);
        return n == json_object_get_string_len(b) &&
               memcmp(json_object_get_string(a), json_object_get_string(b), (size_t)n) == 0;
    }
    case json_type_array: {
        size_t n = json_object_array_length(a);
        if (n != json_object_array_length(b))
            return false;
        for (size_t i = 0; i < n; i++)
            if (!value_equal(json_object_array_get_idx(a, i), json_object_array_get_idx(b, i)))
                return false;
        return true;
    }
    case json_type_object:
        return equal_objects(a, b);
    default:
        return true; /* both null */
    }
}

uint64_t value_hash(struct json_object *v, uint64_t seed)
{
    json_type t = json_object_get_type(v);
    uint64_t h = seed + (uint64_t)t * 31;
    switch (t) {
    case json_type_boolean:
        return h + (uint64_t)json_object_get_boolean(v);
    case json_type_int:
    case json_type_double: {
        double d = json_object_get_double(v) + 0.0; /* -0 is 0; equal numbers are equal doubles */
        return scan_hash(&d, sizeof d, seed);
    }
    case json_type_string:
        return scan_hash(json_object_get_string(v), (size_t)json_object_get_string_len(v), h);
    case json_type_array:
        for (size_t i = 0, n = json_object_array_length(v); i < n; i++) {
            uint64_t e = value_hash(json_object_array_get_idx(v, i), seed);
            h = scan_hash(&e, sizeof e, h);
        }
        return h;
    case json_type_object: {
        json_object_object_foreach(v, key, member)
        {
            h += scan_hash(key, strlen(key), value_hash(member, seed)); /* in any order */
        }
        return h;
    }
    default:
        return h;
    }
}

/* ---- multipleOf ---------------------------------------------------------------------------- */

/* A decimal number digits * 10^exponent. False if it has more than 19 digits. */
typedef struct decimal {
    uint64_t digits;
    long exponent;
} decimal;

static bool decimal_parse(const char *text, decimal *out)
{
    decimal d = {0, 0};
    const char *p = text + (*text == '-');
    bool fraction = false;
    for (; (*p >= '0' && *p <= '9') || *p == '.' || *p == ','; p++) {
        if (*p == '.' || *p == ',') { /* a comma: printf(3) in a locale that has it */
            fraction = true;
            continue;
        }
        if (d.digits > UINT64_C(999999999999999999))
            return false;
        d.digits = d.digits * 10 + (uint64_t)(*p - '0');
        d.exponent -= fraction;
    }
    if ((*p | 0x20) == 'e')
        d.exponent += strtol(p + 1, NULL, 10);
    if (d.exponent < -100000 || d.exponent > 100000)
        return false;
    while (d.digits && d.digits % 10 == 0) {
        d.digits /= 10;
        d.exponent++;
    }
    *out = d;
    return true;
}

/* The digits that odto_json_parse has kept, else those that identify the double. */
static bool decimal_of(struct json_object *v, decimal *out)
{
    char text[40];
    bool negative;
    uint64_t magnitude;
    if (integer_of(v, &negative, &magnitude)) {
        snprintf(text, sizeof text, "%" PRIu64, magnitude);
        return decimal_parse(text, out);
    }
    const char *kept = json_object_get_userdata(v);
    if (kept)
        return decimal_parse(kept, out);
    snprintf(text, sizeof text, "%.17g", json_object_get_double(v));
    return decimal_parse(text, out);
}

/* v * 10^n modulo m */
static uint64_t scale_modulo(uint64_t v, long n, uint64_t m)
{
    v %= m;
    for (; n > 0 && v; n--)
        v = (uint64_t)((__uint128_t)v * 10 % m);
    return v;
}

static bool decimal_is_multiple(decimal v, decimal of)
{
    if (v.digits == 0)
        return true;
    if (v.exponent >= of.exponent)
        return scale_modulo(v.digits, v.exponent - of.exponent, of.digits) == 0;
    /* of = digits * 10^k in units of v's last digit, which is not 0: 10 does not divide it, so of's 10^k does
     * not */
    return false;
}

bool value_is_multiple(struct json_object *v, struct json_object *of)
{
    decimal a, b;
    if (decimal_of(v, &a) && decimal_of(of, &b) && b.digits)
        return decimal_is_multiple(a, b);
    double quotient = json_object_get_double(v) / json_object_get_double(of);
    return isfinite(quotient) && quotient == floor(quotient);
}
