/* manifest_internal.h — shared by manifest.c, manifest_value.c, manifest_check.c and manifest_print.c only.
 */
#ifndef ODTO_HOST_MANIFEST_INTERNAL_H
#define ODTO_HOST_MANIFEST_INTERNAL_H

#include "manifest.h"
#include "manifest_file.h"

#define MANIFEST_MAGIC 0x6d616e69u

typedef struct manifest_section_data {
    manifest *m;
    manifest_block *block; /* NULL: not in the file */
} manifest_section_data;

struct manifest {
    uint32_t magic;
    uint32_t refs; /* atomic */
    arena a;
    const char *path, *folder, *data_dir, *host_name;
    manifest_block *blocks;
    manifest_section **sections; /* in the order of the file */
    size_t n_sections;
    manifest_section *globals[MANIFEST_HTTP + 1]; /* [host] [log] [http] */
    manifest_store_check *store_check;
    void *store_arg;
    bool no_memory;
};

/* Reads all options of table for the section into a new config; errors to errs. NULL without memory. */
odto_config *manifest_read_config(manifest *m, manifest_section *s, const odto_option *table, size_t n,
                                  manifest_errors *errs);
/* The entry of a key, or NULL. */
manifest_entry *manifest_entry_of(const manifest_section *s, const char *key);
/* "plugin gateway"; returns buf. */
const char *manifest_title(const manifest_section *s, char *buf, size_t size);
/* What refers to other sections: transports, dead letters, requires, listeners, handler types. */
void manifest_check_references(manifest *m, manifest_errors *errs);
/* Does [store name] exist and give the role? Fills err. */
int manifest_check_store(manifest *m, const char *name, int64_t role, odto_error *err);
/* Hint with the nearest of the names of all sections of this kind. */
void manifest_hint_section(const manifest *m, manifest_kind kind, const char *name, odto_error *err);

#endif
