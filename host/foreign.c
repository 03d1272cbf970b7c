/* foreign.c — see foreign.h. Slots are a fixed table, claimed and released by the main thread; counts are
 * atomic. */
#include "host/foreign.h"

#include <odto/plugin.h>

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

#define SLOTS 1024

struct foreign_image {
    _Atomic uintptr_t from, to; /* 0: free */
    _Atomic unsigned threads, keys;
};

static struct foreign_image slots[SLOTS];

struct search {
    uintptr_t address, from, to;
};

static int find_range(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size;
    struct search *s = arg;
    uintptr_t low = UINTPTR_MAX, high = 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        if (info->dlpi_phdr[i].p_type != PT_LOAD)
            continue;
        uintptr_t from = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr, to = from + info->dlpi_phdr[i].p_memsz;
        low = from < low ? from : low;
        high = to > high ? to : high;
    }
    if (s->address < low || s->address >= high)
        return 0;
    s->from = low;
    s->to = high;
    return 1;
}

struct foreign_image *foreign_register(const void *address_inside)
{
    struct search s = {.address = (uintptr_t)address_inside};
    if (!dl_iterate_phdr(find_range, &s))
        return NULL;
    for (size_t i = 0; i < SLOTS; i++)
        if (!atomic_load(&slots[i].from)) {
            atomic_store(&slots[i].threads, 0);
            atomic_store(&slots[i].keys, 0);
            atomic_store(&slots[i].to, s.to);
            atomic_store(&slots[i].from, s.from);
            return &slots[i];
        }
    return NULL;
}

void foreign_range(const struct foreign_image *f, uintptr_t *from, uintptr_t *to)
{
    *from = atomic_load(&f->from);
    *to = atomic_load(&f->to);
}

unsigned foreign_threads(const struct foreign_image *f)
{
    return atomic_load(&f->threads);
}

unsigned foreign_keys(const struct foreign_image *f)
{
    return atomic_load(&f->keys);
}

void foreign_release(struct foreign_image *f)
{
    atomic_store(&f->from, 0);
}

#if !ODTO_SANITIZER_ID /* those interpose the same calls, and such builds never unmap an image */

static struct foreign_image *image_of(uintptr_t address)
{
    for (size_t i = 0; i < SLOTS; i++) {
        uintptr_t from =
            atomic_load_explicit(&slots[i].from, memory_order_acquire); /* pairs with the store in register */
        if (from && address >= from && address < atomic_load(&slots[i].to))
            return &slots[i];
    }
    return NULL;
}

struct trampoline {
    void *(*fn)(void *);
    void *arg;
    struct foreign_image *image;
};

static void ended(void *arg)
{
    atomic_fetch_sub(&((struct foreign_image *)arg)->threads, 1);
}

static void *run(void *arg)
{
    struct trampoline t = *(struct trampoline *)arg;
    void *result;
    free(arg);
    pthread_cleanup_push(ended, t.image); /* also for pthread_exit */
    result = t.fn(t.arg);
    pthread_cleanup_pop(1);
    return result;
}

typedef int create_fn(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
typedef int key_fn(pthread_key_t *, void (*)(void *));

__attribute__((visibility("default"))) int pthread_create(pthread_t *id, const pthread_attr_t *attr,
                                                          void *(*fn)(void *), void *arg)
{
    static _Atomic(create_fn *) next;
    create_fn *real = atomic_load(&next);
    if (!real) {
        real = (create_fn *)dlsym(RTLD_NEXT, "pthread_create");
        atomic_store(&next, real);
    }
    struct foreign_image *image = image_of((uintptr_t)fn);
    struct trampoline *t = image ? malloc(sizeof *t) : NULL;
    if (!t)
        return real(id, attr, fn, arg);
    *t = (struct trampoline){fn, arg, image};
    atomic_fetch_add(&image->threads, 1);
    int r = real(id, attr, run, t);
    if (r != 0) {
        atomic_fetch_sub(&image->threads, 1);
        free(t);
    }
    return r;
}

__attribute__((visibility("default"))) int pthread_key_create(pthread_key_t *key, void (*destructor)(void *))
{
    static _Atomic(key_fn *) next;
    key_fn *real = atomic_load(&next);
    if (!real) {
        real = (key_fn *)dlsym(RTLD_NEXT, "pthread_key_create");
        atomic_store(&next, real);
    }
    struct foreign_image *image = destructor ? image_of((uintptr_t)destructor) : NULL;
    if (image)
        atomic_fetch_add(&image->keys,
                         1); /* never taken back: a deleted key may still be in a thread's hands */
    return real(key, destructor);
}

#endif
