/* schema_apply.c — keywords that apply further schemas: to the instance itself, its items, its members.
 *
 * As in ajv, the violations of the branches of a failed anyOf, oneOf or contains stay, followed by that of
 * the keyword; once the keyword holds they are dropped. Any thread; the compiled schema is only read. */
#include "schema_node.h"
#include <string.h>

/* Whether v fulfils n, without a trace. */
static bool holds(run *r, const node *n, struct json_object *v, const trail *at)
{
    r->quiet++;
    bool ok = schema_eval(r, n, v, at);
    r->quiet--;
    return ok;
}

/* ---- the same instance --------------------------------------------------------------------- */

bool op_not(run *r, const op *o, struct json_object *v, const visit *at)
{
    return !holds(r, o->one, v, at->at) || schema_violate(r, at->at, "must NOT be valid");
}

bool op_any_of(run *r, const op *o, struct json_object *v, const visit *at)
{
    size_t before = r->n;
    for (size_t i = 0; i < o->n; i++)
        if (schema_eval(r, o->nodes[i], v, at->at)) {
            r->n = before;
            return true;
        }
    return schema_violate(r, at->at, "must match a schema in anyOf");
}

bool op_one_of(run *r, const op *o, struct json_object *v, const visit *at)
{
    size_t before = r->n, matches = 0;
    for (size_t i = 0; i < o->n && matches < 2; i++)
        matches += schema_eval(r, o->nodes[i], v, at->at);
    if (matches == 1) {
        r->n = before;
        return true;
    }
    return schema_violate(r, at->at, "must match exactly one schema in oneOf");
}

bool op_all_of(run *r, const op *o, struct json_object *v, const visit *at)
{
    bool ok = true;
    for (size_t i = 0; i < o->n && (ok || schema_all(r)); i++)
        ok &= schema_eval(r, o->nodes[i], v, at->at);
    return ok;
}

bool op_if(run *r, const op *o, struct json_object *v, const visit *at)
{
    bool then = holds(r, o->one, v, at->at);
    const node *branch = then ? o->rest : o->other;
    if (!branch || schema_eval(r, branch, v, at->at))
        return true;
    return schema_violate(r, at->at, "must match \"%s\" schema", then ? "then" : "else");
}

/* ---- items --------------------------------------------------------------------------------- */

static bool item_holds(run *r, const node *n, struct json_object *array, size_t i, const visit *at)
{
    trail item = {at->at, NULL, i};
    return schema_eval(r, n, json_object_array_get_idx(array, i), &item);
}

static bool items_from(run *r, const node *n, struct json_object *v, size_t i, const visit *at)
{
    bool ok = true;
    for (size_t len = json_object_array_length(v); i < len && (ok || schema_all(r)); i++)
        ok &= item_holds(r, n, v, i, at);
    return ok;
}

bool op_items(run *r, const op *o, struct json_object *v, const visit *at)
{
    return items_from(r, o->one, v, 0, at);
}

bool op_items_tuple(run *r, const op *o, struct json_object *v, const visit *at)
{
    bool ok = true;
    size_t len = json_object_array_length(v);
    for (size_t i = 0; i < o->n && i < len && (ok || schema_all(r)); i++)
        ok &= item_holds(r, o->nodes[i], v, i, at);
    return ok;
}

bool op_additional_items(run *r, const op *o, struct json_object *v, const visit *at)
{
    if (o->one->kind != NODE_FALSE)
        return items_from(r, o->one, v, o->n, at);
    return json_object_array_length(v) <= o->n ||
           schema_violate(r, at->at, "must NOT have more than %zu items", o->n);
}

bool op_contains(run *r, const op *o, struct json_object *v, const visit *at)
{
    size_t before = r->n;
    for (size_t i = 0, len = json_object_array_length(v); i < len; i++)
        if (item_holds(r, o->one, v, i, at)) {
            r->n = before;
            return true;
        }
    return schema_violate(r, at->at, "must contain at least 1 valid item(s)");
}

/* ---- members ------------------------------------------------------------------------------- */

static bool member_holds(run *r, const node *n, const char *key, struct json_object *member, const visit *at)
{
    trail inner = {at->at, key, 0};
    return schema_eval(r, n, member, &inner);
}

bool op_properties(run *r, const op *o, struct json_object *v, const visit *at)
{
    struct json_object *member;
    bool ok = true;
    for (size_t i = 0; i < o->n && (ok || schema_all(r)); i++)
        if (schema_member(at, v, o->named[i].slot, &member))
            ok &= member_holds(r, o->named[i].node, o->named[i].name, member, at);
    return ok;
}

bool op_pattern_properties(run *r, const op *o, struct json_object *v, const visit *at)
{
    bool ok = true;
    for (size_t i = 0; i < o->n && (ok || schema_all(r)); i++) {
        json_object_object_foreach(v, key, member)
        {
            if ((ok || schema_all(r)) && regex_match(o->patterns[i].re, odto_slice_str(key)) > 0)
                ok &= member_holds(r, o->patterns[i].node, key, member, at);
        }
    }
    return ok;
}

static bool is_additional(const node *n, const char *key)
{
    uint32_t slot = schema_slot(n, key, strlen(key));
    if (slot != UINT32_MAX && n->slots[slot].property)
        return false;
    for (size_t i = 0; i < n->n_patterns; i++)
        if (regex_match(n->patterns[i].re, odto_slice_str(key)) > 0)
            return false;
    return true;
}

bool op_additional_properties(run *r, const op *o, struct json_object *v, const visit *at)
{
    bool ok = true;
    json_object_object_foreach(v, key, member)
    {
        if (!(ok || schema_all(r)) || !is_additional(at->node, key))
            continue;
        if (o->one->kind == NODE_FALSE)
            ok = schema_violate(r, at->at, "must NOT have additional properties");
        else
            ok &= member_holds(r, o->one, key, member, at);
    }
    return ok;
}

bool op_property_names(run *r, const op *o, struct json_object *v, const visit *at)
{
    bool ok = true;
    json_object_object_foreach(v, key, member)
    {
        (void)member;
        if (!(ok || schema_all(r)))
            continue;
        struct json_object *name = json_object_new_string(key);
        if (!name || !schema_eval(r, o->one, name, at->at))
            ok = schema_violate(r, at->at, "property name must be valid");
        json_object_put(name);
    }
    return ok;
}

bool op_dependency_schemas(run *r, const op *o, struct json_object *v, const visit *at)
{
    struct json_object *ignored;
    bool ok = true;
    for (size_t i = 0; i < o->n && (ok || schema_all(r)); i++)
        if (schema_member(at, v, o->named[i].slot, &ignored))
            ok &= schema_eval(r, o->named[i].node, v, at->at);
    return ok;
}
