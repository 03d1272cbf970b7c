/* host/http_export.h — all of a request at once, for whoever hands it on (a worker process). On the thread
 * that has the request. */
#ifndef HOST_HTTP_EXPORT_H
#define HOST_HTTP_EXPORT_H

#include "host/http.h"

typedef void http_pair(void *arg, odto_slice name, odto_slice value); /* decoded */

void http_each_param(odto_http_request *rq, http_pair *fn, void *arg); /* {name} segments */
void http_each_query(odto_http_request *rq, http_pair *fn, void *arg);
void http_each_header(odto_http_request *rq, http_pair *fn, void *arg);
/* Did rq come by the route registered with this method and path? */
bool http_is_route(const odto_http_request *rq, const char *method, const char *path);

#endif
