/* screen — see screen.h. ncurses 6.4 with wide characters. */
#define _XOPEN_SOURCE_EXTENDED 1
#define NCURSES_WIDECHAR       1
#include "screen.h"

#include "keys.h"
#include "text.h"

#include <curses.h>
#include <errno.h>
#include <langinfo.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <term.h>
#include <unistd.h>
#include <wchar.h>

#define PASTE_MAX       8192
#define ESCAPE_DELAY_MS 25
#define OSC_MAX         64
#define PAIR_SELECTED   (ROLE_COUNT + 1)

/* Key codes of our own, above those of ncurses. */
enum { CODE_PASTE_BEGIN = KEY_MAX + 1, CODE_PASTE_END, CODE_BACKGROUND, CODE_FOCUS };

struct screen {
    SCREEN *term;
    caps *caps;
    theme theme;
    bool mouse, away, all;
    cell *last; /* what the terminal shows */
    int last_w, last_h, last_cx, last_cy;
    char paste[PASTE_MAX];
    char osc[OSC_MAX];
    char restore[128];
    size_t restore_n;
};

void screen_caps(caps *c, bool no_color, bool ascii)
{
    const char *term = getenv("TERM"), *no = getenv("NO_COLOR");
    int err = 0;
    c->utf8 = !ascii && !strcmp(nl_langinfo(CODESET), "UTF-8");
    c->colors = 0;
    if (no_color || (no && no[0]) || !term || !strcmp(term, "dumb")) {
        return;
    }
    if (setupterm(term, STDOUT_FILENO, &err) == OK) {
        int n = tigetnum("colors");
        c->colors = n >= 256 ? 256 : n >= 8 ? 8 : 0;
        del_curterm(cur_term);
    }
}

/* One pair for each role, one for the selected row. */
static void set_colors(screen *s)
{
    for (int r = 0; s->caps->colors && r < ROLE_COUNT; r++) {
        style st = style_of((role)r, 0, s->caps->colors, s->theme);
        init_pair((short)(r + 1), st.fg, st.bg);
    }
    if (s->caps->colors) {
        style st = style_of(ROLE_TEXT, ATTR_SELECTED, s->caps->colors, s->theme);
        init_pair(PAIR_SELECTED, st.fg, st.bg);
    }
}

static void put(const char *s)
{
    fputs(s, stdout);
    fflush(stdout);
}

static bool knows_osc(void)
{
    static const char *const names[] = {"xterm", "tmux",    "screen",  "rxvt", "alacritty", "foot",
                                        "kitty", "wezterm", "ghostty", "st-",  "konsole",   "gnome"};
    const char *term = getenv("TERM");
    for (size_t i = 0; term && i < sizeof names / sizeof names[0]; i++) {
        if (!strncmp(term, names[i], strlen(names[i]))) {
            return true;
        }
    }
    return false;
}

static void modes_on(screen *s)
{
    if (knows_osc()) {
        put("\033[?2004h"); /* bracketed paste */
    }
    screen_mouse(s, s->mouse);
}

static void modes_off(void)
{
    if (knows_osc()) {
        put("\033[?2004l");
    }
}

static void remember_restore(screen *s)
{
    static const char *const names[] = {"rmkx", "sgr0", "cnorm", "rmcup"};
    s->restore_n = 0;
    char *p = s->restore;
    size_t left = sizeof s->restore - 1;
    const char *off = "\033[?1000l\033[?1002l\033[?1006l\033[?2004l";
    size_t n = knows_osc() ? strlen(off) : 0;
    memcpy(p, off, n);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char name[8];
        snprintf(name, sizeof name, "%s", names[i]);
        const char *v = tigetstr(name);
        size_t k = v && v != (const char *)-1 ? strcspn(v, "$") : 0; /* without padding */
        if (k && n + k < left) {
            memcpy(p + n, v, k);
            n += k;
        }
    }
    s->restore_n = n;
}

static void define_keys(void)
{
    define_key("\033[200~", CODE_PASTE_BEGIN);
    define_key("\033[201~", CODE_PASTE_END);
    define_key("\033]11;rgb:", CODE_BACKGROUND);
    define_key("\033[I", CODE_FOCUS);
    define_key("\033[O", CODE_FOCUS);
    define_key("\033[H", KEY_HOME);
    define_key("\033[F", KEY_END);
    define_key("\033OH", KEY_HOME);
    define_key("\033OF", KEY_END);
    define_key("\033[1~", KEY_HOME);
    define_key("\033[4~", KEY_END);
    define_key("\033[A", KEY_UP);
    define_key("\033[B", KEY_DOWN);
    define_key("\033[C", KEY_RIGHT);
    define_key("\033[D", KEY_LEFT);
}

int screen_open(screen **out, caps *c, theme t, bool mouse, odto_error *err)
{
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) {
        odto_fail(err, -ENOTTY, "this is not a terminal");
        odto_error_hint(err, "use --plain or --once --json in scripts");
        return -ENOTTY;
    }
    screen *s = calloc(1, sizeof *s);
    if (!s) {
        return odto_fail(err, -ENOMEM, "no memory");
    }
    const char *term = getenv("TERM");
    s->term = newterm(term && term[0] ? term : "vt100", stdout, stdin);
    if (!s->term) {
        free(s);
        odto_fail(err, -ENODEV, "the terminal type %s is not known here", term ? term : "(unset)");
        odto_error_hint(err, "set TERM, for example TERM=xterm-256color");
        return -ENODEV;
    }
    s->caps = c;
    s->theme = t;
    s->mouse = mouse;
    s->last_cx = s->last_cy = -2;
    set_term(s->term);
    set_escdelay(ESCAPE_DELAY_MS);
    raw();
    noecho();
    nonl();
    keypad(stdscr, TRUE);
    nodelay(stdscr, TRUE);
    leaveok(stdscr, FALSE);
    curs_set(0);
    define_keys();
    if (c->colors) {
        start_color();
        use_default_colors();
        c->colors = COLORS >= 256 ? 256 : COLORS >= 8 ? 8 : 0;
    }
    set_colors(s);
    remember_restore(s);
    modes_on(s);
    if (t == THEME_AUTO && c->colors >= 256 && knows_osc()) {
        put("\033]11;?\033\\"); /* the answer, if any, comes as input */
    }
    s->all = true;
    *out = s;
    return 0;
}

void screen_close(screen *s)
{
    if (!s) {
        return;
    }
    if (!s->away) {
        screen_leave(s);
    }
    delscreen(s->term);
    free(s->last);
    free(s);
}

void screen_leave(screen *s)
{
    mousemask(0, NULL);
    modes_off();
    curs_set(1);
    endwin();
    s->away = true;
}

void screen_enter(screen *s)
{
    s->away = false;
    screen_resized(s);
    refresh();
    curs_set(0);
    modes_on(s);
    screen_invalidate(s);
}

void screen_size(const screen *s, int *w, int *h)
{
    (void)s;
    getmaxyx(stdscr, *h, *w);
}

void screen_resized(screen *s)
{
    struct winsize ws;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) == 0 && ws.ws_row > 0 && ws.ws_col > 0) {
        int h = ws.ws_row > 1000 ? 1000 : ws.ws_row, w = ws.ws_col > 1000 ? 1000 : ws.ws_col;
        resizeterm(h, w);
    }
    screen_invalidate(s);
}

void screen_invalidate(screen *s)
{
    s->all = true;
}

static void make_cchar(const screen *s, const cell *c, cchar_t *out)
{
    wchar_t text[2] = {(wchar_t)c->ch, 0};
    style st = style_of((role)c->role, c->attr, s->caps->colors, s->theme);
    bool selected = c->attr & ATTR_SELECTED;
    short pair = !s->caps->colors ? 0 : selected ? PAIR_SELECTED : (short)(c->role + 1);
    attr_t attr = (st.bold ? A_BOLD : 0) | (st.underline ? A_UNDERLINE : 0) | (st.reverse ? A_REVERSE : 0);
    setcchar(out, text, attr, pair, NULL);
}

static void draw_row(screen *s, const grid *g, int y, cchar_t *line)
{
    int n = 0;
    for (int x = 0; x < g->w; x++) {
        const cell *c = grid_at(g, x, y);
        if (c->ch) {
            make_cchar(s, c, &line[n++]);
        }
    }
    mvadd_wchnstr(y, 0, line, n);
}

static bool prepare_last(screen *s, const grid *g)
{
    if (s->last && s->last_w == g->w && s->last_h == g->h) {
        return true;
    }
    cell *p = realloc(s->last, (size_t)g->w * (size_t)g->h * sizeof *p);
    if (!p) {
        return false;
    }
    s->last = p;
    s->last_w = g->w;
    s->last_h = g->h;
    s->all = true;
    return true;
}

int screen_draw(screen *s, const grid *g)
{
    cchar_t line[1001];
    if (s->away || !prepare_last(s, g)) {
        return s->away ? 0 : -ENOMEM;
    }
    if (s->all) {
        erase();
        clearok(curscr, TRUE);
    }
    size_t row = (size_t)g->w * sizeof(cell);
    for (int y = 0; y < g->h; y++) {
        const cell *now = grid_at(g, 0, y);
        cell *was = s->last + (size_t)y * (size_t)g->w;
        if (s->all || memcmp(now, was, row) != 0) {
            draw_row(s, g, y, line);
            memcpy(was, now, row);
        }
    }
    bool moved = g->cursor_x != s->last_cx || g->cursor_y != s->last_cy || s->all;
    if (moved) {
        curs_set(g->cursor_x >= 0);
        s->last_cx = g->cursor_x;
        s->last_cy = g->cursor_y;
    }
    s->all = false;
    if (g->cursor_x >= 0) {
        move(g->cursor_y, g->cursor_x < g->w ? g->cursor_x : g->w - 1);
    }
    wnoutrefresh(stdscr);
    doupdate();
    return 0;
}

/* ---- input --------------------------------------------------------------------------------- */

static uint32_t key_of_code(wint_t code)
{
    switch (code) {
    case KEY_UP:
        return DKEY_UP;
    case KEY_DOWN:
        return DKEY_DOWN;
    case KEY_LEFT:
        return DKEY_LEFT;
    case KEY_RIGHT:
        return DKEY_RIGHT;
    case KEY_PPAGE:
        return DKEY_PGUP;
    case KEY_NPAGE:
        return DKEY_PGDN;
    case KEY_HOME:
        return DKEY_HOME;
    case KEY_END:
        return DKEY_END;
    case KEY_DC:
        return DKEY_DELETE;
    case KEY_BTAB:
        return DKEY_BACKTAB;
    case KEY_BACKSPACE:
        return DKEY_BACKSPACE;
    case KEY_ENTER:
        return DKEY_ENTER;
    case KEY_F(1):
        return DKEY_F1;
    default:
        return DKEY_NONE;
    }
}

/* The next character even if its bytes are still on their way; ERR after 100 ms. */
static int get_soon(wint_t *ch)
{
    timeout(100);
    int rc = get_wch(ch);
    nodelay(stdscr, TRUE);
    return rc;
}

static void read_paste(screen *s, screen_event *e)
{
    size_t n = 0;
    wint_t ch;
    for (;;) {
        int rc = get_soon(&ch);
        if (rc == ERR || (rc == KEY_CODE_YES && ch == CODE_PASTE_END)) {
            break;
        }
        char b[4];
        size_t k = rc == OK ? text_encode((uint32_t)ch == '\r' ? '\n' : (uint32_t)ch, b) : 0;
        if (n + k < sizeof s->paste) {
            memcpy(s->paste + n, b, k);
            n += k;
        }
    }
    s->paste[n] = '\0';
    e->kind = EVENT_PASTE;
    e->text = s->paste;
}

/* The rest of an operating system command up to its end (BEL or ESC \), bounded. */
static void read_osc(screen *s)
{
    wint_t ch;
    size_t n = 0;
    while (n < sizeof s->osc - 1 && get_soon(&ch) == OK && ch != 7 && ch != '\\') {
        if (ch != 27) {
            s->osc[n++] = (char)ch;
        }
    }
    s->osc[n] = '\0';
}

/* "1e1e/1e1e/1e1e": dark when its luminance is below the middle. */
static void read_background(screen *s, screen_event *e)
{
    unsigned r, g, b;
    read_osc(s);
    if (s->theme != THEME_AUTO || sscanf(s->osc, "%2x%*2x/%2x%*2x/%2x", &r, &g, &b) != 3) {
        e->kind = EVENT_KEY;
        e->key = DKEY_NONE;
        return;
    }
    s->theme = r * 299 + g * 587 + b * 114 < 128000 ? THEME_DARK : THEME_LIGHT;
    set_colors(s);
    screen_invalidate(s);
    e->kind = EVENT_THEME;
}

static void read_mouse(screen_event *e)
{
    MEVENT m;
    e->kind = EVENT_KEY;
    e->key = DKEY_NONE;
    if (getmouse(&m) != OK) {
        return;
    }
    e->x = m.x;
    e->y = m.y;
    if (m.bstate & BUTTON4_PRESSED) {
        e->kind = EVENT_WHEEL_UP;
    } else if (m.bstate & BUTTON5_PRESSED) {
        e->kind = EVENT_WHEEL_DOWN;
    } else if (m.bstate & (BUTTON1_PRESSED | BUTTON1_CLICKED)) {
        e->kind = EVENT_CLICK;
    }
}

void screen_read(screen *s, screen_event *e)
{
    wint_t ch = 0;
    memset(e, 0, sizeof *e);
    int rc = get_wch(&ch);
    if (rc == ERR) {
        e->kind = EVENT_NONE;
        return;
    }
    e->kind = EVENT_KEY;
    if (rc == KEY_CODE_YES) {
        if (ch == CODE_PASTE_BEGIN) {
            read_paste(s, e);
        } else if (ch == CODE_BACKGROUND) {
            read_background(s, e);
        } else if (ch == KEY_MOUSE) {
            read_mouse(e);
        } else {
            e->key = key_of_code(ch);
        }
        return;
    }
    e->key = ch == '\n' || ch == '\r' ? DKEY_ENTER : ch == 8 ? DKEY_BACKSPACE : (uint32_t)ch;
    if (ch == 27) { /* an answer of the terminal that came in pieces must not be taken for keys */
        wint_t next;
        int more = get_wch(&next);
        if (more == OK && next == ']') {
            read_osc(s);
            e->key = DKEY_NONE;
        } else if (more == OK) {
            unget_wch((wchar_t)next);
        } else if (more == KEY_CODE_YES) {
            ungetch((int)next);
        }
    }
}

bool screen_mouse(screen *s, bool on)
{
    mouseinterval(0);
    s->mouse = on && mousemask(BUTTON1_PRESSED | BUTTON4_PRESSED | BUTTON5_PRESSED, NULL) != 0;
    if (!on) {
        mousemask(0, NULL);
    }
    return s->mouse;
}

void screen_clipboard(screen *s, const char *text)
{
    char coded[1024];
    size_t n = strlen(text);
    (void)s;
    n = n > 700 ? 700 : n;
    odto_base64(text, n, coded);
    const char *tmux = getenv("TMUX");
    /* tmux takes it with set-clipboard on; wrapped, it passes it on to the terminal outside with
     * allow-passthrough */
    printf("\033]52;c;%s\a", coded);
    if (tmux && tmux[0]) {
        printf("\033Ptmux;\033\033]52;c;%s\a\033\\", coded);
    }
    fflush(stdout);
}

const char *screen_restore_bytes(const screen *s, size_t *n)
{
    *n = s->restore_n;
    return s->restore;
}
