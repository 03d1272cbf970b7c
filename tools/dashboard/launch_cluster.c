/* launch_cluster — a Kubernetes cluster in containers by kind; see launch.h. Every step runs the tool that
 * a person would run, and its output becomes the log. */
#include "launch.h"

#include "locate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CLUSTER   "odto"
#define NAMESPACE "odto"

typedef struct files {
    char source[512];  /* folder with the Dockerfile */
    char kind[560];    /* kind's own configuration, or empty */
    char overlay[560]; /* what is applied */
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
    static const char *const overlays[] = {"k8s/overlays/kind", "k8s/overlays/local", "k8s/base"};
    bool found = false;
    for (size_t i = 0; i < 3 && !found; i++) {
        found = locate_data(overlays[i], f->overlay, sizeof f->overlay);
    }
    if (!found || !locate_data("Dockerfile", path, sizeof path)) {
        return launch_fail(l, "prereqs", "run it in the source folder, or set ODTO_SRCDIR",
                           "the Dockerfile or the k8s folder is not found");
    }
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

static int cluster(launch *l, const files *f)
{
    char *exists[] = {"sh", "-c", "kind get clusters | grep -qx " CLUSTER, NULL};
    if (launch_run(l, exists) == 0) {
        launch_step_line(l, "cluster", "skipped", "the cluster " CLUSTER " is there");
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

static int forward(launch *l, const char *service, const char *ports, int64_t *pid)
{
    char target[64];
    snprintf(target, sizeof target, "service/%s", service);
    char *argv[] = {"kubectl",      "--context", "kind-" CLUSTER, "-n", NAMESPACE,
                    "port-forward", target,      (char *)ports,   NULL};
    *pid = launch_spawn(l, argv);
    return *pid < 0 ? -1 : 0;
}

static int ports(launch *l)
{
    int64_t pids[3] = {0};
    char url[256], why[160];
    launch_step_line(l, "ports", "starting", "forwarding 3000, 8080 and 8081");
    if (forward(l, "gateway", "3000:3000", &pids[0]) || forward(l, "read-model", "8080:8080", &pids[1]) ||
        forward(l, "web-ui-http", "8081:8081", &pids[2])) {
        return launch_fail(l, "ports", "kubectl -n " NAMESPACE " get services",
                           "kubectl port-forward cannot start");
    }
    launch_remember(l, "cluster", pids, 3);
    snprintf(url, sizeof url, "%s/healthz", l->gateway);
    if (launch_wait_http(l, url, pids[0], why, sizeof why)) {
        launch_log_tail(l, 8);
        return launch_fail(l, "ports", "kubectl -n " NAMESPACE " logs deploy/gateway", "the gateway: %s",
                           why);
    }
    launch_step_line(l, "ports", "complete", "3000, 8080 and 8081 are forwarded");
    return 0;
}

static int verify(launch *l)
{
    char url[256], why[160];
    launch_step_line(l, "verify", "starting", "asking for the statistics");
    snprintf(url, sizeof url, "%s/stats", l->read);
    if (launch_wait_http(l, url, 0, why, sizeof why)) {
        return launch_fail(l, "verify", "kubectl -n " NAMESPACE " logs deploy/read-model",
                           "the read model: %s", why);
    }
    launch_step_line(l, "verify", "complete", "the read model answers");
    return 0;
}

int launch_cluster(launch *l)
{
    files f = {0};
    char image[64];
    l->timeout_s = l->timeout_s < 120 ? 120 : l->timeout_s;
    if (prereqs(l, &f) || cluster(l, &f)) {
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
        tool_step(l, "deploy", "applying the manifests", "kubectl apply -k prints what it refuses", apply) ||
        tool_step(l, "pods", "waiting for the pods",
                  "kubectl -n " NAMESPACE " get pods shows which one is late", wait) ||
        ports(l) || verify(l)) {
        return -1;
    }
    launch_ready(l);
    return 0;
}
