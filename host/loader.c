/* loader.c — see loader.h. Why a private copy: glibc matches an open object by name and inode, so a changed
 * file under the same name gives the old code again, and `cp` over a mapped object mixes old and new pages
 * (both measured). */
#include "host/loader.h"
#include "host/foreign.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>
#include <limits.h>
#include <link.h>
#include <nettle/sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int loader_find(const char *module, const char *search, char *out, size_t size, odto_error *err)
{
    if (strchr(module, '/')) {
        snprintf(out, size, "%s", module);
        if (access(out, F_OK) == 0)
            return 0;
        odto_fail(err, -ENOENT, "no plugin file %s", module);
        odto_error_hint(err, "check the `module` path, or give the bare name of an installed plugin");
        return -ENOENT;
    }
    for (const char *p = search; *p;) {
        size_t n = strcspn(p, ":");
        snprintf(out, size, "%.*s/%s.so", (int)n, p, module);
        if (n && access(out, F_OK) == 0)
            return 0;
        p += n + (p[n] == ':');
    }
    odto_fail(err, -ENOENT, "no plugin '%s'", module);
    odto_error_detail(err, "looked for %s.so in %s", module, search);
    odto_error_hint(err, "check the name, or set plugin_dir in [host] (or ODTO_PLUGIN_DIR)");
    return -ENOENT;
}

static void hash_hex(struct sha256_ctx *sha, char out[LOADER_HASH_LEN + 1])
{
    uint8_t digest[SHA256_DIGEST_SIZE];
    sha256_digest(sha, sizeof digest, digest);
    for (size_t i = 0; i < sizeof digest; i++)
        snprintf(out + 2 * i, 3, "%02x", digest[i]);
}

/* Copy (to >= 0) and hash what is read from `from`. */
static int copy_hash(int from, int to, char hash[LOADER_HASH_LEN + 1])
{
    struct sha256_ctx sha;
    sha256_init(&sha);
    char *block = malloc(65536);
    if (!block)
        return -ENOMEM;
    int r = 0;
    ssize_t n;
    while ((n = read(from, block, 65536)) > 0) {
        sha256_update(&sha, (size_t)n, (const uint8_t *)block);
        if (to >= 0 && write(to, block, (size_t)n) != n) {
            r = errno ? -errno : -EIO;
            break;
        }
    }
    if (n < 0)
        r = -errno;
    free(block);
    hash_hex(&sha, hash);
    return r;
}

int loader_hash(const char *path, char out[LOADER_HASH_LEN + 1])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int r = copy_hash(fd, -1, out);
    close(fd);
    return r;
}

/* Who can write to a folder on the way can put another file there. A sticky one (/tmp) protects what is ours.
 */
static int check_folders(const char *path, odto_error *err)
{
    char dir[PATH_MAX];
    struct stat st;
    snprintf(dir, sizeof dir, "%s", path);
    for (char *slash; (slash = strrchr(dir, '/')) && dir[1];) {
        slash[slash == dir] = '\0';
        if (stat(dir, &st) < 0)
            return odto_fail(err, -errno, "can't stat %s: %s", dir, strerror(errno));
        const char *why = NULL;
        if (st.st_uid != 0 && st.st_uid != geteuid())
            why = "belongs to another user";
        else if ((st.st_mode & (S_IWGRP | S_IWOTH)) && !(st.st_mode & S_ISVTX))
            why = st.st_mode & S_IWOTH ? "is writable by everybody" : "is writable by its group";
        if (!why)
            continue;
        odto_fail(err, -EPERM, "refused to load %s", path);
        odto_error_detail(err, "its folder %s %s", dir, why);
        odto_error_hint(err, "only root and the host's user may be able to write to the folders of plugins");
        return -EPERM;
    }
    return 0;
}

static int check_owner(int fd, const char *path, odto_error *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return odto_fail(err, -errno, "can't stat %s: %s", path, strerror(errno));
    const char *why = NULL;
    if (!S_ISREG(st.st_mode))
        why = "is not a regular file";
    else if (st.st_size == 0)
        why = "is empty";
    else if (st.st_uid != 0 && st.st_uid != geteuid())
        why = "belongs to another user";
    else if (st.st_mode & S_IWOTH)
        why = "is writable by everybody";
    else if (st.st_mode & S_IWGRP)
        why = "is writable by its group";
    if (!why)
        return check_folders(path, err);
    odto_fail(err, -EPERM, "refused to load %s", path);
    odto_error_detail(err, "it %s", why);
    odto_error_hint(err, "install it owned by root or by the host's user, mode 0755");
    return -EPERM;
}

static int check_allowed(const struct image *image, const char *allow, odto_error *err)
{
    FILE *f = fopen(allow, "re");
    if (!f)
        return odto_fail(err, -errno, "can't read the plugin allow-list %s: %s", allow, strerror(errno));
    char line[512];
    bool found = false;
    while (!found && fgets(line, sizeof line, f))
        found = strncasecmp(line, image->hash, LOADER_HASH_LEN) == 0;
    fclose(f);
    if (found)
        return 0;
    odto_fail(err, -EPERM, "%s is not on the allow-list", image->source);
    odto_error_detail(err, "its SHA-256 is %s; the list is %s", image->hash, allow);
    odto_error_hint(err, "add the line, or install the copy that was allowed");
    return -EPERM;
}

/* RUN/NAME.GENERATION.so; a further number where an image that had to be kept is mapped from there: a section
 * that was removed and comes back begins with generation 1 again. */
static void name_copy(struct image *out, const char *run_dir, const char *name, unsigned generation)
{
    snprintf(out->path, sizeof out->path, "%s/%s.%u.so", run_dir, name, generation);
    void *mapped;
    for (unsigned again = 1; (mapped = dlopen(out->path, RTLD_NOW | RTLD_NOLOAD)); again++) {
        dlclose(mapped); /* the reference that asking took */
        snprintf(out->path, sizeof out->path, "%s/%s.%u.%u.so", run_dir, name, generation, again);
    }
}

int loader_stage(const char *source, const char *run_dir, const char *name, unsigned generation,
                 const char *allow, struct image *out, odto_error *err)
{
    memset(out, 0, sizeof *out);
    char real[PATH_MAX];
    if (!realpath(source, real))
        return odto_fail(err, -errno, "can't open %s: %s", source, strerror(errno));
    int from = open(real, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (from < 0) {
        odto_fail(err, -errno, "can't open %s: %s", real, strerror(errno));
        odto_error_hint(err, "the host's user must be able to read it");
        return err ? err->code : -EACCES;
    }
    int r = check_owner(from, real, err);
    if (r < 0) {
        close(from);
        return r;
    }
    snprintf(out->source, sizeof out->source, "%s", real);
    name_copy(out, run_dir, name, generation);
    unlink(out->path); /* left by a host that was killed; the data directory's lock says it is ours */
    int to = open(out->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0500);
    if (to < 0) {
        r = odto_fail(err, -errno, "can't make the private copy %s: %s", out->path, strerror(errno));
    } else {
        r = copy_hash(from, to, out->hash);
        if (close(to) < 0 && r == 0)
            r = -errno;
        if (r < 0)
            odto_fail(err, r, "can't copy %s to %s: %s", real, out->path, strerror(-r));
    }
    close(from);
    if (r == 0 && allow)
        r = check_allowed(out, allow, err);
    if (r < 0)
        unlink(out->path);
    return r;
}

/* ---- inspection ---- */

static const odto_head host_head = ODTO_HEAD("host", "", 0);

static void diff(odto_buf *out, const char *field, unsigned theirs, unsigned ours)
{
    if (theirs != ours)
        odto_buf_printf(out, "%s%s: plugin %u, host %u", out->n ? "; " : "", field, theirs, ours);
}

/* Name every field in which the plugin's build differs from ours. */
static int check_head(const odto_head *h, const char *source, odto_error *err)
{
    const odto_fingerprint *p = &h->fingerprint, *o = &host_head.fingerprint;
    odto_buf b = {.max = 480};
    diff(&b, "ABI major", h->abi_major, ODTO_ABI_MAJOR);
    if (h->abi_minor > ODTO_ABI_MINOR)
        diff(&b, "ABI minor", h->abi_minor, ODTO_ABI_MINOR);
    diff(&b, "pointer size", p->pointer, o->pointer);
    diff(&b, "time_t size", p->time_t_size, o->time_t_size);
    diff(&b, "off_t size", p->off_t_size, o->off_t_size);
    diff(&b, "sanitizer", p->sanitizer, o->sanitizer);
    diff(&b, "odto_plugin size", p->descriptor, o->descriptor);
    diff(&b, "odto_plugin_ops size", p->ops, o->ops);
    diff(&b, "odto_event size", p->event, o->event);
    diff(&b, "odto_job size", p->job, o->job);
    diff(&b, "odto_run size", p->run, o->run);
    diff(&b, "odto_config size", p->config, o->config);
    diff(&b, "odto_http_api size", p->http_api, o->http_api);
    int r = 0;
    if (b.n) {
        r = odto_fail(err, -ENOEXEC, "%s was built for another plugin ABI", source);
        odto_error_detail(err, "%s", b.p);
        odto_error_hint(err, "rebuild the plugin against this host's headers (ABI %d.%d)", ODTO_ABI_MAJOR,
                        ODTO_ABI_MINOR);
    }
    odto_buf_free(&b);
    return r;
}

static bool find_head(Elf_Data *data, odto_head *out)
{
    GElf_Nhdr note;
    size_t name, desc, at = 0, next;
    while ((next = gelf_getnote(data, at, &note, &name, &desc)) > 0) {
        if (note.n_type == 1 && note.n_namesz == 5 && note.n_descsz == sizeof *out &&
            memcmp((const char *)data->d_buf + name, "odto", 5) == 0) {
            memcpy(out, (const char *)data->d_buf + desc, sizeof *out);
            return memcmp(out->magic, "odtoplg", 8) == 0;
        }
        at = next;
    }
    return false;
}

struct findings {
    bool head, symbol;
    size_t exports;
    char other[64];
    const char *bad;
};

/* The exported (defined, global) dynamic symbols: exactly one is wanted. */
static size_t count_exports(Elf *elf, Elf_Scn *scn, const GElf_Shdr *sh, struct findings *f)
{
    Elf_Data *data = elf_getdata(scn, NULL);
    size_t n = sh->sh_entsize ? sh->sh_size / sh->sh_entsize : 0, found = 0;
    for (size_t i = 0; data && i < n; i++) {
        GElf_Sym sym;
        if (!gelf_getsym(data, (int)i, &sym) || sym.st_shndx == SHN_UNDEF ||
            GELF_ST_BIND(sym.st_info) == STB_LOCAL)
            continue;
        const char *name = elf_strptr(elf, sh->sh_link, sym.st_name);
        found++;
        if (GELF_ST_BIND(sym.st_info) == STB_GNU_UNIQUE)
            f->bad = "it has unique symbols, which are never unmapped (C++: -fno-gnu-unique)";
        if (name && strcmp(name, "odto_plugin") == 0)
            f->symbol = true;
        else if (name)
            snprintf(f->other, sizeof f->other, "%s", name);
    }
    return found;
}

static const char *bad_dynamic(Elf_Scn *scn, const GElf_Shdr *sh)
{
    Elf_Data *data = elf_getdata(scn, NULL);
    size_t n = sh->sh_entsize ? sh->sh_size / sh->sh_entsize : 0;
    for (size_t i = 0; data && i < n; i++) {
        GElf_Dyn d;
        if (!gelf_getdyn(data, (int)i, &d))
            continue;
        if (d.d_tag == DT_TEXTREL)
            return "it has text relocations (build it with -fPIC)";
        if (d.d_tag == DT_FLAGS_1 && (d.d_un.d_val & DF_1_NODELETE))
            return "it is linked with -z nodelete and could never be reloaded";
        if (d.d_tag == DT_FLAGS && (d.d_un.d_val & DF_STATIC_TLS) && !ODTO_SANITIZER_ID)
            return "it uses static thread-local storage, of which few copies fit (no "
                   "-ftls-model=initial-exec)";
        if (d.d_tag == DT_RPATH || d.d_tag == DT_RUNPATH)
            return "it has a library search path of its own (link it without -rpath): what runs is a private "
                   "copy";
    }
    return NULL;
}

static void walk_sections(Elf *elf, struct image *image, struct findings *f)
{
    for (Elf_Scn *scn = elf_nextscn(elf, NULL); scn; scn = elf_nextscn(elf, scn)) {
        GElf_Shdr sh;
        if (!gelf_getshdr(scn, &sh))
            continue;
        if (sh.sh_type == SHT_NOTE && !f->head)
            f->head = find_head(elf_getdata(scn, NULL), &image->head);
        else if (sh.sh_type == SHT_DYNSYM)
            f->exports = count_exports(elf, scn, &sh, f);
        else if (sh.sh_type == SHT_DYNAMIC && !f->bad)
            f->bad = bad_dynamic(scn, &sh);
    }
}

static int judge(const struct image *image, const struct findings *f, odto_error *err)
{
    if (!f->head) {
        odto_fail(err, -ENOEXEC, "%s is not an odto plugin", image->source);
        odto_error_detail(err, "it has no .note.odto.plugin");
        odto_error_hint(err, "a plugin declares itself with ODTO_PLUGIN_DEFINE from <odto/plugin.h>");
        return -ENOEXEC;
    }
    int r = check_head(&image->head, image->source, err);
    if (r < 0)
        return r;
    if (!f->symbol) {
        odto_fail(err, -ENOEXEC, "%s does not export the symbol odto_plugin", image->source);
        odto_error_hint(err,
                        "link with -export-symbols-regex '^odto_plugin$$'; see docs/writing-a-plugin.md");
        return -ENOEXEC;
    }
    if (f->exports > 1 && !f->bad && !ODTO_SANITIZER_ID) {
        odto_fail(err, -ENOEXEC, "%s exports more than the symbol odto_plugin", image->source);
        odto_error_detail(err, "%zu symbols, for instance %s", f->exports, f->other);
        odto_error_hint(err, "compile with -fvisibility=hidden and export only odto_plugin");
        return -ENOEXEC;
    }
    if (f->bad) {
        odto_fail(err, -ENOEXEC, "%s can't be loaded safely", image->source);
        odto_error_detail(err, "%s", f->bad);
        return -ENOEXEC;
    }
    return 0;
}

int loader_inspect(struct image *image, odto_error *err)
{
    int fd = open(image->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return odto_fail(err, -errno, "can't read %s: %s", image->path, strerror(errno));
    elf_version(EV_CURRENT);
    Elf *elf = elf_begin(fd, ELF_C_READ, NULL);
    GElf_Ehdr eh;
    int r = 0;
    if (!elf || elf_kind(elf) != ELF_K_ELF || !gelf_getehdr(elf, &eh) || eh.e_type != ET_DYN) {
        r = odto_fail(err, -ENOEXEC, "%s is not a shared object", image->source);
        odto_error_hint(err, "the file is damaged or of another kind: install it again");
    } else {
        struct findings f = {0};
        walk_sections(elf, image, &f);
        r = judge(image, &f, err);
    }
    if (elf)
        elf_end(elf);
    close(fd);
    return r;
}

/* ---- mapping ---- */

/* Libraries that came along stay mapped for ever: many keep threads, thread keys or atexit handlers. */
static void pin_libraries(void *handle)
{
    struct link_map *map = NULL;
    if (dlinfo(handle, RTLD_DI_LINKMAP, &map) != 0)
        return;
    for (struct link_map *m = map ? map->l_next : NULL; m; m = m->l_next)
        if (m->l_name && m->l_name[0]) {
            void *pinned = dlopen(m->l_name, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
            if (pinned)
                dlclose(pinned); /* NODELETE holds it */
        }
}

static int check_descriptor(const struct image *image, odto_error *err)
{
    const odto_plugin *d = image->descriptor;
    if (d->size != sizeof *d || memcmp(&d->head, &image->head, sizeof d->head) != 0)
        return odto_fail(err, -ENOEXEC, "%s: its descriptor contradicts its note", image->source);
    const char *missing = NULL;
    if (!d->ops || d->ops->size != sizeof *d->ops || !d->ops->init || !d->ops->start || !d->ops->fini)
        missing = "ops with init, start and fini";
    else if (d->head.kind == ODTO_KIND_STORE && !d->store)
        missing = "the store interface";
    else if (d->head.kind == ODTO_KIND_HANDLER && (!d->handler || !d->handler->start))
        missing = "the handler interface";
    else if (d->head.kind == ODTO_KIND_BRIDGE && !d->bridge)
        missing = "the bridge interface";
    else if (d->consumes && !d->ops->handle)
        missing = "handle() for the topics it consumes";
    if (missing)
        return odto_fail(err, -ENOEXEC, "%s: its descriptor lacks %s", image->source, missing);
    return 0;
}

int loader_open(struct image *image, odto_error *err)
{
    if (dlopen(image->path, RTLD_NOW | RTLD_NOLOAD))
        return odto_fail(err, -EEXIST, "%s is mapped already: a bug of the host", image->path);
    image->handle = dlopen(image->path, RTLD_NOW | RTLD_LOCAL);
    if (!image->handle) {
        odto_fail(err, -ENOEXEC, "can't load %s", image->source);
        odto_error_detail(err, "%s", dlerror());
        odto_error_hint(err, "a missing library or symbol: `ldd -r %s` shows it", image->source);
        return -ENOEXEC;
    }
    image->descriptor = dlsym(image->handle, "odto_plugin");
    int r = image->descriptor ? check_descriptor(image, err)
                              : odto_fail(err, -ENOEXEC, "%s: no symbol odto_plugin", image->source);
    if (r < 0) {
        dlclose(image->handle);
        image->handle = NULL;
        image->descriptor = NULL;
        return r;
    }
    pin_libraries(image->handle);
    image->foreign = foreign_register(image->descriptor);
    return 0;
}

/* Something in it may still be called: unmapping would be a wild jump later. */
static bool in_use(const struct image *image)
{
    return !image->foreign || foreign_threads(image->foreign) || foreign_keys(image->foreign);
}

static bool unmap(struct image *image)
{
    if (in_use(image))
        return false;
    foreign_release(image->foreign);
    dlclose(image->handle);
    void *still = dlopen(image->path, RTLD_NOW | RTLD_NOLOAD);
    if (still)
        dlclose(still);
    return !still;
}

int loader_close(struct image *image, bool keep)
{
    int r = 0;
#if ODTO_SANITIZER_ID
    keep = true;
#endif
    if (image->handle && image->descriptor && (image->descriptor->flags & ODTO_PLUGIN_KEEP))
        keep = true;
    if (image->handle && !keep && !unmap(image))
        r = -EBUSY;
    if (image->path[0])
        unlink(image->path);
    image->handle = NULL;
    image->descriptor = NULL;
    return r;
}
