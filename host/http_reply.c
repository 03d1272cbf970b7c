/* http_reply.c — the one answer of a request, and streams.
 *
 * An answer is claimed once (reply_claim), put into the request by whoever answers, on any thread, and given
 * to MHD by the request's loop. The answer's strings live in the request's arena, so a reply allocates
 * nothing of its own for ordinary sizes, and what MHD allocates it frees on the same thread. */
#include "http_priv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static odto_http_request *request_of_post(http_post *p)
{
    return (odto_http_request *)((char *)p - offsetof(odto_http_request, post));
}

/* ---- putting the answer into the request ---------------------------------------------------- */

void reply_set(odto_http_request *rq, int status, const odto_http_header *headers, size_t n_headers,
               odto_slice body, void (*body_free)(void *), void *body_arg)
{
    http_reply *r = &rq->reply;
    r->n_headers = 0;
    r->has_type = false;
    /* two places are kept for the host's own */
    for (size_t i = 0; i < n_headers && r->n_headers < MAX_REPLY_HEADERS - 2; i++) {
        char *name = arena_copy(rq, odto_slice_str(headers[i].name));
        char *value = arena_copy(rq, odto_slice_str(headers[i].value ? headers[i].value : ""));
        if (!name || !value)
            continue;
        r->has_type |= !strcasecmp(name, "Content-Type");
        r->headers[r->n_headers++] = (odto_http_header){name, value};
    }
    r->status = status;
    r->body = body;
    r->body_free = body_free;
    r->body_arg = body_arg;
    if (body.n && !body_free && !(r->body.p = arena_copy(rq, body))) {
        r->status = 503;
        r->body.n = 0;
    }
}

void reply_set_error(odto_http_request *rq, int status, const char *error, const char *path,
                     const char *message, int retry_after_s)
{
    odto_buf b = {0};
    char seconds[16];
    odto_http_header retry = {"Retry-After", seconds};
    odto_buf_str(&b, "{\"error\":");
    odto_buf_jsonz(&b, error);
    if (message) {
        odto_buf_str(&b, ",\"details\":[{\"path\":");
        odto_buf_jsonz(&b, path ? path : "/");
        odto_buf_str(&b, ",\"message\":");
        odto_buf_jsonz(&b, message);
        odto_buf_str(&b, "}]");
    }
    odto_buf_str(&b, "}");
    snprintf(seconds, sizeof(seconds), "%d", retry_after_s);
    reply_set(rq, status, &retry, retry_after_s > 0, odto_slice_of(b.p, b.failed ? 0 : b.n), NULL, NULL);
    odto_buf_free(&b);
}

/* ---- from the request to MHD ---------------------------------------------------------------- */

static void response_headers(odto_http_request *rq, struct MHD_Response *resp)
{
    http_reply *r = &rq->reply;
    http_server *s = rq->loop->server;
    if (!r->has_type && (r->body.n || r->stream))
        MHD_add_response_header(resp, "Content-Type", "application/json");
    MHD_add_response_header(resp, "X-Correlation-Id", rq->correlation_text);
    for (unsigned i = 0; i < r->n_headers; i++) {
        if (MHD_add_response_header(resp, r->headers[i].name, r->headers[i].value) != MHD_YES)
            http_log(s, ODTO_WARN, &rq->correlation, "response header %.40s left out: not a valid header",
                     r->headers[i].name);
    }
    const http_mount *policy = rq->face ? rq->face : rq->mount;
    if (policy && policy->cors) {
        MHD_add_response_header(resp, "Access-Control-Allow-Origin", policy->cors);
        MHD_add_response_header(resp, "Access-Control-Allow-Methods", "GET, OPTIONS");
        MHD_add_response_header(resp, "Access-Control-Allow-Headers", "Content-Type");
    }
    if (r->close || atomic_load_explicit(&s->stopping, memory_order_relaxed)) /* a hint: no order needed */
        MHD_add_response_header(resp, "Connection", "close");
}

bool reply_queue(odto_http_request *rq)
{
    http_reply *r = &rq->reply;
    if (r->stream && rq->method_id == M_HEAD) { /* MHD 0.9.75 would send the last chunk's "0" all the same */
        stream_over(r->stream);
        r->stream = NULL;
    }
    struct MHD_Response *resp = r->stream
                                    ? stream_response(r->stream)
                                    : MHD_create_response_from_buffer(r->body.n, (void *)(uintptr_t)r->body.p,
                                                                      MHD_RESPMEM_PERSISTENT);
    if (!resp)
        return false;
    response_headers(rq, resp);
    bool ok = response_queue(rq->mhd, (unsigned)r->status, resp) == MHD_YES;
    MHD_destroy_response(resp);
    rq->queued = ok;
    return ok;
}

void reply_send(odto_http_request *rq)
{
    if (!reply_queue(rq))
        conn_cut(rq->conn);
    rq->conn->engine->due = true;
    if (rq->suspended) {
        rq->suspended = false;
        MHD_resume_connection(rq->mhd);
    }
}

static void reply_posted(http_loop *l, http_post *p)
{
    (void)l;
    reply_send(request_of_post(p));
}

/* ---- answering ------------------------------------------------------------------------------ */

bool reply_claim(odto_http_request *rq)
{
    return !(atomic_fetch_or(&rq->state, RQ_ANSWERED) & RQ_ANSWERED);
}

void reply_late(odto_http_request *rq)
{
    if (atomic_fetch_or(&rq->state, RQ_RELEASED) & RQ_DONE)
        request_destroy(rq, NULL);
}

void reply_give(odto_http_request *rq)
{
    http_loop *l = rq->loop;
    http_owner *o = rq->owner;
    bool keep = rq->reply.body_free || rq->reply.stream;
    if (!keep)
        rq->held = false; /* nothing of the owner is needed any more */
    if (o)
        owner_answered(o);
    if (loop_is_self(l) && l->current == rq) {
        rq->inline_reply = true;
    } else {
        rq->post.run = reply_posted;
        loop_post(l, &rq->post);
    }
    if (o && !keep)
        owner_release(o);
}

void api_reply(odto_http_request *rq, int status, const odto_http_header *headers, size_t n_headers,
               odto_slice body, void (*body_free)(void *), void *body_arg)
{
    if (rq->wsi) { /* a WebSocket upgrade is answered by accept()'s result */
        if (body_free)
            body_free(body_arg);
        return;
    }
    if (!reply_claim(rq)) {
        if (body_free)
            body_free(body_arg);
        reply_late(rq);
        return;
    }
    reply_set(rq, status, headers, n_headers, body, body_free, body_arg);
    reply_give(rq);
}

void api_reply_error(odto_http_request *rq, int status, const char *error, const char *path,
                     const char *message, int retry_after_s)
{
    if (rq->wsi)
        return;
    if (!reply_claim(rq)) {
        reply_late(rq);
        return;
    }
    reply_set_error(rq, status, error, path, message, retry_after_s);
    reply_give(rq);
}

void reply_abandon(odto_http_request *rq)
{
    static const char body[] = "{\"error\":\"Service Unavailable\"}";
    int none = 0;
    if (!atomic_compare_exchange_strong(&rq->state, &none, RQ_ANSWERED | RQ_ABANDONED)) {
        if (rq->held) /* answered, but the client is slow to take it */
            conn_cut(rq->conn);
        return;
    }
    /* not through the arena: the owner's thread may be using it */
    rq->reply.status = 503;
    rq->reply.n_headers = 0;
    rq->reply.body = odto_slice_of(body, sizeof(body) - 1);
    if (rq->owner)
        owner_answered(rq->owner);
    if (rq->held)
        owner_release(rq->owner);
    rq->held = false;
    reply_send(rq);
}
