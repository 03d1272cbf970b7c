/* manifest.h — the INI manifest as an immutable, reference-counted snapshot.
 *
 * A snapshot is built by one thread in steps, because the options of a plugin are only known after its
 * descriptor was read:
 *     manifest_errors errs = {0};
 *     manifest_load(path, &m, &errs);             sections, keys of the host, ${…}
 *     for each section of an instance: manifest_config(m, s, table, n, &config, &errs);
 *     manifest_finish(m, &errs);                  keys nobody knows; after this nothing changes any more
 * Every step goes on after an error, so one run shows all of them. The snapshot is good if errs.n_errors is 0
 * at the end. Afterwards any thread may read it and hold references. Configs belong to the snapshot: hold a
 * reference of it as long as an instance uses one.
 *
 * Syntax: `[kind NAME]`, `key = value`, `#` or `;` at the start of a line, ` ;` after a value (not
 * within quotes) begins a comment. A value may hold `${NAME}`, `${NAME:-default}` (environment), `${data}`
 * (data directory); `$$` is one `$`. A secret may be `file:PATH`: the file's content. An option's environment
 * variable wins over the file. */
#ifndef ODTO_HOST_MANIFEST_H
#define ODTO_HOST_MANIFEST_H

#include "options.h"
#include <odto/plugin.h>
#include <stdio.h>

typedef struct manifest manifest;

#define MANIFEST_MAX_ERRORS 64      /* more are counted, not kept */
#define MANIFEST_MAX_BYTES  1048576 /* of the file */
#define MANIFEST_MAX_LINE   16384

typedef struct manifest_error {
    odto_error error; /* where = "file:line:column" */
    int line, column;
    bool warning;
} manifest_error;

/* Zero-initialise; manifest_errors_free. */
typedef struct manifest_errors {
    manifest_error *items; /* sorted by line and column after manifest_load and manifest_finish */
    size_t n;              /* kept */
    size_t n_errors, n_warnings;
} manifest_errors;

void manifest_errors_free(manifest_errors *errs);
/* One block an error: "file:line:column: error: message: detail" and an indented hint. */
void manifest_errors_print(const manifest_errors *errs, FILE *out);
/* Adds err (its `where` is filled from file, line and column unless line is 0). */
void manifest_errors_add(manifest_errors *errs, const char *file, int line, int column, bool warning,
                         const odto_error *err);

typedef struct manifest_section {
    manifest_kind kind;
    const char *name;   /* "gateway"; "" for [host], [log], [http] */
    const char *module; /* instances: what to load */
    int line, column;   /* 0: not in the file, all defaults */
    bool enabled;       /* instances: the `enabled` key; others true */
    /* the keys the host reads (options_of(kind)), checked; never NULL */
    const odto_config *host;
    /* instances: the plugin's own options after manifest_config, else NULL */
    const odto_config *config;
    const struct manifest_section_data *data; /* private */
} manifest_section;

/* Reads path ("-" is standard input). *out is set whenever the file could be read at all, even with errors,
 * so that the following steps find more of them. 0, -EINVAL (errors), or -errno when the file can't be read
 * (also put in errs). */
int manifest_load(const char *path, manifest **out, manifest_errors *errs);
/* The same from memory; path is used in messages and as the base of relative paths. */
int manifest_parse(odto_slice text, const char *path, manifest **out, manifest_errors *errs);

/* Asked for every OPT_STORE: does [store NAME] give this role? 0 or -errno with err filled. Existence and
 * `enabled` were checked before. */
typedef int manifest_store_check(void *arg, const char *store, int64_t role, odto_error *err);
void manifest_set_store_check(manifest *m, manifest_store_check *fn, void *arg);

/* Reads the plugin's keys of one section. Once a section. *out (may be NULL) is also s->config; on errors it
 * is set all the same (values that are wrong have their defaults), so check_config may run; do not start with
 * it. Keys the plugin shares with the host (`options_clash`) are an error of the plugin. 0 or -EINVAL,
 * -ENOMEM. */
int manifest_config(manifest *m, const manifest_section *s, const odto_option *table, size_t n,
                    const odto_config **out, manifest_errors *errs);
/* An error found by others in a section: at the key's value, or at the section where key is NULL or unset. */
void manifest_report(const manifest *m, const manifest_section *s, const char *key, const odto_error *err,
                     manifest_errors *errs);
/* Keys that nobody knows in sections that were configured. 0, or -EINVAL if errs holds any error. */
int manifest_finish(manifest *m, manifest_errors *errs);

manifest *manifest_ref(manifest *m);
void manifest_unref(manifest *m); /* NULL is allowed; the last one frees */

const char *manifest_path(const manifest *m);     /* as given */
const char *manifest_folder(const manifest *m);   /* absolute; relative paths start here */
const char *manifest_data_dir(const manifest *m); /* absolute; not created */
const char *manifest_host_name(const manifest *m);
/* The keys of [host], [log], [http]; defaults where the section is missing. */
const odto_config *manifest_host(const manifest *m);
const odto_config *manifest_log(const manifest *m);
const odto_config *manifest_http(const manifest *m);
/* Sections in the order of the file; NULL at the end. */
const manifest_section *manifest_section_at(const manifest *m, size_t i);
/* NULL if there is none. Names are unique among all instances: manifest_instance finds one of any kind. */
const manifest_section *manifest_find(const manifest *m, manifest_kind kind, const char *name);
const manifest_section *manifest_instance(const manifest *m, const char *name);

/* What a reload of this section would mean. Compares effective values (environment and files included) and
 * the data directory. */
typedef enum manifest_change {
    MANIFEST_SAME,
    MANIFEST_LIVE,   /* only options marked ODTO_OPTION_LIVE differ */
    MANIFEST_RELOAD, /* others differ */
} manifest_change;
manifest_change manifest_compare(const manifest_section *a, const manifest_section *b);
/* A hash of the same values; never shown where secrets must not be guessed. */
uint64_t manifest_section_hash(const manifest_section *s);

/* The effective manifest, loadable again: values that were set, defaults as comments, secrets masked. */
void manifest_print(const manifest *m, FILE *out);

#endif
