/* http.h — the host's HTTP and WebSocket server: what the host core calls.
 *
 * The host owns listening sockets and connections; instances ("owners", known by their odto_host handle)
 * register routes through http_api.serve() and may be replaced under load:
 *
 *     plain reload                               successor beside the old one
 *     http_gate(s, old, true)   requests wait    http_stage(s, new, old)   serve() of new is kept back
 *     quiesce, http_drained(s, old, deadline)    start(new) → serve()
 *     save, stop                                 http_gate(s, old, true)   requests wait
 *     http_stage(s, new, old)                    quiesce, http_drained(s, old, deadline)
 *     start(new) → serve()                       http_handover(s, old, new)
 *     http_handover(s, old, new) waiting         stop(old), http_unserve(s, old, deadline)
 *       requests go to new, in order
 *     http_unserve(s, old, deadline)             (failure: http_unserve(new), http_gate(old, false))
 *
 * Threads: N event loop threads ("http/0"…) run MHD and the quick handlers; M worker threads ("http-work/0"…)
 * run handlers registered with ODTO_HTTP_BLOCKING and /metrics; one thread ("ws") runs libwebsockets once a
 * WebSocket route is there. Every function here may be called from any other thread. One mutex (server)
 * protects listeners, routes, owners and waiting requests; no callback is made under it.
 *
 * What can't be changed in libmicrohttpd 0.9.75: a request whose request line or header block it can't parse
 * (or that overflows its buffer, max_header + 2 KiB) is answered by the library itself with a short HTML page
 * (400, 413, 414, 431, 505) without X-Correlation-Id. Everything that parses gets JSON. */
#ifndef HOST_HTTP_H
#define HOST_HTTP_H

#include <odto/http.h>
#include <odto/plugin.h>

typedef struct http_server http_server;

/* One finished request, for the access log. Slices are valid during the call. */
typedef struct http_access {
    odto_slice peer, method, path;
    const odto_uuid *correlation;
    const char *service, *route; /* route: the pattern, "-" without one */
    int status;                  /* 0: the client left before the answer */
    size_t body_in, body_out;
    int64_t duration_ns;
} http_access;

/* What the server asks of the core. All may be NULL; all are called without a lock held. */
typedef struct http_hooks {
    void *arg;
    void *(*self)(void *arg, const odto_host *owner); /* first argument of the owner's handlers */
    /* Around every call into an owner's code, on the thread that makes it (crash attribution, watchdog). */
    void (*enter)(void *arg, const odto_host *owner);
    void (*leave)(void *arg, const odto_host *owner);
    /* Readiness of an owner / of the whole host (owner NULL): true, or a reason. Must not block. */
    bool (*ready)(void *arg, const odto_host *owner, char *reason, size_t size);
    bool (*live)(void *arg, char *reason, size_t size);
    int (*metrics)(void *arg, odto_buf *out); /* Prometheus text; runs on a worker thread */
    /* The histogram http_request_duration_seconds{service,route,method,code}; asked for once per combination
     * and kept. NULL: not counted. Any thread. */
    odto_metric *(*histogram)(void *arg, const char *service, const char *route, const char *method,
                              int code);
    /* The histogram odto_loop_turn_seconds{loop}, asked for once a loop. NULL: not counted. */
    odto_metric *(*turns)(void *arg, const char *loop);
    void (*access)(void *arg, const http_access *a); /* NULL: no access log, and none of its cost */
    void (*log)(void *arg, odto_level level, const odto_uuid *correlation, const char *text);
} http_hooks;

typedef struct http_config {
    const char *version;      /* for /healthz; kept by reference */
    unsigned threads;         /* event loops; 1 */
    unsigned workers;         /* threads for blocking handlers; 4 */
    unsigned worker_queue;    /* requests waiting for a worker; beyond: 503. 256 */
    unsigned max_connections; /* per listener unless it says otherwise; beyond: 503 and close. 4096 */
    unsigned max_streams;     /* open event streams; beyond: 503. 256 */
    unsigned max_websockets;  /* open WebSocket connections; beyond: 503. 1024 */
    unsigned gate_queue;      /* requests waiting for a gated owner; beyond: 503. 4096 */
    size_t max_header;        /* request line and headers, bytes; beyond: 431. 6144 */
    size_t ws_queue; /* bytes queued per WebSocket connection; beyond: ws_send gives -EAGAIN. 1 MiB */
    int64_t header_timeout_ns; /* from accept to the end of the first request's headers, and from the request
                                  line to the end of the headers of a later one. 10 s */
    int64_t body_timeout_ns;   /* from the headers to the end of the body. 30 s */
    int64_t idle_timeout_ns; /* between two requests of a connection, or without progress in sending. 75 s */
    int64_t gate_timeout_ns; /* a request waits this long for a gated owner, then 503. 30 s */
    int64_t ws_ping_ns;      /* silence before a ping. 30 s */
    int64_t ws_dead_ns;      /* silence before the connection counts as dead. 60 s */
    http_hooks hooks;
} http_config;

void http_config_default(http_config *c);

/* Options of one listener, where they differ from the defaults. Strings are copied; empty is as NULL. */
typedef struct http_listener_options {
    unsigned max_connections; /* 0: the server's */
    const char *tls_cert,
        *tls_key;           /* PEM files; both or none. WebSocket routes need a listener without TLS */
    const char *auth_token; /* every request but health needs "Authorization: Bearer TOKEN" */
} http_listener_options;

/* The accessor the ABI table needs; defined by whoever links this library (the host core, a test). */
http_server *host_http(const odto_host *h);

/* The table for odto_host_api.http. */
extern const odto_http_api http_api;

/* A server without listeners and threads. Config is copied. NULL with *err filled. */
http_server *http_new(const http_config *c, odto_error *err);
/* Start the threads; serve() may come before or after. 0 or -errno. */
int http_start(http_server *s, odto_error *err);
/* Stop accepting, finish what is in flight ("Connection: close"), close all, join the threads, at the latest
 * at the deadline (monotonic ns): then what is left is answered 503 or cut. Frees the server. */
void http_stop(http_server *s, int64_t deadline_ns);

/* Open a listener with options before an owner serves on it; serve() opens one with the defaults otherwise.
 * -EADDRINUSE says who has the port where /proc tells. */
int http_listen(http_server *s, const char *address, const http_listener_options *o, odto_error *err);
/* The port really bound (for ":0"), or -ENOENT. */
int http_port(http_server *s, const char *address);
/* Close the listeners that no owner serves on (after a reload moved one). Their number. */
int http_prune(http_server *s);

/* true: requests of the owner wait (bounded in number and time) until false, or until http_handover; its
 * streams are ended and its WebSocket connections closed with 1012, so that those clients come again and
 * wait. This holds for every route whatever its flags, since the owner's code may be stopped meanwhile;
 * built-in ones go on. */
void http_gate(http_server *s, const odto_host *owner, bool closed);
/* What next serves takes over old's routes: they don't clash, and answer only after http_handover. */
int http_stage(http_server *s, const odto_host *next, const odto_host *old);
/* In one step: next's routes replace old's, waiting requests go to next, next is not gated. */
int http_handover(http_server *s, const odto_host *old, const odto_host *next);
/* Requests given to the owner and not answered yet (streams and WebSocket connections apart). */
size_t http_inflight(http_server *s, const odto_host *owner);
/* Wait until there are none; of a gated owner also no stream and no WebSocket connection: after 0 nothing of
 * it will be called any more until the gate opens. Or -ETIMEDOUT. */
int http_drained(http_server *s, const odto_host *owner, int64_t deadline_ns);
/* Forget the owner: remove its routes, answer what waits for it 503, end its streams, close its WebSocket
 * connections with 1012. On return no code of the owner runs or will run on a thread of this server: 0. At
 * the deadline its unanswered requests are answered 503 on its behalf (a late reply is dropped): -ETIMEDOUT
 * when a thread is still inside the owner's code. Never from a handler. */
int http_unserve(http_server *s, const odto_host *owner, int64_t deadline_ns);

#endif
