/* schema_eval.c — validating an instance: the walk over nodes, and the keywords that look at one value only.
 *
 * Messages are those of ajv 8. Nothing here allocates, except uniqueItems of long arrays and PCRE2 while it
 * matches. Any thread; the compiled schema is only read. */
#include "schema_node.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- paths and violations ------------------------------------------------------------------ */

/* Appends one token escaped; false when it does not fit. */
static bool put_token(char *out, size_t size, size_t *n, const char *token)
{
    size_t at = *n;
    if (at + 1 >= size)
        return false;
    out[at++] = '/';
    for (; *token; token++) {
        bool escape = *token == '~' || *token == '/';
        if (at + 1 + escape >= size)
            break;
        if (escape)
            out[at++] = '~';
        out[at++] = escape ? (*token == '~' ? '0' : '1') : *token;
    }
    if (*token) /* cut: not inside a character */
        while (at > *n && ((unsigned char)*token & 0xC0) == 0x80)
            token--, at--;
    *n = at;
    return *token == '\0';
}

static bool put_trail(const trail *p, char *out, size_t size, size_t *n)
{
    char index[24];
    if (!p)
        return true;
    if (!put_trail(p->up, out, size, n))
        return false;
    snprintf(index, sizeof index, "%zu", p->index);
    return put_token(out, size, n, p->key ? p->key : index);
}

void trail_text(const trail *p, const char *root, char *out, size_t size)
{
    size_t n = 0;
    put_trail(p, out, size, &n);
    out[n] = '\0';
    if (!p)
        snprintf(out, size, "%s", root);
}

/* A message that did not fit ends with a whole character. */
static void trim_utf8(char *text, size_t size)
{
    size_t n = strlen(text);
    if (n + 1 < size)
        return;
    while (n > 0 && ((unsigned char)text[n - 1] & 0xC0) == 0x80)
        n--;
    if (n > 0 && (unsigned char)text[n - 1] >= 0xC0)
        n--;
    text[n] = '\0';
}

bool schema_violate(run *r, const trail *at, const char *fmt, ...)
{
    if (r->quiet || r->n >= r->max)
        return false;
    odto_violation *v = &r->out[r->n++];
    trail_text(at, "/", v->path, sizeof v->path);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(v->message, sizeof v->message, fmt, ap);
    va_end(ap);
    trim_utf8(v->message, sizeof v->message);
    return false;
}

/* ---- nodes --------------------------------------------------------------------------------- */

static group group_of(json_type t)
{
    switch (t) {
    case json_type_int:
    case json_type_double:
        return GROUP_NUMBER;
    case json_type_string:
        return GROUP_STRING;
    case json_type_array:
        return GROUP_ARRAY;
    case json_type_object:
        return GROUP_OBJECT;
    default:
        return GROUP_ANY;
    }
}

static unsigned type_bits(struct json_object *v)
{
    switch (json_object_get_type(v)) {
    case json_type_null:
        return TYPE_NULL;
    case json_type_boolean:
        return TYPE_BOOLEAN;
    case json_type_int:
        return TYPE_INTEGER;
    case json_type_double:
        return value_is_integer(v) ? TYPE_INTEGER : TYPE_NUMBER;
    case json_type_string:
        return TYPE_STRING;
    case json_type_array:
        return TYPE_ARRAY;
    default:
        return TYPE_OBJECT;
    }
}

static bool eval_ops(run *r, const node *n, group g, struct json_object *v, const visit *at)
{
    bool ok = true;
    for (size_t i = n->first[g]; i < n->first[g + 1] && (ok || schema_all(r)); i++)
        ok &= n->ops[i].fn(r, &n->ops[i], v, at);
    return ok;
}

/* Finds the members that the schema names in one pass, then its object keywords. */
static bool eval_object(run *r, const node *n, struct json_object *v, visit *at)
{
    struct json_object *values[SCHEMA_SLOTS];
    if (n->n_slots) {
        json_object_object_foreach(v, key, member)
        {
            uint32_t i = schema_slot(n, key, strlen(key));
            if (i < SCHEMA_SLOTS) {
                values[i] = member;
                at->present |= UINT64_C(1) << i;
            }
        }
    }
    at->values = values;
    return eval_ops(r, n, GROUP_OBJECT, v, at);
}

bool schema_member(const visit *at, struct json_object *object, uint32_t slot, struct json_object **value)
{
    if (slot >= SCHEMA_SLOTS)
        return json_object_object_get_ex(object, at->node->slots[slot].name, value);
    if (!(at->present >> slot & 1))
        return false;
    *value = at->values[slot];
    return true;
}

static bool eval_group(run *r, const node *n, group g, struct json_object *v, visit *at)
{
    if (n->first[g] == n->first[g + 1])
        return true;
    return g == GROUP_OBJECT ? eval_object(r, n, v, at) : eval_ops(r, n, g, v, at);
}

/* ajv reports a wrong type before everything else, or where the keywords of the one wanted type would stand.
 */
static bool eval_rules(run *r, const node *n, struct json_object *v, const trail *p)
{
    visit at = {p, n, NULL, 0};
    bool typed = n->types == 0 || (n->types & type_bits(v)), ok = true;
    group mine = group_of(json_object_get_type(v));
    if (!typed && n->type_first)
        ok = schema_violate(r, p, "%s", n->type_error);
    if (ok || schema_all(r))
        ok &= eval_ops(r, n, GROUP_ANY, v, &at);
    bool late = !typed && !n->type_first;
    if (late && n->type_group < mine && (ok || schema_all(r))) {
        ok = schema_violate(r, p, "%s", n->type_error);
        late = false;
    }
    if (mine != GROUP_ANY && (ok || schema_all(r)))
        ok &= eval_group(r, n, mine, v, &at);
    if (late && (ok || schema_all(r)))
        ok = schema_violate(r, p, "%s", n->type_error);
    return ok;
}

bool schema_eval(run *r, const node *n, struct json_object *v, const trail *at)
{
    while (n->kind == NODE_REF)
        n = n->ref;
    if (n->kind == NODE_TRUE)
        return true;
    if (n->kind == NODE_FALSE)
        return schema_violate(r, at, "boolean schema is false");
    if (r->depth >= SCHEMA_FRAMES_MAX)
        return schema_violate(r, at, "must not be nested so deeply");
    r->depth++;
    bool ok = eval_rules(r, n, v, at);
    r->depth--;
    return ok;
}

size_t odto_schema_validate(const odto_schema *s, struct json_object *value, odto_violation *out, size_t max)
{
    run r = {.out = out, .max = max};
    bool ok = schema_eval(&r, s->root, value, NULL);
    if (max == 0)
        return ok ? 0 : 1;
    return r.n;
}

/* ---- any instance -------------------------------------------------------------------------- */

bool op_const(run *r, const op *o, struct json_object *v, const visit *at)
{
    return value_equal(v, o->value) || schema_violate(r, at->at, "must be equal to constant");
}

bool op_enum(run *r, const op *o, struct json_object *v, const visit *at)
{
    for (size_t i = 0; i < o->n; i++)
        if (value_equal(v, json_object_array_get_idx(o->value, i)))
            return true;
    return schema_violate(r, at->at, "must be equal to one of the allowed values");
}

bool op_enum_strings(run *r, const op *o, struct json_object *v, const visit *at)
{
    if (json_object_get_type(v) == json_type_string) {
        const char *text = json_object_get_string(v);
        size_t n = (size_t)json_object_get_string_len(v);
        for (size_t i = 0; i < o->n; i++)
            if (o->strings[i].n == n && memcmp(o->strings[i].p, text, n) == 0)
                return true;
    }
    return schema_violate(r, at->at, "must be equal to one of the allowed values");
}

/* ---- numbers ------------------------------------------------------------------------------- */

bool op_maximum(run *r, const op *o, struct json_object *v, const visit *at)
{
    return value_compare(v, o->value) <= 0 || schema_violate(r, at->at, "must be <= %s", o->strings->p);
}

bool op_minimum(run *r, const op *o, struct json_object *v, const visit *at)
{
    return value_compare(v, o->value) >= 0 || schema_violate(r, at->at, "must be >= %s", o->strings->p);
}

bool op_exclusive_maximum(run *r, const op *o, struct json_object *v, const visit *at)
{
    return value_compare(v, o->value) < 0 || schema_violate(r, at->at, "must be < %s", o->strings->p);
}

bool op_exclusive_minimum(run *r, const op *o, struct json_object *v, const visit *at)
{
    return value_compare(v, o->value) > 0 || schema_violate(r, at->at, "must be > %s", o->strings->p);
}

bool op_multiple_of(run *r, const op *o, struct json_object *v, const visit *at)
{
    return value_is_multiple(v, o->value) ||
           schema_violate(r, at->at, "must be multiple of %s", o->strings->p);
}

/* ---- strings ------------------------------------------------------------------------------- */

static odto_slice text_of(struct json_object *v)
{
    return odto_slice_of(json_object_get_string(v), (size_t)json_object_get_string_len(v));
}

/* Length in characters (code points), as JSON Schema counts. */
static size_t characters(odto_slice s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += ((unsigned char)s.p[i] & 0xC0) != 0x80;
    return n;
}

bool op_max_length(run *r, const op *o, struct json_object *v, const visit *at)
{
    return characters(text_of(v)) <= o->n ||
           schema_violate(r, at->at, "must NOT have more than %zu characters", o->n);
}

bool op_min_length(run *r, const op *o, struct json_object *v, const visit *at)
{
    return characters(text_of(v)) >= o->n ||
           schema_violate(r, at->at, "must NOT have fewer than %zu characters", o->n);
}

bool op_pattern(run *r, const op *o, struct json_object *v, const visit *at)
{
    int match = regex_match(o->re, text_of(v));
    if (match > 0)
        return true;
    if (match < 0)
        return schema_violate(r, at->at, "must match pattern \"%s\" (too costly to decide)",
                              json_object_get_string(o->value));
    return schema_violate(r, at->at, "must match pattern \"%s\"", json_object_get_string(o->value));
}

bool op_format(run *r, const op *o, struct json_object *v, const visit *at)
{
    return o->format(text_of(v)) ||
           schema_violate(r, at->at, "must match format \"%s\"", json_object_get_string(o->value));
}

/* ---- arrays -------------------------------------------------------------------------------- */

bool op_max_items(run *r, const op *o, struct json_object *v, const visit *at)
{
    return json_object_array_length(v) <= o->n ||
           schema_violate(r, at->at, "must NOT have more than %zu items", o->n);
}

bool op_min_items(run *r, const op *o, struct json_object *v, const visit *at)
{
    return json_object_array_length(v) >= o->n ||
           schema_violate(r, at->at, "must NOT have fewer than %zu items", o->n);
}

#define PAIRWISE_MAX 16

/* The last element that equals an earlier one; pairwise. *with is the nearest such. 0: all differ. */
static size_t duplicate_pairwise(struct json_object *v, size_t n, size_t *with)
{
    for (size_t i = n; i-- > 1;)
        for (size_t j = i; j-- > 0;)
            if (value_equal(json_object_array_get_idx(v, i), json_object_array_get_idx(v, j))) {
                *with = j;
                return i;
            }
    return 0;
}

/* The same with a table of hashes, seeded because the elements come from outside. */
static size_t duplicate_hashed(struct json_object *v, size_t n, size_t *with)
{
    size_t cap = 64, found = 0;
    while (cap < 2 * n)
        cap *= 2;
    struct entry {
        uint64_t hash;
        size_t index; /* + 1 */
    } *table = calloc(cap, sizeof *table);
    if (!table)
        return duplicate_pairwise(v, n, with);
    uint64_t seed = odto_random64();
    for (size_t i = 0; i < n; i++) {
        struct json_object *item = json_object_array_get_idx(v, i);
        uint64_t hash = value_hash(item, seed);
        struct entry *e = &table[hash & (cap - 1)];
        while (e->index &&
               (e->hash != hash || !value_equal(item, json_object_array_get_idx(v, e->index - 1))))
            e = e + 1 == table + cap ? table : e + 1;
        if (e->index) {
            found = i;
            *with = e->index - 1;
        }
        *e = (struct entry){hash, i + 1};
    }
    free(table);
    return found;
}

bool op_unique_items(run *r, const op *o, struct json_object *v, const visit *at)
{
    (void)o;
    size_t n = json_object_array_length(v), with = 0;
    size_t i = n <= PAIRWISE_MAX ? duplicate_pairwise(v, n, &with) : duplicate_hashed(v, n, &with);
    if (i == 0)
        return true;
    return schema_violate(r, at->at, "must NOT have duplicate items (items ## %zu and %zu are identical)",
                          with, i);
}

/* ---- objects ------------------------------------------------------------------------------- */

bool op_max_properties(run *r, const op *o, struct json_object *v, const visit *at)
{
    return (size_t)json_object_object_length(v) <= o->n ||
           schema_violate(r, at->at, "must NOT have more than %zu properties", o->n);
}

bool op_min_properties(run *r, const op *o, struct json_object *v, const visit *at)
{
    return (size_t)json_object_object_length(v) >= o->n ||
           schema_violate(r, at->at, "must NOT have fewer than %zu properties", o->n);
}

bool op_required(run *r, const op *o, struct json_object *v, const visit *at)
{
    struct json_object *ignored;
    bool ok = true;
    for (size_t i = 0; i < o->lists->n && (ok || schema_all(r)); i++)
        if (!schema_member(at, v, o->lists->need_slots[i], &ignored))
            ok = schema_violate(r, at->at, "must have required property '%s'", o->lists->needs[i]);
    return ok;
}

bool op_dependency_names(run *r, const op *o, struct json_object *v, const visit *at)
{
    struct json_object *ignored;
    bool ok = true;
    for (size_t i = 0; i < o->n && (ok || schema_all(r)); i++) {
        const named_list *d = &o->lists[i];
        if (!schema_member(at, v, d->slot, &ignored))
            continue;
        odto_buf names = {.max = 200};
        for (size_t j = 0; j < d->n; j++)
            odto_buf_printf(&names, "%s%s", j ? ", " : "", d->needs[j]);
        for (size_t j = 0; j < d->n && (ok || schema_all(r)); j++)
            if (!schema_member(at, v, d->need_slots[j], &ignored))
                ok = schema_violate(r, at->at, "must have propert%s %s when property %s is present",
                                    d->n > 1 ? "ies" : "y", names.p ? names.p : d->needs[j], d->name);
        odto_buf_free(&names);
    }
    return ok;
}
