#ifndef TOTALS_H
#define TOTALS_H

/* The totals of a snapshot, counted from its encoded bytes. No I/O, no allocation. Of what a node
 * may have without end, such as names of protocols, a bounded number is counted by name and the
 * rest as "other". */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "source/wire.h"

enum {
	TOTALS_NAME_MAX = 97,     /* bytes of a name, with its terminator */
	TOTALS_TRANSPORTS = 17,   /* names; the first is "other" */
	TOTALS_PROTOCOLS = 65,    /* names; the first is "other" */
	TOTALS_RESOURCES = 64,    /* further ones are left out */
	TOTALS_STATUSES = 6,      /* the five of the schema, then all others; a DHT peer has 4 + 1 */
	TOTALS_ROLES = 3,
	TOTALS_DEPTH = 6,         /* how deep the messages that are read lie within one another */
	TOTALS_NUMBERS = 11,      /* that a record can have */
	TOTALS_TEXTS = 2,         /* that a record can have */
	TOTALS_SPELLINGS = 128,   /* different byte strings; names in further ones are "other" */
};

/* Names in the order of their appearance, as printable UTF-8 that ends with a NUL: other bytes
 * became question marks, an empty name "unknown". A name that is too long is "other". */
struct totals_names {
	size_t count;
	char text[TOTALS_PROTOCOLS][TOTALS_NAME_MAX];

	/* The names as they stand in the message, before that: a hash table with open addressing. */
	struct totals_spelling {
		const uint8_t *at;
		size_t len;              /* bytes; 0: the place is free */
		size_t number;           /* of the name in text */
	} spellings[2 * TOTALS_SPELLINGS];
	size_t spelling_count;
};

struct totals_resource {
	char scope[TOTALS_NAME_MAX];
	char name[TOTALS_NAME_MAX];
	uint64_t used, limit;        /* limit 0: none */
};

/* The fields of a record that are needed at its end. */
struct totals_values {
	uint64_t numbers[TOTALS_NUMBERS];
	struct totals_text {
		const uint8_t *at;
		size_t len;
	} texts[TOTALS_TEXTS];
};

/* In arrays of two, [0] is in and [1] is out. */
struct totals {
	struct totals_names transports, protocols;
	uint64_t connections[TOTALS_TRANSPORTS][TOTALS_STATUSES][TOTALS_ROLES];
	uint64_t streams[TOTALS_PROTOCOLS];        /* open streams that connections list */
	uint64_t streams_told[TOTALS_PROTOCOLS];   /* open streams by ProtocolTraffic */
	bool has_traffic[TOTALS_PROTOCOLS];
	uint64_t protocol_bytes[TOTALS_PROTOCOLS][2];
	uint64_t bytes[2], packets[2];
	bool has_dht;                              /* the DHT is enabled or has peers */
	uint64_t dht_peers[TOTALS_STATUSES];
	uint64_t dht_queries[2][3];                /* succeeded, failed, timed out */
	struct totals_resource resources[TOTALS_RESOURCES];
	size_t resource_count;

	/* The messages that are being read, the innermost last. */
	struct totals_level {
		struct wire_reader reader;
		unsigned kind;
		struct totals_values own, *values;   /* values: own, or that of the record around it */
	} levels[TOTALS_DEPTH];
	size_t depth;
};

/* Begins to count a ServerMessage with a State. Its bytes are borrowed until totals_count returns
 * true. */
void totals_begin(struct totals *t, const uint8_t *message, size_t len);

/* Counts at most so many fields more. True: all is counted. A field that is not well-formed ends
 * the message that it stands in; counting goes on behind that message. */
bool totals_count(struct totals *t, size_t fields);

/* Writes a name as totals_names has it. False: the name was too long and was cut. */
bool totals_name(char out[TOTALS_NAME_MAX], const uint8_t *name, size_t len);

#endif
