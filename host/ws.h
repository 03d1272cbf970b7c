/* ws.h — the WebSocket engine: one libwebsockets context on one thread ("ws"), started with the first
 * WebSocket route. The HTTP loops accept connections and give it the sockets whose head asks for an upgrade.
 *
 * Without libwebsockets (ws_none.c) ws_start fails with a hint and nothing else is ever called. */
#ifndef HOST_WS_H
#define HOST_WS_H

#include <odto/host.h>

struct http_server;
struct http_mount;
struct http_route;
struct http_owner;
struct ws_engine;
struct ws_route;

int ws_start(struct http_server *s, struct ws_engine **out, odto_error *err);
/* Close all connections with 1001, end the thread. -ETIMEDOUT: it hangs in a handler; its memory stays. */
int ws_stop(struct ws_engine *e, int64_t deadline_ns);
/* Make a route known to the engine; its connections hold a reference on the mount. */
int ws_route_add(struct ws_engine *e, struct http_mount *m, struct http_route *r, odto_error *err);
/* Close its connections with 1012. 0: closed() was called for each and no callback will come any more. */
int ws_route_remove(struct ws_engine *e, struct ws_route *r, int64_t deadline_ns);
/* Close the connections of all routes of an owner with 1012; does not wait. */
void ws_owner_evict(struct ws_engine *e, const struct http_owner *o);
void ws_route_free(struct ws_route *r); /* by its mount, at its end */
/* Take a connected socket whose whole request head is still unread, for a route of a mount (the caller's
 * reference on that is taken over). peer is the client's address. Any thread. When it fails the socket is
 * closed. */
void ws_adopt(struct ws_engine *e, struct ws_route *r, int fd, odto_slice target, const char *peer);

odto_slice ws_header(odto_http_request *rq, const char *name);
int api_ws_send(odto_ws *ws, odto_slice data, bool binary);
void api_ws_want_write(odto_ws *ws);
size_t api_ws_queued(const odto_ws *ws);
void api_ws_pause(odto_ws *ws, bool paused);
void api_ws_close(odto_ws *ws, int code, const char *reason);
odto_slice api_ws_subprotocol(const odto_ws *ws);
int api_watch(odto_host *h, int fd, void (*ready)(void *arg), void *arg, odto_watch **out, odto_error *err);
void api_unwatch(odto_watch *w);

#endif
