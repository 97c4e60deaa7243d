#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "messages.h"
#include "source/wire.h"

#define BYTES(...) (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__})

static void varint_values(void **state)
{
	static const struct {
		uint8_t bytes[12];
		size_t len;
		int used;
		uint64_t value;
	} rows[] = {
		{{0}, 0, 0, 0},
		{{0}, 1, 1, 0},
		{{0x7f, 0xff}, 2, 1, 0x7f},
		{{0x80}, 1, 0, 0},
		{{0x80, 0x01}, 2, 2, 0x80},
		{{0x80, 0x00}, 2, 2, 0},
		{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 9, 0, INT64_MAX},
		{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, 10, 10, UINT64_MAX},
		{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2}, 10, -1, 0},
		{{0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0}, 11, -1, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		uint8_t *in = exact_copy(rows[i].bytes, rows[i].len);
		uint64_t value;

		assert_int_equal(wire_varint(in, rows[i].len, &value), rows[i].used);
		if (rows[i].used > 0)
			assert_true(value == rows[i].value);
		free(in);
	}
}

static bool utf8_accepted(const uint8_t *text, size_t len, size_t *offset)
{
	uint8_t message[2 + 8] = {0x0a, (uint8_t)len};   /* OwnAddress.multiaddr */
	struct wire_error error;

	memcpy(message + 2, text, len);
	uint8_t *in = exact_copy(message, len + 2);
	bool good = wire_check(&introspection__own_address__descriptor, in, len + 2, &error);
	free(in);
	if (!good) {
		assert_string_equal(error.what, "string is not UTF-8");
		*offset = error.offset - 2;
	}
	return good;
}

static void utf8_every_code_point(void **state)
{
	size_t offset;

	(void)state;
	for (uint32_t c = 0; c < 0x110000; c++) {
		uint8_t text[4];
		size_t len = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
		uint32_t lead = len == 1 ? 0 : 0xf00u >> len & 0xff;

		for (size_t i = 0; i < len; i++) {
			uint32_t bits = c >> 6 * (len - 1 - i);

			text[i] = (uint8_t)(i == 0 ? lead | bits : 0x80 | (bits & 0x3f));
		}
		assert_int_equal(utf8_accepted(text, len, &offset), c < 0xd800 || c > 0xdfff);
	}
}

static void utf8_malformed(void **state)
{
	static const struct {
		const char *text;
		size_t offset;
	} rows[] = {
		{"\x80", 0}, {"a\xbf", 1}, {"\xc0\x80", 0}, {"\xc1\xbf", 0}, {"\xc2", 0},
		{"\xc2\x41", 0}, {"\xc2\xc2", 0}, {"ab\xe0\x9f\xbf", 2}, {"\xe2\x82", 0},
		{"\xe2\x82\x41", 0}, {"\xed\xa0\x80", 0}, {"\xed\xbf\xbf", 0},
		{"\xf0\x8f\xbf\xbf", 0}, {"\xf0\x9f\x98", 0}, {"\xf0\x9f\x98\x41", 0},
		{"\xf4\x90\x80\x80", 0},
		{"\xf5\x80\x80\x80", 0}, {"\xff", 0}, {"\xfe", 0}, {"\xf8\x88\x80\x80\x80", 0},
		{"\xe2\x82\xac\xe2\x28\xa1", 3},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		size_t offset = SIZE_MAX;

		assert_false(utf8_accepted((const uint8_t *)rows[i].text, strlen(rows[i].text),
		                           &offset));
		assert_int_equal(offset, rows[i].offset);
	}
}

/* Each row as a State; what NULL: it is accepted. */
static void texts(void **state)
{
	static const struct {
		const char *text, *expected;
		size_t size;
	} rows[] = {
		{"", "", 8},
		{"node", "node", 8},
		{"nodenode", "nodenod", 8},
		{"b\xfcro", "b?ro", 8},
		{"caf\xe9", "caf?", 8},
		{"k\xc3\xa4se", "k\xc3\xa4se", 8},
		{"abcdef\xc3\xa4", "abcdef", 8},
		{"abcde\xc3\xa4", "abcde\xc3\xa4", 8},
		{"abcde\xf0\x9f\x98\x80", "abcde", 8},
		{"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80", "????", 8},
		{"a\x1b[1m\x7f\nb", "a?[1m?\nb", 16},
		{"\xc3\xc3\xa4\xed\xa0\x80", "?\xc3\xa4???", 16},
		{"\xf0\x9f\x98", "???", 16},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char *exact = malloc(rows[i].size);
		size_t len = wire_text(exact, rows[i].size, rows[i].text, strlen(rows[i].text));

		assert_string_equal(exact, rows[i].expected);
		assert_int_equal(len, strlen(exact));
		free(exact);
		exact = strdup(rows[i].text);
		wire_text(exact, rows[i].size, exact, strlen(exact));
		assert_string_equal(exact, rows[i].expected);
		free(exact);
	}
	for (unsigned i = 0; i < 100000; i++) {
		char text[24], out[24];
		size_t n = (size_t)(rand() % (int)sizeof text);

		for (size_t k = 0; k < n; k++)
			text[k] = (char)(rand() % 4 ? 0x80 + rand() % 0x80 : rand());
		size_t len = wire_text(out, 1 + (size_t)(rand() % 23), text, n);
		assert_true(len <= n && memchr(out, '\0', len) == NULL);
		assert_ptr_equal(wire_not_utf8((uint8_t *)out, (uint8_t *)out + len), out + len);
	}
}

static void fields(void **state)
{
	static const struct {
		const char *what;
		size_t offset;
		uint8_t bytes[16];
		size_t len;
	} rows[] = {
		{NULL, 0, {0}, 0},
		{NULL, 0, {0x18, 0x00}, 2},
		{NULL, 0, {0x18, 0x80, 0x00}, 3},
		/* unknown fields of every wire type, and the highest number */
		{NULL, 0, {0x50, 0x01}, 2},
		{NULL, 0, {0x51, 1, 2, 3, 4, 5, 6, 7, 8}, 9},
		{NULL, 0, {0x52, 0x02, 0xff, 0xff}, 4},
		{NULL, 0, {0x55, 1, 2, 3, 4}, 5},
		{NULL, 0, {0xf8, 0xff, 0xff, 0xff, 0x0f, 0x01}, 6},
		{"field number is out of range", 0, {0x00, 0x01}, 2},
		{"field number is out of range", 2, {0x18, 0x00, 0x07}, 3},
		{"field number is out of range", 0, {0xf8, 0xff, 0xff, 0xff, 0x1f, 0x01}, 6},
		{"varint is too long", 0, {0x98, 0x80, 0x80, 0x80, 0x80, 0x00, 0x01}, 7},
		{"varint is cut off", 0, {0x98}, 1},
		{"varint is cut off", 1, {0x18}, 1},
		{"varint is cut off", 1, {0x18, 0x80}, 2},
		{"varint is cut off", 1, {0x0a}, 1},
		{"varint is too long", 1, {0x0a, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00}, 7},
		{"varint is too long", 1,
		 {0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02}, 11},
		{"wire type is a group or unknown", 0, {0x53, 0x54}, 2},
		{"wire type is a group or unknown", 0, {0x54}, 1},
		{"wire type is a group or unknown", 0, {0x56}, 1},
		{"wire type is a group or unknown", 0, {0x57}, 1},
		{"value runs past the end of its message", 1, {0x51, 1, 2, 3, 4, 5, 6, 7}, 8},
		{"value runs past the end of its message", 1, {0x55, 1, 2, 3}, 4},
		{"value runs past the end of its message", 1, {0x52, 0x03, 0, 0}, 4},
		{"value runs past the end of its message", 1,
		 {0x52, 0xff, 0xff, 0xff, 0xff, 0x0f}, 6},
		/* an inner message that its own length allows, the outer one's not */
		{"value runs past the end of its message", 3,
		 {0x0a, 0x02, 0x0a, 0x01, 0x18, 0x00}, 6},
		{"wire type is not that of the field", 0, {0x1a, 0x01, 0x00}, 3},
		{"wire type is not that of the field", 0, {0x08, 0x00}, 2},
		{"wire type is not that of the field", 2, {0x18, 0x00, 0x1d, 0, 0, 0, 0}, 7},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		uint8_t *in = exact_copy(rows[i].bytes, rows[i].len);
		struct wire_error error = {0};
		bool good = wire_check(&introspection__state__descriptor, in, rows[i].len, &error);

		assert_int_equal(good, !rows[i].what);
		if (!good) {
			assert_string_equal(error.what, rows[i].what);
			assert_int_equal(error.offset, rows[i].offset);
		}
		free(in);
	}
}

/* The schema has no repeated scalar so far; a type made by hand stands for one that will. */
static void packed_scalars(void **state)
{
	static const ProtobufCFieldDescriptor described[] = {
		{.id = 1, .label = PROTOBUF_C_LABEL_REPEATED, .type = PROTOBUF_C_TYPE_UINT64},
		{.id = 2, .label = PROTOBUF_C_LABEL_REPEATED, .type = PROTOBUF_C_TYPE_FIXED32},
		{.id = 3, .label = PROTOBUF_C_LABEL_REPEATED, .type = PROTOBUF_C_TYPE_DOUBLE},
	};
	static const ProtobufCIntRange ranges[] = {{1, 0}, {0, 3}};
	static const ProtobufCMessageDescriptor type = {
		.magic = PROTOBUF_C__MESSAGE_DESCRIPTOR_MAGIC,
		.n_fields = 3,
		.fields = described,
		.n_field_ranges = 1,
		.field_ranges = ranges,
	};
	struct wire_error error;

	(void)state;
	assert_true(wire_check(&type, BYTES(0x08, 0x80, 0x01), &error));
	assert_true(wire_check(&type, BYTES(0x0a, 0x03, 0x80, 0x01, 0x02), &error));
	assert_true(wire_check(&type, BYTES(0x0a, 0x00, 0x12, 0x04, 1, 2, 3, 4), &error));
	assert_true(wire_check(&type, BYTES(0x15, 1, 2, 3, 4), &error));
	assert_true(wire_check(&type, BYTES(0x19, 1, 2, 3, 4, 5, 6, 7, 8), &error));
	assert_false(wire_check(&type, BYTES(0x0a, 0x01, 0x80, 0x01), &error));
	assert_int_equal(error.offset, 2);
	assert_false(wire_check(&type, BYTES(0x12, 0x05, 1, 2, 3, 4, 5), &error));
	assert_int_equal(error.offset, 6);
	assert_false(wire_check(&type, BYTES(0x0d, 1, 2, 3, 4), &error));
	assert_int_equal(error.offset, 0);
}

/* A Connection relayed over a Connection, and so on. */
static void depth(void **state)
{
	static const size_t rows[] = {1, 2, WIRE_DEPTH_MAX, WIRE_DEPTH_MAX + 1, 100000};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		uint8_t *in = malloc(rows[i] * 8), *end = in + rows[i] * 8, *at = end;
		struct wire_error error;

		for (size_t level = 1; level < rows[i]; level++) {
			uint8_t prefix[8] = {0x8a, 0x01};   /* Connection.conn */
			size_t n = 2, len = (size_t)(end - at);

			for (; len >= 0x80; len >>= 7)
				prefix[n++] = (uint8_t)(len | 0x80);
			prefix[n++] = (uint8_t)len;
			at -= n;
			memcpy(at, prefix, n);
		}
		bool good = wire_check(&introspection__connection__descriptor, at,
		                       (size_t)(end - at), &error);
		assert_int_equal(good, rows[i] <= WIRE_DEPTH_MAX);
		if (!good)
			assert_string_equal(error.what, "messages are nested too deep");
		free(in);
	}
}

/* What is accepted must be so for a real decoder, and a refusal must say why and where.
 * Takes in over. */
static bool check_one(uint8_t *in, size_t len)
{
	struct wire_error error = {.offset = SIZE_MAX};
	struct wire_payload payload;
	uint64_t instant;
	bool good = wire_check(&introspection__server_message__descriptor, in, len, &error);

	if (good) {
		Introspection__ServerMessage *m =
			introspection__server_message__unpack(NULL, len, in);

		assert_non_null(m);
		introspection__server_message__free_unpacked(m, NULL);
		good = wire_payload(in, len, &payload, &error);
		if (good && payload.kind == INTROSPECTION__SERVER_MESSAGE__PAYLOAD_STATE)
			assert_in_range(wire_strip_state(payload.bytes, payload.len, &instant), 0,
			                payload.len);
	}
	if (!good) {
		assert_non_null(error.what);
		assert_in_range(error.offset, 0, len);
	}
	free(in);
	return good;
}

static void damaged(void **state)
{
	uint8_t message[MESSAGE_MAX];
	size_t len = pack_state(message, 1, "peer");
	unsigned seed = 1;

	(void)state;
	assert_true(check_one(exact_copy(message, len), len));
	for (size_t cut = 0; cut < len; cut++)
		/* 0: an empty message; 4: the Version alone */
		assert_int_equal(check_one(exact_copy(message, cut), cut), cut == 0 || cut == 4);
	for (size_t i = 0; i < len; i++) {
		for (unsigned flip = 1; flip < 256; flip++) {
			uint8_t *in = exact_copy(message, len);

			in[i] ^= (uint8_t)flip;
			check_one(in, len);
		}
	}
	for (int i = 0; i < 20000; i++) {
		uint8_t random[64];

		for (size_t k = 0; k < sizeof random; k++)
			random[k] = (uint8_t)(rand_r(&seed) >> 7);
		len = (size_t)rand_r(&seed) % sizeof random;
		check_one(exact_copy(random, len), len);
	}
}

static void payloads(void **state)
{
	static const struct {
		const char *what;
		size_t offset;
		int kind;
		uint8_t bytes[12];
		size_t len;
	} rows[] = {
		{NULL, 0, 0, {0}, 0},
		{NULL, 0, 0, {0x0a, 0x02, 0x08, 0x01}, 4},
		{NULL, 0, 2, {0x0a, 0x00, 0x12, 0x02, 0x18, 0x07}, 6},
		{NULL, 0, 2, {0x12, 0x02, 0x18, 0x07, 0x0a, 0x00, 0x38, 0x01}, 8},
		{NULL, 0, 3, {0x1a, 0x00}, 2},
		{NULL, 0, 6, {0x32, 0x00}, 2},
		{"more than one payload", 4, 0, {0x12, 0x02, 0x18, 0x07, 0x12, 0x00}, 6},
		{"more than one payload", 2, 0, {0x1a, 0x00, 0x22, 0x00}, 4},
		{"wire type is not that of the field", 0, 0, {0x10, 0x00}, 2},
		{"varint is cut off", 2, 0, {0x12, 0x00, 0x80}, 3},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		uint8_t *in = exact_copy(rows[i].bytes, rows[i].len);
		struct wire_payload payload;
		struct wire_error error = {0};

		assert_int_equal(wire_payload(in, rows[i].len, &payload, &error), !rows[i].what);
		if (rows[i].what) {
			assert_string_equal(error.what, rows[i].what);
			assert_int_equal(error.offset, rows[i].offset);
		} else {
			assert_int_equal(payload.kind, rows[i].kind);
			assert_int_equal(payload.len, rows[i].kind == 2 ? 2 : 0);
			if (payload.len > 0)
				assert_memory_equal(payload.bytes, "\x18\x07", 2);
		}
		free(in);
	}
}

static void stripping(void **state)
{
	static const struct {
		uint64_t instant_ts;
		size_t left;
		uint8_t bytes[20];
		size_t len;
		uint8_t result[12];
	} rows[] = {
		{0, 0, {0}, 0, {0}},
		{300, 3, {0x18, 0xac, 0x02}, 3, {0x18, 0xac, 0x02}},
		{0, 0, {0xa2, 0x06, 0x02, 0x0a, 0x00}, 5, {0}},
		{0, 0, {0xa8, 0x06, 0x80, 0x01}, 4, {0}},
		/* what would make it a difference or totals; 105 and 110 are others */
		{0, 6,
		 {0xca, 0x06, 0x00, 0xd0, 0x06, 0x01, 0xda, 0x06, 0x00, 0xe2, 0x06, 0x00,
		  0xea, 0x06, 0x00, 0xf0, 0x06, 0x01}, 18,
		 {0xca, 0x06, 0x00, 0xf0, 0x06, 0x01}},
		/* in front, between and behind, more than once; 1000 and 102 are others */
		{7, 9,
		 {0xa8, 0x06, 0x01, 0x18, 0x07, 0xa2, 0x06, 0x00, 0xc2,
		  0x3e, 0x01, 0x64, 0xa2, 0x06, 0x00, 0xb2, 0x06, 0x00}, 18,
		 {0x18, 0x07, 0xc2, 0x3e, 0x01, 0x64, 0xb2, 0x06, 0x00}},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		uint8_t *in = exact_copy(rows[i].bytes, rows[i].len);
		uint64_t instant_ts;
		size_t left = wire_strip_state(in, rows[i].len, &instant_ts);

		assert_int_equal(left, rows[i].left);
		assert_memory_equal(in, rows[i].result, left);
		assert_true(instant_ts == rows[i].instant_ts);
		free(in);
	}
}

static void runtimes(void **state)
{
	Introspection__Runtime shown = INTROSPECTION__RUNTIME__INIT;
	Introspection__Runtime *kept = NULL;
	uint8_t message[MESSAGE_MAX];
	char *peers[] = {"first", "second"};

	(void)state;
	shown.source = "feed";
	shown.hostname = "here";
	shown.interval_ms = 1000;
	for (int i = 0; i < 2; i++) {
		size_t len = pack_runtime(message, peers[i]);
		struct wire_payload payload;
		struct wire_error error;

		assert_true(wire_payload(message, len, &payload, &error));
		wire_show_runtime(&shown, &kept,
		                  introspection__runtime__unpack(NULL, payload.len, payload.bytes));
		assert_string_equal(shown.peer_id, peers[i]);
		assert_string_equal(shown.source, "feed");
		assert_string_equal(shown.hostname, "here");
		assert_int_equal(shown.interval_ms, 1000);
	}
	introspection__runtime__free_unpacked(kept, NULL);
}

static void checksums(void **state)
{
	(void)state;
	assert_int_equal(wire_checksum((const uint8_t *)"", 0), 0x811c9dc5);
	assert_int_equal(wire_checksum((const uint8_t *)"a", 1), 0xe40c292c);
	assert_int_equal(wire_checksum((const uint8_t *)"foobar", 6), 0xbf9cf968);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(varint_values),
		cmocka_unit_test(utf8_every_code_point),
		cmocka_unit_test(utf8_malformed),
		cmocka_unit_test(texts),
		cmocka_unit_test(fields),
		cmocka_unit_test(packed_scalars),
		cmocka_unit_test(depth),
		cmocka_unit_test(damaged),
		cmocka_unit_test(payloads),
		cmocka_unit_test(stripping),
		cmocka_unit_test(runtimes),
		cmocka_unit_test(checksums),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
