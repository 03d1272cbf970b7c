/* plugin.c — descriptor and life of the pty plugin; see pty.h. */
#include "pty.h"
#include "spawn.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int check_config(const odto_config *c, odto_error *err)
{
    pty_settings set;
    int r = settings_load(&set, c, err);
    if (r == -ENOENT && !odto_config_str(c, "program")) /* found out at start, which may be elsewhere */
        return 0;
    if (!r)
        settings_free(&set);
    return r;
}

static void fini(void *self)
{
    pty *p = self;
    loop_close(p);
    session_bury(p);
    settings_free(&p->set);
    odto_buf_free(&p->scratch);
    odto_buf_free(&p->message);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

static odto_metric *metric(odto_host *h, odto_metric_type type, const char *name, const char *help)
{
    return h->api->metric(h, type, name, help, NULL, NULL, NULL, 0);
}

static double queued(void *arg)
{
    return (double)atomic_load(&((pty *)arg)->queued);
}

static int metrics(pty *p, odto_error *err)
{
    odto_host *h = p->host;
    p->m_state[0] = metric(h, ODTO_GAUGE, "pty_sessions_active", "Live sessions.");
    p->m_state[1] = metric(h, ODTO_GAUGE, "pty_sessions_connected", "Sessions with a client.");
    p->m_state[2] =
        metric(h, ODTO_GAUGE, "pty_sessions_disconnected", "Sessions that were left, within the grace time.");
    p->m_state[3] = metric(h, ODTO_GAUGE, "pty_sessions_idle", "Sessions that were left longer.");
    p->m_state[4] = metric(h, ODTO_GAUGE, "pty_sessions_reaping", "Sessions that are being ended.");
    p->m_drops = metric(h, ODTO_COUNTER, "pty_output_drops_total", "Output frames no replay could cover.");
    p->m_ignored = metric(h, ODTO_COUNTER, "pty_messages_ignored_total",
                          "Messages that were unknown, malformed or out of range.");
    p->m_refused = metric(h, ODTO_COUNTER, "pty_connections_refused_total",
                          "Connections refused for Host, Origin or number.");
    p->m_spawned = metric(h, ODTO_COUNTER, "pty_sessions_started_total", "Programs started.");
    for (int i = 0; i < 5; i++) {
        if (!p->m_state[i])
            return odto_fail(err, -ENOMEM, "no memory for metrics");
    }
    if (!p->m_drops || !p->m_ignored || !p->m_refused || !p->m_spawned)
        return odto_fail(err, -ENOMEM, "no memory for metrics");
    int r = h->api->metric_fn(h, ODTO_GAUGE, "pty_output_queue_bytes_total",
                              "Output bytes clients have not been sent yet.", NULL, NULL, queued, p);
    return r < 0 ? odto_fail(err, r, "no memory for metrics") : 0;
}

static int init(odto_host *h, const odto_config *c, void **self, odto_error *err)
{
    pty *p = calloc(1, sizeof *p);
    if (!p)
        return odto_fail(err, -ENOMEM, "no memory for the terminal broker");
    p->host = h;
    p->http = h->api->http;
    p->config = c;
    p->epfd = p->timerfd = -1;
    pthread_mutex_init(&p->lock, NULL);
    *self = p;
    return 0;
}

/* Sessions that were taken over are watched from start() on. */
static int watch_sessions(pty *p, odto_error *err)
{
    for (session *s = p->sessions; s; s = s->next) {
        int r = loop_add(s);
        if (r)
            return odto_fail(err, r, "can't watch a terminal");
        stream_throttle(s);
    }
    loop_due(p, pty_now(p));
    return 0;
}

static int serve(pty *p, odto_error *err)
{
    static const odto_http_route tickets = {"POST", "/api/v1/term/ticket", ODTO_HTTP_BLOCKING, ticket_post,
                                            NULL};
    p->ws_routes[0] = (odto_http_route){.path = "/", .flags = ODTO_HTTP_PREFIX, .ws = &viewer_ops};
    p->ws_routes[1] = tickets;
    p->http_routes[0] = tickets;
    /* terminals last: who waits to come back after a reload begins at once, and would be waited for */
    int r = 0;
    if (strcmp(p->set.listen, p->set.listen_http) != 0)
        r = p->http->serve(p->host, p->set.listen_http, "pty", p->http_routes, 1, NULL, 4096, err);
    return r ? r : p->http->serve(p->host, p->set.listen, "pty", p->ws_routes, 2, NULL, 4096, err);
}

static int prepare(pty *p, odto_error *err)
{
    int r = p->set.program ? 0 : settings_load(&p->set, p->config, err);
    if (!r && !p->m_state[0])
        r = metrics(p, err);
    return r;
}

static int restore(void *self, uint32_t version, odto_slice blob, odto_error *err)
{
    pty *p = self;
    if (version != 1)
        return odto_fail(err, -EINVAL, "state of another version");
    int r = prepare(p, err);
    return r ? r : handover_restore(p, blob, err);
}

static int start(void *self, odto_error *err)
{
    pty *p = self;
    int r = prepare(p, err);
    if (!r)
        r = loop_open(p, err);
    pthread_mutex_lock(&p->lock);
    if (!r)
        r = watch_sessions(p, err);
    pthread_mutex_unlock(&p->lock);
    if (!r)
        r = p->host->api->watch(p->host, p->epfd, loop_ready, p, &p->watch, err);
    return r ? r : serve(p, err);
}

static int save(void *self, uint32_t *version, odto_buf *blob, odto_error *err)
{
    pty *p = self;
    pthread_mutex_lock(&p->lock);
    *version = 1;
    p->stopping = true;
    int r = handover_save(p, blob, err);
    pthread_mutex_unlock(&p->lock);
    return r;
}

/* Wait for children to end; true when all have. */
static bool wait_children(pty *p, int64_t until)
{
    for (session *s = p->sessions; s; s = s->next) {
        while (s->pid > 0 && s->pidfd >= 0 && !s->exited) {
            struct pollfd f = {.fd = s->pidfd, .events = POLLIN};
            int64_t left = until - odto_now_ns();
            if (left <= 0)
                return false;
            poll(&f, 1, (int)(left / ODTO_MS) + 1);
            s->exited = spawn_ended(s->pidfd, false, &s->exit_status, &s->exit_signal);
        }
    }
    return true;
}

/* Hang up, wait a little, kill what is left; nothing stays behind. */
static void end_all(pty *p)
{
    for (session *s = p->sessions; s; s = s->next) {
        if (s->pid > 0 && s->pidfd >= 0) {
            spawn_kill(s->pid, SIGHUP, false);
            spawn_kill(s->pid, SIGCONT, false);
        }
    }
    int64_t grace = p->set.kill_grace < ODTO_SEC ? p->set.kill_grace : ODTO_SEC;
    wait_children(p, odto_now_ns() + grace);
    for (session *s = p->sessions; s; s = s->next) {
        if (s->pid > 0 && s->pidfd >= 0)
            spawn_kill(s->pid, SIGKILL, true);
    }
    wait_children(p, odto_now_ns() + ODTO_SEC);
    for (session *s = p->sessions; s; s = s->next) {
        if (s->pid > 0 && s->pidfd >= 0)
            spawn_ended(s->pidfd, true, &s->exit_status, &s->exit_signal);
    }
}

/* Sessions that went to the next generation are forgotten here, their programs untouched. */
static void stop(void *self)
{
    pty *p = self;
    p->host->api->unwatch(p->watch);
    p->watch = NULL;
    pthread_mutex_lock(&p->lock);
    p->stopping = true;
    if (!p->saved && p->sessions && p->host->api->replaced(p->host))
        handover_save(p, NULL, NULL);
    for (session *s = p->sessions; s; s = s->next) {
        if (p->saved && s->master < 0 && s->state != SESSION_REAPING && s->pidfd >= 0) {
            close(s->pidfd);
            s->pidfd = -1;
        }
    }
    end_all(p);
    for (viewer *v = p->viewers; v; v = v->next)
        session_detach(v);
    while (p->sessions) {
        session *s = p->sessions;
        p->sessions = s->next;
        session_free(s);
    }
    session_bury(p);
    loop_close(p);
    pthread_mutex_unlock(&p->lock);
}

static const odto_plugin_ops ops = {
    .size = sizeof ops,
    .check_config = check_config,
    .init = init,
    .restore = restore,
    .start = start,
    .save = save,
    .stop = stop,
    .fini = fini,
};

ODTO_PLUGIN_DEFINE(
    "pty", PACKAGE_VERSION, ODTO_KIND_SERVICE,
    .summary = "Programs in terminals, seen and used over WebSockets: the dashboard in a browser.",
    .options = pty_options, .n_options = PTY_N_OPTIONS, .ops = &ops);
