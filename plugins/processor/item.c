/* item.c — one job in hand: filled from an event or from a row, and the functions of its odto_run.
 *
 * item_read runs on the consumer thread, item_load on the scheduler, finish/progress/should_stop on whatever
 * thread the handler has. An item belongs to one side at a time; it changes hands by mail. */
#include "processor.h"
#include <odto/json.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* ---- from an event ---- */

/* The text of a JSON string literal: inside the literal where it has no escapes, else resolved into it->text.
 */
static int plain(item *it, odto_slice literal, odto_slice *out)
{
    if (literal.n < 2)
        return -EINVAL;
    *out = odto_slice_of(literal.p + 1, literal.n - 2);
    if (!memchr(out->p, '\\', out->n))
        return 0;
    size_t at = it->text.n;
    int r = odto_json_unquote(literal, &it->text);
    if (r == 0)
        *out = odto_slice_of(it->text.p + at, it->text.n - at);
    return r;
}

/* An unknown type has no name of its own among ours. */
static const char *own_name(item *it)
{
    size_t at = it->text.n;
    it->type = &it->p->other;
    odto_buf_put(&it->text, it->job.type.p, it->job.type.n);
    odto_buf_put(&it->text, "", 1);
    return it->text.failed ? NULL : it->text.p + at;
}

/* "redrive": true at the top of the envelope: a person sends a dead letter again. */
static bool wants_redrive(odto_slice body)
{
    odto_slice v;
    return memmem(body.p, body.n, "\"redrive\"", 9) && odto_json_member(body, "redrive", &v) &&
           odto_slice_eq(v, "true");
}

int item_read(item *it, odto_event *ev, char *why, size_t why_size)
{
    const odto_header *h = &it->hdr;
    odto_job *j = &it->job;
    it->event = ev;
    if (h->type != ODTO_JOB_CREATED) {
        snprintf(why, why_size,
                 "event-envelope.json: /eventType must be equal to constant \"job.created\" on %s",
                 TOPIC_CREATED);
        return -EPROTO;
    }
    if (job_options_parse(h->options_json, &it->options, why, why_size) < 0)
        return -EINVAL;
    /* at once for all that may come to lie there: the slices must not move */
    if (!odto_buf_reserve(&it->text, 2 * h->job_type_json.n + h->idempotency_key_json.n + 8))
        return -ENOMEM;
    int r = plain(it, h->job_type_json, &j->type);
    if (r == 0)
        r = plain(it, h->idempotency_key_json, &j->idempotency_key);
    if (r < 0) {
        snprintf(why, why_size, "job.json: /payload/type must be string");
        return r;
    }
    it->type = type_of(it->p, j->type);
    if (it->type)
        it->type_name = it->type->name;
    else if (!(it->type_name = own_name(it)))
        return -ENOMEM;
    j->id = h->job_id;
    j->event_id = h->event_id;
    j->correlation_id = h->correlation_id;
    j->job_json = h->job_json;
    j->payload = h->payload_json.n ? h->payload_json : odto_slice_str("{}");
    j->traceparent = h->traceparent;
    j->priority = it->options.priority;
    j->created_at = h->created_at_ms;
    j->expires_at = it->options.expires_at;
    j->redrive = wants_redrive(ev->body);
    return 0;
}

/* ---- from a row ---- */

static odto_slice copy(odto_buf *b, odto_slice s)
{
    size_t at = b->n;
    odto_buf_put(b, s.p, s.n);
    return odto_slice_of(b->p + at, s.n);
}

int item_load(item *it, const odto_job *row)
{
    char why[128];
    odto_slice options;
    odto_buf *b = &it->text;
    odto_buf_clear(b);
    /* one reservation: the slices must not move; a key's escapes may take six bytes for one */
    size_t need = row->job_json.n + row->payload.n + row->traceparent.n + row->type.n +
                  7 * row->idempotency_key.n + row->error.n + 64;
    if (!odto_buf_reserve(b, need))
        return -ENOMEM;
    it->job = *row;
    odto_job *j = &it->job;
    j->job_json = copy(b, row->job_json);
    uintptr_t whole = (uintptr_t)row->job_json.p, part = (uintptr_t)row->payload.p;
    if (row->payload.n && part >= whole && part + row->payload.n <= whole + row->job_json.n)
        j->payload.p = j->job_json.p + (part - whole); /* it is a part of the job's text */
    else
        j->payload = copy(b, row->payload.n ? row->payload : odto_slice_str("{}"));
    j->traceparent = copy(b, row->traceparent);
    j->type = copy(b, row->type);
    odto_buf_put(b, "", 1);
    it->type_name = j->type.p;
    j->error = copy(b, row->error);
    j->result = odto_slice_of(NULL, 0);
    j->idempotency_key = copy(b, row->idempotency_key);
    size_t at = b->n;
    odto_buf_json(b, j->idempotency_key);
    it->hdr = (odto_header){
        .type = ODTO_JOB_CREATED,
        .event_id = row->event_id,
        .correlation_id = row->correlation_id,
        .job_id = row->id,
        .occurred_at_ms = row->accepted_at,
        .created_at_ms = row->created_at,
        .job_json = j->job_json,
        .idempotency_key_json = odto_slice_of(b->p + at, b->n - at),
        .traceparent = j->traceparent,
    };
    bool has = memmem(j->job_json.p, j->job_json.n, "\"options\"", 9) &&
               odto_json_member(j->job_json, "options", &options);
    /* a row that another version accepted with values we would refuse still runs, with defaults */
    if (!has || job_options_parse(options, &it->options, why, sizeof why) < 0)
        job_options_parse(odto_slice_of(NULL, 0), &it->options, why, sizeof why);
    return b->failed ? -ENOMEM : 0;
}

/* ---- the run ---- */

/* The end of s, at most max bytes, beginning at a character (logs), or its beginning (errors, results). */
static odto_slice cut(odto_slice s, size_t max, bool tail)
{
    if (s.n <= max)
        return s;
    if (tail) {
        const char *p = s.p + (s.n - max);
        while (p < s.p + s.n && ((unsigned char)*p & 0xc0) == 0x80)
            p++;
        return odto_slice_of(p, (size_t)(s.p + s.n - p));
    }
    size_t n = max;
    while (n && ((unsigned char)s.p[n] & 0xc0) == 0x80)
        n--;
    return odto_slice_of(s.p, n);
}

/* What is kept is text: bytes of programs that are none become '?'. */
static void clean(char *p, size_t n)
{
    bool utf8 = odto_utf8_valid(odto_slice_of(p, n));
    if (utf8 && !memchr(p, '\0', n))
        return;
    for (size_t i = 0; i < n; i++)
        if (p[i] == '\0' || (!utf8 && (unsigned char)p[i] >= 0x80))
            p[i] = '?';
}

static void keep_text(odto_buf *b, odto_slice s)
{
    size_t at = b->n;
    if (s.n && odto_buf_put(b, s.p, s.n))
        clean(b->p + at, s.n);
}

static void keep(item *it, const odto_run_result *r)
{
    odto_slice result = cut(r->result, it->p->max_result, false), error = cut(r->error, MAX_ERROR, false),
               log = cut(r->log, MAX_LOG, true);
    odto_buf_clear(&it->said);
    it->said.failed = false;
    it->end = r->end;
    it->delay_ns = r->delay_ns;
    it->n_result = (uint32_t)result.n;
    it->n_error = (uint32_t)error.n;
    it->n_log = (uint32_t)log.n;
    if (!odto_buf_reserve(&it->said, result.n + error.n + log.n + 1)) {
        it->n_result = it->n_error = it->n_log = 0; /* without memory the verdict still counts */
        return;
    }
    keep_text(&it->said, result);
    keep_text(&it->said, error);
    keep_text(&it->said, log);
    if (result.n < r->result.n)
        odto_log_for(it->p->host, ODTO_WARN, &it->job.correlation_id,
                     "result of a %s job cut from %zu to %zu bytes (max_result)", it->type->name, r->result.n,
                     result.n);
}

odto_slice item_result(const item *it)
{
    return odto_slice_of(it->said.p, it->n_result);
}
odto_slice item_error(const item *it)
{
    return odto_slice_of(it->said.p ? it->said.p + it->n_result : NULL, it->n_error);
}
odto_slice item_log(const item *it)
{
    return odto_slice_of(it->said.p ? it->said.p + it->n_result + it->n_error : NULL, it->n_log);
}

void item_say(item *it, odto_run_end end, const char *error)
{
    odto_run_result r = {.end = end, .error = odto_slice_str(error)};
    keep(it, &r);
}

static item *of_run(const odto_run *run)
{
    item *it = (item *)(void *)(uintptr_t)run;
    return it->magic == ITEM_MAGIC ? it : NULL;
}

/* Any thread. An end given twice is the handler's bug: the first counts. */
static void run_finish(odto_run *run, const odto_run_result *r)
{
    item *it = of_run(run);
    uint32_t was = RUN_WITH_HANDLER;
    if (!it)
        return;
    processor *p = it->p;
    if (atomic_compare_exchange_strong(&it->ended, &was, RUN_ENDED)) {
        it->ended_ns = p->host->api->now(p->host);
        it->ended_ms = it->began_ms + (it->ended_ns - it->began_ns) / ODTO_MS;
        keep(it, r);
    } else if (was != RUN_GIVEN_UP || !atomic_compare_exchange_strong(&it->ended, &was, RUN_CAME_LATE)) {
        return;
    }
    it->mail.kind = MAIL_ENDED;
    if (!pthread_equal(pthread_self(), p->self)) {
        mailbox_push(&p->box, &it->mail, &it->mail);
        return;
    }
    it->mail.next = NULL; /* from within start(): the scheduler looks when it returned */
    *p->ended_tail = &it->mail;
    p->ended_tail = &it->mail.next;
}

static void run_progress(odto_run *run, double fraction, odto_slice note)
{
    item *it = of_run(run);
    if (it && it->type_name)
        odto_log_for(it->p->host, ODTO_DEBUG, &it->job.correlation_id, "%s job: progress %.0f%% %.*s",
                     it->type_name, fraction * 100, (int)(note.n > 256 ? 256 : note.n), note.p ? note.p : "");
}

static bool run_should_stop(const odto_run *run)
{
    const item *it = of_run(run);
    if (!it)
        return true;
    /* relaxed: a hint that carries no data */
    return atomic_load_explicit(&it->stop, memory_order_relaxed) ||
           (run->deadline_ns && it->p->host->api->now(it->p->host) >= run->deadline_ns);
}

/* A handler that finishes a run twice may do so when the item is already given back: that must not matter. */
void item_idle(item *it)
{
    it->run.finish = run_finish;
    it->run.progress = run_progress;
    it->run.should_stop = run_should_stop;
    atomic_store(&it->ended, RUN_ENDED);
}

void item_prepare_run(item *it)
{
    pool *pl = it->pool;
    processor *p = it->p;
    int64_t timeout = it->options.timeout_ns ? it->options.timeout_ns : pl->timeout_ns;
    atomic_store(&it->ended, RUN_WITH_HANDLER);
    it->began_ns = p->now_ns;
    it->began_ms = p->now_ms;
    it->run = (odto_run){
        .job = &it->job,
        .deadline_ns = timeout ? p->now_ns + timeout : 0,
        .type = it->type_name,
        .owner = it,
        .finish = run_finish,
        .progress = run_progress,
        .should_stop = run_should_stop,
    };
}
