/* grid — see grid.h. */
#include "grid.h"

#include "text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int grid_reset(grid *g, int w, int h, const caps *c)
{
    w = w < 1 ? 1 : w > 1000 ? 1000 : w;
    h = h < 1 ? 1 : h > 1000 ? 1000 : h;
    if (!g->cells || w * h > g->w * g->h) {
        cell *cells = realloc(g->cells, (size_t)w * (size_t)h * sizeof *cells);
        if (!cells) {
            return -ENOMEM;
        }
        g->cells = cells;
    }
    g->w = w;
    g->h = h;
    g->caps = c;
    g->cursor_x = g->cursor_y = -1;
    g->n_zones = 0;
    for (int i = 0; i < w * h; i++) {
        g->cells[i] = (cell){' ', ROLE_TEXT, 0};
    }
    return 0;
}

void grid_free(grid *g)
{
    free(g->cells);
    g->cells = NULL;
    g->w = g->h = 0;
}

const cell *grid_at(const grid *g, int x, int y)
{
    return &g->cells[y * g->w + x];
}

/* How a terminal without UTF-8 shows our glyphs. */
static uint32_t ascii(uint32_t c)
{
    static const char ramp[] = " .:-=+*##";
    if (c < 0x80) {
        return c;
    }
    if (c >= 0x2800 && c <= 0x28FF) {
        return (uint32_t)ramp[__builtin_popcount(c & 0xFF)];
    }
    if (c >= 0x2581 && c <= 0x2588) {
        return (uint32_t)ramp[c - 0x2580];
    }
    static const struct {
        uint32_t from;
        char to;
    } map[] = {{0x2500, '-'},  {0x2502, '|'}, {0x256D, '+'}, {0x256E, '+'}, {0x256F, '+'}, {0x2570, '+'},
               {0x251C, '+'},  {0x2524, '+'}, {0x2026, '~'}, {0x00B7, '-'}, {0x2013, '-'}, {0x2014, '-'},
               {0x25CF, '*'},  {0x25CB, 'o'}, {0x25C6, '*'}, {0x2713, '+'}, {0x2717, 'x'}, {0x25B6, '>'},
               {0x25B8, '>'},  {0x25BE, 'v'}, {0x25B4, '^'}, {0x2191, '^'}, {0x2193, 'v'}, {0x2192, '>'},
               {0x1F6A8, '!'}, {0x2591, '.'}, {0x2503, '|'}, {0x2501, '='}, {0x26A0, '!'}, {0x00D7, 'x'},
               {0x2190, '<'},  {0x2577, '|'}, {0x2574, '-'}, {0x2575, '|'}, {0x21BB, 'r'}};
    for (size_t i = 0; i < sizeof map / sizeof map[0]; i++) {
        if (map[i].from == c) {
            return (uint32_t)map[i].to;
        }
    }
    return '?';
}

static void store(grid *g, int x, int y, role r, uint32_t ch, int width)
{
    cell *c = &g->cells[y * g->w + x];
    /* overwriting one half of a wide character blanks the other half */
    if (c->ch == 0 && x > 0) {
        c[-1].ch = ' ';
    }
    if (x + width < g->w && c[width].ch == 0) {
        c[width].ch = ' ';
    }
    *c = (cell){ch, (uint8_t)r, 0};
    if (width == 2) {
        c[1] = (cell){0, (uint8_t)r, 0};
    }
}

void grid_char(grid *g, int x, int y, role r, uint32_t ch)
{
    if (x < 0 || y < 0 || x >= g->w || y >= g->h) {
        return;
    }
    if (!g->caps->utf8) {
        ch = ascii(ch);
    }
    int width = text_width(ch);
    if (width == 2 && x + 1 >= g->w) {
        ch = ' ';
        width = 1;
    }
    store(g, x, y, r, width ? ch : '?', width ? width : 1);
}

static int char_width(const grid *g, uint32_t *ch)
{
    if (!g->caps->utf8) {
        int w = text_width(*ch);
        *ch = ascii(*ch);
        return w == 0 ? 0 : 1;
    }
    if (*ch < 0x20 || (*ch >= 0x7F && *ch < 0xA0)) {
        *ch = '?'; /* callers clean their text; this is the last guard */
    }
    return text_width(*ch);
}

int grid_text(grid *g, int x, int y, int max, role r, const char *s)
{
    const char *end = s + strlen(s);
    int total = 0;
    for (const char *p = s; p < end && total <= max;) {
        uint32_t ch = text_next(&p, end);
        total += char_width(g, &ch);
    }
    int room = total > max ? max - 1 : max;
    int used = 0;
    for (const char *p = s; p < end;) {
        uint32_t ch = text_next(&p, end);
        int w = char_width(g, &ch);
        if (w == 0) {
            continue;
        }
        if (used + w > room) {
            break;
        }
        grid_char(g, x + used, y, r, ch);
        used += w;
    }
    if (total > max && max > 0) {
        grid_char(g, x + used, y, r, 0x2026);
        used++;
    }
    return used;
}

int grid_printf(grid *g, int x, int y, int max, role r, const char *fmt, ...)
{
    char line[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    return grid_text(g, x, y, max, r, line);
}

int grid_text_right(grid *g, int x_end, int y, int max, role r, const char *s)
{
    int n = text_columns(s);
    n = n > max ? max : n;
    grid_text(g, x_end - n, y, n, r, s);
    return x_end - n;
}

int grid_text_center(grid *g, rect r, int y, role ro, const char *s)
{
    int n = text_columns(s);
    n = n > r.w ? r.w : n;
    int x = r.x + (r.w - n) / 2;
    grid_text(g, x, y, n, ro, s);
    return x;
}

void grid_fill(grid *g, rect r, role ro, uint32_t ch)
{
    for (int y = r.y; y < r.y + r.h; y++) {
        for (int x = r.x; x < r.x + r.w; x++) {
            grid_char(g, x, y, ro, ch);
        }
    }
}

void grid_box(grid *g, rect r, role border, const char *title, role note_role, const char *note)
{
    if (r.w < 2 || r.h < 2) {
        return;
    }
    int right = r.x + r.w - 1, bottom = r.y + r.h - 1;
    grid_fill(g, (rect){r.x + 1, r.y, r.w - 2, 1}, border, 0x2500);
    grid_fill(g, (rect){r.x + 1, bottom, r.w - 2, 1}, border, 0x2500);
    grid_fill(g, (rect){r.x, r.y + 1, 1, r.h - 2}, border, 0x2502);
    grid_fill(g, (rect){right, r.y + 1, 1, r.h - 2}, border, 0x2502);
    grid_char(g, r.x, r.y, border, 0x256D);
    grid_char(g, right, r.y, border, 0x256E);
    grid_char(g, r.x, bottom, border, 0x2570);
    grid_char(g, right, bottom, border, 0x256F);
    int used = 0;
    if (title && title[0] && r.w > 6) {
        int x = r.x + 2;
        grid_char(g, x, r.y, ROLE_TEXT, ' ');
        int n = grid_text(g, x + 1, r.y, r.w - 6, border == ROLE_FOCUS ? ROLE_FOCUS : ROLE_TITLE, title);
        grid_attr(g, x + 1, r.y, n, ATTR_BOLD);
        grid_char(g, x + 1 + n, r.y, ROLE_TEXT, ' ');
        used = n + 4;
    }
    int room = r.w - used - 5;
    if (note && note[0] && room >= 4 && text_columns(note) <= room) {
        int x = grid_text_right(g, right - 2, r.y, room, note_role, note);
        grid_char(g, x - 1, r.y, ROLE_TEXT, ' ');
        grid_char(g, right - 2, r.y, ROLE_TEXT, ' ');
    }
}

void grid_attr(grid *g, int x, int y, int w, unsigned attr)
{
    for (int i = x; i < x + w; i++) {
        if (i >= 0 && i < g->w && y >= 0 && y < g->h) {
            g->cells[y * g->w + i].attr |= (uint8_t)attr;
        }
    }
}

void grid_select(grid *g, int x, int y, int w)
{
    grid_attr(g, x, y, w, ATTR_SELECTED);
}

void grid_zone(grid *g, rect r, int action, int arg)
{
    if (g->n_zones < GRID_ZONES) {
        g->zones[g->n_zones++] = (zone){r, action, arg};
    }
}

const zone *grid_hit(const grid *g, int x, int y)
{
    for (int i = g->n_zones - 1; i >= 0; i--) {
        const rect *r = &g->zones[i].r;
        if (x >= r->x && y >= r->y && x < r->x + r->w && y < r->y + r->h) {
            return &g->zones[i];
        }
    }
    return NULL;
}

rect rect_inset(rect r, int dx, int dy)
{
    return (rect){r.x + dx, r.y + dy, r.w - 2 * dx, r.h - 2 * dy};
}

void grid_to_text(const grid *g, odto_buf *out)
{
    for (int y = 0; y < g->h; y++) {
        int last = g->w;
        while (last > 0 && grid_at(g, last - 1, y)->ch == ' ') {
            last--;
        }
        for (int x = 0; x < last; x++) {
            uint32_t ch = grid_at(g, x, y)->ch;
            char b[4];
            if (ch) {
                odto_buf_put(out, b, text_encode(ch, b));
            }
        }
        odto_buf_put(out, "\n", 1);
    }
}
