/* cmd_events.c — `odto events`: the event log, and live events by server-sent events (WHATWG HTML, 9.2). */
#include "cli.h"

#include <odto/json.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LINE_MAX_BYTES (2u << 20)

static void event_cells(struct json_object *e, const char *cells[5], char *when, size_t size)
{
    struct json_object *job = jget(e, "payload");
    cells[0] = cli_time(jstr(e, "occurredAt"), when, size);
    cells[1] = jstr(e, "eventType");
    cells[2] = jstr(job, "id");
    cells[3] = jstr(job, "type");
    cells[4] = jstr(job, "status");
}

/* ---- list ---- */

static int list(cli *c)
{
    static const char *const columns[] = {"TIME", "EVENT", "JOB", "TYPE", "STATUS", NULL};
    int64_t limit = 20;
    char number[24], when[64];
    const char *cells[5];
    odto_buf path = {0};
    struct json_object *o = NULL;
    size_t n;
    if (!cli_get_int(c, "limit", 1, 500, &limit))
        return CLI_USAGE;
    snprintf(number, sizeof(number), "%lld", (long long)limit);
    odto_buf_str(&path, "/events");
    http_put_query(&path, "jobId", cli_get(c, "job"));
    http_put_query(&path, "limit", number);
    int code = http_get_json(c, c->read_model, path.p, &o);
    odto_buf_free(&path);
    if (code != CLI_OK)
        return code;
    struct json_object *events = jarray(o, NULL, &n);
    cli_table *t = c->json ? NULL : table_new(c, columns);
    for (size_t i = 0; t && i < n; i++) {
        event_cells(json_object_array_get_idx(events, i), cells, when, sizeof(when));
        for (size_t k = 0; k < 5; k++)
            table_cell(t, k == 1 ? cli_state_style(cells[k]) : PLAIN, "%s", cells[k]);
    }
    if (c->json)
        cli_json(o);
    else
        table_print(t, "no events");
    json_object_put(o);
    return CLI_OK;
}

/* ---- follow ---- */

typedef struct follow {
    cli *c;
    const char *job;
    int64_t left; /* events still to print */
    odto_buf line, data;
    char id[64], last_id[64];
    bool any;
} follow;

static void show(follow *f)
{
    struct json_object *e = NULL;
    char when[64];
    const char *cells[5];
    if (odto_json_parse(odto_slice_of(f->data.p, f->data.n), 512, &e, NULL) < 0)
        return;
    event_cells(e, cells, when, sizeof(when));
    if (!f->job || strcasecmp(f->job, cells[2]) == 0) {
        f->left--;
        if (f->c->json) {
            cli_json(e);
        } else {
            printf("%s  ", cells[0]);
            cli_print_style(f->c, cli_state_style(cells[1]), cells[1]);
            for (size_t k = 2; k < 5; k++) {
                printf("  ");
                cli_print_style(f->c, PLAIN, cells[k]);
            }
            printf("\n");
        }
        fflush(stdout);
    }
    json_object_put(e);
}

/* One line of the stream; an empty one ends an event. */
static void take_line(follow *f)
{
    char *p = f->line.p ? f->line.p : NULL;
    size_t n = f->line.n;
    if (n && p[n - 1] == '\r')
        p[--n] = 0;
    if (n == 0) {
        if (f->data.n) {
            show(f);
            snprintf(f->last_id, sizeof(f->last_id), "%s", f->id);
        }
        odto_buf_clear(&f->data);
        return;
    }
    char *value = strchr(p, ':');
    if (!value || value == p)
        return;
    *value++ = 0;
    value += *value == ' ';
    if (strcmp(p, "data") == 0) {
        if (f->data.n)
            odto_buf_str(&f->data, "\n");
        odto_buf_str(&f->data, value);
    } else if (strcmp(p, "id") == 0) {
        snprintf(f->id, sizeof(f->id), "%s", value);
    }
}

static bool on_bytes(void *arg, odto_slice s)
{
    follow *f = arg;
    f->any = true;
    while (s.n > 0 && f->left > 0) {
        const char *end = memchr(s.p, '\n', s.n);
        size_t n = end ? (size_t)(end - s.p) : s.n;
        if (f->line.n + n > LINE_MAX_BYTES || !odto_buf_put(&f->line, s.p, n))
            return false;
        s.p += n + (end != NULL);
        s.n -= n + (end != NULL);
        if (end) {
            take_line(f);
            odto_buf_clear(&f->line);
        }
    }
    return f->left > 0;
}

/* One connection. CLI_OK: it ended, try again. */
static int follow_once(follow *f)
{
    char header[96];
    const char *headers[2] = {"Accept: text/event-stream", header};
    odto_error e = {0};
    long status = 0;
    snprintf(header, sizeof(header), "Last-Event-ID: %s", f->last_id);
    f->any = false;
    odto_buf_clear(&f->line);
    odto_buf_clear(&f->data);
    int code = http_stream(f->c, f->c->read_model, "/events/stream", headers, *f->last_id ? 2 : 1, on_bytes,
                           f, &status, &e);
    if (status == 200)
        return CLI_OK;
    if (code < 0)
        return cli_error(f->c, CLI_UNREACHABLE, &e);
    if (status == 429 || status >= 502)
        return cli_failf(f->c, CLI_UNREACHABLE, NULL, "the read model answers %ld", status);
    return cli_failf(f->c, status == 404 ? CLI_NOT_FOUND : CLI_REFUSED, NULL,
                     "the read model has no live events (%ld)", status);
}

static int follow_events(cli *c)
{
    follow f = {.c = c, .job = cli_get(c, "job"), .left = INT64_MAX};
    int64_t delay = 200 * ODTO_MS;
    int code = CLI_OK;
    bool connected = false;
    if (!cli_get_int(c, "limit", 1, INT64_MAX, &f.left))
        return CLI_USAGE;
    snprintf(f.last_id, sizeof(f.last_id), "%s", cli_get(c, "after") ? cli_get(c, "after") : "");
    while (f.left > 0) {
        code = follow_once(&f);
        connected |= code == CLI_OK;
        if (f.left <= 0 || code == CLI_NOT_FOUND || code == CLI_REFUSED || !connected)
            break;
        delay = f.any ? 200 * ODTO_MS : delay < 5 * ODTO_SEC ? 2 * delay : delay;
        struct timespec t = {(time_t)(delay / ODTO_SEC), (long)(delay % ODTO_SEC)};
        nanosleep(&t, NULL);
    }
    odto_buf_free(&f.line);
    odto_buf_free(&f.data);
    return f.left <= 0 ? CLI_OK : code;
}

int cmd_events(cli *c)
{
    return cli_get(c, "follow") ? follow_events(c) : list(c);
}
