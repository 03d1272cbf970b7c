/* tickets.c — POST /api/v1/term/ticket: a short-lived, one-use secret for a connection, so that the token
 * itself is never in a URL or a page's frame. On an HTTP worker, under pty.lock. */
#include "pty.h"

#include <json-c/json.h>
#include <odto/json.h>
#include <stdio.h>
#include <string.h>

/* {"role":"viewer","session":"<id>"}, both optional; an empty body asks for a session of one's own. */
static const char *request_read(odto_slice body, bool *looks, char id[ODTO_UUID_LEN + 1])
{
    struct json_object *o = NULL, *m;
    const char *wrong = NULL;
    if (!body.n)
        return NULL;
    if (odto_json_parse(body, 8, &o, NULL) || !json_object_is_type(o, json_type_object))
        wrong = "the body is no JSON object";
    if (!wrong && json_object_object_get_ex(o, "role", &m)) {
        const char *role = json_object_is_type(m, json_type_string) ? json_object_get_string(m) : "";
        *looks = !strcmp(role, "viewer");
        if (!*looks && strcmp(role, "owner") != 0)
            wrong = "role is owner or viewer";
    }
    if (!wrong && json_object_object_get_ex(o, "session", &m)) {
        const char *given = json_object_is_type(m, json_type_string) ? json_object_get_string(m) : "";
        odto_uuid u;
        if (odto_uuid_parse(odto_slice_str(given), &u))
            wrong = "session is no session's id";
        else
            odto_uuid_format(&u, id);
    }
    if (!wrong && *looks != (id[0] != 0))
        wrong = "a viewer's ticket names its session, an owner's none";
    json_object_put(o);
    return wrong;
}

void ticket_post(void *self, odto_http_request *rq)
{
    pty *p = self;
    char client[46], id[ODTO_UUID_LEN + 1] = "", text[SECRET_TEXT + 1], body[128];
    bool looks = false;
    pthread_mutex_lock(&p->lock);
    request_client(p, rq, client);
    bool authorized = request_bearer(p, rq), allowed = request_allowed(p, rq, client, authorized);
    const char *wrong = request_read(p->http->body(rq), &looks, id);
    bool open = authorized || !p->set.auth.set;
    int failed =
        !open || !allowed || wrong ? 0 : ticket_issue(&p->tickets, pty_now(p) + TICKET_NS, looks, id, text);
    pthread_mutex_unlock(&p->lock);
    if (!open) {
        odto_http_header challenge = {"WWW-Authenticate", "Bearer"};
        p->http->reply(rq, 401, &challenge, 1, odto_slice_str("{\"error\":\"Unauthorized\"}"), NULL, NULL);
    } else if (!allowed) {
        p->http->reply_error(rq, 403, "Forbidden", "", "this Origin or Host is not allowed", 0);
    } else if (wrong) {
        p->http->reply_error(rq, 400, "Bad Request", "", wrong, 0);
    } else if (failed) {
        p->http->reply_error(rq, 503, "Service Unavailable", "", "no random numbers", 1);
    } else {
        odto_http_header headers[] = {{"Cache-Control", "no-store"}};
        int n = snprintf(body, sizeof body, "{\"ticket\":\"%s\",\"expires_in\":%d}", text,
                         (int)(TICKET_NS / ODTO_SEC));
        p->http->reply(rq, 200, headers, 1, odto_slice_of(body, (size_t)n), NULL, NULL);
    }
    explicit_bzero(text, sizeof text);
    explicit_bzero(body, sizeof body);
}
