/* reference_main.c — odto-reference: prints the manifest reference of the host and of the plugins named on
 * the command line. A tool of the build, not installed. */
#include "reference.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

static int order(const void *a, const void *b)
{
    const odto_plugin *const *p = a, *const *q = b;
    if ((*p)->head.kind != (*q)->head.kind)
        return (*p)->head.kind < (*q)->head.kind ? -1 : 1;
    return strcmp((*p)->head.name, (*q)->head.name);
}

int main(int argc, char **argv)
{
    const odto_plugin **plugins = calloc((size_t)argc, sizeof(*plugins));
    size_t n = 0;
    for (int i = 1; i < argc && plugins; i++) {
        void *handle = dlopen(argv[i], RTLD_NOW | RTLD_LOCAL); /* stays open: the tables are printed below */
        plugins[n] = handle ? dlsym(handle, "odto_plugin") : NULL;
        if (!plugins[n++]) {
            fprintf(stderr, "odto-reference: %s: %s\n", argv[i], dlerror());
            return 1;
        }
    }
    if (!plugins)
        return 1;
    qsort(plugins, n, sizeof(*plugins), order);
    reference_host(stdout);
    fputs("\n## Plugins\n", stdout);
    for (size_t i = 0; i < n; i++) {
        fputc('\n', stdout);
        reference_plugin(plugins[i], stdout);
    }
    free(plugins);
    return ferror(stdout) || fflush(stdout) != 0;
}
