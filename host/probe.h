/* host/probe.h — try a copy of a plugin in a process of its own before this one maps it. */
#ifndef HOST_PROBE_H
#define HOST_PROBE_H

#include "host/core.h"

/* Stage, inspect, then probe (unless this very copy has proved itself before, or `probe = no`), then open. A
 * hash that crashed too often is refused, and the last known good copy is taken where there is one. NULL with
 * err. */
struct image *unit_map_probed(struct unit *u, const char *file, const manifest_section *section,
                              const char *manifest_path, odto_error *err);
/* Remember that this unit's copy works: called when it has been READY and calm. */
void probe_mark_good(struct unit *u);
/* Path of a program of this host that is not in PATH: odto-probe, odto-worker. */
void helper_program(const char *name, char *out, size_t size);
#endif
