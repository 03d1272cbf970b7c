/* isolate_stack.c — where a thread of a worker is. The thread itself puts its return addresses into the
 * shared memory, in a signal's handler; the host finds out which file each belongs to. That works whatever
 * the worker's other threads are doing, and needs nothing of it but that the signal arrives. */
#include "host/isolate_priv.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

void proxy_stack_ask(struct proxy *p, int tid)
{
    atomic_store(&p->shared->stack_n, -1);
    /* the worker is not reaped as long as its link thread is here, so the number is still its own */
    if (syscall(SYS_tgkill, p->pid, tid, SIGURG))
        atomic_store(&p->shared->stack_n, 0);
}

struct place {
    char file[64]; /* last part of the name; "": unknown */
    uint64_t offset;
};

/* One line of /proc/PID/maps. base: where the file began, which the lines of one file share. */
static void place_in(const char *line, uint64_t *base, const uint64_t *frames, struct place *places, size_t n)
{
    unsigned long long begin, end, offset;
    char path[256] = "";
    if (sscanf(line, "%llx-%llx %*s %llx %*s %*s %255[^\n]", &begin, &end, &offset, path) < 3)
        return;
    const char *name = strrchr(path, '/');
    name = name ? name + 1 : path;
    if (!offset)
        *base = begin;
    for (size_t i = 0; i < n && *name; i++) {
        if (frames[i] < begin || frames[i] >= end)
            continue;
        snprintf(places[i].file, sizeof places[i].file, "%s", name);
        places[i].offset = frames[i] - *base;
    }
}

static void find_places(pid_t pid, const uint64_t *frames, struct place *places, size_t n)
{
    char path[40], line[512];
    uint64_t base = 0;
    snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f))
        place_in(line, &base, frames, places, n);
    if (f)
        fclose(f);
}

void proxy_stack_text(struct proxy *p, char *out, size_t size)
{
    uint64_t frames[SHARED_FRAMES];
    struct place places[SHARED_FRAMES] = {0};
    int n = atomic_load(&p->shared->stack_n);
    size_t used = 0;
    if (n < 0 || n > SHARED_FRAMES)
        n = 0;
    for (int i = 0; i < n; i++)
        frames[i] = atomic_load_explicit(&p->shared->stack[i], memory_order_relaxed);
    if (n)
        find_places(p->pid, frames, places, (size_t)n);
    out[0] = '\0';
    for (int i = 2; i < n && used < size; i++) { /* without the handler and the trampoline */
        if (places[i].file[0])
            used += (size_t)snprintf(out + used, size - used, "%s%s+0x%llx", used ? " < " : "",
                                     places[i].file, (unsigned long long)places[i].offset);
    }
    if (!out[0])
        snprintf(out, size, "not to be had");
}
