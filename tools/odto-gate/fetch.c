/* fetch.c — see fetch.h. */
#include "fetch.h"

#include <curl/curl.h>
#include <errno.h>
#include <json-c/json.h>
#include <odto/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_MAX ((size_t)64 << 20)

int fetch_open(fetcher *f, const char *folder, long timeout_ms)
{
    memset(f, 0, sizeof *f);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    f->timeout_ms = timeout_ms;
    f->curl = curl_easy_init();
    f->folder = folder ? strdup(folder) : NULL;
    return f->curl && (f->folder || !folder) ? 0 : -ENOMEM;
}

void fetch_close(fetcher *f)
{
    curl_easy_cleanup(f->curl);
    free(f->folder);
    curl_global_cleanup();
}

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
    return odto_buf_put(arg, data, size * n) ? size * n : 0;
}

/* One file an answer: what was asked, the status or the error, the body. */
static void keep(fetcher *f, const char *url, const char *path, bool post, const answer *a)
{
    char name[1024], *p;
    f->serial++;
    if (!f->folder)
        return;
    size_t at = (size_t)snprintf(name, sizeof name, "%s/", f->folder);
    snprintf(name + at, sizeof name - at, "%03u-%s%.80s.txt", f->serial, post ? "POST" : "GET", path);
    for (p = name + at; *p; p++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_", *p))
            *p = '-';
    FILE *file = fopen(name, "we");
    if (!file)
        return;
    fprintf(file, "%s %s\n%ld %s\n\n", post ? "POST" : "GET", url, a->status, a->error);
    fwrite(a->body.p ? a->body.p : "", 1, a->body.n, file);
    fclose(file);
}

void fetch(fetcher *f, const char *base, const char *path, const char *post_body, answer *out)
{
    CURL *c = f->curl;
    char url[2048], why[CURL_ERROR_SIZE] = "";
    size_t n = strlen(base);
    while (n > 0 && base[n - 1] == '/')
        n--;
    snprintf(url, sizeof url, "%.*s%s", (int)n, base, path);
    answer_free(out);
    out->body.max = ANSWER_MAX;
    struct curl_slist *headers = post_body ? curl_slist_append(NULL, "Content-Type: application/json") : NULL;
    curl_easy_reset(c); /* keeps the connection */
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, f->timeout_ms);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, why);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, &out->body);
    if (post_body) {
        curl_easy_setopt(c, CURLOPT_POSTFIELDS, post_body);
        curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
    }
    CURLcode rc = curl_easy_perform(c);
    if (rc == CURLE_OK)
        curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &out->status);
    else
        snprintf(out->error, sizeof out->error, "%s", why[0] ? why : curl_easy_strerror(rc));
    curl_slist_free_all(headers);
    keep(f, url, path, post_body != NULL, out);
}

struct json_object *fetch_json(const answer *a)
{
    struct json_object *o = NULL;
    if (odto_json_parse(odto_slice_of(a->body.p, a->body.n), 256, &o, NULL) != 0)
        return NULL;
    return o;
}

void answer_free(answer *a)
{
    odto_buf_free(&a->body);
    memset(a, 0, sizeof *a);
}
