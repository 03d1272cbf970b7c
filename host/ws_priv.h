/* ws_priv.h — shapes shared by ws.c (engine, commands, lws) and ws_conn.c (connections). */
#ifndef HOST_WS_PRIV_H
#define HOST_WS_PRIV_H

#include "http_priv.h"

#include <libwebsockets.h>

enum {
    CHUNK = 64 * 1024,     /* bytes given to one lws_write */
    SMALL = 4096,          /* … at once, if there is nothing else to send */
    UNASKED = 16 * 1024,   /* bytes sent at once before the kernel is asked whether it has room */
    UNSENT = 128 * 1024,   /* bytes in the kernel that are not on their way, before it takes more */
    BURST = 16,            /* messages written before others get a turn */
    HEADER_POOL = 64,      /* handshakes at once */
    CLOSE_SECS = 3,        /* for the peer to take something of what is left, and our close frame */
    CLOSE_ACK_SECS = 5,    /* after our close frame: for the peer to read up to it and send its own */
    HANDSHAKE_SECS = 10,   /* adopted to established */
    MESSAGE_MAX = 1 << 20, /* where a route says nothing */
    SUBPROTOCOLS = 16,     /* of all routes */
    SUBPROTOCOL_SIZE = 64,
};

typedef struct ws_frame {
    struct ws_frame *next;
    size_t n, sent;
    bool binary;
    unsigned char bytes[]; /* LWS_PRE, then n */
} ws_frame;

struct odto_ws {
    struct ws_engine *engine;
    struct ws_route *route;
    odto_ws *next, **at; /* route->conns; engine->closing once close_sent */
    struct lws *wsi;
    odto_http_request *rq; /* until open() has returned */
    void *ctx;             /* open()'s result */
    bool opened;           /* the owner has it: closed() is due */
    bool rx_stopped;       /* as lws knows it */
    size_t unasked;        /* bytes sent at once since the kernel said that it has room */
    odto_buf in;           /* message being put together */
    bool close_sent;       /* ours; the peer's ends the connection */
    int peer_code;
    char *subprotocol;
    /* engine->lock */
    odto_ws *dirty_next;
    ws_frame *out, **out_tail;
    _Atomic size_t queued;
    bool dirty, want_write, paused, closing;
    int code;
    char reason[124];
};

struct ws_route {
    struct ws_route *next;
    struct ws_engine *engine;
    http_mount *mount; /* owns this */
    http_route *route;
    odto_ws *conns;
    bool removed;
};

typedef struct ws_command {
    struct ws_command *next;
    void (*run)(struct ws_engine *e, struct ws_command *c);
    struct ws_route *route;
    void *arg;
    const http_owner *owner; /* compared only */
    int fd;
    char *target;
    char peer[46];
    int result;
    bool done, abandoned; /* engine->lock; when somebody waits for it */
    bool waited;
} ws_command;

struct ws_engine {
    http_server *server;
    struct lws_context *context;
    pthread_t thread;
    pthread_mutex_t lock; /* commands, dirty list, the outgoing side of connections */
    pthread_cond_t done;
    ws_command *commands, **commands_tail;
    odto_ws *dirty;
    _Atomic bool notified;
    _Atomic unsigned n_conns;
    /* the thread's */
    struct ws_loop *loop; /* NULL: lws waits with poll() */
    struct ws_route *routes;
    odto_ws *closing; /* our close frame is out */
    struct lws_vhost *vhost;
    /* [0]: no subprotocol; then subprotocols, descriptor watches, the end */
    struct lws_protocols protocols[SUBPROTOCOLS + 3];
    char names[SUBPROTOCOLS][SUBPROTOCOL_SIZE];
    size_t n_names;
    bool quit, ready, failed;
    bool reading; /* lws gives us what came in */
    lws_retry_bo_t policy;
};

/* ws_loop.c, on the thread: the context, with what it waits with; one turn, false: lws has ended; the loop,
 * after the context. */
struct lws_context *ws_loop_context(struct ws_engine *e, const struct lws_context_creation_info *info);
bool ws_loop_turn(struct ws_engine *e);
void ws_loop_close(struct ws_engine *e);
/* ready() whenever there is something to read, until unwatched. The descriptor stays the caller's and stays
 * open meanwhile. NULL: no loop, or no memory. */
struct ws_io *ws_loop_watch(struct ws_engine *e, int fd, void (*ready)(void *arg), void *arg);
void ws_loop_unwatch(struct ws_io *w);

/* ws.c: wake the thread; at most one wake-up is under way. */
void ws_wake(struct ws_engine *e);
/* Run on the thread and wait: its result, or -ETIMEDOUT. On the thread itself it is just called. */
int ws_call(struct ws_engine *e, void (*run)(struct ws_engine *, ws_command *), struct ws_route *r, void *arg,
            int64_t deadline_ns);

/* ws_watch.c: the name can't be asked for as a subprotocol. */
#define WS_WATCH_PROTOCOL "a descriptor"
int ws_watch_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len);

/* ws_conn.c; on the thread. */
odto_ws *ws_conn_new(struct ws_route *r, odto_slice target, const char *peer); /* takes r's mount reference */
void ws_conn_destroy(odto_ws *ws);
void ws_conn_leave(odto_ws *ws, int code); /* tell the owner it is over, once */
/* Close politely; the owner is told at once, lws finishes alone. */
void ws_conn_evict(odto_ws *ws, int code, const char *reason);
void ws_dirty_apply(struct ws_engine *e); /* bring what other threads asked for to lws */
int ws_handshake_check(odto_ws *ws);
int ws_handshake_headers(odto_ws *ws, struct lws_process_html_args *args);
int ws_handshake_refuse(odto_ws *ws, int status, const char *error);
int ws_conn_established(odto_ws *ws);
int ws_conn_receive(odto_ws *ws, const char *p, size_t n);
int ws_conn_writable(odto_ws *ws);

#endif
