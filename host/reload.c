/* reload.c — see reload.h. The manifest is parsed and checked with the option tables of the copies that would
 * run; any error leaves everything as it is. Then: remove, replace, add; routes and listeners that changed in
 * place. */
#include "host/reload.h"
#include "host/boot.h"
#include "host/crash.h"
#include "host/isolate.h"
#include "host/probe.h"
#include "host/swap.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a reload would do with one section. */
struct change {
    const manifest_section *section;
    struct unit *unit;   /* NULL: new */
    struct unit *fresh;  /* made for a new one */
    struct image *image; /* staged for it, or the one that runs */
    bool staged, replace, live;
};

struct plan {
    struct core *core;
    manifest *next;
    struct change changes[MAX_UNITS];
    size_t n;
    const char *only; /* reload this one, changed or not */
    manifest_errors errs;
};

const char *reload_result_name(enum reload_result r)
{
    static const char *const names[] = {"unchanged", "done", "rolled-back", "refused", "lost"};
    return (unsigned)r < sizeof names / sizeof names[0] ? names[r] : "?";
}

enum reload_result verdicts_worst(const struct verdicts *v)
{
    enum reload_result worst = RELOAD_UNCHANGED;
    for (size_t i = 0; i < v->n; i++)
        worst = v->items[i].result > worst ? v->items[i].result : worst;
    return worst;
}

const char *reload_step_name(enum reload_step s)
{
    static const char *const names[] = {"check", "init",   "quiesce", "save",        "stop",     "restore",
                                        "start", "canary", "commit",  "reconfigure", "roll-back"};
    return (unsigned)s < sizeof names / sizeof names[0] ? names[s] : "?";
}

void verdict_step(struct verdict *v, enum reload_step next)
{
    int64_t now = odto_now_ns();
    if (v->step_at)
        v->step_ns[v->step] += now - v->step_at;
    v->step = next;
    v->step_at = now;
}

static void count(struct core *core, const struct verdict *v)
{
    const char *labels[] = {v->unit, reload_result_name(v->result), reload_step_name(v->step)};
    metrics_spec verdicts = {ODTO_COUNTER,
                             "odto_reload_verdicts_total",
                             "Verdicts of reloads, by the step that was the last or failed.",
                             "plugin,result,step",
                             labels,
                             NULL,
                             0};
    odto_metric *cell;
    if (metrics_cell(core->metrics, core, &verdicts, &cell, NULL) == 0)
        odto_metric_add(cell, 1);
    odto_metric_add(core->m_reloads[v->result], 1);
    odto_metric_observe(core->m_reload, (double)v->total_ns / 1e9);
    if (v->pause_ns)
        odto_metric_observe(core->m_pause, (double)v->pause_ns / 1e9);
}

/* ", quiesce 0.21 ms, stop 0.40 ms": where the time went. */
static void describe_steps(const struct verdict *v, odto_buf *out)
{
    for (int i = 0; i < RELOAD_STEPS; i++)
        if (v->step_ns[i])
            odto_buf_printf(out, ", %s %.2f ms", reload_step_name((enum reload_step)i),
                            (double)v->step_ns[i] / 1e6);
}

static void conclude(struct core *core, const struct verdict *v, struct verdicts *out)
{
    char text[1400];
    bool bad = v->result > RELOAD_DONE, said = v->error.code != 0;
    odto_buf steps = {.max = 600};
    count(core, v);
    describe_steps(v, &steps);
    log_write(core->log, bad ? ODTO_ERROR : ODTO_INFO, NULL,
              "reload %s: %s at step %s, generation %u, %.1f ms, paused %.2f ms%.*s%s%s",
              v->unit[0] ? v->unit : "manifest", reload_result_name(v->result), reload_step_name(v->step),
              v->generation, (double)v->total_ns / 1e6, (double)v->pause_ns / 1e6, (int)steps.n,
              steps.n ? steps.p : "", said ? ": " : "",
              said ? odto_error_text(&v->error, text, sizeof text) : "");
    odto_buf_free(&steps);
    if (out && out->n < sizeof out->items / sizeof out->items[0])
        out->items[out->n++] = *v;
}

/* ---- check ---- */

/* The copy the section would run: the mapped one while the installed file is the same, else a new copy,
 * probed. */
static int find_image(struct plan *p, struct change *c, odto_error *err)
{
    struct unit *u = c->unit ? c->unit : c->fresh;
    char file[4096], hash[LOADER_HASH_LEN + 1];
    int r = loader_find(c->section->module, p->core->plugin_path, file, sizeof file, err);
    if (r < 0)
        return r;
    bool forced = p->only && strcmp(p->only, c->section->name) == 0;
    if (c->unit && c->unit->image && loader_hash(file, hash) == 0 &&
        strcmp(hash, c->unit->image->hash) == 0 && !forced &&
        !c->unit->image->isolated == !isolate_wanted(c->section, c->unit->kind, file)) {
        c->image = c->unit->image;
        return 0;
    }
    c->image = unit_map_probed(u, file, c->section, p->core->manifest_path, err);
    if (!c->image)
        return err->code ? err->code : -ENOEXEC;
    c->staged = true;
    c->replace = true;
    snprintf(u->file, sizeof u->file, "%s", file);
    return 0;
}

static int next_role(void *arg, const char *store, int64_t role, odto_error *err)
{
    struct plan *p = arg;
    for (size_t i = 0; i < p->n; i++)
        if (strcmp(p->changes[i].section->name, store) == 0 && p->changes[i].image)
            return boot_store_role(p->changes[i].image, store, role, err);
    return 0;
}

static void check_change(struct plan *p, struct change *c)
{
    const odto_plugin *d = c->image->descriptor;
    const odto_config *config = NULL;
    odto_error err = {0};
    if (manifest_config(p->next, c->section, d->options, d->n_options, &config, &p->errs) == 0 &&
        image_check_config(p->core, c->image, config, &err) < 0)
        manifest_report(p->next, c->section, NULL, &err, &p->errs);
    if (c->unit && c->unit->kind == ODTO_KIND_BRIDGE && c->unit->current) {
        if (c->replace || manifest_compare(c->unit->section, c->section) == MANIFEST_RELOAD)
            log_write(p->core->log, ODTO_WARN, NULL,
                      "bridge %s: routes hold it, so it changes at the next start of the host",
                      c->section->name);
        c->replace = false;
    } else if (c->unit && !c->replace) {
        manifest_change m = manifest_compare(c->unit->section, c->section);
        c->live = m == MANIFEST_LIVE;
        c->replace = m == MANIFEST_RELOAD || (c->live && !d->ops->reconfigure) ||
                     c->unit->state == LIFE_FAILED ||
                     (c->unit->state == LIFE_STOPPED && !atomic_load(&c->unit->disabled));
    }
}

static void check(struct plan *p)
{
    const manifest_section *s;
    manifest_load(p->core->manifest_path, &p->next, &p->errs);
    for (size_t i = 0; p->next && (s = manifest_section_at(p->next, i)) && p->n < MAX_UNITS; i++) {
        if (!boot_kind(s->kind) || !s->enabled)
            continue;
        if (!core_unit(p->core, s->name) && boot_left_out(p->core, p->next, s, &p->errs))
            continue;
        struct change *c = &p->changes[p->n++];
        odto_error err = {0};
        c->section = s;
        c->unit = core_unit(p->core, s->name);
        if (c->unit && c->unit->kind != boot_kind(s->kind))
            odto_fail(&err, -EINVAL, "%s was of another kind; remove it first, then add it", s->name);
        else if (!c->unit)
            c->fresh = boot_unit_new(p->core, s);
        if (err.code || find_image(p, c, &err) < 0)
            manifest_report(p->next, s, boot_error_key(&err), &err, &p->errs);
    }
    if (!p->next)
        return;
    manifest_set_store_check(p->next, next_role, p);
    for (size_t i = 0; i < p->n; i++)
        if (p->changes[i].image)
            check_change(p, &p->changes[i]);
    manifest_finish(p->next, &p->errs);
}

static void drop(struct plan *p)
{
    for (size_t i = 0; i < p->n; i++) {
        struct change *c = &p->changes[i];
        struct unit *u = c->unit ? c->unit : c->fresh;
        if (c->staged && u->image != c->image)
            unit_unmap(u, c->image);
        free(c->fresh);
        c->fresh = NULL;
    }
    manifest_unref(p->next);
    manifest_errors_free(&p->errs);
}

static void refuse(struct plan *p, int64_t begin, struct verdicts *out)
{
    struct verdict v = {.result = RELOAD_REFUSED, .step = STEP_CHECK, .total_ns = odto_now_ns() - begin};
    for (size_t i = 0; i < p->errs.n; i++)
        if (!p->errs.items[i].warning) {
            log_error(p->core->log, ODTO_ERROR, "manifest", &p->errs.items[i].error);
            if (!v.error.code)
                v.error = p->errs.items[i].error;
        }
    if (p->only)
        snprintf(v.unit, sizeof v.unit, "%s", p->only);
    conclude(p->core, &v, out);
}

/* ---- apply ---- */

static struct change *change_of(struct plan *p, const struct unit *u)
{
    for (size_t i = 0; i < p->n; i++)
        if (p->changes[i].unit == u)
            return &p->changes[i];
    return NULL;
}

static void remove_one(struct core *core, struct unit *u, struct verdicts *out)
{
    struct verdict v = {.result = RELOAD_DONE, .step = STEP_STOP, .generation = u->generation};
    int64_t begin = odto_now_ns();
    snprintf(v.unit, sizeof v.unit, "%s", u->name);
    bool clean = unit_down(u, begin + unit_int(u, "stop_timeout"), true);
    v.total_ns = odto_now_ns() - begin;
    boot_unit_free(core, u);
    if (!clean)
        odto_fail(&v.error, -ETIMEDOUT, "it did not stop and was left behind");
    conclude(core, &v, out);
}

static void set_leaving(struct unit *u, bool leaving)
{
    pthread_rwlock_wrlock(&u->core->lock);
    u->leaving = leaving;
    pthread_rwlock_unlock(&u->core->lock);
}

/* Services that are not in the manifest any more go first, their addresses may be wanted; what others hold is
 * only marked, so that the next generation of those does not obtain it. */
static void remove_services(struct plan *p, struct verdicts *out)
{
    struct core *core = p->core;
    for (size_t i = core->n_units; i-- > 0;) {
        struct unit *u = core->units[i];
        if (change_of(p, u) || (u->kind == ODTO_KIND_BRIDGE && u->current)) /* a bridge: routes hold it */
            continue;
        if (u->kind == ODTO_KIND_SERVICE)
            remove_one(core, u, out);
        else
            set_leaving(u, true);
    }
}

/* What was marked, unless somebody kept it: his exchange was given up. */
static void remove_rest(struct plan *p, struct verdicts *out)
{
    struct core *core = p->core;
    for (size_t i = core->n_units; i-- > 0;) {
        struct unit *u = core->units[i];
        if (!u->leaving)
            continue;
        if (!unit_in_use(u)) {
            remove_one(core, u, out);
            continue;
        }
        struct verdict v = {.result = RELOAD_REFUSED, .step = STEP_STOP, .generation = u->generation};
        snprintf(v.unit, sizeof v.unit, "%s", u->name);
        odto_fail(&v.error, -EBUSY, "%s is still in use by others and stays", u->name);
        odto_error_hint(&v.error, "see the verdicts of those; the next reload tries again");
        set_leaving(u, false);
        conclude(core, &v, out);
    }
}

/* Who works with all handlers is exchanged when one comes or goes. */
static void handlers_changed(struct plan *p)
{
    bool any = false;
    for (size_t i = 0; i < p->n; i++)
        any |= p->changes[i].fresh && p->changes[i].fresh->kind == ODTO_KIND_HANDLER;
    for (size_t i = 0; i < p->core->n_units; i++)
        any |= p->core->units[i]->leaving && p->core->units[i]->kind == ODTO_KIND_HANDLER;
    for (size_t i = 0; any && i < p->n; i++) {
        struct unit *u = p->changes[i].unit;
        if (u && u->current && atomic_load(&u->current->wants_handlers))
            p->changes[i].replace = true;
    }
}

/* Does what user holds of the unit change with this reload? A seat outlasts generations, but not the step
 * between worker and thread. */
static bool sits(const struct plan *p, const struct unit *user, const struct unit *used)
{
    for (size_t i = 0; user->current && atomic_load(&user->current->wants_handlers) && i < p->n; i++)
        if (p->changes[i].unit == used && p->changes[i].image && used->image)
            return used->image->isolated && !p->changes[i].image->isolated;
    return false;
}

static bool uses(const struct unit *user, const struct unit *used)
{
    for (size_t i = 0; user->current && i < user->current->n_uses; i++)
        if (user->current->uses[i] == used->current)
            return true;
    return false;
}

/* The unit and all that hold its pointers, in start order. Those keep what they have or, where they change
 * too, get it now. */
static size_t group(struct plan *p, struct unit *u, struct swap_item *items)
{
    struct core *core = p->core;
    size_t n = 0;
    for (size_t i = 0; i < core->n_units; i++) {
        struct unit *w = core->units[i];
        bool in = w == u;
        for (size_t k = 0; !in && k < n; k++)
            in = uses(w, items[k].unit) || sits(p, w, items[k].unit);
        struct change *c = change_of(p, w);
        if (!in || !c)
            continue;
        bool now = c->replace || !p->only;
        items[n++] = (struct swap_item){.unit = w,
                                        .image = c->replace ? c->image : w->image,
                                        .manifest = now ? p->next : w->manifest,
                                        .section = now ? c->section : w->section};
        c->replace = false;
        c->live = false;
    }
    return n;
}

static void replace(struct plan *p, struct change *c, struct verdicts *out)
{
    struct swap_item items[MAX_UNITS];
    struct verdict v = {.step = STEP_INIT};
    struct unit *u = c->unit;
    snprintf(v.unit, sizeof v.unit, "%s", u->name);
    if (u->state != LIFE_READY) { /* nothing runs: no swap, a start with what is new */
        u->streak = 0;
        unit_down(u, odto_now_ns(), false);
        unit_take_over(u, c->image, p->next, c->section);
        int64_t begin = odto_now_ns();
        int r = unit_init(u, &v.error);
        if (r == 0)
            r = unit_start(u, &v.error);
        if (r < 0)
            unit_failed(u, &v.error, false);
        v.total_ns = odto_now_ns() - begin;
        v.result = r < 0 ? RELOAD_LOST : RELOAD_DONE;
        v.step = r < 0 ? STEP_START : STEP_COMMIT;
        v.generation = u->generation;
        c->replace = false;
    } else {
        size_t n = group(p, u, items);
        swap_run(p->core, items, n, &v);
    }
    conclude(p->core, &v, out);
}

/* An operator's `odto disable` outlasts reloads: what is new is taken over for the day it is enabled. */
static void adopt(struct plan *p, struct change *c, struct verdicts *out)
{
    struct unit *u = c->unit;
    struct verdict v = {.result = RELOAD_UNCHANGED, .step = STEP_CHECK, .generation = u->generation};
    snprintf(v.unit, sizeof v.unit, "%s", u->name);
    odto_fail(&v.error, -ECANCELED, "%s is disabled and stays so; what is new is taken over", u->name);
    odto_error_hint(&v.error, "`odto enable %s` starts it", u->name);
    unit_take_over(u, c->image, p->next, c->section);
    c->replace = c->live = false;
    conclude(p->core, &v, out);
}

static void reconfigure(struct plan *p, struct change *c, struct verdicts *out)
{
    struct unit *u = c->unit;
    struct verdict v = {.result = RELOAD_DONE, .step = STEP_RECONFIGURE, .generation = u->generation};
    int64_t begin = odto_now_ns();
    snprintf(v.unit, sizeof v.unit, "%s", u->name);
    if (instance_reconfigure(u->current, p->next, c->section->config, unit_int(u, "start_timeout"),
                             &v.error) < 0) {
        v.result = RELOAD_REFUSED;
    } else {
        unit_set_section(u, p->next, c->section);
    }
    v.total_ns = odto_now_ns() - begin;
    conclude(p->core, &v, out);
}

static void add_new(struct plan *p, struct change *c, struct verdicts *out)
{
    struct verdict v = {.result = RELOAD_DONE, .step = STEP_COMMIT, .added = true};
    struct unit *u = c->fresh;
    c->fresh = NULL;
    c->unit = u;
    c->replace = false; /* it runs what is new */
    u->image = c->image;
    u->manifest = manifest_ref(p->next);
    boot_unit_add(p->core, u);
    snprintf(v.unit, sizeof v.unit, "%s", u->name);
    int64_t begin = odto_now_ns();
    int r = unit_init(u, &v.error);
    if (r == 0)
        r = unit_start(u, &v.error);
    if (r < 0) {
        v.result = RELOAD_LOST;
        v.step = STEP_START;
        unit_failed(u, &v.error, false);
    }
    v.generation = u->generation;
    v.total_ns = odto_now_ns() - begin;
    conclude(p->core, &v, out);
}

static void add_kinds(struct plan *p, odto_kind from, odto_kind to, struct verdicts *out)
{
    for (size_t i = 0; !p->only && i < p->n; i++) {
        const struct unit *u = p->changes[i].fresh;
        if (u && u->kind >= from && u->kind <= to)
            add_new(p, &p->changes[i], out);
    }
}

/* The new manifest is the host's; its routes are opened or adjusted, what others will hold is started. */
static void take_over(struct plan *p, struct verdicts *out)
{
    struct core *core = p->core;
    odto_error err = {0};
    manifest *old = core->manifest;
    remove_services(p, out);
    pthread_rwlock_wrlock(&core->lock);
    core->manifest = manifest_ref(p->next);
    pthread_rwlock_unlock(&core->lock);
    manifest_unref(old);
    atomic_fetch_add(&core->manifest_generation, 1);
    boot_live_settings(core);
    handlers_changed(p);
    add_kinds(p, ODTO_KIND_BRIDGE, ODTO_KIND_BRIDGE, out);
    if (routes_reload(core, &err) < 0)
        log_error(core->log, ODTO_ERROR, "routes", &err);
    add_kinds(p, ODTO_KIND_STORE, ODTO_KIND_STORE, out);
    add_kinds(p, ODTO_KIND_HANDLER, ODTO_KIND_HANDLER, out);
}

static void apply(struct plan *p, struct verdicts *out)
{
    struct core *core = p->core;
    if (!p->only) {
        take_over(p, out);
        supervisor_order(core);
    }
    for (size_t i = 0; i < core->n_units; i++) {
        struct change *c = change_of(p, core->units[i]);
        if (!c || (p->only && strcmp(p->only, core->units[i]->name) != 0))
            continue;
        if ((c->replace || c->live) && atomic_load(&c->unit->disabled))
            adopt(p, c, out);
        else if (c->replace)
            replace(p, c, out);
        else if (c->live)
            reconfigure(p, c, out);
    }
    if (!p->only) {
        add_kinds(p, ODTO_KIND_SERVICE, ODTO_KIND_SERVICE, out);
        remove_rest(p, out);
        supervisor_order(core);
    }
    http_prune(core->http);
}

void reload_manifest(struct core *core, const char *name, struct verdicts *out)
{
    struct plan *p = calloc(1, sizeof *p);
    if (!p)
        return;
    p->core = core;
    p->only = name;
    size_t before = out ? out->n : 0;
    int64_t begin = odto_now_ns();
    check(p);
    if (p->errs.n_errors || !p->next) {
        refuse(p, begin, out);
    } else {
        apply(p, out);
        if (out && out->n == before && out->n < MAX_UNITS) {
            out->items[out->n++] = (struct verdict){
                .result = RELOAD_UNCHANGED, .step = STEP_CHECK, .total_ns = odto_now_ns() - begin};
            log_write(core->log, ODTO_INFO, NULL, "reload: nothing changed");
        }
    }
    drop(p);
    free(p);
}
