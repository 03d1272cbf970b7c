/* cmd_submit.c — `odto submit`.
 *
 * Every job gets its id here, so a request may be repeated after a failure without being done twice: the
 * gateway answers a known id with its first event. Jobs go out in batches where the gateway has
 * POST /v1/jobs/batch, one by one otherwise and where a batch was refused. */
#include "cli.h"
#include "jobs_input.h"

#include <odto/json.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BATCH_JOBS  100
#define BATCH_BYTES (512u << 10)
#define GIVE_UP     (30 * ODTO_SEC) /* repeating a request that finds the gateway full or away; or --timeout */

typedef struct pending {
    char id[ODTO_UUID_LEN + 1];
    int line;
    char *text; /* until it was sent */
} pending;

typedef struct submission {
    cli *c;
    bool batches; /* the gateway takes them */
    bool answered;
    bool quiet, wait;
    int code;
    pending batch[BATCH_JOBS];
    size_t n, bytes;
    char (*ids)[ODTO_UUID_LEN + 1]; /* accepted, for --wait */
    size_t n_ids, size_ids;
    size_t accepted, refused;
    const char *file;
} submission;

static void pause_ns(int64_t ns)
{
    struct timespec t = {(time_t)(ns / ODTO_SEC), (long)(ns % ODTO_SEC)};
    nanosleep(&t, NULL);
}

static void worse(submission *s, int code)
{
    if (s->code == CLI_OK)
        s->code = code;
}

/* ---- building a job ---- */

static void set_missing(struct json_object *job, const char *key, const char *value)
{
    if (!jget(job, key))
        json_object_object_add(job, key, json_object_new_string(value));
}

/* id, status and createdAt where they are missing. */
static void complete(struct json_object *job, const char *id)
{
    char fresh[ODTO_UUID_LEN + 1], now[25];
    odto_uuid u;
    odto_uuid_v7(&u);
    odto_uuid_format(&u, fresh);
    odto_time_format(odto_unix_ms(), now);
    set_missing(job, "id", id ? id : fresh);
    set_missing(job, "status", "PENDING");
    set_missing(job, "createdAt", now);
}

static bool put_seconds(cli *c, struct json_object *options, const char *name, const char *key)
{
    int64_t ns = -1;
    if (!cli_get_duration(c, name, &ns))
        return false;
    if (ns >= 0)
        json_object_object_add(options, key, json_object_new_double((double)ns / 1e9));
    return true;
}

static bool put_int(cli *c, struct json_object *options, const char *name, const char *key, int64_t min)
{
    int64_t v = 0;
    if (!cli_get_int(c, name, min, INT32_MAX, &v))
        return false;
    if (cli_get(c, name))
        json_object_object_add(options, key, json_object_new_int64(v));
    return true;
}

static int read_payload(const cli *c, const char *text, struct json_object **out)
{
    odto_error e = {0};
    odto_buf file = {.max = JOBS_INPUT_MAX};
    char part[8192];
    size_t n;
    if (*text == '@') {
        FILE *f = strcmp(text, "@-") == 0 ? stdin : fopen(text + 1, "re");
        if (!f)
            return cli_failf(c, CLI_USAGE, NULL, "--payload: %s: %s", text + 1, strerror(errno));
        while ((n = fread(part, 1, sizeof(part), f)) > 0)
            odto_buf_put(&file, part, n);
        if (f != stdin)
            fclose(f);
    } else {
        odto_buf_str(&file, text);
    }
    int code = odto_json_parse(odto_slice_of(file.p, file.n), 128, out, &e);
    if (file.failed)
        code = odto_fail(&e, -EFBIG, "it is larger than 1 MiB");
    odto_buf_free(&file);
    if (code == 0 && json_object_is_type(*out, json_type_object))
        return CLI_OK;
    if (code < 0)
        return cli_failf(c, CLI_USAGE, "quote it for the shell: -p '{\"key\":\"value\"}'",
                         "--payload: %s%s%s", e.message, e.detail[0] ? ": " : "", e.detail);
    json_object_put(*out);
    *out = NULL;
    return cli_failf(c, CLI_USAGE, NULL, "--payload: a JSON object is needed");
}

/* The job that TYPE and the options describe. */
static int job_of_options(cli *c, struct json_object **out)
{
    struct json_object *job = json_object_new_object(), *options = json_object_new_object(), *payload = NULL;
    int code = CLI_OK;
    json_object_object_add(job, "type", json_object_new_string(c->argv[0]));
    if (cli_get(c, "payload"))
        code = read_payload(c, cli_get(c, "payload"), &payload);
    if (payload)
        json_object_object_add(job, "payload", payload);
    if (code == CLI_OK && (!put_int(c, options, "priority", "priority", INT32_MIN) ||
                           !put_int(c, options, "attempts", "maxAttempts", 1) ||
                           !put_seconds(c, options, "delay", "delaySeconds") ||
                           !put_seconds(c, options, "run-timeout", "timeoutSeconds")))
        code = CLI_USAGE;
    if (json_object_object_length(options) > 0)
        json_object_object_add(job, "options", options);
    else
        json_object_put(options);
    if (code == CLI_OK)
        *out = job;
    else
        json_object_put(job);
    return code;
}

/* ---- answers ---- */

static void accepted(submission *s, const char *id, const char *event)
{
    s->accepted++;
    if (s->wait) {
        if (s->n_ids == s->size_ids) {
            size_t size = s->size_ids ? 2 * s->size_ids : 256;
            void *grown = realloc(s->ids, size * sizeof(*s->ids));
            if (!grown)
                return;
            s->ids = grown;
            s->size_ids = size;
        }
        snprintf(s->ids[s->n_ids++], sizeof(*s->ids), "%.*s", ODTO_UUID_LEN, id);
    } else if (s->c->json) {
        struct json_object *o = json_object_new_object();
        json_object_object_add(o, "jobId", json_object_new_string(id));
        json_object_object_add(o, "eventId", json_object_new_string(event));
        cli_json(o);
        json_object_put(o);
    } else if (s->quiet) {
        puts(id);
    } else {
        cli_print_style(s->c, GREEN, "accepted");
        printf("  %s\n", id);
    }
}

static void refuse(submission *s, const pending *p, const http_reply *r)
{
    s->refused++;
    if (s->file && !s->c->json)
        fprintf(stderr, "%s:%d: ", s->file, p->line);
    worse(s, http_refused(s->c, r));
}

/* Repeats while the gateway is full or, once it has answered, away. -errno when it gave up. */
static int post(submission *s, const char *path, const char *type, odto_slice body, http_reply *r,
                odto_error *e)
{
    int64_t patience = s->c->timeout_ns ? s->c->timeout_ns : GIVE_UP, delay = 100 * ODTO_MS;
    int64_t deadline = odto_now_ns() + patience;
    bool told = s->quiet || s->c->json;
    for (;;) {
        odto_buf_free(&r->body);
        *r = (http_reply){0};
        int code = http_ask(s->c, "POST", s->c->gateway, path, type, body, r, e);
        bool again = code < 0 ? s->answered : r->status == 429 || r->status == 503;
        int64_t wait = r->retry_after_s > 0 ? r->retry_after_s * ODTO_SEC : delay;
        if (!again || odto_now_ns() + wait > deadline)
            return code;
        if (!told)
            fprintf(stderr, "odto: the gateway is full or not ready, trying for %llds\n",
                    (long long)(patience / ODTO_SEC));
        told = true;
        pause_ns(wait);
        delay = delay < 2 * ODTO_SEC ? 2 * delay : delay;
    }
}

/* False: the gateway can't be reached, the rest is hopeless. */
static bool post_one(submission *s, const pending *p)
{
    http_reply r = {0};
    odto_error e = {0};
    struct json_object *o = NULL;
    int code = post(s, "/jobs", "application/json", odto_slice_str(p->text), &r, &e);
    if (code < 0) {
        worse(s, cli_error(s->c, CLI_UNREACHABLE, &e));
    } else if (r.status != 202 || odto_json_parse(odto_slice_of(r.body.p, r.body.n), 8, &o, NULL) < 0) {
        refuse(s, p, &r);
    } else {
        s->answered = true;
        accepted(s, jstr(o, "jobId"), jstr(o, "eventId"));
    }
    json_object_put(o);
    odto_buf_free(&r.body);
    return code == 0;
}

/* 1: all accepted; 0: one by one; -1: hopeless. */
static int post_batch(submission *s)
{
    http_reply r = {0};
    odto_error e = {0};
    odto_buf body = {0};
    struct json_object *o = NULL, *list;
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++) {
        odto_buf_str(&body, i ? "," : "[");
        odto_buf_str(&body, s->batch[i].text);
    }
    odto_buf_str(&body, "]");
    int code = post(s, "/v1/jobs/batch", "application/json", odto_slice_of(body.p, body.n), &r, &e);
    odto_buf_free(&body);
    if (code < 0)
        worse(s, cli_error(s->c, CLI_UNREACHABLE, &e));
    else if (r.status == 202 && odto_json_parse(odto_slice_of(r.body.p, r.body.n), 8, &o, NULL) == 0 &&
             (list = jarray(o, "jobs", &n)) && n == s->n) {
        s->answered = true;
        for (size_t i = 0; i < n; i++)
            accepted(s, jstr(json_object_array_get_idx(list, i), "jobId"),
                     jstr(json_object_array_get_idx(list, i), "eventId"));
    } else {
        s->batches = r.status != 404 && r.status != 405; /* another gateway */
        n = 0;
    }
    json_object_put(o);
    odto_buf_free(&r.body);
    return code < 0 ? -1 : n > 0;
}

static bool flush_batch(submission *s)
{
    bool on = true;
    int code = s->batches && s->n > 1 ? post_batch(s) : 0;
    for (size_t i = 0; i < s->n && code == 0 && on; i++)
        on = post_one(s, &s->batch[i]);
    for (size_t i = 0; i < s->n; i++)
        free(s->batch[i].text);
    s->n = s->bytes = 0;
    return on && code >= 0;
}

/* Takes over nothing of job. False: stop. */
static bool add_job(submission *s, struct json_object *job, int line)
{
    const char *text =
        json_object_to_json_string_ext(job, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
    size_t length = strlen(text);
    if (s->n && s->bytes + length > BATCH_BYTES && !flush_batch(s))
        return false;
    pending *p = &s->batch[s->n];
    p->line = line;
    p->text = strdup(text);
    if (!p->text) {
        worse(s, cli_failf(s->c, CLI_REFUSED, NULL, "no memory"));
        return false;
    }
    s->n++;
    s->bytes += length;
    return s->n < BATCH_JOBS || flush_batch(s);
}

static bool add_text(submission *s, const jobs_input *in)
{
    struct json_object *job = NULL;
    odto_error e = {0};
    if (odto_json_parse(odto_slice_of(in->text.p, in->text.n), 128, &job, &e) < 0) {
        s->refused++;
        odto_error_where(&e, in->name, in->line, 1);
        worse(s, cli_error(s->c, CLI_REFUSED, &e));
        return true;
    }
    complete(job, NULL);
    bool on = add_job(s, job, in->line);
    json_object_put(job);
    return on;
}

static void submit_file(submission *s, const char *name)
{
    bool standard = strcmp(name, "-") == 0;
    jobs_input in = {.name = standard ? "standard input" : name,
                     .file = standard ? stdin : fopen(name, "re")};
    odto_error e = {0};
    int code = in.file ? 1 : odto_fail(&e, -errno, "%s: %s", name, strerror(errno));
    s->file = in.name;
    bool on = true;
    while (code > 0 && on) {
        code = jobs_input_next(&in, &e);
        if (code > 0)
            on = add_text(s, &in);
    }
    if (on && s->n > 0)
        on = flush_batch(s);
    if (code < 0)
        worse(s, cli_error(s->c, in.file ? CLI_REFUSED : CLI_USAGE, &e));
    odto_buf_free(&in.text);
    if (in.file && !standard)
        fclose(in.file);
}

static void submit_options(submission *s)
{
    struct json_object *job = NULL;
    int64_t count = 1;
    if (!cli_get_int(s->c, "count", 1, 10000000, &count) || job_of_options(s->c, &job) != CLI_OK) {
        s->code = CLI_USAGE;
        return;
    }
    if (cli_get(s->c, "id") && count > 1) {
        s->code = cli_failf(s->c, CLI_USAGE, NULL, "--id and --count exclude each other");
        count = 0;
    }
    bool on = true;
    for (int64_t i = 0; i < count && on; i++) {
        json_object_object_del(job, "id");
        json_object_object_del(job, "createdAt");
        complete(job, cli_get(s->c, "id"));
        on = add_job(s, job, 0);
    }
    if (on && s->n > 0)
        flush_batch(s);
    json_object_put(job);
}

/* ---- waiting ---- */

typedef struct tally {
    size_t completed, failed;
} tally;

static void print_end(const cli *c, struct json_object *job, bool quiet)
{
    char took[32];
    const char *status = jstr(job, "status"), *error = jstr(job, "error");
    struct json_object *result = jget(job, "result"), *timings = jget(job, "timings");
    if (c->json) {
        cli_json(job);
        return;
    }
    if (quiet) {
        printf("%s\n", jstr(job, "id"));
        return;
    }
    cli_print_style(c, cli_state_style(status), status);
    printf("%*s  %s  ", (int)(9 - (strlen(status) < 9 ? strlen(status) : 9)), "", jstr(job, "id"));
    cli_print_style(c, PLAIN, jstr(job, "type"));
    printf("  %s, %lld attempt%s  ", cli_millis(jint(timings, "totalMs"), took, sizeof(took)),
           (long long)jint(job, "attempt"), jint(job, "attempt") == 1 ? "" : "s");
    if (*error)
        cli_print_style(c, RED, error);
    else if (result)
        cli_print_style(
            c, PLAIN,
            json_object_to_json_string_ext(result, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
    printf("\n");
}

/* The job when it has ended, NULL while it has not; *code changes on an error that will not pass. */
static struct json_object *look(cli *c, const char *id, int *code)
{
    char path[64];
    http_reply r = {0};
    odto_error e = {0};
    struct json_object *o = NULL;
    snprintf(path, sizeof(path), "/jobs/%s", id);
    int failed = http_ask(c, "GET", c->read_model, path, NULL, odto_slice_of(NULL, 0), &r, &e);
    if (failed == 0 && r.status == 200 &&
        odto_json_parse(odto_slice_of(r.body.p, r.body.n), 512, &o, NULL) < 0)
        o = NULL;
    if (failed < 0)
        *code = cli_error(c, CLI_UNREACHABLE, &e);
    else if (r.status != 200 && r.status != 404 && r.status != 429 && r.status != 503) /* 404: not seen yet */
        *code = http_refused(c, &r);
    odto_buf_free(&r.body);
    const char *status = jstr(o, "status");
    if (strcmp(status, "COMPLETED") == 0 || strcmp(status, "FAILED") == 0)
        return o;
    json_object_put(o);
    return NULL;
}

static int wait_for(submission *s, const char *id, int64_t deadline, tally *t)
{
    int64_t delay = 5 * ODTO_MS;
    int code = CLI_OK;
    for (;;) {
        struct json_object *job = look(s->c, id, &code);
        if (job) {
            bool failed = strcmp(jstr(job, "status"), "FAILED") == 0;
            t->failed += failed;
            t->completed += !failed;
            print_end(s->c, job, s->quiet);
            json_object_put(job);
            return CLI_OK;
        }
        if (code != CLI_OK)
            return code;
        if (odto_now_ns() + delay > deadline)
            return cli_failf(s->c, CLI_TIMEOUT,
                             "it goes on: odto job show tells; --wait-timeout waits longer",
                             "job %s has not ended in time", id);
        pause_ns(delay);
        delay = delay < 400 * ODTO_MS ? delay * 3 / 2 : delay;
    }
}

static void wait_all(submission *s)
{
    int64_t wait = 300 * ODTO_SEC;
    tally t = {0};
    if (!cli_get_duration(s->c, "wait-timeout", &wait)) {
        s->code = CLI_USAGE;
        return;
    }
    int64_t deadline = odto_now_ns() + wait;
    int code = CLI_OK;
    for (size_t i = 0; i < s->n_ids && code == CLI_OK; i++)
        code = wait_for(s, s->ids[i], deadline, &t);
    worse(s, code);
    if (t.failed)
        worse(s, CLI_REFUSED);
    if (s->n_ids > 1 && !s->c->json && !s->quiet)
        printf("%zu jobs: %zu completed, %zu failed, %zu still on their way\n", s->n_ids, t.completed,
               t.failed, s->n_ids - t.completed - t.failed);
}

int cmd_submit(cli *c)
{
    submission s = {.c = c, .batches = true};
    const char *file = cli_get(c, "file");
    s.quiet = cli_get(c, "quiet") != NULL;
    s.wait = cli_get(c, "wait") != NULL;
    if (!file == !c->argc)
        return cli_failf(c, CLI_USAGE, "odto submit TYPE [-p PAYLOAD], or odto submit --file FILE",
                         file ? "TYPE and --file exclude each other" : "what shall be submitted?");
    if (file)
        submit_file(&s, file);
    else
        submit_options(&s);
    fflush(stdout);
    if (s.wait && s.n_ids)
        wait_all(&s);
    else if (s.accepted + s.refused > 1 && !c->json && !s.quiet)
        printf("%zu accepted, %zu refused\n", s.accepted, s.refused);
    for (size_t i = 0; i < s.n; i++)
        free(s.batch[i].text);
    free(s.ids);
    return s.code;
}
