/* guard.c — where a request may go (http.h). A job must not reach services inside of our network by naming
 * them, nor by a name that resolves to them: so the address of the connection itself is looked at.
 * Sources: IANA special-purpose address registries (RFC 6890 and successors). Pure. */
#include "http.h"
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* IPv4 as IPv6-mapped, so that one table and one comparison do. */
static const struct {
    const char *text;
} special[] = {
    {"0.0.0.0/8"},     {"10.0.0.0/8"},      {"100.64.0.0/10"},  {"127.0.0.0/8"},    {"169.254.0.0/16"},
    {"172.16.0.0/12"}, {"192.0.0.0/24"},    {"192.0.2.0/24"},   {"192.88.99.0/24"}, {"192.168.0.0/16"},
    {"198.18.0.0/15"}, {"198.51.100.0/24"}, {"203.0.113.0/24"}, {"224.0.0.0/4"},    {"240.0.0.0/4"},
    {"::/128"},        {"::1/128"},         {"100::/64"},       {"2001::/23"},      {"2001:db8::/32"},
    {"fc00::/7"},      {"fe80::/10"},       {"fec0::/10"},      {"ff00::/8"},
};

static void map4(const uint8_t v4[4], uint8_t out[16])
{
    memset(out, 0, 10);
    out[10] = out[11] = 0xff;
    memcpy(out + 12, v4, 4);
}

int range_parse(const char *text, range *out)
{
    char address[64], *end;
    const char *slash = strchr(text, '/');
    size_t n = slash ? (size_t)(slash - text) : strlen(text);
    uint8_t v4[4];
    if (!n || n >= sizeof address)
        return -EINVAL;
    memcpy(address, text, n);
    address[n] = '\0';
    bool is4 = inet_pton(AF_INET, address, v4) == 1;
    if (is4)
        map4(v4, out->address);
    else if (inet_pton(AF_INET6, address, out->address) != 1)
        return -EINVAL;
    unsigned most = is4 ? 32 : 128;
    unsigned long bits = most;
    if (slash) {
        bits = strtoul(slash + 1, &end, 10);
        if (end == slash + 1 || *end || bits > most)
            return -EINVAL;
    }
    out->bits = (unsigned)bits + (is4 ? 96 : 0);
    return 0;
}

static bool inside(const range *r, const uint8_t address[16])
{
    unsigned whole = r->bits / 8, rest = r->bits % 8;
    if (memcmp(r->address, address, whole) != 0)
        return false;
    return !rest || ((r->address[whole] ^ address[whole]) >> (8 - rest)) == 0;
}

/* IPv6 addresses that carry an IPv4 one: NAT64 (64:ff9b::/96), 6to4 (2002::/16). */
static bool unwrap(uint8_t address[16])
{
    static const uint8_t nat64[12] = {0, 0x64, 0xff, 0x9b};
    uint8_t v4[4];
    if (!memcmp(address, nat64, sizeof nat64))
        memcpy(v4, address + 12, 4);
    else if (address[0] == 0x20 && address[1] == 0x02)
        memcpy(v4, address + 2, 4);
    else
        return false;
    map4(v4, address);
    return true;
}

static bool listed(const range *ranges, size_t n, const uint8_t address[16])
{
    for (size_t i = 0; i < n; i++)
        if (inside(&ranges[i], address))
            return true;
    return false;
}

static bool is_special(const uint8_t address[16])
{
    for (size_t i = 0; i < sizeof special / sizeof special[0]; i++) {
        range r;
        if (range_parse(special[i].text, &r) < 0 || inside(&r, address))
            return true;
    }
    return false;
}

bool guard_allows(const range *allowed, size_t n, const struct sockaddr *address)
{
    uint8_t a[16];
    if (address->sa_family == AF_INET) {
        uint8_t v4[4];
        memcpy(v4, &((const struct sockaddr_in *)(const void *)address)->sin_addr, 4);
        map4(v4, a);
    } else if (address->sa_family == AF_INET6) {
        memcpy(a, &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr, 16);
    } else {
        return false;
    }
    if (listed(allowed, n, a))
        return true;
    if (unwrap(a) && listed(allowed, n, a))
        return true;
    return !is_special(a);
}
