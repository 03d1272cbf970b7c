/* store_mongo.h — the events role on a MongoDB server (contract: database observatory, collection job_events,
 * one document an event).
 *
 * plugin.c: options, life, health. client.c: connections, indexes, errors. document.c: the documents.
 * write.c: the writer's side. read.c: the readers' side.
 *
 * The writer's client belongs to the write queue's thread; readers take one of up to MG_READERS from a pool
 * under pool_lock. All clients are single-threaded ones: libmongoc starts no thread of its own. The library
 * is initialised once (it sees to that itself) and never cleaned up: it stays mapped, and another plugin
 * generation may use it. */
#ifndef STORE_MONGO_H
#define STORE_MONGO_H

#include "../common/write_queue.h"

#include <mongoc/mongoc.h>
#include <odto/plugin.h>

#define MG_MAGIC   0x6d6f6e67u
#define MG_READERS 4

typedef struct mg_store {
    uint32_t magic;
    odto_host *host;
    const odto_config *config;
    mongoc_uri_t *uri;
    char what[280]; /* "mongo at host:port" */
    const char *database, *collection;
    int64_t keep_ms; /* 0: for ever */
    write_queue queue;

    /* the writer's */
    mongoc_client_t *writer;
    mongoc_collection_t *events, *positions;
    bool unique; /* the index on eventid is */
    bool warned_index;
    int64_t retain_at_ns;

    pthread_mutex_t pool_lock;
    pthread_cond_t pool_free;
    mongoc_client_t *idle[MG_READERS];
    unsigned n_idle, n_out;
    bool pool_closed;
} mg_store;

/* A uri with our defaults and limits in it, or NULL with *err, which holds no password. */
mongoc_uri_t *mg_uri_new(const char *text, int timeout_ms, odto_error *err);
void mg_uri_what(const mongoc_uri_t *uri, char *out, size_t size);
/* What an error of the library means: fills *err, returns its code. */
int mg_fail(const mg_store *s, const bson_error_t *e, odto_error *err);

int mg_queue_connect(void *store, odto_error *err);
int mg_queue_apply(void *store, odto_write *group, size_t n, odto_error *err);
void mg_queue_disconnect(void *store);
int mg_queue_upkeep(void *store, int64_t *next_ns, odto_error *err);

mongoc_client_t *mg_reader_take(mg_store *s, odto_error *err);
void mg_reader_give(mg_store *s, mongoc_client_t *c, bool good);
void mg_readers_close(mg_store *s);

int mg_append(void *store, odto_write *w);
int mg_list(void *store, const odto_uuid *job, uint32_t limit, odto_event_row_fn *fn, void *arg,
            odto_error *err);
int mg_after(void *store, uint64_t after, uint32_t limit, odto_event_row_fn *fn, void *arg, uint64_t *last,
             odto_error *err);
int mg_count(void *store, odto_counters *out, odto_error *err);
int mg_scan(void *store, odto_counted_fn *fn, void *arg, odto_error *err);

#endif
