/* odto-dashboard — the terminal dashboard: options, subcommands, and the way out of a crash.
 *
 * The only mutable state outside objects is here: what the crash handler needs to give the terminal back. */
#include "app.h"
#include "doctor.h"
#include "launch.h"

#include <curl/curl.h>
#include <errno.h>
#include <getopt.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/utsname.h>
#include <termios.h>
#include <unistd.h>

#ifndef ODTO_COMMIT
#define ODTO_COMMIT "unknown"
#endif

static struct {
    char restore[160];
    volatile sig_atomic_t n;
    struct termios termios;
    bool have_termios;
} crash;

/* Only write(2), tcsetattr(3) and raise(3): all async-signal-safe. The default action follows, so a core
 * and the exit status are what they would be without us. */
static void on_crash(int sig)
{
    static const char text[] = "\r\nodto-dashboard: crashed; the terminal is restored\r\n";
    if (crash.n > 0) {
        ssize_t w = write(STDOUT_FILENO, crash.restore, (size_t)crash.n);
        (void)w;
        if (crash.have_termios) {
            tcsetattr(STDIN_FILENO, TCSANOW, &crash.termios);
        }
        w = write(STDERR_FILENO, text, sizeof text - 1);
        (void)w;
    }
    raise(sig);
}

static void guard_crashes(void)
{
    static char stack[16384] __attribute__((aligned(16)));
    static const int signals[] = {SIGSEGV, SIGBUS,  SIGILL,  SIGFPE, SIGABRT,
                                  SIGSYS,  SIGTRAP, SIGXCPU, SIGXFSZ};
    stack_t ss = {.ss_sp = stack, .ss_size = sizeof stack};
    sigaltstack(&ss, NULL);
    struct sigaction sa = {.sa_handler = on_crash, .sa_flags = (int)(SA_ONSTACK | SA_RESETHAND | SA_NODEFER)};
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        sigaction(signals[i], &sa, NULL);
    }
}

static void terminal_taken(const char *restore, size_t n)
{
    crash.n = 0;
    if (n && n <= sizeof crash.restore) {
        memcpy(crash.restore, restore, n);
        crash.n = (sig_atomic_t)n;
    }
}

static void print_version(void)
{
    struct utsname u;
    uname(&u);
    printf("odto-dashboard %s\ncommit: %s\nbuilt: %s\ncompiler: %s\nos: %s\narch: %s\n", PACKAGE_VERSION,
           ODTO_COMMIT, __DATE__ " " __TIME__, __VERSION__, u.sysname, u.machine);
}

static void usage(FILE *f)
{
    fputs("usage: odto-dashboard [options]\n"
          "       odto-dashboard doctor [--json] [--cluster]\n"
          "       odto-dashboard launch [--json] local|cluster\n"
          "       odto-dashboard stop\n"
          "\n"
          "  --gateway URL     gateway (GATEWAY_URL, http://localhost:3000)\n"
          "  --read-model URL  read model (READ_MODEL_URL, http://localhost:8080)\n"
          "  --interval SEC    time between refreshes, 1 by default\n"
          "  --jobs N          the newest so many jobs, as far as the read model gives them; 500 by default\n"
          "  --once            one picture as text, then leave; exit 1 when nothing answers\n"
          "  --once --json     the same as one JSON object\n"
          "  --once --svg      the same as an SVG picture; --after SEC gathers figures first\n"
          "  --plain           a line for each change, for screen readers and logs\n"
          "  --theme NAME      auto, dark or light\n"
          "  --no-color        monochrome (also NO_COLOR)\n"
          "  --ascii           no Unicode glyphs\n"
          "  --no-mouse        leave the mouse to the terminal\n"
          "  --no-splash       no splash and no motion (also NO_MOTION)\n"
          "  --read-only       nothing that changes the system (also ODD_DASHBOARD_READ_ONLY=1)\n"
          "  --registry FILE   another ui-registry.json\n"
          "  -V, --version     version and build\n"
          "  -h, --help        this text\n"
          "\n"
          "Inside: ? shows the keys, q leaves.\n",
          f);
}

static bool env_true(const char *name)
{
    const char *v = getenv(name);
    return v && (!strcmp(v, "1") || !strcasecmp(v, "true"));
}

static bool env_set(const char *name)
{
    const char *v = getenv(name);
    return v && v[0];
}

static const char *env_or(const char *name, const char *otherwise)
{
    const char *v = getenv(name);
    return v && v[0] ? v : otherwise;
}

/* "15;0": the last number is the background's colour. */
static theme theme_of_env(void)
{
    const char *v = getenv("COLORFGBG");
    const char *last = v ? strrchr(v, ';') : NULL;
    if (!last || !last[1]) {
        return THEME_AUTO;
    }
    int bg = atoi(last + 1);
    return bg == 7 || bg == 15 ? THEME_LIGHT : THEME_DARK;
}

static int parse_theme(const char *s, theme *out)
{
    static const char *const names[] = {"auto", "dark", "light"};
    for (int i = 0; i < 3; i++) {
        if (!strcmp(s, names[i])) {
            *out = (theme)i;
            return 0;
        }
    }
    return -EINVAL;
}

static void defaults(app_options *o)
{
    memset(o, 0, sizeof *o);
    o->net.gateway_url = env_or("GATEWAY_URL", "http://localhost:3000");
    o->net.read_url = env_or("READ_MODEL_URL", "http://localhost:8080");
    o->net.prometheus_url = env_or("PROMETHEUS_URL", NULL);
    o->net.interval_ms = 1000;
    o->net.timeout_ms = 2000;
    o->net.jobs_limit = 500;
    o->mouse = true;
    o->managed = env_true("ODD_DASHBOARD_SERVER_MODE");
    o->read_only = env_true("ODD_DASHBOARD_READ_ONLY");
    o->no_splash = env_set("NO_MOTION");
    bool display = env_set("DISPLAY") || env_set("WAYLAND_DISPLAY") || env_set("BROWSER");
    o->remote = o->managed || env_set("SSH_CLIENT") || env_set("SSH_TTY") || !display;
    o->theme = theme_of_env();
    o->terminal = terminal_taken;
}

static int take_option(app_options *o, int c)
{
    switch (c) {
    case 'g':
        o->net.gateway_url = optarg;
        return 0;
    case 'r':
        o->net.read_url = optarg;
        return 0;
    case 'i':
        o->net.interval_ms = (int)(strtod(optarg, NULL) * 1000);
        return o->net.interval_ms >= 100 && o->net.interval_ms <= 3600000 ? 0 : -1;
    case 'j':
        o->net.jobs_limit = atoi(optarg);
        return o->net.jobs_limit > 0 ? 0 : -1;
    case 'o':
        o->once = true;
        return 0;
    case 'J':
        o->json = true;
        return 0;
    case 'S':
        o->svg = true;
        return 0;
    case 'A':
        o->after_s = atoi(optarg);
        return o->after_s >= 0 && o->after_s <= 3600 ? 0 : -1;
    case 'p':
        o->plain = true;
        return 0;
    case 't':
        return parse_theme(optarg, &o->theme);
    case 'C':
        o->no_color = true;
        return 0;
    case 'a':
        o->ascii = true;
        return 0;
    case 'm':
        o->mouse = false;
        return 0;
    case 's':
        o->no_splash = true;
        return 0;
    case 'R':
        o->read_only = true;
        return 0;
    case 'u':
        o->registry = optarg;
        return 0;
    default:
        return -1;
    }
}

/* -1: go on; else the exit status. */
static int parse_options(app_options *o, int argc, char **argv)
{
    static const struct option longs[] = {{"gateway", required_argument, NULL, 'g'},
                                          {"read-model", required_argument, NULL, 'r'},
                                          {"interval", required_argument, NULL, 'i'},
                                          {"jobs", required_argument, NULL, 'j'},
                                          {"once", no_argument, NULL, 'o'},
                                          {"json", no_argument, NULL, 'J'},
                                          {"svg", no_argument, NULL, 'S'},
                                          {"after", required_argument, NULL, 'A'},
                                          {"plain", no_argument, NULL, 'p'},
                                          {"theme", required_argument, NULL, 't'},
                                          {"no-color", no_argument, NULL, 'C'},
                                          {"ascii", no_argument, NULL, 'a'},
                                          {"no-mouse", no_argument, NULL, 'm'},
                                          {"no-splash", no_argument, NULL, 's'},
                                          {"read-only", no_argument, NULL, 'R'},
                                          {"registry", required_argument, NULL, 'u'},
                                          {"version", no_argument, NULL, 'V'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    int c;
    while ((c = getopt_long(argc, argv, "Vh", longs, NULL)) != -1) {
        if (c == 'V') {
            print_version();
            return 0;
        }
        if (c == 'h') {
            usage(stdout);
            return 0;
        }
        if (take_option(o, c)) {
            fprintf(stderr, c == '?'
                                ? "odto-dashboard --help lists the options\n"
                                : "odto-dashboard: that value is not possible; --help lists the options\n");
            return 1;
        }
    }
    if (optind < argc) {
        fprintf(
            stderr,
            "odto-dashboard: unknown command: %s\nthe commands are doctor, launch, stop; --help tells more\n",
            argv[optind]);
        return 1;
    }
    return -1;
}

int main(int argc, char **argv)
{
    app_options o;
    if (argc > 1 && !strcmp(argv[1], "doctor")) {
        argv[1] = "odto-dashboard doctor";
        return doctor_main(argc - 1, argv + 1);
    }
    if (argc > 1 && !strcmp(argv[1], "launch")) {
        return launch_main(argc - 1, argv + 1);
    }
    if (argc > 1 && !strcmp(argv[1], "stop")) {
        return stop_main(argc - 1, argv + 1);
    }
    defaults(&o);
    int rc = parse_options(&o, argc, argv);
    if (rc >= 0) {
        return rc;
    }
    setlocale(LC_ALL, "");
    curl_global_init(CURL_GLOBAL_DEFAULT);
    if (o.plain || o.once || o.json || o.svg) {
        o.once = o.once || o.json || o.svg;
        return plain_run(&o);
    }
    crash.have_termios = tcgetattr(STDIN_FILENO, &crash.termios) == 0;
    guard_crashes();
    rc = app_run(&o);
    curl_global_cleanup();
    return rc;
}
