/* main.c — odto-host: arguments, signals, the supervisor's loop. The only file with process-wide state:
 * signal masks, the crash record, and the one core. */
#include "host/core.h"
#include "host/crash.h"
#include "host/init.h"
#include "host/reload.h"
#include "host/watchdog.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sysexits.h>
#include <unistd.h>

static const char usage[] =
    "Usage: odto-host -c FILE [--check | --print]\n"
    "Runs the plugins that the manifest FILE names, in the foreground.\n\n"
    "  -c, --config FILE  the manifest (default: $ODTO_MANIFEST, ./etc/odto.ini, " ODTO_SYSCONFDIR
    "/odto/odto.ini)\n"
    "      --check        load and check everything the manifest names, start nothing; exit 0 or 78\n"
    "      --print        print the manifest as understood, secrets masked\n"
    "  -V, --version      version, ABI, build\n"
    "  -h, --help         this text\n\n"
    "Signals: TERM, INT orderly shutdown (again: at once); HUP reload what changed; USR1 state to the log.\n"
    "Exit: 0 orderly; 64 usage; 69 data directory in use; 70 a required plugin failed; 78 manifest.\n";

enum mode { MODE_RUN, MODE_CHECK, MODE_PRINT };

static void default_manifest(char *out, size_t size)
{
    const char *env = getenv("ODTO_MANIFEST");
    const char *tries[] = {env, "etc/odto.ini", ODTO_SYSCONFDIR "/odto/odto.ini"};
    for (size_t i = 0; i < 3; i++)
        if (tries[i] && (i == 0 || access(tries[i], R_OK) == 0)) {
            snprintf(out, size, "%s", tries[i]);
            return;
        }
    out[0] = '\0';
}

static int parse_args(int argc, char **argv, struct core *core, enum mode *mode)
{
    static const struct option longs[] = {
        {"config", required_argument, NULL, 'c'}, {"check", no_argument, NULL, 'k'},
        {"print", no_argument, NULL, 'p'},        {"version", no_argument, NULL, 'V'},
        {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0}};
    int o;
    default_manifest(core->manifest_path, sizeof core->manifest_path);
    while ((o = getopt_long(argc, argv, "c:Vh", longs, NULL)) != -1)
        switch (o) {
        case 'c':
            snprintf(core->manifest_path, sizeof core->manifest_path, "%s", optarg);
            break;
        case 'k':
            *mode = MODE_CHECK;
            break;
        case 'p':
            *mode = MODE_PRINT;
            break;
        case 'V':
            printf("odto-host " PACKAGE_VERSION " (plugin ABI %d.%d)\n", ODTO_ABI_MAJOR, ODTO_ABI_MINOR);
            exit(0);
        case 'h':
            fputs(usage, stdout);
            exit(0);
        default:
            fputs(usage, stderr);
            return -EINVAL;
        }
    if (optind < argc || !core->manifest_path[0]) {
        fprintf(stderr,
                optind < argc ? "odto-host: unexpected argument %s\n"
                              : "odto-host: no manifest: give -c FILE%s\n",
                optind < argc ? argv[optind] : "");
        return -EINVAL;
    }
    return 0;
}

static int open_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    const int taken[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGCHLD};
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++)
        sigaddset(&set, taken[i]);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    sigdelset(&set, SIGCHLD);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* True when the host is to end. */
static bool take_signals(struct core *core, int fd)
{
    struct signalfd_siginfo si;
    bool end = false, reload = false;
    while (read(fd, &si, sizeof si) == (ssize_t)sizeof si) {
        if (si.ssi_signo == SIGHUP)
            reload = true; /* any number of them is one reload */
        else if (si.ssi_signo == SIGUSR1)
            core_dump_state(core);
        else
            end = true;
    }
    if (reload && !end)
        reload_manifest(core, NULL, NULL);
    return end;
}

/* Sleeps until a signal, a command or the next restart is due. */
static void run(struct core *core)
{
    struct pollfd p[2] = {{.fd = core->signals, .events = POLLIN}, {.fd = core->wake_fd, .events = POLLIN}};
    for (;;) {
        int64_t next = supervisor_tick(core), watch = watch_tick(core);
        if (next < 0 || watch < next)
            next = watch;
        if (core->exit_code)
            return;
        if (core->rewake)
            next = 0;
        struct timespec ts = {next / ODTO_SEC, next % ODTO_SEC};
        if (ppoll(p, 2, &ts, NULL) < 0 && errno != EINTR)
            return;
        if (p[1].revents || core->rewake)
            core_run_commands(core);
        if (p[0].revents && take_signals(core, core->signals))
            return;
    }
}

static int run_host(struct core *core)
{
    odto_error err = {0};
    char text[1400];
    int r = core_boot(core, &err);
    if (r < 0) {
        fprintf(stderr, "odto-host: %s\n", odto_error_text(&err, text, sizeof text));
        core_shutdown(core);
        close(core->signals);
        return r == -EBUSY ? EX_UNAVAILABLE : core->exit_code ? core->exit_code : EX_SOFTWARE;
    }
    run(core);
    core_shutdown(core);
    close(core->signals);
    return core->exit_code;
}

/* Of the manifest: --check opens none. */
static size_t count_routes(const manifest *m)
{
    size_t n = 0;
    const manifest_section *s;
    for (size_t i = 0; (s = manifest_section_at(m, i)); i++)
        n += s->kind == MANIFEST_ROUTE;
    return n;
}

int main(int argc, char **argv)
{
    static struct core core; /* large: not on the stack */
    enum mode mode = MODE_RUN;
    if (parse_args(argc, argv, &core, &mode) < 0)
        return EX_USAGE;
    if (mode == MODE_RUN && getpid() == 1)
        init_become();                                     /* PID 1: reap orphans, run the host as a child */
    core.signals = mode == MODE_RUN ? open_signals() : -1; /* before any thread: all inherit the mask */
    odto_error err = {0};
    int r = core_new(&core);
    core.checking = mode != MODE_RUN;
    if (r == 0)
        r = core_load_manifest(&core, &err);
    if (r < 0) {
        char text[1400];
        if (err.code)
            fprintf(stderr, "odto-host: %s\n", odto_error_text(&err, text, sizeof text));
        core_free(&core);
        return EX_CONFIG;
    }
    int code = 0;
    if (mode == MODE_PRINT)
        manifest_print(core.manifest, stdout);
    else if (mode == MODE_CHECK)
        printf("%s: ok, %zu plugins, %zu routes\n", core.manifest_path, core.n_units,
               count_routes(core.manifest));
    else if (mode == MODE_RUN)
        code = run_host(&core);
    core_free(&core);
    return code;
}
