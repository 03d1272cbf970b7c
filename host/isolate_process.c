/* isolate_process.c — one worker process. The link thread starts it, because the kernel sends the death
 * signal when the thread that started a child ends, and reaps it by its pidfd, as nobody else waits for it.
 */
#include "host/isolate_priv.h"
#include "host/crash.h"
#include "host/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define TICK (200 * ODTO_MS)

extern char **environ;

/* ---- start ---- */

static bool in_list(const odto_value *names, const char *name, size_t n)
{
    for (size_t i = 0; names && i < names->n; i++)
        if (strlen(names->list[i]) == n && strncmp(names->list[i], name, n) == 0)
            return true;
    return false;
}

/* What a program needs to run at all; more by isolate_environment. */
static bool may_have(const char *var, const odto_value *more)
{
    static const char *const always[] = {"PATH",         "HOME",           "LANG",         "TZ",
                                         "TMPDIR",       "ASAN_OPTIONS",   "TSAN_OPTIONS", "UBSAN_OPTIONS",
                                         "LSAN_OPTIONS", "LD_LIBRARY_PATH"};
    size_t n = strcspn(var, "=");
    for (size_t i = 0; i < sizeof always / sizeof always[0]; i++)
        if (strlen(always[i]) == n && strncmp(always[i], var, n) == 0)
            return true;
    return strncmp(var, "LC_", 3) == 0 || in_list(more, var, n);
}

static char **environment(const struct proxy *p)
{
    const odto_value *more =
        p->in ? odto_config_get(p->in->unit->section->host, "isolate_environment") : NULL;
    size_t n = 0, k = 0;
    while (environ[n])
        n++;
    char **env = calloc(n + 1, sizeof *env);
    for (size_t i = 0; env && i < n; i++)
        if (may_have(environ[i], more))
            env[k++] = environ[i];
    return env;
}

static int spawn(struct proxy *p, int err_fd)
{
    char program[PATH_MAX + 16], host[16], memory[24];
    helper_program("odto-worker", program, sizeof program);
    snprintf(host, sizeof host, "%d", (int)getpid());
    /* resident memory is looked at; this is the wall behind it, which takes mapped memory that was never used
     */
    snprintf(memory, sizeof memory, "%lld", (long long)(p->memory ? p->memory * 2 + (64 << 20) : 0));
    char *argv[] = {program, p->name, host, memory, NULL}, **env = environment(p);
    posix_spawn_file_actions_t fa;
    posix_spawnattr_t at;
    sigset_t none;
    sigemptyset(&none);
    posix_spawn_file_actions_init(&fa);
    posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&fa, err_fd, 1);
    posix_spawn_file_actions_adddup2(&fa, err_fd, 2);
    posix_spawn_file_actions_adddup2(&fa, p->child_link, ISOLATE_LINK_FD);
    posix_spawn_file_actions_adddup2(&fa, p->shared_fd, ISOLATE_SHARED_FD);
    posix_spawn_file_actions_addclosefrom_np(&fa, ISOLATE_SHARED_FD + 1);
    posix_spawnattr_init(&at);
    posix_spawnattr_setsigmask(&at, &none);
    posix_spawnattr_setflags(&at, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSID);
    int r = env ? -posix_spawn(&p->pid, program, &fa, &at, argv, env) : -ENOMEM;
    posix_spawnattr_destroy(&at);
    posix_spawn_file_actions_destroy(&fa);
    free(env);
    if (r == 0)
        p->pidfd = (int)syscall(SYS_pidfd_open, p->pid, 0);
    return r;
}

/* Descriptors that go to the child must not be among 3 and 4 before they are put there. */
static int above(int fd)
{
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, 16);
    close(fd);
    return moved;
}

static int open_channels(struct proxy *p)
{
    int pair[2];
    p->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    p->shared_fd = memfd_create("odto-worker", MFD_CLOEXEC);
    if (p->wake_fd < 0 || p->shared_fd < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    wire_open(&p->link, pair[0], p->wake_fd, ISOLATE_QUEUE);
    p->shared_fd = above(p->shared_fd);
    p->child_link = above(pair[1]);
    if (p->shared_fd < 0 || p->child_link < 0 || ftruncate(p->shared_fd, sizeof *p->shared) < 0)
        return -errno;
    void *m = mmap(NULL, sizeof *p->shared, PROT_READ | PROT_WRITE, MAP_SHARED, p->shared_fd, 0);
    p->shared = m == MAP_FAILED ? NULL : m;
    return p->shared ? 0 : -errno;
}

static int start_worker(struct proxy *p)
{
    int err[2];
    if (pipe2(err, O_CLOEXEC) < 0)
        return -errno;
    p->err_fd = err[0];
    fcntl(p->err_fd, F_SETFL, O_NONBLOCK);
    int w = above(err[1]);
    int r = w < 0 ? -EMFILE : spawn(p, w);
    if (w >= 0)
        close(w);
    close(p->child_link);
    close(p->shared_fd);
    p->child_link = p->shared_fd = -1;
    if (r == 0 && p->pidfd < 0) {
        r = -errno;
        kill(-p->pid, SIGKILL);
        waitpid(p->pid, NULL, 0);
    }
    return r;
}

/* ---- looking after it ---- */

static void set_log_level(struct proxy *p)
{
    uint32_t level = ODTO_DEBUG;
    while (p->in && level <= ODTO_ERROR && !log_enabled(p->in->log, (odto_level)level))
        level++;
    atomic_store(&p->shared->log_level, level);
}

/* Lines of its stdout and stderr become lines of its log; the last ones explain its end. */
static void read_words(struct proxy *p)
{
    char text[400];
    ssize_t n;
    for (int i = 0; i < 16 && (n = read(p->err_fd, text, sizeof text - 1)) > 0; i++) { /* then the rest */
        text[n] = '\0';
        for (char *at = text, *line; (line = strsep(&at, "\n"));) {
            if (!*line)
                continue;
            pthread_mutex_lock(&p->lock);
            snprintf(p->words, sizeof p->words, "%s", line);
            pthread_mutex_unlock(&p->lock);
            if (p->in)
                log_write(p->in->log, ODTO_WARN, NULL, "%s", line);
        }
    }
}

static int64_t resident(const struct proxy *p)
{
    char path[40], text[80];
    long long size, pages;
    snprintf(path, sizeof path, "/proc/%d/statm", (int)p->pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = '\0';
    return sscanf(text, "%lld %lld", &size, &pages) == 2 ? pages * sysconf(_SC_PAGESIZE) : 0;
}

static uint64_t cpu_ticks(const struct proxy *p, int tid)
{
    char path[64], text[512];
    unsigned long long user = 0, kernel = 0;
    snprintf(path, sizeof path, "/proc/%d/task/%d/stat", (int)p->pid, tid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = '\0';
    const char *after = strrchr(text, ')');
    if (after)
        sscanf(after + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user, &kernel);
    return user + kernel;
}

/* The call that runs longest, as the worker marks them. */
static void watch_calls(struct proxy *p, int64_t now)
{
    int64_t soft = p->watch_soft, hard = p->watch_hard, since = now;
    int tid = 0;
    for (size_t i = 0; i < SHARED_MARKS; i++) {
        int64_t at = atomic_load(&p->shared->marks[i].since);
        if (at && at < since) {
            since = at;
            tid = atomic_load(&p->shared->marks[i].tid);
        }
    }
    if (!tid || now - since < ODTO_SEC / 2)
        return;
    uint64_t cpu = cpu_ticks(p, tid), spent = cpu - p->cpu_before;
    p->cpu_before = cpu;
    if (soft && now - since > soft && p->asked_since != since) {
        p->asked_since = since; /* told with the next tick, when the stack is there */
        proxy_stack_ask(p, tid);
    } else if (p->asked_since == since && p->reported_since != since) {
        char stack[900];
        p->reported_since = since;
        proxy_stack_text(p, stack, sizeof stack);
        log_write(p->core->log, ODTO_WARN, NULL,
                  "%s: a call in its worker (pid %d, thread %d) has not returned for %.1f s; the thread %s; "
                  "stack: %s",
                  p->name, (int)p->pid, tid, (double)(now - since) / 1e9,
                  spent > (uint64_t)sysconf(_SC_CLK_TCK) / 50 ? "spins" : "is blocked", stack);
    }
    if (hard && now - since > hard)
        proxy_kill(p, "a call did not return within watchdog_hard");
}

static void tick(struct proxy *p)
{
    int64_t now = odto_now_ns();
    if (!p->in || now - p->ticked_at < TICK)
        return;
    p->ticked_at = now;
    set_log_level(p);
    proxy_collect(p);
    atomic_store(&p->in->beat, atomic_load(&p->shared->beat));
    watch_calls(p, now);
    if (p->memory && resident(p) > p->memory)
        proxy_kill(p, "it used more memory than isolate_memory allows");
}

/* ---- its frames ---- */

static void replied(struct proxy *p, const struct wire_head *h, struct wire_in *in)
{
    pthread_mutex_lock(&p->lock);
    for (struct proxy_call *c = p->calls; c; c = c->next)
        if (c->id == h->id && !c->done) {
            c->result = (int)wire_get_i64(in);
            c->result = c->result > 0 || in->bad ? -EPROTO : c->result;
            wire_get_error(in, &c->err);
            odto_buf_put(&c->more, in->p, in->n);
            c->done = true;
        }
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

/* False at the end of the link. */
static bool read_link(struct proxy *p)
{
    struct wire_head head;
    struct wire_in in;
    for (int i = 0; i < 16; i++) { /* then look at the rest */
        ssize_t n = wire_read(&p->link, true);
        if (n == -EAGAIN)
            return true;
        if (n == -EPROTO)
            proxy_kill(p, "it sent what is no frame");
        if (n <= 0)
            return false;
        while (wire_next(&p->link, &head, &in)) {
            if (head.type == WIRE_REPLY)
                replied(p, &head, &in);
            else if (!p->in || !proxy_take(p, &head, &in) || in.bad) {
                proxy_kill(p, "it sent a frame that makes no sense");
                return false;
            }
        }
    }
    return true;
}

static void serve(struct proxy *p)
{
    bool left = false, ended = false;
    uint64_t n;
    while (!ended) {
        struct pollfd f[] = {{.fd = p->link.fd, .events = (short)(POLLIN | (left ? POLLOUT : 0))},
                             {.fd = p->wake_fd, .events = POLLIN},
                             {.fd = p->err_fd, .events = POLLIN},
                             {.fd = p->pidfd, .events = POLLIN}};
        poll(f, 4, TICK / ODTO_MS);
        if (f[1].revents && read(p->wake_fd, &n, sizeof n) < 0)
            continue;
        left = wire_flush(&p->link);
        if (f[2].revents)
            read_words(p);
        bool more = read_link(p);
        ended = !more || (f[3].revents && !(f[0].revents & POLLIN));
        tick(p);
    }
}

/* ---- its end ---- */

static void describe_end(struct proxy *p, const siginfo_t *si)
{
    char how[120];
    if (si->si_code == CLD_EXITED)
        snprintf(how, sizeof how, "exited with status %d", si->si_status);
    else
        snprintf(how, sizeof how, "was ended by signal %d (%s)", si->si_status, strsignal(si->si_status));
    const char *why = p->killed_for[0] ? p->killed_for : p->words;
    snprintf(p->end, sizeof p->end, "its worker process (pid %d) %s%s%.200s", (int)p->pid, how,
             why[0] ? ": " : "", why);
}

static void count_end(struct proxy *p, const siginfo_t *si)
{
    char cause[32];
    if (p->killed_for[0])
        snprintf(cause, sizeof cause, "limit");
    else if (si->si_code == CLD_EXITED)
        snprintf(cause, sizeof cause, "exit");
    else
        snprintf(cause, sizeof cause, "SIG%s", sigabbrev_np(si->si_status) ?: "?");
    const char *values[] = {p->name, cause};
    metrics_spec spec = {ODTO_COUNTER,
                         "odto_worker_ends_total",
                         "Worker processes of isolated plugins that ended unasked, by cause.",
                         "plugin,cause",
                         values,
                         NULL,
                         0};
    odto_metric *m;
    if (metrics_cell(p->core->metrics, p->in->unit, &spec, &m, NULL) == 0)
        odto_metric_add(m, 1);
}

/* A copy that crashes by itself is set aside as one that crashes the host is. One that dies over a job or an
 * event may be as good as any: those have their own bounds. */
static void tally_crash(struct proxy *p, const siginfo_t *si)
{
    if (si->si_code == CLD_EXITED || p->killed_for[0] || si->si_status == SIGKILL || si->si_status == SIGTERM)
        return;
    struct crash_record r = {.signal = si->si_status, .unix_ms = odto_unix_ms()};
    snprintf(r.plugin, sizeof r.plugin, "%s", p->name);
    snprintf(r.hash, sizeof r.hash, "%s", p->image->hash);
    crash_tally_add(p->core->data_dir, &r);
}

static void report_end(struct proxy *p, const siginfo_t *si)
{
    odto_error err = {0};
    count_end(p, si);
    odto_fail(&err, -ECONNRESET, "%s: %s", p->name, p->end);
    odto_error_detail(&err, "generation %u, copy SHA-256 %.16s", p->in->generation, p->image->hash);
    log_write(p->core->log, ODTO_ERROR, NULL, "%s (generation %u, copy SHA-256 %.16s of %s)", err.message,
              p->in->generation, p->image->hash, p->image->source);
    p->in->handle.api->fail(&p->in->handle, false, &err);
}

static void reap(struct proxy *p)
{
    siginfo_t si = {0};
    pthread_mutex_lock(&p->lock);
    p->reaping = true;      /* from now on the number may become another's */
    kill(-p->pid, SIGKILL); /* it, if it only closed its link, and what it started */
    pthread_mutex_unlock(&p->lock);
    while (waitid(P_PID, (id_t)p->pid, &si, WEXITED) < 0 && errno == EINTR)
        ;
    read_words(p);
    if (p->in)
        proxy_collect(p);
    wire_shut(&p->link);
    pthread_mutex_lock(&p->lock);
    describe_end(p, &si);
    bool report = p->in && !p->ending;
    p->dead = true;
    p->health = (odto_health){.ready = false};
    snprintf(p->health.reason, sizeof p->health.reason, "%.150s", p->end);
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    if (!p->in)
        return;
    size_t had = p->in->unit->seat ? seat_unbind(p->in->unit->seat, p, p->end) : 0;
    had += proxy_return_leases(p, p->end);
    proxy_refuse_requests(p, p->end);
    if (!had)
        tally_crash(p, &si);
    if (report)
        report_end(p, &si);
}

static void *link_main(void *arg)
{
    struct proxy *p = arg;
    instance_set_current(p->in);
    int r = start_worker(p);
    pthread_mutex_lock(&p->lock);
    p->spawn_result = r;
    p->spawned = true;
    p->dead = r < 0;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    if (r == 0) {
        serve(p);
        reap(p);
    }
    return NULL;
}

void proxy_kill(struct proxy *p, const char *why)
{
    pthread_mutex_lock(&p->lock);
    if (!p->reaping && p->pid > 0) {
        if (!p->killed_for[0])
            snprintf(p->killed_for, sizeof p->killed_for, "%s", why);
        kill(-p->pid, SIGKILL);
    }
    pthread_mutex_unlock(&p->lock);
}

/* ---- calls ---- */

odto_buf *proxy_call_begin(struct proxy *p, enum wire_type type, struct proxy_call *call)
{
    pthread_mutex_lock(&p->lock);
    *call = (struct proxy_call){.id = p->next_id++, .next = p->calls};
    p->calls = call;
    pthread_mutex_unlock(&p->lock);
    return wire_begin(&p->link, type, call->id);
}

static int wait_reply(struct proxy *p, struct proxy_call *call, int64_t deadline_ns)
{
    struct timespec ts = {deadline_ns / ODTO_SEC, deadline_ns % ODTO_SEC};
    int r = 0;
    while (r == 0 && !call->done && !p->dead)
        r = deadline_ns == INT64_MAX ? pthread_cond_wait(&p->changed, &p->lock)
                                     : pthread_cond_timedwait(&p->changed, &p->lock, &ts);
    if (call->done)
        return 0;
    return p->dead ? -ECONNRESET : -ETIMEDOUT;
}

int proxy_call_end(struct proxy *p, struct proxy_call *call, const char *what, int64_t deadline_ns,
                   odto_error *err)
{
    int r = wire_end(&p->link, -1);
    char end[400];
    pthread_mutex_lock(&p->lock);
    if (r == 0 || r == -EPIPE) /* -EPIPE: the link thread is about to know more */
        r = wait_reply(p, call, deadline_ns);
    for (struct proxy_call **at = &p->calls; *at; at = &(*at)->next)
        if (*at == call) {
            *at = call->next;
            break;
        }
    snprintf(end, sizeof end, "%s", p->end);
    pthread_mutex_unlock(&p->lock);
    if (r == 0 && call->result < 0 && err)
        *err = call->err;
    if (r == 0)
        return call->result;
    if (r == -ETIMEDOUT) {
        char why[80];
        snprintf(why, sizeof why, "%s did not return in time", what);
        proxy_kill(p, why);
        return odto_fail(err, r, "%s: %s; its worker was killed", p->name, why);
    }
    odto_fail(err, r, "%s: during %s %s", p->name, what, end[0] ? end : strerror(-r));
    odto_error_detail(err, "copy SHA-256 %.16s of %s", p->image->hash, p->image->source);
    return r;
}

/* ---- making and freeing ---- */

static int start_thread(struct proxy *p)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &old);
    int r = pthread_create(&p->thread, NULL, link_main, p);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (r != 0)
        return -r;
    char name[16];
    snprintf(name, sizeof name, "%.8s/worker", p->name);
    pthread_setname_np(p->thread, name);
    p->threaded = true;
    pthread_mutex_lock(&p->lock);
    while (!p->spawned)
        pthread_cond_wait(&p->changed, &p->lock);
    pthread_mutex_unlock(&p->lock);
    return p->spawn_result;
}

struct proxy *proxy_new(struct core *core, struct instance *in, const struct image *image, const char *name,
                        odto_error *err)
{
    struct proxy *p = calloc(1, sizeof *p);
    if (!p) {
        odto_fail(err, -ENOMEM, "no memory");
        return NULL;
    }
    p->core = core;
    p->in = in;
    p->image = image;
    p->wake_fd = p->pidfd = p->err_fd = p->child_link = p->shared_fd = p->link.fd = -1;
    p->memory = in ? unit_int(in->unit, "isolate_memory") : 0;
    p->watch_soft = in ? unit_int(in->unit, "watchdog_soft") : 0;
    p->watch_hard = in ? unit_int(in->unit, "watchdog_hard") : 0;
    p->jobs_end = &p->jobs;
    snprintf(p->name, sizeof p->name, "%s", name);
    atomic_init(&p->refs, 1);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->changed, &attr);
    pthread_condattr_destroy(&attr);
    p->mirrors = calloc(SHARED_CELLS, sizeof *p->mirrors);
    int r = p->mirrors ? open_channels(p) : -ENOMEM;
    if (r == 0) {
        set_log_level(p);
        r = start_thread(p);
    }
    if (r == 0)
        return p;
    odto_fail(err, r, "%s: can't start its worker process: %s", name, strerror(-r));
    odto_error_hint(err, "odto-worker is installed beside odto-probe; a limit on processes may be reached");
    proxy_free(p);
    return NULL;
}

static void close_if(int fd)
{
    if (fd >= 0)
        close(fd);
}

void proxy_unref(struct proxy *p)
{
    if (atomic_fetch_sub(&p->refs, 1) > 1)
        return;
    proxy_free_routes(p);
    if (p->link.max)
        wire_free(&p->link);
    if (p->shared)
        munmap(p->shared, sizeof *p->shared);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->changed);
    free(p->mirrors);
    free(p->loans);
    free(p);
}

void proxy_free(struct proxy *p)
{
    pthread_mutex_lock(&p->lock);
    p->ending = true;
    if (!p->reaping && p->pid > 0)
        kill(-p->pid, SIGKILL);
    pthread_mutex_unlock(&p->lock);
    proxy_end_publisher(p);
    if (p->threaded)
        pthread_join(p->thread, NULL);
    close_if(p->wake_fd);
    close_if(p->err_fd);
    close_if(p->pidfd);
    close_if(p->child_link);
    close_if(p->shared_fd);
    proxy_unref(p);
}
