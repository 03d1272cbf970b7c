/* bench_route — how many events a memory route moves between two threads.
 *
 *   bench_route [--seconds S] [--size BYTES]
 *
 * One producer makes events (a copy of the body into the pool) and publishes them in batches; one consumer
 * takes, reads a byte of each, acknowledges. In the same run, as the limit of this machine at this moment: a
 * ring of pointers between the same two threads, which keeps nothing, counts nothing and can't wait; and the
 * same with malloc, a copy and free, which is what a queue without a pool costs. Prints events per second. */
#include "route.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int64_t run_ns = ODTO_SEC;
static size_t body_size = 256;
static char body[65536];

struct bench {
    struct event_pool *pool;
    odto_route *route;
    size_t batch;
    bool stop;
    uint64_t n;
    double cpu[2]; /* seconds of the producer, the consumer: spinning for work counts */
};

static double thread_cpu(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void *consume(void *arg)
{
    struct bench *b = arg;
    route_consumer *c = route_attach(b->route, "bench", 1024, NULL);
    odto_lease l[64];
    uint64_t sum = 0;
    for (;;) {
        size_t n = consumer_take(c, l, 64, odto_now_ns() + 100 * ODTO_MS);
        for (size_t i = 0; i < n; i++)
            sum += (unsigned char)l[i].event->body.p[0];
        route_settle(l, n, ODTO_ACK, NULL);
        b->n += n;
        if (!n && __atomic_load_n(&b->stop, __ATOMIC_ACQUIRE)) /* pairs with main's release */
            break;
    }
    consumer_detach(c, ROUTE_DETACH_STOPPED);
    b->cpu[1] = thread_cpu();
    return sum ? NULL : arg;
}

static void route_rate(const char *name, size_t batch)
{
    struct bench b = {.pool = event_pool_new(0), .batch = batch};
    struct route_config conf = {
        .topic = "bench", .transport = ROUTE_MEMORY, .pool = b.pool, .capacity = 16384};
    if (route_open(&conf, &b.route, NULL))
        exit(1);
    pthread_t t;
    pthread_create(&t, NULL, consume, &b);
    odto_event *e[64];
    b.cpu[0] = thread_cpu();
    int64_t t0 = odto_now_ns(), t1;
    do {
        for (int k = 0; k < 64; k++) {
            for (size_t i = 0; i < batch; i++)
                e[i] = event_make(b.pool, odto_slice_of(body, body_size), 0);
            if (route_publish(b.route, e, batch, ODTO_PUBLISH_WAIT | ROUTE_PUBLISH_MOVE, NULL, NULL, NULL))
                exit(1);
        }
        t1 = odto_now_ns();
    } while (t1 - t0 < run_ns);
    b.cpu[0] = thread_cpu() - b.cpu[0];
    route_wait_idle(b.route, t1 + ODTO_SEC);
    t1 = odto_now_ns();
    __atomic_store_n(&b.stop, true, __ATOMIC_RELEASE);
    pthread_join(t, NULL);
    route_close(b.route);
    event_pool_free(b.pool);
    printf("  %-31s %12.0f   producer %.0f ns, consumer %.0f ns of CPU each\n", name,
           (double)b.n / ((double)(t1 - t0) / 1e9), b.cpu[0] / (double)b.n * 1e9,
           b.cpu[1] / (double)b.n * 1e9);
}

/* ---- limits -------------------------------------------------------------------------------- */

#define RING 4096u

struct ring {
    _Alignas(128) uint64_t head; /* atomic: written by the producer */
    _Alignas(128) uint64_t tail; /* atomic: written by the consumer */
    _Alignas(128) void *at[RING];
    bool copy;
    uint64_t sum;
};

static void *ring_consume(void *arg)
{
    struct ring *r = arg;
    for (uint64_t tail = 0;;) {
        uint64_t head = __atomic_load_n(&r->head, __ATOMIC_ACQUIRE); /* pairs with the producer's release */
        if (head == tail)
            continue;
        for (; tail < head; tail++) {
            void *p = r->at[tail % RING];
            if (!p)
                return NULL;
            r->sum += (unsigned char)*(char *)p;
            if (r->copy)
                free(p);
        }
        __atomic_store_n(&r->tail, tail, __ATOMIC_RELEASE); /* pairs with the producer's acquire */
    }
}

static double ring_rate(bool copy, size_t batch)
{
    struct ring *r = aligned_alloc(128, sizeof *r);
    memset(r, 0, sizeof *r);
    r->copy = copy;
    pthread_t t;
    pthread_create(&t, NULL, ring_consume, r);
    uint64_t head = 0;
    int64_t t0 = odto_now_ns(), t1;
    do {
        for (int k = 0; k < 256; k++) {
            while (head + batch >
                   __atomic_load_n(&r->tail, __ATOMIC_ACQUIRE) + RING) /* pairs with the release */
                ;
            for (size_t i = 0; i < batch; i++, head++)
                r->at[head % RING] = copy ? memcpy(malloc(body_size), body, body_size) : body;
            __atomic_store_n(&r->head, head, __ATOMIC_RELEASE); /* pairs with the consumer's acquire */
        }
        t1 = odto_now_ns();
    } while (t1 - t0 < run_ns);
    while (head + 1 > __atomic_load_n(&r->tail, __ATOMIC_ACQUIRE) + RING) /* pairs with the release */
        ;
    r->at[head % RING] = NULL;
    __atomic_store_n(&r->head, head + 1, __ATOMIC_RELEASE); /* pairs with the consumer's acquire */
    pthread_join(t, NULL);
    free(r);
    return (double)head / ((double)(t1 - t0) / 1e9);
}

int main(int argc, char **argv)
{
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--seconds"))
            run_ns = (int64_t)(atof(argv[i + 1]) * 1e9);
        else if (!strcmp(argv[i], "--size"))
            body_size = (size_t)atoi(argv[i + 1]) % sizeof body;
    }
    memset(body, 'x', sizeof body);
    printf("memory route, %zu-byte events, 1 producer, 1 consumer, events/s\n", body_size);
    route_rate("route, batch 64", 64);
    route_rate("route, batch 1 (with wake-ups)", 1);
    printf("  limit: bare ring, batch 64      %12.0f\n", ring_rate(false, 64));
    printf("  limit: bare ring, batch 1       %12.0f\n", ring_rate(false, 1));
    printf("  ring + malloc + copy, batch 64  %12.0f\n", ring_rate(true, 64));
    return 0;
}
