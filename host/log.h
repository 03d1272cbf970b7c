/* log.h — one line a message, JSON or logfmt, with the plugin, generation, thread and correlation id.
 *
 * A log_sink is where lines go (stderr or a file); a log_source is one voice in it (a plugin generation, or a
 * module of the host). Any thread may write at any time; there is no lock on the way: a line is formatted on
 * the caller's stack, never longer than LOG_LINE_MAX (= PIPE_BUF), and given to one write(2), which the
 * kernel keeps whole on pipes and O_APPEND files.
 *
 * A line never holds the host up: the descriptor is non-blocking where it can be (without touching the flag
 * that stderr shares with the shell), and what does not fit is dropped and counted. Volume is bounded by a
 * rate per source and per message template; what was held back is summed up in a line of its own.
 *
 * Not async-signal-safe. Levels may be changed while others write. */
#ifndef ODTO_HOST_LOG_H
#define ODTO_HOST_LOG_H

#include <odto/host.h>

#define LOG_LINE_MAX 4096

typedef struct log_sink log_sink;
typedef struct log_source log_source;

typedef enum log_format { LOG_JSON, LOG_LOGFMT } log_format;

typedef struct log_settings {
    odto_level level;
    log_format format;
    const char *file; /* NULL or "": stderr */
    uint32_t rate;    /* lines a second and source; 0: no limit. A single template gets half of it */
} log_settings;

typedef struct log_counts {
    uint64_t written;    /* lines that reached the descriptor */
    uint64_t suppressed; /* held back by the rate limit */
    uint64_t dropped;    /* the descriptor would have blocked, or failed */
} log_counts;

/* 0, or -errno of opening the file (err says which). */
int log_open(const log_settings *s, log_sink **out, odto_error *err);
/* Takes other settings while lines are written. On failure the old ones stay. */
int log_configure(log_sink *l, const log_settings *s, odto_error *err);
/* Opens the file anew (after a rotation); stderr: nothing to do. On failure the old descriptor stays. */
int log_reopen(log_sink *l, odto_error *err);
/* Every source must be freed before. NULL is allowed. */
void log_close(log_sink *l);
void log_get_counts(const log_sink *l, log_counts *out);
/* Writes the sums of lines held back by sources that have been silent since. Optional, about once a second.
 */
void log_tick(log_sink *l);

/* plugin is copied; generation 0 is left out of the lines. NULL without memory; then nothing is logged by it
 * (every function takes a NULL source). */
log_source *log_source_new(log_sink *l, const char *plugin, uint32_t generation);
void log_source_free(log_source *s);

/* The level of all sources without one of their own. */
void log_set_level(log_sink *l, odto_level level);
odto_level log_get_level(const log_sink *l);
/* A level for all sources named plugin, now and in future generations; -1 returns to the global level.
 * -ENOSPC when too many names have one. */
int log_set_plugin_level(log_sink *l, const char *plugin, int level);
/* "debug" "info" "warn" "error" → level, or -EINVAL. */
int log_level_parse(odto_slice text);
const char *log_level_name(odto_level level);

/* True when a line of this level would be written: a load and a compare. */
bool log_enabled(const log_source *s, odto_level level);
/* correlation may be NULL. Control characters are escaped, bytes that are not UTF-8 replaced, what is too
 * long is cut and ends in "…". */
void log_write(log_source *s, odto_level level, const odto_uuid *correlation, const char *fmt, ...)
    ODTO_PRINTF(4, 5);
void log_vwrite(log_source *s, odto_level level, const odto_uuid *correlation, const char *fmt, va_list ap)
    ODTO_PRINTF(4, 0);
/* "what: message: detail. hint". */
void log_error(log_source *s, odto_level level, const char *what, const odto_error *err);

#endif
