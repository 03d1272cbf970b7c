/* sql.h — the statements of the sqlite store, by name. The texts are in sql.c, the tables in schema.c. */
#ifndef STORE_SQLITE_SQL_H
#define STORE_SQLITE_SQL_H

typedef enum sq_sql {
    SQ_BEGIN,
    SQ_COMMIT,
    SQ_ROLLBACK,
    SQ_STATE_LOAD,
    SQ_STATE_SAVE,
    SQ_PROBE,
    /* writer: jobs */
    SQ_JOB_INSERT,
    SQ_JOB_FIND,
    SQ_JOB_REDRIVE,
    SQ_JOB_DELETE,
    SQ_JOB_CREATED_AT,
    SQ_JOB_BY_SEQ,
    SQ_LEASE_INSERT,
    SQ_LEASE_GET,
    SQ_LEASE_DELETE,
    SQ_LEASE_EXTEND,
    SQ_LEASE_MARK,
    SQ_LEASES_LOST,
    SQ_PENDING_INSERT,
    SQ_PENDING_GET,
    SQ_PENDING_DELETE,
    SQ_PENDING_TYPE_AFTER,
    SQ_DELAYED_TYPE_AFTER,
    SQ_DELAYED_DUE,
    SQ_DELAYED_PROMOTE,
    SQ_DELAYED_NEXT,
    SQ_READY_HEAD,
    SQ_READY_OLDEST,
    SQ_DONE_INSERT,
    SQ_DONE_GET,
    SQ_DONE_DELETE,
    SQ_DONE_OLDEST,
    SQ_ATTEMPT_INSERT,
    SQ_ATTEMPTS_DELETE,
    SQ_OUTBOX_INSERT,
    SQ_OUTBOX_TAKE,
    SQ_OUTBOX_DELETE,
    /* writer: events and counters */
    SQ_EVENT_INSERT,
    SQ_EVENTS_OLDEST,
    SQ_EVENT_DELETE,
    SQ_COUNTED_INSERT,
    SQ_COUNTED_CLEAR,
    SQ_COUNTED_EXPIRE,
    /* readers */
    SQ_JOB_BY_ID,
    SQ_LAST_ERROR,
    SQ_ATTEMPTS,
    SQ_LIST_ANY, /* the lists without bodies, then in the same order with */
    SQ_LIST_PENDING_FEW,
    SQ_LIST_PENDING_MANY,
    SQ_LIST_EXECUTING,
    SQ_LIST_COMPLETED,
    SQ_LIST_FAILED,
    SQ_LIST_ANY_BODY,
    SQ_LIST_PENDING_FEW_BODY,
    SQ_LIST_PENDING_MANY_BODY,
    SQ_LIST_EXECUTING_BODY,
    SQ_LIST_COMPLETED_BODY,
    SQ_LIST_FAILED_BODY,
    SQ_EVENTS_ALL,
    SQ_EVENTS_OF_JOB,
    SQ_EVENTS_AFTER,
    SQ_EVENTS_COUNT,
    SQ_EVENTS_SCAN,
    SQ_SQL_COUNT
} sq_sql;

extern const char *const sq_sql_text[SQ_SQL_COUNT];

/* Columns of every statement that gives a job, in the order sq_job_from_row() reads them. Which of the three
 * joined tables has a row for the job is its status. */
#define SQ_JOB_COLUMNS(body, end)                                                                         \
    "SELECT j.seq, j.id, j.event_id, j.correlation_id, j.type, j.priority, j.created_at, j.accepted_at, " \
    "j.run_at, j.expires_at, j.max_attempts, j.payload_at, j.payload_n, j.traceparent, "                  \
    "j.idempotency_key, " body ", "                                                                       \
    "d.status, d.outcome, d.attempt, d.lost, d.started_at, d.finished_at, " end ", "                      \
    "l.lease, l.mark, l.attempt, l.lost, l.started_at, "                                                  \
    "p.run_at, p.mark, p.attempt, p.lost, p.updated_at "
#define SQ_SELECT_JOB   SQ_JOB_COLUMNS("j.job_json, j.payload", "d.result, d.error")
#define SQ_SELECT_BRIEF SQ_JOB_COLUMNS("NULL, NULL", "NULL, NULL")

enum {
    SQ_C_SEQ,
    SQ_C_ID,
    SQ_C_EVENT_ID,
    SQ_C_CORRELATION_ID,
    SQ_C_TYPE,
    SQ_C_PRIORITY,
    SQ_C_CREATED_AT,
    SQ_C_ACCEPTED_AT,
    SQ_C_RUN_AT,
    SQ_C_EXPIRES_AT,
    SQ_C_MAX_ATTEMPTS,
    SQ_C_PAYLOAD_AT, /* the payload as a part of job_json; -1: it is in `payload` */
    SQ_C_PAYLOAD_N,
    SQ_C_TRACEPARENT,
    SQ_C_IDEMPOTENCY_KEY, /* NULL: the id */
    SQ_C_JOB_JSON,
    SQ_C_PAYLOAD,
    SQ_C_D_STATUS,
    SQ_C_D_OUTCOME,
    SQ_C_D_ATTEMPT,
    SQ_C_D_LOST,
    SQ_C_D_STARTED_AT,
    SQ_C_D_FINISHED_AT,
    SQ_C_D_RESULT,
    SQ_C_D_ERROR,
    SQ_C_L_LEASE,
    SQ_C_L_MARK,
    SQ_C_L_ATTEMPT,
    SQ_C_L_LOST,
    SQ_C_L_STARTED_AT,
    SQ_C_P_RUN_AT,
    SQ_C_P_MARK,
    SQ_C_P_ATTEMPT,
    SQ_C_P_LOST,
    SQ_C_P_UPDATED_AT
};

#endif
