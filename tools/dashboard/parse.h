/* parse — the answers of the HTTP interfaces made into parts of a snapshot.
 *
 * Pure functions; bodies come from the network and are not trusted: sizes are bounded, text is cleaned,
 * missing fields stay unknown. All return 0 or -errno with *err filled. */
#ifndef DASH_PARSE_H
#define DASH_PARSE_H

#include "snapshot.h"

int parse_stats(odto_slice body, stats *out, odto_error *err);
/* GET /jobs/recent (an array) or GET /jobs (an object with jobs or items). */
int parse_jobs(odto_slice body, job_list **out, odto_error *err);
/* Alertmanager /api/v2/alerts, or Prometheus-like objects with labels, annotations, state. Critical first. */
int parse_alerts(odto_slice body, alert_list **out, odto_error *err);
/* GET /jobs/{id} into d (job, attempts, body). */
int parse_job_detail(odto_slice body, job_detail *d, odto_error *err);
/* GET /events?jobId= into d; oldest first afterwards. */
int parse_job_events(odto_slice body, job_detail *d, odto_error *err);
/* The answer to POST /jobs. */
int parse_accepted(odto_slice body, char job_id[40], odto_error *err);
/* "error" and first detail of an error body as one line; an empty string when there is none. */
void parse_error_body(odto_slice body, char *out, size_t size);
void parse_version(odto_slice body, char *out, size_t size);

/* Prometheus text (exposition format 0.0.4): calls fn for every sample; labels is the text between the
 * braces (may be empty). Malformed lines are skipped. */
typedef void metric_fn(void *arg, odto_slice name, odto_slice labels, double value);
void parse_metrics(odto_slice body, metric_fn *fn, void *arg);
/* The value of one label, unescaped and cleaned; false when absent. */
bool metric_label(odto_slice labels, const char *name, char *out, size_t size);
/* Plugins and routes from a host's metrics. before (may be NULL) and the seconds since then give the rates
 * and histories. NULL without memory. */
host_state *parse_host(odto_slice body, const host_state *before, double seconds);

#endif
