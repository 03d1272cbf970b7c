/* load.c — the load generator: submits jobs over keep-alive connections and waits until they are done.
 *
 *   load -n 20000 -c 64                     as fast as 64 clients can, each waiting for its answer
 *   load -n 5000 -c 64 -R 500 --track       500 a second; samples how long a job takes to be COMPLETED
 *   load --get http://127.0.0.1:8080/stats -n 100000 -c 64
 *
 * One thread, one epoll set. With a rate, latency is counted from the moment a request was due, so a server
 * that stalls can't hide it. A request that was refused (429, 503) or whose connection broke is sent again
 * with the same job id, so a job counts once. Every 202 can be written to a file (--ids) for tests that kill
 * the server. */
#include "hist.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <odto/base.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define MAX_CONNECTIONS 20000
#define REQUEST_MAX     (128 * 1024)
#define ANSWER_MAX      (64 * 1024)
#define RESEND_AFTER    (20 * ODTO_MS)

typedef struct endpoint {
    char host[256], port[16], path[512];
    struct sockaddr_storage addr;
    socklen_t addr_len;
} endpoint;

typedef enum conn_state { IDLE, SENDING, WAITING, PAUSED } conn_state;

typedef struct conn {
    int fd;
    conn_state state;
    bool tracker; /* polls one job instead of submitting */
    bool broken;  /* connect again before the next request */
    size_t sent, request_n, got;
    int64_t due;       /* when its request was to be sent */
    int64_t resume_at; /* PAUSED until then */
    char id[ODTO_UUID_LEN + 1];
    char *request;
    char answer[2048];   /* head and, where short, body of the answer */
    size_t answer_total; /* of head and body, 0: head not complete */
    int status;
} conn;

typedef struct options {
    endpoint gateway, read_model;
    bool get, track, wait, json;
    long n;
    int connections;
    double rate;
    const char *type, *payload, *ids;
    int64_t patience_ns, wait_ns, track_gap_ns;
} options;

typedef struct load {
    options o;
    int epfd, timer;
    conn *conns;
    conn tracker;
    endpoint *target;
    char *head, *body_tail; /* of the request, without what changes */
    size_t content_length;
    long started, ended, accepted, refused, reconnects, errors;
    long long base_done;
    char first_error[512];
    FILE *ids;
    int64_t t_begin, t_accepted, t_done, last_progress;
    long long done_now, failed_now;
    char tracked[ODTO_UUID_LEN + 1];
    bool tracking;
    int64_t tracked_at;
    int64_t time_ms;
    char time_text[25];
    hist accept, complete;
} load;

static void die(const char *what, const char *detail)
{
    fprintf(stderr, "load: %s: %s\n", what, detail);
    exit(2);
}

/* ---- addresses and requests -------------------------------------------------------------------- */

static void endpoint_parse(endpoint *e, const char *url)
{
    memset(e, 0, sizeof *e);
    if (strncmp(url, "http://", 7) != 0)
        die("not an http:// address", url);
    const char *host = url + 7, *path = strchr(host, '/');
    size_t n = path ? (size_t)(path - host) : strlen(host);
    const char *colon = memchr(host, ':', n);
    size_t host_n = colon ? (size_t)(colon - host) : n;
    if (host_n == 0 || host_n >= sizeof e->host || n - host_n >= sizeof e->port)
        die("not an address", url);
    memcpy(e->host, host, host_n);
    snprintf(e->port, sizeof e->port, "%.*s", colon ? (int)(n - host_n - 1) : 2, colon ? colon + 1 : "80");
    snprintf(e->path, sizeof e->path, "%s", path && path[1] ? path : "");
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    int rc = getaddrinfo(e->host, e->port, &hints, &found);
    if (rc != 0)
        die(url, gai_strerror(rc));
    memcpy(&e->addr, found->ai_addr, found->ai_addrlen);
    e->addr_len = found->ai_addrlen;
    freeaddrinfo(found);
}

/* The parts of a POST that stay the same. */
static void prepare_post(load *l)
{
    const options *o = &l->o;
    char tail[REQUEST_MAX / 2];
    int n = snprintf(tail, sizeof tail, "\",\"payload\":%s}", o->payload);
    if (n < 0 || (size_t)n >= sizeof tail)
        die("payload", "too long");
    char head[1024];
    size_t body = strlen("{\"id\":\"") + ODTO_UUID_LEN + strlen("\",\"type\":\"") + strlen(o->type) +
                  strlen("\",\"status\":\"PENDING\",\"createdAt\":\"") + 24 + (size_t)n;
    snprintf(head, sizeof head,
             "POST %s/jobs HTTP/1.1\r\nHost: %s:%s\r\nContent-Type: application/json\r\n"
             "Content-Length: %zu\r\n\r\n{\"id\":\"",
             o->gateway.path, o->gateway.host, o->gateway.port, body);
    l->head = strdup(head);
    l->body_tail = strdup(tail);
    if (!l->head || !l->body_tail)
        die("out of memory", "request");
}

static const char *time_now(load *l)
{
    int64_t ms = odto_unix_ms();
    if (ms != l->time_ms) {
        l->time_ms = ms;
        odto_time_format(ms, l->time_text);
    }
    return l->time_text;
}

static char *append(char *p, const char *s)
{
    size_t n = strlen(s);
    memcpy(p, s, n);
    return p + n;
}

static void build_post(load *l, conn *c)
{
    odto_uuid id;
    odto_uuid_v7(&id);
    odto_uuid_format(&id, c->id);
    char *p = append(c->request, l->head);
    p = append(p, c->id);
    p = append(p, "\",\"type\":\"");
    p = append(p, l->o.type);
    p = append(p, "\",\"status\":\"PENDING\",\"createdAt\":\"");
    p = append(p, time_now(l));
    p = append(p, l->body_tail);
    c->request_n = (size_t)(p - c->request);
}

static void build_get(conn *c, const endpoint *e, const char *path)
{
    int n = snprintf(c->request, 2048, "GET %s%s HTTP/1.1\r\nHost: %s:%s\r\n\r\n", e->path, path, e->host,
                     e->port);
    c->request_n = n > 0 && n < 2048 ? (size_t)n : 0;
}

/* ---- connections ------------------------------------------------------------------------------- */

static void conn_watch(load *l, conn *c, int op, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = c};
    epoll_ctl(l->epfd, op, c->fd, &ev);
}

/* 0, or -errno when the server can't be reached now. */
static int conn_open(load *l, conn *c)
{
    const endpoint *e = c->tracker ? &l->o.read_model : l->target;
    int fd = socket(e->addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    if (fd < 0)
        return -errno;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd, (const struct sockaddr *)&e->addr, e->addr_len) != 0) {
        int rc = -errno;
        close(fd);
        return rc;
    }
    fcntl(fd, F_SETFL, O_NONBLOCK);
    c->fd = fd;
    c->broken = false;
    conn_watch(l, c, EPOLL_CTL_ADD, EPOLLIN);
    return 0;
}

static void conn_pause(load *l, conn *c, int64_t now)
{
    (void)l;
    c->state = PAUSED;
    c->resume_at = now + RESEND_AFTER;
}

static void conn_break(load *l, conn *c, int64_t now)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    c->broken = true;
    l->reconnects++;
    if (c->state == SENDING || c->state == WAITING)
        conn_pause(l, c, now);
}

static void conn_send(load *l, conn *c, int64_t now)
{
    while (c->sent < c->request_n) {
        ssize_t n = send(c->fd, c->request + c->sent, c->request_n - c->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            c->state = SENDING;
            conn_watch(l, c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
            return;
        }
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            conn_break(l, c, now);
            return;
        }
        c->sent += (size_t)n;
    }
    if (c->state == SENDING)
        conn_watch(l, c, EPOLL_CTL_MOD, EPOLLIN);
    c->state = WAITING;
}

/* Send (again) what stands in c->request. */
static void conn_request(load *l, conn *c, int64_t now)
{
    c->sent = c->got = c->answer_total = 0;
    c->status = 0;
    c->state = WAITING;
    if (c->broken && conn_open(l, c) != 0)
        conn_pause(l, c, now);
    else
        conn_send(l, c, now);
}

/* ---- answers ----------------------------------------------------------------------------------- */

/* Status and total length from the head, once it is there. False: not HTTP as expected. */
static bool parse_head(conn *c)
{
    size_t have = c->got < sizeof c->answer ? c->got : sizeof c->answer;
    const char *end = memmem(c->answer, have, "\r\n\r\n", 4);
    if (!end)
        return have < sizeof c->answer;
    size_t head = (size_t)(end - c->answer) + 4;
    if (head < 16 || memcmp(c->answer, "HTTP/1.1 ", 9) != 0)
        return false;
    c->status = (c->answer[9] - '0') * 100 + (c->answer[10] - '0') * 10 + (c->answer[11] - '0');
    const char *p = c->answer;
    while ((p = memchr(p, '\n', (size_t)(end - p))) && ++p < end)
        if (strncasecmp(p, "content-length:", 15) == 0) {
            c->answer_total = head + strtoul(p + 15, NULL, 10);
            return true;
        }
    return false;
}

static bool answer_has(const conn *c, const char *text)
{
    size_t have = c->got < sizeof c->answer ? c->got : sizeof c->answer;
    return memmem(c->answer, have, text, strlen(text)) != NULL;
}

/* Reads what there is. 1: the answer is complete, 0: not yet, -1: broken. */
static int conn_read(conn *c)
{
    static char overflow[ANSWER_MAX]; /* what is beyond c->answer is only counted */
    for (;;) {
        bool fits = c->got < sizeof c->answer;
        char *into = fits ? c->answer + c->got : overflow;
        size_t room = fits ? sizeof c->answer - c->got : sizeof overflow;
        ssize_t n = recv(c->fd, into, room, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return 0;
        if (n <= 0)
            return -1;
        c->got += (size_t)n;
        if (c->answer_total == 0 && !parse_head(c))
            return -1;
        if (c->answer_total > 0 && c->got >= c->answer_total)
            return c->got == c->answer_total ? 1 : -1;
        if ((size_t)n < room)
            return 0;
    }
}

static void note_error(load *l, const conn *c)
{
    if (l->errors++ == 0) {
        size_t have = c->got < sizeof c->answer ? c->got : sizeof c->answer;
        snprintf(l->first_error, sizeof l->first_error, "%.*s", (int)have, c->answer);
    }
}

static void job_accepted(load *l, const conn *c, int64_t now)
{
    l->accepted++;
    l->last_progress = now;
    hist_add(&l->accept, now - c->due);
    if (l->ids)
        fprintf(l->ids, "%s\n", c->id);
    if (l->o.track && !l->tracking) {
        memcpy(l->tracked, c->id, sizeof l->tracked);
        l->tracked_at = now;
        l->tracking = true;
        char path[64];
        snprintf(path, sizeof path, "/jobs/%s", l->tracked);
        build_get(&l->tracker, &l->o.read_model, path);
        conn_request(l, &l->tracker, now);
    }
}

static void tracker_answered(load *l, conn *c, int64_t now)
{
    if (answer_has(c, "\"status\":\"COMPLETED\"") || answer_has(c, "\"status\":\"FAILED\"")) {
        hist_add(&l->complete, now - l->tracked_at);
        l->tracking = false;
        c->state = IDLE;
        return;
    }
    c->state = PAUSED; /* not there yet: ask again soon */
    c->resume_at = now + l->o.track_gap_ns;
}

static void start_next(load *l, conn *c, int64_t now);

static void conn_answered(load *l, conn *c, int64_t now)
{
    if (c->tracker) {
        tracker_answered(l, c, now);
        return;
    }
    if (c->status == 429 || c->status == 503) {
        l->refused++;
        conn_pause(l, c, now);
        return;
    }
    l->ended++;
    if (c->status == (l->o.get ? 200 : 202))
        job_accepted(l, c, now);
    else
        note_error(l, c);
    c->state = IDLE;
    start_next(l, c, now);
}

static void conn_ready(load *l, conn *c, uint32_t events, int64_t now)
{
    if ((events & EPOLLOUT) && c->state == SENDING)
        conn_send(l, c, now);
    if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR)) || c->fd < 0)
        return;
    int rc = conn_read(c);
    if (rc < 0)
        conn_break(l, c, now);
    else if (rc > 0)
        conn_answered(l, c, now);
}

/* ---- the schedule ------------------------------------------------------------------------------ */

/* When request number k is due (0 based): at once without a rate. */
static int64_t due_of(const load *l, long k, int64_t now)
{
    return l->o.rate > 0 ? l->t_begin + (int64_t)((double)k * 1e9 / l->o.rate) : now;
}

static void start_next(load *l, conn *c, int64_t now)
{
    if (l->started >= l->o.n)
        return;
    int64_t due = due_of(l, l->started, now);
    if (due > now)
        return;
    c->due = due;
    l->started++;
    if (l->o.get)
        build_get(c, l->target, l->target->path[0] ? "" : "/");
    else
        build_post(l, c);
    conn_request(l, c, now);
}

/* Start what is due on idle connections, send again what was paused. Returns when to look again. */
static int64_t tick(load *l, int64_t now)
{
    int64_t next = INT64_MAX;
    bool idle = false;
    for (int i = 0; i < l->o.connections; i++) {
        conn *c = &l->conns[i];
        if (c->state == PAUSED && c->resume_at <= now)
            conn_request(l, c, now);
        else if (c->state == IDLE)
            start_next(l, c, now);
        if (c->state == PAUSED && c->resume_at < next)
            next = c->resume_at;
        idle |= c->state == IDLE;
    }
    if (idle && l->started < l->o.n && due_of(l, l->started, now) < next)
        next = due_of(l, l->started, now);
    conn *t = &l->tracker;
    if (t->state == PAUSED && t->resume_at <= now)
        conn_request(l, t, now);
    if (t->state == PAUSED && t->resume_at < next)
        next = t->resume_at;
    return next;
}

static void arm(load *l, int64_t at)
{
    struct itimerspec t = {.it_value = {at / ODTO_SEC, at % ODTO_SEC}};
    if (at == INT64_MAX)
        t.it_value = (struct timespec){0, 0};
    timerfd_settime(l->timer, TFD_TIMER_ABSTIME, &t, NULL);
}

static void run(load *l)
{
    struct epoll_event events[512];
    int64_t now = odto_now_ns(), next = tick(l, now);
    arm(l, next);
    l->last_progress = now;
    while (l->ended < l->o.n || l->tracking) {
        int n = epoll_wait(l->epfd, events, 512, 1000);
        now = odto_now_ns();
        for (int i = 0; i < n; i++)
            if (events[i].data.ptr)
                conn_ready(l, events[i].data.ptr, events[i].events, now);
        now = odto_now_ns();
        if (l->o.rate > 0 || next <= now || l->reconnects || l->refused || l->o.track) {
            int64_t again = tick(l, now);
            if (again != next)
                arm(l, next = again);
            if (next <= now)
                next = now; /* looked at in the next round */
        }
        if (l->errors > 100 || now - l->last_progress > l->o.patience_ns)
            break;
    }
    l->t_accepted = odto_now_ns();
}

/* ---- statistics of the read model -------------------------------------------------------------- */

static long long number_after(const char *text, const char *key)
{
    const char *p = strstr(text, key);
    return p ? strtoll(p + strlen(key), NULL, 10) : -1;
}

/* completedJobs and failedJobs by one blocking request; false when there is no answer. */
static bool stats(load *l, int *fd, long long *completed, long long *failed)
{
    const endpoint *e = &l->o.read_model;
    char text[4096];
    if (*fd < 0) {
        *fd = socket(e->addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (*fd < 0 || connect(*fd, (const struct sockaddr *)&e->addr, e->addr_len) != 0)
            goto failed;
    }
    int n = snprintf(text, sizeof text, "GET %s/stats HTTP/1.1\r\nHost: %s:%s\r\n\r\n", e->path, e->host,
                     e->port);
    if (send(*fd, text, (size_t)n, MSG_NOSIGNAL) != n)
        goto failed;
    size_t got = 0;
    while (got < sizeof text - 1) {
        ssize_t r = recv(*fd, text + got, sizeof text - 1 - got, 0);
        if (r <= 0)
            goto failed;
        got += (size_t)r;
        text[got] = 0;
        if (strstr(text, "\r\n\r\n") && text[got - 1] == '}')
            break;
    }
    *completed = number_after(text, "\"completedJobs\":");
    *failed = number_after(text, "\"failedJobs\":");
    return *completed >= 0 && *failed >= 0;
failed:
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
    return false;
}

static void wait_done(load *l, int *fd)
{
    int64_t until = odto_now_ns() + l->o.wait_ns;
    long long completed = 0, failed = 0;
    do {
        if (stats(l, fd, &completed, &failed)) {
            l->done_now = completed + failed - l->base_done;
            l->failed_now = failed;
        }
        l->t_done = odto_now_ns();
        if (l->done_now >= l->accepted)
            return;
        /* asking costs what is measured: a fifth of PostgreSQL's time when it was asked every 2 ms */
        usleep(l->accepted - l->done_now > 1000 ? 20000 : 2000);
    } while (l->t_done < until);
}

/* ---- report ------------------------------------------------------------------------------------ */

static double ms(uint64_t ns)
{
    return (double)ns / 1e6;
}

static double seconds(int64_t from, int64_t to)
{
    return to > from ? (double)(to - from) / 1e9 : 1e-9;
}

static double cpu_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void print_hist(const char *name, const hist *h, bool json)
{
    double p50 = ms(hist_quantile(h, .5)), p90 = ms(hist_quantile(h, .9)), p99 = ms(hist_quantile(h, .99)),
           p999 = ms(hist_quantile(h, .999)), max = ms(h->max);
    if (json)
        printf(",\"%s\":{\"n\":%llu,\"p50\":%.3f,\"p90\":%.3f,\"p99\":%.3f,\"p999\":%.3f,\"max\":%.3f}", name,
               (unsigned long long)h->n, p50, p90, p99, p999, max);
    else
        printf("%-20s %llu, ms: p50 %.3f  p90 %.3f  p99 %.3f  p99.9 %.3f  max %.3f\n", name,
               (unsigned long long)h->n, p50, p90, p99, p999, max);
}

static void report(const load *l)
{
    double accept_s = seconds(l->t_begin, l->t_accepted), done_s = seconds(l->t_begin, l->t_done);
    double cpu_us = l->ended ? cpu_seconds() * 1e6 / (double)l->ended : 0;
    bool json = l->o.json;
    if (json) {
        printf("{\"requests\":%ld,\"accepted\":%ld,\"refused\":%ld,\"errors\":%ld,\"reconnects\":%ld,"
               "\"seconds\":%.4f,\"per_second\":%.1f,\"client_cpu_us\":%.2f",
               l->ended, l->accepted, l->refused, l->errors, l->reconnects, accept_s,
               (double)l->accepted / accept_s, cpu_us);
        if (l->o.wait)
            printf(",\"done\":%lld,\"done_seconds\":%.4f,\"done_per_second\":%.1f", l->done_now, done_s,
                   (double)l->done_now / done_s);
    } else {
        printf("%-20s %ld of %ld in %.3f s: %.0f/s (refused %ld, errors %ld, reconnects %ld)\n",
               l->o.get ? "answered" : "accepted", l->accepted, l->o.n, accept_s,
               (double)l->accepted / accept_s, l->refused, l->errors, l->reconnects);
        if (l->o.wait)
            printf("%-20s %lld in %.3f s: %.0f/s end to end\n", "finished", l->done_now, done_s,
                   (double)l->done_now / done_s);
        printf("%-20s %.2f us of CPU a request\n", "this client", cpu_us);
    }
    print_hist(json ? "latency_ms" : "latency", &l->accept, json);
    if (l->o.track)
        print_hist(json ? "completed_ms" : "accept to COMPLETED", &l->complete, json);
    if (json)
        puts("}");
    if (l->first_error[0])
        fprintf(stderr, "load: first error: %s\n", l->first_error);
}

/* ---- main -------------------------------------------------------------------------------------- */

static const char usage[] =
    "usage: load [options]\n"
    "  -g, --gateway URL      where to submit (http://127.0.0.1:3000)\n"
    "  -r, --read-model URL   where to ask (http://127.0.0.1:8080)\n"
    "  -n, --jobs N           how many (10000)\n"
    "  -c, --connections N    keep-alive connections (64)\n"
    "  -R, --rate N           so many a second; 0: as fast as answers come (0)\n"
    "  -t, --type TYPE        job type (echo)\n"
    "  -p, --payload JSON     payload, or a number: an object of about that many bytes (256)\n"
    "  -w, --wait SECONDS     wait so long for all to be done; 0: do not (60)\n"
    "      --track            sample the time from 202 to COMPLETED\n"
    "      --track-gap MS     time between two looks at a sampled job (0.5)\n"
    "      --ids FILE         write the id of every accepted job\n"
    "      --patience SECONDS give up after so long without any answer (30)\n"
    "      --get URL          GET this instead of submitting jobs\n"
    "      --json             one JSON object instead of text\n"
    "exit status: 0 all accepted (and done), 1 not all, 2 usage\n";

static char *payload_of(const char *text)
{
    char *end;
    long n = strtol(text, &end, 10);
    if (*end != 0)
        return strdup(text);
    if (n < 0 || n > 60000)
        die("payload", "0 to 60000 bytes");
    size_t fill = n > 11 ? (size_t)n - 11 : 0;
    char *p = malloc(fill + 16);
    if (!p)
        die("payload", "out of memory");
    memcpy(p, "{\"data\":\"", 9);
    memset(p + 9, 'x', fill);
    strcpy(p + 9 + fill, "\"}");
    return p;
}

static void read_options(options *o, int argc, char **argv)
{
    enum { TRACK = 256, GAP, IDS, PATIENCE, GET, JSON, HELP };
    static const struct option longs[] = {{"gateway", 1, 0, 'g'}, {"read-model", 1, 0, 'r'},
                                          {"jobs", 1, 0, 'n'},    {"connections", 1, 0, 'c'},
                                          {"rate", 1, 0, 'R'},    {"type", 1, 0, 't'},
                                          {"payload", 1, 0, 'p'}, {"wait", 1, 0, 'w'},
                                          {"track", 0, 0, TRACK}, {"track-gap", 1, 0, GAP},
                                          {"ids", 1, 0, IDS},     {"patience", 1, 0, PATIENCE},
                                          {"get", 1, 0, GET},     {"json", 0, 0, JSON},
                                          {"help", 0, 0, HELP},   {0, 0, 0, 0}};
    const char *gateway = "http://127.0.0.1:3000", *read_model = "http://127.0.0.1:8080", *payload = "256";
    double wait = 60, gap = 0.5, patience = 30;
    *o = (options){.n = 10000, .connections = 64, .type = "echo"};
    for (int k; (k = getopt_long(argc, argv, "g:r:n:c:R:t:p:w:", longs, NULL)) != -1;)
        switch (k) {
        case 'g':
            gateway = optarg;
            break;
        case 'r':
            read_model = optarg;
            break;
        case 'n':
            o->n = atol(optarg);
            break;
        case 'c':
            o->connections = atoi(optarg);
            break;
        case 'R':
            o->rate = atof(optarg);
            break;
        case 't':
            o->type = optarg;
            break;
        case 'p':
            payload = optarg;
            break;
        case 'w':
            wait = atof(optarg);
            break;
        case TRACK:
            o->track = true;
            break;
        case GAP:
            gap = atof(optarg);
            break;
        case IDS:
            o->ids = optarg;
            break;
        case PATIENCE:
            patience = atof(optarg);
            break;
        case GET:
            o->get = true;
            gateway = optarg;
            break;
        case JSON:
            o->json = true;
            break;
        case HELP:
            fputs(usage, stdout);
            exit(0);
        default:
            fputs(usage, stderr);
            exit(2);
        }
    if (optind < argc || o->n < 1 || o->connections < 1 || o->connections > MAX_CONNECTIONS || o->rate < 0) {
        fputs(usage, stderr);
        exit(2);
    }
    o->wait = !o->get && wait > 0;
    o->track &= !o->get;
    o->wait_ns = (int64_t)(wait * 1e9);
    o->track_gap_ns = (int64_t)(gap * 1e6);
    o->patience_ns = (int64_t)(patience * 1e9);
    o->payload = payload_of(payload);
    endpoint_parse(&o->gateway, gateway);
    if (o->wait || o->track)
        endpoint_parse(&o->read_model, read_model);
}

static void conn_init(conn *c, size_t room)
{
    c->fd = -1;
    c->broken = true;
    c->request = malloc(room);
    if (!c->request)
        die("out of memory", "connections");
}

static void prepare(load *l)
{
    l->epfd = epoll_create1(EPOLL_CLOEXEC);
    l->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    struct epoll_event ev = {.events = EPOLLIN | EPOLLET, .data.ptr = NULL};
    epoll_ctl(l->epfd, EPOLL_CTL_ADD, l->timer, &ev);
    l->target = &l->o.gateway;
    prepare_post(l);
    size_t room = strlen(l->head) + strlen(l->body_tail) + strlen(l->o.type) + 256;
    l->conns = calloc((size_t)l->o.connections, sizeof *l->conns);
    if (!l->conns)
        die("out of memory", "connections");
    for (int i = 0; i < l->o.connections; i++)
        conn_init(&l->conns[i], room < 2048 ? 2048 : room);
    conn_init(&l->tracker, 2048);
    l->tracker.tracker = true;
    if (l->o.ids && !(l->ids = fopen(l->o.ids, "ae")))
        die(l->o.ids, strerror(errno));
    for (int i = 0; i < l->o.connections; i++) { /* connecting is no part of the measurement */
        int rc = conn_open(l, &l->conns[i]);
        if (rc != 0)
            die("can't connect", strerror(-rc));
    }
}

int main(int argc, char **argv)
{
    static load l;
    struct rlimit files;
    read_options(&l.o, argc, argv);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    int stats_fd = -1;
    long long completed = 0, failed = 0;
    if (l.o.wait && !stats(&l, &stats_fd, &completed, &failed))
        die("the read model does not answer GET /stats", l.o.read_model.host);
    l.base_done = completed + failed;
    prepare(&l);
    l.t_begin = odto_now_ns();
    run(&l);
    if (l.ids)
        fclose(l.ids);
    l.t_done = l.t_accepted;
    if (l.o.wait)
        wait_done(&l, &stats_fd);
    report(&l);
    return l.accepted == l.o.n && (!l.o.wait || l.done_now >= l.accepted) ? 0 : 1;
}
