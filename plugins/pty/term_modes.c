/* term_modes.c — see term_modes.h. */
#include "term_modes.h"

#include <string.h>

#define PENDING_MAX (64 * 1024) /* a longer string is none: taken as over */

void modes_reset(term_modes *m)
{
    *m = (term_modes){0};
}

int modes_arg(const term_modes *m, unsigned i, int missing)
{
    return i < m->n_args && m->args[i] > 0 ? m->args[i] : missing;
}

/* ---- what sequences do -------------------------------------------------------------------------- */

static void mouse_mode(term_modes *m, int mode, bool on)
{
    if (mode == 9 || mode == 1000 || mode == 1002 || mode == 1003)
        m->mouse = on ? mode : 0;
    else
        m->encoding = on ? mode : m->encoding == mode ? 0 : m->encoding;
}

static void private_mode(term_modes *m, int mode, bool on)
{
    switch (mode) {
    case 1:
        m->app_cursor = on;
        break;
    case 5:
        m->reverse = on;
        break;
    case 6:
        m->origin = on;
        break;
    case 7:
        m->no_wrap = !on;
        break;
    case 12:
        m->blink = on;
        break;
    case 25:
        m->hidden = !on;
        break;
    case 66:
        m->app_keypad = on;
        break;
    case 9:
    case 1000:
    case 1002:
    case 1003:
    case 1005:
    case 1006:
    case 1015:
    case 1016:
        mouse_mode(m, mode, on);
        break;
    case 1004:
        m->focus = on;
        break;
    case 1007:
        m->alt_scroll_off = !on;
        break;
    case 47:
    case 1047:
    case 1049:
        m->alt = on ? mode : 0;
        break;
    case 2004:
        m->paste = on;
        break;
    default:
        break;
    }
}

static void soft_reset(term_modes *m)
{
    m->app_cursor = m->app_keypad = m->origin = m->no_wrap = m->insert = m->hidden = false;
    m->top = m->bottom = 0;
    memset(m->charset, 0, sizeof m->charset);
    m->shift = 0;
}

static void csi_apply(term_modes *m)
{
    if (m->prefix == '?' && !m->inter && (m->final == 'h' || m->final == 'l')) {
        for (unsigned i = 0; i < m->n_args; i++)
            private_mode(m, m->args[i], m->final == 'h');
    } else if (!m->prefix && !m->inter && (m->final == 'h' || m->final == 'l')) {
        for (unsigned i = 0; i < m->n_args; i++) {
            if (m->args[i] == 4)
                m->insert = m->final == 'h';
            if (m->args[i] == 20)
                m->newline = m->final == 'h';
        }
    } else if (!m->prefix && !m->inter && m->final == 'r') {
        m->top = modes_arg(m, 0, 0);
        m->bottom = modes_arg(m, 1, 0);
    } else if (!m->prefix && !m->inter && m->final == 'g') {
        m->tabs = true;
    } else if (m->inter == ' ' && m->final == 'q') {
        m->shape = modes_arg(m, 0, 0);
    } else if (m->inter == '!' && m->final == 'p') {
        soft_reset(m);
    }
}

static void escape_apply(term_modes *m)
{
    const char *designate = "()*+", *at = m->inter ? strchr(designate, m->inter) : NULL;
    if (at) {
        m->charset[at - designate] = m->final == 'B' ? 0 : m->final;
        return;
    }
    if (m->inter)
        return;
    switch (m->final) {
    case 'c':
        modes_reset(m);
        m->final = 'c';
        break;
    case '=':
        m->app_keypad = true;
        break;
    case '>':
        m->app_keypad = false;
        break;
    case 'H':
        m->tabs = true;
        break;
    case 'n':
        m->shift = 2;
        break;
    case 'o':
        m->shift = 3;
        break;
    default:
        break;
    }
}

static void string_apply(term_modes *m)
{
    if (m->kind != ']' || m->n_string < 2 || (m->string[0] != '0' && m->string[0] != '2') ||
        m->string[1] != ';')
        return;
    size_t n = 0;
    for (size_t i = 2; i < m->n_string; i++) {
        if ((unsigned char)m->string[i] >= 0x20)
            m->title[n++] = m->string[i];
    }
    m->title[n] = 0;
    if (!odto_utf8_valid(odto_slice_of(m->title, n))) /* cut within a character, or worse */
        m->title[0] = 0;
}

/* ---- the parser ---------------------------------------------------------------------------------- */

static modes_event done(term_modes *m, modes_event e)
{
    m->state = MODES_GROUND;
    m->pending = 0;
    return e;
}

static void sequence_begin(term_modes *m, modes_state s)
{
    m->state = s;
    m->prefix = m->inter = m->final = 0;
    m->n_args = 0;
    m->sub = 0;
}

static modes_event ground(term_modes *m, unsigned char c)
{
    if (c == 0x1b) {
        sequence_begin(m, MODES_ESC);
        m->pending = 1;
        return MODES_NOTHING;
    }
    if (c < 0x20 || c == 0x7f) {
        if (c == 0x0e || c == 0x0f)
            m->shift = c == 0x0e;
        m->final = (char)c;
        return done(m, MODES_CONTROL);
    }
    if (c < 0xc2 || c >= 0xf5)
        return done(m, MODES_TEXT);
    m->left = c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
    m->state = MODES_UTF8;
    m->pending = 1;
    return MODES_NOTHING;
}

static modes_event utf8(term_modes *m, unsigned char c)
{
    if ((c & 0xc0) != 0x80) { /* the character is broken off; c is something new */
        done(m, MODES_TEXT);
        return ground(m, c);
    }
    m->pending++;
    return --m->left ? MODES_NOTHING : done(m, MODES_TEXT);
}

static modes_event escape(term_modes *m, unsigned char c)
{
    if (c >= 0x20 && c < 0x30) {
        m->inter = (char)c;
        m->state = MODES_ESC_INTER;
        return MODES_NOTHING;
    }
    if (m->state == MODES_ESC && c == '[') {
        sequence_begin(m, MODES_CSI);
        return MODES_NOTHING;
    }
    if (m->state == MODES_ESC && strchr("]PX^_", c)) {
        sequence_begin(m, MODES_STRING_BODY);
        m->kind = (char)c;
        m->n_string = 0;
        return MODES_NOTHING;
    }
    m->final = (char)c;
    escape_apply(m);
    return done(m, MODES_ESCAPE);
}

static void csi_digit(term_modes *m, unsigned char c)
{
    if (!m->n_args)
        m->args[m->n_args++] = -1;
    int *a = &m->args[m->n_args - 1];
    if (c == ';' || c == ':') {
        if (m->n_args == MODES_ARGS)
            return;
        m->sub |= c == ':' ? 1u << m->n_args : 0;
        m->args[m->n_args++] = -1;
    } else if (*a < 100000) {
        *a = (*a < 0 ? 0 : *a) * 10 + c - '0';
    }
}

static modes_event csi(term_modes *m, unsigned char c)
{
    if (c >= 0x3c && c <= 0x3f) {
        m->prefix = (char)c;
    } else if (c >= 0x30 && c <= 0x3b) {
        csi_digit(m, c);
    } else if (c >= 0x20 && c < 0x30) {
        m->inter = (char)c;
    } else if (c >= 0x40 && c < 0x7f) {
        m->final = (char)c;
        csi_apply(m);
        return done(m, MODES_CSI_DONE);
    } else if (c >= 0x80) {
        return done(m, MODES_TEXT);
    }
    return MODES_NOTHING;
}

static modes_event string(term_modes *m, unsigned char c)
{
    if (m->state == MODES_STRING_ESC && c == '\\') {
        string_apply(m);
        return done(m, MODES_STRING_DONE);
    }
    if (m->state == MODES_STRING_ESC) { /* another sequence breaks it off */
        sequence_begin(m, MODES_ESC);
        m->pending = 2;
        return escape(m, c);
    }
    if (c == 0x1b) {
        m->state = MODES_STRING_ESC;
    } else if (c == 0x07 || m->pending > PENDING_MAX) {
        string_apply(m);
        return done(m, MODES_STRING_DONE);
    } else if (m->n_string < MODES_STRING - 1) {
        m->string[m->n_string++] = (char)c;
    }
    return MODES_NOTHING;
}

modes_event modes_byte(term_modes *m, unsigned char c)
{
    if (m->state == MODES_GROUND)
        return ground(m, c);
    if (m->state == MODES_UTF8)
        return utf8(m, c);
    m->pending++;
    if (c == 0x18 || c == 0x1a) { /* CAN, SUB */
        m->final = (char)c;
        return done(m, MODES_CONTROL);
    }
    if (m->state == MODES_STRING_BODY || m->state == MODES_STRING_ESC)
        return string(m, c);
    if (c == 0x1b) {
        sequence_begin(m, MODES_ESC);
        m->pending = 1;
        return MODES_NOTHING;
    }
    if (c < 0x20) /* acts, and the sequence goes on */
        return MODES_NOTHING;
    return m->state == MODES_CSI ? csi(m, c) : escape(m, c);
}

int modes_alt_named(const term_modes *m)
{
    if (m->prefix != '?' || m->inter || (m->final != 'h' && m->final != 'l'))
        return 0;
    for (unsigned i = 0; i < m->n_args; i++) {
        if (m->args[i] == 47 || m->args[i] == 1047 || m->args[i] == 1049)
            return m->args[i];
    }
    return 0;
}

/* ---- writing -------------------------------------------------------------------------------------- */

static void mode_write(odto_buf *out, bool on, const char *sequence)
{
    if (on)
        odto_buf_str(out, sequence);
}

void modes_write(const term_modes *m, odto_buf *out)
{
    mode_write(out, m->app_cursor, "\033[?1h");
    mode_write(out, m->app_keypad, "\033=");
    mode_write(out, m->paste, "\033[?2004h");
    mode_write(out, m->focus, "\033[?1004h");
    mode_write(out, m->no_wrap, "\033[?7l");
    mode_write(out, m->insert, "\033[4h");
    mode_write(out, m->newline, "\033[20h");
    mode_write(out, m->hidden, "\033[?25l");
    mode_write(out, m->reverse, "\033[?5h");
    mode_write(out, m->blink, "\033[?12h");
    mode_write(out, m->alt_scroll_off, "\033[?1007l");
    if (m->mouse)
        odto_buf_printf(out, "\033[?%dh", m->mouse);
    if (m->encoding)
        odto_buf_printf(out, "\033[?%dh", m->encoding);
    if (m->shape)
        odto_buf_printf(out, "\033[%d q", m->shape);
    for (unsigned i = 0; i < 4; i++) {
        if (m->charset[i])
            odto_buf_printf(out, "\033%c%c", "()*+"[i], m -> charset[i]);
    }
    static const char *const shifts[] = {NULL, "\016", "\033n", "\033o"};
    if (m->shift)
        odto_buf_str(out, shifts[m->shift]);
}

bool modes_plain(const term_modes *m)
{
    return m->state == MODES_GROUND && !m->alt && !m->top && !m->bottom && !m->insert && !m->newline &&
           !m->origin && !m->shift && !m->charset[0] && !m->no_wrap && !m->tabs;
}
