/* json.c — the JSON protocol: text frames, one object each, "type" first. */
#include "pty.h"

#include <json-c/json.h>
#include <odto/json.h>
#include <string.h>

/* ---- out ------------------------------------------------------------------------------------------- */

static odto_buf *begin(viewer *v, const char *type)
{
    odto_buf *b = &v->pty->message;
    odto_buf_clear(b);
    odto_buf_printf(b, "{\"type\":\"%s\"", type);
    return b;
}

static void end(viewer *v, odto_buf *b)
{
    odto_buf_str(b, "}");
    bool failed = b->failed;
    b->failed = false;
    if (failed)
        viewer_close(v, 1011, "no memory");
    else
        viewer_send(v, odto_slice_of(b->p, b->n), false);
}

void json_welcome(viewer *v, bool resumed, const char *token)
{
    const session *s = v->session;
    odto_buf *b = begin(v, resumed ? "reconnected" : "session");
    odto_buf_printf(b, ",\"sessionId\":\"%s\",\"reconnectToken\":\"%s\"", s->id, token);
    if (resumed || !v->owner)
        odto_buf_printf(b, ",\"restore_size\":{\"cols\":%d,\"rows\":%d}", s->cols, s->rows);
    if (!v->owner)
        odto_buf_str(b, ",\"role\":\"viewer\"");
    end(v, b);
    explicit_bzero(b->p, b->n);
}

void json_output(viewer *v, odto_slice a, odto_slice second, uint64_t seq)
{
    odto_buf *b = begin(v, "output"), *both = &v->pty->scratch;
    odto_slice data = a;
    if (second.n) { /* a character may go over the ring's end */
        odto_buf_clear(both);
        odto_buf_put(both, a.p, a.n);
        odto_buf_put(both, second.p, second.n);
        b->failed |= both->failed;
        both->failed = false;
        data = odto_slice_of(both->p, both->n);
    }
    odto_buf_str(b, ",\"data\":\"");
    odto_buf_reserve(b, data.n + data.n / 8 + 64);
    utf8_json(b, data.p, data.n);
    odto_buf_printf(b, "\",\"seq\":%llu", (unsigned long long)seq);
    end(v, b);
}

static void number(viewer *v, const char *type, const char *name, uint64_t value)
{
    odto_buf *b = begin(v, type);
    odto_buf_printf(b, ",\"%s\":%llu", name, (unsigned long long)value);
    end(v, b);
}

void json_replay_begin(viewer *v, uint64_t from)
{
    number(v, "replay_begin", "from_seq", from);
}

void json_replay_end(viewer *v)
{
    number(v, "replay_end", "last_seq", v->seq);
}

void json_truncated(viewer *v, uint64_t frames)
{
    number(v, "buffer_truncated", "frames_dropped", frames);
}

void json_notice(viewer *v, const char *text)
{
    odto_buf *b = begin(v, "notice");
    odto_buf_str(b, ",\"message\":");
    odto_buf_jsonz(b, text);
    end(v, b);
}

void json_error(viewer *v, const char *code, const char *message)
{
    odto_buf *b = begin(v, "error");
    odto_buf_str(b, ",\"message\":");
    odto_buf_jsonz(b, message);
    odto_buf_str(b, ",\"code\":");
    odto_buf_jsonz(b, code);
    end(v, b);
}

/* ---- in -------------------------------------------------------------------------------------------- */

static bool string_of(struct json_object *o, const char *name, odto_slice *out)
{
    struct json_object *m;
    if (!json_object_object_get_ex(o, name, &m) || !json_object_is_type(m, json_type_string))
        return false;
    *out = odto_slice_of(json_object_get_string(m), (size_t)json_object_get_string_len(m));
    return true;
}

static bool integer_of(struct json_object *o, const char *name, int64_t low, int64_t high, int64_t *out)
{
    struct json_object *m;
    if (!json_object_object_get_ex(o, name, &m) || !json_object_is_type(m, json_type_int))
        return false;
    *out = json_object_get_int64(m);
    return *out >= low && *out <= high;
}

static bool input(viewer *v, struct json_object *o)
{
    odto_slice data;
    if (!string_of(o, "data", &data))
        return false;
    if (data.n)
        viewer_typed(v, data);
    return true;
}

static bool resize(viewer *v, struct json_object *o)
{
    int64_t cols, rows;
    if (!integer_of(o, "cols", 1, 1000, &cols) || !integer_of(o, "rows", 1, 1000, &rows))
        return false;
    viewer_resize(v, (int)cols, (int)rows);
    return true;
}

static bool reconnect(viewer *v, struct json_object *o)
{
    odto_slice id, token;
    int64_t seq = 0;
    struct json_object *m;
    join *j = &v->join;
    if (!string_of(o, "session", &id) || !string_of(o, "token", &token) || (v->session && !v->owner))
        return false;
    bool given = json_object_object_get_ex(o, "last_seq", &m) && m;
    if (given && !integer_of(o, "last_seq", 0, INT64_MAX, &seq))
        return false;
    *j = (join){.authorized = j->authorized, .resume = true, .has_seq = given, .seq = (uint64_t)seq};
    if (id.n < sizeof j->session)
        memcpy(j->session, id.p, id.n);
    if (token.n < sizeof j->token)
        memcpy(j->token, token.p, token.n);
    viewer_resume(v);
    return true;
}

static bool dispatch(viewer *v, struct json_object *o)
{
    odto_slice type;
    if (!string_of(o, "type", &type))
        return false;
    if (odto_slice_eq(type, "input"))
        return input(v, o);
    if (odto_slice_eq(type, "resize"))
        return resize(v, o);
    if (odto_slice_eq(type, "reconnect"))
        return reconnect(v, o);
    if (!odto_slice_eq(type, "ping"))
        return false;
    end(v, begin(v, "pong"));
    return true;
}

void json_message(viewer *v, odto_slice data)
{
    struct json_object *o = NULL;
    if (odto_json_parse(data, 8, &o, NULL) || !json_object_is_type(o, json_type_object) || !dispatch(v, o))
        viewer_ignored(v);
    json_object_put(o);
}
