/* isolate_config.c — see isolate_shared.h. Pure functions. */
#include "host/arena.h"
#include "host/isolate_shared.h"
#include "host/wire.h"

static void put_value(odto_buf *b, const odto_value *v)
{
    wire_str(b, v->s);
    wire_i64(b, v->i);
    odto_buf_put(b, &v->f, sizeof v->f);
    wire_u32(b, v->list ? (uint32_t)v->n + 1 : 0);
    for (size_t i = 0; v->list && i < v->n; i++)
        wire_str(b, v->list[i]);
    wire_u32(b, (uint32_t)v->line);
    wire_u32(b, (uint32_t)v->column);
}

void isolate_put_config(odto_buf *b, const odto_config *c)
{
    wire_str(b, c->instance);
    wire_str(b, c->file);
    wire_u32(b, (uint32_t)c->line);
    wire_str(b, c->data_dir);
    wire_str(b, c->host_name);
    wire_u32(b, (uint32_t)c->n);
    for (size_t i = 0; i < c->n; i++)
        put_value(b, &c->values[i]);
}

static const char *keep(struct wire_in *in, arena *a)
{
    const char *s = wire_get_str(in);
    return s ? arena_strdup(a, s) : NULL;
}

static bool get_list(struct wire_in *in, arena *a, odto_value *v)
{
    size_t n = wire_get_u32(in);
    if (n > in->n + 1)
        return false;
    const char **list = n ? arena_alloc(a, n * sizeof *list) : NULL;
    if (n && !list)
        return false;
    for (size_t i = 0; i + 1 < n; i++)
        list[i] = keep(in, a);
    v->list = list;
    v->n = n ? n - 1 : 0;
    return true;
}

odto_config *isolate_get_config(struct wire_in *in, struct arena *a, const odto_plugin *d)
{
    odto_config *c = arena_alloc(a, sizeof *c);
    if (!c)
        return NULL;
    c->instance = keep(in, a);
    c->file = keep(in, a);
    c->line = (int)wire_get_u32(in);
    c->data_dir = keep(in, a);
    c->host_name = keep(in, a);
    c->n = wire_get_u32(in);
    c->options = d->options;
    odto_value *values = c->n == d->n_options ? arena_alloc(a, (c->n + 1) * sizeof *values) : NULL;
    if (!values)
        return NULL;
    c->values = values;
    for (size_t i = 0; i < c->n; i++) {
        values[i].s = keep(in, a);
        values[i].i = wire_get_i64(in);
        wire_get(in, &values[i].f, sizeof values[i].f);
        if (!get_list(in, a, &values[i]))
            return NULL;
        values[i].line = (int)wire_get_u32(in);
        values[i].column = (int)wire_get_u32(in);
    }
    return in->bad ? NULL : c;
}
