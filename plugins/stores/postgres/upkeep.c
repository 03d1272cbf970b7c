/* upkeep.c — what the writer does between groups: finished jobs older than keep_jobs go, a little at a time,
 * and counts of what other services did to the table are folded into ours.
 *
 * A pass walks the jobs from the oldest and ends at the first stretch without anything to delete; the next
 * one begins a minute later. One host at a time does it (an advisory lock in the statement). */
#include "store_postgres.h"

#include <errno.h>
#include <string.h>

#define BITE       512
#define PASS_EVERY (60 * ODTO_SEC)
#define FOLD_EVERY (10 * ODTO_SEC)

int64_t pg_upkeep_wait_ns(const pg_store *s)
{
    int64_t now = s->host->api->now(s->host), at = s->upkeep_ns;
    if (s->opt.keep_jobs_ms > 0 && s->retaining)
        return 0;
    if (s->opt.keep_jobs_ms > 0 && s->retain_ns < at)
        at = s->retain_ns;
    return at > now ? at - now : 0;
}

static int fold(pg_store *s)
{
    int code = 0;
    pg_args_begin(&s->args);
    pg_int(&s->args, s->slot);
    PQclear(pg_one(s, &s->w, PG_FOLD, &s->args, &code));
    return code;
}

static int bite(pg_store *s)
{
    int code = 0;
    if (!s->retaining) {
        s->retain_at_us = INT64_C(-62167219200000000); /* year 0 */
        memset(&s->retain_id, 0, sizeof(s->retain_id));
    }
    pg_args_begin(&s->args);
    pg_time_us(&s->args, s->retain_at_us);
    pg_uuid(&s->args, &s->retain_id);
    pg_int(&s->args, BITE);
    pg_int(&s->args, s->host->api->unix_ms(s->host) - s->opt.keep_jobs_ms);
    pg_int(&s->args, s->slot);
    PGresult *r = pg_one(s, &s->w, PG_RETAIN, &s->args, &code);
    if (r == NULL)
        return code;
    bool deleted = pg_get_int(r, 0, 1) > 0;
    if (deleted) {
        s->retain_at_us = pg_get_time_us(r, 0, 2);
        s->retain_id = pg_get_uuid(r, 0, 3);
    }
    PQclear(r);
    s->retaining = deleted;
    if (!deleted)
        s->retain_ns = s->host->api->now(s->host) + PASS_EVERY;
    return 0;
}

int pg_upkeep(pg_store *s)
{
    int code = 0;
    int64_t now = s->host->api->now(s->host);
    if (now >= s->upkeep_ns) {
        s->upkeep_ns = now + FOLD_EVERY;
        code = fold(s);
    }
    if (code == 0 && s->opt.keep_jobs_ms > 0 && (s->retaining || now >= s->retain_ns))
        code = bite(s);
    return code;
}
