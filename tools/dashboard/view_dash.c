/* view_dash — statistics, throughput, alerts, plugins and queues; see view.h. */
#include "layout.h"
#include "plot.h"
#include "text.h"
#include "view.h"

#include <stdio.h>
#include <string.h>

static void figure(char *out, size_t size, int64_t v)
{
    if (v < 0) {
        snprintf(out, size, "-");
    } else {
        text_number(out, size, v);
    }
}

static float last_of(const series *s)
{
    return s->n ? s->v[s->n - 1] : 0;
}

static void stat_row(grid *g, rect r, int row, const char *label, role ro, int64_t value, const char *note)
{
    char text[32];
    figure(text, sizeof text, value);
    if (row >= r.h) {
        return;
    }
    int y = r.y + row;
    grid_text(g, r.x, y, 11, ROLE_DIM, label);
    int x = grid_text_right(g, r.x + 21, y, 12, ro, text);
    grid_attr(g, x, y, r.x + 21 - x, ATTR_BOLD);
    grid_text(g, r.x + 22, y, r.w - 22, ROLE_DIM, note);
}

static void share(char *out, size_t size, int64_t part, int64_t whole)
{
    out[0] = '\0';
    if (part > 0 && whole > 0) {
        snprintf(out, size, "%.1f%%", 100.0 * (double)part / (double)whole);
    }
}

/* Why there are no figures yet, in the panel that waits for them. */
static bool waiting(const ui *u, grid *g, rect r, source_id src)
{
    const source *s = &u->snap->src[src];
    if (s->ok_ms) {
        return false;
    }
    if (s->failures) {
        grid_text(g, r.x, r.y, r.w, ROLE_FAIL, s->error);
        if (r.h > 1) {
            grid_printf(g, r.x, r.y + 1, r.w, ROLE_DIM, "attempt %d, trying again", s->failures);
        }
    } else {
        grid_text(g, r.x, r.y, r.w, ROLE_DIM, "asking…");
    }
    return true;
}

static void statistics(const ui *u, grid *g, rect box)
{
    const stats *s = &u->snap->stats;
    char note[32], clock[16], rate[16];
    view_panel(u, g, box, "Statistics", false, SRC_STATS, NULL);
    rect r = {box.x + 2, box.y + 1, box.w - 4, box.h - 2};
    if (waiting(u, g, r, SRC_STATS)) {
        return;
    }
    stat_row(g, r, 0, "Total", ROLE_STRONG, s->total, "");
    share(note, sizeof note, s->completed, s->completed + s->failed);
    stat_row(g, r, 1, "Completed", ROLE_OK, s->completed, note);
    share(note, sizeof note, s->failed, s->completed + s->failed);
    stat_row(g, r, 2, "Failed", s->failed > 0 ? ROLE_FAIL : ROLE_TEXT, s->failed, note);
    snprintf(note, sizeof note, s->executing > 0 ? "%lld run" : "", (long long)s->executing);
    stat_row(g, r, 3, "Pending", s->pending > 0 ? ROLE_WAIT : ROLE_TEXT, s->pending, note);
    text_clock(clock, sizeof clock, s->last_event_ms);
    grid_text(g, r.x, r.y + 4, 11, ROLE_DIM, "Last event");
    grid_text_right(g, r.x + 21, r.y + 4, 9, ROLE_TEXT, clock);
    text_rate(rate, sizeof rate, last_of(&u->snap->finished));
    int y = r.y + (r.h > 6 ? 6 : 5);
    grid_text(g, r.x, y, 5, ROLE_DIM, "Rate");
    int n = grid_printf(g, r.x + 5, y, 9, ROLE_ACCENT, "%s/s", rate);
    grid_attr(g, r.x + 5, y, n, ATTR_BOLD);
    plot_spark(g, r.x + 12, y, r.w - 13, ROLE_ACCENT, u->snap->finished.v, u->snap->finished.n);
}

static void throughput(const ui *u, grid *g, rect box)
{
    const series *s = &u->snap->finished;
    rect r = {box.x + 7, box.y + 2, box.w - 9, box.h - 3};
    char in[16], out[16], peak[16], note[64], label[16];
    int shown = r.w * 2;
    float max = series_max(s, shown), top = plot_top(max);
    text_rate(in, sizeof in, last_of(&u->snap->accepted));
    text_rate(out, sizeof out, last_of(s));
    text_rate(peak, sizeof peak, max);
    snprintf(note, sizeof note, "last %s",
             (text_duration(label, sizeof label, (int64_t)shown * 1000), label));
    view_panel(u, g, box, "Throughput", false, SRC_STATS, note);
    int y = box.y + 1, x = box.x + 2;
    x += grid_text(g, x, y, 9, ROLE_DIM, "finished ");
    x += grid_printf(g, x, y, 10, ROLE_OK, "%s/s", out);
    x += grid_text(g, x, y, 12, ROLE_DIM, "  accepted ");
    x += grid_printf(g, x, y, 10, ROLE_RUN, "%s/s", in);
    x += grid_text(g, x, y, box.x + box.w - 2 - x, ROLE_DIM, "  peak ");
    grid_printf(g, x, y, box.x + box.w - 1 - x, ROLE_TEXT, "%s/s", peak);
    for (int i = 0; i < r.h; i++) {
        bool edge = i == 0 || i == r.h - 1;
        grid_char(g, r.x - 1, r.y + i, ROLE_BORDER, edge ? 0x2524 : 0x2502);
    }
    text_count(label, sizeof label, top);
    grid_text_right(g, r.x - 1, r.y, 5, ROLE_DIM, label);
    grid_text_right(g, r.x - 1, r.y + r.h - 1, 5, ROLE_DIM, "0");
    plot_area(g, r, s->v, s->n, top);
}

static void alert_row(grid *g, rect r, int y, const alert *a)
{
    role ro = a->silenced ? ROLE_DIM : a->critical ? ROLE_FAIL : ROLE_WARN;
    const char *state = a->pending     ? "pending"
                        : a->silenced  ? "silenced"
                        : !a->critical ? ""
                        : r.w < 34     ? "crit"
                                       : "critical";
    int m = (int)strlen(state);
    int x = r.x + grid_text(g, r.x, y, 2, ro, "🚨") + 1;
    int room = r.x + r.w - x - (m ? m + 1 : 0);
    char line[128];
    snprintf(line, sizeof line, a->service[0] ? "%s [%s]" : "%s", a->name, a->service);
    int n = grid_text(g, x, y, room, ro, line);
    grid_attr(g, x, y, n, a->critical && !a->pending ? ATTR_BOLD : 0);
    grid_text_right(g, r.x + r.w, y, m, ROLE_DIM, state);
}

/* Why alerts can't be had: each attempt is told, from the third on they count as unavailable. */
static int alerts_away(const ui *u, grid *g, rect r)
{
    const source *s = &u->snap->src[SRC_ALERTS];
    if (!s->failures) {
        return 0;
    }
    if (s->failures >= ALERT_RETRY_SHOW) {
        /* a single line has no title above it that tells what is away */
        const char *what = r.h > 1 ? "Unavailable" : "Alerts unavailable";
        grid_printf(g, r.x, r.y, r.w, ROLE_WARN, "%s, attempt %d", what, s->failures);
    } else {
        grid_printf(g, r.x, r.y, r.w, ROLE_WARN, "Alerts: attempt %d failed", s->failures);
    }
    /* alerts that were known stay in sight below the reason */
    bool known = u->snap->alerts && u->snap->alerts->n;
    pen p = {g, {r.x, r.y + 1, r.w, known && r.h > 1 ? 1 : r.h - 1}, 0, 0};
    pen_wrapped(&p, ROLE_DIM, s->error);
    return 1 + (p.line < p.r.h ? p.line : p.r.h);
}

static void alerts_line(const ui *u, grid *g, rect r)
{
    const alert_list *l = u->snap->alerts;
    rect line = {r.x + 1, r.y, r.w - 2, 1};
    if (alerts_away(u, g, line)) {
        return;
    }
    if (!l) {
        grid_text(g, line.x, r.y, line.w, ROLE_DIM, "alerts: asking…");
    } else if (!l->n) {
        grid_text(g, line.x, r.y, line.w, ROLE_OK, "✓ No active alerts");
    } else {
        line.w -= l->n > 1 ? 10 : 0;
        alert_row(g, line, r.y, &l->items[0]);
        if (l->n > 1) {
            grid_printf(g, line.x + line.w + 1, r.y, 9, ROLE_WARN, "+%d more", l->n - 1);
        }
    }
}

void view_alerts(const ui *u, grid *g, rect box, bool borders)
{
    if (!borders) {
        alerts_line(u, g, box);
        return;
    }
    const alert_list *l = u->snap->alerts;
    bool focused = u->focus == PANEL_ALERTS;
    char note[32] = "";
    if (l && l->n) {
        snprintf(note, sizeof note, "%d", l->n);
    }
    view_panel(u, g, box, "2 Alerts", focused, SRC_ALERTS, note);
    rect r = {box.x + 2, box.y + 1, box.w - 4, box.h - 2};
    int used = alerts_away(u, g, r);
    if (!l && !used) {
        grid_text(g, r.x, r.y, r.w, ROLE_DIM, "asking…");
    }
    if (l && !l->n && !used) {
        grid_text(g, r.x, r.y, r.w, ROLE_OK, "✓ No active alerts");
    }
    const list_pos *p = &u->pos[PANEL_ALERTS];
    for (int i = p->top; l && i < l->n && used < r.h; i++, used++) {
        int y = r.y + used;
        alert_row(g, r, y, &l->items[i]);
        if (focused && i == p->sel) {
            grid_select(g, box.x + 1, y, box.w - 2);
        }
        grid_zone(g, (rect){box.x, y, box.w, 1}, ACT_ROW, (PANEL_ALERTS << 24) | i);
    }
}

static role state_role(const char *state)
{
    static const struct {
        const char *word;
        role r;
    } roles[] = {{"READY", ROLE_OK},    {"STARTING", ROLE_RUN},   {"LOADED", ROLE_RUN},
                 {"STAGED", ROLE_RUN},  {"DRAINING", ROLE_WAIT},  {"BACKOFF", ROLE_WARN},
                 {"FAILED", ROLE_FAIL}, {"ABANDONED", ROLE_FAIL}, {"STOPPED", ROLE_DIM}};
    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++) {
        if (!strcmp(roles[i].word, state)) {
            return roles[i].r;
        }
    }
    return ROLE_TEXT;
}

/* Columns of the plugin list, counted from the right edge. */
static void plugin_line(grid *g, rect r, int y, const plugin_row *p)
{
    bool wide = r.w >= 36;
    int right = r.x + r.w, tail = wide ? 21 : 14;
    char text[32] = "";
    grid_text(g, r.x, y, r.w - tail - 1, ROLE_TEXT, p->name);
    grid_text(g, right - tail, y, 9, state_role(p->state), p->state);
    if (p->restarts >= 0) {
        snprintf(text, sizeof text, "%lld", (long long)p->restarts);
    }
    grid_text_right(g, right - tail + 14, y, 4, p->restarts > 0 ? ROLE_WARN : ROLE_DIM, text);
    if (wide && p->generation >= 0) {
        snprintf(text, sizeof text, "%lld", (long long)p->generation);
        grid_text_right(g, right, y, 6, ROLE_DIM, text);
    }
}

static void plugin_head(grid *g, rect r)
{
    bool wide = r.w >= 36;
    int right = r.x + r.w, tail = wide ? 21 : 14;
    grid_text(g, r.x, r.y, 8, ROLE_DIM, "PLUGIN");
    grid_text(g, right - tail, r.y, 9, ROLE_DIM, "STATE");
    grid_text_right(g, right - tail + 14, r.y, 4, ROLE_DIM, "RST");
    if (wide) {
        grid_text_right(g, right, r.y, 4, ROLE_DIM, "GEN");
    }
}

static int ready_count(const host_state *h)
{
    int n = 0;
    for (int i = 0; i < h->n_plugins; i++) {
        n += !strcmp(h->plugins[i].state, "READY");
    }
    return n;
}

static bool host_missing(const ui *u, grid *g, rect r, int n)
{
    if (!u->snap->host) {
        waiting(u, g, r, SRC_HOST);
        return true;
    }
    if (!n) {
        grid_text(g, r.x, r.y, r.w, ROLE_DIM, "none told by the host");
    }
    return !n;
}

void view_plugins(const ui *u, grid *g, rect box, bool focused)
{
    const host_state *h = u->snap->host;
    char note[48] = "";
    if (h && h->n_plugins) {
        snprintf(note, sizeof note, "%d/%d ready", ready_count(h), h->n_plugins);
    }
    view_panel(u, g, box, "3 Plugins", focused, SRC_HOST, note);
    rect r = {box.x + 2, box.y + 1, box.w - 4, box.h - 2};
    if (host_missing(u, g, r, h ? h->n_plugins : 0)) {
        return;
    }
    plugin_head(g, r);
    const list_pos *p = &u->pos[PANEL_PLUGINS];
    for (int i = 0; i < r.h - 1 && p->top + i < h->n_plugins; i++) {
        int y = r.y + 1 + i;
        plugin_line(g, r, y, &h->plugins[p->top + i]);
        if (focused && p->top + i == p->sel) {
            grid_select(g, box.x + 1, y, box.w - 2);
        }
        grid_zone(g, (rect){box.x, y, box.w, 1}, ACT_ROW, (PANEL_PLUGINS << 24) | (p->top + i));
    }
}

static role depth_role(const route_row *q)
{
    double part = q->capacity > 0 ? q->depth / q->capacity : 0;
    return part >= 0.8 ? ROLE_FAIL : part >= 0.5 ? ROLE_WARN : q->depth > 0 ? ROLE_RUN : ROLE_DIM;
}

static void fill_picture(grid *g, int x, int y, int w, const route_row *q)
{
    if (q->capacity > 0) {
        plot_gauge(g, x, y, w, depth_role(q), q->depth / q->capacity);
    } else {
        plot_spark(g, x, y, w, ROLE_RUN, q->history, q->n_history);
    }
}

static int put_rate(grid *g, int right, int y, double v)
{
    char rate[16];
    text_rate(rate, sizeof rate, v > 0 ? v : 0);
    grid_text_right(g, right - 2, y, 6, ROLE_TEXT, rate);
    grid_text(g, right - 2, y, 2, ROLE_DIM, "/s");
    return right - 9;
}

/* The queue panel alone: everything that is known of a route, columns from the right edge. */
static void route_full(grid *g, rect r, int y, const route_row *q)
{
    char text[16];
    int x = put_rate(g, r.x + r.w, y, q->out_rate);
    x = put_rate(g, x, y, q->in_rate);
    text_count(text, sizeof text, q->acked);
    grid_text_right(g, x, y, 9, ROLE_DIM, text);
    fill_picture(g, x - 20, y, 10, q);
    text_count(text, sizeof text, q->capacity);
    grid_text_right(g, x - 21, y, 7, ROLE_DIM, q->capacity > 0 ? text : "-");
    text_count(text, sizeof text, q->depth);
    grid_text_right(g, x - 29, y, 7, depth_role(q), text);
    grid_text(g, r.x, y, x - 37 - r.x, ROLE_TEXT, q->name);
}

static void route_full_head(grid *g, rect r)
{
    static const struct {
        int right;
        const char *name;
    } heads[] = {{0, "OUT"}, {9, "IN"}, {18, "DONE"}, {39, "OF"}, {47, "DEPTH"}};
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        grid_text_right(g, r.x + r.w - heads[i].right, r.y, 6, ROLE_DIM, heads[i].name);
    }
    grid_text(g, r.x + r.w - 38, r.y, 4, ROLE_DIM, "FILL");
    grid_text(g, r.x, r.y, 8, ROLE_DIM, "QUEUE");
}

/* Columns of the queue list, counted from the right edge: depth, fill, rate. */
static void route_line(grid *g, rect r, int y, const route_row *q)
{
    bool wide = r.w >= 40;
    int right = r.x + r.w, tail = wide ? 24 : 15;
    char depth[16];
    if (r.w >= 70) {
        route_full(g, r, y, q);
        return;
    }
    text_count(depth, sizeof depth, q->depth);
    grid_text(g, r.x, y, r.w - tail, ROLE_TEXT, q->name);
    grid_text_right(g, right - tail + 7, y, 6, depth_role(q), depth);
    if (wide) {
        fill_picture(g, right - tail + 8, y, 8, q);
    }
    put_rate(g, right, y, q->out_rate);
}

static void route_head(grid *g, rect r)
{
    bool wide = r.w >= 40;
    int right = r.x + r.w, tail = wide ? 24 : 15;
    if (r.w >= 70) {
        route_full_head(g, r);
        return;
    }
    grid_text(g, r.x, r.y, 8, ROLE_DIM, "QUEUE");
    grid_text_right(g, right - tail + 7, r.y, 6, ROLE_DIM, "DEPTH");
    if (wide) {
        grid_text(g, right - tail + 8, r.y, 8, ROLE_DIM, "FILL");
    }
    grid_text_right(g, right, r.y, 6, ROLE_DIM, "RATE");
}

void view_routes(const ui *u, grid *g, rect box, bool focused)
{
    const host_state *h = u->snap->host;
    view_panel(u, g, box, "4 Queues", focused, SRC_HOST, NULL);
    rect r = {box.x + 2, box.y + 1, box.w - 4, box.h - 2};
    if (host_missing(u, g, r, h ? h->n_routes : 0)) {
        return;
    }
    route_head(g, r);
    const list_pos *p = &u->pos[PANEL_ROUTES];
    for (int i = 0; i < r.h - 1 && p->top + i < h->n_routes; i++) {
        int y = r.y + 1 + i;
        route_line(g, r, y, &h->routes[p->top + i]);
        if (focused && p->top + i == p->sel) {
            grid_select(g, box.x + 1, y, box.w - 2);
        }
        grid_zone(g, (rect){box.x, y, box.w, 1}, ACT_ROW, (PANEL_ROUTES << 24) | (p->top + i));
    }
}

/* Plugins and queues in one small panel: what is not ready by name, the ready ones as far as they fit. */
static void host_merged(const ui *u, grid *g, rect box)
{
    const host_state *h = u->snap->host;
    char note[48] = "";
    if (h && h->n_plugins) {
        snprintf(note, sizeof note, "%d/%d", ready_count(h), h->n_plugins);
    }
    view_panel(u, g, box, "3 Plugins  4 Queues", false, SRC_HOST, note);
    rect r = {box.x + 2, box.y + 1, box.w - 4, box.h - 2};
    if (host_missing(u, g, r, h ? h->n_plugins + h->n_routes : 0)) {
        return;
    }
    int routes = h->n_routes < r.h / 2 ? h->n_routes : r.h / 2;
    int room = r.h - routes, y = r.y;
    bool all = h->n_plugins <= room;
    int hidden = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < h->n_plugins; i++) {
            bool ready = !strcmp(h->plugins[i].state, "READY");
            if (all ? pass == 0 : ready == (pass == 1)) {
                bool fits = y < r.y + room - (all ? 0 : 1);
                hidden += !fits;
                if (fits) {
                    grid_zone(g, (rect){box.x, y, box.w, 1}, ACT_PANEL_3, 0);
                    plugin_line(g, r, y++, &h->plugins[i]);
                }
            }
        }
    }
    if (hidden) {
        grid_printf(g, r.x, y++, r.w, ROLE_DIM, "and %d more", hidden);
    }
    for (int i = 0; i < routes; i++) {
        grid_zone(g, (rect){box.x, y, box.w, 1}, ACT_PANEL_4, 0);
        route_line(g, r, y++, &h->routes[i]);
    }
}

static void condensed_figures(const ui *u, grid *g, rect r)
{
    const stats *s = &u->snap->stats;
    static const char *const label[] = {"Total", "Completed", "Failed", "Pending"};
    const int64_t value[] = {s->total, s->completed, s->failed, s->pending};
    const role roles[] = {ROLE_STRONG, ROLE_OK, s->failed > 0 ? ROLE_FAIL : ROLE_TEXT, ROLE_WAIT};
    rect one = {1, r.y, r.w - 2, 2};
    if (waiting(u, g, one, SRC_STATS)) {
        return;
    }
    int x = 1;
    for (int i = 0; i < 4; i++) {
        char text[32];
        figure(text, sizeof text, value[i]);
        x += grid_text(g, x, r.y, r.w - x, ROLE_DIM, label[i]) + 1;
        int n = grid_text(g, x, r.y, r.w - x, roles[i], text);
        grid_attr(g, x, r.y, n, ATTR_BOLD);
        x += n + 2;
    }
    char rate[16], clock[16], age[40];
    text_rate(rate, sizeof rate, last_of(&u->snap->finished));
    text_clock(clock, sizeof clock, s->last_event_ms);
    view_age(u, SRC_STATS, age, sizeof age);
    x = 1 + grid_text(g, 1, r.y + 1, 5, ROLE_DIM, "Rate ");
    grid_printf(g, x, r.y + 1, 8, ROLE_ACCENT, "%s/s", rate);
    plot_spark(g, 15, r.y + 1, 16, ROLE_ACCENT, u->snap->finished.v, u->snap->finished.n);
    x = 33 + grid_text(g, 33, r.y + 1, 11, ROLE_DIM, "Last event ");
    x += grid_text(g, x, r.y + 1, 8, ROLE_TEXT, clock) + 1;
    grid_text(g, x, r.y + 1, r.w - x, ROLE_WARN, age);
}

static void condensed_host(const ui *u, grid *g, rect r)
{
    const host_state *h = u->snap->host;
    rect one = {1, r.y, r.w - 2, 1};
    if (host_missing(u, g, one, h ? h->n_plugins + h->n_routes : 0)) {
        return;
    }
    int ready = ready_count(h);
    int x = 1 + grid_text(g, 1, r.y, 8, ROLE_DIM, "Plugins ");
    x += grid_printf(g, x, r.y, 14, ready == h->n_plugins ? ROLE_OK : ROLE_WARN, "%d/%d READY", ready,
                     h->n_plugins);
    for (int i = 0; i < h->n_routes && x < r.w - 12; i++) {
        char depth[16];
        text_count(depth, sizeof depth, h->routes[i].depth);
        x += grid_printf(g, x, r.y, r.w - x - 6, ROLE_DIM, "  %s ", h->routes[i].name);
        x += grid_text(g, x, r.y, 6, depth_role(&h->routes[i]), depth);
    }
}

void view_dashboard(const ui *u, grid *g)
{
    layout l;
    layout_make(&l, g->w, g->h, u->focus, u->zoom);
    bool one = l.panels[u->focus].h == l.body.h && l.panels[u->focus].w == l.body.w;
    if (one) {
        if (u->focus == PANEL_JOBS) {
            view_jobs(u, g, l.body, true);
        } else if (u->focus == PANEL_ALERTS) {
            view_alerts(u, g, l.body, true);
        } else if (u->focus == PANEL_PLUGINS) {
            view_plugins(u, g, l.body, true);
        } else {
            view_routes(u, g, l.body, true);
        }
        return;
    }
    view_jobs(u, g, l.panels[PANEL_JOBS], l.borders);
    view_alerts(u, g, l.panels[PANEL_ALERTS], l.borders);
    if (!l.borders) {
        condensed_figures(u, g, l.stats);
        condensed_host(u, g, l.panels[PANEL_PLUGINS]);
        return;
    }
    statistics(u, g, l.stats);
    throughput(u, g, l.plot);
    if (!l.host_merged) {
        view_plugins(u, g, l.panels[PANEL_PLUGINS], u->focus == PANEL_PLUGINS);
        view_routes(u, g, l.panels[PANEL_ROUTES], u->focus == PANEL_ROUTES);
    } else if (u->focus == PANEL_PLUGINS) {
        view_plugins(u, g, l.panels[PANEL_PLUGINS], true);
    } else if (u->focus == PANEL_ROUTES) {
        view_routes(u, g, l.panels[PANEL_ROUTES], true);
    } else {
        host_merged(u, g, l.panels[PANEL_PLUGINS]);
    }
}
