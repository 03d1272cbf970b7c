/* time.c — clocks, RFC 3339 text, durations and sizes of the manifest. Pure functions, any thread. */
#include <odto/base.h>
#include <errno.h>
#include <string.h>
#include <time.h>

int64_t odto_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * ODTO_SEC + t.tv_nsec;
}

int64_t odto_unix_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / ODTO_MS;
}

/* Days from 1970-01-01 of a date of the proleptic Gregorian calendar, and back: "chrono-Compatible Low-Level
 * Date Algorithms" (H. Hinnant); years count from March there. */
static int64_t days_of(int year, int month, int day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t era = (y >= 0 ? y : y - 399) / 400, of_era = y - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static void date_of(int64_t days, int *year, int *month, int *day)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097, of_era = days - era * 146097;
    int64_t y = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * y + y / 4 - y / 100);
    int64_t m = (5 * of_year + 2) / 153;
    *day = (int)(of_year - (153 * m + 2) / 5 + 1);
    *month = (int)(m < 10 ? m + 3 : m - 9);
    *year = (int)(y + era * 400 + (*month <= 2));
}

/* n decimal digits at p, or -1. */
static int digits(const char *p, int n)
{
    int v = 0;
    for (int i = 0; i < n; i++) {
        unsigned d = (unsigned)(unsigned char)p[i] - '0';
        if (d > 9)
            return -1;
        v = v * 10 + (int)d;
    }
    return v;
}

static int month_days(int year, int month)
{
    static const char days[13] = {0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && leap ? 29 : days[month];
}

/* "Z", "z" or "±hh:mm" that ends the text: minutes east of UTC, or -EINVAL's sign as INT32_MIN. */
static int offset_minutes(const char *p, const char *end)
{
    if (end - p == 1 && (*p | 0x20) == 'z')
        return 0;
    if (end - p != 6 || (*p != '+' && *p != '-') || p[3] != ':')
        return INT32_MIN;
    int h = digits(p + 1, 2), m = digits(p + 4, 2);
    if (h < 0 || h > 23 || m < 0 || m > 59)
        return INT32_MIN;
    return *p == '-' ? -(h * 60 + m) : h * 60 + m;
}

/* ".ddd…" at *p: milliseconds (further digits cut), *p moved behind; -1 if there is no digit. */
static int fraction_ms(const char **p, const char *end)
{
    const char *d = *p + 1;
    int ms = 0, scale = 100;
    for (; d < end && *d >= '0' && *d <= '9'; d++) {
        ms += (*d - '0') * scale;
        scale /= 10;
    }
    if (d == *p + 1)
        return -1;
    *p = d;
    return ms;
}

int odto_time_parse(odto_slice text, int64_t *unix_ms)
{
    const char *p = text.p, *end = text.p + text.n;
    if (text.n < 20 || p[4] != '-' || p[7] != '-' || (p[10] | 0x20) != 't' || p[13] != ':' || p[16] != ':')
        return -EINVAL;
    int year = digits(p, 4), month = digits(p + 5, 2), day = digits(p + 8, 2);
    int hour = digits(p + 11, 2), minute = digits(p + 14, 2), second = digits(p + 17, 2);
    if (year < 0 || month < 1 || month > 12 || day < 1 || day > month_days(year, month))
        return -EINVAL;
    if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60)
        return -EINVAL;
    int ms = 0;
    p += 19;
    if (*p == '.' && (ms = fraction_ms(&p, end)) < 0)
        return -EINVAL;
    int offset = offset_minutes(p, end);
    if (offset == INT32_MIN)
        return -EINVAL;
    int64_t minutes = days_of(year, month, day) * 1440 + hour * 60 + minute - offset;
    if (second == 60 && ((minutes % 1440) + 1440) % 1440 != 1439)
        return -EINVAL; /* a leap second ends a day of UTC */
    *unix_ms = (minutes * 60 + second) * 1000 + ms;
    return 0;
}

static void put2(char *to, int v)
{
    to[0] = (char)('0' + v / 10);
    to[1] = (char)('0' + v % 10);
}

/* The 19 characters up to the seconds; returns the millisecond within the second. Years outside 0000..9999
 * have no RFC 3339 text and are cut to the nearest that has. */
static int format_base(int64_t unix_ms, char *out)
{
    const int64_t lowest = INT64_C(-62167219200000), highest = INT64_C(253402300799999);
    unix_ms = unix_ms < lowest ? lowest : unix_ms > highest ? highest : unix_ms;
    int64_t days = unix_ms / 86400000, rest = unix_ms % 86400000;
    if (rest < 0) {
        rest += 86400000;
        days--;
    }
    int year, month, day, of_day = (int)rest;
    date_of(days, &year, &month, &day);
    put2(out, year / 100);
    put2(out + 2, year % 100);
    out[4] = out[7] = '-';
    put2(out + 5, month);
    put2(out + 8, day);
    out[10] = 'T';
    put2(out + 11, of_day / 3600000);
    put2(out + 14, of_day / 60000 % 60);
    put2(out + 17, of_day / 1000 % 60);
    out[13] = out[16] = ':';
    return of_day % 1000;
}

void odto_time_format(int64_t unix_ms, char out[25])
{
    int ms = format_base(unix_ms, out);
    out[19] = '.';
    out[20] = (char)('0' + ms / 100);
    put2(out + 21, ms % 100);
    out[23] = 'Z';
    out[24] = '\0';
}

void odto_time_format_sec(int64_t unix_ms, char out[21])
{
    format_base(unix_ms, out);
    out[19] = 'Z';
    out[20] = '\0';
}

/* ---- durations and sizes ------------------------------------------------------------------- */

/* A decimal number with at most nine digits behind the point: whole part and 10^-9 parts. *rest is what
 * follows. */
static int decimal(odto_slice text, int64_t *whole, int64_t *nano, odto_slice *rest)
{
    const char *p = text.p, *end = text.n ? text.p + text.n : text.p;
    const char *from = p;
    int64_t w = 0, f = 0, scale = 100000000;
    for (; p < end && *p >= '0' && *p <= '9'; p++)
        if (__builtin_mul_overflow(w, 10, &w) || __builtin_add_overflow(w, *p - '0', &w))
            return -ERANGE;
    if (p == from)
        return -EINVAL;
    if (p < end && *p == '.') {
        const char *point = p++;
        for (; p < end && *p >= '0' && *p <= '9'; p++, scale /= 10)
            f += (*p - '0') * scale;
        if (p == point + 1)
            return -EINVAL;
    }
    *whole = w;
    *nano = f;
    *rest = odto_slice_of(p, (size_t)(end - p));
    return 0;
}

typedef struct unit {
    const char *name;
    int64_t factor;
} unit;

/* The value of text in the smallest unit; fractions only where the unit is larger than that. */
static int scaled(odto_slice text, const unit *units, size_t n, int64_t *out)
{
    int64_t whole, nano;
    odto_slice suffix;
    int rc = decimal(text, &whole, &nano, &suffix);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        if (!odto_slice_eq(suffix, units[i].name))
            continue;
        int64_t v, part;
        if (nano && units[i].factor == 1)
            return -EINVAL; /* half a byte, half a nanosecond */
        if (__builtin_mul_overflow(whole, units[i].factor, &v))
            return -ERANGE;
        /* factor / 10^9 * nano without losing the small units */
        part = units[i].factor / ODTO_SEC * nano + units[i].factor % ODTO_SEC * nano / ODTO_SEC;
        if (__builtin_add_overflow(v, part, &v))
            return -ERANGE;
        *out = v;
        return 0;
    }
    return rc ? rc : -EINVAL;
}

int odto_duration_parse(odto_slice text, int64_t *ns)
{
    static const unit units[] = {
        {"s", ODTO_SEC},        {"ms", ODTO_MS},         {"", ODTO_SEC}, {"m", 60 * ODTO_SEC},
        {"h", 3600 * ODTO_SEC}, {"d", 86400 * ODTO_SEC}, {"us", 1000},   {"ns", 1},
    };
    return scaled(text, units, sizeof units / sizeof units[0], ns);
}

int odto_size_parse(odto_slice text, int64_t *bytes)
{
    static const unit units[] = {
        {"", 1},          {"k", 1 << 10},   {"m", 1 << 20},  {"g", 1 << 30},  {"b", 1},
        {"kb", 1 << 10},  {"mb", 1 << 20},  {"gb", 1 << 30}, {"K", 1 << 10},  {"M", 1 << 20},
        {"G", 1 << 30},   {"KB", 1 << 10},  {"MB", 1 << 20}, {"GB", 1 << 30}, {"KiB", 1 << 10},
        {"MiB", 1 << 20}, {"GiB", 1 << 30},
    };
    return scaled(text, units, sizeof units / sizeof units[0], bytes);
}
