/* schema.c — the schema of the postgres store, by versions: each step once, whichever host comes first.
 *
 * On the writer, right after it connected. All steps run in one transaction under an advisory lock, so that
 * hosts that start together wait for the one that migrates and then find its work done. Table `jobs` may be
 * there, made and filled by an older service: it keeps its rows; what was finished stays so, what was waiting
 * becomes ours after a while (its message may still come, and brings more), what was running is taken over
 * when the older service is silent about it for a minute. */
#include "store_postgres.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* clang-format off */
static const char *const migrations[PG_SCHEMA_VERSION] = {
    /* 1 */
    "CREATE TABLE IF NOT EXISTS jobs(id uuid PRIMARY KEY, type text, status text, payload jsonb, "
    "created_at timestamp, updated_at timestamp DEFAULT now());"
    "ALTER TABLE jobs ADD COLUMN seq int8, ADD COLUMN event_id uuid, ADD COLUMN correlation_id uuid, "
    "ADD COLUMN job_json text, ADD COLUMN payload_at int4, ADD COLUMN payload_n int4, ADD COLUMN traceparent text, "
    "ADD COLUMN idempotency_key text, ADD COLUMN rank int8, ADD COLUMN run_at int8, ADD COLUMN ready bool, "
    "ADD COLUMN accepted_at int8, ADD COLUMN expires_at int8, ADD COLUMN max_attempts int4, ADD COLUMN attempt int4, "
    "ADD COLUMN lost int4, ADD COLUMN mark int4, ADD COLUMN outcome int4, ADD COLUMN token int8, "
    "ADD COLUMN lease_until int8, ADD COLUMN owner text, ADD COLUMN started_at int8, ADD COLUMN finished_at int8, "
    "ADD COLUMN folded bool, ADD COLUMN host text, ADD COLUMN result text, ADD COLUMN error text, ADD COLUMN log text;"
    "CREATE SEQUENCE odto_seq; CREATE SEQUENCE odto_outbox_block;"
    "UPDATE jobs SET seq = nextval('odto_seq'), rank = 0, attempt = 0, lost = 0, max_attempts = 10, status = 'PENDING', "
    "ready = false, accepted_at = (extract(epoch FROM now()) * 1000)::int8, "
    "run_at = (extract(epoch FROM now()) * 1000)::int8 + 30000 WHERE status IN ('PENDING', 'VALIDATED');"
    "UPDATE jobs SET seq = nextval('odto_seq'), rank = 0, attempt = 1, lost = 0, max_attempts = 10, "
    "token = nextval('odto_seq'), owner = 'an older service', "
    "accepted_at = (extract(epoch FROM now()) * 1000)::int8, run_at = (extract(epoch FROM now()) * 1000)::int8, "
    "lease_until = (extract(epoch FROM now()) * 1000)::int8 + 60000 WHERE status = 'EXECUTING';"
    "CREATE INDEX odto_jobs_created ON jobs(created_at, id);"
    "CREATE INDEX odto_jobs_ready ON jobs(type, rank, run_at, seq) WHERE status = 'PENDING' AND ready;"
    "CREATE INDEX odto_jobs_delayed ON jobs(type, run_at) WHERE status = 'PENDING' AND NOT ready;"
    "CREATE INDEX odto_jobs_lease ON jobs(lease_until) WHERE status = 'EXECUTING';"
    "CREATE INDEX odto_jobs_failed ON jobs(created_at, id) WHERE status = 'FAILED';"
    "CREATE TABLE odto_attempt(n int8 DEFAULT nextval('odto_seq'), job uuid, number int4, outcome int4, "
    "started_at int8, finished_at int8, host text, error text, log text);"
    "CREATE INDEX odto_attempt_job ON odto_attempt(job, n);"
    /* number of the row: of its holder's blocks, so that nobody waits for another's */
    "CREATE TABLE odto_outbox(holder int8, seq int8, event_id uuid, topic text, body text, held_until int8, "
    "PRIMARY KEY(holder, seq));"
    /* rows of each status, as the sum over the sessions that changed them (odto_stat) and what other services
     * did meanwhile (odto_delta); slot 0: what was there before */
    "CREATE TABLE odto_stat(slot int4 PRIMARY KEY, pending int8 DEFAULT 0, executing int8 DEFAULT 0, "
    "completed int8 DEFAULT 0, failed int8 DEFAULT 0, outbox int8 DEFAULT 0) WITH (fillfactor = 20);"
    "INSERT INTO odto_stat SELECT 0, count(*) FILTER (WHERE status IN ('PENDING', 'VALIDATED')), "
    "count(*) FILTER (WHERE status = 'EXECUTING'), count(*) FILTER (WHERE status = 'COMPLETED'), "
    "count(*) FILTER (WHERE status = 'FAILED'), 0 FROM jobs;"
    "CREATE TABLE odto_delta(pending int8, executing int8, completed int8, failed int8);"
    "CREATE FUNCTION odto_count() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$ "
    "DECLARE o text := CASE WHEN TG_OP <> 'INSERT' THEN OLD.status END; "
    "n text := CASE WHEN TG_OP <> 'DELETE' THEN NEW.status END; "
    "BEGIN IF o IS DISTINCT FROM n THEN INSERT INTO odto_delta VALUES("
    "(coalesce(n, '') IN ('PENDING', 'VALIDATED'))::int - (coalesce(o, '') IN ('PENDING', 'VALIDATED'))::int, "
    "(coalesce(n, '') = 'EXECUTING')::int - (coalesce(o, '') = 'EXECUTING')::int, "
    "(coalesce(n, '') = 'COMPLETED')::int - (coalesce(o, '') = 'COMPLETED')::int, "
    "(coalesce(n, '') = 'FAILED')::int - (coalesce(o, '') = 'FAILED')::int); END IF; RETURN NULL; END $$;"
    "CREATE TRIGGER odto_count AFTER INSERT OR DELETE OR UPDATE OF status ON jobs FOR EACH ROW "
    "WHEN (current_setting('odto.own', true) IS DISTINCT FROM 'on') EXECUTE FUNCTION odto_count();"
    "ALTER TABLE jobs SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0, "
    "autovacuum_analyze_scale_factor = 0.02);"
    "ALTER TABLE odto_outbox SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);"
    "ALTER TABLE odto_stat SET (autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);",
};
/* clang-format on */

static int failed(const pg_store *s, const pg_conn *c, int code, odto_error *err)
{
    odto_fail(err, code, "the schema of %s can't be brought up to date", s->where);
    odto_error_detail(err, "%s", c->error);
    if (strcmp(c->state, "42501") == 0)
        odto_error_hint(err, "the user of the URL needs the right to create tables, and to alter table jobs");
    else if (strcmp(c->state, "42701") == 0)
        odto_error_hint(err, "table jobs has a column of that name from elsewhere: rename it");
    return code;
}

/* The version of the schema: 0 without one. */
static int read_version(const pg_store *s, pg_conn *c, int64_t *version)
{
    int code = 0;
    pg_args none = {0};
    PGresult *r = pg_query(s, c, "SELECT coalesce(max(version), 0)::int8 FROM odto_schema", &none, &code);
    if (r != NULL)
        *version = pg_get_int(r, 0, 0);
    PQclear(r);
    return code;
}

static int migrate_locked(const pg_store *s, pg_conn *c, odto_error *err)
{
    int64_t version = 0;
    int code = pg_schema(s, c,
                         "CREATE TABLE IF NOT EXISTS odto_schema(version int4 PRIMARY KEY, "
                         "applied_at timestamptz DEFAULT now())");
    if (code == 0)
        code = read_version(s, c, &version);
    if (code == 0 && version > PG_SCHEMA_VERSION) {
        odto_fail(err, -EPROTO, "%s was written by a newer odto", s->where);
        odto_error_detail(err, "its schema has version %lld, this build knows up to %d", (long long)version,
                          PG_SCHEMA_VERSION);
        odto_error_hint(err, "install that newer version again, or use another database");
        return -EPROTO;
    }
    for (; code == 0 && version < PG_SCHEMA_VERSION; version++) {
        char mark[96];
        snprintf(mark, sizeof(mark), "INSERT INTO odto_schema(version) VALUES(%lld)", (long long)version + 1);
        code = pg_schema(s, c, migrations[version]);
        if (code == 0)
            code = pg_schema(s, c, mark);
        if (code == 0)
            odto_log(s->host, ODTO_INFO, "store %s: schema of %s is now version %lld", s->name, s->where,
                     (long long)version + 1);
    }
    return code != 0 ? failed(s, c, code, err) : 0;
}

/* Whether there is nothing to do, which is so at nearly every connection: asked without a lock. */
static bool up_to_date(const pg_store *s, pg_conn *c)
{
    int code = 0;
    int64_t version = 0;
    pg_args none = {0};
    PGresult *r = pg_query(s, c, "SELECT (to_regclass('odto_schema') IS NOT NULL)::int8", &none, &code);
    bool there = r != NULL && pg_get_int(r, 0, 0) == 1;
    PQclear(r);
    return there && read_version(s, c, &version) == 0 && version == PG_SCHEMA_VERSION;
}

/* A session that is there to migrate may wait and work longer than one for jobs. */
int pg_migrate(const pg_store *s, pg_conn *c, odto_error *err)
{
    char begin[192];
    if (up_to_date(s, c))
        return 0;
    snprintf(begin, sizeof(begin),
             "BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; "
             "SET LOCAL enable_seqscan = on; SELECT pg_advisory_xact_lock(%d, 1)",
             PG_LOCK_CLASS);
    int code = pg_schema(s, c, begin);
    if (code != 0)
        return failed(s, c, code, err);
    code = migrate_locked(s, c, err);
    if (code == 0 && (code = pg_schema(s, c, "COMMIT")) != 0)
        return failed(s, c, code, err);
    if (code != 0 && c->c != NULL)
        pg_schema(s, c, "ROLLBACK");
    return code;
}
