/* term_state.c — see term_state.h.
 *
 * libvterm gets all that comes, in pieces: cut where something must be looked at before or after a sequence
 * acts, and with a few sequences in other words where version 0.1.4 does not know them (REP, CSI s and u,
 * ?47, dim and invisible). */
#include "term_state.h"
#include "term_cell.h"
#include "term_modes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct line {
    int n;
    cell cells[];
} line;

typedef struct cursor {
    bool set;
    VTermPos pos;
    pen pen;
} cursor;

struct term_state {
    VTerm *vt;
    VTermScreen *screen;
    VTermState *state;
    term_modes modes;
    int cols, rows;
    term_reply_fn *reply;
    void *arg;
    bool replies, replied;
    /* the alternate screen is shown: the primary one, and the cursor at that time */
    cell *primary;
    bool alt;
    cursor entry;
    cursor saved;                      /* by ESC 7 */
    bool saved_alt;                    /* while the alternate screen was shown */
    unsigned font, flags, saved_flags; /* libvterm's font; what it should be */
    /* the last printed cell, for the wrap that is pending in the last column */
    bool in_text, at_edge;
    VTermPos edge;
    char last[4]; /* last character, for REP */
    size_t n_last;
    line *back[TERM_SCROLLBACK]; /* ring of lines that scrolled out; first is the oldest */
    size_t first, n_back, back_bytes;
};

/* ---- scrollback --------------------------------------------------------------------------------- */

static size_t line_bytes(const line *l)
{
    return sizeof *l + (size_t)l->n * sizeof *l->cells;
}

static void back_drop_oldest(term_state *t)
{
    line *l = t->back[t->first];
    t->back_bytes -= line_bytes(l);
    free(l);
    t->first = (t->first + 1) % TERM_SCROLLBACK;
    t->n_back--;
}

static void back_clear(term_state *t)
{
    while (t->n_back)
        back_drop_oldest(t);
}

/* The right half of a wide character that is gone is as good as erased. */
static void orphan_erase(cell *row, int col)
{
    if (!row[col].width && (!col || row[col - 1].width != 2))
        row[col].width = 1;
}

/* The screen that libvterm shows, into t->cols * t->rows cells. */
static void screen_read(const term_state *t, cell *out)
{
    VTermScreenCell c;
    for (int row = 0; row < t->rows; row++, out += t->cols) {
        for (int col = 0; col < t->cols; col++) {
            vterm_screen_get_cell(t->screen, (VTermPos){row, col}, &c);
            cell_from(&out[col], &c, t->modes.reverse);
            orphan_erase(out, col);
        }
    }
}

/* ---- libvterm's calls ----------------------------------------------------------------------------- */

static int on_damage(VTermRect r, void *user)
{
    term_state *t = user;
    if (t->in_text) {
        t->at_edge = r.end_col == t->cols;
        t->edge = (VTermPos){r.start_row, r.start_col};
    }
    return 1;
}

static int on_movecursor(VTermPos pos, VTermPos old, int visible, void *user)
{
    term_state *t = user;
    (void)old;
    (void)visible;
    if (pos.row != t->edge.row || pos.col != t->edge.col)
        t->at_edge = false;
    return 1;
}

static int on_pushline(int cols, const VTermScreenCell *cells, void *user)
{
    term_state *t = user;
    cell row[TERM_MAX_COLS];
    if (t->alt || cols > TERM_MAX_COLS)
        return 0;
    for (int i = 0; i < cols; i++) {
        cell_from(&row[i], &cells[i], t->modes.reverse);
        orphan_erase(row, i);
    }
    int n = row_used(row, cols);
    line *l = malloc(sizeof *l + (size_t)n * sizeof *l->cells);
    if (!l) {
        back_clear(t); /* no scrollback, rather than one with a hole */
        return 0;
    }
    l->n = n;
    memcpy(l->cells, row, (size_t)n * sizeof *row);
    t->back_bytes += line_bytes(l);
    while (t->n_back == TERM_SCROLLBACK || (t->n_back && t->back_bytes > TERM_SCROLLBACK_BYTES))
        back_drop_oldest(t);
    t->back[(t->first + t->n_back++) % TERM_SCROLLBACK] = l;
    return 1;
}

static void on_output(const char *s, size_t n, void *user)
{
    term_state *t = user;
    if (!t->replies)
        return;
    t->replied = true;
    t->reply(t->arg, s, n);
}

static const VTermScreenCallbacks screen_calls = {
    .damage = on_damage,
    .movecursor = on_movecursor,
    .sb_pushline = on_pushline,
};

/* ---- life ------------------------------------------------------------------------------------------ */

static int clamp(int n, int low, int high)
{
    return n < low ? low : n > high ? high : n;
}

term_state *term_new(int cols, int rows, term_reply_fn *reply, void *arg)
{
    term_state *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->cols = clamp(cols, 2, TERM_MAX_COLS);
    t->rows = clamp(rows, 1, TERM_MAX_ROWS);
    t->reply = reply;
    t->arg = arg;
    t->vt = vterm_new(t->rows, t->cols);
    if (!t->vt) {
        free(t);
        return NULL;
    }
    vterm_set_utf8(t->vt, 1);
    vterm_output_set_callback(t->vt, on_output, t);
    t->state = vterm_obtain_state(t->vt);
    t->screen = vterm_obtain_screen(t->vt);
    vterm_screen_set_callbacks(t->screen, &screen_calls, t);
    vterm_screen_enable_altscreen(t->screen, 1);
    vterm_screen_reset(t->screen, 1);
    return t;
}

void term_free(term_state *t)
{
    if (!t)
        return;
    back_clear(t);
    free(t->primary);
    vterm_free(t->vt);
    free(t);
}

/* ---- feeding ---------------------------------------------------------------------------------------- */

static void give(term_state *t, const char *p, size_t n, bool text)
{
    t->in_text = text;
    if (n)
        vterm_input_write(t->vt, p, n);
    t->in_text = false;
}

static void give_text(term_state *t, const char *s)
{
    give(t, s, strlen(s), false);
}

static pen pen_now(const term_state *t)
{
    VTermValue v;
    pen p = {0};
    if (vterm_state_get_penattr(t->state, VTERM_ATTR_FOREGROUND, &v))
        p.fg = cell_color(&v.color, false);
    if (vterm_state_get_penattr(t->state, VTERM_ATTR_BACKGROUND, &v))
        p.bg = cell_color(&v.color, true);
    static const struct {
        VTermAttr attr;
        uint32_t bit;
    } bits[] = {{VTERM_ATTR_BOLD, CELL_BOLD},
                {VTERM_ATTR_ITALIC, CELL_ITALIC},
                {VTERM_ATTR_BLINK, CELL_BLINK},
                {VTERM_ATTR_REVERSE, CELL_REVERSE},
                {VTERM_ATTR_STRIKE, CELL_STRIKE}};
    for (size_t i = 0; i < sizeof bits / sizeof *bits; i++) {
        if (vterm_state_get_penattr(t->state, bits[i].attr, &v) && v.boolean)
            p.attrs |= bits[i].bit;
    }
    if (vterm_state_get_penattr(t->state, VTERM_ATTR_UNDERLINE, &v))
        p.attrs |= (uint32_t)v.number << 1;
    p.attrs |= t->flags & FONT_DIM ? CELL_DIM : 0;
    p.attrs |= t->flags & FONT_INVISIBLE ? CELL_INVISIBLE : 0;
    return p;
}

static cursor cursor_now(const term_state *t)
{
    cursor c = {.set = true, .pen = pen_now(t)};
    vterm_state_get_cursorpos(t->state, &c.pos);
    return c;
}

static void cursor_saved(term_state *t)
{
    t->saved = cursor_now(t);
    t->saved_alt = t->alt;
    t->saved_flags = t->flags;
}

/* libvterm 0.1.4 leaves the cursor outside after some changes of size, and brings one back to where it was on
 * a larger screen; then it reads and writes there. */
static void cursor_inside(term_state *t)
{
    VTermPos pos;
    char s[32];
    vterm_state_get_cursorpos(t->state, &pos);
    int row = clamp(pos.row, 0, t->rows - 1), col = clamp(pos.col, 0, t->cols - 1);
    if (row == pos.row && col == pos.col)
        return;
    int n = snprintf(s, sizeof s, "\033[%d;%dH", row + 1, col + 1);
    vterm_input_write(t->vt, s, (size_t)n);
}

static void cursor_restored(term_state *t)
{
    t->font = t->flags = t->saved_flags;
    cursor_inside(t);
}

static void alt_enter(term_state *t, int mode)
{
    t->entry = cursor_now(t);
    if (mode == 1049)
        cursor_saved(t);
    t->primary = calloc((size_t)t->cols * (size_t)t->rows, sizeof *t->primary);
    if (t->primary)
        screen_read(t, t->primary);
    t->alt = true;
}

static void alt_leave(term_state *t, int mode)
{
    free(t->primary);
    t->primary = NULL;
    if (mode == 1049)
        cursor_restored(t);
    t->alt = false;
}

/* The flags of dim and invisible after an SGR, and libvterm's font brought to them. */
static void sgr_done(term_state *t)
{
    const term_modes *m = &t->modes;
    for (unsigned i = 0; i < (m->n_args ? m->n_args : 1); i++) {
        int a = m->n_args ? m->args[i] : 0;
        if (m->sub & 1u << i)
            continue;
        if (a <= 0)
            t->flags = t->font = 0;
        else if (a == 2)
            t->flags |= FONT_DIM;
        else if (a == 8)
            t->flags |= FONT_INVISIBLE;
        else if (a == 22)
            t->flags &= ~(unsigned)FONT_DIM;
        else if (a == 28)
            t->flags &= ~(unsigned)FONT_INVISIBLE;
        else if (a >= 10 && a <= 19)
            t->font = (unsigned)a - 10;
        else if ((a == 38 || a == 48 || a == 58) && !(m->sub & 2u << i))
            i += i + 1 < m->n_args && m->args[i + 1] == 5 ? 2 : 4;
    }
    if (t->font == t->flags)
        return;
    char s[8] = {'\033', '[', '1', (char)('0' + t->flags), 'm', 0};
    give_text(t, s);
    t->font = t->flags;
}

/* REP: the last character again. */
static void repeat_last(term_state *t)
{
    int n = clamp(modes_arg(&t->modes, 0, 1), 1, t->cols * t->rows);
    while (t->n_last && n--)
        give(t, t->last, t->n_last, true);
}

/* A CSI sequence ends at p[i]; what is before p[*start] was given. */
static void csi_hook(term_state *t, const char *p, size_t *start, size_t i)
{
    const term_modes *m = &t->modes;
    int alt = modes_alt_named(m);
    bool bare = !m->prefix && !m->inter;
    bool enter = alt && m->final == 'h' && !t->alt;
    if (enter || alt == 47 || (bare && m->final == 'b') ||
        (bare && !m->n_args && (m->final == 's' || m->final == 'u'))) {
        give(t, p + *start, i - *start, false); /* without its end it has no effect yet */
        *start = i;
    } else {
        give(t, p + *start, i + 1 - *start, false);
        *start = i + 1;
    }
    if (enter)
        alt_enter(t, alt);
    if (alt && m->final == 'l' && t->alt)
        alt_leave(t, alt);
    if (*start == i + 1) {
        if (bare && m->final == 'm')
            sgr_done(t);
        else if (bare && m->final == 'J' && modes_arg(m, 0, 0) == 3)
            back_clear(t);
        else if (m->inter == '!' && m->final == 'p')
            t->font = t->flags = 0;
        else if (m->prefix == '?' && modes_arg(m, 0, 0) == 1048)
            m->final == 'h' ? cursor_saved(t) : cursor_restored(t);
        return;
    }
    if (enter && alt != 47)
        return;           /* its end is given next */
    give_text(t, "\030"); /* CAN: and in other words */
    *start = i + 1;
    if (alt) {
        give_text(t, m->final == 'h' ? "\033[?1047h" : "\033[?1047l");
    } else if (m->final == 'b') {
        repeat_last(t);
    } else {
        give_text(t, m->final == 's' ? "\0337" : "\0338");
        m->final == 's' ? cursor_saved(t) : cursor_restored(t);
    }
}

static void escape_hook(term_state *t, const char *p, size_t *start, size_t i)
{
    if (t->modes.inter || !strchr("78c", t->modes.final))
        return;
    give(t, p + *start, i + 1 - *start, false);
    *start = i + 1;
    if (t->modes.final == '7') {
        cursor_saved(t);
    } else if (t->modes.final == '8') {
        cursor_restored(t);
    } else {
        alt_leave(t, 0);
        back_clear(t);
        t->font = t->flags = t->saved_flags = 0;
        t->saved.set = false;
    }
}

static void last_character(term_state *t, unsigned char c)
{
    if ((c & 0xc0) != 0x80 || t->n_last == sizeof t->last)
        t->n_last = 0;
    t->last[t->n_last++] = (char)c;
}

static bool printable(char c)
{
    return c >= 0x20 && c < 0x7f;
}

void term_feed(term_state *t, const char *p, size_t n)
{
    size_t start = 0;
    for (size_t i = 0; i < n;) {
        if (t->modes.state == MODES_GROUND && printable(p[i])) {
            give(t, p + start, i - start, false);
            start = i;
            while (i < n && printable(p[i]))
                i++;
            last_character(t, (unsigned char)p[i - 1]);
            give(t, p + start, i - start, true);
            start = i;
            continue;
        }
        bool ground = t->modes.state == MODES_GROUND;
        modes_event e = modes_byte(&t->modes, (unsigned char)p[i]);
        if (t->modes.state == MODES_UTF8 || e == MODES_TEXT) {
            if (ground) {
                give(t, p + start, i - start, false);
                start = i;
            }
            last_character(t, (unsigned char)p[i]);
            give(t, p + start, i + 1 - start, true);
            start = i + 1;
        } else if (e == MODES_CSI_DONE) {
            csi_hook(t, p, &start, i);
        } else if (e == MODES_ESCAPE) {
            escape_hook(t, p, &start, i);
        }
        i++;
    }
    give(t, p + start, n - start, false);
}

/* ---- skipping ---------------------------------------------------------------------------------------- */

/* Length of the SGR sequence at p, 0 when it is another one or cut. */
static size_t sgr_length(const char *p, size_t n, bool *resets)
{
    size_t i = 2;
    if (n < 3 || p[1] != '[')
        return 0;
    while (i < n && i < 64 && ((p[i] >= '0' && p[i] <= '9') || p[i] == ';' || p[i] == ':'))
        i++;
    if (i >= n || p[i] != 'm')
        return 0;
    *resets = i == 2 || (p[2] == '0' && (p[3] == ';' || p[3] == 'm')) || p[2] == ';';
    return i + 1;
}

/* Bytes from p on that are plain text: nothing but SGR among it. */
static size_t simple_length(const char *p, size_t n)
{
    size_t i = 0;
    bool resets;
    while (i < n) {
        unsigned char c = (unsigned char)p[i];
        if (c >= 0x20 && c != 0x7f) {
            i++;
        } else if (c == '\n' || c == '\r' || c == '\t' || c == 0x08 || c == 0x07) {
            i++;
        } else if (c == 0x1b) {
            size_t len = sgr_length(p + i, n - i, &resets);
            if (!len)
                break;
            i += len;
        } else {
            break;
        }
    }
    return i;
}

/* The colours that plain text leaves behind. */
static void take_colors(term_state *t, const char *p, size_t n)
{
    odto_buf sgr = {.max = 16 * 1024};
    for (const char *at = p; (at = memchr(at, '\033', (size_t)(p + n - at)));) {
        bool resets = false;
        size_t len = sgr_length(at, (size_t)(p + n - at), &resets);
        if (resets)
            odto_buf_clear(&sgr);
        if (!odto_buf_put(&sgr, at, len)) { /* so many without a reset: the newest count */
            term_feed(t, sgr.p ? sgr.p : "", sgr.n);
            odto_buf_free(&sgr);
            sgr.max = 16 * 1024;
            odto_buf_put(&sgr, at, len);
        }
        at += len;
    }
    term_feed(t, sgr.p ? sgr.p : "", sgr.n);
    odto_buf_free(&sgr);
}

/* Where the last so many lines of p begin; 0: it has not more. */
static size_t last_lines(const char *p, size_t n, size_t lines)
{
    for (; n && lines; lines--) {
        const char *nl = memrchr(p, '\n', n);
        n = nl ? (size_t)(nl - p) : 0;
    }
    return n;
}

size_t term_skip(term_state *t, const char *p, size_t n)
{
    size_t lines = (size_t)t->rows + TERM_SCROLLBACK; /* so many from its end on are wanted */
    if (!modes_plain(&t->modes) ||
        !last_lines(p, n, lines)) /* it is looked through only where that is of use */
        return 0;
    size_t end = last_lines(p, simple_length(p, n), lines);
    while (end && p[end - 1] != '\r') { /* a line that begins in the first column */
        const char *nl = memrchr(p, '\n', end);
        end = nl ? (size_t)(nl - p) : 0;
    }
    if (!end)
        return 0;
    take_colors(t, p, end);
    term_feed(t, "\r", 1);
    return end;
}

/* ---- the rest ------------------------------------------------------------------------------------------ */

/* A taller screen shows lines of the scrollback again, as xterm has it. (libvterm's own way of asking for
 * them ends in a null pointer for some sizes.) */
static void pull_back(term_state *t, int grown)
{
    const term_modes *m = &t->modes;
    size_t n = (size_t)grown < t->n_back ? (size_t)grown : t->n_back;
    if (t->alt || !n || m->state != MODES_GROUND || m->insert || m->shift || m->charset[0] || m->origin)
        return;
    odto_buf b = {0};
    pen at = pen_now(t);
    static const pen none = {0};
    cursor now = cursor_now(t);
    pen_write(&b, &at, &none);
    odto_buf_printf(&b, "\033[%zuT", n);
    for (size_t i = 0; i < n; i++) {
        const line *l = t->back[(t->first + t->n_back - n + i) % TERM_SCROLLBACK];
        odto_buf_printf(&b, "\033[%zuH", i + 1);
        row_write(&b, &at, l->cells, l->n < t->cols ? l->n : t->cols, t->cols);
    }
    odto_buf_printf(&b, "\033[%d;%dH", now.pos.row + (int)n + 1, now.pos.col + 1);
    pen_write(&b, &at, &now.pen);
    if (!b.failed)
        term_feed(t, b.p, b.n);
    odto_buf_free(&b);
    for (; n; n--) {
        line *l = t->back[(t->first + --t->n_back) % TERM_SCROLLBACK];
        t->back_bytes -= line_bytes(l);
        free(l);
    }
}

void term_resize(term_state *t, int cols, int rows)
{
    cols = clamp(cols, 2, TERM_MAX_COLS);
    rows = clamp(rows, 1, TERM_MAX_ROWS);
    if (cols == t->cols && rows == t->rows)
        return;
    if (t->primary) {
        cell *p = calloc((size_t)cols * (size_t)rows, sizeof *p);
        for (int i = 0; p && i < cols * rows; i++) {
            int row = i / cols, col = i % cols;
            p[i] = row < t->rows && col < t->cols ? t->primary[row * t->cols + col] : (cell){.width = 1};
        }
        free(t->primary);
        t->primary = p;
    }
    int grown = rows - t->rows;
    vterm_set_size(t->vt, rows, cols);
    t->cols = cols;
    t->rows = rows;
    cursor_inside(t);
    t->modes.top = t->modes.bottom = 0; /* as xterm and libvterm have it */
    t->at_edge = false;
    if (grown > 0)
        pull_back(t, grown);
}

size_t term_pending(const term_state *t)
{
    return t->modes.state == MODES_GROUND ? 0 : t->modes.pending;
}

void term_replies(term_state *t, bool on)
{
    t->replies = on;
}

bool term_replied(term_state *t)
{
    bool r = t->replied;
    t->replied = false;
    return r;
}

const char *term_title(const term_state *t)
{
    return t->modes.title;
}

/* ---- snapshot --------------------------------------------------------------------------------------------
 */

static void rows_write(odto_buf *out, pen *at, const cell *cells, int cols, int rows, bool scrolling)
{
    int row = 0; /* of the cursor */
    for (int y = 0; y < rows; y++) {
        const cell *r = cells + (size_t)y * (size_t)cols;
        if (!scrolling && !row_used(r, cols))
            continue;
        if (scrolling ? y > 0 : y == row + 1)
            odto_buf_str(out, "\r\n");
        else if (y > row)
            odto_buf_printf(out, "\033[%dH", y + 1);
        row = y;
        row_write(out, at, r, cols, cols);
    }
}

static void cursor_write(odto_buf *out, pen *at, const cursor *c)
{
    odto_buf_printf(out, "\033[%d;%dH", c->pos.row + 1, c->pos.col + 1);
    pen_write(out, at, &c->pen);
}

static void back_write(term_state *t, odto_buf *out, pen *at)
{
    for (size_t i = 0; i < t->n_back; i++) {
        const line *l = t->back[(t->first + i) % TERM_SCROLLBACK];
        row_write(out, at, l->cells, l->n < t->cols ? l->n : t->cols, t->cols);
        odto_buf_str(out, "\r\n");
    }
}

/* Where the cursor is, the wrap that may be pending there, and its colours. */
static void position_write(term_state *t, odto_buf *out, pen *at, const cell *shown)
{
    cursor now = cursor_now(t);
    const term_modes *m = &t->modes;
    int top = m->origin && m->top > 1 ? m->top - 1 : 0;
    odto_buf_printf(out, "\033[%d;%dH", now.pos.row - top + 1, now.pos.col + 1);
    const cell *c = &shown[now.pos.row * t->cols + now.pos.col];
    if (t->at_edge && !m->no_wrap && now.pos.row == t->edge.row && now.pos.col == t->edge.col && c->ch[0])
        cell_write(out, at, c);
    pen_write(out, at, &now.pen);
}

bool term_snapshot(term_state *t, odto_buf *out)
{
    const term_modes *m = &t->modes;
    static const pen none = {0};
    pen at = none;
    cell *shown = calloc((size_t)t->cols * (size_t)t->rows, sizeof *shown);
    if (!shown)
        return false;
    screen_read(t, shown);
    odto_buf_str(out, "\033c");
    if (m->title[0])
        odto_buf_printf(out, "\033]2;%s\007", m->title);
    back_write(t, out, &at);
    if (!t->alt || t->primary)
        rows_write(out, &at, t->alt ? t->primary : shown, t->cols, t->rows, t->n_back > 0);
    if (t->saved.set && !t->saved_alt) {
        cursor_write(out, &at, &t->saved);
        odto_buf_str(out, "\0337");
    }
    if (t->alt) {
        cursor_write(out, &at, &t->entry);
        odto_buf_printf(out, "\033[?%dh", m->alt ? m->alt : 1049);
        pen_write(out, &at, &none);
        odto_buf_str(out, t->entry.pen.bg ? "\033[2J\033[H" : "\033[H");
        rows_write(out, &at, shown, t->cols, t->rows, false);
        if (t->saved.set && t->saved_alt) {
            cursor_write(out, &at, &t->saved);
            odto_buf_str(out, "\0337");
        }
    }
    if (m->top || m->bottom)
        odto_buf_printf(out, "\033[%d;%dr", m->top ? m->top : 1, m->bottom ? m->bottom : t->rows);
    if (m->origin)
        odto_buf_str(out, "\033[?6h");
    position_write(t, out, &at, shown);
    modes_write(m, out);
    free(shown);
    return !out->failed;
}
