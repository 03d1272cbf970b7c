/* view_setup — launcher and prerequisites; see view.h. */
#include "layout.h"
#include "text.h"
#include "view.h"

#include <stdio.h>
#include <string.h>

static void target(const ui *u, grid *g, rect r, int y, launch_kind kind, const char *name, const char *what)
{
    bool here = u->kind == kind;
    grid_text(g, r.x, y, 2, here ? ROLE_ACCENT : ROLE_DIM, here ? "▸" : " ");
    grid_text(g, r.x + 2, y, 20, here ? ROLE_STRONG : ROLE_TEXT, name);
    grid_text(g, r.x + 23, y, r.w - 23, ROLE_DIM, what);
    if (here && !u->launch.running) {
        grid_select(g, r.x - 1, y, r.w + 2);
    }
    grid_zone(g, (rect){r.x, y, r.w, 1}, ACT_ROW, (int)kind);
}

static void step_row(const ui *u, grid *g, rect r, int y, const launch_step *s, const char *name)
{
    static const char *const glyph[] = {"·", " ", "✓", "⚠", "○", "✗"};
    static const role roles[] = {ROLE_DIM, ROLE_RUN, ROLE_OK, ROLE_WARN, ROLE_DIM, ROLE_FAIL};
    char took[32] = "";
    role ro = roles[s->status];
    if (s->status == STEP_STARTING) {
        grid_char(g, r.x, y, ro, view_spinner(u));
    } else {
        grid_text(g, r.x, y, 1, ro, glyph[s->status]);
    }
    grid_text(g, r.x + 2, y, 8, s->status == STEP_WAITING ? ROLE_DIM : ROLE_STRONG, name);
    grid_text(g, r.x + 11, y, 9, ro, step_status_names[s->status]);
    if (s->begun_ms && s->status != STEP_SKIPPED) {
        int64_t end = s->ended_ms ? s->ended_ms : u->now_ms;
        text_duration(took, sizeof took, end - s->begun_ms);
        if (!s->ended_ms && end - s->begun_ms < 60000) {
            snprintf(took, sizeof took, "%llds", (long long)(end - s->begun_ms) / 1000);
        }
    }
    grid_text_right(g, r.x + 28, y, 7, ROLE_DIM, took);
    grid_text(g, r.x + 30, y, r.w - 30, ROLE_TEXT, s->message);
}

static int steps(const ui *u, grid *g, rect r, int y)
{
    const launch_state *l = &u->launch;
    char took[16], line[160];
    text_duration(took, sizeof took, ((l->running ? u->now_ms : l->ended_ms) - l->begun_ms) / 1000 * 1000);
    snprintf(line, sizeof line, "%s  %s", l->kind == LAUNCH_LOCAL ? "local host" : "Kubernetes",
             l->running                  ? "starting"
             : l->failed && l->cancelled ? "cancelled"
             : l->failed                 ? "failed"
                                         : "running");
    int n = grid_text(g, r.x, y, r.w, l->failed ? ROLE_FAIL : ROLE_ACCENT, line);
    grid_attr(g, r.x, y, n, ATTR_BOLD);
    grid_text_right(g, r.x + r.w, y, 10, ROLE_DIM, took);
    y += 1;
    for (int i = 0; i < STEP_COUNT && y < r.y + r.h; i++) {
        step_row(u, g, r, y++, &l->steps[i], step_names[i]);
    }
    return y;
}

static void log_lines(const ui *u, grid *g, rect r, int y)
{
    const launch_state *l = &u->launch;
    if (l->failed && l->remedy[0] && y < r.y + r.h) {
        grid_text(g, r.x, y, 8, ROLE_WARN, "Remedy");
        grid_text(g, r.x + 8, y, r.w - 8, ROLE_TEXT, l->remedy);
        y += 1;
    }
    for (int i = 0; i < l->n_urls && l->done && y < r.y + r.h; i++) {
        grid_text(g, r.x, y++, r.w, ROLE_ACCENT, l->urls[i]);
    }
    int room = r.y + r.h - y;
    int kept = l->n_log < LAUNCH_LOG ? l->n_log : LAUNCH_LOG;
    int shown = kept < room ? kept : room;
    for (int i = 0; i < shown; i++) {
        grid_text(g, r.x, y + i, r.w, ROLE_DIM, l->log[(l->n_log - shown + i) % LAUNCH_LOG]);
    }
}

void view_launcher(const ui *u, grid *g)
{
    bool begun = u->launch.begun_ms != 0;
    rect box = layout_dialog(g->w, g->h - 2, 100, begun ? 30 : 12);
    box.y += 1;
    grid_box(g, box, ROLE_BORDER, "Launcher", ROLE_DIM, NULL);
    rect r = {box.x + 2, box.y + 1, box.w - 4, box.h - 2};
    const source *gw = &u->snap->src[SRC_GATEWAY], *rm = &u->snap->src[SRC_READ];
    int y = r.y;
    if (!begun) {
        bool down = snapshot_all_down(u->snap);
        grid_text(g, r.x, y, r.w, ROLE_STRONG, down ? "Nothing is running here." : "A system is running.");
        y += 2;
        grid_printf(g, r.x, y++, r.w, gw->failures ? ROLE_DIM : ROLE_OK, "%s %s  %s",
                    gw->failures ? "✗" : "●", u->gateway_url, gw->error);
        grid_printf(g, r.x, y++, r.w, rm->failures ? ROLE_DIM : ROLE_OK, "%s %s  %s",
                    rm->failures ? "✗" : "●", u->read_url, rm->error);
        y++;
    }
    target(u, g, r, y++, LAUNCH_LOCAL, "Local host", "one process with the embedded stores");
    target(u, g, r, y++, LAUNCH_CLUSTER, "Kubernetes (kind)",
           "a cluster in containers: docker, kind, kubectl");
    y++;
    if (begun) {
        y = steps(u, g, r, y);
        log_lines(u, g, r, y + (y + 4 < r.y + r.h));
    } else if (u->caps->read_only) {
        grid_text(g, r.x, y, r.w, ROLE_WARN, "read-only: starting is not possible here");
    } else {
        grid_text(g, r.x, y, r.w, ROLE_DIM,
                  "L starts the selected one. P checks this machine. D shows the dashboard.");
    }
}

static rect check_list(const ui *u)
{
    return (rect){2, 2, u->w - 4, u->h - 8};
}

int view_check_rows(const ui *u)
{
    int h = check_list(u).h;
    return h > 1 ? h : 1;
}

static void check_row_draw(grid *g, rect r, int y, const check_row *c, bool new_section)
{
    static const char *const word[] = {"[OK]", "[WARN]", "[FAIL]"};
    static const role roles[] = {ROLE_OK, ROLE_WARN, ROLE_FAIL};
    grid_text(g, r.x, y, 10, ROLE_DIM, new_section ? c->section : "");
    grid_text(g, r.x + 11, y, 6, roles[c->verdict], word[c->verdict]);
    int name = r.w >= 90 ? 24 : 16;
    grid_text(g, r.x + 18, y, name, ROLE_STRONG, c->name);
    grid_text(g, r.x + 19 + name, y, r.w - 19 - name, c->verdict == VERDICT_OK ? ROLE_DIM : ROLE_TEXT,
              c->detail);
}

static void check_help(const ui *u, grid *g, rect r)
{
    const check_state *c = &u->checks;
    if (c->running) {
        grid_char(g, r.x, r.y, ROLE_ACCENT, view_spinner(u));
        grid_text(g, r.x + 2, r.y, r.w - 2, ROLE_DIM, "checking…");
        return;
    }
    if (u->check_pos.sel >= c->n) {
        return;
    }
    const check_row *row = &c->rows[u->check_pos.sel];
    if (row->install[0]) {
        grid_text(g, r.x, r.y, 9, ROLE_DIM, "Install");
        grid_text(g, r.x + 9, r.y, r.w - 9, ROLE_STRONG, row->install);
    }
    if (row->hint[0]) {
        grid_text(g, r.x, r.y + 1, 9, ROLE_DIM, "Hint");
        grid_text(g, r.x + 9, r.y + 1, r.w - 9, ROLE_TEXT, row->hint);
    }
    grid_text(g, r.x, r.y + 2, r.w, c->exit_status ? ROLE_WARN : ROLE_OK,
              c->exit_status ? "Something that is needed is missing."
                             : "Everything that is needed is there.");
}

void view_prereq(const ui *u, grid *g)
{
    const check_state *c = &u->checks;
    rect box = {0, 1, g->w, g->h - 2};
    char note[32] = "";
    if (c->n) {
        snprintf(note, sizeof note, "%d checks", c->n);
    }
    grid_box(g, box, ROLE_FOCUS, "Prerequisites", ROLE_DIM, note);
    rect r = check_list(u);
    for (int i = 0; i < r.h && u->check_pos.top + i < c->n; i++) {
        int at = u->check_pos.top + i;
        bool fresh = i == 0 || strcmp(c->rows[at].section, c->rows[at - 1].section) != 0;
        check_row_draw(g, r, r.y + i, &c->rows[at], fresh);
        if (at == u->check_pos.sel) {
            grid_select(g, 1, r.y + i, g->w - 2);
        }
        grid_zone(g, (rect){r.x, r.y + i, r.w, 1}, ACT_ROW, at);
    }
    grid_fill(g, (rect){1, r.y + r.h, g->w - 2, 1}, ROLE_BORDER, 0x2500);
    check_help(u, g, (rect){2, r.y + r.h + 1, g->w - 4, 3});
}
