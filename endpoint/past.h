#ifndef PAST_H
#define PAST_H

/* What the daemon remembers of the past: small forms of States, and events, in the order in
 * which they were seen, each as a message of a recording (libp2p introspection file format).
 * No I/O, no clock, no allocation after past_open. Times are ms of the monotonic clock, so that
 * a wall clock that is set changes no order. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "snapshot.h"

enum {
	PAST_CONNECTIONS = 16,          /* of a State: those that moved most */
	PAST_POINT_MAX = 16 << 10,      /* bytes of a State; what does not fit is left out */
	PAST_HOUR_MS = 3600 * 1000,     /* younger States are all kept; ... */
	PAST_DAY_MS = 24 * 3600 * 1000, /* ... younger than this, one a minute; ... */
	PAST_MINUTE_MS = 60 * 1000,
	PAST_TEN_MINUTES_MS = 10 * PAST_MINUTE_MS,   /* ... else one in ten minutes */
	PAST_EVENTS_SHARE = 4,          /* events take at most this part of the bytes */
	PAST_LOST = -1,
};

struct past {
	uint8_t *bytes;         /* items, the oldest first, without gaps */
	size_t size, used;
	size_t event_bytes;     /* of used */
	int64_t keep;           /* ms: what is older goes */
	int64_t thinned;        /* when that was done last */
	uint64_t next;          /* number of the next item, from 1 */
	uint64_t moves;         /* how often items moved to other places */
	uint64_t newest[2], gone[2];   /* of States and of events: numbers of the last that came, and of
	                                  the last that went for its age or for want of room */
	uint8_t *head;          /* how a recording begins: version, Runtime, configuration */
	size_t head_len;
	uint64_t heads;         /* how often it became another */
};

/* Goes through a past that changes meanwhile. */
struct past_reader {
	int64_t since;          /* items from before are passed over */
	uint64_t until;         /* number of the first item that is none of its own */
	uint64_t number;        /* of the next item; 0: the head */
	size_t done;            /* bytes of it that were read */
	uint64_t moves, heads;  /* as of the past when at was right */
	uint64_t newest[2], gone[2];   /* as of the past when the reader began */
	size_t at;              /* where the next item stands */
};

/* Reserves size bytes; keep: for how long something is remembered. 0, or -1 with errno. */
int past_open(struct past *p, size_t size, int64_t keep);
void past_close(struct past *p);

/* Remembers what a recording begins with. every: ms between two States. */
void past_runtime(struct past *p, const Introspection__Runtime *runtime, int64_t every);

/* Remembers a snapshot taken now. totals: the same as difference_form makes it; NULL: there is
 * no such form. */
void past_state(struct past *p, int64_t now, const struct snapshot *totals,
                const struct snapshot *latest);

/* Remembers an encoded Event. */
void past_event(struct past *p, int64_t now, const uint8_t *event, size_t len);

/* A reader of what there is. */
struct past_reader past_reader(const struct past *p, int64_t since);

/* Copies the next bytes of the recording, at most room. 0: that was all; PAST_LOST: of what the
 * reader was still to get, something went, so that what follows would come after a gap. */
long past_read(const struct past *p, struct past_reader *r, uint8_t *out, size_t room);

#endif
