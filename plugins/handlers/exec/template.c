/* template.c — see template.h. Pure functions. */
#include "template.h"
#include <errno.h>
#include <odto/json.h>
#include <stdio.h>
#include <string.h>

static const char *const names[] = {"id", "type", "attempt", "correlation", "payload"};
#define N_NAMES (sizeof names / sizeof names[0])

/* The name inside "{name}" when it is one of ours, else the empty slice. */
static odto_slice placeholder(const char *word)
{
    size_t n = strlen(word);
    if (n < 3 || word[0] != '{' || word[n - 1] != '}')
        return odto_slice_of(NULL, 0);
    odto_slice inner = odto_slice_of(word + 1, n - 2);
    for (size_t i = 0; i < N_NAMES; i++)
        if (odto_slice_eq(inner, names[i]))
            return inner;
    bool field = inner.n > 8 && !memcmp(inner.p, "payload.", 8) && inner.p[inner.n - 1] != '.';
    return field ? inner : odto_slice_of(NULL, 0);
}

/* "{word}" that was meant as a placeholder but is none. */
static int check_unknown(const char *word, odto_error *err)
{
    size_t n = strlen(word);
    char inner[64];
    if (n < 3 || n > sizeof inner || word[0] != '{' || word[n - 1] != '}' ||
        strspn(word + 1, "abcdefghijklmnopqrstuvwxyz._") != n - 2)
        return 0;
    snprintf(inner, sizeof inner, "%.*s", (int)(n - 2), word + 1);
    odto_fail(err, -EINVAL, "unknown placeholder %s", word);
    const char *near = odto_nearest(inner, names, N_NAMES);
    if (near)
        odto_error_hint(err, "did you mean {%s}?", near);
    else
        odto_error_hint(err, "there are {id} {type} {attempt} {correlation} {payload} {payload.FIELD}");
    return -EINVAL;
}

/* A placeholder inside a longer word. */
static int check_embedded(const char *word, odto_error *err)
{
    char text[32];
    for (size_t i = 0; i < N_NAMES; i++) {
        snprintf(text, sizeof text, "{%s}", names[i]);
        if (!strstr(word, text) && !strstr(word, "{payload."))
            continue;
        odto_fail(err, -EINVAL, "placeholder inside the argument %s", word);
        odto_error_hint(err, "a placeholder stands alone as an argument: write --name {payload.name}");
        return -EINVAL;
    }
    return 0;
}

int template_check(const char *const *words, size_t n, odto_error *err)
{
    for (size_t i = 0; i < n; i++) {
        bool is = placeholder(words[i]).n > 0;
        if (is && i == 0)
            return odto_fail(err, -EINVAL, "the program itself can't be a placeholder");
        int r = is ? 0 : check_unknown(words[i], err);
        if (r == 0 && !is)
            r = check_embedded(words[i], err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* payload.a.b: the raw JSON value. */
static bool field(odto_slice json, odto_slice path, odto_slice *value)
{
    while (path.n) {
        const char *dot = memchr(path.p, '.', path.n);
        size_t n = dot ? (size_t)(dot - path.p) : path.n;
        char key[128];
        if (!n || n >= sizeof key || json.n < 2 || json.p[0] != '{')
            return false;
        memcpy(key, path.p, n);
        key[n] = '\0';
        if (!odto_json_member(json, key, &json))
            return false;
        path.p += n + (dot ? 1 : 0);
        path.n -= n + (dot ? 1 : 0);
    }
    *value = json;
    return true;
}

static int put_value(odto_slice name, const odto_job *job, odto_buf *out)
{
    char id[ODTO_UUID_LEN + 1];
    odto_slice value;
    if (odto_slice_eq(name, "id") || odto_slice_eq(name, "correlation")) {
        odto_uuid_format(name.n == 2 ? &job->id : &job->correlation_id, id);
        odto_buf_str(out, id);
    } else if (odto_slice_eq(name, "type")) {
        odto_buf_put(out, job->type.p, job->type.n);
    } else if (odto_slice_eq(name, "attempt")) {
        odto_buf_int(out, job->attempt);
    } else if (odto_slice_eq(name, "payload")) {
        odto_buf_put(out, job->payload.p, job->payload.n);
    } else {
        if (!field(job->payload, odto_slice_of(name.p + 8, name.n - 8), &value))
            return -ENOENT;
        if (value.n && value.p[0] == '"')
            return odto_json_unquote(value, out);
        odto_buf_put(out, value.p, value.n);
    }
    return 0;
}

int template_word(const char *word, const odto_job *job, bool after_end, odto_buf *out, char *why,
                  size_t why_size)
{
    odto_slice name = placeholder(word);
    size_t at = out->n;
    const char *bad = NULL;
    if (!name.n) {
        odto_buf_str(out, word);
    } else {
        int r = put_value(name, job, out);
        if (r < 0 && r != -ENOMEM)
            bad = "is not in the job";
        else if (out->n > at && memchr(out->p + at, '\0', out->n - at))
            bad = "has a NUL byte";
        else if (out->n > at && out->p[at] == '-' && !after_end)
            bad = "begins with '-' and could be taken for an option (put -- before it in `command`)";
    }
    if (bad) {
        snprintf(why, why_size, "argument %s %s", word, bad);
        return -EINVAL;
    }
    odto_buf_put(out, "", 1);
    return out->failed ? -ENOMEM : 0;
}
