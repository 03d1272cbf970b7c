/* vtdrive — runs a program in a pseudo terminal whose screen is kept by libvterm, and obeys lines on stdin.
 *
 *   vtdrive WIDTH HEIGHT RAW_FILE PROGRAM ARGS…
 *
 * Commands, each answered by one line of JSON:
 *   screen          rows of text, cursor, modes of the terminal, and the exit status once it ended
 *   keys HEX        writes bytes to the program
 *   resize W H      changes the size (the program gets SIGWINCH)
 *   signal N        sends a signal
 *   cpu             user and system time of the program in clock ticks
 * Everything the program wrote goes to RAW_FILE as well. One thread. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#include <vterm.h>

typedef struct drive {
    VTerm *vt;
    VTermScreen *screen;
    int master, raw, w, h;
    pid_t pid;
    bool ended, hup;
    int status;
    bool alt, cursor, title;
    int mouse;
    size_t bytes;
} drive;

static int on_prop(VTermProp prop, VTermValue *v, void *user)
{
    drive *d = user;
    if (prop == VTERM_PROP_ALTSCREEN) {
        d->alt = v->boolean;
    } else if (prop == VTERM_PROP_CURSORVISIBLE) {
        d->cursor = v->boolean;
    } else if (prop == VTERM_PROP_MOUSE) {
        d->mouse = v->number;
    } else if (prop == VTERM_PROP_TITLE) {
        d->title = true;
    }
    return 1;
}

static const VTermScreenCallbacks callbacks = {.settermprop = on_prop};

static void on_reply(const char *s, size_t n, void *user)
{
    drive *d = user;
    ssize_t w = write(d->master, s, n);
    (void)w;
}

static void feed(drive *d)
{
    char buf[65536];
    ssize_t n = read(d->master, buf, sizeof buf);
    if (n > 0) {
        d->bytes += (size_t)n;
        vterm_input_write(d->vt, buf, (size_t)n);
        ssize_t w = write(d->raw, buf, (size_t)n);
        (void)w;
    } else if (n == 0 || errno != EINTR) {
        d->hup = true;
    }
}

static void reap(drive *d)
{
    int status;
    if (!d->ended && waitpid(d->pid, &status, WNOHANG) == d->pid) {
        d->ended = true;
        d->status = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    }
}

static void print_char(uint32_t c)
{
    if (c == '"' || c == '\\') {
        printf("\\%c", (char)c);
    } else if (c >= 0x20 && c < 0x7F) {
        putchar((int)c);
    } else if (c < 0x10000) {
        printf("\\u%04x", c);
    } else {
        c -= 0x10000;
        printf("\\u%04x\\u%04x", 0xD800 + (c >> 10), 0xDC00 + (c & 0x3FF));
    }
}

static void print_row(drive *d, int y)
{
    printf("%s\"", y ? "," : "");
    for (int x = 0; x < d->w; x++) {
        VTermScreenCell cell;
        VTermPos pos = {.row = y, .col = x};
        if (!vterm_screen_get_cell(d->screen, pos, &cell) || cell.chars[0] == (uint32_t)-1) {
            continue;
        }
        print_char(cell.chars[0] ? cell.chars[0] : ' ');
    }
    printf("\"");
}

static void print_screen(drive *d)
{
    struct termios t;
    VTermPos pos;
    reap(d);
    vterm_state_get_cursorpos(vterm_obtain_state(d->vt), &pos);
    bool canon = tcgetattr(d->master, &t) == 0 && (t.c_lflag & ICANON) && (t.c_lflag & ECHO);
    printf("{\"alt\":%s,\"cursor\":%s,\"canonical\":%s,\"title\":%s,\"mouse\":%d,\"x\":%d,\"y\":%d,\"bytes\":"
           "%zu,",
           d->alt ? "true" : "false", d->cursor ? "true" : "false", canon ? "true" : "false",
           d->title ? "true" : "false", d->mouse, pos.col, pos.row, d->bytes);
    if (d->ended) {
        printf("\"exit\":%d,", d->status);
    }
    printf("\"pid\":%d,\"rows\":[", (int)d->pid);
    for (int y = 0; y < d->h; y++) {
        print_row(d, y);
    }
    printf("]}\n");
}

static void send_keys(drive *d, const char *hex)
{
    unsigned b;
    for (; sscanf(hex, "%2x", &b) == 1; hex += 2) {
        char c = (char)b;
        ssize_t w = write(d->master, &c, 1);
        (void)w;
    }
    printf("{}\n");
}

static void resize(drive *d, int w, int h)
{
    struct winsize ws = {.ws_col = (unsigned short)w, .ws_row = (unsigned short)h};
    d->w = w;
    d->h = h;
    vterm_set_size(d->vt, h, w);
    ioctl(d->master, TIOCSWINSZ, &ws);
    printf("{}\n");
}

static void print_cpu(drive *d)
{
    char path[64], buf[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)d->pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, buf, sizeof buf - 1) : 0;
    if (fd >= 0) {
        close(fd);
    }
    buf[n > 0 ? n : 0] = '\0';
    unsigned long user = 0, sys = 0;
    char *p = strrchr(buf, ')');
    if (p) {
        sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &sys);
    }
    printf("{\"user\":%lu,\"system\":%lu}\n", user, sys);
}

static void command(drive *d, const char *line)
{
    int a, b;
    if (!strncmp(line, "keys ", 5)) {
        send_keys(d, line + 5);
    } else if (sscanf(line, "resize %d %d", &a, &b) == 2) {
        resize(d, a, b);
    } else if (sscanf(line, "signal %d", &a) == 1) {
        kill(d->pid, a);
        printf("{}\n");
    } else if (!strcmp(line, "cpu")) {
        print_cpu(d);
    } else {
        print_screen(d);
    }
    fflush(stdout);
}

static void start(drive *d, char **argv)
{
    struct winsize ws = {.ws_col = (unsigned short)d->w, .ws_row = (unsigned short)d->h};
    d->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (d->master < 0 || grantpt(d->master) || unlockpt(d->master)) {
        perror("vtdrive: pty");
        exit(2);
    }
    /* kept open, so that modes can be read after the program left */
    int keep = open(ptsname(d->master), O_RDWR | O_NOCTTY | O_CLOEXEC);
    ioctl(d->master, TIOCSWINSZ, &ws);
    d->pid = fork();
    if (d->pid == 0) {
        setsid();
        int slave = open(ptsname(d->master), O_RDWR);
        ioctl(slave, TIOCSCTTY, 0);
        dup2(slave, 0);
        dup2(slave, 1);
        dup2(slave, 2);
        execvp(argv[0], argv);
        _exit(127);
    }
    (void)keep;
}

static void loop(drive *d)
{
    char line[8192];
    size_t n = 0;
    for (;;) {
        struct pollfd p[] = {{0, POLLIN, 0}, {d->hup ? -1 : d->master, POLLIN, 0}};
        if (poll(p, 2, -1) < 0) {
            continue;
        }
        if (p[1].revents) {
            feed(d);
            continue; /* what the program wrote comes before the next command */
        }
        if (p[0].revents) {
            ssize_t k = read(0, line + n, sizeof line - 1 - n);
            if (k <= 0) {
                return;
            }
            n += (size_t)k;
        }
        for (char *eol; (eol = memchr(line, '\n', n));) {
            *eol = '\0';
            command(d, line);
            size_t used = (size_t)(eol + 1 - line);
            memmove(line, eol + 1, n - used);
            n -= used;
        }
    }
}

int main(int argc, char **argv)
{
    drive d = {.cursor = true};
    if (argc < 5) {
        fprintf(stderr, "usage: vtdrive WIDTH HEIGHT RAW_FILE PROGRAM ARGS...\n");
        return 2;
    }
    d.w = atoi(argv[1]);
    d.h = atoi(argv[2]);
    d.raw = open(argv[3], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    d.vt = vterm_new(d.h, d.w);
    vterm_set_utf8(d.vt, 1);
    vterm_output_set_callback(d.vt, on_reply, &d);
    d.screen = vterm_obtain_screen(d.vt);
    vterm_screen_set_callbacks(d.screen, &callbacks, &d);
    vterm_screen_enable_altscreen(d.screen, 1);
    vterm_screen_reset(d.screen, 1);
    start(&d, argv + 4);
    loop(&d);
    kill(-d.pid, SIGKILL);
    vterm_free(d.vt);
    return 0;
}
