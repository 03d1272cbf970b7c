/* bench_pty.c — how fast terminals are over WebSockets.
 *
 *   bench_pty --port N [--file F] [--json] [--keys N] [--flood] [--poll] throughput|echo|interrupt
 *   bench_pty [--file F] ceiling | [--keys N] [--poll] relay
 *
 * A client of the terminal broker (odto.pty.v1, or --json) whose sessions run sh with the prompt "sh>":
 *   throughput  cat of F, from the command to the last byte
 *   echo        one key at a time to a cat, 2 ms apart, until its echo comes; --flood: while another session
 *               writes without end and is read as fast as it comes
 *   interrupt   Ctrl-C in yes, to the last byte of it
 *   ceiling     cat of F, read from the terminal itself: what no broker can be faster than
 *   relay       echo through a process that does nothing but carry bytes between a connection and a terminal
 * --poll: the client does not sleep while it waits, so what it takes to wake it is not part of the figure.
 * Prints one line of "name value" pairs. */
#include "hist.h"

#include <odto/base.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    BUFFER = 2 << 20,
    ACK_EVERY = 64 * 1024,
    KEYS_MAX = 4000, /* a line of a terminal */
    TAIL = 256,
    KEY_GAP_NS = 2000000,
};

typedef struct client {
    int fd;
    bool json, poll;
    unsigned char *buf;
    size_t at, n;
    uint64_t offset, acked;
    size_t frames, bytes; /* of output */
    char tail[TAIL];      /* the last of the output */
    size_t n_tail;
} client;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

/* ---- WebSocket -------------------------------------------------------------------------------- */

static void send_all(int fd, const void *data, size_t n)
{
    for (const char *p = data; n;) {
        ssize_t k = send(fd, p, n, MSG_NOSIGNAL);
        if (k <= 0)
            fail("bench_pty: send");
        p += k;
        n -= (size_t)k;
    }
}

/* One frame of at most 64 KiB; a mask of zeros is a mask. */
static void frame_send(client *c, const void *data, size_t n)
{
    unsigned char f[16 + 1024] = {(unsigned char)(0x80 | (c->json ? 1 : 2))};
    size_t head = n < 126 ? 2 : 4;
    f[1] = (unsigned char)(0x80 | (n < 126 ? n : 126));
    if (n >= 126) {
        f[2] = (unsigned char)(n >> 8);
        f[3] = (unsigned char)n;
    }
    memcpy(f + head + 4, data, n);
    send_all(c->fd, f, head + 4 + n);
}

/* poll: without going to sleep, whose end takes 20 to 50 us of an idle machine. */
static ssize_t receive(int fd, void *to, size_t n, bool poll)
{
    ssize_t k;
    do
        k = recv(fd, to, n, poll ? MSG_DONTWAIT : 0);
    while (k < 0 && poll && errno == EAGAIN);
    return k;
}

static void more(client *c)
{
    if (c->at && c->at == c->n)
        c->at = c->n = 0;
    if (c->n == BUFFER) {
        memmove(c->buf, c->buf + c->at, c->n - c->at);
        c->n -= c->at;
        c->at = 0;
    }
    ssize_t k = receive(c->fd, c->buf + c->n, BUFFER - c->n, c->poll);
    if (k <= 0) {
        fprintf(stderr, "bench_pty: the connection ended; last: %.*s\n", (int)c->n_tail, c->tail);
        exit(1);
    }
    c->n += (size_t)k;
}

/* The payload of the next frame, valid until the next call. */
static odto_slice frame_next(client *c)
{
    for (;;) {
        const unsigned char *p = c->buf + c->at;
        size_t have = c->n - c->at, head = 2, n = have > 1 ? p[1] & 127 : 0;
        if (have >= 4 && n == 126) {
            n = (size_t)p[2] << 8 | p[3];
            head = 4;
        } else if (have >= 10 && n == 127) {
            n = 0;
            for (int i = 2; i < 10; i++)
                n = n << 8 | p[i];
            head = 10;
        } else if (n >= 126) {
            have = 0;
        }
        if (have >= head + n) {
            c->at += head + n;
            return odto_slice_of((const char *)p + head, n);
        }
        more(c);
    }
}

/* ---- the two protocols -------------------------------------------------------------------------- */

static void tail_add(client *c, const char *p, size_t n)
{
    size_t kept = n < TAIL / 2 ? c->n_tail : 0;
    if (n > TAIL / 2) {
        p += n - TAIL / 2;
        n = TAIL / 2;
    }
    if (kept + n > TAIL) {
        memmove(c->tail, c->tail + kept - TAIL / 2, TAIL / 2);
        kept = TAIL / 2;
    }
    memcpy(c->tail + kept, p, n);
    c->n_tail = kept + n;
}

static void acknowledge(client *c)
{
    char a[9] = {'A'};
    memcpy(a + 1, &c->offset, 8);
    frame_send(c, a, 9);
    c->acked = c->offset;
}

/* The next message, taken note of; acknowledgements as a page sends them. */
static void message_take(client *c)
{
    odto_slice m = frame_next(c);
    if (c->json) {
        c->bytes += m.n;
        c->frames++;
        tail_add(c, m.p, m.n);
    } else if (m.n >= 9 && (m.p[0] == 'O' || m.p[0] == 'S')) {
        memcpy(&c->offset, m.p + 1, 8);
        c->offset += m.p[0] == 'O' ? m.n - 9 : 0;
        c->bytes += m.n - 9;
        c->frames++;
        tail_add(c, m.p + 9, m.n - 9);
        if (c->offset - c->acked >= ACK_EVERY)
            acknowledge(c);
    } else if (m.n && m.p[0] == 'E') {
        fprintf(stderr, "bench_pty: %.*s\n", (int)m.n, m.p);
        exit(1);
    }
}

static void type(client *c, const char *text)
{
    char m[1024] = "I";
    int n = snprintf(m + 1, sizeof m - 1, "%s", text) + 1;
    if (c->json)
        n = snprintf(m, sizeof m, "{\"type\":\"input\",\"data\":\"%s\"}", text);
    frame_send(c, m, (size_t)n);
}

static void expect(client *c, const char *text)
{
    while (!memmem(c->tail, c->n_tail, text, strlen(text)))
        message_take(c);
    c->n_tail = 0;
}

static client *client_open(int port, bool json)
{
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    client *c = calloc(1, sizeof *c);
    int one = 1;
    if (!c || !(c->buf = malloc(BUFFER)))
        fail("bench_pty");
    c->json = json;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(c->fd, (struct sockaddr *)&a, sizeof a))
        fail("bench_pty: connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    char head[512];
    int n = snprintf(head, sizeof head,
                     "GET /ws HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\n"
                     "Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
                     "Sec-WebSocket-Version: 13\r\n%s\r\n",
                     port, json ? "" : "Sec-WebSocket-Protocol: odto.pty.v1\r\n");
    send_all(c->fd, head, (size_t)n);
    const unsigned char *end;
    while (!(end = memmem(c->buf, c->n, "\r\n\r\n", 4)))
        more(c);
    if (memcmp(c->buf, "HTTP/1.1 101", 12) != 0) {
        fprintf(stderr, "bench_pty: no WebSocket: %.*s\n", (int)c->n, (char *)c->buf);
        exit(1);
    }
    c->at = (size_t)(end + 4 - c->buf);
    if (!json)
        frame_send(c, "H{\"cols\":80,\"rows\":24}", 22);
    expect(c, "sh>");
    return c;
}

static void client_close(client *c)
{
    close(c->fd);
    free(c->buf);
    free(c);
}

/* ---- what is measured ----------------------------------------------------------------------------- */

static void throughput(client *c, const char *file)
{
    char command[700];
    snprintf(command, sizeof command, "cat %s; echo e''nd%s", file, c->json ? "\\r" : "\r");
    c->bytes = c->frames = 0;
    int64_t begin = odto_now_ns();
    type(c, command);
    expect(c, c->json ? "end\\r\\n" : "end\r\n");
    double s = (double)(odto_now_ns() - begin) / 1e9;
    printf("bytes %zu seconds %.3f mb_s %.1f frame %zu\n", c->bytes, s, (double)c->bytes / s / 1e6,
           c->bytes / c->frames);
}

typedef struct flood {
    client *c;
    _Atomic bool stop;
} flood;

static void *flood_read(void *arg)
{
    flood *f = arg;
    type(f->c, "yes\r");
    while (!atomic_load(&f->stop))
        message_take(f->c);
    return NULL;
}

static void print_keys(int keys, const hist *h)
{
    printf("keys %d p50_us %.1f p90_us %.1f p99_us %.1f max_us %.1f\n", keys,
           (double)hist_quantile(h, 0.5) / 1e3, (double)hist_quantile(h, 0.9) / 1e3,
           (double)hist_quantile(h, 0.99) / 1e3, (double)h->max / 1e3);
}

static void echo(client *c, int keys)
{
    hist *h = calloc(1, sizeof *h);
    if (!h)
        fail("bench_pty");
    type(c, "echo re''ady; exec cat\r");
    expect(c, "ready\r\n");
    for (int i = 0; i < keys; i++) {
        struct timespec gap = {0, KEY_GAP_NS};
        char key[2] = {(char)('a' + i % 26), 0};
        nanosleep(&gap, NULL);
        int64_t begin = odto_now_ns();
        type(c, key);
        expect(c, key);
        hist_add(h, odto_now_ns() - begin);
    }
    print_keys(keys, h);
    free(h);
}

static void echo_beside_flood(client *c, int port, int keys)
{
    flood f = {.c = client_open(port, false)};
    pthread_t t;
    if (pthread_create(&t, NULL, flood_read, &f))
        fail("bench_pty: thread");
    echo(c, keys);
    atomic_store(&f.stop, true);
    pthread_join(t, NULL);
    client_close(f.c);
}

/* The prompt comes behind the last byte of what was interrupted. */
static void interrupt(client *c)
{
    double most = 0;
    for (int i = 0; i < 10; i++) {
        type(c, "yes\r");
        size_t from = c->bytes;
        while (c->bytes < from + (2 << 20))
            message_take(c);
        c->n_tail = 0;
        int64_t begin = odto_now_ns();
        type(c, "\003");
        expect(c, "sh>");
        double ms = (double)(odto_now_ns() - begin) / 1e6;
        most = ms > most ? ms : most;
    }
    printf("times 10 max_ms %.2f\n", most);
}

/* cat in a terminal: of the file, or NULL: of what is typed. */
static pid_t cat_begin(const char *file, int *master)
{
    char name[64];
    *master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (*master < 0 || grantpt(*master) || unlockpt(*master) || ptsname_r(*master, name, sizeof name))
        fail("bench_pty: terminal");
    pid_t pid = fork();
    if (!pid) {
        setsid();
        int slave = open(name, O_RDWR);
        dup2(slave, 0);
        dup2(slave, 1);
        execlp("cat", "cat", file, (char *)NULL);
        _exit(127);
    }
    return pid;
}

static void carry(int from, int to)
{
    char buf[4096];
    ssize_t n = read(from, buf, sizeof buf);
    if (n <= 0 || write(to, buf, (size_t)n) != n)
        _exit(0);
}

/* In a process of its own, until the connection ends. */
static void relay_main(int listener)
{
    int master, fd = accept(listener, NULL, NULL), one = 1;
    cat_begin(NULL, &master);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct pollfd p[2] = {{.fd = fd, .events = POLLIN}, {.fd = master, .events = POLLIN}};
    while (poll(p, 2, -1) > 0) {
        if (p[0].revents)
            carry(fd, master);
        if (p[1].revents)
            carry(master, fd);
    }
    _exit(0);
}

static void relay(int keys, bool polls)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    hist *h = calloc(1, sizeof *h);
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (!h || bind(listener, (struct sockaddr *)&a, n) || listen(listener, 1) ||
        getsockname(listener, (struct sockaddr *)&a, &n))
        fail("bench_pty: relay");
    pid_t pid = fork();
    if (!pid)
        relay_main(listener);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&a, n))
        fail("bench_pty: relay");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    for (int i = 0; i < keys; i++) {
        struct timespec gap = {0, KEY_GAP_NS};
        char key = (char)('a' + i % 26), back = 0;
        nanosleep(&gap, NULL);
        int64_t begin = odto_now_ns();
        send_all(fd, &key, 1);
        if (receive(fd, &back, 1, polls) != 1 || back != key)
            fail("bench_pty: relay");
        hist_add(h, odto_now_ns() - begin);
    }
    print_keys(keys, h);
    close(fd);
    waitpid(pid, NULL, 0);
    free(h);
}

static void ceiling(const char *file)
{
    static char buf[64 * 1024];
    int master;
    int64_t begin = odto_now_ns();
    pid_t pid = cat_begin(file, &master);
    size_t bytes = 0;
    for (ssize_t n; (n = read(master, buf, sizeof buf)) > 0;)
        bytes += (size_t)n;
    double s = (double)(odto_now_ns() - begin) / 1e9;
    waitpid(pid, NULL, 0);
    close(master);
    printf("bytes %zu seconds %.3f mb_s %.1f\n", bytes, s, (double)bytes / s / 1e6);
}

typedef struct options {
    int port, keys;
    const char *file;
    bool json, flood, poll;
} options;

static bool options_read(options *o, int argc, char **argv)
{
    static const struct option longs[] = {{"port", required_argument, NULL, 'p'},
                                          {"file", required_argument, NULL, 'f'},
                                          {"json", no_argument, NULL, 'j'},
                                          {"keys", required_argument, NULL, 'k'},
                                          {"flood", no_argument, NULL, 'F'},
                                          {"poll", no_argument, NULL, 'P'},
                                          {NULL, 0, NULL, 0}};
    for (int k; (k = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        if (k == 'p')
            o->port = atoi(optarg);
        else if (k == 'f')
            o->file = optarg;
        else if (k == 'j')
            o->json = true;
        else if (k == 'k')
            o->keys = atoi(optarg) < KEYS_MAX ? atoi(optarg) : KEYS_MAX;
        else if (k == 'F')
            o->flood = true;
        else if (k == 'P')
            o->poll = true;
        else
            return false;
    }
    return argc - optind == 1;
}

int main(int argc, char **argv)
{
    options o = {.keys = 1000, .file = "/dev/null"};
    if (!options_read(&o, argc, argv)) {
        fprintf(stderr, "usage: bench_pty --port N [--file F] [--json] [--keys N] [--flood] [--poll] "
                        "throughput|echo|interrupt|ceiling|relay\n");
        return 2;
    }
    const char *what = argv[optind];
    if (!strcmp(what, "ceiling")) {
        ceiling(o.file);
        return 0;
    }
    if (!strcmp(what, "relay")) {
        relay(o.keys, o.poll);
        return 0;
    }
    client *c = client_open(o.port, o.json);
    c->poll = o.poll;
    if (!strcmp(what, "throughput"))
        throughput(c, o.file);
    else if (!strcmp(what, "echo") && o.flood)
        echo_beside_flood(c, o.port, o.keys);
    else if (!strcmp(what, "echo"))
        echo(c, o.keys);
    else if (!strcmp(what, "interrupt"))
        interrupt(c);
    client_close(c);
    return 0;
}
