/* binary.c — the subprotocol odto.pty.v1: binary frames, one type byte, little-endian numbers, bytes as they
 * are. docs/terminal.md describes it. */
#include "pty.h"

#include <json-c/json.h>
#include <odto/json.h>
#include <string.h>

/* ---- out ------------------------------------------------------------------------------------------- */

static odto_buf *begin(viewer *v, char type)
{
    odto_buf *b = &v->pty->message;
    odto_buf_clear(b);
    odto_buf_put(b, &type, 1);
    return b;
}

static void end(viewer *v, odto_buf *b)
{
    bool failed = b->failed;
    b->failed = false;
    if (failed)
        viewer_close(v, 1011, "no memory");
    else
        viewer_send(v, odto_slice_of(b->p, b->n), true);
}

static void put_number(odto_buf *b, uint64_t n, size_t bytes)
{
    unsigned char le[8];
    for (size_t i = 0; i < 8; i++)
        le[i] = (unsigned char)(n >> 8 * i);
    odto_buf_put(b, le, bytes);
}

void binary_welcome(viewer *v, bool resumed, const char *token)
{
    const session *s = v->session;
    odto_buf *b = begin(v, 'W');
    odto_buf_printf(
        b,
        "{\"session\":\"%s\",\"token\":\"%s\",\"mode\":\"%s\",\"cols\":%d,\"rows\":%d,\"offset\":%llu,"
        "\"resumed\":%s}",
        s->id, token,
        !v->owner               ? "viewer"
        : v->pty->set.read_only ? "read-only"
                                : "full",
        s->cols, s->rows, (unsigned long long)s->ring.cut, resumed ? "true" : "false");
    end(v, b);
    explicit_bzero(b->p, b->n);
}

static void offset_message(viewer *v, char type, odto_slice a, odto_slice second, uint64_t offset)
{
    odto_buf *b = begin(v, type);
    put_number(b, offset, 8);
    odto_buf_put(b, a.p, a.n);
    odto_buf_put(b, second.p, second.n);
    end(v, b);
}

void binary_output(viewer *v, odto_slice a, odto_slice b, uint64_t offset)
{
    offset_message(v, 'O', a, b, offset);
}

void binary_snapshot(viewer *v, odto_slice data, uint64_t offset)
{
    offset_message(v, 'S', data, odto_slice_of(NULL, 0), offset);
}

void binary_text(viewer *v, char type, const char *code, const char *text)
{
    odto_buf *b = begin(v, type);
    odto_buf_str(b, "{\"code\":");
    odto_buf_jsonz(b, code);
    odto_buf_str(b, ",\"text\":");
    odto_buf_jsonz(b, text);
    odto_buf_str(b, "}");
    end(v, b);
}

void binary_size(viewer *v)
{
    odto_buf *b = begin(v, 'Z');
    put_number(b, (uint64_t)v->session->cols, 2);
    put_number(b, (uint64_t)v->session->rows, 2);
    end(v, b);
}

void binary_exit(viewer *v)
{
    const session *s = v->session;
    odto_buf *b = begin(v, 'X');
    if (s->exit_signal)
        odto_buf_printf(b, "{\"exit\":null,\"signal\":%d}", s->exit_signal);
    else
        odto_buf_printf(b, "{\"exit\":%d,\"signal\":null}", s->exit_status);
    end(v, b);
}

/* ---- in -------------------------------------------------------------------------------------------- */

static uint64_t get_number(const char *p, size_t bytes)
{
    uint64_t n = 0;
    for (size_t i = bytes; i-- > 0;)
        n = n << 8 | (unsigned char)p[i];
    return n;
}

static void text_of(struct json_object *o, const char *name, char *out, size_t size)
{
    struct json_object *m;
    if (!json_object_object_get_ex(o, name, &m) || !json_object_is_type(m, json_type_string))
        return;
    size_t n = (size_t)json_object_get_string_len(m);
    if (n < size)
        memcpy(out, json_object_get_string(m), n);
}

static int size_of(struct json_object *o, const char *name, int low, int high, int otherwise)
{
    struct json_object *m;
    if (!json_object_object_get_ex(o, name, &m) || !json_object_is_type(m, json_type_int))
        return otherwise;
    int64_t n = json_object_get_int64(m);
    return n < low ? low : n > high ? high : (int)n;
}

static void hello(viewer *v, odto_slice text)
{
    struct json_object *o = NULL, *m;
    join *j = &v->join;
    char auth[256] = "";
    if (odto_json_parse(text, 8, &o, NULL) || !json_object_is_type(o, json_type_object)) {
        json_object_put(o);
        viewer_close(v, 1002, "the hello is no JSON object");
        return;
    }
    text_of(o, "session", j->session, sizeof j->session);
    text_of(o, "token", j->token, sizeof j->token);
    j->resume = j->session[0] != 0;
    text_of(o, "auth", auth, sizeof auth);
    viewer_authorize(v->pty, odto_slice_str(auth), j);
    explicit_bzero(auth, sizeof auth);
    j->cols = size_of(o, "cols", 2, TERM_MAX_COLS, 80);
    j->rows = size_of(o, "rows", 2, TERM_MAX_ROWS, 24);
    j->has_offset = json_object_object_get_ex(o, "last_offset", &m) &&
                    json_object_is_type(m, json_type_int) && json_object_get_int64(m) >= 0;
    j->offset = j->has_offset ? (uint64_t)json_object_get_int64(m) : 0;
    json_object_put(o);
    viewer_known(v);
}

static void acknowledged(viewer *v, uint64_t offset)
{
    if (offset <= v->acked || offset > v->off)
        return;
    v->acked = offset;
    stream_pump(v);
    if (v->session)
        stream_throttle(v->session);
}

static int clamped(uint64_t n, int high)
{
    return n < 2 ? 2 : n > (uint64_t)high ? high : (int)n;
}

void binary_message(viewer *v, odto_slice data)
{
    char type = data.n ? data.p[0] : 0;
    odto_slice rest = data.n ? odto_slice_of(data.p + 1, data.n - 1) : data;
    if (v->phase == VIEWER_HELLO) {
        if (type == 'H')
            hello(v, rest);
        else
            viewer_close(v, 1002, "the first message is H");
    } else if (type == 'I' && rest.n > BINARY_INPUT_MAX) {
        viewer_close(v, 1009, "input of more than 64 KiB at once");
    } else if (type == 'I') {
        viewer_typed(v, rest);
    } else if (type == 'R' && rest.n == 4) {
        viewer_resize(v, clamped(get_number(rest.p, 2), TERM_MAX_COLS),
                      clamped(get_number(rest.p + 2, 2), TERM_MAX_ROWS));
    } else if (type == 'A' && rest.n == 8) {
        acknowledged(v, get_number(rest.p, 8));
    } else if (type == 'P' && rest.n <= 16) {
        viewer_send(v, data, true);
    } else {
        viewer_ignored(v);
    }
}
