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

enum {
	DIFFERENCE_FORMS = 4,            /* buffers, and so forms that can be in use at a time */
	DIFFERENCE_CONNECTIONS = 65536,  /* connections of a snapshot; with more it has no difference */
	DIFFERENCE_ID_MAX = 54,          /* bytes of a connection's id; a snapshot with a longer one has no
	                                    difference */
	DIFFERENCE_GONE = 16384,         /* connections that have gone, of which the ids are remembered */
	DIFFERENCE_BASES = 8,            /* snapshots for which changes are kept track of after a client
	                                    last wanted a difference */
};

struct difference;

/* What a client asks for with a Ready. All zero: the whole snapshot. */
struct wish {
	uint64_t have;   /* sequence number of the snapshot that it holds; 0: none */
	bool totals;
};

/* Reads the len bytes of a ready. Bytes that are no Ready of the schema ask for the whole snapshot. */
struct wish difference_wish(const uint8_t *message, size_t len);

/* Reserves all memory (untouched pages cost nothing). max: bytes of the largest message. The caller owns the
 * result until difference_close. NULL with errno. */
struct difference *difference_open(size_t max);
void difference_close(struct difference *d);

/* A client says that it holds the snapshot with this sequence number: from now on, until
 * DIFFERENCE_BASES snapshots were noted without such a client, changes are kept track of.
 * latest: the newest snapshot, NULL: there is none. */
void difference_wanted(struct difference *d, const struct snapshot *latest, uint64_t have);

/* To be called with every snapshot that is taken. If some client wants differences, compares the snapshot to
 * the one before it, in one pass. */
void difference_note(struct difference *d, const struct snapshot *latest);

/* The latest snapshot as the difference to the one with the sequence number base, or, with base 0, its
 * totals. The form is owned by d, and does not change while it is pinned; if this call has made it, its
 * frame is NULL. NULL: the whole snapshot is to be sent, since changes since base are not known; or
 * two connections have the same id, or one has none; or the difference would not save an eighth of the
 * bytes; or no buffer is free. */
struct snapshot *difference_form(struct difference *d, const struct snapshot *latest,
                                 uint64_t base);

#endif
