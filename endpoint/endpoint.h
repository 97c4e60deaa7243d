#ifndef ENDPOINT_H
#define ENDPOINT_H

/* What lives at a path: the pull protocol, which stands in introspectd.c, and what else the
 * daemon was linked with (base/parts.h). The loop owns sockets, frames, the clock and
 * snapshots. An endpoint says of each of its connections which message is owed next.
 *
 * 1. Endpoints do no I/O and never wait. They are called by the loop only.
 * 2. next is asked when nothing is being written, and again when all of a message was
 *    written, so at most one message of a connection is under way. What it points to must
 *    stay as it is until next is asked again, or until close.
 * 3. next says at most once of each State that it is owed: the loop sends none whose sequence
 *    number is not greater than that of the last one sent (sent), whatever next says.
 * 4. A snapshot that a message points into is pinned by the loop until it is written.
 *    An endpoint that reads one in several turns pins it with connection_pin.
 * 5. No snapshot is taken unless waits is true for some connection, or take_at has passed.
 *    Every connection for which it is true is asked for its next message when a snapshot was
 *    taken.
 * 6. Every connection is asked for its next message after whatever came from its peer, when
 *    due has passed, and after an event if it reads events.
 * 7. All that next costs in one turn is bounded: what takes longer returns 0, and due
 *    says when to go on, a time that has passed meaning the next turn.
 * 8. Over HTTP the answer may be any number of messages; the one with last ends it. A
 *    client of WebSocket is ended by the loop, or by a close code from input or next.
 * 9. Any function but next may be NULL: the endpoint needs nothing of that kind. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <time.h>

#include "base/counters.h"
#include "base/http.h"
#include "base/options.h"
#include "endpoint/difference.h"
#include "snapshot.h"
#include "source/source.h"
#include "ws.h"

enum { STALE_MS = 1000 };   /* who asks waits no longer for a fresh snapshot if there is an old one */

static const int64_t NEVER = INT64_MAX;

struct connection;

/* What endpoints see of the daemon. The loop owns all of it. Times are ms of the monotonic
 * clock. */
struct daemon {
	struct options options;
	struct source *source;
	struct snapshot_store store;
	struct difference *forms;        /* smaller forms of snapshots; NULL: there are none */
	struct counters counters;
	int64_t now;                     /* of this turn */
	int64_t take_at;                 /* when a snapshot is wanted though no connection waits, set
	                                    by an endpoint at start and in taken; NEVER */
	int64_t started;                 /* of CLOCK_BOOTTIME */
	int64_t (*clock_ms)(clockid_t clock);

	/* Ends a connection, which is counted as dropped: nothing more is written to it. */
	void (*drop)(struct daemon *d, struct connection *c, const char *reason);
};

/* What endpoints see of a slot. All zero when the slot is free. */
struct connection {
	const struct endpoint *endpoint; /* NULL: none yet */
	void *memory;                    /* the endpoint's own: size bytes, all zero at open */
	const struct sockaddr *peer;
	size_t tx_left;                  /* bytes of a message that are not written yet */
	bool waiting;                    /* for the next snapshot, by waits */
	bool events;                     /* set by the endpoint: it reads events */
	bool ready;                      /* it has a credit for one State, besides the one that a
	                                    pull client is owed for connecting */
	int64_t asked;                   /* since when it has one. The loop sets this at open and
	                                    when a State was written, the endpoint when a client
	                                    that has no credit gets ready */
	uint64_t sent;                   /* sequence number of the last State sent; 0: none was */
	struct wish wish;                /* of a pull client, for its next snapshot */
	uint64_t base;                   /* sent, if a pull client can make the whole of a difference to it */
	struct ready_bytes ready_bytes;
	struct snapshot *pinned;
};

/* A message to write: head, then body. */
struct message {
	const uint8_t *head;
	size_t head_len;
	const uint8_t *body;
	size_t body_len;
	struct snapshot *snapshot;       /* that head or body is part of, sequence not being 0;
	                                    NULL: of none */
	uint64_t sequence;               /* of the State that this is; 0: it is none */
	bool last;                       /* of the answer over HTTP */
};

struct endpoint {
	/* What it takes: requests for this path, as opening handshakes of WebSocket or as GET
	 * and HEAD. All of it is data, for which Host, Origin and the token are judged. */
	const char *path;
	bool upgrade;
	const char *about;               /* what is there, for the text at /; NULL: not said */
	size_t size;                     /* bytes of connection.memory */

	/* Once, before the loop. 1: the options want nothing at this path; -1: with one line
	 * logged. */
	int (*start)(struct daemon *d);
	void (*stop)(void);

	/* The request was accepted; r and a are borrowed for the call. */
	void (*open)(struct daemon *d, struct connection *c, const struct ws_request *r,
	             const struct http_answer *a);
	/* Payload of a data message came (WS_DATA), or its last part (WS_MESSAGE), of at most
	 * MESSAGE_MAX bytes in all. 0, or a close code. */
	int (*input)(struct daemon *d, struct connection *c, const struct ws_decoder *ws);
	/* Can it take no input before next is asked again? The loop keeps what came. */
	bool (*pauses)(const struct connection *c);
	/* 1: *m, which is all zero before, is to be written; 0: nothing is owed now; < 0: the
	 * client is to be closed with this code, negated. */
	int (*next)(struct daemon *d, struct connection *c, struct message *m);
	/* Does it want a snapshot to be taken? One that is to be sent is not wanted as long as
	 * another message is being written (tx_left). */
	bool (*waits)(const struct daemon *d, const struct connection *c);
	/* When next is to be asked though nothing happened; NEVER. */
	int64_t (*due)(const struct daemon *d, const struct connection *c);
	/* The connection has ended, or all of the answer was written. */
	void (*close)(struct daemon *d, struct connection *c);

	/* For all of its connections: the source saw an Event, well-formed and borrowed for
	 * the call. NULL, or what is wrong with it. */
	const char *(*event)(struct daemon *d, const uint8_t *event, size_t len);
	/* A snapshot was taken, and nobody has been asked for a message since. */
	void (*taken)(struct daemon *d);
};

static inline int64_t earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* Is the latest snapshot, which there is, one for a client that asked at that time? One
 * that was no older than the interval then; any, if no newer one can come, or none came within
 * STALE_MS. */
static inline bool is_fresh(const struct daemon *d, int64_t asked)
{
	return d->store.latest->taken >= asked - d->options.interval ||
	       d->now >= asked + STALE_MS || d->now < d->source->newest_until;
}

/* Keeps a snapshot's bytes, and lets go of those kept before. NULL: keeps none. */
static inline void connection_pin(struct connection *c, struct snapshot *snapshot)
{
	if (snapshot)
		snapshot->pins++;
	if (c->pinned)
		c->pinned->pins--;
	c->pinned = snapshot;
}

#endif
