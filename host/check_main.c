/* check_main.c — plugin-check FILE.so: everything that can be said about a plugin before a host runs it. Each
 * step is this program again, `--step N`, with a time limit: what the plugin does wrong happens there. */
#include "host/plugin_check.h"
#include "host/foreign.h"

#include <errno.h>
#include <ftw.h>
#include <getopt.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct step {
    const char *name;
    void (*run)(struct check *c);
} steps[] = {
    {"file", check_file},       {"load", check_descriptor_and_note},
    {"options", check_options}, {"callbacks", check_callbacks},
    {"life", check_life},       {"values", check_values},
    {"state", check_state},     {"cycles", check_cycles},
    {"memory", check_memory},   {"calls", check_calls},
};
#define STEPS (sizeof steps / sizeof steps[0])

/* ---- in a step's process ------------------------------------------------------------------------------ */

static void say(const char *head, const char *fmt, va_list ap)
{
    char text[1600];
    vsnprintf(text, sizeof text, fmt, ap);
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < ' ')
            *p = ' ';
    printf("%s%s\n", head, text);
    fflush(stdout);
}

void check_good(struct check *c, const char *fmt, ...)
{
    va_list ap;
    (void)c;
    va_start(ap, fmt);
    say("+", fmt, ap);
    va_end(ap);
}

void check_bad(struct check *c, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    say("-", fmt, ap);
    va_end(ap);
    c->bad = true;
}

void check_error(struct check *c, const char *what, const odto_error *err)
{
    char text[1400];
    check_bad(c, "%s: %s", what,
              err->message[0] ? odto_error_text(err, text, sizeof text) : "fails without a message");
}

bool check_load(struct check *c)
{
    odto_error err = {0};
    if (loader_stage(c->file, c->dir, "check", 1, NULL, &c->image, &err) < 0 ||
        loader_inspect(&c->image, &err) < 0 || loader_open(&c->image, &err) < 0) {
        check_error(c, "it can't be loaded", &err);
        return false;
    }
    c->plugin = c->image.descriptor;
    c->keep = c->plugin->flags & ODTO_PLUGIN_KEEP;
    return true;
}

bool check_unload(struct check *c)
{
    unsigned threads = c->image.foreign ? foreign_threads(c->image.foreign) : 0;
    unsigned keys = c->image.foreign ? foreign_keys(c->image.foreign) : 0;
    c->plugin = NULL;
    if (loader_close(&c->image, false) == 0)
        return true;
    check_bad(
        c, "it can't be unmapped: %u threads and %u thread keys of its own are left, or the linker holds it",
        threads, keys);
    return false;
}

static int run_step(struct check *c, size_t n)
{
    struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    mallopt(M_ARENA_MAX, 1); /* an arena for each thread would look like a leak */
    steps[n].run(c);
    if (c->image.path[0])
        unlink(c->image.path);
    return c->bad ? 1 : 0;
}

/* ---- the parent -----------------------------------------------------------------------------------------
 */

struct report {
    bool json, bad, any; /* any: a line was written */
    size_t problems;
};

static void line(struct report *r, const char *step, bool good, const char *text)
{
    r->problems += !good;
    if (!r->json) {
        printf("%-5s %-10s %s\n", good ? "ok" : "FAIL", step, text);
        fflush(stdout);
        return;
    }
    odto_buf b = {0};
    odto_buf_printf(&b, "%s{\"step\":\"%s\",\"ok\":%s,\"text\":", r->any ? "," : "", step,
                    good ? "true" : "false");
    odto_buf_jsonz(&b, text);
    printf("%.*s}", (int)b.n, b.p);
    odto_buf_free(&b);
    r->any = true;
}

/* The step's lines; what is none of them (a library's or the plugin's own words) is kept for a crash. */
static void read_lines(FILE *from, struct report *r, const char *step, char *words, size_t size)
{
    char text[1700];
    while (fgets(text, sizeof text, from)) {
        text[strcspn(text, "\n")] = '\0';
        if (text[0] == '+' || text[0] == '-')
            line(r, step, text[0] == '+', text + 1);
        else
            snprintf(words, size, "%.200s", text);
    }
}

static pid_t spawn_step(int argc, char **argv, size_t n, const char *dir, int out)
{
    char number[24];
    char **args = calloc((size_t)argc + 5, sizeof *args);
    if (!args)
        return -1;
    size_t k = 0;
    snprintf(number, sizeof number, "%zu", n);
    args[k++] = argv[0];
    args[k++] = (char *)"--step";
    args[k++] = number;
    args[k++] = (char *)"--dir";
    args[k++] = (char *)(uintptr_t)dir;
    for (int i = 1; i < argc; i++)
        args[k++] = argv[i];
    args[k] = NULL;
    pid_t pid = fork();
    if (pid == 0) {
        setpgid(0, 0);
        dup2(out, 1);
        dup2(out, 2);
        execv("/proc/self/exe", args);
        _exit(127);
    }
    free(args);
    return pid;
}

/* A timer thread would do for the time limit; alarm() of the step itself would not survive the plugin. */
static bool wait_step(pid_t pid, int64_t timeout_ns, int *status)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    bool late = fd >= 0 && poll(&p, 1, (int)(timeout_ns / ODTO_MS)) == 0;
    kill(-pid, SIGKILL); /* and what it started */
    waitpid(pid, status, 0);
    if (fd >= 0)
        close(fd);
    return late;
}

static void do_step(const struct check *c, struct report *r, int argc, char **argv, size_t n)
{
    char words[256] = "", text[400];
    FILE *out = tmpfile();
    size_t before = r->problems;
    if (!out) {
        line(r, steps[n].name, false, "no temporary file");
        return;
    }
    pid_t pid = spawn_step(argc, argv, n, c->dir, fileno(out));
    int status = 0;
    bool late = wait_step(pid, c->timeout_ns, &status);
    rewind(out);
    read_lines(out, r, steps[n].name, words, sizeof words);
    fclose(out);
    if (late)
        snprintf(text, sizeof text, "it did not end within %.0f s", (double)c->timeout_ns / 1e9);
    else if (WIFSIGNALED(status))
        snprintf(text, sizeof text, "it crashed (signal %d, %s) %s", WTERMSIG(status),
                 strsignal(WTERMSIG(status)), words);
    else if (WEXITSTATUS(status) != 0 && r->problems == before)
        snprintf(text, sizeof text, "it ended with status %d %s", WEXITSTATUS(status), words);
    else
        return;
    line(r, steps[n].name, false, text);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *f)
{
    (void)st, (void)type, (void)f;
    return remove(path);
}

static int usage(FILE *to)
{
    fputs("usage: plugin-check [options] FILE.so\n"
          "  -s, --set NAME=VALUE  an option of the plugin (required ones are invented)\n"
          "      --store FILE.so   a store for options that name one\n"
          "      --cycles N        loads and unloads (100)\n"
          "      --timeout SECONDS of each step (60)\n"
          "      --libraries       allocations of libraries fail too (many end the process then)\n"
          "      --json            one JSON object instead of text\n"
          "exit status: 0 all in order, 1 something is not, 2 usage\n",
          to);
    return 2;
}

static bool add_setting(struct check *c, char *text)
{
    char *value = strchr(text, '=');
    if (!value || c->n_set == CHECK_MAX_SET)
        return false;
    *value = '\0';
    c->set[2 * c->n_set] = text;
    c->set[2 * c->n_set++ + 1] = value + 1;
    return true;
}

/* Of a day at most: the limit holds whatever is asked for. 0: no number. */
static int64_t seconds(const char *text)
{
    long long n = strtoll(text, NULL, 10);
    return n <= 0 ? 0 : (n > 86400 ? 86400 : n) * ODTO_SEC;
}

static int parse(struct check *c, struct report *r, int argc, char **argv, long *step)
{
    static const struct option longs[] = {
        {"set", required_argument, NULL, 's'},    {"store", required_argument, NULL, 'S'},
        {"cycles", required_argument, NULL, 'c'}, {"timeout", required_argument, NULL, 't'},
        {"json", no_argument, NULL, 'j'},         {"libraries", no_argument, NULL, 'l'},
        {"step", required_argument, NULL, 'n'},   {"dir", required_argument, NULL, 'd'},
        {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0}};
    for (int o; (o = getopt_long(argc, argv, "s:h", longs, NULL)) != -1;) {
        if (o == 's' && !add_setting(c, optarg))
            return usage(stderr);
        if (o == 'S')
            c->store = optarg;
        if (o == 'c')
            c->cycles = (unsigned)strtoul(optarg, NULL, 10);
        if (o == 't')
            c->timeout_ns = seconds(optarg);
        if (o == 'n')
            *step = strtol(optarg, NULL, 10);
        if (o == 'd')
            snprintf(c->dir, sizeof c->dir, "%s", optarg);
        if (o == 'h')
            exit(usage(stdout) - 2);
        if (o == '?')
            return usage(stderr);
        r->json |= o == 'j';
        c->libraries |= o == 'l';
    }
    if (optind + 1 != argc || c->timeout_ns <= 0)
        return usage(stderr);
    c->file = argv[optind];
    return 0;
}

static char **words_copy(int n, char **words)
{
    char **copy = calloc((size_t)n + 1, sizeof *copy);
    for (int i = 0; copy && i < n; i++)
        copy[i] = strdup(words[i]);
    return copy;
}

static void words_free(char **words)
{
    for (char **w = words; w && *w; w++)
        free(*w);
    free(words);
}

int main(int argc, char **argv)
{
    static struct check c = {.cycles = 100, .timeout_ns = 60 * ODTO_SEC};
    struct report r = {0};
    long step = -1;
    char **again = words_copy(argc, argv); /* --set cuts its argument */
    int status = parse(&c, &r, argc, argv, &step);
    if (!status && !again)
        status = 1;
    if (status || (step >= 0 && (size_t)step < STEPS)) {
        words_free(again);
        return status ? status : run_step(&c, (size_t)step);
    }
    snprintf(c.dir, sizeof c.dir, "%.200s/plugin-check.XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    if (!mkdtemp(c.dir)) {
        fprintf(stderr, "plugin-check: no folder %s: %s\n", c.dir, strerror(errno));
        return 1;
    }
    if (r.json)
        printf("{\"checks\":[");
    for (size_t n = 0; n < STEPS; n++) {
        do_step(&c, &r, argc, again, n);
        if (n < 2 && r.problems)
            break; /* nothing further can be told of it */
    }
    nftw(c.dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    words_free(again);
    if (r.json)
        printf("],\"ok\":%s}\n", r.problems ? "false" : "true");
    else
        printf("%s: %zu problem%s\n", c.file, r.problems, r.problems == 1 ? "" : "s");
    return r.problems ? 1 : 0;
}
