/* screen — the ncurses backend: draws grids, reads keys, gives the terminal back.
 *
 * Owned by the UI thread (ncurses is not thread-safe). SIGWINCH and friends must be blocked and come by a
 * signalfd: call screen_resized then. At most one screen is open in a process. */
#ifndef DASH_SCREEN_H
#define DASH_SCREEN_H

#include "grid.h"
#include "style.h"

typedef struct screen screen;

typedef enum screen_event_kind {
    EVENT_NONE, /* nothing more to read */
    EVENT_KEY,
    EVENT_PASTE,
    EVENT_CLICK,
    EVENT_WHEEL_UP,
    EVENT_WHEEL_DOWN,
    EVENT_THEME, /* the background became known: draw again */
    EVENT_GONE   /* the terminal is away */
} screen_event_kind;

typedef struct screen_event {
    screen_event_kind kind;
    uint32_t key; /* of keys.h */
    int x, y;
    const char *text; /* pasted, valid until the next call */
} screen_event;

/* What the terminal can do: colours, UTF-8 (from the locale; setlocale first). no_color and ascii force
 * less. Does not touch the terminal. */
void screen_caps(caps *c, bool no_color, bool ascii);

/* Takes over the terminal of stdin/stdout. 0 or -errno with *err. */
int screen_open(screen **out, caps *c, theme t, bool mouse, odto_error *err);
/* Gives it back; safe on NULL. */
void screen_close(screen *s);
void screen_size(const screen *s, int *w, int *h);
/* Reads the new size from the terminal. */
void screen_resized(screen *s);
int screen_draw(screen *s, const grid *g);
/* Everything again at the next draw. */
void screen_invalidate(screen *s);
/* One event without waiting. */
void screen_read(screen *s, screen_event *e);
bool screen_mouse(screen *s, bool on);
/* OSC 52: asks the terminal to put text into the clipboard; it gives no answer. */
void screen_clipboard(screen *s, const char *text);
/* Shell mode and back, around a program that needs the terminal or a stop. */
void screen_leave(screen *s);
void screen_enter(screen *s);
/* Bytes that bring the terminal back, for a crash handler that may only write(2). */
const char *screen_restore_bytes(const screen *s, size_t *n);

#endif
