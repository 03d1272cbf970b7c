/* control.h — the control socket: requests of <odto/control.h> dispatched to a table of verbs.
 *
 * The core gives the table; this module owns the socket and the JSON around a verb. One thread accepts
 * ("control"), one a connection reads, runs the verb and replies ("control/N", at most CONTROL_CLIENTS), so
 * `status` answers while a `reload` waits. All of them sleep while nobody asks. Verbs are called without any
 * lock held. */
#ifndef ODTO_HOST_CONTROL_H
#define ODTO_HOST_CONTROL_H

#include "log.h"
#include <odto/control.h>
#include <sys/types.h>

struct json_object;

#define CONTROL_CLIENTS 16

typedef struct control control;

typedef struct control_request {
    const char *verb;
    struct json_object *args; /* an object, never NULL */
    uid_t uid;                /* of the peer */
    pid_t pid;
    bool (*stopping)(
        const struct control_request *rq); /* the socket is being closed: a waiting verb returns */
    void *priv;
} control_request;

/* Runs one verb. Appends the JSON text of `data` to out (nothing: {} on success, left out on failure).
 * 0 or -errno with err filled. May block; several run at once, the same verb too. */
typedef int control_fn(void *core, const control_request *rq, odto_buf *out, odto_error *err);

typedef struct control_verb {
    const char *name;
    control_fn *fn;
    const char *args; /* "name?" for the list of verbs */
    const char *help;
    bool changes; /* logged with the peer's uid and pid */
} control_verb;

/* Listens on path (absolute; its folder exists). The table must live as long as the control. -EADDRINUSE: a
 * living host answers there; a dead one's socket is replaced. -ENAMETOOLONG: beyond 107 bytes. */
int control_open(const char *path, const control_verb *verbs, size_t n, void *core, log_source *log,
                 control **out, odto_error *err);
/* Closes the socket, waits for the verbs that run, removes the socket's file.
 */
void control_close(control *c);

/* Arguments of a request. A missing one gives the fallback; one of another type too, and *err is filled with
 * -EINVAL where err is not NULL. */
const char *control_arg_string(const control_request *rq, const char *name, const char *fallback,
                               odto_error *err);
int64_t control_arg_int(const control_request *rq, const char *name, int64_t fallback, odto_error *err);
bool control_arg_bool(const control_request *rq, const char *name, bool fallback, odto_error *err);

#endif
