/* fakehost.h — a host of the test's own making, to run one service plugin against: a scripted route, a log of
 * what was settled, HTTP requests without sockets, timers that fire when told.
 *
 * One fakehost a test (check runs each in a process of its own). Calls may come from any thread; the lists
 * are read by the test's thread when the plugin is quiet. */
#ifndef TESTS_FAKEHOST_H
#define TESTS_FAKEHOST_H

#include <odto/plugin.h>
#include <pthread.h>

#define FAKE_MAX 4096

typedef struct fake_settled {
    odto_lease lease;
    odto_verdict verdict;
    char why[512];
} fake_settled;

typedef struct fake_publish {
    odto_publish_done *done;
    void *arg;
    size_t first, n; /* in events */
} fake_publish;

typedef struct fake_metric {
    char key[256]; /* name, or name{value} */
    odto_metric cell;
} fake_metric;

typedef struct fakehost {
    odto_host host;
    odto_host_api api;
    odto_http_api http;
    const odto_plugin *plugin;
    void *self;
    odto_config config;
    pthread_mutex_t lock;

    /* options, "name" "value" pairs, NULL-terminated, set before fakehost_init */
    const char *const *options;

    /* publishing */
    bool has_route;
    int publish_rc;     /* what publish returns */
    int publish_result; /* what done says */
    bool hold;          /* done comes with fakehost_release */
    odto_route_stats route_stats;
    odto_event *events[FAKE_MAX];
    size_t n_events;
    fake_publish held[FAKE_MAX];
    size_t n_held;

    /* consuming */
    fake_settled settled[FAKE_MAX];
    size_t n_settled;
    uint32_t prefetch; /* last one asked for */

    odto_store_ref stores[8];
    const char *store_options[8];
    size_t n_stores;
    odto_handler_ref handlers[8];
    size_t n_handlers;

    fake_metric metrics[256];
    size_t n_metrics;

    odto_http_route routes[64];
    char served[8][64]; /* addresses */
    size_t n_routes, n_served;
    const char *cors;

    odto_timer *timer;
    bool stopping;
    size_t health_changes, failures;
    odto_thread *threads;
} fakehost;

/* A reply of the plugin. */
typedef struct fake_reply {
    int status;         /* 0: none yet */
    char headers[2048]; /* "Name: value\n" … */
    odto_buf body;      /* of a stream: all that was written */
    int retry_after;
    bool stream, stream_ended;
} fake_reply;

void fakehost_setup(fakehost *f, const odto_plugin *p);
/* init (asserts that it works) and start, whose result it returns. */
int fakehost_init(fakehost *f, odto_error *err);
int fakehost_start(fakehost *f, odto_error *err);
void fakehost_stop(fakehost *f); /* quiesce, stop, join, fini */
void fakehost_store(fakehost *f, const char *option, const odto_store_iface *iface, void *self);

/* Sends a request to the plugin; headers: "name" "value" pairs or NULL. The answer may come later. */
odto_http_request *fakehost_send(fakehost *f, const char *method, const char *target,
                                 const char *const *headers, odto_slice body);
/* The reply so far; waits up to 5 s for one. */
const fake_reply *fake_reply_of(odto_http_request *rq);
bool fake_replied(const odto_http_request *rq);
/* As text of the body. */
const char *fake_body(odto_http_request *rq);
const char *fake_header(odto_http_request *rq, const char *name); /* NULL: not set */
/* Scripted streams: what stream_write returns (0: writes); the client going away. */
void fake_stream_blocked(odto_http_request *rq, int rc);
void fake_stream_client_gone(odto_http_request *rq);
/* Convenience: send and wait. */
odto_http_request *fakehost_get(fakehost *f, const char *target);
odto_http_request *fakehost_post(fakehost *f, const char *target, const char *body);

void fakehost_release(fakehost *f, int result); /* answer all publishes that are held */
void fakehost_fire(fakehost *f);                /* the timer, if it is armed */
/* Value of a metric, "name" or "name{value}"; -1 when there is none. */
int64_t fakehost_metric(fakehost *f, const char *key);
/* An event as a route gives it; valid: parsed already. */
odto_event *fakehost_event(fakehost *f, const char *body, bool valid);
/* A lease of a new event, seq counts up. */
odto_lease fakehost_lease(fakehost *f, const char *body, bool valid);
/* Waits up to 5 s for *n to be at least want. */
bool fake_wait_count(const size_t *n, size_t want);

#endif
