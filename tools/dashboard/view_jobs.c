/* view_jobs — the table of jobs and the detail of one; see view.h. */
#include "text.h"
#include "view.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* Columns from the left edge; -1: not shown. */
typedef struct columns {
    int id, id_w, type, type_w, status, created, created_w, tries, duration;
} columns;

static void columns_of(columns *c, rect r)
{
    bool wide = r.w >= 70;
    int x = r.x + r.w;
    c->duration = x -= wide ? 9 : 7;
    c->tries = r.w >= 84 ? (x -= 6) : -1;
    c->created_w = wide ? 12 : 8;
    c->created = x -= c->created_w + 1;
    c->status = x -= wide ? 13 : 10;
    c->id = r.x;
    c->id_w = r.w >= 112 ? 36 : wide ? 13 : 8;
    c->type = r.x + c->id_w + 1;
    c->type_w = c->status - c->type - 1;
}

static void head_cell(const ui *u, grid *g, int x, int y, int w, const char *name, sort_id by)
{
    char text[24];
    bool here = u->sort == by;
    snprintf(text, sizeof text, here ? "%s%s" : "%s", name, u->descending ? "↓" : "↑");
    if (x >= 0) {
        int n = grid_text(g, x, y, w, here ? ROLE_ACCENT : ROLE_DIM, text);
        grid_zone(g, (rect){x, y, n, 1}, ACT_SORT, 0);
    }
}

static void head_row(const ui *u, grid *g, rect r, const columns *c)
{
    head_cell(u, g, c->id, r.y, c->id_w, "ID", SORT_ID);
    head_cell(u, g, c->type, r.y, c->type_w, "TYPE", SORT_TYPE);
    head_cell(u, g, c->status, r.y, 9, "STATUS", SORT_STATUS);
    head_cell(u, g, c->created, r.y, c->created_w, "CREATED", SORT_CREATED);
    if (c->tries >= 0) {
        grid_text(g, c->tries, r.y, 5, ROLE_DIM, "TRIES");
    }
    char text[16];
    bool here = u->sort == SORT_DURATION;
    snprintf(text, sizeof text, here ? "%s%s" : "%s", "TOOK", u->descending ? "↓" : "↑");
    grid_text_right(g, r.x + r.w, r.y, 8, here ? ROLE_ACCENT : ROLE_DIM, text);
}

void view_short_id(const char *id, int width, char *out, size_t size)
{
    size_t n = strlen(id);
    if (n <= (size_t)width || n != ODTO_UUID_LEN || id[14] != '7') {
        snprintf(out, size, "%.*s", width, id);
    } else if (width >= 13) {
        snprintf(out, size, "%.4s…%s", id, id + n - 8);
    } else {
        snprintf(out, size, "%s", id + n - 8);
    }
}

static const char *status_glyph(job_status s)
{
    static const char *const glyphs[] = {"○", "○", "▸", "✓", "✗", "·"};
    return glyphs[s];
}

static void job_row(grid *g, rect r, int y, const columns *c, const job *j)
{
    char text[40], full[40], id[40];
    bool wide = r.w >= 70;
    role ro = view_status_role(j->status);
    view_short_id(j->id, c->id_w, id, sizeof id);
    grid_text(g, c->id, y, c->id_w, ROLE_DIM, id);
    grid_text(g, c->type, y, c->type_w, ROLE_TEXT, j->type);
    int x = c->status;
    if (wide) {
        grid_text(g, x, y, 1, ro, status_glyph(j->status));
        x += 2;
    }
    grid_text(g, x, y, 9, ro, j->status_text);
    if (wide) {
        text_datetime(full, sizeof full, j->created_ms);
        grid_text(g, c->created, y, 12, ROLE_TEXT, strlen(full) > 11 ? full + 11 : full);
    } else {
        text_clock(text, sizeof text, j->created_ms);
        grid_text(g, c->created, y, 8, ROLE_TEXT, text);
    }
    if (c->tries >= 0 && j->attempts > 0) {
        snprintf(text, sizeof text, "%d", j->attempts);
        grid_text_right(g, c->tries + 5, y, 5, j->attempts > 1 ? ROLE_WARN : ROLE_DIM, text);
    }
    text_duration(text, sizeof text, j->duration_ms);
    grid_text_right(g, r.x + r.w, y, 8, j->duration_ms < 0 ? ROLE_DIM : ROLE_TEXT, text);
}

static void scrollbar(grid *g, int x, int y, int h, int top, int n)
{
    if (n <= h || h < 2) {
        return;
    }
    int size = h * h / n;
    size = size < 1 ? 1 : size;
    int at = (int)((int64_t)top * (h - size) / (n - h));
    for (int i = 0; i < size; i++) {
        grid_char(g, x, y + at + i, ROLE_DIM, 0x2503);
    }
}

static void empty_table(const ui *u, grid *g, rect r)
{
    const source *s = &u->snap->src[SRC_JOBS];
    int y = r.y + r.h / 2;
    if (!u->snap->jobs && s->failures) {
        grid_text_center(g, r, y, ROLE_FAIL, s->error);
        char line[80];
        snprintf(line, sizeof line, "attempt %d, trying again", s->failures);
        grid_text_center(g, r, y + 1, ROLE_DIM, line);
    } else if (!u->snap->jobs) {
        grid_text_center(g, r, y, ROLE_DIM, "asking…");
    } else if (u->filter.len) {
        grid_text_center(g, r, y, ROLE_DIM, "no job matches the filter");
    } else {
        grid_text_center(g, r, y, ROLE_DIM, u->caps->read_only ? "no jobs yet" : "no jobs yet: N makes one");
    }
}

static void title_of(const ui *u, char *note, size_t size)
{
    int n = u->snap->jobs ? u->snap->jobs->n : 0;
    char count[24];
    text_number(count, sizeof count, n);
    if (u->filter.len) {
        snprintf(note, size, "%d of %s: %.24s", u->n_order, count, u->filter.text);
    } else {
        snprintf(note, size, "%s%s", count, u->follow ? ", following" : "");
    }
}

void view_jobs(const ui *u, grid *g, rect box, bool borders)
{
    char note[96];
    columns c;
    bool focused = u->focus == PANEL_JOBS;
    title_of(u, note, sizeof note);
    rect r = borders ? (rect){box.x + 2, box.y + 1, box.w - 4, box.h - 2}
                     : (rect){box.x + 1, box.y, box.w - 2, box.h};
    if (borders) {
        view_panel(u, g, box, "1 Jobs", focused, SRC_JOBS, note);
    }
    columns_of(&c, r);
    head_row(u, g, r, &c);
    if (!u->n_order) {
        empty_table(u, g, r);
        return;
    }
    const list_pos *p = &u->pos[PANEL_JOBS];
    for (int i = 0; i < r.h - 1 && p->top + i < u->n_order; i++) {
        int y = r.y + 1 + i;
        job_row(g, r, y, &c, ui_job_at(u, p->top + i));
        if (focused && p->top + i == p->sel) {
            grid_select(g, box.x + borders, y, box.w - 2 * borders);
        }
        grid_zone(g, (rect){box.x, y, box.w, 1}, ACT_ROW, (PANEL_JOBS << 24) | (p->top + i));
    }
    scrollbar(g, box.x + box.w - 1, r.y + 1, r.h - 1, p->top, u->n_order);
}

static void attempts(pen *p, const job_detail *d)
{
    char title[32];
    snprintf(title, sizeof title, "Attempts %d", d->n_attempts);
    pen_title(p, title);
    for (int i = 0; i < d->n_attempts; i++) {
        const attempt_row *a = &d->attempts[i];
        char clock[32], took[16];
        text_datetime(clock, sizeof clock, a->started_ms);
        text_duration(took, sizeof took,
                      a->finished_ms && a->started_ms ? a->finished_ms - a->started_ms : -1);
        int y = pen_next(p);
        if (y < 0) {
            continue;
        }
        int x = p->r.x;
        bool ok = text_contains(a->outcome, "complete") || text_contains(a->outcome, "done") ||
                  !strcasecmp(a->outcome, "ok");
        role ro = ok ? ROLE_OK : text_contains(a->outcome, "execut") ? ROLE_RUN : ROLE_FAIL;
        grid_printf(p->g, x, y, 4, ROLE_DIM, "#%d", a->number);
        grid_text(p->g, x + 4, y, 11, ro, a->outcome);
        grid_text(p->g, x + 16, y, 12, ROLE_TEXT, strlen(clock) > 11 ? clock + 11 : clock);
        grid_text_right(p->g, x + 37, y, 8, ROLE_TEXT, took);
        grid_text(p->g, x + 39, y, p->r.w - 39, a->error[0] ? ROLE_FAIL : ROLE_DIM,
                  a->error[0] ? a->error : a->worker);
    }
    if (!d->n_attempts) {
        pen_text(p, ROLE_DIM, "none told");
    }
}

static void event_timeline(pen *p, const job_detail *d)
{
    pen_title(p, "Timeline");
    if (d->events_error[0]) {
        pen_text(p, ROLE_WARN, d->events_error);
    }
    for (int i = 0; i < d->n_events; i++) {
        const event_row *e = &d->events[i];
        char clock[32], since[16];
        text_datetime(clock, sizeof clock, e->at_ms);
        text_duration(since, sizeof since, e->at_ms - d->events[0].at_ms);
        int y = pen_next(p);
        if (y < 0) {
            continue;
        }
        bool failed = strstr(e->type, "failed") != NULL;
        bool own = strchr(e->type, '.') == NULL; /* no event, but a step the read model knows */
        grid_text(p->g, p->r.x, y, 1,
                  failed ? ROLE_FAIL
                  : own  ? ROLE_DIM
                         : ROLE_OK,
                  failed ? "✗"
                  : own  ? "○"
                         : "●");
        grid_text(p->g, p->r.x + 2, y, 12, ROLE_TEXT, strlen(clock) > 11 ? clock + 11 : clock);
        grid_text_right(p->g, p->r.x + 24, y, 8, ROLE_DIM, since);
        grid_text(p->g, p->r.x + 26, y, 15, failed ? ROLE_FAIL : ROLE_TEXT, e->type);
        grid_text(p->g, p->r.x + 42, y, p->r.w - 42, ROLE_DIM, e->service);
    }
    if (!d->n_events) {
        pen_text(p, ROLE_DIM, d->loading ? "asking…" : "none");
    }
}

static void text_lines(pen *p, role r, const char *s)
{
    char line[512];
    while (*s) {
        size_t n = strcspn(s, "\n");
        snprintf(line, sizeof line, "%.*s", (int)(n < sizeof line ? n : sizeof line - 1), s);
        pen_text(p, r, line);
        s += n + (s[n] == '\n');
    }
}

/* Why the job could not be had just now, and from when the rest is. */
static void not_anew(const ui *u, pen *p, const job_detail *d)
{
    char text[320], age[40];
    if (!d->ok_ms) {
        pen_wrapped(p, ROLE_WARN, d->error);
        return;
    }
    view_seconds((u->now_ms - d->ok_ms) / 1000, age, sizeof age);
    snprintf(text, sizeof text, "%s; what stands here is %s old", d->error, age);
    pen_wrapped(p, ROLE_WARN, text);
}

void view_detail_lines(const ui *u, pen *p)
{
    const job_detail *d = u->snap->detail;
    const job *j = d && d->job.id[0] ? &d->job : ui_selected_job(u);
    char text[64], took[16];
    if (!j) {
        pen_text(p, ROLE_DIM, d && d->error[0] ? d->error : "asking…");
        return;
    }
    pen_field(p, "Id", ROLE_STRONG, j->id);
    pen_field(p, "Type", ROLE_TEXT, j->type);
    pen_field(p, "Status", view_status_role(j->status), j->status_text);
    text_datetime(text, sizeof text, j->created_ms);
    pen_field(p, "Created", ROLE_TEXT, text);
    if (j->started_ms) {
        text_datetime(text, sizeof text, j->started_ms);
        text_duration(took, sizeof took, j->created_ms ? j->started_ms - j->created_ms : -1);
        snprintf(text + strlen(text), sizeof text - strlen(text), "  after %s", took);
        pen_field(p, "Started", ROLE_TEXT, text);
    }
    text_datetime(text, sizeof text, j->finished_ms);
    text_duration(took, sizeof took, j->duration_ms);
    if (j->finished_ms) {
        snprintf(text + strlen(text), sizeof text - strlen(text), "  took %s", took);
    }
    pen_field(p, "Finished", ROLE_TEXT, text);
    if (!d || d->loading) {
        pen_text(p, ROLE_DIM, "asking…");
        return;
    }
    if (d->error[0]) {
        not_anew(u, p, d);
    }
    if (d->job_error[0]) {
        pen_title(p, "Error");
        pen_wrapped(p, ROLE_FAIL, d->job_error);
    }
    attempts(p, d);
    event_timeline(p, d);
    if (d->body[0]) {
        pen_title(p, "Job");
        text_lines(p, ROLE_TEXT, d->body);
    }
}

void view_alert_lines(const ui *u, pen *p)
{
    const alert *a = &u->alert;
    char text[64];
    pen_field(p, "Alert", a->critical ? ROLE_FAIL : ROLE_WARN, a->name);
    pen_field(p, "Service", ROLE_TEXT, a->service[0] ? a->service : "-");
    pen_field(p, "Severity", a->critical ? ROLE_FAIL : ROLE_WARN, a->severity[0] ? a->severity : "-");
    pen_field(p, "State", ROLE_TEXT, a->pending ? "pending" : a->silenced ? "silenced" : "firing");
    text_datetime(text, sizeof text, a->since_ms);
    pen_field(p, "Since", ROLE_TEXT, text);
    if (a->summary[0]) {
        pen_title(p, "Summary");
        pen_wrapped(p, ROLE_TEXT, a->summary);
    }
    if (a->description[0]) {
        pen_title(p, "Description");
        pen_wrapped(p, ROLE_TEXT, a->description);
    }
    if (a->runbook[0]) {
        pen_title(p, "Runbook");
        pen_wrapped(p, ROLE_ACCENT, a->runbook);
    }
}
