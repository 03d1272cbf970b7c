/* pools.c — handlers of the manifest become pools, their types the lookup table; and what happens to jobs of
 * a type nobody handles. Built in start(), fixed afterwards. */
#include "processor.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UNKNOWN_SLOTS 16

/* ---- types nobody handles ---- */

static void end_with_echo(void *self, odto_run **runs, size_t n)
{
    (void)self;
    for (size_t i = 0; i < n; i++) {
        odto_run_result r = {.end = ODTO_RUN_OK, .result = runs[i]->job->payload};
        runs[i]->finish(runs[i], &r);
    }
}

static void end_with_hint(void *self, odto_run **runs, size_t n)
{
    (void)self;
    char why[512];
    for (size_t i = 0; i < n; i++) {
        odto_slice type = runs[i]->job->type;
        int len = (int)(type.n > 100 ? 100 : type.n);
        int m =
            snprintf(why, sizeof why,
                     "no handler for jobs of type \"%.*s\": add a section [handler %.*s] to the manifest, or "
                     "name the type in `types` of an existing [handler NAME]",
                     len, type.p, len, type.p);
        odto_run_result r = {.end = ODTO_RUN_DISCARD, .error = odto_slice_of(why, (size_t)m)};
        runs[i]->finish(runs[i], &r);
    }
}

static const odto_handler_iface echo_iface = {.size = sizeof echo_iface, .start = end_with_echo};
static const odto_handler_iface hint_iface = {.size = sizeof hint_iface, .start = end_with_hint};

static int add_unknown(processor *p, odto_error *err)
{
    if (p->unknown == UNKNOWN_WAIT)
        return 0;
    pool *pl = &p->pools[p->n_pools];
    *pl = (pool){
        .p = p,
        .name = "unknown",
        .iface = p->unknown == UNKNOWN_ECHO ? &echo_iface : &hint_iface,
        .types = calloc(UNKNOWN_NAMES, sizeof *pl->types),
        .concurrency = UNKNOWN_SLOTS,
        .max_attempts = 1,
    };
    list_init(&pl->arrived);
    list_init(&pl->ready);
    if (!pl->types)
        return odto_fail(err, -ENOMEM, "no memory");
    p->n_pools++;
    p->unknown_pool = p->other.pool = pl;
    return 0;
}

/* ---- pools ---- */

static size_t count_types(const odto_handler_ref *ref)
{
    size_t n = 0;
    while (ref->types && ref->types[n])
        n++;
    return n;
}

static int add_pool(processor *p, const odto_handler_ref *ref, odto_error *err)
{
    const odto_config *c = p->config;
    pool *pl = &p->pools[p->n_pools];
    size_t n = count_types(ref);
    *pl = (pool){
        .p = p,
        .name = ref->name,
        .iface = ref->iface,
        .self = ref->self,
        .types = calloc(n + 1, sizeof *pl->types),
        .n_types = n,
        .concurrency = ref->concurrency ? ref->concurrency : (uint32_t)odto_config_int(c, "concurrency"),
        .max_attempts = ref->max_attempts ? ref->max_attempts : (uint32_t)odto_config_int(c, "max_attempts"),
        .timeout_ns = ref->timeout_ns ? ref->timeout_ns : odto_config_int(c, "timeout"),
        .backoff_ns = ref->backoff_ns ? ref->backoff_ns : odto_config_int(c, "backoff"),
        .backoff_max_ns = ref->backoff_max_ns ? ref->backoff_max_ns : odto_config_int(c, "backoff_max"),
    };
    list_init(&pl->arrived);
    list_init(&pl->ready);
    if (!pl->types)
        return odto_fail(err, -ENOMEM, "no memory");
    for (size_t i = 0; i < n; i++)
        pl->types[i] = odto_slice_str(ref->types[i]);
    p->n_pools++;
    return pl->iface->flags & ODTO_HANDLER_BLOCKING ? executor_new(pl, err) : 0;
}

/* ---- the lookup table: open addressing, at most half full ---- */

static int add_type(processor *p, pool *pl, odto_slice name, odto_error *err)
{
    uint64_t hash = odto_hash64(name.p, name.n);
    size_t i = hash & p->lookup_mask;
    for (; p->lookup[i].type; i = (i + 1) & p->lookup_mask) {
        const job_type *t = p->lookup[i].type;
        if (!odto_slice_eq(name, t->name))
            continue;
        odto_fail(err, -EEXIST, "two handlers for jobs of type \"%s\"", t->name);
        odto_error_detail(err, "[handler %s] and [handler %s]", t->pool->name, pl->name);
        odto_error_hint(err, "name each type in `types` of one handler only");
        return -EEXIST;
    }
    job_type *t = &p->types[p->n_types];
    t->name = odto_slice_dup(name);
    t->pool = pl;
    if (!t->name)
        return odto_fail(err, -ENOMEM, "no memory");
    p->n_types++;
    p->lookup[i].hash = hash;
    p->lookup[i].type = t;
    return 0;
}

static int add_types(processor *p, odto_error *err)
{
    size_t n = 0, size = 16;
    for (size_t i = 0; i < p->n_pools; i++)
        n += p->pools[i].n_types;
    while (size < 2 * n + 2)
        size *= 2;
    p->types = calloc(n + 1, sizeof *p->types);
    p->lookup = calloc(size, sizeof *p->lookup);
    p->lookup_mask = size - 1;
    if (!p->types || !p->lookup)
        return odto_fail(err, -ENOMEM, "no memory");
    for (size_t i = 0; i < p->n_pools; i++)
        for (size_t k = 0; k < p->pools[i].n_types; k++) {
            int r = add_type(p, &p->pools[i], p->pools[i].types[k], err);
            if (r < 0)
                return r;
        }
    return 0;
}

int pools_init(processor *p, odto_error *err)
{
    odto_handler_ref refs[MAX_POOLS];
    size_t n = p->host->api->handlers(p->host, refs, MAX_POOLS - 1);
    if (n > MAX_POOLS - 1)
        return odto_fail(err, -E2BIG, "more than %d handlers", MAX_POOLS - 1);
    for (size_t i = 0; i < n; i++) {
        int r = add_pool(p, &refs[i], err);
        if (r < 0)
            return r;
    }
    int r = add_types(p, err);
    if (r < 0)
        return r;
    if (!n)
        odto_log(p->host, ODTO_WARN, "no [handler NAME] in the manifest: every job type is unknown");
    p->other.name = (char *)(uintptr_t) "other";
    return add_unknown(p, err);
}

void pools_free(processor *p)
{
    for (size_t i = 0; i < p->n_pools; i++) {
        pool *pl = &p->pools[i];
        executor_free(pl);
        for (size_t k = 0; pl == p->unknown_pool && k < pl->n_types; k++)
            free((char *)(uintptr_t)pl->types[k].p);
        free(pl->types);
    }
    for (size_t i = 0; i < p->n_types; i++)
        free(p->types[i].name);
    free(p->types);
    free(p->lookup);
    p->n_pools = p->n_types = 0;
}
