/* sqlite_fixture.h — the fixture of the sqlite store: a database in a private folder. */
#ifndef SQLITE_FIXTURE_H
#define SQLITE_FIXTURE_H

#include "../../plugins/stores/sqlite/store_sqlite.h"
#include "store_fixture.h"

/* Run a statement on the database behind the store's back; the first column of the first row as an integer.
 */
int64_t fixture_sql(const fixture *f, const char *sql);

#endif
