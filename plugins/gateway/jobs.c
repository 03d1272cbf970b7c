/* jobs.c — POST /jobs and POST /v1/jobs: one job, answered 202 when its event is durable.
 *
 * The request handler runs on the event loop and must not block; the answer is given by published(), on the
 * committer thread of the route (or at once, where the route is in memory). */
#include "gateway.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* {"jobId":"…","eventId":"…"} — exactly these two (schema job-accepted). */
#define ACCEPTED_LEN (10 + ODTO_UUID_LEN + 13 + ODTO_UUID_LEN + 2)

static void accept_text(char out[ACCEPTED_LEN + 1], const odto_uuid *id, const odto_uuid *event_id)
{
    char *p = out;
    memcpy(p, "{\"jobId\":\"", 10);
    odto_uuid_format(id, p += 10);
    memcpy(p += ODTO_UUID_LEN, "\",\"eventId\":\"", 13);
    odto_uuid_format(event_id, p += 13);
    memcpy(p += ODTO_UUID_LEN, "\"}", 3);
}

void jobs_refuse(gateway *g, odto_http_request *rq, int rc)
{
    const odto_http_api *http = g->host->api->http;
    const char *what;
    switch (rc) {
    case -EAGAIN:
        what = "the route jobs.created is full: jobs arrive faster than they are taken; try again later";
        break;
    case -ENOSPC:
        what = "the disk under the route jobs.created is full, so nothing can be made durable; free some "
               "space (odto routes shows where), then try again";
        break;
    case -ECANCELED:
        what = "the gateway is stopping; try again, or another instance";
        break;
    case -ENOMEM:
        what = "no memory for one more job; try again later";
        break;
    case -EBUSY:
        what = "too many requests wait for their job to become durable; try again later";
        break;
    default:
        what = "the route jobs.created could not make the job durable (odto routes, and the host's log, tell "
               "why); it was not accepted, try again later";
    }
    http->reply_error(rq, 503, "Service unavailable", "/", what, g->retry_after_s);
}

void details_add(details *d, const char *prefix, const char *path, const char *message)
{
    if (d->n >= GATEWAY_MAX_VIOLATIONS)
        return;
    odto_buf_str(&d->text,
                 d->n++ ? ",{\"path\":" : "{\"error\":\"Invalid job data\",\"details\":[{\"path\":");
    char whole[sizeof((odto_violation *)NULL)->path + 32];
    /* "/" names the root; below a prefix that is the prefix itself */
    snprintf(whole, sizeof whole, "%s%s", prefix, *prefix && strcmp(path, "/") == 0 ? "" : path);
    odto_buf_jsonz(&d->text, whole);
    odto_buf_str(&d->text, ",\"message\":");
    odto_buf_jsonz(&d->text, message);
    odto_buf_put(&d->text, "}", 1);
}

void details_violations(details *d, const char *prefix, const scratch *s)
{
    for (size_t i = 0; i < s->n_violations; i++)
        details_add(d, prefix, s->violations[i].path, s->violations[i].message);
}

void details_reply(gateway *g, odto_http_request *rq, details *d)
{
    odto_buf_str(&d->text, "]}");
    if (d->text.failed)
        jobs_refuse(g, rq, -ENOMEM);
    else
        g->host->api->http->reply(rq, 400, NULL, 0, odto_slice_of(d->text.p, d->text.n), NULL, NULL);
    odto_buf_free(&d->text);
}

/* The answer, on the committer's thread. */
static void published(void *arg, int result)
{
    pending *p = arg;
    gateway *g = p->g;
    gateway_publish_ended(g, result);
    if (result == 0) {
        static const odto_http_header applied = {"Preference-Applied", "assign-id"};
        char body[ACCEPTED_LEN + 1];
        accept_text(body, &p->id, &p->event_id);
        odto_metric_add(g->accepted, 1);
        g->host->api->http->reply(p->rq, 202, &applied, p->preference_applied ? 1 : 0,
                                  odto_slice_of(body, ACCEPTED_LEN), NULL, NULL);
    } else {
        jobs_refuse(g, p->rq, result);
    }
    gateway_pending_done(g, p);
}

static void publish(gateway *g, odto_http_request *rq, const intake_job *job, bool preferred)
{
    const odto_host_api *api = g->host->api;
    pending *p = gateway_pending(g);
    if (!p) {
        jobs_refuse(g, rq, -EBUSY);
        return;
    }
    p->rq = rq;
    p->id = job->id;
    p->event_id = job->event_id;
    p->preference_applied = preferred && job->assigned;
    int rc = api->publish(g->host, g->created, &job->event, 1, 0, published, p);
    if (rc != 0) {
        gateway_publish_ended(g, rc);
        jobs_refuse(g, rq, rc);
        gateway_pending_done(g, p);
    }
}

static void post(gateway *g, odto_http_request *rq, bool assign, bool preferred)
{
    const odto_http_api *http = g->host->api->http;
    bool other;
    if (!intake_content_type(http->header(rq, "content-type"), NULL, &other)) {
        http->reply_error(rq, 415, "Unsupported media type", "/",
                          "send Content-Type: application/json (UTF-8)", 0);
        return;
    }
    scratch *s = gateway_scratch(g);
    if (!s) {
        jobs_refuse(g, rq, -ENOMEM);
        return;
    }
    intake_job job;
    details refused = {0};
    intake_origin from = intake_origin_of(g, rq);
    switch (intake_parse(g, s, http->body(rq), assign, &from, &job)) {
    case INTAKE_OK:
        publish(g, rq, &job, preferred);
        g->host->api->event_unref(job.event);
        break;
    case INTAKE_MALFORMED:
        http->reply_error(rq, 400, "Invalid JSON", "/", s->refusal, 0);
        break;
    case INTAKE_INVALID:
        details_violations(&refused, "", s);
        details_reply(g, rq, &refused);
        break;
    case INTAKE_NO_MEMORY:
        jobs_refuse(g, rq, -ENOMEM);
        break;
    }
    gateway_scratch_done(g, s);
}

void jobs_post(void *self, odto_http_request *rq)
{
    gateway *g = self;
    bool preferred = intake_prefers(g->host->api->http->header(rq, "prefer"), "assign-id");
    post(g, rq, preferred, preferred);
}

void jobs_post_v1(void *self, odto_http_request *rq)
{
    post(self, rq, true, false);
}
