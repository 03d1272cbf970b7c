/* host/verbs.h — what the control socket can ask of the host (odto/control.h lists verbs, arguments and
 * replies). */
#ifndef HOST_VERBS_H
#define HOST_VERBS_H

#include "host/control.h"
#include "host/core.h"

/* Open the socket of [host] control. Called when everything is up. */
int verbs_open(struct core *core, odto_error *err);

/* dlq.c */
int verb_dlq_list(void *core, const control_request *rq, odto_buf *out, odto_error *err);
int verb_dlq_show(void *core, const control_request *rq, odto_buf *out, odto_error *err);
int verb_dlq_requeue(void *core, const control_request *rq, odto_buf *out, odto_error *err);
int verb_dlq_purge(void *core, const control_request *rq, odto_buf *out, odto_error *err);
int verb_tail(void *core, const control_request *rq, odto_buf *out, odto_error *err);

/* "name":"text", for building replies. */
void json_member(odto_buf *out, const char *name, const char *text);
#endif
