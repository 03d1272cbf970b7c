/* http_export.c — see http_export.h. */
#include "http_export.h"
#include "http_priv.h"

#include <string.h>

void http_each_param(odto_http_request *rq, http_pair *fn, void *arg)
{
    for (unsigned i = 0; rq->route && i < rq->n_params; i++)
        fn(arg, pattern_param(rq->route->pattern, i), request_decode(rq, rq->params[i], false));
}

void http_each_query(odto_http_request *rq, http_pair *fn, void *arg)
{
    for (odto_slice q = rq->query; q.n;) {
        const char *amp = memchr(q.p, '&', q.n);
        odto_slice pair = odto_slice_of(q.p, amp ? (size_t)(amp - q.p) : q.n);
        const char *eq = pair.n ? memchr(pair.p, '=', pair.n) : NULL;
        odto_slice key = odto_slice_of(pair.p, eq ? (size_t)(eq - pair.p) : pair.n);
        odto_slice value = eq ? odto_slice_of(eq + 1, pair.n - key.n - 1) : odto_slice_of("", 0);
        if (key.n)
            fn(arg, request_decode(rq, key, true), value.n ? request_decode(rq, value, true) : value);
        q = amp ? odto_slice_of(amp + 1, q.n - pair.n - 1) : odto_slice_of(NULL, 0);
    }
}

struct each {
    http_pair *fn;
    void *arg;
};

static enum MHD_Result one_header(void *arg, enum MHD_ValueKind kind, const char *key, const char *value)
{
    struct each *e = arg;
    (void)kind;
    e->fn(e->arg, odto_slice_str(key), odto_slice_str(value));
    return MHD_YES;
}

void http_each_header(odto_http_request *rq, http_pair *fn, void *arg)
{
    struct each e = {fn, arg};
    if (rq->mhd && !(atomic_load(&rq->state) & RQ_ABANDONED))
        MHD_get_connection_values(rq->mhd, MHD_HEADER_KIND, one_header, &e);
}

bool http_is_route(const odto_http_request *rq, const char *method, const char *path)
{
    return rq->route && strcmp(rq->route->pattern, path) == 0 &&
           rq->route->method == method_of(odto_slice_str(method));
}
