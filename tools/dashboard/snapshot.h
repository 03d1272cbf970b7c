/* snapshot — what is known about the system at one moment.
 *
 * The network worker makes snapshots, the UI reads them; a published one never changes, so no lock is held
 * while it is drawn. Lists are shared between successive snapshots as long as the answer's bytes stay the
 * same. References are atomic: retain and release on any thread. All text in it has passed text_clean. */
#ifndef DASH_SNAPSHOT_H
#define DASH_SNAPSHOT_H

#include <odto/base.h>
#include <stdatomic.h>

#define SERIES_MAX       240
#define JOBS_MAX         20000
#define ALERTS_MAX       64
#define PLUGINS_MAX      64
#define ROUTES_MAX       64
#define ATTEMPTS_MAX     64
#define DETAIL_EVENTS    100
#define DETAIL_TEXT_MAX  16384
#define ROUTE_HISTORY    16
#define ALERT_RETRY_SHOW 3 /* failed attempts until alerts count as unavailable */

/* The things that are fetched, each with its own age and error. */
typedef enum source_id {
    SRC_GATEWAY, /* GET gateway/healthz */
    SRC_READ,    /* GET read model/health */
    SRC_STATS,
    SRC_JOBS,
    SRC_ALERTS,
    SRC_HOST, /* GET gateway/metrics */
    SRC_COUNT
} source_id;

typedef struct source {
    int64_t ok_ms; /* Unix ms of the last good answer; 0: never */
    int failures;  /* attempts since then */
    int latency_ms;
    char error[160]; /* empty while good */
} source;

typedef enum job_status {
    JOB_PENDING,
    JOB_VALIDATED,
    JOB_EXECUTING,
    JOB_COMPLETED,
    JOB_FAILED,
    JOB_OTHER
} job_status;

typedef struct job {
    char id[40];
    char type[52];
    char status_text[16];
    job_status status;
    int attempts;        /* 0: not told */
    int64_t created_ms;  /* 0: unknown */
    int64_t started_ms;  /* 0: unknown */
    int64_t finished_ms; /* 0: unknown */
    int64_t duration_ms; /* -1: unknown */
} job;

typedef struct job_list {
    atomic_uint refs;
    int n;
    job items[];
} job_list;

typedef struct alert {
    char name[64], service[48], severity[16], state[16];
    char summary[160], description[256], runbook[160];
    int64_t since_ms;
    bool critical, pending, silenced;
} alert;

typedef struct alert_list {
    atomic_uint refs;
    int n;
    alert items[];
} alert_list;

typedef struct plugin_row {
    char name[40], state[16];
    int64_t restarts, generation; /* -1: not told */
} plugin_row;

typedef struct route_row {
    char name[48];
    double depth, capacity, published, acked;
    double in_rate, out_rate; /* events a second, -1 until two samples exist */
    float history[ROUTE_HISTORY];
    int n_history;
} route_row;

typedef struct host_state {
    atomic_uint refs;
    int n_plugins, n_routes;
    double accepted;  /* gateway_jobs_accepted_total, -1 where there is none */
    double rss_bytes; /* -1 unknown */
    int64_t start_ms; /* Unix ms, 0 unknown */
    plugin_row plugins[PLUGINS_MAX];
    route_row routes[ROUTES_MAX];
} host_state;

typedef struct stats {
    int64_t total, completed, failed, pending, executing; /* -1: not told */
    int64_t last_event_ms;
} stats;

typedef struct attempt_row {
    int number;
    char outcome[24], error[200], worker[48];
    int64_t started_ms, finished_ms;
} attempt_row;

typedef struct event_row {
    char type[32], id[40], service[40];
    int64_t at_ms;
    int order; /* within a millisecond */
} event_row;

/* One job with everything that is known of it. */
typedef struct job_detail {
    atomic_uint refs;
    bool loading;
    int64_t ok_ms;   /* when the job was had, 0: never */
    char error[200]; /* why it could not be had, or not had anew */
    char events_error[160];
    job job;
    int n_attempts, n_events;
    attempt_row attempts[ATTEMPTS_MAX];
    event_row events[DETAIL_EVENTS];
    char job_error[512];
    char body[DETAIL_TEXT_MAX]; /* the job as indented JSON, lines */
} job_detail;

typedef enum submit_state { SUBMIT_IDLE, SUBMIT_SENDING, SUBMIT_OK, SUBMIT_FAILED } submit_state;

typedef struct submit_result {
    submit_state state;
    char job_id[40];
    char error[256];
} submit_result;

typedef struct series {
    int n;
    float v[SERIES_MAX]; /* oldest first, one a refresh */
} series;

typedef struct snapshot {
    atomic_uint refs;
    uint64_t seq;
    bool first_round; /* every source was tried once */
    bool refreshing;
    source src[SRC_COUNT];
    stats stats;
    series finished, accepted; /* jobs a second */
    job_list *jobs;            /* may be NULL */
    alert_list *alerts;        /* may be NULL */
    host_state *host;          /* may be NULL */
    job_detail *detail;        /* may be NULL */
    submit_result submit;
    char version[32]; /* of the gateway, empty while unknown */
} snapshot;

/* New, with one reference and nothing known; NULL without memory. */
snapshot *snapshot_new(void);
/* A copy that shares the lists. */
snapshot *snapshot_clone(const snapshot *s);
snapshot *snapshot_retain(snapshot *s);
/* Drops one reference and clears *s; NULL is fine. */
void snapshot_release(snapshot **s);

job_list *job_list_new(int n);
alert_list *alert_list_new(int n);
/* Replace the pointer in *slot by v (reference taken over), releasing what was there. v may be NULL. */
void snapshot_set_jobs(snapshot *s, job_list *v);
void snapshot_set_alerts(snapshot *s, alert_list *v);
void snapshot_set_host(snapshot *s, host_state *v);
void snapshot_set_detail(snapshot *s, job_detail *v);

void series_push(series *s, float v);
float series_max(const series *s, int last_n);
/* True when neither gateway nor read model has ever answered or answers now. */
bool snapshot_all_down(const snapshot *s);
const char *job_status_name(job_status s);
job_status job_status_parse(const char *s);

#endif
