/* rogue.c — a job handler that misbehaves as its payload says: {"do":"crash"} and so on. With -DBLOCKING its
 * start() works until the job is done, else it ends jobs at once or on a thread of its own. */
#include <odto/plugin.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct rogue {
    odto_host *host;
    odto_metric *begun;
    _Atomic bool stop;
};

static const odto_option options[] = {
    {.name = "greeting", .type = ODTO_OPT_STRING, .default_value = "hello", .help = "First word of results."},
    {.name = "words", .type = ODTO_OPT_LIST, .default_value = "a,b", .help = "Not used."},
};

static int rogue_check(const odto_config *c, odto_error *err)
{
    if (strcmp(odto_config_str(c, "greeting"), "rude") == 0)
        return odto_fail(err, -22, "greeting: the rogue is never that rude");
    return 0;
}

static const odto_config *config;

static int rogue_init(odto_host *h, const odto_config *c, void **self, odto_error *err)
{
    struct rogue *r = calloc(1, sizeof *r);
    if (!r)
        return odto_fail(err, -12, "no memory");
    r->host = h;
    config = c;
    *self = r;
    return 0;
}

static int rogue_start(void *self, odto_error *err)
{
    struct rogue *r = self;
    (void)err;
    const char *values[] = {"x"};
    r->begun = r->host->api->metric(r->host, ODTO_COUNTER, "rogue_begun_total", "Attempts begun.", "label",
                                    values, NULL, 0);
    odto_log(r->host, ODTO_INFO, "rogue: pid %d says %s", (int)getpid(), odto_config_str(config, "greeting"));
    return 0;
}

static void end(odto_run *run, odto_run_end how, const char *text)
{
    odto_slice s = odto_slice_str(text);
    odto_run_result result = {.end = how, .result = s, .error = s, .log = odto_slice_str("said nothing")};
    run->finish(run, &result);
}

static bool wants(const odto_run *run, const char *what)
{
    return memmem(run->job->payload.p, run->job->payload.n, what, strlen(what)) != NULL;
}

static void corrupt(void)
{
    char *volatile p = malloc(24);
    memset(p, 0x5a, 24 + 64); /* over the next chunk's head */
    free(p);
    for (int i = 0; i < 1000; i++)
        free(malloc(24));
    abort(); /* an allocator that did not notice */
}

static void leak(const odto_run *run)
{
    while (!run->should_stop(run)) {
        char *p = malloc(1 << 20);
        if (p)
            memset(p, 1, 1 << 20);
        usleep(500);
    }
}

static void misbehave(odto_run *run)
{
    if (wants(run, "crash"))
        *(volatile int *)8 = 1;
    if (wants(run, "heap"))
        corrupt();
    if (wants(run, "exit"))
        exit(0);
    if (wants(run, "leak"))
        leak(run);
    if (wants(run, "once") && run->job->attempt + run->job->lost < 2)
        abort();
    bool again = wants(run, "first") && run->job->attempt + run->job->lost > 1; /* the first attempt only */
    for (volatile int i = 0; wants(run, "spin") && !again; i++)
        ;
    while (wants(run, "block") && !again)
        pause();
    if (wants(run, "wait"))
        while (!run->should_stop(run))
            usleep(1000);
    if (wants(run, "nap"))
        usleep(20000);
}

static void one(struct rogue *r, odto_run *run)
{
    char text[160];
    odto_metric_add(r->begun, 1);
    misbehave(run);
    if (wants(run, "progress"))
        run->progress(run, 0.5, odto_slice_str("half way"));
    if (wants(run, "refuse"))
        end(run, ODTO_RUN_DISCARD, "refused");
    else if (wants(run, "wait"))
        end(run, ODTO_RUN_RETRY, "told to stop");
    else {
        snprintf(text, sizeof text, "{\"greeting\":\"%s\",\"attempt\":%u,\"lost\":%u,\"pid\":%d}",
                 odto_config_str(config, "greeting"), run->job->attempt, run->job->lost, (int)getpid());
        end(run, ODTO_RUN_OK, text);
    }
}

static void rogue_run(void *self, odto_run **runs, size_t n)
{
    for (size_t i = 0; i < n; i++)
        one(self, runs[i]);
}

static void rogue_stop(void *self)
{
    (void)self;
}

static void rogue_fini(void *self)
{
    free(self);
}

static const odto_plugin_ops ops = {.size = sizeof ops,
                                    .check_config = rogue_check,
                                    .init = rogue_init,
                                    .start = rogue_start,
                                    .stop = rogue_stop,
                                    .fini = rogue_fini};
static const odto_handler_iface handler = {.size = sizeof handler,
#ifdef BLOCKING
                                           .flags = ODTO_HANDLER_BLOCKING,
#endif
                                           .start = rogue_run};

ODTO_PLUGIN_DEFINE("rogue", "1.0", ODTO_KIND_HANDLER, .summary = "Test fixture.", .options = options,
                   .n_options = sizeof options / sizeof options[0], .ops = &ops, .handler = &handler);
