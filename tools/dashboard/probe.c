/* probe — see probe.h. Hellos: AMQP 0-9-1 §4.2.2, PostgreSQL protocol 3.0 SSLRequest, Redis inline PING. */
#include "probe.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int wait_connected(int fd, int timeout_ms)
{
    struct pollfd p = {fd, POLLOUT, 0};
    int rc = poll(&p, 1, timeout_ms);
    if (rc == 0) {
        return -ETIMEDOUT;
    }
    int e = 0;
    socklen_t n = sizeof e;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &n);
    return rc < 0 ? -errno : -e;
}

static int connect_one(const struct addrinfo *a, int timeout_ms)
{
    int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol);
    if (fd < 0) {
        return -errno;
    }
    int rc = connect(fd, a->ai_addr, a->ai_addrlen) == 0 ? 0 : -errno;
    if (rc == -EINPROGRESS) {
        rc = wait_connected(fd, timeout_ms);
    }
    if (rc) {
        close(fd);
        return rc;
    }
    return fd;
}

int probe_tcp(const char *host, int port, int timeout_ms, char *why, size_t size)
{
    char service[8];
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *list = NULL;
    snprintf(service, sizeof service, "%d", port);
    int rc = getaddrinfo(host, service, &hints, &list);
    if (rc) {
        snprintf(why, size, "the name %s is not known (%s)", host, gai_strerror(rc));
        return -EHOSTUNREACH;
    }
    int fd = -EHOSTUNREACH;
    for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
        fd = connect_one(a, timeout_ms);
    }
    freeaddrinfo(list);
    if (fd == -ECONNREFUSED) {
        snprintf(why, size, "nothing listens on %s:%d", host, port);
    } else if (fd == -ETIMEDOUT) {
        snprintf(why, size, "%s:%d does not answer within %d ms (firewall?)", host, port, timeout_ms);
    } else if (fd < 0) {
        snprintf(why, size, "%s:%d: %s", host, port, strerror(-fd));
    }
    return fd;
}

typedef struct sink {
    char *p;
    size_t n, size;
} sink;

static size_t on_body(char *p, size_t one, size_t n, void *arg)
{
    sink *s = arg;
    size_t room = s->size ? s->size - 1 - s->n : 0, k = one * n < room ? one * n : room;
    if (k) {
        memcpy(s->p + s->n, p, k);
        s->n += k;
        s->p[s->n] = '\0';
    }
    return one * n;
}

int probe_http(const char *url, int timeout_ms, char *body, size_t body_size, char *why, size_t size)
{
    CURL *e = curl_easy_init();
    sink s = {body, 0, body ? body_size : 0};
    long code = 0;
    if (!e) {
        snprintf(why, size, "no memory");
        return -ENOMEM;
    }
    if (body && body_size) {
        body[0] = '\0';
    }
    curl_easy_setopt(e, CURLOPT_URL, url);
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_PROXY, "");
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, &s);
    CURLcode rc = curl_easy_perform(e);
    curl_easy_getinfo(e, CURLINFO_RESPONSE_CODE, &code);
    curl_easy_cleanup(e);
    if (rc == CURLE_OK) {
        return (int)code;
    }
    snprintf(why, size,
             rc == CURLE_COULDNT_CONNECT        ? "nothing listens there"
             : rc == CURLE_OPERATION_TIMEDOUT   ? "no answer in time"
             : rc == CURLE_COULDNT_RESOLVE_HOST ? "the host's name is not known"
                                                : "%s",
             curl_easy_strerror(rc));
    return rc == CURLE_COULDNT_CONNECT ? -ECONNREFUSED : -EIO;
}

bool probe_url(const char *url, char *scheme, size_t scheme_size, char *host, size_t host_size, int *port)
{
    const char *p = strstr(url, "://");
    snprintf(scheme, scheme_size, "%.*s", p ? (int)(p - url) : 0, url);
    p = p ? p + 3 : url;
    size_t n = strcspn(p, "/?");
    const char *at = memrchr(p, '@', n);
    if (at) {
        n -= (size_t)(at + 1 - p);
        p = at + 1;
    }
    const char *colon = memrchr(p, ':', n);
    if (p[0] == '[') { /* an IPv6 address has colons of its own */
        const char *close = memchr(p, ']', n);
        if (!close) {
            return false;
        }
        snprintf(host, host_size, "%.*s", (int)(close - p - 1), p + 1);
        colon = close + 1 < p + n && close[1] == ':' ? close + 1 : NULL;
    } else {
        snprintf(host, host_size, "%.*s", (int)(colon ? (size_t)(colon - p) : n), p);
    }
    if (colon) {
        *port = atoi(colon + 1);
    }
    return host[0] && *port > 0 && *port < 65536;
}

static const struct {
    const char *kind;
    const char *hello;
    size_t n;
    const char *answers; /* first bytes that such a server gives */
} hellos[] = {{"amqp", "AMQP\0\0\x9\x1", 8, "\x1"},
              {"postgres", "\0\0\0\x8\x4\xd2\x16\x2f", 8, "SN"},
              {"redis", "PING\r\n", 6, "+-"}};

static int say_hello(int fd, const char *kind, int timeout_ms, char *why, size_t size)
{
    for (size_t i = 0; i < sizeof hellos / sizeof hellos[0]; i++) {
        if (strcmp(hellos[i].kind, kind) != 0) {
            continue;
        }
        char first = 0;
        struct pollfd p = {fd, POLLIN, 0};
        bool sent = send(fd, hellos[i].hello, hellos[i].n, MSG_NOSIGNAL) == (ssize_t)hellos[i].n;
        if (!sent || poll(&p, 1, timeout_ms) <= 0 || recv(fd, &first, 1, 0) != 1) {
            snprintf(why, size, "connected, but nothing that speaks %s answers", kind);
            return -EPROTO;
        }
        if (!first || !strchr(hellos[i].answers, first)) {
            snprintf(why, size, "something else than %s answers there", kind);
            return -EPROTO;
        }
    }
    return 0;
}

int probe_server(const char *url, const char *kind, int default_port, int timeout_ms, char *why, size_t size)
{
    char scheme[24], host[256];
    int port = default_port;
    port = !strncmp(url, "amqps://", 8) ? 5671 : port;
    if (!probe_url(url, scheme, sizeof scheme, host, sizeof host, &port)) {
        snprintf(why, size, "the URL has no host");
        return -EINVAL;
    }
    if (strstr(scheme, "+srv")) { /* the name stands for others, which only the driver finds */
        snprintf(why, size, "%s is looked up by its driver, not asked", host);
        return 0;
    }
    int fd = probe_tcp(host, port, timeout_ms, why, size);
    if (fd < 0) {
        return fd;
    }
    bool tls = !strcmp(scheme, "rediss") || !strcmp(scheme, "amqps");
    int rc = tls ? 0 : say_hello(fd, kind, timeout_ms, why, size);
    close(fd);
    if (!rc) {
        snprintf(why, size, tls ? "listens on %s:%d (TLS, not asked further)" : "answers on %s:%d", host,
                 port);
    }
    return rc;
}

int probe_listen(const char *host, int port)
{
    char service[8];
    struct addrinfo hints = {.ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM}, *a = NULL;
    int one = 1;
    snprintf(service, sizeof service, "%d", port);
    if (getaddrinfo(host[0] ? host : NULL, service, &hints, &a)) {
        return -EADDRNOTAVAIL;
    }
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0), rc = fd < 0 ? -errno : 0;
    if (!rc) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        rc = bind(fd, a->ai_addr, a->ai_addrlen) < 0 ? -errno : 0;
        close(fd);
    }
    freeaddrinfo(a);
    return rc;
}

int probe_port_free(int port)
{
    return probe_listen("127.0.0.1", port);
}
