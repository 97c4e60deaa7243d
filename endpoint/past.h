#ifndef PAST_H
#define PAST_H

/* What the daemon remembers of the past (--remember): small forms of States, and Events, in the order
 * in which they came, each as a message of a recording (libp2p introspection file format). No I/O, no
 * clock, no allocation after past_open. Times are ms of the monotonic clock, so that setting the clock of
 * the day changes no order. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "snapshot.h"

enum {
	PAST_CONNECTIONS = 16,          /* connections kept of a State: those with the highest rates */
	PAST_POINT_MAX = 16 << 10,      /* bytes of a State; what does not fit is left out */
	PAST_HOUR_MS = 3600 * 1000,     /* of States younger than this every one is kept, */
	PAST_DAY_MS = 24 * 3600 * 1000, /* of those younger than this one in PAST_MINUTE_MS, */
	PAST_MINUTE_MS = 60 * 1000,
	PAST_TEN_MINUTES_MS = 10 * PAST_MINUTE_MS,   /* and of older ones one in this time */
	PAST_EVENTS_SHARE = 4,          /* Events have at most 1/PAST_EVENTS_SHARE of the bytes */
	PAST_LOST = -1,                 /* a result of past_read */
};

struct past {
	uint8_t *bytes;         /* items, the oldest first, without gaps */
	size_t size, used;
	size_t event_bytes;     /* how many of the used bytes Events have */
	int64_t keep;           /* ms: older items are dropped */
	int64_t thinned;        /* when items were last dropped for their age */
	uint64_t next;          /* number that the next item gets, from 1 */
	uint64_t moves;         /* how often items were moved to other places in bytes */
	uint64_t newest[2], gone[2];   /* [0] of States, [1] of Events: number of the newest item, and of
	                                  the last one dropped for its age or for want of room */
	uint8_t *head;          /* how a recording begins: version, Runtime, configuration */
	size_t head_len;
	uint64_t heads;         /* how often head was replaced by another */
};

/* A position in a past that changes meanwhile. */
struct past_reader {
	int64_t since;          /* older items are passed over */
	uint64_t until;         /* this item and later ones came after the reader and are not read */
	uint64_t number;        /* of the next item; 0: the head is next */
	size_t done;            /* bytes of the next item, or of the head, that were read */
	uint64_t moves, heads;  /* those of the past when at, or done, was last right */
	uint64_t newest[2], gone[2];   /* those of the past when the reader began */
	size_t at;              /* where in bytes the next item stands */
};

/* Reserves size bytes. keep: ms for which items are remembered. 0, or -1 with errno. */
int past_open(struct past *p, size_t size, int64_t keep);
void past_close(struct past *p);

/* Remembers what a recording begins with. every: ms between two States. */
void past_runtime(struct past *p, const Introspection__Runtime *runtime, int64_t every);

/* Remembers latest, a snapshot taken at now, in a small form. totals: its totals as difference_form makes
 * them; NULL: they could not be made. */
void past_state(struct past *p, int64_t now, const struct snapshot *totals,
                const struct snapshot *latest);

/* Remembers an encoded Event. */
void past_event(struct past *p, int64_t now, const uint8_t *event, size_t len);

/* A reader, at the beginning, of all items that there are now and that are not older than since. */
struct past_reader past_reader(const struct past *p, int64_t since);

/* Copies the next bytes of the recording to out, at most room, and returns how many. 0: that was all;
 * PAST_LOST: an item that the reader had not read yet was dropped, so that there would be a gap. */
long past_read(const struct past *p, struct past_reader *r, uint8_t *out, size_t room);

#endif
