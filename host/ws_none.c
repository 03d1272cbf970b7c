/* ws_none.c — a build without libwebsockets: WebSocket routes are refused when they are served. */
#include "http_priv.h"

#include <errno.h>

int ws_start(http_server *s, struct ws_engine **out, odto_error *err)
{
    (void)s;
    (void)out;
    odto_fail(err, -ENOTSUP, "this build has no WebSocket support");
    odto_error_hint(err, "Install libwebsockets-dev and build again");
    return -ENOTSUP;
}

int ws_stop(struct ws_engine *e, int64_t deadline_ns)
{
    (void)e;
    (void)deadline_ns;
    return 0;
}

int ws_route_add(struct ws_engine *e, http_mount *m, http_route *r, odto_error *err)
{
    (void)e;
    (void)m;
    (void)r;
    return odto_fail(err, -ENOTSUP, "this build has no WebSocket support");
}

int ws_route_remove(struct ws_engine *e, struct ws_route *r, int64_t deadline_ns)
{
    (void)e;
    (void)r;
    (void)deadline_ns;
    return 0;
}

void ws_owner_evict(struct ws_engine *e, const http_owner *o)
{
    (void)e;
    (void)o;
}

int api_watch(odto_host *h, int fd, void (*ready)(void *arg), void *arg, odto_watch **out, odto_error *err)
{
    (void)h;
    (void)fd;
    (void)ready;
    (void)arg;
    (void)out;
    return odto_fail(err, -ENOTSUP, "this build has no WebSocket support");
}

void api_unwatch(odto_watch *w)
{
    (void)w;
}

void ws_route_free(struct ws_route *r)
{
    (void)r;
}

void ws_adopt(struct ws_engine *e, struct ws_route *r, int fd, odto_slice target, const char *peer)
{
    (void)e;
    (void)r;
    (void)fd;
    (void)target;
    (void)peer;
}

odto_slice ws_header(odto_http_request *rq, const char *name)
{
    (void)rq;
    (void)name;
    return odto_slice_of(NULL, 0);
}

int api_ws_send(odto_ws *ws, odto_slice data, bool binary)
{
    (void)ws;
    (void)data;
    (void)binary;
    return -EPIPE;
}

void api_ws_want_write(odto_ws *ws)
{
    (void)ws;
}

size_t api_ws_queued(const odto_ws *ws)
{
    (void)ws;
    return 0;
}

void api_ws_pause(odto_ws *ws, bool paused)
{
    (void)ws;
    (void)paused;
}

void api_ws_close(odto_ws *ws, int code, const char *reason)
{
    (void)ws;
    (void)code;
    (void)reason;
}

odto_slice api_ws_subprotocol(const odto_ws *ws)
{
    (void)ws;
    return odto_slice_of(NULL, 0);
}
