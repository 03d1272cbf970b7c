/* envelope_check.c — the full check of an incoming message, and the words of its dead letter. Any thread. */
#include <odto/envelope.h>
#include <odto/json.h>
#include <odto/schema.h>
#include <errno.h>
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

/* Whether the job schema applies: eventType starts with "job.". Called for valid envelopes only. */
static bool is_job_event(odto_slice text)
{
    odto_slice type;
    odto_buf name = {0};
    bool job = odto_json_member(text, "eventType", &type) && odto_json_unquote(type, &name) == 0 &&
               name.n >= 4 && memcmp(name.p, "job.", 4) == 0;
    odto_buf_free(&name);
    return job;
}

static int check_part(odto_slice text, const odto_schema *schema, const char *name, char *why,
                      size_t why_size)
{
    odto_violation found[SHOWN];
    size_t n;
    int rc = odto_schema_validate_text(schema, text, found, SHOWN, &n);
    if (rc == -EINVAL)
        explain(name, found, n, why, why_size);
    else if (rc)
        snprintf(why, why_size, "%s: no memory", name);
    return rc;
}

int odto_envelope_check(odto_slice text, const struct odto_schema *envelope, const struct odto_schema *job,
                        int max_depth, odto_header *out, char *why, size_t why_size)
{
    odto_error err;
    odto_slice payload;
    int rc = odto_json_check(text, max_depth, &err);
    if (rc) {
        snprintf(why, why_size, "event-envelope: %s: %s", err.message, err.detail);
        return rc == -ENOMEM ? rc : -EINVAL;
    }
    rc = check_part(text, envelope, "event-envelope", why, why_size);
    if (rc)
        return rc;
    bool parsed = odto_header_parse(text, out) == 0;
    if (parsed && out->type != ODTO_JOB_OTHER)
        return check_part(out->job_json, job, "job", why, why_size);
    if (is_job_event(text) && odto_json_member(text, "payload", &payload))
        rc = check_part(payload, job, "job", why, why_size);
    if (rc == 0 && !parsed) {
        /* the schemas given are weaker than the contract */
        snprintf(why, why_size, "event-envelope: / must have the fields of an envelope");
        rc = -EINVAL;
    }
    return rc;
}
