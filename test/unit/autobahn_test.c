/* The case categories 1 to 7 and 10 of the Autobahn test suite, as rows of our
 * own. The suite's cases that send a row's bytes in chops, or byte by byte, are
 * the rows themselves, since each is replayed in that way as well. Numbers are
 * the suite's. Categories 9, 12 and 13 are about speed and compression. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "frames.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define RSV(bits, opcode) (0x80 | (bits) << 4 | (opcode))

static const struct row framing[] = {
	{"1.1.1", FRAMES(TEXT("")), "text()"},
	{"1.1.2", FRAMES(FILLED(0x81, '*', 125)), "text(**125)"},
	{"1.1.3", FRAMES(FILLED(0x81, '*', 126)), "text(**126)"},
	{"1.1.4", FRAMES(FILLED(0x81, '*', 127)), "text(**127)"},
	{"1.1.5", FRAMES(FILLED(0x81, '*', 128)), "text(**128)"},
	{"1.1.6", FRAMES(FILLED(0x81, '*', 65535)), "text(**65535)"},
	{"1.1.7, 1.1.8", FRAMES(FILLED(0x81, '*', 65536)), "text(**65536)"},
	{"1.2.1", FRAMES(BINARY("")), "binary()"},
	{"1.2.2", FRAMES(FILLED(0x82, '\xfe', 125)), "binary(\xfe*125)"},
	{"1.2.3", FRAMES(FILLED(0x82, '\xfe', 126)), "binary(\xfe*126)"},
	{"1.2.4", FRAMES(FILLED(0x82, '\xfe', 127)), "binary(\xfe*127)"},
	{"1.2.5", FRAMES(FILLED(0x82, '\xfe', 128)), "binary(\xfe*128)"},
	{"1.2.6", FRAMES(FILLED(0x82, '\xfe', 65535)), "binary(\xfe*65535)"},
	{"1.2.7, 1.2.8", FRAMES(FILLED(0x82, '\xfe', 65536)), "binary(\xfe*65536)"},
};

static const struct row pings[] = {
	{"2.1", FRAMES(PING("")), "ping()"},
	{"2.2", FRAMES(PING("some text")), "ping(some text)"},
	{"2.3", FRAMES(PING("\x01\xff\xfe\xfd\xfc\xfb\x7f\xff")),
	 "ping(\x01\xff\xfe\xfd\xfc\xfb\x7f\xff)"},
	{"2.4, 2.6", FRAMES(FILLED(0x89, '\xfe', 125)), "ping(\xfe*125)"},
	{"2.5", FRAMES(FILLED(0x89, '\xfe', 126)), "1002@0:start"},
	{"2.7", FRAMES(PONG("")), "pong()"},
	{"2.8", FRAMES(PONG("unasked")), "pong(unasked)"},
	{"2.9", FRAMES(PONG("unasked"), PING("asked")), "pong(unasked) ping(asked)"},
	{"2.10, 2.11",
	 FRAMES(PING("0"), PING("1"), PING("2"), PING("3"), PING("4"), PING("5"), PING("6"),
	        PING("7"), PING("8"), PING("9")),
	 "ping(0) ping(1) ping(2) ping(3) ping(4) ping(5) ping(6) ping(7) ping(8) ping(9)"},
};

static const struct row reserved_bits[] = {
	{"3.1", FRAMES(PAYLOAD(RSV(1, 1), "text")), "1002@0:start"},
	{"3.2", FRAMES(TEXT("text"), PAYLOAD(RSV(2, 1), "text"), PING("")),
	 "text(text) 1002@1:start"},
	{"3.3", FRAMES(TEXT("text"), PAYLOAD(RSV(3, 1), "text"), PING("")),
	 "text(text) 1002@1:start"},
	{"3.4", FRAMES(TEXT("text"), PAYLOAD(RSV(4, 1), "text"), PING("")),
	 "text(text) 1002@1:start"},
	{"3.5", FRAMES(PAYLOAD(RSV(5, 2), "\x01\xff\xfe\xfd")), "1002@0:start"},
	{"3.6", FRAMES(PAYLOAD(RSV(6, 9), "text")), "1002@0:start"},
	{"3.7", FRAMES(PAYLOAD(RSV(7, 8), "")), "1002@0:start"},
};

static const struct row reserved_opcodes[] = {
	{"4.1.1", FRAMES(PAYLOAD(0x83, "")), "1002@0:start"},
	{"4.1.2", FRAMES(PAYLOAD(0x84, "reserved")), "1002@0:start"},
	{"4.1.3", FRAMES(TEXT("text"), PAYLOAD(0x85, ""), PING("")), "text(text) 1002@1:start"},
	{"4.1.4", FRAMES(TEXT("text"), PAYLOAD(0x86, "reserved"), PING("")),
	 "text(text) 1002@1:start"},
	{"4.1.5", FRAMES(TEXT("text"), PAYLOAD(0x87, "reserved"), PING("")),
	 "text(text) 1002@1:start"},
	{"4.2.1", FRAMES(PAYLOAD(0x8b, "")), "1002@0:start"},
	{"4.2.2", FRAMES(PAYLOAD(0x8c, "reserved")), "1002@0:start"},
	{"4.2.3", FRAMES(TEXT("text"), PAYLOAD(0x8d, ""), PING("")), "text(text) 1002@1:start"},
	{"4.2.4", FRAMES(TEXT("text"), PAYLOAD(0x8e, "reserved"), PING("")),
	 "text(text) 1002@1:start"},
	{"4.2.5", FRAMES(TEXT("text"), PAYLOAD(0x8f, "reserved"), PING("")),
	 "text(text) 1002@1:start"},
};

static const struct row fragmentation[] = {
	{"5.1", FRAMES(PAYLOAD(0x09, "first"), LAST("second")), "1002@0:start"},
	{"5.2", FRAMES(PAYLOAD(0x0a, "first"), LAST("second")), "1002@0:start"},
	{"5.3, 5.4, 5.5", FRAMES(TEXT_BEGIN("first"), LAST("second")), "text(firstsecond)"},
	{"5.6, 5.7, 5.8", FRAMES(TEXT_BEGIN("first"), PING("ping"), LAST("second")),
	 "ping(ping) text(firstsecond)"},
	{"5.9, 5.10, 5.11", FRAMES(LAST("lost"), TEXT("text")), "1002@0:start"},
	{"5.12, 5.13, 5.14", FRAMES(MORE("lost"), TEXT("text")), "1002@0:start"},
	{"5.15", FRAMES(TEXT_BEGIN("first"), LAST("second"), MORE("lost"), TEXT("text")),
	 "text(firstsecond) 1002@2:start"},
	{"5.16", FRAMES(MORE("lost"), TEXT("text"), MORE("lost"), TEXT("text")), "1002@0:start"},
	{"5.17", FRAMES(LAST("lost"), TEXT("text"), LAST("lost"), TEXT("text")), "1002@0:start"},
	{"5.18", FRAMES(TEXT_BEGIN("first"), TEXT("second")), "1002@1:start"},
	{"5.19, 5.20",
	 FRAMES(TEXT_BEGIN("1"), MORE("2"), PING("a"), MORE("3"), MORE("4"), PING("b"), LAST("5")),
	 "ping(a) ping(b) text(12345)"},
};

static const struct row empty_texts[] = {
	{"6.1.1", FRAMES(TEXT("")), "text()"},
	{"6.1.2", FRAMES(TEXT_BEGIN(""), MORE(""), LAST("")), "text()"},
	{"6.1.3", FRAMES(TEXT_BEGIN(""), MORE("middle"), LAST("")), "text(middle)"},
};

#define KOSME "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5"   /* a Greek word */
#define SURROGATE "\xed\xa0\x80"   /* U+D800 */
#define TOO_HIGH "\xf4\x90\x80\x80"   /* U+110000 */

static const struct row invalid_in_pieces[] = {
	{"6.3.1", FRAMES(TEXT(KOSME SURROGATE "edited")), "1007@0:13"},
	{"6.4.1", FRAMES(TEXT_BEGIN(KOSME), MORE(TOO_HIGH), LAST("edited")), "1007@1:2"},
	{"6.4.2", FRAMES(TEXT_BEGIN(KOSME "\xf4"), MORE("\x90"), LAST("\x80\x80" "edited")),
	 "1007@1:1"},
	{"6.4.3", FRAMES(TEXT(KOSME TOO_HIGH "edited")), "1007@0:13"},
};

/* Texts that must arrive as they are. */
static const char *const valid[] = {
	/* 6.2 */
	"Hello-\xc2\xb5 \xc3\x9f\xc3\xb6\xc3\xa4\xc3\xbc\xc3\xa0\xc3\xa1-UTF-8!!",
	/* 6.5, 6.6: prefixes that end with a character */
	"\xce\xba", "\xce\xba\xe1\xbd\xb9", "\xce\xba\xe1\xbd\xb9\xcf\x83",
	"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc", KOSME,
	/* 6.7: first of each length (U+0000 is in ws_test.c) */
	"\xc2\x80", "\xe0\xa0\x80", "\xf0\x90\x80\x80",
	/* 6.9: last of each length */
	"\x7f", "\xdf\xbf", "\xef\xbf\xbf", "\xf4\x8f\xbf\xbf",
	/* 6.11: around the surrogates, and the last code point */
	"\xed\x9f\xbf", "\xee\x80\x80", "\xef\xbf\xbd",
	/* 6.22: code points that are no characters, in every plane */
	"\xef\xbf\xbe", "\xf0\x9f\xbf\xbe", "\xf0\x9f\xbf\xbf",
	"\xf0\xaf\xbf\xbe", "\xf0\xaf\xbf\xbf",
	"\xf0\xbf\xbf\xbe", "\xf0\xbf\xbf\xbf", "\xf1\x8f\xbf\xbe", "\xf1\x8f\xbf\xbf",
	"\xf1\x9f\xbf\xbe", "\xf1\x9f\xbf\xbf", "\xf1\xaf\xbf\xbe", "\xf1\xaf\xbf\xbf",
	"\xf1\xbf\xbf\xbe", "\xf1\xbf\xbf\xbf", "\xf2\x8f\xbf\xbe", "\xf2\x8f\xbf\xbf",
	"\xf2\x9f\xbf\xbe", "\xf2\x9f\xbf\xbf", "\xf2\xaf\xbf\xbe", "\xf2\xaf\xbf\xbf",
	"\xf2\xbf\xbf\xbe", "\xf2\xbf\xbf\xbf", "\xf3\x8f\xbf\xbe", "\xf3\x8f\xbf\xbf",
	"\xf3\x9f\xbf\xbe", "\xf3\x9f\xbf\xbf", "\xf3\xaf\xbf\xbe", "\xf3\xaf\xbf\xbf",
	"\xf3\xbf\xbf\xbe", "\xf3\xbf\xbf\xbf", "\xf4\x8f\xbf\xbe",
	/* 6.23: U+FFF9 to U+FFFF */
	"\xef\xbf\xb9", "\xef\xbf\xba", "\xef\xbf\xbb", "\xef\xbf\xbc",
};

static const struct {
	const char *text;
	size_t at;   /* bytes that must have come before it is refused */
} invalid[] = {
	/* 6.6: prefixes that end within a character */
	{"\xce", 1}, {"\xce\xba\xe1", 3}, {"\xce\xba\xe1\xbd", 4}, {"\xce\xba\xe1\xbd\xb9\xcf", 6},
	{"\xce\xba\xe1\xbd\xb9\xcf\x83\xce", 8}, {"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce", 10},
	/* 6.8, 6.10: first and last of five and six bytes; 6.9: last of four before RFC 3629 */
	{"\xf8\x88\x80\x80\x80", 1}, {"\xfc\x84\x80\x80\x80\x80", 1}, {"\xf7\xbf\xbf\xbf", 1},
	{"\xfb\xbf\xbf\xbf\xbf", 1}, {"\xfd\xbf\xbf\xbf\xbf\xbf", 1},
	/* 6.11: one above the last code point */
	{TOO_HIGH, 2},
	/* 6.12: continuation bytes alone */
	{"\x80", 1}, {"\xbf", 1}, {"\x80\xbf", 1}, {"\x80\xbf\x80", 1}, {"\x80\xbf\x80\xbf", 1},
	{"\x80\xbf\x80\xbf\x80", 1}, {"\x80\xbf\x80\xbf\x80\xbf", 1},
	/* 6.13: first bytes alone */
	{"\xc0 \xc1 \xc2 ", 1}, {"\xc2 \xc3 ", 2}, {"\xe0 \xe1 ", 2}, {"\xe1 \xe2 ", 2},
	{"\xf0 \xf1 ", 2}, {"\xf1 \xf2 ", 2}, {"\xf8 \xf9 ", 1}, {"\xfc \xfd ", 1},
	/* 6.14: the last byte is missing; 6.15: one such after the other */
	{"\xc0", 1}, {"\xe0\x80", 2}, {"\xf0\x80\x80", 2}, {"\xf8\x80\x80\x80", 1},
	{"\xfc\x80\x80\x80\x80", 1}, {"\xdf", 1}, {"\xef\xbf", 2}, {"\xf7\xbf\xbf", 1},
	{"\xfb\xbf\xbf\xbf", 1}, {"\xfd\xbf\xbf\xbf\xbf", 1},
	{"\xdf\xef\xbf", 2}, {"\xef\xbf\xdf", 3},
	/* 6.16: bytes that never occur */
	{"\xfe", 1}, {"\xff", 1}, {"\xfe\xfe\xff\xff", 1},
	/* 6.17: '/' in more bytes than it needs */
	{"\xc0\xaf", 1}, {"\xe0\x80\xaf", 2}, {"\xf0\x80\x80\xaf", 2}, {"\xf8\x80\x80\x80\xaf", 1},
	{"\xfc\x80\x80\x80\x80\xaf", 1},
	/* 6.18: the highest in more bytes than they need */
	{"\xc1\xbf", 1}, {"\xe0\x9f\xbf", 2}, {"\xf0\x8f\xbf\xbf", 2}, {"\xf8\x87\xbf\xbf\xbf", 1},
	{"\xfc\x83\xbf\xbf\xbf\xbf", 1},
	/* 6.19: NUL in more bytes than it needs */
	{"\xc0\x80", 1}, {"\xe0\x80\x80", 2}, {"\xf0\x80\x80\x80", 2}, {"\xf8\x80\x80\x80\x80", 1},
	{"\xfc\x80\x80\x80\x80\x80", 1},
	/* 6.20: surrogates */
	{"\xed\xa0\x80", 2}, {"\xed\xad\xbf", 2}, {"\xed\xae\x80", 2}, {"\xed\xaf\xbf", 2},
	{"\xed\xb0\x80", 2}, {"\xed\xbe\x80", 2}, {"\xed\xbf\xbf", 2},
	/* 6.21: pairs of them */
	{"\xed\xa0\x80\xed\xb0\x80", 2}, {"\xed\xa0\x80\xed\xbf\xbf", 2},
	{"\xed\xad\xbf\xed\xb0\x80", 2}, {"\xed\xad\xbf\xed\xbf\xbf", 2},
	{"\xed\xae\x80\xed\xb0\x80", 2}, {"\xed\xae\x80\xed\xbf\xbf", 2},
	{"\xed\xaf\xbf\xed\xb0\x80", 2}, {"\xed\xaf\xbf\xed\xbf\xbf", 2},
};

#define ASTERISKS_41 "*****************************************"

static const struct row closing[] = {
	{"7.1.1", FRAMES(TEXT("text"), CLOSE("")), "text(text) close()"},
	{"7.1.2", FRAMES(CLOSE(""), CLOSE("")), "close()"},
	{"7.1.3", FRAMES(CLOSE(""), PING("")), "close()"},
	{"7.1.4", FRAMES(CLOSE(""), TEXT("late")), "close()"},
	{"7.1.5", FRAMES(TEXT_BEGIN("first"), CLOSE(""), LAST("second")), "close()"},
	{"7.1.6", FRAMES(FILLED(0x81, '*', 262144), CLOSE(""), PING("")), "text(**262144) close()"},
	{"7.3.1", FRAMES(CLOSE("")), "close()"},
	{"7.3.2", FRAMES(CLOSE("a")), "1002@0:1"},
	{"7.3.3", FRAMES(CLOSE("\x03\xe8")), "close(1000)"},
	{"7.3.4", FRAMES(CLOSE("\x03\xe8" "all is said")), "close(1000 all is said)"},
	{"7.3.5",
	 FRAMES(CLOSE("\x03\xe8" ASTERISKS_41 ASTERISKS_41 ASTERISKS_41)),
	 "close(1000 " ASTERISKS_41 ASTERISKS_41 ASTERISKS_41 ")"},
	{"7.3.6", FRAMES(FILLED(0x88, '*', 126)), "1002@0:start"},
	{"7.5.1", FRAMES(CLOSE("\x03\xe8" KOSME SURROGATE "edited")), "1007@0:22"},
};

REPLAY(framing, UINT32_MAX)
REPLAY(pings, UINT32_MAX)
REPLAY(reserved_bits, UINT32_MAX)
REPLAY(reserved_opcodes, UINT32_MAX)
REPLAY(fragmentation, UINT32_MAX)
REPLAY(empty_texts, UINT32_MAX)
REPLAY(invalid_in_pieces, UINT32_MAX)
REPLAY(closing, UINT32_MAX)

/* Splits a text into frames of size bytes and replays it. */
static void replay_text(const char *text, size_t len, size_t size, const char *expected)
{
	static struct frame frames[64];
	const struct row row = {text, frames, expected};
	size_t count = (len + size - 1) / size;

	assert_in_range(count, 1, COUNT(frames) - 1);
	for (size_t i = 0; i < count; i++)
		frames[i] = (struct frame){
			.first = (uint8_t)((i == 0 ? WS_TEXT : 0) | (i == count - 1 ? 0x80 : 0)),
			.payload = text + i * size,
			.len = i == count - 1 ? len - i * size : size,
		};
	frames[count] = (struct frame){0};
	replay(&row, 1, UINT32_MAX);
}

/* 6.2, 6.5 to 6.23: in one frame, and in frames of one and of two bytes. */
static void valid_texts(void **state)
{
	char expected[128];

	(void)state;
	for (size_t i = 0; i < COUNT(valid); i++) {
		size_t len = strlen(valid[i]);

		snprintf(expected, sizeof expected, "text(%s)", valid[i]);
		replay_text(valid[i], len, len, expected);
		replay_text(valid[i], len, 2, expected);
		replay_text(valid[i], len, 1, expected);
	}
}

static void invalid_texts(void **state)
{
	char expected[32];

	(void)state;
	for (size_t i = 0; i < COUNT(invalid); i++) {
		size_t len = strlen(invalid[i].text);

		snprintf(expected, sizeof expected, "1007@0:%zu", invalid[i].at);
		replay_text(invalid[i].text, len, len, expected);
		/* 6.3.2 and 6.4.4: a frame for each byte. */
		snprintf(expected, sizeof expected, "1007@%zu:1", invalid[i].at - 1);
		replay_text(invalid[i].text, len, 1, expected);
	}
}

/* 7.7, 7.9, 7.13 */
static void close_codes(void **state)
{
	static const struct {
		unsigned code;
		bool valid;
	} rows[] = {
		{1000, true},  {1001, true},  {1002, true},  {1003, true},  {1007, true},
		{1008, true},  {1009, true},  {1010, true},  {1011, true},  {3000, true},
		{3999, true},  {4000, true},  {4999, true},  {0, false},    {999, false},
		{1004, false}, {1005, false}, {1006, false}, {1016, false}, {1100, false},
		{2000, false}, {2999, false}, {5000, false}, {65535, false},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		const char payload[] = {(char)(rows[i].code >> 8), (char)rows[i].code};
		const struct frame frames[] = {{.first = 0x88, .payload = payload, .len = 2}, {0}};
		char expected[16];
		const struct row row = {"close code", frames, expected};

		snprintf(expected, sizeof expected, rows[i].valid ? "close(%u)" : "1002@0:2",
		         rows[i].code);
		replay(&row, 1, UINT32_MAX);
	}
}

/* 10.1.1 */
static void long_text_in_frames(void **state)
{
	static char text[65536];

	(void)state;
	memset(text, '*', sizeof text);
	replay_text(text, sizeof text, 1300, "text(**65536)");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(replay_framing),
		cmocka_unit_test(replay_pings),
		cmocka_unit_test(replay_reserved_bits),
		cmocka_unit_test(replay_reserved_opcodes),
		cmocka_unit_test(replay_fragmentation),
		cmocka_unit_test(replay_empty_texts),
		cmocka_unit_test(replay_invalid_in_pieces),
		cmocka_unit_test(valid_texts),
		cmocka_unit_test(invalid_texts),
		cmocka_unit_test(replay_closing),
		cmocka_unit_test(close_codes),
		cmocka_unit_test(long_text_in_frames),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
