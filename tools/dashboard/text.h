/* text — everything between bytes from outside and columns on a screen.
 *
 * Pure functions, any thread. UTF-8 in and out. Widths are columns of a terminal (wcwidth of the current
 * locale for non-ASCII, so call setlocale first). */
#ifndef DASH_TEXT_H
#define DASH_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TEXT_REPLACEMENT 0xFFFDu

/* Decodes one code point at *p (before end) and advances *p by at least one byte. Overlong forms,
 * surrogates and cut sequences give U+FFFD. */
uint32_t text_next(const char **p, const char *end);
/* Encodes cp; returns the number of bytes (1..4), no NUL. */
size_t text_encode(uint32_t cp, char out[4]);
/* Columns of one code point: 0, 1 or 2; controls and unprintable ones count 1 (they are drawn as '?'). */
int text_width(uint32_t cp);
int text_columns(const char *s);

/* Copies src without control characters (C0, DEL, C1), line separators, bidirectional overrides and other
 * invisible format characters; tabs and newlines become one space; invalid UTF-8 becomes U+FFFD. Cut at a
 * whole character, always NUL-terminated. This is the only door for text from outside. */
void text_clean(char *dst, size_t size, const char *src);
/* The same, but keeps '\n' (tabs become two spaces): for pretty-printed payloads. Returns bytes written. */
size_t text_clean_lines(char *dst, size_t size, const char *src);

/* Case-insensitive (ASCII) substring test; the empty needle matches. */
bool text_contains(const char *hay, const char *needle);

/* "12 345": digits in groups of three. */
void text_number(char *out, size_t size, int64_t v);
/* "0", "0.4", "42", "1.2k", "3.4M": at most five columns. */
void text_rate(char *out, size_t size, double v);
/* "0", "9999", "12.3k", "3.4M"; negative values count as 0. */
void text_count(char *out, size_t size, double v);
/* "<1ms", "8ms", "1.24s", "12.3s", "4m05s", "2h07m", "3d04h"; "-" when negative. */
void text_duration(char *out, size_t size, int64_t ms);
/* "14:03:22" of the local time of a Unix time in ms, or "-" for values <= 0. */
void text_clock(char *out, size_t size, int64_t unix_ms);
/* "2026-07-31 14:03:22.120" */
void text_datetime(char *out, size_t size, int64_t unix_ms);

#endif
