/* term_cell.c — see term_cell.h. */
#include "term_cell.h"

#include <string.h>

uint32_t cell_color(const VTermColor *c, bool background)
{
    if (background ? VTERM_COLOR_IS_DEFAULT_BG(c) : VTERM_COLOR_IS_DEFAULT_FG(c))
        return 0;
    if (VTERM_COLOR_IS_INDEXED(c))
        return 1u << 24 | c->indexed.idx;
    return 2u << 24 | (uint32_t)c->rgb.red << 16 | (uint32_t)c->rgb.green << 8 | c->rgb.blue;
}

static uint32_t attributes(const VTermScreenCellAttrs *a, bool reversed_screen)
{
    uint32_t out = a->bold ? CELL_BOLD : 0;
    out |= (uint32_t)a->underline << 1;
    out |= a->italic ? CELL_ITALIC : 0;
    out |= a->blink ? CELL_BLINK : 0;
    out |= a->reverse != reversed_screen ? CELL_REVERSE : 0;
    out |= a->strike ? CELL_STRIKE : 0;
    out |= a->font & FONT_DIM ? CELL_DIM : 0;
    out |= a->font & FONT_INVISIBLE ? CELL_INVISIBLE : 0;
    return out;
}

void cell_from(cell *out, const VTermScreenCell *in, bool reversed_screen)
{
    *out = (cell){.width = 1, .pen.bg = cell_color(&in->bg, true)};
    if (in->chars[0] == (uint32_t)-1) {
        out->width = 0;
        return;
    }
    if (!in->chars[0])
        return;
    memcpy(out->ch, in->chars, sizeof out->ch);
    out->width = (uint8_t)in->width;
    out->pen.fg = cell_color(&in->fg, false);
    out->pen.attrs = attributes(&in->attrs, reversed_screen);
}

bool pen_same(const pen *a, const pen *b)
{
    return a->fg == b->fg && a->bg == b->bg && a->attrs == b->attrs;
}

/* ---- writing ----------------------------------------------------------------------------------- */

static void color_write(odto_buf *out, uint32_t c, bool background)
{
    unsigned base = background ? 40 : 30, index = c & 0xff;
    if (!c)
        odto_buf_printf(out, "%u;", base + 9);
    else if (c >> 24 == 2)
        odto_buf_printf(out, "%u;2;%u;%u;%u;", base + 8, c >> 16 & 0xff, c >> 8 & 0xff, c & 0xff);
    else if (index < 8)
        odto_buf_printf(out, "%u;", base + index);
    else if (index < 16)
        odto_buf_printf(out, "%u;", base + 52 + index);
    else
        odto_buf_printf(out, "%u;5;%u;", base + 8, index);
}

static void attributes_write(odto_buf *out, uint32_t add)
{
    static const struct {
        uint32_t bit;
        const char *code;
    } codes[] = {{CELL_BOLD, "1;"},    {CELL_DIM, "2;"},       {CELL_ITALIC, "3;"}, {CELL_BLINK, "5;"},
                 {CELL_REVERSE, "7;"}, {CELL_INVISIBLE, "8;"}, {CELL_STRIKE, "9;"}};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        if (add & codes[i].bit)
            odto_buf_str(out, codes[i].code);
    }
    static const char *const underline[] = {"", "4;", "21;", "4:3;"};
    odto_buf_str(out, underline[(add & CELL_UNDERLINE) >> 1]);
}

void pen_write(odto_buf *out, pen *at, const pen *to)
{
    static const pen none = {0};
    if (pen_same(at, to))
        return;
    odto_buf_str(out, "\033[");
    size_t begin = out->n;
    if (!pen_same(to, &none)) {
        bool other_line = (at->attrs ^ to->attrs) & CELL_UNDERLINE && at->attrs & CELL_UNDERLINE;
        if (at->attrs & ~to->attrs || other_line) {
            odto_buf_str(out, "0;");
            *at = none;
        }
        attributes_write(out, to->attrs & ~at->attrs);
        if (at->fg != to->fg)
            color_write(out, to->fg, false);
        if (at->bg != to->bg)
            color_write(out, to->bg, true);
    }
    if (out->n > begin && !out->failed)
        out->p[out->n - 1] = 'm';
    else
        odto_buf_str(out, "m");
    *at = *to;
}

static void rune_write(odto_buf *out, uint32_t c)
{
    char u[4];
    size_t n = 1;
    if (c < 0x80) {
        u[0] = (char)c;
    } else if (c < 0x800) {
        u[0] = (char)(0xc0 | c >> 6);
        u[1] = (char)(0x80 | (c & 63));
        n = 2;
    } else if (c < 0x10000) {
        u[0] = (char)(0xe0 | c >> 12);
        u[1] = (char)(0x80 | (c >> 6 & 63));
        u[2] = (char)(0x80 | (c & 63));
        n = 3;
    } else {
        u[0] = (char)(0xf0 | (c >> 18 & 7));
        u[1] = (char)(0x80 | (c >> 12 & 63));
        u[2] = (char)(0x80 | (c >> 6 & 63));
        u[3] = (char)(0x80 | (c & 63));
        n = 4;
    }
    odto_buf_put(out, u, n);
}

void cell_write(odto_buf *out, pen *at, const cell *c)
{
    pen_write(out, at, &c->pen);
    for (size_t i = 0; i < 3 && c->ch[i]; i++)
        rune_write(out, c->ch[i]);
}

static bool blank(const cell *c)
{
    return !c->ch[0] && c->width && !c->pen.bg;
}

int row_used(const cell *row, int cols)
{
    while (cols && blank(&row[cols - 1]))
        cols--;
    return cols;
}

/* Erased cells of one background: n of them, up to the end of the row or before something. */
static void gap_write(odto_buf *out, pen *at, const cell *first, int n, bool last)
{
    pen to = {.bg = first->pen.bg};
    if (to.bg) {
        pen_write(out, at, &to);
        if (last)
            odto_buf_str(out, "\033[K");
        else
            odto_buf_printf(out, "\033[%dX", n);
    }
    if (!last && n > 1)
        odto_buf_printf(out, "\033[%dC", n);
    else if (!last)
        odto_buf_str(out, "\033[C");
}

void row_write(odto_buf *out, pen *at, const cell *row, int count, int cols)
{
    static const pen none = {0};
    int used = row_used(row, count);
    for (int i = 0; i < used;) {
        if (!row[i].width) { /* written with its left half */
            i++;
            continue;
        }
        if (row[i].ch[0]) {
            cell_write(out, at, &row[i]);
            if (row[i].width == 2 && i + 1 < used && row[i + 1].width) /* its right half was written over */
                odto_buf_str(out, "\033[D");
            i++;
            continue;
        }
        int n = 1;
        while (i + n < used && !row[i + n].ch[0] && row[i + n].width && row[i + n].pen.bg == row[i].pen.bg)
            n++;
        gap_write(out, at, &row[i], n, i + n == cols);
        i += n;
    }
    if (at->bg)
        pen_write(out, at, &none);
}
