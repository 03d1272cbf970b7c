/* doctor_checks — the checks themselves; see doctor.h. */
#include "doctor.h"

#include "doctor_config.h"
#include "locate.h"
#include "probe.h"
#include "text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <langinfo.h>
#include <odto/control.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define RUN_MS     3000
#define PROBE_MS   2000
#define SPACE_MIN  (256.0 * 1024 * 1024)
#define SPACE_GOOD (2048.0 * 1024 * 1024)
#define FSYNC_SLOW 50.0 /* ms */

extern char **environ;

static doctor_line line_of(const char *section, const char *name, doctor_verdict v)
{
    doctor_line l = {.section = section, .name = name, .verdict = v};
    return l;
}

/* ---- running programs ---------------------------------------------------------------------- */

static int64_t now_ms(void)
{
    return odto_now_ns() / ODTO_MS;
}

static size_t read_until(int fd, char *out, size_t size, int64_t deadline)
{
    size_t n = 0;
    for (;;) {
        struct pollfd p = {fd, POLLIN, 0};
        int64_t left = deadline - now_ms();
        if (left <= 0 || poll(&p, 1, (int)left) <= 0) {
            break;
        }
        char rest[256];
        bool room = n + 1 < size;
        ssize_t got = room ? read(fd, out + n, size - 1 - n) : read(fd, rest, sizeof rest);
        if (got <= 0) {
            break;
        }
        n += room ? (size_t)got : 0;
    }
    out[n] = '\0';
    return n;
}

/* Runs argv for at most RUN_MS; its output goes to out. Exit status, -1 when it could not run, -2 late. */
static int run(char *const argv[], char *out, size_t size)
{
    int p[2];
    pid_t pid;
    out[0] = '\0';
    if (pipe2(p, O_CLOEXEC) < 0) {
        return -1;
    }
    posix_spawn_file_actions_t fa;
    posix_spawn_file_actions_init(&fa);
    posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&fa, p[1], 1);
    posix_spawn_file_actions_adddup2(&fa, p[1], 2);
    int rc = posix_spawnp(&pid, argv[0], &fa, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&fa);
    close(p[1]);
    if (rc) {
        close(p[0]);
        return -1;
    }
    int64_t deadline = now_ms() + RUN_MS;
    read_until(p[0], out, size, deadline);
    close(p[0]);
    int status = 0;
    while (waitpid(pid, &status, WNOHANG) == 0) {
        if (now_ms() >= deadline) {
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            return -2;
        }
        nanosleep(&(struct timespec){0, 5000000}, NULL);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* ---- install commands ---------------------------------------------------------------------- */

typedef struct package {
    const char *tool, *apt, *dnf, *pacman, *apk, *brew;
} package;

static const package packages[] = {
    {"docker", "docker.io", "moby-engine", "docker", "docker", "docker"},
    {"kubectl", "kubernetes-client", "kubernetes-client", "kubectl", "kubectl", "kubernetes-cli"},
    {"kind", NULL, NULL, "kind", "kind", "kind"},
    {"curl", "curl", "curl", "curl", "curl", "curl"},
    {"xdg-open", "xdg-utils", "xdg-utils", "xdg-utils", "xdg-utils", NULL},
    {"wl-copy", "wl-clipboard", "wl-clipboard", "wl-clipboard", "wl-clipboard", NULL},
    {"xclip", "xclip", "xclip", "xclip", "xclip", NULL},
};

static void install_command(const char *tool, char *out, size_t size)
{
    const char *sudo = getuid() == 0 ? "" : "sudo ";
    char path[512];
    out[0] = '\0';
    for (size_t i = 0; i < sizeof packages / sizeof packages[0]; i++) {
        const package *p = &packages[i];
        if (strcmp(p->tool, tool) != 0) {
            continue;
        }
        if (p->apt && locate_program("apt-get", path, sizeof path)) {
            snprintf(out, size, "%sapt-get install -y %s", sudo, p->apt);
        } else if (p->dnf && locate_program("dnf", path, sizeof path)) {
            snprintf(out, size, "%sdnf install -y %s", sudo, p->dnf);
        } else if (p->pacman && locate_program("pacman", path, sizeof path)) {
            snprintf(out, size, "%spacman -S --noconfirm %s", sudo, p->pacman);
        } else if (p->apk && locate_program("apk", path, sizeof path)) {
            snprintf(out, size, "%sapk add %s", sudo, p->apk);
        } else if (p->brew && locate_program("brew", path, sizeof path)) {
            snprintf(out, size, "brew install %s", p->brew);
        } else if (!strcmp(tool, "kind") && locate_program("go", path, sizeof path)) {
            snprintf(out, size, "go install sigs.k8s.io/kind@latest");
        }
    }
}

/* ---- platform ------------------------------------------------------------------------------ */

static void os_name(char *out, size_t size)
{
    char file[4096];
    int fd = open("/etc/os-release", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, file, sizeof file - 1) : -1;
    if (fd >= 0) {
        close(fd);
    }
    snprintf(out, size, "Unix");
    if (n <= 0) {
        return;
    }
    file[n] = '\0';
    const char *p = strstr(file, "PRETTY_NAME=");
    if (p) {
        p += strlen("PRETTY_NAME=");
        p += *p == '"';
        snprintf(out, size, "%.*s", (int)strcspn(p, "\"\n"), p);
    }
}

void doctor_platform(doctor *d)
{
    struct utsname u;
    char os[128];
    os_name(os, sizeof os);
    uname(&u);
    doctor_line l = line_of("platform", "system", DOCTOR_OK);
    bool linux_64 =
        !strcmp(u.sysname, "Linux") && (!strcmp(u.machine, "x86_64") || !strcmp(u.machine, "aarch64"));
    l.verdict = linux_64 ? DOCTOR_OK : DOCTOR_WARN;
    snprintf(l.detail, sizeof l.detail, "%s, %.20s %.60s, %.20s", os, u.sysname, u.release, u.machine);
    snprintf(l.hint, sizeof l.hint, "%s", linux_64 ? "" : "built and tested on Linux x86_64 and aarch64");
    doctor_report(d, &l);

    l = line_of("platform", "machine", DOCTOR_OK);
    long cpus = sysconf(_SC_NPROCESSORS_ONLN), pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    double memory = (double)pages * (double)page / (1 << 30);
    snprintf(l.detail, sizeof l.detail, "%ld CPUs, %.1f GiB memory", cpus, memory);
    if (memory < 0.5) {
        l.verdict = DOCTOR_WARN;
        snprintf(l.hint, sizeof l.hint, "half a GiB or more is better");
    }
    doctor_report(d, &l);

    const char *term = getenv("TERM");
    bool utf8 = !strcmp(nl_langinfo(CODESET), "UTF-8");
    l = line_of("platform", "terminal", utf8 ? DOCTOR_OK : DOCTOR_WARN);
    snprintf(l.detail, sizeof l.detail, "TERM=%s, %s", term && term[0] ? term : "(unset)",
             nl_langinfo(CODESET));
    snprintf(l.hint, sizeof l.hint, "%s", utf8 ? "" : "a UTF-8 locale (LANG=C.UTF-8) gives better pictures");
    doctor_report(d, &l);
}

/* ---- programs ------------------------------------------------------------------------------ */

static void first_line(char *s)
{
    s[strcspn(s, "\n")] = '\0';
}

/* One program and its version; `needed` ones fail, the others warn when away. */
static void program(doctor *d, const char *name, const char *arg1, const char *arg2, bool needed,
                    const char *why)
{
    char path[512], out[512] = "";
    doctor_line l = line_of("programs", name, DOCTOR_OK);
    if (!locate_program(name, path, sizeof path)) {
        l.verdict = needed ? DOCTOR_FAIL : DOCTOR_WARN;
        snprintf(l.detail, sizeof l.detail, "not found; %s", why);
        install_command(name, l.install, sizeof l.install);
        if (!l.install[0]) {
            snprintf(l.hint, sizeof l.hint, "%s",
                     !strcmp(name, "odto-host") ? "build it with make, or put it on PATH"
                     : !strcmp(name, "kind")    ? "https://kind.sigs.k8s.io/#installation"
                                                : "install it by hand");
        }
        doctor_report(d, &l);
        return;
    }
    char *argv[] = {path, (char *)arg1, (char *)arg2, NULL};
    int rc = arg1 ? run(argv, out, sizeof out) : 0;
    first_line(out);
    if (rc) {
        l.verdict = needed ? DOCTOR_FAIL : DOCTOR_WARN;
        snprintf(l.detail, sizeof l.detail, rc == -2 ? "%.120s: no answer" : "%.120s: cannot run: %.100s",
                 path, out);
    } else {
        snprintf(l.detail, sizeof l.detail, "%.250s", out[0] ? out : path);
    }
    doctor_report(d, &l);
}

/* docker is there, but is its daemon? */
static void docker_daemon(doctor *d)
{
    char path[512], out[512];
    if (!locate_program("docker", path, sizeof path)) {
        return;
    }
    char *argv[] = {path, "version", "--format", "{{.Server.Version}}", NULL};
    int rc = run(argv, out, sizeof out);
    first_line(out);
    doctor_line l = line_of("programs", "docker daemon", DOCTOR_OK);
    if (rc) {
        l.verdict = d->cluster ? DOCTOR_FAIL : DOCTOR_WARN;
        snprintf(l.hint, sizeof l.hint, "start it: sudo systemctl start docker");
    }
    snprintf(l.detail, sizeof l.detail, "%.200s", rc == -2 ? "no answer" : out[0] ? out : "not running");
    doctor_report(d, &l);
}

void doctor_programs(doctor *d)
{
    program(d, "odto-host", "--version", NULL, true, "nothing can be started here without it");
    program(d, "docker", "--version", NULL, d->cluster, "only for the Kubernetes launcher");
    docker_daemon(d);
    program(d, "kind", "version", NULL, d->cluster, "only for the Kubernetes launcher");
    program(d, "kubectl", "version", "--client", d->cluster, "only for the Kubernetes launcher");
    if (getenv("WAYLAND_DISPLAY")) {
        program(d, "wl-copy", "--version", NULL, false, "copying goes through the terminal");
    } else if (getenv("DISPLAY")) {
        program(d, "xclip", "-version", NULL, false, "copying goes through the terminal");
    }
    if (getenv("DISPLAY") || getenv("WAYLAND_DISPLAY")) {
        program(d, "xdg-open", "--version", NULL, false, "URLs are shown and copied, not opened");
    }
}

/* ---- manifest and data directory ----------------------------------------------------------- */

void doctor_manifest(doctor *d)
{
    char host[512], out[1024];
    doctor_line l = line_of("manifest", "manifest", DOCTOR_OK);
    if (!d->manifest[0] && !locate_manifest(d->manifest, sizeof d->manifest)) {
        l.verdict = DOCTOR_FAIL;
        snprintf(l.detail, sizeof l.detail, "none found (last looked at %.160s)", d->manifest);
        snprintf(l.hint, sizeof l.hint, "give one with --manifest or ODTO_MANIFEST");
        doctor_report(d, &l);
        return;
    }
    if (access(d->manifest, R_OK) < 0) {
        l.verdict = DOCTOR_FAIL;
        snprintf(l.detail, sizeof l.detail, "%.180s: %s", d->manifest, strerror(errno));
        doctor_report(d, &l);
        return;
    }
    if (!locate_program("odto-host", host, sizeof host)) {
        l.verdict = DOCTOR_WARN;
        snprintf(l.detail, sizeof l.detail, "%.180s (readable; not checked without odto-host)", d->manifest);
        doctor_report(d, &l);
        return;
    }
    char *argv[] = {host, "-c", d->manifest, "--check", NULL};
    int rc = run(argv, out, sizeof out);
    l.verdict = rc ? DOCTOR_FAIL : DOCTOR_OK;
    snprintf(l.detail, sizeof l.detail, "%.200s%s", d->manifest,
             rc ? " is refused" : ", checked by odto-host");
    if (rc) {
        text_clean(l.hint, sizeof l.hint, out[0] ? out : "odto-host --check says why");
    }
    doctor_report(d, &l);
}

/* The host's own rule: ODTO_DATA_DIR, [host] data_dir, the default. */
static void find_data_dir(doctor *d)
{
    const char *env = getenv("ODTO_DATA_DIR");
    bool set = env && env[0];
    if (!d->data_dir[0] &&
        (set || !locate_ini(d->manifest, "host", "data_dir", d->data_dir, sizeof d->data_dir))) {
        odto_default_data_dir(d->data_dir, sizeof d->data_dir);
    }
}

static const char *fs_name(long type)
{
    static const struct {
        unsigned long magic;
        const char *name;
    } names[] = {{0xEF53, "ext4"},        {0x58465342, "xfs"},   {0x9123683E, "btrfs"}, {0x01021994, "tmpfs"},
                 {0x794c7630, "overlay"}, {0x6969, "nfs"},       {0x2FC12FC1, "zfs"},   {0xF2F52010, "f2fs"},
                 {0x65735546, "fuse"},    {0xFF534D42, "cifs"},  {0xFE534D42, "smb2"},  {0x858458F6, "ramfs"},
                 {0x01021997, "9p"},      {0x786F4256, "vboxsf"}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (names[i].magic == (unsigned long)type) {
            return names[i].name;
        }
    }
    return "unknown file system";
}

/* The nearest existing folder at or above path. */
static void existing_parent(const char *path, char *out, size_t size)
{
    snprintf(out, size, "%s", path);
    while (access(out, F_OK) < 0) {
        char *slash = strrchr(out, '/');
        if (!slash || slash == out) {
            snprintf(out, size, slash ? "/" : ".");
            return;
        }
        *slash = '\0';
    }
}

/* Milliseconds of a 4 kB write with fsync in dir, the best of three; negative errno. */
static double fsync_ms(const char *dir)
{
    char name[600], block[4096] = {0};
    snprintf(name, sizeof name, "%s/.odto-doctor-XXXXXX", dir);
    int fd = mkostemp(name, O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    unlink(name);
    double best = 1e9;
    for (int i = 0; i < 3; i++) {
        int64_t t = odto_now_ns();
        if (pwrite(fd, block, sizeof block, 0) < 0 || fdatasync(fd) < 0) {
            best = -errno;
            break;
        }
        double ms = (double)(odto_now_ns() - t) / 1e6;
        best = ms < best ? ms : best;
    }
    close(fd);
    return best;
}

static void data_space(doctor *d, const char *dir)
{
    struct statvfs v;
    doctor_line l = line_of("data", "space", DOCTOR_OK);
    if (statvfs(dir, &v) < 0) {
        l.verdict = DOCTOR_FAIL;
        snprintf(l.detail, sizeof l.detail, "%.180s: %s", dir, strerror(errno));
    } else {
        double bytes = (double)v.f_bavail * (double)v.f_frsize;
        snprintf(l.detail, sizeof l.detail, "%.1f GiB free", bytes / (1 << 30));
        l.verdict = bytes < SPACE_MIN ? DOCTOR_FAIL : bytes < SPACE_GOOD ? DOCTOR_WARN : DOCTOR_OK;
        snprintf(l.hint, sizeof l.hint, "%s", l.verdict ? "free some, or set data_dir to a larger disk" : "");
    }
    doctor_report(d, &l);
}

static void data_durability(doctor *d, const char *dir)
{
    struct statfs fs;
    doctor_line l = line_of("data", "durability", DOCTOR_OK);
    const char *name = statfs(dir, &fs) == 0 ? fs_name((long)fs.f_type) : "unknown file system";
    double ms = fsync_ms(dir);
    if (ms < 0) {
        l.verdict = DOCTOR_FAIL;
        snprintf(l.detail, sizeof l.detail, "%s: cannot write and sync: %s", name, strerror((int)-ms));
        doctor_report(d, &l);
        return;
    }
    snprintf(l.detail, sizeof l.detail, "%s, a synced write takes %.2f ms", name, ms);
    if (!strcmp(name, "tmpfs") || !strcmp(name, "ramfs")) {
        l.verdict = DOCTOR_WARN;
        snprintf(l.hint, sizeof l.hint, "memory only: accepted jobs do not survive a restart of the machine");
    } else if (!strcmp(name, "nfs") || !strcmp(name, "cifs") || !strcmp(name, "smb2") ||
               !strcmp(name, "9p")) {
        l.verdict = DOCTOR_WARN;
        snprintf(l.hint, sizeof l.hint, "locks and sync over a network are not dependable: use a local disk");
    } else if (ms > FSYNC_SLOW) {
        l.verdict = DOCTOR_WARN;
        snprintf(l.hint, sizeof l.hint, "slow: every accepted batch waits for it");
    }
    doctor_report(d, &l);
}

void doctor_data(doctor *d)
{
    char dir[512];
    struct stat st;
    find_data_dir(d);
    existing_parent(d->data_dir, dir, sizeof dir);
    bool made = !strcmp(dir, d->data_dir);
    doctor_line l = line_of("data", "directory", DOCTOR_OK);
    if (access(dir, W_OK | X_OK) < 0) {
        l.verdict = DOCTOR_FAIL;
        snprintf(l.detail, sizeof l.detail, "%.180s: %s", dir, strerror(errno));
        snprintf(l.hint, sizeof l.hint, "give this user rights to it, or set ODTO_DATA_DIR");
        doctor_report(d, &l);
        return;
    }
    snprintf(l.detail, sizeof l.detail, "%.200s%s", d->data_dir, made ? "" : " (will be made)");
    if (made && stat(dir, &st) == 0 && (st.st_mode & 0022)) {
        l.verdict = DOCTOR_WARN;
        snprintf(l.hint, sizeof l.hint, "others may write there: chmod go-w %.180s", dir);
    }
    doctor_report(d, &l);
    data_space(d, dir);
    data_durability(d, dir);
}

/* ---- ports --------------------------------------------------------------------------------- */

/* The inode of the socket that listens on a port, 0 when not found. */
static unsigned long listener_inode(const char *table, int port)
{
    char line[512];
    unsigned long found = 0;
    FILE *f = fopen(table, "re");
    while (f && !found && fgets(line, sizeof line, f)) {
        unsigned local = 0, state = 0;
        unsigned long inode = 0;
        if (sscanf(line, " %*u: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*s %*s %*s %*s %*s %lu", &local,
                   &state, &inode) == 3 &&
            (int)local == port && state == 0x0A) {
            found = inode;
        }
    }
    if (f) {
        fclose(f);
    }
    return found;
}

static bool has_socket(const char *pid, const char *want)
{
    char dir[300], path[600], target[64];
    snprintf(dir, sizeof dir, "/proc/%s/fd", pid);
    DIR *d = opendir(dir);
    bool found = false;
    for (struct dirent *e; d && !found && (e = readdir(d));) {
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        ssize_t n = readlink(path, target, sizeof target - 1);
        target[n > 0 ? n : 0] = '\0';
        found = !strcmp(target, want);
    }
    if (d) {
        closedir(d);
    }
    return found;
}

/* "nginx (pid 12)"; false where /proc does not let us see it: another user's program. */
static bool who_listens(int port, char *out, size_t size)
{
    unsigned long inode = listener_inode("/proc/net/tcp", port);
    char want[64], path[300], name[64] = "";
    inode = inode ? inode : listener_inode("/proc/net/tcp6", port);
    snprintf(want, sizeof want, "socket:[%lu]", inode);
    snprintf(out, size, "a program that this user may not look at");
    DIR *d = inode ? opendir("/proc") : NULL;
    bool found = false;
    for (struct dirent *e; d && !found && (e = readdir(d));) {
        if (e->d_name[0] < '0' || e->d_name[0] > '9' || !has_socket(e->d_name, want)) {
            continue;
        }
        snprintf(path, sizeof path, "/proc/%s/comm", e->d_name);
        FILE *f = fopen(path, "re");
        if (f && fgets(name, sizeof name, f)) {
            name[strcspn(name, "\n")] = '\0';
            snprintf(out, size, "%s (pid %.12s)", name, e->d_name);
            found = true;
        }
        if (f) {
            fclose(f);
        }
    }
    if (d) {
        closedir(d);
    }
    return found;
}

/* Does one of our services answer there? */
static bool answers_ours(const doctor_listener *p)
{
    char url[256], why[128], body[256];
    bool any = !p->host[0] || !strcmp(p->host, "0.0.0.0") || !strcmp(p->host, "::");
    const char *host = any ? "127.0.0.1" : p->host;
    if (!p->path) {
        return false;
    }
    snprintf(url, sizeof url, strchr(host, ':') ? "http://[%s]:%d%s" : "http://%s:%d%s", host, p->port,
             p->path);
    return probe_http(url, PROBE_MS, body, sizeof body, why, sizeof why) == 200 && strstr(body, "ok");
}

static void port_in_use(const doctor_listener *p, doctor_line *l)
{
    char who[96];
    bool known = who_listens(p->port, who, sizeof who);
    bool ours = (known && strstr(who, "odto")) || answers_ours(p);
    /* a host that runs as another user is healthy: who cannot be told is no failure */
    l->verdict = ours ? DOCTOR_OK : known ? DOCTOR_FAIL : DOCTOR_WARN;
    snprintf(l->detail, sizeof l->detail, ours ? "in use by %s: a system is running" : "in use by %s", who);
    snprintf(l->hint, sizeof l->hint, "%s",
             ours    ? ""
             : known ? "stop that program, or set listen in the manifest"
                     : "if it is not odto: stop it, or set listen in the manifest");
}

static void check_listener(doctor *d, const doctor_listener *p)
{
    char name[80];
    snprintf(name, sizeof name, "%d %s", p->port, p->name);
    doctor_line l = line_of("ports", name, DOCTOR_OK);
    int rc = p->port ? probe_listen(p->host, p->port) : 0;
    if (rc == -EADDRINUSE) {
        port_in_use(p, &l);
    } else if (rc) {
        l.verdict = DOCTOR_FAIL;
        snprintf(l.detail, sizeof l.detail, "cannot listen on %.120s: %s", p->host, strerror(-rc));
        snprintf(l.hint, sizeof l.hint, "%s",
                 rc == -EACCES ? "a port above 1023 needs no rights: set listen in the manifest"
                               : "set listen in the manifest to an address of this machine");
    } else {
        snprintf(l.detail, sizeof l.detail, p->port ? "free" : "any free port");
    }
    doctor_report(d, &l);
}

/* The manifest's listeners; where there is none to read, those of the manifest that comes with odto. */
void doctor_ports(doctor *d)
{
    static const doctor_listener usual[] = {
        {"gateway", "127.0.0.1", 3000, "/livez"},   {"read model", "127.0.0.1", 8080, "/livez"},
        {"web page", "127.0.0.1", 8081, "/health"}, {"processor", "127.0.0.1", 8000, "/healthz"},
        {"terminal", "127.0.0.1", 9000, NULL},      {"terminal", "127.0.0.1", 9001, "/healthz"}};
    doctor_config c;
    doctor_config_read(&c, d->manifest);
    const doctor_listener *list = c.read ? c.listeners : usual;
    size_t n = c.read ? c.n_listeners : sizeof usual / sizeof usual[0];
    for (size_t i = 0; i < n; i++) {
        check_listener(d, &list[i]);
    }
    if (!n) {
        doctor_line l = line_of("ports", "ports", DOCTOR_OK);
        snprintf(l.detail, sizeof l.detail, "the manifest has no listener");
        doctor_report(d, &l);
    }
}

/* ---- servers ------------------------------------------------------------------------------- */

static void http_server(doctor *d, const char *name, const char *base, const char *path)
{
    char url[512], why[160] = "";
    doctor_line l = line_of("servers", name, DOCTOR_OK);
    size_t n = strlen(base);
    snprintf(url, sizeof url, "%.*s%s", (int)(n && base[n - 1] == '/' ? n - 1 : n), base, path);
    int code = probe_http(url, PROBE_MS, NULL, 0, why, sizeof why);
    if (code < 0) {
        snprintf(l.detail, sizeof l.detail, "%.140s: %s", base, why);
    } else {
        snprintf(l.detail, sizeof l.detail, "%.140s answers %d", base, code);
    }
    l.verdict = code >= 200 && code < 400 ? DOCTOR_OK : DOCTOR_FAIL;
    snprintf(l.hint, sizeof l.hint, "%s", l.verdict ? "start it, or unset its variable" : "");
    doctor_report(d, &l);
}

/* The length of the first of several servers: amqp://a,amqp://b or postgresql://u:p@a:1,b:2/db. A comma
 * in a password, which stands before an @, separates nothing. */
static size_t first_server(const char *urls)
{
    const char *scheme = strstr(urls, "://"), *start = scheme ? scheme + 3 : urls;
    size_t n = strcspn(start, "/?");
    const char *at = memrchr(start, '@', n), *from = at ? at : start;
    const char *comma = memchr(from, ',', n - (size_t)(from - start));
    for (const char *c = start + n; !comma && (c = strchr(c, ',')); c++) {
        const char *next = strstr(c, "://"), *other = strchr(c + 1, ',');
        comma = next && (!other || next < other) ? c : NULL;
    }
    return comma ? (size_t)(comma - urls) : strlen(urls);
}

/* One that answers is enough: the others are tried in turn by the plugins too. */
static int probe_any(const char *urls, const char *kind, int port, char *why, size_t size)
{
    char one[1024];
    int rc = -EINVAL;
    while (rc && *urls) {
        size_t n = first_server(urls);
        snprintf(one, sizeof one, "%.*s", (int)n, urls);
        rc = probe_server(one, kind, port, PROBE_MS, why, size);
        urls += n + (urls[n] == ',');
        urls += strspn(urls, " ");
    }
    return rc;
}

typedef struct known_server {
    const char *env, *module, *name, *kind;
    int port;
} known_server;

static const known_server known_servers[] = {{"RABBITMQ_URL", "rabbitmq", "RabbitMQ", "amqp", 5672},
                                             {"POSTGRES_URL", "postgres", "PostgreSQL", "postgres", 5432},
                                             {"REDIS_URL", "redis", "Redis", "redis", 6379},
                                             {"MONGO_URL", "mongo", "MongoDB", "mongodb", 27017}};

/* title: the manifest's section that has the url; NULL: the variable has it. */
static void check_server(doctor *d, const known_server *k, const char *urls, const char *title)
{
    doctor_line l = line_of("servers", k->name, DOCTOR_OK);
    int rc = probe_any(urls, k->kind, k->port, l.detail, sizeof l.detail);
    l.verdict = rc ? DOCTOR_FAIL : DOCTOR_OK;
    if (rc && title) {
        snprintf(l.hint, sizeof l.hint, "start it, or correct its url in [%s] or %s", title, k->env);
    } else if (rc) {
        snprintf(l.hint, sizeof l.hint, "start it, or correct %s", k->env);
    }
    doctor_report(d, &l);
}

/* Those of the manifest, once each; a variable that the manifest has no section for is tried as well. */
static int data_servers(doctor *d, const doctor_config *c, const known_server *k)
{
    const char *env = getenv(k->env);
    int n = 0;
    for (size_t i = 0; i < c->n_servers; i++) {
        const doctor_server *s = &c->servers[i];
        bool again = false;
        for (size_t j = 0; j < i; j++) {
            again |= !strcmp(c->servers[j].module, s->module) && !strcmp(c->servers[j].url, s->url);
        }
        if (!again && !strcmp(s->module, k->module)) {
            check_server(d, k, s->url, s->from_env ? NULL : s->title);
            n++;
        }
    }
    if (!n && env && env[0]) {
        check_server(d, k, env, NULL);
        n++;
    }
    return n;
}

/* Only what the environment or the manifest names is needed; the embedded manifest wants no server at all. */
void doctor_servers(doctor *d)
{
    static const struct {
        const char *env, *name, *path;
    } services[] = {{"GATEWAY_URL", "gateway", "/healthz"},
                    {"READ_MODEL_URL", "read model", "/health"},
                    {"PROMETHEUS_URL", "Prometheus", "/-/ready"},
                    {"ALERTMANAGER_URL", "Alertmanager", "/-/ready"}};
    int configured = 0;
    doctor_config c;
    doctor_config_read(&c, d->manifest);
    for (size_t i = 0; i < sizeof services / sizeof services[0]; i++) {
        const char *url = getenv(services[i].env);
        if (url && url[0]) {
            configured++;
            http_server(d, services[i].name, url, services[i].path);
        }
    }
    for (size_t i = 0; i < sizeof known_servers / sizeof known_servers[0]; i++) {
        configured += data_servers(d, &c, &known_servers[i]);
    }
    if (!configured) {
        doctor_line l = line_of("servers", "servers", DOCTOR_OK);
        snprintf(l.detail, sizeof l.detail, "none configured: everything is embedded");
        doctor_report(d, &l);
    }
}
