/* window.h — what was published and not yet confirmed: a ring of delivery tags.
 *
 * Confirms come out of order, and one of them may confirm all up to a tag; counting them would count some
 * twice. So each tag has its own place and state. Tags of a channel begin at 1 and have no gap. Not
 * thread-safe: the publisher thread's. */
#ifndef RABBITMQ_WINDOW_H
#define RABBITMQ_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

struct window_slot {
    void *item;
    bool open, returned;
};

struct window {
    struct window_slot *slots;
    uint32_t size; /* a power of two */
    uint32_t open; /* tags without a confirm */
    uint64_t base, next;
};

/* At least size tags under way at once. 0 or -ENOMEM. */
int window_init(struct window *w, uint32_t size);
void window_free(struct window *w);
/* A new channel: tags begin again. Everything must have been taken out. */
void window_reset(struct window *w);
bool window_full(const struct window *w);
/* The tag the next message on the channel has; the window must not be full. item may be NULL. */
uint64_t window_push(struct window *w, void *item);
/* The broker confirmed (or refused) tag, or all up to tag: fn for each that was open, in order; returned: a
 * basic.return came before. Tags that are not open are ignored. How many were. */
uint32_t window_confirm(struct window *w, uint64_t tag, bool multiple,
                        void (*fn)(void *arg, void *item, bool returned), void *arg);
/* Mark the oldest open, not yet returned item that match() knows. False: none. */
bool window_returned(struct window *w, bool (*match)(void *arg, const void *item), void *arg);
/* The oldest open item, or NULL; it stays. */
void *window_oldest(struct window *w);
/* Take the oldest open one out, whatever became of it; false when none is left. */
bool window_take(struct window *w, void **item);
/* Exchange every open item for NULL, calling fn with it: the tag stays under way, the item is given up. */
void window_give_up(struct window *w, void (*fn)(void *arg, void *item), void *arg);

#endif
