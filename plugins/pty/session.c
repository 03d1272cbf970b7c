/* session.c — the life of a session: made, attached to, left, idle, ended. See pty.h for threads. */
#include "pty.h"
#include "spawn.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

int64_t pty_now(const pty *p)
{
    return p->host->api->now(p->host);
}

session *session_find(pty *p, const char *id)
{
    for (session *s = p->sessions; s; s = s->next) {
        if (s->state != SESSION_REAPING && !strcmp(s->id, id))
            return s;
    }
    return NULL;
}

/* ---- states ------------------------------------------------------------------------------------- */

void session_count(pty *p)
{
    int64_t n[SESSION_REAPING + 1] = {0};
    for (session *s = p->sessions; s; s = s->next)
        n[s->state]++;
    odto_metric_set(p->m_state[0], n[SESSION_CONNECTED] + n[SESSION_DISCONNECTED] + n[SESSION_IDLE]);
    for (int i = 0; i <= SESSION_REAPING; i++)
        odto_metric_set(p->m_state[i + 1], n[i]);
}

void session_state_set(session *s, session_state state)
{
    s->state = state;
    s->since = pty_now(s->pty);
    session_count(s->pty);
}

bool session_token_valid(const session *s, odto_slice token)
{
    int64_t left = s->state == SESSION_CONNECTED ? 0 : pty_now(s->pty) - s->since;
    if (s->state == SESSION_IDLE) /* it was left before that state began */
        left += s->pty->set.grace;
    return token_is(&s->token, token) & (left <= s->pty->set.token_ttl);
}

/* ---- caps --------------------------------------------------------------------------------------- */

static int live(const pty *p, const char *ip)
{
    int n = 0;
    for (const session *s = p->sessions; s; s = s->next)
        n += s->state != SESSION_REAPING && (!ip || !strcmp(s->ip, ip));
    return n;
}

/* End the session that was left longest ago, if its grace is over. */
static bool make_room(pty *p, const char *ip)
{
    session *oldest = NULL;
    for (session *s = p->sessions; s; s = s->next) {
        if (s->state == SESSION_IDLE && !s->viewers && (!ip || !strcmp(s->ip, ip)) &&
            (!oldest || s->since < oldest->since))
            oldest = s;
    }
    if (oldest)
        session_end(oldest, "its place is needed");
    return oldest != NULL;
}

const char *session_cap(pty *p, const char *ip)
{
    if (live(p, ip) >= p->set.per_ip && !make_room(p, ip))
        return "PER_IP_CAP";
    if (live(p, NULL) >= p->set.global && !make_room(p, NULL))
        return "GLOBAL_CAP";
    return NULL;
}

/* ---- made ----------------------------------------------------------------------------------------- */

static void reply(void *arg, const char *bytes, size_t n)
{
    session *s = arg;
    stream_input(s, odto_slice_of(bytes, n));
}

session *session_new(pty *p, const char *ip, int cols, int rows)
{
    session *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    odto_uuid id;
    odto_uuid_v4(&id);
    odto_uuid_format(&id, s->id);
    memcpy(s->ip, ip, strnlen(ip, sizeof s->ip - 1));
    s->pty = p;
    s->master = s->pidfd = -1;
    s->cols = s->want_cols = cols;
    s->rows = s->want_rows = rows;
    s->input.max = 4 * INPUT_HIGH;
    s->term = term_new(cols, rows, reply, s);
    if (!s->term ||
        ring_init(&s->ring, p->set.ring_max < RING_LEAST ? RING_LEAST : p->set.ring_max,
                  p->set.ring_max < RING_SOFT ? p->set.ring_max : RING_SOFT, p->set.ring_frames)) {
        session_free(s);
        return NULL;
    }
    s->next = p->sessions;
    s->at = &p->sessions;
    if (s->next)
        s->next->at = &s->next;
    p->sessions = s;
    session_state_set(s, SESSION_CONNECTED);
    return s;
}

int session_spawn(session *s, odto_error *err)
{
    const pty_settings *set = &s->pty->set;
    spawn_request q = {
        .argv = set->argv, .envp = set->envp, .dir = set->dir, .cols = s->cols, .rows = s->rows};
    int r = spawn_terminal(&q, &s->master, &s->pidfd, &s->pid, err);
    if (!r && (r = loop_add(s))) {
        odto_fail(err, r, "can't watch the terminal");
        spawn_kill(s->pid, SIGKILL, true);
        waitpid(s->pid, NULL, 0);
        s->pid = 0;
    }
    if (!r)
        odto_metric_add(s->pty->m_spawned, 1);
    return r;
}

/* ---- attached and left ------------------------------------------------------------------------------ */

void session_attach(session *s, viewer *v, bool owner)
{
    v->session = s;
    v->owner = owner;
    v->peer_next = s->viewers;
    v->peer_at = &s->viewers;
    if (v->peer_next)
        v->peer_next->peer_at = &v->peer_next;
    s->viewers = v;
    if (owner) {
        viewer *before = s->owner;
        s->owner = v;
        if (before) {
            session_detach(before);
            viewer_close(before, 4001, "the session is used elsewhere");
        }
        session_state_set(s, SESSION_CONNECTED);
    }
    stream_answer(s, false);
}

void session_detach(viewer *v)
{
    session *s = v->session;
    if (!s)
        return;
    *v->peer_at = v->peer_next;
    if (v->peer_next)
        v->peer_next->peer_at = v->peer_at;
    v->session = NULL;
    v->owner = false;
    if (s->owner == v)
        s->owner = NULL;
    if (s->state == SESSION_CONNECTED && !s->owner) {
        session_state_set(s, SESSION_DISCONNECTED);
        loop_due(s->pty, s->since + s->pty->set.grace);
    }
    if (!s->viewers) /* what was seen so far was answered by whoever saw it */
        stream_answer(s, true);
    s->input_held = false;
    stream_throttle(s);
    if (s->over)
        loop_due(s->pty, pty_now(s->pty));
}

/* ---- ended ------------------------------------------------------------------------------------------ */

void session_end(session *s, const char *why)
{
    pty *p = s->pty;
    if (s->state == SESSION_REAPING)
        return;
    session_state_set(s, SESSION_REAPING);
    odto_log(p->host, ODTO_INFO, "session %s of %s ends: %s", s->id, s->ip, why);
    if (s->pid <= 0) { /* never had a program */
        s->exited = s->eof = true;
    } else if (!s->exited) {
        spawn_kill(s->pid, SIGHUP, false);
        spawn_kill(s->pid, SIGCONT, false);
        s->kill_at = s->since + p->set.kill_grace;
        loop_due(p, s->kill_at);
    }
    stream_throttle(s);
    loop_due(p, s->since);
}

void session_exited(session *s)
{
    if (!spawn_ended(s->pidfd, false, &s->exit_status, &s->exit_signal))
        return;
    s->exited = true;
    loop_remove_child(s);
    session_end(s, s->exit_signal ? "its program was killed" : "its program ended");
    if (!spawn_kill(s->pid, SIGHUP, true)) {
        s->swept = true;
        s->kill_at = 0;
    } else if (!s->kill_at) {
        s->kill_at = pty_now(s->pty) + s->pty->set.kill_grace;
    }
    loop_due(s->pty, s->kill_at ? s->kill_at : pty_now(s->pty));
    stream_throttle(s);
}

void session_drained(session *s)
{
    int64_t most = s->over_at + DRAIN_MAX_NS, at = pty_now(s->pty) + DRAIN_NS;
    s->free_at = at < most ? at : most;
    loop_due(s->pty, s->free_at);
}

/* Program gone, nothing left to read: the viewers get the rest and the news. */
static void finish(session *s, int64_t now)
{
    s->over = true;
    s->over_at = now;
    session_drained(s);
    loop_master(s, 0);
    close(s->master);
    s->master = -1;
    spawn_ended(s->pidfd, true, &s->exit_status, &s->exit_signal);
    close(s->pidfd);
    s->pidfd = -1;
    stream_flush(s, true);
    for (viewer *v = s->viewers, *next; v; v = next) {
        next = v->peer_next;
        stream_pump(v);
    }
}

static void kill_tick(session *s, int64_t now)
{
    if (s->kill_at && now >= s->kill_at) {
        spawn_kill(s->pid, SIGKILL, true);
        s->kill_at = 0;
        s->swept = true;
    } else if (s->kill_at) {
        loop_due(s->pty, s->kill_at);
    }
}

void session_remove(session *s)
{
    *s->at = s->next;
    if (s->next)
        s->next->at = s->at;
    s->next = s->pty->dead;
    s->pty->dead = s;
    session_count(s->pty);
}

/* Whether all that was written to the terminal of an ended program is in the ring. Once nobody has it open
 * any more its end is read. A process that left the program's group may have it: it ends with some silence.
 */
static bool all_read(session *s, int64_t now)
{
    int64_t most = s->since + DRAIN_MAX_NS;
    if (!s->eof && s->swept)
        stream_readable(s);
    if (s->swept && !s->paused) {
        int64_t silent = (s->last_output > s->since ? s->last_output : s->since) + HELD_NS;
        most = s->since + s->pty->set.kill_grace + DRAIN_NS;
        most = silent < most ? silent : most;
    }
    if (s->eof || now >= most)
        return true;
    loop_due(s->pty, most);
    return false;
}

void session_tick(session *s, int64_t now)
{
    const pty_settings *set = &s->pty->set;
    if (s->state == SESSION_DISCONNECTED && now - s->since >= set->grace)
        session_state_set(s, SESSION_IDLE);
    if (s->state == SESSION_IDLE && !s->viewers && now - s->since + set->grace >= set->idle)
        session_end(s, "nobody came back");
    if (s->state == SESSION_DISCONNECTED)
        loop_due(s->pty, s->since + set->grace);
    else if (s->state == SESSION_IDLE)
        loop_due(s->pty, s->since + (set->idle > set->grace ? set->idle - set->grace : 0) + ODTO_MS);
    kill_tick(s, now);
    if (s->state != SESSION_REAPING)
        return;
    if (!s->over && s->exited && s->pid > 0 && s->master >= 0) {
        if (all_read(s, now))
            finish(s, now);
    } else if (s->pid <= 0) {
        s->over = true;
    }
    if (s->over && (!s->viewers || (s->free_at && now >= s->free_at))) {
        for (viewer *v; (v = s->viewers);) {
            session_detach(v);
            viewer_close(v, 1000, "the session ended");
        }
        session_remove(s);
    } else if (s->over) {
        loop_due(s->pty, s->free_at);
    }
}

void session_free(session *s)
{
    if (s->master >= 0)
        close(s->master);
    if (s->pidfd >= 0)
        close(s->pidfd);
    term_free(s->term);
    ring_free(&s->ring);
    odto_buf_free(&s->input);
    odto_buf_free(&s->screen);
    free(s);
}

void session_bury(pty *p)
{
    while (p->dead) {
        session *s = p->dead;
        p->dead = s->next;
        session_free(s);
    }
}
