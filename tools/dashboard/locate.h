/* locate — where this installation keeps its parts: programs, manifest, data, state.
 *
 * Works installed and in a build tree. Reads the environment and the file system; any thread. */
#ifndef DASH_LOCATE_H
#define DASH_LOCATE_H

#include <odto/base.h>

/* The folder of the running executable, or "." */
void locate_self(char *out, size_t size);
/* A program: beside this one, in libexec, then on PATH. False: out holds the bare name. */
bool locate_program(const char *name, char *out, size_t size);
/* The manifest: $ODTO_MANIFEST, the build tree's, the installed one. False: none found, out holds where it
 * was expected. */
bool locate_manifest(char *out, size_t size);
/* A file of the source or data folder, such as "contracts/ui-registry.json" (installed: its last part). */
bool locate_data(const char *name, char *out, size_t size);
/* What the launcher remembers: $XDG_STATE_HOME/odto-launch or ~/.local/state/odto-launch; made with mode
 * 0700 when `make`. 0 or -errno. */
int locate_state(char *out, size_t size, bool make);
/* The value of key in [section] of an INI file, or false. */
bool locate_ini(const char *file, const char *section, const char *key, char *out, size_t size);

#endif
