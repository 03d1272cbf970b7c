/* presence.c — see presence.h. The list is under list_lock, which is held while threads are asked: so none of
 * them ends meanwhile. An answer is written by the asked thread in its handler and read after its sem_post.
 */
#include "presence.h"

#include <odto/base.h>
#include <odto/plugin.h>

#include <errno.h>
#include <execinfo.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#define FRAMES 64
#define SIGNAL (SIGRTMIN + 3)
#define PAUSE  (50 * 1000L) /* ns between two questions */

struct present {
    struct present *next;
    pthread_t thread;
    const void *owner;
    void *outermost; /* where every stack of this thread begins: one that ends elsewhere was not read whole */
    bool inside;     /* its last answer */
};

#if ODTO_SANITIZER_ID

void presence_note(const void *owner)
{
    (void)owner;
}

bool presence_clear(uintptr_t from, uintptr_t to, bool (*may)(const void *owner, void *arg), void *arg,
                    int64_t deadline_ns)
{
    (void)from, (void)to, (void)may, (void)arg, (void)deadline_ns;
    return true;
}

#else

static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER; /* all below */
static struct present *list;
static uintptr_t asked_from, asked_to; /* written before the signal, read in its handler */
static sem_t answers;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t at_end;
static __thread struct present *mine;

static void on_ask(int sig)
{
    (void)sig;
    int saved = errno;
    struct present *p = mine;
    if (p) {
        void *frames[FRAMES];
        int n = backtrace(frames, FRAMES);
        bool inside = n <= 0 || n == FRAMES || frames[n - 1] != p->outermost;
        for (int i = 0; i < n && !inside; i++)
            inside = (uintptr_t)frames[i] >= asked_from && (uintptr_t)frames[i] < asked_to;
        p->inside = inside;
    }
    sem_post(&answers);
    errno = saved;
}

static void leave(void *arg)
{
    pthread_mutex_lock(&list_lock);
    for (struct present **at = &list; *at; at = &(*at)->next)
        if (*at == arg) {
            *at = ((struct present *)arg)->next;
            break;
        }
    pthread_mutex_unlock(&list_lock);
    mine = NULL;
    free(arg);
}

static void set_up(void)
{
    struct sigaction sa = {.sa_handler = on_ask, .sa_flags = SA_RESTART};
    sigemptyset(&sa.sa_mask);
    sigaction(SIGNAL, &sa, NULL);
    sem_init(&answers, 0, 0);
    pthread_key_create(&at_end, leave);
}

void presence_note(const void *owner)
{
    if (mine)
        return;
    pthread_once(&once, set_up);
    struct present *p = calloc(1, sizeof *p);
    void *frames[FRAMES];
    int n = backtrace(frames, FRAMES); /* also loads the unwinder, before a handler needs it */
    if (!p || n <= 0)
        return; /* without memory the thread is not asked */
    p->thread = pthread_self();
    p->owner = owner;
    p->outermost = frames[n - 1];
    pthread_setspecific(at_end, p);
    mine = p;
    pthread_mutex_lock(&list_lock);
    p->next = list;
    list = p;
    pthread_mutex_unlock(&list_lock);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGNAL);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

/* One question to all; how many are inside or did not answer in time. Under list_lock. */
static size_t ask(bool (*may)(const void *owner, void *arg), void *arg, const struct timespec *until)
{
    size_t asked = 0, inside = 0;
    for (struct present *p = list; p; p = p->next) {
        p->inside = false;
        if (p != mine && may(p->owner, arg)) {
            p->inside = true;
            asked += pthread_kill(p->thread, SIGNAL) == 0;
        }
    }
    for (; asked; asked--)
        while (sem_clockwait(&answers, CLOCK_MONOTONIC, until) != 0)
            if (errno != EINTR)
                return asked; /* the next question takes the late answers for its own, on the safe side */
    for (struct present *p = list; p; p = p->next)
        inside += p->inside;
    return inside;
}

bool presence_clear(uintptr_t from, uintptr_t to, bool (*may)(const void *owner, void *arg), void *arg,
                    int64_t deadline_ns)
{
    pthread_once(&once, set_up);
    struct timespec until = {deadline_ns / ODTO_SEC, deadline_ns % ODTO_SEC};
    for (;;) {
        pthread_mutex_lock(&list_lock);
        asked_from = from;
        asked_to = to;
        size_t inside = ask(may, arg, &until);
        pthread_mutex_unlock(&list_lock);
        if (!inside)
            return true;
        if (odto_now_ns() >= deadline_ns)
            return false;
        nanosleep(&(struct timespec){0, PAUSE}, NULL); /* a callback is microseconds */
    }
}

#endif
