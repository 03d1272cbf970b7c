/* vt_screen COLS ROWS — what a libvterm shows of the bytes on standard input: a line per row with characters
 * and attributes, then cursor and screen. For tests that compare two ways to the same screen. */
#include <stdio.h>
#include <stdlib.h>
#include <vterm.h>

static void cell_print(VTermScreen *s, int row, int col)
{
    VTermScreenCell c, left = {.width = 1};
    vterm_screen_get_cell(s, (VTermPos){row, col}, &c);
    if (col)
        vterm_screen_get_cell(s, (VTermPos){row, col - 1}, &left);
    vterm_screen_convert_color_to_rgb(s, &c.fg);
    vterm_screen_convert_color_to_rgb(s, &c.bg);
    unsigned bg = (unsigned)c.bg.rgb.red << 16 | (unsigned)c.bg.rgb.green << 8 | c.bg.rgb.blue;
    unsigned fg = (unsigned)c.fg.rgb.red << 16 | (unsigned)c.fg.rgb.green << 8 | c.fg.rgb.blue;
    if (c.chars[0] == (uint32_t)-1 && left.width == 2)
        printf("half ");
    else if (!c.chars[0] || c.chars[0] == (uint32_t)-1)
        printf("erased/%06x ", bg);
    else
        printf("%x.%x/%06x/%06x/%u%u%u%u%u%u ", c.chars[0], c.chars[1], fg, bg, c.attrs.bold,
               c.attrs.underline, c.attrs.italic, c.attrs.blink, c.attrs.reverse, c.attrs.strike);
}

static int alternate;

static int on_property(VTermProp prop, VTermValue *v, void *user)
{
    (void)user;
    if (prop == VTERM_PROP_ALTSCREEN)
        alternate = v->boolean;
    return 1;
}

int main(int argc, char **argv)
{
    static const VTermScreenCallbacks calls = {.settermprop = on_property};
    char bytes[65536];
    size_t n;
    if (argc != 3) {
        fprintf(stderr, "usage: vt_screen COLS ROWS < bytes\n");
        return 2;
    }
    int cols = atoi(argv[1]), rows = atoi(argv[2]);
    VTerm *vt = vterm_new(rows, cols);
    vterm_set_utf8(vt, 1);
    VTermScreen *s = vterm_obtain_screen(vt);
    vterm_screen_set_callbacks(s, &calls, NULL);
    vterm_screen_enable_altscreen(s, 1);
    vterm_screen_reset(s, 1);
    while ((n = fread(bytes, 1, sizeof bytes, stdin)) > 0)
        vterm_input_write(vt, bytes, n);
    for (int row = 0; row < rows; row++) {
        for (int col = 0; col < cols; col++)
            cell_print(s, row, col);
        putchar('\n');
    }
    VTermPos p;
    vterm_state_get_cursorpos(vterm_obtain_state(vt), &p);
    printf("cursor %d %d, %s screen\n", p.row, p.col, alternate ? "alternate" : "primary");
    vterm_free(vt);
    return 0;
}
