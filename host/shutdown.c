/* shutdown.c — the orderly end: not ready, delay, sources, drain, the rest. A second signal cuts every wait
 * short. */
#include "host/boot.h"
#include "host/control.h"
#include "host/isolate.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

/* Wait, but not past a second signal. True if there was one. */
static bool wait_signal(int signals, int64_t ns)
{
    struct pollfd p = {.fd = signals, .events = POLLIN};
    struct timespec ts = {ns / ODTO_SEC, ns % ODTO_SEC};
    return ns >= 0 && ppoll(&p, 1, &ts, NULL) > 0;
}

static void drain_topics(struct core *core, const struct unit *u, int64_t deadline)
{
    const odto_plugin *d = u->image ? u->image->descriptor : NULL;
    for (const char *const *t = d ? d->consumes : NULL; t && *t; t++) {
        odto_route *r = core_route(core, *t);
        if (r && route_transport_of(r) == ROUTE_MEMORY) /* the others keep what is left */
            route_wait_idle(r, deadline);
    }
}

/* Bridges, or all others. */
static void stop_units(struct core *core, bool bridges, int64_t deadline)
{
    for (size_t i = core->n_units; i-- > 0;) {
        struct unit *u = core->units[i];
        if ((u->kind == ODTO_KIND_BRIDGE) != bridges)
            continue;
        drain_topics(core, u, deadline);
        unit_down(u, deadline, true);
    }
}

void core_shutdown(struct core *core)
{
    const odto_config *c = manifest_host(core->manifest);
    int64_t delay = odto_config_int(c, "shutdown_delay"), budget = odto_config_int(c, "shutdown_timeout");
    atomic_store(&core->stopping, true);
    log_write(core->log, ODTO_INFO, NULL, "stopping");
    if (delay && wait_signal(core->signals, delay))
        budget = 0;
    int64_t deadline = odto_now_ns() + budget;
    if (core->control)
        control_close(core->control);
    core->control = NULL;
    stop_units(core, false, deadline);
    if (core->http)
        http_stop(core->http, odto_now_ns() + ODTO_SEC);
    core->http = NULL;
    routes_close(core); /* what they published and have not heard of yet still goes over the bridges */
    stop_units(core, true, odto_now_ns() + ODTO_SEC);
    log_write(core->log, ODTO_INFO, NULL, "stopped");
}

static void free_fds(struct core *core)
{
    while (core->fds) {
        struct stored_fd *s = core->fds;
        core->fds = s->next;
        close(s->fd);
        odto_buf_free(&s->note);
        free(s);
    }
}

void core_free(struct core *core)
{
    bool left_behind = false;
    while (core->n_units) {
        struct unit *u = core->units[0];
        left_behind |= u->state == LIFE_ABANDONED;
        boot_unit_free(core, u);
    }
    free_fds(core);
    if (core->checking && core->run_dir[0])
        rmdir(core->run_dir);
    if (core->lock_fd >= 0)
        close(core->lock_fd);
    if (core->wake_fd >= 0)
        close(core->wake_fd);
    if (left_behind)
        return; /* threads of an abandoned plugin may use the rest until the process ends */
    isolate_free(core);
    timer_service_free(core->timers);
    metrics_free(core->metrics);
    event_pool_free(core->pool);
    log_source_free(core->log);
    log_close(core->sink);
    manifest_unref(core->manifest);
}
