/* manifest.c — sections, snapshots and their comparison; see manifest.h.
 *
 * A snapshot is one arena. While it is built it belongs to one thread; manifest_finish ends that, and only
 * the reference count changes afterwards. */
#include "manifest_internal.h"

#include <odto/control.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_MAX_LENGTH  63
#define TOPIC_MAX_LENGTH 127

/* ---- references and accessors ---- */

manifest *manifest_ref(manifest *m)
{
    __atomic_fetch_add(&m->refs, 1, __ATOMIC_SEQ_CST);
    return m;
}

void manifest_unref(manifest *m)
{
    if (!m || __atomic_sub_fetch(&m->refs, 1, __ATOMIC_SEQ_CST) > 0)
        return;
    m->magic = 0;
    arena a = m->a;
    free(m->sections);
    free(m);
    arena_free(&a);
}

const char *manifest_path(const manifest *m)
{
    return m->path;
}

const char *manifest_folder(const manifest *m)
{
    return m->folder;
}

const char *manifest_data_dir(const manifest *m)
{
    return m->data_dir;
}

const char *manifest_host_name(const manifest *m)
{
    return m->host_name;
}

const odto_config *manifest_host(const manifest *m)
{
    return m->globals[MANIFEST_HOST]->host;
}

const odto_config *manifest_log(const manifest *m)
{
    return m->globals[MANIFEST_LOG]->host;
}

const odto_config *manifest_http(const manifest *m)
{
    return m->globals[MANIFEST_HTTP]->host;
}

const manifest_section *manifest_section_at(const manifest *m, size_t i)
{
    return i < m->n_sections ? m->sections[i] : NULL;
}

const manifest_section *manifest_find(const manifest *m, manifest_kind kind, const char *name)
{
    for (size_t i = 0; i < m->n_sections; i++) {
        if (m->sections[i]->kind == kind && strcmp(m->sections[i]->name, name) == 0)
            return m->sections[i];
    }
    return NULL;
}

const manifest_section *manifest_instance(const manifest *m, const char *name)
{
    for (size_t i = 0; i < m->n_sections; i++) {
        if (option_table_of(m->sections[i]->kind)->instance && strcmp(m->sections[i]->name, name) == 0)
            return m->sections[i];
    }
    return NULL;
}

manifest_entry *manifest_entry_of(const manifest_section *s, const char *key)
{
    for (manifest_entry *e = s->data->block ? s->data->block->entries : NULL; e; e = e->next) {
        if (strcmp(e->key, key) == 0)
            return e;
    }
    return NULL;
}

const char *manifest_title(const manifest_section *s, char *buf, size_t size)
{
    snprintf(buf, size, "%s%s%s", option_table_of(s->kind)->section, *s->name ? " " : "", s->name);
    return buf;
}

void manifest_report(const manifest *m, const manifest_section *s, const char *key, const odto_error *err,
                     manifest_errors *errs)
{
    const manifest_entry *e = key ? manifest_entry_of(s, key) : NULL;
    manifest_errors_add(errs, m->path, e ? e->line : s->line, e ? e->value_column : s->column, false, err);
}

/* ---- sections ---- */

static manifest_section *add_section(manifest *m, manifest_kind kind, const char *name, manifest_block *b)
{
    manifest_section *s = arena_alloc(&m->a, sizeof(*s));
    manifest_section_data *d = arena_alloc(&m->a, sizeof(*d));
    manifest_section **grown = realloc(m->sections, (m->n_sections + 1) * sizeof(*grown));
    if (grown)
        m->sections = grown;
    if (!s || !d || !grown) {
        m->no_memory = true;
        return NULL;
    }
    d->m = m;
    d->block = b;
    *s = (manifest_section){
        .kind = kind, .name = name, .line = b ? b->line : 0, .column = b ? b->column : 0, .data = d};
    s->enabled = true;
    m->sections[m->n_sections++] = s;
    if (kind <= MANIFEST_HTTP && !m->globals[kind])
        m->globals[kind] = s;
    return s;
}

static void section_error(manifest *m, const manifest_block *b, manifest_errors *errs, const char *hint,
                          const char *fmt, ...) ODTO_PRINTF(5, 6);
static void section_error(manifest *m, const manifest_block *b, manifest_errors *errs, const char *hint,
                          const char *fmt, ...)
{
    odto_error e = {0};
    char text[sizeof(e.message)];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    odto_fail(&e, -EINVAL, "%s", text);
    if (hint)
        odto_error_hint(&e, "%s", hint);
    manifest_errors_add(errs, m->path, b->line, b->column, false, &e);
}

static int kind_of(const char *word, size_t n)
{
    for (int k = 0; k < MANIFEST_KINDS; k++) {
        const char *name = option_table_of((manifest_kind)k)->section;
        if (strlen(name) == n && memcmp(name, word, n) == 0)
            return k;
    }
    return -1;
}

static void unknown_kind(manifest *m, const manifest_block *b, manifest_errors *errs, const char *word)
{
    const char *names[MANIFEST_KINDS];
    char hint[200] = "sections are host, log, http, plugin, store, bridge, handler, route, listener";
    for (int k = 0; k < MANIFEST_KINDS; k++)
        names[k] = option_table_of((manifest_kind)k)->section;
    const char *nearest = odto_nearest(word, names, MANIFEST_KINDS);
    if (nearest)
        snprintf(hint, sizeof(hint), "did you mean [%s%s]?", nearest,
                 option_table_of((manifest_kind)kind_of(nearest, strlen(nearest)))->named ? " …" : "");
    section_error(m, b, errs, hint, "unknown section [%.80s]", b->title);
}

static bool name_ok(const char *name, manifest_kind kind)
{
    const char *allowed = kind == MANIFEST_LISTENER
                              ? "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-:[]*%"
                              : "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
    size_t max = option_table_of(kind)->instance ? NAME_MAX_LENGTH : TOPIC_MAX_LENGTH, n = strlen(name);
    return n > 0 && n <= max && strspn(name, allowed) == n && *name != '.' && *name != '-';
}

static const manifest_section *taken_by(const manifest *m, manifest_kind kind, const char *name)
{
    return option_table_of(kind)->instance ? manifest_instance(m, name) : manifest_find(m, kind, name);
}

static void read_block(manifest *m, manifest_block *b, manifest_errors *errs)
{
    char word[128], title[200];
    size_t n = strcspn(b->title, " ");
    snprintf(word, sizeof(word), "%.*s", (int)n, b->title);
    const char *name = b->title[n] ? b->title + n + 1 : "";
    int k = kind_of(b->title, n);
    if (k < 0) {
        unknown_kind(m, b, errs, word);
        return;
    }
    manifest_kind kind = (manifest_kind)k;
    bool named = option_table_of(kind)->named != NULL;
    if (!named && *name) {
        section_error(m, b, errs, NULL, "[%s] takes no name", word);
    } else if (named && !name_ok(name, kind)) {
        section_error(m, b, errs, "letters, digits and . _ - make a name",
                      *name ? "\"%s\" is no name for a [%s]" : "%s[%s] needs a name", name, word);
    } else {
        const manifest_section *other = taken_by(m, kind, name);
        if (other)
            section_error(m, b, errs,
                          kind == other->kind ? "put all its keys into one section" : "rename one",
                          "the name is taken by [%s] on line %d", manifest_title(other, title, sizeof(title)),
                          other->line);
        add_section(m, kind, name, b); /* its keys are checked all the same */
    }
}

/* ---- building ---- */

static char *absolute_folder(arena *a, const char *path)
{
    char cwd[4096];
    const char *slash = strcmp(path, "-") == 0 ? NULL : strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) : 0;
    if (*path == '/')
        return n ? arena_strndup(a, path, n) : arena_strdup(a, "/");
    if (!getcwd(cwd, sizeof(cwd)))
        strcpy(cwd, "/");
    size_t size = strlen(cwd) + n + 2;
    char *out = arena_alloc(a, size);
    if (out)
        snprintf(out, size, "%s%s%.*s", cwd, n ? "/" : "", (int)n, path);
    return out;
}

static char *default_data_dir(arena *a)
{
    char path[4096];
    return arena_strdup(a, odto_default_data_dir(path, sizeof(path)));
}

static const char *default_host_name(arena *a)
{
    char name[256] = "";
    if (gethostname(name, sizeof(name) - 1) < 0 || !*name)
        strcpy(name, "localhost");
    return arena_strdup(a, name);
}

/* [host] data_dir and name come first: other values refer to them. Errors of these two are reported when the
 * whole section is read. */
static void read_identity(manifest *m)
{
    size_t n;
    const odto_option *table = options_of(MANIFEST_HOST, &m->a, &n);
    manifest_errors ignored = {0};
    for (size_t i = 0; i < n; i++) {
        bool data = strcmp(table[i].name, "data_dir") == 0, name = strcmp(table[i].name, "name") == 0;
        const odto_config *c =
            data || name ? manifest_read_config(m, m->globals[MANIFEST_HOST], &table[i], 1, &ignored) : NULL;
        if (c && data)
            m->data_dir = c->values[0].s;
        if (c && name)
            m->host_name = c->values[0].s;
    }
    manifest_errors_free(&ignored);
    if (!m->data_dir)
        m->data_dir = default_data_dir(&m->a);
    if (!m->host_name || !*m->host_name)
        m->host_name = default_host_name(&m->a);
    if (!m->data_dir || !m->host_name)
        m->no_memory = true;
}

/* Whether an instance runs is asked before its keys are read: what is switched off may be incomplete. */
static bool is_enabled(manifest *m, manifest_section *s)
{
    size_t n;
    const odto_option *table = options_instance(&n);
    manifest_errors ignored = {0};
    bool on = true;
    for (size_t i = 0; i < n; i++) {
        if (strcmp(table[i].name, "enabled") != 0)
            continue;
        const odto_config *c = manifest_read_config(m, s, &table[i], 1, &ignored);
        on = !c || c->values[0].i != 0;
    }
    manifest_errors_free(&ignored);
    return on;
}

static void read_host_keys(manifest *m, manifest_section *s, manifest_errors *errs)
{
    size_t n;
    const odto_option *table = options_of(s->kind, &m->a, &n);
    s->host = table ? manifest_read_config(m, s, table, n, errs) : NULL;
    if (!s->host) {
        m->no_memory = true;
        return;
    }
    if (option_table_of(s->kind)->instance) {
        const char *module = odto_config_str(s->host, "module");
        s->module = module && *module ? module : s->name;
    }
}

static void unknown_keys(const manifest *m, const manifest_section *s, const odto_option *table, size_t n,
                         manifest_errors *errs);

static void read_sections(manifest *m, manifest_errors *errs)
{
    for (manifest_block *b = m->blocks; b && !m->no_memory; b = b->next)
        read_block(m, b, errs);
    for (int k = 0; k <= MANIFEST_HTTP && !m->no_memory; k++) {
        if (!m->globals[k])
            add_section(m, (manifest_kind)k, "", NULL);
    }
    if (!m->no_memory)
        read_identity(m);
    for (size_t i = 0; i < m->n_sections; i++) {
        if (option_table_of(m->sections[i]->kind)->instance)
            m->sections[i]->enabled = is_enabled(m, m->sections[i]);
    }
    for (size_t i = 0; i < m->n_sections && !m->no_memory; i++) {
        read_host_keys(m, m->sections[i], errs);
        if (!m->no_memory && !option_table_of(m->sections[i]->kind)->instance)
            unknown_keys(m, m->sections[i], NULL, 0, errs);
    }
    if (!m->no_memory)
        manifest_check_references(m, errs);
}

static int out_of_memory(const char *path, manifest_errors *errs)
{
    odto_error e = {0};
    odto_fail(&e, -ENOMEM, "no memory for the manifest");
    manifest_errors_add(errs, path, 0, 0, false, &e);
    return -ENOMEM;
}

int manifest_parse(odto_slice text, const char *path, manifest **out, manifest_errors *errs)
{
    manifest *m = calloc(1, sizeof(*m));
    if (!m)
        return out_of_memory(path, errs);
    m->magic = MANIFEST_MAGIC;
    m->refs = 1;
    m->path = arena_strdup(&m->a, path);
    m->folder = absolute_folder(&m->a, path);
    m->no_memory = !m->path || !m->folder;
    if (!m->no_memory && manifest_file_read(text, m->path, &m->a, &m->blocks, errs) < 0)
        m->no_memory = true;
    if (!m->no_memory)
        read_sections(m, errs);
    if (m->no_memory) {
        manifest_unref(m);
        return out_of_memory(path, errs);
    }
    *out = m;
    return errs->n_errors ? -EINVAL : 0;
}

static int read_file(const char *path, odto_buf *out)
{
    char part[8192];
    bool standard = strcmp(path, "-") == 0;
    int fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    int code = fd < 0 ? -errno : 0;
    while (code == 0) {
        ssize_t n = read(fd, part, sizeof(part));
        if (n == 0)
            break;
        if (n < 0)
            code = errno == EINTR ? 0 : -errno;
        else if (out->n + (size_t)n > MANIFEST_MAX_BYTES)
            code = -EFBIG;
        else if (!odto_buf_put(out, part, (size_t)n))
            code = -ENOMEM;
    }
    if (fd >= 0 && !standard)
        close(fd);
    return code;
}

int manifest_load(const char *path, manifest **out, manifest_errors *errs)
{
    odto_buf text = {0};
    int code = read_file(path, &text);
    if (code == 0) {
        code = manifest_parse(odto_slice_of(text.p, text.n), path, out, errs);
    } else {
        odto_error e = {0};
        odto_fail(&e, code, "the manifest can't be read: %s",
                  code == -EFBIG ? "it is larger than 1 MiB" : strerror(-code));
        odto_error_hint(&e, "name another one with -c FILE");
        manifest_errors_add(errs, path, 0, 0, false, &e);
    }
    odto_buf_free(&text);
    return code;
}

void manifest_set_store_check(manifest *m, manifest_store_check *fn, void *arg)
{
    m->store_check = fn;
    m->store_arg = arg;
}

int manifest_config(manifest *m, const manifest_section *s, const odto_option *table, size_t n,
                    const odto_config **out, manifest_errors *errs)
{
    size_t before = errs->n_errors;
    manifest_section *own = NULL;
    for (size_t i = 0; i < m->n_sections; i++) {
        if (m->sections[i] == s)
            own = m->sections[i];
    }
    const char *clash = own ? options_clash(s->host->options, s->host->n, table, n) : NULL;
    if (!own)
        return -EINVAL;
    if (clash) {
        odto_error e = {0};
        odto_fail(&e, -EEXIST, "%s declares the option %s, which is the host's", s->module, clash);
        odto_error_hint(&e, "the plugin must name it otherwise");
        manifest_report(m, s, NULL, &e, errs);
    }
    own->config = manifest_read_config(m, own, table, n, errs);
    if (!own->config)
        return out_of_memory(m->path, errs);
    if (out)
        *out = own->config;
    return errs->n_errors > before ? -EINVAL : 0;
}

/* ---- unknown keys ---- */

static void unknown_key(const manifest *m, const manifest_section *s, const manifest_entry *entry,
                        const char *const *names, size_t n, manifest_errors *errs)
{
    odto_error e = {0};
    char title[200];
    odto_fail(&e, -EINVAL, "unknown key %.100s in [%s]", entry->key, manifest_title(s, title, sizeof(title)));
    const char *nearest = odto_nearest(entry->key, names, n);
    if (nearest)
        odto_error_hint(&e, "did you mean \"%s\"?", nearest);
    else
        odto_error_hint(&e, "docs/manifest.md lists the keys of each section");
    manifest_errors_add(errs, m->path, entry->line, entry->column, false, &e);
}

static void unknown_keys(const manifest *m, const manifest_section *s, const odto_option *table, size_t n,
                         manifest_errors *errs)
{
    const char **names = calloc(s->host->n + n + 1, sizeof(*names));
    size_t k = 0;
    for (size_t i = 0; names && i < s->host->n; i++)
        names[k++] = s->host->options[i].name;
    for (size_t i = 0; names && i < n; i++)
        names[k++] = table[i].name;
    for (const manifest_entry *e = s->data->block ? s->data->block->entries : NULL; e; e = e->next) {
        if (!e->known)
            unknown_key(m, s, e, names, k, errs);
    }
    free(names);
}

int manifest_finish(manifest *m, manifest_errors *errs)
{
    for (size_t i = 0; i < m->n_sections; i++) {
        const manifest_section *s = m->sections[i];
        if (s->config)
            unknown_keys(m, s, s->config->options, s->config->n, errs);
    }
    return errs->n_errors ? -EINVAL : 0;
}

/* ---- comparison ---- */

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static const odto_value *value_named(const odto_config *c, const char *name)
{
    for (size_t i = 0; i < c->n; i++) {
        if (strcmp(c->options[i].name, name) == 0)
            return &c->values[i];
    }
    return NULL;
}

static manifest_change compare_configs(const odto_config *a, const odto_config *b)
{
    manifest_change change = MANIFEST_SAME;
    if (!a || !b)
        return a == b ? MANIFEST_SAME : MANIFEST_RELOAD;
    if (a->n != b->n)
        return MANIFEST_RELOAD;
    for (size_t i = 0; i < a->n; i++) {
        const odto_value *v = value_named(b, a->options[i].name);
        if (v && same_text(a->values[i].s, v->s))
            continue;
        if (!v || !(a->options[i].flags & ODTO_OPTION_LIVE))
            return MANIFEST_RELOAD;
        change = MANIFEST_LIVE;
    }
    return change;
}

manifest_change manifest_compare(const manifest_section *a, const manifest_section *b)
{
    if (a->kind != b->kind || a->enabled != b->enabled || !same_text(a->name, b->name) ||
        !same_text(a->data->m->data_dir, b->data->m->data_dir))
        return MANIFEST_RELOAD;
    manifest_change host = compare_configs(a->host, b->host), own = compare_configs(a->config, b->config);
    return host > own ? host : own;
}

static uint64_t hash_text(uint64_t h, const char *s)
{
    uint64_t parts[2] = {h, s ? odto_hash64(s, strlen(s)) : 1};
    return odto_hash64(parts, sizeof(parts));
}

static uint64_t hash_config(uint64_t h, const odto_config *c)
{
    for (size_t i = 0; c && i < c->n; i++)
        h = hash_text(hash_text(h, c->options[i].name), c->values[i].s);
    return h;
}

uint64_t manifest_section_hash(const manifest_section *s)
{
    uint64_t h = hash_text((uint64_t)s->kind, s->name);
    h = hash_text(h, s->data->m->data_dir);
    return hash_config(hash_config(h, s->host), s->config);
}
