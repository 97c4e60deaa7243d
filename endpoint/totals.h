#ifndef TOTALS_H
#define TOTALS_H

/* What a snapshot adds up to, counted from its encoded bytes. No I/O, no
 * allocation; what a node can make up without end, such as names of protocols,
 * is counted up to a bound, and together beyond it. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "source/wire.h"

enum {
	TOTALS_NAME_MAX = 97,     /* bytes of a name, with its terminator */
	TOTALS_TRANSPORTS = 17,   /* the first is "other" */
	TOTALS_PROTOCOLS = 65,    /* likewise */
	TOTALS_RESOURCES = 64,    /* those beyond are left out */
	TOTALS_STATUSES = 6,      /* those of the schema, then all others; of peers in the DHT: 5 */
	TOTALS_ROLES = 3,
	TOTALS_DEPTH = 6,         /* messages within one another that are counted */
	TOTALS_NUMBERS = 11,      /* of a message */
	TOTALS_TEXTS = 2,
	TOTALS_SPELLINGS = 128,   /* of names; those beyond are "other" */
};

/* Names in the order of their appearance: printable UTF-8, terminated. All other
 * bytes were made question marks, an empty name "unknown". Longer ones are "other". */
struct totals_names {
	size_t count;
	char text[TOTALS_PROTOCOLS][TOTALS_NAME_MAX];

	/* How they stand in the message, found by hash. */
	struct totals_spelling {
		const uint8_t *at;
		size_t len;              /* bytes; 0: there is none */
		size_t number;           /* of the name */
	} spellings[2 * TOTALS_SPELLINGS];
	size_t spelling_count;
};

struct totals_resource {
	char scope[TOTALS_NAME_MAX];
	char name[TOTALS_NAME_MAX];
	uint64_t used, limit;        /* limit 0: none */
};

/* What is needed of a message, until all of it was read. */
struct totals_values {
	uint64_t numbers[TOTALS_NUMBERS];
	struct totals_text {
		const uint8_t *at;
		size_t len;
	} texts[TOTALS_TEXTS];
};

/* [0] is in, [1] is out. */
struct totals {
	struct totals_names transports, protocols;
	uint64_t connections[TOTALS_TRANSPORTS][TOTALS_STATUSES][TOTALS_ROLES];
	uint64_t streams[TOTALS_PROTOCOLS];        /* open ones, of connections */
	uint64_t streams_told[TOTALS_PROTOCOLS];   /* of ProtocolTraffic */
	bool has_traffic[TOTALS_PROTOCOLS];
	uint64_t protocol_bytes[TOTALS_PROTOCOLS][2];
	uint64_t bytes[2], packets[2];
	bool has_dht;                              /* enabled, or with peers */
	uint64_t dht_peers[TOTALS_STATUSES];
	uint64_t dht_queries[2][3];                /* succeeded, failed, timed out */
	struct totals_resource resources[TOTALS_RESOURCES];
	size_t resource_count;

	/* The messages that are being read, the innermost last. */
	struct totals_level {
		struct wire_reader reader;
		unsigned kind;
		struct totals_values own, *values;   /* its own, or those of the one that it is in */
	} levels[TOTALS_DEPTH];
	size_t depth;
};

/* Begins to count a ServerMessage with a state, borrowed until that is done. */
void totals_begin(struct totals *t, const uint8_t *message, size_t len);

/* Goes on for so many fields. True: all is counted. What is not well-formed ends its
 * part of the message. */
bool totals_count(struct totals *t, size_t fields);

/* Writes a name as it stands in totals_names. False: it was cut to fit. */
bool totals_name(char out[TOTALS_NAME_MAX], const uint8_t *name, size_t len);

#endif
