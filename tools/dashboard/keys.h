/* keys — the one table of key bindings: dispatch, footer, `?` help and `:` palette all read it.
 *
 * Constant data and pure functions. A key is a Unicode code point or one of KEY_…; letters are bound in
 * lower case and work in both. */
#ifndef DASH_KEYS_H
#define DASH_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    DKEY_NONE = 0,
    DKEY_TAB = 9,
    DKEY_ENTER = 13,
    DKEY_ESC = 27,
    DKEY_BACKSPACE = 127,
    DKEY_UP = 0x110000,
    DKEY_DOWN,
    DKEY_LEFT,
    DKEY_RIGHT,
    DKEY_PGUP,
    DKEY_PGDN,
    DKEY_HOME,
    DKEY_END,
    DKEY_DELETE,
    DKEY_BACKTAB,
    DKEY_F1
};
#define DKEY_CTRL(c) ((c)&0x1F)

typedef enum action {
    ACT_NONE,
    ACT_UP,
    ACT_DOWN,
    ACT_PGUP,
    ACT_PGDN,
    ACT_HOME,
    ACT_END,
    ACT_OPEN,
    ACT_BACK,
    ACT_NEW,
    ACT_UIS,
    ACT_LAUNCH,
    ACT_PREREQ,
    ACT_FILTER,
    ACT_CLEAR_FILTER,
    ACT_SORT,
    ACT_REVERSE,
    ACT_FOLLOW,
    ACT_PAUSE,
    ACT_ZOOM,
    ACT_NEXT,
    ACT_PREV,
    ACT_PANEL_1,
    ACT_PANEL_2,
    ACT_PANEL_3,
    ACT_PANEL_4,
    ACT_COPY,
    ACT_REFRESH,
    ACT_YES,
    ACT_NO,
    ACT_SKIP,
    ACT_DASHBOARD,
    ACT_HELP,
    ACT_PALETTE,
    ACT_MOUSE,
    ACT_REDRAW,
    ACT_SUSPEND,
    ACT_SHUTDOWN,
    ACT_QUIT,
    ACT_ROW, /* mouse only: select row `arg` */
    ACT_COUNT
} action;

/* Where a binding is live. */
#define CTX_SPLASH   1u
#define CTX_LAUNCHER 2u
#define CTX_PREREQ   4u
#define CTX_DASH     8u
#define CTX_DETAIL   16u
#define CTX_FORM     32u
#define CTX_LIST     64u /* UI launcher */
#define CTX_HELP     128u
#define CTX_PALETTE  256u
#define CTX_CONFIRM  512u
#define CTX_FILTER   1024u
#define CTX_SCREENS  (CTX_LAUNCHER | CTX_PREREQ | CTX_DASH)
#define CTX_VIEWS    (CTX_SCREENS | CTX_DETAIL | CTX_LIST | CTX_HELP)

typedef struct binding {
    action action;
    uint32_t contexts;
    uint32_t keys[3];  /* 0: unused */
    const char *label; /* "Enter", "N", "Ctrl+Q" */
    const char *name;  /* palette command */
    const char *help;  /* what it does */
    int footer;        /* rank in the footer; 0: not there */
    bool writes;       /* refused in read-only mode */
} binding;

extern const binding key_bindings[];
extern const size_t key_bindings_n;

/* The binding of a key in a context, or NULL. */
const binding *key_lookup(uint32_t context, uint32_t key);
/* The binding of an action in a context, or NULL. */
const binding *key_of(uint32_t context, action a);
/* How well a palette entry fits what was typed: 0 not at all, more is better (prefix over word over rest). */
int key_match(const binding *b, const char *typed);

#endif
