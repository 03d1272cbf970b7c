/* odto/base.h — types every boundary uses: error, slice, uuid, time, bounded buffer.
 *
 * Everything here is plain data and pure functions: no globals, any thread. Functions declared in
 * base.h, json.h, schema.h and envelope.h live in the static library libodto (linked into the host,
 * each plugin and each tool with hidden visibility). */
#ifndef ODTO_BASE_H
#define ODTO_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ODTO_PRINTF(f, a) __attribute__((format(printf, f, a)))

/* ---- errors -------------------------------------------------------------------------------- */

/* What happened (message), what exactly (detail), what to do (hint), where in the user's manifest
 * ("file:line:column", or empty). Functions return 0 or -errno and fill *err on failure; err may be
 * NULL everywhere. Strings are cut, never overrun. */
typedef struct odto_error {
    int code; /* -errno, 0 while unset */
    char message[256];
    char detail[512];
    char hint[256];
    char where[256];
} odto_error;

/* Fill *err (message printf-style) and return code (a negative errno), so `return odto_fail(...)`. */
int odto_fail(odto_error *err, int code, const char *fmt, ...) ODTO_PRINTF(3, 4);
void odto_error_detail(odto_error *err, const char *fmt, ...) ODTO_PRINTF(2, 3);
void odto_error_hint(odto_error *err, const char *fmt, ...) ODTO_PRINTF(2, 3);
void odto_error_where(odto_error *err, const char *file, int line, int column);
/* "where: message: detail. hint" on one line, for stderr and logs; returns buf. */
const char *odto_error_text(const odto_error *err, char *buf, size_t size);

/* ---- slices -------------------------------------------------------------------------------- */

/* Borrowed bytes, not NUL-terminated; p may be NULL when n is 0. */
typedef struct odto_slice {
    const char *p;
    size_t n;
} odto_slice;

static inline odto_slice odto_slice_of(const char *p, size_t n)
{
    odto_slice s = {p, n};
    return s;
}
odto_slice odto_slice_str(const char *s); /* of a NUL-terminated string; NULL gives the empty slice */
bool odto_slice_eq(odto_slice a, const char *s);
/* A NUL-terminated heap copy (free()), NULL without memory. */
char *odto_slice_dup(odto_slice s);

/* ---- uuid ---------------------------------------------------------------------------------- */

typedef struct odto_uuid {
    uint8_t b[16];
} odto_uuid;
#define ODTO_UUID_LEN 36

/* Strict 8-4-4-4-12 hex, any case, any version, nil allowed, no "urn:uuid:". 0 or -EINVAL. */
int odto_uuid_parse(odto_slice text, odto_uuid *out);
/* Lower-case text with a NUL; out holds 37 bytes. */
void odto_uuid_format(const odto_uuid *u, char out[ODTO_UUID_LEN + 1]);
/* RFC 9562 version 7: 48 bit Unix ms, then random with a per-thread monotonic counter: ids made by one
 * thread sort in the order they were made. Random from getrandom(2), buffered per thread. */
void odto_uuid_v7(odto_uuid *out);
void odto_uuid_v4(odto_uuid *out);
/* The id of the one "job.created" event of a job: the same job id always gives the same event id, so a
 * repeated POST is the same event wherever it lands. A v7 job id keeps its time prefix (v7 out), any
 * other gives a name-based id (RFC 9562 version 8, hash of the job id). */
void odto_uuid_derive(const odto_uuid *job, odto_uuid *out);
bool odto_uuid_eq(const odto_uuid *a, const odto_uuid *b);
bool odto_uuid_is_nil(const odto_uuid *u);

/* ---- time ---------------------------------------------------------------------------------- */

#define ODTO_MS  INT64_C(1000000)
#define ODTO_SEC INT64_C(1000000000)
int64_t odto_now_ns(void);  /* CLOCK_MONOTONIC */
int64_t odto_unix_ms(void); /* CLOCK_REALTIME, ms */
/* RFC 3339 date-time: T/t, seconds, offset required (Z z ±hh:mm with hh<24 mm<60), optional fraction,
 * real dates only, :60 only where a leap second can occur (23:59:60 UTC). Result: Unix ms (fraction cut to
 * ms; a leap second maps to the following second). 0 or -EINVAL. */
int odto_time_parse(odto_slice text, int64_t *unix_ms);
/* "YYYY-MM-DDTHH:MM:SS.mmmZ" + NUL (25 bytes); seconds form without fraction (21 bytes). */
void odto_time_format(int64_t unix_ms, char out[25]);
void odto_time_format_sec(int64_t unix_ms, char out[21]);
/* "250ms", "1.5s", "5m", "2h", "1d", plain number = seconds. Nanoseconds out. 0 or -EINVAL/-ERANGE. */
int odto_duration_parse(odto_slice text, int64_t *ns);
/* "64k", "1m", "2g" (powers of 1024), plain bytes. 0 or -EINVAL/-ERANGE. */
int odto_size_parse(odto_slice text, int64_t *bytes);

/* ---- buffer -------------------------------------------------------------------------------- */

/* A growing byte buffer. Zero-initialised is empty. After a failed append (no memory, over max) it is
 * unchanged and `failed` stays set, so a chain of appends needs one check at the end. Always NUL-terminated
 * when p is not NULL. */
typedef struct odto_buf {
    char *p;
    size_t n, cap, max; /* max 0: no limit */
    bool failed;
} odto_buf;

bool odto_buf_reserve(odto_buf *b, size_t more); /* room for `more` further bytes */
bool odto_buf_put(odto_buf *b, const void *p, size_t n);
bool odto_buf_str(odto_buf *b, const char *s);
bool odto_buf_printf(odto_buf *b, const char *fmt, ...) ODTO_PRINTF(2, 3);
bool odto_buf_json(odto_buf *b, odto_slice s); /* as a quoted JSON string; invalid UTF-8 becomes U+FFFD */
bool odto_buf_jsonz(odto_buf *b, const char *s);
bool odto_buf_int(odto_buf *b, int64_t v);
void odto_buf_clear(odto_buf *b); /* keeps the memory */
void odto_buf_free(odto_buf *b);

/* ---- small algorithms ---------------------------------------------------------------------- */

uint32_t odto_crc32c(uint32_t seed, const void *p,
                     size_t n);                /* Castagnoli, RFC 3720; SSE4.2 where there is */
uint64_t odto_hash64(const void *p, size_t n); /* fast, not cryptographic */
uint64_t odto_random64(void);                  /* per-thread generator seeded by getrandom */
/* Unpadded base64url; out holds (n*4+2)/3+1 bytes. */
void odto_base64url(const void *p, size_t n, char *out);
/* RFC 4648 base64 with padding; out holds 4*((n+2)/3)+1 bytes. */
void odto_base64(const void *p, size_t n, char *out);
bool odto_utf8_valid(odto_slice s);
/* Compare without a timing difference (secrets). */
bool odto_equal_secret(odto_slice a, odto_slice b);
/* Levenshtein distance, for "did you mean"; the best of `names` within 3, or NULL. */
const char *odto_nearest(const char *word, const char *const *names, size_t n);

#ifdef __cplusplus
}
#endif
#endif
