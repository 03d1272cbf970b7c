/* exec.c — handler `exec`: a command for each attempt. Payload on stdin, result from stdout, log from stderr.
 *
 * Exit 0 done; 75 (EX_TEMPFAIL) again; 65 (EX_DATAERR) never again; anything else by `on_error`.
 *
 * One thread (loop.h) starts, reads, times and reaps all children: a hundred of them cost no thread each. The
 * job ends when the child does; what it left behind in its process group is killed then, and outputs that a
 * runaway daemon keeps open are not waited for. stdin is a memory file, so a child that does not read can't
 * block us. Lock: exec.lock (waiting list, states a cancel looks at); runs are finished without it. */
#include "../common/command.h"
#include "../common/loop.h"
#include "template.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#define PROC_MAGIC     0x70726f63u
#define EX_DATAERR     65
#define EX_TEMPFAIL    75
#define LAUNCH_AT_ONCE 8
#define KEEP_BUFFER    16384

typedef struct exec exec;

enum why { WHY_NONE, WHY_TIMEOUT, WHY_CANCELLED };

/* One attempt. */
typedef struct proc {
    uint32_t magic;
    exec *e;
    struct proc *next, **self; /* in exec.waiting or exec.active */
    odto_run *run;
    watch out, err, end;
    pid_t pid;
    odto_buf output;
    uint64_t n_output;
    tail log;
    enum why why;
    bool termed, killed;
    int64_t act_ns; /* deadline, then when KILL follows TERM; 0 none */
    _Atomic bool cancelled;
} proc;

struct exec {
    odto_host *host;
    const odto_config *config;
    command cmd;
    bool discard; /* on_error */
    loop loop;
    spawn_stack *stack;
    pthread_mutex_t lock;
    proc *waiting, **waiting_end;
    proc *active;
    proc *spare;
    proc *ended; /* freed at the end of the turn: events of it may still be in hand */
    size_t n_active;
    _Atomic size_t n_all;
    _Atomic bool cancel_seen;
    int64_t next_ns; /* no timer is due before */
    bool stopping;
    odto_buf scratch;
    char **argv;
    size_t *offsets;
};

/* ---- lists ---- */

static void proc_link(proc **head, proc *p)
{
    p->next = *head;
    if (p->next)
        p->next->self = &p->next;
    p->self = head;
    *head = p;
}

static void proc_unlink(proc *p)
{
    *p->self = p->next;
    if (p->next)
        p->next->self = p->self;
    p->next = NULL;
}

static proc *proc_new(exec *e)
{
    proc *p = e->spare;
    if (p) {
        e->spare = p->next;
    } else {
        if (!(p = calloc(1, sizeof *p)))
            return NULL;
        tail_init(&p->log, e->cmd.max_log);
        p->magic = PROC_MAGIC;
        p->e = e;
    }
    p->out.fd = p->err.fd = p->end.fd = -1;
    p->why = WHY_NONE;
    p->termed = p->killed = false;
    p->act_ns = 0;
    p->n_output = 0;
    p->next = NULL;
    atomic_store(&p->cancelled, false);
    return p;
}

static void proc_free(proc *p)
{
    odto_buf_free(&p->output);
    tail_free(&p->log);
    free(p);
}

/* ---- the end of an attempt ---- */

static void put_notes(proc *p)
{
    char note[128];
    if (p->n_output <= p->e->cmd.max_output)
        return;
    int n = snprintf(note, sizeof note, "\nodto: stdout cut to %zu of %llu bytes (max_output)\n",
                     p->e->cmd.max_output, (unsigned long long)p->n_output);
    tail_put(&p->log, note, (size_t)n);
}

/* The last line of the log that says something: the best short answer to what went wrong. */
static odto_slice last_line(odto_slice log)
{
    while (log.n && (log.p[log.n - 1] == '\n' || log.p[log.n - 1] == '\r' || log.p[log.n - 1] == ' '))
        log.n--;
    const char *line = log.n ? memrchr(log.p, '\n', log.n) : NULL;
    if (line)
        log = odto_slice_of(line + 1, (size_t)(log.p + log.n - line - 1));
    if (log.n > 300)
        log.n = 300;
    return log;
}

/* finish() for a run without a child, or with one that is gone. */
static void proc_finish(proc *p, odto_run_end end, const char *error)
{
    exec *e = p->e;
    odto_run *run = p->run;
    put_notes(p);
    odto_slice out = odto_slice_of(p->output.p, p->output.n);
    while (out.n && (out.p[out.n - 1] == '\n' || out.p[out.n - 1] == '\r'))
        out.n--;
    odto_run_result r = {.end = end, .log = tail_text(&p->log), .error = odto_slice_str(error)};
    if (end == ODTO_RUN_OK)
        r.result = out;
    pthread_mutex_lock(&e->lock); /* from here on cancel() does not find it */
    proc_unlink(p);
    p->run = NULL;
    pthread_mutex_unlock(&e->lock);
    run->finish(run, &r);
    if (p->output.cap > KEEP_BUFFER)
        odto_buf_free(&p->output);
    odto_buf_clear(&p->output);
    p->output.failed = false;
    tail_clear(&p->log);
    p->next = e->ended;
    e->ended = p;
    atomic_fetch_sub(&e->n_all, 1);
}

static odto_run_end judge(proc *p, spawn_end end, char *text, size_t size)
{
    odto_slice line = last_line(tail_text(&p->log));
    const char *colon = line.n ? ": " : "";
    if (p->why == WHY_TIMEOUT) {
        snprintf(text, size, "timed out%s", p->killed ? " and ignored SIGTERM: killed" : "");
        return ODTO_RUN_TIMEOUT;
    }
    if (p->why == WHY_CANCELLED) {
        snprintf(text, size, "ended early: cancelled, or the host stops");
        return ODTO_RUN_RETRY;
    }
    if (end.code == 0)
        return ODTO_RUN_OK;
    if (end.code > 0)
        snprintf(text, size, "exit status %d%s%.*s", end.code, colon, (int)line.n, line.p ? line.p : "");
    else
        snprintf(text, size, "ended by signal %d (SIG%s)%s%.*s", end.signal,
                 sigabbrev_np(end.signal) ? sigabbrev_np(end.signal) : "?", colon, (int)line.n,
                 line.p ? line.p : "");
    if (end.code == EX_DATAERR)
        return ODTO_RUN_DISCARD;
    if (end.code == EX_TEMPFAIL)
        return ODTO_RUN_RETRY;
    return p->e->discard ? ODTO_RUN_DISCARD : ODTO_RUN_RETRY;
}

/* ---- outputs ---- */

/* Read what there is; false when no more will come. */
static bool read_some(proc *p, watch *w)
{
    char buf[65536];
    for (int i = 0; i < 8; i++) { /* a flood must not keep the loop from the others */
        ssize_t n = read(w->fd, buf, sizeof buf);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
        if (n == 0)
            return false;
        if (w == &p->err) {
            tail_put(&p->log, buf, (size_t)n);
        } else {
            size_t room = p->e->cmd.max_output - p->output.n;
            odto_buf_put(&p->output, buf, (size_t)n < room ? (size_t)n : room);
            p->n_output += (uint64_t)n;
        }
        if ((size_t)n < sizeof buf)
            return true;
    }
    return true;
}

static void on_out(watch *w, uint32_t events)
{
    (void)events;
    proc *p = (proc *)(void *)((char *)w - offsetof(proc, out));
    if (!read_some(p, w))
        loop_close(w);
}

static void on_err(watch *w, uint32_t events)
{
    (void)events;
    proc *p = (proc *)(void *)((char *)w - offsetof(proc, err));
    if (!read_some(p, w))
        loop_close(w);
}

static void on_end(watch *w, uint32_t events)
{
    (void)events;
    proc *p = (proc *)(void *)((char *)w - offsetof(proc, end));
    char text[512] = "";
    if (p->out.fd >= 0)
        read_some(p, &p->out);
    if (p->err.fd >= 0)
        read_some(p, &p->err);
    loop_close(&p->out);
    loop_close(&p->err);
    spawn_end end = spawn_reap(p->pid, p->end.fd);
    p->end.fd = -1;
    p->e->n_active--;
    odto_run_end verdict = judge(p, end, text, sizeof text);
    proc_finish(p, verdict, text);
}

/* ---- the beginning ---- */

/* A file in memory with the payload, at its start. -errno on failure. */
static int payload_file(odto_slice payload)
{
    int fd = memfd_create("payload", MFD_CLOEXEC);
    if (fd >= 0 && fd < 3) { /* 0..2 are overwritten in the child */
        int high = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        close(fd);
        fd = high;
    }
    if (fd < 0)
        return -errno;
    for (size_t at = 0; at < payload.n;) {
        ssize_t n = pwrite(fd, payload.p + at, payload.n - at, (off_t)at);
        if (n < 0 && errno != EINTR) {
            int r = -errno;
            close(fd);
            return r;
        }
        at += n > 0 ? (size_t)n : 0;
    }
    return fd;
}

/* Variables of the job, after the command's own. */
static void put_env(exec *e, const odto_job *job, size_t *n)
{
    odto_buf *b = &e->scratch;
    char id[ODTO_UUID_LEN + 1];
    odto_uuid_format(&job->id, id);
    e->offsets[(*n)++] = b->n;
    odto_buf_printf(b, "ODTO_JOB_ID=%s", id);
    odto_buf_put(b, "", 1);
    e->offsets[(*n)++] = b->n;
    odto_buf_printf(b, "ODTO_ATTEMPT=%u", job->attempt);
    odto_buf_put(b, "", 1);
    e->offsets[(*n)++] = b->n;
    odto_buf_printf(b, "ODTO_MAX_ATTEMPTS=%u", job->max_attempts);
    odto_buf_put(b, "", 1);
    odto_uuid_format(&job->correlation_id, id);
    e->offsets[(*n)++] = b->n;
    odto_buf_printf(b, "ODTO_CORRELATION_ID=%s", id);
    odto_buf_put(b, "", 1);
    struct {
        const char *name;
        odto_slice value;
    } texts[] = {{"ODTO_JOB_TYPE=", job->type},
                 {"ODTO_IDEMPOTENCY_KEY=", job->idempotency_key},
                 {"TRACEPARENT=", job->traceparent}};
    for (size_t i = 0; i < 3; i++) {
        if (!texts[i].value.n || memchr(texts[i].value.p, '\0', texts[i].value.n))
            continue;
        e->offsets[(*n)++] = b->n;
        odto_buf_str(b, texts[i].name);
        odto_buf_put(b, texts[i].value.p, texts[i].value.n);
        odto_buf_put(b, "", 1);
    }
}

/* argv and environment in e->argv and e->cmd.env, strings in e->scratch. 0, -EINVAL with why, -ENOMEM. */
static int prepare(exec *e, const odto_job *job, char *why, size_t why_size)
{
    command *c = &e->cmd;
    size_t n = 0;
    bool after_end = false;
    odto_buf_clear(&e->scratch);
    e->scratch.failed = false;
    for (; n < c->n_words; n++) {
        e->offsets[n] = e->scratch.n;
        int r = template_word(c->words[n], job, after_end, &e->scratch, why, why_size);
        if (r < 0)
            return r;
        after_end |= !strcmp(c->words[n], "--");
    }
    put_env(e, job, &n);
    if (e->scratch.failed)
        return -ENOMEM;
    for (size_t i = 0; i < c->n_words; i++)
        e->argv[i] = e->scratch.p + e->offsets[i];
    e->argv[c->n_words] = NULL;
    for (size_t i = c->n_words; i < n; i++)
        c->env[c->n_env + i - c->n_words] = e->scratch.p + e->offsets[i];
    c->env[c->n_env + n - c->n_words] = NULL;
    return 0;
}

static void close_all(int *fds, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

enum { IN, OUT_OURS, OUT, ERR_OURS, ERR, N_FDS };

static int open_files(const proc *p, int fds[N_FDS])
{
    int r = fds[IN] = payload_file(p->run->job->payload);
    if (r >= 0)
        r = command_pipe(true, &fds[OUT_OURS], &fds[OUT]);
    if (r >= 0)
        r = command_pipe(true, &fds[ERR_OURS], &fds[ERR]);
    return r < 0 ? r : 0;
}

/* Take the child's descriptors into the loop. Without room for them the child is killed. */
static int watch_all(exec *e, proc *p, int fds[N_FDS], int pidfd)
{
    int r = loop_watch(&e->loop, &p->out, fds[OUT_OURS], EPOLLIN, on_out);
    if (r == 0)
        r = loop_watch(&e->loop, &p->err, fds[ERR_OURS], EPOLLIN, on_err);
    if (r == 0)
        r = loop_watch(&e->loop, &p->end, pidfd, EPOLLIN, on_end);
    if (r == 0)
        return 0;
    spawn_reap(p->pid, pidfd);
    p->out.fd = p->err.fd = p->end.fd = -1;
    return r;
}

static int spawn(exec *e, proc *p, odto_error *err)
{
    int fds[N_FDS] = {-1, -1, -1, -1, -1}, pidfd = -1;
    int r = open_files(p, fds);
    if (r < 0) {
        odto_fail(err, r, "cannot start %s: %s", e->cmd.path, strerror(-r));
    } else {
        spawn_spec spec = {.path = e->cmd.path,
                           .argv = e->argv,
                           .env = e->cmd.env,
                           .cwd = e->cmd.cwd,
                           .in = fds[IN],
                           .out = fds[OUT],
                           .err = fds[ERR],
                           .n_limits = e->cmd.n_limits};
        memcpy(spec.limits, e->cmd.limits, sizeof spec.limits);
        r = spawn_start(e->stack, &spec, &p->pid, &pidfd, err);
    }
    if (r == 0) {
        r = watch_all(e, p, fds, pidfd);
        if (r < 0)
            odto_fail(err, r, "cannot watch %s: %s", e->cmd.path, strerror(-r));
        else
            fds[OUT_OURS] = fds[ERR_OURS] = -1;
    }
    close_all(fds, N_FDS);
    return r;
}

static void launch(exec *e, proc *p)
{
    char why[512] = "no memory";
    odto_error err = {0};
    if (e->stopping || atomic_load(&p->cancelled)) {
        proc_finish(p, ODTO_RUN_RETRY, "cancelled before it began");
        return;
    }
    int r = prepare(e, p->run->job, why, sizeof why);
    if (r < 0) {
        proc_finish(p, r == -EINVAL ? ODTO_RUN_DISCARD : ODTO_RUN_RETRY, why);
        return;
    }
    if (spawn(e, p, &err) < 0) {
        proc_finish(p, ODTO_RUN_RETRY, odto_error_text(&err, why, sizeof why));
        return;
    }
    e->n_active++;
    p->act_ns = p->run->deadline_ns;
    if (p->act_ns && (!e->next_ns || p->act_ns < e->next_ns))
        e->next_ns = p->act_ns;
}

/* A few, then the loop looks at the others again; true when more wait. */
static bool launch_waiting(exec *e)
{
    for (int i = 0; i < LAUNCH_AT_ONCE; i++) {
        pthread_mutex_lock(&e->lock);
        proc *p = e->waiting;
        if (p) {
            if (e->waiting_end == &p->next)
                e->waiting_end = &e->waiting;
            proc_unlink(p);
            proc_link(&e->active, p);
        }
        pthread_mutex_unlock(&e->lock);
        if (!p)
            return false;
        launch(e, p);
    }
    return true;
}

/* ---- timers ---- */

static void end_early(proc *p, enum why why)
{
    if (p->why == WHY_NONE)
        p->why = why;
    if (p->termed)
        return;
    p->termed = true;
    p->act_ns = p->e->loop.now_ns + p->e->cmd.grace_ns;
    spawn_kill(p->pid, SIGTERM);
    spawn_kill(p->pid, SIGCONT); /* a stopped child would never hear it */
}

static void proc_timer(proc *p, int64_t now)
{
    if (p->end.fd < 0)
        return;
    if (atomic_load(&p->cancelled) || p->e->stopping)
        end_early(p, WHY_CANCELLED);
    if (!p->act_ns || now < p->act_ns)
        return;
    if (!p->termed) {
        end_early(p, WHY_TIMEOUT);
    } else if (!p->killed) {
        p->killed = true;
        p->act_ns = 0;
        spawn_kill(p->pid, SIGKILL);
    }
}

static void run_timers(exec *e)
{
    int64_t now = e->loop.now_ns;
    bool look = atomic_exchange(&e->cancel_seen, false) || e->stopping;
    if (!look && (!e->next_ns || now < e->next_ns))
        return;
    e->next_ns = 0;
    for (proc *p = e->active; p; p = p->next) {
        proc_timer(p, now);
        if (p->act_ns && (!e->next_ns || p->act_ns < e->next_ns))
            e->next_ns = p->act_ns;
    }
}

static void sweep(exec *e)
{
    if (!e->ended)
        return;
    pthread_mutex_lock(&e->lock);
    while (e->ended) {
        proc *p = e->ended;
        e->ended = p->next;
        p->next = e->spare;
        e->spare = p;
    }
    pthread_mutex_unlock(&e->lock);
}

static int64_t exec_turn(void *arg)
{
    exec *e = arg;
    if (!e->stopping && atomic_load(&e->loop.stop))
        e->stopping = true;
    bool more = launch_waiting(e);
    run_timers(e);
    sweep(e);
    if (e->stopping && !e->n_active && !more)
        return -1;
    return more ? e->loop.now_ns : e->next_ns;
}

/* ---- callbacks ---- */

static void exec_start_runs(void *self, odto_run **runs, size_t n)
{
    exec *e = self;
    const odto_run_result no_memory = {.end = ODTO_RUN_RETRY, .error = {"no memory", 9}};
    size_t failed = 0;
    pthread_mutex_lock(&e->lock);
    for (size_t i = 0; i < n; i++) {
        proc *p = proc_new(e);
        if (!p) {
            runs[failed++] = runs[i];
            continue;
        }
        p->run = runs[i];
        p->self = e->waiting_end;
        *e->waiting_end = p;
        e->waiting_end = &p->next;
        atomic_fetch_add(&e->n_all, 1);
    }
    pthread_mutex_unlock(&e->lock);
    for (size_t i = 0; i < failed; i++)
        runs[i]->finish(runs[i], &no_memory);
    loop_wake(&e->loop);
}

static void exec_cancel(void *self, odto_run *run)
{
    exec *e = self;
    pthread_mutex_lock(&e->lock);
    proc *lists[] = {e->waiting, e->active};
    for (size_t i = 0; i < 2; i++)
        for (proc *p = lists[i]; p; p = p->next)
            if (p->run == run)
                atomic_store(&p->cancelled, true);
    pthread_mutex_unlock(&e->lock);
    atomic_store(&e->cancel_seen, true);
    loop_wake(&e->loop);
}

/* The words first, so that a placeholder in the wrong place is not taken for a file name. */
static int read_command(command *cmd, const odto_config *c, odto_error *err)
{
    const odto_value *words = odto_config_get(c, "command");
    int r = template_check(words->list, words->n, err);
    if (r == 0)
        return command_init(cmd, c, err);
    odto_error_where(err, c->file, words->line, words->column);
    return r;
}

static int exec_check(const odto_config *c, odto_error *err)
{
    command cmd;
    int r = read_command(&cmd, c, err);
    if (r == 0)
        command_free(&cmd);
    return r;
}

static void exec_free(exec *e)
{
    for (proc *p = e->spare, *next; p; p = next) {
        next = p->next;
        proc_free(p);
    }
    loop_free(&e->loop);
    spawn_stack_free(e->stack);
    odto_buf_free(&e->scratch);
    free(e->argv);
    free(e->offsets);
    command_free(&e->cmd);
    pthread_mutex_destroy(&e->lock);
    free(e);
}

static int exec_init(odto_host *h, const odto_config *c, void **self, odto_error *err)
{
    exec *e = calloc(1, sizeof *e);
    if (!e)
        return odto_fail(err, -ENOMEM, "no memory");
    e->host = h;
    e->config = c;
    e->discard = odto_config_int(c, "on_error") == 1;
    e->waiting_end = &e->waiting;
    e->loop.epoll = e->loop.event = -1;
    pthread_mutex_init(&e->lock, NULL);
    int r = read_command(&e->cmd, c, err);
    if (r == 0) {
        e->stack = spawn_stack_new();
        e->argv = calloc(e->cmd.n_words + 1, sizeof *e->argv);
        e->offsets = calloc(e->cmd.n_words + COMMAND_SPARE, sizeof *e->offsets);
        if (!e->stack || !e->argv || !e->offsets)
            r = odto_fail(err, -ENOMEM, "no memory");
    }
    if (r < 0) {
        exec_free(e);
        return r;
    }
    *self = e;
    return 0;
}

static int exec_start(void *self, odto_error *err)
{
    exec *e = self;
    int r = loop_init(&e->loop, e->host, exec_turn, e, err);
    return r < 0 ? r : loop_start(&e->loop, "children", err);
}

static int exec_quiesce(void *self, int64_t deadline_ns)
{
    exec *e = self;
    const struct timespec tick = {0, 5 * ODTO_MS};
    while (atomic_load(&e->n_all) && e->host->api->now(e->host) < deadline_ns)
        nanosleep(&tick, NULL); /* the processor has drained before: normally there is nothing to wait for */
    return atomic_load(&e->n_all) ? -ETIMEDOUT : 0;
}

static void exec_stop(void *self)
{
    exec *e = self;
    loop_stop(&e->loop);
}

static void exec_fini(void *self)
{
    exec_free(self);
}

static const odto_option options[] = {
    COMMAND_OPTIONS,
    {.name = "on_error",
     .type = ODTO_OPT_ENUM,
     .default_value = "retry",
     .choices = "retry|discard",
     .help = "What an exit status other than 0, 65 (discard), 75 (retry), or a signal, means."},
};

static const odto_plugin_ops ops = {
    .size = sizeof ops,
    .check_config = exec_check,
    .init = exec_init,
    .start = exec_start,
    .quiesce = exec_quiesce,
    .stop = exec_stop,
    .fini = exec_fini,
};

static const odto_handler_iface iface = {
    .size = sizeof iface, .start = exec_start_runs, .cancel = exec_cancel};

ODTO_PLUGIN_DEFINE("exec", PACKAGE_VERSION, ODTO_KIND_HANDLER,
                   .summary = "Runs a command for each job: payload on stdin, result from stdout.",
                   .options = options, .n_options = sizeof options / sizeof options[0], .ops = &ops,
                   .handler = &iface);
