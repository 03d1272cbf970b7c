/* threads.c — threads, timers and clocks of the fake host, and its descriptor store. Timers run on the test's
 * thread, when it moves the clock. */
#include "internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- threads --------------------------------------------------------------------------------- */

static void *thread_main(void *arg)
{
    odto_thread *th = arg;
    PLUGIN_SIDE;
    th->fn(th->arg);
    return NULL;
}

static int thread_start(odto_host *h, const char *name, void (*fn)(void *arg), void *arg, odto_thread **out)
{
    HOST_SIDE;
    (void)name;
    odto_test *t = odto_test_of(h);
    if (odto_test_refused(t, "thread_start"))
        return -EAGAIN;
    odto_thread *th = calloc(1, sizeof *th);
    if (!th)
        return -ENOMEM;
    th->fn = fn;
    th->arg = arg;
    pthread_mutex_lock(&t->lock);
    th->next = t->threads;
    t->threads = th;
    t->n_threads++;
    pthread_mutex_unlock(&t->lock);
    if (out)
        *out = th;
    int r = pthread_create(&th->id, NULL, thread_main, th);
    if (r)
        odto_test_broken("no thread: %s", strerror(r));
    return 0;
}

static void thread_join(odto_host *h, odto_thread *th)
{
    HOST_SIDE;
    odto_test *t = odto_test_of(h);
    if (th->joined)
        return;
    pthread_join(th->id, NULL);
    th->joined = true;
    pthread_mutex_lock(&t->lock);
    t->n_threads--;
    pthread_mutex_unlock(&t->lock);
}

void odto_test_threads_join(odto_test *t)
{
    while (t->threads) {
        odto_thread *th = t->threads;
        t->threads = th->next;
        thread_join(&t->host, th);
        free(th);
    }
}

/* ---- clocks and timers ------------------------------------------------------------------------ */

int64_t odto_test_now(odto_test *t)
{
    pthread_mutex_lock(&t->lock);
    int64_t now = t->stands ? t->clock_ns : odto_now_ns() + t->clock_offset;
    pthread_mutex_unlock(&t->lock);
    return now;
}

static int64_t host_now(odto_host *h)
{
    return odto_test_now(odto_test_of(h));
}

static int64_t host_unix_ms(odto_host *h)
{
    odto_test *t = odto_test_of(h);
    return t->unix_base_ms + (odto_test_now(t) - t->mono_base) / ODTO_MS;
}

static odto_timer *timer_new(odto_host *h, void (*fn)(void *arg), void *arg)
{
    HOST_SIDE;
    odto_test *t = odto_test_of(h);
    odto_timer *timer = odto_test_refused(t, "timer_new") ? NULL : calloc(1, sizeof *timer);
    if (!timer)
        return NULL;
    *timer = (odto_timer){NULL, t, fn, arg, -1};
    pthread_mutex_lock(&t->lock);
    timer->next = t->timers;
    t->timers = timer;
    t->n_timers++;
    pthread_mutex_unlock(&t->lock);
    return timer;
}

static void timer_arm(odto_timer *timer, int64_t delay_ns)
{
    int64_t due = delay_ns < 0 ? -1 : odto_test_now(timer->t) + delay_ns;
    pthread_mutex_lock(&timer->t->lock);
    timer->due = due;
    pthread_mutex_unlock(&timer->t->lock);
}

static void timer_free(odto_timer *timer)
{
    HOST_SIDE;
    odto_test *t = timer->t;
    pthread_mutex_lock(&t->lock);
    while (t->firing == timer && !pthread_equal(t->firing_thread, pthread_self()))
        pthread_cond_wait(&t->fired, &t->lock);
    for (odto_timer **at = &t->timers; *at; at = &(*at)->next)
        if (*at == timer) {
            *at = timer->next;
            t->n_timers--;
            break;
        }
    pthread_mutex_unlock(&t->lock);
    free(timer);
}

/* Under the lock: put the clock to ns, if that is ahead. */
static void clock_to(odto_test *t, int64_t ns)
{
    if (t->stands)
        t->clock_ns = ns > t->clock_ns ? ns : t->clock_ns;
    else if (ns > odto_now_ns() + t->clock_offset)
        t->clock_offset = ns - odto_now_ns();
}

/* Call the earliest timer that is due until then. */
static bool fire_until(odto_test *t, int64_t until)
{
    pthread_mutex_lock(&t->lock);
    odto_timer *next = NULL;
    for (odto_timer *timer = t->timers; timer; timer = timer->next)
        if (timer->due >= 0 && timer->due <= until && (!next || timer->due < next->due))
            next = timer;
    if (next) {
        clock_to(t, next->due);
        next->due = -1;
        t->firing = next;
        t->firing_thread = pthread_self();
    }
    void (*fn)(void *) = next ? next->fn : NULL;
    void *arg = next ? next->arg : NULL;
    pthread_mutex_unlock(&t->lock);
    if (!fn)
        return false;
    {
        PLUGIN_SIDE;
        fn(arg);
    }
    pthread_mutex_lock(&t->lock);
    t->firing = NULL;
    pthread_cond_broadcast(&t->fired);
    pthread_mutex_unlock(&t->lock);
    return true;
}

void odto_test_advance(odto_test *t, int64_t ns)
{
    int64_t until = odto_test_now(t) + ns;
    while (fire_until(t, until))
        ;
    pthread_mutex_lock(&t->lock);
    clock_to(t, until);
    pthread_mutex_unlock(&t->lock);
    odto_test_watch_poll(t);
}

bool odto_test_fire(odto_test *t)
{
    return fire_until(t, INT64_MAX);
}

void odto_test_clock_runs(odto_test *t)
{
    pthread_mutex_lock(&t->lock);
    if (t->stands)
        t->clock_offset = t->clock_ns - odto_now_ns();
    t->stands = false;
    pthread_mutex_unlock(&t->lock);
}

/* ---- descriptors ------------------------------------------------------------------------------ */

static int fd_put(odto_host *h, const char *name, int fd, odto_slice note)
{
    HOST_SIDE;
    odto_test *t = odto_test_of(h);
    struct odto_test_fd *f = odto_test_refused(t, "fd_put") ? NULL : calloc(1, sizeof *f);
    if (!f)
        return -ENOMEM;
    snprintf(f->name, sizeof f->name, "%s", name);
    f->fd = fd;
    odto_buf_put(&f->note, note.p, note.n);
    pthread_mutex_lock(&t->lock);
    f->next = t->fds;
    t->fds = f;
    pthread_mutex_unlock(&t->lock);
    return 0;
}

static int fd_take(odto_host *h, const char *name, odto_buf *note)
{
    HOST_SIDE;
    odto_test *t = odto_test_of(h);
    int fd = -ENOENT;
    pthread_mutex_lock(&t->lock);
    for (struct odto_test_fd **at = &t->fds; *at; at = &(*at)->next) {
        struct odto_test_fd *f = *at;
        if (strcmp(f->name, name) != 0)
            continue;
        *at = f->next;
        fd = f->fd;
        if (note)
            odto_buf_put(note, f->note.p, f->note.n);
        odto_buf_free(&f->note);
        free(f);
        break;
    }
    pthread_mutex_unlock(&t->lock);
    return fd;
}

static size_t fd_names(odto_host *h, char (*names)[64], size_t max)
{
    odto_test *t = odto_test_of(h);
    size_t n = 0;
    pthread_mutex_lock(&t->lock);
    for (struct odto_test_fd *f = t->fds; f && n < max; f = f->next)
        snprintf(names[n++], 64, "%s", f->name);
    pthread_mutex_unlock(&t->lock);
    return n;
}

size_t odto_test_fds(odto_test *t)
{
    char names[64][64];
    return fd_names(&t->host, names, 64);
}

void odto_test_threads_setup(odto_test *t)
{
    t->stands = true;
    t->clock_ns = t->mono_base = odto_now_ns();
    t->unix_base_ms = odto_unix_ms();
    t->api.thread_start = thread_start;
    t->api.thread_join = thread_join;
    t->api.now = host_now;
    t->api.unix_ms = host_unix_ms;
    t->api.timer_new = timer_new;
    t->api.timer_set = timer_arm;
    t->api.timer_free = timer_free;
    t->api.fd_put = fd_put;
    t->api.fd_take = fd_take;
    t->api.fd_names = fd_names;
}

void odto_test_threads_free(odto_test *t)
{
    while (t->timers)
        timer_free(t->timers);
    while (t->fds) {
        odto_buf note = {0};
        int fd = fd_take(&t->host, t->fds->name, &note);
        odto_buf_free(&note);
        close(fd);
    }
}
