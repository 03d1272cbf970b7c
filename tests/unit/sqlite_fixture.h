/* sqlite_fixture.h — what the tests of the sqlite store share: a store in a private folder, and batches that
 * are submitted and waited for. */
#ifndef SQLITE_FIXTURE_H
#define SQLITE_FIXTURE_H

#include "../../plugins/stores/sqlite/store_sqlite.h"
#include "minihost.h"

extern const odto_plugin odto_plugin_ __asm__("odto_plugin");
#define IFACE (odto_plugin_.store)

typedef struct fixture {
    char dir[64], path[128];
    minihost *host;
    void *store;
} fixture;

void fixture_dir(fixture *f);                                /* a new private folder */
void fixture_start(fixture *f, const char *const *settings); /* aborts the test on a failure */
int fixture_try_start(fixture *f, const char *const *settings, odto_error *err);
void fixture_stop(fixture *f);
void fixture_remove(fixture *f);
/* Run a statement on the database behind the store's back; the first column of the first row as an integer.
 */
int64_t fixture_sql(const fixture *f, const char *sql);

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
