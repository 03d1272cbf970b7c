/* window.c — see window.h. */
#include "window.h"

#include <errno.h>
#include <stdlib.h>

int window_init(struct window *w, uint32_t size)
{
    *w = (struct window){.size = 16, .base = 1, .next = 1};
    while (w->size < size)
        w->size *= 2;
    w->slots = calloc(w->size, sizeof w->slots[0]);
    return w->slots ? 0 : -ENOMEM;
}

void window_free(struct window *w)
{
    free(w->slots);
    w->slots = NULL;
}

void window_reset(struct window *w)
{
    w->base = w->next = 1;
    w->open = 0;
}

bool window_full(const struct window *w)
{
    return w->next - w->base >= w->size;
}

static struct window_slot *slot(struct window *w, uint64_t tag)
{
    return &w->slots[tag & (w->size - 1)];
}

uint64_t window_push(struct window *w, void *item)
{
    *slot(w, w->next) = (struct window_slot){.item = item, .open = true};
    w->open++;
    return w->next++;
}

static void advance(struct window *w)
{
    while (w->base < w->next && !slot(w, w->base)->open)
        w->base++;
}

static void close_slot(struct window *w, struct window_slot *s)
{
    s->open = false;
    w->open--;
}

uint32_t window_confirm(struct window *w, uint64_t tag, bool multiple,
                        void (*fn)(void *arg, void *item, bool returned), void *arg)
{
    uint64_t last = tag;
    uint32_t n = 0;
    if (multiple && (tag == 0 || tag >= w->next)) /* 0: all so far (AMQP 0-9-1, basic.ack) */
        last = w->next - 1;
    for (uint64_t t = multiple ? w->base : tag; t <= last; t++) {
        struct window_slot *s = slot(w, t);
        if (t < w->base || t >= w->next || !s->open)
            continue;
        close_slot(w, s);
        n++;
        if (s->item)
            fn(arg, s->item, s->returned);
    }
    advance(w);
    return n;
}

bool window_returned(struct window *w, bool (*match)(void *arg, const void *item), void *arg)
{
    for (uint64_t t = w->base; t < w->next; t++) {
        struct window_slot *s = slot(w, t);
        if (s->open && s->item && !s->returned && match(arg, s->item)) {
            s->returned = true;
            return true;
        }
    }
    return false;
}

void *window_oldest(struct window *w)
{
    for (uint64_t t = w->base; t < w->next; t++)
        if (slot(w, t)->open && slot(w, t)->item)
            return slot(w, t)->item;
    return NULL;
}

bool window_take(struct window *w, void **item)
{
    advance(w);
    if (w->base == w->next)
        return false;
    struct window_slot *s = slot(w, w->base);
    close_slot(w, s);
    *item = s->item;
    w->base++;
    return true;
}

void window_give_up(struct window *w, void (*fn)(void *arg, void *item), void *arg)
{
    for (uint64_t t = w->base; t < w->next; t++) {
        struct window_slot *s = slot(w, t);
        void *item = s->open ? s->item : NULL;
        s->item = NULL;
        if (item)
            fn(arg, item);
    }
}
