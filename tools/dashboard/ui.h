/* ui — what the user sees and does: screens, dialogs, selection, filter, order, the new-task form.
 *
 * A state machine without I/O: keys and snapshots go in, effects leave through ui_ops. Owned by the UI
 * thread. The view (view.h) reads it and never changes it. */
#ifndef DASH_UI_H
#define DASH_UI_H

#include "edit.h"
#include "grid.h"
#include "keys.h"
#include "progress.h"
#include "registry.h"
#include "snapshot.h"

typedef enum screen_id { SCREEN_SPLASH, SCREEN_LAUNCHER, SCREEN_PREREQ, SCREEN_DASH } screen_id;

typedef enum dialog_id {
    DIALOG_NONE,
    DIALOG_DETAIL,
    DIALOG_ALERT,
    DIALOG_FORM,
    DIALOG_UIS,
    DIALOG_HELP,
    DIALOG_PALETTE,
    DIALOG_CONFIRM
} dialog_id;

typedef enum confirm_id { CONFIRM_SHUTDOWN, CONFIRM_INSTALL, CONFIRM_CANCEL_LAUNCH } confirm_id;

typedef enum panel_id { PANEL_JOBS, PANEL_ALERTS, PANEL_PLUGINS, PANEL_ROUTES, PANEL_COUNT } panel_id;

typedef enum sort_id { SORT_CREATED, SORT_STATUS, SORT_TYPE, SORT_DURATION, SORT_ID, SORT_COUNT } sort_id;

/* Effects; every member must be set. All called on the UI thread, none may block. */
typedef struct ui_ops {
    void (*quit)(void *ctx);
    void (*refresh)(void *ctx);
    void (*detail)(void *ctx, const char *job_id); /* NULL: no longer wanted */
    void (*submit)(void *ctx, const char *type, const char *payload);
    void (*submit_reset)(void *ctx);
    void (*open_url)(void *ctx, const char *url);
    /* Where it went ("clipboard", "terminal"), or NULL when there is no way. */
    const char *(*copy)(void *ctx, const char *text);
    void (*launch)(void *ctx, launch_kind kind);
    void (*cancel_launch)(void *ctx);
    void (*shutdown)(void *ctx); /* stop what was started here, then quit */
    void (*checks)(void *ctx);   /* start the doctor */
    void (*install)(void *ctx, const char *command);
    void (*redraw)(void *ctx);
    void (*suspend)(void *ctx);
    bool (*mouse)(void *ctx, bool on); /* returns what it is now */
} ui_ops;

typedef struct list_pos {
    int sel, top; /* selected row and first visible one */
} list_pos;

typedef struct ui {
    const ui_ops *ops;
    void *ctx;
    const caps *caps;
    int w, h;
    int64_t now_ms, begun_ms; /* Unix ms */
    screen_id screen;
    dialog_id dialog;
    confirm_id confirm;
    bool splash_over, paused, help_from_palette, mouse;
    bool launcher_offered; /* once shown on its own, not again */

    snapshot *snap; /* one reference */
    snapshot *held; /* arrives while paused */
    char gateway_url[160], read_url[160];

    panel_id focus;
    bool zoom, follow;
    list_pos pos[PANEL_COUNT];
    char sel_job[40];
    int *order; /* indexes into snap->jobs, filtered and sorted */
    int n_order, cap_order;
    sort_id sort;
    bool descending;
    bool filtering; /* the filter line has the keys */
    edit filter;

    int scroll;        /* of detail and help */
    int content_lines; /* lines of what is scrolled, set by ui_measure */
    alert alert;       /* the opened one */

    edit type, payload;
    int field; /* 0 type, 1 payload */
    bool submit_tried;
    char type_error[120], payload_error[200];

    edit command;
    int palette_sel;
    registry reg;
    list_pos uis;
    char shown_url[256];

    launch_kind kind;
    launch_state launch;
    check_state checks;
    list_pos check_pos;
    bool can_launch; /* not in server mode */

    char notice[200];
    role notice_role;
    int64_t notice_until_ms;
} ui;

/* caps, ops and ctx must outlive the ui. 0 or -ENOMEM. */
int ui_init(ui *u, const caps *c, const ui_ops *ops, void *ctx, int64_t now_ms);
void ui_free(ui *u);
void ui_resize(ui *u, int w, int h);
/* Takes over the reference. */
void ui_set_snapshot(ui *u, snapshot *s);
void ui_key(ui *u, uint32_t key);
/* Pasted text: goes into the field that has the keys, else is dropped. */
void ui_paste(ui *u, const char *text);
void ui_mouse(ui *u, const grid *drawn, int x, int y, bool wheel_up, bool wheel_down);
/* Advances time; true when the picture may have changed. */
bool ui_tick(ui *u, int64_t now_ms);
/* Ms until ui_tick must be called, -1 for never: what keeps the CPU at rest. */
int ui_next_tick(const ui *u);
void ui_notice(ui *u, role r, const char *fmt, ...) ODTO_PRINTF(3, 4);
void ui_do(ui *u, action a, int arg);

/* For the view. */
uint32_t ui_context(const ui *u);
const job *ui_job_at(const ui *u, int row);
const job *ui_selected_job(const ui *u);
int ui_rows(const ui *u, panel_id p);
/* Palette entries that match what is typed, best first; returns how many. */
int ui_palette(const ui *u, const binding **out, int max);
bool ui_form_valid(const ui *u);

/* ui_list.c */
void list_order(ui *u);
int list_newest(const ui *u); /* the row of the newest job, 0 without any */
void list_keep(ui *u);
void list_move(list_pos *p, int n, int rows, int by);
bool job_matches(const job *j, const char *filter);
/* ui_form.c */
void form_open(ui *u);
void form_key(ui *u, uint32_t key);
void form_check(ui *u);
void form_submit(ui *u);

#endif
