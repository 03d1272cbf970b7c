/* plot — see plot.h. Braille patterns: Unicode 15, block 2800, dots numbered by column. */
#include "plot.h"

#include <math.h>

void plot_spark(grid *g, int x, int y, int w, role r, const float *v, int n)
{
    int first = n > w ? n - w : 0;
    float max = 0;
    for (int i = first; i < n; i++) {
        max = v[i] > max ? v[i] : max;
    }
    int lead = w - (n - first);
    for (int i = 0; i < w; i++) {
        float value = i < lead ? 0 : v[first + i - lead];
        int level = max > 0 ? (int)ceilf(value / max * 8) : 0;
        level = level < 1 ? 1 : level > 8 ? 8 : level;
        bool none = i < lead || value <= 0;
        grid_char(g, x + i, y, none ? ROLE_DIM : r, 0x2580u + (uint32_t)(none ? 1 : level));
    }
}

static role height_role(int row_from_bottom, int rows)
{
    int third = row_from_bottom * 3 / (rows > 0 ? rows : 1);
    return third == 0 ? ROLE_GRAPH_LOW : third == 1 ? ROLE_GRAPH_MID : ROLE_GRAPH_HIGH;
}

void plot_area(grid *g, rect r, const float *v, int n, float top)
{
    static const uint32_t left[] = {0x40, 0x04, 0x02, 0x01}, right[] = {0x80, 0x20, 0x10, 0x08};
    int columns = r.w * 2, dots = r.h * 4;
    for (int cx = 0; cx < r.w; cx++) {
        int height[2];
        for (int side = 0; side < 2; side++) {
            int i = n - columns + cx * 2 + side;
            float value = i >= 0 && i < n ? v[i] : 0;
            int d = top > 0 ? (int)lroundf(value / top * (float)dots) : 0;
            height[side] = value > 0 && d == 0 ? 1 : d > dots ? dots : d;
        }
        for (int cy = 0; cy < r.h; cy++) {
            int base = (r.h - 1 - cy) * 4;
            uint32_t bits = 0;
            for (int k = 0; k < 4; k++) {
                bits |= height[0] > base + k ? left[k] : 0;
                bits |= height[1] > base + k ? right[k] : 0;
            }
            if (bits) {
                grid_char(g, r.x + cx, r.y + cy, height_role(r.h - 1 - cy, r.h), 0x2800u | bits);
            }
        }
    }
}

void plot_gauge(grid *g, int x, int y, int w, role r, double part)
{
    part = part < 0 ? 0 : part > 1 ? 1 : part;
    int full = (int)lround(part * w);
    if (part > 0 && full == 0) {
        full = 1;
    }
    for (int i = 0; i < w; i++) {
        grid_char(g, x + i, y, i < full ? r : ROLE_BORDER, i < full ? 0x2501 : 0x2500);
    }
}

float plot_top(float v)
{
    float top = 1;
    static const float step[] = {2, 2.5f, 2};
    for (int i = 0; top < v && i < 60; i++) {
        top *= step[i % 3];
    }
    return top;
}
