/* host/loader.h — from a plugin's file to a mapped image, in steps that can each refuse.
 *
 * find → stage (private hashed copy) → inspect (ELF note, no code run) → open (dlopen, descriptor check) →
 * close. Called by the supervisor thread only. */
#ifndef HOST_LOADER_H
#define HOST_LOADER_H

#include <odto/plugin.h>

#define LOADER_HASH_LEN 64 /* hex SHA-256 */

/* One mapped copy of a shared object. */
struct image {
    char source[4096];              /* where it was installed */
    char path[4096];                /* the staged private copy */
    char hash[LOADER_HASH_LEN + 1]; /* of the copy */
    odto_head head;                 /* from the note */
    const odto_plugin *descriptor;  /* NULL until opened */
    void *handle;                   /* NULL: a worker process has mapped it (isolate.h) */
    struct isolated *isolated;      /* what there is instead */
    struct foreign_image *foreign;  /* threads and keys it made by itself */
    bool leaked;                    /* a generation left something behind: it is never unmapped */
    unsigned refs;                  /* instances (old and rolled back generations) that use it */
};

/* The file of `module` along search ("DIR:DIR"); a module with a slash is a path. Fills out (PATH_MAX-ish
 * size). -ENOENT: err lists where was looked. */
int loader_find(const char *module, const char *search, char *out, size_t size, odto_error *err);

/* Copy source to run_dir/NAME.GENERATION.so (O_EXCL, 0500) and hash the copy. Refuses what is not a regular
 * file, is writable by others or owned by somebody else than root or us. allow: path of a file of allowed hex
 * SHA-256, or NULL. */
int loader_stage(const char *source, const char *run_dir, const char *name, unsigned generation,
                 const char *allow, struct image *out, odto_error *err);

/* Read the note and the dynamic section of image->path without running it; fills image->head. -ENOEXEC with
 * the differing fields when the ABI does not fit. */
int loader_inspect(struct image *image, odto_error *err);

/* dlopen the staged copy, pin its libraries for the life of the process, check the descriptor. */
int loader_open(struct image *image, odto_error *err);

/* dlclose (skipped in sanitizer builds, which need the symbols) and unlink the copy; keep = true: leave it
 * mapped (something may still run in it), unlink only. Returns 0, or -EBUSY if the object is still mapped
 * afterwards. */
int loader_close(struct image *image, bool keep);

/* SHA-256 of a file as hex; 0 or -errno. */
int loader_hash(const char *path, char out[LOADER_HASH_LEN + 1]);
#endif
