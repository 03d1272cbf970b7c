/* odto/control.h — the control protocol: what `odto` and the dashboard ask a running host.
 *
 * Transport: Scalability Protocols REQ/REP over a Unix socket of mode 0600 (what nng calls ipc:// and
 * req0/rep0; sp-ipc-mapping-01, sp-request-reply-01), so any nng client can ask. The peer must be root or the
 * host's own user. Both sides speak it by the functions below and not through libnng, because nng 1.5.2 never
 * accepts again once a client has left during the greeting (nanomsg/nng#1518), and brings 13 threads. One
 * request, one reply, both JSON texts of at most ODTO_CONTROL_MAX bytes. A verb that changes something
 * answers when it is done.
 *
 *   request  {"v":1,"verb":"reload","args":{"name":"gateway"}}      args may be left out
 *   reply    {"ok":true,"data":…}
 *            {"ok":false,"error":{"code":-22,"message":…,"detail":…,"hint":…,"where":…},"data":…}
 * data of a refused request is left out where there is none. Unknown members are ignored by both sides.
 *
 * verb         args                         data
 * status       -                            host version abi pid state("running" "stopping") ready reason
 * live startedAt uptimeMs manifest dataDir generation instances{total ready failed} health       - ready live
 * reason instances[{name ready reason}] plugins      name?                        plugins[{name kind module
 * version state generation ready reason required isolate restarts uptimeMs threads imagesKept lastError}]
 * reload       name?                        verdicts[{name action step reason generation durationMs
 * pauseMs}], errors[text] of the manifest; action: "reloaded" "reconfigured" "added" "removed" "unchanged"
 * "rolled-back" "failed" enable       name                         verdicts[…] until the next reload of the
 * manifest disable      name                         verdicts[…] drain        name? verdicts[…] takes nothing
 * new, finishes what is in hand log-level    level plugin?                level "default" takes a plugin's
 * own level away; {} routes       -                            routes[{topic transport overflow depth
 * capacity leased published acked returned rejected redelivered dropped bytesOnDisk oldestAgeMs deadLetter}]
 * dlq-list     topic? limit? cursor?        letters[{id topic originalTopic reason rejectedAt correlationId
 *                                           size}] next("" at the end)
 * dlq-show     id                           letter: the dead letter itself (contract/messages)
 * dlq-requeue  id | all:true topic?         count
 * dlq-purge    id | all:true topic?         count
 * tail         topic? after? waitMs? limit? events[{seq topic body}] next: `after` of the following request
 * metrics      -                            text: Prometheus format
 * print        -                            text: the effective manifest, secrets masked
 * reopen-log   -                            {}
 * stop         -                            {} at once; the host then shuts down in order
 * verbs        -                            verbs[{name args help}]
 */
#ifndef ODTO_CONTROL_H
#define ODTO_CONTROL_H

#include <odto/base.h>

#define ODTO_CONTROL_VERSION 1
#define ODTO_CONTROL_MAX     (16u << 20)
#define ODTO_CONTROL_SOCKET  "control.sock" /* in the data directory */

/* The data directory of a host whose manifest names none: $ODTO_DATA_DIR, /var/lib/odto for root,
 * $XDG_STATE_HOME/odto, ~/.local/state/odto (XDG Base Directory Specification), /tmp/odto-UID. Returns buf.
 */
const char *odto_default_data_dir(char *buf, size_t size);

/* ---- asking -------------------------------------------------------------------------------- */

/* Connects, asks, waits for the reply and disconnects. `request` is the JSON text; the reply's text is
 * appended to *reply. 0, or -errno with err saying what to do: -ENOENT/-ECONNREFUSED no host there, -EACCES,
 * -ETIMEDOUT, -EPROTO something else listens. A refusal by the host is a reply, not an error of this
 * function. Blocks up to timeout_ns; any thread. */
int odto_control_ask(const char *socket_path, odto_slice request, int64_t timeout_ns, odto_buf *reply,
                     odto_error *err);
/* The request text {"v":1,"verb":…,"args":…}; args is a JSON object's text or empty. */
bool odto_control_request(odto_buf *out, const char *verb, odto_slice args);

/* ---- the protocol, for both ends ----------------------------------------------------------- */

#define ODTO_SP_REQ  0x30
#define ODTO_SP_REP  0x31
#define ODTO_SP_HOPS 8 /* words in front of a message; a direct request has one */

typedef struct odto_sp_header { /* the way back of a request; a reply carries the same */
    uint32_t words[ODTO_SP_HOPS];
    size_t n;
} odto_sp_header;

/* All block with poll(2) until deadline (monotonic ns, INT64_MAX: for ever) on a non-blocking socket. 0,
 * -ETIMEDOUT, -EPIPE (the peer has left), -EPROTO, -EMSGSIZE, -ENOMEM, or -errno. */
int odto_sp_greet(int fd, uint16_t self, uint16_t peer, int64_t deadline);
int odto_sp_send(int fd, const odto_sp_header *h, odto_slice body, int64_t deadline);
/* Waits for the first byte until deadline and from there rest_ns for the whole message, appended to *body. */
int odto_sp_receive(int fd, odto_sp_header *h, odto_buf *body, size_t max, int64_t deadline, int64_t rest_ns);

#endif
