/* reference.c — see reference.h. */
#include "reference.h"

#include <string.h>

static const char intro[] =
    "# Manifest reference\n"
    "\n"
    "<!-- Made by `make manifest-reference` from the option tables of the host and of each plugin. Do not "
    "edit. -->\n"
    "\n"
    "One INI file says what a host runs. `odto-host --check -c FILE` checks it and prints every mistake with "
    "its\n"
    "line and column; `odto print` shows the manifest in force with all defaults; `odto reload` takes a "
    "changed\n"
    "one over.\n"
    "\n"
    "## Syntax\n"
    "\n"
    "- `[kind NAME]` begins a section, `key = value` sets an option in it. A line that begins with `#` or "
    "`;` is a\n"
    "  comment, and so is what follows ` ;` behind a value, outside of quotes. A key may stand once in a "
    "section, a section "
    "once in the\n"
    "  file. Names of plugins, stores, bridges and handlers share one name space.\n"
    "- `${NAME}` is an environment variable, `${NAME:-default}` has a default, `${data}` is the data "
    "directory,\n"
    "  `$$` is one `$`.\n"
    "- A secret may be `file:PATH`: the content of that file, without its last newline. Everybody being able "
    "to\n"
    "  read it is a warning. Secrets are masked wherever values are shown.\n"
    "- Where an option names an environment variable, a variable that is set wins over the file.\n"
    "- An empty path, address, URL or store name takes the default back; an empty text or list is one.\n"
    "- Paths are relative to the manifest's folder (in environment variables: to the working directory).\n"
    "- Durations are `250ms`, `5s`, `2m`, `1h`, `1d`, or seconds; sizes are bytes or `64k`, `10m`, `2g` "
    "(powers of\n"
    "  1024); switches are `yes`/`no`, `on`/`off`, `true`/`false`, `1`/`0`. A command line is split into "
    "words by the\n"
    "  quoting rules of a shell, and never given to one.\n"
    "\n"
    "Marks: **required** must be set; **secret** is masked; **live** is taken over by a running plugin, any "
    "other\n"
    "change reloads it.\n";

/* Text for a table cell. */
static void put_cell(const char *s, FILE *out)
{
    for (; *s; s++) {
        if (*s == '|')
            fputc('\\', out);
        fputc(*s == '\n' ? ' ' : *s, out);
    }
}

static void put_default(const odto_option *o, FILE *out)
{
    /* the installation decides, so the reference of every build is the same */
    if (o->default_value && strcmp(o->default_value, ODTO_PLUGINDIR) == 0)
        fputs("the installation's", out);
    else if (o->default_value && *o->default_value)
        fprintf(out, "`%s`", o->default_value);
}

static void put_option(const odto_option *o, FILE *out)
{
    char type[256];
    fprintf(out, "| `%s` | ", o->name);
    put_cell(option_type_text(o, type, sizeof(type)), out);
    fputs(" | ", out);
    put_default(o, out);
    fputs(" | ", out);
    if (o->flags & ODTO_OPTION_REQUIRED)
        fputs("**required** ", out);
    if (o->flags & ODTO_OPTION_SECRET)
        fputs("**secret** ", out);
    if (o->flags & ODTO_OPTION_LIVE)
        fputs("**live** ", out);
    put_cell(o->help ? o->help : "", out);
    if (o->env)
        fprintf(out, " `$%s`", o->env);
    fputs(" |\n", out);
}

static void put_table(const odto_option *options, size_t n, FILE *out)
{
    fputs("\n| key | value | default | |\n| --- | --- | --- | --- |\n", out);
    for (size_t i = 0; i < n; i++)
        put_option(&options[i], out);
}

void reference_host(FILE *out)
{
    size_t n;
    fputs(intro, out);
    fputs("\n## Sections of the host\n", out);
    for (int k = 0; k < MANIFEST_KINDS; k++) {
        const option_table *t = option_table_of((manifest_kind)k);
        fprintf(out, "\n### [%s%s%s]\n\n%s\n", t->section, t->named ? " " : "", t->named ? t->named : "",
                t->summary);
        if (t->n_own)
            put_table(t->own, t->n_own, out);
        if (t->instance)
            fprintf(out, "\n%s the keys of every instance, and those of its plugin, below.\n",
                    t->n_own ? "And" : "Has");
    }
    fputs("\n### Keys of every instance\n\nIn `[plugin]`, `[store]`, `[bridge]` and `[handler]` sections.\n",
          out);
    const odto_option *instance = options_instance(&n);
    put_table(instance, n, out);
}

static void put_topics(const char *what, const char *const *topics, FILE *out)
{
    for (size_t i = 0; topics && topics[i]; i++)
        fprintf(out, "%s`%s`", i == 0 ? what : ", ", topics[i]);
    if (topics && topics[0])
        fputs(". ", out);
}

void reference_plugin(const odto_plugin *p, FILE *out)
{
    static const char *const kinds[] = {"plugin", "plugin", "store", "bridge", "handler"};
    const char *kind = kinds[p->head.kind <= ODTO_KIND_HANDLER ? p->head.kind : 0];
    fprintf(out, "### %s\n\n`[%s NAME]` with `module = %s`. %s\n", p->head.name, kind, p->head.name,
            p->summary ? p->summary : "");
    if ((p->consumes && p->consumes[0]) || (p->produces && p->produces[0])) {
        fputs("\n", out);
        put_topics("Consumes ", p->consumes, out);
        put_topics("Produces ", p->produces, out);
        fputs("\n", out);
    }
    if (p->n_options)
        put_table(p->options, p->n_options, out);
    else
        fputs("\nIt has no options.\n", out);
}
