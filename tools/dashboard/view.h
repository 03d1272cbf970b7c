/* view — the picture: a pure function of the ui (which holds size, abilities, time and snapshot).
 *
 * Reads, never changes, never asks the system anything; the same ui gives the same grid. */
#ifndef DASH_VIEW_H
#define DASH_VIEW_H

#include "ui.h"

/* Resets g to the ui's size and draws everything. 0 or -ENOMEM. */
int view_draw(const ui *u, grid *g);
/* How far the open dialog can be scrolled, in lines. */
int view_scroll_max(const ui *u);
/* Rows the prerequisites list shows. */
int view_check_rows(const ui *u);

/* ---- parts, for the other view_*.c ---- */

/* Lines drawn into a scrolled rectangle; with g NULL they are only counted. */
typedef struct pen {
    grid *g;
    rect r;
    int scroll, line;
} pen;
/* The row of the next line, or -1 when it is not to be drawn; goes on to the next line. */
int pen_next(pen *p);
void pen_text(pen *p, role r, const char *s);
/* "label   value" */
void pen_field(pen *p, const char *label, role r, const char *value);
/* Long text on as many lines as it needs, broken at blanks. */
void pen_wrapped(pen *p, role r, const char *s);
void pen_title(pen *p, const char *s);

void view_panel(const ui *u, grid *g, rect r, const char *title, bool focused, source_id src,
                const char *note);
role view_status_role(job_status s);
uint32_t view_spinner(const ui *u);
/* "12s old" for a source that fails, or an empty string. */
/* "7s", "4m05s" */
void view_seconds(int64_t seconds, char *out, size_t size);
void view_age(const ui *u, source_id src, char *out, size_t size);
/* As much of an id as fits: of a version 7 uuid the end, for it begins with the time and so do its
 * neighbours'. */
void view_short_id(const char *id, int width, char *out, size_t size);
void view_dashboard(const ui *u, grid *g);
void view_jobs(const ui *u, grid *g, rect r, bool borders);
void view_plugins(const ui *u, grid *g, rect r, bool focused);
void view_routes(const ui *u, grid *g, rect r, bool focused);
void view_alerts(const ui *u, grid *g, rect r, bool borders);
void view_dialog(const ui *u, grid *g);
void view_detail_lines(const ui *u, pen *p);
void view_alert_lines(const ui *u, pen *p);
void view_help_lines(const ui *u, pen *p);
void view_launcher(const ui *u, grid *g);
void view_prereq(const ui *u, grid *g);

#endif
