/* log.c — see log.h.
 *
 * Threads: any. sink->lock guards the list of sources, the table of levels by name and the change of the
 * descriptor; the way of a line takes no lock. A descriptor that is replaced is replaced by dup3 onto the
 * same number, so a writer never meets a closed or a reused one. */
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_MAGIC    0x6c6f6773u
#define LOG_SITES    32  /* words that count the message templates of a source */
#define LOG_PROBES   4   /* of them are looked at for one template */
#define LOG_LEVELS   128 /* plugin names with a level of their own */
#define LOG_NAME_MAX 64
#define LOG_WAIT_MS  10 /* the longest an error waits for a reader that has stopped */

typedef struct log_level_entry {
    char name[LOG_NAME_MAX];
    int level;
} log_level_entry;

struct log_sink {
    uint32_t magic;
    int fd;          /* constant number while the sink lives */
    bool is_socket;  /* atomic */
    bool has_poll;   /* atomic: the descriptor could not be made non-blocking: ask first */
    bool stuck;      /* atomic: the last line found no room: do not wait again */
    int level;       /* atomic */
    int format;      /* atomic */
    uint32_t rate;   /* atomic */
    log_counts sums; /* atomics */
    uint64_t lost;   /* atomic: dropped since the last line that was written */
    pthread_mutex_t lock;
    char *file; /* NULL: stderr */
    log_source *sources;
    log_level_entry levels[LOG_LEVELS];
    size_t n_levels;
};

/* A count of lines in the current second; second and count share one atomic word so that both change at
 * once. */
typedef struct log_bucket {
    uint64_t word; /* second << 24 | count */
    uint64_t held; /* suppressed, not yet summed up */
} log_bucket;

struct log_source {
    log_sink *sink;
    log_source *next, *prev;
    char name[LOG_NAME_MAX];
    uint32_t generation;
    int level; /* atomic; -1: the sink's */
    log_bucket all, errors;
    uint64_t sites[LOG_SITES]; /* atomics: tag of the template << 48 | low bits of the second << 24 | count */
};

/* A line in the making: bounded, never overrun. */
typedef struct log_line {
    char p[LOG_LINE_MAX];
    size_t n;
    size_t room; /* bytes usable, the tail excluded */
} log_line;

static const char *const level_names[] = {"debug", "info", "warn", "error"};

const char *log_level_name(odto_level level)
{
    return level_names[(unsigned)level <= ODTO_ERROR ? (unsigned)level : (unsigned)ODTO_ERROR];
}

int log_level_parse(odto_slice text)
{
    for (int i = 0; i <= (int)ODTO_ERROR; i++) {
        if (odto_slice_eq(text, level_names[i]))
            return i;
    }
    return -EINVAL;
}

/* ---- descriptor ---- */

/* Opens what lines go to. stderr is opened anew through /proc, because O_NONBLOCK belongs to the open file
 * description, which is shared with the shell and with children. */
static int open_target(const char *file, bool *is_socket, bool *has_poll, odto_error *err)
{
    *is_socket = *has_poll = false;
    if (file) {
        int fd = open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0640);
        if (fd >= 0)
            return fd;
        int code = -errno;
        odto_fail(err, code, "cannot open the log file");
        odto_error_detail(err, "%s: %s", file, strerror(-code));
        odto_error_hint(err, "check `file` in [log], and that the folder exists and may be written");
        return code;
    }
    struct stat st;
    if (fstat(STDERR_FILENO, &st) == 0 && S_ISSOCK(st.st_mode)) {
        *is_socket = true;
    } else {
        int fd = open("/proc/self/fd/2", O_WRONLY | O_APPEND | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        if (fd >= 0)
            return fd;
        *has_poll = true;
    }
    int fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    if (fd < 0) /* stderr is closed: lines go nowhere, the host runs on */
        fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    return fd < 0 ? odto_fail(err, -errno, "cannot duplicate stderr: %s", strerror(errno)) : fd;
}

static int retarget(log_sink *l, const char *file, odto_error *err)
{
    bool is_socket, has_poll;
    int fd = open_target(file, &is_socket, &has_poll, err);
    if (fd < 0)
        return fd;
    if (dup3(fd, l->fd, O_CLOEXEC) < 0) {
        int code = -errno;
        close(fd);
        return odto_fail(err, code, "cannot replace the log's descriptor: %s", strerror(-code));
    }
    close(fd);
    __atomic_store_n(&l->is_socket, is_socket, __ATOMIC_SEQ_CST);
    __atomic_store_n(&l->has_poll, has_poll, __ATOMIC_SEQ_CST);
    return 0;
}

static void apply(log_sink *l, const log_settings *s)
{
    __atomic_store_n(&l->level, (int)s->level, __ATOMIC_SEQ_CST);
    __atomic_store_n(&l->format, (int)s->format, __ATOMIC_SEQ_CST);
    __atomic_store_n(&l->rate, s->rate, __ATOMIC_SEQ_CST);
}

int log_open(const log_settings *s, log_sink **out, odto_error *err)
{
    log_sink *l = calloc(1, sizeof(*l));
    if (!l)
        return odto_fail(err, -ENOMEM, "no memory for the log");
    const char *file = s->file && *s->file ? s->file : NULL;
    l->file = file ? strdup(file) : NULL;
    l->fd = file && !l->file ? odto_fail(err, -ENOMEM, "no memory for the log")
                             : open_target(file, &l->is_socket, &l->has_poll, err);
    if (l->fd < 0) {
        int code = l->fd;
        free(l->file);
        free(l);
        return code;
    }
    l->magic = LOG_MAGIC;
    pthread_mutex_init(&l->lock, NULL);
    apply(l, s);
    *out = l;
    return 0;
}

int log_configure(log_sink *l, const log_settings *s, odto_error *err)
{
    const char *file = s->file && *s->file ? s->file : NULL;
    int code = 0;
    pthread_mutex_lock(&l->lock);
    if ((file == NULL) != (l->file == NULL) || (file && strcmp(file, l->file) != 0)) {
        char *copy = file ? strdup(file) : NULL;
        code = file && !copy ? odto_fail(err, -ENOMEM, "no memory for the log") : retarget(l, file, err);
        if (code == 0) {
            free(l->file);
            l->file = copy;
        } else {
            free(copy);
        }
    }
    if (code == 0)
        apply(l, s);
    pthread_mutex_unlock(&l->lock);
    return code;
}

int log_reopen(log_sink *l, odto_error *err)
{
    pthread_mutex_lock(&l->lock);
    int code = l->file ? retarget(l, l->file, err) : 0;
    pthread_mutex_unlock(&l->lock);
    return code;
}

void log_close(log_sink *l)
{
    if (!l)
        return;
    log_tick(l);
    close(l->fd);
    pthread_mutex_destroy(&l->lock);
    l->magic = 0;
    free(l->file);
    free(l);
}

void log_get_counts(const log_sink *l, log_counts *out)
{
    /* statistics: these loads pair with nothing */
    out->written = __atomic_load_n(&l->sums.written, __ATOMIC_RELAXED);
    out->suppressed = __atomic_load_n(&l->sums.suppressed, __ATOMIC_RELAXED);
    out->dropped = __atomic_load_n(&l->sums.dropped, __ATOMIC_RELAXED);
}

/* ---- levels ---- */

void log_set_level(log_sink *l, odto_level level)
{
    __atomic_store_n(&l->level, (int)level, __ATOMIC_SEQ_CST);
}

odto_level log_get_level(const log_sink *l)
{
    return (odto_level)__atomic_load_n(&l->level, __ATOMIC_SEQ_CST);
}

static log_level_entry *find_level(log_sink *l, const char *plugin)
{
    for (size_t i = 0; i < l->n_levels; i++) {
        if (strcmp(l->levels[i].name, plugin) == 0)
            return &l->levels[i];
    }
    return NULL;
}

static int set_level_locked(log_sink *l, const char *plugin, int level)
{
    log_level_entry *e = find_level(l, plugin);
    if (level < 0) {
        if (e)
            *e = l->levels[--l->n_levels];
    } else if (e) {
        e->level = level;
    } else if (l->n_levels == LOG_LEVELS || strlen(plugin) >= LOG_NAME_MAX) {
        return -ENOSPC;
    } else {
        e = &l->levels[l->n_levels++];
        strcpy(e->name, plugin);
        e->level = level;
    }
    for (log_source *s = l->sources; s; s = s->next) {
        if (strcmp(s->name, plugin) == 0)
            __atomic_store_n(&s->level, level < 0 ? -1 : level, __ATOMIC_SEQ_CST);
    }
    return 0;
}

int log_set_plugin_level(log_sink *l, const char *plugin, int level)
{
    pthread_mutex_lock(&l->lock);
    int code = set_level_locked(l, plugin, level);
    pthread_mutex_unlock(&l->lock);
    return code;
}

bool log_enabled(const log_source *s, odto_level level)
{
    if (!s)
        return false;
    /* a late look at a changed level does no harm: pairs with nothing */
    int own = __atomic_load_n(&s->level, __ATOMIC_RELAXED);
    return (int)level >= (own >= 0 ? own : __atomic_load_n(&s->sink->level, __ATOMIC_RELAXED));
}

/* ---- sources ---- */

log_source *log_source_new(log_sink *l, const char *plugin, uint32_t generation)
{
    log_source *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->sink = l;
    s->generation = generation;
    snprintf(s->name, sizeof(s->name), "%s", plugin);
    pthread_mutex_lock(&l->lock);
    log_level_entry *e = find_level(l, s->name);
    s->level = e ? e->level : -1;
    s->next = l->sources;
    if (s->next)
        s->next->prev = s;
    l->sources = s;
    pthread_mutex_unlock(&l->lock);
    return s;
}

static void sum_up(log_source *s, log_bucket *b);

void log_source_free(log_source *s)
{
    if (!s)
        return;
    sum_up(s, &s->all);
    sum_up(s, &s->errors);
    log_sink *l = s->sink;
    pthread_mutex_lock(&l->lock);
    if (s->prev)
        s->prev->next = s->next;
    else
        l->sources = s->next;
    if (s->next)
        s->next->prev = s->prev;
    pthread_mutex_unlock(&l->lock);
    free(s);
}

/* ---- a line ---- */

static void put(log_line *line, const char *p, size_t n)
{
    if (n > line->room - line->n)
        n = line->room - line->n;
    memcpy(line->p + line->n, p, n);
    line->n += n;
}

static void puts_line(log_line *line, const char *s)
{
    put(line, s, strlen(s));
}

/* Length of the UTF-8 sequence at p (1..4), 0 if it is none. RFC 3629. */
static size_t utf8_length(const unsigned char *p, size_t n)
{
    size_t want = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;
    if (want == 0 || want > n)
        return 0;
    for (size_t i = 1; i < want; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    }
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
        (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return want;
}

/* What stands for the character at p inside quotes; *used bytes of input. The escapes of JSON; logfmt readers
 * take the same. */
static const char *escaped(const unsigned char *p, size_t n, size_t *used, size_t *length, char tmp[8])
{
    *used = 1;
    *length = 2;
    if (*p == '"')
        return "\\\"";
    if (*p == '\\')
        return "\\\\";
    if (*p == '\n')
        return "\\n";
    if (*p == '\t')
        return "\\t";
    if (*p < 0x20 || *p == 0x7f) {
        *length = 6;
        snprintf(tmp, 8, "\\u%04x", *p);
        return tmp;
    }
    size_t u = utf8_length(p, n);
    if (u == 2 && p[0] == 0xc2 && p[1] < 0xa0) { /* C1 controls drive terminals, too */
        *used = 2;
        *length = 6;
        snprintf(tmp, 8, "\\u%04x", p[1]);
        return tmp;
    }
    if (u == 0) {
        *length = 3;
        return "\xef\xbf\xbd";
    }
    *used = *length = u;
    return (const char *)p;
}

static void put_quoted(log_line *line, const char *s, size_t n, bool cut)
{
    const unsigned char *p = (const unsigned char *)s;
    size_t limit = line->room - 8; /* the end of a cut text, the quote, the brace */
    puts_line(line, "\"");
    for (size_t i = 0; i < n;) {
        size_t used, length;
        char tmp[8];
        const char *out = escaped(p + i, n - i, &used, &length, tmp);
        if (line->n + length > limit) {
            cut = true;
            break;
        }
        put(line, out, length);
        i += used;
    }
    puts_line(line, cut ? "\xe2\x80\xa6\"" : "\"");
}

static bool needs_quotes(const char *s)
{
    if (!*s)
        return true;
    for (; *s; s++) {
        if (*s <= ' ' || *s == '"' || *s == '=' || *s == '\\' || *s >= 0x7f)
            return true;
    }
    return false;
}

static void field(log_line *line, bool json, const char *key, const char *value)
{
    puts_line(line, json ? (line->n > 1 ? ",\"" : "\"") : (line->n ? " " : ""));
    puts_line(line, key);
    puts_line(line, json ? "\":" : "=");
    if (json || needs_quotes(value))
        put_quoted(line, value, strlen(value), false);
    else
        puts_line(line, value);
}

static void head(log_line *line, const log_source *s, bool json, odto_level level,
                 const odto_uuid *correlation)
{
    char time[25], thread[17] = "", id[ODTO_UUID_LEN + 1], number[32];
    odto_time_format(odto_unix_ms(), time);
    if (json)
        puts_line(line, "{");
    field(line, json, "time", time);
    field(line, json, "level", log_level_name(level));
    field(line, json, "plugin", s->name);
    if (s->generation) {
        snprintf(number, sizeof(number), json ? ",\"generation\":%u" : " generation=%u", s->generation);
        puts_line(line, number);
    }
    if (correlation) {
        odto_uuid_format(correlation, id);
        field(line, json, "correlationId", id);
    }
    if (pthread_getname_np(pthread_self(), thread, sizeof(thread)) == 0)
        field(line, json, "thread", thread);
}

/* ---- output ---- */

static ssize_t give(const log_sink *l, const char *p, size_t n)
{
    if (__atomic_load_n(&l->is_socket, __ATOMIC_SEQ_CST))
        return send(l->fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (__atomic_load_n(&l->has_poll, __ATOMIC_SEQ_CST)) {
        struct pollfd pfd = {l->fd, POLLOUT, 0};
        if (poll(&pfd, 1, 0) != 1) {
            errno = EAGAIN;
            return -1;
        }
    }
    return write(l->fd, p, n);
}

/* True when the whole line went out. Warnings and errors wait a little for a slow reader, once: as long as
 * the reader is stuck, later ones do not. */
static bool emit(log_sink *l, odto_level level, const char *p, size_t n)
{
    int waits = level >= ODTO_WARN && !__atomic_load_n(&l->stuck, __ATOMIC_SEQ_CST) ? 1 : 0;
    size_t done = 0;
    while (done < n) {
        ssize_t k = give(l, p + done, n - done);
        if (k > 0) {
            done += (size_t)k;
        } else if (k < 0 && errno == EINTR) {
            continue;
        } else if (k < 0 && errno == EAGAIN && waits-- > 0) {
            struct pollfd pfd = {l->fd, POLLOUT, 0};
            (void)poll(&pfd, 1, LOG_WAIT_MS);
        } else {
            break;
        }
    }
    bool ok = done == n;
    __atomic_store_n(&l->stuck, !ok, __ATOMIC_SEQ_CST);
    /* statistics: pair with nothing */
    __atomic_fetch_add(ok ? &l->sums.written : &l->sums.dropped, 1, __ATOMIC_RELAXED);
    return ok;
}

static bool emit_text(const log_source *s, odto_level level, const odto_uuid *correlation, const char *msg,
                      bool cut)
{
    log_line line;
    line.n = 0;
    line.room = sizeof(line.p) - 4; /* brace, newline */
    bool json = __atomic_load_n(&s->sink->format, __ATOMIC_SEQ_CST) == LOG_JSON;
    head(&line, s, json, level, correlation);
    puts_line(&line, json ? ",\"msg\":" : " msg=");
    put_quoted(&line, msg, strlen(msg), cut);
    line.room = sizeof(line.p);
    puts_line(&line, json ? "}\n" : "\n");
    return emit(s->sink, level, line.p, line.n);
}

static void write_text(const log_source *s, odto_level level, const odto_uuid *correlation, const char *msg,
                       bool cut)
{
    log_sink *l = s->sink;
    char text[96];
    if (!emit_text(s, level, correlation, msg, cut)) {
        __atomic_fetch_add(&l->lost, 1, __ATOMIC_SEQ_CST);
        return;
    }
    uint64_t lost =
        __atomic_load_n(&l->lost, __ATOMIC_SEQ_CST) ? __atomic_exchange_n(&l->lost, 0, __ATOMIC_SEQ_CST) : 0;
    if (lost == 0)
        return;
    snprintf(text, sizeof(text), "%llu log lines were dropped: their reader was too slow",
             (unsigned long long)lost);
    if (!emit_text(s, ODTO_WARN, NULL, text, false))
        __atomic_fetch_add(&l->lost, lost, __ATOMIC_SEQ_CST);
}

/* ---- rate ---- */

/* One line more in this second? Counts it. limit 0: always. */
static bool take(log_bucket *b, uint64_t second, uint64_t limit)
{
    if (limit == 0)
        return true;
    uint64_t old = __atomic_load_n(&b->word, __ATOMIC_SEQ_CST), next;
    do {
        if (old >> 24 != second)
            next = second << 24 | 1;
        else if ((old & 0xffffff) >= limit)
            return false;
        else
            next = old + 1;
    } while (!__atomic_compare_exchange_n(&b->word, &old, next, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
    return true;
}

/* The same for one message template, which may take up to limit lines a second. A template for which no word
 * is free in this second is not held back: the limit of the whole source still holds, and no template pays
 * for what another one writes. */
static bool take_site(log_source *s, const char *fmt, bool error, uint64_t second, uint64_t limit)
{
    if (limit == 0)
        return true;
    uint64_t hash = ((uintptr_t)fmt * 2 + error) * 0x9e3779b97f4a7c15u;
    uint64_t head = hash >> 48 << 48 | (second & 0xffffff) << 24;
    for (unsigned i = 0; i < LOG_PROBES; i++) {
        uint64_t *word = &s->sites[((hash >> 32) + i) % LOG_SITES];
        uint64_t old = __atomic_load_n(word, __ATOMIC_SEQ_CST);
        for (;;) {
            bool mine = old >> 24 == head >> 24;
            if (!mine && (old >> 24 & 0xffffff) == (second & 0xffffff))
                break; /* another template's */
            if (mine && (old & 0xffffff) >= limit)
                return false;
            uint64_t next = mine ? old + 1 : head | 1;
            if (__atomic_compare_exchange_n(word, &old, next, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
                return true;
        }
    }
    return true;
}

static void sum_up(log_source *s, log_bucket *b)
{
    if (__atomic_load_n(&b->held, __ATOMIC_SEQ_CST) == 0)
        return;
    uint64_t held = __atomic_exchange_n(&b->held, 0, __ATOMIC_SEQ_CST);
    if (held == 0)
        return;
    char text[128];
    snprintf(text, sizeof(text), "%llu %slines were suppressed by the rate limit of %u lines a second",
             (unsigned long long)held, b == &s->errors ? "error " : "",
             __atomic_load_n(&s->sink->rate, __ATOMIC_SEQ_CST));
    write_text(s, ODTO_WARN, NULL, text, false);
}

static bool allowed(log_source *s, odto_level level, const char *fmt)
{
    uint64_t rate = __atomic_load_n(&s->sink->rate, __ATOMIC_SEQ_CST);
    if (rate > 0xffffff)
        rate = 0xffffff;
    uint64_t second = (uint64_t)(odto_now_ns() / ODTO_SEC) + 1;
    bool error = level >= ODTO_ERROR;
    log_bucket *b = error ? &s->errors : &s->all; /* a chatty plugin never hides its errors */
    if (__atomic_load_n(&b->word, __ATOMIC_SEQ_CST) >> 24 != second)
        sum_up(s, b);
    if (take_site(s, fmt, error, second, (rate + 1) / 2) && take(b, second, rate))
        return true;
    __atomic_fetch_add(&b->held, 1, __ATOMIC_SEQ_CST);
    __atomic_fetch_add(&s->sink->sums.suppressed, 1, __ATOMIC_RELAXED); /* a statistic: pairs with nothing */
    return false;
}

void log_tick(log_sink *l)
{
    uint64_t second = (uint64_t)(odto_now_ns() / ODTO_SEC) + 1;
    pthread_mutex_lock(&l->lock);
    for (log_source *s = l->sources; s; s = s->next) {
        if (__atomic_load_n(&s->all.word, __ATOMIC_SEQ_CST) >> 24 != second)
            sum_up(s, &s->all);
        if (__atomic_load_n(&s->errors.word, __ATOMIC_SEQ_CST) >> 24 != second)
            sum_up(s, &s->errors);
    }
    pthread_mutex_unlock(&l->lock);
}

/* ---- writing ---- */

void log_vwrite(log_source *s, odto_level level, const odto_uuid *correlation, const char *fmt, va_list ap)
{
    if (!log_enabled(s, level) || !allowed(s, level, fmt))
        return;
    int saved = errno;
    char msg[LOG_LINE_MAX];
    int n = vsnprintf(msg, sizeof(msg), fmt, ap);
    if (n < 0)
        snprintf(msg, sizeof(msg), "%s", fmt);
    bool cut = n >= (int)sizeof(msg);
    if (cut) { /* do not leave half a character behind */
        size_t end = sizeof(msg) - 1;
        while (end > sizeof(msg) - 5 && (msg[end - 1] & 0xc0) == 0x80)
            end--;
        if (end && (msg[end - 1] & 0x80))
            end--;
        msg[end] = 0;
    }
    write_text(s, level, correlation, msg, cut);
    errno = saved;
}

void log_write(log_source *s, odto_level level, const odto_uuid *correlation, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    log_vwrite(s, level, correlation, fmt, ap);
    va_end(ap);
}

void log_error(log_source *s, odto_level level, const char *what, const odto_error *err)
{
    char text[1400];
    odto_error_text(err, text, sizeof(text));
    log_write(s, level, NULL, "%s: %s", what, text);
}
