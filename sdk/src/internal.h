/* internal.h — what the files of the test library share. Not installed.
 *
 * Which side runs: allocations fail only in code of the plugin. `odto_test_inside` is not 0 while the thread
 * is in it; the fake host's functions open with HOST_SIDE, calls into the plugin stand in PLUGIN_SIDE. */
#ifndef SDK_INTERNAL_H
#define SDK_INTERNAL_H

#include <odto/test.h>

extern __thread unsigned odto_test_inside;

static inline unsigned side_change(unsigned inside)
{
    unsigned was = odto_test_inside;
    odto_test_inside = inside;
    return was;
}
static inline void side_back(const unsigned *was)
{
    odto_test_inside = *was;
}
#define SIDE_NAME(line) side_was_##line
#define SIDE_AT(inside, line) \
    const unsigned SIDE_NAME(line) __attribute__((cleanup(side_back), unused)) = side_change(inside)
#define SIDE(inside, line) SIDE_AT(inside, line)
#define HOST_SIDE          SIDE(0, __LINE__)
#define PLUGIN_SIDE        SIDE(1, __LINE__)

struct odto_timer {
    odto_timer *next;
    odto_test *t;
    void (*fn)(void *arg);
    void *arg;
    int64_t due; /* < 0: not armed */
};
struct odto_thread {
    odto_thread *next;
    pthread_t id;
    void (*fn)(void *arg);
    void *arg;
    bool joined;
};
struct odto_watch {
    odto_watch *next;
    odto_test *t;
    int fd;
    void (*ready)(void *arg);
    void *arg;
};
struct odto_test_fd {
    struct odto_test_fd *next;
    char name[64];
    int fd;
    odto_buf note;
};

/* The test can't go on: say why and abort. */
void odto_test_broken(const char *fmt, ...) ODTO_PRINTF(1, 2) __attribute__((noreturn));
/* Is this call of a host function the one to fail? */
bool odto_test_refused(odto_test *t, const char *name);
odto_test *odto_test_of(const odto_host *h);

/* events.c, http.c, config.c, threads.c, watch.c */
void odto_test_events_setup(odto_test *t);
void odto_test_events_free(odto_test *t);
void odto_test_http_setup(odto_test *t);
void odto_test_http_free(odto_test *t);
void odto_test_threads_setup(odto_test *t);
void odto_test_threads_join(odto_test *t);
void odto_test_threads_free(odto_test *t);
void odto_test_watch_setup(odto_test *t);
void odto_test_watch_poll(odto_test *t); /* ready() of each whose descriptor can be read now */
void odto_test_watch_free(odto_test *t);
void odto_test_jobs_free(odto_test *t);
int odto_test_configure(odto_test *t, odto_error *err);
void odto_test_config_free(odto_test *t);
int64_t odto_test_now(odto_test *t);

#endif
