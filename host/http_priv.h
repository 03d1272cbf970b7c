/* http_priv.h — shapes shared by the files of the HTTP server (http*.c, ws*.c); see http.h for the outside.
 *
 * Who may touch what:
 *   server->lock   listeners, mounts and their tables, owners, waiting (parked) requests
 *   loop thread    everything of a loop, its connections and its requests, except what a reply brings
 *   atomics        counters of owners, a request's state, a loop's post list
 * A request is created by its loop, answered once from any thread, destroyed by its loop. */
#ifndef HOST_HTTP_PRIV_H
#define HOST_HTTP_PRIV_H

#include "http.h"
#include "ws.h"

#include <microhttpd.h>
#include <odto/host.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/socket.h>

typedef struct http_loop http_loop;

enum {
    MAX_PARAMS = 8,         /* {name} segments of one pattern */
    MAX_REPLY_HEADERS = 32, /* of one reply, ours included */
    MAX_CODES = 16,         /* distinct status codes with a histogram per route and method */
    REQUEST_ARENA = 1536,   /* bytes inside a request for its strings, body and reply */
    MAX_SPARE = 256,        /* finished requests a loop keeps for reuse */
    MAX_LINGER = 256,       /* closed connections a loop still drains */
    PEEK_MAX = 16384,       /* request head looked at to find a WebSocket upgrade */
};

enum method { M_GET, M_HEAD, M_POST, M_PUT, M_PATCH, M_DELETE, M_OPTIONS, M_OTHER, M_COUNT };

/* ---- routes (http_route.c) ------------------------------------------------------------------ */

typedef struct histogram_cell {
    _Atomic int code; /* 0: free; set last */
    odto_metric *metric;
} histogram_cell;

typedef struct http_route {
    char *pattern;
    enum method method;
    uint32_t flags;
    bool builtin;
    unsigned params; /* number of {name} segments */
    odto_http_fn *fn;
    const odto_ws_ops *ws;
    struct ws_route *ws_route; /* set while the WebSocket engine knows it */
    histogram_cell cells[M_COUNT][MAX_CODES];
} http_route;

/* One serve(): an owner's routes on a listener. Counted: the listener's list, its table, each request. */
typedef struct http_mount {
    struct http_mount *next;
    struct http_listener *listener;
    struct http_owner *owner; /* NULL: built in */
    _Atomic unsigned refs;
    bool removed; /* server->lock: not in the table any more */
    bool staged;  /* not in the table yet */
    char *service, *cors;
    size_t max_body;
    http_route none; /* counts requests without a route */
    size_t n;
    http_route routes[];
} http_mount;

typedef struct route_ref {
    http_mount *mount;
    http_route *route;
} route_ref;

typedef struct route_match {
    http_mount *mount; /* with a reference; NULL when nothing matched */
    http_mount *face;  /* with a reference: of a built-in route, whose CORS policy holds; else NULL */
    http_route *route;
    uint32_t allow;      /* bits of the methods this path has, when none fits */
    bool other_protocol; /* the path is there, but for WebSocket (or the other way round) */
    odto_slice params[MAX_PARAMS];
    unsigned n_params;
} route_match;

enum method method_of(odto_slice name);
const char *method_name(enum method m);
int hex_digit(char c); /* -1: none */
/* Does a comma-separated list have this word, whatever its case? */
bool list_has(odto_slice list, const char *word, size_t n);
/* Split-free match of a normalised path; params get the raw segments in order. */
bool pattern_match(const char *pattern, bool prefix, odto_slice path, odto_slice *params, unsigned *n);
bool pattern_same(const char *a, const char *b); /* equal but for parameter names */
/* "" when fine, else what is wrong with a pattern. */
const char *pattern_check(const char *pattern, unsigned *params);
/* Name of the k-th parameter of the pattern. */
odto_slice pattern_param(const char *pattern, unsigned k);
/* http_api.c: percent-decoded into the request's arena where it must be; plus: '+' is a blank */
odto_slice request_decode(odto_http_request *rq, odto_slice s, bool plus);
/* More specific first; at the same path an owner's before a built-in one. */
int route_compare(const http_route *a, const http_route *b);

/* ---- owners and listeners (http.c) ---------------------------------------------------------- */

typedef struct http_owner {
    struct http_owner *next;
    http_server *server;
    const odto_host *host;
    void *self;
    _Atomic int refs;
    bool gated;                /* server->lock */
    struct http_owner *stages; /* server->lock: whose routes it will take over */
    _Atomic long inflight;     /* given to it, not answered */
    _Atomic long open;         /* its streams and WebSocket connections */
    _Atomic long held;         /* anything that may still call its code */
    _Atomic int waiters;       /* threads waiting for one of the two to fall to 0 */
} http_owner;

/* A descriptor in a loop's epoll set. */
#define LISTEN_EVENTS (EPOLLIN | EPOLLEXCLUSIVE)

typedef struct http_watch {
    void (*ready)(struct http_loop *l, struct http_watch *w, uint32_t events);
} http_watch;

typedef struct listener_watch {
    http_watch watch;
    struct http_listener *listener;
} listener_watch;

typedef struct http_listener {
    struct http_listener *next;
    http_server *server;
    char *address; /* as serve() names it */
    struct sockaddr_storage addr;
    socklen_t addr_len;
    int fd, port;
    unsigned max_connections;
    char *tls_cert, *tls_key; /* PEM text */
    char *auth_token;
    _Atomic bool broken; /* no loop can serve it: bad certificate */
    _Atomic unsigned connections;
    _Atomic unsigned ws_routes; /* > 0: heads are looked at before MHD gets the connection */
    http_mount *mounts;         /* newest first */
    route_ref *table;           /* more specific first; has room for the staged ones */
    size_t n_table;
    listener_watch *watches; /* one per loop */
} http_listener;

/* ---- loops (http_loop.c) -------------------------------------------------------------------- */

typedef struct http_post {
    struct http_post *next;
    void (*run)(struct http_loop *l, struct http_post *p);
} http_post;

typedef struct http_engine { /* one MHD daemon, driven by one loop */
    http_watch watch;
    struct http_engine *next;
    struct MHD_Daemon *daemon;
    const http_listener *tls; /* NULL: the plain one */
    bool due;
} http_engine;

typedef struct http_conn {
    struct http_conn *next, *prev;
    struct http_loop *loop;
    http_listener *listener;
    http_engine *engine;
    struct MHD_Connection *mhd;
    odto_http_request *rq; /* being read or answered */
    int fd;
    int64_t since; /* when the present phase began */
    bool first;    /* no request yet */
    bool linger;   /* drain what the client still sends after the close */
    bool cut;      /* shut down by us */
    char peer[46];
} http_conn;

typedef struct wake_watch {
    http_watch watch;
    int fd;
} wake_watch;

struct http_loop {
    http_server *server;
    unsigned index;
    pthread_t thread;
    int epfd;
    wake_watch wake;
    http_engine *engines; /* the plain one first */
    _Atomic(http_post *) posts;
    _Atomic bool notified;      /* a wake-up is on its way */
    _Atomic unsigned posting;   /* threads inside loop_post */
    odto_http_request *current; /* whose handler runs on this thread */
    http_listener *adding;      /* of the connection being given to MHD */
    http_engine *adding_engine;
    http_conn *conns;
    odto_http_request *active;
    odto_http_request *spare;
    struct http_peek *peeks;
    struct http_linger *lingers;
    unsigned n_conns, n_spare, n_lingers, n_peeks;
    int64_t now, next_sweep, sweep_ns;
    odto_metric *turns;   /* how long it does not look for new requests; NULL: not counted */
    int64_t accept_again; /* out of descriptors until then */
    bool running;         /* its thread was started */
    bool quit;
};

typedef struct http_worker_pool http_worker_pool;

struct http_server {
    http_config config;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* an owner's counter fell to 0, a call was done */
    http_listener *listeners;
    http_listener *retired; /* closed, but connections still name them */
    http_mount *replaced;   /* by a handover, until their owner is unserved */
    http_owner *owners;
    odto_http_request *parked, **parked_tail;
    _Atomic unsigned n_parked;
    http_loop *loops;
    http_worker_pool *workers;
    _Atomic(struct ws_engine *) ws;
    _Atomic bool stopping;
    _Atomic unsigned streams;
    _Atomic unsigned connections; /* of all listeners, WebSockets apart */
};

/* ---- requests (http_request.c, http_reply.c) ------------------------------------------------- */

enum { RQ_ANSWERED = 1, RQ_ABANDONED = 2, RQ_DONE = 4, RQ_RELEASED = 8 };

typedef struct arena_chunk {
    struct arena_chunk *next;
} arena_chunk;

typedef struct http_reply {
    int status;
    unsigned n_headers;
    odto_http_header headers[MAX_REPLY_HEADERS];
    odto_slice body;
    void (*body_free)(void *);
    void *body_arg;
    odto_http_stream *stream;
    bool has_type, close;
} http_reply;

struct odto_http_request {
    uint32_t magic;
    http_loop *loop;
    http_conn *conn;
    struct MHD_Connection *mhd;     /* NULL: a WebSocket upgrade */
    void *wsi;                      /* of an upgrade, while its headers can be read */
    odto_http_request *next, *prev; /* loop->active */
    odto_http_request *park_next;
    http_post post;
    _Atomic int state;
    bool was_parked;   /* waited for an owner */
    bool complete;     /* the body is all here */
    bool seen_head;    /* the handler was called for this request before */
    bool dispatched;   /* given to its owner */
    bool inline_reply; /* answered inside its handler on the loop thread */
    bool suspended;    /* in MHD's sense */
    bool queued;       /* response given to MHD */
    bool too_large;    /* chunked body over the limit: swallowed, then 413 */
    bool body_in_arena, bad_target, bad_correlation;
    bool held; /* counts in owner->held */
    enum method method_id;
    http_mount *mount, *face;
    http_route *route;
    http_owner *owner; /* of the dispatch */
    int64_t t0, park_until;
    odto_uuid correlation;
    char correlation_text[ODTO_UUID_LEN + 1];
    odto_slice method, path, query, peer;
    odto_slice params[MAX_PARAMS];
    unsigned n_params;
    odto_buf body;
    int64_t length; /* announced; -1: chunked */
    size_t body_seen;
    http_reply reply;
    arena_chunk *chunks;
    size_t arena_used;
    _Alignas(16) char arena[REQUEST_ARENA];
};

#define REQUEST_MAGIC 0x6f687271u

/* http.c */
int api_serve(odto_host *h, const char *address, const char *service, const odto_http_route *routes, size_t n,
              const char *cors, size_t max_body, odto_error *err);
http_owner *owner_find(http_server *s, const odto_host *host); /* with lock; no reference */
http_owner *owner_get(http_server *s, const odto_host *host);  /* with lock; made when missing */
void owner_unref(http_owner *o);
void owner_answered(http_owner *o);
void owner_hold(http_owner *o);
/* Hold it for a stream or WebSocket connection, unless it is gated; owner_close ends that. NULL is the host.
 */
bool owner_open(http_owner *o);
void owner_close(http_owner *o);
bool owner_gated(http_owner *o);
void owner_release(http_owner *o);
void mount_unref(http_mount *m);
/* http_mount.c */
void listener_rebuild(http_listener *ln); /* with lock */
/* With lock: add, in front of the clash check; takes m's first reference on success. */
int listener_mount(http_listener *ln, http_mount *m, odto_error *err);
/* With lock: take o's mounts off the listener onto *out. Their number. */
size_t listener_unmount(http_listener *ln, const http_owner *o, http_mount **out);
/* Find the route for a request; takes a reference on the mount found: without a route it is one that
 * stands for the listener (metrics, CORS). Takes the lock. */
void listener_match(http_listener *ln, enum method m, odto_slice path, bool websocket, route_match *out);
http_owner *owner_of_host(http_server *s, const odto_host *h); /* with a reference; NULL without memory */
/* The WebSocket engine, started when there is none yet. On the core's threads, one at a time. */
int ws_engine_get(http_server *s, struct ws_engine **out, odto_error *err);
void hook_enter(http_server *s, const http_owner *o);
void hook_leave(http_server *s, const http_owner *o);
void http_log(http_server *s, odto_level level, const odto_uuid *correlation, const char *fmt, ...)
    ODTO_PRINTF(4, 5);

/* Wait until *counter is 0. 0 or -ETIMEDOUT. Takes the lock. */
int owner_wait(http_owner *o, _Atomic long *counter, int64_t deadline_ns);

/* http_gate.c */
/* With lock, on the request's loop: make it wait for its owner. false when too many do. */
bool parked_push(http_server *s, odto_http_request *rq);
/* Take waiting requests off the list, in order: those of an owner, or those of a loop that waited too long.
 */
odto_http_request *parked_take(http_server *s, const http_owner *o, const http_loop *l);
void parked_resume(http_server *s, odto_http_request *list);
void streams_call(http_loop *l, void *arg); /* for loop_call_all: arg is the owner */

/* http_metrics.c */
void request_count(odto_http_request *rq, int status);

/* http_listen.c */
int listener_open(http_server *s, const char *address, const http_listener_options *o, http_listener **out,
                  odto_error *err);
void listener_free(http_listener *ln);

/* http_builtin.c: a mount with /healthz /readyz /livez /metrics for a listener; NULL without memory. */
http_mount *builtin_mount(http_listener *ln);
/* http_mount.c */
http_mount *mount_new(http_listener *ln, http_owner *o, const char *service, const odto_http_route *routes,
                      size_t n, const char *cors, size_t max_body, odto_error *err);
/* Readiness of what is served on a listener: 0, or 503 with the reason. */
int listener_ready(http_listener *ln, char *reason, size_t size);

/* http_loop.c */
int loop_init(http_loop *l, http_server *s, unsigned index, odto_error *err);
void loop_destroy(http_loop *l);
void *loop_main(void *loop);
void loop_post(http_loop *l, http_post *p);
bool loop_is_self(const http_loop *l);
/* Run fn on each loop and wait until all have: 0, or -ETIMEDOUT at the deadline (it may still run later). A
 * loop whose thread is not there yet is done by the caller. */
int loop_call_all(http_server *s, void (*fn)(http_loop *l, void *arg), void *arg, int64_t deadline_ns);
int loop_watch(http_loop *l, int fd, uint32_t events, http_watch *w);
void loop_unwatch(http_loop *l, int fd);
http_engine *loop_engine(http_loop *l, const http_listener *ln);
void loop_add_connection(http_loop *l, http_listener *ln, int fd, const struct sockaddr *addr, socklen_t len);
void loop_stop_begin(http_loop *l, void *arg); /* idle connections go, the rest is marked for closing */
void loop_cut_all(http_loop *l, void *arg);

/* http_conn.c: connections from accept to close. */
void accept_ready(http_loop *l, http_watch *w, uint32_t events);
void conn_notify(void *cls, struct MHD_Connection *mhd, void **context,
                 enum MHD_ConnectionNotificationCode code);
void conn_sweep(http_loop *l);
void conn_cut(http_conn *c);
/* Write a complete JSON error on the socket, for what MHD can't answer, and shut the connection down. */
void conn_raw_error(http_conn *c, int status, const char *error, const char *message);
void socket_raw_error(int fd, int status, const char *error, const char *message);
void socket_raw_refusal(int fd, const odto_uuid *correlation, int status, const char *error,
                        const char *message);
void linger_start(http_loop *l, int fd);
void linger_sweep(http_loop *l, bool all);

/* http_peek.c: connections of listeners with WebSocket routes, until their head is complete. */
void peek_start(http_loop *l, http_listener *ln, int fd, const struct sockaddr_storage *addr, socklen_t len);
void peek_sweep(http_loop *l, bool all);
void peek_again(http_loop *l, void *arg); /* gates changed: look at waiting upgrades again */

/* http_request.c */
void *request_begin(void *cls, const char *uri, struct MHD_Connection *mhd);
enum MHD_Result request_handle(void *cls, struct MHD_Connection *mhd, const char *url, const char *method,
                               const char *version, const char *data, size_t *n, void **req);
void request_completed(void *cls, struct MHD_Connection *mhd, void **req,
                       enum MHD_RequestTerminationCode code);
size_t request_no_unescape(void *cls, struct MHD_Connection *mhd, char *s);
void request_redispatch(http_loop *l, http_post *p);
/* Answer a waiting request with an error; it was taken off the list. */
void request_unpark(odto_http_request *rq, int status, const char *message);
void request_run_blocking(odto_http_request *rq); /* on a worker */
void request_done(odto_http_request *rq);         /* MHD has finished with it */
void request_destroy(odto_http_request *rq, http_loop *l);
void request_finish(odto_http_request *rq, int status); /* count and log an upgrade */
odto_http_request *request_new(http_loop *l);
/* Split target into path and query, normalise the path. 0, or -EINVAL. */
int request_target(odto_http_request *rq, odto_slice target);
void *request_alloc(odto_http_request *rq, size_t n);
char *arena_copy(odto_http_request *rq, odto_slice s);
/* Answer 503 all unanswered requests of owner (NULL: of all) on its behalf. */
void requests_abandon(http_loop *l, const http_owner *owner);

/* http_reply.c */
/* Claim the one answer: true exactly once. */
bool reply_claim(odto_http_request *rq);
/* The answer came after the host had answered on the owner's behalf: drop it. */
void reply_late(odto_http_request *rq);
/* Put the answer into the request; on its loop, or by who claimed it. */
void reply_set_error(odto_http_request *rq, int status, const char *error, const char *path,
                     const char *message, int retry_after_s);
void reply_set(odto_http_request *rq, int status, const odto_http_header *headers, size_t n_headers,
               odto_slice body, void (*body_free)(void *), void *body_arg);
/* MHD_queue_response(), which http_refused.c keeps for the library itself. Loop thread. */
enum MHD_Result response_queue(struct MHD_Connection *mhd, unsigned status, struct MHD_Response *response);
bool reply_queue(odto_http_request *rq); /* loop thread: give the response to MHD */
void reply_send(odto_http_request *rq);  /* the same, and resume the connection */
void reply_abandon(odto_http_request *rq);
/* The answer is in the request: hand it to the loop. The request must not be touched afterwards. */
void reply_give(odto_http_request *rq);

/* http_stream.c */
void streams_abort(http_loop *l, const http_owner *owner); /* end the owner's streams (NULL: all) */
struct MHD_Response *stream_response(odto_http_stream *st);
void stream_over(void *stream); /* loop thread; once */
void api_reply(odto_http_request *rq, int status, const odto_http_header *headers, size_t n_headers,
               odto_slice body, void (*body_free)(void *), void *body_arg);
void api_reply_error(odto_http_request *rq, int status, const char *error, const char *path,
                     const char *message, int retry_after_s);
odto_http_stream *api_reply_stream(odto_http_request *rq, int status, const odto_http_header *headers,
                                   size_t n_headers, size_t max_queued, void (*closed)(void *arg), void *arg);
int api_stream_write(odto_http_stream *s, odto_slice data);
void api_stream_end(odto_http_stream *s);

/* http_worker.c */
int workers_start(http_server *s, odto_error *err);
int worker_submit(http_server *s, odto_http_request *rq); /* 0, or -EAGAIN when the queue is full */
int workers_stop(http_server *s, int64_t deadline_ns);    /* -ETIMEDOUT: one hangs, the pool leaks */

#endif
