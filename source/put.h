#ifndef PUT_H
#define PUT_H

/* What is put into messages: numbers, prefixes and text. */

#include <stddef.h>
#include <stdint.h>

#include "introspection.pb-c.h"

enum {
	WIRE_VARINT_MAX = 10,      /* bytes */
	WIRE_PREFIX_MAX = 16,      /* bytes of a ServerMessage before its payload */
};

/* The first byte that is not UTF-8 (RFC 3629 section 4); end when all is. */
const uint8_t *wire_not_utf8(const uint8_t *s, const uint8_t *end);

/* Makes a string for a message of len bytes that nobody has checked, such as the names that
 * this system gives us: what is not UTF-8, and control characters but newlines, come as '?'.
 * Cut at a character where size, with the NUL, does not hold it. out may be text. Returns
 * its length. */
size_t wire_text(char *out, size_t size, const char *text, size_t len);

/* Writes an unsigned varint and returns its bytes, 1 to WIRE_VARINT_MAX. */
size_t wire_put_varint(uint8_t *out, uint64_t value);

/* Writes all of a ServerMessage that stands before the bytes of its payload, at
 * most WIRE_PREFIX_MAX bytes, and returns how many. */
size_t wire_put_prefix(uint8_t out[WIRE_PREFIX_MAX],
                       Introspection__ServerMessage__PayloadCase kind, size_t payload_len);

#endif
