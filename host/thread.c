/* thread.c — see thread.h. */
#include "thread.h"

#include <odto/base.h>

#include <errno.h>
#include <signal.h>
#include <time.h>

#define STACK_SIZE (512 * 1024)

int thread_spawn(pthread_t *id, void *(*fn)(void *), void *arg, const char *name)
{
    /* SIGURG: the watchdog asks for the stack */
    static const int taken[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGURG};
    sigset_t all, old;
    sigfillset(&all);
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++)
        sigdelset(&all, taken[i]);
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_SIZE);
    pthread_sigmask(SIG_BLOCK, &all, &old);
    int r = pthread_create(id, &attr, fn, arg);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    if (r == 0)
        pthread_setname_np(*id, name);
    return -r;
}

int thread_join_until(pthread_t id, int64_t deadline_ns)
{
    struct timespec at;
    int64_t left = deadline_ns - odto_now_ns();
    /* pthread_clockjoin_np would take the monotonic clock; tsan does not know it */
    clock_gettime(CLOCK_REALTIME, &at);
    int64_t ns = at.tv_sec * ODTO_SEC + at.tv_nsec + (left > 0 ? left : 0);
    at = (struct timespec){ns / ODTO_SEC, ns % ODTO_SEC};
    return pthread_timedjoin_np(id, NULL, &at) ? -ETIMEDOUT : 0;
}
