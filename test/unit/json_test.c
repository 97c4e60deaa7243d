#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/json.h"
#include "introspection.pb-c.h"

static size_t encode(char out[5], unsigned c)
{
	size_t len = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
	static const unsigned char first[] = {0, 0, 0xc0, 0xe0, 0xf0};

	memset(out, 0, 5);
	for (size_t i = len; i-- > 0; c >>= 6)
		out[i] = (char)(i > 0 ? 0x80 | (c & 0x3f) : first[len] | c);
	return len;
}

/* What a terminal obeys rather than shows, by the tables of Unicode: Cc, Zl, Zp, Bidi_Control. */
static bool is_obeyed(unsigned c)
{
	static const unsigned bidi[] = {0x61c,  0x200e, 0x200f, 0x202a, 0x202b, 0x202c,
	                                0x202d, 0x202e, 0x2066, 0x2067, 0x2068, 0x2069};

	for (size_t i = 0; i < sizeof bidi / sizeof *bidi; i++)
		if (c == bidi[i])
			return true;
	return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x2028 || c == 0x2029;
}

/* Each character between two others, and what stands for it in JSON. */
static void every_character(void **state)
{
	(void)state;
	for (unsigned c = 1; c <= 0x10ffff; c++) {
		Introspection__Runtime runtime = INTROSPECTION__RUNTIME__INIT;
		char character[5], text[16], expected[64], *written;
		size_t len;

		if (c >= 0xd800 && c < 0xe000)
			continue;
		encode(character, c);
		snprintf(text, sizeof text, "a%sb", character);
		runtime.implementation = text;
		FILE *out = open_memstream(&written, &len);
		assert_non_null(out);
		json_write(out, &runtime.base);
		fclose(out);
		if (is_obeyed(c))
			snprintf(expected, sizeof expected, "{\"implementation\":\"a\\u%04xb\"}", c);
		else
			snprintf(expected, sizeof expected, "{\"implementation\":\"a%s%sb\"}",
			         c == '"' || c == '\\' ? "\\" : "", character);
		if (strcmp(written, expected) != 0)
			fail_msg("U+%04X: %s", c, written);
		free(written);
	}
}

/* What is no UTF-8 ends where the string does. */
static void cut_off(void **state)
{
	(void)state;
	static const char *const ends[] = {"\xc2", "\xd8", "\xe2", "\xe2\x80", "\xe2\x81", "\xe2\x80x", "\xf0\x9f"};

	for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
		Introspection__Runtime runtime = INTROSPECTION__RUNTIME__INIT;
		char *copy = strdup(ends[i]), *written;
		size_t len;

		runtime.implementation = copy;
		FILE *out = open_memstream(&written, &len);
		json_write(out, &runtime.base);
		fclose(out);
		assert_non_null(strstr(written, copy));
		free(written);
		free(copy);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(every_character), cmocka_unit_test(cut_off)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
