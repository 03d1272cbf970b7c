/* postgres_fixture.h — the fixture of the postgres store: a schema of its own in the database of
 * ODTO_TEST_POSTGRES (set by tests/integration/postgres_store.py, which brings the server). */
#ifndef POSTGRES_FIXTURE_H
#define POSTGRES_FIXTURE_H

#include "../../plugins/stores/postgres/store_postgres.h"
#include "store_fixture.h"

/* A connection that sees the tables of the fixture's store. */
PGconn *fixture_connect(const fixture *f);
/* Run a statement; the first column of the first row as an integer, -1 without a row. */
int64_t fixture_sql(const fixture *f, const char *sql);

#endif
