/* help.c — --help and --version, made from the tables. */
#include "cli.h"

#include <string.h>

void cli_version(FILE *out)
{
    fprintf(out, "odto %s\n", PACKAGE_VERSION);
}

static void put_options(const cli_option *table, size_t n, FILE *out)
{
    char left[80];
    for (size_t i = 0; i < n; i++) {
        const cli_option *o = &table[i];
        char letter[8] = "    ";
        if (o->letter)
            snprintf(letter, sizeof(letter), "-%c, ", o->letter);
        snprintf(left, sizeof(left), "%s--%s%s%s", letter, o->name, o->arg ? " " : "", o->arg ? o->arg : "");
        fprintf(out, "  %-26s %s\n", left, o->help);
    }
}

void cli_help(FILE *out)
{
    fputs(
        "odto — ask and steer the Distributed Task Observatory\n\nUsage: odto [OPTION…] COMMAND [OPTION…]\n\n"
        "Commands:\n",
        out);
    for (size_t i = 0; i < cli_n_commands; i++) {
        const cli_command *k = &cli_commands[i];
        char left[80];
        if (k->name[0] == '_')
            continue;
        snprintf(left, sizeof(left), "%s%s%s", k->name, *k->args ? " " : "", k->args);
        /* … is three bytes and one column */
        int wide = strstr(left, "…") ? 2 : 0;
        fprintf(out, "  %-*s %s\n", 22 + wide, left, k->summary);
    }
    fputs("\nOptions of every command:\n", out);
    put_options(cli_globals, cli_n_globals, out);
    fputs("\nExit status: 0 done; 1 refused, or a job failed; 2 wrong command line; 3 no answer, or not "
          "ready;\n"
          "4 not found; 5 waited too long.\n`odto COMMAND --help` tells more.\n",
          out);
}

void cli_help_command(const cli_command *k, FILE *out)
{
    fprintf(out, "odto %s — %s\n\nUsage: odto %s [OPTION…]%s%s\n", k->name, k->summary, k->name,
            *k->args ? " " : "", k->args);
    if (k->details)
        fprintf(out, "\n%s\n", k->details);
    if (k->n_options) {
        fputs("\nOptions:\n", out);
        put_options(k->options, k->n_options, out);
    }
    fputs("\nOptions of every command:\n", out);
    put_options(cli_globals, cli_n_globals, out);
}

int cmd_help(cli *c)
{
    int words;
    const cli_command *k = c->argc ? cli_find(c->argc, c->argv, &words) : NULL;
    if (c->argc && !k)
        return cli_failf(c, CLI_USAGE, "odto --help lists the commands", "unknown command %s", c->argv[0]);
    if (k)
        cli_help_command(k, stdout);
    else
        cli_help(stdout);
    return CLI_OK;
}
