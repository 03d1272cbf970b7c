/* watch.c — live events as server-sent events (WHATWG HTML, section 9.2), and the check of slow stores.
 *
 * One thread asks the events store for what is new while streams are open, and sleeps otherwise. Each stream
 * has its own position in the log; the store is its buffer: a client that does not read falls behind at no
 * cost and catches up, a client that comes back with Last-Event-ID goes on where it was. Streams stand in a
 * fixed table; a slot belongs to the thread as long as it is OPEN, to the request handler while OPENING.
 * watch.lock protects the states, `stopping` and the result of the check. */
#include "read_model.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK       ((size_t)64 * 1024) /* bytes handed to a stream at once; one larger event alone */
#define CHUNK_ROWS  256
#define QUEUED      ((size_t)1 << 20) /* bytes a stream may have waiting */
#define KEEP_ALIVE  (15 * ODTO_SEC)
#define PROBE_EVERY (2 * ODTO_SEC)

typedef enum slot_state {
    SLOT_FREE,
    SLOT_OPENING, /* the request handler's */
    SLOT_OPEN,    /* the thread's */
    SLOT_ENDING,  /* ended, but the host has not said closed yet */
} slot_state;

typedef struct slot {
    struct watch *w;
    slot_state state;
    bool closed; /* the host said so: the client is gone, or all was sent after the end */
    odto_http_stream *stream;
    uint64_t cursor; /* the last event that was handed over */
    int64_t written_ns;
} slot;

/* Formatted events after `from`, up to `to`. */
typedef struct chunk {
    bool valid, more;
    uint64_t from, to;
    odto_buf text;
} chunk;

struct watch {
    read_model *rm;
    odto_thread *thread;
    odto_metric *open_streams;
    int64_t poll_ns;
    size_t n_slots;
    slot *slots;
    chunk chunk; /* the thread's */

    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stopping; /* the thread is to end */
    bool running;  /* streams may open */
    bool probed_ready;
    char probed_reason[160];
};

/* ---- one chunk of events ----------------------------------------------------------------------- */

static bool on_row(void *arg, const odto_event_row *row)
{
    chunk *c = arg;
    odto_buf *b = &c->text;
    size_t line = row->body.n + 40;
    if (b->n > 0 && b->n + line > CHUNK) {
        c->more = true;
        return false;
    }
    if (line > QUEUED) {
        odto_buf_printf(b, "id: %llu\n: an event of %zu bytes is too long for this stream\n\n",
                        (unsigned long long)row->seq, row->body.n);
    } else {
        odto_buf_printf(b, "id: %llu\ndata: ", (unsigned long long)row->seq);
        size_t at = b->n;
        odto_buf_put(b, row->body.p, row->body.n);
        /* line breaks in JSON are white space only */
        for (size_t i = at; i < b->n; i++)
            if (b->p[i] == '\n' || b->p[i] == '\r')
                b->p[i] = ' ';
        odto_buf_str(b, "\n\n");
    }
    c->to = row->seq;
    return !b->failed;
}

/* Make w->chunk hold what follows `from`. 0 or -errno. */
static int chunk_fill(watch *w, uint64_t from)
{
    chunk *c = &w->chunk;
    if (c->valid && c->from == from)
        return 0;
    odto_error err = {0};
    odto_buf_clear(&c->text);
    c->text.failed = false;
    c->from = c->to = from;
    c->more = false;
    uint64_t last = 0;
    int rc = w->rm->events.iface->events->after(w->rm->events.self, from, CHUNK_ROWS, on_row, c, &last, &err);
    c->valid = rc == 0 && !c->text.failed;
    return rc != 0 ? rc : c->valid ? 0 : -ENOMEM;
}

/* ---- streams ----------------------------------------------------------------------------------- */

static void slot_set(watch *w, slot *s, slot_state state)
{
    pthread_mutex_lock(&w->lock);
    s->state = state;
    pthread_cond_broadcast(&w->wake);
    pthread_mutex_unlock(&w->lock);
}

static void slot_close(watch *w, slot *s)
{
    w->rm->host->api->http->stream_end(s->stream);
    odto_metric_add(w->open_streams, -1);
    pthread_mutex_lock(&w->lock);
    s->state = s->closed ? SLOT_FREE : SLOT_ENDING;
    pthread_cond_broadcast(&w->wake);
    pthread_mutex_unlock(&w->lock);
}

/* False when the client is gone. */
static bool slot_write(watch *w, slot *s, odto_slice text, uint64_t cursor)
{
    int rc = w->rm->host->api->http->stream_write(s->stream, text);
    if (rc == -EAGAIN)
        return true; /* slow client: again at the next poll */
    if (rc != 0)
        return false;
    s->cursor = cursor;
    s->written_ns = w->rm->host->api->now(w->rm->host);
    return true;
}

/* The client of an open stream is still there. */
static bool slot_has_client(watch *w, slot *s)
{
    pthread_mutex_lock(&w->lock);
    bool open = !s->closed;
    pthread_mutex_unlock(&w->lock);
    return open;
}

static bool slot_is_mine(watch *w, slot *s)
{
    pthread_mutex_lock(&w->lock);
    bool mine = s->state == SLOT_OPEN;
    pthread_mutex_unlock(&w->lock);
    return mine;
}

/* One step of one stream; *more when it has further events waiting in the store. */
static void slot_feed(watch *w, slot *s, bool *more)
{
    bool alive = slot_has_client(w, s);
    if (alive && chunk_fill(w, s->cursor) == 0 && w->chunk.text.n > 0) {
        uint64_t before = s->cursor;
        alive = slot_write(w, s, odto_slice_of(w->chunk.text.p, w->chunk.text.n), w->chunk.to);
        *more |= alive && s->cursor != before;
    } else if (alive && w->rm->host->api->now(w->rm->host) - s->written_ns > KEEP_ALIVE) {
        alive = slot_write(w, s, odto_slice_str(": keep-alive\n\n"), s->cursor);
    }
    if (!alive)
        slot_close(w, s);
}

/* Loop thread of the listener, once a stream, the last that is heard of it. */
static void on_closed(void *arg)
{
    slot *s = arg;
    pthread_mutex_lock(&s->w->lock);
    s->closed = true;
    if (s->state == SLOT_ENDING)
        s->state = SLOT_FREE;
    pthread_cond_broadcast(&s->w->wake);
    pthread_mutex_unlock(&s->w->lock);
}

/* ---- the thread -------------------------------------------------------------------------------- */

/* Every stream once; true when some are behind. */
static bool feed_all(watch *w)
{
    bool more = false;
    w->chunk.valid = false; /* read anew: the log has grown */
    for (size_t i = 0; i < w->n_slots; i++)
        if (slot_is_mine(w, &w->slots[i]))
            slot_feed(w, &w->slots[i], &more);
    return more;
}

static void probe(watch *w)
{
    odto_error err = {0};
    bool ready = stats_probe(w->rm, &err) == 0;
    pthread_mutex_lock(&w->lock);
    bool changed = ready != w->probed_ready;
    w->probed_ready = ready;
    snprintf(w->probed_reason, sizeof w->probed_reason, "%.60s: %.90s", err.message, err.detail);
    pthread_mutex_unlock(&w->lock);
    if (changed) {
        if (!ready)
            odto_log(w->rm->host, ODTO_WARN, "%s: %s", err.message, err.detail);
        w->rm->host->api->health_changed(w->rm->host);
    }
}

/* Holding the lock. */
static bool any_open(const watch *w)
{
    for (size_t i = 0; i < w->n_slots; i++)
        if (w->slots[i].state == SLOT_OPEN)
            return true;
    return false;
}

/* Holding the lock. */
static bool any_used(const watch *w)
{
    for (size_t i = 0; i < w->n_slots; i++)
        if (w->slots[i].state != SLOT_FREE)
            return true;
    return false;
}

/* Sleep until the next poll or check is due; for ever when there is nothing to do. False: stop. */
static bool wait_for_work(watch *w, int64_t probe_at)
{
    pthread_mutex_lock(&w->lock);
    int64_t until_ns = any_open(w) ? odto_now_ns() + w->poll_ns : INT64_MAX;
    if (!w->rm->quick && probe_at < until_ns)
        until_ns = probe_at;
    struct timespec until = {until_ns / ODTO_SEC, until_ns % ODTO_SEC};
    if (!w->stopping && until_ns == INT64_MAX)
        pthread_cond_wait(&w->wake, &w->lock);
    else if (!w->stopping)
        pthread_cond_timedwait(&w->wake, &w->lock, &until);
    bool go_on = !w->stopping;
    pthread_mutex_unlock(&w->lock);
    return go_on;
}

static bool streams_end(watch *w)
{
    pthread_mutex_lock(&w->lock);
    bool end = !w->running;
    pthread_mutex_unlock(&w->lock);
    return end;
}

static void close_all(watch *w)
{
    for (size_t i = 0; i < w->n_slots; i++)
        if (slot_is_mine(w, &w->slots[i]))
            slot_close(w, &w->slots[i]);
}

static void run(void *arg)
{
    watch *w = arg;
    int64_t probe_at = 0;
    do {
        if (streams_end(w))
            close_all(w);
        w->rm->host->api->beat(w->rm->host);
        if (!w->rm->quick && odto_now_ns() >= probe_at) {
            probe(w);
            probe_at = odto_now_ns() + PROBE_EVERY;
        }
        while (feed_all(w) && !w->rm->host->api->stopping(w->rm->host))
            ;
    } while (wait_for_work(w, probe_at));
    close_all(w);
}

/* ---- GET /events/stream ------------------------------------------------------------------------ */

static slot *slot_reserve(watch *w)
{
    slot *found = NULL;
    pthread_mutex_lock(&w->lock);
    for (size_t i = 0; i < w->n_slots && !found && w->running; i++)
        if (w->slots[i].state == SLOT_FREE)
            found = &w->slots[i];
    if (found)
        found->state = SLOT_OPENING;
    pthread_mutex_unlock(&w->lock);
    return found;
}

static bool parse_seq(odto_slice text, uint64_t *out)
{
    uint64_t v = 0;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9' || text.n > 19)
            return false;
        v = v * 10 + (uint64_t)(text.p[i] - '0');
    }
    *out = v;
    return text.n > 0;
}

static bool no_row(void *arg, const odto_event_row *row)
{
    (void)arg, (void)row;
    return false;
}

/* Where the stream begins: after Last-Event-ID (header, or ?lastEventId=), else at the newest event. */
static bool first_cursor(read_model *rm, odto_http_request *rq, uint64_t *out)
{
    const odto_http_api *http = rm->host->api->http;
    odto_slice given = http->header(rq, "last-event-id");
    if (given.n == 0)
        given = http->query(rq, "lastEventId");
    if (given.n > 0) {
        if (parse_seq(given, out))
            return true;
        http->reply_error(rq, 400, "Invalid query", "/lastEventId",
                          "must be the id of an event of this stream", 0);
        return false;
    }
    odto_error err = {0};
    int rc = rm->events.iface->events->after(rm->events.self, UINT64_MAX, 1, no_row, NULL, out, &err);
    if (rc != 0)
        store_unavailable(rm, rq, &rm->events, rc, &err);
    return rc == 0;
}

static void open_stream(watch *w, slot *s, odto_http_request *rq, uint64_t cursor)
{
    static const odto_http_header headers[] = {
        {"Content-Type", "text/event-stream"},
        {"Cache-Control", "no-store"},
        {"X-Accel-Buffering", "no"},
    };
    read_model *rm = w->rm;
    s->w = w;
    s->closed = false;
    s->cursor = cursor;
    s->written_ns = rm->host->api->now(rm->host);
    s->stream = rm->host->api->http->reply_stream(rq, 200, headers, sizeof headers / sizeof *headers,
                                                  QUEUED + CHUNK, on_closed, s);
    if (!s->stream) { /* already answered */
        slot_set(w, s, SLOT_FREE);
        return;
    }
    odto_metric_add(w->open_streams, 1);
    slot_write(w, s, odto_slice_str("retry: 2000\n\n"), cursor);
    pthread_mutex_lock(&w->lock);
    bool running = w->running;
    s->state = running ? SLOT_OPEN : SLOT_OPENING;
    pthread_cond_broadcast(&w->wake);
    pthread_mutex_unlock(&w->lock);
    if (!running) /* the instance was stopped meanwhile: the thread will not see this one */
        slot_close(w, s);
}

void events_stream(void *self, odto_http_request *rq)
{
    read_model *rm = self;
    const odto_http_api *http = rm->host->api->http;
    uint64_t cursor = 0;
    if (!rm->events.iface->events->after) {
        http->reply_error(rq, 501, "Not implemented", "/", "the events store of this host has no live events",
                          0);
        return;
    }
    if (!first_cursor(rm, rq, &cursor))
        return;
    slot *s = slot_reserve(rm->watch);
    if (s)
        open_stream(rm->watch, s, rq, cursor);
    else
        http->reply_error(rq, 503, "Too many streams", "/",
                          "as many event streams are open as the option max_streams allows", 5);
}

/* ---- life -------------------------------------------------------------------------------------- */

int watch_new(read_model *rm, watch **out, odto_error *err)
{
    watch *w = calloc(1, sizeof *w);
    if (!w)
        return odto_fail(err, -ENOMEM, "no memory for event streams");
    w->rm = rm;
    w->n_slots = (size_t)odto_config_int(rm->config, "max_streams");
    w->poll_ns = odto_config_int(rm->config, "stream_poll");
    pthread_mutex_init(&w->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&w->wake, &attr);
    pthread_condattr_destroy(&attr);
    w->slots = calloc(w->n_slots + 1, sizeof *w->slots);
    if (!w->slots) {
        odto_fail(err, -ENOMEM, "no memory for %zu event streams (option max_streams)", w->n_slots);
        watch_free(w);
        return -ENOMEM;
    }
    *out = w;
    return 0;
}

int watch_start(watch *w, odto_error *err)
{
    odto_host *h = w->rm->host;
    w->open_streams =
        h->api->metric(h, ODTO_GAUGE, "odto_read_model_streams", "Open event streams.", NULL, NULL, NULL, 0);
    if (!w->open_streams)
        return odto_fail(err, -ENOMEM, "no memory for metrics");
    w->stopping = false;
    w->running = true;
    w->probed_ready = true;
    int rc = h->api->thread_start(h, "watch", run, w, &w->thread);
    return rc ? odto_fail(err, rc, "no thread for event streams: %s", strerror(-rc)) : 0;
}

int watch_quiesce(watch *w, int64_t deadline_ns)
{
    struct timespec until = {deadline_ns / ODTO_SEC, deadline_ns % ODTO_SEC};
    int rc = 0;
    pthread_mutex_lock(&w->lock);
    w->running = false;
    pthread_cond_broadcast(&w->wake);
    while (any_used(w) && rc == 0)
        rc = pthread_cond_timedwait(&w->wake, &w->lock, &until);
    rc = any_used(w) ? -ETIMEDOUT : 0;
    pthread_mutex_unlock(&w->lock);
    return rc;
}

void watch_stop(watch *w)
{
    pthread_mutex_lock(&w->lock);
    w->stopping = true;
    w->running = false;
    pthread_cond_broadcast(&w->wake);
    pthread_mutex_unlock(&w->lock);
}

void watch_free(watch *w)
{
    if (!w)
        return;
    odto_buf_free(&w->chunk.text);
    free(w->slots);
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

void watch_health(watch *w, odto_health *out)
{
    if (w->rm->quick) {
        odto_error err = {0};
        out->ready = stats_probe(w->rm, &err) == 0;
        if (!out->ready)
            snprintf(out->reason, sizeof out->reason, "%.60s: %.90s", err.message, err.detail);
        return;
    }
    pthread_mutex_lock(&w->lock);
    out->ready = w->probed_ready;
    if (!out->ready)
        snprintf(out->reason, sizeof out->reason, "%s", w->probed_reason);
    pthread_mutex_unlock(&w->lock);
}
