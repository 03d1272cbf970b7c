/* sign.c — signatures of requests as in the Standard Webhooks specification, section "Signature scheme":
 * v1 is HMAC-SHA256 (RFC 2104, FIPS 180-4) over "id.timestamp.body". Pure. */
#include "http.h"
#include <errno.h>
#include <nettle/base64.h>
#include <nettle/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int sign_key(const char *secret, uint8_t **key, size_t *n)
{
    size_t len = strlen(secret);
    *key = malloc(len + 1);
    if (!*key)
        return -ENOMEM;
    if (strncmp(secret, "whsec_", 6) != 0) {
        memcpy(*key, secret, len);
        *n = len;
        return 0;
    }
    struct base64_decode_ctx ctx;
    size_t out = len;
    base64_decode_init(&ctx);
    if (base64_decode_update(&ctx, &out, *key, len - 6, secret + 6) && base64_decode_final(&ctx) && out) {
        *n = out;
        return 0;
    }
    free(*key);
    *key = NULL;
    return -EINVAL;
}

void sign_body(const uint8_t *key, size_t n_key, const char *id, int64_t timestamp, odto_slice body,
               char out[48])
{
    struct hmac_sha256_ctx ctx;
    uint8_t digest[SHA256_DIGEST_SIZE];
    char head[96];
    int n = snprintf(head, sizeof head, "%s.%lld.", id, (long long)timestamp);
    hmac_sha256_set_key(&ctx, n_key, key);
    hmac_sha256_update(&ctx, (size_t)n, (const uint8_t *)head);
    hmac_sha256_update(&ctx, body.n, (const uint8_t *)body.p);
    hmac_sha256_digest(&ctx, sizeof digest, digest);
    memcpy(out, "v1,", 3);
    odto_base64(digest, sizeof digest, out + 3);
}
