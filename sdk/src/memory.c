/* memory.c — allocations of the plugin that fail when told. The executable stands before libc in symbol
 * look-up, so these see every allocation of the process, also of a plugin that was opened with dlopen and of
 * libraries it calls; those of the fake host and of the test pass (see internal.h). Freeing is left to libc:
 * what is allocated comes from there (in sanitizer builds from the sanitizer). */
#include "internal.h"

#include <errno.h>
#include <execinfo.h>
#include <link.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#if ODTO_SANITIZER_ID
#define REAL(name) __interceptor_##name
#else
#define REAL(name) __libc_##name
#endif
void *REAL(malloc)(size_t n);
void *REAL(calloc)(size_t n, size_t size);
void *REAL(realloc)(void *p, size_t n);

__thread unsigned odto_test_inside;

/* Counters are statistics of a test that waits for the plugin's threads before it reads them. */
static struct {
    _Atomic size_t count, nth;
    _Atomic bool all_after, failed;
    _Atomic uintptr_t from, to; /* count calls from there only; to 0: from anywhere */
} memory;

void odto_test_fail_malloc(size_t nth, bool all_after)
{
    atomic_store(&memory.count, 0);
    atomic_store(&memory.failed, false);
    atomic_store(&memory.all_after, all_after);
    atomic_store(&memory.nth, nth);
}

size_t odto_test_mallocs(void)
{
    return atomic_load(&memory.count);
}

bool odto_test_malloc_failed(void)
{
    return atomic_load(&memory.failed);
}

static struct { /* libc's code; found before the first allocation is made to fail */
    uintptr_t from, to;
} libc;

static int find_libc(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size;
    const char *file = strrchr(info->dlpi_name, '/');
    if (!file || strncmp(file, "/libc.so", 8) != 0)
        return 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *h = &info->dlpi_phdr[i];
        uintptr_t from = info->dlpi_addr + h->p_vaddr;
        if (h->p_type == PT_LOAD && (h->p_flags & PF_X)) {
            libc.from = from;
            libc.to = from + h->p_memsz;
        }
    }
    *(bool *)arg = true;
    return 1;
}

void odto_test_malloc_range(uintptr_t from, uintptr_t to)
{
    bool found = false;
    void *frames[2];
    backtrace(frames, 2); /* loads the unwinder now */
    dl_iterate_phdr(find_libc, &found);
    atomic_store(&memory.from, from);
    atomic_store(&memory.to, to);
}

/* Does the range allocate, by itself or through libc (strdup, asprintf …)? */
static bool in_range(uintptr_t caller)
{
    uintptr_t from = atomic_load(&memory.from), to = atomic_load(&memory.to);
    if (!to || (caller >= from && caller < to))
        return true;
    if (caller < libc.from || caller >= libc.to)
        return false;
    HOST_SIDE;
    void *frames[16];
    bool seen = false;
    int n = backtrace(frames, 16);
    for (int i = 0; i < n; i++) {
        uintptr_t at = (uintptr_t)frames[i];
        bool inside = at >= libc.from && at < libc.to;
        if (seen && !inside) /* the first outside */
            return at >= from && at < to;
        seen |= inside;
    }
    return false;
}

/* A sanitizer allocates before it can check anything, so what it calls here then must not be checked. */
#if ODTO_SANITIZER_ID
#define UNCHECKED __attribute__((no_sanitize("address", "thread", "undefined")))
#else
#define UNCHECKED
#endif

UNCHECKED static bool refuse(const void *caller)
{
    if (!odto_test_inside || !in_range((uintptr_t)caller))
        return false;
    size_t count = atomic_fetch_add(&memory.count, 1) + 1, nth = atomic_load(&memory.nth);
    if (!nth || count < nth || (count > nth && !atomic_load(&memory.all_after)))
        return false;
    atomic_store(&memory.failed, true);
    errno = ENOMEM;
    return true;
}

#define EXPORTED UNCHECKED __attribute__((visibility("default")))

EXPORTED void *malloc(size_t n)
{
    return refuse(__builtin_return_address(0)) ? NULL : REAL(malloc)(n);
}

EXPORTED void *calloc(size_t n, size_t size)
{
    return refuse(__builtin_return_address(0)) ? NULL : REAL(calloc)(n, size);
}

EXPORTED void *realloc(void *p, size_t n)
{
    return refuse(__builtin_return_address(0)) ? NULL : REAL(realloc)(p, n);
}

EXPORTED void *reallocarray(void *p, size_t n, size_t size)
{
    size_t total;
    if (__builtin_mul_overflow(n, size, &total)) {
        errno = ENOMEM;
        return NULL;
    }
    return refuse(__builtin_return_address(0)) ? NULL : REAL(realloc)(p, total);
}
