/* schema_text.c — validating strict JSON text without a tree.
 *
 * Nearly every message is valid, and a tree costs several times what it takes to walk the text once. So this
 * decides "surely valid" on the text for the keywords that messages use; everything else (a violation, a
 * keyword or a spelling it does not know, such as escapes where characters matter) goes to the tree, which
 * has the last word. Any thread; no state, no memory but what PCRE2 takes. */
#include "scan.h"
#include "schema_node.h"
#include <errno.h>

/* Objects with rules of their own inside each other; deeper ones are left to the tree. */
#define NESTED_MAX 8
/* Digits of an integer that certainly fits. */
#define DIGITS_MAX 18

/* Past the value at p if it surely fulfils n, else NULL. `end` may lie behind the value's end: the text goes
 * on there, which lets the scanners work on whole vectors. */
static const char *surely(const node *n, const char *p, const char *end, unsigned depth);

static bool no_rules(const node *n, group g)
{
    return n->first[g] == n->first[g + 1];
}

static bool surely_enum(const node *n, odto_slice text)
{
    for (size_t i = n->first[GROUP_ANY]; i < n->first[GROUP_ANY + 1]; i++) {
        const op *o = &n->ops[i];
        bool found = false;
        for (size_t k = 0; o->fn == op_enum_strings && k < o->n && !found; k++)
            found = text.n == o->strings[k].n && memcmp(text.p, o->strings[k].p, text.n) == 0;
        if (!found)
            return false;
    }
    return true;
}

static const char *surely_string(const node *n, const char *p, const char *end)
{
    if (no_rules(n, GROUP_STRING) && no_rules(n, GROUP_ANY))
        return walk_string(p, end);
    const char *quote = scan_quote(p + 1, end);
    if (quote == end || *quote != '"') /* an escape */
        return NULL;
    odto_slice text = odto_slice_of(p + 1, (size_t)(quote - p) - 1);
    for (size_t i = n->first[GROUP_STRING]; i < n->first[GROUP_STRING + 1]; i++) {
        const op *o = &n->ops[i];
        if (o->fn == op_format ? !o->format(text) : o->fn != op_pattern || regex_match(o->re, text) <= 0)
            return NULL;
    }
    return surely_enum(n, text) ? quote + 1 : NULL;
}

/* Integers, compared with integers. */
static bool surely_integer(const node *n, odto_slice v)
{
    bool negative = v.p[0] == '-';
    int64_t value = 0;
    if (v.n - negative > DIGITS_MAX)
        return false;
    for (size_t i = negative; i < v.n; i++) {
        if (v.p[i] < '0' || v.p[i] > '9')
            return false;
        value = value * 10 + (v.p[i] - '0');
    }
    value = negative ? -value : value;
    for (size_t i = n->first[GROUP_NUMBER]; i < n->first[GROUP_NUMBER + 1]; i++) {
        const op *o = &n->ops[i];
        if (!o->value || json_object_get_type(o->value) != json_type_int)
            return false;
        int64_t bound = json_object_get_int64(o->value);
        bool ok = o->fn == op_minimum             ? value >= bound
                  : o->fn == op_maximum           ? value <= bound
                  : o->fn == op_exclusive_minimum ? value > bound
                                                  : o->fn == op_exclusive_maximum && value < bound;
        if (!ok)
            return false;
    }
    return true;
}

/* What the members have shown, against the keywords of the object as a whole. */
static bool surely_members(const node *n, uint64_t present, bool unnamed)
{
    for (size_t i = n->first[GROUP_OBJECT]; i < n->first[GROUP_OBJECT + 1]; i++) {
        const op *o = &n->ops[i];
        if (o->fn == op_required) {
            for (size_t k = 0; k < o->lists->n; k++)
                if (!(present >> o->lists->need_slots[k] & 1))
                    return false;
        } else if (o->fn == op_additional_properties) {
            if (unnamed && o->one->kind != NODE_TRUE)
                return false;
        } else if (o->fn != op_properties) {
            return false;
        }
    }
    return true;
}

static const char *surely_object(const node *n, const char *p, const char *end, unsigned depth)
{
    walk_members w;
    odto_slice key;
    uint64_t present = 0;
    bool unnamed = false;
    if (no_rules(n, GROUP_OBJECT))
        return walk_value(p, end);
    if (n->n_slots > 64 || depth >= NESTED_MAX || !walk_object(&w, odto_slice_of(p, (size_t)(end - p))))
        return NULL;
    while (walk_key(&w, &key)) {
        if (w.escaped)
            return NULL;
        uint32_t slot = schema_slot(n, key.p, key.n);
        const node *rules = slot == UINT32_MAX ? NULL : n->slots[slot].schema;
        present |= slot == UINT32_MAX ? 0 : UINT64_C(1) << slot;
        unnamed |= !rules;
        w.p = rules ? surely(rules, w.p, end, depth + 1) : walk_value(w.p, end);
        if (!w.p)
            return NULL;
    }
    return w.p && surely_members(n, present, unnamed) ? w.p + 1 : NULL;
}

/* null, true, false, numbers, arrays: the simple and the rare. */
static const char *surely_other(const node *n, unsigned allowed, const char *p, const char *end)
{
    const char *after = walk_value(p, end);
    if (!after || !no_rules(n, GROUP_ANY))
        return NULL;
    bool ok;
    switch (*p) {
    case 'n':
        ok = allowed & TYPE_NULL;
        break;
    case 't':
    case 'f':
        ok = allowed & TYPE_BOOLEAN;
        break;
    case '[':
        ok = (allowed & TYPE_ARRAY) && no_rules(n, GROUP_ARRAY);
        break;
    default:
        ok = (allowed & TYPE_INTEGER) && surely_integer(n, odto_slice_of(p, (size_t)(after - p)));
    }
    return ok ? after : NULL;
}

static const char *surely(const node *n, const char *p, const char *end, unsigned depth)
{
    while (n->kind == NODE_REF)
        n = n->ref;
    if (n->kind == NODE_TRUE)
        return walk_value(p, end);
    if (n->kind == NODE_FALSE || p >= end)
        return NULL;
    unsigned allowed = n->types ? n->types : ~0U;
    if (*p == '"')
        return allowed & TYPE_STRING ? surely_string(n, p, end) : NULL;
    if (*p == '{')
        return (allowed & TYPE_OBJECT) && no_rules(n, GROUP_ANY) ? surely_object(n, p, end, depth) : NULL;
    return surely_other(n, allowed, p, end);
}

int odto_schema_validate_text(const odto_schema *s, odto_slice json, odto_violation *out, size_t max,
                              size_t *n)
{
    const char *end = json.n ? json.p + json.n : json.p;
    *n = 0;
    if (surely(s->root, scan_space(json.p, end), end, 0))
        return 0;
    struct json_object *tree;
    int rc = json_tree(json, &tree);
    if (rc)
        return rc;
    *n = odto_schema_validate(s, tree, out, max);
    json_object_put(tree);
    return *n ? -EINVAL : 0;
}
