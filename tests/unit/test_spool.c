/* The log of durable routes: what is written is read back, whatever fails, tears or rots. */
#include "route_util.h"
#include "spool_util.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static struct event_pool *pool;
static char dir[64];
static struct spool_config conf;
static struct faults faults;

static void setup(void)
{
    pool = event_pool_new(0);
    temp_dir(dir, sizeof dir);
    faults_init(&faults);
    conf = (struct spool_config){
        .dir = dir, .topic = "t", .segment_bytes = 64 << 10, .sync = true, .io = &faults.io};
}

static void teardown(void)
{
    faults_free(&faults);
    remove_dir(dir);
    event_pool_free(pool);
}

static struct spool *open_log(void)
{
    struct spool *s = NULL;
    odto_error err = {0};
    int rc = spool_open(&conf, &s, &err);
    ck_assert_msg(rc == 0, "%s", err.message);
    return s;
}

/* Write events numbered from..to-1 as one commit; the result. */
static int write_range(struct spool *s, uint64_t from, uint64_t to, size_t size)
{
    odto_event *e[512] = {NULL};
    uint64_t first = 0, n = to - from;
    for (uint64_t i = 0; i < n; i++)
        e[i] = numbered(pool, from + i, size);
    int rc = spool_write(s, e, n, 1000, &first);
    if (!rc)
        ck_assert_uint_gt(first, 0);
    for (uint64_t i = 0; i < n; i++)
        event_unref(e[i]);
    return rc;
}

struct seen {
    uint64_t number[20000], seq[20000];
    uint32_t attempts[20000];
    size_t n;
    uint64_t lost;
};
static struct seen seen;

/* Everything the group has not acknowledged, in order. */
static void read_all(struct spool *s, uint32_t id)
{
    struct spool_reader *rd = spool_reader_new();
    struct spool_item items[37];
    struct spool_stats st;
    spool_get_stats(s, &st);
    uint64_t next = 0, lost;
    seen.n = 0;
    seen.lost = 0;
    while (next < st.next_seq) {
        ssize_t n = spool_read(s, rd, id, next, st.next_seq, pool, items, 37, 20000, &next, &lost);
        ck_assert_int_ge(n, 0);
        seen.lost += lost;
        for (ssize_t i = 0; i < n; i++) {
            seen.number[seen.n] = number_of(items[i].event);
            seen.attempts[seen.n] = items[i].attempts;
            seen.seq[seen.n] = items[i].seq;
            ck_assert(seen.n == 0 || seen.seq[seen.n - 1] < items[i].seq);
            seen.n++;
            event_unref(items[i].event);
        }
    }
    spool_reader_free(s, rd);
    ck_assert_uint_eq(seen.n, spool_depth(s, id, st.next_seq));
}

static void expect_range(struct spool *s, uint32_t id, uint64_t from, uint64_t to)
{
    read_all(s, id);
    ck_assert_uint_eq(seen.n, to - from);
    for (size_t i = 0; i < seen.n; i++)
        ck_assert_uint_eq(seen.number[i], from + i);
}

static bool saw(uint64_t number)
{
    for (size_t i = 0; i < seen.n; i++)
        if (seen.number[i] == number)
            return true;
    return false;
}

START_TEST(written_is_read_back)
{
    struct spool *s = open_log();
    for (uint64_t i = 0; i < 2000; i += 100)
        ck_assert_int_eq(write_range(s, i, i + 100, 8 + i % 700), 0);
    expect_range(s, 0, 0, 2000);
    spool_close(s);
    s = open_log();
    expect_range(s, 0, 0, 2000);
    ck_assert_int_eq(write_range(s, 2000, 2001, 200000),
                     0); /* larger than a segment and the read buffer's start */
    ck_assert_int_eq(write_range(s, 2001, 2002, 3 << 20), 0);
    ck_assert_int_eq(write_range(s, 2002, 2003, 0), 0);
    expect_range(s, 0, 0, 2003);
    spool_close(s);
    s = open_log();
    expect_range(s, 0, 0, 2003);
    spool_close(s);
}
END_TEST

START_TEST(acknowledged_stays_so)
{
    struct spool *s = open_log();
    uint32_t b;
    ck_assert_int_eq(write_range(s, 0, 300, 50), 0);
    ck_assert_int_eq(spool_group_add(s, "b", &b), 0);
    uint64_t some[] = {1, 2, 3, 7, 300, 301};
    ck_assert_uint_eq(spool_ack(s, 0, some, 6), 5);
    ck_assert_uint_eq(spool_ack(s, 0, some, 6), 0);
    odto_lease l[] = {{.seq = 10, .attempt = 2}, {.seq = 11, .attempt = 3}};
    spool_delivered(s, 0, l, 2);
    spool_maintain(s);
    for (int round = 0; round < 3; round++) {
        read_all(s, 0);
        ck_assert_uint_eq(seen.n, 295);
        ck_assert_uint_eq(seen.seq[0], 4);
        ck_assert_uint_eq(spool_first_unacked(s, 0, 7), 8);
        ck_assert_uint_eq(spool_attempts(s, 0, 10), 2);
        ck_assert_uint_eq(spool_attempts(s, 0, 11), 3);
        expect_range(s, b, 0, 300);
        spool_close(s);
        s = open_log();
        ck_assert_str_eq(spool_group_name(s, b), "b");
    }
    uint64_t keep[] = {20, 40};
    ck_assert_uint_eq(spool_ack_all(s, 0, 100, keep, 2), 99 - 4 - 2);
    spool_group_rename(s, 0, "first");
    spool_group_drop(s, b);
    spool_close(s);
    s = open_log();
    read_all(s, 0);
    ck_assert_uint_eq(seen.seq[0], 20);
    ck_assert_uint_eq(seen.seq[1], 40);
    ck_assert_uint_eq(seen.seq[2], 100);
    ck_assert_str_eq(spool_group_name(s, 0), "first");
    ck_assert_ptr_null(spool_group_name(s, b));
    spool_close(s);
}
END_TEST

START_TEST(journal_is_rewritten_in_time)
{
    struct spool *s = open_log();
    ck_assert_int_eq(write_range(s, 0, 500, 30), 0);
    for (uint32_t round = 1; round < 300; round++) { /* alternating: entries do not merge */
        odto_lease l[250];
        for (uint64_t i = 0; i < 250; i++)
            l[i] = (odto_lease){.seq = 2 * i + 1, .attempt = round};
        spool_delivered(s, 0, l, 250);
    }
    uint64_t size = dir_bytes(dir, "acks-");
    ck_assert_uint_le(size, 3 << 20);
    spool_close(s);
    s = open_log();
    for (uint64_t i = 0; i < 250; i++) {
        ck_assert_uint_eq(spool_attempts(s, 0, 2 * i + 1), 299);
        ck_assert_uint_eq(spool_attempts(s, 0, 2 * i + 2), 0);
    }
    for (uint64_t i = 0; i < 250; i++) /* all sorts of overflow between two flushes */
        for (uint64_t k = 1; k < 30; k++)
            spool_attempts_set(s, 0, 2 * i + 1, (uint32_t)k);
    spool_close(s);
    s = open_log();
    for (uint64_t i = 0; i < 250; i++)
        ck_assert_uint_eq(spool_attempts(s, 0, 2 * i + 1), 29);
    spool_close(s);
}
END_TEST

START_TEST(segments_are_used_again)
{
    struct spool *s = open_log();
    struct spool_stats st;
    uint64_t next = 0;
    for (int round = 0; round < 60; round++) {
        ck_assert_int_eq(write_range(s, next, next + 100, 300), 0);
        read_all(s, 0);
        for (size_t i = 0; i < seen.n; i++)
            ck_assert_uint_eq(spool_ack(s, 0, &seen.seq[i], 1), 1);
        next += 100;
        spool_maintain(s);
        spool_get_stats(s, &st);
        ck_assert_uint_le(st.disk_bytes, 5 * 300000);
        ck_assert_uint_le(st.segments, 2);
    }
    ck_assert_uint_ge(count_files(dir, "spare-"), 1);
    ck_assert_uint_le(dir_bytes(dir, ""), 4 << 20);
    ck_assert_int_eq(write_range(s, 9000, 9001, 300), 0);
    spool_close(s);
    s = open_log();
    expect_range(s, 0, 9000, 9001);
    spool_close(s);
}
END_TEST

/* One old event that nobody acknowledges holds its own segment, not those after it. */
START_TEST(a_straggler_holds_one_segment)
{
    struct spool *s = open_log();
    struct spool_stats st;
    for (uint64_t i = 0; i < 5000; i += 100)
        ck_assert_int_eq(write_range(s, i, i + 100, 300), 0);
    uint64_t keep = 50;
    spool_ack_all(s, 0, UINT64_MAX, &keep, 1);
    spool_maintain(s);
    spool_get_stats(s, &st);
    ck_assert_uint_le(st.segments, 2);
    ck_assert_uint_le(st.data_bytes, 2 * (64 << 10));
    expect_range(s, 0, 49, 50);
    spool_close(s);
    s = open_log();
    expect_range(s, 0, 49, 50);
    ck_assert_int_eq(write_range(s, 50, 60, 10), 0);
    read_all(s, 0);
    ck_assert_uint_eq(seen.n, 11);
    spool_close(s);
}
END_TEST

START_TEST(second_host_is_refused)
{
    struct spool *s = open_log(), *other = NULL;
    odto_error err = {0};
    char pid[24];
    ck_assert_int_eq(spool_open(&conf, &other, &err), -EBUSY);
    snprintf(pid, sizeof pid, "process %ld", (long)getpid());
    ck_assert_ptr_nonnull(strstr(err.message, pid));
    spool_close(s);
    spool_close(open_log());
}
END_TEST

/* ---- failing system calls ------------------------------------------------------------------ */

/* A workload under faults: what was accepted is there, now and after a restart; what was refused is not. */
static void run_with_fault(enum fault_op op, int nth, int error, bool sticky)
{
    remove_dir(dir);
    faults_reset(&faults);
    struct spool *s = open_log();
    bool accepted[40] = {false};
    int refused = 0, first = 40;
    fault_set(&faults, op, nth, error, sticky);
    for (uint64_t i = 0; i < 30; i++) {
        int rc = write_range(s, i * 10, i * 10 + 10, 700);
        ck_assert_int_le(rc, 0);
        accepted[i] = rc == 0;
        refused += rc != 0;
        first = rc == 0 && (int)i < first ? (int)i : first;
        uint64_t seq = i - 20;
        if (i > 20) {
            spool_ack(s, 0, &seq, 1); /* of the first commit that was accepted */
            spool_maintain(s);
        }
    }
    ck_assert(refused == 0 || faults.hits > 0);
    fault_set(&faults, op, -1, 0, false);
    for (uint64_t i = 30; i < 40; i++) { /* it recovers by itself */
        ck_assert_int_eq(write_range(s, i * 10, i * 10 + 10, 700), 0);
        accepted[i] = true;
    }
    for (int round = 0; round < 2; round++) {
        read_all(s, 0);
        size_t want = 0;
        for (uint64_t i = 0; i < 400; i++) {
            ck_assert_msg(saw(i) == accepted[i / 10] || (int)i / 10 == first,
                          "op %d nth %d error %d sticky %d round %d: event %lu", op, nth, error, sticky,
                          round, (unsigned long)i);
            want += accepted[i / 10];
        }
        ck_assert_uint_ge(seen.n, want - 10);
        spool_close(s);
        s = open_log();
    }
    spool_close(s);
}

START_TEST(every_call_may_fail)
{
    enum fault_op op = (enum fault_op)_i;
    static const int errors[] = {-EIO, -ENOSPC, -EROFS};
    for (int nth = 0; nth < 45; nth += nth < 12 ? 1 : 7)
        for (int k = 0; k < 3; k++) {
            run_with_fault(op, nth, errors[k], false);
            run_with_fault(op, nth, errors[k], true);
        }
}
END_TEST

START_TEST(short_writes_are_completed)
{
    faults.short_writes = true;
    struct spool *s = open_log();
    for (uint64_t i = 0; i < 300; i += 100)
        ck_assert_int_eq(write_range(s, i, i + 100, 777), 0);
    expect_range(s, 0, 0, 300);
    spool_close(s);
    s = open_log();
    expect_range(s, 0, 0, 300);
    spool_close(s);
}
END_TEST

START_TEST(full_disk_refuses_and_recovers)
{
    struct spool *s = open_log();
    ck_assert_int_eq(write_range(s, 0, 10, 100), 0);
    faults.space = 300000; /* bytes that can still be allocated */
    uint64_t n = 10;
    int rc;
    while (!(rc = write_range(s, n, n + 10, 1000)))
        n += 10;
    ck_assert_int_eq(rc, -ENOSPC);
    expect_range(s, 0, 0, n);
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(write_range(s, 9000, 9010, 100000), -ENOSPC);
    faults.space = INT64_MAX;
    ck_assert_int_eq(write_range(s, n, n + 10, 1000), 0);
    expect_range(s, 0, 0, n + 10);
    spool_close(s);
    s = open_log();
    expect_range(s, 0, 0, n + 10);
    spool_close(s);
}
END_TEST

/* A failed fdatasync is not repeated on the same file, and its events do not come back. */
START_TEST(failed_sync_begins_a_new_segment)
{
    struct spool *s = open_log();
    ck_assert_int_eq(write_range(s, 0, 10, 100), 0);
    fault_set(&faults, FAULT_SYNC, 0, -EIO, true);
    ck_assert_int_eq(write_range(s, 10, 20, 100), -EIO);
    int synced = faults.synced_fd;
    ck_assert_int_eq(write_range(s, 10, 20, 100), -EIO);
    fault_set(&faults, FAULT_SYNC, -1, 0, false);
    ck_assert_int_eq(write_range(s, 20, 30, 100), 0);
    ck_assert_int_ne(faults.synced_fd, synced);
    ck_assert_uint_eq(count_files(dir, "seg-"), 2);
    spool_close(s);
    s = open_log();
    read_all(s, 0);
    ck_assert_uint_eq(seen.n, 20);
    ck_assert_uint_eq(seen.number[10], 20);
    spool_close(s);
}
END_TEST

/* ---- damage -------------------------------------------------------------------------------- */

/* Five commits of ten, and the end of the process; the segment's path. */
static void make_five(char *path, size_t size, bool orderly)
{
    struct spool *s = open_log();
    for (uint64_t i = 0; i < 50; i += 10)
        ck_assert_int_eq(write_range(s, i, i + 10, 100), 0);
    if (orderly)
        spool_close(s);
    else
        spool_abandon(s);
    first_file(dir, "seg-", path, size);
}

#define RECORD (32 + 104) /* of a body of 100 */

START_TEST(torn_commit_is_cut_off)
{
    char path[512];
    for (off_t bad = 40; bad < 50; bad++) { /* a record of the last commit, whichever */
        remove_dir(dir);
        make_five(path, sizeof path, false);
        flip(path, 4096 + bad * RECORD + 60);
        struct spool *s = open_log();
        expect_range(s, 0, 0, (uint64_t)bad);
        ck_assert_uint_eq(count_files(dir, ".corrupt"), 0);
        ck_assert_int_eq(write_range(s, (uint64_t)bad, 60, 90), 0);
        expect_range(s, 0, 0, 60);
        spool_close(s);
        s = open_log();
        expect_range(s, 0, 0, 60);
        spool_close(s);
    }
}
END_TEST

/* The same bytes, but the journal knows that they had been confirmed. */
START_TEST(damaged_end_is_not_taken_for_torn)
{
    char path[512];
    for (off_t bad = 40; bad < 50; bad += 3) {
        remove_dir(dir);
        make_five(path, sizeof path, true);
        flip(path, 4096 + bad * RECORD + 60);
        struct spool *s = open_log();
        read_all(s, 0);
        ck_assert_uint_eq(seen.n, 49);
        ck_assert(!saw((uint64_t)bad));
        ck_assert_uint_eq(count_files(dir, ".corrupt"), 1);
        ck_assert_int_eq(write_range(s, 50, 60, 90), 0);
        spool_close(s);
        s = open_log();
        read_all(s, 0);
        ck_assert_uint_eq(seen.n, 59);
        spool_close(s);
    }
}
END_TEST

START_TEST(damage_in_the_middle_is_skipped_and_kept)
{
    char path[512];
    for (off_t bad = 0; bad < 40; bad += 3) {
        remove_dir(dir);
        make_five(path, sizeof path, true);
        flip(path, 4096 + bad * RECORD + (bad % 2 ? 5 : 60)); /* its head, its body */
        struct spool *s = open_log();
        read_all(s, 0);
        ck_assert_uint_eq(seen.n, 49);
        ck_assert(!saw((uint64_t)bad));
        ck_assert_uint_eq(count_files(dir, ".corrupt"), 1);
        spool_close(s);
    }
}
END_TEST

START_TEST(damage_after_the_start_is_skipped)
{
    char path[512];
    make_five(path, sizeof path, true);
    struct spool *s = open_log();
    flip(path, 4096 + 7 * RECORD + 60);
    flip(path, 4096 + 8 * RECORD + 8);
    flip(path, 4096 + 49 * RECORD + 50);
    read_all(s, 0);
    ck_assert_uint_eq(seen.n, 47);
    ck_assert_uint_eq(seen.lost, 3);
    ck_assert(!saw(7) && !saw(8) && !saw(49));
    read_all(s, 0);
    ck_assert_uint_eq(seen.lost, 0);
    spool_close(s);
}
END_TEST

START_TEST(header_and_length_damage)
{
    char path[512];
    make_five(path, sizeof path, true);
    flip(path, 20);
    struct spool *s = open_log();
    expect_range(s, 0, 0, 50);
    ck_assert_int_eq(write_range(s, 50, 60, 100), 0);
    expect_range(s, 0, 0, 60);
    spool_close(s);
    remove_dir(dir);
    make_five(path, sizeof path, false);
    ck_assert_int_eq(truncate(path, 4096 + 45 * RECORD + 10), 0);
    s = open_log();
    expect_range(s, 0, 0, 45);
    ck_assert_int_eq(write_range(s, 45, 70, 100), 0);
    spool_close(s);
    s = open_log();
    expect_range(s, 0, 0, 70);
    spool_close(s);
    first_file(dir, "seg-", path, sizeof path);
    ck_assert_int_eq(truncate(path, 100), 0);
    s = open_log();
    ck_assert_uint_eq(count_files(dir, ".corrupt"), 1);
    ck_assert_int_eq(write_range(s, 70, 80, 100), 0);
    expect_range(s, 0, 70, 80);
    spool_close(s);
}
END_TEST

START_TEST(newer_version_is_refused)
{
    char path[512];
    make_five(path, sizeof path, true);
    struct segment_head h;
    int fd = open(path, O_RDWR);
    ck_assert_int_eq(pread(fd, &h, sizeof h, 0), sizeof h);
    h.version++;
    h.crc = odto_crc32c(0, &h.version, sizeof h - 12);
    ck_assert_int_eq(pwrite(fd, &h, sizeof h, 0), sizeof h);
    close(fd);
    struct spool *s = NULL;
    odto_error err = {0};
    ck_assert_int_eq(spool_open(&conf, &s, &err), -EPROTO);
    ck_assert_ptr_nonnull(strstr(err.message, "newer"));
}
END_TEST

/* Sequences named in the journal are never given again, even if the segments are gone: else new events would
 * count as acknowledged. */
START_TEST(lost_segments_do_not_hide_new_events)
{
    char path[512];
    struct spool *s = open_log();
    ck_assert_int_eq(write_range(s, 0, 20, 100), 0);
    spool_ack_all(s, 0, UINT64_MAX, NULL, 0);
    spool_close(s);
    while (first_file(dir, "seg-", path, sizeof path))
        unlink(path);
    s = open_log();
    ck_assert_int_eq(write_range(s, 100, 130, 100), 0);
    expect_range(s, 0, 100, 130);
    spool_close(s);
}
END_TEST

/* Whatever bytes a file holds: no crash, and what is delivered is as it was written. */
START_TEST(random_damage)
{
    char path[512];
    unsigned seed = 42;
    for (int round = 0; round < 250; round++) {
        remove_dir(dir);
        make_five(path, sizeof path, true);
        if (round % 4 == 3)
            first_file(dir, "acks-", path, sizeof path);
        int fd = open(path, O_RDWR);
        int writes = 1 + rand_r(&seed) % 6;
        for (int i = 0; i < writes; i++) {
            char junk[64];
            size_t n = 1 + (size_t)rand_r(&seed) % sizeof junk;
            for (size_t k = 0; k < n; k++)
                junk[k] = (char)(round % 3 ? rand_r(&seed) : 0);
            off_t at = rand_r(&seed) % (4096 + 50 * RECORD + 200);
            ck_assert_int_eq(pwrite(fd, junk, n, at), (ssize_t)n);
        }
        if (round % 5 == 0)
            ck_assert_int_eq(ftruncate(fd, rand_r(&seed) % 10000), 0);
        close(fd);
        struct spool *s = NULL;
        odto_error err;
        if (spool_open(&conf, &s, &err) != 0)
            continue; /* a version it does not know */
        read_all(s, 0);
        ck_assert_uint_le(seen.n, 50);
        if (round % 4 == 3)
            ck_assert_uint_eq(seen.n, 50); /* without its journal an event comes again */
        ck_assert_int_eq(write_range(s, 100, 110, 50), 0);
        size_t before = seen.n;
        read_all(s, 0);
        ck_assert_uint_eq(seen.n, before + 10);
        spool_close(s);
    }
}
END_TEST

/* ---- power loss ---------------------------------------------------------------------------- */

/* Writes, acknowledgements and retirements with power failing at a random moment: sectors written since the
 * last sync are there or not, at random. What was confirmed and not acknowledged must be there; nothing new
 * may be hidden. */
START_TEST(power_loss)
{
    unsigned seed = (unsigned)_i + 1;
    static bool confirmed[20000], acked[20000];
    memset(confirmed, 0, sizeof confirmed);
    memset(acked, 0, sizeof acked);
    uint64_t next = 0;
    for (int crash = 0; crash < 12; crash++) {
        faults_reset(&faults);
        faults.power = true;
        faults.seed = seed + (unsigned)crash * 1000;
        struct spool *s = open_log();
        read_all(s, 0);
        for (uint64_t i = 0; i < next; i++)
            ck_assert_msg(saw(i) || !confirmed[i] || acked[i], "seed %u crash %d: event %lu is lost", seed,
                          crash, (unsigned long)i);
        int steps = 5 + rand_r(&seed) % 60;
        for (int k = 0; k < steps && next < 15000; k++) {
            int what = rand_r(&seed) % 10;
            if (what < 6) {
                uint64_t n = 1 + (uint64_t)rand_r(&seed) % 20;
                ck_assert_int_eq(write_range(s, next, next + n, (size_t)rand_r(&seed) % 1500), 0);
                for (uint64_t i = next; i < next + n; i++)
                    confirmed[i] = true;
                next += n;
            } else if (what < 9) {
                read_all(s, 0);
                for (size_t i = 0; i < seen.n; i++)
                    if (rand_r(&seed) % 3) {
                        acked[seen.number[i]] = true;
                        spool_ack(s, 0, &seen.seq[i], 1);
                    }
            } else {
                spool_maintain(s);
            }
        }
        if (crash % 3 == 2) { /* in the middle of a commit */
            fault_set(&faults, FAULT_SYNC, 0, -EIO, true);
            write_range(s, next, next + 30, 400);
            next += 30;
        }
        fault_set(&faults, FAULT_SYNC, -1, 0, false);
        spool_abandon(s);
        faults_power_off(&faults, dir, &seed);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("spool");
    TCase *t = tcase_create("log");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 300);
    tcase_add_test(t, written_is_read_back);
    tcase_add_test(t, acknowledged_stays_so);
    tcase_add_test(t, journal_is_rewritten_in_time);
    tcase_add_test(t, segments_are_used_again);
    tcase_add_test(t, a_straggler_holds_one_segment);
    tcase_add_test(t, second_host_is_refused);
    tcase_add_loop_test(t, every_call_may_fail, 0, FAULT_OPS);
    tcase_add_test(t, short_writes_are_completed);
    tcase_add_test(t, full_disk_refuses_and_recovers);
    tcase_add_test(t, failed_sync_begins_a_new_segment);
    tcase_add_test(t, torn_commit_is_cut_off);
    tcase_add_test(t, damaged_end_is_not_taken_for_torn);
    tcase_add_test(t, damage_in_the_middle_is_skipped_and_kept);
    tcase_add_test(t, damage_after_the_start_is_skipped);
    tcase_add_test(t, header_and_length_damage);
    tcase_add_test(t, newer_version_is_refused);
    tcase_add_test(t, lost_segments_do_not_hide_new_events);
    tcase_add_test(t, random_damage);
    tcase_add_loop_test(t, power_loss, 0, 12);
    suite_add_tcase(s, t);
    return run_suite(s);
}
