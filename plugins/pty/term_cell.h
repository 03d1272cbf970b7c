/* term_cell.h — a cell of a screen in a form of our own, and how cells are written as escape sequences.
 * Pure. */
#ifndef PTY_TERM_CELL_H
#define PTY_TERM_CELL_H

#include <odto/base.h>
#include <vterm.h>

enum {
    CELL_BOLD = 1,
    CELL_UNDERLINE = 6, /* two bits: single, double, curly */
    CELL_ITALIC = 8,
    CELL_BLINK = 16,
    CELL_REVERSE = 32,
    CELL_STRIKE = 64,
    CELL_DIM = 128,
    CELL_INVISIBLE = 256,
};

typedef struct pen {
    uint32_t fg, bg; /* 0: default; 1<<24 | index; 2<<24 | rgb */
    uint32_t attrs;
} pen;

typedef struct cell {
    uint32_t ch[3]; /* ch[0] 0: erased; then combining characters */
    pen pen;
    uint8_t width; /* 0: the right half of a wide character */
} cell;

/* libvterm has no attributes for dim and invisible; they travel as an alternative font (bit 0 and 1). */
enum { FONT_DIM = 1, FONT_INVISIBLE = 2 };

uint32_t cell_color(const VTermColor *c, bool background);
/* An erased cell keeps only its background, as xterm has it. */
void cell_from(cell *out, const VTermScreenCell *in, bool reversed_screen);
bool pen_same(const pen *a, const pen *b);
/* The shortest SGR from one pen to another; *at is changed to it. */
void pen_write(odto_buf *out, pen *at, const pen *to);
/* One row from its first column on: n cells, of a screen of cols; nothing for blank ones at its end. Leaves a
 * default background. */
void row_write(odto_buf *out, pen *at, const cell *row, int n, int cols);
void cell_write(odto_buf *out, pen *at, const cell *c);
int row_used(const cell *row, int cols); /* cells up to the last one that is not blank */
#endif
