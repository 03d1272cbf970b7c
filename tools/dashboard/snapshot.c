/* snapshot — see snapshot.h. */
#include "snapshot.h"

#include <stdlib.h>
#include <string.h>

snapshot *snapshot_new(void)
{
    snapshot *s = calloc(1, sizeof *s);
    if (s) {
        atomic_init(&s->refs, 1);
        s->stats = (stats){-1, -1, -1, -1, -1, 0};
    }
    return s;
}

/* The lists all begin with their counter. */
static void *shared_retain(void *p)
{
    if (p) {
        atomic_fetch_add_explicit((atomic_uint *)p, 1, memory_order_relaxed);
    }
    return p;
}

static void shared_release(void *p)
{
    /* acquire-release: the last owner sees every other owner's reads done before it frees */
    if (p && atomic_fetch_sub_explicit((atomic_uint *)p, 1, memory_order_acq_rel) == 1) {
        free(p);
    }
}

snapshot *snapshot_clone(const snapshot *s)
{
    snapshot *c = malloc(sizeof *c);
    if (!c) {
        return NULL;
    }
    memcpy((void *)c, (const void *)s, sizeof *c);
    atomic_init(&c->refs, 1);
    shared_retain(c->jobs);
    shared_retain(c->alerts);
    shared_retain(c->host);
    shared_retain(c->detail);
    return c;
}

snapshot *snapshot_retain(snapshot *s)
{
    return shared_retain(s);
}

void snapshot_release(snapshot **s)
{
    snapshot *old = *s;
    *s = NULL;
    if (old && atomic_fetch_sub_explicit(&old->refs, 1, memory_order_acq_rel) == 1) {
        shared_release(old->jobs);
        shared_release(old->alerts);
        shared_release(old->host);
        shared_release(old->detail);
        free(old);
    }
}

job_list *job_list_new(int n)
{
    job_list *l = calloc(1, sizeof *l + (size_t)n * sizeof l->items[0]);
    if (l) {
        atomic_init(&l->refs, 1);
    }
    return l;
}

alert_list *alert_list_new(int n)
{
    alert_list *l = calloc(1, sizeof *l + (size_t)n * sizeof l->items[0]);
    if (l) {
        atomic_init(&l->refs, 1);
    }
    return l;
}

void snapshot_set_jobs(snapshot *s, job_list *v)
{
    shared_release(s->jobs);
    s->jobs = v;
}

void snapshot_set_alerts(snapshot *s, alert_list *v)
{
    shared_release(s->alerts);
    s->alerts = v;
}

void snapshot_set_host(snapshot *s, host_state *v)
{
    shared_release(s->host);
    s->host = v;
}

void snapshot_set_detail(snapshot *s, job_detail *v)
{
    shared_release(s->detail);
    s->detail = v;
}

void series_push(series *s, float v)
{
    if (s->n == SERIES_MAX) {
        memmove(s->v, s->v + 1, (SERIES_MAX - 1) * sizeof s->v[0]);
        s->n--;
    }
    s->v[s->n++] = v;
}

float series_max(const series *s, int last_n)
{
    float max = 0;
    for (int i = s->n > last_n ? s->n - last_n : 0; i < s->n; i++) {
        max = s->v[i] > max ? s->v[i] : max;
    }
    return max;
}

bool snapshot_all_down(const snapshot *s)
{
    return s->first_round && s->src[SRC_GATEWAY].failures > 0 && s->src[SRC_READ].failures > 0 &&
           s->src[SRC_STATS].failures > 0;
}

static const char *const status_names[] = {"PENDING",   "VALIDATED", "EXECUTING",
                                           "COMPLETED", "FAILED",    "OTHER"};

const char *job_status_name(job_status s)
{
    return status_names[s];
}

job_status job_status_parse(const char *s)
{
    for (int i = 0; i < JOB_OTHER; i++) {
        if (!strcmp(s, status_names[i])) {
            return (job_status)i;
        }
    }
    return JOB_OTHER;
}
