/* args.c — the command line: finding the command, reading options by its table. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

/* Longest match of the words against the names of commands ("dlq list"). */
const cli_command *cli_find(int argc, char **argv, int *words)
{
    const cli_command *best = NULL;
    *words = 0;
    for (size_t i = 0; i < cli_n_commands; i++) {
        const char *p = cli_commands[i].name;
        int n = 0;
        while (*p && n < argc) {
            size_t length = strcspn(p, " ");
            if (strlen(argv[n]) != length || strncmp(argv[n], p, length) != 0)
                break;
            p += length + (p[length] == ' ');
            n++;
        }
        if (!*p && n > *words) {
            best = &cli_commands[i];
            *words = n;
        }
    }
    return best;
}

static const cli_option *in_table(const cli_option *table, size_t n, const char *name, size_t length,
                                  char letter)
{
    for (size_t i = 0; i < n; i++) {
        if (letter ? table[i].letter == letter
                   : strlen(table[i].name) == length && strncmp(table[i].name, name, length) == 0)
            return &table[i];
    }
    return NULL;
}

static const cli_option *find_option(const cli *c, const char *name, size_t length, char letter)
{
    const cli_option *o =
        c->command ? in_table(c->command->options, c->command->n_options, name, length, letter) : NULL;
    return o ? o : in_table(cli_globals, cli_n_globals, name, length, letter);
}

const char *cli_get(const cli *c, const char *name)
{
    for (size_t i = c->n_given; i > 0; i--) {
        if (strcmp(c->given[i - 1].option->name, name) == 0)
            return c->given[i - 1].value;
    }
    return NULL;
}

static int unknown_option(const cli *c, const char *text)
{
    const char *names[64];
    char hint[160];
    size_t n = 0, length = strcspn(text, "=");
    char *word = strndup(text, length);
    for (size_t i = 0; c->command && i < c->command->n_options; i++)
        names[n++] = c->command->options[i].name;
    for (size_t i = 0; i < cli_n_globals; i++)
        names[n++] = cli_globals[i].name;
    const char *nearest = word && word[0] == '-' && word[1] == '-' ? odto_nearest(word + 2, names, n) : NULL;
    if (nearest)
        snprintf(hint, sizeof(hint), "did you mean --%s?", nearest);
    else
        snprintf(hint, sizeof(hint), "odto %s%s--help lists the options", c->command ? c->command->name : "",
                 c->command ? " " : "");
    free(word);
    return cli_failf(c, CLI_USAGE, hint, "unknown option %s", text);
}

static int add_given(cli *c, const cli_option *o, const char *value)
{
    if (c->n_given == CLI_MAX_OPTIONS)
        return cli_failf(c, CLI_USAGE, NULL, "too many options");
    c->given[c->n_given].option = o;
    c->given[c->n_given++].value = value ? value : "";
    return CLI_OK;
}

/* --name, --name=value, --name value; *i moves over a value taken. */
static int read_long(cli *c, int argc, char **argv, int *i)
{
    const char *name = argv[*i] + 2;
    size_t length = strcspn(name, "=");
    const cli_option *o = find_option(c, name, length, 0);
    if (!o)
        return unknown_option(c, argv[*i]);
    if (!o->arg && name[length])
        return cli_failf(c, CLI_USAGE, NULL, "--%s takes no value", o->name);
    if (o->arg && !name[length] && *i + 1 == argc)
        return cli_failf(c, CLI_USAGE, o->help, "--%s needs a value (%s)", o->name, o->arg);
    if (!o->arg)
        return add_given(c, o, NULL);
    return add_given(c, o, name[length] ? name + length + 1 : argv[++*i]);
}

/* -j, -jn 5, -n5 */
static int read_short(cli *c, int argc, char **argv, int *i)
{
    for (const char *p = argv[*i] + 1; *p; p++) {
        const cli_option *o = find_option(c, "", 0, *p);
        if (!o)
            return unknown_option(c, argv[*i]);
        if (o->arg && !p[1] && *i + 1 == argc)
            return cli_failf(c, CLI_USAGE, o->help, "-%c needs a value (%s)", *p, o->arg);
        if (o->arg)
            return add_given(c, o, p[1] ? p + 1 : argv[++*i]);
        int code = add_given(c, o, NULL);
        if (code != CLI_OK)
            return code;
    }
    return CLI_OK;
}

/* Options and positional arguments from argv[from] on; positional ones are moved to the front of argv + from.
 */
static int read_args(cli *c, int argc, char **argv, int from)
{
    bool only_args = false;
    c->argv = argv + from;
    for (int i = from; i < argc; i++) {
        int code = CLI_OK;
        if (only_args || argv[i][0] != '-' || !argv[i][1])
            c->argv[c->argc++] = argv[i];
        else if (strcmp(argv[i], "--") == 0)
            only_args = true;
        else
            code = argv[i][1] == '-' ? read_long(c, argc, argv, &i) : read_short(c, argc, argv, &i);
        if (code != CLI_OK)
            return code;
    }
    return CLI_OK;
}

static int check_args(const cli *c)
{
    const cli_command *k = c->command;
    char hint[300];
    if (c->argc >= k->min_args && (k->max_args < 0 || c->argc <= k->max_args))
        return CLI_OK;
    snprintf(hint, sizeof(hint), "usage: odto %s [OPTION…]%s%s", k->name, *k->args ? " " : "", k->args);
    if (c->argc < k->min_args)
        return cli_failf(c, CLI_USAGE, hint, "an argument is missing");
    return cli_failf(c, CLI_USAGE, hint, "unexpected argument %s", c->argv[k->max_args]);
}

static int unknown_command(const cli *c, int argc, char **argv)
{
    const char *names[64];
    char hint[200], two[200];
    size_t n = 0;
    for (size_t i = 0; i < cli_n_commands; i++) {
        const char *name = cli_commands[i].name;
        size_t length = strcspn(name, " ");
        if (name[length] && strlen(argv[0]) == length && strncmp(argv[0], name, length) == 0) {
            snprintf(hint, sizeof(hint), "odto help lists the commands of %s", argv[0]);
            return cli_failf(c, CLI_USAGE, hint,
                             argc > 1 ? "unknown command %s %s" : "%s needs a further word", argv[0],
                             argc > 1 ? argv[1] : "");
        }
        if (name[0] != '_')
            names[n++] = name;
    }
    snprintf(two, sizeof(two), "%s%s%s", argv[0], argc > 1 ? " " : "", argc > 1 ? argv[1] : "");
    const char *nearest = odto_nearest(argv[0], names, n);
    if (!nearest)
        nearest = odto_nearest(two, names, n);
    if (nearest)
        snprintf(hint, sizeof(hint), "did you mean odto %s?", nearest);
    else
        snprintf(hint, sizeof(hint), "odto --help lists the commands");
    return cli_failf(c, CLI_USAGE, hint, "unknown command %s", argv[0]);
}

/* Global options may stand before the command. Gives the place of the first other word. */
static int read_leading(cli *c, int argc, char **argv, int *at)
{
    int i = 0, code = CLI_OK;
    for (; i < argc && argv[i][0] == '-' && code == CLI_OK; i++)
        code = argv[i][1] == '-' ? read_long(c, argc, argv, &i) : read_short(c, argc, argv, &i);
    *at = i;
    return code;
}

int cli_parse(cli *c, int argc, char **argv, int *rest)
{
    int at = 0, words = 0;
    int code = read_leading(c, argc, argv, &at);
    if (code != CLI_OK)
        return code;
    if (cli_get(c, "version")) {
        cli_version(stdout);
        return -1;
    }
    if (at == argc) {
        bool asked = cli_get(c, "help") != NULL;
        cli_help(asked ? stdout : stderr);
        return asked ? -1 : CLI_USAGE;
    }
    c->command = cli_find(argc - at, argv + at, &words);
    if (!c->command)
        return unknown_command(c, argc - at, argv + at);
    *rest = at + words - 1;
    if (c->command->raw)
        return CLI_OK;
    code = read_args(c, argc, argv, at + words);
    if (code != CLI_OK)
        return code;
    c->json = cli_get(c, "json") != NULL;
    if (cli_get(c, "help")) {
        cli_help_command(c->command, stdout);
        return -1;
    }
    return check_args(c);
}

bool cli_get_int(cli *c, const char *name, int64_t min, int64_t max, int64_t *out)
{
    const char *text = cli_get(c, name);
    char *end;
    if (!text)
        return true;
    long long v = strtoll(text, &end, 10);
    if (end != text && !*end && v >= min && v <= max) {
        *out = v;
        return true;
    }
    cli_failf(c, CLI_USAGE, NULL, "--%s: \"%s\" is not a number from %lld to %lld", name, text,
              (long long)min, (long long)max);
    return false;
}

bool cli_get_duration(cli *c, const char *name, int64_t *ns)
{
    const char *text = cli_get(c, name);
    if (!text || odto_duration_parse(odto_slice_str(text), ns) == 0)
        return true;
    cli_failf(c, CLI_USAGE, "write 500ms, 10s, 5m", "--%s: \"%s\" is not a duration", name, text);
    return false;
}
