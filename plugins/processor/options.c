/* options.c — what a job says about its own execution: payload.options of a job (contract: messages).
 *
 * Members: priority, delaySeconds, runAt, maxAttempts, timeoutSeconds, backoffSeconds, backoffMaxSeconds,
 * expiresAt, bounded as in job.json; others travel unchanged.
 * Pure functions, any thread. */
#include "processor.h"
#include <odto/json.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LONGEST 315360000.0 /* ten years, as in the schema */

typedef struct reading {
    job_options *out;
    char *why;
    size_t why_size;
    bool bad;
} reading;

static void refuse(reading *r, const char *name, const char *what)
{
    r->bad = true;
    snprintf(r->why, r->why_size, "job.json: /payload/options/%s %s", name, what);
}

/* A JSON number within [min, max]; whole where `integer`. */
static bool number(reading *r, const char *name, odto_slice v, double min, double max, bool integer,
                   double *out)
{
    char text[48], what[96], *end;
    bool numeric = v.n && v.n < sizeof text && (v.p[0] == '-' || (v.p[0] >= '0' && v.p[0] <= '9'));
    if (!numeric) {
        refuse(r, name, integer ? "must be integer" : "must be number");
        return false;
    }
    memcpy(text, v.p, v.n);
    text[v.n] = '\0';
    double d = strtod(text, &end);
    if (integer && d != floor(d)) {
        refuse(r, name, "must be integer");
        return false;
    }
    if (!(d >= min && d <= max)) {
        snprintf(what, sizeof what, "must be >= %.15g and <= %.15g", min, max);
        refuse(r, name, what);
        return false;
    }
    *out = d;
    return true;
}

static void when(reading *r, const char *name, odto_slice v, int64_t *out)
{
    odto_slice inner = v.n >= 2 && v.p[0] == '"' ? odto_slice_of(v.p + 1, v.n - 2) : odto_slice_of(NULL, 0);
    if (!inner.p || odto_time_parse(inner, out) < 0)
        refuse(r, name, "must match format \"date-time\"");
}

static bool member(void *arg, odto_slice key, odto_slice value)
{
    reading *r = arg;
    job_options *o = r->out;
    double d;
    if (odto_slice_eq(key, "priority")) {
        if (number(r, "priority", value, INT32_MIN, INT32_MAX, true, &d))
            o->priority = (int32_t)d;
    } else if (odto_slice_eq(key, "maxAttempts")) {
        if (number(r, "maxAttempts", value, 1, 1000, true, &d))
            o->max_attempts = (uint32_t)d;
    } else if (odto_slice_eq(key, "delaySeconds")) {
        if (number(r, "delaySeconds", value, 0, LONGEST, false, &d))
            o->delay_ms = (int64_t)(d * 1e3);
    } else if (odto_slice_eq(key, "timeoutSeconds")) {
        if (number(r, "timeoutSeconds", value, 0, LONGEST, false, &d))
            o->timeout_ns = d > 1e-3 ? (int64_t)(d * 1e9) : ODTO_MS;
    } else if (odto_slice_eq(key, "backoffSeconds")) {
        if (number(r, "backoffSeconds", value, 0, LONGEST, false, &d))
            o->backoff_ns = (int64_t)(d * 1e9);
    } else if (odto_slice_eq(key, "backoffMaxSeconds")) {
        if (number(r, "backoffMaxSeconds", value, 0, LONGEST, false, &d))
            o->backoff_max_ns = (int64_t)(d * 1e9);
    } else if (odto_slice_eq(key, "runAt")) {
        when(r, "runAt", value, &o->run_at);
    } else if (odto_slice_eq(key, "expiresAt")) {
        when(r, "expiresAt", value, &o->expires_at);
    }
    return !r->bad;
}

int job_options_parse(odto_slice json, job_options *out, char *why, size_t why_size)
{
    *out = (job_options){.backoff_ns = -1, .backoff_max_ns = -1};
    if (json.n < 2 || json.p[0] != '{')
        return 0;
    reading r = {.out = out, .why = why, .why_size = why_size};
    odto_json_members(json, member, &r);
    return r.bad ? -EINVAL : 0;
}
