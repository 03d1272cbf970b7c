/* host/foreign.h — what a plugin did behind the host's back that forbids to unmap it: threads it started by
 * itself with code of its image, thread keys whose destructor lies in it. The host's executable stands before
 * libc in symbol look-up, so its own pthread_create and pthread_key_create see every call of a plugin and
 * pass it on. */
#ifndef HOST_FOREIGN_H
#define HOST_FOREIGN_H

#include <stddef.h>
#include <stdint.h>

/* The address range of a mapped image, from any address in it. NULL slot when there is no room (then nothing
 * is unmapped). */
struct foreign_image;
struct foreign_image *foreign_register(const void *address_inside);
/* Its address range. */
void foreign_range(const struct foreign_image *f, uintptr_t *from, uintptr_t *to);
/* Threads that still run code of the image, and keys with a destructor in it. */
unsigned foreign_threads(const struct foreign_image *f);
unsigned foreign_keys(const struct foreign_image *f);
/* The image is unmapped, or kept for ever (then its slot stays in use). */
void foreign_release(struct foreign_image *f);
#endif
