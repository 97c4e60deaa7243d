/* Quantities as the terminal client writes them, at the edges of every unit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "client/format.h"

struct row {
	uint64_t value;
	const char *text;
};

#define CHECK(format, ...)                                                                         \
	do {                                                                                       \
		static const struct row rows[] = {__VA_ARGS__};                                    \
		char out[FORMAT_MAX];                                                              \
		for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)                            \
			assert_string_equal(format(out, rows[i].value), rows[i].text);             \
	} while (0)

static void brief_is_five_characters_at_most(void **state)
{
	(void)state;
	CHECK(format_brief, {0, "0"}, {1023, "1023"}, {1024, "1.0K"}, {10188, "9.9K"},
	      {10189, "10K"}, {1048063, "1023K"}, {1048064, "1.0M"}, {UINT64_C(1) << 40, "1.0T"},
	      {UINT64_MAX, "16E"});
}

static void bytes_have_a_unit(void **state)
{
	(void)state;
	CHECK(format_bytes, {0, "0 B"}, {1023, "1023 B"}, {1536, "1.5 KiB"},
	      {UINT64_MAX, "16 EiB"});
}

static void latency(void **state)
{
	(void)state;
	CHECK(format_latency, {1, "0us"}, {850000, "850us"}, {999499, "999us"}, {999500, "1.0ms"},
	      {9949999, "9.9ms"}, {9950000, "10ms"}, {999499999, "999ms"}, {999500000, "1.0s"},
	      {9950000000, "10s"}, {999499999999, "999s"}, {UINT64_C(3600000000000), "1h"});
}

static void age(void **state)
{
	(void)state;
	CHECK(format_age, {0, "0s"}, {59999, "59s"}, {60000, "1m"}, {3599999, "59m"},
	      {3600000, "1h"}, {86399999, "23h"}, {86400000, "1d"}, {86399999999, "999d"}, {86400000000, "2y"},
	      {UINT64_C(31535999999999), "999y"});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(brief_is_five_characters_at_most),
	    cmocka_unit_test(bytes_have_a_unit),
	    cmocka_unit_test(latency),
	    cmocka_unit_test(age),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
