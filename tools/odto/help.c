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

/* ---- manual page (man(7)) ---- */

static void man_text(const char *s)
{
    bool begin = true;
    for (; *s; s++) {
        if (begin && (*s == '.' || *s == '\''))
            fputs("\\&", stdout);
        if (*s == '-' || *s == '\\')
            fputs(*s == '-' ? "\\-" : "\\e", stdout);
        else
            putchar(*s);
        begin = *s == '\n';
    }
}

static void man_options(const cli_option *table, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        printf(".TP\n");
        if (table[i].letter)
            printf("\\fB\\-%c\\fR, ", table[i].letter);
        printf("\\fB\\-\\-");
        man_text(table[i].name);
        printf("\\fR%s%s%s\n", table[i].arg ? " \\fI" : "", table[i].arg ? table[i].arg : "",
               table[i].arg ? "\\fR" : "");
        man_text(table[i].help);
        putchar('\n');
    }
}

static void man_command(const cli_command *k)
{
    printf(".SS ");
    man_text(k->name);
    printf(" ");
    man_text(k->args);
    printf("\n");
    man_text(k->summary);
    printf(".\n");
    if (k->details) {
        printf(".PP\n.nf\n");
        man_text(k->details);
        printf("\n.fi\n");
    }
    man_options(k->options, k->n_options);
}

int cmd_man(cli *c)
{
    (void)c;
    printf(
        ".TH ODTO 1 \"\" \"odto %s\" \"Distributed Task Observatory\"\n.SH NAME\nodto \\- ask and steer the "
        "Distributed Task Observatory\n.SH SYNOPSIS\n.B odto\n[\\fIOPTION\\fR...] \\fICOMMAND\\fR "
        "[\\fIOPTION\\fR...]\n.SH OPTIONS\n",
        PACKAGE_VERSION);
    man_options(cli_globals, cli_n_globals);
    printf(".SH COMMANDS\n");
    for (size_t i = 0; i < cli_n_commands; i++) {
        if (cli_commands[i].name[0] != '_')
            man_command(&cli_commands[i]);
    }
    printf(".SH EXIT STATUS\n.TP\n0\ndone\n.TP\n1\nrefused, or a job failed\n.TP\n2\nwrong command "
           "line\n.TP\n3\n"
           "no answer, or not ready\n.TP\n4\nnot found\n.TP\n5\nwaited too long\n.SH ENVIRONMENT\n"
           "GATEWAY_URL, READ_MODEL_URL, ODTO_SOCKET, ODTO_DATA_DIR, NO_COLOR\n.SH SEE ALSO\n"
           "odto\\-host(8), odto\\-dashboard(1)\n");
    return CLI_OK;
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
