/* boot.c — from the manifest to running units: everything it names is checked first, with all errors in one
 * run, then started in order. Main thread. */
#include "host/boot.h"
#include "host/crash.h"
#include "host/isolate.h"
#include "host/privileges.h"
#include "host/probe.h"
#include "host/reload.h"
#include "host/verbs.h"
#include "host/watchdog.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the manifest and its images ---- */

odto_kind boot_kind(manifest_kind k)
{
    switch (k) {
    case MANIFEST_PLUGIN:
        return ODTO_KIND_SERVICE;
    case MANIFEST_STORE:
        return ODTO_KIND_STORE;
    case MANIFEST_BRIDGE:
        return ODTO_KIND_BRIDGE;
    case MANIFEST_HANDLER:
        return ODTO_KIND_HANDLER;
    default:
        return 0;
    }
}

/* plugin_dir of the manifest, unless it was left at its default and we run from a build tree. */
static void find_plugin_path(struct core *core)
{
    const odto_value *v = odto_config_get(manifest_host(core->manifest), "plugin_dir");
    char exe[4096], *out = core->plugin_path;
    size_t size = sizeof core->plugin_path;
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (v->line == 0 && !getenv("ODTO_PLUGIN_DIR") && n > 0) {
        exe[n] = '\0';
        *strrchr(exe, '/') = '\0';
        static const char *const beside[] = {"plugins.d", "../lib/odto/plugins"}; /* build tree; any prefix */
        for (size_t k = 0; k < sizeof beside / sizeof beside[0]; k++) {
            snprintf(out, size, "%.4000s/%s", exe, beside[k]);
            if (access(out, X_OK) == 0)
                return;
        }
    }
    out[0] = '\0';
    for (size_t i = 0; i < v->n; i++)
        snprintf(out + strlen(out), size - strlen(out), "%s%s", i ? ":" : "", v->list[i]);
}

static void unit_metrics(struct unit *u)
{
    struct core *core = u->core;
    for (int s = 0; s < LIFE_STATES; s++) {
        const char *values[] = {u->name, life_state_name((enum life_state)s)};
        metrics_spec spec = {ODTO_GAUGE,
                             "odto_plugin_state",
                             "1 for the state the plugin is in.",
                             "plugin,state",
                             values,
                             NULL,
                             0};
        metrics_cell(core->metrics, u, &spec, &u->m_state[s], NULL);
    }
    const char *values[] = {u->name};
    metrics_spec restarts = {
        ODTO_COUNTER, "odto_plugin_restarts_total", "Restarts after a failure.", "plugin", values, NULL, 0};
    metrics_spec generation = {
        ODTO_GAUGE, "odto_plugin_generation", "Copy that runs now.", "plugin", values, NULL, 0};
    metrics_spec abandoned = {ODTO_COUNTER,
                              "odto_plugin_abandoned_total",
                              "Generations that could not be stopped.",
                              "plugin",
                              values,
                              NULL,
                              0};
    metrics_cell(core->metrics, u, &restarts, &u->m_restarts, NULL);
    metrics_cell(core->metrics, u, &generation, &u->m_generation, NULL);
    metrics_spec kept = {
        ODTO_GAUGE, "odto_plugin_images_kept", "Copies that could not be unmapped.", "plugin", values, NULL,
        0};
    metrics_cell(core->metrics, u, &kept, &u->m_kept, NULL);
    metrics_cell(core->metrics, u, &abandoned, &u->m_abandoned, NULL);
    odto_metric_set(u->m_state[u->state], 1);
}

struct unit *boot_unit_new(struct core *core, const manifest_section *s)
{
    struct unit *u = calloc(1, sizeof *u);
    if (!u)
        return NULL;
    u->core = core;
    u->section = s;
    u->kind = boot_kind(s->kind);
    snprintf(u->name, sizeof u->name, "%s", s->name);
    return u;
}

void boot_unit_add(struct core *core, struct unit *u)
{
    unit_metrics(u);
    pthread_rwlock_wrlock(&core->lock);
    core->units[core->n_units++] = u;
    pthread_rwlock_unlock(&core->lock);
}

void boot_unit_free(struct core *core, struct unit *u)
{
    pthread_rwlock_wrlock(&core->lock);
    for (size_t i = 0; i < core->n_units; i++)
        if (core->units[i] == u) {
            core->n_units--;
            memmove(&core->units[i], &core->units[i + 1], (core->n_units - i) * sizeof core->units[0]);
            break;
        }
    pthread_rwlock_unlock(&core->lock);
    metrics_drop(core->metrics, u);
    unit_unmap(u, u->image);
    manifest_unref(u->manifest);
    free(u);
}

bool boot_left_out(const struct core *core, const manifest *m, const manifest_section *s,
                   manifest_errors *errs)
{
    char file[4096];
    odto_error err = {0};
    if (odto_config_bool(s->host, "required") ||
        loader_find(s->module, core->plugin_path, file, sizeof file, &err) != -ENOENT)
        return false;
    odto_error_hint(&err, "it is left out, since it is not required");
    manifest_errors_add(errs, manifest_path(m), s->line, s->column, true, &err);
    return true;
}

static int add_unit(struct core *core, const manifest_section *s, odto_error *err)
{
    if (core->n_units == MAX_UNITS)
        return odto_fail(err, -E2BIG, "more than %d instances", MAX_UNITS);
    struct unit *u = boot_unit_new(core, s);
    if (!u)
        return odto_fail(err, -ENOMEM, "no memory");
    u->manifest = manifest_ref(core->manifest);
    boot_unit_add(core, u);
    int r = loader_find(s->module, core->plugin_path, u->file, sizeof u->file, err);
    if (r < 0)
        return r;
    u->image = unit_map_probed(u, u->file, s, core->manifest_path, err);
    return u->image ? 0 : err->code;
}

const char *boot_error_key(const odto_error *err)
{
    return err->code == -ENOENT ? "module" : err->code == -ENOTSUP ? "isolate" : NULL;
}

int boot_store_role(const struct image *image, const char *store, int64_t role, odto_error *err)
{
    const odto_store_iface *i = image->descriptor->store;
    bool has = (!(role & ODTO_ROLE_JOBS) || i->jobs) && (!(role & ODTO_ROLE_COUNTERS) || i->counters) &&
               (!(role & ODTO_ROLE_EVENTS) || i->events);
    if (has)
        return 0;
    odto_fail(err, -EINVAL, "the store %s can't hold %s", store,
              role & ODTO_ROLE_JOBS       ? "jobs"
              : role & ODTO_ROLE_COUNTERS ? "counters"
                                          : "events");
    odto_error_hint(err, "its plugin is %s", image->descriptor->head.name);
    return -EINVAL;
}

static int store_role(void *arg, const char *store, int64_t role, odto_error *err)
{
    struct unit *u = core_unit(arg, store);
    return u && u->image ? boot_store_role(u->image, store, role, err) : 0; /* it has an error of its own */
}

static void check_unit(struct core *core, struct unit *u, manifest_errors *errs)
{
    const odto_plugin *d = u->image->descriptor;
    const odto_config *config = NULL;
    odto_error err = {0};
    if (manifest_config(core->manifest, u->section, d->options, d->n_options, &config, errs) == 0 &&
        image_check_config(core, u->image, config, &err) < 0)
        manifest_report(core->manifest, u->section, NULL, &err, errs);
}

static void load_units(struct core *core, manifest_errors *errs)
{
    const manifest_section *s;
    for (size_t i = 0; (s = manifest_section_at(core->manifest, i)); i++) {
        odto_error err = {0};
        if (!boot_kind(s->kind) || !s->enabled || boot_left_out(core, core->manifest, s, errs))
            continue;
        if (add_unit(core, s, &err) < 0)
            manifest_report(core->manifest, s, boot_error_key(&err), &err, errs);
    }
    manifest_set_store_check(core->manifest, store_role, core);
    for (size_t i = 0; i < core->n_units; i++)
        if (core->units[i]->image)
            check_unit(core, core->units[i], errs);
}

static int make_dir(const char *path, odto_error *err)
{
    for (const char *p = strchr(path + 1, '/'); p; p = strchr(p + 1, '/')) {
        char part[4300];
        snprintf(part, sizeof part, "%.*s", (int)(p - path), path);
        mkdir(part, 0755);
    }
    if (mkdir(path, 0700) < 0 && errno != EEXIST) {
        odto_fail(err, -errno, "can't make the folder %s: %s", path, strerror(errno));
        odto_error_hint(err,
                        "set data_dir in [host] (or ODTO_DATA_DIR) to a folder that this user may write");
        return err ? err->code : -EACCES;
    }
    return 0;
}

/* One host per data directory. */
static int lock_data(struct core *core, odto_error *err)
{
    char path[4300];
    snprintf(path, sizeof path, "%s/lock", core->data_dir);
    core->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (core->lock_fd < 0) {
        odto_fail(err, -errno, "can't write in the data directory %s: %s", core->data_dir, strerror(errno));
        odto_error_hint(err, "give the host's user rights to it, or set data_dir in [host]");
        return err->code;
    }
    if (flock(core->lock_fd, LOCK_EX | LOCK_NB) < 0) {
        char pid[32] = "?";
        ssize_t n = pread(core->lock_fd, pid, sizeof pid - 1, 0);
        pid[n > 0 ? n : 1] = '\0';
        odto_fail(err, -EBUSY, "the data directory %s is in use by another host", core->data_dir);
        odto_error_detail(err, "its process id is %s", pid);
        odto_error_hint(err, "stop that host, or give this one another data_dir (ODTO_DATA_DIR)");
        return -EBUSY;
    }
    char pid[32];
    int n = snprintf(pid, sizeof pid, "%d", (int)getpid());
    if (ftruncate(core->lock_fd, 0) < 0 || pwrite(core->lock_fd, pid, (size_t)n, 0) < n)
        return odto_fail(err, -errno, "can't write %s: %s", path, strerror(errno));
    return 0;
}

static int open_dirs(struct core *core, odto_error *err)
{
    if (core->checking) {
        snprintf(core->run_dir, sizeof core->run_dir, "/tmp/odto-check.XXXXXX");
        return mkdtemp(core->run_dir)
                   ? 0
                   : odto_fail(err, -errno, "can't make a temporary folder: %s", strerror(errno));
    }
    snprintf(core->host_name, sizeof core->host_name, "%s", manifest_host_name(core->manifest));
    snprintf(core->data_dir, sizeof core->data_dir, "%s", manifest_data_dir(core->manifest));
    snprintf(core->run_dir, sizeof core->run_dir, "%s/run", core->data_dir);
    int r = make_dir(core->data_dir, err);
    if (r == 0)
        r = lock_data(core, err);
    if (r == 0)
        r = make_dir(core->run_dir, err);
    return r;
}

static log_settings log_settings_of(const struct core *core)
{
    const odto_config *c = manifest_log(core->manifest);
    return (log_settings){.level = (odto_level)odto_config_int(c, "level"),
                          .format = (log_format)odto_config_int(c, "format"),
                          .file = odto_config_str(c, "file"),
                          .rate = (uint32_t)odto_config_int(c, "rate")};
}

static int open_log(struct core *core, odto_error *err)
{
    log_settings s = log_settings_of(core);
    int r = log_open(&s, &core->sink, err);
    if (r == 0)
        core->log = log_source_new(core->sink, "host", 0);
    return r;
}

static void report_crash(struct core *core)
{
    struct crash_record last;
    odto_error err = {0};
    if (crash_open(core->run_dir, &last, &err)) {
        crash_tally_add(core->data_dir, &last);
        log_write(core->log, ODTO_ERROR, NULL,
                  "the last run ended by signal %d in %s (generation %u, thread %s) at %s+0x%llx; its leases "
                  "are returned",
                  last.signal, last.plugin[0] ? last.plugin : "the host", last.generation, last.thread,
                  last.object, (unsigned long long)(last.pc - last.base));
    } else if (err.code) {
        log_error(core->log, ODTO_WARN, "crash record", &err);
    }
    crash_install();
    watch_install();
}

int core_load_manifest(struct core *core, odto_error *err)
{
    manifest_errors errs = {0};
    manifest_load(core->manifest_path, &core->manifest, &errs);
    int r = core->manifest ? 0 : -EINVAL;
    if (r == 0)
        r = open_log(core, err);
    if (r == 0)
        r = open_dirs(core, err);
    if (r == 0)
        r = privileges_drop(manifest_host(core->manifest), core->checking ? core->run_dir : core->data_dir,
                            err);
    if (r == 0 && !core->checking)
        report_crash(core); /* before anything is loaded: it may say what must not be */
    if (r == 0) {
        find_plugin_path(core);
        load_units(core, &errs);
        manifest_finish(core->manifest, &errs);
    }
    manifest_errors_print(&errs, stderr);
    if (r == 0 && errs.n_errors) {
        fprintf(stderr, "odto-host: %zu error%s in %s; nothing was started\n", errs.n_errors,
                errs.n_errors == 1 ? "" : "s", core->manifest_path);
        r = -EINVAL;
    }
    manifest_errors_free(&errs);
    if (r == 0)
        supervisor_order(core);
    return r;
}

/* ---- up ---- */

static int start_units(struct core *core, odto_kind from, odto_kind to, odto_error *err)
{
    for (size_t i = 0; i < core->n_units; i++) {
        struct unit *u = core->units[i];
        if (u->kind < from || u->kind > to)
            continue;
        int r = unit_init(u, err);
        if (r == 0)
            r = unit_start(u, err);
        if (r < 0 && odto_config_bool(u->section->host, "required")) {
            if (!err->where[0])
                odto_error_where(err, core->manifest_path, u->section->line, 1);
            return r;
        }
        if (r < 0)
            unit_failed(u, err, false);
        *err = (odto_error){0};
    }
    return 0;
}

static void host_metrics(struct core *core)
{
    static const double bounds[] = {.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10};
    for (int i = 0; i < RELOAD_RESULTS; i++) {
        const char *result[] = {reload_result_name((enum reload_result)i)};
        metrics_spec by = {
            ODTO_COUNTER, "odto_reloads_total", "Reloads by result.", "result", result, NULL, 0};
        metrics_cell(core->metrics, core, &by, &core->m_reloads[i], NULL);
    }
    metrics_spec whole = {ODTO_HISTOGRAM,
                          "odto_reload_seconds",
                          "Time a reload of one plugin took, its trial included.",
                          NULL,
                          NULL,
                          bounds,
                          sizeof bounds / sizeof bounds[0]};
    metrics_spec pause = {ODTO_HISTOGRAM,
                          "odto_reload_pause_seconds",
                          "Time a plugin took nothing while it was replaced.",
                          NULL,
                          NULL,
                          bounds,
                          sizeof bounds / sizeof bounds[0]};
    metrics_cell(core->metrics, core, &whole, &core->m_reload, NULL);
    metrics_cell(core->metrics, core, &pause, &core->m_pause, NULL);
}

void boot_live_settings(struct core *core)
{
    log_settings s = log_settings_of(core);
    odto_error err = {0};
    if (log_configure(core->sink, &s, &err) < 0 || log_reopen(core->sink, &err) < 0)
        log_error(core->log, ODTO_WARN, "log", &err);
}

int core_boot(struct core *core, odto_error *err)
{
    metrics_add_build_info(core->metrics, core, PACKAGE_VERSION);
    host_metrics(core);
    int r = web_open(core, err);
    if (r == 0)
        r = start_units(core, ODTO_KIND_STORE, ODTO_KIND_BRIDGE, err);
    if (r == 0)
        r = routes_open(core, err);
    if (r == 0)
        r = start_units(core, ODTO_KIND_HANDLER, ODTO_KIND_HANDLER, err);
    if (r == 0)
        r = start_units(core, ODTO_KIND_SERVICE, ODTO_KIND_SERVICE, err);
    if (r == 0)
        r = verbs_open(core, err);
    if (r == 0)
        log_write(core->log, ODTO_INFO, NULL, "ready in %.1f ms: %zu plugins, %zu routes, data in %s",
                  (double)(odto_now_ns() - core->started_at) / 1e6, core->n_units, core->n_routes,
                  core->data_dir);
    return r;
}
