/* keys — see keys.h. */
#include "keys.h"

#include "text.h"

#include <string.h>
#include <strings.h>

#define LISTS (CTX_VIEWS | CTX_PALETTE)

const binding key_bindings[] = {
    {ACT_OPEN, CTX_DASH, {DKEY_ENTER}, "Enter", "open", "open what is selected", 3, false},
    {ACT_OPEN,
     CTX_LIST,
     {DKEY_ENTER},
     "Enter",
     "",
     "open in the browser, or show and copy the URL",
     1,
     false},
    {ACT_OPEN, CTX_PREREQ, {DKEY_ENTER}, "Enter", "", "install what is selected", 1, true},
    {ACT_OPEN, CTX_PALETTE, {DKEY_ENTER}, "Enter", "", "run the command", 1, false},
    {ACT_OPEN, CTX_FILTER, {DKEY_ENTER}, "Enter", "", "keep the filter", 1, false},
    {ACT_OPEN, CTX_FORM, {DKEY_ENTER}, "Enter", "", "submit the task", 1, true},
    {ACT_LAUNCH, CTX_LAUNCHER, {'l', DKEY_ENTER}, "L", "start", "start what is selected", 1, true},
    {ACT_YES, CTX_CONFIRM, {'y', DKEY_ENTER}, "Y", "", "yes", 1, false},
    {ACT_NO, CTX_CONFIRM, {'n', DKEY_ESC, 'q'}, "N", "", "no", 2, false},
    {ACT_SKIP, CTX_SPLASH, {DKEY_ENTER, ' ', DKEY_ESC}, "any key", "", "skip", 0, false},

    {ACT_NEW, CTX_DASH, {'n'}, "N", "new", "new task", 1, true},
    {ACT_UIS, CTX_DASH | CTX_LAUNCHER, {'u'}, "U", "uis", "web pages of the system", 2, false},
    {ACT_FILTER, CTX_DASH, {'/'}, "/", "filter", "filter jobs: words, !not, type: status: id:", 4, false},
    {ACT_CLEAR_FILTER, CTX_FILTER, {DKEY_ESC}, "Esc", "", "drop the filter", 2, false},
    {ACT_SORT, CTX_DASH, {'s'}, "S", "sort", "sort jobs by the next column", 5, false},
    {ACT_REVERSE, CTX_DASH, {'o'}, "O", "reverse", "reverse the order", 0, false},
    {ACT_FOLLOW, CTX_DASH, {'f'}, "F", "follow", "follow the newest job", 6, false},
    {ACT_PAUSE, CTX_DASH, {' '}, "Space", "pause", "hold the picture; again to go on", 0, false},
    {ACT_ZOOM, CTX_DASH, {'z'}, "Z", "zoom", "the focused panel alone", 7, false},
    {ACT_NEXT, CTX_DASH, {DKEY_TAB, DKEY_RIGHT}, "Tab", "next", "next panel", 0, false},
    {ACT_PREV, CTX_DASH, {DKEY_BACKTAB, DKEY_LEFT}, "Shift+Tab", "previous", "previous panel", 0, false},
    {ACT_NEXT, CTX_FORM, {DKEY_TAB, DKEY_DOWN}, "Tab", "", "next field", 2, false},
    {ACT_PREV, CTX_FORM, {DKEY_BACKTAB, DKEY_UP}, "Shift+Tab", "", "previous field", 0, false},
    {ACT_PANEL_1, CTX_DASH, {'1'}, "1", "jobs", "jobs", 0, false},
    {ACT_PANEL_2, CTX_DASH, {'2'}, "2", "alerts", "alerts", 0, false},
    {ACT_PANEL_3, CTX_DASH, {'3'}, "3", "plugins", "plugins", 0, false},
    {ACT_PANEL_4, CTX_DASH, {'4'}, "4", "queues", "queues", 0, false},

    {ACT_UP, LISTS, {DKEY_UP, 'k'}, "Up", "", "one up", 0, false},
    {ACT_DOWN, LISTS, {DKEY_DOWN, 'j'}, "Down", "", "one down", 0, false},
    {ACT_PGUP, LISTS, {DKEY_PGUP, DKEY_CTRL('b')}, "PgUp", "", "one page up", 0, false},
    {ACT_PGDN, LISTS, {DKEY_PGDN, DKEY_CTRL('f')}, "PgDn", "", "one page down", 0, false},
    {ACT_HOME, LISTS, {DKEY_HOME, 'g'}, "Home", "top", "to the first", 0, false},
    {ACT_END, LISTS, {DKEY_END, 'G'}, "End", "bottom", "to the last", 0, false},

    {ACT_COPY,
     CTX_DASH | CTX_DETAIL | CTX_LIST | CTX_PREREQ,
     {'c'},
     "C",
     "copy",
     "copy id, URL or command",
     8,
     false},
    {ACT_REFRESH, CTX_SCREENS | CTX_DETAIL, {'r'}, "R", "refresh", "ask again now", 9, false},
    {ACT_LAUNCH, CTX_DASH, {'l'}, "L", "launch", "start a system here", 10, true},
    {ACT_PREREQ, CTX_DASH | CTX_LAUNCHER, {'p'}, "P", "doctor", "prerequisites of this machine", 11, false},
    {ACT_DASHBOARD, CTX_LAUNCHER | CTX_PREREQ, {'d'}, "D", "dashboard", "to the dashboard", 3, false},
    {ACT_MOUSE, CTX_VIEWS, {'m'}, "M", "mouse", "mouse on or off (Shift+drag selects text)", 0, false},
    {ACT_BACK,
     CTX_VIEWS | CTX_FORM | CTX_PALETTE,
     {DKEY_ESC},
     "Esc",
     "back",
     "back, cancel, clear the filter",
     12,
     false},
    {ACT_PALETTE, CTX_VIEWS, {':'}, ":", "", "command palette", 13, false},
    {ACT_HELP, CTX_VIEWS, {'?', DKEY_F1}, "?", "help", "this help", 14, false},
    {ACT_REDRAW,
     CTX_VIEWS | CTX_FORM,
     {DKEY_CTRL('l')},
     "Ctrl+L",
     "redraw",
     "draw everything again",
     0,
     false},
    {ACT_SUSPEND, CTX_VIEWS, {DKEY_CTRL('z')}, "Ctrl+Z", "suspend", "to the shell; fg comes back", 0, false},
    {ACT_SHUTDOWN,
     CTX_VIEWS,
     {DKEY_CTRL('q')},
     "Ctrl+Q",
     "shutdown",
     "stop what was started here, and leave",
     0,
     true},
    {ACT_QUIT, CTX_VIEWS | CTX_SPLASH, {'q', DKEY_CTRL('c')}, "Q", "quit", "leave", 15, false},
    {ACT_QUIT,
     CTX_FORM | CTX_PALETTE | CTX_CONFIRM | CTX_FILTER,
     {DKEY_CTRL('c')},
     "Ctrl+C",
     "",
     "leave",
     0,
     false},
};
const size_t key_bindings_n = sizeof key_bindings / sizeof key_bindings[0];

static bool has_key(const binding *b, uint32_t key)
{
    for (int i = 0; i < 3 && b->keys[i]; i++) {
        if (b->keys[i] == key) {
            return true;
        }
    }
    return false;
}

const binding *key_lookup(uint32_t context, uint32_t key)
{
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < key_bindings_n; i++) {
            if ((key_bindings[i].contexts & context) && has_key(&key_bindings[i], key)) {
                return &key_bindings[i];
            }
        }
        if (key < 'A' || key > 'Z') {
            return NULL;
        }
        key += 'a' - 'A'; /* 'G' is a key of its own, every other letter works in both cases */
    }
    return NULL;
}

const binding *key_of(uint32_t context, action a)
{
    for (size_t i = 0; i < key_bindings_n; i++) {
        if (key_bindings[i].action == a && (key_bindings[i].contexts & context)) {
            return &key_bindings[i];
        }
    }
    return NULL;
}

int key_match(const binding *b, const char *typed)
{
    if (!b->name[0]) {
        return 0;
    }
    if (!typed[0]) {
        return 1;
    }
    if (!strncasecmp(b->name, typed, strlen(typed))) {
        return 3;
    }
    if (text_contains(b->name, typed)) {
        return 2;
    }
    return strlen(typed) > 2 && text_contains(b->help, typed) ? 1 : 0;
}
