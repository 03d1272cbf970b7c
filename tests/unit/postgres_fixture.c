/* postgres_fixture.c — see postgres_fixture.h. */
#include "postgres_fixture.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static PGconn *connect_to(const char *url)
{
    PGconn *c = PQconnectdb(url);
    if (PQstatus(c) != CONNECTION_OK)
        ck_abort_msg("%s", PQerrorMessage(c));
    return c;
}

static void run(PGconn *c, const char *sql)
{
    PGresult *r = PQexec(c, sql);
    ExecStatusType st = PQresultStatus(r);
    if (st != PGRES_COMMAND_OK && st != PGRES_TUPLES_OK)
        ck_abort_msg("%s: %s", sql, PQerrorMessage(c));
    PQclear(r);
}

void fixture_make(fixture *f)
{
    char schema[32], sql[64];
    const char *url = getenv("ODTO_TEST_POSTGRES");
    memset(f, 0, sizeof(*f));
    snprintf(f->dir, sizeof(f->dir), "/tmp");
    snprintf(schema, sizeof(schema), "t%d", (int)getpid());
    snprintf(sql, sizeof(sql), "CREATE SCHEMA %s", schema);
    PGconn *c = connect_to(url);
    run(c, sql);
    PQfinish(c);
    ck_assert_int_lt(snprintf(f->path, sizeof(f->path), "url=%s?options=-csearch_path%%3D%s", url, schema),
                     (int)sizeof(f->path));
    f->settings[0] = f->path;
}

PGconn *fixture_connect(const fixture *f)
{
    return connect_to(f->path + strlen("url="));
}

void fixture_remove(fixture *f)
{
    char sql[64];
    snprintf(sql, sizeof(sql), "DROP SCHEMA t%d CASCADE", (int)getpid());
    PGconn *c = fixture_connect(f);
    run(c, "SET client_min_messages = error");
    run(c, sql);
    PQfinish(c);
}

int64_t fixture_sql(const fixture *f, const char *sql)
{
    PGconn *c = fixture_connect(f);
    PGresult *r = PQexec(c, sql);
    ExecStatusType st = PQresultStatus(r);
    if (st != PGRES_COMMAND_OK && st != PGRES_TUPLES_OK)
        ck_abort_msg("%s: %s", sql, PQerrorMessage(c));
    int64_t v = st == PGRES_TUPLES_OK && PQntuples(r) > 0 ? strtoll(PQgetvalue(r, 0, 0), NULL, 10) : -1;
    PQclear(r);
    PQfinish(c);
    return v;
}

int64_t fixture_rows(const fixture *f, odto_status status)
{
    char sql[96];
    snprintf(sql, sizeof(sql), "SELECT count(*) FROM jobs WHERE status = '%s'", odto_status_name(status));
    return fixture_sql(f, sql);
}
