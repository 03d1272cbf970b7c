/* params.c — query parameters and the replies that every listing needs. */
#include "read_model.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool invalid(read_model *rm, odto_http_request *rq, const char *name, const char *message)
{
    char path[64];
    snprintf(path, sizeof path, "/%s", name);
    rm->host->api->http->reply_error(rq, 400, "Invalid query", path, message, 0);
    return false;
}

bool param_limit(read_model *rm, odto_http_request *rq, uint32_t default_limit, uint32_t *out)
{
    odto_slice text = rm->host->api->http->query(rq, "limit");
    *out = default_limit;
    if (!text.p)
        return true;
    uint32_t value = 0;
    bool ok = text.n > 0 && text.n <= 3;
    for (size_t i = 0; ok && i < text.n; i++) {
        ok = text.p[i] >= '0' && text.p[i] <= '9';
        value = value * 10 + (uint32_t)(text.p[i] - '0');
    }
    *out = value;
    if (!ok || value < 1 || value > MAX_LIMIT)
        return invalid(rm, rq, "limit", "must be an integer from 1 to 500");
    return true;
}

bool param_status(read_model *rm, odto_http_request *rq, int *out)
{
    odto_slice text = rm->host->api->http->query(rq, "status");
    *out = -1;
    if (text.n == 0)
        return true;
    for (int s = ODTO_PENDING; s <= ODTO_FAILED; s++)
        if (odto_slice_eq(text, odto_status_name((odto_status)s))) {
            *out = s;
            return true;
        }
    return invalid(rm, rq, "status", "must be one of PENDING, VALIDATED, EXECUTING, COMPLETED, FAILED");
}

bool param_uuid(read_model *rm, odto_http_request *rq, const char *name, odto_uuid *out, bool *given)
{
    odto_slice text = rm->host->api->http->query(rq, name);
    *given = text.n > 0;
    if (*given && odto_uuid_parse(text, out) != 0)
        return invalid(rm, rq, name, "must match format \"uuid\"");
    return true;
}

void store_unavailable(read_model *rm, odto_http_request *rq, const odto_store_ref *store, int rc,
                       const odto_error *err)
{
    char message[900];
    snprintf(message, sizeof message, "store %s: %s%s%s", store->name,
             err->message[0] ? err->message : strerror(-rc), err->detail[0] ? ": " : "", err->detail);
    rm->host->api->http->reply_error(rq, 503, "Store unavailable", "/", message, 1);
}

void reply_json(read_model *rm, odto_http_request *rq, odto_buf *b, bool cut)
{
    static const odto_http_header truncated = {"X-Odto-Truncated", "bytes"};
    const odto_http_api *http = rm->host->api->http;
    if (b->failed) {
        odto_buf_free(b);
        http->reply_error(rq, 503, "Out of memory", "/", "no memory for this answer: ask for less (limit)",
                          1);
        return;
    }
    http->reply(rq, 200, &truncated, cut ? 1 : 0, odto_slice_of(b->p, b->n), free, b->p);
    *b = (odto_buf){0};
}
