/* cmd_host.c — commands about a running host, by its control socket. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

#define QUICK (10 * ODTO_SEC)

static struct json_object *one_arg(const char *key, const char *value)
{
    struct json_object *o = json_object_new_object();
    if (value)
        json_object_object_add(o, key, json_object_new_string(value));
    return o;
}

/* Asks a verb that answers at once. */
static int ask(cli *c, const char *verb, struct json_object *args, struct json_object **data)
{
    return control_ask_at(c, c->sockets[0], verb, args, c->timeout_ns ? c->timeout_ns : QUICK, data);
}

/* ---- status ---- */

static void print_status(const cli *c, const char *socket, struct json_object *o)
{
    char up[32], started[64];
    struct json_object *i = jget(o, "instances");
    bool ready = jbool(o, "ready");
    printf("%-10s", "host");
    cli_print_style(c, BOLD, jstr(o, "host"));
    printf("  odto ");
    cli_print_style(c, PLAIN, jstr(o, "version"));
    printf(", pid %lld, socket %s\n%-10s", (long long)jint(o, "pid"), socket, "state");
    cli_print_style(c, ready ? GREEN : RED, ready ? "ready" : "not ready");
    if (!ready && *jstr(o, "reason")) {
        printf(": ");
        cli_print_style(c, PLAIN, jstr(o, "reason"));
    }
    printf("\n%-10s%s, since %s\n", "up", cli_millis(jint(o, "uptimeMs"), up, sizeof(up)),
           cli_time(jstr(o, "startedAt"), started, sizeof(started)));
    printf("%-10s%lld ready of %lld, %lld failed\n", "plugins", (long long)jint(i, "ready"),
           (long long)jint(i, "total"), (long long)jint(i, "failed"));
    printf("%-10s", "manifest");
    cli_print_style(c, PLAIN, jstr(o, "manifest"));
    printf(", reloaded %lld times\n%-10s", (long long)jint(o, "generation"), "data");
    cli_print_style(c, PLAIN, jstr(o, "dataDir"));
    printf("\n");
}

int cmd_status(cli *c)
{
    int worst = CLI_OK;
    for (size_t i = 0; i < c->n_sockets; i++) {
        struct json_object *o = NULL;
        int code =
            control_ask_at(c, c->sockets[i], "status", NULL, c->timeout_ns ? c->timeout_ns : QUICK, &o);
        if (code == CLI_OK && c->json)
            cli_json(o);
        else if (code == CLI_OK) {
            if (i)
                printf("\n");
            print_status(c, c->sockets[i], o);
        }
        if (code == CLI_OK && !jbool(o, "ready"))
            code = CLI_UNREACHABLE;
        if (code > worst)
            worst = code;
        json_object_put(o);
    }
    return worst;
}

int cmd_health(cli *c)
{
    static const char *const columns[] = {"NAME", "STATE", "REASON", NULL};
    struct json_object *o = NULL;
    size_t n;
    int code = ask(c, "health", NULL, &o);
    if (code != CLI_OK)
        return code;
    struct json_object *list = jarray(o, "instances", &n);
    cli_table *t = c->json ? NULL : table_new(c, columns);
    for (size_t i = 0; t && i < n; i++) {
        struct json_object *p = json_object_array_get_idx(list, i);
        const char *state = jbool(p, "ready") ? "ready" : "not ready";
        table_cell(t, PLAIN, "%s", jstr(p, "name"));
        table_cell(t, cli_state_style(state), "%s", state);
        table_cell(t, PLAIN, "%s", jstr(p, "reason"));
    }
    if (c->json)
        cli_json(o);
    else
        table_print(t, "no plugins");
    code = jbool(o, "ready") ? CLI_OK : CLI_UNREACHABLE;
    if (!c->json)
        printf("host is %s%s%s\n", code == CLI_OK ? "ready" : "not ready", *jstr(o, "reason") ? ": " : "",
               jstr(o, "reason"));
    json_object_put(o);
    return code;
}

/* ---- plugins, routes ---- */

static void plugin_row(cli_table *t, struct json_object *p)
{
    char up[32];
    const char *state = jstr(p, "state"), *why = jstr(p, "reason");
    table_cell(t, BOLD, "%s", jstr(p, "name"));
    table_cell(t, PLAIN, "%s", jstr(p, "kind"));
    table_cell(t, PLAIN, "%s %s", jstr(p, "module"), jstr(p, "version"));
    table_cell(t, cli_state_style(state), "%s", state);
    table_cell(t, PLAIN, "%lld", (long long)jint(p, "generation"));
    table_cell(t, jint(p, "restarts") ? YELLOW : PLAIN, "%lld", (long long)jint(p, "restarts"));
    table_cell(t, PLAIN, "%s", cli_millis(jint(p, "uptimeMs"), up, sizeof(up)));
    table_cell(t, PLAIN, "%s", *why ? why : jstr(p, "lastError"));
}

int cmd_plugins(cli *c)
{
    static const char *const columns[] = {"NAME",      "KIND", "MODULE", "STATE", ">GEN",
                                          ">RESTARTS", ">UP",  "REASON", NULL};
    struct json_object *o = NULL;
    size_t n;
    int code = ask(c, "plugins", c->argc ? one_arg("name", c->argv[0]) : NULL, &o);
    if (code != CLI_OK)
        return code;
    struct json_object *list = jarray(o, "plugins", &n);
    cli_table *t = c->json ? NULL : table_new(c, columns);
    for (size_t i = 0; t && i < n; i++)
        plugin_row(t, json_object_array_get_idx(list, i));
    if (c->json)
        cli_json(o);
    else
        table_print(t, "no plugins");
    json_object_put(o);
    return CLI_OK;
}

static void route_row(cli_table *t, struct json_object *r)
{
    char text[32];
    int64_t depth = jint(r, "depth"), capacity = jint(r, "capacity");
    table_cell(t, BOLD, "%s", jstr(r, "topic"));
    table_cell(t, PLAIN, "%s", jstr(r, "transport"));
    table_cell(t, capacity && depth >= capacity ? RED : PLAIN, "%lld", (long long)depth);
    table_cell(t, PLAIN, "%lld", (long long)capacity);
    table_cell(t, PLAIN, "%lld", (long long)jint(r, "leased"));
    table_cell(t, PLAIN, "%lld", (long long)jint(r, "published"));
    table_cell(t, PLAIN, "%lld", (long long)jint(r, "acked"));
    table_cell(t, jint(r, "rejected") ? YELLOW : PLAIN, "%lld", (long long)jint(r, "rejected"));
    table_cell(t, jint(r, "dropped") ? RED : PLAIN, "%lld", (long long)jint(r, "dropped"));
    table_cell(t, PLAIN, "%s", depth ? cli_millis(jint(r, "oldestAgeMs"), text, sizeof(text)) : "-");
    table_cell(t, PLAIN, "%s", cli_bytes(jint(r, "bytesOnDisk"), text, sizeof(text)));
}

int cmd_routes(cli *c)
{
    static const char *const columns[] = {"TOPIC",    "TRANSPORT",  ">DEPTH", ">CAPACITY",
                                          ">LEASED",  ">PUBLISHED", ">ACKED", ">REJECTED",
                                          ">DROPPED", ">OLDEST",    ">DISK",  NULL};
    struct json_object *o = NULL;
    size_t n;
    int code = ask(c, "routes", NULL, &o);
    if (code != CLI_OK)
        return code;
    struct json_object *list = jarray(o, "routes", &n);
    cli_table *t = c->json ? NULL : table_new(c, columns);
    for (size_t i = 0; t && i < n; i++)
        route_row(t, json_object_array_get_idx(list, i));
    if (c->json)
        cli_json(o);
    else
        table_print(t, "no routes");
    json_object_put(o);
    return CLI_OK;
}

/* ---- changes ---- */

/* Reloads pause for fractions of a millisecond. */
static const char *fine_millis(struct json_object *v, const char *key, char *buf, size_t size)
{
    struct json_object *ms = jget(v, key);
    double value = ms ? json_object_get_double(ms) : 0;
    if (!ms || value >= 10 || value * 1000 == (double)((int64_t)value * 1000))
        return ms ? cli_millis((int64_t)value, buf, size) : "-";
    snprintf(buf, size, "%.2fms", value);
    return buf;
}

static void print_verdicts(const cli *c, struct json_object *o)
{
    static const char *const columns[] = {"NAME",  "VERDICT", "STEP",   ">GEN",
                                          ">TOOK", ">PAUSE",  "REASON", NULL};
    char took[32], pause[32];
    size_t n;
    struct json_object *list = jarray(o, "errors", &n);
    for (size_t i = 0; i < n; i++) {
        cli_print_style(c, RED, json_object_get_string(json_object_array_get_idx(list, i)));
        printf("\n");
    }
    list = jarray(o, "verdicts", &n);
    cli_table *t = n ? table_new(c, columns) : NULL;
    for (size_t i = 0; t && i < n; i++) {
        struct json_object *v = json_object_array_get_idx(list, i);
        const char *step = jstr(v, "step");
        table_cell(t, BOLD, "%s", *jstr(v, "name") ? jstr(v, "name") : "all");
        table_cell(t, cli_state_style(jstr(v, "action")), "%s", jstr(v, "action"));
        table_cell(t, PLAIN, "%s", *step ? step : "-");
        table_cell(t, PLAIN, "%lld", (long long)jint(v, "generation"));
        table_cell(t, PLAIN, "%s", fine_millis(v, "durationMs", took, sizeof(took)));
        table_cell(t, PLAIN, "%s", fine_millis(v, "pauseMs", pause, sizeof(pause)));
        table_cell(t, PLAIN, "%s", jstr(v, "reason"));
    }
    table_print(t, "nothing changed");
}

static int changed(cli *c, const char *verb, struct json_object *args)
{
    struct json_object *o = NULL;
    int code = control_ask(c, verb, args, &o);
    if (o && c->json)
        cli_json(o);
    else if (o)
        print_verdicts(c, o);
    json_object_put(o);
    return code;
}

int cmd_reload(cli *c)
{
    return changed(c, "reload", c->argc ? one_arg("name", c->argv[0]) : NULL);
}

int cmd_change(cli *c)
{
    return changed(c, c->command->name, c->argc ? one_arg("name", c->argv[0]) : NULL);
}

static int done(cli *c, int code, struct json_object *o, const char *said)
{
    if (code == CLI_OK && c->json)
        cli_json(o);
    else if (code == CLI_OK)
        printf("%s", said);
    json_object_put(o);
    return code;
}

int cmd_log_level(cli *c)
{
    struct json_object *o = NULL, *args = one_arg("level", c->argv[0]);
    if (cli_get(c, "plugin"))
        json_object_object_add(args, "plugin", json_object_new_string(cli_get(c, "plugin")));
    int code = ask(c, "log-level", args, &o);
    return done(c, code, o, "changed\n");
}

int cmd_simple(cli *c)
{
    struct json_object *o = NULL;
    int code = ask(c, c->command->name, NULL, &o);
    return done(c, code, o, strcmp(c->command->name, "stop") == 0 ? "the host is stopping\n" : "done\n");
}

int cmd_text(cli *c)
{
    struct json_object *o = NULL;
    int code = ask(c, c->command->name, NULL, &o);
    if (code == CLI_OK && !c->json)
        fputs(jstr(o, "text"), stdout);
    return done(c, code, o, "");
}

/* ---- tail ---- */

static void print_event(const cli *c, struct json_object *e)
{
    struct json_object *body = jget(e, "body"), *job = jget(body, "payload");
    char when[64];
    const char *type = jstr(body, "eventType");
    printf("%8lld  %s  ", (long long)jint(e, "seq"), cli_time(jstr(body, "occurredAt"), when, sizeof(when)));
    cli_print_style(c, DIM, jstr(e, "topic"));
    printf("  ");
    cli_print_style(c, cli_state_style(type), *type ? type : "dead letter");
    printf("  ");
    cli_print_style(c, PLAIN, *type ? jstr(job, "id") : jstr(body, "correlation_id"));
    printf("  ");
    cli_print_style(c, PLAIN, *type ? jstr(job, "type") : jstr(body, "validation_error"));
    printf("\n");
}

int cmd_tail(cli *c)
{
    int64_t limit = INT64_MAX, after = -1;
    if (!cli_get_int(c, "limit", 1, INT64_MAX, &limit))
        return CLI_USAGE;
    while (limit > 0) {
        struct json_object *o = NULL, *args = one_arg("topic", c->argc ? c->argv[0] : NULL);
        size_t n;
        if (after >= 0)
            json_object_object_add(args, "after", json_object_new_int64(after));
        json_object_object_add(args, "waitMs", json_object_new_int(5000));
        json_object_object_add(args, "limit", json_object_new_int64(limit < 500 ? limit : 500));
        int code = ask(c, "tail", args, &o);
        if (code != CLI_OK)
            return code;
        struct json_object *list = jarray(o, "events", &n);
        for (size_t i = 0; i < n; i++) {
            struct json_object *e = json_object_array_get_idx(list, i);
            if (c->json)
                cli_json(e);
            else
                print_event(c, e);
        }
        fflush(stdout);
        limit -= (int64_t)n;
        after = jint(o, "next");
        json_object_put(o);
    }
    return CLI_OK;
}
