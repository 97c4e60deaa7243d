#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "guard.h"
#include "base/log.h"

static void escape(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
		const char *expected;
	} rows[] = {
		{"", 0, "\"\""},
		{"plain text", 10, "\"plain text\""},
		{"~ !", 3, "\"~ !\""},
		{"a\"b\\c", 5, "\"a\\x22b\\x5cc\""},
		{"a\nb\r\t", 5, "\"a\\x0ab\\x0d\\x09\""},
		{"\x1b[31m", 5, "\"\\x1b[31m\""},
		{"a\0b", 3, "\"a\\x00b\""},
		{"\x7f\x80\xff", 3, "\"\\x7f\\x80\\xff\""},
		{"\xe2\x82\xac", 3, "\"\\xe2\\x82\\xac\""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char out[LOG_ESCAPED_MAX];

		assert_ptr_equal(log_escape(out, guarded(rows[i].bytes, rows[i].len), rows[i].len),
		                 out);
		assert_string_equal(out, rows[i].expected);
	}
}

/* However long the bytes, the result ends within out, in a quote, and says when
 * something is missing. */
static void escape_long(void **state)
{
	static char bytes[1000];

	(void)state;
	for (size_t len = 0; len <= sizeof bytes; len++) {
		for (int plain = 0; plain < 2; plain++) {
			char out[LOG_ESCAPED_MAX];
			size_t needed = len * (plain ? 1 : 4) + 3;

			memset(bytes, plain ? 'x' : '\n', len);
			log_escape(out, guarded(bytes, len), len);
			size_t n = strlen(out);
			assert_in_range(n, 2, sizeof out - 1);
			assert_int_equal(out[n - 1], '"');
			int cut = n > 5 && strcmp(out + n - 4, "...\"") == 0;
			if (needed > sizeof out)
				assert_true(cut);
			if (!cut)
				assert_int_equal(n, needed - 1);
		}
	}
}

static int hold, saved;

static int hold_stderr(void **state)
{
	(void)state;
	hold = memfd_create("stderr", MFD_CLOEXEC);
	saved = dup(STDERR_FILENO);
	return hold < 0 || saved < 0 || dup2(hold, STDERR_FILENO) < 0 ? -1 : 0;
}

static int release_stderr(void **state)
{
	(void)state;
	dup2(saved, STDERR_FILENO);
	close(saved);
	return close(hold);
}

static void assert_written(const char *expected)
{
	char written[8192] = {0};

	assert_true(pread(hold, written, sizeof written - 1, 0) >= 0);
	assert_string_equal(written, expected);
}

static void lines(void **state)
{
	(void)state;
	log_event("listening url=%s", "http://127.0.0.1/");
	log_event("n=%d", 7);
	assert_written("listening url=http://127.0.0.1/\nn=7\n");
}

static void verbose(void **state)
{
	(void)state;
	log_verbose("hidden");
	log_set_verbose(true);
	log_verbose("shown n=%d", 1);
	log_set_verbose(false);
	log_verbose("hidden");
	assert_written("shown n=1\n");
}

static void long_lines(void **state)
{
	char text[3000];

	(void)state;
	for (size_t len = 900; len < sizeof text; len++) {
		char written[4096];

		memset(text, 'x', len);
		text[len] = '\0';
		assert_int_equal(ftruncate(hold, 0), 0);
		assert_int_equal(lseek(hold, 0, SEEK_SET), 0);
		log_event("%s", text);
		ssize_t n = pread(hold, written, sizeof written, 0);
		assert_in_range(n, 900, len + 1);
		assert_ptr_equal(memchr(written, '\n', (size_t)n), written + n - 1);
	}
}

/* Nobody may be stopped by a log that cannot be written. */
static void closed(void **state)
{
	(void)state;
	close(STDERR_FILENO);
	log_event("lost");
	assert_written("");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(escape),
		cmocka_unit_test(escape_long),
		cmocka_unit_test_setup_teardown(lines, hold_stderr, release_stderr),
		cmocka_unit_test_setup_teardown(verbose, hold_stderr, release_stderr),
		cmocka_unit_test_setup_teardown(long_lines, hold_stderr, release_stderr),
		cmocka_unit_test_setup_teardown(closed, hold_stderr, release_stderr),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
