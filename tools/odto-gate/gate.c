/* gate.c — odto-gate, the integration gate: does a running system do its main job?
 *
 * Uses only what the wire contract keeps, so it holds for any stack that speaks it: health of gateway and
 * read model, N jobs submitted and COMPLETED in time, events of each found and none twice, statistics grown
 * by N, metric names present. Prints PASS and FAIL lines and a summary; exit status 1 on any failure. One
 * thread. */
#include "fetch.h"

#include <errno.h>
#include <getopt.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_JOBS   500
#define MAX_CHECKS (MAX_JOBS * 2 + 32)
#define POLL_US    100000

typedef struct gate_job {
    char id[ODTO_UUID_LEN + 1];
    bool submitted, completed;
    char status[32];
    size_t n_events;
} gate_job;

typedef struct check_result {
    char name[96];
    char detail[400];
    bool ok;
} check_result;

typedef struct gate {
    const char *gateway, *read_model, *processor, *type;
    int n_jobs;
    double timeout_s;
    bool json;
    char folder[512];
    fetcher f;
    answer a;
    gate_job jobs[MAX_JOBS];
    check_result checks[MAX_CHECKS];
    size_t n_checks, n_failed;
    int64_t done_before;
} gate;

/* ---- results ----------------------------------------------------------------------------------- */

static void result(gate *g, bool ok, const char *name, const char *fmt, ...) ODTO_PRINTF(4, 5);
static void result(gate *g, bool ok, const char *name, const char *fmt, ...)
{
    if (g->n_checks >= MAX_CHECKS)
        return;
    check_result *c = &g->checks[g->n_checks++];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(c->detail, sizeof c->detail, fmt, ap);
    va_end(ap);
    snprintf(c->name, sizeof c->name, "%s", name);
    c->ok = ok;
    g->n_failed += !ok;
    if (!g->json) {
        printf("%s  %s%s%s\n", ok ? "PASS" : "FAIL", name, c->detail[0] ? ": " : "", c->detail);
        fflush(stdout);
    }
}

/* What the last answer was, for a detail. */
static const char *seen(const gate *g, char buf[300])
{
    if (g->a.status == 0)
        snprintf(buf, 300, "no answer (%s)", g->a.error);
    else
        snprintf(buf, 300, "%ld %.*s", g->a.status, g->a.body.n > 200 ? 200 : (int)g->a.body.n,
                 g->a.body.p ? g->a.body.p : "");
    return buf;
}

static int64_t deadline(const gate *g)
{
    return odto_now_ns() + (int64_t)(g->timeout_s * 1e9);
}

/* ---- json -------------------------------------------------------------------------------------- */

static const char *text_of(struct json_object *o, const char *key)
{
    struct json_object *v = NULL;
    if (!json_object_is_type(o, json_type_object) || !json_object_object_get_ex(o, key, &v) ||
        !json_object_is_type(v, json_type_string))
        return "";
    return json_object_get_string(v);
}

static struct json_object *member_of(struct json_object *o, const char *key)
{
    struct json_object *v = NULL;
    if (json_object_is_type(o, json_type_object))
        json_object_object_get_ex(o, key, &v);
    return v;
}

/* ---- the steps --------------------------------------------------------------------------------- */

static void check_health(gate *g, const char *name, const char *base, const char *path)
{
    int64_t until = deadline(g);
    char buf[300];
    int tries = 0;
    do {
        tries++;
        fetch(&g->f, base, path, NULL, &g->a);
        struct json_object *o = g->a.status == 200 ? fetch_json(&g->a) : NULL;
        bool ok = o && strcmp(text_of(o, "status"), "ok") == 0;
        json_object_put(o);
        if (ok) {
            result(g, true, name, "%s%s after %d %s", base, path, tries, tries == 1 ? "try" : "tries");
            return;
        }
        usleep(POLL_US * 5);
    } while (odto_now_ns() < until);
    result(g, false, name, "%s%s: %s", base, path, seen(g, buf));
}

/* Finished jobs as /stats tells them; -1 when it does not. */
static int64_t finished_jobs(gate *g)
{
    fetch(&g->f, g->read_model, "/stats", NULL, &g->a);
    struct json_object *o = g->a.status == 200 ? fetch_json(&g->a) : NULL;
    struct json_object *v = member_of(o, "totalJobs");
    int64_t n = json_object_is_type(v, json_type_int) ? json_object_get_int64(v) : -1;
    json_object_put(o);
    return n;
}

static bool accepted(gate *g, const gate_job *job)
{
    struct json_object *o = g->a.status == 202 ? fetch_json(&g->a) : NULL;
    odto_uuid id, want, event;
    bool ok = o && odto_uuid_parse(odto_slice_str(text_of(o, "jobId")), &id) == 0 &&
              odto_uuid_parse(odto_slice_str(job->id), &want) == 0 && odto_uuid_eq(&id, &want) &&
              odto_uuid_parse(odto_slice_str(text_of(o, "eventId")), &event) == 0;
    json_object_put(o);
    return ok;
}

static void submit(gate *g)
{
    int ok = 0;
    char body[1024], now[25], buf[300] = "";
    for (int i = 0; i < g->n_jobs; i++) {
        gate_job *job = &g->jobs[i];
        odto_uuid u;
        odto_uuid_v7(&u);
        odto_uuid_format(&u, job->id);
        odto_time_format(odto_unix_ms(), now);
        snprintf(body, sizeof body,
                 "{\"id\":\"%s\",\"type\":\"%s\",\"status\":\"PENDING\",\"createdAt\":\"%s\","
                 "\"payload\":{\"gate\":%d}}",
                 job->id, g->type, now, i);
        fetch(&g->f, g->gateway, "/jobs", body, &g->a);
        job->submitted = accepted(g, job);
        ok += job->submitted;
        if (!job->submitted)
            seen(g, buf);
    }
    result(g, ok == g->n_jobs, "jobs accepted", "%d of %d%s%s", ok, g->n_jobs,
           buf[0] ? ", last refusal: " : "", buf);
}

static void note_status(gate *g, const char *id, const char *status)
{
    odto_uuid got, mine;
    if (odto_uuid_parse(odto_slice_str(id), &got) != 0)
        return;
    for (int i = 0; i < g->n_jobs; i++) {
        gate_job *job = &g->jobs[i];
        if (odto_uuid_parse(odto_slice_str(job->id), &mine) == 0 && odto_uuid_eq(&got, &mine)) {
            snprintf(job->status, sizeof job->status, "%s", status);
            job->completed = strcmp(status, "COMPLETED") == 0;
        }
    }
}

/* Look at the newest jobs, then at those not among them one by one (a route of ours, that others may lack).
 */
static int count_completed(gate *g)
{
    char path[96];
    snprintf(path, sizeof path, "/jobs/recent?limit=%d", MAX_JOBS);
    fetch(&g->f, g->read_model, path, NULL, &g->a);
    struct json_object *list = g->a.status == 200 ? fetch_json(&g->a) : NULL;
    size_t n = json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
    for (size_t i = 0; i < n; i++) {
        struct json_object *o = json_object_array_get_idx(list, i);
        note_status(g, text_of(o, "id"), text_of(o, "status"));
    }
    json_object_put(list);
    int completed = 0;
    for (int i = 0; i < g->n_jobs; i++) {
        if (!g->jobs[i].status[0] && g->jobs[i].submitted) {
            snprintf(path, sizeof path, "/jobs/%s", g->jobs[i].id);
            fetch(&g->f, g->read_model, path, NULL, &g->a);
            struct json_object *o = g->a.status == 200 ? fetch_json(&g->a) : NULL;
            note_status(g, text_of(o, "id"), text_of(o, "status"));
            json_object_put(o);
        }
        completed += g->jobs[i].completed;
    }
    return completed;
}

static void wait_completed(gate *g)
{
    int64_t began = odto_now_ns(), until = deadline(g);
    int completed;
    while ((completed = count_completed(g)) < g->n_jobs && odto_now_ns() < until)
        usleep(POLL_US);
    char rest[300] = "";
    for (int i = 0; i < g->n_jobs; i++)
        if (!g->jobs[i].completed && !rest[0])
            snprintf(rest, sizeof rest, ", %s is %s", g->jobs[i].id,
                     g->jobs[i].status[0] ? g->jobs[i].status : "not to be found");
    result(g, completed == g->n_jobs, "jobs COMPLETED", "%d of %d in %.2f s%s", completed, g->n_jobs,
           (double)(odto_now_ns() - began) / 1e9, rest);
}

/* ---- events ------------------------------------------------------------------------------------ */

typedef struct id_set {
    odto_uuid *ids;
    size_t n, cap, duplicates;
} id_set;

static void set_add(id_set *s, const odto_uuid *id)
{
    for (size_t i = 0; i < s->n; i++)
        if (odto_uuid_eq(&s->ids[i], id)) {
            s->duplicates++;
            return;
        }
    if (s->n == s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 64;
        odto_uuid *ids = realloc(s->ids, cap * sizeof *ids);
        if (!ids)
            return;
        s->ids = ids;
        s->cap = cap;
    }
    s->ids[s->n++] = *id;
}

/* The events of one job, into s. Others write the envelope's keys in lower case. */
static void read_events(gate *g, gate_job *job, id_set *s)
{
    char path[96];
    snprintf(path, sizeof path, "/events?jobId=%s&limit=50", job->id);
    fetch(&g->f, g->read_model, path, NULL, &g->a);
    struct json_object *list = g->a.status == 200 ? fetch_json(&g->a) : NULL;
    size_t n = json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
    job->n_events = 0;
    for (size_t i = 0; i < n; i++) {
        struct json_object *o = json_object_array_get_idx(list, i);
        const char *of = text_of(member_of(o, "payload"), "id"), *id = text_of(o, "eventId");
        odto_uuid u;
        if (strcasecmp(of, job->id) != 0 ||
            odto_uuid_parse(odto_slice_str(*id ? id : text_of(o, "eventid")), &u) != 0)
            continue;
        job->n_events++;
        set_add(s, &u);
    }
    json_object_put(list);
}

static void check_events(gate *g)
{
    int64_t until = deadline(g);
    id_set s = {0};
    int found;
    do {
        found = 0;
        s.n = s.duplicates = 0;
        for (int i = 0; i < g->n_jobs; i++) {
            read_events(g, &g->jobs[i], &s);
            found += g->jobs[i].n_events > 0;
        }
        if (found < g->n_jobs)
            usleep(POLL_US);
    } while (found < g->n_jobs && odto_now_ns() < until);
    result(g, found == g->n_jobs, "events of every job", "%d of %d jobs have events, %zu in all", found,
           g->n_jobs, s.n);
    result(g, s.duplicates == 0, "no event twice", "%zu duplicate event ids", s.duplicates);
    free(s.ids);
}

static void check_stats(gate *g)
{
    int64_t until = deadline(g), now;
    char buf[300];
    while ((now = finished_jobs(g)) < g->done_before + g->n_jobs && odto_now_ns() < until)
        usleep(POLL_US);
    if (now < 0)
        result(g, false, "statistics", "GET /stats has no totalJobs: %s", seen(g, buf));
    else
        result(g, now >= g->done_before + g->n_jobs, "statistics",
               "totalJobs went from %lld to %lld, by %d at least", (long long)g->done_before, (long long)now,
               g->n_jobs);
}

/* ---- metrics ----------------------------------------------------------------------------------- */

/* The text has a sample or a TYPE line of this name. */
static bool has_metric(const char *text, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = text; p && (p = strstr(p, name)); p += n) {
        bool starts = p == text || p[-1] == '\n' || p[-1] == ' ';
        if (starts && strchr("{ \n_", p[n]))
            return true;
    }
    return false;
}

static void check_metrics(gate *g, const char *service, const char *base, const char *const *names)
{
    char name[96], missing[300] = "", buf[300];
    snprintf(name, sizeof name, "metrics of the %s", service);
    fetch(&g->f, base, "/metrics", NULL, &g->a);
    if (g->a.status != 200) {
        result(g, false, name, "%s/metrics: %s", base, seen(g, buf));
        return;
    }
    for (; *names; names++)
        if (!has_metric(g->a.body.p ? g->a.body.p : "", *names)) {
            size_t n = strlen(missing);
            snprintf(missing + n, sizeof missing - n, " %s", *names);
        }
    result(g, !missing[0], name, "%s%s", missing[0] ? "missing:" : "all names are there", missing);
}

/* ---- the whole --------------------------------------------------------------------------------- */

static void run(gate *g)
{
    static const char *const gateway_names[] = {"gateway_jobs_submitted_total", "gateway_jobs_accepted_total",
                                                NULL};
    static const char *const processor_names[] = {
        "processor_jobs_processed_total",   "processor_jobs_completed_total",
        "processor_jobs_failed_total",      "processor_jobs_validation_failed_total",
        "processor_job_processing_seconds", NULL};
    check_health(g, "gateway is healthy", g->gateway, "/healthz");
    check_health(g, "read model is healthy", g->read_model, "/health");
    if (g->n_failed > 0)
        return; /* the rest would only repeat it */
    g->done_before = finished_jobs(g);
    submit(g);
    wait_completed(g);
    check_events(g);
    check_stats(g);
    check_metrics(g, "gateway", g->gateway, gateway_names);
    check_metrics(g, "processor", g->processor, processor_names);
}

static void report(const gate *g)
{
    if (!g->json) {
        printf("%s: %zu passed, %zu failed; answers kept in %s\n", g->n_failed ? "FAILED" : "passed",
               g->n_checks - g->n_failed, g->n_failed, g->folder);
        return;
    }
    odto_buf b = {0};
    odto_buf_printf(&b,
                    "{\"ok\":%s,\"passed\":%zu,\"failed\":%zu,\"artifacts\":", g->n_failed ? "false" : "true",
                    g->n_checks - g->n_failed, g->n_failed);
    odto_buf_jsonz(&b, g->folder);
    odto_buf_str(&b, ",\"checks\":[");
    for (size_t i = 0; i < g->n_checks; i++) {
        const check_result *c = &g->checks[i];
        odto_buf_str(&b, i ? ",{\"name\":" : "{\"name\":");
        odto_buf_jsonz(&b, c->name);
        odto_buf_printf(&b, ",\"ok\":%s,\"detail\":", c->ok ? "true" : "false");
        odto_buf_jsonz(&b, c->detail);
        odto_buf_put(&b, "}", 1);
    }
    odto_buf_str(&b, "]}");
    if (!b.failed)
        puts(b.p);
    odto_buf_free(&b);
}

static const char usage[] = "usage: odto-gate [options]\n"
                            "Checks that a running system accepts, executes, reports and counts jobs.\n"
                            "  -g, --gateway URL       default $GATEWAY_URL or http://127.0.0.1:3000\n"
                            "  -r, --read-model URL    default $READ_MODEL_URL or http://127.0.0.1:8080\n"
                            "  -p, --processor URL     default http://127.0.0.1:8000 (its /metrics)\n"
                            "  -n, --jobs N            jobs to submit (3)\n"
                            "  -t, --type TYPE         their type (echo)\n"
                            "  -T, --timeout SECONDS   for each step (30)\n"
                            "  -a, --artifacts DIR     keep all answers here (a new folder under $TMPDIR)\n"
                            "      --json              one JSON object instead of lines\n"
                            "      --help, --version\n"
                            "exit status: 0 passed, 1 a check failed, 2 usage\n";

static int wrong_usage(void)
{
    fputs(usage, stderr);
    return 2;
}

static const char *env_or(const char *name, const char *fallback)
{
    const char *v = getenv(name);
    return v && *v ? v : fallback;
}

/* 0 to go on, else the exit status + 1. */
static int read_options(gate *g, int argc, char **argv)
{
    enum { JSON = 256, HELP, VERSION };
    static const struct option longs[] = {{"gateway", 1, 0, 'g'},
                                          {"read-model", 1, 0, 'r'},
                                          {"processor", 1, 0, 'p'},
                                          {"jobs", 1, 0, 'n'},
                                          {"type", 1, 0, 't'},
                                          {"timeout", 1, 0, 'T'},
                                          {"artifacts", 1, 0, 'a'},
                                          {"json", 0, 0, JSON},
                                          {"help", 0, 0, HELP},
                                          {"version", 0, 0, VERSION},
                                          {0, 0, 0, 0}};
    g->gateway = env_or("GATEWAY_URL", "http://127.0.0.1:3000");
    g->read_model = env_or("READ_MODEL_URL", "http://127.0.0.1:8080");
    g->processor = "http://127.0.0.1:8000";
    g->type = "echo";
    g->n_jobs = 3;
    g->timeout_s = 30;
    for (int k; (k = getopt_long(argc, argv, "g:r:p:n:t:T:a:", longs, NULL)) != -1;) {
        if (k == 'g')
            g->gateway = optarg;
        else if (k == 'r')
            g->read_model = optarg;
        else if (k == 'p')
            g->processor = optarg;
        else if (k == 'n')
            g->n_jobs = atoi(optarg);
        else if (k == 't')
            g->type = optarg;
        else if (k == 'T')
            g->timeout_s = atof(optarg);
        else if (k == 'a')
            snprintf(g->folder, sizeof g->folder, "%s", optarg);
        else if (k == JSON)
            g->json = true;
        else if (k == HELP)
            return fputs(usage, stdout), 1;
        else if (k == VERSION)
            return puts("odto-gate " PACKAGE_VERSION), 1;
        else
            return wrong_usage() + 1;
    }
    bool plain = strspn(g->type, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") ==
                 strlen(g->type);
    if (optind < argc || g->n_jobs < 1 || g->n_jobs > MAX_JOBS || !(g->timeout_s > 0) || !plain || !*g->type)
        return wrong_usage() + 1;
    return 0;
}

static int make_folder(gate *g)
{
    if (!g->folder[0]) {
        snprintf(g->folder, sizeof g->folder, "%s/odto-gate-XXXXXX", env_or("TMPDIR", "/tmp"));
        return mkdtemp(g->folder) ? 0 : -errno;
    }
    return mkdir(g->folder, 0777) == 0 || errno == EEXIST ? 0 : -errno;
}

int main(int argc, char **argv)
{
    static gate g;
    int rc = read_options(&g, argc, argv);
    if (rc != 0)
        return rc - 1;
    rc = make_folder(&g);
    if (rc == 0)
        rc = fetch_open(&g.f, g.folder, 10000);
    if (rc != 0) {
        fprintf(stderr, "odto-gate: %s: %s\n", g.folder, strerror(-rc));
        return 2;
    }
    run(&g);
    report(&g);
    answer_free(&g.a);
    fetch_close(&g.f);
    return g.n_failed ? 1 : 0;
}
