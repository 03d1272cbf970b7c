/* grid — the picture a view makes: a rectangle of cells, each a character with a role.
 *
 * Roles are meanings (ok, failed, title, key); a backend maps them to colours or attributes, or drops
 * them. Views write one set of Unicode glyphs; without UTF-8 the grid itself replaces them by ASCII when
 * they are put, so no view has two code paths. A grid belongs to one thread. Everything clips. */
#ifndef DASH_GRID_H
#define DASH_GRID_H

#include <odto/base.h>

/* What the terminal can do and what the user wants of it; constant after start. */
typedef struct caps {
    bool utf8;
    int colors; /* 0: monochrome; 8, 16 or 256 */
    bool motion;
    bool remote;    /* over SSH or without a display: URLs are shown and copied, not opened */
    bool read_only; /* nothing that changes the system */
    bool managed;   /* server mode: inside a container or under the terminal broker */
} caps;

typedef enum role {
    ROLE_TEXT,
    ROLE_DIM,
    ROLE_STRONG,
    ROLE_BORDER,
    ROLE_FOCUS, /* border and title of the focused panel */
    ROLE_TITLE,
    ROLE_KEY,
    ROLE_ACCENT,
    ROLE_OK,
    ROLE_RUN,
    ROLE_WAIT,
    ROLE_WARN,
    ROLE_FAIL,
    ROLE_GRAPH_LOW,
    ROLE_GRAPH_MID,
    ROLE_GRAPH_HIGH,
    ROLE_INPUT,
    ROLE_COUNT
} role;

#define ATTR_SELECTED 1u
#define ATTR_BOLD     2u

typedef struct cell {
    uint32_t ch; /* 0: the right half of a wide character */
    uint8_t role;
    uint8_t attr;
} cell;

typedef struct rect {
    int x, y, w, h;
} rect;

/* Where a click does what a key does: action of keys.h and its argument. */
typedef struct zone {
    rect r;
    int action, arg;
} zone;

#define GRID_ZONES 128

typedef struct grid {
    int w, h;
    cell *cells;
    const caps *caps;
    int cursor_x, cursor_y; /* -1: hidden */
    zone zones[GRID_ZONES];
    int n_zones;
} grid;

/* Prepares a blank grid of w x h (each clamped to 1..1000), reusing its memory. caps must outlive it.
 * 0 or -ENOMEM. A zero-initialised grid is valid input. */
int grid_reset(grid *g, int w, int h, const caps *c);
void grid_free(grid *g);
const cell *grid_at(const grid *g, int x, int y);

/* Draws text from (x, y), at most `max` columns; cut text ends in an ellipsis. Returns columns used. */
int grid_text(grid *g, int x, int y, int max, role r, const char *s);
int grid_printf(grid *g, int x, int y, int max, role r, const char *fmt, ...) ODTO_PRINTF(6, 7);
/* Right-aligned so that the text ends before column x_end. Returns the column where it starts. */
int grid_text_right(grid *g, int x_end, int y, int max, role r, const char *s);
int grid_text_center(grid *g, rect r, int y, role ro, const char *s);
void grid_char(grid *g, int x, int y, role r, uint32_t ch);
void grid_fill(grid *g, rect r, role ro, uint32_t ch);
/* A rounded frame; the title stands in the top edge, `note` (may be NULL) at its right end. */
void grid_box(grid *g, rect r, role border, const char *title, role note_role, const char *note);
/* Marks cells of a row as selected (a bar in every backend). */
void grid_select(grid *g, int x, int y, int w);
void grid_attr(grid *g, int x, int y, int w, unsigned attr);
void grid_zone(grid *g, rect r, int action, int arg);
const zone *grid_hit(const grid *g, int x, int y);
rect rect_inset(rect r, int dx, int dy);

/* Bounded Unicode text of the grid, rows ended by '\n', trailing blanks removed. */
void grid_to_text(const grid *g, odto_buf *out);

#endif
