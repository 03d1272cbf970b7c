/* spool_acks.c — what each group has acknowledged, and how often it tried: in memory. See spool.h for locks.
 */
#include "spool_internal.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- attempts ------------------------------------------------------------------------------ */

static size_t attempt_slot(const struct attempts *a, uint64_t seq)
{
    return (size_t)(seq * 0x9e3779b97f4a7c15u >> 20) & (a->cap - 1);
}

static bool attempts_grow(struct attempts *a)
{
    if (a->n * 2 < a->cap)
        return true;
    struct attempts bigger = {.cap = a->cap ? a->cap * 2 : 64};
    bigger.at = calloc(bigger.cap, sizeof *bigger.at);
    if (!bigger.at)
        return false;
    for (size_t i = 0; i < a->cap; i++)
        if (a->at[i].seq)
            attempts_set(&bigger, a->at[i].seq, a->at[i].n);
    free(a->at);
    *a = bigger;
    return true;
}

void attempts_set(struct attempts *a, uint64_t seq, uint32_t n)
{
    if (!attempts_grow(a))
        return;
    size_t i = attempt_slot(a, seq);
    while (a->at[i].seq && a->at[i].seq != seq)
        i = (i + 1) & (a->cap - 1);
    a->n += !a->at[i].seq;
    a->at[i] = (struct attempt){seq, n};
}

uint32_t attempts_get(const struct attempts *a, uint64_t seq)
{
    if (!a->n)
        return 0;
    for (size_t i = attempt_slot(a, seq); a->at[i].seq; i = (i + 1) & (a->cap - 1))
        if (a->at[i].seq == seq)
            return a->at[i].n;
    return 0;
}

void attempts_clear(struct attempts *a, uint64_t seq)
{
    if (!a->n)
        return;
    size_t i = attempt_slot(a, seq), mask = a->cap - 1;
    while (a->at[i].seq && a->at[i].seq != seq)
        i = (i + 1) & mask;
    if (!a->at[i].seq)
        return;
    a->n--;
    for (size_t k = (i + 1) & mask; a->at[k].seq; k = (k + 1) & mask) { /* close the gap */
        size_t home = attempt_slot(a, a->at[k].seq);
        if (((k - home) & mask) >= ((k - i) & mask)) {
            a->at[i] = a->at[k];
            i = k;
        }
    }
    a->at[i].seq = 0;
}

/* ---- bitmaps ------------------------------------------------------------------------------- */

struct segment *segment_of(struct spool *s, uint64_t seq)
{
    size_t lo = 0, hi = s->n_segs;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (s->segs[mid]->first <= seq)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo && seq < s->segs[lo - 1]->next ? s->segs[lo - 1] : NULL;
}

static bool bit_set(struct bits *b, uint64_t i)
{
    uint64_t mask = (uint64_t)1 << (i % 64);
    if (b->w[i / 64] & mask)
        return false;
    b->w[i / 64] |= mask;
    b->n_set++;
    return true;
}

uint64_t bits_next_clear(const struct bits *b, uint64_t i, uint64_t n)
{
    while (i < n && bit_get(b, i))
        i += i % 64 == 0 && b->w[i / 64] == UINT64_MAX ? 64 : 1;
    return i < n ? i : n;
}

bool segment_done(const struct spool *s, const struct segment *g)
{
    for (uint32_t i = 0; i < SPOOL_GROUPS_MAX; i++)
        if (s->groups[i].used && g->acked[i].n_set < g->next - g->first)
            return false;
    return true;
}

void segment_check_done(struct spool *s, struct segment *g)
{
    if (g == s->active || !g->data || !segment_done(s, g))
        return;
    s->data_bytes -= g->data;
    g->data = 0;
    s->retire = true;
}

static bool mark_in(struct spool *s, struct segment *g, uint32_t id, uint64_t seq)
{
    if (!bit_set(&g->acked[id], seq - g->first))
        return false;
    s->groups[id].unacked--;
    attempts_clear(&s->groups[id].attempts, seq);
    if (g->acked[id].n_set == g->next - g->first)
        segment_check_done(s, g);
    return true;
}

bool acks_mark(struct spool *s, uint32_t id, uint64_t seq)
{
    struct segment *g = segment_of(s, seq);
    return g && mark_in(s, g, id, seq);
}

/* Sequences from..to-1 are not readable: nobody waits for them. Reserved; lock held. */
void segment_lose(struct spool *s, struct segment *g, uint64_t from, uint64_t to)
{
    for (uint64_t seq = from; seq < to; seq++) {
        bit_set(&g->lost, seq - g->first);
        for (uint32_t id = 0; id < SPOOL_GROUPS_MAX; id++)
            if (s->groups[id].used)
                mark_in(s, g, id, seq);
    }
}

size_t spool_ack(struct spool *s, uint32_t id, const uint64_t *seqs, size_t n)
{
    size_t fresh = 0;
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < n; i++) {
        if (!acks_mark(s, id, seqs[i]))
            continue;
        journal_add(s, J_ACK, id, seqs[i], 1, 0);
        fresh++;
    }
    pthread_mutex_unlock(&s->lock);
    return fresh;
}

uint64_t spool_ack_all(struct spool *s, uint32_t id, uint64_t below, const uint64_t *keep, size_t n_keep)
{
    uint64_t fresh = 0;
    size_t k = 0;
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->n_segs; i++) {
        struct segment *g = s->segs[i];
        for (uint64_t seq = g->first; seq < g->next && seq < below; seq++) {
            while (k < n_keep && keep[k] < seq)
                k++;
            if ((k < n_keep && keep[k] == seq) || !mark_in(s, g, id, seq))
                continue;
            journal_add(s, J_ACK, id, seq, 1, 0);
            fresh++;
        }
    }
    pthread_mutex_unlock(&s->lock);
    return fresh;
}

uint64_t spool_first_unacked(struct spool *s, uint32_t id, uint64_t from)
{
    uint64_t found = UINT64_MAX;
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->n_segs && found == UINT64_MAX; i++) {
        const struct segment *g = s->segs[i];
        if (g->next <= from || g->acked[id].n_set == g->next - g->first)
            continue;
        uint64_t i0 = from > g->first ? from - g->first : 0, n = g->next - g->first;
        uint64_t at = bits_next_clear(&g->acked[id], i0, n);
        found = at < n ? g->first + at : UINT64_MAX;
    }
    pthread_mutex_unlock(&s->lock);
    return found;
}

int64_t spool_oldest_ms(struct spool *s, uint32_t id)
{
    uint64_t seq = spool_first_unacked(s, id, 0);
    int64_t ms = 0;
    pthread_mutex_lock(&s->lock);
    const struct segment *g = seq == UINT64_MAX ? NULL : segment_of(s, seq);
    for (size_t i = 0; g && i < g->n_index && g->index[i].seq <= seq; i++)
        ms = g->index[i].ms;
    pthread_mutex_unlock(&s->lock);
    return ms;
}

/* ---- attempts of leases -------------------------------------------------------------------- */

void spool_delivered(struct spool *s, uint32_t id, const odto_lease *leases, size_t n)
{
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < n; i++) {
        attempts_set(&s->groups[id].attempts, leases[i].seq, leases[i].attempt);
        journal_add(s, J_DELIVERED, id, leases[i].seq, 1, leases[i].attempt);
    }
    pthread_mutex_unlock(&s->lock);
    journal_flush(s);
}

void spool_attempts_set(struct spool *s, uint32_t id, uint64_t seq, uint32_t attempts)
{
    pthread_mutex_lock(&s->lock);
    if (attempts_get(&s->groups[id].attempts, seq) != attempts) {
        attempts_set(&s->groups[id].attempts, seq, attempts);
        journal_add(s, J_DELIVERED, id, seq, 1, attempts);
    }
    pthread_mutex_unlock(&s->lock);
}

uint32_t spool_attempts(struct spool *s, uint32_t id, uint64_t seq)
{
    pthread_mutex_lock(&s->lock);
    uint32_t n = attempts_get(&s->groups[id].attempts, seq);
    pthread_mutex_unlock(&s->lock);
    return n;
}

/* ---- groups -------------------------------------------------------------------------------- */

int acks_group_open(struct spool *s, uint32_t id, const char *name)
{
    struct spool_group *gr = &s->groups[id];
    gr->unacked = 0;
    for (size_t i = 0; i < s->n_segs; i++) {
        struct segment *g = s->segs[i];
        struct bits *b = &g->acked[id];
        free(b->w);
        *b = (struct bits){.w = calloc(g->words + 1, sizeof *b->w)};
        if (!b->w)
            return -ENOMEM;
        if (g->lost.w)
            memcpy(b->w, g->lost.w, g->words * sizeof *b->w);
        b->n_set = g->lost.n_set;
        for (uint64_t k = 0; !g->data && k < g->next - g->first; k++)
            bit_set(b, k); /* it is on its way out */
        gr->unacked += g->next - g->first - b->n_set;
    }
    snprintf(gr->name, sizeof gr->name, "%s", name);
    gr->used = true;
    return 0;
}

int spool_group_add(struct spool *s, const char *name, uint32_t *id)
{
    int rc = -E2BIG;
    pthread_mutex_lock(&s->lock);
    for (uint32_t i = 0; i < SPOOL_GROUPS_MAX && rc == -E2BIG; i++) {
        if (s->groups[i].used)
            continue;
        rc = acks_group_open(s, i, name);
        *id = i;
    }
    if (!rc)
        journal_add_name(s, *id, name);
    pthread_mutex_unlock(&s->lock);
    return rc;
}

void spool_group_rename(struct spool *s, uint32_t id, const char *name)
{
    pthread_mutex_lock(&s->lock);
    snprintf(s->groups[id].name, sizeof s->groups[id].name, "%s", name);
    journal_add_name(s, id, name);
    pthread_mutex_unlock(&s->lock);
}

void spool_group_drop(struct spool *s, uint32_t id)
{
    pthread_mutex_lock(&s->lock);
    struct spool_group *gr = &s->groups[id];
    gr->used = false;
    free(gr->attempts.at);
    gr->attempts = (struct attempts){0};
    for (size_t i = 0; i < s->n_segs; i++) {
        free(s->segs[i]->acked[id].w);
        s->segs[i]->acked[id] = (struct bits){0};
        segment_check_done(s, s->segs[i]);
    }
    journal_add(s, J_DROP, id, 0, 0, 0);
    pthread_mutex_unlock(&s->lock);
}

const char *spool_group_name(struct spool *s, uint32_t id)
{
    return s->groups[id].used ? s->groups[id].name : NULL;
}

uint64_t spool_depth(struct spool *s, uint32_t id, uint64_t below)
{
    pthread_mutex_lock(&s->lock);
    uint64_t n = s->groups[id].unacked;
    if (s->next_seq > below) /* none of these was given to anybody yet */
        n -= s->next_seq - below;
    pthread_mutex_unlock(&s->lock);
    return n;
}
