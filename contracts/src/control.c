/* control.c — the control protocol's transport and its client; see control.h.
 *
 * Wire (sp-ipc-mapping-01): each side greets with 00 'S' 'P' 00, its protocol as 16 bits, 00 00. A message is
 * one byte 01, its length as 64 bits, its bytes; all big-endian. A request or reply begins with 32-bit words,
 * the last of which has its top bit set: the request's id. */
#include <odto/control.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LAST_WORD 0x80000000u

static int wait_for(int fd, short events, int64_t deadline)
{
    for (;;) {
        int64_t left = deadline == INT64_MAX ? -1 : deadline - odto_now_ns();
        if (deadline != INT64_MAX && left <= 0)
            return -ETIMEDOUT;
        int64_t ms = left < 0 ? -1 : left / ODTO_MS + 1;
        struct pollfd p = {fd, events, 0};
        int n = poll(&p, 1, ms > 3600000 ? 3600000 : (int)ms);
        if (n > 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return -errno;
    }
}

static int send_all(int fd, const void *data, size_t n, int64_t deadline)
{
    const char *p = data;
    while (n > 0) {
        ssize_t k = send(fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (k > 0) {
            p += k;
            n -= (size_t)k;
        } else if (k < 0 && errno == EAGAIN) {
            int code = wait_for(fd, POLLOUT, deadline);
            if (code < 0)
                return code;
        } else if (k < 0 && errno != EINTR) {
            return errno == ECONNRESET ? -EPIPE : -errno;
        }
    }
    return 0;
}

static int receive_all(int fd, void *data, size_t n, int64_t deadline)
{
    char *p = data;
    while (n > 0) {
        ssize_t k = recv(fd, p, n, MSG_DONTWAIT);
        if (k > 0) {
            p += k;
            n -= (size_t)k;
        } else if (k == 0) {
            return -EPIPE;
        } else if (errno == EAGAIN) {
            int code = wait_for(fd, POLLIN, deadline);
            if (code < 0)
                return code;
        } else if (errno != EINTR) {
            return errno == ECONNRESET ? -EPIPE : -errno;
        }
    }
    return 0;
}

static void put_number(unsigned char *p, uint64_t v, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        p[i] = (unsigned char)(v >> 8 * (bytes - 1 - i));
}

static uint64_t get_number(const unsigned char *p, size_t bytes)
{
    uint64_t v = 0;
    for (size_t i = 0; i < bytes; i++)
        v = v << 8 | p[i];
    return v;
}

int odto_sp_greet(int fd, uint16_t self, uint16_t peer, int64_t deadline)
{
    unsigned char mine[8] = {0, 'S', 'P', 0}, theirs[8];
    put_number(mine + 4, self, 2);
    int code = send_all(fd, mine, sizeof(mine), deadline);
    if (code == 0)
        code = receive_all(fd, theirs, sizeof(theirs), deadline);
    if (code == 0 && (memcmp(theirs, mine, 4) != 0 || get_number(theirs + 4, 2) != peer))
        code = -EPROTO;
    return code;
}

int odto_sp_send(int fd, const odto_sp_header *h, odto_slice body, int64_t deadline)
{
    unsigned char head[9 + 4 * ODTO_SP_HOPS] = {1};
    put_number(head + 1, 4 * h->n + body.n, 8);
    for (size_t i = 0; i < h->n; i++)
        put_number(head + 9 + 4 * i, h->words[i], 4);
    int code = send_all(fd, head, 9 + 4 * h->n, deadline);
    return code == 0 ? send_all(fd, body.p, body.n, deadline) : code;
}

/* The words in front of a message of *left bytes. */
static int receive_header(int fd, odto_sp_header *h, uint64_t *left, int64_t deadline)
{
    unsigned char word[4];
    h->n = 0;
    do {
        if (h->n == ODTO_SP_HOPS || *left < sizeof(word))
            return -EPROTO;
        int code = receive_all(fd, word, sizeof(word), deadline);
        if (code < 0)
            return code;
        *left -= sizeof(word);
        h->words[h->n++] = (uint32_t)get_number(word, sizeof(word));
    } while (!(h->words[h->n - 1] & LAST_WORD));
    return 0;
}

int odto_sp_receive(int fd, odto_sp_header *h, odto_buf *body, size_t max, int64_t deadline, int64_t rest_ns)
{
    unsigned char head[9];
    int code = wait_for(fd, POLLIN, deadline);
    if (code < 0)
        return code;
    int64_t now = odto_now_ns(), rest = rest_ns > INT64_MAX - now ? INT64_MAX : now + rest_ns;
    code = receive_all(fd, head, sizeof(head), rest);
    uint64_t left = get_number(head + 1, 8);
    if (code == 0 && head[0] != 1)
        code = -EPROTO;
    if (code == 0 && left > max)
        code = -EMSGSIZE;
    if (code == 0)
        code = receive_header(fd, h, &left, rest);
    if (code == 0 && !odto_buf_reserve(body, (size_t)left))
        code = -ENOMEM;
    if (code == 0)
        code = receive_all(fd, body->p + body->n, (size_t)left, rest);
    if (code == 0) {
        body->n += (size_t)left;
        body->p[body->n] = 0;
    }
    return code;
}

/* ---- client ---- */

static int no_host(const char *path, int code, odto_error *err)
{
    odto_fail(err, code, "no host answers on %s", path);
    odto_error_detail(err, "%s", strerror(-code));
    if (code == -EACCES || code == -EPERM)
        odto_error_hint(err, "ask as root or as the user the host runs as");
    else
        odto_error_hint(err, "is odto-host running? name its socket with --socket or ODTO_SOCKET");
    return code;
}

static int dial(const char *path, int64_t deadline, odto_error *err)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(a.sun_path))
        return odto_fail(err, -ENAMETOOLONG, "the path of the control socket is too long: %s", path);
    strcpy(a.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return odto_fail(err, -errno, "no socket: %s", strerror(errno));
    int code = connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0 ? -errno : 0;
    if (code < 0)
        no_host(path, code, err);
    if (code == 0 && (code = odto_sp_greet(fd, ODTO_SP_REQ, ODTO_SP_REP, deadline)) < 0) {
        odto_fail(err, code, "%s does not answer as a host does", path);
        odto_error_detail(err, "%s", code == -EPIPE ? "it hung up" : strerror(-code));
        if (code == -EPIPE)
            odto_error_hint(err, "it serves root and its own user only, and a few clients at a time");
    }
    if (code == 0)
        return fd;
    close(fd);
    return code;
}

int odto_control_ask(const char *socket_path, odto_slice request, int64_t timeout_ns, odto_buf *reply,
                     odto_error *err)
{
    int64_t now = odto_now_ns(), deadline = timeout_ns > INT64_MAX - now ? INT64_MAX : now + timeout_ns;
    int fd = dial(socket_path, deadline, err);
    if (fd < 0)
        return fd;
    odto_sp_header h = {{(uint32_t)odto_random64() | LAST_WORD}, 1}, back;
    int code = odto_sp_send(fd, &h, request, deadline);
    if (code == 0)
        code = odto_sp_receive(fd, &back, reply, ODTO_CONTROL_MAX, deadline, INT64_MAX);
    if (code == 0 && (back.n != 1 || back.words[0] != h.words[0]))
        code = -EPROTO;
    close(fd);
    if (code < 0) {
        odto_fail(err, code, "the host did not answer");
        odto_error_detail(err, "%s: %s", socket_path, code == -EPIPE ? "it hung up" : strerror(-code));
        odto_error_hint(err, "its log may say why");
    }
    return code;
}

bool odto_control_request(odto_buf *out, const char *verb, odto_slice args)
{
    odto_buf_printf(out, "{\"v\":%d,\"verb\":", ODTO_CONTROL_VERSION);
    odto_buf_jsonz(out, verb);
    if (args.n) {
        odto_buf_str(out, ",\"args\":");
        odto_buf_put(out, args.p, args.n);
    }
    return odto_buf_str(out, "}");
}
