/* conn.c — one connection to the server: connecting, AUTH, SELECT, commands with a time limit. Blocking;
 * called by the thread that owns the connection. Replies of the server may name a user, never a password. */
#include "store_redis.h"

#include <errno.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a broken connection says. */
static int broken(const rs_store *s, const redisContext *c, odto_error *err)
{
    odto_fail(err, -EAGAIN, "%s does not answer", s->what);
    if (c == NULL)
        odto_error_detail(err, "no memory");
    else if (c->err == REDIS_ERR_IO && (errno == EAGAIN || errno == ETIMEDOUT))
        odto_error_detail(err, "nothing came within %d ms", s->timeout_ms);
    else
        odto_error_detail(err, "%s", c->errstr);
    return -EAGAIN;
}

static bool starts(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

/* What a refusal of the server means and what to do. */
static int refused(const rs_store *s, const char *reply, odto_error *err)
{
    odto_fail(err, -EIO, "%s refuses", s->what);
    odto_error_detail(err, "%.300s", reply);
    if (starts(reply, "NOAUTH") || starts(reply, "WRONGPASS") || starts(reply, "ERR invalid password") ||
        starts(reply, "ERR AUTH") || starts(reply, "ERR Client sent AUTH"))
        odto_error_hint(err, "check the user and the password in REDIS_URL (or the options user, password)");
    else if (starts(reply, "NOPERM"))
        odto_error_hint(err, "the user needs EVAL, GET, SET and sorted sets on metrics:* and odto:*");
    else if (starts(reply, "READONLY"))
        odto_error_hint(err, "this server is a replica: give the address of the primary");
    else if (starts(reply, "OOM") || starts(reply, "MISCONF"))
        odto_error_hint(err, "the server can't write: give it memory or disk");
    else if (strstr(reply, "WRONGTYPE") != NULL)
        odto_error_hint(err, "a key of metrics:jobs:* is used for something else");
    return -EIO;
}

redisReply *rs_command(const rs_store *s, rs_conn *c, odto_error *err, int argc, const char **argv,
                       const size_t *lengths)
{
    redisReply *r = c->tls != NULL ? rs_tls_command(c->redis, c->tls, argc, argv, lengths)
                                   : redisCommandArgv(c->redis, argc, argv, lengths);
    if (r == NULL) {
        broken(s, c->redis, err);
        return NULL;
    }
    if (r->type != REDIS_REPLY_ERROR)
        return r;
    if (!starts(r->str, "NOSCRIPT"))
        refused(s, r->str, err);
    else
        odto_fail(err, -ENOENT, "%s does not know the script", s->what);
    freeReplyObject(r);
    return NULL;
}

static int login(const rs_store *s, rs_conn *c, odto_error *err)
{
    const rs_address *a = &s->address;
    char db[16];
    int code = 0;
    if (a->password != NULL) {
        const char *auth[3] = {"AUTH", a->user != NULL ? a->user : a->password, a->password};
        redisReply *r = rs_command(s, c, err, a->user != NULL ? 3 : 2, auth, NULL);
        if (r == NULL)
            return err->code;
        freeReplyObject(r);
    }
    snprintf(db, sizeof(db), "%d", a->db);
    const char *select_db[2] = {"SELECT", db};
    redisReply *r = rs_command(s, c, err, 2, select_db, NULL);
    if (r == NULL)
        code = err->code;
    else
        freeReplyObject(r);
    return code;
}

void rs_close(rs_conn *c)
{
    if (c == NULL)
        return;
    SSL_free(c->tls);
    if (c->redis != NULL)
        redisFree(c->redis);
    free(c);
}

static int open_conn(const rs_store *s, rs_conn *c, odto_error *err)
{
    struct timeval limit = {.tv_sec = s->timeout_ms / 1000, .tv_usec = s->timeout_ms % 1000 * 1000};
    c->redis = redisConnectWithTimeout(s->address.host, s->address.port, limit);
    if (c->redis == NULL || c->redis->err != 0)
        return broken(s, c->redis, err);
    redisSetTimeout(c->redis, limit);
    redisEnableKeepAlive(c->redis);
    if (s->address.tls && (c->tls = rs_tls_open(s, c->redis->fd, err)) == NULL)
        return err->code;
    int code = login(s, c, err);
    /* one that misses our certificate says so only now (TLS 1.3), or its word is lost in the reset that
     * follows */
    if (code != 0 && c->tls != NULL && c->redis->err != 0)
        odto_error_hint(err, "does the server ask for a client's certificate? Options cert_file, key_file");
    return code;
}

rs_conn *rs_connect(const rs_store *s, odto_error *err)
{
    odto_error own = {0};
    rs_conn *c = calloc(1, sizeof(*c));
    if (c == NULL)
        odto_fail(&own, -ENOMEM, "no memory for a connection");
    else if (open_conn(s, c, &own) == 0)
        return c;
    rs_close(c);
    if (err != NULL)
        *err = own;
    return NULL;
}
