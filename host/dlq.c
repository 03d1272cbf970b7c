/* dlq.c — dead letters as people handle them: list, show, requeue, purge; and a look at any route's waiting
 * events. A letter's id is TOPIC/SEQ. Control threads. */
#include "host/verbs.h"

#include <errno.h>
#include <json-c/json.h>
#include <odto/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEAD_TOPIC "jobs.failed.validation" /* the contract's name, the default of every dlq command */

static odto_route *dead_route(struct core *core, const control_request *rq, odto_error *err)
{
    const char *topic = control_arg_string(rq, "topic", DEAD_TOPIC, err);
    odto_route *r = core_route(core, topic);
    if (!r)
        odto_fail(err, -ENOENT, "no route %s; `odto routes` lists them", topic);
    return r;
}

static const char *text_of(struct json_object *o, const char *key)
{
    struct json_object *v = NULL;
    return o && json_object_object_get_ex(o, key, &v) && v ? json_object_get_string(v) : "";
}

/* The topic an original event belongs to. */
static const char *origin_of(struct json_object *letter)
{
    struct json_object *event = NULL;
    json_object_object_get_ex(letter, "original_event", &event);
    const char *type = json_object_is_type(event, json_type_object) ? text_of(event, "eventType") : "";
    return strcmp(type, "job.created") == 0 ? "jobs.created"
           : strncmp(type, "job.", 4) == 0  ? "jobs.completed"
                                            : "";
}

struct listing {
    odto_buf *out;
    const char *topic;
    size_t n;
    uint64_t last;
};

static bool list_one(void *arg, const struct route_item *item)
{
    struct listing *l = arg;
    struct json_object *o = NULL;
    odto_json_parse(item->body, 64, &o, NULL);
    odto_buf_printf(l->out, "%s{\"id\":\"%s/%llu\",", l->n++ ? "," : "", l->topic,
                    (unsigned long long)item->seq);
    json_member(l->out, "topic", l->topic);
    odto_buf_str(l->out, ",");
    json_member(l->out, "originalTopic", origin_of(o));
    odto_buf_str(l->out, ",");
    json_member(l->out, "reason", text_of(o, "validation_error"));
    odto_buf_str(l->out, ",");
    json_member(l->out, "rejectedAt", text_of(o, "rejected_at"));
    odto_buf_str(l->out, ",");
    json_member(l->out, "correlationId", text_of(o, "correlation_id"));
    odto_buf_printf(l->out, ",\"size\":%zu}", item->body.n);
    l->last = item->seq;
    json_object_put(o);
    return !l->out->failed;
}

int verb_dlq_list(void *core, const control_request *rq, odto_buf *out, odto_error *err)
{
    odto_route *r = dead_route(core, rq, err);
    if (!r)
        return err->code;
    int64_t limit = control_arg_int(rq, "limit", 100, err);
    const char *cursor = control_arg_string(rq, "cursor", "0", err);
    limit = limit < 1 ? 1 : limit > 1000 ? 1000 : limit;
    struct listing l = {.out = out, .topic = route_topic(r)};
    odto_buf_str(out, "{\"letters\":[");
    int e = route_peek(r, strtoull(cursor, NULL, 10), (size_t)limit, list_one, &l);
    odto_buf_str(out, "],\"next\":\"");
    if (l.n == (size_t)limit)
        odto_buf_printf(out, "%llu", (unsigned long long)l.last + 1);
    odto_buf_str(out, "\"}");
    return e < 0 ? odto_fail(err, e, "can't read the dead letters of %s: %s", route_topic(r), strerror(-e))
                 : 0;
}

/* ---- one letter ---- */

static odto_route *parse_id(struct core *core, const char *id, uint64_t *seq, odto_error *err)
{
    const char *slash = strrchr(id, '/');
    char topic[256], *end = NULL;
    snprintf(topic, sizeof topic, "%.*s", slash ? (int)(slash - id) : 0, id);
    *seq = strtoull(slash ? slash + 1 : id, &end, 10);
    odto_route *r = core_route(core, topic[0] ? topic : DEAD_TOPIC);
    if (!r || !end || *end || end == (slash ? slash + 1 : id)) {
        odto_fail(err, -EINVAL, "no dead letter '%s'", id);
        odto_error_hint(err, "an id is TOPIC/NUMBER, as `odto dlq list` shows it");
        return NULL;
    }
    return r;
}

struct found {
    uint64_t seq;
    odto_buf body;
    bool hit;
};

static bool find_one(void *arg, const struct route_item *item)
{
    struct found *f = arg;
    if (item->seq == f->seq)
        f->hit = odto_buf_put(&f->body, item->body.p, item->body.n);
    return false;
}

static int find_letter(odto_route *r, uint64_t seq, odto_buf *body, odto_error *err)
{
    struct found f = {.seq = seq};
    route_peek(r, seq, 1, find_one, &f);
    *body = f.body;
    if (f.hit)
        return 0;
    odto_buf_free(body);
    return odto_fail(err, -ENOENT, "no dead letter %s/%llu", route_topic(r), (unsigned long long)seq);
}

int verb_dlq_show(void *core, const control_request *rq, odto_buf *out, odto_error *err)
{
    const char *id = control_arg_string(rq, "id", "", err);
    uint64_t seq;
    odto_buf body = {0};
    odto_route *r = parse_id(core, id, &seq, err);
    if (!r || find_letter(r, seq, &body, err) < 0)
        return err->code;
    odto_buf_str(out, "{\"letter\":");
    odto_buf_put(out, body.p, body.n);
    odto_buf_str(out, "}");
    odto_buf_free(&body);
    return 0;
}

/* ---- requeue ---- */

struct wait {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool done;
    int result;
};

static void on_published(void *arg, int result)
{
    struct wait *w = arg;
    pthread_mutex_lock(&w->lock);
    w->result = result;
    w->done = true;
    pthread_cond_signal(&w->cond);
    pthread_mutex_unlock(&w->lock);
}

static int publish_wait(struct core *core, odto_route *r, odto_slice body)
{
    struct wait w = {.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
    odto_event *e = event_make(core->pool, body, 0);
    if (!e)
        return -ENOMEM;
    int result = route_publish(r, &e, 1, 0, on_published, &w, NULL);
    event_unref(e);
    if (result < 0)
        return result;
    pthread_mutex_lock(&w.lock);
    while (!w.done)
        pthread_cond_wait(&w.cond, &w.lock);
    pthread_mutex_unlock(&w.lock);
    return w.result;
}

/* The original event under a new event id and marked as sent again by a person, which lets a FAILED job begin
 * anew. */
static int mark_redrive(struct json_object *event, odto_error *err)
{
    if (!json_object_is_type(event, json_type_object)) {
        odto_fail(err, -EINVAL, "the original event is not an object: it can only be shown or purged");
        return -EINVAL;
    }
    char id[ODTO_UUID_LEN + 1];
    odto_uuid u;
    odto_uuid_v7(&u);
    odto_uuid_format(&u, id);
    json_object_object_add(event, "eventId", json_object_new_string(id));
    json_object_object_add(event, "redrive", json_object_new_boolean(1));
    return 0;
}

static int requeue_body(struct core *core, odto_slice letter, odto_error *err)
{
    struct json_object *o = NULL, *event = NULL;
    int r = odto_json_parse(letter, 64, &o, err);
    if (r < 0)
        return r;
    json_object_object_get_ex(o, "original_event", &event);
    const char *topic = origin_of(o);
    odto_route *to = topic[0] ? core_route(core, topic) : NULL;
    if (!to)
        r = odto_fail(err, -EINVAL, "the original event says of no route of this host where it belongs");
    if (r == 0)
        r = mark_redrive(event, err);
    if (r == 0) {
        size_t n = 0;
        const char *text = json_object_to_json_string_length(
            event, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &n);
        r = publish_wait(core, to, odto_slice_of(text, n));
        if (r < 0)
            odto_fail(err, r, "can't publish to %s: %s", topic, strerror(-r));
    }
    json_object_put(o);
    return r;
}

struct all {
    uint64_t seqs[4096];
    size_t n;
};

static bool collect(void *arg, const struct route_item *item)
{
    struct all *a = arg;
    a->seqs[a->n++] = item->seq;
    return a->n < sizeof a->seqs / sizeof a->seqs[0];
}

static int requeue_one(struct core *core, odto_route *r, uint64_t seq, odto_error *err)
{
    odto_buf body = {0};
    int e = find_letter(r, seq, &body, err);
    if (e == 0)
        e = requeue_body(core, odto_slice_of(body.p, body.n), err);
    odto_buf_free(&body);
    if (e == 0 && route_remove(r, &seq, 1) < 0) /* only when the event is durable elsewhere */
        return odto_fail(err, -EIO, "requeued, but the dead letter could not be removed");
    return e;
}

int verb_dlq_requeue(void *arg, const control_request *rq, odto_buf *out, odto_error *err)
{
    struct core *core = arg;
    int64_t count = 0;
    int r = 0;
    if (control_arg_bool(rq, "all", false, err)) {
        odto_route *route = dead_route(core, rq, err);
        struct all *a = route ? calloc(1, sizeof *a) : NULL;
        if (!a)
            return err->code ? err->code : odto_fail(err, -ENOMEM, "no memory");
        route_peek(route, 0, sizeof a->seqs / sizeof a->seqs[0], collect, a);
        for (size_t i = 0; i < a->n; i++) {
            int e = requeue_one(core, route, a->seqs[i], err);
            count += e == 0;
            r = e < 0 ? e : r;
        }
        free(a);
    } else {
        uint64_t seq;
        odto_route *route = parse_id(core, control_arg_string(rq, "id", "", err), &seq, err);
        if (!route)
            return err->code;
        r = requeue_one(core, route, seq, err);
        count = r == 0;
    }
    odto_buf_printf(out, "{\"count\":%lld}", (long long)count);
    return r;
}

int verb_dlq_purge(void *arg, const control_request *rq, odto_buf *out, odto_error *err)
{
    struct core *core = arg;
    int64_t count;
    if (control_arg_bool(rq, "all", false, err)) {
        odto_route *route = dead_route(core, rq, err);
        if (!route)
            return err->code;
        count = route_purge(route);
    } else {
        uint64_t seq;
        odto_route *route = parse_id(core, control_arg_string(rq, "id", "", err), &seq, err);
        if (!route)
            return err->code;
        count = route_remove(route, &seq, 1);
        if (count == 0)
            return odto_fail(err, -ENOENT, "no such dead letter");
    }
    if (count < 0)
        return odto_fail(err, (int)count, "can't purge: %s", strerror((int)-count));
    odto_buf_printf(out, "{\"count\":%lld}", (long long)count);
    return 0;
}

/* ---- tail ---- */

struct tail {
    odto_buf *out;
    const char *topic;
    size_t n;
    uint64_t next;
};

static bool tail_one(void *arg, const struct route_item *item)
{
    struct tail *t = arg;
    odto_buf_printf(t->out, "%s{\"seq\":%llu,", t->n++ ? "," : "", (unsigned long long)item->seq);
    json_member(t->out, "topic", t->topic);
    odto_buf_str(t->out, ",\"body\":");
    odto_buf_json(t->out, item->body);
    odto_buf_str(t->out, "}");
    t->next = item->seq + 1;
    return !t->out->failed;
}

int verb_tail(void *arg, const control_request *rq, odto_buf *out, odto_error *err)
{
    struct core *core = arg;
    const char *topic = control_arg_string(rq, "topic", "jobs.created", err);
    odto_route *r = core_route(core, topic);
    if (!r)
        return odto_fail(err, -ENOENT, "no route %s; `odto routes` lists them", topic);
    int64_t limit = control_arg_int(rq, "limit", 100, err), after = control_arg_int(rq, "after", 0, err);
    struct tail t = {.out = out, .topic = route_topic(r), .next = (uint64_t)after};
    odto_buf_str(out, "{\"events\":[");
    int e = route_peek(r, (uint64_t)after,
                       (size_t)(limit < 1      ? 1
                                : limit > 1000 ? 1000
                                               : limit),
                       tail_one, &t);
    odto_buf_printf(out, "],\"next\":%llu}", (unsigned long long)t.next);
    return e < 0 ? odto_fail(err, e, "can't look into %s: %s", topic, strerror(-e)) : 0;
}
