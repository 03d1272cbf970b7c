/* files.c — the files of the page: compressed at build time, sent from where they stand in this object.
 *
 * Quick handlers, any thread, no state. "/" must always be asked for again; what carries its own version
 * (?v=ETAG, written by the build) may be kept for a year. */
#include "web.h"

#include <stdio.h>
#include <string.h>

#define POLICY                                                                                     \
    "default-src 'self'; connect-src 'self'; img-src 'self'; object-src 'none'; base-uri 'none'; " \
    "form-action 'self'; frame-ancestors 'none'"

static void nothing_to_free(void *arg)
{
    (void)arg;
}

/* Does Accept-Encoding take this coding? RFC 9110, 12.5.3: listed (or *) and not with q=0. */
static bool takes(odto_slice accepted, const char *coding)
{
    bool any = false;
    for (const char *p = accepted.p, *end = p + accepted.n; p && p < end;) {
        const char *comma = memchr(p, ',', (size_t)(end - p)), *stop = comma ? comma : end;
        while (p < stop && (*p == ' ' || *p == '\t'))
            p++;
        size_t n = 0;
        while (p + n < stop && !strchr("; \t", p[n]))
            n++;
        bool named = n == strlen(coding) && strncasecmp(p, coding, n) == 0;
        if (named || (n == 1 && *p == '*')) {
            const char *q = memmem(p + n, (size_t)(stop - p) - n, "q=", 2);
            bool zero = q && q[2] == '0';
            for (const char *d = q ? q + 3 : stop; d < stop; d++)
                zero = zero && strchr("0. \t", *d);
            if (named)
                return !zero;
            any = !zero;
        }
        p = stop + 1;
    }
    return any;
}

/* If-None-Match against our tag; tags are compared weakly (RFC 9110, 13.1.2). */
static bool known(odto_slice tags, const char *etag)
{
    return tags.n && ((tags.n == 1 && *tags.p == '*') || memmem(tags.p, tags.n, etag, strlen(etag)));
}

static odto_slice choose(const web_file *f, odto_slice accepted, const char **coding)
{
    if (f->brotli != f->brotli_end && takes(accepted, "br")) {
        *coding = "br";
        return odto_slice_of((const char *)f->brotli, (size_t)(f->brotli_end - f->brotli));
    }
    if (f->gzip != f->gzip_end && takes(accepted, "gzip")) {
        *coding = "gzip";
        return odto_slice_of((const char *)f->gzip, (size_t)(f->gzip_end - f->gzip));
    }
    *coding = NULL;
    return odto_slice_of((const char *)f->plain, (size_t)(f->plain_end - f->plain));
}

static void reply_file(const odto_http_api *http, odto_http_request *rq, const web_file *f)
{
    const char *coding;
    odto_slice body = choose(f, http->header(rq, "Accept-Encoding"), &coding);
    char tag[64]; /* one tag for each coding: they are different representations */
    snprintf(tag, sizeof tag, "\"%s%s%s\"", f->etag, coding ? "-" : "", coding ? coding : "");
    bool versioned = odto_slice_eq(http->query(rq, "v"), f->etag);
    odto_http_header headers[12] = {
        {"ETag", tag},
        {"Cache-Control", versioned ? "public, max-age=31536000, immutable" : "no-cache"},
        {"Vary", "Accept-Encoding"},
        {"Content-Security-Policy", POLICY},
        {"X-Content-Type-Options", "nosniff"},
        {"Referrer-Policy", "no-referrer"},
        {"Cross-Origin-Opener-Policy", "same-origin"},
        {"Cross-Origin-Resource-Policy", "same-origin"},
    };
    size_t n = 8;
    if (known(http->header(rq, "If-None-Match"), tag)) {
        http->reply(rq, 304, headers, n, odto_slice_of(NULL, 0), NULL, NULL);
        return;
    }
    headers[n++] = (odto_http_header){"Content-Type", f->type};
    if (coding)
        headers[n++] = (odto_http_header){"Content-Encoding", coding};
    http->reply(rq, 200, headers, n, body, nothing_to_free, NULL);
}

static void reply_none(const odto_http_api *http, odto_http_request *rq)
{
    static const char text[] =
        "<!DOCTYPE html><html lang=\"en\"><meta charset=\"utf-8\"><title>odto</title>"
        "<h1>The page is not in this build</h1>"
        "<p>It was built without Node.js and npm. Install them and run configure and make again, or use a "
        "release, which contains the page. The terminal (/ws) and the read model (/api/) are there."
        "<p>In a terminal: <code>odto-dashboard</code>";
    const odto_http_header headers[] = {{"Content-Type", "text/html; charset=utf-8"},
                                        {"Content-Security-Policy", "default-src 'none'"},
                                        {"Cache-Control", "no-store"}};
    http->reply(rq, 503, headers, 3, odto_slice_str(text), nothing_to_free, NULL);
}

void files_get(void *self, odto_http_request *rq)
{
    const odto_http_api *http = ((web *)self)->host->api->http;
    odto_slice path = http->path(rq);
    for (const web_file *f = web_files; f->path; f++) {
        if (odto_slice_eq(path, f->path)) {
            reply_file(http, rq, f);
            return;
        }
    }
    reply_none(http, rq);
}

size_t files_routes(odto_http_route *out, size_t max)
{
    size_t n = 0;
    for (const web_file *f = web_files; f->path && n < max; f++)
        out[n++] = (odto_http_route){"GET", f->path, 0, files_get, NULL};
    if (n == 0)
        out[n++] = (odto_http_route){"GET", "/", 0, files_get, NULL};
    return n;
}
