/* doctor_config — what a manifest makes a host listen on and connect to, for the doctor.
 *
 * Reads the file itself and leniently: it works without odto-host and for a manifest with errors, which
 * doctor_manifest reports; by hand, since inih tells nothing of a section without keys; and `odto-host
 * --print` masks the URLs that are to be tried. Any thread. */
#ifndef DASH_DOCTOR_CONFIG_H
#define DASH_DOCTOR_CONFIG_H

#include <odto/base.h>

typedef struct doctor_listener {
    char name[64];    /* the section's name */
    char host[128];   /* as in the manifest, an IPv6 address without brackets */
    int port;         /* 0: any free one */
    const char *path; /* a request that tells our service, NULL: none does */
} doctor_listener;

typedef struct doctor_server {
    char title[80]; /* "store jobs" */
    const char *module, *env;
    char url[1024]; /* effective, with its password: never shown */
    bool from_env;
} doctor_server;

typedef struct doctor_config {
    bool read; /* the manifest could be read */
    doctor_listener listeners[32];
    size_t n_listeners;
    doctor_server servers[16];
    size_t n_servers;
} doctor_config;

/* Fills c; c->read tells whether the file could be read. What exceeds the arrays is left out. */
void doctor_config_read(doctor_config *c, const char *manifest);

#endif
