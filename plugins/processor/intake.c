/* intake.c — leases of jobs.created become items. Runs on the instance's consumer thread.
 *
 * An event that passed the gateway of this host is known to be valid and costs no parsing here. Any other
 * (bridges) gets the full check of the contract; what fails is rejected with the contract's text and becomes
 * a dead letter. The lease stays until the row is durable. */
#include "processor.h"
#include <errno.h>
#include <odto/schema.h>
#include <string.h>

#define AT_ONCE 128

job_type *type_of(const processor *p, odto_slice name)
{
    uint64_t h = odto_hash64(name.p, name.n);
    for (size_t i = h & p->lookup_mask;; i = (i + 1) & p->lookup_mask) {
        job_type *t = p->lookup[i].type;
        if (!t)
            return NULL;
        if (p->lookup[i].hash == h && odto_slice_eq(name, t->name))
            return t;
    }
}

static void reject(processor *p, const odto_lease *lease, odto_metric *reason, const char *why)
{
    odto_metric_add(p->m.invalid, 1);
    odto_metric_add(reason, 1);
    odto_metric_add(p->m.dead_letters, 1);
    odto_log(p->host, ODTO_WARN, "message rejected to the dead letters: %s", why);
    p->host->api->settle(p->host, lease, 1, ODTO_REJECT, why);
}

/* False: the lease is settled already. */
static bool read_lease(processor *p, item *it, const odto_lease *lease)
{
    char why[1024] = "";
    odto_event *ev = lease->event;
    int r = 0;
    if (ev->flags & ODTO_EVENT_VALID)
        it->hdr = ev->hdr;
    else
        r = odto_envelope_check(ev->body, p->schema_envelope, p->schema_job, ODTO_EVENT_DEPTH_MAX, &it->hdr,
                                why, sizeof why);
    if (r == 0)
        r = item_read(it, ev, why, sizeof why);
    if (r == -ENOMEM)
        p->host->api->settle(p->host, lease, 1, ODTO_RETURN, "no memory");
    else if (r < 0)
        reject(p, lease, r == -EPROTO ? p->m.rejected_event : p->m.rejected_validation, why);
    if (r < 0) {
        it->event = NULL;
        return false;
    }
    p->host->api->event_ref(ev);
    it->lease = *lease;
    it->leased = true;
    it->mail.kind = MAIL_INTAKE;
    return true;
}

static void take_some(processor *p, const odto_lease *leases, size_t n)
{
    item *items[AT_ONCE], *unused[AT_ONCE];
    mail *first = NULL, *last = NULL;
    size_t got = slab_take(p, items, n), n_unused = 0;
    if (got < n)
        p->host->api->settle(p->host, leases + got, n - got, ODTO_RETURN, "no memory");
    for (size_t i = 0; i < got; i++) {
        if (!read_lease(p, items[i], &leases[i])) {
            unused[n_unused++] = items[i];
            continue;
        }
        items[i]->mail.next = first; /* the newest is on top of a stack */
        if (!last)
            last = &items[i]->mail;
        first = &items[i]->mail;
    }
    if (n_unused)
        slab_give(p, unused, n_unused);
    if (first)
        mailbox_push(&p->box, first, last);
}

void intake_handle(void *self, const odto_lease *leases, size_t n)
{
    processor *p = self;
    odto_metric_add(p->m.processed, (int64_t)n);
    for (size_t i = 0; i < n; i += AT_ONCE)
        take_some(p, leases + i, n - i < AT_ONCE ? n - i : AT_ONCE);
}
