/* host/instance.h — one generation of a plugin: image, configuration, its state, and the ledger of what it
 * holds.
 *
 * The supervisor thread drives it through the callbacks, each on a thread of its own with a deadline, so that
 * a plugin that hangs can be left behind. The plugin's own threads come from instance_thread_start; the
 * ledger says when the last has left, which is the only proof that the image may be unmapped. */
#ifndef HOST_INSTANCE_H
#define HOST_INSTANCE_H

#include "host/loader.h"

#include <pthread.h>
#include <stdatomic.h>

#define NAME_SIZE 64

struct core;
struct unit;
struct manifest;
struct route_consumer;

#define NOT_ASKED (-1)
struct consumer_thread {
    struct instance *instance;
    struct route_consumer *consumer; /* set, and cleared, under the instance's lock */
    odto_thread *thread;
    const char *topic;
    int64_t asked; /* prefetch that the plugin wants, NOT_ASKED; under the instance's lock */
    bool busy;     /* it takes or hands over events; under the instance's lock */
};

struct caller;

struct instance {
    odto_host handle; /* what the plugin holds; handle.priv is this instance */
    struct core *core;
    struct unit *unit;
    char name[NAME_SIZE];
    unsigned generation;
    struct image *image;
    const odto_plugin *d;
    const odto_config *config;
    struct manifest *manifest; /* the snapshot config belongs to; one reference */
    void *self;
    struct log_source *log; /* the plugin's voice */
    _Atomic bool stopping;  /* read by threads through api->stopping */
    _Atomic bool replaced;  /* told by api->replaced: another generation comes after it */
    _Atomic bool quiescing; /* consumers take nothing any more, whatever it asks for */
    _Atomic bool started;   /* start() returned 0 and stop() has not been called: health() may be asked */
    _Atomic int64_t beat;   /* last api->beat */
    pthread_mutex_t lock;   /* threads, n_threads, failure, uses, holds, busy of consumers */
    pthread_cond_t paused;  /* a consumer rests, or may go on to its end; monotonic clock */
    struct odto_thread *threads;
    _Atomic size_t n_threads; /* running ones; changed under lock, read without */
    struct consumer_thread *consumers;
    size_t n_topics;           /* places in consumers: one a topic */
    size_t n_consumers;        /* of them attached; the main thread's */
    struct instance *uses[64]; /* stores and handlers it obtained: reloaded after them */
    size_t n_uses;
    struct manifest *holds[64]; /* of handlers it obtained: their strings stay as long as it does; lock */
    size_t n_holds;
    _Atomic bool wants_handlers; /* it asked for the handlers: reloaded when one comes or goes */
    _Atomic bool failed;         /* it said so through api->fail; failure is set before */
    odto_error failure;
    _Atomic uint64_t settled_good,
        settled_bad;       /* events acknowledged, attempts of a worker that ended; returned or rejected */
    struct caller *caller; /* stands by for callbacks, or NULL; the main thread's */
    size_t left_leases;    /* that stop() left unsettled; the main thread's */
    bool abandoned; /* a callback or thread did not come back; written by the main thread, under lock */
};

/* Takes a reference of image and of the manifest config belongs to. NULL without memory. */
struct instance *instance_new(struct core *core, struct unit *unit, unsigned generation, struct image *image,
                              struct manifest *m, const odto_config *config);
/* Frees what the host holds of it: fini must have run. With a non-empty ledger the instance is leaked on
 * purpose
 * (-EBUSY), since its code may still run. */
int instance_free(struct instance *in);

/* Leave it behind: what it still has running goes on, nobody waits for it, and its threads are let go as they
 * end. Main thread. */
void instance_abandon(struct instance *in);

/* Callbacks, each bounded by timeout_ns; -ETIMEDOUT marks the instance abandoned. */
int instance_check(struct instance *in, int64_t timeout_ns, odto_error *err);
int instance_init(struct instance *in, int64_t timeout_ns, odto_error *err);
int instance_restore(struct instance *in, uint32_t version, odto_slice blob, int64_t timeout_ns,
                     odto_error *err);
int instance_start(struct instance *in, int64_t timeout_ns, odto_error *err); /* and its consumer threads */
int instance_reconfigure(struct instance *in, struct manifest *m, const odto_config *config,
                         int64_t timeout_ns, odto_error *err);
/* What the plugin asks for, also before its consumers are there; any thread. */
void instance_prefetch(struct instance *in, const char *topic, uint32_t n);
int instance_quiesce(struct instance *in, int64_t deadline_ns); /* consumers stop taking first */
int instance_save(struct instance *in, uint32_t *version, odto_buf *blob, int64_t timeout_ns,
                  odto_error *err);
int instance_stop(struct instance *in, int64_t timeout_ns); /* stop(), then every thread joined */
/* After stop, before anything of it is given back: who called it from a thread of others (a store's, say) has
 * returned. -ETIMEDOUT marks it abandoned. */
int instance_callers_gone(struct instance *in, int64_t deadline_ns);
/* A thread for its next callbacks, and its end: made before the pause, on a busy machine a new thread waits
 * for its first turn. -ETIMEDOUT marks it abandoned. */
void instance_stand_by(struct instance *in);
int instance_stand_down(struct instance *in, int64_t timeout_ns);
int instance_fini(struct instance *in, int64_t timeout_ns);

bool instance_health(struct instance *in, odto_health *out); /* any thread */

/* For api.c */
int instance_thread_start(struct instance *in, const char *name, void (*fn)(void *), void *arg,
                          odto_thread **out);
void instance_thread_join(struct instance *in, odto_thread *t);
void instance_uses(struct instance *in, struct instance *other);
void instance_holds(struct instance *in,
                    struct manifest *m); /* takes the reference; freed with the instance */
/* The instance whose thread this is, NULL for a thread of the host (crash records). */
struct instance *instance_current(void);
void instance_set_current(struct instance *in);
#endif
