#ifndef DECODE_H
#define DECODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "introspection.pb-c.h"

enum {
	/* Bytes of memory that a message may take once it is decoded: this much,
	 * and so much for each of its own. A real one takes less than ten. */
	DECODE_BASE = 1 << 20,
	DECODE_FACTOR = 32,
	DECODE_WHY_MAX = 160,
};

/* Checks and decodes a ServerMessage. To be released with decode_free. NULL: why says what is wrong with it, and where. */
Introspection__ServerMessage *decode(const uint8_t *bytes, size_t len, char why[DECODE_WHY_MAX]);
void decode_free(Introspection__ServerMessage *message);

/* Makes a difference (State with a base, see Ready in the schema) the whole state again, with
 * what it left out from base, which loses that. base: the last state; NULL: there is none.
 * max: bytes that base may take when it is encoded, so that differences do not add up without
 * end. NULL, or what is wrong: then base is as it was and state must not be used. A state that
 * is whole stays as it is. */
const char *decode_merge(Introspection__State *state, Introspection__State *base, size_t max);

/* Makes a state what a Ready with detail TOTALS asks for, if it is not: connections and peers of
 * the DHT are counted and let go of. False: out of memory. */
bool decode_totals(Introspection__State *state);

#endif
