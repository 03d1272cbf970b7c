/* edit — see edit.h. */
#include "edit.h"

#include "keys.h"
#include "text.h"

#include <string.h>

static size_t limit(const edit *e)
{
    return e->max && e->max < EDIT_MAX ? e->max : EDIT_MAX - 1;
}

void edit_set(edit *e, const char *text)
{
    size_t n = strlen(text);
    n = n > limit(e) ? limit(e) : n;
    memmove(e->text, text, n);
    e->text[n] = '\0';
    e->len = e->pos = n;
}

static size_t before(const edit *e, size_t pos)
{
    while (pos > 0 && ((unsigned char)e->text[--pos] & 0xC0) == 0x80) {
    }
    return pos;
}

static size_t after(const edit *e, size_t pos)
{
    if (pos < e->len) {
        pos++;
    }
    while (pos < e->len && ((unsigned char)e->text[pos] & 0xC0) == 0x80) {
        pos++;
    }
    return pos;
}

static void cut(edit *e, size_t from, size_t to)
{
    memmove(e->text + from, e->text + to, e->len - to + 1);
    e->len -= to - from;
    e->pos = from;
}

static void insert(edit *e, uint32_t key)
{
    char b[5] = {0}, clean[5];
    text_encode(key, b);
    text_clean(clean, sizeof clean, b);
    size_t n = strlen(clean);
    if (n && e->len + n <= limit(e)) {
        memmove(e->text + e->pos + n, e->text + e->pos, e->len - e->pos + 1);
        memcpy(e->text + e->pos, clean, n);
        e->len += n;
        e->pos += n;
    }
}

static size_t word_before(const edit *e)
{
    size_t p = e->pos;
    while (p > 0 && e->text[p - 1] == ' ') {
        p--;
    }
    while (p > 0 && e->text[p - 1] != ' ') {
        p--;
    }
    return p;
}

bool edit_key(edit *e, uint32_t key)
{
    switch (key) {
    case DKEY_LEFT:
        e->pos = before(e, e->pos);
        return true;
    case DKEY_RIGHT:
        e->pos = after(e, e->pos);
        return true;
    case DKEY_HOME:
    case DKEY_CTRL('a'):
        e->pos = 0;
        return true;
    case DKEY_END:
    case DKEY_CTRL('e'):
        e->pos = e->len;
        return true;
    case DKEY_BACKSPACE:
    case DKEY_CTRL('h'):
        cut(e, before(e, e->pos), e->pos);
        return true;
    case DKEY_DELETE:
    case DKEY_CTRL('d'):
        cut(e, e->pos, after(e, e->pos));
        return true;
    case DKEY_CTRL('u'):
        cut(e, 0, e->pos);
        return true;
    case DKEY_CTRL('k'):
        cut(e, e->pos, e->len);
        return true;
    case DKEY_CTRL('w'):
        cut(e, word_before(e), e->pos);
        return true;
    default:
        break;
    }
    if (key < 0x20 || (key >= 0x7F && key < 0xA0) || key > 0x10FFFF) {
        return false;
    }
    insert(e, key);
    return true;
}
