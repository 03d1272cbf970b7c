/* conn.c — connections of the postgres store: opening, waiting with a limit, statements, pipelines, errors.
 *
 * Sockets are non-blocking and every wait has an end: the server ends a statement after statement_timeout,
 * and when not even that answer comes (a cut link keeps no promise), the connection is given up a little
 * later. A connection belongs to one thread at a time. */
#include "store_postgres.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_MARGIN (5 * ODTO_SEC)   /* beyond statement_timeout */
#define SLICE_MS      100              /* of waiting while a stop may come */
#define SCHEMA_TIME   (600 * ODTO_SEC) /* a migration of a large table */

/* ---- texts ---- */

void pg_error_text(const pg_store *s, const char *text, char *out, size_t size)
{
    size_t n = 0;
    if (s->password[0] != '\0' && text != NULL && strstr(text, s->password) != NULL)
        text = "an error whose text holds the password";
    for (; text != NULL && *text != '\0' && n + 2 < size; text++) {
        bool blank = *text == '\n' || *text == '\t' || *text == ' ';
        if (blank && (n == 0 || out[n - 1] == ' '))
            continue;
        out[n++] = blank ? ' ' : *text;
    }
    while (n > 0 && out[n - 1] == ' ')
        n--;
    out[n] = '\0';
    if (n == 0)
        snprintf(out, size, "no reason given");
}

static void note(const pg_store *s, pg_conn *c, const char *state, const char *text)
{
    snprintf(c->state, sizeof(c->state), "%s", state != NULL ? state : "");
    pg_error_text(s, text, c->error, sizeof(c->error));
}

/* ---- the URL ---- */

static const char *setting(const PQconninfoOption *o, const char *name)
{
    for (; o->keyword != NULL; o++)
        if (strcmp(o->keyword, name) == 0)
            return o->val != NULL ? o->val : "";
    return "";
}

int pg_parse_url(pg_store *s, const char *url, odto_error *err)
{
    char *why = NULL;
    PQconninfoOption *o = PQconninfoParse(url, &why);
    PQfreemem(why); /* may quote the URL, and with it the password */
    if (o == NULL) {
        odto_fail(err, -EINVAL, "the url of the store is no PostgreSQL connection URL");
        odto_error_hint(err, "postgresql://USER:PASSWORD@HOST:5432/DATABASE?sslmode=verify-full");
        return -EINVAL;
    }
    const char *host = setting(o, "host"), *port = setting(o, "port"), *db = setting(o, "dbname");
    snprintf(s->where, sizeof(s->where), "%s:%s, database %s", host[0] != '\0' ? host : "localhost",
             port[0] != '\0' ? port : "5432", db[0] != '\0' ? db : setting(o, "user"));
    snprintf(s->password, sizeof(s->password), "%s", setting(o, "password"));
    PQconninfoFree(o);
    return 0;
}

/* ---- waiting ---- */

/* Wait for the socket; false at the deadline or when stop became true. */
static bool wait_socket(const pg_conn *c, short events, int64_t deadline_ns, const bool *stop)
{
    for (;;) {
        int64_t left = (deadline_ns - odto_now_ns()) / ODTO_MS;
        if (left <= 0 || (stop != NULL && __atomic_load_n(stop, __ATOMIC_RELAXED)))
            return false;
        if (stop != NULL && left > SLICE_MS)
            left = SLICE_MS;
        struct pollfd p = {.fd = PQsocket(c->c), .events = events};
        int n = poll(&p, 1, (int)left);
        if (n > 0)
            return true;
        if (n < 0 && errno != EINTR)
            return false;
    }
}

/* Send what is buffered and read until an answer is whole; false: the connection is lost. */
static bool wait_answer(const pg_store *s, pg_conn *c, int64_t limit_ns)
{
    int64_t deadline = odto_now_ns() + limit_ns;
    while (c->c != NULL) {
        int flush = PQflush(c->c);
        if (flush < 0 || !PQconsumeInput(c->c)) {
            note(s, c, "", PQerrorMessage(c->c));
            return false;
        }
        if (flush == 0 && !PQisBusy(c->c))
            return true;
        if (!wait_socket(c, flush > 0 ? POLLIN | POLLOUT : POLLIN, deadline, NULL)) {
            note(s, c, "", "the server does not answer");
            return false;
        }
    }
    return false;
}

static int64_t answer_limit(const pg_store *s)
{
    return s->opt.statement_timeout_ns + ANSWER_MARGIN;
}

/* ---- opening ---- */

static bool connect_poll(const pg_store *s, pg_conn *c, const bool *stop)
{
    int64_t deadline = odto_now_ns() + s->opt.connect_timeout_ns;
    PostgresPollingStatusType st = PGRES_POLLING_WRITING;
    while (st != PGRES_POLLING_OK) {
        if (st == PGRES_POLLING_FAILED) {
            note(s, c, "", PQerrorMessage(c->c));
            return false;
        }
        if (!wait_socket(c, st == PGRES_POLLING_READING ? POLLIN : POLLOUT, deadline, stop)) {
            note(s, c, "", "no connection within the time limit");
            return false;
        }
        st = PQconnectPoll(c->c);
    }
    return true;
}

/* What every session of ours has. Nested loops only: the arrays are short and the primary key is there, and a
 * plan that was made while the table was empty must not read a full one from end to end. */
static int set_up(const pg_store *s, pg_conn *c)
{
    char sql[640];
    snprintf(sql, sizeof(sql),
             "SET odto.own = 'on'; SET TimeZone = 'UTC'; SET synchronous_commit = on; SET jit = off; "
             "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; "
             "SET enable_bitmapscan = off; SET enable_material = off; SET plan_cache_mode = "
             "force_generic_plan; "
             "SET statement_timeout = %lld; SET lock_timeout = %lld; "
             "SET idle_in_transaction_session_timeout = 30000; SET client_min_messages = error",
             (long long)(s->opt.statement_timeout_ns / ODTO_MS),
             (long long)(s->opt.statement_timeout_ns / ODTO_MS));
    return pg_simple(s, c, sql);
}

static void ignore_notice(void *arg, const PGresult *r)
{
    (void)arg, (void)r;
}

int pg_connect(const pg_store *s, pg_conn *c, const char *application, const bool *stop)
{
    /* what the URL says comes later in the list and wins */
    const char *const names[] = {"keepalives_idle",      "keepalives_interval",
                                 "keepalives_count",     "tcp_user_timeout",
                                 "connect_timeout",      "fallback_application_name",
                                 "target_session_attrs", "dbname",
                                 "client_encoding",      NULL};
    const char *const values[] = {"15",        "5",          "3",        "20000", "10",
                                  application, "read-write", s->opt.url, "UTF8",  NULL};
    pg_close(c);
    c->c = PQconnectStartParams(names, values, 1);
    if (c->c == NULL)
        return -ENOMEM;
    bool ok = PQstatus(c->c) != CONNECTION_BAD;
    if (!ok)
        note(s, c, "", PQerrorMessage(c->c));
    ok = ok && connect_poll(s, c, stop);
    if (ok) {
        PQsetnonblocking(c->c, 1);
        PQsetNoticeReceiver(c->c, ignore_notice, NULL);
        ok = set_up(s, c) == 0;
    }
    if (!ok)
        pg_close(c);
    return ok ? 0 : -EAGAIN;
}

void pg_close(pg_conn *c)
{
    if (c->c != NULL)
        PQfinish(c->c);
    c->c = NULL;
    memset(c->prepared, 0, sizeof(c->prepared));
}

bool pg_alive(pg_conn *c)
{
    if (c->c == NULL)
        return false;
    struct pollfd p = {.fd = PQsocket(c->c), .events = POLLIN};
    if (poll(&p, 1, 0) == 0)
        return PQstatus(c->c) == CONNECTION_OK;
    bool ok = PQconsumeInput(c->c) && PQstatus(c->c) == CONNECTION_OK;
    p.revents = 0;
    return ok && (poll(&p, 1, 0) == 0 || !(p.revents & (POLLHUP | POLLERR)));
}

/* ---- failures ---- */

static bool starts(const char *state, const char *with)
{
    return strncmp(state, with, strlen(with)) == 0;
}

static int meaning(const char *state)
{
    if (starts(state, "40"))
        return -EDEADLK;
    if (starts(state, "22") || starts(state, "23") || starts(state, "54"))
        return -EINVAL;
    if (strcmp(state, "53100") == 0)
        return -ENOSPC;
    if (starts(state, "53") || starts(state, "55") || starts(state, "57") || starts(state, "08") ||
        strcmp(state, "25006") == 0 || state[0] == '\0')
        return -EAGAIN;
    return -EIO; /* rights, a table that is gone, a bug */
}

int pg_note_failure(const pg_store *s, pg_conn *c, const PGresult *r)
{
    const char *state = r != NULL ? PQresultErrorField(r, PG_DIAG_SQLSTATE) : NULL;
    const char *text = r != NULL ? PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY) : NULL;
    if (text == NULL)
        text = r != NULL ? PQresultErrorMessage(r) : PQerrorMessage(c->c);
    note(s, c, state, text);
    return meaning(c->state);
}

/* ---- statements ---- */

/* The result of the one statement that was sent outside of a pipeline. */
static PGresult *only_result(const pg_store *s, pg_conn *c, int64_t limit_ns, int *code)
{
    PGresult *r = NULL, *more = NULL;
    *code = 0;
    for (;;) {
        if (!wait_answer(s, c, limit_ns)) {
            PQclear(r);
            pg_close(c);
            *code = -EAGAIN;
            return NULL;
        }
        more = PQgetResult(c->c);
        if (more == NULL)
            break;
        bool good = PQresultStatus(more) == PGRES_TUPLES_OK || PQresultStatus(more) == PGRES_COMMAND_OK;
        if (!good && *code == 0)
            *code = pg_note_failure(s, c, more);
        PQclear(r);
        r = more;
    }
    if (*code != 0) {
        PQclear(r);
        r = NULL;
        if (c->state[0] == '\0' || starts(c->state, "57P") || PQstatus(c->c) != CONNECTION_OK)
            pg_close(c);
    }
    return r;
}

static int simple(const pg_store *s, pg_conn *c, const char *sql, int64_t limit_ns)
{
    int code = 0;
    if (c->c == NULL || !PQsendQuery(c->c, sql)) {
        note(s, c, "", c->c != NULL ? PQerrorMessage(c->c) : "not connected");
        pg_close(c);
        return -EAGAIN;
    }
    PQclear(only_result(s, c, limit_ns, &code));
    return code;
}

int pg_simple(const pg_store *s, pg_conn *c, const char *sql)
{
    return simple(s, c, sql, answer_limit(s));
}

int pg_schema(const pg_store *s, pg_conn *c, const char *sql)
{
    return simple(s, c, sql, SCHEMA_TIME);
}

typedef struct wire { /* parameters as libpq takes them */
    const char *values[PG_MAX_ARGS];
    int lengths[PG_MAX_ARGS], formats[PG_MAX_ARGS];
    Oid types[PG_MAX_ARGS];
} wire;

static void statement_name(pg_sql which, char out[16])
{
    snprintf(out, 16, "s%d", (int)which);
}

/* Prepare the statement, if the connection has not yet; outside of a pipeline. */
static int prepare(const pg_store *s, pg_conn *c, pg_sql which, const wire *w, int n)
{
    char name[16];
    int code = 0;
    if (c->prepared[which])
        return 0;
    statement_name(which, name);
    if (!PQsendPrepare(c->c, name, pg_sql_text[which], n, w->types)) {
        note(s, c, "", PQerrorMessage(c->c));
        return -EAGAIN;
    }
    PQclear(only_result(s, c, answer_limit(s), &code));
    c->prepared[which] = code == 0;
    return code;
}

static int send_prepared(pg_conn *c, pg_sql which, const wire *w, int n)
{
    char name[16];
    statement_name(which, name);
    return PQsendQueryPrepared(c->c, name, n, w->values, w->lengths, w->formats, 1) ? 0 : -EAGAIN;
}

int pg_prepare(const pg_store *s, pg_conn *c, pg_sql which, pg_args *args)
{
    wire w;
    if (c->c == NULL)
        return -EAGAIN;
    if (args->failed)
        return -ENOMEM;
    pg_args_end(args, w.values, w.lengths, w.formats, w.types);
    return prepare(s, c, which, &w, args->n);
}

int pg_send(pg_conn *c, pg_sql which, pg_args *args)
{
    wire w;
    if (args->failed)
        return -ENOMEM;
    pg_args_end(args, w.values, w.lengths, w.formats, w.types);
    return send_prepared(c, which, &w, args->n);
}

PGresult *pg_one(const pg_store *s, pg_conn *c, pg_sql which, pg_args *args, int *code)
{
    *code = pg_prepare(s, c, which, args);
    if (*code != 0)
        return NULL;
    *code = pg_send(c, which, args);
    if (*code != 0) {
        note(s, c, "", PQerrorMessage(c->c));
        pg_close(c);
        return NULL;
    }
    return only_result(s, c, answer_limit(s), code);
}

PGresult *pg_query(const pg_store *s, pg_conn *c, const char *sql, pg_args *args, int *code)
{
    wire w;
    *code = args->failed ? -ENOMEM : -EAGAIN;
    if (args->failed || c->c == NULL)
        return NULL;
    pg_args_end(args, w.values, w.lengths, w.formats, w.types);
    if (!PQsendQueryParams(c->c, sql, args->n, w.types, w.values, w.lengths, w.formats, 1)) {
        note(s, c, "", PQerrorMessage(c->c));
        pg_close(c);
        return NULL;
    }
    return only_result(s, c, answer_limit(s), code);
}

/* ---- pipelines ---- */

int pg_sync(const pg_store *s, pg_conn *c)
{
    if (PQpipelineSync(c->c))
        return 0;
    note(s, c, "", PQerrorMessage(c->c));
    return -EAGAIN;
}

PGresult *pg_answer(const pg_store *s, pg_conn *c)
{
    PGresult *r = NULL;
    do { /* NULL stands between the answers of two statements */
        if (!wait_answer(s, c, answer_limit(s)))
            return NULL;
        r = PQgetResult(c->c);
    } while (r == NULL && PQstatus(c->c) == CONNECTION_OK);
    if (r == NULL)
        note(s, c, "", PQerrorMessage(c->c));
    return r;
}
