/* odto/json.h — strict reading of JSON (RFC 8259) on top of json-c. */
#ifndef ODTO_JSON_H
#define ODTO_JSON_H

#include <odto/base.h>

struct json_object;

/* json-c accepts more than JSON (single quotes, NaN, raw control characters, lone surrogates, duplicate
 * keys, clamped integers). This scan refuses all of it, and bounds the nesting depth (arrays and objects),
 * in one pass without allocation (duplicate keys: bounded scratch; objects of more than 256 members fall
 * back to a heap set). Names that differ only in how they are escaped are the same name; a NUL in a name is
 * refused, and so are integers outside -2^63 .. 2^64-1. max_depth is cut to 512. On failure err has message
 * ("invalid JSON"), detail (what, at which byte offset, line and column, and the JSON pointer of the
 * enclosing value) and that pointer alone in `where` ("/" for the root). Returns 0, -EINVAL, -E2BIG (too
 * deep), -EFBIG (2 GiB and more), -ENOMEM. */
int odto_json_check(odto_slice text, int max_depth, odto_error *err);

/* Scan, then build json-c's tree (NULL is JSON null). The caller owns *out (json_object_put). json-c's own
 * tokener is not used: nothing is kept between calls and the locale has no influence. Numbers with a fraction
 * or an exponent keep their digits (json_object_get_userdata) and are printed as they were written. */
int odto_json_parse(odto_slice text, int max_depth, struct json_object **out, odto_error *err);

/* The raw text of the value of one top-level member of a valid JSON object, without building a tree;
 * for callers that want a few fields of a text already checked. False if absent. */
bool odto_json_member(odto_slice object, const char *key, odto_slice *value);

/* One pass over the members of a valid JSON object: calls fn(key text without quotes and as written (escapes
 * not resolved), value text) for each; stops when fn returns false. */
typedef bool odto_json_member_fn(void *arg, odto_slice key, odto_slice value);
void odto_json_members(odto_slice object, odto_json_member_fn *fn, void *arg);

/* Resolves the escapes of a JSON string literal (with its quotes) into out. 0 or -EINVAL/-ENOMEM. */
int odto_json_unquote(odto_slice literal, odto_buf *out);

#endif
