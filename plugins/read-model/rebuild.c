/* rebuild.c — POST /stats/rebuild: the counters counted anew from the event log, one request at a time. Runs
 * on a blocking worker. Asks for a JSON content type, which no page of another origin can send unasked. */
#include "../common/recount.h"
#include "read_model.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

static bool should_stop(void *arg)
{
    read_model *rm = arg;
    return rm->host->api->stopping(rm->host);
}

static void reply_counters(read_model *rm, odto_http_request *rq, const odto_counters *c, int64_t took_ns)
{
    odto_buf b = {0};
    odto_buf_printf(&b, "{\"events\":%lld,\"completedJobs\":%lld,\"failedJobs\":%lld,\"lastEventTime\":",
                    (long long)c->total, (long long)c->completed, (long long)c->failed);
    odto_buf_jsonz(&b, c->last_event_time);
    odto_buf_printf(&b, ",\"tookMs\":%lld}", (long long)(took_ns / ODTO_MS));
    reply_json(rm, rq, &b, false);
}

void stats_rebuild(void *self, odto_http_request *rq)
{
    read_model *rm = self;
    const odto_http_api *http = rm->host->api->http;
    odto_slice type = http->header(rq, "content-type");
    if (type.n < 16 || strncasecmp(type.p, "application/json", 16) != 0) {
        http->reply_error(rq, 415, "Unsupported media type", "/", "Content-Type must be application/json", 0);
        return;
    }
    if (__atomic_exchange_n(&rm->rebuilding, true, __ATOMIC_ACQUIRE)) { /* pairs with the release below */
        http->reply_error(rq, 409, "Already under way", "/", "the counters are being rebuilt", 5);
        return;
    }
    odto_counters c = {0};
    odto_error err = {0};
    int64_t begun = odto_now_ns();
    odto_log(rm->host, ODTO_WARN,
             "the counters of store %s are rebuilt from the events of store %s, as asked", rm->counters.name,
             rm->events.name);
    int rc = recount(&rm->events, &rm->counters, should_stop, rm, &c, &err);
    __atomic_store_n(&rm->rebuilding, false, __ATOMIC_RELEASE);
    if (rc == 0)
        reply_counters(rm, rq, &c, odto_now_ns() - begun);
    else if (rc == -ENOTSUP)
        http->reply_error(rq, 501, "Not implemented", "/", err.message, 0);
    else
        store_unavailable(rm, rq, strstr(err.message, "count") ? &rm->counters : &rm->events, rc, &err);
}
