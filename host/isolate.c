/* isolate.c — see isolate.h: which plugins are isolated, and the descriptor of one as its worker tells it. */
#include "host/isolate_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MANY 4096 /* options or topics: more is a damaged frame */

/* ---- the default ---- */

/* A line with this name in a file only root or we can write. */
static bool listed(const char *path, const char *name)
{
    struct stat st;
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    bool ours = fstat(fileno(f), &st) == 0 && S_ISREG(st.st_mode) &&
                (st.st_uid == 0 || st.st_uid == geteuid()) && !(st.st_mode & S_IWOTH);
    char line[256];
    bool found = false;
    while (ours && !found && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\r\n")] = '\0';
        found = strcmp(line, name) == 0;
    }
    fclose(f);
    return found;
}

static bool shipped(const char *file)
{
    const char *slash = strrchr(file, '/');
    char path[4200], name[256];
    if (!slash)
        return false;
    snprintf(path, sizeof path, "%.*s/trusted", (int)(slash - file), file);
    snprintf(name, sizeof name, "%s", slash + 1);
    char *dot = strrchr(name, '.');
    if (dot)
        *dot = '\0';
    return listed(path, name);
}

bool isolate_wanted(const manifest_section *s, odto_kind kind, const char *file)
{
    const odto_value *isolate = odto_config_get(s->host, "isolate"),
                     *trusted = odto_config_get(s->host, "trusted");
    if (isolate->s)
        return isolate->i == 1; /* index in its choices */
    if (kind != ODTO_KIND_HANDLER)
        return false;
    return trusted->s ? !trusted->i : !shipped(file);
}

/* ---- the descriptor ---- */

static const char *keep(struct wire_in *in, arena *a)
{
    const char *s = wire_get_str(in);
    return s ? arena_strdup(a, s) : NULL;
}

/* NULL-terminated; NULL when there are none. */
static const char *const *get_names(struct wire_in *in, arena *a)
{
    uint32_t n = wire_get_u32(in);
    if (!n || n > MANY)
        return NULL;
    const char **names = arena_alloc(a, (n + 1) * sizeof *names);
    for (uint32_t i = 0; names && i < n; i++)
        names[i] = keep(in, a);
    return names;
}

static const odto_option *get_options(struct wire_in *in, arena *a, size_t *n_options)
{
    uint32_t n = wire_get_u32(in);
    odto_option *o = n && n <= MANY ? arena_alloc(a, n * sizeof *o) : NULL;
    for (uint32_t i = 0; o && i < n; i++) {
        o[i].name = keep(in, a);
        o[i].type = (odto_option_type)wire_get_u32(in);
        o[i].default_value = keep(in, a);
        o[i].min = wire_get_i64(in);
        o[i].max = wire_get_i64(in);
        o[i].choices = keep(in, a);
        o[i].flags = wire_get_u32(in);
        o[i].env = keep(in, a);
        o[i].help = keep(in, a);
        in->bad |= !o[i].name || o[i].type > ODTO_OPT_FLOAT;
    }
    *n_options = o ? n : 0;
    return o;
}

/* Only callbacks the plugin has: the host asks for state, or reconfigures in place, only then. */
static void choose_ops(struct isolated *iso)
{
    iso->ops = proxy_ops;
    if (!(iso->has & ISOLATE_HAS_RESTORE))
        iso->ops.restore = NULL;
    if (!(iso->has & ISOLATE_HAS_HANDLE))
        iso->ops.handle = NULL;
    if (!(iso->has & ISOLATE_HAS_RECONFIGURE))
        iso->ops.reconfigure = NULL;
    if (!(iso->has & ISOLATE_HAS_SAVE))
        iso->ops.save = NULL;
}

static int build(struct isolated *iso, const struct image *image, struct wire_in *in, odto_error *err)
{
    odto_plugin *d = &iso->descriptor;
    wire_get_u32(in); /* the handler's flags: towards the processor a proxy never blocks */
    d->size = sizeof *d;
    d->head = image->head;
    d->flags = wire_get_u32(in) & ODTO_PLUGIN_EXCLUSIVE;
    iso->has = wire_get_u32(in);
    d->summary = keep(in, &iso->memory);
    d->consumes = get_names(in, &iso->memory);
    d->produces = get_names(in, &iso->memory);
    d->options = get_options(in, &iso->memory, &d->n_options);
    if (in->bad)
        return odto_fail(err, -EPROTO, "%s: its worker described it in a way the host does not understand",
                         image->source);
    if (d->head.kind == ODTO_KIND_HANDLER)
        d->handler = &seat_iface;
    choose_ops(iso);
    d->ops = &iso->ops;
    return 0;
}

static int refuse(const char *name, const char *why, odto_error *err)
{
    odto_fail(err, -ENOTSUP, "isolate: %s can't run in a process of its own", name);
    odto_error_detail(err, "%s", why);
    odto_error_hint(err, "write isolate = thread for it");
    return -ENOTSUP;
}

/* What a worker does not offer, as far as the descriptor tells; the rest is refused when it is asked for. */
static int check_needs(const char *name, const odto_plugin *d, odto_error *err)
{
    size_t topics = 0;
    char why[200];
    while (d->consumes && d->consumes[topics])
        topics++;
    for (size_t i = 0; i < d->n_options; i++)
        if (d->options[i].type == ODTO_OPT_STORE) {
            snprintf(why, sizeof why, "its option %s names a store, which only threads of the host can call",
                     d->options[i].name);
            return refuse(name, why, err);
        }
    return topics <= 16 ? 0 : refuse(name, "it consumes more than 16 topics", err);
}

int proxy_describe(struct proxy *p, int64_t deadline_ns, struct proxy_call *call, odto_error *err)
{
    odto_buf *b = proxy_call_begin(p, WIRE_DESCRIBE, call);
    wire_str(b, p->image->path);
    wire_str(b, p->image->source);
    return proxy_call_end(p, call, "the loading", deadline_ns, err);
}

static int64_t trial_deadline(const struct core *core)
{
    return odto_now_ns() + odto_config_int(manifest_host(core->manifest), "probe_timeout");
}

int isolate_open(struct core *core, const char *name, struct image *image, odto_error *err)
{
    if (image->head.kind != ODTO_KIND_SERVICE && image->head.kind != ODTO_KIND_HANDLER)
        return refuse(name, "stores and bridges are called by other plugins on their own threads", err);
    struct isolated *iso = calloc(1, sizeof *iso);
    struct proxy *p = iso ? proxy_new(core, NULL, image, name, err) : NULL;
    struct proxy_call call = {0};
    int r = p ? proxy_describe(p, trial_deadline(core), &call, err) : -ENOMEM;
    struct wire_in in = {call.more.p, call.more.n, false};
    if (r == 0)
        r = build(iso, image, &in, err);
    if (r == 0)
        r = check_needs(name, &iso->descriptor, err);
    odto_buf_free(&call.more);
    if (p)
        proxy_free(p);
    if (r == 0) {
        image->isolated = iso;
        image->descriptor = &iso->descriptor;
        return 0;
    }
    if (iso)
        arena_free(&iso->memory);
    free(iso);
    return err && err->code ? err->code : odto_fail(err, r, "no memory");
}

void isolate_close(struct image *image)
{
    if (!image->isolated)
        return;
    arena_free(&image->isolated->memory);
    free(image->isolated);
    image->isolated = NULL;
    image->descriptor = NULL;
}

int image_check_config(struct core *core, const struct image *image, const odto_config *c, odto_error *err)
{
    const odto_plugin *d = image->descriptor;
    if (!image->isolated)
        return d->ops->check_config ? d->ops->check_config(c, err) : 0;
    if (!(image->isolated->has & ISOLATE_HAS_CHECK))
        return 0;
    int64_t deadline = trial_deadline(core);
    struct proxy *p = proxy_new(core, NULL, image, c->instance, err);
    struct proxy_call call = {0}, check = {0};
    int r = p ? proxy_describe(p, deadline, &call, err) : -ENOMEM;
    if (r == 0) {
        isolate_put_config(proxy_call_begin(p, WIRE_CHECK, &check), c);
        r = proxy_call_end(p, &check, "check_config()", deadline, err);
    }
    odto_buf_free(&call.more);
    odto_buf_free(&check.more);
    if (p)
        proxy_free(p);
    return r;
}
