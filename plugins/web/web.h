/* web.h — the web plugin: the page, and the ways from it to the terminal broker and the read model.
 *
 *     browser ── / /bundle.js …   files of the page, part of this object (files.c)
 *             ── /ws              WebSocket to the terminal broker          (relay.c)
 *             ── /api/…           HTTP to the read model                    (fetch.c)
 *             ── /login /logout   keep the broker's token in a cookie       (gate.c)
 *
 * Handlers run on the host's HTTP loops and on its WebSocket thread and never wait. Everything that talks to
 * another server belongs to one thread, "upstream" (client.c), with a libwebsockets context of its own; names
 * of servers are looked up by another, "resolve" (upstream.c), so that a slow DNS server holds up nobody. */
#ifndef WEB_WEB_H
#define WEB_WEB_H

#include <odto/plugin.h>
#include <pthread.h>
#include <stdatomic.h>

struct lws;

#define WEB_SUBPROTOCOL "odto.pty.v1"
#define WEB_COOKIE      "odto_auth"

/* ---- upstream.c: where another server is ------------------------------------------------------- */

typedef struct upstream {
    const char *name, *option; /* "Terminal broker", "broker_url" */
    char host[256];            /* without the brackets of IPv6 */
    char authority[280];       /* host:port as a Host header has it */
    char path[512];            /* of the URL, without a trailing slash */
    int port;
    bool fixed;       /* the address needs no looking up */
    char address[64]; /* upstreams.lock, unless fixed; empty: not known (yet) */
    char why[160];    /* upstreams.lock: why it is not known */
} upstream;

typedef struct upstreams {
    odto_host *host;
    odto_thread *thread;
    pthread_mutex_t lock; /* addresses, the flags below */
    pthread_cond_t wake;
    bool stopping, asked;
    upstream broker, read_model;
} upstreams;

/* Splits the URL in the option (scheme "ws" or "http"); -EINVAL with a hint for anything else. */
int upstream_parse(const odto_config *c, const char *option, const char *scheme, upstream *out,
                   odto_error *err);
int upstreams_start(upstreams *u, odto_error *err);
void upstreams_stop(upstreams *u);
/* The numeric address to connect to; false with a reason. Any thread. */
bool upstream_address(upstreams *u, const upstream *at, char out[64], char why[160]);
/* It could not be reached: look its name up again soon. */
void upstream_failed(upstreams *u);

/* ---- client.c: the thread that talks to other servers ------------------------------------------ */

/* Something for the thread to look at. Part of a larger object; run() is called once for any number of
 * client_post() before it. */
typedef struct errand {
    struct errand *next;
    void (*run)(struct errand *e);
    _Atomic bool queued;
} errand;

/* What a connection's events go to. */
typedef struct client_conn {
    int (*event)(struct client_conn *c, struct lws *wsi, int reason, void *in, size_t n);
} client_conn;

typedef struct client client;

int client_new(odto_host *h, unsigned connections, unsigned timeout_s, client **out, odto_error *err);
int client_start(client *c, odto_error *err);
/* Run what was posted, close all connections, end the thread. Posts fail from now on. */
void client_stop(client *c);
void client_free(client *c);
/* 1: queued; 0: was queued already; -ESHUTDOWN. Any thread. */
int client_post(client *c, errand *e);
/* The thread: begin a connection whose events go to conn. method NULL: a WebSocket. NULL when it failed (the
 * events may have said why). */
struct lws *client_connect(client *c, const upstream *at, const char *address, const char *path,
                           const char *method, const char *host, const char *subprotocol, client_conn *conn);
struct lws_context *client_context(client *c);

/* ---- the instance ------------------------------------------------------------------------------ */

typedef struct web {
    odto_host *host;
    const odto_config *config;
    upstreams upstreams;
    client *client;
    unsigned max_terminals, max_requests;
    size_t max_body;
    int64_t api_timeout_ns;
    odto_http_route routes[64];
    size_t n_routes;
    _Atomic unsigned n_relays, n_fetches;
    odto_metric *terminals, *refused, *unreachable;
} web;

/* ---- gate.c: who may, and who asks ------------------------------------------------------------- */

/* May this WebSocket or login come from the page it says it comes from? Other pages can reach loopback too,
 * and a name of theirs can be made to resolve to it. A request without Origin is no browser's. */
bool gate_origin(const web *w, const odto_http_request *rq);
/* X-Forwarded-For for the next server: the client's address, after what a trusted proxy in front says. */
bool gate_forwarded(const web *w, const odto_http_request *rq, char *out, size_t size);
/* "Bearer TOKEN" for the broker: the request's own, or the one of the cookie; empty without. */
bool gate_authorization(const web *w, const odto_http_request *rq, char *out, size_t size);
void gate_login(void *self, odto_http_request *rq);
void gate_logout(void *self, odto_http_request *rq);

/* ---- files.c, relay.c, fetch.c ------------------------------------------------------------------- */

/* One file of the page, as the build leaves it: plain, gzip, brotli. */
typedef struct web_file {
    const char *path, *type, *etag;
    const unsigned char *plain, *gzip, *brotli;
    const unsigned char *plain_end, *gzip_end, *brotli_end;
} web_file;

extern const web_file web_files[]; /* ends with path NULL; empty in a build without the page */

void files_get(void *self, odto_http_request *rq);
/* The routes of the page's files, appended to out. Their number. */
size_t files_routes(odto_http_route *out, size_t max);

extern const odto_ws_ops relay_ops;

void fetch_get(void *self, odto_http_request *rq);

#endif
