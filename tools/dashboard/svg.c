/* svg — see svg.h. Every run of cells that look alike is one text element, stretched to its columns, so that
 * the picture stays aligned whatever font shows it. */
#include "svg.h"

#include "text.h"

#define CELL_W 8.4
#define CELL_H 17
#define MARGIN 10

static uint32_t rgb_of(int index)
{
    static const uint32_t basic[] = {0x000000, 0xCD3131, 0x0DBC79, 0xE5E510, 0x2472C8, 0xBC3FBC,
                                     0x11A8CD, 0xE5E5E5, 0x666666, 0xF14C4C, 0x23D18B, 0xF5F543,
                                     0x3B8EEA, 0xD670D6, 0x29B8DB, 0xFFFFFF};
    static const uint32_t steps[] = {0, 95, 135, 175, 215, 255};
    if (index < 16) {
        return basic[index];
    }
    if (index < 232) {
        uint32_t i = (uint32_t)index - 16;
        return steps[i / 36] << 16 | steps[i / 6 % 6] << 8 | steps[i % 6];
    }
    uint32_t grey = 8 + ((uint32_t)index - 232) * 10;
    return grey << 16 | grey << 8 | grey;
}

static style look(const grid *g, int x, int y, theme t)
{
    const cell *c = grid_at(g, x, y);
    return style_of((role)c->role, c->attr, 256, t);
}

static bool same(style a, style b)
{
    return a.fg == b.fg && a.bg == b.bg && a.bold == b.bold && a.underline == b.underline &&
           a.reverse == b.reverse;
}

static void put_text(odto_buf *out, const grid *g, int x, int end, int y)
{
    for (; x < end; x++) {
        char b[4];
        uint32_t ch = grid_at(g, x, y)->ch;
        if (ch == '&') {
            odto_buf_str(out, "&amp;");
        } else if (ch == '<') {
            odto_buf_str(out, "&lt;");
        } else if (ch) {
            odto_buf_put(out, b, text_encode(ch, b));
        }
    }
}

static void put_run(odto_buf *out, const grid *g, int x, int end, int y, style s)
{
    double left = MARGIN + x * CELL_W;
    int top = MARGIN + y * CELL_H;
    double width = (end - x) * CELL_W;
    if (s.bg >= 0) {
        odto_buf_printf(out, "<rect x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\" fill=\"#%06x\"/>", left,
                        top, width, CELL_H, rgb_of(s.bg));
    }
    while (x < end && grid_at(g, x, y)->ch == ' ') {
        x++;
    }
    while (end > x && grid_at(g, end - 1, y)->ch == ' ') {
        end--;
    }
    if (x >= end) {
        return;
    }
    odto_buf_printf(out, "<text x=\"%.1f\" y=\"%d\" textLength=\"%.1f\"", MARGIN + x * CELL_W, top + 13,
                    (end - x) * CELL_W);
    if (s.fg >= 0) {
        odto_buf_printf(out, " fill=\"#%06x\"", rgb_of(s.fg));
    }
    odto_buf_str(out, s.bold ? " font-weight=\"bold\">" : ">");
    put_text(out, g, x, end, y);
    odto_buf_str(out, "</text>");
}

void svg_write(const grid *g, theme t, odto_buf *out)
{
    bool light = t == THEME_LIGHT;
    theme use = light ? THEME_LIGHT : THEME_DARK;
    int w = (int)(g->w * CELL_W) + 2 * MARGIN, h = g->h * CELL_H + 2 * MARGIN;
    odto_buf_printf(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" "
        "font-family=\"ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace\" font-size=\"14\" "
        "xml:space=\"preserve\">\n<rect width=\"%d\" height=\"%d\" rx=\"8\" fill=\"%s\"/>\n<g fill=\"%s\">\n",
        w, h, w, h, w, h, light ? "#ffffff" : "#1e1e1e", light ? "#202020" : "#dcdcdc");
    for (int y = 0; y < g->h; y++) {
        for (int x = 0; x < g->w;) {
            style s = look(g, x, y, use);
            int end = x + 1;
            while (end < g->w && same(s, look(g, end, y, use))) {
                end++;
            }
            put_run(out, g, x, end, y, s);
            x = end;
        }
        odto_buf_str(out, "\n");
    }
    odto_buf_str(out, "</g>\n</svg>\n");
}
