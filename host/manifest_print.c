/* manifest_print.c — the effective manifest as text; see manifest.h. */
#include "manifest_internal.h"

#include <string.h>

/* A value as it may be shown and read back: `${X}` and `file:` references of secrets stay as written (they
 * give nothing away), other secrets are masked; `$` is doubled. */
static void print_value(const odto_option *o, const odto_value *v, const manifest_entry *e, FILE *out)
{
    char shown[4096];
    bool secret = o->flags & ODTO_OPTION_SECRET;
    const char *raw = e && v->line ? e->raw : NULL;
    if (secret && raw && *v->s &&
        (strncmp(raw, "file:", 5) == 0 ||
         (strncmp(raw, "${", 2) == 0 && strchr(raw, '}') == raw + strlen(raw) - 1 && !strstr(raw, ":-")))) {
        fputs(raw, out);
        return;
    }
    if (secret && !*v->s)
        return;
    option_show(o, v->s, shown, sizeof(shown));
    for (const char *p = shown; *p; p++) {
        if (*p == '$' && (p[1] == '{' || p[1] == '$'))
            fputc('$', out);
        fputc(*p, out);
    }
}

static void print_config(const manifest_section *s, const odto_config *c, FILE *out)
{
    for (size_t i = 0; c && i < c->n; i++) {
        const odto_option *o = &c->options[i];
        const odto_value *v = &c->values[i];
        bool env = !v->line && v->column < 0;
        fprintf(out, "%s%s =%s", v->line || env ? "" : "# ", o->name, v->s ? " " : "");
        if (v->s)
            print_value(o, v, manifest_entry_of(s, o->name), out);
        if (env)
            fprintf(out, " ; from $%s", o->env);
        fputc('\n', out);
    }
}

void manifest_print(const manifest *m, FILE *out)
{
    char title[200];
    fprintf(out, "# effective manifest of %s\n# data directory %s\n# host name %s\n", m->path, m->data_dir,
            m->host_name);
    for (size_t i = 0; i < m->n_sections; i++) {
        const manifest_section *s = m->sections[i];
        fprintf(out, "\n[%s]\n", manifest_title(s, title, sizeof(title)));
        print_config(s, s->host, out);
        print_config(s, s->config, out);
    }
}
