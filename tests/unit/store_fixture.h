/* store_fixture.h — what the tests of the stores share: a store of the plugin that is linked in, and batches
 * that are submitted and waited for. */
#ifndef STORE_FIXTURE_H
#define STORE_FIXTURE_H

#include "minihost.h"

extern const odto_plugin odto_plugin_ __asm__("odto_plugin");
#define IFACE (odto_plugin_.store)

typedef struct fixture {
    char dir[64], path[128]; /* sqlite: of the file; postgres: the URL setting */
    const char *settings[4]; /* given to every start, before those of the test */
    minihost *host;
    void *store;
} fixture;

void fixture_make(fixture *f); /* a new private place for the store: of the program that is linked */
void fixture_start(fixture *f, const char *const *settings); /* aborts the test on a failure */
int fixture_try_start(fixture *f, const char *const *settings, odto_error *err);
void fixture_stop(fixture *f);
void fixture_remove(fixture *f); /* … and away with it */
/* Rows in that status, counted behind the store's back. */
int64_t fixture_rows(const fixture *f, odto_status status);

/* Submit and wait: done()'s result. The caller releases. */
int run_batch(fixture *f, odto_jobs_batch *b);
/* One operation without rows to keep: its own result, or the batch's when that failed. */
int run_op(fixture *f, odto_jobs_op *op);
int run_write(fixture *f, int (*submit)(void *store, odto_write *w), odto_write *w);

odto_job job_of(const char *type, int64_t created_at); /* with a new id; texts are static */
int accept_job(fixture *f, const odto_job *j, int64_t now);
/* Accept already leased by "host"; the token. */
uint64_t accept_leased(fixture *f, const odto_job *j, int64_t now, int64_t until);
int finish_job(fixture *f, const odto_uuid *id, uint64_t token, odto_status status, int64_t now);
odto_status status_of(fixture *f, const odto_uuid *id); /* -1: no such job */
odto_jobs_stats stats_of(fixture *f);

#endif
