/* wire.c — see wire.h. One mutex for senders, none for the one reader. */
#include "host/wire.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_SIZE   ((size_t)256 << 10)
#define CORK_SIZE   ((size_t)64 << 10)
#define NULL_STRING UINT32_MAX

/* ---- payload ---- */

void wire_bytes(odto_buf *b, odto_slice s)
{
    wire_u32(b, (uint32_t)s.n);
    if (s.n)
        odto_buf_put(b, s.p, s.n);
    odto_buf_put(b, "", 1);
}

void wire_str(odto_buf *b, const char *s)
{
    if (s)
        wire_bytes(b, odto_slice_str(s));
    else
        wire_u32(b, NULL_STRING);
}

void wire_error(odto_buf *b, const odto_error *err)
{
    wire_i64(b, err->code);
    wire_str(b, err->message);
    wire_str(b, err->detail);
    wire_str(b, err->hint);
    wire_str(b, err->where);
}

void wire_get(struct wire_in *in, void *out, size_t n)
{
    if (in->bad || n > in->n) {
        in->bad = true;
        memset(out, 0, n);
        return;
    }
    memcpy(out, in->p, n);
    in->p += n;
    in->n -= n;
}

uint32_t wire_get_u32(struct wire_in *in)
{
    uint32_t v;
    wire_get(in, &v, sizeof v);
    return v;
}

uint64_t wire_get_u64(struct wire_in *in)
{
    uint64_t v;
    wire_get(in, &v, sizeof v);
    return v;
}

int64_t wire_get_i64(struct wire_in *in)
{
    int64_t v;
    wire_get(in, &v, sizeof v);
    return v;
}

static odto_slice get_counted(struct wire_in *in, uint32_t n)
{
    if (in->bad || n >= in->n || in->p[n] != '\0') {
        in->bad = true;
        return odto_slice_of("", 0);
    }
    odto_slice s = odto_slice_of(in->p, n);
    in->p += (size_t)n + 1;
    in->n -= (size_t)n + 1;
    return s;
}

odto_slice wire_get_bytes(struct wire_in *in)
{
    uint32_t n = wire_get_u32(in);
    return get_counted(in, n);
}

const char *wire_get_str(struct wire_in *in)
{
    uint32_t n = wire_get_u32(in);
    return n == NULL_STRING ? NULL : get_counted(in, n).p;
}

static void get_text(struct wire_in *in, char *out, size_t size)
{
    odto_slice s = wire_get_bytes(in);
    size_t n = s.n < size ? s.n : size - 1;
    memcpy(out, s.p, n);
    out[n] = '\0';
}

void wire_get_error(struct wire_in *in, odto_error *out)
{
    out->code = (int)wire_get_i64(in);
    get_text(in, out->message, sizeof out->message);
    get_text(in, out->detail, sizeof out->detail);
    get_text(in, out->hint, sizeof out->hint);
    get_text(in, out->where, sizeof out->where);
}

/* ---- sending ---- */

#define CORK_TIME ODTO_MS /* longest a frame waits for others: a crash loses what did not leave */

static __thread struct wire_link *corked;
static __thread int64_t corked_at;

/* Whether the calling thread's frames wait for more. */
static bool held(const struct wire_link *l)
{
    return corked == l && l->out.n - l->sent < CORK_SIZE && odto_now_ns() - corked_at < CORK_TIME;
}

void wire_open(struct wire_link *l, int fd, int wake, size_t max)
{
    *l = (struct wire_link){.fd = fd, .wake = wake, .max = max};
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->room, NULL);
}

void wire_shut(struct wire_link *l)
{
    pthread_mutex_lock(&l->lock);
    l->closed = true;
    pthread_cond_broadcast(&l->room);
    pthread_mutex_unlock(&l->lock);
}

void wire_free(struct wire_link *l)
{
    for (size_t i = 0; i < l->n_fds_out; i++)
        close(l->fds_out[i].fd);
    for (int fd; (fd = wire_take_fd(l)) >= 0;)
        close(fd);
    if (l->fd >= 0)
        close(l->fd);
    odto_buf_free(&l->out);
    odto_buf_free(&l->in);
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->room);
}

odto_buf *wire_begin(struct wire_link *l, enum wire_type type, uint64_t id)
{
    struct wire_head head = {.type = type, .id = id};
    pthread_mutex_lock(&l->lock);
    l->frame = l->out.n;
    odto_buf_put(&l->out, &head, sizeof head);
    return &l->out;
}

/* One write: up to the next descriptor, or from it. */
static ssize_t write_some(struct wire_link *l)
{
    char control[CMSG_SPACE(sizeof(int))] = {0};
    size_t end = l->out.n;
    struct iovec iov = {.iov_base = l->out.p + l->sent};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    bool with = l->n_fds_out && l->fds_out[0].at == l->sent;
    if (l->n_fds_out > with)
        end = l->fds_out[with].at;
    iov.iov_len = end - l->sent;
    if (with) {
        m.msg_control = control;
        m.msg_controllen = sizeof control;
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        *c = (struct cmsghdr){
            .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(c), &l->fds_out[0].fd, sizeof(int));
    }
    ssize_t n = sendmsg(l->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n > 0 && with) {
        close(l->fds_out[0].fd);
        memmove(l->fds_out, l->fds_out + 1, --l->n_fds_out * sizeof l->fds_out[0]);
    }
    return n;
}

/* What was sent leaves the buffer when that is cheap. */
static void compact(struct wire_link *l)
{
    if (l->sent < l->out.n && l->sent < CORK_SIZE)
        return;
    size_t left = l->out.n - l->sent;
    if (left)
        memmove(l->out.p, l->out.p + l->sent, left);
    for (size_t i = 0; i < l->n_fds_out; i++)
        l->fds_out[i].at -= l->sent;
    l->out.n = left;
    l->sent = 0;
    if (!left && l->out.cap > 4 * READ_SIZE)
        odto_buf_free(&l->out);
}

/* With the lock. True: bytes are left. */
static bool flush(struct wire_link *l)
{
    while (!l->closed && l->sent < l->out.n) {
        ssize_t n = write_some(l);
        if (n > 0) {
            l->sent += (size_t)n;
        } else if (n < 0 && errno == EAGAIN) {
            if (l->wake >= 0)
                break;
            struct pollfd p = {.fd = l->fd, .events = POLLOUT};
            poll(&p, 1, -1);
        } else if (n < 0 && errno != EINTR) {
            l->closed = true;
            pthread_cond_broadcast(&l->room);
        }
    }
    compact(l);
    if (l->out.n - l->sent < l->max / 2)
        pthread_cond_broadcast(&l->room);
    return !l->closed && l->sent < l->out.n;
}

int wire_end(struct wire_link *l, int fd)
{
    int r = l->closed ? -EPIPE : 0;
    if (r == 0 && (l->out.failed || l->out.n - l->frame > WIRE_FRAME_MAX))
        r = l->out.failed ? -ENOMEM : -EMSGSIZE;
    if (r == 0 && fd >= 0 && l->n_fds_out == WIRE_FDS)
        r = -EAGAIN;
    if (r < 0) {
        l->out.n = l->frame < l->out.n ? l->frame : l->out.n;
        l->out.failed = false;
        if (fd >= 0)
            close(fd);
    } else {
        uint32_t size = (uint32_t)(l->out.n - l->frame);
        memcpy(l->out.p + l->frame, &size, sizeof size);
        if (fd >= 0)
            l->fds_out[l->n_fds_out++] = (struct wire_fd){l->frame, fd};
        bool idle = l->sent == l->frame; /* else the poller writes already */
        bool left = !held(l) && flush(l);
        if (left && idle && l->wake >= 0 && write(l->wake, &(uint64_t){1}, 8) < 0)
            l->closed = true;
    }
    pthread_mutex_unlock(&l->lock);
    return r;
}

void wire_cork(struct wire_link *l)
{
    corked = l;
    corked_at = odto_now_ns();
}

void wire_uncork(struct wire_link *l)
{
    corked = NULL;
    if (wire_flush(l) && l->wake >= 0 && write(l->wake, &(uint64_t){1}, 8) < 0)
        wire_shut(l);
}

bool wire_flush(struct wire_link *l)
{
    pthread_mutex_lock(&l->lock);
    bool left = flush(l);
    pthread_mutex_unlock(&l->lock);
    return left;
}

bool wire_room(struct wire_link *l, bool wait)
{
    pthread_mutex_lock(&l->lock);
    while (wait && !l->closed && l->out.n - l->sent >= l->max)
        pthread_cond_wait(&l->room, &l->lock);
    bool room = !l->closed && l->out.n - l->sent < l->max;
    pthread_mutex_unlock(&l->lock);
    return room;
}

/* ---- reading ---- */

static void keep_fds(struct wire_link *l, struct msghdr *m)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            if (l->n_fds_in < WIRE_FDS)
                l->fds_in[l->n_fds_in++] = fd;
            else
                close(fd);
        }
    }
}

int wire_take_fd(struct wire_link *l)
{
    if (!l->n_fds_in)
        return -1;
    int fd = l->fds_in[0];
    memmove(l->fds_in, l->fds_in + 1, --l->n_fds_in * sizeof l->fds_in[0]);
    return fd;
}

/* Room for the rest of a large frame, or for many small ones. */
static int make_room(struct wire_link *l)
{
    size_t left = l->in.n - l->at, want = READ_SIZE;
    if (l->at) {
        memmove(l->in.p, l->in.p + l->at, left);
        l->in.n = left;
        l->at = 0;
    }
    if (left >= sizeof(struct wire_head)) {
        struct wire_head h;
        memcpy(&h, l->in.p, sizeof h);
        if (h.size < sizeof h || h.size > WIRE_FRAME_MAX)
            return -EPROTO;
        if (h.size > left && h.size - left > want)
            want = h.size - left;
    } else if (!left && l->in.cap > 8 * READ_SIZE) {
        odto_buf_free(&l->in);
    }
    return odto_buf_reserve(&l->in, want) ? 0 : -ENOMEM;
}

ssize_t wire_read(struct wire_link *l, bool nonblock)
{
    int r = make_room(l);
    if (r < 0)
        return r;
    char control[CMSG_SPACE(sizeof(int) * WIRE_FDS)];
    struct iovec iov = {.iov_base = l->in.p + l->in.n, .iov_len = l->in.cap - l->in.n - 1};
    struct msghdr m = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t n;
    do
        n = recvmsg(l->fd, &m, MSG_CMSG_CLOEXEC | (nonblock ? MSG_DONTWAIT : 0));
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    keep_fds(l, &m);
    l->in.n += (size_t)n;
    return n;
}

bool wire_next(struct wire_link *l, struct wire_head *head, struct wire_in *payload)
{
    size_t left = l->in.n - l->at;
    if (left < sizeof *head)
        return false;
    memcpy(head, l->in.p + l->at, sizeof *head);
    if (head->size < sizeof *head || head->size > left)
        return false; /* not whole; out of bounds is seen by the next read */
    *payload = (struct wire_in){l->in.p + l->at + sizeof *head, head->size - sizeof *head, false};
    l->at += head->size;
    return true;
}
