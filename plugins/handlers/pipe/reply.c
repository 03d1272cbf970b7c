/* reply.c — a line of a worker (pipe.h). Pure. */
#include "pipe.h"
#include <math.h>
#include <odto/json.h>
#include <stdlib.h>
#include <string.h>

#define MAX_DEPTH 64

static double number_of(odto_slice v)
{
    char text[40];
    if (!v.n || v.n >= sizeof text)
        return -1;
    memcpy(text, v.p, v.n);
    text[v.n] = '\0';
    char *end;
    double d = strtod(text, &end);
    return *end || !isfinite(d) ? -1 : d;
}

/* The characters of a string; of another value its JSON text. */
static odto_slice text_of(odto_slice v)
{
    return v.n >= 2 && v.p[0] == '"' ? odto_slice_of(v.p + 1, v.n - 2) : v;
}

static bool member(void *arg, odto_slice key, odto_slice value)
{
    reply *r = arg;
    if (odto_slice_eq(key, "id")) {
        r->id = text_of(value);
    } else if (odto_slice_eq(key, "ok")) {
        r->has_ok = true;
        r->ok = odto_slice_eq(value, "true");
    } else if (odto_slice_eq(key, "result")) {
        r->result = value;
    } else if (odto_slice_eq(key, "error")) {
        r->error = value;
    } else if (odto_slice_eq(key, "retry")) {
        r->retry = !odto_slice_eq(value, "false");
    } else if (odto_slice_eq(key, "delay")) {
        r->delay = number_of(value);
    } else if (odto_slice_eq(key, "progress")) {
        r->has_progress = true;
        r->progress = number_of(value);
    } else if (odto_slice_eq(key, "note")) {
        r->note = text_of(value);
    }
    return true;
}

bool reply_read(odto_slice line, reply *out)
{
    *out = (reply){.retry = true};
    while (line.n && (line.p[line.n - 1] == '\r' || line.p[line.n - 1] == ' '))
        line.n--;
    if (line.n < 2 || line.p[0] != '{' || odto_json_check(line, MAX_DEPTH, NULL) < 0)
        return false;
    odto_json_members(line, member, out);
    return out->has_ok || out->has_progress;
}
