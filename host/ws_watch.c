/* ws_watch.c — descriptors that plugins have watched on the WebSocket thread, so that what arrives there and
 * what the WebSocket callbacks do needs no hand-over between threads (a keystroke's echo is on its way with
 * two wake-ups less).
 *
 * A watch belongs to the thread and holds its owner. Where lws waits by itself it has a copy of the
 * descriptor, which lws closes. */
#include "ws_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

struct odto_watch {
    struct ws_engine *engine;
    struct ws_io *io; /* or, without a loop: */
    struct lws *wsi;
    http_owner *owner;
    void (*ready)(void *arg);
    void *arg;
    int fd;
};

static void watch_ready(void *arg)
{
    odto_watch *w = arg;
    http_server *s = w->engine->server;
    http_owner *o = w->owner;
    hook_enter(s, o); /* may end in ready() unwatching itself */
    w->ready(w->arg);
    hook_leave(s, o);
}

int ws_watch_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
    odto_watch *w = wsi ? lws_get_opaque_user_data(wsi) : NULL;
    (void)user;
    (void)in;
    (void)len;
    if (!w)
        return 0;
    if (reason == LWS_CALLBACK_RAW_RX_FILE)
        watch_ready(w);
    else if (reason == LWS_CALLBACK_WSI_DESTROY || reason == LWS_CALLBACK_RAW_CLOSE_FILE)
        w->wsi = NULL;
    return 0;
}

static void run_watch(struct ws_engine *e, ws_command *c)
{
    odto_watch *w = c->arg;
    if ((w->io = ws_loop_watch(e, w->fd, watch_ready, w)))
        return;
    lws_sock_file_fd_type fd = {.filefd = fcntl(w->fd, F_DUPFD_CLOEXEC, 3)};
    w->wsi = fd.filefd < 0
                 ? NULL
                 : lws_adopt_descriptor_vhost(e->vhost, LWS_ADOPT_RAW_FILE_DESC, fd, WS_WATCH_PROTOCOL, NULL);
    if (!w->wsi) { /* it closed the descriptor */
        c->result = -ENOMEM;
        return;
    }
    lws_set_opaque_user_data(w->wsi, w);
    lws_set_timeout(w->wsi, NO_PENDING_TIMEOUT, 0);
}

static void run_unwatch(struct ws_engine *e, ws_command *c)
{
    odto_watch *w = c->arg;
    (void)e;
    if (w->io)
        ws_loop_unwatch(w->io);
    w->io = NULL;
    if (!w->wsi)
        return;
    lws_set_opaque_user_data(w->wsi, NULL);
    lws_set_timeout(w->wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_SYNC);
}

int api_watch(odto_host *h, int fd, void (*ready)(void *arg), void *arg, odto_watch **out, odto_error *err)
{
    http_server *s = host_http(h);
    odto_watch *w = calloc(1, sizeof(*w));
    if (!w)
        return odto_fail(err, -ENOMEM, "no memory to watch a descriptor");
    int r = ws_engine_get(s, &w->engine, err);
    if (r) {
        free(w);
        return r;
    }
    w->ready = ready;
    w->arg = arg;
    w->owner = owner_of_host(s, h);
    w->fd = fd;
    r = !w->owner ? -ESRCH : fcntl(fd, F_GETFD) < 0 ? -errno : 0;
    if (!r)
        r = ws_call(w->engine, run_watch, NULL, w, odto_now_ns() + 5 * ODTO_SEC);
    if (!r) {
        *out = w;
        return 0;
    }
    odto_fail(err, r, "can't watch a descriptor on the WebSocket thread");
    if (r == -ETIMEDOUT)
        return r; /* the thread hangs; its command still names it */
    if (w->owner)
        owner_unref(w->owner);
    free(w);
    return r;
}

void api_unwatch(odto_watch *w)
{
    if (!w || ws_call(w->engine, run_unwatch, NULL, w, odto_now_ns() + 5 * ODTO_SEC) == -ETIMEDOUT)
        return; /* the thread hangs; it may still come back to w */
    owner_unref(w->owner);
    free(w);
}
