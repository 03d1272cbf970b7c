/* app — the running dashboard: one UI thread that waits on the terminal, the network worker, signals and
 * started programs, and the plain-text backends. */
#ifndef DASH_APP_H
#define DASH_APP_H

#include "net.h"
#include "screen.h"

typedef struct app_options {
    net_config net;
    bool no_color, ascii, mouse, no_splash, read_only, managed, remote;
    bool plain, once, json, svg;
    int after_s; /* --once: gather figures for so long first */
    theme theme;
    const char *registry; /* path, or NULL */
    /* Tells the crash handler what brings the terminal back; n 0: nothing any more. */
    void (*terminal)(const char *restore, size_t n);
} app_options;

/* The full-screen dashboard. Exit status. */
int app_run(const app_options *o);
/* --plain, --once, --once --json. Exit status: 1 when nothing answers. */
int plain_run(const app_options *o);

#endif
