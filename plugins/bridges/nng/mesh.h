/* mesh.h — the bridge nng: what its files share.
 *
 * plugin.c   options, life, the bridge interface
 * sender.c   peers that are dialled: batches out, answers back
 * receiver.c addresses that are listened on: batches in, answered when their events are settled
 * wire.c     the format of a batch
 * guard.c    the thread "guard": a listener that accepts nothing any more is opened again
 *
 * Hosts talk the Scalability Protocols' REQ/REP: a request is a batch of events of one topic, its answer one
 * byte. A sender keeps a batch (in its route's spool, or the processor's outbox) until the answer says that
 * all its events were settled at the other side; so a batch that is lost with a host or a link is sent again,
 * and may arrive twice. Everything is asynchronous: nng's own threads call back, none of ours waits for a
 * peer. */
#ifndef MESH_H
#define MESH_H

#include <odto/plugin.h>

#include <nng/nng.h>
#include <pthread.h>

#define PEERS_MAX   16u
#define LISTEN_MAX  8u
#define CALLS       16u /* batches under way to one peer */
#define SERVES      64u /* batches being worked on here */
#define SUBS_MAX    32u
#define TOPIC_SIZE  128u
#define BATCH_BYTES ((size_t)64 << 20)
#define BATCH_MAX   4096u

/* The answer to a batch. */
enum {
    MESH_DONE = 'D',  /* every event is settled */
    MESH_AGAIN = 'A', /* send it again */
    MESH_BUSY = 'B',  /* too much is under way here: later, or elsewhere */
    MESH_NONE = 'N',  /* nobody here consumes the topic */
};

struct mesh;
struct peer;

enum call_state { CALL_FREE, CALL_SENDING, CALL_WAITING };

struct call { /* a batch under way */
    struct peer *peer;
    nng_ctx ctx;
    nng_aio *aio;
    enum call_state state; /* under the mesh's lock; from SENDING on its callback's */
    odto_publish_done *done;
    void *arg;
    int64_t began_ns;
    char topic[TOPIC_SIZE];
};

struct refusal { /* this peer does not take a topic for the moment */
    char topic[TOPIC_SIZE];
    int64_t until_ns;
};

struct peer {
    struct mesh *mesh;
    const char *url;
    nng_socket socket;
    bool open;
    int pipes; /* [atomic] connections: 0 or 1 */
    struct call calls[CALLS];
    struct refusal refusals[SUBS_MAX]; /* under the mesh's lock */
};

struct sub {
    char topic[TOPIC_SIZE]; /* empty: free */
    odto_bridge_sink sink;
    uint32_t credit, held; /* events delivered and not settled */
};

enum serve_state { SERVE_RECEIVING, SERVE_HELD, SERVE_ANSWERING };

struct serve { /* a batch from another host */
    struct mesh *mesh;
    nng_ctx ctx;
    nng_aio *aio;
    enum serve_state state; /* under the mesh's lock */
    uint32_t generation;    /* of what it holds: settles of another one are ignored */
    uint32_t left;          /* events not settled */
    uint8_t answer;
    struct sub *sub;
};

struct address { /* listened on */
    const char *url;
    nng_listener listener;
    bool open;
};

typedef struct mesh {
    odto_host *host;
    const odto_config *config;
    pthread_mutex_t deliver_lock; /* held while a sink is called; before `lock` */
    pthread_mutex_t lock;         /* never held while nng, a sink or a done is called */
    struct peer peers[PEERS_MAX];
    size_t n_peers, next_peer;
    struct address addresses[LISTEN_MAX]; /* the guard's after start() */
    size_t n_addresses;
    nng_socket listening;
    bool serving; /* listening is open */
    struct serve serves[SERVES];
    struct sub subs[SUBS_MAX];
    int64_t answer_ns, redial_ns, redial_max_ns;
    bool stopping;          /* [atomic] */
    pthread_cond_t stopped; /* with lock; monotonic */
    odto_metric *sent, *again, *received, *reopened;
} mesh;

bool mesh_stopping(const mesh *m);

/* wire.c: a batch is "odn1", then the topic and each event's bytes, all with a 32-bit length before (big
 * endian). */
int wire_pack(const char *topic, odto_event *const *events, size_t n,
              nng_msg **out); /* 0, -ENOMEM, -EMSGSIZE */
struct wire_batch {
    char topic[TOPIC_SIZE];
    uint32_t n;
    const uint8_t *at; /* the first event */
    size_t left;
};
bool wire_open(nng_msg *msg, struct wire_batch *out); /* false: not such a batch, nothing of it is used */
odto_slice wire_next(struct wire_batch *b);

/* sender.c */
int sender_start(mesh *m, odto_error *err);
void sender_stop(mesh *m);
int sender_publish(mesh *m, const char *topic, odto_event *const *events, size_t n, odto_publish_done *done,
                   void *arg);

/* receiver.c */
int receiver_start(mesh *m, odto_error *err);
void receiver_stop(mesh *m);
int receiver_listen(mesh *m, struct address *a); /* 0 or an error of nng */
int receiver_subscribe(mesh *m, const char *topic, const odto_bridge_sink *sink, uint32_t credit,
                       odto_error *err);
void receiver_unsubscribe(mesh *m, const char *topic);
void receiver_credit(mesh *m, const char *topic, uint32_t credit);
void receiver_settle(mesh *m, const uint64_t *tags, size_t n, odto_verdict v);

/* guard.c */
void guard_run(void *arg); /* a mesh */

#endif
