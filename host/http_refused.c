/* http_refused.c — what libmicrohttpd answers by itself, in the words of this host.
 *
 * A request that can't be parsed at all is refused inside libmicrohttpd 0.9.x, before any callback of ours,
 * with a page of HTML that no option replaces. The library queues that page as any user of it would, by
 * MHD_queue_response() through its procedure linkage table, so a function of that name in the program stands
 * before the library's own (foreign.c does the same to pthread_create). What comes in here is the library's:
 * the host itself calls response_queue(). Where a library was linked so that its own calls stay inside, its
 * page goes out as before.
 *
 * Thread: the connection's loop. */
#include "http_priv.h"

#include <dlfcn.h>
#include <stdlib.h>

typedef enum MHD_Result queue_fn(struct MHD_Connection *, unsigned, struct MHD_Response *);

enum MHD_Result response_queue(struct MHD_Connection *mhd, unsigned status, struct MHD_Response *response)
{
    static _Atomic(queue_fn *) found; /* the same value whoever looks first */
    queue_fn *real = atomic_load(&found);
    if (!real) {
        *(void **)&real = dlsym(RTLD_NEXT, "MHD_queue_response");
        if (!real)
            abort(); /* linked against it, and not there */
        atomic_store(&found, real);
    }
    return real(mhd, status, response);
}

static const char *why_refused(unsigned status)
{
    switch (status) {
    case MHD_HTTP_BAD_REQUEST:
        return "this is not a well-formed HTTP request";
    case MHD_HTTP_CONTENT_TOO_LARGE:
    case MHD_HTTP_URI_TOO_LONG:
    case MHD_HTTP_REQUEST_HEADER_FIELDS_TOO_LARGE:
        return "the head of the request is larger than max_header";
    case MHD_HTTP_HTTP_VERSION_NOT_SUPPORTED:
        return "HTTP/1.0 and HTTP/1.1 are spoken here";
    default:
        return "the request can't be read";
    }
}

static void correlation_of(struct MHD_Connection *mhd, odto_uuid *u)
{
    odto_slice given = {NULL, 0};
    MHD_lookup_connection_value_n(mhd, MHD_HEADER_KIND, "X-Correlation-Id", 16, &given.p, &given.n);
    if (!given.p || odto_uuid_parse(given, u))
        odto_uuid_v7(u);
}

/* Stands before the library's own for the library's own calls. MHD_NO makes it close the connection: the
 * answer has been written by then, straight into the socket, where nothing else waits at this point. (To
 * queue ours would do too, but 0.9.75 then sends the head of its answer to a bad Content-Length twice.) Over
 * TLS the connection is closed without an answer. */
__attribute__((visibility("default"))) enum MHD_Result
MHD_queue_response(struct MHD_Connection *mhd, unsigned int status, struct MHD_Response *page)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    http_conn *c = info ? info->socket_context : NULL;
    if (!c)
        return response_queue(mhd, status, page);
    if (c->cut || c->listener->tls_cert)
        return MHD_NO;
    odto_uuid u;
    correlation_of(mhd, &u);
    socket_raw_refusal(c->fd, &u, (int)status, MHD_get_reason_phrase_for(status), why_refused(status));
    c->linger = true; /* what the client still sends is not to cost it the answer */
    return MHD_NO;
}
