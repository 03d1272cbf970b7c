/* manifest_file.c — see manifest_file.h.
 *
 * inih calls reader once a line and the handler for each key of that line; so while the handler runs,
 * reader's line is where the key stands. Sections, duplicate keys and lines that are neither are seen by the
 * reader itself, because inih reports only the first bad line and no empty section. */
#include "manifest_file.h"

#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <string.h>

typedef struct scan {
    const char *p, *end; /* what is left of the text */
    const char *path;
    arena *a;
    manifest_errors *errs;
    manifest_block *first, **tail, *block;
    const char *line_text; /* start of the current line */
    size_t line_length;
    int line;
    bool expect_key; /* the current line must give a key */
    bool in_section; /* a [section] was seen, good or not */
    bool no_memory;
} scan;

static void complain(scan *s, int column, const char *message, const char *hint)
{
    odto_error e = {0};
    odto_fail(&e, -EINVAL, "%s", message);
    if (hint)
        odto_error_hint(&e, "%s", hint);
    manifest_errors_add(s->errs, s->path, s->line, column, false, &e);
}

static int column_of(const scan *s, const char *p)
{
    return (int)(p - s->line_text) + 1;
}

/* `[plugin   x ]` → "plugin x". */
static char *clean_title(arena *a, const char *p, size_t n)
{
    char *out = arena_alloc(a, n + 1);
    size_t k = 0;
    for (size_t i = 0; out && i < n; i++) {
        if (!isspace((unsigned char)p[i]))
            out[k++] = p[i];
        else if (k && out[k - 1] != ' ')
            out[k++] = ' ';
    }
    if (out && k && out[k - 1] == ' ')
        out[k - 1] = 0;
    return out;
}

static void begin_block(scan *s, const char *title, int column)
{
    manifest_block *b = arena_alloc(s->a, sizeof(*b));
    if (!b || !title) {
        s->no_memory = true;
        return;
    }
    b->title = title;
    b->line = s->line;
    b->column = column;
    b->tail = &b->entries;
    *s->tail = b;
    s->tail = &b->next;
    s->block = b;
}

static void read_section(scan *s, const char *open, const char *end)
{
    const char *close = memchr(open, ']', (size_t)(end - open));
    int column = column_of(s, open);
    s->in_section = true;
    s->block = NULL; /* keys of a broken section are skipped: one error is enough */
    if (!close) {
        complain(s, column, "the section's name is not closed by ]", "write [kind NAME]");
        return;
    }
    for (const char *p = close + 1; p < end && *p != ';' && *p != '#'; p++) {
        if (!isspace((unsigned char)*p)) {
            complain(s, column_of(s, p), "text behind the section's name", "put keys on lines of their own");
            break;
        }
    }
    begin_block(s, clean_title(s->a, open + 1, (size_t)(close - open - 1)), column);
}

static void end_line(scan *s)
{
    if (s->expect_key)
        complain(s, 1, "neither a section, a key nor a comment", "write [section] or key = value");
    s->expect_key = false;
}

/* Looks at a line before inih does. False: inih shall not see it. */
static bool look(scan *s)
{
    const char *p = s->line_text, *end = p + s->line_length;
    if (s->line == 1 && s->line_length >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0)
        p += 3;
    while (p < end && isspace((unsigned char)*p))
        p++;
    if (p == end || *p == '#' || *p == ';')
        return false;
    if (memchr(p, 0, (size_t)(end - p)) || !odto_utf8_valid(odto_slice_of(p, (size_t)(end - p)))) {
        complain(s, column_of(s, p), "the line is not UTF-8 text", NULL);
        return false;
    }
    if (s->line_length >= MANIFEST_MAX_LINE) {
        complain(s, column_of(s, p), "the line is too long", "a line holds 16 KiB at most");
        return false;
    }
    if (*p == '[') {
        read_section(s, p, end);
        return false;
    }
    s->expect_key = true;
    return true;
}

/* fgets for inih: one line, or what stands for it. */
static char *next_line(char *out, int size, void *arg)
{
    scan *s = arg;
    end_line(s);
    if (s->p >= s->end || s->no_memory)
        return NULL;
    const char *newline = memchr(s->p, '\n', (size_t)(s->end - s->p));
    s->line_text = s->p;
    s->line_length = (size_t)((newline ? newline : s->end) - s->p);
    s->p = newline ? newline + 1 : s->end;
    s->line++;
    size_t n = look(s) && s->line_length + 1 < (size_t)size ? s->line_length : 0;
    memcpy(out, s->line_text, n);
    out[n] = 0;
    return out;
}

static const manifest_entry *find_entry(const manifest_block *b, const char *key)
{
    for (const manifest_entry *e = b->entries; e; e = e->next) {
        if (strcmp(e->key, key) == 0)
            return e;
    }
    return NULL;
}

/* True: reported; nobody needs to complain about the second one again. */
static bool is_duplicate(scan *s, const char *key, int column)
{
    const manifest_entry *e = find_entry(s->block, key);
    odto_error err = {0};
    if (!e)
        return false;
    odto_fail(&err, -EINVAL, "%s is set twice in [%s]", key, s->block->title);
    odto_error_detail(&err, "first on line %d", e->line);
    odto_error_hint(&err, "remove one of them");
    manifest_errors_add(s->errs, s->path, s->line, column, false, &err);
    return true;
}

/* Length of a value without the comment behind it: a `;` after a blank, but not within quotes, so that
 * `sh -c 'a ; b'` stays whole. An apostrophe that nothing closes is one. */
static size_t value_length(const char *v)
{
    size_t i = 0;
    for (; v[i]; i++) {
        const char *close = v[i] == '\'' || v[i] == '"' ? strchr(v + i + 1, v[i]) : NULL;
        if (close)
            i = (size_t)(close - v);
        else if (v[i] == ';' && (i == 0 || isspace((unsigned char)v[i - 1])))
            break;
    }
    while (i > 0 && isspace((unsigned char)v[i - 1]))
        i--;
    return i;
}

static void add_entry(scan *s, const char *name, const char *value)
{
    const char *p = s->line_text, *end = p + s->line_length;
    if (s->line == 1 && s->line_length >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0)
        p += 3;
    while (p < end && isspace((unsigned char)*p))
        p++;
    const char *v = p;
    while (v < end && *v != '=' && *v != ':')
        v++;
    for (v++; v < end && isspace((unsigned char)*v);)
        v++;
    manifest_entry *e = arena_alloc(s->a, sizeof(*e));
    if (e) {
        e->key = arena_strdup(s->a, name);
        e->raw = arena_strndup(s->a, value, value_length(value));
    }
    if (!e || !e->key || !e->raw) {
        s->no_memory = true;
        return;
    }
    e->line = s->line;
    e->column = column_of(s, p);
    e->value_column = column_of(s, v < end ? v : end);
    e->known = is_duplicate(s, name, e->column);
    *s->block->tail = e;
    s->block->tail = &e->next;
}

static int on_key(void *arg, const char *section, const char *name, const char *value)
{
    (void)section; /* inih cuts it at 49 bytes */
    scan *s = arg;
    s->expect_key = false;
    if (!*name)
        complain(s, 1, "a key is missing before the =", "write key = value");
    else if (!s->in_section)
        complain(s, 1, "a key before the first section", "begin with a section such as [host]");
    else if (s->block)
        add_entry(s, name, value ? value : "");
    return 1;
}

/* Debian's inih has its limits as variables of the library. They are set to the same values each time; a
 * relaxed store pairs with nothing and keeps two threads that load manifests from racing. */
static void set_inih(void)
{
    __atomic_store_n(&ini_use_stack, false, __ATOMIC_RELAXED);             /* the stack's line is 200 bytes */
    __atomic_store_n(&ini_allow_multiline, false, __ATOMIC_RELAXED);       /* an indented key is a key */
    __atomic_store_n(&ini_allow_inline_comments, false, __ATOMIC_RELAXED); /* see value_length */
    __atomic_store_n(&ini_initial_alloc, MANIFEST_MAX_LINE + 4, __ATOMIC_RELAXED);
    __atomic_store_n(&ini_max_line, MANIFEST_MAX_LINE + 4, __ATOMIC_RELAXED);
}

int manifest_file_read(odto_slice text, const char *path, arena *a, manifest_block **out,
                       manifest_errors *errs)
{
    scan s = {.p = text.p, .end = text.p + text.n, .path = path, .a = a, .errs = errs};
    s.tail = &s.first;
    set_inih();
    int code = ini_parse_stream(next_line, &s, on_key, &s);
    if (s.no_memory || code == -2)
        return -ENOMEM;
    *out = s.first;
    return 0;
}
