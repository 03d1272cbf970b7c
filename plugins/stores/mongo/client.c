/* client.c — the address, what errors mean, the writer's client with its indexes, the readers' pool. */
#include "store_mongo.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define CODE_UNAUTHORIZED 13
#define CODE_AUTH_FAILED  18

/* ---- address and errors ---- */

mongoc_uri_t *mg_uri_new(const char *text, int timeout_ms, odto_error *err)
{
    bson_error_t e;
    /* process-wide, so never a function of this object, which may be unmapped; errors come back to us anyway
     */
    mongoc_log_set_handler(NULL, NULL);
    mongoc_uri_t *uri = mongoc_uri_new_with_error(text, &e);
    if (uri == NULL) { /* the library's text may quote the address, password and all */
        odto_fail(err, -EINVAL, "the address of the MongoDB server is not one");
        odto_error_hint(err,
                        "MONGO_URL, or the option url: mongodb://user:password@host:port/?authSource=admin "
                        "(a @, : or / in the password is written %%40, %%3A, %%2F)");
        return NULL;
    }
    static const char *const limits[] = {MONGOC_URI_SERVERSELECTIONTIMEOUTMS, MONGOC_URI_CONNECTTIMEOUTMS,
                                         MONGOC_URI_SOCKETTIMEOUTMS};
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++)
        if (!mongoc_uri_has_option(uri, limits[i]))
            mongoc_uri_set_option_as_int32(uri, limits[i], timeout_ms);
    /* our own repetition is safe and knows more */
    if (!mongoc_uri_has_option(uri, MONGOC_URI_RETRYWRITES))
        mongoc_uri_set_option_as_bool(uri, MONGOC_URI_RETRYWRITES, false);
    mongoc_uri_set_appname(uri, "odto");
    return uri;
}

void mg_uri_what(const mongoc_uri_t *uri, char *out, size_t size)
{
    const mongoc_host_list_t *h = mongoc_uri_get_hosts(uri);
    snprintf(out, size, "mongo at %.200s%s", h != NULL ? h->host_and_port : "(SRV record)",
             h != NULL && h->next != NULL ? ", …" : "");
}

int mg_fail(const mg_store *s, const bson_error_t *e, odto_error *err)
{
    bool client = e->domain == MONGOC_ERROR_CLIENT;
    bool login = (client && e->code == MONGOC_ERROR_CLIENT_AUTHENTICATE) || e->code == CODE_AUTH_FAILED;
    odto_fail(err, -EAGAIN, "%s %s", s->what, login ? "refuses the user" : "does not take part");
    odto_error_detail(err, "%.400s", e->message);
    if (login)
        odto_error_hint(err, "check user, password and authSource in MONGO_URL (or the option url)");
    else if (!client && e->code == CODE_UNAUTHORIZED)
        odto_error_hint(err, "the user needs the role readWrite on the database %s", s->database);
    return -EAGAIN;
}

/* ---- the writer's client ---- */

static void append_index(bson_t *list, int n, const char *name, const char *key, const char *second,
                         bool unique)
{
    bson_t index, keys;
    char at[8];
    snprintf(at, sizeof(at), "%d", n);
    bson_append_document_begin(list, at, -1, &index);
    bson_append_document_begin(&index, "key", -1, &keys);
    bson_append_int32(&keys, key, -1, 1);
    if (second != NULL)
        bson_append_int32(&keys, second, -1, -1);
    bson_append_document_end(&index, &keys);
    bson_append_utf8(&index, "name", -1, name, -1);
    if (unique)
        bson_append_bool(&index, "unique", -1, true);
    bson_append_document_end(list, &index);
}

/* One createIndexes; false when the server refused, with *e. */
static bool create_index(mg_store *s, const char *name, const char *key, const char *second, bool unique,
                         bson_error_t *e)
{
    bson_t command = BSON_INITIALIZER, list;
    bson_append_utf8(&command, "createIndexes", -1, s->collection, -1);
    bson_append_array_begin(&command, "indexes", -1, &list);
    append_index(&list, 0, name, key, second, unique);
    bson_append_array_end(&command, &list);
    bool ok = mongoc_client_write_command_with_opts(s->writer, s->database, &command, NULL, NULL, e);
    bson_destroy(&command);
    return ok;
}

static bool server_refused(const bson_error_t *e)
{
    return e->domain == MONGOC_ERROR_SERVER || e->domain == MONGOC_ERROR_QUERY ||
           e->domain == MONGOC_ERROR_COMMAND;
}

/* What the log needs to be quick and each event once. A server that refuses an index (other options, no
 * right, no such feature) is told of once, and works without; *e is set when it does not answer at all. */
static bool create_indexes(mg_store *s, bson_error_t *e)
{
    static const struct {
        const char *name, *key, *second;
    } others[] = {
        {"odto_job", "payload.id", "occurredat"},
        {"odto_time", "occurredat", NULL},
        {"odto_seq", "seq", NULL},
        {"odto_date", "occurredAt", NULL}, /* only what deletes old events asks for it: it costs each write */
    };
    size_t n = sizeof(others) / sizeof(others[0]) - (s->keep_ms > 0 ? 0 : 1);
    s->unique = create_index(s, "odto_event", "eventid", NULL, true, e);
    if (!s->unique && !server_refused(e))
        return false;
    if (!s->unique && !s->warned_index)
        odto_log(
            s->host, ODTO_WARN,
            "%s: no unique index on eventid of %s.%s (%s): events are looked for before they are written",
            s->what, s->database, s->collection, e->message);
    for (size_t i = 0; i < n; i++) {
        if (create_index(s, others[i].name, others[i].key, others[i].second, false, e))
            continue;
        if (!server_refused(e))
            return false;
        if (!s->warned_index)
            odto_log(s->host, ODTO_WARN, "%s: no index %s on %s.%s (%s): reading is slower", s->what,
                     others[i].name, s->database, s->collection, e->message);
    }
    s->warned_index = true;
    return true;
}

static bool ping(mg_store *s, mongoc_client_t *c, bson_error_t *e)
{
    bson_t command = BSON_INITIALIZER;
    bson_append_int32(&command, "ping", -1, 1);
    bool ok = mongoc_client_command_simple(c, s->database, &command, NULL, NULL, e);
    bson_destroy(&command);
    return ok;
}

/* Acknowledged by a majority, and on its disks. */
static void set_concern(mongoc_collection_t *c)
{
    mongoc_write_concern_t *w = mongoc_write_concern_new();
    mongoc_write_concern_set_w(w, MONGOC_WRITE_CONCERN_W_MAJORITY);
    mongoc_write_concern_set_journal(w, true);
    mongoc_collection_set_write_concern(c, w);
    mongoc_write_concern_destroy(w);
}

int mg_queue_connect(void *store, odto_error *err)
{
    mg_store *s = store;
    bson_error_t e = {0};
    mg_queue_disconnect(s);
    s->writer = mongoc_client_new_from_uri(s->uri);
    if (s->writer == NULL)
        return odto_fail(err, -EINVAL, "%s: the address can't be used (TLS that this libmongoc lacks?)",
                         s->what);
    mongoc_client_set_error_api(s->writer, MONGOC_ERROR_API_VERSION_2);
    if (!ping(s, s->writer, &e) || !create_indexes(s, &e)) {
        mg_queue_disconnect(s);
        return mg_fail(s, &e, err);
    }
    s->events = mongoc_client_get_collection(s->writer, s->database, s->collection);
    s->positions = mongoc_client_get_collection(s->writer, s->database, "odto_positions");
    set_concern(s->events);
    return 0;
}

void mg_queue_disconnect(void *store)
{
    mg_store *s = store;
    if (s->events != NULL)
        mongoc_collection_destroy(s->events);
    if (s->positions != NULL)
        mongoc_collection_destroy(s->positions);
    if (s->writer != NULL)
        mongoc_client_destroy(s->writer);
    s->events = s->positions = NULL;
    s->writer = NULL;
}

/* ---- the readers' pool ---- */

mongoc_client_t *mg_reader_take(mg_store *s, odto_error *err)
{
    mongoc_client_t *c = NULL;
    pthread_mutex_lock(&s->pool_lock);
    while (!s->pool_closed && s->n_idle == 0 && s->n_out == MG_READERS)
        pthread_cond_wait(&s->pool_free, &s->pool_lock);
    bool closed = s->pool_closed;
    if (!closed && s->n_idle > 0)
        c = s->idle[--s->n_idle];
    s->n_out += closed ? 0 : 1;
    pthread_mutex_unlock(&s->pool_lock);
    if (closed) {
        odto_fail(err, -ECANCELED, "the store is stopped");
        return NULL;
    }
    if (c == NULL && (c = mongoc_client_new_from_uri(s->uri)) == NULL) {
        odto_fail(err, -EINVAL, "%s: the address can't be used", s->what);
        mg_reader_give(s, NULL, false);
    } else {
        mongoc_client_set_error_api(c, MONGOC_ERROR_API_VERSION_2);
    }
    return c;
}

/* A client that failed is not kept: the next one looks for the server at once, without the library's pause.
 */
void mg_reader_give(mg_store *s, mongoc_client_t *c, bool good)
{
    pthread_mutex_lock(&s->pool_lock);
    s->n_out--;
    bool keep = good && c != NULL && !s->pool_closed;
    if (keep)
        s->idle[s->n_idle++] = c;
    pthread_cond_signal(&s->pool_free);
    pthread_mutex_unlock(&s->pool_lock);
    if (!keep && c != NULL)
        mongoc_client_destroy(c);
}

void mg_readers_close(mg_store *s)
{
    pthread_mutex_lock(&s->pool_lock);
    s->pool_closed = true;
    while (s->n_idle > 0)
        mongoc_client_destroy(s->idle[--s->n_idle]);
    pthread_cond_broadcast(&s->pool_free);
    pthread_mutex_unlock(&s->pool_lock);
}
