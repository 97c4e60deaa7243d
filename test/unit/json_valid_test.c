#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "guard.h"
#include "endpoint/json.h"

static bool is_valid(const char *text, size_t len)
{
	return json_is_valid(guarded(text, len), len);
}

static const char *const good[] = {
	"{}", "[]", "null", "true", "false", "0", "-0", "\"\"",
	" \t\r\n1\n\r\t ", "[ ]", "{ }", " [ 1 , 2 ] ", " { \"a\" : 1 , \"b\" : 2 } ",
	"12", "-12", "1.5", "0.0", "-0.10", "1e5", "1E+5", "1e-05", "0e0", "10.25e+3", "1e400",
	"\"a\"", "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\u00e4\\uFFFF\\ud83d\"", "\"\xc3\xa4 \x7f\"",
	"[null,true,false,0,\"\",[],{}]", "{\"\":{\"\":[{}]}}", "{\"a\":1,\"a\":2}",
	"[[],[[]],{\"a\":[]}]", "{\"peer\":\"12D3\",\"n\":[1,2.5e3],\"nested\":{\"ok\":true}}",
};

static const char *const bad[] = {
	"", " ", "\t\n", "nul", "nulll", "Null", "TRUE", "tru", "falsy", "undefined", "NaN", "Infinity",
	"01", "-", "+1", "--1", "1.", ".5", "-.5", "1.e5", "1e", "1e+", "1e5.5", "0x10",
	"1 2", "1,", "00",
	"\"", "\"a", "a\"", "'a'", "\"\\\"", "\"\\", "\"\\a\"", "\"\\x41\"", "\"\\u\"", "\"\\u12\"",
	"\"\\u123\"", "\"\\u123g\"", "\"\\u 123\"", "\"\n\"", "\"\t\"", "\"\x1f\"",
	"\"a\"b", "\"a\" \"b\"",
	"[", "]", "[1", "[1,", "[1,]", "[,1]", "[,]", "[1 2]", "[1}", "[1]]", "[\"a]", "[1:2]",
	"{", "}", "{\"a\"", "{\"a\":", "{\"a\":1", "{\"a\":1,", "{\"a\":1,}",
	"{,}", "{\"a\" 1}", "{\"a\":}",
	"{a:1}", "{1:1}", "{\"a\":1]", "{\"a\":1}}", "{\"a\":1 \"b\":2}", "{\"a\",1}",
	"{\"a\":1:2}", "{null:1}",
	"// a\n1", "/**/1", "1 // a", "\xef\xbb\xbf" "1", "\v1", "\f1", "\xc2\xa0" "1",
};

static void valid(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof *good; i++)
		if (!is_valid(good[i], strlen(good[i])))
			fail_msg("refused: %s", good[i]);
}

static void not_valid(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		if (is_valid(bad[i], strlen(bad[i])))
			fail_msg("accepted: %s", bad[i]);
}

/* A NUL is a byte like any other that has no place in JSON. */
static void nul_bytes(void **state)
{
	static const struct {
		const char *text;
		size_t len;
	} rows[] = {
		{"\0", 1}, {"1\0", 2}, {"\0" "1", 2}, {"1\0" "2", 3}, {"\"\0\"", 3}, {"\"\\\0\"", 4},
		{"\"\\u\0\0\0\0\"", 8}, {"[\0]", 3}, {"{\0}", 3}, {"1\0e5", 4}, {"-\0", 2},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		assert_false(is_valid(rows[i].text, rows[i].len));
}

/* What is cut off is not valid, but for a number, which may end anywhere behind a digit. */
static void cut_off(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		const char *first = good[i] + strspn(good[i], " \t\r\n");
		size_t len = strlen(good[i]), end = len;

		if (*first == '-' || (*first >= '0' && *first <= '9'))
			continue;
		while (strchr(" \t\r\n", good[i][end - 1]))
			end--;
		for (size_t cut = 0; cut < end; cut++)
			if (is_valid(good[i], cut))
				fail_msg("accepted %zu bytes of: %s", cut, good[i]);
	}
}

static void depth(void **state)
{
	char text[6 * (JSON_DEPTH_MAX + 1)];

	(void)state;
	for (size_t levels = JSON_DEPTH_MAX - 1; levels <= JSON_DEPTH_MAX + 1; levels++) {
		size_t len = 0;

		memset(text, '[', levels);
		memset(text + levels, ']', levels);
		assert_int_equal(is_valid(text, 2 * levels), levels <= JSON_DEPTH_MAX);

		for (; len < 4 * (levels - 1); len += 4)
			memcpy(text + len, "{\"\":", 4);
		memcpy(text + len, "{}", 2);
		memset(text + len + 2, '}', levels - 1);
		assert_int_equal(is_valid(text, len + 2 + levels - 1), levels <= JSON_DEPTH_MAX);
	}
	/* Width is no depth. */
	static char wide[GUARDED_MAX];
	wide[0] = '[';
	for (size_t i = 1; i + 2 < sizeof wide; i += 3)
		memcpy(wide + i, "[],", 3);
	assert_int_equal((sizeof wide - 1) % 3, 0);
	wide[sizeof wide - 1] = ']';
	assert_true(is_valid(wide, sizeof wide));
}

/* Far deeper than any stack: refused, not crashed. */
static void hostile_depth(void **state)
{
	static char text[GUARDED_MAX];

	(void)state;
	memset(text, '[', sizeof text);
	assert_false(is_valid(text, sizeof text));
	for (size_t i = 0; i + 5 <= sizeof text; i += 5)
		memcpy(text + i, "{\"\":[", 5);
	assert_false(is_valid(text, sizeof text));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(valid),     cmocka_unit_test(not_valid), cmocka_unit_test(nul_bytes),
		cmocka_unit_test(cut_off),   cmocka_unit_test(depth),     cmocka_unit_test(hostile_depth),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
