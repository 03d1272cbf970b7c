/* host/isolate.h — plugins with `isolate = process`: the shared object is mapped by a worker process
 * (odto-worker) and never by the host. What the rest of the host sees is an image whose descriptor was told
 * by a worker and whose callbacks send frames, so lifecycle, reload and watchdog are those of any plugin; but
 * its crash, its hang and its leak end in the worker, which is killed and started anew. */
#ifndef HOST_ISOLATE_H
#define HOST_ISOLATE_H

#include "host/core.h"

struct seat;

/* Whether this section's plugin, found in file, is to run in a worker: `isolate` where it is set; else yes
 * for handlers that are neither `trusted = yes` nor shipped with this host (the list `trusted` in the folder
 * of the plugin, which only its owner can write). */
bool isolate_wanted(const manifest_section *s, odto_kind kind, const char *file);

/* Instead of loader_open: a worker maps the staged copy and tells its descriptor. -ENOTSUP: the plugin needs
 * what a worker can't offer; err names it. Main thread. */
int isolate_open(struct core *core, const char *name, struct image *image, odto_error *err);
void isolate_close(struct image *image); /* before loader_close; nothing to do for other images */

/* check_config of any image; of an isolated one in a worker. */
int image_check_config(struct core *core, const struct image *image, const odto_config *c, odto_error *err);

/* ---- seats: what the processor holds instead of an instance of an isolated handler ----
 * A seat stays while generations of the handler and their workers come and go. Attempts that begin while no
 * worker is up wait in it; those a worker had when it died end as LOST. Any thread. */
struct seat *isolate_seat(struct unit *u); /* made if need be; NULL without memory */
extern const odto_handler_iface seat_iface;
void isolate_free(struct core *core); /* all seats: no attempt may be left */

#endif
