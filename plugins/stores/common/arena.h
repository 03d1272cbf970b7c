/* arena.h — memory of a batch's out fields, freed at once: what stands behind odto_jobs_batch.mem. Used by
 * the store's thread until done(), then by whoever has the batch; no lock. */
#ifndef STORES_ARENA_H
#define STORES_ARENA_H

#include <odto/base.h>

void *arena_alloc(void **mem, size_t n); /* 16-byte aligned, zeroed; NULL without memory */
odto_slice arena_copy(void **mem, odto_slice v, bool *failed);
void arena_free(void **mem);

#endif
