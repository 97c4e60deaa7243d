#ifndef ENDPOINT_H
#define ENDPOINT_H

/* An endpoint is what answers at one path: the pull protocol, which stands in introspectd.c, and
 * those that the daemon was linked with (base/parts.h). The loop owns sockets, frames, the clock
 * and snapshots; it asks an endpoint which message each of the endpoint's connections is owed
 * next. The contract between them:
 *
 * 1. An endpoint does no I/O, but that start and reload may read a file, and never waits. Only
 *    the loop calls it.
 * 2. The loop calls next when nothing is being written for the connection, and again when all of
 *    a message was written, so that one message of a connection at most is under way. The bytes
 *    that a message points to must not change until the following call of next, or close.
 * 3. Each State is sent at most once: the loop sends none whose sequence number is not greater
 *    than that of the last one sent to this connection (sent), whatever next returns.
 * 4. A snapshot that a message points into is pinned by the loop until it is written.
 *    An endpoint that reads one in several turns pins it with connection_pin.
 * 5. A snapshot is taken only if waits is true for some connection, or take_at has passed. When
 *    one was taken, the loop calls next for every connection for which waits was true.
 * 6. The loop also calls next for a connection after input from its peer, when due has passed,
 *    and, if it reads events, after an event.
 * 7. One call of next does a bounded amount of work. If more is to be done before there is a
 *    message, next returns 0 and due a time that has passed: the loop calls again in its next
 *    turn.
 * 8. An answer over HTTP may be any number of messages; the one with last ends it. A WebSocket
 *    connection ends by the loop, or by a close code from input or next.
 * 9. Any function but next may be NULL: the endpoint needs nothing of that kind. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <time.h>

#include "base/counters.h"
#include "base/http.h"
#include "base/listen.h"
#include "base/options.h"
#include "snapshot.h"
#include "source/source.h"
#include "ws.h"

enum { STALE_MS = 1000 };   /* after so long a client gets an older snapshot rather than waiting on */

static const int64_t NEVER = INT64_MAX;

enum { ENDPOINTS_MAX = 8 };   /* with the pull protocol, and the NULL at the end of their list */

struct connection;

/* The beginning of a binary ready that comes in pieces. All zero: nothing has come. */
struct ready_bytes {
	uint8_t len;         /* bytes that have come; over sizeof bytes: the message is too long */
	uint8_t bytes[24];   /* a Ready with every wish has 13 bytes; a message that is too long for this is
	                        a plain ready */
};

/* What endpoints see of the daemon. The loop owns all of it. Times are ms of the monotonic
 * clock. */
struct daemon {
	struct options options;
	struct listeners listeners;
	const struct endpoint *endpoints[ENDPOINTS_MAX];   /* the pull protocol first; ended by NULL */
	struct http_policy policy;       /* which requests are served */
	struct source *source;
	struct snapshot_store store;
	struct difference *forms;        /* differences and totals; NULL: this build has none */
	struct counters counters;
	bool event_came;                 /* an Event came, and the connections that read events were not
	                                    looked at since */
	int64_t now;                     /* when this turn of the loop began */
	int64_t take_at;                 /* when to take a snapshot even if no connection waits, or
	                                    NEVER; an endpoint sets it in start and in taken */
	int64_t started;                 /* when the daemon started, ms of CLOCK_BOOTTIME */
	int64_t (*clock_ms)(clockid_t clock);

	/* Ends a connection without a close frame and counts it as dropped. */
	void (*drop)(struct daemon *d, struct connection *c, const char *reason);
};

/* What endpoints see of a slot. All zero when the slot is free. */
struct connection {
	const struct endpoint *endpoint; /* NULL: the request was not judged yet */
	void *memory;                    /* for the endpoint: size bytes, all zero at open */
	const struct sockaddr *peer;
	size_t tx_left;                  /* bytes of the current message that are not written yet */
	bool waiting;                    /* what waits said last: it wants the next snapshot */
	bool events;                     /* set by the endpoint: this client reads events */
	bool ready;                      /* the client may get one State, besides the one that a pull
	                                    client is owed for connecting */
	bool wants_totals;               /* a pull client is to get the totals of its next snapshot */
	bool wants_difference;           /* a pull client is to get the difference of its next snapshot to
	                                    base */
	bool deflates;                   /* a pull client takes snapshots compressed (RFC 7692) */
	struct ready_bytes ready_bytes;
	int64_t asked;                   /* since when the client may get a State. Set by the loop at
	                                    open and when a State was written; by the endpoint when
	                                    ready becomes true */
	uint64_t sent;                   /* sequence number of the last State sent; 0: none was */
	uint64_t base;                   /* sequence of the State that this pull client holds complete,
	                                    so that a difference from it can be sent; 0: none */
	struct snapshot *pinned;
};

/* A message to write: head, then body. */
struct message {
	const uint8_t *head;
	size_t head_len;
	const uint8_t *body;
	size_t body_len;
	struct snapshot *snapshot;       /* whose bytes head or body points into; NULL: none */
	uint64_t sequence;               /* of the State in this message; 0: it holds no State */
	bool last;                       /* this message ends the answer over HTTP */
};

struct endpoint {
	/* It answers requests for this path: opening handshakes of WebSocket if upgrade, else GET
	 * and HEAD. Its answers are data, so the loop has judged Host, Origin and the token. */
	const char *path;
	bool upgrade;
	const char *about;               /* for the list of paths at /; NULL: not in the list */
	size_t size;                     /* bytes of connection.memory */

	/* Called once, before the loop. 0; 1: by the options there is nothing at this path; -1, with
	 * one line logged: the daemon cannot start. */
	int (*start)(struct daemon *d);
	void (*stop)(void);
	/* On SIGHUP: reads again what the options name. 0, or -1 with one line logged: what was read
	 * before stays in force. */
	int (*reload)(const struct options *o);

	/* The request was accepted; r and a are borrowed for the call, the texts in them, if the answer
	 * is one over HTTP, until close. */
	void (*open)(struct daemon *d, struct connection *c, const struct ws_request *r,
	             const struct http_answer *a);
	/* A part of a data message came (WS_DATA), or the last part (WS_MESSAGE); all parts together
	 * have at most MESSAGE_MAX bytes. 0, or the code to close the client with. */
	int (*input)(struct daemon *d, struct connection *c, const struct ws_decoder *ws);
	/* Must input wait until next was called? The loop keeps what came. */
	bool (*pauses)(const struct connection *c);
	/* 1: *m, all zero before the call, is to be written. 0: nothing is owed now. Below 0: the
	 * client is to be closed with this code, negated. */
	int (*next)(struct daemon *d, struct connection *c, struct message *m);
	/* Does this connection want a snapshot to be taken? Not for sending as long as another
	 * message is being written (tx_left): the snapshot would be old when its turn comes. */
	bool (*waits)(const struct daemon *d, const struct connection *c);
	/* When next is to be called even if nothing happens; NEVER: not at all. */
	int64_t (*due)(const struct daemon *d, const struct connection *c);
	/* The connection has ended, or all of the answer was written. */
	void (*close)(struct daemon *d, struct connection *c);

	/* The next two are called once for the endpoint, not for each connection. */

	/* The source saw an Event, well-formed and borrowed for the call. NULL, or in words what is
	 * wrong with it. */
	const char *(*event)(struct daemon *d, const uint8_t *event, size_t len);
	/* A snapshot was taken; next was not called for any connection since. */
	void (*taken)(struct daemon *d);
};

static inline int64_t earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* May a client that asked at this time get the latest snapshot (there must be one)? Yes if the
 * snapshot was not older than the interval when the client asked; if the client has waited
 * STALE_MS for a newer one; or if the source has no newer one now. */
static inline bool is_fresh(const struct daemon *d, int64_t asked)
{
	return d->store.latest->taken >= asked - d->options.interval ||
	       d->now >= asked + STALE_MS || d->now < d->source->newest_until;
}

/* Keeps the bytes of this snapshot for the connection, and gives up those of the snapshot pinned
 * before. NULL: only gives up. */
static inline void connection_pin(struct connection *c, struct snapshot *snapshot)
{
	if (snapshot)
		snapshot->pins++;
	if (c->pinned)
		c->pinned->pins--;
	c->pinned = snapshot;
}

#endif
