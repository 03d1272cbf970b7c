/* odto/http.h — HTTP and WebSocket routes of a plugin on listeners the host owns.
 *
 * A plugin registers routes in start(); the host owns sockets, parsing, limits, timeouts, correlation ids,
 * HEAD, 404/405, CORS preflight, access log, health and metrics. While an instance is being replaced its
 * requests wait (bounded) for the new generation. */
#ifndef ODTO_HTTP_H
#define ODTO_HTTP_H

#include <odto/base.h>

struct odto_host;
typedef struct odto_http_request odto_http_request; /* opaque, owned by the host */
typedef struct odto_http_stream odto_http_stream;   /* a response written piece by piece (SSE) */
typedef struct odto_ws odto_ws;                     /* one WebSocket connection */

#define ODTO_HTTP_BLOCKING \
    1u                       /* fn may block: runs on the host's HTTP worker threads, not on the event loop */
#define ODTO_HTTP_NO_GATE 2u /* served even while the instance is not ready */
#define ODTO_HTTP_PREFIX  4u /* path is a prefix: matches everything below it */

/* One response header. */
typedef struct odto_http_header {
    const char *name, *value;
} odto_http_header;

/* Must lead to exactly one reply (or reply_stream) for the request, now or later, from any thread. The
 * request stays valid until then. Handlers without ODTO_HTTP_BLOCKING run on the listener's event loop:
 * microseconds only. */
typedef void odto_http_fn(void *self, odto_http_request *rq);

typedef struct odto_ws_ops {
    /* Before the upgrade is answered: 0 accepts; an HTTP status (403, 429 …) refuses. query/headers by the
     * request accessors. */
    int (*accept)(void *self, odto_http_request *rq);
    /* On the WebSocket loop thread. open may return a per-connection pointer that the others receive as conn.
     */
    void *(*open)(void *self, odto_ws *ws, odto_http_request *rq);
    void (*message)(void *self, void *conn, odto_slice data, bool binary);
    void (*writable)(void *self,
                     void *conn); /* asked for by ws_want_write: ws_send may take one more frame */
    void (*closed)(void *self, void *conn, int code);
    size_t max_message;       /* larger: closed with 1009 */
    const char *subprotocols; /* comma-separated, offered ones are matched in this order; may be NULL */
} odto_ws_ops;

typedef struct odto_http_route {
    const char *method; /* "GET"; a GET route answers HEAD as well; NULL for WebSocket routes */
    const char *path;   /* "/jobs/{id}": a {name} segment matches one non-empty segment */
    uint32_t flags;
    odto_http_fn *fn;
    const odto_ws_ops *ws; /* a WebSocket route where not NULL */
} odto_http_route;

typedef struct odto_http_api {
    uint32_t size;
    /* Serve routes on the listener with this address ("127.0.0.1:3000", from the instance's option; several
     * instances may share a listener as long as routes do not clash). Routes array and strings must live as
     * long as the instance. service names the health/metrics identity ("gateway"). The host itself answers
     * /healthz /readyz /livez /metrics on every listener unless the plugin registers them. cors may be NULL
     * or an allowed origin ("*"). */
    int (*serve)(struct odto_host *h, const char *address, const char *service, const odto_http_route *routes,
                 size_t n, const char *cors, size_t max_body, odto_error *err);

    odto_slice (*method)(const odto_http_request *rq);
    odto_slice (*path)(const odto_http_request *rq);
    odto_slice (*param)(const odto_http_request *rq, const char *name); /* {name} of the route, decoded */
    /* First value of a query parameter, percent-decoded; n = 0 and p = NULL when absent. */
    odto_slice (*query)(const odto_http_request *rq, const char *name);
    odto_slice (*header)(const odto_http_request *rq, const char *name); /* case-insensitive */
    odto_slice (*body)(const odto_http_request *rq);
    odto_slice (*peer)(const odto_http_request *rq); /* client address without port */
    const odto_uuid *(*correlation)(const odto_http_request *rq);

    /* The one reply. body is copied unless body_free is given (called when it has been sent). headers may be
     * NULL. Content-Type defaults to application/json. Safe from any thread; the request is invalid
     * afterwards. */
    void (*reply)(odto_http_request *rq, int status, const odto_http_header *headers, size_t n_headers,
                  odto_slice body, void (*body_free)(void *), void *body_arg);
    /* {"error":…,"details":[{path,message}…]}; details may be NULL. retry_after_s > 0 adds Retry-After. */
    void (*reply_error)(odto_http_request *rq, int status, const char *error, const char *path,
                        const char *message, int retry_after_s);

    /* Begin a response of unknown length; bytes are queued up to max_queued. NULL on failure (then the
     * request was answered 503). */
    odto_http_stream *(*reply_stream)(odto_http_request *rq, int status, const odto_http_header *headers,
                                      size_t n_headers, size_t max_queued, void (*closed)(void *arg),
                                      void *arg);
    int (*stream_write)(odto_http_stream *s, odto_slice data); /* 0, -EAGAIN queue full, -EPIPE client gone */
    void (*stream_end)(odto_http_stream *s);                   /* always call once, also after closed() */

    /* WebSocket: from any thread. ws_send copies; 0, -EAGAIN when more than its bound is queued, -EPIPE
     * closed. */
    int (*ws_send)(odto_ws *ws, odto_slice data, bool binary);
    void (*ws_want_write)(odto_ws *ws);
    size_t (*ws_queued)(const odto_ws *ws);
    void (*ws_pause)(odto_ws *ws, bool paused); /* stop reading from the client */
    void (*ws_close)(odto_ws *ws, int code, const char *reason);
    odto_slice (*ws_subprotocol)(const odto_ws *ws);

    /* The query as it was sent, without "?": what a proxy passes on. n = 0 when there is none. */
    odto_slice (*query_string)(const odto_http_request *rq);
} odto_http_api;

#endif
