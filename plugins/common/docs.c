/* docs.c — see docs.h. */
#include "docs.h"

#include <odto/schema.h>

extern const char docs_html[], docs_css[], docs_js[]; /* docs_data.c, made by embed.awk */

#define POLICY                                                                                            \
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " \
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

static void nothing_to_free(void *arg)
{
    (void)arg;
}

/* text is constant: it is sent from where it stands. */
static void reply_file(const odto_http_api *http, odto_http_request *rq, const char *type, odto_slice text)
{
    const odto_http_header headers[] = {
        {"Content-Type", type},
        {"Content-Security-Policy", POLICY},
        {"X-Content-Type-Options", "nosniff"},
        {"Referrer-Policy", "no-referrer"},
        {"Cache-Control", "no-cache"},
    };
    http->reply(rq, 200, headers, sizeof headers / sizeof *headers, text, nothing_to_free, NULL);
}

void docs_openapi(const odto_http_api *http, odto_http_request *rq, const char *name)
{
    odto_slice text = odto_openapi_builtin(name);
    http->reply(rq, 200, NULL, 0, text, nothing_to_free, NULL);
}

void docs_page(const odto_http_api *http, odto_http_request *rq)
{
    reply_file(http, rq, "text/html; charset=utf-8", odto_slice_str(docs_html));
}

void docs_asset(const odto_http_api *http, odto_http_request *rq)
{
    odto_slice file = http->param(rq, "file");
    if (odto_slice_eq(file, "app.js"))
        reply_file(http, rq, "text/javascript; charset=utf-8", odto_slice_str(docs_js));
    else if (odto_slice_eq(file, "style.css"))
        reply_file(http, rq, "text/css; charset=utf-8", odto_slice_str(docs_css));
    else
        http->reply_error(rq, 404, "Not found", "/", "the documentation has app.js and style.css", 0);
}
