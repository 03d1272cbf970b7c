/* handover.c — sessions outlive a generation of the plugin: terminals go through the host's descriptor store,
 * each with a note of all the rest. The screen goes as a snapshot, which the next generation's emulator
 * reads after its start: what the sessions have on their screens does not hold up the exchange.
 *
 * A note is a struct of this build's, then the tail of the ring, then the snapshot. Its first members stay as
 * they are in every build, so that a note of another one at least tells which program is to be ended. */
#include "pty.h"
#include "spawn.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define NOTE_VERSION  2
#define HISTORY_MAX   (64 * 1024)
#define HANDOVER_BLOB "odto-pty"

typedef struct note {
    uint32_t version, size;
    pid_t pid;
    char id[ODTO_UUID_LEN + 1], ip[46];
    uint8_t state;
    int64_t since;
    reconnect_token token;
    int32_t cols, rows;
    uint64_t cut, seq, resized, answered, fed;
    uint32_t history, input;
} note;

static int session_put(session *s)
{
    const odto_host_api *api = s->pty->host->api;
    odto_buf out = {0}, screen = {0};
    stream_flush(s, true);
    stream_feed(s, true);
    uint64_t from = s->ring.cut - s->ring.tail > HISTORY_MAX ? s->ring.cut - HISTORY_MAX : s->ring.tail;
    uint64_t fed = s->fed - term_pending(s->term);
    note n = {.version = NOTE_VERSION,
              .size = sizeof n,
              .state = (uint8_t)(s->state == SESSION_CONNECTED ? SESSION_DISCONNECTED : s->state),
              .since = s->state == SESSION_CONNECTED ? pty_now(s->pty) : s->since,
              .token = s->token,
              .pid = s->pid,
              .cols = s->cols,
              .rows = s->rows,
              .cut = s->ring.cut,
              .seq = s->ring.seq,
              .resized = s->resized,
              .answered = s->answered,
              .fed = fed,
              .history = (uint32_t)(s->ring.cut - from),
              .input = (uint32_t)s->input.n};
    memcpy(n.id, s->id, sizeof n.id);
    memcpy(n.ip, s->ip, sizeof n.ip);
    odto_buf_put(&out, &n, sizeof n);
    for (uint64_t o = from; o < s->ring.cut;) {
        odto_slice part = ring_at(&s->ring, o, s->ring.cut);
        odto_buf_put(&out, part.p, part.n);
        o += part.n;
    }
    odto_buf_put(&out, s->input.p, s->input.n);
    if (term_snapshot(s->term, &screen))
        odto_buf_put(&out, screen.p, screen.n);
    int r = out.failed || screen.failed
                ? -ENOMEM
                : api->fd_put(s->pty->host, s->id, s->master, odto_slice_of(out.p, out.n));
    if (!r)
        s->master = -1; /* the store has it */
    odto_buf_free(&out);
    odto_buf_free(&screen);
    return r;
}

/* Into the store with all that live; one that can't be handed over is ended. */
int handover_save(pty *p, odto_buf *blob, odto_error *err)
{
    size_t kept = 0, lost = 0;
    for (session *s = p->sessions; s; s = s->next) {
        if (s->state == SESSION_REAPING || s->master < 0)
            continue;
        loop_master(s, 0);
        loop_remove_child(s);
        if (session_put(s))
            lost++;
        else
            kept++;
    }
    p->saved = true;
    if (lost)
        odto_log(p->host, ODTO_ERROR, "%zu session(s) could not be handed over and end", lost);
    odto_log(p->host, ODTO_INFO, "%zu session(s) handed over", kept);
    if (blob && !odto_buf_str(blob, HANDOVER_BLOB))
        return odto_fail(err, -ENOMEM, "no memory to save");
    return 0;
}

/* A terminal whose note can't be read: its program is ended and waited for as one that nobody came back to.
 */
static int session_refuse(pty *p, int master, odto_slice data)
{
    note n = {0};
    memcpy(&n, data.p, data.n < offsetof(note, id) ? data.n : offsetof(note, id));
    session *s = n.pid > 0 ? session_new(p, "", 80, 24) : NULL;
    if (!s) {
        close(master);
        return -EPROTO;
    }
    s->master = master;
    s->pid = n.pid;
    s->pidfd = spawn_pidfd(n.pid);
    if (s->pidfd < 0) {
        session_remove(s);
        return -EPROTO;
    }
    session_state_set(s, SESSION_IDLE);
    s->since = pty_now(p) - p->set.idle;
    return -EPROTO;
}

static int session_take(pty *p, int master, odto_slice data)
{
    note n = {0};
    memcpy(&n, data.p, data.n < sizeof n ? data.n : sizeof n);
    if (n.version != NOTE_VERSION || n.size != sizeof n || data.n < sizeof n + n.history + (size_t)n.input)
        return session_refuse(p, master, data);
    session *s = session_new(p, n.ip, n.cols, n.rows);
    if (!s) {
        close(master);
        return -ENOMEM;
    }
    const char *at = data.p + sizeof n;
    char *room;
    s->master = master;
    s->pid = n.pid;
    memcpy(s->id, n.id, sizeof s->id);
    s->token = n.token;
    s->resized = n.resized;
    s->answered = n.answered;
    ring_start(&s->ring, n.cut - n.history, n.seq);
    for (size_t left = n.history, got; left && (got = ring_room(&s->ring, left, s->ring.tail, &room));
         left -= got) {
        memcpy(room, at, got);
        ring_wrote(&s->ring, got);
        at += got;
    }
    at = data.p + sizeof n + n.history;
    s->ring.cut = s->ring.head;
    s->ring.ends[n.seq % s->ring.n_ends] = s->ring.cut;
    odto_buf_put(&s->input, at, n.input);
    at += n.input;
    odto_buf_put(&s->screen, at, (size_t)(data.p + data.n - at));
    s->feed_at = pty_now(p) + FEED_NS;
    s->fed = n.fed > s->ring.tail ? n.fed : s->ring.tail;
    term_replies(s->term, true);
    session_state_set(s, (session_state)n.state);
    s->since = n.since;
    s->pidfd = spawn_pidfd(s->pid);
    if (s->pidfd >= 0 && !s->screen.failed)
        return 0;
    int r = s->pidfd < 0 ? s->pidfd : -ENOMEM;
    session_remove(s);
    return r;
}

int handover_restore(pty *p, odto_slice blob, odto_error *err)
{
    const odto_host_api *api = p->host->api;
    if (!odto_slice_eq(blob, HANDOVER_BLOB))
        return odto_fail(err, -EINVAL, "the saved state is not of this plugin");
    char(*names)[64] = calloc(1024, sizeof *names);
    if (!names)
        return odto_fail(err, -ENOMEM, "no memory for the sessions");
    size_t n = api->fd_names(p->host, names, 1024), kept = 0;
    for (size_t i = 0; i < n; i++) {
        odto_buf text = {0};
        int fd = api->fd_take(p->host, names[i], &text);
        int r = fd < 0 ? fd : session_take(p, fd, odto_slice_of(text.p, text.n));
        odto_buf_free(&text);
        if (r)
            odto_log(p->host, ODTO_ERROR, "session %s can't be taken over and ends: %s", names[i],
                     r == -EPROTO ? "it is from another build of the plugin" : strerror(-r));
        else
            kept++;
    }
    free(names);
    odto_log(p->host, ODTO_INFO, "%zu session(s) taken over", kept);
    return 0;
}
