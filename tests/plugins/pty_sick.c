/* pty_sick.c — the terminal broker, made of the tree's sources, that takes over its sessions and then fails:
 * in start
 * (-DFAULT_START), or in its trial, 50 ms after it was asked for its health first. */
#include <odto/plugin.h>

#pragma push_macro("ODTO_PLUGIN_DEFINE")
#undef ODTO_PLUGIN_DEFINE
#define ODTO_PLUGIN_DEFINE(...) extern const char pty_sick_unused
#include "plugin.c"

#include <stdio.h>
#pragma pop_macro("ODTO_PLUGIN_DEFINE")

static _Atomic int64_t asked_at;

static void sick_health(void *self, odto_health *out)
{
    int64_t never = 0, now = odto_now_ns();
    (void)self;
    if (atomic_compare_exchange_strong(&asked_at, &never, now) || now - never < 50 * ODTO_MS)
        return;
    out->ready = false;
    snprintf(out->reason, sizeof out->reason, "it sickens after a while");
}

static int sick_start(void *self, odto_error *err)
{
    int r = start(self, err);
#ifdef FAULT_START
    return r ? r : odto_fail(err, -EIO, "it refuses to start");
#endif
    return r;
}

_Static_assert(sizeof ops == sizeof(odto_plugin_ops), "the healthy ones are there");

static const odto_plugin_ops sick = {
    .size = sizeof sick,
    .check_config = check_config,
    .init = init,
    .restore = restore,
    .start = sick_start,
    .save = save,
    .stop = stop,
    .fini = fini,
    .health = sick_health,
};

ODTO_PLUGIN_DEFINE("pty", PACKAGE_VERSION, ODTO_KIND_SERVICE, .summary = "A terminal broker that fails.",
                   .options = pty_options, .n_options = PTY_N_OPTIONS, .ops = &sick);
