/* session.c — one connection to the broker: URLs, TLS, login, queues, and what went wrong in words. Each
 * session belongs to one thread; session_wake alone comes from others. */
#include "rabbitmq.h"

#include <amqp_ssl_socket.h>
#include <amqp_tcp_socket.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define FRAME_MAX      131072
#define CONNECT_S      5
#define RPC_S          10
#define COMPLAIN_NS    (60 * ODTO_SEC)
#define USER_TIMEOUT_S 20 /* TCP: unacknowledged data for so long ends the connection */
#define SYSTEM_CA      "/etc/ssl/certs/ca-certificates.crt"

static const struct timeval no_wait = {0, 0};

/* ---- URLs ---------------------------------------------------------------------------------- */

int url_parse(const char *text, rmq_url *out, odto_error *err)
{
    struct amqp_connection_info info;
    memset(out, 0, sizeof *out);
    out->text = strdup(text);
    if (!out->text)
        return odto_fail(err, -ENOMEM, "no memory");
    out->size = strlen(text);
    amqp_default_connection_info(&info);
    if (strncmp(text, "amqp://", 7) != 0 && strncmp(text, "amqps://", 8) != 0) {
        odto_fail(err, -EINVAL, "a broker's URL begins with amqp:// or amqps://");
        odto_error_hint(err, "as in amqp://user:password@broker:5672/%%2f");
        return -EINVAL;
    }
    if (amqp_parse_url(out->text, &info) != AMQP_STATUS_OK) {
        odto_fail(err, -EINVAL, "a broker's URL can't be read (it is not shown: it may hold a password)");
        odto_error_hint(err,
                        "amqp://user:password@broker:5672/vhost, with %%XX for what is special in a name");
        return -EINVAL;
    }
    out->user = info.user;
    out->password = info.password;
    out->host = info.host;
    /* "amqp://broker/" names the empty vhost by the letter; every other client takes it for the default */
    out->vhost = info.vhost && info.vhost[0] ? info.vhost : "/";
    out->port = info.port;
    out->tls = info.ssl;
    snprintf(out->shown, sizeof out->shown, "%s://%.60s@%.120s:%d, vhost %.60s", out->tls ? "amqps" : "amqp",
             out->user, out->host, out->port, out->vhost);
    return 0;
}

void url_free(rmq_url *u)
{
    if (u->text)
        explicit_bzero(u->text, u->size);
    free(u->text);
    memset(u, 0, sizeof *u);
}

/* ---- life ---------------------------------------------------------------------------------- */

int session_init(session *s, rmq *r, const char *role)
{
    *s = (session){.r = r, .role = role, .fd = -1};
    s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    s->down_since = odto_now_ns();
    s->url = r->opt.n_urls ? (size_t)(odto_random64() % r->opt.n_urls) : 0;
    return s->wake_fd < 0 ? -errno : 0;
}

void session_fini(session *s)
{
    session_close(s, false);
    if (s->wake_fd >= 0)
        close(s->wake_fd);
    s->wake_fd = -1;
}

void session_wake(session *s)
{
    uint64_t one = 1;
    ssize_t ignored = write(s->wake_fd, &one, sizeof one); /* full: it is awake anyway */
    (void)ignored;
}

bool rmq_stopping(const rmq *r)
{
    return __atomic_load_n(&r->stopping, __ATOMIC_ACQUIRE); /* pairs with stop() */
}

void set_problem(session *s, const char *text)
{
    rmq *r = s->r;
    size_t k = s == &r->pub.s ? 0 : s == &r->con.s ? 1 : 2;
    if (k == 2)
        return;
    pthread_mutex_lock(&r->health_lock);
    bool changed = strcmp(r->problem[k], text ? text : "") != 0;
    snprintf(r->problem[k], sizeof r->problem[k], "%s", text ? text : "");
    pthread_mutex_unlock(&r->health_lock);
    if (changed)
        r->host->api->health_changed(r->host);
}

void session_complain(session *s, const odto_error *err)
{
    char text[sizeof s->complaint];
    int64_t now = odto_now_ns();
    odto_error_text(err, text, sizeof text);
    set_problem(s, text);
    snprintf(s->complaint, sizeof s->complaint, "%s", text);
    uint64_t hash = odto_hash64(text, strlen(text));
    size_t oldest = 0;
    for (size_t i = 0; i < COMPLAINTS; i++) {
        if (s->said[i].hash == hash && s->said[i].at && now - s->said[i].at < COMPLAIN_NS)
            return;
        oldest = s->said[i].at < s->said[oldest].at ? i : oldest;
    }
    s->said[oldest].hash = hash;
    s->said[oldest].at = now;
    odto_log(s->r->host, ODTO_WARN, "%s: %s", s->role, text);
}

int64_t full_jitter(unsigned streak, int64_t base, int64_t most)
{
    int64_t full = base;
    for (unsigned i = 1; i < streak && full < most; i++)
        full *= 2;
    if (full > most)
        full = most;
    return (int64_t)(odto_random64() % (uint64_t)(full + 1));
}

/* ---- errors -------------------------------------------------------------------------------- */

static void explain(const session *s, int code, const char *text, odto_error *err)
{
    const rmq_url *u = &s->r->opt.urls[s->url % s->r->opt.n_urls];
    switch (code) {
    case AMQP_ACCESS_REFUSED:
        odto_error_hint(err, "check the user's password and rights: rabbitmqctl list_user_permissions %s",
                        u->user);
        break;
    case AMQP_NOT_ALLOWED:
        odto_error_hint(err,
                        "if the vhost is missing: rabbitmqctl add_vhost %s, then set_permissions -p %s %s",
                        u->vhost, u->vhost, u->user);
        break;
    case AMQP_PRECONDITION_FAILED:
        if (strstr(text, "inequivalent"))
            odto_error_hint(err,
                            "drain and delete that queue, or have the other program declare it the same");
        break;
    default:
        break;
    }
}

static int server_error(const session *s, int code, amqp_bytes_t text, const char *what, odto_error *err)
{
    char said[400];
    snprintf(said, sizeof said, "%.*s", (int)(text.len < 390 ? text.len : 390), (const char *)text.bytes);
    int rc = code == AMQP_ACCESS_REFUSED        ? -EACCES
             : code == AMQP_NOT_FOUND           ? -ENOENT
             : code == AMQP_NOT_ALLOWED         ? -EPERM
             : code == AMQP_PRECONDITION_FAILED ? -EEXIST
             : code == AMQP_RESOURCE_LOCKED     ? -EBUSY
                                                : -EPROTO;
    odto_fail(err, rc, "%s: the broker says %d %s", what, code, said);
    explain(s, code, said, err);
    return rc;
}

int session_reply(session *s, amqp_rpc_reply_t reply, const char *what, odto_error *err)
{
    switch (reply.reply_type) {
    case AMQP_RESPONSE_NORMAL:
        return 0;
    case AMQP_RESPONSE_SERVER_EXCEPTION:
        if (reply.reply.id == AMQP_CONNECTION_CLOSE_METHOD) {
            const amqp_connection_close_t *m = reply.reply.decoded;
            return server_error(s, m->reply_code, m->reply_text, what, err);
        }
        if (reply.reply.id == AMQP_CHANNEL_CLOSE_METHOD) {
            const amqp_channel_close_t *m = reply.reply.decoded;
            return server_error(s, m->reply_code, m->reply_text, what, err);
        }
        return odto_fail(err, -EPROTO, "%s: the broker's answer is not understood", what);
    default:
        return odto_fail(err, -ECONNRESET, "%s: %s", what,
                         reply.library_error ? amqp_error_string2(reply.library_error)
                                             : "the connection was lost");
    }
}

/* ---- connecting ---------------------------------------------------------------------------- */

static int open_socket(session *s, const rmq_url *u, odto_error *err)
{
    const rmq_options *o = &s->r->opt;
    amqp_socket_t *socket = u->tls ? amqp_ssl_socket_new(s->c) : amqp_tcp_socket_new(s->c);
    if (!socket)
        return odto_fail(err, -ENOMEM, "no memory for a connection");
    if (u->tls) {
        const char *ca = o->ca_file && o->ca_file[0] ? o->ca_file : SYSTEM_CA;
        if (amqp_ssl_socket_set_cacert(socket, ca) != AMQP_STATUS_OK)
            return odto_fail(err, -EINVAL, "ca_file: can't read certificates from %s", ca);
        if (o->cert_file && o->cert_file[0] &&
            amqp_ssl_socket_set_key(socket, o->cert_file, o->key_file) != AMQP_STATUS_OK)
            return odto_fail(err, -EINVAL, "cert_file, key_file: can't read %s with its key", o->cert_file);
        amqp_ssl_socket_set_verify_peer(socket, o->verify);
        amqp_ssl_socket_set_verify_hostname(socket, o->verify);
    }
    struct timeval timeout = {.tv_sec = CONNECT_S};
    int rc = amqp_socket_open_noblock(socket, u->host, u->port, &timeout);
    if (rc != AMQP_STATUS_OK) {
        odto_fail(err, -ECONNREFUSED, "can't connect to %s: %s", u->shown, amqp_error_string2(rc));
        if (rc == AMQP_STATUS_SOCKET_ERROR)
            odto_error_hint(
                err, "nothing listens there, or it does not answer: is the broker up, the port right?");
        if (u->tls &&
            (rc == AMQP_STATUS_SSL_PEER_VERIFY_FAILED || rc == AMQP_STATUS_SSL_HOSTNAME_VERIFY_FAILED ||
             rc == AMQP_STATUS_SSL_CONNECTION_FAILED))
            odto_error_hint(err,
                            "ca_file must hold the authority of the broker's certificate, and its names "
                            "must include %s",
                            u->host);
        return -ECONNREFUSED;
    }
    s->fd = amqp_get_sockfd(s->c);
    unsigned ms = USER_TIMEOUT_S * 1000;
    setsockopt(s->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof ms);
    return 0;
}

static amqp_table_entry_t entry(const char *key, const char *text)
{
    amqp_table_entry_t e = {.key = amqp_cstring_bytes(key)};
    e.value.kind = AMQP_FIELD_KIND_UTF8;
    e.value.value.bytes = amqp_cstring_bytes(text);
    return e;
}

static amqp_table_entry_t yes(const char *key)
{
    amqp_table_entry_t e = {.key = amqp_cstring_bytes(key)};
    e.value.kind = AMQP_FIELD_KIND_BOOLEAN;
    e.value.value.boolean = 1;
    return e;
}

static int login(session *s, const rmq_url *u, odto_error *err)
{
    const rmq_options *o = &s->r->opt;
    char name[160];
    snprintf(name, sizeof name, "odto %.60s/%.60s %s", s->r->config->host_name, s->r->config->instance,
             s->role);
    amqp_table_entry_t can[] = {yes("authentication_failure_close"), yes("connection.blocked"),
                                yes("consumer_cancel_notify"), yes("publisher_confirms"), yes("basic.nack")};
    amqp_table_entry_t props[] = {entry("product", "odto"),
                                  entry("connection_name", name),
                                  {.key = amqp_cstring_bytes("capabilities")}};
    props[2].value.kind = AMQP_FIELD_KIND_TABLE;
    props[2].value.value.table = (amqp_table_t){(int)(sizeof can / sizeof can[0]), can};
    amqp_table_t table = {(int)(sizeof props / sizeof props[0]), props};
    struct timeval handshake = {.tv_sec = CONNECT_S}, rpc = {.tv_sec = RPC_S};
    amqp_set_handshake_timeout(s->c, &handshake);
    amqp_set_rpc_timeout(s->c, &rpc);
    amqp_rpc_reply_t reply = amqp_login_with_properties(s->c, u->vhost, 0, FRAME_MAX, o->heartbeat_s, &table,
                                                        AMQP_SASL_METHOD_PLAIN, u->user, u->password);
    char what[360];
    snprintf(what, sizeof what, "can't log in to %s", u->shown);
    return session_reply(s, reply, what, err);
}

bool session_connect(session *s)
{
    const rmq_options *o = &s->r->opt;
    const rmq_url *u = &o->urls[s->url % o->n_urls];
    odto_error err = {0};
    errno = 0;
    s->c = amqp_new_connection();
    int rc = s->c ? open_socket(s, u, &err) : odto_fail(&err, -ENOMEM, "no memory for a connection");
    if (rc == 0)
        rc = login(s, u, &err);
    if (rc < 0) {
        session_complain(s, &err);
        session_close(s, false);
        s->url++;
        s->streak++;
        s->retry_at = odto_now_ns() + full_jitter(s->streak, o->backoff_ns, o->backoff_max_ns);
        return false;
    }
    s->up = true;
    s->blocked = false;
    set_problem(s, NULL);
    odto_metric_add(s->r->m.connects, 1);
    odto_log(s->r->host, ODTO_INFO, "%s: connected to %s", s->role, u->shown);
    return true;
}

void session_close(session *s, bool orderly)
{
    if (s->up)
        s->down_since = odto_now_ns();
    if (s->blocked) /* the next connection will be told if it still is so */
        odto_metric_set(s->r->m.blocked, 0);
    if (s->c) {
        if (orderly && s->up)
            amqp_connection_close(s->c, AMQP_REPLY_SUCCESS);
        amqp_destroy_connection(s->c);
    }
    s->c = NULL;
    s->fd = -1;
    s->up = s->blocked = false;
}

void session_lost(session *s, const char *what)
{
    odto_error err = {0};
    odto_fail(&err, -ECONNRESET, "the broker's connection is lost: %s", what);
    session_complain(s, &err);
    session_close(s, false);
    s->streak = 1;
    s->retry_at = odto_now_ns() + full_jitter(1, s->r->opt.backoff_ns, s->r->opt.backoff_max_ns);
}

/* ---- frames -------------------------------------------------------------------------------- */

void session_wait(session *s, int64_t deadline_ns)
{
    struct pollfd p[2] = {{.fd = s->wake_fd, .events = POLLIN}, {.fd = s->fd, .events = POLLIN}};
    int64_t left = deadline_ns - odto_now_ns();
    bool buffered = s->up && (amqp_frames_enqueued(s->c) || amqp_data_in_buffer(s->c));
    left = left < 0 || buffered ? 0 : left;
    struct timespec t = {.tv_sec = (time_t)(left / ODTO_SEC), .tv_nsec = (long)(left % ODTO_SEC)};
    if (ppoll(p, s->up ? 2 : 1, &t, NULL) > 0 && p[0].revents) {
        uint64_t count;
        ssize_t ignored = read(s->wake_fd, &count, sizeof count);
        (void)ignored;
    }
}

int session_frame(session *s, amqp_frame_t *f)
{
    int rc = amqp_simple_wait_frame_noblock(s->c, f, &no_wait);
    if (rc == AMQP_STATUS_OK)
        return 1;
    if (rc == AMQP_STATUS_TIMEOUT)
        return 0;
    session_lost(s, amqp_error_string2(rc));
    return -1;
}

bool session_control(session *s, const amqp_frame_t *f)
{
    if (f->frame_type != AMQP_FRAME_METHOD)
        return true;
    char text[300];
    switch (f->payload.method.id) {
    case AMQP_CONNECTION_BLOCKED_METHOD: {
        const amqp_connection_blocked_t *m = f->payload.method.decoded;
        s->blocked = true;
        odto_metric_set(s->r->m.blocked, 1);
        snprintf(text, sizeof text, "the broker takes nothing for the moment: %.*s", (int)m->reason.len,
                 (const char *)m->reason.bytes);
        set_problem(s, text);
        odto_log(s->r->host, ODTO_WARN, "%s: %s", s->role, text);
        return true;
    }
    case AMQP_CONNECTION_UNBLOCKED_METHOD:
        s->blocked = false;
        odto_metric_set(s->r->m.blocked, 0);
        set_problem(s, NULL);
        odto_log(s->r->host, ODTO_INFO, "%s: the broker takes messages again", s->role);
        return true;
    case AMQP_CONNECTION_CLOSE_METHOD: {
        const amqp_connection_close_t *m = f->payload.method.decoded;
        snprintf(text, sizeof text, "%d %.*s", m->reply_code, (int)m->reply_text.len,
                 (const char *)m->reply_text.bytes);
        amqp_connection_close_ok_t ok = {0};
        amqp_send_method(s->c, 0, AMQP_CONNECTION_CLOSE_OK_METHOD, &ok);
        session_lost(s, text);
        return false;
    }
    case AMQP_CHANNEL_CLOSE_METHOD: { /* on a channel that should live: begin anew */
        const amqp_channel_close_t *m = f->payload.method.decoded;
        snprintf(text, sizeof text, "channel closed: %d %.*s", m->reply_code, (int)m->reply_text.len,
                 (const char *)m->reply_text.bytes);
        session_lost(s, text);
        return false;
    }
    default:
        return true;
    }
}

/* ---- queues -------------------------------------------------------------------------------- */

bool session_open_channel(session *s, amqp_channel_t ch, odto_error *err)
{
    amqp_channel_open(s->c, ch);
    return session_reply(s, amqp_get_rpc_reply(s->c), "can't open a channel", err) == 0;
}

/* The three queues of the contract; others declare them too, so they have no arguments. */
static bool of_contract(const char *topic)
{
    return strcmp(topic, "jobs.created") == 0 || strcmp(topic, "jobs.completed") == 0 ||
           strcmp(topic, "jobs.failed.validation") == 0;
}

/* Our own: quorum queues whose limits are said (what a broker assumes differs by its version), and nothing is
 * dropped: what was delivered too often goes to a queue of its own, what does not fit is refused. */
static int quorum_arguments(const session *s, const char *dead, amqp_table_entry_t *e)
{
    int n = 0;
    e[n++] = entry("x-queue-type", "quorum");
    e[n++] = entry("x-overflow", "reject-publish");
    e[n] = (amqp_table_entry_t){.key = amqp_cstring_bytes("x-max-length-bytes")};
    e[n].value.kind = AMQP_FIELD_KIND_I64;
    e[n++].value.value.i64 = s->r->opt.quorum_bytes;
    if (!dead)
        return n;
    e[n] = (amqp_table_entry_t){.key = amqp_cstring_bytes("x-delivery-limit")};
    e[n].value.kind = AMQP_FIELD_KIND_I32;
    e[n++].value.value.i32 = 10;
    e[n++] = entry("x-dead-letter-exchange", "");
    e[n++] = entry("x-dead-letter-routing-key", dead);
    e[n++] = entry("x-dead-letter-strategy", "at-least-once");
    return n;
}

static int64_t declare(session *s, const char *queue, bool passive, const char *dead, odto_error *err)
{
    amqp_table_entry_t entries[8];
    amqp_table_t args = {0, entries};
    bool contract = of_contract(queue);
    if (!contract && !passive)
        args.num_entries = quorum_arguments(s, dead, entries);
    if (!session_open_channel(s, CHANNEL_SIDE, err))
        return err->code;
    const amqp_queue_declare_ok_t *ok =
        amqp_queue_declare(s->c, CHANNEL_SIDE, amqp_cstring_bytes(queue), passive, 1, 0, 0, args);
    amqp_rpc_reply_t reply = amqp_get_rpc_reply(s->c);
    int64_t messages = ok ? ok->message_count : 0;
    char what[400];
    snprintf(what, sizeof what, "queue %s can't be declared %s", queue,
             passive    ? "passively"
             : contract ? "as durable without arguments"
                        : "as a quorum queue with limits");
    int rc = session_reply(s, reply, what, err);
    if (rc == 0)
        amqp_channel_close(s->c, CHANNEL_SIDE, AMQP_REPLY_SUCCESS);
    else if (reply.reply_type == AMQP_RESPONSE_SERVER_EXCEPTION &&
             reply.reply.id == AMQP_CHANNEL_CLOSE_METHOD) {
        amqp_channel_close_ok_t close_ok = {0};
        amqp_send_method(s->c, CHANNEL_SIDE, AMQP_CHANNEL_CLOSE_OK_METHOD, &close_ok);
    }
    amqp_maybe_release_buffers_on_channel(s->c, CHANNEL_SIDE);
    return rc ? rc : messages;
}

int64_t session_declare(session *s, const char *topic, bool passive, odto_error *err)
{
    char dead[TOPIC_SIZE + 8];
    if (of_contract(topic) || passive)
        return declare(s, topic, passive, NULL, err);
    snprintf(dead, sizeof dead, "%s.dead", topic);
    int64_t rc = declare(s, dead, false, NULL, err);
    return rc < 0 ? rc : declare(s, topic, false, dead, err);
}
