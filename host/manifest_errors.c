/* manifest_errors.c — the list of what is wrong with a manifest; see manifest.h. */
#include "manifest.h"

#include <stdlib.h>
#include <string.h>

void manifest_errors_free(manifest_errors *errs)
{
    free(errs->items);
    *errs = (manifest_errors){0};
}

static bool before(const manifest_error *a, const manifest_error *b)
{
    return a->line < b->line || (a->line == b->line && a->column < b->column);
}

/* Kept sorted: the list is short and errors come almost in order. */
static void insert(manifest_errors *errs, const manifest_error *e)
{
    size_t i = errs->n;
    while (i > 0 && before(e, &errs->items[i - 1])) {
        errs->items[i] = errs->items[i - 1];
        i--;
    }
    errs->items[i] = *e;
    errs->n++;
}

void manifest_errors_add(manifest_errors *errs, const char *file, int line, int column, bool warning,
                         const odto_error *err)
{
    if (warning)
        errs->n_warnings++;
    else
        errs->n_errors++;
    if (errs->n == MANIFEST_MAX_ERRORS)
        return;
    manifest_error *grown = realloc(errs->items, (errs->n + 1) * sizeof(*grown));
    if (!grown)
        return; /* counted all the same */
    errs->items = grown;
    manifest_error e = {.error = *err, .line = line, .column = column, .warning = warning};
    if (line > 0)
        odto_error_where(&e.error, file, line, column);
    else if (!e.error.where[0])
        snprintf(e.error.where, sizeof(e.error.where), "%s", file);
    insert(errs, &e);
}

void manifest_errors_print(const manifest_errors *errs, FILE *out)
{
    for (size_t i = 0; i < errs->n; i++) {
        const odto_error *e = &errs->items[i].error;
        fprintf(out, "%s: %s: %s", e->where, errs->items[i].warning ? "warning" : "error", e->message);
        if (e->detail[0])
            fprintf(out, ": %s", e->detail);
        if (e->hint[0])
            fprintf(out, "\n    %s", e->hint);
        fputc('\n', out);
    }
    if (errs->n < errs->n_errors + errs->n_warnings)
        fprintf(out, "and %zu more\n", errs->n_errors + errs->n_warnings - errs->n);
}
