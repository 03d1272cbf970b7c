/* check_static.c — plugin-check: what can be said without running the plugin: the file, its symbols, note and
 * flags, its option table, which callbacks it has. */
#include "host/plugin_check.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const kinds[] = {"?", "service", "store", "bridge", "handler"};

void check_file(struct check *c)
{
    odto_error err = {0};
    if (loader_stage(c->file, c->dir, "check", 1, NULL, &c->image, &err) < 0 ||
        loader_inspect(&c->image, &err) < 0) {
        check_error(c, "the file", &err);
        return;
    }
    const odto_head *h = &c->image.head;
    check_good(
        c,
        "%.31s %.23s, a %s for ABI %u.%u; exports odto_plugin and nothing else; no NODELETE, TEXTREL, RPATH, "
        "STATIC_TLS, unique symbols",
        h->name, h->version, h->kind < 5 ? kinds[h->kind] : "?", h->abi_major, h->abi_minor);
    check_good(c, "SHA-256 %s", c->image.hash);
}

void check_descriptor_and_note(struct check *c)
{
    if (check_load(c))
        check_good(c, "it loads; the descriptor agrees with the note");
}

static bool good_name(const char *name)
{
    if (!name || !islower((unsigned char)name[0]))
        return false;
    for (const char *p = name; *p; p++)
        if (!islower((unsigned char)*p) && !isdigit((unsigned char)*p) && *p != '_')
            return false;
    return true;
}

/* The address of a fresh server on this machine is none, also with the password that it comes with. */
static bool is_secret(const char *text)
{
    return text && text[0] && !strstr(text, "127.0.0.1") && !strstr(text, "localhost");
}

static void check_bounds(struct check *c, const odto_option *o)
{
    bool ranged = o->type == ODTO_OPT_INT || o->type == ODTO_OPT_DURATION || o->type == ODTO_OPT_SIZE;
    if (ranged && o->min > o->max && o->max != 0)
        check_bad(c, "option %s: its least value is above its greatest", o->name);
    if (o->type == ODTO_OPT_ENUM && (!o->choices || !o->choices[0] || strstr(o->choices, "||")))
        check_bad(c, "option %s: an enum without choices, or with an empty one", o->name);
    if (o->type != ODTO_OPT_ENUM && o->choices)
        check_bad(c, "option %s: has choices but is no enum", o->name);
    if ((o->flags & ODTO_OPTION_REQUIRED) && o->default_value)
        check_bad(c, "option %s: required, and has a default: one of them is wrong", o->name);
    if ((o->flags & ODTO_OPTION_SECRET) && is_secret(o->default_value))
        check_bad(c, "option %s: a secret must not have a default", o->name);
    if ((o->flags & ODTO_OPTION_LIVE) && !c->plugin->ops->reconfigure)
        check_bad(c, "option %s: is said to change while running, but there is no reconfigure()", o->name);
    if (!o->help || !o->help[0])
        check_bad(c, "option %s: has no help", o->name);
}

static void check_default(struct check *c, const odto_option *o)
{
    odto_plugin one = *c->plugin;
    odto_test *t = calloc(1, sizeof *t);
    if (!t)
        return;
    const char *const set[] = {o->name, o->default_value, NULL};
    odto_error err = {0};
    one.options = o;
    one.n_options = 1;
    odto_test_setup(t, &one);
    t->options = set;
    if (o->default_value && odto_test_options(t, &err) < 0)
        check_bad(c, "its default: %s", err.message);
    odto_test_free(t);
    free(t);
}

void check_options(struct check *c)
{
    if (!check_load(c))
        return;
    const odto_plugin *p = c->plugin;
    for (size_t i = 0; i < p->n_options; i++) {
        const odto_option *o = &p->options[i];
        if (!good_name(o->name)) {
            check_bad(c, "option %zu: '%s' is no name: lower-case letters, digits, '_'", i + 1,
                      o->name ? o->name : "");
            continue;
        }
        if ((unsigned)o->type > ODTO_OPT_FLOAT) {
            check_bad(c, "option %s: has an unknown type", o->name);
            continue;
        }
        for (size_t k = 0; k < i; k++)
            if (p->options[k].name && strcmp(p->options[k].name, o->name) == 0)
                check_bad(c, "option %s: stands twice in the table", o->name);
        check_bounds(c, o);
        check_default(c, o);
    }
    if (!c->bad)
        check_good(c, "%zu option%s: names, types, defaults, ranges and help are in order", p->n_options,
                   p->n_options == 1 ? "" : "s");
}

void check_callbacks(struct check *c)
{
    if (!check_load(c)) /* init, start, fini, handle() for its topics, the interface of its kind */
        return;
    const odto_plugin *p = c->plugin;
    const odto_plugin_ops *o = p->ops;
    if (!o->save != !o->restore)
        check_bad(c, "save() and restore() belong together, it has only %s", o->save ? "save" : "restore");
    if (o->handle && !p->consumes)
        check_bad(c, "handle() is never called: it consumes no topic");
    if (p->consumes && !o->quiesce)
        check_bad(c,
                  "it consumes topics but has no quiesce(): what is in hand at a reload is delivered again");
    if (p->handler && p->handler->size != sizeof *p->handler)
        check_bad(c, "the handler interface has another size than this host's");
    if (p->store && p->store->size != sizeof *p->store)
        check_bad(c, "the store interface has another size than this host's");
    if (p->store && !p->store->jobs && !p->store->counters && !p->store->events)
        check_bad(c, "a store of nothing: neither jobs nor counters nor events");
    if (p->head.kind == ODTO_KIND_BRIDGE &&
        (!p->bridge->publish || !p->bridge->subscribe || !p->bridge->settle))
        check_bad(c, "the bridge interface lacks publish, subscribe or settle");
    if (!p->summary || !p->summary[0])
        check_bad(c, "it has no summary");
    if (!c->bad)
        check_good(c, "the callbacks fit its kind and topics");
}
