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
/* the current context of kubectl may be another cluster */
#define KUBECTL "kubectl --context kind-" CLUSTER " -n " NAMESPACE

typedef struct files {
    char source[512];  /* folder with the Dockerfile */
    char kind[560];    /* kind's own configuration, or empty */
    char overlay[560]; /* what is applied */
    char secrets[600]; /* its passwords, made once */
} files;

typedef struct forwarded {
    const char *service, *path;
    int port, local;
    int64_t pid;
} forwarded;

#define FORWARDS 3

static bool is_source(files *f, const char *folder)
{
    char docker[560];
    snprintf(docker, sizeof docker, "%s/Dockerfile", folder);
    snprintf(f->source, sizeof f->source, "%s", folder);
    snprintf(f->overlay, sizeof f->overlay, "%s/" OVERLAY, folder);
    snprintf(f->secrets, sizeof f->secrets, "%s/secrets.env", f->overlay);
    snprintf(f->kind, sizeof f->kind, "%s/k8s/kind.yaml", folder);
    if (access(f->kind, R_OK)) {
        f->kind[0] = '\0';
    }
    return access(docker, R_OK) == 0 && access(f->overlay, R_OK) == 0;
}

/* One folder for all of it: passwords made in one tree are of no use to the overlay of another. */
static bool find_source(files *f)
{
    const char *set = getenv("ODTO_SRCDIR");
    char path[512];
    if (set && set[0]) {
        return is_source(f, set);
    }
    if (getcwd(path, sizeof path) && is_source(f, path)) {
        return true;
    }
    if (!locate_data("Dockerfile", path, sizeof path)) {
        return false;
    }
    *strrchr(path, '/') = '\0';
    return is_source(f, path);
}

static int port_taken(const launch *l, const char *step, int port)
{
    return launch_fail(
        l, step,
        "odto-dashboard stop ends a host that was launched here; odto-dashboard doctor tells who has it",
        "port %d is in use", port);
}

/* Before minutes go into an image whose system could not be reached. */
static int ports_free(const launch *l, const forwarded *all)
{
    for (int i = 0; i < FORWARDS; i++) {
        if (probe_port_free(all[i].local) == -EADDRINUSE) {
            return port_taken(l, "prereqs", all[i].local);
        }
    }
    return 0;
}

static int prereqs(launch *l, files *f, const forwarded *all, bool *ours)
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
    if (!find_source(f)) {
        return launch_fail(l, "prereqs", "run it in the source folder, or set ODTO_SRCDIR to that",
                           "a folder with Dockerfile and " OVERLAY " is not found");
    }
    launch_end(l, "cluster", ours); /* forwards of an earlier launch hold the ports */
    if (ports_free(l, all)) {
        return -1;
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

/* 1 there, 0 not, -1 kind can't tell: one that is not seen must not pass for one that is made here. */
static int cluster_there(const launch *l)
{
    char *list[] = {"sh", "-c",
                    "all=$(kind get clusters) || exit 2; printf '%s\\n' \"$all\" | grep -qx " CLUSTER, NULL};
    int rc = launch_run(l, list);
    return rc == 0 ? 1 : rc == 1 ? 0 : -1;
}

static int cluster(launch *l, const files *f, bool ours, bool *made)
{
    int there = cluster_there(l);
    if (there < 0) {
        return launch_fail(l, "cluster", "is the docker daemon running? docker info says",
                           "kind does not tell which clusters there are");
    }
    /* before it is made: what is left of one that was not finished is to be removed too */
    *made = ours || !there;
    if (launch_remember(l, "cluster", NULL, 0, *made)) {
        return launch_fail(l, "cluster", "can the folder be written? stop reads there what it is to end",
                           "nothing can be kept in %s", l->state);
    }
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
    char script[600];
    if (access(f->secrets, R_OK) == 0) {
        return 0;
    }
    launch_step_line(l, "deploy", "starting", "making passwords in %s", f->secrets);
    snprintf(script, sizeof script, "%s/k8s/secrets", f->source);
    char *make[] = {"sh", script, "local", NULL};
    return launch_run(l, make) || access(f->secrets, R_OK)
               ? launch_fail(l, "deploy",
                             "can its folder be written? k8s/secrets makes it, docs/kubernetes.md",
                             "%s was not made", f->secrets)
               : 0;
}

static int start_forward(launch *l, forwarded *w)
{
    char target[64], pair[32];
    if (probe_port_free(w->local) == -EADDRINUSE) {
        return port_taken(l, "ports", w->local);
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
    snprintf(remedy, sizeof remedy, KUBECTL " logs deploy/%s", w->service);
    return launch_fail(l, "ports", remedy, "%s: %s", w->service, why);
}

static void plan_forwards(const launch *l, forwarded *all)
{
    all[0] = (forwarded){"gateway", "/healthz", 3000, launch_port_of(l->gateway), 0};
    all[1] = (forwarded){"read-model", "/health", 8080, launch_port_of(l->read), 0};
    all[2] = (forwarded){"web-ui-http", "/", 8081, launch_web_port(), 0};
}

/* All of them, or none is left. */
static int ports(launch *l, forwarded *all, bool ours)
{
    int64_t pids[FORWARDS];
    int n = 0, rc = 0;
    launch_step_line(l, "ports", "starting", "forwarding %d, %d and %d", all[0].local, all[1].local,
                     all[2].local);
    for (; n < FORWARDS && !rc; n += !rc) {
        rc = start_forward(l, &all[n]);
        pids[n] = all[n].pid;
    }
    launch_remember(l, "cluster", pids, n, ours);
    for (int i = 0; i < FORWARDS && !rc; i++) {
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
        return launch_fail(l, "verify", KUBECTL " logs deploy/read-model", "the read model: %s", why);
    }
    launch_step_line(l, "verify", "complete",
                     "the read model answers; the page asks for pty-auth-token of %s", f->secrets);
    return 0;
}

int launch_cluster(launch *l)
{
    files f = {0};
    forwarded all[FORWARDS];
    char image[64];
    l->timeout_s = l->timeout_s < 120 ? 120 : l->timeout_s;
    bool ours = false, made = false;
    plan_forwards(l, all);
    if (prereqs(l, &f, all, &ours) || cluster(l, &f, ours, &made)) {
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
        tool_step(l, "pods", "waiting for the pods", KUBECTL " get pods shows which one is late", wait) ||
        ports(l, all, made) || verify(l, &f)) {
        return -1;
    }
    launch_ready(l);
    return 0;
}
