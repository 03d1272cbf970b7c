/* worker_main.c — odto-worker NAME HOST-PID MEMORY: one isolated plugin, started by the host with a socket on
 * descriptor 3 and shared memory on descriptor 4. It ends with the host, whatever happens: the socket closes,
 * and the kernel sends it SIGKILL. */
#include "host/thread.h"
#include "host/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#define TICK (200 * ODTO_MS)

/* ---- lifecycle calls, on the main thread ---- */

static odto_buf *reply_begin(struct worker *w, uint64_t id, int r, const odto_error *err)
{
    odto_buf *b = wire_begin(&w->link, WIRE_REPLY, id);
    wire_i64(b, r);
    wire_error(b, err);
    return b;
}

static void reply_end(struct worker *w)
{
    atomic_fetch_add_explicit(&w->answered, 1, memory_order_release); /* pairs with take() */
    if (wire_end(&w->link, -1) == -EMSGSIZE)
        abort(); /* a state of more than 64 MiB: the host says that the call was not answered */
}

static void put_names(odto_buf *b, const char *const *names)
{
    uint32_t n = 0;
    while (names && names[n])
        n++;
    wire_u32(b, n);
    for (uint32_t i = 0; i < n; i++)
        wire_str(b, names[i]);
}

static void put_description(odto_buf *b, const odto_plugin *d)
{
    uint32_t has = (d->ops->check_config ? ISOLATE_HAS_CHECK : 0) |
                   (d->ops->restore ? ISOLATE_HAS_RESTORE : 0) | (d->ops->handle ? ISOLATE_HAS_HANDLE : 0) |
                   (d->ops->reconfigure ? ISOLATE_HAS_RECONFIGURE : 0) |
                   (d->ops->save ? ISOLATE_HAS_SAVE : 0);
    wire_u32(b, d->flags);
    wire_u32(b, has);
    wire_str(b, d->summary);
    put_names(b, d->consumes);
    put_names(b, d->produces);
    wire_u32(b, (uint32_t)d->n_options);
    for (size_t i = 0; i < d->n_options; i++) {
        const odto_option *o = &d->options[i];
        wire_str(b, o->name);
        wire_u32(b, (uint32_t)o->type);
        wire_str(b, o->default_value);
        wire_i64(b, o->min);
        wire_i64(b, o->max);
        wire_str(b, o->choices);
        wire_u32(b, o->flags);
        wire_str(b, o->env);
        wire_str(b, o->help);
    }
}

static int describe(struct worker *w, struct wire_in *in, odto_error *err)
{
    snprintf(w->image.path, sizeof w->image.path, "%s", wire_get_bytes(in).p);
    snprintf(w->image.source, sizeof w->image.source, "%s", wire_get_bytes(in).p);
    int r = loader_inspect(&w->image, err);
    if (r == 0)
        r = loader_open(&w->image, err);
    w->d = w->image.descriptor;
    return r;
}

static int configure(struct worker *w, struct wire_in *in, const odto_config **out, odto_error *err)
{
    *out = isolate_get_config(in, &w->memory, w->d);
    return *out ? 0 : odto_fail(err, -EPROTO, "the options did not come whole");
}

static int init(struct worker *w, struct wire_in *in, odto_error *err)
{
    int r = configure(w, in, &w->config, err);
    uint32_t concurrency = wire_get_u32(in);
    if (r == 0 && (runs_init(w, concurrency) < 0 || events_init(w) < 0 || http_init(w) < 0))
        r = odto_fail(err, -ENOMEM, "no memory");
    return r < 0 ? r : w->d->ops->init(&w->host, w->config, &w->self, err);
}

static int start(struct worker *w, odto_error *err)
{
    int r = w->d->ops->start(w->self, err);
    if (r == 0) {
        atomic_store(&w->started, true);
        worker_tick(w); /* the first word on its health comes before the reply */
    }
    return r;
}

static int stop(struct worker *w, bool replaced)
{
    atomic_store(&w->replaced, replaced);
    atomic_store(&w->started, false);
    atomic_store(&w->stopping, true);
    if (w->d->ops->stop)
        w->d->ops->stop(w->self);
    worker_join_threads(w);
    return 0;
}

/* A call that gives nothing back but its result. */
static int plain_call(struct worker *w, struct task *t, odto_error *err)
{
    const odto_plugin_ops *ops = w->d ? w->d->ops : NULL;
    const odto_config *c;
    uint32_t version;
    int r;
    switch (t->type) {
    case WIRE_CHECK:
        r = configure(w, &t->in, &c, err);
        return r < 0 ? r : ops->check_config(c, err);
    case WIRE_INIT:
        return init(w, &t->in, err);
    case WIRE_RESTORE:
        version = wire_get_u32(&t->in);
        return ops->restore(w->self, version, wire_get_bytes(&t->in), err);
    case WIRE_START:
        return start(w, err);
    case WIRE_RECONFIGURE:
        r = configure(w, &t->in, &c, err);
        if (r == 0)
            r = ops->reconfigure(w->self, c, err);
        if (r == 0)
            w->config = c;
        return r;
    case WIRE_QUIESCE:
        return ops->quiesce ? ops->quiesce(w->self, wire_get_i64(&t->in)) : 0;
    case WIRE_STOP:
        return stop(w, wire_get_u32(&t->in));
    default:
        return odto_fail(err, -EPROTO, "a frame of an unknown type");
    }
}

static void save(struct worker *w, uint64_t id)
{
    odto_error err = {0};
    odto_buf blob = {0};
    uint32_t version = 0;
    int r = w->d->ops->save(w->self, &version, &blob, &err);
    odto_buf *b = reply_begin(w, id, r, &err);
    wire_u32(b, version);
    wire_bytes(b, odto_slice_of(blob.p, blob.n));
    reply_end(w);
    odto_buf_free(&blob);
}

static void lifecycle_call(struct task *t)
{
    struct worker *w = t->arg;
    odto_error err = {0};
    if (t->type == WIRE_SAVE) {
        save(w, t->id);
    } else if (t->type == WIRE_FINI) {
        lane_rest(&w->done); /* callbacks of its events use what fini() frees */
        w->d->ops->fini(w->self);
        reply_begin(w, t->id, 0, &err);
        reply_end(w);
        _exit(0);
    } else {
        int r = t->type == WIRE_DESCRIBE ? describe(w, &t->in, &err) : plain_call(w, t, &err);
        odto_buf *b = reply_begin(w, t->id, r, &err);
        if (t->type == WIRE_DESCRIBE && r == 0) {
            wire_u32(b, w->d->handler ? w->d->handler->flags : 0);
            put_description(b, w->d);
        }
        reply_end(w);
    }
    free(t);
}

/* ---- reader ---- */

static void interrupted(struct worker *w)
{
    atomic_store(&w->stopping, true);
    events_wake(w);
    if (w->d && w->d->ops->interrupt)
        w->d->ops->interrupt(w->self);
}

static void take(struct worker *w, const struct wire_head *head, struct wire_in *in)
{
    if (head->type == WIRE_REPLY) {
        call_replied(w, head, in);
        return;
    }
    if (head->type == WIRE_INTERRUPT) {
        interrupted(w);
        return;
    }
    if (head->type == WIRE_RUN_STOP) {
        runs_stop(w, head->id);
        return;
    }
    struct task *t = task_new((enum wire_type)head->type, head->id, in);
    if (!t)
        abort();
    t->arg = w;
    atomic_load_explicit(&w->answered, memory_order_acquire); /* pairs with reply_end() */
    if (head->type == WIRE_RUNS)
        runs_take(w, t);
    else if (head->type == WIRE_HANDLE)
        events_handle(w, t);
    else if (head->type == WIRE_PUBLISHED)
        events_published(w, t);
    else if (head->type == WIRE_REQUEST)
        http_request(w, t);
    else {
        t->run = lifecycle_call;
        lane_push(w, &w->main, t);
    }
}

static void *read_frames(void *arg)
{
    struct worker *w = arg;
    struct wire_head head;
    struct wire_in in;
    while (wire_read(&w->link, false) > 0)
        while (wire_next(&w->link, &head, &in))
            take(w, &head, &in);
    _exit(0); /* the host has gone, or wants this process gone */
}

static void *tick(void *arg)
{
    struct worker *w = arg;
    for (;;) {
        nanosleep(&(struct timespec){TICK / ODTO_SEC, TICK % ODTO_SEC}, NULL);
        if (atomic_load(&w->started))
            worker_tick(w);
    }
    return NULL;
}

/* ---- set up ---- */

/* Nothing of the host comes along but two descriptors; nothing may be gained by an exec; the kernel rather
 * takes this process than the host when memory is short. */
static bool confine(pid_t host, int64_t memory)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != host)
        return false; /* it has gone already */
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    struct rlimit none = {0, 0}, data = {(rlim_t)memory, (rlim_t)memory};
    setrlimit(RLIMIT_CORE, &none);
    if (memory && !ODTO_SANITIZER_ID) /* a sanitizer's shadow would count */
        setrlimit(RLIMIT_DATA, &data);
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        if (write(fd, "500", 3) < 0)
            errno = 0; /* a hint to the kernel, no more */
        close(fd);
    }
    fcntl(ISOLATE_LINK_FD, F_SETFD, FD_CLOEXEC);
    return true;
}

static int set_up(struct worker *w, const char *name)
{
    snprintf(w->name, sizeof w->name, "%s", name);
    w->shared = mmap(NULL, sizeof *w->shared, PROT_READ | PROT_WRITE, MAP_SHARED, ISOLATE_SHARED_FD, 0);
    close(ISOLATE_SHARED_FD);
    w->timers = timer_service_new();
    w->metrics = calloc(SHARED_CELLS, sizeof *w->metrics);
    if (w->shared == MAP_FAILED || !w->timers || !w->metrics)
        return -ENOMEM;
    stack_handler(w);
    w->host = (odto_host){.api = &worker_api, .priv = w};
    atomic_init(&w->next_id, 1);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->replied, NULL);
    wire_open(&w->link, ISOLATE_LINK_FD, -1, WIRE_FRAME_MAX);
    lane_init(&w->main, "main", 0, false);
    lane_init(&w->work, "work", 1, true);
    lane_init(&w->done, "done", 1, true);
    for (size_t i = 0; i < WORKER_TOPICS; i++)
        lane_init(&w->topics[i], "events", 1, true);
    return 0;
}

int main(int argc, char **argv)
{
    static struct worker w;
    pthread_t reader, ticker;
    if (argc != 4) {
        fputs(
            "odto-worker runs one plugin for odto-host, which starts it; there is nothing to call by hand\n",
            stderr);
        return EX_USAGE;
    }
    if (!confine((pid_t)atoi(argv[2]), atoll(argv[3])))
        return EX_UNAVAILABLE;
    if (set_up(&w, argv[1]) < 0 || thread_spawn(&reader, read_frames, &w, "link") < 0 ||
        thread_spawn(&ticker, tick, &w, "tick") < 0) {
        fputs("odto-worker: no memory\n", stderr);
        return EX_OSERR;
    }
    sigset_t most;
    sigfillset(&most);
    static const int taken[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGURG};
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++)
        sigdelset(&most, taken[i]);
    pthread_sigmask(SIG_BLOCK, &most, NULL);
    lane_run(&w, &w.main);
}
