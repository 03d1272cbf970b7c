/* registry — the web pages of the system, from contracts/ui-registry.json or built in. Pure but for one
 * file read. */
#ifndef DASH_REGISTRY_H
#define DASH_REGISTRY_H

#include <odto/base.h>

#define REGISTRY_MAX 32

typedef struct registry_entry {
    char id[40], name[48], path[96], emoji[12], description[120];
    int port;
} registry_entry;

typedef struct registry {
    char version[16], base_url[128];
    int n;
    registry_entry entries[REGISTRY_MAX];
    char notice[256]; /* why the built-in one is used; empty otherwise */
} registry;

/* Checks and reads; a registry that breaks a rule (parses, entries, ports, ids, names, baseUrl) is refused
 * whole. 0 or -errno with *err. */
int registry_parse(odto_slice text, registry *out, odto_error *err);
/* The first readable file of `paths` (NULL-terminated); the built-in registry with a notice otherwise. */
void registry_load(const char *const *paths, registry *out);
void registry_builtin(registry *out);
void registry_url(const registry *r, int index, char *out, size_t size);

#endif
