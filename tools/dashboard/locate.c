/* locate — see locate.h. */
#include "locate.h"

#include <errno.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void locate_self(char *out, size_t size)
{
    ssize_t n = readlink("/proc/self/exe", out, size - 1);
    out[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(out, '/');
    if (slash) {
        *slash = '\0';
        char *libs = strrchr(out, '/'); /* libtool keeps the real file in .libs */
        if (libs && !strcmp(libs, "/.libs")) {
            *libs = '\0';
        }
    } else {
        snprintf(out, size, ".");
    }
}

static bool is_program(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

bool locate_program(const char *name, char *out, size_t size)
{
    char self[512];
    locate_self(self, sizeof self);
    const char *const beside[] = {self, ODTO_LIBEXECDIR};
    for (size_t i = 0; i < 2; i++) {
        snprintf(out, size, "%s/%s", beside[i], name);
        if (is_program(out)) {
            return true;
        }
    }
    for (const char *path = getenv("PATH"); path && *path;) {
        size_t n = strcspn(path, ":");
        snprintf(out, size, "%.*s/%s", (int)n, path, name);
        if (is_program(out)) {
            return true;
        }
        path += n + (path[n] == ':');
    }
    snprintf(out, size, "%s", name);
    return false;
}

bool locate_data(const char *name, char *out, size_t size)
{
    char self[512];
    locate_self(self, sizeof self);
    const char *src = getenv("ODTO_SRCDIR"), *base = strrchr(name, '/');
    base = base ? base + 1 : name;
    if (src && src[0]) {
        snprintf(out, size, "%s/%s", src, name);
        if (access(out, R_OK) == 0) {
            return true;
        }
    }
    const char *const up[] = {"", "/..", "/../.."};
    for (size_t i = 0; i < 3; i++) {
        snprintf(out, size, "%s%s/%s", self, up[i], name);
        if (access(out, R_OK) == 0) {
            return true;
        }
    }
    snprintf(out, size, "%s/%s", ODTO_DATADIR, name);
    if (access(out, R_OK) == 0) {
        return true;
    }
    snprintf(out, size, "%s/%s", ODTO_DATADIR, base);
    return access(out, R_OK) == 0;
}

bool locate_manifest(char *out, size_t size)
{
    const char *set = getenv("ODTO_MANIFEST");
    if (set && set[0]) {
        snprintf(out, size, "%s", set);
        return access(out, R_OK) == 0;
    }
    static const char *const fixed[] = {"etc/odto.ini", "/etc/odto/odto.ini",
                                        ODTO_SYSCONFDIR "/odto/odto.ini", ODTO_SYSCONFDIR "/odto.ini"};
    for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++) {
        snprintf(out, size, "%s", fixed[i]);
        if (access(out, R_OK) == 0) {
            return true;
        }
    }
    return locate_data("etc/odto.ini", out, size);
}

int locate_state(char *out, size_t size, bool make)
{
    const char *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    if (xdg && xdg[0] == '/') {
        snprintf(out, size, "%s/odto-launch", xdg);
    } else if (home && home[0] == '/') {
        snprintf(out, size, "%s/.local/state/odto-launch", home);
    } else {
        snprintf(out, size, "/tmp/odto-launch-%ld", (long)getuid());
    }
    for (char *p = out + 1; make && (p = strchr(p, '/')); p++) {
        *p = '\0';
        mkdir(out, 0700);
        *p = '/';
    }
    return make && mkdir(out, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

typedef struct wanted {
    const char *section, *key;
    char *out;
    size_t size;
    bool found;
} wanted;

static int on_option(void *arg, const char *section, const char *name, const char *value)
{
    wanted *w = arg;
    if (!strcmp(section, w->section) && !strcmp(name, w->key)) {
        snprintf(w->out, w->size, "%s", value);
        w->found = true;
    }
    return 1;
}

bool locate_ini(const char *file, const char *section, const char *key, char *out, size_t size)
{
    wanted w = {section, key, out, size, false};
    return ini_parse(file, on_option, &w) >= 0 && w.found;
}
