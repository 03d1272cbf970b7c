/* progress — see progress.h. */
#include "progress.h"

#include "text.h"

#include <json-c/json.h>
#include <odto/json.h>
#include <stdio.h>
#include <string.h>

const char *const step_names[STEP_COUNT] = {"prereqs", "cluster", "images", "load", "deploy",
                                            "pods",    "ports",   "verify", "ready"};
const char *const step_status_names[] = {"waiting", "starting", "complete", "warning", "skipped", "error"};

static void get_text(json_object *o, const char *key, char *out, size_t size)
{
    json_object *v = NULL;
    bool there = json_object_object_get_ex(o, key, &v) && json_object_is_type(v, json_type_string);
    text_clean(out, size, there ? json_object_get_string(v) : "");
}

/* The line as an object, or NULL. */
static json_object *object_of(const char *line)
{
    json_object *o = NULL;
    if (odto_json_parse(odto_slice_str(line), 8, &o, NULL)) {
        return NULL;
    }
    if (!json_object_is_type(o, json_type_object)) {
        json_object_put(o);
        return NULL;
    }
    return o;
}

void launch_begin(launch_state *l, launch_kind kind, int64_t now_ms)
{
    memset(l, 0, sizeof *l);
    l->kind = kind;
    l->running = true;
    l->begun_ms = now_ms;
}

static void add_log(launch_state *l, const char *text)
{
    if (text[0]) {
        text_clean(l->log[l->n_log % LAUNCH_LOG], sizeof l->log[0], text);
        l->n_log++;
    }
}

static void take_urls(launch_state *l, json_object *o)
{
    json_object *a = NULL;
    if (!json_object_object_get_ex(o, "urls", &a)) {
        return;
    }
    l->n_urls = 0;
    if (json_object_is_type(a, json_type_array)) {
        size_t n = json_object_array_length(a);
        for (size_t i = 0; i < n && l->n_urls < LAUNCH_URLS; i++) {
            text_clean(l->urls[l->n_urls++], sizeof l->urls[0],
                       json_object_get_string(json_object_array_get_idx(a, i)));
        }
    } else if (json_object_is_type(a, json_type_object)) {
        json_object_object_foreach(a, key, value)
        {
            char text[160];
            snprintf(text, sizeof text, "%s  %s", key, json_object_get_string(value));
            if (l->n_urls < LAUNCH_URLS) {
                text_clean(l->urls[l->n_urls++], sizeof l->urls[0], text);
            }
        }
    }
}

static int index_of(const char *word, const char *const *names, int n)
{
    for (int i = 0; i < n; i++) {
        if (!strcmp(word, names[i])) {
            return i;
        }
    }
    return -1;
}

static void take_step(launch_state *l, json_object *o, int step, int64_t now_ms)
{
    char word[24];
    launch_step *s = &l->steps[step];
    get_text(o, "status", word, sizeof word);
    int status = index_of(word, step_status_names, STEP_ERROR + 1);
    if (status <= STEP_WAITING) {
        return;
    }
    s->begun_ms = s->begun_ms ? s->begun_ms : now_ms;
    s->ended_ms = status == STEP_STARTING ? 0 : now_ms;
    s->status = (step_status)status;
    get_text(o, "message", s->message, sizeof s->message);
    add_log(l, s->message);
    if (status == STEP_ERROR) {
        l->failed = true;
        get_text(o, "remedy", l->remedy, sizeof l->remedy);
    }
    take_urls(l, o);
    json_object *pid = NULL;
    if (json_object_object_get_ex(o, "pid", &pid)) {
        l->pid = json_object_get_int64(pid);
    }
    if (step == STEP_READY && status == STEP_COMPLETE) {
        l->done = true;
    }
}

void launch_line(launch_state *l, const char *line, int64_t now_ms)
{
    json_object *o = object_of(line);
    if (!o) {
        add_log(l, line);
        return;
    }
    char word[24], log[160];
    get_text(o, "step", word, sizeof word);
    int step = index_of(word, step_names, STEP_COUNT);
    if (step >= 0) {
        take_step(l, o, step, now_ms);
    } else {
        get_text(o, "log", log, sizeof log);
        add_log(l, log);
    }
    json_object_put(o);
}

void launch_ended(launch_state *l, int status, int64_t now_ms)
{
    l->running = false;
    l->ended_ms = now_ms;
    if (l->done && status == 0) {
        return;
    }
    for (int i = 0; i < STEP_COUNT; i++) {
        if (l->steps[i].status == STEP_STARTING) {
            l->steps[i].status = STEP_ERROR;
            l->steps[i].ended_ms = now_ms;
            snprintf(l->steps[i].message, sizeof l->steps[i].message, "%s",
                     l->cancelled ? "cancelled" : "the launcher ended in this step");
        }
    }
    l->failed = true;
    if (!l->remedy[0] && !l->cancelled) {
        snprintf(l->remedy, sizeof l->remedy, "exit status %d; the last lines below say why", status);
    }
}

void checks_begin(check_state *c)
{
    memset(c, 0, sizeof *c);
    c->running = true;
}

void checks_line(check_state *c, const char *line)
{
    static const char *const words[] = {"OK", "WARN", "FAIL"};
    json_object *o = object_of(line);
    if (!o) {
        return;
    }
    char word[8];
    get_text(o, "verdict", word, sizeof word);
    int v = index_of(word, words, 3);
    if (v >= 0 && c->n < CHECKS_MAX) {
        check_row *r = &c->rows[c->n++];
        r->verdict = (verdict)v;
        get_text(o, "section", r->section, sizeof r->section);
        get_text(o, "name", r->name, sizeof r->name);
        get_text(o, "detail", r->detail, sizeof r->detail);
        get_text(o, "hint", r->hint, sizeof r->hint);
        get_text(o, "install", r->install, sizeof r->install);
    }
    json_object_put(o);
}

void checks_ended(check_state *c, int status)
{
    c->running = false;
    c->done = true;
    c->exit_status = status;
}
