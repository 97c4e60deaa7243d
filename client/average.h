#ifndef AVERAGE_H
#define AVERAGE_H

/* Rates of connections over longer times, from the bytes that past States had. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "introspection.pb-c.h"

enum {
	AVERAGE_LONGEST = 40,   /* s */
	AVERAGE_STEP = 2000,    /* ms between two of the moments that are remembered */
	AVERAGE_MOMENTS = AVERAGE_LONGEST * 1000 / AVERAGE_STEP + 2,
};

/* What is remembered of a connection. */
struct past_bytes {
	uint64_t key;             /* hash of its id */
	uint64_t first;           /* the number of the first moment at which it was there */
	uint64_t now[2], then[AVERAGE_MOMENTS][2];   /* bytes; [0]: in, [1]: out */
};

/* All zero: nothing is known yet. Holds the connections of the last State, of which there are as
 * many as its message had room for. */
struct averages {
	struct past_bytes *all;   /* by key */
	size_t count;
	uint64_t moments;         /* that were remembered, ever; the last ones stay */
	int64_t at[AVERAGE_MOMENTS];   /* ms since the epoch; of moment n at n % AVERAGE_MOMENTS */
	int64_t now;
	uint64_t of;              /* hash of the id of the connection whose streams these are */
};

/* Adds a State. Without memory for it, nothing is known any more. */
void averages_add(struct averages *a, const Introspection__State *state);

/* The same for the streams of a connection at a time, ms since the epoch. Of another connection
 * than the last time, nothing is known yet. */
void averages_add_streams(struct averages *a, const Introspection__Connection *c, uint64_t now);

/* Bytes per second of a connection, or stream, over the last so many seconds, or since it is known. False:
 * too little is known. */
bool averages_rate(const struct averages *a, const ProtobufCBinaryData *id, unsigned seconds,
                   uint64_t rate[2]);

void averages_free(struct averages *a);

#endif
