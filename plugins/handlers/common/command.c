/* command.c — see command.h. Pure, except that command_init looks for the program. */
#include "command.h"
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* ---- environment ---- */

static const char *env_value(const command *c, const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < c->n_env; i++)
        if (!strncmp(c->env[i], name, n) && c->env[i][n] == '=')
            return c->env[i] + n + 1;
    return NULL;
}

/* The later one of a name wins. Takes `text`. */
static bool env_put(command *c, char *text)
{
    if (!text)
        return false;
    size_t n = (size_t)(strchrnul(text, '=') - text) + 1;
    for (size_t i = 0; i < c->n_env; i++) {
        if (strncmp(c->env[i], text, n) != 0)
            continue;
        free(c->env[i]);
        c->env[i] = text;
        return true;
    }
    c->env[c->n_env++] = text;
    return true;
}

static bool env_pass(command *c, const char *name)
{
    const char *value = getenv(name);
    char *text = NULL;
    if (!value)
        return true;
    return asprintf(&text, "%s=%s", name, value) >= 0 && env_put(c, text);
}

static bool valid_setting(const char *text)
{
    const char *p = text;
    while (isalnum((unsigned char)*p) || *p == '_')
        p++;
    return p > text && *p == '=';
}

static int env_init(command *c, const odto_config *config, odto_error *err)
{
    const odto_value *set = odto_config_get(config, "env"), *pass = odto_config_get(config, "env_pass");
    bool ok = (c->env = calloc(set->n + pass->n + 2 + COMMAND_SPARE + 1, sizeof *c->env)) != NULL;
    ok = ok && env_put(c, strdup("PATH=" DEFAULT_PATH)) && env_put(c, strdup("LANG=C.UTF-8"));
    for (size_t i = 0; ok && i < pass->n; i++)
        ok = env_pass(c, pass->list[i]);
    for (size_t i = 0; ok && i < set->n; i++) {
        if (!valid_setting(set->list[i])) {
            odto_fail(err, -EINVAL, "`env` wants NAME=value");
            odto_error_where(err, config->file, set->line, set->column);
            return -EINVAL;
        }
        ok = env_put(c, strdup(set->list[i]));
    }
    return ok ? 0 : odto_fail(err, -ENOMEM, "no memory");
}

/* ---- options ---- */

static void add_limit(command *c, int resource, int64_t value)
{
    if (value > 0)
        c->limits[c->n_limits++] = (spawn_limit){resource, (rlim_t)value};
}

static void limits_init(command *c, const odto_config *config)
{
    c->limits[c->n_limits++] = (spawn_limit){RLIMIT_CORE, 0};
    add_limit(c, RLIMIT_CPU, (odto_config_int(config, "rlimit_cpu") + ODTO_SEC - 1) / ODTO_SEC);
    add_limit(c, RLIMIT_AS, odto_config_int(config, "rlimit_memory"));
    add_limit(c, RLIMIT_NOFILE, odto_config_int(config, "rlimit_files"));
    add_limit(c, RLIMIT_FSIZE, odto_config_int(config, "rlimit_file_size"));
    add_limit(c, RLIMIT_NPROC, odto_config_int(config, "rlimit_processes"));
}

static char *folder_of(const char *file)
{
    const char *slash = file ? strrchr(file, '/') : NULL;
    if (!slash)
        return strdup(".");
    return slash == file ? strdup("/") : strndup(file, (size_t)(slash - file));
}

int command_init(command *c, const odto_config *config, odto_error *err)
{
    *c = (command){0};
    const odto_value *words = odto_config_get(config, "command");
    if (!words->n) {
        odto_fail(err, -EINVAL, "`command` is empty");
        odto_error_where(err, config->file, words->line, words->column);
        return -EINVAL;
    }
    c->words = words->list;
    c->n_words = words->n;
    c->grace_ns = odto_config_int(config, "grace");
    c->max_output = (size_t)odto_config_int(config, "max_output");
    c->max_log = (size_t)odto_config_int(config, "max_log");
    limits_init(c, config);
    int r = (c->folder = folder_of(config->file)) ? env_init(c, config, err)
                                                  : odto_fail(err, -ENOMEM, "no memory");
    if (r == 0) {
        c->cwd = odto_config_str(config, "cwd");
        if (!c->cwd)
            c->cwd = c->folder;
        c->path = spawn_find(words->list[0], c->folder, env_value(c, "PATH"), err);
        if (!c->path) {
            odto_error_where(err, config->file, words->line, words->column);
            r = err && err->code ? err->code : -ENOENT;
        }
    }
    if (r < 0)
        command_free(c);
    return r;
}

void command_free(command *c)
{
    for (size_t i = 0; i < c->n_env; i++)
        free(c->env[i]);
    free(c->env);
    free(c->path);
    free(c->folder);
    *c = (command){0};
}

/* ---- pipes ---- */

/* Away from 0, 1, 2, which dup2 in the child would overwrite. */
static int move_up(int *fd)
{
    if (*fd > 2)
        return 0;
    int high = fcntl(*fd, F_DUPFD_CLOEXEC, 3), e = errno;
    close(*fd);
    *fd = high;
    return high < 0 ? -e : 0;
}

int command_pipe(bool reading, int *ours, int *theirs)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return -errno;
    *ours = fds[reading ? 0 : 1];
    *theirs = fds[reading ? 1 : 0];
    int r = move_up(ours), r2 = move_up(theirs);
    if (r == 0)
        r = r2;
    if (r == 0 && fcntl(*ours, F_SETFL, O_NONBLOCK) < 0)
        r = -errno;
    if (r < 0) {
        if (*ours >= 0)
            close(*ours);
        if (*theirs >= 0)
            close(*theirs);
        *ours = *theirs = -1;
    }
    return r;
}

/* ---- the end of an output ---- */

void tail_init(tail *t, size_t cap)
{
    *t = (tail){.cap = cap}; /* memory only when there is something to keep */
}

void tail_free(tail *t)
{
    free(t->p);
    *t = (tail){0};
}

void tail_clear(tail *t)
{
    t->n = t->from = 0;
    t->total = 0;
}

void tail_put(tail *t, const char *p, size_t n)
{
    t->total += n;
    if (!t->p && !(t->p = malloc(t->cap)))
        return;
    if (n >= t->cap) {
        memcpy(t->p, p + n - t->cap, t->cap);
        t->n = t->cap;
        t->from = 0;
        return;
    }
    size_t at = (t->from + t->n) % t->cap, first = t->cap - at < n ? t->cap - at : n;
    memcpy(t->p + at, p, first);
    memcpy(t->p, p + first, n - first);
    t->n += n;
    if (t->n > t->cap) {
        t->from = (t->from + t->n - t->cap) % t->cap;
        t->n = t->cap;
    }
}

static void reverse(char *p, size_t n)
{
    for (size_t i = 0, k = n; k-- > i; i++) {
        char c = p[i];
        p[i] = p[k];
        p[k] = c;
    }
}

odto_slice tail_text(tail *t)
{
    if (t->from) { /* rotate in place */
        reverse(t->p, t->from);
        reverse(t->p + t->from, t->cap - t->from);
        reverse(t->p, t->cap);
        t->from = 0;
    }
    size_t skip = 0;
    while (t->total > t->n && skip < t->n && skip < 4 && ((unsigned char)t->p[skip] & 0xc0) == 0x80)
        skip++;
    return odto_slice_of(t->n ? t->p + skip : NULL, t->n - skip);
}
