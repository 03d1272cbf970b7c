/* options.h — option tables: reading a value by its table entry, and the host's own tables.
 *
 * The same struct odto_option describes the keys of plugins and of the host, so one reader, one set of error
 * messages and one generated reference (docs/manifest.md) serve all. Pure functions, any thread. */
#ifndef ODTO_HOST_OPTIONS_H
#define ODTO_HOST_OPTIONS_H

#include "arena.h"
#include <odto/plugin.h>
#include <stdio.h>

/* Reads text as o says; memory of *out comes from a. base: the folder relative paths start from, or NULL.
 * -EINVAL: err has the message (what is wrong), the detail (the value, masked when secret) and the hint (what
 * is allowed). -ENOMEM. OPT_STORE is read as a name only. */
int option_parse(const odto_option *o, const char *text, const char *base, arena *a, odto_value *out,
                 odto_error *err);
/* "string", "duration", "one of a, b, c", "integer 1..64" … for messages and the reference; returns buf. */
const char *option_type_text(const odto_option *o, char *buf, size_t size);
/* A duration in its shortest exact form ("250ms", "5m"); a size likewise ("64k"); return buf. */
const char *option_duration_text(int64_t ns, char *buf, size_t size);
const char *option_size_text(int64_t bytes, char *buf, size_t size);
/* The value with the password of a URL replaced, for --print; secrets as a whole. Returns buf. */
const char *option_show(const odto_option *o, const char *text, char *buf, size_t size);

typedef enum manifest_kind {
    MANIFEST_HOST,
    MANIFEST_LOG,
    MANIFEST_HTTP,
    MANIFEST_PLUGIN,
    MANIFEST_STORE,
    MANIFEST_BRIDGE,
    MANIFEST_HANDLER,
    MANIFEST_ROUTE,
    MANIFEST_LISTENER,
    MANIFEST_KINDS
} manifest_kind;

typedef struct option_table {
    const char *section;    /* "route" */
    const char *named;      /* what follows it, "TOPIC", or NULL */
    const char *summary;    /* for the reference */
    bool instance;          /* also has the keys of every instance, and those of its plugin */
    const odto_option *own; /* keys of this kind */
    size_t n_own;
} option_table;

/* The table of a kind; the keys of every instance. */
const option_table *option_table_of(manifest_kind kind);
const odto_option *options_instance(size_t *n);
/* Keys the host reads in a section of this kind: own and, for instances, the common ones, in one array made
 * in a. NULL without memory. */
const odto_option *options_of(manifest_kind kind, arena *a, size_t *n);

/* The first key both arrays have, or NULL: a plugin may not declare a key the host reads. */
const char *options_clash(const odto_option *a, size_t na, const odto_option *b, size_t nb);

#endif
