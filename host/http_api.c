/* http_api.c — the ABI table: what a handler may ask about its request.
 *
 * One thread at a time has a request; decoded values live in its arena. */
#include "http_priv.h"

#include <string.h>

/* Percent-decoded; '+' is a blank where plus is set (forms). An incomplete %XX stays as it is. */
odto_slice request_decode(odto_http_request *rq, odto_slice s, bool plus)
{
    if (!memchr(s.p, '%', s.n) && !(plus && memchr(s.p, '+', s.n)))
        return s;
    char *out = request_alloc(rq, s.n + 1);
    size_t n = 0;
    if (!out)
        return odto_slice_of(NULL, 0);
    for (size_t i = 0; i < s.n; i++) {
        int hi = s.p[i] == '%' && i + 2 < s.n ? hex_digit(s.p[i + 1]) : -1,
            lo = hi >= 0 ? hex_digit(s.p[i + 2]) : -1;
        if (lo >= 0) {
            out[n++] = (char)(hi * 16 + lo);
            i += 2;
        } else {
            out[n++] = plus && s.p[i] == '+' ? ' ' : s.p[i];
        }
    }
    out[n] = 0;
    return odto_slice_of(out, n);
}

static odto_slice api_method(const odto_http_request *rq)
{
    return rq->method;
}

static odto_slice api_path(const odto_http_request *rq)
{
    return rq->path;
}

static odto_slice api_param(const odto_http_request *rq, const char *name)
{
    for (unsigned i = 0; rq->route && i < rq->n_params; i++) {
        if (odto_slice_eq(pattern_param(rq->route->pattern, i), name))
            return request_decode((odto_http_request *)(uintptr_t)rq, rq->params[i], false);
    }
    return odto_slice_of(NULL, 0);
}

static odto_slice api_query(const odto_http_request *rq, const char *name)
{
    odto_http_request *own = (odto_http_request *)(uintptr_t)rq; /* only its arena changes */
    for (odto_slice q = rq->query; q.n;) {
        const char *amp = memchr(q.p, '&', q.n);
        odto_slice pair = odto_slice_of(q.p, amp ? (size_t)(amp - q.p) : q.n);
        const char *eq = pair.n ? memchr(pair.p, '=', pair.n) : NULL;
        odto_slice key = odto_slice_of(pair.p, eq ? (size_t)(eq - pair.p) : pair.n);
        if (key.n && odto_slice_eq(request_decode(own, key, true), name)) {
            odto_slice v = eq ? odto_slice_of(eq + 1, pair.n - key.n - 1) : odto_slice_of("", 0);
            return v.n ? request_decode(own, v, true) : odto_slice_of("", 0);
        }
        q = amp ? odto_slice_of(amp + 1, q.n - pair.n - 1) : odto_slice_of(NULL, 0);
    }
    return odto_slice_of(NULL, 0);
}

static odto_slice api_query_string(const odto_http_request *rq)
{
    return rq->query;
}

static odto_slice api_header(const odto_http_request *rq, const char *name)
{
    odto_slice v = {NULL, 0};
    if (rq->wsi)
        return ws_header((odto_http_request *)(uintptr_t)rq, name);
    if (rq->mhd && !(atomic_load(&rq->state) & RQ_ABANDONED))
        MHD_lookup_connection_value_n(rq->mhd, MHD_HEADER_KIND, name, strlen(name), &v.p, &v.n);
    return v;
}

static odto_slice api_body(const odto_http_request *rq)
{
    return odto_slice_of(rq->body.p, rq->body.n);
}

static odto_slice api_peer(const odto_http_request *rq)
{
    return rq->peer;
}

static const odto_uuid *api_correlation(const odto_http_request *rq)
{
    return &rq->correlation;
}

const odto_http_api http_api = {
    .size = sizeof(odto_http_api),
    .serve = api_serve,
    .method = api_method,
    .path = api_path,
    .param = api_param,
    .query = api_query,
    .header = api_header,
    .body = api_body,
    .peer = api_peer,
    .correlation = api_correlation,
    .reply = api_reply,
    .reply_error = api_reply_error,
    .reply_stream = api_reply_stream,
    .stream_write = api_stream_write,
    .stream_end = api_stream_end,
    .ws_send = api_ws_send,
    .ws_want_write = api_ws_want_write,
    .ws_queued = api_ws_queued,
    .ws_pause = api_ws_pause,
    .ws_close = api_ws_close,
    .ws_subprotocol = api_ws_subprotocol,
    .query_string = api_query_string,
};
