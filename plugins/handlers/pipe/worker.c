/* worker.c — one child of the pool: start, send, receive, end (pipe.h). Loop thread only. */
#include "pipe.h"
#include <errno.h>
#include <fcntl.h>
#include <odto/json.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define LINE_SLACK 4096 /* of a reply besides its result */
#define READ_SIZE  65536
#define DELAY_MAX  604800.0

/* ---- replies ---- */

static task *task_by_id(const worker *w, odto_slice id)
{
    if (!id.n)
        return w->n_tasks == 1 ? w->tasks : NULL;
    for (task *t = w->tasks; t; t = t->next)
        if (odto_slice_eq(id, t->id))
            return t;
    return NULL;
}

static odto_slice log_of(worker *w)
{
    return tail_text(&w->log);
}

static void take_away(worker *w, task *t)
{
    *t->self = t->next;
    if (t->next)
        t->next->self = t->self;
    w->n_tasks--;
}

/* The error as text: a JSON string without its escapes, any other value as it stands. */
static odto_slice error_text(odto_slice json, odto_buf *scratch)
{
    if (!json.n)
        return odto_slice_str("the worker said ok: false without an error");
    if (json.p[0] != '"' || odto_json_unquote(json, scratch) < 0)
        return json;
    return odto_slice_of(scratch->p, scratch->n);
}

static void settle(worker *w, task *t, const reply *a)
{
    odto_buf scratch = {.max = 65536};
    odto_run_result r = {.end = ODTO_RUN_OK, .result = a->result, .log = log_of(w)};
    if (!a->ok) {
        r.end = a->retry ? ODTO_RUN_RETRY : ODTO_RUN_DISCARD;
        r.error = error_text(a->error, &scratch);
        r.result = odto_slice_of(NULL, 0);
        if (a->delay > 0)
            r.delay_ns = (int64_t)((a->delay < DELAY_MAX ? a->delay : DELAY_MAX) * 1e9);
    }
    take_away(w, t);
    w->done++;
    w->p->failures = 0;
    task_finish(w->p, t, &r);
    odto_buf_free(&scratch);
    if (w->n_tasks)
        return;
    tail_clear(&w->log);
    if (worker_is_old(w))
        worker_recycle(w);
}

/* Not a line of the protocol: worth reading, so it is kept with the log. */
static void stray(worker *w, odto_slice line)
{
    tail_put(&w->log, line.p, line.n);
    tail_put(&w->log, "\n", 1);
    if (w->noisy)
        return;
    w->noisy = true;
    odto_log(w->p->host, ODTO_WARN, "worker %d writes lines that are no replies to its stdout: %.*s", w->pid,
             (int)(line.n > 120 ? 120 : line.n), line.p);
}

static void on_line(worker *w, odto_slice line)
{
    reply a;
    if (!reply_read(line, &a)) {
        if (line.n)
            stray(w, line);
        return;
    }
    task *t = task_by_id(w, a.id);
    if (!t)
        stray(w, line); /* a second answer, or one to a job it never had */
    else if (a.has_ok)
        settle(w, t, &a);
    else
        t->run->progress(t->run, a.progress, a.note);
}

static void split_lines(worker *w)
{
    char *from = w->line.p, *end = w->line.p + w->line.n, *nl;
    while (from < end && (nl = memchr(from, '\n', (size_t)(end - from)))) {
        on_line(w, odto_slice_of(from, (size_t)(nl - from)));
        from = nl + 1;
    }
    w->line.n = (size_t)(end - from);
    if (w->line.n && from != w->line.p)
        memmove(w->line.p, from, w->line.n);
    if (!w->line.n && w->line.cap > KEEP_BUFFER)
        odto_buf_free(&w->line);
}

static void too_long(worker *w)
{
    static const char note[] = "\nodto: a reply is longer than max_output: worker ended\n";
    tail_put(&w->log, note, sizeof note - 1);
    w->line.n = 0;
    worker_end(w);
}

enum { READ_END = -1, READ_NOTHING, READ_DATA };

static int read_out(worker *w)
{
    size_t max = w->p->cmd.max_output + LINE_SLACK;
    if (!odto_buf_reserve(&w->line, READ_SIZE))
        return READ_END; /* its replies can't be had; its jobs are tried again */
    ssize_t n = read(w->out.fd, w->line.p + w->line.n, READ_SIZE);
    if (n <= 0)
        return n < 0 && (errno == EAGAIN || errno == EINTR) ? READ_NOTHING : READ_END;
    w->line.n += (size_t)n;
    split_lines(w);
    if (w->line.n > max)
        too_long(w);
    return READ_DATA;
}

static bool read_err(worker *w)
{
    char buf[16384];
    for (int i = 0; i < 4; i++) {
        ssize_t n = read(w->err.fd, buf, sizeof buf);
        if (n <= 0)
            return n < 0 && (errno == EAGAIN || errno == EINTR);
        tail_put(&w->log, buf, (size_t)n);
        if ((size_t)n < sizeof buf)
            break;
    }
    return true;
}

/* ---- events ---- */

static void on_err(watch *x, uint32_t events)
{
    (void)events;
    worker *w = (worker *)(void *)((char *)x - offsetof(worker, err));
    if (!read_err(w))
        loop_close(x);
}

static void on_out(watch *x, uint32_t events)
{
    (void)events;
    worker *w = (worker *)(void *)((char *)x - offsetof(worker, out));
    if (w->err.fd >= 0) /* what it wrote to its log before the reply belongs to the reply */
        read_err(w);
    if (read_out(w) == READ_END) {
        loop_close(x);
        worker_close(w); /* no reply will ever come; most likely it has just ended */
    }
}

static void on_in(watch *x, uint32_t events)
{
    worker *w = (worker *)(void *)((char *)x - offsetof(worker, in));
    if (events & EPOLLERR) /* it closed its stdin: it wants no more jobs */
        worker_close(w);
    else
        worker_flush(w);
}

static void on_end(watch *x, uint32_t events)
{
    (void)events;
    worker *w = (worker *)(void *)((char *)x - offsetof(worker, end));
    for (int i = 0; i < 64 && w->out.fd >= 0 && w->n_tasks; i++) /* replies it gave before it ended */
        if (read_out(w) != READ_DATA)
            break;
    if (w->err.fd >= 0)
        read_err(w);
    loop_close(&w->in);
    loop_close(&w->out);
    loop_close(&w->err);
    spawn_end end = spawn_reap(w->pid, x->fd);
    x->fd = -1;
    pipes_worker_ended(w, end);
}

/* ---- sending ---- */

void worker_give(worker *w, task *t)
{
    task **at = &w->tasks;
    if (!w->n_tasks)
        tail_clear(&w->log);
    while (*at)
        at = &(*at)->next;
    t->next = NULL;
    t->self = at;
    *at = t;
    w->n_tasks++;
    if (w->sent && w->sent == w->send.n) {
        odto_buf_clear(&w->send);
        w->sent = 0;
    }
    request_put(&w->send, t->run, w->p->loop.now_ns);
    odto_buf_put(&w->send, "\n", 1);
    if (t->deadline_ns)
        pipes_due(w->p, t->deadline_ns);
}

void worker_flush(worker *w)
{
    if (w->in.fd < 0)
        return;
    if (w->send.failed) { /* half a line would spoil the next ones */
        worker_end(w);
        return;
    }
    while (w->sent < w->send.n) {
        ssize_t n = write(w->in.fd, w->send.p + w->sent, w->send.n - w->sent);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            break;
        w->sent += (size_t)n;
    }
    bool full = w->sent < w->send.n;
    if (full && errno != EAGAIN) {
        worker_close(w);
        return;
    }
    if (full != w->in_full)
        loop_change(&w->p->loop, &w->in, full ? EPOLLOUT : 0);
    w->in_full = full;
    if (!full && w->send.cap > KEEP_BUFFER) {
        odto_buf_free(&w->send);
        w->sent = 0;
    }
}

/* ---- end ---- */

static void leave_live(worker *w)
{
    if (w->state == WORKER_LIVE)
        w->p->n_live--;
}

void worker_close(worker *w)
{
    if (w->state != WORKER_LIVE)
        return;
    leave_live(w);
    w->state = WORKER_CLOSING;
    loop_close(&w->in);
    w->act_ns = w->p->loop.now_ns + w->p->cmd.grace_ns;
    pipes_due(w->p, w->act_ns);
}

void worker_recycle(worker *w)
{
    w->asked = true;
    worker_close(w);
}

void worker_end(worker *w)
{
    w->asked = true;
    if (w->state >= WORKER_TERMED)
        return;
    leave_live(w);
    w->state = WORKER_TERMED;
    loop_close(&w->in);
    w->act_ns = w->p->loop.now_ns + w->p->cmd.grace_ns;
    pipes_due(w->p, w->act_ns);
    spawn_kill(w->pid, SIGTERM);
    spawn_kill(w->pid, SIGCONT);
}

static void press(worker *w, int64_t now)
{
    if (!w->act_ns || now < w->act_ns)
        return;
    w->act_ns = 0;
    if (w->state == WORKER_CLOSING) {
        worker_end(w);
    } else if (w->state == WORKER_TERMED) {
        w->state = WORKER_KILLED;
        spawn_kill(w->pid, SIGKILL);
    }
}

void worker_timer(worker *w, int64_t now)
{
    for (task *t = w->tasks; t; t = t->next) {
        if (t->deadline_ns && now >= t->deadline_ns && !t->timed_out) {
            t->timed_out = true;
            worker_end(w); /* there is no other way to end a job in it */
        } else if (t->deadline_ns && !t->timed_out) {
            pipes_due(w->p, t->deadline_ns);
        }
        if (atomic_load(&t->cancelled) || w->p->stopping)
            worker_end(w);
    }
    if (w->p->stopping || (w->state == WORKER_LIVE && !w->n_tasks && worker_is_old(w)))
        worker_recycle(w);
    press(w, now);
    if (w->act_ns)
        pipes_due(w->p, w->act_ns);
}

/* ---- age ---- */

#define CHECK_EVERY 64 /* jobs between two looks at its memory */

static size_t resident(pid_t pid)
{
    char path[40], text[128];
    snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    unsigned long size, pages;
    return sscanf(text, "%lu %lu", &size, &pages) == 2 ? pages * (size_t)sysconf(_SC_PAGESIZE) : 0;
}

bool worker_is_old(worker *w)
{
    const pipes *p = w->p;
    if (p->recycle_jobs && w->done >= p->recycle_jobs)
        return true;
    if (p->recycle_age_ns && p->loop.now_ns - w->born_ns >= p->recycle_age_ns)
        return true;
    if (!p->recycle_rss || w->done - w->checked < CHECK_EVERY)
        return false;
    w->checked = w->done;
    return resident(w->pid) > p->recycle_rss;
}

/* ---- birth ---- */

static int watch_all(worker *w, int in, int out, int err, int end)
{
    loop *l = &w->p->loop;
    int r = loop_watch(l, &w->in, in, 0, on_in);
    if (r == 0)
        r = loop_watch(l, &w->out, out, EPOLLIN, on_out);
    if (r == 0)
        r = loop_watch(l, &w->err, err, EPOLLIN, on_err);
    if (r == 0)
        r = loop_watch(l, &w->end, end, EPOLLIN, on_end);
    return r;
}

static int spawn(worker *w, odto_error *err)
{
    pipes *p = w->p;
    int ours[3] = {-1, -1, -1}, theirs[3] = {-1, -1, -1}, pidfd = -1, r = 0;
    for (int i = 0; i < 3 && r == 0; i++)
        r = command_pipe(i > 0, &ours[i], &theirs[i]);
    if (r < 0) {
        odto_fail(err, r, "cannot start %s: %s", p->cmd.path, strerror(-r));
    } else {
        spawn_spec spec = {.path = p->cmd.path,
                           .argv = (char *const *)(uintptr_t)p->cmd.words,
                           .env = p->cmd.env,
                           .cwd = p->cmd.cwd,
                           .in = theirs[0],
                           .out = theirs[1],
                           .err = theirs[2],
                           .n_limits = p->cmd.n_limits};
        memcpy(spec.limits, p->cmd.limits, sizeof spec.limits);
        r = spawn_start(p->stack, &spec, &w->pid, &pidfd, err);
    }
    if (r == 0 && (r = watch_all(w, ours[0], ours[1], ours[2], pidfd)) < 0) {
        odto_fail(err, r, "cannot watch %s: %s", p->cmd.path, strerror(-r));
        spawn_reap(w->pid, pidfd);
    }
    for (int i = 0; i < 3; i++) {
        if (r < 0 && ours[i] >= 0)
            close(ours[i]);
        if (theirs[i] >= 0)
            close(theirs[i]);
    }
    return r;
}

worker *worker_new(pipes *p, odto_error *err)
{
    worker *w = calloc(1, sizeof *w);
    if (!w) {
        odto_fail(err, -ENOMEM, "no memory");
        return NULL;
    }
    w->p = p;
    w->in.fd = w->out.fd = w->err.fd = w->end.fd = -1;
    w->born_ns = p->loop.now_ns;
    tail_init(&w->log, p->cmd.max_log);
    if (spawn(w, err) < 0) {
        worker_free(w);
        return NULL;
    }
    if (p->recycle_age_ns)
        pipes_due(p, w->born_ns + p->recycle_age_ns);
    w->next = p->workers;
    if (w->next)
        w->next->self = &w->next;
    w->self = &p->workers;
    p->workers = w;
    p->n_live++;
    p->n_workers++;
    return w;
}

void worker_free(worker *w)
{
    odto_buf_free(&w->send);
    odto_buf_free(&w->line);
    tail_free(&w->log);
    free(w);
}
