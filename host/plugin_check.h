/* host/plugin_check.h — plugin-check: what the steps share. Each step runs in a process of its own with a
 * time limit (check_main.c); it says what it found a line each, and its process ends with 0 or 1. */
#ifndef HOST_CHECK_H
#define HOST_CHECK_H

#include "host/loader.h"

#include <odto/test.h>

#define CHECK_MAX_SET 32

struct check {
    const char *file;                       /* the shared object */
    const char *store;                      /* a store's shared object for options that name one, or NULL */
    unsigned cycles;                        /* loads and unloads */
    int64_t timeout_ns;                     /* of a step; of one fault a tenth */
    const char *set[2 * CHECK_MAX_SET + 1]; /* "name", "value", … of --set */
    size_t n_set;
    bool libraries; /* allocations of the libraries it calls fail too */
    char dir[256];  /* temporary, of this run */
    /* of the step's process */
    struct image image;
    const odto_plugin *plugin;
    bool keep; /* the plugin asks to stay mapped for ever */
    bool bad;  /* something was found */
};

/* One line of findings: ok, or what is wrong. */
void check_good(struct check *c, const char *fmt, ...) ODTO_PRINTF(2, 3);
void check_bad(struct check *c, const char *fmt, ...) ODTO_PRINTF(2, 3);
void check_error(struct check *c, const char *what, const odto_error *err);
/* Load the plugin as the host would; false: it was said why not. */
bool check_load(struct check *c);
bool check_unload(struct check *c);

/* check_static.c */
void check_file(struct check *c);
void check_descriptor_and_note(struct check *c);
void check_options(struct check *c);
void check_callbacks(struct check *c);

/* check_life.c */

/* One instance with good options, in a scripted host. */
struct life {
    odto_test test, store;
    bool has_store, lacks_store; /* lacks: an option names a store and --store was not given */
    const char *settings[2 * 128 + 1];
    struct image store_image;
    char *owned[128]; /* invented values */
    size_t n_owned;
};

struct life *life_new(struct check *c, const char *option,
                      const char *value); /* one option set apart, or NULL */
int life_init(struct life *l, odto_error *err);
int life_start(struct life *l, odto_error *err);
void life_use(struct life *l); /* events, jobs, requests: as its kind takes them */
void life_end(struct life *l, bool started);
void life_free(struct check *c, struct life *l);

void check_life(struct check *c);
void check_values(struct check *c);
void check_state(struct check *c);
void check_cycles(struct check *c);

/* check_faults.c */
void check_memory(struct check *c);
void check_calls(struct check *c);
#endif
