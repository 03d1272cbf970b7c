/* fixture.c — a small service with one fault, chosen when it is compiled (-DFAULT_x). It consumes the topic
 * fixture.in, counts in saved state, and serves GET /fixture on its listener:
 * {"generation":…,"build":…,"handled":…,"restored":…}. */
#include <odto/plugin.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef FIXTURE_BUILD
#define FIXTURE_BUILD "base"
#endif

struct fixture {
    odto_host *host;
    const odto_config *config;
    _Atomic uint64_t handled;
    uint64_t restored;
    atomic_bool served; /* a request, so what comes now is after the hand-over */
    odto_http_route routes[2];
};

#ifdef FAULT_EXPORTS
__attribute__((visibility("default"))) int fixture_extra = 1;
#endif

#ifdef FAULT_CONSTRUCTOR_CRASH
__attribute__((constructor)) static void crash_early(void)
{
    raise(SIGSEGV);
}
#endif

static const odto_option options[] = {
    {.name = "listen",
     .type = ODTO_OPT_ADDRESS,
     .flags = ODTO_OPTION_REQUIRED,
     .help = "Where GET /fixture is served."},
#ifdef FAULT_BAD_OPTIONS
    {.name = "Listen", .type = ODTO_OPT_STRING, .help = "A name that is none."},
    {.name = "many",
     .type = ODTO_OPT_INT,
     .default_value = "1000",
     .min = 1,
     .max = 10,
     .help = "Its default is too large."},
    {.name = "choice",
     .type = ODTO_OPT_ENUM,
     .default_value = "c",
     .choices = "a|b",
     .help = "Its default is no choice."},
    {.name = "choice", .type = ODTO_OPT_STRING},
#endif
    {.name = "crash",
     .type = ODTO_OPT_BOOL,
     .default_value = "no",
     .help = "With FAULT_HANDLE_CRASH: crash once started."},
    {.name = "slow",
     .type = ODTO_OPT_DURATION,
     .default_value = "0",
     .flags = ODTO_OPTION_LIVE,
     .help = "Time each event takes."},
#ifdef FAULT_NEEDS_OPTION
    {.name = "brand_new",
     .type = ODTO_OPT_STRING,
     .flags = ODTO_OPTION_REQUIRED,
     .help = "An option the manifest lacks."},
#endif
};

static int fixture_init(odto_host *h, const odto_config *c, void **self, odto_error *err)
{
#ifdef FAULT_INIT_CRASH
    raise(SIGSEGV);
#endif
#ifdef FAULT_INIT_HANG
    for (;;)
        pause();
#endif
#ifdef FAULT_INIT_FAIL
    return odto_fail(err, -EINVAL, "the fixture refuses to initialise");
#endif
    struct fixture *f = calloc(1, sizeof *f);
#ifdef FAULT_UNCHECKED
    f->restored = 1;
#endif
    if (!f)
        return odto_fail(err, -ENOMEM, "no memory");
    f->host = h;
    f->config = c;
    *self = f;
    return 0;
}

static int fixture_restore(void *self, uint32_t version, odto_slice blob, odto_error *err)
{
    struct fixture *f = self;
    if (version != 1 || blob.n != sizeof f->restored)
        return odto_fail(err, -EINVAL, "state of another version");
    memcpy(&f->restored, blob.p, sizeof f->restored);
    atomic_store(&f->handled, f->restored);
    return 0;
}

#ifdef FAULT_LEAK_KEY
static pthread_key_t *leaked_key;
static _Atomic unsigned ends;

/* Called when a thread of the host ends, long after this copy was replaced. */
static void at_thread_end(void *arg)
{
    (void)arg;
    atomic_fetch_add(&ends, 1);
}
#endif

static void serve(void *self, odto_http_request *rq)
{
    struct fixture *f = self;
#ifdef FAULT_LEAK_KEY
    pthread_setspecific(*leaked_key, f);
#endif
    char text[160];
    int n =
        snprintf(text, sizeof text, "{\"build\":\"%s\",\"handled\":%llu,\"restored\":%llu}", FIXTURE_BUILD,
                 (unsigned long long)atomic_load(&f->handled), (unsigned long long)f->restored);
#ifdef FAULT_CANARY
    atomic_store(&f->served, true); /* before the answer: afterwards the instance may be drained and freed */
    f->host->api->health_changed(f->host);
#endif
    f->host->api->http->reply(rq, 200, NULL, 0, odto_slice_of(text, (size_t)n), NULL, NULL);
}

#ifdef FAULT_LEAK_THREAD
static void *sleeper(void *arg)
{
    (void)arg;
    for (;;)
        pause();
    return NULL;
}
#endif

#if defined(FAULT_SPIN) || defined(FAULT_BLOCK)
static void stuck(void *arg)
{
    (void)arg;
    for (;;) {
#ifdef FAULT_BLOCK
        pause();
#endif
    }
}
#endif

#ifdef FAULT_HANDLE_CRASH
static void crash_soon(void *arg)
{
    (void)arg;
    raise(SIGSEGV);
}
#endif

#ifdef FAULT_LEAK_LEASE
static void published(void *arg, int result)
{
    (void)arg, (void)result;
}

/* What it will take as an event, and never settle. */
static void publish_one(struct fixture *f)
{
    const odto_host_api *api = f->host->api;
    odto_route *to = api->route(f->host, "fixture.in");
    odto_event *e = to ? api->event_new(f->host, odto_slice_str("{}"), 0) : NULL;
    if (e) {
        api->publish(f->host, to, &e, 1, 0, published, NULL);
        api->event_unref(e);
    }
}
#endif

static int fixture_start(void *self, odto_error *err)
{
    struct fixture *f = self;
#ifdef FAULT_SILENT
    if (!f->host->api->route(f->host, "fixture.out"))
        return -ENOENT;
#endif
#ifdef FAULT_START_FAIL
    return odto_fail(err, -EIO, "the fixture refuses to start");
#endif
#ifdef FAULT_LEAK_THREAD
    pthread_t id;
    pthread_create(&id, NULL, sleeper, NULL); /* behind the host's back */
#endif
#ifdef FAULT_LEAK_HOST_THREAD
    f->host->api->thread_start(f->host, "leak", (void (*)(void *))pause, NULL, NULL);
#endif
#ifdef FAULT_HANDLE_CRASH
    if (odto_config_bool(f->config, "crash"))
        f->host->api->thread_start(f->host, "crash", crash_soon, NULL, NULL);
#endif
#ifdef FAULT_LEAK_KEY
    static pthread_key_t key;
    pthread_key_create(&key, at_thread_end);
    pthread_setspecific(key, f); /* this thread's end calls it; serve() sets it in threads of the host */
    leaked_key = &key;
#endif
#ifdef FAULT_LEAK_TIMER
    f->host->api->timer_set(f->host->api->timer_new(f->host, (void (*)(void *))abort, NULL), 3600 * ODTO_SEC);
#endif
#ifdef FAULT_LEAK_LEASE
    publish_one(f);
#endif
#ifdef FAULT_CALL_HANG
    if (!f->host->api->timer_new(f->host, (void (*)(void *))abort, NULL))
        for (;;)
            pause();
#endif
    f->routes[0] = (odto_http_route){.method = "GET", .path = "/fixture", .fn = serve};
    return f->host->api->http->serve(f->host, odto_config_str(f->config, "listen"), "fixture", f->routes, 1,
                                     NULL, 0, err);
}

static void fixture_handle(void *self, const odto_lease *leases, size_t n)
{
    struct fixture *f = self;
#if defined(FAULT_SPIN) || defined(FAULT_BLOCK)
    stuck(f);
#endif
#ifdef FAULT_REJECTS
    f->host->api->settle(f->host, leases, n, ODTO_REJECT, "the fixture rejects everything");
    return;
#endif
#ifdef FAULT_LEAK_LEASE
    atomic_fetch_add(&f->handled, n);
    return;
#endif
    int64_t slow = odto_config_int(f->config, "slow");
    if (slow)
        usleep((useconds_t)(slow / 1000));
    atomic_fetch_add(&f->handled, n);
    f->host->api->settle(f->host, leases, n, ODTO_ACK, NULL);
}

static void fixture_health(void *self, odto_health *out)
{
    struct fixture *f = self;
    (void)f;
    out->ready = true;
#ifdef FAULT_NEVER_READY
    out->ready = false;
    snprintf(out->reason, sizeof out->reason, "the fixture is never ready");
#endif
#ifdef FAULT_CANARY
    if (atomic_load(&f->served)) {
        out->ready = false;
        snprintf(out->reason, sizeof out->reason, "the fixture sickens once it has served");
    }
#endif
}

static int fixture_quiesce(void *self, int64_t deadline_ns)
{
    (void)self;
    (void)deadline_ns;
    return 0;
}

static int fixture_save(void *self, uint32_t *version, odto_buf *blob, odto_error *err)
{
    struct fixture *f = self;
    uint64_t handled = atomic_load(&f->handled);
    *version = 1;
    return odto_buf_put(blob, &handled, sizeof handled) ? 0 : odto_fail(err, -ENOMEM, "no memory");
}

static int fixture_reconfigure(void *self, const odto_config *c, odto_error *err)
{
    struct fixture *f = self;
    (void)err;
    f->config = c;
    return 0;
}

static void fixture_stop(void *self)
{
    (void)self;
#ifdef FAULT_STOP_HANG
    for (;;)
        pause();
#endif
}

static void fixture_fini(void *self)
{
    free(self);
}

static const odto_plugin_ops ops = {.size = sizeof ops,
                                    .init = fixture_init,
                                    .restore = fixture_restore,
                                    .start = fixture_start,
                                    .handle = fixture_handle,
                                    .reconfigure = fixture_reconfigure,
                                    .health = fixture_health,
                                    .quiesce = fixture_quiesce,
                                    .save = fixture_save,
                                    .stop = fixture_stop,
#ifndef FAULT_NO_FINI
                                    .fini = fixture_fini
#endif
};

static const char *const consumes[] = {"fixture.in", NULL};

#ifdef FAULT_WRONG_ABI
#undef ODTO_ABI_MAJOR
#define ODTO_ABI_MAJOR 9
#endif
ODTO_PLUGIN_DEFINE("fixture", "1.0", ODTO_KIND_SERVICE, .summary = "Test fixture.", .options = options,
                   .n_options = sizeof options / sizeof options[0], .consumes = consumes, .ops = &ops);
