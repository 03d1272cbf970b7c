/* schema_compile.c — from a JSON Schema document to nodes and ops (schema_node.h).
 *
 * One table lists the keywords in the order in which ajv 8 evaluates them, with the function that checks a
 * keyword's value and fills its op. References are queued and resolved afterwards, so that schemas may refer
 * to each other in circles; a circle that never enters the instance is refused. Runs on the calling thread
 * only. */
#include "scan.h"
#include "schema_node.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct block {
    struct block *next;
    max_align_t data[];
} block;

typedef struct regex_list {
    struct regex_list *next;
    regex *re;
} regex_list;

typedef struct pending { /* a node whose $ref is not resolved yet */
    struct pending *next;
    node *from;
    char *uri; /* absolute */
    char at[256];
} pending;

typedef struct compiler {
    odto_schema *s;
    resources resources;
    odto_error *err;
    pending *queue;
    struct {
        struct json_object *schema;
        node *n;
    } * memo; /* schemas compiled already; open addressing */
    size_t memo_cap, memo_n;
} compiler;

/* Where the compiler is: the place of a schema, the base of its references. */
typedef struct place {
    const trail *at;
    const char *base;
} place;

typedef struct keyword keyword;
typedef int keyword_fn(compiler *c, const keyword *k, struct json_object *v, op *o, node *n, const place *p);

struct keyword {
    const char *name;
    group group;
    keyword_fn *compile; /* leaves o->fn NULL when there is nothing to check */
    op_fn *eval;
};

static int compile_node(compiler *c, struct json_object *schema, const place *p, node **out);

/* ---- helpers ------------------------------------------------------------------------------- */

static int no_memory(compiler *c)
{
    return odto_fail(c->err, -ENOMEM, "no memory for schema %s", c->s->name);
}

static int wrong(compiler *c, const trail *at, const char *must)
{
    char where[256];
    trail_text(at, "/", where, sizeof where);
    int rc = odto_fail(c->err, -EINVAL, "schema %s is invalid", c->s->name);
    odto_error_detail(c->err, "%s %s", where, must);
    return rc;
}

/* Zeroed memory of the schema; NULL without memory. */
static void *take(compiler *c, size_t n, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes) || bytes > SIZE_MAX - sizeof(block))
        return NULL;
    block *b = calloc(1, sizeof *b + bytes + 1);
    if (!b)
        return NULL;
    b->next = c->s->blocks;
    c->s->blocks = b;
    return b->data;
}

static trail below(const place *p, const char *key)
{
    return (trail){p->at, key, 0};
}

/* A subschema at a member of the schema. */
static int child(compiler *c, struct json_object *schema, const trail *at, const place *p, const node **out)
{
    place inner = {at, p->base};
    node *n;
    int rc = compile_node(c, schema, &inner, &n);
    if (rc == 0)
        *out = n;
    return rc;
}

static int children(compiler *c, struct json_object *array, const trail *at, const place *p, op *o)
{
    size_t n = json_object_array_length(array);
    const node **nodes = take(c, n, sizeof *nodes);
    if (!nodes)
        return no_memory(c);
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++) {
        trail item = {at, NULL, i};
        rc = child(c, json_object_array_get_idx(array, i), &item, p, &nodes[i]);
    }
    o->nodes = nodes;
    o->n = n;
    return rc;
}

static int add_regex(compiler *c, const char *pattern, const trail *at, regex **out)
{
    char why[128], must[200];
    regex_list *l = malloc(sizeof *l);
    if (!l)
        return no_memory(c);
    int rc = regex_compile(odto_slice_str(pattern), &l->re, why, sizeof why);
    if (rc) {
        free(l);
        snprintf(must, sizeof must, "must be a regular expression: %s", why);
        return rc == -ENOMEM ? no_memory(c) : wrong(c, at, must);
    }
    l->next = c->s->regexes;
    c->s->regexes = l;
    *out = l->re;
    return 0;
}

static bool is_string_array(struct json_object *v)
{
    if (json_object_get_type(v) != json_type_array)
        return false;
    for (size_t i = 0, n = json_object_array_length(v); i < n; i++) {
        struct json_object *item = json_object_array_get_idx(v, i);
        if (json_object_get_type(item) != json_type_string)
            return false;
        for (size_t j = 0; j < i; j++)
            if (value_equal(item, json_object_array_get_idx(v, j)))
                return false;
    }
    return true;
}

/* ---- names --------------------------------------------------------------------------------- */

static uint32_t name_hash(const char *name, size_t len)
{
    return (uint32_t)scan_hash(name, len, 0);
}

uint32_t schema_slot(const node *n, const char *key, size_t len)
{
    uint32_t hash = name_hash(key, len);
    if (n->n_slots == 0)
        return UINT32_MAX;
    for (uint32_t i = hash & n->table_mask; n->table[i]; i = (i + 1) & n->table_mask) {
        const name_slot *s = &n->slots[n->table[i] - 1];
        if (s->hash == hash && s->len == len && memcmp(s->name, key, len) == 0)
            return n->table[i] - 1;
    }
    return UINT32_MAX;
}

static void add_name(node *n, uint32_t *table, const char *name, bool property)
{
    size_t len = strlen(name);
    uint32_t known = schema_slot(n, name, len);
    if (known == UINT32_MAX) {
        known = n->n_slots++;
        n->slots[known] = (name_slot){.name = name, .len = (uint32_t)len, .hash = name_hash(name, len)};
        uint32_t i = n->slots[known].hash & n->table_mask;
        while (table[i])
            i = (i + 1) & n->table_mask;
        table[i] = known + 1;
    }
    n->slots[known].property |= property;
}

static void add_array(node *n, uint32_t *table, struct json_object *names)
{
    for (size_t i = 0, len = is_string_array(names) ? json_object_array_length(names) : 0; i < len; i++)
        add_name(n, table, json_object_get_string(json_object_array_get_idx(names, i)), false);
}

/* The members of "properties"; of "dependencies" also the names that a name needs. */
static void add_members(node *n, uint32_t *table, struct json_object *v, bool properties)
{
    if (json_object_get_type(v) != json_type_object)
        return;
    json_object_object_foreach(v, key, member)
    {
        add_name(n, table, key, properties);
        if (!properties)
            add_array(n, table, member);
    }
}

static size_t count_names(struct json_object *v, bool deep)
{
    size_t total = 0;
    if (json_object_get_type(v) == json_type_array)
        return json_object_array_length(v);
    if (json_object_get_type(v) != json_type_object)
        return 0;
    json_object_object_foreach(v, key, member)
    {
        (void)key;
        total +=
            1 +
            (deep && json_object_get_type(member) == json_type_array ? json_object_array_length(member) : 0);
    }
    return total;
}

/* The names of "required", "properties" and "dependencies", before their ops ask for slots. */
static int collect_names(compiler *c, node *n, struct json_object *schema)
{
    struct json_object *required = NULL, *properties = NULL, *dependencies = NULL;
    json_object_object_get_ex(schema, "required", &required);
    json_object_object_get_ex(schema, "properties", &properties);
    json_object_object_get_ex(schema, "dependencies", &dependencies);
    size_t total =
        count_names(required, false) + count_names(properties, false) + count_names(dependencies, true);
    if (total == 0)
        return 0;
    if (total > UINT32_MAX / 4)
        return no_memory(c);
    uint32_t size = 4;
    while (size < 2 * total)
        size *= 2;
    uint32_t *table = take(c, size, sizeof *table);
    n->slots = take(c, total, sizeof *n->slots);
    if (!table || !n->slots)
        return no_memory(c);
    n->table = table;
    n->table_mask = size - 1;
    add_array(n, table, required);
    add_members(n, table, properties, true);
    add_members(n, table, dependencies, false);
    return 0;
}

/* ---- keywords: values ---------------------------------------------------------------------- */

static int kw_value(compiler *c, const keyword *k, struct json_object *v, op *o, node *n, const place *p)
{
    (void)c, (void)n, (void)p;
    o->value = v;
    o->fn = k->eval;
    return 0;
}

static int kw_enum(compiler *c, const keyword *k, struct json_object *v, op *o, node *n, const place *p)
{
    (void)n;
    trail at = below(p, k->name);
    if (json_object_get_type(v) != json_type_array)
        return wrong(c, &at, "must be an array");
    o->value = v;
    o->fn = k->eval;
    o->n = json_object_array_length(v);
    for (size_t i = 0; i < o->n; i++)
        if (json_object_get_type(json_object_array_get_idx(v, i)) != json_type_string)
            return 0;
    odto_slice *strings = take(c, o->n, sizeof *strings);
    if (!strings)
        return no_memory(c);
    for (size_t i = 0; i < o->n; i++) {
        struct json_object *s = json_object_array_get_idx(v, i);
        strings[i] = odto_slice_of(json_object_get_string(s), (size_t)json_object_get_string_len(s));
    }
    o->strings = strings;
    o->fn = op_enum_strings;
    return 0;
}

static int kw_number(compiler *c, const keyword *k, struct json_object *v, op *o, node *n, const place *p)
{
    (void)n;
    trail at = below(p, k->name);
    if (!value_is_number(v))
        return wrong(c, &at, "must be a number");
    if (k->eval == op_multiple_of && json_object_get_double(v) <= 0)
        return wrong(c, &at, "must be greater than 0");
    const char *text = json_object_to_json_string(v); /* NULL without memory */
    if (!text)
        return no_memory(c);
    odto_slice *copy = take(c, 1, sizeof *copy + strlen(text) + 1);
    if (!copy)
        return no_memory(c);
    *copy = odto_slice_of(strcpy((char *)(copy + 1), text), strlen(text));
    o->strings = copy;
    o->value = v;
    o->fn = k->eval;
    return 0;
}

static int kw_count(compiler *c, const keyword *k, struct json_object *v, op *o, node *n, const place *p)
{
    (void)n;
    trail at = below(p, k->name);
    if (!value_is_number(v) || !value_is_integer(v) || json_object_get_double(v) < 0)
        return wrong(c, &at, "must be an integer that is not negative");
    o->n = (size_t)json_object_get_int64(v);
    o->fn = k->eval;
    return 0;
}

static int kw_pattern(compiler *c, const keyword *k, struct json_object *v, op *o, node *n, const place *p)
{
    (void)n;
    trail at = below(p, k->name);
    if (json_object_get_type(v) != json_type_string)
        return wrong(c, &at, "must be a string");
    o->value = v;
    o->fn = k->eval;
    return add_regex(c, json_object_get_string(v), &at, &o->re);
}

static int kw_format(compiler *c, const keyword *k, struct json_object *v, op *o, node *n, const place *p)
{
    (void)n;
    trail at = below(p, k->name);
    if (json_object_get_type(v) != json_type_string)
        return wrong(c, &at, "must be a string");
    o->value = v;
    o->format = format_find(json_object_get_string(v));
    if (o->format)
        o->fn = k->eval;
    return 0;
}

static int kw_flag(compiler *c, const keyword *k, struct json_object *v, op *o, node *n, const place *p)
{
    (void)n;
    trail at = below(p, k->name);
    if (json_object_get_type(v) != json_type_boolean)
        return wrong(c, &at, "must be a boolean");
    if (json_object_get_boolean(v))
        o->fn = k->eval;
    return 0;
}

/* Names with their slots; shared by required and by dependencies on names. */
static int name_list(compiler *c, const node *n, struct json_object *array, named_list *out)
{
    size_t len = json_object_array_length(array);
    const char **names = take(c, len, sizeof *names);
    uint32_t *slots = take(c, len, sizeof *slots);
    if (!names || !slots)
        return no_memory(c);
    for (size_t i = 0; i < len; i++) {
        names[i] = json_object_get_string(json_object_array_get_idx(array, i));
        slots[i] = schema_slot(n, names[i], strlen(names[i]));
    }
    out->needs = names;
    out->need_slots = slots;
    out->n = len;
    return 0;
}

static int kw_required(compiler *c, const keyword *k, struct json_object *v, op *o, node *n, const place *p)
{
    trail at = below(p, k->name);
    if (!is_string_array(v))
        return wrong(c, &at, "must be an array of different strings");
    named_list *list = take(c, 1, sizeof *list);
    if (!list)
        return no_memory(c);
    o->lists = list;
    o->fn = k->eval;
    return name_list(c, n, v, list);
}

/* ---- keywords: subschemas ------------------------------------------------------------------ */

static int kw_schema(compiler *c, const keyword *k, struct json_object *v, op *o, node *n, const place *p)
{
    (void)n;
    trail at = below(p, k->name);
    o->fn = k->eval;
    return child(c, v, &at, p, &o->one);
}

static int kw_schemas(compiler *c, const keyword *k, struct json_object *v, op *o, node *n, const place *p)
{
    (void)n;
    trail at = below(p, k->name);
    if (json_object_get_type(v) != json_type_array || json_object_array_length(v) == 0)
        return wrong(c, &at, "must be an array of at least one schema");
    o->fn = k->eval;
    return children(c, v, &at, p, o);
}

static int kw_items(compiler *c, const keyword *k, struct json_object *v, op *o, node *n, const place *p)
{
    trail at = below(p, k->name);
    if (json_object_get_type(v) != json_type_array)
        return kw_schema(c, k, v, o, n, p);
    o->fn = op_items_tuple;
    return children(c, v, &at, p, o);
}

static int kw_additional_items(compiler *c, const keyword *k, struct json_object *v, op *o, node *n,
                               const place *p)
{
    int rc = kw_schema(c, k, v, o, n, p);
    if (n->tuple == SIZE_MAX) /* "items" is no array: nothing is additional */
        o->fn = NULL;
    o->n = n->tuple;
    return rc;
}

/* The branches stand beside "if" in the schema, which compile_rules has left in o->value. */
static int kw_if(compiler *c, const keyword *k, struct json_object *v, op *o, node *n, const place *p)
{
    (void)n;
    struct json_object *branch;
    trail here = below(p, k->name), then = below(p, "then"), other = below(p, "else");
    int rc = child(c, v, &here, p, &o->one);
    if (rc == 0 && json_object_object_get_ex(o->value, "then", &branch))
        rc = child(c, branch, &then, p, &o->rest);
    if (rc == 0 && json_object_object_get_ex(o->value, "else", &branch))
        rc = child(c, branch, &other, p, &o->other);
    if (o->rest || o->other)
        o->fn = k->eval;
    return rc;
}

static int kw_properties(compiler *c, const keyword *k, struct json_object *v, op *o, node *n, const place *p)
{
    trail at = below(p, k->name);
    int rc = 0;
    if (json_object_get_type(v) != json_type_object)
        return wrong(c, &at, "must be an object of schemas");
    named_node *list = take(c, (size_t)json_object_object_length(v), sizeof *list);
    if (!list)
        return no_memory(c);
    json_object_object_foreach(v, key, member)
    {
        trail item = {&at, key, 0};
        list[o->n] = (named_node){key, schema_slot(n, key, strlen(key)), NULL};
        if (rc == 0)
            rc = child(c, member, &item, p, &list[o->n].node);
        n->slots[list[o->n].slot].schema = list[o->n].node;
        o->n++;
    }
    o->named = list;
    o->fn = k->eval;
    return rc;
}

static int kw_pattern_properties(compiler *c, const keyword *k, struct json_object *v, op *o, node *n,
                                 const place *p)
{
    trail at = below(p, k->name);
    int rc = 0;
    if (json_object_get_type(v) != json_type_object)
        return wrong(c, &at, "must be an object of schemas");
    regex_node *list = take(c, (size_t)json_object_object_length(v), sizeof *list);
    if (!list)
        return no_memory(c);
    json_object_object_foreach(v, key, member)
    {
        trail item = {&at, key, 0};
        if (rc == 0)
            rc = add_regex(c, key, &item, &list[o->n].re);
        if (rc == 0)
            rc = child(c, member, &item, p, &list[o->n].node);
        o->n++;
    }
    o->patterns = n->patterns = list;
    n->n_patterns = o->n;
    o->fn = k->eval;
    return rc;
}

/* Dependencies on names become one op, those on schemas another (ajv checks them in this order). */
static int kw_dependency_names(compiler *c, const keyword *k, struct json_object *v, op *o, node *n,
                               const place *p)
{
    trail at = below(p, "dependencies");
    int rc = 0;
    if (json_object_get_type(v) != json_type_object)
        return wrong(c, &at, "must be an object");
    named_list *list = take(c, (size_t)json_object_object_length(v), sizeof *list);
    if (!list)
        return no_memory(c);
    json_object_object_foreach(v, key, member)
    {
        trail item = {&at, key, 0};
        if (rc || json_object_get_type(member) != json_type_array)
            continue;
        if (!is_string_array(member))
            return wrong(c, &item, "must be a schema or an array of different strings");
        list[o->n].name = key;
        list[o->n].slot = schema_slot(n, key, strlen(key));
        rc = name_list(c, n, member, &list[o->n++]);
    }
    o->lists = list;
    o->fn = o->n ? k->eval : NULL;
    return rc;
}

static int kw_dependency_schemas(compiler *c, const keyword *k, struct json_object *v, op *o, node *n,
                                 const place *p)
{
    trail at = below(p, "dependencies");
    int rc = 0;
    named_node *list = take(c, (size_t)json_object_object_length(v), sizeof *list);
    if (!list)
        return no_memory(c);
    json_object_object_foreach(v, key, member)
    {
        trail item = {&at, key, 0};
        if (rc || json_object_get_type(member) == json_type_array)
            continue;
        list[o->n].name = key;
        list[o->n].slot = schema_slot(n, key, strlen(key));
        rc = child(c, member, &item, p, &list[o->n++].node);
    }
    o->named = list;
    o->fn = o->n ? k->eval : NULL;
    return rc;
}

/* In the order of ajv 8: for any instance, then by type; within these by vocabulary. */
static const keyword keywords[] = {
    {"const", GROUP_ANY, kw_value, op_const},
    {"enum", GROUP_ANY, kw_enum, op_enum},
    {"not", GROUP_ANY, kw_schema, op_not},
    {"anyOf", GROUP_ANY, kw_schemas, op_any_of},
    {"oneOf", GROUP_ANY, kw_schemas, op_one_of},
    {"allOf", GROUP_ANY, kw_schemas, op_all_of},
    {"if", GROUP_ANY, kw_if, op_if},
    {"maximum", GROUP_NUMBER, kw_number, op_maximum},
    {"minimum", GROUP_NUMBER, kw_number, op_minimum},
    {"exclusiveMaximum", GROUP_NUMBER, kw_number, op_exclusive_maximum},
    {"exclusiveMinimum", GROUP_NUMBER, kw_number, op_exclusive_minimum},
    {"multipleOf", GROUP_NUMBER, kw_number, op_multiple_of},
    {"maxLength", GROUP_STRING, kw_count, op_max_length},
    {"minLength", GROUP_STRING, kw_count, op_min_length},
    {"pattern", GROUP_STRING, kw_pattern, op_pattern},
    {"format", GROUP_STRING, kw_format, op_format},
    {"maxItems", GROUP_ARRAY, kw_count, op_max_items},
    {"minItems", GROUP_ARRAY, kw_count, op_min_items},
    {"uniqueItems", GROUP_ARRAY, kw_flag, op_unique_items},
    {"additionalItems", GROUP_ARRAY, kw_additional_items, op_additional_items},
    {"items", GROUP_ARRAY, kw_items, op_items},
    {"contains", GROUP_ARRAY, kw_schema, op_contains},
    {"maxProperties", GROUP_OBJECT, kw_count, op_max_properties},
    {"minProperties", GROUP_OBJECT, kw_count, op_min_properties},
    {"required", GROUP_OBJECT, kw_required, op_required},
    {"propertyNames", GROUP_OBJECT, kw_schema, op_property_names},
    {"additionalProperties", GROUP_OBJECT, kw_schema, op_additional_properties},
    {"dependencies", GROUP_OBJECT, kw_dependency_names, op_dependency_names},
    {"dependencies", GROUP_OBJECT, kw_dependency_schemas, op_dependency_schemas},
    {"properties", GROUP_OBJECT, kw_properties, op_properties},
    {"patternProperties", GROUP_OBJECT, kw_pattern_properties, op_pattern_properties},
};
#define N_KEYWORDS (sizeof keywords / sizeof keywords[0])

/* ---- type ---------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    unsigned bits;
    group group; /* GROUP_ANY: it has no keywords of its own in ajv */
} types[] = {
    {"null", TYPE_NULL, GROUP_ANY},        {"boolean", TYPE_BOOLEAN, GROUP_ANY},
    {"integer", TYPE_INTEGER, GROUP_ANY},  {"number", TYPE_NUMBER | TYPE_INTEGER, GROUP_NUMBER},
    {"string", TYPE_STRING, GROUP_STRING}, {"array", TYPE_ARRAY, GROUP_ARRAY},
    {"object", TYPE_OBJECT, GROUP_OBJECT},
};

static int add_type(compiler *c, node *n, struct json_object *v, const trail *at, odto_buf *text)
{
    const char *name = json_object_get_type(v) == json_type_string ? json_object_get_string(v) : "";
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (strcmp(types[i].name, name) != 0)
            continue;
        odto_buf_str(text, n->types ? "," : "");
        odto_buf_str(text, name);
        n->types |= types[i].bits;
        n->type_group = types[i].group;
        return 0;
    }
    return wrong(c, at, "must be null, boolean, integer, number, string, array or object");
}

/* Whether ajv would look at the instance's type for a keyword of the group; "format" is one for numbers too
 * there. */
static bool group_used(struct json_object *schema, group g)
{
    for (size_t i = 0; i < N_KEYWORDS; i++)
        if (keywords[i].group == g && json_object_object_get_ex(schema, keywords[i].name, NULL))
            return true;
    return g == GROUP_NUMBER && json_object_object_get_ex(schema, "format", NULL);
}

static int compile_type(compiler *c, node *n, struct json_object *schema, const place *p)
{
    struct json_object *v;
    trail at = below(p, "type");
    odto_buf text = {0};
    int rc = 0;
    if (!json_object_object_get_ex(schema, "type", &v))
        return 0;
    bool list = json_object_get_type(v) == json_type_array;
    size_t count = list ? json_object_array_length(v) : 1;
    if (list && (!is_string_array(v) || count == 0))
        return wrong(c, &at, "must be a type or an array of different types");
    odto_buf_str(&text, "must be ");
    for (size_t i = 0; i < count && rc == 0; i++)
        rc = add_type(c, n, list ? json_object_array_get_idx(v, i) : v, &at, &text);
    n->type_first = count > 1 || n->type_group == GROUP_ANY || !group_used(schema, n->type_group);
    char *kept = rc || text.failed ? NULL : take(c, 1, text.n + 1);
    if (kept)
        memcpy(kept, text.p, text.n);
    else if (rc == 0)
        rc = no_memory(c);
    n->type_error = kept;
    odto_buf_free(&text);
    return rc;
}

/* ---- nodes --------------------------------------------------------------------------------- */

static size_t memo_place(const compiler *c, struct json_object *schema)
{
    size_t i = scan_hash(&schema, sizeof schema, 0) & (c->memo_cap - 1);
    while (c->memo[i].schema && c->memo[i].schema != schema)
        i = (i + 1) & (c->memo_cap - 1);
    return i;
}

static bool memo_grow(compiler *c)
{
    compiler old = *c;
    c->memo_cap = old.memo_cap ? old.memo_cap * 2 : 64;
    c->memo = calloc(c->memo_cap, sizeof *c->memo);
    if (!c->memo) {
        *c = old;
        return false;
    }
    for (size_t i = 0; i < old.memo_cap; i++)
        if (old.memo[i].schema)
            c->memo[memo_place(c, old.memo[i].schema)] = old.memo[i];
    free(old.memo);
    return true;
}

static int compile_ref(compiler *c, node *n, struct json_object *v, const place *p)
{
    trail at = below(p, "$ref");
    if (json_object_get_type(v) != json_type_string)
        return wrong(c, &at, "must be a string");
    pending *todo = calloc(1, sizeof *todo);
    if (!todo)
        return no_memory(c);
    todo->from = n;
    todo->uri = uri_resolve(p->base, json_object_get_string(v));
    trail_text(&at, "/", todo->at, sizeof todo->at);
    todo->next = c->queue;
    c->queue = todo;
    n->kind = NODE_REF;
    return todo->uri ? 0 : no_memory(c);
}

/* The ops of one schema object, in the table's order. */
static int compile_rules(compiler *c, node *n, struct json_object *schema, const place *p)
{
    struct json_object *v;
    n->ops = take(c, N_KEYWORDS, sizeof *n->ops);
    if (!n->ops)
        return no_memory(c);
    int rc = collect_names(c, n, schema);
    if (rc == 0)
        rc = compile_type(c, n, schema, p);
    n->tuple = SIZE_MAX;
    if (json_object_object_get_ex(schema, "items", &v) && json_object_get_type(v) == json_type_array)
        n->tuple = json_object_array_length(v);
    size_t used = 0;
    group g = GROUP_ANY;
    for (size_t i = 0; i < N_KEYWORDS && rc == 0; i++) {
        while (g < keywords[i].group)
            n->first[++g] = used;
        if (!json_object_object_get_ex(schema, keywords[i].name, &v))
            continue;
        op *o = &n->ops[used];
        *o = (op){.value = schema};
        rc = keywords[i].compile(c, &keywords[i], v, o, n, p);
        used += o->fn != NULL;
    }
    while (g < GROUPS)
        n->first[++g] = used;
    return rc;
}

/* The base of a schema's own references: moved by an "$id" that is more than an anchor. */
static int compile_object(compiler *c, node *n, struct json_object *schema, const place *p)
{
    struct json_object *v;
    if (json_object_object_get_ex(schema, "$ref", &v))
        return compile_ref(c, n, v, p);
    if (json_object_object_get_ex(schema, "$id", &v)) {
        trail at = below(p, "$id");
        if (json_object_get_type(v) != json_type_string)
            return wrong(c, &at, "must be a string");
        if (json_object_get_string(v)[0] != '#') {
            char *base = uri_resolve(p->base, json_object_get_string(v));
            if (!base)
                return no_memory(c);
            base[strcspn(base, "#")] = '\0';
            place moved = {p->at, base};
            int rc = compile_rules(c, n, schema, &moved);
            free(base);
            return rc;
        }
    }
    return compile_rules(c, n, schema, p);
}

static int compile_node(compiler *c, struct json_object *schema, const place *p, node **out)
{
    json_type t = json_object_get_type(schema);
    if (t != json_type_object && t != json_type_boolean)
        return wrong(c, p->at, "must be a schema: an object or a boolean");
    if (c->memo_n * 2 >= c->memo_cap && !memo_grow(c))
        return no_memory(c);
    size_t i = memo_place(c, schema);
    if (c->memo[i].schema) {
        *out = c->memo[i].n;
        return 0;
    }
    node *n = take(c, 1, sizeof *n);
    if (!n)
        return no_memory(c);
    c->memo[i].schema = schema;
    c->memo[i].n = n;
    c->memo_n++;
    *out = n;
    if (t == json_type_object)
        return compile_object(c, n, schema, p);
    n->kind = json_object_get_boolean(schema) ? NODE_TRUE : NODE_FALSE;
    return 0;
}

/* ---- references ---------------------------------------------------------------------------- */

static int resolve(compiler *c, const pending *todo)
{
    const char *base;
    char *owned;
    struct json_object *target;
    int rc = resources_find(&c->resources, todo->uri, &target, &base, &owned);
    if (rc) {
        free(owned);
        if (rc == -ENOMEM)
            return no_memory(c);
        rc = odto_fail(c->err, -EINVAL, "schema %s is invalid", c->s->name);
        odto_error_detail(c->err, "%s names \"%s\", which is not there", todo->at, todo->uri);
        odto_error_hint(c->err,
                        "only this document and those given with it are searched, nothing is fetched");
        return rc;
    }
    trail at = {NULL, todo->uri, 0};
    place p = {&at, base};
    node *n = NULL;
    rc = compile_node(c, target, &p, &n);
    todo->from->ref = n;
    free(owned);
    return rc;
}

static int resolve_all(compiler *c)
{
    int rc = 0;
    while (c->queue && rc == 0) {
        pending *todo = c->queue;
        c->queue = todo->next;
        rc = resolve(c, todo);
        free(todo->uri);
        free(todo);
    }
    return rc;
}

static int acyclic(compiler *c, const node *n, unsigned depth);

static int acyclic_op(compiler *c, const op *o, unsigned depth)
{
    int rc = 0;
    if (o->fn == op_not || o->fn == op_if) {
        rc = acyclic(c, o->one, depth);
        if (rc == 0 && o->rest)
            rc = acyclic(c, o->rest, depth);
        if (rc == 0 && o->other)
            rc = acyclic(c, o->other, depth);
    } else if (o->fn == op_any_of || o->fn == op_one_of || o->fn == op_all_of) {
        for (size_t i = 0; i < o->n && rc == 0; i++)
            rc = acyclic(c, o->nodes[i], depth);
    } else if (o->fn == op_dependency_schemas) {
        for (size_t i = 0; i < o->n && rc == 0; i++)
            rc = acyclic(c, o->named[i].node, depth);
    }
    return rc;
}

/* A schema that applies itself to the same instance again would never end. */
static int acyclic(compiler *c, const node *start, unsigned depth)
{
    node *n = (node *)(uintptr_t)start; /* the schema is still ours to write */
    if (n->mark == 2)
        return 0;
    if (n->mark == 1 || depth > SCHEMA_FRAMES_MAX / 2) {
        int rc = odto_fail(c->err, -EINVAL, "schema %s is invalid", c->s->name);
        odto_error_detail(c->err, "a $ref leads back to itself without entering a property or an item");
        return rc;
    }
    n->mark = 1;
    int rc = n->kind == NODE_REF ? acyclic(c, n->ref, depth + 1) : 0;
    for (size_t i = 0; n->ops && i < n->first[GROUPS] && rc == 0; i++)
        rc = acyclic_op(c, &n->ops[i], depth + 1);
    n->mark = 2;
    return rc;
}

/* ---- public -------------------------------------------------------------------------------- */

static const char *string_of(struct json_object *doc, const char *key)
{
    struct json_object *v;
    if (json_object_get_type(doc) != json_type_object || !json_object_object_get_ex(doc, key, &v) ||
        json_object_get_type(v) != json_type_string)
        return "";
    return json_object_get_string(v);
}

static int check_dialect(compiler *c, struct json_object *doc)
{
    const char *dialect = string_of(doc, "$schema");
    size_t n = strlen(SCHEMA_DRAFT);
    if (*dialect == '\0' ||
        (strncmp(dialect, SCHEMA_DRAFT, n) == 0 && strspn(dialect + n, "#") == strlen(dialect + n)))
        return 0;
    int rc = odto_fail(c->err, -EINVAL, "schema %s is invalid", c->s->name);
    odto_error_detail(c->err, "/$schema is \"%s\"", dialect);
    odto_error_hint(c->err, "only draft-07 is understood: " SCHEMA_DRAFT "#");
    return rc;
}

static int compile_all(compiler *c)
{
    node *root;
    int rc = check_dialect(c, c->s->doc);
    if (rc == 0)
        rc = resources_add(&c->resources, c->s->doc, "", c->err);
    for (size_t i = 0; i < c->s->n_others && rc == 0; i++)
        rc = resources_add(&c->resources, c->s->others[i], string_of(c->s->others[i], "$id"), c->err);
    place p = {NULL, ""};
    if (rc == 0)
        rc = compile_node(c, c->s->doc, &p, &root);
    if (rc == 0)
        rc = resolve_all(c);
    for (size_t i = 0; i < c->memo_cap && rc == 0; i++)
        if (c->memo[i].n)
            rc = acyclic(c, c->memo[i].n, 0);
    if (rc == 0)
        c->s->root = root;
    return rc;
}

int odto_schema_compile_with(struct json_object *doc, const char *name, struct json_object *const *others,
                             size_t n_others, odto_schema **out, odto_error *err)
{
    odto_schema *s = calloc(1, sizeof *s);
    compiler c = {.s = s, .err = err};
    if (!s)
        return odto_fail(err, -ENOMEM, "no memory for schema %s", name);
    s->name = strdup(name);
    s->others = calloc(n_others + 1, sizeof *s->others);
    if (!s->name || !s->others) {
        odto_schema_free(s);
        return odto_fail(err, -ENOMEM, "no memory for schema %s", name);
    }
    s->doc = json_object_get(doc);
    for (; s->n_others < n_others; s->n_others++)
        s->others[s->n_others] = json_object_get(others[s->n_others]);
    s->id = string_of(doc, "$id");
    s->version = string_of(doc, "$version");
    int rc = compile_all(&c);
    while (c.queue) {
        pending *next = c.queue->next;
        free(c.queue->uri);
        free(c.queue);
        c.queue = next;
    }
    free(c.memo);
    resources_free(&c.resources);
    if (rc)
        odto_schema_free(s);
    else
        *out = s;
    return rc;
}

void odto_schema_free(odto_schema *s)
{
    if (!s)
        return;
    while (s->regexes) {
        regex_list *next = s->regexes->next;
        regex_free(s->regexes->re);
        free(s->regexes);
        s->regexes = next;
    }
    while (s->blocks) {
        block *next = s->blocks->next;
        free(s->blocks);
        s->blocks = next;
    }
    for (size_t i = 0; i < s->n_others; i++)
        json_object_put(s->others[i]);
    free(s->others);
    json_object_put(s->doc);
    free(s->name);
    free(s);
}
