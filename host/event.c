/* event.c — see event.h.
 *
 * Design notes. A slab is SLAB_BYTES aligned to its size, so a block finds its slab by masking. Free blocks
 * are chained through their first word; a slab also has a `fresh` mark below which blocks were never used, so
 * a new slab touches no page before it is needed. Slabs with free blocks stand in the class's list, those in
 * use before the empty ones, so that a pool that shrinks empties whole slabs. Some empty ones are kept: a
 * queue that swings would pay a page fault for every few events.
 *
 * One thread makes events and another drops them, so blocks travel from cache to cache, in magazines: arrays
 * of addresses. To chain and unchain each block would fetch a cold line per block under the lock.
 *
 * Events larger than the largest class come from malloc; under AddressSanitizer all do, so that it can see a
 * use after the last unref. */
#include "event.h"
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define EVENT_MAGIC 0x6f657674u /* "oevt" */
#define EVENT_DEAD  0x64656164u
#define SLAB_BYTES  ((size_t)256 << 10)
#define CACHE_MAX   128u
#define BATCH_MAX   64u
#define MAGAZINES   4u  /* a class: the slabs of their blocks stay mapped, so few */
#define EMPTY_KEPT  12u /* slabs of the pool: 3 MiB */
#define CLASSES     14u
#define CLASS_LARGE CLASSES

static const uint32_t class_bytes[CLASSES] = {384,  512,  640,  768,  1024, 1280,  1536,
                                              2048, 3072, 4096, 6144, 8192, 16384, 32768};

struct slab {
    struct slab *next, *prev; /* in the class's list, while it has free blocks */
    struct event_pool *pool;
    void *free; /* chain of free blocks */
    uint32_t cls, n_free, fresh, total;
};
#define SLAB_HEAD ((size_t)128)

struct magazine { /* batch_of(class) free blocks; for their slabs they are in use */
    void *block[BATCH_MAX];
};

struct class_depot {
    _Alignas(128) pthread_mutex_t lock; /* everything below, and the slabs of the class */
    struct slab *slabs;                 /* those with free blocks */
    struct slab *tail;
    uint32_t n_empty;     /* of these, with all blocks free */
    uint32_t n_magazines; /* full ones, the last one filled is used first */
    struct magazine magazine[MAGAZINES];
};

struct cache_class {
    uint32_t n;
    void *block[CACHE_MAX];
};

struct event_cache { /* one per thread and pool */
    struct event_pool *pool;
    struct event_cache *next, **link; /* in pool->caches */
    struct cache_class cls[CLASSES];
};

struct event_pool {
    uint64_t max_bytes;
    uint64_t bytes, slabs, larges; /* atomic */
    uint32_t n_empty;              /* atomic: empty slabs of all classes beyond the first of each */
    pthread_key_t key;
    pthread_mutex_t caches_lock; /* caches and their links */
    struct event_cache *caches;
    struct class_depot depot[CLASSES];
};

/* ---- slabs --------------------------------------------------------------------------------- */

static uint32_t class_of(size_t bytes)
{
#ifdef __SANITIZE_ADDRESS__
    (void)bytes;
    return CLASS_LARGE;
#else
    for (uint32_t c = 0; c < CLASSES; c++)
        if (bytes <= class_bytes[c])
            return c;
    return CLASS_LARGE;
#endif
}

static uint32_t batch_of(uint32_t cls)
{
    uint32_t n = (64u << 10) / class_bytes[cls];
    return n > BATCH_MAX ? BATCH_MAX : n;
}

static struct slab *slab_of(void *block)
{
    return (struct slab *)((uintptr_t)block & ~(uintptr_t)(SLAB_BYTES - 1));
}

/* Count n more bytes against the limit; false when they do not fit. */
static bool bytes_take(struct event_pool *p, uint64_t n)
{
    uint64_t now = __atomic_add_fetch(&p->bytes, n, __ATOMIC_RELAXED); /* a count: pairs with nothing */
    if (!p->max_bytes || now <= p->max_bytes)
        return true;
    __atomic_sub_fetch(&p->bytes, n, __ATOMIC_RELAXED); /* a count */
    return false;
}

static void bytes_give(struct event_pool *p, uint64_t n)
{
    __atomic_sub_fetch(&p->bytes, n, __ATOMIC_RELAXED); /* a count */
}

static struct slab *slab_map(struct event_pool *p, uint32_t cls)
{
    if (!bytes_take(p, SLAB_BYTES))
        return NULL;
    char *m = mmap(NULL, 2 * SLAB_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (m == MAP_FAILED) {
        bytes_give(p, SLAB_BYTES);
        return NULL;
    }
    char *at = (char *)(((uintptr_t)m + SLAB_BYTES - 1) & ~(uintptr_t)(SLAB_BYTES - 1));
    if (at > m)
        munmap(m, (size_t)(at - m));
    munmap(at + SLAB_BYTES, (size_t)(m + 2 * SLAB_BYTES - (at + SLAB_BYTES)));
    struct slab *s = (struct slab *)at;
    *s = (struct slab){
        .pool = p, .cls = cls, .total = (uint32_t)((SLAB_BYTES - SLAB_HEAD) / class_bytes[cls])};
    s->n_free = s->total;
    __atomic_add_fetch(&p->slabs, 1, __ATOMIC_RELAXED); /* a statistic */
    return s;
}

static void slab_unmap(struct slab *s)
{
    struct event_pool *p = s->pool;
    munmap(s, SLAB_BYTES);
    bytes_give(p, SLAB_BYTES);
    __atomic_sub_fetch(&p->slabs, 1, __ATOMIC_RELAXED); /* a statistic */
}

static void slab_unlink(struct class_depot *d, struct slab *s)
{
    *(s->prev ? &s->prev->next : &d->slabs) = s->next;
    *(s->next ? &s->next->prev : &d->tail) = s->prev;
    s->next = s->prev = NULL;
}

static void slab_link_head(struct class_depot *d, struct slab *s)
{
    s->prev = NULL;
    s->next = d->slabs;
    *(d->slabs ? &d->slabs->prev : &d->tail) = s;
    d->slabs = s;
}

static void slab_link_tail(struct class_depot *d, struct slab *s)
{
    s->next = NULL;
    s->prev = d->tail;
    *(d->tail ? &d->tail->next : &d->slabs) = s;
    d->tail = s;
}

static void *slab_pop(struct slab *s)
{
    void *b = s->free;
    if (b)
        memcpy(&s->free, b, sizeof s->free);
    else
        b = (char *)s + SLAB_HEAD + (size_t)s->fresh++ * class_bytes[s->cls];
    s->n_free--;
    return b;
}

/* An empty slab beyond the first of its class comes (false: unmap it) or goes. */
static bool empty_keep(struct event_pool *p)
{
    if (p->max_bytes) /* with a limit, what one class keeps another may lack */
        return false;
    if (__atomic_add_fetch(&p->n_empty, 1, __ATOMIC_RELAXED) <= EMPTY_KEPT) /* a count: pairs with nothing */
        return true;
    __atomic_sub_fetch(&p->n_empty, 1, __ATOMIC_RELAXED); /* a count */
    return false;
}

static void empty_used(struct event_pool *p, struct class_depot *d)
{
    if (d->n_empty-- > 1)
        __atomic_sub_fetch(&p->n_empty, 1, __ATOMIC_RELAXED); /* a count */
}

/* Move up to `want` free blocks of the class into out; maps a slab when there is none. Returns how many. */
static uint32_t depot_take(struct event_pool *p, uint32_t cls, void **out, uint32_t want)
{
    struct class_depot *d = &p->depot[cls];
    uint32_t n = 0;
    pthread_mutex_lock(&d->lock);
    if (d->n_magazines && want == batch_of(cls)) {
        memcpy(out, d->magazine[--d->n_magazines].block, want * sizeof *out);
        n = want;
    }
    while (n < want) {
        struct slab *s = d->slabs;
        if (!s) {
            if (n || !(s = slab_map(p, cls)))
                break;
            slab_link_head(d, s);
            d->n_empty++;
        }
        if (s->n_free == s->total)
            empty_used(p, d);
        while (n < want && s->n_free)
            out[n++] = slab_pop(s);
        if (!s->n_free)
            slab_unlink(d, s);
    }
    pthread_mutex_unlock(&d->lock);
    return n;
}

/* Give n blocks back to their slabs; slabs that become empty beyond those kept are unmapped. Lock held. */
static void slabs_give(struct event_pool *p, struct class_depot *d, void **blocks, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        struct slab *s = slab_of(blocks[i]);
        memcpy(blocks[i], &s->free, sizeof s->free);
        s->free = blocks[i];
        if (s->n_free++ == 0)
            slab_link_head(d, s);
        if (s->n_free < s->total)
            continue;
        slab_unlink(d, s);
        if (d->n_empty && !empty_keep(p)) {
            slab_unmap(s);
        } else {
            d->n_empty++;
            slab_link_tail(d, s);
        }
    }
}

/* Give n blocks back: a full batch as a magazine while there is room for one. */
static void depot_give(struct event_pool *p, uint32_t cls, void **blocks, uint32_t n)
{
    struct class_depot *d = &p->depot[cls];
    pthread_mutex_lock(&d->lock);
    if (n == batch_of(cls) && d->n_magazines < MAGAZINES && !p->max_bytes)
        memcpy(d->magazine[d->n_magazines++].block, blocks, n * sizeof *blocks);
    else
        slabs_give(p, d, blocks, n);
    pthread_mutex_unlock(&d->lock);
}

/* ---- thread caches ------------------------------------------------------------------------- */

static void cache_flush(struct event_cache *c)
{
    for (uint32_t cls = 0; cls < CLASSES; cls++) {
        if (c->cls[cls].n)
            depot_give(c->pool, cls, c->cls[cls].block, c->cls[cls].n);
        c->cls[cls].n = 0;
    }
}

/* Thread key destructor: the thread ends, its blocks go back. */
static void cache_end(void *arg)
{
    struct event_cache *c = arg;
    cache_flush(c);
    pthread_mutex_lock(&c->pool->caches_lock);
    *c->link = c->next;
    if (c->next)
        c->next->link = c->link;
    pthread_mutex_unlock(&c->pool->caches_lock);
    free(c);
}

static struct event_cache *cache_new(struct event_pool *p)
{
    struct event_cache *c = malloc(sizeof *c);
    if (!c)
        return NULL;
    c->pool = p;
    for (uint32_t i = 0; i < CLASSES; i++)
        c->cls[i].n = 0;
    if (pthread_setspecific(p->key, c)) {
        free(c);
        return NULL;
    }
    pthread_mutex_lock(&p->caches_lock);
    c->next = p->caches;
    c->link = &p->caches;
    if (c->next)
        c->next->link = &c->next;
    p->caches = c;
    pthread_mutex_unlock(&p->caches_lock);
    return c;
}

static struct event_cache *cache_get(struct event_pool *p)
{
    struct event_cache *c = pthread_getspecific(p->key);
    return c ? c : cache_new(p);
}

static void *block_take(struct event_pool *p, uint32_t cls)
{
    struct event_cache *c = cache_get(p);
    if (!c)
        return NULL;
    struct cache_class *k = &c->cls[cls];
    if (!k->n)
        k->n = depot_take(p, cls, k->block, batch_of(cls));
    if (k->n > 1) { /* the next one's head and the begin of its body were last written by another processor */
        __builtin_prefetch(k->block[k->n - 2], 1);
        __builtin_prefetch((char *)k->block[k->n - 2] + sizeof(odto_event), 1);
    }
    return k->n ? k->block[--k->n] : NULL;
}

static void block_give(struct event_pool *p, uint32_t cls, void *block)
{
    struct event_cache *c = cache_get(p);
    if (!c) { /* no memory for a cache: straight back */
        depot_give(p, cls, &block, 1);
        return;
    }
    struct cache_class *k = &c->cls[cls];
    uint32_t batch = batch_of(cls);
    if (k->n >= 2 * batch) { /* the oldest half goes, the warm half stays */
        depot_give(p, cls, k->block, batch);
        k->n -= batch;
        memmove(k->block, k->block + batch, k->n * sizeof k->block[0]);
    }
    k->block[k->n++] = block;
}

/* ---- pool ---------------------------------------------------------------------------------- */

struct event_pool *event_pool_new(uint64_t max_bytes)
{
    struct event_pool *p = aligned_alloc(128, sizeof *p);
    if (!p)
        return NULL;
    memset(p, 0, sizeof *p);
    p->max_bytes = max_bytes;
    if (pthread_key_create(&p->key, cache_end)) {
        free(p);
        return NULL;
    }
    pthread_mutex_init(&p->caches_lock, NULL);
    for (uint32_t i = 0; i < CLASSES; i++)
        pthread_mutex_init(&p->depot[i].lock, NULL);
    return p;
}

void event_pool_free(struct event_pool *p)
{
    if (!p)
        return;
    pthread_key_delete(p->key);
    for (struct event_cache *c = p->caches, *next; c; c = next) {
        next = c->next;
        cache_flush(c);
        free(c);
    }
    for (uint32_t i = 0; i < CLASSES; i++) {
        while (p->depot[i].n_magazines)
            slabs_give(p, &p->depot[i], p->depot[i].magazine[--p->depot[i].n_magazines].block, batch_of(i));
        while (p->depot[i].slabs) {
            struct slab *s = p->depot[i].slabs;
            slab_unlink(&p->depot[i], s);
            slab_unmap(s);
        }
        pthread_mutex_destroy(&p->depot[i].lock);
    }
    pthread_mutex_destroy(&p->caches_lock);
    free(p);
}

void event_pool_stats(struct event_pool *p, struct event_pool_stats *out)
{
    out->bytes = __atomic_load_n(&p->bytes, __ATOMIC_RELAXED); /* statistics: pair with nothing */
    out->slabs = __atomic_load_n(&p->slabs, __ATOMIC_RELAXED);
    out->larges = __atomic_load_n(&p->larges, __ATOMIC_RELAXED);
}

/* ---- events -------------------------------------------------------------------------------- */

static odto_event *large_make(struct event_pool *p, size_t bytes)
{
    if (!bytes_take(p, bytes))
        return NULL;
    odto_event *e = malloc(bytes);
    if (!e) {
        bytes_give(p, bytes);
        return NULL;
    }
    __atomic_add_fetch(&p->larges, 1, __ATOMIC_RELAXED); /* a statistic */
    return e;
}

odto_event *event_make_space(struct event_pool *p, size_t n, char **body)
{
    if (n > SIZE_MAX / 4) {
        errno = ENOMEM;
        return NULL;
    }
    size_t bytes = sizeof(odto_event) + n + 1;
    uint32_t cls = class_of(bytes);
    odto_event *e = cls == CLASS_LARGE ? large_make(p, bytes) : block_take(p, cls);
    if (!e) {
        errno = ENOMEM;
        return NULL;
    }
    e->magic = EVENT_MAGIC;
    __atomic_store_n(&e->refs, 1, __ATOMIC_RELAXED); /* not shared yet */
    e->flags = 0;
    e->reserved = cls;
    e->owner = p;
    *body = (char *)(e + 1);
    (*body)[n] = 0;
    e->body = odto_slice_of(*body, n);
    return e;
}

int event_validate(odto_event *e)
{
    if (odto_header_parse(e->body, &e->hdr) != 0)
        return -EINVAL;
    e->flags |= ODTO_EVENT_VALID;
    return 0;
}

odto_event *event_make(struct event_pool *p, odto_slice body, uint32_t flags)
{
    char *to;
    odto_event *e = event_make_space(p, body.n, &to);
    if (!e)
        return NULL;
    if (body.n)
        memcpy(to, body.p, body.n);
    e->flags = flags & ~ODTO_EVENT_VALID;
    if ((flags & ODTO_EVENT_VALID) && event_validate(e) != 0) {
        event_unref(e);
        errno = EINVAL;
        return NULL;
    }
    return e;
}

void event_ref_n(odto_event *e, uint32_t n)
{
    if (e->magic != EVENT_MAGIC)
        abort();
    __atomic_add_fetch(&e->refs, n, __ATOMIC_RELAXED); /* the caller has one: pairs with nothing */
}

void event_ref(odto_event *e)
{
    event_ref_n(e, 1);
}

static void event_free(odto_event *e)
{
    struct event_pool *p = e->owner;
    uint32_t cls = e->reserved;
    e->magic = EVENT_DEAD;
    if (cls < CLASSES) {
        block_give(p, cls, e);
        return;
    }
    bytes_give(p, sizeof *e + e->body.n + 1);
    __atomic_sub_fetch(&p->larges, 1, __ATOMIC_RELAXED); /* a statistic */
    free(e);
}

void event_unref(odto_event *e)
{
    if (!e)
        return;
    if (e->magic != EVENT_MAGIC)
        abort();
    /* 1 means nobody else can take or drop one: no atomic operation needed. Acquire pairs with the release of
     * those who dropped theirs before. */
    if (__atomic_load_n(&e->refs, __ATOMIC_ACQUIRE) == 1 ||
        __atomic_sub_fetch(&e->refs, 1, __ATOMIC_ACQ_REL) == 0) /* release: our reads end before the reuse */
        event_free(e);
}

size_t event_cost(const odto_event *e)
{
    return e->reserved < CLASSES ? class_bytes[e->reserved] : sizeof *e + e->body.n + 1;
}
