/* rabbitmq.h — the bridge rabbitmq: what its files share.
 *
 * plugin.c     options, life, the bridge interface
 * session.c    one connection: URL, TLS, login, queues, errors in words
 * publisher.c  the thread "publish": confirms, returns, blocked connections, republishing
 * consumer.c   the thread "consume": subscriptions, deliveries, acknowledgements
 * admin.c      looking into a queue, removing from it: a connection for each call
 * window.c     what is published and not confirmed
 * acks.c       what is delivered and not acknowledged
 *
 * librabbitmq's connections belong to one thread each. Publishing and consuming have separate ones, because a
 * broker in alarm stops reading from connections that publish (connection.blocked). */
#ifndef RABBITMQ_H
#define RABBITMQ_H

#include "acks.h"
#include "window.h"

#include <odto/plugin.h>

#include <amqp.h>
#include <amqp_framing.h>
#include <pthread.h>

#define TOPICS_MAX   32u
#define TOPIC_SIZE   128u
#define URLS_MAX     8u
#define COMPLAINTS   16u
#define CHANNEL      1 /* of publishing */
#define CHANNEL_SIDE 2 /* for declaring: an error closes the channel it comes on */

typedef struct rmq_url {
    char *text; /* the parts below are of it, but for defaults; never shown */
    size_t size;
    const char *user, *password, *host, *vhost;
    int port;
    bool tls;
    char shown[300]; /* without the password */
} rmq_url;

typedef struct rmq_options {
    rmq_url urls[URLS_MAX];
    size_t n_urls;
    const char *ca_file, *cert_file, *key_file;
    bool verify;
    int heartbeat_s;
    int64_t backoff_ns, backoff_max_ns, confirm_ns, give_up_ns;
    uint32_t window;
    int64_t max_queue_bytes, quorum_bytes;
} rmq_options;

struct rmq;

/* A connection and the thread's patience with it. */
typedef struct session {
    struct rmq *r;
    const char *role; /* "publish", "consume", "admin" */
    amqp_connection_state_t c;
    int fd, wake_fd;
    bool up, blocked;
    size_t url;      /* the next to try */
    unsigned streak; /* failed attempts in a row */
    int64_t retry_at, down_since;
    char complaint[400]; /* the last */
    struct {
        uint64_t hash;
        int64_t at;
    } said[COMPLAINTS]; /* not again within a minute */
} session;

/* ---- publisher ---- */

struct pub_batch;

struct pub_item {
    odto_event *event; /* one reference */
    struct pub_batch *batch;
    int64_t sent_ns;
    char message_id[ODTO_UUID_LEN + 1]; /* set when it is sent */
};

struct pub_batch { /* one publish() */
    struct pub_batch *next;
    odto_publish_done *done;
    void *arg;
    uint32_t topic, n, sent, left; /* left: not confirmed */
    int result;
    struct pub_item items[];
};

typedef struct pub_topic {
    char name[TOPIC_SIZE];
    bool declared;
    int64_t retry_at; /* declaring failed: not before this */
} pub_topic;

typedef struct publisher {
    session s;
    struct window window;    /* the thread's, as all but what follows the lock */
    struct pub_item **again; /* to be published once more, oldest first: a ring as large as the window */
    uint32_t again_first, again_n;
    pthread_mutex_t lock;
    struct pub_batch *first, **end;       /* accepted; the thread takes from the front */
    uint64_t queued_events, queued_bytes; /* accepted and not ended */
    pub_topic topics[TOPICS_MAX]; /* names are added under the lock; the rest is the thread's but `refused` */
    bool refused[TOPICS_MAX];
    uint32_t n_topics;
    bool away, sleeping; /* away: what comes is refused at once */
} publisher;

/* ---- consumer ---- */

enum sub_state { SUB_FREE, SUB_WANTED, SUB_CLOSING };

typedef struct subscription {
    char topic[TOPIC_SIZE];
    enum sub_state state;  /* under the lock */
    odto_bridge_sink sink; /* the same; called with deliver_lock held */
    uint32_t credit;       /* wanted; under the lock */
    bool fresh;            /* another subscriber: what the channel has goes back first; under the lock */
    /* the thread's */
    bool open;      /* its channel is */
    uint32_t epoch; /* of the channel: tags of another one are stale */
    uint32_t prefetch, serial;
    int64_t retry_at;
    struct acks acks;
} subscription;

typedef struct watched { /* a queue somebody asked the depth of */
    char topic[TOPIC_SIZE];
    int64_t depth; /* [atomic] as last heard; -1 unknown */
} watched;

struct settle {
    uint32_t sub;
    bool ack;
    uint64_t tag; /* epoch and delivery tag */
};

typedef struct consumer {
    session s;
    pthread_mutex_t deliver_lock; /* held while a sink is called; before `lock` */
    pthread_mutex_t lock;
    subscription subs[TOPICS_MAX];
    watched watched[TOPICS_MAX];
    uint32_t n_watched;     /* under the lock */
    int64_t looked_at;      /* the thread's: at the watched queues */
    struct settle *settled; /* under the lock: not seen by the thread yet */
    uint32_t n_settled, cap_settled;
    bool overflow; /* one could not be remembered: begin anew; under the lock */
    /* the thread's */
    struct settle *taken;
    uint32_t cap_taken;
    int64_t flush_at; /* acknowledgements are to be sent then; 0 none */
} consumer;

typedef struct rmq_metrics {
    odto_metric *ack, *nack, *returned, *timeout, *connects, *blocked, *delivered, *confirm_seconds;
} rmq_metrics;

typedef struct rmq {
    odto_host *host;
    const odto_config *config;
    rmq_options opt;
    publisher pub;
    consumer con;
    rmq_metrics m;
    bool stopping;               /* [atomic] */
    pthread_mutex_t health_lock; /* of problem[] */
    char problem[2][160];        /* of publish and consume; empty: none */
} rmq;

/* session.c */
int url_parse(const char *text, rmq_url *out, odto_error *err); /* url_free afterwards, also on error */
void url_free(rmq_url *u);
int session_init(session *s, rmq *r, const char *role);
void session_fini(session *s);
/* Connect and log in to the next URL, once. On failure the error was logged (each once a minute) and retry_at
 * is set. */
bool session_connect(session *s);
void session_close(session *s, bool orderly);
void session_lost(session *s, const char *what); /* log it, close */
/* Wait for the broker, a wake-up or the deadline. */
void session_wait(session *s, int64_t deadline_ns);
void session_wake(session *s); /* any thread */
/* The next frame without waiting: 1, 0 none, -1 the connection is lost (and closed). */
int session_frame(session *s, amqp_frame_t *f);
/* connection.blocked, unblocked, close; false: the connection is lost (and closed). */
bool session_control(session *s, const amqp_frame_t *f);
/* Declare the topic's queue on a channel of its own. How many messages it has, or -errno with *err. */
int64_t session_declare(session *s, const char *topic, bool passive, odto_error *err);
bool session_open_channel(session *s, amqp_channel_t ch, odto_error *err);
/* The last reply in words; code: -ECONNRESET for a lost connection, else by the broker's. */
int session_reply(session *s, amqp_rpc_reply_t reply, const char *what, odto_error *err);
void session_complain(session *s, const odto_error *err); /* the same at most once a minute */
void set_problem(session *s, const char *text);           /* what health() says; NULL: none */
bool rmq_stopping(const rmq *r);
int64_t full_jitter(unsigned streak, int64_t base, int64_t most);

/* publisher.c */
int publisher_init(publisher *p, rmq *r);
void publisher_fini(publisher *p);
void publisher_run(void *arg); /* a rmq */
int publisher_publish(publisher *p, const char *topic, odto_event *const *events, size_t n,
                      odto_publish_done *done, void *arg);

/* consumer.c */
int consumer_init(consumer *c, rmq *r);
void consumer_fini(consumer *c);
void consumer_run(void *arg); /* a rmq */
int consumer_subscribe(consumer *c, const char *topic, const odto_bridge_sink *sink, uint32_t credit,
                       odto_error *err);
void consumer_unsubscribe(consumer *c, const char *topic);
void consumer_credit(consumer *c, const char *topic, uint32_t credit);
void consumer_settle(consumer *c, const char *topic, const uint64_t *tags, size_t n, odto_verdict v);
int64_t consumer_depth(consumer *c, const char *topic);

/* admin.c */
int admin_peek(rmq *r, const char *topic, uint64_t from, size_t max,
               bool (*fn)(void *arg, const odto_bridge_item *item), void *arg, odto_error *err);
int64_t admin_remove(rmq *r, const char *topic, const uint64_t *ids, size_t n, odto_error *err);

#endif
