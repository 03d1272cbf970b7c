/* supervisor.c — brings units up and down and restarts them; the main thread only.
 *
 * Policy: one-for-one, and rest-for-one along what an instance obtained (stores, handlers): when a unit goes
 * down, those that hold its pointers go down before it and come up after it. More than `intensity` failures
 * within `period`: FAILED. Backoff 0.2 s doubling to 30 s with jitter; the streak is forgotten after 60 s
 * READY. */
#include "host/core.h"
#include "host/isolate.h"
#include "host/probe.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define CALM         (60 * ODTO_SEC)
#define FINI_TIMEOUT (5 * ODTO_SEC)

void unit_set(struct unit *u, enum life_event event)
{
    int next = life_next(u->state, event);
    if (next < 0) {
        log_write(u->core->log, ODTO_ERROR, NULL, "%s: event %s is illegal in state %s (a bug of the host)",
                  u->name, life_event_name(event), life_state_name(u->state));
        return;
    }
    pthread_rwlock_wrlock(&u->core->lock);
    odto_metric_set(u->m_state[u->state], 0);
    u->state = (enum life_state)next;
    odto_metric_set(u->m_state[u->state], 1);
    if (event == LIFE_UP)
        u->ready_since = odto_now_ns();
    pthread_rwlock_unlock(&u->core->lock);
}

void unit_set_image(struct unit *u, struct image *image)
{
    pthread_rwlock_wrlock(&u->core->lock);
    u->image = image;
    pthread_rwlock_unlock(&u->core->lock);
}

void unit_set_section(struct unit *u, manifest *m, const manifest_section *section)
{
    manifest *old = u->manifest;
    pthread_rwlock_wrlock(&u->core->lock);
    u->manifest = manifest_ref(m);
    u->section = section;
    pthread_rwlock_unlock(&u->core->lock);
    manifest_unref(old);
}

void unit_take_over(struct unit *u, struct image *image, manifest *m, const manifest_section *section)
{
    struct image *former = u->image;
    unit_set_image(u, image);
    if (former != image)
        unit_unmap(u, former);
    unit_set_section(u, m, section);
}

void unit_set_current(struct unit *u, struct instance *in)
{
    pthread_rwlock_wrlock(&u->core->lock);
    u->current = in;
    if (in)
        u->generation = in->generation;
    odto_metric_set(u->m_generation, u->generation);
    pthread_rwlock_unlock(&u->core->lock);
}

/* ---- up ---- */

struct image *unit_stage(struct unit *u, const char *file, odto_error *err)
{
    struct core *core = u->core;
    struct image *image = malloc(sizeof *image);
    if (!image) {
        odto_fail(err, -ENOMEM, "no memory");
        return NULL;
    }
    const char *allow = odto_config_str(manifest_host(core->manifest), "allow_list");
    int r =
        loader_stage(file, core->run_dir, u->name, ++u->copies, allow && allow[0] ? allow : NULL, image, err);
    if (r == 0)
        r = loader_inspect(image, err);
    if (r == 0 && image->head.kind != (uint32_t)u->kind)
        r = odto_fail(err, -ENOEXEC, "%s is a plugin of another kind than the section of %s", image->source,
                      u->name);
    if (r == 0)
        return image;
    loader_close(image, false);
    free(image);
    return NULL;
}

void unit_image_kept(struct unit *u)
{
    atomic_fetch_add(&u->images_kept, 1);
    odto_metric_add(u->m_kept, 1);
}

void unit_unmap(struct unit *u, struct image *image)
{
    if (!image || image->refs)
        return;
    isolate_close(image);
    if (loader_close(image, image->leaked) < 0 || image->leaked) {
        unit_image_kept(u);
        log_write(u->core->log, ODTO_WARN, NULL, "%s: its image stays mapped: %s", u->name,
                  image->leaked ? "it left timers or leases behind"
                                : "a thread, a thread key or the linker still holds it");
    }
    free(image);
}

int unit_init(struct unit *u, odto_error *err)
{
    struct instance *in =
        instance_new(u->core, u, u->generation + 1, u->image, u->core->manifest, u->section->config);
    if (!in)
        return odto_fail(err, -ENOMEM, "no memory");
    int r = instance_init(in, unit_int(u, "start_timeout"), err);
    if (r < 0) {
        metrics_drop(u->core->metrics, in);
        if (!in->abandoned)
            instance_free(in);
        return r;
    }
    unit_set_current(u, in);
    unit_set(u, LIFE_LOAD);
    return 0;
}

int unit_start(struct unit *u, odto_error *err)
{
    unit_set(u, LIFE_START);
    int r = instance_start(u->current, unit_int(u, "start_timeout"), err);
    if (r < 0)
        return r;
    unit_set(u, LIFE_UP);
    log_write(u->core->log, ODTO_INFO, NULL, "%s: ready (generation %u)", u->name, u->generation);
    return 0;
}

/* ---- down ---- */

/* Who forgot one thing may have forgotten another that the ledger does not know: a callback that some library
 * holds, say. */
void unit_take_back(struct unit *u, struct instance *in)
{
    size_t timers = timer_reap(u->core->timers, in), leases = in->left_leases;
    in->left_leases = 0;
    if (!timers && !leases)
        return;
    log_write(u->core->log, ODTO_WARN, NULL,
              "%s: generation %u left %zu timer(s), which are removed, and %zu lease(s), which went back",
              u->name, in->generation, timers, leases);
    if (!in->image->isolated) /* what a worker leaves ends with it */
        in->image->leaked = true;
}

/* Stop, finish, free. False when the instance had to be left behind: then its image stays mapped for ever. */
static bool instance_down(struct unit *u, int64_t deadline_ns, bool graceful)
{
    struct instance *in = u->current;
    struct core *core = u->core;
    if (!in)
        return true;
    int64_t stop_timeout = unit_int(u, "stop_timeout");
    if (core->http) /* it is gone when bridges go */
        http_gate(core->http, &in->handle, true);
    if (graceful && core->http)
        http_drained(core->http, &in->handle, deadline_ns);
    if (graceful && instance_quiesce(in, deadline_ns) < 0)
        log_write(core->log, ODTO_WARN, NULL,
                  "%s: not drained before its deadline; what is left goes back to its route", u->name);
    int r = instance_stop(in, stop_timeout);
    if (r == 0)
        r = instance_callers_gone(in, odto_now_ns() + stop_timeout);
    if (core->http && http_unserve(core->http, &in->handle, odto_now_ns() + stop_timeout) < 0)
        instance_abandon(in);
    metrics_drop(core->metrics, in);
    unit_take_back(u, in);
    if (r == 0 && !in->abandoned)
        r = instance_fini(in, FINI_TIMEOUT);
    unit_set_current(u, NULL);
    if (r < 0 || in->abandoned) {
        odto_metric_add(u->m_abandoned, 1);
        log_write(core->log, ODTO_ERROR, NULL,
                  "%s: generation %u did not stop; it is fenced and left behind, its image stays mapped",
                  u->name, in->generation);
        unit_image_kept(u);
        unit_set_image(u, NULL);
        return false;
    }
    instance_free(in);
    return true;
}

static bool holds(const struct unit *user, const struct unit *used)
{
    for (size_t i = 0; user->current && used->current && i < user->current->n_uses; i++)
        if (user->current->uses[i] == used->current)
            return true;
    return false;
}

bool unit_in_use(const struct unit *u)
{
    for (size_t i = 0; i < u->core->n_units; i++)
        if (u->core->units[i] != u && holds(u->core->units[i], u))
            return true;
    return false;
}

/* Those that hold its pointers go down before it; they come up again by their own backoff state. */
static void users_down(struct unit *u, int64_t deadline_ns, int64_t restart_at)
{
    struct core *core = u->core;
    for (size_t i = core->n_units; i-- > 0;) {
        struct unit *user = core->units[i];
        if (user == u || !holds(user, u))
            continue;
        users_down(user, deadline_ns, restart_at);
        instance_down(user, deadline_ns, true);
        unit_set(user, LIFE_ERROR);
        user->restart_at = restart_at;
    }
}

bool unit_down(struct unit *u, int64_t deadline_ns, bool graceful)
{
    if (life_next(u->state, LIFE_DRAIN) >= 0)
        unit_set(u, LIFE_DRAIN);
    bool clean = instance_down(u, deadline_ns, graceful);
    if (life_next(u->state, clean ? LIFE_DOWN : LIFE_DEADLINE) >= 0)
        unit_set(u, clean ? LIFE_DOWN : LIFE_DEADLINE);
    return clean;
}

/* ---- failures ---- */

static bool too_many(struct unit *u)
{
    size_t max = sizeof u->fails / sizeof u->fails[0];
    memmove(u->fails + 1, u->fails, (max - 1) * sizeof u->fails[0]);
    u->fails[0] = odto_now_ns();
    int64_t intensity = unit_int(u, "restart_intensity");
    size_t limit = (size_t)intensity < max ? (size_t)intensity : max - 1;
    return u->fails[limit] && u->fails[0] - u->fails[limit] < unit_int(u, "restart_window");
}

static int64_t backoff(const struct unit *u)
{
    int64_t full = unit_int(u, "restart_backoff"), max = unit_int(u, "restart_backoff_max");
    for (unsigned i = 1; i < u->streak && full < max; i++)
        full *= 2;
    if (full > max)
        full = max;
    return full / 2 + (int64_t)(odto_random64() % (uint64_t)(full / 2 + 1)); /* equal jitter */
}

static void give_up(struct unit *u, const char *why)
{
    char text[1400];
    unit_set(u, LIFE_GIVE_UP);
    log_write(u->core->log, ODTO_ERROR, NULL, "%s: given up%s: %s", u->name, why,
              odto_error_text(&u->last_error, text, sizeof text));
    if (odto_config_bool(u->section->host, "required")) {
        log_write(u->core->log, ODTO_ERROR, NULL, "%s is required: the host ends with code %d", u->name,
                  EX_SOFTWARE);
        u->core->exit_code = EX_SOFTWARE;
    }
}

/* A worker that died over a job or an event after it had done others: what killed it is bounded by the
 * attempts of that job, and the plugin is not given up for it. */
static bool worked(const struct instance *in)
{
    return in && in->image->isolated && atomic_load(&in->settled_good) > 0;
}

void unit_failed(struct unit *u, const odto_error *err, bool permanent)
{
    char text[1400];
    pthread_rwlock_wrlock(&u->core->lock); /* `odto plugins` reads them */
    u->last_error = *err;
    int64_t ready_since = u->ready_since;
    u->ready_since = 0;
    pthread_rwlock_unlock(&u->core->lock);
    if (u->kind == ODTO_KIND_BRIDGE && u->current && u->core->n_routes) {
        log_write(u->core->log, ODTO_ERROR, NULL, "%s: failed; routes hold it, so the host ends: %s", u->name,
                  odto_error_text(err, text, sizeof text));
        u->core->exit_code = EX_SOFTWARE;
        return;
    }
    bool useful = worked(u->current);
    if (useful || (ready_since && odto_now_ns() - ready_since > CALM))
        u->streak = 0;
    u->streak++;
    bool over = !useful && too_many(u);
    int64_t wait = backoff(u), now = odto_now_ns();
    users_down(u, now + unit_int(u, "stop_timeout"), now + wait);
    instance_down(u, now, false);
    enum { NEVER = 2 }; /* index in the choices of `restart` */
    if (permanent || over || unit_int(u, "restart") == NEVER) {
        give_up(u, over && !permanent ? " (it failed too often)" : "");
        return;
    }
    unit_set(u, LIFE_ERROR);
    u->restart_at = odto_now_ns() + wait;
    log_write(u->core->log, ODTO_WARN, NULL, "%s: failed, again in %.1f s: %s", u->name, (double)wait / 1e9,
              odto_error_text(err, text, sizeof text));
}

/* A service obtains stores and handlers in start(): those must not be waiting for their own restart. */
static bool providers_up(const struct unit *u)
{
    for (size_t i = 0; u->kind == ODTO_KIND_SERVICE && i < u->core->n_units; i++) {
        const struct unit *p = u->core->units[i];
        if (p->kind != ODTO_KIND_SERVICE && p->state == LIFE_BACKOFF)
            return false;
    }
    return true;
}

static void restart(struct unit *u)
{
    odto_error err = {0};
    if (!providers_up(u)) {
        u->restart_at = odto_now_ns() + unit_int(u, "restart_backoff");
        return;
    }
    pthread_rwlock_wrlock(&u->core->lock);
    u->restarts++;
    pthread_rwlock_unlock(&u->core->lock);
    odto_metric_add(u->m_restarts, 1);
    int r = 0;
    if (!u->image) { /* the former copy was left behind with its instance */
        unit_set_image(u, unit_map_probed(u, u->file, u->section, u->core->manifest_path, &err));
        r = u->image ? 0 : err.code;
    }
    if (r == 0)
        r = unit_init(u, &err);
    if (r == 0)
        r = unit_start(u, &err);
    if (r < 0)
        unit_failed(u, &err, false);
}

/* After a calm while the copy that runs becomes the last known good one. */
static void prove(struct unit *u)
{
    if (u->state != LIFE_READY || u->proved == u->image || odto_now_ns() - u->ready_since < CALM)
        return;
    u->proved = u->image;
    probe_mark_good(u);
}

/* Units in start order: what others hold comes first. */
int64_t supervisor_tick(struct core *core)
{
    int64_t next = -1;
    for (size_t i = 0; i < core->n_units; i++) {
        struct unit *u = core->units[i];
        prove(u);
        if (u->state != LIFE_BACKOFF)
            continue;
        int64_t now = odto_now_ns();
        if (u->restart_at <= now)
            restart(u);
        if (u->state == LIFE_BACKOFF) {
            int64_t in = u->restart_at > now ? u->restart_at - now : 0;
            next = next < 0 || in < next ? in : next;
        }
    }
    return next;
}

/* ---- order ---- */

static bool lists(const char *const *topics, const char *topic)
{
    for (; topics && *topics; topics++)
        if (strcmp(*topics, topic) == 0)
            return true;
    return false;
}

static bool feeds(const struct unit *producer, const struct unit *consumer)
{
    const odto_plugin *p = producer->image ? producer->image->descriptor : NULL;
    const odto_plugin *c = consumer->image ? consumer->image->descriptor : NULL;
    for (const char *const *t = p && c ? p->produces : NULL; t && *t; t++)
        if (lists(c->consumes, *t))
            return true;
    return false;
}

/* Distance from the end of the event flow: what only consumes starts first, sources last. */
static int depth(struct core *core, const struct unit *u, int limit)
{
    int most = 0;
    for (size_t i = 0; limit > 0 && i < core->n_units; i++)
        if (core->units[i] != u && feeds(u, core->units[i])) {
            int d = 1 + depth(core, core->units[i], limit - 1);
            most = d > most ? d : most;
        }
    return most;
}

/* `requires` of the manifest: after what it names, whatever the event flow says. */
static bool push_back(struct core *core, struct unit *u)
{
    const odto_value *v = odto_config_get(u->section->host, "requires");
    bool moved = false;
    for (size_t i = 0; i < v->n; i++) {
        const struct unit *first = core_unit(core, v->list[i]);
        if (first && first != u && u->order <= first->order) {
            u->order = first->order + 1;
            moved = true;
        }
    }
    return moved;
}

static int by_order(const void *a, const void *b)
{
    const struct unit *x = *(struct unit *const *)a, *y = *(struct unit *const *)b;
    if (x->order != y->order)
        return x->order - y->order;
    return strcmp(x->name, y->name);
}

void supervisor_order(struct core *core)
{
    static const int rank[] = {[ODTO_KIND_BRIDGE] = 0,
                               [ODTO_KIND_STORE] = 100,
                               [ODTO_KIND_HANDLER] = 200,
                               [ODTO_KIND_SERVICE] = 300};
    for (size_t i = 0; i < core->n_units; i++)
        core->units[i]->order = rank[core->units[i]->kind] + depth(core, core->units[i], 8);
    bool moved = true;
    for (size_t round = 0; moved && round < core->n_units;
         round++) { /* bounded: a circle does not run for ever */
        moved = false;
        for (size_t i = 0; i < core->n_units; i++)
            moved |= push_back(core, core->units[i]);
    }
    pthread_rwlock_wrlock(&core->lock); /* status and health walk the table */
    qsort(core->units, core->n_units, sizeof core->units[0], by_order);
    pthread_rwlock_unlock(&core->lock);
}
