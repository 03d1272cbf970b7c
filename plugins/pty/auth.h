/* auth.h — who may do what: secrets, tickets, addresses, where a page comes from.
 *
 * No secret is kept: only SHA-256 hashes, compared in constant time. Pure functions and tables of the
 * caller's; the time is an argument. */
#ifndef PTY_AUTH_H
#define PTY_AUTH_H

#include <netinet/in.h>
#include <odto/base.h>

enum {
    SECRET_TEXT = 43, /* characters of a token or ticket: 32 random bytes in base64url */
    SECRET_HASH = 32,
    MAX_TICKETS = 256,
};

typedef struct secret {
    uint8_t hash[SECRET_HASH];
    bool set;
} secret;

/* A new random secret: its text for the client, its hash for us. 0 or -errno. */
int secret_new(secret *s, char text[SECRET_TEXT + 1]);
void secret_of(secret *s, odto_slice text);
bool secret_is(const secret *s, odto_slice text); /* constant time in both */

/* ---- reconnect tokens: one is current; the one before stays good until the client has used the new one ----
 */

typedef struct reconnect_token {
    secret current, previous;
} reconnect_token;

/* A new one; what was current becomes previous. */
int token_rotate(reconnect_token *t, char text[SECRET_TEXT + 1]);
void token_confirmed(reconnect_token *t); /* the client has the current one: the previous one is spent */
bool token_is(const reconnect_token *t, odto_slice text);

/* ---- tickets: good once, for a short time ---------------------------------------------------- */

typedef struct ticket {
    secret secret;
    int64_t until;
    bool viewer;
    char session[37]; /* for one session only, or empty */
} ticket;

typedef struct ticket_table {
    ticket all[MAX_TICKETS];
} ticket_table;

/* Replaces the oldest one when there are MAX_TICKETS. 0 or -errno. */
int ticket_issue(ticket_table *t, int64_t until, bool viewer, const char *session,
                 char text[SECRET_TEXT + 1]);
/* Takes it: *out, and it is gone. */
bool ticket_use(ticket_table *t, odto_slice text, int64_t now, ticket *out);

/* ---- addresses ------------------------------------------------------------------------------- */

typedef struct netmask {
    struct in6_addr addr; /* IPv4 as ::ffff:a.b.c.d */
    unsigned bits;
} netmask;

/* "10.0.0.0/8", "::1". 0 or -EINVAL. */
int netmask_parse(const char *text, netmask *out);
bool netmask_has(const netmask *list, size_t n, odto_slice address);
bool address_is_loopback(odto_slice address);
/* The client behind trusted proxies: the last address of X-Forwarded-For that is no trusted one, if peer is
 * trusted; else peer. out holds 46 bytes. */
void client_address(const netmask *trusted, size_t n, odto_slice peer, odto_slice forwarded, char out[46]);

/* ---- pages ------------------------------------------------------------------------------------ */

/* May a request with this Host come in? A name that is no address and not listed can be an attacker's, that
 * resolves to us (DNS rebinding). */
bool host_allowed(odto_slice host, const char *const *names, size_t n);
/* Does this Origin ("http://name:port") name the host the request was made to, or is it listed? "null" never
 * is. */
bool origin_allowed(odto_slice origin, odto_slice host, const char *const *listed, size_t n);
#endif
