/* multihost.h — a host for several instances at once, for tests of the processor and the handlers: real
 * threads and timers, routes that record what is published (and refuse or hold it on demand), leases that
 * record how they were settled. Plugins are loaded from the build tree (ODTO_BUILDDIR), as the real host
 * would.
 *
 * Functions are for the test's thread unless said otherwise; waiting ones poll every millisecond and give up
 * after 50 seconds with a message on stderr. */
#ifndef ODTO_MULTIHOST_H
#define ODTO_MULTIHOST_H

#include <odto/plugin.h>

typedef struct multihost multihost;
typedef struct multiinstance multiinstance;

multihost *multihost_new(void);
/* Stops what still runs, in reverse order, and frees all. */
void multihost_free(multihost *f);

/* Load .libs/MODULE.so and init() it under this name. settings: "key=value", NULL-terminated or NULL. ARGV
 * and LIST options are cut at blanks and commas. Aborts on failure, unless err is given: then NULL. */
multiinstance *multihost_load(multihost *f, const char *module, const char *name, const char *const *settings,
                              odto_error *err);
/* Make a loaded handler known to the processor: types NULL-terminated, living as long as the host. */
odto_handler_ref *multihost_handler(multihost *f, multiinstance *i, const char *const *types,
                                    uint32_t concurrency);
/* A handler that is code of the test. */
odto_handler_ref *multihost_handler_code(multihost *f, const char *name, const odto_handler_iface *iface,
                                         void *self, const char *const *types, uint32_t concurrency);
void multihost_store(multihost *f, const odto_store_iface *iface, void *self);
int multihost_start(multiinstance *i, odto_error *err);
int multihost_quiesce(multiinstance *i, int64_t ms);
void multihost_stop(multiinstance *i); /* stop(), join, fini() */
void *multihost_self(multiinstance *i);
const odto_plugin *multihost_plugin(multiinstance *i);
odto_host *multihost_of(multiinstance *i);
odto_health multihost_health(multiinstance *i);
size_t multihost_threads(multiinstance *i);

/* Give the instance one lease. valid: flag it as checked. */
void multihost_deliver(multiinstance *i, const char *body, bool valid);
void multihost_deliver_many(multiinstance *i, char *const *bodies, size_t n, bool valid);

typedef struct multisettled {
    size_t acked, returned, rejected;
    char why[1024]; /* of the last rejection */
} multisettled;
multisettled multihost_settled(multihost *f);
uint32_t multihost_prefetch(multihost *f);

/* What was published to a topic. */
size_t multihost_published(multihost *f, const char *topic);
/* The k-th body, NUL-terminated, valid until the host is freed; NULL if there are not so many. */
const char *multihost_body(multihost *f, const char *topic, size_t k);
/* From now on publishing to the topic fails with this code (0: works again): at once, or through done. */
void multihost_refuse(multihost *f, const char *topic, int code, bool later);
/* From now on what is published is not confirmed (false: it is again, and all that was held at once). */
void multihost_hold(multihost *f, const char *topic, bool hold);
size_t multihost_held(multihost *f, const char *topic); /* publications that wait for it */

int64_t multihost_metric(multihost *f, const char *name,
                         const char *value); /* value: of a label, or NULL; -1: none */
void multihost_quiet(multihost *f, bool quiet);

/* Wait until fn says true; false after 50 seconds. */
bool multihost_wait(bool (*fn)(void *arg), void *arg, const char *what);

#endif
