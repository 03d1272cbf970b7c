/* counters.c — the counters role. One script call counts a group: the ids of counted events stand in a sorted
 * set (odto:metrics:seen), so an event counts once however often it is delivered, in one atomic step with the
 * increments. The set is bounded by age (option dedup_window) and number (option dedup_ids); the oldest go
 * first. Ids that are read back from the log by a rebuild go in with the time of their event, those delivered
 * now with the present time, so a rebuild never pushes out what may be delivered again. */
#include "store_redis.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PING_EVERY (2 * ODTO_SEC)
#define KEYS       5
static const char *const keys[KEYS] = {"metrics:jobs:total", "metrics:jobs:completed", "metrics:jobs:failed",
                                       "metrics:last_event_time", "odto:metrics:seen"};

/* ARGV: now, window (ms), most ids, newest event time or "", then 3 an event: id, score, kind (c, f, o).
 * Dates of one form compare as text; one of another form is replaced when it is older to the second. A key
 * of the wrong type fails in the first lines, before anything has changed. */
static const char count_script[] =
    "for k = 1, 3 do redis.call('INCRBY', KEYS[k], 0) end\n"
    "local last = redis.call('GET', KEYS[4])\n"
    "local total, completed, failed = 0, 0, 0\n"
    "for i = 5, #ARGV, 3 do\n"
    "  if redis.call('ZADD', KEYS[5], 'NX', ARGV[i + 1], ARGV[i]) == 1 then\n"
    "    total = total + 1\n"
    "    if ARGV[i + 2] == 'c' then completed = completed + 1 end\n"
    "    if ARGV[i + 2] == 'f' then failed = failed + 1 end\n"
    "  end\n"
    "end\n"
    "if total > 0 then redis.call('INCRBY', KEYS[1], total) end\n"
    "if completed > 0 then redis.call('INCRBY', KEYS[2], completed) end\n"
    "if failed > 0 then redis.call('INCRBY', KEYS[3], failed) end\n"
    "if total > 0 and ARGV[4] ~= '' and (not last or last < ARGV[4]) then\n"
    "  redis.call('SET', KEYS[4], ARGV[4])\n"
    "end\n"
    "redis.call('ZREMRANGEBYSCORE', KEYS[5], '-inf', '(' .. (ARGV[1] - ARGV[2]))\n"
    "local over = redis.call('ZCARD', KEYS[5]) - ARGV[3]\n"
    "if over > 0 then redis.call('ZREMRANGEBYRANK', KEYS[5], 0, over - 1) end\n"
    "redis.call('PEXPIRE', KEYS[5], ARGV[2])\n"
    "return total\n";

/* ARGV: total, completed, failed, time. */
static const char set_script[] = "redis.call('SET', KEYS[1], ARGV[1])\n"
                                 "redis.call('SET', KEYS[2], ARGV[2])\n"
                                 "redis.call('SET', KEYS[3], ARGV[3])\n"
                                 "if ARGV[4] == '' then redis.call('DEL', KEYS[4])\n"
                                 "else redis.call('SET', KEYS[4], ARGV[4]) end\n"
                                 "redis.call('UNLINK', KEYS[5])\n"
                                 "return 1\n";

/* ---- the writer's side ---- */

int rs_queue_connect(void *store, odto_error *err)
{
    rs_store *s = store;
    rs_queue_disconnect(s);
    s->writer = rs_connect(s, err);
    return s->writer != NULL ? 0 : err->code;
}

void rs_queue_disconnect(void *store)
{
    rs_store *s = store;
    rs_close(s->writer);
    s->writer = NULL;
}

/* An idle connection is tried now and then, so that health tells the truth. */
int rs_queue_upkeep(void *store, int64_t *next_ns, odto_error *err)
{
    rs_store *s = store;
    const char *ping[] = {"PING"};
    redisReply *r = rs_command(s, s->writer, err, 1, ping, NULL);
    *next_ns = PING_EVERY;
    if (r == NULL)
        return err->code;
    freeReplyObject(r);
    return 0;
}

/* The arguments of one call; strings are in `text` or elsewhere. */
typedef struct call {
    const char **argv;
    size_t *lengths;
    int n;
    char (*text)[24]; /* one number an event, and the head's */
    size_t n_text;
} call;

static void put(call *c, const char *p, size_t n)
{
    c->argv[c->n] = p;
    c->lengths[c->n++] = n;
}

static void put_number(call *c, int64_t v)
{
    char *text = c->text[c->n_text++];
    int n = snprintf(text, sizeof(c->text[0]), "%lld", (long long)v);
    put(c, text, (size_t)n);
}

static void put_events(call *c, const odto_write *group, int64_t now)
{
    for (const odto_write *w = group; w != NULL; w = w->next)
        for (size_t i = 0; i < w->n; i++) {
            const odto_counted *e = &w->counted[i];
            put(c, (const char *)e->event_id.b, sizeof(e->event_id.b));
            put_number(c, w->replay && e->occurred_at < now ? e->occurred_at : now);
            put(c, e->completed ? "c" : e->failed ? "f" : "o", 1);
        }
}

static int64_t newest(const odto_write *group)
{
    int64_t newest_ms = 0;
    for (const odto_write *w = group; w != NULL; w = w->next)
        for (size_t i = 0; i < w->n; i++)
            if (w->counted[i].occurred_at > newest_ms)
                newest_ms = w->counted[i].occurred_at;
    return newest_ms;
}

/* EVALSHA; the whole script the first time and after a restart of the server. */
static int evaluate(rs_store *s, call *c, char sha[41], odto_error *err)
{
    odto_error own = {0};
    redisReply *r = NULL;
    if (sha[0] == '\0') {
        const char *load[3] = {"SCRIPT", "LOAD", count_script};
        r = rs_command(s, s->writer, &own, 3, load, NULL);
        if (r != NULL && r->type == REDIS_REPLY_STRING && r->len == 40)
            memcpy(sha, r->str, 41);
        else if (r != NULL)
            odto_fail(&own, -EIO, "%s gives no hash for a script", s->what);
        if (r != NULL)
            freeReplyObject(r);
        r = NULL;
    }
    if (sha[0] != '\0') {
        c->argv[1] = sha;
        c->lengths[1] = 40;
        r = rs_command(s, s->writer, &own, c->n, c->argv, c->lengths);
    }
    if (r == NULL) {
        *err = own;
        return own.code;
    }
    freeReplyObject(r);
    return 0;
}

int rs_queue_apply(void *store, odto_write *group, size_t n, odto_error *err)
{
    rs_store *s = store;
    call c = {.argv = calloc(3 * n + KEYS + 8, sizeof(*c.argv)),
              .lengths = calloc(3 * n + KEYS + 8, sizeof(*c.lengths)),
              .text = calloc(n + 8, sizeof(*c.text))};
    char last[25] = "";
    int64_t now = s->host->api->unix_ms(s->host), newest_ms = newest(group);
    int code = -ENOMEM;
    if (c.argv == NULL || c.lengths == NULL || c.text == NULL) {
        odto_fail(err, -ENOMEM, "no memory to count %zu events", n);
        goto out;
    }
    if (newest_ms != 0)
        odto_time_format(newest_ms, last);
    put(&c, "EVALSHA", 7);
    put(&c, "", 0); /* the hash */
    put(&c, "5", 1);
    for (int k = 0; k < KEYS; k++)
        put(&c, keys[k], strlen(keys[k]));
    put_number(&c, now);
    put_number(&c, s->window_ms);
    put_number(&c, s->max_ids);
    put(&c, last, strlen(last));
    put_events(&c, group, now);
    code = evaluate(s, &c, s->sha, err);
    if (code == -ENOENT) { /* the server lost its scripts */
        s->sha[0] = '\0';
        code = evaluate(s, &c, s->sha, err);
    }
out:
    free(c.argv);
    free(c.lengths);
    free(c.text);
    return code;
}

int rs_add(void *store, odto_write *w)
{
    rs_store *s = store;
    return write_queue_submit(&s->queue, w);
}

/* ---- reading and replacing, on the caller's thread ---- */

/* One command on the readers' connection. A connection that broke while idle is opened anew, once: every
 * command given here may be repeated. */
static redisReply *ask(rs_store *s, odto_error *err, int argc, const char **argv)
{
    redisReply *r = NULL;
    for (int attempt = 0; attempt < 2 && r == NULL; attempt++) {
        bool fresh = s->reader == NULL;
        if (fresh && (s->reader = rs_connect(s, err)) == NULL)
            return NULL;
        r = rs_command(s, s->reader, err, argc, argv, NULL);
        if (r == NULL && s->reader->redis->err == 0)
            return NULL; /* refused */
        if (r == NULL) {
            rs_close(s->reader);
            s->reader = NULL;
            if (fresh)
                return NULL;
        }
    }
    return r;
}

static int64_t number_of(const redisReply *r)
{
    return r->type == REDIS_REPLY_STRING ? strtoll(r->str, NULL, 10) : 0;
}

int rs_read(void *store, odto_counters *out, odto_error *err)
{
    rs_store *s = store;
    odto_error own = {0};
    const char *argv[KEYS] = {"MGET", keys[0], keys[1], keys[2], keys[3]};
    pthread_mutex_lock(&s->read_lock);
    redisReply *r = ask(s, &own, KEYS, argv);
    pthread_mutex_unlock(&s->read_lock);
    if (r != NULL && (r->type != REDIS_REPLY_ARRAY || r->elements != KEYS - 1)) {
        freeReplyObject(r);
        r = NULL;
        odto_fail(&own, -EIO, "%s answers MGET with something else", s->what);
    }
    if (r == NULL) {
        if (err != NULL)
            *err = own;
        return own.code;
    }
    memset(out, 0, sizeof(*out));
    out->total = number_of(r->element[0]);
    out->completed = number_of(r->element[1]);
    out->failed = number_of(r->element[2]);
    if (r->element[3]->type == REDIS_REPLY_STRING)
        snprintf(out->last_event_time, sizeof(out->last_event_time), "%s", r->element[3]->str);
    freeReplyObject(r);
    return 0;
}

int rs_set(void *store, const odto_counters *c, odto_error *err)
{
    rs_store *s = store;
    odto_error own = {0};
    int64_t ms = 0;
    if (c->last_event_time[0] != '\0' && odto_time_parse(odto_slice_str(c->last_event_time), &ms) != 0)
        return odto_fail(err, -EINVAL, "\"%s\" is not an RFC 3339 date-time", c->last_event_time);
    char number[3][24];
    snprintf(number[0], sizeof(number[0]), "%lld", (long long)c->total);
    snprintf(number[1], sizeof(number[1]), "%lld", (long long)c->completed);
    snprintf(number[2], sizeof(number[2]), "%lld", (long long)c->failed);
    const char *argv[] = {"EVAL",  set_script, "5",       keys[0],   keys[1],   keys[2],
                          keys[3], keys[4],    number[0], number[1], number[2], c->last_event_time};
    pthread_mutex_lock(&s->read_lock);
    redisReply *r = ask(s, &own, sizeof(argv) / sizeof(argv[0]), argv);
    pthread_mutex_unlock(&s->read_lock);
    if (r != NULL)
        freeReplyObject(r);
    else if (err != NULL)
        *err = own;
    return r != NULL ? 0 : own.code;
}

void rs_reader_close(rs_store *s)
{
    pthread_mutex_lock(&s->read_lock);
    rs_close(s->reader);
    s->reader = NULL;
    pthread_mutex_unlock(&s->read_lock);
}
