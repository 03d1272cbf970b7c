/* mailbox.c — how everything reaches the scheduler: a lock-free stack, emptied at once, and a futex.
 *
 * Producers push chains of any length with one compare-and-swap and wake the scheduler only when it sleeps.
 * The scheduler says that it sleeps, then looks once more: each side writes its own word before it reads the
 * other's, both in the single order of seq_cst, so at least one of them sees the other (Dekker). */
#include "processor.h"
#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void futex_wake(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void end_sleep(mailbox *box)
{
    if (atomic_load(&box->asleep) && atomic_exchange(&box->asleep, 0))
        futex_wake(&box->asleep);
}

/* What the caller changed before may have been looked at already by a scheduler that is about to sleep: the
 * call is kept until it waits. */
void mailbox_wake(mailbox *box)
{
    atomic_store(&box->called, true);
    end_sleep(box);
}

void mailbox_push(mailbox *box, mail *first, mail *last)
{
    mail *head = atomic_load_explicit(&box->head, memory_order_relaxed); /* only a first guess for the CAS */
    do {
        last->next = head;
    } while (!atomic_compare_exchange_weak(&box->head, &head, first));
    end_sleep(box);
}

mail *mailbox_take(mailbox *box)
{
    /* acquire: pairs with the seq_cst (so release) CAS of mailbox_push, the mail's contents are visible */
    mail *m = atomic_exchange_explicit(&box->head, NULL, memory_order_acquire), *oldest = NULL;
    while (m) {
        mail *next = m->next;
        m->next = oldest;
        oldest = m;
        m = next;
    }
    return oldest;
}

void mailbox_wait(mailbox *box, int64_t timeout_ns)
{
    struct timespec ts = {timeout_ns / ODTO_SEC, timeout_ns % ODTO_SEC};
    atomic_store(&box->asleep, 1);
    if (!atomic_load(&box->head) && !atomic_exchange(&box->called, false))
        syscall(SYS_futex, &box->asleep, FUTEX_WAIT_PRIVATE, 1, timeout_ns < 0 ? NULL : &ts, NULL, 0);
    atomic_store(&box->asleep, 0);
}
