/* auth.c — see auth.h. */
#include "auth.h"

#include <arpa/inet.h>
#include <errno.h>
#include <nettle/sha2.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

/* ---- secrets -------------------------------------------------------------------------------- */

void secret_of(secret *s, odto_slice text)
{
    struct sha256_ctx ctx;
    sha256_init(&ctx);
    sha256_update(&ctx, text.n, (const uint8_t *)text.p);
    sha256_digest(&ctx, sizeof s->hash, s->hash);
    s->set = true;
}

bool secret_is(const secret *s, odto_slice text)
{
    secret given;
    secret_of(&given, text);
    bool same = odto_equal_secret(odto_slice_of((const char *)given.hash, SECRET_HASH),
                                  odto_slice_of((const char *)s->hash, SECRET_HASH));
    return s->set && same;
}

int secret_new(secret *s, char text[SECRET_TEXT + 1])
{
    uint8_t bytes[32];
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return -EIO;
    odto_base64url(bytes, sizeof bytes, text);
    secret_of(s, odto_slice_of(text, SECRET_TEXT));
    explicit_bzero(bytes, sizeof bytes);
    return 0;
}

int token_rotate(reconnect_token *t, char text[SECRET_TEXT + 1])
{
    secret next;
    int r = secret_new(&next, text);
    if (r)
        return r;
    t->previous = t->current;
    t->current = next;
    return 0;
}

void token_confirmed(reconnect_token *t)
{
    t->previous = (secret){0};
}

bool token_is(const reconnect_token *t, odto_slice text)
{
    bool current = secret_is(&t->current, text), previous = secret_is(&t->previous, text);
    return current | previous;
}

/* ---- tickets -------------------------------------------------------------------------------- */

int ticket_issue(ticket_table *t, int64_t until, bool viewer, const char *session, char text[SECRET_TEXT + 1])
{
    ticket *oldest = &t->all[0];
    for (size_t i = 0; i < MAX_TICKETS && oldest->secret.set; i++) {
        if (!t->all[i].secret.set || t->all[i].until < oldest->until)
            oldest = &t->all[i];
    }
    ticket new = {.until = until, .viewer = viewer};
    memcpy(new.session, session, strnlen(session, sizeof new.session - 1));
    int r = secret_new(&new.secret, text);
    if (!r)
        *oldest = new;
    return r;
}

bool ticket_use(ticket_table *t, odto_slice text, int64_t now, ticket *out)
{
    ticket *found = NULL;
    for (size_t i = 0; i < MAX_TICKETS; i++) {
        if (t->all[i].secret.set && secret_is(&t->all[i].secret, text))
            found = &t->all[i];
    }
    if (!found)
        return false;
    *out = *found;
    *found = (ticket){0};
    return now <= out->until;
}

/* ---- addresses ------------------------------------------------------------------------------ */

static bool address_parse(odto_slice text, struct in6_addr *out, bool *v4)
{
    char s[INET6_ADDRSTRLEN];
    if (text.n >= sizeof s)
        return false;
    memcpy(s, text.p, text.n);
    s[text.n] = 0;
    struct in_addr four;
    *v4 = inet_pton(AF_INET, s, &four) == 1;
    if (*v4) {
        *out = (struct in6_addr){.s6_addr = {[10] = 0xff, [11] = 0xff}};
        memcpy(out->s6_addr + 12, &four, 4);
        return true;
    }
    return inet_pton(AF_INET6, s, out) == 1;
}

int netmask_parse(const char *text, netmask *out)
{
    const char *slash = strchr(text, '/');
    odto_slice address = slash ? odto_slice_of(text, (size_t)(slash - text)) : odto_slice_str(text);
    bool v4;
    if (!address_parse(address, &out->addr, &v4))
        return -EINVAL;
    long max = v4 ? 32 : 128, bits = max;
    if (slash) {
        char *end;
        bits = strtol(slash + 1, &end, 10);
        if (end == slash + 1 || *end || bits < 0 || bits > max)
            return -EINVAL;
    }
    out->bits = (unsigned)(bits + (v4 ? 96 : 0));
    return 0;
}

static bool bits_equal(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    if (memcmp(a, b, bits / 8))
        return false;
    unsigned rest = bits % 8;
    return !rest || !((a[bits / 8] ^ b[bits / 8]) >> (8 - rest));
}

bool netmask_has(const netmask *list, size_t n, odto_slice address)
{
    struct in6_addr a;
    bool v4;
    if (!address_parse(address, &a, &v4))
        return false;
    for (size_t i = 0; i < n; i++) {
        if (bits_equal(a.s6_addr, list[i].addr.s6_addr, list[i].bits))
            return true;
    }
    return false;
}

bool address_is_loopback(odto_slice address)
{
    static const netmask loopback[] = {
        {{{{[10] = 0xff, [11] = 0xff, [12] = 127}}}, 104},
        {{{{[15] = 1}}}, 128},
    };
    return netmask_has(loopback, 2, address);
}

static odto_slice trimmed(odto_slice s)
{
    while (s.n && (*s.p == ' ' || *s.p == '\t'))
        s = odto_slice_of(s.p + 1, s.n - 1);
    while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

void client_address(const netmask *trusted, size_t n, odto_slice peer, odto_slice forwarded, char out[46])
{
    odto_slice client = peer;
    while (netmask_has(trusted, n, client) && forwarded.n) {
        size_t at = forwarded.n;
        while (at && forwarded.p[at - 1] != ',')
            at--;
        odto_slice last = trimmed(odto_slice_of(forwarded.p + at, forwarded.n - at));
        struct in6_addr ignored;
        bool v4;
        if (!address_parse(last, &ignored, &v4))
            break; /* what a trusted proxy could not have written */
        client = last;
        forwarded.n = at ? at - 1 : 0;
    }
    size_t len = client.n < 45 ? client.n : 45;
    if (len)
        memcpy(out, client.p, len);
    out[len] = 0;
}

/* ---- pages ---------------------------------------------------------------------------------- */

/* The name of "name:port", "[::1]:port", "name". */
static odto_slice host_name(odto_slice host)
{
    if (host.n && host.p[0] == '[') {
        const char *end = memchr(host.p, ']', host.n);
        return end ? odto_slice_of(host.p + 1, (size_t)(end - host.p - 1)) : odto_slice_of(NULL, 0);
    }
    const char *colon = memchr(host.p ? host.p : "", ':', host.n);
    return colon ? odto_slice_of(host.p, (size_t)(colon - host.p)) : host;
}

static bool same_word(odto_slice a, odto_slice b)
{
    return a.n == b.n && a.n && !strncasecmp(a.p, b.p, a.n);
}

bool host_allowed(odto_slice host, const char *const *names, size_t n)
{
    odto_slice name = host_name(host);
    struct in6_addr ignored;
    bool v4;
    if (!name.n)
        return false;
    if (address_parse(name, &ignored, &v4) || same_word(name, odto_slice_str("localhost")))
        return true;
    for (size_t i = 0; i < n; i++) {
        if (same_word(name, odto_slice_str(names[i])))
            return true;
    }
    return false;
}

bool origin_allowed(odto_slice origin, odto_slice host, const char *const *listed, size_t n)
{
    const char *at = memmem(origin.p ? origin.p : "", origin.n, "://", 3);
    if (!at)
        return false; /* "null" as well */
    odto_slice from = odto_slice_of(at + 3, (size_t)(origin.p + origin.n - at - 3));
    if (same_word(from, host))
        return true;
    for (size_t i = 0; i < n; i++) {
        if (same_word(origin, odto_slice_str(listed[i])))
            return true;
    }
    return false;
}
