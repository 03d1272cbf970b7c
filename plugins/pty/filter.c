/* filter.c — see filter.h. */
#include "filter.h"

#include <string.h>

#define NOTICE_EVERY  (5 * ODTO_SEC)
#define PASTE_END     "\033[201~"
#define PASTE_END_LEN 6
#define PASTE_MIN     4 /* characters in one message that nobody types: a paste without brackets */

static void drop(filter *f, filter_class c)
{
    f->dropped |= 1u << c;
}

/* ---- escape sequences ------------------------------------------------------------------------- */

/* Length of the whole CSI sequence at p ("\e[" is there), 0 when it is cut or malformed. */
static size_t csi_length(const char *p, size_t n)
{
    size_t i = 2;
    while (i < n && p[i] >= 0x20 && p[i] <= 0x3f)
        i++;
    if (i < n && p[2] == 'M' && i == 2) /* old mouse report: three bytes follow */
        return n >= 6 ? 6 : 0;
    return i < n && p[i] >= 0x40 && p[i] <= 0x7e ? i + 1 : 0;
}

static bool wheel(const char *p, size_t len)
{
    unsigned button = 0;
    if (p[2] == 'M')
        button = (unsigned char)p[3] - 32u;
    else
        for (size_t i = 3; i < len && p[i] >= '0' && p[i] <= '9' && button < 1000; i++)
            button = button * 10 + (unsigned)(p[i] - '0');
    return (button & 0xc0) == 64;
}

/* May this whole sequence pass? Cursor and editing keys, focus, reports of the terminal. */
static bool csi_passes(filter *f, const char *p, size_t len)
{
    char last = p[len - 1];
    if (p[2] == 'M' || p[2] == '<') {
        if (wheel(p, len))
            return true;
        drop(f, FILTER_MOUSE);
        return false;
    }
    if (strchr("ABCDEFGHPQRSZIOcyt~", last) && last)
        return true;
    drop(f, FILTER_CONTROL);
    return false;
}

static bool starts(const char *p, size_t n, const char *with)
{
    size_t k = strlen(with);
    return n >= k && !memcmp(p, with, k);
}

/* How many bytes of the end mark the paste breaks off with. */
static size_t paste_ending(const char *p, size_t n)
{
    size_t k = n < PASTE_END_LEN - 1 ? n : PASTE_END_LEN - 1;
    while (k && memcmp(p + n - k, PASTE_END, k) != 0)
        k--;
    return k;
}

/* Bytes of the paste at p that belong to it, its end mark included; that may have begun in the message
 * before. */
static size_t paste_length(filter *f, const char *p, size_t n)
{
    size_t rest = PASTE_END_LEN - f->ending;
    drop(f, FILTER_PASTE);
    f->pasting = false;
    if (f->ending && n >= rest && !memcmp(p, PASTE_END + f->ending, rest)) {
        f->ending = 0;
        return rest;
    }
    if (f->ending && n < rest && !memcmp(p, PASTE_END + f->ending, n)) {
        f->ending += n;
        f->pasting = true;
        return n;
    }
    const char *end = memmem(p, n, PASTE_END, PASTE_END_LEN);
    f->pasting = !end;
    f->ending = end ? 0 : paste_ending(p, n);
    return end ? (size_t)(end - p) + PASTE_END_LEN : n;
}

/* Length of a whole answer with a colour at p ("\033]11;rgb:0000/0000/0000" and its end), 0 when it is
 * another string. The dashboard asks for the background. */
static size_t color_length(const char *p, size_t n)
{
    size_t i = starts(p, n, "\033]10;rgb:") || starts(p, n, "\033]11;rgb:") ? 9 : 0, from = i;
    if (!i)
        return 0;
    while (i < n && i - from < 20 && p[i] && strchr("0123456789abcdefABCDEF/", p[i]))
        i++;
    if (i < n && p[i] == '\007')
        return i + 1;
    return starts(p + i, n - i, "\033\\") ? i + 2 : 0;
}

static size_t escape(filter *f, const char *p, size_t n, odto_buf *out)
{
    if (n == 1) { /* the key itself */
        odto_buf_put(out, p, 1);
        return 1;
    }
    if (starts(p, n, "\033[200~"))
        return paste_length(f, p, n);
    if (p[1] == '[') {
        size_t len = csi_length(p, n);
        if (!len) {
            drop(f, FILTER_CONTROL);
            return n;
        }
        if (csi_passes(f, p, len))
            odto_buf_put(out, p, len);
        return len;
    }
    if (p[1] == 'O' && n >= 3) { /* SS3: keypad Enter is Enter */
        if (strchr("ABCDHFPQRSI", p[2]) && p[2])
            odto_buf_put(out, p, 3);
        else
            drop(f, p[2] == 'M' ? FILTER_ENTER : FILTER_CONTROL);
        return 3;
    }
    if (p[1] == '\033') { /* Esc twice */
        odto_buf_put(out, p, 1);
        return 1;
    }
    size_t color = color_length(p, n);
    if (color) {
        odto_buf_put(out, p, color);
        return color;
    }
    if (strchr("]PX^_", p[1])) { /* another string: a terminal's answer that nothing here asks for */
        drop(f, FILTER_CONTROL);
        return n;
    }
    drop(f, FILTER_CONTROL); /* Alt and a key: some programs read it as Esc, then the key */
    return 2;
}

/* ---- keys -------------------------------------------------------------------------------------- */

/* The class of a byte that is no escape sequence; FILTER_CLASSES: it passes. */
static filter_class key_class(unsigned char c)
{
    if (c == 'n' || c == 'N')
        return FILTER_NEW;
    if (c == 'l' || c == 'L')
        return FILTER_LAUNCH;
    if (c == '\r' || c == '\n')
        return FILTER_ENTER;
    /* Tab, Ctrl-L (redraw), Ctrl-C (leave), Backspace */
    if (c == '\t' || c == 0x0c || c == 0x03 || c == 0x08 || c == 0x7f || c >= 0x20)
        return FILTER_CLASSES;
    return FILTER_CONTROL;
}

static size_t characters(const char *p, size_t n)
{
    size_t k = 0;
    for (size_t i = 0; i < n; i++)
        k += (unsigned char)p[i] >= 0x20 && p[i] != 0x7f && ((unsigned char)p[i] & 0xc0) != 0x80;
    return k;
}

void filter_input(filter *f, odto_slice in, odto_buf *out)
{
    size_t i = 0;
    f->dropped = 0;
    if (f->escaped && in.n && in.p[0] && strchr("[O]PX^_", in.p[0])) { /* would join with the Esc before */
        f->escaped = false;
        drop(f, FILTER_CONTROL);
        return;
    }
    if (f->pasting)
        i = paste_length(f, in.p, in.n);
    while (i < in.n) {
        if (in.p[i] == '\033') {
            i += escape(f, in.p + i, in.n - i, out);
            continue;
        }
        const char *esc = memchr(in.p + i, '\033', in.n - i);
        size_t end = esc ? (size_t)(esc - in.p) : in.n;
        if (characters(in.p + i, end - i) >= PASTE_MIN) {
            drop(f, FILTER_PASTE);
            i = end;
        }
        for (; i < end; i++) {
            filter_class c = key_class((unsigned char)in.p[i]);
            if (c == FILTER_CLASSES)
                odto_buf_put(out, in.p + i, 1);
            else
                drop(f, c);
        }
    }
    f->escaped = !f->pasting && in.n && in.p[in.n - 1] == '\033';
}

const char *filter_notice(filter *f, int64_t now)
{
    static const char *const texts[FILTER_CLASSES] = {
        [FILTER_NEW] = "⚠ Read-only mode: Task creation disabled",
        [FILTER_LAUNCH] = "⚠ Read-only mode: Launching disabled",
        [FILTER_ENTER] = "⚠ Read-only mode: Confirming disabled",
        [FILTER_PASTE] = "⚠ Read-only mode: Pasting disabled",
        [FILTER_CONTROL] = "⚠ Read-only mode: Control keys disabled",
        [FILTER_MOUSE] = "⚠ Read-only mode: Mouse buttons disabled",
    };
    for (unsigned c = 0; c < FILTER_CLASSES; c++) {
        if (!(f->dropped & 1u << c))
            continue;
        f->dropped &= ~(1u << c);
        if (f->told[c] && now - f->told[c] < NOTICE_EVERY)
            continue;
        f->told[c] = now;
        return texts[c];
    }
    return NULL;
}
