/* bench_dashboard.c — how fast the dashboard answers with many jobs.
 *
 *   bench_dashboard [--jobs N] [--keys N] [--program FILE]
 *
 * Starts the real program in a pseudo terminal of 120x40 against a server in this process that answers with
 * N jobs (10,000). Prints: time from exec to the first bytes and to the first frame with jobs; time from a
 * key to the first byte of the next frame while the list is moved, and while a filter is typed (each key
 * filters and sorts all jobs again); bytes a frame; memory. The terminal is read as fast as it can be. */
#include "hist.h"

#include <odto/base.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef struct server {
    int fd, port;
    odto_buf jobs;
} server;

/* ---- the server ---------------------------------------------------------------------------- */

static void make_jobs(odto_buf *b, int n)
{
    static const char *const status[] = {"COMPLETED", "EXECUTING", "FAILED", "PENDING"};
    static const char *const types[] = {"email.send", "report.nightly", "image.resize", "echo", "billing"};
    odto_buf_str(b, "{\"jobs\":[");
    for (int i = 0; i < n; i++) {
        char created[25];
        odto_time_format(INT64_C(1785506400000) - i * 250, created);
        odto_buf_printf(b,
                        "%s{\"id\":\"0198a7c0-%04x-7000-8000-%012x\",\"type\":\"%s\",\"status\":\"%s\","
                        "\"createdAt\":\"%s\",\"attempt\":1,\"priority\":0}",
                        i ? "," : "", i & 0xFFFF, i, types[i % 5], status[i % 4], created);
    }
    odto_buf_str(b, "],\"nextCursor\":null}");
}

static void send_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t k = send(fd, p, n, MSG_NOSIGNAL);
        if (k <= 0) {
            return;
        }
        p += k;
        n -= (size_t)k;
    }
}

static void reply(server *s, int fd, const char *request)
{
    const char *body = "{\"status\":\"ok\",\"version\":\"bench\"}";
    size_t n = strlen(body);
    if (!strncmp(request, "GET /jobs", 9)) {
        body = s->jobs.p;
        n = s->jobs.n;
    } else if (!strncmp(request, "GET /stats", 10)) {
        body = "{\"totalJobs\":10000,\"completedJobs\":9900,\"failedJobs\":100,\"lastEventTime\":\"\"}";
        n = strlen(body);
    } else if (!strncmp(request, "GET /proxy", 10)) {
        body = "[]";
        n = 2;
    }
    char head[128];
    int k = snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", n);
    send_all(fd, head, (size_t)k);
    send_all(fd, body, n);
}

typedef struct connection {
    server *s;
    int fd;
} connection;

static void *serve(void *arg)
{
    connection c = *(connection *)arg;
    char buf[8192];
    size_t n = 0;
    free(arg);
    for (;;) {
        ssize_t k = recv(c.fd, buf + n, sizeof buf - 1 - n, 0);
        if (k <= 0) {
            break;
        }
        n += (size_t)k;
        buf[n] = '\0';
        for (char *end; (end = strstr(buf, "\r\n\r\n"));) {
            reply(c.s, c.fd, buf);
            n -= (size_t)(end + 4 - buf);
            memmove(buf, end + 4, n + 1);
        }
    }
    close(c.fd);
    return NULL;
}

static void *accept_all(void *arg)
{
    server *s = arg;
    for (;;) {
        int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);
        pthread_t t;
        if (fd < 0) {
            return NULL;
        }
        connection *c = malloc(sizeof *c);
        if (!c) {
            return NULL;
        }
        *c = (connection){s, fd};
        pthread_create(&t, NULL, serve, c);
        pthread_detach(t);
    }
}

static void start_server(server *s, int jobs)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    pthread_t t;
    make_jobs(&s->jobs, jobs);
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(s->fd, (struct sockaddr *)&a, sizeof a) || listen(s->fd, 64) ||
        getsockname(s->fd, (struct sockaddr *)&a, &n)) {
        perror("bench_dashboard: server");
        exit(1);
    }
    s->port = ntohs(a.sin_port);
    pthread_create(&t, NULL, accept_all, s);
    pthread_detach(t);
}

/* ---- the terminal -------------------------------------------------------------------------- */

typedef struct terminal {
    int master;
    pid_t pid;
    size_t bytes;
} terminal;

static void start_program(terminal *t, const char *program, int port, int jobs, bool splash)
{
    struct winsize ws = {.ws_col = 120, .ws_row = 40};
    char url[64], count[16];
    snprintf(url, sizeof url, "http://127.0.0.1:%d", port);
    snprintf(count, sizeof count, "%d", jobs);
    t->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    t->bytes = 0;
    grantpt(t->master);
    unlockpt(t->master);
    ioctl(t->master, TIOCSWINSZ, &ws);
    char *slave_name = ptsname(t->master);
    t->pid = fork();
    if (t->pid == 0) {
        setsid();
        int slave = open(slave_name, O_RDWR);
        ioctl(slave, TIOCSCTTY, 0);
        dup2(slave, 0);
        dup2(slave, 1);
        dup2(slave, 2);
        setenv("TERM", "xterm-256color", 1);
        setenv("LC_ALL", "C.UTF-8", 1);
        execl(program, program, "--gateway", url, "--read-model", url, "--jobs", count,
              splash ? "--theme=dark" : "--no-splash", (char *)NULL);
        _exit(127);
    }
}

/* Reads until `want` appears (NULL: anything) or ms pass; the time of that in ns, or 0. */
static int64_t read_until(terminal *t, const char *want, int ms)
{
    static char kept[1 << 16];
    size_t n = 0;
    int64_t end = odto_now_ns() + ms * ODTO_MS;
    while (odto_now_ns() < end) {
        struct pollfd p = {t->master, POLLIN, 0};
        int64_t left = (end - odto_now_ns()) / ODTO_MS;
        if (poll(&p, 1, left > 0 ? (int)left : 0) <= 0) {
            break;
        }
        if (n > sizeof kept / 2) {
            memmove(kept, kept + n - 64, 64);
            n = 64;
        }
        ssize_t k = read(t->master, kept + n, sizeof kept - 1 - n);
        if (k <= 0) {
            break;
        }
        int64_t now = odto_now_ns();
        t->bytes += (size_t)k;
        n += (size_t)k;
        kept[n] = '\0';
        if (!want || memmem(kept, n, want, strlen(want))) {
            return now;
        }
    }
    return 0;
}

/* Reads what still comes until 3 ms are quiet. */
static void drain(terminal *t)
{
    while (read_until(t, NULL, 3)) {
    }
}

static void stop_program(terminal *t)
{
    ssize_t w = write(t->master, "\003", 1);
    (void)w;
    while (read_until(t, NULL, 200)) {
    }
    kill(t->pid, SIGKILL);
    waitpid(t->pid, NULL, 0);
    close(t->master);
}

/* bytes 0: not told. */
static void print_hist(const char *name, const hist *h, size_t bytes)
{
    printf("%-24s p50 %.2f ms  p99 %.2f ms  max %.2f ms", name, (double)hist_quantile(h, 0.5) / 1e6,
           (double)hist_quantile(h, 0.99) / 1e6, (double)h->max / 1e6);
    if (bytes && h->n) {
        printf("  %zu bytes a frame", bytes / h->n);
    }
    putchar('\n');
}

/* Sends keys one after the other, each after the frame of the one before. */
static void time_keys(terminal *t, const char *name, const char *const *keys, int n_keys, int rounds)
{
    hist *h = calloc(1, sizeof *h);
    size_t bytes = t->bytes;
    for (int i = 0; h && i < rounds; i++) {
        const char *key = keys[i % n_keys];
        int64_t begin = odto_now_ns();
        if (write(t->master, key, strlen(key)) < 0) {
            break;
        }
        int64_t shown = read_until(t, NULL, 1000);
        if (shown) {
            hist_add(h, shown - begin);
        }
        drain(t);
    }
    if (h) {
        print_hist(name, h, t->bytes - bytes);
    }
    free(h);
}

static void print_memory(const terminal *t)
{
    char path[64], line[128];
    snprintf(path, sizeof path, "/proc/%d/status", (int)t->pid);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f)) {
        if (!strncmp(line, "VmRSS", 5)) {
            printf("memory                   %s", line + 6);
        }
    }
    if (f) {
        fclose(f);
    }
}

static void first_frames(const char *program, const server *s, int jobs)
{
    hist *first = calloc(1, sizeof *first), *useful = calloc(1, sizeof *useful);
    for (int i = 0; first && useful && i < 10; i++) {
        terminal t;
        int64_t begin = odto_now_ns();
        start_program(&t, program, s->port, jobs, true);
        hist_add(first, read_until(&t, "Observatory", 5000) - begin);
        stop_program(&t);
        begin = odto_now_ns();
        start_program(&t, program, s->port, jobs, false);
        hist_add(useful, read_until(&t, "COMPLETED", 5000) - begin);
        stop_program(&t);
    }
    if (first && useful) {
        print_hist("first frame", first, 0);
        print_hist("first frame with jobs", useful, 0);
    }
    free(first);
    free(useful);
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {{"jobs", required_argument, NULL, 'j'},
                                          {"keys", required_argument, NULL, 'k'},
                                          {"program", required_argument, NULL, 'p'},
                                          {NULL, 0, NULL, 0}};
    int jobs = 10000, keys = 500, o;
    const char *program = "./odto-dashboard";
    while ((o = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        if (o == 'j') {
            jobs = atoi(optarg);
        } else if (o == 'k') {
            keys = atoi(optarg);
        } else if (o == 'p') {
            program = optarg;
        } else {
            fprintf(stderr, "usage: bench_dashboard [--jobs N] [--keys N] [--program FILE]\n");
            return 2;
        }
    }
    server s = {0};
    terminal t;
    static const char *const moves[] = {"\033[B", "\033[B", "\033[B", "\033[A", "\033[6~", "\033[5~"};
    static const char *const filter[] = {"e", "m", "a", "i", "l", "\177", "\177", "\177", "\177", "\177"};
    start_server(&s, jobs);
    printf("%d jobs, answer of %zu kB, terminal 120x40\n", jobs, s.jobs.n / 1024);
    first_frames(program, &s, jobs);
    start_program(&t, program, s.port, jobs, false);
    if (!read_until(&t, "COMPLETED", 5000)) {
        fprintf(stderr, "bench_dashboard: %s shows no jobs\n", program);
        return 1;
    }
    drain(&t);
    time_keys(&t, "key, moving in the list", moves, 6, keys);
    if (write(t.master, "/", 1) == 1) {
        drain(&t);
        time_keys(&t, "key, typing a filter", filter, 10, keys);
    }
    print_memory(&t);
    stop_program(&t);
    return 0;
}
