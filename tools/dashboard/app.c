/* app — see app.h. Nothing here blocks: the only waits are poll() and the programs a user asked for. */
#include "app.h"

#include "child.h"
#include "launch.h"
#include "locate.h"
#include "ui.h"
#include "view.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define DETACHED_MAX 16

extern char **environ;

typedef struct app {
    const app_options *o;
    caps caps;
    ui ui;
    grid grid;
    screen *screen;
    net *net;
    int signal_fd;
    bool quit, stop_all, redraw;
    child launcher, doctor;
    pid_t detached[DETACHED_MAX]; /* browsers and clipboards, to be reaped */
    char self[600];
} app;

/* ---- effects ------------------------------------------------------------------------------- */

static void on_quit(void *ctx)
{
    ((app *)ctx)->quit = true;
}

static void on_refresh(void *ctx)
{
    net_refresh(((app *)ctx)->net);
}

static void on_detail(void *ctx, const char *id)
{
    net_detail(((app *)ctx)->net, id);
}

static void on_submit(void *ctx, const char *type, const char *payload)
{
    net_submit(((app *)ctx)->net, type, payload);
}

static void on_submit_reset(void *ctx)
{
    net_submit_reset(((app *)ctx)->net);
}

static void remember_detached(app *a, int pid)
{
    for (int i = 0; pid > 0 && i < DETACHED_MAX; i++) {
        if (!a->detached[i]) {
            a->detached[i] = pid;
            return;
        }
    }
}

static void on_open(void *ctx, const char *url)
{
    app *a = ctx;
    const char *browser = getenv("BROWSER");
    const char *program = browser && browser[0] ? browser : "xdg-open";
    char *argv[] = {(char *)program, (char *)url, NULL};
    int pid = child_has_program(program) ? child_detached(argv, NULL) : -ENOENT;
    if (pid < 0) {
        ui_notice(&a->ui, ROLE_WARN, "%s cannot be started; the URL is %s", program, url);
        return;
    }
    remember_detached(a, pid);
    ui_notice(&a->ui, ROLE_OK, "opening %s", url);
}

/* OSC 52 goes through SSH and web terminals; a local clipboard program is surer where there is a display. */
static const char *on_copy(void *ctx, const char *text)
{
    app *a = ctx;
    char *wl[] = {"wl-copy", NULL}, *x[] = {"xclip", "-selection", "clipboard", NULL},
         *mac[] = {"pbcopy", NULL};
    screen_clipboard(a->screen, text);
    char **argv = getenv("WAYLAND_DISPLAY") && child_has_program("wl-copy") ? wl
                  : getenv("DISPLAY") && child_has_program("xclip")         ? x
                  : child_has_program("pbcopy")                             ? mac
                                                                            : NULL;
    if (argv && !a->caps.managed) {
        remember_detached(a, child_detached(argv, text));
        return "clipboard";
    }
    return "terminal";
}

static void start_child(app *a, child *c, char *const argv[])
{
    odto_error err = {0};
    child_stop(c, 500);
    if (child_start(c, argv, &err)) {
        ui_notice(&a->ui, ROLE_FAIL, "%s", err.message);
    }
}

static void on_launch(void *ctx, launch_kind kind)
{
    app *a = ctx;
    char *argv[] = {a->self, "launch", "--json", kind == LAUNCH_LOCAL ? "local" : "cluster", NULL};
    launch_begin(&a->ui.launch, kind, a->ui.now_ms);
    start_child(a, &a->launcher, argv);
    if (!a->launcher.pid) {
        launch_ended(&a->ui.launch, -1, a->ui.now_ms);
    }
}

static void on_cancel(void *ctx)
{
    app *a = ctx;
    child_stop(&a->launcher, 1000);
    launch_ended(&a->ui.launch, -SIGTERM, a->ui.now_ms);
}

static void on_shutdown(void *ctx)
{
    app *a = ctx;
    a->quit = true;
    a->stop_all = !a->caps.managed && !a->caps.read_only;
}

static void on_checks(void *ctx)
{
    app *a = ctx;
    char *argv[] = {a->self, "doctor", "--json", NULL};
    checks_begin(&a->ui.checks);
    start_child(a, &a->doctor, argv);
    if (!a->doctor.pid) {
        checks_ended(&a->ui.checks, -1);
    }
}

/* Runs a command of the user's choice in the terminal itself, so that it may ask for a password. */
static int run_in_terminal(const char *command)
{
    char *argv[] = {"sh", "-c", (char *)command, NULL};
    posix_spawnattr_t at;
    sigset_t none, as_usual;
    pid_t pid;
    int status = 0;
    sigemptyset(&none);
    sigemptyset(&as_usual);
    sigaddset(&as_usual, SIGPIPE);
    posix_spawnattr_init(&at);
    posix_spawnattr_setflags(&at, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigdefault(&at, &as_usual);
    posix_spawnattr_setsigmask(&at, &none);
    int rc = posix_spawnp(&pid, argv[0], NULL, &at, argv, environ);
    posix_spawnattr_destroy(&at);
    if (rc) {
        return -1;
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Ctrl+C while a command had the terminal was meant for it. */
static void forget_interrupts(void)
{
    const struct timespec now = {0};
    sigset_t keys;
    sigemptyset(&keys);
    sigaddset(&keys, SIGINT);
    sigaddset(&keys, SIGQUIT);
    while (sigtimedwait(&keys, NULL, &now) > 0) {
    }
}

static void on_install(void *ctx, const char *command)
{
    app *a = ctx;
    char line[16];
    screen_leave(a->screen);
    printf("\n$ %s\n", command);
    fflush(stdout);
    int rc = run_in_terminal(command);
    printf("\n%s; Enter goes back to the dashboard ", rc ? "it failed" : "done");
    fflush(stdout);
    ssize_t n = read(STDIN_FILENO, line, sizeof line);
    (void)n;
    forget_interrupts();
    screen_enter(a->screen);
    ui_notice(&a->ui, rc ? ROLE_FAIL : ROLE_OK, rc ? "the command ended with %d" : "installed", rc);
    on_checks(a);
}

static void on_redraw(void *ctx)
{
    screen_invalidate(((app *)ctx)->screen);
}

static void on_suspend(void *ctx)
{
    app *a = ctx;
    if (a->caps.managed) {
        return; /* nobody could bring it back */
    }
    screen_leave(a->screen);
    kill(0, SIGSTOP);
    screen_enter(a->screen);
}

static bool on_mouse(void *ctx, bool on)
{
    return screen_mouse(((app *)ctx)->screen, on);
}

static const ui_ops ops = {on_quit,   on_refresh, on_detail, on_submit,  on_submit_reset,
                           on_open,   on_copy,    on_launch, on_cancel,  on_shutdown,
                           on_checks, on_install, on_redraw, on_suspend, on_mouse};

/* ---- the loop ------------------------------------------------------------------------------ */

static void resized(app *a)
{
    int w, h;
    screen_resized(a->screen);
    screen_size(a->screen, &w, &h);
    ui_resize(&a->ui, w, h);
    a->redraw = true;
}

static void reap_detached(app *a)
{
    for (int i = 0; i < DETACHED_MAX; i++) {
        if (a->detached[i] && waitpid(a->detached[i], NULL, WNOHANG) == a->detached[i]) {
            a->detached[i] = 0;
        }
    }
}

static void read_signals(app *a)
{
    struct signalfd_siginfo si;
    while (read(a->signal_fd, &si, sizeof si) == (ssize_t)sizeof si) {
        switch (si.ssi_signo) {
        case SIGWINCH:
            resized(a);
            break;
        case SIGCHLD:
            reap_detached(a);
            break;
        case SIGCONT:
            resized(a);
            break;
        default:
            a->quit = true;
            break;
        }
    }
}

static void read_keys(app *a)
{
    screen_event e;
    for (int i = 0; i < 500 && !a->quit; i++) {
        screen_read(a->screen, &e);
        switch (e.kind) {
        case EVENT_NONE:
            return;
        case EVENT_KEY:
            if (e.key != DKEY_NONE) {
                ui_key(&a->ui, e.key);
            }
            break;
        case EVENT_PASTE:
            ui_paste(&a->ui, e.text);
            break;
        case EVENT_CLICK:
        case EVENT_WHEEL_UP:
        case EVENT_WHEEL_DOWN:
            ui_mouse(&a->ui, &a->grid, e.x, e.y, e.kind == EVENT_WHEEL_UP, e.kind == EVENT_WHEEL_DOWN);
            break;
        case EVENT_THEME:
            break;
        case EVENT_GONE:
            a->quit = true;
            break;
        }
        a->redraw = true;
    }
}

static void on_launch_line(void *arg, const char *line)
{
    app *a = arg;
    launch_line(&a->ui.launch, line, a->ui.now_ms);
}

static void on_check_line(void *arg, const char *line)
{
    checks_line(&((app *)arg)->ui.checks, line);
}

static void read_children(app *a, short launcher, short doctor)
{
    if (launcher && a->launcher.out_fd >= 0) {
        if (!child_read(&a->launcher, on_launch_line, a)) {
            launch_ended(&a->ui.launch, child_reap(&a->launcher), a->ui.now_ms);
            net_refresh(a->net);
        }
        a->redraw = true;
    }
    if (doctor && a->doctor.out_fd >= 0) {
        if (!child_read(&a->doctor, on_check_line, a)) {
            checks_ended(&a->ui.checks, child_reap(&a->doctor));
        }
        a->redraw = true;
    }
}

static void loop(app *a)
{
    enum { FD_INPUT, FD_NET, FD_SIGNAL, FD_LAUNCHER, FD_DOCTOR, FD_COUNT };
    a->redraw = true;
    while (!a->quit) {
        if (a->redraw) {
            if (view_draw(&a->ui, &a->grid) || screen_draw(a->screen, &a->grid)) {
                return;
            }
            a->redraw = false;
        }
        struct pollfd p[FD_COUNT] = {{STDIN_FILENO, POLLIN, 0},
                                     {net_fd(a->net), POLLIN, 0},
                                     {a->signal_fd, POLLIN, 0},
                                     {a->launcher.out_fd, POLLIN, 0},
                                     {a->doctor.out_fd, POLLIN, 0}};
        if (poll(p, FD_COUNT, ui_next_tick(&a->ui)) < 0 && errno != EINTR) {
            return;
        }
        a->redraw |= ui_tick(&a->ui, odto_unix_ms());
        if (p[FD_SIGNAL].revents) {
            read_signals(a);
        }
        if (p[FD_NET].revents) {
            ui_set_snapshot(&a->ui, net_latest(a->net));
            a->redraw = true;
        }
        if (p[FD_INPUT].revents & POLLIN) {
            read_keys(a);
        }
        if (p[FD_INPUT].revents & (POLLHUP | POLLERR | POLLNVAL)) {
            return; /* the terminal is gone */
        }
        read_children(a, p[FD_LAUNCHER].revents, p[FD_DOCTOR].revents);
    }
}

static int open_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    static const int signals[] = {SIGWINCH, SIGTERM, SIGHUP,  SIGINT,  SIGQUIT,
                                  SIGCHLD,  SIGCONT, SIGUSR1, SIGUSR2, SIGALRM};
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        sigaddset(&set, signals[i]);
    }
    signal(SIGPIPE, SIG_IGN);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void load_registry(app *a)
{
    char path[600];
    bool found = locate_data("contracts/ui-registry.json", path, sizeof path);
    const char *const paths[] = {a->o->registry ? a->o->registry : found ? path : NULL, NULL};
    registry_load(paths, &a->ui.reg);
}

static int open_all(app *a, odto_error *err)
{
    const app_options *o = a->o;
    int w, h;
    screen_caps(&a->caps, o->no_color, o->ascii);
    a->caps.motion = !o->no_splash;
    a->caps.read_only = o->read_only;
    a->caps.managed = o->managed;
    a->caps.remote = o->remote;
    a->signal_fd = open_signals();
    if (a->signal_fd < 0) {
        return odto_fail(err, -errno, "no signalfd: %s", strerror(errno));
    }
    /* the first answers are on their way while the terminal is prepared */
    int rc = net_start(&a->net, &o->net, err);
    rc = rc ? rc : screen_open(&a->screen, &a->caps, o->theme, o->mouse, err);
    rc = rc ? rc : ui_init(&a->ui, &a->caps, &ops, a, odto_unix_ms());
    if (rc) {
        return rc;
    }
    size_t n;
    const char *restore = screen_restore_bytes(a->screen, &n);
    o->terminal(restore, n);
    snprintf(a->ui.gateway_url, sizeof a->ui.gateway_url, "%s", o->net.gateway_url);
    snprintf(a->ui.read_url, sizeof a->ui.read_url, "%s", o->net.read_url);
    a->ui.mouse = o->mouse;
    load_registry(a);
    screen_size(a->screen, &w, &h);
    ui_resize(&a->ui, w, h);
    return 0;
}

int app_run(const app_options *o)
{
    app *a = calloc(1, sizeof *a);
    odto_error err = {0};
    char text[1024];
    if (!a) {
        return 1;
    }
    a->o = o;
    a->signal_fd = -1;
    child_init(&a->launcher);
    child_init(&a->doctor);
    ssize_t n = readlink("/proc/self/exe", a->self, sizeof a->self - 1);
    a->self[n > 0 ? n : 0] = '\0';
    int rc = open_all(a, &err);
    if (!rc) {
        loop(a);
    }
    screen_close(a->screen);
    o->terminal(NULL, 0);
    child_stop(&a->launcher, 1000);
    child_stop(&a->doctor, 200);
    net_stop(a->net);
    ui_free(&a->ui);
    grid_free(&a->grid);
    if (a->signal_fd >= 0) {
        close(a->signal_fd);
    }
    bool stop = a->stop_all;
    free(a);
    if (rc) {
        fprintf(stderr, "odto-dashboard: %s\n", odto_error_text(&err, text, sizeof text));
        return 1;
    }
    if (stop) {
        char *argv[] = {"stop", NULL};
        printf("stopping what was started here\n");
        return stop_main(1, argv);
    }
    return 0;
}
