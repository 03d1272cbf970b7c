/* cmd_gate.c — `odto gate`: runs the integration gate, a program of its own. */
#include "cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Beside this program's own tree when it runs from a build or a source tree, else where it was installed. */
static void try_near(const char *below, char **argv)
{
    char self[4096], path[4200];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (n <= 0)
        return;
    self[n] = 0;
    for (int up = 0; up < 3; up++) {
        char *slash = strrchr(self, '/');
        if (!slash || slash == self)
            return;
        *slash = 0;
        snprintf(path, sizeof(path), "%s/%s", self, below);
        if (access(path, X_OK) == 0)
            execv(path, argv);
    }
}

int cmd_gate(int argc, char **argv)
{
    cli c = {0};
    (void)argc;
    const char *given = getenv("ODTO_GATE");
    if (given && *given)
        execv(given, argv);
    try_near("tools/gate", argv);
    execv(ODTO_LIBEXECDIR "/gate", argv);
    return cli_failf(&c, CLI_USAGE, "install the package whole, or name the program in ODTO_GATE",
                     "the gate is not installed: %s: %s", ODTO_LIBEXECDIR "/gate", strerror(errno));
}
