/* term_state.h — the screen of a session as the server knows it: what a terminal that saw all output would
 * show.
 *
 * libvterm does the emulation; a mode tracker in front (term_modes.h) follows what libvterm does not tell,
 * and the primary screen is copied before the alternate one is shown. Its own answers to queries go to
 * `reply` only when asked for: while a viewer is attached the viewer's terminal answers. One thread at a
 * time. */
#ifndef PTY_TERM_STATE_H
#define PTY_TERM_STATE_H

#include <odto/base.h>

enum {
    TERM_MAX_COLS = 500,
    TERM_MAX_ROWS = 200,
    TERM_SCROLLBACK = 200,              /* lines kept */
    TERM_SCROLLBACK_BYTES = 160 * 1024, /* for them */
};

typedef struct term_state term_state;
typedef void term_reply_fn(void *arg, const char *p, size_t n);

/* Sizes are clamped to 2..TERM_MAX_COLS and 1..TERM_MAX_ROWS. NULL without memory. */
term_state *term_new(int cols, int rows, term_reply_fn *reply, void *arg);
void term_free(term_state *t);
void term_feed(term_state *t, const char *p, size_t n);
/* How many bytes at p need no feeding, because what follows scrolls them and all before out of sight and out
 * of the scrollback. What they leave behind (colours) has been taken over. */
size_t term_skip(term_state *t, const char *p, size_t n);
void term_resize(term_state *t, int cols, int rows);
/* Append what brings a terminal just reset to this state: RIS first. false without memory. */
bool term_snapshot(term_state *t, odto_buf *out);
/* Bytes at the end of what was fed that are a sequence or character not yet complete: a snapshot is from
 * before them. */
size_t term_pending(const term_state *t);
void term_replies(term_state *t, bool on);
/* Has an answer been given since this was last asked? */
bool term_replied(term_state *t);
const char *term_title(const term_state *t);
#endif
