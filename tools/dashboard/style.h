/* style — how a role looks: colours of the terminal's palette, or attributes without colour. Pure. */
#ifndef DASH_STYLE_H
#define DASH_STYLE_H

#include "grid.h"

typedef enum theme {
    THEME_AUTO, /* colours that read on light and dark; the terminal is asked for its background */
    THEME_DARK,
    THEME_LIGHT
} theme;

typedef struct style {
    short fg, bg; /* index of the palette, -1 the terminal's own */
    bool bold, underline, reverse;
} style;

/* attr: ATTR_… of the cell; colors: 0, 8 or 256. Selection and state never hang on colour alone. */
style style_of(role r, unsigned attr, int colors, theme t);

#endif
