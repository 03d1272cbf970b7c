/* events.c — GET /events: the event log, newest first, each event exactly as it was produced. */
#include "read_model.h"

#include <errno.h>

typedef struct rows {
    odto_buf text;
    size_t n;
    bool cut;
} rows;

static bool on_row(void *arg, const odto_event_row *row)
{
    rows *r = arg;
    if (r->text.n + row->body.n > MAX_RESPONSE) {
        r->cut = true;
        return false;
    }
    odto_buf_put(&r->text, r->n++ ? "," : "[", 1);
    return odto_buf_put(&r->text, row->body.p, row->body.n);
}

void events_list(void *self, odto_http_request *rq)
{
    read_model *rm = self;
    odto_uuid job;
    bool given;
    uint32_t limit;
    if (!param_limit(rm, rq, 50, &limit) || !param_uuid(rm, rq, "jobId", &job, &given))
        return;
    rows r = {0};
    odto_error err = {0};
    int rc = rm->events.iface->events->list(rm->events.self, given ? &job : NULL, limit, on_row, &r, &err);
    if (rc != 0 && rc != -ENOENT) {
        odto_buf_free(&r.text);
        store_unavailable(rm, rq, &rm->events, rc, &err);
        return;
    }
    odto_buf_str(&r.text, r.n ? "]" : "[]");
    reply_json(rm, rq, &r.text, r.cut);
}
