/* metrics.h — registry of metric families, rendered as Prometheus text (exposition format 0.0.4).
 *
 * A family has a name, a type, a help text and label names; its children have label values and a cell
 * (struct odto_metric) that plugins add to without a lock, or a function that is asked at scrape time.
 * Children are owned by plugin generations ("owner", any stable non-NULL address): several owners may hold
 * one child, so a counter goes on counting over a reload. A child nobody owns is not shown, but its memory
 * stays until metrics_free: a thread of an abandoned plugin may still add to it.
 *
 * The children of a family are bounded; what comes after falls into one whose label values are all "other".
 * Any thread may call anything. No lock of the registry is held while a function of a plugin runs. */
#ifndef ODTO_HOST_METRICS_H
#define ODTO_HOST_METRICS_H

#include <odto/host.h>

#define METRICS_CHILDREN     200 /* children a family, "other" not counted */
#define METRICS_FAMILIES     512
#define METRICS_LABELS       8
#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

typedef struct metrics metrics;

/* Asked at scrape time; must not block, nor call metrics_drop or metrics_render. */
typedef double metrics_read(void *arg);

typedef struct metrics_spec {
    odto_metric_type type;
    const char *name;          /* [a-zA-Z_:][a-zA-Z0-9_:]*; a counter ends in _total */
    const char *help;          /* one sentence */
    const char *labels;        /* NULL or "service,route" */
    const char *const *values; /* one for each label; any bytes; NULL without labels */
    const double *bounds;      /* histogram: rising upper bounds in seconds (or the unit of the name) */
    size_t n_bounds;
} metrics_spec;

/* NULL without memory. */
metrics *metrics_new(void);
void metrics_free(metrics *m);

/* The cell of the child with these labels, made if need be and held by owner. -EINVAL: a bad name, or the
 * family has another type, labels or bounds (err names both); -ENOSPC: too many families; -ENOMEM. */
int metrics_cell(metrics *m, const void *owner, const metrics_spec *s, odto_metric **out, odto_error *err);
/* A counter or gauge read from fn. The newest owner's function is shown; when that owner is dropped, the one
 * before it is shown again. */
int metrics_fn(metrics *m, const void *owner, const metrics_spec *s, metrics_read *fn, void *arg,
               odto_error *err);
/* Releases all that owner holds. When it returns none of owner's functions runs or will run. */
void metrics_drop(metrics *m, const void *owner);

/* Appends the whole text: families by name, then the process's own figures. 0 or -ENOMEM. */
int metrics_render(metrics *m, odto_buf *out);

/* Host figures kept here so that every host has them: odto_build_info{version,compiler,abi}. */
int metrics_add_build_info(metrics *m, const void *owner, const char *version);

#endif
