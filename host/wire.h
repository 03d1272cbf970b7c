/* host/wire.h — frames between the host and the worker process of an isolated plugin, over a socket pair.
 *
 * A frame is a head (length, type, id) and a payload of fixed-width numbers in host byte order and of counted
 * bytes: both ends are one machine and one build. Frames gather in a buffer and leave together: what one
 * thread adds while another writes goes with the next write. Descriptors travel with the first byte of their
 * frame (SCM_RIGHTS), in order. The reader trusts nothing: a frame that is too long or a payload that ends
 * early closes the link. */
#ifndef HOST_WIRE_H
#define HOST_WIRE_H

#include <odto/base.h>

#include <pthread.h>
#include <sys/types.h>

#define WIRE_FRAME_MAX ((size_t)64 << 20) /* one frame */
#define WIRE_FDS       16                 /* descriptors on their way at once */

enum wire_type {
    WIRE_REPLY = 1, /* to the call with this id: result, error, then what the call returns */
    /* host → worker, calls: answered by WIRE_REPLY */
    WIRE_DESCRIBE,
    WIRE_CHECK,
    WIRE_INIT,
    WIRE_RESTORE,
    WIRE_START,
    WIRE_RECONFIGURE,
    WIRE_QUIESCE,
    WIRE_SAVE,
    WIRE_STOP,
    WIRE_FINI,
    WIRE_HANDLE, /* leased events of one topic; answered when handle() returned */
    /* host → worker */
    WIRE_INTERRUPT,
    WIRE_RUNS,     /* attempts to begin */
    WIRE_RUN_STOP, /* should_stop of one is true now */
    WIRE_PUBLISHED,
    WIRE_REQUEST, /* HTTP */
    /* worker → host */
    WIRE_LOG = 64,
    WIRE_FAIL,
    WIRE_HEALTH,
    WIRE_METRIC,
    WIRE_FINISH, /* of one attempt */
    WIRE_PROGRESS,
    WIRE_PUBLISH,
    WIRE_SETTLE,
    WIRE_PREFETCH,
    WIRE_RESPONSE, /* HTTP */
    WIRE_FD_PUT,
    /* worker → host, calls */
    WIRE_ROUTE,
    WIRE_ROUTE_STATS,
    WIRE_SERVE,
    WIRE_FD_TAKE,
    WIRE_FD_NAMES,
};

struct wire_head {
    uint32_t size; /* with the head */
    uint32_t type;
    uint64_t id;
};

/* ---- payload ---- */

static inline void wire_u32(odto_buf *b, uint32_t v)
{
    odto_buf_put(b, &v, sizeof v);
}
static inline void wire_u64(odto_buf *b, uint64_t v)
{
    odto_buf_put(b, &v, sizeof v);
}
static inline void wire_i64(odto_buf *b, int64_t v)
{
    odto_buf_put(b, &v, sizeof v);
}
void wire_bytes(odto_buf *b, odto_slice s); /* with a NUL behind them, so that the reader may use a string */
void wire_str(odto_buf *b, const char *s);  /* NULL stays NULL */
void wire_error(odto_buf *b, const odto_error *err);

/* What is left to read. After a read beyond the end, bad stays set and every read gives zero. */
struct wire_in {
    const char *p;
    size_t n;
    bool bad;
};

uint32_t wire_get_u32(struct wire_in *in);
uint64_t wire_get_u64(struct wire_in *in);
int64_t wire_get_i64(struct wire_in *in);
void wire_get(struct wire_in *in, void *out, size_t n);
odto_slice wire_get_bytes(struct wire_in *in); /* points into the frame; NUL behind */
const char *wire_get_str(struct wire_in *in);  /* likewise; NULL as written */
void wire_get_error(struct wire_in *in, odto_error *out);

/* ---- link ---- */

struct wire_fd {
    size_t at; /* offset in out */
    int fd;
};

struct wire_link {
    int fd;
    int wake;             /* eventfd: bytes wait for the poller to write them; -1: senders wait themselves */
    pthread_mutex_t lock; /* out, sent, fds_out, closed */
    pthread_cond_t room;  /* less than half of max waits */
    odto_buf out;
    size_t sent, frame, max;
    struct wire_fd fds_out[WIRE_FDS];
    size_t n_fds_out;
    bool closed;
    odto_buf in; /* the reader's alone, like what follows */
    size_t at;
    int fds_in[WIRE_FDS];
    size_t n_fds_in;
};

/* wake >= 0: senders never block; max bytes may wait, beyond it wire_room is false. */
void wire_open(struct wire_link *l, int fd, int wake, size_t max);
/* Senders fail from now on; whoever waits for room wakes. */
void wire_shut(struct wire_link *l);
void wire_free(struct wire_link *l); /* closes fd and descriptors that were not taken */

/* Begin a frame; the lock is held until wire_end. The payload goes into the returned buffer. */
odto_buf *wire_begin(struct wire_link *l, enum wire_type type, uint64_t id);
/* 0, -EPIPE (the other end has gone), -ENOMEM (nothing was sent). Takes fd (-1: none) whatever comes. */
int wire_end(struct wire_link *l, int fd);
/* Between cork and uncork the calling thread's frames are gathered. */
void wire_cork(struct wire_link *l);
void wire_uncork(struct wire_link *l);
/* True when less than max bytes wait. With wait: blocks until so, or the link is shut (false). */
bool wire_room(struct wire_link *l, bool wait);
/* The poller: write what waits. True: bytes are left, poll for POLLOUT. */
bool wire_flush(struct wire_link *l);

/* Read once (blocking unless nonblock). Bytes read, 0 at the end, -errno; -EPROTO for a frame out of bounds.
 */
ssize_t wire_read(struct wire_link *l, bool nonblock);
/* The next whole frame of what was read; valid until the next wire_read. */
bool wire_next(struct wire_link *l, struct wire_head *head, struct wire_in *payload);
/* The next descriptor that came, -1 none. */
int wire_take_fd(struct wire_link *l);

#endif
