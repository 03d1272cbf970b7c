/* publisher.c — the thread "publish".
 *
 * publish() of any thread appends a batch to a list; the thread sends its items while the window has room,
 * and ends the batch when the broker confirmed all of them. After a lost connection what was not confirmed is
 * published again, in order, before anything new. A broker that is away or blocked for longer than give_up
 * costs what waits its answer (a negative done: the source keeps it), so nobody hangs on a broker.
 *
 * Lock: publisher.lock guards the list, the counts and the names of topics; it is not held while librabbitmq
 * or a done is called. */
#include "rabbitmq.h"

#include <errno.h>
#include <json-c/json.h>
#include <odto/json.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define QUEUE_EVENTS  16384u
#define SEND_AT_ONCE  64u
#define TICK_NS       ODTO_SEC
#define TOPIC_HOLD_NS (10 * ODTO_SEC) /* after a queue could not be declared */

int publisher_init(publisher *p, rmq *r)
{
    memset(p, 0, sizeof *p);
    pthread_mutex_init(&p->lock, NULL);
    p->end = &p->first;
    p->s.fd = p->s.wake_fd = -1;
    int rc = session_init(&p->s, r, "publish");
    if (rc == 0)
        rc = window_init(&p->window, r->opt.window);
    p->again = calloc(p->window.size ? p->window.size : 1, sizeof(struct pub_item *));
    return rc ? rc : p->again ? 0 : -ENOMEM;
}

/* ---- ends ---------------------------------------------------------------------------------- */

/* One item is over; the last one ends its batch. */
static void item_end(publisher *p, struct pub_item *it, int result)
{
    struct pub_batch *b = it->batch;
    if (result && !b->result)
        b->result = result;
    pthread_mutex_lock(&p->lock);
    p->queued_events--;
    p->queued_bytes -= it->event->body.n;
    pthread_mutex_unlock(&p->lock);
    p->s.r->host->api->event_unref(it->event);
    if (--b->left)
        return;
    if (b->done)
        b->done(b->arg, b->result);
    free(b);
}

static void on_ack(void *arg, void *item, bool returned)
{
    publisher *p = arg;
    struct pub_item *it = item;
    rmq_metrics *m = &p->s.r->m;
    odto_metric_add(returned ? m->returned : m->ack, 1);
    odto_metric_observe(m->confirm_seconds, (double)(odto_now_ns() - it->sent_ns) / 1e9);
    item_end(p, it, returned ? -EIO : 0);
}

static void on_nack(void *arg, void *item, bool returned)
{
    publisher *p = arg;
    (void)returned;
    odto_metric_add(p->s.r->m.nack, 1);
    item_end(p, item, -EIO);
}

static void give_up_item(void *arg, void *item)
{
    publisher *p = arg;
    odto_metric_add(p->s.r->m.timeout, 1);
    item_end(p, item, -ENOTCONN);
}

/* The next item to send: first those of a lost connection. NULL: none. */
static struct pub_item *next_item(publisher *p)
{
    if (p->again_n) {
        struct pub_item *it = p->again[p->again_first & (p->window.size - 1)];
        p->again_first++;
        p->again_n--;
        return it;
    }
    struct pub_item *it = NULL;
    pthread_mutex_lock(&p->lock);
    struct pub_batch *b = p->first;
    if (b) {
        it = &b->items[b->sent++];
        if (b->sent == b->n) { /* from here on its items hold it */
            p->first = b->next;
            if (!p->first)
                p->end = &p->first;
        }
    }
    pthread_mutex_unlock(&p->lock);
    return it;
}

static bool waiting(publisher *p)
{
    pthread_mutex_lock(&p->lock);
    bool some = p->first != NULL;
    pthread_mutex_unlock(&p->lock);
    return some || p->again_n;
}

/* All that waits is given back to where it came from. */
static void give_up(publisher *p)
{
    for (struct pub_item *it; (it = next_item(p));)
        give_up_item(p, it);
}

static void set_away(publisher *p, bool away)
{
    pthread_mutex_lock(&p->lock);
    p->away = away;
    pthread_mutex_unlock(&p->lock);
}

static uint32_t topics(publisher *p)
{
    pthread_mutex_lock(&p->lock);
    uint32_t n = p->n_topics;
    pthread_mutex_unlock(&p->lock);
    return n;
}

/* The connection is gone: what it did not confirm is to be sent again. */
static void collect_unconfirmed(publisher *p)
{
    void *item;
    struct pub_item **old = NULL;
    uint32_t n_old = p->again_n, n = 0;
    if (n_old) { /* behind what was sent already: they are younger */
        old = calloc(n_old, sizeof(struct pub_item *));
        for (uint32_t i = 0; i < n_old; i++) {
            struct pub_item *it = next_item(p);
            if (old)
                old[i] = it;
            else
                give_up_item(p, it);
        }
    }
    p->again_first = 0;
    while (window_take(&p->window, &item))
        if (item)
            p->again[n++] = item;
    for (uint32_t i = 0; old && i < n_old; i++)
        p->again[n++] = old[i]; /* fits: both came out of one window */
    p->again_n = n;
    free(old);
    window_reset(&p->window);
    for (uint32_t i = topics(p); i-- > 0;)
        p->topics[i].declared = false;
}

/* ---- topics -------------------------------------------------------------------------------- */

static void set_refused(publisher *p, uint32_t topic, bool refused)
{
    pthread_mutex_lock(&p->lock);
    p->refused[topic] = refused;
    pthread_mutex_unlock(&p->lock);
}

/* The topic's queue is there: 0; -EIO: its items fail for the moment; -ECONNRESET. */
static int ready_topic(publisher *p, uint32_t k)
{
    pub_topic *t = &p->topics[k];
    if (t->declared)
        return 0;
    if (t->retry_at > odto_now_ns())
        return -EIO;
    odto_error err = {0};
    int64_t rc = session_declare(&p->s, t->name, false, &err);
    if (rc >= 0) {
        bool mended = t->retry_at != 0;
        t->declared = true;
        t->retry_at = 0;
        set_refused(p, k, false);
        for (uint32_t i = 0; i < topics(p); i++)
            mended = mended && !p->topics[i].retry_at;
        if (mended)
            set_problem(&p->s, NULL);
        return 0;
    }
    if (rc == -ECONNRESET) {
        session_lost(&p->s, err.message);
        return -ECONNRESET;
    }
    session_complain(&p->s, &err);
    t->retry_at = odto_now_ns() + TOPIC_HOLD_NS;
    set_refused(p, k, true);
    return -EIO;
}

/* Topics that were refused are tried again when it is time. False: the connection is lost. */
static bool retry_topics(publisher *p)
{
    for (uint32_t i = topics(p); i-- > 0;)
        if (p->topics[i].retry_at && p->topics[i].retry_at <= odto_now_ns() &&
            ready_topic(p, i) == -ECONNRESET)
            return false;
    return true;
}

/* ---- sending ------------------------------------------------------------------------------- */

static amqp_bytes_t bytes_of(odto_slice s)
{
    return (amqp_bytes_t){.len = s.n, .bytes = (void *)(uintptr_t)s.p};
}

/* A dead letter's correlation id; it has no envelope. */
static bool letter_correlation(odto_slice body, char out[ODTO_UUID_LEN + 1])
{
    struct json_object *o = NULL, *v = NULL;
    bool found = odto_json_parse(body, 64, &o, NULL) == 0 &&
                 json_object_object_get_ex(o, "correlation_id", &v) &&
                 json_object_get_string_len(v) == ODTO_UUID_LEN;
    if (found)
        memcpy(out, json_object_get_string(v), ODTO_UUID_LEN + 1);
    json_object_put(o);
    return found;
}

struct properties {
    amqp_basic_properties_t p;
    char correlation[ODTO_UUID_LEN + 1];
    amqp_table_entry_t trace;
};

static void properties_of(struct pub_item *it, struct properties *out)
{
    const odto_event *e = it->event;
    odto_header parsed;
    const odto_header *h = (e->flags & ODTO_EVENT_VALID)              ? &e->hdr
                           : odto_header_parse(e->body, &parsed) == 0 ? &parsed
                                                                      : NULL;
    amqp_basic_properties_t *p = &out->p;
    memset(out, 0, sizeof *out);
    p->_flags = AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_DELIVERY_MODE_FLAG | AMQP_BASIC_MESSAGE_ID_FLAG |
                AMQP_BASIC_TIMESTAMP_FLAG | AMQP_BASIC_APP_ID_FLAG;
    p->content_type = amqp_cstring_bytes("application/json");
    p->delivery_mode = AMQP_DELIVERY_PERSISTENT;
    p->timestamp = (uint64_t)time(NULL);
    p->app_id = amqp_cstring_bytes("odto");
    if (h && !it->message_id[0]) {
        odto_uuid_format(&h->event_id, it->message_id);
    } else if (!it->message_id[0]) { /* the same when it is sent again */
        odto_uuid id;
        odto_uuid_v7(&id);
        odto_uuid_format(&id, it->message_id);
    }
    p->message_id = amqp_cstring_bytes(it->message_id);
    if (h)
        odto_uuid_format(&h->correlation_id, out->correlation);
    if (h || letter_correlation(e->body, out->correlation)) {
        p->_flags |= AMQP_BASIC_CORRELATION_ID_FLAG;
        p->correlation_id = amqp_cstring_bytes(out->correlation);
    }
    if (h && h->type) {
        p->_flags |= AMQP_BASIC_TYPE_FLAG;
        p->type = amqp_cstring_bytes(odto_event_type_name(h->type));
    }
    if (h && h->traceparent.n) {
        p->_flags |= AMQP_BASIC_HEADERS_FLAG;
        out->trace = (amqp_table_entry_t){.key = amqp_cstring_bytes("traceparent")};
        out->trace.value.kind = AMQP_FIELD_KIND_UTF8;
        out->trace.value.value.bytes = bytes_of(h->traceparent);
        p->headers = (amqp_table_t){1, &out->trace};
    }
}

/* False: the connection is lost. */
static bool send_item(publisher *p, struct pub_item *it)
{
    uint32_t k = it->batch->topic;
    int rc = ready_topic(p, k);
    if (rc == -EIO) {
        item_end(p, it, -EIO);
        return true;
    }
    struct properties props;
    it->sent_ns = odto_now_ns();
    window_push(&p->window, it); /* from here on it is found by collect_unconfirmed */
    if (rc)
        return false;
    properties_of(it, &props);
    int status = amqp_basic_publish(p->s.c, CHANNEL, amqp_empty_bytes, amqp_cstring_bytes(p->topics[k].name),
                                    1, 0, &props.p, bytes_of(it->event->body));
    if (status == AMQP_STATUS_OK)
        return true;
    session_lost(&p->s, amqp_error_string2(status));
    return false;
}

/* How many were sent; -1: the connection is lost. */
static int send_some(publisher *p)
{
    int n = 0;
    while (n < (int)SEND_AT_ONCE && !p->s.blocked && !window_full(&p->window)) {
        struct pub_item *it = next_item(p);
        if (!it)
            break;
        if (!send_item(p, it))
            return -1;
        n++;
    }
    return n;
}

/* ---- receiving ----------------------------------------------------------------------------- */

struct returned {
    amqp_bytes_t message_id;
};

static bool is_returned(void *arg, const void *item)
{
    const struct returned *r = arg;
    const struct pub_item *it = item;
    return r->message_id.len == strlen(it->message_id) &&
           memcmp(r->message_id.bytes, it->message_id, r->message_id.len) == 0;
}

/* A message that no queue took; its ack comes after it. The queue is declared anew before the next. */
static bool take_return(publisher *p, const amqp_frame_t *f)
{
    const amqp_basic_return_t *m = f->payload.method.decoded;
    odto_log(p->s.r->host, ODTO_WARN, "publish: returned: no queue %.*s (%d %.*s); it is declared again",
             (int)m->routing_key.len, (const char *)m->routing_key.bytes, m->reply_code,
             (int)m->reply_text.len, (const char *)m->reply_text.bytes);
    for (uint32_t i = topics(p); i-- > 0;)
        if (m->routing_key.len == strlen(p->topics[i].name) &&
            memcmp(m->routing_key.bytes, p->topics[i].name, m->routing_key.len) == 0)
            p->topics[i].declared = false;
    amqp_message_t msg;
    amqp_rpc_reply_t reply = amqp_read_message(p->s.c, f->channel, &msg, 0);
    if (reply.reply_type != AMQP_RESPONSE_NORMAL) {
        session_lost(&p->s, "a returned message could not be read");
        return false;
    }
    struct returned r = {msg.properties.message_id};
    window_returned(&p->window, is_returned, &r);
    amqp_destroy_message(&msg);
    return true;
}

/* All frames that are there; false: the connection is lost. */
static bool receive(publisher *p)
{
    amqp_frame_t f;
    int rc;
    while ((rc = session_frame(&p->s, &f)) > 0) {
        bool method = f.frame_type == AMQP_FRAME_METHOD;
        if (method && f.payload.method.id == AMQP_BASIC_ACK_METHOD) {
            const amqp_basic_ack_t *m = f.payload.method.decoded;
            window_confirm(&p->window, m->delivery_tag, m->multiple, on_ack, p);
        } else if (method && f.payload.method.id == AMQP_BASIC_NACK_METHOD) {
            const amqp_basic_nack_t *m = f.payload.method.decoded;
            window_confirm(&p->window, m->delivery_tag, m->multiple, on_nack, p);
        } else if (method && f.payload.method.id == AMQP_BASIC_RETURN_METHOD) {
            if (!take_return(p, &f))
                return false;
        } else if (!session_control(&p->s, &f)) {
            return false;
        }
    }
    if (rc == 0)
        amqp_maybe_release_buffers(p->s.c);
    return rc == 0;
}

/* ---- the thread ---------------------------------------------------------------------------- */

static bool start_confirms(publisher *p)
{
    odto_error err = {0};
    bool ok = session_open_channel(&p->s, CHANNEL, &err);
    if (ok) {
        amqp_confirm_select(p->s.c, CHANNEL);
        ok = session_reply(&p->s, amqp_get_rpc_reply(p->s.c), "confirm.select", &err) == 0;
    }
    if (ok)
        return true;
    session_lost(&p->s, err.message);
    return false;
}

/* Not connected: try, or wait until it is time to. */
static void reconnect(publisher *p)
{
    rmq *r = p->s.r;
    int64_t now = odto_now_ns();
    if (now >= p->s.retry_at && session_connect(&p->s) && start_confirms(p)) {
        p->s.streak = 0;
        p->s.down_since = 0;
        set_away(p, false);
        return;
    }
    now = odto_now_ns();
    bool over = now - p->s.down_since >= r->opt.give_up_ns;
    if (over) {
        set_away(p, true);
        give_up(p);
    }
    int64_t until = p->s.retry_at;
    if (!over && until > p->s.down_since + r->opt.give_up_ns)
        until = p->s.down_since + r->opt.give_up_ns;
    session_wait(&p->s, until);
}

/* Blocked, or confirms that do not come. False: the connection was given up. */
static bool check_age(publisher *p)
{
    const rmq_options *o = &p->s.r->opt;
    const struct pub_item *oldest = window_oldest(&p->window);
    int64_t age = oldest ? odto_now_ns() - oldest->sent_ns : 0;
    if (p->s.blocked) {
        if (!p->s.down_since)
            p->s.down_since = odto_now_ns();
        if (odto_now_ns() - p->s.down_since < o->give_up_ns)
            return true;
        set_away(p, true);
        window_give_up(&p->window, give_up_item, p); /* the tags stay under way */
        give_up(p);
        return true;
    }
    if (p->s.down_since)
        set_away(p, false);
    p->s.down_since = 0;
    if (age < o->confirm_ns)
        return true;
    session_lost(&p->s, "no confirm for too long");
    return false;
}

static bool work(publisher *p)
{
    if (!receive(p) || !check_age(p) || !retry_topics(p))
        return false;
    int n = send_some(p);
    if (n < 0)
        return false;
    if (n > 0)
        return receive(p);
    pthread_mutex_lock(&p->lock);
    p->sleeping = p->s.blocked || window_full(&p->window) || !p->first;
    bool sleep = p->sleeping;
    pthread_mutex_unlock(&p->lock);
    if (sleep)
        session_wait(&p->s, odto_now_ns() + TICK_NS);
    pthread_mutex_lock(&p->lock);
    p->sleeping = false;
    pthread_mutex_unlock(&p->lock);
    return true;
}

/* Stopping: what waits has a moment to be confirmed, then it is given back. */
static void finish(publisher *p)
{
    int64_t until = odto_now_ns() + ODTO_SEC;
    while (p->s.up && (waiting(p) || p->window.open) && odto_now_ns() < until) {
        if (!receive(p) || send_some(p) < 0)
            break;
        session_wait(&p->s, odto_now_ns() + 10 * ODTO_MS);
    }
    set_away(p, true);
    session_close(&p->s, true);
    collect_unconfirmed(p);
    give_up(p);
}

void publisher_run(void *arg)
{
    publisher *p = &((rmq *)arg)->pub;
    while (!rmq_stopping(p->s.r)) {
        if (!p->s.up)
            reconnect(p);
        else if (!work(p))
            collect_unconfirmed(p);
    }
    finish(p);
}

void publisher_fini(publisher *p)
{
    collect_unconfirmed(p);
    give_up(p);
    session_fini(&p->s);
    window_free(&p->window);
    free(p->again);
    pthread_mutex_destroy(&p->lock);
}

/* ---- any thread ---------------------------------------------------------------------------- */

/* Lock held. -1: too many topics. */
static int topic_of(publisher *p, const char *topic)
{
    for (uint32_t i = 0; i < p->n_topics; i++)
        if (strcmp(p->topics[i].name, topic) == 0)
            return (int)i;
    if (p->n_topics == TOPICS_MAX || strlen(topic) >= TOPIC_SIZE)
        return -1;
    strcpy(p->topics[p->n_topics].name, topic);
    return (int)p->n_topics++;
}

/* Lock held. */
static int refusal(const publisher *p, int topic, size_t n, uint64_t bytes)
{
    if (rmq_stopping(p->s.r))
        return -ECANCELED;
    if (topic < 0)
        return -E2BIG;
    if (p->away || p->refused[topic])
        return -ENOTCONN;
    bool full = p->queued_events + n > QUEUE_EVENTS ||
                p->queued_bytes + bytes > (uint64_t)p->s.r->opt.max_queue_bytes;
    return full && p->queued_events ? -EAGAIN : 0;
}

/* What events would be refused with now. */
static int asked(publisher *p, const char *topic)
{
    pthread_mutex_lock(&p->lock);
    int rc = refusal(p, topic_of(p, topic), 0, 0);
    pthread_mutex_unlock(&p->lock);
    return rc;
}

int publisher_publish(publisher *p, const char *topic, odto_event *const *events, size_t n,
                      odto_publish_done *done, void *arg)
{
    if (!n)
        return asked(p, topic);
    struct pub_batch *b = malloc(sizeof *b + n * sizeof b->items[0]);
    uint64_t bytes = 0;
    if (!b)
        return -ENOMEM;
    *b = (struct pub_batch){.done = done, .arg = arg, .n = (uint32_t)n, .left = (uint32_t)n};
    for (size_t i = 0; i < n; i++) {
        b->items[i] = (struct pub_item){.event = events[i], .batch = b};
        bytes += events[i]->body.n;
    }
    pthread_mutex_lock(&p->lock);
    int k = topic_of(p, topic);
    int rc = refusal(p, k, n, bytes);
    bool wake = false;
    if (rc == 0) {
        b->topic = (uint32_t)k;
        for (size_t i = 0; i < n; i++)
            p->s.r->host->api->event_ref(events[i]);
        *p->end = b;
        p->end = &b->next;
        p->queued_events += n;
        p->queued_bytes += bytes;
        wake = p->sleeping;
        p->sleeping = false;
    }
    pthread_mutex_unlock(&p->lock);
    if (rc)
        free(b);
    if (wake)
        session_wake(&p->s);
    return rc;
}
