/* sqlite_fixture.c — see sqlite_fixture.h. */
#include "sqlite_fixture.h"

#include <check.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void fixture_make(fixture *f)
{
    memset(f, 0, sizeof(*f));
    snprintf(f->dir, sizeof(f->dir), "%s", "/tmp/odto-sqlite-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(f->dir));
    snprintf(f->path, sizeof(f->path), "%s/odto.db", f->dir);
}

void fixture_remove(fixture *f)
{
    DIR *d = opendir(f->dir);
    char name[512];
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        snprintf(name, sizeof(name), "%s/%s", f->dir, e->d_name);
        unlink(name);
    }
    if (d != NULL)
        closedir(d);
    rmdir(f->dir);
}

int64_t fixture_sql(const fixture *f, const char *sql)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *st = NULL;
    ck_assert_int_eq(sqlite3_open(f->path, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 5000);
    if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) != SQLITE_OK)
        ck_abort_msg("%s: %s", sql, sqlite3_errmsg(db));
    int64_t v = sqlite3_step(st) == SQLITE_ROW ? sqlite3_column_int64(st, 0) : -1;
    sqlite3_finalize(st);
    sqlite3_close(db);
    return v;
}

int64_t fixture_rows(const fixture *f, odto_status status)
{
    static const char *const sql[] = {[ODTO_PENDING] = "SELECT count(*) FROM pending",
                                      [ODTO_EXECUTING] = "SELECT count(*) FROM lease",
                                      [ODTO_COMPLETED] = "SELECT count(*) FROM done WHERE status = 3",
                                      [ODTO_FAILED] = "SELECT count(*) FROM done WHERE status = 4"};
    return fixture_sql(f, sql[status]);
}
