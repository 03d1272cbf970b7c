/* watchdog.c — see watchdog.h. The list of slots is under list_lock; a slot's fields are written by its
 * thread and read by the main thread, all atomic. The stack is taken by the stuck thread itself, in a signal
 * handler, into its slot. */
#include "host/watchdog.h"
#include "host/core.h"
#include "host/presence.h"

#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FRAMES 24
#define PERIOD ODTO_SEC

struct slot {
    struct slot *next;
    pthread_t thread;
    _Atomic(struct instance *) in;
    _Atomic int64_t since; /* monotonic ns of enter, 0 outside */
    int64_t reported;      /* `since` that was reported already; main thread */
    int64_t cpu_before;    /* thread CPU time at the last look; main thread */
    void *frames[FRAMES];
    _Atomic int n_frames; /* -1: asked for */
};

static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER; /* slots */
static struct slot *slots;
static __thread struct slot *mine;

static struct slot *slot_new(void)
{
    struct slot *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->thread = pthread_self();
    pthread_mutex_lock(&list_lock);
    s->next = slots;
    slots = s;
    pthread_mutex_unlock(&list_lock);
    return s;
}

void watch_enter(struct instance *in)
{
    instance_set_current(in);
    presence_note(NULL); /* a loop of the HTTP server; the plugins' own threads are noted already */
    if (!mine && !(mine = slot_new()))
        return;
    atomic_store_explicit(&mine->in, in, memory_order_relaxed);
    atomic_store_explicit(&mine->since, odto_now_ns(),
                          memory_order_release); /* pairs with acquire in look() */
}

void watch_leave(void)
{
    if (mine)
        atomic_store_explicit(&mine->since, 0, memory_order_release); /* pairs with acquire in look() */
}

void watch_thread_end(void)
{
    if (!mine)
        return;
    pthread_mutex_lock(&list_lock);
    for (struct slot **at = &slots; *at; at = &(*at)->next)
        if (*at == mine) {
            *at = mine->next;
            break;
        }
    pthread_mutex_unlock(&list_lock);
    free(mine);
    mine = NULL;
}

static void on_ask(int sig)
{
    (void)sig;
    int saved = errno;
    if (mine)
        atomic_store(&mine->n_frames, backtrace(mine->frames, FRAMES));
    errno = saved;
}

void watch_install(void)
{
    void *frames[2];
    backtrace(frames, 2); /* loads the unwinder now, not in the handler */
    struct sigaction sa = {.sa_handler = on_ask, .sa_flags = SA_RESTART};
    sigemptyset(&sa.sa_mask);
    sigaction(SIGURG, &sa, NULL);
}

static int64_t cpu_time(pthread_t thread)
{
    clockid_t clock;
    struct timespec ts;
    if (pthread_getcpuclockid(thread, &clock) != 0 || clock_gettime(clock, &ts) != 0)
        return 0;
    return ts.tv_sec * ODTO_SEC + ts.tv_nsec;
}

/* Ask the thread for its stack and wait a moment; it may be in a state that takes no signal. */
static void stack_text(struct slot *s, char *out, size_t size)
{
    atomic_store(&s->n_frames, -1);
    if (pthread_kill(s->thread, SIGURG) == 0)
        for (int i = 0; i < 100 && atomic_load(&s->n_frames) < 0; i++)
            nanosleep(&(struct timespec){0, 1000000}, NULL);
    int n = atomic_load(&s->n_frames);
    out[0] = '\0';
    for (int i = 2; i < n; i++) { /* without the handler and the trampoline */
        Dl_info info;
        size_t used = strlen(out);
        if (dladdr(s->frames[i], &info) && info.dli_fname) {
            const char *file = strrchr(info.dli_fname, '/');
            snprintf(out + used, size - used, "%s%s+0x%zx%s%s", used ? " < " : "",
                     file ? file + 1 : info.dli_fname,
                     (size_t)((char *)s->frames[i] - (char *)info.dli_fbase), info.dli_sname ? " " : "",
                     info.dli_sname ? info.dli_sname : "");
        }
    }
    if (!out[0])
        snprintf(out, size, "not to be had");
}

static void report(struct core *core, struct slot *s, struct instance *in, int64_t age)
{
    char stack[900];
    int64_t cpu = cpu_time(s->thread) - s->cpu_before;
    stack_text(s, stack, sizeof stack);
    log_write(core->log, ODTO_WARN, NULL, "%s: a call has not returned for %.1f s; the thread %s; stack: %s",
              in->name, (double)age / 1e9, cpu > PERIOD / 2 ? "spins" : "is blocked", stack);
}

struct stuck {
    struct unit *unit;
    unsigned generation;
    int64_t age;
};

/* True when the instance is over its hard limit. */
static bool look(struct core *core, struct slot *s, int64_t now, struct stuck *out)
{
    int64_t since =
        atomic_load_explicit(&s->since, memory_order_acquire); /* pairs with release in enter/leave */
    struct instance *in = atomic_load_explicit(&s->in, memory_order_relaxed);
    if (!since || !in || in->core != core || in->abandoned)
        return false;
    int64_t soft = unit_int(in->unit, "watchdog_soft"), hard = unit_int(in->unit, "watchdog_hard"),
            age = now - since;
    if (soft && age > soft && s->reported != since) {
        s->reported = since;
        report(core, s, in, age);
    }
    s->cpu_before = cpu_time(s->thread);
    if (!hard || age <= hard)
        return false;
    *out = (struct stuck){in->unit, in->generation, age};
    return true;
}

int64_t watch_tick(struct core *core)
{
    struct stuck stuck = {0};
    bool found = false;
    int64_t now = odto_now_ns();
    if (now - core->watched_at < PERIOD)
        return PERIOD - (now - core->watched_at);
    core->watched_at = now;
    pthread_mutex_lock(&list_lock);
    for (struct slot *s = slots; s && !found; s = s->next)
        found = look(core, s, now, &stuck);
    pthread_mutex_unlock(&list_lock);
    if (found && stuck.unit->current && stuck.unit->current->generation == stuck.generation) {
        odto_error err = {0};
        odto_fail(&err, -ETIMEDOUT, "%s: a call has not returned for %.1f s, over watchdog_hard",
                  stuck.unit->name, (double)stuck.age / 1e9);
        unit_failed(stuck.unit, &err, false);
    }
    return PERIOD;
}
