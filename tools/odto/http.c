/* http.c — requests to the gateway and the read model, by libcurl over one reused connection. */
#include "cli.h"

#include <odto/json.h>
#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BODY_MAX (64u << 20)

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
    http_reply *r = arg;
    return r->body.n + size * n <= BODY_MAX && odto_buf_put(&r->body, p, size * n) ? size * n : 0;
}

static CURL *handle(cli *c)
{
    if (!c->curl) {
        curl_global_init(CURL_GLOBAL_DEFAULT);
        c->curl = curl_easy_init();
    }
    if (c->curl)
        curl_easy_reset(c->curl); /* keeps the connection */
    return c->curl;
}

void cli_close(cli *c)
{
    if (c->curl) {
        curl_easy_cleanup(c->curl);
        curl_global_cleanup();
    }
    c->curl = NULL;
}

static char *join(const char *base, const char *path)
{
    size_t n = strlen(base);
    char *url = NULL;
    while (n > 0 && base[n - 1] == '/')
        n--;
    return asprintf(&url, "%.*s%s", (int)n, base, path) < 0 ? NULL : url;
}

static int failed(CURLcode code, const char *url, const char *text, odto_error *err)
{
    int e = code == CURLE_OPERATION_TIMEDOUT ? -ETIMEDOUT
            : code == CURLE_OUT_OF_MEMORY    ? -ENOMEM
                                             : -ECONNREFUSED;
    odto_fail(err, e, "no answer from %s", url);
    odto_error_detail(err, "%s", *text ? text : curl_easy_strerror(code));
    odto_error_hint(err, "is odto-host running there? other addresses: --gateway, --read-model, GATEWAY_URL, "
                         "READ_MODEL_URL");
    return e;
}

static void set_common(cli *c, CURL *h, const char *url, char *text)
{
    long ms = c->timeout_ns ? (long)(c->timeout_ns / ODTO_MS) : 10000;
    curl_easy_setopt(h, CURLOPT_URL, url);
    curl_easy_setopt(h, CURLOPT_ERRORBUFFER, text);
    curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS, ms);
    curl_easy_setopt(h, CURLOPT_TIMEOUT_MS, ms);
    curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(h, CURLOPT_USERAGENT, "odto/" PACKAGE_VERSION);
    curl_easy_setopt(h, CURLOPT_ACCEPT_ENCODING, "");
}

int http_ask(cli *c, const char *method, const char *base, const char *path, const char *content_type,
             odto_slice body, http_reply *reply, odto_error *err)
{
    char text[CURL_ERROR_SIZE] = "", header[128];
    struct curl_slist *headers = NULL;
    CURL *h = handle(c);
    char *url = join(base, path);
    if (!h || !url) {
        free(url);
        return odto_fail(err, -ENOMEM, "no memory for a request");
    }
    set_common(c, h, url, text);
    curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(h, CURLOPT_WRITEDATA, reply);
    if (content_type) {
        snprintf(header, sizeof(header), "Content-Type: %s", content_type);
        headers = curl_slist_append(curl_slist_append(headers, header), "Expect:");
        curl_easy_setopt(h, CURLOPT_HTTPHEADER, headers);
        curl_easy_setopt(h, CURLOPT_POSTFIELDS, body.p ? body.p : "");
        curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.n);
    }
    CURLcode code = curl_easy_perform(h);
    curl_off_t wait = 0;
    curl_easy_getinfo(h, CURLINFO_RESPONSE_CODE, &reply->status);
    curl_easy_getinfo(h, CURLINFO_RETRY_AFTER, &wait);
    reply->retry_after_s = (long)wait;
    odto_buf_str(&reply->body, "");
    int e = code == CURLE_OK ? 0 : failed(code, url, text, err);
    curl_slist_free_all(headers);
    free(url);
    return e;
}

/* {"error","details":[{path,message}]} → message and detail. */
static void explain(const http_reply *r, odto_error *e)
{
    struct json_object *o = NULL;
    size_t n, used = 0;
    odto_fail(e, -EINVAL, "the answer was %ld", r->status);
    if (odto_json_parse(odto_slice_of(r->body.p, r->body.n), 64, &o, NULL) < 0)
        return;
    if (*jstr(o, "error"))
        odto_fail(e, -EINVAL, "%s", jstr(o, "error"));
    struct json_object *details = jarray(o, "details", &n);
    for (size_t i = 0; i < n && i < 5 && used < sizeof(e->detail); i++) {
        struct json_object *d = json_object_array_get_idx(details, i);
        used += (size_t)snprintf(e->detail + used, sizeof(e->detail) - used, "%s%s %s", i ? "; " : "",
                                 jstr(d, "path"), jstr(d, "message"));
    }
    if (n == 0 && *jstr(o, "reason"))
        odto_error_detail(e, "%s", jstr(o, "reason"));
    json_object_put(o);
}

int http_refused(const cli *c, const http_reply *reply)
{
    odto_error e = {0};
    explain(reply, &e);
    if (reply->status == 404)
        return cli_error(c, CLI_NOT_FOUND, &e);
    bool away = reply->status == 429 || reply->status >= 502;
    if (away && !e.hint[0])
        odto_error_hint(&e, "odto status tells what is missing");
    return cli_error(c, away ? CLI_UNREACHABLE : CLI_REFUSED, &e);
}

static int ask_json(cli *c, const char *method, const char *base, const char *path, const char *body,
                    struct json_object **out)
{
    http_reply r = {0};
    odto_error e = {0};
    int code = CLI_OK;
    if (http_ask(c, method, base, path, body ? "application/json" : NULL, odto_slice_str(body), &r, &e) < 0)
        code = cli_error(c, CLI_UNREACHABLE, &e);
    else if (r.status < 200 || r.status > 299)
        code = http_refused(c, &r);
    else if (odto_json_parse(odto_slice_of(r.body.p, r.body.n), 512, out, &e) < 0) {
        odto_error_hint(&e, "%s%s does not look like the read model", base, path);
        code = cli_error(c, CLI_REFUSED, &e);
    }
    odto_buf_free(&r.body);
    return code;
}

int http_get_json(cli *c, const char *base, const char *path, struct json_object **out)
{
    return ask_json(c, "GET", base, path, NULL, out);
}

int http_post_json(cli *c, const char *base, const char *path, const char *body, struct json_object **out)
{
    return ask_json(c, "POST", base, path, body, out);
}

/* ---- streams ---- */

typedef struct stream {
    bool (*fn)(void *arg, odto_slice data);
    void *arg;
    CURL *h;
} stream;

static size_t on_stream(char *p, size_t size, size_t n, void *arg)
{
    stream *s = arg;
    long status = 0;
    curl_easy_getinfo(s->h, CURLINFO_RESPONSE_CODE, &status);
    if (status != 200)
        return size * n;
    return s->fn(s->arg, odto_slice_of(p, size * n)) ? size * n : 0;
}

int http_stream(cli *c, const char *base, const char *path, const char *const *headers, size_t n_headers,
                bool (*fn)(void *arg, odto_slice data), void *arg, long *status, odto_error *err)
{
    char text[CURL_ERROR_SIZE] = "";
    struct curl_slist *list = NULL;
    CURL *h = handle(c);
    char *url = join(base, path);
    if (!h || !url) {
        free(url);
        return odto_fail(err, -ENOMEM, "no memory for a request");
    }
    stream s = {fn, arg, h};
    set_common(c, h, url, text);
    curl_easy_setopt(h, CURLOPT_TIMEOUT_MS, 0L);
    curl_easy_setopt(h, CURLOPT_LOW_SPEED_LIMIT, 1L); /* the server sends a comment every 15 s */
    curl_easy_setopt(h, CURLOPT_LOW_SPEED_TIME, 60L);
    curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_stream);
    curl_easy_setopt(h, CURLOPT_WRITEDATA, &s);
    for (size_t i = 0; i < n_headers; i++)
        list = curl_slist_append(list, headers[i]);
    curl_easy_setopt(h, CURLOPT_HTTPHEADER, list);
    CURLcode code = curl_easy_perform(h);
    curl_easy_getinfo(h, CURLINFO_RESPONSE_CODE, status);
    int e = code == CURLE_OK || code == CURLE_WRITE_ERROR ? 0 : failed(code, url, text, err);
    curl_slist_free_all(list);
    free(url);
    return e;
}

void http_put_query(odto_buf *path, const char *name, const char *value)
{
    static const char hex[] = "0123456789ABCDEF";
    if (!value || !*value)
        return;
    odto_buf_printf(path, "%c%s=", path->p && strchr(path->p, '?') ? '&' : '?', name);
    for (const unsigned char *p = (const unsigned char *)value; *p; p++) {
        bool plain = (*p >= '0' && *p <= '9') || (*p >= 'A' && *p <= 'Z') || (*p >= 'a' && *p <= 'z') ||
                     strchr("-._~", *p);
        char code[3] = {'%', hex[*p >> 4], hex[*p & 15]};
        odto_buf_put(path, plain ? (const char *)p : code, plain ? 1 : 3);
    }
}
