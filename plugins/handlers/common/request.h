/* request.h — a job as workers and web services are told of it: one JSON object.
 *
 * {"id":…,"type":…,"attempt":1,"maxAttempts":10,"correlationId":…,"idempotencyKey":…,"traceparent":…,
 *  "timeoutMs":…,"payload":{…}} — traceparent and timeoutMs only where there are any. No line break in it. */
#ifndef HANDLERS_REQUEST_H
#define HANDLERS_REQUEST_H

#include <odto/handler.h>

/* Append it; now_ns: the monotonic clock, for timeoutMs. False without memory. */
bool request_put(odto_buf *out, const odto_run *run, int64_t now_ns);

#endif
