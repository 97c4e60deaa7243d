#ifndef METRICS_H
#define METRICS_H

/* What the daemon and the newest snapshot amount to, as text for Prometheus
 * (exposition format 0.0.4). No I/O. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/http.h"
#include "snapshot.h"
#include "source/source.h"
#include "endpoint/totals.h"

#define METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"

enum {
	METRICS_MAX = 192 << 10,   /* bytes of a text; enough for any totals */
	METRICS_TEXTS = 4,         /* that are being read at a time */
	METRICS_FIELDS = 10000,    /* of a snapshot, counted at a time: a fraction of a millisecond */
	METRICS_STATES = 8,        /* of connections to the daemon */
	METRICS_BUCKETS = 12,      /* of the histogram, the infinite one counted */
	METRICS_CLOSE_CODES = 3,
};

struct metrics {
	/* Counted by the loop since start. */
	uint64_t taken;                        /* snapshots */
	uint64_t failed;                       /* snapshots that could not be taken */
	uint64_t sent;                         /* snapshots, all of each */
	uint64_t skipped;                      /* snapshots, between two sent to one client */
	uint64_t sent_bytes;
	uint64_t dropped;                      /* clients, too slow or silent */
	uint64_t refused[HTTP_REFUSALS];       /* requests */
	uint64_t closed[METRICS_CLOSE_CODES];  /* see metrics_closed */
	uint64_t built[METRICS_BUCKETS];       /* see metrics_built */
	uint64_t built_ns;

	/* Set by it before metrics_write. */
	uint64_t clients[METRICS_STATES];      /* connections, by state */
	const char *const *names;              /* of the states */
	uint64_t waiting;                      /* clients, for the next snapshot */
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

/* Counts a snapshot and how long it took to build. */
void metrics_built(struct metrics *m, uint64_t ns);

/* Counts the closing of a client for what it sent, with WS_PROTOCOL_ERROR,
 * WS_INVALID_DATA or WS_TOO_BIG. */
void metrics_closed(struct metrics *m, unsigned code);

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
