/* host/boot.h — pieces of start-up that a reload needs too. Main thread. */
#ifndef HOST_BOOT_H
#define HOST_BOOT_H

#include "host/core.h"

odto_kind boot_kind(manifest_kind k); /* 0: not an instance */
/* A unit of this section that is in no table yet. */
/* A section with `required = no` whose plugin is not installed is left out, with a warning in errs. */
bool boot_left_out(const struct core *core, const manifest *m, const manifest_section *s,
                   manifest_errors *errs);
struct unit *boot_unit_new(struct core *core, const manifest_section *s);
void boot_unit_add(struct core *core, struct unit *u);
void boot_unit_free(struct core *core, struct unit *u); /* it must be down */
/* The key of a section that an error about its shared object belongs to. */
const char *boot_error_key(const odto_error *err);
int boot_store_role(const struct image *image, const char *store, int64_t role, odto_error *err);
void boot_live_settings(struct core *core); /* what [log] says now */
int web_open(struct core *core, odto_error *err);
#endif
