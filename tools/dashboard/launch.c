/* launch — options, progress lines, processes; see launch.h. */
#include "launch.h"

#include "locate.h"
#include "probe.h"
#include "text.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <json-c/json.h>
#include <odto/json.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STOP_MS 20000

extern char **environ;

static void emit(const launch *l, const char *step, const char *status, const char *message,
                 const char *remedy)
{
    odto_buf b = {0};
    if (!l->json) {
        printf("%-8s %-9s %s\n", step, status, message);
        if (remedy) {
            printf("         remedy    %s\n", remedy);
        }
        fflush(stdout);
        return;
    }
    odto_buf_printf(&b, "{\"step\":\"%s\",\"status\":\"%s\",\"message\":", step, status);
    odto_buf_jsonz(&b, message);
    if (remedy) {
        odto_buf_str(&b, ",\"remedy\":");
        odto_buf_jsonz(&b, remedy);
    }
    if (l->pid) {
        odto_buf_printf(&b, ",\"pid\":%lld", (long long)l->pid);
    }
    if (!strcmp(step, "ready")) {
        odto_buf_str(&b, ",\"urls\":{\"gateway\":");
        odto_buf_jsonz(&b, l->gateway);
        odto_buf_str(&b, ",\"readModel\":");
        odto_buf_jsonz(&b, l->read);
        odto_buf_printf(&b, ",\"web\":\"http://localhost:%d\"}", launch_web_port());
    }
    odto_buf_str(&b, "}");
    if (!b.failed) {
        puts(b.p);
        fflush(stdout);
    }
    odto_buf_free(&b);
}

void launch_step_line(const launch *l, const char *step, const char *status, const char *fmt, ...)
{
    char raw[400], message[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(raw, sizeof raw, fmt, ap);
    va_end(ap);
    text_clean(message, sizeof message, raw);
    emit(l, step, status, message, NULL);
}

int launch_fail(const launch *l, const char *step, const char *remedy, const char *fmt, ...)
{
    char raw[400], message[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(raw, sizeof raw, fmt, ap);
    va_end(ap);
    text_clean(message, sizeof message, raw);
    emit(l, step, "error", message, remedy);
    return -1;
}

static void log_line(const launch *l, const char *text)
{
    char clean[200];
    text_clean(clean, sizeof clean, text);
    if (!l->json) {
        printf("         %s\n", clean);
    } else if (clean[0]) {
        odto_buf b = {0};
        odto_buf_str(&b, "{\"log\":");
        odto_buf_jsonz(&b, clean);
        odto_buf_str(&b, "}");
        if (!b.failed) {
            puts(b.p);
        }
        odto_buf_free(&b);
    }
    fflush(stdout);
}

/* Own session, so that a Ctrl+C here or the end of the launcher does not reach it. */
static int spawn(pid_t *pid, char *const argv[], int out, bool session)
{
    posix_spawn_file_actions_t fa;
    posix_spawnattr_t at;
    posix_spawn_file_actions_init(&fa);
    posix_spawnattr_init(&at);
    posix_spawnattr_setflags(&at, session ? POSIX_SPAWN_SETSID : 0);
    posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&fa, out, 1);
    posix_spawn_file_actions_adddup2(&fa, out, 2);
    posix_spawn_file_actions_addclosefrom_np(&fa, 3);
    int rc = posix_spawnp(pid, argv[0], &fa, &at, argv, environ);
    posix_spawn_file_actions_destroy(&fa);
    posix_spawnattr_destroy(&at);
    return -rc;
}

int64_t launch_spawn(const launch *l, char *const argv[])
{
    pid_t pid;
    int fd = open(l->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0) {
        return -errno;
    }
    int rc = spawn(&pid, argv, fd, true);
    close(fd);
    return rc ? rc : pid;
}

int launch_run(const launch *l, char *const argv[])
{
    int p[2];
    pid_t pid;
    if (pipe2(p, O_CLOEXEC) < 0) {
        return -1;
    }
    int rc = spawn(&pid, argv, p[1], false);
    close(p[1]);
    FILE *f = rc ? NULL : fdopen(p[0], "r");
    if (!f) {
        close(p[0]);
        return -1;
    }
    char line[1024];
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, "\r\n")] = '\0';
        log_line(l, line);
    }
    fclose(f);
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void launch_log_tail(const launch *l, int lines)
{
    char buf[8192];
    int fd = open(l->log, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return;
    }
    off_t end = lseek(fd, 0, SEEK_END);
    off_t from = end > (off_t)sizeof buf - 1 ? end - (off_t)sizeof buf + 1 : 0;
    ssize_t n = pread(fd, buf, sizeof buf - 1, from);
    close(fd);
    if (n <= 0) {
        return;
    }
    buf[n] = '\0';
    char *p = buf + n;
    for (int seen = 0; p > buf && seen <= lines; p--) {
        seen += p[-1] == '\n' && p < buf + n;
        if (seen == lines) {
            break;
        }
    }
    for (char *save = NULL, *s = strtok_r(p, "\n", &save); s; s = strtok_r(NULL, "\n", &save)) {
        log_line(l, s);
    }
}

/* Field 22 of /proc/pid/stat: a process id with its start time is not reused. 0 when it is gone. */
static unsigned long long start_time(int64_t pid)
{
    char path[64], buf[1024];
    snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, buf, sizeof buf - 1) : -1;
    if (fd >= 0) {
        close(fd);
    }
    if (n <= 0) {
        return 0;
    }
    buf[n] = '\0';
    char *p = strrchr(buf, ')');
    unsigned long long t = 0;
    char state = 0;
    if (!p ||
        sscanf(p + 1, " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
               &state, &t) != 2) {
        return 0;
    }
    return state == 'Z' ? 0 : t;
}

static void record_path(const launch *l, const char *kind, char *path, size_t size)
{
    snprintf(path, size, "%s/%s.json", l->state, kind);
}

int launch_port_of(const char *url)
{
    char scheme[16], host[128];
    int port = 80;
    return probe_url(url, scheme, sizeof scheme, host, sizeof host, &port) ? port : 0;
}

int launch_web_port(void)
{
    const char *set = getenv("WEB_PORT");
    int port = set ? atoi(set) : 0;
    return port > 0 && port < 65536 ? port : 8081;
}

int launch_remember(const launch *l, const char *kind, const int64_t *pids, int n, bool made)
{
    char path[600];
    odto_buf b = {0};
    odto_buf_printf(&b, "{\"made\":%s,\"processes\":[", made ? "true" : "false");
    for (int i = 0; i < n; i++) {
        odto_buf_printf(&b, "%s{\"pid\":%lld,\"start\":%llu}", i ? "," : "", (long long)pids[i],
                        start_time(pids[i]));
    }
    odto_buf_str(&b, "]}\n");
    record_path(l, kind, path, sizeof path);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool ok = fd >= 0 && !b.failed && write(fd, b.p, b.n) == (ssize_t)b.n;
    if (fd >= 0) {
        close(fd);
    }
    odto_buf_free(&b);
    return ok ? 0 : -EIO;
}

int launch_wait_http(const launch *l, const char *url, int64_t pid, char *why, size_t size)
{
    int64_t end = odto_now_ns() + l->timeout_s * ODTO_SEC;
    while (odto_now_ns() < end) {
        int code = probe_http(url, 1000, NULL, 0, why, size);
        /* an answer counts while it can be that of pid */
        if (pid && (waitpid((pid_t)pid, NULL, WNOHANG) == pid || !start_time(pid))) {
            snprintf(why, size, "the process that is to answer at %s ended", url);
            return -ESRCH;
        }
        if (code == 200) {
            return 0;
        }
        if (code > 0) {
            snprintf(why, size, "HTTP %d", code);
        }
        nanosleep(&(struct timespec){0, 100 * 1000000}, NULL);
    }
    return -ETIMEDOUT;
}

void launch_ready(const launch *l)
{
    launch_step_line(l, "ready", "complete", "gateway %s, read model %s", l->gateway, l->read);
}

static void env_url(char *out, size_t size, const char *name, const char *otherwise)
{
    const char *v = getenv(name);
    snprintf(out, size, "%s", v && v[0] ? v : otherwise);
    size_t n = strlen(out);
    while (n && out[n - 1] == '/') {
        out[--n] = '\0';
    }
}

static int init(launch *l, int argc, char **argv)
{
    static const struct option longs[] = {{"json", no_argument, NULL, 'j'},
                                          {"timeout", required_argument, NULL, 't'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    memset(l, 0, sizeof *l);
    l->timeout_s = 60;
    int o;
    optind = 0;
    while ((o = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
        if (o == 'j') {
            l->json = true;
        } else if (o == 't') {
            l->timeout_s = atoi(optarg);
        } else {
            fprintf(o == 'h' ? stdout : stderr,
                    "usage: odto-dashboard launch [--json] [--timeout SECONDS] local|cluster\n"
                    "       odto-dashboard stop [--json]\n");
            return o == 'h' ? 0 : 2;
        }
    }
    env_url(l->gateway, sizeof l->gateway, "GATEWAY_URL", "http://localhost:3000");
    env_url(l->read, sizeof l->read, "READ_MODEL_URL", "http://localhost:8080");
    int rc = locate_state(l->state, sizeof l->state, true);
    if (rc) {
        fprintf(stderr, "odto-dashboard: %s: %s\n", l->state, strerror(-rc));
        return 1;
    }
    snprintf(l->log, sizeof l->log, "%s/launch.log", l->state);
    return -1;
}

int launch_main(int argc, char **argv)
{
    launch l;
    int rc = init(&l, argc, argv);
    if (rc >= 0) {
        return rc;
    }
    const char *kind = optind < argc ? argv[optind] : "local";
    char before[620];
    snprintf(before, sizeof before, "%s.1", l.log);
    rename(l.log, before); /* a failing step shows the end of this launch's log, not of an older one */
    curl_global_init(CURL_GLOBAL_DEFAULT);
    if (!strcmp(kind, "local")) {
        return launch_local(&l) ? 1 : 0;
    }
    if (!strcmp(kind, "cluster")) {
        return launch_cluster(&l) ? 1 : 0;
    }
    fprintf(stderr, "odto-dashboard launch: unknown kind: %s (local or cluster)\n", kind);
    return 2;
}

/* TERM, then KILL when it is not gone in time. True when it is gone. */
static bool end_process(int64_t pid, unsigned long long start)
{
    int fd = pidfd_open((pid_t)pid, 0);
    if (fd < 0 || start_time(pid) != start) { /* checked after the pidfd holds the process */
        if (fd >= 0) {
            close(fd);
        }
        return true;
    }
    struct pollfd p = {fd, POLLIN, 0};
    pidfd_send_signal(fd, SIGTERM, NULL, 0);
    bool gone = poll(&p, 1, STOP_MS) > 0;
    if (!gone) {
        pidfd_send_signal(fd, SIGKILL, NULL, 0);
        gone = poll(&p, 1, 2000) > 0;
    }
    close(fd);
    return gone;
}

bool launch_end(const launch *l, const char *kind, bool *made)
{
    char path[600], text[80];
    record_path(l, kind, path, sizeof path);
    json_object *root = json_object_from_file(path), *list = NULL, *v = NULL;
    bool all = true;
    *made = json_object_object_get_ex(root, "made", &v) && json_object_get_boolean(v);
    size_t n = json_object_object_get_ex(root, "processes", &list) ? json_object_array_length(list) : 0;
    for (size_t i = 0; i < n; i++) {
        json_object *o = json_object_array_get_idx(list, i);
        int64_t pid = json_object_object_get_ex(o, "pid", &v) ? json_object_get_int64(v) : 0;
        uint64_t start = json_object_object_get_ex(o, "start", &v) ? json_object_get_uint64(v) : 0;
        bool gone = pid <= 1 || !start || end_process(pid, start);
        snprintf(text, sizeof text, gone ? "process %lld is stopped" : "process %lld does not end",
                 (long long)pid);
        log_line(l, text);
        all = all && gone;
    }
    json_object_put(root);
    return all;
}

/* What was started of a kind. True when nothing of it is left. */
static bool stop_kind(const launch *l, const char *kind)
{
    char path[600];
    bool made = false, all = launch_end(l, kind, &made);
    if (made) {
        char *remove_it[] = {"kind", "delete", "cluster", "--name", "odto", NULL};
        all = launch_run(l, remove_it) == 0 && all;
    }
    record_path(l, kind, path, sizeof path);
    if (all) {
        unlink(path);
    }
    return all;
}

int stop_main(int argc, char **argv)
{
    static const char *const kinds[] = {"local", "cluster"};
    launch l;
    int rc = init(&l, argc, argv);
    if (rc >= 0) {
        return rc;
    }
    bool any = false, all = true;
    for (size_t i = 0; i < 2; i++) {
        char path[600];
        record_path(&l, kinds[i], path, sizeof path);
        if (access(path, F_OK) == 0) {
            any = true;
            all = stop_kind(&l, kinds[i]) && all;
        }
    }
    if (!any) {
        log_line(&l, "nothing was started from here");
    }
    return all ? 0 : 1;
}
