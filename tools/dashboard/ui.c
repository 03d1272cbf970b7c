/* ui — dispatch of keys, screens and dialogs; see ui.h. */
#include "ui.h"

#include "layout.h"
#include "text.h"
#include "view.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPLASH_MIN_MS  500
#define SPLASH_STEP_MS 80
#define NOTICE_MS      4000

int ui_init(ui *u, const caps *c, const ui_ops *ops, void *ctx, int64_t now_ms)
{
    memset(u, 0, sizeof *u);
    u->caps = c;
    u->ops = ops;
    u->ctx = ctx;
    u->w = 80;
    u->h = 24;
    u->now_ms = u->begun_ms = now_ms;
    u->follow = u->descending = true;
    u->can_launch = !c->managed;
    u->filter.max = 120;
    u->command.max = 120;
    registry_builtin(&u->reg);
    u->snap = snapshot_new();
    return u->snap ? 0 : -ENOMEM;
}

void ui_free(ui *u)
{
    snapshot_release(&u->snap);
    snapshot_release(&u->held);
    free(u->order);
    u->order = NULL;
}

void ui_notice(ui *u, role r, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(u->notice, sizeof u->notice, fmt, ap);
    va_end(ap);
    u->notice_role = r;
    u->notice_until_ms = u->now_ms + NOTICE_MS;
}

void ui_resize(ui *u, int w, int h)
{
    u->w = w;
    u->h = h;
    list_keep(u);
}

/* From the splash to where the user should be. */
static void leave_splash(ui *u)
{
    u->splash_over = true;
    bool down = snapshot_all_down(u->snap);
    u->launcher_offered = true;
    u->screen = down && u->can_launch ? SCREEN_LAUNCHER : SCREEN_DASH;
}

static void advance_screen(ui *u)
{
    if (u->screen == SCREEN_SPLASH) {
        bool shown = !u->caps->motion || u->now_ms - u->begun_ms >= SPLASH_MIN_MS;
        if (u->splash_over || (u->snap->first_round && shown)) {
            leave_splash(u);
        }
    } else if (u->screen == SCREEN_LAUNCHER && !u->launch.running && u->launch.done) {
        if (!snapshot_all_down(u->snap)) {
            u->screen = SCREEN_DASH;
            u->launch.done = false;
            ui_notice(u, ROLE_OK, "the system is running");
        }
    }
}

void ui_set_snapshot(ui *u, snapshot *s)
{
    submit_state before = u->snap->submit.state;
    if (u->paused && s->submit.state == before && u->dialog != DIALOG_DETAIL) {
        snapshot_release(&u->held);
        u->held = s;
        return;
    }
    snapshot_release(&u->held);
    bool same_jobs = s->jobs == u->snap->jobs;
    bool was_down = snapshot_all_down(u->snap);
    snapshot_release(&u->snap);
    u->snap = s;
    if (!same_jobs) {
        list_order(u);
    } else {
        list_keep(u);
    }
    if (before == SUBMIT_SENDING && s->submit.state == SUBMIT_OK && u->dialog != DIALOG_FORM) {
        ui_notice(u, ROLE_OK, "task accepted: %s", s->submit.job_id);
    }
    if (u->screen == SCREEN_LAUNCHER && was_down && !snapshot_all_down(s) && !u->launch.running) {
        u->screen = SCREEN_DASH; /* somebody started it elsewhere */
    }
    advance_screen(u);
}

uint32_t ui_context(const ui *u)
{
    static const uint32_t by_dialog[] = {0,        CTX_DETAIL, CTX_DETAIL,  CTX_FORM,
                                         CTX_LIST, CTX_HELP,   CTX_PALETTE, CTX_CONFIRM};
    static const uint32_t by_screen[] = {CTX_SPLASH, CTX_LAUNCHER, CTX_PREREQ, CTX_DASH};
    if (u->dialog != DIALOG_NONE) {
        return by_dialog[u->dialog];
    }
    return u->filtering && u->screen == SCREEN_DASH ? CTX_FILTER : by_screen[u->screen];
}

int ui_rows(const ui *u, panel_id p)
{
    const snapshot *s = u->snap;
    switch (p) {
    case PANEL_JOBS:
        return u->n_order;
    case PANEL_ALERTS:
        return s->alerts ? s->alerts->n : 0;
    case PANEL_PLUGINS:
        return s->host ? s->host->n_plugins : 0;
    case PANEL_ROUTES:
        return s->host ? s->host->n_routes : 0;
    case PANEL_COUNT:
        break;
    }
    return 0;
}

const job *ui_job_at(const ui *u, int row)
{
    return u->snap && u->snap->jobs && row >= 0 && row < u->n_order ? &u->snap->jobs->items[u->order[row]]
                                                                    : NULL;
}

const job *ui_selected_job(const ui *u)
{
    return ui_job_at(u, u->pos[PANEL_JOBS].sel);
}

typedef struct ranked {
    const binding *b;
    int rank, index;
} ranked;

static int by_rank(const void *x, const void *y)
{
    const ranked *a = x, *b = y;
    return a->rank != b->rank ? b->rank - a->rank : a->index - b->index;
}

int ui_palette(const ui *u, const binding **out, int max)
{
    static const uint32_t by_screen[] = {CTX_SPLASH, CTX_LAUNCHER, CTX_PREREQ, CTX_DASH};
    ranked found[64];
    int n = 0;
    for (size_t i = 0; i < key_bindings_n && n < 64; i++) {
        const binding *b = &key_bindings[i];
        int rank = (b->contexts & by_screen[u->screen]) ? key_match(b, u->command.text) : 0;
        if (rank) {
            found[n++] = (ranked){b, rank, (int)i};
        }
    }
    qsort(found, (size_t)n, sizeof found[0], by_rank);
    n = n > max ? max : n;
    for (int i = 0; i < n; i++) {
        out[i] = found[i].b;
    }
    return n;
}

static bool refused(ui *u, const binding *b)
{
    if (b && b->writes && u->caps->read_only) {
        ui_notice(u, ROLE_WARN, "read-only: %s is not possible here", b->help);
        return true;
    }
    return false;
}

static void filter_key(ui *u, uint32_t key)
{
    if (edit_key(&u->filter, key)) {
        list_order(u);
        return;
    }
    const binding *b = key_lookup(CTX_FILTER, key);
    if (b) {
        ui_do(u, b->action, 0);
    } else if (key == DKEY_UP || key == DKEY_DOWN || key == DKEY_PGUP || key == DKEY_PGDN) {
        b = key_lookup(CTX_DASH, key);
        ui_do(u, b->action, 0);
    }
}

static void palette_key(ui *u, uint32_t key)
{
    if (edit_key(&u->command, key)) {
        u->palette_sel = 0;
        return;
    }
    const binding *b = key_lookup(CTX_PALETTE, key);
    if (b) {
        ui_do(u, b->action, 0);
    }
}

void ui_key(ui *u, uint32_t key)
{
    uint32_t context = ui_context(u);
    if (context == CTX_SPLASH && key != 'q' && key != 'Q' && key != DKEY_CTRL('c')) {
        leave_splash(u);
        return;
    }
    const binding *quit = key_lookup(context, DKEY_CTRL('c'));
    if (key == DKEY_CTRL('c') && quit) {
        ui_do(u, quit->action, 0);
    } else if (u->w < MIN_W || u->h < MIN_H) {
        /* nothing can be seen, so nothing but leaving is safe */
        if (key == 'q' || key == 'Q') {
            ui_do(u, ACT_QUIT, 0);
        }
    } else if (context == CTX_FORM) {
        form_key(u, key);
    } else if (context == CTX_PALETTE) {
        palette_key(u, key);
    } else if (context == CTX_FILTER) {
        filter_key(u, key);
    } else {
        const binding *b = key_lookup(context, key);
        if (b && !refused(u, b)) {
            ui_do(u, b->action, 0);
        }
    }
}

void ui_paste(ui *u, const char *text)
{
    uint32_t context = ui_context(u);
    edit *e = context == CTX_FORM      ? (u->field == 0 ? &u->type : &u->payload)
              : context == CTX_PALETTE ? &u->command
              : context == CTX_FILTER  ? &u->filter
                                       : NULL;
    if (!e) {
        return;
    }
    char clean[EDIT_MAX];
    text_clean(clean, sizeof clean, text);
    const char *p = clean, *end = clean + strlen(clean);
    while (p < end) {
        edit_key(e, text_next(&p, end));
    }
    if (context == CTX_FORM) {
        form_check(u);
    } else if (context == CTX_FILTER) {
        list_order(u);
    }
}

void ui_mouse(ui *u, const grid *drawn, int x, int y, bool wheel_up, bool wheel_down)
{
    if (u->screen == SCREEN_SPLASH) {
        return;
    }
    if (wheel_up || wheel_down) {
        for (int i = 0; i < 3; i++) {
            ui_do(u, wheel_up ? ACT_UP : ACT_DOWN, 0);
        }
        return;
    }
    const zone *z = grid_hit(drawn, x, y);
    if (!z) {
        return;
    }
    const binding *b = key_of(ui_context(u), (action)z->action);
    if (!refused(u, b)) {
        ui_do(u, (action)z->action, z->arg);
    }
}

static bool notice_due(const ui *u)
{
    return u->notice[0] && u->now_ms >= u->notice_until_ms;
}

/* Something on screen tells the age of data, which grows by itself. */
static bool shows_age(const ui *u)
{
    for (int i = 0; i < SRC_COUNT; i++) {
        if (u->snap->src[i].failures > 0 && u->snap->src[i].ok_ms) {
            return true;
        }
    }
    const job_detail *d = u->snap->detail;
    return u->paused || (u->dialog == DIALOG_DETAIL && d && d->error[0] && d->ok_ms);
}

static bool spins(const ui *u)
{
    return u->caps->motion && (u->launch.running || u->checks.running || u->screen == SCREEN_SPLASH ||
                               u->snap->submit.state == SUBMIT_SENDING);
}

bool ui_tick(ui *u, int64_t now_ms)
{
    bool moved = spins(u) ? now_ms / SPLASH_STEP_MS != u->now_ms / SPLASH_STEP_MS
                          : (shows_age(u) || u->launch.running) && now_ms / 1000 != u->now_ms / 1000;
    u->now_ms = now_ms;
    screen_id before = u->screen;
    if (notice_due(u)) {
        u->notice[0] = '\0';
        moved = true;
    }
    advance_screen(u);
    return moved || u->screen != before;
}

int ui_next_tick(const ui *u)
{
    if (spins(u)) {
        return SPLASH_STEP_MS;
    }
    int64_t next = -1;
    if (u->screen == SCREEN_SPLASH) {
        next = 50;
    } else if (shows_age(u) || u->launch.running) {
        next = 1000 - u->now_ms % 1000;
    }
    if (u->notice[0]) {
        int64_t left = u->notice_until_ms - u->now_ms;
        left = left < 1 ? 1 : left;
        next = next < 0 || left < next ? left : next;
    }
    return (int)next;
}
