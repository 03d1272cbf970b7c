/* crash.c — see crash.h. The handler only touches a mapped file, thread-local data and async-signal-safe
 * calls; backtrace() is called once at install so that its library is loaded by then. No recovery is tried:
 * after a wild write in one thread the memory of all of them is in doubt (lab: siglongjmp out of SIGSEGV
 * leaves locks held). */
#include "host/crash.h"
#include "host/instance.h"

#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define ALT_STACK (64 * 1024)

static struct crash_record *record; /* the mapping; written by the one thread that crashes first */
static volatile sig_atomic_t taken;
static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};

bool crash_open(const char *run_dir, struct crash_record *last, odto_error *err)
{
    char path[4300];
    snprintf(path, sizeof path, "%s/crash.record", run_dir);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, (off_t)sizeof *record) < 0) {
        odto_fail(err, -errno, "can't keep a crash record in %s: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return false;
    }
    void *p = mmap(NULL, sizeof *record, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (p == MAP_FAILED) {
        odto_fail(err, -errno, "can't map %s: %s", path, strerror(errno));
        return false;
    }
    record = p;
    bool had = memcmp(record->magic, "odtocrsh", 8) == 0;
    if (had)
        *last = *record;
    memset(record, 0, sizeof *record);
    return had;
}

static uint64_t context_pc(const void *context)
{
#if defined(__x86_64__)
    return (uint64_t)((const ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
    return ((const ucontext_t *)context)->uc_mcontext.pc;
#else
    (void)context;
    return 0;
#endif
}

static void copy_name(char *to, size_t size, const char *from)
{
    size_t i = 0;
    for (; from && from[i] && i + 1 < size; i++)
        to[i] = from[i];
    to[i] = '\0';
}

static void fill(struct crash_record *r, int sig, const siginfo_t *si, const void *context)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    r->unix_ms = (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
    r->signal = sig;
    r->code = si->si_code;
    r->address = (uint64_t)(uintptr_t)si->si_addr;
    r->pc = context_pc(context);
    prctl(PR_GET_NAME, r->thread);
    const struct instance *in = instance_current();
    if (in) {
        copy_name(r->plugin, sizeof r->plugin, in->name);
        copy_name(r->hash, sizeof r->hash, in->image->hash);
        r->generation = in->generation;
    }
    Dl_info info;
    if (dladdr((void *)(uintptr_t)r->pc, &info)) {
        r->base = (uint64_t)(uintptr_t)info.dli_fbase;
        copy_name(r->object, sizeof r->object, info.dli_fname);
    }
    memcpy(r->magic, "odtocrsh", 8); /* from here on the record counts, even if unwinding fails */
    void *frames[CRASH_FRAMES];
    int n = backtrace(frames, CRASH_FRAMES);
    for (int i = 0; i < n; i++)
        r->frames[i] = (uint64_t)(uintptr_t)frames[i];
    r->n_frames = (uint32_t)n;
}

static void on_crash(int sig, siginfo_t *si, void *context)
{
    if (!__sync_lock_test_and_set(&taken, 1) && record)
        fill(record, sig, si, context);
    signal(sig, SIG_DFL);
    raise(sig);
}

void crash_install(void)
{
#if !ODTO_SANITIZER_ID /* the sanitizers have better reports */
    void *frames[2];
    backtrace(frames, 2);
    struct sigaction sa = {.sa_sigaction = on_crash, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    sigemptyset(&sa.sa_mask);
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        sigaction(signals[i], &sa, NULL);
#else
    (void)signals;
    (void)on_crash;
#endif
}

void *crash_thread_begin(void)
{
    void *p = mmap(NULL, ALT_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    stack_t st = {.ss_sp = p, .ss_size = ALT_STACK};
    sigaltstack(&st, NULL);
    return p;
}

void crash_thread_end(void *stack)
{
    if (!stack)
        return;
    stack_t st = {.ss_flags = SS_DISABLE};
    sigaltstack(&st, NULL);
    munmap(stack, ALT_STACK);
}

/* ---- tally: lines "UNIX_MS HASH PLUGIN SIGNAL", the file is cut when it grows ---- */

#define TALLY_LINES 256

int crash_tally_add(const char *data_dir, const struct crash_record *r)
{
    char path[4300];
    snprintf(path, sizeof path, "%s/crashes", data_dir);
    struct stat st;
    bool large = stat(path, &st) == 0 && st.st_size > TALLY_LINES * 128;
    FILE *f = fopen(path, large ? "we" : "ae");
    if (!f)
        return -errno;
    fprintf(f, "%lld %s %s %d\n", (long long)r->unix_ms, r->hash[0] ? r->hash : "-",
            r->plugin[0] ? r->plugin : "-", r->signal);
    return fclose(f) == 0 ? 0 : -errno;
}

unsigned crash_tally(const char *data_dir, const char *hash, int64_t window_ms)
{
    char path[4300], line[256];
    snprintf(path, sizeof path, "%s/crashes", data_dir);
    FILE *f = fopen(path, "re");
    if (!f)
        return 0;
    unsigned n = 0;
    int64_t since = odto_unix_ms() - window_ms;
    while (fgets(line, sizeof line, f)) {
        char *end;
        int64_t at = strtoll(line, &end, 10);
        if (at >= since && *end == ' ' && strncmp(end + 1, hash, LOADER_HASH_LEN) == 0)
            n++;
    }
    fclose(f);
    return n;
}

bool crash_good_copy(const char *data_dir, const char *name, char *out, size_t size)
{
    snprintf(out, size, "%s/good/%s.so", data_dir, name);
    return access(out, R_OK) == 0;
}

static int copy_file(const char *from, const char *to)
{
    int in = open(from, O_RDONLY | O_CLOEXEC);
    if (in < 0)
        return -errno;
    int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0500);
    int r = out < 0 ? -errno : 0;
    char block[65536];
    ssize_t n = 0;
    while (r == 0 && (n = read(in, block, sizeof block)) > 0)
        if (write(out, block, (size_t)n) != n)
            r = -EIO;
    if (n < 0)
        r = -errno;
    close(in);
    if (out >= 0 && close(out) < 0 && r == 0)
        r = -errno;
    return r;
}

int crash_keep_good(const char *data_dir, const char *name, const char *from)
{
    char dir[4300], to[4500], tmp[4520];
    snprintf(dir, sizeof dir, "%s/good", data_dir);
    if (mkdir(dir, 0700) < 0 && errno != EEXIST)
        return -errno;
    snprintf(to, sizeof to, "%s/%s.so", dir, name);
    snprintf(tmp, sizeof tmp, "%s.new", to);
    unlink(tmp);
    int r = copy_file(from, tmp);
    if (r == 0 && rename(tmp, to) < 0)
        r = -errno;
    return r;
}
