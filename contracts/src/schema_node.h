/* schema_node.h — a compiled JSON Schema, inside libodto.
 *
 * Every schema object becomes a node; every keyword of it an op with its own evaluation function. Ops stand
 * in the order in which ajv 8 evaluates keywords: those for any instance, then those for numbers, strings,
 * arrays, objects. All memory of a schema is one list of blocks, freed together. After compilation nothing is
 * written, so any number of threads may validate with the same schema; what one validation needs lives on its
 * stack (`run`). */
#ifndef ODTO_SRC_SCHEMA_NODE_H
#define ODTO_SRC_SCHEMA_NODE_H

#include <odto/schema.h>
#include <json-c/json.h>

#define SCHEMA_DRAFT "http://json-schema.org/draft-07/schema"
/* Schemas nested in each other while one instance is validated; further ones are a violation. */
#define SCHEMA_FRAMES_MAX 2048
/* Members looked up in one pass over an object; schemas that name more ask json-c for the rest. */
#define SCHEMA_SLOTS 32

typedef enum group { GROUP_ANY, GROUP_NUMBER, GROUP_STRING, GROUP_ARRAY, GROUP_OBJECT, GROUPS } group;

enum type_bit {
    TYPE_NULL = 1,
    TYPE_BOOLEAN = 2,
    TYPE_INTEGER = 4,
    TYPE_NUMBER = 8,
    TYPE_STRING = 16,
    TYPE_ARRAY = 32,
    TYPE_OBJECT = 64,
};

/* ---- where we are -------------------------------------------------------------------------- */

/* The way from the root to an instance or a schema; lives on the stack, turned into text only for an error.
 */
typedef struct trail {
    const struct trail *up;
    const char *key; /* NULL: index */
    size_t index;
} trail;

/* JSON pointer, RFC 6901; the root gives `root`. Cut (at a whole character) where it does not fit. */
void trail_text(const trail *p, const char *root, char *out, size_t size);

/* ---- values -------------------------------------------------------------------------------- */

bool value_is_number(struct json_object *v);
/* Equal as JSON Schema says: 1 and 1.0 are, members in any order. */
bool value_equal(struct json_object *a, struct json_object *b);
uint64_t value_hash(struct json_object *v, uint64_t seed);
/* < 0, 0, > 0; both are numbers. */
int value_compare(struct json_object *a, struct json_object *b);
bool value_is_integer(struct json_object *v);
/* Exact on the decimal digits as they were written (up to 19 of them), else by division. */
bool value_is_multiple(struct json_object *v, struct json_object *of);

/* The tree of text that odto_json_check has accepted (json.c). 0 or -ENOMEM. */
int json_tree(odto_slice checked, struct json_object **out);

/* ---- formats and patterns ------------------------------------------------------------------ */

typedef bool format_fn(odto_slice text);
/* NULL: not asserted. */
format_fn *format_find(const char *name);

typedef struct regex regex;
/* An ECMA-262 pattern. 0, -EINVAL with why, -ENOMEM. */
int regex_compile(odto_slice pattern, regex **out, char *why, size_t why_size);
/* 1 matches somewhere, 0 does not, -E2BIG the match limit was reached. */
int regex_match(const regex *r, odto_slice text);
void regex_free(regex *r);

/* ---- compiled schema ----------------------------------------------------------------------- */

typedef struct node node;
typedef struct op op;
typedef struct run run;
typedef struct visit visit;

/* One keyword's check of one instance. True: fulfilled. Reports its violations itself. */
typedef bool op_fn(run *r, const op *o, struct json_object *v, const visit *at);

/* A named subschema: property, dependency. */
typedef struct named_node {
    const char *name;
    uint32_t slot;
    const node *node;
} named_node;

typedef struct named_list { /* dependency on properties */
    const char *name;
    uint32_t slot;
    const char *const *needs;
    const uint32_t *need_slots;
    size_t n;
} named_list;

typedef struct regex_node {
    regex *re;
    const node *node;
} regex_node;

struct op {
    op_fn *fn;
    struct json_object *value; /* of the keyword, borrowed from the document */
    size_t n;                  /* of the array in use below, or the keyword's number */
    union {
        const node *one;
        const node *const *nodes;
        const named_node *named;
        const named_list *lists;
        const regex_node *patterns;
        const odto_slice *strings; /* enum of strings only; a number's text */
        regex *re;
        format_fn *format;
    };
    const node *rest;  /* then */
    const node *other; /* else */
};

/* Names that a schema's object keywords mention, found in one pass over the instance's members. */
typedef struct name_slot {
    const char *name;
    uint32_t len, hash;
    bool property;      /* stands in "properties" */
    const node *schema; /* of the property */
} name_slot;

struct node {
    enum { NODE_RULES, NODE_TRUE, NODE_FALSE, NODE_REF } kind;
    const node *ref;
    unsigned types;         /* bits; 0: any */
    const char *type_error; /* "must be string" */
    bool type_first;        /* ajv checks the type before all keywords; else in place of the one group's */
    group type_group;       /* of the one type, when !type_first */
    op *ops;
    size_t first[GROUPS + 1]; /* ops of group g: first[g] .. first[g + 1] */
    name_slot *slots;
    uint32_t n_slots;
    const uint32_t *table; /* open addressing, slot number + 1; power of two */
    uint32_t table_mask;
    const regex_node *patterns; /* patternProperties, for additionalProperties */
    size_t n_patterns;
    size_t tuple;       /* schemas in an array of "items", for additionalItems */
    unsigned char mark; /* while compiling: search for cycles */
};

struct odto_schema {
    const node *root;
    struct json_object *doc;
    struct json_object **others;
    size_t n_others;
    char *name;
    const char *id, *version;
    struct block *blocks; /* everything compiled */
    struct regex_list *regexes;
};

/* ---- evaluation ---------------------------------------------------------------------------- */

struct run {
    odto_violation *out;
    size_t n, max;  /* max 0: only the verdict is wanted */
    unsigned quiet; /* > 0: violations are not kept */
    unsigned depth;
};

/* An instance under validation. */
struct visit {
    const trail *at;
    const node *node;
    struct json_object *const *values; /* object: by slot, valid where the bit in `present` is set */
    uint64_t present;
};

bool schema_eval(run *r, const node *n, struct json_object *v, const trail *at);
/* Records one violation; always returns false. */
bool schema_violate(run *r, const trail *at, const char *fmt, ...) ODTO_PRINTF(3, 4);
/* Whether going on after a violation is of use. */
static inline bool schema_all(const run *r)
{
    return r->quiet == 0 && r->n < r->max;
}

/* Slot number of a member name, or UINT32_MAX. */
uint32_t schema_slot(const node *n, const char *key, size_t len);
bool schema_member(const visit *at, struct json_object *object, uint32_t slot, struct json_object **value);

/* Keyword evaluation, schema_eval.c and schema_apply.c. */
op_fn op_const, op_enum, op_enum_strings;
op_fn op_maximum, op_minimum, op_exclusive_maximum, op_exclusive_minimum, op_multiple_of;
op_fn op_max_length, op_min_length, op_pattern, op_format;
op_fn op_max_items, op_min_items, op_unique_items;
op_fn op_max_properties, op_min_properties, op_required;
op_fn op_not, op_any_of, op_one_of, op_all_of, op_if;
op_fn op_items, op_items_tuple, op_additional_items, op_contains;
op_fn op_property_names, op_additional_properties, op_dependency_names, op_dependency_schemas, op_properties;
op_fn op_pattern_properties;

/* ---- documents and references (schema_refs.c) ---------------------------------------------- */

typedef struct resource {
    char *uri; /* absolute, without fragment; or with "#anchor" */
    struct json_object *schema;
    char *base; /* around it, before its own $id */
} resource;

typedef struct resources {
    resource *items;
    size_t n, cap;
} resources;

/* Resolve reference against base (RFC 3986, 5.2). Heap string or NULL without memory. */
char *uri_resolve(const char *base, const char *reference);
/* Enter a document and every subschema with an $id. 0, -ENOMEM, -EINVAL (the same id twice). */
int resources_add(resources *r, struct json_object *doc, const char *base, odto_error *err);
/* The schema that the absolute reference names, and the base around it (its own $id not applied), which
 * *owned may keep in memory. 0, -ENOENT, -ENOMEM. */
int resources_find(const resources *r, const char *uri, struct json_object **schema, const char **base,
                   char **owned);
void resources_free(resources *r);

#endif
