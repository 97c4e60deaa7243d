#include "source/put.h"

#include <stdbool.h>
#include <string.h>

#include "ws.h"

enum { SCHEMA_VERSION = 1 };
enum { LEN = 2 };   /* the wire type of strings, bytes and messages */

size_t wire_put_varint(uint8_t *out, uint64_t value)
{
	size_t n = 0;

	for (; value >= 0x80; value >>= 7)
		out[n++] = (uint8_t)(value | 0x80);
	out[n++] = (uint8_t)value;
	return n;
}

size_t wire_put_prefix(uint8_t out[WIRE_PREFIX_MAX],
                       Introspection__ServerMessage__PayloadCase kind, size_t payload_len)
{
	/* Field 1 is a message Version of two bytes: the tag of Version's own field 1, and the number. */
	static const uint8_t version[] = {1 << 3 | LEN, 2, 1 << 3, SCHEMA_VERSION};

	memcpy(out, version, sizeof version);
	out[sizeof version] = (uint8_t)(kind << 3 | LEN);
	return sizeof version + 1 + wire_put_varint(out + sizeof version + 1, payload_len);
}

/* Most bytes are ASCII, of which eight are looked at together. */
const uint8_t *wire_not_utf8(const uint8_t *s, const uint8_t *end)
{
	for (;;) {
		uint64_t eight;

		for (; end - s >= (ptrdiff_t)sizeof eight; s += sizeof eight) {
			memcpy(&eight, s, sizeof eight);
			if ((eight & UINT64_C(0x8080808080808080)) != 0)
				break;
		}
		while (s < end && *s < 0x80)
			s++;
		if (s == end)
			return end;
		const uint8_t *const start = s;
		struct ws_utf8 u = {0};
		do
			if (s == end || !ws_utf8_take(&u, *s++))
				return start;
		while (u.left > 0);
	}
}

size_t wire_text(char *out, size_t size, const char *text, size_t len)
{
	const uint8_t *in = (const uint8_t *)text;
	size_t n = len < size ? len : size - 1;

	for (int back = 0; n < len && n > 0 && (in[n] & 0xc0) == 0x80 && back < 3; back++)
		n--;
	const uint8_t *wrong = wire_not_utf8(in, in + n);
	for (size_t i = 0; i < n; i++) {
		const bool is_control = (in[i] < ' ' && in[i] != '\n') || in[i] == 0x7f;

		out[i] = (char)(in + i == wrong || is_control ? '?' : in[i]);
		if (in + i == wrong)
			wrong = wire_not_utf8(wrong + 1, in + n);
	}
	out[n] = '\0';
	return n;
}
