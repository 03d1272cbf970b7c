/* store_redis.h — the counters role on a Redis server (contract: metrics:jobs:total, :completed, :failed,
 * metrics:last_event_time in database 0, without expiry).
 *
 * plugin.c: options, life, health. address.c: REDIS_URL. conn.c: one connection. tls.c: its TLS. counters.c:
 * the role.
 *
 * Two connections: the writer's (only the write queue's thread touches it) and the readers', under
 * read_lock. Whoever waits for a reply waits at most rs_address.timeout_ms. */
#ifndef STORE_REDIS_H
#define STORE_REDIS_H

#include "../common/write_queue.h"

#include <hiredis/hiredis.h>
#include <odto/plugin.h>
#include <openssl/types.h>

#define RS_MAGIC 0x72656469u

typedef struct rs_address {
    char host[256];
    int port, db;
    bool tls;              /* rediss:// */
    char *user, *password; /* NULL: none */
} rs_address;

/* "host:port", "host", "redis://[[user][:password]@]host[:port][/db]", the same with rediss:// for TLS;
 * percent-escapes in user and password.
 * -EINVAL with an error that holds no password. */
int rs_address_parse(const char *url, rs_address *out, odto_error *err);
void rs_address_free(rs_address *a);

/* NULL or "": not given. Files are the configuration's, which outlives the store. */
typedef struct rs_tls_options {
    const char *ca_file, *cert_file, *key_file;
    bool verify;
} rs_tls_options;

/* One connection; its owner's. */
typedef struct rs_conn {
    redisContext *redis; /* redis->err: it is broken */
    SSL *tls;            /* NULL without TLS */
} rs_conn;

typedef struct rs_store {
    uint32_t magic;
    odto_host *host;
    const odto_config *config;
    rs_address address;
    rs_tls_options tls;
    char what[280]; /* "redis at host:port" */
    int timeout_ms;
    int64_t window_ms, max_ids;
    write_queue queue;
    rs_conn *writer; /* the writer thread's, and the hash of its script */
    char sha[41];
    pthread_mutex_t read_lock;
    rs_conn *reader; /* under read_lock */
} rs_store;

/* A connection that is authenticated and has its database; NULL with *err. */
rs_conn *rs_connect(const rs_store *s, odto_error *err);
void rs_close(rs_conn *c); /* NULL is allowed */
/* The reply to a command, or NULL with *err: the connection is broken (c->redis->err says so; the caller
 * closes it), the server refused, or (-ENOENT) it does not know a script. */
redisReply *rs_command(const rs_store *s, rs_conn *c, odto_error *err, int argc, const char **argv,
                       const size_t *lengths);

/* TLS on a connected socket, with the server's certificate checked; NULL with *err. The socket stays the
 * caller's. */
SSL *rs_tls_open(const rs_store *s, int fd, odto_error *err);
/* As redisCommandArgv: NULL with c->err where the connection is broken. */
redisReply *rs_tls_command(redisContext *c, SSL *tls, int argc, const char **argv, const size_t *lengths);

int rs_queue_connect(void *store, odto_error *err);
int rs_queue_apply(void *store, odto_write *group, size_t n, odto_error *err);
void rs_queue_disconnect(void *store);
int rs_queue_upkeep(void *store, int64_t *next_ns, odto_error *err);

int rs_add(void *store, odto_write *w);
int rs_read(void *store, odto_counters *out, odto_error *err);
int rs_set(void *store, const odto_counters *c, odto_error *err);
void rs_reader_close(rs_store *s);

#endif
