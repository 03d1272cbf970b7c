/* stats.c — GET /stats and GET /health: the two routes that are asked all the time.
 *
 * They run on the event loop where the stores answer without blocking, so they format on the stack and
 * allocate nothing. */
#include "read_model.h"

#include <stdio.h>
#include <string.h>

static char *put(char *p, const char *s)
{
    size_t n = strlen(s);
    memcpy(p, s, n);
    return p + n;
}

static char *put_number(char *p, const char *key, int64_t value)
{
    char digits[24];
    size_t n = sizeof digits;
    uint64_t v = value < 0 ? -(uint64_t)value : (uint64_t)value;
    do
        digits[--n] = (char)('0' + v % 10);
    while (v /= 10);
    if (value < 0)
        digits[--n] = '-';
    p = put(p, key);
    memcpy(p, digits + n, sizeof digits - n);
    return p + (sizeof digits - n);
}

/* A time as another program may have written it: what can't stand in a JSON string is left out. */
static char *put_time(char *p, const char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s >= 0x20 && (unsigned char)*s < 0x7f && *s != '"' && *s != '\\')
            *p++ = *s;
    return p;
}

static odto_slice stats_text(char *out, const odto_counters *c, const odto_jobs_stats *j)
{
    char *p = out;
    int64_t total = c->completed + c->failed; /* finished jobs: the contract's meaning of totalJobs */
    p = put_number(p, "{\"totalJobs\":", total);
    p = put_number(p, ",\"completedJobs\":", c->completed);
    p = put_number(p, ",\"failedJobs\":", c->failed);
    p = put_number(p, ",\"pendingJobs\":", j->pending);
    p = put_number(p, ",\"executingJobs\":", j->executing);
    p = put(p, ",\"lastEventTime\":\"");
    p = put_time(p, c->last_event_time);
    p = put_number(p, "\",\"total_jobs\":", total);
    p = put_number(p, ",\"pending_jobs\":", j->pending);
    p = put_number(p, ",\"completed_jobs\":", c->completed);
    p = put_number(p, ",\"failed_jobs\":", c->failed);
    *p++ = '}';
    return odto_slice_of(out, (size_t)(p - out));
}

static int read_both(read_model *rm, odto_counters *c, odto_jobs_stats *j, const odto_store_ref **at,
                     odto_error *err)
{
    *at = &rm->counters;
    int rc = rm->counters.iface->counters->read(rm->counters.self, c, err);
    if (rc != 0)
        return rc;
    *at = &rm->jobs;
    return rm->jobs.iface->jobs->stats(rm->jobs.self, j, err);
}

void stats_get(void *self, odto_http_request *rq)
{
    read_model *rm = self;
    odto_counters c = {0};
    odto_jobs_stats j = {0};
    odto_error err;
    const odto_store_ref *at;
    err.code = 0;
    err.message[0] = err.detail[0] = err.hint[0] = err.where[0] = 0; /* 1.3 kB need no clearing here */
    int rc = read_both(rm, &c, &j, &at, &err);
    if (rc != 0) {
        store_unavailable(rm, rq, at, rc, &err);
        return;
    }
    char text[640]; /* 9 numbers of at most 20 digits, 230 bytes of names, one time of at most 39 */
    rm->host->api->http->reply(rq, 200, NULL, 0, stats_text(text, &c, &j), NULL, NULL);
}

int stats_probe(read_model *rm, odto_error *err)
{
    odto_counters c = {0};
    odto_jobs_stats j = {0};
    odto_error inner = {0};
    const odto_store_ref *at;
    int rc = read_both(rm, &c, &j, &at, &inner);
    if (rc != 0) {
        odto_fail(err, rc, "store %s does not answer", at->name);
        odto_error_detail(err, "%s", inner.message[0] ? inner.message : strerror(-rc));
    }
    return rc;
}

void health_get(void *self, odto_http_request *rq)
{
    static const char ok[] = "{\"status\":\"ok\",\"version\":\"" PACKAGE_VERSION "\"}";
    read_model *rm = self;
    const odto_http_api *http = rm->host->api->http;
    odto_health h = {.ready = true};
    watch_health(rm->watch, &h);
    if (h.ready) {
        http->reply(rq, 200, NULL, 0, odto_slice_of(ok, sizeof ok - 1), NULL, NULL);
        return;
    }
    odto_buf b = {0};
    odto_buf_str(&b, "{\"status\":\"not_ready\",\"reason\":");
    odto_buf_jsonz(&b, h.reason);
    odto_buf_put(&b, "}", 1);
    http->reply(rq, 503, NULL, 0, odto_slice_of(b.p, b.n), NULL, NULL);
    odto_buf_free(&b);
}
