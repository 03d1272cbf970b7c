/* hist.h — a latency histogram of fixed size: log-linear buckets, 64 to each power of two (under 1.6 % off).
 */
#ifndef BENCH_HIST_H
#define BENCH_HIST_H

#include <stddef.h>
#include <stdint.h>

#define HIST_SUB     64
#define HIST_BUCKETS (58 * HIST_SUB)

typedef struct hist {
    uint64_t n, max;
    double sum;
    uint64_t buckets[HIST_BUCKETS];
} hist;

static inline size_t hist_index(uint64_t v)
{
    if (v < HIST_SUB)
        return (size_t)v;
    unsigned shift = (unsigned)(63 - __builtin_clzll(v)) - 6; /* v >> shift is in [64, 128) */
    size_t i = (size_t)(shift + 1) * HIST_SUB + (size_t)((v >> shift) - HIST_SUB);
    return i < HIST_BUCKETS ? i : HIST_BUCKETS - 1;
}

static inline uint64_t hist_value(size_t i)
{
    if (i < HIST_SUB)
        return i;
    return (uint64_t)(HIST_SUB + i % HIST_SUB) << (i / HIST_SUB - 1);
}

static inline void hist_add(hist *h, int64_t value)
{
    uint64_t v = value < 0 ? 0 : (uint64_t)value;
    h->n++;
    h->sum += (double)v;
    if (v > h->max)
        h->max = v;
    h->buckets[hist_index(v)]++;
}

/* The value that the share q (0..1) of all values does not exceed; 0 when empty. */
static inline uint64_t hist_quantile(const hist *h, double q)
{
    uint64_t want = (uint64_t)(q * (double)h->n), seen = 0;
    if (want >= h->n)
        return h->max;
    for (size_t i = 0; i < HIST_BUCKETS; i++)
        if ((seen += h->buckets[i]) > want)
            return hist_value(i) < h->max ? hist_value(i) : h->max;
    return h->max;
}

#endif
