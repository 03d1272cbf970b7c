/* dash_fixture — see dash_fixture.h. */
#include "dash_fixture.h"

#include "view.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void on_quit(void *ctx)
{
    ((fixture *)ctx)->quits++;
}

static void on_refresh(void *ctx)
{
    ((fixture *)ctx)->refreshes++;
}

static void on_detail(void *ctx, const char *id)
{
    fixture *f = ctx;
    snprintf(f->detail, sizeof f->detail, "%s", id ? id : "");
}

static void on_submit(void *ctx, const char *type, const char *payload)
{
    fixture *f = ctx;
    f->submits++;
    snprintf(f->type, sizeof f->type, "%s", type);
    snprintf(f->payload, sizeof f->payload, "%s", payload);
}

static void on_submit_reset(void *ctx)
{
    (void)ctx;
}

static void on_open(void *ctx, const char *url)
{
    fixture *f = ctx;
    f->opens++;
    snprintf(f->url, sizeof f->url, "%s", url);
}

static const char *on_copy(void *ctx, const char *text)
{
    fixture *f = ctx;
    snprintf(f->copied, sizeof f->copied, "%s", text);
    return f->no_clipboard ? NULL : "terminal";
}

static void on_launch(void *ctx, launch_kind kind)
{
    fixture *f = ctx;
    f->launches++;
    launch_begin(&f->ui.launch, kind, f->ui.now_ms);
}

static void on_cancel(void *ctx)
{
    ((fixture *)ctx)->cancels++;
}

static void on_shutdown(void *ctx)
{
    ((fixture *)ctx)->shutdowns++;
}

static void on_checks(void *ctx)
{
    fixture *f = ctx;
    f->checks++;
    checks_begin(&f->ui.checks);
}

static void on_install(void *ctx, const char *command)
{
    fixture *f = ctx;
    f->installs++;
    snprintf(f->command, sizeof f->command, "%s", command);
}

static void on_nothing(void *ctx)
{
    (void)ctx;
}

static bool on_mouse(void *ctx, bool on)
{
    (void)ctx;
    return on;
}

static const ui_ops ops = {on_quit,   on_refresh, on_detail,  on_submit,  on_submit_reset,
                           on_open,   on_copy,    on_launch,  on_cancel,  on_shutdown,
                           on_checks, on_install, on_nothing, on_nothing, on_mouse};

static void fill_jobs(job_list *l, int n)
{
    static const char *const types[] = {"email.send", "report.nightly", "image.resize", "echo",
                                        "billing-run"};
    static const job_status states[] = {JOB_COMPLETED, JOB_EXECUTING, JOB_COMPLETED, JOB_FAILED,
                                        JOB_COMPLETED, JOB_PENDING,   JOB_VALIDATED};
    for (int i = 0; i < n; i++) {
        job *j = &l->items[l->n++];
        uint32_t mix = (uint32_t)(i + 1) * 2654435761u;
        snprintf(j->id, sizeof j->id, "0198a7c0-%04x-7000-8000-%04x%08x", i & 0xFFFF, i & 0xFFFF, mix);
        snprintf(j->type, sizeof j->type, "%s", types[i % 5]);
        j->status = states[i % 7];
        snprintf(j->status_text, sizeof j->status_text, "%s", job_status_name(j->status));
        j->created_ms = FIX_NOW - 5000 - 1000 * (int64_t)i - mix % 900;
        j->attempts = 1 + (i % 11 == 3);
        bool ended = j->status == JOB_COMPLETED || j->status == JOB_FAILED;
        j->duration_ms = ended ? 12 + (int64_t)(mix % 9000) : -1;
        j->finished_ms = ended ? j->created_ms + j->duration_ms : 0;
    }
}

static alert_list *make_alerts(void)
{
    alert_list *l = alert_list_new(3);
    l->n = 3;
    l->items[0] =
        (alert){.name = "ServiceDown", .service = "metrics", .severity = "critical", .critical = true};
    l->items[1] = (alert){.name = "JobFailureRateHigh", .service = "processor", .severity = "warning"};
    l->items[2] = (alert){.name = "QueueBacklogGrowing", .severity = "warning", .pending = true};
    snprintf(l->items[0].summary, sizeof l->items[0].summary, "metrics does not answer");
    return l;
}

static host_state *make_host(void)
{
    host_state *h = calloc(1, sizeof *h);
    atomic_init(&h->refs, 1);
    static const char *const names[] = {"gateway", "metrics", "processor", "pty", "read-model", "web"};
    for (int i = 0; i < 6; i++) {
        plugin_row *p = &h->plugins[h->n_plugins++];
        snprintf(p->name, sizeof p->name, "%s", names[i]);
        snprintf(p->state, sizeof p->state, "%s", i == 1 ? "BACKOFF" : "READY");
        p->restarts = i == 1 ? 3 : 0;
        p->generation = i == 1 ? 4 : 1;
    }
    static const char *const routes[] = {"jobs.completed", "jobs.created", "jobs.failed.validation"};
    static const double depth[] = {12, 12600, 3}, capacity[] = {10000, 20000, 0};
    for (int i = 0; i < 3; i++) {
        route_row *r = &h->routes[h->n_routes++];
        snprintf(r->name, sizeof r->name, "%s", routes[i]);
        r->depth = depth[i];
        r->capacity = capacity[i];
        r->in_rate = r->out_rate = 41.6 * (i + 1);
        for (int k = 0; k < ROUTE_HISTORY; k++) {
            r->history[r->n_history++] = (float)(k % 5);
        }
    }
    return h;
}

snapshot *fixture_snapshot(int jobs)
{
    snapshot *s = snapshot_new();
    s->first_round = true;
    for (int i = 0; i < SRC_COUNT; i++) {
        s->src[i].ok_ms = FIX_NOW - 400;
    }
    s->stats = (stats){12345, 12300, 45, 7, 2, FIX_NOW - 2000};
    for (int i = 0; i < 200; i++) {
        series_push(&s->finished, (float)((i * i) % 97));
        series_push(&s->accepted, (float)((i * 7) % 50));
    }
    job_list *l = job_list_new(jobs);
    fill_jobs(l, jobs);
    snapshot_set_jobs(s, l);
    snapshot_set_alerts(s, make_alerts());
    snapshot_set_host(s, make_host());
    snprintf(s->version, sizeof s->version, "0.1.0");
    return s;
}

job_detail *fixture_detail(const job *j)
{
    job_detail *d = calloc(1, sizeof *d);
    atomic_init(&d->refs, 1);
    d->job = *j;
    d->job.started_ms = j->created_ms + 14;
    d->n_attempts = 2;
    d->attempts[0] =
        (attempt_row){1, "FAILED", "connection refused by smtp.example.org:25", "", FIX_NOW, FIX_NOW + 18};
    d->attempts[1] = (attempt_row){2, "COMPLETED", "", "host-1", FIX_NOW + 30, FIX_NOW + 1230};
    static const char *const kinds[] = {"job.created", "job.executed", "job.failed", "job.completed"};
    for (int i = 0; i < 4; i++) {
        event_row *e = &d->events[d->n_events++];
        snprintf(e->type, sizeof e->type, "%s", kinds[i]);
        snprintf(e->service, sizeof e->service, "%s", i ? "processor" : "gateway");
        e->at_ms = FIX_NOW + i * 407;
    }
    snprintf(d->body, sizeof d->body,
             "{\n  \"id\": \"%s\",\n  \"payload\": {\n    \"to\": \"someone\"\n  }\n}", j->id);
    return d;
}

fixture *fixture_new(int jobs, bool utf8, int colors)
{
    fixture *f = calloc(1, sizeof *f);
    setlocale(LC_ALL, "C.UTF-8");
    setenv("TZ", "UTC", 1);
    tzset();
    f->caps = (caps){.utf8 = utf8, .colors = colors, .motion = false, .remote = true};
    ui_init(&f->ui, &f->caps, &ops, f, FIX_NOW);
    snprintf(f->ui.gateway_url, sizeof f->ui.gateway_url, "http://localhost:3000");
    snprintf(f->ui.read_url, sizeof f->ui.read_url, "http://localhost:8080");
    ui_set_snapshot(&f->ui, fixture_snapshot(jobs));
    return f;
}

void fixture_free(fixture *f)
{
    ui_free(&f->ui);
    grid_free(&f->grid);
    free(f);
}

void fixture_keys(fixture *f, const char *keys)
{
    for (; *keys; keys++) {
        ui_key(&f->ui, *keys == '\n' ? DKEY_ENTER : (uint32_t)*keys);
    }
}

const char *fixture_text(fixture *f)
{
    static odto_buf b;
    odto_buf_clear(&b);
    view_draw(&f->ui, &f->grid);
    grid_to_text(&f->grid, &b);
    return b.p;
}
