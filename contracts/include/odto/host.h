/* odto/host.h — what the host offers a plugin: one sized table, reached through the handle given to init().
 * Every function may be called from any thread of the instance unless said otherwise, and belongs to that
 * instance: the host keeps a ledger of threads, timers, leases, routes and descriptors by instance and
 * generation. */
#ifndef ODTO_HOST_H
#define ODTO_HOST_H

#include <odto/plugin.h>

typedef enum odto_level { ODTO_DEBUG, ODTO_INFO, ODTO_WARN, ODTO_ERROR } odto_level;

/* ---- metrics: cells are plain atomics owned by the host; increments cost one atomic add ---- */
typedef enum odto_metric_type { ODTO_COUNTER, ODTO_GAUGE, ODTO_HISTOGRAM } odto_metric_type;
typedef struct odto_metric {
    int64_t value;     /* atomic; counter, gauge */
    uint64_t *buckets; /* atomics; histogram: n_bounds + 1 */
    const double *bounds;
    size_t n_bounds;
    uint64_t sum_nano; /* atomic; histogram: sum * 1e9 */
} odto_metric;

static inline void odto_metric_add(odto_metric *m, int64_t n)
{
    __atomic_fetch_add(&m->value, n, __ATOMIC_RELAXED); /* a statistic: pairs with nothing */
}
static inline void odto_metric_set(odto_metric *m, int64_t v)
{
    __atomic_store_n(&m->value, v, __ATOMIC_RELAXED); /* a statistic: pairs with nothing */
}
void odto_metric_observe(odto_metric *m, double seconds); /* histogram */

typedef struct odto_thread odto_thread;
typedef struct odto_timer odto_timer;
typedef struct odto_watch odto_watch;

typedef struct odto_store_ref { /* a store an option names */
    const odto_store_iface *iface;
    void *self;
    const char *name;
} odto_store_ref;

/* One configured handler: [handler NAME] of the manifest. */
typedef struct odto_handler_ref {
    const char *name;         /* instance name */
    const char *const *types; /* job types, NULL-terminated */
    const odto_handler_iface *iface;
    void *self;
    uint32_t concurrency; /* attempts at once */
    uint32_t max_attempts;
    int64_t timeout_ns, backoff_ns, backoff_max_ns;
    void *priv; /* the host's */
} odto_handler_ref;

struct odto_host_api {
    uint32_t size;
    uint16_t abi_major, abi_minor;
    const odto_http_api *http;

    /* log */
    bool (*log_enabled)(odto_host *h, odto_level level);
    void (*log)(odto_host *h, odto_level level, const odto_uuid *correlation, const char *fmt, ...)
        ODTO_PRINTF(4, 5);

    /* supervision */
    void (*fail)(odto_host *h, bool permanent,
                 const odto_error *err);  /* this instance can't go on: restart it (or not) */
    void (*beat)(odto_host *h);           /* the calling thread is alive (watchdog) */
    bool (*stopping)(odto_host *h);       /* threads should return soon */
    void (*health_changed)(odto_host *h); /* ask health() again now */

    /* metrics: name "gateway_jobs_accepted_total"; labels NULL or "type" (comma-separated names). Same name
     * and labels → same family */
    odto_metric *(*metric)(odto_host *h, odto_metric_type type, const char *name, const char *help,
                           const char *labels, const char *const *values, const double *bounds,
                           size_t n_bounds);
    /* a gauge (or counter) whose value is asked for at scrape time; fn must not block */
    int (*metric_fn)(odto_host *h, odto_metric_type type, const char *name, const char *help,
                     const char *labels, const char *const *values, double (*fn)(void *arg), void *arg);

    /* events */
    odto_route *(*route)(odto_host *h, const char *topic); /* NULL: no such route in the manifest */
    const char *(*route_name)(const odto_route *r);
    /* An event around a copy of body. With ODTO_EVENT_VALID the header is parsed from it. NULL without memory
     * or -EINVAL header. */
    odto_event *(*event_new)(odto_host *h, odto_slice body, uint32_t flags);
    void (*event_ref)(odto_event *e);
    void (*event_unref)(odto_event *e);
    /* Publish n events. On 0 the route holds a reference of its own of each, beside the caller's, and done
     * comes; else nothing happened: -EAGAIN full, -ENOSPC/-EIO disk, -ENOTCONN the broker of a route without
     * a spool is away, -ECANCELED stopping. done may be NULL. With n = 0 nothing is published: 0, or what
     * refuses events now for another reason than that there are many. */
    int (*publish)(odto_host *h, odto_route *r, odto_event *const *events, size_t n, uint32_t flags,
                   odto_publish_done *done, void *arg);
    void (*settle)(odto_host *h, const odto_lease *leases, size_t n, odto_verdict v, const char *why);
    void (*route_stats)(const odto_route *r, odto_route_stats *out);
    /* At most this many leases at once for this consumer of r (default: the route's prefetch); 0 pauses. */
    void (*prefetch)(odto_host *h, odto_route *r, uint32_t n);

    /* stores and handlers named in the manifest */
    int (*store)(odto_host *h, const char *option, odto_store_ref *out, odto_error *err);
    size_t (*handlers)(odto_host *h, odto_handler_ref *out,
                       size_t max); /* all of them; fixed while the instance runs */

    /* threads, timers, clocks */
    /* A joinable thread named "INSTANCE/name" with all signals blocked; fn returns soon after stop() was
     * called. */
    int (*thread_start)(odto_host *h, const char *name, void (*fn)(void *arg), void *arg, odto_thread **out);
    void (*thread_join)(odto_host *h,
                        odto_thread *t); /* optional: the host joins what is left after stop() */
    /* One-shot on the host's timer thread; fn must be quick. Setting again moves it. */
    odto_timer *(*timer_new)(odto_host *h, void (*fn)(void *arg), void *arg);
    void (*timer_set)(odto_timer *t, int64_t delay_ns); /* < 0 disarms */
    void (*timer_free)(odto_timer *t); /* after it returned fn is not running and will not run */
    int64_t (*now)(odto_host *h);      /* monotonic ns (a virtual clock under the test library) */
    int64_t (*unix_ms)(odto_host *h);

    /* descriptors handed over from generation to generation (pty masters, listeners) */
    int (*fd_put)(odto_host *h, const char *name, int fd, odto_slice note); /* takes the descriptor */
    int (*fd_take)(odto_host *h, const char *name, odto_buf *note);         /* fd or -ENOENT */
    size_t (*fd_names)(odto_host *h, char (*names)[64], size_t max);

    /* ---- since ABI 1.1 ---- */
    /* Watch a descriptor on the thread that also runs the callbacks of odto_ws_ops: ready(arg) is called
     * there whenever fd can be read (an epoll descriptor makes one watch serve many). fd stays the caller's,
     * and open until unwatch.
     * -ENOTSUP without WebSockets. unwatch: after it returned ready is not running and will not run; at the
     * latest in stop(). */
    int (*watch)(odto_host *h, int fd, void (*ready)(void *arg), void *arg, odto_watch **out,
                 odto_error *err);
    void (*unwatch)(odto_watch *w);
    /* In stop(): another generation comes after this one (reload, roll-back), so what lives longer than a
     * generation goes to fd_put; else it ends here. */
    bool (*replaced)(odto_host *h);
};

/* The handle. One per instance generation. */
struct odto_host {
    const odto_host_api *api;
    void *priv;
};

#define odto_log(h, level, ...)                             \
    do {                                                    \
        if ((h)->api->log_enabled((h), (level)))            \
            (h)->api->log((h), (level), NULL, __VA_ARGS__); \
    } while (0)
#define odto_log_for(h, level, correlation, ...)                     \
    do {                                                             \
        if ((h)->api->log_enabled((h), (level)))                     \
            (h)->api->log((h), (level), (correlation), __VA_ARGS__); \
    } while (0)

/* ---- bridges: a transport for routes ------------------------------------------------------- */
/* A bridge instance carries topics named by routes with `transport = INSTANCE`. The host calls publish from
 * any thread and gives the bridge a sink for what arrives. */
typedef struct odto_bridge_sink {
    /* Deliver n events (the sink takes its own references). tag identifies the delivery when it is settled,
     * which may happen before this returns. Never blocks: the bridge respects credit. */
    void (*deliver)(void *sink, odto_event *const *events, const uint64_t *tags, const bool *redelivered,
                    size_t n);
    void *sink;
} odto_bridge_sink;

/* One event that waits at the other side, as people look at it. */
typedef struct odto_bridge_item {
    uint64_t id;     /* never 0; the same as long as the event waits */
    int64_t unix_ms; /* when it was published; 0 unknown */
    odto_slice body; /* valid during the call */
    bool redelivered;
} odto_bridge_item;

/* What may not be there is NULL. The host calls subscribe, unsubscribe and credit of a topic from one thread
 * at a time, the rest from any; none of them with a lock held. */
typedef struct odto_bridge_iface {
    uint32_t size;
    /* Same contract as host publish; done only after the other side confirmed. -EAGAIN: too much is under
     * way; -ENOTCONN: the other side is away. What was accepted and then can't be confirmed for long ends
     * with a negative done; it may arrive all the same. With n = 0, done is NULL and only the answer counts.
     */
    int (*publish)(void *self, const char *topic, odto_event *const *events, size_t n,
                   odto_publish_done *done, void *arg);
    /* Deliver to *sink (copied) from now on; connecting and reconnecting is the bridge's. After unsubscribe
     * returned the sink is not called any more, and what was not settled goes back. */
    int (*subscribe)(void *self, const char *topic, const odto_bridge_sink *sink, uint32_t prefetch,
                     odto_error *err);
    void (*unsubscribe)(void *self, const char *topic);
    void (*credit)(void *self, const char *topic, uint32_t prefetch);
    /* ACK or RETURN; tags of an earlier subscription are ignored. */
    void (*settle)(void *self, const char *topic, const uint64_t *tags, size_t n, odto_verdict v);
    /* depth: what waits at the other side, as last heard; must not block. 0 or -ENOTCONN. */
    int (*stats)(void *self, const char *topic, odto_route_stats *out);
    /* Look at up to max waiting events: from the one with id `from` on, or behind it when from is its id + 1,
     * or from the start for 0; fn returns false to stop. May block for seconds. 0 or -errno with *err. */
    int (*peek)(void *self, const char *topic, uint64_t from, size_t max,
                bool (*fn)(void *arg, const odto_bridge_item *item), void *arg, odto_error *err);
    /* Remove those with these ids, or all for NULL. How many, or -errno with *err. */
    int64_t (*remove)(void *self, const char *topic, const uint64_t *ids, size_t n, odto_error *err);
} odto_bridge_iface;

#endif
