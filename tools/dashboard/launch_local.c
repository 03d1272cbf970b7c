/* launch_local — one host with the embedded manifest; see launch.h. */
#include "launch.h"

#include "locate.h"
#include "probe.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct parts {
    char host[512], manifest[512];
    bool running; /* somebody answers already */
} parts;

static int prereqs(launch *l, parts *p)
{
    char url[200], why[160];
    launch_step_line(l, "prereqs", "starting", "looking for odto-host and its manifest");
    snprintf(url, sizeof url, "%s/livez", l->gateway);
    p->running = probe_http(url, 1000, NULL, 0, why, sizeof why) == 200;
    if (p->running) {
        launch_step_line(l, "prereqs", "complete", "a gateway already answers at %s", l->gateway);
        return 0;
    }
    const char *host = getenv("ODTO_HOST_PROGRAM");
    if (host && host[0]) {
        snprintf(p->host, sizeof p->host, "%s", host);
    } else if (!locate_program("odto-host", p->host, sizeof p->host)) {
        return launch_fail(l, "prereqs", "build it with make, install it, or put it on PATH",
                           "odto-host is not found");
    }
    if (!locate_manifest(p->manifest, sizeof p->manifest)) {
        return launch_fail(l, "prereqs", "name one in ODTO_MANIFEST", "no manifest at %s", p->manifest);
    }
    const char *const urls[] = {l->gateway, l->read};
    for (size_t i = 0; i < 2; i++) {
        int port = launch_port_of(urls[i]);
        if (port && probe_port_free(port) == -EADDRINUSE) {
            return launch_fail(l, "prereqs",
                               "odto-dashboard doctor tells which program holds it; stop that one",
                               "port %d is in use", port);
        }
    }
    launch_step_line(l, "prereqs", "complete", "%s with %s", p->host, p->manifest);
    return 0;
}

static int deploy(launch *l, const parts *p)
{
    char *argv[] = {(char *)p->host, "-c", (char *)p->manifest, NULL};
    launch_step_line(l, "deploy", "starting", "starting %s", p->host);
    int64_t pid = launch_spawn(l, argv);
    if (pid < 0) {
        return launch_fail(l, "deploy", "check the file's rights", "%s: %s", p->host, strerror((int)-pid));
    }
    l->pid = pid;
    launch_remember(l, "local", &pid, 1, false);
    launch_step_line(l, "deploy", "complete", "process %lld, log in %s", (long long)pid, l->log);
    return 0;
}

static int wait_step(launch *l, const char *step, const char *what, const char *base, const char *path)
{
    char url[256], why[160] = "";
    snprintf(url, sizeof url, "%s%s", base, path);
    launch_step_line(l, step, "starting", "waiting for %s", what);
    int rc = launch_wait_http(l, url, l->pid, why, sizeof why);
    if (rc) {
        launch_log_tail(l, 8);
        return launch_fail(l, step, "the log lines below say why; odto-dashboard doctor checks this machine",
                           "%s: %s", what, rc == -ETIMEDOUT ? why : "the host ended");
    }
    launch_step_line(l, step, "complete", "%s answers", what);
    return 0;
}

int launch_local(launch *l)
{
    parts p = {0};
    if (prereqs(l, &p)) {
        return -1;
    }
    launch_step_line(l, "cluster", "skipped", "not for a local host");
    launch_step_line(l, "images", "skipped", "not for a local host");
    launch_step_line(l, "load", "skipped", "not for a local host");
    if (p.running) {
        launch_step_line(l, "deploy", "skipped", "it runs already");
    } else if (deploy(l, &p)) {
        return -1;
    }
    if (wait_step(l, "pods", "the gateway", l->gateway, "/healthz") ||
        wait_step(l, "ports", "the read model", l->read, "/health") ||
        wait_step(l, "verify", "the statistics", l->read, "/stats")) {
        return -1;
    }
    launch_ready(l);
    return 0;
}
