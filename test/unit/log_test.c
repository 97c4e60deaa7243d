#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <termios.h>
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
		assert_string_equal(log_escape(guarded(rows[i].bytes, rows[i].len), rows[i].len),
		                    rows[i].expected);
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
			size_t needed = len * (plain ? 1 : 4) + 3;

			memset(bytes, plain ? 'x' : '\n', len);
			const char *out = log_escape(guarded(bytes, len), len);
			size_t n = strlen(out);
			assert_in_range(n, 2, LOG_ESCAPED_MAX - 1);
			assert_int_equal(out[n - 1], '"');
			int cut = n > 5 && strcmp(out + n - 4, "...\"") == 0;
			if (needed > LOG_ESCAPED_MAX)
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

/* A pipe of one page as stderr; out: its other end. */
static void pipe_stderr(int *out)
{
	int ends[2];

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_true(fcntl(ends[1], F_SETPIPE_SZ, 4096) >= 4096);
	assert_true(dup2(ends[1], STDERR_FILENO) >= 0);
	close(ends[1]);
	*out = ends[0];
}

/* Reads what is there without waiting for more. */
static size_t drain(int fd, char *out, size_t size)
{
	size_t len = 0;
	struct pollfd look = {.fd = fd, .events = POLLIN};

	while (len < size - 1 && poll(&look, 1, 0) == 1 && look.revents & POLLIN) {
		ssize_t n = read(fd, out + len, size - 1 - len);

		assert_true(n > 0);
		len += (size_t)n;
	}
	out[len] = '\0';
	return len;
}

/* Writes lines that are numbered from 0 until it is certain that some are lost. Should it
 * wait for a reader, the alarm ends the test. */
static unsigned fill(void)
{
	enum { LINES = 5000 };

	alarm(30);
	for (unsigned i = 0; i < LINES; i++)
		log_event("line number=%u.", i);
	alarm(0);
	return LINES;
}

/* Whole lines numbered from 0 on, then the end or a part of one. Returns how many. */
static unsigned count_lines(const char *text)
{
	char line[64];

	for (unsigned i = 0;; i++) {
		snprintf(line, sizeof line, "line number=%u.\n", i);
		if (strncmp(text, line, strlen(line)) != 0)
			return i;
		text += strlen(line);
	}
}

static void a_full_pipe_loses_lines_and_the_next_says_how_many(void **state)
{
	static char text[8192];
	char expected[128];
	int out;

	(void)state;
	pipe_stderr(&out);
	const unsigned all = fill();
	drain(out, text, sizeof text);
	const unsigned written = count_lines(text);
	assert_in_range(written, 1, all - 1);
	log_event("next");
	log_event("last");
	drain(out, text, sizeof text);
	snprintf(expected, sizeof expected, "log_lost lines=%u\nnext\nlast\n", all - written);
	/* Of a pipe of one page, poll() says that it can be written when it is empty. */
	assert_memory_equal(text, expected, strlen(expected) - strlen("last\n"));
	close(out);
}

/* A terminal takes a part of a line and then keeps a writer waiting. */
static void so_does_a_terminal_that_stands_still(void **state)
{
	static char text[1 << 20];

	(void)state;
	const int out = posix_openpt(O_RDWR | O_NOCTTY);
	assert_true(out >= 0 && grantpt(out) == 0 && unlockpt(out) == 0);
	const int terminal = open(ptsname(out), O_RDWR | O_NOCTTY);
	struct termios raw;
	assert_int_equal(tcgetattr(terminal, &raw), 0);
	cfmakeraw(&raw);
	assert_int_equal(tcsetattr(terminal, TCSANOW, &raw), 0);
	assert_true(dup2(terminal, STDERR_FILENO) >= 0);
	close(terminal);
	log_open();
	const unsigned all = fill();
	unsigned tries = 0, counted = 0;
	size_t len = 0;
	const char *told = NULL;
	alarm(30);
	for (; !told || !strstr(told, "\nnext\n"); tries++) {
		ssize_t n = read(out, text + len, sizeof text - 1 - len);

		assert_true(n > 0);
		len += (size_t)n;
		told = strstr(text, "\nlog_lost lines=");
		log_event("next");
	}
	alarm(0);
	/* Each line was written or counted. Those that tests before this one lost come first. */
	for (char *line = strtok(strstr(text, "line number=0."), "\n"); line; line = strtok(NULL, "\n"))
		counted += strncmp(line, "log_lost lines=", 15) == 0
		                   ? (unsigned)atoi(line + 15)
		                   : strchr(line, '.') || strcmp(line, "next") == 0;
	assert_in_range(counted, all + 1, all + tries);
	close(out);
}

static void a_peer_cannot_fill_the_log(void **state)
{
	struct log_limit limit = {0}, other = {0};
	char expected[1024] = "";

	(void)state;
	for (int i = 0; i < LOG_BURST + 5; i++)
		log_limited(&limit, 0, "a n=%d", i);
	for (int i = 0; i < LOG_BURST; i++)
		snprintf(expected + strlen(expected), sizeof expected - strlen(expected), "a n=%d\n", i);
	assert_written(expected);
	log_limited(&limit, LOG_PERIOD_MS - 1, "b");
	log_limited(&other, LOG_PERIOD_MS - 1, "other");
	log_limited(&limit, LOG_PERIOD_MS, "c");
	log_limited(&limit, LOG_PERIOD_MS, "d");
	log_set_verbose(true);
	log_limited(&limit, LOG_PERIOD_MS, "e");
	log_set_verbose(false);
	log_limited(&limit, 60 * LOG_PERIOD_MS, "f");
	strcat(expected, "other\nc suppressed=6\ne suppressed=1\nf\n");
	assert_written(expected);
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
		cmocka_unit_test_setup_teardown(a_peer_cannot_fill_the_log, hold_stderr, release_stderr),
		cmocka_unit_test_setup_teardown(a_full_pipe_loses_lines_and_the_next_says_how_many,
	                                        hold_stderr, release_stderr),
		cmocka_unit_test_setup_teardown(closed, hold_stderr, release_stderr),
		/* The last one: log_open() is for the whole life of a process. */
		cmocka_unit_test_setup_teardown(so_does_a_terminal_that_stands_still, hold_stderr,
	                                        release_stderr),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
