/* guard.c — the thread "guard" sees to it that the listeners accept.
 *
 * nng 1.5.2 stops accepting on a listener for good when a client leaves during the greeting (eight bytes each
 * way): a port scan or a health check by connect(2) is enough. So the guard greets each listener of its own
 * every PROBE_NS; one that does not answer is closed and opened anew. Connections that are up do not notice.
 */
#include "mesh.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define PROBE_NS (2 * ODTO_SEC)
#define REPLY_MS 1000

/* Where the listener can be reached from here. The length, 0: not known. */
static socklen_t own_address(const struct address *a, struct sockaddr_storage *out)
{
    nng_sockaddr sa;
    memset(out, 0, sizeof *out);
    if (nng_listener_get_addr(a->listener, NNG_OPT_LOCADDR, &sa) != 0)
        return 0;
    if (sa.s_family == NNG_AF_INET) {
        struct sockaddr_in *in = (struct sockaddr_in *)out;
        in->sin_family = AF_INET;
        in->sin_port = sa.s_in.sa_port;
        in->sin_addr.s_addr = sa.s_in.sa_addr ? sa.s_in.sa_addr : htonl(INADDR_LOOPBACK);
        return sizeof *in;
    }
    if (sa.s_family == NNG_AF_INET6) {
        struct sockaddr_in6 *in = (struct sockaddr_in6 *)out;
        in->sin6_family = AF_INET6;
        in->sin6_port = sa.s_in6.sa_port;
        memcpy(&in->sin6_addr, sa.s_in6.sa_addr, sizeof in->sin6_addr);
        if (IN6_IS_ADDR_UNSPECIFIED(&in->sin6_addr))
            in->sin6_addr = in6addr_loopback;
        return sizeof *in;
    }
    if (sa.s_family == NNG_AF_IPC) {
        struct sockaddr_un *un = (struct sockaddr_un *)out;
        un->sun_family = AF_UNIX;
        if (strlen(sa.s_ipc.sa_path) >= sizeof un->sun_path)
            return 0;
        strcpy(un->sun_path, sa.s_ipc.sa_path);
        return sizeof *un;
    }
    return 0;
}

static bool ready(int fd, short events)
{
    struct pollfd p = {.fd = fd, .events = events};
    return poll(&p, 1, REPLY_MS) > 0;
}

/* SP greeting: 0 'S' 'P' 0, the protocol (REQ is 0x30), two bytes of zero; both sides send it at once. */
static bool greets(const struct sockaddr_storage *at, socklen_t n)
{
    static const uint8_t hello[8] = {0, 'S', 'P', 0, 0, 0x30, 0, 0};
    uint8_t theirs[8];
    size_t got = 0;
    int fd = socket(at->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return true; /* our own trouble says nothing about the listener */
    int rc = connect(fd, (const struct sockaddr *)at, n);
    bool ok = rc == 0 || (errno == EINPROGRESS && ready(fd, POLLOUT));
    ok = ok && send(fd, hello, sizeof hello, MSG_NOSIGNAL) == (ssize_t)sizeof hello;
    while (ok && got < sizeof theirs) {
        ssize_t k = ready(fd, POLLIN) ? recv(fd, theirs + got, sizeof theirs - got, 0) : 0;
        ok = k > 0;
        got += ok ? (size_t)k : 0;
    }
    close(fd);
    return ok;
}

static void look_after(mesh *m, struct address *a)
{
    struct sockaddr_storage at;
    socklen_t n = a->open ? own_address(a, &at) : 0;
    if (a->open && (n == 0 || greets(&at, n)))
        return;
    if (a->open) {
        odto_log(m->host, ODTO_WARN, "%s accepts nothing any more; it is opened anew", a->url);
        nng_listener_close(a->listener);
        a->open = false;
        odto_metric_add(m->reopened, 1);
    }
    int rc = receiver_listen(m, a);
    if (rc)
        odto_log(m->host, ODTO_ERROR, "can't listen on %s again: %s; trying again", a->url, nng_strerror(rc));
}

/* Until the time, or until stop(); true: stop. */
static bool rest(mesh *m, int64_t until_ns)
{
    struct timespec t = {.tv_sec = (time_t)(until_ns / ODTO_SEC), .tv_nsec = (long)(until_ns % ODTO_SEC)};
    pthread_mutex_lock(&m->lock);
    while (!mesh_stopping(m) && odto_now_ns() < until_ns)
        pthread_cond_timedwait(&m->stopped, &m->lock, &t);
    pthread_mutex_unlock(&m->lock);
    return mesh_stopping(m);
}

void guard_run(void *arg)
{
    mesh *m = arg;
    while (!rest(m, odto_now_ns() + PROBE_NS))
        for (size_t i = 0; i < m->n_addresses && !mesh_stopping(m); i++)
            look_after(m, &m->addresses[i]);
}
