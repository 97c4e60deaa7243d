#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/listen.h"
#include "base/log.h"
#include "messages.h"
#include "source/source.h"

enum {
	LIMIT = 1 << 20,    /* bytes of a message */
	INTERVAL = 500,     /* ms */
	REFRESH = 1000,     /* ms that a feed waits for something newer */
};

static char folder[] = "/tmp/feed_test.XXXXXX", path[64];
static struct source *feed;
static int64_t now;

static void open_feed(const char *at)
{
	log_clear();
	log_begin();
	feed = feed_open(at, 0600, LIMIT, INTERVAL);
	log_end();
	now = 1000;
}

static void close_feed(void)
{
	feed->close(feed);
	feed = NULL;
}

/* Lets the feed have all that is there for it, as the daemon's loop does. Returns the deadline. */
static int64_t turn(void)
{
	for (int calls = 0;; calls++) {
		struct pollfd fds[SOURCE_FDS];
		int64_t deadline = INT64_MAX;
		nfds_t n = feed->poll(feed, fds, &deadline);

		assert_in_range(n, 0, SOURCE_FDS);
		if (poll(fds, n, 0) <= 0 && deadline > now)
			return deadline;
		assert_true(calls < 10000);
		log_begin();
		feed->serve(feed, fds, n, now);
		log_end();
	}
}

/* The peer in the state that is taken; NULL: there is none yet. */
static const char *take(void)
{
	struct snapshot_input input = {0};

	if (feed->take(feed, now, &input) == 0)
		return NULL;
	assert_null(input.state);
	return peer_of(input.bytes, input.len);
}

static int connect_node(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, path);
	assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof address), 0);
	return fd;
}

/* Writes all of it, letting the feed read when it must. */
static void say(int fd, const uint8_t *bytes, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, bytes, len);

		if (n < 0)
			assert_int_equal(errno, EAGAIN);
		turn();
		bytes += n > 0 ? n : 0;
		len -= n > 0 ? (size_t)n : 0;
	}
}

/* Puts the length in front of a message. Returns the bytes of both. */
static size_t delimit(uint8_t *out, const uint8_t *message, size_t len)
{
	size_t n = 0, left = len;

	for (; left >= 0x80; left >>= 7)
		out[n++] = (uint8_t)(left | 0x80);
	out[n++] = (uint8_t)left;
	memcpy(out + n, message, len);
	return n + len;
}

static size_t delimited_state(uint8_t *out, char *peer)
{
	uint8_t message[MESSAGE_MAX];

	return delimit(out, message, pack_state(message, 1, peer));
}

static void say_state(int fd, char *peer)
{
	uint8_t bytes[MESSAGE_MAX];

	say(fd, bytes, delimited_state(bytes, peer));
}

/* What the node was sent: how many r; -1: the connection is closed. */
static int asked(int fd)
{
	char bytes[16];
	ssize_t n = read(fd, bytes, sizeof bytes);

	for (ssize_t i = 0; i < n; i++)
		assert_int_equal(bytes[i], 'r');
	return n > 0 ? (int)n : n == 0 || errno == ECONNRESET ? -1 : 0;
}

static void the_socket_file(void **state)
{
	struct stat st;
	mode_t before = umask(0);

	(void)state;
	open_feed(path);
	umask(before);
	assert_non_null(feed);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode, S_IFSOCK | 0600);
	close_feed();
	assert_int_equal(stat(path, &st), -1);

	/* what stands there now is not ours to remove */
	open_feed(path);
	assert_int_equal(unlink(path), 0);
	struct stat file;
	int other = listen_unix("feed", path, 0600, &file);
	assert_true(other >= 0);
	close_feed();
	assert_int_equal(stat(path, &st), 0);

	open_feed(path);
	assert_null(feed);
	assert_non_null(strstr(logged, "in use by another process"));
	assert_int_equal(stat(path, &st), 0);
	close(other);

	open_feed(path);   /* nobody listens there any more */
	assert_non_null(feed);
	close_feed();

	open_feed("/dev/null");
	assert_null(feed);
	assert_non_null(strstr(logged, "not a socket"));
}

static void nothing_said(void **state)
{
	(void)state;
	open_feed(path);
	assert_null(take());
	int node = connect_node();
	assert_true(turn() == INT64_MAX);
	assert_string_equal(logged, "feed_connected\n");
	assert_int_equal(asked(node), 0);
	close(node);
	turn();
	assert_string_equal(logged, "feed_connected\nfeed_disconnected\n");
	assert_null(take());
	close_feed();
}

static void pulled(void **state)
{
	(void)state;
	open_feed(path);
	int node = connect_node();
	turn();
	assert_null(take());
	assert_null(take());
	assert_int_equal(asked(node), 1);
	say_state(node, "a");
	assert_int_equal(asked(node), 0);
	assert_string_equal(take(), "a");
	assert_int_equal(asked(node), 0);
	assert_null(take());
	assert_int_equal(asked(node), 1);

	/* a node that comes back was not asked yet */
	close(node);
	node = connect_node();
	turn();
	assert_int_equal(asked(node), 0);
	assert_null(take());
	assert_int_equal(asked(node), 1);
	close(node);
	close_feed();
}

/* A node on its own clock does not read what it is asked. */
static void never_read(void **state)
{
	(void)state;
	open_feed(path);
	int node = connect_node();
	turn();
	for (int i = 0; i < 2000; i++) {
		assert_null(take());
		say_state(node, "a");
		assert_string_equal(take(), "a");
	}
	shutdown(node, SHUT_RD);
	assert_null(take());
	say_state(node, "b");
	assert_string_equal(take(), "b");
	close(node);
	close_feed();
}

static void the_newest_wins(void **state)
{
	uint8_t bytes[3 * MESSAGE_MAX];
	size_t n = delimited_state(bytes, "a");
	size_t second = delimited_state(bytes + n, "b");

	(void)state;
	open_feed(path);
	int node = connect_node();
	say(node, bytes, n + second);
	assert_string_equal(take(), "b");

	/* half of the next does not disturb the one that is held */
	say(node, bytes, n + second / 2);
	assert_string_equal(take(), "a");
	say(node, bytes + n + second / 2, second - second / 2);
	assert_string_equal(take(), "b");

	for (size_t i = 0; i < n; i++) {
		assert_null(take());
		say(node, bytes + i, 1);
	}
	assert_string_equal(take(), "a");
	close(node);
	close_feed();
}

/* As many as fit one read, and one that takes many. */
static void small_and_large(void **state)
{
	static uint8_t bytes[LIMIT + 16], message[LIMIT];
	size_t n = 0;

	(void)state;
	open_feed(path);
	int node = connect_node();
	while (n < 100000) {
		memcpy(bytes + n, "\x02\x12\x00", 3);
		n += 3;
	}
	say(node, bytes, n);
	assert_string_equal(take(), "");

	/* a state of an unknown field that fills the limit to the last byte */
	message[0] = 0x12;
	for (size_t i = 0, left = LIMIT - 4; i < 3; i++, left >>= 7)
		message[1 + i] = (uint8_t)(left | (i < 2 ? 0x80 : 0));
	message[4] = 0x52;
	for (size_t i = 0, left = LIMIT - 8; i < 3; i++, left >>= 7)
		message[5 + i] = (uint8_t)(left | (i < 2 ? 0x80 : 0));
	message[LIMIT - 1] = 0xee;
	n = delimit(bytes, message, LIMIT);
	for (int i = 0; i < 3; i++) {
		struct snapshot_input input;

		say(node, bytes, n);
		assert_string_equal(logged, "feed_connected\n");
		assert_int_equal(feed->take(feed, now, &input), 1);
		assert_int_equal(input.len, LIMIT - 4);
		assert_memory_equal(input.bytes, message + 4, LIMIT - 4);
	}
	close(node);
	close_feed();
}

static void what_the_daemon_adds_is_taken_out(void **state)
{
	struct snapshot_input input;

	(void)state;
	open_feed(path);
	int node = connect_node();
	say(node, (const uint8_t *)"\x0c\x12\x0a\xa2\x06\x02\x0a\x00\x18\x07\xa8\x06\x63", 13);
	assert_int_equal(feed->take(feed, now, &input), 1);
	assert_int_equal(input.len, 2);
	assert_memory_equal(input.bytes, "\x18\x07", 2);
	close(node);
	close_feed();
}

static void an_old_state(void **state)
{
	(void)state;
	open_feed(path);
	int node = connect_node();
	turn();
	assert_null(take());
	say_state(node, "a");
	now += INTERVAL;
	assert_string_equal(take(), "a");
	assert_int_equal(asked(node), 1);

	/* nothing newer comes in time */
	assert_null(take());
	say_state(node, "b");
	assert_int_equal(asked(node), 1);
	now += INTERVAL + 1;
	int64_t deadline = now + REFRESH;
	assert_null(take());
	assert_int_equal(asked(node), 1);
	assert_true(turn() == deadline);
	now = deadline - 1;
	assert_null(take());
	assert_true(turn() == deadline);
	now = deadline;
	assert_true(turn() == INT64_MAX);
	assert_int_equal(asked(node), 0);
	assert_string_equal(take(), "b");

	/* something does */
	say_state(node, "late");
	assert_string_equal(take(), "late");
	assert_null(take());
	assert_int_equal(asked(node), 1);
	say_state(node, "c");
	now += INTERVAL + 1;
	assert_null(take());
	assert_int_equal(asked(node), 1);
	say_state(node, "d");
	assert_true(turn() == INT64_MAX);
	assert_string_equal(take(), "d");

	/* nobody wants it any more at the deadline, and later somebody does */
	assert_null(take());
	assert_int_equal(asked(node), 1);
	say_state(node, "e");
	now += INTERVAL + 1;
	assert_null(take());
	now += REFRESH;
	assert_true(turn() == INT64_MAX);
	now += INTERVAL + 1;
	assert_null(take());
	assert_int_equal(asked(node), 1);

	/* the node goes away: there is nobody to wait for */
	close(node);
	assert_true(turn() == INT64_MAX);
	assert_int_equal(feed->newest_until, 0);
	assert_string_equal(take(), "e");
	assert_true(feed->newest_until == INT64_MAX);
	assert_null(take());
	node = connect_node();
	turn();
	assert_int_equal(feed->newest_until, 0);
	close(node);
	close_feed();
}

/* A node that sends states unasked, or long after it was asked, has its own clock: what it
 * sent last is handed over at once, however old. */
static void its_own_clock(void **state)
{
	(void)state;
	open_feed(path);
	int node = connect_node();
	say_state(node, "a");
	for (int i = 0; i < 3; i++) {
		now += 10 * INTERVAL;
		assert_string_equal(take(), i == 0 ? "a" : "b");
		assert_null(take());
		now += 10 * REFRESH;
		say_state(node, "b");
	}
	now += 10 * INTERVAL;
	assert_string_equal(take(), "b");

	/* it begins to answer, and is given time to */
	assert_null(take());
	say_state(node, "c");
	assert_string_equal(take(), "c");
	assert_null(take());
	say_state(node, "d");
	now += INTERVAL + 1;
	assert_null(take());
	say_state(node, "e");
	assert_string_equal(take(), "e");
	close(node);
	close_feed();
}

static void one_node(void **state)
{
	(void)state;
	open_feed(path);
	int first = connect_node();
	say_state(first, "a");
	turn();
	int second = connect_node();
	turn();
	assert_string_equal(logged, "feed_connected\n"
	                            "feed_refused reason=\"another node is connected\"\n");
	assert_int_equal(asked(second), -1);
	assert_string_equal(take(), "a");
	close(second);

	/* gone, and here again, before the feed looked: the end of the former
	 * life is more than one read long */
	static uint8_t bytes[150000 + MESSAGE_MAX];
	size_t n = 0;
	while (n < 150000)
		n += delimited_state(bytes + n, "b");
	assert_int_equal(write(first, bytes, n), n);
	close(first);
	second = connect_node();
	log_clear();
	turn();
	assert_string_equal(logged, "feed_disconnected\nfeed_connected\n");
	assert_string_equal(take(), "b");
	say_state(second, "c");
	assert_string_equal(take(), "c");
	close(second);
	close_feed();
}

/* A connection that says nothing, or stops halfway, gives way to one that waits; a node that
 * answers when it is asked does not. */
static void silent_ones(void **state)
{
	static const struct {
		const char *begins;   /* what the first sends when it connects */
		size_t len;
		bool answers;
	} cases[] = {{"", 0, false}, {"\x7f" "half", 5, false}, {"", 0, true}};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		open_feed(path);
		log_clear();
		int first = connect_node();
		assert_int_equal(write(first, cases[i].begins, cases[i].len), (ssize_t)cases[i].len);
		turn();
		int second = connect_node();
		assert_true(turn() == now + 5000);
		assert_int_equal(asked(first), 1);
		if (cases[i].answers)
			say_state(first, "a");
		now += 4999;
		turn();
		now++;
		turn();
		say_state(cases[i].answers ? first : second, "b");
		assert_string_equal(take(), "b");
		assert_int_equal(strstr(logged, "feed_refused") != NULL, cases[i].answers);
		assert_int_equal(strstr(logged, "feed_closed reason=\"it said nothing in 5000 ms") != NULL,
		                 !cases[i].answers);
		close(first);
		close(second);
		close_feed();
	}
}

static void out_of_descriptors(void **state)
{
	struct rlimit before, none;

	(void)state;
	open_feed(path);
	int node = connect_node();
	log_begin();   /* makes its descriptors, which the limit would forbid */
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = 0;
	setrlimit(RLIMIT_NOFILE, &none);
	struct pollfd fds[SOURCE_FDS];
	int64_t deadline = INT64_MAX;
	nfds_t n = feed->poll(feed, fds, &deadline);
	fds[0].revents = POLLIN;
	feed->serve(feed, fds, n, now);
	setrlimit(RLIMIT_NOFILE, &before);
	log_end();
	char line[128];
	snprintf(line, sizeof line, "feed_accept_paused reason=\"%s\" ms=1000\n",
	         strerror(EMFILE));
	assert_string_equal(logged, line);
	assert_true(turn() == now + 1000);
	now += 1000;
	int another = connect_node();   /* valgrind, out of descriptors, drops the first */
	assert_true(turn() > now + 1000);   /* accepts again */
	assert_non_null(strstr(logged, "feed_connected\n"));
	close(another);
	close(node);
	close_feed();
}

static void runtimes(void **state)
{
	uint8_t message[MESSAGE_MAX], bytes[MESSAGE_MAX];

	(void)state;
	open_feed(path);
	assert_ptr_equal(feed->runtime.base.descriptor, &introspection__runtime__descriptor);
	feed->runtime.source = "feed";
	feed->runtime.hostname = "here";
	feed->runtime.interval_ms = INTERVAL;
	int node = connect_node();
	say(node, bytes, delimit(bytes, message, pack_runtime(message, "first")));
	assert_string_equal(feed->runtime.peer_id, "first");
	say(node, bytes, delimit(bytes, message, pack_runtime(message, "second")));
	close(node);
	turn();
	assert_string_equal(feed->runtime.peer_id, "second");
	assert_string_equal(feed->runtime.source, "feed");
	assert_string_equal(feed->runtime.hostname, "here");
	assert_int_equal(feed->runtime.interval_ms, INTERVAL);
	assert_null(take());
	close_feed();
}

static const char *note_event(void *arg, const uint8_t *event, size_t len, int64_t at)
{
	assert_true(at == now);
	return append_event(arg, event, len);
}

static void events(void **state)
{
	uint8_t message[MESSAGE_MAX], bytes[MESSAGE_MAX];
	char seen[16] = "";

	(void)state;
	open_feed(path);
	int node = connect_node();
	say(node, bytes, delimit(bytes, message, pack_event(message, "dropped")));
	feed->event = note_event;
	feed->event_arg = seen;
	say(node, bytes, delimit(bytes, message, pack_event(message, "{}")));
	say(node, bytes, delimit(bytes, message, pack_event(message, "[]")));
	assert_string_equal(seen, "{}[]");
	assert_string_equal(logged, "feed_connected\n");
	log_clear();
	say(node, bytes, delimit(bytes, message, pack_event(message, "bad")));
	assert_non_null(strstr(logged, "in_message=0 reason=\"content is bad\"\n"));
	close(node);
	close_feed();
}

/* Each closes the feed, and what came before stays. */
static void refused(void **state)
{
	static const uint8_t runtime[70011] = {0xf8, 0xa2, 0x04, 0x1a, 0xf4, 0xa2,
	                                       0x04, 0x0a, 0xf0, 0xa2, 0x04};
	static const struct {
		const uint8_t *bytes;
		size_t len;
		const char *said;
	} rows[] = {
		{(const uint8_t *)"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 10,
		 "in_message=0 reason=\"length is not a varint\""},
		{(const uint8_t *)"\x81\x80\x40", 3,
		 "length=1048577 reason=\"message is over --max-snapshot 1048576\""},
		{(const uint8_t *)"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10,
		 "length=18446744073709551615 "
		 "reason=\"message is over --max-snapshot 1048576\""},
		{(const uint8_t *)"\x00", 1,
		 "in_message=0 reason=\"payload is not state, runtime or event\""},
		{(const uint8_t *)"\x02\x2a\x00", 3,
		 "in_message=0 reason=\"payload is not state, runtime or event\""},
		{(const uint8_t *)"\x02\x32\x00", 3,
		 "in_message=0 reason=\"payload is not state, runtime or event\""},
		{(const uint8_t *)"\x04\x12\x00\x1a\x00", 5,
		 "in_message=2 reason=\"more than one payload\""},
		{(const uint8_t *)"\x05\x1a\x03\x0a\x01\xff", 6,
		 "in_message=4 reason=\"string is not UTF-8\""},
		{(const uint8_t *)"\x02\x12\x01", 3,
		 "in_message=1 reason=\"value runs past the end of its message\""},
		{runtime, sizeof runtime, "in_message=0 reason=\"runtime is over 65536 bytes\""},
	};
	uint8_t bytes[MESSAGE_MAX];
	char line[256];

	(void)state;
	open_feed(path);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		now += LOG_PERIOD_MS;
		size_t before = delimited_state(bytes, "good");
		int node = connect_node();

		log_clear();
		memcpy(bytes + before, rows[i].bytes, rows[i].len < 16 ? rows[i].len : 16);
		if (rows[i].len < 16) {
			say(node, bytes, before + rows[i].len);
		} else {
			say(node, bytes, before);
			say(node, rows[i].bytes, rows[i].len);
		}
		snprintf(line, sizeof line, "feed_connected\nfeed_closed offset=%zu %s\n", before,
		         rows[i].said);
		assert_string_equal(logged, line);
		assert_int_equal(asked(node), -1);
		assert_string_equal(take(), "good");
		close(node);
	}
	/* the offset is that in all that was sent */
	now += LOG_PERIOD_MS;
	int node = connect_node();
	size_t n = delimited_state(bytes, "good");
	for (int i = 0; i < 1000; i++)
		say(node, bytes, n);
	log_clear();
	say(node, bytes, n / 2);
	close(node);
	turn();
	snprintf(line, sizeof line,
	         "feed_closed offset=%zu in_message=0 reason=\"stream ends within a message\"\n",
	         1000 * n);
	assert_string_equal(logged, line);
	close_feed();
}

/* Whoever may connect could fill the log by doing so again and again. */
static void visitors_cannot_fill_the_log(void **state)
{
	(void)state;
	open_feed(path);
	int node = connect_node();
	turn();
	for (int other = 0; other < 2; other++) {
		const char *line = other ? "feed_refused" : "feed_connected";

		now += LOG_BURST * LOG_PERIOD_MS;
		log_clear();
		for (int i = 0; i < 2 * LOG_BURST + 3; i++) {
			if (!other)
				close(node);
			turn();
			int next = connect_node();
			turn();
			if (other)
				close(next);
			else
				node = next;
		}
		int lines = 0;
		for (const char *at = logged; (at = strchr(at, '\n')); at++)
			lines++;
		assert_int_equal(lines, other ? 1 : LOG_BURST); /* once beside the same node */
		assert_non_null(strstr(logged, line));
	}
	close(node);
	close_feed();
}

/* Gives the feed a stream. It must be closed with a line, or go on without one. */
static void stream_one(const uint8_t *bytes, size_t len)
{
	struct snapshot_input input;
	int node = connect_node();

	now += 2 * LOG_PERIOD_MS;   /* it comes and goes */
	turn();
	log_clear();
	say(node, bytes, len);
	bool closed = asked(node) < 0;
	assert_int_equal(closed, strncmp(logged, "feed_closed offset=", 19) == 0);
	if (feed->take(feed, now, &input) == 1)
		peer_of(input.bytes, input.len);
	if (!closed)
		log_clear();
	close(node);
	turn();
	/* one line in all, the second time that of the end */
	assert_ptr_equal(strchr(logged, '\n') + 1, logged + strlen(logged));
}

static void damaged(void **state)
{
	uint8_t bytes[3 * MESSAGE_MAX], message[MESSAGE_MAX];
	size_t len = delimit(bytes, message, pack_runtime(message, "node"));
	unsigned seed = 2;

	(void)state;
	len += delimited_state(bytes + len, "a");
	len += delimit(bytes + len, message, pack_event(message, "{}"));
	open_feed(path);
	for (size_t cut = 0; cut < len; cut++)
		stream_one(bytes, cut);
	for (size_t i = 0; i < len; i++) {
		for (unsigned bit = 0; bit < 8; bit++) {
			bytes[i] ^= (uint8_t)(1 << bit);
			stream_one(bytes, len);
			bytes[i] ^= (uint8_t)(1 << bit);
		}
	}
	for (int i = 0; i < 2000; i++) {
		for (size_t k = 0; k < 200; k++)
			message[k] = (uint8_t)(rand_r(&seed) >> 7);
		message[0] &= 0x3f;
		stream_one(message, (size_t)rand_r(&seed) % 200);
	}
	close_feed();
}

static void standard_input(void **state)
{
	uint8_t bytes[MESSAGE_MAX];
	size_t len = delimited_state(bytes, "a");
	int before = dup(STDIN_FILENO), ends[2];

	(void)state;
	assert_int_equal(pipe(ends), 0);
	dup2(ends[0], STDIN_FILENO);
	close(ends[0]);
	open_feed("-");
	assert_null(take());
	say(ends[1], bytes, len);
	now += INTERVAL + 1;   /* nobody to be asked for a newer one */
	assert_string_equal(take(), "a");
	assert_null(take());
	say(ends[1], bytes, len);
	close(ends[1]);
	assert_true(turn() == INT64_MAX);
	assert_true(turn() == INT64_MAX);
	assert_string_equal(logged, "feed_disconnected\n");
	assert_string_equal(take(), "a");
	close_feed();

	/* a file, with rubbish at its end; the feed closed its input, so the number is free */
	assert_int_equal(memfd_create("stdin", 0), STDIN_FILENO);
	assert_int_equal(write(STDIN_FILENO, bytes, len), len);
	assert_int_equal(write(STDIN_FILENO, "", 1), 1);
	lseek(STDIN_FILENO, 0, SEEK_SET);
	open_feed("-");
	turn();
	assert_string_equal(take(), "a");
	assert_non_null(strstr(logged, "feed_closed"));
	close_feed();
	dup2(before, STDIN_FILENO);
	close(before);
}

static int make_folder(void **state)
{
	(void)state;
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof path, "%s/feed", folder);
	return 0;
}

static int remove_folder(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_socket_file),
		cmocka_unit_test(nothing_said),
		cmocka_unit_test(pulled),
		cmocka_unit_test(never_read),
		cmocka_unit_test(the_newest_wins),
		cmocka_unit_test(small_and_large),
		cmocka_unit_test(what_the_daemon_adds_is_taken_out),
		cmocka_unit_test(an_old_state),
		cmocka_unit_test(its_own_clock),
		cmocka_unit_test(one_node),
		cmocka_unit_test(silent_ones),
		cmocka_unit_test(out_of_descriptors),
		cmocka_unit_test(runtimes),
		cmocka_unit_test(events),
		cmocka_unit_test(visitors_cannot_fill_the_log),
		cmocka_unit_test(refused),
		cmocka_unit_test(damaged),
		cmocka_unit_test(standard_input),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
