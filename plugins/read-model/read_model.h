/* read_model.h — what became of the jobs, over HTTP: statistics, jobs, events, alerts.
 *
 * Threads: request handlers run on the host's HTTP threads; those that read a store run on blocking workers,
 * except /stats and /health where the stores answer without blocking. One thread of its own (watch.c) feeds
 * the event streams and, where the stores may block, checks that they answer. Nothing here writes a store,
 * but for the rebuild of the counters that is asked for. */
#ifndef READ_MODEL_H
#define READ_MODEL_H

#include <odto/plugin.h>
#include <pthread.h>

#define MAX_LIMIT    500
#define MAX_RESPONSE ((size_t)32 << 20) /* longer lists are cut, and say so */

typedef struct watch watch;
typedef struct alerts alerts;

typedef struct read_model {
    odto_host *host;
    const odto_config *config;
    odto_store_ref jobs, counters, events;
    bool quick; /* the stores give statistics without blocking */
    watch *watch;
    alerts *alerts;
    bool rebuilding; /* atomic: a request is at it */
    odto_http_route routes[20];
} read_model;

/* ---- stats.c ----------------------------------------------------------------------------------- */

odto_http_fn health_get, stats_get;
/* Asks both stores; -errno and which one does not answer. Blocks unless read_model.quick. */
int stats_probe(read_model *rm, odto_error *err);

/* ---- rebuild.c ---------------------------------------------------------------------------------- */

odto_http_fn stats_rebuild;

/* ---- jobs.c, events.c -------------------------------------------------------------------------- */

odto_http_fn jobs_recent, jobs_list, job_get, events_list;

/* ---- params.c ---------------------------------------------------------------------------------- */

/* Query parameters. Each answers 400 and returns false when the value is not acceptable. */
bool param_limit(read_model *rm, odto_http_request *rq, uint32_t default_limit, uint32_t *out);
bool param_status(read_model *rm, odto_http_request *rq, int *out); /* -1: none given */
/* given: whether there is one (absent or empty: no). */
bool param_uuid(read_model *rm, odto_http_request *rq, const char *name, odto_uuid *out, bool *given);
/* 503: which store, and why. rc is what it returned. */
void store_unavailable(read_model *rm, odto_http_request *rq, const odto_store_ref *store, int rc,
                       const odto_error *err);
/* 200 with the text in b, which is freed or handed over; 503 when b has failed. cut: rows were left out. */
void reply_json(read_model *rm, odto_http_request *rq, odto_buf *b, bool cut);

/* ---- watch.c ----------------------------------------------------------------------------------- */

odto_http_fn events_stream;
int watch_new(read_model *rm, watch **out, odto_error *err);
int watch_start(watch *w, odto_error *err);
/* Ends the streams and opens no new ones until watch_start; 0 or -ETIMEDOUT at the deadline (monotonic ns).
 */
int watch_quiesce(watch *w, int64_t deadline_ns);
/* Ends the streams and the thread (the host joins it). */
void watch_stop(watch *w);
void watch_free(watch *w);
/* What the last check of the stores said (only where they may block). */
void watch_health(watch *w, odto_health *out);

/* ---- alerts.c ---------------------------------------------------------------------------------- */

odto_http_fn alerts_get, alerts_post;
int alerts_new(read_model *rm, alerts **out, odto_error *err);
void alerts_free(alerts *a);
/* All alerts as a JSON array, newest first (the answer of GET /alerts, and what a reload hands over). */
void alerts_write(alerts *a, odto_buf *out);
int alerts_restore(alerts *a, odto_slice array, odto_error *err);

#endif
