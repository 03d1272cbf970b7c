/* net — the worker that asks the system over HTTP and publishes snapshots.
 *
 * One thread with one libcurl multi handle: every source has its own request, so a slow one holds up no
 * other; each has 2 s. The UI thread calls the functions below, which only take a short lock and wake the
 * worker. A new snapshot is announced by the eventfd. Lock: `net.mu` protects the command fields and the
 * published pointer, never held across I/O. */
#ifndef DASH_NET_H
#define DASH_NET_H

#include "snapshot.h"

typedef struct net net;

typedef struct net_config {
    const char *gateway_url, *read_url; /* without a slash at the end */
    const char *prometheus_url;         /* NULL: pending alerts are not asked for */
    int interval_ms;                    /* between rounds */
    int timeout_ms;                     /* of one request */
    int jobs_limit;                     /* jobs asked for */
} net_config;

/* Starts the worker; strings are copied. curl_global_init must have been called. 0 or -errno. */
int net_start(net **out, const net_config *c, odto_error *err);
/* Ends requests in flight and joins; returns within milliseconds. */
void net_stop(net *n);
/* Readable when there is a new snapshot; net_latest clears it. */
int net_fd(const net *n);
/* The newest snapshot, one reference for the caller; never NULL. */
snapshot *net_latest(net *n);
void net_refresh(net *n);
/* Keeps one job's detail fresh in the snapshots until called with NULL. */
void net_detail(net *n, const char *job_id);
/* POST /jobs; the outcome comes in snapshot.submit. A repeat of the same content after a failure sends the
 * same job id again, so that it cannot become two jobs. */
void net_submit(net *n, const char *type, const char *payload);
void net_submit_reset(net *n);

#endif
