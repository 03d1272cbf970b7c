/* ask.c — requests to a host's control socket. */
#include "cli.h"

#include <odto/control.h>
#include <odto/json.h>
#include <errno.h>
#include <string.h>

#define CHANGE_TIMEOUT (300 * ODTO_SEC) /* a reload waits for plugins to drain */

static int refused(const cli *c, struct json_object *error)
{
    odto_error e = {0};
    int code = (int)jint(error, "code");
    odto_fail(&e, code, "%s", jstr(error, "message"));
    snprintf(e.detail, sizeof(e.detail), "%s", jstr(error, "detail"));
    snprintf(e.hint, sizeof(e.hint), "%s", jstr(error, "hint"));
    snprintf(e.where, sizeof(e.where), "%s", jstr(error, "where"));
    return cli_error(c, code == -ENOENT ? CLI_NOT_FOUND : CLI_REFUSED, &e);
}

/* Takes *data out of a reply. */
static int read_reply(const cli *c, const odto_buf *text, struct json_object **data)
{
    struct json_object *o = NULL, *inner;
    odto_error e = {0};
    if (odto_json_parse(odto_slice_of(text->p, text->n), 512, &o, &e) < 0)
        return cli_error(c, CLI_REFUSED, &e);
    inner = jget(o, "data");
    if (data)
        *data = inner ? json_object_get(inner) : NULL;
    int code = jbool(o, "ok") ? CLI_OK : refused(c, jget(o, "error"));
    json_object_put(o);
    return code;
}

int control_ask_at(cli *c, const char *socket, const char *verb, struct json_object *args, int64_t timeout_ns,
                   struct json_object **data)
{
    odto_buf request = {0}, reply = {0};
    odto_error e = {0};
    const char *text = args ? json_object_to_json_string_ext(args, JSON_C_TO_STRING_PLAIN) : "";
    odto_control_request(&request, verb, odto_slice_str(text));
    json_object_put(args);
    if (data)
        *data = NULL;
    int code = odto_control_ask(socket, odto_slice_of(request.p, request.n), timeout_ns, &reply, &e);
    code = code < 0 ? cli_error(c, CLI_UNREACHABLE, &e) : read_reply(c, &reply, data);
    odto_buf_free(&request);
    odto_buf_free(&reply);
    return code;
}

int control_ask(cli *c, const char *verb, struct json_object *args, struct json_object **data)
{
    return control_ask_at(c, c->sockets[0], verb, args, c->timeout_ns ? c->timeout_ns : CHANGE_TIMEOUT, data);
}
