/* uuid.c — text form of uuids (RFC 9562, 4). Pure functions, any thread. */
#include <odto/base.h>
#include <errno.h>
#include <string.h>

/* Value of a hexadecimal digit, 0x80 for any other byte. */
static inline unsigned hex_value(char c)
{
#define X       0x80
#define ROW     X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X
#define LETTERS X, 10, 11, 12, 13, 14, 15, X, X, X, X, X, X, X, X, X
    static const unsigned char value[256] = {
        ROW, ROW, ROW, 0,       1,   2,       3,   4,   5,   6,   7,   8,   9,   X,   X,   X,
        X,   X,   X,   LETTERS, ROW, LETTERS, ROW, ROW, ROW, ROW, ROW, ROW, ROW, ROW, ROW,
    };
#undef LETTERS
#undef ROW
#undef X
    return value[(unsigned char)c];
}

/* Positions of the sixteen bytes in the text. */
static const unsigned char byte_at[16] = {0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34};

int odto_uuid_parse(odto_slice text, odto_uuid *out)
{
    const char *p = text.p;
    if (text.n != ODTO_UUID_LEN || p[8] != '-' || p[13] != '-' || p[18] != '-' || p[23] != '-')
        return -EINVAL;
    odto_uuid u;
    unsigned bad = 0;
    for (int i = 0; i < 16; i++) {
        unsigned high = hex_value(p[byte_at[i]]), low = hex_value(p[byte_at[i] + 1]);
        bad |= high | low;
        u.b[i] = (uint8_t)(high << 4 | (low & 15));
    }
    if (bad & 0x80)
        return -EINVAL;
    *out = u;
    return 0;
}

void odto_uuid_format(const odto_uuid *u, char out[ODTO_UUID_LEN + 1])
{
    static const char hex[] = "0123456789abcdef";
    for (int i = 0; i < 16; i++) {
        out[byte_at[i]] = hex[u->b[i] >> 4];
        out[byte_at[i] + 1] = hex[u->b[i] & 15];
    }
    out[8] = out[13] = out[18] = out[23] = '-';
    out[ODTO_UUID_LEN] = '\0';
}

bool odto_uuid_eq(const odto_uuid *a, const odto_uuid *b)
{
    return memcmp(a->b, b->b, sizeof a->b) == 0;
}

bool odto_uuid_is_nil(const odto_uuid *u)
{
    static const odto_uuid nil;
    return odto_uuid_eq(u, &nil);
}
