#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <endian.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "messages.h"
#include "source/source.h"
#include "source/wire.h"

enum {
	LIMIT = 1 << 16,        /* bytes of a message */
	SECOND = 1000,
	HOUR = 3600 * SECOND,
};

static char path[] = "/tmp/replay_test.XXXXXX";
static uint8_t file[4 << 20];   /* the recording under construction */
static size_t file_len;
static struct source *replay;
static int64_t now;

static void new_file(void)
{
	memcpy(file, "\x01\0\0\0", 4);
	file_len = 4;
}

static void save(size_t len)
{
	int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);

	assert_int_equal(write(fd, file, len), len);
	close(fd);
}

/* Returns where it is in the file. */
static size_t add(const uint8_t *message, size_t len)
{
	uint32_t header[2] = {htole32(wire_checksum(message, len)), htole32((uint32_t)len)};
	size_t at = file_len;

	assert_in_range(at + sizeof header + len, 0, sizeof file);
	memcpy(file + at, header, sizeof header);
	memcpy(file + at + sizeof header, message, len);
	file_len += sizeof header + len;
	return at;
}

static size_t add_state(uint64_t instant_ts, char *peer)
{
	uint8_t message[MESSAGE_MAX];

	return add(message, pack_state(message, instant_ts, peer));
}

static size_t add_runtime(char *peer)
{
	uint8_t message[MESSAGE_MAX];

	return add(message, pack_runtime(message, peer));
}

static size_t add_event(char *content)
{
	uint8_t message[MESSAGE_MAX];

	return add(message, pack_event(message, content));
}

/* The content is one letter. */
static size_t add_event_at(uint64_t ts, char letter)
{
	Introspection__ServerMessage message = INTROSPECTION__SERVER_MESSAGE__INIT;
	Introspection__EventType type = INTROSPECTION__EVENT_TYPE__INIT;
	Introspection__Event event = INTROSPECTION__EVENT__INIT;
	char content[] = {letter, '\0'};
	uint8_t packed[MESSAGE_MAX];

	type.name = "E";
	event.type = &type;
	event.ts = ts;
	event.content = content;
	message.payload_case = INTROSPECTION__SERVER_MESSAGE__PAYLOAD_EVENT;
	message.event = &event;
	return add(packed, pack(packed, &message));
}

static bool open_replay(bool loop)
{
	log_clear();
	log_begin();
	replay = replay_open(path, loop, LIMIT);
	log_end();
	now = 50000;
	return replay != NULL;
}

static void close_replay(void)
{
	replay->close(replay);
	replay = NULL;
}

static int64_t deadline(void)
{
	struct pollfd fds[SOURCE_FDS];
	int64_t at = INT64_MAX;

	assert_int_equal(replay->poll(replay, fds, &at), 0);
	return at;
}

/* The peer in the state that is current; NULL: it was taken before. */
static const char *take(void)
{
	struct snapshot_input input = {0};
	int taken;

	do {
		log_begin();
		replay->serve(replay, NULL, 0, now);
		taken = replay->take(replay, now, &input);
		log_end();
	} while (taken == 0 && deadline() <= now);
	if (taken == 0)
		return NULL;
	assert_int_equal(taken, 1);
	if (replay->events_since == 0)
		assert_int_equal(deadline(), INT64_MAX);
	assert_null(input.state);
	return peer_of(input.bytes, input.len);
}

/* Waits for the next state with the clock of the recording. Returns its peer, NULL at the end. */
static const char *wait_for(void)
{
	const char *peer = take();

	while (!peer && deadline() < INT64_MAX) {
		now = deadline();
		peer = take();
	}
	return peer;
}

/* Opens, plays to the end and closes. Returns the peers in a row. */
static const char *play(void)
{
	static char peers[256];
	const char *peer;

	peers[0] = '\0';
	if (!open_replay(false))
		return NULL;
	while ((peer = wait_for()))
		strncat(peers, peer, sizeof peers - strlen(peers) - 1);
	close_replay();
	return peers;
}

static unsigned lines(void)
{
	unsigned n = 0;

	for (const char *at = logged; (at = strchr(at, '\n')); at++)
		n++;
	return n;
}

static void pace(void **state)
{
	new_file();
	add_runtime("node");
	add_state(100 * SECOND, "a");
	add_state(102 * SECOND, "b");
	add_state(102 * SECOND + 1, "c");
	add_state(102 * SECOND + 1 + HOUR, "d");
	save(file_len);
	assert_true(open_replay(false));
	assert_int_equal(deadline(), INT64_MAX);
	now += HOUR;   /* begins with the first take */

	int64_t begin = now;
	assert_string_equal(take(), "a");
	assert_null(take());
	assert_int_equal(deadline(), begin + 2 * SECOND);
	assert_string_equal(wait_for(), "b");
	assert_int_equal(now, begin + 2 * SECOND);
	assert_string_equal(wait_for(), "c");
	assert_int_equal(now, begin + 2 * SECOND + 1);
	assert_string_equal(logged, "");
	assert_string_equal(wait_for(), "d");
	assert_int_equal(now, begin + 2 * SECOND + 1 + HOUR);
	assert_string_equal(logged, "replay_done states=4 skipped=0\n");
	assert_null(take());
	assert_int_equal(deadline(), INT64_MAX);
	close_replay();
	(void)state;
}

/* No time, one that goes back, one that stands still, a gap that cannot be: a second each. */
static void times_that_make_no_sense(void **state)
{
	static const uint64_t instants[] = {5, 0, 0, 10, 9, 9, 2 * HOUR, UINT64_MAX, 7};

	(void)state;
	new_file();
	for (size_t i = 0; i < sizeof instants / sizeof *instants; i++)
		add_state(instants[i], "a");
	save(file_len);
	assert_true(open_replay(false));
	for (size_t i = 0; i < sizeof instants / sizeof *instants; i++) {
		int64_t before = now;

		assert_non_null(wait_for());
		assert_int_equal(now - before, i == 0 ? 0 : instants[i] == 10 ? 10 : SECOND);
	}
	close_replay();
}

static void nobody_asks(void **state)
{
	(void)state;
	new_file();
	for (char peer[] = "a"; peer[0] <= 'z'; peer[0]++)
		add_state((uint64_t)peer[0] * SECOND, peer);
	save(file_len);
	assert_true(open_replay(false));
	assert_string_equal(take(), "a");
	now += 3 * SECOND + 500;
	assert_string_equal(take(), "d");
	assert_null(take());
	assert_int_equal(deadline(), now + 500);
	/* who waited is gone: the loop is not woken up again and again */
	now += 500;
	replay->serve(replay, NULL, 0, now);
	assert_int_equal(deadline(), INT64_MAX);
	now += HOUR;
	assert_string_equal(take(), "z");
	assert_string_equal(logged, "replay_done states=26 skipped=0\n");
	close_replay();
}

static uint8_t long_event[50000] = {0x22, 0xcc, 0x86, 0x03, 0x1a, 0xc8, 0x86, 0x03};

/* More is passed over than one take goes through. */
static void much_is_passed_over(void **state)
{
	struct snapshot_input input;

	(void)state;
	new_file();
	add_state(1, "a");
	for (int i = 0; i < 30; i++)
		add(long_event, sizeof long_event);
	add_state(1, "b");
	save(file_len);
	assert_true(open_replay(false));
	assert_int_equal(replay->take(replay, now, &input), 0);
	assert_true(deadline() <= now);
	assert_string_equal(take(), "a");
	assert_null(take());
	assert_int_equal(deadline(), now + SECOND);
	assert_string_equal(logged, "");
	close_replay();
}

/* More is due than is read: who waits gets what there is, but not at once. */
static void cannot_keep_up(void **state)
{
	struct snapshot_input input;

	(void)state;
	new_file();
	add_state(1, "a");
	add_state(2, "b");
	for (int i = 0; i < 70; i++)
		add(long_event, sizeof long_event);
	add_state(3, "c");
	save(file_len);
	assert_true(open_replay(false));
	assert_string_equal(take(), "a");
	now += 10;
	assert_int_equal(replay->take(replay, now, &input), 0);
	replay->serve(replay, NULL, 0, now + SECOND - 1);
	assert_int_equal(replay->take(replay, now + SECOND - 1, &input), 0);
	replay->serve(replay, NULL, 0, now + SECOND);
	assert_int_equal(replay->take(replay, now + SECOND, &input), 1);
	assert_string_equal(peer_of(input.bytes, input.len), "b");
	assert_string_equal(take(), "c");
	close_replay();
}

static const char *note_event(void *arg, const uint8_t *event, size_t len, int64_t at)
{
	assert_true(at == now);
	return append_event(arg, event, len);
}

static void what_is_not_a_state(void **state)
{
	char seen[16] = "";

	(void)state;
	new_file();
	add((const uint8_t *)"\x2a\x00", 2);         /* response */
	add((const uint8_t *)"\x0a\x00", 2);         /* no payload */
	add_runtime("first");
	add_event("0");
	add_state(1 * SECOND, "a");
	add_event("1");
	add_runtime("second");
	add((const uint8_t *)"\x32\x00", 2);         /* notice */
	add((const uint8_t *)"\xc2\x3e\x00", 3);     /* unknown */
	add_event("2");
	add_state(2 * SECOND, "b");
	add_event("3");
	add_event("bad");
	save(file_len);
	assert_true(open_replay(false));
	assert_string_equal(replay->runtime.peer_id, "first");
	replay->runtime.source = "replay";
	replay->runtime.hostname = "here";
	replay->runtime.interval_ms = 42;
	replay->event = note_event;
	replay->event_arg = seen;
	assert_string_equal(take(), "a");
	assert_string_equal(replay->runtime.peer_id, "first");
	now += SECOND;
	assert_string_equal(take(), "b");
	assert_string_equal(replay->runtime.peer_id, "second");
	assert_string_equal(replay->runtime.source, "replay");
	assert_string_equal(replay->runtime.hostname, "here");
	assert_int_equal(replay->runtime.interval_ms, 42);
	assert_string_equal(seen, "0123");
	assert_non_null(strstr(logged, "in_message=0 reason=\"content is bad\"\n"
	                               "replay_done states=2 skipped=1\n"));
	close_replay();
}

static void what_the_daemon_adds_is_taken_out(void **state)
{
	struct snapshot_input input;

	(void)state;
	new_file();
	add((const uint8_t *)"\x12\x0a\xa2\x06\x02\x0a\x00\x18\x07\xa8\x06\x63", 12);
	save(file_len);
	assert_true(open_replay(false));
	log_begin();
	assert_int_equal(replay->take(replay, now, &input), 1);
	log_end();
	assert_int_equal(input.len, 2);
	assert_memory_equal(input.bytes, "\x18\x07", 2);
	close_replay();
}

static void looped(void **state)
{
	(void)state;
	new_file();
	add_state(1 * SECOND, "a");
	size_t damaged = add_event("{}");
	add_state(3 * SECOND, "b");
	file[damaged] ^= 1;
	save(file_len);
	assert_true(open_replay(true));
	for (int i = 0; i < 3; i++) {
		int64_t before = now;

		assert_string_equal(wait_for(), "a");
		assert_int_equal(now - before, i == 0 ? 0 : 2 * SECOND);
		assert_string_equal(wait_for(), "b");
	}
	assert_int_equal(lines(), 1);

	/* a day without anybody is not made up for */
	now += 24 * (int64_t)HOUR;
	int64_t before = now;
	assert_string_equal(take(), "a");
	assert_string_equal(wait_for(), "b");
	assert_int_equal(now - before, 2 * SECOND);

	/* the file loses its states */
	assert_int_equal(truncate(path, 4), 0);
	assert_string_equal(wait_for(), "a");
	assert_string_equal(wait_for(), "b");   /* was read ahead, with all of so small a file */
	assert_null(wait_for());
	assert_non_null(strstr(logged, "replay_done "));
	close_replay();

	new_file();
	add_state(1 * SECOND, "only");
	save(file_len);
	assert_true(open_replay(true));
	for (int i = 0; i < 3; i++) {
		assert_string_equal(wait_for(), "only");
		assert_null(take());
		assert_int_equal(deadline(), now + SECOND);
	}
	close_replay();
}

static void note_letter(char *seen, const uint8_t *event, size_t len, int64_t at, uint64_t *ts)
{
	Introspection__Event *e = introspection__event__unpack(NULL, len, event);

	assert_non_null(e);
	assert_true(at == now);
	if (!replay->late) {
		strcat(seen, e->content);
		*ts = e->ts;
	}
	introspection__event__free_unpacked(e, NULL);
}

static struct heard {
	char letters[64];
	uint64_t ts;   /* of the last one */
} heard;

static const char *hear(void *arg, const uint8_t *event, size_t len, int64_t at)
{
	struct heard *h = arg;

	note_letter(h->letters, event, len, at, &h->ts);
	return NULL;
}

static void listen_to(bool wanted)
{
	replay->event = hear;
	replay->event_arg = &heard;
	replay->events_since = wanted ? now : 0;
}

/* Lets the source do what it wants to without anybody asking for a state. */
static void run_until(int64_t end)
{
	while (deadline() <= end) {
		if (deadline() > now)
			now = deadline();
		log_begin();
		replay->serve(replay, NULL, 0, now);
		log_end();
	}
	now = end;
}

static void assert_heard(const char *letters)
{
	assert_string_equal(heard.letters, letters);
	heard.letters[0] = '\0';
}

/* Events happen at the pace of their time, wherever they stand in the file, and whether or
 * not states are asked for. */
static void events_at_their_time(void **state)
{
	(void)state;
	for (int form = 0; form < 3; form++) {
		new_file();
		add_event_at(95 * SECOND, '0');
		if (form < 2)
			add_state(100 * SECOND, "a");
		if (form == 0) {   /* in order; else all before, or all behind */
			add_event_at(100 * SECOND + 300, '1');
			add_event_at(101 * SECOND, '2');
		}
		if (form == 1)
			add_state(102 * SECOND, "b");
		if (form > 0) {
			add_event_at(100 * SECOND + 300, '1');
			add_event_at(101 * SECOND, '2');
		}
		if (form == 2)
			add_state(100 * SECOND, "a");
		if (form != 1)
			add_state(102 * SECOND, "b");
		add_event_at(102 * SECOND + 5, '3');
		save(file_len);
		assert_true(open_replay(false));
		memset(&heard, 0, sizeof heard);
		listen_to(true);
		int64_t begin = now;
		run_until(begin);
		assert_heard("0");
		run_until(begin + 299);
		assert_heard("");
		run_until(begin + 300);
		assert_heard("1");
		assert_int_equal(deadline(), begin + SECOND);
		assert_string_equal(take(), "a");
		run_until(begin + 2 * SECOND + 4);
		assert_heard("2");
		assert_string_equal(take(), "b");
		run_until(begin + 2 * SECOND + 5);
		assert_heard("3");
		assert_int_equal(heard.ts, 102 * SECOND + 5);
		assert_int_equal(deadline(), INT64_MAX);
		close_replay();
	}
}

/* What happened while nobody listened is nothing for who comes later. */
static void events_that_nobody_heard(void **state)
{
	(void)state;
	new_file();
	add_state(100 * SECOND, "a");
	for (int i = 1; i <= 9; i++)
		add_event_at((uint64_t)(100 * SECOND + 100 * i), (char)('0' + i));
	add_state(101 * SECOND, "b");
	save(file_len);
	assert_true(open_replay(false));
	memset(&heard, 0, sizeof heard);
	listen_to(false);
	assert_string_equal(take(), "a");
	assert_int_equal(deadline(), INT64_MAX);
	now += 450;
	listen_to(true);
	run_until(now);
	assert_heard("");
	run_until(now + 150);
	assert_heard("56");
	listen_to(false);
	now += 250;
	assert_null(take());
	assert_heard("");
	listen_to(true);
	run_until(now + 100);
	assert_heard("9");
	close_replay();
}

/* The times of a State and of what is in it, which go on from pass to pass. */
static void times_go_on(void **state)
{
	struct snapshot_input input;
	uint64_t before = 0;

	(void)state;
	new_file();
	add_state(UINT64_C(1700000000000), "a");
	add_event_at(UINT64_C(1700000000004), 'e');
	add_state(UINT64_C(1700000000010), "b");
	add_state(UINT64_C(1700000000030), "c");
	save(file_len);
	assert_true(open_replay(true));
	memset(&heard, 0, sizeof heard);
	listen_to(true);
	for (int i = 0; i < 12; i++) {
		const int64_t pass = i / 3 * (30 + 15);   /* the mean pause at the seam */
		const uint64_t expected =
			UINT64_C(1700000000000) + (uint64_t)pass + (i % 3 == 2 ? 30u : (unsigned)i % 3 * 10);

		while (replay->take(replay, now, &input) == 0) {
			assert_true(deadline() > now);
			now = deadline();
			replay->serve(replay, NULL, 0, now);
		}
		Introspection__State *s = introspection__state__unpack(NULL, input.len, input.bytes);
		assert_int_equal(s->instant_ts, expected);
		assert_true(s->instant_ts > before);
		before = s->instant_ts;
		introspection__state__free_unpacked(s, NULL);
		assert_int_equal(now, 50000 + (int64_t)(expected - UINT64_C(1700000000000)));
		if (i % 3 == 1) {
			assert_heard("e");
			assert_int_equal(heard.ts, UINT64_C(1700000000004) + (uint64_t)pass);
		}
	}
	close_replay();
}

/* Until when nothing newer can come. */
static void newest(void **state)
{
	(void)state;
	new_file();
	add_state(100 * SECOND, "a");
	add_state(110 * SECOND, "b");
	save(file_len);
	assert_true(open_replay(false));
	assert_string_equal(take(), "a");
	assert_int_equal(replay->newest_until, now + 10 * SECOND);
	assert_string_equal(wait_for(), "b");
	assert_true(replay->newest_until == INT64_MAX);
	close_replay();
}

/* As the observer toolkit's UI exports it. */
static void version_as_text(void **state)
{
	(void)state;
	for (int form = 0; form < 2; form++) {
		memcpy(file, "1000\x01\0\0\0", 8);
		file_len = form ? 8 : 4;
		add_runtime("node");
		add_state(1 * SECOND, "a");
		add_state(2 * SECOND, "b");
		save(file_len);
		assert_string_equal(play(), "ab");
		assert_string_equal(logged, "replay_done states=2 skipped=0\n");
	}
}

static void not_a_recording(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
		const char *said;
	} rows[] = {
		{"", 0, "no recording: too short"},
		{"\x01\0\0", 3, "no recording: too short"},
		{"\x02\0\0\0", 4, "no recording: file version is not 1"},
		{"{\"a\":1}", 7, "no recording: file version is not 1"},
		{"\x01\0\0\0", 4, "no state in it"},
	};
	char line[128];

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		memcpy(file, rows[i].bytes, rows[i].len);
		save(rows[i].len);
		assert_false(open_replay(i % 2));
		snprintf(line, sizeof line, "error replay=%s reason=\"%s\"\n", path, rows[i].said);
		assert_string_equal(logged, line);
	}
	new_file();
	add_runtime("node");
	add_event("{}");
	save(file_len);
	assert_false(open_replay(true));
	assert_non_null(strstr(logged, "no state in it"));

	log_clear();
	log_begin();
	assert_null(replay_open("/nonexistent/recording", false, LIMIT));
	assert_null(replay_open("/dev/null", false, LIMIT));
	assert_null(replay_open("/tmp", false, LIMIT));
	log_end();
	assert_string_equal(logged,
	                    "error replay=/nonexistent/recording "
	                    "reason=\"No such file or directory\"\n"
	                    "error replay=/dev/null reason=\"not a regular file\"\n"
	                    "error replay=/tmp reason=\"not a regular file\"\n");

	unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_false(open_replay(false));
	assert_non_null(strstr(logged, "not a regular file"));
	unlink(path);
	close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
}

static void reasons(void **state)
{
	static uint8_t runtime[63000] = {0};
	uint8_t message[MESSAGE_MAX];
	char text[256];
	size_t at;

	(void)state;
	new_file();
	add_state(1 * SECOND, "a");
	at = add((const uint8_t *)"\x1a\x03\x0a\x01\xff", 5);
	save(file_len);
	assert_string_equal(play(), "a");
	snprintf(text, sizeof text,
	         "replay_skipped offset=%zu in_message=4 reason=\"string is not UTF-8\"\n"
	         "replay_done states=1 skipped=1\n", at);
	assert_string_equal(logged, text);

	/* one wrong length after the other, a good state behind each */
	static const struct {
		uint32_t len;
		const char *said;
	} rows[] = {
		{0, "message is empty"},
		{LIMIT + 1, "message is over the limit"},
		{UINT32_MAX, "message is over the limit"},
		{LIMIT, "message runs past the end of the file"},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		uint32_t len = htole32(rows[i].len);

		new_file();
		add_state(1 * SECOND, "a");
		at = add_state(2 * SECOND, "damaged");
		memcpy(file + at + 4, &len, sizeof len);
		add_state(3 * SECOND, "b");
		save(file_len);
		assert_string_equal(play(), "ab");
		snprintf(text, sizeof text,
		         "replay_skipped offset=%zu in_message=0 reason=\"%s\"\n"
		         "replay_done states=2 skipped=1\n", at, rows[i].said);
		assert_string_equal(logged, text);
	}

	/* two neighbours with wrong checksums */
	new_file();
	size_t first = add_state(1 * SECOND, "damaged"), second = add_state(2 * SECOND, "damaged");
	add_state(3 * SECOND, "b");
	file[first + 20] ^= 1;
	file[second + 20] ^= 1;
	save(file_len);
	assert_string_equal(play(), "b");
	snprintf(text, sizeof text,
	         "replay_skipped offset=%zu in_message=0 reason=\"checksum is wrong\"\n"
	         "replay_skipped offset=%zu in_message=0 reason=\"checksum is wrong\"\n"
	         "replay_done states=1 skipped=2\n", first, second);
	assert_string_equal(logged, text);

	/* a limit smaller than a message that is there and good */
	new_file();
	add_state(1 * SECOND, "a");
	at = add(runtime, sizeof runtime);
	add_state(2 * SECOND, "b");
	save(file_len);
	size_t len = pack_state(message, 0, "a");
	log_clear();
	log_begin();
	struct source *small = replay_open(path, false, len + 8);
	struct snapshot_input input;
	assert_non_null(small);
	assert_int_equal(small->take(small, now, &input), 1);
	assert_int_equal(small->take(small, now + SECOND, &input), 1);
	assert_string_equal(peer_of(input.bytes, input.len), "b");
	small->close(small);
	log_end();
	snprintf(text, sizeof text,
	         "replay_skipped offset=%zu in_message=0 reason=\"message is over the limit\"\n"
	         "replay_done states=2 skipped=1\n", at);
	assert_string_equal(logged, text);
}

static void a_long_runtime(void **state)
{
	static uint8_t message[WIRE_RUNTIME_MAX + 9];
	const uint8_t begin[] = {0x1a, 0x85, 0x80, 0x04, 0x0a, 0x81, 0x80, 0x04};

	(void)state;
	memcpy(message, begin, sizeof begin);
	new_file();
	add_state(1 * SECOND, "a");
	add(message, sizeof message);
	save(file_len);
	log_clear();
	log_begin();
	struct source *s = replay_open(path, false, 2 * LIMIT);
	struct snapshot_input input;
	assert_int_equal(s->take(s, now, &input), 1);
	s->close(s);
	log_end();
	assert_non_null(strstr(logged, "in_message=0 reason=\"runtime is over 65536 bytes\""));
}

static void every_byte(void **state)
{
	const char *const all[] = {"", "a", "b", "c", "d"};
	size_t begins[6];

	(void)state;
	new_file();
	begins[0] = add_runtime("node");
	begins[1] = add_state(1 * SECOND, "a");
	begins[2] = add_state(2 * SECOND, "b");
	begins[3] = add_state(3 * SECOND, "c");
	begins[4] = add_state(4 * SECOND, "d");
	begins[5] = file_len;
	for (size_t m = 0; m < 5; m++) {
		char without[8] = "", place[32];

		for (size_t i = 0; i < 5; i++)
			strcat(without, i == m ? "" : all[i]);
		snprintf(place, sizeof place, "skipped offset=%zu ", begins[m]);
		for (size_t at = begins[m]; at < begins[m + 1]; at++) {
			for (unsigned bit = 0; bit < 8; bit++) {
				file[at] ^= (uint8_t)(1 << bit);
				save(file_len);
				/* what follows a good message is never lost */
				assert_string_equal(play(), without);
				assert_non_null(strstr(logged, place));
				file[at] ^= (uint8_t)(1 << bit);
			}
		}
	}
	for (size_t cut = 0; cut < file_len; cut++) {
		char expected[8] = "";
		bool within = cut >= 4;

		for (size_t i = 0; i < 5; i++) {
			if (cut >= begins[i + 1])
				strcat(expected, all[i]);
			within = within && cut != begins[i];
		}
		save(cut);
		const char *peers = play();
		assert_string_equal(peers ? peers : "", expected);
		assert_int_equal(lines(), 1 + within);
		assert_int_equal(strstr(logged, "skipped offset=") != NULL, within);
	}
}

static void random_files(void **state)
{
	unsigned seed = 3;

	(void)state;
	for (int i = 0; i < 300; i++) {
		new_file();
		for (int k = 0; k < 5; k++) {
			size_t len = (size_t)rand_r(&seed) % 3000;
			uint8_t message[3000];

			for (size_t b = 0; b < len; b++)
				message[b] = (uint8_t)(rand_r(&seed) >> 7);
			if (k % 2)
				add(message, len);
			else
				add_state((uint64_t)rand_r(&seed), "a");
		}
		for (int k = 0; k < 8; k++)
			file[4 + (size_t)rand_r(&seed) % (file_len - 4)] =
				(uint8_t)(rand_r(&seed) >> 7);
		save(file_len);
		play();
		assert_int_not_equal(lines(), 0);
	}
}

static void shrinks_and_grows(void **state)
{
	(void)state;
	new_file();
	for (int i = 0; i < 1000; i++)
		add_state((uint64_t)(i + 1) * SECOND, "a");
	save(file_len);
	assert_true(open_replay(false));
	assert_string_equal(wait_for(), "a");
	assert_int_equal(truncate(path, 1000), 0);
	unsigned states = 1;
	while (wait_for())
		states++;
	assert_in_range(states, 2, 999);
	assert_non_null(strstr(logged, "skipped offset="));
	assert_non_null(strstr(logged, "replay_done "));
	close_replay();

	/* what is not there any more is not searched byte by byte */
	struct snapshot_input input;
	new_file();
	for (int i = 0; file_len < 3 << 20; i++)
		add_state((uint64_t)(i + 1) * SECOND, "a");
	save(file_len);
	assert_true(open_replay(false));
	assert_string_equal(wait_for(), "a");
	assert_int_equal(truncate(path, 1000), 0);
	now += 24 * (int64_t)HOUR;
	log_begin();
	assert_int_equal(replay->take(replay, now, &input), 1);
	log_end();
	close_replay();

	/* looped, the file is played as it is by then */
	new_file();
	add_state(1 * SECOND, "a");
	save(file_len);
	assert_true(open_replay(true));
	new_file();
	add_state(1 * SECOND, "b");
	add_state(2 * SECOND, "c");
	save(file_len);
	assert_string_equal(wait_for(), "a");
	assert_string_equal(wait_for(), "b");
	assert_string_equal(wait_for(), "c");
	close_replay();
}

/* Damage without end: the log and the time stay bounded. */
static void much_damage(void **state)
{
	(void)state;
	new_file();
	add_state(1 * SECOND, "a");
	for (size_t i = 0; i < 20000; i++) {
		size_t at = add((const uint8_t *)"\x0a\x00", 2);

		file[at] ^= 1;
	}
	save(file_len);
	assert_string_equal(play(), "a");
	assert_int_equal(lines(), 101);
	assert_non_null(strstr(logged, "(more are not logged)\n"
	                               "replay_done states=1 skipped=20000\n"));

	/* zeros, as a file system may leave them after a crash */
	new_file();
	add_state(1 * SECOND, "a");
	memset(file + file_len, 0, 1 << 20);
	save(file_len + (1 << 20));
	assert_string_equal(play(), "a");
	assert_int_equal(lines(), 2);

	/* what looks like a header of a long message, wherever one looks */
	new_file();
	add_state(1 * SECOND, "a");
	memset(file + file_len, 0xff, 8);
	for (size_t at = file_len + 8; at < file_len + (1 << 20); at += 4)
		memcpy(file + at, "\x0a\xff\0\0", 4);
	save(file_len + (1 << 20));
	assert_string_equal(play(), "a");
	assert_int_equal(lines(), 3);
	assert_non_null(strstr(logged, "reason=\"too much damage\"\n"));
}

/* The toolkit's own recording, where there is one. */
static void sample(void **state)
{
	const char *recording = getenv("SAMPLE_RECORDING");
	unsigned states = 0;

	(void)state;
	if (!recording) {
		print_message("SAMPLE_RECORDING is not set\n");
		skip();
	}
	log_clear();
	log_begin();
	replay = replay_open(recording, false, LIMIT);
	log_end();
	assert_non_null(replay);
	assert_true(strlen(replay->runtime.peer_id) > 0);
	int64_t begin = now;
	while (wait_for())
		states++;
	assert_int_equal(states, 30);
	assert_int_equal(now - begin, 58 * SECOND);
	assert_string_equal(logged, "replay_done states=30 skipped=0\n");
	close_replay();
}

static int make_file(void **state)
{
	int fd = mkstemp(path);

	(void)state;
	return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state)
{
	(void)state;
	return unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pace),
		cmocka_unit_test(times_that_make_no_sense),
		cmocka_unit_test(nobody_asks),
		cmocka_unit_test(much_is_passed_over),
		cmocka_unit_test(cannot_keep_up),
		cmocka_unit_test(what_is_not_a_state),
		cmocka_unit_test(what_the_daemon_adds_is_taken_out),
		cmocka_unit_test(looped),
		cmocka_unit_test(events_at_their_time),
		cmocka_unit_test(events_that_nobody_heard),
		cmocka_unit_test(times_go_on),
		cmocka_unit_test(newest),
		cmocka_unit_test(version_as_text),
		cmocka_unit_test(not_a_recording),
		cmocka_unit_test(reasons),
		cmocka_unit_test(a_long_runtime),
		cmocka_unit_test(every_byte),
		cmocka_unit_test(random_files),
		cmocka_unit_test(shrinks_and_grows),
		cmocka_unit_test(much_damage),
		cmocka_unit_test(sample),
	};

	return cmocka_run_group_tests(tests, make_file, remove_file);
}
