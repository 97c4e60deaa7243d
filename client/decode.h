#ifndef DECODE_H
#define DECODE_H

/* Messages of the daemon as structs, checked and bounded, differences and totals among them. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "introspection.pb-c.h"

enum {
	/* Bytes of memory that a decoded message may take: DECODE_BASE, and DECODE_FACTOR for each
	 * encoded byte. Those of real nodes take less than ten for each. */
	DECODE_BASE = 1 << 20,
	DECODE_FACTOR = 32,
	DECODE_WHY_MAX = 160,
};

/* Checks and decodes a ServerMessage, to be freed with decode_free. NULL: why says what the daemon
 * did wrong, as the rest of a sentence that begins with its name. */
Introspection__ServerMessage *decode(const uint8_t *bytes, size_t len, char why[DECODE_WHY_MAX]);
void decode_free(Introspection__ServerMessage *message);

/* Makes a difference (a State with base_sequence, see Ready in the schema) the whole State again:
 * what state left out is moved to it from base. A State that is whole stays as it is. base: the
 * last State; NULL: there is none. max: bytes that base may take when it is encoded, so that
 * differences do not add up without end. Returns NULL, or what the daemon did wrong: then base
 * must be kept and state must not be used. */
const char *decode_merge(Introspection__State *state, Introspection__State *base, size_t max);

/* Makes a State what a Ready with detail TOTALS asks for, if it is not: its connections and peers
 * of the DHT are counted and freed. False: out of memory, and state is as it was. */
bool decode_totals(Introspection__State *state);

/* Compares two ids of connections or streams (ProtobufCBinaryData) by their bytes, as memcmp()
 * does; the shorter of two that begin alike is the smaller. */
int decode_compare_ids(const void *a, const void *b);

#endif
