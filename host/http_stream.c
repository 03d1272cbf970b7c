/* http_stream.c — responses written piece by piece (server-sent events).
 *
 * Writers append to a bounded buffer under the stream's lock, on any thread; MHD's reader takes from it on
 * the loop. With nothing to send the connection is suspended, and the loop watches its socket for the client
 * leaving, which MHD does not see then. Two references: MHD's response and the owner; `closed` is called
 * once, on the loop, when the response is over. */
#include "http_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef struct stream_watch {
    http_watch watch;
    odto_http_stream *stream;
} stream_watch;

struct odto_http_stream {
    http_post post;
    stream_watch hup;
    pthread_mutex_t lock; /* from here to `posted` */
    char *ring;
    size_t cap, head, n;
    bool ended;   /* by the owner */
    bool gone;    /* the response is over */
    bool waiting; /* the connection is suspended for want of data */
    bool posted;
    _Atomic int refs;
    /* loop thread only */
    bool watched, aborted;
    http_loop *loop;
    http_conn *conn;
    http_owner *owner;
    void (*closed)(void *arg);
    void *arg;
};

static void stream_unref(odto_http_stream *st)
{
    if (atomic_fetch_sub(&st->refs, 1) != 1)
        return;
    pthread_mutex_destroy(&st->lock);
    free(st->ring);
    free(st);
}

static void stream_unwatch(odto_http_stream *st)
{
    if (st->watched)
        loop_unwatch(st->loop, st->conn->fd);
    st->watched = false;
}

/* Let MHD ask again. Loop thread. */
static void stream_resume(odto_http_stream *st)
{
    pthread_mutex_lock(&st->lock);
    bool waiting = st->waiting;
    st->waiting = false;
    pthread_mutex_unlock(&st->lock);
    if (!waiting)
        return;
    stream_unwatch(st);
    st->conn->engine->due = true;
    MHD_resume_connection(st->conn->mhd);
}

static void stream_posted(http_loop *l, http_post *p)
{
    odto_http_stream *st = (odto_http_stream *)((char *)p - offsetof(odto_http_stream, post));
    (void)l;
    pthread_mutex_lock(&st->lock);
    st->posted = false;
    pthread_mutex_unlock(&st->lock);
    stream_resume(st);
    stream_unref(st);
}

/* The client closed its side: it does not listen any more. */
static void stream_hup(http_loop *l, http_watch *w, uint32_t events)
{
    odto_http_stream *st = ((stream_watch *)w)->stream;
    (void)l;
    (void)events;
    st->aborted = true;
    stream_resume(st);
}

static size_t ring_take(odto_http_stream *st, char *out, size_t max)
{
    size_t n = st->n < max ? st->n : max, first = st->cap - st->head < n ? st->cap - st->head : n;
    if (!n)
        return 0;
    memcpy(out, st->ring + st->head, first);
    memcpy(out + first, st->ring, n - first);
    st->head = (st->head + n) % st->cap;
    st->n -= n;
    return n;
}

static ssize_t stream_read(void *cls, uint64_t pos, char *out, size_t max)
{
    odto_http_stream *st = cls;
    (void)pos;
    if (st->aborted)
        return MHD_CONTENT_READER_END_OF_STREAM;
    pthread_mutex_lock(&st->lock);
    size_t n = ring_take(st, out, max);
    bool ended = st->ended;
    st->waiting = !n && !ended;
    pthread_mutex_unlock(&st->lock);
    if (n)
        return (ssize_t)n;
    if (ended)
        return MHD_CONTENT_READER_END_OF_STREAM;
    MHD_suspend_connection(st->conn->mhd);
    st->watched = !loop_watch(st->loop, st->conn->fd, EPOLLRDHUP | EPOLLET, &st->hup.watch);
    return 0;
}

/* The response is over: sent, or the client is gone. */
void stream_over(void *cls)
{
    odto_http_stream *st = cls;
    http_server *s = st->loop->server;
    http_owner *o = st->owner;
    stream_unwatch(st);
    pthread_mutex_lock(&st->lock);
    st->gone = true;
    pthread_mutex_unlock(&st->lock);
    atomic_fetch_sub(&s->streams, 1);
    if (st->closed) {
        hook_enter(s, o);
        st->closed(st->arg);
        hook_leave(s, o);
    }
    owner_close(o);
    stream_unref(st);
}

struct MHD_Response *stream_response(odto_http_stream *st)
{
    if (st->owner && owner_gated(st->owner)) /* it was opened, but the gate's sweep did not find it yet */
        st->aborted = true;
    struct MHD_Response *r =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 4096, stream_read, st, stream_over);
    if (!r)
        stream_over(st);
    return r;
}

static odto_http_stream *stream_new(odto_http_request *rq, size_t max_queued)
{
    http_server *s = rq->loop->server;
    if (atomic_fetch_add(&s->streams, 1) >= s->config.max_streams) {
        atomic_fetch_sub(&s->streams, 1);
        return NULL;
    }
    odto_http_stream *st = calloc(1, sizeof(*st));
    char *ring = st ? malloc(max_queued) : NULL;
    if (!ring) {
        free(st);
        atomic_fetch_sub(&s->streams, 1);
        return NULL;
    }
    pthread_mutex_init(&st->lock, NULL);
    st->ring = ring;
    st->cap = max_queued;
    st->refs = 2;
    st->loop = rq->loop;
    st->conn = rq->conn;
    st->hup.watch.ready = stream_hup;
    st->hup.stream = st;
    st->post.run = stream_posted;
    return st;
}

static void stream_drop(odto_http_stream *st, http_server *s)
{
    atomic_fetch_sub(&s->streams, 1);
    stream_unref(st);
    stream_unref(st);
}

odto_http_stream *api_reply_stream(odto_http_request *rq, int status, const odto_http_header *headers,
                                   size_t n_headers, size_t max_queued, void (*closed)(void *arg), void *arg)
{
    odto_http_stream *st = rq->wsi ? NULL : stream_new(rq, max_queued ? max_queued : 65536);
    if (!st) {
        api_reply_error(rq, 503, "Service Unavailable", "/", "too many streams are open", 5);
        return NULL;
    }
    if (!owner_open(rq->owner)) {
        stream_drop(st, rq->loop->server);
        api_reply_error(rq, 503, "Service Unavailable", "/", "the service is being replaced", 1);
        return NULL;
    }
    if (!reply_claim(rq)) {
        owner_close(rq->owner);
        stream_drop(st, rq->loop->server);
        reply_late(rq);
        return NULL;
    }
    st->closed = closed;
    st->arg = arg;
    st->owner = rq->owner;
    reply_set(rq, status, headers, n_headers, odto_slice_of(NULL, 0), NULL, NULL);
    rq->reply.stream = st;
    reply_give(rq);
    return st;
}

/* Append data (may be empty) and wake the reader; with end the stream is over after it. */
static int stream_put(odto_http_stream *st, odto_slice data, bool end)
{
    int r = 0;
    pthread_mutex_lock(&st->lock);
    if (st->gone)
        r = -EPIPE;
    else if (data.n > st->cap - st->n)
        r = -EAGAIN;
    if (!r && data.n) {
        size_t tail = (st->head + st->n) % st->cap, first = st->cap - tail < data.n ? st->cap - tail : data.n;
        memcpy(st->ring + tail, data.p, first);
        memcpy(st->ring, data.p + first, data.n - first);
        st->n += data.n;
    }
    st->ended |= end;
    bool wake = !r && st->waiting && !st->posted;
    if (wake) {
        st->posted = true;
        st->refs++;
    }
    pthread_mutex_unlock(&st->lock);
    if (wake)
        loop_post(st->loop, &st->post);
    return r;
}

int api_stream_write(odto_http_stream *st, odto_slice data)
{
    return stream_put(st, data, false);
}

void api_stream_end(odto_http_stream *st)
{
    stream_put(st, odto_slice_of(NULL, 0), true);
    stream_unref(st);
}

void streams_abort(http_loop *l, const http_owner *owner)
{
    for (odto_http_request *rq = l->active, *next; rq; rq = next) {
        next = rq->next;
        odto_http_stream *st = rq->queued && (!owner || rq->owner == owner) ? rq->reply.stream : NULL;
        if (!st)
            continue;
        st->aborted = true;
        stream_resume(st);
    }
}
