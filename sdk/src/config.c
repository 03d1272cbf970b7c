/* config.c — options of the plugin from the test's "name", "value" pairs, checked as a manifest's would be:
 * unknown names, missing ones, wrong types and values out of range are errors. */
#include "internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static int bad_value(const odto_option *o, const char *text, const char *want, odto_error *err)
{
    return odto_fail(err, -EINVAL, "option %s: '%s' is not %s", o->name, text, want);
}

static int parse_int(const odto_option *o, const char *text, odto_value *v, odto_error *err)
{
    char *end;
    errno = 0;
    v->i = strtoll(text, &end, 10);
    return errno || end == text || *end ? bad_value(o, text, "a whole number", err) : 0;
}

static int parse_bool(const odto_option *o, const char *text, odto_value *v, odto_error *err)
{
    static const char *const words[] = {"no", "yes", "false", "true", "off", "on", "0", "1"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcasecmp(text, words[i]) == 0) {
            v->i = (int64_t)(i % 2);
            return 0;
        }
    return bad_value(o, text, "yes or no", err);
}

static int parse_enum(const odto_option *o, const char *text, odto_value *v, odto_error *err)
{
    int64_t index = 0;
    for (const char *p = o->choices; p; index++) {
        size_t n = strcspn(p, "|");
        if (strlen(text) == n && memcmp(p, text, n) == 0) {
            v->i = index;
            return 0;
        }
        p = p[n] ? p + n + 1 : NULL;
    }
    return odto_fail(err, -EINVAL, "option %s: '%s' is none of %s", o->name, text, o->choices);
}

/* Words cut at `separators`; one allocation holds the pointers and the text. */
static int parse_words(const char *text, const char *separators, odto_value *v)
{
    size_t n = strlen(text), max = n / 2 + 2;
    const char **list = calloc(1, max * sizeof *list + n + 1);
    if (!list)
        return -ENOMEM;
    char *copy = (char *)(list + max), *save = NULL;
    memcpy(copy, text, n);
    for (char *w = strtok_r(copy, separators, &save); w; w = strtok_r(NULL, separators, &save))
        list[v->n++] = w;
    v->list = list;
    return 0;
}

static int parse_value(const odto_option *o, const char *text, odto_value *v, odto_error *err)
{
    char *end;
    switch (o->type) {
    case ODTO_OPT_INT:
        return parse_int(o, text, v, err);
    case ODTO_OPT_BOOL:
        return parse_bool(o, text, v, err);
    case ODTO_OPT_DURATION:
        return odto_duration_parse(odto_slice_str(text), &v->i) ? bad_value(o, text, "a duration", err) : 0;
    case ODTO_OPT_SIZE:
        return odto_size_parse(odto_slice_str(text), &v->i) ? bad_value(o, text, "a size", err) : 0;
    case ODTO_OPT_ENUM:
        return parse_enum(o, text, v, err);
    case ODTO_OPT_FLOAT:
        v->f = strtod(text, &end);
        return end == text || *end ? bad_value(o, text, "a number", err) : 0;
    case ODTO_OPT_LIST:
        return parse_words(text, ", ", v);
    case ODTO_OPT_ARGV:
        return parse_words(text, " ", v);
    case ODTO_OPT_ADDRESS:
        return strchr(text, ':') ? 0 : bad_value(o, text, "HOST:PORT", err);
    default:
        return 0;
    }
}

static int check_range(const odto_option *o, const odto_value *v, odto_error *err)
{
    bool ranged = o->type == ODTO_OPT_INT || o->type == ODTO_OPT_DURATION || o->type == ODTO_OPT_SIZE;
    if (ranged && o->max > o->min && (v->i < o->min || v->i > o->max))
        return odto_fail(err, -ERANGE, "option %s: '%s' is out of range", o->name, v->s);
    return 0;
}

static const char *setting(const odto_test *t, const char *name)
{
    for (const char *const *o = t->options; o && *o; o += 2)
        if (strcmp(o[0], name) == 0)
            return o[1];
    return NULL;
}

static int check_names(const odto_test *t, odto_error *err)
{
    for (const char *const *o = t->options; o && *o; o += 2) {
        bool known = false;
        for (size_t i = 0; i < t->plugin->n_options && !known; i++)
            known = strcmp(o[0], t->plugin->options[i].name) == 0;
        if (!known)
            return odto_fail(err, -EINVAL, "%s has no option %s", t->plugin->head.name, o[0]);
    }
    return 0;
}

static int fill(odto_test *t, odto_value *values, odto_error *err)
{
    const odto_plugin *p = t->plugin;
    for (size_t i = 0; i < p->n_options; i++) {
        const odto_option *o = &p->options[i];
        const char *given = setting(t, o->name), *text = given ? given : o->default_value;
        values[i].s = text;
        values[i].line = given ? (int)i + 2 : 0;
        values[i].column = given ? 1 : 0;
        if (!text && (o->flags & ODTO_OPTION_REQUIRED))
            return odto_fail(err, -EINVAL, "option %s is missing", o->name);
        int r = text ? parse_value(o, text, &values[i], err) : 0;
        if (r == 0 && text && given)
            r = check_range(o, &values[i], err);
        if (r < 0)
            return r;
    }
    return 0;
}

int odto_test_configure(odto_test *t, odto_error *err)
{
    const odto_plugin *p = t->plugin;
    odto_value *values = calloc(p->n_options + 1, sizeof *values);
    if (!values)
        return odto_fail(err, -ENOMEM, "no memory");
    t->config = (odto_config){.instance = "test",
                              .file = "test.ini",
                              .line = 1,
                              .options = p->options,
                              .values = values,
                              .n = p->n_options,
                              .data_dir = t->data_dir,
                              .host_name = "testhost"};
    int r = check_names(t, err);
    return r < 0 ? r : fill(t, values, err);
}

void odto_test_config_free(odto_test *t)
{
    for (size_t i = 0; t->config.values && i < t->config.n; i++)
        free((void *)(uintptr_t)t->config.values[i].list);
    free((void *)(uintptr_t)t->config.values);
    t->config.values = NULL;
}
