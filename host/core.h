/* host/core.h — the host as one object: manifest, routes, units, services of the runtime.
 *
 * Threads: the main thread is the supervisor and the only one that changes units; others read `current` and
 * `state` of a unit under core->lock (status, health, api calls). Everything else here is set up before the
 * first plugin and torn down after the last, and belongs to the module named beside it. */
#ifndef HOST_CORE_H
#define HOST_CORE_H

#include "host/instance.h"
#include "host/lifecycle.h"
#include "host/log.h"
#include "host/manifest.h"
#include "host/metrics.h"
#include "host/http.h"
#include "host/route.h"
#include "host/timer.h"

struct seat;

enum reload_result { /* reload.h */
                     RELOAD_UNCHANGED,
                     RELOAD_DONE,        /* the new generation runs */
                     RELOAD_ROLLED_BACK, /* the old one runs again, from its own state */
                     RELOAD_REFUSED,     /* nothing was touched: the manifest or the new copy is bad */
                     RELOAD_LOST,        /* neither runs: the unit is in BACKOFF and will be tried again */
                     RELOAD_RESULTS
};

#define MAX_UNITS  64
#define MAX_ROUTES 64

struct control;

/* One instance section of the manifest, across the generations of its plugin. Owned by the supervisor thread;
 * other threads read state, generation and current under core->lock. */
struct unit {
    struct core *core;
    char name[NAME_SIZE];
    odto_kind kind;
    /* Changed by the main thread alone, manifest to last_error (but fails to restart_at) under core->lock, by
     * which others read */
    manifest *manifest; /* the snapshot `section` belongs to; one reference */
    const manifest_section *section;
    char file[4096]; /* the installed shared object */
    enum life_state state;
    struct instance *current;
    struct image *image;        /* mapped; restarts use the same copy again */
    struct seat *seat;          /* isolated handlers: what others hold of it (isolate.h); the core's */
    const struct image *proved; /* the last one that was kept as known good; only compared */
    _Atomic unsigned images_kept;
    unsigned generation, copies; /* copies: staged so far, for unique names */
    int order;                   /* start order; stop in reverse */
    _Atomic bool disabled;       /* by `odto disable`: until `odto enable` or the host's next start */
    bool leaving;                /* a reload removes it: nobody obtains it any more; under core->lock */
    /* supervision */
    int64_t fails[32];  /* monotonic times of the last failures, newest first */
    unsigned streak;    /* failures since it was last READY for long */
    int64_t restart_at; /* BACKOFF: when to start again */
    int64_t ready_since;
    uint64_t restarts;
    odto_error last_error;
    odto_metric *m_state[LIFE_STATES], *m_restarts, *m_generation, *m_abandoned, *m_kept;
};

/* An option the host reads in the unit's section. */
static inline int64_t unit_int(const struct unit *u, const char *option)
{
    return odto_config_int(u->section->host, option);
}

struct stored_fd { /* the descriptor store, by instance name */
    struct stored_fd *next;
    char owner[NAME_SIZE], name[NAME_SIZE];
    int fd;
    odto_buf note;
};

struct core {
    const struct odto_host_api *api;
    manifest *manifest;
    char manifest_path[4096];
    char data_dir[4096], run_dir[4200], host_name[NAME_SIZE];
    _Atomic unsigned manifest_generation; /* 1, and one more for each reload that was taken over */
    char plugin_path[8192];               /* DIR:DIR */
    bool checking; /* --check, --print, --reference: nothing is started, no data directory is touched */
    int lock_fd;   /* flock on data_dir/lock */
    log_sink *sink;
    log_source *log; /* the host's own voice */
    metrics *metrics;
    timer_service *timers;
    struct event_pool *pool;
    http_server *http;
    struct control *control;
    odto_route *routes[MAX_ROUTES];
    size_t n_routes;
    struct unit *units[MAX_UNITS]; /* in start order */
    size_t n_units;
    pthread_rwlock_t
        lock; /* units[], n_units, unit->state, generation, current for readers off the main thread */
    pthread_mutex_t fd_lock;
    struct stored_fd *fds;
    struct seat *seats; /* of isolated handlers, removed ones too; main thread */
    int64_t started_at;
    _Atomic bool stopping; /* not ready any more */
    int exit_code;         /* set by the supervisor: end with it */
    int wake_fd;           /* eventfd: a command is waiting */
    pthread_mutex_t queue_lock;
    pthread_cond_t queue_done;
    struct command *queue, **queue_end; /* oldest first */
    int64_t watched_at;                 /* watchdog.c */
    int signals;                        /* signalfd of the main thread */
    bool rewake;                        /* the wake-up was read away: commands may wait */
    odto_metric *m_reloads[RELOAD_RESULTS], *m_reload, *m_pause;
};

/* A request to the supervisor thread from another one. */
struct command {
    struct command *next;
    void (*run)(struct core *core, void *arg);
    void *arg;
    bool wait, done; /* under core->queue_lock; not waited for: freed by the supervisor */
};

/* core.c */
int core_new(struct core *core); /* locks and tables only */
int core_load_manifest(struct core *core,
                       odto_error *err); /* everything checked, images mapped; prints the errors it finds */
int core_boot(struct core *core, odto_error *err); /* everything up, or err with the reason */
void core_shutdown(struct core *core);             /* in order, within the budget; a second signal: at once */
void core_free(struct core *core);
odto_route *core_route(struct core *core, const char *topic);
struct unit *core_unit(struct core *core, const char *name); /* main thread, or with core->lock */
bool core_ready(void *core, const odto_host *owner, char *reason, size_t size); /* any thread */
void core_dump_state(struct core *core);
/* Run fn on the supervisor thread and wait for it (wait) or not. fn may free arg when not waited for. */
void core_command(struct core *core, void (*run)(struct core *core, void *arg), void *arg, bool wait);
void core_run_commands(struct core *core);

/* routes.c: opening the manifest's routes */
int routes_open(struct core *core, odto_error *err);
int routes_reload(struct core *core, odto_error *err); /* new ones opened, changed ones adjusted in place */
void routes_close(struct core *core);

/* supervisor.c: the main thread only */
struct image *unit_stage(struct unit *u, const char *file,
                         odto_error *err); /* private copy, inspected, not mapped */
void unit_unmap(struct unit *u, struct image *image);
void unit_image_kept(struct unit *u); /* one more stays mapped for ever: counted */
/* After stop(): timers and leases that the generation left are taken back, and its image is kept for it. */
void unit_take_back(struct unit *u, struct instance *in);
int unit_init(struct unit *u, odto_error *err);                     /* image and configuration → LOADED */
int unit_start(struct unit *u, odto_error *err);                    /* → READY */
bool unit_down(struct unit *u, int64_t deadline_ns, bool graceful); /* → STOPPED or ABANDONED */
void unit_failed(struct unit *u, const odto_error *err, bool permanent);
bool unit_in_use(const struct unit *u); /* others hold its pointers */
void unit_set(struct unit *u, enum life_event event);
/* What runs next, and the section it runs by (it belongs to m, of which the unit takes a reference). Both
 * change under core->lock, since `odto plugins` reads them; the caller unmaps the former image afterwards. */
void unit_set_image(struct unit *u, struct image *image);
void unit_set_section(struct unit *u, manifest *m, const manifest_section *section);
/* Both, and the former image is unmapped. */
void unit_take_over(struct unit *u, struct image *image, manifest *m, const manifest_section *section);
void unit_set_current(struct unit *u, struct instance *in); /* under core->lock as well; NULL: none */
int64_t supervisor_tick(struct core *core); /* restart what is due; ns until the next, -1 none */
void supervisor_order(struct core *core);   /* sort units[] into start order */

extern const odto_host_api host_api; /* api.c */
#endif
