/* layout — see layout.h. */
#include "layout.h"

#include <string.h>

static void condensed(layout *l, int w, int h)
{
    /* header, two lines of figures, alerts line, jobs, host line, footer */
    l->stats = (rect){0, 1, w, 2};
    l->panels[PANEL_ALERTS] = (rect){0, 3, w, 1};
    l->panels[PANEL_JOBS] = (rect){0, 4, w, h - 6};
    l->panels[PANEL_PLUGINS] = l->panels[PANEL_ROUTES] = (rect){0, h - 2, w, 1};
}

static void full(layout *l, int w, int h)
{
    int top = 8, left = w - 31;
    l->stats = (rect){0, 1, 31, top};
    l->plot = (rect){31, 1, w - 31, top};
    int y = 1 + top, rest = h - y - 1;
    int alerts = rest > 18 ? 7 : 5;
    l->panels[PANEL_JOBS] = (rect){0, y, left, rest};
    l->panels[PANEL_ALERTS] = (rect){left, y, 31, alerts};
    l->panels[PANEL_PLUGINS] = l->panels[PANEL_ROUTES] = (rect){left, y + alerts, 31, rest - alerts};
    l->host_merged = true;
}

static void wide(layout *l, int w, int h)
{
    int top = h >= 45 ? 12 : 9;
    int side = w >= 150 ? 56 : 44;
    int left = w - side;
    l->stats = (rect){0, 1, 38, top};
    l->plot = (rect){38, 1, w - 38, top};
    int y = 1 + top, rest = h - y - 1;
    int alerts = rest >= 30 ? 8 : 6;
    int plugins = (rest - alerts + 1) / 2;
    l->panels[PANEL_JOBS] = (rect){0, y, left, rest};
    l->panels[PANEL_ALERTS] = (rect){left, y, side, alerts};
    l->panels[PANEL_PLUGINS] = (rect){left, y + alerts, side, plugins};
    l->panels[PANEL_ROUTES] = (rect){left, y + alerts + plugins, side, rest - alerts - plugins};
}

void layout_make(layout *l, int w, int h, panel_id focus, bool zoom)
{
    memset(l, 0, sizeof *l);
    l->header = (rect){0, 0, w, 1};
    l->footer = (rect){0, h - 1, w, 1};
    l->body = (rect){0, 1, w, h - 2};
    l->density = w < MIN_W || h < MIN_H ? DENSITY_NONE
                 : w < 80 || h < 24     ? DENSITY_CONDENSED
                 : w < 110 || h < 30    ? DENSITY_FULL
                                        : DENSITY_WIDE;
    if (l->density == DENSITY_NONE) {
        return;
    }
    l->borders = true;
    if (zoom || (l->density == DENSITY_CONDENSED && focus != PANEL_JOBS)) {
        for (int i = 0; i < PANEL_COUNT; i++) {
            l->panels[i] = (rect){0, 1, 0, 0};
        }
        l->panels[focus] = l->body;
        return;
    }
    if (l->density == DENSITY_CONDENSED) {
        l->borders = false;
        condensed(l, w, h);
    } else if (l->density == DENSITY_FULL) {
        full(l, w, h);
    } else {
        wide(l, w, h);
    }
}

int layout_rows(const layout *l, panel_id p)
{
    int head = p == PANEL_ALERTS ? 0 : 1; /* a line of column names */
    int rows = l->panels[p].h - head - (l->borders ? 2 : 0);
    return rows < 1 ? 1 : rows;
}

rect layout_dialog(int w, int h, int want_w, int want_h)
{
    int dw = want_w > w ? w : want_w, dh = want_h > h ? h : want_h;
    return (rect){(w - dw) / 2, (h - dh) / 2, dw, dh};
}
