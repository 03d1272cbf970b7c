/* text — see text.h. */
#define _XOPEN_SOURCE_EXTENDED 1
#include "text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <wchar.h>

uint32_t text_next(const char **p, const char *end)
{
    const unsigned char *s = (const unsigned char *)*p;
    size_t left = (size_t)(end - *p);
    uint32_t c = s[0];
    *p += 1;
    if (c < 0x80) {
        return c;
    }
    size_t need = (c & 0xE0) == 0xC0 ? 1 : (c & 0xF0) == 0xE0 ? 2 : (c & 0xF8) == 0xF0 ? 3 : 0;
    if (!need || need >= left) {
        return TEXT_REPLACEMENT;
    }
    static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
    c &= 0x3Fu >> need;
    for (size_t i = 1; i <= need; i++) {
        if ((s[i] & 0xC0) != 0x80) {
            return TEXT_REPLACEMENT;
        }
        c = c << 6 | (s[i] & 0x3F);
    }
    if (c < least[need] || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF)) {
        return TEXT_REPLACEMENT;
    }
    *p += need;
    return c;
}

size_t text_encode(uint32_t cp, char out[4])
{
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (char)(0xC0 | cp >> 6);
        out[1] = (char)(0x80 | (cp & 0x3F));
        return 2;
    }
    if (cp < 0x10000) {
        out[0] = (char)(0xE0 | cp >> 12);
        out[1] = (char)(0x80 | (cp >> 6 & 0x3F));
        out[2] = (char)(0x80 | (cp & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | cp >> 18);
    out[1] = (char)(0x80 | (cp >> 12 & 0x3F));
    out[2] = (char)(0x80 | (cp >> 6 & 0x3F));
    out[3] = (char)(0x80 | (cp & 0x3F));
    return 4;
}

int text_width(uint32_t cp)
{
    if (cp < 0x300) {
        return 1;
    }
    int w = wcwidth((wchar_t)cp);
    return w < 0 ? 1 : w > 2 ? 2 : w;
}

int text_columns(const char *s)
{
    const char *end = s + strlen(s);
    int n = 0;
    while (s < end) {
        n += text_width(text_next(&s, end));
    }
    return n;
}

/* Characters that draw nothing but change what the reader sees around them. */
static bool invisible(uint32_t c)
{
    return c < 0x20 || (c >= 0x7F && c < 0xA0) || c == 0xAD || c == 0x61C || (c >= 0x200B && c <= 0x200F) ||
           (c >= 0x2028 && c <= 0x202E) || (c >= 0x2060 && c <= 0x206F) || c == 0xFEFF ||
           (c >= 0xFFF0 && c <= 0xFFFB) || (c >= 0xE0000 && c <= 0xE0FFF);
}

static size_t clean(char *dst, size_t size, const char *src, bool lines)
{
    size_t n = 0;
    if (!size) {
        return 0;
    }
    const char *end = src + strlen(src);
    while (src < end) {
        uint32_t c = text_next(&src, end);
        char b[4];
        size_t k;
        if (lines && c == '\t') {
            b[0] = b[1] = ' ';
            k = 2;
        } else if (lines && c == '\n') {
            b[0] = '\n';
            k = 1;
        } else if (c == '\t' || c == '\n') {
            b[0] = ' ';
            k = 1;
        } else if (invisible(c)) {
            continue;
        } else {
            k = text_encode(c, b);
        }
        if (n + k >= size) {
            break;
        }
        memcpy(dst + n, b, k);
        n += k;
    }
    dst[n] = '\0';
    return n;
}

void text_clean(char *dst, size_t size, const char *src)
{
    clean(dst, size, src, false);
}

size_t text_clean_lines(char *dst, size_t size, const char *src)
{
    return clean(dst, size, src, true);
}

bool text_contains(const char *hay, const char *needle)
{
    return strcasestr(hay, needle) != NULL;
}

void text_number(char *out, size_t size, int64_t v)
{
    char digits[24];
    int n = snprintf(digits, sizeof digits, "%lld", (long long)v);
    size_t o = 0;
    for (int i = 0; i < n && o + 2 < size; i++) {
        int left = n - i;
        bool group = left % 3 == 0 && i > 0 && !(i == 1 && digits[0] == '-');
        if (group) {
            out[o++] = ' ';
        }
        out[o++] = digits[i];
    }
    out[o] = '\0';
}

void text_rate(char *out, size_t size, double v)
{
    if (v < 0.05) {
        snprintf(out, size, "0");
    } else if (v < 9.95) {
        snprintf(out, size, "%.1f", v);
    } else if (v < 999.5) {
        snprintf(out, size, "%.0f", v);
    } else if (v < 99950) {
        snprintf(out, size, "%.1fk", v / 1e3);
    } else if (v < 999500) {
        snprintf(out, size, "%.0fk", v / 1e3);
    } else {
        snprintf(out, size, "%.1fM", v / 1e6);
    }
}

void text_count(char *out, size_t size, double v)
{
    if (v < 10000) {
        snprintf(out, size, "%.0f", v > 0 ? v : 0);
    } else {
        text_rate(out, size, v);
    }
}

void text_duration(char *out, size_t size, int64_t ms)
{
    long long s = ms / 1000;
    if (ms < 0) {
        snprintf(out, size, "-");
    } else if (ms == 0) {
        snprintf(out, size, "<1ms");
    } else if (ms < 1000) {
        snprintf(out, size, "%lldms", (long long)ms);
    } else if (s < 10) {
        snprintf(out, size, "%.2fs", (double)ms / 1e3);
    } else if (s < 60) {
        snprintf(out, size, "%.1fs", (double)ms / 1e3);
    } else if (s < 3600) {
        snprintf(out, size, "%lldm%02llds", s / 60, s % 60);
    } else if (s < 86400) {
        snprintf(out, size, "%lldh%02lldm", s / 3600, s / 60 % 60);
    } else {
        snprintf(out, size, "%lldd%02lldh", s / 86400, s / 3600 % 24);
    }
}

static bool local_time(int64_t unix_ms, struct tm *tm)
{
    time_t t = (time_t)(unix_ms / 1000);
    return unix_ms > 0 && localtime_r(&t, tm);
}

void text_clock(char *out, size_t size, int64_t unix_ms)
{
    struct tm tm;
    if (!local_time(unix_ms, &tm) || !strftime(out, size, "%H:%M:%S", &tm)) {
        snprintf(out, size, "-");
    }
}

void text_datetime(char *out, size_t size, int64_t unix_ms)
{
    struct tm tm;
    char day[32];
    if (!local_time(unix_ms, &tm) || !strftime(day, sizeof day, "%Y-%m-%d %H:%M:%S", &tm)) {
        snprintf(out, size, "-");
        return;
    }
    snprintf(out, size, "%s.%03d", day, (int)(unix_ms % 1000));
}
