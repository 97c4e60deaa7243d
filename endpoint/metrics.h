#ifndef METRICS_H
#define METRICS_H

/* The counters of the daemon and the totals of the newest snapshot, as text for Prometheus
 * (exposition format 0.0.4). No I/O. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/counters.h"
#include "snapshot.h"
#include "source/source.h"
#include "endpoint/totals.h"

#define METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"

enum {
	METRICS_MAX = 192 << 10,   /* bytes of a text; enough for all that struct totals can hold */
	METRICS_TEXTS = 4,         /* texts that are being read at the same time */
	METRICS_FIELDS = 10000,    /* fields of a snapshot counted in a turn: well below 1 ms */
};

struct metrics {
	/* Set before metrics_write. */
	struct counters counters;
	uint64_t max_clients;
	int64_t started;                       /* ms since the epoch */
	int64_t cpu;                           /* ms */
	int64_t epoch;                         /* ms since the epoch, at 0 of the loop's clock */
	const struct feed_state *feed;         /* NULL: no node feeds the source */
	const Introspection__Runtime *runtime;

	/* The module's own. */
	struct totals totals;
	uint64_t counted;                      /* sequence of the snapshot in totals; 0: none, or it is
	                                          still being counted */
	int64_t counted_taken;                 /* when that was taken, ms of the loop's clock */
	size_t counted_bytes;                  /* bytes of its message */
	const void *counter;                   /* the reader for whom totals is being counted; or NULL */
	uint64_t written;                      /* how many texts were written so far */
	uint64_t order[METRICS_TEXTS];         /* value of written for this text; 0: nobody reads it */
	void *readers[METRICS_TEXTS];          /* who reads this text; NULL: nobody */
	char texts[METRICS_TEXTS][METRICS_MAX];
};

/* Counts a snapshot for a reader, METRICS_FIELDS at a time, one snapshot at a time. False: not
 * done; call again in the next turn with the same snapshot, whose bytes must not change until
 * then. */
bool metrics_count(struct metrics *m, const struct snapshot *snapshot, const void *reader);

/* Writes a text from the members set by the owner and the snapshot counted last, if there is one.
 * Returns the text and its length. It stays until metrics_release(reader). If all METRICS_TEXTS
 * are being read, the oldest one is written over: *slow is then its reader, who must be stopped;
 * else NULL. */
const unsigned char *metrics_write(struct metrics *m, void *reader, void **slow, size_t *len);

/* The reader needs its text, or its counting, no more. */
void metrics_release(struct metrics *m, const void *reader);

#endif
