/* envelope_check.c — the full check of an incoming message, and the words of its dead letter. Any thread. */
#include <odto/envelope.h>
#include <odto/schema.h>
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

/* Errors of one message that are worth telling. */
#define SHOWN 3

/* "<schema> <path>: <message>" joined by "; ". */
static void explain(const char *schema, const odto_violation *v, size_t n, char *why, size_t size)
{
    size_t used = 0;
    if (size == 0)
        return;
    why[0] = '\0';
    for (size_t i = 0; i < n && used < size; i++)
        used += (size_t)snprintf(why + used, size - used, "%s%s: %s %s", i ? "; " : "", schema, v[i].path,
                                 v[i].message);
}

static int check_tree(struct json_object *tree, const odto_schema *envelope, const odto_schema *job,
                      char *why, size_t why_size)
{
    odto_violation found[SHOWN];
    size_t n = odto_schema_validate(envelope, tree, found, SHOWN);
    if (n) {
        explain("event-envelope", found, n, why, why_size);
        return -EINVAL;
    }
    struct json_object *type, *payload;
    if (!json_object_object_get_ex(tree, "eventType", &type) ||
        json_object_get_type(type) != json_type_string ||
        strncmp(json_object_get_string(type), "job.", 4) != 0)
        return 0;
    json_object_object_get_ex(tree, "payload", &payload);
    n = odto_schema_validate(job, payload, found, SHOWN);
    if (n) {
        explain("job", found, n, why, why_size);
        return -EINVAL;
    }
    return 0;
}

int odto_envelope_check(odto_slice text, const struct odto_schema *envelope, const struct odto_schema *job,
                        int max_depth, odto_header *out, char *why, size_t why_size)
{
    odto_error err;
    struct json_object *tree;
    int rc = odto_json_parse(text, max_depth, &tree, &err);
    if (rc) {
        snprintf(why, why_size, "event-envelope: %s: %s", err.message, err.detail);
        return rc == -ENOMEM ? rc : -EINVAL;
    }
    rc = check_tree(tree, envelope, job, why, why_size);
    json_object_put(tree);
    if (rc == 0 && odto_header_parse(text, out) != 0) {
        /* the schemas given are weaker than the contract */
        snprintf(why, why_size, "event-envelope: / must have the fields of an envelope");
        rc = -EINVAL;
    }
    return rc;
}
