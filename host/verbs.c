/* verbs.c — see verbs.h. Verbs run on the control's threads: what only reads takes core->lock, what changes
 * something runs as a command on the supervisor thread and waits for its verdict. */
#include "host/verbs.h"
#include "host/reload.h"

#include <errno.h>
#include <json-c/json.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void json_member(odto_buf *out, const char *name, const char *text)
{
    odto_buf_printf(out, "\"%s\":", name);
    odto_buf_jsonz(out, text ? text : "");
}

static const char *kind_name(odto_kind k)
{
    static const char *const names[] = {"?", "service", "store", "bridge", "handler"};
    return k >= ODTO_KIND_SERVICE && k <= ODTO_KIND_HANDLER ? names[k] : names[0];
}

/* ---- reading ---- */

static void count_units(struct core *core, size_t *ready, size_t *failed, size_t *total)
{
    *ready = *failed = 0;
    pthread_rwlock_rdlock(&core->lock);
    *total = core->n_units;
    for (size_t i = 0; i < core->n_units; i++) {
        *ready += core->units[i]->state == LIFE_READY;
        *failed += core->units[i]->state == LIFE_FAILED;
    }
    pthread_rwlock_unlock(&core->lock);
}

static int verb_status(void *arg, const control_request *rq, odto_buf *out, odto_error *err)
{
    (void)rq, (void)err;
    struct core *core = arg;
    char reason[200] = "", at[25];
    size_t ready, failed, total;
    bool ok = core_ready(core, NULL, reason, sizeof reason);
    int64_t up_ms = (odto_now_ns() - core->started_at) / ODTO_MS;
    count_units(core, &ready, &failed, &total);
    odto_time_format(odto_unix_ms() - up_ms, at);
    odto_buf_str(out, "{");
    json_member(out, "host", core->host_name);
    odto_buf_printf(out, ",\"version\":\"%s\",\"abi\":\"%d.%d\",\"pid\":%d,\"state\":\"%s\",\"ready\":%s,",
                    PACKAGE_VERSION, ODTO_ABI_MAJOR, ODTO_ABI_MINOR, (int)getpid(),
                    atomic_load(&core->stopping) ? "stopping" : "running", ok ? "true" : "false");
    json_member(out, "reason", reason);
    odto_buf_printf(out, ",\"live\":true,\"startedAt\":\"%s\",\"uptimeMs\":%lld,", at, (long long)up_ms);
    json_member(out, "manifest", core->manifest_path);
    odto_buf_str(out, ",");
    json_member(out, "dataDir", core->data_dir);
    odto_buf_printf(out, ",\"generation\":%u,\"instances\":{\"total\":%zu,\"ready\":%zu,\"failed\":%zu}}",
                    atomic_load(&core->manifest_generation), total, ready, failed);
    return 0;
}

static int verb_health(void *arg, const control_request *rq, odto_buf *out, odto_error *err)
{
    (void)rq, (void)err;
    struct core *core = arg;
    char reason[200] = "";
    bool ok = core_ready(core, NULL, reason, sizeof reason);
    odto_buf_printf(out, "{\"ready\":%s,\"live\":true,", ok ? "true" : "false");
    json_member(out, "reason", reason);
    odto_buf_str(out, ",\"instances\":[");
    pthread_rwlock_rdlock(&core->lock);
    for (size_t i = 0; i < core->n_units; i++) {
        struct unit *u = core->units[i];
        odto_health h = {.ready = false};
        if (u->current)
            instance_health(u->current, &h);
        else
            snprintf(h.reason, sizeof h.reason, "%s", life_state_name(u->state));
        odto_buf_printf(out, "%s{\"ready\":%s,", i ? "," : "", h.ready ? "true" : "false");
        json_member(out, "name", u->name);
        odto_buf_str(out, ",");
        json_member(out, "reason", h.reason);
        odto_buf_str(out, "}");
    }
    pthread_rwlock_unlock(&core->lock);
    odto_buf_str(out, "]}");
    return 0;
}

static void describe_unit(struct unit *u, odto_buf *out)
{
    char text[1400];
    odto_health h = {.ready = false};
    if (u->current)
        instance_health(u->current, &h);
    odto_buf_str(out, "{");
    json_member(out, "name", u->name);
    odto_buf_printf(out, ",\"kind\":\"%s\",", kind_name(u->kind));
    json_member(out, "module", u->section->module);
    odto_buf_str(out, ",");
    json_member(out, "version", u->image ? u->image->head.version : "");
    odto_buf_printf(out, ",\"state\":\"%s\",\"generation\":%u,\"ready\":%s,", life_state_name(u->state),
                    u->generation, h.ready ? "true" : "false");
    json_member(out, "reason", atomic_load(&u->disabled) ? "disabled by an operator" : h.reason);
    odto_buf_printf(out, ",\"required\":%s,\"disabled\":%s,",
                    odto_config_bool(u->section->host, "required") ? "true" : "false",
                    atomic_load(&u->disabled) ? "true" : "false");
    odto_buf_printf(
        out, "\"isolate\":\"%s\",\"restarts\":%llu,\"uptimeMs\":%lld,\"threads\":%zu,\"imagesKept\":%u,",
        u->image && u->image->isolated ? "process" : "no", (unsigned long long)u->restarts,
        (long long)(u->state == LIFE_READY && u->ready_since ? (odto_now_ns() - u->ready_since) / ODTO_MS
                                                             : 0),
        u->current ? u->current->n_threads : 0, atomic_load(&u->images_kept));
    json_member(out, "lastError",
                u->last_error.code ? odto_error_text(&u->last_error, text, sizeof text) : "");
    odto_buf_str(out, "}");
}

static int verb_plugins(void *arg, const control_request *rq, odto_buf *out, odto_error *err)
{
    struct core *core = arg;
    const char *name = control_arg_string(rq, "name", NULL, err);
    size_t n = 0;
    odto_buf_str(out, "{\"plugins\":[");
    pthread_rwlock_rdlock(&core->lock);
    for (size_t i = 0; i < core->n_units; i++) {
        if (name && strcmp(name, core->units[i]->name) != 0)
            continue;
        odto_buf_str(out, n++ ? "," : "");
        describe_unit(core->units[i], out);
    }
    pthread_rwlock_unlock(&core->lock);
    odto_buf_str(out, "]}");
    if (name && !n)
        return odto_fail(err, -ENOENT, "no plugin %s; `odto plugins` lists them", name);
    return 0;
}

static void describe_route(struct core *core, odto_route *r, odto_buf *out)
{
    odto_route_stats s;
    route_get_stats(r, &s);
    const manifest_section *section = manifest_find(core->manifest, MANIFEST_ROUTE, route_topic(r));
    odto_buf_str(out, "{");
    json_member(out, "topic", route_topic(r));
    odto_buf_str(out, ",");
    json_member(out, "transport", section ? odto_config_str(section->host, "transport") : "");
    odto_buf_str(out, ",");
    json_member(out, "overflow", section ? odto_config_str(section->host, "overflow") : "");
    odto_buf_printf(
        out,
        ",\"depth\":%llu,\"capacity\":%llu,\"leased\":%llu,\"published\":%llu,\"acked\":%llu,\"returned\":%"
        "llu,"
        "\"rejected\":%llu,\"redelivered\":%llu,\"dropped\":%llu,\"bytesOnDisk\":%llu,\"oldestAgeMs\":%lld,",
        (unsigned long long)s.depth, (unsigned long long)s.capacity, (unsigned long long)s.leased,
        (unsigned long long)s.published, (unsigned long long)s.acked, (unsigned long long)s.returned,
        (unsigned long long)s.rejected, (unsigned long long)s.redelivered, (unsigned long long)s.dropped,
        (unsigned long long)s.bytes_on_disk, (long long)(s.oldest_age_ns / ODTO_MS));
    int64_t remote = route_remote_depth(r);
    if (remote >= 0)
        odto_buf_printf(out, "\"remote\":%lld,", (long long)remote);
    json_member(out, "deadLetter", section ? odto_config_str(section->host, "dead_letter") : "");
    odto_buf_str(out, "}");
}

static int verb_routes(void *arg, const control_request *rq, odto_buf *out, odto_error *err)
{
    (void)rq, (void)err;
    struct core *core = arg;
    odto_buf_str(out, "{\"routes\":[");
    pthread_rwlock_rdlock(&core->lock); /* core->manifest changes under it */
    for (size_t i = 0; i < core->n_routes; i++) {
        odto_buf_str(out, i ? "," : "");
        describe_route(core, core->routes[i], out);
    }
    pthread_rwlock_unlock(&core->lock);
    odto_buf_str(out, "]}");
    return 0;
}

static int verb_metrics(void *arg, const control_request *rq, odto_buf *out, odto_error *err)
{
    (void)rq;
    odto_buf text = {0};
    int r = metrics_render(((struct core *)arg)->metrics, &text);
    odto_buf_str(out, "{\"text\":");
    odto_buf_json(out, odto_slice_of(text.p, text.n));
    odto_buf_str(out, "}");
    odto_buf_free(&text);
    return r < 0 ? odto_fail(err, r, "can't render the metrics") : 0;
}

static int verb_print(void *arg, const control_request *rq, odto_buf *out, odto_error *err)
{
    (void)rq;
    struct core *core = arg;
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    if (!f)
        return odto_fail(err, -ENOMEM, "no memory");
    pthread_rwlock_rdlock(&core->lock);
    manifest *m = manifest_ref(core->manifest);
    pthread_rwlock_unlock(&core->lock);
    manifest_print(m, f);
    manifest_unref(m);
    fclose(f);
    odto_buf_str(out, "{\"text\":");
    odto_buf_json(out, odto_slice_of(text, size));
    odto_buf_str(out, "}");
    free(text);
    return 0;
}

/* ---- changing: a command on the supervisor thread ---- */

struct order {
    const char *name;
    enum { RELOAD, ENABLE, DISABLE, DRAIN } what;
    struct verdicts verdicts;
    odto_error err;
    int result;
};

static void add_verdict(struct order *o, const char *unit, enum reload_step step, unsigned generation,
                        int64_t begin)
{
    struct verdict *v = &o->verdicts.items[o->verdicts.n++];
    *v = (struct verdict){
        .result = RELOAD_DONE, .step = step, .generation = generation, .total_ns = odto_now_ns() - begin};
    snprintf(v->unit, sizeof v->unit, "%s", unit);
}

static void run_drain(struct core *core, struct order *o)
{
    for (size_t i = core->n_units; i-- > 0;) {
        struct unit *u = core->units[i];
        int64_t begin = odto_now_ns();
        if (!u->current || (o->name ? strcmp(u->name, o->name) != 0 : u->kind != ODTO_KIND_SERVICE))
            continue;
        if (instance_quiesce(u->current, begin + unit_int(u, "stop_timeout")) < 0)
            o->result = odto_fail(&o->err, -ETIMEDOUT, "%s still has work in hand", u->name);
        add_verdict(o, u->name, STEP_QUIESCE, u->generation, begin);
    }
}

static void run_enable(struct core *core, struct order *o, struct unit *u)
{
    (void)core;
    int64_t begin = odto_now_ns();
    if (u->state == LIFE_READY) {
        o->result = odto_fail(&o->err, -EALREADY, "%s is running", u->name);
        return;
    }
    atomic_store(&u->disabled, false);
    u->streak = 0;
    memset(u->fails, 0, sizeof u->fails);
    if (unit_init(u, &o->err) < 0 || unit_start(u, &o->err) < 0) {
        o->result = o->err.code ? o->err.code : -EIO;
        unit_failed(u, &o->err, false);
    }
    add_verdict(o, u->name, STEP_START, u->generation, begin);
}

static void run_disable(struct core *core, struct order *o, struct unit *u)
{
    (void)core;
    int64_t begin = odto_now_ns();
    if (unit_in_use(u)) {
        o->result = odto_fail(&o->err, -EBUSY, "%s is in use by others; disable those first", u->name);
        return;
    }
    if (u->kind == ODTO_KIND_BRIDGE && u->current) {
        o->result = odto_fail(&o->err, -EBUSY, "%s carries routes as long as the host runs", u->name);
        return;
    }
    atomic_store(&u->disabled, true); /* no reload starts it */
    unit_down(u, begin + unit_int(u, "stop_timeout"), true);
    add_verdict(o, u->name, STEP_STOP, u->generation, begin);
}

static void run_order(struct core *core, void *arg)
{
    struct order *o = arg;
    struct unit *u = o->name ? core_unit(core, o->name) : NULL;
    if (o->name && !u && o->what != RELOAD) {
        o->result = odto_fail(&o->err, -ENOENT, "no plugin %s; `odto plugins` lists them", o->name);
        return;
    }
    switch (o->what) {
    case RELOAD:
        reload_manifest(core, o->name, &o->verdicts);
        break;
    case ENABLE:
        run_enable(core, o, u);
        break;
    case DISABLE:
        run_disable(core, o, u);
        break;
    case DRAIN:
        run_drain(core, o);
        break;
    }
}

/* The words of the protocol for a verdict. */
static const char *action_name(const struct order *o, const struct verdict *v)
{
    if (o->what == ENABLE)
        return "added";
    if (o->what != RELOAD)
        return "removed";
    switch (v->result) {
    case RELOAD_UNCHANGED:
        return "unchanged";
    case RELOAD_DONE:
        return v->step == STEP_RECONFIGURE ? "reconfigured"
               : v->step == STEP_STOP      ? "removed"
               : v->added                  ? "added"
                                           : "reloaded";
    case RELOAD_ROLLED_BACK:
        return "rolled-back";
    default:
        return "failed";
    }
}

static void print_steps(const struct verdict *v, odto_buf *out)
{
    for (int s = 0, n = 0; s < RELOAD_STEPS; s++)
        if (v->step_ns[s])
            odto_buf_printf(out, "%s\"%s\":%.3f", n++ ? "," : "", reload_step_name((enum reload_step)s),
                            (double)v->step_ns[s] / 1e6);
}

static void print_verdicts(const struct order *o, odto_buf *out)
{
    char text[1400];
    odto_buf_str(out, "{\"verdicts\":[");
    for (size_t i = 0; i < o->verdicts.n; i++) {
        const struct verdict *v = &o->verdicts.items[i];
        odto_buf_str(out, i ? ",{" : "{");
        json_member(out, "name", v->unit);
        odto_buf_printf(out, ",\"action\":\"%s\",\"step\":\"%s\",", action_name(o, v),
                        reload_step_name(v->step));
        json_member(out, "reason", v->error.code ? odto_error_text(&v->error, text, sizeof text) : "");
        odto_buf_printf(out, ",\"generation\":%u,\"durationMs\":%.3f,\"pauseMs\":%.3f,\"stepsMs\":{",
                        v->generation, (double)v->total_ns / 1e6, (double)v->pause_ns / 1e6);
        print_steps(v, out);
        odto_buf_str(out, "}}");
    }
    odto_buf_str(out, "]}");
}

static int give_order(struct core *core, const control_request *rq, int what, bool need_name, odto_buf *out,
                      odto_error *err)
{
    const char *name = control_arg_string(rq, "name", NULL, err);
    if (need_name && !name)
        return odto_fail(err, -EINVAL, "%s needs the argument name", rq->verb);
    struct order *o = calloc(1, sizeof *o);
    if (!o)
        return odto_fail(err, -ENOMEM, "no memory");
    o->name = name;
    o->what = what;
    core_command(core, run_order, o, true);
    int r = o->result;
    *err = o->err;
    if (r == 0 && verdicts_worst(&o->verdicts) > RELOAD_DONE) {
        for (size_t i = 0; i < o->verdicts.n && !err->code; i++)
            if (o->verdicts.items[i].result > RELOAD_DONE)
                *err = o->verdicts.items[i].error;
        r = err->code ? err->code : odto_fail(err, -EIO, "the reload failed");
    }
    print_verdicts(o, out);
    free(o);
    return r;
}

static int verb_reload(void *core, const control_request *rq, odto_buf *out, odto_error *err)
{
    return give_order(core, rq, RELOAD, false, out, err);
}

static int verb_enable(void *core, const control_request *rq, odto_buf *out, odto_error *err)
{
    return give_order(core, rq, ENABLE, true, out, err);
}

static int verb_disable(void *core, const control_request *rq, odto_buf *out, odto_error *err)
{
    return give_order(core, rq, DISABLE, true, out, err);
}

static int verb_drain(void *core, const control_request *rq, odto_buf *out, odto_error *err)
{
    return give_order(core, rq, DRAIN, false, out, err);
}

static int verb_log_level(void *arg, const control_request *rq, odto_buf *out, odto_error *err)
{
    struct core *core = arg;
    const char *text = control_arg_string(rq, "level", "", err),
               *plugin = control_arg_string(rq, "plugin", NULL, err);
    int level = log_level_parse(odto_slice_str(text));
    bool reset = strcmp(text, "default") == 0;
    (void)out;
    if (level < 0 && !(reset && plugin))
        return odto_fail(err, -EINVAL, "no log level '%s'; use debug, info, warn, error%s", text,
                         plugin ? " or default" : "");
    if (!plugin)
        log_set_level(core->sink, (odto_level)level);
    else if (log_set_plugin_level(core->sink, plugin, reset ? -1 : level) < 0)
        return odto_fail(err, -ENOSPC, "too many plugins have a level of their own");
    return 0;
}

static int verb_reopen_log(void *arg, const control_request *rq, odto_buf *out, odto_error *err)
{
    (void)rq, (void)out;
    return log_reopen(((struct core *)arg)->sink, err);
}

static int verb_stop(void *arg, const control_request *rq, odto_buf *out, odto_error *err)
{
    (void)arg, (void)rq, (void)out, (void)err;
    kill(getpid(), SIGTERM); /* taken by the main thread's signalfd */
    return 0;
}

static int verb_verbs(void *core, const control_request *rq, odto_buf *out, odto_error *err);

static const control_verb verbs[] = {
    {"status", verb_status, "", "The host in a few figures.", false},
    {"health", verb_health, "", "Readiness of every instance, with reasons.", false},
    {"plugins", verb_plugins, "name?", "Every instance: state, generation, restarts.", false},
    {"reload", verb_reload, "name?", "Take over the manifest: what changed, or this instance.", true},
    {"enable", verb_enable, "name", "Start an instance that was stopped or has failed.", true},
    {"disable", verb_disable, "name", "Stop an instance until the next reload.", true},
    {"drain", verb_drain, "name?", "Take nothing new, finish what is in hand.", true},
    {"log-level", verb_log_level, "level plugin?", "Change the log level while running.", true},
    {"routes", verb_routes, "", "Every route: depth, rates, ages.", false},
    {"dlq-list", verb_dlq_list, "topic? limit? cursor?", "Dead letters, newest last.", false},
    {"dlq-show", verb_dlq_show, "id", "One dead letter, whole.", false},
    {"dlq-requeue", verb_dlq_requeue, "id|all topic?", "Publish the original event again.", true},
    {"dlq-purge", verb_dlq_purge, "id|all topic?", "Forget dead letters.", true},
    {"tail", verb_tail, "topic? after? waitMs? limit?", "Events as they wait in a route.", false},
    {"metrics", verb_metrics, "", "Prometheus text.", false},
    {"print", verb_print, "", "The effective manifest, secrets masked.", false},
    {"reopen-log", verb_reopen_log, "", "Open the log file anew.", true},
    {"stop", verb_stop, "", "Shut down in order.", true},
    {"verbs", verb_verbs, "", "This list.", false},
};

static int verb_verbs(void *core, const control_request *rq, odto_buf *out, odto_error *err)
{
    (void)core, (void)rq, (void)err;
    odto_buf_str(out, "{\"verbs\":[");
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        odto_buf_str(out, i ? ",{" : "{");
        json_member(out, "name", verbs[i].name);
        odto_buf_str(out, ",");
        json_member(out, "args", verbs[i].args);
        odto_buf_str(out, ",");
        json_member(out, "help", verbs[i].help);
        odto_buf_str(out, "}");
    }
    odto_buf_str(out, "]}");
    return 0;
}

int verbs_open(struct core *core, odto_error *err)
{
    const char *path = odto_config_str(manifest_host(core->manifest), "control");
    if (!path || !path[0])
        return 0;
    return control_open(path, verbs, sizeof verbs / sizeof verbs[0], core, core->log, &core->control, err);
}
