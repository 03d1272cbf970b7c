/* manifest_check.c — what one section says about another. Runs while a snapshot is built. */
#include "manifest_internal.h"

#include <errno.h>
#include <string.h>

void manifest_hint_section(const manifest *m, manifest_kind kind, const char *name, odto_error *err)
{
    const char *names[256];
    size_t n = 0;
    for (size_t i = 0; i < m->n_sections && n < 256; i++) {
        if (m->sections[i]->kind == kind)
            names[n++] = m->sections[i]->name;
    }
    const char *nearest = odto_nearest(name, names, n);
    const char *word = option_table_of(kind)->section;
    if (nearest)
        odto_error_hint(err, "did you mean \"%s\"?", nearest);
    else
        odto_error_hint(err, "add a section [%s %s]", word, name);
}

/* An enabled section of this kind, else err is filled. */
static const manifest_section *need(const manifest *m, manifest_kind kind, const char *key, const char *name,
                                    odto_error *err)
{
    const char *word = option_table_of(kind)->section;
    const manifest_section *s = manifest_find(m, kind, name);
    if (s && s->enabled)
        return s;
    odto_fail(err, -ENOENT, s ? "%s: [%s %s] is not enabled" : "%s: there is no [%s %s]", key, word, name);
    if (!s)
        manifest_hint_section(m, kind, name, err);
    return NULL;
}

int manifest_check_store(manifest *m, const char *name, int64_t role, odto_error *err)
{
    if (!need(m, MANIFEST_STORE, "store", name, err))
        return -EINVAL;
    return m->store_check ? m->store_check(m->store_arg, name, role, err) : 0;
}

static void check_route(manifest *m, const manifest_section *s, manifest_errors *errs)
{
    odto_error e = {0};
    const char *transport = odto_config_str(s->host, "transport");
    if (strcmp(transport, "memory") != 0 && strcmp(transport, "spool") != 0 &&
        !need(m, MANIFEST_BRIDGE, "transport", transport, &e)) {
        odto_error_detail(&e, "allowed are memory, spool and the name of a [bridge]");
        manifest_report(m, s, "transport", &e, errs);
    }
    const char *dead = odto_config_str(s->host, "dead_letter");
    e = (odto_error){0};
    if (!dead || !*dead)
        return;
    if (strcmp(dead, s->name) == 0)
        odto_fail(&e, -EINVAL, "dead_letter: a route can't be its own dead letter topic");
    else if (need(m, MANIFEST_ROUTE, "dead_letter", dead, &e))
        return;
    manifest_report(m, s, "dead_letter", &e, errs);
}

static void check_instance(manifest *m, const manifest_section *s, manifest_errors *errs)
{
    const odto_value *v = odto_config_get(s->host, "requires");
    for (size_t i = 0; i < v->n; i++) {
        const manifest_section *other = manifest_instance(m, v->list[i]);
        odto_error e = {0};
        if (other && other->enabled && other != s)
            continue;
        odto_fail(&e, -ENOENT,
                  other == s ? "requires: %s requires itself"
                  : other    ? "requires: %s is not enabled"
                             : "requires: there is no instance %s",
                  v->list[i]);
        manifest_report(m, s, "requires", &e, errs);
    }
    if (odto_config_int(s->host, "restart_backoff") > odto_config_int(s->host, "restart_backoff_max")) {
        odto_error e = {0};
        odto_fail(&e, -EINVAL, "restart_backoff is longer than restart_backoff_max");
        manifest_report(m, s, "restart_backoff", &e, errs);
    }
}

static bool lists(const manifest_section *s, const char *type)
{
    const odto_value *v = odto_config_get(s->host, "types");
    for (size_t i = 0; i < v->n; i++) {
        if (strcmp(v->list[i], type) == 0)
            return true;
    }
    return false;
}

static void check_handler(manifest *m, size_t at, manifest_errors *errs)
{
    const manifest_section *s = m->sections[at];
    const odto_value *v = odto_config_get(s->host, "types");
    for (size_t i = 0; i < v->n; i++) {
        for (size_t k = 0; k < at; k++) {
            const manifest_section *other = m->sections[k];
            odto_error e = {0};
            if (other->kind != MANIFEST_HANDLER || !other->enabled || !lists(other, v->list[i]))
                continue;
            odto_fail(&e, -EEXIST, "types: %s is executed by [handler %s] already", v->list[i], other->name);
            odto_error_detail(&e, "line %d", other->line);
            manifest_report(m, s, "types", &e, errs);
        }
    }
    if (odto_config_int(s->host, "backoff") > odto_config_int(s->host, "backoff_max")) {
        odto_error e = {0};
        odto_fail(&e, -EINVAL, "backoff is longer than backoff_max");
        manifest_report(m, s, "backoff", &e, errs);
    }
}

static void check_listener(manifest *m, const manifest_section *s, manifest_errors *errs)
{
    static const odto_option address = {.name = "address", .type = ODTO_OPT_ADDRESS};
    odto_value v;
    odto_error e = {0};
    if (!odto_config_str(s->host, "address") && option_parse(&address, s->name, NULL, &m->a, &v, NULL) < 0) {
        odto_fail(&e, -EINVAL, "address is missing, and the section's name is no host:port");
        odto_error_hint(&e, "write [listener 127.0.0.1:3000], or give it an address");
        manifest_report(m, s, NULL, &e, errs);
    }
    const char *cert = odto_config_str(s->host, "tls_certificate"),
               *key = odto_config_str(s->host, "tls_key");
    if (!cert != !key) {
        odto_fail(&e, -EINVAL, "tls_certificate and tls_key belong together");
        odto_error_hint(&e, "set both or none");
        manifest_report(m, s, cert ? "tls_certificate" : "tls_key", &e, errs);
    }
}

void manifest_check_references(manifest *m, manifest_errors *errs)
{
    for (size_t i = 0; i < m->n_sections; i++) {
        const manifest_section *s = m->sections[i];
        if (!s->enabled)
            continue;
        if (option_table_of(s->kind)->instance)
            check_instance(m, s, errs);
        if (s->kind == MANIFEST_ROUTE)
            check_route(m, s, errs);
        else if (s->kind == MANIFEST_HANDLER)
            check_handler(m, i, errs);
        else if (s->kind == MANIFEST_LISTENER)
            check_listener(m, s, errs);
    }
}
