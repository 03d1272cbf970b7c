/* stream.c — bytes between a terminal and its viewers. See pty.h for threads.
 *
 * Output is read into the ring and cut into frames: at once after silence, so that an echo is not delayed,
 * else every 4 ms or 32 KiB. Viewers and the emulator follow at their own pace. Flow control works by what it
 * does: when the owner is lag_high behind, the terminal is not read, the kernel's buffer fills and the
 * program's write waits. Input never waits behind output: it goes straight to the terminal. */
#include "pty.h"
#include "spawn.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <termios.h>
#include <unistd.h>

/* ---- the emulator --------------------------------------------------------------------------------- */

/* A contiguous view of the ring from an offset on; a wrapped one is put together in scratch. */
static odto_slice contiguous(session *s, uint64_t from, uint64_t to)
{
    odto_slice a = ring_at(&s->ring, from, to);
    odto_buf *b = &s->pty->scratch;
    if (a.n == to - from)
        return a;
    odto_buf_clear(b);
    odto_slice rest = ring_at(&s->ring, from + a.n, to);
    if (!odto_buf_put(b, a.p, a.n) || !odto_buf_put(b, rest.p, rest.n))
        return a;
    return odto_slice_of(b->p, b->n);
}

/* The snapshot that came from the generation before; true when all of it was taken. */
static bool feed_screen(session *s, int64_t until)
{
    while (s->screen_at < s->screen.n) {
        size_t n = s->screen.n - s->screen_at < FEED_SLICE ? s->screen.n - s->screen_at : FEED_SLICE;
        term_feed(s->term, s->screen.p + s->screen_at, n);
        s->screen_at += n;
        if (s->screen_at < s->screen.n && pty_now(s->pty) >= until)
            return false;
    }
    odto_buf_free(&s->screen);
    s->screen_at = 0;
    return true;
}

/* A flood of plain text scrolls by faster than any emulator: all but its end is skipped. */
static void feed_skip(session *s)
{
    if (s->screen.n)
        return;
    odto_slice all = contiguous(s, s->fed, s->ring.cut);
    s->fed += term_skip(s->term, all.p, all.n);
}

/* The emulator takes from 10 to 1000 ns a byte, so a turn of it is measured in time: others wait meanwhile.
 */
void stream_feed(session *s, bool all)
{
    int64_t until = all ? INT64_MAX : pty_now(s->pty) + FEED_TURN_NS;
    bool ready = feed_screen(s, until);
    feed_skip(s);
    while (ready && s->fed < s->ring.cut) {
        odto_slice part = ring_at(&s->ring, s->fed, s->ring.cut);
        if (part.n > FEED_SLICE)
            part.n = FEED_SLICE;
        s->fed += part.n;
        term_feed(s->term, part.p, part.n);
        if (!all && pty_now(s->pty) >= until)
            break;
    }
    if (term_replied(s->term))
        s->answered = s->fed;
    s->feed_at = s->screen.n || s->fed < s->ring.cut ? pty_now(s->pty) : 0;
    if (s->feed_at)
        loop_due(s->pty, s->feed_at);
}

/* A query is a control sequence, or ENQ. One that began earlier has its beginning here as well. */
static bool may_ask(const session *s)
{
    bool found = term_pending(s->term) > 0;
    for (uint64_t o = s->fed; o < s->ring.cut && !found;) {
        odto_slice part = ring_at(&s->ring, o, s->ring.cut);
        for (size_t i = 0; i < part.n && !found; i++) {
            unsigned char c = (unsigned char)part.p[i];
            found = c == '\033' || c == '\005' || (c >= 0x80 && c < 0xa0);
        }
        o += part.n;
    }
    return found;
}

/* What came so far is fed before, unless that can wait because nothing in it is to be answered. */
void stream_answer(session *s, bool on)
{
    if (may_ask(s))
        stream_feed(s, true);
    term_replies(s->term, on);
}

/* After output went out: little is fed at once, the rest when it is quiet. Of a flood of plain text only the
 * end is ever fed (libvterm moves the whole screen for each line), of another what the ring can't keep. */
static void feed_later(session *s, int64_t now)
{
    if (s->ring.cut - s->fed >= SKIP_LEAST)
        feed_skip(s);
    uint64_t lag = s->ring.cut - s->fed;
    if (lag && (lag <= FEED_NOW || lag > s->ring.max / 2)) {
        stream_feed(s, false);
    } else if (lag) {
        s->feed_at = now + FEED_NS;
        loop_due(s->pty, s->feed_at);
    }
}

/* ---- output ----------------------------------------------------------------------------------------- */

void stream_throttle(session *s)
{
    uint64_t lag = s->owner ? s->ring.cut - s->owner->off : 0;
    if (lag >= s->pty->set.lag_high)
        s->paused = true;
    else if (lag <= s->pty->set.lag_high / 4)
        s->paused = false;
    uint32_t events = s->paused || s->eof || s->rest_until ? 0 : EPOLLIN;
    events |= s->input.n && !s->eof ? EPOLLOUT : 0;
    loop_master(s, events);
}

static uint64_t kept(const session *s)
{
    return s->owner && s->owner->off < s->fed ? s->owner->off : s->fed;
}

static void gathered(session *s, size_t got)
{
    int64_t now = pty_now(s->pty);
    bool quiet = now - s->last_output >= QUIET_NS;
    s->last_output = now;
    if (quiet || s->ring.head - s->ring.cut >= FRAME_BYTES) {
        stream_flush(s, false);
    } else if (got && !s->flush_at) {
        s->flush_at = now + FRAME_NS;
        loop_due(s->pty, s->flush_at);
    }
}

static void hung_up(session *s)
{
    s->eof = true;
    stream_throttle(s);
    stream_flush(s, true);
    if (!s->exited)
        session_end(s, "its program closed the terminal");
    loop_due(s->pty, pty_now(s->pty));
}

/* A flood keeps its program, the kernel's worker, this thread and a client busy: more than a small machine
 * has processors, so that a key typed into another session would wait for the scheduler several times. While
 * somebody types elsewhere a session has a share only; the kernel's buffer fills, and its program sleeps. */
static size_t share_left(session *s)
{
    pty *p = s->pty;
    int64_t now = pty_now(p);
    if (!p->set.share || p->typed_at <= s->typed_at || now - p->typed_at >= TYPING_NS)
        return READ_MAX;
    if (now - s->share_at >= SHARE_NS) {
        s->share_at = now;
        s->share_used = 0;
    }
    return s->share_used < p->set.share ? p->set.share - s->share_used : 0;
}

static void share_rest(session *s)
{
    s->rest_until = s->share_at + SHARE_NS;
    loop_due(s->pty, s->rest_until);
    stream_throttle(s);
}

void stream_readable(session *s)
{
    size_t got = 0, most = share_left(s);
    bool end = false;
    while (got < most && !s->eof && !s->paused) {
        char *at;
        size_t room = ring_room(&s->ring, 4096, kept(s), &at);
        if (!room) { /* the emulator is behind */
            stream_flush(s, false);
            stream_feed(s, false);
            break;
        }
        ssize_t n = read(s->master, at, room);
        if (n <= 0) {
            end = n == 0 || (errno != EAGAIN && errno != EINTR);
            break;
        }
        ring_wrote(&s->ring, (size_t)n);
        got += (size_t)n;
        if ((size_t)n < room && n < 1024) /* most likely all there is */
            break;
    }
    s->share_used += got;
    if (got)
        gathered(s, got);
    if (got >= most && most < READ_MAX)
        share_rest(s);
    if (end)
        hung_up(s);
}

void stream_flush(session *s, bool all)
{
    s->flush_at = 0;
    if (ring_cut(&s->ring, all)) {
        for (viewer *v = s->viewers, *next; v; v = next) {
            next = v->peer_next;
            stream_pump(v);
        }
        feed_later(s, pty_now(s->pty));
        stream_throttle(s);
    }
    if (s->ring.cut < s->ring.head) { /* a character that is not complete */
        s->flush_at = pty_now(s->pty) + PARTIAL_NS;
        loop_due(s->pty, s->flush_at);
    }
}

/* ---- viewers ------------------------------------------------------------------------------------------ */

static void lag_set(viewer *v, uint64_t lag)
{
    atomic_fetch_add(&v->pty->queued, (int64_t)lag - (int64_t)v->lag);
    v->lag = (size_t)lag;
}

/* How far a viewer may be sent to now. While its input is held its acknowledgements can't come in. */
static uint64_t allowed(const viewer *v)
{
    const session *s = v->session;
    uint64_t end = s->ring.cut;
    if (v->binary && !s->input_held && end > v->acked + ACK_WINDOW)
        end = v->acked + ACK_WINDOW;
    return end > v->off + SEND_MAX ? v->off + SEND_MAX : end;
}

/* A message for a JSON client ends with a frame if one ends in reach, so that no character is split. */
static uint64_t frame_aligned(viewer *v, uint64_t end)
{
    const ring *r = &v->session->ring;
    uint64_t f = ring_frame_at(r, v->seq, end), at;
    if (f > v->seq)
        v->seq = f;
    return ring_frame_end(r, v->seq, &at) && at > v->off ? at : end;
}

static bool send_some(viewer *v)
{
    session *s = v->session;
    uint64_t end = allowed(v);
    if (end <= v->off)
        return false;
    if (!v->binary)
        end = frame_aligned(v, end);
    odto_slice a = ring_at(&s->ring, v->off, end), b = ring_at(&s->ring, v->off + a.n, end);
    uint64_t from = v->off;
    v->off = end;
    if (v->binary)
        binary_output(v, a, b, from);
    else
        json_output(v, a, b, v->seq);
    return true;
}

void stream_pump(viewer *v)
{
    session *s = v->session;
    if (!s || v->phase != VIEWER_LIVE)
        return;
    if (v->off < s->ring.tail) /* only one that looks can be overtaken: what it sees next is the screen */
        stream_restore(v, false, 0);
    uint64_t from = v->off;
    while (v->session && v->phase == VIEWER_LIVE && v->pty->http->ws_queued(v->ws) < QUEUE_MAX &&
           send_some(v))
        continue;
    if (v->session != s)
        return;
    if (s->over && v->off != from)
        session_drained(s);
    lag_set(v, s->ring.cut - v->off);
    if (v->replaying && v->off >= v->replay_to) {
        v->replaying = false;
        json_replay_end(v);
    }
    if (v->off < s->ring.cut)
        v->pty->http->ws_want_write(v->ws);
    else if (s->over && v->phase == VIEWER_LIVE)
        viewer_exit(v);
}

static void send_snapshot(viewer *v)
{
    session *s = v->session;
    odto_buf screen = {0};
    stream_feed(s, true);
    if (!term_snapshot(s->term, &screen)) {
        odto_buf_free(&screen);
        viewer_close(v, 1011, "no memory");
        return;
    }
    uint64_t pending = term_pending(s->term);
    v->off = s->fed - pending > s->ring.tail ? s->fed - pending : s->ring.tail;
    v->acked = v->off;
    v->seq = ring_frame_at(&s->ring, 0, v->off);
    if (v->binary)
        binary_snapshot(v, odto_slice_of(screen.p, screen.n), v->off);
    else
        json_output(v, odto_slice_of(screen.p, screen.n), odto_slice_of(NULL, 0), v->seq);
    odto_buf_free(&screen);
}

/* The oldest offset a replay may begin at: the ring may hold more than it is meant to keep. */
static uint64_t replay_tail(const session *s)
{
    uint64_t max = s->pty->set.ring_max, tail = s->ring.cut > max ? s->ring.cut - max : 0;
    return tail > s->ring.tail ? tail : s->ring.tail;
}

/* The stream from an offset on is enough only if it is all there, is for the present width, and holds no
 * query that was answered while nobody looked. */
static bool stream_continues(const session *s, uint64_t offset)
{
    return offset >= replay_tail(s) && offset <= s->ring.cut && offset >= s->resized && offset >= s->answered;
}

void stream_restore(viewer *v, bool has_offset, uint64_t offset)
{
    session *s = v->session;
    bool continues = has_offset && stream_continues(s, offset);
    uint64_t known = has_offset ? ring_frame_at(&s->ring, 0, offset) : v->seq;
    if (has_offset && offset < replay_tail(s)) {
        uint64_t lost = ring_frame_at(&s->ring, 0, replay_tail(s)) - known;
        viewer_lost(v, lost ? lost : 1);
    }
    if (continues) {
        v->off = v->acked = offset;
        v->seq = ring_frame_at(&s->ring, 0, offset);
    }
    if (!v->binary)
        json_replay_begin(v, continues ? v->seq + 1 : s->ring.seq);
    if (!continues)
        send_snapshot(v);
    v->replaying = !v->binary;
    v->replay_to = s->ring.cut;
}

/* ---- input ----------------------------------------------------------------------------------------------
 */

/* Would the terminal take this byte for "interrupt", whatever waits before it? */
static bool interrupts(const session *s, odto_slice data)
{
    struct termios t;
    return data.n == 1 && !tcgetattr(s->master, &t) && (t.c_lflag & ISIG) && !(t.c_lflag & NOFLSH) &&
           ((cc_t)data.p[0] == t.c_cc[VINTR] || (cc_t)data.p[0] == t.c_cc[VQUIT]);
}

static void hold_input(session *s, bool held)
{
    if (s->input_held == held || !s->owner)
        return;
    s->input_held = held;
    s->pty->http->ws_pause(s->owner->ws, held);
    stream_pump(s->owner);
}

void stream_input(session *s, odto_slice data)
{
    if (s->master < 0 || s->eof)
        return;
    if (s->input.n && interrupts(s, data))
        odto_buf_clear(&s->input); /* as the terminal itself does with what it has */
    if (!s->input.n) {
        ssize_t n = write(s->master, data.p, data.n);
        if (n > 0)
            data = odto_slice_of(data.p + n, data.n - (size_t)n);
    }
    if (data.n && !odto_buf_put(&s->input, data.p, data.n)) {
        s->input.failed = false;
        odto_metric_add(s->pty->m_ignored, 1);
    }
    if (s->input.n > INPUT_HIGH)
        hold_input(s, true);
    stream_throttle(s);
}

void stream_writable(session *s)
{
    ssize_t n = s->input.n ? write(s->master, s->input.p, s->input.n) : 0;
    if (n > 0) {
        memmove(s->input.p, s->input.p + n, s->input.n - (size_t)n);
        s->input.n -= (size_t)n;
    } else if (n < 0 && errno != EAGAIN && errno != EINTR) {
        odto_buf_clear(&s->input); /* hung up: nobody will read it */
    }
    if (!s->input.n)
        odto_buf_free(&s->input);
    s->input.max = 4 * INPUT_HIGH;
    if (s->input.n < INPUT_LOW)
        hold_input(s, false);
    stream_throttle(s);
}

/* ---- size -------------------------------------------------------------------------------------------------
 */

static void resize_apply(session *s)
{
    s->resize_at = 0;
    if (s->master < 0 || (s->want_cols == s->cols && s->want_rows == s->rows))
        return;
    stream_flush(s, false);
    stream_feed(s, true);
    s->cols = s->want_cols;
    s->rows = s->want_rows;
    s->resized_at = pty_now(s->pty);
    s->resized = s->ring.cut;
    term_resize(s->term, s->cols, s->rows);
    spawn_resize(s->master, s->cols, s->rows);
    for (viewer *v = s->viewers; v; v = v->peer_next) {
        if (v->binary && !v->owner)
            binary_size(v);
    }
}

/* The first one at once, then at most one every 50 ms: each makes the program draw everything. */
void stream_resize(session *s, int cols, int rows, bool now)
{
    s->want_cols = cols;
    s->want_rows = rows;
    int64_t at = pty_now(s->pty);
    if (now || at - s->resized_at >= RESIZE_NS) {
        resize_apply(s);
    } else if (!s->resize_at) {
        s->resize_at = s->resized_at + RESIZE_NS;
        loop_due(s->pty, s->resize_at);
    }
}

void stream_tick(session *s, int64_t now)
{
    if (s->flush_at && now >= s->flush_at)
        stream_flush(s, s->ring.head - s->ring.cut < 4 && now - s->last_output >= PARTIAL_NS);
    else if (s->flush_at)
        loop_due(s->pty, s->flush_at);
    if (s->rest_until && now >= s->rest_until) {
        s->rest_until = 0;
        stream_throttle(s);
    } else if (s->rest_until) {
        loop_due(s->pty, s->rest_until);
    }
    if (s->resize_at && now >= s->resize_at)
        resize_apply(s);
    else if (s->resize_at)
        loop_due(s->pty, s->resize_at);
    if (s->feed_at && now >= s->feed_at)
        stream_feed(s, false);
    else if (s->feed_at)
        loop_due(s->pty, s->feed_at);
    if (s->ring.cap > s->ring.soft && now - s->last_output > ODTO_SEC / 4)
        ring_shrink(&s->ring, kept(s));
    else if (s->ring.cap > s->ring.soft)
        loop_due(s->pty, s->last_output + ODTO_SEC / 2);
}
