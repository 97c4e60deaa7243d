/* Frames (RFC 6455 section 5 to 7). The opening handshake is in handshake_test.c. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "frames.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const struct row plain[] = {
	{"text", FRAMES(TEXT("Hello")), "text(Hello)"},
	{"binary", FRAMES(BINARY("\x01\x02\xff")), "binary(\x01\x02\xff)"},
	{"empty text", FRAMES(TEXT("")), "text()"},
	{"empty binary", FRAMES(BINARY("")), "binary()"},
	{"two messages", FRAMES(TEXT("one"), BINARY("two")), "text(one) binary(two)"},
	{"125 bytes", FRAMES(FILLED(0x82, 'x', 125)), "binary(x*125)"},
	{"126 bytes", FRAMES(FILLED(0x82, 'x', 126)), "binary(x*126)"},
	{"127 bytes", FRAMES(FILLED(0x82, 'x', 127)), "binary(x*127)"},
	{"ping", FRAMES(PING("Hello")), "ping(Hello)"},
	{"empty ping", FRAMES(PING("")), "ping()"},
	{"longest ping", FRAMES(FILLED(0x89, 'x', 125)), "ping(x*125)"},
	{"pong nobody asked for", FRAMES(PONG("Hello")), "pong(Hello)"},
	{"a frame that is still under way", FRAMES(TEXT("a"), HEADER(0x81, 1, 5)), "text(a)"},
};

/* With a limit of 2^32 - 1 bytes. */
static const struct row lengths[] = {
	{"65535 bytes", FRAMES(FILLED(0x82, 'x', 65535)), "binary(x*65535)"},
	{"65536 bytes", FRAMES(FILLED(0x82, 'x', 65536)), "binary(x*65536)"},
	{"125 in 2 bytes", FRAMES(HEADER(0x82, 2, 125)), "1002@0:header"},
	{"0 in 2 bytes", FRAMES(HEADER(0x82, 2, 0)), "1002@0:header"},
	{"125 in 8 bytes", FRAMES(HEADER(0x82, 8, 125)), "1002@0:header"},
	{"126 in 8 bytes", FRAMES(HEADER(0x82, 8, 126)), "1002@0:header"},
	{"65535 in 8 bytes", FRAMES(HEADER(0x82, 8, 65535)), "1002@0:header"},
	{"126 in 2 bytes", FRAMES(HEADER(0x82, 2, 126)), ""},
	{"65535 in 2 bytes", FRAMES(HEADER(0x82, 2, 65535)), ""},
	{"65536 in 8 bytes", FRAMES(HEADER(0x82, 8, 65536)), ""},
	{"2^31", FRAMES(HEADER(0x82, 8, UINT64_C(1) << 31)), ""},
	{"2^32 - 1", FRAMES(HEADER(0x82, 8, UINT32_MAX)), ""},
	{"2^32", FRAMES(HEADER(0x82, 8, UINT64_C(1) << 32)), "1009@0:header"},
	{"2^63 - 1", FRAMES(HEADER(0x82, 8, INT64_MAX)), "1009@0:header"},
	{"2^63 in sum", FRAMES(FILLED(0x02, 'x', 1), HEADER(0x80, 8, INT64_MAX)), "1009@1:header"},
	{"2^32 in sum", FRAMES(FILLED(0x02, 'x', 1), HEADER(0x80, 8, UINT32_MAX)), "1009@1:header"},
	{"2^63", FRAMES(HEADER(0x82, 8, UINT64_C(1) << 63)), "1002@0:header"},
	{"2^64 - 1", FRAMES(HEADER(0x82, 8, UINT64_MAX)), "1002@0:header"},
	{"ping with a long length", FRAMES(HEADER(0x89, 2, 126)), "1002@0:start"},
	{"ping with a longer length", FRAMES(HEADER(0x89, 8, 65536)), "1002@0:start"},
	{"ping of 5 in 2 bytes", FRAMES(HEADER(0x89, 2, 5)), "1002@0:start"},
	{"close of 126", FRAMES(HEADER(0x88, 2, 126)), "1002@0:start"},
	{"pong of 126", FRAMES(HEADER(0x8a, 2, 126)), "1002@0:start"},
};

static const struct row fragments[] = {
	{"two", FRAMES(TEXT_BEGIN("Hel"), LAST("lo")), "text(Hello)"},
	{"binary", FRAMES(BINARY_BEGIN("\xff"), MORE("\xfe"), LAST("\xfd")),
	 "binary(\xff\xfe\xfd)"},
	{"empty ones", FRAMES(TEXT_BEGIN(""), MORE(""), MORE("a"), LAST("")), "text(a)"},
	{"ping between", FRAMES(TEXT_BEGIN("Hel"), PING("p"), LAST("lo")), "ping(p) text(Hello)"},
	{"ping and pong between",
	 FRAMES(TEXT_BEGIN("a"), PING(""), MORE("b"), PONG("q"), PING("r"), LAST("c")),
	 "ping() pong(q) ping(r) text(abc)"},
	{"close between", FRAMES(TEXT_BEGIN("a"), CLOSE("\x03\xe8"), LAST("b")), "close(1000)"},
	{"one message after another",
	 FRAMES(TEXT_BEGIN("a"), LAST("b"), BINARY_BEGIN("\xff"), LAST("d"), TEXT("e")),
	 "text(ab) binary(\xff" "d) text(e)"},
	{"nothing to continue", FRAMES(LAST("a")), "1002@0:start"},
	{"nothing to continue, not final", FRAMES(MORE("a")), "1002@0:start"},
	{"nothing to continue any more", FRAMES(TEXT("a"), LAST("b")), "text(a) 1002@1:start"},
	{"text within text", FRAMES(TEXT_BEGIN("a"), TEXT("b")), "1002@1:start"},
	{"binary within text", FRAMES(TEXT_BEGIN("a"), BINARY("b")), "1002@1:start"},
	{"text begun within text", FRAMES(TEXT_BEGIN("a"), TEXT_BEGIN("b")), "1002@1:start"},
	{"text after a ping within text", FRAMES(TEXT_BEGIN("a"), PING(""), TEXT("b")),
	 "ping() 1002@2:start"},
	{"ping in fragments", FRAMES(PAYLOAD(0x09, "a")), "1002@0:start"},
	{"pong in fragments", FRAMES(PAYLOAD(0x0a, "a")), "1002@0:start"},
	{"close in fragments", FRAMES(PAYLOAD(0x08, "\x03\xe8")), "1002@0:start"},
};

/* With a limit of 4096 bytes. */
static const struct row limits[] = {
	{"4096", FRAMES(FILLED(0x82, 'x', 4096)), "binary(x*4096)"},
	{"4097", FRAMES(FILLED(0x82, 'x', 4097)), "1009@0:header"},
	{"4096 in two", FRAMES(FILLED(0x02, 'x', 4000), FILLED(0x80, 'x', 96)), "binary(x*4096)"},
	{"4097 in two", FRAMES(FILLED(0x02, 'x', 4000), FILLED(0x80, 'x', 97)), "1009@1:header"},
	{"4096 and one more", FRAMES(FILLED(0x02, 'x', 4096), LAST("x")), "1009@1:header"},
	{"4096 and nothing more", FRAMES(FILLED(0x02, 'x', 4096), LAST("")), "binary(x*4096)"},
	{"65536", FRAMES(HEADER(0x82, 8, 65536)), "1009@0:header"},
	{"2^31", FRAMES(HEADER(0x82, 8, UINT64_C(1) << 31)), "1009@0:header"},
	{"2^63 - 1", FRAMES(HEADER(0x82, 8, INT64_MAX)), "1009@0:header"},
	{"2^63", FRAMES(HEADER(0x82, 8, UINT64_C(1) << 63)), "1002@0:header"},
	{"each message counts anew",
	 FRAMES(FILLED(0x82, 'x', 4096), FILLED(0x02, 'y', 4096), LAST(""),
	        FILLED(0x81, 'z', 4096)),
	 "binary(x*4096) binary(y*4096) text(z*4096)"},
	{"control frames do not count",
	 FRAMES(FILLED(0x02, 'x', 4095), FILLED(0x89, 'p', 125), LAST("x")),
	 "ping(p*125) binary(x*4096)"},
};

static const struct row closes[] = {
	{"without a code", FRAMES(CLOSE("")), "close()"},
	{"code", FRAMES(CLOSE("\x03\xe8")), "close(1000)"},
	{"reason", FRAMES(CLOSE("\x03\xe9" "bye")), "close(1001 bye)"},
	{"reason in UTF-8", FRAMES(CLOSE("\x0f\xa0" "\xe2\x82\xac")), "close(4000 \xe2\x82\xac)"},
	{"one byte", FRAMES(CLOSE("\x03")), "1002@0:1"},
	{"one byte, after what could complete it", FRAMES(PING("\x03\xe8"), CLOSE("\x03")),
	 "ping(\x03\xe8) 1002@1:1"},
	{"code that means no code", FRAMES(CLOSE("\x03\xed")), "1002@0:2"},
	{"reason that is not UTF-8", FRAMES(CLOSE("\x03\xe8" "a\xff" "b")), "1007@0:5"},
	{"reason cut within a character", FRAMES(CLOSE("\x03\xe8\xe2\x82")), "1007@0:4"},
	{"bad code and bad reason", FRAMES(CLOSE("\x03\xed\xff")), "1002@0:3"},
	{"what follows is not read", FRAMES(CLOSE("\x03\xe8"), PAYLOAD(0xff, "x")), "close(1000)"},
};

static const struct row texts[] = {
	{"character across fragments",
	 FRAMES(TEXT_BEGIN("\xe2"), MORE("\x82"), LAST("\xac")), "text(\xe2\x82\xac)"},
	{"ping within a character",
	 FRAMES(TEXT_BEGIN("\xf0\x9f"), PING("\xff"), LAST("\x98\x80")),
	 "ping(\xff) text(\xf0\x9f\x98\x80)"},
	{"wrong byte in the next fragment", FRAMES(TEXT_BEGIN("\xe2"), LAST("\x28\xa1")),
	 "1007@1:1"},
	{"refused before the frame ends", FRAMES(TEXT("abc\xff" "def")), "1007@0:4"},
	{"refused before the message ends", FRAMES(TEXT_BEGIN("a\x80"), LAST("b")), "1007@0:2"},
	{"ends within a character", FRAMES(TEXT("ab\xe2\x82")), "1007@0:4"},
	{"last fragment is empty", FRAMES(TEXT_BEGIN("\xc3"), LAST("")), "1007@1:0"},
	{"each message begins anew", FRAMES(TEXT("\xc3\xa9"), TEXT("\xa9")),
	 "text(\xc3\xa9) 1007@1:1"},
	{"binary need not be", FRAMES(BINARY("\xc3\xff\x80")), "binary(\xc3\xff\x80)"},
	{"ping need not be", FRAMES(PING("\xff")), "ping(\xff)"},
};

REPLAY(plain, 4096)
REPLAY(lengths, UINT32_MAX)
REPLAY(fragments, 4096)
REPLAY(limits, 4096)
REPLAY(closes, 4096)
REPLAY(texts, 4096)

/* Every reserved bit and opcode, alone and after a message, with and without
 * payload, final or not. */
static void reserved(void **state)
{
	(void)state;
	for (unsigned first = 0; first < 256; first++) {
		unsigned opcode = first & 0x0f;
		bool control = first & 0x80 && opcode >= 8 && opcode <= 10;
		const struct frame alone[] = {{.first = (uint8_t)first, .payload = ""}, {0}};
		const struct frame after[] = {
			TEXT("a"), {.first = (uint8_t)first, .payload = "\x03\xe8", .len = 2}, {0}};
		const struct row rows[] = {
			{"first byte", alone, "1002@0:start"},
			{"first byte after a message", after, "text(a) 1002@1:start"},
		};

		if (first & 0x70 || (opcode != 1 && opcode != 2 && !control))
			replay(rows, COUNT(rows), 4096);
	}
}

static void direction(void **state)
{
	static const uint8_t masked[] = {0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51,
	                                 0x58};
	static const uint8_t unmasked[] = {0x81, 0x05, 'H', 'e', 'l', 'l', 'o'};

	(void)state;
	for (size_t n = 1; n <= sizeof unmasked; n++) {
		struct ws_decoder server = {.max_message = 4096};
		struct ws_decoder client = {.max_message = 4096, .client = true};

		assert_int_equal(ws_decode(&server, guarded(unmasked, n), n), n < 2 ? 1 : -1002);
		assert_int_equal(ws_decode(&client, guarded(masked, n), n), n < 2 ? 1 : -1002);
	}
}

/* The frames of section 5.7, byte for byte as they stand there. */
static void rfc_examples(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
		bool client;
		const char *expected;
	} rows[] = {
		{"\x81\x05\x48\x65\x6c\x6c\x6f", 7, true, "text(Hello)"},
		{"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", 11, false, "text(Hello)"},
		{"\x01\x03\x48\x65\x6c\x80\x02\x6c\x6f", 9, true, "text(Hello)"},
		{"\x89\x05\x48\x65\x6c\x6c\x6f", 7, true, "ping(Hello)"},
		{"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", 11, false, "pong(Hello)"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		static struct transcript t;
		struct ws_decoder d = {.max_message = 4096, .client = rows[i].client};

		t.len = t.message_len = 0;
		uint8_t *in = guarded(rows[i].bytes, rows[i].len);
		assert_int_equal(decode_piece(&d, &t, in, rows[i].len), 0);
		assert_string_equal(t.text, rows[i].expected);
	}
}

static void headers(void **state)
{
	static const uint8_t key[4] = {0x37, 0xfa, 0x21, 0x3d};
	static const struct {
		enum ws_opcode opcode;
		uint64_t len;
		bool masked;
		const char *bytes;
		size_t n;
	} rows[] = {
		{WS_TEXT, 5, false, "\x81\x05", 2},
		{WS_TEXT, 5, true, "\x81\x85\x37\xfa\x21\x3d", 6},
		{WS_BINARY, 0, false, "\x82\x00", 2},
		{WS_BINARY, 125, false, "\x82\x7d", 2},
		{WS_BINARY, 126, false, "\x82\x7e\x00\x7e", 4},
		{WS_BINARY, 256, false, "\x82\x7e\x01\x00", 4},
		{WS_BINARY, 65535, false, "\x82\x7e\xff\xff", 4},
		{WS_BINARY, 65536, false, "\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00", 10},
		{WS_BINARY, 65536, true, "\x82\xff\x00\x00\x00\x00\x00\x01\x00\x00\x37\xfa\x21\x3d",
		 14},
		{WS_BINARY, INT64_MAX, false, "\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff", 10},
		{WS_CLOSE, 2, false, "\x88\x02", 2},
		{WS_PING, 0, false, "\x89\x00", 2},
		{WS_PONG, 125, true, "\x8a\xfd\x37\xfa\x21\x3d", 6},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		uint8_t out[WS_HEADER_MAX];
		size_t n = ws_header(out, rows[i].opcode, rows[i].len, rows[i].masked ? key : NULL);

		assert_int_equal(n, rows[i].n);
		assert_memory_equal(out, rows[i].bytes, n);
	}
}

/* What ws_header and ws_mask make is what ws_decode reads. */
static void round_trip(void **state)
{
	static const size_t sizes[] = {0, 1, 2, 3, 4, 5, 124, 125, 126, 127, 4096, 65535, 65536,
	                               70001};
	static const uint8_t key[4] = {0x80, 0x01, 0xfe, 0x7f};
	static uint8_t frame[WS_HEADER_MAX + 70001];

	(void)state;
	for (size_t i = 0; i < COUNT(sizes) * 2; i++) {
		size_t len = sizes[i / 2];
		bool client = i % 2;
		struct ws_decoder d = {.max_message = UINT32_MAX, .client = client};
		size_t header = ws_header(frame, WS_BINARY, len, client ? NULL : key);

		for (size_t k = 0; k < len; k++)
			frame[header + k] = (uint8_t)(k * 7 + k / 251);
		if (!client)
			ws_mask(frame + header, len, key, 0);
		uint8_t *in = guarded(frame, header + len);
		assert_int_equal(ws_decode(&d, in, header + len), header + len);
		assert_int_equal(d.event, WS_MESSAGE);
		assert_int_equal(d.opcode, WS_BINARY);
		assert_int_equal(d.data_len, len);
		for (size_t k = 0; k < len; k++)
			assert_int_equal(d.data[k], (uint8_t)(k * 7 + k / 251));
	}
}

static void mask_in_pieces(void **state)
{
	static const uint8_t key[4] = {1, 2, 4, 8};
	uint8_t whole[23], pieces[23];

	(void)state;
	for (size_t first = 0; first <= sizeof whole; first++) {
		for (size_t i = 0; i < sizeof whole; i++)
			whole[i] = pieces[i] = (uint8_t)(i * 11);
		ws_mask(whole, sizeof whole, key, 0);
		ws_mask(pieces, first, key, 0);
		ws_mask(pieces + first, sizeof pieces - first, key, first);
		assert_memory_equal(whole, pieces, sizeof whole);
		assert_int_equal(whole[5], 55 ^ 2);
	}
	whole[0] = 0;
	ws_mask(whole, 1, key, UINT64_MAX);
	assert_int_equal(whole[0], 8);
}

/* Section 7.4: every code there is. */
static void close_codes(void **state)
{
	(void)state;
	for (unsigned code = 0; code <= UINT16_MAX; code++) {
		const uint8_t bytes[] = {0x88, 0x02, (uint8_t)(code >> 8), (uint8_t)code};
		struct ws_decoder d = {.max_message = 4096, .client = true};
		bool reserved_code = code == 1004 || code == 1005 || code == 1006 || code == 1015;
		bool registered = code >= 1000 && code <= 1014 && !reserved_code;
		bool allowed = registered || (code >= 3000 && code <= 4999);
		int n = ws_decode(&d, guarded(bytes, sizeof bytes), sizeof bytes);

		assert_int_equal(n, allowed ? 4 : -1002);
		if (allowed) {
			assert_int_equal(d.event, WS_GOT_CLOSE);
			assert_int_equal(d.close_code, code);
		}
	}
}

/* Decodes one text message in one frame: 0, or the close code of the refusal. */
static int decode_text(const uint8_t *text, size_t len)
{
	uint8_t frame[2 + WS_CONTROL_MAX] = {0x81, (uint8_t)len};
	struct ws_decoder d = {.max_message = 4096, .client = true};

	memcpy(frame + 2, text, len);
	int n = ws_decode(&d, frame, len + 2);
	if (n > 0 && d.event != WS_MESSAGE)
		fail();
	return n > 0 ? 0 : -n;
}

/* UTF-8 by what the bits say: the value must need that many bytes, be at most
 * U+10FFFF and no surrogate. Returns its bytes; 0: not a character. */
static size_t character(const uint8_t *p, size_t len)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	uint8_t c = p[0];
	size_t n = c < 0x80 ? 1 : c >> 5 == 6 ? 2 : c >> 4 == 14 ? 3 : c >> 3 == 30 ? 4 : 0;

	if (n == 0 || n > len)
		return 0;
	uint32_t value = n == 1 ? c : c & (0x7fU >> n);
	for (size_t i = 1; i < n; i++) {
		if (p[i] >> 6 != 2)
			return 0;
		value = value << 6 | (p[i] & 0x3f);
	}
	return value < least[n] || value > 0x10ffff || value >> 11 == 0x1b ? 0 : n;
}

static bool is_utf8(const uint8_t *p, size_t len)
{
	size_t n = 1;

	for (; len > 0 && n > 0; p += n, len -= n)
		n = character(p, len);
	return n > 0;
}

static void every_code_point(void **state)
{
	(void)state;
	for (uint32_t c = 0; c < 0x200000; c++) {
		uint8_t text[4] = {(uint8_t)c};
		size_t n = 1;

		if (c >= 0x80) {
			n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
			for (size_t i = 0; i < n; i++)
				text[i] = (uint8_t)(0x80 | (c >> (6 * (n - 1 - i)) & 0x3f));
			text[0] = (uint8_t)(0xf00U >> n | c >> (6 * (n - 1)));
		}
		bool allowed = c <= 0x10ffff && !(c >= 0xd800 && c <= 0xdfff);
		if (decode_text(text, n) != (allowed ? 0 : 1007))
			fail_msg("U+%04X", c);
	}
}

/* All sequences of up to four bytes made of those at which a rule changes. */
static void every_boundary(void **state)
{
	static const uint8_t edges[] = {0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf,
	                                0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed,
	                                0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xff};
	const unsigned n = COUNT(edges);

	(void)state;
	for (unsigned i = 0; i < n * n * n * n; i++) {
		uint8_t text[] = {edges[i % n], edges[i / n % n], edges[i / n / n % n],
		                  edges[i / n / n / n]};

		for (size_t len = 1; len <= sizeof text; len++)
			if (decode_text(text, len) != (is_utf8(text, len) ? 0 : 1007))
				fail_msg("%02x %02x %02x %02x, %zu of them", text[0], text[1],
				         text[2], text[3], len);
	}
}

/* A text is refused at the first byte after which no text can follow. */
static void fails_fast(void **state)
{
	static const struct {
		const char *text;
		size_t at;   /* bytes that must have come */
	} rows[] = {
		{"\x80", 1}, {"\xbf", 1}, {"\xc0", 1}, {"\xc1", 1}, {"\xf5", 1}, {"\xfe", 1},
		{"\xff", 1},
		{"\xc2\x41", 2}, {"\xc2\xc2", 2}, {"\xdf\x7f", 2},
		{"\xe0\x9f", 2}, {"\xe0\xc0", 2}, {"\xe0\xa0\x7f", 3},
		{"\xed\xa0", 2}, {"\xed\x9f\xc0", 3}, {"\xef\xbf\x41", 3},
		{"\xf0\x8f", 2}, {"\xf4\x90", 2}, {"\xf1\x80\xc0", 3}, {"\xf4\x8f\xbf\x41", 4},
		{"ab\xe2\x82\xac\xff", 6}, {"ab\xed\xb0\x80", 4},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		char expected[32], rest[32];
		size_t len = (size_t)snprintf(rest, sizeof rest, "%s and more", rows[i].text);
		const struct frame frames[] = {{.first = 0x81, .payload = rest, .len = len}, {0}};
		const struct row row = {rows[i].text, frames, expected};

		snprintf(expected, sizeof expected, "1007@0:%zu", rows[i].at);
		replay(&row, 1, 4096);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(replay_plain),
		cmocka_unit_test(replay_lengths),
		cmocka_unit_test(replay_fragments),
		cmocka_unit_test(replay_limits),
		cmocka_unit_test(replay_closes),
		cmocka_unit_test(replay_texts),
		cmocka_unit_test(reserved),
		cmocka_unit_test(direction),
		cmocka_unit_test(rfc_examples),
		cmocka_unit_test(headers),
		cmocka_unit_test(round_trip),
		cmocka_unit_test(mask_in_pieces),
		cmocka_unit_test(close_codes),
		cmocka_unit_test(every_code_point),
		cmocka_unit_test(every_boundary),
		cmocka_unit_test(fails_fast),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
