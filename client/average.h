#ifndef AVERAGE_H
#define AVERAGE_H

/* Rates of connections, or of the streams of one, over some seconds, from the bytes that they had
 * in earlier States. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "introspection.pb-c.h"

enum {
	AVERAGE_LONGEST = 40,   /* s */
	AVERAGE_STEP = 2000,    /* ms, at least, between two of the moments that are remembered */
	AVERAGE_MOMENTS = AVERAGE_LONGEST * 1000 / AVERAGE_STEP + 2,
};

/* What is remembered of a connection, or stream. */
struct past_bytes {
	uint64_t key;             /* hash of its id */
	uint64_t first;           /* number of the first moment that knows it */
	uint64_t now[2];          /* bytes in the last State; [0]: in, [1]: out */
	uint64_t then[AVERAGE_MOMENTS][2];   /* the same at moment n, at n % AVERAGE_MOMENTS */
};

/* The connections, or streams, of the last State. All zero: nothing is known yet. Their number is
 * bounded by that of the message, so by --max-message. */
struct averages {
	struct past_bytes *all;   /* by key; owned */
	size_t count;
	uint64_t moments;         /* remembered so far; the last AVERAGE_MOMENTS are still there */
	int64_t at[AVERAGE_MOMENTS];   /* ms since the epoch; moment n is at n % AVERAGE_MOMENTS */
	int64_t now;              /* ms since the epoch, of the last State */
	uint64_t of;              /* of streams: hash of the id of their connection */
};

/* Adds the connections of a State. If there is no memory for them, all is forgotten. */
void averages_add(struct averages *a, const Introspection__State *state);

/* Adds the streams of a connection in the State taken at now, ms since the epoch. Those of another
 * connection are forgotten. If there is no memory, all is forgotten. */
void averages_add_streams(struct averages *a, const Introspection__Connection *c, uint64_t now);

/* Writes to rate the bytes per second ([0]: in, [1]: out) of what has this id over the last so
 * many seconds, or since it is known. False: it was in one State at most; rate is as it was. */
bool averages_rate(const struct averages *a, const ProtobufCBinaryData *id, unsigned seconds,
                   uint64_t rate[2]);

void averages_free(struct averages *a);

#endif
