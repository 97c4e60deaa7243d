#ifndef COUNTERS_H
#define COUNTERS_H

/* What the loop has done since its start. */

#include <stdint.h>

#include "base/http.h"

enum {
	COUNTERS_STATES = 7,        /* of connections to the daemon */
	COUNTERS_BUCKETS = 12,      /* of the histogram, the infinite one counted */
	COUNTERS_CLOSE_CODES = 3,
};

struct counters {
	uint64_t taken;                            /* snapshots */
	uint64_t failed;                           /* snapshots that could not be taken */
	uint64_t sent;                             /* snapshots, to the last byte */
	uint64_t skipped;                          /* snapshots that a client missed between two that it got */
	uint64_t sent_bytes;
	uint64_t dropped;                          /* connections that were ended for being slow or silent */
	uint64_t refused[HTTP_REFUSALS];           /* requests */
	uint64_t closed[COUNTERS_CLOSE_CODES];     /* clients for what they sent, by counters_close_codes */
	uint64_t built[COUNTERS_BUCKETS];          /* snapshots by how long they took, by counters_bounds */
	uint64_t built_ns;                         /* how long all of them took */
	uint64_t clients[COUNTERS_STATES];         /* connections that there are, by state */
	const char *names[COUNTERS_STATES];        /* of the states */
	uint64_t waiting;                          /* connections that wait for the next snapshot */
};

extern const unsigned counters_close_codes[COUNTERS_CLOSE_CODES];
extern const double counters_bounds[COUNTERS_BUCKETS - 1];   /* seconds */

/* Counts a snapshot and how long it took to build. */
void counters_built(struct counters *c, uint64_t ns);

/* Counts the closing of a client for what it sent, if the code is one of
 * counters_close_codes. */
void counters_closed(struct counters *c, unsigned code);

#endif
