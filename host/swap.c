/* swap.c — see swap.h. Phases: init the new ones beside the old (nothing paused); pause the old from the
 * sources down; start the new from the stores up; hand over; canary; commit. Until commit the old images stay
 * mapped and their saved state is kept. */
#include "host/swap.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FINI_TIMEOUT (5 * ODTO_SEC)

static void discard(struct core *core, struct instance *in, bool was_started)
{
    struct unit *u = in->unit;
    int r = 0;
    if (was_started)
        r = instance_stop(in, unit_int(u, "stop_timeout"));
    if (r == 0 && !in->abandoned)
        r = instance_callers_gone(in, odto_now_ns() + unit_int(u, "stop_timeout"));
    if (http_unserve(core->http, &in->handle, odto_now_ns() + unit_int(u, "stop_timeout")) < 0)
        instance_abandon(in);
    metrics_drop(core->metrics, in);
    unit_take_back(u, in);
    if (r == 0 && !in->abandoned)
        instance_fini(in, FINI_TIMEOUT);
    instance_stand_down(in, FINI_TIMEOUT);
    if (in->abandoned) {
        odto_metric_add(u->m_abandoned, 1);
        unit_image_kept(u);
        log_write(core->log, ODTO_ERROR, NULL,
                  "%s: generation %u did not stop; it is fenced and left behind, its image stays mapped",
                  u->name, in->generation);
        return; /* keeps its reference of the image: it is never unmapped */
    }
    instance_free(in);
}

static int init_all(struct core *core, struct swap_item *items, size_t n, struct verdict *v)
{
    verdict_step(v, STEP_INIT);
    for (size_t i = 0; i < n; i++) {
        struct swap_item *it = &items[i];
        struct unit *u = it->unit;
        it->old = u->current;
        it->next = instance_new(core, u, u->generation + 1, it->image, it->manifest, it->section->config);
        if (!it->next)
            return odto_fail(&v->error, -ENOMEM, "no memory");
        int r = instance_init(it->next, unit_int(u, "start_timeout"), &v->error);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Whatever the pause needs is there before it. */
static void stand_by(struct swap_item *items, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (items[i].old)
            instance_stand_by(items[i].old);
        instance_stand_by(items[i].next);
    }
}

static void stand_down(struct swap_item *items, size_t n)
{
    for (size_t i = 0; i < n; i++)
        instance_stand_down(items[i].next, FINI_TIMEOUT);
}

/* From the sources down: nothing new reaches what is being drained. */
static void pause_all(struct core *core, struct swap_item *items, size_t n, struct verdict *v)
{
    for (size_t i = n; i-- > 0;) {
        struct swap_item *it = &items[i];
        struct instance *in = it->old;
        if (!in)
            continue;
        int64_t timeout = unit_int(it->unit, "stop_timeout"), deadline = odto_now_ns() + timeout;
        verdict_step(v, STEP_QUIESCE);
        atomic_store(&in->replaced, true);
        http_gate(core->http, &in->handle, true);
        int drained =
            http_drained(core->http, &in->handle, deadline); /* those it has are still answered in full */
        if (instance_quiesce(in, deadline) < 0 || drained < 0)
            log_write(core->log, ODTO_WARN, NULL, "%s: not drained in %.1f s; its leases go back",
                      it->unit->name, (double)timeout / 1e9);
        verdict_step(v, STEP_SAVE);
        odto_error err = {0};
        if (instance_save(in, &it->blob_version, &it->blob, timeout, &err) < 0)
            log_error(core->log, ODTO_WARN, "state not saved", &err);
        verdict_step(v, STEP_STOP);
        instance_stop(in, timeout);
        it->stopped = true;
    }
}

/* Ready, or not worse than the old one was. */
static int wait_ready(struct core *core, struct unit *u, struct instance *in, odto_error *err)
{
    int64_t deadline = odto_now_ns() + unit_int(u, "start_timeout");
    odto_health h;
    struct pollfd p = {.fd = core->wake_fd, .events = POLLIN};
    while (!instance_health(in, &h)) {
        if (odto_now_ns() > deadline) {
            odto_fail(err, -ETIMEDOUT, "%s: the new generation did not become ready", u->name);
            odto_error_detail(err, "%s", h.reason);
            return -ETIMEDOUT;
        }
        if (atomic_load(&in->failed)) {
            *err = in->failure;
            return err->code ? err->code : -EIO;
        }
        poll(&p, 1, 5);
    }
    return 0;
}

static int start_one(struct core *core, struct unit *u, struct instance *in,
                     const struct instance *predecessor, const odto_buf *blob, uint32_t version, bool wait,
                     struct verdict *v)
{
    if (predecessor)
        http_stage(core->http, &in->handle, &predecessor->handle);
    verdict_step(v, STEP_RESTORE);
    int r = blob->n ? instance_restore(in, version, odto_slice_of(blob->p, blob->n),
                                       unit_int(u, "start_timeout"), &v->error)
                    : 0;
    if (r < 0)
        return r;
    verdict_step(v, STEP_START);
    r = instance_start(in, unit_int(u, "start_timeout"), &v->error);
    if (r == 0 && wait)
        r = wait_ready(core, u, in, &v->error);
    return r;
}

static int start_all(struct core *core, struct swap_item *items, size_t n, const bool *was_ready,
                     struct verdict *v)
{
    for (size_t i = 0; i < n; i++) {
        struct swap_item *it = &items[i];
        unit_set_current(it->unit, it->next); /* what comes after it obtains the new one */
        it->started = true;
        int r = start_one(core, it->unit, it->next, it->old, &it->blob, it->blob_version, was_ready[i], v);
        if (r < 0)
            return r;
    }
    for (size_t i = 0; i < n; i++) {
        items[i].handed_over = true;
        if (items[i].old)
            http_handover(core->http, &items[i].old->handle, &items[i].next->handle);
        http_gate(core->http, &items[i].next->handle, false);
    }
    return 0;
}

/* Watch the new ones work for a while. A failure they report, or not being ready at the end, is the verdict.
 */
static int canary(struct core *core, struct swap_item *items, size_t n, const bool *was_ready,
                  struct verdict *v)
{
    verdict_step(v, STEP_CANARY);
    int64_t until = odto_now_ns() + odto_config_int(manifest_host(core->manifest), "canary");
    struct pollfd p[2] = {{.fd = core->wake_fd, .events = POLLIN}, {.fd = core->signals, .events = POLLIN}};
    for (int64_t left; (left = until - odto_now_ns()) > 0;) {
        for (size_t i = 0; i < n; i++)
            if (atomic_load(&items[i].next->failed)) {
                v->error = items[i].next->failure;
                return v->error.code ? v->error.code : -EIO;
            }
        struct timespec ts = {left / ODTO_SEC, left % ODTO_SEC};
        ppoll(p, 2, &ts, NULL);
        if (p[1].revents)
            break; /* a shutdown is not kept waiting; a further SIGHUP neither */
        uint64_t count;
        if (p[0].revents && read(core->wake_fd, &count, sizeof count) > 0)
            core->rewake = true; /* commands wait for the main loop */
    }
    for (size_t i = 0; i < n; i++) {
        odto_health h;
        struct instance *in = items[i].next;
        uint64_t bad = atomic_load(&in->settled_bad), good = atomic_load(&in->settled_good);
        if (bad >= 10 && bad > good) {
            odto_fail(&v->error, -EIO,
                      "%s: the new generation rejected or returned %llu of its first %llu events", in->name,
                      (unsigned long long)bad, (unsigned long long)(bad + good));
            return -EIO;
        }
        if (was_ready[i] && !instance_health(in, &h)) {
            odto_fail(&v->error, -EIO, "%s: the new generation is not ready after its trial", in->name);
            odto_error_detail(&v->error, "%s", h.reason);
            return -EIO;
        }
    }
    return 0;
}

/* Take the new generation out of service; its requests wait. */
static void silence(struct core *core, struct swap_item *it)
{
    struct instance *in = it->next;
    int64_t timeout = unit_int(it->unit, "stop_timeout"), deadline = odto_now_ns() + timeout;
    atomic_store(&in->replaced, true);
    http_gate(core->http, &in->handle, true);
    http_drained(core->http, &in->handle, deadline);
    instance_quiesce(in, deadline);
    instance_stop(in, timeout);
}

/* The old generation again: a fresh instance of the old image, from the state that was saved. owner has its
 * HTTP routes. */
static int revive(struct core *core, struct swap_item *it, struct instance *owner, odto_error *err)
{
    struct unit *u = it->unit;
    struct instance *old = it->old;
    struct verdict scratch = {0};
    struct instance *again = instance_new(core, u, u->generation + 1, old->image, old->manifest, old->config);
    int r = again ? instance_init(again, unit_int(u, "start_timeout"), err) : -ENOMEM;
    if (r < 0) {
        if (again)
            discard(core, again, false);
        return r;
    }
    unit_set_current(u, again);
    r = start_one(core, u, again, owner, &it->blob, it->blob_version, false, &scratch);
    if (r < 0) {
        *err = scratch.error;
        return r;
    }
    http_handover(core->http, &owner->handle, &again->handle);
    http_gate(core->http, &again->handle, false);
    return 0;
}

static bool put_back(struct core *core, struct swap_item *it, struct verdict *v)
{
    odto_error err = {0};
    struct instance *owner = it->handed_over ? it->next : it->old;
    if (it->next && it->handed_over) {
        silence(core, it);
    } else if (it->next) {
        atomic_store(&it->next->replaced, true);
        discard(core, it->next, it->started);
        it->next = NULL;
    }
    int r = it->stopped && it->old ? revive(core, it, owner, &err) : 0;
    if (it->next)
        discard(core, it->next, false);
    it->next = NULL;
    if (it->stopped && it->old)
        discard(core, it->old, false);
    if (r == 0)
        return true;
    log_error(core->log, ODTO_ERROR, "the old generation could not be put back", &err);
    unit_failed(it->unit, &v->error, false);
    return false;
}

static enum reload_result roll_back(struct core *core, struct swap_item *items, size_t n, bool paused,
                                    struct verdict *v)
{
    bool ok = true;
    if (!paused) {
        for (size_t i = 0; i < n; i++)
            if (items[i].next)
                discard(core, items[i].next, false);
        return RELOAD_REFUSED;
    }
    for (size_t i = n; i-- > 1;) /* users of what is put back must not hold the new one meanwhile */
        if (items[i].next && items[i].handed_over) {
            silence(core, &items[i]);
        } else if (items[i].next) {
            atomic_store(&items[i].next->replaced, true);
            discard(core, items[i].next, items[i].started);
            items[i].next = NULL;
        }
    for (size_t i = 0; i < n; i++)
        ok &= put_back(core, &items[i], v);
    return ok ? RELOAD_ROLLED_BACK : RELOAD_LOST;
}

static void commit(struct core *core, struct swap_item *items, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct swap_item *it = &items[i];
        struct unit *u = it->unit;
        if (it->old)
            discard(core, it->old, false);
        unit_take_over(u, it->image, it->manifest, it->section);
    }
}

enum reload_result swap_run(struct core *core, struct swap_item *items, size_t n, struct verdict *v)
{
    bool was_ready[MAX_UNITS], paused = false;
    odto_health h;
    for (size_t i = 0; i < n; i++)
        was_ready[i] = items[i].unit->current && instance_health(items[i].unit->current, &h);
    int64_t begin = odto_now_ns(), pause = 0;
    int r = init_all(core, items, n, v);
    if (r == 0) {
        stand_by(items, n);
        paused = true;
        pause = odto_now_ns();
        pause_all(core, items, n, v);
        r = start_all(core, items, n, was_ready, v);
        v->pause_ns = odto_now_ns() - pause;
        if (r == 0)
            stand_down(items, n);
    }
    if (r == 0)
        r = canary(core, items, n, was_ready, v);
    if (r == 0) {
        verdict_step(v, STEP_COMMIT);
        commit(core, items, n);
        v->result = RELOAD_DONE;
    } else {
        enum reload_step failed = v->step;
        verdict_step(v, STEP_ROLL_BACK);
        v->result = roll_back(core, items, n, paused, v);
        verdict_step(v, failed);
        if (paused)
            v->pause_ns = odto_now_ns() - pause;
    }
    for (size_t i = 0; i < n; i++)
        odto_buf_free(&items[i].blob);
    v->generation = items[0].unit->generation;
    verdict_step(v, v->step);
    v->total_ns = odto_now_ns() - begin;
    return v->result;
}
