/* host/swap.h — exchange the running generations of a few units that depend on each other, or put the old
 * ones back. */
#ifndef HOST_SWAP_H
#define HOST_SWAP_H

#include "host/reload.h"

/* One unit of a swap; in start order: what others hold comes first. */
struct swap_item {
    struct unit *unit;
    struct image *image;             /* to run next: a new copy, or the one it has */
    manifest *manifest;              /* the snapshot `section` belongs to */
    const manifest_section *section; /* next */
    /* filled by swap_run */
    struct instance *old, *next;
    odto_buf blob;
    uint32_t blob_version;
    bool stopped, started;
    bool handed_over; /* the HTTP routes are the new one's */
};

/* Runs the exchange of items[0..n); v gets step, error, durations and the result. On RELOAD_DONE the units
 * own the new images and sections; otherwise the old ones, and the caller drops the new images. signals:
 * descriptor that cuts the canary window short. */
enum reload_result swap_run(struct core *core, struct swap_item *items, size_t n, struct verdict *v);
#endif
