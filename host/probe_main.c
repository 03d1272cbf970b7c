/* probe_main.c — odto-probe COPY MANIFEST SECTION: loads one plugin as the host would, checks its options,
 * calls init() and fini() with a host that offers nothing, and exits 0. What the plugin does wrong happens
 * here and not in the host. */
#include "host/loader.h"
#include "host/manifest.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

static bool no_log(odto_host *h, odto_level level)
{
    (void)h;
    (void)level;
    return false;
}

static void write_log(odto_host *h, odto_level level, const odto_uuid *correlation, const char *fmt, ...)
{
    (void)h;
    (void)level;
    (void)correlation;
    (void)fmt;
}

static odto_metric *no_metric(odto_host *h, odto_metric_type type, const char *name, const char *help,
                              const char *labels, const char *const *values, const double *bounds,
                              size_t n_bounds)
{
    static uint64_t buckets[256];
    static odto_metric cell = {.buckets = buckets};
    (void)h, (void)type, (void)name, (void)help, (void)labels, (void)values;
    cell.bounds = bounds;
    cell.n_bounds = n_bounds < 255 ? n_bounds : 255;
    return &cell;
}

static int no_metric_fn(odto_host *h, odto_metric_type type, const char *name, const char *help,
                        const char *labels, const char *const *values, double (*fn)(void *arg), void *arg)
{
    (void)h, (void)type, (void)name, (void)help, (void)labels, (void)values, (void)fn, (void)arg;
    return 0;
}

static odto_route *no_route(odto_host *h, const char *topic)
{
    (void)h, (void)topic;
    return NULL;
}

static int no_store(odto_host *h, const char *option, odto_store_ref *out, odto_error *err)
{
    (void)h, (void)out;
    return odto_fail(err, -ENOENT, "init() asked for the store of option %s: that belongs into start()",
                     option);
}

static size_t no_handlers(odto_host *h, odto_handler_ref *out, size_t max)
{
    (void)h, (void)out, (void)max;
    return 0;
}

static int no_thread(odto_host *h, const char *name, void (*fn)(void *arg), void *arg, odto_thread **out)
{
    (void)h, (void)name, (void)fn, (void)arg, (void)out;
    return -EPERM; /* init() may not start threads */
}

static odto_timer *no_timer(odto_host *h, void (*fn)(void *arg), void *arg)
{
    static char timer;
    (void)h, (void)fn, (void)arg;
    return (odto_timer *)&timer;
}

static void set_no_timer(odto_timer *t, int64_t delay_ns)
{
    (void)t, (void)delay_ns;
}

static void free_no_timer(odto_timer *t)
{
    (void)t;
}

static int64_t now(odto_host *h)
{
    (void)h;
    return odto_now_ns();
}

static int64_t unix_ms(odto_host *h)
{
    (void)h;
    return odto_unix_ms();
}

static const odto_host_api probe_api = {.size = sizeof probe_api,
                                        .abi_major = ODTO_ABI_MAJOR,
                                        .abi_minor = ODTO_ABI_MINOR,
                                        .log_enabled = no_log,
                                        .log = write_log,
                                        .metric = no_metric,
                                        .metric_fn = no_metric_fn,
                                        .route = no_route,
                                        .store = no_store,
                                        .handlers = no_handlers,
                                        .thread_start = no_thread,
                                        .timer_new = no_timer,
                                        .timer_set = set_no_timer,
                                        .timer_free = free_no_timer,
                                        .now = now,
                                        .unix_ms = unix_ms};

static int fail(const odto_error *err)
{
    char text[1400];
    fprintf(stderr, "%s\n", odto_error_text(err, text, sizeof text));
    return 1;
}

static int trial(const odto_plugin *d, const odto_config *config)
{
    odto_error err = {0};
    static odto_host host = {.api = &probe_api};
    if (d->ops->check_config && d->ops->check_config(config, &err) < 0)
        return fail(&err);
    void *self = NULL;
    if (d->ops->init(&host, config, &self, &err) < 0) {
        if (!err.code)
            odto_fail(&err, -EIO, "init() failed");
        return fail(&err);
    }
    d->ops->fini(self);
    return 0;
}

static int trial_of_section(const odto_plugin *d, manifest *m, const char *file, const char *section,
                            manifest_errors *errs)
{
    const manifest_section *s = m ? manifest_instance(m, section) : NULL;
    if (!s) {
        fprintf(stderr, "%s has no instance %s\n", file, section);
        return 1;
    }
    const odto_config *config = NULL;
    if (manifest_config(m, s, d->options, d->n_options, &config, errs) == 0)
        return trial(d, config);
    manifest_errors_print(errs, stderr);
    return 1;
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fputs("Usage: odto-probe COPY.so MANIFEST SECTION\n", stderr);
        return 64;
    }
    struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    static struct image image;
    odto_error err = {0};
    snprintf(image.path, sizeof image.path, "%s", argv[1]);
    snprintf(image.source, sizeof image.source, "%s", argv[1]);
    if (loader_inspect(&image, &err) < 0 || loader_open(&image, &err) < 0)
        return fail(&err);
    manifest *m = NULL;
    manifest_errors errs = {0};
    manifest_load(argv[2], &m, &errs);
    int r = trial_of_section(image.descriptor, m, argv[2], argv[3], &errs);
    manifest_unref(m); /* a leak would fail the trial in a sanitizer's build */
    manifest_errors_free(&errs);
    return r;
}
