/* fakestore.h — a jobs store in memory that behaves as store.h says and fails when it is told to. Its commits
 * are made by a thread of its own, after a delay, several waiting batches at once. */
#ifndef ODTO_FAKESTORE_H
#define ODTO_FAKESTORE_H

#include <odto/store.h>

typedef struct fakestore fakestore;

fakestore *fakestore_new(void);
void fakestore_free(fakestore *s);
const odto_store_iface *fakestore_iface(void);
const odto_store_iface *fakestore_shared_iface(void); /* of a store that other hosts write to */
void fakestore_delay(fakestore *s, int64_t ns);       /* of a commit */
/* From now on batches fail with this code, 0: no more. in_doubt: they are applied all the same. */
void fakestore_fail(fakestore *s, int code, bool in_doubt);
void fakestore_reject(fakestore *s, int code); /* submit() itself */

/* A row; strings are the store's, as long as the row is not changed. False: none. */
bool fakestore_row(fakestore *s, const char *id, odto_job *out);
size_t fakestore_attempts(fakestore *s, const char *id);
odto_attempt fakestore_attempt(fakestore *s, const char *id, size_t k);
odto_jobs_stats fakestore_stats(fakestore *s);
size_t fakestore_outbox(fakestore *s);
size_t fakestore_batches(fakestore *s); /* committed */
size_t fakestore_claimed(fakestore *s); /* rows given by CLAIM */
/* Put a row there as another host left it: executing, leased to owner until. */
void fakestore_put_leased(fakestore *s, const char *id, const char *type, const char *owner, int64_t until,
                          uint32_t lost);
/* An event in the outbox that another host committed and did not publish in time. */
void fakestore_leave(fakestore *s, const char *topic, const char *body);
/* The lease of this row goes to someone else. */
void fakestore_steal(fakestore *s, const char *id);

#endif
