/* net — see net.h. */
#include "net.h"

#include "parse.h"
#include "text.h"

#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define MOST_JOBS 500 /* GET /jobs of our read model */
#define BODY_MAX  (32u << 20)

/* What a request is for: the sources, then the others. */
enum {
    RQ_PROM = SRC_COUNT, /* pending alerts from Prometheus */
    RQ_JOB,
    RQ_EVENTS,
    RQ_SUBMIT,
    RQ_COUNT
};

typedef struct request {
    CURL *easy;
    struct curl_slist *headers;
    odto_buf body;
    char error[CURL_ERROR_SIZE];
    bool busy;
    bool tried;
    uint64_t hash;  /* of the last good body */
    int64_t at_ns;  /* when the last good body came */
    uint64_t token; /* detail requests: which detail they belong to */
    char *post;     /* owned body of a POST */
} request;

struct net {
    pthread_t thread;
    pthread_mutex_t mu;
    CURLM *multi;
    int event_fd;
    net_config cfg;
    char gateway[160], read[160], prom[160];
    /* under mu */
    snapshot *published;
    bool stop, refresh, detail_changed, submit_wanted, submit_reset;
    char detail_id[40];
    char *submit_type, *submit_payload;
    /* worker only */
    snapshot *cur;
    request rq[RQ_COUNT];
    bool dirty;
    bool recent_only; /* this read model has no GET /jobs */
    int64_t next_round_ns, last_stats_ns, last_total;
    double last_accepted;
    job_detail *draft; /* being put together by RQ_JOB and RQ_EVENTS */
    int draft_left;
    uint64_t detail_token;
    char watched[40];
    alert_list *from_manager, *from_prom;
    char last_id[40];         /* job id of the last submission that has no good answer */
    uint64_t last_submission; /* hash of its content */
};

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
    request *r = arg;
    return odto_buf_put(&r->body, p, size * n) ? size * n : 0;
}

static CURL *new_easy(net *n, request *r)
{
    CURL *e = curl_easy_init();
    if (!e) {
        return NULL;
    }
    r->body.max = BODY_MAX;
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_PRIVATE, r);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, r);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, r->error);
    curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)n->cfg.timeout_ms);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)n->cfg.timeout_ms);
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_PROXY, ""); /* services of the system, not the internet */
    curl_easy_setopt(e, CURLOPT_USERAGENT, "odto-dashboard/" PACKAGE_VERSION);
    curl_easy_setopt(e, CURLOPT_ACCEPT_ENCODING, "");
    curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
    return e;
}

static void begin(net *n, int id, const char *base, const char *path)
{
    request *r = &n->rq[id];
    if (r->busy) {
        return;
    }
    if (!r->easy && !(r->easy = new_easy(n, r))) {
        return;
    }
    char url[512];
    snprintf(url, sizeof url, "%s%s", base, path);
    curl_easy_setopt(r->easy, CURLOPT_URL, url);
    odto_buf_clear(&r->body);
    r->body.failed = false;
    r->error[0] = '\0';
    r->busy = curl_multi_add_handle(n->multi, r->easy) == CURLM_OK;
}

static void begin_detail(net *n)
{
    char path[160];
    if (n->rq[RQ_JOB].busy || n->rq[RQ_EVENTS].busy) {
        return;
    }
    free(n->draft);
    n->draft = calloc(1, sizeof *n->draft);
    if (!n->draft) {
        return;
    }
    atomic_init(&n->draft->refs, 1);
    n->draft_left = 2;
    snprintf(n->draft->job.id, sizeof n->draft->job.id, "%s", n->watched);
    n->rq[RQ_JOB].token = n->rq[RQ_EVENTS].token = n->detail_token;
    char *id = curl_easy_escape(NULL, n->watched, 0);
    snprintf(path, sizeof path, "/jobs/%s", id ? id : "");
    begin(n, RQ_JOB, n->read, path);
    snprintf(path, sizeof path, "/events?jobId=%s&limit=%d", id ? id : "", DETAIL_EVENTS);
    begin(n, RQ_EVENTS, n->read, path);
    curl_free(id);
}

/* GET /jobs tells times and attempts; a read model without it has at least GET /jobs/recent. */
static void begin_jobs(net *n)
{
    char path[80];
    snprintf(path, sizeof path, n->recent_only ? "/jobs/recent?limit=%d" : "/jobs?limit=%d",
             n->cfg.jobs_limit);
    begin(n, SRC_JOBS, n->read, path);
}

static void begin_round(net *n)
{
    begin(n, SRC_GATEWAY, n->gateway, "/healthz");
    begin(n, SRC_READ, n->read, "/health");
    begin(n, SRC_STATS, n->read, "/stats");
    begin_jobs(n);
    begin(n, SRC_ALERTS, n->gateway, "/proxy/alerts");
    begin(n, SRC_HOST, n->gateway, "/metrics");
    if (n->prom[0]) {
        begin(n, RQ_PROM, n->prom, "/api/v1/alerts");
    }
    if (n->watched[0]) {
        begin_detail(n);
    }
}

/* ---- answers ------------------------------------------------------------------------------- */

/* "localhost:3000" of a URL. */
static void host_of(const char *url, char *out, size_t size)
{
    const char *p = url ? strstr(url, "://") : NULL;
    text_clean(out, size, p ? p + 3 : "");
    out[strcspn(out, "/")] = '\0';
}

static void transport_error(const net *n, const request *r, CURLcode rc, char *why, size_t size)
{
    char *url = NULL, host[96], text[160];
    curl_easy_getinfo(r->easy, CURLINFO_EFFECTIVE_URL, &url);
    host_of(url, host, sizeof host);
    switch (rc) {
    case CURLE_OPERATION_TIMEDOUT:
        snprintf(why, size, "timeout: no answer within %d s", (n->cfg.timeout_ms + 500) / 1000);
        break;
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST:
        snprintf(why, size, "cannot connect to %s", host);
        break;
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_GOT_NOTHING:
        snprintf(why, size, "the connection to %s was cut", host);
        break;
    default:
        text_clean(text, sizeof text, r->error[0] ? r->error : curl_easy_strerror(rc));
        snprintf(why, size, "%s", text);
        break;
    }
}

/* Why a request failed, in words that say what to do; true when it succeeded with a 2xx. */
static bool outcome(net *n, request *r, CURLcode rc, char *why, size_t size)
{
    long code = 0;
    char text[160];
    why[0] = '\0';
    curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &code);
    if (rc != CURLE_OK) {
        transport_error(n, r, rc, why, size);
        return false;
    }
    if (code < 200 || code > 299) {
        parse_error_body(odto_slice_of(r->body.p, r->body.n), text, sizeof text);
        snprintf(why, size, text[0] ? "HTTP %ld: %s" : "HTTP %ld", code, text);
        return false;
    }
    return true;
}

static void source_ok(net *n, source_id id, request *r)
{
    source *s = &n->cur->src[id];
    curl_off_t us = 0;
    curl_easy_getinfo(r->easy, CURLINFO_TOTAL_TIME_T, &us);
    /* tens of ms: a figure that trembles would redraw the screen for nothing */
    s->latency_ms = (int)((us / 1000 + 5) / 10 * 10);
    s->ok_ms = odto_unix_ms();
    s->failures = 0;
    s->error[0] = '\0';
}

static void source_failed(net *n, source_id id, const char *why)
{
    source *s = &n->cur->src[id];
    s->failures++;
    snprintf(s->error, sizeof s->error, "%.150s", why);
}

static void take_stats(net *n, odto_slice body, odto_error *err)
{
    stats st;
    if (parse_stats(body, &st, err)) {
        return;
    }
    int64_t now = odto_now_ns(), total = st.total;
    if (n->last_stats_ns && total >= n->last_total) {
        double seconds = (double)(now - n->last_stats_ns) / 1e9;
        series_push(&n->cur->finished, seconds > 0 ? (float)((double)(total - n->last_total) / seconds) : 0);
    }
    n->last_stats_ns = now;
    n->last_total = total;
    n->cur->stats = st;
}

static void take_jobs(net *n, request *r, odto_slice body, odto_error *err)
{
    uint64_t hash = odto_hash64(body.p, body.n);
    job_list *l = NULL;
    if (n->cur->jobs && hash == r->hash) {
        return;
    }
    if (!parse_jobs(body, &l, err)) {
        r->hash = hash;
        snapshot_set_jobs(n->cur, l);
    }
}

static void take_host(net *n, request *r, odto_slice body, odto_error *err)
{
    int64_t now = odto_now_ns();
    double seconds = r->at_ns ? (double)(now - r->at_ns) / 1e9 : 0;
    host_state *h = parse_host(body, n->cur->host, seconds);
    if (!h) {
        odto_fail(err, -ENOMEM, "no memory");
        return;
    }
    r->at_ns = now;
    if (h->accepted >= 0) {
        bool rate = n->last_accepted >= 0 && h->accepted >= n->last_accepted && seconds > 0;
        if (rate) {
            series_push(&n->cur->accepted, (float)((h->accepted - n->last_accepted) / seconds));
        }
        n->last_accepted = h->accepted;
    }
    snapshot_set_host(n->cur, h);
}

/* What Alertmanager tells, and from Prometheus what is pending or all of it while Alertmanager is away. */
static void merge_alerts(net *n)
{
    const alert_list *a = n->from_manager, *b = n->from_prom;
    alert_list *l = a || b ? alert_list_new((a ? a->n : 0) + (b ? b->n : 0)) : NULL;
    if (!l) {
        return;
    }
    for (int i = 0; a && i < a->n; i++) {
        l->items[l->n++] = a->items[i];
    }
    for (int i = 0; b && i < b->n; i++) {
        if (!a || b->items[i].pending) {
            l->items[l->n++] = b->items[i];
        }
    }
    snapshot_set_alerts(n->cur, l);
}

static void keep_alerts(alert_list **slot, alert_list *l)
{
    free(*slot);
    *slot = l;
}

/* GET /jobs refused as such: asks for no more than ours gives, or else the older route, from now on. */
static bool falls_back(net *n, request *r, CURLcode rc)
{
    long code = 0;
    curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &code);
    if (n->recent_only || rc != CURLE_OK || (code != 400 && code != 404 && code != 405)) {
        return false;
    }
    if (code == 400 && n->cfg.jobs_limit > MOST_JOBS) {
        n->cfg.jobs_limit = MOST_JOBS;
    } else {
        n->recent_only = true;
    }
    begin_jobs(n);
    return true;
}

static void take_source(net *n, source_id id, CURLcode rc)
{
    request *r = &n->rq[id];
    odto_slice body = odto_slice_of(r->body.p, r->body.n);
    odto_error err = {0};
    char why[200];
    bool ok = outcome(n, r, rc, why, sizeof why);
    if (id == SRC_JOBS && !ok && falls_back(n, r, rc)) {
        return;
    }
    r->tried = true;
    if (ok && id == SRC_STATS) {
        take_stats(n, body, &err);
    } else if (ok && id == SRC_JOBS) {
        take_jobs(n, r, body, &err);
    } else if (ok && id == SRC_HOST) {
        take_host(n, r, body, &err);
    } else if (ok && id == SRC_GATEWAY) {
        parse_version(body, n->cur->version, sizeof n->cur->version);
    } else if (ok && id == SRC_ALERTS) {
        alert_list *l = NULL;
        if (!parse_alerts(body, &l, &err)) {
            keep_alerts(&n->from_manager, l);
        }
    }
    if (ok && !err.code) {
        source_ok(n, id, r);
    } else {
        if (id != SRC_ALERTS || !n->from_prom) { /* else they are had from Prometheus */
            source_failed(n, id, err.code ? err.message : why);
        }
        if (id == SRC_ALERTS) {
            keep_alerts(&n->from_manager, NULL);
        }
    }
    if (id == SRC_ALERTS) {
        merge_alerts(n);
    }
}

static void take_prom(net *n, CURLcode rc)
{
    request *r = &n->rq[RQ_PROM];
    char why[200];
    alert_list *l = NULL;
    r->tried = true;
    if (outcome(n, r, rc, why, sizeof why)) {
        parse_alerts(odto_slice_of(r->body.p, r->body.n), &l, NULL);
    }
    keep_alerts(&n->from_prom, l);
    merge_alerts(n);
    source *s = &n->cur->src[SRC_ALERTS];
    if (l) {
        s->failures = 0;
        s->ok_ms = odto_unix_ms();
    }
}

/* What is known of a job stays when it can't be had anew; error says why and ok_ms how old it is. */
static void keep_known(job_detail *d, const job_detail *old)
{
    if (!old || strcmp(old->job.id, d->job.id)) {
        return;
    }
    if (d->error[0] && old->ok_ms) {
        d->job = old->job;
        d->ok_ms = old->ok_ms;
        d->n_attempts = old->n_attempts;
        memcpy(d->attempts, old->attempts, sizeof d->attempts);
        memcpy(d->job_error, old->job_error, sizeof d->job_error);
        memcpy(d->body, old->body, sizeof d->body);
    }
    if (d->events_error[0]) {
        d->n_events = old->n_events;
        memcpy(d->events, old->events, sizeof d->events);
    }
}

static void take_detail(net *n, int id, CURLcode rc)
{
    request *r = &n->rq[id];
    odto_slice body = odto_slice_of(r->body.p, r->body.n);
    odto_error err = {0};
    char why[200];
    if (!n->draft || r->token != n->detail_token) {
        return;
    }
    bool ok = outcome(n, r, rc, why, sizeof why);
    if (id == RQ_JOB) {
        if (!ok || parse_job_detail(body, n->draft, &err)) {
            snprintf(n->draft->error, sizeof n->draft->error, "%.190s", err.code ? err.message : why);
        } else {
            n->draft->ok_ms = odto_unix_ms();
        }
    } else if (!ok || parse_job_events(body, n->draft, &err)) {
        snprintf(n->draft->events_error, sizeof n->draft->events_error, "%.150s",
                 err.code ? err.message : why);
    }
    if (--n->draft_left == 0) {
        keep_known(n->draft, n->cur->detail);
        snapshot_set_detail(n->cur, n->draft);
        n->draft = NULL;
    }
}

static void take_submit(net *n, CURLcode rc)
{
    request *r = &n->rq[RQ_SUBMIT];
    submit_result *s = &n->cur->submit;
    odto_error err = {0};
    char why[200];
    bool ok = outcome(n, r, rc, why, sizeof why);
    free(r->post);
    r->post = NULL;
    if (ok && !parse_accepted(odto_slice_of(r->body.p, r->body.n), s->job_id, &err)) {
        s->state = SUBMIT_OK;
        n->last_id[0] = '\0';
        n->next_round_ns = 0; /* show it at once */
        return;
    }
    s->state = SUBMIT_FAILED;
    snprintf(s->error, sizeof s->error, "%.200s%s", err.code ? err.message : why,
             rc == CURLE_OPERATION_TIMEDOUT ? "; Enter sends the same id again" : "");
}

static void drain(net *n)
{
    CURLMsg *m;
    int left;
    while ((m = curl_multi_info_read(n->multi, &left))) {
        if (m->msg != CURLMSG_DONE) {
            continue;
        }
        CURLcode rc = m->data.result;
        CURL *easy = m->easy_handle;
        request *r = NULL;
        curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&r);
        curl_multi_remove_handle(n->multi, easy);
        r->busy = false;
        int id = (int)(r - n->rq);
        if (id < SRC_COUNT) {
            take_source(n, (source_id)id, rc);
        } else if (id == RQ_PROM) {
            take_prom(n, rc);
        } else if (id == RQ_SUBMIT) {
            take_submit(n, rc);
        } else {
            take_detail(n, id, rc);
        }
        n->dirty = true;
    }
}

/* ---- the worker ---------------------------------------------------------------------------- */

static void publish(net *n)
{
    bool all = true;
    for (int i = 0; i < SRC_COUNT; i++) {
        all = all && n->rq[i].tried;
    }
    n->cur->first_round = n->cur->first_round || all;
    n->cur->seq++;
    snapshot *s = snapshot_clone(n->cur);
    if (!s) {
        return; /* the next one will do */
    }
    n->dirty = false;
    pthread_mutex_lock(&n->mu);
    snapshot *old = n->published;
    n->published = s;
    pthread_mutex_unlock(&n->mu);
    snapshot_release(&old);
    uint64_t one = 1;
    ssize_t w = write(n->event_fd, &one, sizeof one);
    (void)w; /* a full counter is already readable */
}

static void start_submit(net *n, const char *type, const char *payload)
{
    request *r = &n->rq[RQ_SUBMIT];
    submit_result *s = &n->cur->submit;
    odto_buf b = {0};
    odto_uuid id;
    char created[25];
    uint64_t content = odto_hash64(type, strlen(type)) * 31 + odto_hash64(payload, strlen(payload));
    if (r->busy) {
        return;
    }
    if (!n->last_id[0] || content != n->last_submission) {
        odto_uuid_v7(&id);
        odto_uuid_format(&id, n->last_id);
        n->last_submission = content;
    }
    odto_time_format(odto_unix_ms(), created);
    odto_buf_printf(&b, "{\"id\":\"%s\",\"type\":", n->last_id);
    odto_buf_jsonz(&b, type);
    odto_buf_printf(&b, ",\"status\":\"PENDING\",\"createdAt\":\"%s\",\"payload\":%s}", created, payload);
    memset(s, 0, sizeof *s);
    n->dirty = true;
    if (b.failed || (!r->easy && !(r->easy = new_easy(n, r)))) {
        odto_buf_free(&b);
        s->state = SUBMIT_FAILED;
        snprintf(s->error, sizeof s->error, "no memory");
        return;
    }
    if (!r->headers) {
        r->headers = curl_slist_append(NULL, "Content-Type: application/json");
    }
    free(r->post);
    r->post = b.p;
    curl_easy_setopt(r->easy, CURLOPT_HTTPHEADER, r->headers);
    curl_easy_setopt(r->easy, CURLOPT_POSTFIELDS, r->post);
    curl_easy_setopt(r->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)b.n);
    s->state = SUBMIT_SENDING;
    begin(n, RQ_SUBMIT, n->gateway, "/jobs");
}

static void watch_detail(net *n, const char *id)
{
    n->detail_token++;
    snprintf(n->watched, sizeof n->watched, "%s", id);
    job_detail *d = id[0] ? calloc(1, sizeof *d) : NULL;
    if (d) {
        atomic_init(&d->refs, 1);
        d->loading = true;
    }
    snapshot_set_detail(n->cur, d);
    for (int i = RQ_JOB; i <= RQ_EVENTS; i++) {
        if (n->rq[i].busy) { /* of a job nobody looks at any more */
            curl_multi_remove_handle(n->multi, n->rq[i].easy);
            n->rq[i].busy = false;
        }
    }
    if (id[0]) {
        begin_detail(n);
    }
    n->dirty = true;
}

static bool take_commands(net *n)
{
    char detail[40], *type = NULL, *payload = NULL;
    pthread_mutex_lock(&n->mu);
    bool stop = n->stop, changed = n->detail_changed, reset = n->submit_reset, submit = n->submit_wanted;
    if (n->refresh) {
        n->next_round_ns = 0;
    }
    memcpy(detail, n->detail_id, sizeof detail);
    if (submit) {
        type = n->submit_type;
        payload = n->submit_payload;
        n->submit_type = n->submit_payload = NULL;
    }
    n->refresh = n->detail_changed = n->submit_reset = n->submit_wanted = false;
    pthread_mutex_unlock(&n->mu);
    if (changed) {
        watch_detail(n, detail);
    }
    if (reset && !n->rq[RQ_SUBMIT].busy) {
        memset(&n->cur->submit, 0, sizeof n->cur->submit);
        n->dirty = true;
    }
    if (submit && type && payload) {
        start_submit(n, type, payload);
    }
    free(type);
    free(payload);
    return !stop;
}

static void *worker(void *arg)
{
    net *n = arg;
    while (take_commands(n)) {
        int64_t now = odto_now_ns();
        if (now >= n->next_round_ns) {
            n->next_round_ns = now + n->cfg.interval_ms * ODTO_MS;
            begin_round(n);
        }
        int running = 0;
        curl_multi_perform(n->multi, &running);
        drain(n);
        if (n->dirty) {
            publish(n);
        }
        int64_t left = (n->next_round_ns - odto_now_ns()) / ODTO_MS + 1;
        curl_multi_poll(n->multi, NULL, 0, left < 0 ? 0 : (int)left, NULL);
    }
    return NULL;
}

/* ---- the UI's side ------------------------------------------------------------------------- */

static void copy_url(char *out, size_t size, const char *url)
{
    snprintf(out, size, "%s", url ? url : "");
    size_t n = strlen(out);
    while (n > 0 && out[n - 1] == '/') {
        out[--n] = '\0';
    }
}

static int start_thread(net *n)
{
    /* signals belong to the UI thread */
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(&n->thread, NULL, worker, n);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (!rc) {
        pthread_setname_np(n->thread, "dash-net");
    }
    return -rc;
}

static void destroy(net *n)
{
    for (int i = 0; i < RQ_COUNT; i++) {
        request *r = &n->rq[i];
        if (r->busy) {
            curl_multi_remove_handle(n->multi, r->easy);
        }
        curl_easy_cleanup(r->easy);
        curl_slist_free_all(r->headers);
        odto_buf_free(&r->body);
        free(r->post);
    }
    curl_multi_cleanup(n->multi);
    snapshot_release(&n->published);
    snapshot_release(&n->cur);
    free(n->draft);
    free(n->from_manager);
    free(n->from_prom);
    free(n->submit_type);
    free(n->submit_payload);
    if (n->event_fd >= 0) {
        close(n->event_fd);
    }
    pthread_mutex_destroy(&n->mu);
    free(n);
}

int net_start(net **out, const net_config *c, odto_error *err)
{
    net *n = calloc(1, sizeof *n);
    if (!n) {
        return odto_fail(err, -ENOMEM, "no memory");
    }
    pthread_mutex_init(&n->mu, NULL);
    n->cfg = *c;
    n->last_accepted = -1;
    copy_url(n->gateway, sizeof n->gateway, c->gateway_url);
    copy_url(n->read, sizeof n->read, c->read_url);
    copy_url(n->prom, sizeof n->prom, c->prometheus_url);
    n->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    n->multi = curl_multi_init();
    n->cur = snapshot_new();
    n->published = n->cur ? snapshot_clone(n->cur) : NULL;
    int rc = n->event_fd < 0 || !n->multi || !n->published ? -ENOMEM : start_thread(n);
    if (rc) {
        destroy(n);
        return odto_fail(err, rc, "the network worker cannot start: %s", strerror(-rc));
    }
    *out = n;
    return 0;
}

static void wake(net *n)
{
    curl_multi_wakeup(n->multi);
}

void net_stop(net *n)
{
    if (!n) {
        return;
    }
    pthread_mutex_lock(&n->mu);
    n->stop = true;
    pthread_mutex_unlock(&n->mu);
    wake(n);
    pthread_join(n->thread, NULL);
    destroy(n);
}

int net_fd(const net *n)
{
    return n->event_fd;
}

snapshot *net_latest(net *n)
{
    uint64_t count;
    ssize_t r = read(n->event_fd, &count, sizeof count);
    (void)r;
    pthread_mutex_lock(&n->mu);
    snapshot *s = snapshot_retain(n->published);
    pthread_mutex_unlock(&n->mu);
    return s;
}

void net_refresh(net *n)
{
    pthread_mutex_lock(&n->mu);
    n->refresh = true;
    pthread_mutex_unlock(&n->mu);
    wake(n);
}

void net_detail(net *n, const char *job_id)
{
    pthread_mutex_lock(&n->mu);
    snprintf(n->detail_id, sizeof n->detail_id, "%s", job_id ? job_id : "");
    n->detail_changed = true;
    pthread_mutex_unlock(&n->mu);
    wake(n);
}

void net_submit(net *n, const char *type, const char *payload)
{
    char *t = strdup(type), *p = strdup(payload);
    pthread_mutex_lock(&n->mu);
    free(n->submit_type);
    free(n->submit_payload);
    n->submit_type = t;
    n->submit_payload = p;
    n->submit_wanted = true;
    pthread_mutex_unlock(&n->mu);
    wake(n);
}

void net_submit_reset(net *n)
{
    pthread_mutex_lock(&n->mu);
    n->submit_reset = true;
    pthread_mutex_unlock(&n->mu);
    wake(n);
}
