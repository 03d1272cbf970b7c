/* routes.c — from [route TOPIC] sections to open routes, their groups and their metrics. Main thread. */
#include "host/core.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void on_report(void *arg, odto_level level, const char *topic, const char *text)
{
    log_write(((struct core *)arg)->log, level, NULL, "route %s: %s", topic, text);
}

static void settings(struct core *core, const manifest_section *s, struct route_config *c)
{
    *c = (struct route_config){.topic = s->name,
                               .pool = core->pool,
                               .version = PACKAGE_VERSION,
                               .report = on_report,
                               .report_arg = core,
                               .dir = core->data_dir};
    const char *transport = odto_config_str(s->host, "transport");
    c->transport = strcmp(transport, "memory") == 0  ? ROUTE_MEMORY
                   : strcmp(transport, "spool") == 0 ? ROUTE_SPOOL
                                                     : ROUTE_BRIDGE;
    if (c->transport == ROUTE_BRIDGE) {
        struct unit *u = core_unit(core, transport);
        c->bridge = u && u->current ? u->current->d->bridge : NULL;
        c->bridge_self = u && u->current ? u->current->self : NULL;
    }
    c->capacity = (uint64_t)odto_config_int(s->host, "capacity");
    c->max_bytes = (uint64_t)odto_config_int(s->host, "max_bytes");
    c->overflow = (enum route_overflow)odto_config_int(s->host, "overflow");
    c->prefetch = (uint32_t)odto_config_int(s->host, "prefetch");
    c->max_attempts = (uint32_t)odto_config_int(s->host, "max_attempts");
    c->linger_ns = odto_config_int(s->host, "linger");
    c->sync = odto_config_bool(s->host, "sync");
    c->spooled = odto_config_bool(s->host, "spool");
}

enum figure { DEPTH, CAPACITY, PUBLISHED, ACKED, REJECTED, REDELIVERED, DROPPED, LEASED, OLDEST };

#define FIGURE(name, expression)           \
    static double figure_##name(void *arg) \
    {                                      \
        odto_route_stats s;                \
        route_get_stats(arg, &s);          \
        return (double)(expression);       \
    }
FIGURE(depth, s.depth)
FIGURE(capacity, s.capacity)
FIGURE(leased, s.leased)
FIGURE(oldest, (double)s.oldest_age_ns / 1e9)
FIGURE(bytes, s.bytes_on_disk)
FIGURE(published, s.published)
FIGURE(acked, s.acked)
FIGURE(rejected, s.rejected)
FIGURE(redelivered, s.redelivered)
FIGURE(dropped, s.dropped)

static void add_metrics(struct core *core, odto_route *r)
{
    static const struct {
        odto_metric_type type;
        const char *name, *help;
        double (*fn)(void *);
    } all[] = {
        {ODTO_GAUGE, "odto_route_depth", "Events waiting or leased.", figure_depth},
        {ODTO_GAUGE, "odto_route_capacity", "Events the route holds at most.", figure_capacity},
        {ODTO_GAUGE, "odto_route_leased", "Events a consumer holds.", figure_leased},
        {ODTO_GAUGE, "odto_route_oldest_age_seconds", "Age of the oldest event not acknowledged.",
         figure_oldest},
        {ODTO_GAUGE, "odto_route_disk_bytes", "Bytes of the spool on disk.", figure_bytes},
        {ODTO_COUNTER, "odto_route_published_total", "Events accepted.", figure_published},
        {ODTO_COUNTER, "odto_route_acked_total", "Events acknowledged.", figure_acked},
        {ODTO_COUNTER, "odto_route_rejected_total", "Events turned into dead letters.", figure_rejected},
        {ODTO_COUNTER, "odto_route_redelivered_total", "Deliveries after the first.", figure_redelivered},
        {ODTO_COUNTER, "odto_route_dropped_total", "Events dropped by drop-oldest.", figure_dropped},
    };
    const char *values[] = {route_topic(r)};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        metrics_spec spec = {all[i].type, all[i].name, all[i].help, "route", values, NULL, 0};
        metrics_fn(core->metrics, core, &spec, all[i].fn, r, NULL);
    }
}

/* Who consumes the topic, by the manifest: one group each. */
static void declare_groups(struct core *core, odto_route *r)
{
    const char *names[MAX_UNITS];
    size_t n = 0;
    for (size_t i = 0; i < core->n_units; i++) {
        const struct unit *u = core->units[i];
        for (const char *const *t = u->image ? u->image->descriptor->consumes : NULL; t && *t; t++)
            if (strcmp(*t, route_topic(r)) == 0)
                names[n++] = u->name;
    }
    if (n)
        route_groups(r, names, n);
}

static int open_one(struct core *core, const manifest_section *s, odto_error *err)
{
    struct route_config c;
    settings(core, s, &c);
    const char *dead = odto_config_str(s->host, "dead_letter");
    if (dead && dead[0]) {
        c.dead_letter = core_route(core, dead);
        if (!c.dead_letter)
            return 1; /* later: its dead letter route comes first */
    }
    if (core->n_routes == MAX_ROUTES)
        return odto_fail(err, -E2BIG, "more than %d routes", MAX_ROUTES);
    odto_route *r = NULL;
    int e = route_open(&c, &r, err);
    if (e < 0) {
        odto_error_where(err, core->manifest_path, s->line, 1);
        return e;
    }
    core->routes[core->n_routes++] = r;
    declare_groups(core, r);
    add_metrics(core, r);
    return 0;
}

int routes_open(struct core *core, odto_error *err)
{
    for (bool progress = true, left = true; left;) {
        left = progress = false;
        const manifest_section *s;
        for (size_t i = 0; (s = manifest_section_at(core->manifest, i)); i++) {
            if (s->kind != MANIFEST_ROUTE || core_route(core, s->name))
                continue;
            int r = open_one(core, s, err);
            if (r < 0)
                return r;
            progress |= r == 0;
            left |= r == 1;
        }
        if (left && !progress)
            return odto_fail(err, -EINVAL, "%s: routes name a dead letter topic that has no [route]",
                             core->manifest_path);
    }
    return 0;
}

/* Those that others use as dead letter were opened first: close in reverse. */
void routes_close(struct core *core)
{
    while (core->n_routes)
        route_close(core->routes[--core->n_routes]);
}

int routes_reload(struct core *core, odto_error *err)
{
    const manifest_section *s;
    for (size_t i = 0; (s = manifest_section_at(core->manifest, i)); i++) {
        odto_route *r = s->kind == MANIFEST_ROUTE ? core_route(core, s->name) : NULL;
        if (!r)
            continue;
        struct route_config c;
        settings(core, s, &c);
        const char *dead = odto_config_str(s->host, "dead_letter");
        c.dead_letter = dead && dead[0] ? core_route(core, dead) : NULL;
        if (c.transport != route_transport_of(r))
            log_write(core->log, ODTO_WARN, NULL,
                      "route %s: its transport changes at the next start of the host", s->name);
        route_configure(r, &c);
    }
    return routes_open(core, err);
}
