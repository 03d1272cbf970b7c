/* ring.c — see ring.h. */
#include "ring.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RING_FIRST (16u * 1024)

static size_t power_of_two(size_t n)
{
    size_t p = RING_FIRST;
    while (p < n)
        p *= 2;
    return p;
}

int ring_init(ring *r, size_t max, size_t soft, size_t frames)
{
    *r = (ring){.max = power_of_two(max), .n_ends = frames};
    r->soft = power_of_two(soft) < r->max ? power_of_two(soft) : r->max;
    r->ends = calloc(frames, sizeof *r->ends);
    return r->ends ? 0 : -ENOMEM;
}

void ring_free(ring *r)
{
    free(r->p);
    free(r->ends);
    *r = (ring){0};
}

void ring_start(ring *r, uint64_t offset, uint64_t seq)
{
    r->tail = r->head = r->cut = offset;
    r->seq = seq;
    memset(r->ends, 0, r->n_ends * sizeof *r->ends);
    r->ends[seq % r->n_ends] = offset;
}

/* Another size; what does not fit any more is lost at the tail. */
static bool ring_resize(ring *r, size_t cap)
{
    char *p = malloc(cap);
    if (!p)
        return false;
    if (r->head - r->tail > cap)
        r->tail = r->head - cap;
    for (uint64_t o = r->tail; o < r->head;) {
        odto_slice s = ring_at(r, o, r->head);
        size_t at = (size_t)o & (cap - 1), n = s.n < cap - at ? s.n : cap - at;
        memcpy(p + at, s.p, n);
        o += n;
    }
    free(r->p);
    r->p = p;
    r->cap = cap;
    return true;
}

size_t ring_room(ring *r, size_t want, uint64_t keep, char **at)
{
    if (keep < r->tail)
        keep = r->tail;
    size_t held = (size_t)(r->head - r->tail), needed = (size_t)(r->head - keep);
    size_t most = needed + want > r->soft ? r->max : r->soft;
    if (held + want > r->cap && r->cap < most) {
        size_t cap = power_of_two((needed + want > r->soft ? needed : held) + want);
        if (!ring_resize(r, cap < most ? cap : most) && !r->cap)
            return 0;
    }
    if (needed >= r->cap)
        return 0;
    if (want > r->cap - needed)
        want = r->cap - needed;
    size_t pos = (size_t)r->head & (r->cap - 1);
    if (want > r->cap - pos)
        want = r->cap - pos;
    if (r->head + want - r->tail > r->cap)
        r->tail = r->head + want - r->cap;
    *at = r->p + pos;
    return want;
}

void ring_wrote(ring *r, size_t n)
{
    r->head += n;
}

odto_slice ring_at(const ring *r, uint64_t offset, uint64_t end)
{
    if (offset >= end)
        return odto_slice_of(NULL, 0);
    size_t pos = (size_t)offset & (r->cap - 1), n = (size_t)(end - offset);
    return odto_slice_of(r->p + pos, n < r->cap - pos ? n : r->cap - pos);
}

void ring_shrink(ring *r, uint64_t keep)
{
    if (r->cap <= r->soft || r->head - keep > r->soft)
        return;
    if (r->head - r->tail > r->soft)
        r->tail = r->head - r->soft;
    ring_resize(r, r->soft);
}

bool ring_cut(ring *r, bool all)
{
    size_t partial = 0;
    if (r->head == r->cut)
        return false;
    if (!all) {
        char last[4];
        size_t n = r->head - r->cut < 4 ? (size_t)(r->head - r->cut) : 4;
        for (size_t i = 0; i < n; i++)
            last[i] = r->p[(size_t)(r->head - n + i) & (r->cap - 1)];
        partial = utf8_partial(last, n);
    }
    if (r->head - partial == r->cut)
        return false;
    r->cut = r->head - partial;
    r->seq++;
    r->ends[r->seq % r->n_ends] = r->cut;
    return true;
}

bool ring_frame_end(const ring *r, uint64_t seq, uint64_t *end)
{
    if (seq > r->seq || r->seq - seq >= r->n_ends)
        return false;
    *end = r->ends[seq % r->n_ends];
    return seq == 0 || *end != 0;
}

uint64_t ring_frame_at(const ring *r, uint64_t from, uint64_t offset)
{
    uint64_t oldest = r->seq >= r->n_ends ? r->seq - r->n_ends + 1 : 0;
    uint64_t f = from > oldest ? from : oldest;
    while (f < r->seq && r->ends[(f + 1) % r->n_ends] <= offset)
        f++;
    return f;
}

/* ---- UTF-8 ---------------------------------------------------------------------------------- */

/* Length of the character a byte begins: 1..4, or 0 for one that can't begin any. */
static size_t lead_length(unsigned char c)
{
    return c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
}

/* Can b stand second behind the lead byte? (no overlong forms, surrogates, or beyond U+10FFFF) */
static bool second_fits(unsigned char lead, unsigned char b)
{
    unsigned char low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    unsigned char high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    return b >= low && b <= high;
}

/* Length of the valid character at p, or of its valid beginning as a negative number; 0: invalid. */
static int char_at(const unsigned char *p, size_t n)
{
    size_t len = lead_length(p[0]), have = 1;
    if (!len)
        return 0;
    for (; have < len && have < n; have++) {
        if (have == 1 ? !second_fits(p[0], p[1]) : (p[have] & 0xc0) != 0x80)
            return 0;
    }
    return have == len ? (int)len : -(int)have;
}

size_t utf8_partial(const char *p, size_t n)
{
    for (size_t k = 1; k <= 3 && k <= n; k++) {
        const unsigned char *at = (const unsigned char *)p + n - k;
        if ((*at & 0xc0) == 0x80)
            continue;
        return *at >= 0x80 && char_at(at, k) < 0 ? k : 0;
    }
    return 0;
}

/* Bytes that need no escape: printable ASCII but " and \. */
static size_t plain_run(const unsigned char *p, size_t n)
{
    size_t i = 0;
    while (i < n && p[i] >= 0x20 && p[i] < 0x7f && p[i] != '"' && p[i] != '\\')
        i++;
    return i;
}

static bool escape_put(odto_buf *out, unsigned char c)
{
    const char *from = "\"\\\n\r\t\b\f", *to = "\"\\nrtbf", *at = c ? strchr(from, c) : NULL;
    if (at) {
        char two[2] = {'\\', to[at - from]};
        return odto_buf_put(out, two, 2);
    }
    char six[6] = {'\\', 'u', '0', '0', "0123456789abcdef"[c >> 4], "0123456789abcdef"[c & 15]};
    return odto_buf_put(out, six, 6);
}

bool utf8_json(odto_buf *out, const char *text, size_t n)
{
    const unsigned char *p = (const unsigned char *)text;
    for (size_t i = 0; i < n;) {
        size_t run = plain_run(p + i, n - i);
        if (run) {
            odto_buf_put(out, p + i, run);
            i += run;
        } else if (p[i] < 0x80) {
            escape_put(out, p[i++]);
        } else {
            int len = char_at(p + i, n - i);
            odto_buf_put(out, len > 0 ? (const char *)p + i : "\xef\xbf\xbd", len > 0 ? (size_t)len : 3);
            i += len > 0 ? (size_t)len : len < 0 ? (size_t)-len : 1;
        }
    }
    return !out->failed;
}
