/* odto/envelope.h — the event envelope and the dead letter as text (contract/messages). */
#ifndef ODTO_ENVELOPE_H
#define ODTO_ENVELOPE_H

#include <odto/base.h>

/* Who produces: constant for a service instance. Strings are JSON-escaped once by the caller's choice of
 * plain text; they may hold no control characters. */
typedef struct odto_producer {
    const char *service, *instance_id, *version;
} odto_producer;

typedef enum odto_event_type {
    ODTO_JOB_OTHER = 0, /* a valid envelope of another eventType */
    ODTO_JOB_CREATED,
    ODTO_JOB_VALIDATED,
    ODTO_JOB_EXECUTED,
    ODTO_JOB_FAILED,
    ODTO_JOB_COMPLETED,
} odto_event_type;
const char *odto_event_type_name(odto_event_type t);

/* The parsed header of an envelope. Slices point into the envelope's text and are raw JSON values (strings
 * with their quotes) where the name ends in _json, plain text without escapes otherwise. */
typedef struct odto_header {
    odto_event_type type;
    odto_uuid event_id, correlation_id, job_id;
    int64_t occurred_at_ms;
    int64_t created_at_ms;    /* job's createdAt */
    odto_slice job_json;      /* the whole payload: the job object */
    odto_slice job_type_json; /* payload.type, a JSON string literal */
    odto_slice payload_json;  /* payload.payload, "{}" position absent -> n = 0 */
    odto_slice options_json;  /* payload.options, absent -> n = 0 */
    odto_slice idempotency_key_json;
    odto_slice traceparent; /* without quotes; absent -> n = 0 */
    odto_slice status_json; /* payload.status */
} odto_header;

/* Extract the header from an envelope that is known to be valid (schema checked, or made by us): a scan, no
 * tree. -EINVAL if a field is missing or malformed after all. */
int odto_header_parse(odto_slice envelope, odto_header *out);
/* The same for a job alone, as POST /jobs brings it: fills job_id, created_at_ms and the slices of the job,
 * leaves the envelope's fields zero. */
int odto_job_parse(odto_slice job_json, odto_header *out);

/* Append a job.created envelope around the job text (a valid JSON object) to out. */
bool odto_envelope_created(odto_buf *out, const odto_producer *by, const odto_uuid *event_id,
                           const odto_uuid *correlation_id, const odto_uuid *job_id, int64_t occurred_at_ms,
                           odto_slice traceparent, odto_slice job_json);
/* Append a completion envelope (job.completed / job.failed) for the event `created`: same correlationId,
 * idempotencyKey, traceparent; the job text with status and updatedAt replaced by the true ones. */
bool odto_envelope_finished(odto_buf *out, const odto_producer *by, odto_event_type type,
                            const odto_uuid *event_id, int64_t occurred_at_ms, const odto_header *created);
/* The job text with its top-level "status" and "updatedAt" set; other members unchanged, in place. */
bool odto_job_with_status(odto_buf *out, odto_slice job_json, const char *status, int64_t updated_at_ms);

/* Append a dead letter: original_event as parsed JSON where the bytes are valid JSON, else as string, else
 * original_event_base64. correlation may be NULL: then the original's, where it
 * has one that is a uuid, else "unknown". */
bool odto_dead_letter(odto_buf *out, odto_slice original, const char *validation_error,
                      int64_t rejected_at_ms, const odto_uuid *correlation, const char *service,
                      const char *service_version);

/* Deepest nesting that a gateway may be told to let through in a job; and of its message, which has the
 * envelope around it: nothing accepted at the front is refused further in. */
#define ODTO_JOB_DEPTH_MAX   100
#define ODTO_EVENT_DEPTH_MAX (ODTO_JOB_DEPTH_MAX + 4)

struct odto_schema;
/* Full check of an incoming message: strict JSON, envelope schema, and the job schema where eventType starts
 * with "job." Fills *out on success. On failure *why is the contract's validation_error text: which schema,
 * JSON path, what; at most 3 joined by "; ". Returns 0, -EINVAL, -ENOMEM. */
int odto_envelope_check(odto_slice text, const struct odto_schema *envelope, const struct odto_schema *job,
                        int max_depth, odto_header *out, char *why, size_t why_size);

#endif
