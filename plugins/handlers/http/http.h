/* http.h — inside of the handler `http`: one POST for each attempt.
 *
 * The request: POST, Content-Type application/json, the job as in common/request.h (or its payload alone),
 * Idempotency-Key: the job's id (the same on every attempt), traceparent, ODTO-Attempt, and with a secret the
 * headers of Standard Webhooks (standardwebhooks.com): webhook-id, webhook-timestamp, webhook-signature =
 * "v1," base64(HMAC-SHA256(key, id "." timestamp "." body)).
 *
 * The answer: 2xx done, its body is the result; 429 and 503 again, after Retry-After; 408, 425 and other 5xx
 * again; anything else never again. No redirect is followed, no proxy used.
 *
 * Threads: one, with libcurl's multi interface, which owns every call; libcurl makes threads of its own for
 * names. Lock: web.lock (waiting list, and runs that a cancel looks at); runs are finished without it. */
#ifndef HTTP_HTTP_H
#define HTTP_HTTP_H

#include <curl/curl.h>
#include <netinet/in.h>
#include <odto/plugin.h>
#include <pthread.h>
#include <stdatomic.h>

/* ---- guard.c: addresses a request may not go to ---- */

typedef struct range {
    uint8_t address[16]; /* IPv6, IPv4 as ::ffff:a.b.c.d */
    unsigned bits;
} range;

/* "10.0.0.0/8", "fd00::/8", "127.0.0.1"; 0 or -EINVAL. */
int range_parse(const char *text, range *out);
/* May a connection go there? Private, local and reserved ranges only where they are listed. */
bool guard_allows(const range *allowed, size_t n, const struct sockaddr *address);

/* ---- sign.c ---- */

/* "whsec_" and base64, or plain text. malloc'd key; 0, -EINVAL, -ENOMEM. */
int sign_key(const char *secret, uint8_t **key, size_t *n);
/* "v1,<base64>" and a NUL: 48 bytes. */
void sign_body(const uint8_t *key, size_t n_key, const char *id, int64_t timestamp, odto_slice body,
               char out[48]);

/* ---- breaker.c: hosts that fail are left alone for a while. Loop thread only ---- */

#define BREAKER_HOSTS 256

typedef struct breaker {
    char host[256];
    uint32_t failures; /* in a row */
    int64_t open_until_ns, used_ns;
    int64_t pause_ns;
    uint32_t calls; /* under way */
    bool probing;   /* one of them is out to see whether it is back */
} breaker;

typedef struct breakers {
    breaker *at; /* BREAKER_HOSTS of them, made when first needed */
    size_t n;
    uint32_t limit; /* failures that open it; 0: never */
    int64_t pause_ns;
} breakers;

/* The entry of a host; NULL without memory, or when that many hosts have calls under way. */
breaker *breaker_of(breakers *b, const char *host, int64_t now_ns);
/* 0: go on, and tell the result later; else how long to wait, ns. NULL is never open. */
int64_t breaker_enter(const breakers *b, breaker *of, int64_t now_ns);
enum breaker_said { BREAKER_WELL, BREAKER_FAILED, BREAKER_NOTHING };
void breaker_leave(const breakers *b, breaker *of, enum breaker_said said, int64_t now_ns);

/* ---- Retry-After (RFC 9110, 10.2.3): seconds or a date; ns from now, 0: none, at most a day ---- */
int64_t retry_after(odto_slice value, int64_t now_unix_s);

#endif
