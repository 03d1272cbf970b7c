/* ui_do — what each action does in each screen and dialog; see ui.h. */
#include "layout.h"
#include "text.h"
#include "ui.h"
#include "view.h"

#include <stdio.h>
#include <string.h>

static int page_rows(const ui *u)
{
    layout l;
    layout_make(&l, u->w, u->h, u->focus, u->zoom);
    return layout_rows(&l, u->focus);
}

static void scroll_to(ui *u, int to)
{
    int most = view_scroll_max(u);
    u->scroll = to > most ? most : to;
    u->scroll = u->scroll < 0 ? 0 : u->scroll;
}

static void move_list(ui *u, int by)
{
    if (u->screen == SCREEN_LAUNCHER) {
        u->kind = by > 0 ? LAUNCH_CLUSTER : LAUNCH_LOCAL;
    } else if (u->screen == SCREEN_PREREQ) {
        list_move(&u->check_pos, u->checks.n, view_check_rows(u), by);
    } else if (u->screen == SCREEN_DASH) {
        list_move(&u->pos[u->focus], ui_rows(u, u->focus), page_rows(u), by);
        if (u->focus == PANEL_JOBS) {
            u->follow = u->follow && u->pos[PANEL_JOBS].sel == list_newest(u);
            list_keep(u);
        }
    }
}

static void move(ui *u, action a)
{
    int page = u->dialog == DIALOG_NONE ? page_rows(u) : u->h > 10 ? u->h - 8 : 2;
    int by = a == ACT_UP     ? -1
             : a == ACT_DOWN ? 1
             : a == ACT_PGUP ? -page
             : a == ACT_PGDN ? page
             : a == ACT_HOME ? -1000000
                             : 1000000;
    switch (u->dialog) {
    case DIALOG_NONE:
        move_list(u, by);
        break;
    case DIALOG_DETAIL:
    case DIALOG_ALERT:
    case DIALOG_HELP:
        scroll_to(u, u->scroll + by);
        break;
    case DIALOG_UIS:
        list_move(&u->uis, u->reg.n, u->reg.n, by);
        u->shown_url[0] = '\0';
        break;
    case DIALOG_PALETTE: {
        const binding *found[64];
        list_pos p = {u->palette_sel, 0};
        list_move(&p, ui_palette(u, found, 64), 1, by);
        u->palette_sel = p.sel;
        break;
    }
    case DIALOG_FORM:
    case DIALOG_CONFIRM:
        break;
    }
}

static void copy(ui *u, const char *what, const char *text)
{
    const char *where = u->ops->copy(u->ctx, text);
    if (where) {
        ui_notice(u, ROLE_OK, "%s sent to the %s: %s", what, where, text);
    } else {
        ui_notice(u, ROLE_WARN, "no clipboard here; %s: %s", what, text);
    }
}

static void open_url(ui *u)
{
    char url[256];
    registry_url(&u->reg, u->uis.sel, url, sizeof url);
    snprintf(u->shown_url, sizeof u->shown_url, "%s", url);
    if (u->caps->remote) {
        copy(u, "URL", url);
    } else {
        u->ops->open_url(u->ctx, url);
    }
}

static void open_dash(ui *u)
{
    const job *j = ui_selected_job(u);
    const alert_list *al = u->snap->alerts;
    u->scroll = 0;
    if (u->focus == PANEL_JOBS && j) {
        u->dialog = DIALOG_DETAIL;
        u->ops->detail(u->ctx, j->id);
    } else if (u->focus == PANEL_ALERTS && al && u->pos[PANEL_ALERTS].sel < al->n) {
        u->alert = al->items[u->pos[PANEL_ALERTS].sel];
        u->dialog = DIALOG_ALERT;
    } else if (u->focus == PANEL_PLUGINS || u->focus == PANEL_ROUTES) {
        u->zoom = !u->zoom;
        list_keep(u);
    }
}

static void run_palette(ui *u)
{
    const binding *found[64];
    int n = ui_palette(u, found, 64);
    u->dialog = DIALOG_NONE;
    if (u->palette_sel >= n) {
        ui_notice(u, ROLE_WARN, "no command matches: %s", u->command.text);
        return;
    }
    const binding *b = found[u->palette_sel];
    if (b->writes && u->caps->read_only) {
        ui_notice(u, ROLE_WARN, "read-only: %s is not possible here", b->help);
    } else {
        ui_do(u, b->action, 0);
    }
}

/* Also what a click leads to, which no key stands for. */
static void ask(ui *u, confirm_id c)
{
    if (u->caps->read_only && c != CONFIRM_CANCEL_LAUNCH) {
        ui_notice(u, ROLE_WARN, "read-only: that is not possible here");
        return;
    }
    u->confirm = c;
    u->dialog = DIALOG_CONFIRM;
}

static void open_selected(ui *u)
{
    if (u->dialog == DIALOG_UIS) {
        open_url(u);
    } else if (u->dialog == DIALOG_PALETTE) {
        run_palette(u);
    } else if (u->dialog == DIALOG_FORM) {
        form_submit(u);
    } else if (u->filtering) {
        u->filtering = false;
    } else if (u->screen == SCREEN_PREREQ) {
        if (u->check_pos.sel < u->checks.n && u->checks.rows[u->check_pos.sel].install[0]) {
            ask(u, CONFIRM_INSTALL);
        } else {
            ui_notice(u, ROLE_DIM, "nothing to install for this line");
        }
    } else if (u->screen == SCREEN_DASH) {
        open_dash(u);
    }
}

static void close_dialog(ui *u)
{
    if (u->dialog == DIALOG_DETAIL) {
        u->ops->detail(u->ctx, NULL);
    }
    u->dialog = DIALOG_NONE;
    u->shown_url[0] = '\0';
}

static void back(ui *u)
{
    if (u->dialog != DIALOG_NONE) {
        close_dialog(u);
    } else if (u->screen == SCREEN_LAUNCHER && u->launch.running) {
        ask(u, CONFIRM_CANCEL_LAUNCH);
    } else if (u->screen == SCREEN_PREREQ) {
        u->screen = snapshot_all_down(u->snap) && u->can_launch ? SCREEN_LAUNCHER : SCREEN_DASH;
    } else if (u->screen == SCREEN_LAUNCHER) {
        u->screen = SCREEN_DASH;
    } else if (u->filter.len) {
        edit_set(&u->filter, "");
        list_order(u);
    } else if (u->zoom) {
        u->zoom = false;
        list_keep(u);
    } else if (u->focus != PANEL_JOBS) {
        u->focus = PANEL_JOBS;
        list_keep(u);
    }
}

static void launch(ui *u)
{
    if (!u->can_launch) {
        ui_notice(u, ROLE_WARN, "the launcher is off in server mode");
    } else if (u->screen != SCREEN_LAUNCHER) {
        u->screen = SCREEN_LAUNCHER;
    } else if (!u->launch.running) {
        u->ops->launch(u->ctx, u->kind);
    }
}

static void prerequisites(ui *u)
{
    if (!u->can_launch) {
        ui_notice(u, ROLE_WARN, "prerequisites are not checked in server mode");
        return;
    }
    u->screen = SCREEN_PREREQ;
    u->check_pos = (list_pos){0, 0};
    u->ops->checks(u->ctx);
}

static void confirmed(ui *u)
{
    u->dialog = DIALOG_NONE;
    switch (u->confirm) {
    case CONFIRM_SHUTDOWN:
        u->ops->shutdown(u->ctx);
        break;
    case CONFIRM_INSTALL:
        u->ops->install(u->ctx, u->checks.rows[u->check_pos.sel].install);
        break;
    case CONFIRM_CANCEL_LAUNCH:
        u->launch.cancelled = true;
        u->ops->cancel_launch(u->ctx);
        break;
    }
}

static void copy_selected(ui *u)
{
    const job *j = ui_selected_job(u);
    char url[256];
    if (u->dialog == DIALOG_UIS) {
        registry_url(&u->reg, u->uis.sel, url, sizeof url);
        snprintf(u->shown_url, sizeof u->shown_url, "%s", url);
        copy(u, "URL", url);
    } else if (u->dialog == DIALOG_DETAIL && u->snap->detail) {
        copy(u, "id", u->snap->detail->job.id[0] ? u->snap->detail->job.id : u->sel_job);
    } else if (u->screen == SCREEN_PREREQ) {
        const check_row *r = &u->checks.rows[u->check_pos.sel];
        if (u->check_pos.sel < u->checks.n && r->install[0]) {
            copy(u, "command", r->install);
        }
    } else if (u->screen == SCREEN_DASH && u->focus == PANEL_JOBS && j) {
        copy(u, "id", j->id);
    }
}

static void focus_panel(ui *u, int panel)
{
    u->focus = (panel_id)((panel + PANEL_COUNT) % PANEL_COUNT);
    list_keep(u);
}

static void next_field(ui *u, int by)
{
    if (u->dialog == DIALOG_FORM) {
        u->field = !u->field;
    } else if (u->screen == SCREEN_DASH) {
        focus_panel(u, (int)u->focus + by);
    }
}

static void pause(ui *u)
{
    u->paused = !u->paused;
    snapshot *held = u->held;
    u->held = NULL;
    if (!u->paused && held) {
        ui_set_snapshot(u, held);
    }
}

static void select_row(ui *u, int arg)
{
    /* arg: list in the high bits, row in the low ones; a second click opens */
    int list = arg >> 24, row = arg & 0xFFFFFF;
    list_pos *p = u->dialog == DIALOG_UIS      ? &u->uis
                  : u->screen == SCREEN_PREREQ ? &u->check_pos
                                               : &u->pos[list < PANEL_COUNT ? list : 0];
    bool again =
        p->sel == row && (u->dialog == DIALOG_UIS || u->screen != SCREEN_DASH || (int)u->focus == list);
    if (u->dialog == DIALOG_PALETTE) {
        again = true;
        u->palette_sel = row;
    } else if (u->screen == SCREEN_LAUNCHER && u->dialog == DIALOG_NONE) {
        u->kind = row ? LAUNCH_CLUSTER : LAUNCH_LOCAL;
        return;
    } else {
        p->sel = row;
    }
    if (u->dialog == DIALOG_NONE && u->screen == SCREEN_DASH) {
        u->focus = (panel_id)list;
        u->follow = u->follow && list != PANEL_JOBS;
        list_keep(u);
    }
    if (again) {
        open_selected(u);
    }
}

static void sort_next(ui *u)
{
    u->sort = (sort_id)((u->sort + 1) % SORT_COUNT);
    u->descending = u->sort == SORT_CREATED || u->sort == SORT_DURATION || u->sort == SORT_STATUS;
    list_order(u);
}

static void open_dialog(ui *u, dialog_id d)
{
    close_dialog(u);
    u->dialog = d;
    u->scroll = 0;
    u->palette_sel = 0;
    edit_set(&u->command, "");
}

/* Actions that concern the list of jobs. */
static void do_jobs(ui *u, action a)
{
    switch (a) {
    case ACT_FILTER:
        u->filtering = true;
        u->focus = PANEL_JOBS;
        break;
    case ACT_CLEAR_FILTER:
        u->filtering = false;
        edit_set(&u->filter, "");
        list_order(u);
        break;
    case ACT_SORT:
        sort_next(u);
        break;
    case ACT_REVERSE:
        u->descending = !u->descending;
        list_order(u);
        break;
    case ACT_FOLLOW:
        u->follow = !u->follow;
        list_order(u);
        break;
    case ACT_PAUSE:
        pause(u);
        break;
    case ACT_ZOOM:
        u->zoom = !u->zoom;
        list_keep(u);
        break;
    default:
        break;
    }
}

static void do_system(ui *u, action a)
{
    switch (a) {
    case ACT_REFRESH:
        if (u->screen == SCREEN_PREREQ && u->dialog == DIALOG_NONE) {
            u->ops->checks(u->ctx);
        } else {
            u->ops->refresh(u->ctx);
        }
        break;
    case ACT_MOUSE:
        u->mouse = u->ops->mouse(u->ctx, !u->mouse);
        ui_notice(u, ROLE_DIM, u->mouse ? "mouse on; Shift+drag selects text" : "mouse off");
        break;
    case ACT_REDRAW:
        u->ops->redraw(u->ctx);
        break;
    case ACT_SUSPEND:
        u->ops->suspend(u->ctx);
        break;
    case ACT_SHUTDOWN:
        close_dialog(u);
        ask(u, CONFIRM_SHUTDOWN);
        break;
    case ACT_QUIT:
        u->ops->quit(u->ctx);
        break;
    case ACT_DASHBOARD:
        u->screen = SCREEN_DASH;
        break;
    default:
        break;
    }
}

void ui_do(ui *u, action a, int arg)
{
    switch (a) {
    case ACT_UP:
    case ACT_DOWN:
    case ACT_PGUP:
    case ACT_PGDN:
    case ACT_HOME:
    case ACT_END:
        move(u, a);
        break;
    case ACT_OPEN:
        open_selected(u);
        break;
    case ACT_BACK:
        back(u);
        break;
    case ACT_NEW:
        form_open(u);
        break;
    case ACT_UIS:
        open_dialog(u, DIALOG_UIS);
        break;
    case ACT_HELP:
        open_dialog(u, DIALOG_HELP);
        break;
    case ACT_PALETTE:
        open_dialog(u, DIALOG_PALETTE);
        break;
    case ACT_LAUNCH:
        launch(u);
        break;
    case ACT_PREREQ:
        prerequisites(u);
        break;
    case ACT_NEXT:
    case ACT_PREV:
        next_field(u, a == ACT_NEXT ? 1 : -1);
        break;
    case ACT_PANEL_1:
    case ACT_PANEL_2:
    case ACT_PANEL_3:
    case ACT_PANEL_4:
        focus_panel(u, (int)a - ACT_PANEL_1);
        break;
    case ACT_COPY:
        copy_selected(u);
        break;
    case ACT_YES:
        confirmed(u);
        break;
    case ACT_NO:
        u->dialog = DIALOG_NONE;
        break;
    case ACT_ROW:
        select_row(u, arg);
        break;
    default:
        do_jobs(u, a);
        do_system(u, a);
        break;
    }
}
