/* docs.h — /openapi.json and /docs, the same for every service that has them: the OpenAPI document that
 * stands in the contracts, and a page that renders it without the internet.
 *
 * Quick handlers, any thread; no state. The page and its files are served with a content security policy that
 * allows nothing from elsewhere and no inline script. */
#ifndef COMMON_DOCS_H
#define COMMON_DOCS_H

#include <odto/http.h>

/* GET /openapi.json: the document of this name ("gateway", "read-model"). */
void docs_openapi(const odto_http_api *http, odto_http_request *rq, const char *name);
/* GET /docs */
void docs_page(const odto_http_api *http, odto_http_request *rq);
/* GET /docs/{file}: the page's script and style; 404 for any other. */
void docs_asset(const odto_http_api *http, odto_http_request *rq);

#endif
