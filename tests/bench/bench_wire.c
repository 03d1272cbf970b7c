/* bench_wire.c — what one message to a worker process and back costs, by carrier: frames over a stream socket
 * (what the host uses), datagrams over a SEQPACKET socket, and a ring in shared memory with futex wake-ups.
 * A child echoes. Rows: one message at a time, and 64 at once, of 600 bytes (a small job). */
#include "host/wire.h"

#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE  600
#define SLOTS 128u
#define TIME  (ODTO_SEC / 2)

/* One direction of the ring: the consumer sleeps on `head` when it has seen it. */
struct ring {
    _Atomic uint32_t head, tail, sleeps;
    char slots[SLOTS][SIZE];
};

struct rings {
    struct ring there, back;
};

struct carrier {
    const char *name;
    void (*send)(int fd, struct rings *r, bool child, unsigned n);
    void (*take)(int fd, struct rings *r, bool child, unsigned n);
};

static char body[SIZE];
static struct wire_link link_of[1];

static void stream_send(int fd, struct rings *r, bool child, unsigned n)
{
    (void)fd, (void)r, (void)child;
    wire_cork(link_of);
    while (n--) {
        wire_bytes(wire_begin(link_of, WIRE_RUNS, n), odto_slice_of(body, SIZE));
        wire_end(link_of, -1);
    }
    wire_uncork(link_of);
}

static void stream_take(int fd, struct rings *r, bool child, unsigned n)
{
    struct wire_head h;
    struct wire_in in;
    (void)fd, (void)r, (void)child;
    while (n) {
        if (wire_next(link_of, &h, &in))
            n--;
        else if (wire_read(link_of, false) <= 0)
            exit(0);
    }
}

static void packet_send(int fd, struct rings *r, bool child, unsigned n)
{
    (void)r, (void)child;
    while (n--)
        if (send(fd, body, SIZE, MSG_NOSIGNAL) < 0)
            exit(0);
}

static void packet_take(int fd, struct rings *r, bool child, unsigned n)
{
    char got[SIZE];
    (void)r, (void)child;
    while (n--)
        if (recv(fd, got, sizeof got, 0) <= 0)
            exit(0);
}

static void futex(_Atomic uint32_t *word, int op, uint32_t value)
{
    syscall(SYS_futex, word, op, value, NULL, NULL, 0);
}

static void ring_send(int fd, struct rings *r, bool child, unsigned n)
{
    struct ring *to = child ? &r->back : &r->there;
    (void)fd;
    while (n--) {
        uint32_t at = atomic_load(&to->head);
        memcpy(to->slots[at % SLOTS], body, SIZE);
        atomic_store(&to->head, at + 1);
    }
    if (atomic_load(&to->sleeps))
        futex(&to->head, FUTEX_WAKE, 1);
}

static void ring_take(int fd, struct rings *r, bool child, unsigned n)
{
    struct ring *from = child ? &r->there : &r->back;
    char got[SIZE];
    (void)fd;
    while (n--) {
        uint32_t at = atomic_load(&from->tail);
        while (atomic_load(&from->head) == at) {
            atomic_store(&from->sleeps, 1);
            futex(&from->head, FUTEX_WAIT, at);
            atomic_store(&from->sleeps, 0);
        }
        memcpy(got, from->slots[at % SLOTS], SIZE);
        atomic_store(&from->tail, at + 1);
    }
}

static void echo(const struct carrier *c, int fd, struct rings *r, unsigned batch)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) {
        c->take(fd, r, true, batch);
        c->send(fd, r, true, batch);
    }
}

static void measure(const struct carrier *c, int type, unsigned batch)
{
    int pair[2];
    struct rings *r = mmap(NULL, sizeof *r, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (r == MAP_FAILED || socketpair(AF_UNIX, type, 0, pair) < 0)
        exit(1);
    pid_t child = fork();
    wire_open(link_of, pair[child == 0], -1, WIRE_FRAME_MAX);
    if (child == 0)
        echo(c, pair[1], r, batch);
    int64_t begin = odto_now_ns(), took;
    unsigned long n = 0;
    while ((took = odto_now_ns() - begin) < TIME) {
        c->send(pair[0], r, false, batch);
        c->take(pair[0], r, false, batch);
        n++;
    }
    printf("%-28s %3u at once: %9.0f messages/s, %7.1f us a round trip\n", c->name, batch,
           (double)n * batch / ((double)took / 1e9), (double)took / 1e3 / (double)n);
    fflush(stdout);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    close(pair[0]);
    close(pair[1]);
    link_of->fd = -1;
    wire_free(link_of);
    munmap(r, sizeof *r);
}

int main(void)
{
    static const struct carrier stream = {"frames on a stream socket", stream_send, stream_take},
                                packet = {"SEQPACKET socket", packet_send, packet_take},
                                ring = {"shared ring, futex", ring_send, ring_take};
    for (unsigned batch = 1; batch <= 64; batch *= 64) {
        measure(&stream, SOCK_STREAM, batch);
        measure(&packet, SOCK_SEQPACKET, batch);
        measure(&ring, SOCK_STREAM, batch);
    }
    return 0;
}
