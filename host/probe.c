/* probe.c — see probe.h. fork without exec is not safe in a threaded process, so the trial is a program:
 * odto-probe. */
#include "host/probe.h"
#include "host/crash.h"
#include "host/isolate.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

void helper_program(const char *name, char *out, size_t size)
{
    char exe[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    exe[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(exe, '/');
    if (slash)
        *slash = '\0';
    static const char *const beside[] = {"", "../libexec/odto/"}; /* build tree; any prefix */
    for (size_t i = 0; i < sizeof beside / sizeof beside[0]; i++) {
        snprintf(out, size, "%.4000s/%s%s", exe, beside[i], name);
        if (access(out, X_OK) == 0)
            return;
    }
    snprintf(out, size, "%s/%s", ODTO_LIBEXECDIR, name);
}

static int spawn_probe(char *const argv[], int out_fd, pid_t *pid)
{
    posix_spawn_file_actions_t fa;
    posix_spawnattr_t at;
    sigset_t none;
    sigemptyset(&none);
    posix_spawn_file_actions_init(&fa);
    posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&fa, out_fd, 1);
    posix_spawn_file_actions_adddup2(&fa, out_fd, 2);
    posix_spawn_file_actions_addclosefrom_np(&fa, 3);
    posix_spawnattr_init(&at);
    posix_spawnattr_setsigmask(&at, &none);
    posix_spawnattr_setflags(&at, POSIX_SPAWN_SETSIGMASK);
    int r = posix_spawn(pid, argv[0], &fa, &at, argv, environ);
    posix_spawnattr_destroy(&at);
    posix_spawn_file_actions_destroy(&fa);
    return -r;
}

/* Wait for the child; past the deadline it is killed. Returns its wait status, -1 when killed by us. */
static int wait_probe(pid_t pid, int64_t timeout_ns)
{
    int status = 0;
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    struct timespec ts = {timeout_ns / ODTO_SEC, timeout_ns % ODTO_SEC};
    bool late = fd >= 0 && ppoll(&p, 1, &ts, NULL) == 0;
    if (late)
        kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    if (fd >= 0)
        close(fd);
    return late ? -1 : status;
}

/* What the probe said, one line. */
static void read_words(int fd, char *out, size_t size)
{
    ssize_t n = read(fd, out, size - 1);
    out[n > 0 ? n : 0] = '\0';
    for (char *p = out; *p; p++)
        if (*p == '\n')
            *p = p[1] ? ' ' : '\0';
}

static int run_probe(const struct image *image, const char *section, const char *manifest_path,
                     int64_t timeout_ns, odto_error *err)
{
    char program[PATH_MAX + 16], words[480];
    helper_program("odto-probe", program, sizeof program);
    int fds[2];
    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
        return odto_fail(err, -errno, "can't probe %s: %s", image->source, strerror(errno));
    char *argv[] = {program, (char *)image->path, (char *)manifest_path, (char *)section, NULL};
    pid_t pid;
    int r = spawn_probe(argv, fds[1], &pid);
    close(fds[1]);
    if (r < 0) {
        close(fds[0]);
        return odto_fail(err, r, "can't start %s: %s", program, strerror(-r));
    }
    int status = wait_probe(pid, timeout_ns);
    read_words(fds[0], words, sizeof words);
    close(fds[0]);
    if (status == 0)
        return 0;
    if (status == -1)
        odto_fail(err, -ETIMEDOUT, "%s: its trial in a process of its own did not end within %.1f s",
                  image->source, (double)timeout_ns / 1e9);
    else if (WIFSIGNALED(status))
        odto_fail(err, -ENOEXEC, "%s: it crashed in its trial (signal %d, %s)", image->source,
                  WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        odto_fail(err, -ENOEXEC, "%s: it failed its trial", image->source);
    odto_error_detail(err, "%s", words);
    odto_error_hint(err, "`%s %s %s %s` repeats the trial", program, image->source, manifest_path, section);
    return err && err->code ? err->code : -ENOEXEC;
}

/* ---- what is remembered: DATA/probed/HASH, passed its trial; DATA/good/NAME.so, has worked for a while ----
 */

static void probed_path(const struct core *core, const char *hash, char *out, size_t size)
{
    snprintf(out, size, "%s/probed/%s", core->data_dir, hash);
}

static bool was_probed(const struct core *core, const char *hash)
{
    char path[4300];
    probed_path(core, hash, path, sizeof path);
    return !core->checking && access(path, F_OK) == 0;
}

static void remember_probed(const struct core *core, const char *hash)
{
    char path[4300];
    if (core->checking)
        return;
    snprintf(path, sizeof path, "%s/probed", core->data_dir);
    mkdir(path, 0700);
    probed_path(core, hash, path, sizeof path);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0)
        close(fd);
}

void probe_mark_good(struct unit *u)
{
    char path[4300], hash[LOADER_HASH_LEN + 1];
    if (crash_good_copy(u->core->data_dir, u->name, path, sizeof path) && loader_hash(path, hash) == 0 &&
        strcmp(hash, u->image->hash) == 0)
        return;
    int r = crash_keep_good(u->core->data_dir, u->name, u->image->path);
    if (r < 0)
        log_write(u->core->log, ODTO_WARN, NULL, "%s: can't keep a copy that works: %s", u->name,
                  strerror(-r));
}

static bool quarantined(const struct core *core, const char *hash, odto_error *err)
{
    const odto_config *c = manifest_host(core->manifest);
    int64_t limit = odto_config_int(c, "crash_limit"), window = odto_config_int(c, "crash_window");
    unsigned crashes = core->checking ? 0 : crash_tally(core->data_dir, hash, window / ODTO_MS);
    if (crashes < (unsigned)limit)
        return false;
    odto_fail(err, -EPERM, "this copy crashed the host or its worker %u times lately and is set aside",
              crashes);
    odto_error_detail(err, "SHA-256 %s", hash);
    odto_error_hint(err, "install a mended one; %s/crashes keeps the tally", core->data_dir);
    return true;
}

/* Map it here, or have a worker describe it. */
static int open_image(struct unit *u, struct image *image, const manifest_section *section, const char *file,
                      odto_error *err)
{
    if (!isolate_wanted(section, u->kind, file))
        return loader_open(image, err);
    if (u->kind == ODTO_KIND_HANDLER && !isolate_seat(u))
        return odto_fail(err, -ENOMEM, "no memory");
    return isolate_open(u->core, u->name, image, err);
}

static struct image *open_staged(struct unit *u, struct image *image, const manifest_section *section,
                                 const char *file, const char *manifest_path, odto_error *err)
{
    const odto_config *c = manifest_host(u->core->manifest);
    int r = 0;
    if (odto_config_bool(c, "probe") && !was_probed(u->core, image->hash)) {
        r = run_probe(image, section->name, manifest_path, odto_config_int(c, "probe_timeout"), err);
        if (r == 0)
            remember_probed(u->core, image->hash);
    }
    if (r == 0)
        r = open_image(u, image, section, file, err);
    if (r == 0)
        return image;
    loader_close(image, false);
    free(image);
    return NULL;
}

struct image *unit_map_probed(struct unit *u, const char *file, const manifest_section *section,
                              const char *manifest_path, odto_error *err)
{
    struct image *image = unit_stage(u, file, err);
    if (!image)
        return NULL;
    odto_error why = {0};
    char good[4300];
    if (quarantined(u->core, image->hash, &why)) {
        loader_close(image, false);
        free(image);
        if (!crash_good_copy(u->core->data_dir, u->name, good, sizeof good)) {
            *err = why;
            return NULL;
        }
        log_error(u->core->log, ODTO_ERROR, u->name, &why);
        image = unit_stage(u, good, err);
        if (image && quarantined(u->core, image->hash, err)) {
            loader_close(image, false);
            free(image);
            image = NULL;
        }
        if (!image)
            return NULL;
        log_write(u->core->log, ODTO_WARN, NULL, "%s: its last known good copy is used", u->name);
    }
    return open_staged(u, image, section, file, manifest_path, err);
}
