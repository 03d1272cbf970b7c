/* style — see style.h. Colour numbers are those of xterm's 256; the eight basic ones come first. */
#include "style.h"

enum { RED = 1, GREEN, YELLOW, BLUE, MAGENTA, CYAN };

typedef struct look {
    short dark, light, both; /* of 256 colours */
    short few_dark, few;     /* of 8, with a dark background or one that is not known */
    bool bold;               /* with colours too */
    bool mono_bold, mono_underline;
} look;

/* `both` has at least 3:1 contrast on black and on white; yellow and cyan vanish on white, so a background
 * that is not known gets magenta and blue instead. */
static const look looks[ROLE_COUNT] = {
    [ROLE_TEXT] = {-1, -1, -1, -1, -1, false, false, false},
    [ROLE_DIM] = {245, 243, 244, -1, -1, false, false, false},
    [ROLE_STRONG] = {-1, -1, -1, -1, -1, true, true, false},
    [ROLE_BORDER] = {239, 250, 245, -1, -1, false, false, false},
    [ROLE_FOCUS] = {75, 25, 32, CYAN, BLUE, false, true, false},
    [ROLE_TITLE] = {252, 236, -1, -1, -1, false, true, false},
    [ROLE_KEY] = {75, 25, 32, CYAN, BLUE, true, true, false},
    [ROLE_ACCENT] = {80, 30, 31, CYAN, BLUE, false, false, false},
    [ROLE_OK] = {114, 28, 34, GREEN, GREEN, false, false, false},
    [ROLE_RUN] = {75, 25, 32, CYAN, BLUE, false, false, false},
    [ROLE_WAIT] = {180, 94, 137, YELLOW, MAGENTA, false, false, false},
    [ROLE_WARN] = {221, 130, 172, YELLOW, MAGENTA, false, false, true},
    [ROLE_FAIL] = {203, 160, 167, RED, RED, false, true, false},
    [ROLE_GRAPH_LOW] = {72, 29, 36, GREEN, GREEN, false, false, false},
    [ROLE_GRAPH_MID] = {114, 28, 35, GREEN, GREEN, false, false, false},
    [ROLE_GRAPH_HIGH] = {156, 22, 70, GREEN, GREEN, false, false, false},
    [ROLE_INPUT] = {-1, -1, -1, -1, -1, false, false, true},
};

static style colored(role r, int colors, theme t)
{
    const look *l = &looks[r];
    bool many = colors >= 256;
    short fg = many ? (t == THEME_DARK    ? l->dark
                       : t == THEME_LIGHT ? l->light
                                          : l->both)
                    : (t == THEME_DARK ? l->few_dark : l->few);
    style s = {fg, -1, l->bold, false, false};
    if (r == ROLE_INPUT) {
        s.bg = many && t == THEME_DARK ? 237 : many && t == THEME_LIGHT ? 254 : -1;
        s.underline = s.bg < 0;
    }
    return s;
}

style style_of(role r, unsigned attr, int colors, theme t)
{
    const look *l = &looks[r];
    style s = {-1, -1, l->mono_bold, l->mono_underline, false};
    if (colors) {
        s = colored(r, colors, t);
    }
    if (attr & ATTR_BOLD) {
        s.bold = true;
    }
    if ((attr & ATTR_SELECTED) && colors >= 256 && t != THEME_AUTO) {
        s.fg = t == THEME_DARK ? 255 : 16;
        s.bg = t == THEME_DARK ? 24 : 153;
    } else if (attr & ATTR_SELECTED) {
        s.fg = s.bg = -1;
        s.reverse = true;
    }
    return s;
}
