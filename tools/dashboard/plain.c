/* plain — the same snapshots without a screen: one picture, one JSON object, or a line for each change
 * (for screen readers and logs). See app.h. */
#include "app.h"

#include "svg.h"
#include "text.h"
#include "ui.h"
#include "view.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define ROUND_MS 6000

/* The snapshot after the first round and after_s seconds, or what there is when that takes too long. One
 * reference. */
static snapshot *first_round(net *n, int after_s)
{
    int64_t begin = odto_now_ns() + after_s * ODTO_SEC, end = begin + ROUND_MS * ODTO_MS;
    for (;;) {
        snapshot *s = net_latest(n);
        int64_t left = (end - odto_now_ns()) / ODTO_MS;
        if ((s->first_round && odto_now_ns() >= begin) || left <= 0) {
            return s;
        }
        snapshot_release(&s);
        struct pollfd p = {net_fd(n), POLLIN, 0};
        poll(&p, 1, (int)left);
    }
}

/* ---- one JSON object ----------------------------------------------------------------------- */

static void time_member(odto_buf *b, const char *name, int64_t ms)
{
    char t[25];
    odto_time_format(ms, t);
    if (ms > 0) {
        odto_buf_printf(b, ",\"%s\":\"%s\"", name, t);
    }
}

static void int_member(odto_buf *b, const char *name, int64_t v)
{
    if (v >= 0) {
        odto_buf_printf(b, ",\"%s\":%lld", name, (long long)v);
    }
}

static void text_member(odto_buf *b, const char *name, const char *v)
{
    odto_buf_printf(b, ",\"%s\":", name);
    odto_buf_jsonz(b, v);
}

static void json_sources(odto_buf *b, const snapshot *s)
{
    static const char *const names[] = {"gateway", "readModel", "stats", "jobs", "alerts", "host"};
    odto_buf_str(b, ",\"sources\":{");
    for (int i = 0; i < SRC_COUNT; i++) {
        const source *src = &s->src[i];
        odto_buf_printf(b, "%s\"%s\":{\"ok\":%s", i ? "," : "", names[i],
                        src->ok_ms && !src->failures ? "true" : "false");
        time_member(b, "at", src->ok_ms);
        if (src->failures) {
            text_member(b, "error", src->error);
        }
        odto_buf_str(b, "}");
    }
    odto_buf_str(b, "}");
}

static void json_jobs(odto_buf *b, const job_list *l)
{
    odto_buf_str(b, ",\"jobs\":[");
    for (int i = 0; l && i < l->n; i++) {
        const job *j = &l->items[i];
        odto_buf_printf(b, "%s{\"id\":", i ? "," : "");
        odto_buf_jsonz(b, j->id);
        text_member(b, "type", j->type);
        text_member(b, "status", j->status_text);
        time_member(b, "createdAt", j->created_ms);
        int_member(b, "durationMs", j->duration_ms);
        odto_buf_str(b, "}");
    }
    odto_buf_str(b, "]");
}

static void json_alerts(odto_buf *b, const alert_list *l)
{
    odto_buf_str(b, ",\"alerts\":[");
    for (int i = 0; l && i < l->n; i++) {
        const alert *a = &l->items[i];
        odto_buf_printf(b, "%s{\"name\":", i ? "," : "");
        odto_buf_jsonz(b, a->name);
        text_member(b, "service", a->service);
        text_member(b, "severity", a->severity);
        text_member(b, "state", a->pending ? "pending" : a->silenced ? "silenced" : "firing");
        odto_buf_str(b, "}");
    }
    odto_buf_str(b, "]");
}

static void json_host(odto_buf *b, const host_state *h)
{
    odto_buf_str(b, ",\"plugins\":[");
    for (int i = 0; h && i < h->n_plugins; i++) {
        odto_buf_printf(b, "%s{\"name\":", i ? "," : "");
        odto_buf_jsonz(b, h->plugins[i].name);
        text_member(b, "state", h->plugins[i].state);
        int_member(b, "restarts", h->plugins[i].restarts);
        int_member(b, "generation", h->plugins[i].generation);
        odto_buf_str(b, "}");
    }
    odto_buf_str(b, "],\"routes\":[");
    for (int i = 0; h && i < h->n_routes; i++) {
        const route_row *r = &h->routes[i];
        odto_buf_printf(b, "%s{\"name\":", i ? "," : "");
        odto_buf_jsonz(b, r->name);
        int_member(b, "depth", (int64_t)r->depth);
        int_member(b, "capacity", (int64_t)r->capacity);
        int_member(b, "published", (int64_t)r->published);
        int_member(b, "acknowledged", (int64_t)r->acked);
        odto_buf_str(b, "}");
    }
    odto_buf_str(b, "]");
}

static int print_json(const snapshot *s)
{
    odto_buf b = {0};
    odto_buf_str(&b, "{\"program\":\"odto-dashboard\"");
    time_member(&b, "at", odto_unix_ms());
    json_sources(&b, s);
    odto_buf_str(&b, ",\"stats\":{\"known\":");
    odto_buf_str(&b, s->stats.total >= 0 ? "true" : "false");
    int_member(&b, "total", s->stats.total);
    int_member(&b, "completed", s->stats.completed);
    int_member(&b, "failed", s->stats.failed);
    int_member(&b, "pending", s->stats.pending);
    int_member(&b, "executing", s->stats.executing);
    time_member(&b, "lastEventTime", s->stats.last_event_ms);
    odto_buf_str(&b, "}");
    json_jobs(&b, s->jobs);
    json_alerts(&b, s->alerts);
    json_host(&b, s->host);
    odto_buf_str(&b, "}");
    int rc = b.failed ? 1 : 0;
    if (!rc) {
        puts(b.p);
    }
    odto_buf_free(&b);
    return rc;
}

/* ---- one picture --------------------------------------------------------------------------- */

static int env_int(const char *name, int otherwise)
{
    const char *v = getenv(name);
    int n = v ? atoi(v) : 0;
    return n > 0 ? n : otherwise;
}

static int print_picture(const app_options *o, const snapshot *s)
{
    caps c = {0};
    ui *u = calloc(1, sizeof *u);
    grid g = {0};
    odto_buf b = {0};
    struct winsize ws = {0};
    static const ui_ops none = {0};
    screen_caps(&c, true, o->ascii);
    c.utf8 = c.utf8 || o->svg;
    c.remote = o->remote;
    c.managed = o->managed;
    ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws);
    if (!u || ui_init(u, &c, &none, NULL, odto_unix_ms())) {
        free(u);
        return 1;
    }
    ui_resize(u, env_int("COLUMNS", ws.ws_col ? ws.ws_col : 100),
              env_int("LINES", ws.ws_row ? ws.ws_row : 32));
    u->screen = SCREEN_DASH;
    snapshot *mine = snapshot_clone(s);
    if (mine) {
        ui_set_snapshot(u, mine);
    }
    int rc = view_draw(u, &g) ? 1 : 0;
    if (o->svg) {
        svg_write(&g, o->theme, &b);
    } else {
        grid_to_text(&g, &b);
    }
    if (!rc && !b.failed && b.n) {
        fwrite(b.p, 1, b.n, stdout);
    }
    odto_buf_free(&b);
    grid_free(&g);
    ui_free(u);
    free(u);
    return rc;
}

/* ---- a line for each change ---------------------------------------------------------------- */

static void say(const char *fmt, ...) ODTO_PRINTF(1, 2);

static void say(const char *fmt, ...)
{
    char clock[16], line[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    text_clock(clock, sizeof clock, odto_unix_ms());
    printf("%s %s\n", clock, line);
}

static void say_sources(const snapshot *was, const snapshot *now)
{
    static const char *const names[] = {"gateway", "read model", "statistics",
                                        "jobs",    "alerts",     "host metrics"};
    for (int i = 0; i < SRC_COUNT; i++) {
        const source *a = &was->src[i], *b = &now->src[i];
        if (b->failures && (!a->failures || strcmp(a->error, b->error) != 0)) {
            say("%s away: %s", names[i], b->error);
        } else if (b->ok_ms && !b->failures && (a->failures || !a->ok_ms)) {
            say("%s answers", names[i]);
        }
    }
}

static const job *find_job(const job_list *l, const char *id)
{
    for (int i = 0; l && i < l->n; i++) {
        if (!strcmp(l->items[i].id, id)) {
            return &l->items[i];
        }
    }
    return NULL;
}

static void say_jobs(const snapshot *was, const snapshot *now)
{
    if (was->jobs == now->jobs || !now->jobs) {
        return;
    }
    int shown = was->jobs ? now->jobs->n : 10;
    for (int i = (now->jobs->n < shown ? now->jobs->n : shown) - 1; i >= 0; i--) {
        const job *j = &now->jobs->items[i], *old = find_job(was->jobs, j->id);
        if (!old || old->status != j->status) {
            char took[16];
            text_duration(took, sizeof took, j->duration_ms);
            say("job %s %s %s%s%s", j->id, j->type, j->status_text, j->duration_ms >= 0 ? " " : "",
                j->duration_ms >= 0 ? took : "");
        }
    }
}

static bool has_alert(const alert_list *l, const alert *a)
{
    for (int i = 0; l && i < l->n; i++) {
        if (!strcmp(l->items[i].name, a->name) && !strcmp(l->items[i].service, a->service) &&
            l->items[i].pending == a->pending) {
            return true;
        }
    }
    return false;
}

static void say_alerts(const snapshot *was, const snapshot *now)
{
    if (was->alerts == now->alerts) {
        return;
    }
    for (int i = 0; now->alerts && i < now->alerts->n; i++) {
        const alert *a = &now->alerts->items[i];
        if (!has_alert(was->alerts, a)) {
            say("alert %s [%s] %s %s", a->name, a->service, a->severity, a->pending ? "pending" : "firing");
        }
    }
    for (int i = 0; was->alerts && i < was->alerts->n; i++) {
        if (!has_alert(now->alerts, &was->alerts->items[i])) {
            say("alert %s [%s] resolved", was->alerts->items[i].name, was->alerts->items[i].service);
        }
    }
}

static void say_plugins(const snapshot *was, const snapshot *now)
{
    for (int i = 0; now->host && i < now->host->n_plugins; i++) {
        const plugin_row *p = &now->host->plugins[i], *old = NULL;
        for (int k = 0; was->host && k < was->host->n_plugins; k++) {
            old = !strcmp(was->host->plugins[k].name, p->name) ? &was->host->plugins[k] : old;
        }
        if (!old || strcmp(old->state, p->state) != 0 || old->restarts != p->restarts) {
            say("plugin %s %s, restarts %lld", p->name, p->state,
                (long long)(p->restarts < 0 ? 0 : p->restarts));
        }
    }
}

static void say_changes(const snapshot *was, const snapshot *now)
{
    const stats *s = &now->stats;
    say_sources(was, now);
    if (memcmp(&was->stats, s, sizeof *s) != 0) {
        say("total %lld, completed %lld, failed %lld, pending %lld", (long long)s->total,
            (long long)s->completed, (long long)s->failed, (long long)(s->pending < 0 ? 0 : s->pending));
    }
    say_jobs(was, now);
    say_alerts(was, now);
    say_plugins(was, now);
    fflush(stdout);
}

static int signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* True when the reader wants to leave. */
static bool wants_out(short in, short out, short sig)
{
    char c[64];
    if (sig || (out & (POLLERR | POLLHUP))) {
        return true;
    }
    if (!in) {
        return false;
    }
    ssize_t n = read(STDIN_FILENO, c, sizeof c);
    return n <= 0 || memchr(c, 'q', (size_t)n) || memchr(c, 'Q', (size_t)n);
}

static int follow(net *n, int signal_fd)
{
    snapshot *was = snapshot_new();
    if (!was) {
        return 1;
    }
    printf("odto-dashboard, plain lines; q and Enter leaves\n");
    bool terminal = isatty(STDIN_FILENO);
    for (;;) {
        struct pollfd p[] = {{net_fd(n), POLLIN, 0},
                             {signal_fd, POLLIN, 0},
                             {terminal ? STDIN_FILENO : -1, POLLIN, 0},
                             {STDOUT_FILENO, 0, 0}};
        poll(p, 4, -1);
        if (wants_out(p[2].revents, p[3].revents, p[1].revents)) {
            break;
        }
        if (p[0].revents) {
            snapshot *now = net_latest(n);
            say_changes(was, now);
            snapshot_release(&was);
            was = now;
        }
    }
    snapshot_release(&was);
    return 0;
}

int plain_run(const app_options *o)
{
    net *n = NULL;
    odto_error err = {0};
    char text[1024];
    int signal_fd = o->once ? -1 : signals();
    if (net_start(&n, &o->net, &err)) {
        fprintf(stderr, "odto-dashboard: %s\n", odto_error_text(&err, text, sizeof text));
        return 1;
    }
    int rc = 0;
    if (o->once) {
        snapshot *s = first_round(n, o->after_s);
        rc = o->json ? print_json(s) : print_picture(o, s);
        rc = rc ? rc : snapshot_all_down(s);
        snapshot_release(&s);
    } else {
        rc = follow(n, signal_fd);
        close(signal_fd);
    }
    net_stop(n);
    return rc;
}
