/* layout — which panel stands where, a pure function of size and zoom. */
#ifndef DASH_LAYOUT_H
#define DASH_LAYOUT_H

#include "ui.h"

#define MIN_W 60
#define MIN_H 16

typedef enum density {
    DENSITY_NONE,      /* below 60x16: a notice */
    DENSITY_CONDENSED, /* 60x16 … */
    DENSITY_FULL,      /* 80x24 … */
    DENSITY_WIDE       /* 110x30 … */
} density;

typedef struct layout {
    density density;
    rect header, stats, plot, panels[PANEL_COUNT], body, footer;
    bool host_merged; /* plugins and queues share one panel, the focused one shows */
    bool borders;
} layout;

void layout_make(layout *l, int w, int h, panel_id focus, bool zoom);
/* Rows of data a panel shows. */
int layout_rows(const layout *l, panel_id p);
/* The box of a dialog of this wanted size, centred and clipped to the screen. */
rect layout_dialog(int w, int h, int want_w, int want_h);

#endif
