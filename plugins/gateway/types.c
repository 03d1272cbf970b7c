/* types.c — counters by job type with a bounded number of labels.
 *
 * The table is read without a lock on every request: a slot is written once, before its pointer is stored
 * with release; entries are never removed. Writers hold type_table.lock. */
#include "gateway.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NAME "gateway_jobs_submitted_total"
#define HELP "Job submissions whose body was parsed, by job type."

static odto_metric *counter(type_table *t, const char *type)
{
    const char *values[] = {type};
    return t->host->api->metric(t->host, ODTO_COUNTER, NAME, HELP, "type", values, NULL, 0);
}

/* The slot of this name, or the free one where it belongs. */
static size_t find(const type_table *t, odto_slice type)
{
    size_t i = odto_hash64(type.p, type.n) % TYPE_SLOTS;
    for (;; i = (i + 1) % TYPE_SLOTS) {
        /* acquire: pairs with the release store in add() */
        const type_slot *s = __atomic_load_n(&t->slots[i], __ATOMIC_ACQUIRE);
        if (!s || (s->n == type.n && memcmp(s->name, type.p, type.n) == 0))
            return i;
    }
}

/* Holding the lock (or before any other thread knows the table). */
static odto_metric *add(type_table *t, odto_slice type)
{
    if (t->n >= t->max)
        return t->other;
    size_t i = find(t, type);
    if (t->slots[i])
        return t->slots[i]->submitted;
    type_slot *s = calloc(1, sizeof *s);
    if (!s)
        return t->other;
    memcpy(s->name, type.p, type.n);
    s->n = (uint16_t)type.n;
    s->submitted = counter(t, s->name);
    if (!s->submitted) {
        free(s);
        return t->other;
    }
    t->n++;
    __atomic_store_n(&t->slots[i], s, __ATOMIC_RELEASE); /* pairs with find() */
    return s->submitted;
}

static bool usable(odto_slice type)
{
    return type.n > 0 && type.n < TYPE_LABEL_MAX && !memchr(type.p, 0, type.n);
}

int types_init(type_table *t, odto_host *h, size_t max_seen, odto_error *err)
{
    memset(t, 0, sizeof *t);
    t->host = h;
    pthread_mutex_init(&t->lock, NULL);
    t->other = counter(t, "other");
    if (!t->other)
        return odto_fail(err, -ENOMEM, "no memory for the metric " NAME);
    odto_handler_ref refs[64];
    size_t n = h->api->handlers(h, refs, 64);
    t->max = TYPE_SLOTS / 2;
    for (size_t i = 0; i < n && i < 64; i++)
        for (const char *const *type = refs[i].types; type && *type; type++)
            if (usable(odto_slice_str(*type)))
                add(t, odto_slice_str(*type));
    if (t->n + max_seen < t->max)
        t->max = t->n + max_seen;
    return 0;
}

void types_free(type_table *t)
{
    if (!t->host)
        return;
    for (size_t i = 0; i < TYPE_SLOTS; i++)
        free(t->slots[i]);
    pthread_mutex_destroy(&t->lock);
    t->host = NULL;
}

odto_metric *types_counter(type_table *t, odto_slice type, bool learn)
{
    if (!usable(type))
        return t->other;
    /* acquire: pairs with the release store in add() */
    const type_slot *s = __atomic_load_n(&t->slots[find(t, type)], __ATOMIC_ACQUIRE);
    if (s)
        return s->submitted;
    if (!learn)
        return t->other;
    pthread_mutex_lock(&t->lock);
    odto_metric *m = add(t, type);
    pthread_mutex_unlock(&t->lock);
    return m;
}
