/* batch.c — POST /v1/jobs/batch: a JSON array, or NDJSON, of jobs in one publish: all of them or none.
 *
 * Runs on a blocking HTTP worker (a batch takes milliseconds). Every job is validated before anything is
 * published: one bad job refuses the batch, with the place and the reason of each mistake. What a job may
 * leave out is filled in as on POST /v1/jobs. The answer comes from the publish callback. */
#include "gateway.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct batch {
    gateway *g;
    odto_http_request *rq;
    size_t n;
    odto_buf reply;
    odto_event *events[];
} batch;

/* ---- splitting --------------------------------------------------------------------------------- */

/* Walks the jobs of a body. Splits only: what lies between the separators is checked by the strict parser. */
typedef struct splitter {
    odto_slice rest;
    bool lines;
    bool bad; /* the frame of the array is broken */
    const char *why;
} splitter;

static void skip_space(odto_slice *s)
{
    while (s->n > 0 && memchr(" \t\r\n", *s->p, 4))
        s->p++, s->n--;
}

static bool broken(splitter *s, const char *why)
{
    s->bad = true;
    s->why = why;
    return false;
}

static bool splitter_start(splitter *s, odto_slice body, bool lines)
{
    *s = (splitter){.rest = body, .lines = lines};
    if (lines)
        return true;
    skip_space(&s->rest);
    if (s->rest.n == 0 || *s->rest.p != '[')
        return broken(s, "must be an array of jobs (or NDJSON with Content-Type: application/x-ndjson)");
    s->rest.p++, s->rest.n--;
    skip_space(&s->rest);
    return true;
}

/* Length of the JSON value at the start of s: up to a ',' or a closing bracket outside of it. */
static size_t value_length(odto_slice s)
{
    size_t depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            depth++;
        } else if (c == '}' || c == ']') {
            if (depth == 0)
                return i;
            depth--;
        } else if (c == ',' && depth == 0) {
            return i;
        }
    }
    return s.n;
}

static bool next_line(splitter *s, odto_slice *item)
{
    skip_space(&s->rest); /* empty lines as well */
    if (s->rest.n == 0)
        return false;
    const char *end = memchr(s->rest.p, '\n', s->rest.n);
    size_t n = end ? (size_t)(end - s->rest.p) : s->rest.n;
    *item = odto_slice_of(s->rest.p, n);
    s->rest = odto_slice_of(s->rest.p + n, s->rest.n - n);
    return true;
}

static bool array_end(splitter *s)
{
    s->rest.p++, s->rest.n--;
    skip_space(&s->rest);
    return s->rest.n > 0 ? broken(s, "something follows the end of the array") : false;
}

/* The next job's text; false at the end, or with s->bad. first: no separator stands before it. */
static bool splitter_next(splitter *s, odto_slice *item, bool first)
{
    if (s->lines)
        return next_line(s, item);
    skip_space(&s->rest);
    if (s->rest.n == 0)
        return broken(s, "the array does not end");
    if (*s->rest.p == ']')
        return array_end(s);
    if (!first) {
        if (*s->rest.p != ',')
            return broken(s, "expected ',' or ']' between jobs");
        s->rest.p++, s->rest.n--;
    }
    size_t n = value_length(s->rest);
    *item = odto_slice_of(s->rest.p, n);
    s->rest = odto_slice_of(s->rest.p + n, s->rest.n - n);
    return true;
}

/* The number of jobs in body, at most limit + 1; *why is set when the frame is broken. */
static size_t count_jobs(odto_slice body, bool lines, size_t limit, const char **why)
{
    splitter s;
    odto_slice item;
    size_t n = 0;
    if (splitter_start(&s, body, lines))
        while (n <= limit && splitter_next(&s, &item, n == 0))
            n++;
    *why = s.bad ? s.why : NULL;
    return n;
}

/* ---- building ---------------------------------------------------------------------------------- */

static void batch_free(batch *b)
{
    for (size_t i = 0; i < b->n; i++)
        b->g->host->api->event_unref(b->events[i]);
    odto_buf_free(&b->reply);
    free(b);
}

static void reply_add(batch *b, const intake_job *job)
{
    char id[ODTO_UUID_LEN + 1];
    odto_buf_str(&b->reply, b->n ? ",{\"jobId\":\"" : "{\"jobId\":\"");
    odto_uuid_format(&job->id, id);
    odto_buf_put(&b->reply, id, ODTO_UUID_LEN);
    odto_buf_str(&b->reply, "\",\"eventId\":\"");
    odto_uuid_format(&job->event_id, id);
    odto_buf_put(&b->reply, id, ODTO_UUID_LEN);
    odto_buf_str(&b->reply, "\"}");
}

/* Parse every job of the body into b; mistakes go to d. 0, or -ENOMEM. */
static int batch_fill(batch *b, odto_slice body, bool lines, scratch *s, details *d)
{
    intake_origin from = intake_origin_of(b->g, b->rq);
    splitter split;
    odto_slice item;
    splitter_start(&split, body, lines);
    for (size_t i = 0; splitter_next(&split, &item, i == 0); i++) {
        char place[24];
        intake_job job;
        snprintf(place, sizeof place, "/%zu", i);
        switch (intake_parse(b->g, s, item, true, &from, &job)) {
        case INTAKE_OK:
            reply_add(b, &job);
            b->events[b->n++] = job.event;
            break;
        case INTAKE_MALFORMED:
            details_add(d, place, "/", s->refusal);
            break;
        case INTAKE_INVALID:
            details_violations(d, place, s);
            break;
        case INTAKE_NO_MEMORY:
            return -ENOMEM;
        }
    }
    odto_buf_str(&b->reply, "]}");
    return b->reply.failed ? -ENOMEM : 0;
}

static void published(void *arg, int result)
{
    batch *b = arg;
    gateway *g = b->g;
    gateway_publish_ended(g, result);
    if (result == 0) {
        odto_metric_add(g->accepted, (int64_t)b->n);
        g->host->api->http->reply(b->rq, 202, NULL, 0, odto_slice_of(b->reply.p, b->reply.n), free,
                                  b->reply.p);
        b->reply = (odto_buf){0};
    } else {
        jobs_refuse(g, b->rq, result);
    }
    batch_free(b);
    gateway_flight(g, -1);
}

static void batch_publish(batch *b)
{
    gateway *g = b->g;
    if (!gateway_flight(g, 1)) {
        jobs_refuse(g, b->rq, -EBUSY);
        batch_free(b);
        return;
    }
    int rc = g->host->api->publish(g->host, g->created, b->events, b->n, 0, published, b);
    if (rc != 0)
        published(b, rc);
}

static batch *batch_new(gateway *g, odto_http_request *rq, size_t n)
{
    batch *b = calloc(1, sizeof *b + n * sizeof b->events[0]);
    if (!b)
        return NULL;
    b->g = g;
    b->rq = rq;
    odto_buf_printf(&b->reply, "{\"accepted\":%zu,\"jobs\":[", n);
    return b;
}

static void post_jobs(gateway *g, odto_http_request *rq, bool lines, size_t n)
{
    scratch *s = gateway_scratch(g);
    batch *b = batch_new(g, rq, n);
    details d = {0};
    int rc = s && b ? batch_fill(b, g->host->api->http->body(rq), lines, s, &d) : -ENOMEM;
    if (s)
        gateway_scratch_done(g, s);
    if (rc == 0 && d.n == 0) {
        batch_publish(b);
        return;
    }
    if (b)
        batch_free(b);
    if (rc != 0) {
        odto_buf_free(&d.text);
        jobs_refuse(g, rq, rc);
    } else {
        details_reply(g, rq, &d);
    }
}

void batch_post(void *self, odto_http_request *rq)
{
    gateway *g = self;
    const odto_http_api *http = g->host->api->http;
    bool lines;
    if (!intake_content_type(http->header(rq, "content-type"), "application/x-ndjson", &lines)) {
        http->reply_error(rq, 415, "Unsupported media type", "/",
                          "send Content-Type: application/json (an array) or application/x-ndjson, in UTF-8",
                          0);
        return;
    }
    const char *why;
    size_t n = count_jobs(http->body(rq), lines, g->batch_max, &why);
    if (why) {
        http->reply_error(rq, 400, "Invalid JSON", "/", why, 0);
    } else if (n == 0) {
        http->reply_error(rq, 400, "Invalid job data", "/", "must hold at least one job", 0);
    } else if (n > g->batch_max) {
        char message[96];
        snprintf(message, sizeof message, "at most %zu jobs in one batch (option batch_max)", g->batch_max);
        http->reply_error(rq, 413, "Batch too large", "/", message, 0);
    } else {
        post_jobs(g, rq, lines, n);
    }
}
