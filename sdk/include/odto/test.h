/* odto/test.h — a host of the test's own making, to run one plugin against: the events it publishes and how
 * it settles leases are recorded and scripted, HTTP requests come without sockets, the clock stands until the
 * test moves it, every allocation and every call of the host can be made to fail.
 *
 * The plugin's code is linked into the test (its source files beside the test's) or opened with dlopen; the
 * test gives its descriptor to odto_test_setup. Link with `pkg-config --libs odto-test`.
 *
 * One odto_test holds one instance. Functions are for the test's thread; what the plugin calls may come from
 * any thread, the lists are complete when the plugin is quiet (odto_test_wait_count). What a real host would
 * abort for (a second reply, a lease settled twice) ends the process with a message on stderr, and so does a
 * list that overflows. */
#ifndef ODTO_TEST_H
#define ODTO_TEST_H

#include <odto/plugin.h>
#include <pthread.h>

/* Declares the descriptor of the plugin that is linked into this test, under a name of the test's. */
#define ODTO_TEST_PLUGIN(name) extern const odto_plugin name __asm__("odto_plugin")

#define ODTO_TEST_MAX 4096 /* events, leases and settled leases of one test */

typedef struct odto_test_settled {
    odto_lease lease;
    odto_verdict verdict;
    char why[512];
} odto_test_settled;

typedef struct odto_test_publish {
    odto_publish_done *done;
    void *arg;
    size_t first, n; /* in events */
} odto_test_publish;

typedef struct odto_test_metric {
    char key[256]; /* name, or name{value} */
    odto_metric cell;
    double (*fn)(void *arg); /* asked for its value where not NULL */
    void *arg;
} odto_test_metric;

struct odto_route {
    char topic[64];
};

/* The fake host. What stands under "script" may be changed at any time by the test; what stands under
 * "recorded" is there to be looked at. */
typedef struct odto_test {
    odto_host host;
    odto_host_api api;
    odto_http_api http;
    const odto_plugin *plugin;
    void *self;
    odto_config config;
    pthread_mutex_t lock; /* everything below that plugin threads touch */
    pthread_cond_t fired; /* timer_free waits for a running callback */

    /* script: options ("name", "value", … NULL), set before odto_test_init; may be NULL */
    const char *const *options;
    const char *data_dir;
    /* script: publishing */
    bool has_route;     /* false: the manifest has no route at all */
    int publish_rc;     /* what publish returns */
    int publish_result; /* what done says */
    bool hold;          /* done comes with odto_test_release */
    odto_route_stats route_stats;
    /* script: what the manifest names */
    odto_store_ref stores[8];
    const char *store_options[8];
    size_t n_stores;
    odto_handler_ref handlers[8];
    size_t n_handlers;

    /* recorded: events published, and the topic of each */
    odto_event *events[ODTO_TEST_MAX];
    const char *topics[ODTO_TEST_MAX];
    size_t n_events;
    odto_test_publish held[ODTO_TEST_MAX];
    size_t n_held;
    /* recorded: leases given and settled, the last prefetch asked for */
    odto_event *leased[ODTO_TEST_MAX];
    size_t n_leased;
    odto_test_settled settled[ODTO_TEST_MAX];
    size_t n_settled;
    uint32_t prefetch;
    /* recorded: the rest */
    odto_test_metric metrics[256];
    size_t n_metrics;
    odto_http_route routes[64];
    char served[8][64]; /* addresses */
    size_t n_routes, n_served;
    const char *cors;
    size_t health_changes, failures;
    odto_error failure;  /* the last one given to fail() */
    size_t n_threads;    /* started and not joined */
    size_t n_timers;     /* made and not freed */
    size_t n_watches;    /* descriptors watched and not unwatched */
    odto_buf log;        /* lines, the first 64 KiB */
    size_t calls;        /* of host functions that can fail, since odto_test_fail_call */
    const char *refused; /* name of the one that was made to fail, or NULL */

    /* the library's own */
    size_t fail_call;
    struct odto_route topic_table[16];
    size_t n_topics;
    uint64_t seq;
    bool stopping, stands, replaced;
    int64_t clock_ns, clock_offset, unix_base_ms, mono_base;
    odto_timer *timers, *firing;
    odto_watch *watches;
    pthread_t firing_thread;
    odto_thread *threads;
    odto_http_request *requests;
    struct odto_test_fd *fds;
    struct odto_test_job *jobs;
} odto_test;

/* ---- life ---------------------------------------------------------------------------------- */

/* Everything as a fresh host would have it: routes exist, publishing works, the clock stands at now. */
void odto_test_setup(odto_test *t, const odto_plugin *p);
/* Options checked as the manifest's would be, check_config, init. 0, or the error the manifest or the plugin
 * gives. */
int odto_test_init(odto_test *t, odto_error *err);
int odto_test_options(odto_test *t, odto_error *err); /* only the first of these */
int odto_test_start(odto_test *t, odto_error *err);
odto_health odto_test_health(odto_test *t);
/* quiesce (5 s), stop, join, fini. A plugin that leaves something in hand fails the test. */
void odto_test_stop(odto_test *t);
/* What follows an init without, or a start that failed: stop, join, fini. */
void odto_test_give_up(odto_test *t);
/* What a reload does: quiesce, save, stop, fini, then init, restore, start of a new instance. */
int odto_test_reload(odto_test *t, odto_error *err);
/* Frees what was recorded; the plugin has been stopped, or never came up. */
void odto_test_free(odto_test *t);

/* ---- clock --------------------------------------------------------------------------------- */

/* Moves host->now and unix_ms by ns; timers that become due are called, in order, each at its time. */
void odto_test_advance(odto_test *t, int64_t ns);
/* Calls the next timer, moving the clock to its time; false: none is armed. */
bool odto_test_fire(odto_test *t);
/* Let the clock run with the machine's (advance still puts it forward). Timers wait for advance or fire. */
void odto_test_clock_runs(odto_test *t);
/* Until *n is at least want: true; false after 5 s of the machine's time. */
bool odto_test_wait_count(const size_t *n, size_t want);

/* ---- events -------------------------------------------------------------------------------- */

/* An event as a route gives it; valid: parsed already. */
odto_event *odto_test_event(odto_test *t, const char *body, bool valid);
/* A lease of a new event of the first consumed topic. */
odto_lease odto_test_lease(odto_test *t, const char *body, bool valid);
/* The same, and handed to the plugin. */
void odto_test_deliver(odto_test *t, const char *body, bool valid);
size_t odto_test_unsettled(odto_test *t);
void odto_test_release(odto_test *t, int result); /* answer all publishes that are held */

/* ---- stores, metrics, log ------------------------------------------------------------------- */

void odto_test_store(odto_test *t, const char *option, const odto_store_iface *iface, void *self);
/* Value of a metric, "name" or "name{value}"; -1 when there is none. */
int64_t odto_test_metric_value(odto_test *t, const char *key);
bool odto_test_logged(odto_test *t, const char *text);

/* ---- jobs: for handlers --------------------------------------------------------------------- */

typedef struct odto_test_job {
    odto_run run;
    odto_job job;
    odto_test *host;
    struct odto_test_job *next;
    char *type, *payload, *result, *error; /* result, error: NUL-terminated when ended */
    odto_run_end end;
    int64_t delay_ns;
    double progress; /* the last one reported, -1 none */
    size_t ended;    /* 1 when finished; atomic */
    bool should_stop;
    pthread_t thread;
    bool has_thread;
} odto_test_job;

/* Begins one attempt of a job; payload is JSON. A handler that blocks gets a thread. */
odto_test_job *odto_test_run(odto_test *t, const char *type, const char *payload);
/* Waits up to 5 s for its end; a job that does not end fails the test. */
const odto_test_job *odto_test_ended(odto_test_job *j);
/* Ask the handler to end it early. */
void odto_test_cancel(odto_test_job *j);

/* ---- HTTP ---------------------------------------------------------------------------------- */

/* A reply of the plugin. */
typedef struct odto_test_reply {
    int status;         /* 0: none yet */
    char headers[2048]; /* "Name: value\n" … */
    odto_buf body;      /* of a stream: all that was written */
    int retry_after;
    bool stream, stream_ended;
} odto_test_reply;

/* Sends a request to the plugin's route; headers: "name", "value" pairs or NULL. The answer may come later.
 * Without such a route the test fails. */
odto_http_request *odto_test_send(odto_test *t, const char *method, const char *target,
                                  const char *const *headers, odto_slice body);
odto_http_request *odto_test_get(odto_test *t, const char *target);
odto_http_request *odto_test_post(odto_test *t, const char *target, const char *body); /* JSON */
bool odto_test_replied(const odto_http_request *rq);
/* Waits up to 5 s for the reply; none fails the test. Valid until odto_test_free. */
const odto_test_reply *odto_test_reply_of(odto_http_request *rq);
const char *odto_test_body(odto_http_request *rq);
const char *odto_test_header(odto_http_request *rq, const char *name); /* NULL: not set */
/* Scripted streams: what stream_write returns from now on; the client going away. */
void odto_test_stream_blocked(odto_http_request *rq, int rc);
void odto_test_client_gone(odto_http_request *rq);

/* ---- faults -------------------------------------------------------------------------------- */

/* The nth call from now (1: the next) of a host function that can fail, fails; 0: none. */
void odto_test_fail_call(odto_test *t, size_t nth);
/* The nth allocation from now by code of the plugin fails, and with all_after each later one; 0: none. What
 * the fake host allocates does not count. Per process. */
void odto_test_fail_malloc(size_t nth, bool all_after);
/* Count only what code in [from, to) allocates, by itself or through libc (strdup …); 0, 0: all of the
 * plugin's side, libraries too. */
void odto_test_malloc_range(uintptr_t from, uintptr_t to);
/* Allocations of the plugin since odto_test_fail_malloc; whether one was made to fail. */
size_t odto_test_mallocs(void);
bool odto_test_malloc_failed(void);

/* ---- descriptors ----------------------------------------------------------------------------- */

size_t odto_test_fds(odto_test *t); /* in the descriptor store */

#endif
