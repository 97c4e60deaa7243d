/* A node that writes anything into the feed: sizes of pieces, each with its bytes. What
 * becomes of it is a state that a client can read. */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "endpoint/command.h"
#include "fuzz.h"
#include "source/source.h"
#include "source/wire.h"

enum { HISTORY = 128 << 10, LIMIT = 4096, PIECE_MAX = 256, INTERVAL = 100 };

static struct commands all;
static struct source *feed;

static void evict(void *arg, uint64_t first)
{
	(void)arg;
	(void)first;
}

static const char *take_event(void *arg, const uint8_t *event, size_t len, int64_t now)
{
	(void)arg;
	return commands_event(&all, event, len, &feed->runtime, true, now);
}

static void take_state(int64_t now)
{
	struct snapshot_input got = {0};
	struct wire_error error;

	if (feed->take(feed, now, &got) != 1)
		return;
	CHECK(got.len <= LIMIT &&
	      wire_check(&introspection__state__descriptor, got.bytes, got.len, &error));
	Introspection__State *state = introspection__state__unpack(NULL, got.len, got.bytes);
	CHECK(state && !state->runtime && state->sequence == 0);
	introspection__state__free_unpacked(state, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	uint8_t piece[PIECE_MAX];
	struct pollfd fds[SOURCE_FDS];
	int ends[2], taken;
	int64_t deadline = INT64_MAX;

	signal(SIGPIPE, SIG_IGN);
	close(STDIN_FILENO);   /* the next descriptor, then */
	CHECK(pipe2(ends, O_NONBLOCK | O_CLOEXEC) == 0 && ends[0] == STDIN_FILENO);
	feed = feed_open("-", 0, LIMIT, INTERVAL);
	CHECK(feed && commands_open(&all, HISTORY) == 0);
	feed->event = take_event;
	all.evict = evict;
	for (int64_t now = 1; ends[1] >= 0; now += taken) {
		taken = take_byte(&in);
		size_t n = take_bytes(&in, piece, (size_t)taken + 1);
		if (write(ends[1], piece, n) != (ssize_t)n)
			CHECK(errno == EPIPE);   /* it was thrown out */
		if (in.left == 0) {
			close(ends[1]);
			ends[1] = -1;
		}
		nfds_t count = feed->poll(feed, fds, &deadline);
		poll(fds, count, 0);
		feed->serve(feed, fds, count, now);
		take_state(now);
	}
	feed->close(feed);
	commands_close(&all);
	return 0;
}
