/* sql.c — every statement of the postgres store.
 *
 * The writer's work on sets: parameters are arrays with one element an operation, and `ord` tells which
 * operation a row belongs to. Each statement also moves the counts in odto_stat, in the row of the session
 * ($slot), by what it really changed, so the counts are exact and hosts don't wait for each other's row.
 * Transitions are guarded by status and fencing token in the WHERE, never by a read before. Joins are nested
 * loops from the arrays to the primary key (see set_up() in conn.c), whatever the statistics were when the
 * statement was prepared; `status || ''` keeps a partial index out of such a plan. Numbers of outcomes are
 * those of odto/store.h. */
#include "sql.h"

/* A row that an older service wrote has no job text: what the contract's columns tell. */
#define BODY(j)                                                                                       \
    "coalesce(" #j ".job_json, json_build_object('id', " #j ".id, 'type', " #j ".type, 'status', " #j \
    ".status, 'createdAt', to_char(" #j                                                               \
    ".created_at, 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'), 'payload', coalesce(" #j                      \
    ".payload, '{}'::jsonb))::text)"
#define PAYLOAD(j) \
    "CASE WHEN coalesce(" #j ".payload_at, -1) < 0 THEN coalesce(" #j ".payload, '{}'::jsonb)::text END"
#define SELECT_JOB(body, payload, result, error)                                                       \
    "SELECT j.id, j.event_id, j.correlation_id, j.type, " body ", j.payload_at, j.payload_n, " payload \
    ", j.traceparent, j.idempotency_key, j.status, j.outcome, j.mark, j.rank, j.attempt, "             \
    "j.max_attempts, j.lost, j.token, j.created_at, j.updated_at, j.accepted_at, j.run_at, "           \
    "j.started_at, j.finished_at, j.expires_at, " result ", " error " "
#define SELECT_WHOLE SELECT_JOB(BODY(j), PAYLOAD(j), "j.result", "j.error")
#define SELECT_BRIEF SELECT_JOB("NULL::text", "NULL::text", "NULL::text", "NULL::text")

#define DB_MS "(extract(epoch FROM clock_timestamp()) * 1000)::int8"

/* $1 id, $2 type, $3 payload, $4 created_at, $5 updated_at, $6 event_id, $7 correlation_id, $8 job_json,
 * $9 payload_at, $10 payload_n, $11 traceparent, $12 idempotency_key, $13 rank, $14 run_at, $15 accepted_at,
 * $16 expires_at, $17 max_attempts, $18 lease_until (0: it waits), $19 owner, $20 now; $21 slot */
#define ACCEPT_ARRAYS \
    "$1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20"
#define ACCEPT_NAMES                                                                                    \
    "id, type, payload, created, updated, event, correlation, job_json, payload_at, payload_n, trace, " \
    "key, rank, run_at, accepted, expires, max_attempts, until, owner, now"

/* $a ord, $b seq, $c event_id, $d topic, $e body, $h holder, $t how long it is held; from: the ords that
 * count */
#define OUTGOING(a, b, c, d, e, h, t, from)                                                           \
    "o AS (INSERT INTO odto_outbox(holder, seq, event_id, topic, body, held_until) SELECT " h         \
    ", x.seq, x.event, x.topic, x.body, " DB_MS " + " t " FROM unnest(" a ", " b ", " c ", " d ", " e \
    ") AS x(ord, seq, event, topic, body) WHERE (x.ord IN (SELECT ord FROM " from ")) IS TRUE RETURNING 1)"

#define COUNT(from)          "(SELECT count(*) FROM " from ")"
#define COUNT_OF(from, cond) "(SELECT count(*) FROM " from " WHERE " cond ")"

/* The types asked for; of an empty array: all that have pending jobs, at most 1024. */
#define LOOSE(ready)                                                                                \
    "(WITH RECURSIVE t AS ((SELECT type FROM jobs WHERE status = 'PENDING' AND " ready              \
    " ORDER BY type LIMIT 1) UNION ALL SELECT n.type FROM t, LATERAL (SELECT type FROM jobs WHERE " \
    "status = 'PENDING' AND " ready " AND type > t.type ORDER BY type LIMIT 1) n) "                 \
    "SELECT type FROM t LIMIT 1024)"
#define TYPES                                                                                  \
    "unnest(CASE WHEN cardinality($1) > 0 THEN $1 ELSE ARRAY(" LOOSE("ready") " UNION " LOOSE( \
        "NOT ready") ") END) AS t"

/* $1 now and $4 lease_until of a poison row by the server's clock, $2 limit, $3 max_lost, $5 owner, $6 now,
 * $7 the same as timestamp, $8 run_at, $9 slot */
#define REAP(which)                                                                                       \
    "WITH l AS MATERIALIZED (SELECT id, attempt, coalesce(lost, 0) AS lost, mark IS NOT DISTINCT FROM 5 " \
    "AS counted, started_at, owner FROM jobs WHERE status = 'EXECUTING' AND " which                       \
    " ORDER BY lease_until LIMIT $2 FOR UPDATE SKIP LOCKED), "                                            \
    "v AS MATERIALIZED (SELECT l.*, counted OR lost + 1 > $3 AS poison FROM l), "                         \
    "a AS (INSERT INTO odto_attempt(job, number, outcome, started_at, finished_at, host, error) "         \
    "SELECT id, attempt, 4, started_at, $6, owner, 'the lease ran out or its host ended' FROM v "         \
    "WHERE NOT counted), "                                                                                \
    "u AS (UPDATE jobs j SET status = CASE WHEN v.poison THEN 'EXECUTING' ELSE 'PENDING' END, "           \
    "lost = v.lost + CASE WHEN v.counted THEN 0 ELSE 1 END, "                                             \
    "mark = CASE WHEN v.poison THEN 5 ELSE j.mark END, "                                                  \
    "token = CASE WHEN v.poison THEN nextval('odto_seq') ELSE j.token END, "                              \
    "lease_until = CASE WHEN v.poison THEN $4 END, owner = CASE WHEN v.poison THEN $5 END, "              \
    "ready = CASE WHEN NOT v.poison THEN $8 <= $6 END, rank = coalesce(j.rank, 0), "                      \
    "run_at = CASE WHEN v.poison THEN j.run_at ELSE greatest($8, $6) END, updated_at = $7, "              \
    "error = 'the lease ran out or its host ended' FROM v WHERE j.id = v.id "                             \
    "RETURNING j.*, v.poison), "                                                                          \
    "s AS (UPDATE odto_stat SET executing = executing - " COUNT_OF(                                       \
        "u", "NOT poison") ", pending = "                                                                 \
                           "pending + " COUNT_OF("u", "NOT poison") " WHERE slot = $9) " SELECT_JOB(      \
                               "CASE WHEN j.poison THEN " BODY(j) " END",                                 \
                               "CASE WHEN j.poison THEN " PAYLOAD(j) " END", "NULL::text",                \
                               "NULL::text") ", j.poison FROM u j"

/* $1 created_at and $2 id of the last row of the page before, $3 type or '', $4 limit, $5 status */
#define LIST(select, status)                                                                        \
    select "FROM jobs j WHERE (j.created_at, j.id) < ($1, $2) AND ($3 = '' OR j.type = $3) " status \
           "ORDER BY j.created_at DESC, j.id DESC LIMIT $4"

/* The smallest run_at of the ready jobs: the head of each type and priority, at most 32 of them. */
#define OLDEST_READY                                                                                 \
    "(WITH RECURSIVE h AS ((SELECT type, rank, run_at FROM jobs WHERE status = 'PENDING' AND ready " \
    "ORDER BY type, rank, run_at LIMIT 1) UNION ALL SELECT n.* FROM h, LATERAL (SELECT type, rank, " \
    "run_at FROM jobs WHERE status = 'PENDING' AND ready AND (type, rank) > (h.type, h.rank) "       \
    "ORDER BY type, rank, run_at LIMIT 1) n) SELECT min(run_at) FROM (SELECT run_at FROM h LIMIT 32) x)"
#define OLDEST_DELAYED                                                                                 \
    "(WITH RECURSIVE h AS ((SELECT type, run_at FROM jobs WHERE status = 'PENDING' AND NOT ready "     \
    "ORDER BY type, run_at LIMIT 1) UNION ALL SELECT n.* FROM h, LATERAL (SELECT type, run_at FROM "   \
    "jobs WHERE status = 'PENDING' AND NOT ready AND type > h.type ORDER BY type, run_at LIMIT 1) n) " \
    "SELECT min(run_at) FROM (SELECT run_at FROM h LIMIT 32) x)"

const char *const pg_sql_text[PG_SQL_COUNT] = {
    /* gives (id, token) of those that were not there, in the order of the arrays */
    [PG_ACCEPT] =
        "WITH i AS (INSERT INTO jobs(id, type, status, payload, created_at, updated_at, seq, event_id, "
        "correlation_id, job_json, payload_at, payload_n, traceparent, idempotency_key, rank, run_at, ready, "
        "accepted_at, expires_at, max_attempts, attempt, lost, token, lease_until, owner, started_at) "
        "SELECT id, type, CASE WHEN until > 0 THEN 'EXECUTING' ELSE 'PENDING' END, payload, created, "
        "updated, s, event, correlation, job_json, payload_at, payload_n, trace, key, rank, run_at, "
        "CASE WHEN until = 0 THEN run_at <= now END, accepted, expires, max_attempts, (until > 0)::int, 0, "
        "CASE WHEN until > 0 THEN s END, nullif(until, 0), owner, CASE WHEN until > 0 THEN now END "
        "FROM (SELECT u.*, nextval('odto_seq') AS s FROM unnest(" ACCEPT_ARRAYS ") WITH ORDINALITY "
        "AS u(" ACCEPT_NAMES ", ord) ORDER BY ord) x ON CONFLICT (id) DO NOTHING "
        "RETURNING id, token, status), "
        "s AS (UPDATE odto_stat SET pending = pending + " COUNT_OF(
            "i", "status = 'PENDING'") ", "
                                       "executing = executing + " COUNT_OF(
                                           "i", "status = 'EXECUTING'") " WHERE slot = $21) "
                                                                        "SELECT id, token FROM i",
    /* … of ids that are there: a FAILED job that is wanted again ($22), or a row that another service left
     * unfinished and whose message has come to us. Gives (ord, token). */
    [PG_ACCEPT_AGAIN] =
        "WITH o AS MATERIALIZED (SELECT u.*, j.status AS was, j.folded AS was_folded, "
        "j.outcome AS was_outcome, j.attempt AS was_attempt, j.started_at AS was_started, "
        "j.finished_at AS was_finished, j.host AS was_host, j.error AS was_error, j.log AS was_log "
        "FROM unnest(" ACCEPT_ARRAYS ", $22) WITH ORDINALITY AS u(" ACCEPT_NAMES ", redrive, ord) "
        "JOIN jobs j ON j.id = u.id WHERE (redrive AND j.status = 'FAILED' AND j.event_id IS DISTINCT FROM "
        "u.event) OR (j.event_id IS NULL AND (j.status IN ('PENDING', 'VALIDATED') OR "
        "(j.status = 'EXECUTING' AND j.started_at IS NULL))) FOR UPDATE OF j), "
        "a AS (INSERT INTO odto_attempt(job, number, outcome, started_at, finished_at, host, error, log) "
        "SELECT id, was_attempt, was_outcome, was_started, was_finished, was_host, was_error, was_log "
        "FROM o WHERE was = 'FAILED' AND was_folded), "
        "f AS (UPDATE jobs j SET type = o.type, status = CASE WHEN o.until > 0 THEN 'EXECUTING' ELSE "
        "'PENDING' END, payload = o.payload, created_at = o.created, updated_at = o.updated, "
        "seq = nextval('odto_seq'), event_id = o.event, correlation_id = o.correlation, "
        "job_json = o.job_json, payload_at = o.payload_at, payload_n = o.payload_n, traceparent = o.trace, "
        "idempotency_key = o.key, rank = o.rank, run_at = o.run_at, "
        "ready = CASE WHEN o.until = 0 THEN o.run_at <= o.now END, accepted_at = o.accepted, "
        "expires_at = o.expires, max_attempts = o.max_attempts, attempt = (o.until > 0)::int, lost = 0, "
        "mark = NULL, outcome = NULL, token = CASE WHEN o.until > 0 THEN nextval('odto_seq') ELSE j.token "
        "END, lease_until = nullif(o.until, 0), owner = o.owner, "
        "started_at = CASE WHEN o.until > 0 THEN o.now END, finished_at = NULL, folded = NULL, host = NULL, "
        "result = NULL, error = NULL, log = NULL FROM o WHERE j.id = o.id "
        "RETURNING o.ord, CASE WHEN o.until > 0 THEN j.token END AS token, j.status, o.was), "
        "s AS (UPDATE odto_stat SET "
        "pending = pending + " COUNT_OF("f", "status = 'PENDING'") " - " COUNT_OF(
            "f",
            "was IN ('PENDING', 'VALIDATED')") ", "
                                               "executing = executing + " COUNT_OF(
                                                   "f",
                                                   "status = "
                                                   "'EXECUTING'") " - " COUNT_OF("f",
                                                                                 "was = 'EXECUTING'") ", "
                                                                                                      "failed"
                                                                                                      " = "
                                                                                                      "failed"
                                                                                                      " -"
                                                                                                      " " COUNT_OF(
                                                                                                          "f",
                                                                                                          "wa"
                                                                                                          "s "
                                                                                                          "= "
                                                                                                          "'F"
                                                                                                          "AI"
                                                                                                          "LE"
                                                                                                          "D"
                                                                                                          "'") " WHERE "
                                                                                                               "slot = "
                                                                                                               "$21) "
                                                                                                               "SELECT "
                                                                                                               "ord, "
                                                                                                               "token "
                                                                                                               "FROM f",
    /* $1 id, $2 token, $3 lease_until; gives ord */
    [PG_EXTEND] = "UPDATE jobs j SET lease_until = u.until FROM unnest($1, $2, $3) WITH ORDINALITY "
                  "AS u(id, token, until, ord) WHERE j.id = u.id AND j.token = u.token "
                  "AND j.status || '' = 'EXECUTING' RETURNING u.ord",
    /* $1 id, $2 token, $3 status, $4 outcome, $5 started_at (0: as leased), $6 finished_at, $7 host, $8
     * result, $9 error, $10 log, $11 updated_at; outgoing: $12 ord, $13 seq, $14 event_id, $15 topic, $16
     * body; $17 holder, $18 hold, $19 slot; gives ord. The last attempt stays in the row (folded), unless it
     * was recorded as lost already (poison). */
    [PG_FINISH] =
        "WITH f AS (UPDATE jobs j SET status = u.status, outcome = u.outcome, updated_at = u.updated, "
        "started_at = CASE WHEN u.started > 0 THEN u.started ELSE j.started_at END, "
        "finished_at = u.finished, folded = j.mark IS DISTINCT FROM 5, host = u.host, result = u.result, "
        "error = u.error, log = u.log, lease_until = NULL, owner = NULL "
        "FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) WITH ORDINALITY "
        "AS u(id, token, status, outcome, started, finished, host, result, error, log, updated, ord) "
        "WHERE j.id = u.id AND j.token = u.token AND j.status || '' = 'EXECUTING' RETURNING u.ord, "
        "j.status), " OUTGOING(
            "$12", "$13", "$14", "$15", "$16", "$17", "$18",
            "f") ", "
                 "s AS (UPDATE odto_stat SET executing = executing - " COUNT(
                     "f") ", "
                          "completed = completed + " COUNT_OF(
                              "f", "status = 'COMPLETED'") ", "
                                                           "failed = failed + " COUNT_OF(
                                                               "f",
                                                               "status = 'FAILED'") ", outbox = outbox "
                                                                                    "+ " COUNT("o") " WHERE "
                                                                                                    "slot = "
                                                                                                    "$19) "
                                                                                                    "SELECT "
                                                                                                    "ord "
                                                                                                    "FROM f",
    /* $1 id, $2 token, $3 outcome, $4 run_at, $5 now, $6 started_at (0: as leased), $7 finished_at, $8 host,
     * $9 error, $10 log, $11 updated_at, $12 slot; gives ord */
    [PG_RETRY] =
        "WITH f AS (UPDATE jobs j SET status = 'PENDING', ready = u.run_at <= u.now, run_at = u.run_at, "
        "lost = coalesce(j.lost, 0) + (u.outcome = 4)::int, error = u.error, lease_until = NULL, "
        "owner = NULL, updated_at = u.updated "
        "FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) WITH ORDINALITY "
        "AS u(id, token, outcome, run_at, now, started, finished, host, error, log, updated, ord) "
        "WHERE j.id = u.id AND j.token = u.token AND j.status || '' = 'EXECUTING' "
        "RETURNING u.ord, j.id, j.attempt, u.outcome, CASE WHEN u.started > 0 THEN u.started ELSE "
        "j.started_at END AS started, u.finished, u.host, u.error, u.log), "
        "a AS (INSERT INTO odto_attempt(job, number, outcome, started_at, finished_at, host, error, log) "
        "SELECT id, attempt, outcome, started, finished, host, error, log FROM f), "
        "s AS (UPDATE odto_stat SET executing = executing - " COUNT("f") ", pending = pending + " COUNT(
            "f") " WHERE slot = $12) SELECT ord FROM f",
    /* $1 id, $2 token, $3 run_at (not before now), $4 now, $5 updated_at, $6 slot; gives ord */
    [PG_RELEASE] =
        "WITH f AS (UPDATE jobs j SET status = 'PENDING', ready = u.run_at <= u.now, run_at = u.run_at, "
        "attempt = greatest(j.attempt - 1, 0), lease_until = NULL, owner = NULL, updated_at = u.updated "
        "FROM unnest($1, $2, $3, $4, $5) WITH ORDINALITY AS u(id, token, run_at, now, updated, ord) "
        "WHERE j.id = u.id AND j.token = u.token AND j.status || '' = 'EXECUTING' RETURNING u.ord), "
        "s AS (UPDATE odto_stat SET executing = executing - " COUNT("f") ", pending = pending + " COUNT(
            "f") " WHERE slot = $6) SELECT ord FROM f",
    /* $1 id, $2 now, $3 error, $4 updated_at; outgoing $5 to $9; $10 holder, $11 hold, $12 slot; gives (ord,
     * it was running) */
    [PG_CANCEL] =
        "WITH u AS MATERIALIZED (SELECT * FROM unnest($1, $2, $3, $4) WITH ORDINALITY "
        "AS u(id, now, error, updated, ord)), "
        "f AS (UPDATE jobs j SET status = 'FAILED', outcome = 6, updated_at = u.updated, "
        "finished_at = u.now, folded = false, error = u.error, ready = NULL FROM u "
        "WHERE j.id = u.id AND j.status || '' IN ('PENDING', 'VALIDATED') RETURNING u.ord), "
        "r AS (UPDATE jobs j SET mark = 6 FROM u WHERE j.id = u.id AND j.status || '' = 'EXECUTING' "
        "RETURNING u.ord), " OUTGOING(
            "$5", "$6", "$7", "$8", "$9", "$10", "$11",
            "f") ", "
                 "s AS (UPDATE odto_stat SET pending = pending - " COUNT("f") ", failed = failed + " COUNT(
                     "f") ", outbox = outbox + " COUNT("o") " WHERE slot = $12) "
                                                            "SELECT ord, false FROM f UNION ALL SELECT ord, "
                                                            "true FROM r",
    /* $1 seq, $2 holder, $3 slot */
    [PG_OUTBOX_DONE] = "WITH d AS (DELETE FROM odto_outbox WHERE holder = $2 AND seq = ANY($1) RETURNING 1) "
                       "UPDATE odto_stat SET outbox = outbox - " COUNT("d") " WHERE slot = $3",
    /* $1 holder, $2 limit, $3 hold, $4 1 when own rows are wanted: those first, then those whose holder has
     * not published them in time; gives (seq, event_id, topic, body) */
    [PG_OUTBOX_TAKE] =
        "WITH mine AS MATERIALIZED (SELECT holder, seq FROM odto_outbox WHERE $4 = 1 AND holder = $1 ORDER "
        "BY seq "
        "LIMIT $2 FOR UPDATE SKIP LOCKED), "
        "late AS MATERIALIZED (SELECT holder, seq FROM odto_outbox WHERE holder <> $1 AND held_until "
        "<= " DB_MS " ORDER BY holder, seq LIMIT $2 FOR UPDATE SKIP LOCKED), "
        "c AS (SELECT * FROM mine UNION ALL SELECT * FROM late LIMIT $2), "
        "u AS (UPDATE odto_outbox o SET holder = $1, held_until = " DB_MS " + $3 FROM c "
        "WHERE o.holder = c.holder AND o.seq = c.seq RETURNING o.seq, o.event_id, o.topic, o.body) "
        "SELECT seq, event_id, topic, body FROM u ORDER BY seq",
    [PG_REAP] = REAP("lease_until <= $1"),
    [PG_REAP_OWN] = REAP("(lease_until <= $1 OR owner = $5)"),
    /* $1 types, $2 now: delayed jobs whose time has come become ready */
    [PG_PROMOTE] = "UPDATE jobs SET ready = true WHERE id IN (SELECT x.id FROM " TYPES
                   ", LATERAL (SELECT id FROM jobs WHERE status = 'PENDING' AND NOT ready AND type = t "
                   "AND run_at <= $2 ORDER BY run_at LIMIT 1000 FOR UPDATE SKIP LOCKED) x)",
    /* $1 types, $2 limit, $3 now, $4 lease_until, $5 owner, $6 updated_at, $7 slot: gives whole jobs. Rows
     * that another host is just claiming are passed over. */
    [PG_CLAIM] =
        "WITH c AS MATERIALIZED (SELECT x.* FROM " TYPES
        ", LATERAL (SELECT id, rank, run_at, seq FROM jobs WHERE status = 'PENDING' AND ready AND type = t "
        "ORDER BY rank, run_at, seq LIMIT $2 FOR UPDATE SKIP LOCKED) x WHERE x.run_at <= $3 "
        "ORDER BY rank, run_at, seq LIMIT $2), "
        "f AS (UPDATE jobs j SET status = 'EXECUTING', ready = NULL, attempt = coalesce(j.attempt, 0) + 1, "
        "token = nextval('odto_seq'), lease_until = $4, owner = $5, started_at = $3, updated_at = $6 "
        "FROM c WHERE j.id = c.id RETURNING j.*), "
        "s AS (UPDATE odto_stat SET pending = pending - " COUNT("f") ", executing = executing + " COUNT(
            "f") " WHERE slot = $7) " SELECT_WHOLE "FROM f j ORDER BY j.rank, j.run_at, j.seq",
    /* $1 types: run_at of the next job that was not taken */
    [PG_NEXT_DUE] =
        "SELECT min(x.run_at) FROM " TYPES ", LATERAL ((SELECT run_at FROM jobs WHERE status = 'PENDING' "
        "AND ready AND type = t ORDER BY rank, run_at, seq LIMIT 1) UNION ALL (SELECT run_at FROM jobs "
        "WHERE status = 'PENDING' AND NOT ready AND type = t ORDER BY run_at LIMIT 1)) x",
    [PG_WHICH_EXIST] = "SELECT id FROM jobs WHERE id = ANY($1)",
    /* $1 owner, $2 the newest token that is known, $3 slot: leases of a transaction that was committed though
     * its answer never came; nobody has begun to run these jobs */
    [PG_DISOWN] =
        "WITH f AS (UPDATE jobs SET status = 'PENDING', ready = true, attempt = greatest(attempt - 1, 0), "
        "lease_until = NULL, owner = NULL WHERE status = 'EXECUTING' AND owner = $1 AND token > $2 "
        "AND mark IS DISTINCT FROM 5 RETURNING 1) "
        "UPDATE odto_stat SET pending = pending + " COUNT("f") ", executing = executing - " COUNT(
            "f") " WHERE slot = $3",
    [PG_PROBE_JSON] = "SELECT $1 IS NULL",
    [PG_OUTBOX_BLOCK] = "SELECT nextval('odto_outbox_block')",
    /* $1 created_at and $2 id to begin behind, $3 rows to look at, $4 finished before (Unix ms), $5 slot:
     * gives (rows seen, rows deleted, created_at and id of the last row seen). One host at a time does it. */
    [PG_RETAIN] =
        "WITH g AS MATERIALIZED (SELECT pg_try_advisory_xact_lock(1868854383, 2) AS ok), "
        "w AS MATERIALIZED (SELECT id, created_at, status, coalesce(finished_at, "
        "(extract(epoch FROM updated_at) * 1000)::int8, 0) AS ended FROM jobs "
        "WHERE (SELECT ok FROM g) AND (created_at, id) > ($1, $2) ORDER BY created_at, id LIMIT $3), "
        "d AS (DELETE FROM jobs j USING w WHERE j.id = w.id AND j.status IN ('COMPLETED', 'FAILED') "
        "AND j.status = w.status AND w.ended < $4 RETURNING j.id, j.status), "
        "a AS (DELETE FROM odto_attempt t USING d WHERE t.job = d.id), "
        "s AS (UPDATE odto_stat SET completed = completed - " COUNT_OF(
            "d",
            "status = 'COMPLETED'") ", "
                                    "failed = failed - " COUNT_OF(
                                        "d",
                                        "status = 'FAILED'") " WHERE slot = $5) "
                                                             "SELECT " COUNT("w") ", " COUNT(
                                                                 "d") ", (SELECT created_at FROM w ORDER BY "
                                                                      "created_at DESC, id DESC "
                                                                      "LIMIT 1), (SELECT id FROM w ORDER BY "
                                                                      "created_at DESC, id DESC LIMIT 1)",
    /* $1 slot: what other services did to the table becomes part of the counts */
    [PG_FOLD] = "WITH d AS (DELETE FROM odto_delta RETURNING pending, executing, completed, failed) "
                "UPDATE odto_stat SET pending = pending + (SELECT coalesce(sum(pending), 0) FROM d), "
                "executing = executing + (SELECT coalesce(sum(executing), 0) FROM d), "
                "completed = completed + (SELECT coalesce(sum(completed), 0) FROM d), "
                "failed = failed + (SELECT coalesce(sum(failed), 0) FROM d) WHERE slot = $1",

    [PG_GET] = SELECT_WHOLE "FROM jobs j WHERE j.id = $1",
    /* $1 id: gives (number, outcome, started_at, finished_at, error, log, host) */
    [PG_ATTEMPTS] =
        "SELECT number, outcome, started_at, finished_at, error, log, host FROM (SELECT n, number, outcome, "
        "started_at, finished_at, error, log, host FROM odto_attempt WHERE job = $1 UNION ALL "
        "SELECT 9223372036854775807, attempt, outcome, started_at, finished_at, error, log, host FROM jobs "
        "WHERE id = $1 AND folded AND status IN ('COMPLETED', 'FAILED')) x ORDER BY n",
    [PG_STATS] =
        "SELECT sum(pending)::int8, sum(executing)::int8, sum(completed)::int8, sum(failed)::int8, "
        "sum(outbox)::int8, " OLDEST_READY ", " OLDEST_DELAYED " FROM (SELECT pending, executing, completed, "
        "failed, outbox FROM odto_stat UNION ALL SELECT pending, executing, completed, failed, 0 "
        "FROM odto_delta) x",
    [PG_LIST_ANY] = LIST(SELECT_BRIEF, ""),
    [PG_LIST_STATUS] = LIST(SELECT_BRIEF, "AND j.status = $5 "),
    [PG_LIST_ANY_BODY] = LIST(SELECT_WHOLE, ""),
    [PG_LIST_STATUS_BODY] = LIST(SELECT_WHOLE, "AND j.status = $5 "),
};
