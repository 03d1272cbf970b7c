/* sql.c — every statement of the sqlite store. Written for the fewest B-tree touches: a job's facts are
 * written once (job), its state is which of three small tables holds it (pending, lease, done). */
#include "sql.h"

#define JOB_JOINS                         \
    "LEFT JOIN done d ON d.seq = j.seq "  \
    "LEFT JOIN lease l ON l.seq = j.seq " \
    "LEFT JOIN pending p ON p.seq = j.seq "

/* ?1 created_at and ?2 seq of the last row of the page before, ?3 type or NULL, ?4 limit */
#define LIST_WHERE       "(j.created_at, j.seq) < (?1, ?2) AND (?3 IS NULL OR j.type = ?3) "
#define LIST_ORDER       "ORDER BY j.created_at DESC, j.seq DESC LIMIT ?4"
#define LIST_ANY(select) select "FROM job j " JOB_JOINS "WHERE " LIST_WHERE LIST_ORDER
#define LIST_PENDING_FEW(select)                               \
    select "FROM pending p CROSS JOIN job j ON j.seq = p.seq " \
           "LEFT JOIN done d ON d.seq = -1 LEFT JOIN lease l ON l.seq = -1 WHERE " LIST_WHERE LIST_ORDER
#define LIST_PENDING_MANY(select) \
    select "FROM job j " JOB_JOINS "WHERE " LIST_WHERE "AND p.seq IS NOT NULL " LIST_ORDER
#define LIST_EXECUTING(select)                               \
    select "FROM lease l CROSS JOIN job j ON j.seq = l.seq " \
           "LEFT JOIN done d ON d.seq = -1 LEFT JOIN pending p ON p.seq = -1 WHERE " LIST_WHERE LIST_ORDER
#define LIST_COMPLETED(select) \
    select "FROM job j " JOB_JOINS "WHERE " LIST_WHERE "AND d.status = 3 " LIST_ORDER
#define LIST_FAILED(select)                                                            \
    select "FROM done d CROSS JOIN job j ON j.seq = d.seq "                            \
           "LEFT JOIN lease l ON l.seq = -1 LEFT JOIN pending p ON p.seq = -1 "        \
           "WHERE d.failed_created IS NOT NULL "                                       \
           "AND (d.failed_created, d.seq) < (?1, ?2) AND (?3 IS NULL OR j.type = ?3) " \
           "ORDER BY d.failed_created DESC, d.seq DESC LIMIT ?4"

/* The log's last events, in the order they occurred: producers that write beside each other come to the log
 * some milliseconds out of that order. */
#define NEWEST_EVENTS(where, limit)                                          \
    "SELECT seq, body FROM (SELECT seq, body, occurred_at FROM event " where \
    "ORDER BY seq DESC LIMIT " limit ") ORDER BY occurred_at DESC, seq DESC"

const char *const sq_sql_text[SQ_SQL_COUNT] = {
    [SQ_BEGIN] = "BEGIN IMMEDIATE",
    [SQ_COMMIT] = "COMMIT",
    [SQ_ROLLBACK] = "ROLLBACK",
    [SQ_STATE_LOAD] = "SELECT pending, executing, completed, failed, outbox, next_outbox, next_event, total, "
                      "counted_completed, counted_failed, last_event FROM state WHERE one = 1",
    [SQ_STATE_SAVE] =
        "UPDATE state SET pending = ?1, executing = ?2, completed = ?3, failed = ?4, outbox = ?5, "
        "next_outbox = ?6, next_event = ?7, total = ?8, counted_completed = ?9, "
        "counted_failed = ?10, last_event = ?11 WHERE one = 1",
    [SQ_PROBE] = "UPDATE state SET probe = probe + 1 WHERE one = 1",

    [SQ_JOB_INSERT] =
        "INSERT INTO job(id, type, created_at, priority, run_at, accepted_at, expires_at, max_attempts, "
        "event_id, correlation_id, payload_at, payload_n, traceparent, idempotency_key, job_json, payload) "
        "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16) "
        "ON CONFLICT(id) DO NOTHING",
    [SQ_JOB_FIND] = "SELECT seq, event_id FROM job WHERE id = ?1",
    [SQ_JOB_REDRIVE] =
        "UPDATE job SET type = ?2, created_at = ?3, priority = ?4, run_at = ?5, accepted_at = ?6, "
        "expires_at = ?7, max_attempts = ?8, event_id = ?9, correlation_id = ?10, payload_at = ?11, "
        "payload_n = ?12, traceparent = ?13, idempotency_key = ?14, job_json = ?15, payload = ?16 "
        "WHERE id = ?1",
    [SQ_JOB_DELETE] = "DELETE FROM job WHERE seq = ?1",
    [SQ_JOB_CREATED_AT] = "SELECT created_at FROM job WHERE seq = ?1",
    [SQ_JOB_BY_SEQ] = SQ_SELECT_JOB "FROM job j " JOB_JOINS "WHERE j.seq = ?1",

    [SQ_LEASE_INSERT] = "INSERT INTO lease(seq, id, lease, until, owner, attempt, lost, mark, started_at) "
                        "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    [SQ_LEASE_GET] =
        "SELECT id, lease, until, attempt, lost, mark, started_at, owner FROM lease WHERE seq = ?1",
    [SQ_LEASE_DELETE] = "DELETE FROM lease WHERE seq = ?1",
    [SQ_LEASE_EXTEND] = "UPDATE lease SET until = ?2 WHERE seq = ?1",
    [SQ_LEASE_MARK] = "UPDATE lease SET mark = ?2 WHERE seq = ?1",
    [SQ_LEASES_LOST] = "SELECT seq FROM lease WHERE until <= ?1 OR owner = ?2 ORDER BY seq LIMIT ?3",

    [SQ_PENDING_INSERT] =
        "INSERT INTO pending(seq, type, priority, run_at, ready, attempt, lost, lease, mark, updated_at) "
        "SELECT seq, type, priority, ?2, ?3, ?4, ?5, ?6, ?7, ?8 FROM job WHERE seq = ?1",
    [SQ_PENDING_GET] = "SELECT run_at, ready, attempt, lost, lease, mark FROM pending WHERE seq = ?1",
    [SQ_PENDING_DELETE] = "DELETE FROM pending WHERE seq = ?1",
    [SQ_PENDING_TYPE_AFTER] = "SELECT type FROM pending WHERE ready = 1 AND type > ?1 ORDER BY type LIMIT 1",
    [SQ_DELAYED_TYPE_AFTER] = "SELECT type FROM pending WHERE ready = 0 AND type > ?1 ORDER BY type LIMIT 1",
    [SQ_DELAYED_DUE] = "SELECT seq FROM pending WHERE ready = 0 AND type = ?1 AND run_at <= ?2 "
                       "ORDER BY run_at LIMIT ?3",
    [SQ_DELAYED_PROMOTE] = "UPDATE pending SET ready = 1 WHERE seq = ?1",
    [SQ_DELAYED_NEXT] = "SELECT run_at FROM pending WHERE ready = 0 AND type = ?1 ORDER BY run_at LIMIT 1",
    [SQ_READY_HEAD] = "SELECT seq, priority, run_at FROM pending WHERE ready = 1 AND type = ?1 "
                      "ORDER BY priority DESC, run_at, seq LIMIT ?2",
    [SQ_READY_OLDEST] =
        "SELECT priority, run_at FROM pending WHERE ready = 1 AND type = ?1 AND priority < ?2 "
        "ORDER BY priority DESC, run_at LIMIT 1",

    [SQ_DONE_INSERT] = "INSERT INTO done(seq, status, outcome, attempt, lost, lease, folded, started_at, "
                       "finished_at, failed_created, host, result, error, log) "
                       "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
    [SQ_DONE_GET] =
        "SELECT status, outcome, attempt, lost, lease, folded, started_at, finished_at, host, error, "
        "log FROM done WHERE seq = ?1",
    [SQ_DONE_DELETE] = "DELETE FROM done WHERE seq = ?1",
    [SQ_DONE_OLDEST] = "SELECT seq, status, finished_at FROM done WHERE seq > ?1 ORDER BY seq LIMIT ?2",

    [SQ_ATTEMPT_INSERT] =
        "INSERT INTO attempt(job, number, outcome, started_at, finished_at, host, error, log) "
        "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    [SQ_ATTEMPTS_DELETE] = "DELETE FROM attempt WHERE job = ?1",

    [SQ_OUTBOX_INSERT] = "INSERT INTO outbox(seq, event_id, topic, body) VALUES(?1, ?2, ?3, ?4)",
    [SQ_OUTBOX_TAKE] = "SELECT seq, event_id, topic, body FROM outbox ORDER BY seq LIMIT ?1",
    [SQ_OUTBOX_DELETE] = "DELETE FROM outbox WHERE seq BETWEEN ?1 AND ?2",

    [SQ_EVENT_INSERT] = "INSERT INTO event(seq, event_id, job_id, kind, occurred_at, body) "
                        "VALUES(?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT(event_id) DO NOTHING",
    [SQ_EVENTS_OLDEST] = "SELECT seq, occurred_at FROM event WHERE seq > ?1 ORDER BY seq LIMIT ?2",
    [SQ_EVENT_DELETE] = "DELETE FROM event WHERE seq = ?1",
    [SQ_COUNTED_INSERT] = "INSERT INTO counted(event_id, at) VALUES(?1, ?2) ON CONFLICT(event_id) DO NOTHING",
    [SQ_COUNTED_CLEAR] = "DELETE FROM counted",
    [SQ_COUNTED_EXPIRE] =
        "DELETE FROM counted WHERE n IN (SELECT n FROM counted ORDER BY n LIMIT ?2) AND at < ?1",

    [SQ_JOB_BY_ID] = SQ_SELECT_JOB "FROM job j " JOB_JOINS "WHERE j.id = ?1",
    [SQ_LAST_ERROR] = "SELECT error FROM attempt WHERE job = ?1 ORDER BY n DESC LIMIT 1",
    [SQ_ATTEMPTS] = "SELECT number, outcome, started_at, finished_at, error, log, host, n FROM attempt "
                    "WHERE job = ?1 UNION ALL "
                    "SELECT attempt, outcome, started_at, finished_at, error, log, host, 9223372036854775807 "
                    "FROM done WHERE seq = ?1 AND folded = 1 ORDER BY 8",
    [SQ_LIST_ANY] = LIST_ANY(SQ_SELECT_BRIEF),
    [SQ_LIST_PENDING_FEW] = LIST_PENDING_FEW(SQ_SELECT_BRIEF),
    [SQ_LIST_PENDING_MANY] = LIST_PENDING_MANY(SQ_SELECT_BRIEF),
    [SQ_LIST_EXECUTING] = LIST_EXECUTING(SQ_SELECT_BRIEF),
    [SQ_LIST_COMPLETED] = LIST_COMPLETED(SQ_SELECT_BRIEF),
    [SQ_LIST_FAILED] = LIST_FAILED(SQ_SELECT_BRIEF),
    [SQ_LIST_ANY_BODY] = LIST_ANY(SQ_SELECT_JOB),
    [SQ_LIST_PENDING_FEW_BODY] = LIST_PENDING_FEW(SQ_SELECT_JOB),
    [SQ_LIST_PENDING_MANY_BODY] = LIST_PENDING_MANY(SQ_SELECT_JOB),
    [SQ_LIST_EXECUTING_BODY] = LIST_EXECUTING(SQ_SELECT_JOB),
    [SQ_LIST_COMPLETED_BODY] = LIST_COMPLETED(SQ_SELECT_JOB),
    [SQ_LIST_FAILED_BODY] = LIST_FAILED(SQ_SELECT_JOB),

    [SQ_EVENTS_ALL] = NEWEST_EVENTS("", "?1"),
    [SQ_EVENTS_OF_JOB] = NEWEST_EVENTS("WHERE job_id = ?1 ", "?2"),
    [SQ_EVENTS_AFTER] = "SELECT seq, body FROM event WHERE seq > ?1 ORDER BY seq LIMIT ?2",
    [SQ_EVENTS_SCAN] = "SELECT event_id, kind, occurred_at FROM event",
    [SQ_EVENTS_COUNT] = "SELECT count(*), total(kind = ?1), total(kind = ?2), max(occurred_at) FROM event",
};
