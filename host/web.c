/* web.c — the HTTP server of this host: its settings from [http] and [listener …], and what it asks back. */
#include "host/boot.h"
#include "host/watchdog.h"

#include <stdio.h>

static void *hook_self(void *arg, const odto_host *owner)
{
    (void)arg;
    return ((struct instance *)owner->priv)->self;
}

static void hook_enter(void *arg, const odto_host *owner)
{
    (void)arg;
    watch_enter(owner->priv);
}

static void hook_leave(void *arg, const odto_host *owner)
{
    (void)arg;
    (void)owner;
    watch_leave();
    instance_set_current(NULL);
}

static int hook_metrics(void *arg, odto_buf *out)
{
    return metrics_render(((struct core *)arg)->metrics, out);
}

static odto_metric *hook_histogram(void *arg, const char *service, const char *route, const char *method,
                                   int code)
{
    struct core *core = arg;
    static const double bounds[] = {.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10};
    char text[8];
    snprintf(text, sizeof text, "%d", code);
    const char *values[] = {service, route, method, text};
    metrics_spec spec = {ODTO_HISTOGRAM,
                         "http_request_duration_seconds",
                         "Time from a request's head to its answer.",
                         "service,route,method,code",
                         values,
                         bounds,
                         sizeof bounds / sizeof bounds[0]};
    odto_metric *m = NULL;
    metrics_cell(core->metrics, core, &spec, &m, NULL);
    return m;
}

static odto_metric *hook_turns(void *arg, const char *loop)
{
    struct core *core = arg;
    static const double bounds[] = {.0001, .001, .005, .01, .025, .05, .1, .25, .5, 1, 5, 10};
    metrics_spec spec = {ODTO_HISTOGRAM,
                         "odto_loop_turn_seconds",
                         "Time an event loop was busy before it looked for new requests again.",
                         "loop",
                         &loop,
                         bounds,
                         sizeof bounds / sizeof bounds[0]};
    odto_metric *m = NULL;
    metrics_cell(core->metrics, core, &spec, &m, NULL);
    return m;
}

static void hook_log(void *arg, odto_level level, const odto_uuid *correlation, const char *text)
{
    log_write(((struct core *)arg)->log, level, correlation, "%s", text);
}

static void hook_access(void *arg, const http_access *a)
{
    struct core *core = arg;
    log_write(core->log, ODTO_INFO, a->correlation, "%.*s %.*s %d %zu %.3fms %.*s", (int)a->method.n,
              a->method.p, (int)a->path.n, a->path.p, a->status, a->body_out, (double)a->duration_ns / 1e6,
              (int)a->peer.n, a->peer.p);
}

static int open_listeners(struct core *core, odto_error *err)
{
    const manifest_section *s;
    int r = 0;
    for (size_t i = 0; r == 0 && (s = manifest_section_at(core->manifest, i)); i++) {
        if (s->kind != MANIFEST_LISTENER)
            continue;
        const char *address = odto_config_str(s->host, "address");
        http_listener_options o = {.max_connections = (unsigned)odto_config_int(s->host, "max_connections"),
                                   .tls_cert = odto_config_str(s->host, "tls_certificate"),
                                   .tls_key = odto_config_str(s->host, "tls_key"),
                                   .auth_token = odto_config_str(s->host, "token")};
        r = http_listen(core->http, address && address[0] ? address : s->name, &o, err);
    }
    return r;
}

int web_open(struct core *core, odto_error *err)
{
    const odto_config *c = manifest_http(core->manifest);
    http_config h;
    http_config_default(&h);
    h.version = PACKAGE_VERSION;
    h.threads = (unsigned)odto_config_int(c, "threads");
    h.workers = (unsigned)odto_config_int(c, "workers");
    h.max_connections = (unsigned)odto_config_int(c, "max_connections");
    h.max_header = (size_t)odto_config_int(c, "max_header");
    h.header_timeout_ns = odto_config_int(c, "header_timeout");
    h.idle_timeout_ns = odto_config_int(c, "idle_timeout");
    h.gate_timeout_ns = odto_config_int(c, "swap_wait");
    h.hooks = (http_hooks){.arg = core,
                           .self = hook_self,
                           .enter = hook_enter,
                           .leave = hook_leave,
                           .ready = core_ready,
                           .metrics = hook_metrics,
                           .histogram = hook_histogram,
                           .turns = hook_turns,
                           .access = odto_config_bool(c, "access_log") ? hook_access : NULL,
                           .log = hook_log};
    core->http = http_new(&h, err);
    if (!core->http)
        return err->code;
    int r = open_listeners(core, err);
    return r < 0 ? r : http_start(core->http, err);
}
