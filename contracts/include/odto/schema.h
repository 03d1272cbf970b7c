/* odto/schema.h — JSON Schema draft-07 validator, compiled once, over json-c trees.
 *
 * All validation keywords, $ref within the document (JSON pointer and $id anchors), patterns by PCRE2
 * (ECMA-262 compatible as far as PCRE2 goes), formats of the contract: uuid, date-time (both exactly as in
 * base.h), plus date, time, email, hostname, ipv4, ipv6, uri, uri-reference, json-pointer, regex; other
 * formats are not asserted. A compiled schema is immutable: any number of threads may validate with it at
 * once. */
#ifndef ODTO_SCHEMA_H
#define ODTO_SCHEMA_H

#include <odto/json.h>

typedef struct odto_schema odto_schema;

/* One violation: JSON pointer of the instance ("/" for the root, as the contract wants), and the message
 * in the words of ajv 8 (`must have required property 'id'`, `must be object`, `must match format "uuid"`,
 * `must be equal to one of the allowed values`, ...). */
typedef struct odto_violation {
    char path[256];
    char message[256];
} odto_violation;

/* Compile a schema document. name is used in errors ("event-envelope.json"). 0, -EINVAL (err says which
 * keyword at which pointer), -ENOMEM. */
int odto_schema_compile(struct json_object *doc, const char *name, odto_schema **out, odto_error *err);
int odto_schema_load(const char *path, odto_schema **out, odto_error *err);
/* Another document that $ref may name by its $id (absolute or relative to this one's); keeps a reference to
 * the json tree. Call before validating. */
int odto_schema_compile_with(struct json_object *doc, const char *name, struct json_object *const *others,
                             size_t n_others, odto_schema **out, odto_error *err);
void odto_schema_free(odto_schema *s);
const char *odto_schema_id(const odto_schema *s);      /* $id or "" */
const char *odto_schema_version(const odto_schema *s); /* $version or "" */

/* Validate; collects up to max violations in the order ajv reports them (allErrors; `required` before
 * property types; the properties in the schema's order). Returns the number found (0 = valid), at most max.
 * max = 0 only answers valid (0) or not (1). */
size_t odto_schema_validate(const odto_schema *s, struct json_object *value, odto_violation *out, size_t max);

/* The same on the text itself, which odto_json_check has accepted; a text that is valid in the usual ways
 * costs no tree and no memory. *n is the number found. 0 valid, -EINVAL not, -ENOMEM. */
int odto_schema_validate_text(const odto_schema *s, odto_slice json, odto_violation *out, size_t max,
                              size_t *n);

/* The schemas of the contract, built into the library from contracts/schemas/ (so a plugin needs no
 * file), compiled once per caller: "job", "event-envelope", "job-accepted", "dead-letter". NULL if there is
 * no such name. */
odto_slice odto_schema_builtin(const char *name);
int odto_schema_compile_builtin(const char *name, odto_schema **out, odto_error *err);

/* The OpenAPI 3.0 documents of contracts/openapi/: "gateway", "read-model". Constant text with p == NULL if
 * there is no such name. */
odto_slice odto_openapi_builtin(const char *name);
/* contracts/ui-registry.json */
odto_slice odto_ui_registry_builtin(void);

#endif
