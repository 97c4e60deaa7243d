#ifndef PUT_H
#define PUT_H

/* Encodes what the daemon puts into messages by hand: numbers, prefixes and text. No I/O, no
 * allocation. */

#include <stddef.h>
#include <stdint.h>

#include "introspection.pb-c.h"

enum {
	WIRE_VARINT_MAX = 10,      /* bytes */
	WIRE_PREFIX_MAX = 16,      /* bytes of a ServerMessage before its payload, at most */
};

/* Returns where the first sequence between s and end begins that is not well-formed UTF-8 (RFC 3629
 * section 4), or end if there is none. A character that end cuts off is not well-formed. */
const uint8_t *wire_not_utf8(const uint8_t *s, const uint8_t *end);

/* Makes a string that a message may hold of len bytes that nobody has checked, such as the name of a
 * process: each byte that is not UTF-8, and each control character but a newline, becomes '?'. A text
 * that size bytes, at least 1, cannot hold with its NUL is cut between two characters. out may be
 * text. Returns the length of the string in bytes. */
size_t wire_text(char *out, size_t size, const char *text, size_t len);

/* Writes value as a varint of protobuf and returns how many bytes that took, 1 to WIRE_VARINT_MAX,
 * for which out must have room. */
size_t wire_put_varint(uint8_t *out, uint64_t value);

/* Writes what stands before the payload in an encoded ServerMessage of the schema: its field version,
 * then tag and length of the payload. kind: the field that the payload is; payload_len: its bytes.
 * Returns how many bytes were written. */
size_t wire_put_prefix(uint8_t out[WIRE_PREFIX_MAX],
                       Introspection__ServerMessage__PayloadCase kind, size_t payload_len);

#endif
