/* out.c — tables, colours, errors, and looking into JSON trees. */
#define _XOPEN_SOURCE_EXTENDED 1
#include "cli.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <wchar.h>

/* ---- text from outside ---- */

/* Length of the printable character at p, 0 when it is a control character or no UTF-8. */
static size_t printable(const char *p, size_t n)
{
    unsigned char c = (unsigned char)*p;
    size_t want = c < 0x80 ? 1 : c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
    if (want > n || (want == 1 && (c < 0x20 || c == 0x7f)) || !odto_utf8_valid(odto_slice_of(p, want)))
        return 0;
    if (want == 2 && c == 0xc2 && (unsigned char)p[1] < 0xa0) /* C1 controls */
        return 0;
    /* bidirectional overrides and isolates make text lie about itself (CVE-2021-42574) */
    if (want == 3 && c == 0xe2 &&
        (((unsigned char)p[1] == 0x80 && (unsigned char)p[2] >= 0xa8 && (unsigned char)p[2] <= 0xae) ||
         ((unsigned char)p[1] == 0x81 && (unsigned char)p[2] >= 0xa6 && (unsigned char)p[2] <= 0xa9)))
        return 0;
    return want;
}

void cli_clean(odto_buf *b, const char *s)
{
    size_t n = strlen(s);
    while (n > 0) {
        size_t length = printable(s, n), step = length ? length : 1;
        if (length)
            odto_buf_put(b, s, length);
        else
            odto_buf_str(b, *s == '\n' || *s == '\t' ? " " : "?");
        s += step;
        n -= step;
    }
}

/* ---- styles ---- */

static const char *style_code(cli_style s)
{
    static const char *const codes[] = {"",         "\x1b[2m",  "\x1b[1m", "\x1b[32m",
                                        "\x1b[33m", "\x1b[31m", "\x1b[36m"};
    return codes[s];
}

void cli_print_style(const cli *c, cli_style s, const char *text)
{
    odto_buf b = {0};
    cli_clean(&b, text);
    bool on = c->color && s != PLAIN;
    printf("%s%s%s", on ? style_code(s) : "", b.p ? b.p : "", on ? "\x1b[0m" : "");
    odto_buf_free(&b);
}

cli_style cli_state_style(const char *state)
{
    static const struct {
        const char *state;
        cli_style style;
    } styles[] = {
        {"READY", GREEN},     {"COMPLETED", GREEN}, {"ok", GREEN},           {"reloaded", GREEN},
        {"added", GREEN},     {"removed", GREEN},   {"reconfigured", GREEN}, {"FAILED", RED},
        {"ABANDONED", RED},   {"failed", RED},      {"rolled-back", RED},    {"BACKOFF", YELLOW},
        {"DRAINING", YELLOW}, {"STARTING", YELLOW}, {"EXECUTING", CYAN},     {"STOPPED", DIM},
        {"unchanged", DIM},   {"not ready", RED},   {"ready", GREEN},        {"job.completed", GREEN},
        {"job.failed", RED},
    };
    for (size_t i = 0; i < sizeof(styles) / sizeof(styles[0]); i++) {
        if (strcmp(styles[i].state, state) == 0)
            return styles[i].style;
    }
    return PLAIN;
}

/* ---- errors ---- */

static void error_json(cli_exit code, const odto_error *e)
{
    struct json_object *o = json_object_new_object(), *inner = json_object_new_object();
    json_object_object_add(inner, "message", json_object_new_string(e->message));
    if (e->detail[0])
        json_object_object_add(inner, "detail", json_object_new_string(e->detail));
    if (e->hint[0])
        json_object_object_add(inner, "hint", json_object_new_string(e->hint));
    if (e->where[0])
        json_object_object_add(inner, "where", json_object_new_string(e->where));
    json_object_object_add(inner, "exit", json_object_new_int(code));
    json_object_object_add(o, "error", inner);
    fprintf(stderr, "%s\n",
            json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(o);
}

int cli_error(const cli *c, cli_exit code, const odto_error *e)
{
    odto_buf b = {0};
    fflush(stdout);
    if (c->json || cli_get(c, "json")) {
        error_json(code, e);
        return code;
    }
    odto_buf_str(&b, "odto: ");
    if (e->where[0]) {
        cli_clean(&b, e->where);
        odto_buf_str(&b, ": ");
    }
    cli_clean(&b, e->message);
    if (e->detail[0]) {
        odto_buf_str(&b, ": ");
        cli_clean(&b, e->detail);
    }
    if (e->hint[0]) {
        odto_buf_str(&b, "\n      ");
        cli_clean(&b, e->hint);
    }
    fprintf(stderr, "%s\n", b.p ? b.p : "odto: no memory");
    odto_buf_free(&b);
    return code;
}

int cli_failf(const cli *c, cli_exit code, const char *hint, const char *fmt, ...)
{
    odto_error e = {0};
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(e.message, sizeof(e.message), fmt, ap);
    va_end(ap);
    if (hint)
        snprintf(e.hint, sizeof(e.hint), "%s", hint);
    return cli_error(c, code, &e);
}

void cli_json(struct json_object *o)
{
    puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
}

/* ---- tables ---- */

#define MAX_COLUMNS 16

typedef struct cell {
    char *text;
    int width;
    cli_style style;
} cell;

struct cli_table {
    const cli *c;
    const char *names[MAX_COLUMNS];
    bool right[MAX_COLUMNS];
    int widths[MAX_COLUMNS];
    size_t columns, n, size;
    cell *cells;
};

/* Columns of a clean text on a terminal. */
static int text_width(const char *s)
{
    mbstate_t state = {0};
    int width = 0;
    size_t n = strlen(s);
    while (n > 0) {
        wchar_t wide;
        size_t length = mbrtowc(&wide, s, n, &state);
        if (length == (size_t)-1 || length == (size_t)-2)
            return width + (int)n; /* a locale without UTF-8 */
        int w = wcwidth(wide);
        width += w > 0 ? w : 0;
        s += length;
        n -= length;
    }
    return width;
}

cli_table *table_new(const cli *c, const char *const *columns)
{
    cli_table *t = calloc(1, sizeof(*t));
    for (size_t i = 0; t && columns[i] && i < MAX_COLUMNS; i++) {
        t->right[i] = columns[i][0] == '>';
        t->names[i] = columns[i] + t->right[i];
        t->widths[i] = text_width(t->names[i]);
        t->columns++;
    }
    if (t)
        t->c = c;
    return t;
}

void table_cell(cli_table *t, cli_style style, const char *fmt, ...)
{
    if (!t)
        return;
    if (t->n == t->size) {
        size_t size = t->size ? 2 * t->size : 128;
        cell *grown = realloc(t->cells, size * sizeof(*grown));
        if (!grown)
            return;
        t->cells = grown;
        t->size = size;
    }
    char *raw = NULL;
    odto_buf b = {0};
    va_list ap;
    va_start(ap, fmt);
    if (vasprintf(&raw, fmt, ap) < 0)
        raw = NULL;
    va_end(ap);
    odto_buf_str(&b, "");
    cli_clean(&b, raw ? raw : "");
    free(raw);
    cell *x = &t->cells[t->n];
    *x = (cell){b.p, b.p ? text_width(b.p) : 0, style};
    int *width = &t->widths[t->n % t->columns];
    if (x->width > *width)
        *width = x->width;
    t->n++;
}

/* Cuts x to width columns, the last of them an ellipsis. */
static void cut(cell *x, int width)
{
    char *shorter = NULL;
    while (*x->text && text_width(x->text) > width - 1) {
        size_t n = strlen(x->text);
        do
            n--;
        while (n > 0 && (x->text[n] & 0xc0) == 0x80);
        x->text[n] = 0;
    }
    if (asprintf(&shorter, "%s…", x->text) < 0)
        return;
    free(x->text);
    x->text = shorter;
}

static void print_cell(const cli_table *t, size_t column, const char *text, int width, cli_style style,
                       bool last)
{
    int pad = t->widths[column] - width;
    bool on = t->c->color && style != PLAIN;
    printf("%*s%s%s%s%*s", t->right[column] && pad > 0 ? pad : 0, "", on ? style_code(style) : "", text,
           on ? "\x1b[0m" : "", !t->right[column] && pad > 0 && !last ? pad : 0, "");
    fputs(last ? "\n" : "  ", stdout);
}

/* Room for the last column on a terminal, or 0: no limit. */
static int last_room(const cli_table *t)
{
    int used = 0;
    for (size_t i = 0; i + 1 < t->columns; i++)
        used += t->widths[i] + 2;
    return t->c->width > used + 8 ? t->c->width - used : 0;
}

void table_print(cli_table *t, const char *none)
{
    if (!t)
        return;
    if (t->n == 0)
        printf("%s\n", none);
    for (size_t i = 0; t->n && i < t->columns; i++)
        print_cell(t, i, t->names[i], text_width(t->names[i]), BOLD, i + 1 == t->columns);
    int room = last_room(t);
    for (size_t i = 0; i < t->n; i++) {
        cell *x = &t->cells[i];
        bool last = i % t->columns + 1 == t->columns;
        bool shorten = last && room && x->width > room && x->text;
        if (shorten)
            cut(x, room);
        print_cell(t, i % t->columns, x->text ? x->text : "", x->width, x->style, last);
    }
    for (size_t i = 0; i < t->n; i++)
        free(t->cells[i].text);
    free(t->cells);
    free(t);
}

/* ---- times and sizes ---- */

const char *cli_time(const char *rfc3339, char *buf, size_t size)
{
    int64_t ms;
    struct tm then, now;
    if (odto_time_parse(odto_slice_str(rfc3339), &ms) < 0) {
        snprintf(buf, size, "%s", rfc3339);
        return buf;
    }
    time_t t = (time_t)(ms / 1000), today = time(NULL);
    localtime_r(&t, &then);
    localtime_r(&today, &now);
    bool same_day = then.tm_year == now.tm_year && then.tm_yday == now.tm_yday;
    strftime(buf, size,
             same_day                      ? "%H:%M:%S"
             : then.tm_year == now.tm_year ? "%b %d %H:%M"
                                           : "%Y-%m-%d",
             &then);
    return buf;
}

const char *cli_millis(int64_t ms, char *buf, size_t size)
{
    long long s = ms / 1000;
    if (ms < 1000)
        snprintf(buf, size, "%lldms", (long long)ms);
    else if (s < 60)
        snprintf(buf, size, "%lld.%llds", s, (long long)(ms % 1000 / 100));
    else if (s < 3600)
        snprintf(buf, size, "%lldm%02llds", s / 60, s % 60);
    else if (s < 86400)
        snprintf(buf, size, "%lldh%02lldm", s / 3600, s / 60 % 60);
    else
        snprintf(buf, size, "%lldd%02lldh", s / 86400, s / 3600 % 24);
    return buf;
}

const char *cli_bytes(int64_t n, char *buf, size_t size)
{
    static const char units[] = "KMGTP";
    double v = (double)n;
    int u = -1;
    while (v >= 1024 && u < 4) {
        v /= 1024;
        u++;
    }
    if (u < 0)
        snprintf(buf, size, "%lld", (long long)n);
    else
        snprintf(buf, size, "%.1f%c", v, units[u]);
    return buf;
}

/* ---- JSON ---- */

struct json_object *jget(struct json_object *o, const char *key)
{
    struct json_object *v = NULL;
    return o && json_object_is_type(o, json_type_object) && json_object_object_get_ex(o, key, &v) ? v : NULL;
}

const char *jstr(struct json_object *o, const char *key)
{
    struct json_object *v = jget(o, key);
    const char *s = v ? json_object_get_string(v) : NULL;
    return s ? s : "";
}

int64_t jint(struct json_object *o, const char *key)
{
    struct json_object *v = jget(o, key);
    return v ? json_object_get_int64(v) : 0;
}

bool jbool(struct json_object *o, const char *key)
{
    struct json_object *v = jget(o, key);
    return v && json_object_get_boolean(v);
}

struct json_object *jarray(struct json_object *o, const char *key, size_t *n)
{
    struct json_object *v = key ? jget(o, key) : o;
    bool array = v && json_object_is_type(v, json_type_array);
    *n = array ? json_object_array_length(v) : 0;
    return array ? v : NULL;
}
