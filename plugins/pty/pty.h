/* pty.h — the terminal broker: programs in pseudo-terminals, seen over WebSockets, that outlive a connection.
 *
 * Threads: everything happens on the host's WebSocket thread: the callbacks of connections, and (through one
 * watched epoll descriptor) terminals, children and timers. pty.lock is held in each of these entries and in
 * the few others (a ticket on an HTTP worker; save and stop on the core's), so nothing below it needs a lock.
 * No thread per session.
 *
 * A session owns its terminal, ring and emulator. A viewer is one connection; a session has at most one that
 * may type (its owner) and any number that only look. Viewers are freed in closed(), sessions at the end of a
 * turn of the loop. */
#ifndef PTY_H
#define PTY_H

#include "auth.h"
#include "filter.h"
#include "ring.h"
#include "term_state.h"

#include <odto/plugin.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

enum {
    SEND_MAX = 64 * 1024,     /* bytes of output in one message */
    QUEUE_MAX = 64 * 1024,    /* queued in a connection before we wait */
    FRAME_BYTES = 32 * 1024,  /* gathered before a frame is sent early */
    READ_MAX = 32 * 1024,     /* of one terminal in one turn */
    LAG_HIGH = 256 * 1024,    /* the owner is so far behind: the program waits, until it is a quarter */
    RING_LEAST = 1024 * 1024, /* what a ring may grow to, whatever is kept for replay */
    ACK_WINDOW = 384 * 1024,  /* sent and not acknowledged (odto.pty.v1) */
    RING_SOFT = 256 * 1024,   /* history kept when nobody is behind */
    INPUT_HIGH = 256 * 1024,  /* input the program does not take: the client waits */
    INPUT_LOW = 64 * 1024,
    FEED_SLICE = 1024,     /* of the emulator between two looks at the clock */
    SKIP_LEAST = 8 * 1024, /* it is behind, before some of it may be skipped */
    FEED_NOW = 512,        /* so little is fed at once */
    BINARY_INPUT_MAX = 64 * 1024,
    MAX_WAITING = 256,   /* connections that have not said who they are */
    MAX_WAITING_IP = 64, /* of one address */
    MAX_VIEWERS = 16,    /* of one session, besides its owner */
    MAX_PROXIES = 32,
    MAX_ENV = 64,
};
#define QUIET_NS        (2 * ODTO_MS)   /* after so much silence output goes at once */
#define FRAME_NS        (4 * ODTO_MS)   /* else it is gathered so long */
#define PARTIAL_NS      (100 * ODTO_MS) /* a character that is not completed by then is sent as it is */
#define FEED_NS         (10 * ODTO_MS)  /* of silence before the emulator catches up */
#define FEED_TURN_NS    (ODTO_MS / 2)   /* of the emulator in one turn of the loop */
#define RESIZE_NS       (50 * ODTO_MS)  /* between two resizes */
#define TYPING_NS       (ODTO_SEC / 4)  /* somebody types as long as this after each key */
#define SHARE_NS        (8 * ODTO_MS)   /* meanwhile other sessions get their share anew so often */
#define HELD_NS         (ODTO_SEC / 2)  /* of silence ends a terminal that somebody still holds open */
#define HELLO_NS        (5 * ODTO_SEC)
#define TICKET_NS       (30 * ODTO_SEC)
#define DRAIN_NS        (5 * ODTO_SEC)   /* for viewers to take some of the rest of a session that ended */
#define DRAIN_MAX_NS    (120 * ODTO_SEC) /* for all of it */
#define PTY_SUBPROTOCOL "odto.pty.v1"

typedef struct pty pty;
typedef struct session session;
typedef struct viewer viewer;

typedef enum session_state {
    SESSION_CONNECTED,
    SESSION_DISCONNECTED, /* for the grace time */
    SESSION_IDLE,         /* longer; the first to go when a cap is reached */
    SESSION_REAPING,      /* ended or being ended: holds no slot */
} session_state;

struct session {
    session *next, **at;
    pty *pty;
    char id[ODTO_UUID_LEN + 1], ip[46];
    session_state state;
    int64_t since; /* the state began */
    reconnect_token token;

    int master, pidfd; /* -1: closed */
    pid_t pid;
    bool exited, eof, swept, over; /* child ended; no output will come; stragglers killed; all done */
    int exit_status, exit_signal;
    int64_t kill_at, over_at, free_at; /* 0: not */

    int cols, rows, want_cols, want_rows;
    int64_t resized_at, resize_at;
    uint64_t resized; /* offset of the last resize: bytes before it are for another width */

    ring ring;
    term_state *term;
    odto_buf screen; /* of the generation before, which the emulator reads first */
    size_t screen_at;
    uint64_t fed;      /* to the emulator; <= ring.cut */
    uint64_t answered; /* offset of the last query the emulator answered itself */
    int64_t last_output, flush_at, feed_at;
    int64_t typed_at;             /* its owner's last input */
    int64_t share_at, rest_until; /* the share's time began; not read before (0: it is) */
    size_t share_used;
    bool paused;

    odto_buf input;    /* not taken by the program yet */
    bool input_held;   /* the owner's connection is paused */
    uint32_t watching; /* events of master in the epoll set */

    viewer *owner, *viewers;
};

typedef enum viewer_phase {
    VIEWER_DELAY, /* test mode */
    VIEWER_HELLO, /* odto.pty.v1: the first message is due */
    VIEWER_LIVE,
    VIEWER_CLOSING,
} viewer_phase;

/* What a connection asks for. */
typedef struct join {
    bool authorized, auth_given;
    bool viewer; /* only look */
    bool resume; /* session and token are given */
    char session[64];
    char token[64];
    bool has_offset, has_seq;
    uint64_t offset, seq;
    int cols, rows;
} join;

struct viewer {
    viewer *next, **at;           /* pty->viewers */
    viewer *peer_next, **peer_at; /* session->viewers */
    pty *pty;
    odto_ws *ws;
    session *session;
    viewer_phase phase;
    bool binary, owner, fresh; /* fresh: it made its session and has not typed yet */
    bool confirmed;            /* has used the token it was given */
    char ip[46];
    int64_t deadline; /* of the phase; 0: none */
    join join;
    uint64_t off, acked; /* sent up to, acknowledged up to */
    uint64_t seq;        /* last frame sent (JSON) */
    bool replaying;
    uint64_t replay_to;
    size_t lag; /* as counted in pty->queued */
    filter filter;
    int64_t told; /* the last notice to a viewer who types */
};

typedef struct pty_settings {
    int64_t idle, grace, token_ttl, kill_grace;
    int per_ip, global;
    size_t lag_high, ring_max, ring_frames;
    size_t share; /* bytes each SHARE_NS; 0: no limit */
    bool read_only, test_modes, fail, bare_origin;
    int64_t delay;
    secret auth; /* set: connections must know it */
    char *program;
    char **argv, **envp;
    const char *dir;
    netmask proxies[MAX_PROXIES];
    size_t n_proxies;
    const char *const *origins, *const *hosts;
    size_t n_origins, n_hosts;
    char listen[64], listen_http[64];
} pty_settings;

struct pty {
    odto_host *host;
    const odto_config *config;
    const odto_http_api *http;
    pty_settings set;
    pthread_mutex_t lock;
    int epfd, timerfd;
    odto_watch *watch;
    bool stopping, saved;
    int64_t typed_at; /* last input of any owner */
    int64_t armed;    /* when the timer goes off; 0: not */
    session *sessions, *dead;
    viewer *viewers;
    size_t n_waiting;
    ticket_table tickets;
    odto_buf scratch, message;
    _Atomic int64_t queued;
    odto_http_route ws_routes[2], http_routes[1];
    odto_metric *m_state[5]; /* active, connected, disconnected, idle, reaping */
    odto_metric *m_queue, *m_drops, *m_ignored, *m_refused, *m_spawned;
};

int64_t pty_now(const pty *p);

/* ---- settings.c: the manifest's options -------------------------------------------------------------- */
enum { PTY_N_OPTIONS = 29 };
extern const odto_option pty_options[];
int settings_load(pty_settings *set, const odto_config *c, odto_error *err);
void settings_free(pty_settings *set);

/* ---- loop.c: the epoll set and the timer --------------------------------------------------------------- */
int loop_open(pty *p, odto_error *err);
void loop_close(pty *p);
void loop_ready(void *arg);                    /* the watch */
void loop_due(pty *p, int64_t at);             /* wake at that time at the latest */
int loop_add(session *s);                      /* master and pidfd */
void loop_master(session *s, uint32_t events); /* EPOLLIN, EPOLLOUT; 0: out of the set */
void loop_remove_child(session *s);

/* ---- session.c: life ------------------------------------------------------------------------------------
 */
session *session_find(pty *p, const char *id);
/* A session without its program; counted at once. NULL without memory. */
session *session_new(pty *p, const char *ip, int cols, int rows);
int session_spawn(session *s, odto_error *err);
/* NULL, or the code of the cap that is reached, after idle sessions made room. */
const char *session_cap(pty *p, const char *ip);
void session_attach(session *s, viewer *v, bool owner);
void session_detach(viewer *v);
void session_end(session *s, const char *why); /* hang up, kill after the grace; holds no slot any more */
void session_exited(session *s);               /* its pidfd says so */
void session_tick(session *s, int64_t now);
void session_drained(session *s); /* over, and a viewer took some of the rest */
void session_state_set(session *s, session_state state);
void session_remove(session *s); /* out of the list, freed by session_bury */
void session_bury(pty *p);
void session_free(session *s);
void session_count(pty *p); /* gauges */
bool session_token_valid(const session *s, odto_slice token);

/* ---- stream.c: output and input --------------------------------------------------------------------------
 */
void stream_readable(session *s);
void stream_writable(session *s);
void stream_flush(session *s, bool all); /* a frame of what has gathered, to everybody */
void stream_pump(viewer *v);             /* as much as a viewer takes now */
void stream_feed(session *s, bool all);  /* the emulator; all: up to the last frame, else a slice */
void stream_answer(session *s, bool on); /* whether the emulator answers queries, from here on */
void stream_tick(session *s, int64_t now);
void stream_input(session *s, odto_slice data);
void stream_resize(session *s, int cols, int rows, bool now);
void stream_throttle(session *s); /* read from the terminal, or not */
/* Bring a viewer that has seen all up to an offset (or nothing) to where the session is. */
void stream_restore(viewer *v, bool has_offset, uint64_t offset);

/* ---- viewer.c: connections
 * ---------------------------------------------------------------------------------- */
extern const odto_ws_ops viewer_ops;
void viewer_known(viewer *v); /* what it asks for is known: joins, in test mode delay later */
void viewer_join(viewer *v);  /* what v->join asks for */
void viewer_error(viewer *v, const char *code, const char *message); /* one error, then close */
void viewer_close(viewer *v, int code, const char *reason);
void viewer_lost(viewer *v, uint64_t frames); /* no replay covers them */
void viewer_exit(viewer *v);                  /* its session is over and all was sent */
void viewer_typed(viewer *v, odto_slice data);
void viewer_resize(viewer *v, int cols, int rows);
void viewer_tick(viewer *v, int64_t now);
bool viewer_send(viewer *v, odto_slice data, bool binary); /* false: it was closed for it */
void viewer_ignored(viewer *v);
/* The secret or a ticket: what it allows, into *j. */
void viewer_authorize(pty *p, odto_slice text, join *j);
/* Leave a session it made and never used for another. */
void viewer_resume(viewer *v);

/* ---- json.c, binary.c: the two protocols
 * ------------------------------------------------------------------- */
void json_message(viewer *v, odto_slice data);
void json_welcome(viewer *v, bool resumed, const char *token);
void json_output(viewer *v, odto_slice a, odto_slice b, uint64_t seq);
void json_replay_begin(viewer *v, uint64_t from);
void json_replay_end(viewer *v);
void json_truncated(viewer *v, uint64_t frames);
void json_notice(viewer *v, const char *text);
void json_error(viewer *v, const char *code, const char *message);

void binary_message(viewer *v, odto_slice data);
void binary_welcome(viewer *v, bool resumed, const char *token);
void binary_output(viewer *v, odto_slice a, odto_slice b, uint64_t offset);
void binary_snapshot(viewer *v, odto_slice data, uint64_t offset);
void binary_text(viewer *v, char type, const char *code, const char *text); /* N, E */
void binary_size(viewer *v);
void binary_exit(viewer *v);

/* ---- tickets.c, handover.c
 * ---------------------------------------------------------------------------------- */
void ticket_post(void *self, odto_http_request *rq);
/* Is this request's Host and Origin allowed, and does it bring the token? */
bool request_allowed(pty *p, const odto_http_request *rq, const char *client, bool authorized);
bool request_bearer(pty *p, const odto_http_request *rq);
void request_client(pty *p, const odto_http_request *rq, char out[46]);
int handover_save(pty *p, odto_buf *blob, odto_error *err);
int handover_restore(pty *p, odto_slice blob, odto_error *err);

#endif
