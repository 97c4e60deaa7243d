#ifndef SNAPSHOT_H
#define SNAPSHOT_H

/* Takes, numbers, encodes and keeps snapshots. Knows nothing of sockets or of
 * WebSocket: in front of every message it leaves SNAPSHOT_HEADROOM bytes in
 * which the loop builds the frame header once, for all clients. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "introspection.pb-c.h"

enum {
	SNAPSHOT_BUFFERS = 8,     /* the latest, the next, and six that slow clients may hold */
	SNAPSHOT_HEADROOM = 16,   /* bytes before a message */
};

/* What a source hands over: a State as a struct, or encoded. Neither has the fields runtime and sequence of the
 * schema, which the daemon adds. Borrowed until the source is called again. */
struct snapshot_input {
	Introspection__State *state;   /* NULL: the State is encoded, in bytes */
	const uint8_t *bytes;
	size_t len;                    /* of bytes */
	size_t most;                   /* bytes that state takes at most when it is encoded; 0: not known */
};

struct snapshot {
	uint64_t sequence;   /* from 1; 0: the buffer was never used */
	int64_t taken;       /* ms, the loop's monotonic clock */
	uint8_t *buffer;     /* owned; begins with the headroom */
	uint8_t *message;    /* a ServerMessage, behind the headroom */
	size_t len;          /* bytes of the message */
	bool deflated;       /* the message is compressed (RFC 7692) */
	uint8_t *frame;      /* set by the loop: where the frame begins, within the headroom */
	unsigned pins;       /* clients to which it is being sent */
	size_t pace;         /* set by the loop: bytes that the fastest of them took of late */
};

struct snapshot_store {
	struct snapshot all[SNAPSHOT_BUFFERS];
	struct snapshot *latest;   /* NULL: none was taken yet */
	uint64_t sequence;         /* of the latest */
	size_t max;                /* bytes of a message */
};

/* Reserves the buffers (untouched pages cost nothing). 0, or -1 with errno. */
int snapshot_open(struct snapshot_store *store, size_t max);
void snapshot_close(struct snapshot_store *store);

/* The snapshot that must be let go before another can be taken: of those that are pinned the one
 * with the lowest pace, then the oldest. NULL when there is room. */
struct snapshot *snapshot_in_the_way(struct snapshot_store *store);

/* Numbers the state, puts the runtime in it and encodes it as the latest. now is
 * in ms of the loop's clock. Returns the bytes of the message when it was taken.
 * A larger result than store->max means that it was not: the previous one stays
 * and no number is used. There must be room. */
size_t snapshot_take(struct snapshot_store *store, const struct snapshot_input *input,
                     Introspection__Runtime *runtime, int64_t now);

#endif
