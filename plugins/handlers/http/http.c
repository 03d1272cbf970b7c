/* http.c — handler `http`: calls, their outcome, and the plugin (http.h). */
#include "http.h"
#include "../common/request.h"
#include <arpa/inet.h>
#include <errno.h>
#include <odto/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_RANGES  64
#define IDLE_MS     600000 /* between two looks at nothing; every change wakes the poll */
#define MAX_URL     2048
#define KEEP_BUFFER 16384

typedef struct web web;

/* One attempt. */
typedef struct call {
    struct call *next, **self; /* in web.waiting or web.active */
    web *w;
    odto_run *run;
    CURL *easy;
    struct curl_slist *headers;
    odto_buf request, response;
    uint64_t n_response;
    int64_t retry_after_ns;
    breaker *breaker;
    char denied[64]; /* address that the guard refused */
    char why[CURL_ERROR_SIZE];
    _Atomic bool cancelled;
} call;

struct web {
    odto_host *host;
    const odto_config *config;
    const char *url, *url_field, *ca_file;
    bool payload_only;
    uint8_t *key;
    size_t n_key;
    char **headers; /* "Name: value" */
    size_t n_headers;
    size_t max_output;
    int64_t connect_ms;
    range allowed[MAX_RANGES];
    size_t n_allowed;
    breakers breakers;
    CURLM *multi;
    odto_thread *thread;
    pthread_mutex_t lock;
    call *waiting, **waiting_end;
    call *active;
    call *spare;
    _Atomic size_t n_all;
    _Atomic bool cancel_seen, stop;
    odto_metric *ok, *retry, *discard, *timeout, *refused;
};

/* ---- calls ---- */

static void call_link(call **head, call *c)
{
    c->next = *head;
    if (c->next)
        c->next->self = &c->next;
    c->self = head;
    *head = c;
}

static void call_unlink(call *c)
{
    *c->self = c->next;
    if (c->next)
        c->next->self = c->self;
    c->next = NULL;
}

/* Called with the lock. */
static call *call_new(web *w)
{
    call *c = w->spare;
    if (c)
        w->spare = c->next;
    else if (!(c = calloc(1, sizeof *c)))
        return NULL;
    c->w = w;
    c->next = NULL;
    c->n_response = 0;
    c->retry_after_ns = 0;
    c->breaker = NULL;
    c->denied[0] = c->why[0] = '\0';
    atomic_store(&c->cancelled, false);
    return c;
}

static void call_free(call *c)
{
    if (c->easy)
        curl_easy_cleanup(c->easy);
    odto_buf_free(&c->request);
    odto_buf_free(&c->response);
    free(c);
}

static void forget(odto_buf *b)
{
    if (b->cap > KEEP_BUFFER)
        odto_buf_free(b);
    odto_buf_clear(b);
    b->failed = false;
}

static void call_finish(call *c, const odto_run_result *r)
{
    web *w = c->w;
    odto_run *run = c->run;
    odto_metric_add(r->end == ODTO_RUN_OK        ? w->ok
                    : r->end == ODTO_RUN_TIMEOUT ? w->timeout
                    : r->end == ODTO_RUN_DISCARD ? w->discard
                                                 : w->retry,
                    1);
    pthread_mutex_lock(&w->lock); /* from here on cancel() does not find it */
    call_unlink(c);
    c->run = NULL;
    pthread_mutex_unlock(&w->lock);
    run->finish(run, r);
    curl_slist_free_all(c->headers);
    c->headers = NULL;
    forget(&c->request);
    forget(&c->response);
    pthread_mutex_lock(&w->lock);
    c->next = w->spare;
    w->spare = c;
    pthread_mutex_unlock(&w->lock);
    atomic_fetch_sub(&w->n_all, 1);
}

static void call_fail(call *c, odto_run_end end, const char *error, int64_t delay_ns)
{
    odto_run_result r = {.end = end, .error = odto_slice_str(error), .delay_ns = delay_ns};
    call_finish(c, &r);
}

/* ---- what libcurl calls; loop thread ---- */

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
    call *c = arg;
    size_t got = size * n, room = c->w->max_output - c->response.n;
    odto_buf_put(&c->response, p, got < room ? got : room);
    c->n_response += got;
    return got;
}

static size_t on_header(char *p, size_t size, size_t n, void *arg)
{
    static const char name[] = "retry-after:";
    call *c = arg;
    size_t got = size * n, end = got;
    if (got > sizeof name - 1 && !strncasecmp(p, name, sizeof name - 1)) {
        while (end && (p[end - 1] == '\n' || p[end - 1] == '\r'))
            end--;
        c->retry_after_ns = retry_after(odto_slice_of(p + sizeof name - 1, end - (sizeof name - 1)),
                                        c->w->host->api->unix_ms(c->w->host) / 1000);
    }
    return got;
}

static curl_socket_t on_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *a)
{
    call *c = arg;
    (void)purpose;
    if (!guard_allows(c->w->allowed, c->w->n_allowed, &a->addr)) {
        const void *at = a->family == AF_INET6
                             ? (const void *)&((const struct sockaddr_in6 *)(const void *)&a->addr)->sin6_addr
                             : (const void *)&((const struct sockaddr_in *)(const void *)&a->addr)->sin_addr;
        if (!inet_ntop(a->family, at, c->denied, sizeof c->denied))
            snprintf(c->denied, sizeof c->denied, "address");
        return CURL_SOCKET_BAD;
    }
    return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

/* ---- beginning ---- */

static bool add_header(call *c, const char *name, const char *value)
{
    char line[1024];
    if (snprintf(line, sizeof line, "%s: %s", name, value) >= (int)sizeof line)
        return true; /* longer than any of ours: left out */
    struct curl_slist *l = curl_slist_append(c->headers, line);
    if (l)
        c->headers = l;
    return l != NULL;
}

static bool add_slice(call *c, const char *name, odto_slice value)
{
    char text[600];
    for (size_t i = 0; i < value.n; i++)
        if ((unsigned char)value.p[i] < 0x20 || (unsigned char)value.p[i] > 0x7e)
            return true; /* no header text (RFC 9110, 5.5): left out, never a second header */
    if (!value.n || value.n >= sizeof text)
        return true;
    memcpy(text, value.p, value.n);
    text[value.n] = '\0';
    return add_header(c, name, text);
}

static bool sign(call *c, const char *id)
{
    web *w = c->w;
    char at[24], signature[48];
    int64_t now = w->host->api->unix_ms(w->host) / 1000;
    if (!w->n_key)
        return true;
    snprintf(at, sizeof at, "%lld", (long long)now);
    sign_body(w->key, w->n_key, id, now, odto_slice_of(c->request.p, c->request.n), signature);
    return add_header(c, "webhook-id", id) && add_header(c, "webhook-timestamp", at) &&
           add_header(c, "webhook-signature", signature);
}

static bool put_headers(call *c)
{
    web *w = c->w;
    const odto_job *j = c->run->job;
    char id[ODTO_UUID_LEN + 1], attempt[16];
    odto_uuid_format(&j->id, id);
    snprintf(attempt, sizeof attempt, "%u", j->attempt);
    bool ok = add_header(c, "Content-Type", "application/json") && add_header(c, "Expect", "") &&
              add_header(c, "Idempotency-Key", id) && add_header(c, "ODTO-Attempt", attempt) &&
              add_slice(c, "traceparent", j->traceparent) && add_slice(c, "ODTO-Job-Type", j->type) &&
              sign(c, id);
    for (size_t i = 0; ok && i < w->n_headers; i++) {
        struct curl_slist *l = curl_slist_append(c->headers, w->headers[i]);
        ok = l != NULL;
        c->headers = ok ? l : c->headers;
    }
    return ok;
}

/* payload.FIELD where the job names the address, else the manifest's. 0 or -EINVAL. */
static int url_of(const web *w, const odto_job *job, char out[MAX_URL])
{
    odto_slice value;
    odto_buf text = {.max = MAX_URL};
    if (!w->url_field) {
        snprintf(out, MAX_URL, "%s", w->url);
        return 0;
    }
    bool ok = job->payload.n > 1 && job->payload.p[0] == '{' &&
              odto_json_member(job->payload, w->url_field, &value) && value.n && value.p[0] == '"' &&
              odto_json_unquote(value, &text) == 0 && text.n < MAX_URL && !memchr(text.p, '\0', text.n);
    if (ok) {
        memcpy(out, text.p, text.n);
        out[text.n] = '\0';
    }
    odto_buf_free(&text);
    return ok ? 0 : -EINVAL;
}

/* "host:port" for the breaker; false: not an http(s) URL. */
static bool host_of(const char *url, char *out, size_t size)
{
    CURLU *u = curl_url();
    char *scheme = NULL, *host = NULL, *port = NULL;
    bool ok = u && !curl_url_set(u, CURLUPART_URL, url, 0) &&
              !curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) && !curl_url_get(u, CURLUPART_HOST, &host, 0) &&
              !curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) &&
              (!strcmp(scheme, "http") || !strcmp(scheme, "https"));
    if (ok)
        snprintf(out, size, "%s:%s", host, port);
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    curl_url_cleanup(u);
    return ok;
}

static void set_options(call *c, const char *url)
{
    web *w = c->w;
    CURL *e = c->easy;
    int64_t now = w->host->api->now(w->host);
    int64_t left = c->run->deadline_ns ? (c->run->deadline_ns - now) / ODTO_MS : 0;
    curl_easy_setopt(e, CURLOPT_URL, url);
    curl_easy_setopt(e, CURLOPT_POST, 1L);
    curl_easy_setopt(e, CURLOPT_POSTFIELDS, c->request.p);
    curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)c->request.n);
    curl_easy_setopt(e, CURLOPT_HTTPHEADER, c->headers);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, c);
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, c);
    curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, on_socket);
    curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, c);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, c->why);
    curl_easy_setopt(e, CURLOPT_PRIVATE, c);
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_PROXY, "");
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(e, CURLOPT_USERAGENT, "odto/" PACKAGE_VERSION);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)w->connect_ms);
    curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, c->run->deadline_ns ? (long)(left > 0 ? left : 1) : 0L);
    if (w->ca_file)
        curl_easy_setopt(e, CURLOPT_CAINFO, w->ca_file);
}

static bool put_request(call *c)
{
    const odto_job *j = c->run->job;
    if (!c->w->payload_only)
        return request_put(&c->request, c->run, c->w->host->api->now(c->w->host));
    return odto_buf_put(&c->request, j->payload.p, j->payload.n);
}

static void left(call *c, enum breaker_said said)
{
    breaker_leave(&c->w->breakers, c->breaker, said, c->w->host->api->now(c->w->host));
}

static void begin(call *c)
{
    web *w = c->w;
    char url[MAX_URL], host[256], text[400];
    int64_t now = w->host->api->now(w->host);
    if (atomic_load(&w->stop) || atomic_load(&c->cancelled)) {
        call_fail(c, ODTO_RUN_RETRY, "cancelled before it began", 0);
        return;
    }
    if (url_of(w, c->run->job, url) < 0 || !host_of(url, host, sizeof host)) {
        snprintf(text, sizeof text, "payload.%.100s is no http or https address",
                 w->url_field ? w->url_field : "");
        call_fail(c, ODTO_RUN_DISCARD, text, 0);
        return;
    }
    c->breaker = breaker_of(&w->breakers, host, now);
    int64_t wait = breaker_enter(&w->breakers, c->breaker, now);
    if (wait) {
        snprintf(text, sizeof text, "%.200s failed %u times in a row and is left alone for %.1f s", host,
                 c->breaker->failures, (double)wait / 1e9);
        call_fail(c, ODTO_RUN_RETRY, text, wait);
        return;
    }
    c->easy = c->easy ? c->easy : curl_easy_init();
    bool ok = c->easy && put_request(c) && put_headers(c);
    if (ok) {
        curl_easy_reset(c->easy);
        set_options(c, url);
        ok = curl_multi_add_handle(w->multi, c->easy) == CURLM_OK;
    }
    if (!ok) {
        left(c, BREAKER_NOTHING);
        call_fail(c, ODTO_RUN_RETRY, "no memory", 0);
    }
}

static void begin_waiting(web *w)
{
    for (;;) {
        pthread_mutex_lock(&w->lock);
        call *c = w->waiting;
        if (c) {
            if (w->waiting_end == &c->next)
                w->waiting_end = &w->waiting;
            call_unlink(c);
            call_link(&w->active, c);
        }
        pthread_mutex_unlock(&w->lock);
        if (!c)
            return;
        begin(c);
    }
}

/* ---- ending ---- */

static odto_run_end verdict(long status)
{
    if (status >= 200 && status < 300)
        return ODTO_RUN_OK;
    if (status >= 500 || status == 429 || status == 408 || status == 425)
        return ODTO_RUN_RETRY;
    return ODTO_RUN_DISCARD;
}

static void answered(call *c, long status)
{
    char error[400], log[200];
    double seconds = 0;
    curl_easy_getinfo(c->easy, CURLINFO_TOTAL_TIME, &seconds);
    odto_run_result r = {.end = verdict(status)};
    int n = snprintf(log, sizeof log, "HTTP %ld, %llu bytes in %.3f s%s\n", status,
                     (unsigned long long)c->n_response, seconds,
                     c->n_response > c->w->max_output ? ", cut (max_output)" : "");
    r.log = odto_slice_of(log, (size_t)n);
    left(c, status < 500 ? BREAKER_WELL : BREAKER_FAILED);
    if (r.end == ODTO_RUN_OK) {
        r.result = odto_slice_of(c->response.p, c->response.n);
    } else {
        size_t show = c->response.n < 200 ? c->response.n : 200;
        n = snprintf(error, sizeof error, "HTTP %ld%s%.*s", status, show ? ": " : "", (int)show,
                     show ? c->response.p : "");
        r.error = odto_slice_of(error, (size_t)n);
    }
    if (status == 429 || status == 503)
        r.delay_ns = c->retry_after_ns;
    call_finish(c, &r);
}

static void not_answered(call *c, CURLcode code)
{
    web *w = c->w;
    char text[CURL_ERROR_SIZE + 128];
    odto_run_end end = ODTO_RUN_RETRY;
    int64_t now = w->host->api->now(w->host);
    bool late = c->run->deadline_ns && now >= c->run->deadline_ns - 2 * ODTO_MS;
    if (c->denied[0]) {
        snprintf(text, sizeof text, "%s is a private or reserved address: list it in allow_private",
                 c->denied);
        odto_metric_add(w->refused, 1);
        end = ODTO_RUN_DISCARD;
        left(c, BREAKER_NOTHING);
    } else {
        snprintf(text, sizeof text, "%s", c->why[0] ? c->why : curl_easy_strerror(code));
        end = code == CURLE_OPERATION_TIMEDOUT && late ? ODTO_RUN_TIMEOUT : ODTO_RUN_RETRY;
        left(c, BREAKER_FAILED);
    }
    call_fail(c, end, text, 0);
}

static void take_answers(web *w)
{
    CURLMsg *m;
    int left;
    while ((m = curl_multi_info_read(w->multi, &left))) {
        call *c = NULL;
        CURLcode code = m->data.result;
        long status = 0;
        if (m->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &c);
        curl_easy_getinfo(m->easy_handle, CURLINFO_RESPONSE_CODE, &status);
        curl_multi_remove_handle(w->multi, m->easy_handle);
        if (code == CURLE_OK)
            answered(c, status);
        else
            not_answered(c, code);
    }
}

static void drop_cancelled(web *w)
{
    bool stop = atomic_load(&w->stop);
    if (!atomic_exchange(&w->cancel_seen, false) && !stop)
        return;
    for (call *c = w->active, *next; c; c = next) {
        next = c->next;
        if (!stop && !atomic_load(&c->cancelled))
            continue;
        curl_multi_remove_handle(w->multi, c->easy);
        left(c, BREAKER_NOTHING);
        call_fail(c, ODTO_RUN_RETRY, "ended early: cancelled, or the host stops", 0);
    }
}

static void web_main(void *arg)
{
    web *w = arg;
    int running;
    for (;;) {
        begin_waiting(w);
        curl_multi_perform(w->multi, &running);
        take_answers(w);
        drop_cancelled(w);
        if (atomic_load(&w->stop) && !w->active)
            break;
        curl_multi_poll(w->multi, NULL, 0, IDLE_MS, NULL);
    }
    begin_waiting(w); /* what came in meanwhile is given back */
}

/* ---- callbacks ---- */

static void web_start_runs(void *self, odto_run **runs, size_t n)
{
    web *w = self;
    const odto_run_result no_memory = {.end = ODTO_RUN_RETRY, .error = {"no memory", 9}};
    size_t failed = 0;
    pthread_mutex_lock(&w->lock);
    for (size_t i = 0; i < n; i++) {
        call *c = call_new(w);
        if (!c) {
            runs[failed++] = runs[i];
            continue;
        }
        c->run = runs[i];
        c->self = w->waiting_end;
        *w->waiting_end = c;
        w->waiting_end = &c->next;
        atomic_fetch_add(&w->n_all, 1);
    }
    pthread_mutex_unlock(&w->lock);
    for (size_t i = 0; i < failed; i++)
        runs[i]->finish(runs[i], &no_memory);
    curl_multi_wakeup(w->multi);
}

static void web_cancel(void *self, odto_run *run)
{
    web *w = self;
    pthread_mutex_lock(&w->lock);
    call *lists[] = {w->waiting, w->active};
    for (size_t i = 0; i < 2; i++)
        for (call *c = lists[i]; c; c = c->next)
            if (c->run == run)
                atomic_store(&c->cancelled, true);
    pthread_mutex_unlock(&w->lock);
    atomic_store(&w->cancel_seen, true);
    curl_multi_wakeup(w->multi);
}

/* ---- options ---- */

static int bad(const odto_config *c, const char *option, odto_error *err, const char *message,
               const char *hint)
{
    const odto_value *v = odto_config_get(c, option);
    odto_fail(err, -EINVAL, "%s", message);
    odto_error_hint(err, "%s", hint);
    odto_error_where(err, c->file, v->line ? v->line : c->line, v->column);
    return -EINVAL;
}

static int read_ranges(web *w, const odto_config *c, odto_error *err)
{
    const odto_value *v = odto_config_get(c, "allow_private");
    if (v->n > MAX_RANGES)
        return bad(c, "allow_private", err, "too many ranges in `allow_private`", "64 at most");
    for (size_t i = 0; i < v->n; i++)
        if (range_parse(v->list[i], &w->allowed[w->n_allowed++]) < 0)
            return bad(c, "allow_private", err, "`allow_private` wants addresses or ranges",
                       "for example 127.0.0.1, 10.0.0.0/8, fd00::/8");
    return 0;
}

static int read_headers(web *w, const odto_config *c, odto_error *err)
{
    const odto_value *v = odto_config_get(c, "headers");
    w->headers = calloc(v->n + 1, sizeof *w->headers);
    if (!w->headers)
        return odto_fail(err, -ENOMEM, "no memory");
    for (size_t i = 0; i < v->n; i++) {
        const char *colon = strchr(v->list[i], ':');
        if (!colon || colon == v->list[i] || strpbrk(v->list[i], "\r\n"))
            return bad(c, "headers", err, "`headers` wants NAME: value", "separate several by commas");
        if (!(w->headers[w->n_headers++] = strdup(v->list[i])))
            return odto_fail(err, -ENOMEM, "no memory");
    }
    return 0;
}

static int read_address(web *w, const odto_config *c, odto_error *err)
{
    char host[256];
    w->url = odto_config_str(c, "url");
    w->url_field = odto_config_str(c, "url_field");
    if (!w->url == !w->url_field)
        return bad(c, "url", err, "the handler needs either `url` or `url_field`",
                   "url = https://… for one service, url_field = NAME where each job names its own");
    if (w->url && (strlen(w->url) >= MAX_URL || !host_of(w->url, host, sizeof host)))
        return bad(c, "url", err, "`url` is no http or https address",
                   "for example https://example.com/hook");
    return 0;
}

static int read_secret(web *w, const odto_config *c, odto_error *err)
{
    const char *secret = odto_config_str(c, "secret");
    if (!secret || !*secret)
        return 0;
    int r = sign_key(secret, &w->key, &w->n_key);
    return r == -EINVAL ? bad(c, "secret", err, "`secret` begins with whsec_ but is not base64", "see docs")
                        : r;
}

static int read_options(web *w, const odto_config *c, odto_error *err)
{
    w->ca_file = odto_config_str(c, "ca_file");
    w->payload_only = odto_config_int(c, "body") == 1;
    w->max_output = (size_t)odto_config_int(c, "max_output");
    w->connect_ms = odto_config_int(c, "connect_timeout") / ODTO_MS;
    w->breakers.limit = (uint32_t)odto_config_int(c, "breaker_failures");
    w->breakers.pause_ns = odto_config_int(c, "breaker_pause");
    int r = read_address(w, c, err);
    if (r == 0)
        r = read_ranges(w, c, err);
    if (r == 0)
        r = read_headers(w, c, err);
    return r == 0 ? read_secret(w, c, err) : r;
}

static void web_free(web *w)
{
    for (call *c = w->spare, *next; c; c = next) {
        next = c->next;
        call_free(c);
    }
    if (w->multi) {
        curl_multi_cleanup(w->multi);
        curl_global_cleanup();
    }
    for (size_t i = 0; i < w->n_headers; i++)
        free(w->headers[i]);
    free(w->headers);
    if (w->key)
        explicit_bzero(w->key, w->n_key);
    free(w->key);
    free(w->breakers.at);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

static int web_init(odto_host *h, const odto_config *c, void **self, odto_error *err)
{
    web *w = calloc(1, sizeof *w);
    if (!w)
        return odto_fail(err, -ENOMEM, "no memory");
    w->host = h;
    w->config = c;
    w->waiting_end = &w->waiting;
    pthread_mutex_init(&w->lock, NULL);
    int r = read_options(w, c, err);
    if (r < 0) {
        web_free(w);
        return r;
    }
    *self = w;
    return 0;
}

static int web_check(const odto_config *c, odto_error *err)
{
    void *w = NULL;
    int r = web_init(NULL, c, &w, err);
    if (r == 0)
        web_free(w);
    return r;
}

static odto_metric *counter(web *w, const char *result)
{
    const char *values[] = {result};
    return w->host->api->metric(w->host, ODTO_COUNTER, "odto_webhooks_total",
                                "Calls of the http handlers by how they ended.", "result", values, NULL, 0);
}

static int web_start(void *self, odto_error *err)
{
    web *w = self;
    w->ok = counter(w, "ok");
    w->retry = counter(w, "retry");
    w->discard = counter(w, "discard");
    w->timeout = counter(w, "timeout");
    w->refused = counter(w, "refused");
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return odto_fail(err, -ENOMEM, "libcurl does not start");
    w->multi = curl_multi_init();
    if (!w->multi) {
        curl_global_cleanup();
        return odto_fail(err, -ENOMEM, "no memory");
    }
    int r = w->host->api->thread_start(w->host, "calls", web_main, w, &w->thread);
    return r < 0 ? odto_fail(err, r, "no thread for the handler's calls") : 0;
}

static int web_quiesce(void *self, int64_t deadline_ns)
{
    web *w = self;
    const struct timespec tick = {0, 5 * ODTO_MS};
    while (atomic_load(&w->n_all) && w->host->api->now(w->host) < deadline_ns)
        nanosleep(&tick, NULL); /* the processor has drained before: normally there is nothing to wait for */
    return atomic_load(&w->n_all) ? -ETIMEDOUT : 0;
}

static void web_stop(void *self)
{
    web *w = self;
    atomic_store(&w->stop, true);
    if (w->multi)
        curl_multi_wakeup(w->multi);
}

static void web_fini(void *self)
{
    web_free(self);
}

static const odto_option options[] = {
    {.name = "url", .type = ODTO_OPT_URL, .help = "Where every job is posted to (http or https)."},
    {.name = "url_field",
     .type = ODTO_OPT_STRING,
     .help = "Instead of `url`: the member of a job's payload that holds its address."},
    {.name = "secret",
     .type = ODTO_OPT_STRING,
     .flags = ODTO_OPTION_SECRET,
     .help = "Key for the webhook-signature header (Standard Webhooks): text, or whsec_ and base64."},
    {.name = "headers",
     .type = ODTO_OPT_LIST,
     .flags = ODTO_OPTION_SECRET,
     .help = "Further request headers, NAME: value, separated by commas."},
    {.name = "body",
     .type = ODTO_OPT_ENUM,
     .default_value = "job",
     .choices = "job|payload",
     .help = "What is posted: the job with id, type, attempt and payload, or its payload alone."},
    {.name = "allow_private",
     .type = ODTO_OPT_LIST,
     .help = "Private, local or reserved addresses and ranges that may be called all the same."},
    {.name = "connect_timeout",
     .type = ODTO_OPT_DURATION,
     .default_value = "5s",
     .min = ODTO_MS,
     .max = 300 * ODTO_SEC,
     .help = "For the connection; the whole call has the time of the attempt (timeout)."},
    {.name = "max_output",
     .type = ODTO_OPT_SIZE,
     .default_value = "256k",
     .min = 1024,
     .max = 16777216,
     .help = "Bytes of a response that are kept as the job's result."},
    {.name = "breaker_failures",
     .type = ODTO_OPT_INT,
     .default_value = "5",
     .max = 1000000,
     .help = "Failures in a row (no connection, no answer, 5xx) after which a host is left alone; 0: never."},
    {.name = "breaker_pause",
     .type = ODTO_OPT_DURATION,
     .default_value = "5s",
     .min = ODTO_MS,
     .max = 300 * ODTO_SEC,
     .help = "For how long at first; doubles to five minutes while a single trial call fails."},
    {.name = "ca_file",
     .type = ODTO_OPT_PATH,
     .help = "Certificates to trust instead of the system's (PEM)."},
};

static const odto_plugin_ops ops = {
    .size = sizeof ops,
    .check_config = web_check,
    .init = web_init,
    .start = web_start,
    .quiesce = web_quiesce,
    .stop = web_stop,
    .fini = web_fini,
};

static const odto_handler_iface iface = {.size = sizeof iface, .start = web_start_runs, .cancel = web_cancel};

ODTO_PLUGIN_DEFINE("http", PACKAGE_VERSION, ODTO_KIND_HANDLER, .summary = "Posts each job to a web service.",
                   .options = options, .n_options = sizeof options / sizeof options[0], .ops = &ops,
                   .handler = &iface);
