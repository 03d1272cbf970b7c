/* sql.h — the statements of the postgres store by name; their parameters are said at their texts (sql.c). */
#ifndef STORE_POSTGRES_SQL_H
#define STORE_POSTGRES_SQL_H

typedef enum pg_sql {
    /* the writer's; each is one step of a transaction */
    PG_ACCEPT,
    PG_ACCEPT_AGAIN,
    PG_EXTEND,
    PG_FINISH,
    PG_RETRY,
    PG_RELEASE,
    PG_CANCEL,
    PG_OUTBOX_DONE,
    PG_OUTBOX_TAKE,
    PG_REAP,
    PG_REAP_OWN,
    PG_PROMOTE,
    PG_CLAIM,
    PG_NEXT_DUE,
    PG_WHICH_EXIST,
    PG_DISOWN,
    PG_PROBE_JSON,
    PG_OUTBOX_BLOCK,
    PG_RETAIN,
    PG_FOLD,
    /* the readers' */
    PG_GET,
    PG_ATTEMPTS,
    PG_STATS,
    PG_LIST_ANY,
    PG_LIST_STATUS,
    PG_LIST_ANY_BODY,
    PG_LIST_STATUS_BODY,
    PG_SQL_COUNT
} pg_sql;

extern const char *const pg_sql_text[PG_SQL_COUNT];

/* The columns of a job as PG_GET, PG_CLAIM, PG_REAP and the lists give them. */
typedef enum pg_job_column {
    PG_C_ID,
    PG_C_EVENT_ID,
    PG_C_CORRELATION_ID,
    PG_C_TYPE,
    PG_C_JOB_JSON,
    PG_C_PAYLOAD_AT,
    PG_C_PAYLOAD_N,
    PG_C_PAYLOAD,
    PG_C_TRACEPARENT,
    PG_C_IDEMPOTENCY_KEY,
    PG_C_STATUS,
    PG_C_OUTCOME,
    PG_C_MARK,
    PG_C_RANK,
    PG_C_ATTEMPT,
    PG_C_MAX_ATTEMPTS,
    PG_C_LOST,
    PG_C_TOKEN,
    PG_C_CREATED_AT,
    PG_C_UPDATED_AT,
    PG_C_ACCEPTED_AT,
    PG_C_RUN_AT,
    PG_C_STARTED_AT,
    PG_C_FINISHED_AT,
    PG_C_EXPIRES_AT,
    PG_C_RESULT,
    PG_C_ERROR,
    PG_C_MORE, /* PG_REAP: is it poison */
} pg_job_column;

#endif
