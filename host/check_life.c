/* check_life.c — plugin-check: instances in a scripted host: a life with good options, every option at its
 * limits and with nonsense, state handed over, and many loads with a ledger of what is left. */
#include "host/plugin_check.h"
#include "host/foreign.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define STACKED   4096 /* bytes of a value that is too long */
#define RSS_LIMIT 1024 /* KiB that all cycles may cost */

/* ---- good options ----------------------------------------------------------------------------------- */

static const char *invent(const odto_option *o)
{
    static char text[32];
    switch (o->type) {
    case ODTO_OPT_INT:
    case ODTO_OPT_SIZE:
        snprintf(text, sizeof text, "%lld", (long long)(o->min > 0 ? o->min : 1));
        return text;
    case ODTO_OPT_DURATION:
        return "1s";
    case ODTO_OPT_BOOL:
        return "no";
    case ODTO_OPT_ENUM:
        snprintf(text, sizeof text, "%.*s", (int)strcspn(o->choices, "|"), o->choices);
        return text;
    case ODTO_OPT_ARGV:
        return "/bin/cat";
    case ODTO_OPT_PATH:
        return "/nonexistent";
    case ODTO_OPT_ADDRESS:
        return "127.0.0.1:1";
    case ODTO_OPT_URL:
        return "http://127.0.0.1:1/";
    case ODTO_OPT_STORE:
        return "main";
    case ODTO_OPT_FLOAT:
        return "1";
    default:
        return "x";
    }
}

static const char *chosen(const struct check *c, const char *name)
{
    for (size_t i = 0; i < c->n_set; i++)
        if (strcmp(c->set[2 * i], name) == 0)
            return c->set[2 * i + 1];
    return NULL;
}

static void give_store(struct check *c, struct life *l)
{
    odto_error err = {0};
    if (!c->store) {
        l->lacks_store = true;
        return;
    }
    if (loader_stage(c->store, c->dir, "store", 1, NULL, &l->store_image, &err) < 0 ||
        loader_inspect(&l->store_image, &err) < 0 || loader_open(&l->store_image, &err) < 0) {
        check_error(c, "the store", &err);
        l->lacks_store = true;
        return;
    }
    odto_test_setup(&l->store, l->store_image.descriptor);
    odto_test_clock_runs(&l->store);
    l->store.data_dir = c->dir;
    if (odto_test_init(&l->store, &err) < 0 || odto_test_start(&l->store, &err) < 0) {
        check_error(c, "the store", &err);
        l->lacks_store = true;
        return;
    }
    l->has_store = true;
}

struct life *life_new(struct check *c, const char *option, const char *value)
{
    struct life *l = calloc(1, sizeof *l);
    if (!l)
        abort();
    const odto_plugin *p = c->plugin;
    size_t n = 0;
    for (size_t i = 0; i < p->n_options && n < 256; i++) {
        const odto_option *o = &p->options[i];
        const char *text = option && strcmp(option, o->name) == 0 ? value : chosen(c, o->name);
        if (!text && (o->flags & ODTO_OPTION_REQUIRED) && l->n_owned < 128)
            text = l->owned[l->n_owned++] = strdup(invent(o));
        if (text) {
            l->settings[n++] = o->name;
            l->settings[n++] = text;
        }
        if (o->type == ODTO_OPT_STORE && (text || o->default_value) && !l->has_store && !l->lacks_store)
            give_store(c, l);
    }
    odto_test_setup(&l->test, p);
    odto_test_clock_runs(&l->test); /* what is tried again later comes to an end */
    l->test.options = l->settings;
    l->test.data_dir = c->dir;
    for (size_t i = 0; l->has_store && i < p->n_options; i++)
        if (p->options[i].type == ODTO_OPT_STORE)
            odto_test_store(&l->test, p->options[i].name, l->store_image.descriptor->store, l->store.self);
    return l;
}

int life_init(struct life *l, odto_error *err)
{
    return odto_test_init(&l->test, err);
}

int life_start(struct life *l, odto_error *err)
{
    return odto_test_start(&l->test, err);
}

/* Each route once, with a parameter and a body that fit nothing: an answer of any status will do. */
static void ask_routes(struct life *l)
{
    for (size_t i = 0; i < l->test.n_routes; i++) {
        const odto_http_route *r = &l->test.routes[i];
        char path[512] = "";
        size_t n = 0;
        for (const char *p = r->path; r->method && *p && n < sizeof path - 1; p++)
            if (*p != '{')
                path[n++] = *p;
            else {
                path[n++] = 'x';
                p = strchr(p, '}');
            }
        path[n] = '\0';
        if (!r->method || r->ws)
            continue;
        odto_http_request *rq = strcmp(r->method, "GET") == 0
                                    ? odto_test_get(&l->test, path)
                                    : odto_test_send(&l->test, r->method, path, NULL, odto_slice_str("{"));
        if (odto_test_reply_of(rq)->stream)
            odto_test_client_gone(rq);
    }
}

void life_use(struct life *l)
{
    const odto_plugin *p = l->test.plugin;
    if (p->consumes)
        odto_test_deliver(&l->test, "not an event", false);
    if (p->head.kind == ODTO_KIND_HANDLER)
        odto_test_ended(odto_test_run(&l->test, "check", "{}"));
    ask_routes(l);
    odto_test_advance(&l->test, 60 * ODTO_SEC);
}

void life_end(struct life *l, bool started)
{
    if (started)
        odto_test_stop(&l->test);
    else
        odto_test_give_up(&l->test);
}

void life_free(struct check *c, struct life *l)
{
    (void)c;
    odto_test_free(&l->test);
    if (l->has_store) {
        odto_test_stop(&l->store);
        odto_test_free(&l->store);
    }
    if (l->store_image.handle)
        loader_close(&l->store_image, false);
    while (l->n_owned)
        free(l->owned[--l->n_owned]);
    free(l);
}

/* ---- one life --------------------------------------------------------------------------------------- */

static void say_left(struct check *c, const odto_test *t)
{
    if (t->n_threads)
        check_bad(c, "%zu of its threads still run after stop()", t->n_threads);
    if (t->n_timers)
        check_bad(c, "%zu of its timers are left after fini()", t->n_timers);
    if (t->n_watches)
        check_bad(c, "%zu descriptors are still watched after fini()", t->n_watches);
    if (t->n_leased > t->n_settled)
        check_bad(c, "%zu leases were not settled by stop()", t->n_leased - t->n_settled);
    if (t->n_held)
        check_bad(c, "%zu publications had no answer", t->n_held);
}

void check_life(struct check *c)
{
    odto_error err = {0};
    if (!check_load(c))
        return;
    struct life *l = life_new(c, NULL, NULL);
    if (life_init(l, &err) < 0) {
        check_error(c, "init()", &err);
        life_free(c, l);
        return;
    }
    if (l->test.n_threads || l->test.n_timers || l->test.n_served || l->test.n_events)
        check_bad(c, "init() starts a thread or timer, serves or publishes: a trial calls it too; that "
                     "belongs into start()");
    bool started = life_start(l, &err) == 0;
    if (started) {
        life_use(l);
        check_good(c, "init, start, %s, quiesce, stop, fini",
                   l->test.plugin->head.kind == ODTO_KIND_HANDLER ? "a job" : "events and requests");
    } else if (l->lacks_store) {
        check_good(c, "init, start as far as without a store, stop, fini; `--store FILE.so` gives it one");
    } else {
        check_error(c, "start()", &err);
    }
    life_end(l, started);
    say_left(c, &l->test);
    life_free(c, l);
}

/* ---- values ----------------------------------------------------------------------------------------- */

static void try_value(struct check *c, const odto_option *o, const char *value)
{
    odto_error err = {0};
    struct life *l = life_new(c, o->name, value);
    int r = life_init(l, &err);
    if (r == 0)
        life_end(l, false);
    else if (!err.message[0])
        check_bad(c, "option %s: '%.40s' is refused without a message", o->name, value);
    life_free(c, l);
}

static void try_limits(struct check *c, const odto_option *o)
{
    char text[32];
    const int64_t limits[] = {o->min, o->max};
    for (size_t i = 0; i < 2 && o->max > o->min; i++) {
        snprintf(text, sizeof text, "%lld%s", (long long)limits[i], o->type == ODTO_OPT_DURATION ? "ns" : "");
        try_value(c, o, text);
    }
}

static void try_texts(struct check *c, const odto_option *o)
{
    static char longest[STACKED];
    memset(longest, 'x', sizeof longest - 1);
    const char *const texts[] = {"", " ", "%s%n%s", "../../x", "\"", "127.0.0.1:99999", ":", longest};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        try_value(c, o, texts[i]);
}

void check_values(struct check *c)
{
    if (!check_load(c))
        return;
    for (size_t i = 0; i < c->plugin->n_options; i++) {
        const odto_option *o = &c->plugin->options[i];
        if (o->type == ODTO_OPT_STORE)
            continue;
        if (o->type == ODTO_OPT_INT || o->type == ODTO_OPT_DURATION || o->type == ODTO_OPT_SIZE)
            try_limits(c, o);
        else if (o->type != ODTO_OPT_BOOL && o->type != ODTO_OPT_ENUM && o->type != ODTO_OPT_FLOAT)
            try_texts(c, o);
    }
    if (!c->bad)
        check_good(c, "options at their limits and with nonsense are taken or refused with a message");
}

/* ---- state ------------------------------------------------------------------------------------------ */

void check_state(struct check *c)
{
    odto_error err = {0};
    if (!check_load(c))
        return;
    if (!c->plugin->ops->save) {
        check_good(c, "it keeps no state between generations");
        return;
    }
    struct life *l = life_new(c, NULL, NULL);
    bool up = life_init(l, &err) == 0, started = up && life_start(l, &err) == 0;
    if (started) {
        life_use(l);
        if (odto_test_reload(&l->test, &err) == 0)
            check_good(c, "the next generation takes the state over");
        else
            check_error(c, "save() and restore()", &err);
        odto_error refused = {0};
        int r =
            c->plugin->ops->restore(l->test.self, 9999, odto_slice_str("\x01\x02no state at all"), &refused);
        if (r < 0 && !refused.message[0])
            check_bad(c, "restore() refuses a foreign state without a message");
    } else if (!l->lacks_store) {
        check_error(c, "init() or start()", &err);
    }
    if (up)
        life_end(l, started);
    life_free(c, l);
}

/* ---- many loads ------------------------------------------------------------------------------------- */

static size_t entries(const char *path)
{
    size_t n = 0;
    DIR *d = opendir(path);
    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return n;
}

static long resident_kib(void)
{
    long pages = 0, total;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f && fscanf(f, "%ld %ld", &total, &pages) != 2)
        pages = 0;
    if (f)
        fclose(f);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static bool cycle(struct check *c)
{
    odto_error err = {0};
    if (!check_load(c))
        return false;
    struct life *l = life_new(c, NULL, NULL);
    bool up = life_init(l, &err) == 0, started = up && life_start(l, &err) == 0;
    if (!started && !l->lacks_store)
        check_error(c, "init() or start()", &err);
    if (up)
        life_end(l, started);
    say_left(c, &l->test);
    life_free(c, l);
    return check_unload(c) && !c->bad;
}

static bool cycles(struct check *c, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (!cycle(c)) {
            check_bad(c, "in cycle %u of %u", i + 1, n);
            return false;
        }
    return true;
}

/* KiB that a round of cycles cost. What a library sets up once may come late; a leak costs every time. */
static long grown(struct check *c, long before)
{
    long least = resident_kib() - before;
    for (int i = 0; i < 2 && least > RSS_LIMIT && !c->bad && !c->keep; i++) {
        before = resident_kib();
        if (!cycles(c, c->cycles - c->cycles / 2))
            break;
        long more = resident_kib() - before;
        least = more < least ? more : least;
    }
    return least;
}

/* How many entries a folder has, once there are at most so many: a library's own threads may still be closing
 * and ending what the plugin gave back. What leaked stays. */
static size_t settled(const char *folder, size_t most)
{
    size_t n = entries(folder);
    for (int i = 0; i < 200 && n > most; i++) {
        nanosleep(&(struct timespec){0, 10 * ODTO_MS}, NULL);
        n = entries(folder);
    }
    return n;
}

void check_cycles(struct check *c)
{
#if ODTO_SANITIZER_ID
    if (c->cycles > 20)
        c->cycles =
            20; /* these builds never unmap a copy, and each costs more than the last one: 80 take a minute */
#endif
    if (!cycles(c, c->cycles / 2)) /* after that its libraries are there, arenas have their size */
        return;
    size_t threads = entries("/proc/self/task"), fds = entries("/proc/self/fd");
    long memory = resident_kib();
    if (!cycles(c, c->cycles - c->cycles / 2))
        return;
    long more = grown(c, memory);
    size_t threads_now = settled("/proc/self/task", threads), fds_now = settled("/proc/self/fd", fds);
    if (threads_now > threads)
        check_bad(c, "%zu threads more after %u cycles", threads_now - threads, c->cycles);
    if (fds_now > fds)
        check_bad(c, "%zu open descriptors more after %u cycles", fds_now - fds, c->cycles);
    if (c->keep)
        check_good(c, "it stays mapped by its own flag: each load costs memory, %ld KiB in all", more);
    else if (more > RSS_LIMIT && !ODTO_SANITIZER_ID)
        check_bad(c, "%ld KiB of memory more after %u cycles", more, c->cycles);
    if (!c->bad)
        check_good(c,
                   "%u times load, init, start, stop, fini, unload: no thread, descriptor, timer or lease "
                   "left, %+ld KiB",
                   c->cycles, more);
}
