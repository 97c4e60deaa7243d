#ifndef METRICS_H
#define METRICS_H

/* What the daemon and the newest snapshot amount to, as text for Prometheus
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
	METRICS_MAX = 192 << 10,   /* bytes of a text; enough for any totals */
	METRICS_TEXTS = 4,         /* that are being read at a time */
	METRICS_FIELDS = 10000,    /* of a snapshot, counted at a time: a fraction of a millisecond */
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

	/* Its own. */
	struct totals totals;
	uint64_t counted;                      /* the snapshot's that they are of; 0: none or not all */
	int64_t counted_taken;                 /* ms of the loop's clock */
	size_t counted_bytes;
	const void *counter;                   /* the reader for whom one is being counted; NULL: none */
	uint64_t written;                      /* texts */
	uint64_t order[METRICS_TEXTS];         /* in which they were written; 0: nobody reads it */
	void *readers[METRICS_TEXTS];          /* NULL: none */
	char texts[METRICS_TEXTS][METRICS_MAX];
};

/* Counts what a reader will read of, one snapshot at a time. False: not done, and to be
 * called again with the same, which stays as it is until then. */
bool metrics_count(struct metrics *m, const struct snapshot *snapshot, const void *reader);

/* Writes a text about what is now and the snapshot counted last, if there is one, and
 * returns it and its length. It stays until reader is released, or until it is the oldest
 * when another is to be written and all are being read: then reader comes back as *slow
 * (else NULL), and must stop. */
const unsigned char *metrics_write(struct metrics *m, void *reader, void **slow, size_t *len);

/* The reader has read its text, or will not. */
void metrics_release(struct metrics *m, const void *reader);

#endif
