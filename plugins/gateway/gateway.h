/* gateway.h — the front door: POST /jobs becomes a durable job.created event, then 202.
 *
 * Threads: request handlers run on the host's HTTP threads (event loop, or workers for BLOCKING routes); a
 * publish is answered on the route's committer thread. One mutex (gateway.lock) protects the two free lists
 * and the count of requests in flight; no host function is called under it. */
#ifndef GATEWAY_H
#define GATEWAY_H

#include <odto/plugin.h>
#include <odto/schema.h>
#include <pthread.h>

#define GATEWAY_MAX_VIOLATIONS 16
#define GATEWAY_BATCH_LIMIT    10000 /* upper bound of the option batch_max */

typedef struct gateway gateway;

/* ---- types.c: the bounded label `type` --------------------------------------------------------- */

#define TYPE_LABEL_MAX 64 /* longer type names are counted as "other" */
#define TYPE_SLOTS     2048

typedef struct type_slot {
    odto_metric *submitted;
    uint16_t n;
    char name[TYPE_LABEL_MAX];
} type_slot;

typedef struct type_table {
    odto_host *host;
    type_slot *slots[TYPE_SLOTS]; /* open addressing; filled with release, read with acquire */
    odto_metric *other;
    size_t n, max;
    pthread_mutex_t lock; /* writers */
} type_table;

/* Registers the types of the configured handlers and room for max_seen more. 0 or -errno. */
int types_init(type_table *t, odto_host *h, size_t max_seen, odto_error *err);
void types_free(type_table *t);
/* The counter of this type; a type not seen before gets one of the free labels if `learn` (the job is
 * valid), otherwise it is "other". Any thread. */
odto_metric *types_counter(type_table *t, odto_slice type, bool learn);

/* ---- intake.c: text of one job → event --------------------------------------------------------- */

/* What one validation needs; kept and reused, so that the hot path allocates nothing of its own. */
typedef struct scratch {
    struct scratch *next;
    odto_buf job; /* the job's text with assigned members */
    odto_buf envelope;
    odto_violation violations[GATEWAY_MAX_VIOLATIONS];
    size_t n_violations;
    char refusal[600]; /* INTAKE_MALFORMED: what is wrong and where */
} scratch;

typedef enum intake_result {
    INTAKE_OK,
    INTAKE_MALFORMED, /* not strict JSON: scratch.refusal */
    INTAKE_INVALID,   /* not a job: scratch.violations */
    INTAKE_NO_MEMORY,
} intake_result;

typedef struct intake_job {
    odto_uuid id, event_id;
    odto_event *event; /* one reference, the caller's */
    bool assigned;     /* members were filled in */
} intake_job;

/* Who sent it: copied into the envelope. */
typedef struct intake_origin {
    const odto_uuid *correlation;
    odto_slice traceparent; /* checked; empty when there is none */
} intake_origin;

/* assign: fill in id, status and createdAt where they are absent. Any thread. */
intake_result intake_parse(gateway *g, scratch *s, odto_slice text, bool assign, const intake_origin *from,
                           intake_job *out);
intake_origin intake_origin_of(gateway *g, const odto_http_request *rq);
/* Content-Type is application/json (or `other`, where not NULL) in UTF-8. */
bool intake_content_type(odto_slice header, const char *other, bool *is_other);
/* A list header has this token (RFC 9110 list syntax, parameters ignored). */
bool intake_prefers(odto_slice header, const char *token);

/* ---- jobs.c, batch.c, proxy.c: routes ---------------------------------------------------------- */

odto_http_fn jobs_post;    /* POST /jobs: strict, unless Prefer: assign-id */
odto_http_fn jobs_post_v1; /* POST /v1/jobs: assigns what is missing */
odto_http_fn batch_post;   /* POST /v1/jobs/batch */
odto_http_fn proxy_alerts, proxy_targets;

/* 503 with Retry-After and what to do, for a publish that was refused with rc. */
void jobs_refuse(gateway *g, odto_http_request *rq, int rc);
/* 400 {"error":"Invalid job data","details":[…]}, at most GATEWAY_MAX_VIOLATIONS of them. Zero-initialised is
 * empty; prefix goes before the path ("" or "/3", the place in a batch). details_reply frees it. */
typedef struct details {
    odto_buf text;
    size_t n;
} details;
void details_add(details *d, const char *prefix, const char *path, const char *message);
void details_violations(details *d, const char *prefix, const scratch *s);
void details_reply(gateway *g, odto_http_request *rq, details *d);

typedef struct proxy proxy;
int proxy_new(const odto_config *c, odto_host *h, proxy **out, odto_error *err);
void proxy_free(proxy *p);

/* ---- gateway.c --------------------------------------------------------------------------------- */

/* A request whose publish is not answered yet. */
typedef struct pending {
    struct pending *next;
    gateway *g;
    odto_http_request *rq;
    odto_uuid id, event_id;
    bool preference_applied;
} pending;

#define PENDING_SLAB 64
typedef struct pending_slab {
    struct pending_slab *next;
    pending items[PENDING_SLAB];
} pending_slab;

struct gateway {
    uint32_t magic;
    odto_host *host;
    const odto_config *config;
    odto_route *created; /* route of jobs.created */
    odto_schema *job_schema;
    odto_producer producer;
    char instance_id[160];
    int max_depth;
    size_t batch_max;
    uint32_t max_pending;
    int retry_after_s;
    proxy *proxy;
    type_table types;
    odto_metric *accepted;
    odto_http_route routes[16];

    int64_t disk_failed_ns; /* atomic: when a publish last failed for the disk, 0 never */
    int disk_error;         /* atomic: its errno */

    pthread_mutex_t lock;
    pthread_cond_t idle; /* n_pending fell to 0 */
    pending *free_pending;
    pending_slab *slabs;
    scratch *free_scratch;
    uint32_t n_pending;
};
#define GATEWAY_MAGIC 0x67617465u

/* NULL without memory. */
scratch *gateway_scratch(gateway *g);
void gateway_scratch_done(gateway *g, scratch *s);
/* A pending, counted as in flight: NULL when max_pending are, or without memory. */
pending *gateway_pending(gateway *g);
void gateway_pending_done(gateway *g, pending *p);
/* Count one more (+1; false when max_pending are in flight) or one less (-1). */
bool gateway_flight(gateway *g, int change);
/* Remember how a publish ended, for readiness. */
void gateway_publish_ended(gateway *g, int rc);

#endif
