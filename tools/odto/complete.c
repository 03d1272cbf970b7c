/* complete.c — completion scripts made from the tables. Names of plugins and topics are asked from the
 * running host by `odto __complete`. */
#include "cli.h"

#include <string.h>

#define QUICK (2 * ODTO_SEC)

/* ---- words the shells ask for while completing ---- */

int cmd_complete(cli *c)
{
    bool topics = strcmp(c->argv[0], "topics") == 0;
    struct json_object *o = NULL;
    size_t n;
    if (!freopen("/dev/null", "w", stderr)) /* nothing may disturb the line being typed */
        return CLI_OK;
    if (control_ask_at(c, c->sockets[0], topics ? "routes" : "plugins", NULL, QUICK, &o) != CLI_OK)
        return CLI_OK;
    struct json_object *list = jarray(o, topics ? "routes" : "plugins", &n);
    for (size_t i = 0; i < n; i++)
        puts(jstr(json_object_array_get_idx(list, i), topics ? "topic" : "name"));
    json_object_put(o);
    return CLI_OK;
}

static const char *words_of(cli_complete what)
{
    switch (what) {
    case COMPLETE_STATUS:
        return "PENDING VALIDATED EXECUTING COMPLETED FAILED";
    case COMPLETE_LEVEL:
        return "debug info warn error default";
    case COMPLETE_SHELL:
        return "bash zsh fish";
    case COMPLETE_WHEN:
        return "auto always never";
    case COMPLETE_PLUGIN:
        return "$(odto __complete plugins)";
    case COMPLETE_TOPIC:
        return "$(odto __complete topics)";
    case COMPLETE_NONE:
    case COMPLETE_FILE:
        break;
    }
    return "";
}

/* ---- bash ---- */

/* Names of options with an argument of this kind, as a case pattern; false when there is none. */
static bool bash_pattern(const cli_option *table, size_t n, cli_complete what)
{
    bool any = false;
    for (size_t i = 0; i < n; i++) {
        if (!table[i].arg || table[i].complete != what)
            continue;
        printf("%s--%s", any ? "|" : "    ", table[i].name);
        if (table[i].letter)
            printf("|-%c", table[i].letter);
        any = true;
    }
    return any;
}

static void bash_options(const cli_option *table, size_t n)
{
    for (size_t i = 0; i < n; i++)
        printf(" --%s", table[i].name);
}

static void bash_command(const cli_command *k)
{
    static const cli_complete kinds[] = {COMPLETE_FILE,  COMPLETE_STATUS, COMPLETE_LEVEL, COMPLETE_PLUGIN,
                                         COMPLETE_TOPIC, COMPLETE_WHEN,   COMPLETE_NONE};
    printf("  '%s')\n    case $prev in\n", k->name);
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (!bash_pattern(k->options, k->n_options, kinds[i]))
            continue;
        if (kinds[i] == COMPLETE_FILE)
            printf(") compopt -o default; COMPREPLY=(); return ;;\n");
        else
            printf(") COMPREPLY=($(compgen -W \"%s\" -- \"$cur\")); return ;;\n", words_of(kinds[i]));
    }
    printf("    esac\n    words=\"%s", words_of(k->complete));
    bash_options(k->options, k->n_options);
    printf("\" ;;\n");
}

/* First words of all commands, or the second ones after `first`. */
static void command_words(const char *first)
{
    const char *last = "";
    size_t length = first ? strlen(first) : 0;
    for (size_t i = 0; i < cli_n_commands; i++) {
        const char *name = cli_commands[i].name;
        size_t n = strcspn(name, " ");
        if (name[0] == '_')
            continue;
        if (first && n == length && strncmp(name, first, n) == 0 && name[n])
            printf("%s ", name + n + 1);
        if (!first && (strcspn(last, " ") != n || strncmp(last, name, n) != 0))
            printf("%.*s ", (int)n, name);
        last = name;
    }
}

static void bash(void)
{
    printf("# bash completion for odto; made by `odto completion bash`\n_odto() {\n"
           "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} cmd= word words= i\n"
           "  for ((i = 1; i < COMP_CWORD; i++)); do\n    word=${COMP_WORDS[i]}\n    case $word in\n"
           "    --gateway|--read-model|--socket|-s|--timeout|--color) ((i++)) ;;\n    -*) ;;\n"
           "    *) case \"$cmd\" in\n       '') cmd=$word ;;\n       dlq|job) cmd=\"$cmd $word\" ;;\n       "
           "esac ;;\n"
           "    esac\n  done\n  case $prev in\n"
           "  --socket|-s) compopt -o default; COMPREPLY=(); return ;;\n"
           "  --color) COMPREPLY=($(compgen -W \"auto always never\" -- \"$cur\")); return ;;\n"
           "  --gateway|--read-model|--timeout) return ;;\n  esac\n  case $cmd in\n  '') words=\"");
    command_words(NULL);
    printf("\" ;;\n  dlq) words=\"");
    command_words("dlq");
    printf("\" ;;\n  job) words=\"");
    command_words("job");
    printf("\" ;;\n");
    for (size_t i = 0; i < cli_n_commands; i++) {
        if (cli_commands[i].name[0] != '_' && cli_commands[i].run)
            bash_command(&cli_commands[i]);
    }
    printf("  esac\n  [[ $cur == -* ]] && words+=\"");
    bash_options(cli_globals, cli_n_globals);
    printf("\"\n  COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n}\ncomplete -F _odto odto\n");
}

/* ---- zsh ---- */

/* Text within [...] of _arguments, inside single quotes. */
static void zsh_text(const char *s)
{
    for (; *s; s++) {
        if (*s == '\'')
            fputs("'\\''", stdout);
        else if (strchr("[]:\\", *s))
            printf("\\%c", *s);
        else
            putchar(*s);
    }
}

static const char *zsh_action(cli_complete what)
{
    switch (what) {
    case COMPLETE_FILE:
        return "_files";
    case COMPLETE_STATUS:
        return "(PENDING VALIDATED EXECUTING COMPLETED FAILED)";
    case COMPLETE_LEVEL:
        return "(debug info warn error default)";
    case COMPLETE_SHELL:
        return "(bash zsh fish)";
    case COMPLETE_WHEN:
        return "(auto always never)";
    case COMPLETE_PLUGIN:
        return "($(odto __complete plugins))";
    case COMPLETE_TOPIC:
        return "($(odto __complete topics))";
    case COMPLETE_NONE:
        break;
    }
    return " ";
}

static void zsh_options(const cli_option *table, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        for (int form = 0; form < 2; form++) {
            if (form == 1 && !table[i].letter)
                continue;
            if (form)
                printf(" \\\n      '*-%c%s[", table[i].letter, table[i].arg ? "+" : "");
            else
                printf(" \\\n      '*--%s%s[", table[i].name, table[i].arg ? "=" : "");
            zsh_text(table[i].help);
            if (table[i].arg)
                printf("]:%s:%s'", table[i].arg, zsh_action(table[i].complete));
            else
                printf("]'");
        }
    }
}

/* 'word:summary' of commands; first NULL: their first words, else the second ones after it. */
static void zsh_commands(const char *first)
{
    const char *last = "";
    size_t length = first ? strlen(first) : 0;
    for (size_t i = 0; i < cli_n_commands; i++) {
        const char *name = cli_commands[i].name;
        size_t n = strcspn(name, " ");
        bool same = strcspn(last, " ") == n && strncmp(last, name, n) == 0;
        last = name;
        if (name[0] == '_' || (first ? n != length || strncmp(name, first, n) != 0 || !name[n] : same))
            continue;
        printf(" '%.*s:", first ? 100 : (int)n, first ? name + n + 1 : name);
        if (first || !name[n])
            zsh_text(cli_commands[i].summary);
        printf("'");
    }
}

static void zsh_group(const char *group)
{
    printf("    '%s') list=(", group);
    zsh_commands(*group ? group : NULL);
    printf("); _describe -t commands command list; return ;;\n");
}

static void zsh(void)
{
    printf(
        "#compdef odto\n# made by `odto completion zsh`\n_odto() {\n  local cmd= w skip=\n  local -a list\n"
        "  for w in \"${(@)words[2,CURRENT-1]}\"; do\n    if [[ -n $skip ]]; then skip=; continue; fi\n"
        "    case $w in\n    --gateway|--read-model|--socket|-s|--timeout|--color) skip=1; continue ;;\n"
        "    -*) continue ;;\n    esac\n    case $cmd in\n    '') cmd=$w ;;\n    dlq|job) cmd=\"$cmd $w\" "
        ";;\n"
        "    esac\n  done\n  if [[ $PREFIX != -* ]]; then\n    case $cmd in\n");
    zsh_group("");
    zsh_group("dlq");
    zsh_group("job");
    printf("    esac\n  fi\n  case $cmd in\n");
    for (size_t i = 0; i < cli_n_commands; i++) {
        const cli_command *k = &cli_commands[i];
        if (k->name[0] == '_' || !k->run)
            continue;
        printf("  '%s') _arguments", k->name);
        zsh_options(k->options, k->n_options);
        zsh_options(cli_globals, cli_n_globals);
        printf(" '*:argument:%s' ;;\n", zsh_action(k->complete));
    }
    printf("  *) _arguments");
    zsh_options(cli_globals, cli_n_globals);
    printf(
        " ;;\n  esac\n}\n"
        "if [[ $zsh_eval_context[-1] == loadautofunc ]]; then _odto \"$@\"; else compdef _odto odto; fi\n");
}

/* ---- fish ---- */

static void fish_text(const char *s)
{
    for (; *s; s++) {
        if (*s == '\'' || *s == '\\')
            putchar('\\');
        putchar(*s);
    }
}

static void fish_argument(cli_complete what)
{
    if (what == COMPLETE_FILE)
        printf(" -r -F");
    else if (what == COMPLETE_PLUGIN)
        printf(" -x -a '(odto __complete plugins)'");
    else if (what == COMPLETE_TOPIC)
        printf(" -x -a '(odto __complete topics)'");
    else
        printf(" -x -a '%s'", words_of(what));
}

static void fish_options(const cli_option *table, size_t n, const char *condition)
{
    for (size_t i = 0; i < n; i++) {
        printf("complete -c odto%s -l %s", condition, table[i].name);
        if (table[i].letter)
            printf(" -s %c", table[i].letter);
        if (table[i].arg)
            fish_argument(table[i].complete);
        printf(" -d '");
        fish_text(table[i].help);
        printf("'\n");
    }
}

static void fish_command(const cli_command *k)
{
    char condition[160];
    size_t n = strcspn(k->name, " ");
    if (k->name[n]) {
        printf("complete -c odto -n '__fish_seen_subcommand_from %.*s' -a %s -d '", (int)n, k->name,
               k->name + n + 1);
        fish_text(k->summary);
        printf("'\ncomplete -c odto -n __fish_use_subcommand -a %.*s\n", (int)n, k->name);
        snprintf(condition, sizeof(condition), " -n '__fish_seen_subcommand_from %s'", k->name + n + 1);
    } else {
        printf("complete -c odto -n __fish_use_subcommand -a %s -d '", k->name);
        fish_text(k->summary);
        printf("'\n");
        snprintf(condition, sizeof(condition), " -n '__fish_seen_subcommand_from %s'", k->name);
    }
    fish_options(k->options, k->n_options, condition);
    if (k->complete != COMPLETE_NONE) {
        printf("complete -c odto%s", condition);
        fish_argument(k->complete);
        printf("\n");
    }
}

static void fish(void)
{
    printf("# made by `odto completion fish`\ncomplete -c odto -f\n");
    fish_options(cli_globals, cli_n_globals, "");
    for (size_t i = 0; i < cli_n_commands; i++) {
        if (cli_commands[i].name[0] != '_')
            fish_command(&cli_commands[i]);
    }
}

int cmd_completion(cli *c)
{
    if (strcmp(c->argv[0], "bash") == 0)
        bash();
    else if (strcmp(c->argv[0], "zsh") == 0)
        zsh();
    else if (strcmp(c->argv[0], "fish") == 0)
        fish();
    else
        return cli_failf(c, CLI_USAGE, "bash, zsh and fish are known", "no completion for %s", c->argv[0]);
    return CLI_OK;
}
