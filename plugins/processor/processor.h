/* processor.h — inside of the processor: executes the jobs that arrive on jobs.created.
 *
 * Design. An *item* is one job in hand, from its lease on the route (or its claim from the store) to the
 * commit of what became of it. One scheduler thread owns every item, pool and store batch; everything else
 * only hands it mail: the consumer thread (parsed leases), the store (committed batches), the routes
 * (published events) and the handlers (ended runs). Mail is an intrusive lock-free stack that the scheduler
 * empties at once, so a job costs no lock and no system call of its own.
 *
 *   handle() ── intake ─┐                        ┌─ ACCEPT CLAIM FINISH RETRY … ─► store
 *   handler finish() ───┼─► mailbox ─► scheduler ┤
 *   store done() ───────┤                        ├─ start(runs) ─► handlers
 *   publish done() ─────┘                        └─ publish ─► jobs.completed, dead letters
 *
 * Threads: the scheduler, the executors of BLOCKING handlers (executor.c), one aux thread for reads that
 * block (history.c). Locks: slab.lock (free items, taken once a batch), health_lock (text of health()), each
 * executor's own, history's own. No callback is made under a lock. */
#ifndef PROCESSOR_H
#define PROCESSOR_H

#include <odto/plugin.h>
#include <pthread.h>
#include <stdatomic.h>

#define SERVICE         "processor"
#define TOPIC_CREATED   "jobs.created"
#define TOPIC_COMPLETED "jobs.completed"
#define TOPIC_DEAD      "jobs.failed.validation"

#define ITEM_MAGIC      0x6974656du
#define MAX_POOLS       64
#define MAX_TYPES       200  /* labelled job types; further ones count as "other" */
#define MAX_ERROR       2048 /* bytes of a handler's error that are kept */
#define MAX_LOG         16384
#define START_BATCH     64 /* runs given to a handler at once */
#define COMMITS_AT_ONCE 4  /* store batches under way */
#define PUBLISH_BATCH   256
#define PUBLISHES       32 /* publishes under way */
#define PUBLISHES_SMALL 4  /* … from which on the next waits until it is full */
#define CROWDED         24 /* … from which on nothing new is begun for a while */
#define CROWDED_NS      ODTO_SEC
#define KEEP_BUFFER     16384
#define ACKS            256 /* leases acknowledged, items given back, at once */
#define SPARE_ITEMS     64
#define UNKNOWN_NAMES   64              /* types without a handler that are remembered */
#define CANCEL_NS       ODTO_SEC        /* after its deadline a run is asked to end */
#define GIVE_UP_NS      (30 * ODTO_SEC) /* … and is settled without its handler */
#define STOP_NS         (2 * ODTO_SEC)  /* for the last commits at stop() */

typedef struct processor processor;
typedef struct item item;
typedef struct pool pool;

/* ---- mail (mailbox.c) ---- */

typedef enum mail_kind {
    MAIL_INTAKE = 1, /* item: parsed from a lease */
    MAIL_ENDED,      /* item: its run was finished by the handler */
    MAIL_COMMITTED,  /* commit: the store is done with it */
    MAIL_PUBLISHED,  /* publication: the route is done with it */
    MAIL_HISTORY,    /* item: earlier attempts were read */
    MAIL_TYPES,      /* history: types of rows without a handler were read */
} mail_kind;

typedef struct mail {
    struct mail *next;
    mail_kind kind;
} mail;

typedef struct mailbox {
    _Atomic(mail *) head;
    _Atomic uint32_t asleep; /* futex: 1 while the scheduler waits */
    _Atomic bool called;     /* mailbox_wake since the last wait */
} mailbox;

/* Any thread. first..last are linked by next. */
void mailbox_push(mailbox *box, mail *first, mail *last);
/* Any thread: end a wait without mail. */
void mailbox_wake(mailbox *box);
/* Scheduler only: everything that has arrived, oldest first, or NULL. */
mail *mailbox_take(mailbox *box);
/* Scheduler only: return when there is mail, after a wake, or after timeout_ns (< 0: no limit). */
void mailbox_wait(mailbox *box, int64_t timeout_ns);

/* ---- lists: doubly linked, an item is on at most one ---- */

typedef struct node {
    struct node *next, *prev;
} node;

static inline void list_init(node *l)
{
    l->next = l->prev = l;
}
static inline bool list_empty(const node *l)
{
    return l->next == l;
}
static inline void list_append(node *l, node *e)
{
    e->prev = l->prev;
    e->next = l;
    l->prev->next = e;
    l->prev = e;
}
static inline void list_remove(node *e)
{
    e->prev->next = e->next;
    e->next->prev = e->prev;
    e->next = e->prev = e;
}

/* ---- job types and pools ---- */

typedef struct job_type {
    char *name;
    pool *pool;
    odto_metric *enqueued, *completed, *failed, *cancelled, *expired;
    odto_metric *attempts[ODTO_OUT_DISCARDED + 1]; /* by outcome */
    odto_metric *fenced;
    odto_metric *wait, *run, *total;
} job_type;

/* One handler with its slots. */
struct pool {
    processor *p;
    const char *name;
    const odto_handler_iface *iface;
    void *self;
    odto_slice *types; /* as CLAIM wants them */
    size_t n_types;
    uint32_t concurrency, max_attempts;
    int64_t timeout_ns, backoff_ns, backoff_max_ns;
    /* scheduler's */
    node arrived;      /* without a row yet: room in the pool is awaited first (lifecycle_admit) */
    node ready;        /* leased, waiting for a slot */
    uint32_t running;  /* slots taken */
    uint32_t in_hand;  /* being accepted with a claim, ready or running, and reserved for a claim under way */
    uint32_t claiming; /* rows asked for by the claim under way, 0 none */
    bool backlog;      /* due rows may wait in the store */
    bool backlog_again;
    bool deep;           /* more rows wait there than the last claim could take */
    int64_t next_due;    /* Unix ms of the next delayed row, 0 none */
    int64_t mean_run_ns; /* moving average */
    struct executor *executor;
    odto_metric *busy;
};

/* ---- items (item.c) ---- */

typedef enum item_state {
    ITEM_FREE,
    ITEM_ACCEPTING, /* its ACCEPT waits or is with the store */
    ITEM_READY,     /* leased, in its pool's ready list */
    ITEM_RUNNING,   /* with the handler */
    ITEM_LOADING,   /* its earlier attempts are being read */
    ITEM_SETTLING,  /* its FINISH, RETRY or RELEASE waits or is with the store */
} item_state;

/* Who speaks for a run. The handler and the scheduler race for it only by compare-and-swap. */
enum run_state {
    RUN_WITH_HANDLER,
    RUN_ENDED,    /* finish() came first: its result counts */
    RUN_GIVEN_UP, /* the scheduler settled the attempt without it */
    RUN_CAME_LATE /* … and now the handler gave the run back */
};

/* A job's own wishes (payload.options); where it has none: 0, the backoffs -1. */
typedef struct job_options {
    int32_t priority;
    uint32_t max_attempts;
    int64_t delay_ms, run_at, expires_at;
    int64_t timeout_ns, backoff_ns, backoff_max_ns;
} job_options;

struct item {
    odto_run run; /* first: what the handler sees */
    uint32_t magic;
    item_state state;
    mail mail, history_mail;
    node link;      /* ready list, running list, or a queue of the committer */
    node extending; /* in the list by lease end while leased */
    processor *p;
    pool *pool;
    job_type *type;
    const char *type_name;  /* as the job has it, NUL-terminated */
    _Atomic uint32_t ended; /* enum run_state */
    _Atomic bool stop;      /* answers should_stop() */
    bool leased;            /* holds a lease of the route that is to be settled */
    bool claimed;           /* holds a row lease (or asks for one with its ACCEPT) */
    bool extend_pending;    /* an EXTEND waits or is with the store */
    bool history_known;     /* earlier attempts were asked for */
    bool abandoned;         /* settled without the handler, which still has the run */
    bool settled;           /* its last operation is committed */
    bool fenced;            /* its row lease is someone else's now */
    bool cancelled;         /* the handler was asked to end */
    bool recalled;          /* … because the host stops */
    size_t bytes;           /* counted in bytes_in_hand */
    odto_lease lease;
    odto_event *event; /* a reference: the job's text lies in it; NULL for a claimed row */
    odto_header hdr;
    odto_job job;
    job_options options;
    odto_buf text; /* a claimed row's strings, or resolved escapes */
    /* what the handler said: result, error and log one after the other in `said` */
    odto_buf said;
    uint32_t n_result, n_error, n_log;
    odto_run_end end;
    int64_t delay_ns;
    int64_t arrived_ns; /* in lifecycle_intake */
    int64_t began_ns, ended_ns, began_ms, ended_ms, lease_until;
    /* what becomes of it */
    odto_jobs_op_kind verdict; /* FINISH RETRY RELEASE */
    odto_status status;
    odto_outcome outcome;
    int64_t retry_at;
    odto_buf body, history;
    odto_outgoing outgoing[2];
    uint32_t n_outgoing;
};

typedef struct slab {
    pthread_mutex_t lock;
    node free;
    _Atomic size_t n_free; /* written under the lock */
    size_t n_all;
    struct chunk *chunks;
} slab;

/* Any thread. Take up to n items (linked into out[]), one lock for all; fewer without memory. */
size_t slab_take(processor *p, item **out, size_t n);
void slab_give(processor *p, item *const *items, size_t n);
void slab_free(slab *s);
/* Fill an item from a row of the store: copies everything. -ENOMEM. */
int item_load(item *it, const odto_job *row);
/* Fill an item from an event whose header is in it->hdr: borrows from it. 0; -EINVAL, -EPROTO with why (text
 * of the dead letter); -ENOMEM. */
int item_read(item *it, odto_event *ev, char *why, size_t why_size);
void item_prepare_run(item *it); /* the functions of odto_run, for an attempt that begins now */
void item_idle(item *it);        /* … and for nobody */
/* What finish() does, for runs that the processor ends itself. Scheduler only. */
void item_say(item *it, odto_run_end end, const char *error);
odto_slice item_result(const item *it);
odto_slice item_error(const item *it);
odto_slice item_log(const item *it);

/* payload.options of a job: 0, or -EINVAL with why. Options that are no object are not ours: defaults. */
int job_options_parse(odto_slice json, job_options *out, char *why, size_t why_size);

/* ---- store batches (commit.c) ---- */

typedef struct publication publication;

typedef struct commit {
    mail mail;
    odto_jobs_batch batch;
    processor *p;
    void **owner; /* of each op: item, pool, publication or NULL by its kind */
    size_t cap;
    int result;
    struct commit *next_free;
} commit;

/* Scheduler: build batches of what waits and submit them, as far as the store takes them. */
void commit_submit(processor *p);
/* Scheduler: a batch came back. */
void commit_done(commit *c);
bool commit_waiting(const processor *p); /* something waits or is under way */
void commit_free_all(processor *p);

/* ---- outgoing events (outbox.c) ---- */

struct publication {
    mail mail;
    processor *p;
    odto_route *route;
    bool taken; /* from OUTBOX_TAKE */
    size_t n;
    odto_event *events[PUBLISH_BATCH];
    uint64_t seqs[PUBLISH_BATCH];
    int result;
    int64_t sent_ns;
    publication *next;
};

typedef struct outbox {
    odto_route *completed, *dead;
    publication *open_completed, *open_dead; /* being filled */
    publication *forget;                     /* published: their OUTBOX_DONE waits */
    publication *spare;
    uint32_t n_spare, under_way, forgetting;
    bool recovering; /* events are taken from the store instead of being sent at once */
    bool missed;     /* something was committed since the last TAKE */
    bool take_wanted, taking;
    bool look_wanted, looking;       /* for what other hosts left behind */
    int64_t retry_ns, backoff_ns;    /* monotonic: not before */
    int64_t returned_ns;             /* the last publish came back */
    _Atomic int64_t behind_since_ms; /* since when events wait, 0: they don't */
} outbox;

/* An item's outgoing events were committed with these seqs (NULL: unknown). */
void outbox_committed(processor *p, item *it, const uint64_t *seqs);
void outbox_flush(processor *p);                                        /* publish what has gathered */
void outbox_published(publication *pub);                                /* mail */
void outbox_taken(processor *p, const odto_outbox_row *rows, size_t n); /* TAKE came back */
void outbox_recover(processor *p); /* from now on by TAKE, after a backoff */
void outbox_look(processor *p);    /* ask for what other hosts left behind */
void outbox_looked(processor *p, size_t n);
void outbox_forgotten(processor *p, publication *pub);
bool outbox_may_take(const processor *p);
void outbox_tick(processor *p);
bool outbox_crowded(const processor *p); /* events are published more slowly than jobs end */
void outbox_free_all(processor *p);

/* ---- outcome (outcome.c) ---- */

/* The run ended: decide between FINISH and RETRY, write the outgoing events. Scheduler. Returns false when
 * the history of attempts must be read first (call again once item->history is filled). */
bool outcome_decide(item *it);
/* A row that is not to be run at all: expired, poison, unknown. */
bool outcome_force(item *it, odto_outcome outcome, const char *error);
/* min(cap, base * 2^(attempt-1)) with full jitter, ns. */
int64_t backoff_ns(int64_t base, int64_t cap, uint32_t attempt, uint64_t random);

/* ---- blocking work ---- */

int executor_new(pool *pl, odto_error *err); /* executor.c */
void executor_give(pool *pl, item *it);      /* scheduler */
void executor_stop(pool *pl);                /* threads return once they are idle */
void executor_free(pool *pl);

typedef struct history history; /* history.c */
int history_new(processor *p);
void history_read(processor *p, item *it); /* scheduler; answers with MAIL_HISTORY */
void history_refresh(processor *p);        /* have the store's stats read, where that may block */
void history_scan(processor *p);           /* have the types of waiting rows read; answers with MAIL_TYPES */
void history_types(processor *p);          /* mail: learn those nobody handles */
void history_stop(processor *p);
void history_free(processor *p);

/* ---- the instance ---- */

typedef enum phase {
    PHASE_STARTING, /* own leases are not reaped yet: nothing is started */
    PHASE_RUNNING,
    PHASE_DRAINING, /* quiesce: nothing new */
    PHASE_STOPPING,
} phase;

typedef struct metrics {
    odto_metric *processed, *completed, *failed, *invalid, *seconds;
    odto_metric *rejected_validation, *rejected_event, *rejected_store;
    odto_metric *dead_letters, *expired_leases;
    odto_metric *published, *refused, *publish_seconds;
} metrics;

struct processor {
    odto_host *host;
    const odto_config *config;
    odto_store_ref store;
    const odto_jobs_ops *jobs;
    char owner[192];
    odto_producer by;
    char instance_id[128];
    /* options */
    int64_t lease_ms, poll_ns;
    uint32_t max_lost, batch, max_in_hand, prefetch;
    size_t max_result, max_bytes;
    int unknown; /* enum unknown_type */
    /* fixed after start */
    pool pools[MAX_POOLS];
    size_t n_pools;
    pool *unknown_pool; /* NULL: unknown types wait */
    job_type *types;
    size_t n_types;
    job_type other;
    struct {
        uint64_t hash;
        job_type *type;
    } * lookup;
    size_t lookup_mask;
    odto_route *route_created;
    struct odto_schema *schema_envelope, *schema_job;
    metrics m;
    /* shared */
    mailbox box;
    slab slab;
    _Atomic int phase;
    /* while DRAINING, monotonic ns: when what still runs is asked to end, and when its rows are given back */
    _Atomic int64_t recall_at, abandon_at;
    _Atomic bool idle; /* nothing in hand, under way or waiting */
    pthread_mutex_t health_lock;
    pthread_cond_t idle_changed;
    odto_health health;
    odto_thread *thread;
    history *history;
    /* scheduler's */
    pthread_t self;
    phase phase_now;
    int64_t now_ns, now_ms;
    odto_lease acks[ACKS];
    item *done[ACKS], *spare[SPARE_ITEMS];
    size_t n_acks, n_done, n_spare;
    node accepting, settling, extend; /* queues of the committer */
    node leased;                      /* items by lease end */
    node running, loading;
    mail *ended, **ended_tail; /* runs that were finished inside start() */
    uint32_t n_in_hand;        /* items with a row lease, and rows asked for */
    uint32_t n_intake;         /* items with a route lease */
    size_t bytes_in_hand, mean_bytes;
    uint32_t abandoned; /* runs still with their handler */
    bool reap_wanted, reaping, reaped_own;
    bool scanning;       /* types of waiting rows are being read */
    uint32_t polls_left; /* until they are read again */
    int64_t next_reap_ns, next_poll_ns, next_deadline_ns;
    commit *free_commits;
    uint32_t commits_under_way;
    bool away;
    bool away_announced;
    int64_t away_since_ns, away_until_ns, away_backoff_ns, away_logged_ns;
    outbox out;
    bool recalled_all, abandoned_all;
    int64_t stop_by_ns;
};

enum unknown_type { UNKNOWN_DEAD_LETTER, UNKNOWN_ECHO, UNKNOWN_WAIT };

/* scheduler.c */
void scheduler_main(void *arg);
void scheduler_away(processor *p, int code); /* the store refuses */
void scheduler_back(processor *p);

/* lifecycle.c; scheduler thread */
void lifecycle_intake(item *it);
void lifecycle_admit(processor *p);         /* arrived jobs get their rows */
int64_t lifecycle_admit_at(const pool *pl); /* … that of the first at the latest then, ns */
bool lifecycle_start(pool *pl);             /* fill free slots; false when there was nothing to start */
void lifecycle_ended(item *it);
void lifecycle_history(item *it);
void lifecycle_deadlines(processor *p);
void lifecycle_extend(processor *p);
void lifecycle_release_ready(processor *p);
void lifecycle_recall(processor *p);  /* ask what runs to end */
void lifecycle_abandon(processor *p); /* give its rows back without waiting for it */
void lifecycle_flush(processor *p);   /* acknowledge and give back what has gathered */
void lifecycle_learn(processor *p, odto_slice type);
void lifecycle_backlog(pool *pl, int64_t run_at); /* a row waits for this pool */
uint32_t lifecycle_claim_limit(const pool *pl);   /* rows to claim now */
void lifecycle_accepted(item *it, int result, uint64_t token);
void lifecycle_claimed(pool *pl, const odto_jobs_op *op);
void lifecycle_reaped(processor *p, const odto_jobs_op *op);
void lifecycle_settled(item *it, int result, const uint64_t *seqs);
void lifecycle_extended(item *it, int result);
void item_done(item *it); /* give it back, unless something of it is still out */

/* intake.c */
void intake_handle(void *self, const odto_lease *leases, size_t n);
job_type *type_of(const processor *p, odto_slice name); /* NULL: unknown */

/* metrics.c */
int metrics_init(processor *p, odto_error *err);
void metrics_attempt(const item *it);
void metrics_finished(const item *it);
int64_t stats_outbox(processor *p);
bool stats_now(processor *p, odto_jobs_stats *out); /* must not block */

/* pools.c */
int pools_init(processor *p, odto_error *err);
void pools_free(processor *p);

#endif
