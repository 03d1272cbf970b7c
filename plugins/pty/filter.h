/* filter.h — what of a client's input reaches a program that may only be looked at.
 *
 * By class: keys that make a new task, launch, confirm; pastes; control keys; mouse buttons. Moving about,
 * the wheel, searching and quitting pass. An escape sequence passes only if it is whole and known, so that
 * nothing can be smuggled by splitting one: what follows a cut one would be read as keys. Pure; one per
 * connection, for a paste that goes over several messages. */
#ifndef PTY_FILTER_H
#define PTY_FILTER_H

#include <odto/base.h>

typedef enum filter_class {
    FILTER_NEW,
    FILTER_LAUNCH,
    FILTER_ENTER,
    FILTER_PASTE,
    FILTER_CONTROL,
    FILTER_MOUSE,
    FILTER_CLASSES,
} filter_class;

typedef struct filter {
    bool pasting;                 /* inside a bracketed paste */
    size_t ending;                /* bytes of its end mark that the last message ended with */
    bool escaped;                 /* the last message ended in Esc */
    uint32_t dropped;             /* bit of each class that filter_input dropped something of, this time */
    int64_t told[FILTER_CLASSES]; /* when a notice was due last; 0: never */
} filter;

/* The part of in that passes, appended to out (at most in.n bytes). */
void filter_input(filter *f, odto_slice in, odto_buf *out);
/* The notice to give now for what was dropped, or NULL; each class at most once in 5 s. Call until NULL. */
const char *filter_notice(filter *f, int64_t now);
#endif
