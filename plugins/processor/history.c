/* history.c — reads that block, on a thread of their own, so that the scheduler never waits for a store.
 *
 * Earlier attempts for dead letters, the store's figures where reading them may block, and at start, or
 * now and then where a store is shared, the types of waiting rows (a row whose type nobody handles any more
 * is answered like a new one of it). The thread is asked from the host when there is first something to read.
 * Lock: history.lock. */
#include "processor.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ATTEMPTS_KEPT 20
#define ROWS_SCANNED  10000

struct history {
    mail mail; /* MAIL_TYPES */
    processor *p;
    pthread_mutex_t lock;
    pthread_cond_t work;
    item *first, *last; /* linked by history_mail.next */
    bool running, stop, refresh, scan;
    odto_jobs_stats stats;
    bool known; /* stats were read */
    char *types[UNKNOWN_NAMES];
    size_t n_types;
};

static item *of_mail(mail *m)
{
    return m ? (item *)(void *)((char *)m - offsetof(item, history_mail)) : NULL;
}

int history_new(processor *p)
{
    history *h = calloc(1, sizeof *h);
    if (!h)
        return -ENOMEM;
    h->p = p;
    h->mail.kind = MAIL_TYPES;
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->work, NULL);
    p->history = h;
    return 0;
}

void history_free(processor *p)
{
    history *h = p->history;
    if (!h)
        return;
    for (size_t i = 0; i < h->n_types; i++)
        free(h->types[i]);
    pthread_cond_destroy(&h->work);
    pthread_mutex_destroy(&h->lock);
    free(h);
    p->history = NULL;
}

/* ---- what is read ---- */

typedef struct reading {
    odto_buf *out;
    uint32_t before, seen; /* only attempts before this one */
} reading;

static bool add_attempt(void *arg, const odto_attempt *a)
{
    reading *r = arg;
    odto_buf *b = r->out;
    char from[25], to[25];
    if (a->number >= r->before)
        return true;
    odto_time_format(a->started_at, from);
    odto_time_format(a->finished_at, to);
    odto_buf_printf(
        b, "%s{\"number\":%u,\"outcome\":\"%s\",\"startedAt\":\"%s\",\"finishedAt\":\"%s\",\"error\":",
        r->seen++ ? "," : "", a->number, odto_outcome_name(a->outcome), from, to);
    odto_buf_json(b, a->error);
    odto_buf_str(b, "}");
    return r->seen < ATTEMPTS_KEPT;
}

static void read_attempts(processor *p, item *it)
{
    odto_error err = {0};
    reading r = {.out = &it->history, .before = it->job.attempt};
    odto_buf_clear(&it->history);
    int e = p->jobs->attempts(p->store.self, &it->job.id, add_attempt, &r, &err);
    if (e == 0 && !it->history.failed)
        return;
    odto_buf_clear(&it->history); /* the letter then tells of the last attempt only */
    it->history.failed = false;
    odto_log_for(p->host, ODTO_WARN, &it->job.correlation_id, "attempts of a job can't be read: %s",
                 err.message);
}

static bool note_type(void *arg, const odto_job *row)
{
    history *h = arg;
    if (type_of(h->p, row->type))
        return true;
    for (size_t i = 0; i < h->n_types; i++)
        if (odto_slice_eq(row->type, h->types[i]))
            return true;
    char *name = odto_slice_dup(row->type);
    if (name)
        h->types[h->n_types++] = name;
    return h->n_types < UNKNOWN_NAMES;
}

static void scan_types(history *h)
{
    processor *p = h->p;
    odto_error err = {0};
    const int states[] = {ODTO_EXECUTING, ODTO_PENDING};
    for (size_t i = 0; i < 2 && h->n_types < UNKNOWN_NAMES; i++) {
        odto_jobs_query q = {.status = states[i], .limit = ROWS_SCANNED};
        if (p->jobs->list(p->store.self, &q, note_type, h, NULL, &err) < 0)
            odto_log(p->host, ODTO_WARN, "types of waiting jobs can't be read: %s", err.message);
    }
    mailbox_push(&p->box, &h->mail, &h->mail);
}

static void read_stats(history *h)
{
    odto_error err = {0};
    odto_jobs_stats s;
    bool ok = h->p->jobs->stats(h->p->store.self, &s, &err) == 0;
    pthread_mutex_lock(&h->lock);
    if (ok)
        h->stats = s;
    h->known = ok;
    pthread_mutex_unlock(&h->lock);
}

/* ---- the thread ---- */

static bool wait_for_work(history *h, item **it, bool *refresh, bool *scan)
{
    pthread_mutex_lock(&h->lock);
    while (!h->first && !h->refresh && !h->scan && !h->stop)
        pthread_cond_wait(&h->work, &h->lock);
    *it = h->first;
    if (*it)
        h->first = of_mail((*it)->history_mail.next);
    *refresh = h->refresh;
    *scan = h->scan;
    h->refresh = h->scan = false;
    bool go = *it || *refresh || *scan;
    pthread_mutex_unlock(&h->lock);
    return go;
}

static void history_main(void *arg)
{
    history *h = arg;
    processor *p = h->p;
    item *it;
    bool refresh, scan;
    while (wait_for_work(h, &it, &refresh, &scan)) {
        if (it) {
            read_attempts(p, it);
            it->history_mail.kind = MAIL_HISTORY;
            mailbox_push(&p->box, &it->history_mail, &it->history_mail);
        }
        if (refresh)
            read_stats(h);
        if (scan)
            scan_types(h);
    }
}

/* Called with the lock; false when there is no thread and none to be had. */
static bool rouse(history *h)
{
    odto_host *host = h->p->host;
    odto_thread *t;
    if (!h->running)
        h->running = host->api->thread_start(host, "history", history_main, h, &t) == 0;
    pthread_cond_signal(&h->work);
    return h->running;
}

void history_read(processor *p, item *it)
{
    history *h = p->history;
    it->history_mail.next = NULL;
    pthread_mutex_lock(&h->lock);
    if (h->first)
        h->last->history_mail.next = &it->history_mail;
    else
        h->first = it;
    h->last = it;
    bool ok = rouse(h);
    if (!ok)
        h->first = NULL; /* only this one: without a thread none was ever kept */
    pthread_mutex_unlock(&h->lock);
    if (!ok) {
        it->history_mail.kind = MAIL_HISTORY;
        mailbox_push(&p->box, &it->history_mail, &it->history_mail);
    }
}

void history_refresh(processor *p)
{
    history *h = p->history;
    if (p->store.iface->flags & ODTO_STORE_FAST_STATS)
        return;
    pthread_mutex_lock(&h->lock);
    h->refresh = rouse(h);
    pthread_mutex_unlock(&h->lock);
}

void history_scan(processor *p)
{
    history *h = p->history;
    if (p->scanning) /* until its answer is read, the list belongs to the other thread */
        return;
    pthread_mutex_lock(&h->lock);
    p->scanning = h->scan = rouse(h);
    pthread_mutex_unlock(&h->lock);
}

void history_types(processor *p)
{
    history *h = p->history;
    p->scanning = false;
    for (size_t i = 0; i < h->n_types; i++)
        lifecycle_learn(p, odto_slice_str(h->types[i]));
    if (p->unknown_pool)
        lifecycle_backlog(p->unknown_pool, 0);
}

bool stats_now(processor *p, odto_jobs_stats *out)
{
    history *h = p->history;
    if (p->store.iface->flags & ODTO_STORE_FAST_STATS)
        return p->jobs->stats(p->store.self, out, NULL) == 0;
    pthread_mutex_lock(&h->lock);
    *out = h->stats;
    bool known = h->known;
    pthread_mutex_unlock(&h->lock);
    return known;
}

void history_stop(processor *p)
{
    history *h = p->history;
    pthread_mutex_lock(&h->lock);
    h->stop = true;
    pthread_cond_signal(&h->work);
    pthread_mutex_unlock(&h->lock);
}
