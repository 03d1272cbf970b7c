/* control.c — see control.h.
 *
 * Locks: c->lock guards the clients' table. A client's thread marks its slot done as the last thing; the
 * accepting thread, or control_close, joins it. Closing wakes everybody by shutdown(2) on their sockets,
 * which are closed by the thread that owns them. */
#include "control.h"

#include <odto/json.h>

#include <errno.h>
#include <json-c/json.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define CONTROL_DEPTH 16
#define REQUEST_MAX   (1u << 20)
#define GREET_WAIT    (2 * ODTO_SEC)
#define REQUEST_WAIT  (10 * ODTO_SEC) /* from its first byte to its last */
#define REPLY_WAIT    (10 * ODTO_SEC) /* for a client that does not read */
#define CLIENT_STACK  (256u << 10)

typedef struct client {
    control *c;
    int fd;
    bool used, done; /* under c->lock */
    pthread_t thread;
    pid_t pid;
    uid_t uid;
} client;

struct control {
    int fd;
    char *path;
    const control_verb *verbs;
    size_t n_verbs;
    void *core;
    log_source *log;
    int stopping; /* atomic */
    pthread_t acceptor;
    pthread_mutex_t lock;
    client clients[CONTROL_CLIENTS];
};

/* ---- arguments ---- */

static struct json_object *arg(const control_request *rq, const char *name, enum json_type type,
                               odto_error *err)
{
    struct json_object *v = NULL;
    if (!json_object_object_get_ex(rq->args, name, &v) || !v)
        return NULL;
    if (json_object_is_type(v, type))
        return v;
    odto_fail(err, -EINVAL, "%s: the argument %s must be of type %s", rq->verb, name,
              json_type_to_name(type));
    return NULL;
}

const char *control_arg_string(const control_request *rq, const char *name, const char *fallback,
                               odto_error *err)
{
    struct json_object *v = arg(rq, name, json_type_string, err);
    return v ? json_object_get_string(v) : fallback;
}

int64_t control_arg_int(const control_request *rq, const char *name, int64_t fallback, odto_error *err)
{
    struct json_object *v = arg(rq, name, json_type_int, err);
    return v ? json_object_get_int64(v) : fallback;
}

bool control_arg_bool(const control_request *rq, const char *name, bool fallback, odto_error *err)
{
    struct json_object *v = arg(rq, name, json_type_boolean, err);
    return v ? json_object_get_boolean(v) != 0 : fallback;
}

/* ---- a request ---- */

static bool is_stopping(const control_request *rq)
{
    const control *c = rq->priv;
    return __atomic_load_n(&c->stopping, __ATOMIC_SEQ_CST) != 0;
}

static int list_verbs(const control *c, odto_buf *out)
{
    odto_buf_str(out, "{\"verbs\":[");
    for (size_t i = 0; i < c->n_verbs; i++) {
        const control_verb *v = &c->verbs[i];
        odto_buf_printf(out, "%s{\"name\":", i ? "," : "");
        odto_buf_jsonz(out, v->name);
        odto_buf_str(out, ",\"args\":");
        odto_buf_jsonz(out, v->args ? v->args : "");
        odto_buf_str(out, ",\"help\":");
        odto_buf_jsonz(out, v->help ? v->help : "");
        odto_buf_str(out, "}");
    }
    return odto_buf_str(out, "]}") ? 0 : -ENOMEM;
}

static int unknown_verb(const control *c, const char *verb, odto_error *err)
{
    const char *names[64];
    size_t n = 0;
    for (; n < c->n_verbs && n < 64; n++)
        names[n] = c->verbs[n].name;
    const char *nearest = odto_nearest(verb, names, n);
    odto_fail(err, -ENOSYS, "the host knows no verb \"%.60s\"", verb);
    if (nearest)
        odto_error_hint(err, "did you mean \"%s\"?", nearest);
    else
        odto_error_hint(err, "the verb \"verbs\" lists what there is");
    return -ENOSYS;
}

static int dispatch(control *c, const control_request *rq, odto_buf *data, odto_error *err)
{
    if (strcmp(rq->verb, "verbs") == 0)
        return list_verbs(c, data);
    for (size_t i = 0; i < c->n_verbs; i++) {
        const control_verb *v = &c->verbs[i];
        if (strcmp(v->name, rq->verb) != 0)
            continue;
        int code = v->fn(c->core, rq, data, err);
        if (v->changes)
            log_write(c->log, ODTO_INFO, NULL, "control: %s %s by uid %u pid %d: %s", rq->verb,
                      json_object_to_json_string_ext(rq->args, JSON_C_TO_STRING_PLAIN), (unsigned)rq->uid,
                      (int)rq->pid, code < 0 ? "failed" : "done");
        return code;
    }
    return unknown_verb(c, rq->verb, err);
}

static int bad_request(odto_error *err, const char *what)
{
    odto_fail(err, -EPROTO, "the request is not understood: %s", what);
    odto_error_hint(err, "send {\"v\":%d,\"verb\":\"status\",\"args\":{}}", ODTO_CONTROL_VERSION);
    return -EPROTO;
}

/* Parses text and runs the verb. */
static int perform(control *c, control_request *rq, odto_slice text, odto_buf *data, odto_error *err)
{
    struct json_object *root = NULL, *verb = NULL, *args = NULL, *version = NULL;
    int code = odto_json_parse(text, CONTROL_DEPTH, &root, err);
    if (code == 0 && !json_object_is_type(root, json_type_object))
        code = bad_request(err, "it is no object");
    if (code == 0 &&
        (!json_object_object_get_ex(root, "verb", &verb) || !json_object_is_type(verb, json_type_string)))
        code = bad_request(err, "it has no verb");
    if (code == 0 && json_object_object_get_ex(root, "v", &version) &&
        json_object_get_int(version) != ODTO_CONTROL_VERSION)
        code = bad_request(err, "it is of another version of the protocol");
    struct json_object *empty = json_object_new_object();
    if (code == 0 && json_object_object_get_ex(root, "args", &args) &&
        !json_object_is_type(args, json_type_object))
        code = bad_request(err, "args is no object");
    if (code == 0) {
        rq->verb = json_object_get_string(verb);
        rq->args = args ? args : empty;
        rq->stopping = is_stopping;
        rq->priv = c;
        code = dispatch(c, rq, data, err);
    }
    json_object_put(empty);
    json_object_put(root);
    return code;
}

static void put_member(odto_buf *b, const char *key, const char *value)
{
    if (!*value)
        return;
    odto_buf_printf(b, ",\"%s\":", key);
    odto_buf_jsonz(b, value);
}

static void put_reply(odto_buf *out, int code, const odto_buf *data, const odto_error *err)
{
    odto_buf_printf(out, "{\"ok\":%s", code < 0 ? "false" : "true");
    if (code < 0) {
        odto_buf_printf(out, ",\"error\":{\"code\":%d,\"message\":", code);
        odto_buf_jsonz(out, err->message[0] ? err->message : strerror(-code));
        put_member(out, "detail", err->detail);
        put_member(out, "hint", err->hint);
        put_member(out, "where", err->where);
        odto_buf_str(out, "}");
    }
    if (data->n || code >= 0) {
        odto_buf_str(out, ",\"data\":");
        if (data->n)
            odto_buf_put(out, data->p, data->n);
        else
            odto_buf_str(out, "{}");
    }
    odto_buf_str(out, "}");
}

/* The reply to one request, in out. */
static void answer(const client *who, odto_slice request, odto_buf *out)
{
    odto_buf data = {.max = ODTO_CONTROL_MAX - 4096};
    odto_error err = {0};
    control_request rq = {.uid = who->uid, .pid = who->pid};
    int code = perform(who->c, &rq, request, &data, &err);
    if (data.failed) {
        code = odto_fail(&err, -EMSGSIZE, "the answer does not fit into a reply");
        odto_error_hint(&err, "ask for less, with a limit");
        odto_buf_free(&data);
        data = (odto_buf){0};
    }
    put_reply(out, code, &data, &err);
    odto_buf_free(&data);
}

/* ---- clients ---- */

/* The file's mode keeps others out already; this also holds where it was changed. */
static bool peer_ok(client *who)
{
    struct ucred peer = {.uid = (uid_t)-1};
    socklen_t n = sizeof(peer);
    if (getsockopt(who->fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) < 0)
        return false;
    who->uid = peer.uid;
    who->pid = peer.pid;
    if (peer.uid == 0 || peer.uid == geteuid())
        return true;
    log_write(who->c->log, ODTO_WARN, NULL, "control: refused a client of uid %u pid %d", (unsigned)peer.uid,
              (int)peer.pid);
    return false;
}

static void serve(client *who)
{
    odto_buf request = {0}, reply = {0};
    odto_sp_header way;
    int code = odto_sp_greet(who->fd, ODTO_SP_REP, ODTO_SP_REQ, odto_now_ns() + GREET_WAIT);
    while (code == 0 && !__atomic_load_n(&who->c->stopping, __ATOMIC_SEQ_CST)) {
        code = odto_sp_receive(who->fd, &way, &request, REQUEST_MAX, INT64_MAX, REQUEST_WAIT);
        if (code < 0)
            break;
        answer(who, odto_slice_of(request.p, request.n), &reply);
        code = reply.failed
                   ? -ENOMEM
                   : odto_sp_send(who->fd, &way, odto_slice_of(reply.p, reply.n), odto_now_ns() + REPLY_WAIT);
        odto_buf_free(&request); /* an idle client costs no memory */
        odto_buf_free(&reply);
    }
    odto_buf_free(&request);
    odto_buf_free(&reply);
}

static void *client_main(void *arg)
{
    client *who = arg;
    if (peer_ok(who))
        serve(who);
    pthread_mutex_lock(&who->c->lock);
    close(who->fd);
    who->fd = -1;
    who->done = true;
    pthread_mutex_unlock(&who->c->lock);
    return NULL;
}

/* A thread with all signals blocked. */
static int start_thread(pthread_t *t, const char *name, void *(*fn)(void *), void *arg)
{
    pthread_attr_t attr;
    sigset_t all, old;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, CLIENT_STACK);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int code = pthread_create(t, &attr, fn, arg);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    if (code == 0)
        pthread_setname_np(*t, name);
    return -code;
}

/* A free slot, after joining threads that have ended; -1 when all are in use. */
static int free_slot(control *c)
{
    int found = -1;
    for (int i = 0; i < CONTROL_CLIENTS; i++) {
        client *who = &c->clients[i];
        pthread_mutex_lock(&c->lock);
        bool join = who->used && who->done;
        pthread_mutex_unlock(&c->lock);
        if (join) {
            pthread_join(who->thread, NULL);
            who->used = false;
        }
        if (!who->used && found < 0)
            found = i;
    }
    return found;
}

static void admit(control *c, int fd)
{
    char name[24];
    int i = free_slot(c);
    if (i < 0) {
        log_write(c->log, ODTO_WARN, NULL, "control: more than %d clients, one was refused", CONTROL_CLIENTS);
        close(fd);
        return;
    }
    client *who = &c->clients[i];
    *who = (client){.c = c, .fd = fd, .used = true};
    snprintf(name, sizeof(name), "control/%d", i);
    int code = start_thread(&who->thread, name, client_main, who);
    if (code < 0) {
        log_write(c->log, ODTO_WARN, NULL, "control: no thread for a client: %s", strerror(-code));
        close(fd);
        who->used = false;
    }
}

static void *accept_main(void *arg)
{
    control *c = arg;
    while (!__atomic_load_n(&c->stopping, __ATOMIC_SEQ_CST)) {
        int fd = accept4(c->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0)
            admit(c, fd);
        else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
            (void)poll(NULL, 0, 100); /* the client stays in the backlog: try again, but do not spin */
    }
    return NULL;
}

/* ---- socket ---- */

/* A socket left by a host that is gone is removed. */
static int clear_stale(const struct sockaddr_un *a, odto_error *err)
{
    struct stat st;
    if (lstat(a->sun_path, &st) < 0)
        return errno == ENOENT ? 0 : odto_fail(err, -errno, "%s: %s", a->sun_path, strerror(errno));
    if (!S_ISSOCK(st.st_mode)) {
        odto_fail(err, -EEXIST, "%s exists and is not a socket", a->sun_path);
        odto_error_hint(err, "move it away, or set control in [host]");
        return -EEXIST;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int code = fd < 0 ? -errno : connect(fd, (const struct sockaddr *)a, sizeof(*a)) < 0 ? -errno : 0;
    if (fd >= 0)
        close(fd);
    if (code == 0 || code == -EAGAIN) {
        odto_fail(err, -EADDRINUSE, "another host answers on %s", a->sun_path);
        odto_error_hint(err, "one data directory serves one host: stop the other, or set data_dir in [host]");
        return -EADDRINUSE;
    }
    if (code == -ECONNREFUSED)
        code = unlink(a->sun_path) < 0 && errno != ENOENT ? -errno : 0;
    return code == 0 || code == -ENOENT ? 0 : odto_fail(err, code, "%s: %s", a->sun_path, strerror(-code));
}

static int listen_on(const char *path, odto_error *err)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(a.sun_path)) {
        odto_fail(err, -ENAMETOOLONG, "the path of the control socket is too long: %s", path);
        odto_error_hint(err, "set control in [host] to a shorter path, such as /run/odto/control.sock");
        return -ENAMETOOLONG;
    }
    strcpy(a.sun_path, path);
    int code = clear_stale(&a, err);
    if (code < 0)
        return code;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    /* the mode of the descriptor becomes that of the file: nobody else can connect, not even for a moment */
    if (fd < 0 || fchmod(fd, 0600) < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 ||
        chmod(path, 0600) < 0 || listen(fd, CONTROL_CLIENTS) < 0) {
        code = -errno;
        if (fd >= 0)
            close(fd);
        odto_fail(err, code, "the control socket can't be opened");
        odto_error_detail(err, "%s: %s", path, strerror(-code));
        odto_error_hint(err, "check that its folder exists and may be written, or set control in [host]");
        return code;
    }
    return fd;
}

int control_open(const char *path, const control_verb *verbs, size_t n, void *core, log_source *log,
                 control **out, odto_error *err)
{
    control *c = calloc(1, sizeof(*c));
    char *copy = strdup(path);
    int code = c && copy ? listen_on(path, err) : odto_fail(err, -ENOMEM, "no memory for the control socket");
    if (code < 0) {
        free(c);
        free(copy);
        return code;
    }
    *c = (control){.fd = code, .path = copy, .verbs = verbs, .n_verbs = n, .core = core, .log = log};
    pthread_mutex_init(&c->lock, NULL);
    code = start_thread(&c->acceptor, "control", accept_main, c);
    if (code < 0) {
        odto_fail(err, code, "no thread for the control socket: %s", strerror(-code));
        unlink(path);
        close(c->fd);
        pthread_mutex_destroy(&c->lock);
        free(c->path);
        free(c);
        return code;
    }
    *out = c;
    return 0;
}

void control_close(control *c)
{
    if (!c)
        return;
    __atomic_store_n(&c->stopping, 1, __ATOMIC_SEQ_CST);
    unlink(c->path);
    shutdown(c->fd, SHUT_RDWR);
    pthread_join(c->acceptor, NULL);
    close(c->fd);
    pthread_mutex_lock(&c->lock);
    for (int i = 0; i < CONTROL_CLIENTS; i++) {
        if (c->clients[i].used && !c->clients[i].done)
            shutdown(c->clients[i].fd, SHUT_RD); /* a reply on its way still goes out */
    }
    pthread_mutex_unlock(&c->lock);
    for (int i = 0; i < CONTROL_CLIENTS; i++) {
        if (c->clients[i].used)
            pthread_join(c->clients[i].thread, NULL);
    }
    pthread_mutex_destroy(&c->lock);
    free(c->path);
    free(c);
}
