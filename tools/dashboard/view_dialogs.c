/* view_dialogs — boxes over the screen: detail, form, pages, help, palette, questions; see view.h. */
#include "layout.h"
#include "text.h"
#include "view.h"

#include <stdio.h>
#include <string.h>

/* Clears the box, draws its frame and gives the room inside. */
static rect open_box(const ui *u, grid *g, int w, int h, const char *title)
{
    rect all = layout_dialog(g->w, g->h - 2, w, h);
    all.y += 1;
    (void)u;
    grid_fill(g, all, ROLE_TEXT, ' ');
    grid_box(g, all, ROLE_FOCUS, title, ROLE_DIM, NULL);
    return (rect){all.x + 2, all.y + 1, all.w - 4, all.h - 2};
}

static rect scrolled_rect(const ui *u)
{
    int w = u->w > 104 ? 100 : u->w - 4, h = u->h - 4;
    rect all = layout_dialog(u->w, u->h - 2, w, h);
    return (rect){all.x + 2, all.y + 2, all.w - 4, all.h - 2};
}

static void scrolled_lines(const ui *u, pen *p)
{
    if (u->dialog == DIALOG_DETAIL) {
        view_detail_lines(u, p);
    } else if (u->dialog == DIALOG_ALERT) {
        view_alert_lines(u, p);
    } else {
        view_help_lines(u, p);
    }
}

int view_scroll_max(const ui *u)
{
    pen p = {NULL, scrolled_rect(u), 0, 0};
    scrolled_lines(u, &p);
    return p.line > p.r.h ? p.line - p.r.h : 0;
}

static void scrolled(const ui *u, grid *g, const char *title)
{
    rect r = open_box(u, g, u->w > 104 ? 100 : u->w - 4, u->h - 4, title);
    pen p = {g, r, u->scroll, 0};
    scrolled_lines(u, &p);
    if (p.line > r.h) {
        char note[32];
        int last = u->scroll + r.h > p.line ? p.line : u->scroll + r.h;
        snprintf(note, sizeof note, " %d-%d of %d ", u->scroll + 1, last, p.line);
        grid_text_right(g, r.x + r.w, r.y + r.h, 24, ROLE_DIM, note);
    }
}

void view_help_lines(const ui *u, pen *p)
{
    static const struct {
        uint32_t context;
        const char *title;
    } groups[] = {{CTX_DASH, "Dashboard"},        {CTX_DETAIL, "Details"},    {CTX_FORM, "New task"},
                  {CTX_LIST, "Web pages"},        {CTX_LAUNCHER, "Launcher"}, {CTX_PREREQ, "Prerequisites"},
                  {CTX_FILTER, "While filtering"}};
    (void)u;
    pen_text(p, ROLE_DIM, "Keys work in both cases. A command's name works in the : palette.");
    for (size_t k = 0; k < sizeof groups / sizeof groups[0]; k++) {
        pen_title(p, groups[k].title);
        for (size_t i = 0; i < key_bindings_n; i++) {
            const binding *b = &key_bindings[i];
            bool general = (b->contexts & CTX_VIEWS) == CTX_VIEWS && groups[k].context != CTX_DASH;
            if (!(b->contexts & groups[k].context) || general) {
                continue;
            }
            int y = pen_next(p);
            if (y >= 0) {
                int n = grid_text(p->g, p->r.x + 1, y, 12, ROLE_KEY, b->label);
                grid_attr(p->g, p->r.x + 1, y, n, ATTR_BOLD);
                grid_text(p->g, p->r.x + 14, y, p->r.w - 26, ROLE_TEXT, b->help);
                grid_text_right(p->g, p->r.x + p->r.w, y, 11, ROLE_DIM, b->name);
            }
        }
    }
}

/* The part of a field around its cursor; the cursor goes to the grid when the field has the keys. */
static void input(grid *g, int x, int y, int w, const edit *e, bool active)
{
    grid_fill(g, (rect){x, y, w, 1}, ROLE_INPUT, ' ');
    char head[EDIT_MAX];
    memcpy(head, e->text, e->pos);
    head[e->pos] = '\0';
    int at = text_columns(head);
    const char *from = e->text, *end = e->text + e->len;
    int skip = at > w - 3 ? at - (w - 3) : 0;
    while (skip > 0 && from < end) {
        int n = text_width(text_next(&from, end));
        skip -= n;
        at -= n;
    }
    grid_text(g, x + 1, y, w - 2, ROLE_INPUT, from);
    if (active) {
        g->cursor_x = x + 1 + at;
        g->cursor_y = y;
    }
}

static void form_result(const ui *u, grid *g, rect r, int y)
{
    const submit_result *s = &u->snap->submit;
    switch (s->state) {
    case SUBMIT_SENDING:
        grid_char(g, r.x, y, ROLE_ACCENT, view_spinner(u));
        grid_text(g, r.x + 2, y, r.w - 2, ROLE_DIM, "sending…");
        break;
    case SUBMIT_OK:
        grid_text(g, r.x, y, r.w, ROLE_OK, "✓ accepted");
        grid_text(g, r.x + 12, y, r.w - 12, ROLE_STRONG, s->job_id);
        break;
    case SUBMIT_FAILED:
        grid_text(g, r.x, y, 1, ROLE_FAIL, "✗");
        grid_text(g, r.x + 2, y, r.w - 2, ROLE_FAIL, s->error);
        break;
    case SUBMIT_IDLE:
        if (ui_form_valid(u)) {
            grid_text(g, r.x, y, r.w, ROLE_OK, "✓ valid");
        } else if (!u->type.len) {
            grid_text(g, r.x, y, r.w, ROLE_DIM, "a type is needed");
        }
        break;
    }
}

static void form(const ui *u, grid *g)
{
    rect r = open_box(u, g, 70, 13, "New task");
    bool done = u->snap->submit.state == SUBMIT_OK;
    bool on_type = u->field == 0 && !done, on_payload = u->field == 1 && !done;
    grid_text(g, r.x, r.y + 1, 9, on_type ? ROLE_FOCUS : ROLE_DIM, "Type");
    input(g, r.x + 9, r.y + 1, r.w - 9, &u->type, on_type);
    grid_text(g, r.x + 10, r.y + 2, r.w - 10, u->type_error[0] ? ROLE_FAIL : ROLE_DIM,
              u->type_error[0] ? u->type_error : "letters, digits, _ and -, up to 50");
    grid_text(g, r.x, r.y + 4, 9, on_payload ? ROLE_FOCUS : ROLE_DIM, "Payload");
    input(g, r.x + 9, r.y + 4, r.w - 9, &u->payload, on_payload);
    pen p = {g, {r.x + 10, r.y + 5, r.w - 10, 2}, 0, 0};
    pen_wrapped(&p, u->payload_error[0] ? ROLE_FAIL : ROLE_DIM,
                u->payload_error[0] ? u->payload_error : "a JSON object");
    form_result(u, g, r, r.y + 8);
    grid_text(g, r.x, r.y + 10, r.w, ROLE_DIM,
              done ? "Enter closes" : "Enter submits  Tab next field  Esc back");
}

static void uis(const ui *u, grid *g)
{
    int rows = u->reg.n + 6;
    rect r = open_box(u, g, 78, rows, "Web pages");
    int most = r.h - 4;
    int first = u->uis.sel >= most ? u->uis.sel - most + 1 : 0;
    for (int i = first; i < u->reg.n && i - first < most; i++) {
        const registry_entry *e = &u->reg.entries[i];
        int y = r.y + i - first;
        char url[256];
        registry_url(&u->reg, i, url, sizeof url);
        grid_text(g, r.x, y, 20, ROLE_STRONG, e->name);
        grid_text(g, r.x + 21, y, 28, ROLE_ACCENT, url);
        grid_text(g, r.x + 50, y, r.w - 50, ROLE_DIM, e->description);
        if (i == u->uis.sel) {
            grid_select(g, r.x - 1, y, r.w + 2);
        }
        grid_zone(g, (rect){r.x, y, r.w, 1}, ACT_ROW, i);
    }
    if (u->shown_url[0]) {
        grid_text(g, r.x, r.y + r.h - 3, 5, ROLE_DIM, "URL");
        grid_text(g, r.x + 5, r.y + r.h - 3, r.w - 5, ROLE_STRONG, u->shown_url);
    }
    if (u->reg.notice[0]) {
        grid_text(g, r.x, r.y + r.h - 2, r.w, ROLE_WARN, u->reg.notice);
    }
    grid_text(g, r.x, r.y + r.h - 1, r.w, ROLE_DIM,
              u->caps->remote ? "Enter shows and copies the URL  C copy  Esc back"
                              : "Enter opens the browser  C copy  Esc back");
}

static void palette(const ui *u, grid *g)
{
    const binding *found[64];
    int n = ui_palette(u, found, 64);
    rect r = open_box(u, g, 66, 18, "Commands");
    grid_text(g, r.x, r.y, 1, ROLE_KEY, ":");
    input(g, r.x + 2, r.y, r.w - 2, &u->command, true);
    int rows = r.h - 2;
    int first = u->palette_sel >= rows ? u->palette_sel - rows + 1 : 0;
    for (int i = first; i < n && i - first < rows; i++) {
        int y = r.y + 2 + i - first;
        grid_text(g, r.x, y, 12, ROLE_STRONG, found[i]->name);
        grid_text(g, r.x + 13, y, r.w - 24, ROLE_DIM, found[i]->help);
        grid_text_right(g, r.x + r.w, y, 10, ROLE_KEY, found[i]->label);
        if (i == u->palette_sel) {
            grid_select(g, r.x - 1, y, r.w + 2);
        }
        grid_zone(g, (rect){r.x, y, r.w, 1}, ACT_ROW, i);
    }
    if (!n) {
        grid_text(g, r.x, r.y + 2, r.w, ROLE_DIM, "no command matches");
    }
}

static void confirm(const ui *u, grid *g)
{
    static const char *const title[] = {"Shut down?", "Install?", "Cancel the launch?"};
    rect r = open_box(u, g, 64, 8, title[u->confirm]);
    switch (u->confirm) {
    case CONFIRM_SHUTDOWN:
        grid_text(g, r.x, r.y + 1, r.w, ROLE_TEXT, "Stops what was started from here, then leaves.");
        grid_text(g, r.x, r.y + 2, r.w, ROLE_DIM, "Anything else keeps running.");
        break;
    case CONFIRM_INSTALL:
        grid_text(g, r.x, r.y + 1, r.w, ROLE_TEXT, "This command runs in your terminal:");
        grid_text(g, r.x, r.y + 2, r.w, ROLE_STRONG, u->checks.rows[u->check_pos.sel].install);
        break;
    case CONFIRM_CANCEL_LAUNCH:
        grid_text(g, r.x, r.y + 1, r.w, ROLE_TEXT, "The step that runs is ended; finished steps stay.");
        break;
    }
    int x = r.x, y = r.y + 4;
    x += grid_text(g, x, y, 4, ROLE_KEY, "Y") + 1;
    grid_zone(g, (rect){r.x, y, 5, 1}, ACT_YES, 0);
    x += grid_text(g, x, y, 4, ROLE_TEXT, "yes") + 4;
    grid_zone(g, (rect){x, y, 5, 1}, ACT_NO, 0);
    x += grid_text(g, x, y, 4, ROLE_KEY, "N") + 1;
    grid_text(g, x, y, 4, ROLE_TEXT, "no");
}

void view_dialog(const ui *u, grid *g)
{
    switch (u->dialog) {
    case DIALOG_DETAIL:
        scrolled(u, g, "Job");
        break;
    case DIALOG_ALERT:
        scrolled(u, g, "Alert");
        break;
    case DIALOG_HELP:
        scrolled(u, g, "Help");
        break;
    case DIALOG_FORM:
        form(u, g);
        break;
    case DIALOG_UIS:
        uis(u, g);
        break;
    case DIALOG_PALETTE:
        palette(u, g);
        break;
    case DIALOG_CONFIRM:
        confirm(u, g);
        break;
    case DIALOG_NONE:
        break;
    }
}
