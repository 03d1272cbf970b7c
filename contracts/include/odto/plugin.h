/* odto/plugin.h — the plugin ABI. The only headers a plugin needs are those in this folder.
 *
 * A plugin is a shared object with exactly one dynamic symbol, `odto_plugin`, a constant descriptor. Its head
 * stands also in an ELF note, which the host reads before any code of the plugin runs. Same ABI major and
 * minor <= the host's is accepted.
 *
 * Callbacks come in one legal order: check_config, init, restore?, start, (handle | reconfigure | health)*,
 * interrupt?, quiesce, save?, stop, fini. The host calls in; it creates every thread (named, signals
 * blocked). A plugin that needs a thread or a timer asks the host.
 *
 * ABI change log: 1.0 first. 1.1 host: watch, unwatch, replaced. */
#ifndef ODTO_PLUGIN_H
#define ODTO_PLUGIN_H

#include <odto/base.h>
#include <odto/event.h>
#include <odto/handler.h>
#include <odto/http.h>
#include <odto/store.h>
#include <sys/types.h>
#include <time.h>

#define ODTO_ABI_MAJOR 1
#define ODTO_ABI_MINOR 1

typedef struct odto_host odto_host;
typedef struct odto_host_api odto_host_api;

/* ---- options ------------------------------------------------------------------------------- */

typedef enum odto_option_type {
    ODTO_OPT_STRING,
    ODTO_OPT_INT,      /* min..max when max > min */
    ODTO_OPT_BOOL,     /* yes/no, true/false, on/off, 1/0 */
    ODTO_OPT_DURATION, /* i: nanoseconds; min, max likewise */
    ODTO_OPT_SIZE,     /* i: bytes */
    ODTO_OPT_ENUM,     /* choices: "a|b|c"; i: index */
    ODTO_OPT_LIST,     /* comma-separated words */
    ODTO_OPT_ARGV,     /* words, quoted as in a shell, never run by one */
    ODTO_OPT_PATH,     /* relative to the manifest's folder; made absolute */
    ODTO_OPT_ADDRESS,  /* host:port */
    ODTO_OPT_URL,
    ODTO_OPT_STORE, /* name of a [store NAME]; min holds the role (enum odto_role) it must provide */
    ODTO_OPT_FLOAT,
} odto_option_type;

typedef enum odto_role { ODTO_ROLE_JOBS = 1, ODTO_ROLE_COUNTERS = 2, ODTO_ROLE_EVENTS = 4 } odto_role;

#define ODTO_OPTION_SECRET   1u /* masked wherever it is shown */
#define ODTO_OPTION_REQUIRED 2u
#define ODTO_OPTION_LIVE     4u /* a change needs no reload: reconfigure() takes it */

typedef struct odto_option {
    const char *name;
    odto_option_type type;
    const char *default_value; /* as it would stand in the manifest; NULL: none */
    int64_t min, max;
    const char *choices; /* ENUM */
    uint32_t flags;
    const char *env;  /* environment variable that overrides the manifest's value (contract), or NULL */
    const char *help; /* one sentence; the manifest reference is made from it */
} odto_option;

typedef struct odto_value {
    const char *s;           /* as text; NULL when unset and without default */
    int64_t i;               /* INT BOOL DURATION SIZE ENUM */
    double f;                /* FLOAT */
    const char *const *list; /* LIST ARGV, NULL-terminated */
    size_t n;
    int line, column; /* in the manifest; 0 for a default */
} odto_value;

/* An instance's options, parsed, checked, immutable; values[k] belongs to options[k]. Valid as long as the
 * instance. */
typedef struct odto_config {
    const char *instance; /* section name: "gateway" */
    const char *file;
    int line;
    const odto_option *options;
    const odto_value *values;
    size_t n;
    const char *data_dir; /* the host's data directory, absolute */
    const char *host_name;
} odto_config;

/* Never NULL for a name of the table; aborts the process for any other (a bug of the plugin). */
const odto_value *odto_config_get(const odto_config *c, const char *name);
const char *odto_config_str(const odto_config *c, const char *name);
int64_t odto_config_int(const odto_config *c, const char *name);
bool odto_config_bool(const odto_config *c, const char *name);

/* ---- callbacks ----------------------------------------------------------------------------- */

typedef struct odto_health {
    bool ready;
    char reason[160]; /* when not ready */
} odto_health;

typedef struct odto_plugin_ops {
    uint32_t size;
    int (*check_config)(const odto_config *c, odto_error *err); /* beyond the option table; may be NULL */
    /* Allocate. No threads, no ports, no files written: a probe calls it too. */
    int (*init)(odto_host *h, const odto_config *c, void **self, odto_error *err);
    int (*restore)(void *self, uint32_t version, odto_slice blob,
                   odto_error *err);           /* state of the previous generation */
    int (*start)(void *self, odto_error *err); /* serve routes, ask for threads, open connections; ready when
                                                  it returned 0 (and health says so) */
    /* A batch of leased events of a consumed topic, on the instance's consumer thread. Settle each, now or
     * later. */
    void (*handle)(void *self, const odto_lease *leases, size_t n);
    int (*reconfigure)(void *self, const odto_config *c,
                       odto_error *err);          /* only ODTO_OPTION_LIVE options changed */
    void (*health)(void *self, odto_health *out); /* any thread, must not block; NULL: ready */
    void (*interrupt)(void *self);                /* any thread: wake whatever waits */
    /* Finish what is in hand, take nothing new; 0 when nothing is left, -ETIMEDOUT at the deadline (monotonic
     * ns). */
    int (*quiesce)(void *self, int64_t deadline_ns);
    int (*save)(void *self, uint32_t *version, odto_buf *blob, odto_error *err); /* NULL: stateless */
    void (*stop)(
        void *self); /* end own threads (the host joins them), close; afterwards no callback will come */
    void (*fini)(void *self); /* free */
} odto_plugin_ops;

/* ---- descriptor ---------------------------------------------------------------------------- */

typedef enum odto_kind {
    ODTO_KIND_SERVICE = 1,
    ODTO_KIND_STORE = 2,
    ODTO_KIND_BRIDGE = 3,
    ODTO_KIND_HANDLER = 4,
} odto_kind;

/* What must agree between two builds; each is compared and named in the error. */
typedef struct odto_fingerprint {
    uint16_t pointer, time_t_size, off_t_size, sanitizer;
    uint16_t descriptor, ops, event, job, run, config, http_api, reserved;
} odto_fingerprint;

#if defined(__SANITIZE_ADDRESS__)
#define ODTO_SANITIZER_ID 1
#elif defined(__SANITIZE_THREAD__)
#define ODTO_SANITIZER_ID 2
#else
#define ODTO_SANITIZER_ID 0
#endif

/* The head, the same in the note and in the descriptor. */
typedef struct odto_head {
    char magic[8]; /* "odtoplg" */
    uint16_t abi_major, abi_minor;
    uint32_t kind;
    odto_fingerprint fingerprint;
    char name[32], version[24];
} odto_head;

#define ODTO_PLUGIN_EXCLUSIVE \
    1u /* two generations can't run at once even for a moment (default: old stops before new starts) */
#define ODTO_PLUGIN_KEEP 2u /* never unmap: brings a library that can't be unloaded in this object itself */

typedef struct odto_plugin {
    uint32_t size; /* of this struct */
    uint32_t flags;
    odto_head head;
    const char *summary; /* one sentence for lists and the reference */
    const odto_option *options;
    size_t n_options;
    const char *const *consumes; /* NULL-terminated topic names, or NULL */
    const char *const *produces;
    const odto_plugin_ops *ops;
    const odto_store_iface *store;          /* KIND_STORE */
    const odto_handler_iface *handler;      /* KIND_HANDLER */
    const struct odto_bridge_iface *bridge; /* KIND_BRIDGE */
} odto_plugin;

/* ELF note: owner "odto", type 1, descriptor = odto_head. */
typedef struct odto_note {
    uint32_t name_size, desc_size, type;
    char name[8];
    odto_head head;
} odto_note;

#define ODTO_HEAD(NAME, VERSION, KIND)                                                               \
    {                                                                                                \
        "odtoplg", ODTO_ABI_MAJOR, ODTO_ABI_MINOR, KIND,                                             \
            {sizeof(void *),      sizeof(time_t),          sizeof(off_t),         ODTO_SANITIZER_ID, \
             sizeof(odto_plugin), sizeof(odto_plugin_ops), sizeof(odto_event),    sizeof(odto_job),  \
             sizeof(odto_run),    sizeof(odto_config),     sizeof(odto_http_api), 0},                \
            NAME, VERSION                                                                            \
    }

/* ODTO_PLUGIN_DEFINE("gateway", "0.1.0", ODTO_KIND_SERVICE, .summary = …, .ops = &ops, …) once in a plugin.
 */
#define ODTO_PLUGIN_DEFINE(NAME, VERSION, KIND, ...)                                                      \
    static const odto_note odto_note_ __attribute__((section(".note.odto.plugin"), used, aligned(4))) = { \
        5, sizeof(odto_head), 1, "odto", ODTO_HEAD(NAME, VERSION, KIND)};                                 \
    extern const odto_plugin odto_plugin_ __asm__("odto_plugin");                                         \
    __attribute__((visibility("default"), used)) const odto_plugin odto_plugin_ = {                       \
        .size = sizeof(odto_plugin), .head = ODTO_HEAD(NAME, VERSION, KIND), __VA_ARGS__}

#include <odto/host.h>

#endif
