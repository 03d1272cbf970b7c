/* Frames between the host and a worker: what is put is got, whatever the sizes of reads and writes; what is
 * damaged is refused; descriptors come with their frame; a sender with a poller never blocks. */
#include "host/wire.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

static struct wire_link a, b;
static int wake;

static void open_pair(size_t max)
{
    int pair[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    wake = eventfd(0, EFD_NONBLOCK);
    wire_open(&a, pair[0], wake, max);
    wire_open(&b, pair[1], -1, WIRE_FRAME_MAX);
}

static void close_pair(void)
{
    wire_free(&a);
    wire_free(&b);
    close(wake);
}

static void next(struct wire_link *l, struct wire_head *h, struct wire_in *in)
{
    while (!wire_next(l, h, in))
        ck_assert_int_gt(wire_read(l, false), 0);
}

START_TEST(values)
{
    odto_error err = {0}, got;
    struct wire_head h;
    struct wire_in in;
    open_pair(1 << 20);
    odto_fail(&err, -EIO, "message");
    odto_error_hint(&err, "hint");
    odto_buf *o = wire_begin(&a, WIRE_LOG, 7);
    wire_u32(o, 5);
    wire_i64(o, -6);
    wire_str(o, "text");
    wire_str(o, NULL);
    wire_bytes(o, odto_slice_of("a\0b", 3));
    wire_error(o, &err);
    ck_assert_int_eq(wire_end(&a, -1), 0);
    next(&b, &h, &in);
    ck_assert_uint_eq(h.type, WIRE_LOG);
    ck_assert_uint_eq(h.id, 7);
    ck_assert_uint_eq(wire_get_u32(&in), 5);
    ck_assert_int_eq(wire_get_i64(&in), -6);
    ck_assert_str_eq(wire_get_str(&in), "text");
    ck_assert_ptr_null(wire_get_str(&in));
    ck_assert_mem_eq(wire_get_bytes(&in).p, "a\0b", 4);
    wire_get_error(&in, &got);
    ck_assert_int_eq(got.code, -EIO);
    ck_assert_str_eq(got.hint, "hint");
    ck_assert_uint_eq(in.n, 0);
    ck_assert(!in.bad);
    ck_assert_uint_eq(wire_get_u64(&in), 0);
    ck_assert(in.bad);
    close_pair();
}
END_TEST

/* Every shorter payload than the whole one reads as bad, and never beyond its end. */
START_TEST(cut_short)
{
    odto_buf o = {0};
    wire_u32(&o, 1);
    wire_str(&o, "some text");
    wire_bytes(&o, odto_slice_str("more"));
    for (size_t n = 0; n < o.n; n++) {
        char *copy = malloc(n + 1); /* exactly: a sanitizer sees a read beyond */
        memcpy(copy, o.p, n);
        struct wire_in in = {copy, n, false};
        wire_get_u32(&in);
        wire_get_str(&in);
        wire_get_bytes(&in);
        ck_assert_msg(in.bad, "%zu bytes of %zu", n, o.n);
        free(copy);
    }
    odto_buf_free(&o);
}
END_TEST

START_TEST(lying_lengths)
{
    uint32_t lies[] = {0, 15, 0xffffffffu, (64u << 20) + 1};
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        struct wire_head h = {.size = lies[i], .type = WIRE_LOG};
        struct wire_in in;
        open_pair(1 << 20);
        ck_assert_int_eq(write(a.fd, &h, sizeof h), sizeof h);
        ck_assert_int_gt(wire_read(&b, false), 0);
        ck_assert(!wire_next(&b, &h, &in));
        ck_assert_int_eq(wire_read(&b, true), -EPROTO);
        close_pair();
    }
}
END_TEST

/* More than the socket holds: the sender goes on, the poller writes the rest, in order. */
START_TEST(backlog)
{
    static char body[100000];
    struct wire_head h;
    struct wire_in in;
    uint64_t woken;
    open_pair(4 << 20);
    memset(body, 'x', sizeof body);
    unsigned sent = 0, got = 0;
    while (wire_room(&a, false)) {
        wire_bytes(wire_begin(&a, WIRE_RUNS, sent++), odto_slice_of(body, sizeof body));
        ck_assert_int_eq(wire_end(&a, -1), 0);
    }
    ck_assert_uint_gt(sent, 40);
    ck_assert_int_eq(read(wake, &woken, sizeof woken), sizeof woken);
    for (; got < sent; got++) {
        while (!wire_next(&b, &h, &in)) {
            wire_flush(&a);
            ck_assert_int_gt(wire_read(&b, false), 0);
        }
        ck_assert_uint_eq(h.id, got);
        ck_assert_uint_eq(wire_get_bytes(&in).n, sizeof body);
    }
    ck_assert(!wire_flush(&a));
    ck_assert(wire_room(&a, false));
    close_pair();
}
END_TEST

START_TEST(descriptors)
{
    struct wire_head h;
    struct wire_in in;
    open_pair(1 << 20);
    for (unsigned i = 0; i < 3; i++) {
        int p[2];
        ck_assert_int_eq(pipe(p), 0);
        ck_assert_int_eq(write(p[1], &i, sizeof i), sizeof i);
        close(p[1]);
        wire_begin(&a, WIRE_LOG, i); /* one without, between those with */
        wire_end(&a, -1);
        wire_begin(&a, WIRE_FD_PUT, i);
        ck_assert_int_eq(wire_end(&a, p[0]), 0);
        ck_assert_int_lt(fcntl(p[0], F_GETFD), 0);
    }
    for (unsigned i = 0, x; i < 6; i++) {
        next(&b, &h, &in);
        if (h.type != WIRE_FD_PUT)
            continue;
        int fd = wire_take_fd(&b);
        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(read(fd, &x, sizeof x), sizeof x);
        ck_assert_uint_eq(x, h.id);
        ck_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        close(fd);
    }
    close_pair();
}
END_TEST

START_TEST(other_end_gone)
{
    open_pair(1 << 20);
    close(b.fd);
    b.fd = -1;
    wire_begin(&a, WIRE_LOG, 0);
    wire_end(&a, -1); /* learns of it */
    wire_begin(&a, WIRE_LOG, 0);
    ck_assert_int_eq(wire_end(&a, -1), -EPIPE);
    ck_assert(!wire_room(&a, true));
    close_pair();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("wire");
    TCase *t = tcase_create("wire");
    tcase_add_test(t, values);
    tcase_add_test(t, cut_short);
    tcase_add_test(t, lying_lengths);
    tcase_add_test(t, backlog);
    tcase_add_test(t, descriptors);
    tcase_add_test(t, other_end_gone);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
