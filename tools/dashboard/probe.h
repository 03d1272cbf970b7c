/* probe — is something there, and why not: TCP, HTTP and the first bytes of a few protocols.
 *
 * Blocking, bounded by the timeout; any thread (curl_global_init first for probe_http). */
#ifndef DASH_PROBE_H
#define DASH_PROBE_H

#include <odto/base.h>

/* Connects; a socket or -errno. why says what to do about a failure. */
int probe_tcp(const char *host, int port, int timeout_ms, char *why, size_t size);
/* GET; the HTTP status, or -errno with why. body (may be NULL) gets at most body_size - 1 bytes. */
int probe_http(const char *url, int timeout_ms, char *body, size_t body_size, char *why, size_t size);
/* Splits scheme://[user[:password]@]host[:port][/…] or host:port. The password goes nowhere. */
bool probe_url(const char *url, char *scheme, size_t scheme_size, char *host, size_t host_size, int *port);
/* Says hello as the scheme wants it (amqp, postgres, redis, mongodb; else only connects) and tells whether
 * a server of that kind answers. With TLS (rediss, amqps) it only connects; an SRV name is not asked at all.
 * 0 or -errno; why tells about both. */
int probe_server(const char *url, const char *kind, int default_port, int timeout_ms, char *why, size_t size);
/* 0 when a listener could bind there (127.0.0.1), -errno otherwise. */
int probe_port_free(int port);
/* The same for an address of this machine: "0.0.0.0", "::1", a name; empty: any. */
int probe_listen(const char *host, int port);

#endif
