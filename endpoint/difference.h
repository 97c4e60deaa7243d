#ifndef DIFFERENCE_H
#define DIFFERENCE_H

/* The smaller forms of a snapshot that a ready with wishes may ask for: the difference to a
 * snapshot that the client has, and the totals. Made from encoded bytes alone, so that they
 * serve every source; made once for all clients that are due the same. No I/O, no allocation
 * after difference_open, nothing kept for a client. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "snapshot.h"
#include "ws.h"

enum {
	DIFFERENCE_FORMS = 4,            /* buffers, and so forms that are there at a time */
	DIFFERENCE_CONNECTIONS = 65536,  /* a snapshot with more has no difference */
	DIFFERENCE_ID_MAX = 54,          /* bytes of a connection's id, likewise */
	DIFFERENCE_GONE = 16384,         /* ids remembered of connections that are no more */
	DIFFERENCE_BASES = 8,            /* snapshots to which there is a difference, at most */
};

struct difference;

/* What a client asks for with a Ready. All zero: the whole snapshot. */
struct wish {
	uint64_t have;   /* sequence number of the snapshot that it holds; 0: none */
	bool totals;
};

/* Reads a ready. What is no Ready asks for the whole snapshot. */
struct wish difference_wish(const uint8_t *message, size_t len);

/* The beginning of a ready that comes in pieces. All zero: none has come. */
struct ready_bytes {
	uint8_t len;         /* more than there are: the message is longer */
	uint8_t bytes[24];   /* with every wish there is it takes 13; a longer one is a plain ready */
};

/* The same for what the decoder ended on (WS_DATA, WS_MESSAGE): the wishes of a binary message
 * that is complete, else none. */
struct wish difference_read(struct ready_bytes *begun, const struct ws_decoder *ws);

/* max: bytes of a message. Untouched pages cost nothing. NULL with errno. */
struct difference *difference_open(size_t max);
void difference_close(struct difference *d);

/* A client says that it holds the snapshot with this sequence number: from now on, until
 * DIFFERENCE_BASES snapshots were noted without such a client, changes are kept track of.
 * latest: the newest snapshot, NULL: there is none. */
void difference_wanted(struct difference *d, const struct snapshot *latest, uint64_t have);

/* To be called with every snapshot that is taken. Compares it to the one before, in one pass,
 * if somebody wants differences. */
void difference_note(struct difference *d, const struct snapshot *latest);

/* The latest snapshot as the difference to the one with the number base, or, with base 0, its
 * totals. Its frame is NULL when it was made by this call. It stays as it is while it is pinned.
 * Returns NULL, so that the whole snapshot is to be sent: base is not known, or no more; two
 * connections have one id, or one has none; the difference would not be smaller by an eighth; or
 * no buffer is free. */
struct snapshot *difference_form(struct difference *d, const struct snapshot *latest,
                                 uint64_t base);

#endif
