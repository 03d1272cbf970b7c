/* random.c — uuids and random numbers.
 *
 * Random bytes come from getrandom(2), fetched a block at a time into memory of the thread, so that an id
 * costs no system call. The state is plain thread-local data without a destructor: nothing has to run when a
 * thread ends or a plugin is unloaded. A process that forks and does not exec must not make ids in the child
 * (it would repeat the parent's); the host only forks to exec. */
#include "scan.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#define POOL 1024

static _Thread_local struct {
    unsigned char bytes[POOL];
    size_t left;
    uint64_t last_ms; /* of the last v7 id of this thread */
    uint32_t counter; /* its 12 bit counter */
    uint64_t rng[2];
    bool seeded;
} local;

/* getrandom(2) cannot fail for blocks of this size once the kernel's pool is ready, except for a signal. */
static void random_fill(void *p, size_t n)
{
    unsigned char *to = p;
    while (n > 0) {
        ssize_t got = getrandom(to, n, 0);
        if (got < 0 && errno != EINTR)
            abort(); /* ids that are not random would be worse */
        if (got > 0) {
            to += got;
            n -= (size_t)got;
        }
    }
}

static void random_take(void *p, size_t n)
{
    if (local.left < n) {
        random_fill(local.bytes, POOL);
        local.left = POOL;
    }
    local.left -= n;
    memcpy(p, local.bytes + local.left, n);
    memset(local.bytes + local.left, 0, n); /* a later leak of memory shows no id already given out */
}

/* xoroshiro128++ (Blackman, Vigna 2019). */
uint64_t odto_random64(void)
{
    if (!local.seeded) {
        random_fill(local.rng, sizeof local.rng);
        local.rng[0] |= 1; /* never all zero */
        local.seeded = true;
    }
    uint64_t a = local.rng[0], b = local.rng[1], sum = a + b;
    uint64_t result = ((sum << 17) | (sum >> 47)) + a;
    b ^= a;
    local.rng[0] = ((a << 49) | (a >> 15)) ^ b ^ (b << 21);
    local.rng[1] = (b << 28) | (b >> 36);
    return result;
}

static void store_be64(uint8_t *to, uint64_t v)
{
    v = __builtin_bswap64(v);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    memcpy(to, &v, 8);
}

static uint64_t load_be64(const uint8_t *from)
{
    uint64_t v;
    memcpy(&v, from, 8);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    return v;
}

#define VARIANT (UINT64_C(2) << 62)
#define LOW62   ((UINT64_C(1) << 62) - 1)

/* RFC 9562, 6.2 method 1: the 12 bits of rand_a are a counter that starts at a random value below 2048 each
 * millisecond; when it runs over, or the clock steps back, the time of the last id goes on. */
void odto_uuid_v7(odto_uuid *out)
{
    uint64_t random;
    random_take(&random, sizeof random);
    uint64_t now = (uint64_t)odto_unix_ms();
    if (now > local.last_ms) {
        local.last_ms = now;
        local.counter = (uint32_t)(odto_random64() & 0x7FF);
    } else if (++local.counter > 0xFFF) {
        local.last_ms++;
        local.counter = 0;
    }
    store_be64(out->b, (local.last_ms << 16) | 0x7000 | local.counter);
    store_be64(out->b + 8, VARIANT | (random & LOW62));
}

void odto_uuid_v4(odto_uuid *out)
{
    random_take(out->b, 16);
    out->b[6] = (uint8_t)((out->b[6] & 0x0F) | 0x40);
    out->b[8] = (uint8_t)((out->b[8] & 0x3F) | 0x80);
}

/* The finaliser of SplitMix64 (Steele, Lea, Flood 2014): a bijection of 64 bits. */
static uint64_t mix64(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

/* The mapping is part of the stored data (event ids of earlier runs), so it must never change. For a v7 job
 * id it is injective: rand_b is multiplied by an odd number modulo 2^62, rand_a is combined with a hash of
 * rand_b. */
void odto_uuid_derive(const odto_uuid *job, odto_uuid *out)
{
    uint64_t high = load_be64(job->b), low = load_be64(job->b + 8);
    if ((high & 0xF000) == 0x7000 && low >> 62 == 2) {
        uint64_t a = (high ^ (mix64(low) >> 52)) & 0xFFF;
        low = ((low & LOW62) * UINT64_C(0x2545F4914F6CDD1D) + 1) & LOW62;
        store_be64(out->b, (high & ~UINT64_C(0xFFF)) | a);
        store_be64(out->b + 8, VARIANT | low);
        return;
    }
    low ^= mix64(high + UINT64_C(0x9E3779B97F4A7C15));
    high ^= mix64(low + UINT64_C(0x9E3779B97F4A7C15));
    low ^= mix64(high + UINT64_C(0x3C6EF372FE94F82A));
    store_be64(out->b, (high & ~UINT64_C(0xF000)) | 0x8000);
    store_be64(out->b + 8, VARIANT | (low & LOW62));
}
