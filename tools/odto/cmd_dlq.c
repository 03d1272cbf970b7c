/* cmd_dlq.c — dead letters, by the host's control socket. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define QUICK (30 * ODTO_SEC)

static int64_t patience(const cli *c)
{
    return c->timeout_ns ? c->timeout_ns : QUICK;
}

static void add_string(struct json_object *o, const char *key, const char *value)
{
    if (value && *value)
        json_object_object_add(o, key, json_object_new_string(value));
}

/* ---- list ---- */

static void letter_row(cli_table *t, struct json_object *l)
{
    char when[64], size[32];
    const char *from = jstr(l, "originalTopic");
    table_cell(t, BOLD, "%s", jstr(l, "id"));
    table_cell(t, PLAIN, "%s", *from ? from : jstr(l, "topic"));
    table_cell(t, PLAIN, "%s", cli_time(jstr(l, "rejectedAt"), when, sizeof(when)));
    table_cell(t, PLAIN, "%s", cli_bytes(jint(l, "size"), size, sizeof(size)));
    table_cell(t, PLAIN, "%s", jstr(l, "correlationId"));
    table_cell(t, PLAIN, "%s", jstr(l, "reason"));
}

int cmd_dlq_list(cli *c)
{
    static const char *const columns[] = {"ID", "FROM", "REJECTED", ">SIZE", "CORRELATION", "REASON", NULL};
    int64_t limit = 50;
    struct json_object *o = NULL, *args = json_object_new_object();
    size_t n;
    if (!cli_get_int(c, "limit", 1, 10000, &limit)) {
        json_object_put(args);
        return CLI_USAGE;
    }
    add_string(args, "topic", cli_get(c, "topic"));
    json_object_object_add(args, "limit", json_object_new_int64(limit));
    int code = control_ask_at(c, c->sockets[0], "dlq-list", args, patience(c), &o);
    if (code != CLI_OK)
        return code;
    struct json_object *list = jarray(o, "letters", &n);
    cli_table *t = c->json ? NULL : table_new(c, columns);
    for (size_t i = 0; t && i < n; i++)
        letter_row(t, json_object_array_get_idx(list, i));
    if (c->json)
        cli_json(o);
    else
        table_print(t, "no dead letters");
    if (*jstr(o, "next") && !c->json)
        printf("there are more: --limit\n");
    json_object_put(o);
    return CLI_OK;
}

/* ---- show ---- */

static void print_letter(const cli *c, const char *id, struct json_object *l)
{
    static const char *const rows[][2] = {{"reason", "validation_error"},
                                          {"rejected", "rejected_at"},
                                          {"correlation", "correlation_id"},
                                          {"by", "service"},
                                          {"version", "service_version"}};
    struct json_object *event = jget(l, "original_event");
    printf("%-12s%s\n", "id", id);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        printf("%-12s", rows[i][0]);
        cli_print_style(c, i == 0 ? RED : PLAIN, jstr(l, rows[i][1]));
        printf("\n");
    }
    if (*jstr(l, "original_event_base64"))
        printf("%-12s%s\n", "base64", jstr(l, "original_event_base64"));
    if (!event)
        return;
    const char *text = json_object_to_json_string_ext(
        event, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE);
    char *copy = strdup(text), *save = NULL;
    printf("event\n");
    for (char *line = copy ? strtok_r(copy, "\n", &save) : NULL; line; line = strtok_r(NULL, "\n", &save)) {
        printf("  ");
        cli_print_style(c, PLAIN, line);
        printf("\n");
    }
    free(copy);
}

int cmd_dlq_show(cli *c)
{
    int worst = CLI_OK;
    for (int i = 0; i < c->argc; i++) {
        struct json_object *o = NULL, *args = json_object_new_object();
        add_string(args, "id", c->argv[i]);
        int code = control_ask_at(c, c->sockets[0], "dlq-show", args, patience(c), &o);
        if (code == CLI_OK && c->json)
            cli_json(o);
        else if (code == CLI_OK)
            print_letter(c, c->argv[i], jget(o, "letter"));
        json_object_put(o);
        if (worst == CLI_OK)
            worst = code;
    }
    return worst;
}

/* ---- requeue, purge ---- */

static bool confirmed(const cli *c, const char *what)
{
    if (cli_get(c, "yes") || !isatty(STDIN_FILENO))
        return true;
    fprintf(stderr, "%s all dead letters%s%s? [y/N] ", what, cli_get(c, "topic") ? " of " : "",
            cli_get(c, "topic") ? cli_get(c, "topic") : "");
    int answer = getchar();
    return answer == 'y' || answer == 'Y';
}

static int change(cli *c, const char *verb, struct json_object *args, int64_t *count)
{
    struct json_object *o = NULL;
    int code = control_ask(c, verb, args, &o);
    *count += jint(o, "count");
    json_object_put(o);
    return code;
}

int cmd_dlq_change(cli *c)
{
    const char *word = strchr(c->command->name, ' ') + 1;
    char verb[32];
    int64_t count = 0;
    int worst = CLI_OK;
    bool all = cli_get(c, "all") != NULL;
    snprintf(verb, sizeof(verb), "dlq-%s", word);
    if (all == (c->argc > 0))
        return cli_failf(c, CLI_USAGE, "odto dlq list shows the ids", "name ids, or say --all");
    if (cli_get(c, "topic") && !all)
        return cli_failf(c, CLI_USAGE, NULL, "--topic goes with --all");
    if (all) {
        struct json_object *args = json_object_new_object();
        json_object_object_add(args, "all", json_object_new_boolean(1));
        add_string(args, "topic", cli_get(c, "topic"));
        if (!confirmed(c, word)) {
            json_object_put(args);
            return CLI_REFUSED;
        }
        worst = change(c, verb, args, &count);
    }
    for (int i = 0; i < c->argc; i++) {
        struct json_object *args = json_object_new_object();
        add_string(args, "id", c->argv[i]);
        int code = change(c, verb, args, &count);
        if (worst == CLI_OK)
            worst = code;
    }
    if (c->json)
        printf("{\"count\":%lld}\n", (long long)count);
    else
        printf("%lld %s\n", (long long)count, strcmp(word, "purge") == 0 ? "forgotten" : "sent again");
    return worst;
}
