/* core.c — what every part of the host asks of it: units and routes by name, readiness, the state dump, and
 * commands that other threads give to the supervisor. */
#include "host/core.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

int core_new(struct core *core)
{
    core->api = &host_api;
    core->started_at = odto_now_ns();
    core->lock_fd = -1;
    core->queue_end = &core->queue;
    pthread_rwlock_init(&core->lock, NULL);
    pthread_mutex_init(&core->fd_lock, NULL);
    pthread_mutex_init(&core->queue_lock, NULL);
    pthread_cond_init(&core->queue_done, NULL);
    core->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    core->timers = timer_service_new();
    core->metrics = metrics_new();
    core->pool = event_pool_new(0);
    return core->wake_fd >= 0 && core->timers && core->metrics && core->pool ? 0 : -ENOMEM;
}

struct unit *core_unit(struct core *core, const char *name)
{
    for (size_t i = 0; i < core->n_units; i++)
        if (strcmp(core->units[i]->name, name) == 0)
            return core->units[i];
    return NULL;
}

bool core_ready(void *arg, const odto_host *owner, char *reason, size_t size)
{
    struct core *core = arg;
    odto_health h;
    if (owner && atomic_load(&core->stopping)) {
        snprintf(reason, size, "shutting down");
        return false;
    }
    if (owner) {
        bool ok = instance_health(owner->priv, &h);
        if (!ok)
            snprintf(reason, size, "%s", h.reason);
        return ok;
    }
    bool ready = !atomic_load(&core->stopping);
    if (!ready)
        snprintf(reason, size, "shutting down");
    pthread_rwlock_rdlock(&core->lock);
    for (size_t i = 0; ready && i < core->n_units; i++) {
        struct unit *u = core->units[i];
        if (!odto_config_bool(u->section->host, "required"))
            continue;
        if (u->state != LIFE_READY) {
            snprintf(reason, size, "%s is %s", u->name, life_state_name(u->state));
            ready = false;
        } else if (u->kind != ODTO_KIND_BRIDGE && /* routes without it say so themselves, or spool */
                   u->current && !instance_health(u->current, &h)) {
            snprintf(reason, size, "%.60s: %s", u->name, h.reason);
            ready = false;
        }
    }
    pthread_rwlock_unlock(&core->lock);
    return ready;
}

odto_route *core_route(struct core *core, const char *topic)
{
    for (size_t i = 0; i < core->n_routes; i++)
        if (strcmp(route_topic(core->routes[i]), topic) == 0)
            return core->routes[i];
    return NULL;
}

void core_dump_state(struct core *core)
{
    for (size_t i = 0; i < core->n_units; i++) {
        const struct unit *u = core->units[i];
        log_write(core->log, ODTO_INFO, NULL, "state: %s %s generation %u restarts %llu threads %zu", u->name,
                  life_state_name(u->state), u->generation, (unsigned long long)u->restarts,
                  u->current ? u->current->n_threads : 0);
    }
    for (size_t i = 0; i < core->n_routes; i++) {
        odto_route_stats s;
        route_get_stats(core->routes[i], &s);
        log_write(core->log, ODTO_INFO, NULL, "state: route %s depth %llu leased %llu",
                  route_topic(core->routes[i]), (unsigned long long)s.depth, (unsigned long long)s.leased);
    }
}

/* ---- commands from other threads ---- */

void core_command(struct core *core, void (*run)(struct core *core, void *arg), void *arg, bool wait)
{
    struct command *c = calloc(1, sizeof *c);
    if (!c)
        return;
    *c = (struct command){.run = run, .arg = arg, .wait = wait};
    pthread_mutex_lock(&core->queue_lock);
    *core->queue_end = c;
    core->queue_end = &c->next;
    pthread_mutex_unlock(&core->queue_lock);
    uint64_t one = 1;
    (void)!write(core->wake_fd, &one, sizeof one);
    if (!wait)
        return;
    pthread_mutex_lock(&core->queue_lock);
    while (!c->done)
        pthread_cond_wait(&core->queue_done, &core->queue_lock);
    pthread_mutex_unlock(&core->queue_lock);
    free(c);
}

void core_run_commands(struct core *core)
{
    uint64_t n;
    core->rewake = false;
    (void)!read(core->wake_fd, &n, sizeof n);
    for (;;) {
        pthread_mutex_lock(&core->queue_lock);
        struct command *c = core->queue;
        if (c) {
            core->queue = c->next;
            if (!core->queue)
                core->queue_end = &core->queue;
        }
        pthread_mutex_unlock(&core->queue_lock);
        if (!c)
            return;
        c->run(core, c->arg);
        if (!c->wait) {
            free(c);
            continue;
        }
        pthread_mutex_lock(&core->queue_lock);
        c->done = true;
        pthread_cond_broadcast(&core->queue_done);
        pthread_mutex_unlock(&core->queue_lock);
    }
}
