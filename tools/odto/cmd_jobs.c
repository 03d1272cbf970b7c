/* cmd_jobs.c — `odto jobs`, `odto job show`, `odto stats`, `odto stats rebuild`: what the read model says. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

/* ---- jobs ---- */

static void job_row(cli_table *t, struct json_object *j)
{
    char when[64];
    const char *status = jstr(j, "status"), *outcome = jstr(j, "outcome");
    bool plain = !*outcome || strcmp(outcome, "none") == 0 || strcmp(outcome, "ok") == 0;
    table_cell(t, PLAIN, "%s", jstr(j, "id"));
    table_cell(t, PLAIN, "%s", jstr(j, "type"));
    table_cell(t, cli_state_style(status), "%s", status);
    table_cell(t, PLAIN, "%lld", (long long)jint(j, "attempt"));
    table_cell(t, PLAIN, "%s", cli_time(jstr(j, "createdAt"), when, sizeof(when)));
    table_cell(t, PLAIN, "%s", plain ? "" : outcome);
}

static void page_path(cli *c, int64_t limit, const char *cursor, odto_buf *path)
{
    char number[24];
    snprintf(number, sizeof(number), "%lld", (long long)limit);
    odto_buf_str(path, "/jobs");
    http_put_query(path, "status", cli_get(c, "status"));
    http_put_query(path, "type", cli_get(c, "type"));
    http_put_query(path, "cursor", cursor);
    http_put_query(path, "limit", number);
}

/* One page; its cursor goes to next ("" at the end). */
static int page(cli *c, int64_t limit, const char *cursor, cli_table *t, char next[256])
{
    struct json_object *o = NULL;
    odto_buf path = {0};
    size_t n;
    page_path(c, limit, cursor, &path);
    int code = http_get_json(c, c->read_model, path.p, &o);
    odto_buf_free(&path);
    struct json_object *list = jarray(o, "jobs", &n);
    for (size_t i = 0; i < n; i++) {
        if (c->json && cli_get(c, "all"))
            cli_json(json_object_array_get_idx(list, i));
        else
            job_row(t, json_object_array_get_idx(list, i));
    }
    if (code == CLI_OK && c->json && !cli_get(c, "all"))
        cli_json(o);
    snprintf(next, 256, "%s", jstr(o, "nextCursor"));
    json_object_put(o);
    return code;
}

int cmd_jobs(cli *c)
{
    static const char *const columns[] = {"ID", "TYPE", "STATUS", ">ATTEMPT", "CREATED", "OUTCOME", NULL};
    bool all = cli_get(c, "all") != NULL;
    int64_t limit = all ? 500 : 20;
    char cursor[256] = "";
    if (!cli_get_int(c, "limit", 1, 500, &limit))
        return CLI_USAGE;
    snprintf(cursor, sizeof(cursor), "%s", cli_get(c, "cursor") ? cli_get(c, "cursor") : "");
    int code;
    do {
        cli_table *t = c->json ? NULL : table_new(c, columns);
        code = page(c, limit, cursor, t, cursor);
        if (code == CLI_OK && !c->json)
            table_print(t, "no jobs");
        else
            free(t);
    } while (code == CLI_OK && all && *cursor);
    if (code == CLI_OK && *cursor && !c->json)
        printf("more: odto jobs --cursor %s, or --all\n", cursor);
    return code;
}

/* ---- job show ---- */

static void line(const cli *c, const char *name, cli_style style, const char *value)
{
    if (!*value)
        return;
    printf("%-12s", name);
    cli_print_style(c, style, value);
    printf("\n");
}

static void json_line(const cli *c, const char *name, struct json_object *v)
{
    if (v)
        line(c, name, PLAIN,
             json_object_to_json_string_ext(v, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
}

static void time_line(const cli *c, const char *name, const char *at)
{
    char when[64], both[128];
    if (!*at)
        return;
    snprintf(both, sizeof(both), "%s  (%s)", cli_time(at, when, sizeof(when)), at);
    line(c, name, PLAIN, both);
}

static void print_attempts(const cli *c, struct json_object *job)
{
    static const char *const columns[] = {">ATTEMPT", "OUTCOME", "STARTED", ">TOOK", "HOST", "ERROR", NULL};
    char when[64], took[32];
    size_t n;
    struct json_object *list = jarray(job, "attempts", &n);
    if (n == 0)
        return;
    printf("\n");
    cli_table *t = table_new(c, columns);
    for (size_t i = 0; t && i < n; i++) {
        struct json_object *a = json_object_array_get_idx(list, i);
        const char *outcome = jstr(a, "outcome");
        table_cell(t, PLAIN, "%lld", (long long)jint(a, "number"));
        table_cell(t, strcmp(outcome, "ok") == 0 ? GREEN : RED, "%s", outcome);
        table_cell(t, PLAIN, "%s", cli_time(jstr(a, "startedAt"), when, sizeof(when)));
        table_cell(t, PLAIN, "%s", cli_millis(jint(a, "durationMs"), took, sizeof(took)));
        table_cell(t, PLAIN, "%s", jstr(a, "host"));
        table_cell(t, PLAIN, "%s", jstr(a, "error"));
    }
    table_print(t, "");
}

static void print_log(const cli *c, struct json_object *job)
{
    size_t n;
    struct json_object *list = jarray(job, "attempts", &n);
    for (size_t i = 0; i < n; i++) {
        struct json_object *a = json_object_array_get_idx(list, i);
        char *text = strdup(jstr(a, "log")), *save = NULL;
        if (text && *text)
            printf("\nlog of attempt %lld\n", (long long)jint(a, "number"));
        for (char *l = text ? strtok_r(text, "\n", &save) : NULL; l; l = strtok_r(NULL, "\n", &save)) {
            printf("  ");
            cli_print_style(c, DIM, l);
            printf("\n");
        }
        free(text);
    }
}

static void print_job(const cli *c, struct json_object *job)
{
    char text[64];
    const char *status = jstr(job, "status");
    struct json_object *timings = jget(job, "timings");
    line(c, "job", BOLD, jstr(job, "id"));
    line(c, "type", PLAIN, jstr(job, "type"));
    line(c, "status", cli_state_style(status), status);
    line(c, "outcome", PLAIN, jstr(job, "outcome"));
    snprintf(text, sizeof(text), "%lld of %lld", (long long)jint(job, "attempt"),
             (long long)jint(job, "maxAttempts"));
    line(c, "attempt", PLAIN, text);
    time_line(c, "created", jstr(job, "createdAt"));
    time_line(c, "next run", strcmp(status, "PENDING") == 0 ? jstr(job, "runAt") : "");
    time_line(c, "finished", jstr(job, "finishedAt"));
    if (jget(timings, "totalMs"))
        line(c, "took", PLAIN, cli_millis(jint(timings, "totalMs"), text, sizeof(text)));
    line(c, "correlation", PLAIN, jstr(job, "correlationId"));
    json_line(c, "payload", jget(job, "payload"));
    json_line(c, "options", jget(job, "options"));
    json_line(c, "result", jget(job, "result"));
    line(c, "error", RED, jstr(job, "error"));
    print_attempts(c, job);
    print_log(c, job);
}

int cmd_job_show(cli *c)
{
    int worst = CLI_OK;
    for (int i = 0; i < c->argc; i++) {
        struct json_object *o = NULL;
        odto_buf path = {0};
        odto_uuid id;
        if (odto_uuid_parse(odto_slice_str(c->argv[i]), &id) < 0)
            return cli_failf(c, CLI_USAGE, "odto jobs lists the ids", "\"%s\" is no job id", c->argv[i]);
        odto_buf_printf(&path, "/jobs/%s", c->argv[i]);
        int code = http_get_json(c, c->read_model, path.p, &o);
        odto_buf_free(&path);
        if (code == CLI_OK && c->json) {
            cli_json(o);
        } else if (code == CLI_OK) {
            if (i)
                printf("\n");
            print_job(c, o);
        }
        json_object_put(o);
        if (worst == CLI_OK)
            worst = code;
    }
    return worst;
}

/* ---- stats ---- */

int cmd_stats(cli *c)
{
    static const char *const rows[][2] = {{"pending", "pendingJobs"},
                                          {"executing", "executingJobs"},
                                          {"completed", "completedJobs"},
                                          {"failed", "failedJobs"},
                                          {"finished", "totalJobs"}};
    struct json_object *o = NULL;
    char when[64];
    int code = http_get_json(c, c->read_model, "/stats", &o);
    if (code == CLI_OK && c->json)
        cli_json(o);
    for (size_t i = 0; code == CLI_OK && !c->json && i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (jget(o, rows[i][1]))
            printf("%-12s%lld\n", rows[i][0], (long long)jint(o, rows[i][1]));
    }
    if (code == CLI_OK && !c->json && *jstr(o, "lastEventTime"))
        printf("%-12s%s\n", "last event", cli_time(jstr(o, "lastEventTime"), when, sizeof(when)));
    json_object_put(o);
    return code;
}

#define REBUILD_TIMEOUT (INT64_C(3600) * ODTO_SEC) /* some 20 s a million events, on any store */

int cmd_stats_rebuild(cli *c)
{
    struct json_object *o = NULL;
    if (c->timeout_ns == 0)
        c->timeout_ns = REBUILD_TIMEOUT;
    int code = http_post_json(c, c->read_model, "/stats/rebuild", "{}", &o);
    if (code == CLI_OK && c->json)
        cli_json(o);
    else if (code == CLI_OK)
        printf("%lld events counted in %lld ms: %lld completed, %lld failed\n", (long long)jint(o, "events"),
               (long long)jint(o, "tookMs"), (long long)jint(o, "completedJobs"),
               (long long)jint(o, "failedJobs"));
    json_object_put(o);
    return code;
}
