/* document.h — an event as a MongoDB document, and back. Pure functions.
 *
 * A document has the envelope's members under lower-cased names (eventid, eventtype, occurredat,
 * correlationid, contractversion, idempotencykey, producer, payload with its own names), where other services
 * of the contract look for them, and beside them: _id (the event id), occurredAt (a date), seq (the position
 * in the log) and storedAt (a date). Ids and occurredat are normalised (lower case, UTC with milliseconds),
 * so they can be compared. Where the members don't give the envelope's text again (another order, numbers
 * as 1.50, escapes without need, members that are not the contract's), it stands beside them as `body`. */
#ifndef MONGO_DOCUMENT_H
#define MONGO_DOCUMENT_H

#include <bson/bson.h>
#include <odto/envelope.h>
#include <odto/store.h>

/* Append the members of the event to out (without _id); plain: of payload and producer only a few texts, the
 * rest in `body` alone, for a server that refuses the event otherwise. 0; -E2BIG: over what a server takes;
 * -EINVAL: no valid envelope; -ENOMEM. */
int document_put(bson_t *out, odto_slice body, const odto_header *h, int64_t seq, int64_t stored_at_ms,
                 bool plain);
/* Append the envelope of a document to out: its body, or, of a document of another service, what its members
 * give. False without memory. */
bool document_envelope(const bson_t *doc, odto_buf *out);
/* What the counters need of a document. An event id that is none counts as one of its own. */
odto_counted document_counted(const bson_t *doc);
/* The time of occurredat, 0 when there is none. */
int64_t document_time(const bson_t *doc);
/* seq and storedAt, 0 when absent. */
int64_t document_int(const bson_t *doc, const char *key);

#endif
