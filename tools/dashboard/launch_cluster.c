/* launch_cluster — a Kubernetes cluster in containers by kind; see launch.h. Every step runs the tool that
 * a person would run, and its output becomes the log. */
#include "launch.h"

#include "locate.h"
#include "probe.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CLUSTER   "odto"
#define NAMESPACE "observatory" /* of the overlay */
#define OVERLAY   "k8s/overlays/local"

typedef struct files {
    char source[512];  /* folder with the Dockerfile */
    char kind[560];    /* kind's own configuration, or empty */
    char overlay[560]; /* what is applied */
    char secrets[600]; /* its passwords, made once */
} files;

static int prereqs(launch *l, files *f)
{
    static const char *const tools[] = {"docker", "kind", "kubectl"};
    char path[512];
    launch_step_line(l, "prereqs", "starting", "looking for docker, kind and kubectl");
    for (size_t i = 0; i < 3; i++) {
        if (!locate_program(tools[i], path, sizeof path)) {
            return launch_fail(l, "prereqs", "odto-dashboard doctor --cluster tells how to install it",
                               "%s is not found", tools[i]);
        }
    }
    if (!locate_data(OVERLAY, f->overlay, sizeof f->overlay) ||
        !locate_data("Dockerfile", path, sizeof path)) {
        return launch_fail(l, "prereqs", "set ODTO_SRCDIR to the source folder",
                           "the Dockerfile or " OVERLAY " is not found");
    }
    snprintf(f->secrets, sizeof f->secrets, "%s/secrets.env", f->overlay);
    *strrchr(path, '/') = '\0';
    snprintf(f->source, sizeof f->source, "%s", path);
    if (!locate_data("k8s/kind.yaml", f->kind, sizeof f->kind)) {
        f->kind[0] = '\0';
    }
    launch_step_line(l, "prereqs", "complete", "docker, kind, kubectl; %s", f->overlay);
    return 0;
}

static int tool_step(launch *l, const char *step, const char *what, const char *remedy, char *const argv[])
{
    launch_step_line(l, step, "starting", "%s", what);
    int rc = launch_run(l, argv);
    if (rc) {
        return launch_fail(l, step, remedy, "%s: %s ended with %d", what, argv[0], rc);
    }
    launch_step_line(l, step, "complete", "%s", what);
    return 0;
}

static int cluster(launch *l, const files *f, bool *made)
{
    char *exists[] = {"sh", "-c", "kind get clusters | grep -qx " CLUSTER, NULL};
    bool ours = false;
    launch_end(l, "cluster", &ours); /* forwards of an earlier launch hold the ports */
    bool there = launch_run(l, exists) == 0;
    /* before it is made: what is left of one that was not finished is to be removed too */
    *made = ours || !there;
    launch_remember(l, "cluster", NULL, 0, *made);
    if (there) {
        launch_step_line(l, "cluster", "skipped",
                         ours ? "the cluster " CLUSTER " is there"
                              : "the cluster " CLUSTER " is there, and stays when this is stopped");
        return 0;
    }
    char *make[] = {"kind", "create", "cluster", "--name", CLUSTER, "--wait", "120s", NULL, NULL, NULL};
    if (f->kind[0]) {
        make[7] = "--config";
        make[8] = (char *)f->kind;
    }
    return tool_step(l, "cluster", "making the cluster " CLUSTER,
                     "is the docker daemon running? docker info says", make);
}

/* The overlay's passwords, where there are none yet. */
static int secrets(launch *l, const files *f)
{
    char script[560];
    if (access(f->secrets, R_OK) == 0) {
        return 0;
    }
    launch_step_line(l, "deploy", "starting", "making passwords");
    snprintf(script, sizeof script, "%s/k8s/secrets", f->source);
    char *make[] = {"sh", script, "local", NULL};
    return launch_run(l, make)
               ? launch_fail(l, "deploy", "can the folder be written?", "%s was not made", f->secrets)
               : 0;
}

typedef struct forwarded {
    const char *service, *path;
    int port, local;
    int64_t pid;
} forwarded;

static int start_forward(launch *l, forwarded *w)
{
    char target[64], pair[32];
    if (probe_port_free(w->local) == -EADDRINUSE) {
        return launch_fail(l, "ports",
                           "odto-dashboard stop ends a host that was launched here; doctor tells who has it",
                           "port %d is in use", w->local);
    }
    snprintf(target, sizeof target, "service/%s", w->service);
    snprintf(pair, sizeof pair, "%d:%d", w->local, w->port);
    char *argv[] = {"kubectl", "--context", "kind-" CLUSTER, "-n", NAMESPACE, "port-forward", target,
                    pair,      NULL};
    w->pid = launch_spawn(l, argv);
    return w->pid < 0 ? launch_fail(l, "ports", "can kubectl be run?", "kubectl port-forward does not start")
                      : 0;
}

static int check_forward(launch *l, const forwarded *w)
{
    char url[256], why[200], remedy[120];
    snprintf(url, sizeof url, "http://127.0.0.1:%d%s", w->local, w->path);
    if (launch_wait_http(l, url, w->pid, why, sizeof why) == 0) {
        return 0;
    }
    launch_log_tail(l, 8);
    snprintf(remedy, sizeof remedy, "kubectl -n " NAMESPACE " logs deploy/%s", w->service);
    return launch_fail(l, "ports", remedy, "%s: %s", w->service, why);
}

/* All of them, or none is left. */
static int ports(launch *l, bool ours)
{
    const char *page = getenv("WEB_PORT");
    forwarded all[] = {{"gateway", "/healthz", 3000, launch_port_of(l->gateway), 0},
                       {"read-model", "/health", 8080, launch_port_of(l->read), 0},
                       {"web-ui-http", "/", 8081, page && atoi(page) > 0 ? atoi(page) : 8081, 0}};
    enum { N = sizeof all / sizeof all[0] };
    int64_t pids[N];
    int n = 0, rc = 0;
    launch_step_line(l, "ports", "starting", "forwarding %d, %d and %d", all[0].local, all[1].local,
                     all[2].local);
    for (; n < N && !rc; n += !rc) {
        rc = start_forward(l, &all[n]);
        pids[n] = all[n].pid;
    }
    launch_remember(l, "cluster", pids, n, ours);
    for (int i = 0; i < N && !rc; i++) {
        rc = check_forward(l, &all[i]);
    }
    if (rc) {
        launch_end(l, "cluster", &ours);
        launch_remember(l, "cluster", NULL, 0, ours);
        return -1;
    }
    launch_step_line(l, "ports", "complete", "%d, %d and %d are forwarded", all[0].local, all[1].local,
                     all[2].local);
    return 0;
}

static int verify(launch *l, const files *f)
{
    char url[256], why[160];
    launch_step_line(l, "verify", "starting", "asking for the statistics");
    snprintf(url, sizeof url, "%s/stats", l->read);
    if (launch_wait_http(l, url, 0, why, sizeof why)) {
        return launch_fail(l, "verify", "kubectl -n " NAMESPACE " logs deploy/read-model",
                           "the read model: %s", why);
    }
    launch_step_line(l, "verify", "complete",
                     "the read model answers; the page asks for pty-auth-token of %s", f->secrets);
    return 0;
}

int launch_cluster(launch *l)
{
    files f = {0};
    char image[64];
    l->timeout_s = l->timeout_s < 120 ? 120 : l->timeout_s;
    bool made = false;
    if (prereqs(l, &f) || cluster(l, &f, &made)) {
        return -1;
    }
    snprintf(image, sizeof image, "odto:%s", PACKAGE_VERSION);
    char *build[] = {"docker", "build", "-t", image, f.source, NULL};
    char *load[] = {"kind", "load", "docker-image", "--name", CLUSTER, image, NULL};
    char *apply[] = {"kubectl", "--context", "kind-" CLUSTER, "apply", "-k", f.overlay, NULL};
    char *wait[] = {
        "kubectl",    "--context", "kind-" CLUSTER,  "-n", NAMESPACE, "wait", "--for=condition=Available",
        "deployment", "--all",     "--timeout=300s", NULL};
    if (tool_step(l, "images", "building the image", "docker build prints the failing line above", build) ||
        tool_step(l, "load", "loading the image into the cluster", "docker images shows what there is",
                  load) ||
        secrets(l, &f) ||
        tool_step(l, "deploy", "applying the manifests", "kubectl apply -k prints what it refuses", apply) ||
        tool_step(l, "pods", "waiting for the pods",
                  "kubectl -n " NAMESPACE " get pods shows which one is late", wait) ||
        ports(l, made) || verify(l, &f)) {
        return -1;
    }
    launch_ready(l);
    return 0;
}
