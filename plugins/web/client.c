/* client.c — the thread "upstream": connections to the broker and the read model by libwebsockets.
 *
 * The context belongs to the thread. From others only lws_cancel_service() is called; what they want stands
 * in a queue of errands under client.lock, which the thread takes whole. */
#include "web.h"

#include <errno.h>
#include <libwebsockets.h>
#include <stdlib.h>
#include <string.h>

struct client {
    odto_host *host;
    unsigned connections, timeout_s;
    odto_thread *thread;
    struct lws_context *context;
    struct lws_vhost *vhost;
    lws_retry_bo_t policy;
    pthread_mutex_t lock; /* from here on */
    pthread_cond_t changed;
    errand *errands, **tail;
    bool started, failed, stopping, ended;
};

static void run_errands(client *c)
{
    pthread_mutex_lock(&c->lock);
    errand *e = c->errands;
    c->errands = NULL;
    c->tail = &c->errands;
    pthread_mutex_unlock(&c->lock);
    while (e) {
        errand *next = e->next;
        atomic_store(&e->queued, false); /* before run: what is posted from now on comes again */
        e->run(e);
        e = next;
    }
}

static int on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t n)
{
    (void)user;
    if (reason == LWS_CALLBACK_EVENT_WAIT_CANCELLED) {
        run_errands(lws_context_user(lws_get_context(wsi)));
        return 0;
    }
    client_conn *conn = wsi ? lws_get_opaque_user_data(wsi) : NULL;
    return conn ? conn->event(conn, wsi, (int)reason, in, n) : 0;
}

static const struct lws_protocols protocols[] = {
    {.name = "odto-upstream", .callback = on_event},
    {.name = WEB_SUBPROTOCOL, .callback = on_event},
    {0},
};

static bool context_create(client *c)
{
    struct lws_context_creation_info info = {
        .port = CONTEXT_PORT_NO_LISTEN,
        .protocols = protocols,
        .vhost_name = "upstream",
        .options = LWS_SERVER_OPTION_EXPLICIT_VHOSTS,
        .user = c,
        .fd_limit_per_thread = c->connections + 16,
        .pt_serv_buf_size = 32768,
        .max_http_header_data = 8192,
        .timeout_secs = c->timeout_s,
        .retry_and_idle_policy = &c->policy,
        .gid = -1,
        .uid = -1,
    };
    c->policy = (lws_retry_bo_t){.secs_since_valid_ping = 30, .secs_since_valid_hangup = 60};
    lws_set_log_level(0, NULL); /* as the host does: events say what went wrong */
    c->context = lws_create_context(&info);
    if (c->context)
        c->vhost = lws_create_vhost(c->context, &info);
    return c->vhost != NULL;
}

static bool stopping(client *c)
{
    pthread_mutex_lock(&c->lock);
    bool yes = c->stopping;
    pthread_mutex_unlock(&c->lock);
    return yes;
}

static void client_main(void *arg)
{
    client *c = arg;
    bool ok = context_create(c);
    pthread_mutex_lock(&c->lock);
    c->started = ok;
    c->failed = !ok;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
    while (ok && !stopping(c) && lws_service(c->context, 0) >= 0)
        continue;
    run_errands(c);
    if (c->context)
        lws_context_destroy(c->context); /* each connection is told that it ends */
    pthread_mutex_lock(&c->lock);
    c->ended = true;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
}

int client_new(odto_host *h, unsigned connections, unsigned timeout_s, client **out, odto_error *err)
{
    client *c = calloc(1, sizeof *c);
    if (!c)
        return odto_fail(err, -ENOMEM, "no memory for the connections to other servers");
    c->host = h;
    c->connections = connections;
    c->timeout_s = timeout_s;
    c->tail = &c->errands;
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->changed, NULL);
    *out = c;
    return 0;
}

int client_start(client *c, odto_error *err)
{
    int rc = c->host->api->thread_start(c->host, "upstream", client_main, c, &c->thread);
    if (rc != 0)
        return odto_fail(err, rc, "can't start the thread that talks to other servers");
    pthread_mutex_lock(&c->lock);
    while (!c->started && !c->failed)
        pthread_cond_wait(&c->changed, &c->lock);
    bool failed = c->failed;
    pthread_mutex_unlock(&c->lock);
    return failed ? odto_fail(err, -EIO, "libwebsockets does not start") : 0;
}

void client_stop(client *c)
{
    pthread_mutex_lock(&c->lock);
    bool running = c->started && !c->ended;
    c->stopping = true;
    if (running) /* under the lock: the context is there until `ended` */
        lws_cancel_service(c->context);
    while (c->started && !c->ended)
        pthread_cond_wait(&c->changed, &c->lock);
    pthread_mutex_unlock(&c->lock);
}

void client_free(client *c)
{
    if (!c)
        return;
    pthread_cond_destroy(&c->changed);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

int client_post(client *c, errand *e)
{
    pthread_mutex_lock(&c->lock);
    int rc = c->stopping ? -ESHUTDOWN : !atomic_exchange(&e->queued, true);
    if (rc == 1) {
        e->next = NULL;
        bool wake = !c->errands;
        *c->tail = e;
        c->tail = &e->next;
        if (wake)
            lws_cancel_service(c->context);
    }
    pthread_mutex_unlock(&c->lock);
    return rc;
}

struct lws_context *client_context(client *c)
{
    return c->context;
}

struct lws *client_connect(client *c, const upstream *at, const char *address, const char *path,
                           const char *method, const char *host, const char *subprotocol, client_conn *conn)
{
    struct lws_client_connect_info info = {
        .context = c->context,
        .vhost = c->vhost,
        .address = address,
        .port = at->port,
        .path = path,
        .host = host,
        .method = method,
        .protocol = subprotocol,
        .local_protocol_name = subprotocol ? WEB_SUBPROTOCOL : "odto-upstream",
        .ssl_connection = LCCSCF_HTTP_NO_FOLLOW_REDIRECT,
        .opaque_user_data = conn,
        .retry_and_idle_policy = method ? NULL : &c->policy,
    };
    return lws_client_connect_via_info(&info);
}
