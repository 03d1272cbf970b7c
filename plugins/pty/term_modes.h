/* term_modes.h — follows a terminal's output as a parser, for what libvterm does not tell: modes, margins,
 * character sets, title, whether a sequence is under way.
 *
 * Source: ECMA-48; xterm's ctlseqs. Pure, one per session. */
#ifndef PTY_TERM_MODES_H
#define PTY_TERM_MODES_H

#include <odto/base.h>

enum { MODES_ARGS = 16, MODES_STRING = 256 };

typedef enum modes_state {
    MODES_GROUND,
    MODES_UTF8,
    MODES_ESC,
    MODES_ESC_INTER, /* ESC ( …: one more byte */
    MODES_CSI,
    MODES_STRING_BODY, /* OSC DCS APC PM SOS */
    MODES_STRING_ESC,
} modes_state;

/* What a byte completed. */
typedef enum modes_event {
    MODES_NOTHING, /* the sequence goes on */
    MODES_TEXT,    /* a character (or an invalid byte, which counts as one) */
    MODES_CONTROL, /* C0 */
    MODES_ESCAPE,  /* ESC x, ESC ( x: final, inter */
    MODES_CSI_DONE,
    MODES_STRING_DONE,
} modes_event;

typedef struct term_modes {
    modes_state state;
    uint8_t left;   /* continuation bytes to come */
    size_t pending; /* bytes of the sequence under way */
    char prefix, inter, final;
    int args[MODES_ARGS]; /* -1: not given */
    unsigned n_args;
    uint32_t sub; /* bit of each parameter that is a sub-parameter (after a colon) */
    char kind;    /* of a string: ] P _ ^ X */
    char string[MODES_STRING];
    size_t n_string;

    /* modes; what RIS sets is 0 */
    bool app_cursor, app_keypad, paste, focus, origin, no_wrap, insert, newline, hidden, reverse,
        alt_scroll_off;
    bool blink;
    int mouse;       /* 0, 9, 1000, 1002, 1003 */
    int encoding;    /* 0, 1005, 1006, 1015, 1016 */
    int shape;       /* of DECSCUSR */
    int top, bottom; /* margins, from 1; 0: none */
    int alt;         /* 0, 47, 1047, 1049: the screen that is shown */
    char charset[4]; /* G0..G3: 0 or the designator */
    unsigned shift;  /* which one is in GL */
    bool tabs;       /* tab stops were changed */
    char title[MODES_STRING];
} term_modes;

void modes_reset(term_modes *m);
/* Takes one byte; the sequence's fields are valid until the next one. Applies what it completes. */
modes_event modes_byte(term_modes *m, unsigned char c);
/* A parameter, or what stands for it when it is missing or 0. */
int modes_arg(const term_modes *m, unsigned i, int missing);
/* Does the private mode sequence (CSI ? … h/l) that just ended name one of the alternate screens? 0 or it. */
int modes_alt_named(const term_modes *m);
/* Sequences that set what RIS has not, but margins, origin, the cursor's and screen's own: appended to out.
 */
void modes_write(const term_modes *m, odto_buf *out);
/* Plain text scrolls here as it would after a reset. */
bool modes_plain(const term_modes *m);
#endif
