/* view — header, footer, splash and the choice of what stands between; see view.h. */
#include "view.h"

#include "layout.h"
#include "text.h"

#include <stdio.h>
#include <string.h>

uint32_t view_spinner(const ui *u)
{
    static const uint32_t braille[] = {0x280B, 0x2819, 0x2839, 0x2838, 0x283C,
                                       0x2834, 0x2826, 0x2827, 0x2807, 0x280F};
    static const char plain[] = "|/-\\";
    size_t i = (size_t)(u->caps->motion ? (u->now_ms - u->begun_ms) / 80 : 0);
    return u->caps->utf8 ? braille[i % 10] : (uint32_t)plain[i % 4];
}

role view_status_role(job_status s)
{
    static const role roles[] = {ROLE_WAIT, ROLE_WAIT, ROLE_RUN, ROLE_OK, ROLE_FAIL, ROLE_TEXT};
    return roles[s];
}

void view_seconds(int64_t seconds, char *out, size_t size)
{
    if (seconds < 60) { /* "7s", not "7.00s" */
        snprintf(out, size, "%llds", (long long)(seconds < 0 ? 0 : seconds));
    } else {
        text_duration(out, size, seconds * 1000);
    }
}

void view_age(const ui *u, source_id src, char *out, size_t size)
{
    const source *s = &u->snap->src[src];
    out[0] = '\0';
    int64_t seconds = (u->now_ms - s->ok_ms) / 1000;
    if (s->failures > 0 && s->ok_ms && seconds >= 2) {
        char age[32];
        view_seconds(seconds, age, sizeof age);
        snprintf(out, size, "%s old", age);
    }
}

void view_panel(const ui *u, grid *g, rect r, const char *title, bool focused, source_id src,
                const char *note)
{
    char age[40];
    view_age(u, src, age, sizeof age);
    grid_box(g, r, focused ? ROLE_FOCUS : ROLE_BORDER, title, age[0] ? ROLE_WARN : ROLE_DIM,
             age[0] ? age : note);
}

int pen_next(pen *p)
{
    int y = p->line++ - p->scroll;
    return p->g && y >= 0 && y < p->r.h ? p->r.y + y : -1;
}

void pen_text(pen *p, role r, const char *s)
{
    int y = pen_next(p);
    if (y >= 0) {
        grid_text(p->g, p->r.x, y, p->r.w, r, s);
    }
}

void pen_field(pen *p, const char *label, role r, const char *value)
{
    int y = pen_next(p);
    if (y >= 0) {
        grid_text(p->g, p->r.x, y, 12, ROLE_DIM, label);
        grid_text(p->g, p->r.x + 12, y, p->r.w - 12, r, value);
    }
}

/* Bytes of s that fit into so many columns and a line's room: up to the last space in their second half, else
 * all. */
static size_t wrap_at(const char *s, int columns, size_t room)
{
    const char *p = s, *end = s + strlen(s), *space = NULL;
    int used = 0;
    while (p < end) {
        const char *next = p;
        used += text_width(text_next(&next, end));
        if (used > columns || (size_t)(next - s) > room) {
            return (size_t)((space ? space : p) - s);
        }
        p = next;
        space = *p == ' ' && used >= columns / 2 ? p : space;
    }
    return (size_t)(end - s);
}

void pen_wrapped(pen *p, role r, const char *s)
{
    char line[512];
    while (*s) {
        size_t n = wrap_at(s, p->r.w > 10 ? p->r.w : 10, sizeof line - 1);
        snprintf(line, sizeof line, "%.*s", (int)n, s);
        pen_text(p, r, line);
        s += n + (s[n] == ' ');
    }
}

void pen_title(pen *p, const char *s)
{
    pen_next(p);
    int y = pen_next(p);
    if (y >= 0) {
        int n = grid_text(p->g, p->r.x, y, p->r.w, ROLE_TITLE, s);
        grid_attr(p->g, p->r.x, y, n, ATTR_BOLD);
        grid_fill(p->g, (rect){p->r.x + n + 1, y, p->r.w - n - 1, 1}, ROLE_BORDER, 0x2500);
    }
}

/* "● gateway" or "✗ gateway away 12s", drawn to end before x; returns where it begins. */
static int link_state(const ui *u, grid *g, int x_end, int y, source_id src, const char *name)
{
    const source *s = &u->snap->src[src];
    char line[80], age[40];
    view_age(u, src, age, sizeof age);
    bool asked = s->ok_ms || s->failures;
    if (!asked) {
        snprintf(line, sizeof line, "○ %s …", name);
    } else if (s->failures) {
        snprintf(line, sizeof line, "✗ %s away", name);
    } else if (s->latency_ms >= 200) {
        snprintf(line, sizeof line, "● %s slow, %dms", name, s->latency_ms);
    } else {
        snprintf(line, sizeof line, "● %s", name);
    }
    role r = !asked ? ROLE_DIM : s->failures ? ROLE_FAIL : ROLE_OK;
    int n = text_columns(line);
    grid_text(g, x_end - n, y, n, ROLE_TEXT, line);
    grid_text(g, x_end - n, y, s->failures ? n : 1, r, s->failures ? line : asked ? "●" : "○");
    return x_end - n;
}

static void header(const ui *u, grid *g, rect r)
{
    int x = r.x + 1;
    x += grid_text(g, x, r.y, 1, ROLE_ACCENT, "◆") + 1;
    int n = grid_text(g, x, r.y, 4, ROLE_STRONG, "odto");
    grid_attr(g, x, r.y, n, ATTR_BOLD);
    x += n + 2;
    int right = link_state(u, g, r.w - 1, r.y, SRC_READ, "read model");
    right = link_state(u, g, right - 2, r.y, SRC_GATEWAY, "gateway");
    const char *badge = u->paused ? "PAUSED" : u->caps->read_only ? "READ-ONLY" : NULL;
    if (badge) {
        right = grid_text_right(g, right - 2, r.y, 12, ROLE_WARN, badge);
        grid_attr(g, right, r.y, text_columns(badge), ATTR_BOLD);
    }
    const char *title = "Distributed Task Observatory";
    if (right - x > text_columns(title) + 2) {
        x += grid_text(g, x, r.y, right - x - 1, ROLE_DIM, title) + 2;
    }
    if (u->snap->version[0] && right - x > 10 && g->w >= 100) {
        grid_text(g, x, r.y, right - x - 1, ROLE_DIM, u->snap->version);
    }
}

/* "Q quit"; returns the columns used (with `draw` false only measured). */
static int hint(grid *g, int x, int y, const binding *b, bool draw)
{
    const char *what = b->name[0] ? b->name : b->help;
    int n = text_columns(b->label), m = text_columns(what);
    if (draw) {
        grid_text(g, x, y, n, ROLE_KEY, b->label);
        grid_attr(g, x, y, n, ATTR_BOLD);
        grid_text(g, x + n + 1, y, m, ROLE_DIM, what);
        grid_zone(g, (rect){x, y, n + 1 + m, 1}, (int)b->action, 0);
    }
    return n + 1 + m;
}

static bool hidden_hint(const ui *u, const binding *b)
{
    return (b->writes && u->caps->read_only) ||
           (!u->can_launch && (b->action == ACT_LAUNCH || b->action == ACT_PREREQ));
}

static void footer_keys(const ui *u, grid *g, rect r)
{
    uint32_t context = ui_context(u);
    static const action always[] = {ACT_QUIT, ACT_HELP};
    int right = r.x + r.w - 1, x = r.x + 1;
    for (size_t i = 0; i < 2; i++) {
        const binding *b = key_of(context, always[i]);
        if (b && b->footer) {
            int n = hint(g, 0, r.y, b, false);
            hint(g, right - n, r.y, b, true);
            right -= n + 2;
        }
    }
    for (int rank = 1; rank <= 13; rank++) {
        for (size_t i = 0; i < key_bindings_n; i++) {
            const binding *b = &key_bindings[i];
            if (b->footer != rank || !(b->contexts & context) || hidden_hint(u, b)) {
                continue;
            }
            const char *what = b->name[0] ? b->name : b->help;
            int n = text_columns(b->label) + 1 + text_columns(what);
            if (x + n <= right) {
                hint(g, x, r.y, b, true);
                x += n + 2;
            }
        }
    }
}

static void footer(const ui *u, grid *g, rect r)
{
    if (u->filtering && u->dialog == DIALOG_NONE && u->screen == SCREEN_DASH) {
        int x = 1 + grid_text(g, 1, r.y, 8, ROLE_KEY, "filter");
        grid_fill(g, (rect){x + 1, r.y, 30, 1}, ROLE_INPUT, ' ');
        int n = grid_text(g, x + 2, r.y, 27, ROLE_INPUT, u->filter.text);
        g->cursor_x = x + 2 + n;
        g->cursor_y = r.y;
        grid_printf(g, x + 33, r.y, r.w - x - 34, ROLE_DIM, "%d match  Enter keep  Esc drop", u->n_order);
        return;
    }
    if (u->notice[0]) {
        grid_text(g, 1, r.y, r.w - 2, u->notice_role, u->notice);
        return;
    }
    footer_keys(u, g, r);
}

static void splash(const ui *u, grid *g)
{
    static const char *const logo[] = {"       ╷ ╷        ", "╭─╮ ╭─┤ ├╴╭─╮", "│ │ │ │ │ │ │",
                                       "╰─╯ ╰─╯ ╰╴╰─╯"};
    static const char *const saying[] = {"asking the gateway", "reading the statistics",
                                         "looking for the queues", "listening for alerts",
                                         "counting finished tasks"};
    rect all = {0, 0, g->w, g->h};
    int y = g->h / 2 - 4;
    int x = (g->w - 13) / 2;
    for (int i = 0; i < 4; i++) {
        grid_text(g, x, y + i, 14, ROLE_ACCENT, logo[i]);
    }
    grid_text_center(g, all, y + 5, ROLE_STRONG, "Distributed Task Observatory");
    char line[80];
    size_t which = u->caps->motion ? (size_t)((u->now_ms - u->begun_ms) / 400) % 5 : 0;
    int at =
        grid_text_center(g, all, y + 7, ROLE_DIM, (snprintf(line, sizeof line, "  %s", saying[which]), line));
    grid_char(g, at, y + 7, ROLE_ACCENT, view_spinner(u));
}

/* A screen that is too small for panels still tells the state, and how to leave. */
static void too_small(const ui *u, grid *g)
{
    const snapshot *s = u->snap;
    rect all = {0, 0, g->w, g->h};
    char line[120], total[32];
    int y = g->h / 2 - 2;
    y = y < 0 ? 0 : y;
    text_number(total, sizeof total, s->stats.total < 0 ? 0 : s->stats.total);
    if (snapshot_all_down(s)) {
        snprintf(line, sizeof line, "not connected");
    } else {
        snprintf(line, sizeof line, "%s jobs, %lld failed", total,
                 (long long)(s->stats.failed < 0 ? 0 : s->stats.failed));
    }
    grid_text_center(g, all, y, ROLE_STRONG, line);
    if (s->alerts && s->alerts->n) {
        snprintf(line, sizeof line, "%d alerts", s->alerts->n);
        grid_text_center(g, all, y + 1, ROLE_FAIL, line);
    }
    if (g->h > 3) {
        snprintf(line, sizeof line, "%dx%d is too small: 60x16", g->w, g->h);
        grid_text_center(g, all, y + 2, ROLE_DIM, line);
        grid_text_center(g, all, y + 3, ROLE_KEY, "q quits");
    }
}

int view_draw(const ui *u, grid *g)
{
    int rc = grid_reset(g, u->w, u->h, u->caps);
    if (rc) {
        return rc;
    }
    layout l;
    layout_make(&l, g->w, g->h, u->focus, u->zoom);
    if (l.density == DENSITY_NONE) {
        too_small(u, g);
        return 0;
    }
    switch (u->screen) {
    case SCREEN_SPLASH:
        splash(u, g);
        return 0;
    case SCREEN_LAUNCHER:
        view_launcher(u, g);
        break;
    case SCREEN_PREREQ:
        view_prereq(u, g);
        break;
    case SCREEN_DASH:
        view_dashboard(u, g);
        break;
    }
    if (u->dialog != DIALOG_NONE) {
        g->n_zones = 0; /* a dialog takes the mouse */
        for (int i = 0; i < g->w * g->h; i++) {
            g->cells[i].role = ROLE_BORDER;
            g->cells[i].attr = 0;
        }
        view_dialog(u, g);
    }
    header(u, g, l.header);
    footer(u, g, l.footer);
    return 0;
}
