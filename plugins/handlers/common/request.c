/* request.c — see request.h. Pure. */
#include "request.h"
#include <string.h>

/* Outside of strings a line break is only white space, inside it can't stand: so each may become a blank. */
static void put_flat(odto_buf *out, odto_slice json)
{
    size_t at = out->n;
    if (!odto_buf_put(out, json.p, json.n))
        return;
    for (char *p = out->p + at, *end = out->p + out->n; (p = memchr(p, '\n', (size_t)(end - p)));)
        *p = ' ';
    for (char *p = out->p + at, *end = out->p + out->n; (p = memchr(p, '\r', (size_t)(end - p)));)
        *p = ' ';
}

bool request_put(odto_buf *out, const odto_run *run, int64_t now_ns)
{
    const odto_job *j = run->job;
    char id[ODTO_UUID_LEN + 1];
    odto_buf_reserve(out, j->payload.n + j->type.n + j->idempotency_key.n + 320);
    odto_uuid_format(&j->id, id);
    odto_buf_str(out, "{\"id\":\"");
    odto_buf_put(out, id, ODTO_UUID_LEN);
    odto_buf_str(out, "\",\"type\":");
    odto_buf_json(out, j->type);
    odto_buf_str(out, ",\"attempt\":");
    odto_buf_int(out, j->attempt);
    odto_buf_str(out, ",\"maxAttempts\":");
    odto_buf_int(out, j->max_attempts);
    odto_uuid_format(&j->correlation_id, id);
    odto_buf_str(out, ",\"correlationId\":\"");
    odto_buf_put(out, id, ODTO_UUID_LEN);
    odto_buf_str(out, "\",\"idempotencyKey\":");
    odto_buf_json(out, j->idempotency_key);
    if (j->traceparent.n) {
        odto_buf_str(out, ",\"traceparent\":");
        odto_buf_json(out, j->traceparent);
    }
    if (run->deadline_ns) {
        int64_t ms = (run->deadline_ns - now_ns) / ODTO_MS;
        odto_buf_str(out, ",\"timeoutMs\":");
        odto_buf_int(out, ms > 0 ? ms : 0);
    }
    odto_buf_str(out, ",\"payload\":");
    put_flat(out, j->payload);
    odto_buf_put(out, "}", 1);
    return !out->failed;
}
