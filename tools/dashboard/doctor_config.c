/* doctor_config — see doctor_config.h. The rules are docs/manifest.md's: a variable that is set wins over the
 * file, the file over the default; an empty value takes the default back. */
#include "doctor_config.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MODULE, ENABLED, LISTEN, LISTEN_HTTP, PORT, HTTP_PORT, URL, URLS, N_KEYS };

static const char *const keys[N_KEYS] = {"module", "enabled",   "listen", "listen_http",
                                         "port",   "http_port", "url",    "urls"};

typedef struct section {
    char kind[16], name[64];
    char values[N_KEYS][1024];
} section;

typedef struct known_listener {
    const char *module, *path, *fallback; /* fallback: where it listens by itself */
    int key, port;                        /* the option, and the one that replaces its port or -1 */
    const char *port_env;
} known_listener;

static const known_listener listeners[] = {
    {"gateway", "/livez", "127.0.0.1:3000", LISTEN, -1, NULL},
    {"read-model", "/livez", "127.0.0.1:8080", LISTEN, -1, NULL},
    {"web", "/health", "127.0.0.1:8081", LISTEN, -1, NULL},
    {"processor", "/healthz", "127.0.0.1:8000", LISTEN, -1, NULL},
    {"metrics", "/healthz", "", LISTEN, -1, NULL},
    {"pty", NULL, "127.0.0.1:9000", LISTEN, PORT, "PTY_WS_PORT"},
    {"pty", "/healthz", "127.0.0.1:9001", LISTEN_HTTP, HTTP_PORT, "PTY_METRICS_PORT"}};

static const struct {
    const char *kind, *module, *env, *fallback;
    int key;
} servers[] = {{"bridge", "rabbitmq", "RABBITMQ_URL", "amqp://127.0.0.1:5672/", URLS},
               {"store", "postgres", "POSTGRES_URL", "", URL},
               {"store", "redis", "REDIS_URL", "127.0.0.1:6379", URL},
               {"store", "mongo", "MONGO_URL", "mongodb://127.0.0.1:27017", URL}};

static const char *set_env(const char *name)
{
    const char *v = name ? getenv(name) : NULL;
    return v && v[0] ? v : NULL;
}

/* Copies value with ${NAME}, ${NAME:-default} and $$ replaced; false where it would not fit. */
static bool expand(const char *value, char *out, size_t size)
{
    size_t n = 0;
    while (*value) {
        const char *put = value, *close = value[0] == '$' && value[1] == '{' ? strchr(value, '}') : NULL;
        size_t length = 1;
        char name[128];
        value += value[0] == '$' && value[1] == '$' ? 2 : 1;
        if (close) {
            snprintf(name, sizeof name, "%.*s", (int)strcspn(put + 2, ":}"), put + 2);
            const char *env = set_env(name), *other = put + 2 + strlen(name);
            bool fallback = !strncmp(other, ":-", 2);
            put = env ? env : fallback ? other + 2 : "";
            length = env ? strlen(env) : fallback ? (size_t)(close - put) : 0;
            value = close + 1;
        }
        if (n + length >= size) {
            return false;
        }
        memcpy(out + n, put, length);
        n += length;
    }
    out[n] = '\0';
    return true;
}

static void add_listener(doctor_config *c, const section *s, const known_listener *k)
{
    const char *text = s->values[k->key][0] ? s->values[k->key] : k->fallback;
    const char *colon = strrchr(text, ':'), *other = set_env(k->port_env);
    if (!colon || c->n_listeners == sizeof c->listeners / sizeof c->listeners[0]) {
        return;
    }
    doctor_listener *l = &c->listeners[c->n_listeners++];
    bool brackets = text[0] == '[' && colon > text + 1 && colon[-1] == ']';
    snprintf(l->name, sizeof l->name, "%s", s->name);
    snprintf(l->host, sizeof l->host, "%.*s", (int)(colon - text) - (brackets ? 2 : 0), text + brackets);
    l->path = k->path;
    l->port = atoi(colon + 1);
    int replaced = atoi(other ? other : k->port >= 0 ? s->values[k->port] : "");
    l->port = replaced > 0 ? replaced : l->port;
}

/* A secret may stand in a file of its own: file:PATH, relative to the manifest's folder. */
static void from_file(const char *manifest, char *url, size_t size)
{
    char path[1600];
    const char *slash = strrchr(manifest, '/'), *name = url + strlen("file:");
    snprintf(path, sizeof path, "%.*s%s", slash && name[0] != '/' ? (int)(slash + 1 - manifest) : 0, manifest,
             name);
    FILE *f = fopen(path, "re");
    if (!f || !fgets(url, (int)size, f)) {
        url[0] = '\0';
    }
    url[strcspn(url, "\r\n")] = '\0';
    if (f) {
        fclose(f);
    }
}

static void add_server(doctor_config *c, const section *s, const char *manifest, size_t i)
{
    const char *env = set_env(servers[i].env), *mine = s->values[servers[i].key];
    if (c->n_servers == sizeof c->servers / sizeof c->servers[0]) {
        return;
    }
    doctor_server *v = &c->servers[c->n_servers];
    v->module = servers[i].module;
    v->env = servers[i].env;
    v->from_env = env != NULL;
    snprintf(v->title, sizeof v->title, "%s %s", s->kind, s->name);
    snprintf(v->url, sizeof v->url, "%s", env ? env : mine[0] ? mine : servers[i].fallback);
    if (!strncmp(v->url, "file:", 5)) {
        from_file(manifest, v->url, sizeof v->url);
    }
    c->n_servers += v->url[0] != '\0'; /* without one the manifest is refused, with its line */
}

static bool is_off(const char *v)
{
    return !strcmp(v, "no") || !strcmp(v, "off") || !strcmp(v, "false") || !strcmp(v, "0");
}

static void end_section(doctor_config *c, const section *s, const char *manifest)
{
    const char *module = s->values[MODULE][0] ? s->values[MODULE] : s->name;
    if (!s->kind[0] || is_off(s->values[ENABLED])) {
        return;
    }
    bool plugin = !strcmp(s->kind, "plugin"), known = false;
    for (size_t i = 0; plugin && i < sizeof listeners / sizeof listeners[0]; i++) {
        if (!strcmp(module, listeners[i].module)) {
            add_listener(c, s, &listeners[i]);
            known = true;
        }
    }
    if (plugin && !known) { /* somebody's own plugin: by convention its option has the same name */
        add_listener(c, s, &(known_listener){module, NULL, "", LISTEN, -1, NULL});
    }
    for (size_t i = 0; i < sizeof servers / sizeof servers[0]; i++) {
        if (!strcmp(s->kind, servers[i].kind) && !strcmp(module, servers[i].module)) {
            add_server(c, s, manifest, i);
        }
    }
}

static char *trimmed(char *s)
{
    s += strspn(s, " \t");
    size_t n = strlen(s);
    while (n && isspace((unsigned char)s[n - 1])) {
        s[--n] = '\0';
    }
    return s;
}

static void on_option(section *s, char *key, char *value)
{
    key = trimmed(key);
    value = trimmed(value);
    size_t n = strlen(value);
    if (n >= 2 && value[0] == '"' && value[n - 1] == '"') {
        value[n - 1] = '\0';
        value++;
    } else {
        for (char *p = value; (p = strchr(p, ';')); p++) { /* ` ;` begins a comment */
            if (p == value || isspace((unsigned char)p[-1])) {
                *p = '\0';
                value = trimmed(value);
                break;
            }
        }
    }
    for (size_t i = 0; i < N_KEYS; i++) {
        if (!strcmp(key, keys[i]) && !expand(value, s->values[i], sizeof s->values[i])) {
            s->values[i][0] = '\0';
        }
    }
}

void doctor_config_read(doctor_config *c, const char *manifest)
{
    char line[2048];
    section s = {0};
    FILE *f = manifest[0] ? fopen(manifest, "re") : NULL;
    *c = (doctor_config){.read = f != NULL};
    while (f && fgets(line, sizeof line, f)) {
        char *p = trimmed(line), *equals = strchr(p, '=');
        if (p[0] == '[') {
            end_section(c, &s, manifest);
            s = (section){0};
            sscanf(p, "[%15[^] \t] %63[^] \t]", s.kind, s.name);
        } else if (equals && p[0] != '#' && p[0] != ';') {
            *equals = '\0';
            on_option(&s, p, equals + 1);
        }
    }
    end_section(c, &s, manifest);
    if (f) {
        fclose(f);
    }
}
