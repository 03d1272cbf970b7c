/* store_util.h — what the tests of the stores on servers share: an instance, and writes that are waited for.
 * The server is started by the script that runs the program (tests/integration/store_*.py); its address is in
 * an environment variable. */
#ifndef TESTS_STORE_UTIL_H
#define TESTS_STORE_UTIL_H

#include "minihost.h"

extern const odto_plugin odto_plugin_ __asm__("odto_plugin");
#define IFACE (odto_plugin_.store)

typedef struct fixture {
    minihost *host;
    void *store;
} fixture;

/* Ready, or the test aborts after 10 s. */
void store_start(fixture *f, const char *const *settings);
void store_start_only(fixture *f, const char *const *settings); /* does not wait for readiness */
void store_stop(fixture *f);
int store_write(fixture *f, int (*submit)(void *store, odto_write *w),
                odto_write *w);       /* waits: done()'s result */
const char *env_of(const char *name); /* or the test aborts */
bool store_ready_within(fixture *f, int ms);
/* "url=" and the value of an environment variable, in static memory. */
const char *url_setting(const char *name);

#endif
