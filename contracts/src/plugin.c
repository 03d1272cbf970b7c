/* plugin.c — what plugin.h and host.h promise a plugin as functions: options by name, histograms.
 * Pure, any thread. */
#include <odto/plugin.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const odto_value *odto_config_get(const odto_config *c, const char *name)
{
    for (size_t i = 0; i < c->n; i++) {
        if (strcmp(c->options[i].name, name) == 0)
            return &c->values[i];
    }
    fprintf(stderr, "odto: %s asks for the option \"%s\", which its table does not have\n", c->instance,
            name);
    abort();
}

const char *odto_config_str(const odto_config *c, const char *name)
{
    return odto_config_get(c, name)->s;
}

int64_t odto_config_int(const odto_config *c, const char *name)
{
    return odto_config_get(c, name)->i;
}

bool odto_config_bool(const odto_config *c, const char *name)
{
    return odto_config_get(c, name)->i != 0;
}

void odto_metric_observe(odto_metric *m, double seconds)
{
    size_t i = 0;
    while (i < m->n_bounds && !(seconds <= m->bounds[i])) /* NaN counts in the last bucket */
        i++;
    /* statistics: pair with nothing */
    __atomic_fetch_add(&m->buckets[i], 1, __ATOMIC_RELAXED);
    if (seconds > 0)
        __atomic_fetch_add(&m->sum_nano, (uint64_t)(seconds * 1e9), __ATOMIC_RELAXED);
}
