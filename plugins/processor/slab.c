/* slab.c — the items. Memory grows by chunks up to what was ever in hand at once and is used again without
 * malloc; the buffers of idle items are given back beyond a few hundred. Any thread; one lock per batch. */
#include "processor.h"
#include <stdlib.h>
#include <string.h>

#define CHUNK      64
#define WARM_ITEMS 512 /* free items that may keep their buffers */

typedef struct chunk {
    struct chunk *next;
    item items[CHUNK];
} chunk;

static item *of_link(node *l)
{
    return (item *)(void *)((char *)l - offsetof(item, link));
}

static bool grow(processor *p)
{
    slab *s = &p->slab;
    chunk *c = calloc(1, sizeof *c);
    if (!c)
        return false;
    c->next = s->chunks;
    s->chunks = c;
    for (size_t i = 0; i < CHUNK; i++) {
        item *it = &c->items[i];
        it->magic = ITEM_MAGIC;
        it->p = p;
        list_init(&it->extending);
        item_idle(it);
        list_append(&s->free, &it->link);
    }
    s->n_free += CHUNK;
    s->n_all += CHUNK;
    return true;
}

size_t slab_take(processor *p, item **out, size_t n)
{
    slab *s = &p->slab;
    size_t got = 0;
    pthread_mutex_lock(&s->lock);
    for (; got < n && (s->n_free || grow(p)); got++) {
        node *l = s->free.prev; /* the one used last: its memory is warm */
        list_remove(l);
        s->n_free--;
        out[got] = of_link(l);
    }
    pthread_mutex_unlock(&s->lock);
    return got;
}

/* Ready for the next job: everything but the buffers' memory is forgotten. */
static void wipe(item *it, bool keep_buffers)
{
    odto_buf *bufs[] = {&it->text, &it->said, &it->body, &it->history};
    odto_buf kept[4];
    for (size_t i = 0; i < 4; i++) {
        if (!keep_buffers || bufs[i]->cap > KEEP_BUFFER)
            odto_buf_free(bufs[i]);
        bufs[i]->failed = false;
        odto_buf_clear(bufs[i]);
        kept[i] = *bufs[i];
    }
    processor *p = it->p;
    memset(it, 0, sizeof *it);
    it->magic = ITEM_MAGIC;
    it->p = p;
    for (size_t i = 0; i < 4; i++)
        *bufs[i] = kept[i];
    list_init(&it->link);
    list_init(&it->extending);
    item_idle(it);
}

void slab_give(processor *p, item *const *items, size_t n)
{
    slab *s = &p->slab;
    /* a stale count only keeps a few buffers more or less */
    bool keep = atomic_load_explicit(&s->n_free, memory_order_relaxed) < WARM_ITEMS;
    for (size_t i = 0; i < n; i++)
        wipe(items[i], keep);
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < n; i++)
        list_append(&s->free, &items[i]->link);
    s->n_free += n;
    pthread_mutex_unlock(&s->lock);
}

void slab_free(slab *s)
{
    while (s->chunks) {
        chunk *c = s->chunks;
        s->chunks = c->next;
        for (size_t i = 0; i < CHUNK; i++) {
            odto_buf_free(&c->items[i].text);
            odto_buf_free(&c->items[i].said);
            odto_buf_free(&c->items[i].body);
            odto_buf_free(&c->items[i].history);
        }
        free(c);
    }
}
