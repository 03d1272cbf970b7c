/* settings.c — the manifest's options, and what is made of them: command line, environment, address lists. */
#include "pty.h"

#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DAY (86400 * ODTO_SEC)

const odto_option pty_options[] = {
    {.name = "listen",
     .type = ODTO_OPT_ADDRESS,
     .default_value = "127.0.0.1:9000",
     .help = "Address of the WebSocket listener."},
    {.name = "listen_http",
     .type = ODTO_OPT_ADDRESS,
     .default_value = "127.0.0.1:9001",
     .help = "Address for health, metrics and tickets."},
    {.name = "port",
     .type = ODTO_OPT_INT,
     .default_value = "0",
     .max = 65535,
     .env = "PTY_WS_PORT",
     .help = "Replaces the port of listen; 0: does not."},
    {.name = "http_port",
     .type = ODTO_OPT_INT,
     .default_value = "0",
     .max = 65535,
     .env = "PTY_METRICS_PORT",
     .help = "Replaces the port of listen_http; 0: does not."},
    {.name = "program",
     .type = ODTO_OPT_STRING,
     .env = "PTY_TUI_BINARY",
     .help = "The program each session runs: a path, or a name to look for beside the host and in PATH. "
             "Unset: odto-dashboard."},
    {.name = "arguments", .type = ODTO_OPT_ARGV, .help = "Its arguments; no shell reads them."},
    {.name = "directory",
     .type = ODTO_OPT_PATH,
     .help = "The folder it starts in. Unset: the home folder, else /."},
    {.name = "environment",
     .type = ODTO_OPT_LIST,
     .help = "NAME=value pairs added to its environment, which has nothing of the host's but PATH, HOME, "
             "USER, SHELL and TZ."},
    {.name = "gateway_url",
     .type = ODTO_OPT_URL,
     .default_value = "http://127.0.0.1:3000",
     .env = "GATEWAY_URL",
     .help = "Given to the program as GATEWAY_URL."},
    {.name = "read_model_url",
     .type = ODTO_OPT_URL,
     .default_value = "http://127.0.0.1:8080",
     .env = "READ_MODEL_URL",
     .help = "Given to the program as READ_MODEL_URL."},
    {.name = "prometheus_url",
     .type = ODTO_OPT_URL,
     .env = "PROMETHEUS_URL",
     .help = "Given to the program as PROMETHEUS_URL."},
    {.name = "auth_token",
     .type = ODTO_OPT_STRING,
     .flags = ODTO_OPTION_SECRET,
     .env = "PTY_AUTH_TOKEN",
     .help =
         "What a client must bring, as Bearer token, ?auth= or in exchange for a ticket. Unset: nothing."},
    {.name = "read_only",
     .type = ODTO_OPT_BOOL,
     .default_value = "no",
     .env = "PTY_READ_ONLY",
     .help = "Sessions can only be looked at: input is filtered, the dashboard starts with --read-only."},
    {.name = "idle_timeout",
     .type = ODTO_OPT_DURATION,
     .default_value = "1800",
     .min = 0,
     .max = 30 * DAY,
     .env = "PTY_IDLE_TIMEOUT_SECS",
     .help = "A session that nobody comes back to for so long is ended."},
    {.name = "disconnect_grace",
     .type = ODTO_OPT_DURATION,
     .default_value = "30",
     .min = 0,
     .max = DAY,
     .env = "PTY_DISCONNECT_GRACE_SECS",
     .help = "How long a session that was left keeps its place; afterwards it may be ended for a new one."},
    {.name = "token_ttl",
     .type = ODTO_OPT_DURATION,
     .default_value = "300",
     .min = 0,
     .max = 30 * DAY,
     .env = "PTY_TOKEN_TTL_SECS",
     .help = "How long after a session was left its reconnect token is good."},
    {.name = "kill_grace",
     .type = ODTO_OPT_DURATION,
     .default_value = "3",
     .min = 0,
     .max = 60 * ODTO_SEC,
     .help = "Between the hang-up and the kill of a session's processes."},
    {.name = "per_ip_cap",
     .type = ODTO_OPT_INT,
     .default_value = "5",
     .min = 1,
     .max = 1000,
     .env = "PTY_PER_IP_CAP",
     .help = "Live sessions of one client address."},
    {.name = "global_cap",
     .type = ODTO_OPT_INT,
     .default_value = "50",
     .min = 1,
     .max = 1000,
     .env = "PTY_GLOBAL_CAP",
     .help = "Live sessions."},
    {.name = "output_queue",
     .type = ODTO_OPT_SIZE,
     .default_value = "1048576",
     .min = 4096,
     .max = 64 << 20,
     .env = "PTY_MAX_OUTPUT_QUEUE_BYTES",
     .help = "How far a client may be behind before the program has to wait (at most 256 KiB are used)."},
    {.name = "typing_share",
     .type = ODTO_OPT_SIZE,
     .default_value = "512k",
     .max = 1 << 30,
     .help = "While somebody types into a session, at most so much output a second is taken from each other "
             "one, so that a flood does not delay the keys; 0: as much as there is."},
    {.name = "ring_bytes",
     .type = ODTO_OPT_SIZE,
     .default_value = "1048576",
     .min = 1024,
     .max = 64 << 20,
     .env = "PTY_RING_MAX_BYTES",
     .help =
         "Output kept of each session for replay; a client that is farther behind gets the screen as it is."},
    {.name = "ring_frames",
     .type = ODTO_OPT_INT,
     .default_value = "1000",
     .min = 16,
     .max = 1000000,
     .env = "PTY_RING_MAX_FRAMES",
     .help = "Frames whose numbers are remembered for replay."},
    {.name = "allowed_origins",
     .type = ODTO_OPT_LIST,
     .default_value = "http://localhost:8081, http://127.0.0.1:8081",
     .help = "Pages that may connect, besides those of the host asked for itself."},
    {.name = "allowed_hosts",
     .type = ODTO_OPT_LIST,
     .help = "Names this service is reached by, besides localhost and addresses."},
    {.name = "no_origin",
     .type = ODTO_OPT_ENUM,
     .default_value = "loopback",
     .choices = "bearer|loopback",
     .help = "Clients that send no Origin, which every browser does: with the token only, or also from this "
             "machine."},
    {.name = "trusted_proxies",
     .type = ODTO_OPT_LIST,
     .default_value = "127.0.0.0/8, ::1",
     .help = "Addresses whose X-Forwarded-For and X-Forwarded-Host are believed."},
    {.name = "test_mode",
     .type = ODTO_OPT_STRING,
     .default_value = "none",
     .env = "PTY_TEST_MODE",
     .help = "For tests of clients: none, fail, delay:MS."},
    {.name = "test_modes",
     .type = ODTO_OPT_BOOL,
     .default_value = "no",
     .help = "Whether ?test_mode=fail of a client is heeded."},
};
_Static_assert(sizeof pty_options / sizeof *pty_options == PTY_N_OPTIONS, "the descriptor counts them");

/* ---- the program ---------------------------------------------------------------------------------- */

static bool executable(const char *path)
{
    struct stat st;
    return !stat(path, &st) && S_ISREG(st.st_mode) && !access(path, X_OK);
}

/* A name in one of the folders of a colon-separated list. */
static char *find_in(const char *folders, const char *name)
{
    for (const char *p = folders; p && *p;) {
        size_t n = strcspn(p, ":");
        char path[PATH_MAX];
        if (n && (size_t)snprintf(path, sizeof path, "%.*s/%s", (int)n, p, name) < sizeof path &&
            executable(path))
            return strdup(path);
        p += n + (p[n] == ':');
    }
    return NULL;
}

static char *program_find(const char *name)
{
    char self[PATH_MAX];
    if (strchr(name, '/'))
        return executable(name) ? strdup(name) : NULL;
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    char *slash = n > 0 ? (self[n] = 0, strrchr(self, '/')) : NULL;
    if (slash) {
        *slash = 0;
        char *found = find_in(self, name);
        if (found)
            return found;
    }
    return find_in(getenv("PATH"), name);
}

static int command_line(pty_settings *set, const odto_config *c, odto_error *err)
{
    const char *name = odto_config_str(c, "program");
    const odto_value *arguments = odto_config_get(c, "arguments");
    name = name && *name ? name : "odto-dashboard";
    set->program = program_find(name);
    if (!set->program) {
        odto_fail(err, -ENOENT, "the program of terminal sessions is not there or can't be executed");
        odto_error_detail(err, "%s", name);
        odto_error_hint(
            err, "set program (or PTY_TUI_BINARY); odto-dashboard is built where ncursesw is installed");
        return -ENOENT;
    }
    const char *base = strrchr(set->program, '/') + 1;
    set->argv = calloc(arguments->n + 3, sizeof *set->argv);
    if (!set->argv)
        return odto_fail(err, -ENOMEM, "no memory for a command line");
    size_t n = 0;
    bool ok = (set->argv[n++] = strdup(set->program)) != NULL;
    for (size_t i = 0; i < arguments->n && ok; i++)
        ok = (set->argv[n++] = strdup(arguments->list[i])) != NULL;
    if (ok && set->read_only && !strcmp(base, "odto-dashboard"))
        ok = (set->argv[n++] = strdup("--read-only")) != NULL;
    return ok ? 0 : odto_fail(err, -ENOMEM, "no memory for a command line");
}

/* ---- its environment -------------------------------------------------------------------------------- */

static bool env_add(pty_settings *set, size_t *n, const char *name, const char *value)
{
    char *text = NULL;
    if (!value || !*value)
        return true;
    if (*n + 1 >= MAX_ENV || asprintf(&text, "%s=%s", name, value) < 0)
        return false;
    set->envp[(*n)++] = text;
    return true;
}

static const char *home_folder(void)
{
    const char *home = getenv("HOME");
    if (!home || home[0] != '/') {
        const struct passwd *pw = getpwuid(getuid()); /* asks services of other machines at times */
        home = pw ? pw->pw_dir : NULL;
    }
    return home && !access(home, X_OK) ? home : "/";
}

static int environment(pty_settings *set, const odto_config *c, odto_error *err)
{
    static const char *const kept[] = {"PATH", "USER", "SHELL", "TZ"};
    static const char *const options[] = {"gateway_url",    "GATEWAY_URL",    "read_model_url",
                                          "READ_MODEL_URL", "prometheus_url", "PROMETHEUS_URL"};
    size_t n = 0;
    set->envp = calloc(MAX_ENV + 1, sizeof *set->envp);
    bool ok = set->envp && env_add(set, &n, "TERM", "xterm-256color") &&
              env_add(set, &n, "COLORTERM", "truecolor") && env_add(set, &n, "LANG", "C.UTF-8") &&
              env_add(set, &n, "LC_ALL", "C.UTF-8") && env_add(set, &n, "HOME", home_folder()) &&
              env_add(set, &n, "ODD_DASHBOARD_SERVER_MODE", "1");
    if (ok && set->read_only)
        ok = env_add(set, &n, "ODD_DASHBOARD_READ_ONLY", "1");
    for (size_t i = 0; ok && i < sizeof kept / sizeof *kept; i++)
        ok = env_add(set, &n, kept[i], getenv(kept[i]));
    for (size_t i = 0; ok && i < sizeof options / sizeof *options; i += 2)
        ok = env_add(set, &n, options[i + 1], odto_config_str(c, options[i]));
    const odto_value *more = odto_config_get(c, "environment");
    for (size_t i = 0; ok && i < more->n; i++) {
        const char *eq = strchr(more->list[i], '=');
        if (!eq || eq == more->list[i]) {
            odto_fail(err, -EINVAL, "environment takes NAME=value");
            odto_error_where(err, c->file, more->line, more->column);
            return -EINVAL;
        }
        char *copy = n < MAX_ENV ? strdup(more->list[i]) : NULL;
        ok = copy != NULL;
        if (ok)
            set->envp[n++] = copy;
    }
    return ok ? 0
              : odto_fail(err, -ENOMEM, "no memory for an environment, or more than %d variables", MAX_ENV);
}

/* ---- lists and modes ---------------------------------------------------------------------------------- */

static int proxies(pty_settings *set, const odto_config *c, odto_error *err)
{
    const odto_value *v = odto_config_get(c, "trusted_proxies");
    for (size_t i = 0; i < v->n; i++) {
        if (set->n_proxies == MAX_PROXIES || netmask_parse(v->list[i], &set->proxies[set->n_proxies])) {
            odto_fail(err, -EINVAL, "trusted_proxies takes up to %d addresses", MAX_PROXIES);
            odto_error_detail(err, "%s", v->list[i]);
            odto_error_hint(err, "write 10.0.0.0/8, 192.168.1.7 or ::1");
            odto_error_where(err, c->file, v->line, v->column);
            return -EINVAL;
        }
        set->n_proxies++;
    }
    return 0;
}

static int test_mode(pty_settings *set, const odto_config *c, odto_error *err)
{
    const char *mode = odto_config_str(c, "test_mode");
    char *end = NULL;
    if (!mode || !*mode || !strcmp(mode, "none"))
        return 0;
    if (!strcmp(mode, "fail")) {
        set->fail = true;
        return 0;
    }
    long ms = strncmp(mode, "delay:", 6) ? -1 : strtol(mode + 6, &end, 10);
    if (ms < 0 || ms > 600000 || end == mode + 6 || *end) {
        odto_fail(err, -EINVAL, "test_mode \"%s\" is none of none, fail, delay:MS", mode);
        odto_error_where(err, c->file, c->line, 0);
        return -EINVAL;
    }
    set->delay = ms * ODTO_MS;
    return 0;
}

/* The address of a listener, with another port where one is given. */
static void address(const odto_config *c, const char *listen, const char *port, char *out, size_t size)
{
    const char *text = odto_config_str(c, listen), *colon = strrchr(text, ':');
    int64_t n = odto_config_int(c, port);
    if (n && colon)
        snprintf(out, size, "%.*s:%d", (int)(colon - text), text, (int)n);
    else
        snprintf(out, size, "%s", text);
}

int settings_load(pty_settings *set, const odto_config *c, odto_error *err)
{
    const odto_value *origins = odto_config_get(c, "allowed_origins"),
                     *hosts = odto_config_get(c, "allowed_hosts");
    *set = (pty_settings){.idle = odto_config_int(c, "idle_timeout"),
                          .grace = odto_config_int(c, "disconnect_grace"),
                          .token_ttl = odto_config_int(c, "token_ttl"),
                          .kill_grace = odto_config_int(c, "kill_grace"),
                          .per_ip = (int)odto_config_int(c, "per_ip_cap"),
                          .global = (int)odto_config_int(c, "global_cap"),
                          .ring_max = (size_t)odto_config_int(c, "ring_bytes"),
                          .ring_frames = (size_t)odto_config_int(c, "ring_frames"),
                          .read_only = odto_config_bool(c, "read_only"),
                          .test_modes = odto_config_bool(c, "test_modes"),
                          .bare_origin = odto_config_int(c, "no_origin") == 1,
                          .origins = origins->list,
                          .n_origins = origins->n,
                          .hosts = hosts->list,
                          .n_hosts = hosts->n};
    size_t queue = (size_t)odto_config_int(c, "output_queue");
    set->lag_high = queue < LAG_HIGH ? queue : LAG_HIGH;
    set->share = (size_t)(odto_config_int(c, "typing_share") * SHARE_NS / ODTO_SEC);
    const char *token = odto_config_str(c, "auth_token"), *dir = odto_config_str(c, "directory");
    if (token && *token)
        secret_of(&set->auth, odto_slice_str(token));
    set->dir = dir && *dir ? dir : home_folder();
    address(c, "listen", "port", set->listen, sizeof set->listen);
    address(c, "listen_http", "http_port", set->listen_http, sizeof set->listen_http);
    int r = proxies(set, c, err);
    if (!r)
        r = test_mode(set, c, err);
    if (!r)
        r = command_line(set, c, err);
    if (!r)
        r = environment(set, c, err);
    if (r)
        settings_free(set);
    return r;
}

static void strings_free(char **list)
{
    for (size_t i = 0; list && list[i]; i++)
        free(list[i]);
    free(list);
}

void settings_free(pty_settings *set)
{
    free(set->program);
    strings_free(set->argv);
    strings_free(set->envp);
    set->program = NULL;
    set->argv = set->envp = NULL;
}
